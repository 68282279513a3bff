package archive

import (
	"context"
	"maps"
	"slices"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/history"
)

// History returns the messages of a room with first <= id <= last, oldest first.
type History func(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error)

// Selection says what to export. The zero value is everything.
type Selection struct {
	Level Level              // empty: All
	Scope []event.CategoryID // only these categories, their rooms and their messages; empty: all
	Since event.Time         // only messages posted then or later
}

// pageMessages is how many ids are read at a time.
const pageMessages = 512

// Export writes an archive of a pool as s has it. Messages that were removed, and those of rooms without history, are not
// in it; nor are passwords, sessions, followed rooms and files.
func Export(ctx context.Context, s *chat.State, messages History, sel Selection, emit func(line []byte) error) error {
	if sel.Level == "" {
		sel.Level = All
	}
	e := &exporter{s: s, messages: messages, sel: sel, w: NewWriter(emit)}
	head := Header{Row: RowHeader, Format: Format, Version: Version, Domain: s.Domain(), PoolURI: s.PoolURI(), Offset: s.Offset(), At: s.At().String(),
		Level: sel.Level, Scope: []string{}}
	for _, id := range sel.Scope {
		c, ok := s.Category(id)
		if !ok {
			return chat.Refuse(chat.CodeNotFound, "no category %s", id)
		}
		head.Scope = append(head.Scope, c.Info.Name)
	}
	if sel.Since != 0 {
		head.Since = sel.Since.String()
	}
	if err := e.w.put(RowHeader, head); err != nil {
		return err
	}
	for _, kind := range order {
		if !slices.Contains(has[sel.Level], kind) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.rows(ctx, kind); err != nil {
			return err
		}
	}
	return e.w.end()
}

type exporter struct {
	s        *chat.State
	messages History
	sel      Selection
	w        *Writer
}

func (e *exporter) rows(ctx context.Context, kind string) (err error) {
	put := func(row any) bool {
		err = e.w.put(kind, row)
		return err == nil
	}
	s, d, book := e.s, e.s.Directory(), e.s.Policies()
	switch kind {
	case RowUnit:
		e.units(put)
	case RowUser:
		for u := range s.Users() {
			i := u.Info
			if !put(User{RowUser, u.URI, i.DisplayName, i.Email, i.Enabled, i.Unit, i.Name, i.GivenName, i.Surname, i.Company}) {
				break
			}
		}
	case RowGroup:
		for g := range d.Groups() {
			i := g.Info
			if !put(Group{RowGroup, g.ID, i.Name, i.Description, i.Email, i.Unit, ordered(slices.Collect(d.Members(event.GroupPrincipal(g.ID))))}) {
				break
			}
		}
	case RowPolicy:
		for p := range book.Policies() {
			if !put(Policy{RowPolicy, p.Scope, p.Info.Enabled, p.Info.Description}) {
				break
			}
		}
	case RowGrant:
		for g := range book.Grants() {
			if !put(Grant{RowGrant, g.User, g.Scope}) {
				break
			}
		}
	case RowConfiguration:
		for c := range book.Configurations() {
			i := c.Info
			if !put(Configuration{RowConfiguration, c.Scope, i.DefaultChatHistory, i.MaxFileSizeKB, i.ParticipantUpdateLimit, i.RoomManagementURL,
				i.MessageSizeLimit, i.StorySizeLimit, i.SearchLimit}) {
				break
			}
		}
	case RowCompliance:
		for c := range book.Compliances() {
			i := c.Info
			if !put(Compliance{RowCompliance, c.Scope, i.AdapterName, i.AdapterType, i.OutputDirectory, i.RunInterval / 1e9, i.OneRoomPerFile,
				i.AddRoomDetails, i.AddUserDetails, i.AttachmentsManifest, i.CustomConfiguration}) {
				break
			}
		}
	case RowEndpoint:
		for x := range s.Endpoints() {
			if !put(Endpoint{RowEndpoint, x.Address, x.DisplayName}) {
				break
			}
		}
	case RowAddIn:
		for a := range s.AddIns() {
			if !put(AddIn{RowAddIn, a.ID, a.Info.Name, a.Info.URL}) {
				break
			}
		}
	case RowCategory:
		for c := range s.Categories() {
			i := c.Info
			if e.covers(c.ID) && !put(Category{RowCategory, c.ID, i.Name, i.Description, ordered(i.Allowed), ordered(i.Denied), ordered(i.Creators),
				i.Invitations, i.FileUpload, i.ChatHistory, &i.RetentionDays}) {
				break
			}
		}
	case RowRoom:
		for r := range s.Rooms() {
			if e.covers(r.Info.Category) && !put(e.room(r)) {
				break
			}
		}
	case RowMessage:
		for r := range s.Rooms() {
			if !e.covers(r.Info.Category) {
				continue
			}
			if err := e.content(ctx, r); err != nil {
				return err
			}
		}
	}
	return err
}

// ordered returns a list in order, never nil: what an import makes of it is exported in the same bytes.
func ordered(ps []event.Principal) []event.Principal {
	out := append([]event.Principal{}, ps...)
	slices.Sort(out)
	return out
}

func (e *exporter) covers(c event.CategoryID) bool {
	return len(e.sel.Scope) == 0 || slices.Contains(e.sel.Scope, c)
}

// units writes the units, parents first.
func (e *exporter) units(put func(any) bool) {
	kids := map[event.UnitID][]Unit{}
	for u := range e.s.Directory().Units() {
		kids[u.Info.Parent] = append(kids[u.Info.Parent], Unit{RowUnit, u.ID, u.Info.Name, u.Info.Description, u.Info.Parent})
	}
	for next := []event.UnitID{""}; len(next) > 0; next = next[1:] {
		for _, u := range kids[next[0]] {
			if !put(u) {
				return
			}
			next = append(next, u.ID)
		}
	}
}

func (e *exporter) room(r chat.Room) Room {
	i := r.Info
	out := Room{Row: RowRoom, ID: r.ID, Name: i.Name, Description: i.Description, Category: i.Category, Type: i.Type, Privacy: i.Privacy,
		Invitations: i.Invitations, AddIn: i.AddIn, Disabled: i.Disabled, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.String(),
		Members: []event.Principal{}, Managers: []event.Principal{}, Presenters: []event.Principal{}}
	for a := range e.s.Access(r.ID) {
		for role, list := range out.lists() {
			if a.Role&role != 0 {
				*list = append(*list, a.Principal)
			}
		}
	}
	return out
}

// lists are the lists of a room by role.
func (r *Room) lists() map[event.Role]*[]event.Principal {
	return map[event.Role]*[]event.Principal{event.RoleMember: &r.Members, event.RoleManager: &r.Managers, event.RolePresenter: &r.Presenters}
}

// access are the roles of a room, by principal.
func (r *Room) access() map[event.Principal]event.Role {
	out := map[event.Principal]event.Role{}
	for role, list := range r.lists() {
		for _, p := range *list {
			out[p] |= role
		}
	}
	return out
}

// content writes the messages of a room that can be read.
func (e *exporter) content(ctx context.Context, r chat.Room) error {
	for first := uint64(1); first <= r.LastMessage; first += pageMessages {
		page, err := e.messages(ctx, r.ID, first, min(first+pageMessages-1, r.LastMessage))
		if err != nil {
			return err
		}
		for _, m := range page {
			if m.At < e.sel.Since || m.Erased {
				continue
			}
			if err := e.w.put(RowMessage, message(r.ID, m)); err != nil {
				return err
			}
		}
	}
	return nil
}

// message makes the row of a message.
func message(room event.RoomID, m history.Message) Message {
	out := Message{Row: RowMessage, Room: room, MessageID: m.ID, Author: m.By, PostedAt: m.At.String(), Alert: m.Alert, Story: m.Story,
		Title: m.Title, Text: m.Text, RTF: m.RTF}
	for _, l := range m.Links {
		out.Links = append(out.Links, Link{Kind: l.Kind, URI: l.URI, Name: l.Name, Size: l.Size})
	}
	return out
}

// sorted returns the keys of a map in order.
func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
