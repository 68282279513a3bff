package command

import (
	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/directory/bulk"
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
	ImportDirectory struct{ Rows []bulk.Row }
)

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
func (m *CreateGroup) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	wire.Strs(c, 3, &m.Members)
}

// Code visits the fields.
func (m *ChangeGroup) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	c.Bool(3, &m.Replace)
	wire.Strs(c, 4, &m.Add)
	wire.Strs(c, 5, &m.Remove)
	wire.Uint(c, 6, &m.Revision)
}

// Code visits the fields.
func (m *RemoveGroup) Code(c *wire.Coder) { wire.Str(c, 1, &m.ID) }

// Code visits the fields.
func (m *CreateUnit) Code(c *wire.Coder) { wire.Str(c, 1, &m.ID); c.Sub(2, m.Info.Code) }

// Code visits the fields.
func (m *ChangeUnit) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	wire.Uint(c, 3, &m.Revision)
}

// Code visits the fields.
func (m *RemoveUnit) Code(c *wire.Coder) { wire.Str(c, 1, &m.ID) }

// Code visits the fields.
func (m *ImportDirectory) Code(c *wire.Coder) { wire.Subs(c, 1, &m.Rows, (*bulk.Row).Code) }
