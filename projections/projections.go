// Package projections runs what is derived from the log: it reads events in order, has a Projection fold them, and
// keeps the rows and the position they belong to together, so that a crash can separate neither from the other.
//
// Derived data is disposable. Whatever is in doubt about it is thrown away and read again from the log, and there is
// one code path for that: reading from an earlier offset.
//
// A Runner does the reading. It catches up in big batches, goes on entry by entry at the head, and rebuilds beside
// what it has. It does not know where rows are kept: that is a Sink. Store has the Sink for rows in Pebble (the
// "views" instance); package search has one for Bleve.
//
// What a crash leaves. A Sink writes rows and checkpoint atomically but lazily, so after a crash it is at some earlier
// checkpoint, and reading goes on there. The log's committed mark is itself only a lower bound after a crash, so a
// checkpoint may also be ahead of the log for a while. Its events were committed, hence they will be committed again,
// at the same offsets: the Runner waits for the log to pass the checkpoint and folds nothing twice. When the log gets
// there its chain value is compared with the one in the checkpoint: rows of another log are thrown away.
package projections

import (
	"context"
	"errors"
	"fmt"

	"parley/log"
	"parley/log/event"
	"parley/log/wire"
)

// Errors. What a Runner stopped for is in Runner.Err.
var (
	ErrClosed     = errors.New("projection is closed")
	ErrStopped    = errors.New("projection has stopped")
	ErrRebuilding = errors.New("projection is being rebuilt already")
)

// Source is the log as a Runner sees it; *log.Log is one.
type Source interface {
	Head() log.Head
	// Read returns committed events from an offset on: none only when from is beyond the head.
	Read(from event.Offset, maxEvents int) ([]event.Envelope, error)
	// WaitFor returns when the event at o is committed.
	WaitFor(ctx context.Context, o event.Offset) error
}

var _ Source = (*log.Log)(nil)

// Writer takes the rows of one projection. Keys are the projection's own.
type Writer interface {
	Set(key, value []byte) error
	Delete(key []byte) error
}

// ReadWriter is what the Writer of a Store also is. It reads the rows as they are after what was written so far, also
// what the same batch has and Readers do not see yet. It is dear: the batch is copied for each Scan.
type ReadWriter interface {
	Writer
	// Scan is as Reader's. visit must not write.
	Scan(first, end []byte, visit func(key, value []byte) bool) error
}

// Reader reads the rows of one projection. It may be kept and used from any goroutine; after a rebuild it reads the
// new rows.
type Reader interface {
	// Get returns a copy of the value; ok tells whether there is one.
	Get(key []byte) (value []byte, ok bool, err error)
	// Scan visits the rows with first <= key < end in key order until visit returns false; a nil end is the end of
	// the projection's rows. It sees one instant. Key and value are valid during the visit only.
	Scan(first, end []byte, visit func(key, value []byte) bool) error
}

// Projection folds events into rows. It keeps no memory from one event to the next, unless it is a Loader and a
// Forker.
type Projection interface {
	Name() string                           // unique in its Store, without NUL
	Version() int                           // raise it, and the rows are built again from the first event
	Apply(w Writer, e event.Envelope) error // fold one event: no clock, no network, no goroutine
}

// Loader is a Projection that wants to read its rows, or has memory that is filled from them. Load is called before
// the first Apply, after a rebuild, and whenever a run could not be folded to its end; at is the offset of the rows,
// 0 when there are none. An error at any other offset means that the rows are damaged: they are built again.
type Loader interface {
	Load(r Reader, at event.Offset) error
}

// Forker is a Projection with memory. Fork returns an empty one of the same kind that folds a rebuild.
type Forker interface {
	Fork() Projection
}

// Observer is a Projection that wants to know when a run of events was folded and written. Applied is called in log
// order on the runner's goroutine and before WaitFor returns, so it must not block for long.
type Observer interface {
	Applied(run []event.Envelope)
}

// Checkpoint says how far a Sink is and for which version of its projection.
type Checkpoint struct {
	Offset  event.Offset
	Chain   event.Chain // after the event at Offset
	Version int
}

// Code visits the fields.
func (c *Checkpoint) Code(e *wire.Coder) {
	wire.Uint(e, 1, &c.Offset)
	e.Fixed(2, c.Chain[:])
	wire.Int(e, 3, &c.Version)
}

// Sink is where a Runner puts what it reads. The Runner calls it from one goroutine at a time.
type Sink interface {
	Checkpoint() Checkpoint
	// Apply folds the run and moves the checkpoint to its last event, or leaves both as they were. The run begins
	// right after the checkpoint. If an event cannot be folded the error is a *FoldError. A sink that finds itself
	// damaged may do what Reset does instead and return nil; only if the runner is not PerEntry.
	Apply(run []event.Envelope) error
	// Settled says that the sink has been brought to the log's head: what was kept in case may go.
	Settled() error
	// Alone reports whether it keeps nothing of an older version.
	Alone() bool
	// Reset throws everything away; the checkpoint is at zero then.
	Reset() error
	// Beside returns an empty sink of the same kind, for a rebuild.
	Beside() (Sink, error)
	// Swap puts other, which came from Beside and is at the same offset, in this one's place.
	Swap(other Sink) error
	// Discard removes a sink that came from Beside and will not be swapped in.
	Discard() error
}

// FoldError says which event a projection could not fold.
type FoldError struct {
	Offset event.Offset
	Kind   event.Kind
	Err    error
}

// Error names the event.
func (f *FoldError) Error() string {
	return fmt.Sprintf("event %d (%s) cannot be folded: %v", f.Offset, f.Kind, f.Err)
}

// Unwrap returns the projection's own error.
func (f *FoldError) Unwrap() error { return f.Err }

// ErrUnknownKind is what a projection returns for an event of a kind that this version does not know: skipping it
// would make the same log give different rows in different versions.
var ErrUnknownKind = errors.New("kind of event is not known to this version")

// Known returns ErrUnknownKind for such an event.
func Known(e event.Envelope) error {
	if _, unknown := e.Event.(*event.Unknown); unknown {
		return fmt.Errorf("%s: %w", e.Kind(), ErrUnknownKind)
	}
	return nil
}
