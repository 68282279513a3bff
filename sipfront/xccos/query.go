package xccos

import (
	"strings"

	"parley/sipfront/xccos/xmlcode"
)

// SIB is the server information block.
type SIB struct {
	Domain            string // in the command
	InfoType          string // echoed
	ServerTime        string
	SearchLimit       uint32
	MessageSizeLimit  uint32 // bytes
	StorySizeLimit    uint32 // bytes
	RootURI           string // category URI
	DBVersion         string // GUID
	DisplayName       string
	RoomManagementURL string
}

func (s *SIB) code(c *xmlcode.Coder) {
	c.Str("domain", sipeNotes, &s.Domain)
	c.Str("infoType", sipeNotes, &s.InfoType)
	c.Str("serverTime", sipeNotes, &s.ServerTime)
	xmlcode.Uint(c, "searchLimit", sipeNotes, &s.SearchLimit)
	xmlcode.Uint(c, "messageSizeLimit", sipeNotes, &s.MessageSizeLimit)
	xmlcode.Uint(c, "storySizeLimit", sipeNotes, &s.StorySizeLimit)
	c.Str("rootUri", sipeNotes, &s.RootURI)
	c.Str("dbVersion", sipeNotes, &s.DBVersion)
	c.Str("displayName", recalled, &s.DisplayName)
	c.Str("roomManagementUrl", recalled, &s.RoomManagementURL)
}

// Association asks for the rooms in which the caller is a member or a manager. The shape is not known, so a reader
// takes any attribute of any element that speaks of managers for the question about managers.
type Association struct {
	Domain     string
	Type       string // AssociationMember or AssociationManager
	MaxResults uint32 // 0: not said
}

// The association types.
const (
	AssociationMember  = "MEMBER"  // recalled
	AssociationManager = "MANAGER" // recalled
)

func (a *Association) code(c *xmlcode.Coder) {
	c.Str("domain", recalled, &a.Domain)
	c.Str("type", recalled, &a.Type)
	xmlcode.Uint(c, "maxResults", recalled, &a.MaxResults)
	if c.Reading() {
		a.Type = AssociationMember
		c.Values(func(v string) {
			if strings.Contains(strings.ToLower(v), "manager") {
				a.Type = AssociationManager
			}
		})
	}
}

// QIB is a search for rooms (cmd:chansrch) or for principals (cmd:usersearch). What is empty does not narrow it.
type QIB struct {
	Type       string // SearchByName
	Criteria   string // words of the name; empty: all that the caller may see
	Extended   bool   // search descriptions too; for principals: addresses too
	MatchAll   bool   // all words, not any
	Exact      bool   // the words as one phrase
	MaxResults uint32 // 0: the server's limit
	// Of rooms. Flags are "true", "false" or not said.
	Member, Manager, Category, AddIn       string // URIs, and a GUID
	Visibility, Behavior, Disabled, Invite string
	// Of principals. Role: who could get this role in the room or category beside the qib.
	FirstName, LastName, Email, Role string

	More bool // in a reply: there is more than the limit allows
}

// SearchByName is the kind of search that clients are known to send.
const SearchByName = "BYNAME"

func (q *QIB) code(c *xmlcode.Coder) {
	c.Str("qtype", sipeQuery, &q.Type)
	c.Full("criteria", sipeQuery, &q.Criteria)
	c.Bool("extended", sipeQuery, &q.Extended, true)
	c.Bool("matchall", ours, &q.MatchAll, false)
	c.Bool("exact", ours, &q.Exact, false)
	xmlcode.Uint(c, "maxResults", ours, &q.MaxResults)
	c.Str("member", ours, &q.Member)
	c.Str("manager", ours, &q.Manager)
	c.Str("category", ours, &q.Category)
	c.Str("siopid", ours, &q.AddIn)
	c.Str("disabled", ours, &q.Disabled)
	c.Str("visibility", ours, &q.Visibility)
	c.Str("behavior", ours, &q.Behavior)
	c.Str("invite", ours, &q.Invite)
	c.Str("firstname", ours, &q.FirstName)
	c.Str("lastname", ours, &q.LastName)
	c.Str("email", ours, &q.Email)
	c.Str("role", ours, &q.Role)
	c.Bool("more", ours, &q.More, false)
}

// BCQ is a question about the history of rooms. In ntc:msgdelete its Date says up to when a room was cleared.
type BCQ struct {
	NewestFirst  bool // search from the newest, so that the limit cuts off the oldest
	ReturnNewest bool // return the newest first
	Last         *Count
	Date         *DateRange // ignored when MsgID is there
	MsgID        *MsgID     // start from this message, which is included; with NewestFirst it is the last
	Text         *TextQuery
	Authors      []Author
	Limit        *Count // for each room; nil or too many: the server's limit
}

// Count is a number of messages.
type Count struct{ N uint32 }

// DateRange is a span of time, UTC, ISO 8601; either end may be open.
type DateRange struct{ From, To string }

// MsgID is a message by its number in the room.
type MsgID struct{ ID uint64 }

// TextQuery is words to look for.
type TextQuery struct {
	MatchCase bool
	Exact     bool // the words as one phrase; otherwise any of them
	Words     string
}

// Author is a user whose messages are looked for.
type Author struct{ URI string }

func (q *BCQ) code(c *xmlcode.Coder) {
	c.Bool("searchreversed", ours, &q.NewestFirst, false)
	c.Bool("sortreversed", ours, &q.ReturnNewest, false)
	xmlcode.One(c, "last", sipeJoin, &q.Last, (*Count).code)
	xmlcode.One(c, "date", recalled, &q.Date, (*DateRange).code)
	xmlcode.One(c, "msgid", recalled, &q.MsgID, (*MsgID).code)
	xmlcode.One(c, "text", recalled, &q.Text, (*TextQuery).code)
	xmlcode.Many(c, "author", recalled, &q.Authors, (*Author).code)
	xmlcode.One(c, "limit", recalled, &q.Limit, (*Count).code)
}

func (n *Count) code(c *xmlcode.Coder) { xmlcode.Uint(c, "cnt", sipeJoin, &n.N) }

func (d *DateRange) code(c *xmlcode.Coder) {
	c.Str("from", recalled, &d.From)
	c.Str("to", recalled, &d.To)
}

func (m *MsgID) code(c *xmlcode.Coder) { xmlcode.Uint(c, "id", recalled, &m.ID) }

func (q *TextQuery) code(c *xmlcode.Coder) {
	c.Bool("matchcase", recalled, &q.MatchCase, true)
	c.Bool("exact", recalled, &q.Exact, true)
	c.Text(&q.Words, xmlcode.InText)
}

func (a *Author) code(c *xmlcode.Coder) { c.Str("uri", ours, &a.URI) }
