package logtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"parley/log"
	"parley/log/event"
)

// faults fails the first, the second, the third … file operation of a life, until the life goes by without a failure. Each operation
// fails in two ways: it is lost, or it lands and is reported lost. Then the power goes as well, with none, half, or all of
// what was not synced surviving. Whatever was acknowledged must be there, what failed is there as a whole or not at all, and
// nothing else is.
func faults(t *testing.T, open Open) {
	const drawing = "n a2 c a v c A5 c a2 t12 + a c r a2 c m c e k a c r"
	for name, wrap := range map[string]func(vfs.FS, *trigger) vfs.FS{
		"lost": func(f vfs.FS, tr *trigger) vfs.FS {
			return errorfs.Wrap(f, errorfs.InjectorFunc(func(op errorfs.Op) error { return tr.pull(op.Path) }))
		},
		"landed": func(f vfs.FS, tr *trigger) vfs.FS { return landedFS{f, tr} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faulty := 0
			for n := int64(0); ; n++ {
				tr := &trigger{at: n}
				err := oneFault(open, drawing, wrap, tr)
				if err != nil {
					t.Errorf("operation %d (%s) fails: %v", n, tr.what(), err)
				}
				if !tr.pulled.Load() {
					break
				}
				faulty++
				if sampled() {
					n += 12
				}
			}
			t.Logf("%d operations failed, one at a time", faulty)
			if faulty < 10 {
				t.Errorf("only %d operations failed: the test does not test", faulty)
			}
		})
	}
}

// trigger fails one operation.
type trigger struct {
	at     int64
	off    atomic.Bool
	count  atomic.Int64
	pulled atomic.Bool
	path   atomic.Pointer[string]
}

// pull returns the failure when it is this operation's turn.
func (t *trigger) pull(path string) error {
	if t.off.Load() || t.count.Add(1)-1 != t.at {
		return nil
	}
	t.path.Store(&path)
	t.pulled.Store(true)
	return &fs.PathError{Op: "injected", Path: path, Err: syscall.EIO}
}

func (t *trigger) what() string {
	if p := t.path.Load(); p != nil {
		return *p
	}
	return "none"
}

// oneFault plays a life in which one operation fails.
func oneFault(open Open, drawing string, wrap func(vfs.FS, *trigger) vfs.FS, tr *trigger) error {
	r := newRun(open, 1)
	r.opts.MemTableBytes = 32 << 10 // so that tables are flushed on the way
	r.wrap = func(f vfs.FS) vfs.FS { return wrap(f, tr) }
	before, after, failed := r.m.clone(), r.m, r.start()
	for i, words := 0, strings.Fields(drawing); failed == nil && i < len(words); i++ {
		before = r.m.clone()
		failed = r.step(words[i])
		after = r.m
		if failed != nil && words[i][0] == 't' {
			after = before.clone()
			after.truncate(before.cutAt(words[i]))
		}
		if failed != nil && words[i] == "e" { // r.m is ahead already
			after = r.m
		}
		if failed != nil {
			failed = fmt.Errorf("%s: %w", words[i], failed)
		}
	}
	tr.off.Store(true)
	if failed != nil && !tr.pulled.Load() {
		return fmt.Errorf("without a failed operation: %w", failed)
	}
	disk := r.fs
	if failed == nil {
		before, after = r.m, r.m
		if r.l.Err() == nil {
			if err := r.m.check(r.l); err != nil {
				return fmt.Errorf("nothing was reported, but: %w", err)
			}
		}
	}
	clones := map[int]*vfs.MemFS{0: crashClone(disk, 0, 1), 50: crashClone(disk, 50, 1), 100: crashClone(disk, 100, 1)}
	if r.l != nil {
		if err := afterFailure(r.l, before, after, failed); err != nil {
			return err
		}
		if err := closeInTime(r.l); err != nil {
			return err
		}
	}
	for keep, clone := range clones {
		if err := afterFault(open, clone, r, before, after); err != nil {
			return fmt.Errorf("then power lost, %d %% kept: %w (reported: %v)", keep, err, failed)
		}
	}
	return nil
}

// cutAt reads the index of a truncation.
func (m *model) cutAt(word string) (i event.Index) {
	n, _ := strconv.Atoi(word[1:]) // the drawing is ours
	i = event.Index(n)
	return i
}

// afterFailure: a log in which a write failed refuses all further ones, and goes on serving what was committed.
func afterFailure(l *log.Log, before, after *model, failed error) error {
	if !errors.Is(failed, log.ErrFailed) {
		return nil // it failed to open or to close, or did not fail
	}
	if l.Err() == nil {
		return errors.New("a write failed, but the log has no failure")
	}
	select {
	case <-l.Failed():
	default:
		return errors.New("a write failed, but Failed is open")
	}
	next := log.Record{Index: l.LastIndex() + 1, Term: 9, Type: 1}
	_, commit := l.Commit(math.MaxUint64)
	for name, err := range map[string]error{"Append": l.Append([]log.Record{next}), "Commit": commit,
		"TruncateSuffix": l.TruncateSuffix(l.LastIndex())} {
		if err == nil {
			return fmt.Errorf("%s after a failed write: it was accepted", name)
		}
	}
	got, err := l.Read(1, math.MaxInt)
	if err != nil {
		return fmt.Errorf("read after a failed write: %w", err)
	}
	want := before.events()
	if len(got) < len(want) {
		return fmt.Errorf("after a failed write %d events are served, %d were committed", len(got), len(want))
	}
	err = equalEvents(got[:len(want)], want)
	if err != nil && len(before.erased) != len(after.erased) {
		err = equalEvents(got[:len(want)], after.events()) // bodies may be gone already
	}
	return err
}

// closeInTime closes a log after a failure. That may report the failure again, but must not hang.
func closeInTime(l *log.Log) error {
	done := make(chan struct{})
	go func() {
		_ = l.Close() // the failure was judged already
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("close hangs after a failed operation")
	}
}

// afterFault opens what survived, without faults, and compares it with the two states that are right.
func afterFault(open Open, disk *vfs.MemFS, was *run, before, after *model) error {
	r := &run{open: open, fs: disk, dir: was.dir, opts: was.opts, seed: was.seed, m: before.clone()}
	if err := r.start(); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	if l := r.l.LastIndex(); l != before.last() {
		if l != after.last() {
			return fmt.Errorf("log ends at %d, want %d or %d", l, before.last(), after.last())
		}
		r.m = after.clone()
		r.m.durable = before.durable
	}
	// The mark may have been handed over by the step that failed.
	target := before.head
	if h := r.l.Head(); h.Index > target.Index {
		target = after.head
	}
	r.m.head, r.m.void = log.Head{}, 0
	r.m.commit(target.Index)
	if err := r.recommit(r.m.head); err != nil {
		return err
	}
	if err := r.m.check(r.l); err != nil {
		if len(before.erased) == len(after.erased) {
			return err
		}
		// Of an erasure that failed, all is there or nothing: it is one batch.
		r.m.erased, r.m.records = maps.Clone(after.erased), slices.Clone(after.records)
		if again := r.m.check(r.l); again != nil {
			return errors.Join(err, again)
		}
	}
	// What a removal asks for may have been done, but not noted.
	wanted := r.m.clone()
	if err := wanted.erase(); err != nil {
		return err
	}
	// And it goes on.
	if _, err := r.l.Erase(context.Background(), r.l.Head().Offset); err != nil {
		return fmt.Errorf("erase what is left: %w", err)
	}
	r.m = wanted
	r.m.retip()
	for _, word := range []string{"a2", "c", "r"} {
		if err := r.step(word); err != nil {
			return fmt.Errorf("go on, %s: %w", word, err)
		}
	}
	return errors.Join(r.m.checkWhole(r.l), r.l.Close()) // parts were asked for above
}

// landedFS performs each operation that changes something and reports the chosen one lost.
type landedFS struct {
	vfs.FS
	tr *trigger
}

type landedFile struct {
	vfs.File
	path string
	tr   *trigger
}

func (f landedFS) file(path string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if err := f.tr.pull(path); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return landedFile{file, path, f.tr}, nil
}

func (f landedFS) done(path string, err error) error {
	if err != nil {
		return err
	}
	return f.tr.pull(path)
}

func (f landedFS) Create(p string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(p, c)
	return f.file(p, file, err)
}

func (f landedFS) OpenReadWrite(p string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(p, c, o...)
	return f.file(p, file, err)
}

func (f landedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, c)
	return f.file(to, file, err)
}

func (f landedFS) OpenDir(p string) (vfs.File, error) {
	file, err := f.FS.OpenDir(p)
	if err != nil {
		return nil, err
	}
	return landedFile{file, p, f.tr}, nil
}

func (f landedFS) Link(from, to string) error   { return f.done(to, f.FS.Link(from, to)) }
func (f landedFS) Rename(from, to string) error { return f.done(to, f.FS.Rename(from, to)) }
func (f landedFS) Remove(p string) error        { return f.done(p, f.FS.Remove(p)) }
func (f landedFS) RemoveAll(p string) error     { return f.done(p, f.FS.RemoveAll(p)) }

func (f landedFS) MkdirAll(p string, m fs.FileMode) error { return f.done(p, f.FS.MkdirAll(p, m)) }

func (f landedFS) Unwrap() vfs.FS { return f.FS }

func (f landedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(slices.Clone(b))
	if err == nil {
		err = f.tr.pull(f.path)
	}
	return n, err
}

func (f landedFile) done(err error) error {
	if err != nil {
		return err
	}
	return f.tr.pull(f.path)
}

func (f landedFile) Sync() error     { return f.done(f.File.Sync()) }
func (f landedFile) SyncData() error { return f.done(f.File.SyncData()) }

func (f landedFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	return full, f.done(err)
}
