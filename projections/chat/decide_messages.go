package chat

import (
	"slices"
	"unicode/utf8"

	"parley/log/event"
	"parley/projections/chat/holds"
	"parley/projections/chat/messages"
)

// historyRange fixes which messages an answer shows.
func (d *decider) historyRange(c *ReadHistory, last uint64) (from, to uint64) {
	n := c.Last
	if n == 0 {
		n = d.s.Limits().DefaultChatHistory
	}
	n = min(n, MaxHistory)
	if c.UpTo == 0 {
		return max(1, last-min(n, last)+1), last
	}
	from, to = max(c.From, 1), min(c.UpTo, last)
	if from > to {
		return 0, 0
	}
	return from, min(to, from+n-1)
}

// searchMessages records a search. A room that may not be read refuses all: nothing was shown. Rooms that show no history are
// left out, and refused in the result: nothing is shown of them (R14). What is found was counted by a node that may not have
// known that yet, so it is at most what the event says.
func (d *decider) searchMessages(c *SearchMessages) (Decision, error) {
	if err := checkRooms("search", c.Rooms); err != nil {
		return Decision{}, err
	}
	if err := messages.Query("search", &c.Query); err != nil {
		return Decision{}, err
	}
	rooms := slices.Clone(c.Rooms)
	slices.Sort(rooms)
	rooms = slices.Compact(rooms)
	var shown []event.RoomID
	var out Result
	for _, id := range rooms {
		if d.Trusted {
			if d.s.rooms.Get(id) == nil {
				return Decision{}, inRoom(id, CodeNotFound, "search: no room %s", id)
			}
			shown = append(shown, id)
			continue
		}
		_, rights, err := d.admit("search", id)
		if err != nil {
			return Decision{}, err
		}
		if !rights.ReadHistory {
			return Decision{}, inRoom(id, CodeForbidden, "search: %s may not read room %s", d.By, id).Breaks(d.shut(id), d.By)
		}
		if d.s.ShowsHistory(id) {
			shown = append(shown, id)
		} else {
			out.Refused = append(out.Refused, *inRoom(id, CodeForbidden, "search: room %s shows no history", id).Breaks("R14", ""))
		}
	}
	found := c.Found
	if len(shown) == 0 { // where it was asked is heard of all the same, as with a read of nothing
		shown, found = rooms, 0
	}
	var room event.RoomID
	if len(shown) == 1 {
		room = shown[0]
	}
	return d.one(room, &event.MessageSearched{Endpoint: d.Endpoint, Rooms: shown, Query: c.Query, Limit: c.Limit, Found: found}, out)
}

// removeMessages decides a removal of single messages (R9). What the state can know of the list it checks: the room, that
// ids and offsets are some that exist, ascending together. That they belong together is checked by whoever acts on it.
func (d *decider) removeMessages(c *RemoveMessages) (Decision, error) {
	if d.s.rooms.Get(c.Room) == nil {
		return Decision{}, inRoom(c.Room, CodeNotFound, "remove messages: no room %s", c.Room)
	}
	if err := messages.Query("remove messages", &c.Query); err != nil {
		return Decision{}, err
	}
	text := c.Text
	switch most := d.s.Limits().MessageSizeLimit; {
	case len(c.Messages) == 0:
		return Decision{}, inRoom(c.Room, CodeInvalid, "remove messages of room %s: none is listed", c.Room)
	case len(c.Messages) > MaxRemoved:
		return Decision{}, inRoom(c.Room, CodeTooLarge, "remove messages of room %s: %d of them, at most %d", c.Room, len(c.Messages), MaxRemoved)
	case !c.Replace && text != "":
		return Decision{}, inRoom(c.Room, CodeInvalid, "remove messages of room %s: a text without replacing", c.Room)
	case uint64(len(text)) > most:
		return Decision{}, inRoom(c.Room, CodeTooLarge, "remove messages of room %s: %d bytes of text, at most %d", c.Room, len(text), most)
	case !utf8.ValidString(text):
		return Decision{}, inRoom(c.Room, CodeInvalid, "remove messages of room %s: not UTF-8", c.Room)
	case c.Replace && text == "":
		text = DefaultReplacement
	}
	last, was := d.s.lastMessage(c.Room), event.MessageRef{}
	for _, m := range c.Messages {
		if m.MessageID <= was.MessageID || m.Offset <= was.Offset || m.MessageID > last || m.Offset > d.s.Offset() {
			return Decision{}, inRoom(c.Room, CodeInvalid, "remove messages of room %s: message %d at offset %d does not follow message %d at %d, or is not in the room",
				c.Room, m.MessageID, m.Offset, was.MessageID, was.Offset)
		}
		was = m
	}
	if err := holds.RefuseList(c, d.s.Keeps(c.Room)); err != nil {
		return Decision{}, err
	}
	return d.one(c.Room, &event.MessagesRemoved{Messages: c.Messages, Replaced: c.Replace, Text: text, Query: c.Query}, Result{Room: c.Room})
}

// clearRoom removes what was posted up to a time. A time to come is now: a message of tomorrow is not removed today.
func (d *decider) clearRoom(c *ClearRoom) (Decision, error) {
	if d.s.rooms.Get(c.Room) == nil {
		return Decision{}, inRoom(c.Room, CodeNotFound, "clear room: no room %s", c.Room)
	}
	if c.Until <= 0 {
		return Decision{}, inRoom(c.Room, CodeInvalid, "clear room %s: no time up to which", c.Room)
	}
	if d.s.lastMessage(c.Room) == 0 {
		return Decision{Result: Result{Room: c.Room}}, nil
	}
	ev, err := d.s.holds.Clear(c, min(c.Until, d.env.At), d.s.Keeps(c.Room), d.s.head.offset)
	return d.roomEvent(c.Room, ev, err)
}

// purgeMessages removes what a category's retention keeps no longer.
func (d *decider) purgeMessages(c *PurgeMessages) (Decision, error) {
	if d.s.rooms.Get(c.Room) == nil {
		return Decision{}, inRoom(c.Room, CodeNotFound, "purge room: no room %s", c.Room)
	}
	r := holds.Room{Days: d.s.Retention(c.Room), Last: d.s.lastMessage(c.Room), Receipts: d.s.feeds.Slowest(d.s.head.offset), Keeps: d.s.Keeps(c.Room)}
	ev, err := r.Purge(c, d.env.At)
	return d.roomEvent(c.Room, ev, err)
}

// roomEvent makes a decision of at most one event in a room.
func (d *decider) roomEvent(room event.RoomID, ev event.Event, err error) (Decision, error) {
	switch {
	case err != nil:
		return Decision{}, err
	case ev == nil:
		return Decision{Result: Result{Room: room}}, nil
	}
	return d.one(room, ev, Result{Room: room})
}

// readInvitations moves the mark up to which By has seen his invitations; it never goes back.
func (d *decider) readInvitations(c *ReadInvitations) (Decision, error) {
	if _, err := d.actor(); err != nil {
		return Decision{}, err
	}
	last, read := d.s.box.Last(d.By)
	if c.UpTo > last {
		return Decision{}, Refuse(CodeInvalid, "read invitations: %s has none with the number %d", d.By, c.UpTo).About(d.By)
	}
	if c.UpTo <= read {
		return Decision{}, nil
	}
	return d.one("", &event.InvitationsRead{UpTo: c.UpTo}, Result{})
}
