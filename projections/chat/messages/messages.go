// Package messages says what no message, and no search for messages, can be. It is pure.
package messages

import (
	"strings"
	"unicode/utf8"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/form"
	"parley/projections/chat/policy"
)

// Limits of messages and of questions about them.
const (
	MaxRTFBytes   = 64000 // UTF-8 bytes of the RTF form of a message
	MaxLinks      = 100   // of one message
	MaxQueryBytes = 1024
	MaxAuthors    = 100 // in one query

	maxImportedText = 64_000 // bytes: the greatest limit that a configuration may have for a story
)

// fileLink marks a link to a file in the text of a message, whatever its sender says of it.
const fileLink = "ma-filelink:"

// Post refuses what no message can be. limits are those of the pool, and files says whether the room takes any.
func Post(c *command.Post, limits event.ConfigurationInfo, files bool) error {
	most := limits.MessageSizeLimit
	if c.Story {
		most = limits.StorySizeLimit
		if err := form.Title("story", c.Title, form.MaxNameCharacters); err != nil {
			return err
		}
	} else if c.Title != "" {
		return refuse(c, command.CodeInvalid, "post to room %s: only a story has a title", c.Room)
	}
	switch {
	case c.Text == "":
		return refuse(c, command.CodeInvalid, "post to room %s: no text", c.Room)
	case uint64(len(c.Text)) > most || len(c.RTF) > MaxRTFBytes:
		return refuse(c, command.CodeTooLarge, "post to room %s: %d bytes of text (at most %d), %d of RTF (at most %d)",
			c.Room, len(c.Text), most, len(c.RTF), MaxRTFBytes)
	case !utf8.ValidString(c.Text) || !utf8.ValidString(c.RTF):
		return refuse(c, command.CodeInvalid, "post to room %s: not UTF-8", c.Room)
	case len(c.Links) > MaxLinks:
		return refuse(c, command.CodeTooLarge, "post to room %s: %d links, at most %d", c.Room, len(c.Links), MaxLinks)
	}
	has := strings.Contains(c.Text, fileLink)
	for i := range c.Links {
		l := &c.Links[i]
		switch l.Kind {
		case event.LinkFile:
			if has = true; l.Size > limits.MaxFileSizeKB<<10 {
				return refuse(c, command.CodeTooLarge, "post to room %s: a file of %d bytes, at most %d KB", c.Room, l.Size, limits.MaxFileSizeKB)
			}
		case event.LinkURL, event.LinkRoom:
		default:
			return refuse(c, command.CodeInvalid, "post to room %s: link of kind %q", c.Room, l.Kind)
		}
		if l.URI == "" {
			return refuse(c, command.CodeInvalid, "post to room %s: a link to nowhere", c.Room)
		}
		if err := form.Line("link", l.URI, policy.MaxURL); err != nil {
			return err
		}
		if err := form.Line("name of a link", l.Name, policy.MaxURL); err != nil {
			return err
		}
	}
	if has && !files {
		return refuse(c, command.CodeForbidden, "post to room %s: its category lets no files in", c.Room)
	}
	return nil
}

func refuse(c *command.Post, code command.Code, format string, args ...any) *command.Refusal {
	r := command.Refuse(code, format, args...)
	r.Room = c.Room
	return r
}

// Query refuses what no search for messages can be.
func Query(what string, q *event.Query) error {
	if len(q.Text) > MaxQueryBytes || len(q.Authors) > MaxAuthors {
		return command.Refuse(command.CodeTooLarge, "%s: %d bytes of text (at most %d), %d authors (at most %d)", what, len(q.Text), MaxQueryBytes, len(q.Authors), MaxAuthors)
	}
	if !utf8.ValidString(q.Text) {
		return command.Refuse(command.CodeInvalid, "%s: not UTF-8", what)
	}
	switch q.Match {
	case "", event.MatchAll, event.MatchOr, event.MatchExact:
	default:
		return command.Refuse(command.CodeInvalid, "%s: match %q is not \"all\", \"or\" or \"exact\"", what, q.Match)
	}
	for _, p := range q.Authors {
		if err := form.Line(what+": author", string(p), form.MaxPrincipalBytes); err != nil {
			return err
		}
	}
	return nil
}

// Imported refuses what no message can be, in any configuration: limits may have been others when it was posted.
func Imported(m *command.ImportedMessage, now event.Time) *command.Refusal {
	switch {
	case m.ID == 0:
		return command.Refuse(command.CodeInvalid, "a message without an id")
	case m.ID >= 1<<62:
		return command.Refuse(command.CodeInvalid, "message %d: no message has so great an id", m.ID)
	case !form.User(m.Author) || form.Line("author", string(m.Author), form.MaxPrincipalBytes) != nil:
		return command.Refuse(command.CodeInvalid, "message %d: author %q is not \"sip:name@domain\" in lower case", m.ID, m.Author).About(m.Author)
	case m.PostedAt > now:
		return command.Refuse(command.CodeInvalid, "message %d was posted at %s, which is still to come", m.ID, m.PostedAt)
	case m.Text == "" || !utf8.ValidString(m.Text) || !utf8.ValidString(m.RTF):
		return command.Refuse(command.CodeInvalid, "message %d: no text, or not UTF-8", m.ID)
	case len(m.Text) > maxImportedText || len(m.RTF) > MaxRTFBytes || len(m.Links) > MaxLinks:
		return command.Refuse(command.CodeTooLarge, "message %d: %d bytes of text (at most %d), %d of RTF (at most %d), %d links (at most %d)", m.ID,
			len(m.Text), maxImportedText, len(m.RTF), MaxRTFBytes, len(m.Links), MaxLinks)
	case (m.Title != "") != m.Story || len(m.Title) > form.MaxNameBytes || form.Line("title", m.Title, form.MaxNameBytes) != nil:
		return command.Refuse(command.CodeInvalid, "message %d: a story has a title of one line, and nothing else has", m.ID)
	}
	for _, l := range m.Links {
		if l.URI == "" || form.Line("link", l.URI, maxImportedText) != nil || form.Line("link", l.Name, maxImportedText) != nil {
			return command.Refuse(command.CodeInvalid, "message %d: a link to nowhere, or not one line", m.ID)
		}
	}
	return nil
}
