package table

import (
	"slices"

	"github.com/tidwall/btree"

	"parley/log/wire"
)

// Index is an order of rows.
type Index[V any] struct {
	tree *btree.BTreeG[indexed]
	hint func(*V) uint64
}

type indexed struct {
	hint uint64
	row  any // *V
}

// NewIndex orders rows by their hint, then by less. What is to stay together must have one hint, and in a table the
// two together must be the order of the row keys.
func NewIndex[V any](hint func(*V) uint64, less func(a, b *V) bool) Index[V] {
	return Index[V]{hint: hint, tree: NewTree(func(a, b indexed) bool {
		if a.hint != b.hint {
			return a.hint < b.hint
		}
		return less(a.row.(*V), b.row.(*V))
	})}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes x may call it.
func (x *Index[V]) Copy() Index[V] { return Index[V]{hint: x.hint, tree: x.tree.Copy()} }

func (x *Index[V]) at(v *V) indexed { return indexed{x.hint(v), v} }

// Len returns the number of rows.
func (x *Index[V]) Len() int { return x.tree.Len() }

// Get returns the row with the key of like, or nil.
func (x *Index[V]) Get(like *V) *V {
	r, _ := x.tree.Get(x.at(like))
	return pointer[V](r.row)
}

// Set adds or replaces a row, and reports whether it replaced one.
func (x *Index[V]) Set(v *V) bool {
	_, had := x.tree.Set(x.at(v))
	return had
}

// Fill adds many rows in any order: sorted first, which is several times faster in a large index. It calls each with
// every row, in the order of the index, before the row is in it.
func (x *Index[V]) Fill(rows []*V, each func(*V)) {
	list := make([]indexed, len(rows))
	for i, v := range rows {
		list[i] = x.at(v)
	}
	slices.SortFunc(list, func(a, b indexed) int {
		switch {
		case x.tree.Less(a, b):
			return -1
		case x.tree.Less(b, a):
			return 1
		}
		return 0
	})
	for _, r := range list {
		each(r.row.(*V))
		x.tree.Load(r)
	}
}

// Remove deletes the row with the key of v, and reports whether there was one.
func (x *Index[V]) Remove(v *V) bool {
	_, had := x.tree.Delete(x.at(v))
	return had
}

// Scan visits the rows in order until f returns false.
func (x *Index[V]) Scan(f func(*V) bool) {
	x.tree.Scan(func(r indexed) bool { return f(r.row.(*V)) })
}

// From visits the rows from the key of like on.
func (x *Index[V]) From(like *V, f func(*V) bool) {
	x.tree.Ascend(x.at(like), func(r indexed) bool { return f(r.row.(*V)) })
}

// Tupled is a table whose rows have several texts as their key.
type Tupled[V any] struct {
	Index[V]
	prefix byte
	parts  func(*V) []string
	code   func(*V, *wire.Coder)
	dec    *wire.Decoder // while rows are loaded
}

// NewTupled returns an empty table; hint and less are those of NewIndex.
func NewTupled[V any](prefix byte, hint func(*V) uint64, less func(a, b *V) bool, parts func(*V) []string, code func(*V, *wire.Coder)) Tupled[V] {
	return Tupled[V]{Index: NewIndex(hint, less), prefix: prefix, parts: parts, code: code}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes t may call it.
func (t *Tupled[V]) Copy() Tupled[V] {
	c := *t
	c.Index, c.dec = t.Index.Copy(), nil
	return c
}

// Put adds or replaces a row.
func (t *Tupled[V]) Put(save Saver, v *V) {
	t.Set(v)
	if save != nil {
		save.Set(t.key(v), Encode(v, t.code))
	}
}

// Drop deletes the row with the key of v, and reports whether there was one.
func (t *Tupled[V]) Drop(save Saver, v *V) bool {
	had := t.Remove(v)
	if had && save != nil {
		save.Delete(t.key(v))
	}
	return had
}

func (t *Tupled[V]) key(v *V) []byte { return Key(t.prefix, t.parts(v)...) }

// Load is Rows'. It is fastest when the rows come in the order of their keys.
func (t *Tupled[V]) Load(key, value []byte) error {
	if t.dec == nil {
		t.dec = new(wire.Decoder)
	}
	return decode(t.dec, key, value, t.key, t.code, func(v *V) { t.tree.Load(t.at(v)) })
}

// Each is Rows'.
func (t *Tupled[V]) Each(yield func(key, value []byte) bool) (more bool) {
	more = true
	t.Scan(func(v *V) bool {
		more = yield(t.key(v), Encode(v, t.code))
		return more
	})
	return more
}
