package sipfront

import (
	"errors"
	"log/slog"
	"sync"

	"parley/log/event"
	"parley/projections/chat"
)

// ledger knows which dialogs keep which sessions. In the log a session is one per (room, user, endpoint, node); two
// dialogs of one device on this node share it: the first join is the event, the last leave is the other one.
//
// Commands that open and end sessions are submitted under the ledger's lock, so that the leader gets them in the order
// in which the ledger changed. If we crash anywhere here the pool parts all our sessions by one node_lost event.
type ledger struct {
	front *Front

	mu        sync.Mutex
	endpoints map[endpointKey][]*dialog
	live      map[*dialog]struct{}
	stuck     map[endpointKey]map[event.RoomID]event.PartReason // ends of sessions that are not committed
	parting   int                                               // Part commands on their way
	draining  bool                                              // no more joins
	drained   bool                                              // and what there was is being parted
	idle      chan struct{}                                     // closed when drained and nothing is left to part
}

func newLedger(f *Front) *ledger {
	return &ledger{front: f, endpoints: map[endpointKey][]*dialog{}, live: map[*dialog]struct{}{},
		stuck: map[endpointKey]map[event.RoomID]event.PartReason{}, idle: make(chan struct{})}
}

func (d *dialog) key() endpointKey { return endpointKey{d.user, d.endpoint} }

// enter adds a dialog.
func (l *ledger) enter(d *dialog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[d] = struct{}{}
	l.endpoints[d.key()] = append(l.endpoints[d.key()], d)
	l.front.dialogs.Store(int64(len(l.live)))
}

// dialogs returns all dialogs.
func (l *ledger) dialogs() []*dialog {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*dialog, 0, len(l.live))
	for d := range l.live {
		all = append(all, d)
	}
	return all
}

// join submits a Join for a dialog that may still be there when it is decided. done gets the holds that it is about.
func (l *ledger) join(d *dialog, cmd *chat.Join, done func(map[event.RoomID]*hold, chat.Outcome, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.live[d]; !ok || l.draining {
		go done(nil, chat.Outcome{}, chat.Refuse(chat.CodeUnavailable, "the dialog has ended")) // never from within
		return
	}
	if d.held == nil {
		d.held = make(map[event.RoomID]*hold, len(cmd.Rooms))
	}
	holds := make(map[event.RoomID]*hold, len(cmd.Rooms))
	for _, r := range cmd.Rooms {
		if d.held[r] == nil {
			d.held[r] = new(hold)
		}
		holds[r] = d.held[r]
		holds[r].step(asks, 0)
	}
	l.front.backend.Submit(chat.Request{Origin: l.front.origin(d), Command: cmd}, func(o chat.Outcome, err error) { done(holds, o, err) })
}

// settle notes what became of one room of a Join, and where in the log. A join whose outcome is not known may have taken
// effect, so its session is ended.
func (l *ledger) settle(d *dialog, room event.RoomID, h *hold, m move, at event.Offset, unknown bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h == nil || d.held[room] != h { // it left meanwhile, and what was needed was submitted behind the join
		return
	}
	switch h.step(m, at); {
	case m == joins && h.stage == inside:
		delete(d.putOut, room)
	case h.stage == out:
		delete(d.held, room)
		if unknown && !l.heldLocked(d.key(), room) {
			l.stuckLocked(d.key(), room, event.PartClosed)
		}
	}
}

// stageOf returns how far a hold has come.
func (l *ledger) stageOf(h *hold) stage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return h.stage
}

func (l *ledger) heldLocked(k endpointKey, room event.RoomID) bool {
	for _, d := range l.endpoints[k] {
		if _, ok := d.held[room]; ok {
			return true
		}
	}
	return false
}

// part gives up a room. Submitted false says that another dialog of the device keeps the session, so that nothing but
// the dialog's own subscription ends; done is not called then.
func (l *ledger) part(d *dialog, room event.RoomID, done func(chat.Outcome, error)) (held, submitted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, held := d.held[room]
	if !held {
		return false, false
	}
	h.step(leaves, 0)
	delete(d.held, room)
	if l.heldLocked(d.key(), room) {
		return true, false
	}
	l.front.backend.Submit(chat.Request{Origin: l.front.origin(d),
		Command: &chat.Part{Rooms: []event.RoomID{room}, Reason: event.PartAsked}}, done)
	return true, true
}

// unparted takes a room back whose Part failed, so that the client may try again.
func (l *ledger) unparted(d *dialog, room event.RoomID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.live[d]; !ok {
		if !l.heldLocked(d.key(), room) {
			l.stuckLocked(d.key(), room, event.PartAsked)
		}
		return
	}
	if d.held[room] == nil {
		d.held[room] = new(hold)
	}
	d.held[room].stage = inside
}

// parted notes that a session has ended in the log. What this front parted itself is forgotten already, so what is left
// is a session that the pool ended on its own, perhaps one whose join this front does not know the outcome of yet. A client
// that was put out may not know it: when it leaves the room later, it has left.
func (l *ledger) parted(k endpointKey, room event.RoomID, reason event.PartReason, at event.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.endpoints[k] {
		h, ok := d.held[room]
		if !ok {
			continue
		}
		if h.stage == inside && (reason == event.PartKicked || reason == event.PartDisabled) && len(d.putOut) < chat.MaxJoinRooms {
			if d.putOut == nil {
				d.putOut = map[event.RoomID]struct{}{}
			}
			d.putOut[room] = struct{}{}
		}
		if h.step(ends, at); h.stage == out {
			delete(d.held, room)
		}
	}
}

// wasPutOut reports whether the pool put a dialog out of a room that it has not left since, and forgets it.
func (l *ledger) wasPutOut(d *dialog, room event.RoomID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, was := d.putOut[room]
	delete(d.putOut, room)
	return was
}

// leave removes dialogs that ended and parts what only they kept: one command for each device.
func (l *ledger) leave(reason event.PartReason, gone ...*dialog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	devices := map[endpointKey]map[event.RoomID]struct{}{}
	for _, d := range gone {
		if _, ok := l.live[d]; !ok {
			continue
		}
		delete(l.live, d)
		k := d.key()
		rest := l.endpoints[k][:0]
		for _, other := range l.endpoints[k] {
			if other != d {
				rest = append(rest, other)
			}
		}
		clear(l.endpoints[k][len(rest):])
		if l.endpoints[k] = rest; len(rest) == 0 {
			delete(l.endpoints, k)
		}
		if devices[k] == nil {
			devices[k] = map[event.RoomID]struct{}{}
		}
		for room, h := range d.held {
			h.step(leaves, 0)
			devices[k][room] = struct{}{}
		}
		d.held, d.putOut = nil, nil
	}
	l.front.dialogs.Store(int64(len(l.live)))
	for k, rooms := range devices {
		var ends []event.RoomID
		for room := range rooms {
			if !l.heldLocked(k, room) {
				ends = append(ends, room)
			}
		}
		l.submitLocked(k, ends, reason)
	}
}

// submitLocked sends a Part for a device. If it is lost it is sent again until it is committed or refused: a session that
// nobody ends would show a user who is not there.
func (l *ledger) submitLocked(k endpointKey, rooms []event.RoomID, reason event.PartReason) {
	for len(rooms) > chat.MaxJoinRooms {
		l.submitLocked(k, rooms[:chat.MaxJoinRooms], reason)
		rooms = rooms[chat.MaxJoinRooms:]
	}
	if len(rooms) == 0 {
		return
	}
	l.parting++
	o := chat.Origin{By: k.user, Endpoint: k.endpoint, Node: l.front.cfg.Node, Incarnation: event.Incarnation(l.front.incarnation.Load())}
	l.front.backend.Submit(chat.Request{Origin: o, Command: &chat.Part{Rooms: rooms, Reason: reason}}, func(_ chat.Outcome, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.parting--
		switch {
		case err == nil, errors.Is(err, chat.ErrNotJoined): // ended by the pool meanwhile
		case errors.Is(chat.AsRefusal(err), chat.ErrUnavailable):
			for _, r := range rooms {
				if !l.heldLocked(k, r) {
					l.stuckLocked(k, r, reason)
				}
			}
		default:
			l.front.log.Error("sessions could not be ended", slog.String(keyError, err.Error()))
		}
		l.idleLocked()
	})
}

func (l *ledger) stuckLocked(k endpointKey, room event.RoomID, reason event.PartReason) {
	if l.stuck[k] == nil {
		l.stuck[k] = map[event.RoomID]event.PartReason{}
	}
	l.stuck[k][room] = reason
}

// retry submits again what is stuck, unless the device has come back to the room meanwhile.
func (l *ledger) retry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, rooms := range l.stuck {
		byReason := map[event.PartReason][]event.RoomID{}
		for r, reason := range rooms {
			if !l.heldLocked(k, r) {
				byReason[reason] = append(byReason[reason], r)
			}
		}
		delete(l.stuck, k)
		for reason, all := range byReason {
			l.submitLocked(k, all, reason)
		}
	}
	l.idleLocked()
}

// unfinished returns how many sessions are being ended.
func (l *ledger) unfinished() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.parting
	for _, rooms := range l.stuck {
		n += len(rooms)
	}
	return n
}

// partAll ends all sessions of the node and takes no more. The channel closes when that is committed.
func (l *ledger) partAll(reason event.PartReason) <-chan struct{} {
	l.mu.Lock()
	l.draining = true
	l.mu.Unlock()
	all := l.dialogs()
	ended := all[:0]
	for _, d := range all {
		if l.front.remove(d, "drained") {
			ended = append(ended, d)
		}
	}
	l.leave(reason, ended...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drained = true // not before: a retry in between would find nothing on its way
	l.idleLocked()
	return l.idle
}

func (l *ledger) idleLocked() {
	if !l.drained || l.parting > 0 || len(l.stuck) > 0 {
		return
	}
	select {
	case <-l.idle:
	default:
		close(l.idle)
	}
}

// forgetAll drops what is held: the pool has ended it already.
func (l *ledger) forgetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := range l.live {
		d.held = nil
	}
	clear(l.stuck)
}
