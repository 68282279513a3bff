package event

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Coder visits the fields of a message in the protobuf wire format. One visit function per message serves both
// directions, so that writer and reader cannot drift apart. Zero values are not written (proto3).
//
// Errors are sticky: after the first one all further visits do nothing, and Marshal or Unmarshal returns it.
type Coder struct {
	out     []byte
	fields  int // written to out
	in      []field
	reading bool
	err     error
}

type field struct {
	num protowire.Number
	typ protowire.Type
	val uint64
	buf []byte
}

// maxFields bounds how many fields a message may have, so that hostile input cannot make a reader allocate
// without end. A room change with 100,000 members fits.
const maxFields = 1 << 17

// Message is anything with a visit function.
type Message interface{ Code(*Coder) }

// Marshal returns the wire form of m.
func Marshal(m Message) []byte {
	var c Coder
	m.Code(&c)
	return c.out
}

// Unmarshal reads the wire form b into m. Fields that m does not visit are ignored. Byte slices in m do not
// alias b.
func Unmarshal(b []byte, m Message) error {
	c, err := newReader(b)
	if err != nil {
		return err
	}
	m.Code(c)
	return c.err
}

func newReader(b []byte) (*Coder, error) {
	c := &Coder{reading: true}
	if len(b) > 0 { // a list of 100,000 empty messages costs nothing
		c.in = make([]field, 0, 8)
	}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, fmt.Errorf("message tag: %w: %w", protowire.ParseError(n), ErrCorrupt)
		}
		b = b[n:]
		f := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			f.val, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.buf, n = protowire.ConsumeBytes(b)
		case protowire.Fixed64Type:
			f.val, n = protowire.ConsumeFixed64(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil, fmt.Errorf("message field %d: %w: %w", num, protowire.ParseError(n), ErrCorrupt)
		}
		b = b[n:]
		if len(c.in) >= maxFields {
			return nil, fmt.Errorf("message has more than %d fields: %w", maxFields, ErrCorrupt)
		}
		c.in = append(c.in, f)
	}
	return c, nil
}

// Reading reports whether the visit reads (true) or writes.
func (c *Coder) Reading() bool { return c.reading }

// Fail records an error found by a visit function.
func (c *Coder) Fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// find returns the last occurrence of a field, as protobuf asks.
func (c *Coder) find(num protowire.Number, typ protowire.Type) *field {
	for i := len(c.in) - 1; i >= 0; i-- {
		if c.in[i].num == num {
			if c.in[i].typ != typ {
				c.Fail(fmt.Errorf("message field %d has wire type %d, want %d: %w", num, c.in[i].typ, typ, ErrCorrupt))
				return nil
			}
			return &c.in[i]
		}
	}
	return nil
}

// tag writes the tag of a field. More fields than a reader accepts are refused here: they could be written, but never
// read again.
func (c *Coder) tag(num protowire.Number, typ protowire.Type) []byte {
	if c.fields++; c.fields > maxFields {
		c.Fail(fmt.Errorf("message has more than %d fields", maxFields))
	}
	return protowire.AppendTag(c.out, num, typ)
}

// each calls f with every occurrence of a repeated field of wire type bytes, until one fails.
func (c *Coder) each(num protowire.Number, f func(buf []byte) error) {
	for i := range c.in {
		if c.in[i].num != num {
			continue
		}
		if c.in[i].typ != protowire.BytesType {
			c.Fail(fmt.Errorf("message field %d has wire type %d, want %d: %w", num, c.in[i].typ, protowire.BytesType, ErrCorrupt))
			return
		}
		if err := f(c.in[i].buf); err != nil {
			c.Fail(err)
			return
		}
	}
}

// Str visits a string field of any string type. The text must be valid UTF-8.
func Str[T ~string](c *Coder, num protowire.Number, p *T) {
	if !c.reading {
		if !utf8.ValidString(string(*p)) { // it could be written, but never read again
			c.Fail(fmt.Errorf("message field %d is not UTF-8", num))
		}
		if *p != "" {
			c.out = protowire.AppendString(c.tag(num, protowire.BytesType), string(*p))
		}
		return
	}
	if f := c.find(num, protowire.BytesType); f != nil {
		if !utf8.Valid(f.buf) {
			c.Fail(fmt.Errorf("message field %d is not UTF-8: %w", num, ErrCorrupt))
			return
		}
		*p = T(f.buf)
	}
}

// Strs visits a repeated string field.
func Strs[T ~string](c *Coder, num protowire.Number, p *[]T) {
	if !c.reading {
		for _, s := range *p {
			if !utf8.ValidString(string(s)) {
				c.Fail(fmt.Errorf("message field %d is not UTF-8", num))
			}
			c.out = protowire.AppendString(c.tag(num, protowire.BytesType), string(s))
		}
		return
	}
	c.each(num, func(buf []byte) error {
		if !utf8.Valid(buf) {
			return fmt.Errorf("message field %d is not UTF-8: %w", num, ErrCorrupt)
		}
		*p = append(*p, T(buf))
		return nil
	})
}

// Uint visits an unsigned integer field of any unsigned type.
func Uint[T ~uint64 | ~uint32 | ~uint16 | ~uint8 | ~uint](c *Coder, num protowire.Number, p *T) {
	v := uint64(*p)
	if c.uint(num, &v); !c.reading {
		return // what is written may be shared with other readers
	}
	if *p = T(v); uint64(*p) != v {
		c.Fail(fmt.Errorf("message field %d is %d, too large for its type: %w", num, v, ErrCorrupt))
	}
}

// Int visits a signed integer field as its two's complement, as protobuf's int64 does.
func Int[T ~int64 | ~int32 | ~int](c *Coder, num protowire.Number, p *T) {
	v := uint64(int64(*p))
	if c.uint(num, &v); !c.reading {
		return
	}
	if *p = T(int64(v)); uint64(int64(*p)) != v {
		c.Fail(fmt.Errorf("message field %d is %d, too large for its type: %w", num, int64(v), ErrCorrupt))
	}
}

func (c *Coder) uint(num protowire.Number, p *uint64) {
	if !c.reading {
		if *p != 0 {
			c.out = protowire.AppendVarint(c.tag(num, protowire.VarintType), *p)
		}
		return
	}
	if f := c.find(num, protowire.VarintType); f != nil {
		*p = f.val
	}
}

// Bool visits a boolean field.
func (c *Coder) Bool(num protowire.Number, p *bool) {
	var v uint64
	if *p {
		v = 1
	}
	if c.uint(num, &v); c.reading {
		*p = v != 0
	}
}

// Bytes visits a bytes field. What is read is a copy.
func (c *Coder) Bytes(num protowire.Number, p *[]byte) {
	if !c.reading {
		if len(*p) > 0 {
			c.out = protowire.AppendBytes(c.tag(num, protowire.BytesType), *p)
		}
		return
	}
	if f := c.find(num, protowire.BytesType); f != nil {
		*p = append([]byte(nil), f.buf...)
	}
}

// Fixed visits a bytes field of a fixed size; all zero bytes are not written.
func (c *Coder) Fixed(num protowire.Number, p []byte) {
	if !c.reading {
		for _, b := range p {
			if b != 0 {
				c.out = protowire.AppendBytes(c.tag(num, protowire.BytesType), p)
				return
			}
		}
		return
	}
	if f := c.find(num, protowire.BytesType); f != nil {
		if len(f.buf) != len(p) {
			c.Fail(fmt.Errorf("message field %d has %d bytes, want %d: %w", num, len(f.buf), len(p), ErrCorrupt))
			return
		}
		copy(p, f.buf)
	}
}

// Sub visits an embedded message through its own visit function.
func (c *Coder) Sub(num protowire.Number, visit func(*Coder)) {
	if !c.reading {
		var s Coder
		visit(&s)
		c.failIf(s.err)
		if len(s.out) > 0 {
			c.out = protowire.AppendBytes(c.tag(num, protowire.BytesType), s.out)
		}
		return
	}
	if f := c.find(num, protowire.BytesType); f != nil {
		s, err := newReader(f.buf)
		if err != nil {
			c.Fail(err)
			return
		}
		visit(s)
		c.failIf(s.err)
	}
}

// failIf records err if it is not nil.
func (c *Coder) failIf(err error) {
	if err != nil {
		c.Fail(err)
	}
}

// Subs visits a repeated embedded message.
func Subs[T any](c *Coder, num protowire.Number, p *[]T, visit func(*T, *Coder)) {
	if !c.reading {
		for i := range *p {
			var s Coder
			visit(&(*p)[i], &s)
			c.failIf(s.err)
			c.out = protowire.AppendBytes(c.tag(num, protowire.BytesType), s.out)
		}
		return
	}
	c.each(num, func(buf []byte) error {
		s, err := newReader(buf)
		if err != nil {
			return err
		}
		var v T
		visit(&v, s)
		*p = append(*p, v)
		return s.err
	})
}
