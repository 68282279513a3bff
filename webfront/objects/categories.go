package objects

import (
	"context"
	"net/url"
	"slices"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
)

// Category is a category as the API shows it.
type Category struct {
	Category       string           `json:"category" doc:"name"`
	ID             event.CategoryID `json:"id"`
	Description    string           `json:"description"`
	AllowedMembers []Who            `json:"allowed_members"`
	DeniedMembers  []Who            `json:"denied_members" doc:"denied even if they are allowed"`
	Creators       []Who            `json:"creators" doc:"may make rooms here"`
	Invitations    bool             `json:"invitations"`
	FileUpload     bool             `json:"file_upload"`
	ChatHistory    bool             `json:"chat_history" doc:"messages are kept for reading; compliance gets them either way"`
	RetentionDays  uint64           `json:"retention_days" doc:"how long messages of its rooms are kept; 0: for ever"`
	ArchiveLag     string           `json:"archive_lag" doc:"nobody may post while an archive is further behind; 0s: posting does not wait for archives"`
	ArchiveFeeds   []string         `json:"archive_feeds" doc:"feeds that count for it; empty: all that cover the room"`
	Silenced       string           `json:"silenced" doc:"why nobody may post here now, or in some of the rooms; empty: all may"`
	Rooms          int              `json:"rooms" doc:"how many it has"`
	Revision       event.Offset     `json:"revision"`
}

// CategoryChange is the body of POST and PATCH; what is absent stays as it is, or gets the product's default: nobody
// allowed, no invitations, no files, history kept.
type CategoryChange struct {
	Name           *string     `json:"name,omitempty" doc:"unique in the pool, at most 256 bytes; required in a new category"`
	Description    *string     `json:"description,omitempty"`
	AllowedMembers *ListChange `json:"allowed_members,omitempty"`
	DeniedMembers  *ListChange `json:"denied_members,omitempty"`
	Creators       *ListChange `json:"creators,omitempty"`
	Invitations    *bool       `json:"invitations,omitempty"`
	FileUpload     *bool       `json:"file_upload,omitempty"`
	ChatHistory    *bool       `json:"chat_history,omitempty"`
	RetentionDays  *uint64     `json:"retention_days,omitempty" doc:"1 to 36525; 0: for ever"`
	ArchiveLag     *string     `json:"archive_lag,omitempty" doc:"15m, 1h30m, 00:15:00; 1 s to 30 days, longer than the interval of the feeds; 0s: off"`
	ArchiveFeeds   *[]string   `json:"archive_feeds,omitempty" doc:"names of feeds; empty: all that cover the room"`
	Seen
}

// Categories are one kind of object.
func Categories() *Resource[chat.Category, Category, CategoryChange, *CategoryChange] {
	return &Resource[chat.Category, Category, CategoryChange, *CategoryChange]{
		Path: "/categories", Key: "category", Noun: "category", Identity: "GUID or name",
		Read: roles.CategoryRead, Create: roles.CategoryChange, Change: roles.CategoryChange, Remove: roles.CategoryChange,
		Lists: "Categories, by name", Makes: "Make a category; nobody is allowed in it yet", Alters: "Change a category; who may not be in a room any more leaves it",
		Drops: "Remove a category that has no rooms", AsObjects: true,
		Find: FindCategory,
		List: func(_ context.Context, s *chat.State, _ url.Values) ([]chat.Category, error) {
			return slices.Collect(s.Categories()), nil
		},
		Order:    func(c Category) string { return c.Category },
		ID:       func(c chat.Category) string { return string(c.ID) },
		Name:     func(c chat.Category) string { return c.Info.Name },
		Revision: func(c chat.Category) event.Offset { return c.Revision },
		Show:     showCategory,
		Make: func(s *chat.State, c *CategoryChange) (chat.Command, error) {
			if c.Name == nil {
				return nil, chat.Refuse(chat.CodeInvalid, "a new category needs a name")
			}
			info, err := c.apply(s, event.CategoryInfo{ChatHistory: true})
			return &chat.CreateCategory{Info: info}, err
		},
		Made: func(_ *chat.State, _ *CategoryChange, out chat.Result) string { return string(out.Category) },
		Alter: func(s *chat.State, o chat.Category, c *CategoryChange, revision event.Offset) (chat.Command, error) {
			info, err := c.apply(s, o.Info)
			return &chat.ChangeCategory{ID: o.ID, Info: info, Revision: revision}, err
		},
		Drop: func(o chat.Category, _ url.Values) (chat.Command, error) { return &chat.RemoveCategory{ID: o.ID}, nil },
	}
}

func showCategory(v View, c chat.Category) Category {
	rooms := 0
	for r := range v.State.Rooms() {
		if r.Info.Category == c.ID {
			rooms++
		}
	}
	return Category{Category: c.Info.Name, ID: c.ID, Description: c.Info.Description,
		AllowedMembers: v.list(c.Info.Allowed), DeniedMembers: v.list(c.Info.Denied), Creators: v.list(c.Info.Creators),
		Invitations: c.Info.Invitations, FileUpload: c.Info.FileUpload, ChatHistory: c.Info.ChatHistory,
		RetentionDays: c.Info.RetentionDays, ArchiveLag: time.Duration(c.Info.ArchiveLag).String(), ArchiveFeeds: append([]string{}, c.Info.ArchiveFeeds...), Silenced: v.State.Silence(c.ID, v.Now),
		Rooms: rooms, Revision: c.Revision}
}

// FindCategory finds a category by GUID or name. The product's identity POOL\NAME is taken too.
func FindCategory(s *chat.State, identity string) (chat.Category, error) {
	if id, ok := isGUID(identity); ok {
		if c, ok := s.Category(event.CategoryID(id)); ok {
			return c, nil
		}
	}
	for _, name := range []string{identity, bare(identity)} {
		if c, ok := s.CategoryByName(name); ok {
			return c, nil
		}
	}
	return chat.Category{}, chat.Refuse(chat.CodeNotFound, "no category %q", identity)
}

// apply puts the change over the fields of a category.
func (c *CategoryChange) apply(s *chat.State, i event.CategoryInfo) (event.CategoryInfo, error) {
	Set(&i.Name, c.Name)
	Set(&i.Description, c.Description)
	Set(&i.Invitations, c.Invitations)
	Set(&i.FileUpload, c.FileUpload)
	Set(&i.ChatHistory, c.ChatHistory)
	Set(&i.RetentionDays, c.RetentionDays)
	Set(&i.ArchiveFeeds, c.ArchiveFeeds)
	if c.ArchiveLag != nil {
		d, err := ParseSpan(*c.ArchiveLag)
		if err != nil {
			return i, err
		}
		i.ArchiveLag = int64(d)
	}
	for _, l := range []struct {
		to   *[]event.Principal
		from *ListChange
	}{{&i.Allowed, c.AllowedMembers}, {&i.Denied, c.DeniedMembers}, {&i.Creators, c.Creators}} {
		list, err := l.from.principals(s, *l.to)
		if err != nil {
			return i, err
		}
		*l.to = list
	}
	return i, nil
}
