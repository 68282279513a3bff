// Package udp serves SIP over UDP: the little of RFC 3261 section 17 that a server needs where messages get lost, come
// twice and overtake each other. Above it the same application works as on streams. sipgo's transactions are not used:
// they hand each request to a goroutine of its own, so that order is lost, hold one for as long as nobody answers, and
// remember every address that ever sent something.
//
// A request that is too long for a datagram (1,300 bytes, except on this host) is not sent: the flow is closed and the
// client has to come over TCP or TLS, which is what chat is for.
package udp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"parley/sipfront/flow"
)

// The timers of RFC 3261 section 17.
const (
	timerT1 = 500 * time.Millisecond
	timerT2 = 4 * time.Second
	timerJ  = 64 * timerT1 // for so long a request may be repeated
)

// Bounds of what one peer can make us hold, and all together.
const (
	maxWorkers    = 4096 // peers whose messages are at work; datagrams of others are dropped, and repeated by their senders
	maxPending    = 64   // requests of one peer that wait for those before them
	maxRemembered = 32   // of one peer's newest requests, for their repetitions; the application knows the older ones again
	maxWaiting    = 256  // requests that wait for one peer; as many as package flow holds for a connection
)

// Server is one UDP listener.
type Server struct {
	Config
	workers sync.WaitGroup

	// mu is taken with the lock of a flow held, so it is never held while something is asked of a flow.
	mu      sync.Mutex
	stopped bool
	peers   map[netip.AddrPort]*peer // with whom something is under way, or was within timer J
	working int
}

// Config says what a Server works with.
type Config struct {
	Conn     net.PacketConn
	App      any // what the App of each flow starts as
	Flows    *flow.Datagrams
	Patience time.Duration       // for the answer to a request of ours
	Refused  func(reason string) // counts what is dropped
}

// peer is all that is known of an address here. It is guarded by the server's lock.
type peer struct {
	server  *Server
	key     netip.AddrPort
	remote  net.Addr
	in      []item // to be handled one after the other, in the order in which they came
	working bool
	past    []*exchange // requests that came, oldest first
	forget  *time.Timer // runs while there are any
	out     []*outgoing // requests of ours: the first is under way
}

// item is a message to be handled. exchange is nil for answers and ACKs.
type item struct {
	raw      []byte
	exchange *exchange
}

// exchange is a request of the peer, and its answer when it has one.
type exchange struct {
	key    string
	invite string // what an ACK has in common with its INVITE; "" for others
	came   time.Time
	answer []byte
	again  *time.Timer // repeats a 200 to an INVITE
	ended  bool        // until that is not needed any more
}

// outgoing is a request of ours. Two that are under way together can arrive in either order, and the peer would have to
// refuse the earlier one (RFC 3261 section 12.2.2): so each waits for the answer to the one before it.
type outgoing struct {
	conn   *flow.Conn
	answer string // what its answer is known by
	raw    []byte
	sent   time.Time
	pause  time.Duration
	again  *time.Timer
}

// New makes a server.
func New(c Config) *Server { return &Server{Config: c, peers: map[netip.AddrPort]*peer{}} }

// Serve serves until the socket is closed, and returns when the last message is handled.
func (s *Server) Serve() error {
	defer s.workers.Wait()
	defer s.stop()
	var m flow.Message
	b := make([]byte, 64<<10)
	for {
		n, from, err := s.Conn.ReadFrom(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("serve UDP: %w", err)
		}
		s.Flows.Heard(from)
		a, ok := from.(*net.UDPAddr)
		if ok && len(bytes.Trim(b[:n], "\r\n\x00")) > 0 { // else a keep-alive
			raw := bytes.Clone(b[:n])
			m.ScanDatagram(raw)
			s.take(a, &m, raw)
		}
	}
}

// Peers returns of how many addresses something is remembered.
func (s *Server) Peers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers)
}

func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, p := range s.peers {
		if p.forget != nil {
			p.forget.Stop()
		}
		for _, x := range p.past {
			x.settle()
		}
		p.dropOut()
	}
}

// take takes a message from the network. It keeps raw, which m views.
func (s *Server) take(remote *net.UDPAddr, m *flow.Message, raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := remote.AddrPort()
	p := s.peers[at]
	if p == nil {
		p = &peer{server: s, key: at, remote: remote}
	}
	it := item{raw: raw}
	switch {
	case !m.Request():
		if len(p.out) == 0 || p.out[0].answer != answerKey(m) {
			return // it has been answered before
		}
		if m.Status < 200 {
			return
		}
		p.out[0].again.Stop()
		p.out = p.out[1:]
		p.sendNext()
	case m.Is("ACK"):
		for _, x := range p.past {
			if x.invite != "" && x.invite == ackKey(m) {
				x.settle()
			}
		}
	case m.Err == nil:
		x := &exchange{key: requestKey(m), came: time.Now()}
		for _, old := range p.past {
			if old.key == x.key { // he gets his answer once more; without one, the request is at work
				s.write(p.remote, old.answer)
				return
			}
		}
		if m.Is("INVITE") {
			x.invite = ackKey(m)
		}
		it.exchange = x
	}
	if m.Request() && (len(p.in) >= maxPending || !p.working && s.working >= maxWorkers) {
		s.Refused("udp_busy")
		return
	}
	s.peers[at] = p
	if it.exchange != nil {
		p.remember(it.exchange)
	}
	p.in = append(p.in, it)
	if !p.working {
		p.working = true
		s.working++
		s.workers.Go(p.work)
	}
}

// work hands a peer's messages up. It may be held there, and with it this peer's messages, but nobody else's.
func (p *peer) work() {
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p.in) > 0 {
		it := p.in[0]
		p.in[0] = item{}
		p.in = p.in[1:]
		s.mu.Unlock()
		taken := s.Flows.Receive(s.Conn.LocalAddr(), p.remote, s.App, it.raw, s.send)
		s.mu.Lock()
		if !taken && it.exchange != nil { // there is no answer to wait for: it may be said again
			p.past = slices.DeleteFunc(p.past, func(x *exchange) bool { return x == it.exchange })
		}
	}
	p.in, p.working = nil, false
	s.working--
	p.leave()
}

// leave forgets a peer with whom nothing is under way.
func (p *peer) leave() {
	if p.working || len(p.past)+len(p.out) > 0 {
		return
	}
	if p.forget != nil {
		p.forget.Stop()
	}
	if p.server.peers[p.key] == p {
		delete(p.server.peers, p.key)
	}
}

// remember keeps a request, to know it again.
func (p *peer) remember(x *exchange) {
	if p.past = append(p.past, x); len(p.past) > maxRemembered {
		p.past[0].settle()
		p.past = append(p.past[:0], p.past[1:]...)
	}
	if p.forget == nil {
		p.forget = time.AfterFunc(timerJ, p.forgetOld)
	}
}

func (p *peer) forgetOld() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.past = slices.DeleteFunc(p.past, func(x *exchange) bool { return time.Since(x.came) >= timerJ })
	if p.forget = nil; len(p.past) > 0 && !p.server.stopped {
		p.forget = time.AfterFunc(timerJ-time.Since(p.past[0].came), p.forgetOld)
	}
	p.leave()
}

// settle ends the repetition of an answer.
func (x *exchange) settle() {
	if x.ended = true; x.again != nil {
		x.again.Stop()
	}
}

// send sends messages of ours on a flow. It is called under the flow's lock and does not wait.
func (s *Server) send(c *flow.Conn, raw []byte) {
	var m flow.Message
	for len(raw) > 0 { // answers may come together
		one := raw[:m.ScanFirst(raw)]
		if len(one) == 0 {
			s.Refused("udp_own")
			return
		}
		raw = raw[len(one):]
		if m.Request() && len(one) > maxRequest(c.Remote()) {
			go c.Close(tooLarge) // now, not when its turn comes; the flow's lock is held here
			return
		}
		s.sendOne(c, &m, one)
	}
}

func (s *Server) sendOne(c *flow.Conn, m *flow.Message, raw []byte) {
	a, ok := c.Remote().(*net.UDPAddr)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := a.AddrPort()
	p := s.peers[at]
	switch {
	case s.stopped:
	case m.Is(benotify):
		s.write(a, raw)
	case m.Request():
		if p == nil {
			p = &peer{server: s, key: at, remote: a}
			s.peers[at] = p
		}
		if len(p.out) > 0 && p.out[0].conn != c { // of a flow that has ended
			p.dropOut()
		}
		if len(p.out) >= maxWaiting {
			go c.Close(flow.ClosedOverflow) // as above
			return
		}
		if p.out = append(p.out, &outgoing{conn: c, answer: answerKey(m), raw: raw}); len(p.out) == 1 {
			p.sendNext()
		}
	default:
		s.write(a, raw)
		if p != nil {
			p.answered(requestKey(m), m.Status, raw)
		}
	}
}

// answered keeps an answer for those who did not get it. A 200 to an INVITE is repeated until its ACK comes (RFC 3261
// section 13.3.1.4); where none ever comes the peer is found to be gone when he is asked for a sign of life. Other answers
// to INVITEs are repeated as those to other requests are, when the request is: to send them again by ourselves would be a
// gift to whoever forges addresses.
func (p *peer) answered(key string, status int, raw []byte) {
	for _, x := range p.past {
		if x.key != key || x.answer != nil {
			continue
		}
		x.answer = raw
		if x.invite == "" || x.ended || status >= 300 {
			return
		}
		pause := timerT1
		x.again = time.AfterFunc(pause, func() {
			p.server.mu.Lock()
			defer p.server.mu.Unlock()
			if x.ended || p.server.stopped || time.Since(x.came) >= timerJ {
				return
			}
			p.server.write(p.remote, raw)
			pause = min(2*pause, timerT2)
			x.again.Reset(pause)
		})
		return
	}
}

// sendNext sends the first of the requests that wait.
func (p *peer) sendNext() {
	if len(p.out) == 0 {
		p.leave()
		return
	}
	o := p.out[0]
	o.sent, o.pause = time.Now(), timerT1
	p.server.write(p.remote, o.raw)
	o.again = time.AfterFunc(o.pause, func() { p.sendAgain(o) })
}

// sendAgain repeats a request that is not answered (RFC 3261 section 17.1.2.2), until the patience is over: then the peer
// is gone.
func (p *peer) sendAgain(o *outgoing) {
	s := p.server
	open := o.conn.Open()
	s.mu.Lock()
	gone := false
	switch {
	case s.stopped || len(p.out) == 0 || p.out[0] != o: // answered this moment
	case !open:
		p.dropOut()
		p.leave()
	case time.Since(o.sent) >= s.Patience:
		gone = true
		p.dropOut()
		p.leave()
	default:
		s.write(p.remote, o.raw)
		o.pause = min(2*o.pause, timerT2)
		o.again.Reset(o.pause)
	}
	s.mu.Unlock()
	if gone {
		o.conn.Close(flow.ClosedUnanswered)
	}
}

// dropOut gives up the requests that wait.
func (p *peer) dropOut() {
	if len(p.out) > 0 {
		p.out[0].again.Stop()
	}
	p.out = nil
}

func (s *Server) write(to net.Addr, raw []byte) {
	if len(raw) == 0 {
		return
	}
	if _, err := s.Conn.WriteTo(raw, to); err != nil && !errors.Is(err, net.ErrClosed) {
		s.Refused("udp_write")
	}
}

// requestKey tells a request from others of its peer, and its answer from other answers: the answer copies all of it.
// Clients need not make their branches unique (seen of pidgin-sipe), so more than the branch counts.
func requestKey(m *flow.Message) string {
	return string(m.Get(flow.Via)) + "\n" + string(m.Get(flow.CallID)) + "\n" + string(m.Get(flow.CSeq))
}

// answerKey tells the answer to a request of ours from other answers.
func answerKey(m *flow.Message) string {
	return string(m.Get(flow.CallID)) + "\n" + string(m.Get(flow.CSeq))
}

// ackKey is what an ACK has in common with its INVITE.
func ackKey(m *flow.Message) string { return fmt.Sprint(string(m.Get(flow.CallID)), "\n", m.Seq) }

// maxRequest is how long a request to a peer may be: 1,300 bytes where the path's MTU is not known, else 200 bytes less
// than that (RFC 3261 section 18.1.1). It is known on this host. There is no limit for answers but that of the packet:
// they cannot go another way.
func maxRequest(remote net.Addr) int {
	if a, ok := remote.(*net.UDPAddr); ok && a.IP.IsLoopback() {
		return maxDatagram - 200
	}
	return 1300
}

const (
	// maxDatagram is what an IPv4 packet has room for behind the headers of IP and UDP.
	maxDatagram = 65507

	tooLarge = "too_large_for_udp"

	// benotify is a NOTIFY that nobody answers ([MS-SIP] section 3.5): it is sent once.
	benotify = "BENOTIFY"
)
