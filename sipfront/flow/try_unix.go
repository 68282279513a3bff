//go:build unix

package flow

import (
	"net"
	"syscall"
	"time"
)

// initTry prepares the non-blocking write. The function is made once, so that a write allocates nothing.
func (c *Conn) initTry(t *net.TCPConn) {
	raw, err := t.SyscallConn()
	if err != nil {
		return // the writer goroutine does it all
	}
	c.raw = raw
	c.tryFn = func(fd uintptr) bool {
		for {
			c.tryN, c.tryErr = syscall.Write(int(fd), c.tryBuf)
			if c.tryErr != syscall.EINTR {
				return true
			}
		}
	}
}

// tryWrite writes what the kernel takes at once, perhaps nothing.
func (c *Conn) tryWrite(b []byte) (int, error) {
	c.tryBuf = b
	err := c.raw.Write(c.tryFn)
	c.tryBuf = nil
	switch {
	case err != nil:
		return 0, err
	case c.tryErr == syscall.EAGAIN:
		return 0, nil
	case c.tryErr != nil:
		return 0, c.tryErr
	}
	return c.tryN, nil
}

// tune sets what a chat connection wants: a peer that vanished without a word is noticed within 30 s.
func tune(t *net.TCPConn) {
	// An option that a system lacks is no reason to refuse the connection.
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3})
	if raw, err := t.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { setUserTimeout(fd, 30*time.Second) })
	}
}
