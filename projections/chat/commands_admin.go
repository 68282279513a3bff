package chat

import (
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/directory"
)

// freshID returns the wanted id, or a new one when none is wanted.
func (d *decider) freshID(what, want string) (string, error) {
	if want == "" {
		want = d.env.NewID()
	}
	if !validID(want) {
		return "", Refuse(CodeInvalid, "%s: id %q is not a GUID in lower case", what, want)
	}
	return want, nil
}

func (d *decider) checkCategory(id event.CategoryID, info *event.CategoryInfo) error {
	info.Name = strings.TrimSpace(info.Name)
	if err := checkTitle("category", info.Name, MaxNameCharacters); err != nil {
		return err
	}
	if other, taken := d.s.CategoryByName(info.Name); taken && other.ID != id {
		return Refuse(CodeConflict, "category %q: the name is taken", info.Name).Breaks("R12", "")
	}
	if _, taken := d.s.RoomByName(info.Name); taken {
		return Refuse(CodeConflict, "category %q: a room has the name", info.Name).Breaks("R12", "")
	}
	if err := checkDescription("category", info.Description); err != nil {
		return err
	}
	for _, list := range [][]event.Principal{info.Allowed, info.Denied, info.Creators} {
		if err := checkPrincipals("category "+info.Name, list); err != nil {
			return err
		}
		if err := d.checkKnown("category "+info.Name, list); err != nil {
			return err
		}
	}
	return nil
}

func (d *decider) createCategory(c *CreateCategory) (Decision, error) {
	raw, err := d.freshID("create category", string(c.ID))
	if err != nil {
		return Decision{}, err
	}
	id := event.CategoryID(raw)
	if d.s.categories.Get(id) != nil {
		return Decision{}, Refuse(CodeConflict, "create category: %s exists", id)
	}
	info := c.Info
	if err := d.checkCategory(id, &info); err != nil {
		return Decision{}, err
	}
	return d.one("", &event.CategoryCreated{Category: id, Info: info}, Result{Category: id})
}

// changeCategory replaces the fields. Who may no longer be in a room of the category leaves it in the same decision;
// his roles stay, and are of use again when the category lets him in again.
func (d *decider) changeCategory(c *ChangeCategory) (Decision, error) {
	g := d.s.categories.Get(c.ID)
	if g == nil {
		return Decision{}, Refuse(CodeNotFound, "change category: no category %q", c.ID)
	}
	if err := command.Changed("category "+g.Info.Name, c.Revision, g.Revision); err != nil {
		return Decision{}, err
	}
	info := c.Info
	if err := d.checkCategory(c.ID, &info); err != nil {
		return Decision{}, err
	}
	out, err := d.one("", &event.CategoryChanged{Category: c.ID, Info: info}, Result{Category: c.ID})
	if slices.Equal(info.Allowed, g.Info.Allowed) && slices.Equal(info.Denied, g.Info.Denied) {
		return out, err
	}
	next := newCategory(c.ID, info, g.Revision, d.s.dir.Find)
	d.s.rooms.Scan(func(r *Room) bool {
		if r.Info.Category == c.ID {
			out.Events = d.kick(out.Events, r.ID, &r.Info, next, nil)
		}
		return true
	})
	return out, err
}

func (d *decider) removeCategory(c *RemoveCategory) (Decision, error) {
	if d.s.categories.Get(c.ID) == nil {
		return Decision{}, Refuse(CodeNotFound, "remove category: no category %q", c.ID)
	}
	if id, has := d.s.roomIn(c.ID); has {
		return Decision{}, Refuse(CodeConflict, "remove category %s: it has rooms, such as %s", c.ID, id)
	}
	return d.one("", &event.CategoryRemoved{Category: c.ID}, Result{Category: c.ID})
}

// kick appends the end of every session in a room whose user may not be there under the fields, category and roles
// that are going to hold.
func (d *decider) kick(events []event.Draft, room event.RoomID, info *event.RoomInfo, cat *category, roles map[event.Principal]event.Role) []event.Draft {
	shared := d.s.sharedIn(room)
	for p, role := range roles { // in any order: the list keeps its own
		if r, ok := d.s.dir.Find(p); ok && directory.IsCollective(p) {
			shared.set(r, role)
		}
	}
	var buf [reachHint]directory.Ref
	var user event.Principal
	var stays bool
	for x := range d.s.SessionsIn(room) {
		if info.Disabled {
			events = append(events, d.parted(&x, event.PartDisabled))
			continue
		}
		if x.User != user { // sessions of one user are neighbours
			user = x.User
			stays = false
			if u := d.s.dir.User(user); u != nil && d.s.enabled(u) {
				own, changed := roles[user]
				if !changed {
					own = d.s.Role(room, user)
				}
				in := d.s.dir.Reach(u, buf[:0])
				stays = rightsIn(gateOf(info), cat, u, in, own|shared.role(in)).Join
			}
		}
		if !stays {
			events = append(events, d.parted(&x, event.PartKicked))
		}
	}
	return events
}
