package chat

import (
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/directory"
)

// checkRoom refuses what no room can have. addIn is the one that the room has.
func (d *decider) checkRoom(id event.RoomID, info *event.RoomInfo, addIn string) error {
	info.Name = strings.TrimSpace(info.Name)
	if err := checkTitle("room", info.Name, MaxNameCharacters); err != nil {
		return err
	}
	if other, taken := d.s.RoomByName(info.Name); taken && other.ID != id {
		return inRoom(id, CodeConflict, "room %q: the name is taken", info.Name).Breaks("R12", "")
	}
	if _, taken := d.s.CategoryByName(info.Name); taken {
		return inRoom(id, CodeConflict, "room %q: a category has the name", info.Name).Breaks("R12", "")
	}
	if err := checkDescription("room", info.Description); err != nil {
		return err
	}
	if info.AddIn != "" && info.AddIn != addIn { // one that was there before add-ins were registered may stay
		if _, ok := d.s.reg.AddIn(event.AddInID(info.AddIn)); !ok {
			return inRoom(id, CodeNotFound, "room %q: no add-in %q", info.Name, info.AddIn)
		}
	}
	switch info.Type {
	case event.RoomNormal, event.RoomAuditorium:
	default:
		return inRoom(id, CodeInvalid, "room %q: type %q", info.Name, info.Type)
	}
	switch info.Privacy {
	case event.PrivacyOpen, event.PrivacyClosed, event.PrivacySecret:
	default:
		return inRoom(id, CodeInvalid, "room %q: privacy %q", info.Name, info.Privacy)
	}
	switch info.Invitations {
	case event.InvitationsInherit, event.InvitationsFalse:
	default:
		return inRoom(id, CodeInvalid, "room %q: invitations %q, want %q or %q", info.Name, info.Invitations, event.InvitationsInherit, event.InvitationsFalse).Breaks("R11", "")
	}
	return nil
}

// createRoom makes a room with the defaults of rule R3: normal, closed, invitations inherited, nobody in it. Its creator
// becomes a manager (R2).
func (d *decider) createRoom(c *CreateRoom) (Decision, error) {
	info := c.Info
	cat := d.s.categories.Get(info.Category)
	if !d.Trusted {
		u, err := d.actor()
		if err != nil {
			return Decision{}, err
		}
		if cat == nil || !d.s.creates(cat, u) {
			return Decision{}, Refuse(CodeForbidden, "create room: %s may not create rooms in category %q", d.By, info.Category).Breaks("R2", d.By)
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
	if err := d.checkRoom(id, &info, ""); err != nil {
		return Decision{}, err
	}
	access := c.Access
	if !d.Trusted {
		access = withManager(access, d.By)
	}
	if err := d.checkAccess(id, &info, cat, access); err != nil {
		return Decision{}, err
	}
	out, err := d.one(id, &event.RoomCreated{Info: info, Access: access}, Result{Room: id})
	out.Events = d.invite(out.Events, id, &info, cat, access)
	return out, err
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

// checkAccess refuses roles that a principal cannot have, and names everyone who cannot have his.
func (d *decider) checkAccess(id event.RoomID, info *event.RoomInfo, cat *category, access []event.Access) error {
	if len(access) > MaxPrincipals {
		return inRoom(id, CodeTooLarge, "roles of room %q: %d principals, at most %d", info.Name, len(access), MaxPrincipals)
	}
	var bad command.Faults
	roles := make(map[event.Principal]event.Role, len(access))
	for i, a := range access {
		if err := checkPrincipal("roles of room "+info.Name, a.Principal); err != nil {
			bad.Add(i, AsRefusal(err).About(a.Principal))
		} else if _, twice := roles[a.Principal]; twice {
			bad.Add(i, inRoom(id, CodeInvalid, "roles of room %q: %s is listed twice", info.Name, a.Principal).About(a.Principal))
		}
		roles[a.Principal] = a.Role
	}
	if err := bad.Refusal("roles of room " + info.Name); err != nil {
		return err
	}
	for i, a := range access {
		if f := d.checkRole(id, info, cat, a, roles); f != nil {
			bad.Add(i, f)
		}
	}
	return bad.Refusal("roles of room " + info.Name)
}

// checkRole refuses a role outside the category (R1), of somebody unknown, of a presenter where there are none (R6) or
// who is no member (R5). roles are those that the same command gives.
func (d *decider) checkRole(id event.RoomID, info *event.RoomInfo, cat *category, a event.Access, roles map[event.Principal]event.Role) *Refusal {
	switch {
	case a.Role == 0:
		return nil
	case a.Role&^(event.RoleMember|event.RoleManager|event.RolePresenter) != 0:
		return inRoom(id, CodeInvalid, "roles of room %q: unknown role %d", info.Name, a.Role).About(a.Principal)
	case !d.s.dir.Exists(a.Principal):
		return inRoom(id, CodeNotFound, "roles of room %q: there is no %s", info.Name, a.Principal).Breaks("D3", a.Principal)
	case !cat.covers(a.Principal, d.s.dir.ReachOf(a.Principal, nil)):
		return inRoom(id, CodeForbidden, "roles of room %q: %s is outside the category", info.Name, a.Principal).Breaks("R1", a.Principal)
	case a.Role&event.RolePresenter == 0:
		return nil
	case info.Type != event.RoomAuditorium:
		return inRoom(id, CodeInvalid, "roles of room %q: only an auditorium has presenters, not %s", info.Name, a.Principal).Breaks("R6", a.Principal)
	}
	var all event.Role
	for _, p := range d.s.dir.Containing(a.Principal) {
		if r, changed := roles[p]; changed {
			all |= r
		} else {
			all |= d.s.Role(id, p)
		}
	}
	if all&event.RoleMember == 0 && info.Privacy != event.PrivacyOpen {
		return inRoom(id, CodeForbidden, "roles of room %q: presenter %s is not a member", info.Name, a.Principal).Breaks("R5", a.Principal)
	}
	return nil
}

// changeRoom replaces the fields; a category, type, privacy or invitations left empty stay as they are. Managers may
// change everything but the category (R4), which takes a creator of the other one (R10). Whoever may not be in the room afterwards leaves it in the same decision.
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
	cat := d.s.categories.Get(info.Category)
	if !d.Trusted {
		u, err := d.actor()
		if err != nil {
			return Decision{}, err
		}
		rights := d.s.rights(r, u)
		if r.access.gate.hides(rights) {
			return Decision{}, inRoom(c.ID, CodeNotFound, "change room: no room %s", c.ID)
		}
		if !rights.Manage {
			return Decision{}, inRoom(c.ID, CodeForbidden, "change room %s: %s does not manage it", c.ID, d.By).Breaks("R4", d.By)
		}
		if moves && (cat == nil || !d.s.creates(cat, u)) {
			return Decision{}, inRoom(c.ID, CodeForbidden, "change room %s: %s may not move it to category %q", c.ID, d.By, info.Category).Breaks("R10", d.By)
		}
	}
	if cat == nil {
		return Decision{}, Refuse(CodeNotFound, "change room %s: no category %q", c.ID, info.Category)
	}
	if err := command.Changed("room "+r.Info.Name, c.Revision, r.Revision); err != nil {
		return Decision{}, err
	}
	if err := d.checkRoom(c.ID, &info, r.Info.AddIn); err != nil {
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
	out.Events = d.invite(out.Events, r.ID, &info, cat, c.Access)
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

// removeRoom is for administrators only (R4), and takes the content with it. The sessions end before the room does, so
// that whoever reads the log still knows which room they were in.
func (d *decider) removeRoom(c *RemoveRoom) (Decision, error) {
	r := d.s.rooms.Get(c.ID)
	if r == nil {
		return Decision{}, inRoom(c.ID, CodeNotFound, "remove room: no room %s", c.ID)
	}
	if err := d.s.holds.RefuseRoom(c, d.env.At, d.s.Keeps(c.ID), d.s.lastMessage(c.ID)); err != nil {
		return Decision{}, err
	}
	var out Decision
	for x := range d.s.SessionsIn(c.ID) {
		out.Events = append(out.Events, d.parted(&x, event.PartDisabled))
	}
	if d.s.lastMessage(c.ID) > 0 {
		out.Events = append(out.Events, d.draft(c.ID, &event.MessagesRemoved{Until: d.env.At}))
	}
	out.Events = append(out.Events, d.draft(c.ID, &event.RoomRemoved{Name: r.Info.Name}))
	out.Result.Room = c.ID
	return out, nil
}

// Limits of invitations.
const (
	MaxInvitations  = 1_000_000 // kept in a pool; above it nobody is invited any more
	invitedPerEvent = 10_000
)

// invite appends the invitations of those whom a command makes members of a room: users, and whoever is in the groups and
// organisational units listed. Nobody is invited by a domain or by "everyone", nor who was a member before, nor whoever
// gives the command. The room's setting is inherit or off, so the category must allow invitations as well (R11).
func (d *decider) invite(events []event.Draft, room event.RoomID, info *event.RoomInfo, cat *category, access []event.Access) []event.Draft {
	if !cat.Info.Invitations || info.Invitations != event.InvitationsInherit || info.Disabled {
		return events
	}
	shared := d.s.sharedIn(room)
	var buf [reachHint]directory.Ref
	var list []event.Invitation
	consider := func(u *User) {
		in := d.s.dir.Reach(u, buf[:0])
		if u.URI != d.By && cat.covers(u.URI, in) && (d.s.Role(room, u.URI)|shared.role(in))&event.RoleMember == 0 {
			list = append(list, event.Invitation{User: u.URI, ID: d.s.box.Next(u.URI)})
		}
	}
	for _, a := range access {
		if a.Role&event.RoleMember == 0 || a.Principal == Everyone {
			continue
		}
		if _, whole := a.Principal.Domain(); whole {
			continue
		}
		if u := d.s.dir.User(a.Principal); u != nil {
			consider(u)
			continue
		}
		for u := range d.s.dir.UsersIn(a.Principal) {
			consider(u)
		}
	}
	slices.SortFunc(list, func(a, b event.Invitation) int { return strings.Compare(string(a.User), string(b.User)) })
	list = slices.Compact(list)
	if d.s.box.Len()+len(list) > MaxInvitations {
		return events
	}
	for part := range slices.Chunk(list, invitedPerEvent) {
		events = append(events, d.draft(room, &event.Invited{Invitations: part}))
	}
	return events
}
