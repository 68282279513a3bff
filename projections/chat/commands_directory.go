package chat

import (
	"parley/log/event"
)

// The commands of the directory. All of them take an administrator.
type (
	// CreateGroup makes a group; an empty ID gets a new one. Members are users and groups.
	CreateGroup struct {
		ID      event.GroupID
		Info    event.GroupInfo
		Members []event.Principal
	}
	// ChangeGroup replaces the fields of a group and changes its members: those listed in Add come in, those in Remove
	// leave. With Replace the members are exactly Add, and Remove must be empty. Revision 0 skips the check for a
	// concurrent change.
	ChangeGroup struct {
		ID       event.GroupID
		Info     event.GroupInfo
		Replace  bool
		Add      []event.Principal
		Remove   []event.Principal
		Revision event.Offset
	}
	// RemoveGroup removes a group, its roles in rooms and its place in other groups. A group that a category names must
	// be taken out there first.
	RemoveGroup struct{ ID event.GroupID }

	// CreateUnit makes an organisational unit; an empty ID gets a new one.
	CreateUnit struct {
		ID   event.UnitID
		Info event.UnitInfo
	}
	// ChangeUnit replaces the fields of an organisational unit. Revision as in ChangeGroup.
	ChangeUnit struct {
		ID       event.UnitID
		Info     event.UnitInfo
		Revision event.Offset
	}
	// RemoveUnit removes an organisational unit in which nothing lives and that no category names.
	RemoveUnit struct{ ID event.UnitID }

	// ImportDirectory makes, changes and removes many accounts, groups and units at once: all of them, or, when one row
	// is bad, none. Refusal.Rows then lists every bad row. Rows may speak of each other in any order. A row that says
	// what is so already is no event, so an import can be repeated. At most MaxImportRows rows.
	ImportDirectory struct{ Rows []ImportRow }
)

// ImportKind says what a row of an import is about.
type ImportKind string

// The kinds of rows.
const (
	ImportUser  ImportKind = "user"
	ImportGroup ImportKind = "group"
	ImportUnit  ImportKind = "ou"
)

// ImportFields is the set of fields that a row of an import has. The others stay as they are; in a new object they are
// empty, and a new account is enabled.
type ImportFields uint32

// The fields.
const (
	HasName ImportFields = 1 << iota
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

// ImportRow is one account, group or organisational unit. Objects are found by Address (accounts), by Name (groups) and
// by Unit and Name (units).
//
// Units, members and groups are named as people and other directories do: a distinguished name ("OU=London,OU=Europe",
// with or without the DC parts at its end), "group:GUID", "ou:GUID"; a member also by SIP address and a group by name.
type ImportRow struct {
	Line   uint32 // where the row begins in the file, from 1
	Kind   ImportKind
	Remove bool // the object is to go; only what finds it is looked at

	Address string // of an account, with or without "sip:"
	ID      string // GUID for a new group or unit; empty: any
	Has     ImportFields

	Name        string // of a group or unit; relative name (cn) of an account
	Unit        string // where it lives, in a unit the parent; empty: at the top
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
}

// MaxImportRows bounds one import, so that its events fit into one entry of the log.
const MaxImportRows = 20_000

func (*CreateGroup) number() uint16     { return 33 }
func (*ChangeGroup) number() uint16     { return 34 }
func (*RemoveGroup) number() uint16     { return 35 }
func (*CreateUnit) number() uint16      { return 36 }
func (*ChangeUnit) number() uint16      { return 37 }
func (*RemoveUnit) number() uint16      { return 38 }
func (*ImportDirectory) number() uint16 { return 39 }

// Code visits the fields.
func (m *CreateGroup) Code(c *event.Coder) {
	event.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	event.Strs(c, 3, &m.Members)
}

// Code visits the fields.
func (m *ChangeGroup) Code(c *event.Coder) {
	event.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	c.Bool(3, &m.Replace)
	event.Strs(c, 4, &m.Add)
	event.Strs(c, 5, &m.Remove)
	event.Uint(c, 6, &m.Revision)
}

// Code visits the fields.
func (m *RemoveGroup) Code(c *event.Coder) { event.Str(c, 1, &m.ID) }

// Code visits the fields.
func (m *CreateUnit) Code(c *event.Coder) { event.Str(c, 1, &m.ID); c.Sub(2, m.Info.Code) }

// Code visits the fields.
func (m *ChangeUnit) Code(c *event.Coder) {
	event.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	event.Uint(c, 3, &m.Revision)
}

// Code visits the fields.
func (m *RemoveUnit) Code(c *event.Coder) { event.Str(c, 1, &m.ID) }

// Code visits the fields.
func (m *ImportDirectory) Code(c *event.Coder) { event.Subs(c, 1, &m.Rows, (*ImportRow).code) }

func (r *ImportRow) code(c *event.Coder) {
	event.Uint(c, 1, &r.Line)
	event.Str(c, 2, &r.Kind)
	c.Bool(3, &r.Remove)
	event.Str(c, 4, &r.Address)
	event.Str(c, 5, &r.ID)
	event.Uint(c, 6, &r.Has)
	event.Str(c, 7, &r.Name)
	event.Str(c, 8, &r.Unit)
	event.Str(c, 9, &r.DisplayName)
	event.Str(c, 10, &r.Email)
	event.Str(c, 11, &r.Description)
	event.Str(c, 12, &r.GivenName)
	event.Str(c, 13, &r.Surname)
	event.Str(c, 14, &r.Company)
	c.Bool(15, &r.Enabled)
	c.Sub(16, r.Secret.Code)
	event.Strs(c, 17, &r.Members)
	event.Strs(c, 18, &r.MemberOf)
}
