package raftnode_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/log/event"
	"parley/raftnode"
)

func other(p *testPool, not ...*testNode) *testNode {
	for _, id := range slices.Sorted(func(yield func(event.NodeID) bool) {
		for id := range p.nodes {
			if !yield(id) {
				return
			}
		}
	}) {
		if !slices.Contains(not, p.nodes[id]) {
			return p.nodes[id]
		}
	}
	return nil
}

// Three nodes elect, commit what each of them forwards, lose their leader, and take it back.
func TestPool(t *testing.T) {
	p := newTestPool(t)
	p.form(ids(3)...)
	first := p.leader()
	v := uint64(0)
	post := func(n *testNode, count int) {
		for range count {
			v++
			p.post(n, v)
		}
	}
	for _, n := range p.nodes {
		post(n, 5)
	}
	p.same(v)

	for _, m := range first.Status() {
		want := raftnode.StateVoter
		if m.ID == first.ID() {
			want = raftnode.StateLeader
		}
		if m.State != want || !m.Voter || m.LastContact > testTimers.Silent || m.Index == 0 || m.Addr != p.addrs[m.ID] {
			t.Errorf("status of %s: %+v, want a %s in contact", m.ID, m, want)
		}
	}
	if f := other(p, first); len(f.Down()) != 0 || f.IsLeader() {
		t.Errorf("a follower calls %v down", f.Down())
	}

	p.stop(first.ID())
	second := p.leader()
	post(second, 5)
	post(other(p, second), 5)
	p.same(v)
	eventually(t, "the lost leader counts as down", func() bool { return slices.Equal(second.Down(), []event.NodeID{first.ID()}) })

	p.start(first.ID())
	p.leader()
	post(p.nodes[first.ID()], 5)
	p.same(v)
	eventually(t, "nobody is down", func() bool { return len(p.leader().Down()) == 0 })
}

// A pool of one grows to three and to four, shrinks, and hands the leadership around.
func TestMembership(t *testing.T) {
	p := newTestPool(t)
	p.form("n1")
	p.leader()
	v := uint64(0)
	post := func(n *testNode) { v++; p.post(n, v) }
	post(p.nodes["n1"])
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	// A newcomer that never answers does not take the pool down.
	dead := p.listen("n9")
	dead.Close()
	short, stop := context.WithTimeout(ctx, 400*time.Millisecond)
	if err := p.nodes["n1"].AddVoter(short, "n9", p.addrs["n9"]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("add a node that is not there: %v", err)
	}
	stop()
	post(p.nodes["n1"])
	if err := p.nodes["n1"].Remove(ctx, "n9"); err != nil {
		t.Fatal(err)
	}

	for _, id := range []event.NodeID{"n2", "n3"} {
		p.start(id)
		if err := p.nodes["n1"].AddVoter(ctx, id, p.addrs[id]); err != nil {
			t.Fatal(err)
		}
		p.leader()
		post(p.nodes[id])
	}
	n4 := p.start("n4")
	if err := p.nodes["n1"].AddStandby(ctx, "n4", p.addrs["n4"]); err != nil {
		t.Fatal(err)
	}
	p.leader()
	post(n4)
	p.same(v)
	state := func(id event.NodeID) raftnode.State {
		for _, m := range p.leader().Status() {
			if m.ID == id {
				return m.State
			}
		}
		return ""
	}
	if got := state("n4"); got != raftnode.StateStandby {
		t.Errorf("n4 is %s, want standby", got)
	}
	if err := p.nodes["n1"].Transfer(ctx, "n4"); err == nil {
		t.Error("the leadership went to a standby")
	}
	if err := p.nodes["n2"].Promote(ctx, "n4"); !errors.Is(err, raftnode.ErrNotLeader) {
		t.Errorf("promote on a follower: %v", err)
	}
	if err := p.nodes["n1"].Promote(ctx, "n4"); err != nil {
		t.Fatal(err)
	}
	if err := p.nodes["n1"].Transfer(ctx, "n4"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "n4 leads", func() bool { return p.leader() == n4 })
	for _, n := range p.nodes {
		post(n)
	}
	p.same(v)
	if err := n4.Remove(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	p.stop("n1")
	post(p.nodes["n2"])
	p.same(v)
	if got := len(n4.Status()); got != 3 {
		t.Errorf("%d members after the removal, want 3", got)
	}
}

// A node that is stopped and started finds its log and its place; a pool that is stopped whole comes back whole.
func TestRestart(t *testing.T) {
	p := newTestPool(t)
	p.form(ids(3)...)
	for v := uint64(1); v <= 20; v++ {
		p.post(p.leader(), v)
	}
	for range 2 {
		p.same(20)
		for _, id := range ids(3) {
			p.stop(id)
		}
		for _, id := range ids(3) {
			p.start(id)
		}
		p.leader()
	}
	p.post(other(p, p.leader()), 21)
	p.same(21)
}

// A standby's answer is no proof of leadership, a majority of voters' is.
func TestVerify(t *testing.T) {
	p := newTestPool(t)
	p.form("n1")
	n1 := p.leader()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	verify := func() error {
		_, _, err := n1.Verify().Wait(ctx)
		return err
	}
	if err := verify(); err != nil {
		t.Errorf("alone: %v", err)
	}
	p.start("n2")
	p.start("n3")
	if err := errors.Join(n1.AddVoter(ctx, "n2", p.addrs["n2"]), n1.AddStandby(ctx, "n3", p.addrs["n3"])); err != nil {
		t.Fatal(err)
	}
	if err := verify(); err != nil {
		t.Errorf("with a voter: %v", err)
	}
	if _, _, err := p.nodes["n2"].Verify().Wait(ctx); !errors.Is(err, raftnode.ErrNotLeader) {
		t.Errorf("on a follower: %v", err)
	}
	p.stop("n2")
	// raft's own VerifyLeader says yes here, because the standby answers.
	if err := verify(); err == nil {
		t.Error("confirmed by a standby alone")
	}
	p.start("n2")
	eventually(t, "the pool is back", func() bool {
		l := p.leader()
		_, _, err := l.Verify().Wait(ctx)
		return err == nil
	})
}

// The peer port lets in nodes of the pool and nobody else.
func TestStrangers(t *testing.T) {
	p := newTestPool(t)
	p.form("n1")
	n1 := p.leader()
	addr := p.addrs["n1"]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p.addGhost(n1, "n2")
	listener := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	dial := func(a *authority, to event.NodeID, name string, dns ...string) error {
		server, client := a.identity(name, dns...)
		network := raftnode.TLS(listener(), server, client)
		defer network.Close()
		conn, err := network.Dial(ctx, to, addr, raftnode.ProtocolForward)
		if err != nil {
			return err
		}
		defer conn.Close()
		// In TLS 1.3 the client learns only when it reads that its certificate was refused. A node that is let in
		// hears a sign of life.
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	if err := dial(p.ca, "n1", "n2", "n2"); err != nil {
		t.Errorf("a node of the pool: %v", err)
	}
	if err := dial(p.ca, "n3", "n2", "n2"); err == nil {
		t.Error("n1 was taken for n3")
	}
	if err := dial(p.ca, "n1", "n4", "n4"); err == nil {
		t.Error("a node that is no member was let in")
	}
	if err := dial(p.ca, "n1", "n2", "elsewhere"); err == nil {
		t.Error("a certificate that names no node was let in")
	}
	if err := dial(newAuthority(t), "n1", "n2", "n2"); err == nil {
		t.Error("another authority's node was let in")
	}
	_, client := p.ca.identity("n2", "n2")
	anonymous := client("n1")
	anonymous.Certificates = nil
	anonymous.NextProtos = []string{string(raftnode.ProtocolForward)}
	if conn, err := tls.Dial("tcp", addr, anonymous); err == nil {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a caller without a certificate was let in")
		}
		conn.Close()
	}
}

// TestStandbyReplacesALostVoter: with the vote of the first loss moved on, the pool survives a second one.
func TestStandbyReplacesALostVoter(t *testing.T) {
	p := newTestPool(t)
	p.replaceAfter = 5 * time.Second
	p.form(ids(3)...)
	leader := p.leader()
	p.start("n4")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := leader.AddStandby(ctx, "n4", p.addrs["n4"]); err != nil {
		t.Fatal(err)
	}
	p.post(leader, 1)
	voters := func() string {
		var out []string
		for _, m := range p.leader().Status() {
			if m.Voter {
				out = append(out, string(m.ID))
			}
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	first := event.NodeID("n1")
	if p.nodes[first] == leader {
		first = "n2"
	}
	p.stop(first)
	want := strings.Replace("n1 n2 n3 n4", string(first)+" ", "", 1)
	eventually(t, "the vote of "+string(first)+" is given to n4", func() bool { return voters() == want })

	// A second loss, of a leader even, leaves two of three voters.
	second := event.NodeID("n3")
	if l, _, ok := p.leader().Leader(); ok {
		second = l
	}
	p.stop(second)
	for _, n := range p.nodes {
		p.post(n, 2)
		break
	}
	// Both come back; the first one has no vote any more until it is needed.
	p.start(first)
	p.start(second)
	p.post(p.leader(), 3)
	p.same(3)
}
