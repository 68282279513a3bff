// Package sequencer is the single writer of the pool: on the leader, one goroutine drains a queue of commands,
// decides each against scratch state that is ahead of the committed state by what is in flight, packs the events of
// many commands into one entry, and releases the waiting callers once the entry is committed.
//
// Packing is what makes the pool fast: a commit costs one synced write per node whatever it carries. There is no
// linger timer. While an entry travels commands gather in the queue, and the next entry takes what has gathered, so a
// lone command waits for nobody and a storm packs itself.
//
// The package knows neither Raft nor rooms: a Proposer carries entries, a Decider knows the rules.
package sequencer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"parley/log/event"
)

// Limits of packing. Measured: between 64 and 1024 commands per entry throughput hardly differs, and small entries
// keep the read of a single event cheap.
const (
	MaxCommands  = 64        // commands in one entry while the queue is short
	DeepCommands = 256       // commands in one entry while more than MaxCommands wait
	MaxBytes     = 256 << 10 // of events in one entry before compression; a single command may exceed it
	MaxInFlight  = 4         // entries proposed and not committed
	maxPacked    = 4096      // events of several commands in one entry; a single one may have event.MaxBatchEvents
	maxCommand   = 8 << 20   // bytes of events of one command: half of what an entry may have
)

var (
	// ErrNotLeader says that this node does not decide, and that the command had no effect.
	ErrNotLeader = errors.New("this node does not lead the pool")
	// ErrBusy says that the queue is full, and that the command had no effect.
	ErrBusy = errors.New("the leader's queue is full")
	// ErrUnknownOutcome says that the command may or may not take effect. A retry with the same identity is safe.
	ErrUnknownOutcome = errors.New("outcome of the command is unknown")
	// ErrTooLarge says that one command led to more events than an entry holds. It had no effect.
	ErrTooLarge = errors.New("the command leads to more than one entry holds")
	// ErrInternal says that deciding the command failed for a reason that is a bug. It had no effect.
	ErrInternal = errors.New("the command could not be decided")
)

// Head is the position that scratch state stands at.
type Head struct {
	Offset event.Offset
	Chain  event.Chain
	At     event.Time
}

// Decider is the rules with a scratch state of their own. One goroutine calls it.
type Decider[C, R any] interface {
	// Decide says which events the command leads to at the instant at, and what its caller is told besides. It does
	// not change the state: it may be asked again for the same command. An error refuses the command.
	Decide(c C, at event.Time) ([]event.Draft, R, error)
	// Fold moves the scratch state by one event. The entry is not sealed yet: Chain, Index and Leaf are zero.
	Fold(event.Envelope) error
}

// Future is a wait for an entry. It is an alias of an unnamed type so that a Proposer of another package, which
// cannot name ours, satisfies the interface.
type Future = interface {
	// Wait returns the offsets of the entry's first and last event once it is committed. Any error leaves the
	// outcome unknown. It returns early with an error when ctx ends.
	Wait(ctx context.Context) (first, last event.Offset, err error)
}

// Proposer carries entries to the pool. raftnode.Node is one.
type Proposer interface {
	// Propose submits an entry. Entries commit in the order of calls or not at all. It is called by one goroutine.
	Propose(s *event.Sealed) Future
	// Verify's Future resolves without an error once a majority of voters has confirmed that this node still led
	// the pool after the call. Its offsets mean nothing.
	Verify() Future
	// Barrier returns once everything proposed before, in any term, is committed and applied here, or is void.
	Barrier(ctx context.Context) error
}

// Outcome is the committed end of a command.
type Outcome[R any] struct {
	First  event.Offset // of the command's first event; 0: the command needed none
	Last   event.Offset // of its last event; of the head that the answer rests on if it needed none
	At     event.Time   // when it was decided
	Result R
}

// Config puts a sequencer together. All fields but QueueLimit, Metrics and Logger are needed.
type Config[C, R any] struct {
	Proposer Proposer
	// Open returns scratch state that has folded everything committed, and where that is. It is called after the
	// barrier of a term, when the committed log holds still because nobody else writes.
	Open       func(ctx context.Context) (Decider[C, R], Head, error)
	Now        func() event.Time
	QueueLimit int // commands waiting to be decided; 0 means 16384
	Logger     *slog.Logger
	Metrics    *Metrics
}

// Sequencer is the queue and the goroutine that drains it while this node leads.
type Sequencer[C, R any] struct {
	cfg Config[C, R]

	mu      sync.Mutex
	leading bool
	lead    uint64 // counts the calls of Lead
	queue   queue[waiter[C, R]]
	wake    chan struct{} // one token: the queue may have become non-empty
}

// waiter is a caller whose done has not been called.
type waiter[C, R any] struct {
	lane    *Lane[C, R] // nil: it has none
	command C
	done    func(Outcome[R], error)
	out     Outcome[R]
	err     error // refusal
}

// New returns a sequencer that decides nothing until Lead is called.
func New[C, R any](cfg Config[C, R]) *Sequencer[C, R] {
	if cfg.QueueLimit == 0 {
		cfg.QueueLimit = 1 << 14
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	return &Sequencer[C, R]{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Enqueue queues a command; the order of calls is the order of decisions. It never blocks. done is called exactly
// once, in the order of decisions, and must not block: before Enqueue returns with ErrBusy or ErrNotLeader, else on
// a goroutine of the sequencer.
//
// The Outcome of a refusal has the Result that Decide gave with it, and no First.
//
// A refusal and the answer to a command that needed no event are held back until everything they may rest on is
// committed, and until a majority has confirmed that this node still led: nobody is told what later never was.
func (s *Sequencer[C, R]) Enqueue(c C, done func(Outcome[R], error)) { s.enqueue(nil, c, done) }

func (s *Sequencer[C, R]) enqueue(l *Lane[C, R], c C, done func(Outcome[R], error)) {
	s.mu.Lock()
	var err error
	switch {
	case !s.leading || l.closedLocked():
		l.breakLocked()
		err = ErrNotLeader
	case s.queue.len() >= s.cfg.QueueLimit:
		err = ErrBusy
	default:
		s.queue.push(waiter[C, R]{lane: l, command: c, done: done})
	}
	s.mu.Unlock()
	if err != nil {
		if errors.Is(err, ErrBusy) {
			s.cfg.Metrics.busy.Inc()
		}
		done(Outcome[R]{}, err)
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Lead decides until ctx ends, which is when this node no longer leads. It first waits for the barrier of the term.
// When an entry fails or is void while ctx goes on, Lead drops the scratch state, fails what was in flight with
// ErrUnknownOutcome and begins again with a barrier. It returns nil when ctx has ended, and an error when the barrier
// or Open fails: then this node cannot decide and somebody else should lead.
func (s *Sequencer[C, R]) Lead(ctx context.Context) error {
	s.mu.Lock()
	if s.leading {
		s.mu.Unlock()
		return errors.New("sequencer: Lead is running already")
	}
	s.leading = true
	s.lead++
	s.mu.Unlock()
	defer s.close()
	for {
		err := s.reign(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		s.failBroken()
		s.cfg.Metrics.restarts.Inc()
	}
}

// close fails what was never decided. Nothing is in flight any more.
func (s *Sequencer[C, R]) close() {
	s.mu.Lock()
	s.leading = false
	undecided := s.queue
	s.queue = queue[waiter[C, R]]{}
	s.mu.Unlock()
	for undecided.len() > 0 {
		undecided.pop().done(Outcome[R]{}, ErrNotLeader)
	}
}

// batch is an entry on its way, or, without events, a wait for the confirmation of the leadership.
type batch[C, R any] struct {
	event.Batch
	linked  *event.Linked // nil without events
	future  Future
	waiters []waiter[C, R]
}

// empty makes a batch whose waiters were called ready for others, in the same memory, unless that is unusually large.
func (b *batch[C, R]) empty() bool {
	if cap(b.waiters) > 2*DeepCommands || cap(b.Events) > maxPacked {
		return false
	}
	clear(b.waiters)
	clear(b.Events)
	*b = batch[C, R]{waiters: b.waiters[:0], Batch: event.Batch{Events: b.Events[:0]}}
	return true
}

// reign decides on one scratch state. It returns nil if that had to be dropped.
func (s *Sequencer[C, R]) reign(ctx context.Context) error {
	if err := s.cfg.Proposer.Barrier(ctx); err != nil {
		return fmt.Errorf("barrier of the term: %w", err)
	}
	decider, head, err := s.cfg.Open(ctx)
	if err != nil {
		return fmt.Errorf("open scratch state: %w", err)
	}
	rctx, drop := context.WithCancelCause(ctx)
	defer drop(nil)
	// Batches and their encoded forms go round: hundreds a second are made.
	done := make(chan *batch[C, R], MaxInFlight)
	spare := make(chan *event.Linked, MaxInFlight)
	p := packer[C, R]{decider: decider, head: head, seq: s, done: done}
	p.clock.start(s.cfg.Now())

	// One slot per batch in flight, so that sending never blocks.
	packed := make(chan *batch[C, R], MaxInFlight)
	inflight := make(chan *batch[C, R], MaxInFlight)
	slots := make(chan struct{}, MaxInFlight)
	released := make(chan struct{})
	go func() {
		defer close(inflight)
		s.propose(packed, inflight, spare, drop)
	}()
	go func() {
		defer close(released)
		s.release(rctx, drop, inflight, slots, done)
	}()
	for !p.broken {
		select {
		case slots <- struct{}{}:
		case <-rctx.Done():
		}
		if !s.await(rctx) {
			break
		}
		b := p.pack()
		if len(b.waiters) == 0 {
			<-slots
			continue
		}
		if len(b.Events) > 0 {
			select {
			case b.linked = <-spare:
			default:
				b.linked = new(event.Linked)
			}
			if err := b.linked.Link(&b.Batch); err != nil { // the packer has checked every draft, so this is a bug; nothing was proposed
				s.cfg.Logger.Error("sequencer: linking an entry failed", keyError, err)
				for i := range b.waiters {
					b.waiters[i].err = fmt.Errorf("%w: %w", ErrInternal, err)
				}
				b.Events, b.linked = nil, nil
				p.broken = true
			} else {
				p.head.Chain = b.linked.Chain
			}
		}
		packed <- b
	}
	close(packed)
	<-released
	if cause := context.Cause(rctx); rctx.Err() != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("sequencer: scratch state dropped", keyError, cause)
	}
	return nil
}

// propose brings the batches into their stored form, which is half of the work, while the next ones are decided. What
// follows upon a batch that it cannot be done with is not proposed either: it would be void.
func (s *Sequencer[C, R]) propose(packed <-chan *batch[C, R], inflight chan<- *batch[C, R], spare chan<- *event.Linked, drop context.CancelCauseFunc) {
	var press event.Press
	var failed error
	for b := range packed {
		switch {
		case failed != nil:
			b.future = never{failed}
		case b.linked == nil:
			b.future = s.cfg.Proposer.Verify()
		default:
			sealed, err := b.linked.Seal(&press)
			select {
			case spare <- b.linked:
			default:
			}
			b.linked = nil
			if failed = err; err != nil {
				s.cfg.Logger.Error("sequencer: sealing an entry failed", keyError, err)
				drop(err)
				b.future = never{err}
				break
			}
			s.cfg.Metrics.entryBytes.Observe(float64(len(sealed.Data)))
			s.cfg.Metrics.entryCommands.Observe(float64(len(b.waiters)))
			b.future = s.cfg.Proposer.Propose(sealed)
		}
		inflight <- b
	}
}

// never is the Future of what was not proposed.
type never struct{ err error }

func (f never) Wait(context.Context) (first, last event.Offset, err error) { return 0, 0, f.err }

// await blocks until a command is queued. It reports false when ctx ended.
func (s *Sequencer[C, R]) await(ctx context.Context) bool {
	for {
		if ctx.Err() != nil {
			return false
		}
		s.mu.Lock()
		n := s.queue.len()
		s.mu.Unlock()
		if n > 0 {
			return true
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

// release waits for the batches in their order and calls their waiters. After the first failure all later batches
// fail too: they were decided on state that may never be. Some may commit nevertheless, hence unknown.
func (s *Sequencer[C, R]) release(ctx context.Context, drop context.CancelCauseFunc, inflight <-chan *batch[C, R], slots <-chan struct{}, done chan<- *batch[C, R]) {
	var failed error
	for b := range inflight {
		if failed == nil {
			first, last, err := b.future.Wait(ctx)
			if want := b.Base + event.Offset(len(b.Events)); err == nil && len(b.Events) > 0 && (first != b.Base || last != want-1) {
				err = fmt.Errorf("entry committed as events %d to %d, want %d to %d", first, last, b.Base, want-1)
			}
			if err != nil {
				failed = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
				drop(err)
			}
		}
		if failed != nil {
			s.breakLanes(b.waiters)
		}
		for _, w := range b.waiters {
			switch {
			case failed != nil:
				s.cfg.Metrics.unknown.Inc()
				w.done(Outcome[R]{}, failed)
			case w.err != nil:
				s.cfg.Metrics.refused.Inc()
				w.done(w.out, w.err)
			default:
				s.cfg.Metrics.decided.Inc()
				w.done(w.out, nil)
			}
		}
		if b.empty() {
			select {
			case done <- b:
			default:
			}
		}
		<-slots
	}
}
