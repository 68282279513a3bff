package merkle_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/tlog"

	"parley/log/event"
	"parley/projections"
	"parley/projections/merkle"
	"parley/projections/projectionstest"
)

func open(t testing.TB, fs vfs.FS, src projections.Source) (*projections.Store, *merkle.Tree, *projections.Runner) {
	t.Helper()
	s, err := projections.OpenStore("views", projections.Options{FS: fs, CacheBytes: 1 << 20, SyncEvery: time.Millisecond, MaxRun: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	tree := merkle.New()
	r, err := s.Run(context.Background(), src, tree)
	if err != nil {
		t.Fatal(err)
	}
	return s, tree, r
}

// naive keeps every hash of the tree.
type naive struct{ hashes []tlog.Hash }

func (n *naive) ReadHashes(at []int64) (out []tlog.Hash, err error) {
	for _, i := range at {
		out = append(out, n.hashes[i])
	}
	return out, nil
}

func (n *naive) add(t testing.TB, l *projectionstest.Log, from, to event.Offset) {
	t.Helper()
	for o := from; o <= to; {
		run, err := l.Read(o, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range run {
			if o = e.Offset + 1; e.Offset > to {
				break
			}
			h, err := tlog.StoredHashesForRecordHash(int64(e.Offset)-1, e.RecordHash(), n)
			if err != nil {
				t.Fatal(err)
			}
			n.hashes = append(n.hashes, h...)
		}
	}
}

// TestAgrees: whatever is asked at whatever size, the answer is that of a tree that keeps everything; also after restarts
// at any place within a subtree, after a crash, and after a rebuild.
func TestAgrees(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 1)
	fs := vfs.NewCrashableMem()
	s, tree, r := open(t, fs, l)
	var want naive
	done := event.Offset(0)
	for step, n := range []int{1, 3, 250, 2, 700, 90, 5, 1100, 300} {
		life.Until(l.Appended() + event.Offset(n))
		l.CommitAll()
		head := l.Head().Offset
		want.add(t, l, done+1, head)
		done = head
		projectionstest.Wait(t, r, head)
		compare(t, tree, l, &want, int64(head))
		switch step % 3 {
		case 0:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, tree, r = open(t, fs, l)
		case 1: // the store lives on in the background and writes to a disk that is no longer
			fs = fs.CrashClone(vfs.CrashCloneCfg{})
			s, tree, r = open(t, fs, l)
		case 2:
			if err := r.Rebuild(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		projectionstest.Wait(t, r, head)
		compare(t, tree, l, &want, int64(head))
	}
	if done < 2*256*4 {
		t.Errorf("only %d events", done)
	}
}

func compare(t *testing.T, tree *merkle.Tree, l *projectionstest.Log, want *naive, size int64) {
	t.Helper()
	got, err := tree.Hashes(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{size, size - 1, size / 2, size&^255 + 1, size &^ 255, 1} {
		if n < 1 {
			continue
		}
		a, err := tlog.TreeHash(n, got)
		if err != nil {
			t.Fatalf("size %d: %v", n, err)
		}
		if b, _ := tlog.TreeHash(n, want); a != b {
			t.Fatalf("size %d: %v, want %v", n, a, b)
		}
		if n < size {
			whole, _ := tlog.TreeHash(size, want)
			p, err := tlog.ProveTree(size, n, got)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckTree(p, size, whole, n, a); err != nil {
				t.Fatalf("%d is the beginning of %d: %v", n, size, err)
			}
		}
	}
}

func TestNotRunning(t *testing.T) {
	if _, err := merkle.New().Hashes(t.Context(), nil); !errors.Is(err, merkle.ErrNotRunning) {
		t.Error(err)
	}
}
