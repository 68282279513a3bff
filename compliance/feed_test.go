package compliance_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/lyncxml"
	"parley/log/event"
	"parley/projections/chat"
)

// script is an adapter that records what it is given and does what a test tells it.
type script struct {
	mu   sync.Mutex
	runs [][2]event.Offset
	do   func(n int) error // for the n-th delivery, from 0; nil: succeed
	skip bool              // acknowledge without reading
}

func (s *script) Name() string { return "script" }

func (s *script) Deliver(_ context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	s.mu.Lock()
	n := len(s.runs)
	s.runs = append(s.runs, [2]event.Offset{cut.First, cut.Last})
	do := s.do
	s.mu.Unlock()
	if s.skip {
		return compliance.Receipt{}, nil
	}
	next := cut.First
	for e, err := range run {
		if err != nil {
			return compliance.Receipt{}, err
		}
		if e.Offset != next || cut.State().Offset() != next-1 {
			return compliance.Receipt{}, fmt.Errorf("event %d on a state at %d, want %d on the one before", e.Offset, cut.State().Offset(), next)
		}
		next++
	}
	if do != nil {
		if err := do(n); err != nil {
			return compliance.Receipt{}, err
		}
	}
	return compliance.Receipt{Name: cut.FileName("txt"), Bytes: 1}, nil
}

func (s *script) got() [][2]event.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][2]event.Offset(nil), s.runs...)
}

// start runs a feed until the returned function is called.
func start(t *testing.T, f *compliance.Feed) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func feedOf(w *adaptertest.World, name string) chat.Feed {
	f, _ := w.State().Feed(name)
	return f
}

func trusted(c chat.Command) chat.Request {
	return chat.Request{Origin: chat.Origin{By: "admin:test", Trusted: true}, Command: c}
}

// post posts and returns where: the log's head may be further, because feeds write into it too.
func post(w *adaptertest.World, text string) event.Offset {
	nd, _ := w.State().Node("n1")
	o := chat.Origin{By: adaptertest.Alice, Endpoint: "p", Node: "n1", Incarnation: nd.Incarnation}
	if !w.State().Joined(adaptertest.Lobby, adaptertest.Alice, "p", "n1") {
		w.Must(chat.Request{Origin: o, Command: &chat.Join{Rooms: []event.RoomID{adaptertest.Lobby}}})
	}
	return w.Must(chat.Request{Origin: o, Command: &chat.Post{Room: adaptertest.Lobby, Text: text}}).Offset
}

func TestBookkeepingIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		end := w.Head()
		a, b := &script{}, &script{}
		for name, ad := range map[string]*script{"one": a, "two": b} {
			start(t, compliance.NewFeed(compliance.FeedConfig{Name: name, Adapter: ad, Every: time.Second}, w.Node("n1"), w, nil))
		}
		time.Sleep(time.Minute)
		if one, two := feedOf(w, "one"), feedOf(w, "two"); one.Receipt < end || two.Receipt < end {
			t.Fatalf("after a minute the feeds stand at %d and %d of %d", one.Receipt, two.Receipt, end)
		}
		quiet, cuts := w.Head(), len(a.got())+len(b.got())
		time.Sleep(time.Hour)
		if w.Head() != quiet {
			t.Fatalf("nothing happened for an hour, and the log grew from %d to %d", quiet, w.Head())
		}
		w.Must(chat.Request{Origin: chat.Origin{By: "node:n3", Node: "n3", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
		w.Must(trusted(&chat.LoseNode{Node: "n3", Incarnation: 1, Reason: "test"}))
		time.Sleep(time.Hour)
		if got := len(a.got()) + len(b.got()); got != cuts {
			t.Fatalf("the coming and going of an empty node was cut: %d deliveries, want %d", got, cuts)
		}
		at := post(w, "at last")
		time.Sleep(time.Minute)
		if one, two := feedOf(w, "one"), feedOf(w, "two"); one.Receipt < at || two.Receipt < at {
			t.Fatalf("a post at %d: the feeds stand at %d and %d", at, one.Receipt, two.Receipt)
		}
		gapless(t, a.got())
		gapless(t, b.got())
	})
}

func gapless(t *testing.T, runs [][2]event.Offset) {
	t.Helper()
	next := event.Offset(1)
	for _, r := range runs {
		if r[0] != next || r[1] < r[0] {
			t.Fatalf("runs have a gap or a repetition: %v", runs)
		}
		next = r[1] + 1
	}
}

// TestLostPartsAreCut: a lost node is bookkeeping only if nobody was on it.
func TestLostPartsAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		post(w, "hello")
		start(t, compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: &script{}, Every: time.Second}, w.Node("n1"), w, nil))
		time.Sleep(time.Minute)
		at := w.Must(trusted(&chat.LoseNode{Node: "n1", Incarnation: 2, Reason: "test"})).Offset
		w.Must(chat.Request{Origin: chat.Origin{By: "node:n1", Node: "n1", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
		time.Sleep(time.Minute)
		if f := feedOf(w, "f"); f.Receipt < at {
			t.Fatalf("the loss of alice's node at %d was not delivered: receipt %d", at, f.Receipt)
		}
	})
}

func TestBatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		ad := &script{}
		f := compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: ad, Every: time.Minute, MaxEvents: 10}, w.Node("n1"), w, nil)
		start(t, f)
		time.Sleep(3 * time.Minute)
		before := len(ad.got())
		if before < 2 {
			t.Fatalf("%d events in cuts of 10 were delivered in %d runs", w.Head(), before)
		}
		post(w, "the last cut is long ago: at once")
		time.Sleep(5 * time.Second)
		if got := len(ad.got()); got != before+1 {
			t.Fatalf("%d cuts for a post long after the last one, want 1", got-before)
		}
		before++
		post(w, "wait for the minute")
		time.Sleep(30 * time.Second)
		if got := len(ad.got()); got != before {
			t.Fatalf("cut after 30 s with an interval of a minute")
		}
		if s := f.Status(); s.State != compliance.StateWaiting || s.Backlog == 0 || s.Oldest == 0 {
			t.Errorf("status while waiting: %+v", s)
		}
		time.Sleep(time.Minute)
		if got := len(ad.got()); got != before+1 {
			t.Fatalf("%d cuts after the minute, want 1", got-before)
		}
		for i := range 25 {
			post(w, fmt.Sprint(i))
		}
		time.Sleep(10 * time.Second)               // less than the interval: full cuts go at once, the rest waits
		if got := len(ad.got()); got != before+3 { // with the one before
			t.Fatalf("%d cuts for 25 posts in cuts of 10, want 2 at once", got-before-1)
		}
		time.Sleep(time.Minute)
		gapless(t, ad.got())
		if f.Status().Backlog != 0 {
			t.Errorf("backlog at rest: %+v", f.Status())
		}
	})
}

// TestCutsAreBoundedInBytes: whatever the text stands in. An adapter keeps a cut in memory.
func TestCutsAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		text := strings.Repeat("x", 64_000)
		var all []chat.ImportedMessage
		for i := range 1200 {
			all = append(all, chat.ImportedMessage{ID: uint64(100 + i), Author: adaptertest.Alice, PostedAt: 1, Text: text})
		}
		w.Must(trusted(&chat.ImportMessages{Room: adaptertest.Lobby, Messages: all}))
		ad := &script{}
		start(t, compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: ad, Every: time.Minute}, w.Node("n1"), w, nil))
		time.Sleep(10 * time.Second)
		if runs := ad.got(); len(runs) == 0 || runs[0][1] >= w.Head()-5 {
			t.Errorf("73 MiB were cut as %v of %d", runs, w.Head())
		}
		time.Sleep(5 * time.Minute)
		gapless(t, ad.got())
	})
}

func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		var at []time.Time
		broken := errors.New("the archive is on fire")
		ad := &script{do: func(n int) error {
			at = append(at, time.Now())
			if n < 9 {
				return broken
			}
			return nil
		}}
		m := compliance.NewMetrics()
		reg := prometheus.NewRegistry()
		reg.MustRegister(m.Collectors()...)
		f := compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: ad, Every: time.Second, Metrics: m}, w.Node("n1"), w, nil)
		start(t, f)
		time.Sleep(10 * time.Second)
		if s := f.Status(); s.State != compliance.StateFailing || !strings.Contains(s.LastError, broken.Error()) || s.Failures < 2 {
			t.Errorf("status while the target fails: %+v", s)
		}
		for i := range 5 {
			post(w, fmt.Sprint(i)) // posting goes on
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		var gaps []time.Duration
		for i := 1; i < 10; i++ {
			gaps = append(gaps, at[i].Sub(at[i-1]).Round(time.Second))
		}
		want := "[1s 2s 4s 8s 16s 32s 1m0s 1m0s 1m0s]"
		if fmt.Sprint(gaps) != want {
			t.Errorf("waited %v, want %s", gaps, want)
		}
		runs := ad.got()
		for _, r := range runs[:9] {
			if r != runs[9] {
				t.Fatalf("a repetition got another range: %v", runs)
			}
		}
		gapless(t, runs[9:])
		if s := f.Status(); s.LastError != "" || s.Failures != 0 || s.Backlog != 0 || s.State != compliance.StateWaiting {
			t.Errorf("status after recovery: %+v", s)
		}
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, family := range all {
			for _, x := range family.GetMetric() {
				if l := x.GetLabel(); len(l) != 1 || l[0].GetName() != "feed" || l[0].GetValue() != "f" {
					t.Errorf("%s has labels %v", family.GetName(), l)
				}
				got[family.GetName()] = x.GetCounter().GetValue() + x.GetGauge().GetValue()
			}
		}
		for name, want := range map[string]float64{"parley_compliance_errors_total": 9, "parley_compliance_lag_events": 0,
			"parley_compliance_offset": float64(feedOf(w, "f").Receipt)} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v (there: %t), want %v", name, v, ok, want)
			}
		}
	})
}

// TestSlowTarget: while the target hangs, commands go on being decided and the feed neither cuts nor skips.
func TestSlowTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		hang := make(chan struct{})
		ad := &script{do: func(n int) error {
			if n == 0 {
				<-hang
			}
			return nil
		}}
		f := compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: ad, Every: time.Second}, w.Node("n1"), w, nil)
		start(t, f)
		time.Sleep(time.Minute)
		for i := range 100 {
			post(w, fmt.Sprint(i))
		}
		if got := ad.got(); len(got) != 1 {
			t.Fatalf("deliveries while the first one hangs: %v", got)
		}
		if s := f.Status(); s.State != compliance.StateDelivering {
			t.Errorf("status: %+v", s)
		}
		close(hang)
		time.Sleep(time.Minute)
		gapless(t, ad.got())
		if s := f.Status(); s.Backlog != 0 {
			t.Errorf("status at rest: %+v", s)
		}
	})
}

func TestAdapterMustReadToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		f := compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: &script{skip: true}, Every: time.Second}, w.Node("n1"), w, nil)
		start(t, f)
		time.Sleep(10 * time.Second)
		if fd := feedOf(w, "f"); fd.Receipt != 0 || fd.CutLast == 0 {
			t.Fatalf("an adapter that read nothing got a receipt: %+v", fd)
		}
		if s := f.Status(); !strings.Contains(s.LastError, "did not read") {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestOnlyTheLeaderClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		w.Must(chat.Request{Origin: chat.Origin{By: "node:n2", Node: "n2", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
		a, b := &script{}, &script{}
		fa := compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: a, Every: time.Second}, w.Node("n1"), w, nil)
		fb := compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: b, Every: time.Second}, w.Node("n2"), w, nil)
		start(t, fb)
		time.Sleep(time.Minute)
		if fd := feedOf(w, "f"); fd.Epoch != 0 {
			t.Fatalf("a node that does not lead claimed the feed: %+v", fd)
		}
		stop := start(t, fa)
		time.Sleep(time.Minute)
		w.Lead("n2") // the owner lives on: nothing changes
		post(w, "one")
		time.Sleep(time.Minute)
		if fd := feedOf(w, "f"); fd.Owner != "n1" || fd.Epoch != 1 || len(b.got()) > 0 {
			t.Fatalf("a live owner was displaced: %+v", fd)
		}
		if s := fb.Status(); s.State != compliance.StateStandby || s.Owner != "n1" || s.Epoch != 1 {
			t.Errorf("status of the other node: %+v", s)
		}
		stop()
		at := w.Must(trusted(&chat.LoseNode{Node: "n1", Incarnation: 2, Reason: "test"})).Offset
		time.Sleep(time.Minute)
		if fd := feedOf(w, "f"); fd.Owner != "n2" || fd.Epoch != 2 || fd.Receipt < at {
			t.Fatalf("nobody took the feed of the lost node over: %+v", fd)
		}
		gapless(t, append(a.got(), b.got()...))
	})
}

// TestStaleOwner: an owner that was cut off and taken for lost goes on delivering; its receipt is refused, it stands
// down, and the archive is as if it had never been.
func TestStaleOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		d := adaptertest.NewDisk()
		w.Must(chat.Request{Origin: chat.Origin{By: "node:n2", Node: "n2", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
		gate := make(chan struct{})
		entered := make(chan struct{})
		var once sync.Once
		old := &gated{Adapter: lync(d, adaptertest.Dir, "n1"), before: func() { once.Do(func() { close(entered) }); <-gate }}
		f1 := compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: old, Every: time.Second}, w.Node("n1"), w, nil)
		start(t, f1)
		<-entered // n1 has cut and is about to write
		w.Freeze("n1")
		w.Must(trusted(&chat.LoseNode{Node: "n1", Incarnation: 2, Reason: "cut off"}))
		w.Lead("n2")
		f2 := compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: lync(d, adaptertest.Dir, "n2"), Every: time.Second}, w.Node("n2"), w, nil)
		start(t, f2)
		time.Sleep(time.Minute)
		if fd := feedOf(w, "f"); fd.Owner != "n2" || fd.Receipt == 0 {
			t.Fatalf("n2 did not take over: %+v", fd)
		}
		close(gate) // n1 goes on where it was, with a state of long ago
		time.Sleep(5 * time.Second)
		if s := f1.Status(); s.LastError != "" && !strings.Contains(s.LastError, "stale") && !strings.Contains(s.LastError, "epoch") {
			t.Errorf("the stale owner: %+v", s)
		}
		w.Thaw("n1")
		time.Sleep(time.Minute)
		if s := f1.Status(); s.State != compliance.StateStandby || s.Owner != "n2" {
			t.Errorf("the stale owner did not stand down: %+v", s)
		}
		adaptertest.Audit(t, w, d, "f", lync)
	})
}

type gated struct {
	compliance.Adapter
	before func()
}

func (g *gated) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	g.before()
	return g.Adapter.Deliver(ctx, cut, run)
}

func lync(fs compliance.FS, dir string, n event.NodeID) compliance.Adapter {
	return lyncxml.New(lyncxml.Config{Dir: dir, FS: fs, Node: n})
}

// TestTidies: a node that was killed in the middle of a cut, and comes back to find that another one has the feed, leaves
// nothing half written behind, and touches nothing else.
func TestTidies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		d := adaptertest.NewDisk()
		feed := func(n event.NodeID) *compliance.Feed {
			return compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: lync(d, adaptertest.Dir, n), Every: time.Second}, w.Node(n), w, nil)
		}
		start(t, feed("n1"))
		time.Sleep(time.Minute)
		delivered := d.Files(adaptertest.Dir)
		const mine, others = ".f-00000000000000000122-00000000000000000128.xml.n2.tmp", ".f-00000000000000000122-00000000000000000128.xml.n1.tmp"
		d.Plant(adaptertest.Dir+"/"+mine, "half")
		d.Plant(adaptertest.Dir+"/"+others, "half")
		start(t, feed("n2"))
		time.Sleep(time.Minute)
		if owner := feedOf(w, "f").Owner; owner != "n1" {
			t.Fatalf("the feed is %s's", owner)
		}
		delivered[others] = "half"
		if got := d.Files(adaptertest.Dir); !maps.Equal(got, delivered) {
			t.Errorf("there are %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(delivered)))
		}
	})
}

// TestBase: a new owner starts from a state it is given, if that one is not too new.
func TestBase(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w, m := adaptertest.Scene()
			first := start(t, compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: &script{}, Every: time.Second}, w.Node("n1"), w, nil))
			time.Sleep(time.Minute)
			first()
			post(w, "more")
			asked := false
			at := m.Talk
			if ahead {
				at = w.Head()
			}
			ad := &script{}
			start(t, compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: ad, Every: time.Second,
				Base: func(ctx context.Context, limit event.Offset) (*chat.State, error) {
					asked = true
					return compliance.StateAt(ctx, w, at)
				}}, w.Node("n1"), w, nil))
			time.Sleep(time.Minute)
			synctest.Wait()
			if !asked || len(ad.got()) != 1 {
				t.Fatalf("asked for a base: %t, deliveries %v", asked, ad.got())
			}
		})
	}
}

func TestConfig(t *testing.T) {
	w := adaptertest.NewWorld()
	for _, c := range []compliance.FeedConfig{
		{Name: "", Adapter: &script{}}, {Name: "Up", Adapter: &script{}}, {Name: "a/b", Adapter: &script{}},
		{Name: "-a", Adapter: &script{}}, {Name: strings.Repeat("a", 65), Adapter: &script{}},
		{Name: "f"}, {Name: "f", Adapter: &script{}, Every: -1},
	} {
		if err := compliance.NewFeed(c, w.Node("n1"), w, nil).Run(t.Context()); err == nil {
			t.Errorf("feed %q ran", c.Name)
		}
	}
}

// TestImpliedParts: Parts says exactly what Fold does: the sessions before an event, less those it parts with or
// without saying so, plus those it opens, are the sessions after it.
func TestImpliedParts(t *testing.T) {
	w, _ := adaptertest.Scene()
	cut, run := adaptertest.Cut(t, w, "f", 1, w.Head())
	key := func(room event.RoomID, by event.Principal, end event.Endpoint, n event.NodeID) string {
		return fmt.Sprint(room, by, end, n)
	}
	open := map[string]bool{}
	implied := 0
	for e, err := range run {
		if err != nil {
			t.Fatal(err)
		}
		now := map[string]bool{}
		for s := range cut.State().Sessions() {
			now[key(s.Room, s.User, s.Endpoint, s.Node)] = true
		}
		if fmt.Sprint(now) != fmt.Sprint(open) {
			t.Fatalf("before event %d (%s) the sessions are %v, want %v", e.Offset, e.Kind(), now, open)
		}
		last := ""
		for _, p := range append(cut.Parts(e), e) {
			switch v := p.Event.(type) {
			case *event.Joined:
				open[key(e.Room, e.By, v.Endpoint, e.Node)] = true
			case *event.Parted:
				k := key(p.Room, p.By, v.Endpoint, p.Node)
				if !open[k] {
					t.Errorf("event %d parts %s, which is not there", e.Offset, k)
				}
				delete(open, k)
				if p.Event != e.Event {
					implied++
					if k <= last || p.Offset != e.Offset || p.At != e.At || v.Reason != compliance.PartNodeLost {
						t.Errorf("implied part %+v after %q", p, last)
					}
					last = k
				}
			}
		}
	}
	if implied < 3 {
		t.Errorf("the scene implies %d parts: too few to test anything", implied)
	}
}

// mortal is a disk as one process sees it: when the process is killed, everything fails.
type mortal struct {
	*adaptertest.Disk
	dead    atomic.Bool
	left    atomic.Int64 // operations until the process dies; negative: it lives
	onDeath func()
}

func (m *mortal) op() error {
	if m.left.Add(-1) == 0 {
		m.dead.Store(true)
		if m.onDeath != nil {
			m.onDeath()
		}
	}
	if m.dead.Load() {
		return adaptertest.ErrCrashed
	}
	return nil
}

func do[T any](m *mortal, f func() (T, error)) (out T, err error) {
	if err := m.op(); err != nil {
		return out, err
	}
	out, err = f()
	if m.dead.Load() {
		err = adaptertest.ErrCrashed
	}
	return out, err
}

func (m *mortal) none(f func() error) error {
	_, err := do(m, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

func (m *mortal) Create(n string) (compliance.File, error) {
	return do(m, func() (compliance.File, error) {
		f, err := m.Disk.Create(n)
		if err != nil {
			return nil, err
		}
		return &mortalFile{f, m}, nil
	})
}
func (m *mortal) Open(n string) (io.ReadCloser, error) {
	return do(m, func() (io.ReadCloser, error) { return m.Disk.Open(n) })
}
func (m *mortal) Names(n string) ([]string, error) {
	return do(m, func() ([]string, error) { return m.Disk.Names(n) })
}
func (m *mortal) MkdirAll(n string) error { return m.none(func() error { return m.Disk.MkdirAll(n) }) }
func (m *mortal) Link(o, n string) error  { return m.none(func() error { return m.Disk.Link(o, n) }) }
func (m *mortal) Rename(o, n string) error {
	return m.none(func() error { return m.Disk.Rename(o, n) })
}
func (m *mortal) Remove(n string) error   { return m.none(func() error { return m.Disk.Remove(n) }) }
func (m *mortal) SyncFile(n string) error { return m.none(func() error { return m.Disk.SyncFile(n) }) }
func (m *mortal) SyncDir(n string) error  { return m.none(func() error { return m.Disk.SyncDir(n) }) }

type mortalFile struct {
	compliance.File
	m *mortal
}

func (f *mortalFile) Write(p []byte) (int, error) {
	return do(f.m, func() (int, error) { return f.File.Write(p) })
}
func (f *mortalFile) Sync() error  { return f.m.none(f.File.Sync) }
func (f *mortalFile) Close() error { return f.m.none(f.File.Close) }

var stormSeeds = flag.Uint64("compliance.seeds", 15, "how many storms TestSeeds lets loose")

// TestSeeds: three nodes run the feed over one archive while nodes are killed in the middle of file operations, are
// cut off, lose answers, and the leadership wanders. In the end the archive equals the log.
func TestSeeds(t *testing.T) {
	for seed := range *stormSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { storm(t, seed) })
		})
	}
}

func storm(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	w, _ := adaptertest.Scene()
	d := adaptertest.NewDisk()
	nodes := []event.NodeID{"n1", "n2", "n3"}
	stops := map[event.NodeID]func(){}
	disks := map[event.NodeID]*mortal{}
	feeds := map[event.NodeID]*compliance.Feed{}
	admin := func(c chat.Command, n event.NodeID) {
		w.Must(chat.Request{Origin: chat.Origin{By: "admin:test", Node: n, Trusted: true}, Command: c})
	}
	boot := func(n event.NodeID) {
		admin(&chat.StartNode{Version: "test"}, n)
		m := &mortal{Disk: d}
		m.left.Store(-1)
		disks[n] = m
		feeds[n] = compliance.NewFeed(compliance.FeedConfig{Name: "f", Adapter: lync(m, adaptertest.Dir, n), Every: 2 * time.Second, MaxEvents: 7}, w.Node(n), w, nil)
		stops[n] = start(t, feeds[n])
	}
	kill := func(n event.NodeID) {
		disks[n].dead.Store(true)
		stops[n]()
	}
	for _, n := range nodes {
		boot(n)
	}
	var mu sync.Mutex
	calm := false
	w.Faults(func(event.NodeID, chat.Command) (before, after error) {
		mu.Lock()
		defer mu.Unlock()
		if calm {
			return nil, nil
		}
		switch r.IntN(6) {
		case 0:
			return chat.Refuse(chat.CodeUnavailable, "no leader"), nil
		case 1:
			return nil, chat.Refuse(chat.CodeUnavailable, "answer lost")
		}
		return nil, nil
	})
	pick := func(n int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(n) }
	say := func(i int) event.Offset {
		st := w.State()
		nd, _ := st.Node("n1")
		if !nd.Alive { // it finds out, and starts a new incarnation
			admin(&chat.StartNode{Version: "test"}, "n1")
			nd.Incarnation++
			st = w.State()
		}
		o := chat.Origin{By: adaptertest.Alice, Endpoint: "p", Node: "n1", Incarnation: nd.Incarnation}
		if !st.Joined(adaptertest.Lobby, adaptertest.Alice, "p", "n1") {
			w.Must(chat.Request{Origin: o, Command: &chat.Join{Rooms: []event.RoomID{adaptertest.Lobby}}})
		}
		return w.Must(chat.Request{Origin: o, Command: &chat.Post{Room: adaptertest.Lobby, Text: fmt.Sprint("post ", i)}}).Offset
	}
	for i := range 150 {
		n := nodes[pick(3)]
		switch pick(12) {
		case 0:
			w.Lead(n)
		case 1:
			w.Freeze(n)
		case 2:
			w.Thaw(n)
		case 3: // killed and started again at once, before anybody noticed
			kill(n)
			boot(n)
		case 4: // killed in the middle of a file operation some time from now
			disks[n].left.Store(int64(1 + pick(25)))
		case 5: // taken for lost, rightly or wrongly
			nd, _ := w.State().Node(n)
			admin(&chat.LoseNode{Node: n, Incarnation: nd.Incarnation, Reason: "test"}, "")
		default:
			for range pick(8) {
				say(i)
			}
		}
		for _, n := range nodes { // processes that died are started again
			if disks[n].dead.Load() {
				stops[n]()
				boot(n)
			}
		}
		time.Sleep(time.Duration(pick(3000)) * time.Millisecond)
	}
	mu.Lock()
	calm = true
	mu.Unlock()
	for _, n := range nodes {
		w.Thaw(n)
		kill(n)
		boot(n)
	}
	end := say(-1)
	time.Sleep(5 * time.Minute)
	if fd := feedOf(w, "f"); fd.Receipt < end {
		var all []string
		for _, n := range nodes {
			all = append(all, fmt.Sprintf("%s: %+v", n, feeds[n].Status()))
		}
		t.Fatalf("seed %d: five minutes after the storm the feed stands at %d of %d\n%s", seed, fd.Receipt, end, strings.Join(all, "\n"))
	}
	adaptertest.Audit(t, w, d, "f", lync)
}
