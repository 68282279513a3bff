package render

import (
	"strings"
	"unicode/utf8"
)

// AppendXML appends text as it can stand in an attribute or an element. White space that a parser would turn into blanks in
// an attribute, or CR that it would turn into LF, is written as a reference (XML 1.0 sections 2.11 and 3.3.3). What XML
// cannot carry becomes U+FFFD: see Carried.
func AppendXML(b []byte, s string) []byte {
	plain := 0
	for i := 0; i < len(s); {
		c := s[i]
		n, to := 1, ""
		switch {
		case c == '&':
			to = "&amp;"
		case c == '<':
			to = "&lt;"
		case c == '>':
			to = "&gt;"
		case c == '"':
			to = "&quot;"
		case c == '\t':
			to = "&#x9;"
		case c == '\n':
			to = "&#xA;"
		case c == '\r':
			to = "&#xD;"
		case c >= utf8.RuneSelf:
			var r rune
			if r, n = utf8.DecodeRuneInString(s[i:]); !xmlChar(r) || r == utf8.RuneError && n == 1 {
				to = string(utf8.RuneError)
			}
		case c < 0x20:
			to = string(utf8.RuneError)
		}
		if to != "" {
			b = append(b, s[plain:i]...)
			b = append(b, to...)
			plain = i + n
		}
		i += n
	}
	return append(b, s[plain:]...)
}

// xmlChar reports whether XML 1.0 section 2.2 allows the character in a document.
func xmlChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// Carried reports whether XML can carry the text unharmed.
func Carried(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !xmlChar(r) })
}
