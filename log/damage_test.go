package log

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
)

// chain seals batches that continue each other.
type chain struct {
	base event.Offset
	at   event.Time
	prev event.Chain
}

func (c *chain) seal(t testing.TB, texts ...string) []byte {
	t.Helper()
	c.at++
	b := event.Batch{Base: c.base + 1, At: c.at, Prev: c.prev}
	for i, text := range texts {
		b.Events = append(b.Events, event.Draft{Meta: event.Meta{By: "sip:alice@contoso.test", Node: "n1"},
			Event: &event.Posted{MessageID: uint64(c.base) + uint64(i) + 1, Text: text}})
	}
	data, last, err := b.Seal()
	if err != nil {
		t.Fatal(err)
	}
	c.base += event.Offset(len(texts))
	c.prev = last
	return data
}

// small returns a file system with a closed log: entries 1 no-op, 2 to 5 two posts each, 6 no-op, 7 a post above the mark.
func small(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	l, err := Open("/log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var c chain
	records := []Record{{Index: 1, Term: 1, Type: 1}}
	for i := event.Index(2); i <= 5; i++ {
		records = append(records, Record{Index: i, Term: 1, Data: c.seal(t, fmt.Sprint("first of ", i), fmt.Sprint("second of ", i))})
	}
	records = append(records, Record{Index: 6, Term: 2, Type: 1}, Record{Index: 7, Term: 2, Data: c.seal(t, "not committed")})
	if err := l.Append(records); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(6); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

// TestDamageIsFound alters rows behind the log's back, with checksums that are right, as a tamperer or a bug would, and then
// expects Open or Verify to find it.
func TestDamageIsFound(t *testing.T) {
	copyRow := func(from, to []byte) func(*pebble.DB) error {
		return func(db *pebble.DB) error {
			v, c, err := db.Get(from)
			if err != nil {
				return err
			}
			defer c.Close()
			return db.Set(to, v, pebble.Sync)
		}
	}
	resealed := func(from, to []byte) func(*pebble.DB) error {
		return func(db *pebble.DB) error {
			v, c, err := db.Get(from)
			if err != nil {
				return err
			}
			defer c.Close()
			row := append([]byte(nil), v[:len(v)-crcLen]...)
			return db.Set(to, seal(to, row), pebble.Sync)
		}
	}
	remove := func(keys ...[]byte) func(*pebble.DB) error {
		return func(db *pebble.DB) error {
			for _, k := range keys {
				if err := db.Delete(k, pebble.Sync); err != nil {
					return err
				}
			}
			return nil
		}
	}
	set := func(key, row []byte) func(*pebble.DB) error {
		return func(db *pebble.DB) error { return db.Set(key, row, pebble.Sync) }
	}
	mutateMark := func(f func(*mark)) func(*pebble.DB) error {
		return func(db *pebble.DB) error {
			v, c, err := db.Get(markKey)
			if err != nil {
				return err
			}
			defer c.Close()
			m, err := parseMark(v)
			if err != nil {
				return err
			}
			f(&m)
			return db.Set(markKey, m.row(), pebble.Sync)
		}
	}
	var other chain
	other.base, other.at = 2, 1
	foreign := other.seal(t, "first of 3", "secund of 3") // a batch for the same offsets, of another history
	head, bodies, err := event.Split(foreign)
	if err != nil {
		t.Fatal(err)
	}
	entry3 := entryRow{term: 1, hasBody: true, head: head}
	noop := func(i event.Index) []byte {
		e := entryRow{term: 1, kind: 1}
		return e.row(entryKey(i, partEntry))
	}
	row := func(k []byte, p place) []byte { return p.row(k) }

	for name, c := range map[string]struct {
		do   func(*pebble.DB) error
		open bool // Open must find it already
	}{
		"entry row under another index":    {do: copyRow(entryKey(3, partEntry), entryKey(4, partEntry))},
		"the same, with a new checksum":    {do: resealed(entryKey(3, partEntry), entryKey(4, partEntry))},
		"body row under another index":     {do: copyRow(entryKey(3, partBody), entryKey(4, partBody))},
		"the same, resealed":               {do: resealed(entryKey(3, partBody), entryKey(4, partBody))},
		"entry rows missing in the middle": {do: remove(entryKey(3, partEntry), entryKey(3, partBody))},
		"no-op missing in the middle":      {do: remove(entryKey(6, partEntry))},
		"entry row missing, body there":    {do: remove(entryKey(3, partEntry))},
		"body row missing":                 {do: remove(entryKey(3, partBody))},
		"first entry missing":              {do: remove(entryKey(1, partEntry)), open: true},
		"entry swapped for a no-op":        {do: set(entryKey(6, partBody), bodyRow(entryKey(6, partBody), 2, nil))},
		"a batch made a no-op": {do: func(db *pebble.DB) error {
			return errors.Join(remove(entryKey(4, partBody))(db), set(entryKey(4, partEntry), noop(4))(db))
		}},
		"a batch of another history": {do: func(db *pebble.DB) error {
			return errors.Join(set(entryKey(3, partEntry), entry3.row(entryKey(3, partEntry)))(db), set(entryKey(3, partBody), bodyRow(entryKey(3, partBody), 1, bodies))(db))
		}},
		"body of another term":              {do: set(entryKey(3, partBody), bodyRow(entryKey(3, partBody), 9, bodies))},
		"entry row with unknown flags":      {do: set(entryKey(3, partEntry), seal(entryKey(3, partEntry), []byte{rowVersion, 1, 0x80, 1, 0}))},
		"entry row cut short":               {do: set(entryKey(3, partEntry), seal(entryKey(3, partEntry), []byte{rowVersion, 1}))},
		"entry beyond the end":              {do: set(entryKey(9, partEntry), noop(9))},
		"damage above the mark":             {do: set(entryKey(7, partBody), []byte("?")), open: true},
		"key that is of no region":          {do: set([]byte("q"), []byte("?"))},
		"key of region r that is none":      {do: set([]byte("r123"), []byte("?")), open: true},
		"key of region o that is none":      {do: set([]byte("o123"), []byte("?")), open: true},
		"mark missing":                      {do: remove(markKey), open: true},
		"mark beyond the end":               {do: mutateMark(func(m *mark) { m.Index = 8 }), open: true},
		"mark behind":                       {do: mutateMark(func(m *mark) { m.Index, m.Offset = 4, 6 }), open: true},
		"mark with another chain":           {do: mutateMark(func(m *mark) { m.Chain[0] ^= 1 }), open: true},
		"mark with another time":            {do: mutateMark(func(m *mark) { m.At++ }), open: true},
		"mark at another entry":             {do: mutateMark(func(m *mark) { m.Index = 7 })},
		"mark with another number of voids": {do: mutateMark(func(m *mark) { m.void++ })},
		"format missing":                    {do: remove(formatKey), open: true},
		"format of something else":          {do: set(formatKey, seal(formatKey, append([]byte{rowVersion}, "parley-dog"...))), open: true},
		"place missing in the middle":       {do: remove(offsetKey(3))},
		"place missing at the end":          {do: remove(offsetKey(7)), open: true},
		"place of a wrong entry":            {do: set(offsetKey(3), row(offsetKey(3), place{first: 3, last: 4, index: 4, at: 2}))},
		"place with a wrong end":            {do: set(offsetKey(3), row(offsetKey(3), place{first: 3, last: 5, index: 3, at: 2}))},
		"place with a wrong time":           {do: set(offsetKey(3), row(offsetKey(3), place{first: 3, last: 4, index: 3, at: 7}))},
		"place that should not be there":    {do: set(offsetKey(4), row(offsetKey(4), place{first: 4, last: 4, index: 3, at: 2}))},
		"place beyond the mark":             {do: set(offsetKey(9), row(offsetKey(9), place{first: 9, last: 9, index: 7, at: 5})), open: true},
		"place under another offset":        {do: copyRow(offsetKey(3), offsetKey(5))},
	} {
		t.Run(name, func(t *testing.T) {
			fs := small(t)
			db, err := pebble.Open("/log", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.do(db), db.Close()); err != nil {
				t.Fatal(err)
			}
			for _, readOnly := range []bool{true, false} {
				l, err := Open("/log", Options{FS: fs, ReadOnly: readOnly})
				if (err != nil) != c.open {
					t.Errorf("open (read-only %v): %v", readOnly, err)
				}
				if err == nil {
					err = l.Verify(context.Background(), 0, 0, nil)
					if e := l.Close(); e != nil {
						t.Error(e)
					}
				}
				if !errors.Is(err, event.ErrCorrupt) {
					t.Errorf("read-only %v: %v, want ErrCorrupt", readOnly, err)
				}
			}
		})
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

// TestStoreThatDoesNotOpen: whatever is missing or unreadable in the directory is damage, but a lock or a refusal of the
// operating system is not.
func TestStoreThatDoesNotOpen(t *testing.T) {
	names, err := small(t).List("/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		for what, do := range map[string]func(vfs.FS, string) error{
			"removed": func(fs vfs.FS, p string) error { return fs.Remove(p) },
			"emptied": func(fs vfs.FS, p string) error {
				f, err := fs.Create(p, vfs.WriteCategoryUnspecified)
				if err != nil {
					return err
				}
				return f.Close()
			},
		} {
			for _, readOnly := range []bool{true, false} {
				fs := small(t)
				if err := do(fs, fs.PathJoin("/log", n)); err != nil {
					t.Fatal(err)
				}
				l, err := Open("/log", Options{FS: fs, ReadOnly: readOnly})
				if err != nil {
					if !errors.Is(err, event.ErrCorrupt) {
						t.Errorf("%s %s: %v is not of class ErrCorrupt", n, what, err)
					}
					continue
				}
				last, verified := l.LastIndex(), l.Verify(context.Background(), 0, 0, nil)
				if err := l.Close(); err != nil {
					t.Errorf("%s %s: close: %v", n, what, err)
				}
				// A log that is whole does not mind (lock, options); one that is shorter breaks the node's promise.
				if verified != nil && !errors.Is(verified, event.ErrCorrupt) {
					t.Errorf("%s %s: verify: %v", n, what, verified)
				}
				if verified == nil && last != 7 && !isWAL(n) {
					t.Errorf("%s %s, read-only %v: the log verifies, but ends at %d", n, what, readOnly, last)
				}
			}
		}
	}
	fs := small(t)
	l, err := Open("/log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Open("/log", Options{FS: fs}); !errors.Is(err, ErrInUse) || errors.Is(err, event.ErrCorrupt) {
		t.Errorf("opened twice: %v, want ErrInUse", err)
	}
}

func TestVerifyPart(t *testing.T) {
	fs := small(t)
	l, err := Open("/log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for from := event.Offset(0); from <= 10; from++ {
		for to := event.Offset(0); to <= 10; to++ {
			var done, total event.Offset
			err := l.Verify(context.Background(), from, to, func(d, n event.Offset) { done, total = d, n })
			if err != nil {
				t.Errorf("%d to %d: %v", from, to, err)
			}
			first, last := max(from, 1), to
			if to == 0 || to > 8 {
				last = 8
			}
			want := event.Offset(0)
			if first <= last {
				want = last - first + 1
			}
			if done != want || total != want {
				t.Errorf("%d to %d: %d of %d done, want %d", from, to, done, total, want)
			}
		}
	}
	// Damage outside of the part is not looked for, damage in it is found.
	if err := l.db.Set(entryKey(3, partBody), []byte("?"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	for to, bad := range map[event.Offset]bool{2: false, 3: true, 8: true} {
		if err := l.Verify(context.Background(), 1, to, nil); errors.Is(err, event.ErrCorrupt) != bad {
			t.Errorf("1 to %d: %v", to, err)
		}
	}
	if err := l.Verify(context.Background(), 7, 8, nil); err != nil {
		t.Errorf("7 to 8: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Verify(ctx, 0, 0, nil); !errors.Is(err, context.Canceled) || errors.Is(err, event.ErrCorrupt) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestBodyOfAnotherEntry: Record does not decode batches, so rows that do not belong together must show by themselves.
func TestBodyOfAnotherEntry(t *testing.T) {
	l := memLog(t, Options{FS: small(t)})
	_, bodies, err := l.readRows(l.db, 3)
	if err != nil {
		t.Fatal(err)
	}
	key := entryKey(3, partBody)
	if err := l.db.Set(key, bodyRow(key, 9, bodies), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Record(3); !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("%+v, %v, want ErrCorrupt", r, err)
	}
}

// TestFirstDamageIsFound: however many hash beside each other, the damage that comes first in the log is the one that is told,
// also when what comes after it was read already; and without damage all see the same.
func TestFirstDamageIsFound(t *testing.T) {
	const entries = 2*VerifyRun + 300 // several portions, several snapshots
	fs := vfs.NewMem()
	l, err := Open("/log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // in memory
	var c chain
	var records []Record
	for i := event.Index(1); i <= entries; i++ {
		r := Record{Index: i, Term: 1, Type: 1}
		if i%7 != 0 { // every seventh is a no-op
			r.Type, r.Data = typeCommand, c.seal(t, fmt.Sprint("text of ", i))
		}
		records = append(records, r)
	}
	if err := l.Append(records); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(entries - 5); err != nil {
		t.Fatal(err)
	}
	all := []int{1, 2, 5}
	for _, helpers := range all {
		last := event.Offset(0)
		_, err := l.inspect(t.Context(), helpers, 0, 0, func(done, total event.Offset) {
			if done != last+1 || total != l.Head().Offset {
				t.Errorf("%d helpers: progress %d of %d after %d", helpers, done, total, last)
			}
			last = done
		})
		if err != nil || last != l.Head().Offset {
			t.Fatalf("%d helpers verified up to %d: %v", helpers, last, err)
		}
		if _, err := l.inspect(t.Context(), helpers, 400, 500, nil); err != nil {
			t.Errorf("%d helpers, a part: %v", helpers, err)
		}
	}
	// From behind, so that each damage comes before those that were there.
	for _, i := range []event.Index{entries - 2, 5000, 4099, 1500, 1402, 138} {
		key := entryKey(i, partBody)
		row, closer, err := l.db.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte(nil), row...)
		bad[len(bad)-crcLen-1] ^= 1
		if err := errors.Join(closer.Close(), l.db.Set(key, bad, pebble.Sync)); err != nil {
			t.Fatal(err)
		}
		for _, helpers := range all {
			_, err := l.inspect(t.Context(), helpers, 0, 0, nil)
			if !errors.Is(err, event.ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("entry %d: ", i)) {
				t.Errorf("%d helpers, damage at %d: %v", helpers, i, err)
			}
		}
	}
}
