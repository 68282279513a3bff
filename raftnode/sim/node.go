package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log"
	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/state"
	"parley/raftnode"
	"parley/raftnode/router"
	"parley/raftnode/sequencer"
)

// node is a name in the pool. It lives on in its disk; what runs is an instance.
type node struct {
	id   event.NodeID
	disk *disk
	skew atomic.Int64 // of its wall clock, in nanoseconds
	run  *instance    // nil: it is down
}

// instance is a running node: the real log, raft, sequencer, router and room state, put together as a server does.
type instance struct {
	w      *World
	node   *node
	log    *log.Log
	views  *projections.Store
	rooms  *state.Rooms
	runner *projections.Runner
	seq    *sequencer.Sequencer[chat.Request, decided]
	router *router.Router[chat.Request, chat.Outcome]
	ctx    context.Context // ends when the instance crashes or stops
	cancel context.CancelFunc
	work   sync.WaitGroup
	ready  chan struct{} // closed once raft is set

	compared event.Offset // by the ledger; only the script's goroutine uses it

	mu          sync.Mutex
	raft        *raftnode.Node
	incarnation event.Incarnation // 0: not announced
	lost        chan struct{}     // has one element when the log says that this incarnation is over
}

// decided is what the rules tell besides the events.
type decided struct {
	chat.Result
	duplicateOf event.Offset
}

// rules is the scratch state of the sequencer.
type rules struct {
	state *chat.State
	newID func() string
	// forgetful rules take every command for a new one: for the test of the checks.
	forgetful bool
}

// Decide implements sequencer.Decider.
func (r *rules) Decide(q chat.Request, at event.Time) ([]event.Draft, decided, error) {
	asked := q.ID
	if r.forgetful {
		q.ID = event.CommandID{}
	}
	d, err := chat.Decide(r.state, q, chat.Env{At: at, NewID: r.newID})
	if r.forgetful {
		for i := range d.Events {
			d.Events[i].Command = asked
		}
	}
	return d.Events, decided{d.Result, d.Offset}, err
}

// Fold implements sequencer.Decider.
func (r *rules) Fold(e event.Envelope) error {
	if r.forgetful {
		e.Command = event.CommandID{}
	}
	return r.state.Fold(e, nil)
}

// build brings a node up on its disk.
func (w *World) build(n *node) (*instance, error) {
	in := &instance{w: w, node: n, rooms: state.New(), lost: make(chan struct{}, 1), ready: make(chan struct{})}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	var logFS vfs.FS = n.disk.fs
	if w.cfg.lyingDisks {
		logFS = lyingFS{logFS}
	}
	var err error
	if in.log, err = log.Open("log", log.Options{FS: logFS, CacheBytes: 256 << 10, MemTableBytes: 256 << 10}); err != nil {
		return nil, fmt.Errorf("start %s: %w", n.id, err)
	}
	if in.views, err = projections.OpenStore("views", projections.Options{FS: n.disk.fs, CacheBytes: 256 << 10}); err != nil {
		return nil, fmt.Errorf("start %s: %w", n.id, errors.Join(err, in.log.Close()))
	}
	in.rooms.OnApplied(in.applied)
	if in.runner, err = in.views.Run(in.ctx, in.log, in.rooms); err != nil {
		return nil, fmt.Errorf("start %s: %w", n.id, errors.Join(err, in.views.Close(), in.log.Close()))
	}
	in.seq = sequencer.New(sequencer.Config[chat.Request, decided]{
		Proposer: in,
		Open:     in.scratch,
		Now:      func() event.Time { return event.Time(time.Now().UnixNano() + n.skew.Load()) },
	})
	var founders []raftnode.Server
	for i, f := range w.nodes {
		founders = append(founders, raftnode.Server{ID: f.id, Addr: string(f.id), Standby: i >= w.cfg.Nodes-w.cfg.Standbys})
	}
	r, err := raftnode.Open(raftnode.Config{
		ID: n.id, Stable: n.disk.votes, Network: w.fabric.attach(n.id), Advertise: string(n.id), Bootstrap: founders, Log: in.log,
		Timers: raftnode.Timers{Commit: 50 * time.Millisecond, RPC: time.Second, Silent: 2 * time.Second,
			SnapshotEntries: 64, SnapshotInterval: time.Second}, // snapshots often, so that restarts use them
		OnLead: in.lead,
		OnChange: func() {
			select {
			case <-in.ready:
				in.router.Poke()
			default:
			}
		},
		Serve: in.serve,
		Fatal: func(err error) {
			if in.ctx.Err() == nil { // a crashed instance runs on for a moment, on a disk that is no more
				w.fail(fmt.Errorf("node ended itself: %w", err))
			}
		},
	})
	if err != nil {
		in.cancel()
		return nil, fmt.Errorf("start %s: %w", n.id, errors.Join(err, in.views.Close(), in.log.Close()))
	}
	in.raft = r
	in.router = router.New(router.Config[chat.Request, chat.Outcome]{
		Leader:  func() (known, here bool) { id, _, ok := r.Leader(); return ok, id == n.id },
		Local:   in.local,
		Forward: in.forward,
		Retry:   func(err error) bool { return errors.Is(err, chat.ErrUnavailable) },
	})
	close(in.ready)
	in.work.Go(in.announce)
	return in, nil
}

// stop ends the goroutines of an instance. What it still writes goes to a disk that nobody looks at after a crash.
func (in *instance) stop() error {
	in.cancel()
	in.router.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := in.raft.Shutdown(ctx)
	in.work.Wait()
	return errors.Join(err, in.views.Close(), in.log.Close())
}

// Propose, Verify and Barrier implement sequencer.Proposer. Raft may lead before Open has returned.
func (in *instance) Propose(data []byte) sequencer.Future { <-in.ready; return in.raft.Propose(data) }

// Verify implements sequencer.Proposer.
func (in *instance) Verify() sequencer.Future { <-in.ready; return in.raft.Verify() }

// Barrier implements sequencer.Proposer.
func (in *instance) Barrier(ctx context.Context) error {
	select {
	case <-in.ready:
		return in.raft.Barrier(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scratch opens the sequencer's state at the head of the log.
func (in *instance) scratch(ctx context.Context) (sequencer.Decider[chat.Request, decided], sequencer.Head, error) {
	head := in.log.Head()
	if err := in.runner.WaitFor(ctx, head.Offset); err != nil {
		return nil, sequencer.Head{}, err
	}
	s := in.rooms.Clone()
	if s.Offset() != head.Offset || s.Chain() != head.Chain {
		return nil, sequencer.Head{}, fmt.Errorf("the room state is at %d, the log at %d, though nobody else writes", s.Offset(), head.Offset)
	}
	return &rules{state: s, newID: in.w.newID, forgetful: in.w.cfg.forgetful},
		sequencer.Head{Offset: head.Offset, Chain: head.Chain, At: head.At}, nil
}

func (in *instance) lead(ctx context.Context) {
	watch, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { in.partTheSilent(watch) })
	if err := in.seq.Lead(ctx); err != nil && ctx.Err() == nil {
		in.w.note("%s cannot lead: %v", in.node.id, err)
	}
	stop()
	work.Wait()
}

// serve takes a request of another node.
func (in *instance) serve(_ context.Context, _ event.NodeID, payload []byte, reply func([]byte)) {
	var q chat.Request
	if err := event.Unmarshal(payload, &q); err != nil {
		in.w.fail(fmt.Errorf("forwarded request: %w", err))
		return
	}
	in.local(q, func(out chat.Outcome, err error) {
		r := chat.Reply{Outcome: out}
		if err != nil {
			r.Refusal = chat.AsRefusal(err)
		}
		reply(event.Marshal(&r))
	})
}

func (in *instance) local(q chat.Request, done func(chat.Outcome, error)) {
	in.seq.Enqueue(q, func(o sequencer.Outcome[decided], err error) {
		out := chat.Outcome{Offset: o.Last, At: o.At, Result: o.Result.Result}
		if o.Result.duplicateOf > 0 {
			out.Offset = o.Result.duplicateOf
		}
		if err != nil {
			err = chat.AsRefusal(err)
		}
		done(out, err)
	})
}

func (in *instance) forward(q chat.Request, done func(chat.Outcome, error)) {
	in.raft.Forward(event.Marshal(&q), func(b []byte, err error) {
		var r chat.Reply
		if err == nil {
			err = event.Unmarshal(b, &r)
		}
		switch {
		case err != nil:
			done(chat.Outcome{}, chat.AsRefusal(err))
		case r.Refusal != nil:
			done(r.Outcome, r.Refusal)
		default:
			done(r.Outcome, nil)
		}
	})
}

// submit sends a request from this node and waits for the answer; ok is false if the instance is gone before.
func (in *instance) submit(q chat.Request) (out chat.Outcome, err error, ok bool) {
	type answer struct {
		out chat.Outcome
		err error
	}
	ch := make(chan answer, 1)
	in.router.Submit(q, func(out chat.Outcome, err error) { ch <- answer{out, err} })
	select {
	case a := <-ch:
		return a.out, a.err, in.ctx.Err() == nil
	case <-in.ctx.Done():
		return chat.Outcome{}, nil, false
	}
}

// announce opens an incarnation of the node, and another whenever the pool has given this one up.
func (in *instance) announce() {
	for {
		op := in.w.history.begin(systemClient, opStart, "", in.node.id)
		q := chat.Request{Origin: chat.Origin{By: event.NodePrincipal(in.node.id), Node: in.node.id, ID: op.id, Trusted: true},
			Command: &chat.StartNode{Version: "sim"}}
		out, ok := in.insist(q)
		if !ok {
			return
		}
		in.w.history.end(op, out, nil)
		in.mu.Lock()
		in.incarnation = event.Incarnation(out.Result.Epoch)
		in.mu.Unlock()
		in.applied(nil, nil, in.rooms.Current()) // it may be over already
		select {
		case <-in.lost:
		case <-in.ctx.Done():
			return
		}
	}
}

// insist submits until the outcome is known, or the instance is gone.
func (in *instance) insist(q chat.Request) (chat.Outcome, bool) {
	for {
		out, err, ok := in.submit(q)
		switch {
		case !ok:
			return chat.Outcome{}, false
		case err == nil:
			return out, true
		case !retryable(err):
			in.w.fail(fmt.Errorf("node %s: %T was refused: %w", in.node.id, q.Command, err))
			return chat.Outcome{}, false
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-in.ctx.Done():
			return chat.Outcome{}, false
		}
	}
}

func retryable(err error) bool {
	return errors.Is(err, chat.ErrUnavailable) || errors.Is(err, router.ErrUnavailable) || errors.Is(err, router.ErrBusy) || errors.Is(err, router.ErrClosed)
}

// home returns the incarnation under which clients of this node act, 0 if it has none.
func (in *instance) home() event.Incarnation {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.incarnation
}

// applied looks whether this incarnation is over.
func (in *instance) applied(_ []event.Envelope, _, after *chat.State) {
	in.mu.Lock()
	defer in.mu.Unlock()
	n, ok := after.Node(in.node.id)
	if in.incarnation == 0 || !ok || n.Incarnation < in.incarnation || (n.Incarnation == in.incarnation && n.Alive) {
		return
	}
	in.incarnation = 0
	select {
	case in.lost <- struct{}{}:
	default:
	}
}

// partTheSilent is the leader's duty: one event ends all sessions of a node that does not answer.
func (in *instance) partTheSilent(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case <-in.ready:
		default:
			continue
		}
		for _, id := range in.raft.Down() {
			n, ok := in.rooms.Current().Node(id)
			if !ok || !n.Alive {
				continue
			}
			op := in.w.history.begin(systemClient, opLose, "", id)
			out, err, ok := in.submit(chat.Request{Origin: chat.Origin{By: event.NodePrincipal(in.node.id), Node: in.node.id, ID: op.id, Trusted: true},
				Command: &chat.LoseNode{Node: id, Incarnation: n.Incarnation, Reason: "silent"}})
			if ok {
				in.w.history.end(op, out, err)
			}
		}
	}
}
