package directory

import (
	"fmt"
	"slices"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

func (u *User) code(c *wire.Coder) {
	wire.Str(c, 1, &u.URI)
	c.Sub(2, u.Info.Code)
	c.Sub(3, u.Secret.Code)
	wire.Uint(c, 4, &u.Revision)
}

func (g *Group) code(c *wire.Coder) {
	wire.Str(c, 1, &g.ID)
	c.Sub(2, g.Info.Code)
	wire.Uint(c, 3, &g.Revision)
}

func (u *Unit) code(c *wire.Coder) {
	wire.Str(c, 1, &u.ID)
	c.Sub(2, u.Info.Code)
	wire.Uint(c, 3, &u.Revision)
}

// Folds reports whether an event is the directory's to fold.
func Folds(e event.Event) bool {
	switch e.(type) {
	case *event.UserCreated, *event.UserChanged, *event.UserRemoved, *event.GroupCreated, *event.GroupChanged,
		*event.GroupRemoved, *event.UnitCreated, *event.UnitChanged, *event.UnitRemoved:
		return true
	}
	return false
}

// Fold applies an event that Folds knows and gives the rows that changed to save, which may be nil. An error says that
// the event cannot have happened here; then nothing was changed.
func (d *Directory) Fold(e event.Envelope, save table.Saver) error {
	switch v := e.Event.(type) {
	case *event.UserCreated:
		if d.users.Get(v.User) != nil {
			return fmt.Errorf("user %s exists", v.User)
		}
		return d.putUser(save, nil, User{URI: v.User, Info: v.Info, Secret: v.Secret, Revision: e.Offset})
	case *event.UserChanged:
		old := d.users.Get(v.User)
		if old == nil {
			return fmt.Errorf("no user %s", v.User)
		}
		u := User{URI: old.URI, Info: v.Info, Secret: v.Secret, Revision: e.Offset}
		if NoSecret(&u.Secret) && !e.Erased { // of an erased one nobody knows: the password before it must not come back
			u.Secret = old.Secret
		}
		return d.putUser(save, old, u)
	case *event.UserRemoved:
		return d.removeUser(save, v.User)
	case *event.GroupCreated:
		if d.groups.Get(v.Group) != nil {
			return fmt.Errorf("group %s exists", v.Group)
		}
		return d.putGroup(save, nil, Group{ID: v.Group, Info: v.Info, Revision: e.Offset}, v.Members, nil)
	case *event.GroupChanged:
		old := d.groups.Get(v.Group)
		if old == nil {
			return fmt.Errorf("no group %s", v.Group)
		}
		return d.putGroup(save, old, Group{ID: old.ID, Info: v.Info, Revision: e.Offset}, v.Added, v.Removed)
	case *event.GroupRemoved:
		return d.removeGroup(save, v.Group)
	case *event.UnitCreated:
		if d.units.Get(v.Unit) != nil {
			return fmt.Errorf("unit %s exists", v.Unit)
		}
		return d.putUnit(save, nil, Unit{ID: v.Unit, Info: v.Info, Revision: e.Offset})
	case *event.UnitChanged:
		old := d.units.Get(v.Unit)
		if old == nil {
			return fmt.Errorf("no unit %s", v.Unit)
		}
		return d.putUnit(save, old, Unit{ID: old.ID, Info: v.Info, Revision: e.Offset})
	case *event.UnitRemoved:
		return d.removeUnit(save, v.Unit)
	}
	return fmt.Errorf("%s is no event of the directory", e.Kind())
}

// NoSecret reports whether a secret says nothing.
func NoSecret(s *event.Secret) bool { return len(s.HA1SHA256) == 0 && len(s.HA1MD5) == 0 }

// place returns the text and number of a unit that somebody is to live in; none for the top.
func (d *Directory) place(id *event.UnitID) (Ref, bool, error) {
	if *id == "" {
		return 0, false, nil
	}
	u := d.units.Get(*id)
	if u == nil {
		return 0, false, fmt.Errorf("no unit %s", *id)
	}
	*id = u.ID // rows share the text
	return d.Intern(event.UnitPrincipal(u.ID)), true, nil
}

// move notes that somebody lives in another unit, under another relative name.
func (d *Directory) move(p event.Principal, from, to event.UnitID, oldName, newName string) {
	if oldName != "" && (from != to || oldName != newName) {
		if has, _ := d.entryNames.Get(PlaceName(from, oldName)); has == p {
			d.entryNames.Delete(PlaceName(from, oldName))
		}
	}
	if newName != "" {
		d.entryNames.Set(PlaceName(to, newName), p)
	}
	if from == to {
		return
	}
	if from != "" {
		d.members.Delete(member{d.Intern(event.UnitPrincipal(from)), p})
	}
	if to != "" {
		d.members.Set(member{d.Intern(event.UnitPrincipal(to)), p})
	}
}

func (d *Directory) putUser(save table.Saver, old *User, u User) error {
	unit, lives, err := d.place(&u.Info.Unit)
	if err != nil {
		return err
	}
	var was User
	if old != nil {
		was = *old
		u.number, u.in = old.number, old.in
	} else {
		u.number, u.in = d.number(), []Ref{d.Intern(event.DomainPrincipal(Domain(u.URI)))}
	}
	if was.Info.Unit != u.Info.Unit {
		if was.Info.Unit != "" {
			u.in = Without(u.in, d.Intern(event.UnitPrincipal(was.Info.Unit)))
		}
		if lives {
			u.in = With(u.in, unit)
		}
	}
	d.move(u.URI, was.Info.Unit, u.Info.Unit, was.Info.Name, u.Info.Name)
	d.users.Put(save, &u)
	return nil
}

func (d *Directory) removeUser(save table.Saver, p event.Principal) error {
	u := d.users.Get(p)
	if u == nil {
		return fmt.Errorf("no user %s", p)
	}
	for _, g := range d.MemberOf(p) {
		d.dropMember(save, g, p)
	}
	d.move(p, u.Info.Unit, "", u.Info.Name, "")
	d.users.Remove(save, p)
	return nil
}

func (d *Directory) putGroup(save table.Saver, old *Group, g Group, added, removed []event.Principal) error {
	if _, _, err := d.place(&g.Info.Unit); err != nil {
		return err
	}
	p := event.GroupPrincipal(g.ID)
	for _, m := range slices.Concat(added, removed) {
		if IsCollective(m) && !IsGroup(m) || m != p && !d.Exists(m) {
			return fmt.Errorf("member %s of group %s is no user and no group", m, g.ID)
		}
	}
	var was Group
	if old != nil {
		was = *old
		if has, _ := d.groupNames.Get(FoldName(was.Info.Name)); has == g.ID {
			d.groupNames.Delete(FoldName(was.Info.Name))
		}
	}
	d.Intern(p)
	d.groupNames.Set(FoldName(g.Info.Name), g.ID)
	d.move(p, was.Info.Unit, g.Info.Unit, was.Info.Name, g.Info.Name)
	d.groups.Put(save, &g)
	for _, m := range removed {
		d.dropMember(save, p, m)
	}
	for _, m := range added {
		d.addMember(save, p, m)
	}
	return nil
}

func (d *Directory) memberKey(group, who event.Principal) []byte {
	id, _ := group.Group()
	return table.Key(d.prefix, string(id), string(who))
}

// addMember puts an account or a group into a group. One that is in it already stays.
func (d *Directory) addMember(save table.Saver, group, who event.Principal) {
	g := d.Intern(group)
	if u := d.users.Get(who); u != nil {
		c := *u
		c.in = With(u.in, g)
		d.users.Put(nil, &c) // its row says nothing of groups
		who = u.URI
	} else {
		r := d.Intern(who)
		n := d.nodes.get(r)
		d.setIn(r, With(n.in, g))
		who = n.principal
	}
	if _, had := d.members.Set(member{g, who}); !had && save != nil {
		save.Set(d.memberKey(group, who), nil)
	}
}

// dropMember takes an account or a group out of a group, if it is in it.
func (d *Directory) dropMember(save table.Saver, group, who event.Principal) {
	g := d.Intern(group)
	if _, had := d.members.Delete(member{g, who}); !had {
		return
	}
	if save != nil {
		save.Delete(d.memberKey(group, who))
	}
	if u := d.users.Get(who); u != nil {
		c := *u
		c.in = Without(u.in, g)
		d.users.Put(nil, &c)
	} else if n := d.node(who); n != nil {
		d.setIn(d.Intern(who), Without(n.in, g))
	}
}

func (d *Directory) removeGroup(save table.Saver, id event.GroupID) error {
	g := d.groups.Get(id)
	if g == nil {
		return fmt.Errorf("no group %s", id)
	}
	p := event.GroupPrincipal(id)
	for _, m := range slices.Collect(d.Members(p)) {
		d.dropMember(save, p, m)
	}
	for _, in := range d.MemberOf(p) {
		d.dropMember(save, in, p)
	}
	if has, _ := d.groupNames.Get(FoldName(g.Info.Name)); has == id {
		d.groupNames.Delete(FoldName(g.Info.Name))
	}
	d.move(p, g.Info.Unit, "", g.Info.Name, "")
	d.groups.Remove(save, id)
	return nil
}

func (d *Directory) putUnit(save table.Saver, old *Unit, u Unit) error {
	parent, has, err := d.place(&u.Info.Parent)
	if err != nil {
		return err
	}
	r := d.Intern(event.UnitPrincipal(u.ID))
	var in []Ref
	if has {
		in = []Ref{parent}
	}
	if old != nil {
		d.dropUnitName(old)
	}
	d.unitNames.Set(PlaceName(u.Info.Parent, u.Info.Name), u.ID)
	if n := d.nodes.get(r); !slices.Equal(n.in, in) {
		d.setIn(r, in)
	}
	d.units.Put(save, &u)
	return nil
}

func (d *Directory) dropUnitName(u *Unit) {
	if has, _ := d.unitNames.Get(PlaceName(u.Info.Parent, u.Info.Name)); has == u.ID {
		d.unitNames.Delete(PlaceName(u.Info.Parent, u.Info.Name))
	}
}

func (d *Directory) removeUnit(save table.Saver, id event.UnitID) error {
	u := d.units.Get(id)
	if u == nil {
		return fmt.Errorf("no unit %s", id)
	}
	if who, has := d.Resident(id); has {
		return fmt.Errorf("%s lives in unit %s", who, id)
	}
	d.dropUnitName(u)
	d.setIn(d.Intern(event.UnitPrincipal(id)), nil)
	d.units.Remove(save, id)
	return nil
}

// Resident returns somebody who lives in a unit, or a unit in it.
func (d *Directory) Resident(id event.UnitID) (who event.Principal, has bool) {
	p := event.UnitPrincipal(id)
	for m := range d.Members(p) {
		return m, true
	}
	if n := d.node(p); n != nil && len(n.kids) > 0 {
		kid := d.nodes.get(n.kids[0])
		return kid.principal, true
	}
	return "", false
}
