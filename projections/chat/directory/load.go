package directory

import (
	"bytes"
	"fmt"
	"slices"

	"parley/log/event"
	"parley/projections/chat/table"
)

// Rows returns the tables of accounts, groups, units and members, to save, load and hash.
func (d *Directory) Rows() (users, groups, units, members table.Rows) {
	return &d.users, &d.groups, &d.units, (*memberTable)(d)
}

// saved is a row of members that waits for the rows of its group and member.
type saved struct {
	group event.GroupID
	who   event.Principal
}

// memberTable is the table of the members of groups. All is in the key: prefix, group, NUL, member.
type memberTable Directory

// Load is table.Rows'.
func (t *memberTable) Load(key, value []byte) error {
	group, who, ok := bytes.Cut(key[1:], []byte{0})
	if !ok || len(value) > 0 {
		return fmt.Errorf("row of a member: %w", event.ErrCorrupt)
	}
	s := saved{who: event.Principal(who)}
	if n := len(t.pending); n > 0 && string(t.pending[n-1].group) == string(group) {
		s.group = t.pending[n-1].group
	} else {
		s.group = event.GroupID(group)
	}
	t.pending = append(t.pending, s)
	return nil
}

// Each is table.Rows'.
func (t *memberTable) Each(yield func(key, value []byte) bool) bool {
	d := (*Directory)(t)
	more := true
	d.groups.Scan(func(g *Group) bool {
		p := event.GroupPrincipal(g.ID)
		for m := range d.Members(p) {
			if more = yield(d.memberKey(p, m), nil); !more {
				break
			}
		}
		return more
	})
	return more
}

// Link builds everything that is derived once all rows are loaded, and lets rows share the texts they have in common.
// Rows that speak of what is not there are an error of class event.ErrCorrupt.
func (d *Directory) Link() error {
	var err error
	fail := func(e error) bool {
		if e != nil && err == nil {
			err = fmt.Errorf("%w: %w", e, event.ErrCorrupt)
		}
		return e == nil
	}
	d.units.Scan(func(u *Unit) bool { // numbers first: parents come in no order
		d.Intern(event.UnitPrincipal(u.ID))
		d.unitNames.Set(PlaceName(u.Info.Parent, u.Info.Name), u.ID)
		return true
	})
	d.units.Scan(func(u *Unit) bool {
		parent, has, e := d.place(&u.Info.Parent)
		if has {
			d.link(d.Intern(event.UnitPrincipal(u.ID)), parent)
		}
		return fail(e)
	})
	d.groups.Scan(func(g *Group) bool {
		_, _, e := d.place(&g.Info.Unit)
		p := event.GroupPrincipal(g.ID)
		r := d.Intern(p)
		n := d.nodes.get(r)
		d.groupNames.Set(FoldName(g.Info.Name), g.ID)
		d.move(n.principal, "", g.Info.Unit, "", g.Info.Name)
		return fail(e)
	})
	d.users.Scan(func(u *User) bool {
		unit, lives, e := d.place(&u.Info.Unit)
		u.number = d.number()
		u.in = append(make([]Ref, 0, 8), d.Intern(event.DomainPrincipal(Domain(u.URI))))
		if lives {
			u.in = append(u.in, unit)
		}
		d.move(u.URI, "", u.Info.Unit, "", u.Info.Name)
		return fail(e)
	})
	if err != nil {
		return err
	}
	if err := d.linkMembers(); err != nil {
		return err
	}
	d.users.Scan(func(u *User) bool {
		slices.Sort(u.in)
		u.in = append(make([]Ref, 0, len(u.in)), u.in...) // no spare capacity: there are many
		return true
	})
	for r := range d.nodes.size {
		n := d.nodes.get(r)
		slices.Sort(n.in)
		slices.Sort(n.kids)
	}
	for r := range d.nodes.size {
		n := d.nodes.get(r)
		n.above = d.climb(r)
		d.putNode(r, n)
	}
	return nil
}

func (d *Directory) linkMembers() error {
	var group event.GroupID
	var g Ref
	for i, s := range d.pending {
		if i == 0 || s.group != group {
			group = s.group
			if d.groups.Get(group) == nil {
				return fmt.Errorf("members of group %s, which is not there: %w", group, event.ErrCorrupt)
			}
			g = d.Intern(event.GroupPrincipal(group))
		}
		if u := d.users.Get(s.who); u != nil {
			u.in = append(u.in, g)
			d.members.Set(member{g, u.URI})
			continue
		}
		id, ok := s.who.Group()
		if !ok || d.groups.Get(id) == nil {
			return fmt.Errorf("group %s has a member %s, which is not there: %w", group, s.who, event.ErrCorrupt)
		}
		r := d.Intern(s.who)
		n := d.nodes.get(r)
		d.link(r, g)
		d.members.Set(member{g, n.principal})
	}
	d.pending = nil
	return nil
}

// link puts a node into another, in place: while a directory is loaded nobody else has its nodes.
func (d *Directory) link(r, into Ref) {
	n := d.nodes.get(r)
	n.in = append(n.in, into)
	p := d.nodes.get(into)
	p.kids = append(p.kids, r)
}
