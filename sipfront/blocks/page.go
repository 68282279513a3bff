package blocks

import (
	"math"
	"slices"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/sipfront/xccos"
	"parley/sipfront/xccos/content"
)

// historyBytes is how much text one history reply holds. With all that stands around it, it must fit an INFO.
const historyBytes = 120 << 10

// Page is what a client asked of a room's history: its end (cmd:bccontext), from one message on, forwards or backwards
// (cmd:bcbymsg), or a span of time (cmd:bcbydate).
//
// A reply holds at most as many messages as the rules allow (chat.MaxHistory) and as much text as fits an INFO. When it
// had to stop there it says so, and with which message to ask on. So a client that was away for any number of messages
// reads all of them: from the one after the last it has, until a reply is not exceeded. What comes meanwhile is
// delivered live if it joined before its last question.
type Page struct {
	Read    chat.ReadHistory // the command
	back    bool             // from the newest to the oldest, so that a limit leaves out the oldest
	reverse bool             // shown newest first
	first   uint64           // what was asked for: ids, for all but cmd:bccontext
	last    uint64
}

// PageOf reads the question for the end of a room, or for the messages from one on, which is included. limit is how many
// messages are shown to whoever does not say how many he wants.
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
	if q.NewestFirst {
		return p.among(q, 1, max(q.MsgID.ID, 1), limit)
	}
	return p.among(q, max(q.MsgID.ID, 1), math.MaxUint64, limit)
}

// PageAmong reads the question for the messages with ids from first to last; 0, 0 are none. Whoever does not say how many
// he wants gets as many as there may be in an answer.
func PageAmong(q *xccos.BCQ, room event.RoomID, first, last uint64) Page {
	p := Page{Read: chat.ReadHistory{Room: room, Last: chat.MaxHistory}, reverse: q.ReturnNewest}
	if first == 0 {
		first, last = 2, 1 // a range in which nothing is: the rules know no message before the first
	}
	return p.among(q, first, last, chat.MaxHistory)
}

func (p Page) among(q *xccos.BCQ, first, last, limit uint64) Page {
	p.first, p.last, p.back = first, last, q.NewestFirst
	if q.Limit != nil {
		p.Read.Last = uint64(q.Limit.N)
	}
	p.Read.From, p.Read.UpTo = first, last
	if p.back && first <= last {
		n := p.Read.Last
		if n == 0 {
			n = limit
		}
		n = min(n, chat.MaxHistory)
		p.Read.From = max(first, last-min(n, last)+1)
	}
	return p
}

// Room is the reply for one room: the messages with ids from first to last that are kept, as far as the budget of bytes
// goes. Oldest first unless it was asked for otherwise: clients print in document order. next is the message to ask on
// with, 0 if there is no more.
func (p *Page) Room(st *chat.State, first, last uint64, messages []history.Message, budget *int) (room xccos.ChanIB, next uint64) {
	uri := chat.RoomURI(st.Domain(), p.Read.Room)
	room = xccos.ChanIB{URI: uri}
	shown := p.fit(messages, budget)
	switch left := len(messages) - len(shown); {
	case left > 0 && p.back:
		first = messages[left-1].ID + 1
	case left > 0:
		last = messages[len(shown)].ID - 1
	}
	next = last + 1
	if p.back {
		next = first - 1
	}
	if r, ok := st.Room(p.Read.Room); ok && p.first > 0 && first > 0 {
		end := min(p.last, r.LastMessage)
		room.Exceeded = next >= p.first && next <= end
		if room.Exceeded { // an upper bound: ids of messages that are not kept count too
			room.Total = end - p.first + 1
		}
	} else {
		room.Exceeded = len(shown) < len(messages)
	}
	for i := range shown {
		m := &shown[i]
		if m.Erased {
			continue
		}
		room.Posts = append(room.Posts, Record(st, p.Read.Room, m))
	}
	if p.reverse {
		slices.Reverse(room.Posts)
	}
	if !room.Exceeded {
		next = 0
	}
	return room, next
}

// Record is a message of the history. A story that was posted here has its title in its text; one that was imported may
// not, and gets it.
func Record(st *chat.State, room event.RoomID, m *history.Message) xccos.Post {
	text := m.Text
	if title, _ := content.Split(text); m.Story && title == "" {
		text = content.Join(m.Title, text)
	}
	return xccos.Post{ChanURI: chat.RoomURI(st.Domain(), room), Author: string(m.By), Display: displayName(st, m.By), Alert: m.Alert,
		ChatID: m.ID, TS: xccos.FormatTime(m.At), Text: text, RTF: m.RTF}
}

// Pages is the reply to a question for the history of rooms. next, the message to ask on with, is for one room only.
func Pages(rooms []xccos.ChanIB, next uint64) *xccos.Data {
	d := &xccos.Data{Chans: rooms}
	if len(rooms) == 1 && next > 0 {
		d.Context = &xccos.BCQ{MsgID: &xccos.MsgID{ID: next}}
	}
	return d
}

// Budget returns how many bytes of text a history reply holds.
func Budget() *int {
	n := historyBytes
	return &n
}

// Fits reports whether a message still goes into a reply, and takes its bytes from the budget. The first one of a reply
// always goes: else nobody would ever read it.
func Fits(m *history.Message, budget *int) bool {
	size := len(m.Text) + len(m.RTF) + 256
	if size > *budget && *budget < historyBytes {
		return false
	}
	*budget -= size
	return true
}

// fit leaves out what would make the answer too long, at the end that was asked for last.
func (p *Page) fit(all []history.Message, budget *int) []history.Message {
	for n := range all {
		i := n
		if p.back {
			i = len(all) - 1 - n
		}
		if Fits(&all[i], budget) {
			continue
		}
		if p.back {
			return all[i+1:]
		}
		return all[:i]
	}
	return all
}
