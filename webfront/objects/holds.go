package objects

import (
	"context"
	"time"

	"parley/compliance/retention"
	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/command"
	"parley/projections/chat/holds"
)

// Hold is a legal hold.
type Hold struct {
	Hold          string             `json:"hold" doc:"name"`
	Reason        string             `json:"reason"`
	Rooms         []event.RoomID     `json:"rooms" doc:"messages of these rooms; with categories: or of those; both empty: of all"`
	Categories    []event.CategoryID `json:"categories" doc:"a room's category when the message came, or the one that it has now"`
	UserURI       []event.Principal  `json:"user_uri" doc:"posted by one of these; empty: by anybody"`
	StartDate     string             `json:"start_date" doc:"posted at or after; empty: open"`
	EndDate       string             `json:"end_date" doc:"posted at or before; empty: open"`
	FromOffset    event.Offset       `json:"from_offset" doc:"recorded by this event or a later one; 0: all"`
	SetBy         event.Principal    `json:"set_by"`
	SetAt         string             `json:"set_at"`
	Since         event.Offset       `json:"since" doc:"event that set it"`
	Released      bool               `json:"released"`
	ReleasedBy    event.Principal    `json:"released_by"`
	ReleasedAt    string             `json:"released_at"`
	ReleaseReason string             `json:"release_reason"`
	Revision      event.Offset       `json:"revision"`
}

// HoldChange is the body of PUT /holds/{hold}: what is absent stays as it is, or does not narrow a new hold.
type HoldChange struct {
	Reason     *string       `json:"reason,omitempty" doc:"for people, at most 4096 bytes"`
	Rooms      *[]string     `json:"rooms,omitempty" doc:"names, addresses or GUIDs; empty: all"`
	Categories *[]string     `json:"categories,omitempty" doc:"names or GUIDs; empty: all"`
	UserURI    *[]string     `json:"user_uri,omitempty" doc:"authors; empty: all"`
	StartDate  *string       `json:"start_date,omitempty" doc:"RFC 3339; empty: open"`
	EndDate    *string       `json:"end_date,omitempty" doc:"RFC 3339; empty: open"`
	FromOffset *event.Offset `json:"from_offset,omitempty"`
	Create     bool          `json:"create,omitempty" doc:"refuse if there is such a hold"`
	Revision   *event.Offset `json:"revision,omitempty" doc:"refuse if the hold has changed since"`
}

// ShowHold returns a hold as the API shows it.
func ShowHold(h holds.Hold) Hold {
	at := func(t event.Time) string {
		if t == 0 {
			return ""
		}
		return t.String()
	}
	return Hold{Hold: h.Name, Reason: h.Info.Reason, Rooms: filled(h.Info.Rooms), Categories: filled(h.Info.Categories), UserURI: filled(h.Info.Authors),
		StartDate: at(h.Info.From), EndDate: at(h.Info.To), FromOffset: h.Info.FromOffset, SetBy: h.By, SetAt: at(h.At), Since: h.Since,
		Released: h.Released, ReleasedBy: h.ReleasedBy, ReleasedAt: at(h.ReleasedAt), ReleaseReason: h.Why, Revision: h.Revision}
}

// filled makes an absent list an empty one.
func filled[T any](list []T) []T { return append([]T{}, list...) }

// HoldCommand puts a change over what the hold of a name says.
func HoldCommand(s *chat.State, name string, c *HoldChange) (*chat.SetHold, error) {
	cmd := &chat.SetHold{Hold: name, Create: c.Create}
	if h, ok := s.Holds().Hold(name); ok && !h.Released {
		cmd.Info, cmd.Revision = h.Info, h.Revision
	}
	if c.Revision != nil {
		cmd.Revision = *c.Revision
	}
	i := &cmd.Info
	Set(&i.Reason, c.Reason)
	Set(&i.FromOffset, c.FromOffset)
	if err := SetPlaces(s, &i.Rooms, c.Rooms, &i.Categories, c.Categories); err != nil {
		return nil, err
	}
	if c.UserURI != nil {
		i.Authors = nil
		for _, n := range *c.UserURI { // also one whose account is gone: what he said is not
			p, err := Address(s, n)
			if err != nil {
				return nil, err
			}
			i.Authors = append(i.Authors, p)
		}
	}
	for _, t := range []struct {
		name string
		to   *event.Time
		from *string
	}{{"start_date", &i.From, c.StartDate}, {"end_date", &i.To, c.EndDate}} {
		if t.from == nil {
			continue
		}
		at, err := ParseTime(t.name, *t.from)
		if err != nil {
			return nil, err
		}
		*t.to = at
	}
	return cmd, nil
}

// Look reads the messages that a command would take at a time, where legal holds may keep some. Then the command says what was looked
// for; or the error says which messages are kept, and the rules refuse it too, unless it took effect before.
func (e *Env) Look(ctx context.Context, s *chat.State, c chat.Command, now event.Time) error {
	var what string
	var id event.RoomID
	var look *command.Look
	until := now
	switch c := c.(type) {
	case *chat.ClearRoom:
		what, id, look, until = "clear room", c.Room, &c.Look, min(c.Until, until)
	case *chat.RemoveRoom:
		what, id, look = "remove room", c.ID, &c.Look
	default:
		return nil
	}
	keeps := s.Keeps(id)
	room, ok := s.Room(id)
	if !ok || len(keeps) == 0 {
		return nil
	}
	var held holds.Held
	for m, err := range e.Messages(ctx, room) {
		if err != nil {
			return err
		}
		if m.At <= until {
			held.Look(keeps, 0, event.MessageRef{MessageID: m.ID, Offset: m.Offset}, m.By, m.At)
		}
	}
	if err := held.Refusal(what, id); err != nil {
		return err
	}
	look.To = room.LastMessage
	for _, name := range holds.Names(keeps) {
		h, _ := s.Holds().Hold(name)
		look.Holds = append(look.Holds, command.Seen{Hold: name, Revision: h.Revision})
	}
	return nil
}

// ParseTime reads a time of a request; "" is 0.
func ParseTime(name, text string) (event.Time, error) {
	if text == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1970 || t.Year() > 2261 {
		return 0, chat.Refuse(chat.CodeInvalid, "%s=%q is not a time such as 2024-02-29T23:59:59Z", name, text)
	}
	return event.Time(t.UnixNano()), nil
}

// PurgeCategory is the body of POST /categories/{category}/purge.
type PurgeCategory struct {
	RetentionDays *uint64 `json:"retention_days,omitempty" doc:"with what_if: as if the category kept messages for so many days"`
}

// Purged is its answer.
type Purged struct {
	WhatIf        bool         `json:"what_if" doc:"nothing was purged; this is what would be"`
	Category      string       `json:"category"`
	RetentionDays uint64       `json:"retention_days"`
	Until         string       `json:"until" doc:"messages of then and before are over"`
	Rooms         int          `json:"rooms" doc:"that have such messages"`
	Messages      int          `json:"messages" doc:"that go; those that no history has are not counted"`
	Held          int          `json:"held" doc:"that are over too, but a legal hold keeps them"`
	Waiting       int          `json:"waiting" doc:"that are over too, but some compliance feed has no receipt for them"`
	Offset        event.Offset `json:"offset" doc:"of the last event; 0: none"`
}

// PlanPurge says what is to be purged of a category now, and with which commands; with what_if with none. receipts is up to
// where every feed has a receipt.
func (e *Env) PlanPurge(ctx context.Context, s *chat.State, category string, c *PurgeCategory, now event.Time, receipts event.Offset, whatIf bool) (out Purged, cmds []*chat.PurgeMessages, err error) {
	g, err := FindCategory(s, category)
	if err != nil {
		return out, nil, err
	}
	out = Purged{WhatIf: whatIf, Category: g.Info.Name, RetentionDays: g.Info.RetentionDays}
	if c.RetentionDays != nil {
		if !whatIf {
			return out, nil, chat.Refuse(chat.CodeInvalid, "purge category %q: another retention is only for what_if; change the category first", g.Info.Name)
		}
		out.RetentionDays = *c.RetentionDays
	}
	if out.RetentionDays == 0 || out.RetentionDays > holds.MaxDays {
		return out, nil, chat.Refuse(chat.CodeConflict, "purge category %q: it keeps messages for ever; a retention has 1 to %d days", g.Info.Name, holds.MaxDays)
	}
	until := retention.Over(now, out.RetentionDays)
	out.Until = until.String()
	for room := range s.Rooms() {
		if room.Info.Category != g.ID {
			continue
		}
		p, err := retention.Look(ctx, s, room, until, receipts, e.History)
		if err != nil {
			return out, nil, err
		}
		if len(p.Commands) > 0 {
			out.Rooms++
		}
		out.Messages, out.Held, out.Waiting = out.Messages+p.Due, out.Held+p.Held, out.Waiting+p.Waiting
		if !whatIf {
			cmds = append(cmds, p.Commands...)
		}
	}
	return out, cmds, nil
}
