//go:build !linux

package readonly

import "io"

// probeLock does not know how to look at a lock here without writing its file. The caller must know that the node has stopped.
func probeLock(string) (io.Closer, error) { return nopCloser{}, nil }
