package sipfront_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

const (
	general = "ma-cat://contoso.test/00000000-0000-4000-8000-000000000001"
	nowhere = "ma-chan://contoso.test/00000000-0000-4000-8000-000000000999"
	bobURI  = "sip:bob@contoso.test"
)

// ask sends a command and returns its reply.
func ask(t testing.TB, c *siptest.Client, id string, d *xccos.Data) *xccos.Item {
	t.Helper()
	it := c.Command(id, d)
	check(t, c)
	return it
}

// good is ask for what must succeed.
func good(t testing.TB, c *siptest.Client, id string, d *xccos.Data) *xccos.Data {
	t.Helper()
	it := ask(t, c, id, d)
	if it.Code != 200 {
		t.Fatalf("%s: %d %s", id, it.Code, it.Text)
	}
	return it.Data
}

// refused is ask for what must not.
func refused(t testing.TB, c *siptest.Client, id string, d *xccos.Data, want string) {
	t.Helper()
	if it := ask(t, c, id, d); fmt.Sprint(it.Code, " ", it.Text) != want {
		t.Errorf("%s: %d %s, want %s", id, it.Code, it.Text, want)
	}
}

func about(uri string) *xccos.Data { return &xccos.Data{Chans: []xccos.ChanIB{{URI: uri}}} }

func room(c xccos.ChanIB) *xccos.Data { return &xccos.Data{Chans: []xccos.ChanIB{c}} }

func principals(uris ...string) (all []xccos.UIB) {
	for _, u := range uris {
		all = append(all, xccos.UIB{URI: u})
	}
	return all
}

func (p *pool) id(uri string) event.RoomID {
	_, id, err := chat.ParseRoomURI(uri)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// creators lets somebody create rooms in General.
func (p *pool) creators(uris ...event.Principal) {
	p.t.Helper()
	c, _ := p.State().CategoryByName("General")
	c.Info.Creators = uris
	p.must(&chat.ChangeCategory{ID: c.ID, Info: c.Info})
}

const (
	forbidden = "403 ERROR_PERMISSION"
	noNode    = "404 ERROR_NO_SUCH_NODE"
	noPerson  = "404 ERROR_NO_SUCH_PRINCIPAL"
	invalid   = "400 ERROR_INVALID_ARGUMENT"
	notJoined = "412 ERROR_USER_NOT_JOINED"
)

// TestDenials: each command is refused to whoever lacks its right, under the right's own condition. A command without a row
// here fails the test.
func TestDenials(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) { c.Files = tokens{} })
	dave := s.client("dave") // no member of Operations, knows nothing of Board, creates nothing
	bob := s.client("bob")   // a member of Operations who does not manage it
	bob.Join(announc)
	check(t, bob)
	query := func(uri string, q *xccos.BCQ) *xccos.Data {
		return &xccos.Data{Chans: []xccos.ChanIB{{URI: uri}}, Context: q}
	}
	joining := func(uri string) *xccos.Data {
		return &xccos.Data{Rooms: []xccos.ChanID{{Key: "0", Domain: domain, Value: siptest.RoomID(uri)}}}
	}
	file := func(uri string) *xccos.Data {
		return &xccos.Data{File: &xccos.FTDB{ChannelURI: uri, FileURL: "x.txt"}}
	}
	words := &xccos.BCQ{Text: &xccos.TextQuery{Words: "x"}}
	from := &xccos.BCQ{MsgID: &xccos.MsgID{ID: 1}}
	days := &xccos.BCQ{Date: &xccos.DateRange{From: "2020-01-01T00:00:00Z"}}
	covered := map[string]bool{}
	for _, c := range []struct {
		who  *siptest.Client
		id   string
		d    *xccos.Data
		want string
	}{
		{dave, xccos.CmdJoin, joining(ops), forbidden},
		{dave, xccos.CmdJoin, joining(board), noNode},
		{dave, xccos.CmdPart, about(lobby), notJoined},
		{dave, xccos.CmdPart, about(nowhere), noNode},
		{dave, xccos.CmdBCContext, query(ops, nil), forbidden},
		{dave, xccos.CmdBCContext, query(board, nil), noNode},
		{dave, xccos.CmdBCByMsg, query(ops, from), forbidden},
		{dave, xccos.CmdBCByDate, query(ops, days), forbidden},
		{dave, xccos.CmdBCByDate, query(board, days), noNode},
		{dave, xccos.CmdBCSearch, query(ops, words), forbidden},
		{dave, xccos.CmdBCSearch, query(board, words), noNode},
		{dave, xccos.CmdGetNode, about(board), noNode},
		{dave, xccos.CmdGetNode, room(xccos.ChanIB{Name: "Board"}), noNode},
		{dave, xccos.CmdGetUsers, about(board), noNode},
		{dave, xccos.CmdUserSearch, &xccos.Data{Chans: []xccos.ChanIB{{URI: board}}, Search: &xccos.QIB{Role: xccos.RoleMember}}, noNode},
		{dave, xccos.CmdChanCreate, room(xccos.ChanIB{Name: "Mine", Parent: general}), forbidden},
		{dave, xccos.CmdChanModify, room(xccos.ChanIB{URI: lobby, Name: "Mine"}), forbidden},
		{bob, xccos.CmdChanModify, room(xccos.ChanIB{URI: ops, Name: "Mine"}), forbidden},
		{dave, xccos.CmdChanModify, room(xccos.ChanIB{URI: board, Name: "Mine"}), noNode},
		{bob, xccos.CmdChanDisable, about(ops), forbidden},
		{dave, xccos.CmdChanDisable, about(board), noNode},
		{s.client("alice"), xccos.CmdChanDelete, about(ops), forbidden}, // its manager: administrators only
		{bob, xccos.CmdGetFUTok, file(lobby), notJoined},
		{bob, xccos.CmdGetFUTok, file(announc), forbidden}, // no presenter
		{dave, xccos.CmdGetFUTok, file(board), noNode},
		{dave, xccos.CmdGetFDTok, file(ops), forbidden},
	} {
		covered[c.id] = true
		refused(t, c.who, c.id, c.d, c.want)
	}
	if d := dave.BJoin(ops, lobby); d == nil || len(d.Failed) != 1 || d.Failed[0].Value != siptest.RoomID(ops) {
		t.Errorf("bjoin: %+v", d)
	}
	covered[xccos.CmdBJoin] = true

	for _, e := range xccos.Entries() {
		if e.Reply != "" && e.Right != xccos.RightNone && !covered[e.ID] {
			t.Errorf("%s has no denial here", e.ID)
		}
	}
}

// TestOutsiders: what docs/protocol.md says of who may not know of a room. A category that does not let somebody in hides its
// rooms from commands about them; who wants to enter, read, search or post hears that he may not, but for secret rooms.
func TestOutsiders(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) { c.Files = tokens{} })
	walled := s.must(&chat.CreateCategory{Info: event.CategoryInfo{Name: "Walled", Allowed: []event.Principal{"*"}, Denied: []event.Principal{"sip:dave@contoso.test"}, ChatHistory: true}}).Result.Category
	make := func(name string, privacy event.Privacy, disabled bool) string {
		i := event.RoomInfo{Name: name, Category: walled, Privacy: privacy, Disabled: disabled}
		return chat.RoomURI(domain, s.must(&chat.CreateRoom{Info: i}).Result.Room)
	}
	dave := s.client("dave")
	const disabled = "410 ERROR_NODE_DISABLED"
	for _, c := range []struct {
		room         string
		enter, about string
		post         int
	}{
		{make("Hall", event.PrivacyOpen, false), forbidden, noNode, 403},
		{make("Desk", event.PrivacyClosed, false), forbidden, noNode, 403},
		{make("Safe", event.PrivacySecret, false), noNode, noNode, 404},
		{make("Attic", event.PrivacyOpen, true), disabled, noNode, 410},
		{make("Vault", event.PrivacySecret, true), noNode, noNode, 404},
		{nowhere, noNode, noNode, 404},
	} {
		all := &xccos.Data{Rooms: []xccos.ChanID{{Domain: domain, Value: siptest.RoomID(c.room)}}, Chans: []xccos.ChanIB{{URI: c.room}},
			Context: &xccos.BCQ{Date: &xccos.DateRange{}, MsgID: &xccos.MsgID{ID: 1}, Text: &xccos.TextQuery{Words: "x"}},
			Search:  &xccos.QIB{Role: xccos.RoleMember}, File: &xccos.FTDB{ChannelURI: c.room, FileURL: "x"}}
		for _, id := range []string{xccos.CmdJoin, xccos.CmdBCContext, xccos.CmdBCByMsg, xccos.CmdBCByDate, xccos.CmdBCSearch} {
			refused(t, dave, id, all, c.enter)
		}
		for _, id := range []string{xccos.CmdGetNode, xccos.CmdGetUsers, xccos.CmdUserSearch, xccos.CmdChanModify, xccos.CmdChanDisable, xccos.CmdGetFUTok, xccos.CmdGetFDTok} {
			refused(t, dave, id, all, c.about)
		}
		part := notJoined
		if c.room == nowhere {
			part = noNode
		}
		refused(t, dave, xccos.CmdPart, all, part)
		refused(t, dave, xccos.CmdChanDelete, all, forbidden)
		if st := dave.Post(c.room, "x"); st != c.post {
			t.Errorf("%s: post: %d, want %d", c.room, st, c.post)
		}
	}
}

// TestNotEnabled: whoever may not use persistent chat any more is turned out, and may send no command even before that.
func TestNotEnabled(t *testing.T) {
	s := serve(t, nil)
	everything := &xccos.Data{Users: principals(aliceURI), Rooms: []xccos.ChanID{{Domain: domain, Value: siptest.RoomID(lobby)}},
		Chans: []xccos.ChanIB{{URI: lobby, Name: "Mine", Parent: general}}, Search: &xccos.QIB{}, Pref: &xccos.Pref{Label: "x"},
		File:    &xccos.FTDB{ChannelURI: lobby, FileURL: "x"},
		Context: &xccos.BCQ{Date: &xccos.DateRange{}, MsgID: &xccos.MsgID{ID: 1}, Text: &xccos.TextQuery{Words: "x"}}}
	erin, dave := s.client("erin"), s.client("dave")
	dave.Join(lobby)
	erin.Join(lobby)
	check(t, erin, dave)
	u, _ := s.State().User("sip:erin@contoso.test")
	u.Info.Enabled = false
	fronts := s.pool.front.Swap(nil) // it knows, and has not been told: as between the commit and its reader
	s.must(&chat.ChangeUser{User: u.URI, Info: u.Info})
	for _, e := range xccos.Entries() {
		if e.Reply != "" && e.ID != xccos.CmdPart {
			refused(t, erin, e.ID, everything, forbidden)
		}
	}
	if st := erin.Post(lobby, "x"); st != 403 {
		t.Errorf("post: %d", st)
	}
	s.pool.front.Store(fronts)
	s.must(&chat.SetPolicy{Scope: "user:out", Info: event.PolicyInfo{}, Create: true})
	erin.ExpectClosed() // the next change of policies finds him
	back := s.dial("erin")
	if m := back.Register(); m == nil || m.Status() != 403 || !strings.Contains(m.Header("ms-diagnostics"), "not enabled") {
		t.Errorf("a user who is not enabled registers: %v", m)
	}
	s.must(&chat.GrantPolicy{Users: []event.Principal{"sip:dave@contoso.test"}, Scope: "user:out"})
	dave.ExpectNotice(xccos.NtcKick, "dave@contoso.test")
	check(t, dave)
	dave.ExpectClosed()
	if s.joined(lobby, "dave") {
		t.Error("dave is still in the room")
	}
}

// TestManageRoom creates, changes, disables and enables a room over the wire.
func TestManageRoom(t *testing.T) {
	s := serve(t, nil)
	s.creators("sip:bob@contoso.test")
	s.must(&chat.CreateAddIn{ID: "00000000-0000-4000-8000-0000000000a1", Info: event.AddInInfo{Name: "Tides", URL: "https://tides.contoso.test/"}})
	bob, alice := s.client("bob"), s.client("alice")
	if d := good(t, bob, xccos.CmdNodes, nil); len(d.Categories) != 1 || d.Categories[0].URI != general || d.Categories[0].Name != "General" || len(d.Categories[0].Props) != 3 {
		t.Errorf("where bob may create rooms: %+v", d.Categories)
	}
	if d := good(t, alice, xccos.CmdNodes, nil); len(d.Categories) != 0 {
		t.Errorf("where alice may create rooms: %+v", d.Categories)
	}

	made := good(t, bob, xccos.CmdChanCreate, room(xccos.ChanIB{Name: "Dry Dock", Description: "Repairs", Parent: general})).Chans[0]
	if made.Name != "Dry Dock" || made.Description != "Repairs" || made.Behavior != xccos.BehaviorNormal || made.Get(xccos.InfoVisibility) != xccos.VisibilityScoped ||
		made.Get(xccos.PropInvite) != "True" || made.Parent != general || made.Disabled != "false" || made.Revision == 0 || made.Audit == nil || made.Audit.CreatedBy != bobURI {
		t.Errorf("a new room has the defaults of the product: %+v", made)
	}
	if got := s.State().Role(s.id(made.URI), event.Principal(bobURI)); got != event.RoleManager {
		t.Errorf("its creator has the role %d", got)
	}
	full := good(t, bob, xccos.CmdChanCreate, room(xccos.ChanIB{Name: "Town Hall", Parent: strings.ToUpper(general), Behavior: "auditorium",
		AddIn: "00000000-0000-4000-8000-0000000000A1", Info: []xccos.Prop{{ID: xccos.InfoVisibilityMiss, Value: "private"}}, Props: []xccos.Prop{{ID: xccos.PropInvite, Value: "False"}},
		Roles: []xccos.Role{{Type: xccos.RoleMember, Users: principals(aliceURI, "SIP:Bob@contoso.test")}, {Type: xccos.RolePresenter, Users: principals(aliceURI)}}})).Chans[0]
	if full.Behavior != xccos.BehaviorAuditorium || full.Get(xccos.InfoVisibility) != xccos.VisibilityPrivate || full.Get(xccos.PropInvite) != "False" || full.AddInName != "Tides" ||
		full.AddInURL != "https://tides.contoso.test/" {
		t.Errorf("a room with everything: %+v", full)
	}
	if r := s.State().Rights(s.id(full.URI), event.Principal(aliceURI)); !r.Member || !r.Presenter || r.Manager {
		t.Errorf("alice has %+v", r)
	}

	for _, c := range []struct {
		what string
		c    xccos.ChanIB
		want string
	}{
		{"a name that is taken", xccos.ChanIB{Name: "dry dock", Parent: general}, "409 ERROR_DUPLICATE_NAME"},
		{"the name of a category", xccos.ChanIB{Name: "general", Parent: general}, "409 ERROR_DUPLICATE_NAME"},
		{"no category", xccos.ChanIB{Name: "x", Parent: "ma-cat://contoso.test/00000000-0000-4000-8000-00000000dead"}, forbidden},
		{"another domain", xccos.ChanIB{Name: "x", Parent: "ma-cat://other.test/00000000-0000-4000-8000-000000000001"}, noNode},
		{"under the root", xccos.ChanIB{Name: "x", Parent: "ma-cat://contoso.test/00000000-0000-0000-0000-000000000001"}, invalid},
		{"behavior", xccos.ChanIB{Name: "x", Parent: general, Behavior: "LOUD"}, invalid},
		{"visibility", xccos.ChanIB{Name: "x", Parent: general, Info: []xccos.Prop{{ID: xccos.InfoVisibility, Value: "FOGGY"}}}, invalid},
		{"invite", xccos.ChanIB{Name: "x", Parent: general, Props: []xccos.Prop{{ID: xccos.PropInvite, Value: "perhaps"}}}, invalid},
		{"add-in", xccos.ChanIB{Name: "x", Parent: general, AddIn: "00000000-0000-4000-8000-00000000dead"}, noNode},
		{"a long name", xccos.ChanIB{Name: strings.Repeat("x", 257), Parent: general}, "413 ERROR_LIMIT_EXCEEDED"},
		{"a stranger", xccos.ChanIB{Name: "x", Parent: general, Roles: []xccos.Role{{Type: xccos.RoleMember, Users: principals("sip:nobody@contoso.test")}}}, noPerson},
		{"a group that is not there", xccos.ChanIB{Name: "x", Parent: general, Roles: []xccos.Role{{Type: xccos.RoleMember, Users: principals("ma-grp:00000000-0000-4000-8000-00000000dead@u.g")}}}, noPerson},
		{"a role of categories", xccos.ChanIB{Name: "x", Parent: general, Roles: []xccos.Role{{Type: xccos.RoleCreator, Users: principals(aliceURI)}}}, invalid},
		{"a presenter who is no member", xccos.ChanIB{Name: "x", Parent: general, Behavior: xccos.BehaviorAuditorium, Roles: []xccos.Role{{Type: xccos.RolePresenter, Users: principals(aliceURI)}}}, forbidden},
		{"a presenter where everybody talks", xccos.ChanIB{Name: "x", Parent: general, Roles: []xccos.Role{{Type: xccos.RolePresenter, Users: principals(bobURI)}}}, invalid},
	} {
		if it := ask(t, bob, xccos.CmdChanCreate, room(c.c)); fmt.Sprint(it.Code, " ", it.Text) != c.want {
			t.Errorf("%s: %d %s, want %s", c.what, it.Code, it.Text, c.want)
		}
	}

	// Changes: what is not said stays.
	now := good(t, bob, xccos.CmdChanModify, room(xccos.ChanIB{URI: made.URI, Description: "Repairs & paint", Revision: made.Revision,
		Roles: []xccos.Role{{Type: xccos.RoleMember, Users: principals(aliceURI, bobURI)}, {Type: xccos.RoleManager, Op: xccos.RoleSet, Users: principals(bobURI, aliceURI)}}})).Chans[0]
	if now.Name != "Dry Dock" || now.Description != "Repairs & paint" || now.Get(xccos.InfoVisibility) != xccos.VisibilityScoped || now.Revision <= made.Revision {
		t.Errorf("changed: %+v", now)
	}
	refused(t, alice, xccos.CmdChanModify, room(xccos.ChanIB{URI: made.URI, Name: "Wet Dock", Revision: made.Revision}), "409 ERROR_DATA_COLLISION")
	now = good(t, alice, xccos.CmdChanModify, room(xccos.ChanIB{URI: made.URI, Name: "Wet Dock", ClearDescription: true,
		Roles: []xccos.Role{{Type: xccos.RoleManager, Op: xccos.RoleRemove, Users: principals(bobURI)}}})).Chans[0]
	if now.Name != "Wet Dock" || now.Description != "" {
		t.Errorf("changed again: %+v", now)
	}
	good(t, alice, xccos.CmdChanModify, room(xccos.ChanIB{URI: made.URI, Roles: []xccos.Role{{Type: xccos.RoleMember, Op: xccos.RoleSet, Users: principals(bobURI)}}}))
	if a, b := s.State().Role(s.id(made.URI), event.Principal(aliceURI)), s.State().Role(s.id(made.URI), event.Principal(bobURI)); a != event.RoleManager || b != event.RoleMember {
		t.Errorf("bob is to be the only member: alice has %d, bob %d", a, b)
	}
	refused(t, bob, xccos.CmdChanModify, room(xccos.ChanIB{URI: made.URI, Name: "Mine again"}), forbidden)
	if got := s.State().Role(s.id(made.URI), event.Principal(bobURI)); got != event.RoleMember {
		t.Errorf("bob has the role %d", got)
	}

	// Moves: only to where the manager may create rooms (R10).
	s.must(&chat.CreateCategory{ID: "00000000-0000-4000-8000-000000000002", Info: event.CategoryInfo{Name: "Narrow", Allowed: []event.Principal{event.Principal(aliceURI)}}})
	narrow := "ma-cat://contoso.test/00000000-0000-4000-8000-000000000002"
	refused(t, alice, xccos.CmdChanModify, room(xccos.ChanIB{URI: made.URI, Parent: narrow}), forbidden)
	c, _ := s.State().CategoryByName("Narrow")
	c.Info.Creators = []event.Principal{event.Principal(aliceURI)}
	s.must(&chat.ChangeCategory{ID: c.ID, Info: c.Info})
	bob.Join(made.URI)
	check(t, bob)
	if now = good(t, alice, xccos.CmdChanModify, room(xccos.ChanIB{URI: made.URI, Parent: narrow})).Chans[0]; now.Parent != narrow {
		t.Errorf("moved: %+v", now)
	}
	bob.ExpectNotice(xccos.NtcKick, "bob@contoso.test")
	if got := s.State().Role(s.id(made.URI), event.Principal(bobURI)); got != 0 {
		t.Errorf("bob, whom the category does not allow, has the role %d", got)
	}

	// Disable and enable: the room is gone for others, not for its manager.
	if now = good(t, alice, xccos.CmdChanDisable, about(ops)).Chans[0]; now.Disabled != "true" {
		t.Errorf("disabled: %+v", now)
	}
	refused(t, bob, xccos.CmdGetNode, about(ops), "410 ERROR_NODE_DISABLED")
	s.disable(s.id(board))
	refused(t, bob, xccos.CmdGetNode, about(board), noNode) // a secret still
	if it := bob.TryJoin(ops); it == nil || it.Code != 410 {
		t.Errorf("join of a disabled room: %+v", it)
	}
	if d := good(t, alice, xccos.CmdGetNode, about(ops)); d.Chans[0].Disabled != "true" {
		t.Errorf("%+v", d.Chans[0])
	}
	if now = good(t, alice, xccos.CmdChanDisable, room(xccos.ChanIB{URI: ops, Disabled: "false"})).Chans[0]; now.Disabled != "false" {
		t.Errorf("enabled: %+v", now)
	}
	bob.Join(ops)
	check(t, bob)
}

// TestManageOnce: a change that is sent again, because its answer was lost, takes effect once and is answered as the first
// time, also from another connection.
func TestManageOnce(t *testing.T) {
	s := serve(t, nil)
	s.creators("sip:bob@contoso.test")
	body := xccos.AppendClient(nil, 77, xccos.Item{Kind: xccos.Cmd, ID: xccos.CmdChanCreate, Data: room(xccos.ChanIB{Name: "Dry Dock", Parent: general})})
	for range 2 {
		bob := s.client("bob", epid("e1"))
		if m := bob.InDialog("INFO", nil, body); m == nil || m.Status() != 200 {
			t.Fatalf("%v", m)
		}
		if it := bob.ReplyTo(77); it == nil || it.Code != 200 || it.Data.Chans[0].Name != "Dry Dock" {
			t.Fatalf("%+v %v", it, bob.Err())
		}
		bob.Close()
	}
	if _, ok := s.State().RoomByName("Dry Dock"); !ok {
		t.Error("the room is not there")
	}
}

// TestManageBehind: a node that is behind does not make a change to a state of a room that it does not know.
func TestManageBehind(t *testing.T) {
	s := serve(t, nil)
	alice := s.client("alice")
	old := s.State()
	r, _ := old.Room(s.id(ops))
	r.Info.Name = "Bridge"
	s.must(&chat.ChangeRoom{ID: r.ID, Info: r.Info})
	r, _ = s.State().Room(r.ID)
	s.st.Store(old)
	for _, id := range []string{xccos.CmdChanModify, xccos.CmdChanDisable} {
		if it := ask(t, alice, id, room(xccos.ChanIB{URI: ops, Description: "x", Disabled: "false", Revision: uint64(r.Revision)})); it.Code != 503 {
			t.Errorf("%s: %d %s", id, it.Code, it.Text)
		}
	}
	l, _ := old.Room(s.id(lobby))
	l.Info.Description = "so that the state is a new one again"
	s.must(&chat.ChangeRoom{ID: l.ID, Info: l.Info})
	if now, _ := s.State().Room(r.ID); now.Info.Name != "Bridge" {
		t.Errorf("it is called %s again", now.Info.Name)
	}
}

// tokens is a file service that gives tokens.
type tokens struct{}

func (tokens) Token(_ context.Context, user event.Principal, room event.RoomID, file string, upload bool) (token, uri string, err error) {
	return fmt.Sprint(user, " ", room[len(room)-3:], " ", file, " ", upload), "https://files.contoso.test/", nil
}

// TestFileTokens: who may post a file gets a token to upload it, who may read one to download it.
func TestFileTokens(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) { c.Files = tokens{} })
	bob := s.client("bob")
	file := &xccos.Data{File: &xccos.FTDB{ChannelURI: ops, FileURL: "tides.txt"}}
	if d := good(t, bob, xccos.CmdGetFDTok, file); d.Token == nil || d.Token.Token != bobURI+" 102 tides.txt false" || d.Token.ServerURI != "https://files.contoso.test/" {
		t.Errorf("download: %+v", d.Token)
	}
	bob.Join(ops)
	check(t, bob)
	if d := good(t, bob, xccos.CmdGetFUTok, file); d.Token == nil || d.Token.Token != bobURI+" 102 tides.txt true" {
		t.Errorf("upload: %+v", d.Token)
	}
	c, _ := s.State().CategoryByName("General")
	c.Info.FileUpload = false
	s.must(&chat.ChangeCategory{ID: c.ID, Info: c.Info})
	refused(t, bob, xccos.CmdGetFUTok, file, forbidden)
	s.disable(s.id(ops))
	refused(t, s.client("alice"), xccos.CmdGetFDTok, file, "410 ERROR_NODE_DISABLED")

	bare := serve(t, nil).client("bob")
	refused(t, bare, xccos.CmdGetFDTok, file, "501 ERROR_MSG_NOT_SUPPORTED")
}
