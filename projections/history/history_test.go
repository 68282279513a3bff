package history_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
	"parley/projections"
	"parley/projections/history"
	"parley/projections/projectionstest"
)

func open(t testing.TB, fs vfs.FS, src projections.Source) (*projections.Store, *history.History, *projections.Runner) {
	t.Helper()
	s, err := projections.OpenStore("views", projections.Options{FS: fs, CacheBytes: 1 << 20, SyncEvery: time.Millisecond, MaxRun: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h := history.New()
	r, err := s.Run(context.Background(), src, h)
	if err != nil {
		t.Fatal(err)
	}
	return s, h, r
}

// archive is the history as a naive reader of the log has it.
func archive(t testing.TB, l *projectionstest.Log, to event.Offset) map[event.RoomID][]history.Message {
	t.Helper()
	out := map[event.RoomID][]history.Message{}
	for o := event.Offset(1); o <= to; {
		run, err := l.Read(o, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range run {
			o = e.Offset + 1
			if r, ok := e.Event.(*event.MessagesRemoved); ok && e.Offset <= to {
				out[e.Room] = slices.DeleteFunc(out[e.Room], func(m history.Message) bool {
					return m.At <= r.Until || slices.Contains(r.Messages, event.MessageRef{MessageID: m.ID, Offset: m.Offset})
				})
			}
			if p, ok := e.Event.(*event.Posted); ok && !p.Unlogged && e.Offset <= to {
				out[e.Room] = append(out[e.Room], history.Message{ID: p.MessageID, Offset: e.Offset, At: e.At, By: e.By,
					Text: p.Text, RTF: p.RTF, Alert: p.Alert})
			}
		}
	}
	return out
}

func check(t testing.TB, what string, h *history.History, want map[event.RoomID][]history.Message) {
	t.Helper()
	n := 0
	for room, all := range want {
		got, err := h.Messages(room, 0, math.MaxUint64)
		if err != nil {
			t.Fatal(err)
		}
		if len(got)+len(all) > 0 && !reflect.DeepEqual(got, all) {
			t.Errorf("%s: room %s has %d messages, want %d, or they differ", what, room, len(got), len(all))
		}
		for i := range all {
			j := min(i+2, len(all)-1)
			got, err := h.Messages(room, all[i].ID, all[j].ID)
			if err != nil || !reflect.DeepEqual(got, all[i:j+1]) {
				t.Errorf("%s: room %s, %d to %d: %v %v", what, room, all[i].ID, all[j].ID, got, err)
			}
		}
		n += len(all)
	}
	if n == 0 {
		t.Errorf("%s: there was nothing to check", what)
	}
}

func TestIncrementalEqualsRebuilt(t *testing.T) {
	for seed := range int64(3) {
		l := projectionstest.NewLog(t)
		fs := vfs.NewMem()
		life := projectionstest.NewLife(l, seed)
		s, h, r := open(t, fs, l)
		life.Steps(600)
		head := l.Head().Offset
		projectionstest.Wait(t, r, head)
		want := archive(t, l, head)
		check(t, "incremental", h, want)
		if err := r.Rebuild(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		check(t, "rebuilt", h, want)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, h, _ = open(t, fs, l)
		check(t, "reopened", h, want)
		_, h, r = open(t, vfs.NewMem(), l)
		projectionstest.Wait(t, r, head)
		check(t, "from nothing", h, want)
	}
}

// TestSpan finds the messages of every span of time, as a naive reader does, where some were removed and some not kept.
func TestSpan(t *testing.T) {
	l := projectionstest.NewLog(t)
	_, h, r := open(t, vfs.NewMem(), l)
	projectionstest.NewLife(l, 5).Steps(400)
	head := l.Head().Offset
	projectionstest.Wait(t, r, head)
	asked := 0
	for room, all := range archive(t, l, head) {
		times := []event.Time{0, 1}
		for _, m := range all {
			times = append(times, m.At-1, m.At, m.At+1)
		}
		rng := rand.New(rand.NewPCG(1, uint64(len(all))))
		for range 300 {
			from, to := times[rng.IntN(len(times))], times[rng.IntN(len(times))]
			var want []history.Message
			for _, m := range all {
				if m.At >= from && (to == 0 || m.At <= to) {
					want = append(want, m)
				}
			}
			first, last, err := h.Span(room, from, to)
			if err != nil {
				t.Fatal(err)
			}
			var got []history.Message
			if first > 0 {
				got, err = h.Messages(room, first, last)
			}
			if err != nil || len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) || (first == 0) != (len(want) == 0) {
				t.Fatalf("room %s, %d to %d: ids %d to %d, %d messages, want %d, %v", room, from, to, first, last, len(got), len(want), err)
			}
			asked += len(want)
		}
		for i, m := range all {
			got, err := h.From(room, m.ID)
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Errorf("from %d: %+v, %v", m.ID, got, err)
			}
			if i > 0 && all[i-1].ID+1 < m.ID {
				if got, err = h.From(room, m.ID-1); err != nil || got.ID != m.ID {
					t.Errorf("from %d, which is not there: %d, %v", m.ID-1, got.ID, err)
				}
			}
		}
		if len(all) > 0 {
			if got, err := h.From(room, all[len(all)-1].ID+1); err != nil || got.ID != 0 {
				t.Errorf("behind the end: %d, %v", got.ID, err)
			}
		}
	}
	if asked == 0 {
		t.Error("there was nothing to find")
	}
}

func TestCrash(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(11, uint64(percent)))
			l := projectionstest.NewLog(t)
			life := projectionstest.NewLife(l, int64(percent))
			fs := vfs.NewCrashableMem()
			for range 6 {
				s, h, r := open(t, fs, l)
				life.Steps(50 + rng.IntN(100))
				clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
				projectionstest.Wait(t, r, l.Head().Offset)
				check(t, "at the head", h, archive(t, l, l.Head().Offset))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				fs = clone
			}
		})
	}
}

func post(room event.RoomID, id uint64, text string, unlogged bool) event.Draft {
	return event.Draft{Meta: event.Meta{By: "sip:a@x", Room: room},
		Event: &event.Posted{MessageID: id, Text: text, RTF: "{" + text + "}", Alert: id == 2, Unlogged: unlogged}}
}

func TestWhatIsKept(t *testing.T) {
	l := projectionstest.NewLog(t)
	_, h, r := open(t, vfs.NewMem(), l)
	// Rooms whose ids are prefixes of each other must not mix.
	l.Add(post("r", 1, "one", false), post("r1", 1, "other", false))
	l.Add(post("r", 2, "two", false), post("r", 3, "gone", true), post("r", 4, "four", false))
	o := l.Add(post("r", math.MaxUint64, "last", false))
	projectionstest.Wait(t, r, o)
	ids := func(first, last uint64) (out []uint64) {
		ms, err := h.Messages("r", first, last)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			out = append(out, m.ID)
		}
		return out
	}
	for _, c := range []struct {
		first, last uint64
		want        []uint64
	}{
		{1, 4, []uint64{1, 2, 4}},
		{2, 2, []uint64{2}},
		{3, 3, nil},
		{4, 1, nil},
		{0, math.MaxUint64, []uint64{1, 2, 4, math.MaxUint64}},
		{5, math.MaxUint64, []uint64{math.MaxUint64}},
	} {
		if got := ids(c.first, c.last); !slices.Equal(got, c.want) {
			t.Errorf("messages %d to %d are %v, want %v", c.first, c.last, got, c.want)
		}
	}
	ms, err := h.Messages("r", 2, 2)
	if err != nil || len(ms) != 1 {
		t.Fatal(ms, err)
	}
	if m := ms[0]; m.Text != "two" || m.RTF != "{two}" || !m.Alert || m.By != "sip:a@x" || m.Offset != 3 || m.At == 0 || m.Erased {
		t.Errorf("message is %+v", m)
	}
}

// erasing is a log in which the body of one message was erased. Its text is left in the event: that it was erased is
// what counts.
type erasing struct {
	*projectionstest.Log
	offset event.Offset
}

func (l *erasing) Read(from event.Offset, n int) ([]event.Envelope, error) {
	run, err := l.Log.Read(from, n)
	run = slices.Clone(run) // the log's own is shared
	for i := range run {
		run[i].Erased = run[i].Offset == l.offset
	}
	return run, err
}

func TestErasedStaysWithoutItsText(t *testing.T) {
	l := projectionstest.NewLog(t)
	l.Add(post("r", 1, "one", false), post("r", 2, "two", false))
	src := &erasing{Log: l}
	_, h, r := open(t, vfs.NewMem(), src)
	projectionstest.Wait(t, r, 2)
	src.offset = 2
	if err := r.Rebuild(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	ms, err := h.Messages("r", 1, 2)
	if err != nil || len(ms) != 2 {
		t.Fatal(ms, err)
	}
	if ms[0].Text != "one" || ms[0].Erased {
		t.Errorf("a message beside it is %+v", ms[0])
	}
	if m := ms[1]; !m.Erased || m.Text != "" || m.RTF != "" || !m.Alert || m.ID != 2 {
		t.Errorf("the erased message is %+v", m)
	}
}

func TestBeforeItRuns(t *testing.T) {
	if _, err := history.New().Messages("r", 1, 2); !errors.Is(err, history.ErrNotRunning) {
		t.Errorf("error is %v, want ErrNotRunning", err)
	}
}

func removal(room event.RoomID, r event.MessagesRemoved) event.Draft {
	return event.Draft{Meta: event.Meta{By: "admin:root", Room: room}, Event: &r}
}

// Removed messages are gone, or have another text, whether the removal is read in the batch of the post or later, and
// whether the log still has the text or not.
func TestRemoved(t *testing.T) {
	l := projectionstest.NewLog(t)
	ref := func(id uint64, o event.Offset) event.MessageRef { return event.MessageRef{MessageID: id, Offset: o} }
	text := func(h *history.History) string {
		t.Helper()
		var out []string
		for _, room := range []event.RoomID{"r", "r1"} {
			ms, err := h.Messages(room, 0, math.MaxUint64)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range ms {
				if m.Erased || m.RTF != "" && m.RTF != "{"+m.Text+"}" {
					t.Errorf("message is %+v", m)
				}
				out = append(out, fmt.Sprint(room, m.ID, m.Text))
			}
		}
		return fmt.Sprint(out)
	}
	_, early, earlyRun := open(t, vfs.NewMem(), l) // one entry at a time
	steps := []struct {
		add  []event.Draft
		want string
	}{
		{[]event.Draft{post("r", 1, "a", false), post("r", 2, "b", false), post("r1", 1, "x", false), post("r", 3, "c", false), post("r", 4, "d", true)},
			"[r1a r2b r3c r11x]"},
		{[]event.Draft{removal("r", event.MessagesRemoved{Messages: []event.MessageRef{ref(1, 1), ref(3, 4)}})}, "[r2b r11x]"},
		{[]event.Draft{removal("r", event.MessagesRemoved{Messages: []event.MessageRef{ref(1, 1), ref(2, 2), ref(4, 5)}, Replaced: true, Text: "removed"})},
			"[r2removed r11x]"}, // one was removed before, one never was here
		{[]event.Draft{post("r", 5, "e", false), post("r", 6, "f", false)}, "[r2removed r5e r6f r11x]"},
		{[]event.Draft{removal("r", event.MessagesRemoved{Until: math.MaxInt64}), post("r", 7, "g", false)}, "[r7g r11x]"},
		{[]event.Draft{post("r", 8, "h", false), removal("r", event.MessagesRemoved{Until: math.MaxInt64, Replaced: true, Text: "cleared"}), post("r", 9, "i", false)},
			"[r7cleared r8cleared r9i r11x]"},
		{[]event.Draft{removal("r1", event.MessagesRemoved{Until: 1})}, "[r7cleared r8cleared r9i r11x]"}, // before all of them
		{[]event.Draft{removal("r", event.MessagesRemoved{})}, "[r7cleared r8cleared r9i r11x]"},
	}
	for i, s := range steps {
		projectionstest.Wait(t, earlyRun, l.Add(s.add...))
		if got := text(early); got != s.want {
			t.Errorf("after step %d: %s, want %s", i, got, s.want)
		}
	}
	head, want := l.Head().Offset, steps[len(steps)-1].want
	for _, erased := range []bool{false, true} {
		if erased {
			if n, err := l.Erase(context.Background(), head); err != nil || n == 0 {
				t.Fatal(n, err)
			}
			if err := earlyRun.Rebuild(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			if got := text(early); got != want {
				t.Errorf("rebuilt from an erased log: %s, want %s", got, want)
			}
		}
		_, late, lateRun := open(t, vfs.NewMem(), l) // all in one batch
		projectionstest.Wait(t, lateRun, head)
		if got := text(late); got != want {
			t.Errorf("from nothing, erased %v: %s, want %s", erased, got, want)
		}
	}
}

// A removal that names another message's offset stops the projection, and takes nothing away.
func TestBrokenRemoval(t *testing.T) {
	l := projectionstest.NewLog(t)
	_, h, r := open(t, vfs.NewMem(), l)
	l.Add(post("r", 1, "a", false), post("r", 2, "b", false))
	l.Add(removal("r", event.MessagesRemoved{Messages: []event.MessageRef{{MessageID: 1, Offset: 1}, {MessageID: 2, Offset: 1}}}))
	<-r.Done()
	var f *projections.FoldError
	if !errors.As(r.Err(), &f) || f.Offset != 3 {
		t.Errorf("stopped with %v", r.Err())
	}
	if ms, err := h.Messages("r", 1, 2); err != nil || len(ms) != 2 {
		t.Errorf("%v, %v", ms, err)
	}
}

// After a removal and Purge the text is in no file of the views.
func TestRemovedBytesLeaveTheFiles(t *testing.T) {
	l, fs := projectionstest.NewLog(t), vfs.NewMem()
	s, _, r := open(t, fs, l)
	rng := rand.New(rand.NewPCG(5, 5))
	for id := uint64(1); id <= 300; id++ {
		word := "KEPT"
		if id%3 == 0 {
			word = "SECRET"
		}
		l.Add(post("r", id, fmt.Sprintf("%s-%016x%016x%016x", word, rng.Uint64(), rng.Uint64(), rng.Uint64()), false))
	}
	var gone event.MessagesRemoved
	for id := uint64(3); id <= 300; id += 3 {
		gone.Messages = append(gone.Messages, event.MessageRef{MessageID: id, Offset: event.Offset(id)})
	}
	holds := func(text string) (n int) {
		names, err := fs.List("views")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			f, err := fs.Open(fs.PathJoin("views", name))
			if errors.Is(err, iofs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte(text)) {
				n++
			}
		}
		return n
	}
	projectionstest.Wait(t, r, l.Head().Offset)
	if err := s.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if holds("SECRET") == 0 {
		t.Fatal("the text is in no file: the test does not test")
	}
	projectionstest.Wait(t, r, l.Add(removal("r", gone)))
	if err := s.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := holds("SECRET"); n > 0 {
		t.Errorf("the text is in %d files", n)
	}
	if holds("KEPT") == 0 {
		t.Error("what was kept is gone")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(context.Background()); !errors.Is(err, projections.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
