package raftnode

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"parley/log"
	"parley/log/event"
)

// The bytes of a promise, as disks hold them: never changed, only added to. The first is what the versions before
// the term wrote.
func TestPromiseRows(t *testing.T) {
	for _, c := range []struct {
		row  string
		want Promise
	}{
		{"000000000000002a", Promise{Last: 42}},
		{"02" + "000000000000002a" + "0000000000000007" + "0000000000000028" + "0000000000000063" +
			"0300000000000000000000000000000000000000000000000000000000000004" + "fffffffffffffffb",
			Promise{Last: 42, Term: 7, Mark: log.Head{Index: 40, Offset: 99, Chain: event.Chain{3, 31: 4}, At: -5}}},
	} {
		row, err := hex.DecodeString(c.row)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parsePromise(row); err != nil || got != c.want {
			t.Errorf("%s reads as %+v, %v", c.row, got, err)
		}
		if c.want.Term != 0 && !bytes.Equal(c.want.row(), row) {
			t.Errorf("%+v is written as %x, want %s", c.want, c.want.row(), c.row)
		}
		for n := range row {
			if got, err := parsePromise(row[:n]); n != promiseOldLen && !errors.Is(err, event.ErrCorrupt) {
				t.Errorf("%d bytes of %s: %+v, %v", n, c.row, got, err)
			}
		}
	}
	later := append([]byte{promiseVersion + 1}, make([]byte, 100)...)
	if _, err := parsePromise(later); !errors.Is(err, log.ErrVersion) || errors.Is(err, event.ErrCorrupt) {
		t.Errorf("a later version: %v", err)
	}
	if _, err := parsePromise(Promise{Last: 4, Term: 1, Mark: log.Head{Index: 5}}.row()); !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("committed beyond the end: %v", err)
	}
}

// memStable is a StableStore in memory. on is called after each write.
type memStable struct {
	mu   sync.Mutex
	rows map[string][]byte
	sets int
	on   func()
}

func newMemStable() *memStable { return &memStable{rows: map[string][]byte{}} }

func (m *memStable) Set(k, v []byte) error {
	m.mu.Lock()
	m.rows[string(k)] = bytes.Clone(v)
	m.sets++
	on := m.on
	m.mu.Unlock()
	if on != nil {
		on()
	}
	return nil
}

func (m *memStable) Get(k []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.rows[string(k)]; ok {
		return bytes.Clone(v), nil
	}
	return nil, errKeyNotFound
}

func (m *memStable) SetUint64(k []byte, v uint64) error {
	return m.Set(k, binary.BigEndian.AppendUint64(nil, v))
}

func (m *memStable) GetUint64(k []byte) (uint64, error) {
	v, err := m.Get(k)
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

func (m *memStable) clone() *memStable {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memStable{rows: maps.Clone(m.rows)}
}

// openStores opens log and stable store as a node does, and closes the log with the test.
func openStores(t *testing.T, fs vfs.FS, inner raft.StableStore) *logStore {
	t.Helper()
	l, err := log.Open("log", log.Options{FS: fs, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	fatal := func(err error) { t.Errorf("fatal: %v", err) }
	return &logStore{log: l, stable: newStableStore(inner, time.Minute, fatal), deadline: time.Minute, fatal: fatal}
}

// start is what Open does with a log and a promise.
func start(fs vfs.FS, inner raft.StableStore) error {
	l, err := log.Open("log", log.Options{FS: fs, CacheBytes: 1 << 20})
	if err != nil {
		return err
	}
	fatal := func(error) {}
	s := &logStore{log: l, stable: newStableStore(inner, time.Minute, fatal), deadline: time.Minute, fatal: fatal}
	return errors.Join(s.checkPromise(), l.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// chained makes commands that continue each other, from an index on.
func chained(t *testing.T, head *log.Head, from, to, term uint64) (out []*raft.Log) {
	t.Helper()
	for i := from; i <= to; i++ {
		b := event.Batch{Base: head.Offset + 1, At: head.At + 1, Prev: head.Chain,
			Events: []event.Draft{{Event: &event.Posted{MessageID: i, Text: fmt.Sprint("of term ", term)}}}}
		data, chain, err := b.Seal()
		must(t, err)
		*head = log.Head{Index: event.Index(i), Offset: head.Offset + 1, Chain: chain, At: b.At}
		out = append(out, &raft.Log{Index: i, Term: term, Type: raft.LogCommand, Data: data})
	}
	return out
}

// A truncated suffix that is back, of the same length and with another term, keeps the node from voting. The promise
// of its length alone did not see it.
func TestResurrectedSuffix(t *testing.T) {
	fs, inner := vfs.NewCrashableMem(), newMemStable()
	s := openStores(t, fs, inner)
	head := log.Head{}
	must(t, s.StoreLogs(chained(t, &head, 1, 4, 1)))
	tip := head
	must(t, s.StoreLogs(chained(t, &head, 5, 8, 1)))
	_, err := s.log.Commit(4)
	must(t, err)
	must(t, s.renewPromise())
	before := fs.CrashClone(vfs.CrashCloneCfg{})
	must(t, s.DeleteRange(5, 8))
	must(t, s.StoreLogs(chained(t, &tip, 5, 5, 2))) // no renewal since: this is what raft was told
	after := fs.CrashClone(vfs.CrashCloneCfg{})
	must(t, s.StoreLogs(chained(t, &tip, 6, 8, 2)))
	must(t, s.renewPromise())

	if err := start(before, inner.clone()); !errors.Is(err, ErrOtherLog) || !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("start with the suffix that was truncated: %v", err)
	}
	if err := start(after, inner.clone()); !errors.Is(err, ErrShortLog) {
		t.Errorf("start with a shorter log: %v", err)
	}
	if err := start(fs.CrashClone(vfs.CrashCloneCfg{}), inner.clone()); err != nil {
		t.Errorf("start with the log itself: %v", err)
	}
}

// The same length and terms, but another history up to the promised mark.
func TestOtherHistory(t *testing.T) {
	fs, inner := vfs.NewMem(), newMemStable()
	s := openStores(t, fs, inner)
	head := log.Head{}
	must(t, s.StoreLogs(chained(t, &head, 1, 4, 1)))
	_, err := s.log.Commit(4)
	must(t, err)
	must(t, s.renewPromise())
	for name, other := range map[string]func(s *logStore){
		"other events": func(s *logStore) {
			h := log.Head{}
			must(t, s.StoreLogs(chained(t, &h, 1, 3, 9)))
			must(t, s.StoreLogs(chained(t, &h, 4, 4, 1)))
		},
		"fewer events": func(s *logStore) { must(t, s.StoreLogs(noops(1, 4, 1))) },
	} {
		for _, commit := range []event.Index{0, 4} {
			fs := vfs.NewMem()
			o := openStores(t, fs, newMemStable())
			other(o)
			_, err := o.log.Commit(commit)
			must(t, err)
			must(t, o.log.Close())
			if err := start(fs, inner.clone()); !errors.Is(err, ErrOtherLog) {
				t.Errorf("%s, committed up to %d: %v", name, commit, err)
			}
		}
	}
}

// The mark in the log may lag behind the promised one after a crash. The start makes up for it.
func TestPromisedMarkIsCommitted(t *testing.T) {
	fs, inner := vfs.NewCrashableMem(), newMemStable()
	s := openStores(t, fs, inner)
	head := log.Head{}
	must(t, s.StoreLogs(chained(t, &head, 1, 6, 1)))
	_, err := s.log.Commit(5)
	must(t, err)
	must(t, s.renewPromise())
	lost := openStores(t, fs.CrashClone(vfs.CrashCloneCfg{}), inner.clone())
	if h := lost.log.Head(); h.Index != 0 {
		t.Fatalf("the mark survived at %d: the test does not test", h.Index)
	}
	must(t, lost.checkPromise())
	if h := lost.log.Head(); h != s.log.Head() {
		t.Errorf("head is %+v, want %+v", h, s.log.Head())
	}
}

// A promise of an older version holds the index alone. It counts as far as it goes, and is written anew.
func TestOldPromise(t *testing.T) {
	fs, inner := vfs.NewCrashableMem(), newMemStable()
	s := openStores(t, fs, inner)
	must(t, s.StoreLogs(noops(1, 3, 4)))
	old := newMemStable()
	must(t, newStableStore(old, time.Minute, s.fatal).SetUint64(promiseKey, 3))
	disk := fs.CrashClone(vfs.CrashCloneCfg{})
	up := openStores(t, disk, old)
	must(t, up.checkPromise())
	_, err := up.log.Commit(2)
	must(t, err)
	must(t, up.renewPromise())
	want := Promise{Last: 3, Term: 4, Mark: up.log.Head()}
	if got, err := newStableStore(old, time.Minute, s.fatal).promise(); err != nil || got != want || got.Mark.Index != 2 {
		t.Errorf("promise is %+v, %v, want %+v", got, err, want)
	}
	must(t, newStableStore(old, time.Minute, s.fatal).SetUint64(promiseKey, 4))
	must(t, up.log.Close())
	if err := start(disk, old); !errors.Is(err, ErrShortLog) {
		t.Errorf("log of 3 entries, 4 promised: %v", err)
	}
}

// The promise costs one write at the first append, none at those after it, and one for each renewal that has news.
func TestPromiseCost(t *testing.T) {
	inner := newMemStable()
	s := openStores(t, vfs.NewMem(), inner)
	for i := uint64(1); i <= 100; i++ {
		must(t, s.StoreLogs(noops(i, i, 1)))
	}
	if inner.sets != 1 {
		t.Errorf("100 appends wrote %d promises, want 1", inner.sets)
	}
	for range 3 {
		must(t, s.renewPromise())
	}
	_, err := s.log.Commit(100)
	must(t, err)
	for range 3 {
		must(t, s.renewPromise())
	}
	if inner.sets != 3 {
		t.Errorf("%d promises after an append and a commit were renewed, want 3", inner.sets)
	}
}

// A crash at each point between log and promise: the node takes its own log back, and what raft was told is covered.
func TestCrashBetweenLogAndPromise(t *testing.T) {
	type moment struct {
		disk  *vfs.MemFS
		rows  *memStable
		stage int
	}
	mem, inner := vfs.NewCrashableMem(), newMemStable()
	var (
		mu      sync.Mutex
		on      bool
		stage   int
		moments []moment
	)
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		if !on {
			return
		}
		inner.mu.Lock() // both at one instant: the log's store also writes in the background
		defer inner.mu.Unlock()
		for _, keep := range []int{0, 100} {
			c := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(1, 1))})
			moments = append(moments, moment{c, &memStable{rows: maps.Clone(inner.rows)}, stage})
		}
	}
	inner.on = look
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			look()
		}
		return nil
	}))
	s := openStores(t, disk, inner)
	head := log.Head{}
	must(t, s.StoreLogs(chained(t, &head, 1, 4, 1)))
	tip := head
	must(t, s.StoreLogs(chained(t, &head, 5, 8, 1)))
	_, err := s.log.Commit(3)
	must(t, err)
	must(t, s.renewPromise())
	before := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	next := func(n int) { mu.Lock(); on, stage = true, n; mu.Unlock(); look() }
	const truncating, storing, told = 1, 2, 3
	next(truncating)
	must(t, s.DeleteRange(5, 8))
	next(storing)
	must(t, s.StoreLogs(chained(t, &tip, 5, 8, 2)))
	next(told)
	must(t, s.renewPromise())
	_, err = s.log.Commit(6)
	must(t, err)
	must(t, s.renewPromise())
	look()
	mu.Lock()
	on = false
	mu.Unlock()

	noticed := 0
	for i, m := range moments {
		back := before.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		err := start(back, m.rows.clone())
		switch {
		case errors.Is(err, ErrOtherLog):
			noticed++
		case err != nil:
			t.Errorf("moment %d, stage %d: start with the truncated suffix: %v", i, m.stage, err)
		case m.stage == told:
			t.Errorf("moment %d: raft was told of the new entries, and the truncated ones come back unnoticed", i)
		}
		if err := start(m.disk, m.rows); err != nil {
			t.Errorf("moment %d, stage %d: crash: %v", i, m.stage, err)
		}
	}
	if len(moments) < 20 || noticed == 0 {
		t.Errorf("%d moments, noticed in %d of them: the test does not test", len(moments), noticed)
	}
	t.Logf("%d moments, the old suffix is noticed in %d", len(moments), noticed)
}
