// Package blocks turns what the pool knows into the blocks of XCCOS: rooms, users, rosters, lists and pages of history,
// each as one user may see it. It reads; it decides nothing and sends nothing.
package blocks

import (
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/xccos"
	"parley/sipfront/xccos/content"
)

// displayName is how a user is shown, empty when only his address is known.
func displayName(st *chat.State, p event.Principal) string {
	u, _ := st.User(p)
	return u.Info.DisplayName
}

// user is the block of a user, with the permissions that a notice tells.
func user(st *chat.State, p event.Principal, rooms ...xccos.AIB) xccos.UIB {
	return xccos.UIB{URI: string(p), Type: "5", Name: p.Address(), Display: displayName(st, p), Rooms: rooms}
}

// exactMask is what a user may do in a room, bit by bit, whether he is in it or not.
func exactMask(r chat.Rights) (m xccos.Mask) {
	for _, b := range []struct {
		has bool
		bit xccos.Mask
	}{{r.Manage, 4}, {r.Join, 128}, {r.Post, 256}, {r.ReadHistory, 1024}, {r.See, 2048}, {r.Presenter, 4096}} {
		if b.has {
			m |= b.bit
		}
	}
	return m
}

// mask is a user's permission mask in a room. The open client knows operators by one number only
// (docs/protocol.md, Elements), so it gets that one for managers.
func mask(st *chat.State, room event.RoomID, p event.Principal, sipe bool) xccos.Mask {
	r := st.Rights(room, p)
	return maskOf(r.Manager, r.Presenter, sipe)
}

func maskOf(manager, presenter, sipe bool) xccos.Mask {
	switch {
	case manager && sipe:
		return xccos.MaskManagerOpen
	case manager && presenter:
		return xccos.MaskManagerPresenter
	case manager:
		return xccos.MaskManager
	case presenter:
		return xccos.MaskPresenter
	}
	return xccos.MaskMember
}

// MaskOf is the permission mask of a user in a room as clients are told it.
func MaskOf(st *chat.State, room event.RoomID, p event.Principal) xccos.Mask {
	return mask(st, room, p, false)
}

func categoryURI(domain string, id event.CategoryID) string {
	return "ma-cat://" + domain + "/" + string(id)
}

// block is what clients are told about a room. Both spellings of the visibility id are sent: the open client reads
// only the wrong one (seen of pidgin-sipe).
func block(st *chat.State, r *chat.Room) xccos.ChanIB {
	visibility := xccos.VisibilityScoped
	switch r.Info.Privacy {
	case event.PrivacyOpen:
		visibility = xccos.VisibilityOpen
	case event.PrivacySecret:
		visibility = xccos.VisibilityPrivate
	}
	behavior := xccos.BehaviorNormal
	if r.Info.Type == event.RoomAuditorium {
		behavior = xccos.BehaviorAuditorium
	}
	cat, _ := st.Category(r.Info.Category)
	addIn, _ := st.AddIn(event.AddInID(r.Info.AddIn))
	return xccos.ChanIB{URI: chat.RoomURI(st.Domain(), r.ID), Name: r.Info.Name, Description: r.Info.Description,
		Parent: categoryURI(st.Domain(), r.Info.Category), Behavior: behavior,
		AddIn: r.Info.AddIn, AddInName: addIn.Info.Name, AddInURL: addIn.Info.URL,
		Info: []xccos.Prop{{ID: xccos.InfoUsers, Value: strconv.Itoa(r.Participants)},
			{ID: xccos.InfoVisibility, Value: visibility}, {ID: xccos.InfoVisibilityMiss, Value: visibility}},
		Props: []xccos.Prop{{ID: xccos.PropFilePost, Value: flag(cat.Info.FileUpload)},
			{ID: xccos.PropInvite, Value: flag(cat.Info.Invitations && r.Info.Invitations != event.InvitationsFalse)},
			{ID: xccos.PropLogged, Value: flag(cat.Info.ChatHistory)}}}
}

// listBytes is how long a list of rooms may get, in bytes: it must fit an INFO.
const listBytes = 200 << 10

// flag is a Boolean as prop elements have it (docs/protocol.md, Elements).
func flag(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// Join is the reply to a join: the rooms with who is in them, the joiner included. Quiet rooms show nobody
// (docs/rules.md, Presence in rooms).
func Join(st *chat.State, sipe bool, rooms []event.RoomID, failed []xccos.FIB) *xccos.Data {
	var roster xccos.Roster
	for _, id := range rooms {
		r, ok := st.Room(id)
		if !ok {
			continue
		}
		var in []xccos.Occupant
		if !r.Quiet {
			for _, p := range st.Roster(id) {
				in = append(in, xccos.Occupant{URI: string(p.User), Display: displayName(st, p.User), Mask: maskOf(p.Manager, p.Presenter, sipe)})
			}
		}
		roster.Add(block(st, &r), in)
	}
	roster.Data.Failed = failed
	return &roster.Data
}

// Failed lists the rooms of a batch that could not be joined.
func Failed(st *chat.State, refused []event.RoomID, foreign []xccos.ChanID) []xccos.FIB {
	var all []xccos.FIB
	for _, r := range refused {
		all = append(all, xccos.FIB{Key: xccos.FailedKey, Value: string(r), Domain: st.Domain()})
	}
	for _, r := range foreign {
		all = append(all, xccos.FIB{Key: xccos.FailedKey, Value: r.Value, Domain: r.Domain})
	}
	return all
}

// Found is the reply to chansrch: limit rooms at most, and whether there are more. Rights are asked for again: they may
// have changed since the search.
func Found(st *chat.State, user event.Principal, rooms []event.RoomID, limit int) *xccos.Data {
	data, size := new(xccos.Data), 0
	for _, id := range rooms {
		r, ok := st.Room(id)
		if !ok || !st.Rights(id, user).See {
			continue
		}
		size += 700 + len(r.Info.Name) + len(r.Info.Description)
		if len(data.Chans) == limit || size > listBytes {
			data.Search = &xccos.QIB{More: true}
			break
		}
		b := block(st, &r)
		b.Parent, b.Behavior, b.AddIn, b.AddInName, b.AddInURL = "", "", "", "", "" // as in the captured reply, vector V24b
		if r.Info.Disabled {
			b.Disabled = "true"
		}
		data.Chans = append(data.Chans, b)
	}
	return data
}

// Associations lists the rooms in which the user has a role, limit at most (docs/protocol.md, Commands).
func Associations(st *chat.State, user event.Principal, a *xccos.Association) *xccos.Data {
	role, limit := event.RoleMember, int(st.Limits().SearchLimit)
	if a != nil {
		if a.Type == xccos.AssociationManager {
			role = event.RoleManager
		}
		if a.MaxResults > 0 {
			limit = min(limit, int(a.MaxResults))
		}
	}
	data, size := new(xccos.Data), 0
	for r := range st.RoomsOf(user, role) {
		if r.Info.Disabled {
			continue
		}
		size += 300 + len(r.Info.Name) + len(r.Info.Description)
		if len(data.Chans) == limit || size > listBytes {
			break
		}
		data.Chans = append(data.Chans, xccos.ChanIB{URI: chat.RoomURI(st.Domain(), r.ID), Name: r.Info.Name,
			Description: r.Info.Description, Parent: categoryURI(st.Domain(), r.Info.Category)})
	}
	return data
}

// RootCategory is the root category: it has a fixed id, holds no rooms and cannot be changed
// (docs/protocol.md, Elements).
const RootCategory event.CategoryID = "00000000-0000-0000-0000-000000000001"

// Info is the reply to getserverinfo: the limits of the pool's configuration, and the server's clock.
func Info(st *chat.State, displayName string, asked *xccos.SIB, now event.Time) *xccos.Data {
	l := st.Limits()
	s := &xccos.SIB{InfoType: "123", ServerTime: xccos.FormatTime(now), SearchLimit: uint32(l.SearchLimit),
		MessageSizeLimit: uint32(l.MessageSizeLimit), StorySizeLimit: uint32(l.StorySizeLimit), RootURI: categoryURI(st.Domain(), RootCategory),
		DisplayName: displayName, RoomManagementURL: l.RoomManagementURL}
	if asked != nil && asked.InfoType != "" {
		s.InfoType = strings.Clone(asked.InfoType)
	}
	return &xccos.Data{Server: s}
}

// told is the text of a message on the wire: a story begins with its title.
func told(story bool, title, text string) string {
	if story {
		return content.Join(title, text)
	}
	return text
}

// Post is a message that was posted, as everybody in the room gets it.
func Post(st *chat.State, e *event.Envelope, p *event.Posted) *xccos.Post {
	return &xccos.Post{ChanURI: chat.RoomURI(st.Domain(), e.Room), Author: string(e.By), Display: displayName(st, e.By), Alert: p.Alert,
		ChatID: p.MessageID, TS: xccos.FormatTime(e.At), Text: told(p.Story, p.Title, p.Text), RTF: p.RTF}
}

// Came tells that a user came into a room.
func Came(st *chat.State, room event.RoomID, p event.Principal, sipe bool) *xccos.Data {
	m := mask(st, room, p, sipe)
	return &xccos.Data{Users: []xccos.UIB{user(st, p, xccos.AIB{Key: m.String(), Domain: st.Domain(), Value: string(room)})}}
}

// Left tells that users left a room.
func Left(st *chat.State, room event.RoomID, users ...event.Principal) *xccos.Data {
	c := xccos.ChanIB{URI: chat.RoomURI(st.Domain(), room)}
	for _, u := range users {
		c.Users = append(c.Users, user(st, u))
	}
	return &xccos.Data{Chans: []xccos.ChanIB{c}}
}
