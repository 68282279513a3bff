package commands

import (
	"context"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/match"
	"parley/projections/history"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
	"parley/sipfront/xccos/content"
)

// PostOf is the command for a message of a client. A story is known by its mark, which the wire alone has: in the pool its
// title and its text are apart.
func PostOf(room event.RoomID, p *xccos.Post) *chat.Post {
	text := strings.Clone(p.Text)
	c := &chat.Post{Room: room, Text: text, RTF: strings.Clone(p.RTF), Alert: p.Alert}
	for _, l := range content.Links(text) {
		if linkable(l.URI) && linkable(l.Name) { // else it is text, as anything that looks like a link and is none
			c.Links = append(c.Links, l)
		}
	}
	if title, body := content.Split(text); title != "" && body != "" {
		c.Story, c.Title, c.Text = true, title, body
	}
	return c
}

// maxLink is how long a link may be, in bytes, and what is shown of it: more is not written into the log.
const maxLink = 2048

func linkable(s string) bool {
	return len(s) <= maxLink && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// searching is a search of messages: what was asked, and what was found in each room.
type searching struct {
	rooms []event.RoomID
	query event.Query
	q     *xccos.BCQ
	limit int
	found []foundIn
}

type foundIn struct {
	messages []history.Message
	total    uint64
	more     bool
}

// searchMessages looks for messages by words and authors. What was looked for and how much was shown is an event, and the
// reply waits for it: nobody reads by searching what no auditor hears of. So a search has no identity: one that is repeated
// shows what is found then, and is a search of its own. Rights, and whether a room shows its history, are asked twice: here,
// so that nothing is read in vain, and by the rules, which refuse the search when they are gone, and the room when it shows
// none.
func (d *Desk) searchMessages(k *Call) {
	s := searching{q: k.data().Context}
	var refusal *chat.Refusal
	if s.rooms, refusal = d.roomsOf(k); refusal == nil {
		refusal = s.read()
	}
	if refusal != nil {
		k.fail(refusal)
		return
	}
	d.read(func(ctx context.Context) {
		st := d.Pool.State()
		shown := 0
		budget := blocks.Budget()
		for _, room := range s.rooms {
			var f foundIn
			var err error
			if st.Rights(room, k.user()).ReadHistory && st.ShowsHistory(room) {
				f, err = d.find(ctx, &s, room, budget)
			}
			if err != nil {
				d.broken(k, "messages", err)
				return
			}
			s.found = append(s.found, f)
			shown += len(f.messages)
		}
		d.Pool.Submit(chat.Request{Origin: k.Origin, Command: &chat.SearchMessages{Rooms: s.rooms, Query: s.query,
			Limit: uint64(s.limit), Found: uint64(shown)}}, func(o chat.Outcome, err error) {
			if err != nil {
				k.fail(chat.AsRefusal(err))
				return
			}
			s.hide(o.Result.Refused)
			k.Reply(o.Offset, func(st *chat.State) (*xccos.Data, *chat.Refusal) {
				for _, room := range s.rooms {
					if refusal := readable(st, room, k.user()); refusal != nil {
						return nil, refusal
					}
				}
				return s.data(st), nil
			})
		})
	})
}

// read reads the question.
func (s *searching) read() *chat.Refusal {
	if s.q.Text != nil {
		s.query.Text, s.query.CaseSensitive, s.query.Match = strings.TrimSpace(s.q.Text.Words), s.q.Text.MatchCase, event.MatchOr
		if s.q.Text.Exact {
			s.query.Match = event.MatchExact
		}
	}
	for i := range s.q.Authors {
		p := event.UserPrincipal(s.q.Authors[i].URI)
		if p == "" {
			return chat.Refuse(chat.CodeInvalid, "an author without an address")
		}
		s.query.Authors = append(s.query.Authors, p)
	}
	if s.query.Text == "" && len(s.query.Authors) == 0 {
		return chat.Refuse(chat.CodeInvalid, "neither a word nor an author to look for")
	}
	if s.q.MsgID == nil {
		var refusal *chat.Refusal
		if s.query.From, s.query.To, refusal = timesOf(s.q.Date); refusal != nil {
			return refusal
		}
	}
	s.limit = chat.MaxHistory
	if n := s.q.Limit; n != nil && n.N > 0 {
		s.limit = min(s.limit, int(n.N))
	}
	return nil
}

// find looks in one room. The index knows no case, so what it finds is looked at again where case counts; and the text
// comes from the history, so what was removed a moment ago is not shown.
func (d *Desk) find(ctx context.Context, s *searching, room event.RoomID, budget *int) (f foundIn, err error) {
	means := match.New(event.Query{Text: s.query.Text, Match: s.query.Match, CaseSensitive: true})
	ask := MessageQuery{Room: room, Query: s.query, Newest: s.q.NewestFirst, Limit: s.limit + 1}
	if s.q.MsgID != nil {
		ask.From = max(s.q.MsgID.ID, 1)
	}
	ask.Now = len(s.found) > 0
	for {
		ids, total, err := d.Pool.FindMessages(ctx, ask)
		if err != nil {
			return f, err
		}
		if ask.Now = true; f.total == 0 {
			f.total = total
		}
		for _, id := range ids {
			list, err := d.Pool.History(ctx, room, id, id)
			if err != nil {
				return f, err
			}
			if len(list) == 0 || list[0].Erased || s.query.CaseSensitive && s.query.Text != "" && !means.Means(list[0].By, list[0].At, list[0].Title, list[0].Text) {
				continue
			}
			if len(f.messages) == s.limit || !blocks.Fits(&list[0], budget) {
				f.more = true
				return f, nil
			}
			f.messages = append(f.messages, list[0])
		}
		if len(ids) < ask.Limit {
			if s.query.CaseSensitive {
				f.total = uint64(len(f.messages)) // now that all are known
			}
			return f, nil
		}
		if ask.From = ids[len(ids)-1] + 1; ask.Newest {
			if ask.From = ids[len(ids)-1] - 1; ask.From == 0 {
				return f, nil
			}
		}
	}
}

// hide takes out what was found in rooms of which the rules let nothing be shown.
func (s *searching) hide(refused []chat.Refusal) {
	for i := range refused {
		if at := slices.Index(s.rooms, refused[i].Room); at >= 0 {
			s.found[at] = foundIn{}
		}
	}
}

// data is the reply: the rooms as they were asked for, each with what was found in it.
func (s *searching) data(st *chat.State) *xccos.Data {
	var rooms []xccos.ChanIB
	var next uint64
	for i, room := range s.rooms {
		f := &s.found[i]
		b := xccos.ChanIB{URI: chat.RoomURI(st.Domain(), room), Total: f.total, Exceeded: f.more}
		for j := range f.messages {
			b.Posts = append(b.Posts, blocks.Record(st, room, &f.messages[j]))
		}
		if n := len(f.messages); f.more && n > 0 {
			if next = f.messages[n-1].ID + 1; s.q.NewestFirst {
				next = f.messages[n-1].ID - 1
			}
		}
		if s.q.ReturnNewest != s.q.NewestFirst {
			slices.Reverse(b.Posts)
		}
		rooms = append(rooms, b)
	}
	return blocks.Pages(rooms, next)
}
