package command

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"parley/log/event"
)

// RoleEdit changes who has a role in a room: everybody loses it if All is set, then those in Remove do, then those in Add get it.
type RoleEdit struct {
	Role        event.Role
	All         bool
	Remove, Add []event.Principal
}

// EditRoles returns the entries that edits, one after the other, alter in the access of a room, by principal.
func EditRoles(access iter.Seq[event.Access], edits []RoleEdit) []event.Access {
	now := map[event.Principal]event.Role{}
	for a := range access {
		now[a.Principal] = a.Role
	}
	then := maps.Clone(now)
	for _, e := range edits {
		for p := range then {
			if e.All {
				then[p] &^= e.Role
			}
		}
		for _, p := range e.Remove {
			then[p] &^= e.Role
		}
		for _, p := range e.Add {
			then[p] |= e.Role
		}
	}
	var out []event.Access
	for p, r := range then {
		if r != now[p] {
			out = append(out, event.Access{Principal: p, Role: r})
		}
	}
	slices.SortFunc(out, func(x, y event.Access) int { return cmp.Compare(x.Principal, y.Principal) })
	return out
}
