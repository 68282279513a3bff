// Package udp serves SIP over UDP with sipgo's user agent: its transaction layer repeats what is lost and recognises
// repetitions. Above it the same application works as on streams. A request that is too long for a datagram (1,300 bytes,
// except on this host) is not sent: the flow is closed and the client has to come over TCP or TLS, which is what chat is
// for.
package udp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
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
	maxWaiting = 256   // requests that wait for one peer; as many as package flow holds for a connection
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
	waiting map[string]*exchange          // requests without a final answer, by Call-ID and CSeq
	unacked map[string]context.CancelFunc // ends the repetition of a 200 to INVITE, by Call-ID and number
	outbox  map[string][]*sip.Request     // of the peers that a request is under way to: those behind it
}

// exchange is a request on its way to its answer.
type exchange struct {
	tx       sip.ServerTransaction
	answered chan struct{} // closed when the answer was sent
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
		waiting: map[string]*exchange{}, unacked: map[string]context.CancelFunc{}, outbox: map[string][]*sip.Request{}}
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

// request takes a request from sipgo, on a goroutine of its own. It returns when the request is answered: sipgo ends a
// transaction without an answer when this function returns, and would then take a repetition for a new request.
func (s *Server) request(req *sip.Request, tx sip.ServerTransaction) {
	s.busy.Add(1)
	defer s.busy.Add(-1)
	remote, err := net.ResolveUDPAddr("udp", req.Source())
	if err != nil {
		return // it came from there, so this does not happen
	}
	receive := func() {
		s.flows.Receive(s.conn.LocalAddr(), remote, s.app, []byte(req.String()), func(raw []byte) { s.send(remote, raw) })
	}
	if tx == nil || req.Method == sip.ACK {
		s.acked(req)
		receive()
		return
	}
	key, x := transactionKey(req), &exchange{tx, make(chan struct{})}
	s.mu.Lock()
	s.waiting[key] = x
	s.mu.Unlock()
	defer s.forget(key, x)
	receive()
	late := time.NewTimer(64 * sip.T1) // the peer has given up by then
	defer late.Stop()
	select {
	case <-x.answered:
	case <-tx.Done():
	case <-late.C:
	}
}

func transactionKey(m sip.Message) string {
	id, seq := m.CallID(), m.CSeq()
	if id == nil || seq == nil {
		return ""
	}
	return id.Value() + " " + seq.Value()
}

func (s *Server) forget(key string, x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[key] == x {
		delete(s.waiting, key)
	}
}

// send sends one message of ours; it is called under the flow's lock and does not wait.
func (s *Server) send(remote net.Addr, raw []byte) {
	if !bytes.HasPrefix(raw, []byte("SIP/2.0 ")) && len(raw) > maxRequest(remote) {
		go s.close(remote, tooLarge) // now, not when its turn comes; the flow's lock is held here
		return
	}
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
		x := s.waiting[key]
		delete(s.waiting, key)
		s.mu.Unlock()
		if x != nil {
			go s.respond(x, m)
		}
	case *sip.Request:
		if m.Method == benotify {
			go func() {
				if err := s.client.WriteRequest(m, asIs); err != nil {
					s.refused("udp_benotify")
				}
			}()
			return
		}
		s.enqueue(remote, m)
	}
}

// maxRequest is how long a request to a peer may be: 1,300 bytes where the path's MTU is not known, else 200 bytes less
// than that (RFC 3261 section 18.1.1). It is known on this host.
func maxRequest(remote net.Addr) int {
	if a, ok := remote.(*net.UDPAddr); ok && a.IP.IsLoopback() {
		return maxDatagram - 200
	}
	return 1300
}

// maxDatagram is what an IPv4 packet has room for behind the headers of IP and UDP.
const maxDatagram = 65507

// sipgo measures all messages by one limit, for the whole process. There is none for answers but that of the packet:
// they cannot go another way.
func init() { sip.UDPMTUSize = maxDatagram + 200 }

// benotify is a NOTIFY that nobody answers ([MS-SIP] section 3.5): it is sent once.
const benotify sip.RequestMethod = "BENOTIFY"

// asIs keeps sipgo from adding headers of its own.
func asIs(*sipgo.Client, *sip.Request) error { return nil }

// respond sends a final answer.
func (s *Server) respond(x *exchange, m *sip.Response) {
	if seq := m.CSeq(); seq != nil && seq.MethodName == sip.INVITE && m.IsSuccess() {
		s.accept(x, m)
		return
	}
	defer close(x.answered)
	if err := x.tx.Respond(m); err != nil {
		s.refused("udp_answer")
	}
}

// accept sends the 200 to an INVITE until its ACK comes: the transaction answers no repetition of the INVITE any more
// (RFC 3261 section 13.3.1.4, RFC 6026 section 7.1). Where no ACK ever comes the peer is found to be gone when he is
// asked for a sign of life.
func (s *Server) accept(x *exchange, m *sip.Response) {
	ctx, acked := context.WithTimeout(context.Background(), 64*sip.T1)
	defer acked()
	key := dialogKey(m)
	s.mu.Lock()
	s.unacked[key] = acked
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.unacked, key)
		s.mu.Unlock()
	}()
	err := x.tx.Respond(m)
	close(x.answered)
	for pause := sip.T1; err == nil; pause = min(2*pause, sip.T2) {
		select {
		case <-time.After(pause):
			err = x.tx.Respond(m)
		case <-ctx.Done():
			return
		case <-x.tx.Done():
			return
		}
	}
	s.refused("udp_answer")
}

func (s *Server) acked(req *sip.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end := s.unacked[dialogKey(req)]; end != nil {
		end()
	}
}

// dialogKey is the Call-ID and the number of CSeq: what an ACK has in common with its INVITE.
func dialogKey(m sip.Message) string {
	id, seq := m.CallID(), m.CSeq()
	if id == nil || seq == nil {
		return ""
	}
	return id.Value() + " " + strconv.FormatUint(uint64(seq.SeqNo), 10)
}

// enqueue lets the requests for a peer go out one after the other, each when the one before it is answered: two that are
// under way together can arrive in either order, and the peer would have to refuse the earlier one (RFC 3261
// section 12.2.2).
func (s *Server) enqueue(remote net.Addr, m *sip.Request) {
	key := remote.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	behind, busy := s.outbox[key]
	if !busy {
		s.outbox[key] = nil
		go s.deliver(remote, m)
		return
	}
	if len(behind) >= maxWaiting {
		go s.close(remote, flow.ClosedOverflow) // the flow's lock is held here
		return
	}
	s.outbox[key] = append(behind, m)
}

// deliver sends what waits for a peer until nothing is left, or he does not answer.
func (s *Server) deliver(remote net.Addr, m *sip.Request) {
	key := remote.String()
	for m != nil {
		if reason := s.transact(remote, m); reason != "" {
			s.close(remote, reason)
			s.mu.Lock()
			delete(s.outbox, key)
			s.mu.Unlock()
			return
		}
		s.mu.Lock()
		behind := s.outbox[key]
		if m = nil; len(behind) > 0 {
			m, s.outbox[key] = behind[0], behind[1:]
		} else {
			delete(s.outbox, key)
		}
		s.mu.Unlock()
	}
}

// transact sends a request and brings its answer back to the flow; sipgo repeats it until there is one. It returns why
// the flow must be closed, "" if it need not.
func (s *Server) transact(remote net.Addr, req *sip.Request) (broken string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	tx, err := s.client.TransactionRequest(ctx, req, asIs)
	if err != nil {
		return flow.ClosedUnanswered
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if res.StatusCode >= 200 {
				s.flows.Receive(s.conn.LocalAddr(), remote, s.app, []byte(res.String()), func(raw []byte) { s.send(remote, raw) })
				return ""
			}
		case <-tx.Done():
			return flow.ClosedUnanswered
		case <-ctx.Done():
			return flow.ClosedUnanswered
		}
	}
}

const tooLarge = "too_large_for_udp"

func (s *Server) close(remote net.Addr, reason string) {
	for _, c := range s.flows.Conns() {
		if c.Remote().String() == remote.String() {
			c.Close(reason)
		}
	}
}
