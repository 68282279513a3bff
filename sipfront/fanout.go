package sipfront

import (
	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
)

// Applied takes a run of events that this node's state has just folded, in log order, with the states before and after
// it. It prepares the messages and hands them to the shards; it waits only when the shards are a thousand runs
// behind. A front that missed runs would leave clients without messages, so the caller must not skip any.
func (f *Front) Applied(batch []event.Envelope, before, after *chat.State) {
	if len(batch) == 0 {
		return
	}
	b := builder{front: f, before: before, after: after, run: &run{last: batch[len(batch)-1].Offset, after: after}}
	b.findLastParts(batch)
	lost := false
	for i := range batch {
		if b.add(&batch[i]) {
			lost = true
		}
	}
	for _, s := range f.shards {
		select {
		case s.slots <- struct{}{}:
		case <-f.stop:
			return
		}
		if !s.inbox.put(task{run: b.run}) {
			return
		}
	}
	if lost {
		f.lostOurselves()
	}
	f.noteIncarnation(after)
}

// builder turns events into acts.
type builder struct {
	front         *Front
	before, after *chat.State
	run           *run
	lastPart      map[occupancy]event.Offset // where a user who is gone after the run parted last
	told          map[occupancy]bool         // users whose arrival was announced in this run
}

// occupancy is a user in a room: what others see (XCCOS digest, section 1.8).
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

// add adds what one event means for our clients. True says that the pool holds this node for lost.
func (b *builder) add(e *event.Envelope) bool {
	switch ev := e.Event.(type) {
	case *event.Posted:
		b.act(e, act{room: e.Room, post: true, body: func(bool) []byte { return postBody(e, ev, b.after) }})
	case *event.Joined:
		p := occupancy{e.Room, e.By}
		if b.told[p] || b.before.Participates(p.room, p.user) || !b.after.Participates(p.room, p.user) {
			break
		}
		if b.told == nil {
			b.told = map[occupancy]bool{}
		}
		b.told[p] = true
		b.notice(e, p.room, p.user, func(sipe bool) []byte {
			return b.front.noticeBody(xccos.NtcJoin, blocks.Came(b.after, p.room, p.user, sipe))
		})
	case *event.Parted:
		p := occupancy{e.Room, e.By}
		if e.Node == b.front.cfg.Node {
			b.act(e, act{room: e.Room, drop: &endpointKey{e.By, ev.Endpoint}})
			b.front.ledger.parted(endpointKey{e.By, ev.Endpoint}, e.Room)
		}
		if b.lastPart[p] == e.Offset {
			b.notice(e, p.room, p.user, func(bool) []byte { return b.front.noticeBody(xccos.NtcPart, blocks.Left(b.after, p.room, p.user)) })
		}
	case *event.NodeLost:
		b.gone(e, func(i event.Incarnation) bool { return i == ev.Incarnation })
		return e.Node == b.front.cfg.Node && uint64(ev.Incarnation) == b.front.incarnation.Load()
	case *event.NodeStarted:
		b.gone(e, func(i event.Incarnation) bool { return i < ev.Incarnation })
		known := b.front.incarnation.Load()
		return e.Node == b.front.cfg.Node && known != 0 && uint64(ev.Incarnation) > known
	}
	return false
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
		b.notice(e, room, "", func(bool) []byte {
			all := make([]event.Principal, 0, len(users))
			for u := range users {
				all = append(all, u)
			}
			return b.front.noticeBody(xccos.NtcPart, blocks.Left(b.after, room, all...))
		})
	}
}

// notice announces a user's coming or going, except in quiet rooms (participant update limit, XCCOS digest 3.4), and
// never to the user himself: the open client would list him twice (client study, section 9).
func (b *builder) notice(e *event.Envelope, room event.RoomID, user event.Principal, body func(sipe bool) []byte) {
	if r, ok := b.after.Room(room); !ok || r.Quiet {
		return
	}
	b.act(e, act{room: room, except: user, knob: e.Kind() == event.KindJoined, body: body})
}

func (b *builder) act(e *event.Envelope, a act) {
	a.offset, a.at, a.forms = e.Offset, e.At.UTC(), new([2]form)
	b.run.acts = append(b.run.acts, a)
}

// postBody renders a chat message. Its envelope id is the offset: the same on every node.
func postBody(e *event.Envelope, p *event.Posted, st *chat.State) []byte {
	return xccos.AppendPost(make([]byte, 0, 512+len(p.Text)+len(p.RTF)), uint64(e.Offset), blocks.Post(st, e, p))
}

// noticeBody renders a notice.
func (f *Front) noticeBody(id string, d *xccos.Data) []byte {
	return xccos.AppendNotice(nil, f.nextEnv.Add(1), id, d)
}

// lostOurselves closes all flows: the pool has parted our sessions, so every client must sign in again. That is the one
// thing clients recover from by themselves (client study, section 10).
func (f *Front) lostOurselves() {
	f.log.Error("the pool holds this node for lost: closing all SIP flows")
	f.ledger.forgetAll()
	for _, c := range f.conns() {
		c.Close(closedNodeLost)
	}
}

const closedNodeLost = "node_lost"
