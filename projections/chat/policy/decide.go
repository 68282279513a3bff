package policy

import (
	"slices"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/form"
)

// maxPolicies is how many scopes may have a policy.
const maxPolicies = 10_000

// Decide turns a command of this package into the one event that it leads to, nil if it changes nothing, or refuses it.
// exists says whether there is an account. Commands of others are none of its business, and known is false.
func (b *Book) Decide(c command.Command, exists func(event.Principal) bool) (ev event.Event, known bool, err error) {
	known = true
	switch c := c.(type) {
	case *command.SetPolicy:
		ev, err = b.setPolicy(c)
	case *command.RemovePolicy:
		ev, err = b.removePolicy(c)
	case *command.GrantPolicy:
		ev, err = b.grantPolicy(c, exists)
	case *command.SetConfiguration:
		ev, err = b.setConfiguration(c)
	case *command.RemoveConfiguration:
		if b.configurations.Get(c.Scope) == nil {
			return nil, true, none("configuration", c.Scope)
		}
		ev = &event.ConfigurationRemoved{Scope: c.Scope}
	case *command.SetCompliance:
		ev, err = b.setCompliance(c)
	case *command.RemoveCompliance:
		if b.compliance.Get(c.Scope) == nil {
			return nil, true, none("compliance configuration", c.Scope)
		}
		ev = &event.ComplianceRemoved{Scope: c.Scope}
	default:
		known = false
	}
	return ev, known, err
}

func none(what string, s event.Scope) error {
	return command.Refuse(command.CodeNotFound, "no %s of scope %q", what, s)
}

// settable checks what setting something for a scope asks for, whatever it is. now is its revision, 0: it is not there.
func settable(what string, scope event.Scope, create bool, seen, now event.Offset) error {
	if s, err := ParseScope(string(scope)); err != nil || s != scope {
		return command.Refuse(command.CodeInvalid, "set %s: scope %q is not in canonical form", what, scope)
	}
	switch {
	case create && now != 0:
		return command.Refuse(command.CodeConflict, "create %s: scope %q has one", what, scope).Breaks("R12", "")
	case !create && now == 0 && scope != Global:
		return none(what, scope)
	}
	return command.Changed(what+" of "+string(scope), seen, now)
}

func (b *Book) setPolicy(c *command.SetPolicy) (event.Event, error) {
	old, exists := b.policies.Value(c.Scope)
	if err := settable("policy", c.Scope, c.Create, c.Revision, old.Revision); err != nil {
		return nil, err
	}
	if err := form.Line("description of policy", c.Info.Description, MaxText); err != nil {
		return nil, err
	}
	switch {
	case !exists && b.policies.Len() >= maxPolicies:
		return nil, command.Refuse(command.CodeTooLarge, "set policy: there are %d", maxPolicies)
	case exists && old.Info == c.Info:
		return nil, nil
	}
	return &event.PolicySet{Scope: c.Scope, Info: c.Info}, nil
}

func (b *Book) removePolicy(c *command.RemovePolicy) (event.Event, error) {
	if b.policies.Get(c.Scope) == nil {
		return nil, none("policy", c.Scope)
	}
	if u, held := b.Holds(c.Scope); held && !c.Force {
		return nil, command.Refuse(command.CodeConflict, "remove policy %s: users were given it, such as %s: take it away first, or force it", c.Scope, u).About(u)
	}
	return &event.PolicyRemoved{Scope: c.Scope}, nil
}

// grantPolicy gives users a policy, all of them or none.
func (b *Book) grantPolicy(c *command.GrantPolicy, exists func(event.Principal) bool) (event.Event, error) {
	switch {
	case c.Scope != "" && !IsUser(c.Scope):
		return nil, command.Refuse(command.CodeInvalid, "grant policy: scope %q is none for users", c.Scope)
	case c.Scope != "" && b.policies.Get(c.Scope) == nil:
		return nil, none("policy", c.Scope)
	case len(c.Users) > form.MaxPrincipals:
		return nil, command.Refuse(command.CodeTooLarge, "grant policy: %d users, at most %d", len(c.Users), form.MaxPrincipals)
	}
	var bad command.Faults
	ev := &event.PolicyGranted{Scope: c.Scope}
	for i, u := range c.Users {
		switch {
		case !exists(u):
			bad.Add(i, command.Refuse(command.CodeNotFound, "grant policy: no user %q", u).About(u))
		case b.Granted(u) != c.Scope:
			ev.Users = append(ev.Users, u)
		}
	}
	if err := bad.Refusal("grant policy"); err != nil {
		return nil, err
	}
	slices.Sort(ev.Users)
	if ev.Users = slices.Compact(ev.Users); len(ev.Users) == 0 {
		return nil, nil
	}
	return ev, nil
}

func (b *Book) setConfiguration(c *command.SetConfiguration) (event.Event, error) {
	old, exists := b.configurations.Value(c.Scope)
	if IsUser(c.Scope) {
		return nil, command.Refuse(command.CodeInvalid, "set configuration: it holds for a site or a pool, not for users (%q)", c.Scope)
	}
	if err := settable("configuration", c.Scope, c.Create, c.Revision, old.Revision); err != nil {
		return nil, err
	}
	if err := CheckConfiguration(&c.Info); err != nil {
		return nil, command.Refuse(command.CodeInvalid, "configuration of %s: %v", c.Scope, err)
	}
	if exists && old.Info == c.Info {
		return nil, nil
	}
	return &event.ConfigurationSet{Scope: c.Scope, Info: c.Info}, nil
}

func (b *Book) setCompliance(c *command.SetCompliance) (event.Event, error) {
	old, exists := b.compliance.Value(c.Scope)
	if IsUser(c.Scope) {
		return nil, command.Refuse(command.CodeInvalid, "set compliance: it holds for a site or a pool, not for users (%q)", c.Scope)
	}
	if err := settable("compliance configuration", c.Scope, c.Create, c.Revision, old.Revision); err != nil {
		return nil, err
	}
	if err := CheckCompliance(&c.Info); err != nil {
		return nil, command.Refuse(command.CodeInvalid, "compliance configuration of %s: %v", c.Scope, err)
	}
	if exists && old.Info == c.Info {
		return nil, nil
	}
	return &event.ComplianceSet{Scope: c.Scope, Info: c.Info}, nil
}
