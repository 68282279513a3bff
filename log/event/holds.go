package event

import (
	"fmt"
	"slices"

	"parley/log/wire"
)

// HoldInfo says which messages a legal hold keeps from being removed. What is empty or zero does not narrow it.
type HoldInfo struct {
	Reason     string       // for people: the matter
	Rooms      []RoomID     // with Categories one set: messages of these rooms, or of rooms of these categories
	Categories []CategoryID // a room's category when the message came, or the one that it has now
	Authors    []Principal
	From       Time   // posted at or after
	To         Time   // posted at or before
	FromOffset Offset // recorded by this event or a later one
}

// Code visits the fields.
func (i *HoldInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.Reason)
	wire.Strs(c, 2, &i.Rooms)
	wire.Strs(c, 3, &i.Categories)
	wire.Strs(c, 4, &i.Authors)
	wire.Int(c, 5, &i.From)
	wire.Int(c, 6, &i.To)
	wire.Uint(c, 7, &i.FromOffset)
}

// HoldSet sets a legal hold, or replaces what it says. It keeps what is there when it is set and what comes later; what was
// removed before is gone.
type HoldSet struct {
	Hold string
	Info HoldInfo
}

// HoldReleased ends a legal hold. Its name stays known.
type HoldReleased struct {
	Hold   string
	Reason string
}

// Keep is what a legal hold comes to in one room: whoever acts on a purge needs nothing but the purge.
type Keep struct {
	Hold    string
	Authors []Principal // ascending; empty: everybody
	From    Time        // 0: open
	To      Time        // 0: open
	First   Offset      // of what is kept
	Last    Offset      // 0: open
}

// Code visits the fields.
func (k *Keep) Code(c *wire.Coder) {
	wire.Str(c, 1, &k.Hold)
	wire.Strs(c, 2, &k.Authors)
	wire.Int(c, 3, &k.From)
	wire.Int(c, 4, &k.To)
	wire.Uint(c, 5, &k.First)
	wire.Uint(c, 6, &k.Last)
}

// Covers reports whether the message of an event at o, by an author and of a time, is kept.
func (k *Keep) Covers(o Offset, by Principal, at Time) bool {
	if o < k.First || k.Last != 0 && o > k.Last || k.From != 0 && at < k.From || k.To != 0 && at > k.To {
		return false
	}
	_, has := slices.BinarySearch(k.Authors, by)
	return has || len(k.Authors) == 0
}

// MessagesPurged says that messages of the room Meta.Room are gone: those of a range, the ends included, that are of a time
// or earlier and that nothing keeps. It is one row however many they are, and says itself what legal holds kept from it: a
// reader needs neither the holds nor the categories of that time.
type MessagesPurged struct {
	First, Last MessageRef // both the id and the offset of a message must lie between them; the ends need not be messages
	Until       Time
	Keeps       []Keep
	Days        uint64 // of the retention that had come to its end; 0: an administrator cleared the room
}

// Names reports whether a message of the room is gone by it.
func (e *MessagesPurged) Names(m MessageRef, by Principal, at Time) bool {
	if m.Offset < e.First.Offset || m.Offset > e.Last.Offset || m.MessageID < e.First.MessageID || m.MessageID > e.Last.MessageID || at > e.Until {
		return false
	}
	return !slices.ContainsFunc(e.Keeps, func(k Keep) bool { return k.Covers(m.Offset, by, at) })
}

// Text says which messages are gone, for people.
func (e *MessagesPurged) Text() string {
	out := fmt.Sprintf("%d to %d up to %s", e.First.MessageID, e.Last.MessageID, e.Until)
	if e.Days > 0 {
		out += fmt.Sprintf(" (kept for %d days)", e.Days)
	}
	last := ""
	for i := range e.Keeps {
		if k := &e.Keeps[i]; k.Hold != last {
			out += fmt.Sprintf(" but those under legal hold %q", k.Hold)
			last = k.Hold
		}
	}
	return out
}

func (*HoldSet) Kind() Kind        { return KindHoldSet }
func (*HoldReleased) Kind() Kind   { return KindHoldReleased }
func (*MessagesPurged) Kind() Kind { return KindMessagesPurged }

func (e *HoldSet) code(c *wire.Coder)      { wire.Str(c, 1, &e.Hold); c.Sub(2, e.Info.Code) }
func (e *HoldReleased) code(c *wire.Coder) { wire.Str(c, 1, &e.Hold); wire.Str(c, 2, &e.Reason) }
func (e *MessagesPurged) code(c *wire.Coder) {
	c.Sub(1, e.First.Code)
	c.Sub(2, e.Last.Code)
	wire.Int(c, 3, &e.Until)
	wire.Subs(c, 4, &e.Keeps, (*Keep).Code)
	wire.Uint(c, 5, &e.Days)
}
