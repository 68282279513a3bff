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

func checkUser(what string, info *event.UserInfo, secret *event.Secret) error {
	for _, f := range []string{info.DisplayName, info.Email, secret.Realm} {
		if err := checkLine(what, f, MaxNameBytes); err != nil {
			return err
		}
	}
	if len(secret.HA1SHA256) > 64 || len(secret.HA1MD5) > 64 {
		return Refuse(CodeInvalid, "%s: a secret is a hash of at most 64 bytes", what)
	}
	return nil
}

func (d *decider) createUser(c *CreateUser) (Decision, error) {
	if err := checkPrincipal("create user", c.User); err != nil {
		return Decision{}, err
	}
	if !isUser(c.User) {
		return Decision{}, Refuse(CodeInvalid, "create user: %q is not \"sip:user@domain\" in lower case", c.User)
	}
	if d.s.dir.User(c.User) != nil {
		return Decision{}, Refuse(CodeConflict, "create user: %s exists", c.User)
	}
	if err := checkUser("create user", &c.Info, &c.Secret); err != nil {
		return Decision{}, err
	}
	return d.one("", &event.UserCreated{User: c.User, Info: c.Info, Secret: c.Secret}, Result{})
}

// changeUser replaces the fields; a user who is no longer enabled leaves all rooms in the same decision.
func (d *decider) changeUser(c *ChangeUser) (Decision, error) {
	if d.s.dir.User(c.User) == nil {
		return Decision{}, Refuse(CodeNotFound, "change user: no user %q", c.User)
	}
	if err := checkUser("change user", &c.Info, &c.Secret); err != nil {
		return Decision{}, err
	}
	out, err := d.one("", &event.UserChanged{User: c.User, Info: c.Info, Secret: c.Secret}, Result{})
	if !c.Info.Enabled {
		for x := range d.s.SessionsOf(c.User) {
			out.Events = append(out.Events, d.parted(&x, event.PartKicked))
		}
	}
	return out, err
}

func (d *decider) removeUser(c *RemoveUser) (Decision, error) {
	if d.s.dir.User(c.User) == nil {
		return Decision{}, Refuse(CodeNotFound, "remove user: no user %q", c.User)
	}
	var out Decision
	for x := range d.s.SessionsOf(c.User) {
		out.Events = append(out.Events, d.parted(&x, event.PartKicked))
	}
	out.Events = append(out.Events, d.draft("", &event.UserRemoved{User: c.User}))
	return out, nil
}
