package xmlcode

import (
	"unicode/utf8"

	"parley/sipfront/xccos/xmltree"
)

// Escaping says where a text stands and how its line ends are written.
type Escaping uint8

// The escapings.
const (
	inAttribute Escaping = iota
	InText               // line ends as they are
	InChat               // line ends go out as CR LF; a parser makes LF of it, so that people read what was typed
	InChatRef            // line ends go out as references to CR and LF
)

// appendEscaped appends text so that an XML 1.0 parser reads the same. What XML cannot say becomes U+FFFD.
func appendEscaped(dst []byte, s string, kind Escaping) []byte {
	at := 0
	for i := 0; i < len(s); {
		var ref string
		size := 1
		switch b := s[i]; {
		case b == '&':
			ref = "&amp;"
		case b == '<':
			ref = "&lt;"
		case b == '>':
			ref = "&gt;"
		case b == '"' && kind == inAttribute:
			ref = "&quot;"
		case b == '\r':
			ref = "&#13;"
		case b == '\n' && kind == InChat:
			ref = "\r\n"
		case b == '\n' && kind == InChatRef:
			ref = "&#13;&#10;"
		case b == '\n' && kind == inAttribute:
			ref = "&#10;"
		case b == '\t' && kind == inAttribute:
			ref = "&#9;"
		case b < ' ' && b != '\t' && b != '\n':
			ref = "\uFFFD"
		case b >= utf8.RuneSelf:
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 || !xmltree.IsChar(r) {
				ref = "\uFFFD"
			}
		}
		i += size
		if ref != "" {
			dst = append(append(dst, s[at:i-size]...), ref...)
			at = i
		}
	}
	return append(dst, s[at:]...)
}

// EscapedLen returns how many bytes a text of UTF-8 takes at most when it is escaped, whichever way.
func EscapedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		switch b := s[i]; {
		case b == '\n':
			n += len("&#13;&#10;") - 1
		case b == '"':
			n += len("&quot;") - 1
		case b == '&' || b == '\r':
			n += len("&amp;") - 1
		case b == '<' || b == '>' || b == '\t':
			n += len("&lt;") - 1
		case b < ' ':
			n += len("\uFFFD") - 1
		}
	}
	return n
}
