package chat

import (
	"slices"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/policy"
	"parley/projections/chat/registry"
	"parley/projections/chat/roles"
)

// administer decides the commands about the pool as a whole.
func (d *decider) administer(c Command) (Decision, error) {
	if ev, known, err := d.s.book.Decide(c, d.exists); known {
		return d.lockOut(ev, err)
	}
	if ev, known, err := d.s.holds.Decide(c, d.s.head.offset); known {
		return d.maybe(ev, err)
	}
	if ev, res, known, err := d.s.feeds.Decide(c, d.Node, d.s.head.offset); known {
		if err == nil {
			err = d.keepsArchive(ev)
		}
		out, err := d.maybe(ev, err)
		out.Result = res
		return out, err
	}
	if ev, known, err := d.s.keys.Decide(c, d.s.head.offset); known {
		return d.maybe(ev, err)
	}
	switch c := c.(type) {
	case *CreateAddIn:
		return d.createAddIn(c)
	case *ChangeAddIn:
		return d.changeAddIn(c)
	case *RemoveAddIn:
		return d.removeAddIn(c)
	case *ChangeAdmin:
		return d.maybe(d.s.reg.ChangeAdmin(c, d.exists))
	case *RecordRead:
		return d.recordRead(c)
	case *IssueToken:
		return d.issueToken(c)
	case *RevokeToken:
		return d.revokeToken(c)
	case *SetEndpoint:
		return d.maybe(d.s.reg.SetEndpoint(c, func(p event.Principal) bool { return d.exists(p) || string(p) == d.s.head.poolURI }))
	case *RemoveEndpoint:
		if _, ok := d.s.reg.Endpoint(c.Address); !ok {
			return Decision{}, Refuse(CodeNotFound, "remove endpoint: no endpoint %q", c.Address)
		}
		return d.one("", &event.EndpointRemoved{Address: c.Address}, Result{})
	case *SetActiveServers:
		return d.setActiveServers(c)
	case *PlacePool:
		return d.placePool(c)
	}
	return Decision{}, Refuse(CodeUnsupported, "unknown command %T", c)
}

// exists reports whether there is an account.
func (d *decider) exists(p event.Principal) bool { return d.s.dir.User(p) != nil }

// checkAdmin refuses who cannot be an administrator.
func (d *decider) checkAdmin(what string, p event.Principal) error {
	return registry.CheckAdmin(what, p, d.exists)
}

// maybe makes a decision of at most one event.
func (d *decider) maybe(ev event.Event, err error) (Decision, error) {
	if ev == nil || err != nil {
		return Decision{}, err
	}
	return d.one("", ev, Result{})
}

func (d *decider) createAddIn(c *CreateAddIn) (Decision, error) {
	raw, err := d.freshID("create add-in", string(c.ID))
	if err != nil {
		return Decision{}, err
	}
	id := event.AddInID(raw)
	if _, exists := d.s.reg.AddIn(id); exists {
		return Decision{}, Refuse(CodeConflict, "create add-in: %s exists", id)
	}
	info, err := d.s.reg.SetAddIn(id, c.Info, true)
	if err != nil {
		return Decision{}, err
	}
	return d.one("", &event.AddInCreated{AddIn: id, Info: info}, Result{AddIn: id})
}

func (d *decider) changeAddIn(c *ChangeAddIn) (Decision, error) {
	old, ok := d.s.reg.AddIn(c.ID)
	if !ok {
		return Decision{}, Refuse(CodeNotFound, "change add-in: no add-in %q", c.ID)
	}
	if err := command.Changed("add-in "+old.Info.Name, c.Revision, old.Revision); err != nil {
		return Decision{}, err
	}
	info, err := d.s.reg.SetAddIn(c.ID, c.Info, false)
	if err != nil {
		return Decision{}, err
	}
	return d.one("", &event.AddInChanged{AddIn: c.ID, Info: info}, Result{AddIn: c.ID})
}

func (d *decider) removeAddIn(c *RemoveAddIn) (Decision, error) {
	old, ok := d.s.reg.AddIn(c.ID)
	if !ok {
		return Decision{}, Refuse(CodeNotFound, "remove add-in: no add-in %q", c.ID)
	}
	var user *Room
	d.s.rooms.Scan(func(r *Room) bool {
		if r.Info.AddIn == string(c.ID) {
			user = r
		}
		return user == nil
	})
	if user != nil {
		return Decision{}, inRoom(user.ID, CodeConflict, "remove add-in %q: rooms use it, such as %q", old.Info.Name, user.Info.Name)
	}
	return d.one("", &event.AddInRemoved{AddIn: c.ID, Name: old.Info.Name}, Result{AddIn: c.ID})
}

// lockOut ends, in the same decision as a change of policies, the sessions of those who may not use persistent chat any
// more (R15).
func (d *decider) lockOut(ev event.Event, err error) (Decision, error) {
	out, err := d.maybe(ev, err)
	switch ev.(type) {
	case *event.PolicySet, *event.PolicyRemoved, *event.PolicyGranted, *event.PoolPlaced:
	default:
		return out, err
	}
	after := d.s.book.After(ev)
	look := func(x *Session, out *Decision) {
		if on, decided := after.Enabled(x.User); !on && decided {
			if u := d.s.dir.User(x.User); u != nil && d.s.enabled(u) { // a session opened by trust is not ended by this
				out.Events = append(out.Events, d.parted(x, event.PartKicked))
			}
		}
	}
	if g, few := ev.(*event.PolicyGranted); few {
		for _, u := range g.Users {
			for x := range d.s.SessionsOf(u) {
				look(&x, &out)
			}
		}
		return out, err
	}
	d.s.sessions.Scan(func(x *Session) bool {
		look(x, &out)
		return true
	})
	return out, err
}

// sparesAdmins refuses a change of an account with a role from an administrator who could not give that role: with a new
// password he would have it.
func (d *decider) sparesAdmins(c Command) error {
	if d.Roles == 0 || d.Roles.May(roles.AdminChange) {
		return nil
	}
	var touched []event.Principal
	switch c := c.(type) {
	case *ChangeUser:
		touched = []event.Principal{c.User}
	case *RemoveUser:
		touched = []event.Principal{c.User}
	case *ImportDirectory:
		for i := range c.Rows {
			touched = append(touched, event.UserPrincipal(c.Rows[i].Address))
		}
	}
	for _, p := range touched {
		if d.s.reg.Admin(p) != 0 {
			return Refuse(CodeForbidden, "%s may not change %s, who is an administrator: %s", d.By, p, roles.Denial(roles.AdminChange)).Breaks(RuleRole, p)
		}
	}
	return nil
}

func (d *decider) setActiveServers(c *SetActiveServers) (Decision, error) {
	nodes := slices.Clone(c.Nodes)
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	for _, n := range nodes {
		if d.s.nodes.Get(n) == nil {
			return Decision{}, Refuse(CodeNotFound, "active servers: no node %q", n)
		}
	}
	if slices.Equal(nodes, d.s.ActiveServers()) {
		return Decision{}, nil
	}
	return d.one("", &event.ActiveServersSet{Nodes: nodes}, Result{})
}

func (d *decider) placePool(c *PlacePool) (Decision, error) {
	if c.Site != "" {
		if s, err := policy.ParseScope(string(policy.Site(c.Site))); err != nil || s != policy.Site(c.Site) {
			return Decision{}, Refuse(CodeInvalid, "site %q is not one line in lower case", c.Site)
		}
	}
	if c.Site == d.s.Site() {
		return Decision{}, nil
	}
	return d.lockOut(&event.PoolPlaced{Site: c.Site}, nil)
}
