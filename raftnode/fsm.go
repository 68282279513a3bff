package raftnode

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"parley/log"
	"parley/log/event"
)

// fsm is all that happens when an entry is committed: the log's mark moves. No notice, no index, no file. So it never
// blocks on anybody, and a restart is just reading on.
type fsm struct {
	log     *log.Log
	fatal   func(error)
	applied atomic.Uint64
}

// Apply implements raft.FSM. Raft calls ApplyBatch.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. Commands and configurations come here, and both count: raft refuses a
// snapshot while a configuration is newer than what was applied. The answers are of type log.Committed.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	last := logs[len(logs)-1].Index
	committed, err := f.log.Commit(event.Index(last))
	if err != nil {
		// Another node may still have it right. This one must not answer for what it cannot read.
		f.fatal(fmt.Errorf("commit up to entry %d: %w", last, err))
		for i := range out {
			out[i] = err
		}
		return out
	}
	f.applied.Store(last)
	byIndex := make(map[event.Index]log.Committed, len(committed))
	for _, c := range committed {
		byIndex[c.Index] = c
	}
	for i, l := range logs {
		if c, ok := byIndex[event.Index(l.Index)]; ok { // not there: the mark had passed it before a restart
			out[i] = c
		}
	}
	return out
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return pointerSnapshot{}, nil }

// Restore implements raft.FSM. It is never called on start (NoSnapshotRestoreOnStart). A leader that sends a snapshot
// lacks entries that we need: a gap in the history must stop the node, not be served.
func (f *fsm) Restore(io.ReadCloser) error { return errNoRestore }

// pointerSnapshot is empty: the snapshot store records index, term and membership by itself.
type pointerSnapshot struct{}

// Persist implements raft.FSMSnapshot.
func (pointerSnapshot) Persist(raft.SnapshotSink) error { return nil }

// Release implements raft.FSMSnapshot.
func (pointerSnapshot) Release() {}
