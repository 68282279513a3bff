package objects

import (
	"cmp"
	"context"
	"net/url"
	"slices"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory"
	"parley/projections/chat/roles"
)

// Group is a group as the API shows it.
type Group struct {
	Group             event.Principal `json:"group" doc:"the principal: group:GUID"`
	ID                event.GroupID   `json:"id"`
	Name              string          `json:"name"`
	Description       string          `json:"description"`
	Email             string          `json:"email"`
	Unit              string          `json:"unit" doc:"distinguished name of the organisational unit; empty: at the top"`
	Members           []Who           `json:"members" doc:"users and groups, directly"`
	MemberOf          []Who           `json:"member_of" doc:"groups, directly"`
	Users             int             `json:"users" doc:"how many it contains, however deep"`
	DistinguishedName string          `json:"distinguished_name"`
	Revision          event.Offset    `json:"revision"`
}

// GroupChange is the body of POST and PATCH; what is absent stays as it is.
type GroupChange struct {
	Name        *string     `json:"name,omitempty" doc:"unique in the pool; required in a new group"`
	Description *string     `json:"description,omitempty"`
	Email       *string     `json:"email,omitempty"`
	Unit        *string     `json:"unit,omitempty" doc:"organisational unit; empty: at the top"`
	Members     *ListChange `json:"members,omitempty"`
	Seen
}

// Groups are one kind of object.
func Groups() *Resource[directory.Group, Group, GroupChange, *GroupChange] {
	apply := func(s *chat.State, c *GroupChange, i event.GroupInfo) (event.GroupInfo, error) {
		Set(&i.Name, c.Name)
		Set(&i.Description, c.Description)
		Set(&i.Email, c.Email)
		return i, setUnit(s, &i.Unit, c.Unit)
	}
	return &Resource[directory.Group, Group, GroupChange, *GroupChange]{
		Path: "/groups", Key: "group", Noun: "group", Identity: "name, GUID, group:GUID or distinguished name",
		Read: roles.UserRead, Create: roles.UserChange, Change: roles.UserChange, Remove: roles.UserChange,
		Lists: "Groups, by name", Makes: "Make a group", Alters: "Change a group; who loses a room with it leaves it",
		Drops: "Remove a group that no category names", AsObjects: true,
		ListParams: []Param{{Name: "filter", Doc: "words that name or description have"}, {Name: "member", Doc: "only those that contain this principal, however deep"}},
		Find:       findGroup,
		List: func(_ context.Context, s *chat.State, q url.Values) (out []directory.Group, err error) {
			var member event.Principal
			if v := q.Get("member"); v != "" {
				if member, err = Principal(s, v); err != nil {
					return nil, err
				}
			}
			for g := range s.Directory().Groups() {
				if HasWords(q.Get("filter"), g.Info.Name+"\n"+g.Info.Description) &&
					(member == "" || s.Directory().Contains(event.GroupPrincipal(g.ID), member)) {
					out = append(out, g)
				}
			}
			return out, nil
		},
		Order:    func(g Group) string { return g.Name },
		ID:       func(g directory.Group) string { return string(g.ID) },
		Name:     func(g directory.Group) string { return g.Info.Name },
		Revision: func(g directory.Group) event.Offset { return g.Revision },
		Show: func(v View, g directory.Group) Group {
			p, d := event.GroupPrincipal(g.ID), v.State.Directory()
			out := Group{Group: p, ID: g.ID, Name: g.Info.Name, Description: g.Info.Description, Email: g.Info.Email, Unit: unitName(v.State, g.Info.Unit),
				Members: v.list(slices.Collect(d.Members(p))), MemberOf: v.list(d.MemberOf(p)), DistinguishedName: v.State.DistinguishedName(p), Revision: g.Revision}
			for range d.UsersIn(p) {
				out.Users++
			}
			return out
		},
		Make: func(s *chat.State, c *GroupChange) (chat.Command, error) {
			if c.Name == nil {
				return nil, chat.Refuse(chat.CodeInvalid, "a new group needs a name")
			}
			info, err := apply(s, c, event.GroupInfo{})
			if err != nil {
				return nil, err
			}
			members, err := c.Members.principals(s, nil)
			return &chat.CreateGroup{Info: info, Members: members}, err
		},
		Made: func(_ *chat.State, _ *GroupChange, out chat.Result) string { return string(out.Group) },
		Alter: func(s *chat.State, g directory.Group, c *GroupChange, revision event.Offset) (chat.Command, error) {
			info, err := apply(s, c, g.Info)
			if err != nil {
				return nil, err
			}
			old := slices.Collect(s.Directory().Members(event.GroupPrincipal(g.ID)))
			now, err := c.Members.principals(s, old)
			if err != nil {
				return nil, err
			}
			cmd := &chat.ChangeGroup{ID: g.ID, Info: info, Revision: revision}
			cmd.Add, cmd.Remove = without(now, old), without(old, now)
			return cmd, nil
		},
		Drop: func(g directory.Group, _ url.Values) (chat.Command, error) { return &chat.RemoveGroup{ID: g.ID}, nil },
	}
}

// without returns what is in a and not in b.
func without(a, b []event.Principal) (out []event.Principal) {
	in := make(map[event.Principal]bool, len(b))
	for _, p := range b {
		in[p] = true
	}
	for _, p := range a {
		if !in[p] {
			out = append(out, p)
		}
	}
	return out
}

func findGroup(s *chat.State, identity string) (directory.Group, error) {
	d := s.Directory()
	if id, ok := isGUID(identity); ok {
		if g := d.Group(event.GroupID(id)); g != nil {
			return *g, nil
		}
	}
	if g := d.GroupByName(identity); g != nil {
		return *g, nil
	}
	p, err := s.ResolvePrincipal(identity)
	if id, ok := p.Group(); err == nil && ok {
		if g := d.Group(id); g != nil {
			return *g, nil
		}
	}
	return directory.Group{}, chat.Refuse(chat.CodeNotFound, "no group %q", identity)
}

// Unit is an organisational unit as the API shows it.
type Unit struct {
	Unit              event.Principal `json:"unit" doc:"the principal: ou:GUID"`
	ID                event.UnitID    `json:"id"`
	Name              string          `json:"name"`
	Description       string          `json:"description"`
	Parent            string          `json:"parent" doc:"distinguished name; empty: at the top"`
	Users             int             `json:"users" doc:"how many live in it and below"`
	DistinguishedName string          `json:"distinguished_name"`
	Revision          event.Offset    `json:"revision"`
}

// UnitChange is the body of POST and PATCH; what is absent stays as it is.
type UnitChange struct {
	Name        *string `json:"name,omitempty" doc:"unique in its parent; required in a new unit"`
	Description *string `json:"description,omitempty"`
	Parent      *string `json:"parent,omitempty" doc:"the unit that it is in; empty: at the top. Another one moves it with everything in it"`
	Seen
}

// Units are one kind of object.
func Units() *Resource[directory.Unit, Unit, UnitChange, *UnitChange] {
	apply := func(s *chat.State, c *UnitChange, i event.UnitInfo) (event.UnitInfo, error) {
		Set(&i.Name, c.Name)
		Set(&i.Description, c.Description)
		return i, setUnit(s, &i.Parent, c.Parent)
	}
	return &Resource[directory.Unit, Unit, UnitChange, *UnitChange]{
		Path: "/units", Key: "unit", Noun: "organisational unit", Identity: "distinguished name, GUID or ou:GUID",
		Read: roles.UserRead, Create: roles.UserChange, Change: roles.UserChange, Remove: roles.UserChange,
		Lists: "Organisational units, by distinguished name", Makes: "Make an organisational unit", Alters: "Change or move an organisational unit",
		Drops:      "Remove an empty organisational unit that no category names",
		ListParams: []Param{{Name: "filter", Doc: "words that the distinguished name or the description has"}},
		Find:       findUnit,
		List: func(_ context.Context, s *chat.State, q url.Values) (out []directory.Unit, err error) {
			for u := range s.Directory().Units() {
				if HasWords(q.Get("filter"), unitName(s, u.ID)+"\n"+u.Info.Description) {
					out = append(out, u)
				}
			}
			return out, nil
		},
		Order:    func(u Unit) string { return u.DistinguishedName },
		ID:       func(u directory.Unit) string { return string(u.ID) },
		Name:     func(u directory.Unit) string { return u.Info.Name },
		Revision: func(u directory.Unit) event.Offset { return u.Revision },
		Show: func(v View, u directory.Unit) Unit {
			p := event.UnitPrincipal(u.ID)
			out := Unit{Unit: p, ID: u.ID, Name: u.Info.Name, Description: u.Info.Description, Parent: unitName(v.State, u.Info.Parent),
				DistinguishedName: v.State.DistinguishedName(p), Revision: u.Revision}
			for range v.State.Directory().UsersIn(p) {
				out.Users++
			}
			return out
		},
		Make: func(s *chat.State, c *UnitChange) (chat.Command, error) {
			if c.Name == nil {
				return nil, chat.Refuse(chat.CodeInvalid, "a new organisational unit needs a name")
			}
			info, err := apply(s, c, event.UnitInfo{})
			return &chat.CreateUnit{Info: info}, err
		},
		Made: func(_ *chat.State, _ *UnitChange, out chat.Result) string { return string(out.Unit) },
		Alter: func(s *chat.State, u directory.Unit, c *UnitChange, revision event.Offset) (chat.Command, error) {
			info, err := apply(s, c, u.Info)
			return &chat.ChangeUnit{ID: u.ID, Info: info, Revision: revision}, err
		},
		Drop: func(u directory.Unit, _ url.Values) (chat.Command, error) { return &chat.RemoveUnit{ID: u.ID}, nil },
	}
}

func findUnit(s *chat.State, identity string) (directory.Unit, error) {
	id, ok := isGUID(identity)
	if !ok {
		found, err := s.ResolveUnit(identity)
		if err != nil {
			return directory.Unit{}, err
		}
		id = string(found)
	}
	if u := s.Directory().Unit(event.UnitID(id)); u != nil {
		return *u, nil
	}
	return directory.Unit{}, chat.Refuse(chat.CodeNotFound, "no organisational unit %q", identity)
}

func setUnit(s *chat.State, to *event.UnitID, from *string) error {
	if from == nil {
		return nil
	}
	if *from == "" {
		*to = ""
		return nil
	}
	u, err := findUnit(s, *from)
	if err == nil {
		*to = u.ID
	}
	return err
}

// unitName returns the distinguished name of a unit, "" for the top.
func unitName(s *chat.State, id event.UnitID) string {
	if id == "" {
		return ""
	}
	return cmp.Or(s.DistinguishedName(event.UnitPrincipal(id)), string(event.UnitPrincipal(id)))
}
