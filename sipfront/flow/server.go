package flow

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Limits of the flows of a server, and apart from them of those over UDP on one address. Zero fields get the defaults.
type Limits struct {
	Conns          int           // flows at once; default 30000
	Unknown        int           // of them, those that the application does not know yet; default 2000
	UnknownPerHost int           // the same from one host off loopback; default 64
	Idle           time.Duration // without a byte from the peer, keep-alives included; default 300 s
	Half           time.Duration // with a message half sent; default 30 s
	First          time.Duration // until the application knows the peer; default 30 s
	Handshake      time.Duration // of TLS; default 10 s
}

func (l *Limits) defaults() {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&l.Conns, 30000)
	set(&l.Unknown, 2000)
	set(&l.UnknownPerHost, 64)
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	dur(&l.Idle, 300*time.Second)
	dur(&l.Half, 30*time.Second)
	dur(&l.First, 30*time.Second)
	dur(&l.Handshake, 10*time.Second)
}

// Server owns the connections of all listeners.
type Server struct {
	limits  Limits
	handler Handler
	account *account

	mu        sync.Mutex
	conns     map[*Conn]struct{}
	listeners map[net.Listener]struct{}
	stopped   bool
	wg        sync.WaitGroup
}

// NewServer makes a server without listeners.
func NewServer(l Limits, h Handler) *Server {
	l.defaults()
	s := &Server{limits: l, handler: h, conns: map[*Conn]struct{}{}, listeners: map[net.Listener]struct{}{}}
	s.account = newAccount(&s.limits)
	return s
}

// ErrStopped says that the server takes no more connections.
var ErrStopped = errors.New("flow server is stopped")

// Serve accepts connections until the listener is closed or the server is stopped: then it returns nil. With a
// configuration the connections are TLS. Each connection's App starts as app.
func (s *Server) Serve(l net.Listener, conf *tls.Config, app any) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return ErrStopped
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.accept(nc, conf, app)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		// Out of descriptors, or a peer that left the backlog: go on, but do not spin.
		if pause = min(max(2*pause, 5*time.Millisecond), time.Second); pause == time.Second {
			s.handler.Refused("accept_error")
		}
		time.Sleep(pause)
		s.mu.Lock()
		stopped := s.stopped
		s.mu.Unlock()
		if stopped {
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
	}
}

func (s *Server) accept(nc net.Conn, conf *tls.Config, app any) {
	c := newConn(nc, conf)
	c.account, c.App = s.account, app
	if reason := s.admit(c); reason != "" {
		nc.Close() //nolint:errcheck // nothing was written
		s.handler.Refused(reason)
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.forget(c)
		if c.secure {
			ctx, cancel := context.WithTimeout(context.Background(), s.limits.Handshake)
			err := c.nc.(*tls.Conn).HandshakeContext(ctx)
			cancel()
			if err != nil {
				c.Close(ClosedHandshake)
				s.handler.Refused(ClosedHandshake)
				return
			}
		}
		c.read(s.handler)
	}()
}

func newConn(nc net.Conn, conf *tls.Config) *Conn {
	c := &Conn{nc: nc, tcp: nc, remote: nc.RemoteAddr(), local: nc.LocalAddr(), opened: time.Now()}
	c.lastRead.Store(c.opened.UnixNano())
	if t, ok := nc.(*net.TCPConn); ok {
		tune(t)
		if conf == nil {
			c.initTry(t)
		}
	}
	if conf != nil {
		c.secure, c.nc = true, tls.Server(nc, conf)
	}
	return c
}

// admit counts a new connection in, or says why not.
func (s *Server) admit(c *Conn) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return "stopped"
	}
	if reason := s.account.open(c.remote); reason != "" {
		return reason
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return ""
}

func (s *Server) forget(c *Conn) {
	c.Known()
	s.account.end()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// Count returns the number of connections.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Conns returns the connections.
func (s *Server) Conns() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// Sweep closes the connections that are over a time limit. The application calls it about once a second: one clock
// for all instead of a timer for each.
func (s *Server) Sweep(now time.Time) {
	for _, c := range s.Conns() {
		if reason := c.overdue(now, &s.limits); reason != "" {
			c.Close(reason)
		}
	}
}

func (c *Conn) overdue(now time.Time, l *Limits) string {
	nanos := now.UnixNano()
	half := c.halfSince.Load()
	switch {
	case nanos-c.lastRead.Load() > int64(l.Idle):
		return ClosedIdle
	case half != 0 && nanos-half > int64(l.Half):
		return ClosedHalf
	case !c.known.Load() && now.Sub(c.opened) > l.First:
		return ClosedSilent
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head < len(c.queue) && c.age()-c.queue[c.head].at > uint32(maxQueuedAge/time.Second) {
		return ClosedSlow
	}
	return ""
}

// StopAccepting closes the listeners.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for l := range s.listeners {
		l.Close() //nolint:errcheck // it is closed either way
	}
}

// Wait waits until the last connection is gone, or ctx ends.
func (s *Server) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
