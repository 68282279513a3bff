package chat

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"parley/log/event"
	"parley/projections/chat/policy"

	"pgregory.net/rapid"
)

// naiveEnabled says rule R15 again: an account that is enabled and, of the policies that hold for it, the most specific
// one. Lists are walked.
func naiveEnabled(s *State, by event.Principal) bool {
	u, ok := s.User(by)
	if !ok || !u.Info.Enabled {
		return false
	}
	scopes := []event.Scope{event.Scope("pool:" + s.Domain()), event.Scope("site:" + s.Site()), "global"}
	for g := range s.Policies().Grants() {
		if g.User == by {
			scopes = append([]event.Scope{g.Scope}, scopes...)
		}
	}
	for _, scope := range scopes {
		for p := range s.Policies().Policies() {
			if p.Scope == scope {
				return p.Info.Enabled
			}
		}
	}
	return true
}

var testScopes = []event.Scope{"global", "site:london", "site:paris", "pool:a.test", "pool:b.test", "user:x", "user:y"}

// foldPolicies gives a world policies, in two worlds of three.
func foldPolicies(rng *rand.Rand, users []event.Principal, fold func(event.Event)) {
	fold(&event.PoolFormed{Domain: "a.test"})
	if rng.IntN(3) == 0 {
		return
	}
	if rng.IntN(2) == 0 {
		fold(&event.PoolPlaced{Site: "london"})
	}
	var tags []event.Scope
	for _, s := range testScopes {
		if rng.IntN(2) == 0 {
			fold(&event.PolicySet{Scope: s, Info: event.PolicyInfo{Enabled: rng.IntN(4) > 0}})
			if policy.IsUser(s) {
				tags = append(tags, s)
			}
		}
	}
	for _, tag := range tags {
		for _, u := range users {
			if rng.IntN(4) == 0 {
				fold(&event.PolicyGranted{Users: []event.Principal{u}, Scope: tag})
			}
		}
	}
	if len(tags) > 0 && rng.IntN(4) == 0 {
		fold(&event.PolicyRemoved{Scope: tags[0]})
	}
}

// poolRequest draws a command about the pool as a whole, or about messages and invitations.
func (m *machine) poolRequest() Request {
	admins := func(c Command) Request { return Request{Origin: m.trusted(), Command: c} }
	u := pick(m.t, "user", m.users)
	scope := pick(m.t, "scope", []event.Scope{policy.Global, policy.Pool(testDomain), policy.Site("london"), policy.User("x"), policy.User("y")})
	create := rapid.Bool().Draw(m.t, "create")
	config := policy.DefaultConfiguration()
	config.ParticipantUpdateLimit = rapid.Uint64Range(0, 4).Draw(m.t, "participants")
	if rapid.IntRange(0, 2).Draw(m.t, "limit") > 0 {
		config.ParticipantUpdateLimit = 75
	}
	var addIn event.AddInID
	for a := range m.s.AddIns() {
		addIn = a.ID
	}
	switch uniform(m.t, 17, "pool command") {
	case 0:
		return admins(&RemovePolicy{Scope: scope, Force: create})
	case 1:
		return admins(&GrantPolicy{Users: []event.Principal{u, pick(m.t, "other", m.users)}, Scope: pick(m.t, "tag", []event.Scope{"user:x", "user:y", ""})})
	case 2:
		return admins(&SetConfiguration{Scope: scope, Info: config, Create: create})
	case 3:
		return admins(&RemoveConfiguration{Scope: scope})
	case 4:
		return admins(&PlacePool{Site: pick(m.t, "site", []string{"", "london", "paris"})})
	case 5:
		return admins(&CreateAddIn{Info: event.AddInInfo{Name: pick(m.t, "add-in", []string{"Board", "Chart"}), URL: "https://x.test/"}})
	case 6:
		return admins(&RemoveAddIn{ID: addIn})
	case 7:
		i := m.roomInfo()
		i.AddIn = string(addIn)
		return admins(&ChangeRoom{ID: m.someRoom(), Info: i})
	case 8:
		r := Request{Origin: m.origin(), Command: &ReadInvitations{UpTo: rapid.Uint64Range(0, 3).Draw(m.t, "up to")}}
		return r
	case 9:
		room := m.someRoom()
		r, _ := m.s.Room(room)
		return admins(&RemoveMessages{Room: room, Messages: []event.MessageRef{{MessageID: max(r.LastMessage, 1), Offset: m.s.Offset()}}, Replace: create})
	case 10:
		return admins(&ClearRoom{Room: m.someRoom(), Until: m.now})
	case 11:
		return Request{Origin: m.origin(), Command: &SearchMessages{Rooms: []event.RoomID{m.someRoom(), m.someRoom()}, Query: event.Query{Text: "x"}}}
	case 12:
		return admins(&ChangeAdmin{Admin: u, Roles: 1})
	case 13:
		return admins(&SetEndpoint{Address: "sip:ocschat@" + testDomain, DisplayName: fmt.Sprint(create)})
	case 14:
		return admins(&SetCompliance{Scope: scope, Info: policy.DefaultCompliance(), Create: create})
	default:
		return admins(&SetPolicy{Scope: scope, Info: event.PolicyInfo{Enabled: rapid.IntRange(0, 4).Draw(m.t, "enabled") > 0}, Create: create})
	}
}

// checkInvitations checks that numbers count up per user, are never above the newest, and that rooms exist.
func (m *machine) checkInvitations() {
	m.t.Helper()
	total := 0
	for _, u := range m.users {
		last, read := m.s.box.Last(u)
		if read > last {
			m.t.Fatalf("%s has read %d of %d invitations", u, read, last)
		}
		list := m.s.box.Of(u, 0)
		total += len(list)
		for n, i := range list {
			if i.ID == 0 || i.ID > last || n > 0 && i.ID <= list[n-1].ID || i.User != u {
				m.t.Fatalf("invitations of %s: %+v, the newest is %d", u, list, last)
			}
			if _, ok := m.s.Room(i.Room); !ok {
				m.t.Fatalf("%s is invited to a room that is gone: %+v", u, i)
			}
		}
		shown, _, _ := m.s.Invitations(u, 0)
		for _, i := range shown {
			if !slices.Contains(list, i) || !naiveRights(m.s, i.Room, u).See {
				m.t.Fatalf("%s is shown %+v", u, i)
			}
		}
	}
	if total != m.s.InvitationCount() {
		m.t.Fatalf("%d invitations, counted %d", m.s.InvitationCount(), total)
	}
}
