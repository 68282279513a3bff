// Package state is the projection that holds the room state: chat.State in memory, folded event by event, and its
// rows in the views store, so that a restart loads what there is instead of replaying what happened. Commands that
// are remembered against retries are part of the state, hence rows as well.
package state

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
)

// Name is the projection's name in the store.
const Name = "state"

// version of the rows and of what Fold makes of events. Raise it when either changes.
const version = 2

// Rooms is the projection and the source of snapshots.
type Rooms struct {
	// live is the state being folded. Only the runner's goroutine touches it, or Rebuild while the runner is held.
	live *chat.State

	current   atomic.Pointer[chat.State] // a clone of live that nobody folds into
	cloning   sync.Mutex                 // Clone marks the state it copies from
	observers []func(run []event.Envelope, before, after *chat.State)
	wanted    wanted
}

var (
	_ projections.Projection = (*Rooms)(nil)
	_ projections.Loader     = (*Rooms)(nil)
	_ projections.Forker     = (*Rooms)(nil)
	_ projections.Observer   = (*Rooms)(nil)
)

// New returns a projection with an empty state.
func New() *Rooms {
	r := &Rooms{live: chat.NewState()}
	r.publish()
	return r
}

// OnApplied has f called after each run of events with the snapshots before and after it: on the runner's goroutine,
// in log order, once the new snapshot is what Current returns. f must not block for long: everybody on this node
// waits for it. While catching up runs are long; at the head a run is one log entry. Call it before the projection is
// run.
func (r *Rooms) OnApplied(f func(run []event.Envelope, before, after *chat.State)) {
	r.observers = append(r.observers, f)
}

// Current returns the newest snapshot. It never changes and any number of goroutines may read it; to fold into a
// copy, use Clone.
func (r *Rooms) Current() *chat.State { return r.current.Load() }

// Clone returns a copy of the newest snapshot that belongs to the caller, who may fold into it.
func (r *Rooms) Clone() *chat.State {
	r.cloning.Lock()
	defer r.cloning.Unlock()
	return r.current.Load().Clone()
}

// Name is Projection's.
func (r *Rooms) Name() string { return Name }

// Version is Projection's.
func (r *Rooms) Version() int { return version }

// Fork is Forker's.
func (r *Rooms) Fork() projections.Projection { return New() }

// Apply is Projection's.
func (r *Rooms) Apply(w projections.Writer, e event.Envelope) error {
	s := saver{w: w}
	if err := r.live.Fold(e, &s); err != nil {
		return err
	}
	if r.wanted.n.Load() > 0 {
		r.wanted.serve(r.live)
	}
	return s.err
}

// Applied is Observer's.
func (r *Rooms) Applied(run []event.Envelope) {
	before := r.current.Load()
	after := r.publish()
	for _, f := range r.observers {
		f(run, before, after)
	}
}

func (r *Rooms) publish() *chat.State {
	s := r.live.Clone()
	r.current.Store(s)
	return s
}

// Load is Loader's.
func (r *Rooms) Load(rows projections.Reader, at event.Offset) error {
	s := chat.NewState()
	var scan error
	err := s.Load(func(yield func(key, value []byte) bool) {
		scan = rows.Scan(nil, nil, yield)
	})
	if err := errors.Join(scan, err); err != nil {
		return err
	}
	if s.Offset() != at {
		return fmt.Errorf("rows are the state at %d, not at %d: %w", s.Offset(), at, event.ErrCorrupt)
	}
	r.live = s
	r.publish()
	return nil
}

// saver keeps the first error, because Fold does not ask.
type saver struct {
	w   projections.Writer
	err error
}

// Set is chat.Saver's.
func (s *saver) Set(key, value []byte) {
	if s.err == nil {
		s.err = s.w.Set(key, value)
	}
}

// Delete is chat.Saver's.
func (s *saver) Delete(key []byte) {
	if s.err == nil {
		s.err = s.w.Delete(key)
	}
}
