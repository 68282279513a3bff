package log

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS stands between Pebble and the disk. At the first operation in the log's directory that changes something and fails, the log
// fails, and from then on nothing more reaches that directory: the disk stays as it is at that moment, which is what a crash
// at that moment would leave, and that is a state we can start from.
//
// Pebble goes on meanwhile, in memory: files it creates now are in memory, files it removes are still there. It must not see errors,
// because it takes them badly: it repeats a failed flush for ever and lets writers and Open wait for it, trusts a second sync that succeeds,
// and when it cannot write or create a write-ahead log it ends the process from inside its locks. Nobody is told of a success that
// is none, because submit asks for the failure before it returns. And what was committed can still be read.
//
// Only a table that was being written when the disk failed has to fail: its first half is on the disk. Pebble writes it again.
type guardFS struct {
	vfs.FS
	l      *Log
	memory *vfs.MemFS // of the files created after the failure
}

func newGuardFS(fs vfs.FS, l *Log) (guardFS, error) {
	g := guardFS{fs, l, vfs.NewMem()}
	return g, g.memory.MkdirAll(l.dir, 0o755)
}

func (g guardFS) ours(name string) bool { return g.PathDir(name) == g.l.dir }

func (g guardFS) failed() bool { return g.l.fault.err() != nil }

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// judge makes the log fail if an operation on its directory or a file in it failed, and tells whether it did.
func (g guardFS) judge(op, name string, err error) bool {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrUnsupported) || errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	_ = g.l.fault.set(g.l.logger, fmt.Errorf("%s %s: %w", op, name, err)) // submit asks for it
	return true
}

// change runs an operation that changes a directory, on the disk or, after a failure, in memory.
func (g guardFS) change(op, name string, f func(vfs.FS) error) error {
	if !g.ours(name) {
		return f(g.FS)
	}
	if !g.failed() {
		err := f(g.FS)
		if !g.judge(op, name, err) {
			return err
		}
	}
	if err := f(g.memory); err != nil && !errors.Is(err, fs.ErrNotExist) { // the file may be one of the disk's
		return err
	}
	return nil
}

// file runs an operation that opens a file for writing, on the disk or, after a failure, in memory.
func (g guardFS) file(op, name string, f func() (vfs.File, error)) (vfs.File, error) {
	if !g.ours(name) {
		return f()
	}
	if !g.failed() {
		file, err := f()
		if err == nil {
			return guardFile{file, g, name}, nil
		}
		if !g.judge(op, name, err) {
			return nil, err
		}
	}
	return g.memory.Create(name, vfs.WriteCategoryUnspecified)
}

// Create creates a file. Before a marker, the directory is synced: a marker names another new file, and Pebble syncs the directory once for
// both. On a file system that does not keep the order of the two, a crash could leave a marker that names nothing.
func (g guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.ours(name) && strings.HasPrefix(g.PathBase(name), "marker.") {
		if err := g.syncDir(); err != nil {
			return nil, err
		}
	}
	if c == compactionWrites && g.ours(name) {
		// A compaction is not worth the memory, and nobody waits for it.
		if err := g.l.fault.refuse(); err != nil {
			return nil, err
		}
	}
	return g.file("create", name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

// compactionWrites is Pebble's name for what compactions write.
const compactionWrites = "pebble-compaction"

func (g guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.file("open", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

// ReuseForWrite gives Pebble a new file, and removes the old one, while bodies are erased: else the tail of an old
// write-ahead log would live on behind the new one's end.
func (g guardFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.ours(to) && g.l.scrubbing.Load() {
		f, err := g.file("create", to, func() (vfs.File, error) { return g.FS.Create(to, c) })
		if err != nil {
			return nil, err
		}
		if err := g.Remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	return g.file("reuse", to, func() (vfs.File, error) { return g.FS.ReuseForWrite(from, to, c) })
}

// Open opens a file for reading.
func (g guardFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if g.ours(name) && g.failed() {
		if f, err := g.memory.Open(name, o...); err == nil {
			return f, nil
		}
	}
	return g.FS.Open(name, o...)
}

func (g guardFS) Stat(name string) (vfs.FileInfo, error) {
	if g.ours(name) && g.failed() {
		if i, err := g.memory.Stat(name); err == nil {
			return i, nil
		}
	}
	return g.FS.Stat(name)
}

func (g guardFS) syncDir() error {
	d, err := g.OpenDir(g.l.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// OpenDir opens a directory for syncing it.
func (g guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil || name != g.l.dir {
		return f, err
	}
	return guardFile{f, g, name}, nil
}

func (g guardFS) Link(from, to string) error {
	return g.change("link", to, func(f vfs.FS) error { return f.Link(from, to) })
}

func (g guardFS) Rename(from, to string) error {
	return g.change("rename", to, func(f vfs.FS) error { return f.Rename(from, to) })
}

func (g guardFS) Remove(name string) error {
	return g.change("remove", name, func(f vfs.FS) error { return f.Remove(name) })
}

func (g guardFS) RemoveAll(name string) error {
	return g.change("remove", name, func(f vfs.FS) error { return f.RemoveAll(name) })
}

func (g guardFS) MkdirAll(name string, mode os.FileMode) error {
	return g.change("mkdir", name, func(f vfs.FS) error { return f.MkdirAll(name, mode) })
}

// Unwrap implements vfs.FS.
func (g guardFS) Unwrap() vfs.FS { return g.FS }

// guardFile is a file of the log's directory on the disk, open for writing, or the directory itself.
type guardFile struct {
	vfs.File
	g    guardFS
	name string
}

// change runs an operation that changes the file, unless the log has failed.
func (f guardFile) change(op string, run func() error) error {
	if !f.g.failed() {
		err := run()
		if !f.g.judge(op, f.name, err) {
			return err
		}
	}
	if isTable(f.name) {
		return f.g.l.fault.refuse()
	}
	return nil
}

func (f guardFile) Write(b []byte) (n int, err error) {
	err = f.change("write", func() error {
		_, err := f.File.Write(b)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f guardFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.change("write", func() error {
		_, err := f.File.WriteAt(b, at)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f guardFile) Sync() error     { return f.change("sync", f.File.Sync) }
func (f guardFile) SyncData() error { return f.change("sync", f.File.SyncData) }

func (f guardFile) SyncTo(length int64) (full bool, err error) {
	err = f.change("sync", func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (f guardFile) Preallocate(offset, length int64) error {
	return f.change("preallocate", func() error { return f.File.Preallocate(offset, length) })
}

// Stat answers for a write-ahead log also when the disk does not: Pebble asks for the size of one that it writes over, and
// ends the process when it gets none.
func (f guardFile) Stat() (vfs.FileInfo, error) {
	i, err := f.File.Stat()
	if isTable(f.name) || !f.g.judge("stat", f.name, err) {
		return i, err
	}
	return f.g.memory.Stat(f.g.l.dir)
}

// Close closes the file also after a failure: it frees the descriptor and changes nothing on disk.
func (f guardFile) Close() error {
	err := f.File.Close()
	if f.g.judge("close", f.name, err) && !isTable(f.name) {
		return nil
	}
	return err
}
