package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/archive"
	"parley/webfront/objects"
)

// An archive goes from one pool to another; sent again with its key it is the same import, and another archive with the
// same key is another one.
func TestDataImport(t *testing.T) {
	from := newFixture(t)
	from.talk()
	export := func(f *fixture, query string) string {
		t.Helper()
		w := f.do("GET", "/data/export"+query, "")
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	users, all := export(from, "?level=User"), export(from, "")

	f := newFixture(t)
	f.pool.Advance(time.Hour)
	dry := want[archive.Result](f, 200, "POST", "/data/import?what_if=true", all)
	if !dry.DryRun || dry.Events == 0 || f.head() != 2 {
		t.Errorf("%+v; the log is at %d", dry, f.head())
	}
	one := want[archive.Result](f, 200, "POST", "/data/import", users, admin.KeyHeader, "k")
	if one.Offset != f.head() || one.Events == 0 {
		t.Errorf("%+v", one)
	}
	// What follows takes an account away, so that importing again would bring it back.
	want[admin.Removed](f, 200, "DELETE", "/users/alice", "")
	head := f.head()
	if again := want[archive.Result](f, 200, "POST", "/data/import", users, admin.KeyHeader, "k"); f.head() != head {
		t.Errorf("the same import took effect twice: %+v", again)
	}
	if rest := want[archive.Result](f, 200, "POST", "/data/import", all, admin.KeyHeader, "k"); rest.Events == 0 || f.head() == head {
		t.Errorf("another archive with the same key was swallowed: %+v", rest)
	}
	r := want[objects.Room](f, 200, "GET", "/rooms/Lobby", "")
	if r.LastMessage == 0 {
		t.Errorf("%+v", r)
	}
	for name, b := range map[string]string{"nothing": "", "something else": `{"rows":[]}`, "cut": all[:len(all)/2], "altered": strings.Replace(all, "Lobby", "Hobby", 1)} {
		if p := f.refused(400, chat.CodeInvalid, "POST", "/data/import", b); !strings.Contains(p.Detail, "damaged") {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// The answer to an import that takes long enough to show progress names the nodes that have not shown it, too.
func TestImportsAreConfirmed(t *testing.T) {
	f := newFixture(t, func(o *admin.Options) {
		o.Remote = func(ctx context.Context, m admin.Member, at event.Offset) (admin.NodeStatus, error) {
			return admin.NodeStatus{Applied: at - 1}, nil
		}
	})
	f.pool.Nodes = append(f.pool.Nodes, admin.Member{ID: "n2", State: admin.StateVoter, HTTPS: "x:2"})
	f.town()
	d := want[admin.DirectoryImported](f, 200, "POST", "/directory/import", `{"rows":[{"line":2,"kind":"user","address":"dave"}]}`)
	if !strings.Contains(d.Unconfirmed, "n2 (is at event") {
		t.Errorf("%+v", d)
	}
	lines := f.do("GET", "/data/export?level=user", "").Body.String()
	if r := want[archive.Result](f, 200, "POST", "/data/import", lines); r.Unconfirmed != "" || r.Events != 0 {
		t.Errorf("nothing was changed, and nothing is to be seen elsewhere: %+v", r)
	}
	want[admin.Removed](f, 200, "DELETE", "/users/dave", "")
	if r := want[archive.Result](f, 200, "POST", "/data/import", lines); !strings.Contains(r.Unconfirmed, "n2 (is at event") {
		t.Errorf("%+v", r)
	}
}

// Rows that this package refuses and rows that the rules refuse are told together.
func TestAllBadRows(t *testing.T) {
	f := newFixture(t)
	f.town()
	p := f.refused(400, chat.CodeInvalid, "POST", "/directory/import", `{"rows":[{"line":2,"kind":"user","address":"dave"},{"line":3,"kind":"user","address":"alice","unit":"OU=Nowhere"},
		{"line":4,"kind":"user","address":"a b"},{"line":9,"kind":"group","name":"g","members":["nobody"],"lenient":false}]}`)
	var lines []uint32
	for _, r := range p.Rows {
		lines = append(lines, r.Line)
	}
	if fmt.Sprint(lines) != "[3 4 9]" || !strings.Contains(p.Detail, "3 of 4 rows are bad, nothing was changed; line 3") {
		t.Errorf("%+v", p)
	}
	d := want[admin.DirectoryImported](f, 200, "POST", "/directory/import", `{"rows":[{"line":9,"kind":"group","name":"g","members":["nobody@contoso.test","bob@contoso.test"],"lenient":true}]}`)
	if g := want[objects.Group](f, 200, "GET", "/groups/g", ""); d.Changed == 0 || len(g.Members) != 1 {
		t.Errorf("%+v %+v", d, g)
	}
}

// Stories keep their title in what administrators read and in archives.
func TestStoriesKeepTheirTitle(t *testing.T) {
	f := newFixture(t)
	room := f.talk()
	o := chat.Origin{By: "sip:alice@contoso.test", Endpoint: "e1", Node: "n1", Incarnation: 1}
	f.pool.Must(t, o, &chat.Post{Room: room, Text: "long", Story: true, Title: "Tale"})
	var m admin.Message
	if err := json.Unmarshal(f.do("GET", "/rooms/Lobby/messages?filter=long", "").Body.Bytes(), &m); err != nil || m.Title != "Tale" {
		t.Errorf("%v %+v", err, m)
	}
	if b := f.do("GET", "/data/export?level=content", "").Body.String(); !strings.Contains(b, `"story":true,"title":"Tale","text":"long"`) {
		t.Errorf("%s", b)
	}
}
