package raftnode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"parley/log/event"
)

// Promised returns the index of the last entry that a stopped node vouched for, from its Raft directory, which is only
// read. A log that ends before it has lost entries, which the log cannot know by itself. An error of class
// fs.ErrNotExist says that the node never got as far as to promise anything; damage is of class event.ErrCorrupt.
func Promised(dir string) (last event.Index, err error) {
	path := filepath.Join(dir, "raft.db")
	if _, err := os.Stat(path); err != nil {
		return 0, err
	}
	defer func() {
		if r := recover(); r != nil { // bbolt panics on some damaged files
			err = fmt.Errorf("read %s: %v: %w", path, r, event.ErrCorrupt)
		}
	}()
	inner, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second}})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return 0, fmt.Errorf("read %s: another process uses it: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return 0, err
	case err != nil:
		return 0, fmt.Errorf("read %s: %w: %w", path, err, event.ErrCorrupt)
	}
	defer func() { err = errors.Join(err, inner.Close()) }()
	return newStableStore(inner, 0, nil).promise()
}
