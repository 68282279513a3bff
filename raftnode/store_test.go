package raftnode

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"parley/log"
	"parley/log/event"
)

// rig is the stores of a node, without the node.
type rig struct {
	*logStore
	snaps  *snapshotStore
	fatals *fatals
}

type fatals struct {
	mu   sync.Mutex
	errs []error
}

func (f *fatals) call(err error) { f.mu.Lock(); f.errs = append(f.errs, err); f.mu.Unlock() }
func (f *fatals) first() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) == 0 {
		return nil
	}
	return f.errs[0]
}

func newRig(t *testing.T, fs vfs.FS, deadline time.Duration) *rig {
	t.Helper()
	l, err := log.Open("log", log.Options{FS: fs, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	bolt, err := openBolt(filepath.Join(t.TempDir(), "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fatals{}
	stable := newStableStore(bolt, deadline, f.call)
	t.Cleanup(func() { stable.Close() })
	return &rig{logStore: &logStore{log: l, stable: stable, deadline: deadline, fatal: f.call}, snaps: &snapshotStore{stable: stable, log: l}, fatals: f}
}

// entry is a command of one event that continues the log after prev.
func entry(t *testing.T, index, term uint64, prev log.Head) *raft.Log {
	t.Helper()
	b := event.Batch{Base: prev.Offset + 1, At: prev.At + 1, Prev: prev.Chain, Events: []event.Draft{{Event: &event.Posted{MessageID: index}}}}
	data, _, err := b.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data}
}

func noops(from, to, term uint64) (out []*raft.Log) {
	for i := from; i <= to; i++ {
		out = append(out, &raft.Log{Index: i, Term: term, Type: raft.LogNoop, AppendedAt: time.Unix(int64(i), 0)})
	}
	return out
}

func (r *rig) last(t *testing.T, want event.Index) {
	t.Helper()
	if got := r.log.LastIndex(); got != want {
		t.Errorf("log ends at %d, want %d", got, want)
	}
}

func (r *rig) promised(t *testing.T, last event.Index, term uint64) {
	t.Helper()
	if got, err := newStableStore(r.stable.inner, time.Minute, r.fatals.call).promise(); err != nil || got.Last != last || got.Term != term {
		t.Errorf("promise is %+v, %v, want entry %d of term %d", got, err, last, term)
	}
}

func TestDeleteRange(t *testing.T) {
	r := newRig(t, vfs.NewMem(), time.Minute)
	if err := r.StoreLogs(noops(1, 10, 1)); err != nil {
		t.Fatal(err)
	}
	if err := r.renewPromise(); err != nil {
		t.Fatal(err)
	}
	r.promised(t, 10, 1)
	if err := r.DeleteRange(1, 6); err != nil { // compaction: refused without a word
		t.Errorf("prefix: %v", err)
	}
	var l raft.Log
	for i := uint64(1); i <= 10; i++ {
		if err := r.GetLog(i, &l); err != nil || l.Index != i || l.Term != 1 || l.Type != raft.LogNoop || !l.AppendedAt.Equal(time.Unix(int64(i), 0)) {
			t.Errorf("entry %d after prefix deletion: %+v, %v", i, l, err)
		}
	}
	if err := r.DeleteRange(7, 10); err != nil {
		t.Errorf("suffix: %v", err)
	}
	r.last(t, 6)
	r.promised(t, 6, 1) // or this node would refuse its own log
	if err := r.GetLog(7, &l); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("removed entry: %v", err)
	}
	if err := r.StoreLogs(noops(7, 7, 2)); err != nil {
		t.Fatal(err)
	}
	r.promised(t, 7, 2) // at once: the old entry 7 must not come back unnoticed
	if err := errors.Join(r.GetLog(7, &l), r.fatals.first()); err != nil || l.Term != 2 {
		t.Errorf("replaced entry: %+v, %v", l, err)
	}
	if _, monotonic := any(r.logStore).(raft.MonotonicLogStore); monotonic {
		t.Error("raft would delete the log of a monotonic store after a snapshot")
	}
}

// What is committed is not removed, whatever raft asks for: that is the end of this node.
func TestDeleteCommitted(t *testing.T) {
	r := newRig(t, vfs.NewMem(), time.Minute)
	if err := r.StoreLogs(noops(1, 5, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.log.Commit(4); err != nil {
		t.Fatal(err)
	}
	if err := r.renewPromise(); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteRange(3, 5); !errors.Is(err, log.ErrCommitted) || r.fatals.first() == nil {
		t.Errorf("remove committed entries: %v, fatal %v", err, r.fatals.first())
	}
	r.last(t, 5)
	r.promised(t, 5, 1)
}

func TestFSM(t *testing.T) {
	r := newRig(t, vfs.NewMem(), time.Minute)
	f := &fsm{log: r.log, fatal: r.fatals.call}
	e2 := entry(t, 2, 1, log.Head{})
	stray := entry(t, 3, 1, log.Head{}) // does not continue the log after e2
	conf := &raft.Log{Index: 4, Term: 1, Type: raft.LogConfiguration}
	if err := r.StoreLogs([]*raft.Log{noops(1, 1, 1)[0], e2, stray, conf}); err != nil {
		t.Fatal(err)
	}
	got := f.ApplyBatch([]*raft.Log{e2, stray, conf})
	for i, want := range []log.Committed{{Index: 2, First: 1, Last: 1}, {Index: 3, Void: true}, {Index: 4}} {
		if got[i] != want {
			t.Errorf("entry %d: %+v, want %+v", i+2, got[i], want)
		}
	}
	if again := f.ApplyBatch([]*raft.Log{e2}); again[0] != nil { // replay after a restart
		t.Errorf("replay: %+v", again[0])
	}
	if got := f.ApplyBatch([]*raft.Log{{Index: 9}}); got[0] == nil || r.fatals.first() == nil {
		t.Errorf("commit of what is not there: %v, fatal %v", got[0], r.fatals.first())
	}
}

func TestSnapshotPointer(t *testing.T) {
	r := newRig(t, vfs.NewMem(), time.Minute)
	if list, err := r.snaps.List(); err != nil || len(list) != 0 {
		t.Errorf("fresh: %v, %v", list, err)
	}
	if err := r.StoreLogs(noops(1, 10, 3)); err != nil {
		t.Fatal(err)
	}
	conf := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "a:1"}}}
	// A leader that installs a snapshot over what this log does not have, or has otherwise, is refused before raft
	// keeps anything.
	for _, c := range []struct{ index, term uint64 }{{11, 3}, {5, 4}} {
		if _, err := r.snaps.Create(1, c.index, c.term, conf, 1, nil); !errors.Is(err, errNoRestore) {
			t.Errorf("pointer to entry %d of term %d: %v", c.index, c.term, err)
		}
	}
	take := func(index uint64, end func(raft.SnapshotSink) error) {
		t.Helper()
		sink, err := r.snaps.Create(1, index, 3, conf, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := (pointerSnapshot{}).Persist(sink); err != nil {
			t.Fatal(err)
		}
		if err := end(sink); err != nil {
			t.Fatal(err)
		}
	}
	take(5, raft.SnapshotSink.Close)
	take(7, raft.SnapshotSink.Cancel)
	list, err := r.snaps.List()
	if err != nil || len(list) != 1 || list[0].Index != 5 || list[0].Term != 3 || len(list[0].Configuration.Servers) != 1 {
		t.Fatalf("list: %+v, %v", list, err)
	}
	if meta, body, err := r.snaps.Open(list[0].ID); err != nil || meta.Size != 0 {
		t.Errorf("open: %+v, %v", meta, err)
	} else if n, err := body.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a pointer has %d bytes", n)
	}
	if err := (&fsm{}).Restore(nil); err == nil {
		t.Error("a snapshot was restored")
	}
}

// Votes with a flipped bit are errors, not votes.
func TestStableChecksum(t *testing.T) {
	r := newRig(t, vfs.NewMem(), time.Minute)
	key := []byte(raftTermKey)
	if _, err := r.stable.GetUint64(key); err == nil || err.Error() != "not found" { // raft compares the text
		t.Errorf("nothing there: %v", err)
	}
	if err := r.stable.SetUint64(key, 7); err != nil {
		t.Fatal(err)
	}
	if got, err := r.stable.GetUint64(key); got != 7 || err != nil {
		t.Errorf("term %d, %v", got, err)
	}
	stored, err := r.stable.inner.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(stored) * 8 {
		bad := bytes.Clone(stored)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := r.stable.inner.Set(key, bad); err != nil {
			t.Fatal(err)
		}
		if v, err := r.stable.GetUint64(key); !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("bit %d flipped: %d, %v", bit, v, err)
		}
	}
	// A row under another row's key is not taken either.
	if err := r.stable.inner.Set([]byte(raftVoteKey), stored); err != nil {
		t.Fatal(err)
	}
	if v, err := r.stable.Get([]byte(raftVoteKey)); !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("swapped rows: %q, %v", v, err)
	}
}

func TestDamagedBolt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	b, err := openBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openBolt(path); err == nil || errors.Is(err, event.ErrCorrupt) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second opening: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw[:2*os.Getpagesize()]) // both meta pages
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openBolt(path); !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("without meta pages: %v", err)
	}
}

// A disk that hangs, and one that fails, end the node.
func TestDisk(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  func(release <-chan struct{}) error
		wait time.Duration
		want string
	}{
		{"hangs", func(release <-chan struct{}) error { <-release; return nil }, 50 * time.Millisecond, "the disk hangs"},
		{"fails", func(<-chan struct{}) error { return errors.New("no space left") }, time.Minute, "no space left"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var bad atomic.Bool
			release := make(chan struct{})
			fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if bad.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					return c.bad(release)
				}
				return nil
			}))
			r := newRig(t, fs, c.wait)
			bad.Store(true)
			done := make(chan error, 1)
			go func() { done <- r.StoreLogs(noops(1, 1, 1)) }()
			deadline := time.After(time.Minute)
			for r.fatals.first() == nil {
				select {
				case <-deadline:
					t.Fatal("the node was not ended")
				case <-time.After(time.Millisecond):
				}
			}
			if err := r.fatals.first(); !strings.Contains(err.Error(), c.want) {
				t.Errorf("ended with: %v", err)
			}
			bad.Store(false)
			close(release)
			<-done
		})
	}
}

// Raft repeats itself; the log does not.
func TestHCLog(t *testing.T) {
	var out bytes.Buffer
	l := newHCLog(slog.New(slog.NewTextHandler(&out, nil)), "raft")
	for range 100 {
		l.Error("failed to heartbeat to", "peer", "n2", "servers", hclog.Fmt("%+v", []int{1}))
	}
	l.Debug("noise")
	l.With("a", 1).Named("net").Info("hello")
	got := out.String()
	if n := strings.Count(got, "failed to heartbeat"); n != 1 || !strings.Contains(got, "peer=n2") || !strings.Contains(got, "servers=[1]") || !strings.Contains(got, "level=WARN") {
		t.Errorf("%d times:\n%s", n, got)
	}
	if strings.Contains(got, "noise") || !strings.Contains(got, "part=raft.net") || !strings.Contains(got, "a=1") {
		t.Errorf("log:\n%s", got)
	}
	if due, before := l.limit.pass("failed to heartbeat to", time.Now().Add(repeatEvery)); !due || before != 99 {
		t.Errorf("after a while: due %v, %d suppressed", due, before)
	}
}

// An entry that was erased is sent to others without its body, and stored so.
func TestReplicateErased(t *testing.T) {
	a, b := newRig(t, vfs.NewMem(), time.Minute), newRig(t, vfs.NewMem(), time.Minute)
	head := log.Head{}
	must(t, a.StoreLogs(chained(t, &head, 1, 2, 1)))
	removal := event.Batch{Base: head.Offset + 1, At: head.At + 1, Prev: head.Chain,
		Events: []event.Draft{{Event: &event.MessagesRemoved{Messages: []event.MessageRef{{MessageID: 2, Offset: 2}}}}}}
	data, _, err := removal.Seal()
	must(t, err)
	must(t, a.StoreLogs([]*raft.Log{{Index: 3, Term: 1, Type: raft.LogCommand, Data: data}}))
	_, err = a.log.Commit(3)
	must(t, err)
	if n, err := a.log.Erase(t.Context(), 3); err != nil || n != 1 {
		t.Fatalf("%d bodies erased, %v", n, err)
	}
	for i := uint64(1); i <= 3; i++ {
		var l raft.Log
		must(t, errors.Join(a.GetLog(i, &l), b.StoreLogs([]*raft.Log{&l})))
	}
	_, err = b.log.Commit(3)
	must(t, err)
	run, err := b.log.Read(1, 10)
	must(t, err)
	if len(run) != 3 || run[0].Erased || !run[1].Erased || b.log.Head() != a.log.Head() {
		t.Errorf("the other node has %+v", run)
	}
	if got, err := b.log.Inspect(t.Context(), 0, 0, nil); err != nil || got != (log.Verified{Erased: 1}) {
		t.Errorf("verify: %+v, %v", got, err)
	}
}

// counted counts what is read from behind a cache.
type counted struct {
	raft.LogStore
	reads int
}

func (c *counted) GetLog(index uint64, out *raft.Log) error {
	c.reads++
	return c.LogStore.GetLog(index, out)
}

// TestLargeEntriesAreNotCached: the cache counts entries, so that large ones would hold gigabytes.
func TestLargeEntriesAreNotCached(t *testing.T) {
	store := &counted{LogStore: raft.NewInmemStore()}
	lib, err := raft.NewLogCache(4, store)
	if err != nil {
		t.Fatal(err)
	}
	c := &logCache{LogCache: lib, store: store}
	for i, size := range []int{1, logCacheBytes, logCacheBytes + 1, 1} {
		if err := c.StoreLog(&raft.Log{Index: uint64(i + 1), Data: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int{0, 0, 1, 1} {
		var l raft.Log
		if err := c.GetLog(uint64(i+1), &l); err != nil || l.Index != uint64(i+1) || store.reads != want {
			t.Errorf("entry %d: index %d, %d reads, want %d, %v", i+1, l.Index, store.reads, want, err)
		}
	}
}
