package compliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/feeds"
)

// Attribute keys.
const (
	keyFeed   = "feed"
	keyEpoch  = "epoch"
	keyFirst  = "first"
	keyLast   = "last"
	keyError  = "error"
	keyFile   = "file"
	keyRetry  = "retry_in"
	keyBytes  = "bytes"
	keyEvents = "events"
)

// Pool is what a feed needs of its node.
type Pool interface {
	// Submit decides a command as this node, trusted, and returns after the commit. The errors are *chat.Refusal.
	Submit(ctx context.Context, c chat.Command) (chat.Outcome, error)
	// State is the newest state this node has folded.
	State() *chat.State
	IsLeader() bool
	Node() event.NodeID
}

// Limits and defaults of a feed.
const (
	DefaultEvery     = 15 * time.Minute // the product's RunInterval
	DefaultMaxEvents = 10000
	maxCutBytes      = 64 << 20 // of events with their bodies in one cut, because an adapter may keep it in memory
	defaultBackoff   = time.Second
	eventDriven      = time.Second // between two cuts of a feed that delivers as events come
	lookAgain        = time.Second // at ownership and at the log, at the latest
	maxBackoff       = time.Minute
	settleTimeout    = 30 * time.Second
)

// FeedConfig describes a feed. It is the same on every node of the pool: what a feed writes depends on it. A feed that the
// log configures (event.FeedSet) goes by the log, and Adapter, Every and MaxEvents here do not count.
type FeedConfig struct {
	Name      string        // part of file names: lower case letters, digits and hyphens, 64 at most
	Adapter   Adapter       // this node's instance; nil: the log configures the feed
	Make      Maker         // makes the adapter of a feed that the log configures; nil: there are none
	Every     time.Duration // between two cuts; 0 means DefaultEvery
	MaxEvents int           // events in one cut that are more than the feeds' own bookkeeping; 0 means DefaultMaxEvents
	Backoff   time.Duration // after a first failure; it doubles up to a minute; 0 means 1 s
	Metrics   *Metrics      // may be nil
	// Base returns a state at the given offset or before it, where there is one to start from: it belongs to the feed. Without
	// it a new owner folds the log from its first event.
	Base func(ctx context.Context, at event.Offset) (*chat.State, error)
}

// Maker makes the adapter for a cut: cut is the configuration that the cut was made under, now the one that holds now.
type Maker func(cut, now *event.FeedInfo) (Adapter, error)

// Feed delivers the log to one adapter while this node owns it. Every node runs one; all but the owner wait.
type Feed struct {
	cfg  FeedConfig
	pool Pool
	src  *mannered
	log  *slog.Logger
	err  error // of the configuration

	// Only Run's goroutine uses these.
	base    *chat.State // at the last receipt, nil while not the owner
	pending pending
	lastCut time.Time
	every   time.Duration
	most    int // events in a cut
	made    made
	tidied  bool  // what an earlier process of this node left is gone
	gone    *gone // nil: not asked for yet

	mu     sync.Mutex
	status Status
}

// made is the adapter that was made last, and for what.
type made struct {
	adapter  Adapter
	cut, now event.FeedInfo
}

// pending is what lies between the last receipt and what was looked at.
type pending struct {
	seen   event.Offset // the last event looked at
	state  *chat.State  // at an earlier one, nil: none but the base; most events can be told without
	events int          // that a target may want
	bytes  int
	oldest event.Time // of those
}

// NewFeed returns a feed; Run starts it.
func NewFeed(cfg FeedConfig, pool Pool, src Source, logger *slog.Logger) *Feed {
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = DefaultMaxEvents
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = defaultBackoff
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	polite := &mannered{Source: src, head: func() event.Offset { return pool.State().Offset() }, feeds: func() int { return 1 }}
	f := &Feed{cfg: cfg, pool: pool, src: polite, log: logger.With(keyFeed, cfg.Name)}
	if b, ok := pool.(Busy); ok {
		f.src.busy = b.Busy
	}
	f.status = Status{Feed: cfg.Name, State: StateStandby}
	switch {
	case !feedName.MatchString(cfg.Name):
		f.err = fmt.Errorf("feed %q: a name has 1 to 64 lower case letters, digits and hyphens", cfg.Name)
	case cfg.Adapter == nil && cfg.Make == nil:
		f.err = fmt.Errorf("feed %s has no adapter", cfg.Name)
	case cfg.Every < 0 || cfg.MaxEvents < 0 || cfg.Backoff < 0:
		f.err = fmt.Errorf("feed %s: interval, cut size and backoff must be positive", cfg.Name)
	case cfg.Adapter != nil:
		f.status.Adapter = cfg.Adapter.Name()
	}
	return f
}

var feedName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)

// The states of a feed on a node.
const (
	StateStandby    = "standby"     // another node owns it
	StateCatchingUp = "catching_up" // folding the log up to the last receipt
	StateWaiting    = "waiting"     // nothing to deliver, or not yet
	StateDelivering = "delivering"
	StateFailing    = "failing" // the last attempt failed; it will be repeated
	StatePaused     = "paused"  // by an administrator
)

// Status is a feed as one node sees it.
type Status struct {
	Feed      string
	Adapter   string
	State     string
	Owner     event.NodeID
	Epoch     uint64
	Offset    event.Offset // of the last receipt
	Backlog   uint64       // events after it, 0 if they are nothing but bookkeeping
	Oldest    event.Time   // of the oldest event that waits; 0: none, or this node is not the owner
	Reason    string       // of a pause
	LastError string       // of the last attempt, empty after a success
	Failures  int          // attempts that failed since the last success
}

// Status returns how the feed stands. What waits is right on every node; the state, the last error and the failures of a
// feed that another node owns only that one knows.
func (f *Feed) Status() Status {
	f.mu.Lock()
	s := f.status
	f.mu.Unlock()
	state := f.pool.State()
	fd, ok := state.Feed(f.cfg.Name)
	if ok {
		s.Owner, s.Epoch, s.Offset = fd.Owner, fd.Epoch, fd.Receipt
	}
	if fd.Configured() {
		s.Adapter = fd.Info.Adapter
	}
	if fd.Paused {
		s.State, s.Reason = StatePaused, fd.Reason
	}
	if s.State == StateStandby || s.State == StatePaused {
		s.Backlog, s.Oldest = waiting(f.src.Source, s.Offset, state.Offset())
	}
	return s
}

// waiting returns what waits for a feed behind a receipt, as its owner would say: the events up to the head, and the time
// of the oldest that a target may want; both 0 if there is none. It reads a few events only: bookkeeping does not beget
// bookkeeping. A lost node that took somebody with it counts from the next event on.
func waiting(src Source, receipt, head event.Offset) (backlog uint64, oldest event.Time) {
	for next := receipt + 1; next <= head; {
		run, err := src.Read(next, int(min(readEvents, head-next+1)))
		if err != nil || len(run) == 0 {
			return uint64(head - receipt), 0
		}
		for _, e := range run {
			if !housekeeping(e) {
				return uint64(head - receipt), e.At
			}
		}
		next = run[len(run)-1].Offset + 1
	}
	return 0, 0
}

// Run works until ctx ends. It returns an error only if the feed is configured wrongly; everything else it repeats,
// from Backoff (1 s) up to 60 s apart, for ever: an event is late, never skipped.
func (f *Feed) Run(ctx context.Context) error {
	if f.err != nil {
		return f.err
	}
	defer f.standby()
	backoff := time.Duration(0)
	for ctx.Err() == nil {
		err := f.round(ctx)
		switch {
		case err == nil:
			backoff = 0
			f.set(func(s *Status) {
				if s.Failures > 0 {
					f.cfg.Metrics.failing.WithLabelValues(f.cfg.Name).Set(0)
				}
				s.LastError, s.Failures = "", 0
			})
		case ctx.Err() != nil:
		case f.stopped():
			// Paused or removed while we were at it: no failure, and the next round says so.
		case errors.Is(err, chat.ErrStaleEpoch):
			// Another node was made the owner; our state will tell us in a moment.
			f.log.Info("compliance: feed was taken over by another node")
			f.standby()
			sleep(ctx, f.cfg.Backoff)
		default:
			backoff = min(max(2*backoff, f.cfg.Backoff), maxBackoff)
			f.failed(err, backoff)
			if f.rest(ctx, backoff) {
				backoff = 0
			}
		}
	}
	return nil
}

// stopped reports whether an administrator wants the feed to stand still.
func (f *Feed) stopped() bool {
	fd, _ := f.pool.State().Feed(f.cfg.Name)
	return fd.Paused || fd.Removed
}

// rest waits, but no longer than until somebody changes the feed: perhaps he has mended it.
func (f *Feed) rest(ctx context.Context, d time.Duration) (changed bool) {
	before, _ := f.pool.State().Feed(f.cfg.Name)
	for end := time.Now().Add(d); ctx.Err() == nil && time.Now().Before(end); {
		sleep(ctx, min(lookAgain, time.Until(end)))
		if now, _ := f.pool.State().Feed(f.cfg.Name); now.Revision != before.Revision {
			return true
		}
	}
	return false
}

// adapter returns the adapter for a cut.
func (f *Feed) adapter(fd *chat.Feed, cut *event.FeedInfo) (Adapter, error) {
	switch {
	case !fd.Configured() && f.cfg.Adapter != nil:
		return f.cfg.Adapter, nil
	case f.cfg.Make == nil || !fd.Configured():
		return nil, fmt.Errorf("feed %s: this node does not know how to make its adapter", f.cfg.Name)
	case f.made.adapter != nil && feeds.Equal(&f.made.cut, cut) && feeds.Equal(&f.made.now, &fd.Info):
		return f.made.adapter, nil
	}
	a, err := f.cfg.Make(cut, &fd.Info)
	if err != nil {
		return nil, fmt.Errorf("make adapter %s: %w", cut.Adapter, err)
	}
	f.made = made{a, *cut, fd.Info}
	return a, nil
}

// pace sets how often and how much to cut.
func (f *Feed) pace(fd *chat.Feed) {
	f.every, f.most = f.cfg.Every, f.cfg.MaxEvents
	if fd.Configured() {
		f.every, f.most = max(time.Duration(fd.Info.Every), eventDriven), DefaultMaxEvents
		if fd.Info.MaxEvents > 0 {
			f.most = int(fd.Info.MaxEvents)
		}
	}
}

// round does one step: claim, wait, or deliver one cut.
func (f *Feed) round(ctx context.Context) error {
	f.src.begin(ctx)
	state := f.pool.State()
	fd, known := state.Feed(f.cfg.Name)
	f.pace(&fd)
	f.tidy(&fd)
	if fd.Paused {
		f.standby()
		sleep(ctx, lookAgain/4)
		return nil
	}
	if !fd.Configured() && f.cfg.Adapter == nil { // removed, or not set yet as far as this node knows
		f.standby()
		sleep(ctx, lookAgain/4)
		return nil
	}
	if !known || fd.Owner != f.pool.Node() {
		f.standby()
		owner, alive := state.Node(fd.Owner)
		if known && alive && owner.Alive || !f.pool.IsLeader() {
			sleep(ctx, lookAgain/4)
			return nil
		}
		out, err := f.pool.Submit(ctx, &chat.ClaimFeed{Feed: f.cfg.Name})
		if err != nil {
			return fmt.Errorf("claim feed %s: %w", f.cfg.Name, err)
		}
		f.log.Info("compliance: this node owns the feed now", keyEpoch, out.Result.Epoch)
		return f.settle(ctx, out.Offset)
	}
	if err := f.rebase(ctx, fd.Receipt); err != nil {
		return err
	}
	first, last := fd.CutFirst, fd.CutLast
	if last == 0 {
		if err := f.look(ctx); err != nil {
			return err
		}
		f.report(StateWaiting)
		if wait := f.due(); wait > 0 {
			f.await(ctx, wait)
			return nil
		}
		first, last = fd.Receipt+1, f.pending.seen
	}
	return f.deliver(ctx, fd.Epoch, first, last)
}

// tidy removes, once, what an earlier process of this node left behind: whoever delivers next, it may be another node.
func (f *Feed) tidy(fd *chat.Feed) {
	if f.tidied || !fd.Configured() && f.cfg.Adapter == nil {
		return
	}
	a, err := f.adapter(fd, &fd.Info)
	if err != nil {
		return // it is told when there is something to deliver
	}
	f.tidied = true
	if t, ok := a.(Tidier); ok {
		if err := t.Tidy(f.cfg.Name); err != nil {
			f.log.Warn("compliance: an earlier run left something that cannot be removed", keyError, err)
		}
	}
}

// rebase brings the base to the last receipt.
func (f *Feed) rebase(ctx context.Context, at event.Offset) error {
	if f.base != nil && f.base.Offset() == at {
		return nil
	}
	base := f.base
	f.base, f.pending = nil, pending{}
	if base == nil || base.Offset() > at {
		f.set(func(s *Status) { s.State = StateCatchingUp })
		base = nil
		if f.cfg.Base != nil {
			b, err := f.cfg.Base(ctx, at)
			if err != nil {
				return fmt.Errorf("find a state to start feed %s from: %w", f.cfg.Name, err)
			}
			if b != nil && b.Offset() <= at {
				base = b
			}
		}
		if base == nil {
			base = chat.NewStateToRead()
		}
	}
	base.Forget() // a feed never decides
	if err := fold(ctx, f.src, base, at); err != nil {
		return fmt.Errorf("bring feed %s to its receipt: %w", f.cfg.Name, err)
	}
	f.base = base
	f.pending = pending{seen: at}
	return nil
}

// look reads on from what was looked at, to the head or until there is enough for a cut.
func (f *Feed) look(ctx context.Context) error {
	p := &f.pending
	for !f.full() {
		if err := ctx.Err(); err != nil {
			return err
		}
		run, err := f.src.Read(p.seen+1, readEvents)
		if err != nil {
			return fmt.Errorf("read events from %d: %w", p.seen+1, err)
		}
		if len(run) == 0 {
			return nil
		}
		for _, e := range run {
			skip, err := f.bookkeeping(ctx, e)
			if err != nil {
				return err
			}
			if p.seen = e.Offset; skip {
				continue
			}
			if p.events++; p.events == 1 {
				p.oldest = e.At
			}
			// The error is that of a kind which this version does not know: the adapter says so.
			n, _ := (&event.Draft{Meta: e.Meta, Event: e.Event}).Size()
			p.bytes += n
			if f.full() {
				break
			}
		}
	}
	return nil
}

func (f *Feed) full() bool {
	return f.pending.events >= f.most || f.pending.bytes >= maxCutBytes
}

// bookkeeping reports whether an event is none that a feed would be cut for: the events of feeds themselves, which
// would otherwise beget each other for ever, and the coming and going of nodes that took nobody with them.
func (f *Feed) bookkeeping(ctx context.Context, e event.Envelope) (bool, error) {
	switch e.Event.(type) {
	case *event.NodeStarted, *event.NodeLost: // rare: only for them is it worth to know who was where
		p := &f.pending
		if p.state == nil {
			p.state = f.base.Clone()
		}
		if err := fold(ctx, f.src, p.state, e.Offset-1); err != nil {
			return false, fmt.Errorf("look at event %d: %w", e.Offset, err)
		}
		return len(impliedParts(p.state, e)) == 0, nil
	}
	return housekeeping(e), nil
}

// housekeeping is bookkeeping without the state: the loss or the start of a node may have parted somebody.
func housekeeping(e event.Envelope) bool { return feeds.Housekeeping(e.Event) }

// due returns how long to wait before the next cut; never less than a moment while there is nothing to cut.
func (f *Feed) due() time.Duration {
	switch {
	case f.full():
		return 0
	case f.pending.events == 0:
		return lookAgain
	}
	return time.Until(f.lastCut.Add(f.every))
}

// await waits for the log to go on, but no longer than d. Ownership is looked at again within a second.
func (f *Feed) await(ctx context.Context, d time.Duration) {
	if f.pending.events > 0 { // the cut is due in d: no need to look at every event before
		sleep(ctx, min(d, lookAgain))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(d, lookAgain))
	defer cancel()
	if err := f.src.WaitFor(ctx, f.pending.seen+1); err != nil {
		sleep(ctx, d) // the time is over, or the log is closed: then this is not a loop that burns a core
	}
}

// deliver fixes the cut, hands it to the adapter and commits the receipt. If the cut was open already, the pool
// answers with that one, whatever we propose.
func (f *Feed) deliver(ctx context.Context, epoch uint64, first, last event.Offset) error {
	out, err := f.pool.Submit(ctx, &chat.CutFeed{Feed: f.cfg.Name, Epoch: epoch, First: first, Last: last})
	if err != nil {
		return fmt.Errorf("cut feed %s at %d to %d: %w", f.cfg.Name, first, last, err)
	}
	if f.lastCut = time.Now(); out.Result.Last != 0 {
		first, last = event.Offset(out.Result.First), event.Offset(out.Result.Last)
	}
	if f.base.Offset() != first-1 {
		return f.settle(ctx, out.Offset) // our state lags behind the pool: look again
	}
	// What the cut is delivered under is what it was made under, and that is in the state once it has the cut.
	fd, _ := f.pool.State().Feed(f.cfg.Name)
	if fd.Configured() && fd.CutFirst != first {
		return f.settle(ctx, out.Offset)
	}
	adapter, err := f.adapter(&fd, &fd.CutInfo)
	if err != nil {
		return err
	}
	f.report(StateDelivering)
	if err := f.src.WaitFor(ctx, last); err != nil {
		return fmt.Errorf("wait for event %d: %w", last, err)
	}
	f.src.begin(ctx)
	src, err := lawful(ctx, f.src, &fd, first, &f.gone)
	if err != nil {
		return fmt.Errorf("find what was removed before the feed was set: %w", err)
	}
	cut, run, err := NewCut(f.cfg.Name, first, last, f.base, src, FilterOf(&fd.CutInfo))
	if err != nil {
		return err
	}
	r, err := adapter.Deliver(ctx, cut, run)
	if err != nil {
		return fmt.Errorf("deliver events %d to %d with %s: %w", first, last, adapter.Name(), err)
	}
	if !cut.dir.ended {
		return fmt.Errorf("deliver events %d to %d: adapter %s acknowledged a run that it did not read to its end", first, last, adapter.Name())
	}
	f.src.rest() // for what it wrote at the end
	receipt := event.FeedReceipt{Feed: f.cfg.Name, Epoch: epoch, First: first, Last: last, Name: r.Name, Bytes: r.Bytes}
	if !r.Empty() {
		receipt.SHA256 = r.SHA256[:]
	}
	if out, err = f.pool.Submit(ctx, &chat.ReceiptFeed{Receipt: receipt}); err != nil {
		return fmt.Errorf("commit the receipt for events %d to %d: %w", first, last, err)
	}
	// The state the run ended with is the next base: no second fold.
	f.base, f.pending = cut.dir.state, pending{seen: last}
	f.log.Debug("compliance: delivered", keyFirst, first, keyLast, last, keyFile, r.Name, keyBytes, r.Bytes, keyEvents, last-first+1)
	return f.settle(ctx, out.Offset)
}

// settle waits until this node's own state has passed an offset, so that the next round decides on what it just did.
func (f *Feed) settle(ctx context.Context, at event.Offset) error {
	deadline := time.Now().Add(settleTimeout)
	for f.pool.State().Offset() < at {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("this node's state is at %d and does not reach %d", f.pool.State().Offset(), at)
		}
		sleep(ctx, 5*time.Millisecond)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// standby forgets what only an owner needs.
func (f *Feed) standby() {
	f.base, f.pending, f.lastCut, f.gone = nil, pending{}, time.Time{}, nil
	f.cfg.Metrics.offset.DeleteLabelValues(f.cfg.Name)
	f.cfg.Metrics.lag.DeleteLabelValues(f.cfg.Name)
	f.cfg.Metrics.oldest.DeleteLabelValues(f.cfg.Name)
	f.cfg.Metrics.failing.DeleteLabelValues(f.cfg.Name)
	f.set(func(s *Status) { *s = Status{Feed: s.Feed, Adapter: s.Adapter, State: StateStandby} })
}

func (f *Feed) failed(err error, retry time.Duration) {
	f.cfg.Metrics.errors.WithLabelValues(f.cfg.Name).Inc()
	f.cfg.Metrics.failing.WithLabelValues(f.cfg.Name).Set(1)
	level := slog.LevelWarn
	if errors.Is(err, ErrDiffers) || errors.Is(err, event.ErrCorrupt) {
		level = slog.LevelError
	}
	f.log.Log(context.Background(), level, "compliance: attempt failed, nothing is skipped", keyError, err, keyRetry, retry)
	f.set(func(s *Status) { s.State, s.LastError, s.Failures = StateFailing, err.Error(), s.Failures+1 })
}

// report publishes where the owner stands.
func (f *Feed) report(state string) {
	receipt, head := f.base.Offset(), f.pool.State().Offset()
	backlog := uint64(0)
	if f.pending.events > 0 && head > receipt {
		backlog = uint64(head - receipt)
	}
	f.cfg.Metrics.offset.WithLabelValues(f.cfg.Name).Set(float64(receipt))
	f.cfg.Metrics.lag.WithLabelValues(f.cfg.Name).Set(float64(backlog))
	f.cfg.Metrics.oldest.WithLabelValues(f.cfg.Name).Set(float64(f.pending.oldest) / 1e9)
	f.set(func(s *Status) { s.State, s.Backlog, s.Oldest = state, backlog, f.pending.oldest })
}

func (f *Feed) set(change func(*Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
}

// Metrics are the collectors of all feeds of a node. The label is the feed's name: as many as the configuration has.
type Metrics struct {
	offset, lag, oldest, failing *prometheus.GaugeVec
	errors                       *prometheus.CounterVec
}

// NewMetrics builds the collectors.
func NewMetrics() *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "parley_compliance_" + name, Help: help}, []string{"feed"})
	}
	return &Metrics{
		offset:  gauge("offset", "Offset of the feed's last receipt. Only on the node that owns the feed."),
		lag:     gauge("lag_events", "Events behind the last receipt, 0 if they are only bookkeeping. Only on the node that owns the feed."),
		oldest:  gauge("oldest_waiting_timestamp_seconds", "Unix time of the oldest event behind the last receipt, 0 if none waits. Only on the node that owns the feed."),
		failing: gauge("failing", "1 while the last attempt failed. Only on the node that tries."),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_compliance_errors_total",
			Help: "Attempts to claim, cut, deliver or commit that failed."}, []string{"feed"}),
	}
}

// Collectors returns what to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.offset, m.lag, m.oldest, m.failing, m.errors}
}
