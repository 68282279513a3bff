package sipfront_test

import (
	"fmt"
	"strconv"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/blocks"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

// followed makes rooms with people in them and returns their URIs: alice is a member of each through a group.
func (p *pool) followed(rooms, people int) (uris []string) {
	p.t.Helper()
	group := event.GroupID("00000000-0000-4000-8000-000000000301")
	all := []event.Principal{event.Principal(aliceURI)}
	for i := range people {
		p.user(fmt.Sprint("f", i), true)
		all = append(all, event.UserPrincipal(fmt.Sprint("f", i, "@", domain)))
	}
	p.must(&chat.CreateGroup{ID: group, Info: event.GroupInfo{Name: "followers"}, Members: all})
	join := &chat.Join{Batch: true}
	for i := range rooms {
		id := event.RoomID(fmt.Sprintf("00000000-0000-4000-8000-0000000005%02d", i))
		p.must(&chat.CreateRoom{ID: id, Info: event.RoomInfo{Name: fmt.Sprint("Room ", i), Description: "Followed", Category: "00000000-0000-4000-8000-000000000001"},
			Access: []event.Access{{Principal: event.GroupPrincipal(group), Role: event.RoleMember}}})
		uris = append(uris, chat.RoomURI(domain, id))
		join.Rooms = append(join.Rooms, id)
	}
	for _, u := range all[1:] {
		if _, err := p.run(chat.Origin{By: u, Endpoint: "e", Node: "n2", Incarnation: 1}, join); err != nil {
			p.t.Fatal(err)
		}
	}
	return uris
}

// TestBJoinIsOneCommit: a sign-in with 24 followed rooms is one command, and one batch of the log.
func TestBJoinIsOneCommit(t *testing.T) {
	s := serve(t, nil)
	rooms := s.followed(24, 10)
	a := s.client("alice")
	commands := s.seen.Load()
	d := a.BJoin(rooms...)
	check(t, a)
	if len(d.Chans) != 24 || len(d.Failed) != 0 || len(d.Users) != 11 {
		t.Errorf("%d rooms, %d failed, %d users", len(d.Chans), len(d.Failed), len(d.Users))
	}
	if got := s.seen.Load() - commands; got != 1 {
		t.Errorf("%d commands", got)
	}
	var at event.Time
	n := 0
	for _, e := range s.ofKind(event.KindJoined) {
		if e.By != event.Principal(aliceURI) {
			continue
		}
		if n++; n > 1 && e.At != at {
			t.Fatal("more than one batch")
		}
		at = e.At
	}
	if n != 24 {
		t.Errorf("%d sessions", n)
	}
}

// BenchmarkBJoin24 is what a sign-in with 24 followed rooms of 50 people each costs in the rules and the codec: decode,
// decide, fold, collect, encode.
func BenchmarkBJoin24(b *testing.B) {
	p := newPool(b)
	uris := p.followed(24, 50)
	d := new(xccos.Data)
	for i, u := range uris {
		d.Rooms = append(d.Rooms, xccos.ChanID{Key: strconv.Itoa(i), Domain: domain, Value: siptest.RoomID(u)})
	}
	body := xccos.AppendClient(nil, 7, xccos.Item{Kind: xccos.Cmd, ID: xccos.CmdBJoin, Data: d})
	origin := chat.Origin{By: event.Principal(aliceURI), Endpoint: "e1", Node: node, Incarnation: 1}
	st := p.State()
	var reply []byte
	for b.Loop() {
		env, err := xccos.Decode(body)
		if err != nil {
			b.Fatal(err)
		}
		cmd := &chat.Join{Batch: true}
		for i := range env.Items[0].Data.Rooms {
			cmd.Rooms = append(cmd.Rooms, env.Items[0].Data.Rooms[i].Room())
		}
		own := st.Clone()
		at := own.At() + 1
		out, err := chat.Decide(own, chat.Request{Origin: origin, Command: cmd}, chat.Env{At: at})
		if err != nil || len(out.Events) != 24 {
			b.Fatal(len(out.Events), err)
		}
		for _, e := range out.Events {
			if err := own.Fold(event.Envelope{Offset: own.Offset() + 1, At: at, Meta: e.Meta, Event: e.Event}, nil); err != nil {
				b.Fatal(err)
			}
		}
		reply = xccos.AppendReply(reply[:0], 1, env, &env.Items[0], 200, xccos.Success, blocks.Join(own, false, cmd.Rooms, nil))
	}
	b.SetBytes(int64(len(reply)))
}
