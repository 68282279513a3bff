package event

import "parley/log/wire"

// TokenID is the GUID of a token of an administrator, same form as RoomID. It names the token; it is not the token.
type TokenID string

// AdminRead says that the administrator Meta.By was shown what is not his own: events, messages, an export. The same
// question of the same administrator is written down once an hour, so that a script which asks again and again, or
// every node in turn, does not fill the log with itself.
type AdminRead struct {
	What   string // what kind of thing, as in the names of package projections/chat/roles: "log.read"
	Filter string // body: the question, such as "kind=posted&room=Lobby"; it may hold words of people
}

// TokenIssued gives an administrator a token with which he may use the admin API.
type TokenIssued struct {
	Token       TokenID
	Admin       Principal
	SHA256      []byte // of the token; the token itself has 256 random bits and is written nowhere
	Expires     Time   // 0: never
	Description string
}

// TokenRevoked ends a token.
type TokenRevoked struct{ Token TokenID }

// MessageImported puts a message of an archive into the room Meta.Room. Author and time are what the archive says, and
// Meta.By, who imported it, vouches for them: the envelope has the time of the import, as every event has its own.
type MessageImported struct {
	MessageID uint64 // as in the archive; greater than any before it in this room, perhaps with a gap
	Author    Principal
	PostedAt  Time
	Alert     bool
	Story     bool
	Source    string // the pool it comes from
	Text      string // body: as in Posted
	RTF       string // body
	Title     string // body: of a story
	Links     []Link // body
}

func (*AdminRead) Kind() Kind       { return KindAdminRead }
func (*TokenIssued) Kind() Kind     { return KindTokenIssued }
func (*TokenRevoked) Kind() Kind    { return KindTokenRevoked }
func (*MessageImported) Kind() Kind { return KindMessageImported }

func (e *AdminRead) code(c *wire.Coder)     { wire.Str(c, 1, &e.What) }
func (e *AdminRead) codeBody(c *wire.Coder) { wire.Str(c, 1, &e.Filter) }
func (e *TokenIssued) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Token)
	wire.Str(c, 2, &e.Admin)
	c.Bytes(3, &e.SHA256)
	wire.Int(c, 4, &e.Expires)
	wire.Str(c, 5, &e.Description)
}
func (e *TokenRevoked) code(c *wire.Coder) { wire.Str(c, 1, &e.Token) }
func (e *MessageImported) code(c *wire.Coder) {
	wire.Uint(c, 1, &e.MessageID)
	wire.Str(c, 2, &e.Author)
	wire.Int(c, 3, &e.PostedAt)
	c.Bool(4, &e.Alert)
	c.Bool(5, &e.Story)
	wire.Str(c, 6, &e.Source)
}
func (e *MessageImported) codeBody(c *wire.Coder) {
	wire.Str(c, 1, &e.Text)
	wire.Str(c, 2, &e.RTF)
	wire.Str(c, 3, &e.Title)
	wire.Subs(c, 4, &e.Links, (*Link).Code)
}

// ChatMessage is what a message is to whoever reads it, however it came into its room.
type ChatMessage struct {
	ID       uint64
	By       Principal
	At       Time
	Alert    bool
	Unlogged bool
	Story    bool
	Text     string
	RTF      string
	Title    string
	Links    []Link
}

// MessageOf returns the message that an event put into a room: one that was posted, or one that was imported, which is by
// the author and of the time that its archive says.
func MessageOf(e *Envelope) (m ChatMessage, ok bool) {
	switch v := e.Event.(type) {
	case *Posted:
		return ChatMessage{ID: v.MessageID, By: e.By, At: e.At, Alert: v.Alert, Unlogged: v.Unlogged, Story: v.Story, Text: v.Text, RTF: v.RTF, Title: v.Title, Links: v.Links}, true
	case *MessageImported:
		return ChatMessage{ID: v.MessageID, By: v.Author, At: v.PostedAt, Alert: v.Alert, Story: v.Story, Text: v.Text, RTF: v.RTF, Title: v.Title, Links: v.Links}, true
	}
	return ChatMessage{}, false
}
