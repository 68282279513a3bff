package flow

import (
	"syscall"
	"time"
)

// setUserTimeout limits for how long sent bytes may stay unacknowledged (RFC 5482; TCP_USER_TIMEOUT is 18 on Linux).
func setUserTimeout(fd uintptr, d time.Duration) {
	const tcpUserTimeout = 18
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d/time.Millisecond))
}
