package table

import "slices"

// Hash finds a row by the hash of its key, beside a table that keeps the order: one pointer a level, the upper levels
// always in a cache, where the nodes of an ordered tree are searched and compared, each step a line of memory that is
// nowhere near. Like the tables it is copied in O(1) and shares what neither copy changes (docs/decisions/0002).
//
// It is a trie of six bits of the hash a level. Keys of equal hashes end in one crowd: they cost time, never a wrong answer.
type Hash struct {
	top   any // a slot
	key   func(row any) string
	hash  func(key string) uint64
	owner *owner // of the branches that may be changed in place; nil: none
}

// owner is who may change a branch in place. It has a size so that two are never one address.
type owner struct{ _ byte }

const (
	hashBits  = 6
	fanOut    = 1 << hashBits
	maxLevels = 64 / hashBits // below it no bits are left to tell keys apart
	maxCrowd  = 4             // rows in a slot before it becomes a branch
)

// A slot is nil, a *branch, a *crowd, or else a row.
type (
	branch struct {
		owner *owner
		slots [fanOut]any
	}
	crowd struct { // never changed
		n      int
		hashes [maxCrowd]uint64 // here, so that only the row that is asked for is looked at
		rows   [maxCrowd]any
		next   *crowd // at the lowest level only
	}
)

// all appends the rows of a crowd.
func (c *crowd) all(rows []any) []any {
	for ; c != nil; c = c.next {
		rows = append(rows, c.rows[:c.n]...)
	}
	return rows
}

func (x *Hash) newCrowd(rows []any) *crowd {
	if len(rows) == 0 {
		return nil
	}
	c := &crowd{n: min(len(rows), maxCrowd)}
	for i, row := range rows[:c.n] {
		c.hashes[i], c.rows[i] = x.hash(x.key(row)), row
	}
	c.next = x.newCrowd(rows[c.n:])
	return c
}

// NewHash returns an empty one; key tells the key of a row.
func NewHash(key func(row any) string) *Hash { return &Hash{key: key, hash: HashText} }

// Copy returns an independent copy in O(1). Only the goroutine that changes x may call it.
func (x *Hash) Copy() *Hash {
	x.owner = nil // what is there belongs to both
	c := *x
	return &c
}

// HashText returns a hash of a text, eight bytes at a time. It is no secret: who makes two equal makes lookups slower.
func HashText(text string) (h uint64) {
	const prime = 0x9e3779b97f4a7c15
	for ; len(text) >= 8; text = text[8:] {
		h = (h ^ Hint(text, 0)) * prime
		h ^= h >> 29
	}
	h = (h ^ Hint(text, 0) ^ uint64(len(text))<<59) * prime
	return h ^ h>>32
}

// Get returns the row of a key, or nil.
func (x *Hash) Get(key string) any {
	hash := x.hash(key)
	slot := x.top
	for shift := 0; ; shift += hashBits {
		switch s := slot.(type) {
		case nil:
			return nil
		case *branch:
			slot = s.slots[hash>>shift%fanOut]
			continue
		case *crowd:
			for ; s != nil; s = s.next {
				for i := range s.n {
					if s.hashes[i] == hash && x.key(s.rows[i]) == key {
						return s.rows[i]
					}
				}
			}
			return nil
		}
		if x.key(slot) != key {
			return nil
		}
		return slot
	}
}

// Set adds or replaces a row.
func (x *Hash) Set(row any) {
	if x.owner == nil {
		x.owner = new(owner)
	}
	key := x.key(row)
	x.top = x.put(x.top, row, key, x.hash(key), 0)
}

// own returns a branch that may be changed.
func (x *Hash) own(b *branch) *branch {
	if b.owner == x.owner {
		return b
	}
	c := *b
	c.owner = x.owner
	return &c
}

// put returns the slot with a row in it; h is what is left of its hash at this level.
func (x *Hash) put(slot, row any, key string, h uint64, level int) any {
	var rows []any
	switch s := slot.(type) {
	case nil:
		return row
	case *branch:
		s = x.own(s)
		s.slots[h%fanOut] = x.put(s.slots[h%fanOut], row, key, h>>hashBits, level+1)
		return s
	case *crowd:
		rows = s.all(nil)
	default:
		if x.key(slot) == key {
			return row
		}
		rows = []any{slot}
	}
	for i, old := range rows {
		if x.key(old) == key {
			rows[i] = row
			return x.newCrowd(rows)
		}
	}
	if len(rows) < maxCrowd || level >= maxLevels {
		return x.newCrowd(append(rows, row))
	}
	b := &branch{owner: x.owner}
	for _, old := range rows {
		k := x.key(old)
		x.put(b, old, k, x.hash(k)>>(level*hashBits), level)
	}
	return x.put(b, row, key, h, level)
}

// Remove deletes the row of a key, if there is one.
func (x *Hash) Remove(key string) {
	if x.Get(key) == nil {
		return
	}
	if x.owner == nil {
		x.owner = new(owner)
	}
	x.top = x.without(x.top, key, x.hash(key))
}

// without returns the slot without the row of a key, which is in it.
func (x *Hash) without(slot any, key string, h uint64) any {
	switch s := slot.(type) {
	case *branch:
		s = x.own(s)
		s.slots[h%fanOut] = x.without(s.slots[h%fanOut], key, h>>hashBits)
		return s
	case *crowd:
		rows := s.all(nil)
		rows = slices.DeleteFunc(rows, func(row any) bool { return x.key(row) == key })
		if len(rows) == 1 {
			return rows[0]
		}
		return x.newCrowd(rows)
	}
	return nil
}

// Hashed returns an empty table that also finds its rows by hash: for tables that are asked with every command.
func (t Keyed[K, V]) Hashed() Keyed[K, V] {
	id := t.id
	t.hash = NewHash(func(row any) string { return string(id(row.(*V))) })
	return t
}
