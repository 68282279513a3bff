package chat

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/log/event"
	"parley/projections/chat/directory"
)

var rightsCases = flag.Int("rights.cases", 120_000, "random cases to compare the rights with the naive reference")

// naiveRights says the rules again, as plainly as they are written in docs/rules.md: lists are walked,
// nothing is prepared, and it asks the state only for what it was told.
func naiveRights(s *State, room event.RoomID, by event.Principal) Rights {
	var r Rights
	info, ok := s.Room(room)
	if !ok {
		return r
	}
	if !naiveEnabled(s, by) { // R15
		return r
	}
	speaksOf := func(p event.Principal) bool { return naiveContains(s, p, by) }
	cat, _ := s.Category(info.Info.Category)
	if !slices.ContainsFunc(cat.Info.Allowed, speaksOf) || slices.ContainsFunc(cat.Info.Denied, speaksOf) { // R1
		return r
	}
	presents := false
	for a := range s.Access(room) {
		if !speaksOf(a.Principal) {
			continue
		}
		if a.Role&event.RoleMember != 0 {
			r.Member = true
		}
		if a.Role&event.RoleManager != 0 {
			r.Manager, r.Manage = true, true
		}
		if a.Role&event.RolePresenter != 0 {
			presents = true
		}
	}
	mayEnter := false
	switch info.Info.Privacy {
	case event.PrivacyOpen:
		r.See, mayEnter = true, true
	case event.PrivacyClosed:
		r.See, mayEnter = true, r.Member // R5: managing does not let in
	case event.PrivacySecret:
		r.See, mayEnter = r.Member || r.Manager, r.Member
	}
	if info.Info.Type == event.RoomAuditorium && presents && mayEnter {
		r.Presenter = true
	}
	if info.Info.Disabled { // R7
		r.See = r.Manager
		return r
	}
	if mayEnter {
		r.Join, r.ReadHistory = true, true
		r.Post = info.Info.Type == event.RoomNormal || r.Presenter // R6
	}
	return r
}

// world makes a random directory. It folds events directly, so that it also holds what no decision would make: a
// member outside his category, a presenter who is no member.
func world(t *testing.T, rng *rand.Rand) (s *State, users []event.Principal, rooms []event.RoomID) {
	s = NewState()
	fold := func(room event.RoomID, e event.Event) {
		t.Helper()
		env := event.Envelope{Offset: s.Offset() + 1, At: 1, Meta: event.Meta{By: "admin:root", Room: room}, Event: e}
		if err := s.Fold(env, nil); err != nil {
			t.Fatal(err)
		}
	}
	oneOf := func(n int) bool { return rng.IntN(n) == 0 }
	for i := range 6 {
		u := event.UserPrincipal(fmt.Sprintf("u%d@%s.test", i, []string{"a", "b"}[i%2]))
		users = append(users, u)
		fold("", &event.UserCreated{User: u, Info: event.UserInfo{Enabled: !oneOf(6)}})
	}
	foldPolicies(rng, users, func(e event.Event) { fold("", e) })
	shared := foldDirectory(rng, users, func(e event.Event) { fold("", e) })
	all := slices.Concat([]event.Principal{"*", "domain:a.test", "domain:b.test", "domain:c.test"}, users, users, shared)
	list := func(n int) (l []event.Principal) {
		for range rng.IntN(n) {
			l = append(l, all[rng.IntN(len(all))])
		}
		return l
	}
	var categories []event.CategoryID
	for i := range 3 {
		id := event.CategoryID(fmt.Sprintf("00000000-0000-4000-9000-%012x", i))
		categories = append(categories, id)
		info := event.CategoryInfo{Name: string(id), Allowed: list(5), Creators: list(3)}
		if oneOf(2) {
			info.Allowed = append(info.Allowed, Everyone)
		}
		if oneOf(2) {
			info.Denied = list(3)
		}
		fold("", &event.CategoryCreated{Category: id, Info: info})
	}
	for i := range 20 {
		id := event.RoomID(fmt.Sprintf("00000000-0000-4000-8000-%012x", i))
		rooms = append(rooms, id)
		info := event.RoomInfo{Name: string(id), Category: categories[rng.IntN(3)], Disabled: oneOf(8), Invitations: event.InvitationsInherit,
			Type:    []event.RoomType{event.RoomNormal, event.RoomAuditorium}[rng.IntN(2)],
			Privacy: []event.Privacy{event.PrivacyOpen, event.PrivacyClosed, event.PrivacySecret}[rng.IntN(3)]}
		grants := func() (l []event.Access) {
			for _, p := range list(6) {
				l = append(l, event.Access{Principal: p, Role: event.Role(rng.IntN(8))})
			}
			return l
		}
		fold(id, &event.RoomCreated{Info: info, Access: grants()})
		if oneOf(3) { // take some away again
			fold(id, &event.RoomChanged{Info: info, Access: grants()})
		}
	}
	changeDirectory(rng, s, users, func(e event.Event) { fold("", e) }) // after the lists that speak of it
	return s, users, rooms
}

// TestRightsAgainstNaiveReference compares the rights, and what commands make of them, with the reference.
func TestRightsAgainstNaiveReference(t *testing.T) {
	const seed = 20130101
	cases, held := 0, map[string]int{}
	for n := uint64(0); cases < *rightsCases; n++ {
		s, users, rooms := world(t, rand.New(rand.NewPCG(seed, n)))
		for _, room := range append(rooms, "00000000-0000-4000-8000-0000000000ff") {
			for _, by := range append(users, "sip:nobody@a.test", "admin:root", Everyone) {
				cases++
				want, got := naiveRights(s, room, by), s.Rights(room, by)
				if got != want {
					t.Fatalf("world %d: %s in %s: %+v, the reference says %+v", n, by, room, got, want)
				}
				for name, has := range map[string]bool{"see": want.See, "join": want.Join, "post": want.Post, "manage": want.Manage} {
					if has {
						held[name]++
					}
				}
				checkCommands(t, s, room, by, want)
			}
		}
	}
	for _, name := range []string{"see", "join", "post", "manage"} { // a comparison of nothing with nothing proves nothing
		if n := held[name]; n < cases/50 || n > cases-cases/50 {
			t.Errorf("the right to %s was held in %d of %d cases: the worlds are too uniform", name, n, cases)
		}
	}
	t.Logf("%d cases, held: %v", cases, held)
}

func checkCommands(t *testing.T, s *State, room event.RoomID, by event.Principal, want Rights) {
	t.Helper()
	o := Origin{By: by, Endpoint: "e", Node: "n1"}
	for _, c := range []struct {
		command Command
		may     bool
	}{
		{&Join{Rooms: []event.RoomID{room}}, want.Join},
		{&ReadHistory{Room: room}, want.ReadHistory},
		{&ChangeRoom{ID: room, Info: event.RoomInfo{Name: string(room), Type: event.RoomAuditorium}}, want.Manage},
		{&RemoveRoom{ID: room}, false},
	} {
		if _, err := Decide(s, Request{Origin: o, Command: c.command}, Env{At: 2}); (err == nil) != c.may {
			t.Fatalf("%T by %s with %+v in %s: %v", c.command, by, want, room, err)
		}
	}
}

// TestRightsOfOldStates compares the rights in states that were cloned before later changes, and in the newest: what a
// check finds ready in a row is of that state and no other.
func TestRightsOfOldStates(t *testing.T) {
	for n := range uint64(60) {
		rng := rand.New(rand.NewPCG(7, n))
		s, users, rooms := world(t, rng)
		principals := append([]event.Principal{"*", "domain:b.test"}, users...)
		for g := range s.Directory().Groups() {
			principals = append(principals, event.GroupPrincipal(g.ID))
		}
		fold := func(room event.RoomID, e event.Event) {
			t.Helper()
			if err := s.Fold(event.Envelope{Offset: s.Offset() + 1, At: 1, Meta: event.Meta{Room: room}, Event: e}, nil); err != nil {
				t.Fatal(err)
			}
		}
		var old []*State
		var want []map[event.RoomID]map[event.Principal]Rights
		for range 12 {
			old = append(old, s.Clone())
			all := map[event.RoomID]map[event.Principal]Rights{}
			for _, room := range rooms {
				all[room] = map[event.Principal]Rights{}
				for _, u := range users {
					all[room][u] = naiveRights(s, room, u)
				}
			}
			want = append(want, all)
			room := rooms[rng.IntN(len(rooms))]
			r, there := s.Room(room)
			u := users[rng.IntN(len(users))]
			switch k := rng.IntN(6); {
			case k < 3 && there:
				r.Info.Privacy = []event.Privacy{event.PrivacyOpen, event.PrivacyClosed, event.PrivacySecret}[rng.IntN(3)]
				var access []event.Access
				for _, p := range some(rng, principals, 2) {
					if s.Directory().Exists(p) {
						access = append(access, event.Access{Principal: p, Role: event.Role(rng.IntN(8))})
					}
				}
				fold(room, &event.RoomChanged{Info: r.Info, Access: access})
			case k == 3 && there:
				fold(room, &event.RoomRemoved{})
			case k == 4: // the account made anew has nothing, but for what was given to the name meanwhile
				fold("", &event.UserRemoved{User: u})
				if r, there := s.Room(rooms[0]); there {
					fold(rooms[0], &event.RoomChanged{Info: r.Info, Access: []event.Access{{Principal: u, Role: event.RoleMember}}})
				}
				fold("", &event.UserCreated{User: u, Info: event.UserInfo{Enabled: true}})
			default:
				g, _ := s.Category(r.Info.Category)
				if there {
					g.Info.Denied = some(rng, users, 4)
					fold("", &event.CategoryChanged{Category: g.ID, Info: g.Info})
				}
			}
		}
		old, want = append(old, s), append(want, nil)
		for i, s := range old {
			for _, room := range rooms {
				for _, u := range users {
					exp := want[i][room][u]
					if i == len(old)-1 {
						exp = naiveRights(s, room, u)
					}
					if got := s.Rights(room, u); got != exp {
						t.Fatalf("world %d, state %d: %s in %s: %+v, it was %+v", n, i, u, room, got, exp)
					}
				}
			}
		}
	}
}

// TestOwnGrants compares the table of a room's grants with a map.
func TestOwnGrants(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var o ownGrants
		want, most := map[directory.Number]event.Role{}, 1+rng.IntN(100)
		step := directory.Number(1 << rng.IntN(20)) // also numbers that end alike
		for range 400 {
			n, role := directory.Number(1+rng.IntN(most))*step, event.Role(rng.IntN(8))
			o.set(n, role)
			if want[n] = role; role == 0 {
				delete(want, n)
			}
		}
		for i := range most + 1 {
			n := directory.Number(i) * step
			if got := o.role(n); got != want[n] {
				t.Fatalf("account %d has %d, want %d", n, got, want[n])
			}
		}
		if int(o.n) != len(want) {
			t.Fatalf("%d grants, want %d", o.n, len(want))
		}
	}
}
