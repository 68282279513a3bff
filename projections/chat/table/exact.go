package table

import (
	"cmp"
	"slices"

	"github.com/tidwall/btree"
)

// Exact finds a row by its whole key, through a hash of it: the tree compares numbers that lie in its nodes and follows
// one pointer, where an ordered index of texts follows one for each comparison of equal beginnings. It is derived from a
// table, beside it.
type Exact[V any] struct {
	rows    *btree.Map[uint64, any] // *V
	same    func(a, b *V) bool
	crowded bool // two keys had one hash: from then on the table is asked
}

// NewExact returns an empty one; same compares keys.
func NewExact[V any](same func(a, b *V) bool) Exact[V] {
	return Exact[V]{rows: btree.NewMap[uint64, any](0), same: same}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes x may call it.
func (x *Exact[V]) Copy() Exact[V] {
	c := *x
	c.rows = x.rows.Copy()
	return c
}

// HashText adds a text to a hash, eight bytes at a time. It is no secret: who makes two keys equal makes lookups slower.
func HashText(h uint64, text string) uint64 {
	const prime = 0x9e3779b97f4a7c15
	for ; len(text) >= 8; text = text[8:] {
		h = (h ^ Hint(text, 0)) * prime
		h ^= h >> 29
	}
	h = (h ^ Hint(text, 0) ^ uint64(len(text))<<59) * prime
	return h ^ h>>32
}

// Set adds or replaces a row.
func (x *Exact[V]) Set(hash uint64, v *V) {
	if old, had := x.rows.Set(hash, v); had && !x.same(old.(*V), v) {
		x.crowded = true
	}
}

// Remove deletes the row with the key of v.
func (x *Exact[V]) Remove(hash uint64, v *V) {
	if old, had := x.rows.Get(hash); had && x.same(old.(*V), v) {
		x.rows.Delete(hash)
	}
}

// Fill adds many rows to an empty one.
func (x *Exact[V]) Fill(rows []*V, hash func(*V) uint64) {
	type entry struct {
		hash uint64
		row  *V
	}
	list := make([]entry, len(rows))
	for i, v := range rows {
		list[i] = entry{hash(v), v}
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
	for i, e := range list {
		if i > 0 && list[i-1].hash == e.hash {
			x.crowded = true
		}
		x.rows.Load(e.hash, e.row)
	}
}

// Find returns the only row that may have this hash: the caller compares the key. Unless it is certain, a row that is not
// this one may still be in the table.
func (x *Exact[V]) Find(hash uint64) (v *V, certain bool) {
	row, _ := x.rows.Get(hash)
	return pointer[V](row), !x.crowded
}
