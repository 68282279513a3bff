package admin_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/objects"
)

// Every object that can be made is made, found, changed, and removed; each change that is sent again takes effect once,
// one that was seen at an older revision is refused, and what was only asked about is not done.
func TestEveryObject(t *testing.T) {
	for _, o := range []struct {
		path, one, key string // of what is made
		create, change string
		changed        string // what the changed object has
		removed        string // what DELETE says
	}{
		{"/rooms", "R", "id", `{"name":"R","category":"General"}`, `{"name":"R2","description":"d"}`, `"name":"R2"`, "R2"},
		{"/categories", "C", "id", `{"name":"C"}`, `{"name":"C2"}`, `"category":"C2"`, "C2"},
		{"/add-ins", "A", "id", `{"name":"A","url":"https://a.test/"}`, `{"name":"A2"}`, `"add_in":"A2"`, "A2"},
		{"/users", "zoe", "user", `{"user":"zoe"}`, `{"display_name":"Zoe"}`, `"display_name":"Zoe"`, "sip:zoe@contoso.test"},
		{"/groups", "G", "id", `{"name":"G"}`, `{"name":"G2"}`, `"name":"G2"`, "G2"},
		{"/units", "OU=U", "id", `{"name":"U"}`, `{"name":"U2"}`, `"name":"U2"`, "U2"},
		{"/policies", "user:p", "identity", `{"identity":"tag:P"}`, `{"enable_persistent_chat":true}`, `"enable_persistent_chat":true`, "user:p"},
		{"/configurations", "site:s", "identity", `{"identity":"site:S"}`, `{"default_chat_history":7}`, `"default_chat_history":7`, "site:s"},
		{"/compliance", "site:s", "identity", `{"identity":"site:s"}`, `{"run_interval":"00:30:00"}`, `"run_interval":"30m0s"`, "site:s"},
		{"/endpoints", "old", "endpoint", `{"sip_address":"old"}`, "", "", "sip:old@contoso.test"},
		{"/admin-tokens", "", "token", `{"admin":"ann","sha256":"` + hashOf("x") + `"}`, "", "", ""},
	} {
		t.Run(strings.Trim(o.path, "/"), func(t *testing.T) {
			f := newFixture(t)
			want[objects.Category](f, 201, "POST", "/categories", `{"name":"General"}`)
			before := f.head()
			want[admin.WhatIf](f, 200, "POST", o.path+"?what_if=true", o.create)
			if f.head() != before {
				t.Fatal("asking what if wrote something")
			}
			made := want[map[string]any](f, 201, "POST", o.path, o.create, admin.KeyHeader, "make")
			again := want[map[string]any](f, 201, "POST", o.path, o.create, admin.KeyHeader, "make")
			if f.head() != before+1 || fmt.Sprint(made) != fmt.Sprint(again) {
				t.Fatalf("made twice: %v, then %v", made, again)
			}
			f.refusedOneOf("POST", o.path, o.create)
			if o.one == "" {
				o.one, o.removed = fmt.Sprint(made["token"]), fmt.Sprint(made["token"])
			}
			at := o.path + "/" + o.one
			if got := want[map[string]any](f, 200, "GET", at, ""); fmt.Sprint(got) != fmt.Sprint(made) {
				t.Errorf("GET: %v, made: %v", got, made)
			}
			found := false
			for _, x := range want[[]map[string]any](f, 200, "GET", o.path, "") {
				found = found || x[o.key] == made[o.key]
			}
			if !found {
				t.Error("it is not in the list")
			}
			if got := want[[]map[string]any](f, 200, "GET", o.path+"?result_size=0", ""); len(got) != 0 {
				t.Errorf("at most none: %v", got)
			}
			if o.change != "" {
				at = f.changeTwice(t, o.path, at, o.change, o.changed, fmt.Sprint(made[o.key]))
			}
			want[admin.WhatIf](f, 200, "DELETE", at+"?what_if=true", "")
			one := want[admin.Removed](f, 200, "DELETE", at, "", admin.KeyHeader, "remove")
			head := f.head()
			two := want[admin.Removed](f, 200, "DELETE", at, "", admin.KeyHeader, "remove")
			if one.Removed != o.removed || one.Offset != head || two.Offset != head || f.head() != head {
				t.Errorf("removed %+v, then %+v, at %d", one, two, f.head())
			}
			f.refused(404, chat.CodeNotFound, "DELETE", at, "")
			f.refused(404, chat.CodeNotFound, "GET", at, "")
		})
	}
}

// changeTwice changes an object, sends the change again, and returns where it is then.
func (f *fixture) changeTwice(t *testing.T, path, at, change, changed, id string) string {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(change), &body); err != nil {
		t.Fatal(err)
	}
	body["revision"] = 1 // of something else, long ago
	old, _ := json.Marshal(body)
	f.refused(409, chat.CodeConflict, "PATCH", at, string(old))
	body["revision"] = want[map[string]any](f, 200, "GET", at, "")["revision"]
	current, _ := json.Marshal(body)
	head := f.head()
	for range 2 {
		w := f.do("PATCH", at, string(current), admin.KeyHeader, "change")
		if w.Code != 200 || !strings.Contains(w.Body.String(), changed) || f.head() != head+1 {
			t.Errorf("PATCH %s: %d %s, log at %d", at, w.Code, w.Body, f.head())
		}
	}
	f.refused(400, chat.CodeInvalid, "PATCH", path+"/"+id, `{"no_such_field":1}`)
	return path + "/" + id
}

// refusedOneOf asks that something is refused as it is there already.
func (f *fixture) refusedOneOf(method, path, body string) {
	f.t.Helper()
	w := f.do(method, path, body)
	if p := problemIn(f.t, w); path != "/endpoints" && (w.Code != 409 || p.Code != string(chat.CodeConflict)) {
		f.t.Errorf("%s %s again: %d %+v", method, path, w.Code, p)
	}
}

func TestDirectory(t *testing.T) {
	f := newFixture(t)
	f.town()
	want[objects.Unit](f, 201, "POST", "/units", `{"name":"Europe"}`)
	ulm := want[objects.Unit](f, 201, "POST", "/units", `{"name":"Ulm","parent":"OU=Europe"}`)
	if ulm.DistinguishedName != "OU=Ulm,OU=Europe,DC=contoso,DC=test" || !strings.HasPrefix(ulm.Parent, "OU=Europe") {
		t.Errorf("%+v", ulm)
	}
	want[objects.User](f, 200, "PATCH", "/users/alice", `{"unit":"OU=Ulm,OU=Europe","given_name":"Alice"}`)
	staff := want[objects.Group](f, 201, "POST", "/groups", `{"name":"staff","members":{"add":["alice"]}}`)
	all := want[objects.Group](f, 201, "POST", "/groups", `{"name":"all","members":{"add":["staff","bob"]}}`)
	if all.Users != 2 || len(all.Members) != 2 || fmt.Sprint(want[objects.User](f, 200, "GET", "/users/alice", "").MemberOf) != "["+string(staff.Group)+"]" {
		t.Errorf("%+v", all)
	}
	if us := want[[]objects.User](f, 200, "GET", "/users?member_of=all", ""); len(us) != 2 {
		t.Errorf("in all: %+v", us)
	}
	if us := want[[]objects.User](f, 200, "GET", "/users?member_of=OU=Europe", ""); len(us) != 1 || us[0].User != "sip:alice@contoso.test" {
		t.Errorf("in Europe: %+v", us)
	}
	if gs := want[[]objects.Group](f, 200, "GET", "/groups?member=alice", ""); len(gs) != 2 {
		t.Errorf("alice is in %+v", gs)
	}
	// Groups and units stand in lists, by any of their names, and come back as objects when asked.
	c := want[objects.Category](f, 201, "POST", "/categories", `{"name":"Wall","allowed_members":{"add":["staff","OU=Ulm,OU=Europe","domain:contoso.test"]},"denied_members":{"add":["bob"]}}`)
	if len(c.AllowedMembers) != 3 {
		t.Errorf("%+v", c)
	}
	b := f.do("GET", "/categories/Wall?as_object=true", "").Body.String()
	if !strings.Contains(b, `{"principal":"`+string(staff.Group)+`","kind":"group","name":"staff"`) || !strings.Contains(b, `"kind":"domain"`) || !strings.Contains(b, `"distinguished_name":"OU=Ulm,OU=Europe,DC=contoso,DC=test"`) {
		t.Errorf("as objects: %s", b)
	}
	// Every refusal says whom it is about.
	if p := f.refused(404, chat.CodeNotFound, "PATCH", "/categories/Wall", `{"creators":{"add":["nobody"]}}`); p.Principal != "sip:nobody@contoso.test" {
		t.Errorf("%+v", p)
	}
	if p := f.refused(409, chat.CodeConflict, "DELETE", "/groups/staff", ""); p.Rule != "D7" || p.Principal != staff.Group {
		t.Errorf("%+v", p)
	}
	p := problemIn(t, f.do("POST", "/rooms", `{"name":"X","category":"Wall","members":{"add":["bob"]}}`))
	if p.Rule != "R1" || p.Principal != "sip:bob@contoso.test" {
		t.Errorf("%+v", p)
	}
	// A name that means two things is not guessed at.
	want[objects.Group](f, 201, "POST", "/groups", `{"name":"carol"}`)
	f.refused(400, chat.CodeInvalid, "PATCH", "/groups/all", `{"members":{"add":["carol"]}}`)
	g := want[objects.Group](f, 200, "PATCH", "/groups/all", `{"members":{"add":["sip:carol@contoso.test"],"remove":["staff"]}}`)
	if fmt.Sprint(g.Members) != "[sip:bob@contoso.test sip:carol@contoso.test]" {
		t.Errorf("%+v", g)
	}
}

func TestEligible(t *testing.T) {
	f := newFixture(t)
	f.town()
	staff := want[objects.Group](f, 201, "POST", "/groups", `{"name":"staff","members":{"add":["alice","bob"]}}`)
	want[objects.Category](f, 201, "POST", "/categories", `{"name":"Wall","allowed_members":{"add":["staff"]},"denied_members":{"add":["bob"]}}`)
	want[objects.Room](f, 201, "POST", "/rooms", `{"name":"Stage","category":"General","type":"auditorium","members":{"add":["carol","staff"]}}`)
	want[objects.Room](f, 201, "POST", "/rooms", `{"name":"Plain","category":"Wall"}`)
	for q, names := range map[string]string{
		"category=Wall":                  "sip:alice@contoso.test,",
		"room=Plain":                     "sip:alice@contoso.test,",
		"category=Wall&filter=b*":        "",
		"category=General&filter=*o*":    "staff",
		"room=Stage&presenters=true":     "sip:alice@contoso.test,sip:bob@contoso.test,sip:carol@contoso.test",
		"category=General&result_size=1": "",
	} {
		var got []string
		for _, w := range want[[]objects.WhoObject](f, 200, "GET", "/eligible?"+q, "") {
			got = append(got, string(w.Principal))
		}
		list := strings.Join(got, ",")
		switch q {
		case "category=Wall", "room=Plain": // the group as a whole has bob in it, who is denied himself, not the group
			if list != string(staff.Group)+",sip:alice@contoso.test" {
				t.Errorf("%s: %s", q, list)
			}
		case "category=General&filter=*o*":
			if !strings.Contains(list, "sip:bob@") || !strings.Contains(list, "sip:carol@") {
				t.Errorf("%s: %s", q, list)
			}
		case "category=General&result_size=1":
			if len(got) != 1 {
				t.Errorf("%s: %s", q, list)
			}
		case "room=Stage&presenters=true":
			if list != string(staff.Group)+","+names {
				t.Errorf("%s: %s", q, list)
			}
		default:
			if list != names {
				t.Errorf("%s: %s, want %s", q, list, names)
			}
		}
	}
	f.refused(400, chat.CodeInvalid, "GET", "/eligible", "")
	f.refused(400, chat.CodeInvalid, "GET", "/eligible?room=Stage&category=Wall", "")
	if p := f.refused(400, chat.CodeInvalid, "GET", "/eligible?room=Plain&presenters=true", ""); p.Rule != "R6" {
		t.Errorf("%+v", p)
	}
}

func TestScopes(t *testing.T) {
	f := newFixture(t)
	f.town()
	if cs := want[[]objects.Configuration](f, 200, "GET", "/configurations", ""); len(cs) != 1 || cs[0].Identity != "global" || cs[0].DefaultChatHistory != 30 ||
		cs[0].MaxFileSizeKB != 20000 || cs[0].ParticipantUpdateLimit != 75 || cs[0].RoomManagementURL != "" || !cs[0].Effective {
		t.Errorf("defaults: %+v", cs)
	}
	if c := want[objects.Compliance](f, 200, "GET", "/compliance/Global", ""); c.RunInterval != "15m0s" || c.AdapterType != "" || c.OneChatRoomPerOutputFile {
		t.Errorf("defaults: %+v", c)
	}
	if p := want[objects.Policy](f, 200, "GET", "/policies/global", ""); p.EnablePersistentChat {
		t.Errorf("defaults: %+v", p)
	}
	for _, bad := range []string{`{"default_chat_history":0}`, `{"default_chat_history":501}`, `{"room_management_url":"ftp://x"}`, `{"identity":"site:x"}`} {
		f.refused(400, chat.CodeInvalid, "PATCH", "/configurations/global", bad)
	}
	for _, bad := range []string{`{"run_interval":"59s"}`, `{"run_interval":"31.00:00:00"}`, `{"run_interval":"soon"}`} {
		f.refused(400, chat.CodeInvalid, "PATCH", "/compliance/global", bad)
	}
	want[objects.Configuration](f, 200, "PATCH", "/configurations/global", `{"max_file_size_kb":5}`)
	c := want[objects.Configuration](f, 201, "POST", "/configurations", `{"identity":"service:PersistentChatServer:contoso.test","default_chat_history":500}`)
	if c.Identity != "pool:contoso.test" || !c.Effective || c.MaxFileSizeKB != 20000 {
		t.Errorf("of the pool: %+v", c)
	}
	if cs := want[[]objects.Configuration](f, 200, "GET", "/configurations?filter=pool:*", ""); len(cs) != 1 {
		t.Errorf("filtered: %+v", cs)
	}
	want[admin.Removed](f, 200, "DELETE", "/configurations/global", "")
	if c := want[objects.Configuration](f, 200, "GET", "/configurations/global", ""); c.MaxFileSizeKB != 20000 || c.Effective {
		t.Errorf("reset: %+v", c)
	}
	want[admin.PoolInfo](f, 200, "PATCH", "/pool", `{"site":"Ulm"}`)
	want[admin.Removed](f, 200, "DELETE", "/configurations/pool:contoso.test", "")
	if c := want[objects.Configuration](f, 201, "POST", "/configurations", `{"identity":"site:ulm"}`); !c.Effective {
		t.Errorf("of the site: %+v", c)
	}

	// A policy of a user's own.
	want[objects.Policy](f, 201, "POST", "/policies", `{"identity":"sales","enable_persistent_chat":false}`)
	g := want[admin.Granted](f, 200, "POST", "/policies/grant", `{"users":["alice","bob"],"policy":"sales"}`)
	if len(g.Users) != 2 || g.Policy != "user:sales" {
		t.Errorf("%+v", g)
	}
	if u := want[objects.User](f, 200, "GET", "/users/alice", ""); u.Policy != "user:sales" || u.MayChat || !u.EnablePersistentChat {
		t.Errorf("%+v", u)
	}
	if us := want[[]objects.User](f, 200, "GET", "/users?enabled=false", ""); len(us) != 2 {
		t.Errorf("may not chat: %+v", us)
	}
	f.refused(409, chat.CodeConflict, "DELETE", "/policies/sales", "")
	p := f.refused(404, chat.CodeNotFound, "POST", "/policies/grant", `{"users":["carol","nobody","noone"],"policy":"sales"}`)
	if len(p.Rows) != 2 || p.Rows[0].Line != 2 {
		t.Errorf("all of them or none: %+v", p)
	}
	want[admin.Granted](f, 200, "POST", "/policies/grant", `{"users":["alice"],"policy":null}`)
	want[admin.Removed](f, 200, "DELETE", "/policies/sales?force=true", "")
	if u := want[objects.User](f, 200, "GET", "/users/bob", ""); u.Policy != "" || !u.MayChat {
		t.Errorf("%+v", u)
	}
}

func TestActiveServers(t *testing.T) {
	f := newFixture(t)
	for _, n := range []event.NodeID{"n2", "n3"} {
		f.pool.Nodes = append(f.pool.Nodes, admin.Member{ID: n, State: admin.StateVoter})
		f.pool.Must(t, chat.Origin{By: event.NodePrincipal(n), Node: n, Trusted: true}, &chat.StartNode{Version: "test"})
	}
	if a := want[admin.ActiveServers](f, 200, "GET", "/active-servers", ""); len(a.ActiveServers) != 3 || len(a.IdleServers) != 0 {
		t.Errorf("%+v", a)
	}
	f.refused(409, chat.CodeConflict, "PATCH", "/active-servers", `{"swap":true}`) // nobody would serve
	a := want[admin.ActiveServers](f, 200, "PATCH", "/active-servers", `{"active_servers":{"remove":["n2"]}}`)
	if fmt.Sprint(a) != "{[n1 n3] [n2]}" {
		t.Errorf("%+v", a)
	}
	if a = want[admin.ActiveServers](f, 200, "PATCH", "/active-servers", `{"swap":true}`); fmt.Sprint(a) != "{[n2] [n1 n3]}" {
		t.Errorf("%+v", a)
	}
	f.refused(404, chat.CodeNotFound, "PATCH", "/active-servers", `{"active_servers":{"add":["n9"]}}`)
	f.refused(400, chat.CodeInvalid, "PATCH", "/active-servers", `{}`)
}

func TestRemoveMessages(t *testing.T) {
	f := newFixture(t)
	room := f.talk()
	texts := func(q string) (out []string) {
		for _, l := range strings.Split(strings.TrimSpace(f.do("GET", "/rooms/Lobby/messages"+q, "").Body.String()), "\n") {
			var m admin.Message
			if l != "" && json.Unmarshal([]byte(l), &m) == nil {
				out = append(out, m.Body)
			}
		}
		return out
	}
	if got := texts(""); len(got) != 3 || got[0] != "one" {
		t.Fatalf("%q", got)
	}
	if got := texts("?user_uri=alice&result_size=1"); len(got) != 1 || got[0] != "one" {
		t.Errorf("%q", got)
	}
	if got := texts("?filter=DREI&case_sensitive=true"); got != nil {
		t.Errorf("%q", got)
	}
	w := want[admin.WhatIf](f, 200, "POST", "/rooms/Lobby/messages/remove?what_if=true", `{"filter":"drei","match_clause":"or"}`)
	if len(w.Events) != 1 || strings.Count(string(w.Events[0]), `"message_id"`) != 2 {
		t.Errorf("%s", w.Events)
	}
	r := want[admin.MessagesRemoved](f, 200, "POST", "/rooms/Lobby/messages/remove", `{"user_uri":["bob"]}`, admin.KeyHeader, "k")
	if r.Messages != 1 || r.Offset != f.head() || r.Room != "Lobby" {
		t.Errorf("%+v", r)
	}
	if got := texts("?user_uri=bob"); len(got) != 1 || got[0] != chat.DefaultReplacement {
		t.Errorf("%q", got)
	}
	want[admin.MessagesRemoved](f, 200, "POST", "/rooms/Lobby/messages/remove", `{"filter":"one","replace_message":"gone"}`)
	want[admin.MessagesRemoved](f, 200, "POST", "/rooms/Lobby/messages/remove", `{"filter":"drei","remove":true}`)
	if got := texts(""); fmt.Sprint(got) != "[gone "+chat.DefaultReplacement+"]" {
		t.Errorf("%q", got)
	}
	if r := want[admin.MessagesRemoved](f, 200, "POST", "/rooms/Lobby/messages/remove", `{"filter":"nothing like it"}`); r.Messages != 0 || r.Offset != 0 {
		t.Errorf("%+v", r)
	}
	for _, bad := range []string{`{"match_clause":"some"}`, `{"start_date":"yesterday"}`, `{"remove":true,"replace_message":"x"}`} {
		f.refused(400, chat.CodeInvalid, "POST", "/rooms/Lobby/messages/remove", bad)
	}
	f.refused(404, chat.CodeNotFound, "POST", "/rooms/Nowhere/messages/remove", `{}`)

	f.refused(400, chat.CodeInvalid, "POST", "/rooms/Lobby/clear", `{}`)
	if r := want[admin.MessagesRemoved](f, 200, "POST", "/rooms/Lobby/clear", `{"end_date":"2001-01-01T00:00:00Z"}`); r.Messages != 0 {
		t.Errorf("%+v", r)
	}
	if r := want[admin.MessagesRemoved](f, 200, "POST", "/rooms/"+string(room)+"/clear", fmt.Sprintf(`{"end_date":%q}`, f.pool.Now())); r.Messages != 2 {
		t.Errorf("%+v", r)
	}
	if got := texts(""); got != nil {
		t.Errorf("%q", got)
	}
}

func TestRoomsBySize(t *testing.T) {
	f := newFixture(t)
	room := f.talk()
	o := chat.Origin{By: "sip:alice@contoso.test", Endpoint: "e1", Node: "n1", Incarnation: 1}
	for range 140 {
		f.pool.Must(t, o, &chat.Post{Room: room, Text: strings.Repeat("x", 7900)})
	}
	want[objects.Room](f, 201, "POST", "/rooms", `{"name":"Empty","category":"General"}`)
	for mb, n := range map[string]int{"0": 1, "1": 1, "2": 0} {
		if rs := want[[]objects.Room](f, 200, "GET", "/rooms?chat_content_exceeds_mb="+mb, ""); len(rs) != n {
			t.Errorf("over %s MB: %d rooms, want %d", mb, len(rs), n)
		}
	}
	f.refused(400, chat.CodeInvalid, "GET", "/rooms?chat_content_exceeds_mb=-1", "")
}

func TestQueries(t *testing.T) {
	f := newFixture(t)
	f.town()
	f.refused(400, chat.CodeInvalid, "GET", "/rooms?fitler=x", "")
	f.refused(400, chat.CodeInvalid, "GET", "/rooms?filter=x&filter=y", "")
	f.refused(400, chat.CodeInvalid, "GET", "/rooms?privacy=public", "")
	f.refused(400, chat.CodeInvalid, "GET", "/rooms?search_description=maybe", "")
	f.refused(404, chat.CodeNotFound, "GET", "/rooms?pool=elsewhere.test", "")
	want[[]objects.Room](f, 200, "GET", "/rooms?pool=CONTOSO.test", "")
}

func TestDirectoryImport(t *testing.T) {
	f := newFixture(t)
	f.town()
	b := `{"rows":[{"line":2,"kind":"user","address":"dave","enabled":true,"password":"x","member_of":["staff"]},
		{"line":3,"kind":"group","name":"staff","members":["alice@contoso.test"]},{"line":4,"kind":"ou","name":"Ulm"},
		{"line":5,"kind":"user","address":"alice@contoso.test","unit":"OU=Ulm"}]}`
	d := want[admin.DirectoryImported](f, 200, "POST", "/directory/import?what_if=true", b)
	if d.Rows != 4 || d.Changed == 0 || !d.WhatIf {
		t.Errorf("%+v", d)
	}
	before := f.head()
	if d = want[admin.DirectoryImported](f, 200, "POST", "/directory/import", b); f.head() == before || d.Offset != f.head() {
		t.Errorf("%+v", d)
	}
	g := want[objects.Group](f, 200, "GET", "/groups/staff", "")
	if g.Users != 2 {
		t.Errorf("%+v", g)
	}
	// All or nothing, and all bad rows are told.
	p := f.refused(404, chat.CodeNotFound, "POST", "/directory/import", `{"rows":[{"line":2,"kind":"user","address":"erin@contoso.test"},
		{"line":7,"kind":"group","name":"x","members":["nobody@contoso.test"]},{"line":9,"kind":"user","address":"alice@contoso.test","unit":"OU=Nowhere"}]}`)
	if len(p.Rows) != 2 || p.Rows[0].Line != 7 || p.Rows[1].Line != 9 {
		t.Errorf("%+v", p)
	}
	p = f.refused(400, chat.CodeInvalid, "POST", "/directory/import", `{"rows":[{"line":2,"kind":"user","address":"a b","password":"x"}]}`)
	if len(p.Rows) != 1 || p.Rows[0].Line != 2 {
		t.Errorf("%+v", p)
	}
}
