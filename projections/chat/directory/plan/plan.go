// Package plan says what may be changed in a directory: a Plan is one as it is going to be, and it changes under the
// rules. It is pure and leaves the Directory that it starts from as it is.
package plan

import (
	"maps"
	"slices"

	"parley/log/event"
	"parley/projections/chat/directory"
)

// Plan is a directory as it is going to be: one that changes under the rules, on top of a Directory that does not. It
// is for one decision; it may be made of a Directory that others read.
type Plan struct {
	d      *directory.Directory
	users  map[event.Principal]*directory.User // as planned; nil: removed
	groups map[event.GroupID]*directory.Group
	units  map[event.UnitID]*directory.Unit

	userIn map[event.Principal][]directory.Ref // of accounts that change their groups, unit or existence
	nodeIn map[directory.Ref][]directory.Ref   // the same of groups and units
	gone   map[directory.Ref]bool              // groups that are removed
	fresh  []event.Principal                   // new groups and units: the numbers after the Directory's
	refs   map[event.Principal]directory.Ref   // theirs

	members    map[event.GroupID]map[event.Principal]bool // true: comes in, false: leaves
	groupNames map[string]event.GroupID                   // "": free
	unitNames  map[string]event.UnitID
	entryNames map[string]event.Principal
}

// NewPlan returns a plan that changes nothing yet.
func NewPlan(d *directory.Directory) *Plan {
	return &Plan{d: d, users: map[event.Principal]*directory.User{}, groups: map[event.GroupID]*directory.Group{}, units: map[event.UnitID]*directory.Unit{},
		userIn: map[event.Principal][]directory.Ref{}, nodeIn: map[directory.Ref][]directory.Ref{}, gone: map[directory.Ref]bool{}, refs: map[event.Principal]directory.Ref{},
		members:    map[event.GroupID]map[event.Principal]bool{},
		groupNames: map[string]event.GroupID{}, unitNames: map[string]event.UnitID{}, entryNames: map[string]event.Principal{}}
}

// User returns an account as planned, or nil.
func (p *Plan) User(u event.Principal) *directory.User {
	if planned, ok := p.users[u]; ok {
		return planned
	}
	return p.d.User(u)
}

// Group returns a group as planned, or nil.
func (p *Plan) Group(id event.GroupID) *directory.Group {
	if planned, ok := p.groups[id]; ok {
		return planned
	}
	return p.d.Group(id)
}

// Unit returns a unit as planned, or nil.
func (p *Plan) Unit(id event.UnitID) *directory.Unit {
	if planned, ok := p.units[id]; ok {
		return planned
	}
	return p.d.Unit(id)
}

// GroupByName is Directory's.
func (p *Plan) GroupByName(name string) *directory.Group {
	if id, ok := p.groupNames[directory.FoldName(name)]; ok {
		return p.Group(id)
	}
	return p.d.GroupByName(name)
}

// UnitByName is Directory's.
func (p *Plan) UnitByName(parent event.UnitID, name string) *directory.Unit {
	if id, ok := p.unitNames[directory.PlaceName(parent, name)]; ok {
		return p.Unit(id)
	}
	return p.d.UnitByName(parent, name)
}

// EntryByName is Directory's.
func (p *Plan) EntryByName(unit event.UnitID, name string) event.Principal {
	if who, ok := p.entryNames[directory.PlaceName(unit, name)]; ok {
		return who
	}
	return p.d.EntryByName(unit, name)
}

// ref returns the number of a group or unit, a new one for one that is new.
func (p *Plan) ref(who event.Principal) directory.Ref {
	if r, ok := p.d.Find(who); ok {
		return r
	}
	r, ok := p.refs[who]
	if !ok {
		r = directory.Ref(int(p.d.Size()) + len(p.fresh))
		p.refs[who] = r
		p.fresh = append(p.fresh, who)
	}
	return r
}

func (p *Plan) principal(r directory.Ref) event.Principal {
	if n := int(p.d.Size()); int(r) >= n {
		return p.fresh[int(r)-n]
	}
	return p.d.Principal(r)
}

// in returns the groups and the unit that somebody is in directly.
func (p *Plan) in(who event.Principal) []directory.Ref {
	if directory.IsCollective(who) {
		return p.inNode(p.ref(who))
	}
	if in, ok := p.userIn[who]; ok {
		return in
	}
	return p.d.In(who)
}

func (p *Plan) inNode(r directory.Ref) []directory.Ref {
	if in, ok := p.nodeIn[r]; ok {
		return in
	}
	if r < p.d.Size() {
		return p.d.InOf(r)
	}
	return nil
}

// above returns what a number led to before the plan; nil for a new one.
func (p *Plan) above(r directory.Ref) []directory.Ref {
	if r < p.d.Size() {
		return p.d.Above(r)
	}
	return nil
}

func (p *Plan) setIn(who event.Principal, in []directory.Ref) {
	if directory.IsCollective(who) {
		p.nodeIn[p.ref(who)] = in
	} else {
		p.userIn[who] = in
	}
}

// climb returns everything that these lead to, themselves included.
func (p *Plan) climb(from []directory.Ref) []directory.Ref {
	var out []directory.Ref
	seen := map[directory.Ref]bool{}
	add := func(in []directory.Ref) {
		for _, r := range in {
			if !seen[r] && !p.gone[r] {
				seen[r] = true
				out = append(out, r)
			}
		}
	}
	add(from)
	for i := 0; i < len(out); i++ {
		add(p.inNode(out[i]))
	}
	return out
}

// Reach is Directory.Reach, as planned. New groups and units have numbers too, which nothing else knows of.
func (p *Plan) Reach(u *directory.User, buf []directory.Ref) []directory.Ref {
	buf = append(buf, directory.Everyone)
	for _, r := range p.in(u.URI) {
		if p.gone[r] {
			continue
		}
		if above := p.above(r); above != nil && !slices.ContainsFunc(above, p.changes) {
			buf = append(buf, above...)
		} else {
			buf = append(buf, p.climb([]directory.Ref{r})...)
		}
	}
	return buf
}

// changes reports whether a node is contained in others than before.
func (p *Plan) changes(r directory.Ref) bool {
	_, moved := p.nodeIn[r]
	return moved || p.gone[r]
}

// Effect tells whose rights a plan may change, so that the consequences cost what they touch.
type Effect struct {
	// Changed are the accounts that are removed or whose fields change, by URI.
	Changed []event.Principal
	// Moved are the accounts, groups and units that are contained in others than before, by principal. Of a group or
	// unit that means everybody in it.
	Moved []event.Principal
	// Through are the principals that contain somebody now and not afterwards, or the other way round.
	Through map[directory.Ref]bool
}

// Effect returns whose rights the plan may change.
func (p *Plan) Effect() Effect {
	e := Effect{Changed: slices.Sorted(maps.Keys(p.users)), Through: map[directory.Ref]bool{}}
	differ := func(before, after []directory.Ref) bool {
		return !slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(after)))
	}
	note := func(who event.Principal, before, after []directory.Ref) {
		if !differ(before, after) {
			return
		}
		e.Moved = append(e.Moved, who)
		for _, r := range before {
			if !slices.Contains(after, r) {
				for _, up := range p.above(r) {
					e.Through[up] = true
				}
			}
		}
		for _, r := range after {
			if !slices.Contains(before, r) {
				for _, up := range p.climb([]directory.Ref{r}) {
					e.Through[up] = true
				}
			}
		}
	}
	for who, in := range p.userIn {
		if p.d.User(who) != nil && p.User(who) != nil { // who is removed is in Changed
			note(who, p.d.In(who), in)
		}
	}
	for r, in := range p.nodeIn {
		if r < p.d.Size() {
			note(p.principal(r), p.d.InOf(r), in)
		}
	}
	for r := range p.gone {
		e.Moved = append(e.Moved, p.principal(r))
		for _, up := range p.above(r) {
			e.Through[up] = true
		}
	}
	slices.Sort(e.Moved)
	e.Moved = slices.Compact(e.Moved)
	return e
}

// entryFree refuses a relative name that another account or group has in the unit.
func (p *Plan) entryFree(who event.Principal, unit event.UnitID, name string) *Fault {
	if has := p.EntryByName(unit, name); name != "" && has != "" && has != who {
		return Refuse(Conflict, "D2", has, "%s has the name %q in the same unit", has, name)
	}
	return nil
}

// moveEntry notes the place and name of an account or group.
func (p *Plan) moveEntry(who event.Principal, from, to event.UnitID, oldName, newName string) {
	if oldName != "" && p.EntryByName(from, oldName) == who {
		p.entryNames[directory.PlaceName(from, oldName)] = ""
	}
	if newName != "" {
		p.entryNames[directory.PlaceName(to, newName)] = who
	}
}

func (p *Plan) checkUnit(id event.UnitID) *Fault {
	if id != "" && p.Unit(id) == nil {
		return Refuse(NotFound, "D3", event.UnitPrincipal(id), "there is no unit %s", id)
	}
	return nil
}

// removed refuses to make again what the same plan removes: it would keep what it was given.
func removed(who event.Principal) *Fault {
	return Refuse(Conflict, "D2", who, "%s is removed and made in one change", who)
}

// PutUser makes an account or replaces its fields; an empty secret leaves the old one.
func (p *Plan) PutUser(who event.Principal, info event.UserInfo, secret event.Secret) *Fault {
	if !IsUser(who) {
		return Refuse(Invalid, "D1", who, "%q is not \"sip:user@domain\" in lower case", who)
	}
	if f := lines("a field of the account", MaxNameBytes, info.DisplayName, info.Email, info.Name, info.GivenName, info.Surname,
		info.Company, secret.Realm); f != nil {
		return f
	}
	if len(secret.HA1SHA256) > maxHashBytes || len(secret.HA1MD5) > maxHashBytes {
		return Refuse(Invalid, "D1", who, "a secret is a hash of at most %d bytes", maxHashBytes)
	}
	if planned, ok := p.users[who]; ok && planned == nil {
		return removed(who)
	}
	if f := p.checkUnit(info.Unit); f != nil {
		return f
	}
	if f := p.entryFree(who, info.Unit, info.Name); f != nil {
		return f
	}
	old := p.User(who)
	in := p.in(who)
	var was event.UserInfo
	if old != nil {
		was = old.Info
		if directory.NoSecret(&secret) {
			secret = old.Secret
		}
	}
	if was.Unit != info.Unit || old == nil {
		if was.Unit != "" {
			in = directory.Without(in, p.ref(event.UnitPrincipal(was.Unit)))
		}
		if info.Unit != "" {
			in = directory.With(in, p.ref(event.UnitPrincipal(info.Unit)))
		}
		if r, ok := p.d.Find(event.DomainPrincipal(directory.Domain(who))); ok && old == nil {
			in = directory.With(in, r)
		}
		p.setIn(who, in)
	}
	p.moveEntry(who, was.Unit, info.Unit, was.Name, info.Name)
	p.users[who] = &directory.User{URI: who, Info: info, Secret: secret}
	return nil
}

// RemoveUser removes an account.
func (p *Plan) RemoveUser(who event.Principal) *Fault {
	u := p.User(who)
	if u == nil {
		return Refuse(NotFound, "D3", who, "there is no %s", who)
	}
	for _, changed := range p.members {
		delete(changed, who) // its removal says it all
	}
	p.moveEntry(who, u.Info.Unit, "", u.Info.Name, "")
	p.users[who], p.userIn[who] = nil, nil
	return nil
}

// PutGroup makes a group or replaces its fields.
func (p *Plan) PutGroup(id event.GroupID, info event.GroupInfo) *Fault {
	if f := guid("id of a group", string(id)); f != nil {
		return f
	}
	if f := name("name of a group", info.Name); f != nil {
		return f
	}
	if f := line("description of a group", info.Description, MaxTextBytes); f != nil {
		return f
	}
	if f := line("e-mail of a group", info.Email, MaxNameBytes); f != nil {
		return f
	}
	who := event.GroupPrincipal(id)
	if planned, ok := p.groups[id]; ok && planned == nil {
		return removed(who)
	}
	if other := p.GroupByName(info.Name); other != nil && other.ID != id {
		return Refuse(Conflict, "D2", event.GroupPrincipal(other.ID), "group %s has the name %q", other.ID, other.Info.Name)
	}
	if f := p.checkUnit(info.Unit); f != nil {
		return f
	}
	if f := p.entryFree(who, info.Unit, info.Name); f != nil {
		return f
	}
	var was event.GroupInfo
	if old := p.Group(id); old != nil {
		was = old.Info
		p.groupNames[directory.FoldName(was.Name)] = ""
	} else {
		p.setIn(who, nil)
	}
	p.groupNames[directory.FoldName(info.Name)] = id
	p.moveEntry(who, was.Unit, info.Unit, was.Name, info.Name)
	p.groups[id] = &directory.Group{ID: id, Info: info}
	return nil
}

// RemoveGroup removes a group. It costs nothing per member.
func (p *Plan) RemoveGroup(id event.GroupID) *Fault {
	g := p.Group(id)
	who := event.GroupPrincipal(id)
	if g == nil {
		return Refuse(NotFound, "D3", who, "there is no group %s", id)
	}
	for _, changed := range p.members {
		delete(changed, who)
	}
	delete(p.members, id)
	p.groupNames[directory.FoldName(g.Info.Name)] = ""
	p.moveEntry(who, g.Info.Unit, "", g.Info.Name, "")
	p.groups[id] = nil
	p.gone[p.ref(who)] = true
	return nil
}

func (p *Plan) isMember(id event.GroupID, who event.Principal) bool {
	if is, ok := p.members[id][who]; ok {
		return is
	}
	return p.wasMember(id, who)
}

func (p *Plan) wasMember(id event.GroupID, who event.Principal) bool {
	r, ok := p.d.Find(event.GroupPrincipal(id))
	return ok && p.d.HasMember(r, who)
}

func (p *Plan) noteMember(id event.GroupID, who event.Principal, comes bool) {
	changed := p.members[id]
	if changed == nil {
		changed = map[event.Principal]bool{}
		p.members[id] = changed
	}
	if p.wasMember(id, who) == comes {
		delete(changed, who)
	} else {
		changed[who] = comes
	}
}

// AddMember puts an account or a group into a group. One that is in it already stays.
func (p *Plan) AddMember(id event.GroupID, who event.Principal) *Fault {
	group := event.GroupPrincipal(id)
	switch {
	case p.Group(id) == nil:
		return Refuse(NotFound, "D3", group, "there is no group %s", id)
	case !directory.IsGroup(who) && !IsUser(who):
		return Refuse(Invalid, "D4", who, "%q is no account and no group, so no member of a group", who)
	case !directory.Known(p, who):
		return Refuse(NotFound, "D3", who, "there is no %s", who)
	case p.isMember(id, who):
		return nil
	}
	g := p.ref(group)
	up := p.climb([]directory.Ref{g})
	if directory.IsGroup(who) && slices.Contains(up, p.ref(who)) {
		return Refuse(Conflict, "D5", who, "group %s is in %s, so it cannot have it as a member", id, who)
	}
	in := directory.With(p.in(who), g)
	if n := max(len(in), len(up)); n > MaxGroupsOf {
		return Refuse(TooLarge, "D6", who, "%s would be in %d groups, at most %d", who, n, MaxGroupsOf)
	}
	p.setIn(who, in)
	p.noteMember(id, who, true)
	return nil
}

// RemoveMember takes an account or a group out of a group. One that is not in it stays out.
func (p *Plan) RemoveMember(id event.GroupID, who event.Principal) *Fault {
	if p.Group(id) == nil {
		return Refuse(NotFound, "D3", event.GroupPrincipal(id), "there is no group %s", id)
	}
	if !p.isMember(id, who) {
		if !directory.Known(p, who) {
			return Refuse(NotFound, "D3", who, "there is no %s", who)
		}
		return nil
	}
	p.setIn(who, directory.Without(p.in(who), p.ref(event.GroupPrincipal(id))))
	p.noteMember(id, who, false)
	return nil
}

// SetMembers gives a group exactly these members.
func (p *Plan) SetMembers(id event.GroupID, list []event.Principal) *Fault {
	if f := p.KeepMembers(id, list); f != nil { // first, so that what closes a cycle may trade places
		return f
	}
	for _, who := range list {
		if f := p.AddMember(id, who); f != nil {
			return f
		}
	}
	return nil
}

// KeepMembers takes everybody out of a group who is not in the list.
func (p *Plan) KeepMembers(id event.GroupID, list []event.Principal) *Fault {
	stays := make(map[event.Principal]bool, len(list))
	for _, who := range list {
		stays[who] = true
	}
	var leave []event.Principal
	for who := range p.d.Members(event.GroupPrincipal(id)) {
		if !stays[who] && p.isMember(id, who) {
			leave = append(leave, who)
		}
	}
	for who, comes := range p.members[id] {
		if comes && !stays[who] {
			leave = append(leave, who)
		}
	}
	for _, who := range leave {
		if f := p.RemoveMember(id, who); f != nil {
			return f
		}
	}
	return nil
}

// PutUnit makes a unit or replaces its fields.
func (p *Plan) PutUnit(id event.UnitID, info event.UnitInfo) *Fault {
	if f := guid("id of a unit", string(id)); f != nil {
		return f
	}
	if f := name("name of a unit", info.Name); f != nil {
		return f
	}
	if f := line("description of a unit", info.Description, MaxTextBytes); f != nil {
		return f
	}
	if f := p.checkUnit(info.Parent); f != nil {
		return f
	}
	who := event.UnitPrincipal(id)
	if planned, ok := p.units[id]; ok && planned == nil {
		return removed(who)
	}
	if other := p.UnitByName(info.Parent, info.Name); other != nil && other.ID != id {
		return Refuse(Conflict, "D2", event.UnitPrincipal(other.ID), "unit %s has the name %q in the same parent", other.ID, other.Info.Name)
	}
	var in []directory.Ref
	if info.Parent != "" {
		in = []directory.Ref{p.ref(event.UnitPrincipal(info.Parent))}
	}
	up := p.climb(in)
	if slices.Contains(up, p.ref(who)) {
		return Refuse(Conflict, "D5", event.UnitPrincipal(info.Parent), "unit %s is inside %s, so it cannot be its parent", info.Parent, id)
	}
	if len(up)+p.height(id) > MaxUnitDepth {
		return Refuse(TooLarge, "D6", who, "units would be more than %d deep", MaxUnitDepth)
	}
	old := p.Unit(id)
	if old != nil {
		p.unitNames[directory.PlaceName(old.Info.Parent, old.Info.Name)] = ""
	}
	if old == nil || old.Info.Parent != info.Parent {
		p.setIn(who, in)
	}
	p.unitNames[directory.PlaceName(info.Parent, info.Name)] = id
	p.units[id] = &directory.Unit{ID: id, Info: info}
	return nil
}

// height returns how many levels of units there are from a unit down, itself included. Units that were moved in the
// same plan are counted where they were, too: the limit is one of sanity.
func (p *Plan) height(id event.UnitID) int {
	r, ok := p.d.Find(event.UnitPrincipal(id))
	if !ok {
		return 1
	}
	deepest := 0
	for _, b := range p.d.Below(r) {
		deepest = max(deepest, len(p.d.Above(b)))
	}
	return deepest - len(p.d.Above(r)) + 1
}

// RemoveUnit removes a unit in which nothing is.
func (p *Plan) RemoveUnit(id event.UnitID) *Fault {
	u := p.Unit(id)
	who := event.UnitPrincipal(id)
	if u == nil {
		return Refuse(NotFound, "D3", who, "there is no unit %s", id)
	}
	if in := p.resident(id); in != "" {
		return Refuse(Conflict, "D7", in, "unit %q is not empty: %s is in it", u.Info.Name, in)
	}
	p.unitNames[directory.PlaceName(u.Info.Parent, u.Info.Name)] = ""
	p.setIn(who, nil)
	p.units[id] = nil
	return nil
}

// resident returns somebody who is going to live in a unit, or a unit in it; "" when it is going to be empty.
func (p *Plan) resident(id event.UnitID) event.Principal {
	for who := range p.d.Members(event.UnitPrincipal(id)) {
		if g, ok := who.Group(); ok {
			if at := p.Group(g); at != nil && at.Info.Unit == id {
				return who
			}
		} else if u := p.User(who); u != nil && u.Info.Unit == id {
			return who
		}
	}
	if at, ok := p.d.Find(event.UnitPrincipal(id)); ok {
		for _, r := range p.d.Kids(at) {
			kid, _ := p.principal(r).Unit()
			if u := p.Unit(kid); u != nil && u.Info.Parent == id {
				return p.principal(r)
			}
		}
	}
	var in []event.Principal
	for who, u := range p.users {
		if u != nil && u.Info.Unit == id {
			in = append(in, who)
		}
	}
	for g, at := range p.groups {
		if at != nil && at.Info.Unit == id {
			in = append(in, event.GroupPrincipal(g))
		}
	}
	for kid, u := range p.units {
		if u != nil && u.Info.Parent == id {
			in = append(in, event.UnitPrincipal(kid))
		}
	}
	if len(in) == 0 {
		return ""
	}
	return slices.Min(in)
}
