package chat

import (
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat/policy"
	"parley/projections/chat/registry"
	"parley/projections/chat/roles"
)

// Limits of what belongs to the pool as a whole.
const (
	MaxAddIns       = 1000
	maxAddInName    = 50  // characters, as the product
	maxAddInURL     = 255 // bytes, as the product
	MaxEndpoints    = 100
	maxPolicyScopes = 10_000
)

// administer decides the commands about the pool as a whole.
func (d *decider) administer(c Command) (Decision, error) {
	switch c := c.(type) {
	case *CreateAddIn:
		return d.createAddIn(c)
	case *ChangeAddIn:
		return d.changeAddIn(c)
	case *RemoveAddIn:
		return d.removeAddIn(c)
	case *SetPolicy:
		return d.setPolicy(c)
	case *RemovePolicy:
		return d.removePolicy(c)
	case *GrantPolicy:
		return d.grantPolicy(c)
	case *SetConfiguration:
		return d.setConfiguration(c)
	case *RemoveConfiguration:
		if x, _ := d.s.book.Configuration(c.Scope); x.Revision == 0 {
			return Decision{}, noScope("configuration", c.Scope)
		}
		return d.one("", &event.ConfigurationRemoved{Scope: c.Scope}, Result{})
	case *SetCompliance:
		return d.setCompliance(c)
	case *RemoveCompliance:
		if x, _ := d.s.book.Compliance(c.Scope); x.Revision == 0 {
			return Decision{}, noScope("compliance configuration", c.Scope)
		}
		return d.one("", &event.ComplianceRemoved{Scope: c.Scope}, Result{})
	case *ChangeAdmin:
		return d.changeAdmin(c)
	case *RecordRead:
		return d.recordRead(c)
	case *IssueToken:
		return d.issueToken(c)
	case *RevokeToken:
		return d.revokeToken(c)
	case *SetEndpoint:
		return d.setEndpoint(c)
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

func noScope(what string, s event.Scope) error {
	return Refuse(CodeNotFound, "no %s of scope %q", what, s)
}

// changed refuses a change of something that was changed after the caller had seen it (rule R13).
func changed(what string, seen, now event.Offset) error {
	if seen != 0 && seen != now {
		return Refuse(CodeConflict, "change %s: it was changed meanwhile", what).Breaks("R13", "")
	}
	return nil
}

func (d *decider) checkAddIn(id event.AddInID, info *event.AddInInfo) error {
	info.Name = strings.TrimSpace(info.Name)
	if err := checkTitle("add-in", info.Name, maxAddInName); err != nil {
		return err
	}
	if other, taken := d.s.reg.AddInByName(info.Name); taken && other.ID != id {
		return Refuse(CodeConflict, "add-in %q: the name is taken", info.Name).Breaks("R12", "")
	}
	if len(info.URL) > maxAddInURL {
		return Refuse(CodeTooLarge, "add-in %q: URL of %d bytes, at most %d", info.Name, len(info.URL), maxAddInURL)
	}
	if err := policy.CheckURL("URL", info.URL); err != nil {
		return Refuse(CodeInvalid, "add-in %q: %v", info.Name, err)
	}
	return nil
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
	n := 0
	for range d.s.reg.AddIns() {
		n++
	}
	if n >= MaxAddIns {
		return Decision{}, Refuse(CodeTooLarge, "create add-in: there are %d", n)
	}
	info := c.Info
	if err := d.checkAddIn(id, &info); err != nil {
		return Decision{}, err
	}
	return d.one("", &event.AddInCreated{AddIn: id, Info: info}, Result{AddIn: id})
}

func (d *decider) changeAddIn(c *ChangeAddIn) (Decision, error) {
	old, ok := d.s.reg.AddIn(c.ID)
	if !ok {
		return Decision{}, Refuse(CodeNotFound, "change add-in: no add-in %q", c.ID)
	}
	if err := changed("add-in "+old.Info.Name, c.Revision, old.Revision); err != nil {
		return Decision{}, err
	}
	info := c.Info
	if err := d.checkAddIn(c.ID, &info); err != nil {
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

// scoped checks what setting something for a scope asks for, whatever it is.
func (d *decider) scoped(what string, scope event.Scope, create, exists bool, seen, now event.Offset) error {
	if s, err := policy.ParseScope(string(scope)); err != nil || s != scope {
		return Refuse(CodeInvalid, "set %s: scope %q is not in canonical form", what, scope)
	}
	switch {
	case create && exists && now != 0:
		return Refuse(CodeConflict, "create %s: scope %q has one", what, scope).Breaks("R12", "")
	case !create && !exists && scope != policy.Global:
		return noScope(what, scope)
	}
	return changed(what+" of "+string(scope), seen, now)
}

func (d *decider) setPolicy(c *SetPolicy) (Decision, error) {
	old, exists := d.s.book.Policy(c.Scope)
	if err := d.scoped("policy", c.Scope, c.Create, exists, c.Revision, old.Revision); err != nil {
		return Decision{}, err
	}
	if err := policy.CheckPolicy(&c.Info); err != nil {
		return Decision{}, Refuse(CodeInvalid, "policy of %s: %v", c.Scope, err)
	}
	n := 0
	for range d.s.book.Policies() {
		n++
	}
	if !exists && n >= maxPolicyScopes {
		return Decision{}, Refuse(CodeTooLarge, "set policy: there are %d", n)
	}
	if exists && old.Info == c.Info {
		return Decision{}, nil
	}
	return d.lockOut(&event.PolicySet{Scope: c.Scope, Info: c.Info})
}

func (d *decider) removePolicy(c *RemovePolicy) (Decision, error) {
	if _, exists := d.s.book.Policy(c.Scope); !exists {
		return Decision{}, noScope("policy", c.Scope)
	}
	if u, held := d.s.book.Holds(c.Scope); held && !c.Force {
		return Decision{}, Refuse(CodeConflict, "remove policy %s: users were given it, such as %s: take it away first, or force it", c.Scope, u).About(u)
	}
	return d.lockOut(&event.PolicyRemoved{Scope: c.Scope})
}

// grantPolicy gives users a policy, all of them or none.
func (d *decider) grantPolicy(c *GrantPolicy) (Decision, error) {
	if c.Scope != "" {
		if !policy.IsUser(c.Scope) {
			return Decision{}, Refuse(CodeInvalid, "grant policy: scope %q is none for users", c.Scope)
		}
		if _, exists := d.s.book.Policy(c.Scope); !exists {
			return Decision{}, noScope("policy", c.Scope)
		}
	}
	if len(c.Users) > MaxPrincipals {
		return Decision{}, Refuse(CodeTooLarge, "grant policy: %d users, at most %d", len(c.Users), MaxPrincipals)
	}
	var bad faults
	ev := &event.PolicyGranted{Scope: c.Scope}
	for i, u := range c.Users {
		switch {
		case d.s.dir.User(u) == nil:
			bad.add(i, Refuse(CodeNotFound, "grant policy: no user %q", u).About(u))
		case d.s.book.Granted(u) != c.Scope:
			ev.Users = append(ev.Users, u)
		}
	}
	if err := bad.refusal("grant policy"); err != nil {
		return Decision{}, err
	}
	slices.Sort(ev.Users)
	if ev.Users = slices.Compact(ev.Users); len(ev.Users) == 0 {
		return Decision{}, nil
	}
	return d.lockOut(ev)
}

// lockOut ends, in the same decision as a change of policies, the sessions of those who may not use persistent chat any
// more (R15).
func (d *decider) lockOut(ev event.Event) (Decision, error) {
	out, err := d.one("", ev, Result{})
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

func (d *decider) setConfiguration(c *SetConfiguration) (Decision, error) {
	old, exists := d.s.book.Configuration(c.Scope)
	if policy.IsUser(c.Scope) {
		return Decision{}, Refuse(CodeInvalid, "set configuration: it holds for a site or a pool, not for users (%q)", c.Scope)
	}
	if err := d.scoped("configuration", c.Scope, c.Create, exists, c.Revision, old.Revision); err != nil {
		return Decision{}, err
	}
	if err := policy.CheckConfiguration(&c.Info); err != nil {
		return Decision{}, Refuse(CodeInvalid, "configuration of %s: %v", c.Scope, err)
	}
	if exists && old.Info == c.Info && !c.Create {
		return Decision{}, nil
	}
	return d.one("", &event.ConfigurationSet{Scope: c.Scope, Info: c.Info}, Result{})
}

func (d *decider) setCompliance(c *SetCompliance) (Decision, error) {
	old, exists := d.s.book.Compliance(c.Scope)
	if policy.IsUser(c.Scope) {
		return Decision{}, Refuse(CodeInvalid, "set compliance: it holds for a site or a pool, not for users (%q)", c.Scope)
	}
	if err := d.scoped("compliance configuration", c.Scope, c.Create, exists, c.Revision, old.Revision); err != nil {
		return Decision{}, err
	}
	if err := policy.CheckCompliance(&c.Info); err != nil {
		return Decision{}, Refuse(CodeInvalid, "compliance configuration of %s: %v", c.Scope, err)
	}
	if exists && old.Info == c.Info && !c.Create {
		return Decision{}, nil
	}
	return d.one("", &event.ComplianceSet{Scope: c.Scope, Info: c.Info}, Result{})
}

// adminPrefix begins the principals of administrators that are no users.
const adminPrefix = "admin:"

// checkAdmin refuses who cannot be an administrator.
func (d *decider) checkAdmin(what string, p event.Principal) error {
	name, named := strings.CutPrefix(string(p), adminPrefix)
	if named {
		return checkTitle("administrator", name, MaxNameCharacters)
	}
	if d.s.dir.User(p) == nil {
		return Refuse(CodeNotFound, "%s: %q is neither \"admin:NAME\" nor a user", what, p).About(p)
	}
	return nil
}

func (d *decider) changeAdmin(c *ChangeAdmin) (Decision, error) {
	if err := d.checkAdmin("change administrator", c.Admin); err != nil {
		return Decision{}, err
	}
	if d.s.reg.Admin(c.Admin) == c.Roles {
		return Decision{}, nil
	}
	return d.one("", &event.AdminChanged{Admin: c.Admin, Roles: c.Roles.Names()}, Result{})
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

func (d *decider) setEndpoint(c *SetEndpoint) (Decision, error) {
	if !isUser(c.Address) || !strings.HasPrefix(string(c.Address), "sip:") {
		return Decision{}, Refuse(CodeInvalid, "endpoint %q is not \"sip:name@domain\" in lower case", c.Address)
	}
	if err := checkLine("endpoint", string(c.Address), MaxPrincipalBytes); err != nil {
		return Decision{}, err
	}
	if err := checkLine("display name of endpoint", c.DisplayName, MaxNameBytes); err != nil {
		return Decision{}, err
	}
	if d.s.dir.User(c.Address) != nil || string(c.Address) == d.s.head.poolURI {
		return Decision{}, Refuse(CodeConflict, "endpoint %s: the address belongs to somebody", c.Address).Breaks("R12", c.Address)
	}
	old, exists := d.s.reg.Endpoint(c.Address)
	if exists && old == (registry.Endpoint{Address: c.Address, DisplayName: c.DisplayName}) {
		return Decision{}, nil
	}
	n := 0
	for range d.s.reg.Endpoints() {
		n++
	}
	if !exists && n >= MaxEndpoints {
		return Decision{}, Refuse(CodeTooLarge, "set endpoint: there are %d", n)
	}
	return d.one("", &event.EndpointSet{Address: c.Address, DisplayName: c.DisplayName}, Result{})
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
	return d.lockOut(&event.PoolPlaced{Site: c.Site})
}
