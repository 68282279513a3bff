package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"parley/compliance"
	"parley/compliance/csv"
	"parley/compliance/jsonl"
	"parley/compliance/lyncxml"
	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/state"
	"parley/raftnode/sequencer"
)

// Sizes of what is measured.
const (
	feedRate     = 1000                   // posts a second, open loop
	breath       = 300 * time.Millisecond // between two sides, for what the store does behind
	caughtUp     = 50                     // events behind that are no backlog: what a feed's own cuts leave
	feedPatience = 2 * time.Minute        // until feeds have caught up
	lagTarget    = 5 * time.Second        // of the feeds at feedRate, 99th percentile
)

// feedKinds are the adapters of the three feeds.
var feedKinds = []*compliance.Kind{&jsonl.Kind, &lyncxml.Kind, &csv.Kind}

// complianceBench measures what compliance feeds cost a pool that is posted to, and how fast a stored log is verified, replayed
// and exported.
func complianceBench(ctx context.Context, o *options, r *report) error {
	if err := liveFeeds(ctx, o, r); err != nil {
		return err
	}
	return storedLogs(ctx, o, r)
}

// liveFeeds compares one pool with itself: with three feeds on its leader, that deliver as events come, and without.
func liveFeeds(ctx context.Context, o *options, r *report) (err error) {
	dir := filepath.Join(o.dir, "feeds")
	p, err := openPool(ctx, dir, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.err(), p.close(), os.RemoveAll(dir)) }()
	f, err := p.openFeeds(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.views.Close()) }()
	texts := postTexts()
	var steady, lag, most, behind series
	for i := range o.rounds {
		var p99 [2]time.Duration
		var lags []time.Duration
		for _, side := range sides(i) {
			err := f.during(ctx, side == 1, func() error {
				from := f.m.log.Head().Offset + 1
				if p99[side], err = openLoop(ctx, o, f.m, texts); err != nil || side == 0 {
					return err
				}
				if err := f.catchUp(ctx); err != nil {
					return err
				}
				lags, err = f.lags(from)
				return err
			})
			if err != nil {
				return fmt.Errorf("posts at a steady rate: %w", err)
			}
		}
		steady.add(ms(p99[1]), ms(p99[0]))
		lag.add(ms(percentile(lags, 99)), ms(p99[1]))
		o.progress("compliance: round %d of %d: p99 of posting %s ms with feeds, %s ms without; the feeds lag %s ms", i+1, o.rounds,
			number(ms(p99[1])), number(ms(p99[0])), number(ms(percentile(lags, 99))))
		var rate [2]float64
		backlog := 0.0
		for _, side := range sides(i) {
			err := f.during(ctx, side == 1, func() error {
				var m measured
				err := closedLoop(ctx, o, p, f.m, texts, &m)
				if rate[side] = m.perSecond; side == 1 {
					backlog = f.backlog()
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("posts at saturation: %w", err)
			}
		}
		most.add(rate[1], rate[0])
		behind.add(max(backlog, 1), rate[1]*o.period.Seconds())
		o.progress("compliance: round %d of %d: %s posts/s with feeds, %s without; the feeds were %s events behind", i+1, o.rounds,
			number(rate[1]), number(rate[0]), number(backlog))
	}
	return errors.Join(
		r.add("three feeds, 1,000 posts/s: p99 of a post", "ms", "ms without feeds", steady, atMost("ratio", 1.25), ""),
		r.add("the same: a post in the archive, after its commit, p99", "ms", "ms, p99 of a post", lag, atMost("value", ms(lagTarget)), "a feed cuts once a second"),
		r.add("three feeds, 512 proposers", "posts/s", "posts/s without feeds", most, atLeast("ratio", 0.8), ""),
		r.add("the same: how far the slowest feed is behind in the end", "events", "events posted meanwhile", behind, nil, ""),
	)
}

// sides returns which side of a comparison comes first in a round: 0 without feeds, 1 with them. The second one may have to do
// with what the first one left to compact.
func sides(round int) [2]int { return [2]int{round % 2, 1 - round%2} }

// feeders are three feeds on the leader of a pool, with the room state that they and its node follow.
type feeders struct {
	m     *member
	views *projections.Store
	rooms *state.Rooms
	run   *projections.Runner
	dir   string
	feeds *compliance.Feeds // while they run
}

var (
	_ compliance.Pool = (*feeders)(nil)
	_ compliance.Busy = (*feeders)(nil)
)

// State is compliance.Pool's.
func (f *feeders) State() *chat.State { return f.rooms.Current() }

// IsLeader is compliance.Pool's.
func (f *feeders) IsLeader() bool { return f.m.raft.IsLeader() }

// Busy is compliance.Busy's.
func (f *feeders) Busy() bool { return f.m.seq.Busy() }

// Node is compliance.Pool's.
func (f *feeders) Node() event.NodeID { return f.m.id }

// Submit is compliance.Pool's.
func (f *feeders) Submit(ctx context.Context, c chat.Command) (chat.Outcome, error) {
	got, err := f.m.do(ctx, chat.Request{Origin: chat.Origin{By: event.NodePrincipal(f.m.id), Node: f.m.id, Trusted: true}, Command: c})
	out := chat.Outcome{Result: got.Result, Offset: got.Last}
	if err != nil {
		return out, err
	}
	return out, f.run.WaitFor(ctx, out.Offset)
}

// openFeeds lets the leader follow its log as a node does, and sets the feeds.
func (p *pool) openFeeds(ctx context.Context, dir string) (f *feeders, err error) {
	f = &feeders{m: p.leader(), rooms: state.New(), dir: filepath.Join(dir, "archive")}
	if f.m == nil {
		return nil, errors.New("no leader")
	}
	if f.views, err = projections.OpenStore(filepath.Join(dir, "views"), projections.Options{}); err != nil {
		return nil, err
	}
	if f.run, err = f.views.Run(context.WithoutCancel(ctx), f.m.log, f.rooms); err != nil {
		return nil, errors.Join(err, f.views.Close())
	}
	for _, k := range feedKinds {
		c := &chat.SetFeed{Feed: k.Name, Info: event.FeedInfo{Adapter: k.Name, Options: []event.FeedOption{{Name: "dir", Value: f.dir}}}}
		if _, err := f.m.do(ctx, chat.Request{Origin: trusted, Command: c}); err != nil {
			return nil, errors.Join(fmt.Errorf("set feed %s: %w", k.Name, err), f.views.Close())
		}
	}
	return f, nil
}

func (f *feeders) make(cut, now *event.FeedInfo) (compliance.Adapter, error) {
	for _, k := range feedKinds {
		if k.Name == cut.Adapter {
			info := k.Effective(cut, now)
			return k.New(compliance.Env{Node: f.m.id}, compliance.NewOptions(info.Options))
		}
	}
	return nil, fmt.Errorf("no adapter %s", cut.Adapter)
}

// during does something while the feeds run, once they have caught up, or while they do not.
func (f *feeders) during(ctx context.Context, running bool, do func() error) error {
	if err := f.run.WaitFor(ctx, f.m.log.Head().Offset); err != nil {
		return err
	}
	if err := sleep(ctx, breath); err != nil {
		return err
	}
	if !running {
		return do()
	}
	feeds := compliance.NewFeeds(compliance.FeedsConfig{Make: f.make}, f, f.m.log, slog.New(slog.DiscardHandler))
	run, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = feeds.Run(run) }) // fails for feeds of a configuration file only
	defer wg.Wait()
	defer stop()
	f.feeds = feeds
	if err := f.catchUp(ctx); err != nil {
		return err
	}
	return do()
}

// backlog is how far the slowest feed is behind, in events.
func (f *feeders) backlog() float64 {
	head := f.m.log.Head().Offset
	return float64(head - f.feeds.Slowest(head))
}

// catchUp waits until the feeds have delivered everything but their own bookkeeping.
func (f *feeders) catchUp(ctx context.Context) error {
	for end := time.Now().Add(feedPatience); f.backlog() > caughtUp; {
		if time.Now().After(end) {
			return fmt.Errorf("the feeds are %.0f events behind and do not catch up: %+v", f.backlog(), f.feeds.List())
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// lags returns how long each post from an offset on took until a feed had it on disk, for each feed: from the time of its
// event to the time of the receipt, which is proposed after the file is durable.
func (f *feeders) lags(from event.Offset) (out []time.Duration, err error) {
	at := map[event.Offset]event.Time{}
	for next := from; ; {
		run, err := f.m.log.Read(next, 512)
		if err != nil || len(run) == 0 {
			return out, err
		}
		for _, e := range run {
			switch v := e.Event.(type) {
			case *event.Posted:
				at[e.Offset] = e.At
			case *event.FeedReceipt:
				for o := v.First; o <= v.Last; o++ {
					if t, ok := at[o]; ok {
						out = append(out, time.Duration(e.At-t))
					}
				}
			}
		}
		next = run[len(run)-1].Offset + 1
	}
}

// openLoop posts at feedRate, whether or not the posts before are committed, and returns the 99th percentile of the time from
// when a post was due until it was acknowledged.
func openLoop(ctx context.Context, o *options, m *member, texts []string) (time.Duration, error) {
	n := max(int(feedRate*o.period.Seconds()), 10)
	took := make([]time.Duration, n)
	fails := make(chan error, n)
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	start := time.Now().Add(10 * time.Millisecond)
	for i := range n {
		due := start.Add(time.Duration(i) * time.Second / feedRate)
		if wait := time.Until(due); wait > 0 {
			if err := sleep(ctx, wait); err != nil {
				return 0, err
			}
		}
		m.seq.Enqueue(m.post(i%proposers, texts), func(_ sequencer.Outcome[chat.Result], err error) {
			took[i] = time.Since(due)
			if err != nil {
				fails <- err
			}
			if left.Add(-1) == 0 {
				close(done)
			}
		})
	}
	select {
	case <-done:
	case <-time.After(patience):
		return 0, errors.New("posts are not acknowledged")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case err := <-fails:
		return 0, err
	default:
	}
	return percentile(took, 99), nil
}
