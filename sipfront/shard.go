package sipfront

import (
	"sync"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/flow"
	"parley/sipfront/notices"
)

// shard owns the way from the log to some of the flows. Only its goroutine touches audiences and the reply order of
// its dialogs, so neither needs a lock, and what a dialog gets is in the order of the log.
type shard struct {
	front *Front
	inbox *mailbox[task]
	slots chan struct{} // runs that may wait: Applied blocks beyond them, for a moment

	// goroutine only
	applied event.Offset // runs are fanned out up to here
	state   *chat.State  // at applied
	rooms   map[event.RoomID][]*dialog
	users   map[event.Principal]map[*dialog]struct{}
	waiting []task      // for offsets beyond applied, in no order
	dirty   []*client   // flows with something queued since the last flush
	posted  []time.Time // of the chat messages among that
}

// task is a run to fan out, or something to do once the shard has fanned out up to an offset.
type task struct {
	run *run
	at  event.Offset
	do  func(s *shard)
}

// maxRuns is how many runs may wait for a shard before Applied waits.
const maxRuns = 1024

func newShard(f *Front, st *chat.State) *shard {
	return &shard{front: f, inbox: newMailbox[task](), slots: make(chan struct{}, maxRuns), applied: st.Offset(), state: st,
		rooms: map[event.RoomID][]*dialog{}, users: map[event.Principal]map[*dialog]struct{}{}}
}

// after runs do on the shard's goroutine once everything up to an offset is fanned out; at 0 means now.
func (s *shard) after(at event.Offset, do func(s *shard)) { s.inbox.put(task{at: at, do: do}) }

func (s *shard) run() {
	defer s.front.wg.Done()
	for {
		batch := s.inbox.take()
		if batch == nil {
			return
		}
		for i := range batch {
			t := &batch[i]
			switch {
			case t.run != nil:
				s.fanOut(t.run)
				<-s.slots
			case t.at > s.applied:
				s.waiting = append(s.waiting, *t)
			default:
				t.do(s)
			}
		}
		s.flush()
	}
}

// flush sends what the batch queued: one write for each flow.
func (s *shard) flush() {
	for i, c := range s.dirty {
		c.dirty = false
		c.conn.Flush()
		s.dirty[i] = nil
	}
	s.dirty = s.dirty[:0]
	for _, at := range s.posted {
		s.front.metrics.deliver.Observe(time.Since(at).Seconds())
	}
	s.posted = s.posted[:0]
}

// post queues a message for a dialog; it goes out with the next flush.
func (s *shard) post(d *dialog, p *flow.Payload) {
	if d.client.conn.Post(d.dest, p) {
		s.touched(d.client)
	}
}

// reply is post for what the client asked for.
func (s *shard) reply(d *dialog, p *flow.Payload) {
	if d.client.conn.Reply(d.dest, p) {
		s.touched(d.client)
	}
}

func (s *shard) touched(c *client) {
	if !c.dirty {
		c.dirty = true
		s.dirty = append(s.dirty, c)
	}
}

// know makes a dialog hear what concerns its user.
func (s *shard) know(d *dialog) {
	if d.ended.Load() {
		return
	}
	if s.users[d.user] == nil {
		s.users[d.user] = map[*dialog]struct{}{}
	}
	s.users[d.user][d] = struct{}{}
}

// subscribe makes a dialog hear a room from here on.
func (s *shard) subscribe(d *dialog, room event.RoomID) {
	if _, ok := d.rooms[room]; ok || d.ended.Load() {
		return
	}
	if d.rooms == nil {
		d.rooms = map[event.RoomID]int{}
	}
	d.rooms[room] = len(s.rooms[room])
	s.rooms[room] = append(s.rooms[room], d)
}

func (s *shard) unsubscribe(d *dialog, room event.RoomID) {
	i, ok := d.rooms[room]
	if !ok {
		return
	}
	delete(d.rooms, room)
	all := s.rooms[room]
	last := all[len(all)-1]
	all[i], all[len(all)-1] = last, nil
	if last != d {
		last.rooms[room] = i
	}
	if all = all[:len(all)-1]; len(all) == 0 {
		delete(s.rooms, room)
		return
	}
	s.rooms[room] = all
}

// drop forgets a dialog that ended.
func (s *shard) drop(d *dialog) {
	for room := range d.rooms {
		s.unsubscribe(d, room)
	}
	if delete(s.users[d.user], d); len(s.users[d.user]) == 0 {
		delete(s.users, d.user)
	}
	d.replies = nil
}

// fanOut does one run of events. For each dialog the order is that of the log.
func (s *shard) fanOut(r *run) {
	if r.last <= s.applied { // seen in the snapshot that the shard started from
		return
	}
	delivered := 0
	for i := range r.acts {
		a := &r.acts[i]
		if a.Offset <= s.applied {
			continue
		}
		if n := s.carryOut(a); n > 0 {
			if delivered += n; a.Post {
				s.posted = append(s.posted, a.At)
			}
		}
	}
	s.applied, s.state = r.last, r.after
	s.front.load.spend(delivered)
	s.front.metrics.deliveries.Add(float64(delivered))
	kept := s.waiting[:0]
	for _, t := range s.waiting {
		if t.at > s.applied {
			kept = append(kept, t)
		} else {
			t.do(s)
		}
	}
	clear(s.waiting[len(kept):])
	s.waiting = kept
}

// carryOut does one act and returns how many dialogs it told.
func (s *shard) carryOut(a *act) (delivered int) {
	var p [2]*flow.Payload // as other clients and as the open client get it
	tell := func(d *dialog) {
		v := 0
		if a.Knob && d.sipe {
			v = 1
		}
		if p[v] == nil {
			p[v] = a.payload(v)
		}
		s.post(d, p[v])
		delivered++
	}
	audience := s.rooms[a.Room]
	switch {
	case a.End != nil:
		for j := len(audience) - 1; j >= 0; j-- {
			d := audience[j]
			if d.user != a.End.User || d.endpoint != a.End.Endpoint {
				continue
			}
			s.unsubscribe(d, a.Room)
			if a.Body != nil {
				tell(d)
			}
		}
	case a.User != "":
		for d := range s.users[a.User] {
			tell(d)
		}
	default:
		for _, d := range audience {
			if d.user != a.Except {
				tell(d)
			}
		}
	}
	return delivered
}

// run is a run of events, prepared for the shards.
type run struct {
	acts  []act
	last  event.Offset
	after *chat.State
}

// act is what one event means for the clients of this node, with its renderings.
type act struct {
	notices.Act
	forms *[2]form
}

// form is a rendering that the shards share: the first that needs it makes it.
type form struct {
	once sync.Once
	p    *flow.Payload
}

// contentType of everything the front sends in INFO. The XML is not labelled as such (docs/protocol.md, Around it: SIP).
const contentType = "text/plain; charset=UTF-8"

func (a *act) payload(v int) *flow.Payload {
	f := &a.forms[v]
	f.once.Do(func() { f.p = flow.NewPayload(contentType, a.Body(v == 1)) })
	return f.p
}

// endpointKey is a user on one of his devices.
type endpointKey struct {
	user     event.Principal
	endpoint event.Endpoint
}

// reply is the place of a reply in the order of its dialog's commands.
type reply struct {
	ready bool
	emit  func(s *shard) // nil: nobody is there to get it
}

// expect keeps the place of a reply. It is called in the order of the commands.
func (d *dialog) expect() *reply {
	r := new(reply)
	d.client.shard.after(0, func(*shard) {
		if !d.ended.Load() {
			d.replies = append(d.replies, r)
		}
	})
	return r
}

// complete lets a reply out once everything up to an offset is fanned out and the replies before it are out: replies
// of one dialog leave in the order of its commands, so a client that pipelines meets no surprise. settle runs in any
// case, emit only if the dialog is still there.
func (d *dialog) complete(r *reply, at event.Offset, settle, emit func(s *shard)) {
	d.client.shard.after(at, func(s *shard) {
		if settle != nil {
			settle(s)
		}
		d.client.release()
		r.ready, r.emit = true, emit
		if d.ended.Load() {
			return
		}
		for len(d.replies) > 0 && d.replies[0].ready {
			next := d.replies[0]
			d.replies[0] = nil
			d.replies = d.replies[1:]
			if next.emit != nil {
				next.emit(s)
			}
		}
	})
}
