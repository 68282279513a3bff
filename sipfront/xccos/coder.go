package xccos

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"parley/sipfront/xccos/xmltree"
)

// coder visits the attributes and children of an element. One visit function per element serves both directions, so
// that the name of an attribute stands in one place only. Attributes are visited before children. Empty attributes
// are not written.
type coder struct {
	item string // id of the item being visited
	// reading
	t     *xmltree.Tree // nil: writing
	n     xmltree.Node  // the element
	lists *int          // how many entries lists may still get, in all of the envelope
	err   *Error
	// writing
	out    []byte
	inTag  bool // the start tag is still open for attributes
	client bool // as a client writes
}

func (c *coder) fail(err *Error) {
	if c.err == nil {
		c.err = err
	}
}

// str visits an attribute.
func (c *coder) str(name string, p *string) {
	if c.t != nil {
		if v, ok := c.t.Attr(c.n, name); ok {
			*p = v
		}
		return
	}
	if *p != "" {
		c.full(name, p)
	}
}

// full visits an attribute that is written even when it is empty.
func (c *coder) full(name string, p *string) {
	if c.t != nil {
		c.str(name, p)
		return
	}
	c.out = append(append(append(c.out, ' '), name...), '=', '"')
	c.out = append(appendEscaped(c.out, *p, inAttribute), '"')
}

// uintAttr visits a number; zero is not written. A number too large for the type is read as the largest one.
func uintAttr[T ~uint32 | ~uint64](c *coder, name string, p *T) {
	if c.t == nil {
		if *p != 0 {
			s := strconv.FormatUint(uint64(*p), 10)
			c.full(name, &s)
		}
		return
	}
	s, ok := c.t.Attr(c.n, name)
	if !ok {
		return
	}
	if !isDigits(s) {
		c.fail(xmltree.Malformed("attribute %q of %q is not a number", name, c.t.Local(c.n)))
		return
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if *p = T(v); err != nil || uint64(*p) != v {
		*p = ^T(0)
	}
}

// bool visits a flag; false is not written, unless always.
func (c *coder) bool(name string, p *bool, always bool) {
	if c.t != nil {
		if v, ok := c.t.Attr(c.n, name); ok {
			*p = isTrue(v)
		}
		return
	}
	if *p || always {
		s := strconv.FormatBool(*p)
		c.full(name, &s)
	}
}

// isTrue compares without case, as attributes say "true" and text says "True".
func isTrue(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// text visits the text of the element.
func (c *coder) text(p *string, kind escaping) {
	if c.t != nil {
		*p = c.t.Text(c.n)
		return
	}
	if *p != "" {
		c.closeTag()
		c.out = appendEscaped(c.out, *p, kind)
	}
}

// begin opens an element for writing.
func (c *coder) begin(name string) {
	c.closeTag()
	c.out = append(append(c.out, '<'), name...)
	c.inTag = true
}

func (c *coder) end(name string) {
	if c.inTag {
		c.out = append(c.out, '/', '>')
		c.inTag = false
		return
	}
	c.out = append(append(append(c.out, '<', '/'), name...), '>')
}

func (c *coder) closeTag() {
	if c.inTag {
		c.out = append(c.out, '>')
		c.inTag = false
	}
}

// leaf visits a child that has only text. It is not written when it is empty, unless always; read, it tells whether
// the child is there.
func (c *coder) leaf(name string, p *string, kind escaping, always bool) bool {
	if c.t != nil {
		n := c.t.Child(c.n, name)
		if n != xmltree.Root {
			*p = c.t.Text(n)
		}
		return n != xmltree.Root
	}
	if *p != "" || always {
		c.begin(name)
		c.text(p, kind)
		c.end(name)
	}
	return true
}

// one visits a child that is there or not.
func one[T any](c *coder, name string, p **T, visit func(*T, *coder)) {
	if c.t != nil {
		if n := c.t.Child(c.n, name); n != xmltree.Root {
			*p = new(T)
			parent := c.n
			c.n = n
			visit(*p, c)
			c.n = parent
		}
		return
	}
	if *p != nil {
		c.begin(name)
		visit(*p, c)
		c.end(name)
	}
}

// many visits repeated children.
func many[T any](c *coder, name string, p *[]T, visit func(*T, *coder)) {
	if c.t == nil {
		for i := range *p {
			c.begin(name)
			visit(&(*p)[i], c)
			c.end(name)
		}
		return
	}
	first, count := c.t.Child(c.n, name), 0
	for n := first; n != xmltree.Root; n = c.t.Sibling(c.n, n, name) {
		count++
	}
	if count == 0 {
		return
	}
	if *c.lists -= count; *c.lists < 0 {
		c.fail(xmltree.TooLarge("%d elements %q are too many", count, name))
		return
	}
	*p = make([]T, count)
	parent, n := c.n, first
	for i := range *p {
		c.n = n
		visit(&(*p)[i], c)
		n = c.t.Sibling(parent, n, name)
	}
	c.n = parent
}

type escaping int

const (
	inAttribute escaping = iota
	inText
	inChat    // line ends go out as CR LF; a parser makes LF of it, so that people read what was typed
	inChatRef // line ends go out as references to CR and LF, as in vector V20
)

// appendEscaped appends text so that an XML 1.0 parser reads the same. What XML cannot say becomes U+FFFD.
func appendEscaped(dst []byte, s string, kind escaping) []byte {
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
		case b == '\n' && kind == inChat:
			ref = "\r\n"
		case b == '\n' && kind == inChatRef:
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
