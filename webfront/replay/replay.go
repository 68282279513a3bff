// Package replay says what the pool was at a moment of the past: which rooms there were, who was in them, who could see
// them, and what stood on the screen. It folds the log up to that moment with the rules that the live server folds it
// with, so there is no second opinion about what was. A live node and a stopped data directory go through it alike.
package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/webfront/objects"
)

// Log is a log: log.Log is one.
type Log interface {
	// Read returns up to maxEvents events from an offset on, none when the log ends before it.
	Read(from event.Offset, maxEvents int) ([]event.Envelope, error)
	// At returns the last offset whose time is not later than t, 0 when there is none.
	At(t event.Time) (event.Offset, error)
}

// ErrMoment is the class of moments that the log does not have.
var ErrMoment = errors.New("no such moment")

// Moment finds the offset that "OFFSET" or an RFC 3339 time means, in a log whose committed head is head. A time means
// the last event that was not later; one that is later than the last event means that.
func Moment(l Log, head event.Offset, at string) (event.Offset, error) {
	if n, err := strconv.ParseUint(at, 10, 64); err == nil {
		if n == 0 || event.Offset(n) > head {
			return 0, fmt.Errorf("event %d: the log has the events 1 to %d: %w", n, head, ErrMoment)
		}
		return event.Offset(n), nil
	}
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return 0, fmt.Errorf("%q is neither an offset nor a time such as 2026-01-31T08:15:00Z: %w", at, ErrMoment)
	}
	switch year := t.UTC().Year(); { // what an event.Time can hold; no event is of another time
	case year > 2261:
		t = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
	case year < 1970:
		t = time.Unix(0, 0)
	}
	o, err := l.At(event.Time(t.UnixNano()))
	if err != nil {
		return 0, err
	}
	if o == 0 {
		return 0, fmt.Errorf("%s is before the first event: %w", at, ErrMoment)
	}
	return min(o, head), nil
}

// Pool is the first line of the answer.
type Pool struct {
	Offset     event.Offset `json:"offset"`
	At         string       `json:"at" doc:"time of that event"`
	Chain      string       `json:"chain" doc:"after that event, in hex"`
	State      string       `json:"state" doc:"hash of the whole state, in hex: the same on every node at that offset"`
	PoolURI    string       `json:"pool_uri"`
	Users      int          `json:"users"`
	Categories int          `json:"categories"`
	Rooms      int          `json:"rooms"`
	Sessions   int          `json:"sessions"`
}

// Room is a room as it was: a line each.
type Room struct {
	objects.Room
	Sessions []Session `json:"sessions" doc:"who was in it, with which endpoint, on which node"`
	// Only when one room is asked for.
	Sights []Sight   `json:"sights,omitempty" doc:"who could see it"`
	Screen []Message `json:"screen,omitempty" doc:"the last messages that could be read, oldest first"`
}

// Session is an endpoint in the room.
type Session struct {
	User     event.Principal `json:"user"`
	Endpoint event.Endpoint  `json:"endpoint"`
	Node     event.NodeID    `json:"node"`
	Since    event.Offset    `json:"since" doc:"of its join"`
}

// Sight is somebody who could see the room, and what else he could do.
type Sight struct {
	User   event.Principal `json:"user"`
	Join   bool            `json:"join"`
	Post   bool            `json:"post"`
	Read   bool            `json:"read_history"`
	Manage bool            `json:"manage"`
}

// Message is a message as it could be read then: removed ones are not there, or have the text that replaced them.
type Message struct {
	ID     uint64          `json:"message_id"`
	Offset event.Offset    `json:"offset"`
	At     string          `json:"at"`
	By     event.Principal `json:"by"`
	Body   string          `json:"body"`
	Erased bool            `json:"erased,omitempty" doc:"it was read then; its text has been lawfully erased since"`
}

// DefaultScreen is how many messages a client shows when it comes into a room.
const DefaultScreen = 25

// MaxScreen bounds the messages of one answer.
const MaxScreen = 10000

// pageEvents is how much is read at a time.
const pageEvents = 512

// State folds the log up to an offset. progress may be nil; it is called often and must not block.
func State(ctx context.Context, l Log, at event.Offset, progress func(done, total event.Offset)) (*chat.State, error) {
	s := chat.NewState()
	err := each(ctx, l, at, func(e *event.Envelope) error {
		if err := s.Fold(*e, nil); err != nil {
			return fmt.Errorf("fold event %d (%s): %w", e.Offset, e.Kind(), err)
		}
		if progress != nil && e.Offset%pageEvents == 0 {
			progress(e.Offset, at)
		}
		return nil
	})
	return s, err
}

func each(ctx context.Context, l Log, to event.Offset, visit func(*event.Envelope) error) error {
	for next := event.Offset(1); next <= to; {
		if err := ctx.Err(); err != nil {
			return err
		}
		run, err := l.Read(next, int(min(pageEvents, to-next+1)))
		if err == nil && len(run) == 0 {
			err = fmt.Errorf("the log ends before event %d: %w", next, event.ErrCorrupt)
		}
		if err != nil {
			return fmt.Errorf("read events from %d: %w", next, err)
		}
		for i := range run {
			if err := visit(&run[i]); err != nil {
				return err
			}
		}
		next = run[len(run)-1].Offset + 1
	}
	return nil
}

// Lines gives emit the pool and its rooms, by name, as they are in a state.
func Lines(s *chat.State, emit func(any) error) error {
	if err := emit(poolOf(s)); err != nil {
		return err
	}
	rooms := slices.Collect(s.Rooms())
	sort.Slice(rooms, func(i, j int) bool { return rooms[i].Info.Name < rooms[j].Info.Name })
	for _, r := range rooms {
		if err := emit(roomOf(s, r)); err != nil {
			return err
		}
	}
	return nil
}

// Detail gives emit the pool and one room, named by URI, GUID or the name that it had then, with who could see it and
// the last messages of the screen. It reads the log up to the state's offset again, and keeps the messages of the room
// in memory meanwhile.
func Detail(ctx context.Context, l Log, s *chat.State, room string, screen int, emit func(any) error) error {
	r, err := objects.FindRoom(s, room)
	if err != nil {
		return err
	}
	out := roomOf(s, r)
	for u := range s.Users() {
		if may := s.Rights(r.ID, u.URI); may.See {
			out.Sights = append(out.Sights, Sight{User: u.URI, Join: may.Join, Post: may.Post, Read: may.ReadHistory, Manage: may.Manage})
		}
	}
	sort.Slice(out.Sights, func(i, j int) bool { return out.Sights[i].User < out.Sights[j].User })
	if out.Screen, err = screenOf(ctx, l, r.ID, s.Offset(), screen); err != nil {
		return err
	}
	if err := emit(poolOf(s)); err != nil {
		return err
	}
	return emit(out)
}

func poolOf(s *chat.State) Pool {
	hash := s.Hash()
	p := Pool{Offset: s.Offset(), At: s.At().String(), Chain: s.Chain().String(), State: fmt.Sprintf("%x", hash), PoolURI: s.PoolURI()}
	for range s.Users() {
		p.Users++
	}
	for range s.Categories() {
		p.Categories++
	}
	for range s.Rooms() {
		p.Rooms++
	}
	for range s.Sessions() {
		p.Sessions++
	}
	return p
}

func roomOf(s *chat.State, r chat.Room) Room {
	out := Room{Room: objects.ShowRoom(s, r), Sessions: []Session{}}
	for x := range s.SessionsIn(r.ID) {
		out.Sessions = append(out.Sessions, Session{User: x.User, Endpoint: x.Endpoint, Node: x.Node, Since: x.Since})
	}
	sort.Slice(out.Sessions, func(i, j int) bool {
		a, b := out.Sessions[i], out.Sessions[j]
		return a.User < b.User || a.User == b.User && a.Endpoint < b.Endpoint
	})
	return out
}

// screenOf runs the history over the room's events.
func screenOf(ctx context.Context, l Log, room event.RoomID, at event.Offset, n int) ([]Message, error) {
	h, rows := history.New(), newRows()
	last := uint64(0)
	if err := h.Load(rows, 0); err != nil {
		return nil, err
	}
	err := each(ctx, l, at, func(e *event.Envelope) error {
		if e.Room != room {
			return nil
		}
		if m, ok := event.MessageOf(e); ok {
			last = max(last, m.ID)
		}
		return h.Apply(rows, *e)
	})
	if err != nil {
		return nil, fmt.Errorf("messages of room %s: %w", room, err)
	}
	all, err := h.Messages(room, 0, last)
	if err != nil {
		return nil, err
	}
	out := make([]Message, 0, min(n, len(all)))
	for _, m := range all[max(0, len(all)-n):] {
		out = append(out, Message{ID: m.ID, Offset: m.Offset, At: m.At.String(), By: m.By, Body: m.Text, Erased: m.Erased})
	}
	return out, nil
}
