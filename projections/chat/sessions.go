package chat

import (
	"iter"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

func (x *Session) hint() uint64     { return table.Hint(string(x.Room), 0) }
func (x *Session) userHint() uint64 { return table.Hint(string(x.User), skipScheme) }
func (x *Session) nodeHint() uint64 { return table.Hint(string(x.Node), 0) }
func (x *Session) parts() []string {
	return []string{string(x.Room), string(x.User), string(x.Endpoint), string(x.Node)}
}

func (x *Session) code(c *wire.Coder) {
	wire.Str(c, 1, &x.Room)
	wire.Str(c, 2, &x.User)
	wire.Str(c, 3, &x.Endpoint)
	wire.Str(c, 4, &x.Node)
	wire.Uint(c, 5, &x.Incarnation)
	wire.Uint(c, 6, &x.Since)
}

func sessionsByRoom(a, b *Session) bool {
	if a.Room != b.Room {
		return a.Room < b.Room
	}
	if a.User != b.User {
		return a.User < b.User
	}
	return sameUserLess(a, b)
}

func sessionsByUser(a, b *Session) bool {
	if a.User != b.User {
		return a.User < b.User
	}
	if a.Room != b.Room {
		return a.Room < b.Room
	}
	return sameUserLess(a, b)
}

// sessionsByNode keeps the sessions of a room together, so that the loss of a node counts each room once.
func sessionsByNode(a, b *Session) bool {
	if a.Node != b.Node {
		return a.Node < b.Node
	}
	return sessionsByRoom(a, b)
}

func sameUserLess(a, b *Session) bool {
	if a.Endpoint != b.Endpoint {
		return a.Endpoint < b.Endpoint
	}
	return a.Node < b.Node
}

// shareSession lets a session share the texts of the rows it speaks of: there are two million at most.
func (s *State) shareSession(x *Session) {
	if r := s.rooms.Get(x.Room); r != nil {
		x.Room = r.ID
	}
	if u := s.dir.User(x.User); u != nil {
		x.User = u.URI
	}
	if n := s.nodes.Get(x.Node); n != nil {
		x.Node = n.ID
	}
	looked := 0
	s.sessionsOf.From(&Session{User: x.User}, func(y *Session) bool {
		if y.User == x.User && y.Endpoint == x.Endpoint {
			x.Endpoint = y.Endpoint
			return false
		}
		looked++
		return y.User == x.User && looked < 4 // of few endpoints one is found soon
	})
}

func (s *State) openSession(save Saver, x *Session) {
	s.shareSession(x)
	if !s.Participates(x.Room, x.User) {
		t := s.tally(x.Room)
		t.count(+1, s.quietAbove())
		s.tallies.Put(save, t)
	}
	s.sessions.Put(save, x)
	s.sessionsOf.Set(x)
	s.sessionsOn.Set(x)
}

// closeSessions ends sessions that are in the order of rooms.
func (s *State) closeSessions(save Saver, gone []*Session) {
	var t *tally
	flush := func() {
		if t != nil {
			s.tallies.Put(save, t)
			t = nil
		}
	}
	for _, x := range gone {
		s.sessions.Drop(save, x)
		s.sessionsOf.Remove(x)
		s.sessionsOn.Remove(x)
		if s.Participates(x.Room, x.User) {
			continue
		}
		if t == nil || t.room != x.Room {
			flush()
			t = s.tally(x.Room)
		}
		t.count(-1, s.quietAbove())
	}
	flush()
}

// Participates reports whether a user has a session in a room, on any endpoint and node.
func (s *State) Participates(room event.RoomID, user event.Principal) bool {
	found := false
	s.sessions.From(&Session{Room: room, User: user}, func(x *Session) bool {
		found = x.Room == room && x.User == user
		return false
	})
	return found
}

// session is asked with every post. Of a user there are few sessions, in a room there may be thousands to compare with.
func (s *State) session(room event.RoomID, user event.Principal, endpoint event.Endpoint, node event.NodeID) *Session {
	return s.sessionsOf.Get(&Session{Room: room, User: user, Endpoint: endpoint, Node: node})
}

// Joined reports whether exactly this session exists.
func (s *State) Joined(room event.RoomID, user event.Principal, endpoint event.Endpoint, node event.NodeID) bool {
	return s.session(room, user, endpoint, node) != nil
}

// Sessions returns all sessions, by room.
func (s *State) Sessions() iter.Seq[Session] {
	return func(yield func(Session) bool) {
		s.sessions.Scan(func(x *Session) bool { return yield(*x) })
	}
}

// SessionsIn returns the sessions of a room, by user.
func (s *State) SessionsIn(room event.RoomID) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		s.sessions.From(&Session{Room: room}, func(x *Session) bool { return x.Room == room && yield(*x) })
	}
}

// SessionsOf returns the sessions of a user, by room.
func (s *State) SessionsOf(user event.Principal) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		s.sessionsOf.From(&Session{User: user}, func(x *Session) bool { return x.User == user && yield(*x) })
	}
}

// SessionsOn returns the sessions that a node serves, by room.
func (s *State) SessionsOn(node event.NodeID) iter.Seq[Session] {
	return func(yield func(Session) bool) {
		s.sessionsOn.From(&Session{Node: node}, func(x *Session) bool { return x.Node == node && yield(*x) })
	}
}

// Roster returns the users with a session in a room, by URI, each once.
func (s *State) Roster(room event.RoomID) []Participant {
	var roster []Participant
	for x := range s.SessionsIn(room) {
		if n := len(roster); n > 0 && roster[n-1].User == x.User {
			continue
		}
		r := s.Rights(room, x.User)
		roster = append(roster, Participant{User: x.User, Manager: r.Manager, Presenter: r.Presenter})
	}
	return roster
}
