package chat

import (
	"slices"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/messages"
)

// Limits of what administrators may do.
const (
	MaxTokens      = 1000
	maxFilterBytes = 4096 // of a recorded question
	tokenHashBytes = 32
)

func (d *decider) recordRead(c *RecordRead) (Decision, error) {
	if err := checkTitle("read", c.What, MaxNameCharacters); err != nil {
		return Decision{}, err
	}
	if err := checkLine("question", c.Filter, maxFilterBytes); err != nil {
		return Decision{}, err
	}
	return d.one("", &event.AdminRead{What: c.What, Filter: c.Filter}, Result{})
}

func (d *decider) issueToken(c *IssueToken) (Decision, error) {
	if err := d.checkAdmin("issue token", c.Admin); err != nil {
		return Decision{}, err
	}
	if err := checkLine("description of a token", c.Description, MaxDescriptionBytes); err != nil {
		return Decision{}, err
	}
	raw, err := d.freshID("issue token", string(c.Token))
	if err != nil {
		return Decision{}, err
	}
	if len(c.SHA256) != tokenHashBytes {
		return Decision{}, Refuse(CodeInvalid, "issue token: a hash of %d bytes, want the %d of SHA-256", len(c.SHA256), tokenHashBytes).About(c.Admin)
	}
	if c.Expires != 0 && c.Expires <= d.env.At {
		return Decision{}, Refuse(CodeInvalid, "issue token: it would have expired at %s", c.Expires).About(c.Admin)
	}
	id, n := event.TokenID(raw), 0
	for t := range d.s.reg.Tokens() {
		if n++; t.ID == id || slices.Equal(t.SHA256, c.SHA256) {
			return Decision{}, Refuse(CodeConflict, "issue token: there is such a token already").Breaks("R12", c.Admin)
		}
	}
	if n >= MaxTokens {
		return Decision{}, Refuse(CodeTooLarge, "issue token: there are %d", n)
	}
	out := Decision{Result: Result{Token: id}}
	if has := d.s.reg.Admin(c.Admin); has|c.Roles != has {
		out.Events = append(out.Events, d.draft("", &event.AdminChanged{Admin: c.Admin, Roles: (has | c.Roles).Names()}))
	}
	out.Events = append(out.Events, d.draft("", &event.TokenIssued{Token: id, Admin: c.Admin, SHA256: c.SHA256, Expires: c.Expires, Description: c.Description}))
	return out, nil
}

func (d *decider) revokeToken(c *RevokeToken) (Decision, error) {
	if _, ok := d.s.reg.Token(c.Token); !ok {
		return Decision{}, Refuse(CodeNotFound, "revoke token: no token %q", c.Token)
	}
	return d.one("", &event.TokenRevoked{Token: c.Token}, Result{Token: c.Token})
}

func (d *decider) importMessages(c *ImportMessages) (Decision, error) {
	r := d.s.rooms.Get(c.Room)
	if r == nil {
		return Decision{}, inRoom(c.Room, CodeNotFound, "import messages: no room %s", c.Room)
	}
	if len(c.Messages) > MaxImportMessages {
		return Decision{}, inRoom(c.Room, CodeTooLarge, "import %d messages into room %q, at most %d at once", len(c.Messages), r.Info.Name, MaxImportMessages)
	}
	if err := checkLine("source", c.Source, MaxNameBytes); err != nil {
		return Decision{}, err
	}
	if g := d.s.categories.Get(r.Info.Category); g != nil && !g.Info.ChatHistory && len(c.Messages) > 0 {
		f := inRoom(c.Room, CodeConflict, "import messages: room %q keeps no history", r.Info.Name)
		f.Rule = "R14"
		return Decision{}, f
	}
	var bad command.Faults
	out, last, before := Decision{Result: Result{Room: c.Room}}, d.s.lastMessage(c.Room), uint64(0)
	for i := range c.Messages {
		m := &c.Messages[i]
		switch f := messages.Imported(m, d.env.At); {
		case f != nil:
			f.Room = c.Room
			bad.Add(i, f)
		case m.ID <= before:
			bad.Add(i, inRoom(c.Room, CodeInvalid, "message %d comes after message %d", m.ID, before))
		case m.ID > last:
			out.Events = append(out.Events, d.draft(c.Room, &event.MessageImported{MessageID: m.ID, Author: m.Author, PostedAt: m.PostedAt, Alert: m.Alert,
				Story: m.Story, Source: c.Source, Text: m.Text, RTF: m.RTF, Title: m.Title, Links: m.Links}))
		}
		before = max(before, m.ID)
	}
	out.Result.Changed = uint64(len(out.Events))
	if err := bad.Refusal("import messages"); err != nil {
		return Decision{}, err
	}
	return out, nil
}

func (s *State) messageImported(e *event.Envelope, v *event.MessageImported, save Saver) error {
	if s.rooms.Get(e.Room) == nil {
		return contradiction("no room %s", e.Room)
	}
	t := s.tally(e.Room)
	if v.MessageID <= t.lastMessage {
		return contradiction("imported message %d after %d in %s", v.MessageID, t.lastMessage, e.Room)
	}
	t.lastMessage = v.MessageID
	s.tallies.Put(save, t)
	s.holds.Came(save, e)
	return nil
}
