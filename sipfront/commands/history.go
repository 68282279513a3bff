package commands

import (
	"context"
	"math"
	"sync"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
)

// maxRooms is how many rooms one question about messages may be for: each costs a search or a scan.
const maxRooms = 100

// context reads the end of a room, or the messages from one on. Of several rooms only the first counts, as clients that ask
// for the context of a room ask for one.
func (d *Desk) context(k *Call) {
	room, refusal := d.roomOf(k.data().Chans[0].URI)
	if refusal != nil {
		k.fail(refusal)
		return
	}
	d.pages(k, []blocks.Page{blocks.PageOf(k.Item, room, d.Pool.State().Limits().DefaultChatHistory)})
}

// roomsOf reads the rooms of a question about messages, each once.
func (d *Desk) roomsOf(k *Call) ([]event.RoomID, *chat.Refusal) {
	var rooms []event.RoomID
	known := map[event.RoomID]bool{}
	for i := range k.data().Chans {
		room, refusal := d.roomOf(k.data().Chans[i].URI)
		if refusal != nil {
			return nil, refusal
		}
		if !known[room] {
			known[room] = true
			rooms = append(rooms, room)
		}
	}
	if len(rooms) > maxRooms {
		return nil, chat.Refuse(chat.CodeTooLarge, "%d rooms in one question, at most %d", len(rooms), maxRooms)
	}
	return rooms, nil
}

// timesOf reads a span of time.
func timesOf(r *xccos.DateRange) (from, to event.Time, refusal *chat.Refusal) {
	if r == nil {
		return 0, 0, nil
	}
	read := func(text string) (t event.Time) {
		ok := true
		if text != "" {
			t, ok = xccos.ParseTime(text)
		}
		if !ok {
			refusal = chat.Refuse(chat.CodeInvalid, "a date is not an ISO 8601 time")
		}
		return t
	}
	from = read(r.From)
	to = read(r.To)
	return from, to, refusal // not before both are read
}

// byDate reads what was posted in a span of time. The span of ids that it means is found in the history first; what is
// shown of it is fixed by the log. A message to begin with makes dates count no more.
func (d *Desk) byDate(k *Call) {
	rooms, refusal := d.roomsOf(k)
	q := k.data().Context
	from, to, bad := timesOf(q.Date)
	if refusal == nil {
		refusal = bad
	}
	if refusal != nil {
		k.fail(refusal)
		return
	}
	d.read(func(ctx context.Context) {
		pages := make([]blocks.Page, len(rooms))
		st := d.Pool.State()
		for i, room := range rooms {
			var first, last uint64
			var err error
			switch {
			case q.MsgID != nil && q.NewestFirst:
				first, last = 1, max(q.MsgID.ID, 1)
			case q.MsgID != nil:
				first, last = max(q.MsgID.ID, 1), math.MaxUint64
			case st.Rights(room, k.user()).ReadHistory: // the rules refuse the others anyway
				first, last, err = d.Pool.HistorySpan(ctx, room, from, to)
			}
			if err != nil {
				d.broken(k, "history", err)
				return
			}
			pages[i] = blocks.PageAmong(q, room, first, last)
		}
		d.pages(k, pages)
	})
}

// pages reads messages of rooms. Each read is an event of its own, so the range is fixed by the log and the auditors know
// what was seen. A read that is repeated because its answer was lost is the same read: one event, and the same messages,
// whatever was posted since.
func (d *Desk) pages(k *Call, pages []blocks.Page) {
	var (
		mu      sync.Mutex
		left    = len(pages)
		results = make([]chat.Result, len(pages))
		at      event.Offset
		refusal *chat.Refusal
	)
	for i := range pages {
		room := pages[i].Read.Room
		d.Pool.Submit(chat.Request{Origin: k.origin(room), Command: &pages[i].Read}, func(o chat.Outcome, err error) {
			mu.Lock()
			defer mu.Unlock()
			if results[i] = o.Result; err != nil && refusal == nil {
				refusal = chat.AsRefusal(err)
			}
			at = max(at, o.Offset)
			if left--; left > 0 {
				return
			}
			if refusal != nil {
				k.fail(refusal)
				return
			}
			k.After(at, func() { d.load(k, at, pages, results) }) // by then this node has what is to be shown
		})
	}
}

// readable refuses to show messages to whoever lost the right to read them after the rules had let him.
func readable(st *chat.State, room event.RoomID, user event.Principal) *chat.Refusal {
	if !st.Rights(room, user).ReadHistory {
		return chat.Refuse(chat.CodeForbidden, "no right to read in room %s", room)
	}
	return nil
}

// load reads what was decided to be shown.
func (d *Desk) load(k *Call, at event.Offset, pages []blocks.Page, results []chat.Result) {
	d.read(func(ctx context.Context) {
		messages := make([][]history.Message, len(pages))
		for i := range pages {
			var err error
			if r := &results[i]; r.Last > 0 {
				messages[i], err = d.Pool.History(ctx, pages[i].Read.Room, r.First, r.Last)
			}
			if err != nil {
				d.broken(k, "history", err)
				return
			}
		}
		k.Reply(at, func(st *chat.State) (*xccos.Data, *chat.Refusal) {
			for i := range pages {
				if refusal := readable(st, pages[i].Read.Room, k.user()); refusal != nil {
					return nil, refusal
				}
			}
			rooms := make([]xccos.ChanIB, len(pages))
			var next uint64
			for i, budget := 0, blocks.Budget(); i < len(pages); i++ {
				rooms[i], next = pages[i].Room(st, results[i].First, results[i].Last, messages[i], budget)
			}
			return blocks.Pages(rooms, next), nil
		})
	})
}
