package memory

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/log/event"
	"parley/projections/chat/table"
)

// naive is what Memory is, without cleverness.
type naive struct {
	limit int
	rows  []seen // by offset
}

func (n *naive) copy() *naive { return &naive{limit: n.limit, rows: slices.Clone(n.rows)} }

func (n *naive) find(id event.CommandID) int {
	return slices.IndexFunc(n.rows, func(x seen) bool { return x.id == keyOf(id) })
}

func (n *naive) remember(id event.CommandID, offset event.Offset, at event.Time, a, b uint64) {
	for i := 0; i < PerEvent && len(n.rows) > 0 && (at-n.rows[0].at > For || len(n.rows) >= n.limit); i++ {
		n.rows = n.rows[1:]
	}
	if id.IsZero() {
		return
	}
	if i := n.find(id); i >= 0 {
		if a|b == 0 {
			a, b = n.rows[i].a, n.rows[i].b
		}
		n.rows = slices.Delete(slices.Clone(n.rows), i, i+1)
	}
	n.rows = append(slices.Clip(n.rows), seen{keyOf(id), offset, at, a, b})
}

// saved is what a Saver has kept.
type saved map[string]string

func (s saved) Set(k, v []byte) { s[string(k)] = string(v) }
func (s saved) Delete(k []byte) { delete(s, string(k)) }

// content returns the rows that Each yields, which must be in the order of their keys.
func content(t *testing.T, m *Memory) saved {
	t.Helper()
	all, last := saved{}, []byte{}
	m.Each(func(k, v []byte) bool {
		if bytes.Compare(last, k) >= 0 {
			t.Fatalf("row %x comes after %x", k, last)
		}
		last = k
		all.Set(k, v)
		return true
	})
	return all
}

// loaded returns a memory filled from saved rows in an order of its own.
func loaded(t *testing.T, like *Memory, rows saved) *Memory {
	t.Helper()
	m := New(like.prefix, like.limit)
	m.index.hash = like.index.hash
	for k, v := range rows {
		if err := m.Load([]byte(k), []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	m.Link()
	return &m
}

// sound fails unless the index is what its comments say: each page in the slots of its bits and only there, in reach of
// their homes, nothing lost and nothing twice. It returns how many pages there are.
func (x *index) sound(t *testing.T, rows int) (pages int) {
	t.Helper()
	n := 0
	var visit func(b *branch, level int, above uint32)
	visit = func(b *branch, level int, above uint32) {
		for i := 0; i < fanOut; i++ {
			prefix := above | uint32(i)<<(32-slotBits*(level+1))
			p := b.pages[i]
			if below := b.below; (p == nil) == (below == nil || below[i] == nil) {
				t.Fatalf("slot %x of level %d has a page and a branch, or neither", prefix, level)
			}
			if p == nil {
				visit(b.below[i], level+1, prefix)
				continue
			}
			pages++
			used := 0
			for j, tag := range p.tags {
				if tag == 0 {
					continue
				}
				used++
				if (tag^prefix)>>(32-p.depth) != 0 {
					t.Fatalf("tag %x in the page of %x, depth %d", tag, prefix, p.depth)
				}
				if p.place(tag, p.offsets[j]) != j {
					t.Fatalf("tag %x in place %d is not found, or twice", tag, j)
				}
			}
			if used != int(p.used) || used > pageFull {
				t.Fatalf("a page of %d says %d", used, p.used)
			}
			n += used
			for last := i + span(p.depth, level) - 1; i < last; i++ {
				if b.pages[i+1] != p || (b.mine>>i^b.mine>>(i+1))&1 != 0 {
					t.Fatalf("slot %d of level %d differs from the one before, of one page", i+1, level)
				}
			}
		}
	}
	if x.top != nil {
		visit(x.top, 0, 0)
	}
	if x.rest != nil {
		n += x.rest.Len()
	}
	if n != rows {
		t.Fatalf("%d entries for %d rows", n, rows)
	}
	return pages
}

// world is a Memory with its model and its saved rows.
type world struct {
	m     *Memory
	model *naive
	saved saved
	now   event.Time
	next  event.Offset
	last  event.CommandID
}

func (w *world) copy() *world {
	c := *w
	m := w.m.Copy()
	c.m, c.model, c.saved = &m, w.model.copy(), maps.Clone(w.saved)
	return &c
}

func commandID(n uint64) (id event.CommandID) {
	binary.BigEndian.PutUint64(id[:8], n*0x9e3779b97f4a7c15) // any order, sometimes with
	binary.BigEndian.PutUint64(id[8:], n+1)                  // equal beginnings
	if n%5 == 0 {
		clear(id[:8])
	}
	return id
}

func (w *world) step(rng *rand.Rand, ids uint64) {
	id := commandID(rng.Uint64N(ids))
	switch rng.IntN(10) {
	case 0:
		id = event.CommandID{}
	case 1, 2, 3: // a command with several events
		id = w.last
	}
	w.last = id
	w.next += event.Offset(1 + rng.IntN(3)*rng.IntN(2))
	w.now += event.Time(rng.Int64N(int64(For) / 400))
	if rng.IntN(400) == 0 {
		w.now += For / 2
	}
	a, b := rng.Uint64N(3), rng.Uint64N(2)
	w.m.Remember(w.saved, id, w.next, w.now, a, b)
	w.model.remember(id, w.next, w.now, a, b)
}

// check compares with the model: what one step can change, and, sometimes, all.
func (w *world) check(t *testing.T, rng *rand.Rand, ids uint64, all bool) {
	t.Helper()
	var oldest event.Time
	if len(w.model.rows) > 0 {
		oldest = w.model.rows[0].at
	}
	if w.m.Len() != len(w.model.rows) || w.m.Oldest() != oldest {
		t.Fatalf("%d remembered since %d, want %d since %d", w.m.Len(), w.m.Oldest(), len(w.model.rows), oldest)
	}
	recall := func(id event.CommandID) {
		t.Helper()
		var want seen
		i := w.model.find(id)
		if i >= 0 {
			want = w.model.rows[i]
		}
		offset, a, b, ok := w.m.Recall(id)
		if ok != (i >= 0) || offset != want.offset || a != want.a || b != want.b {
			t.Fatalf("recall %x: %d, %d, %d, %v; want %+v", id, offset, a, b, ok, want)
		}
	}
	recall(w.last)
	recall(commandID(rng.Uint64N(ids)))
	if !all {
		return
	}
	for i := range ids {
		recall(commandID(i))
	}
	rows := content(t, w.m)
	if !maps.Equal(rows, w.saved) || len(rows) != w.m.Len() {
		t.Fatalf("%d rows saved, %d in the content, %d remembered", len(w.saved), len(rows), w.m.Len())
	}
	var order []seen
	w.m.rows.each(func(x *seen) { order = append(order, *x) })
	if !slices.Equal(order, w.model.rows) {
		t.Fatal("the queue is not in the order in which the model forgets")
	}
	w.m.index.sound(t, w.m.Len())
	if l := loaded(t, w.m, rows); !maps.Equal(content(t, l), rows) || l.Oldest() != w.m.Oldest() {
		t.Fatal("loaded, the memory is another")
	} else if rng.IntN(2) == 0 {
		w.m = l
	}
}

// Whatever is remembered, repeated, forgotten and copied: a memory does what the naive one does, and no copy sees what
// another does. With hashes that do not tell most ids apart as well.
func TestAgainstModel(t *testing.T) {
	hashes := map[string]func(key) uint32{
		"good": tagOf,
		"one":  func(key) uint32 { return 1 },
		"few":  func(k key) uint32 { return 1 + uint32(k.lo%3)<<30 },
		"far":  func(k key) uint32 { return max(1, uint32(k.lo%5)) }, // apart by the bits that no branch uses
		"deep": func(k key) uint32 { return 0xabcd0000 | tagOf(k)&0xffff | 1 },
	}
	for name, hash := range hashes {
		for _, limit := range []int{1, 7, 300, 1000} {
			t.Run(fmt.Sprint(name, limit), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, uint64(limit)))
				ids := uint64(limit)*2 + 3
				m := New(11, limit)
				m.index.hash = hash
				worlds := []*world{{m: &m, model: &naive{limit: limit}, saved: saved{}}}
				steps := 1500 + 3*limit // so that every limit is reached
				for i := range steps {
					w := worlds[rng.IntN(len(worlds))]
					w.step(rng, ids)
					w.check(t, rng, ids, false)
					if rng.IntN(20) == 0 {
						c := w.copy()
						if len(worlds) < 4 {
							worlds = append(worlds, c)
						} else {
							worlds[rng.IntN(len(worlds))] = c
						}
					}
					if i%(10+3*limit) == 0 || i == steps-1 {
						for _, w := range worlds {
							w.check(t, rng, ids, true)
						}
					}
				}
			})
		}
	}
}

// A copy is not changed by what the other remembers and forgets, whichever of the two it is; readers of one need not
// wait for the writer of the other (with -race).
func TestCopiesAreApart(t *testing.T) {
	const n = 5000
	for _, original := range []bool{false, true} {
		m := New(11, n)
		fill := func(m *Memory, from, to uint64) {
			for i := from; i < to; i++ {
				m.Remember(nil, commandID(i), event.Offset(i+1), event.Time(i), i, 1)
			}
		}
		fill(&m, 0, n-n/3)
		c := m.Copy()
		writer, reader := &m, &c
		if !original {
			writer, reader = &c, &m
		}
		before := content(t, reader)
		done := make(chan struct{})
		go func() {
			defer close(done)
			fill(writer, n-n/3, 3*n)
		}()
		for i := range uint64(3 * n) {
			_, a, _, ok := reader.Recall(commandID(i))
			if ok != (i < n-n/3) || ok && a != i {
				t.Fatalf("command %d: %d, %v", i, a, ok)
			}
		}
		if after := content(t, reader); !maps.Equal(before, after) {
			t.Error("the copy has changed")
		}
		<-done
		if after := content(t, reader); !maps.Equal(before, after) || writer.Len() != n {
			t.Error("the copy has changed")
		}
		fill(reader, n-n/3, n) // both went on from one chunk
		for i := range uint64(n) {
			if _, a, _, ok := reader.Recall(commandID(i)); !ok || a != i {
				t.Fatalf("command %d: %d, %v", i, a, ok)
			}
		}
		writer.index.sound(t, writer.Len())
		reader.index.sound(t, reader.Len())
	}
}

// What many commands needed is given back when they are forgotten.
func TestIndexShrinks(t *testing.T) {
	const n = 100_000
	m := New(11, n)
	for i := range uint64(n) {
		m.Remember(nil, commandID(i), event.Offset(i+1), 0, 0, 0)
	}
	full := m.index.sound(t, n)
	c := m.Copy()
	for left := n; left > 0; left = m.Len() {
		if left == n/10 {
			if few := m.index.sound(t, left); few > full/4 {
				t.Errorf("%d pages for %d, %d for %d", few, left, full, n)
			}
		}
		m.Remember(nil, event.CommandID{}, n+1, For+1, 0, 0)
	}
	if p := m.index.sound(t, 0); p != 1 || m.index.top.below != nil && *m.index.top.below != [fanOut]*branch{} {
		t.Errorf("%d pages for nothing", p)
	}
	if p := c.index.sound(t, n); p != full {
		t.Errorf("the copy has %d pages, had %d", p, full)
	}
}

// The first change after a copy copies little, however much is remembered.
func TestCopyIsCheap(t *testing.T) {
	m := New(11, Most)
	next := uint64(0)
	for ; next < 300_000; next++ {
		m.Remember(nil, commandID(next), event.Offset(next+1), 0, 0, 0)
	}
	var keep Memory
	r := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			keep = m.Copy()
			m.Remember(nil, commandID(next), event.Offset(next+1), 0, 0, 0)
			next++
		}
	})
	if _, _, _, ok := keep.Recall(commandID(0)); !ok || r.AllocedBytesPerOp() > 12<<10 {
		t.Errorf("%d bytes for a copy and a command", r.AllocedBytesPerOp())
	}
}

// Rows that contradict each other, which we never save, are no reason to crash.
func TestLoadContradictions(t *testing.T) {
	m := New(11, 10)
	for i := range uint64(300) {
		x := seen{id: keyOf(commandID(i)), offset: event.Offset(i / 100)}
		if i >= 200 {
			x.offset = 1 << 40 // after the events to come
		}
		if err := m.Load(m.key(&x), table.Encode(&x, (*seen).code)); err != nil {
			t.Fatal(err)
		}
	}
	m.Link()
	if m.Len() != 3 {
		t.Fatalf("%d commands of three events", m.Len())
	}
	for i := range uint64(300) {
		m.Recall(commandID(i))
		m.Remember(nil, commandID(i), event.Offset(i+2), 0, 0, 0)
	}
	m.index.sound(t, m.Len())
}

// one is a memory that is full, for benchmarks.
func one(b *testing.B) (m *Memory, next *uint64) {
	const n = 1_000_000
	x := New(11, n)
	i := uint64(0)
	for ; i < n+n/2; i++ {
		x.Remember(nil, commandID(i), event.Offset(i+1), event.Time(i), i, 0)
	}
	b.ReportAllocs()
	b.ResetTimer()
	return &x, &i
}

func BenchmarkRecallUnknown(b *testing.B) {
	m, next := one(b)
	for i := range b.N {
		if _, _, _, ok := m.Recall(commandID(*next + uint64(i)*7)); ok {
			b.Fatal("an unknown command is known")
		}
	}
}

func BenchmarkRemember(b *testing.B) {
	m, next := one(b)
	for range b.N {
		*next++
		m.Remember(nil, commandID(*next), event.Offset(*next+1), event.Time(*next), 1, 0)
	}
}

func BenchmarkCopyRemember(b *testing.B) {
	m, next := one(b)
	var keep Memory
	for range b.N {
		keep = m.Copy()
		*next++
		m.Remember(nil, commandID(*next), event.Offset(*next+1), event.Time(*next), 1, 0)
	}
	if keep.Len() != m.Len() {
		b.Fatal("the memory was not full")
	}
}
