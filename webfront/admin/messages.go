package admin

import (
	"context"
	"fmt"
	"iter"
	"net/http"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/command"
	"parley/projections/chat/holds"
	"parley/projections/chat/match"
	"parley/projections/chat/roles"
	"parley/projections/history"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

// MessageQuery says which messages of a room are meant: what is absent does not narrow it.
type MessageQuery struct {
	Filter        string   `json:"filter,omitempty" doc:"words separated by blanks"`
	MatchClause   string   `json:"match_clause,omitempty" doc:"all (default): every word; or: any word; exact: the words as one phrase"`
	CaseSensitive bool     `json:"case_sensitive,omitempty"`
	StartDate     string   `json:"start_date,omitempty" doc:"posted at or after, RFC 3339"`
	EndDate       string   `json:"end_date,omitempty" doc:"posted at or before, RFC 3339"`
	UserURI       []string `json:"user_uri,omitempty" doc:"posted by one of these"`
}

// RemoveMessages is the body of POST /rooms/{room}/messages/remove: Remove-CsPersistentChatMessage.
type RemoveMessages struct {
	MessageQuery
	Remove         bool    `json:"remove,omitempty" doc:"nothing is left in their place"`
	ReplaceMessage *string `json:"replace_message,omitempty" doc:"text that stands in their place; default: the product's sentence"`
}

// MessagesRemoved is its answer, and that of clearing a room.
type MessagesRemoved struct {
	Room     string       `json:"room"`
	Messages int          `json:"messages" doc:"how many were removed now"`
	Offset   event.Offset `json:"offset" doc:"of the last event; 0: there was nothing to remove"`
}

// ClearRoom is the body of POST /rooms/{room}/clear: Clear-CsPersistentChatRoom.
type ClearRoom struct {
	EndDate *string `json:"end_date" doc:"everything posted at or before it goes, RFC 3339; required"`
}

// Message is a message of a room.
type Message struct {
	Room   string          `json:"room"`
	ID     uint64          `json:"message_id"`
	Offset event.Offset    `json:"offset"`
	At     string          `json:"at"`
	By     event.Principal `json:"by"`
	Alert  bool            `json:"alert"`
	Title  string          `json:"title" doc:"of a story"`
	Body   string          `json:"body"`
	Erased bool            `json:"erased"`
}

func (a *API) messageRoutes() []route {
	return []route{
		{method: "GET", path: "/rooms/{room}/messages", right: roles.MessageRead, recorded: true, out: Message{}, lines: true,
			summary: "Messages of a room that can be read, oldest first", handle: a.getMessages,
			params: []param{{Name: "filter", Doc: "words separated by blanks"}, {Name: "match_clause", Values: []string{"all", "or", "exact"}},
				{Name: "case_sensitive", Kind: "boolean"}, {Name: "start_date", Kind: "date-time"}, {Name: "end_date", Kind: "date-time"},
				{Name: "user_uri", Many: true, Doc: "posted by one of these"}, resultSize}},
		{method: "POST", path: "/rooms/{room}/messages/remove", right: roles.MessageRemove, in: RemoveMessages{}, out: MessagesRemoved{},
			summary: "Remove or replace messages of a room; the log keeps that they were there", params: []param{whatIf}, handle: a.removeMessages},
		{method: "POST", path: "/rooms/{room}/clear", right: roles.MessageRemove, in: ClearRoom{}, out: MessagesRemoved{},
			summary: "Remove every message of a room up to and including a time", params: []param{whatIf}, handle: a.clearRoom},
	}
}

// query makes the query of the rules.
func (m *MessageQuery) query(s *chat.State) (q event.Query, err error) {
	q = event.Query{Text: m.Filter, Match: event.Match(objects.Lower(m.MatchClause)), CaseSensitive: m.CaseSensitive}
	switch q.Match {
	case "":
		q.Match = event.MatchAll
	case event.MatchAll, event.MatchOr, event.MatchExact:
	default:
		return q, chat.Refuse(chat.CodeInvalid, "match_clause=%q is not one of all, or, exact", m.MatchClause)
	}
	if q.From, err = objects.ParseTime("start_date", m.StartDate); err != nil {
		return q, err
	}
	if q.To, err = objects.ParseTime("end_date", m.EndDate); err != nil {
		return q, err
	}
	for _, name := range m.UserURI {
		p, err := objects.Address(s, name)
		if err != nil {
			return q, err
		}
		q.Authors = append(q.Authors, p)
	}
	return q, nil
}

// find returns the messages that a query means.
func (a *API) find(ctx context.Context, room chat.Room, q event.Query) iter.Seq2[history.Message, error] {
	means := match.New(q)
	return func(yield func(history.Message, error) bool) {
		for m, err := range a.env.Messages(ctx, room) {
			if (err != nil || means.Means(m.By, m.At, m.Title, m.Text)) && !yield(m, err) {
				return
			}
		}
	}
}

func (a *API) getMessages(w http.ResponseWriter, r *http.Request) error {
	s, v := a.Pool.State(), r.URL.Query()
	limit, err := limitOf(v)
	if err != nil {
		return err
	}
	room, err := objects.FindRoom(s, r.PathValue("room"))
	if err != nil {
		return err
	}
	mq := MessageQuery{Filter: v.Get("filter"), MatchClause: v.Get("match_clause"), CaseSensitive: v.Get("case_sensitive") == "true",
		StartDate: v.Get("start_date"), EndDate: v.Get("end_date"), UserURI: v["user_uri"]}
	q, err := mq.query(s)
	if err != nil {
		return err
	}
	if err := a.record(r); err != nil {
		return err
	}
	out, n := answer.NewStream(w), 0
	uri := chat.RoomURI(s.Domain(), room.ID)
	for m, err := range a.find(r.Context(), room, q) {
		if err != nil {
			return out.End(err)
		}
		if n++; n > limit {
			break
		}
		if err := out.Add(Message{Room: uri, ID: m.ID, Offset: m.Offset, At: m.At.String(), By: m.By, Alert: m.Alert, Title: m.Title, Body: m.Text, Erased: m.Erased}); err != nil {
			return nil // the client left
		}
	}
	return out.End(nil)
}

func (a *API) removeMessages(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[RemoveMessages](a, r)
	if err != nil {
		return err
	}
	if c.Remove && c.ReplaceMessage != nil {
		return chat.Refuse(chat.CodeInvalid, "messages are either removed or replaced")
	}
	s := a.Pool.State()
	room, err := objects.FindRoom(s, r.PathValue("room"))
	if err != nil {
		return err
	}
	q, err := c.query(s)
	if err != nil {
		return err
	}
	text := ""
	objects.Set(&text, c.ReplaceMessage)
	var reqs []chat.Request
	var refs []event.MessageRef
	var facts []command.Fact
	add := func() {
		reqs = append(reqs, chat.Request{Origin: part(o, fmt.Sprintf("%d to %d", refs[0].Offset, refs[len(refs)-1].Offset)), Command: &chat.RemoveMessages{Room: room.ID, Messages: refs, Replace: !c.Remove, Text: text, Query: q, Facts: facts}})
		refs, facts = nil, nil
	}
	n, keeps := 0, s.Keeps(room.ID)
	var held holds.Held // all parts of a long list are refused together
	for m, err := range a.find(r.Context(), room, q) {
		if err != nil {
			return err
		}
		ref := event.MessageRef{MessageID: m.ID, Offset: m.Offset}
		refs, facts, n = append(refs, ref), append(facts, command.Fact{By: m.By, At: m.At}), n+1
		held.Look(keeps, n, ref, m.By, m.At)
		if len(refs) == chat.MaxRemoved {
			add()
		}
	}
	if err := held.Refusal("remove messages of room", room.ID); err != nil {
		return err
	}
	if len(refs) > 0 {
		add()
	}
	if asksWhatIf(r) {
		return a.foresee(w, reqs...)
	}
	out := MessagesRemoved{Room: room.Info.Name, Messages: n}
	for _, req := range reqs {
		res, err := a.Pool.Submit(r.Context(), req)
		if err != nil {
			return err
		}
		out.Offset = res.Offset
	}
	a.confirmed(r.Context(), w, out.Offset)
	return answer.JSON(w, http.StatusOK, out)
}

func (a *API) clearRoom(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[ClearRoom](a, r)
	if err != nil {
		return err
	}
	if c.EndDate == nil || *c.EndDate == "" {
		return chat.Refuse(chat.CodeInvalid, "up to when? give an end_date")
	}
	until, err := objects.ParseTime("end_date", *c.EndDate)
	if err != nil {
		return err
	}
	room, err := objects.FindRoom(a.Pool.State(), r.PathValue("room"))
	if err != nil {
		return err
	}
	n := 0
	for m, err := range a.env.Messages(r.Context(), room) {
		if err != nil {
			return err
		}
		if m.At > until {
			break
		}
		n++
	}
	return a.submit(w, r, o, &chat.ClearRoom{Room: room.ID, Until: until}, func(out chat.Outcome) error {
		return answer.JSON(w, http.StatusOK, MessagesRemoved{Room: room.Info.Name, Messages: n, Offset: out.Offset})
	})
}
