package blocks

import (
	"math"
	"slices"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/sipfront/xccos"
)

// historyBytes is how much text one history reply holds. With all that stands around it, it must fit an INFO.
const historyBytes = 120 << 10

// Page is what a client asked of a room's history: its end (cmd:bccontext), or from one message on, forwards or
// backwards (cmd:bcbymsg).
//
// A reply holds at most as many messages as the rules allow (chat.MaxHistory) and as much text as fits an INFO. When it
// had to stop there it says so, and with which message to ask on. So a client that was away for any number of messages
// reads all of them: from the one after the last it has, until a reply is not exceeded. What comes meanwhile is
// delivered live if it joined before its last question.
type Page struct {
	Read    chat.ReadHistory // the command
	back    bool             // from the newest to the oldest, so that a limit leaves out the oldest
	reverse bool             // shown newest first
	byID    bool             // cmd:bcbymsg
}

// PageOf reads the question. limit is how many messages are shown to whoever does not say how many he wants.
func PageOf(it *xccos.Item, room event.RoomID, limit uint64) Page {
	p := Page{Read: chat.ReadHistory{Room: room}, back: true}
	q := it.Data.Context
	if q == nil {
		return p
	}
	p.reverse = q.ReturnNewest
	if it.ID == xccos.CmdBCContext {
		if q.Last != nil {
			p.Read.Last = uint64(q.Last.N)
		}
		return p
	}
	p.byID, p.back = true, q.NewestFirst
	if q.Limit != nil {
		p.Read.Last = uint64(q.Limit.N)
	}
	p.Read.From, p.Read.UpTo = q.MsgID.ID, math.MaxUint64
	if p.back {
		n := p.Read.Last
		if n == 0 {
			n = limit
		}
		n = min(n, chat.MaxHistory)
		p.Read.UpTo = max(q.MsgID.ID, 1)
		p.Read.From = p.Read.UpTo - min(n, p.Read.UpTo) + 1
	}
	return p
}

// Data is the reply: the messages with ids from first to last that are kept, as far as they fit. Oldest first unless it
// was asked for otherwise: clients print in document order.
func (p *Page) Data(st *chat.State, first, last uint64, messages []history.Message) *xccos.Data {
	uri := chat.RoomURI(st.Domain(), p.Read.Room)
	room := xccos.ChanIB{URI: uri}
	shown := p.fit(messages)
	switch left := len(messages) - len(shown); {
	case left > 0 && p.back:
		first = shown[0].ID
	case left > 0:
		last = shown[len(shown)-1].ID
	}
	next := last + 1
	if p.back {
		next = first - 1
	}
	if r, ok := st.Room(p.Read.Room); ok && p.byID && first > 0 {
		room.Exceeded = next > 0 && next <= r.LastMessage
	} else {
		room.Exceeded = len(shown) < len(messages)
	}
	for i := range shown {
		m := &shown[i]
		if m.Erased {
			continue
		}
		room.Posts = append(room.Posts, xccos.Post{ChanURI: uri, Author: string(m.By), Display: displayName(st, m.By), Alert: m.Alert,
			ChatID: m.ID, TS: xccos.FormatTime(m.At), Text: m.Text, RTF: m.RTF})
	}
	if p.reverse {
		slices.Reverse(room.Posts)
	}
	d := &xccos.Data{Chans: []xccos.ChanIB{room}}
	if room.Exceeded {
		d.Context = &xccos.BCQ{MsgID: &xccos.MsgID{ID: next}}
	}
	return d
}

// fit leaves out what would make the answer too long, at the end that was asked for last. One message always fits.
func (p *Page) fit(all []history.Message) []history.Message {
	size := 0
	for n := range all {
		i := n
		if p.back {
			i = len(all) - 1 - n
		}
		if size += len(all[i].Text) + len(all[i].RTF) + 256; size <= historyBytes || n == 0 {
			continue
		}
		if p.back {
			return all[i+1:]
		}
		return all[:i]
	}
	return all
}
