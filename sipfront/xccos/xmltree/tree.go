// Package xmltree reads one small XML document from a stranger: it checks it, within limits, and indexes it.
//
// It is stricter than encoding/xml (a duplicate attribute, a second root, a processing instruction or a document type
// is refused) and cheaper: the index holds positions only, and strings share one copy of the body. It is pure.
package xmltree

import (
	"fmt"
	"strings"
)

// Limits of what is read. They bound the memory and the time that one body can cost: at most eight times its own size,
// and time linear in it.
const (
	MaxBytes    = 1 << 20 // of a body
	MaxDepth    = 32      // nested elements, the root included
	MaxElements = 20000   // in a body
	MaxAttrs    = 64      // of one element
	MaxName     = 128     // bytes of an element's or attribute's name, prefix included
)

// maxBindings bounds the namespace prefixes in scope, so that resolving one stays cheap.
const maxBindings = 64

// Error says why a body was refused. Text names elements and attributes, never their content.
type Error struct {
	Code int // 400 malformed, 413 over a limit
	Text string
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Malformed makes an error with code 400.
func Malformed(format string, args ...any) *Error {
	return &Error{Code: 400, Text: fmt.Sprintf(format, args...)}
}

// TooLarge makes an error with code 413.
func TooLarge(format string, args ...any) *Error {
	return &Error{Code: 413, Text: fmt.Sprintf(format, args...)}
}

// Node is an element of a tree: its place in document order. Root is the first.
type Node int

// Root is the root element; as the answer of a search it means that there is none.
const Root Node = 0

// node is an element. Positions are offsets into Tree.s, so that a node costs 24 bytes whatever it says.
type node struct {
	name     uint32 // of the local name
	inner    uint32 // content between the tags
	innerEnd uint32
	attr     uint32 // index of the first attribute
	end      uint32 // index after the last node of this subtree: nodes stand in document order
	nameLen  uint8
	attrs    uint8
	foreign  bool // of another namespace: its reader ignores it
}

type attr struct {
	name, val, valEnd uint32
	nameLen           uint8
}

// in returns the name of the attribute, with its prefix, in the text it was read from.
func (a *attr) in(s string) string { return s[a.name : a.name+uint32(a.nameLen)] }

// Tree is a body that was found to be well-formed.
type Tree struct {
	s     string
	nodes []node
	attrs []attr
}

// Parse checks a body and indexes it. Elements of a namespace other than ns are foreign; elements without any are not,
// because not every client declares it. A first pass only checks and counts, so that a hostile body is refused before
// anything is allocated for it and an honest one costs two allocations of the right size.
func Parse(body []byte, ns string) (*Tree, *Error) {
	if len(body) > MaxBytes {
		return nil, TooLarge("body of %d bytes, at most %d", len(body), MaxBytes)
	}
	if err := checkChars(body); err != nil {
		return nil, err
	}
	s := string(body)
	count := scanner{s: s, ns: ns}
	if err := count.run(); err != nil {
		return nil, err
	}
	t := &Tree{s: s, nodes: make([]node, 0, count.elements), attrs: make([]attr, 0, count.attributes)}
	fill := scanner{s: s, ns: ns, t: t}
	if err := fill.run(); err != nil {
		return nil, err
	}
	return t, nil
}

// Local returns the name of a node without its prefix.
func (t *Tree) Local(i Node) string {
	n := &t.nodes[i]
	return t.s[n.name : n.name+uint32(n.nameLen)]
}

// Foreign reports whether a node is of another namespace.
func (t *Tree) Foreign(i Node) bool { return t.nodes[i].foreign }

// End returns the node after the subtree of i: its next sibling, or the end of its parent.
func (t *Tree) End(i Node) Node { return Node(t.nodes[i].end) }

// Attr returns an attribute of a node.
func (t *Tree) Attr(i Node, name string) (string, bool) {
	for _, a := range t.list(i) {
		if a.in(t.s) == name {
			return unescape(t.s[a.val:a.valEnd], true), true
		}
	}
	return "", false
}

// Values calls visit with the value of each attribute of a node, namespace declarations included.
func (t *Tree) Values(i Node, visit func(value string)) {
	for _, a := range t.list(i) {
		visit(unescape(t.s[a.val:a.valEnd], true))
	}
}

func (t *Tree) list(i Node) []attr {
	n := &t.nodes[i]
	return t.attrs[n.attr : n.attr+uint32(n.attrs)]
}

// Child returns the first child of i with this name that is not foreign, or Root.
func (t *Tree) Child(i Node, name string) Node { return t.find(i+1, t.End(i), name) }

// Sibling returns the first such child of parent after the child i, or Root.
func (t *Tree) Sibling(parent, i Node, name string) Node {
	return t.find(t.End(i), t.End(parent), name)
}

func (t *Tree) find(at, end Node, name string) Node {
	for ; at < end; at = t.End(at) {
		if !t.nodes[at].foreign && t.Local(at) == name {
			return at
		}
	}
	return Root
}

// Text returns all text inside a node, that of nested elements included.
func (t *Tree) Text(i Node) string {
	s := t.s[t.nodes[i].inner:t.nodes[i].innerEnd]
	lt := strings.IndexByte(s, '<')
	if lt < 0 {
		return unescape(s, false)
	}
	var b strings.Builder
	for ; lt >= 0; lt = strings.IndexByte(s, '<') {
		b.WriteString(unescape(s[:lt], false))
		switch s = s[lt:]; {
		case strings.HasPrefix(s, "<!--"):
			s = s[len("<!--"):] // its end may overlap its start: <!-->
			s = s[strings.Index(s, "-->")+len("-->"):]
		case strings.HasPrefix(s, "<![CDATA["):
			end := strings.Index(s, "]]>")
			raw := strings.ReplaceAll(s[len("<![CDATA["):end], "\r\n", "\n")
			b.WriteString(strings.ReplaceAll(raw, "\r", "\n"))
			s = s[end+len("]]>"):]
		default:
			s = s[tagLen(s):]
		}
	}
	b.WriteString(unescape(s, false))
	return b.String()
}

// tagLen returns the length of the tag at the start of s; a quoted value may hold a '>'.
func tagLen(s string) int {
	var quote byte
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return len(s)
}
