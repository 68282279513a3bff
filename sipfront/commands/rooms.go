package commands

import (
	"context"
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
)

// change submits a change of a room and answers with the room as it is then.
func (d *Desk) change(k *Call, room event.RoomID, cmd chat.Command) {
	d.Pool.Submit(chat.Request{Origin: k.origin(room), Command: cmd}, func(o chat.Outcome, err error) {
		if err != nil {
			k.fail(chat.AsRefusal(err))
			return
		}
		k.Reply(o.Offset, func(st *chat.State) (*xccos.Data, *chat.Refusal) {
			// Removed again meanwhile, or not to be known of any more: the change was good.
			r, refusal := seen(st, o.Result.Room, k.user())
			if refusal != nil {
				return &xccos.Data{Chans: []xccos.ChanIB{{URI: chat.RoomURI(st.Domain(), o.Result.Room)}}}, nil
			}
			return blocks.RoomFor(st, &r, k.user()), nil
		})
	})
}

// create makes a room (docs/rules.md, R2 and R3). What is not said gets the product's defaults.
func (d *Desk) create(k *Call) {
	st, c := d.Pool.State(), &k.data().Chans[0]
	var info event.RoomInfo
	refusal := fields(st, c, &info)
	access, bad := roles(st, c.Roles, "")
	if refusal == nil {
		refusal = bad
	}
	if refusal != nil {
		k.fail(refusal)
		return
	}
	info.Name, info.Description = strings.Clone(c.Name), strings.Clone(c.Description)
	info.Disabled = strings.EqualFold(c.Disabled, "true")
	d.change(k, "", &chat.CreateRoom{Info: info, Access: access})
}

// manageable returns the room that a change is about, if the user may know of it.
func (d *Desk) manageable(k *Call) (st *chat.State, r chat.Room, refusal *chat.Refusal) {
	st = d.Pool.State()
	id, refusal := RoomOf(st, k.data().Chans[0].URI)
	if refusal == nil {
		r, refusal = seen(st, id, k.user())
	}
	return st, r, refusal
}

// modify changes what is said of a room. The change is made to the room as this node knows it, so the rules are told which
// state of it that was: if somebody was faster, the client is told to look again (R13), and nobody's change is undone.
// A change whose answer was lost may have made that state old; it is the same command, and is answered as the first time.
func (d *Desk) modify(k *Call) {
	st, r, refusal := d.manageable(k)
	c := &k.data().Chans[0]
	info := r.Info
	if refusal == nil {
		refusal = fields(st, c, &info)
	}
	if refusal != nil {
		k.fail(refusal)
		return
	}
	if c.Name != "" {
		info.Name = strings.Clone(c.Name)
	}
	if c.Description != "" || c.ClearDescription {
		info.Description = strings.Clone(c.Description)
	}
	if c.ClearAddIn {
		info.AddIn = ""
	}
	if c.Disabled != "" {
		info.Disabled = strings.EqualFold(c.Disabled, "true")
	}
	access, refusal := roles(st, c.Roles, r.ID)
	revision, behind := revisionOf(c, &r)
	if refusal == nil {
		refusal = behind
	}
	if refusal != nil {
		k.fail(refusal)
		return
	}
	d.change(k, r.ID, &chat.ChangeRoom{ID: r.ID, Info: info, Access: access, Revision: revision})
}

// revisionOf is which state of a room a change is made to: the one that the client says, or the one that it was worked out
// from. A node that has not heard of the client's yet does not know what else is in it, and would undo that.
func revisionOf(c *xccos.ChanIB, r *chat.Room) (event.Offset, *chat.Refusal) {
	switch said := event.Offset(c.Revision); {
	case said == 0:
		return r.Revision, nil
	case said > r.Revision:
		return 0, chat.Refuse(chat.CodeUnavailable, "this node knows the room as of %d, not %d: try again", r.Revision, said)
	default:
		return said, nil
	}
}

// disable disables a room, or enables it again.
func (d *Desk) disable(k *Call) {
	_, r, refusal := d.manageable(k)
	c := &k.data().Chans[0]
	revision, behind := revisionOf(c, &r)
	if refusal == nil {
		refusal = behind
	}
	if refusal != nil {
		k.fail(refusal)
		return
	}
	r.Info.Disabled = !strings.EqualFold(c.Disabled, "false")
	d.change(k, r.ID, &chat.ChangeRoom{ID: r.ID, Info: r.Info, Revision: revision})
}

// remove asks the rules to remove a room, which they do for administrators only (R4), never for a client.
func (d *Desk) remove(k *Call) {
	room, refusal := d.roomOf(k.data().Chans[0].URI)
	if refusal != nil {
		k.fail(refusal)
		return
	}
	d.change(k, room, &chat.RemoveRoom{ID: room})
}

// fields reads what a block says of a room, but for its texts: what it does not say stays as it is.
func fields(st *chat.State, c *xccos.ChanIB, info *event.RoomInfo) *chat.Refusal {
	if c.Parent != "" {
		id, ok := blocks.ParseCategory(c.Parent, st.Domain())
		if !ok {
			return chat.Refuse(chat.CodeNotFound, "not the URI of a category here")
		}
		if id == blocks.RootCategory { // NodeHierarchyViolation: docs/protocol.md, Elements
			return chat.Refuse(chat.CodeInvalid, "the root category holds no rooms")
		}
		info.Category = id
	}
	switch strings.ToUpper(c.Behavior) {
	case "":
	case xccos.BehaviorNormal:
		info.Type = event.RoomNormal
	case xccos.BehaviorAuditorium:
		info.Type = event.RoomAuditorium
	default:
		return chat.Refuse(chat.CodeInvalid, "a behavior that is not known")
	}
	switch v := strings.ToUpper(c.Get(xccos.InfoVisibility)); v {
	case "":
	default:
		p, ok := privacies[v]
		if !ok {
			return chat.Refuse(chat.CodeInvalid, "a visibility that is not known")
		}
		info.Privacy = p
	}
	switch strings.ToLower(c.Get(xccos.PropInvite)) {
	case "":
	case "true":
		info.Invitations = event.InvitationsInherit
	case "false":
		info.Invitations = event.InvitationsFalse
	default:
		return chat.Refuse(chat.CodeInvalid, "an invite flag that is neither True nor False")
	}
	if c.AddIn != "" {
		info.AddIn = strings.ToLower(c.AddIn)
	}
	return nil
}

// privacies are the words of the wire, and those of the product's pages.
var privacies = map[string]event.Privacy{xccos.VisibilityOpen: event.PrivacyOpen, xccos.VisibilityScoped: event.PrivacyClosed,
	"CLOSED": event.PrivacyClosed, xccos.VisibilityPrivate: event.PrivacySecret, "SECRET": event.PrivacySecret}

// roles reads changes of roles in a room; "" is one that is to be made. The lists are worked through in their order.
func roles(st *chat.State, lists []xccos.Role, room event.RoomID) ([]event.Access, *chat.Refusal) {
	var edits []chat.RoleEdit
	for i := range lists {
		l := &lists[i]
		e := chat.RoleEdit{Role: blocks.RoleOf(l.Type), All: l.Op == xccos.RoleSet}
		if e.Role == 0 {
			return nil, chat.Refuse(chat.CodeInvalid, "a room has no such role")
		}
		for j := range l.Users {
			p, refusal := principal(st, l.Users[j].URI)
			switch {
			case refusal != nil:
				return nil, refusal
			case l.Op == xccos.RoleRemove:
				e.Remove = append(e.Remove, p)
			default:
				e.Add = append(e.Add, p)
			}
		}
		edits = append(edits, e)
	}
	return st.EditRoles(room, edits), nil
}

// principal reads the URI of a principal. Whether there is an account is asked where it matters: who is taken out of a
// list need not exist any more.
func principal(st *chat.State, uri string) (event.Principal, *chat.Refusal) {
	if lower := strings.ToLower(uri); strings.HasPrefix(lower, "sip:") || strings.HasPrefix(lower, "sips:") {
		return event.UserPrincipal(strings.Clone(uri)), nil
	}
	p, err := st.ResolvePrincipal(strings.Clone(uri))
	if err != nil {
		return "", chat.AsRefusal(err)
	}
	return p, nil
}

// node tells all of a room or a category.
func (d *Desk) node(k *Call) {
	k.Reply(0, func(st *chat.State) (*xccos.Data, *chat.Refusal) {
		if len(k.data().Chans) == 0 {
			c, refusal := category(st, k.data().Categories[0].URI, k.user())
			if refusal != nil {
				return nil, refusal
			}
			return &xccos.Data{Categories: []xccos.NodeIB{blocks.Category(st, &c, k.user())}}, nil
		}
		r, refusal := roomBy(st, &k.data().Chans[0], k.user())
		if refusal != nil {
			return nil, refusal
		}
		return blocks.RoomFor(st, &r, k.user()), nil
	})
}

// category returns a category in whose scope a user is. To whoever is not, it does not exist: walls have no windows.
func category(st *chat.State, uri string, user event.Principal) (chat.Category, *chat.Refusal) {
	id, ok := blocks.ParseCategory(uri, st.Domain())
	c, known := st.Category(id)
	if !ok || !known || !st.Covers(id, user) {
		return c, chat.Refuse(chat.CodeNotFound, "no such category here")
	}
	return c, nil
}

// roomBy finds a room by its URI or its name.
func roomBy(st *chat.State, c *xccos.ChanIB, user event.Principal) (chat.Room, *chat.Refusal) {
	if c.URI != "" {
		id, refusal := RoomOf(st, c.URI)
		if refusal != nil {
			return chat.Room{}, refusal
		}
		return seen(st, id, user)
	}
	r, ok := st.RoomByName(c.Name)
	if !ok {
		return r, chat.Refuse(chat.CodeNotFound, "no room of this name")
	}
	return seen(st, r.ID, user)
}

// users tells who has roles in a room; or, when no role is named, who is in it.
func (d *Desk) users(k *Call) {
	d.read(func(context.Context) { // a hundred thousand may have a role
		st, c := d.Pool.State(), &k.data().Chans[0]
		r, refusal := roomBy(st, c, k.user())
		for i := range c.Roles {
			if refusal == nil && blocks.RoleOf(c.Roles[i].Type) == 0 {
				refusal = chat.Refuse(chat.CodeInvalid, "a room has no such role")
			}
		}
		if refusal != nil {
			k.fail(refusal)
			return
		}
		data := blocks.Participants(st, r.ID)
		if len(c.Roles) > 0 {
			data = blocks.Holders(st, r.ID, c.Roles[:min(len(c.Roles), 3)])
		}
		k.give(func(*chat.State) *xccos.Data { return data })
	})
}

// prefix of the categories under which the preferences of older clients are kept among what their user published.
const preferencePrefix = "preference:"

// preferenceOf returns what is kept of a preference.
func preferenceOf(st *chat.State, user event.Principal, label string) (found chat.PublishedSetting, ok bool) {
	for s := range st.Settings(user) {
		if s.Category == preferencePrefix+label {
			return s, true
		}
	}
	return found, false
}

// getPreference returns a preference. One that is not there is made when the client asks for that.
func (d *Desk) getPreference(k *Call) {
	p := k.data().Pref
	if _, ok := preferenceOf(d.Pool.State(), k.user(), p.Label); !ok && strings.EqualFold(p.CreateDefault, "true") {
		d.store(k, 0, "")
		return
	}
	k.Reply(0, func(st *chat.State) (*xccos.Data, *chat.Refusal) {
		s, ok := preferenceOf(st, k.user(), p.Label)
		if !ok {
			return nil, chat.Refuse(chat.CodeNotFound, "there is no such preference")
		}
		return blocks.Preference(p.Label, s.Version, s.Content, p.Seq), nil
	})
}

// setPreference stores one. A client that says which state of it it knows is refused when that is an old one.
func (d *Desk) setPreference(k *Call) {
	p := k.data().Pref
	s, _ := preferenceOf(d.Pool.State(), k.user(), p.Label)
	version := s.Version
	if p.Seq != "" {
		n, err := strconv.ParseUint(p.Seq, 10, 64)
		if err != nil {
			k.fail(chat.Refuse(chat.CodeInvalid, "seqid of a preference is not a number"))
			return
		}
		version = n
	}
	d.store(k, version, strings.Clone(p.Content))
}

func (d *Desk) store(k *Call, version uint64, content string) {
	label := strings.Clone(k.data().Pref.Label)
	cmd := &chat.PublishSetting{Setting: event.Setting{Category: preferencePrefix + label, Version: version, Content: content}}
	d.Pool.Submit(chat.Request{Origin: k.origin(""), Command: cmd}, func(o chat.Outcome, err error) {
		if err != nil {
			k.fail(chat.AsRefusal(err))
			return
		}
		k.Reply(o.Offset, func(*chat.State) (*xccos.Data, *chat.Refusal) {
			return blocks.Preference(label, o.Result.Version, "", ""), nil
		})
	})
}
