// Package stopped reads the log of a node that does not run, from its data directory. Nothing is written there.
package stopped

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"parley/log"
	"parley/log/event"
	"parley/raftnode"
)

// Where a node keeps its log, and its record of how long the log is, below its data directory.
const (
	LogDir  = "log"
	RaftDir = "raft"
)

// cacheBytes is little: who reads a stopped log reads it once, from one end to the other.
const cacheBytes = 8 << 20

// With opens the log and lets it be used. A log that ends before what its node vouched for is damaged, although what is
// there may be sound: that is said after use. Damage is of class event.ErrCorrupt.
func With(data string, use func(*log.Log) error) (err error) {
	l, err := log.Open(filepath.Join(data, LogDir), log.Options{ReadOnly: true, CacheBytes: cacheBytes})
	switch {
	case errors.Is(err, log.ErrInUse):
		return fmt.Errorf("a node is running on %s; stop it, or ask it with --server: %w", data, err)
	case errors.Is(err, log.ErrNoLog):
		return missingLog(data)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := use(l); err != nil {
		return err
	}
	return checkPromise(data, l)
}

// checkPromise compares a log with what its node vouched for. A copy of the log alone has nothing to compare with.
func checkPromise(data string, l *log.Log) error {
	promised, err := raftnode.Promised(filepath.Join(data, RaftDir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if entries, err := os.ReadDir(data); err != nil || l.LastIndex() == 0 || len(entries) == 1 && entries[0].Name() == LogDir {
			return err
		}
		return fmt.Errorf("%s has a log, but not the node's record of how long it is (%s): %w", data, RaftDir, event.ErrCorrupt)
	case err != nil:
		return err
	}
	return promised.Kept(l)
}

// missingLog tells a directory that never held a log from one whose log is gone, which is damage.
func missingLog(data string) error {
	entries, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist; name the data directory of a node, as its ready line does", data)
	}
	if err != nil {
		return err
	}
	isNode := false
	for _, e := range entries {
		switch e.Name() {
		case LogDir, RaftDir, "views", "search":
			isNode = true
		default:
			continue
		}
		// A node that died in its very first moments has empty directories.
		if parts, err := os.ReadDir(filepath.Join(data, e.Name())); err != nil || len(parts) > 0 {
			return fmt.Errorf("%s is the data of a node, but its log is gone: %w", data, event.ErrCorrupt)
		}
	}
	if isNode {
		return fmt.Errorf("%s: the node has not begun its log yet", data)
	}
	return fmt.Errorf("%s is not the data directory of a node; name it as its ready line does", data)
}
