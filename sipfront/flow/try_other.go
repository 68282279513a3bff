//go:build !unix

package flow

import (
	"errors"
	"net"
	"time"
)

func (c *Conn) initTry(*net.TCPConn) {}

func (c *Conn) tryWrite([]byte) (int, error) { return 0, errors.ErrUnsupported }

func tune(t *net.TCPConn) {
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3})
}
