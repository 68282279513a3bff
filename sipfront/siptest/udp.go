package siptest

import (
	"bufio"
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// datagrams is what UDP needs beyond a stream: a request is repeated until it is answered (RFC 3261 section 17.1.2), what
// comes twice is answered twice and done once (section 17.2.2), and what comes late is refused (section 12.2.2).
type datagrams struct {
	conn net.Conn
	lose func() bool

	mu      sync.Mutex
	closed  bool
	repeats map[string]*time.Timer // of our requests, by Call-ID and CSeq
	acks    map[string][]byte      // by Call-ID and the number of CSeq
	answers map[string][]byte      // to the server's requests, by Call-ID and CSeq
	newest  map[string]uint64      // number of CSeq of the server's newest request, by Call-ID
}

// The timers of RFC 3261 section 17.1.2.2.
const (
	timerT1 = 500 * time.Millisecond
	timerT2 = 4 * time.Second
	timerF  = 64 * timerT1
)

func dialUDP(o Options) (*datagrams, error) {
	conn, err := net.Dial("udp", o.Addr)
	if err != nil {
		return nil, err
	}
	d := &datagrams{conn: conn, lose: o.Lose, repeats: map[string]*time.Timer{}, acks: map[string][]byte{}, answers: map[string][]byte{},
		newest: map[string]uint64{}}
	if d.lose == nil {
		d.lose = func() bool { return false }
	}
	return d, nil
}

// readDatagrams is the client's goroutine over UDP.
func (c *Client) readDatagrams() {
	b := make([]byte, 64<<10)
	for {
		n, err := c.conn.Read(b)
		if err != nil {
			c.ended(err)
			return
		}
		if c.udp.lost() {
			continue
		}
		m, err := ReadMessage(bufio.NewReader(bytes.NewReader(b[:n])), nil)
		switch {
		case err != nil:
			c.ended(err)
			return
		case m.Status() != 0:
			if c.udp.answered(m) {
				c.answered(m)
			}
		case c.udp.fresh(m):
			c.request(m, false)
		}
	}
}

func (d *datagrams) lost() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lose()
}

func (d *datagrams) send(b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sendLocked(b)
}

func (d *datagrams) sendLocked(b []byte) {
	if !d.closed && !d.lose() {
		d.conn.Write(b) //nolint:errcheck // it is lost, then
	}
}

// request sends a request and repeats it until it is answered, or nobody waits any more.
func (d *datagrams) request(method, callID, cseq string, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if method == "ACK" {
		number, _, _ := strings.Cut(cseq, " ")
		d.acks[callID+" "+number] = b
		d.sendLocked(b)
		return
	}
	if d.closed {
		return
	}
	key, started, pause := callID+" "+cseq, time.Now(), timerT1
	var t *time.Timer
	t = time.AfterFunc(pause, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.repeats[key] != t || time.Since(started) > timerF {
			return
		}
		d.sendLocked(b)
		pause = min(2*pause, timerT2)
		t.Reset(pause)
	})
	d.repeats[key] = t
	d.sendLocked(b)
}

// answered ends the repetition of a request. False says that the answer has come before; one to an INVITE means that our
// ACK was lost.
func (d *datagrams) answered(m *Message) (first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	callID := m.Header("Call-ID")
	key := callID + " " + m.Header("CSeq")
	if t := d.repeats[key]; t != nil {
		if m.Status() >= 200 {
			t.Stop()
			delete(d.repeats, key)
		}
		return true
	}
	number, _, _ := strings.Cut(m.Header("CSeq"), " ")
	if ack := d.acks[callID+" "+number]; ack != nil && m.Method() == "INVITE" {
		d.sendLocked(ack)
	}
	return false
}

// fresh says whether a request is to be handled. One that came before is answered as before.
func (d *datagrams) fresh(m *Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	callID := m.Header("Call-ID")
	key := callID + " " + m.Header("CSeq")
	if b, again := d.answers[key]; again {
		if b != nil { // else it is being handled, or the client is silent
			d.sendLocked(b)
		}
		return false
	}
	number, _, _ := strings.Cut(m.Header("CSeq"), " ")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n < d.newest[callID] {
		d.sendLocked([]byte("SIP/2.0 500 Out of Order\r\n" + echo(m) + "Content-Length: 0\r\n\r\n"))
		return false
	}
	d.newest[callID], d.answers[key] = n, nil
	return true
}

// answer sends the answer to a request and keeps it for its repetitions.
func (d *datagrams) answer(m *Message, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[m.Header("Call-ID")+" "+m.Header("CSeq")] = b
	d.sendLocked(b)
}

func (d *datagrams) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, t := range d.repeats {
		t.Stop()
	}
	clear(d.repeats)
}

// echo returns the lines that an answer copies from its request.
func echo(m *Message) string {
	var b strings.Builder
	for _, l := range m.Lines {
		name, _, _ := strings.Cut(l, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "via", "from", "to", "call-id", "cseq":
			b.WriteString(l + "\r\n")
		}
	}
	return b.String()
}
