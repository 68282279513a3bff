package sequencer

import (
	"fmt"
	"runtime/debug"
	"slices"

	"parley/log/event"
)

const (
	keyError = "error"
	keyStack = "stack"
	keyLag   = "lag"
)

// packer turns queued commands into batches on one scratch state.
type packer[C, R any] struct {
	decider Decider[C, R]
	head    Head // after everything packed so far
	seq     *Sequencer[C, R]
	clock   clock
	broken  bool                // the scratch state is not to be used any more
	done    <-chan *batch[C, R] // empty batches, to be used again
}

// pack decides what is queued, up to the limits of one entry. All of it gets one instant.
func (p *packer[C, R]) pack() *batch[C, R] {
	var b *batch[C, R]
	select {
	case b = <-p.done:
	default:
		b = new(batch[C, R])
	}
	b.Base = p.head.Offset + 1
	b.At = p.clock.next(p.seq.cfg.Now(), p.head.At, p.seq)
	b.Prev = p.head.Chain
	bytes, limit := 0, 0
	for !p.broken {
		w, waiting := p.seq.take()
		if waiting == 0 {
			break
		}
		if limit == 0 {
			if limit = MaxCommands; waiting > MaxCommands {
				limit = DeepCommands
			}
			b.waiters = slices.Grow(b.waiters, min(waiting, limit)) // most commands lead to one event
			b.Events = slices.Grow(b.Events, min(waiting, limit))
		}
		drafts, result, size, err := p.decide(w.command, b.At)
		w.out, w.err = Outcome[R]{Last: p.head.Offset, At: b.At, Result: result}, err // of a refusal there are no drafts
		if len(b.Events) > 0 && (len(b.Events)+len(drafts) > maxPacked || bytes+size > MaxBytes) {
			p.seq.putBack(w) // decided again for the next entry, at its instant
			break
		}
		for i := range drafts {
			if err := p.fold(event.Envelope{Offset: p.head.Offset + 1 + event.Offset(i), At: b.At,
				Meta: drafts[i].Meta, Event: drafts[i].Event}); err != nil {
				// What our own rules cannot fold would stop every projection of the pool: it must not be proposed.
				// The commands before it stand; the scratch state, folded halfway, does not.
				p.seq.cfg.Logger.Error("sequencer: an event just decided does not fold", keyError, err)
				w.err = fmt.Errorf("%w: %w", ErrInternal, err)
				p.broken = true
				drafts = nil
				break
			}
		}
		if n := event.Offset(len(drafts)); n > 0 {
			w.out.First, w.out.Last = p.head.Offset+1, p.head.Offset+n
			b.Events = append(b.Events, drafts...)
			bytes += size
			p.head.Offset += n
			p.head.At = b.At
		}
		b.waiters = append(b.waiters, w)
		if len(b.waiters) >= limit || bytes >= MaxBytes {
			break
		}
	}
	return b
}

// fold moves the scratch state. A panic counts as an event that does not fold.
func (p *packer[C, R]) fold(e event.Envelope) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.seq.cfg.Metrics.panics.Inc()
			p.seq.cfg.Logger.Error("sequencer: folding an event just decided panicked", keyError, fmt.Sprint(r), keyStack, string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.decider.Fold(e)
}

// decide asks the rules. A panic is a bug in the rules; it refuses this command instead of ending the leader, since
// the client's retry would end the next leader too, and so on through the pool. Decide does not change the scratch
// state, so that is intact.
func (p *packer[C, R]) decide(c C, at event.Time) (drafts []event.Draft, result R, size int, err error) {
	defer func() {
		if r := recover(); r != nil {
			p.seq.cfg.Metrics.panics.Inc()
			p.seq.cfg.Logger.Error("sequencer: deciding a command panicked", keyError, fmt.Sprint(r), keyStack, string(debug.Stack()))
			drafts, size, err = nil, 0, fmt.Errorf("%w: panic", ErrInternal)
		}
	}()
	if drafts, result, err = p.decider.Decide(c, at); err != nil {
		return nil, result, 0, err
	}
	if len(drafts) > event.MaxBatchEvents {
		return nil, result, 0, fmt.Errorf("%d events: %w", len(drafts), ErrTooLarge)
	}
	for i := range drafts {
		n, err := drafts[i].Size()
		if err != nil {
			return nil, result, 0, fmt.Errorf("%w: event %s: %w", ErrInternal, drafts[i].Event.Kind(), err)
		}
		size += n
	}
	if size > maxCommand {
		return nil, result, 0, fmt.Errorf("%d bytes of events: %w", size, ErrTooLarge)
	}
	return drafts, result, size, nil
}

// take removes the oldest command and returns how many waited, itself included.
func (s *Sequencer[C, R]) take() (w waiter[C, R], waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if waiting = s.queue.len(); waiting == 0 {
		return w, 0
	}
	return s.queue.pop(), waiting
}

// putBack makes w, just taken, the oldest command again.
func (s *Sequencer[C, R]) putBack(w waiter[C, R]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.out, w.err = Outcome[R]{}, nil
	s.queue.unpop(w)
}

// queue is a first-in first-out queue whose last pop can be undone.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 { // else growing is cheaper than moving
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	return v
}

func (q *queue[T]) unpop(v T) {
	if q.head == 0 { // a push since the pop has moved the others down
		q.items = slices.Insert(q.items, 0, v)
		return
	}
	q.head--
	q.items[q.head] = v
}
