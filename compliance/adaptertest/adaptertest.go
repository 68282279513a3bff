// Package adaptertest is the conformance suite of compliance adapters that write files: an adapter that passes it can
// be owned by any node, be killed at any moment, and still give an archive that equals the log.
//
// It also has what it is made of for other tests: a Disk that loses what was not synced, a World that is a pool in
// memory under the real rules, and a Scene in it.
package adaptertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/compliance"
	"parley/log/event"
	"parley/projections/chat"
)

// Dir is the archive's directory in the suite.
const Dir = "archive/feed"

// New makes the adapter under test: it writes to Dir on a file system, as one node.
type New func(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter

// Run runs the suite.
func Run(t *testing.T, make New) {
	s := &suite{make: make}
	s.world, s.marks = Scene()
	t.Run("same cut same bytes", s.pure)
	t.Run("duplicate run", s.duplicate)
	t.Run("found but not synced", s.found)
	t.Run("partial run", s.partial)
	t.Run("empty range", s.empty)
	t.Run("other content is an alarm", s.alarm)
	t.Run("cancelled context", s.cancelled)
	t.Run("slow target", s.slow)
	t.Run("failure at each file operation", func(t *testing.T) { s.broken(t, false) })
	t.Run("failure at each file operation without hard links", func(t *testing.T) { s.broken(t, true) })
	t.Run("two nodes at once", s.together)
	t.Run("leftovers are swept", s.leftovers)
	t.Run("feed", s.feed)
}

type suite struct {
	make  New
	world *World
	marks Marks
}

// cut returns the range of the scene with most in it.
func (s *suite) cut(t testing.TB) (compliance.Cut, iter.Seq2[event.Envelope, error]) {
	return Cut(t, s.world, "feed", s.marks.Directory+1, s.marks.Restarted)
}

// Cut returns a cut of a world.
func Cut(t testing.TB, w *World, feed string, first, last event.Offset) (compliance.Cut, iter.Seq2[event.Envelope, error]) {
	t.Helper()
	base, err := compliance.StateAt(t.Context(), w, first-1)
	if err != nil {
		t.Fatal(err)
	}
	cut, run, err := compliance.NewCut(feed, first, last, base, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cut, run
}

// deliver does a delivery that must succeed, and checks the receipt against the disk.
func (s *suite) deliver(t *testing.T, d *Disk, node event.NodeID) compliance.Receipt {
	t.Helper()
	cut, run := s.cut(t)
	r, err := s.make(d, Dir, node).Deliver(t.Context(), cut, run)
	if err != nil {
		t.Fatalf("deliver: %v", err)
	}
	s.check(t, d, r)
	return r
}

// whole returns the files that the suite's cut comes to, and its receipt.
func (s *suite) whole(t *testing.T) (map[string]string, compliance.Receipt) {
	t.Helper()
	d := NewDisk()
	cut, run := s.cut(t)
	r, err := s.make(d, Dir, "n1").Deliver(t.Context(), cut, run)
	if err != nil {
		t.Fatalf("deliver: %v", err)
	}
	return d.Files(Dir), r
}

// check says that the archive holds exactly the files of the suite's cut, durably, and that the receipt is theirs.
func (s *suite) check(t *testing.T, d *Disk, r compliance.Receipt) {
	t.Helper()
	want, _ := s.whole(t)
	if err := Holds(want, r); err != nil {
		t.Fatal(err)
	}
	for _, l := range []Loss{KeepAll, LoseAll, LoseBytes} {
		if got := visible(d.Restart(l).Files(Dir)); !maps.Equal(got, want) {
			t.Fatalf("%s: the archive has %v, want %v, or with other content", l, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
	if files := d.Files(Dir); len(files) != len(want) {
		t.Fatalf("the archive has %v, want %v alone", slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(want)))
	}
}

// Holds checks that a receipt is that of some files: the one it names, or those of the list that it names.
func Holds(files map[string]string, r compliance.Receipt) error {
	content, ok := files[r.Name]
	if !ok || uint64(len(content)) != r.Bytes || sha256.Sum256([]byte(content)) != r.SHA256 {
		return fmt.Errorf("%s is not what the receipt says (there: %t, %d bytes, receipt %d)", r.Name, ok, len(content), r.Bytes)
	}
	if !strings.HasSuffix(r.Name, "."+compliance.ListExt) {
		if len(files) != 1 {
			return fmt.Errorf("the receipt names %s, and there are %v", r.Name, slices.Sorted(maps.Keys(files)))
		}
		return nil
	}
	listed := ""
	for line := range strings.Lines(content) {
		_, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		listed += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(files[name])), name)
	}
	if listed != content || strings.Count(content, "\n") != len(files)-1 {
		return fmt.Errorf("the list %s is not that of the files %v:\n%s", r.Name, slices.Sorted(maps.Keys(files)), content)
	}
	return nil
}

// visible leaves out temporary files: names that begin with a dot.
func visible(files map[string]string) map[string]string {
	out := map[string]string{}
	for n, c := range files {
		if !strings.HasPrefix(n, ".") {
			out[n] = c
		}
	}
	return out
}

// pure: the bytes depend on configuration and range alone, not on the node, the disk, or what was delivered before.
func (s *suite) pure(t *testing.T) {
	d1, d2 := NewDisk(), NewDisk()
	r1 := s.deliver(t, d1, "n1")
	earlier, run := Cut(t, s.world, "feed", 1, s.marks.Talk)
	a := s.make(d2, Dir, "n2")
	if _, err := a.Deliver(t.Context(), earlier, run); err != nil {
		t.Fatal(err)
	}
	cut, run := s.cut(t)
	r2, err := a.Deliver(t.Context(), cut, run)
	if err != nil {
		t.Fatal(err)
	}
	if r1 != r2 {
		t.Fatalf("the same cut gave\n%+v and\n%+v", r1, r2)
	}
	for n, c := range d1.Files(Dir) {
		if d2.Files(Dir)[n] != c {
			t.Fatalf("the same cut gave two forms of %s", n)
		}
	}
	if want := fmt.Sprintf("feed-%020d-%020d", cut.First, cut.Last); !strings.HasPrefix(r1.Name, want) {
		t.Fatalf("name is %s, want %s…: it must tell the range", r1.Name, want)
	}
	if r1.Bytes == 0 {
		t.Fatal("a range with posts gave an empty file")
	}
}

// duplicate: a delivery whose receipt was lost is repeated, by the same adapter, by a new one, by another node.
func (s *suite) duplicate(t *testing.T) {
	d := NewDisk()
	a := s.make(d, Dir, "n1")
	cut, run := s.cut(t)
	first, err := a.Deliver(t.Context(), cut, run)
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.Deliver(t.Context(), cut, run)
	if err != nil || again != first {
		t.Fatalf("repeated: %+v, %v; want %+v", again, err, first)
	}
	for _, n := range []event.NodeID{"n1", "n2"} {
		if r := s.deliver(t, d, n); r != first {
			t.Fatalf("repeated by %s: %+v, want %+v", n, r, first)
		}
	}
}

// found: the files are there already, put back by somebody who did not sync them: the receipt must not rest on that.
func (s *suite) found(t *testing.T) {
	files, want := s.whole(t)
	d := NewDisk()
	for n, c := range files {
		d.Plant(Dir+"/"+n, c)
	}
	if r := s.deliver(t, d, "n1"); r != want {
		t.Fatalf("%+v, want %+v", r, want)
	}
}

// partial: a run that breaks off leaves nothing to be seen, and the adapter says so with the run's own error.
func (s *suite) partial(t *testing.T) {
	d := NewDisk()
	broken := errors.New("the log broke off")
	cut, run := s.cut(t)
	for n := range int(cut.Last - cut.First + 1) {
		a := s.make(d, Dir, "n1")
		_, err := a.Deliver(t.Context(), cut, func(yield func(event.Envelope, error) bool) {
			i := 0
			for e, err := range run {
				if i == n {
					yield(event.Envelope{}, broken)
					return
				}
				i++
				if !yield(e, err) {
					return
				}
			}
		})
		if !errors.Is(err, broken) {
			t.Fatalf("run broke off after %d events: adapter says %v", n, err)
		}
		if files := d.Files(Dir); len(visible(files)) > 0 {
			t.Fatalf("run broke off after %d events: the archive has %v", n, slices.Sorted(maps.Keys(files)))
		}
	}
	s.deliver(t, d, "n1")
}

// empty: a range without anything for an archive of conversations needs no file.
func (s *suite) empty(t *testing.T) {
	d := NewDisk()
	a := s.make(d, Dir, "n1")
	cut, run := Cut(t, s.world, "feed", s.marks.Restarted+1, s.marks.Quiet)
	r, err := a.Deliver(t.Context(), cut, run)
	if err != nil {
		t.Fatal(err)
	}
	files := d.Files(Dir)
	if r.Empty() != (len(files) == 0) {
		t.Fatalf("receipt %+v, files %v", r, slices.Sorted(maps.Keys(files)))
	}
	if r.Empty() && r != (compliance.Receipt{}) {
		t.Fatalf("a receipt without a file must be zero: %+v", r)
	}
}

// alarm: a file of the same name and other content is neither overwritten nor acknowledged.
func (s *suite) alarm(t *testing.T) {
	files, _ := s.whole(t)
	for _, noLinks := range []bool{false, true} {
		for n := range files {
			d := NewDisk()
			if noLinks {
				d.NoLinks()
			}
			d.Plant(Dir+"/"+n, "something else")
			cut, run := s.cut(t)
			if _, err := s.make(d, Dir, "n1").Deliver(t.Context(), cut, run); !errors.Is(err, compliance.ErrDiffers) {
				t.Fatalf("deliver over another %s: %v, want ErrDiffers", n, err)
			}
			for got, c := range d.Files(Dir) {
				if got == n && c != "something else" || got != n && c != files[got] {
					t.Fatalf("with another %s the archive has another %s", n, got)
				}
			}
		}
	}
}

// cancelled: whenever the context ends, the adapter ends too, and shows nothing or everything.
func (s *suite) cancelled(t *testing.T) {
	d := NewDisk()
	cut, run := s.cut(t)
	for n := range int(cut.Last-cut.First) + 2 {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.make(d, Dir, "n1").Deliver(ctx, cut, func(yield func(event.Envelope, error) bool) {
			i := 0
			for e, err := range run {
				if i == n {
					cancel()
				}
				i++
				if !yield(e, err) {
					return
				}
			}
			cancel() // after the last event, before the file
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled at event %d: %v, want context.Canceled", n, err)
		}
		if files := d.Files(Dir); len(files) > 0 {
			t.Fatalf("cancelled at event %d: the archive has %v", n, slices.Sorted(maps.Keys(files)))
		}
	}
	s.deliver(t, d, "n1")
}

// slow: a target that takes its time is waited for, but not after the context has ended.
func (s *suite) slow(t *testing.T) {
	d := NewDisk()
	writing, goOn := make(chan struct{}), make(chan struct{})
	writes := 0
	d.OnWrite(func() {
		if writes++; writes == 1 {
			close(writing)
			<-goOn
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cut, run := s.cut(t)
	got := make(chan error, 1)
	go func() {
		_, err := s.make(d, Dir, "n1").Deliver(ctx, cut, run)
		got <- err
	}()
	select {
	case <-writing:
	case err := <-got:
		t.Fatalf("delivered without writing: %v", err)
	}
	cancel()
	close(goOn)
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled while the target hung: %v, want context.Canceled", err)
	}
	if files := d.Files(Dir); len(files) > 0 {
		t.Fatalf("cancelled while the target hung: the archive has %v", slices.Sorted(maps.Keys(files)))
	}
	if writes != 1 {
		t.Fatalf("%d more writes to a slow target after the context had ended", writes-1)
	}
	s.deliver(t, d, "n1")
}

// broken: each file operation in turn fails or is the last one before a crash; then the delivery is repeated, by the
// same node and by another.
func (s *suite) broken(t *testing.T, noLinks bool) {
	fresh := func() *Disk {
		d := NewDisk()
		if noLinks {
			d.NoLinks()
		}
		return d
	}
	files, want := s.whole(t)
	whole := fresh()
	s.deliver(t, whole, "n1")
	trace := whole.Trace()
	if len(trace) < 6 {
		t.Fatalf("only %d file operations: %v", len(trace), trace)
	}
	many := len(trace) > 20 // then one combination for each operation and fault, taken in turn
	for n := 1; n <= len(trace); n++ {
		for _, f := range []Fault{FailBefore, FailAfter, CrashBefore, CrashAfter} {
			for _, l := range []Loss{KeepAll, LoseAll, LoseBytes} {
				if many && f >= CrashBefore && int(l) != n%3 {
					continue
				}
				for i, next := range []event.NodeID{"n1", "n2"} {
					if many && i != (n+int(f))%2 {
						continue
					}
					where := fmt.Sprintf("%s operation %d (%s), %s, then %s", f, n, trace[n-1], l, next)
					d := fresh()
					d.Break(n, f)
					cut, run := s.cut(t)
					r, err := s.make(d, Dir, "n1").Deliver(t.Context(), cut, run)
					if err == nil && r != want {
						t.Fatalf("%s: acknowledged %+v, want %+v", where, r, want)
					}
					if err != nil && r != (compliance.Receipt{}) {
						t.Fatalf("%s: failed with %v and acknowledged %+v", where, err, r)
					}
					if f == FailBefore || f == FailAfter {
						if l != KeepAll {
							continue
						}
					} else {
						d = d.Restart(l)
					}
					// What is to be seen of each file is nothing or all of it; if the cut was acknowledged, or the file that the
					// receipt names is there, everything.
					got := visible(d.Files(Dir))
					for n, c := range got {
						if c != files[n] {
							t.Fatalf("%s: the archive shows %d bytes of %s, which has %d", where, len(c), n, len(files[n]))
						}
					}
					if _, named := got[want.Name]; (err == nil || named) && len(got) != len(files) {
						t.Fatalf("%s: said to be whole (%v), and the archive has only %v", where, err, slices.Sorted(maps.Keys(got)))
					}
					cut, run = s.cut(t)
					r, err = s.make(d, Dir, next).Deliver(t.Context(), cut, run)
					if err != nil || r != want {
						t.Fatalf("%s: repeated: %+v, %v; want %+v", where, r, err, want)
					}
					if got := visible(d.Restart(LoseAll).Files(Dir)); !maps.Equal(got, files) {
						t.Fatalf("%s: after the repetition the archive has %v", where, slices.Sorted(maps.Keys(got)))
					}
					if next == "n1" {
						s.check(t, d, want) // the same node has also swept what it had left behind
					}
				}
			}
		}
	}
}

// together: a stale owner and the new one deliver the same cut at the same time into the same directory: one stops at
// its n-th write, the other does the whole delivery, the first goes on.
func (s *suite) together(t *testing.T) {
	whole := NewDisk()
	want := s.deliver(t, whole, "n1")
	writes := 0
	for _, op := range whole.Trace() {
		if strings.HasPrefix(op, "write ") {
			writes++
		}
	}
	for n := 1; n <= writes; n++ {
		d := NewDisk()
		at, goOn := make(chan struct{}), make(chan struct{})
		i := 0
		d.OnWrite(func() {
			if i++; i == n {
				close(at)
				<-goOn
			}
		})
		type result struct {
			r   compliance.Receipt
			err error
		}
		got := make(chan result, 1)
		cut, run := s.cut(t)
		go func() {
			r, err := s.make(d, Dir, "n1").Deliver(t.Context(), cut, run)
			got <- result{r, err}
		}()
		<-at
		cut, run = s.cut(t)
		if r, err := s.make(d, Dir, "n2").Deliver(t.Context(), cut, run); err != nil || r != want {
			t.Fatalf("n2, while n1 is at write %d: %+v, %v", n, r, err)
		}
		close(goOn)
		if o := <-got; o.err != nil || o.r != want {
			t.Fatalf("n1, held at write %d while n2 delivered: %+v, %v", n, o.r, o.err)
		}
		s.check(t, d, want)
	}
}

// leftovers: what a killed process left half written is gone once its node delivers again, whatever that is; what
// other nodes and other feeds are writing stays.
func (s *suite) leftovers(t *testing.T) {
	d := NewDisk()
	cut, run := s.cut(t)
	trace := func() []string {
		d := NewDisk()
		s.deliver(t, d, "n1")
		return d.Trace()
	}()
	d.Break(slices.IndexFunc(trace, func(op string) bool { return strings.HasPrefix(op, "write ") })+1, CrashAfter)
	if _, err := s.make(d, Dir, "n1").Deliver(t.Context(), cut, run); err == nil {
		t.Fatal("the crash did not happen")
	}
	d = d.Restart(KeepAll)
	if len(d.Files(Dir)) != 1 {
		t.Fatalf("the crash left %v, want one temporary file", slices.Sorted(maps.Keys(d.Files(Dir))))
	}
	n := fmt.Sprintf("%020d-%020d.xml", 7, 9)
	others := []string{".feed-" + n + ".n2.tmp", ".feed-b-" + n + ".n1.tmp"}
	for _, other := range others {
		d.Plant(Dir+"/"+other, "busy")
	}
	earlier, run := Cut(t, s.world, "feed", 1, s.marks.Talk)
	if _, err := s.make(d, Dir, "n1").Deliver(t.Context(), earlier, run); err != nil {
		t.Fatal(err)
	}
	clean := NewDisk()
	earlier, run = Cut(t, s.world, "feed", 1, s.marks.Talk)
	if _, err := s.make(clean, Dir, "n1").Deliver(t.Context(), earlier, run); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(maps.Keys(clean.Files(Dir)))
	if got, want := slices.Sorted(maps.Keys(d.Files(Dir))), append(others, want...); !slices.Equal(got, want) {
		t.Fatalf("the archive has %v, want %v", got, want)
	}
}

// feed: the adapter under a real feed, with lost answers, a takeover and a restart: the archive equals the log.
func (s *suite) feed(t *testing.T) {
	w, _ := Scene()
	d := NewDisk()
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	feed := func(n event.NodeID) *compliance.Feed {
		return compliance.NewFeed(compliance.FeedConfig{Name: "feed", Adapter: s.make(d, Dir, n), Every: time.Millisecond, MaxEvents: 4, Backoff: time.Millisecond}, w.Node(n), w, logger)
	}
	lost := map[string]bool{}
	w.Faults(func(_ event.NodeID, c chat.Command) (before, after error) {
		// The first answer to each kind of command is lost although the command took effect.
		if k := fmt.Sprintf("%T", c); !lost[k] {
			lost[k] = true
			return nil, chat.Refuse(chat.CodeUnavailable, "answer lost")
		}
		return nil, nil
	})
	run := func(n event.NodeID, until event.Offset) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- feed(n).Run(ctx) }()
		for at := event.Offset(0); ; {
			fd, _ := w.State().Feed("feed")
			if fd.Receipt >= until {
				break
			}
			at = w.Head()
			if err := w.WaitFor(ctx, at+1); err != nil {
				t.Fatalf("the feed stands at %d of %d: %v\n%s", fd.Receipt, until, err, logged.String())
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	half := w.Head() / 2
	end := w.Head()
	run("n1", half)
	w.Must(chat.Request{Origin: chat.Origin{By: "admin:scene", Trusted: true}, Command: &chat.LoseNode{Node: "n1", Incarnation: 2, Reason: "silent"}})
	w.Must(chat.Request{Origin: chat.Origin{By: "node:n3", Node: "n3", Incarnation: 1, Trusted: true}, Command: &chat.StartNode{Version: "test"}})
	w.Lead("n3")
	run("n3", end)
	Audit(t, w, d, "feed", s.make)
}

// Audit checks a feed's archive against the log: the receipts are gapless and in order, each names a file of the
// archive as it is after a power loss, that file and what it lists is what the adapter makes of the range today, and the
// archive has no file without a receipt and no temporary one.
func Audit(t testing.TB, w *World, d *Disk, feed string, make New) {
	t.Helper()
	AuditFrom(t, w, d, Dir, feed, 1, func(fs compliance.FS, _ *event.FeedInfo) (compliance.Adapter, error) {
		return make(fs, Dir, "auditor"), nil
	})
}

// AuditFrom is Audit for a feed that begins at an event, and whose adapter depends on what it is set to.
func AuditFrom(t testing.TB, w *World, d *Disk, dir, feed string, from event.Offset, mk func(compliance.FS, *event.FeedInfo) (compliance.Adapter, error)) {
	t.Helper()
	files := d.Restart(LoseAll).Files(dir)
	next, epoch := from, uint64(0)
	for _, e := range w.Events() {
		r, ok := e.Event.(*event.FeedReceipt)
		if !ok || r.Feed != feed {
			continue
		}
		if r.First != next || r.Last < r.First || r.Epoch < epoch {
			t.Fatalf("receipt %d to %d of epoch %d at event %d, want one from %d", r.First, r.Last, r.Epoch, e.Offset, next)
		}
		next, epoch = r.Last+1, r.Epoch
	}
	if next == from {
		t.Fatal("no receipt at all")
	}
	err := compliance.Replay(t.Context(), w, feed, from, next-1, nil, mk, func(r compliance.Replayed) error {
		for n, c := range r.Files {
			if got, ok := files[n]; !ok || got != string(c) {
				return fmt.Errorf("the archive does not hold %s as the log has it (there: %t, %d bytes of %d)", n, ok, len(got), len(c))
			}
			delete(files, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > 0 {
		t.Fatalf("files without a receipt: %v", slices.Sorted(maps.Keys(files)))
	}
}
