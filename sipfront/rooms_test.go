package sipfront_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

func epid(e string) func(*siptest.Options) {
	return func(o *siptest.Options) { o.Epid = e }
}

// TestRefusedPosts is the table "A refused post" of the house's interfaces.
func TestRefusedPosts(t *testing.T) {
	s := serve(t, nil)
	bob := s.client("bob")
	bob.Join(lobby)
	bob.Join(announc)
	check(t, bob)
	_, opsID, _ := chat.ParseRoomURI(ops)
	env := uint64(1000)
	post := func(room, author, text string) int {
		env++
		m := bob.InDialog("INFO", nil, bob.PostBody(env, room, author, text))
		if m == nil {
			t.Fatal(bob.Err())
		}
		if st := m.Status(); st != 200 && m.Header("ms-diagnostics") == "" {
			t.Errorf("no reason in %s", m)
		}
		return m.Status()
	}
	me := "sip:bob@contoso.test"
	most := int(s.State().Limits().MessageSizeLimit)
	for _, c := range []struct {
		what, room, author, text string
		want                     int
	}{
		{"good", lobby, me, "x", 200},
		{"author in capitals is the same user", lobby, "sip:BOB@contoso.test", "x2", 200},
		{"room in capitals is the same room", strings.ToUpper(lobby), me, "x3", 200},
		{"forged author", lobby, aliceURI, "x", 403},
		{"author is no address", lobby, "alice", "x", 403},
		{"not joined", ops, me, "x", 403},
		{"no right: auditorium", announc, me, "x", 403},
		{"secret room of others", board, me, "x", 404},
		{"no such room", "ma-chan://contoso.test/00000000-0000-4000-8000-000000000999", me, "x", 404},
		{"another domain", "ma-chan://other.test/00000000-0000-4000-8000-000000000101", me, "x", 404},
		{"no room URI", "lobby", me, "x", 404},
		{"too long", lobby, me, strings.Repeat("x", most+1), 413},
		{"longest", lobby, me, strings.Repeat("x", most), 200},
		{"empty", lobby, me, "", 400},
	} {
		if got := post(c.room, c.author, c.text); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
	cdata := fmt.Sprintf(`<xccos ver="1" envid="9999" xmlns="urn:parlano:xml:ns:xccos"><grpchat id="grpchat" seqid="1" chanUri="%s" author="%s" ts="2026-01-02T03:04:05Z"><chat>x</chat><rtf>%s</rtf></grpchat></xccos>`,
		lobby, me, "<![CDATA["+strings.Repeat("&", chat.MaxRTFBytes)+"]]>")
	if m := bob.InDialog("INFO", nil, []byte(cdata)); m == nil || m.Status() != 413 {
		t.Errorf("a message that goes out five times as long as it came: %v", m)
	}
	bob.Join(ops)
	s.disable(opsID)
	if got := post(ops, me, "x"); got != 410 {
		t.Errorf("disabled room: %d, want 410", got)
	}
	for _, body := range []string{"no xml", `<xccos ver="1" envid="1" xmlns="urn:parlano:xml:ns:xccos">`, `<x/>`,
		`<xccos ver="1" envid="99999999999999999999" xmlns="urn:parlano:xml:ns:xccos"><cmd id="cmd:requri" seqid="1"><data/></cmd></xccos>`,
		`<xccos ver="1" envid="1" xmlns="urn:other"><cmd id="cmd:requri" seqid="1"><data/></cmd></xccos>`,
		`<!DOCTYPE x><xccos ver="1" envid="1" xmlns="urn:parlano:xml:ns:xccos"><cmd id="cmd:requri" seqid="1"><data/></cmd></xccos>`} {
		if m := bob.InDialog("INFO", nil, []byte(body)); m == nil || m.Status() != 400 {
			t.Errorf("%q: %v", body, m)
		}
	}
	if st := bob.Post(lobby, "still alive"); st != 200 {
		t.Errorf("after all that: %d", st)
	}
	for _, e := range s.ofKind(event.KindPosted) {
		if e.By != event.Principal(me) {
			t.Errorf("a post by %s is in the log", e.By)
		}
	}
}

func (p *pool) disable(id event.RoomID) {
	p.t.Helper()
	r, _ := p.State().Room(id)
	r.Info.Disabled = true
	p.must(&chat.ChangeRoom{ID: id, Info: r.Info})
}

// TestRetry sends a post again, on the same dialog and, after a reconnect, from outside the room: it takes effect once
// and is answered as the first time.
func TestRetry(t *testing.T) {
	s := serve(t, nil)
	a := s.client("alice", epid("e1"))
	a.Join(lobby)
	for range 2 {
		if st := a.PostAs(77, lobby, "once"); st != 200 {
			t.Fatalf("%d", st)
		}
	}
	a.Close()
	eventually(t, "alice is parted", func() bool { return !s.joined(lobby, "alice") })
	b := s.client("alice", epid("E1"))
	if st := b.PostAs(77, lobby, "once"); st != 200 {
		t.Errorf("retry from outside the room: %d", st)
	}
	if st := b.PostAs(78, lobby, "once"); st != 403 {
		t.Errorf("another post from outside the room: %d", st)
	}
	if n := len(s.ofKind(event.KindPosted)); n != 1 {
		t.Errorf("%d posts in the log", n)
	}
}

// TestItems: the items of an envelope are commands of their own, though their sequence ids are the same and their texts
// too; and all of them are known again when the envelope is.
func TestItems(t *testing.T) {
	s := serve(t, nil)
	a := s.client("alice", epid("e1"))
	a.Join(lobby)
	check(t, a)
	post := fmt.Sprintf(`<grpchat id="grpchat" chanUri="%s" author="%s" ts="2026-01-02T03:04:05Z"><chat>twice</chat></grpchat>`, lobby, aliceURI)
	search := `<cmd id="cmd:bcsearch" seqid="1"><data><chanib uri="` + lobby + `"/><bcq><text>twice</text></bcq></data></cmd>`
	head := `<xccos ver="1" envid="70" xmlns="urn:parlano:xml:ns:xccos">`
	for range 2 {
		if m := a.InDialog("INFO", nil, []byte(head+post+post+`</xccos>`)); m == nil || m.Status() != 200 {
			t.Fatalf("%v", m)
		}
		if n := len(s.ofKind(event.KindPosted)); n != 2 {
			t.Fatalf("%d posts in the log, want 2", n)
		}
	}
	pref := `<cmd id="cmd:setpref" seqid="1"><data><pref label="x" seqid="0"><content>y</content></pref></data></cmd>`
	for i := range 2 {
		if m := a.InDialog("INFO", nil, []byte(head+pref+search+`</xccos>`)); m == nil || m.Status() != 200 {
			t.Fatalf("%v", m)
		}
		eventually(t, "searched", func() bool { return len(s.ofKind(event.KindMessageSearched)) == i+1 })
		if n := len(s.ofKind(event.KindSettingPublished)); n != 1 {
			t.Errorf("%d settings in the log, want 1", n)
		}
	}
}

// TestTwoDevices: others see users, not devices.
func TestTwoDevices(t *testing.T) {
	s := serve(t, nil)
	bob := s.client("bob")
	bob.Join(lobby)
	a1, a2 := s.client("alice", epid("e1")), s.client("alice", epid("e2"))
	a1.Join(lobby)
	a2.Join(lobby)
	bob.ExpectNotice("ntc:join", "alice@contoso.test")
	a1.Post(lobby, "to both")
	a2.Expect(lobby, "to both")
	a1.Close()
	eventually(t, "the first device is parted", func() bool { return len(s.ofKind(event.KindParted)) == 1 })
	bob.Post(lobby, "still there")
	a2.Expect(lobby, "still there")
	a2.Part(lobby)
	bob.ExpectNotice("ntc:part", "alice@contoso.test")
	bob.Post(lobby, "end")
	bob.Expect(lobby, "end")
	check(t, bob, a2)
	if n := bob.Notices(); len(n) != 0 {
		t.Errorf("bob was told more: %+v", n)
	}
	if n := append(a1.Notices(), a2.Notices()...); len(n) != 0 {
		t.Errorf("alice was told about herself: %+v", n)
	}
}

// TestSharedSession: two dialogs of one device share the session in the log, and each hears the room once.
func TestSharedSession(t *testing.T) {
	s := serve(t, nil)
	a1, a2 := s.client("alice", epid("e1")), s.client("alice", epid("e1"))
	a1.Join(lobby)
	a2.Join(lobby)
	if n := len(s.ofKind(event.KindJoined)); n != 1 {
		t.Fatalf("%d joined events", n)
	}
	a1.Part(lobby)
	if n := len(s.ofKind(event.KindParted)); n != 0 {
		t.Fatalf("parted although the other dialog is in the room")
	}
	a2.Post(lobby, "one")
	a2.Expect(lobby, "one")
	check(t, a1, a2)
	if got := a1.Take(); len(got) != 0 {
		t.Errorf("the dialog that left heard %+v", got)
	}
	a2.Close()
	eventually(t, "parted", func() bool { return !s.joined(lobby, "alice") })
	if got := s.ofKind(event.KindParted); len(got) != 1 || got[0].Event.(*event.Parted).Reason != event.PartClosed {
		t.Errorf("%+v", got)
	}
}

// TestBatchJoin: refused rooms are listed and the others joined; rejoining succeeds.
func TestBatchJoin(t *testing.T) {
	s := serve(t, nil)
	bob := s.client("bob")
	d := bob.BJoin(lobby, board, ops, lobby)
	check(t, bob)
	if len(d.Chans) != 2 || len(d.Failed) != 1 || d.Failed[0].Value != siptest.RoomID(board) || d.Failed[0].Key != xccos.FailedKey {
		t.Fatalf("%+v", d)
	}
	if it := bob.TryJoin(board); it == nil || it.Code != 404 {
		t.Errorf("secret room: %+v", it)
	}
	if it := bob.TryJoin("ma-chan://contoso.test/00000000-0000-4000-8000-000000000999"); it == nil || it.Code != 404 {
		t.Errorf("no such room: %+v", it)
	}
	if d := bob.Join(lobby); d == nil || len(d.Chans) != 1 {
		t.Errorf("rejoin: %+v %v", d, bob.Err())
	}
	bob.Post(lobby, "once")
	bob.Expect(lobby, "once")
	bob.Part(lobby)
	check(t, bob)
	if got := bob.Take(); len(got) != 0 {
		t.Errorf("heard twice: %+v", got)
	}
	it := bob.Command(xccos.CmdPart, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}}})
	if it == nil || it.Code != 412 {
		t.Errorf("part from outside: %+v", it)
	}
	if n := len(s.ofKind(event.KindJoined)); n != 2 {
		t.Errorf("%d joined events", n)
	}
}

// TestRosterMasks: the open client knows operators by one number only; others get the true mask.
func TestRosterMasks(t *testing.T) {
	s := serve(t, nil)
	sipe := s.client("alice", func(o *siptest.Options) { o.UserAgent = "Purple/2.14.12 Sipe/1.25.0 (linux-x86_64)" })
	bob := s.client("bob")
	key := func(d *xccos.Data, uri string) string {
		for _, u := range d.Users {
			if u.URI == uri {
				for _, a := range d.Chans[0].Access {
					for id := range strings.SplitSeq(a.Value, ",") {
						if id == u.ID {
							return a.Key
						}
					}
				}
			}
		}
		return ""
	}
	own := sipe.Join(ops)
	theirs := bob.Join(ops)
	check(t, sipe, bob)
	if got := key(own, aliceURI); got != "12276" {
		t.Errorf("the open client sees a manager as %q", got)
	}
	if got := key(theirs, aliceURI); got != "3460" {
		t.Errorf("another client sees a manager as %q", got)
	}
	if got := key(theirs, "sip:bob@contoso.test"); got != "3456" {
		t.Errorf("member: %q", got)
	}
	sipe.ExpectNotice("ntc:join", "bob@contoso.test")
	sipe.Part(ops)
	sipe.Join(ops)
	n := bob.ExpectNotice("ntc:join", "alice@contoso.test")
	check(t, sipe, bob)
	if n.Data.Users[0].Rooms[0].Key != "3460" || n.Data.Users[0].Rooms[0].Value != siptest.RoomID(ops) {
		t.Errorf("%+v", n.Data.Users[0])
	}
}

// TestQuietRoom: over the participant limit nobody is listed and nobody announced.
func TestQuietRoom(t *testing.T) {
	s := serve(t, nil)
	first := s.client("alice")
	first.Join(lobby)
	check(t, first)
	for i := range s.State().Limits().ParticipantUpdateLimit + 1 {
		u := fmt.Sprint("q", i)
		s.user(u, true)
		if _, err := s.run(chat.Origin{By: event.UserPrincipal(u + "@" + domain), Endpoint: "e", Node: "n2", Incarnation: 1}, &chat.Join{Rooms: []event.RoomID{event.RoomID(siptest.RoomID(lobby))}}); err != nil {
			t.Fatal(err)
		}
	}
	first.Notices()
	last := s.client("bob")
	d := last.Join(lobby)
	check(t, last)
	if len(d.Users) != 0 || len(d.Chans[0].Access) != 0 {
		t.Errorf("a quiet room lists %d users", len(d.Users))
	}
	last.Post(lobby, "heard")
	first.Expect(lobby, "heard")
	check(t, first, last)
	for _, n := range first.Notices() {
		if n.Data.Users != nil && n.Data.Users[0].URI == "sip:bob@contoso.test" {
			t.Errorf("a quiet room announces %+v", n)
		}
	}
}

// TestKicked: whoever loses his membership hears nothing from then on, and the others are told.
func TestKicked(t *testing.T) {
	s := serve(t, nil)
	alice, bob := s.client("alice"), s.client("bob")
	alice.Join(ops)
	bob.Join(ops)
	check(t, alice, bob)
	_, id, _ := chat.ParseRoomURI(ops)
	r, _ := s.State().Room(id)
	s.must(&chat.ChangeRoom{ID: id, Info: r.Info, Access: []event.Access{{Principal: "sip:bob@contoso.test"}}})
	alice.ExpectNotice("ntc:part", "bob@contoso.test")
	if st := alice.Post(ops, "without bob"); st != 200 {
		t.Errorf("%d", st)
	}
	alice.Expect(ops, "without bob")
	if st := bob.Post(ops, "let me in"); st != 403 && st != 404 {
		t.Errorf("bob posts: %d", st)
	}
	bob.Join(lobby) // a round trip: what was sent before it has arrived
	check(t, alice, bob)
	if got := bob.Take(); len(got) != 0 {
		t.Errorf("bob heard %+v", got)
	}
	before := len(s.ofKind(event.KindParted))
	bob.Close()
	eventually(t, "bob leaves the lobby", func() bool { return !s.joined(lobby, "bob") })
	if n := len(s.ofKind(event.KindParted)); n != before+1 {
		t.Errorf("%d sessions parted at the end, want 1", n-before)
	}
}

// TestKickedBeforeReply: who is put out before his join is answered is told so, and keeps no session that is none.
func TestKickedBeforeReply(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	to := w.open()
	id := s.id(ops)
	r, _ := s.State().Room(id)
	kick := &chat.ChangeRoom{ID: id, Info: r.Info, Access: []event.Access{{Principal: aliceURI}}}
	back := &chat.ChangeRoom{ID: id, Info: r.Info, Access: []event.Access{{Principal: aliceURI, Role: event.RoleMember}}}
	expect := func(want string) {
		t.Helper()
		for {
			if it := w.info().Items[0]; it.Kind == xccos.Rpl {
				if got := fmt.Sprint(it.ID, " ", it.Code); got != want {
					t.Fatalf("%s, want %s", got, want)
				}
				return
			}
		}
	}
	w.send("%s", inDialog(to, "INFO", 2, joinBody(1, lobby)))
	expect("rpl:join 200")
	// The reply waits behind a slow read.
	slow := make(chan struct{})
	s.mu.Lock()
	s.slow = slow
	s.mu.Unlock()
	s.bobJoins(lobby)
	s.say(lobby, "x")
	w.send("%s", inDialog(to, "INFO", 3, command(2, "cmd:bccontext", `<chanib uri="`+lobby+`"/><bcq><last cnt="25"/></bcq>`))+inDialog(to, "INFO", 4, joinBody(3, ops)))
	eventually(t, "joined", func() bool { return s.joined(ops, "alice") })
	s.must(kick)
	s.mu.Lock()
	s.slow = nil
	s.mu.Unlock()
	close(slow)
	expect("rpl:bccontext 200")
	expect("rpl:join 403")
	// The kick is applied before the front knows of the join.
	s.must(back)
	s.gate.Lock()
	start := s.seen.Load()
	w.send("%s", inDialog(to, "INFO", 5, joinBody(4, ops)))
	eventually(t, "asked", func() bool { return s.seen.Load() == start+1 })
	s.Submit(chat.Request{Origin: admin, Command: kick}, func(chat.Outcome, error) {})
	s.gate.Unlock()
	expect("rpl:join 403")
	s.must(back)
	w.send("%s", inDialog(to, "INFO", 6, joinBody(5, ops)))
	expect("rpl:join 200")
	w.send("%s", inDialog(to, "INFO", 7, command(6, "cmd:part", `<chanib uri="`+ops+`"/>`)))
	expect("rpl:part 200")
	if s.joined(ops, "alice") {
		t.Error("a session is left")
	}
}

// TestEnds: each way a dialog ends parts its rooms, with the reason.
func TestEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(s *server, a *siptest.Client)
		want event.PartReason
	}{
		{"closed connection", func(_ *server, a *siptest.Client) { a.Close() }, event.PartClosed},
		{"BYE", func(_ *server, a *siptest.Client) { a.Bye() }, event.PartBye},
		{"unregistered", func(_ *server, a *siptest.Client) {
			a.Do(siptest.Request{Method: "REGISTER", URI: "sip:contoso.test", To: aliceURI, Headers: []string{"Expires: 0", "Contact: *"}})
		}, event.PartBye},
		{"drained", func(s *server, _ *siptest.Client) {
			if err := s.front.Drain(t.Context()); err != nil {
				t.Error(err)
			}
		}, event.PartNodeStopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, nil)
			a := s.client("alice")
			a.BJoin(lobby, ops)
			check(t, a)
			c.end(s, a)
			eventually(t, "parted", func() bool { return !s.joined(lobby, "alice") && !s.joined(ops, "alice") })
			parts := s.ofKind(event.KindParted)
			if len(parts) != 2 || parts[0].Event.(*event.Parted).Reason != c.want || parts[0].At != parts[1].At {
				t.Errorf("%d events, %+v, want two with reason %q in one batch", len(parts), parts, c.want)
			}
		})
	}
}

// TestNodeLost: when the pool gives the node up, all flows close, and the front serves again as the next incarnation.
func TestNodeLost(t *testing.T) {
	s := serve(t, nil)
	a := s.client("alice")
	a.Join(lobby)
	check(t, a)
	n, _ := s.State().Node(node)
	s.must(&chat.LoseNode{Node: node, Incarnation: n.Incarnation, Reason: "test"})
	a.ExpectClosed()
	if got := len(s.ofKind(event.KindParted)); got != 0 {
		t.Errorf("%d parted events: one node_lost says it all", got)
	}
	b := s.dial("alice")
	b.Register()
	b.Provision()
	check(t, b)
	if m := b.Invite(poolURI); m == nil || m.Status() != 503 || m.Header("Retry-After") == "" {
		t.Errorf("INVITE to a lost node: %v", m)
	}
	b.ClearErr()
	s.must(&chat.StartNode{Version: "test"})
	b.Invite(poolURI)
	b.Join(lobby)
	check(t, b)
}

// TestOtherNodes: what happens on other nodes reaches the clients of this one.
func TestOtherNodes(t *testing.T) {
	s := serve(t, nil)
	far := chat.Origin{By: "node:n2", Node: "n2", Trusted: true}
	if _, err := s.run(far, &chat.StartNode{Version: "test"}); err != nil {
		t.Fatal(err)
	}
	a := s.client("alice")
	a.Join(lobby)
	check(t, a)
	room := event.RoomID(siptest.RoomID(lobby))
	for _, u := range []event.Principal{"sip:bob@contoso.test", "sip:carol@contoso.test"} {
		o := chat.Origin{By: u, Endpoint: "far", Node: "n2", Incarnation: 1}
		if _, err := s.run(o, &chat.Join{Rooms: []event.RoomID{room}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.run(o, &chat.Post{Room: room, Text: "from " + string(u)}); err != nil {
			t.Fatal(err)
		}
		a.ExpectNotice("ntc:join", u.Address())
		a.Expect(lobby, "from "+string(u))
	}
	check(t, a)
	if _, err := s.run(far, &chat.LoseNode{Node: "n2", Incarnation: 1, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	n := a.ExpectNotice("ntc:part", "bob@contoso.test")
	check(t, a)
	if len(n.Data.Chans) != 1 || len(n.Data.Chans[0].Users) != 2 {
		t.Errorf("one notice for the room, with both users: %+v", n.Data)
	}
}

// TestCommands checks the replies that need no room to be joined.
func TestCommands(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) {
		c.DisplayName = "Chat & more"
	})
	a := s.client("alice")
	it := a.Command(xccos.CmdGetServerInfo, &xccos.Data{Server: &xccos.SIB{Domain: domain, InfoType: "12"}})
	check(t, a)
	if sib := it.Data.Server; sib == nil || sib.InfoType != "12" || sib.MessageSizeLimit != 8000 || sib.StorySizeLimit != 64000 ||
		sib.SearchLimit != 999 || sib.DisplayName != "Chat & more" || sib.ServerTime == "" {
		t.Errorf("getserverinfo: %+v", sib)
	}
	names := func(it *xccos.Item) string {
		var all []string
		for _, c := range it.Data.Chans {
			all = append(all, c.Name)
		}
		return strings.Join(all, ",")
	}
	it = a.Command(xccos.CmdGetAssociations, &xccos.Data{Association: &xccos.Association{Domain: domain, Type: xccos.AssociationManager}})
	if check(t, a); names(it) != "Operations" {
		t.Errorf("managed rooms: %q", names(it))
	}
	it = a.Command(xccos.CmdGetAssociations, &xccos.Data{Association: &xccos.Association{Domain: domain, Type: xccos.AssociationMember}})
	if check(t, a); !strings.Contains(names(it), "Operations") || !strings.Contains(names(it), "Announcements") {
		t.Errorf("member rooms: %q", names(it))
	}
	it = a.Command(xccos.CmdGetInv, &xccos.Data{Invites: []xccos.Inv{{ID: 5, Domain: domain}}})
	if check(t, a); it.Code != 200 || len(it.Data.Invites) != 1 || it.Data.Invites[0].ID != 5 {
		t.Errorf("getinv: %+v", it)
	}
	it = a.Command("cmd:nosuchthing", nil)
	if check(t, a); it.Code != 501 || it.Text != "ERROR_MSG_NOT_SUPPORTED" {
		t.Errorf("unknown command: %+v", it)
	}
	it = a.Command(xccos.CmdJoin, nil)
	if check(t, a); it.Code != 400 {
		t.Errorf("join of nothing: %+v", it)
	}
	for _, c := range []struct {
		user, criteria, want string
	}{{"carol", "", "Announcements,Board,Lobby,Operations"}, {"dave", "", "Announcements,Lobby,Operations"}, {"dave", "lob", "Lobby"}, {"dave", "board", ""}} {
		u := s.client(c.user)
		got := map[string]string{}
		for _, r := range u.List(c.criteria) {
			got[r.Name] = fmt.Sprint(r.Info, r.Props)
		}
		check(t, u)
		var all []string
		for _, n := range []string{"Announcements", "Board", "Lobby", "Operations"} {
			if v, ok := got[n]; ok {
				all = append(all, n)
				if !strings.Contains(v, xccos.InfoVisibilityMiss) || !strings.Contains(v, xccos.InfoVisibility) || !strings.Contains(v, xccos.InfoUsers) || !strings.Contains(v, xccos.PropLogged+" True") {
					t.Errorf("%s: %s", n, v)
				}
			}
		}
		if strings.Join(all, ",") != c.want {
			t.Errorf("%s searches %q: %q, want %q", c.user, c.criteria, all, c.want)
		}
	}
}

// TestReplyOrder: a slow history read holds back the replies behind it, so replies come in the order of the commands.
func TestReplyOrder(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	to := w.open()
	w.send("%s", inDialog(to, "INFO", 2, joinBody(1, lobby))+inDialog(to, "INFO", 3, postBody(2, lobby, aliceURI, "one")))
	w.info()
	s.mu.Lock()
	s.slow = make(chan struct{})
	slow := s.slow
	s.mu.Unlock()
	w.send("%s", inDialog(to, "INFO", 4, command(3, "cmd:bccontext", `<chanib uri="`+lobby+`"/><bcq><last cnt="25"/></bcq>`))+
		inDialog(to, "INFO", 5, command(4, "cmd:part", `<chanib uri="`+lobby+`"/>`))+inDialog(to, "INFO", 6, command(5, "cmd:requri", "")))
	eventually(t, "the part is committed", func() bool { return !s.joined(lobby, "alice") })
	s.mu.Lock()
	s.slow = nil
	s.mu.Unlock()
	close(slow)
	var got []string
	for len(got) < 3 {
		if it := w.info().Items[0]; it.Kind == xccos.Rpl {
			got = append(got, it.ID)
		}
	}
	if want := "[rpl:bccontext rpl:part rpl:requri]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
