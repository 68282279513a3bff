package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/compaction"
	"parley/log/event"
	"parley/log/readonly"
)

// Keys of log attributes.
const (
	attrDir    = "dir"
	attrErr    = "error"
	attrDetail = "detail"
	attrIndex  = "index"
)

// storeOptions are the settings of the Pebble instance. They were measured for a log: small memtables, no block
// compression (batches are compressed once, by the leader), the newest format because of its write-ahead log.
func (l *Log) storeOptions(o Options, c *compaction.Scheduler) *pebble.Options {
	p := &pebble.Options{
		FS:                          o.FS,
		ReadOnly:                    o.ReadOnly,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		FormatMajorVersion:          pebble.FormatNewest,
		DisableTableStats:           true, // they are for tombstones, and when an Open fails their collector may crash
		Logger:                      pebbleLogger{l},
		EventListener: &pebble.EventListener{
			// A flush or compaction that fails is tried again by Pebble for ever. The disk that refused it is the one
			// that holds our promises, so we stop at the first refusal.
			BackgroundError: func(err error) { l.fault.set(l.logger, fmt.Errorf("background write: %w", err)) },
			// The reader or the background job that met the damage gets it as an error as well.
			DataCorruption: func(pebble.DataCorruptionInfo) {},
			FormatUpgrade:  func(pebble.FormatMajorVersion) { l.upgraded = true },
		},
	}
	for i := range p.Levels {
		p.Levels[i].Compression = noCompression
	}
	p.Experimental.CompactionScheduler = c
	// Cut tables where the region of entries begins (FORMAT.md section 3).
	p.Experimental.SpanPolicyFunc = func(start []byte) (pebble.SpanPolicy, []byte, error) {
		if len(start) > 0 && start[0] < regionEntry {
			return pebble.SpanPolicy{}, entriesFrom, nil
		}
		return pebble.SpanPolicy{}, nil, nil
	}
	return p
}

// openStore opens the Pebble instance.
func (l *Log) openStore(o Options) error {
	l.dir = o.FS.PathJoin(l.dir) // as Pebble will spell it
	if o.ReadOnly {
		o.FS = readonly.FS{FS: o.FS}
	} else {
		g, err := newGuardFS(o.FS, l)
		if err != nil {
			return err
		}
		o.FS = g
	}
	l.fs = o.FS
	fresh, err := examine(o.FS, l.dir)
	if err != nil {
		return err
	}
	if fresh && o.ReadOnly {
		return ErrNoLog
	}
	if err := l.openPebble(o); err != nil {
		return err
	}
	if l.upgraded {
		// The write-ahead log that is open now is still in an older format, in which damage in the middle looks like its
		// end. That is so for each new store, too. We have not written anything yet; the next one is in the newest format.
		if err := l.closeStore(); err != nil {
			return classify(err)
		}
		return l.openPebble(o)
	}
	return nil
}

func (l *Log) openPebble(o Options) (err error) {
	defer func() {
		// Replaying a damaged write-ahead log can panic in Pebble.
		if r := recover(); r != nil {
			l.logger.Error("log store panicked while opening", attrDir, l.dir, attrDetail, string(debug.Stack()))
			err = fmt.Errorf("store does not open: %v: %w", r, event.ErrCorrupt)
		}
	}()
	c := compaction.New(func() bool { return l.fault.err() != nil })
	db, err := pebble.Open(l.dir, l.storeOptions(o, c))
	l.db = db
	if failed := l.fault.err(); failed != nil {
		// The disk refused a write, which is not damage of what it holds. Pebble may have gone on without noticing.
		return errors.Join(failed, l.closeStore())
	}
	if err != nil {
		return classify(err)
	}
	c.Opened()
	return nil
}

// examine tells whether there is no store in dir yet. Pebble takes a directory without a manifest marker for a new
// store and clears away what it does not know, so a marker that got lost must be found before.
func examine(f vfs.FS, dir string) (fresh bool, err error) {
	names, err := f.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if strings.HasPrefix(n, "marker.manifest.") {
			return false, nil
		}
	}
	for _, n := range names {
		// A crash while Pebble creates a store leaves a lock and a first manifest, or temporary files.
		if strings.HasSuffix(n, ".sst") || strings.HasSuffix(n, ".log") || strings.HasPrefix(n, "marker.format-version.") ||
			strings.HasPrefix(n, "OPTIONS-") {
			return false, fmt.Errorf("%s is there, but no manifest marker: %w", n, event.ErrCorrupt)
		}
	}
	return true, nil
}

// closeStore closes the Pebble instance. A store whose write path panicked holds a lock for ever, so it is left to
// the end of the process; the log has failed by then and the node is stopping.
func (l *Log) closeStore() (err error) {
	db := l.db
	l.db = nil
	if db == nil || l.fault.jammed() {
		return l.fault.err()
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("close store: %v", r)
		}
	}()
	// Pebble may not have noticed that its last writes did not reach the disk.
	return errors.Join(db.Close(), l.fault.err())
}

// classify gives an error of Pebble its class. Damage is event.ErrCorrupt: what Pebble itself calls corruption, and
// everything that keeps a store from opening and is neither the lock nor a refusal of the operating system. An
// input/output error and a missing file are damage as well: what was written cannot be had back.
func classify(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil || errors.Is(err, event.ErrCorrupt):
		return err
	case errors.Is(err, pebble.ErrClosed):
		return ErrClosed
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", event.ErrCorrupt, err)
	case strings.Contains(err.Error(), "lock held by current process"):
		return fmt.Errorf("%w: %w", ErrInUse, err)
	case errors.Is(err, ErrInUse), errors.Is(err, ErrReadOnly), errors.Is(err, ErrVersion):
		return err
	case errors.As(err, &errno):
		switch errno {
		case syscall.EAGAIN:
			return fmt.Errorf("%w: %w", ErrInUse, err)
		case syscall.EIO, syscall.ENOENT:
			return fmt.Errorf("%w: %w", event.ErrCorrupt, err)
		}
		return err
	default:
		return fmt.Errorf("%w: %w", event.ErrCorrupt, err)
	}
}

// get reads one row; ok tells whether it is there. The value is a copy.
func (l *Log) get(r pebble.Reader, key []byte) (row []byte, ok bool, err error) {
	v, c, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read row %x: %w", key, classify(err))
	}
	row = append(make([]byte, 0, len(v)), v...)
	if err := c.Close(); err != nil {
		return nil, false, fmt.Errorf("read row %x: %w", key, classify(err))
	}
	return row, true, nil
}

// submit hands a batch, together with the current mark, to Pebble. change, if not nil, alters the mark first. With
// synced set it returns when the batch is on disk.
//
// If we crash in here the batch is on disk as a whole or not at all, and the caller has not told anyone.
func (l *Log) submit(b *pebble.Batch, change *mark, synced bool) error {
	if err := l.handOver(b, change, synced); err != nil {
		return err
	}
	if !synced {
		return nil
	}
	if err := b.SyncWait(); err != nil {
		return l.fault.set(l.logger, fmt.Errorf("sync: %w", err))
	}
	// Pebble calls its logger's Fatalf on some errors and then goes on.
	return l.fault.refuse()
}

// release gives a batch back. After a failed write it is left to the collector: Pebble's flush loop may still hold it.
func (l *Log) release(b *pebble.Batch) {
	if l.fault.err() == nil {
		_ = b.Close() // an error would be a second Close
	}
}

func (l *Log) handOver(b *pebble.Batch, change *mark, synced bool) (err error) {
	l.order.Lock()
	defer l.order.Unlock()
	// Checked under the lock: whoever jammed the pipeline held it.
	if err := l.fault.refuse(); err != nil {
		return err
	}
	defer func() {
		// Pebble panics when its write-ahead log cannot be written, and keeps its pipeline locked. guardFS does not let it come
		// to that; if it does all the same, the node stops in order.
		if r := recover(); r != nil {
			err = l.fault.jam(l.logger, fmt.Errorf("write: %v", r))
		}
	}()
	l.mu.Lock()
	m := l.mark
	l.mu.Unlock()
	if change != nil {
		m = *change
	}
	if err := b.Set(markKey, m.row(), nil); err != nil {
		return l.fault.set(l.logger, fmt.Errorf("write mark: %w", err))
	}
	if synced {
		err = l.db.ApplyNoSyncWait(b, pebble.Sync)
	} else {
		err = l.db.Apply(b, pebble.NoSync)
	}
	if err != nil {
		return l.fault.set(l.logger, fmt.Errorf("write: %w", err))
	}
	if err := l.fault.refuse(); err != nil {
		return err
	}
	if change != nil {
		l.mu.Lock()
		l.mark = m
		close(l.advanced)
		l.advanced = make(chan struct{})
		l.mu.Unlock()
	}
	return nil
}

// flush moves what is in the write-ahead log into tables. It returns early if the log fails: Pebble would try for ever.
func (l *Log) flush() error {
	done, err := l.startFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
	case <-l.fault.done:
	}
	return l.fault.refuse()
}

func (l *Log) startFlush() (done <-chan struct{}, err error) {
	l.order.Lock()
	defer l.order.Unlock()
	if err := l.fault.refuse(); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil { // as in handOver
			err = l.fault.jam(l.logger, fmt.Errorf("flush: %v", r))
		}
	}()
	if done, err = l.db.AsyncFlush(); err != nil {
		return nil, l.fault.set(l.logger, fmt.Errorf("flush: %w", err))
	}
	return done, nil
}

// fault is the first failure of a write; it stays.
type fault struct {
	mu    sync.Mutex
	first error
	stuck bool // Pebble's write pipeline is locked for ever
	done  chan struct{}
}

// set records a failure and returns it as ErrFailed.
func (f *fault) set(logger *slog.Logger, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil {
		f.first = fmt.Errorf("%w: %w", ErrFailed, err)
		logger.Error("log has failed and refuses writes from now on", attrErr, err)
		close(f.done)
	}
	return f.first
}

// jam records a failure that left Pebble's write pipeline locked.
func (f *fault) jam(logger *slog.Logger, err error) error {
	f.mu.Lock()
	f.stuck = true
	f.mu.Unlock()
	return f.set(logger, err)
}

func (f *fault) jammed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stuck
}

func (f *fault) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first
}

// refuse returns the failure, if there was one.
func (f *fault) refuse() error { return f.err() }

// pebbleLogger turns Pebble's messages into ours. Its Fatalf returns: Pebble then goes on with the error, the log has failed,
// and the node stops in order instead of in the middle of a library.
type pebbleLogger struct{ l *Log }

func (p pebbleLogger) Infof(format string, args ...any) {
	if !p.l.logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	p.l.logger.Debug("log store", attrDetail, fmt.Sprintf(format, args...))
}

func (p pebbleLogger) Errorf(format string, args ...any) {
	p.l.logger.Error("log store", attrDetail, fmt.Sprintf(format, args...))
}

func (p pebbleLogger) Fatalf(format string, args ...any) {
	_ = p.l.fault.set(p.l.logger, fmt.Errorf("store: "+format, args...))
}

// noCompression is for all levels: batches are compressed already.
func noCompression() *sstable.CompressionProfile { return sstable.NoCompression }
