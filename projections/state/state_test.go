package state_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/projectionstest"
	"parley/projections/state"
)

func open(t testing.TB, fs vfs.FS, o projections.Options) *projections.Store {
	t.Helper()
	o.FS, o.CacheBytes = fs, 1<<20
	s, err := projections.OpenStore("views", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func run(t testing.TB, s *projections.Store, src projections.Source, p projections.Projection) *projections.Runner {
	t.Helper()
	r, err := s.Run(context.Background(), src, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// replayed folds the log from its first event to n.
func replayed(t testing.TB, l *projectionstest.Log, n event.Offset) *chat.State {
	t.Helper()
	s := chat.NewState()
	for s.Offset() < n {
		evs, err := l.Read(s.Offset()+1, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range evs {
			if e.Offset <= n {
				if err := s.Fold(e, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return s
}

func same(t testing.TB, what string, got, want *chat.State) {
	t.Helper()
	if got.Offset() != want.Offset() || got.Chain() != want.Chain() || got.Hash() != want.Hash() {
		t.Errorf("%s: the state at %d is not the one that folding from the first event gives at %d", what, got.Offset(), want.Offset())
	}
}

func TestIncrementalEqualsRebuiltEqualsLoaded(t *testing.T) {
	for seed := range int64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := projectionstest.NewLog(t)
			fs := vfs.NewMem()
			life := projectionstest.NewLife(l, seed)
			o := projections.Options{MaxRun: 100}
			s := open(t, fs, o)
			rooms := state.New()
			r := run(t, s, l, rooms)
			life.Steps(700)
			head := l.Head().Offset
			projectionstest.Wait(t, r, head)
			same(t, "incremental", rooms.Current(), life.State)
			same(t, "replayed", replayed(t, l, head), life.State)

			if err := r.Rebuild(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			same(t, "rebuilt", rooms.Current(), life.State)
			life.Steps(50)
			projectionstest.Wait(t, r, l.Head().Offset)
			same(t, "incremental after the rebuild", rooms.Current(), life.State)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			s = open(t, fs, o)
			rooms = state.New()
			run(t, s, l, rooms)
			same(t, "loaded", rooms.Current(), life.State) // at once: from rows, nothing is read from the log
		})
	}
}

// TestOldCommandsAreForgottenInRowsToo lets more time pass than commands are remembered for.
func TestOldCommandsAreForgottenInRowsToo(t *testing.T) {
	l := projectionstest.NewLog(t)
	fs := vfs.NewMem()
	life := projectionstest.NewLife(l, 1)
	s := open(t, fs, projections.Options{})
	rooms := state.New()
	r := run(t, s, l, rooms)
	for range 20 {
		life.Steps(20)
		l.Pass(5 * time.Hour)
	}
	projectionstest.Wait(t, r, l.Head().Offset)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs, projections.Options{})
	rooms = state.New()
	run(t, s, l, rooms)
	same(t, "loaded", rooms.Current(), life.State)
}

func TestCrash(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(percent)))
			l := projectionstest.NewLog(t)
			life := projectionstest.NewLife(l, int64(percent))
			fs := vfs.NewCrashableMem()
			for round := range 8 {
				s := open(t, fs, projections.Options{SyncEvery: time.Millisecond, MaxRun: 50})
				rooms := state.New()
				r := run(t, s, l, rooms)
				same(t, fmt.Sprintf("round %d, after the crash", round), rooms.Current(), replayed(t, l, r.Offset()))
				life.Steps(rng.IntN(120))
				clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
				projectionstest.Wait(t, r, l.Head().Offset)
				same(t, fmt.Sprintf("round %d, at the head", round), rooms.Current(), life.State)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				fs = clone
			}
		})
	}
}

func TestObserversSeeEveryEventOnceInOrder(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 3)
	s := open(t, vfs.NewMem(), projections.Options{MaxRun: 64})
	rooms := state.New()
	var (
		next = event.Offset(1)
		prev *chat.State // nil: the next one was loaded, not folded
		bad  error
	)
	rooms.OnApplied(func(run []event.Envelope, before, after *chat.State) {
		switch {
		case bad != nil:
		case run[0].Offset != next:
			bad = fmt.Errorf("run begins at %d, want %d", run[0].Offset, next)
		case prev != nil && before != prev, before.Offset() != next-1:
			bad = fmt.Errorf("run at %d: before is the state at %d, not the after of the run before it", next, before.Offset())
		case rooms.Current() != after:
			bad = fmt.Errorf("run at %d: it is not published", next)
		case after.Offset() != run[len(run)-1].Offset:
			bad = fmt.Errorf("run at %d: after is the state at %d", next, after.Offset())
		}
		prev, next = after, run[len(run)-1].Offset+1
	})
	r := run(t, s, l, rooms)
	life.Steps(300)
	head := l.Head().Offset
	projectionstest.Wait(t, r, head)
	if err := r.Rebuild(context.Background(), nil); err != nil { // observers hear nothing of it
		t.Fatal(err)
	}
	prev = nil
	life.Steps(5)
	projectionstest.Wait(t, r, l.Head().Offset)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if bad != nil {
		t.Error(bad)
	}
	if next != l.Head().Offset+1 {
		t.Errorf("observers got to %d of %d", next-1, l.Head().Offset)
	}
}

// TestSnapshotsAndClonesAreIndependent is for the race detector as much as for its checks: readers read snapshots,
// and sequencers fold into clones, while the projection goes on.
func TestSnapshotsAndClonesAreIndependent(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 5)
	life.Steps(300)
	s := open(t, vfs.NewMem(), projections.Options{MaxRun: 10})
	rooms := state.New()
	kept := rooms.Current()
	r := run(t, s, l, rooms)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var work sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 4 {
		work.Add(1)
		go func() {
			defer work.Done()
			for ctx.Err() == nil {
				if i%2 == 0 {
					c := rooms.Current()
					if h := c.Hash(); h != c.Hash() {
						errs <- errors.New("a snapshot changed")
						return
					}
					continue
				}
				c := rooms.Clone()
				from := c.Offset()
				evs, err := l.Read(from+1, 40)
				if err != nil {
					errs <- err
					return
				}
				for _, e := range evs {
					if err := c.Fold(e, nil); err != nil {
						errs <- err
						return
					}
				}
			}
		}()
	}
	life.Steps(200)
	projectionstest.Wait(t, r, l.Head().Offset)
	cancel()
	work.Wait()
	select {
	case err := <-errs:
		t.Error(err)
	default:
	}
	same(t, "after all", rooms.Current(), life.State)
	if kept.Offset() != 0 || kept.Hash() != chat.NewState().Hash() {
		t.Error("the first snapshot changed")
	}
}

// TestPoisonLeavesTheStateBeforeIt: the run is folded up to the event that cannot be.
func TestPoisonLeavesTheStateBeforeIt(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 2)
	life.Steps(40)
	good := l.Head().Offset
	l.Add(event.Draft{Meta: event.Meta{By: "admin:test"}, Event: &event.PoolFormed{Domain: "again.test"}})
	l.Add(event.Draft{Meta: event.Meta{By: "admin:test"}, Event: &event.SettingRemoved{Category: "x"}})
	s := open(t, vfs.NewMem(), projections.Options{})
	rooms := state.New()
	r := run(t, s, l, rooms)
	<-r.Done()
	var f *projections.FoldError
	if !errors.As(r.Err(), &f) || f.Offset != good+1 {
		t.Errorf("stopped with %v, want event %d", r.Err(), good+1)
	}
	same(t, "before the poison", rooms.Current(), life.State)
}

// counting counts the events that were read.
type counting struct {
	*projectionstest.Log
	events atomic.Int64
}

func (c *counting) Read(from event.Offset, n int) ([]event.Envelope, error) {
	run, err := c.Log.Read(from, n)
	c.events.Add(int64(len(run)))
	return run, err
}

// TestRestartReadsRowsNotTheLog: what a restart costs depends on what there is, not on what has happened.
func TestRestartReadsRowsNotTheLog(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 6)
	life.Steps(500)
	fs := vfs.NewMem()
	s := open(t, fs, projections.Options{})
	projectionstest.Wait(t, run(t, s, l, state.New()), l.Head().Offset)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	src := &counting{Log: l}
	s = open(t, fs, projections.Options{})
	rooms := state.New()
	r := run(t, s, src, rooms)
	same(t, "loaded", rooms.Current(), life.State)
	if n := src.events.Load(); n > 1 { // one, to compare the chain
		t.Errorf("loading read %d events", n)
	}
	before := l.Head().Offset
	life.Steps(20)
	projectionstest.Wait(t, r, l.Head().Offset)
	if n, most := src.events.Load(), int64(l.Head().Offset-before)+1; n > most {
		t.Errorf("after the restart %d events were read, %d are new", n, most-1)
	}
}

// reader reads the rows of a state.
type reader map[string][]byte

func (r reader) Get(k []byte) ([]byte, bool, error) { v, ok := r[string(k)]; return v, ok, nil }
func (r reader) Scan(_, _ []byte, visit func(k, v []byte) bool) error {
	for _, k := range slices.Sorted(maps.Keys(r)) {
		if !visit([]byte(k), r[k]) {
			break
		}
	}
	return nil
}
func (r reader) Set(k, v []byte) error { r[string(k)] = v; return nil }
func (r reader) Delete(k []byte) error { delete(r, string(k)); return nil }

// TestDamagedRowsAreRefused: the store builds the projection again then.
func TestDamagedRowsAreRefused(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 8)
	rows := reader{}
	folded := state.New()
	evs, err := l.Read(1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range evs {
		if err := folded.Apply(rows, e); err != nil {
			t.Fatal(err)
		}
	}
	rooms := state.New()
	if err := rooms.Load(rows, l.Head().Offset); err != nil {
		t.Fatal(err)
	}
	same(t, "loaded", rooms.Current(), life.State)
	for _, at := range []event.Offset{0, 1, l.Head().Offset - 1, l.Head().Offset + 1} {
		if err := rooms.Load(rows, at); !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("rows of %d load as those of %d: %v", l.Head().Offset, at, err)
		}
	}
	for k, v := range rows {
		rows[k] = []byte{0xff}
		if err := rooms.Load(rows, l.Head().Offset); err == nil {
			t.Errorf("row %q was damaged, and the rows were loaded", k)
		}
		rows[k] = v
	}
	same(t, "after refusals", rooms.Current(), life.State)
}

// TestExactly: the state at an offset in the middle of a run is the one that a replay has there, for whoever asks in time.
func TestExactly(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 3)
	life.Until(600)
	s := open(t, vfs.NewMem(), projections.Options{MaxRun: 1000})
	rooms := state.New()
	type answer struct {
		at    event.Offset
		state *chat.State
		err   error
	}
	answers := make(chan answer)
	for _, at := range []event.Offset{1, 299, 300, 300, 512} {
		go func() {
			got, err := rooms.Exactly(t.Context(), at)
			answers <- answer{at, got, err}
		}()
	}
	for rooms.Waiting() < 5 { // whoever asks later is told that it has passed
		time.Sleep(time.Millisecond)
	}
	l.CommitAll()
	r := run(t, s, l, rooms)
	for range 5 {
		a := <-answers
		if a.err != nil || a.state.Hash() != replayed(t, l, a.at).Hash() {
			t.Errorf("at %d: %v", a.at, a.err)
		}
	}
	projectionstest.Wait(t, r, l.Head().Offset)
	if got, err := rooms.Exactly(t.Context(), l.Head().Offset); err != nil || got.Hash() != rooms.Current().Hash() {
		t.Error(err)
	}
	if _, err := rooms.Exactly(t.Context(), 5); !errors.Is(err, state.ErrPassed) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := rooms.Exactly(ctx, l.Head().Offset+1); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
