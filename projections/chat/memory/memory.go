// Package memory remembers which commands took effect, for a day of log time, so that a client's retry is known on any
// node. It is pure, and the one part of the state that grows with traffic: docs/decisions/0002 has its price.
package memory

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/tidwall/btree"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

const (
	// For is how long a command is remembered, in nanoseconds of log time.
	For = event.Time(24 * 3600 * 1e9)
	// Most is how many commands are remembered: about 600 MiB of memory. Above, the oldest is forgotten before its day is
	// over, and a client that repeats it then is not recognised. A pool gets there with 97 posts a second all day.
	Most = 8 << 20
	// PerEvent bounds how many are forgotten with one event; an event remembers one at most.
	PerEvent = 4
)

// key is a CommandID in a form that compares fast.
type key struct{ hi, lo uint64 }

func keyOf(id event.CommandID) key {
	return key{binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])}
}

func (k key) compare(l key) int {
	if c := cmp.Compare(k.hi, l.hi); c != 0 {
		return c
	}
	return cmp.Compare(k.lo, l.lo)
}

func (k key) id() (id event.CommandID) {
	binary.BigEndian.PutUint64(id[:8], k.hi)
	binary.BigEndian.PutUint64(id[8:], k.lo)
	return id
}

// seen is a command that took effect. There may be millions, so it has no pointers (the collector skips it) and
// only two words of its result: the rest of a result is in the command, which a retry brings along.
type seen struct {
	id     key
	offset event.Offset // of the command's last event
	at     event.Time
	a, b   uint64
}

func (x *seen) code(c *wire.Coder) {
	id := x.id.id()
	c.Fixed(1, id[:])
	x.id = keyOf(id)
	wire.Uint(c, 2, &x.offset)
	wire.Int(c, 3, &x.at)
	wire.Uint(c, 4, &x.a)
	wire.Uint(c, 5, &x.b)
}

// Memory is the commands remembered. It is a persistent value: Copy is O(1).
type Memory struct {
	prefix  byte
	limit   int
	rows    queue                             // in the order in which they are forgotten
	index   index                             // derived: where a command is in the queue
	loading *btree.Map[event.Offset, *[]seen] // rows loaded and not linked, by the leading bits of their offset; nil: none
}

// New returns an empty memory of at most limit commands; 0: it remembers none.
func New(prefix byte, limit int) Memory {
	return Memory{prefix: prefix, limit: limit, rows: newQueue(), index: newIndex()}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes m may call it.
func (m *Memory) Copy() Memory {
	c := *m
	c.rows, c.index = m.rows.copy(), m.index.copy()
	return c
}

// Forget drops what is remembered and remembers nothing from here on.
func (m *Memory) Forget() { *m = New(m.prefix, 0) }

// Len returns how many commands are remembered.
func (m *Memory) Len() int { return m.rows.n }

// Oldest returns the log time of the oldest command, 0 if there is none.
func (m *Memory) Oldest() event.Time {
	if x := m.rows.first(); x != nil {
		return x.at
	}
	return 0
}

func (m *Memory) key(x *seen) []byte {
	id := x.id.id()
	return append([]byte{m.prefix}, id[:]...)
}

// loadBits is how many trailing bits of an offset are those of one array while rows are loaded: with one array for all, and
// another when it grows, loading would need the memory two or three times.
const loadBits = 12

// Load is table.Rows'. The row is remembered after Link.
func (m *Memory) Load(key, value []byte) error {
	return table.Decode(key, value, m.key, (*seen).code, func(x *seen) {
		if m.loading == nil {
			m.loading = btree.NewMap[event.Offset, *[]seen](0)
		}
		rows, ok := m.loading.Get(x.offset >> loadBits)
		if !ok {
			rows = new([]seen)
			m.loading.Set(x.offset>>loadBits, rows)
		}
		*rows = append(*rows, *x)
	})
}

// Link builds what is derived, after the rows were loaded into an empty memory: they come in the order of their keys, and are
// wanted in that of their offsets.
func (m *Memory) Link() {
	for m.loading != nil {
		_, rows, ok := m.loading.PopMin()
		if !ok {
			m.loading = nil
			return
		}
		slices.SortFunc(*rows, func(x, y seen) int { return cmp.Compare(x.offset, y.offset) })
		for i, x := range *rows {
			if i > 0 && x.offset == (*rows)[i-1].offset {
				continue // an event has one command: these rows are not what we saved, and the state's hash will tell
			}
			m.rows.push(x)
			m.index.add(x.id, x.offset)
		}
	}
}

// Each is table.Rows'. It sorts, because nothing else needs the order of the keys.
func (m *Memory) Each(yield func(key, value []byte) bool) bool {
	return m.rows.byID(func(x *seen) bool { return yield(m.key(x), table.Encode(x, (*seen).code)) })
}

// Remember notes the command that caused the event at an offset, and up to two words of its result, both zero where this
// event has none. It also forgets some commands that are old enough, and does only that when id is zero. Offsets rise from
// one call to the next.
func (m *Memory) Remember(save table.Saver, id event.CommandID, offset event.Offset, at event.Time, a, b uint64) {
	if m.limit == 0 {
		return
	}
	for i := 0; i < PerEvent && m.Len() > 0 && (at-m.Oldest() > For || m.Len() >= m.limit); i++ {
		old := m.rows.pop()
		m.index.remove(old.id, old.offset)
		if save != nil {
			save.Delete(m.key(&old))
		}
	}
	if id.IsZero() {
		return
	}
	x := seen{id: keyOf(id), offset: offset, at: at, a: a, b: b}
	if before := m.index.find(x.id, m.rows.at); before != nil { // one command, several events
		if a|b == 0 {
			x.a, x.b = before.a, before.b
		}
		before := before.offset
		m.index.remove(x.id, before)
		m.rows.remove(before)
	}
	m.rows.push(x)
	m.index.add(x.id, offset)
	if save != nil {
		save.Set(m.key(&x), table.Encode(&x, (*seen).code))
	}
}

// Recall returns the offset of the last event of a command that took effect, and the two words of its result.
func (m *Memory) Recall(id event.CommandID) (offset event.Offset, a, b uint64, ok bool) {
	x := m.index.find(keyOf(id), m.rows.at)
	if x == nil {
		return 0, 0, 0, false
	}
	return x.offset, x.a, x.b, true
}
