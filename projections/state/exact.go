package state

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"parley/log/event"
	"parley/projections/chat"
)

// ErrPassed says that the state is beyond the offset that was asked for.
var ErrPassed = errors.New("the state has passed that offset")

// wanted are the offsets that somebody waits for the state at.
type wanted struct {
	n  atomic.Int32 // waiters: none, nearly always
	mu sync.Mutex
	at map[chan *chat.State]event.Offset
}

func (w *wanted) add(o event.Offset) chan *chat.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil {
		w.at = make(map[chan *chat.State]event.Offset)
	}
	ch := make(chan *chat.State, 1)
	w.at[ch] = o
	w.n.Store(int32(len(w.at)))
	return ch
}

func (w *wanted) remove(ch chan *chat.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.at, ch)
	w.n.Store(int32(len(w.at)))
}

// serve is called on the goroutine that folds.
func (w *wanted) serve(live *chat.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch, o := range w.at {
		if o == live.Offset() {
			select {
			case ch <- live.Clone():
			default: // served already, before a rebuild
			}
		}
	}
}

// Exactly returns the state at an offset, waiting for the log to get there. Snapshots are made at the ends of runs, so Current
// may never be at a given offset; nodes can be compared only at the same one. It fails with ErrPassed if it is asked too
// late.
func (r *Rooms) Exactly(ctx context.Context, o event.Offset) (*chat.State, error) {
	ch := r.wanted.add(o)
	defer r.wanted.remove(ch)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s := r.Current()
		if s.Offset() == o {
			return s, nil
		}
		select { // it may have been on its way when we looked
		case s := <-ch:
			return s, nil
		default:
		}
		if s.Offset() > o {
			return nil, ErrPassed
		}
		select {
		case s := <-ch:
			return s, nil
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
