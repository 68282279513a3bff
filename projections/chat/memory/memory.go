// Package memory remembers which commands took effect, for a day of log time, so that a client's retry is known on any
// node. It is pure, and the one part of the state that grows with traffic: docs/decisions/0002 has its price.
package memory

import (
	"encoding/binary"

	"github.com/tidwall/btree"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

const (
	// For is how long a command is remembered, in nanoseconds of log time.
	For = event.Time(24 * 3600 * 1e9)
	// Most is how many commands are remembered: about 1 GiB of memory. Above, the oldest is forgotten before its day is
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

func seenByID(x, y seen) bool {
	if x.id.hi != y.id.hi {
		return x.id.hi < y.id.hi
	}
	return x.id.lo < y.id.lo
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
	prefix byte
	limit  int
	seen   *btree.BTreeG[seen]
	due    *btree.Map[event.Offset, key] // derived: in the order in which they are forgotten
	oldest event.Time                    // derived; meaningless when there is none
}

// New returns an empty memory of at most limit commands; 0: it remembers none.
func New(prefix byte, limit int) Memory {
	return Memory{prefix: prefix, limit: limit, seen: table.NewTree(seenByID), due: btree.NewMap[event.Offset, key](0)}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes m may call it.
func (m *Memory) Copy() Memory {
	c := *m
	c.seen, c.due = m.seen.Copy(), m.due.Copy()
	return c
}

// Forget drops what is remembered and remembers nothing from here on.
func (m *Memory) Forget() { *m = New(m.prefix, 0) }

// Len returns how many commands are remembered.
func (m *Memory) Len() int { return m.due.Len() }

// Oldest returns the log time of the oldest command, 0 if there is none.
func (m *Memory) Oldest() event.Time {
	if m.due.Len() == 0 {
		return 0
	}
	return m.oldest
}

func (m *Memory) key(x *seen) []byte {
	id := x.id.id()
	return append([]byte{m.prefix}, id[:]...)
}

// Load is table.Rows'.
func (m *Memory) Load(key, value []byte) error {
	return table.Decode(key, value, m.key, (*seen).code, func(x *seen) { m.seen.Set(*x) })
}

// Each is table.Rows'.
func (m *Memory) Each(yield func(key, value []byte) bool) bool {
	more := true
	m.seen.Scan(func(x seen) bool {
		more = yield(m.key(&x), table.Encode(&x, (*seen).code))
		return more
	})
	return more
}

// Link builds what is derived, after the rows were loaded.
func (m *Memory) Link() {
	m.seen.Scan(func(x seen) bool {
		m.due.Set(x.offset, x.id)
		return true
	})
	m.noteOldest()
}

// Remember notes the command that caused the event at an offset, and up to two words of its result, both zero where this
// event has none. It also forgets some commands that are old enough, and does only that when id is zero.
func (m *Memory) Remember(save table.Saver, id event.CommandID, offset event.Offset, at event.Time, a, b uint64) {
	if m.limit == 0 {
		return
	}
	for i := 0; i < PerEvent && m.due.Len() > 0 && (at-m.oldest > For || m.due.Len() >= m.limit); i++ {
		_, old, _ := m.due.PopMin()
		m.seen.Delete(seen{id: old})
		if save != nil {
			save.Delete(m.key(&seen{id: old}))
		}
		m.noteOldest()
	}
	if id.IsZero() {
		return
	}
	x := seen{id: keyOf(id), offset: offset, at: at, a: a, b: b}
	before, again := m.seen.Set(x)
	if again { // one command, several events
		m.due.Delete(before.offset)
		if a|b == 0 {
			x.a, x.b = before.a, before.b
			m.seen.Set(x)
		}
	}
	m.due.Set(x.offset, x.id)
	if save != nil {
		save.Set(m.key(&x), table.Encode(&x, (*seen).code))
	}
	if again || m.due.Len() == 1 {
		m.noteOldest()
	}
}

func (m *Memory) noteOldest() {
	if _, id, ok := m.due.Min(); ok {
		x, _ := m.seen.Get(seen{id: id})
		m.oldest = x.at
	}
}

// Recall returns the offset of the last event of a command that took effect, and the two words of its result.
func (m *Memory) Recall(id event.CommandID) (offset event.Offset, a, b uint64, ok bool) {
	x, ok := m.seen.Get(seen{id: keyOf(id)})
	return x.offset, x.a, x.b, ok
}
