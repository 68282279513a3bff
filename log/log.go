// Package log is the append-only log: the Raft log of a node, which is also its event log. One synced batch per
// Append is the only durable write that an event ever costs.
//
// It keeps entries by Raft index, gives the events in them dense offsets when they are committed, verifies the hash
// chain as it does so, and lets readers read up to the committed mark and wait there. It knows nothing of Raft
// beyond index, term and type, and nothing of rooms but this: an event of the log may have posts of its room erased,
// that is, their bodies taken away for good.
//
// Guarantees: what Append returned is on disk; what is at or below the mark never changes, but for such bodies, and is never deleted;
// bytes that are not what was written are an error of class event.ErrCorrupt, never data. What it cannot know is
// that it ends too early (FORMAT.md section 6): the node keeps that promise elsewhere.
//
// The layouts, the crash points and what is assumed of disks are in FORMAT.md.
package log

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
	"parley/log/readonly"
)

// Errors. Damage is of class event.ErrCorrupt.
var (
	ErrNotFound  = errors.New("no such entry")                       // an index outside FirstIndex..LastIndex
	ErrCommitted = errors.New("entry is committed")                  // it would be changed or removed
	ErrGap       = errors.New("entries do not continue the log")     // Append with a hole, or over existing entries
	ErrClosed    = errors.New("log is closed")                       // the log or the reader
	ErrReadOnly  = readonly.Err                                      //
	ErrFailed    = errors.New("log has failed and refuses writes")   // after a failed write; see Failed
	ErrInUse     = readonly.ErrInUse                                 // Open
	ErrVersion   = errors.New("log was written by a newer version")  // Open, or a row of a later format
	ErrNoLog     = errors.New("there is no log in this directory")   // Open with ReadOnly
	ErrInvalid   = errors.New("entry is not one the log can accept") // Append of a command without a valid batch
	ErrRemoval   = errors.New("removal names what is not a post")    // Erase: a broken promise of who decided it
)

// Options of a log. The zero value is a log on the real disk.
type Options struct {
	FS            vfs.FS       // nil: the disk
	Logger        *slog.Logger // nil: silence
	CacheBytes    int64        // block cache; 0: 64 MiB
	MemTableBytes uint64       // 0: 8 MiB; measured best for a log between 8 and 16 MiB
	EntryBytes    int          // memory for decoded entries, roughly; 0: 8 MiB
	ReadOnly      bool         // never write into the directory; for stopped nodes
}

// Record is one Raft entry.
type Record struct {
	Index      event.Index
	Term       uint64
	Type       uint8 // number of raft.LogType; 0 is a command, whose Data is an event.Batch as sealed
	Data       []byte
	Extensions []byte
	AppendedAt time.Time // operational information only, as Raft says
}

// Head is the committed mark.
type Head struct {
	Index  event.Index  // of the last committed entry
	Offset event.Offset // of the last event; 0: none yet
	Chain  event.Chain  // after that event
	At     event.Time   // of that event
}

// Log is an open log. All methods may be called concurrently.
//
// Locks are taken in the order erasing, snapshots, appending, committing, order, mu.
type Log struct {
	db       *pebble.DB
	dir      string
	fs       vfs.FS // as Pebble has it
	readOnly bool
	upgraded bool // the store's format was raised while it opened; for openStore only
	logger   *slog.Logger
	metrics  *Metrics

	erasing   sync.Mutex   // one Erase at a time
	snapshots sync.RWMutex // held for reading while a snapshot is open, for writing while bodies are overwritten
	scrubbing atomic.Bool  // write-ahead logs are not reused; for guardFS

	appending  sync.Mutex // one Append or TruncateSuffix at a time; held over the sync
	committing sync.Mutex // one Commit or TruncateSuffix at a time; never held over a sync, except by the latter
	order      sync.Mutex // hand-over of a batch to Pebble together with the mark in it; never held over a sync

	inUse sync.RWMutex // held for reading by each call that touches db, for writing by Close

	mu       sync.Mutex // guards what follows
	last     event.Index
	epoch    uint64 // counts truncations
	mark     mark
	erasure  erasure
	advanced chan struct{} // closed and replaced when mark moves
	closed   chan struct{}

	fault    fault
	entries  *entryCache
	expected expected
}

// Open opens the log in dir, and creates it where there is none, unless o.ReadOnly is set. Damage that is visible
// at once, a store that will not open included, is of class event.ErrCorrupt; finding the rest takes Verify.
func Open(dir string, o Options) (*Log, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 8 << 20
	}
	if o.EntryBytes <= 0 {
		o.EntryBytes = 8 << 20
	}
	l := &Log{
		dir:      dir,
		readOnly: o.ReadOnly,
		logger:   o.Logger,
		advanced: make(chan struct{}),
		closed:   make(chan struct{}),
		entries:  newEntryCache(o.EntryBytes),
	}
	l.fault.done = make(chan struct{})
	l.metrics = newMetrics(l)
	if err := l.openStore(o); err != nil {
		return nil, fmt.Errorf("open log %s: %w", dir, err)
	}
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open log %s: %w", dir, err), l.closeStore())
	}
	return l, nil
}

// FirstIndex returns the index of the first entry, 0 when the log is empty. It is 1 for ever after: there is no
// prefix deletion.
func (l *Log) FirstIndex() event.Index { return min(l.LastIndex(), 1) }

// LastIndex returns the index of the last entry, committed or not; 0 when the log is empty.
func (l *Log) LastIndex() event.Index {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Head returns the committed mark.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mark.Head
}

// Void returns how many committed batches of this log did not continue it and so have no effect. With a sequencer
// that waits for a barrier at each term it stays 0: it is an alarm.
func (l *Log) Void() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mark.void
}

// Failed is closed once a write or sync has failed. From then on every write returns ErrFailed: the outcome of the
// failed one is not known, and a second sync that succeeds would not prove that the first one's pages are on disk.
// Reading goes on. The node should stop.
func (l *Log) Failed() <-chan struct{} { return l.fault.done }

// Err returns what made the log fail, nil as long as it has not.
func (l *Log) Err() error { return l.fault.err() }

// Metrics returns the collectors of this log.
func (l *Log) Metrics() *Metrics { return l.metrics }

// Close ends all waiting readers, waits for the calls in progress, and closes the store.
func (l *Log) Close() error {
	l.mu.Lock()
	select {
	case <-l.closed:
		l.mu.Unlock()
		return nil
	default:
	}
	close(l.closed)
	l.mu.Unlock()
	l.inUse.Lock()
	defer l.inUse.Unlock()
	if err := l.closeStore(); err != nil {
		return fmt.Errorf("close log %s: %w", l.dir, err)
	}
	return nil
}

// enter begins a call that touches the store; leave ends it.
func (l *Log) enter() error {
	l.inUse.RLock()
	select {
	case <-l.closed:
		l.inUse.RUnlock()
		return ErrClosed
	default:
		return nil
	}
}

func (l *Log) leave() { l.inUse.RUnlock() }

// enterWrite begins a call that writes.
func (l *Log) enterWrite() error {
	if l.readOnly {
		return ErrReadOnly
	}
	return l.enter()
}
