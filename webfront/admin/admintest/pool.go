// Package admintest is a pool of one node for tests of what stands on the admin API: the real rules on a real log in
// memory with a real history, without Raft, sockets or clocks.
package admintest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log"
	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/webfront/admin"
)

// Domain of the pool.
const Domain = "contoso.test"

// Pool is the pool. Its fields may be set before it is used.
type Pool struct {
	Log *log.Log
	// BeforeSubmit may answer in place of the pool, or do something first. It runs without locks.
	BeforeSubmit func(chat.Request) error
	// Nodes are what Members returns.
	Nodes []admin.Member
	// Change answers changes of membership; nil succeeds.
	Change func(action string, id event.NodeID) error

	FeedList       []admin.FeedStatus
	ProjectionList []admin.ProjectionStatus

	history *history.History
	read    *projections.Runner

	mu    sync.Mutex
	state *chat.State
	now   event.Time
	ids   int
}

// Digest is the state's, if it is at the offset.
func (p *Pool) Digest(_ context.Context, at event.Offset) (admin.Digest, error) {
	s := p.State()
	if s.Offset() != at {
		return admin.Digest{}, fmt.Errorf("it is at %d", s.Offset())
	}
	return admin.Digest{Node: "n1", Offset: at, Chain: s.Chain().String(), State: fmt.Sprintf("%x", s.Hash())}, nil
}

// New returns a pool that has formed and whose node n1 has started. Its log is in dir on the real disk, or in memory
// when dir is empty.
func New(t testing.TB, dir string) *Pool {
	t.Helper()
	o := log.Options{}
	if dir == "" {
		dir, o.FS = "log", vfs.NewMem()
	}
	l, err := log.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !isClosed(err) {
			t.Error(err)
		}
	})
	p := &Pool{Log: l, state: chat.NewState(), now: 1_700_000_000_000_000_000,
		Nodes: []admin.Member{{ID: "n1", Addr: "127.0.0.1:1", State: admin.StateLeader}}}
	views, err := projections.OpenStore("views", projections.Options{FS: vfs.NewMem(), CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	p.history = history.New()
	if p.read, err = views.Run(context.Background(), l, p.history); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := views.Close(); err != nil {
			t.Error(err)
		}
	})
	node := chat.Origin{By: "node:n1", Node: "n1", Trusted: true}
	p.Must(t, node, &chat.FormPool{Domain: Domain, PoolURI: "sip:parley@" + Domain})
	p.Must(t, node, &chat.StartNode{Version: "test"})
	return p
}

func isClosed(err error) bool { return errors.Is(err, log.ErrClosed) }

// Must submits a command that may not be refused.
func (p *Pool) Must(t testing.TB, o chat.Origin, c chat.Command) chat.Outcome {
	t.Helper()
	out, err := p.commit(chat.Request{Origin: o, Command: c})
	if err != nil {
		t.Fatalf("%T: %v", c, err)
	}
	return out
}

// Submit decides and commits a command.
func (p *Pool) Submit(_ context.Context, r chat.Request) (chat.Outcome, error) {
	if p.BeforeSubmit != nil {
		if err := p.BeforeSubmit(r); err != nil {
			return chat.Outcome{}, err
		}
	}
	return p.commit(r)
}

func (p *Pool) commit(r chat.Request) (chat.Outcome, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now += 1e9
	d, err := chat.Decide(p.state, r, chat.Env{At: p.now, NewID: p.newID})
	if err != nil {
		return chat.Outcome{}, err
	}
	if len(d.Events) == 0 {
		return chat.Outcome{Offset: d.Offset, At: p.now, Result: d.Result}, nil
	}
	next := p.state.Clone()
	b := event.Batch{Base: next.Offset() + 1, At: p.now, Prev: next.Chain(), Events: d.Events}
	data, _, err := b.Seal()
	if err != nil {
		return chat.Outcome{}, err
	}
	index := p.Log.LastIndex() + 1
	if err := p.Log.Append([]log.Record{{Index: index, Term: 1, Data: data}}); err != nil {
		return chat.Outcome{}, err
	}
	if _, err := p.Log.Commit(index); err != nil {
		return chat.Outcome{}, err
	}
	run, err := p.Log.Read(b.Base, len(d.Events))
	if err != nil {
		return chat.Outcome{}, err
	}
	for _, e := range run {
		if err := next.Fold(e, nil); err != nil {
			return chat.Outcome{}, err
		}
	}
	p.state = next
	return chat.Outcome{Offset: next.Offset(), At: p.now, Result: d.Result}, nil
}

func (p *Pool) newID() string {
	p.ids++
	return fmt.Sprintf("%08x-0000-4000-8000-000000000000", p.ids)
}

// NewID returns a fresh GUID.
func (p *Pool) NewID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newID()
}

// Advance lets time pass.
func (p *Pool) Advance(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now += event.Time(d)
}

// Now returns the pool's time.
func (p *Pool) Now() event.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// State returns the newest state.
func (p *Pool) State() *chat.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.Clone()
}

// Scratch returns a copy of the newest state.
func (p *Pool) Scratch() *chat.State { return p.State() }

// History returns messages of a room.
func (p *Pool) History(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error) {
	if err := p.read.WaitFor(ctx, p.State().Offset()); err != nil {
		return nil, err
	}
	return p.history.Messages(room, first, last)
}

// Await returns at once: the state is never behind.
func (p *Pool) Await(context.Context, event.Offset) error { return nil }

// Node returns the status of n1.
func (p *Pool) Node() admin.NodeStatus {
	head := p.Log.Head().Offset
	return admin.NodeStatus{Node: "n1", State: admin.StateLeader, Applied: head, Committed: head, Version: "test"}
}

// Members returns Nodes.
func (p *Pool) Members() []admin.Member { return p.Nodes }

func (p *Pool) change(action string, id event.NodeID) error {
	if p.Change == nil {
		return nil
	}
	return p.Change(action, id)
}

// Add asks Change.
func (p *Pool) Add(_ context.Context, id event.NodeID, _ string, _ bool) error {
	return p.change("add", id)
}

// Remove asks Change.
func (p *Pool) Remove(_ context.Context, id event.NodeID) error { return p.change("remove", id) }

// Promote asks Change.
func (p *Pool) Promote(_ context.Context, id event.NodeID) error { return p.change("promote", id) }

// Transfer asks Change.
func (p *Pool) Transfer(_ context.Context, to event.NodeID) error { return p.change("transfer", to) }

// Feeds returns FeedList.
func (p *Pool) Feeds() []admin.FeedStatus { return p.FeedList }

// Projections returns ProjectionList.
func (p *Pool) Projections() []admin.ProjectionStatus { return p.ProjectionList }
