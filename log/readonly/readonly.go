// Package readonly opens the log's store without changing anything.
package readonly

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	// Err says that something would have changed the store.
	Err = errors.New("log is open read-only")
	// ErrInUse says that a running node has the store open.
	ErrInUse = errors.New("log is in use by another process")
)

// FS cuts off everything that changes a file system. Pebble's read-only mode still takes its lock by creating a file.
type FS struct{ vfs.FS }

func refuse(op, name string) error { return fmt.Errorf("%s %s: %w", op, name, Err) }

func (FS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, refuse("create", name)
}

func (FS) Link(_, name string) error { return refuse("link", name) }

func (FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, refuse("write", name)
}

func (FS) Remove(name string) error    { return refuse("remove", name) }
func (FS) RemoveAll(name string) error { return refuse("remove", name) }
func (FS) Rename(_, name string) error { return refuse("rename", name) }

func (FS) ReuseForWrite(_, name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, refuse("reuse", name)
}

func (FS) MkdirAll(name string, _ os.FileMode) error { return refuse("mkdir", name) }

// Lock finds out whether a running node holds the lock, without writing the file.
func (f FS) Lock(name string) (io.Closer, error) {
	if vfs.Root(f.FS) != vfs.Default {
		return nopCloser{}, nil
	}
	return probeLock(name)
}

// Unwrap implements vfs.FS.
func (f FS) Unwrap() vfs.FS { return f.FS }

type nopCloser struct{}

func (nopCloser) Close() error { return nil }
