// Package server puts one node together: stores, Raft, rules, readers and front ends. It is wiring, with the little
// that only the whole node can know: when it is ready, in which order it starts and stops, and what a leader does
// beside deciding.
//
//	      sipfront ─────┐        webfront/admin ─┐
//	         ▲          ▼ Submit                 ▼ Do
//	Applied  │        router ──► raftnode.Stream ───► (leader's) submit.Serve
//	         │          │ local                              │
//	         │          ▼                                    ▼
//	         │       sequencer ◄── chat.Decide on scratch state (a clone of state.Rooms)
//	         │          │ Propose
//	         │          ▼
//	         │       raftnode ──► log (Raft log = event log) ──► readers:
//	         │                                                     state.Rooms ──┐
//	         └─────────────────────────────────────────────────────────────────◄─┤
//	                                                               history       │
//	                                                               search        │
//	                                                               compliance ◄──┘
//
// A crash anywhere needs no recovery of its own: the log's committed mark and each reader's checkpoint say where to
// go on reading.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/cmd/internal/config"
	"parley/cmd/internal/pki"
	"parley/cmd/internal/version"
	"parley/compliance"
	"parley/log"
	"parley/log/eraser"
	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/projections/merkle"
	"parley/projections/state"
	"parley/raftnode"
	"parley/raftnode/router"
	"parley/raftnode/sequencer"
	"parley/raftnode/submit"
	"parley/search"
	"parley/sipfront"
	"parley/webfront/admin"
)

// Attribute keys of the log lines of this package.
const (
	keyNode  = "lost"
	keyError = "error"
)

// Node is one running node.
type Node struct {
	cfg    config.Config
	id     event.NodeID
	logger *slog.Logger

	identity   *pki.Identity
	log        *log.Log
	views      *projections.Store
	rooms      *state.Rooms
	history    *history.History
	tree       *merkle.Tree
	search     *search.Search
	raft       *raftnode.Node
	seq        *submit.Sequencer
	seqMetrics *sequencer.Metrics
	router     *submit.Router
	front      atomic.Pointer[sipfront.Front]
	feeds      *compliance.Feeds

	roomsRun, historyRun, treeRun *projections.Runner

	registry     *prometheus.Registry
	peer         net.Addr
	sip, sips    string // bound addresses, set before ready is closed
	https, ops   net.Listener
	web          []*http.Server
	noLeaderFrom atomic.Int64 // unix nanoseconds since when this node knows no leader; 0: it knows one

	run    context.Context // ends when the node stops
	cancel context.CancelFunc
	nodes  *admin.Nodes
	wg     sync.WaitGroup
	raftUp chan struct{} // closed once raft and router are set: Raft may call before Open has returned it
	ready  chan struct{}
	// current is set once this node's state has what the pool had committed when the node started.
	current atomic.Bool
	done    chan struct{}
	drain   sync.Once
	stop    sync.Once
	mu      sync.Mutex
	err     error
}

// Open starts a node. It returns before the node is ready: that needs a leader, and so the other nodes.
func Open(cfg config.Config, logger *slog.Logger) (*Node, error) {
	n := &Node{cfg: cfg, id: event.NodeID(cfg.Node), logger: logger, registry: prometheus.NewRegistry(),
		raftUp: make(chan struct{}), ready: make(chan struct{}), done: make(chan struct{})}
	n.run, n.cancel = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		return nil, errors.Join(err, n.close(ctx))
	}
	n.wg.Go(func() {
		if err := n.start(); err != nil && n.run.Err() == nil {
			n.fail(err)
		}
	})
	return n, nil
}

// closeWithin is how long the parts of a node may take to close after a failed start.
const closeWithin = 5 * time.Second

func (n *Node) open() (err error) {
	for _, d := range []string{"log", "views", "raft", "search"} {
		if err := os.MkdirAll(filepath.Join(n.cfg.Data, d), 0o700); err != nil {
			return err
		}
	}
	if err := n.checkQuarantine(); err != nil {
		return err
	}
	if n.identity, err = pki.LoadIdentity(n.cfg.TLS.CA, n.cfg.TLS.Cert, n.cfg.TLS.Key); err != nil {
		return err
	}
	n.nodes = admin.NewNodes(n.identity.PeerClient)
	if n.log, err = log.Open(filepath.Join(n.cfg.Data, "log"), log.Options{Logger: n.logger}); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	if err := n.openViews(); err != nil {
		return err
	}
	n.openSequencer()
	if err := n.openRaft(); err != nil {
		return err
	}
	routes := submit.Routes(n.raft, n.seq)
	routes.Patience = n.cfg.SIP.LeaderWait
	n.router = router.New(routes)
	close(n.raftUp)
	n.leaderChanged()
	if err := n.openFeeds(); err != nil {
		return err
	}
	return n.openWeb()
}

func (n *Node) openViews() (err error) {
	if n.views, err = projections.OpenStore(filepath.Join(n.cfg.Data, "views"), projections.Options{Logger: n.logger}); err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	n.rooms, n.history, n.tree = state.New(), history.New(), merkle.New()
	n.rooms.OnApplied(func(run []event.Envelope, before, after *chat.State) {
		if f := n.front.Load(); f != nil {
			f.Applied(run, before, after)
		}
	})
	if n.roomsRun, err = n.views.Run(n.run, n.log, n.rooms); err != nil {
		return fmt.Errorf("run the room state: %w", err)
	}
	if n.historyRun, err = n.views.Run(n.run, n.log, n.history); err != nil {
		return fmt.Errorf("run the history: %w", err)
	}
	if n.treeRun, err = n.views.Run(n.run, n.log, n.tree); err != nil {
		return fmt.Errorf("run the Merkle tree: %w", err)
	}
	if n.search, err = search.New(n.run, filepath.Join(n.cfg.Data, "search"), n.log, search.Options{Logger: n.logger}); err != nil {
		return fmt.Errorf("open the search indexes: %w", err)
	}
	return nil
}

// start makes the node ready: it waits for a leader, opens a new incarnation and lets clients in. The commit of the
// incarnation, seen by this node's own state, is the proof that the node is current.
func (n *Node) start() error {
	o, err := n.announce(n.run)
	if err != nil {
		return err
	}
	n.treeRun.LogIsCurrent() // clients do not need it
	for _, r := range []*projections.Runner{n.roomsRun, n.historyRun} {
		r.LogIsCurrent()
		if err := r.WaitFor(n.run, o); err != nil {
			return fmt.Errorf("wait for projection %s: %w", r.Name(), err)
		}
	}
	n.current.Store(true)
	if err := n.makeDemo(n.run); err != nil {
		return err
	}
	n.search.LogIsCurrent()
	n.wg.Go(n.watch)
	if err := n.openFront(); err != nil {
		return err
	}
	n.wg.Go(func() {
		if err := n.feeds.Run(n.run); err != nil && n.run.Err() == nil {
			n.logger.Error("compliance feeds ended", keyError, err)
		}
	})
	n.wg.Go(n.erase)
	n.scrubbing()
	close(n.ready)
	return nil
}

// erase carries out removals. A post stays until every feed has proven it durable: the archive must get its text.
func (n *Node) erase() {
	err := eraser.Run(n.run, eraser.Config{Log: n.log, Logger: n.logger, Limit: func() event.Offset {
		return n.feeds.Slowest(n.log.Head().Offset)
	}, Copies: []func(context.Context, event.Offset) error{n.purgeViews, n.purgeIndex}})
	switch {
	case err == nil:
	case errors.Is(err, log.ErrRemoval):
		// It would be so on every node at once, and after every start.
		n.logger.Error("message bodies are no longer erased", keyError, err)
	default:
		n.fail(err)
	}
}

// purgeViews rewrites the views without the messages that were removed from the history.
func (n *Node) purgeViews(ctx context.Context, to event.Offset) error {
	for !n.historyRun.Alone() { // other rows of it may have the text still, and would keep it
		if err := pause(ctx); err != nil {
			return err
		}
	}
	if err := n.historyRun.WaitFor(ctx, to); err != nil {
		return err // a projection that stops ends the node
	}
	return n.views.Purge(ctx)
}

// purgeIndex does the same to the search index. One that has stopped does not keep the log from being erased: it is
// built again before it serves, and then from a log without the text.
func (n *Node) purgeIndex(ctx context.Context, to event.Offset) error {
	err := n.search.Purge(ctx, to)
	if err != nil && ctx.Err() == nil {
		n.logger.Error("the search index keeps words of removed messages until it is built again", keyError, err)
		return nil
	}
	return err
}

// announce opens a new incarnation of this node, trying until there is a leader. It waits for the pool to be formed:
// that is the first event of the log, and this node sees it as soon as it hears from the leader.
func (n *Node) announce(ctx context.Context) (event.Offset, error) {
	for {
		if !n.rooms.Current().Formed() {
			if err := pause(ctx); err != nil {
				return 0, err
			}
			continue
		}
		out, err := n.Do(ctx, chat.Request{
			Origin:  chat.Origin{By: event.NodePrincipal(n.id), Trusted: true},
			Command: &chat.StartNode{Version: version.Number},
		})
		switch {
		case err == nil:
			return out.Offset, nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case !errors.Is(err, chat.ErrUnavailable):
			return 0, fmt.Errorf("open an incarnation of %s: %w", n.id, err)
		}
		if err := pause(ctx); err != nil {
			return 0, err
		}
	}
}

// pause waits a moment, short beside an election and long beside a commit.
func pause(ctx context.Context) error {
	select {
	case <-time.After(50 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch fails the node when a projection stops, and announces it again when the pool has taken it for lost: its
// sessions were parted, so the front has closed its clients' connections, and they come back under the new
// incarnation.
func (n *Node) watch() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-n.run.Done():
			return
		case <-n.roomsRun.Done():
			n.failProjection(n.roomsRun)
			return
		case <-n.historyRun.Done():
			n.failProjection(n.historyRun)
			return
		case <-n.treeRun.Done():
			n.failProjection(n.treeRun)
			return
		case <-tick.C:
			if st, ok := n.rooms.Current().Node(n.id); ok && !st.Alive {
				n.logger.Warn("the pool took this node for lost; it starts a new incarnation")
				if _, err := n.announce(n.run); err != nil && n.run.Err() == nil {
					n.fail(err)
					return
				}
			}
		}
	}
}

func (n *Node) failProjection(r *projections.Runner) {
	if err := r.Err(); err != nil && n.run.Err() == nil {
		n.fail(fmt.Errorf("projection %s stopped at %d: %w", r.Name(), r.Offset(), err))
	}
}

// fail ends the node by itself: the pool is the redundancy.
func (n *Node) fail(err error) {
	n.mu.Lock()
	first := n.err == nil
	if first {
		n.err = err
	}
	n.mu.Unlock()
	if first {
		n.logger.Error("node ends", keyError, err)
		n.stop.Do(func() { close(n.done) })
	}
}

// Ready is closed when the node has a leader and its projections are current.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Done is closed when the node has ended.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err says why the node ended by itself.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Drain parts the node's users and closes their connections. New ones are refused from now on.
func (n *Node) Drain(ctx context.Context) (err error) {
	n.drain.Do(func() {
		if f := n.front.Load(); f != nil {
			err = f.Drain(ctx)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			// Without a majority nobody can write it down. The next start of this node parts them.
			n.logger.Warn("not all users were parted", keyError, err)
			err = nil
		}
	})
	return err
}

// Stop parts the node's users, hands the leadership over and closes everything.
func (n *Node) Stop(ctx context.Context) error {
	errs := []error{n.Drain(ctx)}
	if n.raft != nil && n.raft.IsLeader() {
		hand, cancel := context.WithTimeout(ctx, handOverWithin)
		if err := n.raft.Transfer(hand, ""); err != nil {
			n.logger.Info("leadership was not handed over", keyError, err)
		}
		cancel()
	}
	errs = append(errs, n.close(ctx))
	n.stop.Do(func() { close(n.done) })
	return errors.Join(errs...)
}

// handOverWithin: when everybody stops at once there is nobody to take it.
const handOverWithin = 2 * time.Second

// close closes what is open, readers before what they read. Also after a failed open, so parts may be missing.
func (n *Node) close(ctx context.Context) error {
	n.cancel()
	var errs []error
	for _, s := range n.web {
		errs = append(errs, s.Close())
	}
	if n.router != nil {
		n.router.Close()
	}
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown(ctx))
	}
	stopped := make(chan struct{})
	go func() { n.wg.Wait(); close(stopped) }()
	select {
	case <-stopped:
	case <-ctx.Done():
		// Something hangs, such as a write to an archive that does not answer. The stores stay open for it and the
		// process ends: what is not on disk was not acknowledged.
		return errors.Join(append(errs, fmt.Errorf("the node's work did not end in time: %w", ctx.Err()))...)
	}
	if n.search != nil {
		errs = append(errs, n.search.Close())
	}
	if n.views != nil {
		errs = append(errs, n.views.Close())
	}
	if n.log != nil {
		errs = append(errs, n.log.Close())
	}
	return errors.Join(errs...)
}
