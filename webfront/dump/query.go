package dump

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

// Source is a log: log.Log is one.
type Source interface {
	// Read returns up to maxEvents events from an offset on, none when the log ends before it.
	Read(from event.Offset, maxEvents int) ([]event.Envelope, error)
	// WaitFor returns when the event at an offset is committed.
	WaitFor(ctx context.Context, at event.Offset) error
}

// Query says which events. The zero value is all of them.
type Query struct {
	From, To event.Offset // 0: from the first, to the head at the time of the question
	Room     string       // ma-chan URI, GUID or any name that the room ever had
	User     string       // who acted, with or without "sip:"
	Kinds    []string     // any of these
	Follow   bool         // wait for more; To must be 0
}

// ErrQuery is the class of questions that make no sense.
var ErrQuery = errors.New("bad query")

// ErrNoRoom says that no room ever had the name.
var ErrNoRoom = errors.New("no such room")

// pageEvents is how much is read at a time.
const pageEvents = 512

// Run gives emit the line of every event that matches, in log order, without line end. It ends at To, at head (the
// committed head when the question was asked), with emit's error, or, following, with ctx. Damage is of class
// event.ErrCorrupt; lines before it have been emitted.
func Run(ctx context.Context, src Source, head event.Offset, q Query, emit func(line []byte) error) error {
	p, err := Prepare(ctx, src, head, q)
	if err != nil {
		return err
	}
	return p.Run(ctx, head, emit)
}

// Prepared is a question that makes sense.
type Prepared struct {
	src Source
	q   Query
	m   *matcher
}

// Prepare refuses questions that make no sense, before anything is shown.
func Prepare(ctx context.Context, src Source, head event.Offset, q Query) (*Prepared, error) {
	m, err := q.matcher()
	if err != nil {
		return nil, err
	}
	if m.domain, err = domainOf(ctx, src, head); err != nil {
		return nil, err
	}
	if err := m.resolve(ctx, src, head); err != nil {
		return nil, err
	}
	return &Prepared{src, q, m}, nil
}

// Run is the function of the same name; head may be later than that of Prepare.
func (p *Prepared) Run(ctx context.Context, head event.Offset, emit func(line []byte) error) error {
	q, m, src := p.q, p.m, p.src
	if q.To == 0 || q.To > head {
		q.To = head
	}
	from := max(q.From, 1)
	if err := each(ctx, src, from, q.To, func(e *event.Envelope) error { return m.show(e, emit) }); err != nil || !q.Follow {
		return err
	}
	for from = max(from, head+1); ; {
		if err := src.WaitFor(ctx, from); err != nil {
			return err
		}
		run, err := src.Read(from, pageEvents)
		if err != nil {
			return err
		}
		for i := range run {
			if f, ok := run[i].Event.(*event.PoolFormed); ok {
				m.domain = f.Domain
			}
			if err := m.show(&run[i], emit); err != nil {
				return err
			}
			from = run[i].Offset + 1
		}
	}
}

// domainOf finds the pool's domain, which room URIs need. The event that has it is one of the first, though not
// always the first: nodes may start before the pool has formed.
func domainOf(ctx context.Context, src Source, head event.Offset) (domain string, err error) {
	found := errors.New("found")
	err = each(ctx, src, 1, head, func(e *event.Envelope) error {
		if f, ok := e.Event.(*event.PoolFormed); ok {
			domain = f.Domain
			return found
		}
		return nil
	})
	if errors.Is(err, found) {
		err = nil
	}
	return domain, err
}

// each visits the events first to last.
func each(ctx context.Context, src Source, first, last event.Offset, visit func(*event.Envelope) error) error {
	for at := first; at <= last; {
		if err := ctx.Err(); err != nil {
			return err
		}
		run, err := src.Read(at, int(min(pageEvents, last-at+1)))
		if err != nil {
			return err
		}
		if len(run) == 0 {
			return fmt.Errorf("the log ends before event %d, its head was %d: %w", at, last, event.ErrCorrupt)
		}
		for i := range run {
			if run[i].Offset > last {
				return nil
			}
			if err := visit(&run[i]); err != nil {
				return err
			}
			at = run[i].Offset + 1
		}
	}
	return nil
}

type matcher struct {
	domain   string
	room     string // as asked
	roomName bool   // room is a name: rooms collects the ids that had it
	rooms    map[event.RoomID]bool
	user     event.Principal
	kinds    map[event.Kind]bool
}

func (q Query) matcher() (*matcher, error) {
	m := &matcher{room: q.Room, user: userOf(q.User)}
	if q.Follow && q.To != 0 {
		return nil, fmt.Errorf("to follow the log and to end at %d exclude each other: %w", q.To, ErrQuery)
	}
	if q.To != 0 && q.From > q.To {
		return nil, fmt.Errorf("from %d is after to %d: %w", q.From, q.To, ErrQuery)
	}
	for _, k := range q.Kinds {
		kind, ok := event.ParseKind(k)
		if !ok {
			return nil, fmt.Errorf("no events of kind %q exist: %w", k, ErrQuery)
		}
		if m.kinds == nil {
			m.kinds = map[event.Kind]bool{}
		}
		m.kinds[kind] = true
	}
	return m, nil
}

// userOf leaves nodes and administrators as they are.
func userOf(s string) event.Principal {
	if s == "" || strings.HasPrefix(s, "admin:") || strings.HasPrefix(s, "node:") {
		return event.Principal(s)
	}
	return event.UserPrincipal(s)
}

// resolve finds out which rooms are meant. A name may have belonged to several rooms, and a room may have had
// several names, so a name means every room that ever had it, and all of such a room's events.
func (m *matcher) resolve(ctx context.Context, src Source, head event.Offset) error {
	if m.room == "" {
		return nil
	}
	m.rooms = map[event.RoomID]bool{}
	if strings.Contains(m.room, "://") {
		domain, id, err := chat.ParseRoomURI(m.room)
		if err != nil {
			return fmt.Errorf("room %q: %w: %w", m.room, err, ErrQuery)
		}
		if domain != m.domain {
			return fmt.Errorf("room %s is not of this pool's domain, %s: %w", m.room, m.domain, ErrNoRoom)
		}
		m.rooms[id] = true
		return nil
	}
	if id := event.RoomID(strings.ToLower(m.room)); IsGUID(string(id)) {
		m.rooms[id] = true
		return nil
	}
	m.roomName = true
	err := each(ctx, src, 1, head, func(e *event.Envelope) error { m.learn(e); return nil })
	if err != nil {
		return fmt.Errorf("look for room %q: %w", m.room, err)
	}
	if len(m.rooms) == 0 {
		return fmt.Errorf("no room was ever called %q: %w", m.room, ErrNoRoom)
	}
	return nil
}

// learn notes the room that gets the name that was asked for.
func (m *matcher) learn(e *event.Envelope) {
	var name string
	switch ev := e.Event.(type) {
	case *event.RoomCreated:
		name = ev.Info.Name
	case *event.RoomChanged:
		name = ev.Info.Name
	default:
		return
	}
	if strings.EqualFold(name, m.room) {
		m.rooms[e.Room] = true
	}
}

func (m *matcher) show(e *event.Envelope, emit func([]byte) error) error {
	if m.roomName {
		m.learn(e)
	}
	if (m.rooms != nil && !m.rooms[e.Room]) || (m.user != "" && e.By != m.user) || (m.kinds != nil && !m.kinds[e.Kind()]) {
		return nil
	}
	return emit(Line(e, m.domain))
}

// IsGUID reports whether s is a GUID in lower case.
func IsGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}
