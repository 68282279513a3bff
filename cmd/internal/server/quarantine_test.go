package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"

	"parley/cmd/internal/config"
	"parley/cmd/internal/freeport"
	"parley/cmd/internal/pooldir"
	"parley/log"
	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/ops"
)

// trio is a pool of three nodes in this process.
type trio struct {
	t     *testing.T
	cfg   []config.Config
	nodes []*Node
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	compareWithin = 2500 * time.Millisecond // the log falls quiet here: an offset that was expected may not come
	p, err := pooldir.Init(t.TempDir(), pooldir.Options{Nodes: 3, Domain: "contoso.test", BasePort: freeport.Server.Ports(t, 30) - 10, Demo: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	x := &trio{t: t, nodes: make([]*Node, 3)}
	for _, n := range p.Nodes {
		c, err := n.Load(nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Feeds, c.Scrub = nil, config.Scrub{}
		x.cfg = append(x.cfg, c)
	}
	for i := range x.nodes {
		x.nodes[i] = x.open(i)
	}
	t.Cleanup(func() {
		for i := range x.nodes {
			x.stop(i)
		}
	})
	for i := range x.nodes {
		x.ready(i)
	}
	return x
}

func (x *trio) open(i int) *Node {
	x.t.Helper()
	n, err := Open(x.cfg[i], slog.New(slog.DiscardHandler))
	if err != nil {
		x.t.Fatalf("open node %d: %v", i+1, err)
	}
	return n
}

func (x *trio) ready(i int) {
	x.t.Helper()
	select {
	case <-x.nodes[i].Ready():
	case <-x.nodes[i].Done():
		x.t.Fatalf("node %d ended: %v", i+1, x.nodes[i].Err())
	case <-time.After(2 * time.Minute):
		x.t.Fatalf("node %d is not ready", i+1)
	}
}

func (x *trio) stop(i int) {
	if x.nodes[i] == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := x.nodes[i].Stop(ctx); err != nil {
		x.t.Errorf("stop node %d: %v", i+1, err)
	}
	x.nodes[i] = nil
}

// write commits a change through a node.
func (x *trio) write(i int, name string) {
	x.t.Helper()
	until(x.t, "a change through a node", func() bool {
		ctx, cancel := context.WithTimeout(x.t.Context(), 10*time.Second)
		defer cancel()
		_, err := x.nodes[i].Do(ctx, chat.Request{Origin: chat.Origin{By: "admin:test", Trusted: true},
			Command: &chat.CreateUser{User: event.Principal("sip:" + name + "@contoso.test"), Info: event.UserInfo{Enabled: true}}})
		return err == nil || errors.Is(err, chat.ErrConflict) // of an attempt whose answer was lost
	})
	until(x.t, "the change is everywhere", func() bool {
		for _, n := range x.nodes {
			if n != nil && n.log.Void() == 0 {
				if _, ok := n.rooms.Current().User(event.Principal("sip:" + name + "@contoso.test")); !ok {
					return false
				}
			}
		}
		return true
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// compares has a node compare itself until it ends.
func (n *Node) compares() (differs prometheus.Gauge) {
	differs = prometheus.NewGauge(prometheus.GaugeOpts{Name: "differs"})
	n.differing.Store(&[]event.NodeID{})
	n.wg.Go(func() {
		n.comparing(500*time.Millisecond, differs, prometheus.NewCounter(prometheus.CounterOpts{Name: "compared"}))
	})
	return differs
}

// warned reports whether /readyz of a node says that another one differs. It is ready all the same.
func (n *Node) warned() bool {
	w := httptest.NewRecorder()
	ops.Handler(prometheus.NewRegistry(), n.checks()).ServeHTTP(w, httptest.NewRequest("GET", "/readyz?verbose", nil))
	return w.Code == 200 && strings.Contains(w.Body.String(), "[!]nodes-agree")
}

// quarantined waits until a node has put itself into quarantine, and checks that it stays there.
func (x *trio) quarantined(i int, why string) {
	x.t.Helper()
	select {
	case <-x.nodes[i].Done():
	case <-time.After(2 * time.Minute):
		x.t.Fatal("the node that differs goes on")
	}
	if err := x.nodes[i].Err(); !errors.Is(err, event.ErrCorrupt) || !strings.Contains(err.Error(), "quarantine: the "+why) {
		x.t.Fatal(err)
	}
	x.stop(i)
	if n, err := Open(x.cfg[i], slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "this node is in quarantine: the "+why) {
		if n != nil {
			x.nodes[i] = n
		}
		x.t.Fatalf("it starts again: %v", err)
	}
}

// TestQuarantineState: a node whose room state is not that of the others ends, stays ended, and keeps nobody from going on.
// As its message says, it is well again once its views are gone.
func TestQuarantineState(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three nodes")
	}
	x := newTrio(t)
	x.write(0, "frank")
	gauge := x.nodes[0].compares()
	until(t, "the nodes are compared", func() bool { return compared(t, x.nodes[0], 2) })
	if x.nodes[0].warned() {
		t.Error("the nodes are alike, and a warning says that they are not")
	}
	x.stop(2)
	rot(t, filepath.Join(x.cfg[2].Data, "views"), "sip:frank@", "sip:frack@")
	x.nodes[2] = x.open(2)
	x.ready(2)
	until(t, "a node notices that another one differs", func() bool { return value(t, gauge) == 1 && x.nodes[0].warned() })
	x.nodes[2].compares()
	x.quarantined(2, "room state of n3")
	x.write(0, "grace") // the others go on
	if !x.nodes[0].warned() {
		t.Error("what differed is forgotten because it ended")
	}

	for _, name := range []string{quarantineFile, "views", "search"} {
		if err := os.RemoveAll(filepath.Join(x.cfg[2].Data, name)); err != nil {
			t.Fatal(err)
		}
	}
	x.nodes[2] = x.open(2)
	x.ready(2)
	x.nodes[2].compares()
	until(t, "the node is like the others again", func() bool { return value(t, gauge) == 0 && !x.nodes[0].warned() && compared(t, x.nodes[2], 2) })
	x.write(2, "heidi")
}

// TestQuarantineLog: a node whose log is another one cannot follow: no batch continues it. It is found all the same.
func TestQuarantineLog(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three nodes")
	}
	x := newTrio(t)
	x.write(0, "frank")
	x.stop(2)
	rewrite(t, x.cfg[2].Data, "sip:frank@contoso.test", "sip:frack@contoso.test")
	x.nodes[2] = x.open(2)
	x.write(0, "grace")
	x.nodes[2].compares()
	x.quarantined(2, "log of n3")
	x.write(1, "heidi")
}

// A large state takes longer to hash than an offset is waited for.
func TestLargeStatesAreCompared(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three nodes")
	}
	x := newTrio(t)
	x.write(0, "frank")
	within := compareWithin
	compareWithin = 1200 * time.Millisecond
	hash := stateHash
	stateHash = func(s *chat.State) [32]byte {
		time.Sleep(time.Second)
		return hash(s)
	}
	defer func() { compareWithin, stateHash = within, hash }()
	until(t, "two others are compared", func() bool { return compared(t, x.nodes[0], 2) })
}

// compared reports whether a node's digest is that of so many others now.
func compared(t *testing.T, n *Node, others int) bool {
	t.Helper()
	mine, got, err := n.digests()
	return err == nil && len(got) == others && judge(mine, got).err == nil
}

func value(t *testing.T, g prometheus.Gauge) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(g)
	m, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return m[0].GetMetric()[0].GetGauge().GetValue()
}

// rot changes text in the rows of a stopped node's views.
func rot(t *testing.T, dir, from, to string) {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := db.NewBatch()
	for it.First(); it.Valid(); it.Next() {
		if v := it.Value(); bytes.Contains(v, []byte(from)) && bytes.Contains(it.Key(), []byte(from)) {
			key := bytes.ReplaceAll(bytes.Clone(it.Key()), []byte(from), []byte(to))
			if err := errors.Join(b.Delete(it.Key(), nil), b.Set(key, bytes.ReplaceAll(bytes.Clone(v), []byte(from), []byte(to)), nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if b.Count() == 0 {
		t.Fatalf("no row has %q", from)
	}
	if err := errors.Join(it.Close(), b.Commit(pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

// rewrite gives a stopped node another history: the same entries, with one text changed, sealed again from there on. What
// would remember better, the promise and the views, goes.
func rewrite(t *testing.T, data, from, to string) {
	t.Helper()
	dir := filepath.Join(data, "log")
	old, err := log.Open(dir, log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := log.Open(dir+".new", log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	changed := false
	chain := event.Chain{}
	for i := event.Index(1); i <= old.Head().Index; i++ {
		r, err := old.Record(i)
		if err != nil {
			t.Fatal(err)
		}
		if r.Type == 0 && len(r.Data) > 0 {
			head, bodies, err := event.Split(r.Data)
			if err != nil {
				t.Fatal(err)
			}
			e, err := event.ParseEntry(head, bodies)
			if err != nil {
				t.Fatal(err)
			}
			run, err := e.Envelopes(i)
			if err != nil {
				t.Fatal(err)
			}
			b := event.Batch{Base: e.Base, At: e.At, Prev: chain}
			for _, v := range run {
				if u, ok := v.Event.(*event.UserCreated); ok && string(u.User) == from {
					c := *u
					c.User = event.Principal(to)
					v.Event, changed = &c, true
				}
				b.Events = append(b.Events, event.Draft{Meta: v.Meta, Event: v.Event})
			}
			if r.Data, chain, err = b.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		if err := made.Append([]log.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := made.Commit(old.Head().Index); err != nil {
		t.Fatal(err)
	}
	if !changed || made.Void() > 0 {
		t.Fatal("nothing was rewritten, or wrongly")
	}
	if err := errors.Join(old.Close(), made.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"log", "raft", "views", "search"} {
		if err := os.RemoveAll(filepath.Join(data, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.Rename(dir+".new", dir); err != nil {
		t.Fatal(err)
	}
}

// TestRemember: a node that differed is named until it has been seen to agree.
func TestRemember(t *testing.T) {
	agrees := func(id event.NodeID, state string) admin.Digest { return admin.Digest{Node: id, State: state} }
	for _, c := range []struct {
		before, now []event.NodeID
		answers     []admin.Digest
		want        string
	}{
		{nil, nil, nil, "[]"},
		{nil, []event.NodeID{"n2"}, []admin.Digest{agrees("n2", "x")}, "[n2]"},
		{[]event.NodeID{"n2"}, nil, nil, "[n2]"},                              // it ended
		{[]event.NodeID{"n2"}, nil, []admin.Digest{agrees("n2", "")}, "[n2]"}, // its log is the same, more is not known
		{[]event.NodeID{"n2"}, nil, []admin.Digest{agrees("n2", "x")}, "[]"},  // it is well again
		{[]event.NodeID{"n2"}, []event.NodeID{"n2", "n1"}, []admin.Digest{agrees("n2", "x"), agrees("n1", "y")}, "[n1 n2]"},
	} {
		if got := fmt.Sprint(remember(c.before, c.now, c.answers)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
