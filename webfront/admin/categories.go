package admin

import (
	"net/http"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/dump"
)

// Category is a category as the API shows it.
type Category struct {
	Category       string            `json:"category"` // name
	ID             event.CategoryID  `json:"id"`
	Description    string            `json:"description"`
	AllowedMembers []event.Principal `json:"allowed_members"`
	DeniedMembers  []event.Principal `json:"denied_members"`
	Creators       []event.Principal `json:"creators"`
	Invitations    bool              `json:"invitations"`
	FileUpload     bool              `json:"file_upload"`
	ChatHistory    bool              `json:"chat_history"`
	Rooms          int               `json:"rooms"`
	Revision       event.Offset      `json:"revision"`
}

// CategoryChange is the body of POST and PATCH; what is absent stays as it is, or gets the product's default: nobody
// allowed, no invitations, no files, history kept.
type CategoryChange struct {
	Name           *string     `json:"name,omitempty"`
	Description    *string     `json:"description,omitempty"`
	AllowedMembers *ListChange `json:"allowed_members,omitempty"`
	DeniedMembers  *ListChange `json:"denied_members,omitempty"`
	Creators       *ListChange `json:"creators,omitempty"`
	Invitations    *bool       `json:"invitations,omitempty"`
	FileUpload     *bool       `json:"file_upload,omitempty"`
	ChatHistory    *bool       `json:"chat_history,omitempty"`
}

func showCategory(c chat.Category, rooms int) Category {
	return Category{Category: c.Info.Name, ID: c.ID, Description: c.Info.Description,
		AllowedMembers: orEmpty(c.Info.Allowed), DeniedMembers: orEmpty(c.Info.Denied), Creators: orEmpty(c.Info.Creators),
		Invitations: c.Info.Invitations, FileUpload: c.Info.FileUpload, ChatHistory: c.Info.ChatHistory,
		Rooms: rooms, Revision: c.Revision}
}

func orEmpty(ps []event.Principal) []event.Principal {
	if ps == nil {
		return []event.Principal{}
	}
	return ps
}

// findCategory finds a category by GUID or name. The product's identity POOL\NAME is taken too.
func findCategory(s *chat.State, identity string) (chat.Category, error) {
	if id := event.CategoryID(strings.ToLower(identity)); dump.IsGUID(string(id)) {
		if c, ok := s.Category(id); ok {
			return c, nil
		}
	}
	if c, ok := s.CategoryByName(identity); ok {
		return c, nil
	}
	if _, name, ok := strings.Cut(identity, `\`); ok {
		if c, ok := s.CategoryByName(name); ok {
			return c, nil
		}
	}
	return chat.Category{}, chat.Refuse(chat.CodeNotFound, "no category %q", identity)
}

func roomsIn(s *chat.State) map[event.CategoryID]int {
	n := map[event.CategoryID]int{}
	for r := range s.Rooms() {
		n[r.Info.Category]++
	}
	return n
}

func (a *API) listCategories(w http.ResponseWriter, _ *http.Request) error {
	s := a.Pool.State()
	rooms, out := roomsIn(s), []Category{}
	for c := range s.Categories() {
		out = append(out, showCategory(c, rooms[c.ID]))
	}
	slices.SortFunc(out, func(x, y Category) int {
		return strings.Compare(strings.ToLower(x.Category), strings.ToLower(y.Category))
	})
	return writeJSON(w, http.StatusOK, out)
}

func (a *API) getCategory(w http.ResponseWriter, r *http.Request) error {
	s := a.Pool.State()
	c, err := findCategory(s, r.PathValue("category"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, showCategory(c, roomsIn(s)[c.ID]))
}

func (c *CategoryChange) apply(i event.CategoryInfo, domain string) (event.CategoryInfo, error) {
	set(&i.Name, c.Name)
	set(&i.Description, c.Description)
	for _, b := range []struct {
		to   *bool
		from *bool
	}{{&i.Invitations, c.Invitations}, {&i.FileUpload, c.FileUpload}, {&i.ChatHistory, c.ChatHistory}} {
		if b.from != nil {
			*b.to = *b.from
		}
	}
	var err error
	for _, l := range []struct {
		to   *[]event.Principal
		from *ListChange
	}{{&i.Allowed, c.AllowedMembers}, {&i.Denied, c.DeniedMembers}, {&i.Creators, c.Creators}} {
		if *l.to, err = l.from.apply(*l.to, domain); err != nil {
			return i, err
		}
	}
	return i, nil
}

func (a *API) newCategory(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[CategoryChange](a, r)
	if err != nil {
		return err
	}
	if c.Name == nil {
		return chat.Refuse(chat.CodeInvalid, "a new category needs a name")
	}
	info, err := c.apply(event.CategoryInfo{ChatHistory: true}, a.Pool.State().Domain())
	if err != nil {
		return err
	}
	return a.submit(w, r, o, &chat.CreateCategory{Info: info}, func(out chat.Outcome) error {
		w.Header().Set("Location", Prefix+"/categories/"+string(out.Result.Category))
		return a.answerCategory(w, http.StatusCreated, out.Result.Category, out.Offset)
	})
}

func (a *API) answerCategory(w http.ResponseWriter, status int, id event.CategoryID, at event.Offset) error {
	s := a.Pool.State()
	c, ok := s.Category(id)
	if !ok { // somebody removed it since
		return writeJSON(w, status, map[string]any{"id": id, "removed": true, "offset": at})
	}
	return writeJSON(w, status, showCategory(c, roomsIn(s)[id]))
}

func (a *API) setCategory(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[CategoryChange](a, r)
	if err != nil {
		return err
	}
	cat, err := findCategory(a.Pool.State(), r.PathValue("category"))
	if err != nil {
		e, err := a.replay(r, o, &chat.ChangeCategory{}, err)
		if err != nil {
			return err
		}
		changed, ok := e.Event.(*event.CategoryChanged)
		if !ok {
			return chat.Refuse(chat.CodeConflict, "the %s was used for something else", KeyHeader)
		}
		return a.answerCategory(w, http.StatusOK, changed.Category, e.Offset)
	}
	revision := func() event.Offset {
		now, _ := a.Pool.State().Category(cat.ID)
		return now.Revision
	}
	return retryConflict(r.Context(), revision, func() error {
		s := a.Pool.State()
		now, ok := s.Category(cat.ID)
		if !ok {
			return chat.Refuse(chat.CodeNotFound, "no category %q", r.PathValue("category"))
		}
		info, err := c.apply(now.Info, s.Domain())
		if err != nil {
			return err
		}
		cmd := &chat.ChangeCategory{ID: cat.ID, Info: info, Revision: now.Revision}
		return a.submit(w, r, o, cmd, func(out chat.Outcome) error {
			return a.answerCategory(w, http.StatusOK, cat.ID, out.Offset)
		})
	})
}

func (a *API) removeCategory(w http.ResponseWriter, r *http.Request) error {
	o, err := a.origin(r, nil)
	if err != nil {
		return err
	}
	c, err := findCategory(a.Pool.State(), r.PathValue("category"))
	if err != nil {
		return a.removedBefore(w, r, o, &chat.RemoveCategory{}, err)
	}
	return a.submit(w, r, o, &chat.RemoveCategory{ID: c.ID}, func(out chat.Outcome) error {
		return writeJSON(w, http.StatusOK, Removed{Removed: c.Info.Name, Offset: out.Offset})
	})
}
