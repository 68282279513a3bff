package raftnode_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"parley/log"
	"parley/log/event"
	"parley/raftnode"
	"parley/raftnode/sequencer"
)

// authority makes certificates for a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t}
	tmpl := &x509.Certificate{Subject: pkix.Name{CommonName: "test pool"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = a.sign(tmpl)
	return a
}

func (a *authority) sign(tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl.SerialNumber = big.NewInt(time.Now().UnixNano())
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// identity is the TLS material of the node named.
func (a *authority) identity(name string, dns ...string) (server *tls.Config, client func(event.NodeID) *tls.Config) {
	cert, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: dns,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	pair := tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	server = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots}
	client = func(to event.NodeID) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: string(to)}
	}
	return server, client
}

// testTimers keep a leader on a machine that has no time for it for 1.5 s: the tests rely on one that nobody
// stops. They run beside each other, because what they do is to wait for elections.
var testTimers = raftnode.Timers{Heartbeat: 1500 * time.Millisecond, Election: 1500 * time.Millisecond, Lease: 1500 * time.Millisecond,
	RPC: 10 * time.Second, Silent: 3 * time.Second}

// testPool is a pool of real nodes on loopback.
type testPool struct {
	t     *testing.T
	ca    *authority
	dir   string
	addrs map[event.NodeID]string
	nodes map[event.NodeID]*testNode

	replaceAfter time.Duration
}

// testNode is a node whose sequencer turns numbers into posts. It refuses a number that is in the log already.
type testNode struct {
	*raftnode.Node
	log *log.Log
	seq *sequencer.Sequencer[uint64, struct{}]

	mu     sync.Mutex
	served []string
	fatal  error
	stream *raftnode.Stream   // see forward
	hook   func(uint64) error // see setHook
}

func newTestPool(t *testing.T) *testPool {
	t.Parallel()
	return &testPool{t: t, ca: newAuthority(t), dir: t.TempDir(), addrs: map[event.NodeID]string{}, nodes: map[event.NodeID]*testNode{}}
}

// addr reserves a loopback address for a node: its listener is open from now until the node starts on it.
func (p *testPool) listen(id event.NodeID) net.Listener {
	addr := p.addrs[id]
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var ln net.Listener
	var err error
	// While a node is stopped the kernel may give its port to somebody else's connection, for a moment.
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if ln, err = net.Listen("tcp", addr); err == nil {
			break
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			p.t.Fatal(err)
		}
	}
	p.addrs[id] = ln.Addr().String()
	return ln
}

func ids(n int) []event.NodeID {
	var out []event.NodeID
	for i := 1; i <= n; i++ {
		out = append(out, event.NodeID(fmt.Sprintf("n%d", i)))
	}
	return out
}

// form starts the founders of a pool.
func (p *testPool) form(founders ...event.NodeID) {
	p.t.Helper()
	listeners := map[event.NodeID]net.Listener{}
	var servers []raftnode.Server
	for _, id := range founders {
		listeners[id] = p.listen(id)
		servers = append(servers, raftnode.Server{ID: id, Addr: p.addrs[id]})
	}
	for _, id := range founders {
		p.startOn(id, listeners[id], servers)
	}
	p.t.Cleanup(p.stopAll)
}

func (p *testPool) start(id event.NodeID) *testNode { return p.startOn(id, p.listen(id), nil) }

func (p *testPool) startOn(id event.NodeID, ln net.Listener, servers []raftnode.Server) *testNode {
	p.t.Helper()
	n, err := p.open(id, ln, servers)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

type testDecider struct{ seen map[uint64]bool }

var errTwice = errors.New("number is in the log already")

func (d *testDecider) Decide(v uint64, _ event.Time) ([]event.Draft, struct{}, error) {
	if d.seen[v] {
		return nil, struct{}{}, errTwice
	}
	return []event.Draft{{Event: &event.Posted{MessageID: v}}}, struct{}{}, nil
}

func (d *testDecider) Fold(e event.Envelope) error {
	d.seen[e.Event.(*event.Posted).MessageID] = true
	return nil
}

func (p *testPool) open(id event.NodeID, ln net.Listener, servers []raftnode.Server) (*testNode, error) {
	dir := filepath.Join(p.dir, string(id))
	l, err := log.Open(filepath.Join(dir, "log"), log.Options{CacheBytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	n := &testNode{log: l}
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(p.t.Output(), nil))
	}
	server, client := p.ca.identity(string(id), string(id))
	cfg := raftnode.Config{ID: id, Dir: dir, Network: raftnode.TLS(ln, server, client), Advertise: ln.Addr().String(), Bootstrap: servers,
		Log: l, Logger: logger, Timers: testTimers, StoreDeadline: 2 * time.Minute, ReplaceAfter: p.replaceAfter,
		OnLead: func(ctx context.Context) {
			if err := n.seq.Lead(ctx); err != nil {
				logger.Warn("Lead", "node", id, "error", err)
			}
		},
		Serve: n.serve,
		Fatal: func(err error) {
			n.mu.Lock()
			n.fatal = err
			n.mu.Unlock()
		},
	}
	n.seq = sequencer.New(sequencer.Config[uint64, struct{}]{
		Proposer: lateProposer{n},
		Now:      func() event.Time { return event.Time(time.Now().UnixNano()) },
		Logger:   logger,
		Open: func(context.Context) (sequencer.Decider[uint64, struct{}], sequencer.Head, error) {
			d := &testDecider{seen: map[uint64]bool{}}
			for v := range p.numbers(n) {
				d.seen[v] = true
			}
			h := l.Head()
			return d, sequencer.Head{Offset: h.Offset, Chain: h.Chain, At: h.At}, nil
		},
	})
	node, err := raftnode.Open(cfg)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	n.mu.Lock()
	n.Node = node
	n.mu.Unlock()
	p.nodes[id] = n
	return n, nil
}

// lateProposer is the node, which is not there yet when its sequencer is made.
type lateProposer struct{ n *testNode }

func (p lateProposer) node() *raftnode.Node { p.n.mu.Lock(); defer p.n.mu.Unlock(); return p.n.Node }

func (p lateProposer) Propose(s *event.Sealed) raftnode.Future { return p.node().Propose(s) }
func (p lateProposer) Verify() raftnode.Future                 { return p.node().Verify() }
func (p lateProposer) Barrier(ctx context.Context) error {
	if p.node() == nil {
		return errors.New("node is starting")
	}
	return p.node().Barrier(ctx)
}

// numbers returns the committed numbers of a node and their offsets.
func (p *testPool) numbers(n *testNode) map[uint64]event.Offset {
	out := map[uint64]event.Offset{}
	for at := event.Offset(1); at <= n.log.Head().Offset; {
		run, err := n.log.Read(at, 1000)
		if err != nil {
			p.t.Error(err)
			return out
		}
		for _, e := range run {
			v := e.Event.(*event.Posted).MessageID
			if out[v] != 0 {
				p.t.Errorf("number %d is in the log twice", v)
			}
			out[v] = e.Offset
		}
		at += event.Offset(len(run))
	}
	return out
}

func (p *testPool) stop(id event.NodeID) {
	p.t.Helper()
	n := p.nodes[id]
	delete(p.nodes, id)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		p.t.Errorf("stop %s: %v", id, err)
	}
	if err := n.log.Close(); err != nil {
		p.t.Errorf("close the log of %s: %v", id, err)
	}
	if n.fatal != nil {
		p.t.Errorf("node %s: %v", id, n.fatal)
	}
}

func (p *testPool) stopAll() {
	var wg sync.WaitGroup
	for id := range p.nodes {
		n := p.nodes[id]
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := errors.Join(n.Shutdown(ctx), n.log.Close(), n.fatal); err != nil {
				p.t.Errorf("node %s: %v", id, err)
			}
		})
	}
	wg.Wait()
}

// eventually polls a condition that other goroutines bring about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// leader waits until one node leads and all running nodes know it.
func (p *testPool) leader() *testNode {
	p.t.Helper()
	var leader *testNode
	eventually(p.t, "all nodes agree on a leader", func() bool {
		var id event.NodeID
		for _, n := range p.nodes {
			l, _, ok := n.Leader()
			if !ok || (id != "" && l != id) {
				return false
			}
			id = l
		}
		leader = p.nodes[id]
		return leader != nil && leader.IsLeader()
	})
	return leader
}

// post sends a number through a node until its outcome is known, and returns its offset.
func (p *testPool) post(n *testNode, v uint64) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("number %d is committed", v), func() bool {
		answer := make(chan error, 1)
		n.forward(binary.BigEndian.AppendUint64(nil, v), func(b []byte, err error) {
			if err == nil && string(b) != errTwice.Error() { // twice: an unknown outcome turns out to be success
				if _, scan := fmt.Sscan(string(b), new(uint64)); scan != nil {
					err = errors.New(string(b))
				}
			}
			answer <- err
		})
		return <-answer == nil
	})
}

// same waits until all running nodes have committed the same numbers, and checks that these are all of 1..n.
func (p *testPool) same(upTo uint64) {
	p.t.Helper()
	eventually(p.t, "all nodes have all numbers", func() bool {
		for _, n := range p.nodes {
			if n.log.Head().Offset != event.Offset(upTo) {
				return false
			}
		}
		return true
	})
	var chain event.Chain
	for id, n := range p.nodes {
		h := n.log.Head()
		if chain == (event.Chain{}) {
			chain = h.Chain
		}
		if h.Chain != chain {
			p.t.Errorf("node %s has another history", id)
		}
		got := p.numbers(n)
		for v := uint64(1); v <= upTo; v++ {
			if got[v] == 0 {
				p.t.Errorf("node %s lacks number %d", id, v)
			}
		}
		if n.log.Void() != 0 {
			p.t.Errorf("node %s has %d void batches", id, n.log.Void())
		}
	}
}
