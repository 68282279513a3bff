package holds

import (
	"slices"

	"parley/log/event"
	"parley/projections/chat/command"
)

// Day in nanoseconds: retention is counted in them.
const Day = 24 * 3600 * 1_000_000_000

// MaxDays is the longest retention: a hundred years.
const MaxDays = 36_525

// RefuseList refuses a removal of single messages, all of them, if some hold keeps one.
func RefuseList(c *command.RemoveMessages, keeps []event.Keep) error {
	var held Held
	if len(keeps) > 0 {
		for i, m := range c.Messages {
			if len(c.Facts) == len(c.Messages) {
				held.Look(keeps, i+1, m, c.Facts[i].By, c.Facts[i].At)
			} else {
				held.Unknown(keeps, i+1, m)
			}
		}
	}
	return held.Refusal("remove messages of room", c.Room)
}

// unseen notes the holds that the giver of a command has not looked for, or that have changed since.
func (h *Holds) unseen(keeps []event.Keep, look *command.Look) (held Held) {
	for _, name := range Names(keeps) {
		r := h.rows.Get(name)
		if r == nil || !slices.Contains(look.Holds, command.Seen{Hold: name, Revision: r.Revision}) {
			held.Name(name)
		}
	}
	return held
}

// within returns the predicates that can keep a message of a time or before.
func within(keeps []event.Keep, until event.Time) []event.Keep {
	return slices.DeleteFunc(slices.Clone(keeps), func(k event.Keep) bool { return k.From > until || k.Last != 0 && k.Last < k.First })
}

// Clear decides how a room is cleared up to a time: head is the offset of the log's last event. Where holds may keep
// something it takes what was looked through and no more, and the event says what it leaves: a message that came from an
// archive since, or that no history has, stays.
func (h *Holds) Clear(c *command.ClearRoom, until event.Time, keeps []event.Keep, head event.Offset) (event.Event, error) {
	keeps = within(keeps, until)
	if len(keeps) == 0 {
		return &event.MessagesRemoved{Until: until}, nil
	}
	held := h.unseen(keeps, &c.Look)
	if err := held.Refusal("clear room", c.Room); err != nil {
		return nil, err
	}
	if c.Look.To == 0 {
		return nil, nil
	}
	return &event.MessagesPurged{First: event.MessageRef{MessageID: 1, Offset: 1}, Last: event.MessageRef{MessageID: c.Look.To, Offset: head},
		Until: until, Keeps: keeps}, nil
}

// RefuseRoom refuses to remove a room of which holds keep something, or may: its messages go with it, for good.
func (h *Holds) RefuseRoom(c *command.RemoveRoom, now event.Time, keeps []event.Keep, last uint64) error {
	if keeps = within(keeps, now); len(keeps) == 0 || last == 0 {
		return nil
	}
	held := h.unseen(keeps, &c.Look)
	if t := h.trails.Get(c.ID); t != nil && t.First.MessageID != 0 {
		for _, name := range Names(keeps) { // nobody can look at those
			held.Name(name)
		}
	}
	if err := held.Refusal("remove room", c.ID); err != nil {
		return err
	}
	if c.Look.To != last {
		r := command.Refuse(command.CodeConflict, "remove room %s: there is a legal hold, and messages came since somebody looked for what it keeps: try again", c.ID)
		r.Room = c.ID
		return r
	}
	return nil
}

// Room is what a purge has to know of its room.
type Room struct {
	Days     uint64       // retention of its category
	Last     uint64       // id of its newest message
	Receipts event.Offset // up to where every feed has one
	Keeps    []event.Keep
}

// Purge decides a purge at a time. nil: a hold keeps everything.
func (r *Room) Purge(c *command.PurgeMessages, now event.Time) (event.Event, error) {
	refuse := func(code command.Code, format string, args ...any) error {
		f := command.Refuse(code, "purge room "+string(c.Room)+": "+format, args...)
		f.Room = c.Room
		return f
	}
	switch {
	case r.Days == 0:
		return nil, refuse(command.CodeConflict, "its category keeps messages for ever")
	case c.Until <= 0 || c.Until > now-event.Time(r.Days)*Day:
		return nil, refuse(command.CodeConflict, "its category keeps messages of %s for %d days", c.Until, r.Days)
	case c.First.MessageID == 0 || c.First.Offset == 0 || c.First.MessageID > c.Last.MessageID || c.First.Offset > c.Last.Offset || c.Last.MessageID > r.Last:
		return nil, refuse(command.CodeInvalid, "message %d at offset %d to message %d at %d is no range of it", c.First.MessageID, c.First.Offset, c.Last.MessageID, c.Last.Offset)
	case c.Last.Offset > r.Receipts:
		return nil, refuse(command.CodeConflict, "up to event %d, and a compliance feed has a receipt up to %d only", c.Last.Offset, r.Receipts)
	}
	keeps := within(r.Keeps, c.Until)
	for i := range keeps {
		k := &keeps[i]
		if len(k.Authors) == 0 && k.From <= 0 && (k.To == 0 || k.To >= c.Until) && k.First <= c.First.Offset && (k.Last == 0 || k.Last >= c.Last.Offset) {
			return nil, nil
		}
	}
	return &event.MessagesPurged{First: c.First, Last: c.Last, Until: c.Until, Keeps: keeps, Days: r.Days}, nil
}
