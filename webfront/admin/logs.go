package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/dump"
	"parley/webfront/replay"
)

// progressEvery is how often a long answer shows that it goes on.
const progressEvery = time.Second

func offsetOf(q url.Values, name string) (event.Offset, error) {
	if !q.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil {
		return 0, chat.Refuse(chat.CodeInvalid, "%s=%q is not an offset", name, q.Get(name))
	}
	return event.Offset(n), nil
}

func (a *API) logRoutes() []route {
	from := param{Name: "from", Kind: "integer", Doc: "first event offset"}
	to := param{Name: "to", Kind: "integer", Doc: "last event offset"}
	return []route{
		{method: "GET", path: "/log/events", right: roles.LogRead, recorded: true, lines: true, handle: a.logEvents,
			summary: "Events, one JSON object per line; a last line {problem} says that the rest could not be read",
			params: []param{from, to, {Name: "room", Doc: "ma-chan URI, GUID or any name that the room ever had"}, {Name: "user", Doc: "who acted"},
				{Name: "kind", Many: true, Doc: "any of these"}, {Name: "follow", Kind: "boolean", Doc: "go on at the head, until the client leaves or his right ends; without from only what is new"}}},
		{method: "GET", path: "/log/state", right: roles.LogRead, recorded: true, lines: true, handle: a.logState,
			summary: "What the pool was at a moment: after lines of progress {done, total}, the pool, then a line for each room; with room only that, with who could see it and what stood on the screen",
			params: []param{{Name: "at", Doc: "offset, or time in RFC 3339"}, {Name: "room", Doc: "ma-chan URI, GUID or the name that it had then"},
				{Name: "messages", Kind: "integer", Doc: "how many messages of the screen, 0 to 10000; default 25"}}},
		{method: "GET", path: "/log/verify", right: roles.LogVerify, lines: true, out: VerifyResult{}, params: []param{from, to}, handle: a.logVerify,
			summary: "Check the log of the node that answers; lines of progress, then the result or a problem"},
	}
}

// logEvents streams events. ?follow=true goes on at the head until the client leaves, his right ends (see followed), or the node stops.
func (a *API) logEvents(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	q := dump.Query{Room: v.Get("room"), User: v.Get("user"), Kinds: v["kind"], Follow: v.Get("follow") == "true"}
	var err error
	if q.From, err = offsetOf(v, "from"); err != nil {
		return err
	}
	if q.To, err = offsetOf(v, "to"); err != nil {
		return err
	}
	if q.Follow && q.From == 0 {
		q.From = a.Pool.Node().Committed + 1
	}
	src := a.Log
	if q.Follow {
		src = followed{a.Log, a, r}
	}
	asked, err := dump.Prepare(r.Context(), src, a.Pool.Node().Committed, q)
	if err != nil {
		return err
	}
	if err := a.record(r); err != nil {
		return err
	}
	// With the record in it: who asks one node after the other gets the same from each.
	head := a.Pool.Node().Committed
	s := answer.NewStream(w)
	if q.Follow { // the client learns at once that it is connected
		if err := s.Flush(); err != nil {
			return nil
		}
	}
	err = asked.Run(r.Context(), head, func(line []byte) error {
		if err := s.Line(line); err != nil || !q.Follow {
			return err
		}
		return s.Flush()
	})
	if q.Follow && r.Context().Err() != nil {
		err = nil // the client left or the node stops: the end of what there is
	}
	return s.End(err)
}

// logState folds the log up to a moment, a few at once (maxReplays). It costs a read of the log before it, about a second per million events.
func (a *API) logState(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	at, err := replay.Moment(a.Log, a.Pool.Node().Committed, v.Get("at"))
	if errors.Is(err, replay.ErrMoment) {
		return chat.Refuse(chat.CodeInvalid, "at: %v", err)
	}
	if err != nil {
		return err
	}
	screen := replay.DefaultScreen
	if t := v.Get("messages"); t != "" {
		if screen, err = strconv.Atoi(t); err != nil || screen < 0 || screen > replay.MaxScreen {
			return chat.Refuse(chat.CodeInvalid, "messages=%q is not a number from 0 to %d", t, replay.MaxScreen)
		}
	}
	select {
	case a.replays <- struct{}{}:
		defer func() { <-a.replays }()
	default:
		return chat.Refuse(chat.CodeUnavailable, "%d others look at the past on this node, and each takes the memory of a whole pool: try again, or ask another node", maxReplays)
	}
	if err := a.record(r); err != nil {
		return err
	}
	s := answer.NewStream(w)
	next := time.Now().Add(progressEvery)
	state, err := replay.State(r.Context(), a.Log, at, func(done, total event.Offset) {
		if now := time.Now(); now.After(next) {
			next = now.Add(progressEvery)
			_ = s.Object(VerifyProgress{done, total}) // a client that left ends the request's context
		}
	})
	if err != nil {
		return s.End(err)
	}
	if room := v.Get("room"); room != "" {
		return s.End(replay.Detail(r.Context(), a.Log, state, room, screen, s.Add))
	}
	return s.End(replay.Lines(state, s.Add))
}

// VerifyResult is the end of a verification.
type VerifyResult struct {
	OK    bool         `json:"ok"`
	First event.Offset `json:"first" doc:"0: the log was empty"`
	Last  event.Offset `json:"last"`
	Chain string       `json:"chain" doc:"after the last event, in hex"`
}

// VerifyProgress is how far a verification has got.
type VerifyProgress struct {
	Done  event.Offset `json:"done"`
	Total event.Offset `json:"total"`
}

func (a *API) logVerify(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	from, err := offsetOf(v, "from")
	if err != nil {
		return err
	}
	to, err := offsetOf(v, "to")
	if err != nil {
		return err
	}
	s := answer.NewStream(w)
	next := time.Now().Add(progressEvery)
	res, err := Verify(r.Context(), a.Log, a.Pool.Node().Committed, from, to, func(done, total event.Offset) {
		if now := time.Now(); now.After(next) {
			next = now.Add(progressEvery)
			_ = s.Object(VerifyProgress{done, total}) // a client that left ends the request's context
		}
	})
	if err == nil {
		return s.Object(res)
	}
	return s.End(err)
}

// Verify checks the events from..to of a log whose committed head is head; from 0 and to 0 means everything, what is
// not committed yet included. A stopped directory is verified through it too.
func Verify(ctx context.Context, l Log, head, from, to event.Offset, progress func(done, total event.Offset)) (VerifyResult, error) {
	if to > head {
		return VerifyResult{}, chat.Refuse(chat.CodeInvalid, "the log ends at event %d, before %d", head, to)
	}
	if to != 0 && from > to || from > head {
		return VerifyResult{}, chat.Refuse(chat.CodeInvalid, "there are no events from %d to %d", from, max(to, head))
	}
	if err := l.Verify(ctx, from, to, progress); err != nil {
		return VerifyResult{}, err
	}
	if head == 0 {
		return VerifyResult{OK: true}, nil
	}
	if to == 0 {
		to = head
	}
	last, err := l.Read(to, 1)
	if err != nil {
		return VerifyResult{}, err
	}
	if len(last) == 0 {
		return VerifyResult{}, fmt.Errorf("read event %d, the last: the log ends before it: %w", to, event.ErrCorrupt)
	}
	return VerifyResult{OK: true, First: max(from, 1), Last: to, Chain: last[0].Chain.String()}, nil
}
