// Package raftnode makes a node a member of the pool: hashicorp/raft over mutually authenticated streams, with the
// event log as its log store, so that the one synced write of an entry is both. It carries entries (Propose), forwards
// opaque requests to whoever leads (Stream), follows and changes the membership, and watches its own disk.
//
// It knows no rooms and no commands. What an entry means is decided before it is proposed; applying one only moves
// the log's committed mark, and whoever wants to know reads the log.
//
// Deviations from the library's defaults, all measured or read in its code, stand beside the setting in raftConfig.
package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"parley/log"
	"parley/log/event"
)

var (
	// ErrNotLeader says that this node, or the node asked, does not lead, and that the call had no effect.
	ErrNotLeader = errors.New("this node does not lead the pool")
	// ErrNoLeader says that nobody is known to lead, and that the call had no effect.
	ErrNoLeader = errors.New("the pool has no leader")
	// ErrUnknownOutcome says that the call may or may not take effect.
	ErrUnknownOutcome = errors.New("outcome is unknown")
	// ErrVoid says that an entry was committed but did not continue the log: none of its events took effect.
	ErrVoid = errors.New("entry is void: it does not continue the log")
	// ErrBusy says that too much is in flight to the leader, and that the call had no effect.
	ErrBusy = errors.New("too many requests to the leader")
	// ErrShortLog says that the log has lost entries that this node had stored. It is of class event.ErrCorrupt.
	ErrShortLog = fmt.Errorf("the log is shorter than this node promised: %w", event.ErrCorrupt)
	// ErrOtherLog says that the log has other entries than this node had stored. It is of class event.ErrCorrupt.
	ErrOtherLog = fmt.Errorf("the log is not the one this node promised: %w", event.ErrCorrupt)
)

// Server is a node as the membership knows it.
type Server struct {
	ID      event.NodeID
	Addr    string // peer address, HOST:PORT, as the other nodes reach it
	Standby bool   // replicates, but has no vote
}

// Timers are the times of Raft. Zero fields get their defaults.
type Timers struct {
	Heartbeat time.Duration // without contact a follower asks for votes; 1 s
	Election  time.Duration // a candidate asks again; 1 s, at least Heartbeat
	Lease     time.Duration // without contact to a majority a leader stops leading; 500 ms, at most Heartbeat
	// Commit is how long an idle leader waits until it tells the others what is committed; 5 ms. It is what a user on
	// another node waits to see a message, besides the network.
	Commit time.Duration
	RPC    time.Duration // for one call to a peer, disk included; 10 s
	// Silent is how long a member may be out of contact before Down and Status call it down; 5 s.
	Silent           time.Duration
	SnapshotInterval time.Duration // 30 s
	SnapshotEntries  uint64        // between pointer snapshots, which bound the scan at start; 4096
}

func (t Timers) withDefaults() Timers {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Heartbeat, time.Second)
	def(&t.Election, max(t.Heartbeat, time.Second))
	def(&t.Lease, t.Heartbeat/2)
	def(&t.Commit, 5*time.Millisecond)
	def(&t.RPC, 10*time.Second)
	def(&t.Silent, 5*time.Second)
	def(&t.SnapshotInterval, 30*time.Second)
	if t.SnapshotEntries == 0 {
		t.SnapshotEntries = 4096
	}
	return t
}

// Config puts a node together.
type Config struct {
	ID  event.NodeID
	Dir string // for raft.db: term, vote, promise and snapshot pointer
	// Stable replaces raft.db in simulations. Whatever it has taken must survive a crash.
	Stable    raft.StableStore
	Network   Network // TLS in servers; Open takes it over and closes it, also when it fails
	Advertise string  // this node's peer address as the others reach it
	// Bootstrap is the membership of a new pool. It counts on the very first start only; a node that joins a pool
	// later has none. All nodes of a new pool are given the same list, in the same order.
	Bootstrap []Server
	Log       *log.Log // stays open when the node shuts down: its owner closes it afterwards
	Logger    *slog.Logger
	Timers    Timers
	// StoreDeadline is how long one synced write may take before the disk counts as hung; 10 s. The library would
	// let a leader with a hung disk lead for ever, because its heartbeats need none.
	StoreDeadline time.Duration

	// ReplaceAfter is how long a voter may be silent until the leader gives its vote to a standby; 0: never. Longer than
	// a restart takes, so that an upgrade does not move votes about.
	ReplaceAfter time.Duration

	// The callbacks may come before Open has returned: a pool of one has a leader at once.

	// OnLead runs while this node leads; ctx ends with the leadership. If it returns earlier it is called again, and
	// if that goes on the leadership is handed over: a leader that cannot decide is worse than an election.
	OnLead func(ctx context.Context)
	// OnChange is called after the leader may have changed, so that whoever waits for one looks again. Must not block.
	OnChange func()
	// Serve opens a handler for the requests of one stream from the node named. nil: nothing is served.
	Serve func(from event.NodeID) Handler
	// Fatal ends the process: a broken invariant, corruption, or a disk that hangs or fails. It is called at most once.
	// The rest of the pool is the redundancy. If it returns, the node is of no use and may panic.
	Fatal func(error)
}

// Handler takes the forwarded requests of one stream on the leader. It is called in the order in which the calling node
// forwarded, must not block, and must see to it that reply is called exactly once for each request, on any goroutine. The
// class of the error travels: ErrNotLeader and ErrBusy say that there was no effect, anything else that the outcome is
// unknown. Once it has replied with an error other than ErrBusy, no later request of the handler may take effect unless
// that one did: the caller will send it again.
type Handler func(payload []byte, reply func(answer []byte, err error))

// Node is a member of the pool, or of none yet.
type Node struct {
	cfg      Config
	logger   *slog.Logger
	raft     *raft.Raft
	ready    atomic.Pointer[raft.Raft] // the same, for what raft itself calls before NewRaft has returned
	store    *logStore
	stable   *stableStore
	fsm      *fsm
	streams  *streamLayer
	contacts *contacts
	trans    *transport
	forward  *forwarder
	inbound  *inbound
	metrics  *metrics

	ctx       context.Context // ends when Shutdown begins
	cancel    context.CancelFunc
	raftDown  chan struct{}  // closed once raft was told to stop
	work      sync.WaitGroup // goroutines of ours
	proposals sync.WaitGroup // goroutines that wait for raft's futures
	closing   sync.RWMutex   // held for writing while Shutdown closes the door to proposals
	closed    bool
	down      sync.Once
	downErr   error
	fatalOnce sync.Once
}

// Open starts the node. A first start with Bootstrap forms the pool's membership; a start with neither state nor
// Bootstrap waits to be added by the leader of a pool.
//
// Errors of class event.ErrCorrupt say that this node has lost or damaged what it had stored and must not vote again
// under its name: the operator removes it from the pool and adds it again as a standby with an empty directory.
func Open(cfg Config) (*Node, error) {
	cfg.Timers = cfg.Timers.withDefaults()
	if cfg.StoreDeadline == 0 {
		cfg.StoreDeadline = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ID == "" || cfg.Log == nil || cfg.Network == nil || cfg.Fatal == nil || cfg.Advertise == "" {
		return nil, errors.New("raftnode: ID, Log, Network, Advertise and Fatal are needed")
	}
	n := &Node{cfg: cfg, logger: cfg.Logger, raftDown: make(chan struct{})}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		n.cancel()
		return nil, errors.Join(fmt.Errorf("open node %s: %w", cfg.ID, err), n.closeParts())
	}
	return n, nil
}

func (n *Node) open() error {
	n.streams = newStreamLayer(n)
	inner := n.cfg.Stable
	if inner == nil {
		b, err := openBolt(filepath.Join(n.cfg.Dir, "raft.db"))
		if err != nil {
			return err
		}
		inner = b
	}
	n.stable = newStableStore(inner, n.cfg.StoreDeadline, n.fatal)
	n.store = &logStore{log: n.cfg.Log, stable: n.stable, deadline: n.cfg.StoreDeadline, fatal: n.fatal}
	snapshots := &snapshotStore{stable: n.stable, log: n.cfg.Log}
	if err := n.checkPromises(snapshots); err != nil {
		return err
	}
	if err := n.bootstrap(); err != nil {
		return err
	}
	n.metrics = newMetrics(n)
	n.fsm = &fsm{log: n.cfg.Log, fatal: n.fatal}
	n.contacts = newContacts()
	n.forward = newForwarder(n)
	n.inbound = newInbound(n)
	logger := newHCLog(n.logger, "raft")
	n.trans = newTransport(n, logger)

	cached, err := raft.NewLogCache(logCacheEntries, n.store)
	if err != nil {
		return err
	}
	cache := &logCache{LogCache: cached, store: n.store}
	notify := make(chan bool, 16)
	r, err := func() (r *raft.Raft, err error) {
		defer func() { // raft panics when it cannot read an entry; that is no reason to lose the message
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v: %w", p, event.ErrCorrupt)
			}
		}()
		return raft.NewRaft(n.raftConfig(logger, notify), n.fsm, cache, n.stable, snapshots, n.trans)
	}()
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	n.raft = r
	n.ready.Store(r)
	n.streams.start()
	observed := make(chan raft.Observation, 16)
	r.RegisterObserver(raft.NewObserver(observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	n.work.Go(func() { n.watchLeadership(notify, observed) })
	n.work.Go(n.keepHouse)
	if n.cfg.ReplaceAfter > 0 {
		n.work.Go(n.autopilot)
	}
	return nil
}

// The cache counts entries, most of which have some KiB. Together the two bound what it holds to 64 MiB.
const (
	logCacheEntries = 256
	logCacheBytes   = 256 << 10 // of an entry
)

// logCache is raft's cache of new entries, without the large ones: those of an import would fill the memory.
type logCache struct {
	*raft.LogCache
	store raft.LogStore
}

// StoreLogs implements raft.LogStore. What is not put into the cache is read from the log. Nothing else stands in its
// place there: entries have other indexes, and a truncation empties the cache.
func (c *logCache) StoreLogs(logs []*raft.Log) error {
	if slices.ContainsFunc(logs, func(l *raft.Log) bool { return len(l.Data) > logCacheBytes }) {
		return c.store.StoreLogs(logs)
	}
	return c.LogCache.StoreLogs(logs)
}

// StoreLog implements raft.LogStore.
func (c *logCache) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

func (n *Node) raftConfig(logger *hcLogger, notify chan bool) *raft.Config {
	t := n.cfg.Timers
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.cfg.ID)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout, c.CommitTimeout = t.Heartbeat, t.Election, t.Lease, t.Commit
	c.MaxAppendEntries = 64           // 16 MiB of packed entries in one call; throughput comes from packing
	c.BatchApplyCh = true             // fewer hand-overs between goroutines
	c.TrailingLogs = ^uint64(0)       // the log is for ever; the store refuses prefix deletion too
	c.NoSnapshotRestoreOnStart = true // a snapshot holds nothing to restore
	c.RestoreCommittedLogs = false    // it blocks NewRaft for ever behind 128 batches; the log keeps its own mark
	c.SnapshotThreshold, c.SnapshotInterval = t.SnapshotEntries, t.SnapshotInterval
	c.ShutdownOnRemove = false // a removed node stays up, without a vote, until its operator stops it
	c.NoLegacyTelemetry = true
	c.NotifyCh = notify
	c.Logger = logger
	return c
}

// bootstrap writes the first entry of a new pool. Our own version of raft.BootstrapCluster, because that one refuses
// a second try after a crash between its two writes. Term and entry are the same whoever writes them, and a node that
// has voted or heard of a later term is never touched.
func (n *Node) bootstrap() error {
	if len(n.cfg.Bootstrap) == 0 || n.cfg.Log.LastIndex() > 0 {
		return nil
	}
	term, err := n.stable.GetUint64([]byte(raftTermKey))
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("read the term: %w", err)
	}
	voted, err := n.stable.Get([]byte(raftVoteKey))
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("read the vote: %w", err)
	}
	if term > 1 || len(voted) > 0 {
		return nil
	}
	var conf raft.Configuration
	self := false
	for _, s := range n.cfg.Bootstrap {
		suffrage := raft.Voter
		if s.Standby {
			suffrage = raft.Nonvoter
		}
		self = self || s.ID == n.cfg.ID
		conf.Servers = append(conf.Servers, raft.Server{Suffrage: suffrage, ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Addr)})
	}
	if err := checkBootstrap(n.cfg.Bootstrap); err != nil {
		return err
	}
	if !self {
		return nil // not a founder: it waits to be added
	}
	if err := n.stable.SetUint64([]byte(raftTermKey), 1); err != nil {
		return fmt.Errorf("write the first term: %w", err)
	}
	first := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(conf)}
	if err := n.store.StoreLogs([]*raft.Log{first}); err != nil {
		return fmt.Errorf("write the first entry: %w", err)
	}
	return nil
}

// Names that hashicorp/raft gives to what it keeps in the stable store.
const (
	raftTermKey = "CurrentTerm"
	raftVoteKey = "LastVoteCand"
)

func checkBootstrap(servers []Server) error {
	ids, addrs, voters := map[event.NodeID]bool{}, map[string]bool{}, 0
	for _, s := range servers {
		if s.ID == "" || s.Addr == "" || ids[s.ID] || addrs[s.Addr] {
			return fmt.Errorf("bootstrap: node %q at %q: name or address is empty or there twice", s.ID, s.Addr)
		}
		ids[s.ID], addrs[s.Addr] = true, true
		if !s.Standby {
			voters++
		}
	}
	if voters == 0 {
		return errors.New("bootstrap: a pool needs at least one voter")
	}
	return nil
}

// checkPromises refuses a log that is not what this node had vouched for, and tells the log how much of it is
// known to be committed.
func (n *Node) checkPromises(snapshots *snapshotStore) error {
	if err := n.store.checkPromise(); err != nil {
		return err
	}
	meta, ok, err := snapshots.pointer()
	if err != nil || !ok {
		return err
	}
	index := event.Index(meta.Index)
	if last := n.cfg.Log.LastIndex(); last < index {
		return brokenPromise(ErrShortLog, "it ends at entry %d, but this node had stored the snapshot at entry %d", last, index)
	}
	if index > n.cfg.Log.Head().Index { // the mark itself is only as durable as the append after it
		if _, err := n.cfg.Log.Commit(index); err != nil {
			return fmt.Errorf("commit up to the last snapshot at %d: %w", index, err)
		}
	}
	return nil
}

// keepHouse renews the promise and watches the log for failed writes of whoever else uses it.
func (n *Node) keepHouse() {
	tick := time.NewTicker(promiseEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := n.store.renewPromise(); err != nil {
				n.fatal(err)
				return
			}
		case <-n.cfg.Log.Failed():
			n.fatal(fmt.Errorf("the log refuses writes: %w", n.cfg.Log.Err()))
			return
		case <-n.ctx.Done():
			return
		}
	}
}

// promiseEvery bounds how often the promise costs a write. What was stored since is not covered by it.
const promiseEvery = time.Second

// fatal ends the node. Until Open has returned, its error does.
func (n *Node) fatal(err error) {
	if n.ready.Load() == nil {
		n.logger.Error("node cannot start", keyError, err)
		return
	}
	n.fatalOnce.Do(func() {
		n.logger.Error("node cannot go on", keyError, err)
		n.cfg.Fatal(fmt.Errorf("node %s: %w", n.cfg.ID, err))
	})
}

// ID returns the node's name.
func (n *Node) ID() event.NodeID { return n.cfg.ID }

// Leader returns who leads, as far as this node knows; ok is false when nobody is known to.
func (n *Node) Leader() (id event.NodeID, addr string, ok bool) {
	a, i := n.raft.LeaderWithID()
	return event.NodeID(i), string(a), i != ""
}

// IsLeader reports whether this node leads, as far as it knows: another may have been elected already.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// Term returns the current term.
func (n *Node) Term() uint64 { return n.raft.CurrentTerm() }

// Shutdown leaves the pool running without this node. It waits for what was proposed, at most until ctx ends. It does
// not hand the leadership over: call Transfer before. The log stays open.
func (n *Node) Shutdown(ctx context.Context) error {
	n.down.Do(func() { n.downErr = n.shutdown(ctx) })
	return n.downErr
}

func (n *Node) shutdown(ctx context.Context) error {
	n.cancel()
	n.closing.Lock()
	n.closed = true
	n.closing.Unlock()
	// raft never answers what is still in its buffer when it stops, so first everything proposed gets its answer: a
	// leader without a majority gives up after its lease.
	proposals := make(chan struct{})
	go func() { n.proposals.Wait(); close(proposals) }()
	select {
	case <-proposals:
	case <-ctx.Done():
	}
	future := n.raft.Shutdown()
	close(n.raftDown)
	n.streams.closeConns() // else calls to peers hold raft's goroutines until they time out
	raftDone := make(chan error, 1)
	go func() { raftDone <- future.Error() }()
	select {
	case err := <-raftDone:
		if err != nil {
			return fmt.Errorf("stop raft: %w", err)
		}
	case <-ctx.Done():
		return fmt.Errorf("stop node %s: %w", n.cfg.ID, ctx.Err()) // raft still uses its stores: they stay open
	}
	n.forward.close()
	n.inbound.close()
	n.work.Wait()
	return errors.Join(n.store.renewPromise(), n.closeParts())
}

// closeParts closes what Open has opened so far.
func (n *Node) closeParts() error {
	var err error
	if n.streams != nil {
		err = n.streams.Close()
		n.streams.wait()
	} else {
		err = n.cfg.Network.Close()
	}
	if n.trans != nil {
		err = errors.Join(err, n.trans.Close())
	}
	if n.stable != nil {
		err = errors.Join(err, n.stable.Close())
	}
	return err
}
