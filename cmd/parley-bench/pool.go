package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"parley/cmd/internal/pki"
	"parley/compliance"
	"parley/log"
	"parley/log/event"
	"parley/projections/chat"
	"parley/raftnode"
	"parley/raftnode/sequencer"
)

// pool is the write path alone, several nodes in this process on loopback: log, Raft over mutual TLS, sequencer, rules.
// No front end and no reader takes part, so what is measured is a commit and nothing else.
type pool struct {
	nodes []*member
	stop  context.CancelFunc
}

type member struct {
	id   event.NodeID
	log  *log.Log
	raft *raftnode.Node
	seq  *sequencer.Sequencer[chat.Request, chat.Result]
	disk *countingFS
	up   chan struct{} // closed once raft is set
	fail chan error
}

// scratch gives the sequencer the rules.
type scratch struct{ state *chat.State }

func (d scratch) Decide(r chat.Request, at event.Time) ([]event.Draft, chat.Result, error) {
	dec, err := chat.Decide(d.state, r, chat.Env{At: at, NewID: uuid.NewString})
	return dec.Events, dec.Result, err
}

func (d scratch) Fold(e event.Envelope) error { return d.state.Fold(e, nil) }

// proposer lets the sequencer be made before the Raft node that it proposes to.
type proposer struct{ m *member }

func (p proposer) Propose(s *event.Sealed) sequencer.Future { <-p.m.up; return p.m.raft.Propose(s) }
func (p proposer) Verify() sequencer.Future                 { <-p.m.up; return p.m.raft.Verify() }
func (p proposer) Barrier(ctx context.Context) error        { <-p.m.up; return p.m.raft.Barrier(ctx) }

// openPool starts n nodes in a directory and waits for a leader.
func openPool(ctx context.Context, dir string, n int) (p *pool, err error) {
	p = &pool{}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = cancel
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	ca, err := pki.NewCA(domain, time.Now())
	if err != nil {
		return nil, err
	}
	var founders []raftnode.Server
	var listeners []net.Listener
	for i := 1; i <= n; i++ {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, ln)
		founders = append(founders, raftnode.Server{ID: event.NodeID(fmt.Sprintf("n%d", i)), Addr: ln.Addr().String()})
	}
	for i, f := range founders {
		m := &member{id: f.ID, disk: &countingFS{FS: vfs.Default}, up: make(chan struct{}), fail: make(chan error, 1)}
		p.nodes = append(p.nodes, m)
		if err := m.open(run, filepath.Join(dir, string(f.ID)), ca, listeners[i], founders); err != nil {
			return nil, err
		}
	}
	return p, p.form(ctx)
}

func (m *member) open(run context.Context, dir string, ca *pki.CA, ln net.Listener, founders []raftnode.Server) error {
	if err := os.MkdirAll(filepath.Join(dir, "raft"), 0o700); err != nil {
		return err
	}
	cert, key, err := ca.Issue(string(m.id), []string{domain}, time.Now())
	if err != nil {
		return err
	}
	files := map[string][]byte{"ca.pem": ca.CertPEM(), "cert.pem": cert, "key.pem": key}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	id, err := pki.LoadIdentity(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	if m.log, err = log.Open(filepath.Join(dir, "log"), log.Options{FS: m.disk}); err != nil {
		return err
	}
	m.seq = sequencer.New(sequencer.Config[chat.Request, chat.Result]{
		Proposer: proposer{m},
		Open: func(ctx context.Context) (sequencer.Decider[chat.Request, chat.Result], sequencer.Head, error) {
			head := m.log.Head()
			s := chat.NewState()
			err := compliance.FoldTo(ctx, m.log, s, head.Offset)
			return scratch{s}, sequencer.Head{Offset: head.Offset, Chain: head.Chain, At: head.At}, err
		},
		Now: func() event.Time { return event.Time(time.Now().UnixNano()) },
	})
	m.raft, err = raftnode.Open(raftnode.Config{
		ID: m.id, Dir: filepath.Join(dir, "raft"), Advertise: ln.Addr().String(), Bootstrap: founders, Log: m.log,
		Network: raftnode.TLS(ln, id.PeerServer(), func(to event.NodeID) *tls.Config { return id.PeerClient(string(to)) }),
		OnLead: func(ctx context.Context) {
			if err := m.seq.Lead(ctx); err != nil && run.Err() == nil {
				m.broken(err)
			}
		},
		Fatal:  m.broken,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		close(m.up)
	}
	return err
}

func (m *member) broken(err error) {
	select {
	case m.fail <- err:
	default:
	}
}

// err returns why a node broke, if one did.
func (p *pool) err() error {
	for _, m := range p.nodes {
		select {
		case err := <-m.fail:
			return fmt.Errorf("node %s: %w", m.id, err)
		default:
		}
	}
	return nil
}

func (p *pool) leader() *member {
	for _, m := range p.nodes {
		if m.raft.IsLeader() {
			return m
		}
	}
	return nil
}

// Names and sizes of what is measured in.
const (
	domain    = "contoso.test"
	proposers = 512
	someRooms = 16
	category  = event.CategoryID("00000000-0000-4000-8000-00000000c000")
)

func roomID(i int) event.RoomID { return event.RoomID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)) }
func userURI(i int) event.Principal {
	return event.UserPrincipal(fmt.Sprintf("user%d@%s", i, domain))
}

var trusted = chat.Origin{By: "admin:bench", Trusted: true}

// directory are the commands that make users and rooms.
func directory(users, rooms int) []chat.Request {
	out := []chat.Request{{Origin: trusted, Command: &chat.CreateCategory{ID: category,
		Info: event.CategoryInfo{Name: "Bench", Allowed: []event.Principal{"*"}, ChatHistory: true}}}}
	for i := range rooms {
		out = append(out, chat.Request{Origin: trusted, Command: &chat.CreateRoom{ID: roomID(i), Info: event.RoomInfo{Name: fmt.Sprintf("Room %d", i),
			Category: category, Type: event.RoomNormal, Privacy: event.PrivacyOpen, Invitations: event.InvitationsInherit}}})
	}
	for i := range users {
		out = append(out, chat.Request{Origin: trusted, Command: &chat.CreateUser{User: userURI(i),
			Info: event.UserInfo{DisplayName: fmt.Sprintf("User %d", i), Email: fmt.Sprintf("user%d@%s", i, domain), Enabled: true}}})
	}
	return out
}

// form waits for a leader and makes users, rooms and sessions.
func (p *pool) form(ctx context.Context) error {
	const electionPatience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, electionPatience)
	defer cancel()
	for {
		if err := p.err(); err != nil {
			return err
		}
		if m := p.leader(); m != nil {
			_, err := m.do(ctx, chat.Request{Origin: trusted, Command: &chat.FormPool{Domain: domain, PoolURI: "sip:parley@" + domain}})
			if err == nil {
				break
			}
			if !errors.Is(err, sequencer.ErrNotLeader) {
				return err
			}
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("no leader: %w", err)
		}
	}
	m := p.leader()
	if m == nil {
		return errors.New("the leader was lost while the pool formed")
	}
	reqs := []chat.Request{{Origin: chat.Origin{By: event.NodePrincipal(m.id), Node: m.id, Trusted: true}, Command: &chat.StartNode{Version: "bench"}}}
	reqs = append(reqs, directory(proposers, someRooms)...)
	for i := range proposers {
		reqs = append(reqs, chat.Request{Origin: m.origin(i), Command: &chat.Join{Rooms: []event.RoomID{roomID(i % someRooms)}}})
	}
	return m.doAll(ctx, reqs)
}

func (m *member) origin(user int) chat.Origin {
	return chat.Origin{By: userURI(user), Endpoint: "bench", Node: m.id, Incarnation: 1}
}

type outcome struct {
	sequencer.Outcome[chat.Result]
	err error
}

func (m *member) do(ctx context.Context, r chat.Request) (outcome, error) {
	got := make(chan outcome, 1)
	m.seq.Enqueue(r, func(o sequencer.Outcome[chat.Result], err error) { got <- outcome{o, err} })
	select {
	case o := <-got:
		return o, o.err
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}
}

// doAll submits requests at once, in order, and waits for all.
func (m *member) doAll(ctx context.Context, reqs []chat.Request) error {
	got := make(chan error, len(reqs))
	for _, r := range reqs {
		m.seq.Enqueue(r, func(_ sequencer.Outcome[chat.Result], err error) { got <- err })
	}
	for range reqs {
		select {
		case err := <-got:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *pool) close() error {
	p.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, m := range p.nodes {
		if m.raft != nil {
			wg.Go(func() {
				err := m.raft.Shutdown(ctx)
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			})
		}
	}
	wg.Wait()
	for _, m := range p.nodes {
		if m.log != nil {
			errs = append(errs, m.log.Close())
		}
	}
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// countingFS counts what a log writes and how often it makes that durable.
type countingFS struct {
	vfs.FS
	bytes, syncs atomic.Int64
}

func (c *countingFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &countingFile{f, c}, nil
}

func (c *countingFS) Create(name string, k vfs.DiskWriteCategory) (vfs.File, error) {
	return c.wrap(c.FS.Create(name, k))
}

func (c *countingFS) ReuseForWrite(old, name string, k vfs.DiskWriteCategory) (vfs.File, error) {
	return c.wrap(c.FS.ReuseForWrite(old, name, k))
}

func (c *countingFS) OpenReadWrite(name string, k vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return c.wrap(c.FS.OpenReadWrite(name, k, o...))
}

func (c *countingFS) Unwrap() vfs.FS { return c.FS }

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (f *countingFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.fs.bytes.Add(int64(n))
	return n, err
}

func (f *countingFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	f.fs.bytes.Add(int64(n))
	return n, err
}

func (f *countingFile) Sync() error     { f.fs.syncs.Add(1); return f.File.Sync() }
func (f *countingFile) SyncData() error { f.fs.syncs.Add(1); return f.File.SyncData() }

// SyncTo is asynchronous writeback of a large file unless it says otherwise.
func (f *countingFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	if full {
		f.fs.syncs.Add(1)
	}
	return full, err
}
