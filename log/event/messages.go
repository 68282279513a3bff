package event

import "parley/log/wire"

// LinkKind says what a link in a message leads to.
type LinkKind string

// The kinds of links.
const (
	LinkURL  LinkKind = "url"
	LinkRoom LinkKind = "room" // another room, "ma-chan:" on the wire
	LinkFile LinkKind = "file" // a file in the pool's store, "ma-filelink:" on the wire
)

// Link is a link in a message. The text of the message holds it too, in the form that clients show.
type Link struct {
	Kind LinkKind
	URI  string
	Name string // what is shown, for a file its name
	Size uint64 // bytes of a file, as its sender says
}

// Code visits the fields.
func (l *Link) Code(c *wire.Coder) {
	wire.Str(c, 1, &l.Kind)
	wire.Str(c, 2, &l.URI)
	wire.Str(c, 3, &l.Name)
	wire.Uint(c, 4, &l.Size)
}

// Match says how the words of a query are looked for.
type Match string

// The matches; MatchAll is the default.
const (
	MatchAll   Match = "all"   // every word
	MatchOr    Match = "or"    // any word
	MatchExact Match = "exact" // the words as one phrase
)

// Query says which messages of a room are meant. What is empty or zero does not narrow it.
type Query struct {
	Text          string // words separated by blanks
	Match         Match
	CaseSensitive bool
	From          Time // posted at or after
	To            Time // posted at or before
	Authors       []Principal
}

// Code visits the fields, the text as well: a query also travels inside commands.
func (q *Query) Code(c *wire.Coder) {
	q.code(c)
	wire.Str(c, 6, &q.Text)
}

// code visits what is no text of people: an event keeps the text in its body.
func (q *Query) code(c *wire.Coder) {
	wire.Str(c, 1, &q.Match)
	c.Bool(2, &q.CaseSensitive)
	wire.Int(c, 3, &q.From)
	wire.Int(c, 4, &q.To)
	wire.Strs(c, 5, &q.Authors)
}

// MessageSearched says that Meta.By looked for messages and was shown some.
type MessageSearched struct {
	Endpoint Endpoint
	Rooms    []RoomID // that were searched
	Query    Query    // its text is the body
	Limit    uint64   // messages asked for
	Found    uint64   // messages shown
}

// MessageRef names a message by both its id in the room and the offset of its Posted.
type MessageRef struct {
	MessageID uint64
	Offset    Offset
}

// Code visits the fields.
func (r *MessageRef) Code(c *wire.Coder) {
	wire.Uint(c, 1, &r.MessageID)
	wire.Uint(c, 2, &r.Offset)
}

// MessagesRemoved says that Meta.By, an administrator, had messages of the room Meta.Room removed: either those listed,
// which Query describes, or, with Until set, every message of the room posted at or before Until.
//
// The list comes from a reader of the history, so who acts on it (history, search, erasure of bodies) checks that the
// event at each offset is the Posted of this room with this id, and treats another as a broken promise. Until needs no
// list: time never runs back in the log, so which messages it means is in the log alone: those at or before Until that
// come before this event, which may have the same time.
type MessagesRemoved struct {
	Messages []MessageRef // in ascending order; empty with Until
	Until    Time         // 0: the list says it
	Replaced bool         // Text stands in the place of each message; otherwise nothing does
	Text     string
	Query    Query // how the messages of the list were found; its text is the body
}

// Invitation tells a user that he became a member of a room. ID counts up for each user, from 1.
type Invitation struct {
	User Principal
	ID   uint64
}

// Code visits the fields.
func (i *Invitation) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.User)
	wire.Uint(c, 2, &i.ID)
}

// Invited gives users an invitation to the room Meta.Room. An earlier one of theirs to this room is replaced.
type Invited struct{ Invitations []Invitation }

// InvitationsRead says that Meta.By has seen his invitations up to an id.
type InvitationsRead struct{ UpTo uint64 }

func (*MessageSearched) Kind() Kind { return KindMessageSearched }
func (*MessagesRemoved) Kind() Kind { return KindMessagesRemoved }
func (*Invited) Kind() Kind         { return KindInvited }
func (*InvitationsRead) Kind() Kind { return KindInvitationsRead }

func (e *MessageSearched) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Endpoint)
	wire.Strs(c, 2, &e.Rooms)
	c.Sub(3, e.Query.code)
	wire.Uint(c, 4, &e.Limit)
	wire.Uint(c, 5, &e.Found)
}
func (e *MessageSearched) codeBody(c *wire.Coder) { wire.Str(c, 1, &e.Query.Text) }
func (e *MessagesRemoved) code(c *wire.Coder) {
	wire.Subs(c, 1, &e.Messages, (*MessageRef).Code)
	wire.Int(c, 2, &e.Until)
	c.Bool(3, &e.Replaced)
	wire.Str(c, 4, &e.Text)
	c.Sub(5, e.Query.code)
}
func (e *MessagesRemoved) codeBody(c *wire.Coder) { wire.Str(c, 1, &e.Query.Text) }
func (e *Invited) code(c *wire.Coder)             { wire.Subs(c, 1, &e.Invitations, (*Invitation).Code) }
func (e *InvitationsRead) code(c *wire.Coder)     { wire.Uint(c, 1, &e.UpTo) }
