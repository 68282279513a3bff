// Package flow is the transport of the SIP front end: TCP and TLS connections ("flows", RFC 5626), one reader
// goroutine each, framing, a scanner that allocates nothing, answers in order, and a bounded outbound queue.
//
// It knows messages, not dialogs or rooms: the application gives it a Handler. It starts no goroutine and no timer
// per message. sipgo's message parser works above it on whole messages; its transport and transaction layers are
// not used for streams, because they reorder requests (docs/decisions/0007-udp-transactions.md) and do not bound what a
// stalled reader costs; what it costs here is in docs/performance.md, stall.
package flow

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Handler is the application above the connections. For one connection all its methods are called on that
// connection's reader goroutine: Opened first, Closed last. While a method blocks nothing more is read.
type Handler interface {
	Opened(*Conn)
	// Message handles one message. m and its slices are dead when it returns. m.Err is set on a message that is
	// malformed: it wants an answer if it is a request; if the error is fatal the connection is closed after it.
	Message(c *Conn, m *Message)
	Closed(c *Conn, reason string)
	Refused(reason string) // a connection that was not accepted
}

type state uint8

const (
	open      state = iota
	finishing       // what is queued goes out, then the connection closes
	closed
)

// Conn is one flow.
type Conn struct {
	App any // the application's own; set in Opened, used on the reader goroutine or under the application's locks

	nc      net.Conn
	tcp     net.Conn // beneath TLS; nc otherwise
	secure  bool
	raw     syscall.RawConn // plain TCP only
	remote  net.Addr
	local   net.Addr
	opened  time.Time
	account *account

	lastRead  atomic.Int64 // Unix nanoseconds
	halfSince atomic.Int64 // Unix nanoseconds since a message is half there, 0: none
	known     atomic.Bool  // the application knows who it is

	// reader goroutine only
	answers []byte
	after   []func()
	dropped bool // the message at hand gets no answer; datagrams only

	mu       sync.Mutex
	state    state
	reason   string
	queue    []entry // from head on
	head     int
	queued   [kinds]backlog
	rest     []byte // of a write that the kernel took only a part of
	writing  bool   // a writer goroutine is at work
	tryBuf   []byte
	tryN     int
	tryErr   error
	tryFn    func(fd uintptr) bool
	datagram func(*Conn, []byte) // sends messages as datagrams; nil on streams
}

// Remote returns the address of the peer.
func (c *Conn) Remote() net.Addr { return c.remote }

// Local returns our address.
func (c *Conn) Local() net.Addr { return c.local }

// Transport returns the transport's name for Via: "TCP", "TLS" or "UDP".
func (c *Conn) Transport() string {
	switch {
	case c.datagram != nil:
		return "UDP"
	case c.secure:
		return "TLS"
	}
	return "TCP"
}

// Loopback reports whether the peer is on this host.
func (c *Conn) Loopback() bool { return isLoopback(c.remote) }

// Known tells the connection that the application knows who it is: it is no longer one of those that must speak soon.
func (c *Conn) Known() {
	if c.known.CompareAndSwap(false, true) && c.account != nil {
		c.account.known(c.remote)
	}
}

// Heard returns when the last byte came from the peer.
func (c *Conn) Heard() time.Time { return time.Unix(0, c.lastRead.Load()) }

// age is the time since the connection was opened, in seconds.
func (c *Conn) age() uint32 { return uint32(time.Since(c.opened) / time.Second) }

// Answer queues the bytes of an answer. It is for the reader goroutine: the answers to all messages of one read go
// out in one write. It copies b.
func (c *Conn) Answer(b []byte) {
	c.answers = append(c.answers, b...)
	if len(c.answers) >= writeChunk {
		c.flushAnswers()
	}
}

// After runs fn when the answers given so far are on their way; fn may block, and reading stops meanwhile. It is for
// the reader goroutine. Work that leads to messages of its own starts here, so that it cannot overtake the answer.
func (c *Conn) After(fn func()) {
	c.after = append(c.after, fn)
	if len(c.after) >= 32 {
		c.runAfter()
	}
}

func (c *Conn) runAfter() {
	c.flushAnswers()
	for i, fn := range c.after {
		c.after[i] = nil
		fn()
	}
	c.after = c.after[:0]
}

func (c *Conn) flushAnswers() {
	if len(c.answers) == 0 {
		return
	}
	c.mu.Lock()
	if c.state == open {
		b := c.answers
		if c.raw != nil && !c.writing && c.head == len(c.queue) && len(c.rest) == 0 {
			n, err := c.tryWrite(b)
			if err != nil {
				c.closeLocked(ClosedWrite)
			} else if b = b[n:]; len(b) > 0 {
				c.rest = append(c.rest[:0], b...)
				c.writing = true
				go c.write()
			}
		} else if c.pushLocked(entry{pay: &Payload{tail: append([]byte(nil), b...)}, at: c.age(), kind: asked}) {
			c.flushLocked()
		}
	}
	c.mu.Unlock()
	if cap(c.answers) > 8<<10 {
		c.answers = nil
	} else {
		c.answers = c.answers[:0]
	}
}

// Close closes the connection at once. The handler's Closed is called on its reader goroutine, with the first reason.
func (c *Conn) Close(reason string) {
	c.mu.Lock()
	c.closeLocked(reason)
	c.mu.Unlock()
}

func (c *Conn) closeLocked(reason string) {
	if c.state == closed {
		return
	}
	if c.reason == "" {
		c.reason = reason
	}
	c.state = closed
	c.queue, c.head, c.queued, c.rest = nil, 0, [kinds]backlog{}, nil
	if c.tcp != nil {
		c.tcp.Close() //nolint:errcheck // beneath TLS on purpose: a close notify could block on a peer that does not read
	}
}

// Finish sends what is queued and then closes. The peer gets a second to read it before the socket is torn down.
func (c *Conn) Finish(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open {
		return
	}
	c.state, c.reason = finishing, reason
	c.flushLocked()
	c.drainedLocked()
}

// drainedLocked goes on with a connection that is finishing when nothing is left to write: it ends our direction and
// lets the reader throw away what still comes, because closing with unread input would destroy our last answer.
func (c *Conn) drainedLocked() {
	if c.state != finishing || c.writing || c.head < len(c.queue) || len(c.rest) > 0 {
		return
	}
	if c.tcp == nil {
		c.closeLocked(c.reason)
		return
	}
	c.tcp.SetReadDeadline(time.Now().Add(time.Second)) //nolint:errcheck // an error means that it is closed already
	switch nc := c.nc.(type) {
	case *net.TCPConn:
		nc.CloseWrite() //nolint:errcheck // as above
	case *tls.Conn:
		go nc.CloseWrite() //nolint:errcheck // as above; it may wait for the peer, 5 s at most
	}
}

// Open reports whether messages can still be queued.
func (c *Conn) Open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == open
}

const (
	firstBuffer = 1 << 10  // of a connection; grows to the message that needs it
	smallBuffer = 4 << 10  // bytes up to which a busy connection's buffer grows for the sake of fewer reads
	keepBuffer  = 16 << 10 // bytes above which the buffer is given back when it is empty
	readLimit   = 64 << 10 // bytes read at once
)

// read is the reader goroutine: it cuts, hands up and answers until the connection ends.
func (c *Conn) read(h Handler) {
	h.Opened(c)
	buf := make([]byte, 0, firstBuffer)
	var f framer
	var m Message
	for {
		n, err := c.nc.Read(buf[len(buf):min(cap(buf), len(buf)+readLimit)])
		if n > 0 {
			now := time.Now().UnixNano()
			c.lastRead.Store(now)
			buf = buf[:len(buf)+n]
			full := len(buf) == cap(buf)
			used := c.handle(h, &f, &m, buf)
			buf = refit(buf, used, f.need, full)
			if !f.partial() {
				c.halfSince.Store(0)
			} else if c.halfSince.Load() == 0 {
				c.halfSince.Store(now)
			}
		}
		if err != nil || !c.Open() {
			break
		}
	}
	c.discard(buf[:cap(buf)])
	c.mu.Lock()
	c.closeLocked(ClosedByPeer)
	reason := c.reason
	c.mu.Unlock()
	h.Closed(c, reason)
}

// handle cuts and hands up everything that is whole in b, and returns how many bytes that took.
func (c *Conn) handle(h Handler, f *framer, m *Message, b []byte) int {
	used := 0
	for {
		kind, n := f.cut(b[used:], m)
		used += n
		switch kind {
		case needMore:
			c.runAfter()
			return used
		case gotPing:
			c.Answer([]byte("\r\n"))
		case gotMsg:
			c.halfSince.Store(0) // the one behind it has begun now at the earliest
			h.Message(c, m)
			if m.Err != nil && m.Err.Fatal {
				c.runAfter()
				c.Finish(ClosedMalformed)
				return used
			}
		}
	}
}

// refit moves the unread bytes to the front and fits the buffer: double it when it is full, or was and is small; give
// a big one back when it is empty. A half message whose length is known gets all it needs at once.
func refit(buf []byte, used, need int, full bool) []byte {
	left := len(buf) - used
	want := cap(buf)
	switch {
	case left == 0 && cap(buf) > keepBuffer:
		want = firstBuffer
	case need > cap(buf):
		want = need
	case left == cap(buf), full && cap(buf) < smallBuffer:
		want = min(2*cap(buf), MaxMessage)
	}
	if want == cap(buf) {
		copy(buf, buf[used:])
		return buf[:left]
	}
	fresh := make([]byte, left, want)
	copy(fresh, buf[used:])
	return fresh
}

// discard reads and throws away what a peer still sends to a connection that is finishing.
func (c *Conn) discard(buf []byte) {
	for total := 0; total < MaxMessage; {
		c.mu.Lock()
		s := c.state
		c.mu.Unlock()
		if s != finishing {
			return
		}
		n, err := c.tcp.Read(buf)
		if total += n; err != nil {
			return
		}
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
