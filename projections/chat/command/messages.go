package command

import (
	"parley/log/event"
	"parley/log/wire"
)

// The commands about messages that were posted, and about invitations.
type (
	// ReadInvitations says that By has seen his invitations up to an id; State.Invitations has them.
	ReadInvitations struct{ UpTo uint64 }
	// SearchMessages records that By searched rooms and was shown Found messages: every room must be one that he may
	// read. A caller that searches for him asks State.Rights and State.ShowsHistory first. Of the rooms in Result.Refused,
	// whose category shows no history, he is shown nothing.
	SearchMessages struct {
		Rooms []event.RoomID
		Query event.Query
		Limit uint64
		Found uint64
	}
	// RemoveMessages removes messages of a room, or puts Text in their place. Whoever gives it has read the history and
	// lists what he found by Query (package match), in ascending order, at most MaxRemoved: more take several commands.
	RemoveMessages struct {
		Room     event.RoomID
		Messages []event.MessageRef
		Replace  bool
		Text     string // with Replace; empty: the product's sentence (DefaultReplacement)
		Query    event.Query
		Facts    []Fact // of each message; without them every legal hold of the room is in the way
	}
	// ClearRoom removes every message of a room up to and including a time; one that has not come yet is now.
	ClearRoom struct {
		Room  event.RoomID
		Until event.Time
		Look  Look
	}
)

// Limits of removal.
const (
	MaxRemoved         = 10_000 // messages in one command
	DefaultReplacement = "This message was replaced by the Persistent Chat administrator."
)

func (*ReadInvitations) number() uint16 { return 7 }
func (*SearchMessages) number() uint16  { return 8 }
func (*RemoveMessages) number() uint16  { return 40 }
func (*ClearRoom) number() uint16       { return 41 }

// Code visits the fields.
func (m *ReadInvitations) Code(c *wire.Coder) { wire.Uint(c, 1, &m.UpTo) }

// Code visits the fields.
func (m *SearchMessages) Code(c *wire.Coder) {
	wire.Strs(c, 1, &m.Rooms)
	c.Sub(2, m.Query.Code)
	wire.Uint(c, 3, &m.Limit)
	wire.Uint(c, 4, &m.Found)
}

// Code visits the fields.
func (m *RemoveMessages) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Room)
	wire.Subs(c, 2, &m.Messages, (*event.MessageRef).Code)
	c.Bool(3, &m.Replace)
	wire.Str(c, 4, &m.Text)
	c.Sub(5, m.Query.Code)
	wire.Subs(c, 6, &m.Facts, (*Fact).code)
}

// Code visits the fields.
func (m *ClearRoom) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Room)
	wire.Int(c, 2, &m.Until)
	c.Sub(3, m.Look.code)
}
