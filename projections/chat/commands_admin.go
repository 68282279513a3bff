package chat

import (
	"slices"
	"strings"

	"parley/log/event"
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
	if err := checkName("category", info.Name); err != nil {
		return err
	}
	if other, taken := d.s.CategoryByName(info.Name); taken && other.ID != id {
		return Refuse(CodeConflict, "category %q: the name is taken", info.Name)
	}
	if err := checkLine("description of category", info.Description, MaxDescriptionBytes); err != nil {
		return err
	}
	for _, list := range [][]event.Principal{info.Allowed, info.Denied, info.Creators} {
		if err := checkPrincipals("category "+info.Name, list); err != nil {
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
	if c.Revision != 0 && c.Revision != g.Revision {
		return Decision{}, Refuse(CodeConflict, "change category %s: it was changed meanwhile", c.ID)
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
	shared, _ := d.s.shared.Get(room)
	for p, role := range roles { // in any order: the list keeps its own
		if r, ok := d.s.dir.Find(p); ok && directory.IsCollective(p) {
			shared = withShared(shared, r, role)
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
				stays = rightsIn(info, cat, u, in, own|sharedRole(shared, in)).Join
			}
		}
		if !stays {
			events = append(events, d.parted(&x, event.PartKicked))
		}
	}
	return events
}

// checkRoom completes the fields with defaults (rule R3) and refuses what no room can have.
func (d *decider) checkRoom(id event.RoomID, info *event.RoomInfo) error {
	info.Name = strings.TrimSpace(info.Name)
	if err := checkName("room", info.Name); err != nil {
		return err
	}
	if other, taken := d.s.RoomByName(info.Name); taken && other.ID != id {
		return Refuse(CodeConflict, "room %q: the name is taken", info.Name)
	}
	if err := checkLine("description of room", info.Description, MaxDescriptionBytes); err != nil {
		return err
	}
	if err := checkLine("add-in of room", info.AddIn, MaxNameBytes); err != nil {
		return err
	}
	switch info.Type {
	case event.RoomNormal, event.RoomAuditorium:
	default:
		return Refuse(CodeInvalid, "room %q: type %q", info.Name, info.Type)
	}
	switch info.Privacy {
	case event.PrivacyOpen, event.PrivacyClosed, event.PrivacySecret:
	default:
		return Refuse(CodeInvalid, "room %q: privacy %q", info.Name, info.Privacy)
	}
	switch info.Invitations {
	case event.InvitationsInherit, event.InvitationsFalse:
	default:
		return Refuse(CodeInvalid, "room %q: invitations %q", info.Name, info.Invitations)
	}
	return nil
}

func (d *decider) createRoom(c *CreateRoom) (Decision, error) {
	info := c.Info
	cat := d.s.categories.Get(info.Category)
	if !d.Trusted {
		u, err := d.actor()
		if err != nil {
			return Decision{}, err
		}
		if in := d.s.dir.Reach(u, nil); cat == nil || !cat.creators.has(u.URI, in) || !cat.covers(u.URI, in) {
			return Decision{}, Refuse(CodeForbidden, "create room: %s may not create rooms in category %q", d.By, info.Category)
		}
	}
	if cat == nil {
		return Decision{}, Refuse(CodeNotFound, "create room: no category %q", info.Category)
	}
	raw, err := d.freshID("create room", string(c.ID))
	if err != nil {
		return Decision{}, err
	}
	id := event.RoomID(raw)
	if d.s.rooms.Get(id) != nil {
		return Decision{}, Refuse(CodeConflict, "create room: %s exists", id)
	}
	info.Type = or(info.Type, event.RoomNormal)
	info.Privacy = or(info.Privacy, event.PrivacyClosed)
	info.Invitations = or(info.Invitations, event.InvitationsInherit)
	if err := d.checkRoom(id, &info); err != nil {
		return Decision{}, err
	}
	access := c.Access
	if !d.Trusted {
		access = withManager(access, d.By)
	}
	if err := d.checkAccess(id, &info, cat, access); err != nil {
		return Decision{}, err
	}
	return d.one(id, &event.RoomCreated{Info: info, Access: access}, Result{Room: id})
}

func or[T ~string](v, def T) T {
	if v == "" {
		return def
	}
	return v
}

// withManager makes the creator a manager of the room (rule R2).
func withManager(access []event.Access, p event.Principal) []event.Access {
	out := make([]event.Access, 0, len(access)+1)
	found := false
	for _, a := range access {
		if a.Principal == p {
			a.Role |= event.RoleManager
			found = true
		}
		out = append(out, a)
	}
	if !found {
		out = append(out, event.Access{Principal: p, Role: event.RoleManager})
	}
	return out
}

// checkAccess refuses roles that a principal cannot have: outside the category (R1), unknown, presenter of a room
// that is no auditorium, or presenter without being a member (R5).
func (d *decider) checkAccess(id event.RoomID, info *event.RoomInfo, cat *category, access []event.Access) error {
	if len(access) > MaxPrincipals {
		return inRoom(id, CodeTooLarge, "roles of room %q: %d principals, at most %d", info.Name, len(access), MaxPrincipals)
	}
	roles := make(map[event.Principal]event.Role, len(access))
	for _, a := range access {
		if err := checkPrincipal("roles of room "+info.Name, a.Principal); err != nil {
			return err
		}
		if _, twice := roles[a.Principal]; twice {
			return inRoom(id, CodeInvalid, "roles of room %q: %s is listed twice", info.Name, a.Principal)
		}
		roles[a.Principal] = a.Role
	}
	role := func(p event.Principal) event.Role {
		if r, changed := roles[p]; changed {
			return r
		}
		return d.s.Role(id, p)
	}
	for _, a := range access {
		switch {
		case a.Role == 0:
			continue
		case a.Role&^(event.RoleMember|event.RoleManager|event.RolePresenter) != 0:
			return inRoom(id, CodeInvalid, "roles of room %q: unknown role %d", info.Name, a.Role)
		case !d.s.dir.Exists(a.Principal):
			return inRoom(id, CodeNotFound, "roles of room %q: there is no %s", info.Name, a.Principal)
		case !cat.covers(a.Principal, d.s.dir.ReachOf(a.Principal, nil)):
			return inRoom(id, CodeForbidden, "roles of room %q: %s is outside the category", info.Name, a.Principal)
		case a.Role&event.RolePresenter == 0:
			continue
		case info.Type != event.RoomAuditorium:
			return inRoom(id, CodeInvalid, "roles of room %q: only an auditorium has presenters", info.Name)
		}
		var all event.Role
		for _, p := range d.s.dir.Containing(a.Principal) {
			all |= role(p)
		}
		if all&event.RoleMember == 0 && info.Privacy != event.PrivacyOpen {
			return inRoom(id, CodeForbidden, "roles of room %q: presenter %s is not a member", info.Name, a.Principal)
		}
	}
	return nil
}

// changeRoom replaces the fields; a category, type, privacy or invitations left empty stay as they are. Managers may
// change everything but the category (R4). Whoever may not be in the room afterwards leaves it in the same decision.
func (d *decider) changeRoom(c *ChangeRoom) (Decision, error) {
	r := d.s.rooms.Get(c.ID)
	if r == nil {
		return Decision{}, inRoom(c.ID, CodeNotFound, "change room: no room %s", c.ID)
	}
	info := c.Info
	info.Category = or(info.Category, r.Info.Category)
	info.Type = or(info.Type, r.Info.Type)
	info.Privacy = or(info.Privacy, r.Info.Privacy)
	info.Invitations = or(info.Invitations, r.Info.Invitations)
	moves := info.Category != r.Info.Category
	if !d.Trusted {
		if _, err := d.actor(); err != nil {
			return Decision{}, err
		}
		rights := d.s.Rights(c.ID, d.By)
		if hides(&r.Info, rights) {
			return Decision{}, inRoom(c.ID, CodeNotFound, "change room: no room %s", c.ID)
		}
		if !rights.Manage {
			return Decision{}, inRoom(c.ID, CodeForbidden, "change room %s: %s does not manage it", c.ID, d.By)
		}
		if moves {
			return Decision{}, inRoom(c.ID, CodeForbidden, "change room %s: a manager may not move it to another category", c.ID)
		}
	}
	cat := d.s.categories.Get(info.Category)
	if cat == nil {
		return Decision{}, Refuse(CodeNotFound, "change room %s: no category %q", c.ID, info.Category)
	}
	if c.Revision != 0 && c.Revision != r.Revision {
		return Decision{}, inRoom(c.ID, CodeConflict, "change room %s: it was changed meanwhile", c.ID)
	}
	if err := d.checkRoom(c.ID, &info); err != nil {
		return Decision{}, err
	}
	if err := d.checkAccess(c.ID, &info, cat, c.Access); err != nil {
		return Decision{}, err
	}
	roles := make(map[event.Principal]event.Role, len(c.Access))
	for _, a := range c.Access {
		roles[a.Principal] = a.Role
	}
	access := c.Access
	if moves || info.Type != r.Info.Type {
		access = d.fitting(r.ID, &info, cat, access, roles)
	}
	out, err := d.one(c.ID, &event.RoomChanged{Info: info, Access: access}, Result{Room: c.ID})
	if moves || info.Disabled || info.Privacy != r.Info.Privacy || len(access) > 0 {
		out.Events = d.kick(out.Events, r.ID, &info, cat, roles)
	}
	return out, err
}

// fitting adds to the changes of roles those that a move or a change of type asks for: entries that the new category
// does not allow are dropped (R10), and a normal room has no presenters.
func (d *decider) fitting(room event.RoomID, info *event.RoomInfo, cat *category, access []event.Access, roles map[event.Principal]event.Role) []event.Access {
	access = append([]event.Access(nil), access...)
	for a := range d.s.Access(room) {
		if _, changed := roles[a.Principal]; changed {
			continue
		}
		role := a.Role
		if info.Type != event.RoomAuditorium {
			role &^= event.RolePresenter
		}
		if !cat.covers(a.Principal, d.s.dir.ReachOf(a.Principal, nil)) {
			role = 0
		}
		if role != a.Role {
			access = append(access, event.Access{Principal: a.Principal, Role: role})
			roles[a.Principal] = role
		}
	}
	return access
}

// removeRoom is for administrators only (R4). The sessions end before the room does, so that whoever reads the log
// still knows which room they were in.
func (d *decider) removeRoom(c *RemoveRoom) (Decision, error) {
	r := d.s.rooms.Get(c.ID)
	if r == nil {
		return Decision{}, inRoom(c.ID, CodeNotFound, "remove room: no room %s", c.ID)
	}
	var out Decision
	for x := range d.s.SessionsIn(c.ID) {
		out.Events = append(out.Events, d.parted(&x, event.PartDisabled))
	}
	out.Events = append(out.Events, d.draft(c.ID, &event.RoomRemoved{Name: r.Info.Name}))
	out.Result.Room = c.ID
	return out, nil
}
