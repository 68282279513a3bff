package notices

import (
	"slices"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
)

// changes adds what the run as a whole has changed: who was put out of rooms, what is said of rooms, and what users may do
// in them. It comes last, so that whoever is put out does not hear of a change that he may not know of.
func (b *builder) changes(batch []event.Envelope) {
	last := &batch[len(batch)-1]
	rooms := make([]event.RoomID, 0, len(b.out))
	for room := range b.out {
		rooms = append(rooms, room)
	}
	slices.Sort(rooms)
	for _, room := range rooms {
		b.left(last, room, b.out[room])
	}
	changed := map[event.RoomID]bool{}
	looked := map[occupancy]bool{}
	for i := range batch {
		e := &batch[i]
		switch ev := e.Event.(type) {
		case *event.RoomChanged:
			if !changed[e.Room] {
				changed[e.Room] = true
				b.roomChanged(last, e.Room)
			}
			b.roomRights(last, looked, e.Room, ev)
		case *event.CategoryChanged:
			b.categoryChanged(last, changed, ev.Category)
		case *event.AddInChanged:
			b.addInChanged(last, changed, ev.AddIn)
		case *event.GroupChanged:
			for _, p := range slices.Concat(ev.Added, ev.Removed) {
				b.rightsIn(last, looked, b.after, p)
			}
		case *event.GroupRemoved:
			b.rightsIn(last, looked, b.before, event.GroupPrincipal(ev.Group))
		case *event.UnitChanged:
			b.rightsIn(last, looked, b.after, event.UnitPrincipal(ev.Unit))
		case *event.UserChanged:
			b.rightsIn(last, looked, b.after, ev.User)
		}
	}
}

// roomChanged tells everybody in a room what is said of it now. Of a room that is disabled or gone whoever was in it has
// heard already.
func (b *builder) roomChanged(e *event.Envelope, room event.RoomID) {
	now, there := b.after.Room(room)
	was, known := b.before.Room(room)
	if !there || !known || now.Info == was.Info || now.Info.Disabled {
		return
	}
	b.tellChanged(e, room)
}

func (b *builder) tellChanged(e *event.Envelope, room event.RoomID) {
	b.act(e, Act{Room: room, Body: b.notice(xccos.NtcChanModify, func(bool) *xccos.Data { return blocks.Changed(b.after, room) })})
}

// inUse calls visit for each room in which somebody is, once in this run.
func (b *builder) inUse(changed map[event.RoomID]bool, visit func(*chat.Room) bool, e *event.Envelope) {
	for r := range b.after.Rooms() {
		if r.Participants > 0 && !r.Info.Disabled && !changed[r.ID] && visit(&r) {
			changed[r.ID] = true
			b.tellChanged(e, r.ID)
		}
	}
}

// categoryChanged tells everybody in the rooms of a category when what it allows has changed: clients know that of their
// room. Its lists are nobody's business.
func (b *builder) categoryChanged(e *event.Envelope, changed map[event.RoomID]bool, id event.CategoryID) {
	was, known := b.before.Category(id)
	now, there := b.after.Category(id)
	if !known || !there || was.Info.Invitations == now.Info.Invitations && was.Info.FileUpload == now.Info.FileUpload &&
		was.Info.ChatHistory == now.Info.ChatHistory {
		return
	}
	b.inUse(changed, func(r *chat.Room) bool { return r.Info.Category == id }, e)
}

func (b *builder) addInChanged(e *event.Envelope, changed map[event.RoomID]bool, id event.AddInID) {
	b.inUse(changed, func(r *chat.Room) bool { return r.Info.AddIn == string(id) }, e)
}

// roomRights tells whose rights in a room a change of it has changed.
func (b *builder) roomRights(e *event.Envelope, looked map[occupancy]bool, room event.RoomID, ev *event.RoomChanged) {
	was, known := b.before.Room(room)
	if !known || was.Info.Type == ev.Info.Type && was.Info.Category == ev.Info.Category && len(ev.Access) == 0 {
		return
	}
	for _, p := range b.after.Roster(room) {
		b.look(e, looked, occupancy{room, p.User})
	}
}

// rightsIn tells whose rights a change of the directory has changed: those of everybody whom a principal stands for, in the
// rooms that he is in.
func (b *builder) rightsIn(e *event.Envelope, looked map[occupancy]bool, st *chat.State, p event.Principal) {
	for u := range st.Directory().UsersIn(p) {
		for s := range b.after.SessionsOf(u.URI) {
			b.look(e, looked, occupancy{s.Room, s.User})
		}
	}
}

// look tells everybody in a room when what a user may do there has changed, unless the room is too full to tell who is who.
func (b *builder) look(e *event.Envelope, looked map[occupancy]bool, p occupancy) {
	if looked[p] || !b.before.Participates(p.room, p.user) {
		return // who has just come is announced as he is
	}
	looked[p] = true
	was, now := blocks.MaskOf(b.before, p.room, p.user), blocks.MaskOf(b.after, p.room, p.user)
	if was == now {
		return
	}
	render := b.notice(xccos.NtcPermModify, func(sipe bool) *xccos.Data { return blocks.Came(b.after, p.room, p.user, sipe) })
	if r, _ := b.after.Room(p.room); r.Quiet {
		b.act(e, Act{User: p.user, Body: render})
		return
	}
	b.act(e, Act{Room: p.room, Body: render})
}
