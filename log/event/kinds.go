package event

import (
	"fmt"

	"parley/log/wire"
)

// Kind is the number of a kind of event. Numbers are written to disk: they are never reused and never change.
type Kind uint16

// The kinds. The gaps are room for relatives.
const (
	KindPoolFormed  Kind = 1
	KindNodeStarted Kind = 2
	KindNodeLost    Kind = 3

	KindJoined      Kind = 10
	KindParted      Kind = 11
	KindPosted      Kind = 12
	KindHistoryRead Kind = 13

	KindMessageSearched Kind = 14
	KindMessagesRemoved Kind = 15
	KindInvited         Kind = 18
	KindInvitationsRead Kind = 19

	KindCategoryCreated Kind = 20
	KindCategoryChanged Kind = 21
	KindCategoryRemoved Kind = 22
	KindRoomCreated     Kind = 23
	KindRoomChanged     Kind = 24
	KindRoomRemoved     Kind = 25
	KindAddInCreated    Kind = 26
	KindAddInChanged    Kind = 27
	KindAddInRemoved    Kind = 28

	KindUserCreated Kind = 30
	KindUserChanged Kind = 31
	KindUserRemoved Kind = 32

	KindGroupCreated Kind = 33
	KindGroupChanged Kind = 34
	KindGroupRemoved Kind = 35
	KindUnitCreated  Kind = 36
	KindUnitChanged  Kind = 37
	KindUnitRemoved  Kind = 38

	KindSettingPublished Kind = 40
	KindSettingRemoved   Kind = 41

	KindAdminRead       Kind = 42
	KindTokenIssued     Kind = 43
	KindTokenRevoked    Kind = 44
	KindMessageImported Kind = 45

	KindFeedClaimed Kind = 50
	KindFeedCut     Kind = 51
	KindFeedReceipt Kind = 52
	KindFeedSet     Kind = 53
	KindFeedRemoved Kind = 54
	KindFeedPaused  Kind = 55
	KindFeedResumed Kind = 56

	KindPolicySet            Kind = 60
	KindPolicyRemoved        Kind = 61
	KindPolicyGranted        Kind = 62
	KindConfigurationSet     Kind = 63
	KindConfigurationRemoved Kind = 64
	KindComplianceSet        Kind = 65
	KindComplianceRemoved    Kind = 66
	KindAdminChanged         Kind = 67
	KindEndpointSet          Kind = 68
	KindEndpointRemoved      Kind = 69
	KindActiveServersSet     Kind = 70
	KindPoolPlaced           Kind = 71

	KindHoldSet           Kind = 72
	KindHoldReleased      Kind = 73
	KindMessagesPurged    Kind = 74
	KindSigningKeyRotated Kind = 84
)

// kinds is the one table from number to name and type.
var kinds = map[Kind]struct {
	name string
	make func() Event
}{
	KindPoolFormed:           {"pool_formed", func() Event { return new(PoolFormed) }},
	KindNodeStarted:          {"node_started", func() Event { return new(NodeStarted) }},
	KindNodeLost:             {"node_lost", func() Event { return new(NodeLost) }},
	KindJoined:               {"joined", func() Event { return new(Joined) }},
	KindParted:               {"parted", func() Event { return new(Parted) }},
	KindPosted:               {"posted", func() Event { return new(Posted) }},
	KindHistoryRead:          {"history_read", func() Event { return new(HistoryRead) }},
	KindCategoryCreated:      {"category_created", func() Event { return new(CategoryCreated) }},
	KindCategoryChanged:      {"category_changed", func() Event { return new(CategoryChanged) }},
	KindCategoryRemoved:      {"category_removed", func() Event { return new(CategoryRemoved) }},
	KindRoomCreated:          {"room_created", func() Event { return new(RoomCreated) }},
	KindRoomChanged:          {"room_changed", func() Event { return new(RoomChanged) }},
	KindRoomRemoved:          {"room_removed", func() Event { return new(RoomRemoved) }},
	KindUserCreated:          {"user_created", func() Event { return new(UserCreated) }},
	KindUserChanged:          {"user_changed", func() Event { return new(UserChanged) }},
	KindUserRemoved:          {"user_removed", func() Event { return new(UserRemoved) }},
	KindGroupCreated:         {"group_created", func() Event { return new(GroupCreated) }},
	KindGroupChanged:         {"group_changed", func() Event { return new(GroupChanged) }},
	KindGroupRemoved:         {"group_removed", func() Event { return new(GroupRemoved) }},
	KindUnitCreated:          {"unit_created", func() Event { return new(UnitCreated) }},
	KindUnitChanged:          {"unit_changed", func() Event { return new(UnitChanged) }},
	KindUnitRemoved:          {"unit_removed", func() Event { return new(UnitRemoved) }},
	KindSettingPublished:     {"setting_published", func() Event { return new(SettingPublished) }},
	KindSettingRemoved:       {"setting_removed", func() Event { return new(SettingRemoved) }},
	KindFeedClaimed:          {"feed_claimed", func() Event { return new(FeedClaimed) }},
	KindFeedCut:              {"feed_cut", func() Event { return new(FeedCut) }},
	KindFeedReceipt:          {"feed_receipt", func() Event { return new(FeedReceipt) }},
	KindFeedSet:              {"feed_set", func() Event { return new(FeedSet) }},
	KindFeedRemoved:          {"feed_removed", func() Event { return new(FeedRemoved) }},
	KindFeedPaused:           {"feed_paused", func() Event { return new(FeedPaused) }},
	KindFeedResumed:          {"feed_resumed", func() Event { return new(FeedResumed) }},
	KindMessageSearched:      {"message_searched", func() Event { return new(MessageSearched) }},
	KindMessagesRemoved:      {"messages_removed", func() Event { return new(MessagesRemoved) }},
	KindInvited:              {"invited", func() Event { return new(Invited) }},
	KindInvitationsRead:      {"invitations_read", func() Event { return new(InvitationsRead) }},
	KindAddInCreated:         {"add_in_created", func() Event { return new(AddInCreated) }},
	KindAddInChanged:         {"add_in_changed", func() Event { return new(AddInChanged) }},
	KindAddInRemoved:         {"add_in_removed", func() Event { return new(AddInRemoved) }},
	KindPolicySet:            {"policy_set", func() Event { return new(PolicySet) }},
	KindPolicyRemoved:        {"policy_removed", func() Event { return new(PolicyRemoved) }},
	KindPolicyGranted:        {"policy_granted", func() Event { return new(PolicyGranted) }},
	KindConfigurationSet:     {"configuration_set", func() Event { return new(ConfigurationSet) }},
	KindConfigurationRemoved: {"configuration_removed", func() Event { return new(ConfigurationRemoved) }},
	KindComplianceSet:        {"compliance_set", func() Event { return new(ComplianceSet) }},
	KindComplianceRemoved:    {"compliance_removed", func() Event { return new(ComplianceRemoved) }},
	KindAdminChanged:         {"admin_changed", func() Event { return new(AdminChanged) }},
	KindEndpointSet:          {"endpoint_set", func() Event { return new(EndpointSet) }},
	KindEndpointRemoved:      {"endpoint_removed", func() Event { return new(EndpointRemoved) }},
	KindActiveServersSet:     {"active_servers_set", func() Event { return new(ActiveServersSet) }},
	KindPoolPlaced:           {"pool_placed", func() Event { return new(PoolPlaced) }},
	KindHoldSet:              {"hold_set", func() Event { return new(HoldSet) }},
	KindHoldReleased:         {"hold_released", func() Event { return new(HoldReleased) }},
	KindMessagesPurged:       {"messages_purged", func() Event { return new(MessagesPurged) }},
	KindAdminRead:            {"admin_read", func() Event { return new(AdminRead) }},
	KindTokenIssued:          {"token_issued", func() Event { return new(TokenIssued) }},
	KindTokenRevoked:         {"token_revoked", func() Event { return new(TokenRevoked) }},
	KindMessageImported:      {"message_imported", func() Event { return new(MessageImported) }},
	KindSigningKeyRotated:    {"signing_key_rotated", func() Event { return new(SigningKeyRotated) }},
}

// String returns the name of the kind in lower snake case, as log dump prints it.
func (k Kind) String() string {
	if d, ok := kinds[k]; ok {
		return d.name
	}
	return fmt.Sprintf("kind_%d", uint16(k))
}

// New returns an empty event of a kind, nil if there is none of that number.
func New(k Kind) Event {
	if d, ok := kinds[k]; ok {
		return d.make()
	}
	return nil
}

// ParseKind returns the kind of a name as String prints it.
func ParseKind(name string) (Kind, bool) {
	for k, d := range kinds {
		if d.name == name {
			return k, true
		}
	}
	return 0, false
}

// PoolFormed is the first event of a pool.
type PoolFormed struct {
	Domain  string // SIP domain, the authority of room URIs
	PoolURI string // contact object of the pool, with "sip:"
}

// NodeStarted opens an incarnation of a node: sessions of its earlier incarnations have ended.
type NodeStarted struct {
	Incarnation Incarnation
	Version     string
}

// NodeLost ends all sessions of one incarnation of a node at once. Meta.Node names the node that was lost.
type NodeLost struct {
	Incarnation Incarnation
	Reason      string
}

// Joined opens a session: one per (user, endpoint, room) and node.
type Joined struct {
	Endpoint    Endpoint
	Incarnation Incarnation
}

// Parted ends a session.
type Parted struct {
	Endpoint    Endpoint
	Incarnation Incarnation
	Reason      PartReason
}

// PartReason says why a session ended.
type PartReason string

// The reasons.
const (
	PartAsked       PartReason = "part"     // cmd:part
	PartBye         PartReason = "bye"      // the dialog ended with BYE
	PartClosed      PartReason = "closed"   // the connection was closed or lost
	PartExpired     PartReason = "expired"  // the session timer or an unanswered INFO ended the dialog
	PartSlow        PartReason = "slow"     // the client did not read
	PartKicked      PartReason = "kicked"   // membership was revoked
	PartDisabled    PartReason = "disabled" // the room was disabled or removed
	PartNodeStopped PartReason = "node_stopped"
)

// Posted is a message in a room. Its text is the body.
type Posted struct {
	Endpoint  Endpoint
	MessageID uint64 // per room, from 1, dense
	Alert     bool   // high importance
	Unlogged  bool   // chat history is off: delivered and archived, not kept for reading
	Text      string // body: plain text, LF line ends
	RTF       string // body: the same message as RTF, may be empty

	Story bool   `json:",omitempty"` // a long message that is shown by its title
	Title string `json:",omitempty"` // body: of a story
	Links []Link `json:",omitempty"` // body
}

// HistoryRead says that a principal asked for messages First..Last of a room (message ids; both 0: none).
type HistoryRead struct {
	Endpoint Endpoint
	Asked    uint64 // how many the client asked for
	First    uint64
	Last     uint64
}

// CategoryInfo are the settable fields of a category. Principals are SIP URIs, or "*" for everyone.
type CategoryInfo struct {
	Name        string
	Description string
	Allowed     []Principal
	Denied      []Principal
	Creators    []Principal
	Invitations bool
	FileUpload  bool
	ChatHistory bool

	RetentionDays uint64   `json:",omitempty"` // how long messages of its rooms are kept; 0: for ever
	ArchiveLag    int64    `json:",omitempty"` // nanoseconds that an archive may be behind before nobody may post; 0: it does not matter
	ArchiveFeeds  []string `json:",omitempty"` // feeds that count for it; empty: all that cover the room
}

// Code visits the fields.
func (i *CategoryInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.Name)
	wire.Str(c, 2, &i.Description)
	wire.Strs(c, 3, &i.Allowed)
	wire.Strs(c, 4, &i.Denied)
	wire.Strs(c, 5, &i.Creators)
	c.Bool(6, &i.Invitations)
	c.Bool(7, &i.FileUpload)
	c.Bool(8, &i.ChatHistory)
	wire.Uint(c, 9, &i.RetentionDays)
	wire.Int(c, 12, &i.ArchiveLag)
	wire.Strs(c, 13, &i.ArchiveFeeds)
}

// CategoryCreated makes a category.
type CategoryCreated struct {
	Category CategoryID
	Info     CategoryInfo
}

// CategoryChanged replaces the fields of a category.
type CategoryChanged struct {
	Category CategoryID
	Info     CategoryInfo
}

// CategoryRemoved removes an empty category.
type CategoryRemoved struct{ Category CategoryID }

// RoomType says who may post.
type RoomType string

// The types.
const (
	RoomNormal     RoomType = "normal"
	RoomAuditorium RoomType = "auditorium" // presenters post, all read
)

// Privacy says who sees and joins a room.
type Privacy string

// The levels; Closed is the default.
const (
	PrivacyOpen   Privacy = "open"
	PrivacyClosed Privacy = "closed"
	PrivacySecret Privacy = "secret"
)

// Invitations says whether new members get an invitation.
type Invitations string

// The settings; Inherit is the default.
const (
	InvitationsInherit Invitations = "inherit"
	InvitationsFalse   Invitations = "false"
)

// RoomInfo are the settable fields of a room, without its roles.
type RoomInfo struct {
	Name        string
	Description string
	Category    CategoryID
	Type        RoomType
	Privacy     Privacy
	Invitations Invitations
	AddIn       string
	Disabled    bool
}

// Code visits the fields.
func (i *RoomInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.Name)
	wire.Str(c, 2, &i.Description)
	wire.Str(c, 3, &i.Category)
	wire.Str(c, 4, &i.Type)
	wire.Str(c, 5, &i.Privacy)
	wire.Str(c, 6, &i.Invitations)
	wire.Str(c, 7, &i.AddIn)
	c.Bool(8, &i.Disabled)
}

// Role is a set of roles of a principal in a room.
type Role uint8

// The roles.
const (
	RoleMember Role = 1 << iota
	RoleManager
	RolePresenter
)

// Access gives a principal exactly these roles in a room; zero takes all away.
type Access struct {
	Principal Principal
	Role      Role
}

// Code visits the fields.
func (a *Access) Code(c *wire.Coder) {
	wire.Str(c, 1, &a.Principal)
	wire.Uint(c, 2, &a.Role)
}

// RoomCreated makes the room Meta.Room.
type RoomCreated struct {
	Info   RoomInfo
	Access []Access
}

// RoomChanged replaces the fields of the room Meta.Room and changes the roles of the principals it lists.
type RoomChanged struct {
	Info   RoomInfo
	Access []Access
}

// RoomRemoved removes the room Meta.Room. Its messages stay in the log.
type RoomRemoved struct{ Name string }

// UserInfo are the settable fields of an account.
type UserInfo struct {
	DisplayName string
	Email       string
	Enabled     bool // policy EnablePersistentChat

	// Later fields are left out of JSON when empty: goldens of the time before them must read as they did.
	Unit      UnitID `json:",omitempty"` // where the account lives; empty: at the top
	Name      string `json:",omitempty"` // relative name (cn) in its unit, unique there, for distinguished names; may be empty
	GivenName string `json:",omitempty"`
	Surname   string `json:",omitempty"`
	Company   string `json:",omitempty"`
}

// Code visits the fields.
func (i *UserInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.DisplayName)
	wire.Str(c, 2, &i.Email)
	c.Bool(3, &i.Enabled)
	wire.Str(c, 4, &i.Unit)
	wire.Str(c, 5, &i.Name)
	wire.Str(c, 6, &i.GivenName)
	wire.Str(c, 7, &i.Surname)
	wire.Str(c, 8, &i.Company)
}

// Secret is what the server keeps to check SIP Digest (RFC 8760 section 2.2): H(address:realm:password) for each
// algorithm, never the password. It is an erasable body.
type Secret struct {
	Realm     string
	HA1SHA256 []byte
	HA1MD5    []byte // empty where MD5 is switched off
}

// Code visits the fields.
func (s *Secret) Code(c *wire.Coder) {
	wire.Str(c, 1, &s.Realm)
	c.Bytes(2, &s.HA1SHA256)
	c.Bytes(3, &s.HA1MD5)
}

// UserCreated makes an account.
type UserCreated struct {
	User   Principal
	Info   UserInfo
	Secret Secret // body
}

// UserChanged replaces the fields of an account; an empty Secret leaves the old one.
type UserChanged struct {
	User   Principal
	Info   UserInfo
	Secret Secret // body
}

// UserRemoved removes an account.
type UserRemoved struct{ User Principal }

// Setting is a presence publication that the server keeps for its user, such as a followed room (category
// "roomSetting"). The content is opaque XML.
type Setting struct {
	Category   string
	Instance   uint64
	Container  uint64
	Version    uint64
	ExpireType string
	Content    string
}

// Code visits the fields.
func (s *Setting) Code(c *wire.Coder) {
	wire.Str(c, 1, &s.Category)
	wire.Uint(c, 2, &s.Instance)
	wire.Uint(c, 3, &s.Container)
	wire.Uint(c, 4, &s.Version)
	wire.Str(c, 5, &s.ExpireType)
	wire.Str(c, 6, &s.Content)
}

// SettingPublished stores or replaces a setting of Meta.By.
type SettingPublished struct{ Setting Setting }

// SettingRemoved removes a setting of Meta.By.
type SettingRemoved struct {
	Category string
	Instance uint64
}

// FeedClaimed makes Meta.Node the owner of a compliance feed under a new fencing epoch.
type FeedClaimed struct {
	Feed  string
	Epoch uint64
}

// FeedCut fixes the next range of a feed.
type FeedCut struct {
	Feed  string
	Epoch uint64
	First Offset
	Last  Offset
}

// FeedReceipt says that the range up to Last is durable in the target: the feed's commit.
type FeedReceipt struct {
	Feed   string
	Epoch  uint64
	First  Offset
	Last   Offset
	Name   string // of the file, empty when the range held nothing for this feed
	Bytes  uint64
	SHA256 []byte
}

func (*PoolFormed) Kind() Kind       { return KindPoolFormed }
func (*NodeStarted) Kind() Kind      { return KindNodeStarted }
func (*NodeLost) Kind() Kind         { return KindNodeLost }
func (*Joined) Kind() Kind           { return KindJoined }
func (*Parted) Kind() Kind           { return KindParted }
func (*Posted) Kind() Kind           { return KindPosted }
func (*HistoryRead) Kind() Kind      { return KindHistoryRead }
func (*CategoryCreated) Kind() Kind  { return KindCategoryCreated }
func (*CategoryChanged) Kind() Kind  { return KindCategoryChanged }
func (*CategoryRemoved) Kind() Kind  { return KindCategoryRemoved }
func (*RoomCreated) Kind() Kind      { return KindRoomCreated }
func (*RoomChanged) Kind() Kind      { return KindRoomChanged }
func (*RoomRemoved) Kind() Kind      { return KindRoomRemoved }
func (*UserCreated) Kind() Kind      { return KindUserCreated }
func (*UserChanged) Kind() Kind      { return KindUserChanged }
func (*UserRemoved) Kind() Kind      { return KindUserRemoved }
func (*SettingPublished) Kind() Kind { return KindSettingPublished }
func (*SettingRemoved) Kind() Kind   { return KindSettingRemoved }
func (*FeedClaimed) Kind() Kind      { return KindFeedClaimed }
func (*FeedCut) Kind() Kind          { return KindFeedCut }
func (*FeedReceipt) Kind() Kind      { return KindFeedReceipt }

func (e *PoolFormed) code(c *wire.Coder) { wire.Str(c, 1, &e.Domain); wire.Str(c, 2, &e.PoolURI) }
func (e *NodeStarted) code(c *wire.Coder) {
	wire.Uint(c, 1, &e.Incarnation)
	wire.Str(c, 2, &e.Version)
}
func (e *NodeLost) code(c *wire.Coder) {
	wire.Uint(c, 1, &e.Incarnation)
	wire.Str(c, 2, &e.Reason)
}
func (e *Joined) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Endpoint)
	wire.Uint(c, 2, &e.Incarnation)
}
func (e *Parted) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Endpoint)
	wire.Uint(c, 2, &e.Incarnation)
	wire.Str(c, 3, &e.Reason)
}
func (e *Posted) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Endpoint)
	wire.Uint(c, 2, &e.MessageID)
	c.Bool(3, &e.Alert)
	c.Bool(4, &e.Unlogged)
	c.Bool(5, &e.Story)
}
func (e *Posted) codeBody(c *wire.Coder) {
	wire.Str(c, 1, &e.Text)
	wire.Str(c, 2, &e.RTF)
	wire.Str(c, 3, &e.Title)
	wire.Subs(c, 4, &e.Links, (*Link).Code)
}
func (e *HistoryRead) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Endpoint)
	wire.Uint(c, 2, &e.Asked)
	wire.Uint(c, 3, &e.First)
	wire.Uint(c, 4, &e.Last)
}
func (e *CategoryCreated) code(c *wire.Coder) { wire.Str(c, 1, &e.Category); c.Sub(2, e.Info.Code) }
func (e *CategoryChanged) code(c *wire.Coder) { wire.Str(c, 1, &e.Category); c.Sub(2, e.Info.Code) }
func (e *CategoryRemoved) code(c *wire.Coder) { wire.Str(c, 1, &e.Category) }
func (e *RoomCreated) code(c *wire.Coder) {
	c.Sub(1, e.Info.Code)
	wire.Subs(c, 2, &e.Access, (*Access).Code)
}
func (e *RoomChanged) code(c *wire.Coder) {
	c.Sub(1, e.Info.Code)
	wire.Subs(c, 2, &e.Access, (*Access).Code)
}
func (e *RoomRemoved) code(c *wire.Coder)     { wire.Str(c, 1, &e.Name) }
func (e *UserCreated) code(c *wire.Coder)     { wire.Str(c, 1, &e.User); c.Sub(2, e.Info.Code) }
func (e *UserCreated) codeBody(c *wire.Coder) { e.Secret.Code(c) }
func (e *UserChanged) code(c *wire.Coder)     { wire.Str(c, 1, &e.User); c.Sub(2, e.Info.Code) }
func (e *UserChanged) codeBody(c *wire.Coder) { e.Secret.Code(c) }
func (e *UserRemoved) code(c *wire.Coder)     { wire.Str(c, 1, &e.User) }
func (e *SettingPublished) code(c *wire.Coder) {
	c.Sub(1, e.Setting.Code)
}
func (e *SettingRemoved) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Category)
	wire.Uint(c, 2, &e.Instance)
}
func (e *FeedClaimed) code(c *wire.Coder) { wire.Str(c, 1, &e.Feed); wire.Uint(c, 2, &e.Epoch) }
func (e *FeedCut) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Feed)
	wire.Uint(c, 2, &e.Epoch)
	wire.Uint(c, 3, &e.First)
	wire.Uint(c, 4, &e.Last)
}
func (e *FeedReceipt) code(c *wire.Coder) { e.Code(c) }

// Code visits the fields; a receipt also travels inside a command.
func (e *FeedReceipt) Code(c *wire.Coder) {
	wire.Str(c, 1, &e.Feed)
	wire.Uint(c, 2, &e.Epoch)
	wire.Uint(c, 3, &e.First)
	wire.Uint(c, 4, &e.Last)
	wire.Str(c, 5, &e.Name)
	wire.Uint(c, 6, &e.Bytes)
	c.Bytes(7, &e.SHA256)
}
