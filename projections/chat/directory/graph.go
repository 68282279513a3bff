package directory

import (
	"slices"

	"parley/log/event"
)

// The graph of numbers, for whoever works out what a change would do.

// Size returns how many numbers are given: they are 0 to Size-1.
func (d *Directory) Size() Ref { return d.nodes.size }

// Find returns the number of a principal, if it has one.
func (d *Directory) Find(p event.Principal) (Ref, bool) { return d.refs.Get(p) }

// Principal returns the principal of a number.
func (d *Directory) Principal(r Ref) event.Principal {
	n := d.nodes.get(r)
	return n.principal
}

// In returns the groups and the unit, and for accounts the domain, that somebody is in directly, ascending; nil for who is unknown.
func (d *Directory) In(p event.Principal) []Ref {
	if u := d.users.Get(p); u != nil {
		return u.in
	}
	if n := d.node(p); n != nil {
		return n.in
	}
	return nil
}

// InOf is In by number.
func (d *Directory) InOf(r Ref) []Ref {
	n := d.nodes.get(r)
	return n.in
}

// Above returns a number and those of everything that it is in, ascending.
func (d *Directory) Above(r Ref) []Ref {
	n := d.nodes.get(r)
	return n.above
}

// Kids returns the groups directly in a group, or the units directly in a unit, ascending.
func (d *Directory) Kids(r Ref) []Ref {
	n := d.nodes.get(r)
	return n.kids
}

// Below returns a number and those of the groups in it or the units in it, however deep.
func (d *Directory) Below(r Ref) []Ref { return d.below(r) }

// HasMember reports whether an account or a group is a direct member of a group, or lives directly in a unit.
func (d *Directory) HasMember(of Ref, who event.Principal) bool {
	_, has := d.members.Get(member{of, who})
	return has
}

// With returns a list in ascending order with one more.
func With(list []Ref, r Ref) []Ref {
	i, has := slices.BinarySearch(list, r)
	if has {
		return list
	}
	out := make([]Ref, len(list)+1)
	copy(out, list[:i])
	out[i] = r
	copy(out[i+1:], list[i:])
	return out
}

// Without returns a list in ascending order with one less.
func Without(list []Ref, r Ref) []Ref {
	i, has := slices.BinarySearch(list, r)
	if !has {
		return list
	}
	if len(list) == 1 {
		return nil
	}
	return append(slices.Clone(list[:i]), list[i+1:]...)
}
