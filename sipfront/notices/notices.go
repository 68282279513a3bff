// Package notices says what the events of the log mean for the clients of one node: who is told what, and who hears a room
// no more. It reads events and states and sends nothing; whoever knows the clients carries its acts out, in their order.
//
// It runs at the node's own reader, on every node for every event. So whoever is put out of a room hears nothing more as
// soon as his node has read that, wherever the administrator's command came in.
package notices

import (
	"maps"
	"slices"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/invites"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
)

// Session is a user on one of his devices.
type Session struct {
	User     event.Principal
	Endpoint event.Endpoint
}

// Act is one thing to do for the clients of this node. Body is called at most once for each of the two forms.
type Act struct {
	Offset event.Offset
	At     time.Time
	Room   event.RoomID    // its audience is told
	Except event.Principal // whose dialogs are not
	User   event.Principal // instead of a room: all dialogs of this user are told
	End    *Session        // dialogs of this session in the room's audience hear it no more; with a Body they are told so
	Post   bool            // a chat message: its delay is measured
	Knob   bool            // the open client gets its own form of it
	Body   func(sipe bool) []byte
}

// Node is what notices need to know of the node that tells them.
type Node struct {
	ID      event.NodeID
	NextEnv func() uint64 // envelope ids
}

// Of returns the acts for a run of events, with the states before and after it. What depends on more than one event, such
// as who has left for good, is told as it is after the run.
func (n *Node) Of(batch []event.Envelope, before, after *chat.State) []Act {
	b := builder{node: n, before: before, after: after}
	b.findLastParts(batch)
	for i := range batch {
		b.add(&batch[i])
	}
	b.changes(batch)
	return b.acts
}

// builder turns events into acts.
type builder struct {
	node          *Node
	before, after *chat.State
	acts          []Act
	lastPart      map[occupancy]event.Offset // where a user who is gone after the run parted last
	told          map[occupancy]bool         // users whose arrival was announced in this run
	out           map[event.RoomID][]event.Principal
}

// occupancy is a user in a room: what others see (docs/rules.md, Presence in rooms).
type occupancy struct {
	room event.RoomID
	user event.Principal
}

// findLastParts finds, for each user who left a room in this run for good, the event at which to say so. What happens
// in between (a second device leaves, a device comes and goes) is nobody's business.
func (b *builder) findLastParts(batch []event.Envelope) {
	for i := range batch {
		e := &batch[i]
		if _, ok := e.Event.(*event.Parted); !ok {
			continue
		}
		p := occupancy{e.Room, e.By}
		if b.before.Participates(p.room, p.user) && !b.after.Participates(p.room, p.user) {
			if b.lastPart == nil {
				b.lastPart = map[occupancy]event.Offset{}
			}
			b.lastPart[p] = e.Offset
		}
	}
}

// add adds what one event means by itself.
func (b *builder) add(e *event.Envelope) {
	switch ev := e.Event.(type) {
	case *event.Posted:
		// Its envelope id is the offset: the same on every node.
		b.act(e, Act{Room: e.Room, Post: true, Body: func(bool) []byte {
			return xccos.AppendPost(make([]byte, 0, 512+len(ev.Text)+len(ev.RTF)), uint64(e.Offset), blocks.Post(b.after, e, ev))
		}})
	case *event.Joined:
		p := occupancy{e.Room, e.By}
		if b.told[p] || b.before.Participates(p.room, p.user) || !b.after.Participates(p.room, p.user) {
			return
		}
		if b.told == nil {
			b.told = map[occupancy]bool{}
		}
		b.told[p] = true
		b.presence(e, p.room, p.user, true, xccos.NtcJoin, func(sipe bool) *xccos.Data { return blocks.Came(b.after, p.room, p.user, sipe) })
	case *event.Parted:
		b.parted(e, ev)
	case *event.NodeLost:
		b.gone(e, func(i event.Incarnation) bool { return i == ev.Incarnation })
	case *event.NodeStarted:
		b.gone(e, func(i event.Incarnation) bool { return i < ev.Incarnation })
	case *event.MessagesRemoved:
		b.removed(e, ev)
	case *event.MessagesPurged:
		// What is too old to be kept goes unannounced: nobody looks at it, and every room would hear of it every day.
		if ev.Days == 0 {
			b.act(e, Act{Room: e.Room, Body: b.notice(xccos.NtcMsgDelete, func(bool) *xccos.Data { return blocks.Cleared(b.after, e.Room, ev.Until) })})
		}
	case *event.Invited:
		for _, i := range ev.Invitations {
			inv := invites.Invitation{User: i.User, Room: e.Room, ID: i.ID, At: e.At}
			b.act(e, Act{User: i.User, Body: b.notice(xccos.NtcInvite, func(bool) *xccos.Data {
				one, _ := blocks.Invitation(b.after, inv)
				return &xccos.Data{Invites: []xccos.Inv{one}}
			})})
		}
	}
}

// parted ends a session. Whom the pool has put out is told so, because he did not ask for it. The open client knows no
// such notice, but takes the one about others for itself too, and shows that it is no longer in the room.
func (b *builder) parted(e *event.Envelope, ev *event.Parted) {
	p := occupancy{e.Room, e.By}
	put := ev.Reason == event.PartKicked || ev.Reason == event.PartDisabled
	if e.Node == b.node.ID {
		a := Act{Room: e.Room, End: &Session{e.By, ev.Endpoint}}
		if put {
			a.Knob, a.Body = true, b.farewell(p, ev.Reason)
		}
		b.act(e, a)
	}
	if b.lastPart[p] != e.Offset {
		return
	}
	if !put {
		b.presence(e, p.room, p.user, false, xccos.NtcPart, func(bool) *xccos.Data { return blocks.Left(b.after, p.room, p.user) })
		return
	}
	// A change of rights may put out thousands: the others are told of all of them at once.
	if b.out == nil {
		b.out = map[event.RoomID][]event.Principal{}
	}
	b.out[p.room] = append(b.out[p.room], p.user)
}

// farewell is the last that a session hears of a room.
func (b *builder) farewell(p occupancy, reason event.PartReason) func(bool) []byte {
	return func(sipe bool) []byte {
		id, data := xccos.NtcKick, func() *xccos.Data { return blocks.Left(b.after, p.room, p.user) }
		switch r, there := b.after.Room(p.room); {
		case sipe:
			id = xccos.NtcPart
		case reason == event.PartDisabled && there && r.Info.Disabled:
			id, data = xccos.NtcChanDisable, func() *xccos.Data { return blocks.Gone(b.after, p.room, true) }
		case reason == event.PartDisabled:
			id, data = xccos.NtcChanDelete, func() *xccos.Data { return blocks.Gone(b.after, p.room, false) }
		}
		return xccos.AppendNotice(nil, b.node.NextEnv(), id, data())
	}
}

// removedPerNotice is how many removed messages one notice names: it must fit an INFO.
const removedPerNotice = 1000

func (b *builder) removed(e *event.Envelope, ev *event.MessagesRemoved) {
	if ev.Until != 0 {
		b.act(e, Act{Room: e.Room, Body: b.notice(xccos.NtcMsgDelete, func(bool) *xccos.Data { return blocks.Cleared(b.after, e.Room, ev.Until) })})
		return
	}
	text := ""
	if ev.Replaced {
		text = ev.Text
	}
	for part := range slices.Chunk(ev.Messages, removedPerNotice) {
		b.act(e, Act{Room: e.Room, Body: b.notice(xccos.NtcMsgDelete, func(bool) *xccos.Data { return blocks.Removed(b.after, e.Room, part, text) })})
	}
}

// gone announces everybody whose last session ended with a node: one notice for each room.
func (b *builder) gone(e *event.Envelope, which func(event.Incarnation) bool) {
	left := map[event.RoomID]map[event.Principal]bool{}
	for s := range b.before.SessionsOn(e.Node) {
		if !which(s.Incarnation) || b.after.Participates(s.Room, s.User) {
			continue
		}
		if left[s.Room] == nil {
			left[s.Room] = map[event.Principal]bool{}
		}
		left[s.Room][s.User] = true
	}
	for room, users := range left {
		b.left(e, room, slices.Sorted(maps.Keys(users)))
	}
}

// leftPerNotice is how many users one notice lists: it must fit an INFO.
const leftPerNotice = 1000

func (b *builder) left(e *event.Envelope, room event.RoomID, users []event.Principal) {
	for part := range slices.Chunk(users, leftPerNotice) {
		b.presence(e, room, "", false, xccos.NtcPart, func(bool) *xccos.Data { return blocks.Left(b.after, room, part...) })
	}
}

// presence announces a user's coming or going, except in quiet rooms (docs/rules.md, Presence in rooms), and
// never to the user himself: the open client would list him twice (seen of pidgin-sipe).
func (b *builder) presence(e *event.Envelope, room event.RoomID, user event.Principal, knob bool, id string, make func(sipe bool) *xccos.Data) {
	if r, ok := b.after.Room(room); !ok || r.Quiet {
		return
	}
	b.act(e, Act{Room: room, Except: user, Knob: knob, Body: b.notice(id, make)})
}

// notice returns what renders a notice.
func (b *builder) notice(id string, make func(sipe bool) *xccos.Data) func(bool) []byte {
	return func(sipe bool) []byte { return xccos.AppendNotice(nil, b.node.NextEnv(), id, make(sipe)) }
}

func (b *builder) act(e *event.Envelope, a Act) {
	a.Offset, a.At = e.Offset, e.At.UTC()
	b.acts = append(b.acts, a)
}
