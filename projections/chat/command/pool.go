package command

import (
	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/roles"
)

// The commands of policies, configurations and what else belongs to the pool as a whole. All of them take an
// administrator. Scopes are in their canonical form (policy.ParseScope). Revision 0 skips the check for a concurrent
// change; Create refuses a scope that has one already, and without it all but the global one must exist.
type (
	// CreateAddIn registers an add-in; an empty ID gets a new one.
	CreateAddIn struct {
		ID   event.AddInID
		Info event.AddInInfo
	}
	// ChangeAddIn replaces the fields of an add-in.
	ChangeAddIn struct {
		ID       event.AddInID
		Info     event.AddInInfo
		Revision event.Offset
	}
	// RemoveAddIn removes an add-in that no room uses.
	RemoveAddIn struct{ ID event.AddInID }

	// SetPolicy makes or replaces the policy of a scope. Whoever may not use persistent chat any more leaves all rooms.
	SetPolicy struct {
		Scope    event.Scope
		Info     event.PolicyInfo
		Create   bool
		Revision event.Offset
	}
	// RemovePolicy removes the policy of a scope. One that users were given needs Force.
	RemovePolicy struct {
		Scope event.Scope
		Force bool
	}
	// GrantPolicy gives users the policy of a scope "user:TAG", at most MaxPrincipals of them; an empty scope takes away
	// what they were given.
	GrantPolicy struct {
		Users []event.Principal
		Scope event.Scope
	}
	// SetConfiguration makes or replaces the configuration of a scope.
	SetConfiguration struct {
		Scope    event.Scope
		Info     event.ConfigurationInfo
		Create   bool
		Revision event.Offset
	}
	// RemoveConfiguration removes the configuration of a scope; the global one is then the product's.
	RemoveConfiguration struct{ Scope event.Scope }
	// SetCompliance makes or replaces the compliance configuration of a scope.
	SetCompliance struct {
		Scope    event.Scope
		Info     event.ComplianceInfo
		Create   bool
		Revision event.Offset
	}
	// RemoveCompliance removes the compliance configuration of a scope.
	RemoveCompliance struct{ Scope event.Scope }

	// ChangeAdmin gives an administrator ("admin:NAME", or the account of a user) exactly these roles.
	ChangeAdmin struct {
		Admin event.Principal
		Roles roles.Set
	}
	// SetEndpoint gives the pool another SIP address, for clients of earlier generations, or renames it.
	SetEndpoint struct {
		Address     event.Principal
		DisplayName string
	}
	// RemoveEndpoint takes such an address away.
	RemoveEndpoint struct{ Address event.Principal }
	// SetActiveServers names the nodes that take new connections; none means all.
	SetActiveServers struct{ Nodes []event.NodeID }
	// PlacePool names the site that the pool belongs to: lower case, as in a scope. Empty: none.
	PlacePool struct{ Site string }
)

func (*CreateAddIn) number() uint16         { return 26 }
func (*ChangeAddIn) number() uint16         { return 27 }
func (*RemoveAddIn) number() uint16         { return 28 }
func (*SetPolicy) number() uint16           { return 60 }
func (*RemovePolicy) number() uint16        { return 61 }
func (*GrantPolicy) number() uint16         { return 62 }
func (*SetConfiguration) number() uint16    { return 63 }
func (*RemoveConfiguration) number() uint16 { return 64 }
func (*SetCompliance) number() uint16       { return 65 }
func (*RemoveCompliance) number() uint16    { return 66 }
func (*ChangeAdmin) number() uint16         { return 67 }
func (*SetEndpoint) number() uint16         { return 68 }
func (*RemoveEndpoint) number() uint16      { return 69 }
func (*SetActiveServers) number() uint16    { return 70 }
func (*PlacePool) number() uint16           { return 71 }

// Code visits the fields.
func (m *CreateAddIn) Code(c *wire.Coder) { wire.Str(c, 1, &m.ID); c.Sub(2, m.Info.Code) }

// Code visits the fields.
func (m *ChangeAddIn) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	wire.Uint(c, 3, &m.Revision)
}

// Code visits the fields.
func (m *RemoveAddIn) Code(c *wire.Coder) { wire.Str(c, 1, &m.ID) }

// Code visits the fields.
func (m *SetPolicy) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Scope)
	c.Sub(2, m.Info.Code)
	c.Bool(3, &m.Create)
	wire.Uint(c, 4, &m.Revision)
}

// Code visits the fields.
func (m *RemovePolicy) Code(c *wire.Coder) { wire.Str(c, 1, &m.Scope); c.Bool(2, &m.Force) }

// Code visits the fields.
func (m *GrantPolicy) Code(c *wire.Coder) { wire.Strs(c, 1, &m.Users); wire.Str(c, 2, &m.Scope) }

// Code visits the fields.
func (m *SetConfiguration) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Scope)
	c.Sub(2, m.Info.Code)
	c.Bool(3, &m.Create)
	wire.Uint(c, 4, &m.Revision)
}

// Code visits the fields.
func (m *RemoveConfiguration) Code(c *wire.Coder) { wire.Str(c, 1, &m.Scope) }

// Code visits the fields.
func (m *SetCompliance) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Scope)
	c.Sub(2, m.Info.Code)
	c.Bool(3, &m.Create)
	wire.Uint(c, 4, &m.Revision)
}

// Code visits the fields.
func (m *RemoveCompliance) Code(c *wire.Coder) { wire.Str(c, 1, &m.Scope) }

// Code visits the fields.
func (m *ChangeAdmin) Code(c *wire.Coder) { wire.Str(c, 1, &m.Admin); wire.Uint(c, 2, &m.Roles) }

// Code visits the fields.
func (m *SetEndpoint) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Address)
	wire.Str(c, 2, &m.DisplayName)
}

// Code visits the fields.
func (m *RemoveEndpoint) Code(c *wire.Coder) { wire.Str(c, 1, &m.Address) }

// Code visits the fields.
func (m *SetActiveServers) Code(c *wire.Coder) { wire.Strs(c, 1, &m.Nodes) }

// Code visits the fields.
func (m *PlacePool) Code(c *wire.Coder) { wire.Str(c, 1, &m.Site) }
