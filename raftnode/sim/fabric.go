package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"parley/log/event"
	"parley/raftnode"
)

// fabric is the network of the pool, in memory and in virtual time. A stream behaves as TCP does: bytes keep their
// order; a cut link delays them until it is healed, or for ever if the reader gives up first; the end of a stream is
// news that needs an open link too.
type fabric struct {
	mu      sync.Mutex
	rng     *rand.Rand
	delay   time.Duration // of a chunk, at most
	ports   map[event.NodeID]*port
	cut     map[link]bool
	conns   map[*conn]struct{}
	changed chan struct{} // closed and replaced when a link or a port changes
}

type link struct{ from, to event.NodeID }

func newFabric(rng *rand.Rand, delay time.Duration) *fabric {
	return &fabric{rng: rng, delay: delay, ports: map[event.NodeID]*port{}, cut: map[link]bool{}, conns: map[*conn]struct{}{},
		changed: make(chan struct{})}
}

// update changes something and wakes everybody whom it may concern.
func (f *fabric) update(change func()) {
	f.mu.Lock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
	conns := make([]*conn, 0, len(f.conns))
	for c := range f.conns {
		conns = append(conns, c)
	}
	f.mu.Unlock()
	for _, c := range conns {
		c.in.kick()
	}
}

func (f *fabric) sever(from, to event.NodeID) { f.update(func() { f.cut[link{from, to}] = true }) }
func (f *fabric) heal()                       { f.update(func() { clear(f.cut) }) }

func (f *fabric) open(from, to event.NodeID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.cut[link{from, to}]
}

func (f *fabric) arrival() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.delay == 0 {
		return time.Now()
	}
	return time.Now().Add(time.Duration(f.rng.Int64N(int64(f.delay))))
}

// attach plugs a node in.
func (f *fabric) attach(id event.NodeID) *port {
	p := &port{f: f, id: id, calls: make(chan call), done: make(chan struct{})}
	f.update(func() { f.ports[id] = p })
	return p
}

// unplug is the end of a node as the network sees it: no byte leaves it any more.
func (f *fabric) unplug(id event.NodeID) {
	var mine []*conn
	f.update(func() {
		if p := f.ports[id]; p != nil {
			p.unplugged = true
			delete(f.ports, id)
		}
		for c := range f.conns {
			if c.self == id {
				mine = append(mine, c)
			}
		}
	})
	for _, c := range mine {
		c.Close()
	}
}

// port is a node's end of the network.
type port struct {
	f         *fabric
	id        event.NodeID
	calls     chan call
	done      chan struct{}
	once      sync.Once
	unplugged bool // guarded by f.mu
}

type call struct {
	conn     *conn
	from     event.NodeID
	protocol raftnode.Protocol
}

var _ raftnode.Network = (*port)(nil)

// Dial implements raftnode.Network.
func (p *port) Dial(ctx context.Context, to event.NodeID, _ string, protocol raftnode.Protocol) (net.Conn, error) {
	for {
		p.f.mu.Lock()
		target, self, changed := p.f.ports[to], p.unplugged, p.f.changed
		open := !p.f.cut[link{p.id, to}] && !p.f.cut[link{to, p.id}]
		p.f.mu.Unlock()
		switch {
		case self:
			return nil, errors.New("this node is unplugged")
		case open && target == nil:
			return nil, fmt.Errorf("node %s: connection refused", to)
		case open:
			here, there := p.f.pair(p.id, to)
			select {
			case target.calls <- call{there, p.id, protocol}:
				return here, nil
			case <-target.done:
			case <-ctx.Done():
			}
			here.Close()
			there.Close()
			return nil, fmt.Errorf("node %s: no answer: %w", to, context.Cause(ctx))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("node %s: no answer: %w", to, ctx.Err())
		}
	}
}

// Accept implements raftnode.Network.
func (p *port) Accept() (net.Conn, event.NodeID, raftnode.Protocol, error) {
	select {
	case c := <-p.calls:
		return c.conn, c.from, c.protocol, nil
	case <-p.done:
		return nil, "", "", net.ErrClosed
	}
}

// Close implements raftnode.Network.
func (p *port) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (f *fabric) pair(a, b event.NodeID) (*conn, *conn) {
	ab, ba := newPipe(f, a, b), newPipe(f, b, a)
	x, y := &conn{f: f, self: a, peer: b, in: ba, out: ab}, &conn{f: f, self: b, peer: a, in: ab, out: ba}
	f.mu.Lock()
	f.conns[x], f.conns[y] = struct{}{}, struct{}{}
	f.mu.Unlock()
	return x, y
}

// conn is one end of a stream.
type conn struct {
	f          *fabric
	self, peer event.NodeID
	in, out    *pipe
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) { return c.in.read(b) }

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close implements net.Conn.
func (c *conn) Close() error {
	c.f.mu.Lock()
	delete(c.f.conns, c)
	c.f.mu.Unlock()
	c.in.end(func(p *pipe) { p.noReader = true })
	c.out.end(func(p *pipe) { p.noWriter = true })
	return nil
}

// The rest of net.Conn.
func (c *conn) LocalAddr() net.Addr  { return addr(c.self) }
func (c *conn) RemoteAddr() net.Addr { return addr(c.peer) }
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.end(func(p *pipe) { p.readBy = t })
	return nil
}
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.end(func(p *pipe) { p.writeBy = t })
	return nil
}

type addr event.NodeID

func (a addr) Network() string { return "sim" }
func (a addr) String() string  { return string(a) }

// pipe is one direction of a stream.
type pipe struct {
	f        *fabric
	from, to event.NodeID

	mu                 sync.Mutex
	chunks             []chunk
	size               int
	noReader, noWriter bool
	readBy, writeBy    time.Time
	changed            chan struct{}
}

type chunk struct {
	data []byte
	at   time.Time // of arrival
}

// window is how much a stream holds before its writer waits.
const window = 4 << 20

func newPipe(f *fabric, from, to event.NodeID) *pipe {
	return &pipe{f: f, from: from, to: to, changed: make(chan struct{})}
}

func (p *pipe) kick() { p.end(func(*pipe) {}) }

func (p *pipe) end(change func(*pipe)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) write(b []byte) (int, error) {
	for {
		at := p.f.arrival()
		p.mu.Lock()
		switch now := time.Now(); {
		case p.noWriter:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case p.noReader && p.f.open(p.to, p.from): // the reset arrives
			p.mu.Unlock()
			return 0, errors.New("connection reset")
		case !p.writeBy.IsZero() && !now.Before(p.writeBy):
			p.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case p.size < window:
			if n := len(p.chunks); n > 0 && at.Before(p.chunks[n-1].at) {
				at = p.chunks[n-1].at
			}
			p.chunks = append(p.chunks, chunk{append([]byte(nil), b...), at})
			p.size += len(b)
			close(p.changed)
			p.changed = make(chan struct{})
			p.mu.Unlock()
			return len(b), nil
		}
		p.wait(p.writeBy)
	}
}

func (p *pipe) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		open := p.f.open(p.from, p.to)
		p.mu.Lock()
		now, until := time.Now(), p.readBy
		switch {
		case p.noReader:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case len(p.chunks) > 0 && open && !now.Before(p.chunks[0].at):
			c := &p.chunks[0]
			n := copy(b, c.data)
			p.size -= n
			if c.data = c.data[n:]; len(c.data) == 0 {
				p.chunks = p.chunks[1:]
			}
			close(p.changed)
			p.changed = make(chan struct{})
			p.mu.Unlock()
			return n, nil
		case len(p.chunks) == 0 && p.noWriter && open:
			p.mu.Unlock()
			return 0, io.EOF
		case !p.readBy.IsZero() && !now.Before(p.readBy):
			p.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(p.chunks) > 0 && open && (until.IsZero() || p.chunks[0].at.Before(until)):
			until = p.chunks[0].at
		}
		p.wait(until)
	}
}

// wait is called with mu held, and returns without it when something has changed or until has come.
func (p *pipe) wait(until time.Time) {
	changed := p.changed
	p.mu.Unlock()
	if until.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	}
}
