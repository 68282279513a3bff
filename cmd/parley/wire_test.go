package main

import (
	"fmt"
	"testing"
	"time"

	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

// overTheWire asks a running pool what needs its indexes and its history, and changes what clients are told of: the pieces
// are tested where they are, this is that they fit.
func overTheWire(t *testing.T, dir string, nodes []nodeLine) {
	t.Helper()
	client := func(user string, n nodeLine) *siptest.Client {
		c := siptest.Dial(siptest.Options{Addr: n.SIP, User: user + "@contoso.test", Password: "parley", Timeout: 2 * time.Minute}).SignIn()
		t.Cleanup(c.Close)
		return c
	}
	alice, bob := client("alice", nodes[0]), client("bob", nodes[2])
	ask := func(c *siptest.Client, id string, d *xccos.Data) *xccos.Data {
		t.Helper()
		it := c.Command(id, d)
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
		if it.Code != 200 {
			t.Fatalf("%s: %d %s", id, it.Code, it.Text)
		}
		return it.Data
	}
	uri := func(criteria string) string {
		t.Helper()
		found := ask(bob, xccos.CmdChanSrch, &xccos.Data{Search: &xccos.QIB{Type: xccos.SearchByName, Criteria: criteria}}).Chans
		if len(found) != 1 {
			t.Fatalf("%d rooms for %q", len(found), criteria)
		}
		return found[0].URI
	}
	ops := uri("operat whale")
	alice.Join(ops)
	bob.Join(ops)
	for _, text := range []string{"the tug is late", "the berth is free", "a Tug at the berth"} {
		if st := alice.Post(ops, text); st != 200 {
			t.Fatal(st)
		}
		bob.Expect(ops, text)
	}
	shown := func(d *xccos.Data) (out string) {
		for _, r := range d.Chans {
			for _, p := range r.Posts {
				out += p.Text + "; "
			}
			out += fmt.Sprint(r.Total, " ", r.Exceeded)
		}
		return out
	}
	question := func(q xccos.BCQ) *xccos.Data {
		return &xccos.Data{Chans: []xccos.ChanIB{{URI: ops}}, Context: &q}
	}
	for _, c := range []struct {
		id   string
		q    xccos.BCQ
		want string
	}{
		{xccos.CmdBCSearch, xccos.BCQ{Text: &xccos.TextQuery{Words: "tug"}}, "the tug is late; a Tug at the berth; 2 false"},
		{xccos.CmdBCSearch, xccos.BCQ{Text: &xccos.TextQuery{Words: "tug", MatchCase: true}}, "the tug is late; 1 false"},
		{xccos.CmdBCSearch, xccos.BCQ{Text: &xccos.TextQuery{Words: "the berth", Exact: true}, NewestFirst: true, ReturnNewest: true}, "a Tug at the berth; the berth is free; 2 false"},
		{xccos.CmdBCSearch, xccos.BCQ{Authors: []xccos.Author{{URI: "sip:alice@contoso.test"}}, Limit: &xccos.Count{N: 1}}, "the tug is late; 3 true"},
		{xccos.CmdBCSearch, xccos.BCQ{Authors: []xccos.Author{{URI: "sip:alice@contoso.test"}}, MsgID: &xccos.MsgID{ID: 2}}, "the berth is free; a Tug at the berth; 3 false"},
		{xccos.CmdBCSearch, xccos.BCQ{Text: &xccos.TextQuery{Words: "tug berth"}, MsgID: &xccos.MsgID{ID: 2}, NewestFirst: true}, "the tug is late; the berth is free; 3 false"},
		{xccos.CmdBCByDate, xccos.BCQ{Date: &xccos.DateRange{From: "2026-01-01"}}, "the tug is late; the berth is free; a Tug at the berth; 0 false"},
		{xccos.CmdBCByDate, xccos.BCQ{Date: &xccos.DateRange{To: "2026-01-01"}}, "0 false"},
	} {
		if got := shown(ask(bob, c.id, question(c.q))); got != c.want {
			t.Errorf("%s %+v: %q, want %q", c.id, c.q, got, c.want)
		}
	}

	// What the administrator says counts on every node.
	parley(t, 0, "--dir", dir, "room", "set", "Operations", "--members-remove", "bob", "--force")
	if st := bob.Post(ops, "let me in"); st != 403 {
		t.Errorf("bob, who is put out, posts: %d", st)
	}
	bob.ExpectNotice(xccos.NtcKick, "bob@contoso.test")
	alice.ExpectNotice(xccos.NtcPart, "bob@contoso.test")
	if it := bob.Command(xccos.CmdBCSearch, question(xccos.BCQ{Text: &xccos.TextQuery{Words: "tug"}})); it == nil || it.Code != 403 {
		t.Errorf("bob, who is put out, searches: %+v %v", it, bob.Err())
	}
	parley(t, 0, "--dir", dir, "room", "set", "Operations", "--members-add", "bob", "--force")
	bob.ExpectInvitation(ops)

	// A room that a user makes.
	parley(t, 0, "--dir", dir, "category", "set", "General", "--creators-add", "bob")
	made := ask(bob, xccos.CmdChanCreate, &xccos.Data{Chans: []xccos.ChanIB{{Name: "Dry Dock", Parent: ask(bob, xccos.CmdNodes, nil).Categories[0].URI,
		Roles: []xccos.Role{{Type: xccos.RoleMember, Users: []xccos.UIB{{URI: "sip:alice@contoso.test"}}}}}}}).Chans[0]
	alice.ExpectInvitation(made.URI)
	alice.Join(made.URI)
	ask(bob, xccos.CmdChanModify, &xccos.Data{Chans: []xccos.ChanIB{{URI: made.URI, Name: "Wet Dock", Revision: made.Revision}}})
	alice.ExpectNoticeOf(xccos.NtcChanModify, made.URI)
	if got := uri("wet"); got != made.URI {
		t.Errorf("the room is found as %s", got)
	}
	for _, c := range []*siptest.Client{alice, bob} {
		if err := c.Err(); err != nil {
			t.Error(err)
		}
		c.Close()
	}
}
