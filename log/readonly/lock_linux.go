package readonly

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Commands of fcntl(2) for open file description locks; package syscall does not name them.
const (
	fOFDGetLock = 36
	fOFDSetLock = 37
)

// descriptor is an open file that nobody closes behind our back. An os.File would be closed by the garbage collector.
type descriptor int

func (d descriptor) Close() error { return syscall.Close(int(d)) }

// probeLock takes a shared lock on the lock file of a store, which conflicts with the exclusive one of a running node, without
// writing to it. Such a lock belongs to the open file, unlike that of the node, which belongs to its process.
func probeLock(name string) (io.Closer, error) {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.ENOENT) {
		return nopCloser{}, nil // a copy without a lock file
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	d := descriptor(fd)
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	err = syscall.FcntlFlock(uintptr(fd), fOFDSetLock, &lock)
	if err == nil {
		return d, nil
	}
	if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES) {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), d.Close())
	}
	holder := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	if syscall.FcntlFlock(uintptr(fd), fOFDGetLock, &holder) == nil && int(holder.Pid) == os.Getpid() {
		// The log is open in this very process, and closing any descriptor of its lock file would take that lock away
		// (fcntl(2)). So this one stays open, for as long as the process lives.
		return nil, fmt.Errorf("%s is held by this process: %w", name, ErrInUse)
	}
	return nil, errors.Join(fmt.Errorf("%s: %w", name, ErrInUse), d.Close())
}
