package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// Options of a Store. The zero value is a store on the real disk.
type Options struct {
	FS         vfs.FS        // nil: the disk
	Logger     *slog.Logger  // nil: silence
	CacheBytes int64         // block cache; 0: 256 MiB
	SyncEvery  time.Duration // how much of the derived data a power loss costs; 0: 1 s
	MaxRun     int           // events in one batch while catching up; 0: DefaultRun
}

// Store is the "views" Pebble instance: the rows of all projections of a node, and nothing that cannot be read again
// from the log. Writes are not synced one by one; a crash loses at most the last SyncEvery of them, checkpoint and
// rows alike, because Pebble's write-ahead log keeps whole batches in order.
type Store struct {
	db     *pebble.DB
	dir    string
	o      Options
	dirty  chan struct{} // has one element when there are writes that were not synced
	stop   chan struct{} // closed by Close
	synced sync.WaitGroup

	inUse    sync.RWMutex // held for reading by each call that touches db, for writing by Close
	starting sync.Mutex   // one Run at a time

	mu      sync.Mutex // guards what follows
	closed  bool
	failed  error // the first failed write
	runners []*Runner
}

// OpenStore opens the store in dir and creates it where there is none. A store that is damaged is removed and begun
// again: its rows are read from the log.
func OpenStore(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 256 << 20
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = time.Second
	}
	s := &Store{dir: dir, o: o, dirty: make(chan struct{}, 1), stop: make(chan struct{})}
	err := s.open()
	if damaged(err) {
		o.Logger.Warn("views are damaged and are built again", attrDir, dir, attrErr, err)
		if err := s.clear(); err != nil {
			return nil, fmt.Errorf("remove damaged views in %s: %w", dir, err)
		}
		err = s.open()
	}
	if err != nil {
		return nil, fmt.Errorf("open views in %s: %w", dir, err)
	}
	s.synced.Add(1)
	go func() {
		defer s.synced.Done()
		s.syncLoop()
	}()
	return s, nil
}

// errDamaged says that the store does not open because of what it contains.
var errDamaged = errors.New("store is damaged")

func damaged(err error) bool {
	return err != nil && (errors.Is(err, errDamaged) || pebble.IsCorruptionError(err))
}

func (s *Store) open() (err error) {
	defer func() {
		// Replaying a damaged write-ahead log can panic in Pebble.
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	s.failed = nil
	p := &pebble.Options{
		FS:                 guardFS{s.o.FS, s},
		CacheSize:          s.o.CacheBytes,
		MemTableSize:       16 << 20,
		FormatMajorVersion: pebble.FormatNewest,
		Cleaner:            deleter{},
		Logger:             pebbleLogger{s},
		EventListener: &pebble.EventListener{
			// Pebble tries a failed flush again at once and for ever. We stop at the first one.
			BackgroundError: func(err error) { _ = s.fail(fmt.Errorf("background write: %w", err)) },
		},
	}
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(s.dir, p)
	if err != nil {
		return err
	}
	s.db = db
	if err := s.failure(); err != nil {
		return errors.Join(err, db.Close()) // the disk, not what is on it
	}
	return nil
}

// clear removes Pebble's files and nothing else. If we crash in here, what is left is a damaged store again or an
// empty directory.
func (s *Store) clear() error {
	names, err := s.o.FS.List(s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if pebbleFile(n) {
			if err := s.o.FS.RemoveAll(s.o.FS.PathJoin(s.dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

func pebbleFile(name string) bool {
	switch path.Ext(name) {
	case ".sst", ".log", ".blob", ".dbtmp":
		return true
	}
	for _, p := range []string{"MANIFEST-", "OPTIONS-", "CURRENT", "marker.", "REMOTE-OBJ-CATALOG"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// syncLoop syncs once SyncEvery has passed after a write. An idle store is left alone.
func (s *Store) syncLoop() {
	for {
		select {
		case <-s.dirty:
		case <-s.stop:
			return
		}
		t := time.NewTimer(s.o.SyncEvery)
		select {
		case <-t.C:
		case <-s.stop:
			t.Stop()
			return // Close syncs
		}
		if err := s.sync(); err != nil {
			_ = s.fail(fmt.Errorf("sync: %w", err)) // the next write returns it
		}
	}
}

func (s *Store) sync() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return s.db.LogData(nil, pebble.Sync)
}

// commit writes a batch: as a whole or, if we crash before the next sync, perhaps not at all, and then none of those
// after it either.
func (s *Store) commit(b *pebble.Batch) (err error) {
	if err := s.failure(); err != nil {
		return err
	}
	defer func() {
		// Pebble panics when its write-ahead log cannot be written.
		if r := recover(); r != nil {
			err = s.fail(fmt.Errorf("write: %v", r))
		}
	}()
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return s.fail(fmt.Errorf("write: %w", err))
	}
	select {
	case s.dirty <- struct{}{}:
	default:
	}
	return s.failure() // Pebble calls its logger's Fatalf on some errors and goes on
}

// fail records the first failed write. The store takes no more after it: whether it happened is not known.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("views in %s have failed: %w", s.dir, err)
		s.o.Logger.Error("views have failed and take no more writes", attrDir, s.dir, attrErr, err)
	}
	return s.failed
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// enter begins a call that reads; leave ends it.
func (s *Store) enter() error {
	s.inUse.RLock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.inUse.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.inUse.RUnlock() }

// Run loads p from its rows and starts a runner for it. When Run returns, what p had at its last checkpoint can be
// read. The runner ends with ctx, with its own Close, or with the store's.
func (s *Store) Run(ctx context.Context, src Source, p Projection) (*Runner, error) {
	if n := p.Name(); n == "" || strings.IndexByte(n, 0) >= 0 {
		return nil, fmt.Errorf("projection name %q is empty or has a NUL", n)
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	s.starting.Lock()
	defer s.starting.Unlock()
	if err := s.forget(p.Name()); err != nil {
		return nil, err
	}
	sink, err := openRows(s, p)
	if err != nil {
		return nil, fmt.Errorf("open projection %s: %w", p.Name(), err)
	}
	r := Follow(ctx, src, sink, RunnerOptions{Name: p.Name(), Logger: s.o.Logger, MaxRun: s.o.MaxRun, PerEntry: true})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runners = append(s.runners, r)
	return r, nil
}

// forget removes the runner of a name, which must have ended.
func (s *Store) forget(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.runners {
		if r.Name() != name {
			continue
		}
		select {
		case <-r.Done():
			s.runners = append(s.runners[:i:i], s.runners[i+1:]...)
			return nil
		default:
			return fmt.Errorf("projection %s runs already", name)
		}
	}
	return nil
}

// Runners returns the runners that were started and not replaced since.
func (s *Store) Runners() []*Runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Runner(nil), s.runners...)
}

// Collectors returns parley_projection_offset, parley_projection_lag_events and parley_projection_stopped.
func (s *Store) Collectors() []prometheus.Collector {
	return []prometheus.Collector{NewCollector("parley_projection", "projection", s.Runners)}
}

// Close ends the runners, syncs and closes. The error of a projection that had stopped is not repeated here.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.inUse.Lock() // a Run in progress has added its runner by then, and no other begins
	runners := s.Runners()
	s.inUse.Unlock()
	for _, r := range runners {
		_ = r.Close() // its reason was logged when it stopped
	}
	close(s.stop)
	s.synced.Wait()
	s.inUse.Lock()
	defer s.inUse.Unlock()
	err := s.failure()
	if err == nil {
		err = s.sync()
	}
	if err := errors.Join(err, s.closeDB()); err != nil {
		return fmt.Errorf("close views in %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) closeDB() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return s.db.Close()
}

// pebbleLogger turns Pebble's messages into ours. Its Fatalf returns: Pebble then goes on with the error, and the
// store takes no more writes.
type pebbleLogger struct{ s *Store }

func (p pebbleLogger) Infof(format string, args ...any) {
	p.s.o.Logger.Debug("views", attrDetail, fmt.Sprintf(format, args...))
}

func (p pebbleLogger) Errorf(format string, args ...any) {
	p.s.o.Logger.Error("views", attrDetail, fmt.Sprintf(format, args...))
}

func (p pebbleLogger) Fatalf(format string, args ...any) {
	_ = p.s.fail(fmt.Errorf("store: "+format, args...))
}

// Collector exports how far runners are.
type Collector struct {
	runners              func() []*Runner
	offset, lag, stopped *prometheus.Desc
}

// NewCollector returns a collector of <prefix>_offset, <prefix>_lag_events and <prefix>_stopped, labelled with the
// runner's name.
func NewCollector(prefix, label string, runners func() []*Runner) *Collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+"_"+name, help, []string{label}, nil)
	}
	return &Collector{
		runners: runners,
		offset:  desc("offset", "Offset of the last event that readers see."),
		lag:     desc("lag_events", "Committed events that are still to be folded."),
		stopped: desc("stopped", "1 when an event could not be folded or the rows not written; the log says which."),
	}
}

// Describe is for Prometheus.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.offset
	ch <- c.lag
	ch <- c.stopped
}

// Collect is for Prometheus.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, r := range c.runners() {
		stopped := 0.0
		if r.Err() != nil {
			stopped = 1
		}
		ch <- prometheus.MustNewConstMetric(c.offset, prometheus.GaugeValue, float64(r.Offset()), r.Name())
		ch <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(r.Lag()), r.Name())
		ch <- prometheus.MustNewConstMetric(c.stopped, prometheus.GaugeValue, stopped, r.Name())
	}
}
