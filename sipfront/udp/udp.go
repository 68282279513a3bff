// Package udp serves SIP over UDP with sipgo's user agent: its transaction layer repeats what is lost and recognises
// repetitions. Above it the same application works as on streams. What does not fit a datagram (1,300 bytes) is not
// sent: the flow is closed and the client has to come over TCP or TLS, which is what chat is for.
package udp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"parley/sipfront/flow"
)

const (
	maxSources = 65536 // addresses that sipgo remembers before the user agent is made anew
	maxBusy    = 512   // datagrams at work; more are dropped, and repeated by their senders
)

// Server is one UDP listener.
type Server struct {
	conn     net.PacketConn
	app      any
	flows    *flow.Datagrams
	parser   *sip.Parser
	patience time.Duration
	log      *slog.Logger
	refused  func(reason string)
	client   *sipgo.Client
	busy     atomic.Int64

	mu      sync.Mutex
	waiting map[string]sip.ServerTransaction // requests without a final answer, by Call-ID and CSeq
}

// Config says what a Server works with.
type Config struct {
	Conn     net.PacketConn
	App      any // what the App of each flow starts as
	Flows    *flow.Datagrams
	Patience time.Duration // for the answer to a request of ours
	Logger   *slog.Logger
	Refused  func(reason string) // counts what is dropped
}

// New makes a server.
func New(c Config) *Server {
	return &Server{conn: c.Conn, app: c.App, flows: c.Flows, parser: sip.NewParser(), patience: c.Patience, log: c.Logger, refused: c.Refused,
		waiting: map[string]sip.ServerTransaction{}}
}

// Serve serves until the socket is closed.
func (s *Server) Serve() error {
	for {
		again, err := s.serve()
		if err != nil || !again {
			return err
		}
	}
}

// serve runs one user agent. sipgo remembers every address that it ever heard, which whoever forges addresses could make
// it do without end; so after many of them the agent is made anew on the same socket.
func (s *Server) serve() (again bool, err error) {
	quiet := slog.New(slog.DiscardHandler) // it logs whole messages, credentials included, when they do not parse
	pc := &packetConn{PacketConn: s.conn, heard: s.flows.Heard, seen: map[string]struct{}{}}
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("parley"),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(quiet)),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet),
			sip.WithTransportLayerReadFilter(func(_ sip.TransportReadProps, data []byte) ([]byte, error) {
				if s.busy.Load() >= maxBusy {
					s.refused("udp_busy")
					return nil, nil
				}
				return data, nil
			})))
	if err != nil {
		return false, fmt.Errorf("start the UDP user agent: %w", err)
	}
	defer ua.Close() //nolint:errcheck // the socket is ours
	srv, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return false, fmt.Errorf("start the UDP server: %w", err)
	}
	if s.client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(quiet)); err != nil {
		return false, fmt.Errorf("start the UDP client: %w", err)
	}
	srv.OnNoRoute(s.request)
	if err := srv.ServeUDP(pc); err != nil && !errors.Is(err, net.ErrClosed) {
		return false, fmt.Errorf("serve UDP: %w", err)
	}
	return pc.full(), nil
}

// packetConn ends a user agent's reading when it has heard too many addresses, and keeps it from closing the socket.
// It tells the flows about every datagram, because sipgo keeps to itself what is a keep-alive or a repetition.
type packetConn struct {
	net.PacketConn
	heard func(net.Addr)
	mu    sync.Mutex
	seen  map[string]struct{}
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.full() {
		return 0, nil, net.ErrClosed
	}
	n, from, err := c.PacketConn.ReadFrom(b)
	if err == nil {
		c.heard(from)
		c.mu.Lock()
		c.seen[from.String()] = struct{}{}
		c.mu.Unlock()
	}
	return n, from, err
}

func (c *packetConn) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen) >= maxSources
}

func (c *packetConn) Close() error { return nil }

// request takes a request from sipgo, on a goroutine of its own.
func (s *Server) request(req *sip.Request, tx sip.ServerTransaction) {
	s.busy.Add(1)
	defer s.busy.Add(-1)
	remote, err := net.ResolveUDPAddr("udp", req.Source())
	if err != nil {
		return // it came from there, so this does not happen
	}
	if tx != nil && req.Method != sip.ACK {
		key := transactionKey(req)
		s.mu.Lock()
		s.waiting[key] = tx
		s.mu.Unlock()
		tx.OnTerminate(func(string, error) { s.forget(key, tx) })
	}
	s.flows.Receive(s.conn.LocalAddr(), remote, s.app, []byte(req.String()), func(raw []byte) { s.send(remote, raw) })
}

func transactionKey(m sip.Message) string {
	id, seq := m.CallID(), m.CSeq()
	if id == nil || seq == nil {
		return ""
	}
	return id.Value() + " " + seq.Value()
}

func (s *Server) forget(key string, tx sip.ServerTransaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[key] == tx {
		delete(s.waiting, key)
	}
}

// send sends one message of ours; it is called under the flow's lock and does not wait.
func (s *Server) send(remote net.Addr, raw []byte) {
	msg, err := s.parser.ParseSIP(raw)
	if err != nil {
		s.log.Error("own message does not parse", slog.String("error", err.Error()))
		return
	}
	msg.SetTransport("UDP")
	msg.SetDestination(remote.String())
	switch m := msg.(type) {
	case *sip.Response:
		key := transactionKey(m)
		s.mu.Lock()
		tx := s.waiting[key]
		s.mu.Unlock()
		if tx == nil {
			return
		}
		go func() {
			if err := tx.Respond(m); err != nil {
				s.refused("udp_answer")
			}
		}()
	case *sip.Request:
		go s.transact(remote, m)
	}
}

// transact sends a request and brings its answer back to the flow; sipgo repeats it until there is one.
func (s *Server) transact(remote net.Addr, req *sip.Request) {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	asIs := func(*sipgo.Client, *sip.Request) error { return nil }
	tx, err := s.client.TransactionRequest(ctx, req, asIs)
	if err != nil {
		s.close(remote, err)
		return
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if res.StatusCode >= 200 {
				s.flows.Receive(s.conn.LocalAddr(), remote, s.app, []byte(res.String()), func(raw []byte) { s.send(remote, raw) })
				return
			}
		case <-tx.Done():
			s.close(remote, tx.Err())
			return
		case <-ctx.Done():
			s.close(remote, ctx.Err())
			return
		}
	}
}

// close ends a flow that a message could not be brought to.
func (s *Server) close(remote net.Addr, err error) {
	reason := flow.ClosedUnanswered
	if errors.Is(err, sip.ErrUDPMTUCongestion) {
		reason = "too_large_for_udp"
	}
	for _, c := range s.flows.Conns() {
		if c.Remote().String() == remote.String() {
			c.Close(reason)
		}
	}
}
