package sipfront_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

// say posts as bob, who is in the room by bobJoins and has no connection here.
func (p *pool) say(room, text string) {
	p.t.Helper()
	_, id, _ := chat.ParseRoomURI(room)
	if _, err := p.run(chat.Origin{By: event.UserPrincipal("bob@" + domain), Endpoint: "far", Node: node, Incarnation: 1}, &chat.Post{Room: id, Text: text}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pool) bobJoins(room string) {
	p.t.Helper()
	_, id, _ := chat.ParseRoomURI(room)
	if _, err := p.run(chat.Origin{By: event.UserPrincipal("bob@" + domain), Endpoint: "far", Node: node, Incarnation: 1}, &chat.Join{Rooms: []event.RoomID{id}}); err != nil {
		p.t.Fatal(err)
	}
}

// TestCatchUp: a client that missed 1,000 messages reads them all, a page at a time, each once and in order, while others
// go on talking; and with what it hears live nothing is missing and nothing is there twice.
func TestCatchUp(t *testing.T) {
	s := serve(t, nil)
	s.bobJoins(lobby)
	const missed = 1000
	text := strings.Repeat("x", 300) // together more than twice what one reply holds
	s.say(lobby, "seen")
	for i := range missed {
		s.say(lobby, fmt.Sprint(i, " ", text))
	}
	a := s.client("alice")
	a.Join(lobby) // live from here on
	s.say(lobby, "meanwhile")
	var got []xccos.Post
	pages := 0
	for next := uint64(2); next != 0 && a.Err() == nil; pages++ {
		var page []xccos.Post
		page, next = a.HistoryFrom(lobby, next, 500)
		got = append(got, page...)
		if pages == 0 {
			s.say(lobby, "later")
		}
	}
	check(t, a)
	if pages < 3 {
		t.Errorf("%d pages", pages)
	}
	want := missed + 2
	if len(got) != want {
		t.Fatalf("%d messages, want %d", len(got), want)
	}
	for i, p := range got {
		if p.ChatID != uint64(i+2) || i < missed && p.Text != fmt.Sprint(i, " ", text) {
			t.Fatalf("message %d is %d %.20q", i, p.ChatID, p.Text)
		}
	}
	if live := a.WaitPosts(2); len(live) != 2 || live[0].ChatID != missed+2 || live[1].ChatID != missed+3 {
		t.Errorf("live: %+v", live)
	}
	if n := len(s.ofKind(event.KindHistoryRead)); n != pages {
		t.Errorf("%d reads in the log, %d pages", n, pages)
	}
}

// TestPages: what a page holds, and where the next one begins.
func TestPages(t *testing.T) {
	s := serve(t, nil)
	s.bobJoins(lobby)
	for i := range 40 {
		s.say(lobby, fmt.Sprint(i+1, " ", strings.Repeat("y", 7900)))
	}
	a := s.client("alice")
	ask := func(id string, q *xccos.BCQ) string {
		t.Helper()
		it := a.Command(id, &xccos.Data{Chans: []xccos.ChanIB{{URI: lobby}}, Context: q})
		check(t, a)
		if it.Code != 200 || len(it.Data.Chans) != 1 {
			t.Fatalf("%+v", it)
		}
		c := it.Data.Chans[0]
		out := ""
		if n := len(c.Posts); n > 0 {
			out = fmt.Sprintf("%d..%d", c.Posts[0].ChatID, c.Posts[n-1].ChatID)
		}
		if c.Exceeded {
			out += fmt.Sprintf(" then %d", it.Data.Context.MsgID.ID)
		}
		return out
	}
	from := func(id uint64, n uint32) *xccos.BCQ {
		return &xccos.BCQ{MsgID: &xccos.MsgID{ID: id}, Limit: &xccos.Count{N: n}}
	}
	back := from(20, 5)
	back.NewestFirst = true
	turned := from(20, 5)
	turned.NewestFirst, turned.ReturnNewest = true, true
	first := from(3, 100)
	first.NewestFirst = true
	for _, c := range []struct {
		name, id string
		q        *xccos.BCQ
		want     string
	}{
		{"the end, as much as fits", xccos.CmdBCContext, &xccos.BCQ{Last: &xccos.Count{N: 40}}, "26..40 then 25"},
		{"the end", xccos.CmdBCContext, &xccos.BCQ{Last: &xccos.Count{N: 3}}, "38..40"},
		{"from the first", xccos.CmdBCByMsg, from(1, 5), "1..5 then 6"},
		{"from nothing", xccos.CmdBCByMsg, from(0, 2), "1..2 then 3"},
		{"as much as fits", xccos.CmdBCByMsg, from(6, 100), "6..20 then 21"},
		{"to the end", xccos.CmdBCByMsg, from(36, 100), "36..40"},
		{"the last", xccos.CmdBCByMsg, from(40, 100), "40..40"},
		{"behind the end", xccos.CmdBCByMsg, from(41, 100), ""},
		{"far behind", xccos.CmdBCByMsg, from(1<<63, 100), ""},
		{"backwards", xccos.CmdBCByMsg, back, "16..20 then 15"},
		{"backwards, newest first", xccos.CmdBCByMsg, turned, "20..16 then 15"},
		{"backwards to the first", xccos.CmdBCByMsg, first, "1..3"},
	} {
		if got := ask(c.id, c.q); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if it := a.Command(xccos.CmdBCByMsg, &xccos.Data{Chans: []xccos.ChanIB{{URI: board}}, Context: from(1, 1)}); it == nil || it.Code != 404 {
		t.Errorf("a secret room: %+v", it)
	}
}

// TestCatchUpAfterSlow: a client that is closed because it does not read comes back and reads what it missed.
func TestCatchUpAfterSlow(t *testing.T) {
	s := serve(t, nil)
	s.bobJoins(lobby)
	a := s.client("alice")
	a.Join(lobby)
	s.say(lobby, "1")
	a.Expect(lobby, "1")
	check(t, a)
	a.StopReading()
	text := strings.Repeat("z", 7000)
	n := 1
	for s.joined(lobby, "alice") {
		if n++; n > 3000 {
			t.Fatal("alice is still connected")
		}
		s.say(lobby, fmt.Sprint(n, " ", text))
	}
	a.Close()
	again := s.client("alice", func(o *siptest.Options) { o.Pool = poolURI })
	again.Join(lobby)
	got := again.CatchUp(lobby, 2)
	check(t, again)
	if len(got) != n-1 {
		t.Fatalf("%d messages, want %d", len(got), n-1)
	}
	for i, p := range got {
		if p.ChatID != uint64(i+2) {
			t.Fatalf("message %d is %d", i, p.ChatID)
		}
	}
}

// TestLostRight: a right that was taken away does not come back with a request that is sent again, nor with one that was
// on its way.
func TestLostRight(t *testing.T) {
	s := serve(t, nil)
	s.bobJoins(ops)
	s.say(ops, "secret")
	s.creators("sip:bob@contoso.test")
	bob := s.client("bob", epid("e1"))
	again := func(env uint64, id string, d *xccos.Data) *xccos.Item {
		t.Helper()
		if m := bob.InDialog("INFO", nil, xccos.AppendClient(nil, env, xccos.Item{Kind: xccos.Cmd, ID: id, Data: d})); m == nil || m.Status() != 200 {
			t.Fatalf("%v", m)
		}
		it := bob.ReplyTo(env)
		check(t, bob)
		return it
	}
	read := func(env uint64) *xccos.Item {
		return again(env, xccos.CmdBCContext, &xccos.Data{Chans: []xccos.ChanIB{{URI: ops}}, Context: &xccos.BCQ{Last: &xccos.Count{N: 9}}})
	}
	create := func() *xccos.Item {
		return again(70, xccos.CmdChanCreate, room(xccos.ChanIB{Name: "Dry Dock", Parent: general, Info: []xccos.Prop{{ID: xccos.InfoVisibility, Value: xccos.VisibilityPrivate}}}))
	}
	for range 2 {
		if it := read(71); it.Code != 200 || len(it.Data.Chans[0].Posts) != 1 {
			t.Fatalf("%+v", it)
		}
		if it := create(); it.Code != 200 || it.Data.Chans[0].Name != "Dry Dock" {
			t.Fatalf("%+v", it)
		}
	}
	r, _ := s.State().RoomByName("Dry Dock")
	s.must(&chat.ChangeRoom{ID: r.ID, Info: r.Info, Access: []event.Access{{Principal: bobURI}}})
	if it := create(); it.Code != 200 || it.Data.Chans[0].Name != "" {
		t.Errorf("a secret room: %+v", it.Data.Chans[0])
	}
	slow := make(chan struct{})
	s.mu.Lock()
	s.slow = slow
	s.mu.Unlock()
	done := make(chan *xccos.Item)
	go func() { done <- read(72) }()
	eventually(t, "decided", func() bool { return len(s.ofKind(event.KindHistoryRead)) == 2 })
	info, _ := s.State().Room(s.id(ops))
	s.must(&chat.ChangeRoom{ID: s.id(ops), Info: info.Info, Access: []event.Access{{Principal: bobURI}}})
	s.mu.Lock()
	s.slow = nil
	s.mu.Unlock()
	close(slow)
	if it := <-done; it.Code != 403 {
		t.Errorf("a read on its way: %+v", it)
	}
	if it := read(71); it.Code != 403 {
		t.Errorf("a read that is repeated: %+v", it)
	}
}
