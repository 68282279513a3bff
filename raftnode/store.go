package raftnode

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"parley/log"
	"parley/log/event"
)

// watch runs one synced write and calls fatal if it fails or takes longer than the deadline. The timer fires while
// the write hangs: there is no way to end it, so the process has to end.
func watch(what string, deadline time.Duration, fatal func(error), write func() error) error {
	t := time.AfterFunc(deadline, func() { fatal(fmt.Errorf("%s has not finished for %v: the disk hangs", what, deadline)) })
	defer t.Stop()
	err := write()
	if err != nil {
		fatal(fmt.Errorf("%s: %w", what, err))
	}
	return err
}

// logStore is the event log as raft's LogStore. It deliberately does not implement raft.MonotonicLogStore: after
// installing a snapshot raft would delete the whole log of a store that does.
type logStore struct {
	log      *log.Log
	stable   *stableStore
	deadline time.Duration
	fatal    func(error)

	mu sync.Mutex // between the promise and a truncation
	// vouched says that the promise covers an append since the start and since the last truncation.
	vouched bool
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) { return uint64(s.log.FirstIndex()), nil }

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return uint64(s.log.LastIndex()), nil }

// GetLog implements raft.LogStore. Damage ends the node: raft would panic or, worse, send a snapshot that is none.
func (s *logStore) GetLog(index uint64, out *raft.Log) error {
	r, err := s.log.Record(event.Index(index))
	switch {
	case errors.Is(err, log.ErrNotFound):
		return raft.ErrLogNotFound
	case err != nil:
		if errors.Is(err, event.ErrCorrupt) {
			s.fatal(fmt.Errorf("read entry %d: %w", index, err))
		}
		return fmt.Errorf("read entry %d: %w", index, err)
	}
	*out = raft.Log{Index: uint64(r.Index), Term: r.Term, Type: raft.LogType(r.Type), Data: r.Data,
		Extensions: r.Extensions, AppendedAt: r.AppendedAt}
	return nil
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore: one synced batch. The first entries after a start or a truncation are promised
// before raft hears of them: if the suffix that they replace ever came back, it would have another term there. For
// what follows the promise is renewed once a second, so an append costs no second sync.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	records := make([]log.Record, len(logs))
	for i, l := range logs {
		records[i] = log.Record{Index: event.Index(l.Index), Term: l.Term, Type: uint8(l.Type), Data: l.Data,
			Extensions: l.Extensions, AppendedAt: l.AppendedAt}
	}
	what := fmt.Sprintf("store entries %d to %d", logs[0].Index, logs[len(logs)-1].Index)
	if err := watch(what, s.deadline, s.fatal, func() error { return s.log.Append(records) }); err != nil {
		return err
	}
	s.mu.Lock()
	vouched := s.vouched
	s.mu.Unlock()
	if vouched {
		return nil
	}
	// If we crash here the log is longer than promised, and nobody was told of it.
	if err := s.renewPromise(); err != nil {
		s.fatal(fmt.Errorf("%s: %w", what, err))
		return err
	}
	s.mu.Lock()
	s.vouched = true // only raft's own goroutine stores and deletes
	s.mu.Unlock()
	return nil
}

// DeleteRange implements raft.LogStore. Raft deletes a suffix when a new leader replaces it, and a prefix when it
// compacts. The log is for ever, so a prefix stays, silently: raft takes an error for a failed snapshot.
func (s *logStore) DeleteRange(first, last uint64) error {
	if event.Index(last) < s.log.LastIndex() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is committed stays, and so does the promise of it: the log refuses.
	if keep := event.Index(first) - 1; keep >= s.log.Head().Index {
		if err := s.lowerPromise(keep); err != nil {
			return fmt.Errorf("lower the promise to %d: %w", keep, err)
		}
	}
	// If we crash here the promise speaks of an entry before the suffix, which is there whether the suffix is or not.
	s.vouched = false
	what := fmt.Sprintf("remove entries %d to %d", first, last)
	return watch(what, s.deadline, s.fatal, func() error { return s.log.TruncateSuffix(event.Index(first)) })
}

// lowerPromise comes before a truncation: the other way round a crash in between would make the node refuse its own
// log. The entry at keep stays, and so does the mark, which is not above it.
func (s *logStore) lowerPromise(keep event.Index) error {
	p, err := s.stable.promise()
	if err != nil || p.Last <= keep {
		return err
	}
	p.Last, p.Term = keep, 0
	if keep > 0 {
		r, err := s.log.Record(keep)
		if err != nil {
			return err
		}
		p.Term = r.Term
	}
	return s.stable.setPromise(p)
}

// renewPromise writes down what the log is now, if it is more than what was promised. LastIndex counts only what is
// synced. The mark need not be synced in the log: that these entries are committed is a fact of the pool, and they
// are synced here.
func (s *logStore) renewPromise() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.stable.promise()
	if err != nil {
		return err
	}
	p := old
	mark := s.log.Head() // first: the log never ends before its mark
	last := s.log.LastIndex()
	if last > p.Last || last == p.Last && last > 0 && p.Term == 0 {
		r, err := s.log.Record(last)
		if err != nil {
			return fmt.Errorf("renew the promise: %w", err)
		}
		p.Last, p.Term = last, r.Term
	}
	if mark.Index > p.Mark.Index && mark.Index <= p.Last {
		p.Mark = mark
	}
	if p == old {
		return nil
	}
	return s.stable.setPromise(p)
}

// checkPromise refuses a log that is not the one this node had vouched for. On the way it tells the log how much of it
// was committed when the node last said so: the mark in the log is only as durable as the append after it.
func (s *logStore) checkPromise() error {
	p, err := s.stable.promise()
	if err != nil {
		return err
	}
	if err := p.Kept(s.log); err != nil {
		return err
	}
	if p.Mark.Index <= s.log.Head().Index {
		return nil
	}
	if _, err := s.log.Commit(p.Mark.Index); err != nil {
		return fmt.Errorf("commit up to entry %d, as promised: %w", p.Mark.Index, err)
	}
	return p.Kept(s.log)
}

// stableStore keeps term, vote, promise and snapshot pointer, each with a checksum: bbolt hands out some flipped bits
// as data, and a wrong vote is a split pool.
type stableStore struct {
	inner    raft.StableStore
	deadline time.Duration
	fatal    func(error)

	mu       sync.Mutex
	promised *Promise // what is stored, once read
}

func newStableStore(inner raft.StableStore, deadline time.Duration, fatal func(error)) *stableStore {
	return &stableStore{inner: inner, deadline: deadline, fatal: fatal}
}

// openBolt opens or creates raft.db. bbolt panics on some damaged files.
func openBolt(path string) (s *raftboltdb.BoltStore, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open %s: %v: %w", path, r, event.ErrCorrupt)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	s, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{
		Timeout:        time.Second, // for the lock: a second process on the same directory is an error, not a wait
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	}})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: another process uses it: %w", path, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open %s: %w: %w", path, err, event.ErrCorrupt)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// errKeyNotFound has the text that raft compares.
var errKeyNotFound = errors.New("not found")

func isNotFound(err error) bool { return err != nil && err.Error() == errKeyNotFound.Error() }

// Set implements raft.StableStore.
func (s *stableStore) Set(key, value []byte) error {
	framed := binary.BigEndian.AppendUint32(bytes.Clone(value), checksum(key, value))
	return watch(fmt.Sprintf("write %s", key), s.deadline, s.fatal, func() error { return s.inner.Set(key, framed) })
}

// Get implements raft.StableStore.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	framed, err := s.inner.Get(key)
	if isNotFound(err) {
		return nil, errKeyNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	n := len(framed) - 4
	if n < 0 || binary.BigEndian.Uint32(framed[n:]) != checksum(key, framed[:n]) {
		return nil, fmt.Errorf("read %s: checksum does not match: %w", key, event.ErrCorrupt)
	}
	return framed[:n], nil
}

// SetUint64 implements raft.StableStore.
func (s *stableStore) SetUint64(key []byte, v uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

// GetUint64 implements raft.StableStore.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("read %s: %d bytes, want 8: %w", key, len(b), event.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(b), nil
}

// Close closes raft.db.
func (s *stableStore) Close() error {
	if c, ok := s.inner.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

var (
	promiseKey  = []byte("parley.promise")
	snapshotKey = []byte("parley.snapshot")
)

// promise returns what was promised, the zero value when nothing was.
func (s *stableStore) promise() (Promise, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.promised != nil {
		return *s.promised, nil
	}
	var p Promise
	row, err := s.Get(promiseKey)
	if err == nil {
		p, err = parsePromise(row)
	} else if isNotFound(err) {
		err = nil
	}
	if err != nil {
		return Promise{}, err
	}
	s.promised = &p
	return p, nil
}

// setPromise writes a promise: one synced row, so after a crash it is the old one or the new one.
func (s *stableStore) setPromise(p Promise) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Set(promiseKey, p.row()); err != nil {
		s.promised = nil
		return err
	}
	s.promised = &p
	return nil
}

// snapshotStore keeps one pointer snapshot: index, term and membership, nothing else. It bounds what NewRaft reads at
// start; the history is in the log and is never shipped as a snapshot.
type snapshotStore struct {
	stable *stableStore
	log    *log.Log
}

type snapshotPointer struct {
	Index, Term        uint64
	Configuration      []byte // as raft.EncodeConfiguration
	ConfigurationIndex uint64
}

func (s *snapshotStore) pointer() (meta *raft.SnapshotMeta, ok bool, err error) {
	b, err := s.stable.Get(snapshotKey)
	if isNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var p snapshotPointer
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, false, fmt.Errorf("read the snapshot pointer: %w: %w", err, event.ErrCorrupt)
	}
	return &raft.SnapshotMeta{Version: 1, ID: fmt.Sprintf("%d-%d", p.Term, p.Index), Index: p.Index, Term: p.Term,
		Configuration: raft.DecodeConfiguration(p.Configuration), ConfigurationIndex: p.ConfigurationIndex}, true, nil
}

// List implements raft.SnapshotStore.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	meta, ok, err := s.pointer()
	if err != nil || !ok {
		return nil, err
	}
	return []*raft.SnapshotMeta{meta}, nil
}

// Open implements raft.SnapshotStore.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, ok, err := s.pointer()
	if err != nil {
		return nil, nil, err
	}
	if !ok || meta.ID != id {
		return nil, nil, fmt.Errorf("snapshot %s is gone", id)
	}
	return meta, io.NopCloser(bytes.NewReader(nil)), nil
}

// Create implements raft.SnapshotStore. Raft also comes here when a leader wants to install a snapshot, and would
// keep it before it asks whether it can be restored. So a pointer is taken only to an entry that the log has, of the
// same term: then the logs are equal up to there (Raft section 5.3), and what the pointer calls committed is.
func (s *snapshotStore) Create(_ raft.SnapshotVersion, index, term uint64, c raft.Configuration, configurationIndex uint64,
	_ raft.Transport) (raft.SnapshotSink, error) {
	r, err := s.log.Record(event.Index(index))
	if err != nil {
		return nil, fmt.Errorf("snapshot at entry %d: %w: %w", index, errNoRestore, err)
	}
	if r.Term != term {
		return nil, fmt.Errorf("snapshot at entry %d of term %d, which is of term %d here: %w", index, term, r.Term, errNoRestore)
	}
	return &snapshotSink{store: s, p: snapshotPointer{Index: index, Term: term, Configuration: raft.EncodeConfiguration(c),
		ConfigurationIndex: configurationIndex}}, nil
}

var errNoRestore = errors.New("the log is the only copy of the history: a snapshot cannot be restored")

type snapshotSink struct {
	store    *snapshotStore
	p        snapshotPointer
	finished bool
}

// ID implements raft.SnapshotSink.
func (s *snapshotSink) ID() string { return fmt.Sprintf("%d-%d", s.p.Term, s.p.Index) }

// Write implements raft.SnapshotSink. There is nothing to write.
func (s *snapshotSink) Write([]byte) (int, error) { return 0, errNoRestore }

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error { s.finished = true; return nil }

// Close implements raft.SnapshotSink. The pointer is one synced row: it is there or it is not.
func (s *snapshotSink) Close() error {
	if s.finished {
		return nil
	}
	s.finished = true
	b, err := json.Marshal(s.p)
	if err != nil {
		return err
	}
	return s.store.stable.Set(snapshotKey, b)
}
