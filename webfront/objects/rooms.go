package objects

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
)

// Room is a room as the API shows it.
type Room struct {
	Room         string            `json:"room" doc:"ma-chan URI"`
	ID           event.RoomID      `json:"id"`
	Name         string            `json:"name"`
	Description  string            `json:"description"`
	Category     string            `json:"category" doc:"name"`
	CategoryID   event.CategoryID  `json:"category_id"`
	Type         event.RoomType    `json:"type" doc:"normal or auditorium"`
	Privacy      event.Privacy     `json:"privacy" doc:"open, closed or secret"`
	Invitations  event.Invitations `json:"invitations" doc:"inherit or false"`
	AddIn        string            `json:"add_in"`
	Disabled     bool              `json:"disabled"`
	Members      []Who             `json:"members"`
	Managers     []Who             `json:"managers"`
	Presenters   []Who             `json:"presenters"`
	Participants int               `json:"participants" doc:"users who are in it now"`
	LastMessage  uint64            `json:"last_message_id"`
	CreatedBy    event.Principal   `json:"created_by"`
	CreatedAt    string            `json:"created_at"`
	UpdatedBy    event.Principal   `json:"updated_by"`
	UpdatedAt    string            `json:"updated_at"`
	Revision     event.Offset      `json:"revision"`
}

// RoomChange is the body of POST and PATCH; what is absent stays as it is, or gets the product's default.
type RoomChange struct {
	Name        *string     `json:"name,omitempty" doc:"unique in the pool, at most 256 bytes; required in a new room"`
	Description *string     `json:"description,omitempty"`
	Category    *string     `json:"category,omitempty" doc:"name or GUID; required in a new room"`
	Type        *string     `json:"type,omitempty" doc:"normal (default) or auditorium"`
	Privacy     *string     `json:"privacy,omitempty" doc:"open, closed (default) or secret"`
	Invitations *string     `json:"invitations,omitempty" doc:"inherit (default) or false"`
	AddIn       *string     `json:"add_in,omitempty" doc:"name of a registered add-in; empty: none"`
	Disabled    *bool       `json:"disabled,omitempty"`
	Members     *ListChange `json:"members,omitempty"`
	Managers    *ListChange `json:"managers,omitempty"`
	Presenters  *ListChange `json:"presenters,omitempty"`
	Seen
}

// Rooms are one kind of object.
func Rooms(env *Env) *Resource[chat.Room, Room, RoomChange, *RoomChange] {
	return &Resource[chat.Room, Room, RoomChange, *RoomChange]{
		Path: "/rooms", Key: "room", Noun: "room", Identity: "ma-chan URI, GUID or name",
		Read: roles.RoomRead, Create: roles.RoomCreate, Change: roles.RoomChange, Remove: roles.RoomRemove,
		Lists: "Rooms, by name", Makes: "Make a room", Alters: "Change a room; a new category moves it",
		Drops: "Remove a room with all its content; the log keeps what happened in it", AsObjects: true,
		ListParams: roomParams,
		Find:       FindRoom,
		List:       env.matchingRooms,
		Order:      func(r Room) string { return r.Name },
		ID:         func(r chat.Room) string { return string(r.ID) },
		Name:       func(r chat.Room) string { return r.Info.Name },
		Revision:   func(r chat.Room) event.Offset { return r.Revision },
		Show:       showRoom,
		Make: func(s *chat.State, c *RoomChange) (chat.Command, error) {
			if c.Name == nil || c.Category == nil {
				return nil, chat.Refuse(chat.CodeInvalid, "a new room needs a name and a category")
			}
			info, err := c.apply(s, event.RoomInfo{Type: event.RoomNormal, Privacy: event.PrivacyClosed, Invitations: event.InvitationsInherit})
			if err != nil {
				return nil, err
			}
			access, err := c.access(s, "")
			return &chat.CreateRoom{Info: info, Access: access}, err
		},
		Made: func(_ *chat.State, _ *RoomChange, out chat.Result) string { return string(out.Room) },
		Alter: func(s *chat.State, r chat.Room, c *RoomChange, revision event.Offset) (chat.Command, error) {
			info, err := c.apply(s, r.Info)
			if err != nil {
				return nil, err
			}
			access, err := c.access(s, r.ID)
			return &chat.ChangeRoom{ID: r.ID, Info: info, Access: access, Revision: revision}, err
		},
		Drop: func(r chat.Room, _ url.Values) (chat.Command, error) { return &chat.RemoveRoom{ID: r.ID}, nil },
	}
}

func showRoom(v View, r chat.Room) Room {
	s := v.State
	out := Room{
		Room: chat.RoomURI(s.Domain(), r.ID), ID: r.ID, Name: r.Info.Name, Description: r.Info.Description,
		CategoryID: r.Info.Category, Type: r.Info.Type, Privacy: r.Info.Privacy, Invitations: r.Info.Invitations,
		AddIn: r.Info.AddIn, Disabled: r.Info.Disabled, Participants: r.Participants, LastMessage: r.LastMessage,
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.String(), UpdatedBy: r.UpdatedBy, UpdatedAt: r.UpdatedAt.String(),
		Revision: r.Revision,
	}
	if c, ok := s.Category(r.Info.Category); ok {
		out.Category = c.Info.Name
	}
	if x, ok := s.AddIn(event.AddInID(r.Info.AddIn)); ok {
		out.AddIn = x.Info.Name
	}
	lists := map[event.Role][]event.Principal{}
	for a := range s.Access(r.ID) {
		for _, role := range []event.Role{event.RoleMember, event.RoleManager, event.RolePresenter} {
			if a.Role&role != 0 {
				lists[role] = append(lists[role], a.Principal)
			}
		}
	}
	out.Members, out.Managers, out.Presenters = v.list(lists[event.RoleMember]), v.list(lists[event.RoleManager]), v.list(lists[event.RolePresenter])
	return out
}

// FindRoom finds a room by URI, GUID or name.
func FindRoom(s *chat.State, identity string) (chat.Room, error) {
	id, guid := isGUID(identity)
	if strings.Contains(identity, "://") {
		domain, rid, err := chat.ParseRoomURI(identity)
		if err != nil || domain != s.Domain() {
			return chat.Room{}, chat.Refuse(chat.CodeNotFound, "no room %s in this pool", identity)
		}
		id, guid = string(rid), true
	}
	if guid {
		if r, ok := s.Room(event.RoomID(id)); ok {
			return r, nil
		}
	}
	for _, name := range []string{identity, bare(identity)} {
		if r, ok := s.RoomByName(name); ok {
			return r, nil
		}
	}
	return chat.Room{}, chat.Refuse(chat.CodeNotFound, "no room %q", identity)
}

// roomParams are the filters of the product's Get-CsPersistentChatRoom.
var roomParams = []Param{
	{Name: "filter", Doc: "words that the name has"},
	{Name: "search_description", Kind: "boolean", Doc: "look for the words in the description too"},
	{Name: "category", Doc: "only of this category"},
	{Name: "add_in", Doc: "only with this add-in"},
	{Name: "manager", Doc: "only with this principal as manager"},
	{Name: "member", Doc: "only with this principal as member"},
	{Name: "privacy", Values: []string{"open", "closed", "secret"}},
	{Name: "type", Values: []string{"normal", "auditorium"}},
	{Name: "invitations", Values: []string{"inherit", "false"}},
	{Name: "disabled", Kind: "boolean", Doc: "only disabled rooms, or only enabled ones"},
	{Name: "chat_content_exceeds_mb", Kind: "integer", Doc: "only rooms whose messages have more than so many megabytes (1,048,576 bytes); they are read for it"},
}

type roomFilter struct {
	words           string
	description     bool
	category        event.CategoryID
	addIn           string
	manager, member event.Principal
	privacy         event.Privacy
	typ             event.RoomType
	invitations     event.Invitations
	disabled        string
}

func newRoomFilter(s *chat.State, q url.Values) (*roomFilter, error) {
	f := &roomFilter{
		words: q.Get("filter"), description: q.Get("search_description") == "true",
		privacy: event.Privacy(Lower(q.Get("privacy"))), typ: event.RoomType(Lower(q.Get("type"))),
		invitations: event.Invitations(Lower(q.Get("invitations"))), disabled: q.Get("disabled"),
	}
	if v := q.Get("category"); v != "" {
		c, err := FindCategory(s, v)
		if err != nil {
			return nil, err
		}
		f.category = c.ID
	}
	if v := q.Get("add_in"); v != "" {
		x, err := findAddIn(s, v)
		if err != nil {
			return nil, err
		}
		f.addIn = string(x.ID)
	}
	for name, to := range map[string]*event.Principal{"manager": &f.manager, "member": &f.member} {
		if v := q.Get(name); v != "" {
			var err error
			if *to, err = Principal(s, v); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

func (f *roomFilter) match(s *chat.State, r chat.Room) bool {
	text := r.Info.Name
	if f.description {
		text += "\n" + r.Info.Description
	}
	return HasWords(f.words, text) &&
		(f.category == "" || f.category == r.Info.Category) &&
		(f.addIn == "" || f.addIn == r.Info.AddIn) &&
		(f.privacy == "" || f.privacy == r.Info.Privacy) &&
		(f.typ == "" || f.typ == r.Info.Type) &&
		(f.invitations == "" || f.invitations == r.Info.Invitations) &&
		(f.disabled == "" || f.disabled == strconv.FormatBool(r.Info.Disabled)) &&
		(f.manager == "" || s.Role(r.ID, f.manager)&event.RoleManager != 0) &&
		(f.member == "" || s.Role(r.ID, f.member)&event.RoleMember != 0)
}

func (e *Env) matchingRooms(ctx context.Context, s *chat.State, q url.Values) ([]chat.Room, error) {
	f, err := newRoomFilter(s, q)
	if err != nil {
		return nil, err
	}
	var exceeds uint64
	size := q.Get("chat_content_exceeds_mb")
	if size != "" {
		mb, err := strconv.ParseUint(size, 10, 31)
		if err != nil {
			return nil, chat.Refuse(chat.CodeInvalid, "chat_content_exceeds_mb=%q is not a number from 0 to 2147483647", size)
		}
		exceeds = mb << 20
	}
	var out []chat.Room
	for room := range s.Rooms() {
		if !f.match(s, room) {
			continue
		}
		if size != "" {
			if large, err := e.exceeds(ctx, room, exceeds); err != nil || !large {
				if err != nil {
					return nil, err
				}
				continue
			}
		}
		out = append(out, room)
	}
	return out, nil
}

// exceeds reports whether the messages of a room have more bytes than that. It stops reading when it knows.
func (e *Env) exceeds(ctx context.Context, room chat.Room, bytes uint64) (bool, error) {
	var sum uint64
	for m, err := range e.Messages(ctx, room) {
		if err != nil {
			return false, err
		}
		if sum += uint64(len(m.Text) + len(m.RTF)); sum > bytes {
			return true, nil
		}
	}
	return false, nil
}

// apply puts the change over the fields of a room.
func (c *RoomChange) apply(s *chat.State, i event.RoomInfo) (event.RoomInfo, error) {
	Set(&i.Name, c.Name)
	Set(&i.Description, c.Description)
	Set(&i.Disabled, c.Disabled)
	SetLower(&i.Type, c.Type)
	SetLower(&i.Privacy, c.Privacy)
	SetLower(&i.Invitations, c.Invitations)
	if c.AddIn != nil && *c.AddIn == "" {
		i.AddIn = ""
	} else if c.AddIn != nil {
		x, err := findAddIn(s, *c.AddIn)
		if err != nil {
			return i, err
		}
		i.AddIn = string(x.ID)
	}
	if c.Category != nil {
		cat, err := FindCategory(s, *c.Category)
		if err != nil {
			return i, err
		}
		i.Category = cat.ID
	}
	return i, nil
}

// access returns the roles that the change alters, of the room id; "" is a room that is being made.
func (c *RoomChange) access(s *chat.State, id event.RoomID) ([]event.Access, error) {
	var edits []chat.RoleEdit
	for _, l := range []struct {
		role   event.Role
		change *ListChange
	}{{event.RoleMember, c.Members}, {event.RoleManager, c.Managers}, {event.RolePresenter, c.Presenters}} {
		if l.change == nil {
			continue
		}
		var old []event.Principal
		for a := range s.Access(id) {
			if a.Role&l.role != 0 {
				old = append(old, a.Principal)
			}
		}
		list, err := l.change.principals(s, old)
		if err != nil {
			return nil, err
		}
		edits = append(edits, chat.RoleEdit{Role: l.role, All: true, Add: list})
	}
	return s.EditRoles(id, edits), nil
}

// ShowRoom returns a room as the API shows it.
func ShowRoom(s *chat.State, r chat.Room) Room { return showRoom(View{State: s}, r) }
