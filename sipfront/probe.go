package sipfront

import (
	"slices"
	"time"

	"parley/sipfront/flow"
)

// A peer over UDP that has gone says nothing, and nothing says so: there is no connection that could break, and no
// keep-alive that would have to be answered (TCP and TLS have TCP's own, see package flow). Neither does a quiet peer
// owe us anything: a chat client that only reads may say nothing for as long as its session timer runs. So one that is
// in a chat and has been quiet for a while is asked, by an OPTIONS inside its dialog, which sipgo repeats as RFC 3261
// section 17.1.2.2 wants it. Any sign of life will do for an answer, keep-alives included.
const (
	quietTime     = 14 * time.Second // without a sign of life before we ask; together with the next and two sweeps ≤ 32 s
	probePatience = 15 * time.Second // for the answer: half of Timer F, about seven transmissions
)

// probe is a question for a sign of life. Only the sweep uses it.
type probe struct {
	sent  time.Time // zero: none is out
	heard time.Time // when the peer was heard last before it
}

// sweepUDP asks the quiet, and removes those that did not answer, were closed or are over a time limit.
func (f *Front) sweepUDP(now time.Time) {
	f.udpMu.Lock()
	all := slices.Clone(f.udp)
	f.udpMu.Unlock()
	for _, s := range all {
		for _, conn := range s.Flows.Conns() {
			conn.App.(*client).sweepQuiet(now)
		}
		s.Flows.Sweep(now)
	}
}

func (c *client) sweepQuiet(now time.Time) {
	heard := c.conn.Heard()
	if !c.probe.sent.IsZero() && heard.Equal(c.probe.heard) {
		if now.Sub(c.probe.sent) >= probePatience {
			c.conn.Close(flow.ClosedUnanswered)
		}
		return
	}
	c.probe = probe{}
	if now.Sub(heard) < quietTime {
		return
	}
	c.mu.Lock()
	var d *dialog
	for _, d = range c.dialogs { // any of them: it is the peer that is asked
		break
	}
	c.mu.Unlock()
	if d != nil && c.conn.Probe(d.dest) { // without a dialog he is in no room
		c.probe = probe{now, heard}
		c.front.metrics.probes.Inc()
	}
}
