package replay

import (
	"sort"

	"parley/projections"
)

// rows are the rows of a projection in memory.
type rows struct {
	values map[string][]byte
	keys   []string // of values, in order, if sorted
	sorted bool
}

var (
	_ projections.ReadWriter = (*rows)(nil)
	_ projections.Reader     = (*rows)(nil)
)

func newRows() *rows { return &rows{values: make(map[string][]byte)} }

// Set is Writer's.
func (r *rows) Set(key, value []byte) error {
	if _, ok := r.values[string(key)]; !ok {
		r.sorted = false
	}
	r.values[string(key)] = append([]byte(nil), value...)
	return nil
}

// Delete is Writer's.
func (r *rows) Delete(key []byte) error {
	if _, ok := r.values[string(key)]; ok {
		r.sorted = false
		delete(r.values, string(key))
	}
	return nil
}

// Get is Reader's.
func (r *rows) Get(key []byte) ([]byte, bool, error) {
	v, ok := r.values[string(key)]
	return append([]byte(nil), v...), ok, nil
}

// Scan is Reader's. Scans are rare beside writes: the order is made when it is needed.
func (r *rows) Scan(first, end []byte, visit func(key, value []byte) bool) error {
	if !r.sorted {
		r.keys = r.keys[:0]
		for k := range r.values {
			r.keys = append(r.keys, k)
		}
		sort.Strings(r.keys)
		r.sorted = true
	}
	for i := sort.SearchStrings(r.keys, string(first)); i < len(r.keys) && (end == nil || r.keys[i] < string(end)); i++ {
		if !visit([]byte(r.keys[i]), r.values[r.keys[i]]) {
			return nil
		}
	}
	return nil
}
