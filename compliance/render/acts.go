// Package render is what adapters share: events as acts in the conversations of rooms, and as lines of JSON.
package render

import (
	"fmt"

	"parley/compliance"
	"parley/log/event"
)

// What an act is.
type What int

// The acts that an archive of conversations knows.
const (
	Join What = iota + 1
	Part
	Chat
	Read   // history was read
	Search // messages were looked for
	Removal
)

// Act is something that happened in the conversation of a room.
type Act struct {
	What      What
	At        event.Time
	Offset    event.Offset
	Room      event.RoomID
	By        event.Principal
	Endpoint  event.Endpoint
	MessageID uint64 // of a message
	Title     string // of a story
	Text      string // of a message; else what was asked for or done, for people
	RTF       string
	Alert     bool
	Erased    bool // the text was lawfully erased before it was delivered
	Links     []event.Link
	// Of a message that was imported: By is who wrote it, and At the time of the import.
	PostedAt event.Time      // as the archive that it comes from says
	Importer event.Principal // who vouches for that; empty: the message was posted here
	Source   string          // the pool that it comes from
}

// Imported reports whether the act is a message that was imported.
func (a *Act) Imported() bool { return a.Importer != "" }

// Acts calls f with the acts that an event comes to, in order: none for what is no part of a conversation. It is called
// while e is the current event of the run. An event of a kind that this version does not know is an error: an archive with
// a hole that nobody knows of is worse than one that is late.
func Acts(cut compliance.Cut, e event.Envelope, f func(Act)) error {
	a := Act{At: e.At, Offset: e.Offset, Room: e.Room, By: e.By}
	switch v := e.Event.(type) {
	case *event.Joined:
		a.What, a.Endpoint = Join, v.Endpoint
	case *event.Parted:
		a.What, a.Endpoint = Part, v.Endpoint
	case *event.Posted:
		a.What, a.Endpoint, a.MessageID, a.Erased = Chat, v.Endpoint, v.MessageID, e.Erased
		a.Title, a.Text, a.RTF, a.Alert, a.Links = v.Title, v.Text, v.RTF, v.Alert, v.Links
	case *event.MessageImported:
		if cut.Early() {
			return nil
		}
		a.What, a.By, a.MessageID, a.Erased = Chat, v.Author, v.MessageID, e.Erased
		a.PostedAt, a.Importer, a.Source = v.PostedAt, e.By, v.Source
		a.Title, a.Text, a.RTF, a.Alert, a.Links = v.Title, v.Text, v.RTF, v.Alert, v.Links
	case *event.HistoryRead:
		a.What, a.Endpoint, a.Text = Read, v.Endpoint, asked(v)
	case *event.MessageSearched:
		a.What, a.Endpoint, a.Erased, a.Text = Search, v.Endpoint, e.Erased, searched(v, e.Erased)
		for _, room := range v.Rooms {
			if a.Room = room; cut.Covers(room) {
				f(a)
			}
		}
		return nil
	case *event.MessagesRemoved:
		a.What, a.Text = Removal, removed(v)
	case *event.MessagesPurged:
		a.What, a.Text = Removal, "messages "+v.Text()+" removed"
	case *event.NodeLost, *event.NodeStarted:
		for _, p := range cut.Parts(e) {
			a.What, a.Room, a.By, a.Endpoint = Part, p.Room, p.By, p.Event.(*event.Parted).Endpoint
			f(a)
		}
		return nil
	case *event.Unknown:
		return Unknown(e)
	default:
		return nil
	}
	f(a)
	return nil
}

// Unknown is the error for an event that this version cannot archive, nil for all others.
func Unknown(e event.Envelope) error {
	if v, ok := e.Event.(*event.Unknown); ok {
		return fmt.Errorf("event %d has the unknown kind %d: this version cannot archive it", e.Offset, v.Type)
	}
	return nil
}

// asked says what a history read asked for and got, for people.
func asked(v *event.HistoryRead) string {
	if v.First == 0 && v.Last == 0 {
		return fmt.Sprintf("last %d messages: none", v.Asked)
	}
	return fmt.Sprintf("last %d messages: %d to %d", v.Asked, v.First, v.Last)
}

func searched(v *event.MessageSearched, erased bool) string {
	text := fmt.Sprintf("%q", v.Query.Text)
	if erased {
		text = "(erased)"
	}
	out := fmt.Sprintf("search for %s (%s)", text, v.Query.Match)
	if v.Query.From != 0 {
		out += " from " + v.Query.From.String()
	}
	if v.Query.To != 0 {
		out += " to " + v.Query.To.String()
	}
	for i, p := range v.Query.Authors {
		if i == 0 {
			out += " by"
		}
		out += " " + p.Address()
	}
	return fmt.Sprintf("%s: %d found in %d rooms", out, v.Found, len(v.Rooms))
}

func removed(v *event.MessagesRemoved) string {
	out := ""
	if v.Until != 0 {
		out = "all messages up to " + v.Until.String()
	} else {
		out = "messages"
		for i, m := range v.Messages {
			if i > 0 {
				out += ","
			}
			out += fmt.Sprintf(" %d", m.MessageID)
		}
	}
	if v.Replaced {
		return fmt.Sprintf("%s replaced by %q", out, v.Text)
	}
	return out + " removed"
}

// Conversation is what happened in one room within a cut.
type Conversation struct {
	Place   compliance.Place                       // as it was at the first act
	Present map[event.Principal]int                // sessions of each user before the first act
	People  map[event.Principal]*compliance.Person // all who are in it, as they were at their last act
	Acts    []Act
	Persons []*compliance.Person // who did each act, as he was then
}

// Start and End are the times of the first and the last act.
func (c *Conversation) Start() event.Time { return c.Acts[0].At }

// End is the time of the last act.
func (c *Conversation) End() event.Time { return c.Acts[len(c.Acts)-1].At }

// Conversations groups the acts of a cut by room, in the order of their first acts. It keeps them all in memory; the feed
// bounds a cut.
type Conversations struct {
	cut  compliance.Cut
	room map[event.RoomID]*Conversation
	All  []*Conversation
}

// NewConversations returns none yet.
func NewConversations(cut compliance.Cut) *Conversations {
	return &Conversations{cut: cut, room: map[event.RoomID]*Conversation{}}
}

// Add takes the current event of the run.
func (c *Conversations) Add(e event.Envelope) error {
	return Acts(c.cut, e, func(a Act) {
		conv := c.room[a.Room]
		if conv == nil {
			conv = &Conversation{Place: c.cut.Place(a.Room), Present: map[event.Principal]int{}, People: map[event.Principal]*compliance.Person{}}
			for s := range c.cut.State().SessionsIn(a.Room) {
				if conv.Present[s.User]++; conv.Present[s.User] == 1 {
					p := c.cut.Person(s.User)
					conv.People[s.User] = &p
				}
			}
			c.room[a.Room] = conv
			c.All = append(c.All, conv)
		}
		p := c.cut.Person(a.By)
		if old := conv.People[a.By]; old == nil || *old != p { // most acts are by somebody as he was before
			conv.People[a.By] = &p
		}
		conv.Acts, conv.Persons = append(conv.Acts, a), append(conv.Persons, conv.People[a.By])
	})
}
