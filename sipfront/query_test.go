package sipfront_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

// shown returns the messages of each room of a reply as "room: ids", with what the reply says of more.
func shown(d *xccos.Data) string {
	var all []string
	for _, r := range d.Chans {
		text := r.URI[len(r.URI)-3:] + ":"
		for _, p := range r.Posts {
			text += fmt.Sprint(" ", p.ChatID)
		}
		if r.Total > 0 {
			text += fmt.Sprint(" of ", r.Total)
		}
		if r.Exceeded {
			text += " more"
		}
		all = append(all, text)
	}
	out := strings.Join(all, ", ")
	if q := d.Context; q != nil && q.MsgID != nil {
		out += fmt.Sprint(" then ", q.MsgID.ID)
	}
	return out
}

// TestSearchMessages: by words, phrases, authors and time, from either end; and every search is in the log before it is
// answered.
func TestSearchMessages(t *testing.T) {
	s := serve(t, nil)
	s.bobJoins(lobby)
	s.bobJoins(ops)
	alice := s.client("alice")
	alice.Join(lobby)
	for i, text := range []string{"the tug", "berth free", "the tug berth", "Tug Berth", "nothing"} {
		if i%2 == 0 {
			s.say(lobby, text)
		} else if st := alice.Post(lobby, text); st != 200 {
			t.Fatal(st)
		}
	}
	s.say(ops, "tug in operations")
	all := s.messagesOf(lobby)
	date := func(i int) string { return xccos.FormatTime(all[i].At) }
	n := 0
	for _, c := range []struct {
		what string
		q    xccos.BCQ
		want string
	}{
		{"any word", xccos.BCQ{Text: &xccos.TextQuery{Words: "tug berth"}}, "101: 1 2 3 4 of 4"},
		{"a phrase", xccos.BCQ{Text: &xccos.TextQuery{Words: "tug berth", Exact: true}}, "101: 3 4 of 2"},
		{"with case", xccos.BCQ{Text: &xccos.TextQuery{Words: "tug", MatchCase: true}}, "101: 1 3 of 2"},
		{"by an author", xccos.BCQ{Authors: []xccos.Author{{URI: "SIP:alice@contoso.test"}}}, "101: 2 4 of 2"},
		{"words of an author", xccos.BCQ{Authors: []xccos.Author{{URI: bobURI}}, Text: &xccos.TextQuery{Words: "tug"}}, "101: 1 3 of 2"},
		{"limit", xccos.BCQ{Text: &xccos.TextQuery{Words: "tug berth"}, Limit: &xccos.Count{N: 2}}, "101: 1 2 of 4 more then 3"},
		{"the next page", xccos.BCQ{Text: &xccos.TextQuery{Words: "tug berth"}, MsgID: &xccos.MsgID{ID: 3}, Limit: &xccos.Count{N: 2}}, "101: 3 4 of 4"},
		{"from the newest", xccos.BCQ{NewestFirst: true, Text: &xccos.TextQuery{Words: "tug berth"}, Limit: &xccos.Count{N: 3}}, "101: 2 3 4 of 4 more then 1"},
		{"newest first", xccos.BCQ{NewestFirst: true, ReturnNewest: true, Text: &xccos.TextQuery{Words: "tug berth"}, Limit: &xccos.Count{N: 3}}, "101: 4 3 2 of 4 more then 1"},
		{"turned", xccos.BCQ{ReturnNewest: true, Text: &xccos.TextQuery{Words: "tug berth"}, Limit: &xccos.Count{N: 3}}, "101: 3 2 1 of 4 more then 4"},
		{"backwards, the next page", xccos.BCQ{NewestFirst: true, MsgID: &xccos.MsgID{ID: 1}, Text: &xccos.TextQuery{Words: "tug berth"}}, "101: 1 of 4"},
		{"nothing", xccos.BCQ{Text: &xccos.TextQuery{Words: "whale"}}, "101:"},
		{"case and limit", xccos.BCQ{Text: &xccos.TextQuery{Words: "tug", MatchCase: true}, Limit: &xccos.Count{N: 1}}, "101: 1 of 3 more then 2"},
	} {
		n++
		if got := shown(good(t, alice, xccos.CmdBCSearch, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}}, Context: &c.q})); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	d := good(t, alice, xccos.CmdBCSearch, &xccos.Data{Chans: []xccos.ChanIB{{URI: ops}, {URI: lobby}, {URI: ops}}, Context: &xccos.BCQ{Text: &xccos.TextQuery{Words: "tug"}}})
	if got, want := shown(d), "102: 1 of 1, 101: 1 3 4 of 3"; got != want {
		t.Errorf("two rooms: %q, want %q", got, want)
	}
	for what, q := range map[string]xccos.BCQ{"no word": {Text: &xccos.TextQuery{Words: "  "}}, "a bad date": {Text: &xccos.TextQuery{Words: "x"}, Date: &xccos.DateRange{From: "tomorrow"}}} {
		if it := ask(t, alice, xccos.CmdBCSearch, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}}, Context: &q}); it.Code != 400 {
			t.Errorf("%s: %d", what, it.Code)
		}
	}
	searches := s.ofKind(event.KindMessageSearched)
	if len(searches) != n+1 {
		t.Errorf("%d searches in the log, want %d", len(searches), n+1)
	}
	last := searches[len(searches)-1].Event.(*event.MessageSearched)
	if searches[len(searches)-1].By != event.Principal(aliceURI) || len(last.Rooms) != 2 || last.Found != 4 || last.Query.Text != "tug" || last.Query.Match != event.MatchOr {
		t.Errorf("the log says %+v", last)
	}

	// By date: all of it, or some, and what comes next.
	for _, c := range []struct {
		what string
		q    xccos.BCQ
		want string
	}{
		{"all", xccos.BCQ{Date: &xccos.DateRange{From: "2020-01-01"}}, "101: 1 2 3 4 5"},
		{"long ago", xccos.BCQ{Date: &xccos.DateRange{To: "2020-01-01T00:00:00Z"}}, "101:"},
		{"a page", xccos.BCQ{Date: &xccos.DateRange{}, Limit: &xccos.Count{N: 2}}, "101: 1 2 of 5 more then 3"},
		{"the next page", xccos.BCQ{Date: &xccos.DateRange{}, MsgID: &xccos.MsgID{ID: 3}, Limit: &xccos.Count{N: 3}}, "101: 3 4 5"},
		{"backwards", xccos.BCQ{NewestFirst: true, Date: &xccos.DateRange{}, Limit: &xccos.Count{N: 2}}, "101: 4 5 of 5 more then 3"},
	} {
		if got := shown(good(t, alice, xccos.CmdBCByDate, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}}, Context: &c.q})); got != c.want {
			t.Errorf("by date, %s: %q, want %q", c.what, got, c.want)
		}
	}
	// The wire has seven digits, cut off, so a span that begins at a message's own time holds it.
	d = good(t, alice, xccos.CmdBCByDate, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}, {URI: ops}}, Context: &xccos.BCQ{Date: &xccos.DateRange{From: date(2)}}})
	if got := shown(d); !strings.HasPrefix(got, "101: ") || !strings.Contains(got, " 3 4 5, 102: 1") {
		t.Errorf("from the third on: %q", got)
	}
}

// TestHistoryOff: what is said where history is off is heard and archived, and cannot be read or found later.
func TestHistoryOff(t *testing.T) {
	s := serve(t, nil)
	g, _ := s.State().CategoryByName("General")
	g.Info.ChatHistory = false
	s.must(&chat.ChangeCategory{ID: g.ID, Info: g.Info})
	alice, bob := s.client("alice"), s.client("bob")
	if d := alice.Join(lobby); d == nil || d.Chans[0].Get(xccos.PropLogged) != "False" {
		t.Errorf("%+v", d)
	}
	bob.Join(lobby)
	alice.Post(lobby, "between us")
	bob.Expect(lobby, "between us")
	check(t, alice, bob)
	if got := bob.History(lobby, 10); len(got) != 0 {
		t.Errorf("history: %+v", got)
	}
	if got := shown(good(t, bob, xccos.CmdBCSearch, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}}, Context: &xccos.BCQ{Text: &xccos.TextQuery{Words: "between"}}})); got != "101:" {
		t.Errorf("search: %q", got)
	}
	if got := shown(good(t, bob, xccos.CmdBCByDate, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}}, Context: &xccos.BCQ{Date: &xccos.DateRange{}}})); got != "101:" {
		t.Errorf("by date: %q", got)
	}
	posts := s.ofKind(event.KindPosted)
	if p := posts[0].Event.(*event.Posted); len(posts) != 1 || !p.Unlogged || p.Text != "between us" {
		t.Errorf("the log has %+v", posts)
	}
}

// TestHistoryTurnedOff: what was said before history was turned off is neither read nor found any more, also by a search that
// is under way; of several rooms the others are searched. What is shown is what the log says.
func TestHistoryTurnedOff(t *testing.T) {
	s := serve(t, nil)
	depot := event.RoomID("00000000-0000-4000-8000-000000000105")
	kept := s.must(&chat.CreateCategory{Info: event.CategoryInfo{Name: "Kept", Allowed: []event.Principal{"*"}, ChatHistory: true}}).Result.Category
	s.must(&chat.CreateRoom{ID: depot, Info: event.RoomInfo{Name: "Depot", Category: kept, Privacy: event.PrivacyOpen}})
	bob := s.client("bob")
	both := []xccos.ChanIB{{URI: lobby}, {URI: chat.RoomURI(domain, depot)}}
	for i := range both {
		bob.Join(both[i].URI)
		bob.Post(both[i].URI, "the tug")
	}
	check(t, bob)
	asked := 0
	search := func(rooms []xccos.ChanIB, want string, searched, found int) {
		t.Helper()
		if got := shown(good(t, bob, xccos.CmdBCSearch, &xccos.Data{Chans: rooms, Context: &xccos.BCQ{Text: &xccos.TextQuery{Words: "tug"}}})); got != want {
			t.Errorf("search: %q, want %q", got, want)
		}
		asked++
		all := s.ofKind(event.KindMessageSearched)
		if e := all[len(all)-1].Event.(*event.MessageSearched); len(all) != asked || len(e.Rooms) != searched || int(e.Found) != found {
			t.Errorf("%d searches in the log, want %d; the last is %+v", len(all), asked, e)
		}
	}
	turned := func(on bool) *chat.ChangeCategory {
		g, _ := s.State().CategoryByName("General")
		g.Info.ChatHistory = on
		return &chat.ChangeCategory{ID: g.ID, Info: g.Info}
	}
	search(both, "101: 1 of 1, 105: 1 of 1", 2, 2)
	s.must(turned(false))
	search(both[:1], "101:", 1, 0)
	search(both, "101:, 105: 1 of 1", 1, 1)
	for id, q := range map[string]*xccos.BCQ{
		xccos.CmdBCContext: nil,
		xccos.CmdBCByMsg:   {MsgID: &xccos.MsgID{ID: 1}},
		xccos.CmdBCByDate:  {Date: &xccos.DateRange{}},
	} {
		if got := shown(good(t, bob, id, &xccos.Data{Chans: both[:1], Context: q})); got != "101:" {
			t.Errorf("%s: %q", id, got)
		}
	}
	s.must(turned(true))
	search(both, "101: 1 of 1, 105: 1 of 1", 2, 2)

	s.gate.Lock() // the node still knows the history as on when it looks, the rules know it as off
	release := sync.OnceFunc(s.gate.Unlock)
	defer release()
	s.Submit(chat.Request{Origin: admin, Command: turned(false)}, func(chat.Outcome, error) {})
	eventually(t, "the change is next", func() bool { return len(s.queue) == 0 })
	go func() {
		for end := time.Now().Add(30 * time.Second); len(s.queue) == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		release()
	}()
	search(both[:1], "101:", 1, 0)
}

// TestContent: each kind of message arrives as it was sent, is known for what it is, and is held to its own limit.
func TestContent(t *testing.T) {
	s := serve(t, nil)
	s.configure(func(i *event.ConfigurationInfo) {
		i.MessageSizeLimit, i.StorySizeLimit, i.MaxFileSizeKB = 200, 400, 10
	})
	alice, bob := s.client("alice"), s.client("bob")
	alice.Join(lobby)
	bob.Join(lobby)
	check(t, alice, bob)
	if sib := good(t, alice, xccos.CmdGetServerInfo, nil).Server; sib.MessageSizeLimit != 200 || sib.StorySizeLimit != 400 {
		t.Errorf("told: %+v", sib)
	}
	post := func(p xccos.Post) int {
		t.Helper()
		p.ChanURI, p.Author, p.TS = lobby, aliceURI, "2026-01-02T03:04:05Z"
		m := alice.InDialog("INFO", []string{"Content-Type: text/plain"}, xccos.AppendClient(nil, alice.NextEnv(), xccos.Item{Kind: xccos.GrpChat, ID: xccos.IDGrpChat, Post: &p}))
		if m == nil {
			t.Fatal(alice.Err())
		}
		return m.Status()
	}
	story := "[STORY]Night watch\nAll quiet & dark.\n" + strings.Repeat("z", 300)
	file := `see <a href="ma-filelink://contoso.test/a.txt" size="10240">a.txt</a> and http://x.test/`
	for _, p := range []xccos.Post{
		{Text: "plain"}, {Text: "rich", RTF: `{\rtf1\ansi rich}`}, {Text: "look out", Alert: true}, {Text: story, RTF: `{\rtf1 z}`}, {Text: file},
		{Text: "[STORY]a title and nothing else"}, {Text: "go to <a href=\"" + ops + "\">Operations</a>"},
	} {
		if st := post(p); st != 200 {
			t.Fatalf("%.40q: %d", p.Text, st)
		}
		got := bob.Expect(lobby, p.Text)
		if check(t, bob); got.RTF != p.RTF || got.Alert != p.Alert || got.Author != aliceURI {
			t.Errorf("%+v arrives as %+v", p, got)
		}
		if h := bob.History(lobby, 1); len(h) != 1 || h[0].Text != p.Text || h[0].RTF != p.RTF || h[0].Alert != p.Alert {
			t.Errorf("%+v is read as %+v", p, h)
		}
	}
	var kinds []string
	for _, e := range s.ofKind(event.KindPosted) {
		p := e.Event.(*event.Posted)
		kind := fmt.Sprint(p.Story, " ", p.Title)
		for _, l := range p.Links {
			kind += fmt.Sprint(" ", l.Kind, " ", l.Size)
		}
		kinds = append(kinds, kind)
	}
	want := []string{"false ", "false ", "false ", "true Night watch", "false  file 10240 url 0", "false ", "false  room 0"}
	if !slices.Equal(kinds, want) {
		t.Errorf("the log knows\n%q, want\n%q", kinds, want)
	}
	if p := s.ofKind(event.KindPosted)[3].Event.(*event.Posted); !strings.HasPrefix(p.Text, "All quiet & dark.\nzzz") {
		t.Errorf("the text of the story is %.40q", p.Text)
	}
	if got := shown(good(t, bob, xccos.CmdBCSearch, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}}, Context: &xccos.BCQ{Text: &xccos.TextQuery{Words: "Night", MatchCase: true}}})); got != "101: 4 of 1" {
		t.Errorf("a story by its title: %q", got)
	}
	for _, c := range []struct {
		what string
		p    xccos.Post
		want int
	}{
		{"a message as long as a story", xccos.Post{Text: strings.Repeat("z", 201)}, 413},
		{"a longer story", xccos.Post{Text: story + strings.Repeat("z", 100)}, 413},
		{"a file too large", xccos.Post{Text: `<a href="ma-filelink://contoso.test/a.txt" size="10241">a.txt</a>`}, 413},
		{"too many links", xccos.Post{Text: strings.Repeat("http://x/ ", 20)}, 200},
	} {
		if st := post(c.p); st != c.want {
			t.Errorf("%s: %d, want %d", c.what, st, c.want)
		}
	}
	g, _ := s.State().CategoryByName("General")
	g.Info.FileUpload = false
	s.must(&chat.ChangeCategory{ID: g.ID, Info: g.Info})
	if st := post(xccos.Post{Text: file}); st != 403 {
		t.Errorf("a file where none may be: %d", st)
	}
}

// people puts a few groups, units and names into the directory.
func (p *pool) people() (group event.GroupID, unit event.UnitID) {
	p.t.Helper()
	group, unit = "00000000-0000-4000-8000-000000000301", "00000000-0000-4000-8000-000000000401"
	p.must(&chat.CreateUnit{ID: unit, Info: event.UnitInfo{Name: "Dave's Harbour"}})
	p.must(&chat.CreateGroup{ID: group, Info: event.GroupInfo{Name: "Dave fans", Email: "fans@contoso.test"}, Members: []event.Principal{event.Principal(bobURI)}})
	u, _ := p.State().User("sip:dave@contoso.test")
	u.Info.DisplayName, u.Info.GivenName, u.Info.Surname, u.Info.Email, u.Info.Company = "Dave Dunn", "David", "Dunn", "dd@contoso.test", "Contoso"
	p.must(&chat.ChangeUser{User: u.URI, Info: u.Info})
	return group, unit
}

func names(users []xccos.UIB) string {
	var all []string
	for _, u := range users {
		all = append(all, u.Type+" "+strings.TrimSuffix(strings.TrimPrefix(u.URI, "sip:"), "@"+domain))
	}
	return strings.Join(all, ", ")
}

// TestPeople looks for users and groups, by what is known of them, and for whoever could get a role.
func TestPeople(t *testing.T) {
	s := serve(t, nil)
	group, unit := s.people()
	fans, harbour := "9 ma-grp:"+string(group)+"@u.g", "10 ou:"+string(unit)
	a := s.client("alice")
	for _, c := range []struct {
		what string
		q    xccos.QIB
		want string
	}{
		{"a beginning", xccos.QIB{Criteria: "da"}, "5 dave, " + fans},
		{"a middle", xccos.QIB{Criteria: "ave"}, ""},
		{"a second name", xccos.QIB{Criteria: "DUNN"}, "5 dave"},
		{"any of two", xccos.QIB{Criteria: "dunn erin"}, "5 dave, 5 erin"},
		{"both", xccos.QIB{Criteria: "dave dunn", MatchAll: true}, "5 dave"},
		{"both, nobody", xccos.QIB{Criteria: "dave erin", MatchAll: true}, ""},
		{"a phrase", xccos.QIB{Criteria: "dave  dunn", Exact: true}, "5 dave"},
		{"an address", xccos.QIB{Criteria: "dd@contoso"}, ""},
		{"an address, wanted", xccos.QIB{Criteria: "dd@contoso", Extended: true}, "5 dave"},
		{"by field", xccos.QIB{FirstName: "dav", LastName: "dun"}, "5 dave"},
		{"by field, nobody", xccos.QIB{FirstName: "dav", LastName: "x"}, ""},
		{"by address", xccos.QIB{Email: "dd@"}, "5 dave"},
		{"a group by address", xccos.QIB{Email: "fans"}, fans},
	} {
		d := good(t, a, xccos.CmdUserSearch, &xccos.Data{Search: &c.q})
		if got := names(d.Users); got != c.want || d.Search != nil {
			t.Errorf("%s: %q, want %q (%+v)", c.what, got, c.want, d.Search)
		}
	}
	if d := good(t, a, xccos.CmdUserSearch, &xccos.Data{Search: &xccos.QIB{MaxResults: 2}}); names(d.Users) != "5 alice, 5 bob" || d.Search == nil || !d.Search.More {
		t.Errorf("two of many: %q %+v", names(d.Users), d.Search)
	}

	// Who could get a role: whom the category lets in; as a presenter, members of a room that is not open.
	g, _ := s.State().CategoryByName("General")
	g.Info.Denied = []event.Principal{"sip:erin@contoso.test"}
	s.must(&chat.ChangeCategory{ID: g.ID, Info: g.Info})
	could := func(uri, role, criteria string) string {
		return names(good(t, a, xccos.CmdUserSearch, &xccos.Data{Chans: []xccos.ChanIB{{URI: uri}}, Search: &xccos.QIB{Role: role, Criteria: criteria}}).Users)
	}
	if got := could(ops, xccos.RoleMember, "erin dave"); got != "5 dave, "+fans+", "+harbour {
		t.Errorf("could be members: %q", got)
	}
	if got := could(ops, xccos.RolePresenter, ""); got != "" {
		t.Errorf("could present where everybody talks: %q", got)
	}
	s.changeRoom(announc, func(i *event.RoomInfo) { i.Privacy = event.PrivacyClosed }, event.Access{Principal: event.GroupPrincipal(group), Role: event.RoleMember})
	if got := could(announc, xccos.RolePresenter, ""); got != "5 alice, 5 bob, "+fans {
		t.Errorf("could present: %q", got)
	}
	if d := good(t, a, xccos.CmdUserSearch, &xccos.Data{Categories: []xccos.NodeIB{{URI: general}}, Search: &xccos.QIB{Role: xccos.RoleManager, Criteria: "erin bob"}}); names(d.Users) != "5 bob" {
		t.Errorf("could manage: %q", names(d.Users))
	}
	if it := ask(t, a, xccos.CmdUserSearch, &xccos.Data{Search: &xccos.QIB{Role: xccos.RoleManager}}); it.Code != 400 {
		t.Errorf("a role nowhere: %d", it.Code)
	}

	d := good(t, a, xccos.CmdGetPrincipals, &xccos.Data{Users: principals("SIP:Dave@contoso.test", "sip:nobody@contoso.test", "ma-grp:"+string(group)+"@u.g", "Dave fans", "ou:"+string(unit), "domain:contoso.test", "*", "no such group")})
	if got, want := names(d.Users), "5 dave, "+fans+", "+fans+", "+harbour+", 8 domain:contoso.test, 1 *"; got != want {
		t.Errorf("principals: %q, want %q", got, want)
	}
	if u := d.Users[0]; u.Display != "Dave Dunn" || u.Email != "dd@contoso.test" || u.Company != "Contoso" || u.Disabled != "false" || u.Name != "dave@contoso.test" {
		t.Errorf("dave: %+v", u)
	}
	if u := d.Users[1]; u.Display != "Dave fans" || u.GUID != string(group) {
		t.Errorf("fans: %+v", u)
	}
}

// TestRoomCard: what there is to know of a room, a category, its people and add-ins.
func TestRoomCard(t *testing.T) {
	s := serve(t, nil)
	group, _ := s.people()
	s.must(&chat.CreateAddIn{ID: "00000000-0000-4000-8000-0000000000a1", Info: event.AddInInfo{Name: "Tides", URL: "https://tides.contoso.test/"}})
	s.changeRoom(ops, func(i *event.RoomInfo) { i.AddIn = "00000000-0000-4000-8000-0000000000a1" }, event.Access{Principal: event.GroupPrincipal(group), Role: event.RoleMember})
	alice, dave := s.client("alice"), s.client("dave")
	if d := good(t, dave, xccos.CmdGetAddIns, nil); len(d.AddIns) != 1 || d.AddIns[0] != (xccos.AddIn{ID: "00000000-0000-4000-8000-0000000000a1", Name: "Tides", URL: "https://tides.contoso.test/"}) {
		t.Errorf("add-ins: %+v", d.AddIns)
	}
	r := good(t, alice, xccos.CmdGetNode, room(xccos.ChanIB{Name: "operations"})).Chans[0]
	if r.URI != ops || r.Permissions != "3460" || r.AddInName != "Tides" || r.Audit == nil || r.Revision == 0 || r.Disabled != "false" {
		t.Errorf("alice sees %+v", r)
	}
	if r := good(t, dave, "cmd:getchan", about(ops)).Chans[0]; r.Permissions != "2048" {
		t.Errorf("dave, who may only see it, may %s", r.Permissions)
	}
	if r := good(t, dave, xccos.CmdGetNode, about(announc)).Chans[0]; r.Permissions != fmt.Sprint(2048+1024+128) || r.Behavior != xccos.BehaviorAuditorium {
		t.Errorf("dave may %s", r.Permissions)
	}
	c := good(t, dave, xccos.CmdGetNode, &xccos.Data{Categories: []xccos.NodeIB{{URI: general}}}).Categories[0]
	if c.Name != "General" || len(c.Props) != 3 || len(c.Roles) != 0 {
		t.Errorf("category: %+v", c)
	}
	s.creators("sip:dave@contoso.test")
	c = good(t, dave, xccos.CmdGetNode, &xccos.Data{Categories: []xccos.NodeIB{{URI: general}}}).Categories[0]
	if len(c.Roles) != 1 || names(c.Roles[0].Users) != "5 dave" {
		t.Errorf("category, to a creator: %+v", c)
	}
	s.must(&chat.CreateCategory{ID: "00000000-0000-4000-8000-000000000002", Info: event.CategoryInfo{Name: "Narrow", Allowed: []event.Principal{event.Principal(aliceURI)}}})
	refused(t, dave, xccos.CmdGetNode, &xccos.Data{Categories: []xccos.NodeIB{{URI: "ma-cat://contoso.test/00000000-0000-4000-8000-000000000002"}}}, noNode)
	refused(t, dave, xccos.CmdGetNode, &xccos.Data{Categories: []xccos.NodeIB{{URI: "ma-cat://contoso.test/"}}}, noNode)

	d := good(t, dave, xccos.CmdGetUsers, room(xccos.ChanIB{URI: ops, Roles: []xccos.Role{{Type: "member"}, {Type: xccos.RoleManager}, {Type: "voiced"}}})).Chans[0]
	if len(d.Roles) != 3 || names(d.Roles[0].Users) != "9 ma-grp:"+string(group)+"@u.g, 5 alice, 5 bob" || names(d.Roles[1].Users) != "5 alice" || len(d.Roles[2].Users) != 0 || d.Exceeded {
		t.Errorf("roles: %+v", d)
	}
	if it := ask(t, dave, xccos.CmdGetUsers, room(xccos.ChanIB{URI: ops, Roles: []xccos.Role{{Type: xccos.RoleCreator}}})); it.Code != 400 {
		t.Errorf("creators of a room: %d", it.Code)
	}
	alice.Join(ops)
	check(t, alice)
	if d := good(t, dave, xccos.CmdGetUsers, about(ops)).Chans[0]; names(d.Users) != "5 alice" {
		t.Errorf("who is in: %+v", d)
	}
}

// TestSearchRooms narrows a search by each property.
func TestSearchRooms(t *testing.T) {
	s := serve(t, nil)
	s.must(&chat.CreateAddIn{ID: "00000000-0000-4000-8000-0000000000a1", Info: event.AddInInfo{Name: "Tides", URL: "https://tides.contoso.test/"}})
	s.changeRoom(lobby, func(i *event.RoomInfo) {
		i.AddIn, i.Invitations = "00000000-0000-4000-8000-0000000000a1", event.InvitationsFalse
	})
	alice, carol := s.client("alice"), s.client("carol")
	find := func(c *siptest.Client, q xccos.QIB) string {
		t.Helper()
		d := good(t, c, xccos.CmdChanSrch, &xccos.Data{Search: &q})
		var all []string
		for _, r := range d.Chans {
			all = append(all, r.Name)
		}
		slices.Sort(all)
		out := strings.Join(all, " ")
		if d.Search != nil && d.Search.More {
			out += " more"
		}
		return out
	}
	for _, c := range []struct {
		what string
		who  *siptest.Client
		q    xccos.QIB
		want string
	}{
		{"all", alice, xccos.QIB{}, "Announcements Lobby Operations"},
		{"all, to a member", carol, xccos.QIB{}, "Announcements Board Lobby Operations"},
		{"any word", alice, xccos.QIB{Criteria: "lob oper"}, "Lobby Operations"},
		{"all words", alice, xccos.QIB{Criteria: "lob oper", MatchAll: true}, ""},
		{"descriptions", alice, xccos.QIB{Criteria: "more", Extended: true}, "Announcements Lobby Operations"},
		{"not descriptions", alice, xccos.QIB{Criteria: "more"}, ""},
		{"a phrase", alice, xccos.QIB{Criteria: "& <more>", Extended: true, Exact: true}, "Announcements Lobby Operations"},
		{"a limit", alice, xccos.QIB{MaxResults: 1}, "Lobby more"},
		{"just as many", alice, xccos.QIB{MaxResults: 3}, "Announcements Lobby Operations"},
		{"member", carol, xccos.QIB{Member: bobURI}, "Operations"},
		{"manager", carol, xccos.QIB{Manager: aliceURI}, "Operations"},
		{"category", alice, xccos.QIB{Category: general}, "Announcements Lobby Operations"},
		{"add-in", alice, xccos.QIB{AddIn: "00000000-0000-4000-8000-0000000000A1"}, "Lobby"},
		{"open", alice, xccos.QIB{Visibility: "open"}, "Announcements Lobby"},
		{"secret", carol, xccos.QIB{Visibility: "PRIVATE"}, "Board"},
		{"auditorium", alice, xccos.QIB{Behavior: xccos.BehaviorAuditorium}, "Announcements"},
		{"invites", alice, xccos.QIB{Invite: "true"}, "Announcements Operations"},
		{"invites not", alice, xccos.QIB{Invite: "false"}, "Lobby"},
		{"disabled", alice, xccos.QIB{Disabled: "true"}, ""},
	} {
		if got := find(c.who, c.q); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	s.disable(s.id(ops))
	if got := find(alice, xccos.QIB{Disabled: "true"}) + "/" + find(alice, xccos.QIB{}) + "/" + find(carol, xccos.QIB{Disabled: "true"}); got != "Operations/Announcements Lobby/" {
		t.Errorf("a disabled room is found by its manager who asks for it: %q", got)
	}
	for what, q := range map[string]xccos.QIB{"visibility": {Visibility: "foggy"}, "behavior": {Behavior: "loud"}} {
		if it := ask(t, alice, xccos.CmdChanSrch, &xccos.Data{Search: &q}); it.Code != 400 {
			t.Errorf("%s: %d", what, it.Code)
		}
	}
	s.configure(func(i *event.ConfigurationInfo) { i.SearchLimit = 2 })
	if got := find(carol, xccos.QIB{MaxResults: 100}); got != "Board Lobby more" {
		t.Errorf("the pool's limit: %q", got)
	}
}

// TestPreferences: a client keeps its own here, and is told what it does not have.
func TestPreferences(t *testing.T) {
	s := serve(t, nil)
	a := s.client("alice")
	pref := func(id, label, seq, create, content string) string {
		t.Helper()
		it := ask(t, a, id, &xccos.Data{Pref: &xccos.Pref{Label: label, Seq: seq, CreateDefault: create, Content: content}})
		if it.Code != 200 {
			return fmt.Sprint(it.Code)
		}
		return it.Data.Pref.Label + " " + it.Data.Pref.Seq + " " + it.Data.Pref.Content
	}
	const label = "kedzie.GroupChannels"
	for i, c := range []struct{ id, label, seq, create, content, want string }{
		{xccos.CmdGetPref, label, "", "false", "", "404"},
		{xccos.CmdGetPref, label, "0", "true", "", label + " 1 "},
		{xccos.CmdSetPref, label, "1", "", "PGE+", label + " 2 "},
		{xccos.CmdGetPref, label, "1", "", "", label + " 2 PGE+"},
		{xccos.CmdGetPref, label, "2", "", "", label + " 2 "},
		{xccos.CmdSetPref, label, "1", "", "x", "409"},
		{xccos.CmdSetPref, label, "", "", "", label + " 3 "},
		{xccos.CmdGetPref, label, "", "", "", label + " 3 "},
		{"cmd:setprefs", "other", "", "", "eQ==", "other 1 "},
		{xccos.CmdSetPref, label, "one", "", "x", "400"},
		{xccos.CmdSetPref, strings.Repeat("x", 300), "", "", "x", "413"},
		{xccos.CmdSetPref, label, "3", "", strings.Repeat("x", chat.MaxSettingBytes+1), "413"},
		{"cmd:getprefs", "other", "", "", "", "other 1 eQ=="},
	} {
		if got := pref(c.id, c.label, c.seq, c.create, c.content); got != c.want {
			t.Errorf("%d: %s %.20s %s: %q, want %q", i, c.id, c.label, c.seq, got, c.want)
		}
	}
	// They are no presence documents: clients of today do not know them.
	m := a.Do(siptest.Request{Method: "SUBSCRIBE", Headers: []string{"Event: vnd-microsoft-roaming-self", "Supported: ms-piggyback-first-notify"}})
	if check(t, a); strings.Contains(string(m.Body), "preference") {
		t.Errorf("%s", m.Body)
	}
}

// TestEndpoints: the pool answers under every address that it was given, and nodes that are not to take clients send them
// elsewhere.
func TestEndpoints(t *testing.T) {
	s := serve(t, nil)
	a := s.client("alice")
	if m := a.Invite("sip:oldchat@contoso.test"); m == nil || m.Status() != 404 {
		t.Errorf("an unknown address: %v", m)
	}
	a.ClearErr()
	s.must(&chat.SetEndpoint{Address: "sip:oldchat@contoso.test"})
	a.Invite("sip:oldchat@contoso.test")
	a.Join(lobby)
	check(t, a)

	if _, err := s.run(chat.Origin{By: "node:n2", Node: "n2", Trusted: true}, &chat.StartNode{Version: "test"}); err != nil {
		t.Fatal(err)
	}
	s.must(&chat.SetActiveServers{Nodes: []event.NodeID{"n2"}})
	if m := a.Invite(poolURI); m == nil || m.Status() != 503 {
		t.Errorf("INVITE to a node that takes no clients: %v", m)
	}
	a.ClearErr()
	if m := s.dial("bob").Register(); m == nil || m.Status() != 503 || m.Header("Retry-After") == "" {
		t.Errorf("REGISTER at a node that takes no clients: %v", m)
	}
	s.must(&chat.SetActiveServers{Nodes: []event.NodeID{"n1", "n2"}})
	s.client("bob").Join(lobby)
}
