package flow

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Datagrams makes flows of what arrives in datagrams: one for each address a peer sends from. The application sees
// them like connections. Retransmission is the business of whoever sends and receives the datagrams.
type Datagrams struct {
	limits  Limits
	handler Handler
	account *account

	mu      sync.Mutex
	flows   map[string]*datagramFlow
	closing sync.WaitGroup // calls of Closed
}

type datagramFlow struct {
	mu   sync.Mutex // what a reader goroutine is to a connection: one message at a time
	conn *Conn
	msg  Message
	gone atomic.Bool // Closed is called, or about to be
}

// NewDatagrams makes an empty table.
func NewDatagrams(l Limits, h Handler) *Datagrams {
	l.defaults()
	d := &Datagrams{limits: l, handler: h, flows: map[string]*datagramFlow{}}
	d.account = newAccount(&d.limits)
	return d
}

// Receive handles one message from an address. send sends messages back there on the flow; it is called with the flow's
// lock held, so it must not wait. False says that no answer will come, as if the message had been lost: there are too many
// flows, this one was closed, or the application let the message drop.
func (d *Datagrams) Receive(local, remote net.Addr, app any, raw []byte, send func(*Conn, []byte)) bool {
	f := d.flow(local, remote, app, send)
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone.Load() || !f.conn.Open() {
		return false
	}
	f.conn.lastRead.Store(time.Now().UnixNano())
	f.conn.dropped = false
	f.msg.ScanDatagram(raw)
	d.handler.Message(f.conn, &f.msg)
	f.conn.runAfter()
	return !f.conn.dropped
}

func (d *Datagrams) flow(local, remote net.Addr, app any, send func(*Conn, []byte)) *datagramFlow {
	key := remote.String()
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.flows[key]; f != nil {
		return f
	}
	if reason := d.account.open(remote); reason != "" {
		d.handler.Refused(reason)
		return nil
	}
	now := time.Now()
	c := &Conn{App: app, remote: remote, local: local, opened: now, account: d.account, datagram: send}
	c.lastRead.Store(now.UnixNano())
	f := &datagramFlow{conn: c}
	d.handler.Opened(c)
	d.flows[key] = f
	return f
}

// Heard notes a sign of life from an address. It is for what is no message and so does not come to Receive, such as
// keep-alives and repetitions.
func (d *Datagrams) Heard(remote net.Addr) {
	key := remote.String()
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.flows[key]; f != nil {
		f.conn.lastRead.Store(time.Now().UnixNano())
	}
}

// ScanDatagram scans a datagram, which is one message or none.
func (m *Message) ScanDatagram(raw []byte) {
	f := framer{datagram: true}
	switch kind, _ := f.cut(raw, m); {
	case kind == needMore && f.need > 0:
		m.fail(malformed("Body Shorter Than Content-Length"))
	case kind != gotMsg:
		m.scanHead(nil)
	}
}

// ScanFirst scans the first of the messages in b and returns how many bytes it takes, 0 if none is whole.
func (m *Message) ScanFirst(b []byte) int {
	var f framer
	if kind, n := f.cut(b, m); kind == gotMsg && (m.Err == nil || !m.Err.Fatal) {
		return n
	}
	return 0
}

// Drop lets the message at hand go without an answer, as if the network had lost it. It is for datagrams: on a stream
// nothing is lost.
func (c *Conn) Drop() { c.dropped = true }

// Sweep removes the flows that were closed or are over a time limit. It waits for none of them: one whose message is still
// at work is closed, for the application, when that is done.
func (d *Datagrams) Sweep(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, f := range d.flows {
		if reason := f.conn.overdue(now, &d.limits); reason != "" {
			f.conn.Close(reason)
		}
		if f.conn.Open() {
			continue
		}
		delete(d.flows, key)
		f.conn.Known()
		d.account.end()
		f.gone.Store(true)
		d.closing.Go(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			d.handler.Closed(f.conn, f.conn.closeReason())
		})
	}
}

// Wait waits until the application knows of every flow that was swept. Nothing may be swept meanwhile.
func (d *Datagrams) Wait() { d.closing.Wait() }

// Conns returns the flows.
func (d *Datagrams) Conns() []*Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*Conn, 0, len(d.flows))
	for _, f := range d.flows {
		all = append(all, f.conn)
	}
	return all
}

func (c *Conn) closeReason() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}
