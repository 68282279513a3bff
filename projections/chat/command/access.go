package command

import (
	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/roles"
)

// The commands about what administrators may and did, and the import of messages. All of them take an administrator.
type (
	// RecordRead says that By is about to be shown what is not his own. What is the name of the right that he uses, Filter
	// his question.
	RecordRead struct {
		What   string
		Filter string
	}
	// IssueToken lets an administrator use the admin API with a token that he alone knows: 256 random bits, of which the
	// pool gets the SHA-256. An empty Token gets a new id.
	IssueToken struct {
		Token       event.TokenID
		Admin       event.Principal // "admin:NAME", or the account of a user
		SHA256      []byte
		Expires     event.Time // 0: never
		Description string
		Roles       roles.Set // that the administrator gets besides those he has
	}
	// RevokeToken ends a token.
	RevokeToken struct{ Token event.TokenID }
	// ImportMessages puts messages of an archive into a room, by ascending id, at most MaxImportMessages. A message whose
	// id is not above the newest of the room is there already and is skipped, so an import can be repeated; whoever gives
	// the command has compared them. When one is bad none is imported, and Refusal.Rows lists the bad ones.
	ImportMessages struct {
		Room     event.RoomID
		Source   string // the pool they come from
		Messages []ImportedMessage
	}
	// ImportedMessage is a message of an archive.
	ImportedMessage struct {
		ID       uint64
		Author   event.Principal // he need not have an account here
		PostedAt event.Time
		Alert    bool
		Story    bool
		Text     string
		RTF      string
		Title    string
		Links    []event.Link
	}
)

// MaxImportMessages bounds one import of messages.
const MaxImportMessages = 2000

func (*RecordRead) number() uint16     { return 42 }
func (*IssueToken) number() uint16     { return 43 }
func (*RevokeToken) number() uint16    { return 44 }
func (*ImportMessages) number() uint16 { return 45 }

// Code visits the fields.
func (m *RecordRead) Code(c *wire.Coder) { wire.Str(c, 1, &m.What); wire.Str(c, 2, &m.Filter) }

// Code visits the fields.
func (m *IssueToken) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Token)
	wire.Str(c, 2, &m.Admin)
	c.Bytes(3, &m.SHA256)
	wire.Int(c, 4, &m.Expires)
	wire.Str(c, 5, &m.Description)
	wire.Uint(c, 6, &m.Roles)
}

// Code visits the fields.
func (m *RevokeToken) Code(c *wire.Coder) { wire.Str(c, 1, &m.Token) }

// Code visits the fields.
func (m *ImportMessages) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Room)
	wire.Str(c, 2, &m.Source)
	wire.Subs(c, 3, &m.Messages, (*ImportedMessage).code)
}

func (m *ImportedMessage) code(c *wire.Coder) {
	wire.Uint(c, 1, &m.ID)
	wire.Str(c, 2, &m.Author)
	wire.Int(c, 3, &m.PostedAt)
	c.Bool(4, &m.Alert)
	c.Bool(5, &m.Story)
	wire.Str(c, 6, &m.Text)
	wire.Str(c, 7, &m.RTF)
	wire.Str(c, 8, &m.Title)
	wire.Subs(c, 9, &m.Links, (*event.Link).Code)
}
