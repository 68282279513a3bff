package registry

import (
	"strings"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/form"
	"parley/projections/chat/policy"
)

// Limits of what a registry keeps.
const (
	MaxAddIns    = 1000
	MaxEndpoints = 100
	maxAddInName = 50  // characters, as the product
	maxAddInURL  = 255 // bytes, as the product
)

// SetAddIn decides whether an add-in may have these fields, and returns them as they are kept. create says that it is new.
func (r *Registry) SetAddIn(id event.AddInID, info event.AddInInfo, create bool) (event.AddInInfo, error) {
	info.Name = strings.TrimSpace(info.Name)
	if err := form.Title("add-in", info.Name, maxAddInName); err != nil {
		return info, err
	}
	if other, taken := r.AddInByName(info.Name); taken && other.ID != id {
		return info, command.Refuse(command.CodeConflict, "add-in %q: the name is taken", info.Name).Breaks("R12", "")
	}
	if len(info.URL) > maxAddInURL {
		return info, command.Refuse(command.CodeTooLarge, "add-in %q: URL of %d bytes, at most %d", info.Name, len(info.URL), maxAddInURL)
	}
	if err := policy.CheckURL("URL", info.URL); err != nil {
		return info, command.Refuse(command.CodeInvalid, "add-in %q: %v", info.Name, err)
	}
	if create && r.addIns.Len() >= MaxAddIns {
		return info, command.Refuse(command.CodeTooLarge, "create add-in: there are %d", MaxAddIns)
	}
	return info, nil
}

// adminPrefix begins the principals of administrators that are no users.
const adminPrefix = "admin:"

// CheckAdmin refuses who cannot be an administrator; exists says whether there is an account.
func CheckAdmin(what string, p event.Principal, exists func(event.Principal) bool) error {
	name, named := strings.CutPrefix(string(p), adminPrefix)
	if named {
		return form.Title("administrator", name, form.MaxNameCharacters)
	}
	if !exists(p) {
		return command.Refuse(command.CodeNotFound, "%s: %q is neither \"admin:NAME\" nor a user", what, p).About(p)
	}
	return nil
}

// ChangeAdmin decides a change of roles; exists says whether there is an account. A nil event: nothing changes.
func (r *Registry) ChangeAdmin(c *command.ChangeAdmin, exists func(event.Principal) bool) (event.Event, error) {
	if err := CheckAdmin("change administrator", c.Admin, exists); err != nil {
		return nil, err
	}
	if r.Admin(c.Admin) == c.Roles {
		return nil, nil
	}
	return &event.AdminChanged{Admin: c.Admin, Roles: c.Roles.Names()}, nil
}

// SetEndpoint decides another address; taken says whether it belongs to somebody. A nil event: nothing changes.
func (r *Registry) SetEndpoint(c *command.SetEndpoint, taken func(event.Principal) bool) (event.Event, error) {
	if !form.User(c.Address) || !strings.HasPrefix(string(c.Address), "sip:") {
		return nil, command.Refuse(command.CodeInvalid, "endpoint %q is not \"sip:name@domain\" in lower case", c.Address)
	}
	if err := form.Principal("endpoint", c.Address); err != nil {
		return nil, err
	}
	if err := form.Line("display name of endpoint", c.DisplayName, form.MaxNameBytes); err != nil {
		return nil, err
	}
	if taken(c.Address) {
		return nil, command.Refuse(command.CodeConflict, "endpoint %s: the address belongs to somebody", c.Address).Breaks("R12", c.Address)
	}
	old, exists := r.Endpoint(c.Address)
	switch {
	case exists && old.DisplayName == c.DisplayName:
		return nil, nil
	case !exists && r.endpoints.Len() >= MaxEndpoints:
		return nil, command.Refuse(command.CodeTooLarge, "set endpoint: there are %d", MaxEndpoints)
	}
	return &event.EndpointSet{Address: c.Address, DisplayName: c.DisplayName}, nil
}
