package log

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
)

var update = flag.Bool("update", false, "write the goldens that are missing; a golden that is there is never changed")

// TestRowGoldens pins the bytes of every sort of row. Goldens are added to and never changed: disks hold such rows.
func TestRowGoldens(t *testing.T) {
	at := time.Unix(1_700_000_000, 123_456_789).UTC()
	noop := entryRow{term: 3, kind: 1}
	command := entryRow{term: 300, hasBody: true, appendedAt: at, extensions: []byte("ext"), head: []byte("head")}
	ancient := entryRow{term: 1, kind: 5, appendedAt: time.Date(1, 2, 3, 4, 5, 6, 7, time.UTC), head: []byte("data")}
	m := mark{Head: Head{Index: 7, Offset: 9, Chain: event.Chain{0: 1, 31: 2}, At: -5}, void: 4}
	p := place{first: 8, last: 9, index: 7, at: -5}
	var got strings.Builder
	add := func(name string, key, row []byte) { fmt.Fprintf(&got, "%s\n  %x\n  %x\n", name, key, row) }
	add("format", formatKey, seal(formatKey, append(beginRow(0), formatName...)))
	add("mark", markKey, m.row())
	add("place", offsetKey(8), p.row(offsetKey(8)))
	add("no-op", entryKey(1, partEntry), noop.row(entryKey(1, partEntry)))
	add("command", entryKey(2, partEntry), command.row(entryKey(2, partEntry)))
	add("ancient", entryKey(3, partEntry), ancient.row(entryKey(3, partEntry)))
	add("body", entryKey(2, partBody), bodyRow(entryKey(2, partBody), 300, []byte("bodies")))

	path := filepath.Join("testdata", "rows-1.txt")
	want, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && *update {
		if err = os.MkdirAll("testdata", 0o755); err == nil {
			want = []byte(got.String())
			err = os.WriteFile(path, want, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("rows are\n%s\nand were\n%s\nA change of a layout raises its version byte and adds a golden.", got.String(), want)
	}
	for _, e := range []entryRow{noop, command, ancient} {
		back, err := parseEntryRow(entryKey(2, partEntry), e.row(entryKey(2, partEntry)))
		if err != nil || back.term != e.term || back.kind != e.kind || back.hasBody != e.hasBody || !back.appendedAt.Equal(e.appendedAt) ||
			!bytes.Equal(back.extensions, e.extensions) || !bytes.Equal(back.head, e.head) {
			t.Errorf("%+v reads as %+v, %v", e, back, err)
		}
	}
	if back, err := parseMark(m.row()); err != nil || back != m {
		t.Errorf("mark reads as %+v, %v", back, err)
	}
	if back, err := parsePlace(offsetKey(8), p.row(offsetKey(8))); err != nil || back != p {
		t.Errorf("place reads as %+v, %v", back, err)
	}
}

// TestLaterVersion: a row of a later format is not damage, and not read either.
func TestLaterVersion(t *testing.T) {
	f := small(t)
	db, err := pebble.Open("/log", &pebble.Options{FS: f, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	later := seal(markKey, []byte{rowVersion + 1, 1, 2, 3})
	if err := errors.Join(db.Set(markKey, later, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("/log", Options{FS: f}); !errors.Is(err, ErrVersion) || errors.Is(err, event.ErrCorrupt) {
		t.Errorf("%v, want ErrVersion", err)
	}
}

// TestDisk runs on the real disk: open, reopen, the lock of another process, and read-only on files that must not change.
func TestDisk(t *testing.T) {
	if dir := os.Getenv("PARLEY_LOG_TEST_HOLD"); dir != "" {
		hold(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "data", "log")
	cmd := exec.Command(os.Args[0], "-test.run=^TestDisk$")
	cmd.Env = append(os.Environ(), "PARLEY_LOG_TEST_HOLD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || said != "ready\n" {
		t.Fatalf("the other process says %q, %v", said, err)
	}
	for _, readOnly := range []bool{false, true} {
		if _, err := Open(dir, Options{ReadOnly: readOnly}); !errors.Is(err, ErrInUse) || errors.Is(err, event.ErrCorrupt) {
			t.Errorf("open while another process has it, read-only %v: %v, want ErrInUse", readOnly, err)
		}
	}
	// kill -9: the write-ahead log is left to be replayed.
	if err := errors.Join(cmd.Process.Kill(), in.Close()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed

	before := tree(t, dir)
	l, err := Open(dir, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if l.LastIndex() != 20 {
		t.Errorf("log ends at %d, want 20", l.LastIndex())
	}
	if err := errors.Join(l.Verify(context.Background(), 0, 0, nil), l.Close()); err != nil {
		t.Error(err)
	}
	if after := tree(t, dir); before != after {
		t.Errorf("read-only changed the directory from\n%sto\n%s", before, after)
	}
	if l, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if done, err := l.Commit(20); err != nil || l.Head().Offset != 20 {
		t.Errorf("committed %v, %v, head %+v", done, err, l.Head())
	}
	if _, err := Open(dir, Options{ReadOnly: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("open read-only while this process has it: %v, want ErrInUse", err)
	}
	// The failed attempt did not take this process's lock away, and does not when its file is collected.
	runtime.GC()
	runtime.GC()
	probe := exec.Command(os.Args[0], "-test.run=^TestDisk$")
	probe.Env = append(os.Environ(), "PARLEY_LOG_TEST_HOLD="+dir)
	if said, err := probe.CombinedOutput(); err == nil || !strings.Contains(string(said), ErrInUse.Error()) {
		t.Errorf("another process could open the log: %v, %s", err, said)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// hold is the other process: it writes a log and keeps it open.
func hold(t *testing.T, dir string) {
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var c chain
	for i := event.Index(1); i <= 20; i++ {
		if err := l.Append([]Record{{Index: i, Term: 1, Data: c.seal(t, "text")}}); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until we are killed
}

// tree prints names, times and contents of a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := []byte{}
		if !d.IsDir() {
			if content, err = os.ReadFile(p); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(&b, "%s %s %d %x\n", p, info.ModTime(), len(content), crc(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func crc(b []byte) []byte { return seal(nil, b)[len(b):] }

// TestLostMarker: Pebble takes a directory without a manifest marker for a new store. That must not be how a log gets empty.
func TestLostMarker(t *testing.T) {
	f := small(t)
	names, err := f.List("/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, "marker.manifest.") {
			if err := f.Remove(f.PathJoin("/log", n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, readOnly := range []bool{true, false} {
		if l, err := Open("/log", Options{FS: f, ReadOnly: readOnly}); !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("read-only %v: %v, %v, want ErrCorrupt", readOnly, l, err)
		}
	}
}

// TestLongCommit crosses the batches that Commit works in.
func TestLongCommit(t *testing.T) {
	l := memLog(t, Options{})
	var c chain
	var records []Record
	for i := event.Index(1); i <= 2*commitRun+100; i++ {
		r := Record{Index: i, Term: 1, Type: 1}
		if i%7 == 0 {
			r.Type, r.Data = 0, c.seal(t, "text")
		}
		records = append(records, r)
	}
	if err := l.Append(records); err != nil {
		t.Fatal(err)
	}
	done, err := l.Commit(event.Index(len(records)))
	if err != nil || len(done) != len(records) {
		t.Fatalf("%d entries, %v", len(done), err)
	}
	for i, d := range done {
		if want := event.Index(i + 1); d.Index != want || d.Void || (d.First != 0) != (want%7 == 0) {
			t.Fatalf("entry %d: %+v", want, d)
		}
	}
	if err := l.Verify(context.Background(), 0, 0, nil); err != nil {
		t.Error(err)
	}
}

// TestCommitStopsBeforeDamage: what comes before a damaged entry is committed and stays.
func TestCommitStopsBeforeDamage(t *testing.T) {
	f := vfs.NewMem()
	l, err := Open("/log", Options{FS: f})
	if err != nil {
		t.Fatal(err)
	}
	var c chain
	for i := event.Index(1); i <= 5; i++ {
		if err := l.Append([]Record{{Index: i, Term: 1, Data: c.seal(t, "text")}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.db.Set(entryKey(3, partEntry), []byte("damage"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open("/log", Options{FS: f}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done, err := l.Commit(5)
	if !errors.Is(err, event.ErrCorrupt) || len(done) != 2 || l.Head().Index != 2 {
		t.Errorf("%d committed, head %+v, %v; want 2 and ErrCorrupt", len(done), l.Head(), err)
	}
	if got, err := l.Read(1, 10); err != nil || len(got) != 2 {
		t.Errorf("%d events, %v", len(got), err)
	}
}

func memLog(t testing.TB, o Options) *Log {
	t.Helper()
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	l, err := Open("/log", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// countFS counts syncs and the bytes written, the way a disk would.
type countFS struct {
	vfs.FS
	syncs, walSyncs, written *atomic.Int64
}

type countFile struct {
	vfs.File
	c   countFS
	wal bool
}

func (c countFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return countFile{f, c, isWAL(name)}, nil
}

func (c countFS) Create(n string, w vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.Create(n, w)
	return c.wrap(n, f, err)
}

func (c countFS) ReuseForWrite(from, to string, w vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.ReuseForWrite(from, to, w)
	return c.wrap(to, f, err)
}

func (f countFile) Write(b []byte) (int, error) {
	f.c.written.Add(int64(len(b)))
	return f.File.Write(b)
}

func (f countFile) count() {
	f.c.syncs.Add(1)
	if f.wal {
		f.c.walSyncs.Add(1)
	}
}

func (f countFile) Sync() error     { f.count(); return f.File.Sync() }
func (f countFile) SyncData() error { f.count(); return f.File.SyncData() }

// TestCost: one sync for each Append, and at most two bytes written for each byte of events, flushes and compactions included.
// The events are those of the measurements: 512 bytes, of which 80 do not compress, 64 in an entry.
func TestCost(t *testing.T) {
	cf := countFS{vfs.NewMem(), new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)}
	l := memLog(t, Options{FS: cf, MemTableBytes: 1 << 20})
	appends := 1500
	if testing.Short() {
		appends = 300
	}
	rng := rand.New(rand.NewPCG(1, 1))
	words := strings.Fields("the room is full of people who write to each other about the weather and the market and what to eat today")
	var plain int64
	var c chain
	syncs, walSyncs := cf.syncs.Load(), cf.walSyncs.Load()
	for i := event.Index(1); i <= event.Index(appends); i++ {
		texts := make([]string, 64)
		for j := range texts {
			var b strings.Builder
			for b.Len() < 40 {
				fmt.Fprintf(&b, "%016x", rng.Uint64())
			}
			for b.Len() < 430 {
				b.WriteString(words[rng.IntN(len(words))] + " ")
			}
			texts[j] = b.String()
			plain += int64(b.Len()) + 80
		}
		if err := l.Append([]Record{{Index: i, Term: 1, Data: c.seal(t, texts...)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Commit(i); err != nil {
			t.Fatal(err)
		}
	}
	perAppend := float64(cf.walSyncs.Load()-walSyncs) / float64(appends)
	all := float64(cf.syncs.Load()-syncs) / float64(appends)
	amplification := float64(cf.written.Load()) / float64(plain)
	m := l.db.Metrics()
	t.Logf("%d appends, %.3f syncs of the write-ahead log each, %.3f of any file, %.2f bytes written for each byte of events; %d flushes, %d compactions of which %d only moved tables",
		appends, perAppend, all, amplification, m.Flush.Count, m.Compact.Count, m.Compact.MoveCount)
	if perAppend > 1.1 {
		t.Errorf("%.3f syncs for each append, want at most 1.1", perAppend)
	}
	if amplification > 2 {
		t.Errorf("%.2f bytes written for each byte of events, want at most 2", amplification)
	}
	if !testing.Short() && m.Compact.Count == 0 {
		t.Error("there were no compactions: the test does not test")
	}
}

// TestFailureElsewhere: a copy that cannot be written does not make the log fail.
func TestFailureElsewhere(t *testing.T) {
	l := memLog(t, Options{FS: refusing{vfs.NewMem(), "/copy"}})
	var c chain
	if err := l.Append([]Record{{Index: 1, Term: 1, Data: c.seal(t, "text")}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Checkpoint("/copy"); err == nil {
		t.Error("the copy was written")
	}
	if err := l.Err(); err != nil {
		t.Errorf("the log has failed: %v", err)
	}
	if err := l.Append([]Record{{Index: 2, Term: 1, Data: c.seal(t, "text")}}); err != nil {
		t.Error(err)
	}
}

// refusing has no room below a path.
type refusing struct {
	vfs.FS
	path string
}

func (r refusing) refuse(p string) error {
	if strings.HasPrefix(p, r.path) {
		return &fs.PathError{Op: "write", Path: p, Err: syscall.ENOSPC}
	}
	return nil
}

func (r refusing) Create(p string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := r.refuse(p); err != nil {
		return nil, err
	}
	return r.FS.Create(p, c)
}

func (r refusing) Link(from, to string) error {
	if err := r.refuse(to); err != nil {
		return err
	}
	return r.FS.Link(from, to)
}

func TestMetrics(t *testing.T) {
	l := memLog(t, Options{})
	var c chain
	records := []Record{{Index: 1, Term: 1, Type: 1}, {Index: 2, Term: 1, Data: c.seal(t, "one", "two")}}
	void := c
	void.base += 5
	records = append(records, Record{Index: 3, Term: 1, Data: void.seal(t, "void")})
	if err := l.Append(records); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(3); err != nil {
		t.Fatal(err)
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(l.Metrics())
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	for name, want := range map[string]float64{"parley_log_appends_total": 3, "parley_log_append_seconds": 1, "parley_log_last_index": 3,
		"parley_log_committed_index": 3, "parley_log_committed_offset": 2, "parley_log_void_batches_total": 1, "parley_log_failed": 0} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want)
		}
	}
	if got["parley_log_append_bytes_total"] < 200 {
		t.Errorf("%v bytes appended", got["parley_log_append_bytes_total"])
	}
}
