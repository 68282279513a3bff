package sim

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// disk is what survives of a node. The log and the views are Pebble on a file system that forgets what was not
// synced. raft.db cannot be: bbolt maps a real file into memory. So the votes are kept in memory here, with the
// semantics that a synced bbolt has: what Set returned is there after a crash.
type disk struct {
	fs    *vfs.MemFS
	votes *votes
}

func newDisk() *disk {
	return &disk{fs: vfs.NewCrashableMem(), votes: &votes{rows: map[string][]byte{}}}
}

// crash returns the disk as it is after a power loss at this instant. Each piece of unsynced data is kept with the
// probability given in percent. The votes stand still meanwhile, so that no promise is newer than its log.
func (d *disk) crash(keep int, rng *rand.Rand) *disk {
	d.votes.mu.Lock()
	defer d.votes.mu.Unlock()
	rows := make(map[string][]byte, len(d.votes.rows))
	for k, v := range d.votes.rows {
		rows[k] = v
	}
	return &disk{fs: d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng}), votes: &votes{rows: rows}}
}

// votes is a raft.StableStore in memory.
type votes struct {
	mu   sync.Mutex
	rows map[string][]byte
}

var _ raft.StableStore = (*votes)(nil)

var errNotFound = errors.New("not found") // raft compares the text

// Set implements raft.StableStore.
func (v *votes) Set(key, value []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rows[string(key)] = bytes.Clone(value)
	return nil
}

// Get implements raft.StableStore.
func (v *votes) Get(key []byte) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, ok := v.rows[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return bytes.Clone(value), nil
}

// SetUint64 implements raft.StableStore. raftnode keeps its numbers with a checksum and never calls it.
func (v *votes) SetUint64([]byte, uint64) error { return errors.ErrUnsupported }

// GetUint64 implements raft.StableStore.
func (v *votes) GetUint64([]byte) (uint64, error) { return 0, errors.ErrUnsupported }

// lyingFS says that data is synced when it is not: what a disk does whose cache lies about flushes. It is for the
// test of the checks.
type lyingFS struct{ vfs.FS }

type lyingFile struct{ vfs.File }

func (f lyingFile) Sync() error                { return nil }
func (f lyingFile) SyncData() error            { return nil }
func (f lyingFile) SyncTo(int64) (bool, error) { return true, nil }
func lie(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return lyingFile{f}, nil
}

// Create implements vfs.FS.
func (l lyingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return lie(l.FS.Create(name, c))
}

// ReuseForWrite implements vfs.FS.
func (l lyingFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return lie(l.FS.ReuseForWrite(oldname, newname, c))
}

// OpenReadWrite implements vfs.FS.
func (l lyingFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return lie(l.FS.OpenReadWrite(name, c, opts...))
}

var _ vfs.FS = lyingFS{}
