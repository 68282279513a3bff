package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/objects"
)

type eventLine struct {
	Offset  uint64         `json:"offset"`
	Kind    string         `json:"kind"`
	By      string         `json:"by"`
	Room    string         `json:"room"`
	Body    string         `json:"body"`
	ID      uint64         `json:"message_id"`
	Problem *admin.Problem `json:"problem"`
}

func lines(t *testing.T, body string) (out []eventLine) {
	t.Helper()
	for _, l := range strings.Split(strings.TrimSpace(body), "\n") {
		if l == "" {
			continue
		}
		var e eventLine
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%v in %s", err, l)
		}
		out = append(out, e)
	}
	return out
}

// talk makes a room in which alice says two things and bob one.
func (f *fixture) talk() event.RoomID {
	f.t.Helper()
	f.town()
	r := want[objects.Room](f, 201, "POST", "/rooms", `{"name":"Lobby","category":"General","privacy":"open"}`)
	for i, m := range []struct{ by, text string }{{"alice", "one"}, {"bob", "zwei\n<drei> & \"vier\""}, {"alice", "drei"}} {
		o := chat.Origin{By: event.Principal("sip:" + m.by + "@contoso.test"), Endpoint: "e1", Node: "n1", Incarnation: 1}
		if i < 2 {
			f.pool.Must(f.t, o, &chat.Join{Rooms: []event.RoomID{r.ID}})
		}
		f.pool.Must(f.t, o, &chat.Post{Room: r.ID, Text: m.text})
	}
	return r.ID
}

func TestLogEvents(t *testing.T) {
	f := newFixture(t)
	room := f.talk()
	all := lines(t, f.do("GET", "/log/events", "").Body.String())
	if len(all) != int(f.head()) {
		t.Fatalf("%d lines, want %d", len(all), f.head())
	}
	for i, e := range all {
		if e.Offset != uint64(i+1) {
			t.Errorf("line %d is event %d", i, e.Offset)
		}
	}
	count := func(q string, want int) []eventLine {
		t.Helper()
		w := f.do("GET", "/log/events"+q, "")
		got := lines(t, w.Body.String())
		if w.Code != 200 || len(got) != want || w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s: %d, %d lines, want %d: %s", q, w.Code, len(got), want, w.Body)
		}
		return got
	}
	posts := count("?kind=posted", 3)
	if posts[1].Body != "zwei\n<drei> & \"vier\"" || posts[1].ID != 2 || posts[1].By != "sip:bob@contoso.test" ||
		posts[1].Room != chat.RoomURI("contoso.test", room) {
		t.Errorf("post: %+v", posts[1])
	}
	count("?kind=posted&kind=joined", 5)
	count("?kind=posted&user=alice@contoso.test", 2)
	count("?kind=posted&user=sip:Alice@contoso.test", 2)
	count("?room=lobby&kind=room_created", 1)
	count("?room=lobby", 6)
	count("?room="+string(room), 6)
	count("?room=ma-chan://contoso.test/"+string(room), 6)
	count("?from=2&to=3", 2)
	count("?from=9999", 0)
	count("?to=9999", int(f.head())+1) // with the record of this question
	for _, q := range []string{"?kind=nonsense", "?from=x", "?from=5&to=4", "?room=ma-chan://x"} {
		f.refused(400, chat.CodeInvalid, "GET", "/log/events"+q, "")
	}
	f.refused(404, chat.CodeNotFound, "GET", "/log/events?room=never", "")

	// A room answers to each name it ever had, with everything that happened in it.
	want[objects.Room](f, 200, "PATCH", "/rooms/Lobby", `{"name":"Hall"}`)
	count("?room=lobby", 7)
	count("?room=hall", 7)
}

func TestLogFollow(t *testing.T) {
	f := newFixture(t)
	room := f.talk()
	srv := httptest.NewServer(f.api)
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+admin.Prefix+"/log/events?follow=true&kind=posted", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req) // the header comes at once, before there is an event
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s := bufio.NewScanner(resp.Body)
	for i := range 3 {
		text := fmt.Sprintf("new %d", i)
		f.pool.Must(t, chat.Origin{By: "sip:bob@contoso.test", Endpoint: "e1", Node: "n1", Incarnation: 1}, &chat.Post{Room: room, Text: text})
		if !s.Scan() {
			t.Fatal(s.Err())
		}
		if got := lines(t, s.Text()); got[0].Body != text {
			t.Errorf("line %d: %s", i, s.Text())
		}
	}
	cancel()
	if s.Scan() {
		t.Errorf("after the end: %s", s.Text())
	}
}

// Whoever follows the log is let go on only while he may: after his token was revoked or has expired, or his role is gone,
// he sees nothing more.
func TestLogFollowEnds(t *testing.T) {
	for name, end := range map[string]struct {
		status int
		happen func(f *fixture, token string)
	}{
		"revoked": {401, func(f *fixture, token string) { want[struct{}](f, 200, "DELETE", "/admin-tokens/"+token, "") }},
		"role": {403, func(f *fixture, _ string) {
			want[admin.Admin](f, 200, "PATCH", "/admins/ann", `{"roles":{"set":["operator"]}}`)
		}},
		"expired": {401, func(f *fixture, _ string) { f.pool.Advance(time.Hour) }}, // and nothing happens in the log
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			room := f.talk()
			expires := f.pool.Now().UTC().Add(30 * time.Minute).Format(time.RFC3339)
			tok := want[admin.Token](f, 201, "POST", "/admin-tokens", fmt.Sprintf(`{"admin":"ann","sha256":%q,"roles":["auditor"],"expires":%q}`, hashOf("ann's"), expires))
			srv := httptest.NewServer(f.api)
			defer srv.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // a stream that does not end must not hang the test
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+admin.Prefix+"/log/events?follow=true&kind=posted", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer ann's")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			bob := chat.Origin{By: "sip:bob@contoso.test", Endpoint: "e1", Node: "n1", Incarnation: 1}
			f.pool.Must(t, bob, &chat.Post{Room: room, Text: "for her"})
			s := bufio.NewScanner(resp.Body)
			if !s.Scan() || lines(t, s.Text())[0].Body != "for her" {
				t.Fatal(s.Text(), s.Err())
			}
			end.happen(f, string(tok.Token))
			if name != "expired" {
				f.pool.Must(t, bob, &chat.Post{Room: room, Text: "not for her"})
			}
			if !s.Scan() {
				t.Fatal(s.Err())
			}
			if got := lines(t, s.Text()); got[0].Problem == nil || got[0].Problem.Status != end.status {
				t.Errorf("she got %s", s.Text())
			}
			if s.Scan() {
				t.Errorf("after the end: %s", s.Text())
			}
		})
	}
}

// brokenLog finds damage from an offset on.
type brokenLog struct {
	admin.Log
	from event.Offset
}

func (l *brokenLog) Read(from event.Offset, n int) ([]event.Envelope, error) {
	if from >= l.from {
		return nil, fmt.Errorf("read event %d: %w", from, event.ErrCorrupt)
	}
	return l.Log.Read(from, min(n, int(l.from-from)))
}

func (l *brokenLog) Verify(ctx context.Context, first, last event.Offset, progress func(done, total event.Offset)) error {
	return errors.Join(l.Log.Verify(ctx, first, last, progress), fmt.Errorf("event %d: %w", l.from, event.ErrCorrupt))
}

func TestLogVerify(t *testing.T) {
	f := newFixture(t)
	f.talk()
	res := want[admin.VerifyResult](f, 200, "GET", "/log/verify", "")
	if !res.OK || res.First != 1 || res.Last != f.head() || res.Chain != f.pool.Log.Head().Chain.String() {
		t.Errorf("whole: %+v", res)
	}
	res = want[admin.VerifyResult](f, 200, "GET", "/log/verify?from=2&to=4", "")
	if !res.OK || res.First != 2 || res.Last != 4 {
		t.Errorf("part: %+v", res)
	}
	f.refused(400, chat.CodeInvalid, "GET", "/log/verify?to=9999", "")
	f.refused(400, chat.CodeInvalid, "GET", "/log/verify?from=9999", "")
	f.refused(400, chat.CodeInvalid, "GET", "/log/verify?from=5&to=4", "")
}

func TestDamage(t *testing.T) {
	f := newFixture(t)
	f.talk()
	broken := &brokenLog{f.pool.Log, 5}
	f.api.Log = broken
	f.refused(500, admin.CodeCorrupt, "GET", "/log/verify", "")
	got := lines(t, f.do("GET", "/log/events", "").Body.String())
	if len(got) != 5 || got[3].Offset != 4 || got[4].Problem == nil || !errors.Is(got[4].Problem, event.ErrCorrupt) {
		t.Errorf("dump of a damaged log: %+v", got)
	}
	broken.from = 1
	f.refused(500, admin.CodeCorrupt, "GET", "/log/events", "")
}

// heldLog keeps readers until they are let go.
type heldLog struct {
	admin.Log
	held    atomic.Bool
	entered chan struct{}
	let     chan struct{}
}

func (l *heldLog) Read(from event.Offset, n int) ([]event.Envelope, error) {
	if l.held.Load() {
		l.entered <- struct{}{}
		<-l.let
	}
	return l.Log.Read(from, n)
}

// Each replay keeps a whole state in memory: beyond two the caller is sent away, without a record, until one has ended.
func TestReplaysAreBounded(t *testing.T) {
	log := &heldLog{entered: make(chan struct{}), let: make(chan struct{})}
	f := newFixture(t, func(o *admin.Options) { log.Log, o.Log = o.Log, log })
	f.talk()
	head := f.head()
	path := func(back int) string { return fmt.Sprintf("/log/state?at=%d", int(head)-back) } // the same question is one record
	log.held.Store(true)
	done := make(chan int)
	for i := range 2 {
		go func() { done <- f.do("GET", path(i), "").Code }()
		<-log.entered
	}
	log.held.Store(false) // for those who come now
	w := f.do("GET", path(2), "")
	if p := problemIn(t, w); w.Code != 503 || w.Header().Get("Retry-After") == "" || p.Code != string(chat.CodeUnavailable) {
		t.Errorf("a third replay: %d %v %+v", w.Code, w.Header(), p)
	}
	if f.kinds("admin_read") != 2 {
		t.Errorf("%d reads are recorded", f.kinds("admin_read"))
	}
	close(log.let)
	for range 2 {
		if code := <-done; code != 200 {
			t.Errorf("a replay that ran: %d", code)
		}
	}
	if w := f.do("GET", path(2), ""); w.Code != 200 {
		t.Errorf("after them: %d %s", w.Code, w.Body)
	}
}

// kinds counts the events of a kind in the log.
func (f *fixture) kinds(kind string) (n int) {
	f.t.Helper()
	run, err := f.pool.Log.Read(1, 10_000)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range run {
		if run[i].Kind().String() == kind {
			n++
		}
	}
	return n
}
