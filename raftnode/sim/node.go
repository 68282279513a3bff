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
	"parley/raftnode/submit"
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
	seq    *submit.Sequencer
	router *submit.Router
	ctx    context.Context // ends when the instance crashes or stops
	cancel context.CancelFunc
	work   sync.WaitGroup
	ready  chan struct{} // closed once raft is set

	mu          sync.Mutex
	raft        *raftnode.Node
	incarnation event.Incarnation // 0: not announced
	lost        chan struct{}     // has one element when the log says that this incarnation is over
}

// rules is the scratch state of the sequencer.
type rules struct {
	state *chat.State
	newID func() string
	// forgetful rules take every command for a new one: for the test of the checks.
	forgetful bool
}

// Decide implements sequencer.Decider.
func (r *rules) Decide(q chat.Request, at event.Time) ([]event.Draft, chat.Result, error) {
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
	d.Result.Offset = d.Offset
	return d.Events, d.Result, err
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
	in.seq = sequencer.New(sequencer.Config[chat.Request, chat.Result]{
		Proposer:   in,
		Open:       in.scratch,
		Now:        func() event.Time { return event.Time(time.Now().UnixNano() + n.skew.Load()) },
		QueueLimit: w.cfg.Queue,
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
	in.router = router.New(in.routes())
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
func (in *instance) Propose(s *event.Sealed) sequencer.Future { <-in.ready; return in.raft.Propose(s) }

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
func (in *instance) scratch(ctx context.Context) (sequencer.Decider[chat.Request, chat.Result], sequencer.Head, error) {
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
	in.w.nap()
	watch, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { in.partTheSilent(watch) })
	if err := in.seq.Lead(ctx); err != nil && ctx.Err() == nil {
		in.w.note("%s cannot lead: %v", in.node.id, err)
	}
	stop()
	work.Wait()
}

// routes is the server's own way to the sequencer, with goroutines that stall where it hurts.
func (in *instance) routes() router.Config[chat.Request, chat.Outcome] {
	cfg := submit.Routes(in.raft, in.seq)
	epoch, open, retry := cfg.Epoch, cfg.Open, cfg.Retry
	cfg.Retry = func(err error) bool {
		busy := errors.Is(err, sequencer.ErrBusy) || errors.Is(err, raftnode.ErrBusy)
		return retry(err) || in.w.cfg.hasty && busy
	}
	cfg.Epoch = func() uint64 {
		defer in.w.nap()
		return epoch()
	}
	cfg.Open = func(term uint64, here bool) router.Lane[chat.Request, chat.Outcome] {
		in.w.nap()
		lane := open(term, here)
		if in.w.cfg.stray {
			lane = in.stray(term, lane, open)
		}
		return func(q chat.Request, done func(chat.Outcome, error)) {
			in.w.nap()
			lane(q, done)
		}
	}
	return cfg
}

// stray sends to whoever leads when a request arrives, and not to the leader for whom the lane was opened: requests may
// be on their way to the next leader while earlier ones, which will be sent again, are with the last.
func (in *instance) stray(term uint64, lane router.Lane[chat.Request, chat.Outcome],
	open func(uint64, bool) router.Lane[chat.Request, chat.Outcome]) router.Lane[chat.Request, chat.Outcome] {
	return func(q chat.Request, done func(chat.Outcome, error)) {
		if now := in.raft.Term(); now != term || in.raft.IsLeader() {
			id, _, _ := in.raft.Leader()
			term, lane = now, open(now, id == in.node.id)
		}
		lane(q, done)
	}
}

// serve takes the requests of another node.
func (in *instance) serve(from event.NodeID) raftnode.Handler {
	handle := submit.Serve(in.seq)(from)
	return func(payload []byte, reply func([]byte, error)) {
		in.w.nap()
		handle(payload, reply)
	}
}

// send submits a request from this node, as a server does. done may never be called if the instance is gone.
func (in *instance) send(q chat.Request, done func(chat.Outcome, error)) {
	in.router.Submit(q, func(out chat.Outcome, err error) {
		if err != nil {
			err = chat.AsRefusal(err)
		}
		done(out, err)
	})
}

// submit sends a request and waits for the answer; ok is false if the instance is gone before.
func (in *instance) submit(q chat.Request) (out chat.Outcome, err error, ok bool) {
	type answer struct {
		out chat.Outcome
		err error
	}
	ch := make(chan answer, 1)
	in.send(q, func(out chat.Outcome, err error) { ch <- answer{out, err} })
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

func retryable(err error) bool { return errors.Is(err, chat.ErrUnavailable) }

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
