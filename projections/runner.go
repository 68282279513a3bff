package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"parley/log"
	"parley/log/event"
)

// Keys of log attributes.
const (
	attrProjection = "projection"
	attrOffset     = "offset"
	attrHead       = "head"
	attrVersion    = "version"
	attrErr        = "error"
	attrDir        = "dir"
	attrDetail     = "detail"
	attrEvents     = "events"
	attrSeconds    = "seconds"
)

// DefaultRun is how many events are folded in one batch while catching up.
const DefaultRun = 1000

// RunnerOptions of Follow.
type RunnerOptions struct {
	Name   string
	Logger *slog.Logger // nil: silence
	MaxRun int          // events in one Apply; 0: DefaultRun
	// PerEntry gives each log entry its own Apply once the runner has less than MaxRun events to read, so that
	// observers see the state after each entry and waiters wait for no more than their own.
	PerEntry bool
	// Linger is how long, at the head, the first event waits for others to share its Apply. Somebody who waits for an
	// offset ends it.
	Linger time.Duration
}

// Runner brings a Sink to the head of a log and keeps it there, on a goroutine of its own.
type Runner struct {
	src  Source
	sink Sink
	o    RunnerOptions

	life    context.Context // of the runner: Rebuild ends with it
	cancel  context.CancelFunc
	done    chan struct{}
	work    sync.WaitGroup // the goroutine and Rebuild
	visible atomic.Uint64  // what Offset returns
	// settled is set once the sink has been at the log's head.
	settled atomic.Bool

	applying sync.Mutex // held over every change of the sink
	verified bool       // guarded by applying: the sink's chain was found in the log

	rebuilding atomic.Bool

	mu      sync.Mutex // guards what follows
	waiters waiters
	wake    context.CancelFunc // ends the current wait for the log
	hurry   context.CancelFunc // ends the current linger
	err     error              // why it stopped
	ended   bool
}

// Follow starts a runner. It ends with ctx, with Close, or when an event cannot be folded.
func Follow(ctx context.Context, src Source, sink Sink, o RunnerOptions) *Runner {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxRun <= 0 {
		o.MaxRun = DefaultRun
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Runner{src: src, sink: sink, o: o, life: ctx, cancel: cancel, done: make(chan struct{})}
	r.visible.Store(uint64(sink.Checkpoint().Offset))
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		err := r.follow(ctx)
		if ctx.Err() != nil || errors.Is(err, log.ErrClosed) || errors.Is(err, ErrClosed) {
			err = nil // an orderly end, also when the log or the store went first
		}
		r.end(err)
	}()
	return r
}

// Name returns the name of the projection.
func (r *Runner) Name() string { return r.o.Name }

// Offset returns the last event that readers of the projection see.
func (r *Runner) Offset() event.Offset { return event.Offset(r.visible.Load()) }

// Lag returns how many committed events are still to be folded. It is 0 also while the projection waits for the
// log to pass its checkpoint.
func (r *Runner) Lag() uint64 {
	// Head first: the offset can only grow meanwhile.
	head := r.src.Head().Offset
	if at := r.Offset(); head > at {
		return uint64(head - at)
	}
	return 0
}

// Settled reports whether the projection has been at the log's head since it was started.
func (r *Runner) Settled() bool { return r.settled.Load() }

// Alone reports whether the rows that readers see are all there are: no rebuild is on its way beside them, and none of an
// older version are kept. Otherwise what an event took out may still be in the others, behind or ahead of it.
func (r *Runner) Alone() bool {
	r.applying.Lock()
	defer r.applying.Unlock()
	return !r.rebuilding.Load() && r.sink.Alone()
}

// Done is closed when the runner has ended.
func (r *Runner) Done() <-chan struct{} { return r.done }

// Err returns why the projection stopped: nil while it runs and after an orderly end.
func (r *Runner) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close ends the runner and waits for it, and for a rebuild in progress. The sink stays as it is.
func (r *Runner) Close() error {
	r.cancel()
	r.work.Wait()
	return r.Err()
}

// WaitFor returns when readers of the projection see the event at o. If the projection stops before, the error is
// its reason, of class ErrStopped; after an orderly end it is ErrClosed.
func (r *Runner) WaitFor(ctx context.Context, o event.Offset) error {
	if r.Offset() >= o {
		return nil
	}
	r.mu.Lock()
	switch {
	case r.Offset() >= o:
		r.mu.Unlock()
		return nil
	case r.ended:
		defer r.mu.Unlock()
		return r.reason()
	}
	w := r.waiters.add(o)
	if r.hurry != nil {
		r.hurry()
	}
	r.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
	}
	r.mu.Lock()
	gone := r.waiters.remove(w)
	r.mu.Unlock()
	if !gone {
		return w.err // closed before we took the lock
	}
	return fmt.Errorf("wait for event %d in projection %s: %w", o, r.o.Name, ctx.Err())
}

// reason is what waiters are told once the runner has ended.
func (r *Runner) reason() error {
	if r.err == nil {
		return fmt.Errorf("%s: %w", r.o.Name, ErrClosed)
	}
	return r.err
}

// end records why the runner ended and tells all who wait. The first call counts.
func (r *Runner) end(err error) {
	if err != nil {
		err = fmt.Errorf("%w: %s at %d: %w", ErrStopped, r.o.Name, r.Offset(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.ended, r.err = true, err
	if err != nil {
		// Logged here, because nobody may be waiting: the metric and this line are all an operator gets.
		r.o.Logger.Error("projection has stopped", attrProjection, r.o.Name, attrOffset, r.Offset(), attrErr, err)
	}
	r.waiters.fail(r.reason())
	r.cancel()
	close(r.done)
}

// advance publishes the sink's position.
func (r *Runner) advance() {
	o := r.sink.Checkpoint().Offset
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visible.Store(uint64(o))
	r.waiters.release(o)
}

// follow is the loop: wait for the log, then fold what it has.
func (r *Runner) follow(ctx context.Context) error {
	for {
		if err := r.await(ctx); err != nil {
			return err
		}
		if err := r.step(ctx); err != nil {
			return err
		}
	}
}

// await returns when there is something to do in the log, or when it was woken.
func (r *Runner) await(ctx context.Context) error {
	wake, cancel := context.WithCancel(ctx)
	defer cancel()
	r.applying.Lock()
	goal := r.sink.Checkpoint().Offset
	if r.verified || goal == 0 {
		if r.src.Head().Offset <= goal {
			r.settled.Store(true)
			if err := r.sink.Settled(); err != nil {
				r.applying.Unlock()
				return err
			}
		}
		goal++
	}
	// Set before the lock is let go, so that whoever changes the sink after us ends this wait.
	r.mu.Lock()
	r.wake = cancel
	r.mu.Unlock()
	r.applying.Unlock()

	if err := r.src.WaitFor(wake, goal); err != nil {
		if wake.Err() != nil && ctx.Err() == nil {
			return nil
		}
		return fmt.Errorf("wait for event %d: %w", goal, err)
	}
	return r.linger(ctx, goal)
}

// linger gives other events the chance to share a run with the one at goal.
func (r *Runner) linger(ctx context.Context, goal event.Offset) error {
	if r.o.Linger <= 0 {
		return nil
	}
	full := goal + event.Offset(r.o.MaxRun) - 1
	wait, cancel := context.WithTimeout(ctx, r.o.Linger)
	defer cancel()
	r.mu.Lock()
	if len(r.waiters) > 0 {
		r.mu.Unlock()
		return nil
	}
	r.hurry = cancel
	r.mu.Unlock()
	err := r.src.WaitFor(wait, full)
	r.mu.Lock()
	r.hurry = nil
	r.mu.Unlock()
	if err != nil && wait.Err() == nil {
		return fmt.Errorf("wait for event %d: %w", full, err)
	}
	return ctx.Err()
}

// step folds one read.
func (r *Runner) step(ctx context.Context) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	cp := r.sink.Checkpoint()
	if !r.verified {
		if same, err := r.continues(cp); err != nil || !same {
			return err
		}
		r.verified = true
	}
	run, err := r.read(cp.Offset+1, r.o.MaxRun)
	if err != nil || len(run) == 0 {
		return err
	}
	if !r.o.PerEntry || len(run) == r.o.MaxRun {
		return r.apply(run)
	}
	for len(run) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1
		for n < len(run) && run[n].Index == run[0].Index {
			n++
		}
		if err := r.apply(run[:n]); err != nil {
			return err
		}
		run = run[n:]
	}
	return nil
}

// continues tells whether the log, which has reached the checkpoint, is the one that the sink was built from. If it
// is not, the sink is thrown away.
func (r *Runner) continues(cp Checkpoint) (bool, error) {
	if cp.Offset == 0 {
		return true, nil
	}
	if r.src.Head().Offset < cp.Offset {
		return false, nil // woken early
	}
	at, err := r.read(cp.Offset, 1)
	if err != nil {
		return false, err
	}
	if len(at) == 1 && at[0].Chain == cp.Chain {
		return true, nil
	}
	r.o.Logger.Warn("projection was built from another log and is built again",
		attrProjection, r.o.Name, attrOffset, cp.Offset)
	return false, r.reset()
}

// reset throws the sink away. The lock is held.
func (r *Runner) reset() error {
	if err := r.sink.Reset(); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	r.verified = false
	r.advance()
	return nil
}

// read returns committed events from an offset on and checks that they are those.
func (r *Runner) read(from event.Offset, n int) ([]event.Envelope, error) {
	head := r.src.Head().Offset // before the read: the log may grow between the two, and then an empty answer is right
	run, err := r.src.Read(from, n)
	if err != nil {
		return nil, fmt.Errorf("read log from %d: %w", from, err)
	}
	if len(run) > 0 && run[0].Offset != from {
		return nil, fmt.Errorf("read log from %d: got event %d: %w", from, run[0].Offset, event.ErrCorrupt)
	}
	if len(run) == 0 && head >= from {
		return nil, fmt.Errorf("read log from %d: nothing, and the head is beyond: %w", from, event.ErrCorrupt)
	}
	return run, nil
}

// apply folds a run. If one of its events cannot be folded, those before it are, so that the projection stops
// exactly there however the events were grouped. The lock is held.
func (r *Runner) apply(run []event.Envelope) error {
	err := r.sink.Apply(run)
	var f *FoldError
	if errors.As(err, &f) && f.Offset > run[0].Offset && f.Offset <= run[len(run)-1].Offset {
		if again := r.sink.Apply(run[:f.Offset-run[0].Offset]); again != nil {
			return errors.Join(err, again)
		}
	} else if err != nil {
		return err
	}
	r.advance()
	return err
}

// LogIsCurrent tells the runner that the log now has everything that was committed before this process started, as
// the node knows after its first barrier or when it has caught up with its leader. Until then a checkpoint ahead of
// the log is to be expected after a crash; from then on it means that the sink belongs to another log, and it is
// thrown away and built again.
func (r *Runner) LogIsCurrent() error {
	r.applying.Lock()
	defer r.applying.Unlock()
	select {
	case <-r.done:
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.reason()
	default:
	}
	at := r.sink.Checkpoint().Offset
	head := r.src.Head().Offset
	if at <= head {
		return nil
	}
	r.o.Logger.Warn("projection is ahead of the log and is built again",
		attrProjection, r.o.Name, attrOffset, at, attrHead, head)
	if err := r.reset(); err != nil {
		r.end(err)
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wake != nil {
		r.wake()
	}
	return nil
}

// Rebuild folds the log from its first event beside what is there, while the runner goes on, and swaps the two when
// they are level. progress, which may be nil, gets the events done and those to do, and must not block. If ctx ends
// or the process dies before the swap, everything is as it was.
func (r *Runner) Rebuild(ctx context.Context, progress func(done, total event.Offset)) (err error) {
	if !r.rebuilding.CompareAndSwap(false, true) {
		return fmt.Errorf("%s: %w", r.o.Name, ErrRebuilding)
	}
	defer r.rebuilding.Store(false)
	r.mu.Lock()
	if r.ended {
		defer r.mu.Unlock()
		return r.reason()
	}
	r.work.Add(1) // under the lock: Close cannot have waited yet
	r.mu.Unlock()
	defer r.work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	return r.rebuild(ctx, progress)
}

func (r *Runner) rebuild(ctx context.Context, progress func(done, total event.Offset)) (err error) {
	start := time.Now()
	r.applying.Lock()
	beside, err := r.sink.Beside()
	r.applying.Unlock()
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", r.o.Name, err)
	}
	swapped := false
	defer func() {
		if !swapped {
			err = errors.Join(fmt.Errorf("rebuild %s: %w", r.o.Name, err), beside.Discard())
		}
	}()
	if progress == nil {
		progress = func(done, total event.Offset) {}
	}
	// Most of it beside the runner; what is left then is small enough to hold the runner up for.
	for {
		goal := r.Offset()
		if err := r.src.WaitFor(ctx, goal); err != nil {
			return err
		}
		at := beside.Checkpoint().Offset
		progress(at, goal)
		if goal <= at+event.Offset(r.o.MaxRun) {
			break
		}
		if err := r.extend(ctx, beside, at+event.Offset(r.o.MaxRun)); err != nil {
			return err
		}
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	goal := r.sink.Checkpoint().Offset
	if err := r.extend(ctx, beside, goal); err != nil {
		return err
	}
	if at := beside.Checkpoint().Offset; at != goal {
		return fmt.Errorf("the projection went back to %d meanwhile", goal)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.sink.Swap(beside); err != nil {
		// The sink may be neither the old one nor the new one: restart decides.
		swapped = true
		err = fmt.Errorf("rebuild %s: swap: %w", r.o.Name, err)
		r.end(err)
		return err
	}
	swapped = true
	r.advance()
	progress(goal, goal)
	r.o.Logger.Info("projection was rebuilt", attrProjection, r.o.Name, attrEvents, uint64(goal),
		attrSeconds, time.Since(start).Seconds())
	return nil
}

// extend folds the log into sink up to an offset.
func (r *Runner) extend(ctx context.Context, sink Sink, to event.Offset) error {
	for at := sink.Checkpoint().Offset; at < to; at = sink.Checkpoint().Offset {
		if err := ctx.Err(); err != nil {
			return err
		}
		run, err := r.read(at+1, min(r.o.MaxRun, int(to-at)))
		if err != nil {
			return err
		}
		if len(run) == 0 {
			return fmt.Errorf("event %d is not in the log any more", at+1)
		}
		if n := int(to - at); len(run) > n {
			run = run[:n]
		}
		if err := sink.Apply(run); err != nil {
			return err
		}
	}
	return nil
}
