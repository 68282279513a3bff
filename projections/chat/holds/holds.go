// Package holds keeps the legal holds of a pool, and what deciding about old messages needs to know of rooms and the state
// keeps nowhere else: which categories a room was in before, and which of its messages no history has. It is pure.
//
// A hold is a predicate on the log. What it comes to in one room is a list of event.Keep, and whether a message is kept is
// asked of these alone: of the decision that refuses a removal, and of whoever carries out a purge.
package holds

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

// Hold is a legal hold.
type Hold struct {
	Name       string
	Info       event.HoldInfo
	Revision   event.Offset    // of the newest event about it
	By         event.Principal // who set it first, since it was released last
	At         event.Time
	Since      event.Offset
	Released   bool // nothing is kept by it any more; it can be set again
	ReleasedBy event.Principal
	ReleasedAt event.Time
	Why        string // of the release
}

func (h *Hold) code(c *wire.Coder) {
	wire.Str(c, 1, &h.Name)
	c.Sub(2, h.Info.Code)
	wire.Uint(c, 3, &h.Revision)
	wire.Str(c, 4, &h.By)
	wire.Int(c, 5, &h.At)
	wire.Uint(c, 6, &h.Since)
	c.Bool(7, &h.Released)
	wire.Str(c, 8, &h.ReleasedBy)
	wire.Int(c, 9, &h.ReleasedAt)
	wire.Str(c, 10, &h.Why)
}

// move says that a room left a category: what it got by an event before that was in the category.
type move struct {
	room     event.RoomID
	at       event.Offset
	category event.CategoryID
}

func (m *move) code(c *wire.Coder) {
	wire.Str(c, 1, &m.room)
	wire.Uint(c, 2, &m.at)
	wire.Str(c, 3, &m.category)
}

func (m *move) hint() uint64    { return table.Hint(string(m.room), 0) }
func (m *move) parts() []string { return []string{string(m.room), fmt.Sprintf("%016x", uint64(m.at))} }

func movesByRoom(a, b *move) bool {
	if a.room != b.room {
		return a.room < b.room
	}
	return a.at < b.at
}

// Trail is what a room has that its history does not tell in order: messages that are not in it, and messages of archives,
// which are older than those before them.
type Trail struct {
	Room     event.RoomID
	Imported uint64 // id of the newest message of an archive

	// Messages that the history does not have and whose bodies the log may still have. First.MessageID 0: none.
	First, Last     event.MessageRef
	FirstAt, LastAt event.Time   // FirstAt is a time that none of them is before
	Until           event.Time   // of a purge that a hold kept some from: none of that time or before is left but these
	Epoch           event.Offset // of the holds then
}

func (t *Trail) code(c *wire.Coder) {
	wire.Str(c, 1, &t.Room)
	wire.Uint(c, 2, &t.Imported)
	c.Sub(3, t.First.Code)
	c.Sub(4, t.Last.Code)
	wire.Int(c, 5, &t.FirstAt)
	wire.Int(c, 6, &t.LastAt)
	wire.Int(c, 7, &t.Until)
	wire.Uint(c, 8, &t.Epoch)
}

// Unseen reports whether there may be messages of a time or before that the history does not have and a purge would take.
func (t *Trail) Unseen(until event.Time, epoch event.Offset) bool {
	return t.First.MessageID != 0 && t.FirstAt <= until && (t.Epoch != epoch || min(t.LastAt, until) > t.Until)
}

// Holds is all of that. It is a persistent value: Copy is O(1).
type Holds struct {
	rows   table.Keyed[string, Hold]
	moves  table.Tupled[move]
	trails table.Keyed[event.RoomID, Trail]
}

// Prefixes are the row prefixes of the three tables.
type Prefixes struct{ Hold, Move, Trail byte }

// New returns no holds.
func New(p Prefixes) Holds {
	return Holds{
		rows:   table.NewKeyed(p.Hold, 0, func(h *Hold) string { return h.Name }, (*Hold).code),
		moves:  table.NewTupled(p.Move, (*move).hint, movesByRoom, (*move).parts, (*move).code),
		trails: table.NewKeyed(p.Trail, 0, func(t *Trail) event.RoomID { return t.Room }, (*Trail).code),
	}
}

// Tables returns the tables under the prefixes they were made with.
func (h *Holds) Tables(p Prefixes) map[byte]table.Rows {
	return map[byte]table.Rows{p.Hold: &h.rows, p.Move: &h.moves, p.Trail: &h.trails}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes h may call it.
func (h *Holds) Copy() Holds { return Holds{h.rows.Copy(), h.moves.Copy(), h.trails.Copy()} }

// Hold returns a hold, also one that was released.
func (h *Holds) Hold(name string) (Hold, bool) { return h.rows.Value(name) }

// All returns all holds, by name, also those that were released.
func (h *Holds) All() iter.Seq[Hold] { return h.rows.All() }

// Epoch returns the offset of the newest event about holds: what they keep may have changed with it, and with nothing else
// but moves of rooms.
func (h *Holds) Epoch() (newest event.Offset) {
	h.rows.Scan(func(r *Hold) bool {
		newest = max(newest, r.Revision)
		return true
	})
	return newest
}

// Trail returns the trail of a room.
func (h *Holds) Trail(room event.RoomID) Trail {
	t, _ := h.trails.Value(room)
	t.Room = room
	return t
}

// Keeps returns what the holds come to in a room, which is in a category now. Those of one hold come together.
func (h *Holds) Keeps(room event.RoomID, category event.CategoryID) (out []event.Keep) {
	h.rows.Scan(func(r *Hold) bool {
		if !r.Released {
			out = append(out, h.keeps(r, room, category)...)
		}
		return true
	})
	return out
}

// keeps is Keeps of one hold. A room counts for a category that it is in or was in: of messages that came then.
func (h *Holds) keeps(r *Hold, room event.RoomID, category event.CategoryID) (out []event.Keep) {
	i := &r.Info
	k := event.Keep{Hold: r.Name, Authors: i.Authors, From: i.From, To: i.To, First: i.FromOffset}
	if len(i.Rooms)+len(i.Categories) == 0 || slices.Contains(i.Rooms, room) || slices.Contains(i.Categories, category) {
		return []event.Keep{k}
	}
	before := event.Offset(0)
	h.moves.From(&move{room: room}, func(m *move) bool {
		if m.room != room {
			return false
		}
		if slices.Contains(i.Categories, m.category) && m.at > i.FromOffset {
			part := k
			part.First, part.Last = max(i.FromOffset, before), m.at-1
			out = append(out, part)
		}
		before = m.at
		return true
	})
	return out
}

// Names returns the names of the holds that some predicates come from.
func Names(keeps []event.Keep) (out []string) {
	for i := range keeps {
		if !slices.Contains(out, keeps[i].Hold) {
			out = append(out, keeps[i].Hold)
		}
	}
	return out
}

// Fold folds an event about holds; known is false for any other. An error says that it cannot have happened.
func (h *Holds) Fold(e *event.Envelope, save table.Saver) (known bool, err error) {
	switch v := e.Event.(type) {
	case *event.HoldSet:
		if v.Hold == "" {
			return true, fmt.Errorf("a hold without a name")
		}
		row := Hold{Name: v.Hold, Info: v.Info, Revision: e.Offset, By: e.By, At: e.At, Since: e.Offset}
		if old := h.rows.Get(v.Hold); old != nil && !old.Released {
			row.By, row.At, row.Since = old.By, old.At, old.Since
		}
		h.rows.Put(save, &row)
	case *event.HoldReleased:
		old := h.rows.Get(v.Hold)
		if old == nil || old.Released {
			return true, fmt.Errorf("no hold %q", v.Hold)
		}
		row := *old
		row.Revision, row.Released, row.ReleasedBy, row.ReleasedAt, row.Why = e.Offset, true, e.By, e.At, v.Reason
		h.rows.Put(save, &row)
	default:
		return false, nil
	}
	return true, nil
}

// Moved notes that a room left a category with the event at an offset.
func (h *Holds) Moved(save table.Saver, room event.RoomID, left event.CategoryID, at event.Offset) {
	h.moves.Put(save, &move{room: room, at: at, category: left})
	if t := h.Trail(room); t.Epoch != 0 { // another hold may keep its messages now, or none
		t.Until, t.Epoch = 0, 0
		h.trails.Put(save, &t)
	}
}

// Dropped forgets a room.
func (h *Holds) Dropped(save table.Saver, room event.RoomID) {
	var gone []*move
	h.moves.From(&move{room: room}, func(m *move) bool {
		if m.room == room {
			gone = append(gone, m)
		}
		return m.room == room
	})
	for _, m := range gone {
		h.moves.Drop(save, m)
	}
	h.trails.Remove(save, room)
}

// Came notes a message that the history of its room does not have, or that is older than those before it.
func (h *Holds) Came(save table.Saver, e *event.Envelope) {
	if p, ok := e.Event.(*event.Posted); ok && !p.Unlogged { // nearly all
		return
	}
	m, ok := event.MessageOf(e)
	if !ok {
		return
	}
	_, imported := e.Event.(*event.MessageImported)
	t := h.Trail(e.Room)
	if imported {
		t.Imported = m.ID
	} else {
		ref := event.MessageRef{MessageID: m.ID, Offset: e.Offset}
		if t.First.MessageID == 0 {
			t.First, t.FirstAt, t.Until, t.Epoch = ref, m.At, 0, 0
		}
		t.Last, t.LastAt = ref, m.At
	}
	h.trails.Put(save, &t)
}

// Gone notes that messages of a room were removed up to a time: all of them, or those that a purge names.
func (h *Holds) Gone(save table.Saver, room event.RoomID, until event.Time, p *event.MessagesPurged) {
	was := h.Trail(room)
	t := was
	switch {
	case t.First.MessageID == 0:
		return
	case p != nil && (p.First.MessageID > t.First.MessageID || p.First.Offset > t.First.Offset || p.Last.MessageID < t.Last.MessageID || p.Last.Offset < t.Last.Offset):
		return // not all: they come to their turn again
	case p != nil && len(p.Keeps) > 0:
		t.Until, t.Epoch = max(t.Until, until), h.Epoch()
	case until >= t.LastAt:
		t.First, t.Last, t.FirstAt, t.LastAt, t.Until, t.Epoch = event.MessageRef{}, event.MessageRef{}, 0, 0, 0, 0
	default:
		t.FirstAt = max(t.FirstAt, until+1)
	}
	switch t {
	case was:
	case Trail{Room: room}:
		h.trails.Remove(save, room)
	default:
		h.trails.Put(save, &t)
	}
}

// quoted lists names for people.
func quoted(names []string) string {
	var b strings.Builder
	for i, n := range names {
		if i == maxNamed {
			fmt.Fprintf(&b, " and %d more", len(names)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", n)
	}
	return b.String()
}

// maxNamed is how many holds a refusal names.
const maxNamed = 10
