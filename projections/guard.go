package projections

import (
	"fmt"
	"path"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS keeps Pebble from ending the process when the disk fails: when its write-ahead log cannot be written, synced
// or created it panics inside its own locks, which cannot be recovered from. So the first such failure is recorded in
// the store, and to Pebble the write-ahead log seems to go on. Nobody is told of a success: commit asks for the failure
// after each write, and the store takes no more.
//
// What is on disk then is a prefix of the batches, as after a crash: from the failure on nothing reaches the write-ahead
// log any more.
type guardFS struct {
	vfs.FS
	s *Store
}

// backOff slows down Pebble, which repeats a refused flush at once and for ever.
const backOff = 20 * time.Millisecond

func isWAL(name string) bool { return path.Ext(name) == ".log" }

// Create creates a file.
func (g guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open(name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

// ReuseForWrite makes an old file a new one.
func (g guardFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open(to, func() (vfs.File, error) { return g.FS.ReuseForWrite(from, to, c) })
}

// OpenDir opens a directory for syncing it, which is part of creating a write-ahead log.
func (g guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return guardFile{f, g.s}, nil
}

func (g guardFS) open(name string, open func() (vfs.File, error)) (vfs.File, error) {
	failed := g.s.failure() != nil
	if !isWAL(name) {
		if failed {
			time.Sleep(backOff)
		}
		return open()
	}
	if !failed {
		f, err := open()
		if err == nil {
			return guardFile{f, g.s}, nil
		}
		_ = g.s.fail(fmt.Errorf("create write-ahead log: %w", err)) // commit returns it
	}
	return vfs.NewMemFile(nil), nil
}

// guardFile is the write-ahead log or its directory.
type guardFile struct {
	vfs.File
	s *Store
}

// do does an operation, unless the store has failed, and has it fail if the operation does.
func (f guardFile) do(what string, op func() error) error {
	if f.s.failure() != nil {
		return nil
	}
	if err := op(); err != nil {
		_ = f.s.fail(fmt.Errorf("%s write-ahead log: %w", what, err)) // commit returns it
	}
	return nil
}

func (f guardFile) Write(b []byte) (int, error) {
	return len(b), f.do("write", func() error {
		_, err := f.File.Write(b)
		return err
	})
}

func (f guardFile) WriteAt(b []byte, at int64) (int, error) {
	return len(b), f.do("write", func() error {
		_, err := f.File.WriteAt(b, at)
		return err
	})
}

func (f guardFile) Sync() error     { return f.do("sync", f.File.Sync) }
func (f guardFile) SyncData() error { return f.do("sync", f.File.SyncData) }

func (f guardFile) SyncTo(length int64) (full bool, err error) {
	return full, f.do("sync", func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
}

// Preallocate is a hint, which not every file system takes.
func (f guardFile) Preallocate(at, length int64) error {
	_ = f.File.Preallocate(at, length) // where there is no space the write fails too
	return nil
}

// Close closes the file in any case.
func (f guardFile) Close() error {
	if err := f.File.Close(); err != nil {
		_ = f.s.fail(fmt.Errorf("close write-ahead log: %w", err)) // commit returns it
	}
	return nil
}
