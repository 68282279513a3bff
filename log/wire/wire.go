// Package wire reads and writes messages in the protobuf wire format through one visit function for each, in which stored
// bytes, requests between nodes and rows of projections are written. It is pure, and knows nothing of what they mean.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Coder visits the fields of a message in the protobuf wire format. One visit function per message serves both
// directions, so that writer and reader cannot drift apart. Zero values are not written (proto3).
//
// An embedded message is visited with the same Coder, so that a message costs no memory but its bytes: what belongs to
// the outer message is put aside meanwhile.
//
// Errors are sticky: the first one counts, and Marshal or Unmarshal returns it.
type Coder struct {
	out      []byte
	size     int     // counting: what would have been written to out
	fields   int     // written to out
	in       []field // of the message that is read; its spare capacity is for the messages in it
	reading  bool
	counting bool // nothing is written, only counted
	err      error
}

type field struct {
	num protowire.Number
	typ protowire.Type
	val uint64
	buf []byte
}

// ErrCorrupt is the class of every error that says stored bytes are not what was written.
var ErrCorrupt = errors.New("corrupt")

// MaxFields bounds how many fields a message may have, so that hostile input cannot make a reader allocate
// without end. A room change with 100,000 members fits.
const MaxFields = 1 << 17

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
	return new(Coder).Read(b, m.Code)
}

// Decoder reads one message after the other in the same memory: for whoever reads millions. The zero value is ready.
type Decoder struct{ c Coder }

// Unmarshal is the function of the same name.
func (d *Decoder) Unmarshal(b []byte, m Message) error { return d.c.Read(b, m.Code) }

// Read reads the wire form b through a visit function, in the memory of what was read before.
func (c *Coder) Read(b []byte, visit func(*Coder)) error {
	if err := c.read(b); err != nil {
		return err
	}
	visit(c)
	return c.err
}

// Write returns the wire form that a visit function writes, until the next call: it is in the memory of what was written before.
func (c *Coder) Write(visit func(*Coder)) ([]byte, error) {
	*c = Coder{out: c.out[:0]}
	visit(c)
	return c.out, c.err
}

// Size returns how many bytes a visit function would write.
func Size(visit func(*Coder)) (int, error) {
	c := Coder{counting: true}
	visit(&c)
	return c.size, c.err
}

// read makes c a reader of b. Everything but the memory of an earlier message is forgotten.
func (c *Coder) read(b []byte) (err error) {
	c.reading, c.err = true, nil
	c.in, err = appendFields(c.in[:0], b)
	return err
}

// appendFields adds the fields of the message b to in.
func appendFields(in []field, b []byte) ([]field, error) {
	count := 0
	if cap(in)-len(in) == 0 && len(b) > 0 { // a list of 100,000 empty messages costs nothing
		in = make([]field, 0, 16)
	}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return in, fmt.Errorf("message tag: %w: %w", protowire.ParseError(n), ErrCorrupt)
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
			return in, fmt.Errorf("message field %d: %w: %w", num, protowire.ParseError(n), ErrCorrupt)
		}
		b = b[n:]
		if count++; count > MaxFields {
			return in, fmt.Errorf("message has more than %d fields: %w", MaxFields, ErrCorrupt)
		}
		in = append(in, f)
	}
	return in, nil
}

// inside visits an embedded message that is read.
func (c *Coder) inside(buf []byte, visit func(*Coder)) {
	outer := c.in
	in, err := appendFields(outer[len(outer):], buf)
	if err != nil {
		c.Fail(err)
		return
	}
	c.in = in
	visit(c)
	c.in = outer
}

// Reading reports whether the visit reads (true) or writes.
func (c *Coder) Reading() bool { return c.reading }

// Fail records an error found by a visit function.
func (c *Coder) Fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// Raw returns a field of wire type bytes as it stands, while the message is read; nil if there is none.
func (c *Coder) Raw(num protowire.Number) []byte {
	if f := c.find(num, protowire.BytesType); f != nil {
		return f.buf
	}
	return nil
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

// field counts a field that is written. More than a reader accepts are refused here: they could be written, but never
// read again.
func (c *Coder) field() {
	if c.fields++; c.fields > MaxFields {
		c.Fail(fmt.Errorf("message has more than %d fields", MaxFields))
	}
}

// put writes a field of wire type bytes.
func put[T ~string | ~[]byte](c *Coder, num protowire.Number, v T) {
	c.field()
	if c.counting {
		c.size += protowire.SizeTag(num) + protowire.SizeBytes(len(v))
		return
	}
	c.out = protowire.AppendTag(c.out, num, protowire.BytesType)
	c.out = protowire.AppendVarint(c.out, uint64(len(v)))
	c.out = append(c.out, v...)
}

// putSub writes an embedded message, an empty one only if always is set.
func (c *Coder) putSub(num protowire.Number, always bool, visit func(*Coder)) {
	outer := c.fields
	before, size := len(c.out), c.size
	if !c.counting {
		c.out = protowire.AppendTag(c.out, num, protowire.BytesType)
	}
	start := len(c.out)
	c.fields = 0
	visit(c)
	c.fields = outer
	n := len(c.out) - start + c.size - size // one of the two is zero
	if n == 0 && !always {
		c.out = c.out[:before]
		return
	}
	c.field()
	if c.counting {
		c.size += protowire.SizeTag(num) + protowire.SizeVarint(uint64(n))
		return
	}
	// Its length goes before it and is known only now.
	var length [binary.MaxVarintLen64]byte
	l := binary.PutUvarint(length[:], uint64(n))
	c.out = append(c.out, length[:l]...)
	copy(c.out[start+l:], c.out[start:])
	copy(c.out[start:], length[:l])
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
			put(c, num, *p)
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
			put(c, num, s)
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
		switch {
		case *p == 0:
			return
		case c.counting:
			c.size += protowire.SizeTag(num) + protowire.SizeVarint(*p)
		default:
			c.out = protowire.AppendTag(c.out, num, protowire.VarintType)
			c.out = protowire.AppendVarint(c.out, *p)
		}
		c.field()
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
			put(c, num, *p)
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
				put(c, num, p)
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
		c.putSub(num, false, visit)
		return
	}
	if f := c.find(num, protowire.BytesType); f != nil {
		c.inside(f.buf, visit)
	}
}

// Subs visits a repeated embedded message.
func Subs[T any](c *Coder, num protowire.Number, p *[]T, visit func(*T, *Coder)) {
	if !c.reading {
		for i := range *p {
			c.putSub(num, true, func(c *Coder) { visit(&(*p)[i], c) })
		}
		return
	}
	c.each(num, func(buf []byte) error {
		var v T
		c.inside(buf, func(c *Coder) { visit(&v, c) })
		*p = append(*p, v)
		return c.err
	})
}
