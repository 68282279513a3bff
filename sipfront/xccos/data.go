package xccos

import (
	"slices"
	"strings"

	"parley/log/event"
	"parley/sipfront/xccos/xmlcode"
)

// This file, query.go and record.go are the one table of elements and attributes, each with the source of its name.

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
	Categories  []NodeIB
	AddIns      []AddIn
}

func (d *Data) code(c *xmlcode.Coder) {
	xmlcode.Many(c, "uib", sipeURI, &d.Users, (*UIB).code)
	xmlcode.Many(c, "chanid", sipeChanID, &d.Rooms, (*ChanID).code)
	xmlcode.Many(c, "chanib", sipeJoin, &d.Chans, (*ChanIB).code)
	xmlcode.Many(c, "fib", interceptor, &d.Failed, (*FIB).code)
	xmlcode.One(c, "sib", sipeNotes, &d.Server, (*SIB).code)
	xmlcode.One(c, "association", recalled, &d.Association, (*Association).code)
	xmlcode.One(c, "qib", sipeQuery, &d.Search, (*QIB).code)
	xmlcode.One(c, "bcq", sipeJoin, &d.Context, (*BCQ).code)
	xmlcode.Many(c, "inv", sipeInvite, &d.Invites, (*Inv).code)
	xmlcode.One(c, "pref", sipeNotes, &d.Pref, (*Pref).code)
	xmlcode.One(c, "ftdb", capture, &d.File, (*FTDB).code)
	xmlcode.One(c, "token", capture, &d.Token, (*Token).code)
	xmlcode.Many(c, "nodeib", recalled, &d.Categories, (*NodeIB).code, "catib")
	xmlcode.Many(c, "siop", ours, &d.AddIns, (*AddIn).code)
	if c.Reading() && c.Item == CmdGetAssociations && d.Association == nil {
		d.Association = new(Association)
		d.Association.code(c)
	}
}

// UIB is a block about a user or another principal. ID is the number by which the reply's AIBs refer to it.
type UIB struct {
	ID             string
	URI            string
	GUID           string
	Type           string // 5: user, 8: domain, 9: group, 10: organisational unit
	Name           string
	Display        string
	Disabled       string // "true", "false" or not said
	Email, Company string
	Rooms          []AIB // in ntc:join, ntc:bjoin and ntc:permmodify
}

func (u *UIB) code(c *xmlcode.Coder) {
	c.Str("id", sipeJoin, &u.ID)
	c.Str("uri", sipeJoin, &u.URI)
	c.Str("guid", recalled, &u.GUID)
	c.Str("type", recalled, &u.Type)
	c.Str("uname", recalled, &u.Name)
	c.Str("dispname", recalled, &u.Display)
	c.Str("disabled", recalled, &u.Disabled)
	c.Str("email", recalled, &u.Email)
	c.Str("company", recalled, &u.Company)
	xmlcode.Many(c, "aib", sipeNotice, &u.Rooms, (*AIB).code)
}

// AIB associates a permission mask with users of a reply (Value: their ids, comma separated), or with a room in a
// notice (Value: its GUID).
type AIB struct {
	Key    string // mask, decimal
	Domain string
	Value  string
}

func (a *AIB) code(c *xmlcode.Coder) {
	c.Str("key", sipeJoin, &a.Key)
	c.Str("domain", sipeNotice, &a.Domain)
	c.Str("value", sipeJoin, &a.Value)
}

// ChanID names a room by domain and GUID.
type ChanID struct {
	Key    string // index in the list, from 0
	Domain string
	Value  string // GUID, as received
}

func (r *ChanID) code(c *xmlcode.Coder) {
	c.Str("key", sipeChanID, &r.Key)
	c.Str("domain", sipeChanID, &r.Domain)
	c.Str("value", sipeChanID, &r.Value)
}

// Room returns the GUID in the canonical lower case.
func (r *ChanID) Room() event.RoomID { return event.RoomID(strings.ToLower(r.Value)) }

// FIB is a room of a batch that could not be joined. Key is FailedKey.
type FIB struct {
	Key    string
	Value  string // GUID
	Domain string
}

// FailedKey is the one key of a FIB that was ever seen (SfBServerEnforcer CSIPParser.cs).
const FailedKey = "OPERATION_FAILED"

func (f *FIB) code(c *xmlcode.Coder) {
	c.Str("key", interceptor, &f.Key)
	c.Str("value", interceptor, &f.Value)
	c.Str("domain", interceptor, &f.Domain)
}

// ChanIB is a room information block. Commands about a room that exists fill in URI; cmd:chancreate what the room is
// to be; cmd:chanmodify URI and what is to change.
type ChanIB struct {
	URI                 string
	Name                string
	Description         string
	Topic               string // first generation only
	Parent              string // category URI
	Behavior            string // BehaviorNormal, BehaviorAuditorium
	Disabled            string // "true", "false" or not said
	FileStore           string
	AddIn               string // GUID
	AddInName, AddInURL string
	Permissions         string // the caller's mask in this room, decimal; in rpl:getnode
	Revision            uint64 // raised with every change; in cmd:chanmodify the one that the change is made to, 0: any
	Total               uint64 // messages that match a history query, Posts being some of them
	Exceeded            bool   // Posts ends at the server's limit
	// ClearDescription and ClearAddIn say that cmd:chanmodify empties the field, which absence does not.
	ClearDescription, ClearAddIn bool
	Access                       []AIB
	Users                        []UIB // who left (ntc:part), was put out (ntc:kick), or is there (rpl:getusers)
	Audit                        *Audit
	Posts                        []Post // history
	Info                         []Prop
	Props                        []Prop
	Roles                        []Role
	Removed                      []MsgID // in ntc:msgdelete
	Replacement                  string  // in ntc:msgdelete: the text that stands in their place now; empty: none does
}

func (r *ChanIB) code(c *xmlcode.Coder) {
	switch c.Item {
	case rplChanSrch: // the one reply that puts the URI last and never leaves the description out
		c.Full("name", sipeSearch, &r.Name)
		c.Full("description", sipeSearch, &r.Description)
		c.Str("uri", sipeSearch, &r.URI)
	case rplGetInv, rplChanCreate: // SfBServerEnforcer CSIPParser.cs fails on the latter without a description
		c.Str("uri", sipeJoin, &r.URI)
		c.Str("name", sipeJoin, &r.Name)
		c.Full("description", sipeSearch, &r.Description)
	default:
		c.Str("uri", sipeJoin, &r.URI)
		c.Str("name", sipeJoin, &r.Name)
		clearable(c, "description", sipeSearch, &r.Description, &r.ClearDescription)
	}
	c.Str("topic", sipeJoin, &r.Topic)
	c.Str("parent", recalled, &r.Parent)
	c.Str("behavior", recalled, &r.Behavior)
	c.Str("disabled", recalled, &r.Disabled)
	clearable(c, "siopid", recalled, &r.AddIn, &r.ClearAddIn)
	c.Str("siopname", recalled, &r.AddInName)
	c.Str("siopurl", recalled, &r.AddInURL)
	c.Str("filestoreuri", recalled, &r.FileStore)
	c.Str("permissions", ours, &r.Permissions)
	xmlcode.Uint(c, "revision", ours, &r.Revision)
	xmlcode.Uint(c, "total", ours, &r.Total)
	c.Bool("exceeded", ours, &r.Exceeded, false)
	xmlcode.Many(c, "aib", sipeJoin, &r.Access, (*AIB).code)
	xmlcode.Many(c, "uib", sipeParted, &r.Users, (*UIB).code)
	xmlcode.One(c, "audit", recalled, &r.Audit, (*Audit).code)
	xmlcode.Many(c, "msg", sipeHistory, &r.Posts, (*Post).codeRecord)
	xmlcode.Many(c, "info", sipeSearch, &r.Info, (*Prop).code)
	xmlcode.Many(c, "prop", sipeSearch, &r.Props, (*Prop).code)
	xmlcode.Many(c, "role", ours, &r.Roles, (*Role).code)
	xmlcode.Many(c, "msgid", recalled, &r.Removed, (*MsgID).code)
	c.Leaf("chat", ours, &r.Replacement, xmlcode.InChat, false)
}

// clearable visits an attribute that cmd:chanmodify empties by saying it empty.
func clearable(c *xmlcode.Coder, name string, src xmlcode.Source, p *string, clear *bool) {
	if c.Item == CmdChanModify && c.Reading() {
		*clear = c.Full(name, src, p) && *p == ""
	} else if *clear {
		c.Full(name, src, p)
	} else {
		c.Str(name, src, p)
	}
}

// Get returns the value of an info or prop element of the room, "" if it has none. Ids are compared without case, and
// the visibility is found under both of its spellings.
func (r *ChanIB) Get(id string) string {
	for _, list := range [...][]Prop{r.Info, r.Props} {
		for i := range list {
			if strings.EqualFold(list[i].ID, id) || id == InfoVisibility && strings.EqualFold(list[i].ID, InfoVisibilityMiss) {
				return list[i].Value
			}
		}
	}
	return ""
}

// Audit says who made and last changed a room, and when (UTC, as FormatTime writes).
type Audit struct{ CreatedBy, CreatedOn, UpdatedBy, UpdatedOn string }

func (a *Audit) code(c *xmlcode.Coder) {
	c.Str("createdby", recalled, &a.CreatedBy)
	c.Str("createdon", recalled, &a.CreatedOn)
	c.Str("updatedby", recalled, &a.UpdatedBy)
	c.Str("updatedon", recalled, &a.UpdatedOn)
}

// Prop is an info or prop element of a room or category: an id from the constants below and a value.
type Prop struct{ ID, Value string }

func (p *Prop) code(c *xmlcode.Coder) {
	c.Str("id", sipeSearch, &p.ID)
	c.Text(&p.Value, xmlcode.InText)
}

// The ids of info and prop elements, and the words for visibility and behaviour. Known from pidgin-sipe
// sipe-groupchat.c, chatserver_response_channel_search, unless recalled.
const (
	InfoUsers          = "urn:parlano:ma:info:ucnt"       // number of users joined
	InfoVisibility     = "urn:parlano:ma:info:visibility" // recalled
	InfoVisibilityMiss = "urn:parlano:ma:info:visibilty"  // misspelt in the open client, so send both
	PropFilePost       = "urn:parlano:ma:prop:filepost"   // "True" or "False"
	PropInvite         = "urn:parlano:ma:prop:invite"
	PropLogged         = "urn:parlano:ma:prop:logged"

	VisibilityOpen    = "OPEN"    // recalled
	VisibilityScoped  = "SCOPED"  // recalled: closed
	VisibilityPrivate = "PRIVATE" // secret

	BehaviorNormal     = "NORMAL"     // recalled
	BehaviorAuditorium = "AUDITORIUM" // recalled
)

// Role lists principals that have a role in a room or category, or that are to get or lose it.
type Role struct {
	Type  string // RoleMember, RoleManager, RolePresenter or RoleCreator
	Op    string // RoleAdd, RoleRemove or RoleSet in commands
	Users []UIB  // URI is what counts in commands
}

// Roles, and what a command does with a list of them.
const (
	RoleMember    = "MEMBER"    // recalled
	RoleManager   = "MANAGER"   // recalled
	RolePresenter = "PRESENTER" // ours; the content database says VOICED, which is accepted
	RoleCreator   = "CREATOR"   // ours, of a category

	RoleAdd    = "ADD"    // ours; also when nothing is said
	RoleRemove = "REMOVE" // ours
	RoleSet    = "SET"    // ours: these and no others
)

func (r *Role) code(c *xmlcode.Coder) {
	c.Str("type", ours, &r.Type)
	c.Str("op", ours, &r.Op)
	xmlcode.Many(c, "uib", sipeParted, &r.Users, (*UIB).code)
	if c.Reading() {
		r.Op = strings.ToUpper(r.Op)
		if r.Type = strings.ToUpper(r.Type); r.Type == "VOICED" {
			r.Type = RolePresenter
		}
	}
}

func (r *Role) known() bool {
	return slices.Contains([]string{RoleMember, RoleManager, RolePresenter, RoleCreator}, r.Type) &&
		slices.Contains([]string{"", RoleAdd, RoleRemove, RoleSet}, r.Op) &&
		(r.Users == nil || all(r.Users, func(u *UIB) bool { return u.URI != "" }))
}

// NodeIB is a category.
type NodeIB struct {
	URI         string
	Name        string
	Description string
	Props       []Prop // PropInvite, PropFilePost, PropLogged
	Roles       []Role
}

func (n *NodeIB) code(c *xmlcode.Coder) {
	c.Str("uri", recalled, &n.URI)
	c.Str("name", recalled, &n.Name)
	c.Str("description", recalled, &n.Description)
	xmlcode.Many(c, "prop", ours, &n.Props, (*Prop).code)
	xmlcode.Many(c, "role", ours, &n.Roles, (*Role).code)
}

// AddIn is a registered add-in.
type AddIn struct{ ID, Name, URL string }

func (a *AddIn) code(c *xmlcode.Coder) {
	c.Str("siopid", recalled, &a.ID)
	c.Str("siopname", recalled, &a.Name)
	c.Str("siopurl", recalled, &a.URL)
}
