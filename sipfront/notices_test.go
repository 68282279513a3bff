package sipfront_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

// openClient is the one real client, as the server knows it.
func openClient(o *siptest.Options) { o.UserAgent = "Purple/2.14.12 Sipe/1.25.0 (linux-x86_64)" }

// notices waits for a round trip and returns what came before it, as "id key values".
func notices(t testing.TB, c *siptest.Client) (all []string) {
	t.Helper()
	good(t, c, xccos.CmdGetServerInfo, nil)
	for _, n := range c.Notices() {
		text := strings.TrimPrefix(n.ID, "ntc:")
		for _, u := range n.Data.Users {
			text += " " + strings.TrimSuffix(strings.TrimPrefix(u.URI, "sip:"), "@"+domain)
			for _, a := range u.Rooms {
				text += " " + a.Key + " in " + a.Value[len(a.Value)-3:]
			}
		}
		rooms := n.Data.Chans
		for _, i := range n.Data.Invites {
			text += fmt.Sprint(" ", i.ID)
			rooms = append(rooms, i.Chans...)
		}
		for _, r := range rooms {
			text += " " + r.URI[len(r.URI)-3:]
			if r.Name != "" {
				text += " " + r.Name
			}
			for _, u := range r.Users {
				text += " " + strings.TrimSuffix(strings.TrimPrefix(u.URI, "sip:"), "@"+domain)
			}
			for _, m := range r.Removed {
				text += fmt.Sprint(" #", m.ID)
			}
			if r.Replacement != "" {
				text += " " + r.Replacement
			}
			if n.ID == xccos.NtcChanDisable {
				text += " disabled=" + r.Disabled
			}
		}
		if q := n.Data.Context; q != nil && q.Date != nil && q.Date.To != "" {
			text += " cleared"
		}
		all = append(all, text)
	}
	return all
}

func expectNotices(t testing.TB, c *siptest.Client, want ...string) {
	t.Helper()
	if got := notices(t, c); !slices.Equal(got, want) {
		t.Errorf("%s is told\n%q, want\n%q", c.User(), got, want)
	}
}

func (p *pool) changeRoom(uri string, change func(*event.RoomInfo), access ...event.Access) {
	p.t.Helper()
	r, _ := p.State().Room(p.id(uri))
	if change != nil {
		change(&r.Info)
	}
	p.must(&chat.ChangeRoom{ID: r.ID, Info: r.Info, Access: access})
}

// gathered returns alice and bob in Operations on two nodes, and erin in the lobby on the second.
func gathered(t *testing.T) (s *server, alice, bob, erin *siptest.Client) {
	s = serve(t, nil)
	if _, err := s.run(chat.Origin{By: "node:n2", Node: "n2", Trusted: true}, &chat.StartNode{Version: "test"}); err != nil {
		t.Fatal(err)
	}
	far := s.pool.serve("n2", nil)
	alice, bob, erin = s.client("alice"), far.client("bob"), far.client("erin")
	alice.BJoin(ops, lobby)
	bob.Join(ops)
	erin.Join(lobby)
	check(t, alice, bob, erin)
	for _, c := range []*siptest.Client{alice, bob, erin} {
		notices(t, c)
	}
	return s, alice, bob, erin
}

// TestPutOut: whoever loses the right to be in a room is out when the administrator's command returns: on his node he hears
// nothing more and is told why, and the others are told that he is gone. However he came to lose it.
func TestPutOut(t *testing.T) {
	members := func(role event.Role, p ...event.Principal) (all []event.Access) {
		for _, m := range p {
			all = append(all, event.Access{Principal: m, Role: role})
		}
		return all
	}
	const inner, outer = event.GroupID("00000000-0000-4000-8000-000000000301"), event.GroupID("00000000-0000-4000-8000-000000000302")
	const unit = event.UnitID("00000000-0000-4000-8000-000000000401")
	bob := event.Principal(bobURI)
	for _, c := range []struct {
		name   string
		before func(s *server)
		change func(s *server)
		closed bool
	}{
		{"his membership is taken", nil, func(s *server) { s.changeRoom(ops, nil, members(0, bob)...) }, false},
		{"he leaves a group in a group", func(s *server) {
			s.must(&chat.CreateGroup{ID: inner, Info: event.GroupInfo{Name: "inner"}, Members: []event.Principal{bob}})
			s.must(&chat.CreateGroup{ID: outer, Info: event.GroupInfo{Name: "outer"}, Members: []event.Principal{event.GroupPrincipal(inner)}})
			s.changeRoom(ops, nil, append(members(event.RoleMember, event.GroupPrincipal(outer)), members(0, bob)...)...)
		}, func(s *server) {
			g := s.State().Directory().Group(inner)
			s.must(&chat.ChangeGroup{ID: inner, Info: g.Info, Remove: []event.Principal{bob}})
		}, false},
		{"the group leaves the group", func(s *server) {
			s.must(&chat.CreateGroup{ID: inner, Info: event.GroupInfo{Name: "inner"}, Members: []event.Principal{bob}})
			s.must(&chat.CreateGroup{ID: outer, Info: event.GroupInfo{Name: "outer"}, Members: []event.Principal{event.GroupPrincipal(inner)}})
			s.changeRoom(ops, nil, append(members(event.RoleMember, event.GroupPrincipal(outer)), members(0, bob)...)...)
		}, func(s *server) { s.must(&chat.RemoveGroup{ID: inner}) }, false},
		{"he leaves a unit", func(s *server) {
			s.must(&chat.CreateUnit{ID: unit, Info: event.UnitInfo{Name: "Harbour"}})
			u, _ := s.State().User(bob)
			u.Info.Unit = unit
			s.must(&chat.ChangeUser{User: bob, Info: u.Info})
			s.changeRoom(ops, nil, append(members(event.RoleMember, event.UnitPrincipal(unit)), members(0, bob)...)...)
		}, func(s *server) {
			u, _ := s.State().User(bob)
			u.Info.Unit = ""
			s.must(&chat.ChangeUser{User: bob, Info: u.Info})
		}, false},
		{"his category denies him", nil, func(s *server) {
			g, _ := s.State().CategoryByName("General")
			g.Info.Denied = []event.Principal{bob}
			s.must(&chat.ChangeCategory{ID: g.ID, Info: g.Info})
		}, false},
		{"his account is removed", nil, func(s *server) { s.must(&chat.RemoveUser{User: bob}) }, true},
		{"policy", nil, func(s *server) {
			s.must(&chat.SetPolicy{Scope: "user:out", Create: true})
			s.must(&chat.GrantPolicy{Users: []event.Principal{bob}, Scope: "user:out"})
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, alice, him, _ := gathered(t)
			if c.before != nil {
				c.before(s)
				notices(t, alice)
				notices(t, him)
			}
			c.change(s)
			for _, f := range *s.pool.front.Load() { // as the administrator's command does before it returns
				if err := f.WaitFor(t.Context(), s.State().Offset()); err != nil {
					t.Fatal(err)
				}
			}
			if s.joined(ops, "bob") {
				t.Error("bob is still in the room")
			}
			if st := alice.Post(ops, "without bob"); st != 200 {
				t.Errorf("alice posts: %d", st)
			}
			him.ExpectNotice(xccos.NtcKick, "bob@contoso.test")
			check(t, him)
			expectNotices(t, alice, "part 102 bob")
			if c.closed {
				him.ExpectClosed()
				return
			}
			expectNotices(t, him)
			if got := him.Take(); len(got) != 0 {
				t.Errorf("bob heard %+v", got)
			}
			if st := him.Post(ops, "let me in"); st != 403 && st != 404 {
				t.Errorf("bob posts: %d", st)
			}
			// He leaves a room that he may believe to be in still, once; then he is told that he is not.
			good(t, him, xccos.CmdPart, about(ops))
			refused(t, him, xccos.CmdPart, about(ops), notJoined)
		})
	}
}

// TestOpenClientPutOut: the open client, which knows no such notice, is told in the way that it understands.
func TestOpenClientPutOut(t *testing.T) {
	s := serve(t, nil)
	bob := s.client("bob", openClient)
	bob.Join(ops)
	check(t, bob)
	s.changeRoom(ops, nil, event.Access{Principal: event.Principal(bobURI)})
	expectNotices(t, bob, "part 102 bob")
	good(t, bob, xccos.CmdPart, about(ops))
	s.changeRoom(ops, nil, event.Access{Principal: event.Principal(bobURI), Role: event.RoleMember})
	bob.Join(ops)
	bob.Part(ops)
	check(t, bob)
	refused(t, bob, xccos.CmdPart, about(ops), notJoined)
	// Whoever comes again is not taken for one who was put out.
	bob.Join(ops)
	check(t, bob)
	s.changeRoom(ops, nil, event.Access{Principal: event.Principal(bobURI)})
	s.changeRoom(ops, nil, event.Access{Principal: event.Principal(bobURI), Role: event.RoleMember})
	bob.Join(ops)
	bob.Part(ops)
	check(t, bob)
	refused(t, bob, xccos.CmdPart, about(ops), notJoined)
}

// TestRoomNotices: what happens to a room is told to whoever is in it, and to nobody else.
func TestRoomNotices(t *testing.T) {
	s, alice, bob, erin := gathered(t)
	s.changeRoom(ops, func(i *event.RoomInfo) { i.Name, i.Description = "War Room", "hush" })
	expectNotices(t, alice, "chanmodify 102 War Room")
	expectNotices(t, bob, "chanmodify 102 War Room")
	s.changeRoom(ops, nil) // nothing
	expectNotices(t, alice)

	// Roles: everybody hears of them, the user himself included.
	s.changeRoom(ops, nil, event.Access{Principal: event.Principal(bobURI), Role: event.RoleMember | event.RoleManager})
	expectNotices(t, alice, "permmodify bob 3460 in 102")
	expectNotices(t, bob, "permmodify bob 3460 in 102")
	group := event.GroupID("00000000-0000-4000-8000-000000000301")
	s.must(&chat.CreateGroup{ID: group, Info: event.GroupInfo{Name: "managers"}})
	s.changeRoom(lobby, nil, event.Access{Principal: event.GroupPrincipal(group), Role: event.RoleManager})
	expectNotices(t, erin)
	second := s.client("erin", epid("second")) // told once, as a user
	second.Join(lobby)
	check(t, second)
	s.must(&chat.ChangeGroup{ID: group, Info: event.GroupInfo{Name: "managers"}, Add: []event.Principal{"sip:erin@contoso.test"}})
	expectNotices(t, erin, "permmodify erin 3460 in 101")
	expectNotices(t, alice, "permmodify erin 3460 in 101")
	s.must(&chat.RemoveGroup{ID: group})
	expectNotices(t, erin, "permmodify erin 3456 in 101")
	notices(t, alice)

	// What a category allows is said of its rooms.
	g, _ := s.State().CategoryByName("General")
	g.Info.FileUpload = false
	s.must(&chat.ChangeCategory{ID: g.ID, Info: g.Info})
	expectNotices(t, erin, "chanmodify 101 Lobby")
	expectNotices(t, alice, "chanmodify 101 Lobby", "chanmodify 102 War Room")
	notices(t, bob)

	// Messages that are removed, replaced, or gone with the time.
	for i := range 3 {
		if st := alice.Post(ops, fmt.Sprint("m", i+1)); st != 200 {
			t.Fatal(st)
		}
	}
	refs := func(ids ...uint64) (all []event.MessageRef) {
		for _, m := range s.messagesOf(ops) {
			if slices.Contains(ids, m.ID) {
				all = append(all, event.MessageRef{MessageID: m.ID, Offset: m.Offset})
			}
		}
		return all
	}
	s.must(&chat.RemoveMessages{Room: s.id(ops), Messages: refs(1, 3)})
	expectNotices(t, bob, "msgdelete 102 #1 #3")
	s.must(&chat.RemoveMessages{Room: s.id(ops), Messages: refs(2), Replace: true, Text: "Gone."})
	expectNotices(t, bob, "msgdelete 102 #2 Gone.")
	if got := bob.History(ops, 10); len(got) != 1 || got[0].Text != "Gone." || got[0].ChatID != 2 {
		t.Errorf("history: %+v", got)
	}
	s.must(&chat.ClearRoom{Room: s.id(ops), Until: s.State().At()})
	expectNotices(t, bob, "msgdelete 102 cleared")
	if got := bob.History(ops, 10); len(got) != 0 {
		t.Errorf("history: %+v", got)
	}
	expectNotices(t, erin)

	// The end of rooms.
	bob.Take()
	notices(t, alice)
	s.disable(s.id(ops))
	expectNotices(t, bob, "chandisable 102 disabled=true")
	expectNotices(t, alice, "chandisable 102 disabled=true")
	good(t, bob, xccos.CmdPart, about(ops))
	alice.Post(lobby, "last words")
	s.must(&chat.RemoveRoom{ID: s.id(lobby)})
	expectNotices(t, erin, "chandelete 101")
	good(t, erin, xccos.CmdPart, about(lobby))
	refused(t, erin, xccos.CmdPart, about(lobby), noNode)
	check(t, alice, bob, erin)
}

// TestMoved: a room that moves is told anew to whoever stays, and whoever must go does not hear where to.
func TestMoved(t *testing.T) {
	s, alice, bob, _ := gathered(t)
	s.must(&chat.CreateCategory{ID: "00000000-0000-4000-8000-000000000002", Info: event.CategoryInfo{Name: "Narrow", Allowed: []event.Principal{event.Principal(aliceURI)}}})
	s.changeRoom(ops, func(i *event.RoomInfo) {
		i.Name, i.Category = "Inner circle", "00000000-0000-4000-8000-000000000002"
	})
	expectNotices(t, bob, "kick 102 bob")
	expectNotices(t, alice, "part 102 bob", "chanmodify 102 Inner circle")
}

// TestManyPutOut: a change that puts many out of a room tells the others in one notice.
func TestManyPutOut(t *testing.T) {
	s := serve(t, nil)
	group := event.GroupID("00000000-0000-4000-8000-000000000301")
	var all []event.Principal
	for i := range 60 {
		u := fmt.Sprint("u", i)
		s.user(u, true)
		all = append(all, event.UserPrincipal(u+"@"+domain))
	}
	s.must(&chat.CreateGroup{ID: group, Info: event.GroupInfo{Name: "many"}, Members: all})
	s.changeRoom(ops, nil, event.Access{Principal: event.GroupPrincipal(group), Role: event.RoleMember})
	alice := s.client("alice")
	alice.Join(ops)
	check(t, alice)
	for _, u := range all {
		if _, err := s.run(chat.Origin{By: u, Endpoint: "e", Node: "n2", Incarnation: 1}, &chat.Join{Rooms: []event.RoomID{s.id(ops)}}); err != nil {
			t.Fatal(err)
		}
	}
	notices(t, alice)
	s.must(&chat.RemoveGroup{ID: group})
	if got := notices(t, alice); len(got) != 1 || strings.Count(got[0], " u") != 60 {
		t.Errorf("%d notices: %.80q", len(got), got)
	}
}

// TestInvitations: whoever becomes a member is told at once on all his devices, and when he asks later; what he has seen
// is in the log.
func TestInvitations(t *testing.T) {
	s := serve(t, nil)
	d1, d2 := s.client("dave", epid("e1")), s.client("dave", epid("e2"))
	ask := func(c *siptest.Client, seen uint64) string {
		out := ""
		for _, i := range good(t, c, xccos.CmdGetInv, &xccos.Data{Invites: []xccos.Inv{{ID: seen, Domain: domain}}}).Invites {
			out += fmt.Sprint(i.ID, " ")
			for _, r := range i.Chans {
				out += r.Name + " "
			}
		}
		return out
	}
	if got := ask(d1, 0); got != "0 " {
		t.Errorf("before any: %q", got)
	}
	s.changeRoom(ops, nil, event.Access{Principal: "sip:dave@contoso.test", Role: event.RoleMember})
	expectNotices(t, d1, "invite 1 102 Operations")
	expectNotices(t, d2, "invite 1 102 Operations")
	group := event.GroupID("00000000-0000-4000-8000-000000000301")
	s.must(&chat.CreateGroup{ID: group, Info: event.GroupInfo{Name: "crew"}, Members: []event.Principal{"sip:dave@contoso.test"}})
	s.changeRoom(board, nil, event.Access{Principal: event.GroupPrincipal(group), Role: event.RoleMember})
	expectNotices(t, d1, "invite 2 103 Board")
	s.changeRoom(announc, func(i *event.RoomInfo) { i.Invitations = event.InvitationsFalse })
	s.changeRoom(announc, nil, event.Access{Principal: "sip:dave@contoso.test", Role: event.RoleMember})
	expectNotices(t, d1)

	if got := ask(d2, 0); got != "1 Operations 2 Board " {
		t.Errorf("all: %q", got)
	}
	if n := len(s.ofKind(event.KindInvitationsRead)); n != 0 {
		t.Errorf("%d read", n)
	}
	if got := ask(d2, 1); got != "2 Board " {
		t.Errorf("after the first: %q", got)
	}
	if got := ask(d2, 2); got != "2 " {
		t.Errorf("after the last: %q", got)
	}
	if got := ask(d2, 9); got != "9 " {
		t.Errorf("one that is not there: %q", got)
	}
	eventually(t, "what was read is in the log and in the state", func() bool {
		_, newest, read := s.State().Invitations("sip:dave@contoso.test", 0)
		return len(s.ofKind(event.KindInvitationsRead)) == 2 && newest == 2 && read == 2
	})
	// A room that he may not know of any more is not told.
	s.must(&chat.RemoveGroup{ID: group})
	if got := ask(d1, 0); got != "1 Operations " {
		t.Errorf("without the board: %q", got)
	}
	check(t, d1, d2)
}
