package command

import (
	"parley/log/event"
	"parley/log/wire"
)

// The commands about feeds. All of them take an administrator. Whether an adapter can do what Info asks is checked by
// whoever gives the command: the rules know no adapters.
type (
	// SetFeed makes a feed or replaces its configuration. From is the first event of a feed that is new, 0 the first of the
	// log; a feed that is known goes on where it was, and From must be 0. Revision 0 skips the check for a concurrent change.
	SetFeed struct {
		Feed     string
		Info     event.FeedInfo
		From     event.Offset
		Create   bool // refuse if there is one
		Revision event.Offset
	}
	// RemoveFeed ends a feed. Its name remembers how far it got.
	RemoveFeed struct{ Feed string }
	// PauseFeed stops a feed until it is resumed.
	PauseFeed struct{ Feed, Reason string }
	// ResumeFeed lets it go on.
	ResumeFeed struct{ Feed string }
)

func (*SetFeed) number() uint16    { return 53 }
func (*RemoveFeed) number() uint16 { return 54 }
func (*PauseFeed) number() uint16  { return 55 }
func (*ResumeFeed) number() uint16 { return 56 }

// Code visits the fields.
func (m *SetFeed) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Feed)
	c.Sub(2, m.Info.Code)
	wire.Uint(c, 3, &m.From)
	c.Bool(4, &m.Create)
	wire.Uint(c, 5, &m.Revision)
}

// Code visits the fields.
func (m *RemoveFeed) Code(c *wire.Coder) { wire.Str(c, 1, &m.Feed) }

// Code visits the fields.
func (m *PauseFeed) Code(c *wire.Coder) { wire.Str(c, 1, &m.Feed); wire.Str(c, 2, &m.Reason) }

// Code visits the fields.
func (m *ResumeFeed) Code(c *wire.Coder) { wire.Str(c, 1, &m.Feed) }
