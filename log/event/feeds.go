package event

import "parley/log/wire"

// FeedOption is one setting of a feed's adapter. What names there are, and what they mean, is the adapter's business.
type FeedOption struct{ Name, Value string }

// Code visits the fields.
func (o *FeedOption) Code(c *wire.Coder) {
	wire.Str(c, 1, &o.Name)
	wire.Str(c, 2, &o.Value)
}

// FeedInfo is the configuration of a compliance feed. What a feed writes depends on it and on the log alone. Empty
// lists do not narrow what is delivered.
type FeedInfo struct {
	Adapter    string
	Options    []FeedOption // ascending by name, each once
	Rooms      []RoomID
	Categories []CategoryID
	Kinds      []string // names of kinds, as Kind.String returns them
	Every      int64    // nanoseconds between two cuts; 0: as events come
	MaxEvents  uint64   // in one cut; 0: the default
	Template   string   `json:",omitempty"` // what the adapter makes of its document; empty: the document
}

// Code visits the fields.
func (i *FeedInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.Adapter)
	wire.Subs(c, 2, &i.Options, (*FeedOption).Code)
	wire.Strs(c, 3, &i.Rooms)
	wire.Strs(c, 4, &i.Categories)
	wire.Strs(c, 5, &i.Kinds)
	wire.Int(c, 6, &i.Every)
	wire.Uint(c, 7, &i.MaxEvents)
	wire.Str(c, 8, &i.Template)
}

// FeedSet makes a feed, or replaces its configuration. An open cut keeps what it was cut under; its target is the new one.
type FeedSet struct {
	Feed string
	Info FeedInfo
	From Offset // the first event that a new feed delivers; 0: the feed goes on where it was
}

// FeedRemoved ends a feed. Its name remembers how far it got: set again, it goes on there.
type FeedRemoved struct{ Feed string }

// FeedPaused stops a feed until it is resumed. It delivers nothing, skips nothing, and still holds erasure back.
type FeedPaused struct {
	Feed   string
	Reason string
}

// FeedResumed lets a feed go on.
type FeedResumed struct{ Feed string }

func (*FeedSet) Kind() Kind     { return KindFeedSet }
func (*FeedRemoved) Kind() Kind { return KindFeedRemoved }
func (*FeedPaused) Kind() Kind  { return KindFeedPaused }
func (*FeedResumed) Kind() Kind { return KindFeedResumed }

func (e *FeedSet) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Feed)
	c.Sub(2, e.Info.Code)
	wire.Uint(c, 3, &e.From)
}
func (e *FeedRemoved) code(c *wire.Coder) { wire.Str(c, 1, &e.Feed) }
func (e *FeedPaused) code(c *wire.Coder)  { wire.Str(c, 1, &e.Feed); wire.Str(c, 2, &e.Reason) }
func (e *FeedResumed) code(c *wire.Coder) { wire.Str(c, 1, &e.Feed) }
