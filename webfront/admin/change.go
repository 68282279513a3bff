package admin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/answer"
	"parley/webfront/dump"
)

// KeyHeader names the header that makes a request the same request when it is sent again
// (draft-ietf-httpapi-idempotency-key-header).
const KeyHeader = "Idempotency-Key"

// maxKey bounds the key, in bytes.
const maxKey = 255

// UnconfirmedHeader names the nodes that had not shown a change when it was answered, and why. It is not there when all
// have.
const UnconfirmedHeader = "Parley-Unconfirmed"

// originOf makes the origin of a command whose identity comes from words that say which command it is.
func (a *API) originOf(c caller, words ...string) chat.Origin {
	o := chat.Origin{By: c.who, Roles: c.roles, Node: a.Options.Node, Trusted: true}
	h := sha256.New()
	for _, part := range append([]string{"admin api", string(o.By)}, words...) {
		sum := sha256.Sum256([]byte(part))
		h.Write(sum[:])
	}
	o.ID = event.CommandID(h.Sum(nil)[:len(o.ID)])
	return o
}

// origin makes the origin of the command that a request leads to. Its identity comes from the client's key and
// everything the request says, so that a key that is used again by mistake for something else does not swallow that.
func (a *API) origin(r *http.Request, body []byte) (chat.Origin, error) {
	key := r.Header.Get(KeyHeader)
	if len(key) > maxKey {
		return chat.Origin{}, chat.Refuse(chat.CodeInvalid, "%s is longer than %d bytes", KeyHeader, maxKey)
	}
	if key == "" {
		key = a.NewID()
	}
	return a.originOf(callerOf(r), key, r.Method, r.URL.Path, string(body)), nil
}

// part returns the origin of one of several commands that a request leads to. step tells them apart. It must be the same
// for the same command however much was done when the request came before: a running count of what is left to do would
// have the second attempt's first command taken for the first attempt's, and not done.
func part(o chat.Origin, step string) chat.Origin {
	sum := sha256.Sum256(append(o.ID[:], "part "+step...))
	copy(o.ID[:], sum[:])
	return o
}

// body reads the body of a change and makes its origin.
func body[T any](a *API, r *http.Request) (*T, chat.Origin, error) {
	v := new(T)
	if err := answer.Read(r, v); err != nil {
		return nil, chat.Origin{}, err
	}
	b, err := json.Marshal(v) // the same request has the same bytes here, however it was spelt
	if err != nil {
		return nil, chat.Origin{}, err
	}
	o, err := a.origin(r, b)
	return v, o, err
}

// WhatIf is the answer to a change that was only asked about.
type WhatIf struct {
	WhatIf bool           `json:"what_if"`
	Events []dump.RawLine `json:"events" doc:"what would be written; empty: nothing would change"`
}

func asksWhatIf(r *http.Request) bool { return r.URL.Query().Get(whatIf.Name) == "true" }

// submit decides (what_if=true) or commits a command. done writes the answer after a commit.
func (a *API) submit(w http.ResponseWriter, r *http.Request, o chat.Origin, c chat.Command, done func(chat.Outcome) error) error {
	looked := a.env.Look(r.Context(), a.Pool.State(), c, a.Now())
	req := chat.Request{Origin: o, Command: c}
	if asksWhatIf(r) {
		return heldRefusal(looked, a.foresee(w, req))
	}
	res, err := a.Pool.Submit(r.Context(), req)
	if err != nil {
		return heldRefusal(looked, err)
	}
	a.confirmed(r.Context(), w, res.Offset)
	return done(res)
}

// foresee answers what a command would lead to.
func (a *API) foresee(w http.ResponseWriter, reqs ...chat.Request) error {
	out := WhatIf{WhatIf: true, Events: []dump.RawLine{}}
	s := a.Pool.State()
	for _, req := range reqs {
		d, err := chat.Decide(s, req, chat.Env{At: a.Now(), NewID: a.NewID})
		if err != nil {
			return err
		}
		for i := range d.Events {
			out.Events = append(out.Events, dump.DraftLine(&d.Events[i], s.Domain()))
		}
	}
	return answer.JSON(w, http.StatusOK, out)
}

// confirmed waits until every other node that lives shows the event at an offset, so that a right that was taken away is
// gone everywhere when the administrator reads that it is. A node that does not answer cannot hold him up: after a.confirm
// the answer goes out with its name in a header, which is returned too: a stream has sent its headers long ago. The change
// itself is committed, and such a node will follow.
func (a *API) confirmed(ctx context.Context, w http.ResponseWriter, at event.Offset) (unconfirmed string) {
	if at == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, a.confirm)
	defer cancel()
	members := a.Pool.Members()
	missing := make([]string, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		switch {
		case m.ID == a.Options.Node:
		case m.State == StateDown:
			missing[i] = fmt.Sprintf("%s (down)", m.ID)
		case a.Remote == nil || m.HTTPS == "":
			missing[i] = fmt.Sprintf("%s (%s does not know where to ask it)", m.ID, a.Options.Node)
		default:
			wg.Go(func() {
				st, err := a.Remote(ctx, m, at)
				switch {
				case ctx.Err() != nil:
					missing[i] = fmt.Sprintf("%s (not within %v)", m.ID, a.confirm)
				case err != nil:
					missing[i] = fmt.Sprintf("%s (no answer)", m.ID)
				case st.Applied < at:
					missing[i] = fmt.Sprintf("%s (is at event %d)", m.ID, st.Applied)
				}
			})
		}
	}
	wg.Wait()
	missing = slices.DeleteFunc(missing, func(s string) bool { return s == "" })
	if len(missing) > 0 {
		unconfirmed = strings.Join(missing, ", ")
		w.Header().Set(UnconfirmedHeader, unconfirmed)
	}
	return unconfirmed
}

// nothing is a command that does nothing by itself, for asking whether a command identity is known.
var nothing = &chat.RemoveRoom{}

// replay answers a request that names something by a name that is no longer there. If the request itself took that
// name away (a removal, a renaming), and is here again, then the command's identity is known, which is looked up
// before anything else: it took effect. It returns the last event of the command, or notFound.
func (a *API) replay(r *http.Request, o chat.Origin, notFound error) (event.Envelope, error) {
	if r.Header.Get(KeyHeader) == "" || !errors.Is(notFound, chat.ErrNotFound) {
		return event.Envelope{}, notFound
	}
	out, err := a.Pool.Submit(r.Context(), chat.Request{Origin: o, Command: nothing})
	if err != nil && chat.AsRefusal(err).Code == chat.CodeUnavailable {
		return event.Envelope{}, err
	}
	if err != nil || !out.Result.Duplicate {
		return event.Envelope{}, notFound
	}
	run, err := a.Log.Read(out.Offset, 1)
	if err != nil {
		return event.Envelope{}, err
	}
	if len(run) == 0 {
		return event.Envelope{}, notFound
	}
	return run[0], nil
}

// Waiting for this node's state after somebody else's change was in the way.
const (
	retryWithin = 500 * time.Millisecond
	retryEvery  = 10 * time.Millisecond
)

// retryConflict runs change, which reads a revision and submits against it, again while somebody else changed the
// same thing in between. revision reads the current one; a conflict without a newer revision is about something else
// (a name that is taken) or about a change that this node has not seen yet, so it waits for that a little.
func retryConflict(ctx context.Context, revision func() event.Offset, change func() error) error {
	for range 5 {
		before := revision()
		err := change()
		if !errors.Is(err, chat.ErrConflict) || !newer(ctx, revision, before) {
			return err
		}
	}
	return change()
}

func newer(ctx context.Context, revision func() event.Offset, before event.Offset) bool {
	ctx, cancel := context.WithTimeout(ctx, retryWithin)
	defer cancel()
	t := time.NewTicker(retryEvery)
	defer t.Stop()
	for revision() == before {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return true
}
