package blocks

import (
	"slices"
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/invites"
	"parley/sipfront/xccos"
)

// Whole is a room with everything that is told of it: to whoever asks for it, and to everybody in it when it has changed.
func Whole(st *chat.State, r *chat.Room) xccos.ChanIB {
	b := block(st, r)
	b.Disabled, b.Revision = strconv.FormatBool(r.Info.Disabled), uint64(r.Revision)
	b.Audit = &xccos.Audit{CreatedBy: string(r.CreatedBy), CreatedOn: xccos.FormatTime(r.CreatedAt), UpdatedBy: string(r.UpdatedBy),
		UpdatedOn: xccos.FormatTime(r.UpdatedAt)}
	return b
}

// RoomFor is a room as one user is told of it, with what he may do there.
func RoomFor(st *chat.State, r *chat.Room, user event.Principal) *xccos.Data {
	b := Whole(st, r)
	b.Permissions = exactMask(st.Rights(r.ID, user)).String()
	return &xccos.Data{Chans: []xccos.ChanIB{b}}
}

// Category is a category as one user is told of it. Who creates rooms there is told to its creators only: why rooms are
// kept apart is nobody else's business.
func Category(st *chat.State, c *chat.Category, user event.Principal) xccos.NodeIB {
	n := xccos.NodeIB{URI: categoryURI(st.Domain(), c.ID), Name: c.Info.Name, Description: c.Info.Description,
		Props: []xccos.Prop{{ID: xccos.PropInvite, Value: flag(c.Info.Invitations)}, {ID: xccos.PropFilePost, Value: flag(c.Info.FileUpload)},
			{ID: xccos.PropLogged, Value: flag(c.Info.ChatHistory)}}}
	if st.MayCreateIn(c.ID, user) {
		creators, _ := Principals(st, c.Info.Creators, listBytes/4)
		n.Roles = []xccos.Role{{Type: xccos.RoleCreator, Users: creators}}
	}
	return n
}

// Creatable lists the categories in which a user may create rooms (vector V27b).
func Creatable(st *chat.State, user event.Principal) *xccos.Data {
	data, size := new(xccos.Data), 0
	for c := range st.Creatable(user) {
		if size += 500 + len(c.Info.Name) + len(c.Info.Description); size > listBytes {
			break
		}
		n := Category(st, &c, user)
		n.Roles = nil
		data.Categories = append(data.Categories, n)
	}
	return data
}

// roleBits are the roles of the wire in a room.
var roleBits = map[string]event.Role{xccos.RoleMember: event.RoleMember, xccos.RoleManager: event.RoleManager,
	xccos.RolePresenter: event.RolePresenter}

// RoleOf returns the role in a room that a word of the wire means, 0 if it means none.
func RoleOf(word string) event.Role { return roleBits[word] }

// Holders lists who was given roles in a room, for each role asked for. What does not fit an INFO is left out, and the
// block says how many there are.
func Holders(st *chat.State, room event.RoomID, asked []xccos.Role) *xccos.Data {
	b := xccos.ChanIB{URI: chat.RoomURI(st.Domain(), room)}
	for i := range asked {
		role := xccos.Role{Type: asked[i].Type}
		var all []event.Principal
		for a := range st.Access(room) {
			if a.Role&RoleOf(role.Type) != 0 {
				all = append(all, a.Principal)
			}
		}
		var cut bool
		role.Users, cut = Principals(st, all, listBytes/len(asked))
		if b.Total += uint64(len(all)); cut {
			b.Exceeded = true
		}
		b.Roles = append(b.Roles, role)
	}
	if !b.Exceeded {
		b.Total = 0 // everybody is there to be counted
	}
	return &xccos.Data{Chans: []xccos.ChanIB{b}}
}

// Participants lists who is in a room: for rooms in which too many are to tell of each who comes and goes.
func Participants(st *chat.State, room event.RoomID) *xccos.Data {
	b := xccos.ChanIB{URI: chat.RoomURI(st.Domain(), room)}
	all := st.Roster(room)
	size := 0
	for _, p := range all {
		u := user(st, p.User)
		if size += 120 + len(u.URI) + len(u.Name) + len(u.Display); size > listBytes {
			b.Exceeded, b.Total = true, uint64(len(all))
			break
		}
		b.Users = append(b.Users, u)
	}
	return &xccos.Data{Chans: []xccos.ChanIB{b}}
}

// AddIns lists the registered add-ins.
func AddIns(st *chat.State) *xccos.Data {
	data, size := new(xccos.Data), 0
	for a := range st.AddIns() {
		if size += 120 + len(a.Info.Name) + len(a.Info.URL); size > listBytes {
			break
		}
		data.AddIns = append(data.AddIns, xccos.AddIn{ID: string(a.ID), Name: a.Info.Name, URL: a.Info.URL})
	}
	return data
}

// The numbers of kinds of principals on the wire (docs/protocol.md, Elements).
const (
	typeEveryone = "1"
	typeUser     = "5"
	typeDomain   = "8"
	typeGroup    = "9"
	typeUnit     = "10"
)

// Principal is the block of a user, a group or another principal. What the directory does not know has its URI only.
func Principal(st *chat.State, p event.Principal) xccos.UIB {
	d := st.Directory()
	if id, ok := p.Group(); ok {
		u := xccos.UIB{URI: "ma-grp:" + string(id) + "@u.g", GUID: string(id), Type: typeGroup}
		if g := d.Group(id); g != nil {
			u.Name, u.Display, u.Email = g.Info.Name, g.Info.Name, g.Info.Email
		}
		return u
	}
	if id, ok := p.Unit(); ok {
		u := xccos.UIB{URI: string(p), GUID: string(id), Type: typeUnit}
		if x := d.Unit(id); x != nil {
			u.Name, u.Display = st.DistinguishedName(p), x.Info.Name
		}
		return u
	}
	if name, ok := p.Domain(); ok {
		return xccos.UIB{URI: string(p), Type: typeDomain, Name: name}
	}
	if p == event.Everyone {
		return xccos.UIB{URI: string(p), Type: typeEveryone}
	}
	u := xccos.UIB{URI: string(p), Type: typeUser, Name: p.Address()}
	if a := d.User(p); a != nil {
		u.Display, u.Email, u.Company = a.Info.DisplayName, a.Info.Email, a.Info.Company
		u.Disabled = strconv.FormatBool(!a.Info.Enabled)
	}
	return u
}

// Principals returns the blocks of principals, and whether some were left out because more bytes would not do.
func Principals(st *chat.State, list []event.Principal, most int) (all []xccos.UIB, cut bool) {
	size := 0
	for _, p := range list {
		u := Principal(st, p)
		if size += 150 + len(u.URI) + len(u.GUID) + len(u.Name) + len(u.Display) + len(u.Email) + len(u.Company); size > most {
			return all, true
		}
		all = append(all, u)
	}
	return all, false
}

// People is the reply to a question for principals.
func People(st *chat.State, list []event.Principal, more bool) *xccos.Data {
	users, cut := Principals(st, list, listBytes)
	data := &xccos.Data{Users: users}
	if more || cut {
		data.Search = &xccos.QIB{More: true}
	}
	return data
}

// Invitations is the reply to getinv: the invitations above a number, oldest first, but for rooms that the user does not
// see any more. Without any it tells the newest number that he has had, or his own if he knows a higher one (vector V25b).
func Invitations(st *chat.State, user event.Principal, seen uint64) *xccos.Data {
	list, newest, _ := st.Invitations(user, seen)
	data, size := new(xccos.Data), 0
	for i := range list {
		inv, ok := Invitation(st, list[i])
		if !ok {
			continue
		}
		if size += 900 + len(inv.Chans[0].Name) + len(inv.Chans[0].Description); size > listBytes {
			break // the client asks on from the last that it got
		}
		data.Invites = append(data.Invites, inv)
	}
	if len(data.Invites) == 0 {
		data.Invites = []xccos.Inv{{ID: max(seen, newest), Domain: st.Domain()}}
	}
	return data
}

// Invitation is one invitation.
func Invitation(st *chat.State, i invites.Invitation) (inv xccos.Inv, ok bool) {
	r, ok := st.Room(i.Room)
	if !ok {
		return inv, false
	}
	return xccos.Inv{ID: i.ID, Domain: st.Domain(), CreatedOn: xccos.FormatTime(i.At), Chans: []xccos.ChanIB{block(st, &r)}}, true
}

// Changed tells that a room has changed.
func Changed(st *chat.State, room event.RoomID) *xccos.Data {
	r, ok := st.Room(room)
	if !ok {
		return new(xccos.Data)
	}
	return &xccos.Data{Chans: []xccos.ChanIB{Whole(st, &r)}}
}

// Gone tells that a room was disabled or removed.
func Gone(st *chat.State, room event.RoomID, disabled bool) *xccos.Data {
	c := xccos.ChanIB{URI: chat.RoomURI(st.Domain(), room)}
	if disabled {
		c.Disabled = "true"
	}
	return &xccos.Data{Chans: []xccos.ChanIB{c}}
}

// Removed tells that messages were removed, or that another text stands in their place.
func Removed(st *chat.State, room event.RoomID, ids []event.MessageRef, replacement string) *xccos.Data {
	c := xccos.ChanIB{URI: chat.RoomURI(st.Domain(), room), Replacement: replacement}
	for _, m := range ids {
		c.Removed = append(c.Removed, xccos.MsgID{ID: m.MessageID})
	}
	return &xccos.Data{Chans: []xccos.ChanIB{c}}
}

// Cleared tells that all messages of a room up to a time were removed.
func Cleared(st *chat.State, room event.RoomID, until event.Time) *xccos.Data {
	return &xccos.Data{Chans: []xccos.ChanIB{{URI: chat.RoomURI(st.Domain(), room)}},
		Context: &xccos.BCQ{Date: &xccos.DateRange{To: xccos.FormatTime(until)}}}
}

// Preference is the reply to a question for a preference: what is kept, unless the client has it already.
func Preference(label string, version uint64, content string, has string) *xccos.Data {
	p := &xccos.Pref{Label: label, Seq: strconv.FormatUint(version, 10)}
	if has != p.Seq {
		p.Content = content
	}
	return &xccos.Data{Pref: p}
}

// ParseCategory reads the URI of a category of the domain; false: it is none.
func ParseCategory(uri, domain string) (event.CategoryID, bool) {
	const scheme = "ma-cat://"
	if len(uri) < len(scheme) || !strings.EqualFold(uri[:len(scheme)], scheme) {
		return "", false
	}
	d, id, ok := strings.Cut(strings.ToLower(uri[len(scheme):]), "/")
	return event.CategoryID(id), ok && strings.EqualFold(d, domain) && id != "" && !slices.Contains([]byte(id), '/')
}
