// Package siptest is a scripted SIP client for tests, benchmarks and the synthetic transaction. It shares no code with
// the server: its framing, its dialogs and its Digest are its own, so it is a second opinion.
//
// A client costs one goroutine, which reads, answers the server's requests and keeps what came. Errors stick: after
// the first one every call returns at once, and Err tells what it was, so a script needs one check at its end.
package siptest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/icholy/digest"

	"parley/sipfront/xccos"
)

// Options say who connects, and how.
type Options struct {
	Addr      string      // host:port of the server
	TLS       *tls.Config // nil: plain TCP
	UDP       bool        // instead of TCP; one request at a time, because a later one may come first
	User      string      // user@domain
	Password  string      // for a challenge
	Epid      string      // device; default: one made from the user's name
	UserAgent string      // default "siptest"
	Pool      string      // SIP URI to go to; default: what provisioning says
	Timeout   time.Duration
	Local     string // local address to connect from, for benchmarks with many connections
	// Control sets options of the socket before it connects, as net.Dialer's does.
	Control func(network, address string, c syscall.RawConn) error

	// OnPost is called for every message that arrives, on the client's goroutine; messages are not kept then.
	OnPost func(p *xccos.Post)
	// Silent leaves the server's requests without an answer.
	Silent bool
	// Lose says of each datagram, sent or received, whether it gets lost. It is called by one goroutine at a time.
	Lose func() bool
}

// ErrTimeout says that what a call waited for did not come.
var ErrTimeout = errors.New("timed out")

// Client is one user on one device.
type Client struct {
	o    Options
	conn net.Conn
	udp  *datagrams // nil on streams
	from string     // tag of requests outside dialogs

	wmu sync.Mutex
	w   *bufio.Writer

	mu      sync.Mutex
	cond    sync.Cond
	err     error
	closed  bool
	parked  bool // StopReading
	chat    *dialog
	pending map[string]func(*Message) // by Call-ID and CSeq
	replies map[string]*xccos.Item    // by envid
	posts   []xccos.Post
	notices []xccos.Item
	others  []*Message // requests of the server that are not INFO
	pongs   int
	seq     uint32
	envid   uint64
	pool    string
	chatURI string
	domain  string
}

type dialog struct {
	callID, from, to, target string
	seq                      uint32
	refresh                  time.Duration
}

// Dial connects. It returns a client in any case; Err tells whether it is of use.
func Dial(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.UserAgent == "" {
		o.UserAgent = "siptest"
	}
	if o.Epid == "" {
		o.Epid = fmt.Sprintf("%012x", hashOf(o.User))
	}
	c := &Client{o: o, from: token(), pending: map[string]func(*Message){}, replies: map[string]*xccos.Item{}}
	c.cond.L = &c.mu
	var start [4]byte
	rand.Read(start[:]) //nolint:errcheck // never fails
	c.envid = uint64(start[0])<<24 | uint64(start[1])<<16 | uint64(start[2])<<8 | uint64(start[3]) + 1
	_, c.domain, _ = strings.Cut(o.User, "@")
	d := net.Dialer{Timeout: o.Timeout, Control: o.Control}
	if o.UDP {
		if c.udp, c.err = dialUDP(o); c.err == nil {
			c.conn = c.udp.conn
			go c.readDatagrams()
			return c
		}
		c.err, c.closed = fmt.Errorf("%s: connect: %w", o.User, c.err), true
		return c
	}
	if o.Local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(o.Local)}
	}
	c.conn, c.err = d.Dial("tcp", o.Addr)
	if c.err == nil && o.TLS != nil {
		c.conn, c.err = secure(c.conn, o)
	}
	if c.err != nil {
		c.err = fmt.Errorf("%s: connect: %w", o.User, c.err)
		c.closed = true
		return c
	}
	c.w = bufio.NewWriterSize(c.conn, 4096)
	go c.read()
	return c
}

// secure makes TLS of a connection. On failure it closes the connection and returns no half-made one.
func secure(plain net.Conn, o Options) (net.Conn, error) {
	conf := o.TLS
	if conf.ServerName == "" && !conf.InsecureSkipVerify {
		host, _, err := net.SplitHostPort(o.Addr)
		if err != nil {
			plain.Close() //nolint:errcheck // nothing was written
			return nil, err
		}
		conf = conf.Clone()
		conf.ServerName = host
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	t := tls.Client(plain, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		plain.Close() //nolint:errcheck // the handshake's error says it all
		return nil, err
	}
	return t, nil
}

func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h >> 16
}

func token() string {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(b[:])
}

// Err returns the first error.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ClearErr forgets the error, for scripts that provoke one.
func (c *Client) ClearErr() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = nil
}

func (c *Client) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(format, args...)
}

func (c *Client) failLocked(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(c.o.User+": "+format, args...)
	}
	c.cond.Broadcast()
}

// wait waits until ok returns true, an error sticks, or the time is over. ok is called with the lock held.
func (c *Client) wait(what string, ok func() bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waitLocked(what, ok)
}

func (c *Client) waitLocked(what string, ok func() bool) bool {
	if c.err != nil {
		return false
	}
	if ok() {
		return true
	}
	late := false
	t := time.AfterFunc(c.o.Timeout, func() {
		c.mu.Lock()
		late = true
		c.cond.Broadcast()
		c.mu.Unlock()
	})
	defer t.Stop()
	for !ok() {
		switch {
		case c.err != nil:
			return false
		case c.closed:
			c.failLocked("%s: the connection is closed", what)
			return false
		case late:
			c.failLocked("%s: %w", what, ErrTimeout)
			return false
		}
		c.cond.Wait()
	}
	return true
}

// read is the client's goroutine.
func (c *Client) read() {
	r := bufio.NewReaderSize(c.conn, 4096)
	for {
		pongs := 0
		m, err := ReadMessage(r, &pongs)
		c.mu.Lock()
		c.pongs += pongs
		for c.parked {
			c.cond.Wait()
		}
		c.mu.Unlock()
		if err != nil {
			c.ended(err)
			return
		}
		if m.Status() != 0 {
			c.answered(m)
		} else {
			c.request(m, r.Buffered() > 0)
		}
	}
}

// ended notes that nothing more will come.
func (c *Client) ended(err error) {
	c.mu.Lock()
	c.closed = true
	if errors.Is(err, errFraming) {
		c.failLocked("%w", err)
	}
	waiting := c.pending
	c.pending = nil
	c.cond.Broadcast()
	c.mu.Unlock()
	c.conn.Close() //nolint:errcheck // closed either way
	for _, done := range waiting {
		done(nil)
	}
}

func (c *Client) answered(m *Message) {
	if m.Status() < 200 {
		return
	}
	key := m.Header("Call-ID") + " " + m.Header("CSeq")
	c.mu.Lock()
	done := c.pending[key]
	delete(c.pending, key)
	c.mu.Unlock()
	if done != nil {
		done(m)
	}
}

func (c *Client) request(m *Message, more bool) {
	if !c.o.Silent && m.Method() != "ACK" && m.Method() != "BENOTIFY" {
		c.answer(m, 200, "OK", more)
	}
	if m.Method() != "INFO" {
		c.mu.Lock()
		c.others = append(c.others, m)
		if m.Method() == "BYE" && c.chat != nil && c.chat.callID == m.Header("Call-ID") {
			c.chat = nil
		}
		c.cond.Broadcast()
		c.mu.Unlock()
		return
	}
	env, err := xccos.DecodeServer(m.Body)
	if err != nil {
		c.fail("the server sent a bad envelope: %w", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range env.Items {
		it := &env.Items[i]
		switch it.Kind {
		case xccos.Rpl:
			c.replies[it.Ref.EnvID] = it
		case xccos.Ntc:
			c.notices = append(c.notices, *it)
		case xccos.GrpChat:
			if c.o.OnPost != nil {
				c.o.OnPost(it.Post)
				continue
			}
			c.posts = append(c.posts, *it.Post)
		}
	}
	c.cond.Broadcast()
}

// answer answers a request of the server. With more to come the bytes wait for company.
func (c *Client) answer(m *Message, status int, reason string, more bool) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n%s", status, reason, echo(m))
	b.WriteString("User-Agent: " + c.o.UserAgent + "\r\nContent-Length: 0\r\n\r\n")
	if c.udp != nil {
		c.udp.answer(m, b.Bytes())
		return
	}
	c.write(b.Bytes(), !more)
}

func (c *Client) write(b []byte, flush bool) {
	if c.udp != nil {
		c.udp.send(b)
		return
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, err := c.w.Write(b)
	if err == nil && flush {
		err = c.w.Flush()
	}
	if err != nil {
		c.conn.Close() //nolint:errcheck // the reader finds out
	}
}

// Write sends bytes as they are.
func (c *Client) Write(b []byte) { c.write(b, true) }

// Pongs returns how many keep-alives were answered.
func (c *Client) Pongs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pongs
}

// Receive buffers, in bytes, of a client that stops reading, and of one that reads on: a system that sized the buffer
// itself does not do so again once told.
const (
	stalledBuffer = 4 << 10
	readingBuffer = 256 << 10
)

// StopReading makes the client one that hangs: from now on it handles no message and reads nothing, past what it has
// buffered, and the system takes little for it. Calls that wait for the server time out. ReadOn and Close end it.
func (c *Client) StopReading() { c.park(true, stalledBuffer) }

// ReadOn ends StopReading: the client handles what came meanwhile, the end of the connection included.
func (c *Client) ReadOn() { c.park(false, readingBuffer) }

func (c *Client) park(parked bool, buffer int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parked = parked
	c.cond.Broadcast()
	conn := c.conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok && !c.closed {
		if err := t.SetReadBuffer(buffer); err != nil && !errors.Is(err, net.ErrClosed) {
			c.failLocked("set the receive buffer: %w", err)
		}
	}
}

// Close closes the connection without a word.
func (c *Client) Close() {
	c.mu.Lock()
	c.parked = false // its goroutine must end
	c.cond.Broadcast()
	c.mu.Unlock()
	if c.udp != nil {
		c.udp.close()
	}
	if c.conn != nil {
		c.conn.Close() //nolint:errcheck // closed either way
	}
}

// ExpectClosed waits until the server has closed the connection.
func (c *Client) ExpectClosed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.waitLocked("wait for the server to close", func() bool { return c.closed })
	}
}

// Request is a request to be sent. Empty fields get what fits.
type Request struct {
	Method  string
	URI     string
	To      string // URI
	From    string // URI; default the user's
	CallID  string
	Headers []string // whole lines without line end
	Body    []byte
}

// Do sends a request outside dialogs and returns its final answer, nil if none came.
func (c *Client) Do(r Request) *Message {
	if r.URI == "" {
		r.URI = "sip:" + c.o.User
	}
	if r.To == "" {
		r.To = r.URI
	}
	if r.From == "" {
		r.From = "sip:" + c.o.User
	}
	if r.CallID == "" {
		r.CallID = token()
	}
	c.mu.Lock()
	c.seq++
	seq := c.seq
	c.mu.Unlock()
	head := "From: <" + r.From + ">;tag=" + c.from + ";epid=" + c.o.Epid +
		"\r\nTo: <" + r.To + ">\r\nCall-ID: " + r.CallID + "\r\n"
	return c.exchange(r.Method, r.URI, c.via(true)+head, r.CallID, seq, r.Headers, r.Body)
}

// via returns the Via line of a request. Inside dialogs the open client leaves out the branch; over UDP nothing works
// without it.
func (c *Client) via(branch bool) string {
	switch {
	case c.udp != nil:
		return "Via: SIP/2.0/UDP " + c.conn.LocalAddr().String() + ";branch=z9hG4bK" + token() + "\r\n"
	case branch:
		return "Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK" + token() + "\r\n"
	}
	return "Via: SIP/2.0/TCP 127.0.0.1:5060\r\n"
}

func (c *Client) exchange(method, target, head, callID string, seq uint32, headers []string, body []byte) *Message {
	var answer *Message
	done := false
	c.start(method, target, head, callID, seq, headers, body, func(m *Message) {
		c.mu.Lock()
		answer, done = m, true
		c.cond.Broadcast()
		c.mu.Unlock()
	})
	c.wait(method, func() bool { return done })
	c.mu.Lock()
	defer c.mu.Unlock()
	return answer
}

// start sends a request; then is called once, with nil if the connection ends first.
func (c *Client) start(method, target, head, callID string, seq uint32, headers []string, body []byte, then func(*Message)) {
	var b bytes.Buffer
	cseq := strconv.FormatUint(uint64(seq), 10) + " " + method
	b.WriteString(method + " " + target + " SIP/2.0\r\n" + head + "CSeq: " + cseq + "\r\nMax-Forwards: 70\r\nUser-Agent: " + c.o.UserAgent + "\r\n")
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(body))
	b.Write(body)
	c.mu.Lock()
	if c.err != nil || c.closed || c.pending == nil {
		c.mu.Unlock()
		if then != nil {
			then(nil)
		}
		return
	}
	if then != nil && method != "ACK" {
		c.pending[callID+" "+cseq] = then
	}
	c.mu.Unlock()
	if c.udp != nil {
		c.udp.request(method, callID, cseq, b.Bytes())
		return
	}
	c.write(b.Bytes(), true)
}

// authorize repeats a request with credentials, if its answer was a challenge.
func (c *Client) authorize(r Request) *Message {
	m := c.Do(r)
	for range 2 { // the second time for stale=true
		if m == nil || m.Status() != 401 {
			return m
		}
		line, err := c.credentials(m.Header("WWW-Authenticate"), r.Method, r.URI)
		if err != nil {
			c.fail("answer the challenge: %w", err)
			return m
		}
		again := r
		again.Headers = append(append([]string(nil), r.Headers...), line)
		m = c.Do(again)
	}
	return m
}

func (c *Client) credentials(challenge, method, target string) (string, error) {
	ch, err := digest.ParseChallenge(challenge)
	if err != nil {
		return "", err
	}
	a, err := digest.Digest(ch, digest.Options{Method: method, URI: target, Username: c.o.User, Password: c.o.Password, Count: 1})
	if err != nil {
		return "", err
	}
	return "Authorization: " + a.String(), nil
}
