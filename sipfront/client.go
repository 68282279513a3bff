package sipfront

import (
	"bytes"
	"strings"
	"sync"
	"time"

	"parley/log/event"
	"parley/sipfront/digest"
	"parley/sipfront/flow"
)

// client is what the front knows about a flow. One user signs in on a flow; what he sends later must be his own.
type client struct {
	front    *Front
	conn     *flow.Conn
	listener *listener
	shard    *shard
	inflight chan struct{} // commands at work

	dirty bool // shard only: something is queued since the last flush

	// reader goroutine only
	user     event.Principal // who signed in; empty: nobody
	endpoint event.Endpoint  // from REGISTER
	until    time.Time       // end of the registration
	sipe     bool            // the open client, which needs knobs
	digest   digest.State
	failures int // wrong passwords
	bucket   bucket

	probe probe // tick only

	mu      sync.Mutex
	dialogs map[string]*dialog // by our tag
}

// handler is the Front as package flow sees it.
type handler Front

func (h *handler) Opened(c *flow.Conn) {
	f := (*Front)(h)
	l, _ := c.App.(*listener)
	c.App = f.newClient(c, l)
}

func (f *Front) newClient(c *flow.Conn, l *listener) *client {
	n := f.nextFlow.Add(1)
	cl := &client{front: f, conn: c, listener: l, shard: f.shards[n%uint64(len(f.shards))],
		inflight: make(chan struct{}, f.cfg.InFlight), dialogs: map[string]*dialog{}}
	cl.digest = digest.State{Flow: n, Remote: c.Remote().String()}
	if c.Loopback() {
		cl.bucket = newBucket(f.cfg.LoopbackFlowRate, f.cfg.LoopbackFlowBurst)
	} else {
		cl.bucket = newBucket(f.cfg.FlowRate, f.cfg.FlowBurst)
	}
	f.metrics.flows.Inc()
	return cl
}

func (h *handler) Refused(reason string) { h.metrics.refused.WithLabelValues(reason).Inc() }

// Closed parts the user from every room that only this flow kept him in.
func (h *handler) Closed(c *flow.Conn, reason string) {
	f := (*Front)(h)
	cl := c.App.(*client)
	f.metrics.closed.WithLabelValues(reason).Inc()
	cl.signOff()
	f.endAll(cl, partReason(reason))
}

// partReason turns the reason for which a connection was closed into the one that the log keeps.
func partReason(closed string) event.PartReason {
	switch closed {
	case flow.ClosedOverflow, flow.ClosedSlow:
		return event.PartSlow
	case flow.ClosedUnanswered, flow.ClosedIdle, flow.ClosedHalf, closedExpired:
		return event.PartExpired
	case flow.ClosedShutdown:
		return event.PartNodeStopped
	}
	return event.PartClosed
}

const closedExpired = "session_expired"

func (c *client) overUDP() bool { return c.conn.Transport() == "UDP" }

// signOn records who is on the flow.
func (c *client) signOn(user event.Principal, until time.Time) {
	if c.user == "" {
		c.front.sessions.Add(1)
	}
	c.user, c.until = user, until
	c.conn.Known()
}

func (c *client) signOff() {
	if c.user != "" {
		c.front.sessions.Add(-1)
	}
	c.user, c.endpoint, c.until = "", "", time.Time{}
}

// acquire takes a slot for a command; with all of them at work it blocks, and the flow is not read meanwhile.
func (c *client) acquire() {
	select {
	case c.inflight <- struct{}{}:
	case <-c.front.stop: // nobody releases any more
	}
}

func (c *client) release() {
	select {
	case <-c.inflight:
	case <-c.front.stop:
	}
}

// dialogOf finds the dialog of a request by our tag in To, or of an answer by our tag in From.
func (c *client) dialogOf(m *flow.Message, id flow.HeaderID) *dialog {
	tag := flow.Param(m.Get(id), "tag")
	if tag == nil {
		return nil
	}
	c.mu.Lock()
	d := c.dialogs[string(tag)]
	c.mu.Unlock()
	if d == nil || string(m.Get(flow.CallID)) != d.callID {
		return nil
	}
	return d
}

// principalOf returns whom a From or To value names.
func principalOf(value []byte) event.Principal {
	addr := flow.Addr(value)
	if i := bytes.IndexByte(addr, ':'); i < 0 || !strings.EqualFold(string(addr[:i]), "sip") && !strings.EqualFold(string(addr[:i]), "sips") {
		return ""
	}
	return event.UserPrincipal(string(addr))
}

// endpointOf returns the device of a request: epid of From, else the instance of the registration, else the host it
// came from, which is the same after a reconnect.
func (c *client) endpointOf(m *flow.Message) event.Endpoint {
	if epid := flow.Param(m.Get(flow.From), "epid"); len(epid) > 0 {
		return event.Endpoint(strings.ToLower(string(epid)))
	}
	if c.endpoint != "" {
		return c.endpoint
	}
	return event.Endpoint("host:" + hostOf(c.conn))
}

func hostOf(c *flow.Conn) string {
	host := c.Remote().String()
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return host
}

func isSipe(m *flow.Message) bool { return bytes.Contains(m.Get(flow.UserAgent), []byte("Sipe/")) }
