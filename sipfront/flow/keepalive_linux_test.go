package flow

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// TestHalfOpen: the kernel gives up a peer that vanished without a word: within 30 s if nothing is sent to it, by
// keep-alives, and within 30 s of the first byte that it does not acknowledge (RFC 5482). The reader then gets an
// error, and the connection ends like any other.
func TestHalfOpen(t *testing.T) {
	_, c, _ := pair(t)
	raw, err := c.tcp.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	get := func(level, option int) (n int) {
		if e := raw.Control(func(fd uintptr) { n, err = syscall.GetsockoptInt(int(fd), level, option) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		return n
	}
	const userTimeout = 18 // TCP_USER_TIMEOUT, which package syscall does not name
	idle, interval, count := get(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE), get(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL), get(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
	if get(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) == 0 || idle+interval*count > 30 {
		t.Errorf("keep-alive after %d s, %d times every %d s", idle, count, interval)
	}
	if ms := get(syscall.IPPROTO_TCP, userTimeout); ms <= 0 || time.Duration(ms)*time.Millisecond > 30*time.Second {
		t.Errorf("bytes may stay unacknowledged for %d ms", ms)
	}
}
