//go:build unix

package witness

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps other processes out until the function that it returns is called, or the process ends.
func lock(name string) (unlock func() error, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(ErrBusy, err, f.Close())
	}
	return f.Close, nil // closing gives the lock back
}
