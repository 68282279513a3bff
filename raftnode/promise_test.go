package raftnode_test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"parley/log"
	"parley/log/event"
	"parley/raftnode"
)

// A node whose log comes back shorter than it had stored must not vote: it refuses to start.
func TestShortLog(t *testing.T) {
	p := newTestPool(t)
	p.form("n1")
	n := p.leader()
	for v := uint64(1); v <= 3; v++ {
		p.post(n, v)
	}
	dir := filepath.Join(p.dir, "n1", "log")
	old := filepath.Join(p.dir, "old")
	if err := n.log.Checkpoint(old); err != nil {
		t.Fatal(err)
	}
	for v := uint64(4); v <= 6; v++ {
		p.post(n, v)
	}
	p.stop("n1")
	swap := func(from string) {
		t.Helper()
		if err := errors.Join(os.Rename(dir, dir+".aside"), os.Rename(from, dir)); err != nil {
			t.Fatal(err)
		}
	}
	swap(old)
	ln := p.listen("n1")
	_, err := p.open("n1", ln, nil)
	if !errors.Is(err, raftnode.ErrShortLog) || !errors.Is(err, event.ErrCorrupt) {
		t.Fatalf("open with an older log: %v", err)
	}
	if err := os.Rename(dir, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".aside", dir); err != nil {
		t.Fatal(err)
	}
	p.start("n1") // also shows that the refused start has let go of port, log and raft.db
	p.leader()
	p.same(6)
}

// An empty log beside a promise is a lost log, also when the configuration still tells how the pool was formed.
func TestLostLogDoesNotBootstrap(t *testing.T) {
	p := newTestPool(t)
	p.form("n1")
	p.post(p.leader(), 1)
	p.stop("n1")
	if err := os.RemoveAll(filepath.Join(p.dir, "n1", "log")); err != nil {
		t.Fatal(err)
	}
	ln := p.listen("n1")
	if _, err := p.open("n1", ln, []raftnode.Server{{ID: "n1", Addr: p.addrs["n1"]}}); !errors.Is(err, raftnode.ErrShortLog) {
		t.Fatalf("open without the log: %v", err)
	}
}

// A crash between the two writes of the first start leaves a term and no entry. The next start completes it.
func TestBootstrapTwice(t *testing.T) {
	p := newTestPool(t)
	dir := filepath.Join(p.dir, "n1")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ln := p.listen("n1")
	servers := []raftnode.Server{{ID: "n1", Addr: p.addrs["n1"]}}
	network := raftnode.TLS(ln, serverOf(p), nil)
	// The log refuses the entry: it is read-only.
	full, err := log.Open(filepath.Join(dir, "log"), log.Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(filepath.Join(dir, "log"), log.Options{CacheBytes: 1 << 20, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raftnode.Open(raftnode.Config{ID: "n1", Dir: dir, Network: network, Advertise: p.addrs["n1"], Bootstrap: servers, Log: l,
		Fatal: func(error) {}}); !errors.Is(err, log.ErrReadOnly) {
		t.Fatalf("open on a read-only log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := raftboltdb.NewBoltStore(filepath.Join(dir, "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get([]byte("CurrentTerm")); err != nil {
		t.Errorf("the first start left no term: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	p.form("n1")
	p.post(p.leader(), 1)
	p.same(1)
}

// A pool without a usable list of founders is refused.
func TestBadBootstrap(t *testing.T) {
	p := newTestPool(t)
	for _, servers := range [][]raftnode.Server{
		{{ID: "n1", Addr: "a:1", Standby: true}},
		{{ID: "n1", Addr: "a:1"}, {ID: "n1", Addr: "a:2"}},
		{{ID: "n1", Addr: "a:1"}, {ID: "n2", Addr: "a:1"}},
		{{ID: "n1"}},
	} {
		if _, err := p.open("n1", p.listen("n1"), servers); err == nil {
			t.Errorf("founders %+v were taken", servers)
		}
	}
}

func serverOf(p *testPool) *tls.Config {
	server, _ := p.ca.identity("n1", "n1")
	return server
}
