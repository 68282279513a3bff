// Package xmlcode reads and writes XML elements with one visit function for both directions, so that the name of an
// attribute stands in one place only.
//
// A visit function names, in order, the attributes and then the children of its element, each with the public source
// that its name is known from. Names walks a visit function without a document and returns what it named: the
// vocabulary as data. The package is pure and knows no vocabulary of its own.
package xmlcode

import (
	"slices"
	"strconv"
	"strings"

	"parley/sipfront/xccos/xmltree"
)

// Source says where a name is known from.
type Source string

// Coder visits the attributes and children of one element. Attributes come before children; empty attributes are not
// written.
type Coder struct {
	Item   string // what is being visited, for visit functions that differ by it
	Client bool   // written as a client writes
	// reading
	t     *xmltree.Tree
	n     xmltree.Node // the element
	lists *int         // how many entries lists may still get
	err   *xmltree.Error
	// writing
	out   []byte
	inTag bool // the start tag is still open for attributes
	// naming
	names *[]Name
	path  string
}

// NewReader returns a coder that reads the element n. Lists counts down the entries that lists get; below zero the
// element is refused, so that a body of small elements cannot become a large tree of values.
func NewReader(t *xmltree.Tree, n xmltree.Node, lists *int) Coder {
	return Coder{t: t, n: n, lists: lists}
}

// NewWriter returns a coder that appends to dst. Bytes returns what was written.
func NewWriter(dst []byte) Coder { return Coder{out: dst} }

// Bytes returns what was written.
func (c *Coder) Bytes() []byte { return c.out }

// Reading reports whether the coder reads.
func (c *Coder) Reading() bool { return c.t != nil }

// Err returns the first fault, nil if there is none. A writer has none.
func (c *Coder) Err() *xmltree.Error { return c.err }

// Fail refuses the element. The first fault stands.
func (c *Coder) Fail(err *xmltree.Error) {
	if c.err == nil {
		c.err = err
	}
}

// Name is a name of the vocabulary.
type Name struct {
	Path    string   // from the first element: "data/chanib@uri"; an element ends without "@"
	Aliases []string // other names that are accepted for it
	Source  Source
}

// Names returns what a visit function names, in the order in which it is written.
func Names(path string, visit func(*Coder)) []Name {
	var all []Name
	c := Coder{names: &all, path: path}
	visit(&c)
	return all
}

func (c *Coder) name(path string, src Source, aliases []string) {
	*c.names = append(*c.names, Name{c.path + path, slices.Clone(aliases), src})
}

// attr reads an attribute by its name or an alias.
func (c *Coder) attr(name string, aliases []string) (string, bool) {
	v, ok := c.t.Attr(c.n, name)
	for i := 0; !ok && i < len(aliases); i++ {
		v, ok = c.t.Attr(c.n, aliases[i])
	}
	return v, ok
}

// Str visits an attribute.
func (c *Coder) Str(name string, src Source, p *string, aliases ...string) {
	switch {
	case c.t != nil:
		if v, ok := c.attr(name, aliases); ok {
			*p = v
		}
	case c.names != nil:
		c.name("@"+name, src, aliases)
	case *p != "":
		c.put(name, *p)
	}
}

// Full visits an attribute that is written even when it is empty. Read, it tells whether it is there.
func (c *Coder) Full(name string, src Source, p *string, aliases ...string) bool {
	switch {
	case c.t != nil:
		v, ok := c.attr(name, aliases)
		if ok {
			*p = v
		}
		return ok
	case c.names != nil:
		c.name("@"+name, src, aliases)
	default:
		c.put(name, *p)
	}
	return true
}

func (c *Coder) put(name, value string) {
	c.out = append(append(append(c.out, ' '), name...), '=', '"')
	c.out = append(appendEscaped(c.out, value, inAttribute), '"')
}

// Uint visits a number; zero is not written. A number too large for the type is read as the largest one.
func Uint[T ~uint32 | ~uint64](c *Coder, name string, src Source, p *T, aliases ...string) {
	if c.t == nil {
		if s := ""; *p != 0 || c.names != nil {
			s = strconv.FormatUint(uint64(*p), 10)
			c.Full(name, src, &s, aliases...)
		}
		return
	}
	s, ok := c.attr(name, aliases)
	if !ok {
		return
	}
	if !IsDigits(s) {
		c.Fail(xmltree.Malformed("attribute %q of %q is not a number", name, c.t.Local(c.n)))
		return
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if *p = T(v); err != nil || uint64(*p) != v {
		*p = ^T(0)
	}
}

// Bool visits a flag; false is not written, unless always.
func (c *Coder) Bool(name string, src Source, p *bool, always bool, aliases ...string) {
	if c.t != nil {
		if v, ok := c.attr(name, aliases); ok {
			*p = IsTrue(v)
		}
		return
	}
	if *p || always || c.names != nil {
		s := strconv.FormatBool(*p)
		c.Full(name, src, &s, aliases...)
	}
}

// IsTrue compares without case, as attributes say "true" and text says "True".
func IsTrue(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

// IsDigits reports whether s is one or more decimal digits.
func IsDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Text visits the text of the element.
func (c *Coder) Text(p *string, kind Escaping) {
	switch {
	case c.t != nil:
		*p = c.t.Text(c.n)
	case *p != "":
		c.closeTag()
		c.out = appendEscaped(c.out, *p, kind)
	}
}

// Begin opens an element for writing.
func (c *Coder) Begin(name string) {
	c.closeTag()
	c.out = append(append(c.out, '<'), name...)
	c.inTag = true
}

// End closes it.
func (c *Coder) End(name string) {
	if c.inTag {
		c.out = append(c.out, '/', '>')
		c.inTag = false
		return
	}
	c.out = append(append(append(c.out, '<', '/'), name...), '>')
}

func (c *Coder) closeTag() {
	if c.inTag {
		c.out = append(c.out, '>')
		c.inTag = false
	}
}

// Leaf visits a child that has only text. It is not written when it is empty, unless always; read, it tells whether
// the child is there.
func (c *Coder) Leaf(name string, src Source, p *string, kind Escaping, always bool) bool {
	switch {
	case c.t != nil:
		n := c.t.Child(c.n, name)
		if n != xmltree.Root {
			*p = c.t.Text(n)
		}
		return n != xmltree.Root
	case c.names != nil:
		c.name("/"+name, src, nil)
	case *p != "" || always:
		c.Begin(name)
		c.Text(p, kind)
		c.End(name)
	}
	return true
}

// first returns the first child with this name or an alias, and the name that it has.
func (c *Coder) first(name string, aliases []string) (xmltree.Node, string) {
	n := c.t.Child(c.n, name)
	for i := 0; n == xmltree.Root && i < len(aliases); i++ {
		name = aliases[i]
		n = c.t.Child(c.n, name)
	}
	return n, name
}

// element names a child and what is in it.
func element[T any](c *Coder, name string, src Source, visit func(*T, *Coder), aliases []string) {
	c.name("/"+name, src, aliases)
	inner := Coder{Item: c.Item, names: c.names, path: c.path + "/" + name}
	visit(new(T), &inner)
}

// One visits a child that is there or not.
func One[T any](c *Coder, name string, src Source, p **T, visit func(*T, *Coder), aliases ...string) {
	switch {
	case c.t != nil:
		if n, _ := c.first(name, aliases); n != xmltree.Root {
			*p = new(T)
			parent := c.n
			c.n = n
			visit(*p, c)
			c.n = parent
		}
	case c.names != nil:
		element(c, name, src, visit, aliases)
	case *p != nil:
		c.Begin(name)
		visit(*p, c)
		c.End(name)
	}
}

// Many visits repeated children. An alias is read only where the name itself does not occur.
func Many[T any](c *Coder, name string, src Source, p *[]T, visit func(*T, *Coder), aliases ...string) {
	if c.names != nil {
		element(c, name, src, visit, aliases)
		return
	}
	if c.t == nil {
		for i := range *p {
			c.Begin(name)
			visit(&(*p)[i], c)
			c.End(name)
		}
		return
	}
	first, name := c.first(name, aliases)
	count := 0
	for n := first; n != xmltree.Root; n = c.t.Sibling(c.n, n, name) {
		count++
	}
	if count == 0 {
		return
	}
	if *c.lists -= count; *c.lists < 0 {
		c.Fail(xmltree.TooLarge("%d elements %q are too many", count, name))
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

// Values calls visit with the value of each attribute of the element and of all elements in it. A writer has none.
func (c *Coder) Values(visit func(value string)) {
	if c.t != nil {
		for n := c.n; n < c.t.End(c.n); n++ {
			c.t.Values(n, visit)
		}
	}
}
