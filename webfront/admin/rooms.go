package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/dump"
)

// Room is a room as the API shows it.
type Room struct {
	Room         string            `json:"room"` // ma-chan URI
	ID           event.RoomID      `json:"id"`
	Name         string            `json:"name"`
	Description  string            `json:"description"`
	Category     string            `json:"category"` // name
	CategoryID   event.CategoryID  `json:"category_id"`
	Type         event.RoomType    `json:"type"`
	Privacy      event.Privacy     `json:"privacy"`
	Invitations  event.Invitations `json:"invitations"`
	AddIn        string            `json:"add_in"`
	Disabled     bool              `json:"disabled"`
	Members      []event.Principal `json:"members"`
	Managers     []event.Principal `json:"managers"`
	Presenters   []event.Principal `json:"presenters"`
	Participants int               `json:"participants"` // users with a session
	LastMessage  uint64            `json:"last_message_id"`
	CreatedBy    event.Principal   `json:"created_by"`
	CreatedAt    string            `json:"created_at"`
	UpdatedBy    event.Principal   `json:"updated_by"`
	UpdatedAt    string            `json:"updated_at"`
	Revision     event.Offset      `json:"revision"`
}

// RoomChange is the body of POST and PATCH; what is absent stays as it is, or gets the product's default.
type RoomChange struct {
	Name        *string     `json:"name,omitempty"`
	Description *string     `json:"description,omitempty"`
	Category    *string     `json:"category,omitempty"` // name or GUID
	Type        *string     `json:"type,omitempty"`
	Privacy     *string     `json:"privacy,omitempty"`
	Invitations *string     `json:"invitations,omitempty"`
	AddIn       *string     `json:"add_in,omitempty"`
	Disabled    *bool       `json:"disabled,omitempty"`
	Members     *ListChange `json:"members,omitempty"`
	Managers    *ListChange `json:"managers,omitempty"`
	Presenters  *ListChange `json:"presenters,omitempty"`
}

func showRoom(s *chat.State, r chat.Room) Room {
	out := Room{
		Room: chat.RoomURI(s.Domain(), r.ID), ID: r.ID, Name: r.Info.Name, Description: r.Info.Description,
		CategoryID: r.Info.Category, Type: r.Info.Type, Privacy: r.Info.Privacy, Invitations: r.Info.Invitations,
		AddIn: r.Info.AddIn, Disabled: r.Info.Disabled, Participants: r.Participants, LastMessage: r.LastMessage,
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.String(), UpdatedBy: r.UpdatedBy, UpdatedAt: r.UpdatedAt.String(),
		Revision: r.Revision, Members: []event.Principal{}, Managers: []event.Principal{}, Presenters: []event.Principal{},
	}
	if c, ok := s.Category(r.Info.Category); ok {
		out.Category = c.Info.Name
	}
	for a := range s.Access(r.ID) {
		for _, l := range []struct {
			role event.Role
			list *[]event.Principal
		}{{event.RoleMember, &out.Members}, {event.RoleManager, &out.Managers}, {event.RolePresenter, &out.Presenters}} {
			if a.Role&l.role != 0 {
				*l.list = append(*l.list, a.Principal)
			}
		}
	}
	return out
}

// findRoom finds a room by URI, GUID or name.
func findRoom(s *chat.State, identity string) (chat.Room, error) {
	id := event.RoomID(strings.ToLower(identity))
	if strings.Contains(identity, "://") {
		domain, rid, err := chat.ParseRoomURI(identity)
		if err != nil || domain != s.Domain() {
			return chat.Room{}, chat.Refuse(chat.CodeNotFound, "no room %s in this pool", identity)
		}
		id = rid
	}
	if dump.IsGUID(string(id)) {
		if r, ok := s.Room(id); ok {
			return r, nil
		}
	}
	if r, ok := s.RoomByName(identity); ok {
		return r, nil
	}
	return chat.Room{}, chat.Refuse(chat.CodeNotFound, "no room %q", identity)
}

// roomFilter is the product's Get-CsPersistentChatRoom.
type roomFilter struct {
	words           []string
	description     bool
	category        event.CategoryID
	addIn           string
	manager, member event.Principal
	privacy         event.Privacy
	typ             event.RoomType
	invitations     event.Invitations
	disabled        *bool
}

func newRoomFilter(s *chat.State, q url.Values) (*roomFilter, error) {
	f := &roomFilter{
		words: strings.Fields(strings.ToLower(q.Get("filter"))), description: q.Get("search_description") == "true",
		addIn: q.Get("add_in"), privacy: event.Privacy(strings.ToLower(q.Get("privacy"))),
		typ: event.RoomType(strings.ToLower(q.Get("type"))), invitations: event.Invitations(strings.ToLower(q.Get("invitations"))),
	}
	if v := q.Get("category"); v != "" {
		c, err := findCategory(s, v)
		if err != nil {
			return nil, err
		}
		f.category = c.ID
	}
	var err error
	for _, p := range []struct {
		name string
		to   *event.Principal
	}{{"manager", &f.manager}, {"member", &f.member}} {
		if v := q.Get(p.name); v != "" {
			if *p.to, err = principal(v, s.Domain()); err != nil {
				return nil, err
			}
		}
	}
	if v := q.Get("disabled"); v != "" {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, chat.Refuse(chat.CodeInvalid, "disabled=%q is neither true nor false", v)
		}
		f.disabled = &b
	}
	return f, nil
}

func (f *roomFilter) match(s *chat.State, r chat.Room) bool {
	text := strings.ToLower(r.Info.Name)
	if f.description {
		text += "\n" + strings.ToLower(r.Info.Description)
	}
	for _, w := range f.words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return (f.category == "" || f.category == r.Info.Category) &&
		(f.addIn == "" || strings.EqualFold(f.addIn, r.Info.AddIn)) &&
		(f.privacy == "" || f.privacy == r.Info.Privacy) &&
		(f.typ == "" || f.typ == r.Info.Type) &&
		(f.invitations == "" || f.invitations == r.Info.Invitations) &&
		(f.disabled == nil || *f.disabled == r.Info.Disabled) &&
		(f.manager == "" || s.Role(r.ID, f.manager)&event.RoleManager != 0) &&
		(f.member == "" || s.Role(r.ID, f.member)&event.RoleMember != 0)
}

func (a *API) listRooms(w http.ResponseWriter, r *http.Request) error {
	s, q := a.Pool.State(), r.URL.Query()
	f, err := newRoomFilter(s, q)
	if err != nil {
		return err
	}
	limit, err := resultSize(q)
	if err != nil {
		return err
	}
	out := []Room{}
	for room := range s.Rooms() {
		if f.match(s, room) {
			out = append(out, showRoom(s, room))
		}
	}
	slices.SortFunc(out, func(x, y Room) int { return strings.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name)) })
	return writeJSON(w, http.StatusOK, out[:min(limit, len(out))])
}

// resultSize reads the cap of a list; absent means all.
func resultSize(q url.Values) (int, error) {
	v := q.Get("result_size")
	if v == "" {
		return int(^uint(0) >> 1), nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0, chat.Refuse(chat.CodeInvalid, "result_size=%q is not a number from 0 to 2147483647", v)
	}
	return int(n), nil
}

func (a *API) getRoom(w http.ResponseWriter, r *http.Request) error {
	s := a.Pool.State()
	room, err := findRoom(s, r.PathValue("room"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, showRoom(s, room))
}

// apply puts the change over the fields of a room.
func (c *RoomChange) apply(s *chat.State, i event.RoomInfo) (event.RoomInfo, error) {
	set(&i.Name, c.Name)
	set(&i.Description, c.Description)
	set(&i.AddIn, c.AddIn)
	setLower(&i.Type, c.Type)
	setLower(&i.Privacy, c.Privacy)
	setLower(&i.Invitations, c.Invitations)
	if c.Disabled != nil {
		i.Disabled = *c.Disabled
	}
	if c.Category != nil {
		cat, err := findCategory(s, *c.Category)
		if err != nil {
			return i, err
		}
		i.Category = cat.ID
	}
	return i, nil
}

func set(to, from *string) {
	if from != nil {
		*to = *from
	}
}

func setLower[T ~string](to *T, from *string) {
	if from != nil {
		*to = T(strings.ToLower(*from))
	}
}

// access returns the roles that the change alters, of the room id; "" is a room that is being made.
func (c *RoomChange) access(s *chat.State, id event.RoomID) ([]event.Access, error) {
	now, then := map[event.Principal]event.Role{}, map[event.Principal]event.Role{}
	if id != "" {
		for a := range s.Access(id) {
			now[a.Principal] = a.Role
			then[a.Principal] = a.Role
		}
	}
	for _, l := range []struct {
		role   event.Role
		change *ListChange
	}{{event.RoleMember, c.Members}, {event.RoleManager, c.Managers}, {event.RolePresenter, c.Presenters}} {
		var old []event.Principal
		for p, r := range now {
			if r&l.role != 0 {
				old = append(old, p)
			}
		}
		list, err := l.change.apply(old, s.Domain())
		if err != nil {
			return nil, err
		}
		for _, p := range old {
			then[p] &^= l.role
		}
		for _, p := range list {
			then[p] |= l.role
		}
	}
	var out []event.Access
	for p, r := range then {
		if r != now[p] {
			out = append(out, event.Access{Principal: p, Role: r})
		}
	}
	slices.SortFunc(out, func(x, y event.Access) int { return strings.Compare(string(x.Principal), string(y.Principal)) })
	return out, nil
}

func (a *API) newRoom(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[RoomChange](a, r)
	if err != nil {
		return err
	}
	if c.Name == nil || c.Category == nil {
		return chat.Refuse(chat.CodeInvalid, "a new room needs a name and a category")
	}
	s := a.Pool.State()
	info, err := c.apply(s, event.RoomInfo{Type: event.RoomNormal, Privacy: event.PrivacyClosed, Invitations: event.InvitationsInherit})
	if err != nil {
		return err
	}
	access, err := c.access(s, "")
	if err != nil {
		return err
	}
	return a.submit(w, r, o, &chat.CreateRoom{Info: info, Access: access}, func(out chat.Outcome) error {
		w.Header().Set("Location", Prefix+"/rooms/"+string(out.Result.Room))
		return a.answerRoom(w, http.StatusCreated, out.Result.Room, out.Offset)
	})
}

func (a *API) answerRoom(w http.ResponseWriter, status int, id event.RoomID, at event.Offset) error {
	s := a.Pool.State()
	room, ok := s.Room(id)
	if !ok { // somebody removed it since
		return writeJSON(w, status, map[string]any{"id": id, "removed": true, "offset": at})
	}
	return writeJSON(w, status, showRoom(s, room))
}

func (a *API) setRoom(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[RoomChange](a, r)
	if err != nil {
		return err
	}
	room, err := findRoom(a.Pool.State(), r.PathValue("room"))
	if err != nil {
		e, err := a.replay(r, o, &chat.ChangeRoom{}, err)
		if err != nil {
			return err
		}
		return a.answerRoom(w, http.StatusOK, e.Room, e.Offset)
	}
	revision := func() event.Offset {
		now, _ := a.Pool.State().Room(room.ID)
		return now.Revision
	}
	return retryConflict(r.Context(), revision, func() error {
		s := a.Pool.State()
		now, ok := s.Room(room.ID)
		if !ok {
			return chat.Refuse(chat.CodeNotFound, "no room %q", r.PathValue("room"))
		}
		info, err := c.apply(s, now.Info)
		if err != nil {
			return err
		}
		access, err := c.access(s, room.ID)
		if err != nil {
			return err
		}
		cmd := &chat.ChangeRoom{ID: room.ID, Info: info, Access: access, Revision: now.Revision}
		return a.submit(w, r, o, cmd, func(out chat.Outcome) error {
			return a.answerRoom(w, http.StatusOK, room.ID, out.Offset)
		})
	})
}

func (a *API) removeRoom(w http.ResponseWriter, r *http.Request) error {
	o, err := a.origin(r, nil)
	if err != nil {
		return err
	}
	room, err := findRoom(a.Pool.State(), r.PathValue("room"))
	if err != nil {
		return a.removedBefore(w, r, o, &chat.RemoveRoom{}, err)
	}
	return a.submit(w, r, o, &chat.RemoveRoom{ID: room.ID}, func(out chat.Outcome) error {
		return writeJSON(w, http.StatusOK, Removed{Removed: room.Info.Name, Offset: out.Offset})
	})
}

// Removed is the answer to DELETE.
type Removed struct {
	Removed string       `json:"removed"`
	Offset  event.Offset `json:"offset"`
}

// removedBefore answers DELETE of what is not there, for a request that removed it and is here again.
func (a *API) removedBefore(w http.ResponseWriter, r *http.Request, o chat.Origin, c chat.Command, notFound error) error {
	e, err := a.replay(r, o, c, notFound)
	if err != nil {
		return err
	}
	name := path.Base(r.URL.Path)
	if rr, ok := e.Event.(*event.RoomRemoved); ok {
		name = rr.Name
	}
	return writeJSON(w, http.StatusOK, Removed{Removed: name, Offset: e.Offset})
}

// body reads the body of a change and makes its origin.
func body[T any](a *API, r *http.Request) (*T, chat.Origin, error) {
	v := new(T)
	if err := readJSON(r, v); err != nil {
		return nil, chat.Origin{}, err
	}
	b, err := json.Marshal(v) // the same request has the same bytes here, however it was spelt
	if err != nil {
		return nil, chat.Origin{}, err
	}
	o, err := a.origin(r, b)
	return v, o, err
}
