package event

import (
	"strings"

	"parley/log/wire"
)

// GroupID is the GUID of a group, same form as RoomID. A group imported from another directory keeps its GUID there.
type GroupID string

// UnitID is the GUID of an organisational unit, same form as RoomID.
type UnitID string

// Forms of the principals that stand for more than one user. Everyone and domains are what they are called; groups and
// units go by their GUIDs, so that a new name or another place in the tree changes no right.
const (
	Everyone = Principal("*")

	domainPrefix = "domain:"
	groupPrefix  = "group:"
	unitPrefix   = "ou:"
)

// DomainPrincipal stands for everyone whose SIP address is in a domain, given in lower case.
func DomainPrincipal(domain string) Principal { return Principal(domainPrefix + domain) }

// GroupPrincipal stands for the members of a group.
func GroupPrincipal(id GroupID) Principal { return Principal(groupPrefix + string(id)) }

// UnitPrincipal stands for everyone who lives in an organisational unit or in one below it.
func UnitPrincipal(id UnitID) Principal { return Principal(unitPrefix + string(id)) }

// Domain returns the domain that p stands for.
func (p Principal) Domain() (domain string, ok bool) {
	return strings.CutPrefix(string(p), domainPrefix)
}

// Group returns the group that p stands for.
func (p Principal) Group() (id GroupID, ok bool) {
	s, ok := strings.CutPrefix(string(p), groupPrefix)
	return GroupID(s), ok
}

// Unit returns the organisational unit that p stands for.
func (p Principal) Unit() (id UnitID, ok bool) {
	s, ok := strings.CutPrefix(string(p), unitPrefix)
	return UnitID(s), ok
}

// GroupInfo are the settable fields of a group, without its members.
type GroupInfo struct {
	Name        string // unique in the pool, compared without case
	Description string
	Email       string
	Unit        UnitID // where the group lives; empty: at the top
}

// Code visits the fields.
func (i *GroupInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.Name)
	wire.Str(c, 2, &i.Description)
	wire.Str(c, 3, &i.Email)
	wire.Str(c, 4, &i.Unit)
}

// GroupCreated makes a group. Members are users and groups.
type GroupCreated struct {
	Group   GroupID
	Info    GroupInfo
	Members []Principal
}

// GroupChanged replaces the fields of a group and changes its members.
type GroupChanged struct {
	Group   GroupID
	Info    GroupInfo
	Added   []Principal
	Removed []Principal
}

// GroupRemoved removes a group from the directory, from the groups it was a member of and from the rooms it had roles in.
type GroupRemoved struct {
	Group GroupID
	Name  string
}

// UnitInfo are the settable fields of an organisational unit.
type UnitInfo struct {
	Name        string // unique among the units with the same parent, compared without case
	Description string
	Parent      UnitID // empty: at the top
}

// Code visits the fields.
func (i *UnitInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.Name)
	wire.Str(c, 2, &i.Description)
	wire.Str(c, 3, &i.Parent)
}

// UnitCreated makes an organisational unit.
type UnitCreated struct {
	Unit UnitID
	Info UnitInfo
}

// UnitChanged replaces the fields of an organisational unit; another parent moves it with everything in it.
type UnitChanged struct {
	Unit UnitID
	Info UnitInfo
}

// UnitRemoved removes an empty organisational unit.
type UnitRemoved struct {
	Unit UnitID
	Name string
}

func (*GroupCreated) Kind() Kind { return KindGroupCreated }
func (*GroupChanged) Kind() Kind { return KindGroupChanged }
func (*GroupRemoved) Kind() Kind { return KindGroupRemoved }
func (*UnitCreated) Kind() Kind  { return KindUnitCreated }
func (*UnitChanged) Kind() Kind  { return KindUnitChanged }
func (*UnitRemoved) Kind() Kind  { return KindUnitRemoved }

func (e *GroupCreated) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Group)
	c.Sub(2, e.Info.Code)
	wire.Strs(c, 3, &e.Members)
}
func (e *GroupChanged) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Group)
	c.Sub(2, e.Info.Code)
	wire.Strs(c, 3, &e.Added)
	wire.Strs(c, 4, &e.Removed)
}
func (e *GroupRemoved) code(c *wire.Coder) { wire.Str(c, 1, &e.Group); wire.Str(c, 2, &e.Name) }
func (e *UnitCreated) code(c *wire.Coder)  { wire.Str(c, 1, &e.Unit); c.Sub(2, e.Info.Code) }
func (e *UnitChanged) code(c *wire.Coder)  { wire.Str(c, 1, &e.Unit); c.Sub(2, e.Info.Code) }
func (e *UnitRemoved) code(c *wire.Coder)  { wire.Str(c, 1, &e.Unit); wire.Str(c, 2, &e.Name) }
