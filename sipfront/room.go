package sipfront

import (
	"strconv"
	"strings"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/sipfront/xccos"
)

// This file turns state into XCCOS blocks. It reads; it decides nothing.

// displayName is how a user is shown, empty when only his address is known.
func displayName(st *chat.State, p event.Principal) string {
	u, _ := st.User(p)
	return u.Info.DisplayName
}

// userBlock is the block of a user, with the permissions that a notice tells.
func userBlock(st *chat.State, p event.Principal, rooms ...xccos.AIB) xccos.UIB {
	return xccos.UIB{URI: string(p), Type: "5", Name: p.Address(), Display: displayName(st, p), Rooms: rooms}
}

// maskOf is a user's permission mask in a room. The open client knows operators by one number only (XCCOS digest,
// section 4.4), so it gets that one for managers.
func maskOf(st *chat.State, room event.RoomID, p event.Principal, sipe bool) xccos.Mask {
	r := st.Rights(room, p)
	switch {
	case r.Manager && sipe:
		return xccos.MaskManagerOpen
	case r.Manager && r.Presenter:
		return xccos.MaskManagerPresenter
	case r.Manager:
		return xccos.MaskManager
	case r.Presenter:
		return xccos.MaskPresenter
	}
	return xccos.MaskMember
}

func categoryURI(domain string, id event.CategoryID) string {
	return "ma-cat://" + domain + "/" + string(id)
}

// roomBlock is what clients are told about a room. Both spellings of the visibility id are sent: the open client reads
// only the wrong one (client study, section 9).
func roomBlock(st *chat.State, r *chat.Room) xccos.ChanIB {
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
	return xccos.ChanIB{URI: chat.RoomURI(st.Domain(), r.ID), Name: r.Info.Name, Description: r.Info.Description,
		Parent: categoryURI(st.Domain(), r.Info.Category), Behavior: behavior, AddIn: r.Info.AddIn,
		Info: []xccos.Prop{{ID: xccos.InfoUsers, Value: strconv.Itoa(r.Participants)},
			{ID: xccos.InfoVisibility, Value: visibility}, {ID: xccos.InfoVisibilityMiss, Value: visibility}},
		Props: []xccos.Prop{{ID: xccos.PropFilePost, Value: flag(cat.Info.FileUpload)},
			{ID: xccos.PropInvite, Value: flag(cat.Info.Invitations && r.Info.Invitations != event.InvitationsFalse)},
			{ID: xccos.PropLogged, Value: flag(cat.Info.ChatHistory)}}}
}

// flag is a Boolean as prop elements have it (XCCOS digest, section 4.1).
func flag(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// joinData is the reply to a join: the rooms with who is in them, the joiner included. Quiet rooms show nobody
// (participant update limit, XCCOS digest, section 3.4).
func (f *Front) joinData(st *chat.State, d *dialog, rooms []event.RoomID, failed []xccos.FIB) *xccos.Data {
	var roster xccos.Roster
	for _, id := range rooms {
		r, ok := st.Room(id)
		if !ok {
			continue
		}
		var in []xccos.Occupant
		if !r.Quiet {
			for _, p := range st.Roster(id) {
				in = append(in, xccos.Occupant{URI: string(p.User), Display: displayName(st, p.User), Mask: maskOf(st, id, p.User, d.sipe)})
			}
		}
		roster.Add(roomBlock(st, &r), in)
	}
	roster.Data.Failed = failed
	return &roster.Data
}

// failed lists the rooms of a batch that could not be joined.
func failed(st *chat.State, refused []event.RoomID, foreign []xccos.ChanID) []xccos.FIB {
	var all []xccos.FIB
	for _, r := range refused {
		all = append(all, xccos.FIB{Key: xccos.FailedKey, Value: string(r), Domain: st.Domain()})
	}
	for _, r := range foreign {
		all = append(all, xccos.FIB{Key: xccos.FailedKey, Value: r.Value, Domain: r.Domain})
	}
	return all
}

// historyData is the reply to bccontext, oldest message first: clients print in document order.
func historyData(st *chat.State, room event.RoomID, messages []history.Message) *xccos.Data {
	uri := chat.RoomURI(st.Domain(), room)
	c := xccos.ChanIB{URI: uri}
	for i := range messages {
		m := &messages[i]
		if m.Erased {
			continue
		}
		c.Posts = append(c.Posts, xccos.Post{ChanURI: uri, Author: string(m.By), Display: displayName(st, m.By), Alert: m.Alert,
			ChatID: m.ID, TS: xccos.FormatTime(m.At), Text: m.Text, RTF: m.RTF})
	}
	return &xccos.Data{Chans: []xccos.ChanIB{c}}
}

// searchData is the reply to chansrch. Rights are asked for again: they may have changed since the search.
func (f *Front) searchData(st *chat.State, user event.Principal, rooms []event.RoomID) *xccos.Data {
	data, size := new(xccos.Data), 0
	for _, id := range rooms {
		r, ok := st.Room(id)
		if !ok || r.Info.Disabled || !st.Rights(id, user).See {
			continue
		}
		size += 700 + len(r.Info.Name) + len(r.Info.Description)
		if len(data.Chans) == f.cfg.SearchLimit || size > searchBytes {
			break
		}
		b := roomBlock(st, &r)
		b.Parent, b.Behavior, b.AddIn = "", "", "" // as in the captured reply, vector V24b
		data.Chans = append(data.Chans, b)
	}
	return data
}

// associations lists the rooms in which the user has a role (XCCOS digest, section 3.3).
func (f *Front) associations(st *chat.State, user event.Principal, a *xccos.Association) *xccos.Data {
	role, limit := event.RoleMember, f.cfg.SearchLimit
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
		if len(data.Chans) == limit || size > searchBytes {
			break
		}
		data.Chans = append(data.Chans, xccos.ChanIB{URI: chat.RoomURI(st.Domain(), r.ID), Name: r.Info.Name,
			Description: r.Info.Description, Parent: categoryURI(st.Domain(), r.Info.Category)})
	}
	return data
}

// rootGUID is the root category: it has a fixed id, holds no rooms and cannot be changed (XCCOS digest, section 4.10).
const rootGUID = "00000000-0000-0000-0000-000000000001"

// serverInfo tells limits and the server's clock (XCCOS digest, section 3.2).
func (f *Front) serverInfo(st *chat.State, asked *xccos.SIB) *xccos.SIB {
	s := &xccos.SIB{InfoType: "123", ServerTime: xccos.FormatTime(event.Time(time.Now().UnixNano())),
		SearchLimit: uint32(f.cfg.SearchLimit), MessageSizeLimit: uint32(f.cfg.MessageBytes), StorySizeLimit: uint32(f.cfg.StoryBytes),
		RootURI: categoryURI(st.Domain(), rootGUID), DisplayName: f.cfg.DisplayName, RoomManagementURL: f.cfg.RoomManagementURL}
	if asked != nil && asked.InfoType != "" {
		s.InfoType = strings.Clone(asked.InfoType)
	}
	return s
}
