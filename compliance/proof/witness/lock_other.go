//go:build !unix

package witness

import (
	"errors"
	"os"
)

// lock keeps other processes out until the function that it returns is called. Where there are no locks that end with their
// process, a crash leaves the file, and somebody has to remove it.
func lock(name string) (unlock func() error, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(ErrBusy, err)
	}
	return func() error { return errors.Join(f.Close(), os.Remove(name)) }, nil
}
