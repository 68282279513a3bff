package flow

import (
	"net"
	"sync"
	"time"
)

// Datagrams makes flows of what arrives in datagrams: one for each address a peer sends from. The application sees
// them like connections. Retransmission is the business of whoever sends and receives the datagrams.
type Datagrams struct {
	limits  Limits
	handler Handler
	account *account

	mu    sync.Mutex
	flows map[string]*datagramFlow
}

type datagramFlow struct {
	mu   sync.Mutex // what a reader goroutine is to a connection: one message at a time
	conn *Conn
	msg  Message
	gone bool
}

// NewDatagrams makes an empty table.
func NewDatagrams(l Limits, h Handler) *Datagrams {
	l.defaults()
	d := &Datagrams{limits: l, handler: h, flows: map[string]*datagramFlow{}}
	d.account = newAccount(&d.limits)
	return d
}

// Receive handles one message from an address. send sends one message back there; it is called with the flow's lock
// held, so it must not wait. False says that there are too many flows.
func (d *Datagrams) Receive(local, remote net.Addr, app any, raw []byte, send func([]byte)) bool {
	f := d.flow(local, remote, app, send)
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return true // it was closed this moment; the peer repeats what it said
	}
	f.conn.lastRead.Store(time.Now().UnixNano())
	f.msg.scanDatagram(raw)
	d.handler.Message(f.conn, &f.msg)
	f.conn.runAfter()
	return true
}

func (d *Datagrams) flow(local, remote net.Addr, app any, send func([]byte)) *datagramFlow {
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

// scanDatagram scans a datagram, which is one message or none.
func (m *Message) scanDatagram(raw []byte) {
	f := framer{datagram: true}
	switch kind, _ := f.cut(raw, m); {
	case kind == needMore && f.need > 0:
		m.fail(malformed("Body Shorter Than Content-Length"))
	case kind != gotMsg:
		m.scanHead(nil)
	}
}

// Sweep removes the flows that were closed or are over a time limit.
func (d *Datagrams) Sweep(now time.Time) {
	d.mu.Lock()
	var old []*datagramFlow
	for key, f := range d.flows {
		if reason := f.conn.overdue(now, &d.limits); reason != "" {
			f.conn.Close(reason)
		}
		if !f.conn.Open() {
			delete(d.flows, key)
			f.conn.Known()
			d.account.end()
			old = append(old, f)
		}
	}
	d.mu.Unlock()
	for _, f := range old {
		f.mu.Lock()
		f.gone = true
		d.handler.Closed(f.conn, f.conn.closeReason())
		f.mu.Unlock()
	}
}

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
