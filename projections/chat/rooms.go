package chat

import (
	"iter"
	"slices"
	"strings"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/directory"
	"parley/projections/chat/table"
)

// category is a category with its lists made ready for asking.
type category struct {
	Category
	allowed, denied, creators scope
}

// newCategory prepares the lists with the numbers of a directory (State.number, or Directory.Find).
func newCategory(id event.CategoryID, info event.CategoryInfo, revision event.Offset, number func(event.Principal) (directory.Ref, bool)) *category {
	return &category{Category: Category{ID: id, Info: info, Revision: revision}, allowed: newScope(info.Allowed, number),
		denied: newScope(info.Denied, number), creators: newScope(info.Creators, number)}
}

func (g *category) code(c *wire.Coder) {
	wire.Str(c, 1, &g.ID)
	c.Sub(2, g.Info.Code)
	wire.Uint(c, 3, &g.Revision)
}

// covers reports whether p, which in contain, is inside the category: allowed and not denied (rule R1, deny wins).
func (g *category) covers(p event.Principal, in []directory.Ref) bool {
	return g.allowed.has(p, in) && !g.denied.has(p, in)
}

// tally is what changes with every message and session, kept apart from the room so that a post saves few bytes.
type tally struct {
	room         event.RoomID
	lastMessage  uint64
	participants int
	quiet        bool
}

func (t *tally) code(c *wire.Coder) {
	wire.Str(c, 1, &t.room)
	wire.Uint(c, 2, &t.lastMessage)
	wire.Int(c, 3, &t.participants)
	c.Bool(4, &t.quiet)
}

// tally returns a copy to change and put back.
func (s *State) tally(id event.RoomID) *tally {
	if t := s.tallies.Get(id); t != nil {
		c := *t
		return &c
	}
	return &tally{room: id}
}

// lastMessage returns the number of the newest message of a room, 0 if there is none.
func (s *State) lastMessage(id event.RoomID) uint64 {
	if t := s.tallies.Get(id); t != nil {
		return t.lastMessage
	}
	return 0
}

// count changes the number of participants. A room above the limit (ParticipantUpdateLimit of the configuration) is
// quiet until fewer than 80 % of it are left (docs/rules.md, Presence in rooms).
func (t *tally) count(by, limit int) {
	t.participants += by
	switch {
	case t.participants > limit:
		t.quiet = true
	case t.participants == 0 || t.participants*10 < limit*8:
		t.quiet = false
	}
}

// grant gives a principal roles in a room.
type grant struct {
	room      event.RoomID
	principal event.Principal
	role      event.Role
}

func (g *grant) hint() uint64     { return table.Hint(string(g.room), 0) }
func (g *grant) userHint() uint64 { return table.Hint(string(g.principal), skipScheme) }
func (g *grant) parts() []string  { return []string{string(g.room), string(g.principal)} }

func (g *grant) code(c *wire.Coder) {
	wire.Str(c, 1, &g.room)
	wire.Str(c, 2, &g.principal)
	wire.Uint(c, 3, &g.role)
}

func grantsByRoom(a, b *grant) bool {
	if a.room != b.room {
		return a.room < b.room
	}
	return a.principal < b.principal
}

func grantsByPrincipal(a, b *grant) bool {
	if a.principal != b.principal {
		return a.principal < b.principal
	}
	return a.room < b.room
}

// roomText returns a function that finds the state's own text for equal ones: two million rows speak of thirty thousand
// rooms. Rows of one room should come together: it looks up a room that is not the last one.
func (s *State) roomText() func(*event.RoomID) {
	var last event.RoomID
	return func(p *event.RoomID) {
		if *p != last {
			last = *p
			if r := s.rooms.Get(last); r != nil {
				last = r.ID
			}
		}
		*p = last
	}
}

// userText is roomText for accounts.
func (s *State) userText() func(*event.Principal) {
	var last event.Principal
	return func(p *event.Principal) {
		if *p != last {
			last = *p
			if u := s.dir.User(last); u != nil {
				last = u.URI
			}
		}
		*p = last
	}
}

// shareGrant lets a grant share the texts of the rows it speaks of.
func (s *State) shareGrant(g *grant) {
	if r := s.rooms.Get(g.room); r != nil {
		g.room = r.ID
	}
	if u := s.dir.User(g.principal); u != nil {
		g.principal = u.URI
	}
}

// foldName is the form in which names are compared.
func foldName(name string) string { return strings.ToLower(name) }

// Category returns a category. Its lists are not to be changed.
func (s *State) Category(id event.CategoryID) (Category, bool) {
	if g := s.categories.Get(id); g != nil {
		return g.Category, true
	}
	return Category{}, false
}

// CategoryByName returns the category of a name, compared without case.
func (s *State) CategoryByName(name string) (Category, bool) {
	id, ok := s.categoryNames.Get(foldName(name))
	if !ok {
		return Category{}, false
	}
	return s.Category(id)
}

// Categories returns all categories, by id.
func (s *State) Categories() iter.Seq[Category] {
	return func(yield func(Category) bool) {
		s.categories.Scan(func(g *category) bool { return yield(g.Category) })
	}
}

// Covers reports whether a principal is inside a category: allowed there and not denied (rule R1).
func (s *State) Covers(id event.CategoryID, p event.Principal) bool {
	g := s.categories.Get(id)
	return g != nil && g.covers(p, s.dir.ReachOf(p, nil))
}

// creates reports whether a user may create rooms in a category (rules R1 and R2).
func (s *State) creates(g *category, u *User) bool {
	in := s.dir.Reach(u, nil)
	return s.enabled(u) && g.creators.has(u.URI, in) && g.covers(u.URI, in)
}

// MayCreateIn reports whether a user may create rooms in a category.
func (s *State) MayCreateIn(id event.CategoryID, user event.Principal) bool {
	g, u := s.categories.Get(id), s.dir.User(user)
	return g != nil && u != nil && s.creates(g, u)
}

// Creatable returns the categories in which a user may create rooms, by id.
func (s *State) Creatable(user event.Principal) iter.Seq[Category] {
	return func(yield func(Category) bool) {
		u := s.dir.User(user)
		if u == nil {
			return
		}
		s.categories.Scan(func(g *category) bool { return !s.creates(g, u) || yield(g.Category) })
	}
}

func (s *State) room(r *Room) Room {
	v := *r
	if t := s.tallies.Get(r.ID); t != nil {
		v.LastMessage, v.Participants, v.Quiet = t.lastMessage, t.participants, t.quiet
	}
	return v
}

// Room returns a room.
func (s *State) Room(id event.RoomID) (Room, bool) {
	if r := s.rooms.Get(id); r != nil {
		return s.room(r), true
	}
	return Room{}, false
}

// RoomByName returns the room of a name, compared without case.
func (s *State) RoomByName(name string) (Room, bool) {
	id, ok := s.roomNames.Get(foldName(name))
	if !ok {
		return Room{}, false
	}
	return s.Room(id)
}

// Rooms returns all rooms, by id.
func (s *State) Rooms() iter.Seq[Room] {
	return func(yield func(Room) bool) {
		s.rooms.Scan(func(r *Room) bool { return yield(s.room(r)) })
	}
}

// Access returns the roles given in a room, by principal.
func (s *State) Access(room event.RoomID) iter.Seq[event.Access] {
	return func(yield func(event.Access) bool) {
		s.grants.From(&grant{room: room}, func(g *grant) bool {
			return g.room == room && yield(event.Access{Principal: g.principal, Role: g.role})
		})
	}
}

// RoomsOf returns the rooms that a user sees and in which he has one of the roles, by id: his own, and those of the
// principals that contain him.
func (s *State) RoomsOf(by event.Principal, role event.Role) iter.Seq[Room] {
	return func(yield func(Room) bool) {
		var ids []event.RoomID
		for _, p := range s.dir.Containing(by) {
			s.grantsOf.From(&grant{principal: p}, func(g *grant) bool {
				if g.principal != p {
					return false
				}
				if g.role&role != 0 {
					ids = append(ids, g.room)
				}
				return true
			})
		}
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			r := s.rooms.Get(id)
			if rights := s.Rights(id, by); rights.See && rights.roles()&role != 0 && !yield(s.room(r)) {
				return
			}
		}
	}
}
