package chat

import (
	"strings"

	"parley/log/event"
)

// formPool is the first command of a pool; forming the same pool again succeeds without an event.
func (d *decider) formPool(c *FormPool) (Decision, error) {
	if d.s.head.formed {
		if d.s.head.domain == c.Domain && d.s.head.poolURI == c.PoolURI {
			return Decision{}, nil
		}
		return Decision{}, Refuse(CodeConflict, "form pool %q: this is the pool %s", c.Domain, d.s.head.domain)
	}
	if err := checkPrincipal("domain of the pool", event.DomainPrincipal(c.Domain)); err != nil {
		return Decision{}, err
	}
	if !isUser(event.Principal(c.PoolURI)) || !strings.HasPrefix(c.PoolURI, "sip:") {
		return Decision{}, Refuse(CodeInvalid, "form pool %s: pool URI %q, want sip:NAME@%s", c.Domain, c.PoolURI, c.Domain)
	}
	return d.one("", &event.PoolFormed{Domain: c.Domain, PoolURI: c.PoolURI}, Result{})
}

// startNode opens the next incarnation of a node: Result.Epoch is its number.
func (d *decider) startNode(c *StartNode) (Decision, error) {
	if d.Node == "" {
		return Decision{}, Refuse(CodeInvalid, "start node: it has no name")
	}
	if err := checkLine("version", c.Version, MaxNameBytes); err != nil {
		return Decision{}, err
	}
	inc := event.Incarnation(1)
	if n := d.s.nodes.Get(d.Node); n != nil {
		inc = n.Incarnation + 1
	}
	return d.one("", &event.NodeStarted{Incarnation: inc, Version: c.Version}, Result{Epoch: uint64(inc)})
}

// loseNode ends an incarnation. One that is over already, lost or followed by another, is no event.
func (d *decider) loseNode(c *LoseNode) (Decision, error) {
	n := d.s.nodes.Get(c.Node)
	if n == nil {
		return Decision{}, Refuse(CodeNotFound, "lose node: no node %q", c.Node)
	}
	if c.Incarnation > n.Incarnation {
		return Decision{}, Refuse(CodeInvalid, "lose node %s: incarnation %d, the newest is %d", c.Node, c.Incarnation, n.Incarnation)
	}
	if err := checkLine("reason", c.Reason, MaxDescriptionBytes); err != nil {
		return Decision{}, err
	}
	if c.Incarnation < n.Incarnation || !n.Alive {
		return Decision{}, nil
	}
	e := d.draft("", &event.NodeLost{Incarnation: c.Incarnation, Reason: c.Reason})
	e.Node = c.Node
	return Decision{Events: []event.Draft{e}}, nil
}
