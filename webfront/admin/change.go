package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/dump"
)

// KeyHeader names the header that makes a request the same request when it is sent again
// (draft-ietf-httpapi-idempotency-key-header).
const KeyHeader = "Idempotency-Key"

// maxKey bounds the key, in bytes.
const maxKey = 255

// ListChange changes a list of principals as the product's list parameters do: Set replaces it, Add and Remove change
// what is there. A name without "@" is a user of the pool's domain; "domain:NAME" is everyone of a domain, "*" is everyone.
type ListChange struct {
	Add    []string  `json:"add,omitempty"`
	Remove []string  `json:"remove,omitempty"`
	Set    *[]string `json:"set,omitempty"` // an empty list empties it
}

// apply returns the changed list, sorted, each principal once.
func (c *ListChange) apply(old []event.Principal, domain string) ([]event.Principal, error) {
	if c == nil {
		return old, nil
	}
	set := map[event.Principal]bool{}
	if c.Set == nil {
		for _, p := range old {
			set[p] = true
		}
	} else if err := each(*c.Set, domain, func(p event.Principal) { set[p] = true }); err != nil {
		return nil, err
	}
	if err := each(c.Add, domain, func(p event.Principal) { set[p] = true }); err != nil {
		return nil, err
	}
	if err := each(c.Remove, domain, func(p event.Principal) { delete(set, p) }); err != nil {
		return nil, err
	}
	out := make([]event.Principal, 0, len(set))
	for p := range set {
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

func each(names []string, domain string, visit func(event.Principal)) error {
	for _, n := range names {
		p, err := principal(n, domain)
		if err != nil {
			return err
		}
		visit(p)
	}
	return nil
}

// principal reads a principal as people write it.
func principal(name, domain string) (event.Principal, error) {
	name = strings.TrimSpace(name)
	if name == string(chat.Everyone) {
		return chat.Everyone, nil
	}
	if d, ok := strings.CutPrefix(strings.ToLower(name), "domain:"); ok && d != "" { // everyone of a domain
		return event.Principal("domain:" + d), nil
	}
	if name != "" && !strings.Contains(name, "@") {
		name += "@" + domain
	}
	p := event.UserPrincipal(name)
	user, host, ok := strings.Cut(p.Address(), "@")
	if !ok || user == "" || host == "" || strings.ContainsAny(p.Address(), " \t\r\n<>\"") || strings.Contains(host, "@") {
		return "", chat.Refuse(chat.CodeInvalid, "%q is not a SIP address; use sip:NAME@DOMAIN", name)
	}
	return p, nil
}

// origin makes the origin of a command. The command's id comes from the client's key and everything the request
// says, so that a key that is used again by mistake for something else does not swallow that.
func (a *API) origin(r *http.Request, body []byte) (chat.Origin, error) {
	o := chat.Origin{By: adminOf(r), Node: a.Options.Node, Trusted: true}
	key := r.Header.Get(KeyHeader)
	if len(key) > maxKey {
		return o, chat.Refuse(chat.CodeInvalid, "%s is longer than %d bytes", KeyHeader, maxKey)
	}
	if key == "" {
		key = a.NewID()
	}
	h := sha256.New()
	for _, part := range []string{"admin api", string(o.By), key, r.Method, r.URL.Path, string(body)} {
		sum := sha256.Sum256([]byte(part))
		h.Write(sum[:])
	}
	o.ID = event.CommandID(h.Sum(nil)[:len(o.ID)])
	return o, nil
}

// WhatIf is the answer to a change that was only asked about.
type WhatIf struct {
	WhatIf bool           `json:"what_if"`
	Events []dump.RawLine `json:"events"` // what would be written; empty: nothing would change
}

// submit decides (what_if=true) or commits a command. done writes the answer after a commit.
func (a *API) submit(w http.ResponseWriter, r *http.Request, o chat.Origin, c chat.Command, done func(chat.Outcome) error) error {
	req := chat.Request{Origin: o, Command: c}
	if r.URL.Query().Get("what_if") == "true" {
		s := a.Pool.State()
		d, err := chat.Decide(s, req, chat.Env{At: a.Now(), NewID: a.NewID})
		if err != nil {
			return err
		}
		out := WhatIf{WhatIf: true, Events: []dump.RawLine{}}
		for i := range d.Events {
			out.Events = append(out.Events, dump.DraftLine(&d.Events[i], s.Domain()))
		}
		return writeJSON(w, http.StatusOK, out)
	}
	res, err := a.Pool.Submit(r.Context(), req)
	if err != nil {
		return err
	}
	return done(res)
}

// replay answers a request that names something by a name that is no longer there. If the request itself took that
// name away (a removal, a renaming), and is here again, then the command's identity is known, which is looked up
// before anything else: it took effect. c names nothing, so it cannot do harm if the identity is not known.
// It returns the last event of the command, or notFound.
func (a *API) replay(r *http.Request, o chat.Origin, c chat.Command, notFound error) (event.Envelope, error) {
	if r.Header.Get(KeyHeader) == "" || !errors.Is(notFound, chat.ErrNotFound) {
		return event.Envelope{}, notFound
	}
	out, err := a.Pool.Submit(r.Context(), chat.Request{Origin: o, Command: c})
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
