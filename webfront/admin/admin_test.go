package admin_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/admin/admintest"
	"parley/webfront/objects"
)

const token = "parley_test-token"

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

type fixture struct {
	t      *testing.T
	pool   *admintest.Pool
	api    *admin.API
	prover *fakeProver
}

func newFixture(t *testing.T, change ...func(*admin.Options)) *fixture {
	t.Helper()
	p := admintest.New(t, "")
	prover := new(fakeProver)
	o := admin.Options{Prover: prover, Pool: p, Log: p.Log, Node: "n1", Logger: slog.New(slog.DiscardHandler), Now: p.Now, NewID: p.NewID, History: p.History,
		DigestMD5: true, Credentials: []admin.Credential{{Name: "boss", SHA256: hashOf(token)}}}
	for _, c := range change {
		c(&o)
	}
	api, err := admin.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t: t, pool: p, api: api, prover: prover}
}

// do sends a request as boss. body is JSON or empty.
func (f *fixture) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequest(method, admin.Prefix+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	f.asDeclared(r, w)
	return w
}

// asDeclared asks that a successful answer has the form that its route declares, and any other one that of RFC 9457.
func (f *fixture) asDeclared(r *http.Request, w *httptest.ResponseRecorder) {
	f.t.Helper()
	if w.Code >= 400 {
		if p := problemIn(f.t, w); w.Header().Get("Content-Type") != "application/problem+json" || p.Type == "" || p.Title == "" || p.Status != w.Code || p.Detail == "" || p.Code == "" {
			f.t.Errorf("%s %s: no problem details: %d %v %s", r.Method, r.URL, w.Code, w.Header(), w.Body)
		}
	}
	if w.Code >= 300 || r.URL.Query().Has("what_if") {
		return
	}
	for _, rt := range admin.Routes(f.api) {
		if rt.Method != r.Method || r.Pattern != rt.Method+" "+admin.Prefix+rt.Path || rt.Out == nil || rt.Lines {
			continue
		}
		if w.Code != rt.Status {
			f.t.Errorf("%s %s: answered with %d, declared is %d", r.Method, r.URL, w.Code, rt.Status)
		}
		d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(reflect.New(reflect.TypeOf(rt.Out)).Interface()); err != nil && !strings.Contains(w.Body.String(), `"removed":true`) {
			f.t.Errorf("%s %s: %v in %s", r.Method, r.URL, err, w.Body)
		}
	}
}

// want sends a request and asks for a status; the answer is decoded into a T.
func want[T any](f *fixture, status int, method, path, body string, header ...string) (v T) {
	f.t.Helper()
	w := f.do(method, path, body, header...)
	if w.Code != status {
		f.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, w.Code, w.Body, status)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		f.t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
	}
	return v
}

// refused sends a request that must be refused with a code.
func (f *fixture) refused(status int, code chat.Code, method, path, body string, header ...string) admin.Problem {
	f.t.Helper()
	before := f.head()
	p := want[admin.Problem](f, status, method, path, body, header...)
	if p.Code != string(code) || p.Status != status || p.Detail == "" || p.Title == "" {
		f.t.Errorf("%s %s: problem %+v, want code %s", method, path, p, code)
	}
	if f.head() != before {
		f.t.Errorf("%s %s: refused, but the log grew", method, path)
	}
	return p
}

func (f *fixture) head() event.Offset { return f.pool.Log.Head().Offset }

func (f *fixture) last() event.Envelope {
	f.t.Helper()
	run, err := f.pool.Log.Read(f.head(), 1)
	if err != nil || len(run) != 1 {
		f.t.Fatal(run, err)
	}
	return run[0]
}

// town makes users alice, bob and carol and the category General with everyone in it.
func (f *fixture) town() {
	f.t.Helper()
	for _, u := range []string{"alice", "bob", "carol"} {
		want[objects.User](f, 201, "POST", "/users", `{"user":"`+u+`","password":"parley"}`)
	}
	want[objects.Category](f, 201, "POST", "/categories", `{"name":"General","allowed_members":{"set":["*"]}}`)
}

func TestAuthentication(t *testing.T) {
	f := newFixture(t)
	for _, h := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + token, token, "Bearer " + hashOf(token)} {
		w := f.do("GET", "/pool", "", "Authorization", h)
		if w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), "Bearer") ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("Authorization %q: %d %s", h, w.Code, w.Body)
		}
	}
	p := want[admin.PoolInfo](f, 200, "GET", "/pool", "", "Authorization", "bearer "+token)
	if p.Domain != admintest.Domain || p.Leader != "n1" || !p.Formed || p.PoolURI != "sip:parley@contoso.test" {
		t.Errorf("pool: %+v", p)
	}
}

// Every route asks for the token; a node's certificate opens few doors only.
func TestRoutesArePrivate(t *testing.T) {
	f := newFixture(t)
	node := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
	for _, rt := range admin.Routes(f.api) {
		method, path := rt.Method, admin.Prefix+pathParam.ReplaceAllString(rt.Path, "n1")
		for name, state := range map[string]*tls.ConnectionState{"nobody": nil, "unverified": {PeerCertificates: []*x509.Certificate{{}}}, "node": node} {
			r := httptest.NewRequest(method, path, nil)
			r.TLS = state
			w := httptest.NewRecorder()
			f.api.ServeHTTP(w, r)
			allowed := name == "node" && (rt.Path == "/node" || rt.Path == "/node/digest" || rt.Path == "/node/keys" || rt.Path == "/node/feeds")
			if (w.Code != 401) != allowed {
				t.Errorf("%s %s as %s: %d", rt.Method, rt.Path, name, w.Code)
			}
		}
	}
}

func TestRooms(t *testing.T) {
	f := newFixture(t)
	f.town()
	r := want[objects.Room](f, 201, "POST", "/rooms", `{"name":"Ops","category":"general","description":"d",
		"members":{"add":["alice","sip:BOB@contoso.test"]},"managers":{"set":["alice@contoso.test"]}}`)
	if r.Privacy != "closed" || r.Type != "normal" || r.Invitations != "inherit" || r.Category != "General" ||
		fmt.Sprint(r.Members, r.Managers, r.Presenters) != "[sip:alice@contoso.test sip:bob@contoso.test] [sip:alice@contoso.test] []" {
		t.Fatalf("new room: %+v", r)
	}
	if e := f.last(); e.By != "admin:boss" || e.Node != "n1" || e.Command.IsZero() || e.Kind() != event.KindRoomCreated {
		t.Errorf("in the log: %+v", e)
	}
	for _, id := range []string{"Ops", "ops", string(r.ID), strings.ToUpper(string(r.ID)), "ma-chan:%2F%2Fcontoso.test%2F" + string(r.ID)} {
		if got := want[objects.Room](f, 200, "GET", "/rooms/"+id, ""); got.ID != r.ID {
			t.Errorf("GET %s: %+v", id, got)
		}
	}
	f.refused(404, chat.CodeNotFound, "GET", "/rooms/ma-chan:%2F%2Felsewhere.test%2F"+string(r.ID), "")
	f.refused(404, chat.CodeNotFound, "GET", "/rooms/nowhere", "")

	r = want[objects.Room](f, 200, "PATCH", "/rooms/Ops", `{"members":{"add":["carol"],"remove":["bob"]},"privacy":"Secret"}`)
	if fmt.Sprint(r.Members, r.Managers) != "[sip:alice@contoso.test sip:carol@contoso.test] [sip:alice@contoso.test]" ||
		r.Privacy != "secret" || r.Description != "d" {
		t.Errorf("changed: %+v", r)
	}
	r = want[objects.Room](f, 200, "PATCH", "/rooms/Ops", `{"managers":{"set":[]}}`)
	if len(r.Managers) != 0 || len(r.Members) != 2 {
		t.Errorf("managers emptied: %+v", r)
	}
	f.refused(400, chat.CodeInvalid, "PATCH", "/rooms/Ops", `{"type":"theatre"}`)
	f.refused(400, chat.CodeInvalid, "PATCH", "/rooms/Ops", `{"membres":{"add":["carol"]}}`)
	f.refused(400, chat.CodeInvalid, "PATCH", "/rooms/Ops", `{"name":"a"} {"name":"b"}`)
	f.refused(400, chat.CodeInvalid, "PATCH", "/rooms/Ops", `{"name":"a"}`, "Content-Type", "text/plain")
	f.refused(400, chat.CodeInvalid, "PATCH", "/rooms/Ops", `{"members":{"add":["a b@c"]}}`)
	f.refused(404, chat.CodeNotFound, "PATCH", "/rooms/Ops", `{"members":{"add":["nobody"]}}`)
	f.refused(404, chat.CodeNotFound, "POST", "/rooms", `{"name":"X","category":"Nowhere"}`)
	f.refused(400, chat.CodeInvalid, "POST", "/rooms", `{"name":"X"}`)
	f.refused(409, chat.CodeConflict, "POST", "/rooms", `{"name":"OPS","category":"General"}`)
	f.refused(413, chat.CodeTooLarge, "POST", "/rooms", `{"name":"X","category":"General","description":"`+strings.Repeat("x", 2<<20)+`"}`)
	f.refused(409, chat.CodeConflict, "DELETE", "/categories/General", "")

	if rm := want[admin.Removed](f, 200, "DELETE", "/rooms/Ops", ""); rm.Removed != "Ops" || rm.Offset != f.head() {
		t.Errorf("removed: %+v", rm)
	}
	f.refused(404, chat.CodeNotFound, "DELETE", "/rooms/Ops", "")
	want[admin.Removed](f, 200, "DELETE", "/categories/General", "")
}

func TestRoomFilters(t *testing.T) {
	f := newFixture(t)
	f.town()
	want[objects.Category](f, 201, "POST", "/categories", `{"name":"Other","allowed_members":{"add":["domain:contoso.test"]}}`)
	want[objects.AddIn](f, 201, "POST", "/add-ins", `{"name":"Clock","url":"https://clock.test/"}`)
	for _, b := range []string{
		`{"name":"Lobby","category":"General","privacy":"open","description":"green chairs"}`,
		`{"name":"Green Room","category":"Other","type":"auditorium","members":{"add":["bob"]}}`,
		`{"name":"Attic","category":"General","disabled":true,"managers":{"add":["alice"]},"invitations":"false","add_in":"Clock"}`,
	} {
		want[objects.Room](f, 201, "POST", "/rooms", b)
	}
	for q, names := range map[string]string{
		"":                                      "Attic,Green Room,Lobby",
		"?filter=green":                         "Green Room",
		"?filter=green&search_description=true": "Green Room,Lobby",
		"?filter=chairs+green&search_description=true": "Lobby",
		"?category=general":                            "Attic,Lobby",
		"?privacy=Open":                                "Lobby",
		"?type=auditorium":                             "Green Room",
		"?disabled=true":                               "Attic",
		"?disabled=false":                              "Green Room,Lobby",
		"?member=bob":                                  "Green Room",
		"?manager=alice@contoso.test":                  "Attic",
		"?invitations=false":                           "Attic",
		"?add_in=clock":                                "Attic",
		"?result_size=2":                               "Attic,Green Room",
		"?result_size=0":                               "",
	} {
		var got []string
		for _, r := range want[[]objects.Room](f, 200, "GET", "/rooms"+q, "") {
			got = append(got, r.Name)
		}
		if strings.Join(got, ",") != names {
			t.Errorf("%s: %v, want %s", q, got, names)
		}
	}
	f.refused(400, chat.CodeInvalid, "GET", "/rooms?disabled=perhaps", "")
	f.refused(400, chat.CodeInvalid, "GET", "/rooms?result_size=-1", "")
	f.refused(404, chat.CodeNotFound, "GET", "/rooms?category=none", "")
}

func TestCategories(t *testing.T) {
	f := newFixture(t)
	for _, u := range []string{"alice", "bob"} {
		want[objects.User](f, 201, "POST", "/users", `{"user":"`+u+`"}`)
	}
	c := want[objects.Category](f, 201, "POST", "/categories", `{"name":"A"}`)
	if c.Invitations || c.FileUpload || !c.ChatHistory || len(c.AllowedMembers) != 0 || c.AllowedMembers == nil {
		t.Errorf("defaults: %+v", c)
	}
	c = want[objects.Category](f, 200, "PATCH", "/categories/a", `{"name":"B","file_upload":true,"chat_history":false,
		"allowed_members":{"add":["*","domain:contoso.test"]},"denied_members":{"set":["bob"]},"creators":{"add":["alice"]}}`)
	if c.Category != "B" || !c.FileUpload || c.ChatHistory ||
		fmt.Sprint(c.AllowedMembers, c.DeniedMembers, c.Creators) != "[* domain:contoso.test] [sip:bob@contoso.test] [sip:alice@contoso.test]" {
		t.Errorf("changed: %+v", c)
	}
	if got := want[objects.Category](f, 200, "GET", `/categories/pool.contoso.test%5CB`, ""); got.ID != c.ID {
		t.Errorf("by the product's identity: %+v", got)
	}
	if all := want[[]objects.Category](f, 200, "GET", "/categories", ""); len(all) != 1 || all[0].ID != c.ID {
		t.Errorf("all: %+v", all)
	}
}

func TestUsers(t *testing.T) {
	f := newFixture(t)
	u := want[objects.User](f, 201, "POST", "/users", `{"user":"sip:Alice@contoso.test","password":"parley","email":"a@x"}`)
	if u.User != "sip:alice@contoso.test" || !u.EnablePersistentChat || !u.PasswordSet || u.DisplayName != "alice" || u.Email != "a@x" {
		t.Errorf("new: %+v", u)
	}
	// RFC 7616 section 3.4.2: H(user:realm:password).
	got, _ := f.pool.State().User("sip:alice@contoso.test")
	if hex.EncodeToString(got.Secret.HA1MD5) != "082d57f486a6f5f281fa415878f5b1ee" {
		t.Errorf("HA1 %x", got.Secret.HA1MD5)
	}
	before := got.Secret
	u = want[objects.User](f, 200, "PATCH", "/users/alice", `{"enable_persistent_chat":false,"display_name":"A."}`)
	got, _ = f.pool.State().User("sip:alice@contoso.test")
	if u.EnablePersistentChat || u.DisplayName != "A." || !bytes.Equal(got.Secret.HA1SHA256, before.HA1SHA256) {
		t.Errorf("changed: %+v", u)
	}
	want[objects.User](f, 200, "PATCH", "/users/alice", `{"password":"other"}`)
	if got, _ = f.pool.State().User("sip:alice@contoso.test"); bytes.Equal(got.Secret.HA1SHA256, before.HA1SHA256) {
		t.Error("the password did not change")
	}
	for _, bad := range []string{`{"user":"*"}`, `{"user":"domain:x"}`, `{"user":""}`, `{"user":"a@b@c"}`, `{}`, `{"user":"x","password":""}`} {
		f.refused(400, chat.CodeInvalid, "POST", "/users", bad)
	}
	f.refused(409, chat.CodeConflict, "POST", "/users", `{"user":"alice"}`)
	f.refused(400, chat.CodeInvalid, "PATCH", "/users/alice", `{"user":"bob"}`)
	f.refused(404, chat.CodeNotFound, "PATCH", "/users/bob", `{"email":"b"}`)
	want[objects.User](f, 201, "POST", "/users", `{"user":"bob"}`)
	if us := want[[]objects.User](f, 200, "GET", "/users?filter=bob", ""); len(us) != 1 || us[0].PasswordSet {
		t.Errorf("filtered: %+v", us)
	}
	want[admin.Removed](f, 200, "DELETE", "/users/bob", "")
	if us := want[[]objects.User](f, 200, "GET", "/users", ""); len(us) != 1 {
		t.Errorf("after removal: %+v", us)
	}
	// Whoever may read everything the API shows learns no secret.
	for _, path := range []string{"/users", "/users/alice", "/log/events"} {
		w := f.do("GET", path, "")
		for _, s := range [][]byte{got.Secret.HA1MD5, got.Secret.HA1SHA256, before.HA1SHA256} {
			if strings.Contains(w.Body.String(), hex.EncodeToString(s)) {
				t.Errorf("%s tells a secret", path)
			}
		}
	}
}

func TestWhatIf(t *testing.T) {
	f := newFixture(t)
	f.town()
	before := f.head()
	w := want[admin.WhatIf](f, 200, "POST", "/rooms?what_if=true", `{"name":"X","category":"General"}`)
	if !w.WhatIf || len(w.Events) != 1 || !bytes.Contains(w.Events[0], []byte(`"kind":"room_created","by":"admin:boss"`)) {
		t.Errorf("what if: %+v", w)
	}
	want[admin.WhatIf](f, 200, "DELETE", "/users/alice?what_if=true", "")
	want[map[string]any](f, 200, "DELETE", "/members/n1?what_if=true", "")
	if f.head() != before {
		t.Error("asking what if wrote to the log")
	}
	f.refused(400, chat.CodeInvalid, "POST", "/rooms?what_if=true", `{"name":"","category":"General"}`)
}

// A request that is sent again takes effect once, also when what it named is gone since.
func TestIdempotency(t *testing.T) {
	f := newFixture(t)
	f.town()
	twice := func(status, again int, method, path, body string) (a, b map[string]any) {
		t.Helper()
		a = want[map[string]any](f, status, method, path, body, admin.KeyHeader, "k-"+method+path)
		head := f.head()
		b = want[map[string]any](f, again, method, path, body, admin.KeyHeader, "k-"+method+path)
		if f.head() != head {
			t.Errorf("%s %s took effect twice", method, path)
		}
		return a, b
	}
	if a, b := twice(201, 201, "POST", "/rooms", `{"name":"X","category":"General"}`); a["id"] != b["id"] {
		t.Errorf("two answers: %v, %v", a, b)
	}
	if a, b := twice(200, 200, "PATCH", "/rooms/X", `{"name":"Y"}`); a["id"] != b["id"] || b["name"] != "Y" {
		t.Errorf("renamed: %v, then %v", a, b)
	}
	if a, b := twice(200, 200, "DELETE", "/rooms/Y", ""); a["removed"] != b["removed"] || a["offset"] != b["offset"] {
		t.Errorf("removed: %v, then %v", a, b)
	}
	twice(200, 200, "PATCH", "/categories/General", `{"name":"Special"}`)
	twice(200, 200, "DELETE", "/categories/Special", "")
	twice(200, 200, "DELETE", "/users/carol", "")

	// The key of something else does not swallow a request, and no key means a new request.
	f.refused(404, chat.CodeNotFound, "DELETE", "/rooms/Z", "", admin.KeyHeader, "k-DELETE/rooms/Y")
	f.refused(404, chat.CodeNotFound, "DELETE", "/rooms/Y", "")
	want[objects.Category](f, 201, "POST", "/categories", `{"name":"P"}`, admin.KeyHeader, "same")
	want[objects.Category](f, 201, "POST", "/categories", `{"name":"Q"}`, admin.KeyHeader, "same")
	f.refused(400, chat.CodeInvalid, "POST", "/categories", `{"name":"R"}`, admin.KeyHeader, strings.Repeat("k", 256))
}

// Somebody else changes the room between reading and writing: both changes hold.
func TestConcurrentChange(t *testing.T) {
	f := newFixture(t)
	f.town()
	r := want[objects.Room](f, 201, "POST", "/rooms", `{"name":"X","category":"General"}`)
	submitted := 0
	f.pool.BeforeSubmit = func(req chat.Request) error {
		if submitted++; submitted == 1 {
			now, _ := f.pool.State().Room(r.ID)
			now.Info.Description = "changed meanwhile"
			f.pool.Must(t, chat.Origin{By: "admin:other", Node: "n1", Trusted: true},
				&chat.ChangeRoom{ID: r.ID, Info: now.Info, Access: []event.Access{{Principal: "sip:bob@contoso.test", Role: event.RoleMember}}})
		}
		return nil
	}
	r = want[objects.Room](f, 200, "PATCH", "/rooms/X", `{"members":{"add":["alice"]}}`)
	if r.Description != "changed meanwhile" || len(r.Members) != 2 || submitted != 2 {
		t.Errorf("after %d tries: %+v", submitted, r)
	}
}

func TestUnavailable(t *testing.T) {
	f := newFixture(t)
	f.pool.BeforeSubmit = func(chat.Request) error { return fmt.Errorf("no leader for 3 s") }
	w := f.do("POST", "/categories", `{"name":"A"}`)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	f.refused(503, chat.CodeUnavailable, "DELETE", "/users/alice@elsewhere.test", "", admin.KeyHeader, "k")
}

func TestUnknownPath(t *testing.T) {
	f := newFixture(t)
	f.refused(404, chat.CodeNotFound, "GET", "/nothing", "")
	if w := f.do("PUT", "/rooms", "{}"); w.Code != 404 && w.Code != 405 {
		t.Errorf("PUT /rooms: %d", w.Code)
	}
	w := f.do("GET", "/openapi.yaml", "")
	if b, _ := io.ReadAll(w.Body); w.Code != http.StatusOK || !bytes.HasPrefix(b, []byte("components:")) || !bytes.Contains(b, []byte("openapi: 3.1.0")) {
		t.Errorf("openapi: %d %.40s", w.Code, b)
	}
}

// problemIn reads the problem of an answer.
func problemIn(t *testing.T, w *httptest.ResponseRecorder) (p admin.Problem) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return p
}
