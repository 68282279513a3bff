package chat

import (
	"fmt"
	"slices"

	"parley/log/event"
	"parley/projections/chat/directory"
	"parley/projections/chat/directory/bulk"
	"parley/projections/chat/directory/plan"
)

// faulty makes a refusal of what a plan refuses.
func faulty(what string, f *plan.Fault) *Refusal {
	code := map[plan.Class]Code{plan.Invalid: CodeInvalid, plan.NotFound: CodeNotFound, plan.Conflict: CodeConflict,
		plan.TooLarge: CodeTooLarge}[f.Class]
	r := Refuse(code, "%s: %s", what, f)
	r.Rule, r.Principal = f.Rule, f.Who
	return r
}

// stale refuses a change of something that was changed after the caller had seen it (rule D8).
func stale(what string, seen, now event.Offset) error {
	if seen == 0 || seen == now {
		return nil
	}
	return faulty(what, plan.Refuse(plan.Conflict, "D8", "", "it was changed meanwhile: seen at revision %d, now at %d", seen, now))
}

// follow makes a decision of a plan: its changes, the end of the sessions of whoever loses the right to be where he is,
// and its removals.
func (d *decider) follow(what string, p *plan.Plan, r Result) (Decision, error) {
	changes, removals := p.Events()
	if err := d.unnamed(what, removals); err != nil {
		return Decision{}, err
	}
	out := Decision{Result: r}
	for _, e := range changes {
		out.Events = append(out.Events, d.draft("", e))
	}
	for _, x := range d.s.lose(p) {
		out.Events = append(out.Events, d.parted(&x, event.PartKicked))
	}
	for _, e := range removals {
		out.Events = append(out.Events, d.draft("", e))
	}
	return out, nil
}

// unnamed refuses to remove a group or unit that a category names (rule D7). A wall must not fall silently because the
// group it kept out is gone.
func (d *decider) unnamed(what string, removals []event.Event) (err error) {
	gone := map[directory.Ref]event.Principal{}
	for _, e := range removals {
		var p event.Principal
		switch e := e.(type) {
		case *event.GroupRemoved:
			p = event.GroupPrincipal(e.Group)
		case *event.UnitRemoved:
			p = event.UnitPrincipal(e.Unit)
		default:
			continue
		}
		if r, ok := d.s.dir.Find(p); ok {
			gone[r] = p
		}
	}
	if len(gone) == 0 {
		return nil
	}
	d.s.categories.Scan(func(g *category) bool {
		for _, r := range slices.Concat(g.allowed.shared, g.denied.shared, g.creators.shared) {
			if p, ok := gone[r]; ok {
				err = faulty(what, plan.Refuse(plan.Conflict, "D7", p, "category %q names %s: take it out there first", g.Info.Name, p))
			}
		}
		return err == nil
	})
	return err
}

// checkKnown refuses groups and units that are not there (rule D3). An account may be named before it is made: whom a wall
// keeps out may be known before he comes.
func (d *decider) checkKnown(what string, list []event.Principal) error {
	for _, p := range list {
		if directory.IsCollective(p) && !d.s.dir.Exists(p) {
			return faulty(what, plan.Refuse(plan.NotFound, "D3", p, "there is no %s", p))
		}
	}
	return nil
}

// putUser is what making and changing an account have in common.
func (d *decider) putUser(what string, who event.Principal, info event.UserInfo, secret event.Secret) (Decision, error) {
	p := plan.NewPlan(d.s.dir)
	if f := p.PutUser(who, info, secret); f != nil {
		return Decision{}, faulty(what, f)
	}
	return d.follow(what, p, Result{})
}

func (d *decider) createUser(c *CreateUser) (Decision, error) {
	if d.s.dir.User(c.User) != nil {
		return Decision{}, faulty("create user", plan.Refuse(plan.Conflict, "D2", c.User, "%s exists", c.User))
	}
	return d.putUser("create user", c.User, c.Info, c.Secret)
}

// changeUser replaces the fields. A user who is no longer enabled leaves all rooms in the same decision; one who moves
// to another unit, those that the old one let him into.
func (d *decider) changeUser(c *ChangeUser) (Decision, error) {
	what := fmt.Sprintf("change user %s", c.User)
	u := d.s.dir.User(c.User)
	if u == nil {
		return Decision{}, faulty("change user", plan.Refuse(plan.NotFound, "D3", c.User, "there is no %s", c.User))
	}
	if err := stale(what, c.Revision, u.Revision); err != nil {
		return Decision{}, err
	}
	return d.putUser(what, c.User, c.Info, c.Secret)
}

func (d *decider) removeUser(c *RemoveUser) (Decision, error) {
	p := plan.NewPlan(d.s.dir)
	if f := p.RemoveUser(c.User); f != nil {
		return Decision{}, faulty("remove user", f)
	}
	return d.follow("remove user", p, Result{})
}

func (d *decider) createGroup(c *CreateGroup) (Decision, error) {
	what := fmt.Sprintf("create group %q", c.Info.Name)
	raw, err := d.freshID(what, string(c.ID))
	if err != nil {
		return Decision{}, err
	}
	id := event.GroupID(raw)
	if d.s.dir.Group(id) != nil {
		return Decision{}, faulty(what, plan.Refuse(plan.Conflict, "D2", event.GroupPrincipal(id), "group %s exists", id))
	}
	p := plan.NewPlan(d.s.dir)
	if f := p.PutGroup(id, c.Info); f != nil {
		return Decision{}, faulty(what, f)
	}
	if f := setMembers(p, id, c.Members); f != nil {
		return Decision{}, faulty(what, f)
	}
	return d.follow(what, p, Result{Group: id})
}

func setMembers(p *plan.Plan, id event.GroupID, members []event.Principal) *plan.Fault {
	if len(members) > plan.MaxMembers {
		return plan.Refuse(plan.TooLarge, "D6", event.GroupPrincipal(id), "%d members, at most %d", len(members), plan.MaxMembers)
	}
	return p.SetMembers(id, members)
}

func (d *decider) changeGroup(c *ChangeGroup) (Decision, error) {
	who := event.GroupPrincipal(c.ID)
	g := d.s.dir.Group(c.ID)
	if g == nil {
		return Decision{}, faulty("change group", plan.Refuse(plan.NotFound, "D3", who, "there is no group %s", c.ID))
	}
	what := fmt.Sprintf("change group %q", g.Info.Name)
	if err := stale(what, c.Revision, g.Revision); err != nil {
		return Decision{}, err
	}
	p := plan.NewPlan(d.s.dir)
	f := p.PutGroup(c.ID, c.Info)
	switch {
	case f != nil:
	case c.Replace && len(c.Remove) > 0:
		f = plan.Refuse(plan.Invalid, "D1", who, "members are replaced and removed at once")
	case c.Replace:
		f = setMembers(p, c.ID, c.Add)
	case len(c.Add)+len(c.Remove) > plan.MaxMembers:
		f = plan.Refuse(plan.TooLarge, "D6", who, "%d changes of members, at most %d", len(c.Add)+len(c.Remove), plan.MaxMembers)
	default:
		f = changeMembers(p, c)
	}
	if f != nil {
		return Decision{}, faulty(what, f)
	}
	return d.follow(what, p, Result{Group: c.ID})
}

func changeMembers(p *plan.Plan, c *ChangeGroup) *plan.Fault {
	for _, m := range c.Remove {
		if f := p.RemoveMember(c.ID, m); f != nil {
			return f
		}
	}
	for _, m := range c.Add {
		if slices.Contains(c.Remove, m) {
			return plan.Refuse(plan.Invalid, "D1", m, "%s is added and removed at once", m)
		}
		if f := p.AddMember(c.ID, m); f != nil {
			return f
		}
	}
	return nil
}

func (d *decider) removeGroup(c *RemoveGroup) (Decision, error) {
	p := plan.NewPlan(d.s.dir)
	if f := p.RemoveGroup(c.ID); f != nil {
		return Decision{}, faulty("remove group", f)
	}
	return d.follow(fmt.Sprintf("remove group %q", d.s.dir.Group(c.ID).Info.Name), p, Result{Group: c.ID})
}

func (d *decider) createUnit(c *CreateUnit) (Decision, error) {
	what := fmt.Sprintf("create unit %q", c.Info.Name)
	raw, err := d.freshID(what, string(c.ID))
	if err != nil {
		return Decision{}, err
	}
	id := event.UnitID(raw)
	if d.s.dir.Unit(id) != nil {
		return Decision{}, faulty(what, plan.Refuse(plan.Conflict, "D2", event.UnitPrincipal(id), "unit %s exists", id))
	}
	return d.putUnit(what, id, c.Info)
}

func (d *decider) putUnit(what string, id event.UnitID, info event.UnitInfo) (Decision, error) {
	p := plan.NewPlan(d.s.dir)
	if f := p.PutUnit(id, info); f != nil {
		return Decision{}, faulty(what, f)
	}
	return d.follow(what, p, Result{Unit: id})
}

func (d *decider) changeUnit(c *ChangeUnit) (Decision, error) {
	u := d.s.dir.Unit(c.ID)
	if u == nil {
		return Decision{}, faulty("change unit", plan.Refuse(plan.NotFound, "D3", event.UnitPrincipal(c.ID), "there is no unit %s", c.ID))
	}
	what := fmt.Sprintf("change unit %q", u.Info.Name)
	if err := stale(what, c.Revision, u.Revision); err != nil {
		return Decision{}, err
	}
	return d.putUnit(what, c.ID, c.Info)
}

func (d *decider) removeUnit(c *RemoveUnit) (Decision, error) {
	p := plan.NewPlan(d.s.dir)
	if f := p.RemoveUnit(c.ID); f != nil {
		return Decision{}, faulty("remove unit", f)
	}
	return d.follow("remove unit", p, Result{Unit: c.ID})
}

func (d *decider) importDirectory(c *ImportDirectory) (Decision, error) {
	if len(c.Rows) > MaxImportRows {
		return Decision{}, faulty("import", plan.Refuse(plan.TooLarge, "D6", "", "%d rows, at most %d at once", len(c.Rows), MaxImportRows))
	}
	p := plan.NewPlan(d.s.dir)
	if r := badRows(len(c.Rows), bulk.Import(p, c.Rows, d.env.NewID)); r != nil {
		return Decision{}, r
	}
	changes, removals := p.Events()
	return d.follow("import", p, Result{Changed: uint64(len(changes) + len(removals))})
}

// badRows refuses an import for all of its bad rows, nil when there is none.
func badRows(rows int, bad []bulk.BadRow) error {
	if len(bad) == 0 {
		return nil
	}
	r := faulty("import", bad[0].Fault)
	text := fmt.Sprintf("import: %d of %d rows are bad, nothing was changed; line %d: %s", len(bad), rows, bad[0].Line, bad[0].Fault)
	r.Text = Refuse(r.Code, "%s", text).Text
	for _, b := range bad {
		r.Rows = append(r.Rows, RowFault{Line: b.Line, Text: b.Fault.Error()})
	}
	return r
}

// CheckImport says what is wrong with the rows of an import of any size, as the command would: nil, or a *Refusal with
// every bad row. A file with more than MaxImportRows is imported in parts; checked as a whole first, no part fails unless
// somebody else changes the directory meanwhile.
func (s *State) CheckImport(rows []ImportRow) error {
	n := 0
	newID := func() string {
		n++
		return fmt.Sprintf("ffffffff-ffff-4fff-8fff-%012x", n)
	}
	return badRows(len(rows), bulk.Import(plan.NewPlan(s.dir), rows, newID))
}

// ResolvePrincipal finds the principal that a text names: "*", "domain:NAME", "group:GUID", "ou:GUID", a SIP address, a
// distinguished name, or the name of a group. An error is a *Refusal.
func (s *State) ResolvePrincipal(text string) (event.Principal, error) {
	p, f := plan.Resolve(s.dir, text)
	if f != nil {
		return "", faulty("principal", f)
	}
	return p, nil
}

// ResolveUnit finds the organisational unit that a distinguished name or "ou:GUID" names; "" is the top. An error is a
// *Refusal.
func (s *State) ResolveUnit(text string) (event.UnitID, error) {
	id, f := plan.Place(s.dir, text)
	if f != nil {
		return "", faulty("unit", f)
	}
	return id, nil
}

// DistinguishedName returns the distinguished name of a group, a unit or an account, "" when it has none.
func (s *State) DistinguishedName(p event.Principal) string { return plan.DN(s.dir, p, s.head.domain) }
