// Package bulk plans imports: many accounts, groups and units at once, all of them or none.
package bulk

import (
	"cmp"
	"slices"
	"strings"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/directory"
	"parley/projections/chat/directory/dn"
	"parley/projections/chat/directory/plan"
)

// Kind says what a row of an import is about.
type Kind string

// The kinds.
const (
	KindUser  Kind = "user"
	KindGroup Kind = "group"
	KindUnit  Kind = "ou"
)

// Fields is the set of fields that a row of an import has. The others stay as they are; in a new object they are empty,
// and a new account is enabled.
type Fields uint32

// The fields.
const (
	HasName Fields = 1 << iota
	HasUnit
	HasDisplayName
	HasEmail
	HasDescription
	HasGivenName
	HasSurname
	HasCompany
	HasEnabled
	HasMembers
)

// Row is one account, group or organisational unit of an import. Objects are found by Address (accounts), by ID or Name
// (groups), and by ID or Unit and Name (units). A row of a group or unit needs a name.
//
// Units, members and groups are named as plan.Resolve reads them: a distinguished name with or without the DC
// steps at its end, "group:GUID" or "ou:GUID"; a member also by SIP address, a group by name.
type Row struct {
	Line   uint32 // where the row begins in the file, from 1
	Kind   Kind
	Remove bool // the object is to go; only what finds it is looked at

	Address string // of an account, with or without "sip:"
	ID      string // GUID that a new group or unit gets, and by which one is found that has it; empty: any
	Has     Fields

	Name        string // of a group or unit; relative name (cn) of an account
	Unit        string // where it lives, of a unit the parent; empty: at the top
	DisplayName string
	Email       string
	Description string
	GivenName   string
	Surname     string
	Company     string
	Enabled     bool
	Secret      event.Secret // of an account; empty: stays

	Members  []string // of a group: exactly these, when Has says so
	MemberOf []string // groups that the account or group is put into; it leaves none
	Lenient  bool     // Members that are not there, such as the machines of another directory, are left out
}

// Code visits the fields.
func (r *Row) Code(c *wire.Coder) {
	wire.Uint(c, 1, &r.Line)
	wire.Str(c, 2, &r.Kind)
	c.Bool(3, &r.Remove)
	wire.Str(c, 4, &r.Address)
	wire.Str(c, 5, &r.ID)
	wire.Uint(c, 6, &r.Has)
	wire.Str(c, 7, &r.Name)
	wire.Str(c, 8, &r.Unit)
	wire.Str(c, 9, &r.DisplayName)
	wire.Str(c, 10, &r.Email)
	wire.Str(c, 11, &r.Description)
	wire.Str(c, 12, &r.GivenName)
	wire.Str(c, 13, &r.Surname)
	wire.Str(c, 14, &r.Company)
	c.Bool(15, &r.Enabled)
	c.Sub(16, r.Secret.Code)
	wire.Strs(c, 17, &r.Members)
	wire.Strs(c, 18, &r.MemberOf)
	c.Bool(19, &r.Lenient)
}

// BadRow is a row that an import cannot do.
type BadRow struct {
	Line  uint32
	Fault *plan.Fault
}

// importer is one import under way: rows are done in phases, so that they may stand in any order.
type importer struct {
	*plan.Plan
	newID func() string
	bad   []BadRow
	done  map[event.Principal]bool
	lists map[*Row][]event.Principal // members of groups, resolved
}

// Import adds all rows to the plan and returns the bad ones, by line. After a bad one the plan is of no use.
func Import(p *plan.Plan, rows []Row, newID func() string) []BadRow {
	m := &importer{Plan: p, newID: newID, done: map[event.Principal]bool{}, lists: map[*Row][]event.Principal{}}
	all := make([]*Row, 0, len(rows))
	for i := range rows {
		all = append(all, &rows[i])
	}
	down := slices.Clone(all) // from the top of the tree
	slices.SortStableFunc(down, func(a, b *Row) int { return cmp.Compare(depth(a.Unit), depth(b.Unit)) })
	m.each(down, false, KindUnit, m.unit)
	m.each(all, false, KindUser, m.user)
	m.each(all, false, KindGroup, m.group)
	m.each(all, false, KindGroup, m.keepMembers) // leaving comes before joining: what closes a cycle may trade places
	m.each(all, false, KindGroup, m.addMembers)
	m.each(all, false, KindGroup, m.join)
	m.each(all, false, KindUser, m.join)
	m.each(all, true, KindGroup, m.remove)
	m.each(all, true, KindUser, m.remove)
	slices.Reverse(down)
	m.each(down, true, KindUnit, m.remove)
	m.unknown(rows)
	slices.SortStableFunc(m.bad, func(a, b BadRow) int { return cmp.Compare(a.Line, b.Line) })
	return m.bad
}

// depth tells units near the top from those below; a name that does not parse is refused later.
func depth(unit string) int {
	steps, _, _ := dn.Split(strings.TrimSpace(unit))
	return len(steps)
}

// each does one phase for the rows of a kind that were not bad in an earlier one.
func (m *importer) each(rows []*Row, remove bool, kind Kind, do func(*Row) *plan.Fault) {
	bad := map[uint32]bool{}
	for _, b := range m.bad {
		bad[b.Line] = true
	}
	for _, r := range rows {
		if r.Kind != kind || r.Remove != remove || bad[r.Line] {
			continue
		}
		if f := do(r); f != nil {
			m.bad = append(m.bad, BadRow{r.Line, f})
		}
	}
}

func (m *importer) unknown(rows []Row) {
	for i := range rows {
		if k := rows[i].Kind; k != KindUser && k != KindGroup && k != KindUnit {
			m.bad = append(m.bad, BadRow{rows[i].Line, plan.Refuse(plan.Invalid, "D1", "", "kind %q is none of user, group, ou", k)})
		}
	}
}

// once refuses a second row about the same object.
func (m *importer) once(who event.Principal) *plan.Fault {
	if m.done[who] {
		return plan.Refuse(plan.Conflict, "D2", who, "%s has another row in this import", who)
	}
	m.done[who] = true
	return nil
}

// set takes a field of the row if it has it.
func set[T any](r *Row, f Fields, to *T, v T) {
	if r.Has&f != 0 {
		*to = v
	}
}

// findUnit returns the unit of a row: by id, else by place and name.
func (m *importer) findUnit(r *Row) (u *directory.Unit, parent event.UnitID, f *plan.Fault) {
	if u := m.Unit(event.UnitID(r.ID)); u != nil && r.ID != "" {
		parent = u.Info.Parent
		if r.Has&HasUnit == 0 {
			return u, parent, nil
		}
		parent, f = plan.Place(m, r.Unit)
		return u, parent, f
	}
	if parent, f = plan.Place(m, r.Unit); f != nil {
		return nil, "", f
	}
	return m.UnitByName(parent, r.Name), parent, nil
}

func (m *importer) fresh(id string) string {
	if id != "" {
		return id
	}
	return m.newID()
}

func (m *importer) unit(r *Row) *plan.Fault {
	u, parent, f := m.findUnit(r)
	if f != nil {
		return f
	}
	var id event.UnitID
	var info event.UnitInfo
	if u != nil {
		id, info = u.ID, u.Info
	} else {
		id = event.UnitID(m.fresh(r.ID))
	}
	if f := m.once(event.UnitPrincipal(id)); f != nil {
		return f
	}
	info.Name, info.Parent = r.Name, parent
	set(r, HasDescription, &info.Description, r.Description)
	return m.PutUnit(id, info)
}

func (m *importer) user(r *Row) *plan.Fault {
	who := event.UserPrincipal(r.Address)
	if f := m.once(who); f != nil {
		return f
	}
	info := event.UserInfo{Enabled: true}
	if u := m.User(who); u != nil {
		info = u.Info
	}
	if r.Has&HasUnit != 0 {
		unit, f := plan.Place(m, r.Unit)
		if f != nil {
			return f
		}
		info.Unit = unit
	}
	set(r, HasName, &info.Name, r.Name)
	set(r, HasDisplayName, &info.DisplayName, r.DisplayName)
	set(r, HasEmail, &info.Email, r.Email)
	set(r, HasGivenName, &info.GivenName, r.GivenName)
	set(r, HasSurname, &info.Surname, r.Surname)
	set(r, HasCompany, &info.Company, r.Company)
	set(r, HasEnabled, &info.Enabled, r.Enabled)
	return m.PutUser(who, info, r.Secret)
}

// findGroup returns the group of a row: by id, else by name.
func (m *importer) findGroup(r *Row) *directory.Group {
	if g := m.Group(event.GroupID(r.ID)); g != nil && r.ID != "" {
		return g
	}
	return m.GroupByName(r.Name)
}

func (m *importer) group(r *Row) *plan.Fault {
	var id event.GroupID
	var info event.GroupInfo
	if g := m.findGroup(r); g != nil {
		id, info = g.ID, g.Info
	} else {
		id = event.GroupID(m.fresh(r.ID))
	}
	if f := m.once(event.GroupPrincipal(id)); f != nil {
		return f
	}
	if r.Has&HasUnit != 0 {
		unit, f := plan.Place(m, r.Unit)
		if f != nil {
			return f
		}
		info.Unit = unit
	}
	info.Name = r.Name
	set(r, HasDescription, &info.Description, r.Description)
	set(r, HasEmail, &info.Email, r.Email)
	return m.PutGroup(id, info)
}

func (m *importer) keepMembers(r *Row) *plan.Fault {
	if r.Has&HasMembers == 0 {
		return nil
	}
	if len(r.Members) > plan.MaxMembers {
		return plan.Refuse(plan.TooLarge, "D6", "", "%d members, at most %d", len(r.Members), plan.MaxMembers)
	}
	list := make([]event.Principal, 0, len(r.Members))
	for _, text := range r.Members {
		who, f := plan.Resolve(m, text)
		if f != nil && f.Class == plan.NotFound && r.Lenient {
			continue
		}
		if f != nil {
			return f
		}
		list = append(list, who)
	}
	m.lists[r] = list
	return m.KeepMembers(m.findGroup(r).ID, list)
}

func (m *importer) addMembers(r *Row) *plan.Fault {
	for _, who := range m.lists[r] {
		if f := m.AddMember(m.findGroup(r).ID, who); f != nil {
			return f
		}
	}
	return nil
}

func (m *importer) join(r *Row) *plan.Fault {
	who := event.UserPrincipal(r.Address)
	if r.Kind == KindGroup {
		who = event.GroupPrincipal(m.findGroup(r).ID)
	}
	for _, text := range r.MemberOf {
		group, f := plan.Resolve(m, text)
		if f != nil {
			return f
		}
		id, ok := group.Group()
		if !ok {
			return plan.Refuse(plan.Invalid, "D4", group, "%s is no group", group)
		}
		if f := m.AddMember(id, who); f != nil {
			return f
		}
	}
	return nil
}

func (m *importer) remove(r *Row) *plan.Fault {
	switch r.Kind {
	case KindUser:
		who := event.UserPrincipal(r.Address)
		if f := m.once(who); f != nil {
			return f
		}
		return m.RemoveUser(who)
	case KindGroup:
		g := m.findGroup(r)
		if g == nil {
			return plan.Refuse(plan.NotFound, "D3", "", "there is no group %q", r.Name)
		}
		if f := m.once(event.GroupPrincipal(g.ID)); f != nil {
			return f
		}
		return m.RemoveGroup(g.ID)
	}
	u, _, f := m.findUnit(r)
	if f != nil {
		return f
	}
	if u == nil {
		return plan.Refuse(plan.NotFound, "D3", "", "there is no unit %q", r.Name)
	}
	if f := m.once(event.UnitPrincipal(u.ID)); f != nil {
		return f
	}
	return m.RemoveUnit(u.ID)
}
