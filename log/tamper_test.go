package log

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
)

var tampers = flag.Int("tamper.n", 150, "alterations that TestTamper tries")

// files is a directory's content.
type files map[string][]byte

func readFiles(t testing.TB, fs vfs.FS) files {
	t.Helper()
	names, err := fs.List("/log")
	if err != nil {
		t.Fatal(err)
	}
	out := files{}
	for _, n := range names {
		f, err := fs.Open(fs.PathJoin("/log", n))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		out[n] = b
	}
	return out
}

func (f files) fs(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/log", 0o700); err != nil {
		t.Fatal(err)
	}
	for n, b := range f {
		w, err := fs.Create(fs.PathJoin("/log", n), "test")
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(slices.Clone(b)) // with the race detector it alters what it is given
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// content is what a log says, and promise what its node has vouched for elsewhere (raftnode.Promise): the last entry and
// the committed mark.
type content struct {
	head    Head
	last    event.Index
	events  []event.Envelope
	records []Record
}

func contentOf(l *Log) (c content, err error) {
	c.head, c.last = l.Head(), l.LastIndex()
	for o := event.Offset(1); o <= c.head.Offset; {
		run, err := l.Read(o, 0)
		if err != nil || len(run) == 0 {
			return c, errors.Join(err, errors.New("no events"))
		}
		c.events = append(c.events, run...)
		o += event.Offset(len(run))
	}
	for i := event.Index(1); i <= c.last; i++ {
		r, err := l.Record(i)
		if err != nil {
			return c, err
		}
		c.records = append(c.records, r)
	}
	return c, nil
}

// result of an alteration.
type result string

const (
	found    result = "found"
	promised result = "found by the node's promise"     // the log is whole, and shorter than it was
	harmless result = "harmless: all data is as it was" // bytes that nothing is read from, or that are written twice
	behind   result = "harmless after the next commit"  // the committed mark is an older one, as after a crash; no entry is missing
	raftOnly result = "not covered: bookkeeping of Raft and of an entry's frame, by somebody who makes the checksums right too"
	missed   result = "MISSED"
)

// inspect does what log verify does, and what a node does when it starts.
func inspect(fs vfs.FS, want content) (r result, why error) {
	defer func() {
		if p := recover(); p != nil {
			r, why = found, fmt.Errorf("panic: %v", p)
		}
	}()
	l, err := Open("/log", Options{FS: fs, ReadOnly: true})
	if err != nil {
		return found, err
	}
	err = l.Verify(context.Background(), 0, 0, nil)
	var got content
	if err == nil {
		got, err = contentOf(l)
	}
	if e := l.Close(); e != nil || err != nil {
		return found, errors.Join(err, e)
	}
	if got.last < want.last || got.last == want.last && got.records[got.last-1].Term != want.records[want.last-1].Term {
		return promised, nil
	}
	if got.head.Index < want.head.Index { // the promise says how far it was committed
		w, err := Open("/log", Options{FS: fs})
		if err != nil {
			return found, err
		}
		if _, err = w.Commit(want.head.Index); err == nil {
			got, err = contentOf(w)
		}
		if e := w.Close(); e != nil || err != nil {
			return found, errors.Join(err, e)
		}
		if reflect.DeepEqual(got, want) {
			return behind, nil
		}
	}
	switch {
	case reflect.DeepEqual(got, want):
		return harmless, nil
	case got.head.Offset < want.head.Offset || got.head.Chain != want.head.Chain:
		return promised, nil
	case got.head == want.head && reflect.DeepEqual(got.events, want.events) && len(got.records) == len(want.records):
		return raftOnly, nil
	}
	return missed, nil
}

// tampered is a log of two lives: what the first wrote is in a table, what the second wrote in the write-ahead log.
func tampered(t testing.TB) (files, content) {
	t.Helper()
	fs := vfs.NewMem()
	var c chain
	index := event.Index(0)
	for life := range 2 {
		l, err := Open("/log", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		records := []Record{{Index: index + 1, Term: uint64(life + 1), Type: 1}}
		for i := range event.Index(12) {
			records = append(records, Record{Index: index + 2 + i, Term: uint64(life + 1),
				Data: c.seal(t, fmt.Sprint("first of ", i), strings.Repeat("a long text that is compressed ", 20), "third")})
		}
		if err := l.Append(records); err != nil {
			t.Fatal(err)
		}
		index = records[len(records)-1].Index
		if _, err := l.Commit(index); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	all := readFiles(t, fs)
	l, err := Open("/log", Options{FS: all.fs(t), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	want, err := contentOf(l)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return all, want
}

// TestTamper alters the files of a log, and its rows with checksums that are right again: bits are flipped, files and rows
// cut short, deleted and exchanged. Each alteration is found, or it changes nothing that anybody reads. What the chain does
// not cover is the bookkeeping of Raft, and the room that an entry's bodies had before any was erased; a tamperer who makes
// checksums right can change a term there, and no event.
func TestTamper(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	whole, want := tampered(t)
	var names []string
	for n, b := range whole {
		if len(b) > 0 {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	count := map[string]map[result]int{}
	for i := range *tampers {
		kind, what, fs := alter(t, r, whole, names)
		got, why := inspect(fs, want)
		if count[kind] == nil {
			count[kind] = map[result]int{}
		}
		count[kind][got]++
		if got == missed || got == raftOnly && !strings.HasPrefix(kind, "row") {
			t.Errorf("seed %d, alteration %d, %s: %s (%v)", seed, i, what, got, why)
		}
	}
	kinds := make([]string, 0, len(count))
	for k := range count {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	for _, k := range kinds {
		t.Logf("%-28s %v", k, count[k])
	}
}

func clone(all files) files {
	out := files{}
	for n, b := range all {
		out[n] = slices.Clone(b)
	}
	return out
}

// alter makes one alteration.
func alter(t testing.TB, r *rand.Rand, whole files, names []string) (kind, what string, fs vfs.FS) {
	t.Helper()
	f := clone(whole)
	name := names[r.IntN(len(names))]
	b := f[name]
	at := r.IntN(len(b))
	switch r.IntN(12) {
	case 0, 1, 2, 3:
		bit := r.IntN(8)
		b[at] ^= 1 << bit
		return "file: bit flipped", fmt.Sprintf("bit %d of byte %d of %s", bit, at, name), f.fs(t)
	case 4:
		f[name] = b[:at]
		return "file: cut short", fmt.Sprintf("%s cut at %d", name, at), f.fs(t)
	case 5:
		n := 1 + r.IntN(len(b)-at)
		f[name] = slices.Delete(b, at, at+n)
		return "file: bytes deleted", fmt.Sprintf("%d bytes at %d of %s", n, at, name), f.fs(t)
	case 6:
		if r.IntN(8) == 0 {
			delete(f, name)
			return "file: deleted", name, f.fs(t)
		}
		n := min(1+r.IntN(64), len(b)/2)
		x, y := r.IntN(len(b)-n+1), r.IntN(len(b)-n+1)
		part := slices.Clone(b[x : x+n])
		copy(b[x:x+n], whole[name][y:y+n])
		copy(b[y:y+n], part)
		return "file: bytes exchanged", fmt.Sprintf("%d bytes at %d and %d of %s", n, x, y, name), f.fs(t)
	case 7:
		other := names[r.IntN(len(names))]
		f[name], f[other] = f[other], f[name]
		return "file: exchanged", name + " and " + other, f.fs(t)
	}
	mem := f.fs(t)
	kind, what = alterRows(t, r, mem)
	return kind, what, mem
}

// alterRows changes rows behind the log's back.
func alterRows(t testing.TB, r *rand.Rand, fs vfs.FS) (kind, what string) {
	t.Helper()
	db, err := pebble.Open("/log", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ key, value []byte }
	var rows []row
	for it.First(); it.Valid(); it.Next() {
		rows = append(rows, row{slices.Clone(it.Key()), slices.Clone(it.Value())})
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	x := rows[r.IntN(len(rows))]
	body := x.value[:len(x.value)-crcLen]
	switch r.IntN(4) {
	case 0:
		kind, what, err = "row: deleted", fmt.Sprintf("row %x", x.key), db.Delete(x.key, pebble.Sync)
	case 1: // with its neighbours of the same region, mostly
		y := rows[r.IntN(len(rows))]
		kind, what = "row: exchanged", fmt.Sprintf("rows %x and %x", x.key, y.key)
		err = errors.Join(db.Set(x.key, seal(x.key, slices.Clone(y.value[:len(y.value)-crcLen])), pebble.Sync), db.Set(y.key, seal(y.key, slices.Clone(body)), pebble.Sync))
	case 2:
		n := r.IntN(len(body) + 1)
		kind, what, err = "row: cut short", fmt.Sprintf("row %x at %d", x.key, n), db.Set(x.key, seal(x.key, slices.Clone(body[:n])), pebble.Sync)
	case 3:
		at, bit := r.IntN(len(body)), r.IntN(8)
		body[at] ^= 1 << bit
		kind, what, err = "row: bit flipped", fmt.Sprintf("row %x, bit %d of byte %d", x.key, bit, at), db.Set(x.key, seal(x.key, slices.Clone(body)), pebble.Sync)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return kind, what
}
