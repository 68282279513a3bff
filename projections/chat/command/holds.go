package command

import (
	"parley/log/event"
	"parley/log/wire"
)

// The commands about legal holds, and about messages whose time is over.
type (
	// SetHold sets a legal hold or replaces what it says. Revision 0 skips the check for a concurrent change.
	SetHold struct {
		Hold     string
		Info     event.HoldInfo
		Create   bool // refuse if there is one
		Revision event.Offset
	}
	// ReleaseHold ends one.
	ReleaseHold struct{ Hold, Reason string }
	// PurgeMessages removes the messages of a range of a room that are of a time or earlier, but for those that a legal hold
	// keeps. The retention of the room's category must be over for that time, and every feed must have a receipt for Last.
	PurgeMessages struct {
		Room        event.RoomID
		First, Last event.MessageRef // the ends need not be messages
		Until       event.Time
	}

	// Fact is what whoever gives a command has read of a message: the state does not know it.
	Fact struct {
		By event.Principal
		At event.Time
	}
	// Look says that whoever gives a command has read all messages of a room and found none in the way that one of some holds
	// keeps. A hold that is not among them, or has changed since, still refuses.
	Look struct {
		Holds []Seen
		To    uint64 // id of the last message that was read
	}
	// Seen is a hold as it was.
	Seen struct {
		Hold     string
		Revision event.Offset
	}
)

func (*SetHold) number() uint16       { return 72 }
func (*ReleaseHold) number() uint16   { return 73 }
func (*PurgeMessages) number() uint16 { return 74 }

// Code visits the fields.
func (m *SetHold) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Hold)
	c.Sub(2, m.Info.Code)
	c.Bool(3, &m.Create)
	wire.Uint(c, 4, &m.Revision)
}

// Code visits the fields.
func (m *ReleaseHold) Code(c *wire.Coder) { wire.Str(c, 1, &m.Hold); wire.Str(c, 2, &m.Reason) }

// Code visits the fields.
func (m *PurgeMessages) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Room)
	c.Sub(2, m.First.Code)
	c.Sub(3, m.Last.Code)
	wire.Int(c, 4, &m.Until)
}

func (f *Fact) code(c *wire.Coder) { wire.Str(c, 1, &f.By); wire.Int(c, 2, &f.At) }

func (l *Look) code(c *wire.Coder) {
	wire.Subs(c, 1, &l.Holds, (*Seen).code)
	wire.Uint(c, 2, &l.To)
}

func (s *Seen) code(c *wire.Coder) { wire.Str(c, 1, &s.Hold); wire.Uint(c, 2, &s.Revision) }
