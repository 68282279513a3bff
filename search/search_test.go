package search

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
	"parley/projections"
	"parley/projections/projectionstest"
)

func start(t testing.TB, dir string, src projections.Source) *Search {
	t.Helper()
	s, err := New(context.Background(), dir, src, Options{Linger: 5 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func room(id event.RoomID, name, description string) event.Draft {
	return event.Draft{Meta: event.Meta{By: "admin:test", Room: id},
		Event: &event.RoomCreated{Info: event.RoomInfo{Name: name, Description: description}}}
}

func say(r event.RoomID, by event.Principal, id uint64, text string) event.Draft {
	return event.Draft{Meta: event.Meta{By: by, Room: r}, Event: &event.Posted{MessageID: id, Text: text}}
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

// content is everything the indexes answer about a life, as text: the same events must give the same content.
func content(t testing.TB, s *Search) string {
	t.Helper()
	var b strings.Builder
	ctx := context.Background()
	for _, text := range []string{"", "alpha", "alp", "pha", "room 1", "ROOM alpha", "työ", "straße", "zulu"} {
		for _, d := range []bool{false, true} {
			rooms, err := s.Rooms(ctx, Query{Text: text, Descriptions: d}, nil)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "rooms %q %v: %v\n", text, d, rooms)
		}
		if text == "" {
			continue
		}
		hits, err := s.Messages(ctx, MessageQuery{Text: text, Limit: MaxMessages}, nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "messages %q: %v\n", text, hits)
	}
	return b.String()
}

// naive is what content should say about messages, from reading the whole log.
func naive(t testing.TB, l *projectionstest.Log, word string) (hits []Hit) {
	t.Helper()
	times := map[event.Offset]event.Time{}
	for o := event.Offset(1); o <= l.Head().Offset; {
		run, err := l.Read(o, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range run {
			o = e.Offset + 1
			if r, ok := e.Event.(*event.MessagesRemoved); ok {
				hits = slices.DeleteFunc(hits, func(h Hit) bool {
					return h.Room == e.Room && (times[h.Offset] <= r.Until || slices.Contains(r.Messages, event.MessageRef{MessageID: h.MessageID, Offset: h.Offset}))
				})
			}
			times[e.Offset] = e.At
			if p, ok := e.Event.(*event.Posted); ok && !p.Unlogged && slices.Contains(strings.Fields(strings.ToLower(p.Text)), word) {
				hits = append(hits, Hit{Offset: e.Offset, Room: e.Room, MessageID: p.MessageID})
			}
		}
	}
	slices.Reverse(hits)
	return hits[:min(len(hits), MaxMessages)]
}

func TestIncrementalEqualsRebuiltEqualsReopened(t *testing.T) {
	for seed := range int64(2) {
		l := projectionstest.NewLog(t)
		dir := t.TempDir()
		life := projectionstest.NewLife(l, seed)
		s := start(t, dir, l)
		life.Steps(300)
		projectionstest.Wait(t, s, l.Head().Offset)
		want := content(t, s)
		for _, w := range []string{"alpha", "työ", "straße"} {
			hits, err := s.Messages(context.Background(), MessageQuery{Text: w, Limit: MaxMessages}, nil)
			if n := naive(t, l, w); err != nil || len(n) == 0 || !slices.Equal(hits, n) {
				t.Errorf("search for %q: %v, %v\nwant %v", w, hits, err, n)
			}
		}
		var rooms []event.RoomID
		for r := range life.State.Rooms() {
			rooms = append(rooms, r.ID)
		}
		got, err := s.Rooms(context.Background(), Query{}, nil)
		slices.SortFunc(rooms, func(a, b event.RoomID) int {
			x, _ := life.State.Room(a)
			y, _ := life.State.Room(b)
			return strings.Compare(strings.ToLower(x.Info.Name), strings.ToLower(y.Info.Name))
		})
		if err != nil || !slices.Equal(got, rooms) {
			t.Errorf("all rooms are %v, %v\nwant %v", got, err, rooms)
		}

		var last event.Offset
		if err := s.Rebuild(context.Background(), func(done, total event.Offset) {
			if done < last || done > total {
				t.Errorf("progress went from %d to %d of %d", last, done, total)
			}
			last = done
		}); err != nil {
			t.Fatal(err)
		}
		if last != 2*l.Head().Offset {
			t.Errorf("progress ended at %d, want %d", last, 2*l.Head().Offset)
		}
		if got := content(t, s); got != want {
			t.Errorf("rebuilt:\n%s\nincremental:\n%s", got, want)
		}
		life.Steps(30)
		projectionstest.Wait(t, s, l.Head().Offset)
		want = content(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		src := &counting{Log: l}
		s = start(t, dir, src)
		if s.Offset() != l.Head().Offset {
			t.Errorf("reopened at %d, want the checkpoint %d", s.Offset(), l.Head().Offset)
		}
		if got := content(t, s); got != want {
			t.Errorf("reopened:\n%s\nwant:\n%s", got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n := src.events.Load(); n > 2 { // one each, to compare the chain
			t.Errorf("reopening read %d events again", n)
		}
		for _, name := range []string{roomsName, messagesName} {
			if dirs := numbered(t, filepath.Join(dir, name)); len(dirs) != 1 {
				t.Errorf("after a rebuild there are indexes %v of %s, want one", dirs, name)
			}
		}
	}
}

func numbered(t testing.TB, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

func TestRebuildWhileTheLogGrows(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 9)
	life.Steps(100)
	s := start(t, t.TempDir(), l)
	projectionstest.Wait(t, s, l.Head().Offset)
	if err := s.Rebuild(context.Background(), func(done, total event.Offset) { life.Steps(3) }); err != nil {
		t.Fatal(err)
	}
	life.Steps(3)
	projectionstest.Wait(t, s, l.Head().Offset)
	fresh := start(t, t.TempDir(), l)
	projectionstest.Wait(t, fresh, l.Head().Offset)
	if got, want := content(t, s), content(t, fresh); got != want {
		t.Errorf("rebuilt:\n%s\nfrom nothing:\n%s", got, want)
	}
}

// TestKilled opens what is on disk while the indexes are still open, as after kill -9: what Bleve had in memory only is
// read again from the log.
func TestKilled(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 4)
	dir := t.TempDir()
	for range 4 {
		s := start(t, dir, l)
		life.Steps(40)
		projectionstest.Wait(t, s, l.Head().Offset)
		want := content(t, s)
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		after := start(t, copied, l)
		projectionstest.Wait(t, after, l.Head().Offset)
		if got := content(t, after); got != want {
			t.Errorf("after the kill:\n%s\nbefore:\n%s", got, want)
		}
		if err := errors.Join(s.Close(), after.Close()); err != nil {
			t.Fatal(err)
		}
		dir = copied
	}
}

// TestKilledAfterARebuild: what a rebuild has swapped in is on disk.
func TestKilledAfterARebuild(t *testing.T) {
	l := projectionstest.NewLog(t)
	projectionstest.NewLife(l, 5).Steps(100)
	dir, copied := t.TempDir(), t.TempDir()
	s := start(t, dir, l)
	projectionstest.Wait(t, s, l.Head().Offset)
	if err := s.Rebuild(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	src := &counting{Log: l}
	after := start(t, copied, src)
	projectionstest.Wait(t, after, l.Head().Offset)
	if got, want := content(t, after), content(t, s); got != want {
		t.Errorf("after the kill:\n%s\nbefore:\n%s", got, want)
	}
	if err := after.Close(); err != nil {
		t.Fatal(err)
	}
	if n := src.events.Load(); n > 2 { // one each, to compare the chain
		t.Errorf("after the kill %d events were read again", n)
	}
}

func TestDoubt(t *testing.T) {
	overwrite := func(t *testing.T, pattern string) {
		t.Helper()
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("nothing matches %s: %v", pattern, err)
		}
		for _, n := range names {
			if err := os.WriteFile(n, []byte("damage"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, dir string, l *projectionstest.Log) *projectionstest.Log
	}{
		{"meta file", func(t *testing.T, dir string, l *projectionstest.Log) *projectionstest.Log {
			overwrite(t, dir+"/*/*/index_meta.json")
			return l
		}},
		{"root", func(t *testing.T, dir string, l *projectionstest.Log) *projectionstest.Log {
			overwrite(t, dir+"/*/*/store/root.bolt")
			return l
		}},
		{"segments", func(t *testing.T, dir string, l *projectionstest.Log) *projectionstest.Log {
			overwrite(t, dir+"/*/*/store/*.zap")
			return l
		}},
		{"current", func(t *testing.T, dir string, l *projectionstest.Log) *projectionstest.Log {
			overwrite(t, dir+"/*/current")
			return l
		}},
		{"gone", func(t *testing.T, dir string, l *projectionstest.Log) *projectionstest.Log {
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, roomsName, "1")), os.RemoveAll(filepath.Join(dir, messagesName))); err != nil {
				t.Fatal(err)
			}
			return l
		}},
		{"another log", func(t *testing.T, dir string, l *projectionstest.Log) *projectionstest.Log {
			other := projectionstest.NewLog(t)
			other.Pass(time.Hour)
			projectionstest.NewLife(other, 78).Steps(200)
			return other
		}},
		{"shorter log", func(t *testing.T, dir string, l *projectionstest.Log) *projectionstest.Log {
			other := projectionstest.NewLog(t)
			projectionstest.NewLife(other, 77).Steps(20)
			return other
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := projectionstest.NewLog(t)
			dir := t.TempDir()
			projectionstest.NewLife(l, 77).Steps(100)
			s := start(t, dir, l)
			projectionstest.Wait(t, s, l.Head().Offset)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			l = c.do(t, dir, l)
			s = start(t, dir, l)
			if err := s.LogIsCurrent(); err != nil {
				t.Fatal(err)
			}
			projectionstest.Wait(t, s, l.Head().Offset)
			fresh := start(t, t.TempDir(), l)
			projectionstest.Wait(t, fresh, l.Head().Offset)
			if got, want := content(t, s), content(t, fresh); got != want {
				t.Errorf("built again:\n%s\nfrom nothing:\n%s", got, want)
			}
		})
	}
}

func TestNewVersionIsBuiltAgain(t *testing.T) {
	l := projectionstest.NewLog(t)
	dir := t.TempDir()
	l.Add(room("r1", "One", ""), room("r2", "Two", ""))
	for _, c := range []struct {
		version, number int
		at              event.Offset
	}{{1, 1, 0}, {1, 1, 2}, {2, 2, 0}, {2, 2, 2}, {1, 3, 0}} {
		k := roomsKind()
		k.version = c.version
		i, err := openIndex(dir, k, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if i.cp.Offset != c.at || i.cp.Version != c.version || i.number != c.number {
			t.Errorf("version %d opens index %d at %d, want index %d at %d", c.version, i.number, i.cp.Offset, c.number, c.at)
		}
		r := projections.Follow(context.Background(), l, i, projections.RunnerOptions{Name: "rooms"})
		projectionstest.Wait(t, r, 2)
		if n, err := i.documents(); n != 2 || err != nil {
			t.Errorf("version %d has %d documents, %v", c.version, n, err)
		}
		if err := errors.Join(r.Close(), i.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIrrelevantEventsWriteNothing: joins and posts move the room index in memory only, but not for ever.
func TestIrrelevantEventsWriteNothing(t *testing.T) {
	i, err := openIndex(t.TempDir(), roomsKind(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = i.Close() }()
	apply := func(o event.Offset, d event.Draft) {
		t.Helper()
		if err := i.Apply([]event.Envelope{{Offset: o, Meta: d.Meta, Event: d.Event}}); err != nil {
			t.Fatal(err)
		}
		if i.cp.Offset != o {
			t.Errorf("at %d after event %d", i.cp.Offset, o)
		}
	}
	for _, c := range []struct {
		offset  event.Offset
		draft   event.Draft
		written event.Offset
	}{
		{1, room("r1", "One", ""), 1},
		{2, say("r1", "sip:a@x", 1, "x"), 1},
		{3, say("r1", "sip:a@x", 2, "x"), 1},
		{4, event.Draft{Meta: event.Meta{Room: "r1"}, Event: &event.RoomRemoved{}}, 4},
		{4 + checkpointEvery - 1, say("r1", "sip:a@x", 3, "x"), 4},
		{4 + checkpointEvery, say("r1", "sip:a@x", 4, "x"), 4 + checkpointEvery},
	} {
		apply(c.offset, c.draft)
		if i.written != c.written {
			t.Errorf("after event %d the written checkpoint is %d, want %d", c.offset, i.written, c.written)
		}
	}
}

func TestUnknownKindStopsBothIndexes(t *testing.T) {
	l := projectionstest.NewLog(t)
	l.Add(room("r1", "One", ""))
	l.Add(room("r2", "Two", ""), room("r3", "Three", ""))
	s := start(t, t.TempDir(), &newer{l, 3})
	for _, r := range s.Runners() {
		<-r.Done()
		var f *projections.FoldError
		if !errors.As(r.Err(), &f) || f.Offset != 3 || !errors.Is(r.Err(), projections.ErrUnknownKind) || r.Offset() != 2 {
			t.Errorf("%s stopped at %d: %v", r.Name(), r.Offset(), r.Err())
		}
	}
	if got, err := s.Rooms(context.Background(), Query{}, nil); err != nil || fmt.Sprint(got) != "[r1 r2]" {
		t.Errorf("rooms are %v, %v", got, err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s.Collectors()...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.Metric {
			got = append(got, fmt.Sprintf("%s{%s} %v", f.GetName(), m.Label[0].GetValue(), m.Gauge.GetValue()))
		}
	}
	want := "[parley_search_documents{search_messages} 0 parley_search_documents{search_rooms} 2 " +
		"parley_search_lag_events{search_messages} 1 parley_search_lag_events{search_rooms} 1 " +
		"parley_search_offset{search_messages} 2 parley_search_offset{search_rooms} 2 " +
		"parley_search_stopped{search_messages} 1 parley_search_stopped{search_rooms} 1]"
	if fmt.Sprint(got) != want {
		t.Errorf("metrics are %v\nwant %s", got, want)
	}
}

// newer is a log with an event of a kind that this version does not know.
type newer struct {
	*projectionstest.Log
	unknown event.Offset
}

func (n *newer) Read(from event.Offset, max int) ([]event.Envelope, error) {
	run, err := n.Log.Read(from, max)
	run = slices.Clone(run) // the log's own is shared
	for i := range run {
		if run[i].Offset == n.unknown {
			run[i].Event = &event.Unknown{Type: 999}
		}
	}
	return run, err
}

// TestWaitingHurries: messages gather, but not while somebody waits for them.
func TestWaitingHurries(t *testing.T) {
	l := projectionstest.NewLog(t)
	s, err := New(context.Background(), t.TempDir(), l, Options{Linger: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := range 3 {
		o := l.Add(say("r1", "sip:a@x", uint64(i+1), "hello"))
		projectionstest.Wait(t, s, o)
		if hits, err := s.Messages(context.Background(), MessageQuery{Text: "hello"}, nil); len(hits) != i+1 || err != nil {
			t.Errorf("%d hits, %v; want %d", len(hits), err, i+1)
		}
	}
}

func TestClosed(t *testing.T) {
	s := start(t, t.TempDir(), projectionstest.NewLog(t))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rooms(context.Background(), Query{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("rooms: %v", err)
	}
	if _, err := s.Messages(context.Background(), MessageQuery{Text: "x"}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("messages: %v", err)
	}
}
