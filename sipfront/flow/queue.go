package flow

import (
	"cmp"
	"strconv"
	"sync"
	"time"
)

// Bounds of what is queued for one connection. A client that does not read is closed, never waited for: it comes
// back and reads the history (docs/architecture.md, Who may lose what). Chat messages are never dropped silently.
const (
	maxQueuedAge  = 15 * time.Second
	writeChunk    = 16 << 10 // bytes rendered for one write, and for one TLS record
	flushEntries  = 64       // queued entries at which a fan-out flushes in the middle of a run
	maxUnanswered = 4096     // requests of one dialog without an answer
)

// kind is what a message is sent for. Each has a budget of its own, so that one does not use up the other's.
type kind uint8

const (
	posted kind = iota // what others said or did
	asked              // what the client asked for, a few at a time: answers and replies; and signs of life
	kinds
)

// budgets bound what is queued of each kind: entries, and bytes as they will be rendered.
var budgets = [kinds]backlog{posted: {256, 256 << 10}, asked: {1024, 1 << 20}}

// backlog is how much of a kind is queued.
type backlog struct{ entries, bytes int }

// full says that a peer is too far behind to get one message more of a kind. That message itself does not count, however
// long it is: it says nothing about the peer.
func (b *backlog) full(k kind) bool {
	return b.entries >= budgets[k].entries || b.bytes > budgets[k].bytes
}

func (b *backlog) add(entries, bytes int) { b.entries, b.bytes = b.entries+entries, b.bytes+bytes }

// Reasons for which this package closes a connection. The application adds its own.
const (
	ClosedByPeer     = "peer"
	ClosedOverflow   = "overflow"
	ClosedSlow       = "slow"
	ClosedWrite      = "write"
	ClosedIdle       = "idle"
	ClosedHalf       = "half_message"
	ClosedSilent     = "silent"
	ClosedHandshake  = "handshake"
	ClosedMalformed  = "malformed"
	ClosedUnanswered = "unanswered"
	ClosedShutdown   = "shutdown"
)

// Payload is what many dialogs get alike: the end of a request, from Content-Type to the last byte of the body. It
// is rendered once and shared; nobody writes to it.
type Payload struct {
	method string // "": INFO
	tail   []byte
}

// NewRequest renders the end of a request without a body. headers are whole lines.
func NewRequest(method, headers string) *Payload {
	return &Payload{method: method, tail: AppendBody([]byte(headers), "", nil)}
}

// NewPayload renders the shared part of a request.
func NewPayload(contentType string, body []byte) *Payload {
	return &Payload{tail: AppendBody(make([]byte, 0, len(body)+80), contentType, body)}
}

// Dest is the sending half of a dialog: the two fixed pieces of each request's head, and the local CSeq. Its fields
// are guarded by the lock of its connection, so numbers leave in the order of the wire.
type Dest struct {
	before  []byte // request line and Via, up to the number that makes its branch unique
	middle  []byte // the other headers, up to the number of CSeq
	seq     uint32
	waiting []unanswered // requests without an answer, oldest first
	closed  bool
}

type unanswered struct {
	seq uint32
	at  uint32 // seconds of the connection's age
}

// NewDest makes the sending half of a dialog. A request is its method, before, its number, middle, the number and the
// method again, and the rest from the next line on.
func NewDest(before, middle string) *Dest {
	return &Dest{before: []byte(before), middle: []byte(middle)}
}

// appendHead appends the request line and the headers of the dialog.
func (d *Dest) appendHead(b []byte, method string, seq uint32) []byte {
	b = append(append(b, method...), d.before...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	b = append(b, d.middle...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	b = append(append(b, ' '), method...)
	return append(b, '\r', '\n')
}

// entry is one message to be sent: a request of dest, or, without dest, the bytes of pay as they are.
type entry struct {
	dest *Dest
	pay  *Payload
	seq  uint32
	at   uint32 // seconds of the connection's age
	kind kind
}

func (e *entry) size() int {
	if e.dest == nil {
		return len(e.pay.tail)
	}
	return len(e.dest.before) + len(e.dest.middle) + len(e.pay.tail) + 32
}

func (e *entry) render(b []byte) []byte {
	if e.dest == nil {
		return append(b, e.pay.tail...)
	}
	return append(e.dest.appendHead(b, cmp.Or(e.pay.method, "INFO"), e.seq), e.pay.tail...)
}

var optionsEnd = NewRequest("OPTIONS", "")

// Post queues an INFO of dest without sending it yet: after a fan-out, Flush sends all that is queued in one write.
// It never blocks. False says that the dialog or the connection is closed.
func (c *Conn) Post(dest *Dest, pay *Payload) bool { return c.post(dest, pay, posted) }

// Reply is Post for a message that the client asked for.
func (c *Conn) Reply(dest *Dest, pay *Payload) bool { return c.post(dest, pay, asked) }

func (c *Conn) post(dest *Dest, pay *Payload, k kind) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open || dest.closed {
		return false
	}
	age := c.age()
	if len(dest.waiting) >= maxUnanswered {
		c.closeLocked(ClosedUnanswered)
		return false
	}
	dest.seq++
	dest.waiting = append(dest.waiting, unanswered{dest.seq, age})
	return c.pushLocked(entry{dest: dest, pay: pay, seq: dest.seq, at: age, kind: k})
}

// Probe asks the peer of dest for a sign of life: an OPTIONS inside the dialog (RFC 3261 section 11), which changes
// nothing and which everybody must answer.
func (c *Conn) Probe(dest *Dest) bool { return c.Ask(dest, optionsEnd) }

// Ask sends a request of dest that stands for itself, such as one that keeps a session alive.
func (c *Conn) Ask(dest *Dest, pay *Payload) bool {
	if !c.post(dest, pay, asked) {
		return false
	}
	c.Flush()
	return true
}

// Send queues the bytes of a whole message and sends what is queued. It keeps b.
func (c *Conn) Send(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open || !c.pushLocked(entry{pay: &Payload{tail: b}, at: c.age(), kind: asked}) {
		return false
	}
	c.flushLocked()
	return c.state == open
}

func (c *Conn) pushLocked(e entry) bool {
	if c.queued[e.kind].full(e.kind) {
		c.closeLocked(ClosedOverflow)
		return false
	}
	c.queue = append(c.queue, e)
	c.queued[e.kind].add(1, e.size())
	if len(c.queue)-c.head >= flushEntries || c.queued[posted].bytes+c.queued[asked].bytes >= writeChunk {
		c.flushLocked()
	}
	return c.state == open
}

// Flush sends what is queued, without blocking.
func (c *Conn) Flush() {
	c.mu.Lock()
	c.flushLocked()
	c.mu.Unlock()
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, writeChunk+4<<10); return &b }}

// flushLocked hands the queue to the network. A plain TCP connection gets one non-blocking write, which costs no
// goroutine; what the kernel does not take, and everything on TLS, is left to a writer goroutine that lives as
// long as there is something to write.
func (c *Conn) flushLocked() {
	if c.writing || c.head == len(c.queue) && len(c.rest) == 0 || c.state == closed {
		return
	}
	if c.datagram != nil {
		c.flushDatagrams()
		return
	}
	if c.raw != nil {
		buf := chunks.Get().(*[]byte)
		for c.head < len(c.queue) {
			b := c.renderLocked((*buf)[:0])
			n, err := c.tryWrite(b)
			if err != nil {
				c.closeLocked(ClosedWrite)
				break
			}
			if n < len(b) { // the kernel is full: never go on after a part of a message without its rest
				c.rest = append(c.rest[:0], b[n:]...)
				break
			}
			*buf = b
		}
		putChunk(buf)
		if c.state == closed || c.head == len(c.queue) && len(c.rest) == 0 {
			c.drainedLocked()
			return
		}
	}
	c.writing = true
	go c.write()
}

func putChunk(buf *[]byte) {
	if cap(*buf) <= 64<<10 {
		chunks.Put(buf)
	}
}

// renderLocked takes entries off the queue, one at least, up to a chunk.
func (c *Conn) renderLocked(b []byte) []byte {
	for c.head < len(c.queue) {
		e := &c.queue[c.head]
		if len(b) > 0 && len(b)+e.size() > writeChunk {
			break
		}
		b = e.render(b)
		c.queued[e.kind].add(-1, -e.size())
		*e = entry{}
		c.head++
	}
	if c.head == len(c.queue) {
		c.head, c.queued = 0, [kinds]backlog{}
		if cap(c.queue) > flushEntries {
			c.queue = nil // an idle connection holds no memory for its busiest moment
		} else {
			c.queue = c.queue[:0]
		}
	}
	return b
}

// write is the writer goroutine.
func (c *Conn) write() {
	buf := chunks.Get().(*[]byte)
	defer putChunk(buf)
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.state != closed && (c.head < len(c.queue) || len(c.rest) > 0) {
		b := append((*buf)[:0], c.rest...)
		c.rest = nil
		if len(b) == 0 {
			b = c.renderLocked(b)
		}
		*buf = b
		c.mu.Unlock()
		err := c.nc.SetWriteDeadline(time.Now().Add(maxQueuedAge))
		if err == nil {
			_, err = c.nc.Write(b)
		}
		c.mu.Lock()
		if err != nil {
			c.closeLocked(writeReason(err)) // a part may be out: the framing is gone
		}
	}
	c.writing = false
	if c.state != closed {
		c.nc.SetWriteDeadline(time.Time{}) //nolint:errcheck // a dead connection is found by the next write
	}
	c.drainedLocked()
}

func writeReason(err error) string {
	if isTimeout(err) {
		return ClosedSlow
	}
	return ClosedWrite
}

// Answered takes the client's final answer to a request of dest. False says that nothing waited for it.
func (c *Conn) Answered(dest *Dest, seq uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range dest.waiting {
		if dest.waiting[i].seq != seq {
			continue
		}
		if i == 0 && len(dest.waiting) == 1 && cap(dest.waiting) > 64 {
			dest.waiting = nil
		} else {
			dest.waiting = append(dest.waiting[:i], dest.waiting[i+1:]...)
		}
		return true
	}
	return false
}

// Unanswered returns for how long the oldest request of dest has waited for its answer, 0 if none waits.
func (c *Conn) Unanswered(dest *Dest) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(dest.waiting) == 0 {
		return 0
	}
	return time.Duration(c.age()-dest.waiting[0].at)*time.Second + 1
}

// CloseDest ends the sending half of a dialog: what is queued still goes out, nothing is added. It returns a BYE for
// the peer, to be sent or not.
func (c *Conn) CloseDest(dest *Dest) (bye []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dest.closed, dest.waiting = true, nil
	dest.seq++
	return AppendBody(dest.appendHead(nil, "BYE", dest.seq), "", nil)
}

// flushDatagrams sends each queued message on its own.
func (c *Conn) flushDatagrams() {
	for c.head < len(c.queue) {
		e := &c.queue[c.head]
		c.datagram(c, e.render(make([]byte, 0, e.size())))
		*e = entry{}
		c.head++
	}
	c.queue, c.head, c.queued = c.queue[:0], 0, [kinds]backlog{}
}
