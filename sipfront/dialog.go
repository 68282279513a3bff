package sipfront

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/flow"
)

// maxDialogs of one flow. The open client has two for a moment.
const maxDialogs = 256

// dialog is one INVITE's. It is pinned to the flow that the INVITE came on, whatever Contact, Via and Record-Route
// say: the connection that a client made is the one way back through whatever stands before him (RFC 5626, section 1).
type dialog struct {
	client   *client
	user     event.Principal
	endpoint event.Endpoint
	callID   string
	tag      string // ours
	from     []byte // the client's From value, with his tag
	sipe     bool
	dest     *flow.Dest
	inviteID uint32 // CSeq of the INVITE

	ended   atomic.Bool
	touched atomic.Int64  // Unix nanoseconds of the last sign of life
	last    atomic.Uint64 // last request of the client: CSeq << 32 | status of its answer, 0: not answered yet

	// The session timer (RFC 4028).
	interval  atomic.Int64                 // nanoseconds without a sign of life that end it
	refresh   atomic.Pointer[flow.Payload] // what keeps it alive, when that was left to us; nil: the client does it
	refreshed atomic.Int64                 // Unix nanoseconds, when we last did

	// under the ledger's lock
	held   map[event.RoomID]*hold
	putOut map[event.RoomID]struct{} // rooms that the pool ended its session in, and that it has not left since

	// shard goroutine only
	rooms   map[event.RoomID]int // rooms it hears, with its place in the audience
	replies []*reply
}

func (d *dialog) touch() { d.touched.Store(time.Now().UnixNano()) }

// invite opens a dialog, or refreshes one (RFC 3261 sections 12 to 14; seen of pidgin-sipe).
func (c *client) invite(m *flow.Message, req *sip.Request) {
	f := c.front
	if flow.Param(m.Get(flow.To), "tag") != nil {
		if d := c.inDialog(m); d != nil && c.checkTimer(m) {
			c.accept(m, d)
		}
		return
	}
	st := f.backend.State()
	user := c.admit(m, st)
	if user == "" {
		return
	}
	if cause := f.unavailable(); cause != "" {
		c.busy(m, cause)
		return
	}
	if !f.active(st) {
		c.busy(m, "not_active")
		return
	}
	if f.load.now() != loadNormal {
		c.busy(m, "overload")
		return
	}
	if !f.serves(st, m.URI) || !f.serves(st, flow.Addr(m.Get(flow.To))) {
		c.refuse(m, 404, "Not Found", "no_such_uri", f.diagnostics(1003, "No such chat service"))
		return
	}
	if t := m.Get(flow.ContentType); len(m.Body) > 0 && !isType(t, "application/sdp") {
		c.refuse(m, 415, "Unsupported Media Type", "media_type", "Accept: application/sdp\r\n")
		return
	}
	if !c.checkTimer(m) {
		return
	}
	d := c.newDialog(m, req, user)
	if d == nil {
		c.refuse(m, 400, "Malformed INVITE", "malformed")
		return
	}
	if !c.add(d) {
		c.busy(m, "too_many_dialogs")
		return
	}
	c.accept(m, d)
}

const minSession = 90 // seconds, RFC 4028 section 5

// checkTimer refuses a session interval that is none, or too short.
func (c *client) checkTimer(m *flow.Message) bool {
	v := m.Get(flow.SessionExpires)
	n, ok := flow.Number(v, 1<<31)
	switch {
	case v == nil:
		return true
	case !ok:
		c.refuse(m, 400, "Malformed Session-Expires", "malformed")
	case n < minSession: // RFC 4028 section 6
		c.refuse(m, 422, "Session Interval Too Small", "session_interval", "Min-SE: 90\r\n")
	}
	return ok && n >= minSession
}

// serves reports whether a URI is the chat service: the pool's, another address that administrators gave it, the one told
// by cmd:requri, or the name that first-generation clients try when they are told none (docs/protocol.md, Around it: SIP).
func (f *Front) serves(st *chat.State, uri []byte) bool {
	p := event.UserPrincipal(string(uri))
	if _, ok := st.Endpoint(p); ok {
		return true
	}
	return p != "" && (p == event.UserPrincipal(st.PoolURI()) || p == event.UserPrincipal(f.chatURI(st)) ||
		p == event.UserPrincipal("ocschat@"+st.Domain()))
}

func isType(value []byte, want string) bool {
	t, _, _ := bytes.Cut(value, []byte{';'})
	return strings.EqualFold(string(bytes.TrimSpace(t)), want)
}

func (c *client) newDialog(m *flow.Message, req *sip.Request, user event.Principal) *dialog {
	from := m.Get(flow.From)
	own := flow.Addr(m.Get(flow.To))
	target := flow.Addr(m.Get(flow.Contact))
	if !plainURI(target) {
		target = flow.Addr(from)
	}
	if !plainURI(own) || !plainURI(target) || len(flow.Param(from, "tag")) == 0 || req.From() == nil {
		return nil
	}
	d := &dialog{client: c, user: user, endpoint: event.Endpoint(strings.Clone(string(c.endpointOf(m)))),
		callID: string(m.Get(flow.CallID)), tag: newTag(), from: bytes.Clone(from), sipe: isSipe(m), inviteID: m.Seq}
	d.last.Store(uint64(m.Seq)<<32 | 200)
	d.touch() // before the sweep can see it: it would hold a dialog never heard of for expired
	d.interval.Store(int64(c.front.cfg.SessionExpires))
	var before, middle strings.Builder
	before.WriteString(" " + string(target) + " SIP/2.0\r\nVia: SIP/2.0/" + c.conn.Transport() + " " + c.conn.Local().String() +
		";branch=z9hG4bK" + d.tag + ".")
	middle.WriteString("\r\nMax-Forwards: 70\r\n")
	for i := range m.Headers { // the route set, in the order of the request (RFC 3261 section 12.1.1)
		if h := &m.Headers[i]; h.ID == flow.RecordRoute {
			middle.WriteString("Route: " + string(h.Value) + "\r\n")
		}
	}
	// The open client drops an INFO whose From is not the URI it invited (seen of pidgin-sipe).
	middle.WriteString("From: <" + string(own) + ">;tag=" + d.tag + "\r\nTo: " + string(from) + "\r\nCall-ID: " + d.callID + "\r\nCSeq: ")
	d.dest = flow.NewDest(before.String(), middle.String())
	return d
}

// plainURI reports whether a URI can be put into a request line as it is.
func plainURI(b []byte) bool {
	return schemeOK(b) && bytes.IndexByte(b, ' ') < 0 && bytes.IndexByte(b, '<') < 0
}

func (c *client) add(d *dialog) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.dialogs) >= maxDialogs {
		return false
	}
	c.dialogs[d.tag] = d
	c.front.ledger.enter(d)
	c.shard.after(0, func(s *shard) { s.know(d) })
	return true
}

// accept answers INVITE and re-INVITE. Session-Expires is in every one: the open client takes it from the first dialog
// and applies it to the second, and without it floods the server with UPDATEs (seen of pidgin-sipe).
func (c *client) accept(m *flow.Message, d *dialog) {
	own := string(flow.Addr(m.Get(flow.To)))
	b := make([]byte, 0, 1024)
	b = flow.AppendStatus(b, 200, "OK")
	b = m.AppendEcho(b, d.tag)
	b = m.AppendRecordRoute(b)
	b = append(b, "Contact: <"+own+">\r\n"...)
	b = append(b, c.sessionTimer(m, d)...)
	b = append(b, allow...)
	c.conn.Answer(flow.AppendBody(b, "application/sdp", c.sdp(own)))
	d.answeredWith(m.Seq, 200)
	d.touch()
}

// sessionTimer sets the session timer and returns its header lines. The interval is what the client asks for, or ours if
// that is shorter (RFC 4028 section 9). The client refreshes unless it leaves that to us; one that does not say that it
// knows the extension gets the bare number, because the open client reads no parameters.
func (c *client) sessionTimer(m *flow.Message, d *dialog) string {
	n := uint64(c.front.cfg.SessionExpires / time.Second)
	v := m.Get(flow.SessionExpires)
	if asked, ok := flow.Number(v, 1<<31); ok {
		n = min(n, asked)
	}
	interval := strconv.FormatUint(n, 10)
	d.interval.Store(int64(n) * int64(time.Second))
	d.refresh.Store(nil)
	if !supports(m, "timer") {
		return "Session-Expires: " + interval + "\r\n"
	}
	refresher := "uac"
	if own := flow.Addr(m.Get(flow.To)); strings.EqualFold(string(flow.Param(v, "refresher")), "uas") && plainURI(own) {
		refresher = "uas" // who is the client of the request with which we do it
		d.refresh.Store(flow.NewRequest("UPDATE", "Session-Expires: "+interval+";refresher=uac\r\nSupported: timer\r\nContact: <"+string(own)+">\r\n"))
		d.refreshed.Store(time.Now().UnixNano())
	}
	return "Session-Expires: " + interval + ";refresher=" + refresher + "\r\nRequire: timer\r\nSupported: timer\r\n"
}

// sdp is the answer to an offer that nobody reads: the chat goes in INFO requests (docs/protocol.md, Around it: SIP).
func (c *client) sdp(uri string) []byte {
	host, port, err := net.SplitHostPort(c.conn.Local().String())
	if err != nil {
		host, port = "0.0.0.0", "5060"
	}
	family := "IP4"
	if strings.Contains(host, ":") {
		family = "IP6"
	}
	return []byte("v=0\r\no=- 0 0 IN " + family + " " + host + "\r\ns=session\r\nc=IN " + family + " " + host +
		"\r\nt=0 0\r\nm=message " + port + " sip " + uri + "\r\na=accept-types:text/plain\r\n")
}

// inDialog finds the dialog of a request inside one and checks sender and order. It answers the request itself and
// returns nil if it may not go on.
func (c *client) inDialog(m *flow.Message) *dialog {
	d := c.dialogOf(m, flow.To)
	if d == nil || !bytes.Equal(flow.Param(m.Get(flow.From), "tag"), flow.Param(d.from, "tag")) {
		c.refuse(m, 481, "Call/Transaction Does Not Exist", "no_dialog")
		return nil
	}
	if from := m.Get(flow.From); !bytes.Equal(from, d.from) && principalOf(from) != d.user {
		c.refuse(m, 403, "From Is Not the User of This Dialog", "wrong_from")
		return nil
	}
	switch last := d.last.Load(); {
	case m.Seq < uint32(last>>32): // RFC 3261 section 12.2.2
		c.refuse(m, 500, "CSeq Out of Order", "cseq")
		return nil
	case m.Seq == uint32(last>>32):
		// A repetition: transactions are matched by Call-ID and CSeq, because clients send no branch (seen of
		// pidgin-sipe). It is answered as the first time, or not at all while that is still being decided.
		if status := int(uint32(last)); status == 200 {
			c.respond(m, 200, "OK")
		} else if status != 0 {
			c.respond(m, status, "Repeated")
		}
		return nil
	}
	d.last.Store(uint64(m.Seq) << 32)
	d.touch()
	return d
}

// answeredWith remembers the answer to the client's newest request.
func (d *dialog) answeredWith(seq uint32, status int) {
	d.last.CompareAndSwap(uint64(seq)<<32, uint64(seq)<<32|uint64(status))
}

func (c *client) ack(m *flow.Message) {
	if d := c.dialogOf(m, flow.To); d != nil {
		d.touch()
	}
}

// update refreshes the session timer (RFC 3311, RFC 4028).
func (c *client) update(m *flow.Message) {
	if d := c.inDialog(m); d != nil && c.checkTimer(m) {
		d.answeredWith(m.Seq, 200)
		c.respond(m, 200, "OK", c.sessionTimer(m, d), "Contact: <"+string(flow.Addr(m.Get(flow.To)))+">\r\n")
	}
}

func (c *client) bye(m *flow.Message) {
	d := c.inDialog(m)
	if d == nil {
		return
	}
	c.respond(m, 200, "OK")
	c.conn.After(func() { c.front.end(d, event.PartBye, "bye") })
}

// cancel has nothing to cancel: INVITEs are answered at once (RFC 3261 section 9.2).
func (c *client) cancel(m *flow.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.dialogs {
		if d.callID == string(m.Get(flow.CallID)) && d.inviteID == m.Seq {
			c.respond(m, 200, "OK")
			return
		}
	}
	c.refuse(m, 481, "Call/Transaction Does Not Exist", "no_dialog")
}

// answered takes the client's answer to one of our requests. Answers that say the dialog is gone end it
// (docs/protocol.md, Around it: SIP).
func (c *client) answered(m *flow.Message) {
	if m.Status < 200 {
		return
	}
	d := c.dialogOf(m, flow.From)
	if d == nil || !c.conn.Answered(d.dest, m.Seq) {
		c.front.metrics.rejected.WithLabelValues("stray_answer").Inc()
		return
	}
	switch m.Status {
	case 408, 481, 487:
		c.front.end(d, event.PartClosed, "client_"+strconv.Itoa(m.Status))
		return
	}
	d.touch()
}

// end ends a dialog: its rooms are parted and its audiences forget it.
func (f *Front) end(d *dialog, reason event.PartReason, cause string) {
	if f.remove(d, cause) {
		f.ledger.leave(reason, d)
	}
}

// endAll ends all dialogs of a flow; their rooms are parted in one command.
func (f *Front) endAll(c *client, reason event.PartReason) {
	c.mu.Lock()
	all := make([]*dialog, 0, len(c.dialogs))
	for _, d := range c.dialogs {
		all = append(all, d)
	}
	c.mu.Unlock()
	ended := all[:0]
	for _, d := range all {
		if f.remove(d, "flow_closed") {
			ended = append(ended, d)
		}
	}
	f.ledger.leave(reason, ended...)
}

// remove takes a dialog out of service; false says that somebody else did.
func (f *Front) remove(d *dialog, cause string) bool {
	if !d.ended.CompareAndSwap(false, true) {
		return false
	}
	c := d.client
	c.mu.Lock()
	delete(c.dialogs, d.tag)
	c.mu.Unlock()
	c.conn.CloseDest(d.dest)
	f.metrics.dialogsEnded.WithLabelValues(cause).Inc()
	c.shard.after(0, func(s *shard) { s.drop(d) })
	return true
}

// sweepDialogs ends what has shown no life for too long. A request without an answer closes the flow: either nobody is
// there, or the client does not know the dialog. A session that was not refreshed ends with BYE, except for the open
// client: it never comes back from a BYE, but does when its connection closes (seen of pidgin-sipe).
func (f *Front) sweepDialogs(now time.Time) {
	for _, d := range f.ledger.dialogs() {
		c := d.client
		if c.conn.Unanswered(d.dest) > f.cfg.AnswerTimeout {
			c.conn.Close(flow.ClosedUnanswered)
			continue
		}
		if r := d.refresh.Load(); r != nil && now.UnixNano()-d.refreshed.Load() >= d.interval.Load()/2 { // RFC 4028 section 7.2
			d.refreshed.Store(now.UnixNano())
			c.conn.Ask(d.dest, r)
		}
		if now.UnixNano()-d.touched.Load() <= d.interval.Load() {
			continue
		}
		if d.sipe {
			c.conn.Close(closedExpired)
			continue
		}
		if f.remove(d, "expired") {
			c.conn.Send(c.conn.CloseDest(d.dest))
			f.ledger.leave(event.PartExpired, d)
		}
	}
}
