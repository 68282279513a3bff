package log

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
)

// TestReadRuns: however much is read at once, from wherever, with entries in the cache or not, the events are the same, and
// no-ops and void batches are not among them. A row that is damaged under a reader is an error, never a gap.
func TestReadRuns(t *testing.T) {
	fs := vfs.NewMem()
	l, err := Open("/log", Options{FS: fs, EntryBytes: 1}) // the cache keeps one entry
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // in memory
	var c chain
	var records []Record
	var want []string
	add := func(kind uint8, data []byte) {
		records = append(records, Record{Index: event.Index(len(records) + 1), Term: 1, Type: kind, Data: data})
	}
	for i := range 60 {
		switch {
		case i%7 == 3:
			add(1, nil)
		case i%11 == 5: // by a leader that did not know the last one
			stale := chain{base: c.base, at: c.at + 100, prev: event.Chain{1}}
			add(typeCommand, stale.seal(t, "void"))
			if i%2 == 0 { // or that was behind
				late := chain{base: c.base / 2, at: c.at + 100}
				add(typeCommand, late.seal(t, "void"))
			}
		}
		var texts []string
		for k := range i%5 + 1 {
			texts = append(texts, fmt.Sprintf("%d.%d", i, k))
		}
		add(typeCommand, c.seal(t, texts...))
		want = append(want, texts...)
	}
	add(1, nil)
	if err := l.Append(records); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(l.LastIndex()); err != nil {
		t.Fatal(err)
	}
	if int(l.Head().Offset) != len(want) || l.Void() == 0 {
		t.Fatalf("%d events, %d void batches; want %d, and some", l.Head().Offset, l.Void(), len(want))
	}
	check := func() {
		t.Helper()
		for _, most := range []int{1, 2, 3, 10, 1000} {
			for from := 1; from <= len(want)+1; from++ {
				run, err := l.Read(event.Offset(from), most)
				if err != nil || len(run) != min(most, len(want)-from+1) {
					t.Fatalf("%d events from %d: %d, %v", most, from, len(run), err)
				}
				for k, e := range run {
					if e.Offset != event.Offset(from+k) || e.Event.(*event.Posted).Text != want[from+k-1] {
						t.Fatalf("%d events from %d: %d is %d, %+v", most, from, k, e.Offset, e.Event)
					}
				}
			}
		}
	}
	check()
	l.entries = newEntryCache(1 << 20)
	for o := event.Offset(5); int(o) <= len(want); o += 9 { // some entries in the cache, some not
		if _, err := l.Read(o, 1); err != nil {
			t.Fatal(err)
		}
	}
	check()

	l.entries = newEntryCache(1)
	last := l.LastIndex() - 1
	if err := l.db.Delete(entryKey(last, partBody), nil); err != nil {
		t.Fatal(err)
	}
	if run, err := l.Read(1, 1000); !errors.Is(err, event.ErrCorrupt) || run != nil {
		t.Errorf("without a body row: %d events, %v", len(run), err)
	}
	if err := l.db.Delete(entryKey(last, partEntry), nil); err != nil {
		t.Fatal(err)
	}
	if run, err := l.Read(1, 1000); !errors.Is(err, event.ErrCorrupt) || run != nil {
		t.Errorf("without an entry: %d events, %v", len(run), err)
	}
	// An entry that another log would have there: sound in itself.
	other := chain{base: c.base - 5, at: c.at, prev: event.Chain{9}}
	b := l.db.NewBatch()
	if _, _, err := putRecord(b, &Record{Index: last, Term: 1, Data: other.seal(t, "a", "b", "c", "d", "e")}, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(nil); err != nil {
		t.Fatal(err)
	}
	if run, err := l.Read(1, 1000); !errors.Is(err, event.ErrCorrupt) || run != nil {
		t.Errorf("with an entry of another log: %d events, %v", len(run), err)
	}
}
