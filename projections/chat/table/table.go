// Package table holds rows in the order of their keys, in trees that are copied in O(1) and share what neither copy
// changes (docs/decisions/0002). A table gives every row that changes to a Saver and is filled again from what the
// Saver kept. It is pure: what the rows mean, and where they are kept, is the business of whoever owns the table.
//
// Rows are immutable: a change puts a new row, it never edits one.
package table

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/tidwall/btree"

	"parley/log/event"
	"parley/log/wire"
)

// Saver receives the rows that changed. What it does with them, and whether they are durable before the next event,
// is its own business: filling a table again needs the rows of one offset, no more.
type Saver interface {
	Set(key, value []byte)
	Delete(key []byte)
}

// Rows is a table as something to save, load and hash.
type Rows interface {
	// Load adds a saved row. One that does not decode, or that lies under another key than its own, is an error of
	// class event.ErrCorrupt.
	Load(key, value []byte) error
	// Each yields all rows in the order of their keys, and reports whether the yields asked for more.
	Each(yield func(key, value []byte) bool) bool
}

// Key joins the parts of a row's key with NUL, which no part contains, so that the order of the bytes is the order of
// the parts. The prefix names the table.
func Key(prefix byte, parts ...string) []byte {
	n := len(parts)
	for _, p := range parts {
		n += len(p)
	}
	k := append(make([]byte, 0, n), prefix)
	for i, p := range parts {
		if i > 0 {
			k = append(k, 0)
		}
		k = append(k, p...)
	}
	return k
}

// visit makes a visit function a message.
type visit func(*wire.Coder)

func (v visit) Code(c *wire.Coder) { v(c) }

// Encode returns the value of a row.
func Encode[V any](v *V, code func(*V, *wire.Coder)) []byte {
	return wire.Marshal(visit(func(c *wire.Coder) { code(v, c) }))
}

// Decode decodes a row, refuses it when it is not under its own key, and sets it.
func Decode[V any](key, value []byte, own func(*V) []byte, code func(*V, *wire.Coder), set func(*V)) error {
	return decode(new(wire.Decoder), key, value, own, code, set)
}

// decode is Decode in the memory of a decoder: a state has millions of rows.
func decode[V any](d *wire.Decoder, key, value []byte, own func(*V) []byte, code func(*V, *wire.Coder), set func(*V)) error {
	v := new(V)
	if err := d.Unmarshal(value, visit(func(c *wire.Coder) { code(v, c) })); err != nil {
		return err
	}
	if !bytes.Equal(key, own(v)) {
		return fmt.Errorf("the row belongs under key %x: %w", own(v), event.ErrCorrupt)
	}
	set(v)
	return nil
}

// Hint returns eight bytes of a key, after skip, as a number in the order of the bytes. Trees compare it before the
// key itself: it lies in the node, the key elsewhere in memory, and a large pool does not fit into a cache.
func Hint(key string, skip int) (h uint64) {
	for i := skip; i < skip+8; i++ {
		h <<= 8
		if i < len(key) {
			h |= uint64(key[i])
		}
	}
	return h
}

// NewTree returns an empty tree without locks: one goroutine owns it.
func NewTree[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

// Keyed is a table whose rows have one text as their key.
//
// Its tree is of one type whatever the rows are, and so is that of an Index. Every package that sees a type made of
// generic ones compiles all of their methods again, and half of this module sees the state: with trees of their own for
// thirty tables each such package took a quarter of a minute.
type Keyed[K ~string, V any] struct {
	rows   *btree.BTreeG[keyedRow]
	hash   *Hash // nil unless Hashed
	prefix byte
	skip   int
	id     func(*V) K
	code   func(*V, *wire.Coder)
	dec    *wire.Decoder // while rows are loaded
}

type keyedRow struct {
	hint uint64
	key  string
	row  any // *V
}

func keyedLess(a, b keyedRow) bool {
	if a.hint != b.hint {
		return a.hint < b.hint
	}
	return a.key < b.key
}

// NewKeyed returns an empty table. skip is how many bytes all keys have in common.
func NewKeyed[K ~string, V any](prefix byte, skip int, id func(*V) K, code func(*V, *wire.Coder)) Keyed[K, V] {
	return Keyed[K, V]{rows: NewTree(keyedLess), prefix: prefix, skip: skip, id: id, code: code}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes t may call it.
func (t *Keyed[K, V]) Copy() Keyed[K, V] {
	c := *t
	c.rows, c.dec = t.rows.Copy(), nil
	if t.hash != nil {
		c.hash = t.hash.Copy()
	}
	return c
}

func (t *Keyed[K, V]) at(k K) keyedRow {
	return keyedRow{hint: Hint(string(k), t.skip), key: string(k)}
}

// Get returns the row or nil.
func (t *Keyed[K, V]) Get(k K) *V {
	if t.hash != nil {
		return pointer[V](t.hash.Get(string(k)))
	}
	r, _ := t.rows.Get(t.at(k))
	return pointer[V](r.row)
}

// pointer is nil if there is no row.
func pointer[V any](row any) *V {
	v, _ := row.(*V)
	return v
}

// Value returns a copy of the row.
func (t *Keyed[K, V]) Value(k K) (v V, ok bool) {
	if p := t.Get(k); p != nil {
		return *p, true
	}
	return v, false
}

// Len returns the number of rows.
func (t *Keyed[K, V]) Len() int { return t.rows.Len() }

// Scan visits the rows in the order of their keys until f returns false.
func (t *Keyed[K, V]) Scan(f func(*V) bool) {
	t.rows.Scan(func(r keyedRow) bool { return f(r.row.(*V)) })
}

// From visits the rows from a key on.
func (t *Keyed[K, V]) From(k K, f func(*V) bool) {
	t.rows.Ascend(t.at(k), func(r keyedRow) bool { return f(r.row.(*V)) })
}

// All returns copies of the rows in the order of their keys.
func (t *Keyed[K, V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		t.Scan(func(v *V) bool { return yield(*v) })
	}
}

func (t *Keyed[K, V]) set(v *V) {
	r := t.at(t.id(v))
	r.row = v
	t.rows.Set(r)
	if t.hash != nil {
		t.hash.Set(v)
	}
}

// Put adds or replaces a row.
func (t *Keyed[K, V]) Put(save Saver, v *V) {
	t.set(v)
	if save != nil {
		save.Set(t.key(v), Encode(v, t.code))
	}
}

// Remove deletes the row of a key, if there is one.
func (t *Keyed[K, V]) Remove(save Saver, k K) {
	if t.hash != nil {
		t.hash.Remove(string(k))
	}
	if old, had := t.rows.Delete(t.at(k)); had && save != nil {
		save.Delete(t.key(old.row.(*V)))
	}
}

func (t *Keyed[K, V]) key(v *V) []byte { return Key(t.prefix, string(t.id(v))) }

// Load is Rows'. It is fastest when the rows come in the order of their keys.
func (t *Keyed[K, V]) Load(key, value []byte) error {
	if t.dec == nil {
		t.dec = new(wire.Decoder)
	}
	return decode(t.dec, key, value, t.key, t.code, func(v *V) {
		r := t.at(t.id(v))
		r.row = v
		t.rows.Load(r)
		if t.hash != nil {
			t.hash.Set(v)
		}
	})
}

// Each is Rows'.
func (t *Keyed[K, V]) Each(yield func(key, value []byte) bool) (more bool) {
	more = true
	t.Scan(func(v *V) bool {
		more = yield(t.key(v), Encode(v, t.code))
		return more
	})
	return more
}
