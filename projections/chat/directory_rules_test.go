package chat

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat/directory/plan"

	"pgregory.net/rapid"
)

// naiveContains says again who contains a user, from what the state was told: the direct members of groups, the units of
// accounts and the parents of units.
func naiveContains(s *State, p, user event.Principal) bool {
	switch {
	case p == user || p == "*":
		return true
	case strings.HasPrefix(string(p), "domain:"):
		return strings.HasSuffix(string(user), "@"+strings.TrimPrefix(string(p), "domain:"))
	case strings.HasPrefix(string(p), "group:"):
		for m := range s.Directory().Members(p) {
			if m == user || strings.HasPrefix(string(m), "group:") && naiveContains(s, m, user) {
				return true
			}
		}
	case strings.HasPrefix(string(p), "ou:"):
		u, _ := s.User(user)
		for at := u.Info.Unit; at != ""; at = s.Directory().Unit(at).Info.Parent {
			if "ou:"+string(at) == string(p) {
				return true
			}
		}
	}
	return false
}

// foldDirectory makes units and groups with random members, and returns their principals.
func foldDirectory(rng *rand.Rand, users []event.Principal, fold func(event.Event)) (shared []event.Principal) {
	var units []event.UnitID
	for i := range 3 {
		id := event.UnitID(fmt.Sprintf("00000000-0000-4000-a000-%012x", i))
		parent := append([]event.UnitID{""}, units...)[rng.IntN(len(units)+1)]
		fold(&event.UnitCreated{Unit: id, Info: event.UnitInfo{Name: string(id), Parent: parent}})
		units = append(units, id)
		shared = append(shared, event.UnitPrincipal(id))
	}
	for _, u := range users {
		fold(&event.UserChanged{User: u, Info: event.UserInfo{Enabled: rng.IntN(6) > 0, Unit: append(units, "")[rng.IntN(4)]}})
	}
	members := slices.Clone(users)
	for i := range 4 { // each may hold the ones before it
		id := event.GroupID(fmt.Sprintf("00000000-0000-4000-b000-%012x", i))
		fold(&event.GroupCreated{Group: id, Info: event.GroupInfo{Name: string(id)}, Members: some(rng, members, 3)})
		members = append(members, event.GroupPrincipal(id))
		shared = append(shared, event.GroupPrincipal(id))
	}
	return shared
}

func some(rng *rand.Rand, list []event.Principal, oneOf int) (out []event.Principal) {
	for _, p := range list {
		if rng.IntN(oneOf) == 0 {
			out = append(out, p)
		}
	}
	return out
}

// changeDirectory moves somebody and changes groups.
func changeDirectory(rng *rand.Rand, s *State, users []event.Principal, fold func(event.Event)) {
	u, _ := s.User(users[rng.IntN(len(users))])
	u.Info.Unit = event.UnitID(fmt.Sprintf("00000000-0000-4000-a000-%012x", rng.IntN(3)))
	fold(&event.UserChanged{User: u.URI, Info: u.Info})
	for g := range s.Directory().Groups() {
		switch p := event.GroupPrincipal(g.ID); rng.IntN(4) {
		case 0:
			fold(&event.GroupChanged{Group: g.ID, Info: g.Info, Removed: slices.Collect(s.Directory().Members(p)), Added: some(rng, users, 3)})
		case 1:
			fold(&event.GroupChanged{Group: g.ID, Info: g.Info, Added: some(rng, users, 3), Removed: some(rng, users, 3)})
		}
	}
	if rng.IntN(4) == 0 {
		fold(&event.GroupRemoved{Group: event.GroupID(fmt.Sprintf("00000000-0000-4000-b000-%012x", rng.IntN(4)))})
	}
}

// shared returns principals of groups and units, one of which is not there.
func (m *machine) shared() []event.Principal {
	out := []event.Principal{"group:00000000-0000-4000-8000-0000000000ff"}
	for g := range m.s.Directory().Groups() {
		out = append(out, event.GroupPrincipal(g.ID))
	}
	for u := range m.s.Directory().Units() {
		out = append(out, event.UnitPrincipal(u.ID))
	}
	return out
}

// directoryRequest draws a command of the directory.
func (m *machine) directoryRequest() Request {
	dir := m.s.Directory()
	groups, units := []event.GroupID{"00000000-0000-4000-8000-0000000000ff"}, []event.UnitID{""}
	for g := range dir.Groups() {
		groups = append(groups, g.ID)
	}
	for u := range dir.Units() {
		units = append(units, u.ID)
	}
	unit := func() event.UnitID { return pick(m.t, "unit", units) }
	member := func() []event.Principal {
		var list []event.Principal
		for _, p := range m.principals("members") {
			if strings.HasPrefix(string(p), "sip:") || strings.HasPrefix(string(p), "group:") {
				list = append(list, p)
			}
		}
		return list
	}
	r := Request{Origin: m.trusted()}
	switch uniform(m.t, 14, "directory command") {
	case 0, 1:
		r.Command = &CreateGroup{Info: event.GroupInfo{Name: pick(m.t, "group name", []string{"G", "H", "I"}), Unit: unit()}, Members: member()}
	case 2:
		r.Command = &RemoveGroup{ID: pick(m.t, "group", groups)}
	case 3:
		r.Command = &CreateUnit{Info: event.UnitInfo{Name: pick(m.t, "unit name", []string{"U", "V"}), Parent: unit()}}
	case 4:
		r.Command = &ChangeUnit{ID: unit(), Info: event.UnitInfo{Name: pick(m.t, "unit name", []string{"U", "V"}), Parent: unit()}}
	case 5:
		r.Command = &RemoveUnit{ID: unit()}
	case 6, 7:
		u, _ := m.s.User(pick(m.t, "user", m.users))
		u.Info.Unit = unit()
		r.Command = &ChangeUser{User: u.URI, Info: u.Info}
	case 8:
		rows := []ImportRow{{Line: 1, Kind: "group", Name: pick(m.t, "group name", []string{"G", "H", "I"}), Has: 1 << 9}, {Line: 2, Kind: "user"}}
		for _, p := range member() {
			rows[0].Members = append(rows[0].Members, string(p))
		}
		rows[1].Address, rows[1].Enabled, rows[1].Has = string(pick(m.t, "user", m.users)), rapid.Bool().Draw(m.t, "enabled"), 1<<8
		rows[1].MemberOf = []string{pick(m.t, "group name", []string{"G", "H", "I"})}
		r.Command = &ImportDirectory{Rows: rows}
	default:
		id := pick(m.t, "group", groups)
		c := &ChangeGroup{ID: id, Replace: rapid.Bool().Draw(m.t, "replace")}
		if g := dir.Group(id); g != nil {
			c.Info = g.Info
		}
		if c.Add = member(); !c.Replace {
			c.Remove = slices.DeleteFunc(member(), func(p event.Principal) bool { return slices.Contains(c.Add, p) })
		}
		r.Command = c
	}
	return r
}

// checkKicks: nobody is put out of a room who may still be there. That nobody stays who may not is an invariant.
func (m *machine) checkKicks(envelopes []event.Envelope) {
	m.t.Helper()
	for _, e := range envelopes {
		if p, ok := e.Event.(*event.Parted); ok && p.Reason == event.PartKicked && naiveRights(m.s, e.Room, e.By).Join {
			m.t.Fatalf("%s was put out of room %s and may be there", e.By, e.Room)
		}
	}
}

// TestWhoLosesTheRoom opens a session for everybody who may be in a room, changes the directory at random, and compares
// who would be put out: by the sessions of those who move, by the sessions in the rooms concerned, and by asking the
// reference before and after.
func TestWhoLosesTheRoom(t *testing.T) {
	lost, kept := 0, 0
	for n := range uint64(400) {
		rng := rand.New(rand.NewPCG(20150101, n))
		s, users, rooms := world(t, rng)
		do := func(room event.RoomID, by event.Principal, e event.Event) {
			t.Helper()
			env := event.Envelope{Offset: s.Offset() + 1, At: 1, Meta: event.Meta{By: by, Room: room, Node: "n1"}, Event: e}
			if err := s.Fold(env, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, room := range rooms {
			for _, u := range users {
				if naiveRights(s, room, u).Join {
					do(room, u, &event.Joined{Endpoint: "e"})
				}
			}
		}
		p := plan.NewPlan(s.dir)
		changePlan(rng, s, p, users)
		e := p.Effect()
		byUsers, byRooms := &losing{s: s, p: p, after: map[event.Principal]*User{}}, &losing{s: s, p: p, after: map[event.Principal]*User{}}
		moved, _ := s.usersIn(e.Moved, 1<<30)
		concerned, _ := s.roomsThrough(e.Through)
		byUsers.ofUsers(slices.Concat(e.Changed, moved))
		byRooms.ofUsers(e.Changed)
		byRooms.inRooms(concerned)

		before := map[Session]bool{}
		for x := range s.Sessions() {
			before[x] = true
		}
		chosen := s.lose(p)
		changes, removals := p.Events()
		for _, e := range changes {
			do("", "admin:root", e)
		}
		var want []Session
		for x := range s.Sessions() {
			gone := slices.ContainsFunc(removals, func(e event.Event) bool {
				r, ok := e.(*event.UserRemoved)
				return ok && r.User == x.User
			})
			if gone || !rightsWithout(s, removals, x).Join {
				want = append(want, x)
			}
		}
		for way, got := range map[string][]Session{"by users": byUsers.sessions(), "by rooms": byRooms.sessions(), "as decided": chosen} {
			if !maps.Equal(sessionSet(got), sessionSet(want)) {
				t.Fatalf("world %d, %s: %v lose their room, the reference says %v; effect %+v", n, way, got, want, e)
			}
		}
		lost, kept = lost+len(want), kept+len(before)-len(want)
	}
	t.Logf("%d sessions lost, %d kept", lost, kept)
	if lost < 100 || kept < 100 {
		t.Error("the worlds are too uniform")
	}
}

func sessionSet(list []Session) map[Session]bool {
	set := map[Session]bool{}
	for _, x := range list {
		set[x] = true
	}
	return set
}

// rightsWithout asks the reference about a state in which groups are removed too.
func rightsWithout(s *State, removals []event.Event, x Session) Rights {
	c := s.Clone()
	for _, e := range removals {
		if _, group := e.(*event.GroupRemoved); group {
			if err := c.Fold(event.Envelope{Offset: c.Offset() + 1, At: 1, Event: e}, nil); err != nil {
				panic(err)
			}
		}
	}
	return naiveRights(c, x.Room, x.User)
}

// changePlan draws changes that the rules let through.
func changePlan(rng *rand.Rand, s *State, p *plan.Plan, users []event.Principal) {
	group := func() event.GroupID { return event.GroupID(fmt.Sprintf("00000000-0000-4000-b000-%012x", rng.IntN(4))) }
	unit := func() event.UnitID { return event.UnitID(fmt.Sprintf("00000000-0000-4000-a000-%012x", rng.IntN(3))) }
	for range 1 + rng.IntN(3) {
		u := users[rng.IntN(len(users))]
		var f *plan.Fault
		switch rng.IntN(9) {
		case 0:
			f = p.RemoveUser(u)
		case 1:
			if old := p.User(u); old != nil {
				info := old.Info
				info.Unit, info.Enabled = unit(), rng.IntN(4) > 0
				f = p.PutUser(u, info, event.Secret{})
			}
		case 2:
			f = p.RemoveGroup(group())
		case 3:
			f = p.PutUnit(unit(), event.UnitInfo{Name: fmt.Sprint(rng.Uint32()), Parent: unit()})
		case 4:
			f = p.SetMembers(group(), some(rng, users, 3))
		case 5:
			f = p.AddMember(group(), event.GroupPrincipal(group()))
		case 6:
			f = p.RemoveMember(group(), event.GroupPrincipal(group()))
		default:
			f = p.RemoveMember(group(), u)
		}
		_ = f // a refused change is none
	}
}
