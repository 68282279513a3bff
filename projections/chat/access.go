package chat

import (
	"cmp"
	"maps"
	"slices"

	"parley/log/event"
	"parley/projections/chat/directory"
)

// accessList is who may do what in a room, made ready for asking, and derived from its fields and grants: a rights check finds it in the
// room that it has in its hands, instead of looking a grant up among two million.
type accessList struct {
	own    ownGrants // of accounts
	gate   gate
	shared shares // of groups, units, domains and everyone
}

// ownGrant gives roles to an account: its number, and its roles in the lowest bits; 0 is none.
type ownGrant uint32

const (
	roleBits  = 3
	maxNumber = 1<<(32-roleBits) - 1 // accounts of higher numbers are looked up in the table
)

func (g ownGrant) number() directory.Number { return directory.Number(g >> roleBits) }
func (g ownGrant) role() event.Role         { return event.Role(g & (1<<roleBits - 1)) }

// ownGrants is a table of grants by the hash of the number, in which one that is not free follows: whoever is in a room of
// hundreds is found in one line of memory. At most two thirds are taken.
type ownGrants struct {
	slots []ownGrant // a power of two, or none
	n     int32
}

func (o *ownGrants) home(n directory.Number) int {
	h := uint32(n) * 2654435769
	return int(h^h>>15) & (len(o.slots) - 1)
}

// find returns where the grant of an account is, or is to be; there must be slots.
func (o *ownGrants) find(n directory.Number) (at int, has bool) {
	for at = o.home(n); o.slots[at] != 0; at = (at + 1) & (len(o.slots) - 1) {
		if o.slots[at].number() == n {
			return at, true
		}
	}
	return at, false
}

// role is the roles given to exactly this account.
func (o *ownGrants) role(n directory.Number) event.Role {
	if o.n == 0 {
		return 0
	}
	at, _ := o.find(n)
	return o.slots[at].role()
}

// set changes, in place, a table that nobody else has.
func (o *ownGrants) set(n directory.Number, role event.Role) {
	if role == 0 {
		o.drop(n)
		return
	}
	if int(o.n+1)*3 > len(o.slots)*2 {
		o.fit(int(o.n) + 1)
	}
	at, has := o.find(n)
	if !has {
		o.n++
	}
	o.slots[at] = ownGrant(n)<<roleBits | ownGrant(role)
}

// fit moves the grants to a table with place for n, and a quarter more.
func (o *ownGrants) fit(n int) {
	size := 4
	for size*2 < (n+n/4)*3 {
		size *= 2
	}
	old := o.slots
	o.slots = make([]ownGrant, size)
	for _, g := range old {
		if g != 0 {
			at, _ := o.find(g.number())
			o.slots[at] = g
		}
	}
}

// drop takes a grant away and moves up those that its place kept from theirs.
func (o *ownGrants) drop(n directory.Number) {
	if o.n == 0 {
		return
	}
	free, has := o.find(n)
	if !has {
		return
	}
	mask := len(o.slots) - 1
	for at := (free + 1) & mask; o.slots[at] != 0; at = (at + 1) & mask {
		if home := o.home(o.slots[at].number()); (at-home)&mask >= (at-free)&mask {
			o.slots[free], free = o.slots[at], at
		}
	}
	o.slots[free] = 0
	o.n--
}

// listed reports whether the roles of an account are in the lists. Of somebody who has no account yet they are only in the
// table; they come into the lists when it is made.
func listed(u *User) bool { return u != nil && u.Number() <= maxNumber }

// edit returns lists that may be changed in place.
func (a *accessList) edit() accessList {
	return accessList{own: ownGrants{slices.Clone(a.own.slots), a.own.n}, gate: a.gate, shared: a.shared.edit()}
}

// sharedGrant gives roles to a principal that stands for more than one user.
type sharedGrant struct {
	to   directory.Ref
	role event.Role
}

// shares is the grants of a room to principals that stand for more than one user.
type shares struct {
	list   []sharedGrant // by number
	filter filter
}

func (l *shares) find(to directory.Ref) (int, bool) {
	return slices.BinarySearchFunc(l.list, to, func(g sharedGrant, r directory.Ref) int { return cmp.Compare(g.to, r) })
}

// role is the union of the roles that go to one of these principals.
func (l *shares) role(in []directory.Ref) (role event.Role) {
	for _, r := range in {
		if l.filter.may(r) {
			if i, ok := l.find(r); ok {
				role |= l.list[i].role
			}
		}
	}
	return role
}

// edit returns a copy that may be changed in place.
func (l *shares) edit() shares { return shares{slices.Clone(l.list), l.filter} }

// set changes, in place, a list that nobody else has.
func (l *shares) set(to directory.Ref, role event.Role) {
	i, has := l.find(to)
	switch {
	case role == 0 && has:
		l.list = slices.Delete(l.list, i, i+1)
	case role == 0:
	case has:
		l.list[i].role = role
	default:
		l.list = slices.Insert(l.list, i, sharedGrant{to, role})
		l.filter.add(to)
	}
}

// note notes the roles of a principal in lists that may be changed in place. Only Fold may: it gives numbers.
func (s *State) note(a *accessList, p event.Principal, role event.Role) {
	if directory.IsCollective(p) {
		a.shared.set(s.dir.Intern(p), role)
	} else if u := s.dir.User(p); listed(u) {
		a.own.set(u.Number(), role)
	}
}

// Role returns the roles given to exactly this principal in a room; those of its domain or of everyone, and the
// bounds of the category, are in Rights.
func (s *State) Role(room event.RoomID, p event.Principal) event.Role {
	r := s.rooms.Get(room)
	if r == nil {
		return 0
	}
	if u := s.dir.User(p); listed(u) {
		return r.access.own.role(u.Number())
	}
	if g := s.grants.Get(&grant{room: room, principal: p}); g != nil {
		return g.role
	}
	return 0
}

// sharedIn returns the grants of a room that go to more than one user, to be changed at will; none for a room that is going
// to be made.
func (s *State) sharedIn(room event.RoomID) shares {
	if r := s.rooms.Get(room); r != nil {
		return r.access.shared.edit()
	}
	return shares{}
}

// setRoles gives principals exactly these roles in a room, whose row is there; zero takes them all.
func (s *State) setRoles(save Saver, room event.RoomID, list []event.Access) {
	if len(list) == 0 {
		return
	}
	r := *s.rooms.Get(room)
	r.access = r.access.edit()
	for _, a := range list {
		g := &grant{room: r.ID, principal: a.Principal, role: a.Role}
		if old := s.grants.Get(g); old == nil && a.Role == 0 || old != nil && old.role == a.Role {
			continue
		}
		if a.Role != 0 {
			s.shareGrant(g)
			s.grants.Put(save, g)
			s.grantsOf.Set(g)
		} else {
			s.grants.Drop(save, g)
			s.grantsOf.Remove(g)
		}
		s.note(&r.access, a.Principal, a.Role)
	}
	s.rooms.Put(nil, &r) // its row says nothing of roles
}

// RoleEdit changes who has a role in a room: everybody loses it if All is set, then those in Remove do, then those in Add get it.
type RoleEdit struct {
	Role        event.Role
	All         bool
	Remove, Add []event.Principal
}

// EditRoles returns the entries that edits alter, one after the other, in the access of a room, by principal; "" is a room
// that is going to be made.
func (s *State) EditRoles(room event.RoomID, edits []RoleEdit) []event.Access {
	now := map[event.Principal]event.Role{}
	for a := range s.Access(room) {
		now[a.Principal] = a.Role
	}
	then := maps.Clone(now)
	for _, e := range edits {
		for p := range then {
			if e.All {
				then[p] &^= e.Role
			}
		}
		for _, p := range e.Remove {
			then[p] &^= e.Role
		}
		for _, p := range e.Add {
			then[p] |= e.Role
		}
	}
	var out []event.Access
	for p, r := range then {
		if r != now[p] {
			out = append(out, event.Access{Principal: p, Role: r})
		}
	}
	slices.SortFunc(out, func(x, y event.Access) int { return cmp.Compare(x.Principal, y.Principal) })
	return out
}

// linkGrants builds what is derived from the grants, after they were loaded.
func (s *State) linkGrants() {
	room, user := s.roomText(), s.userText()
	all := make([]*grant, 0, s.grants.Len())
	s.grants.Scan(func(g *grant) bool {
		room(&g.room)
		all = append(all, g)
		return true
	})
	s.grantsOf.Fill(all, func(g *grant) { user(&g.principal) })
	for len(all) > 0 { // room by room
		n := 1
		for n < len(all) && all[n].room == all[0].room {
			n++
		}
		if r := s.rooms.Get(all[0].room); r != nil { // changed in place: nobody else has it yet
			r.access.own.fit(n)
			for _, g := range all[:n] {
				s.note(&r.access, g.principal, g.role)
			}
			r.access.shared.list = slices.Clip(r.access.shared.list)
		}
		all = all[n:]
	}
}

// noteAccount brings the roles that were given to somebody before he had an account into the lists.
func (s *State) noteAccount(u *User) {
	var given []*grant
	s.grantsOf.From(&grant{principal: u.URI}, func(g *grant) bool {
		if g.principal == u.URI {
			given = append(given, g)
		}
		return g.principal == u.URI
	})
	for _, g := range given {
		if r := s.rooms.Get(g.room); r != nil && listed(u) {
			c := *r
			c.access = r.access.edit()
			c.access.own.set(u.Number(), g.role)
			s.rooms.Put(nil, &c)
		}
	}
}
