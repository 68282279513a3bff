package raftnode

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"parley/log/event"
)

// streamLayer gives raft its streams, and the forwarding its own, from the one peer port.
type streamLayer struct {
	node     *Node
	incoming chan net.Conn // raft's
	done     chan struct{}
	once     sync.Once
	closeErr error
	work     sync.WaitGroup

	mu     sync.Mutex
	conns  map[*trackedConn]struct{} // raft's, in and out
	closed bool
}

func newStreamLayer(n *Node) *streamLayer {
	return &streamLayer{node: n, incoming: make(chan net.Conn), done: make(chan struct{}), conns: map[*trackedConn]struct{}{}}
}

// start begins to accept. All else must be there already.
func (l *streamLayer) start() { l.work.Go(l.dispatch) }

func (l *streamLayer) dispatch() {
	for {
		conn, from, protocol, err := l.node.cfg.Network.Accept()
		if err != nil {
			return
		}
		if protocol == ProtocolForward {
			l.node.inbound.accept(conn, from)
			continue
		}
		if conn = l.track(conn); conn == nil {
			return
		}
		select {
		case l.incoming <- conn:
		case <-l.done:
			conn.Close()
			return
		}
	}
}

// trackedConn is a stream that ends with the node.
type trackedConn struct {
	net.Conn
	layer *streamLayer
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

// track returns nil, and closes conn, if the layer is closed.
func (l *streamLayer) track(conn net.Conn) net.Conn {
	c := &trackedConn{Conn: conn, layer: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		conn.Close()
		return nil
	}
	l.conns[c] = struct{}{}
	return c
}

// closeConns ends raft's streams, now and to come.
func (l *streamLayer) closeConns() {
	l.mu.Lock()
	l.closed = true
	conns := l.conns
	l.conns = map[*trackedConn]struct{}{}
	l.mu.Unlock()
	for c := range conns {
		c.Conn.Close()
	}
}

// Accept implements raft.StreamLayer.
func (l *streamLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements raft.StreamLayer. raft's transport closes it, and so does the node.
func (l *streamLayer) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.closeErr = l.node.cfg.Network.Close()
		l.closeConns()
	})
	return l.closeErr
}

func (l *streamLayer) wait() { l.work.Wait() }

// Addr implements raft.StreamLayer: the address that this node tells the others.
func (l *streamLayer) Addr() net.Addr { return advertised(l.node.cfg.Advertise) }

type advertised string

func (a advertised) Network() string { return "tcp" }
func (a advertised) String() string  { return string(a) }

// Dial implements raft.StreamLayer. Raft knows the peer by its address; the membership says which node that must be.
func (l *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	r := l.node.ready.Load()
	if r == nil {
		return nil, fmt.Errorf("dial %s: node is starting", addr)
	}
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Address != addr {
			continue
		}
		ctx, cancel := context.WithTimeout(l.node.ctx, timeout)
		defer cancel()
		conn, err := l.node.cfg.Network.Dial(ctx, event.NodeID(s.ID), string(addr), ProtocolRaft)
		if err != nil {
			return nil, err
		}
		if conn = l.track(conn); conn == nil {
			return nil, net.ErrClosed
		}
		return conn, nil
	}
	return nil, fmt.Errorf("dial %s: no member has this address", addr)
}

// transport is raft's own, except that it takes note of who has answered.
type transport struct {
	*raft.NetworkTransport
	contacts *contacts
}

func newTransport(n *Node, logger *hcLogger) *transport {
	return &transport{contacts: n.contacts, NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  n.streams,
		MaxPool:                 3,
		MaxRPCsInFlight:         1, // no pipeline: after a follower's refusal it can wedge until the leader restarts
		Timeout:                 n.cfg.Timers.RPC,
		Logger:                  logger,
		MsgpackUseNewTimeFormat: true,
	})}
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	sent := time.Now()
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil {
		t.contacts.note(id, sent, args, resp)
	}
	return err
}

// contacts is what this node, as a leader, knows of the others. Raft knows it too, but does not tell.
type contacts struct {
	mu     sync.Mutex
	peers  map[raft.ServerID]contact
	since  time.Time     // when this node began to lead
	change chan struct{} // closed at the next note, if somebody waits
}

type contact struct {
	last  time.Time   // of the last answer
	sent  time.Time   // when the newest call was sent that the peer accepted in term
	term  uint64      //
	match event.Index // up to which its log is known to equal ours
}

func newContacts() *contacts { return &contacts{peers: map[raft.ServerID]contact{}} }

func (c *contacts) note(id raft.ServerID, sent time.Time, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[id]
	p.last = time.Now()
	// An answer of our own term says that the peer follows us, whether or not the entries fitted.
	if resp.Term == args.Term {
		if p.term != args.Term {
			p.term, p.match, p.sent = args.Term, 0, time.Time{}
		}
		if sent.After(p.sent) {
			p.sent = sent
		}
		if n := args.PrevLogEntry + uint64(len(args.Entries)); resp.Success && n > 0 {
			p.match = max(p.match, event.Index(n))
		}
	}
	c.peers[id] = p
	if c.change != nil {
		close(c.change)
		c.change = nil
	}
}

// changed returns a channel that is closed at the next answer of any peer.
func (c *contacts) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.change == nil {
		c.change = make(chan struct{})
	}
	return c.change
}

// acked reports whether the peer took something in this term that was sent after asked.
func (c *contacts) acked(id raft.ServerID, term uint64, asked time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[id]
	return p.term == term && p.sent.After(asked)
}

// lead forgets what an earlier term knew. Peers get the time from now on to answer before they count as silent.
func (c *contacts) lead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
	clear(c.peers)
}

// of returns what is known of a peer; last is never before the leadership began.
func (c *contacts) of(id raft.ServerID) contact {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[id]
	if p.last.Before(c.since) {
		p.last = c.since
	}
	return p
}
