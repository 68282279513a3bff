// Package history is the projection that back-chat is served from: the text of every message, copied in room order,
// so that any range of a room is one scan.
//
// Messages of rooms whose history is switched off (Posted.Unlogged) are not in it. Those that an administrator had
// removed, or whose time was over, are not in it either, or stand in it with the text that replaces them. One whose body is erased before its
// removal was read is in it without its text, for that long. Nothing here checks rights: who may read what is the rules' business.
package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections"
)

// Name is the projection's name in the store.
const Name = "history"

// version of the rows. Raise it when they change.
const version = 3

// Message is a message as it was posted. One that was imported is by the author and of the time that its archive says.
type Message struct {
	ID     uint64 // in its room; from 1, growing with time, with gaps where history was off
	Offset event.Offset
	At     event.Time
	By     event.Principal
	Text   string // LF line ends; empty when erased
	RTF    string
	Alert  bool
	Erased bool
	Story  bool
	Title  string // of a story
	Links  []event.Link
}

// Code visits what a row holds; the id is in its key.
func (m *Message) Code(c *wire.Coder) {
	wire.Uint(c, 1, &m.Offset)
	wire.Int(c, 2, &m.At)
	wire.Str(c, 3, &m.By)
	wire.Str(c, 4, &m.Text)
	wire.Str(c, 5, &m.RTF)
	c.Bool(6, &m.Alert)
	c.Bool(7, &m.Erased)
	c.Bool(8, &m.Story)
	wire.Str(c, 9, &m.Title)
	wire.Subs(c, 10, &m.Links, (*event.Link).Code)
}

// ErrNotRunning is returned by reads before a Store has loaded the projection.
var ErrNotRunning = errors.New("history is not running")

// History is the projection and its reader.
type History struct {
	rows atomic.Pointer[projections.Reader]
}

var (
	_ projections.Projection = (*History)(nil)
	_ projections.Loader     = (*History)(nil)
)

// New returns a history that has no rows until a projections.Store runs it.
func New() *History { return new(History) }

// Name is Projection's.
func (h *History) Name() string { return Name }

// Version is Projection's.
func (h *History) Version() int { return version }

// Load is Loader's: it keeps the reader and has no other memory.
func (h *History) Load(r projections.Reader, _ event.Offset) error {
	h.rows.Store(&r)
	return nil
}

// Apply is Projection's.
func (h *History) Apply(w projections.Writer, e event.Envelope) error {
	if err := projections.Known(e); err != nil {
		return err
	}
	switch r := e.Event.(type) {
	case *event.MessagesRemoved:
		return remove(w, e, r)
	case *event.MessagesPurged:
		return purge(w, e, r)
	}
	p, ok := event.MessageOf(&e)
	if !ok || p.Unlogged {
		return nil
	}
	if p.ID == 0 {
		return fmt.Errorf("message in room %s has no id", e.Room)
	}
	m := Message{Offset: e.Offset, At: p.At, By: p.By, Alert: p.Alert, Story: p.Story, Erased: e.Erased}
	if !e.Erased {
		m.Text, m.RTF, m.Title, m.Links = p.Text, p.RTF, p.Title, p.Links
	}
	return w.Set(key(e.Room, p.ID), wire.Marshal(&m))
}

// errRemoval says that a removal names a message of this room by the offset of another: a broken promise of whoever
// decided it.
var errRemoval = errors.New("removal does not name the message")

// remove takes messages out, or puts the text in their place that the removal has. A message that is not there was
// removed before, or its room had no history.
func remove(w projections.Writer, e event.Envelope, r *event.MessagesRemoved) error {
	rows, ok := w.(projections.ReadWriter)
	if !ok {
		return errors.New("a removal needs a writer that reads")
	}
	type row struct {
		key []byte
		m   Message
	}
	var (
		gone []row
		bad  error
	)
	look := func(first, end []byte, means func(*Message) (bool, error)) error {
		err := rows.Scan(first, end, func(k, v []byte) bool {
			var m Message
			var named bool
			if m, bad = decode(k, v); bad == nil {
				named, bad = means(&m)
			}
			m.Text, m.RTF, m.Title, m.Links = "", "", "", nil // a room may have more text than there is memory
			if named {
				gone = append(gone, row{append([]byte(nil), k...), m})
			}
			return bad == nil
		})
		return errors.Join(err, bad)
	}
	var err error
	if r.Until != 0 {
		err = look(key(e.Room, 0), append(key(e.Room, math.MaxUint64), 0), func(m *Message) (bool, error) { return m.At <= r.Until, nil })
	} else if len(r.Messages) > 0 {
		// One scan over the range: the list is ascending, and rows of a page of history stand together.
		offsets := make(map[uint64]event.Offset, len(r.Messages))
		for _, ref := range r.Messages {
			offsets[ref.MessageID] = ref.Offset
		}
		first, last := r.Messages[0].MessageID, r.Messages[0].MessageID
		for id := range offsets {
			first, last = min(first, id), max(last, id)
		}
		err = look(key(e.Room, first), append(key(e.Room, last), 0), func(m *Message) (bool, error) {
			o, named := offsets[m.ID]
			if named && o != m.Offset {
				return false, fmt.Errorf("message %d of room %s is event %d, not %d: %w", m.ID, e.Room, m.Offset, o, errRemoval)
			}
			return named, nil
		})
	}
	if err != nil {
		return err
	}
	for i := range gone {
		k, m := gone[i].key, &gone[i].m
		if !r.Replaced {
			err = w.Delete(k)
		} else {
			m.Text, m.Story, m.Erased = r.Text, false, false
			err = w.Set(k, wire.Marshal(m))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// purge takes out what a purge names: it looks at the range of the purge and at nothing else of the room.
func purge(w projections.Writer, e event.Envelope, p *event.MessagesPurged) error {
	rows, ok := w.(projections.ReadWriter)
	if !ok {
		return errors.New("a purge needs a writer that reads")
	}
	if p.First.MessageID > p.Last.MessageID {
		return nil
	}
	var gone [][]byte
	var bad error
	err := rows.Scan(key(e.Room, p.First.MessageID), append(key(e.Room, p.Last.MessageID), 0), func(k, v []byte) bool {
		var m Message
		if m, bad = decode(k, v); bad == nil && p.Names(event.MessageRef{MessageID: m.ID, Offset: m.Offset}, m.By, m.At) {
			gone = append(gone, append([]byte(nil), k...))
		}
		return bad == nil
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	for _, k := range gone {
		if err := w.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// decode reads a row.
func decode(k, v []byte) (m Message, err error) {
	if len(k) < 8 {
		return m, fmt.Errorf("key has %d bytes: %w", len(k), event.ErrCorrupt)
	}
	m.ID = binary.BigEndian.Uint64(k[len(k)-8:])
	if err := wire.Unmarshal(v, &m); err != nil {
		return m, fmt.Errorf("message %d: %w", m.ID, err)
	}
	return m, nil
}

// key is room, NUL, message id big-endian. A room's rows are in the order of ids, which is that of time too, so a
// range by time is found by bisection over ids.
func key(room event.RoomID, id uint64) []byte {
	k := make([]byte, 0, len(room)+9)
	return binary.BigEndian.AppendUint64(append(append(k, room...), 0), id)
}

// Messages returns the messages of a room with first <= id <= last, oldest first. Ids that are not there are left
// out. The caller bounds the range: all of it is held in memory.
func (h *History) Messages(room event.RoomID, first, last uint64) ([]Message, error) {
	if first > last {
		return nil, nil
	}
	// The key after last's: no id is longer, so a zero byte does it, also for the greatest id.
	return h.scan(room, key(room, first), append(key(room, last), 0))
}

// From returns the first message of a room whose id is at least id; its ID is 0 when there is none.
func (h *History) From(room event.RoomID, id uint64) (m Message, err error) {
	rows := h.rows.Load()
	if rows == nil {
		return m, ErrNotRunning
	}
	var bad error
	err = (*rows).Scan(key(room, id), append(key(room, math.MaxUint64), 0), func(k, v []byte) bool {
		m, bad = decode(k, v)
		return false
	})
	if err := errors.Join(err, bad); err != nil {
		return m, fmt.Errorf("read history of room %s: %w", room, err)
	}
	return m, nil
}

// Span returns the ids of the first and the last message of a room that is kept and was posted from one time to another,
// both included; 0 is an open end. 0, 0: there is none. It looks at a few dozen messages, however many there are: ids are in
// the order of time, but for messages imported behind younger ones, which may be missed.
func (h *History) Span(room event.RoomID, from, to event.Time) (first, last uint64, err error) {
	// edge returns the least id above which all messages are what late says: late ones, or none.
	edge := func(late func(event.Time) bool) (uint64, error) {
		low, high := uint64(1), uint64(1)<<62
		for low < high {
			mid := low + (high-low)/2
			m, err := h.From(room, mid)
			if err != nil {
				return 0, err
			}
			if m.ID == 0 || late(m.At) {
				high = mid
			} else {
				low = m.ID + 1
			}
		}
		return low, nil
	}
	if first, err = edge(func(at event.Time) bool { return at >= from }); err != nil {
		return 0, 0, err
	}
	end := uint64(1) << 62
	if to != 0 {
		if end, err = edge(func(at event.Time) bool { return at > to }); err != nil {
			return 0, 0, err
		}
	}
	m, err := h.From(room, first)
	if err != nil || m.ID == 0 || m.ID >= end {
		return 0, 0, err
	}
	return m.ID, end - 1, nil
}

func (h *History) scan(room event.RoomID, first, end []byte) ([]Message, error) {
	rows := h.rows.Load()
	if rows == nil {
		return nil, ErrNotRunning
	}
	var (
		out []Message
		bad error
	)
	err := (*rows).Scan(first, end, func(k, v []byte) bool {
		var m Message
		if m, bad = decode(k, v); bad == nil {
			out = append(out, m)
		}
		return bad == nil
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("read history of room %s: %w", room, err)
	}
	return out, nil
}
