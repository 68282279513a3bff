package chat

import (
	"iter"

	"github.com/tidwall/btree"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/directory"
	"parley/projections/chat/feeds"
	"parley/projections/chat/form"
	"parley/projections/chat/holds"
	"parley/projections/chat/invites"
	"parley/projections/chat/keys"
	"parley/projections/chat/memory"
	"parley/projections/chat/messages"
	"parley/projections/chat/policy"
	"parley/projections/chat/registry"
	"parley/projections/chat/table"
)

// User is an account.
type User = directory.User

// Category is a category with its fields.
type Category struct {
	ID       event.CategoryID
	Info     event.CategoryInfo
	Revision event.Offset
}

// Room is a room with its fields; roles are asked for with State.Role and State.Access.
type Room struct {
	ID           event.RoomID
	access       accessList // derived; in the first lines of memory, with the ID
	Info         event.RoomInfo
	LastMessage  uint64 // id of the newest message, 0: none
	Participants int    // users (not endpoints) with a session
	Quiet        bool   // over the participant update limit: no rosters, no join and part notices
	CreatedBy    event.Principal
	CreatedAt    event.Time
	UpdatedBy    event.Principal
	UpdatedAt    event.Time
	Revision     event.Offset // of the last change of fields or roles
}

// Session is a principal's presence in a room on one endpoint, served by one node.
type Session struct {
	Room        event.RoomID
	User        event.Principal
	Endpoint    event.Endpoint
	Node        event.NodeID
	Incarnation event.Incarnation
	Since       event.Offset
}

// Rights is what a principal may do in a room.
type Rights struct {
	See, Join, Post, ReadHistory, Manage bool
	Member, Manager, Presenter           bool // effective roles
}

// Participant is a user in a room, as the roster shows him.
type Participant struct {
	User    event.Principal
	Manager bool
	// Presenter is set in auditoriums only.
	Presenter bool
}

// PublishedSetting is a presence publication that the pool keeps for a user.
type PublishedSetting struct {
	event.Setting
	User        event.Principal
	PublishedAt event.Time
}

// Node is a server process of the pool, as the log knows it.
type Node struct {
	ID          event.NodeID
	Incarnation event.Incarnation // the newest
	Alive       bool              // started and not lost since
	Version     string
	Since       event.Offset // of the event that made it alive or lost
}

// Feed is a compliance stream: who owns it, what is cut and what is proven durable.
type Feed = feeds.Feed

// Limits of the rules (docs/rules.md, Limits, says which are the product's). Those that a configuration sets are in
// policy.DefaultConfiguration.
const (
	MaxHistory          = 500 // messages in one answer
	MaxNameBytes        = form.MaxNameBytes
	MaxNameCharacters   = form.MaxNameCharacters
	MaxDescriptionBytes = form.MaxDescriptionBytes
	MaxRTFBytes         = messages.MaxRTFBytes
	MaxPrincipalBytes   = form.MaxPrincipalBytes
	MaxPrincipals       = form.MaxPrincipals
	MaxJoinRooms        = 1000 // in one join or part
	MaxSettings         = 1000 // of one user
	MaxSettingBytes     = 16 << 10
)

// State is what the rules know at an offset. It is a persistent value: Clone is O(1) and the two share what
// neither changes. One goroutine owns a State and folds; clones that it hands out may be read by many, or be
// owned by one new folder.
type State struct {
	head head

	dir        *directory.Directory // accounts, groups and units
	categories table.Keyed[event.CategoryID, category]
	rooms      table.Keyed[event.RoomID, Room]
	tallies    table.Keyed[event.RoomID, tally]
	grants     table.Tupled[grant]
	sessions   table.Tupled[Session]
	settings   table.Tupled[PublishedSetting]
	nodes      table.Keyed[event.NodeID, Node]
	feeds      feeds.Feeds
	keys       keys.Keys         // rotations of the key that signs checkpoints
	memory     memory.Memory     // of commands that took effect
	book       policy.Book       // policies and configurations
	reg        registry.Registry // add-ins, administrators, addresses, active nodes, site
	box        invites.Box
	holds      holds.Holds // legal holds, and what is known of messages for them

	// Derived from the tables above by reindex: neither saved nor hashed.
	roomNames     *btree.Map[string, event.RoomID]
	categoryNames *btree.Map[string, event.CategoryID]
	grantsOf      table.Index[grant]   // by principal
	sessionsOf    table.Index[Session] // by user
	sessionsOn    table.Index[Session] // by node
}

// head is where the state stands and what belongs to the pool as a whole.
type head struct {
	offset  event.Offset
	at      event.Time
	chain   event.Chain
	index   event.Index
	formed  bool
	domain  string
	poolURI string
	waited  event.Offset // the last event that feeds are waited for
}

func (h *head) code(c *wire.Coder) {
	wire.Uint(c, 1, &h.offset)
	wire.Int(c, 2, &h.at)
	c.Fixed(3, h.chain[:])
	wire.Uint(c, 4, &h.index)
	c.Bool(5, &h.formed)
	wire.Str(c, 6, &h.domain)
	wire.Str(c, 7, &h.poolURI)
	wire.Uint(c, 8, &h.waited)
}

// NewState returns the state before the first event.
func NewState() *State {
	return &State{
		dir:        directory.New(rowUser, rowGroup, rowUnit, rowMember),
		categories: table.NewKeyed(rowCategory, 0, func(g *category) event.CategoryID { return g.ID }, (*category).code).Hashed(),
		rooms:      table.NewKeyed(rowRoom, 0, func(r *Room) event.RoomID { return r.ID }, (*Room).code).Hashed(),
		tallies:    table.NewKeyed(rowTally, 0, func(t *tally) event.RoomID { return t.room }, (*tally).code),
		grants:     table.NewTupled(rowGrant, (*grant).hint, grantsByRoom, (*grant).parts, (*grant).code),
		sessions:   table.NewTupled(rowSession, (*Session).hint, sessionsByRoom, (*Session).parts, (*Session).code),
		settings: table.NewTupled(rowSetting, (*PublishedSetting).hint, settingsByUser, (*PublishedSetting).parts,
			(*PublishedSetting).code),
		nodes:  table.NewKeyed(rowNode, 0, func(n *Node) event.NodeID { return n.ID }, (*Node).code),
		feeds:  feeds.New(rowFeed, rowClock),
		keys:   keys.New(rowKey),
		memory: memory.New(rowSeen, MaxRemembered),

		book: policy.NewBook(policyRows),
		reg:  registry.New(registryRows),
		box:  invites.NewBox(rowInvitation, rowInbox),

		holds: holds.New(holdRows),

		roomNames:     btree.NewMap[string, event.RoomID](0),
		categoryNames: btree.NewMap[string, event.CategoryID](0),
		grantsOf:      table.NewIndex((*grant).userHint, grantsByPrincipal),
		sessionsOf:    table.NewIndex((*Session).userHint, sessionsByUser),
		sessionsOn:    table.NewIndex((*Session).nodeHint, sessionsByNode),
	}
}

// NewStateToRead returns the state before the first event for somebody who folds only to look: it does not remember the
// commands that took effect, which may be 600 MiB, so Decide would take a retry for something new.
func NewStateToRead() *State {
	s := NewState()
	s.Forget()
	return s
}

// Clone returns an independent copy in O(1). Only the goroutine that folds s may call it.
func (s *State) Clone() *State {
	c := *s
	c.dir = s.dir.Copy()
	c.categories = s.categories.Copy()
	c.rooms = s.rooms.Copy()
	c.tallies = s.tallies.Copy()
	c.grants = s.grants.Copy()
	c.sessions = s.sessions.Copy()
	c.settings = s.settings.Copy()
	c.nodes = s.nodes.Copy()
	c.feeds, c.keys = s.feeds.Copy(), s.keys.Copy()
	c.memory = s.memory.Copy()
	c.book, c.reg, c.box = s.book.Copy(), s.reg.Copy(), s.box.Copy()
	c.holds = s.holds.Copy()
	c.roomNames = s.roomNames.Copy()
	c.categoryNames = s.categoryNames.Copy()
	c.grantsOf = s.grantsOf.Copy()
	c.sessionsOf = s.sessionsOf.Copy()
	c.sessionsOn = s.sessionsOn.Copy()
	return &c
}

// Offset returns the offset of the last event folded, 0 before the first.
func (s *State) Offset() event.Offset { return s.head.offset }

// Chain returns the chain value after the last event folded.
func (s *State) Chain() event.Chain { return s.head.chain }

// At returns the time of the last event folded.
func (s *State) At() event.Time { return s.head.at }

// Index returns the Raft index of the entry that carried the last event folded.
func (s *State) Index() event.Index { return s.head.index }

// Formed reports whether the pool exists.
func (s *State) Formed() bool { return s.head.formed }

// Domain returns the SIP domain of the pool, the authority of its room URIs.
func (s *State) Domain() string { return s.head.domain }

// PoolURI returns the contact object of the pool, with "sip:".
func (s *State) PoolURI() string { return s.head.poolURI }

// User returns an account.
func (s *State) User(p event.Principal) (User, bool) {
	if u := s.dir.User(p); u != nil {
		return *u, true
	}
	return User{}, false
}

// Users returns all accounts, by URI.
func (s *State) Users() iter.Seq[User] { return s.dir.Users() }

// Directory returns the accounts, groups and units, for questions only: whoever folds into it folds into the state.
func (s *State) Directory() *directory.Directory { return s.dir }

// Node returns a node that has started at least once.
func (s *State) Node(id event.NodeID) (Node, bool) { return s.nodes.Value(id) }

// Nodes returns all nodes that ever started, by name.
func (s *State) Nodes() iter.Seq[Node] { return s.nodes.All() }

// Feed returns a compliance feed.
func (s *State) Feed(name string) (Feed, bool) { return s.feeds.Feed(name) }

// Feeds returns all feeds, by name.
func (s *State) Feeds() iter.Seq[Feed] { return s.feeds.All() }

// SigningKeys returns the rotations of the key that signs checkpoints, for questions only: whoever folds into it folds into
// the state.
func (s *State) SigningKeys() *keys.Keys { return &s.keys }

// Settings returns what a user has published, by category and instance.
func (s *State) Settings(user event.Principal) iter.Seq[PublishedSetting] {
	return func(yield func(PublishedSetting) bool) {
		s.settings.From(&PublishedSetting{User: user}, func(p *PublishedSetting) bool {
			return p.User == user && yield(*p)
		})
	}
}
