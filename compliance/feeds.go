package compliance

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
	"parley/projections/chat"
)

// Feeds runs every feed of a pool on one node: those of the node's configuration file and those that the log configures.
// It follows the log: a feed that is set runs within a moment, one that is removed ends.
type Feeds struct {
	cfg    FeedsConfig
	pool   Pool
	src    Source
	logger *slog.Logger

	count   atomic.Int32 // of running
	mu      sync.Mutex
	running map[string]*Feed
	stop    map[string]context.CancelFunc
	done    map[string]chan struct{} // of those that were started: closed when one has let go of its target
}

// FeedsConfig describes the feeds of a node.
type FeedsConfig struct {
	Static  []FeedConfig // of the configuration file
	Make    Maker        // of adapters for those that the log configures
	Metrics *Metrics     // may be nil
	Base    func(ctx context.Context, at event.Offset) (*chat.State, error)
}

// NewFeeds returns the feeds; Run starts them.
func NewFeeds(cfg FeedsConfig, pool Pool, src Source, logger *slog.Logger) *Feeds {
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	f := &Feeds{cfg: cfg, pool: pool, src: src, logger: logger, running: map[string]*Feed{}, stop: map[string]context.CancelFunc{},
		done: map[string]chan struct{}{}}
	for _, c := range cfg.Static {
		f.running[c.Name] = f.feed(c)
	}
	f.count.Store(int32(len(f.running)))
	return f
}

func (f *Feeds) feed(c FeedConfig) *Feed {
	c.Make, c.Metrics, c.Base = f.cfg.Make, f.cfg.Metrics, f.cfg.Base
	feed := NewFeed(c, f.pool, f.src, f.logger)
	feed.src.feeds = func() int { return int(f.count.Load()) }
	return feed
}

// Run runs the feeds until ctx ends. It returns the first error of a feed that the configuration file has wrong.
func (f *Feeds) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	broken := make(chan error, len(f.cfg.Static))
	for _, c := range f.cfg.Static {
		feed := f.running[c.Name]
		if feed.err != nil {
			return feed.err
		}
		wg.Go(func() { broken <- feed.Run(ctx) })
	}
	for {
		f.follow(ctx, &wg)
		select {
		case err := <-broken:
			if err != nil {
				return err
			}
		default:
		}
		if sleep(ctx, lookAgain/4); ctx.Err() != nil {
			return nil
		}
	}
}

// follow starts the feeds that are new in the log and ends those that were removed.
func (f *Feeds) follow(ctx context.Context, wg *sync.WaitGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := maps.Clone(f.stop)
	for fd := range f.pool.State().Feeds() {
		if !fd.Configured() {
			continue
		}
		delete(gone, fd.Name)
		if f.running[fd.Name] != nil || !f.ended(fd.Name) {
			continue
		}
		feed := f.feed(FeedConfig{Name: fd.Name})
		if feed.err != nil {
			f.logger.Error("compliance: this version cannot run the feed", keyFeed, fd.Name, keyError, feed.err)
			continue
		}
		one, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		f.running[fd.Name], f.stop[fd.Name], f.done[fd.Name] = feed, stop, done
		wg.Go(func() {
			defer close(done)
			_ = feed.Run(one) // its configuration is right: it returns nil
		})
	}
	for name, stop := range gone {
		stop() // what it is delivering ends without a receipt, and would go on should the feed be set again
		delete(f.stop, name)
		delete(f.running, name)
	}
	f.count.Store(int32(len(f.running)))
}

// ended reports whether no feed of that name runs any more: one that was removed may sit in a write that hangs, and both
// would write under the same temporary name.
func (f *Feeds) ended(name string) bool {
	done := f.done[name]
	if done == nil {
		return true
	}
	select {
	case <-done:
		delete(f.done, name)
		return true
	default:
		return false
	}
}

// List returns how the feeds stand, by name.
func (f *Feeds) List() []Status {
	f.mu.Lock()
	all := maps.Clone(f.running)
	f.mu.Unlock()
	var out []Status
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if fd, _ := f.pool.State().Feed(name); fd.Removed {
			continue // it ends in a moment
		}
		out = append(out, all[name].Status())
	}
	return out
}

// Slowest returns up to which offset every feed has proven what it has to deliver, at most head. A feed that is paused
// counts, and so does one that has not begun: what it has not got must not be erased.
func (f *Feeds) Slowest(head event.Offset) event.Offset {
	s := f.pool.State()
	head = min(head, s.Offset()) // a feed may have been set behind it
	for _, c := range f.cfg.Static {
		fd, _ := s.Feed(c.Name)
		head = min(head, fd.Receipt)
	}
	for fd := range s.Feeds() {
		if fd.Configured() {
			head = min(head, fd.Receipt)
		}
	}
	return head
}

// Static reports whether the node's configuration file has a feed of that name.
func (f *Feeds) Static(name string) bool {
	return slices.ContainsFunc(f.cfg.Static, func(c FeedConfig) bool { return c.Name == name })
}

// Silenced yields the categories in which nobody may post, or not in all of their rooms, because an archive is behind, with
// the reason: as a node's state has it, so on every node alike but for how far each has read.
func Silenced(s *chat.State, now event.Time) iter.Seq2[chat.Category, string] {
	return func(yield func(chat.Category, string) bool) {
		for c := range s.Categories() {
			if why := s.Silence(c.ID, now); why != "" && !yield(c, why) {
				return
			}
		}
	}
}

// SilencedMetric counts the categories of Silenced when it is asked.
func SilencedMetric(state func() *chat.State) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_compliance_silenced_categories",
		Help: "Categories in which nobody may post, at least in some rooms, because an archive is behind."}, func() float64 {
		n := 0
		for range Silenced(state(), event.Time(time.Now().UnixNano())) {
			n++
		}
		return float64(n)
	})
}
