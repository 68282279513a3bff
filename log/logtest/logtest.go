// Package logtest is the conformance suite of a log. Run draws the lives of logs as one-line strings, compares the log with a
// naive model after each step, takes power away, fails each file operation in turn, and flips the bits of its files.
//
// It is for tests, of package log and of whatever wraps a log or its file system.
package logtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"parley/log"
	"parley/log/event"
)

var (
	seedFlag = flag.Uint64("logtest.seed", 0, "seed of random drawings; 0: a few fixed ones")
	allFlag  = flag.Bool("logtest.all", false, "flip every bit of every byte, fail every operation, also in short mode and with the race detector")
)

// sampled tells whether a part of the long tests will do.
func sampled() bool { return !*allFlag && (testing.Short() || raceEnabled) }

// Run tests a log.
func Run(t *testing.T, open Open) {
	t.Run("Drawings", func(t *testing.T) { drawings(t, open) })
	t.Run("RandomDrawings", func(t *testing.T) { randomDrawings(t, open) })
	t.Run("Refusals", func(t *testing.T) { refusals(t, open) })
	t.Run("Readers", func(t *testing.T) { readers(t, open) })
	t.Run("Concurrent", func(t *testing.T) { concurrent(t, open) })
	t.Run("ReadOnly", func(t *testing.T) { readOnly(t, open) })
	t.Run("Faults", func(t *testing.T) { faults(t, open) })
	t.Run("Flips", func(t *testing.T) { flips(t, open) })
}

func drawings(t *testing.T, open Open) {
	for _, d := range []string{
		"n a c",
		"g n a3 c a2 c a c2 c6 c",               // commit in steps; a commit below the mark is nothing
		"a5 c2 t3 + a2 c",                       // a conflict, removed and replaced
		"a3 t1 + a2 c r",                        // nothing was committed: the whole log goes
		"a3 c2 t4 t9 a c",                       // nothing to remove
		"n a2 v a2 c v v c a c r",               // void batches get no offsets, and the log goes on
		"a w c a w2 c a c r w c x0 a c",         // the same for batches that are not later
		"v c n v c a c x0",                      // void from the start
		"a2 c a2 x0 c x50 c x100 c r",           // the mark comes back
		"a4 c2 a c5 x0",                         // committed, then lost, then committed again
		"a3 x0 t2 + a x0 c x0",                  // truncation is durable
		"A6 c A6 c A3 t14 + A4 c r x0 x50 r",    // with flushed tables
		"A6 c a3 k a2 c x0 k r",                 // go on with a copy
		"b g n b c g c r x0",                    // no events at all
		"r x0 r a r c x100 r",                   // an empty log
		"a60 c a30 c70 t80 + a5 c r x0",         // long appends
		"a3 c m c e r x0 e",                     // two messages are erased, for good
		"a3 m c e a3 c M c e e x0 m c r e",      // a room is cleared, and more removed from it
		"A6 c m m c e A6 c M c a2 e x0 k e a c", // in tables, with entries above the mark, in a copy
		"m M c e a c v w M c e m c x0 x100 e",   // nothing to remove; void batches are left alone
		"a3 c M x0 + a c e t9 m c6 x50 e",       // a removal counts once it is committed
	} {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			r := newRun(open, 1)
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
			if err := r.draw(d); err != nil {
				t.Fatal(err)
			}
			if err := r.l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func randomDrawings(t *testing.T, open Open) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = seeds[:0]
		for s := range uint64(30) {
			seeds = append(seeds, s+1)
		}
		if sampled() {
			seeds = seeds[:8]
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			d := random(rand.New(rand.NewPCG(seed, 3)), 30)
			r := newRun(open, seed)
			err := r.start()
			if err == nil {
				err = r.draw(d)
			}
			if err == nil {
				err = r.l.Close()
			}
			if err != nil {
				t.Fatalf("%v\nagain: go test -run '%s' -logtest.seed=%d", err, t.Name(), seed)
			}
		})
	}
}

// start opens a new log, plays a drawing and returns the run. The log is closed when the test ends.
func start(t *testing.T, open Open, drawing string) *run {
	t.Helper()
	r := newRun(open, 1)
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.draw(drawing); err != nil {
		t.Fatal(err)
	}
	return r
}

// refusals: what is refused has no effect, and the log goes on.
func refusals(t *testing.T, open Open) {
	r := start(t, open, "n a3 c3 a2")
	fresh := func() []log.Record {
		m := r.m.clone()
		m.rng = rand.New(rand.NewPCG(9, 9))
		rec, err := m.command(sound, false)
		if err != nil {
			t.Fatal(err)
		}
		return []log.Record{rec}
	}
	over, gap, inner, empty, foreign, altered := fresh(), fresh(), append(fresh(), fresh()...), fresh(), fresh(), fresh()
	over[0].Index--
	gap[0].Index++
	empty[0].Data = nil
	foreign[0].Data = []byte("not a batch")
	altered[0].Data[len(altered[0].Data)/2] ^= 1
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"append over an entry":             {r.l.Append(over), log.ErrGap},
		"append behind a gap":              {r.l.Append(gap), log.ErrGap},
		"append with a repeat":             {r.l.Append(inner), log.ErrGap},
		"append a command without a batch": {r.l.Append(empty), log.ErrInvalid},
		"append a foreign command":         {r.l.Append(foreign), log.ErrInvalid},
		"append an altered batch":          {r.l.Append(altered), log.ErrInvalid},
		"truncate at the mark":             {r.l.TruncateSuffix(3), log.ErrCommitted},
		"truncate everything":              {r.l.TruncateSuffix(1), log.ErrCommitted},
		"truncate from 0":                  {r.l.TruncateSuffix(0), log.ErrCommitted},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
		if errors.Is(c.err, event.ErrCorrupt) {
			t.Errorf("%s: %v: a refusal is not damage of the log", name, c.err)
		}
	}
	if _, err := r.l.Commit(r.m.last() + 1); !errors.Is(err, log.ErrNotFound) {
		t.Errorf("commit beyond the end: %v, want ErrNotFound", err)
	}
	if done, err := r.l.Commit(2); err != nil || done != nil {
		t.Errorf("commit below the mark: %v, %v", done, err)
	}
	if err := r.l.Append(nil); err != nil {
		t.Errorf("append nothing: %v", err)
	}
	if err := r.m.check(r.l); err != nil {
		t.Error(err)
	}
	if err := r.draw("c a2 c r"); err != nil {
		t.Error(err)
	}
}

// readers wait at the head, see nothing that is not committed, and are woken by commit, context and close.
func readers(t *testing.T, open Open) {
	r := start(t, open, "a3 c2")
	head := r.l.Head().Offset
	if got, err := r.l.Read(head+1, 10); err != nil || len(got) != 0 {
		t.Errorf("read beyond the mark: %d events, %v", len(got), err)
	}
	ahead := r.l.Reader(head + 1)
	type answer struct {
		run []event.Envelope
		err error
	}
	next := func(rd *log.Reader, ctx context.Context) <-chan answer {
		ch := make(chan answer, 1)
		go func() {
			run, err := rd.Next(ctx)
			ch <- answer{run, err}
		}()
		return ch
	}
	waiting := next(ahead, context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	cancelled := next(r.l.Reader(head+1), ctx)
	closing := r.l.Reader(head + 1)
	closed := next(closing, context.Background())
	reached := make(chan error, 1)
	go func() { reached <- r.l.WaitFor(context.Background(), head+1) }()
	for name, ch := range map[string]<-chan answer{"waiting": waiting, "cancelled": cancelled, "closed": closed} {
		select {
		case a := <-ch:
			t.Fatalf("%s reader did not wait: %+v", name, a)
		case <-time.After(5 * time.Millisecond): // nothing is to happen, so there is no condition to wait for
		}
	}
	cancel()
	if a := <-cancelled; !errors.Is(a.err, context.Canceled) {
		t.Errorf("cancelled reader: %+v", a)
	}
	closing.Close()
	closing.Close()
	if a := <-closed; !errors.Is(a.err, log.ErrClosed) {
		t.Errorf("closed reader: %+v", a)
	}
	if _, err := closing.Next(context.Background()); !errors.Is(err, log.ErrClosed) {
		t.Errorf("closed reader, again: %v", err)
	}
	if err := r.draw("c"); err != nil {
		t.Fatal(err)
	}
	a := <-waiting
	if a.err != nil || len(a.run) == 0 || a.run[0].Offset != head+1 || ahead.Offset() != head+1+event.Offset(len(a.run)) {
		t.Errorf("woken reader: %+v, next %d", a, ahead.Offset())
	}
	if err := <-reached; err != nil {
		t.Error(err)
	}
	waiting = next(ahead, context.Background())
	if err := r.l.Close(); err != nil {
		t.Fatal(err)
	}
	if a := <-waiting; !errors.Is(a.err, log.ErrClosed) {
		t.Errorf("reader of a closed log: %+v", a)
	}
	afterClose(t, r.l)
}

// afterClose: a closed log answers ErrClosed, and never panics.
func afterClose(t *testing.T, l *log.Log) {
	t.Helper()
	_, record := l.Record(1)
	_, read := l.Read(1, 1)
	_, at := l.At(1)
	_, commit := l.Commit(3)
	for name, err := range map[string]error{"Record": record, "Read": read, "At": at, "Commit": commit,
		"Append": l.Append(nil), "TruncateSuffix": l.TruncateSuffix(9), "WaitFor": l.WaitFor(context.Background(), 1<<40),
		"Verify": l.Verify(context.Background(), 0, 0, nil), "Checkpoint": l.Checkpoint("/data/late")} {
		if !errors.Is(err, log.ErrClosed) {
			t.Errorf("%s of a closed log: %v, want ErrClosed", name, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// concurrent runs a writer, a committer, readers and a verifier side by side, as a node does. The race detector judges,
// and each reader must see every event once, in order.
func concurrent(t *testing.T, open Open) {
	const entries = 150
	r := start(t, open, "a")
	l := r.l
	first := r.m.records
	var plan []log.Record
	for range entries {
		rec, err := r.m.command(sound, false)
		if err != nil {
			t.Fatal(err)
		}
		plan = append(plan, rec)
	}
	goal := r.m.tip.Offset
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	appended := make(chan event.Index, entries+1)
	var wg sync.WaitGroup
	work := func(name string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				t.Errorf("%s: %v", name, err)
				cancel()
			}
		})
	}
	work("append", func() error {
		defer close(appended)
		for i := range plan {
			if err := l.Append(plan[i : i+1]); err != nil {
				return err
			}
			appended <- plan[i].Index
			if i+1 < len(plan) { // the next entry first comes with another term, and is replaced before it is committed
				dead := plan[i+1]
				dead.Term = 9
				if err := errors.Join(l.Append([]log.Record{dead}), l.TruncateSuffix(dead.Index)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	work("commit", func() error {
		for i := range appended {
			if _, err := l.Commit(i); err != nil {
				return err
			}
		}
		return nil
	})
	work("verify", func() error {
		for l.Head().Offset < goal && ctx.Err() == nil {
			if err := l.Verify(ctx, 0, 0, nil); err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	work("record", func() error {
		for l.Head().Offset < goal && ctx.Err() == nil {
			if _, err := l.Record(l.LastIndex()); err != nil && !errors.Is(err, log.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	for i := range 3 {
		work(fmt.Sprint("reader ", i), func() error {
			rd := l.Reader(0)
			defer rd.Close()
			for next := event.Offset(1); next <= goal; {
				run, err := rd.Next(ctx)
				if err != nil {
					return err
				}
				for _, e := range run {
					if e.Offset != next {
						return fmt.Errorf("event %d, want %d", e.Offset, next)
					}
					next++
				}
			}
			return nil
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if len(first) == 0 || l.Head().Offset != goal {
		t.Fatalf("head is %+v, want offset %d", l.Head(), goal)
	}
	r.m.commit(r.m.last())
	if err := r.m.check(l); err != nil {
		t.Error(err)
	}
}
