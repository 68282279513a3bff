package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
)

// TestNewStoreFindsDamageInItsLog: in the first write-ahead log of a Pebble store, damage looks like the end of the log, and
// what was synced behind it is gone without a word. A new log must not be in that state.
func TestNewStoreFindsDamageInItsLog(t *testing.T) {
	f := vfs.NewCrashableMem()
	l := memLog(t, Options{FS: f})
	var c chain
	for i := event.Index(1); i <= 300; i++ {
		if err := l.Append([]Record{{Index: i, Term: 1, Data: c.seal(t, "some text that is long enough to fill a few blocks of the log")}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, percent := range []int{10, 50} {
		disk := f.CrashClone(vfs.CrashCloneCfg{}) // what was synced, and nothing else
		path, content := largestWAL(t, disk)
		content[len(content)*percent/100] ^= 0x10
		file, err := disk.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.Write(content)
		if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
			t.Fatal(err)
		}
		damaged, err := Open("/log", Options{FS: disk})
		if !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("bit flipped at %d %%: %v, want ErrCorrupt", percent, err)
		}
		if err == nil {
			t.Errorf("the log opened and ends at %d of 300", damaged.LastIndex())
			if err := damaged.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func isWAL(name string) bool { return strings.HasSuffix(name, ".log") }

func largestWAL(t *testing.T, f vfs.FS) (path string, content []byte) {
	t.Helper()
	names, err := f.List("/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !isWAL(n) {
			continue
		}
		file, err := f.Open(f.PathJoin("/log", n))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		if len(b) > len(content) {
			path, content = f.PathJoin("/log", n), b
		}
	}
	if len(content) < 32<<10 {
		t.Fatalf("the write-ahead log has %d bytes: too few for this test", len(content))
	}
	return path, content
}

// TestVerifyFindsStrayPlace: a place that no entry explains, put there after the log was opened.
func TestVerifyFindsStrayPlace(t *testing.T) {
	l := memLog(t, Options{FS: small(t)})
	p := place{first: 9, last: 9, index: 7, at: 5}
	if err := l.db.Set(offsetKey(9), p.row(offsetKey(9)), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := l.Verify(context.Background(), 0, 0, nil); !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
}

// orderFS notes in which order files are created and the directory is synced.
type orderFS struct {
	vfs.FS
	mu  *sync.Mutex
	ops *[]string
}

func (o orderFS) note(op string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*o.ops = append(*o.ops, op)
}

func (o orderFS) Create(n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	o.note(o.PathBase(n))
	return o.FS.Create(n, c)
}

func (o orderFS) OpenDir(n string) (vfs.File, error) {
	f, err := o.FS.OpenDir(n)
	return orderDir{f, o}, err
}

type orderDir struct {
	vfs.File
	o orderFS
}

func (d orderDir) Sync() error {
	err := d.File.Sync()
	d.o.note("sync")
	return err
}

// TestMarkerNamesADurableFile: a file is durable in its directory before the marker that names it is created.
func TestMarkerNamesADurableFile(t *testing.T) {
	var ops []string
	memLog(t, Options{FS: orderFS{vfs.NewMem(), new(sync.Mutex), &ops}})
	manifests, durable := make(map[string]bool), make(map[string]bool)
	markers := 0
	for _, op := range ops {
		switch {
		case strings.HasPrefix(op, "MANIFEST-"):
			manifests[op] = true
		case op == "sync":
			for m := range manifests {
				durable[m] = true
			}
		case strings.HasPrefix(op, "marker.manifest."):
			markers++
			if name := op[strings.Index(op, "MANIFEST-"):]; !durable[name] {
				t.Errorf("%s is created before %s is durable: %v", op, name, ops)
			}
		}
	}
	if markers == 0 {
		t.Errorf("no marker was created: %v", ops)
	}
}

// between runs something before a body row is read for the first time.
type between struct {
	pebble.Reader
	do func()
}

func (b *between) Get(key []byte) ([]byte, io.Closer, error) {
	if do := b.do; do != nil && key[len(key)-1] == partBody {
		b.do = nil
		do()
	}
	return b.Reader.Get(key)
}

// TestReadWhileReplaced: an entry is replaced while it is read. That is not damage, and never a mixture.
func TestReadWhileReplaced(t *testing.T) {
	l := memLog(t, Options{})
	var c chain
	next := c
	if err := l.Append([]Record{{Index: 1, Term: 1, Data: c.seal(t, "first")}}); err != nil {
		t.Fatal(err)
	}
	replaced := next.seal(t, "second")
	row, bodies, err := l.readStable(&between{l.db, func() {
		if err := errors.Join(l.TruncateSuffix(1), l.Append([]Record{{Index: 1, Term: 2, Data: replaced}})); err != nil {
			t.Error(err)
		}
	}}, 1)
	if err != nil || row.term != 2 || string(row.head)+string(bodies) != string(replaced) {
		t.Errorf("read term %d, %v, want the entry of term 2", row.term, err)
	}
	_, _, err = l.readStable(&between{l.db, func() {
		if err := l.TruncateSuffix(1); err != nil {
			t.Error(err)
		}
	}}, 1)
	if !errors.Is(err, ErrNotFound) || errors.Is(err, event.ErrCorrupt) {
		t.Errorf("entry truncated meanwhile: %v, want ErrNotFound", err)
	}
}

// noTables refuses to create tables, from a moment on.
type noTables struct {
	vfs.FS
	full    *atomic.Bool
	refused *atomic.Int64
}

func (n noTables) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if isTable(name) && n.full.Load() {
		n.refused.Add(1)
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	return n.FS.Create(name, c)
}

// TestFlushThatNeverSucceeds: Pebble would try it again for ever and let writers wait behind it. The log fails instead, at
// once, answers every call, and leaves the disk alone.
func TestFlushThatNeverSucceeds(t *testing.T) {
	disk := noTables{vfs.NewMem(), new(atomic.Bool), new(atomic.Int64)}
	l, err := Open("/log", Options{FS: disk, MemTableBytes: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var c chain
	texts := make([]string, 50)
	rng := rand.New(rand.NewPCG(1, 1))
	add := func(i event.Index) error {
		for j := range texts {
			texts[j] = fmt.Sprintf("%x %x %x %x", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64())
		}
		return l.Append([]Record{{Index: i, Term: 1, Data: c.seal(t, texts...)}})
	}
	i := event.Index(0)
	for i < 30 {
		i++
		if err := add(i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Commit(i); err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	for ; err == nil && i < 1000; i++ { // many times what may wait for a flush
		err = add(i + 1)
	}
	if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("append %d: %v, want ErrFailed", i, err)
	}
	<-l.Failed()
	if err := l.Append([]Record{{Index: l.LastIndex() + 1, Term: 1, Type: 1}}); !errors.Is(err, ErrFailed) {
		t.Errorf("append after the failure: %v", err)
	}
	if err := l.TruncateSuffix(l.LastIndex()); !errors.Is(err, ErrFailed) {
		t.Errorf("truncate after the failure: %v", err)
	}
	if err := l.Checkpoint("/copy"); !errors.Is(err, ErrFailed) {
		t.Errorf("checkpoint after the failure: %v", err)
	}
	before := contents(t, disk.FS)
	l.entries.dropFrom(1) // so that it is read from the store
	got, err := l.Read(1, 1<<20)
	if err != nil || len(got) != 30*len(texts) {
		t.Errorf("%d events after the failure, %v, want %d", len(got), err, 30*len(texts))
	}
	if err := l.Verify(context.Background(), 0, 0, nil); err != nil {
		t.Errorf("verify after the failure: %v", err)
	}
	last := l.LastIndex()
	if err := l.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("close: %v, want ErrFailed", err)
	}
	if n := disk.refused.Load(); n != 1 {
		t.Errorf("%d tables were refused, want 1: the disk was not left alone", n)
	}
	if after := contents(t, disk.FS); !maps.Equal(before, after) {
		t.Errorf("the disk had %v and has %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
	disk.full.Store(false)
	l = memLog(t, Options{FS: disk})
	if l.LastIndex() < last {
		t.Errorf("log ends at %d, %d was acknowledged", l.LastIndex(), last)
	}
	if err := l.Verify(context.Background(), 0, 0, nil); err != nil {
		t.Error(err)
	}
}

// contents returns all files of the log.
func contents(t *testing.T, f vfs.FS) map[string]string {
	t.Helper()
	names, err := f.List("/log")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, n := range names {
		file, err := f.Open(f.PathJoin("/log", n))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		out[n] = string(b)
	}
	return out
}

// noCompactions refuses to create the tables of compactions.
type noCompactions struct{ vfs.FS }

func (n noCompactions) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if c == compactionWrites {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.EIO}
	}
	return n.FS.Create(name, c)
}

// TestCompactionThatNeverSucceeds: it makes the log fail, and is not tried again and again.
func TestCompactionThatNeverSucceeds(t *testing.T) {
	l, err := Open("/log", Options{FS: noCompactions{vfs.NewMem()}, MemTableBytes: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var c chain
	var committed error
	for i := event.Index(1); err == nil && committed == nil && i < 100_000; i++ {
		if err = l.Append([]Record{{Index: i, Term: 1, Data: c.seal(t, "text")}}); err == nil {
			_, committed = l.Commit(i)
		}
	}
	if err = errors.Join(err, committed); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("%v, want ErrFailed", err)
	}
	time.Sleep(50 * time.Millisecond) // there is nothing to wait for: it is not to happen
	if n := l.db.Metrics().Compact.FailedCount; n > 2 {
		t.Errorf("%d compactions failed: it is tried again and again", n)
	}
	if got, err := l.Read(1, 10); err != nil || len(got) != 10 {
		t.Errorf("%d events after the failure, %v", len(got), err)
	}
	if err := l.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("close: %v, want ErrFailed", err)
	}
}
