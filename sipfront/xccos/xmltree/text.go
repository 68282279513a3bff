package xmltree

import (
	"strings"
	"unicode/utf8"
)

// checkRefs checks the character and entity references of text or of an attribute's value.
func checkRefs(s string) *Error {
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			return nil
		}
		_, n := reference(s[i:])
		if n == 0 {
			return Malformed("unknown entity or bad character reference")
		}
		s = s[i+n:]
	}
}

// reference decodes the reference at the start of s; n is its length, 0 if it is none that is allowed.
func reference(s string) (r rune, n int) {
	semi := strings.IndexByte(s[:min(len(s), 16)], ';')
	if semi < 2 {
		return 0, 0
	}
	switch name := s[1:semi]; name {
	case "lt":
		return '<', semi + 1
	case "gt":
		return '>', semi + 1
	case "amp":
		return '&', semi + 1
	case "quot":
		return '"', semi + 1
	case "apos":
		return '\'', semi + 1
	default:
		if name[0] != '#' || !IsChar(charRef(name[1:])) {
			return 0, 0
		}
		return charRef(name[1:]), semi + 1
	}
}

// charRef returns the character of a numeric reference without "&#" and ";", or -1.
func charRef(digits string) rune {
	base := rune(10)
	if strings.HasPrefix(digits, "x") {
		base, digits = 16, digits[1:]
	}
	if digits == "" {
		return -1
	}
	var r rune
	for i := range len(digits) {
		d := rune(-1)
		switch c := digits[i]; {
		case '0' <= c && c <= '9':
			d = rune(c - '0')
		case 'a' <= c && c <= 'f':
			d = rune(c-'a') + 10
		case 'A' <= c && c <= 'F':
			d = rune(c-'A') + 10
		}
		if d < 0 || d >= base {
			return -1
		}
		if r = r*base + d; r > utf8.MaxRune {
			return -1
		}
	}
	return r
}

// IsChar reports whether XML can say the character (XML 1.0 section 2.2).
func IsChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD ||
		r >= 0x10000 && r <= utf8.MaxRune
}

// unescape resolves references and normalises raw line ends to LF (XML 1.0 section 2.11); in an attribute's value raw
// white space becomes blanks (section 3.3.3). References were checked before.
func unescape(s string, attribute bool) string {
	stops := "&\r"
	if attribute {
		stops = "&\r\n\t"
	}
	i := strings.IndexAny(s, stops)
	if i < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for ; i >= 0; i = strings.IndexAny(s, stops) {
		b.WriteString(s[:i])
		switch s = s[i:]; s[0] {
		case '&':
			r, n := reference(s)
			b.WriteRune(r)
			s = s[n:]
			continue
		case '\r':
			if strings.HasPrefix(s, "\r\n") {
				s = s[1:]
			}
		}
		c := byte('\n')
		if attribute {
			c = ' '
		}
		b.WriteByte(c)
		s = s[1:]
	}
	b.WriteString(s)
	return b.String()
}
