package admin_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
	"parley/webfront/admin"
	"parley/webfront/objects"
)

// issue gives an administrator a token and returns it.
func (f *fixture) issue(name string, with ...string) string {
	f.t.Helper()
	token := "parley_token-of-" + name
	b := fmt.Sprintf(`{"admin":%q,"sha256":%q,"roles":["%s"]}`, name, hashOf(token), strings.Join(with, `","`))
	if len(with) == 0 {
		b = fmt.Sprintf(`{"admin":%q,"sha256":%q}`, name, hashOf(token))
	}
	want[admin.Token](f, 201, "POST", "/admin-tokens", b)
	return token
}

// as is the header with which a token's owner asks.
func as(token string) []string { return []string{"Authorization", "Bearer " + token} }

// freeForAll are the routes that need no right.
var freeForAll = map[string]bool{"GET /openapi.yaml": true, "GET /self": true}

// Every route declares a right that is in the table of rights. Whoever has no role for it is refused, with the rule, his
// name and the roles that would do; whoever has one is not refused for that.
func TestRights(t *testing.T) {
	f := newFixture(t)
	tokens := map[roles.Role]string{}
	for _, r := range roles.All() {
		tokens[r] = f.issue(string(r), string(r))
	}
	none := f.issue("nobody")
	for _, rt := range admin.Routes(f.api) {
		name := rt.Method + " " + rt.Path
		if freeForAll[name] {
			continue
		}
		if !rt.Right.Known() || len(roles.For(rt.Right)) == 0 {
			t.Errorf("%s: right %q is not one that an administrator may have", name, rt.Right)
			continue
		}
		ask := func(token string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(rt.Method, admin.Prefix+pathParam.ReplaceAllString(rt.Path, "x")+"?no_such_parameter=1", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			f.api.ServeHTTP(w, r)
			return w
		}
		denied := 0
		for role, token := range tokens {
			set, err := roles.Of(string(role))
			if err != nil {
				t.Fatal(err)
			}
			w := ask(token)
			if set.May(rt.Right) {
				if w.Code != 400 || !strings.Contains(w.Body.String(), "no_such_parameter") { // let in, and then stopped
					t.Errorf("%s as %s: %d %s", name, role, w.Code, w.Body)
				}
				continue
			}
			denied++
			p := problemIn(t, w)
			if w.Code != 403 || p.Rule != chat.RuleRole || p.Principal != event.Principal("admin:"+string(role)) ||
				!strings.Contains(p.Detail, "administrator") || !strings.Contains(p.Detail, string(rt.Right)) {
				t.Errorf("%s as %s: %d %+v", name, role, w.Code, p)
			}
		}
		if denied == 0 {
			t.Errorf("%s: every role may do it", name)
		}
		if w := ask(none); w.Code != 403 {
			t.Errorf("%s without a role: %d", name, w.Code)
		}
	}
}

// The rules ask again: a right that was taken away between here and the leader does not help.
func TestRightsOfRequests(t *testing.T) {
	f := newFixture(t)
	token := f.issue("ann", "user-administrator")
	var got []roles.Set
	f.pool.BeforeSubmit = func(r chat.Request) error {
		got = append(got, r.Roles)
		if !r.Trusted || r.Roles == 0 { // 0 would be everything
			t.Errorf("%T is submitted with the roles %v", r.Command, r.Roles.Names())
		}
		return nil
	}
	want[objects.User](f, 201, "POST", "/users", `{"user":"zoe"}`, as(token)...)
	want[objects.User](f, 201, "POST", "/users", `{"user":"yan"}`)
	if len(got) != 2 || got[0] == got[1] || got[0].Names()[0] != "user-administrator" || got[1].Names()[0] != "administrator" {
		t.Errorf("submitted with %v", got)
	}
}

func TestTokens(t *testing.T) {
	f := newFixture(t)
	token := f.issue("ann", "auditor")
	self := want[admin.Self](f, 200, "GET", "/self", "", as(token)...)
	if self.Admin != "admin:ann" || fmt.Sprint(self.Roles) != "[auditor]" || len(self.May) == 0 {
		t.Errorf("%+v", self)
	}
	want[[]objects.Room](f, 200, "GET", "/rooms", "", as(token)...)
	all := want[[]admin.Token](f, 200, "GET", "/admin-tokens?admin=ann", "")
	if len(all) != 1 || all[0].Admin != "admin:ann" || all[0].Expired || all[0].IssuedBy != "admin:boss" {
		t.Fatalf("%+v", all)
	}
	// Neither the token nor its hash is told: not by the list, not by the log.
	for _, path := range []string{"/admin-tokens", "/log/events"} {
		if b := f.do("GET", path, "").Body.String(); strings.Contains(b, token) || strings.Contains(b, hashOf(token)) {
			t.Errorf("%s tells a token", path)
		}
	}
	// More roles for the one who has some, and fewer.
	a := want[admin.Admin](f, 200, "PATCH", "/admins/ann", `{"roles":{"add":["operator"]}}`)
	if fmt.Sprint(a.Roles) != "[auditor operator]" || a.Tokens != 1 {
		t.Errorf("%+v", a)
	}
	want[admin.Admin](f, 200, "PATCH", "/admins/admin:ann", `{"roles":{"set":["operator"]}}`)
	f.refused(403, chat.CodeForbidden, "GET", "/rooms", "", as(token)...)
	f.refused(400, chat.CodeInvalid, "PATCH", "/admins/ann", `{"roles":{"add":["king"]}}`)
	f.refused(409, chat.CodeConflict, "PATCH", "/admins/boss", `{"roles":{"set":["auditor"]}}`) // himself
	if all := want[[]admin.Admin](f, 200, "GET", "/admins", ""); len(all) != 2 || !all[1].Configured || all[1].Roles[0] != "administrator" {
		t.Errorf("%+v", all)
	}

	// A token of a user's account goes with the account.
	want[objects.User](f, 201, "POST", "/users", `{"user":"zoe"}`)
	zoe := f.issue("zoe@contoso.test", "operator")
	want[admin.Self](f, 200, "GET", "/self", "", as(zoe)...)
	want[admin.Removed](f, 200, "DELETE", "/users/zoe", "")
	f.refused(401, admin.CodeUnauthenticated, "GET", "/self", "", as(zoe)...)

	// It expires, and it is revoked.
	soon := f.pool.Now() + event.Time(20*time.Second)
	short := "parley_short"
	want[admin.Token](f, 201, "POST", "/admin-tokens", fmt.Sprintf(`{"admin":"ann","sha256":%q,"expires":%q}`, hashOf(short), soon))
	want[admin.Self](f, 200, "GET", "/self", "", as(short)...)
	for f.pool.Now() < soon {
		f.pool.Must(t, chat.Origin{By: "admin:boss", Trusted: true}, &chat.RecordRead{What: "log.read", Filter: fmt.Sprint(f.pool.Now())})
	}
	f.refused(401, admin.CodeUnauthenticated, "GET", "/self", "", as(short)...)
	f.refused(400, chat.CodeInvalid, "POST", "/admin-tokens", fmt.Sprintf(`{"admin":"ann","sha256":%q,"expires":%q}`, hashOf("x"), soon))
	want[admin.Removed](f, 200, "DELETE", "/admin-tokens/"+string(all[0].Token), "")
	f.refused(401, admin.CodeUnauthenticated, "GET", "/self", "", as(token)...)

	f.refused(409, chat.CodeConflict, "POST", "/admin-tokens", fmt.Sprintf(`{"admin":"ben","sha256":%q}`, hashOf(short))) // somebody has it
	f.refused(400, chat.CodeInvalid, "POST", "/admin-tokens", `{"admin":"ben","sha256":"abcd"}`)
	f.refused(400, chat.CodeInvalid, "POST", "/admin-tokens", `{"admin":"ben"}`)
	f.refused(404, chat.CodeNotFound, "POST", "/admin-tokens", fmt.Sprintf(`{"admin":"nobody@contoso.test","sha256":%q}`, hashOf("y")))
}

// A token that is sent twice is one token.
func TestTokenOnce(t *testing.T) {
	f := newFixture(t)
	b := fmt.Sprintf(`{"admin":"ann","sha256":%q,"roles":["auditor"]}`, hashOf("x"))
	one := want[admin.Token](f, 201, "POST", "/admin-tokens", b, admin.KeyHeader, "k")
	head := f.head()
	if two := want[admin.Token](f, 201, "POST", "/admin-tokens", b, admin.KeyHeader, "k"); two.Token != one.Token || f.head() != head {
		t.Errorf("%+v, then %+v", one, two)
	}
}

// What is read that is not the reader's own is written down first, once an hour; what makes no sense is not.
func TestReadsAreRecorded(t *testing.T) {
	f := newFixture(t, replays)
	f.talk()
	f.prover.feed(f)
	token := f.issue("ann", "auditor")
	want[admin.Feed](f, 200, "PUT", "/feeds/j", `{"adapter":"jsonl","options":{"dir":"/a"}}`)
	path := map[string]string{"GET /log/events": "/log/events?kind=posted", "GET /rooms/{room}/messages": "/rooms/Lobby/messages?filter=one",
		"GET /data/export":        "/data/export?level=user",
		"GET /feeds/{feed}/proof": "/feeds/archive/proof?from=1", "GET /log/records": "/log/records?to=3", "GET /log/state": "/log/state?at=9",
		"GET /feeds/{feed}/replay": "/feeds/j/replay?from=2"}
	for _, rt := range admin.Routes(f.api) {
		name := rt.Method + " " + rt.Path
		p, listed := path[name]
		if rt.Recorded != listed {
			t.Errorf("%s is recorded: %v; name a question here", name, rt.Recorded)
		}
		if !listed {
			continue
		}
		before := f.head()
		if w := f.do(rt.Method, p, "", as(token)...); w.Code != 200 {
			t.Errorf("%s: %d %s", p, w.Code, w.Body)
		}
		r, ok := f.last().Event.(*event.AdminRead)
		if f.head() != before+1 || !ok || f.last().By != "admin:ann" || r.What != string(rt.Right) || r.Filter != p {
			t.Errorf("%s: %d events, the last is %+v", p, f.head()-before, f.last())
		}
		f.do(rt.Method, p, "", as(token)...)
		if f.head() != before+1 {
			t.Errorf("%s: asked again, it is written down again", p)
		}
		f.do(rt.Method, p, "") // somebody else
		if f.head() != before+2 {
			t.Errorf("%s: asked by another, it is not written down", p)
		}
	}
	f.refused(400, chat.CodeInvalid, "GET", "/rooms/Lobby/messages?start_date=never", "")
	f.refused(404, chat.CodeNotFound, "GET", "/data/export?scope=nowhere", "")

	// Whoever cannot be recorded reads nothing.
	f.pool.BeforeSubmit = func(chat.Request) error { return fmt.Errorf("no leader for 3 s") }
	for _, p := range []string{"/log/events?kind=joined", "/rooms/Lobby/messages", "/data/export"} {
		if p := f.refused(503, chat.CodeUnavailable, "GET", p, ""); !strings.Contains(p.Detail, "recorded") {
			t.Errorf("%+v", p)
		}
	}
	want[[]objects.Room](f, 200, "GET", "/rooms", "")
}

// TestLastRoleOfAConfiguredAdministrator: whoever has a credential in the configuration may do everything unless the pool gave
// him roles. So taking the last one away must not make him more than he was.
func TestLastRoleOfAConfiguredAdministrator(t *testing.T) {
	f := newFixture(t, func(o *admin.Options) {
		o.Credentials = append(o.Credentials, admin.Credential{Name: "clerk", SHA256: hashOf("clerk's")})
	})
	want[admin.Admin](f, 200, "PATCH", "/admins/clerk", `{"roles":{"set":["auditor"]}}`)
	f.refused(409, chat.CodeConflict, "PATCH", "/admins/clerk", `{"roles":{"remove":["auditor"]}}`)
	f.refused(409, chat.CodeConflict, "PATCH", "/admins/clerk", `{"roles":{"set":[]}}`)
	if self := want[admin.Self](f, 200, "GET", "/self", "", as("clerk's")...); len(self.Roles) != 1 || self.Roles[0] != "auditor" {
		t.Errorf("he is %v", self.Roles)
	}
	f.issue("ann", "auditor") // one of the pool may lose his last
	if got := want[admin.Admin](f, 200, "PATCH", "/admins/ann", `{"roles":{"remove":["auditor"]}}`); len(got.Roles) != 0 {
		t.Errorf("ann is %v", got.Roles)
	}
}

// A node that has not caught up tells of itself and nothing else, and takes no token that may have been revoked meanwhile.
func TestNotCurrent(t *testing.T) {
	current := true
	f := newFixture(t, func(o *admin.Options) { o.Current = func() bool { return current } })
	f.town()
	token := f.issue("ann", "administrator")
	current = false
	for _, rt := range admin.Routes(f.api) {
		path, early := strings.ReplaceAll(rt.Path, "{", "x"), false
		switch rt.Path {
		case "/openapi.yaml", "/node", "/status", "/projections":
			early = true
		case "/node/digest":
			continue // it asks for an offset; below
		}
		path = strings.ReplaceAll(path, "}", "")
		w := f.do(rt.Method, path, "")
		if early && w.Code != 200 {
			t.Errorf("%s %s: %d %s", rt.Method, rt.Path, w.Code, w.Body)
		}
		if p := w.Code == 503 && w.Header().Get("Retry-After") != "" && problemIn(t, w).Code == string(chat.CodeUnavailable); !early && !p {
			t.Errorf("%s %s: %d %s, want 503", rt.Method, rt.Path, w.Code, w.Body)
		}
		if w := f.do(rt.Method, path, "", as(token)...); w.Code != map[bool]int{true: 401, false: 503}[early] {
			t.Errorf("%s %s with a token of the pool: %d %s", rt.Method, rt.Path, w.Code, w.Body)
		}
	}
	if w := f.do("GET", fmt.Sprintf("/node/digest?at=%d", f.head()), ""); w.Code != 200 {
		t.Errorf("digest: %d %s", w.Code, w.Body)
	}
	current = true
	want[[]objects.Room](f, 200, "GET", "/rooms", "", as(token)...)
}
