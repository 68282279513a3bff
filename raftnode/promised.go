package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"parley/log"
	"parley/log/event"
)

// Promise is what a node has vouched for, in the other store: that its log has an entry of this term at this index,
// and that its events up to the mark are these. log/FORMAT.md section 6 says what it is for.
type Promise struct {
	Last event.Index // of an entry that was synced; 0: none
	Term uint64      // of that entry; 0: not known, an older version wrote the promise
	Mark log.Head    // a committed mark, synced in the log or not; zero: not known
}

// Kept compares a log with the promise. ErrShortLog: entries are missing. ErrOtherLog: they are not those that the
// node had. A log whose mark is still lower than the promised one has that part of the promise unchecked: Commit first.
func (p Promise) Kept(l *log.Log) error {
	if last := l.LastIndex(); last < p.Last {
		return brokenPromise(ErrShortLog, "it ends at entry %d, but this node had stored entry %d", last, p.Last)
	}
	if p.Last > 0 && p.Term > 0 {
		r, err := l.Record(p.Last)
		if err != nil {
			return fmt.Errorf("read the promised entry: %w", err)
		}
		if r.Term != p.Term {
			return brokenPromise(ErrOtherLog, "its entry %d is of term %d, but this node had stored one of term %d", p.Last, r.Term, p.Term)
		}
	}
	head := l.Head()
	if p.Mark.Offset == 0 || head.Index < p.Mark.Index {
		return nil
	}
	if head.Offset < p.Mark.Offset {
		return brokenPromise(ErrOtherLog, "up to entry %d it has %d events, but this node had committed %d up to entry %d",
			head.Index, head.Offset, p.Mark.Offset, p.Mark.Index)
	}
	run, err := l.Read(p.Mark.Offset, 1)
	if err != nil {
		return fmt.Errorf("read the last event promised: %w", err)
	}
	if len(run) == 0 || run[0].Chain != p.Mark.Chain {
		return brokenPromise(ErrOtherLog, "its events up to %d are not those that this node had committed", p.Mark.Offset)
	}
	return nil
}

func brokenPromise(class error, format string, args ...any) error {
	return fmt.Errorf("%s; remove the node from the pool and add it again as a standby with an empty data directory: %w",
		fmt.Sprintf(format, args...), class)
}

// The row of a promise: version, index, term, and the mark as index, offset, chain and time; integers are big-endian.
// Before it had a version it was the index alone.
const (
	promiseVersion = 2
	promiseLen     = 1 + 8 + 8 + 8 + 8 + 32 + 8
	promiseOldLen  = 8
)

func (p Promise) row() []byte {
	b := make([]byte, 0, promiseLen)
	b = append(b, promiseVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Last))
	b = binary.BigEndian.AppendUint64(b, p.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Mark.Index))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Mark.Offset))
	b = append(b, p.Mark.Chain[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(p.Mark.At))
}

func parsePromise(b []byte) (Promise, error) {
	if len(b) == promiseOldLen {
		return Promise{Last: event.Index(binary.BigEndian.Uint64(b))}, nil
	}
	if len(b) > 0 && b[0] > promiseVersion {
		return Promise{}, fmt.Errorf("read the promise: version %d, this program knows %d: %w", b[0], promiseVersion, log.ErrVersion)
	}
	if len(b) != promiseLen || b[0] != promiseVersion {
		return Promise{}, fmt.Errorf("read the promise: row of %d bytes: %w", len(b), event.ErrCorrupt)
	}
	p := Promise{
		Last: event.Index(binary.BigEndian.Uint64(b[1:])),
		Term: binary.BigEndian.Uint64(b[9:]),
		Mark: log.Head{
			Index:  event.Index(binary.BigEndian.Uint64(b[17:])),
			Offset: event.Offset(binary.BigEndian.Uint64(b[25:])),
			Chain:  event.Chain(b[33:65]),
			At:     event.Time(binary.BigEndian.Uint64(b[65:])),
		},
	}
	if p.Mark.Index > p.Last {
		return Promise{}, fmt.Errorf("read the promise: committed up to %d, stored up to %d: %w", p.Mark.Index, p.Last, event.ErrCorrupt)
	}
	return p, nil
}

// Promised returns what a stopped node vouched for, from its Raft directory, which is only read. An error of class
// fs.ErrNotExist says that the node never got as far as to promise anything; damage is of class event.ErrCorrupt.
func Promised(dir string) (p Promise, err error) {
	path := filepath.Join(dir, "raft.db")
	if _, err := os.Stat(path); err != nil {
		return Promise{}, err
	}
	defer func() {
		if r := recover(); r != nil { // bbolt panics on some damaged files
			err = fmt.Errorf("read %s: %v: %w", path, r, event.ErrCorrupt)
		}
	}()
	inner, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second}})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return Promise{}, fmt.Errorf("read %s: another process uses it: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return Promise{}, err
	case err != nil:
		return Promise{}, fmt.Errorf("read %s: %w: %w", path, err, event.ErrCorrupt)
	}
	defer func() { err = errors.Join(err, inner.Close()) }()
	return newStableStore(inner, 0, nil).promise()
}
