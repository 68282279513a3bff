package raftnode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"parley/log/event"
)

// Protocol is what a stream between two nodes speaks. The names are ALPN protocol names (RFC 7301): the one peer
// port of a node serves both.
type Protocol string

// The protocols.
const (
	ProtocolRaft    Protocol = "parley-raft/1"
	ProtocolForward Protocol = "parley-forward/1"
)

// Network brings streams to peers and from them, and vouches for who is at the other end.
type Network interface {
	// Dial opens a stream to the node named, at the address given. It fails if another node answers there.
	Dial(ctx context.Context, to event.NodeID, addr string, p Protocol) (net.Conn, error)
	// Accept returns the next stream from a peer. Only Close makes it fail for good, with net.ErrClosed.
	Accept() (net.Conn, event.NodeID, Protocol, error)
	// Close ends Accept. Streams stay open.
	Close() error
}

const (
	handshakeTimeout = 5 * time.Second
	maxHandshakes    = 64 // at a time: a port scan must not cost memory
)

// tlsNetwork is mutual TLS, both sides by a certificate of the pool's authority that names the node.
type tlsNetwork struct {
	listener net.Listener
	server   *tls.Config
	client   func(event.NodeID) *tls.Config
	accepted chan accepted
	ctx      context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

type accepted struct {
	conn     net.Conn
	from     event.NodeID
	protocol Protocol
}

// TLS returns the network of a server, on a TCP listener that it takes over. server must verify client certificates
// against the pool's authority; client returns the configuration for calling a node, which must verify that the
// answering certificate is of the authority and names that node. PeerName says where the name stands.
func TLS(listener net.Listener, server *tls.Config, client func(event.NodeID) *tls.Config) Network {
	n := &tlsNetwork{listener: listener, server: peerServer(server), client: client, accepted: make(chan accepted)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.work.Go(n.listen)
	return n
}

// peerServer insists on what this package relies on, whatever the caller's configuration says.
func peerServer(c *tls.Config) *tls.Config {
	strict := func(c *tls.Config) *tls.Config {
		c = c.Clone()
		c.MinVersion = tls.VersionTLS13
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.NextProtos = []string{string(ProtocolRaft), string(ProtocolForward)}
		return c
	}
	out := strict(c)
	if choose := c.GetConfigForClient; choose != nil {
		out.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(h)
			if err != nil || chosen == nil {
				return nil, err
			}
			return strict(chosen), nil
		}
	}
	return out
}

// PeerName returns which node a verified peer is: the common name of its certificate, which must be among the
// certificate's DNS names too, so that a certificate made for something else is not mistaken for a node's.
func PeerName(s tls.ConnectionState) (event.NodeID, error) {
	if len(s.VerifiedChains) == 0 || len(s.PeerCertificates) == 0 {
		return "", errors.New("peer has no verified certificate")
	}
	cert := s.PeerCertificates[0]
	name := cert.Subject.CommonName
	if name == "" {
		return "", errors.New("peer's certificate has no common name")
	}
	if err := cert.VerifyHostname(name); err != nil {
		return "", fmt.Errorf("peer's certificate does not name a node: %w", err)
	}
	return event.NodeID(name), nil
}

func (n *tlsNetwork) listen() {
	slots := make(chan struct{}, maxHandshakes)
	for {
		conn, err := n.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || n.ctx.Err() != nil {
				return
			}
			select { // out of file descriptors, most likely: they come back
			case <-time.After(50 * time.Millisecond):
				continue
			case <-n.ctx.Done():
				return
			}
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		n.work.Go(func() {
			defer func() { <-slots }()
			n.handshake(conn)
		})
	}
}

// handshake lets in who proves to be a node. Who does not is not worth a log line: anybody can connect.
func (n *tlsNetwork) handshake(raw net.Conn) {
	conn := tls.Server(raw, n.server)
	ctx, cancel := context.WithTimeout(n.ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return
	}
	s := conn.ConnectionState()
	from, err := PeerName(s)
	if p := Protocol(s.NegotiatedProtocol); err == nil && (p == ProtocolRaft || p == ProtocolForward) {
		select {
		case n.accepted <- accepted{conn, from, p}:
			return
		case <-n.ctx.Done():
		}
	}
	conn.Close()
}

// Accept implements Network.
func (n *tlsNetwork) Accept() (net.Conn, event.NodeID, Protocol, error) {
	select {
	case a := <-n.accepted:
		return a.conn, a.from, a.protocol, nil
	case <-n.ctx.Done():
		return nil, "", "", net.ErrClosed
	}
}

// Dial implements Network.
func (n *tlsNetwork) Dial(ctx context.Context, to event.NodeID, addr string, p Protocol) (net.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial node %s: %w", to, err)
	}
	config := n.client(to).Clone()
	config.MinVersion = tls.VersionTLS13
	config.NextProtos = []string{string(p)}
	conn := tls.Client(raw, config)
	err = conn.HandshakeContext(ctx)
	if err == nil {
		var name event.NodeID
		if name, err = PeerName(conn.ConnectionState()); err == nil && name != to {
			err = fmt.Errorf("node %s answers", name)
		}
	}
	if err == nil && conn.ConnectionState().NegotiatedProtocol != string(p) {
		err = fmt.Errorf("it does not speak %s", p)
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("dial node %s at %s: %w", to, addr, err)
	}
	return conn, nil
}

// Close implements Network.
func (n *tlsNetwork) Close() error {
	n.cancel()
	err := n.listener.Close()
	n.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
