package log

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
)

// TestErasureRowGoldens pins the rows that came with erasure.
func TestErasureRowGoldens(t *testing.T) {
	came := entryRow{term: 300, hasBody: true, came: true, head: []byte("head")}
	state := erasure{done: 9, owed: []span{{3, 3}, {5, 8}}}
	none := erasure{done: 1}
	var got strings.Builder
	add := func(name string, key, row []byte) { fmt.Fprintf(&got, "%s\n  %x\n  %x\n", name, key, row) }
	add("entry that came erased", entryKey(2, partEntry), came.row(entryKey(2, partEntry)))
	add("erasure", eraseKey, state.row())
	add("erasure that owes nothing", eraseKey, none.row())
	path := filepath.Join("testdata", "rows-2.txt")
	want, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		want = []byte(got.String())
		err = os.WriteFile(path, want, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("rows are\n%s\nand were\n%s", got.String(), want)
	}
	key := entryKey(2, partEntry)
	if back, err := parseEntryRow(key, came.row(key)); err != nil || !back.came || back.term != 300 || !back.hasBody {
		t.Errorf("reads as %+v, %v", back, err)
	}
	if back, err := parseErasure(state.row()); err != nil || back.done != 9 || !slices.Equal(back.owed, state.owed) {
		t.Errorf("reads as %+v, %v", back, err)
	}
	for _, bad := range []erasure{{owed: []span{{0, 1}}}, {owed: []span{{5, 4}}}, {owed: []span{{1, 3}, {3, 4}}}} {
		if back, err := parseErasure(bad.row()); !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("%+v reads as %+v, %v", bad, back, err)
		}
	}
}

// TestSpans: every entry that is owed is in a span, spans are apart and few, whatever the order.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		var e erasure
		var added []event.Index
		for range rng.IntN(300) {
			i := event.Index(1 + rng.IntN(1000))
			e.owe(i)
			added = append(added, i)
			if _, err := parseErasure(e.row()); err != nil || len(e.owed) > maxSpans {
				t.Fatalf("%d spans: %v", len(e.owed), err)
			}
		}
		for _, i := range added {
			if !slices.ContainsFunc(e.owed, func(s span) bool { return s.from <= i && i <= s.to }) {
				t.Fatalf("entry %d is in no span of %v", i, e.owed)
			}
		}
	}
	var e erasure
	for _, i := range []event.Index{5, 7, 6, 9, 8, 4} {
		e.owe(i)
	}
	if !slices.Equal(e.owed, []span{{4, 9}}) {
		t.Errorf("spans are %v, want one", e.owed)
	}
}

// talk writes a log of posts and removals.
type talk struct {
	chain
	t *testing.T
	l *Log
}

func (w *talk) batch(drafts ...event.Draft) {
	w.t.Helper()
	w.at++
	b := event.Batch{Base: w.base + 1, At: w.at, Prev: w.prev, Events: drafts}
	data, last, err := b.Seal()
	if err != nil {
		w.t.Fatal(err)
	}
	w.base += event.Offset(len(drafts))
	w.prev = last
	w.append(data)
}

func (w *talk) append(data []byte) {
	w.t.Helper()
	i := w.l.LastIndex() + 1
	if err := w.l.Append([]Record{{Index: i, Term: 1, Data: data}}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.l.Commit(i); err != nil {
		w.t.Fatal(err)
	}
}

// post is a message whose id is its offset.
func (w *talk) post(room event.RoomID, texts ...string) {
	w.t.Helper()
	var drafts []event.Draft
	for i, text := range texts {
		drafts = append(drafts, event.Draft{Meta: event.Meta{Room: room}, Event: &event.Posted{MessageID: uint64(w.base) + uint64(i) + 1, Text: text}})
	}
	w.batch(drafts...)
}

func (w *talk) remove(room event.RoomID, offsets ...event.Offset) {
	w.t.Helper()
	r := &event.MessagesRemoved{}
	for _, o := range offsets {
		r.Messages = append(r.Messages, event.MessageRef{MessageID: uint64(o), Offset: o})
	}
	w.batch(event.Draft{Meta: event.Meta{Room: room}, Event: r})
}

func (w *talk) clear(room event.RoomID, until event.Time) {
	w.t.Helper()
	w.batch(event.Draft{Meta: event.Meta{Room: room}, Event: &event.MessagesRemoved{Until: until}})
}

func (w *talk) erase(want int) {
	w.t.Helper()
	if n, err := w.l.Erase(context.Background(), w.l.Head().Offset); err != nil || n != want {
		w.t.Fatalf("%d bodies erased, %v, want %d", n, err, want)
	}
	if got := w.l.Erased(); got != w.l.Head().Offset {
		w.t.Errorf("erased up to %d, want %d", got, w.l.Head().Offset)
	}
}

func (w *talk) verified(want Verified) {
	w.t.Helper()
	if got, err := w.l.Inspect(context.Background(), 0, 0, nil); err != nil || got != want {
		w.t.Errorf("verify: %+v, %v, want %+v", got, err, want)
	}
}

// texts returns the bodies from the first event on, "-" for an erased one.
func (w *talk) texts() string {
	w.t.Helper()
	run, err := w.l.Read(1, 1<<30)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, e := range run {
		p, ok := e.Event.(*event.Posted)
		switch {
		case !ok:
		case e.Erased && p.Text == "" && p.MessageID == uint64(e.Offset):
			out = append(out, "-")
		default:
			out = append(out, p.Text)
		}
	}
	return strings.Join(out, " ")
}

// TestErase: what a removal names loses its body, what it does not name keeps it.
func TestErase(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	w.post("r1", "a", "b")
	w.post("r2", "c")
	w.post("r1", "d", "e")
	w.remove("r1", 2, 4)
	if got := w.texts(); got != "a b c d e" {
		t.Errorf("before: %s", got)
	}
	w.erase(2)
	if got := w.texts(); got != "a - c - e" {
		t.Errorf("two removed: %s", got)
	}
	w.verified(Verified{Erased: 2})
	w.erase(0)
	w.remove("r1", 2, 1) // one of them again
	w.erase(1)
	w.post("r1", "f") // at 8
	w.clear("r1", w.at)
	w.post("r1", "g")
	w.post("r2", "h")
	w.erase(2)
	if got := w.texts(); got != "- - c - - - g h" {
		t.Errorf("room cleared: %s", got)
	}
	w.clear("r1", w.at+100) // the time is not over, but only what comes before the removal is meant
	w.post("r1", "i")
	w.erase(1)
	if got := w.texts(); got != "- - c - - - - h i" {
		t.Errorf("cleared with a time to come: %s", got)
	}
	w.verified(Verified{Erased: 6})
	for from := event.Offset(1); from <= w.l.Head().Offset; from++ {
		if _, err := w.l.Inspect(context.Background(), from, from, nil); err != nil {
			t.Errorf("event %d: %v", from, err)
		}
	}
}

// TestEraseImported: an imported message has the time of its archive, which does not rise with offsets, and its loss is as
// lawful as that of others.
func TestEraseImported(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	imported := func(id uint64, at event.Time) {
		w.batch(event.Draft{Meta: event.Meta{Room: "r"}, Event: &event.MessageImported{MessageID: id, Author: "sip:a@d.test", PostedAt: at, Text: "old"}})
	}
	imported(1, 50)
	imported(2, 10)
	w.post("r", "c")
	imported(4, 60)
	w.clear("r", 20) // the second and the third
	w.erase(2)
	w.verified(Verified{Erased: 2})
	w.remove("r", 1)
	w.erase(1)
	w.verified(Verified{Erased: 3})
	for from := event.Offset(1); from <= w.l.Head().Offset; from++ {
		if _, err := w.l.Inspect(context.Background(), from, from, nil); err != nil {
			t.Errorf("event %d: %v", from, err)
		}
	}
}

// TestEraseRefuses: a removal that names something else erases nothing, and is named.
func TestEraseRefuses(t *testing.T) {
	for name, ref := range map[string]event.MessageRef{
		"another message": {MessageID: 2, Offset: 1}, "another room": {MessageID: 3, Offset: 3}, "no post": {MessageID: 4, Offset: 4},
		"itself": {MessageID: 5, Offset: 5}, "what is to come": {MessageID: 6, Offset: 6}, "nothing": {MessageID: 1},
	} {
		w := &talk{t: t, l: memLog(t, Options{})}
		w.post("r1", "a", "b")
		w.post("r2", "c")
		w.batch(event.Draft{Meta: event.Meta{Room: "r1"}, Event: &event.RoomRemoved{}})
		w.batch(event.Draft{Meta: event.Meta{Room: "r1"}, Event: &event.MessagesRemoved{Messages: []event.MessageRef{{MessageID: 2, Offset: 2}, ref}}})
		w.post("r1", "f")
		n, err := w.l.Erase(context.Background(), w.l.Head().Offset)
		if !errors.Is(err, ErrRemoval) || n != 0 || w.texts() != "a b c f" {
			t.Errorf("%s: %d erased, %v, left %s", name, n, err, w.texts())
		}
		w.verified(Verified{})
	}
}

// TestEraseUpTo: removals that are not committed, or beyond the offset, wait.
func TestEraseUpTo(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	w.post("r", "a", "b", "c")
	w.remove("r", 1)
	w.remove("r", 2)
	for _, c := range []struct {
		to   event.Offset
		want string
	}{{3, "a b c"}, {4, "- b c"}, {2, "- b c"}} {
		if _, err := w.l.Erase(context.Background(), c.to); err != nil {
			t.Fatal(err)
		}
		if got := w.texts(); got != c.want {
			t.Errorf("up to %d: %s, want %s", c.to, got, c.want)
		}
	}
	w.erase(1)
	if got := w.texts(); got != "- - c" {
		t.Errorf("all: %s", got)
	}
}

// TestErasureNeedsAReason: a body that is emptied by hand, with right checksums, is damage; so is one whose removal is gone.
func TestErasureNeedsAReason(t *testing.T) {
	for _, byHand := range []event.Offset{1, 3} {
		w := &talk{t: t, l: memLog(t, Options{})}
		w.post("r", "a", "b")
		w.post("r", "c")
		w.remove("r", 2)
		w.erase(1)
		i := event.Index(1)
		if byHand == 3 {
			i = 2
		}
		row, bodies, err := w.l.readRows(w.l.db, i)
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := event.Erase(row.head, bodies, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		key := entryKey(i, partBody)
		if err := w.l.db.Set(key, bodyRow(key, row.term, out), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if _, err := w.l.Inspect(context.Background(), 0, 0, nil); !errors.Is(err, event.ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("event %d has lost its body", byHand)) {
			t.Errorf("event %d: %v", byHand, err)
		}
		if _, err := w.l.Inspect(context.Background(), byHand, byHand, nil); !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("event %d alone: %v", byHand, err)
		}
	}
}

// TestReplicateErased: a new node gets an entry without the body. Until it has the removal the body is waiting, then it is
// accounted for, and there is nothing to do.
func TestReplicateErased(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	w.post("r", "a", "b")
	w.post("r", strings.Repeat("long enough to be compressed ", 100), "d")
	w.remove("r", 1, 3)
	w.post("r", "e")
	w.erase(2)
	other := &talk{t: t, l: memLog(t, Options{})}
	for i := event.Index(1); i <= w.l.LastIndex(); i++ {
		r, err := w.l.Record(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.l.Append([]Record{r}); err != nil {
			t.Fatal(err)
		}
		if _, err := other.l.Inspect(context.Background(), 0, 0, nil); err != nil {
			t.Errorf("entry %d, not committed: %v", i, err)
		}
		if _, err := other.l.Commit(i); err != nil {
			t.Fatal(err)
		}
		other.verified([]Verified{{Waiting: 1}, {Waiting: 2}, {Erased: 2}, {Erased: 2}}[i-1])
	}
	if other.texts() != w.texts() || other.l.Head() != w.l.Head() {
		t.Errorf("the copy has %s at %+v, want %s at %+v", other.texts(), other.l.Head(), w.texts(), w.l.Head())
	}
	other.erase(0)
	other.verified(Verified{Erased: 2})
}

// marker is in the texts that are to go. It does not compress.
func marker(rng *rand.Rand) string {
	b := make([]byte, 400)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return "SECRET-" + hex.EncodeToString(b)
}

// holds returns the files of the log that contain the beginning of a text.
func holds(t *testing.T, f vfs.FS, texts ...string) (out []string) {
	t.Helper()
	names, err := f.List("/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := f.Open(f.PathJoin("/log", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(texts, func(text string) bool { return bytes.Contains(content, []byte(text[:min(len(text), 40)])) }) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// TestErasedBytesLeaveTheFiles looks into every file: into tables of several levels, the present write-ahead log, and the old
// ones that Pebble keeps to write over.
func TestErasedBytesLeaveTheFiles(t *testing.T) {
	for name, o := range map[string]Options{"in the write-ahead log": {}, "in tables": {MemTableBytes: 32 << 10}} {
		t.Run(name, func(t *testing.T) {
			f := vfs.NewCrashableMem()
			o.FS = f
			w := &talk{t: t, l: memLog(t, o)}
			rng := rand.New(rand.NewPCG(1, 1))
			var secrets []string
			var offsets []event.Offset
			posts := 400
			for i := range posts {
				text := marker(rng)
				w.post("r", text, "kept", "kept too")
				if i%7 == 0 || i > posts-5 {
					secrets, offsets = append(secrets, text), append(offsets, w.base-2)
				}
			}
			first := len(secrets) / 2
			w.remove("r", offsets[:first]...)
			if len(holds(t, f, secrets[:first]...)) == 0 {
				t.Fatal("the texts are in no file: the test does not test")
			}
			w.erase(first)
			if got := holds(t, f, secrets[:first]...); len(got) > 0 {
				t.Errorf("texts are in %v", got)
			}
			for _, s := range secrets[first:] {
				if len(holds(t, f, s)) == 0 {
					t.Fatal("what was not removed is gone")
				}
			}
			w.clear("r", w.at)
			w.erase(3*posts - first)
			if got := holds(t, f, "SECRET-"); len(got) > 0 {
				t.Errorf("texts are in %v", got)
			}
			w.verified(Verified{Erased: uint64(3 * posts)})
			// After a crash nothing comes back, and the log goes on.
			clone := f.CrashClone(vfs.CrashCloneCfg{})
			back := &talk{t: t, l: memLog(t, Options{FS: clone}), chain: w.chain}
			if _, err := back.l.Commit(back.l.LastIndex()); err != nil {
				t.Fatal(err)
			}
			back.verified(Verified{Erased: uint64(3 * posts)})
			back.post("r", "and so on")
			back.erase(0)
		})
	}
}

// TestEraseCutShort: ctx ends after rows were rewritten and before the old bytes are gone; then we crash. The next Erase
// finds what is owed.
func TestEraseCutShort(t *testing.T) {
	f := vfs.NewCrashableMem()
	w := &talk{t: t, l: memLog(t, Options{FS: f})}
	rng := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		w.post("r", marker(rng))
	}
	if err := w.l.flush(); err != nil {
		t.Fatal(err)
	}
	w.clear("r", w.at)
	ctx, cancel := context.WithCancel(context.Background())
	run := eraseRun{l: w.l, ctx: ctx}
	if err := errors.Join(run.removals(1, w.base), run.erase()); err != nil || run.bodies != 200 {
		t.Fatalf("%d, %v", run.bodies, err)
	}
	disk := f.CrashClone(vfs.CrashCloneCfg{})
	cancel()
	if err := run.finish(w.base); !errors.Is(err, context.Canceled) || w.l.Erased() != 0 {
		t.Fatalf("finished up to %d: %v", w.l.Erased(), err)
	}
	w.erase(0)
	if got := holds(t, f, "SECRET-"); len(got) > 0 {
		t.Errorf("gone on: texts are in %v", got)
	}
	if len(holds(t, disk, "SECRET-")) == 0 {
		t.Fatal("the bytes are gone: the test does not test")
	}
	again := &talk{t: t, l: memLog(t, Options{FS: disk})}
	again.verified(Verified{Erased: 200}) // for readers it was done
	again.erase(0)
	if got := holds(t, disk, "SECRET-"); len(got) > 0 {
		t.Errorf("texts are in %v", got)
	}
}

// TestEraseWhileInUse: readers, verifiers and writers go on, no reader gets a body after Erase has returned, and no snapshot
// keeps the bytes.
func TestEraseWhileInUse(t *testing.T) {
	f := vfs.NewMem()
	w := &talk{t: t, l: memLog(t, Options{FS: f, MemTableBytes: 64 << 10})}
	rng := rand.New(rand.NewPCG(3, 3))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range 20 {
		w.post("r", marker(rng), "x")
	}
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := w.l.Inspect(ctx, 0, 0, nil); err != nil && ctx.Err() == nil {
					t.Errorf("verify: %v", err)
					return
				}
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := w.l.Read(1, 1<<20); err != nil {
					t.Errorf("read: %v", err)
					return
				}
			}
		})
	}
	for range 5 {
		w.post("r", marker(rng), "x")
		w.clear("r", w.at)
		if _, err := w.l.Erase(ctx, w.l.Head().Offset); err != nil {
			t.Fatal(err)
		}
		if got := strings.Trim(w.texts(), "- "); got != "" {
			t.Fatalf("read after Erase: %.60s", got)
		}
		if got := holds(t, f, "SECRET-"); len(got) > 0 {
			t.Fatalf("texts are in %v", got)
		}
	}
}

// TestStaleEntryIsNotKept: an entry that was read before an erasure does not get into the cache after it.
func TestStaleEntryIsNotKept(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	w.post("r", "a")
	w.remove("r", 1)
	gen := w.l.entries.generation()
	stale, err := w.l.entry(w.l.db, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.erase(1)
	w.l.entries.put(stale, gen)
	if got := w.texts(); got != "-" {
		t.Errorf("read %q", got)
	}
}

// TestEraseEndsWithTheLog: Close does not wait for a long purge, and a failed log erases nothing.
func TestEraseEndsWithTheLog(t *testing.T) {
	f := vfs.NewMem()
	l, err := Open("/log", Options{FS: f})
	if err != nil {
		t.Fatal(err)
	}
	w := &talk{t: t, l: l}
	w.post("r", "a")
	w.remove("r", 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Erase(ctx, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := l.fault.set(l.logger, errors.New("disk")); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if _, err := l.Erase(context.Background(), 2); !errors.Is(err, ErrFailed) || w.texts() != "a" {
		t.Errorf("failed: %v, %s", err, w.texts())
	}
	_ = l.Close() // says that it failed
	if _, err := l.Erase(context.Background(), 2); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	l, err = Open("/log", Options{FS: f, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Erase(context.Background(), 2); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
}

// TestVerifyInParts: a log longer than one snapshot's run, and the counts over all of it.
func TestVerifyInParts(t *testing.T) {
	l := memLog(t, Options{})
	w := &talk{t: t, l: l}
	w.post("r", "a", "b")
	records := make([]Record, 2*VerifyRun+10)
	for i := range records {
		records[i] = Record{Index: event.Index(i + 2), Term: 1, Type: 1}
	}
	if err := l.Append(records); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(l.LastIndex()); err != nil {
		t.Fatal(err)
	}
	w.remove("r", 2)
	w.erase(1)
	w.verified(Verified{Erased: 1})
	if got, err := l.Inspect(context.Background(), 1, 1, nil); err != nil || got != (Verified{Erased: 1}) {
		t.Errorf("the entry of event 1: %+v, %v", got, err)
	}
	if err := l.db.Delete(entryKey(VerifyRun+5, partEntry), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Inspect(context.Background(), 0, 0, nil); !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("an entry is missing behind the first part: %v", err)
	}
}

// TestErasedRecord: what is sent to other nodes has the frame of the body, empty.
func TestErasedRecord(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	w.post("r", "a", "b")
	before, err := w.l.Record(1)
	if err != nil {
		t.Fatal(err)
	}
	w.remove("r", 1)
	w.erase(1)
	r, err := w.l.Record(1)
	if err != nil {
		t.Fatal(err)
	}
	// FORMAT.md section 2: position 0, erased, no bytes; then the second body as it is.
	head, bodies, err := event.Split(before.Data)
	if err != nil {
		t.Fatal(err)
	}
	want := append(append(slices.Clone(head), 0, 2, 0), bodies[3+int(bodies[2]):]...)
	if !bytes.Equal(r.Data, want) {
		t.Errorf("record is %x, want %x", r.Data, want)
	}
}

// TestEraseAlso: whoever holds copies is told once there is something to get rid of, and again until it has.
func TestEraseAlso(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	calls, fail := 0, errors.New("not yet")
	also := func(context.Context) error {
		calls++
		if w.texts() != "- b" {
			t.Errorf("called while %s can be read", w.texts())
		}
		return fail
	}
	w.post("r", "a", "b")
	if _, err := w.l.Erase(context.Background(), 2, also); err != nil || calls != 0 {
		t.Fatalf("nothing to erase: %d calls, %v", calls, err)
	}
	w.remove("r", 1)
	for _, c := range []struct {
		err   error
		calls int
		upTo  event.Offset
	}{{fail, 1, 2}, {fail, 2, 2}, {nil, 3, 3}, {nil, 3, 3}} {
		fail = c.err
		if _, err := w.l.Erase(context.Background(), 3, also); !errors.Is(err, c.err) || calls != c.calls || w.l.Erased() != c.upTo {
			t.Errorf("%d calls, erased up to %d, %v, want %+v", calls, w.l.Erased(), err, c)
		}
	}
}

// TestAtWhileTheLogGrows: what is committed while At looks is no damage.
func TestAtWhileTheLogGrows(t *testing.T) {
	l, err := Open("/log", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was lost in memory
	w := &talk{t: t, l: l}
	w.post("r", "first")
	var look sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		look.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := l.At(math.MaxInt64); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2000 {
		w.post("r", "next")
	}
	close(done)
	look.Wait()
}
