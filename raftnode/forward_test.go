package raftnode_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/log/event"
	"parley/raftnode"
	"parley/raftnode/sequencer"
)

// serve decides the numbers of one stream on a lane of the node's sequencer.
func (n *testNode) serve(from event.NodeID) raftnode.Handler {
	lane := n.seq.Lane()
	return func(payload []byte, reply func([]byte, error)) {
		v := binary.BigEndian.Uint64(payload)
		n.mu.Lock()
		n.served = append(n.served, fmt.Sprintf("%s:%d", from, v))
		hook := n.hook
		n.mu.Unlock()
		if hook != nil {
			if err := hook(v); err != nil {
				reply(nil, err)
				return
			}
		}
		lane.Enqueue(v, func(out sequencer.Outcome[struct{}], err error) {
			switch {
			case err == nil:
				reply(fmt.Append(nil, out.Last), nil)
			case errors.Is(err, errTwice):
				reply([]byte(err.Error()), nil)
			case errors.Is(err, sequencer.ErrNotLeader):
				reply(nil, raftnode.ErrNotLeader)
			default:
				reply(nil, err)
			}
		})
	}
}

// setHook has a function called with each number before it is queued. Its error is the answer.
func (n *testNode) setHook(hook func(uint64) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = hook
}

// forward hands a request to the leader, this node or another, on one stream until that fails.
func (n *testNode) forward(payload []byte, done func([]byte, error)) {
	if n.IsLeader() {
		n.serve(n.ID())(payload, done)
		return
	}
	n.mu.Lock()
	if n.stream == nil {
		n.stream = n.Stream(n.Term())
	}
	s := n.stream
	n.mu.Unlock()
	s.Forward(payload, func(b []byte, err error) {
		if err != nil {
			n.mu.Lock()
			if n.stream == s {
				n.stream = nil
			}
			n.mu.Unlock()
		}
		done(b, err)
	})
}

// Requests of one node are served in the order of calls.
func TestForwardOrder(t *testing.T) {
	p := newTestPool(t)
	p.form(ids(3)...)
	leader := p.leader()
	const count = 500
	var wg sync.WaitGroup
	var mu sync.Mutex
	offsets := map[event.NodeID][]uint64{}
	base := map[event.NodeID]uint64{"n1": 10_000, "n2": 20_000, "n3": 30_000}
	for id, n := range p.nodes {
		wg.Add(count)
		go func() {
			for i := range uint64(count) {
				n.forward(binary.BigEndian.AppendUint64(nil, base[id]+i), func(b []byte, err error) {
					defer wg.Done()
					var at uint64
					if _, scan := fmt.Sscan(string(b), &at); err != nil || scan != nil {
						t.Errorf("node %s, request %d: %q, %v", id, i, b, err)
					}
					mu.Lock()
					offsets[id] = append(offsets[id], at)
					mu.Unlock()
				})
			}
		}()
	}
	wg.Wait()
	for id, got := range offsets {
		if !slices.IsSorted(got) || len(got) != count {
			t.Errorf("node %s: %d answers, sorted %v", id, len(got), slices.IsSorted(got))
		}
	}
	next := map[string]uint64{}
	for _, s := range leader.served {
		from, num, _ := strings.Cut(s, ":")
		if want := fmt.Sprint(base[event.NodeID(from)] + next[from]); num != want {
			t.Fatalf("node %s: served %s, want %s", from, num, want)
		}
		next[from]++
	}
}

// Streams to a leader that is gone leave their requests with an unknown outcome, not without an answer.
func TestForwardWithoutLeader(t *testing.T) {
	p := newTestPool(t)
	p.form(ids(2)...)
	leader := p.leader()
	follower := other(p, leader)
	p.post(follower, 1)
	p.stop(leader.ID())
	answers := make(chan error, 200)
	for v := range uint64(200) {
		follower.forward(binary.BigEndian.AppendUint64(nil, 100+v), func(_ []byte, err error) { answers <- err })
	}
	for range 200 {
		select {
		case err := <-answers:
			if !errors.Is(err, raftnode.ErrNoLeader) && !errors.Is(err, raftnode.ErrUnknownOutcome) && !errors.Is(err, raftnode.ErrNotLeader) {
				t.Errorf("answer without a leader: %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a request got no answer")
		}
	}
	eventually(t, "the follower knows no leader", func() bool { _, _, ok := follower.Leader(); return !ok })
	follower.forward(nil, func(_ []byte, err error) { answers <- err })
	if err := <-answers; !errors.Is(err, raftnode.ErrNoLeader) {
		t.Errorf("forward without a leader: %v", err)
	}
	follower.Stream(follower.Term()).Forward(nil, func(_ []byte, err error) { answers <- err })
	if err := <-answers; !errors.Is(err, raftnode.ErrNoLeader) {
		t.Errorf("a stream without a leader: %v", err)
	}
}

// rawPeer speaks the forwarding protocol byte by byte, under a node's name.
type rawPeer struct {
	t       *testing.T
	network raftnode.Network
	addr    string
}

func (p *testPool) rawPeer(name event.NodeID) *rawPeer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	server, client := p.ca.identity(string(name), string(name))
	network := raftnode.TLS(ln, server, client)
	p.t.Cleanup(func() { network.Close() })
	return &rawPeer{t: p.t, network: network, addr: p.addrs["n1"]}
}

// open dials n1 and names the term. Nobody waits for longer than the deadline it sets.
func (r *rawPeer) open(term uint64) net.Conn {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	conn, err := r.network.Dial(ctx, "n1", r.addr, raftnode.ProtocolForward)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, term)); err != nil {
		r.t.Fatal(err)
	}
	return conn
}

// frame is a request; a sign of life if id is 0.
func rawFrame(id, v uint64) []byte {
	if id == 0 {
		return append(binary.BigEndian.AppendUint32(nil, 8+1), make([]byte, 9)...)
	}
	b := binary.BigEndian.AppendUint32(nil, 8+1+8)
	return binary.BigEndian.AppendUint64(append(binary.BigEndian.AppendUint64(b, id), 0), v)
}

// answer reads up to the answer to a request and returns its status.
func rawAnswer(conn net.Conn, id uint64) (status byte, err error) {
	for {
		header := make([]byte, 13)
		if _, err := io.ReadFull(conn, header); err != nil {
			return 0, err
		}
		payload := make([]byte, binary.BigEndian.Uint32(header)-9)
		if _, err := io.ReadFull(conn, payload); err != nil {
			return 0, err
		}
		if binary.BigEndian.Uint64(header[4:]) == id {
			return header[12], nil
		}
	}
}

// A request that comes late, for a term that is over, has no effect, though the node leads again: its caller may have
// been told otherwise by a leader in between.
func TestForwardOfAnEarlierTerm(t *testing.T) {
	p := newTestPool(t)
	p.form("n1")
	n1 := p.leader()
	p.addGhost(n1, "n2")
	p.post(n1, 9)
	peer := p.rawPeer("n2")
	ask := func(term, v uint64) byte {
		t.Helper()
		conn := peer.open(term)
		if _, err := conn.Write(rawFrame(1, v)); err != nil {
			t.Fatal(err)
		}
		status, err := rawAnswer(conn, 1)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if got := ask(n1.Term()-1, 1); got != 1 {
		t.Errorf("status %d for an earlier term, want 1: not the leader", got)
	}
	if got := ask(n1.Term(), 2); got != 0 {
		t.Errorf("status %d for this term, want 0", got)
	}
	if got := p.numbers(n1); got[1] != 0 || got[2] == 0 {
		t.Errorf("the log has %v, want 9 and 2 only", got)
	}
}

// A node that is removed from the pool cannot forward any more, by the stream that it has or by another.
func TestRemovedNodeIsCutOff(t *testing.T) {
	p := newTestPool(t)
	p.form("n1")
	n1 := p.leader()
	p.addGhost(n1, "n2")
	p.addGhost(n1, "n3")
	p.post(n1, 9)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, id := range []event.NodeID{"n2", "n3"} {
		v := uint64(10 * (i + 1))
		peer := p.rawPeer(id)
		conn := peer.open(n1.Term())
		if _, err := conn.Write(rawFrame(1, v)); err != nil {
			t.Fatal(err)
		}
		if status, err := rawAnswer(conn, 1); err != nil || status != 0 {
			t.Fatalf("member %s: status %d, %v", id, status, err)
		}
		if err := n1.Remove(ctx, id); err != nil {
			t.Fatal(err)
		}
		// n2 asks again at once. n3 only shows that it is alive, and is cut off too; silence would cut off anybody.
		next := rawFrame(2, v+1)
		if id == "n3" {
			next = rawFrame(0, 0)
		}
		go func() {
			for {
				if _, err := conn.Write(next); err != nil || id == "n2" {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		status, err := rawAnswer(conn, 2)
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s was removed and is connected still: status %d, %v", id, status, err)
		}
		again := peer.open(n1.Term())
		_, _ = again.Write(rawFrame(1, v+2)) // the stream may be closed already
		if status, err := rawAnswer(again, 1); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s was removed and has connected again: status %d, %v", id, status, err)
		}
		if got := p.numbers(n1); got[v] == 0 || got[v+1] != 0 || got[v+2] != 0 {
			t.Errorf("the log has %v, want %d of %s and nothing later", got, v, id)
		}
	}
}

// addGhost makes a node a member that is not there.
func (p *testPool) addGhost(leader *testNode, id event.NodeID) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	if err := leader.AddStandby(ctx, id, "127.0.0.1:"+string(id[1:])); err != nil {
		p.t.Fatal(err)
	}
}

// A stream is served when nothing comes from the last one of the same node any more.
func TestStreamsTakeTurns(t *testing.T) {
	p := newTestPool(t)
	p.form(ids(2)...)
	leader := p.leader()
	follower := other(p, leader)
	p.post(follower, 1)
	held, release := make(chan struct{}), make(chan struct{})
	leader.setHook(func(v uint64) error {
		if v == 2 {
			close(held)
			<-release
		}
		return nil
	})
	let := sync.OnceFunc(func() { close(release) })
	defer let()
	answers := make(chan error, 3)
	answer := func(_ []byte, err error) { answers <- err }
	number := func(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
	first := follower.Stream(follower.Term())
	first.Forward(number(2), answer)
	<-held
	second := follower.Stream(follower.Term()) // ends the first
	second.Forward(number(3), answer)
	if err := <-answers; !errors.Is(err, raftnode.ErrUnknownOutcome) {
		t.Errorf("a request on a stream that ended: %v, want an unknown outcome", err)
	}
	first.Forward(number(4), answer)
	if err := <-answers; !errors.Is(err, raftnode.ErrNoLeader) {
		t.Errorf("a request on a stream that has ended: %v, want no effect", err)
	}
	time.Sleep(200 * time.Millisecond) // time for it to be served too early
	leader.mu.Lock()
	early := slices.Contains(leader.served, string(follower.ID())+":3")
	leader.mu.Unlock()
	if early {
		t.Error("the second stream was served while a request of the first was")
	}
	let()
	if err := <-answers; err != nil {
		t.Errorf("a request on the second stream: %v", err)
	}
	if got := p.numbers(leader); got[2] == 0 || got[3] < got[2] || got[4] != 0 {
		t.Errorf("the log has %v, want 2 before 3, and no 4", got)
	}
}

// The class of a refusal travels. A busy leader is no reason to end the stream.
func TestForwardedErrors(t *testing.T) {
	p := newTestPool(t)
	p.form(ids(2)...)
	leader := p.leader()
	follower := other(p, leader)
	p.post(follower, 1)
	classes := map[uint64]error{10: raftnode.ErrBusy, 11: raftnode.ErrNotLeader, 12: raftnode.ErrUnknownOutcome, 13: errors.New("another")}
	leader.setHook(func(v uint64) error { return classes[v] })
	defer leader.setHook(nil)
	s := follower.Stream(follower.Term())
	ask := func(s *raftnode.Stream, v uint64) error {
		answer := make(chan error, 1)
		s.Forward(binary.BigEndian.AppendUint64(nil, v), func(_ []byte, err error) { answer <- err })
		return <-answer
	}
	for v, want := range map[uint64]error{10: raftnode.ErrBusy, 11: raftnode.ErrNotLeader, 12: raftnode.ErrUnknownOutcome, 13: raftnode.ErrUnknownOutcome, 14: nil} {
		if err := ask(s, v); !errors.Is(err, want) || (want == nil && err != nil) {
			t.Errorf("request %d: %v, want %v", v, err, want)
		}
	}
	for what, s := range map[string]*raftnode.Stream{"an earlier term": follower.Stream(follower.Term() - 1), "oneself": leader.Stream(leader.Term())} {
		if err := ask(s, 20); !errors.Is(err, raftnode.ErrNoLeader) {
			t.Errorf("stream to the leader of %s: %v", what, err)
		}
	}
	if err := ask(s, 15); err != nil {
		t.Errorf("a stream that was never opened has ended another: %v", err)
	}
}
