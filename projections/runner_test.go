package projections_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
	"parley/projections"
	"parley/projections/projectionstest"
)

func TestCatchesUpInRunsThenEntryByEntry(t *testing.T) {
	l := projectionstest.NewLog(t)
	for range 50 {
		l.Add(posts(50)...)
	}
	s := openStore(t, vfs.NewMem(), projections.Options{})
	p := newTally(1)
	r := run(t, s, l, p)
	projectionstest.Wait(t, r, 2500)
	// 1000, 1000, then the last 500 are less than a run: ten entries.
	got := fmt.Sprint(p.runs())
	if want := "[1000 1000 50 50 50 50 50 50 50 50 50 50]"; got != want {
		t.Errorf("runs are %s, want %s", got, want)
	}
	l.Append(posts(3)...)
	l.Append(posts(4)...)
	l.CommitAll()
	projectionstest.Wait(t, r, 2507)
	if got := p.runs()[12:]; fmt.Sprint(got) != "[3 4]" {
		t.Errorf("two entries committed at once were folded as %v, want [3 4]", got)
	}
	if got := p.rows(t); got != want(t, l, 1, 2507) {
		t.Error("rows are not those of the log")
	}
	if r.Lag() != 0 || r.Offset() != 2507 {
		t.Errorf("offset %d, lag %d", r.Offset(), r.Lag())
	}
}

func TestRestartContinuesFromRows(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	l.Add(posts(10)...)
	s := openStore(t, fs, projections.Options{})
	projectionstest.Wait(t, run(t, s, l, newTally(1)), 10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l.Add(posts(5)...)
	s = openStore(t, fs, projections.Options{})
	p := newTally(1)
	r := run(t, s, l, p)
	projectionstest.Wait(t, r, 15)
	if got := fmt.Sprint(p.runs()); got != "[5]" {
		t.Errorf("after a restart runs are %s, want [5]", got)
	}
	if p.twice != 0 || p.rows(t) != want(t, l, 1, 15) {
		t.Error("rows are not those of the log")
	}
}

// TestCrash stops at random moments with nothing, half or all of what was not synced, on both disks: the log's mark and
// the views go back independently of each other.
func TestCrash(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(percent)))
			logFS, viewsFS := vfs.NewCrashableMem(), vfs.NewCrashableMem()
			clone := func(fs *vfs.MemFS, percent int) *vfs.MemFS {
				return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			}
			ahead := 0
			for round := range 14 {
				l := projectionstest.OpenLog(t, logFS)
				s := openStore(t, viewsFS, projections.Options{SyncEvery: time.Millisecond, MaxRun: 64})
				p := newTally(1)
				r := run(t, s, l, p)
				if r.Offset() > l.Head().Offset {
					ahead++
				}
				// Raft tells again what is committed.
				if last := l.LastIndex(); last > 0 {
					if _, err := l.Commit(last); err != nil {
						t.Fatal(err)
					}
				}
				l = reopenWriter(t, l)
				if err := r.LogIsCurrent(); err != nil {
					t.Fatal(err)
				}
				for range rng.IntN(20) {
					l.Add(posts(1 + rng.IntN(30))...)
				}
				head := l.Head().Offset
				if rng.IntN(3) > 0 {
					projectionstest.Wait(t, r, head)
				}
				check := func() {
					projectionstest.Wait(t, r, head)
					if p.twice != 0 || p.rows(t) != want(t, l, 1, head) {
						t.Fatalf("round %d: rows are not those of the log (event %d came out of turn)", round, p.twice)
					}
					if p.loads != 1 {
						t.Fatalf("round %d: rows were built again", round)
					}
				}
				orderly := round == 5 // so that at least one round surely finds the views ahead of the log
				if orderly {
					head = l.Add(posts(1)...)
					check()
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
				logPercent := percent
				if round%2 == 1 {
					logPercent = 0 // the mark goes back farthest while the views keep what they have
				}
				logFS, viewsFS = clone(logFS, logPercent), clone(viewsFS, percent)
				if !orderly {
					check()
				}
				if err := errors.Join(s.Close(), l.Close()); err != nil {
					t.Fatal(err)
				}
			}
			if ahead == 0 {
				t.Error("the views were never ahead of the log: the test does not test it")
			}
		})
	}
}

// reopenWriter returns a writer that goes on after the head.
func reopenWriter(t *testing.T, l *projectionstest.Log) *projectionstest.Log {
	return projectionstest.Continue(t, l.Log)
}

func TestAheadOfTheLogWaits(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	for range 10 {
		l.Add(posts(2)...)
	}
	s := openStore(t, fs, projections.Options{})
	projectionstest.Wait(t, run(t, s, l, newTally(1)), 20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The same log as its node finds it after a crash: every entry, and a lower mark.
	again := projectionstest.NewLog(t)
	projectionstest.Copy(t, l, again)
	if _, err := again.Commit(4); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, projections.Options{})
	p := newTally(1)
	r := run(t, s, again, p)
	if r.Offset() != 20 || r.Lag() != 0 || r.Settled() {
		t.Errorf("offset %d, lag %d, settled %v; want 20, 0, false", r.Offset(), r.Lag(), r.Settled())
	}
	projectionstest.Wait(t, r, 20) // they were committed: readers need not wait
	for index := event.Index(5); index <= 10; index++ {
		if _, err := again.Commit(index); err != nil {
			t.Fatal(err)
		}
	}
	next := projectionstest.Continue(t, again.Log)
	next.Add(posts(1)...)
	projectionstest.Wait(t, r, 21)
	if got := fmt.Sprint(p.runs()); got != "[1]" || p.twice != 0 {
		t.Errorf("runs are %s, want [1]; event %d came out of turn", got, p.twice)
	}
	if p.rows(t) != want(t, next, 1, 21) {
		t.Error("rows are not those of the log")
	}
}

// TestLogGrowsWhileItIsRead: a projection that begins at the head reads nothing there, and that the log has grown by
// the time it looks at the head does not make it corrupt.
func TestLogGrowsWhileItIsRead(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	l.Add(posts(20)...)
	s := openStore(t, fs, projections.Options{})
	projectionstest.Wait(t, run(t, s, l, newTally(1)), 20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, projections.Options{})
	src := &growing{Log: l}
	projectionstest.Wait(t, run(t, s, src, newTally(1)), 21)
	if !src.grown {
		t.Error("nothing was read at the head: the test does not test it")
	}
}

// growing gets an event just after it was found to have no more.
type growing struct {
	*projectionstest.Log
	grown bool
}

func (g *growing) Read(from event.Offset, n int) ([]event.Envelope, error) {
	found, err := g.Log.Read(from, n)
	if len(found) == 0 && !g.grown {
		g.grown = true
		g.Add(posts(1)...)
	}
	return found, err
}

func TestAheadOfACurrentLogIsBuiltAgain(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	l.Add(posts(20)...)
	s := openStore(t, fs, projections.Options{})
	projectionstest.Wait(t, run(t, s, l, newTally(1)), 20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	short := projectionstest.NewLog(t)
	short.Add(posts(7)...)
	s = openStore(t, fs, projections.Options{})
	p := newTally(1)
	src := &waited{short, make(chan event.Offset, 100)}
	r := run(t, s, src, p)
	if o := <-src.waits; r.Offset() != 20 || o != 20 {
		t.Fatalf("at %d it waits for %d, want 20 and 20", r.Offset(), o)
	}
	if err := r.LogIsCurrent(); err != nil {
		t.Fatal(err)
	}
	projectionstest.Wait(t, r, 7)
	if p.rows(t) != want(t, short, 1, 7) {
		t.Error("rows are not those of the shorter log")
	}
	if err := r.LogIsCurrent(); err != nil || r.Offset() != 7 || p.loads != 2 {
		t.Errorf("a second time: %v, offset %d, %d loads", err, r.Offset(), p.loads)
	}
}

// waited tells what the runner waits for.
type waited struct {
	*projectionstest.Log
	waits chan event.Offset
}

func (w *waited) WaitFor(ctx context.Context, o event.Offset) error {
	w.waits <- o
	return w.Log.WaitFor(ctx, o)
}

func TestRowsOfAnotherLogAreBuiltAgain(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	l.Add(posts(20)...)
	s := openStore(t, fs, projections.Options{})
	projectionstest.Wait(t, run(t, s, l, newTally(1)), 20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other := projectionstest.NewLog(t)
	other.Pass(time.Hour)
	other.Add(posts(3)...)
	other.Add(posts(30)...)
	s = openStore(t, fs, projections.Options{})
	p := newTally(1)
	projectionstest.Wait(t, run(t, s, other, p), 33)
	if p.loads != 2 || p.rows(t) != want(t, other, 1, 33) {
		t.Errorf("rows are not those of the log (%d loads)", p.loads)
	}
}

func TestNewVersionIsBuiltBesideTheOld(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	for range 10 {
		l.Add(posts(100)...)
	}
	o := projections.Options{MaxRun: 100}
	s := openStore(t, fs, o)
	projectionstest.Wait(t, run(t, s, l, newTally(1)), 1000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// The new version gets half way and stops.
	s = openStore(t, fs, o)
	r := run(t, s, &limited{l, 500}, newTally(2))
	<-r.Done()
	if !errors.Is(r.Err(), errLimit) || r.Offset() != 500 {
		t.Fatalf("stopped at %d: %v", r.Offset(), r.Err())
	}
	if r.Alone() {
		t.Error("the old rows are there, and are not spoken of")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := keys(t, fs); n != 1+1001+1+501+1 {
		t.Errorf("half way there are %d keys, want both generations: %d", n, 1+1001+1+501+1)
	}

	// It goes on where it was, and the old rows go.
	s = openStore(t, fs, o)
	p := newTally(2)
	r = run(t, s, l, p)
	if p.loaded != 500 {
		t.Errorf("the new version begins at %d again, want 500", p.loaded)
	}
	projectionstest.Wait(t, r, 1000)
	if p.rows(t) != want(t, l, 2, 1000) {
		t.Error("rows of the new version are not those of the log")
	}
	l.Add(posts(1)...) // once it has come to the head again, it has settled
	projectionstest.Wait(t, r, 1001)
	if !r.Alone() {
		t.Error("the old rows are gone, and count")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := keys(t, fs); n != 1+1002+1 {
		t.Errorf("after the swap there are %d keys, want one generation: %d", n, 1+1002+1)
	}
}

func TestOldVersionFindsItsRowsWhileTheNewOneIsUnfinished(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	l.Add(posts(300)...)
	o := projections.Options{MaxRun: 100}
	s := openStore(t, fs, o)
	projectionstest.Wait(t, run(t, s, l, newTally(1)), 300)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, o)
	<-run(t, s, &limited{l, 100}, newTally(2)).Done()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, o)
	p := newTally(1)
	if run(t, s, l, p); p.loaded != 300 || p.rows(t) != want(t, l, 1, 300) {
		t.Errorf("the old version begins at %d, want 300", p.loaded)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := keys(t, fs); n != 1+301+1 {
		t.Errorf("there are %d keys, want one generation: %d", n, 1+301+1)
	}
}

// TestOldRowsStayWhileTheLogIsBehindThem: after a crash the log's mark may be behind the old rows. The new ones are
// not level with them when they reach it.
func TestOldRowsStayWhileTheLogIsBehindThem(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	for range 10 {
		l.Add(posts(2)...)
	}
	s := openStore(t, fs, projections.Options{})
	projectionstest.Wait(t, run(t, s, l, newTally(1)), 20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := projectionstest.NewLog(t)
	projectionstest.Copy(t, l, again)
	if _, err := again.Commit(4); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, projections.Options{})
	src := &waited{again, make(chan event.Offset, 100)}
	run(t, s, src, newTally(2))
	for o := range src.waits {
		if o == 9 { // it has been at the head
			break
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, projections.Options{})
	p := newTally(1)
	if run(t, s, again, p); p.loaded != 20 {
		t.Errorf("the old version begins at %d, want 20", p.loaded)
	}
}

func TestRebuildWhileTheLogGrows(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	for range 20 {
		l.Add(posts(50)...)
	}
	s := openStore(t, fs, projections.Options{MaxRun: 64})
	p := newTally(1)
	r := run(t, s, l, p)
	projectionstest.Wait(t, r, 1000)

	grow := make(chan struct{})
	var growing, reading sync.WaitGroup
	growing.Add(1)
	go func() {
		defer growing.Done()
		for range grow {
			l.Add(posts(3)...)
		}
	}()
	stop := make(chan struct{})
	reader := p.reader // the same one after each swap, but Load sets the field again
	var short error
	reading.Add(1)
	go func() {
		defer reading.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			n := 0
			if err := reader.Scan([]byte("e"), []byte("f"), func(k, v []byte) bool { n++; return true }); err != nil || n < 1000 {
				short = fmt.Errorf("a reader saw %d rows: %v", n, err)
				return
			}
		}
	}()
	var last event.Offset
	if err := r.Rebuild(context.Background(), func(done, total event.Offset) {
		if done < total && r.Alone() {
			t.Error("rows are built beside, and are not spoken of")
		}
		if done < last || done > total {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
		grow <- struct{}{}
	}); err != nil {
		t.Fatal(err)
	}
	close(grow)
	growing.Wait()
	close(stop)
	reading.Wait()
	if short != nil {
		t.Error(short)
	}
	head := l.Add(posts(1)...)
	projectionstest.Wait(t, r, head)
	if last < 1000 || head <= 1001 {
		t.Errorf("progress ended at %d; the log grew to %d", last, head)
	}
	if p.twice != 0 || p.rows(t) != want(t, l, 1, head) {
		t.Errorf("rows are not those of the log (event %d came out of turn)", p.twice)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := keys(t, fs); n != 1+int(head)+1+1 {
		t.Errorf("there are %d keys, want one generation: %d", n, 1+int(head)+1+1)
	}
}

func TestRebuildGivenUpLeavesEverything(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	for range 10 {
		l.Add(posts(50)...)
	}
	s := openStore(t, fs, projections.Options{MaxRun: 64})
	p := newTally(1)
	r := run(t, s, l, p)
	projectionstest.Wait(t, r, 500)
	ctx, cancel := context.WithCancel(context.Background())
	err := r.Rebuild(ctx, func(done, total event.Offset) {
		if done == 0 {
			if err := r.Rebuild(ctx, nil); !errors.Is(err, projections.ErrRebuilding) {
				t.Errorf("a second rebuild: %v, want ErrRebuilding", err)
			}
		} else {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("rebuild that was given up: %v", err)
	}
	l.Add(posts(1)...)
	projectionstest.Wait(t, r, 501)
	if p.loads != 1 || p.rows(t) != want(t, l, 1, 501) {
		t.Error("rows are not those of the log")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := keys(t, fs); n != 1+502+1 {
		t.Errorf("there are %d keys, want one generation: %d", n, 1+502+1)
	}
}

func TestPoisonStopsExactlyThere(t *testing.T) {
	for _, c := range []struct {
		name            string
		unknown, refuse event.Offset
		want            string
	}{
		{"unknown kind", 42, 0, "kind_999"},
		{"refused", 0, 42, "refused by the test"},
	} {
		for _, catchUp := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, catching up %v", c.name, catchUp), func(t *testing.T) {
				l := projectionstest.NewLog(t)
				s := openStore(t, vfs.NewMem(), projections.Options{MaxRun: 50})
				p := newTally(1)
				p.refuse = c.refuse
				src := &newer{l, c.unknown}
				var r *projections.Runner
				if !catchUp {
					r = run(t, s, src, p)
				}
				l.Append(posts(62)...)
				l.CommitAll()
				if catchUp {
					r = run(t, s, src, p)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if err := r.WaitFor(ctx, 43); !errors.Is(err, projections.ErrStopped) {
					t.Fatalf("waiting for an event after it: %v", err)
				}
				projectionstest.Wait(t, r, 41)
				<-r.Done()
				err := r.Err()
				var f *projections.FoldError
				if !errors.As(err, &f) || f.Offset != 42 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "tally") {
					t.Errorf("error does not name projection, event and reason: %v", err)
				}
				if r.Offset() != 41 || r.Lag() != 21 || p.rows(t) != want(t, l, 1, 41) {
					t.Errorf("stopped at %d with lag %d and other rows than those of the log", r.Offset(), r.Lag())
				}
				if got := metrics(t, s.Collectors()...); got != "parley_projection_lag_events{tally} 21, parley_projection_offset{tally} 41, parley_projection_stopped{tally} 1" {
					t.Errorf("metrics are %s", got)
				}
				if err := r.Rebuild(ctx, nil); !errors.Is(err, projections.ErrStopped) {
					t.Errorf("rebuild of a stopped projection: %v", err)
				}
			})
		}
	}
}

// TestManyWaiters has a hundred waiters for each of a hundred offsets: each is woken by its own event, not by a later
// one, and those that give up are forgotten.
func TestManyWaiters(t *testing.T) {
	l := projectionstest.NewLog(t)
	s := openStore(t, vfs.NewMem(), projections.Options{})
	r := run(t, s, l, newTally(1))
	const offsets, each = 100, 100
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	woken, givenUp := make(chan event.Offset), make(chan error)
	for i := range offsets * each {
		o := event.Offset(offsets - i%offsets) // the last ones first
		go func() {
			if i < offsets*each/4 {
				givenUp <- r.WaitFor(ctx, o)
				return
			}
			if err := r.WaitFor(context.Background(), o); err != nil || r.Offset() < o {
				t.Errorf("woken at %d for %d: %v", r.Offset(), o, err)
			}
			woken <- o
		}()
	}
	cancel()
	for range offsets * each / 4 {
		if err := <-givenUp; !errors.Is(err, context.Canceled) {
			t.Fatalf("given up: %v", err)
		}
	}
	for o := event.Offset(1); o <= offsets; o++ {
		l.Add(posts(1)...)
		for range each * 3 / 4 {
			select {
			case got := <-woken:
				if got != o {
					t.Fatalf("a waiter for %d was woken by event %d", got, o)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("not all waiters for %d were woken by it", o)
			}
		}
	}
}

func TestCloseEndsWaits(t *testing.T) {
	l := projectionstest.NewLog(t)
	s := openStore(t, vfs.NewMem(), projections.Options{})
	r := run(t, s, l, newTally(1))
	if _, err := s.Run(context.Background(), l, newTally(1)); err == nil {
		t.Error("the same projection could be run twice")
	}
	waits := make(chan error, 1)
	go func() { waits <- r.WaitFor(context.Background(), 1) }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; !errors.Is(err, projections.ErrClosed) {
		t.Errorf("wait ended with %v, want ErrClosed", err)
	}
	if err := r.Err(); err != nil {
		t.Errorf("orderly end left an error: %v", err)
	}
	if _, err := s.Run(context.Background(), l, newTally(1)); !errors.Is(err, projections.ErrClosed) {
		t.Errorf("run on a closed store: %v", err)
	}
}

func TestReaderAfterClose(t *testing.T) {
	l := projectionstest.NewLog(t)
	s := openStore(t, vfs.NewMem(), projections.Options{})
	p := newTally(1)
	r := run(t, s, l, p)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	p2 := newTally(1)
	run(t, s, l, p2) // a runner that has ended may be replaced
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p2.reader.Get([]byte("count")); !errors.Is(err, projections.ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if err := p2.reader.Scan(nil, nil, func(k, v []byte) bool { return true }); !errors.Is(err, projections.ErrClosed) {
		t.Errorf("scan: %v", err)
	}
}

func TestDamagedStoreIsBuiltAgain(t *testing.T) {
	l := projectionstest.NewLog(t)
	l.Add(posts(300)...)
	for _, what := range []string{"MANIFEST-", ".log", "marker.manifest"} {
		t.Run(what, func(t *testing.T) {
			fs := vfs.NewMem()
			s := openStore(t, fs, projections.Options{})
			projectionstest.Wait(t, run(t, s, l, newTally(1)), 300)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			names, err := fs.List("views")
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				if strings.Contains(n, what) {
					damage(t, fs, "views/"+n)
				}
			}
			var logged bytes.Buffer
			s = openStore(t, fs, projections.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			p := newTally(1)
			projectionstest.Wait(t, run(t, s, l, p), 300)
			if p.rows(t) != want(t, l, 1, 300) {
				t.Errorf("rows are not those of the log; %s", logged.String())
			}
		})
	}
}

func damage(t *testing.T, fs vfs.FS, name string) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Repeat([]byte{0xA5}, 100)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSynced: rows are on disk after Close, and without it some time after they were written.
func TestSynced(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewCrashableMem()
	survived := func() event.Offset {
		s := openStore(t, fs.CrashClone(vfs.CrashCloneCfg{}), projections.Options{})
		defer func() { _ = s.Close() }()
		p := newTally(1)
		run(t, s, l, p)
		return p.loaded
	}
	s := openStore(t, fs, projections.Options{SyncEvery: time.Millisecond})
	projectionstest.Wait(t, run(t, s, l, newTally(1)), l.Add(posts(10)...))
	for deadline := time.Now().Add(20 * time.Second); survived() != 10; {
		if time.Now().After(deadline) {
			t.Fatal("rows were not synced")
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, projections.Options{SyncEvery: time.Hour})
	projectionstest.Wait(t, run(t, s, l, newTally(1)), l.Add(posts(5)...))
	if o := survived(); o != 10 {
		t.Errorf("%d events are on disk although nothing was synced: the test does not test it", o)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if o := survived(); o != 15 {
		t.Errorf("after Close %d events are on disk, want 15", o)
	}
}
