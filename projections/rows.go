package projections

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
	"parley/log/wire"
)

// Rows of the store. Every projection has generations of rows; one of them is live, and that row is the swap.
//
//	'g' name NUL              live generation (4 bytes)
//	'c' name NUL generation   checkpoint of a generation
//	'd' name NUL generation   prefix of its rows
//
// All integers are big-endian.
const (
	regionLive       = 'g'
	regionCheckpoint = 'c'
	regionData       = 'd'
)

func liveKey(name string) []byte {
	return append(append([]byte{regionLive}, name...), 0)
}

func genKey(region byte, name string, gen uint32) []byte {
	return binary.BigEndian.AppendUint32(append(append([]byte{region}, name...), 0), gen)
}

// successor returns the first key after all keys with this prefix.
func successor(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// rows is the Sink of a Store: rows and checkpoint in one Pebble batch. It is also the projection's Reader.
type rows struct {
	s      *Store
	p      Projection
	name   string
	beside bool // a rebuild: nobody observes it
	cp     Checkpoint

	// old is a live generation of another version, which stays until this one is level with it: if we crash or the
	// older program is started again before that, its rows are still there. 0: none.
	old       uint32
	oldOffset event.Offset

	mu  sync.RWMutex // held for writing while gen or its rows are exchanged
	gen uint32
}

// openRows finds the generation for p's version and has p load it.
func openRows(s *Store, p Projection) (*rows, error) {
	r := &rows{s: s, p: p, name: p.Name()}
	r.cp.Version = p.Version()
	live, err := r.liveGen()
	if err != nil {
		return nil, err
	}
	gens, err := r.generations()
	if err != nil {
		return nil, err
	}
	last := live
	for gen := range gens {
		last = max(last, gen)
	}
	if cp, ok := gens[live]; ok && cp.Version == p.Version() {
		r.gen, r.cp = live, cp
	} else {
		// An interrupted upgrade may have left rows of our version: go on with the farthest.
		for gen, cp := range gens {
			if cp.Version == p.Version() && (r.gen == 0 || cp.Offset > r.cp.Offset) {
				r.gen, r.cp = gen, cp
			}
		}
	}
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }() // never committed twice; nothing to tell
	if r.gen == 0 {
		r.gen = last + 1
	}
	if cp, ok := gens[live]; ok && live != r.gen {
		r.old, r.oldOffset = live, cp.Offset
	} else if live != r.gen {
		if err := b.Set(liveKey(r.name), binary.BigEndian.AppendUint32(nil, r.gen), nil); err != nil {
			return nil, err
		}
	}
	for gen := range gens {
		if gen != r.gen && gen != r.old {
			if err := r.remove(b, gen); err != nil {
				return nil, err
			}
		}
	}
	if err := s.commit(b); err != nil {
		return nil, err
	}
	if r.old != 0 {
		s.o.Logger.Info("projection has a new version and is built again", attrProjection, r.name,
			attrVersion, p.Version(), attrOffset, r.cp.Offset, attrEvents, uint64(r.oldOffset))
	}
	if err := r.load(); err != nil {
		if r.cp.Offset == 0 {
			return nil, err
		}
		s.o.Logger.Warn("projection cannot read its rows and is built again", attrProjection, r.name, attrErr, err)
		return r, r.Reset()
	}
	return r, nil
}

func (r *rows) liveGen() (uint32, error) {
	v, ok, err := r.s.get(liveKey(r.name))
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 4 {
		return 0, fmt.Errorf("live row of %s has %d bytes: %w", r.name, len(v), event.ErrCorrupt)
	}
	return binary.BigEndian.Uint32(v), nil
}

// generations returns the checkpoints by generation.
func (r *rows) generations() (map[uint32]Checkpoint, error) {
	prefix := append(append([]byte{regionCheckpoint}, r.name...), 0)
	out := map[uint32]Checkpoint{}
	var bad error
	err := r.s.scan(prefix, successor(prefix), func(k, v []byte) bool {
		var cp Checkpoint
		if len(k) != len(prefix)+4 {
			bad = fmt.Errorf("checkpoint key of %s has %d bytes: %w", r.name, len(k), event.ErrCorrupt)
		} else if err := wire.Unmarshal(v, &cp); err != nil {
			bad = fmt.Errorf("checkpoint of %s: %w", r.name, err)
		} else {
			out[binary.BigEndian.Uint32(k[len(prefix):])] = cp
		}
		return bad == nil
	})
	return out, errors.Join(err, bad)
}

// remove adds the removal of a generation to a batch.
func (r *rows) remove(b *pebble.Batch, gen uint32) error {
	prefix := genKey(regionData, r.name, gen)
	if err := b.DeleteRange(prefix, successor(prefix), nil); err != nil {
		return err
	}
	return b.Delete(genKey(regionCheckpoint, r.name, gen), nil)
}

func (r *rows) load() error {
	l, ok := r.p.(Loader)
	if !ok || r.beside && !r.forked() {
		return nil
	}
	if err := l.Load(r, r.cp.Offset); err != nil {
		return fmt.Errorf("load %s at %d: %w", r.name, r.cp.Offset, err)
	}
	return nil
}

func (r *rows) forked() bool {
	_, ok := r.p.(Forker)
	return ok
}

// Checkpoint returns how far the rows are.
func (r *rows) Checkpoint() Checkpoint { return r.cp }

// Apply folds the run into one batch, with the checkpoint. If it fails the batch is dropped and the projection's
// memory is loaded from the rows again.
func (r *rows) Apply(run []event.Envelope) error {
	b := r.s.db.NewBatch()
	defer func() { _ = b.Close() }() // never committed twice; nothing to tell
	w := &writer{s: r.s, b: b, key: genKey(regionData, r.name, r.gen)}
	w.prefix = len(w.key)
	for _, e := range run {
		if err := r.p.Apply(w, e); err != nil {
			if again := r.load(); again != nil {
				return fmt.Errorf("%w, after event %d could not be folded: %v", again, e.Offset, err)
			}
			return &FoldError{Offset: e.Offset, Kind: e.Kind(), Err: err}
		}
	}
	last := run[len(run)-1]
	cp := Checkpoint{Offset: last.Offset, Chain: last.Chain, Version: r.cp.Version}
	if err := b.Set(genKey(regionCheckpoint, r.name, r.gen), wire.Marshal(&cp), nil); err != nil {
		return errors.Join(err, r.load())
	}
	if err := r.s.commit(b); err != nil {
		return err
	}
	r.cp = cp
	if o, ok := r.p.(Observer); ok && !r.beside {
		o.Applied(run)
	}
	return nil
}

// Settled makes a new version's generation the live one, once it is level with the old one.
//
// If we crash before this batch is on disk, the next start finds both generations and goes on with ours.
func (r *rows) Settled() error {
	if r.old == 0 || r.cp.Offset < r.oldOffset {
		return nil
	}
	b := r.s.db.NewBatch()
	defer func() { _ = b.Close() }() // never committed twice; nothing to tell
	if err := r.makeLive(b, r.gen, r.old); err != nil {
		return err
	}
	r.old = 0
	return nil
}

// Alone is Sink's.
func (r *rows) Alone() bool { return r.old == 0 }

// makeLive commits, in one batch, the swap from one generation to another.
func (r *rows) makeLive(b *pebble.Batch, gen, old uint32) error {
	if err := b.Set(liveKey(r.name), binary.BigEndian.AppendUint32(nil, gen), nil); err != nil {
		return err
	}
	if err := r.remove(b, old); err != nil {
		return err
	}
	return r.s.commit(b)
}

// Reset removes the rows, and a kept older generation with them: what made us doubt the one is true of the other.
func (r *rows) Reset() error {
	if err := r.empty(); err != nil {
		return err
	}
	return r.load()
}

func (r *rows) empty() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.s.db.NewBatch()
	defer func() { _ = b.Close() }() // never committed twice; nothing to tell
	if err := r.remove(b, r.gen); err != nil {
		return err
	}
	old := r.old
	if old == 0 {
		if err := r.s.commit(b); err != nil {
			return err
		}
	} else if err := r.makeLive(b, r.gen, old); err != nil {
		return err
	}
	r.old = 0
	r.cp = Checkpoint{Version: r.cp.Version}
	return nil
}

// Beside begins another generation. Nothing of it is live, so a crash leaves rows that the next start removes.
func (r *rows) Beside() (Sink, error) {
	gens, err := r.generations()
	if err != nil {
		return nil, err
	}
	o := &rows{s: r.s, p: r.p, name: r.name, beside: true, gen: r.gen + 1, cp: Checkpoint{Version: r.cp.Version}}
	for gen := range gens {
		o.gen = max(o.gen, gen+1)
	}
	if f, ok := r.p.(Forker); ok {
		o.p = f.Fork()
	}
	return o, o.load()
}

// Swap makes other's rows the live ones and has the projection load them.
func (r *rows) Swap(other Sink) error {
	o, ok := other.(*rows)
	if !ok || o.cp.Offset != r.cp.Offset || o.cp.Chain != r.cp.Chain {
		return fmt.Errorf("swap %s at %d with %+v: not level", r.name, r.cp.Offset, other.Checkpoint())
	}
	if err := r.exchange(o); err != nil {
		return err
	}
	return r.load()
}

func (r *rows) exchange(o *rows) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.s.db.NewBatch()
	defer func() { _ = b.Close() }() // never committed twice; nothing to tell
	if r.old != 0 {
		if err := r.remove(b, r.old); err != nil {
			return err
		}
	}
	if err := r.makeLive(b, o.gen, r.gen); err != nil {
		return err
	}
	r.gen, r.cp, r.old = o.gen, o.cp, 0
	return nil
}

// Discard removes the rows of a rebuild.
func (r *rows) Discard() error {
	b := r.s.db.NewBatch()
	defer func() { _ = b.Close() }() // never committed twice; nothing to tell
	if err := r.remove(b, r.gen); err != nil {
		return err
	}
	return r.s.commit(b)
}

// Get is Reader's.
func (r *rows) Get(key []byte) ([]byte, bool, error) {
	if err := r.s.enter(); err != nil {
		return nil, false, err
	}
	defer r.s.leave()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.s.get(append(genKey(regionData, r.name, r.gen), key...))
}

// Scan is Reader's.
func (r *rows) Scan(first, end []byte, visit func(key, value []byte) bool) error {
	if err := r.s.enter(); err != nil {
		return err
	}
	defer r.s.leave()
	it, n, err := r.iterate(first, end)
	if err != nil {
		return err
	}
	return drain(it, func(k, v []byte) bool { return visit(k[n:], v) })
}

// iterate opens an iterator, which keeps its view of the rows when they are exchanged later.
func (r *rows) iterate(first, end []byte) (it *pebble.Iterator, prefix int, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p := genKey(regionData, r.name, r.gen)
	lower, upper := append(append([]byte(nil), p...), first...), successor(p)
	if end != nil {
		upper = append(append([]byte(nil), p...), end...)
	}
	it, err = r.s.db.NewIterWithContext(context.Background(), &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	return it, len(p), err
}

// get reads a row; the value is a copy.
func (s *Store) get(key []byte) (value []byte, ok bool, err error) {
	v, c, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read row: %w", err)
	}
	value = append([]byte{}, v...)
	return value, true, c.Close()
}

// scan visits the rows with lower <= key < upper.
func (s *Store) scan(lower, upper []byte, visit func(key, value []byte) bool) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	return drain(it, visit)
}

func drain(it *pebble.Iterator, visit func(key, value []byte) bool) error {
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(fmt.Errorf("read row: %w", err), it.Close())
		}
		if !visit(it.Key(), v) {
			break
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	return nil
}

// writer puts a generation's prefix before each key.
type writer struct {
	s      *Store
	b      *pebble.Batch
	key    []byte
	prefix int
}

func (w *writer) full(key []byte) []byte {
	w.key = append(w.key[:w.prefix], key...)
	return w.key
}

// Set is Writer's.
func (w *writer) Set(key, value []byte) error { return w.b.Set(w.full(key), value, nil) }

// Delete is Writer's.
func (w *writer) Delete(key []byte) error { return w.b.Delete(w.full(key), nil) }

// Scan is ReadWriter's.
func (w *writer) Scan(first, end []byte, visit func(key, value []byte) bool) error {
	now := w.s.db.NewIndexedBatch()
	defer func() { _ = now.Close() }() // never committed; nothing to tell
	if err := now.Apply(w.b, nil); err != nil {
		return err
	}
	prefix := w.key[:w.prefix:w.prefix]
	lower, upper := append(prefix, first...), successor(prefix)
	if end != nil {
		upper = append(prefix, end...)
	}
	it, err := now.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	return drain(it, func(k, v []byte) bool { return visit(k[w.prefix:], v) })
}
