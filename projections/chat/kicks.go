package chat

import (
	"cmp"
	"slices"

	"parley/log/event"
	"parley/projections/chat/directory"
	"parley/projections/chat/directory/plan"
)

// lose returns the sessions of users who would lose the right to be in their rooms by a plan: those of accounts that are
// removed, and those whose right to join would end. By room, user, endpoint and node.
//
// It costs sessions, not members: either the accounts that move are few, and each one's sessions are looked at, or there
// are fewer participants in the rooms that know of the groups and units concerned, and these are.
func (s *State) lose(p *plan.Plan) []Session {
	e := p.Effect()
	l := &losing{s: s, p: p, after: map[event.Principal]*User{}}
	l.ofUsers(e.Changed)
	rooms, participants := s.roomsThrough(e.Through)
	if users, few := s.usersIn(e.Moved, participants); few {
		l.ofUsers(users)
	} else {
		l.inRooms(rooms)
	}
	return l.sessions()
}

// losing collects the sessions that end.
type losing struct {
	s     *State
	p     *plan.Plan
	after map[event.Principal]*User // as planned; nil: removed
	out   []*Session
}

// sessions returns what was collected, each session once.
func (l *losing) sessions() (out []Session) {
	slices.SortFunc(l.out, func(a, b *Session) int {
		return cmp.Or(cmp.Compare(a.Room, b.Room), cmp.Compare(a.User, b.User), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Node, b.Node))
	})
	for _, x := range slices.Compact(l.out) { // an account may have both changed and moved
		out = append(out, *x)
	}
	return out
}

func (l *losing) ofUsers(users []event.Principal) {
	for _, u := range users {
		l.ofUser(u)
	}
}

func (l *losing) inRooms(rooms []event.RoomID) {
	for _, room := range rooms {
		l.s.sessions.From(&Session{Room: room}, func(x *Session) bool {
			if x.Room == room {
				l.look(x)
			}
			return x.Room == room
		})
	}
}

func (l *losing) ofUser(u event.Principal) {
	l.s.sessionsOf.From(&Session{User: u}, func(x *Session) bool {
		if x.User == u {
			l.look(x)
		}
		return x.User == u
	})
}

func (l *losing) look(x *Session) {
	u, known := l.after[x.User]
	if !known {
		u = l.p.User(x.User)
		l.after[x.User] = u
	}
	r := l.s.rooms.Get(x.Room)
	// A session without a right, opened by the pool itself, is not ended by a change that has nothing to do with it.
	if u == nil || l.s.rights(r, l.s.dir.User(x.User)).Join && !l.s.rightsBy(l.p, r, u).Join {
		l.out = append(l.out, x)
	}
}

// usersIn returns the accounts that some principals contain, unless there are more than limit.
func (s *State) usersIn(list []event.Principal, limit int) (users []event.Principal, few bool) {
	for _, p := range list {
		for u := range s.dir.UsersIn(p) {
			if len(users) >= limit {
				return nil, false
			}
			users = append(users, u.URI)
		}
	}
	slices.Sort(users)
	return slices.Compact(users), true
}

// roomsThrough returns the rooms in which one of these principals has a role, or whose category allows or denies it, by
// id, and how many users are in them.
func (s *State) roomsThrough(through map[directory.Ref]bool) (rooms []event.RoomID, participants int) {
	found := map[event.RoomID]bool{}
	for r := range through {
		if r >= s.dir.Size() {
			continue // new, so nobody knows of it
		}
		p := s.dir.Principal(r)
		s.grantsOf.From(&grant{principal: p}, func(g *grant) bool {
			if g.principal == p {
				found[g.room] = true
			}
			return g.principal == p
		})
	}
	concerned := map[event.CategoryID]bool{}
	s.categories.Scan(func(g *category) bool {
		if slices.ContainsFunc(slices.Concat(g.allowed.shared, g.denied.shared), func(r directory.Ref) bool { return through[r] }) {
			concerned[g.ID] = true
		}
		return true
	})
	if len(concerned) > 0 {
		s.rooms.Scan(func(r *Room) bool {
			if concerned[r.Info.Category] {
				found[r.ID] = true
			}
			return true
		})
	}
	for room := range found {
		if t := s.tallies.Get(room); t != nil && t.participants > 0 {
			participants += t.participants
			rooms = append(rooms, room)
		}
	}
	slices.Sort(rooms)
	return rooms, participants
}
