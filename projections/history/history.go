// Package history is the projection that back-chat is served from: the text of every message, copied in room order,
// so that any range of a room is one scan.
//
// Messages of rooms whose history is switched off (Posted.Unlogged) are not in it. A message whose body was lawfully
// erased is in it without its text. Nothing here checks rights: who may read what is the rules' business.
package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"parley/log/event"
	"parley/projections"
)

// Name is the projection's name in the store.
const Name = "history"

// version of the rows. Raise it when they change.
const version = 1

// Message is a message as it was posted.
type Message struct {
	ID     uint64 // in its room; from 1, growing with time, with gaps where history was off
	Offset event.Offset
	At     event.Time
	By     event.Principal
	Text   string // LF line ends; empty when erased
	RTF    string
	Alert  bool
	Erased bool
}

// Code visits what a row holds; the id is in its key.
func (m *Message) Code(c *event.Coder) {
	event.Uint(c, 1, &m.Offset)
	event.Int(c, 2, &m.At)
	event.Str(c, 3, &m.By)
	event.Str(c, 4, &m.Text)
	event.Str(c, 5, &m.RTF)
	c.Bool(6, &m.Alert)
	c.Bool(7, &m.Erased)
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
	p, ok := e.Event.(*event.Posted)
	if !ok || p.Unlogged {
		return nil
	}
	if p.MessageID == 0 {
		return fmt.Errorf("message in room %s has no id", e.Room)
	}
	m := Message{Offset: e.Offset, At: e.At, By: e.By, Alert: p.Alert, Erased: e.Erased}
	if !e.Erased {
		m.Text, m.RTF = p.Text, p.RTF
	}
	return w.Set(key(e.Room, p.MessageID), event.Marshal(&m))
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
		if len(k) < 8 {
			bad = fmt.Errorf("key has %d bytes: %w", len(k), event.ErrCorrupt)
			return false
		}
		m.ID = binary.BigEndian.Uint64(k[len(k)-8:])
		if err := event.Unmarshal(v, &m); err != nil {
			bad = fmt.Errorf("message %d: %w", m.ID, err)
			return false
		}
		out = append(out, m)
		return true
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("read history of room %s: %w", room, err)
	}
	return out, nil
}
