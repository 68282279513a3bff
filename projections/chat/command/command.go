package command

import (
	"fmt"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/roles"
)

// Command is a wish. Decide turns it into events or refuses it. A command travels between nodes as bytes, in the
// codec of the events, so any node can take it and the leader decides it.
type Command interface {
	Code(*wire.Coder)
	number() uint16
}

// Origin says whose wish it is and where it entered the pool.
type Origin struct {
	By          event.Principal
	Endpoint    event.Endpoint
	Node        event.NodeID
	Incarnation event.Incarnation
	ID          event.CommandID // identity for retries; zero: the command is idempotent by itself or never retried
	Trusted     bool            // the administrator or the pool itself: no room rights are asked for
	Roles       roles.Set       // with Trusted: what the administrator may do; 0: everything, as the pool itself
}

func (o *Origin) code(c *wire.Coder) {
	wire.Str(c, 1, &o.By)
	wire.Str(c, 2, &o.Endpoint)
	wire.Str(c, 3, &o.Node)
	wire.Uint(c, 4, &o.Incarnation)
	c.Fixed(5, o.ID[:])
	c.Bool(6, &o.Trusted)
	wire.Uint(c, 7, &o.Roles)
}

// Request is a command with its origin: what is queued, forwarded and decided.
type Request struct {
	Origin
	Command Command
}

// The commands.
type (
	// Join opens sessions of (By, Endpoint) in rooms. A single join that is refused fails the command; of several
	// (Batch) the refused ones are listed in Result.Refused and the others take effect.
	Join struct {
		Rooms []event.RoomID
		Batch bool
	}
	// Part ends the sessions of (By, Endpoint) on Origin.Node in these rooms.
	Part struct {
		Rooms  []event.RoomID
		Reason event.PartReason
	}
	// Post puts a message into a room. Line ends are LF. A story has a title and the limit of stories. Links are those
	// that Text holds, as the codec of the wire found them: files need a category that lets files in.
	Post struct {
		Room  event.RoomID
		Text  string
		RTF   string
		Alert bool
		Story bool
		Title string
		Links []event.Link
	}
	// ReadHistory asks for messages of a room: the last ones, how many the configuration says when Last is 0; or, with
	// UpTo, those from the id From on, at most Last and none above UpTo. Whoever asks by time finds the ids in the
	// history first. Result.First and Result.Last are the ids to show.
	ReadHistory struct {
		Room event.RoomID
		Last uint64
		From uint64
		UpTo uint64
	}
	// PublishSetting stores a presence publication of By. Setting.Version is the version the client last saw.
	PublishSetting struct{ Setting event.Setting }
	// RemoveSetting removes one.
	RemoveSetting struct {
		Category string
		Instance uint64
	}

	// FormPool is the first command of a pool.
	FormPool struct{ Domain, PoolURI string }
	// StartNode opens a new incarnation of Origin.Node.
	StartNode struct{ Version string }
	// LoseNode ends an incarnation of a node that does not answer.
	LoseNode struct {
		Node        event.NodeID
		Incarnation event.Incarnation
		Reason      string
	}

	// CreateCategory makes a category; an empty ID gets a new one.
	CreateCategory struct {
		ID   event.CategoryID
		Info event.CategoryInfo
	}
	// ChangeCategory replaces the fields of a category. Revision 0 skips the check for a concurrent change.
	ChangeCategory struct {
		ID       event.CategoryID
		Info     event.CategoryInfo
		Revision event.Offset
	}
	// RemoveCategory removes an empty category.
	RemoveCategory struct{ ID event.CategoryID }
	// CreateRoom makes a room; an empty ID gets a new one.
	CreateRoom struct {
		ID     event.RoomID
		Info   event.RoomInfo
		Access []event.Access
	}
	// ChangeRoom replaces the fields of a room and changes the roles of the principals listed.
	ChangeRoom struct {
		ID       event.RoomID
		Info     event.RoomInfo
		Access   []event.Access
		Revision event.Offset
	}
	// RemoveRoom removes a room.
	RemoveRoom struct {
		ID   event.RoomID
		Look Look
	}
	// CreateUser makes an account.
	CreateUser struct {
		User   event.Principal
		Info   event.UserInfo
		Secret event.Secret
	}
	// ChangeUser replaces the fields of an account; an empty secret leaves the old one. Revision 0 skips the check for a
	// concurrent change.
	ChangeUser struct {
		User     event.Principal
		Info     event.UserInfo
		Secret   event.Secret
		Revision event.Offset
	}
	// RemoveUser removes an account.
	RemoveUser struct{ User event.Principal }

	// ClaimFeed makes Origin.Node the owner of a feed: Result.Epoch is its fencing epoch.
	ClaimFeed struct{ Feed string }
	// CutFeed fixes the feed's next range. First must follow the last receipt, and an unfinished cut stands:
	// Result.First and Result.Last are the range to deliver.
	CutFeed struct {
		Feed  string
		Epoch uint64
		First event.Offset
		Last  event.Offset
	}
	// ReceiptFeed commits the range of the open cut.
	ReceiptFeed struct{ Receipt event.FeedReceipt }
)

// commands is the one table from number to command. Numbers go over the wire between nodes of different versions:
// they are never reused.
var commands = map[uint16]func() Command{
	1: func() Command { return new(Join) }, 2: func() Command { return new(Part) }, 3: func() Command { return new(Post) },
	4: func() Command { return new(ReadHistory) }, 5: func() Command { return new(PublishSetting) },
	6: func() Command { return new(RemoveSetting) }, 10: func() Command { return new(FormPool) },
	11: func() Command { return new(StartNode) }, 12: func() Command { return new(LoseNode) },
	20: func() Command { return new(CreateCategory) }, 21: func() Command { return new(ChangeCategory) },
	22: func() Command { return new(RemoveCategory) }, 23: func() Command { return new(CreateRoom) },
	24: func() Command { return new(ChangeRoom) }, 25: func() Command { return new(RemoveRoom) },
	30: func() Command { return new(CreateUser) }, 31: func() Command { return new(ChangeUser) },
	32: func() Command { return new(RemoveUser) }, 33: func() Command { return new(CreateGroup) },
	34: func() Command { return new(ChangeGroup) }, 35: func() Command { return new(RemoveGroup) },
	36: func() Command { return new(CreateUnit) }, 37: func() Command { return new(ChangeUnit) },
	38: func() Command { return new(RemoveUnit) }, 39: func() Command { return new(ImportDirectory) },
	7: func() Command { return new(ReadInvitations) }, 8: func() Command { return new(SearchMessages) },
	26: func() Command { return new(CreateAddIn) }, 27: func() Command { return new(ChangeAddIn) },
	28: func() Command { return new(RemoveAddIn) }, 40: func() Command { return new(RemoveMessages) },
	41: func() Command { return new(ClearRoom) }, 42: func() Command { return new(RecordRead) },
	43: func() Command { return new(IssueToken) }, 44: func() Command { return new(RevokeToken) },
	45: func() Command { return new(ImportMessages) }, 60: func() Command { return new(SetPolicy) },
	61: func() Command { return new(RemovePolicy) }, 62: func() Command { return new(GrantPolicy) },
	63: func() Command { return new(SetConfiguration) }, 64: func() Command { return new(RemoveConfiguration) },
	65: func() Command { return new(SetCompliance) }, 66: func() Command { return new(RemoveCompliance) },
	67: func() Command { return new(ChangeAdmin) }, 68: func() Command { return new(SetEndpoint) },
	69: func() Command { return new(RemoveEndpoint) }, 70: func() Command { return new(SetActiveServers) },
	71: func() Command { return new(PlacePool) }, 72: func() Command { return new(SetHold) },
	73: func() Command { return new(ReleaseHold) }, 74: func() Command { return new(PurgeMessages) },
	50: func() Command { return new(ClaimFeed) }, 53: func() Command { return new(SetFeed) }, 54: func() Command { return new(RemoveFeed) },
	55: func() Command { return new(PauseFeed) }, 56: func() Command { return new(ResumeFeed) },
	84: func() Command { return new(RotateSigningKey) },
	51: func() Command { return new(CutFeed) }, 52: func() Command { return new(ReceiptFeed) },
}

func (*Join) number() uint16           { return 1 }
func (*Part) number() uint16           { return 2 }
func (*Post) number() uint16           { return 3 }
func (*ReadHistory) number() uint16    { return 4 }
func (*PublishSetting) number() uint16 { return 5 }
func (*RemoveSetting) number() uint16  { return 6 }
func (*FormPool) number() uint16       { return 10 }
func (*StartNode) number() uint16      { return 11 }
func (*LoseNode) number() uint16       { return 12 }
func (*CreateCategory) number() uint16 { return 20 }
func (*ChangeCategory) number() uint16 { return 21 }
func (*RemoveCategory) number() uint16 { return 22 }
func (*CreateRoom) number() uint16     { return 23 }
func (*ChangeRoom) number() uint16     { return 24 }
func (*RemoveRoom) number() uint16     { return 25 }
func (*CreateUser) number() uint16     { return 30 }
func (*ChangeUser) number() uint16     { return 31 }
func (*RemoveUser) number() uint16     { return 32 }
func (*ClaimFeed) number() uint16      { return 50 }
func (*CutFeed) number() uint16        { return 51 }
func (*ReceiptFeed) number() uint16    { return 52 }

// Code visits the request: fields 1 origin, 2 command number, 3 command.
func (r *Request) Code(c *wire.Coder) {
	c.Sub(1, r.Origin.code)
	var n uint16
	if !c.Reading() {
		n = r.Command.number()
	}
	wire.Uint(c, 2, &n)
	if c.Reading() {
		make, ok := commands[n]
		if !ok {
			c.Fail(fmt.Errorf("command number %d: %w", n, ErrUnsupported))
			return
		}
		r.Command = make()
	}
	c.Sub(3, r.Command.Code)
}

// Code visits the fields.
func (m *Join) Code(c *wire.Coder) { wire.Strs(c, 1, &m.Rooms); c.Bool(2, &m.Batch) }

// Code visits the fields.
func (m *Part) Code(c *wire.Coder) { wire.Strs(c, 1, &m.Rooms); wire.Str(c, 2, &m.Reason) }

// Code visits the fields.
func (m *Post) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Room)
	wire.Str(c, 2, &m.Text)
	wire.Str(c, 3, &m.RTF)
	c.Bool(4, &m.Alert)
	c.Bool(5, &m.Story)
	wire.Str(c, 6, &m.Title)
	wire.Subs(c, 7, &m.Links, (*event.Link).Code)
}

// Code visits the fields.
func (m *ReadHistory) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Room)
	wire.Uint(c, 2, &m.Last)
	wire.Uint(c, 3, &m.From)
	wire.Uint(c, 4, &m.UpTo)
}

// Code visits the fields.
func (m *PublishSetting) Code(c *wire.Coder) { c.Sub(1, m.Setting.Code) }

// Code visits the fields.
func (m *RemoveSetting) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Category)
	wire.Uint(c, 2, &m.Instance)
}

// Code visits the fields.
func (m *FormPool) Code(c *wire.Coder) { wire.Str(c, 1, &m.Domain); wire.Str(c, 2, &m.PoolURI) }

// Code visits the fields.
func (m *StartNode) Code(c *wire.Coder) { wire.Str(c, 1, &m.Version) }

// Code visits the fields.
func (m *LoseNode) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Node)
	wire.Uint(c, 2, &m.Incarnation)
	wire.Str(c, 3, &m.Reason)
}

// Code visits the fields.
func (m *CreateCategory) Code(c *wire.Coder) { wire.Str(c, 1, &m.ID); c.Sub(2, m.Info.Code) }

// Code visits the fields.
func (m *ChangeCategory) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	wire.Uint(c, 3, &m.Revision)
}

// Code visits the fields.
func (m *RemoveCategory) Code(c *wire.Coder) { wire.Str(c, 1, &m.ID) }

// Code visits the fields.
func (m *CreateRoom) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	wire.Subs(c, 3, &m.Access, (*event.Access).Code)
}

// Code visits the fields.
func (m *ChangeRoom) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.ID)
	c.Sub(2, m.Info.Code)
	wire.Subs(c, 3, &m.Access, (*event.Access).Code)
	wire.Uint(c, 4, &m.Revision)
}

// Code visits the fields.
func (m *RemoveRoom) Code(c *wire.Coder) { wire.Str(c, 1, &m.ID); c.Sub(2, m.Look.code) }

// Code visits the fields.
func (m *CreateUser) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.User)
	c.Sub(2, m.Info.Code)
	c.Sub(3, m.Secret.Code)
}

// Code visits the fields.
func (m *ChangeUser) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.User)
	c.Sub(2, m.Info.Code)
	c.Sub(3, m.Secret.Code)
	wire.Uint(c, 4, &m.Revision)
}

// Code visits the fields.
func (m *RemoveUser) Code(c *wire.Coder) { wire.Str(c, 1, &m.User) }

// Code visits the fields.
func (m *ClaimFeed) Code(c *wire.Coder) { wire.Str(c, 1, &m.Feed) }

// Code visits the fields.
func (m *CutFeed) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Feed)
	wire.Uint(c, 2, &m.Epoch)
	wire.Uint(c, 3, &m.First)
	wire.Uint(c, 4, &m.Last)
}

// Code visits the fields.
func (m *ReceiptFeed) Code(c *wire.Coder) { c.Sub(1, m.Receipt.Code) }

// Result is what the caller gets besides the events' offset.
type Result struct {
	Duplicate bool         // the command had taken effect before: no new event
	Refused   []Refusal    // rooms of a batch that were refused, of a search that show no history
	Room      event.RoomID // made or changed
	Category  event.CategoryID
	MessageID uint64 // of a post
	First     uint64 // range of message ids (history) or offsets (feed cut)
	Last      uint64
	Epoch     uint64
	Version   uint64       // of a setting
	Offset    event.Offset // of a duplicate: of the last event that it led to the first time
	Group     event.GroupID
	Unit      event.UnitID
	Changed   uint64 // rows of an import that changed something
	AddIn     event.AddInID
	Token     event.TokenID
}

// Code visits the fields.
func (r *Result) Code(c *wire.Coder) {
	c.Bool(1, &r.Duplicate)
	wire.Subs(c, 2, &r.Refused, (*Refusal).code)
	wire.Str(c, 3, &r.Room)
	wire.Str(c, 4, &r.Category)
	wire.Uint(c, 5, &r.MessageID)
	wire.Uint(c, 6, &r.First)
	wire.Uint(c, 7, &r.Last)
	wire.Uint(c, 8, &r.Epoch)
	wire.Uint(c, 9, &r.Version)
	wire.Uint(c, 10, &r.Offset)
	wire.Str(c, 11, &r.Group)
	wire.Str(c, 12, &r.Unit)
	wire.Uint(c, 13, &r.Changed)
	wire.Str(c, 14, &r.AddIn)
	wire.Str(c, 15, &r.Token)
}

// Outcome is the committed end of a command.
type Outcome struct {
	Offset event.Offset // of the command's last event; of the head at that time if it needed none
	At     event.Time
	Result Result
}

// Reply is an outcome or a refusal, as it travels back to the node that forwarded the request.
type Reply struct {
	Outcome Outcome
	Refusal *Refusal
}

// Code visits the fields.
func (r *Reply) Code(c *wire.Coder) {
	wire.Uint(c, 1, &r.Outcome.Offset)
	wire.Int(c, 2, &r.Outcome.At)
	c.Sub(3, r.Outcome.Result.Code)
	if c.Reading() {
		var f Refusal
		c.Sub(4, f.code)
		if f.Code != "" {
			r.Refusal = &f
		}
	} else if r.Refusal != nil {
		c.Sub(4, r.Refusal.code)
	}
}
