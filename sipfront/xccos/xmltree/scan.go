package xmltree

import (
	"strings"
	"unicode/utf8"
)

// checkChars refuses what XML 1.0 section 2.2 does not count as a character, wherever it stands.
func checkChars(body []byte) *Error {
	if !utf8.Valid(body) {
		return Malformed("body is not UTF-8")
	}
	for i, b := range body {
		if b < ' ' && b != '\t' && b != '\n' && b != '\r' {
			return Malformed("control character U+%04X", b)
		}
		if b == 0xEF && body[i+1] == 0xBF && body[i+2] >= 0xBE { // U+FFFE, U+FFFF: three bytes, by utf8.Valid
			return Malformed("body has a non-character")
		}
	}
	return nil
}

type binding struct{ prefix, uri string }

type scanner struct {
	s          string
	ns         string
	pos        int
	t          *Tree // nil: check and count only
	elements   int
	attributes int
	depth      int
	open       [MaxDepth]struct {
		name  string // with prefix
		node  int
		scope int // bindings outside of this element
	}
	attr  [MaxAttrs]attr // of the start tag being read
	n     int
	scope []binding
}

func (p *scanner) run() *Error {
	p.pos = len(p.s) - len(strings.TrimPrefix(p.s, "\ufeff"))
	if err := p.declaration(); err != nil {
		return err
	}
	for {
		i := strings.IndexByte(p.s[p.pos:], '<')
		end := p.pos + i
		if i < 0 {
			end = len(p.s)
		}
		if err := p.text(p.s[p.pos:end]); err != nil {
			return err
		}
		if p.pos = end; i < 0 {
			break
		}
		var err *Error
		switch rest := p.s[p.pos:]; {
		case strings.HasPrefix(rest, "</"):
			err = p.endTag()
		case strings.HasPrefix(rest, "<!--"):
			err = p.comment()
		case strings.HasPrefix(rest, "<![CDATA["):
			err = p.cdata()
		case strings.HasPrefix(rest, "<!"):
			err = Malformed("document type or markup declaration")
		case strings.HasPrefix(rest, "<?"):
			err = Malformed("processing instruction")
		default:
			err = p.startTag()
		}
		if err != nil {
			return err
		}
	}
	if p.depth > 0 {
		return Malformed("body ends inside element %+q", p.open[p.depth-1].name)
	}
	if p.elements == 0 {
		return Malformed("no element")
	}
	return nil
}

// declaration reads the XML declaration, if there is one. Clients on .NET call UTF-8 bytes "utf-16" when they write
// through a string; the bytes have been checked already, so the label does not matter.
func (p *scanner) declaration() *Error {
	rest := p.s[p.pos:]
	if !strings.HasPrefix(rest, "<?xml") || len(rest) < 6 || !isSpace(rest[5]) {
		return nil
	}
	p.pos += len("<?xml")
	if err := p.attributesUntil('?'); err != nil {
		return err
	}
	if !strings.HasPrefix(p.s[p.pos:], "?>") {
		return Malformed("XML declaration does not end")
	}
	p.pos += 2
	for _, a := range p.attr[:p.n] {
		v := p.s[a.val:a.valEnd]
		switch a.in(p.s) {
		case "version":
			if !strings.HasPrefix(v, "1.") {
				return Malformed("XML version is not 1")
			}
		case "encoding":
			switch strings.ToLower(v) {
			case "utf-8", "us-ascii", "utf-16":
			default:
				return Malformed("XML encoding is not UTF-8")
			}
		}
	}
	return nil
}

func (p *scanner) text(s string) *Error {
	if p.depth == 0 {
		for i := range len(s) {
			if !isSpace(s[i]) {
				return Malformed("text outside of the root element")
			}
		}
		return nil
	}
	if strings.Contains(s, "]]>") {
		return Malformed("end of CDATA without its start")
	}
	return checkRefs(s)
}

func (p *scanner) comment() *Error {
	body := p.s[p.pos+len("<!--"):]
	i := strings.Index(body, "--")
	if i < 0 || i+2 >= len(body) || body[i+2] != '>' {
		return Malformed("comment does not end")
	}
	p.pos += len("<!--") + i + len("-->")
	return nil
}

func (p *scanner) cdata() *Error {
	if p.depth == 0 {
		return Malformed("text outside of the root element")
	}
	i := strings.Index(p.s[p.pos:], "]]>")
	if i < 0 {
		return Malformed("CDATA does not end")
	}
	p.pos += i + len("]]>")
	return nil
}

func (p *scanner) startTag() *Error {
	switch {
	case p.depth == 0 && p.elements > 0:
		return Malformed("second root element")
	case p.depth == MaxDepth:
		return Malformed("elements nested deeper than %d", MaxDepth)
	case p.elements == MaxElements:
		return TooLarge("more than %d elements", MaxElements)
	}
	p.pos++
	at := p.pos
	name, local, err := p.name()
	if err != nil {
		return err
	}
	if err := p.attributesUntil('/'); err != nil {
		return err
	}
	scope := len(p.scope)
	foreign, err := p.namespace(name[:len(name)-len(local)])
	if err != nil {
		return err
	}
	p.elements++
	p.attributes += p.n
	p.open[p.depth].name, p.open[p.depth].node, p.open[p.depth].scope = name, p.elements-1, scope
	p.depth++
	empty := p.s[p.pos] == '/'
	if empty {
		p.pos++
	}
	if p.pos >= len(p.s) || p.s[p.pos] != '>' {
		return Malformed("start tag of %+q does not end", name)
	}
	p.pos++
	if p.t != nil {
		p.t.nodes = append(p.t.nodes, node{name: uint32(at + len(name) - len(local)), nameLen: uint8(len(local)),
			inner: uint32(p.pos), attr: uint32(len(p.t.attrs)), attrs: uint8(p.n), foreign: foreign})
		p.t.attrs = append(p.t.attrs, p.attr[:p.n]...)
	}
	if empty {
		p.close(p.pos)
	}
	return nil
}

func (p *scanner) endTag() *Error {
	at := p.pos
	p.pos += len("</")
	name, _, err := p.name()
	if err != nil {
		return err
	}
	p.space()
	if p.pos >= len(p.s) || p.s[p.pos] != '>' {
		return Malformed("end tag of %+q does not end", name)
	}
	p.pos++
	if p.depth == 0 || p.open[p.depth-1].name != name {
		return Malformed("end tag of %+q without its start", name)
	}
	p.close(at)
	return nil
}

// close ends the innermost element, whose content ends at an offset.
func (p *scanner) close(at int) {
	p.depth--
	o := &p.open[p.depth]
	p.scope = p.scope[:o.scope]
	if p.t != nil {
		n := &p.t.nodes[o.node]
		n.innerEnd, n.end = uint32(at), uint32(len(p.t.nodes))
	}
}

// attributesUntil reads attributes up to '>' or the byte stop, which it leaves there.
func (p *scanner) attributesUntil(stop byte) *Error {
	for p.n = 0; ; p.n++ {
		spaced := p.space()
		if p.pos >= len(p.s) {
			return Malformed("body ends inside a tag")
		}
		if c := p.s[p.pos]; c == '>' || c == stop {
			return nil
		}
		if !spaced {
			return Malformed("no space before an attribute")
		}
		if p.n == MaxAttrs {
			return Malformed("more than %d attributes", MaxAttrs)
		}
		at := p.pos
		name, _, err := p.name()
		if err != nil {
			return err
		}
		for i := 0; p.t == nil && i < p.n; i++ {
			if p.attr[i].in(p.s) == name {
				return Malformed("attribute %+q twice", name)
			}
		}
		p.space()
		if p.pos >= len(p.s) || p.s[p.pos] != '=' {
			return Malformed("attribute %+q without a value", name)
		}
		p.pos++
		p.space()
		if p.pos >= len(p.s) || p.s[p.pos] != '"' && p.s[p.pos] != '\'' {
			return Malformed("value of attribute %+q is not quoted", name)
		}
		val := p.pos + 1
		i := strings.IndexByte(p.s[val:], p.s[p.pos])
		if i < 0 {
			return Malformed("value of attribute %+q does not end", name)
		}
		if strings.IndexByte(p.s[val:val+i], '<') >= 0 {
			return Malformed("value of attribute %+q has a tag in it", name)
		}
		if err := checkRefs(p.s[val : val+i]); err != nil {
			return err
		}
		p.attr[p.n] = attr{name: uint32(at), nameLen: uint8(len(name)), val: uint32(val), valEnd: uint32(val + i)}
		p.pos = val + i + 1
	}
}

// namespace takes the start tag's declarations into scope and tells whether an element with this prefix ("p:" or "")
// is foreign. An element without any namespace is one of ours: not every client declares it.
func (p *scanner) namespace(prefix string) (foreign bool, err *Error) {
	for _, a := range p.attr[:p.n] {
		name := a.in(p.s)
		if name != "xmlns" && !strings.HasPrefix(name, "xmlns:") {
			continue
		}
		if len(p.scope) == maxBindings {
			return false, Malformed("more than %d namespaces", maxBindings)
		}
		b := binding{uri: unescape(p.s[a.val:a.valEnd], true)}
		if name != "xmlns" {
			if b.prefix = name[len("xmlns:"):] + ":"; b.uri == "" {
				return false, Malformed("prefix %+q has an empty namespace", b.prefix)
			}
		}
		p.scope = append(p.scope, b)
	}
	for i := len(p.scope) - 1; i >= 0; i-- {
		if p.scope[i].prefix == prefix {
			return p.scope[i].uri != p.ns && p.scope[i].uri != "", nil
		}
	}
	if prefix != "" {
		return false, Malformed("prefix %+q has no namespace", prefix)
	}
	return false, nil
}

// name reads a name and returns it with and without its prefix.
func (p *scanner) name() (name, local string, err *Error) {
	at := p.pos
	for p.pos < len(p.s) && isNameByte(p.s[p.pos]) {
		p.pos++
	}
	name = p.s[at:p.pos]
	if len(name) > MaxName {
		return "", "", Malformed("name longer than %d bytes", MaxName)
	}
	local = name[strings.IndexByte(name, ':')+1:]
	if local == "" || !isNameStart(local[0]) || !isNameStart(name[0]) || strings.IndexByte(local, ':') >= 0 {
		return "", "", Malformed("bad name")
	}
	return name, local, nil
}

func (p *scanner) space() (any bool) {
	for p.pos < len(p.s) && isSpace(p.s[p.pos]) {
		p.pos++
		any = true
	}
	return any
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= utf8.RuneSelf
}

func isNameByte(c byte) bool {
	return isNameStart(c) || '0' <= c && c <= '9' || c == '-' || c == '.' || c == ':'
}
