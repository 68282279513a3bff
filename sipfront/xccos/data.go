package xccos

import (
	"strings"

	"parley/log/event"
	"parley/sipfront/xccos/xmltree"
)

// This file is the one table of elements and attributes. Each name carries where it is known from:
//
//	E        evidence: seen in captures or in the open client's code
//	GUESS-R  recalled from general knowledge of the published specification, not confirmed
//	X        our own design where nothing is known
//
// Section numbers are those of the XCCOS digest. A renamed attribute is a change of one line here.

// Data is what the data element of a command, reply or notice holds.
type Data struct {
	Users       []UIB
	Rooms       []ChanID
	Chans       []ChanIB
	Failed      []FIB
	Server      *SIB
	Association *Association
	Search      *QIB
	Context     *BCQ
	Invites     []Inv
	Pref        *Pref
	File        *FTDB
	Token       *Token
}

func (d *Data) code(c *coder) {
	many(c, "uib", &d.Users, (*UIB).code)                      // E 3.1, 3.4, 3.5
	many(c, "chanid", &d.Rooms, (*ChanID).code)                // E 3.4
	many(c, "chanib", &d.Chans, (*ChanIB).code)                // E 3.4
	many(c, "fib", &d.Failed, (*FIB).code)                     // E 3.4
	one(c, "sib", &d.Server, (*SIB).code)                      // E 3.2
	one(c, "association", &d.Association, (*Association).code) // GUESS-R 3.3
	one(c, "qib", &d.Search, (*QIB).code)                      // E 3.9
	one(c, "bcq", &d.Context, (*BCQ).code)                     // E 3.7
	many(c, "inv", &d.Invites, (*Inv).code)                    // E 3.10
	one(c, "pref", &d.Pref, (*Pref).code)                      // E 3.11
	one(c, "ftdb", &d.File, (*FTDB).code)                      // E 3.13
	one(c, "token", &d.Token, (*Token).code)                   // E 3.13
	if c.t != nil && c.item == CmdGetAssociations && d.Association == nil {
		d.Association = new(Association)
		d.Association.code(c)
	}
}

// UIB is a user information block. ID is the number by which the reply's AIBs refer to it.
type UIB struct {
	ID       string
	URI      string
	GUID     string
	Type     string // 5: user
	Name     string
	Display  string
	Disabled string // "true", "false" or not said
	Rooms    []AIB  // in ntc:join and ntc:bjoin
}

func (u *UIB) code(c *coder) {
	c.str("id", &u.ID)             // E 4.3
	c.str("uri", &u.URI)           // E 4.3
	c.str("guid", &u.GUID)         // GUESS-R 4.3
	c.str("type", &u.Type)         // GUESS-R 4.3
	c.str("uname", &u.Name)        // GUESS-R 4.3
	c.str("dispname", &u.Display)  // GUESS-R 4.3
	c.str("disabled", &u.Disabled) // GUESS-R 4.3
	many(c, "aib", &u.Rooms, (*AIB).code)
}

// AIB associates a permission mask with users of a reply (Value: their ids, comma separated), or with a room in a
// notice (Value: its GUID).
type AIB struct {
	Key    string // mask, decimal
	Domain string
	Value  string
}

func (a *AIB) code(c *coder) {
	c.str("key", &a.Key)       // E 4.4
	c.str("domain", &a.Domain) // E 3.5
	c.str("value", &a.Value)   // E 4.4
}

// ChanID names a room by domain and GUID.
type ChanID struct {
	Key    string // index in the list, from 0
	Domain string
	Value  string // GUID, as received
}

func (r *ChanID) code(c *coder) {
	c.str("key", &r.Key)       // E 3.4
	c.str("domain", &r.Domain) // E 3.4
	c.str("value", &r.Value)   // E 3.4
}

// Room returns the GUID in the canonical lower case.
func (r *ChanID) Room() event.RoomID { return event.RoomID(strings.ToLower(r.Value)) }

// FIB is a room of a batch that could not be joined. Key is FailedKey.
type FIB struct {
	Key    string
	Value  string // GUID
	Domain string
}

// FailedKey is the one key of a FIB that was ever seen.
const FailedKey = "OPERATION_FAILED" // E 3.4

func (f *FIB) code(c *coder) {
	c.str("key", &f.Key)       // E 3.4
	c.str("value", &f.Value)   // E 3.4
	c.str("domain", &f.Domain) // E 3.4
}

// ChanIB is a room information block. Commands fill in only URI.
type ChanIB struct {
	URI         string
	Name        string
	Description string
	Topic       string
	Parent      string // category URI
	Behavior    string // NORMAL, AUDITORIUM
	Disabled    string // "true", "false" or not said
	AddIn       string
	FileStore   string
	Access      []AIB
	Users       []UIB // who left, in ntc:part
	Audit       *Audit
	Posts       []Post // history
	Info        []Prop
	Props       []Prop
}

func (r *ChanIB) code(c *coder) {
	if c.item == RplChanSrch { // the one reply that puts the URI last and never leaves the description out (V24b)
		c.full("name", &r.Name)
		c.full("description", &r.Description)
		c.str("uri", &r.URI)
	} else {
		c.str("uri", &r.URI)   // E 4.2
		c.str("name", &r.Name) // E 4.2
		if c.item == RplGetInv {
			c.full("description", &r.Description) // X 3.10
		} else {
			c.str("description", &r.Description) // E 4.2
		}
	}
	c.str("topic", &r.Topic)                     // E 4.2, first generation only
	c.str("parent", &r.Parent)                   // GUESS-R 4.2
	c.str("behavior", &r.Behavior)               // GUESS-R 4.2
	c.str("disabled", &r.Disabled)               // GUESS-R 4.2
	c.str("siopid", &r.AddIn)                    // GUESS-R 4.2
	c.str("filestoreuri", &r.FileStore)          // GUESS-R 4.2
	many(c, "aib", &r.Access, (*AIB).code)       // E 4.2
	many(c, "uib", &r.Users, (*UIB).code)        // E 3.5
	one(c, "audit", &r.Audit, (*Audit).code)     // GUESS-R 4.2
	many(c, "msg", &r.Posts, (*Post).codeRecord) // E 3.7
	many(c, "info", &r.Info, (*Prop).code)       // E 4.2
	many(c, "prop", &r.Props, (*Prop).code)      // E 4.2
}

// Audit says who made and last changed a room.
type Audit struct{ CreatedBy, CreatedOn, UpdatedBy, UpdatedOn string }

func (a *Audit) code(c *coder) {
	c.str("createdby", &a.CreatedBy) // GUESS-R 4.2
	c.str("createdon", &a.CreatedOn) // GUESS-R 4.2
	c.str("updatedby", &a.UpdatedBy) // GUESS-R 4.2
	c.str("updatedon", &a.UpdatedOn) // GUESS-R 4.2
}

// Prop is an info or prop element of a room: an id from the constants below and a value.
type Prop struct{ ID, Value string }

func (p *Prop) code(c *coder) {
	c.str("id", &p.ID) // E 4.2
	c.text(&p.Value, inText)
}

// The ids of info and prop elements, and the words for visibility.
const (
	InfoUsers          = "urn:parlano:ma:info:ucnt"       // E 4.2: number of users joined
	InfoVisibility     = "urn:parlano:ma:info:visibility" // GUESS-R 4.2
	InfoVisibilityMiss = "urn:parlano:ma:info:visibilty"  // E 4.2: misspelt in the open client, so send both
	PropFilePost       = "urn:parlano:ma:prop:filepost"   // E 4.2: "True" or "False"
	PropInvite         = "urn:parlano:ma:prop:invite"     // E 4.2
	PropLogged         = "urn:parlano:ma:prop:logged"     // E 4.2

	VisibilityOpen    = "OPEN"    // GUESS-R 4.2
	VisibilityScoped  = "SCOPED"  // GUESS-R 4.2: closed
	VisibilityPrivate = "PRIVATE" // E 4.2: secret

	BehaviorNormal     = "NORMAL"     // GUESS-R 4.2
	BehaviorAuditorium = "AUDITORIUM" // GUESS-R 4.2
)

// SIB is the server information block.
type SIB struct {
	Domain            string // in the command
	InfoType          string // echoed
	ServerTime        string
	SearchLimit       uint32
	MessageSizeLimit  uint32 // bytes
	StorySizeLimit    uint32 // bytes
	RootURI           string
	DBVersion         string
	DisplayName       string
	RoomManagementURL string
}

func (s *SIB) code(c *coder) {
	c.str("domain", &s.Domain)                           // E 3.2
	c.str("infoType", &s.InfoType)                       // E 3.2
	c.str("serverTime", &s.ServerTime)                   // E 3.2
	uintAttr(c, "searchLimit", &s.SearchLimit)           // E 3.2
	uintAttr(c, "messageSizeLimit", &s.MessageSizeLimit) // E 3.2
	uintAttr(c, "storySizeLimit", &s.StorySizeLimit)     // E 3.2
	c.str("rootUri", &s.RootURI)                         // E 3.2
	c.str("dbVersion", &s.DBVersion)                     // E 3.2
	c.str("displayName", &s.DisplayName)                 // GUESS-R 3.2
	c.str("roomManagementUrl", &s.RoomManagementURL)     // GUESS-R 3.2
}

// Association asks for the rooms in which the caller is a member or a manager. The shape is not known, so a reader
// takes any attribute of any element that speaks of managers for the question about managers (digest 3.3).
type Association struct {
	Domain     string
	Type       string // AssociationMember or AssociationManager
	MaxResults uint32 // 0: not said
}

// The association types.
const (
	AssociationMember  = "MEMBER"  // GUESS-R 3.3
	AssociationManager = "MANAGER" // GUESS-R 3.3
)

func (a *Association) code(c *coder) {
	c.str("domain", &a.Domain)               // GUESS-R 3.3
	c.str("type", &a.Type)                   // GUESS-R 3.3
	uintAttr(c, "maxResults", &a.MaxResults) // GUESS-R 3.3
	if c.t == nil {
		return
	}
	a.Type = AssociationMember
	for n := c.n; n < c.t.End(c.n); n++ {
		c.t.Values(n, func(v string) {
			if strings.Contains(strings.ToLower(v), "manager") {
				a.Type = AssociationManager
			}
		})
	}
}

// QIB is a room search.
type QIB struct {
	Type     string // BYNAME is the one kind that is known
	Criteria string // empty: all visible rooms
	Extended bool   // search descriptions too
}

// SearchByName is the kind of search that clients are known to send.
const SearchByName = "BYNAME" // E 3.9

func (q *QIB) code(c *coder) {
	c.str("qtype", &q.Type)               // E 3.9
	c.full("criteria", &q.Criteria)       // E 3.9
	c.bool("extended", &q.Extended, true) // E 3.9
}

// BCQ is a question about the history of a room.
type BCQ struct {
	Last  *Count // bccontext; nil: the server's default
	Date  *DateRange
	MsgID *MsgID
	Text  *TextQuery
	Limit *Count
}

// Count is a number of messages.
type Count struct{ N uint32 }

// DateRange is a span of time, UTC.
type DateRange struct{ From, To string }

// MsgID is a message to start from.
type MsgID struct{ ID uint64 }

// TextQuery is words to look for.
type TextQuery struct {
	MatchCase, Exact bool
	Words            string
}

func (q *BCQ) code(c *coder) {
	one(c, "last", &q.Last, (*Count).code)     // E 3.7
	one(c, "date", &q.Date, (*DateRange).code) // GUESS-R 4.8
	one(c, "msgid", &q.MsgID, (*MsgID).code)   // GUESS-R 4.8
	one(c, "text", &q.Text, (*TextQuery).code) // GUESS-R 4.8
	one(c, "limit", &q.Limit, (*Count).code)   // GUESS-R 4.8
}

func (n *Count) code(c *coder) { uintAttr(c, "cnt", &n.N) } // E 3.7

func (d *DateRange) code(c *coder) {
	c.str("from", &d.From) // GUESS-R 4.8
	c.str("to", &d.To)     // GUESS-R 4.8
}

func (m *MsgID) code(c *coder) { uintAttr(c, "id", &m.ID) } // GUESS-R 4.8

func (q *TextQuery) code(c *coder) {
	c.bool("matchcase", &q.MatchCase, true) // GUESS-R 4.8
	c.bool("exact", &q.Exact, true)         // GUESS-R 4.8
	c.text(&q.Words, inText)
}

// Inv is, in the command, the last invitation the client has seen; in the reply, an invitation.
type Inv struct {
	ID        uint64
	Domain    string
	CreatedOn string
	Chans     []ChanIB
}

func (i *Inv) code(c *coder) {
	uintAttr(c, "inviteId", &i.ID)              // E 3.10
	c.str("domain", &i.Domain)                  // E 3.10
	c.str("createdon", &i.CreatedOn)            // X 3.10
	many(c, "chanib", &i.Chans, (*ChanIB).code) // X 3.10
}

// Pref is an opaque preference of a client.
type Pref struct {
	Label         string
	Seq           string
	CreateDefault string // "true", "false" or not said
	Content       string // base64
}

func (p *Pref) code(c *coder) {
	c.str("label", &p.Label)                 // E 3.11
	c.str("seqid", &p.Seq)                   // E 3.11
	c.str("createdefault", &p.CreateDefault) // E 3.11
	c.str("content", &p.Content)             // E 3.11
}

// FTDB asks for a file transfer token.
type FTDB struct{ ChannelURI, FileURL string }

func (f *FTDB) code(c *coder) {
	c.str("channelUri", &f.ChannelURI) // E 3.13
	c.str("fileUrl", &f.FileURL)       // E 3.13
}

// Token is a file transfer token.
type Token struct{ Token, ServerURI string }

func (t *Token) code(c *coder) {
	c.str("token", &t.Token)         // E 3.13
	c.str("serveruri", &t.ServerURI) // E 3.13
}

// Post is a message: a grpchat item, or a msg record of a history.
type Post struct {
	ChanURI string
	Author  string
	Display string
	Alert   bool
	ChatID  uint64
	TS      string // ISO 8601 UTC; see FormatTime
	Text    string // LF line ends, whatever was received
	RTF     string
}

func (p *Post) code(c *coder) {
	c.str("chanUri", &p.ChanURI)     // E 3.8
	c.str("author", &p.Author)       // E 3.8
	c.str("authdisp", &p.Display)    // GUESS-R 3.8
	c.bool("alert", &p.Alert, false) // GUESS-R 3.8
	uintAttr(c, "chatId", &p.ChatID) // GUESS-R 3.8
	c.str("ts", &p.TS)               // E 3.8
	kind := inChat
	if c.client {
		kind = inChatRef
	}
	chat := c.leaf("chat", &p.Text, kind, true) // E 3.8
	c.leaf("rtf", &p.RTF, inText, false)        // GUESS-R 3.8
	if c.t == nil {
		return
	}
	if strings.IndexByte(p.Text, '\r') >= 0 {
		p.Text = strings.ReplaceAll(strings.ReplaceAll(p.Text, "\r\n", "\n"), "\r", "\n")
	}
	switch {
	case p.ChanURI == "":
		c.fail(xmltree.Malformed("post without chanUri"))
	case p.Author == "":
		c.fail(xmltree.Malformed("post without author"))
	case p.TS == "": // the product refuses such a post too, digest 3.8
		c.fail(xmltree.Malformed("post without ts"))
	case !chat:
		c.fail(xmltree.Malformed("post without chat"))
	}
}

// codeRecord visits a post inside a history reply.
func (p *Post) codeRecord(c *coder) {
	id := "grpchat"
	c.str("id", &id) // E 3.7
	p.code(c)
}
