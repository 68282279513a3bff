package sequencer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
)

// pool is a fake Raft and log: it takes entries in order, commits them when told to, and refuses what does not land
// where it expects to, as the log does.
type pool struct {
	t testing.TB

	mu       sync.Mutex
	head     Head
	log      []event.Envelope
	entries  []*event.Entry // committed
	pending  []*future      // proposed, not resolved, oldest first
	most     int            // largest number of unresolved entries
	hold     bool           // do not commit by itself
	verifies []*future
	barriers int
	opens    int

	failPropose int // the n-th next proposal fails
	barrierErr  error
	openErr     error
}

type future struct {
	data        []byte
	done        chan struct{}
	first, last event.Offset
	err         error
}

func (f *future) Wait(ctx context.Context) (event.Offset, event.Offset, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	return f.first, f.last, f.err
}

var (
	errVoid = errors.New("void")
	errLost = errors.New("leadership lost")
)

func (p *pool) Propose(s *event.Sealed) Future {
	data := s.Data
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &future{data: data, done: make(chan struct{})}
	if p.failPropose > 0 {
		if p.failPropose--; p.failPropose == 0 {
			f.err = errLost
			close(f.done)
			return f
		}
	}
	p.pending = append(p.pending, f)
	p.most = max(p.most, len(p.pending))
	if !p.hold {
		p.commit(1)
	}
	return f
}

func (p *pool) Verify() Future {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &future{done: make(chan struct{})}
	if p.hold {
		p.verifies = append(p.verifies, f)
	} else {
		close(f.done)
	}
	return f
}

func (p *pool) Barrier(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commit(len(p.pending))
	p.barriers++
	return p.barrierErr
}

// commit resolves the n oldest proposals. The caller holds mu.
func (p *pool) commit(n int) {
	for range n {
		f := p.pending[0]
		p.pending = p.pending[1:]
		head, bodies, err := event.Split(f.data)
		if err != nil {
			p.t.Errorf("split: %v", err)
		}
		e, err := event.ParseEntry(head, bodies)
		if err != nil {
			p.t.Errorf("parse: %v", err)
			return
		}
		if e.Base != p.head.Offset+1 || e.Prev != p.head.Chain {
			f.err = errVoid
			close(f.done)
			continue
		}
		env, err := e.Envelopes(0)
		if err != nil {
			p.t.Errorf("envelopes: %v", err)
		}
		if e.At <= p.head.At {
			p.t.Errorf("entry at %d: At %d after %d", e.Base, e.At, p.head.At)
		}
		p.log = append(p.log, env...)
		p.entries = append(p.entries, e)
		p.head = Head{Offset: e.Last(), Chain: e.Chain, At: e.At}
		f.first, f.last = e.Base, e.Last()
		close(f.done)
	}
}

func (p *pool) commitN(n int) { p.mu.Lock(); defer p.mu.Unlock(); p.commit(n) }

func (p *pool) fail(err error) { // the oldest proposal
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending[0].err = err
	close(p.pending[0].done)
	p.pending = p.pending[1:]
}

func (p *pool) confirm(err error) { // all verifications
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.verifies {
		f.err = err
		close(f.done)
	}
	p.verifies = nil
}

func (p *pool) inFlight() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.pending) }

// cmd posts n messages of size bytes; the rules below count them, so that a decision depends on those before it.
type cmd struct {
	id     int
	n      int
	size   int
	refuse bool
	panic  bool
	text   string
}

type rules struct {
	count   int // events folded
	badFold int // the event that does not fold
	panics  bool
}

var errRefused = errors.New("refused by the rules")

func (r *rules) Decide(c cmd, _ event.Time) ([]event.Draft, string, error) {
	switch {
	case c.refuse:
		return nil, "", errRefused
	case c.panic:
		panic("rule without a case")
	}
	drafts := make([]event.Draft, c.n)
	for i := range drafts {
		drafts[i].Event = &event.Posted{MessageID: uint64(c.id), Text: c.text + strings.Repeat("x", c.size)}
	}
	return drafts, fmt.Sprint(r.count), nil
}

func (r *rules) Fold(e event.Envelope) error {
	r.count++
	if uint64(r.count) != uint64(e.Offset) {
		return fmt.Errorf("fold of event %d after %d events", e.Offset, r.count-1)
	}
	if r.count == r.badFold {
		if r.panics {
			panic("fold without a case")
		}
		return errors.New("cannot fold")
	}
	return nil
}

type answer struct {
	id  int
	out Outcome[string]
	err error
}

// rig is a sequencer on a fake pool, and what its callers were told.
type rig struct {
	*Sequencer[cmd, string]
	pool    *pool
	metrics *Metrics
	now     func() event.Time
	badFold int
	panics  bool

	mu      sync.Mutex
	answers []answer
	calls   map[int]int
	cancel  context.CancelFunc
	lead    chan error
}

func newRig(t testing.TB, limit int) *rig {
	r := &rig{pool: &pool{t: t}, metrics: NewMetrics(), calls: map[int]int{}}
	r.now = func() event.Time { return event.Time(time.Now().UnixNano()) }
	r.Sequencer = New(Config[cmd, string]{
		Proposer: r.pool,
		Open: func(context.Context) (Decider[cmd, string], Head, error) {
			r.pool.mu.Lock()
			defer r.pool.mu.Unlock()
			r.pool.opens++
			return &rules{count: int(r.pool.head.Offset), badFold: r.badFold, panics: r.panics}, r.pool.head, r.pool.openErr
		},
		Now:        func() event.Time { return r.now() },
		QueueLimit: limit,
		Metrics:    r.metrics,
	})
	return r
}

func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.lead = cancel, make(chan error, 1)
	go func() { r.lead <- r.Lead(ctx) }()
	synctest.Wait()
}

func (r *rig) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	if err := <-r.lead; err != nil {
		t.Errorf("Lead: %v", err)
	}
}

func (r *rig) submit(c cmd) {
	r.Enqueue(c, func(out Outcome[string], err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls[c.id]++
		r.answers = append(r.answers, answer{c.id, out, err})
	})
}

func (r *rig) told() []answer {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]answer(nil), r.answers...)
}

// want checks the errors that the callers were told, in order of the answers; nil is success.
func (r *rig) want(t testing.TB, errs ...error) {
	t.Helper()
	got := r.told()
	if len(got) != len(errs) {
		t.Fatalf("%d answers, want %d: %v", len(got), len(errs), got)
	}
	for i, want := range errs {
		if !errors.Is(got[i].err, want) || (want == nil && got[i].err != nil) {
			t.Errorf("answer %d (command %d): %v, want %v", i, got[i].id, got[i].err, want)
		}
		if i > 0 && got[i].id <= got[i-1].id {
			t.Errorf("command %d was answered after %d", got[i].id, got[i-1].id)
		}
	}
	for id, n := range r.calls {
		if n != 1 {
			t.Errorf("command %d was answered %d times", id, n)
		}
	}
}

func value(t testing.TB, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("gather: %d families, %v", len(families), err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func run(t *testing.T, limit int, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) { test(t, newRig(t, limit)) })
}

func TestOrderAndOffsets(t *testing.T) {
	run(t, 0, func(t *testing.T, r *rig) {
		r.start()
		for id := 1; id <= 1000; id++ {
			r.submit(cmd{id: id, n: id % 4}) // every fourth needs no event
		}
		r.want(t, make([]error, 1000)...)
		next := event.Offset(1)
		for _, a := range r.told() {
			if n := event.Offset(a.id % 4); n == 0 {
				if a.out.First != 0 || a.out.Last != next-1 {
					t.Errorf("command %d without events: %+v, want Last %d", a.id, a.out, next-1)
				}
				continue
			} else if a.out.First != next || a.out.Last != next+n-1 {
				t.Errorf("command %d: events %d to %d, want %d to %d", a.id, a.out.First, a.out.Last, next, next+n-1)
			}
			if want := fmt.Sprint(next - 1); a.out.Result != want { // decided on the scratch state, not the committed one
				t.Errorf("command %d was decided at %s, want %s", a.id, a.out.Result, want)
			}
			for o := a.out.First; o <= a.out.Last; o++ {
				e := r.pool.log[o-1]
				if id := int(e.Event.(*event.Posted).MessageID); id != a.id || e.At != a.out.At || e.Offset != o {
					t.Errorf("event %d is of command %d at %d, want %d at %d", o, id, e.At, a.id, a.out.At)
				}
			}
			next += event.Offset(a.id % 4)
		}
		r.stop(t)
	})
}

// Four entries travel, the rest of the commands gather; what has gathered leaves in one entry.
func TestPackingAndInFlight(t *testing.T) {
	run(t, 0, func(t *testing.T, r *rig) {
		r.pool.hold = true
		r.start()
		id := 0
		submit := func(n int) {
			for range n {
				id++
				r.submit(cmd{id: id, n: 1})
			}
			synctest.Wait()
		}
		for range MaxInFlight {
			submit(1) // a lone command leaves at once, alone
		}
		submit(300)
		if got := r.pool.inFlight(); got != MaxInFlight {
			t.Fatalf("%d entries in flight, want %d", got, MaxInFlight)
		}
		for range 4 { // 300 wait: 256, then 44; the first two commits make room for them
			r.pool.commitN(1)
			synctest.Wait()
		}
		submit(MaxCommands)
		for r.pool.inFlight() > 0 {
			r.pool.commitN(1)
			synctest.Wait()
		}
		r.want(t, make([]error, id)...)
		var sizes []int
		for _, e := range r.pool.entries {
			sizes = append(sizes, e.Len())
		}
		// The last 64 trickle in with two slots free, so they are not one entry; those before are.
		if got := fmt.Sprint(sizes[:6]); got != "[1 1 1 1 256 44]" {
			t.Errorf("entries carry %s", got)
		}
		if r.pool.most > MaxInFlight {
			t.Errorf("%d entries were in flight", r.pool.most)
		}
		r.stop(t)
	})
}

func TestPackingLimits(t *testing.T) {
	for _, c := range []struct {
		name          string
		n, count      int
		size          int
		most          func(e *event.Entry) bool
		fewestEntries int
	}{
		{"normal", 1, MaxCommands, 10, func(e *event.Entry) bool { return e.Len() <= MaxCommands }, 1},
		{"bytes", 1, 200, 8000, func(e *event.Entry) bool { return e.Len() <= MaxBytes/8000 }, 200 * 8000 / MaxBytes},
		{"one above the limit", 1, 3, MaxBytes + 1, func(e *event.Entry) bool { return e.Len() == 1 }, 3},
		{"events", 1500, 8, 0, func(e *event.Entry) bool { return e.Len() <= maxPacked }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, 0, func(t *testing.T, r *rig) {
				r.pool.hold = true
				r.start()
				for id := 1; id <= MaxInFlight; id++ {
					r.submit(cmd{id: id, n: 1})
					synctest.Wait()
				}
				for id := range c.count {
					r.submit(cmd{id: MaxInFlight + 1 + id, n: c.n, size: c.size})
				}
				for synctest.Wait(); r.pool.inFlight() > 0; synctest.Wait() {
					r.pool.commitN(1)
				}
				r.want(t, make([]error, MaxInFlight+c.count)...)
				entries := r.pool.entries[MaxInFlight:]
				if len(entries) < c.fewestEntries {
					t.Errorf("%d entries, want at least %d", len(entries), c.fewestEntries)
				}
				for _, e := range entries {
					if !c.most(e) {
						t.Errorf("an entry carries %d events", e.Len())
					}
				}
				r.stop(t)
			})
		})
	}
}

// A refusal may rest on events that are not committed: its caller is told with them, not before.
func TestRefusalWaitsForWhatItRestsOn(t *testing.T) {
	run(t, 0, func(t *testing.T, r *rig) {
		r.pool.hold = true
		r.start()
		r.submit(cmd{id: 1, n: 1})
		synctest.Wait()
		r.submit(cmd{id: 2, refuse: true})
		r.submit(cmd{id: 3, n: 0})
		synctest.Wait()
		r.pool.confirm(nil) // the leadership is confirmed, but the event is not committed
		r.want(t)
		r.pool.commitN(1)
		synctest.Wait()
		r.pool.confirm(nil)
		r.want(t, nil, errRefused, nil)
		if out := r.told()[2].out; out.First != 0 || out.Last != 1 {
			t.Errorf("outcome without events: %+v, want Last 1", out)
		}
		r.stop(t)
	})
}

// With nothing in flight a refusal still needs the proof that this node led.
func TestRefusalNeedsLeadership(t *testing.T) {
	run(t, 0, func(t *testing.T, r *rig) {
		r.pool.hold = true
		r.start()
		r.submit(cmd{id: 1, refuse: true})
		r.want(t)
		r.pool.confirm(errLost)
		r.want(t, ErrUnknownOutcome)
		r.submit(cmd{id: 2, refuse: true})
		r.want(t, ErrUnknownOutcome)
		r.pool.confirm(nil)
		r.want(t, ErrUnknownOutcome, errRefused)
		r.stop(t)
	})
}

// One lost entry takes all later ones along, refusals included; the next commands find fresh scratch state.
func TestLostEntry(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(r *rig)
	}{
		{"propose fails", func(r *rig) { r.pool.fail(errLost) }},
		{"void", func(r *rig) { r.pool.fail(errVoid) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, 0, func(t *testing.T, r *rig) {
				r.pool.hold = true
				r.start()
				for id := 1; id <= 3; id++ {
					r.submit(cmd{id: id, n: 1})
					synctest.Wait()
				}
				r.submit(cmd{id: 4, refuse: true})
				synctest.Wait()
				r.pool.commitN(1)
				synctest.Wait()
				c.lose(r)
				r.want(t, nil, ErrUnknownOutcome, ErrUnknownOutcome, ErrUnknownOutcome)
				if r.pool.barriers != 2 || r.pool.opens != 2 {
					t.Errorf("%d barriers, %d scratch states, want 2 of each", r.pool.barriers, r.pool.opens)
				}
				if got := value(t, r.metrics.restarts); got != 1 {
					t.Errorf("restarts %v, want 1", got)
				}
				r.submit(cmd{id: 5, n: 1})
				synctest.Wait()
				r.pool.commitN(1)
				r.want(t, nil, ErrUnknownOutcome, ErrUnknownOutcome, ErrUnknownOutcome, nil)
				// Command 3 was proposed behind the lost one: it does not continue the log and is void.
				if got := r.told()[4].out.First; got != 2 {
					t.Errorf("the next event is %d, want 2", got)
				}
				r.stop(t)
			})
		})
	}
}

// What cannot be sealed is not proposed, nor is what was decided on top of it: it would be void.
func TestNothingAfterWhatCannotBeSealed(t *testing.T) {
	r := newRig(t, 0)
	packed, inflight := make(chan *batch[cmd, string], 3), make(chan *batch[cmd, string], 3)
	for _, linked := range []*event.Linked{{}, nil, linkedPost(t)} { // the first is no batch; the second has no events
		packed <- &batch[cmd, string]{linked: linked}
	}
	close(packed)
	var dropped error
	r.propose(packed, inflight, make(chan *event.Linked, 3), func(err error) { dropped = err })
	for range 3 {
		if _, _, err := (<-inflight).future.Wait(t.Context()); err == nil || !errors.Is(err, dropped) {
			t.Errorf("%v, want %v", err, dropped)
		}
	}
	if len(r.pool.log)+len(r.pool.pending) != 0 {
		t.Error("something was proposed")
	}
}

func linkedPost(t *testing.T) *event.Linked {
	l := new(event.Linked)
	if err := l.Link(&event.Batch{Base: 1, At: 1, Events: []event.Draft{{Event: &event.Posted{Text: "hello"}}}}); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLeadershipEnds(t *testing.T) {
	run(t, 0, func(t *testing.T, r *rig) {
		r.submit(cmd{id: 1, n: 1})
		r.want(t, ErrNotLeader)
		r.pool.hold = true
		r.start()
		for id := 2; id <= 1+MaxInFlight; id++ {
			r.submit(cmd{id: id, n: 1})
			synctest.Wait()
		}
		r.submit(cmd{id: 10, n: 1}) // waits for a slot
		synctest.Wait()
		r.stop(t)
		r.submit(cmd{id: 11, n: 1})
		u := ErrUnknownOutcome
		r.want(t, ErrNotLeader, u, u, u, u, ErrNotLeader, ErrNotLeader)

		// The next term commits what the last one left behind, and goes on from there.
		r.start()
		r.pool.mu.Lock()
		r.pool.hold = false
		r.pool.mu.Unlock()
		r.submit(cmd{id: 12, n: 1})
		r.want(t, ErrNotLeader, u, u, u, u, ErrNotLeader, ErrNotLeader, nil)
		if got := r.told()[7].out.First; got != MaxInFlight+1 {
			t.Errorf("first event of the new term is %d, want %d", got, MaxInFlight+1)
		}
		r.stop(t)
	})
}

func TestBusy(t *testing.T) {
	run(t, 2, func(t *testing.T, r *rig) {
		r.pool.hold = true
		r.start()
		for id := 1; id <= MaxInFlight; id++ {
			r.submit(cmd{id: id, n: 1})
			synctest.Wait()
		}
		for id := 10; id < 13; id++ {
			r.submit(cmd{id: id, n: 1})
		}
		r.want(t, ErrBusy)
		if got := r.told()[0].id; got != 12 {
			t.Errorf("command %d was refused, want 12", got)
		}
		r.stop(t)
	})
}

// A leader that cannot open its state must say so, or the pool has a leader that decides nothing.
func TestCannotLead(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(p *pool)
	}{
		{"barrier", func(p *pool) { p.barrierErr = errLost }},
		{"open", func(p *pool) { p.openErr = errLost }},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, 0, func(t *testing.T, r *rig) {
				c.spoil(r.pool)
				if err := r.Lead(t.Context()); !errors.Is(err, errLost) {
					t.Errorf("Lead: %v, want the cause", err)
				}
				r.submit(cmd{id: 1, n: 1})
				r.want(t, ErrNotLeader)
			})
		})
	}
}

func TestBugsInTheRules(t *testing.T)      { bugsInTheRules(t, false) }
func TestBugsThatPanicInFold(t *testing.T) { bugsInTheRules(t, true) }

func bugsInTheRules(t *testing.T, foldPanics bool) {
	run(t, 0, func(t *testing.T, r *rig) {
		r.badFold, r.panics = 3, foldPanics
		r.pool.hold = true
		r.start()
		r.submit(cmd{id: 1, n: 1})
		synctest.Wait()
		r.submit(cmd{id: 2, panic: true})
		r.submit(cmd{id: 3, n: 1})
		r.submit(cmd{id: 4, n: 1}) // its event, the third, does not fold
		r.submit(cmd{id: 5, n: event.MaxBatchEvents + 1})
		r.submit(cmd{id: 6, n: 2, size: maxCommand / 2})
		r.submit(cmd{id: 7, n: 1, text: "\xff"}) // could be written, never be read
		synctest.Wait()
		r.badFold = 0
		r.pool.mu.Lock()
		r.pool.hold = false
		r.pool.commit(len(r.pool.pending))
		r.pool.mu.Unlock()
		synctest.Wait()
		r.pool.confirm(nil)
		synctest.Wait()
		r.submit(cmd{id: 8, n: 1})
		i := ErrInternal
		r.want(t, nil, i, nil, i, ErrTooLarge, ErrTooLarge, i, nil)
		if len(r.pool.log) != 3 {
			t.Errorf("%d events committed, want 3", len(r.pool.log))
		}
		want := 1.0
		if foldPanics {
			want++
		}
		if got := value(t, r.metrics.panics); got != want {
			t.Errorf("panics %v, want %v", got, want)
		}
		r.stop(t)
	})
}

func TestClock(t *testing.T) {
	run(t, 0, func(t *testing.T, r *rig) {
		base := event.Time(time.Now().UnixNano())
		wall := base
		var mu sync.Mutex
		r.now = func() event.Time { mu.Lock(); defer mu.Unlock(); return wall }
		r.start()
		var got []event.Time
		id := 0
		at := func(offset time.Duration) {
			mu.Lock()
			wall = base + event.Time(offset)
			mu.Unlock()
			id++
			r.submit(cmd{id: id, n: 1})
			got = append(got, r.told()[id-1].out.At-base)
		}
		at(0)
		at(0)                       // stands still: creeps
		at(500 * time.Millisecond)  // a small step is no alarm
		at(-500 * time.Millisecond) // nor is a small lag
		at(time.Hour)               // leap
		at(time.Minute)             // leap back, then lag
		at(time.Minute)
		s := event.Time(time.Second)
		want := []event.Time{0, 1, s / 2, s/2 + 1, 3600 * s, 3600*s + 1, 3600*s + 2}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("instants %v, want %v", got, want)
		}
		for what, want := range map[string]float64{"leap": 2, "lag": 1} {
			if got := value(t, r.metrics.clockAlarms.WithLabelValues(what)); got != want {
				t.Errorf("%s alarms: %v, want %v", what, got, want)
			}
		}
		r.stop(t)
	})
}

// Random weather: whatever fails, every caller is told exactly once, and what he is told is true of the log.
func TestWeather(t *testing.T) {
	for seed := uint64(1); seed <= 25; seed++ {
		run(t, 300, func(t *testing.T, r *rig) {
			rng := rand.New(rand.NewPCG(seed, 1))
			r.pool.hold = true
			id := 0
			leading := false
			for range 300 {
				switch rng.IntN(12) {
				case 0, 1, 2, 3:
					for range 1 + rng.IntN(120) {
						id++
						r.submit(cmd{id: id, n: rng.IntN(3), refuse: rng.IntN(9) == 0, size: rng.IntN(4000), panic: rng.IntN(200) == 0})
					}
				case 4, 5, 6, 7:
					r.pool.commitN(min(r.pool.inFlight(), 1+rng.IntN(3)))
				case 8:
					r.pool.confirm(nil)
				case 9:
					if rng.IntN(3) == 0 && r.pool.inFlight() > 0 {
						r.pool.fail(errLost)
					} else if rng.IntN(3) == 0 {
						r.pool.confirm(errLost)
					}
				case 10:
					if leading && rng.IntN(4) == 0 {
						r.stop(t)
						leading = false
					} else if !leading {
						r.start()
						leading = true
					}
				case 11:
					synctest.Wait()
				}
			}
			if leading {
				r.stop(t)
			}
			r.pool.commitN(r.pool.inFlight()) // what was left behind may commit: unknown means unknown
			answers := r.told()
			if len(answers) != id {
				t.Fatalf("seed %d: %d answers to %d commands", seed, len(answers), id)
			}
			present := map[int]event.Offset{}
			for _, e := range r.pool.log {
				if id := int(e.Event.(*event.Posted).MessageID); present[id] == 0 {
					present[id] = e.Offset
				}
			}
			for _, a := range answers {
				switch {
				case r.calls[a.id] != 1:
					t.Errorf("seed %d: command %d was answered %d times", seed, a.id, r.calls[a.id])
				case errors.Is(a.err, ErrUnknownOutcome):
				case a.err == nil && a.out.First == present[a.id]:
				case a.err != nil && present[a.id] == 0:
				default:
					t.Errorf("seed %d: command %d: told %+v, %v; in the log at %d", seed, a.id, a.out, a.err, present[a.id])
				}
			}
		})
	}
}
