package sim

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/raftnode"
)

// A check that never fails is worth nothing: these simulations break a promise, and must be caught.
func TestChecksCatch(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    Config
		script func(w *World)
		want   []string // any of them
	}{
		{"rules that forget commands", Config{Nodes: 3, forgetful: true}, func(w *World) {
			w.Clients(6, Posts(20))
			w.Weather(5 * time.Second)
		}, []string{"took effect"}},
		{"nodes that send again what the leader was too busy for", Config{Nodes: 3, Queue: 6, hasty: true}, func(w *World) {
			w.Clients(8, Bursts(100, 40))
			w.Weather(2 * time.Second)
		}, []string{"took effect behind it"}},
		{"nodes that send to whoever leads at the moment", Config{Nodes: 3, stray: true}, func(w *World) {
			w.Clients(8, Bursts(100, 40))
			for at := time.Second; at < 12*time.Second; at += time.Second {
				w.At(at, w.Transfer())
			}
		}, []string{"took effect behind it"}},
		{"disks that lie", Config{Nodes: 3, lyingDisks: true}, func(w *World) {
			w.Clients(6, Posts(20))
			for at := time.Second; at < 6*time.Second; at += time.Second {
				w.At(at, w.CrashAll(100))
			}
		}, []string{raftnode.ErrShortLog.Error(), "another node has", "but no node has more", "start n"}},
		{"a pool that cannot come back", Config{Nodes: 3}, func(w *World) {
			w.Clients(2, Posts(5))
			w.At(time.Second, func(w *World) { // two of three never return
				for _, n := range w.nodes[:2] {
					w.fabric.unplug(n.id)
				}
			})
		}, []string{"not done", "did not agree"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			for seed := uint64(1); seed <= 30 && err == nil; seed++ { // one or two do, as a rule
				c.cfg.Seed = seed
				_, err = explore(t, c.cfg, c.script)
			}
			if err == nil {
				t.Fatal("nothing was noticed")
			}
			for _, want := range c.want {
				if strings.Contains(err.Error(), want) {
					return
				}
			}
			t.Errorf("noticed something else: %v", err)
		})
	}
}

// The specification of a room, and the history checker on histories that are right and wrong.
func TestModel(t *testing.T) {
	const here, there = 0, 1
	join := step{kind: opJoin, node: here}
	post := func(message uint64) step { return step{kind: opPost, node: here, message: message} }
	read := func(last uint64) step { return step{kind: opRead, last: last} }
	refused := func(s step) step { s.refused = chat.CodeNotJoined; return s }
	for _, c := range []struct {
		name  string
		steps []step
		legal bool
	}{
		{"join and post", []step{join, post(1), read(1), post(2)}, true},
		{"a message is lost", []step{join, post(1), post(3)}, false},
		{"a message is there twice", []step{join, post(1), post(1)}, false},
		{"a stale read", []step{join, post(1), read(0)}, false},
		{"post without a session", []step{post(1)}, false},
		{"refused with a session", []step{join, refused(post(0))}, false},
		{"refused without", []step{refused(post(0)), join, post(1)}, true},
		{"the node is lost", []step{join, {kind: opLose, node: here}, refused(post(0))}, true},
		{"another node is lost", []step{join, {kind: opLose, node: there}, refused(post(0))}, false},
		{"a session survives its node", []step{join, {kind: opStart, node: here}, post(1)}, false},
		{"part", []step{join, {kind: opPart, node: here}, refused(step{kind: opPart, node: here})}, true},
		{"part without a session", []step{{kind: opPart, node: here}}, false},
	} {
		var r room
		legal := true
		for _, s := range c.steps {
			var ok bool
			if ok, r = r.next(s); !ok {
				legal = false
			}
		}
		if legal != c.legal {
			t.Errorf("%s: legal %v, want %v", c.name, legal, c.legal)
		}
	}
}

func TestLinear(t *testing.T) {
	const room = "r"
	nodes := []*node{{id: "n1"}}
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	build := func() (*history, []event.Envelope) {
		h := &history{seed: 1}
		var log []event.Envelope
		add := func(kind opKind, call, ret int, e event.Event, out chat.Result) {
			o := h.begin(0, kind, room, "n1")
			o.call, o.ret = at(call), at(ret)
			o.out = chat.Outcome{Offset: event.Offset(len(log) + 1), Result: out}
			log = append(log, event.Envelope{Offset: event.Offset(len(log) + 1), Meta: event.Meta{Node: "n1", Command: o.id}, Event: e})
		}
		add(opJoin, 1, 2, &event.Joined{}, chat.Result{})
		add(opPost, 3, 4, &event.Posted{MessageID: 1}, chat.Result{MessageID: 1})
		add(opPost, 5, 6, &event.Posted{MessageID: 2}, chat.Result{MessageID: 2})
		add(opRead, 7, 8, &event.HistoryRead{Last: 2}, chat.Result{Last: 2})
		return h, log
	}
	for _, c := range []struct {
		name   string
		change func(h *history, log []event.Envelope)
		legal  bool
	}{
		{"as it happened", func(*history, []event.Envelope) {}, true},
		{"answers out of time", func(h *history, _ []event.Envelope) { h.ops[1].call, h.ops[1].ret = at(10), at(11) }, false},
		{"a read of the past", func(h *history, log []event.Envelope) {
			log[3].Event = &event.HistoryRead{Last: 1}
		}, false},
		{"the same, concurrent", func(h *history, log []event.Envelope) {
			log[3].Event = &event.HistoryRead{Last: 1}
			h.ops[3].call = at(5)
		}, true},
		{"an outcome nobody learnt", func(h *history, log []event.Envelope) { h.ops[1].ret = time.Time{} }, true},
		{"an outcome nobody learnt that never was", func(h *history, log []event.Envelope) {
			h.ops[1].ret = time.Time{}
			log[1].Command = event.CommandID{}
		}, false}, // the second post is message 2, so there was a first
	} {
		h, log := build()
		c.change(h, log)
		if err := h.linear(log, nodes); (err == nil) != c.legal {
			t.Errorf("%s: %v, want legal %v", c.name, err, c.legal)
		}
	}
}

func TestLedger(t *testing.T) {
	h := &history{seed: 1}
	l := newLedger()
	posted := func(offset event.Offset, o *op) event.Envelope {
		return event.Envelope{Offset: offset, At: event.Time(offset), Index: event.Index(offset), Meta: event.Meta{Command: o.id}, Event: &event.PoolFormed{Domain: "a"}}
	}
	o := h.begin(0, opRead, "r", "n1")
	if err := l.learn(posted(1, o)); err != nil {
		t.Fatal(err)
	}
	if err := l.learn(posted(2, o)); err == nil || !strings.Contains(err.Error(), "again") {
		t.Errorf("a command that took effect twice: %v", err)
	}
	late := posted(2, h.begin(0, opRead, "r", "n1"))
	late.At = 0
	if err := l.learn(late); err == nil {
		t.Error("time ran backwards")
	}
	told := func(kind opKind, at event.Offset) error {
		x := *o
		x.kind, x.ret, x.out.Offset = kind, time.Now(), at
		return l.acked([]*op{&x})
	}
	if err := told(opRead, 1); err != nil {
		t.Errorf("an honest acknowledgement: %v", err)
	}
	if told(opRead, 2) == nil || told(opPost, 1) == nil {
		t.Error("an acknowledgement of what is not there passed")
	}
}

func TestInOrder(t *testing.T) {
	id := func(n byte) event.CommandID { return event.CommandID{n} }
	l := &ledger{seen: map[event.CommandID]event.Offset{id(1): 10, id(2): 20, id(3): 30, id(9): 1}}
	for _, c := range []struct {
		name  string
		sent  []sending
		legal bool
	}{
		{"as sent", []sending{{id(1), 0, 1}, {id(2), 0, 1}, {id(3), 0, 1}}, true},
		{"one without effect", []sending{{id(1), 0, 1}, {id(4), 0, 1}, {id(3), 0, 1}}, true},
		{"changed places", []sending{{id(2), 0, 1}, {id(1), 0, 1}}, false},
		{"changed places around one without effect", []sending{{id(2), 0, 1}, {id(4), 0, 1}, {id(1), 0, 1}}, false},
		{"two dialogs", []sending{{id(2), 0, 1}, {id(1), 0, 2}}, true},
		{"two clients", []sending{{id(2), 0, 1}, {id(1), 1, 1}}, true},
		{"sent again elsewhere", []sending{{id(2), 0, 1}, {id(9), 0, 0}, {id(3), 0, 1}}, true},
	} {
		if err := l.inOrder(c.sent); (err == nil) != c.legal {
			t.Errorf("%s: %v, want legal %v", c.name, err, c.legal)
		}
	}
}

// The network delays, cuts and ends streams as TCP does.
func TestFabric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(nil, 0)
		a, b := f.attach("a"), f.attach("b")
		accepted := make(chan io.ReadWriteCloser, 1)
		go func() {
			c, from, p, err := b.Accept()
			if err != nil || from != "a" || p != raftnode.ProtocolRaft {
				t.Errorf("accept: from %s, %s, %v", from, p, err)
			}
			accepted <- c
		}()
		x, err := a.Dial(t.Context(), "b", "", raftnode.ProtocolRaft)
		if err != nil {
			t.Fatal(err)
		}
		y := <-accepted
		f.sever("a", "b")
		if _, err := x.Write([]byte("hello")); err != nil {
			t.Errorf("write into a cut link: %v", err)
		}
		got := make(chan string, 1)
		go func() {
			buf := make([]byte, 16)
			n, err := y.Read(buf)
			if err != nil {
				t.Error(err)
			}
			got <- string(buf[:n])
		}()
		time.Sleep(time.Minute)
		select {
		case s := <-got:
			t.Errorf("%q came through a cut link", s)
		default:
		}
		if _, err := y.Write([]byte("back")); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 16)
		if n, err := x.Read(buf); err != nil || string(buf[:n]) != "back" {
			t.Errorf("the other direction: %q, %v", buf[:n], err)
		}
		if err := x.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Error(err)
		}
		start := time.Now()
		if _, err := x.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("deadline: %v after %v", err, time.Since(start))
		}
		f.heal()
		if s := <-got; s != "hello" {
			t.Errorf("after the healing: %q", s)
		}
		f.unplug("b")
		if err := x.SetReadDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		if _, err := x.Read(buf); !errors.Is(err, io.EOF) {
			t.Errorf("the other end is gone: %v", err)
		}
		if _, err := a.Dial(t.Context(), "b", "", raftnode.ProtocolRaft); err == nil {
			t.Error("dialled a node that is unplugged")
		}
	})
}

// What was synced survives a power loss, votes included; what was not does not.
func TestDisk(t *testing.T) {
	d := newDisk()
	f, err := d.fs.Create("x", "")
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		if _, err := f.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	write("synced")
	dir, err := d.fs.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), dir.Sync(), d.votes.Set([]byte("k"), []byte("v"))); err != nil {
		t.Fatal(err)
	}
	write("not synced")
	after := d.crash(0, nil)
	if err := d.votes.Set([]byte("k"), []byte("of the dead")); err != nil {
		t.Fatal(err)
	}
	g, err := after.fs.Open("x")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(g)
	if err != nil || string(b) != "synced" {
		t.Errorf("after the crash: %q, %v", b, err)
	}
	if v, err := after.votes.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("vote after the crash: %q, %v", v, err)
	}
}
