package admin

import (
	"context"
	"crypto/tls"
	_ "embed" // the description of the API
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"parley/log/event"
	"parley/projections/chat"
)

//go:embed openapi.yaml
var openAPI []byte

func (a *API) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, err := w.Write(openAPI)
	return err
}

// PoolInfo is the pool as a whole.
type PoolInfo struct {
	Domain  string       `json:"domain"`
	PoolURI string       `json:"pool_uri"`
	Formed  bool         `json:"formed"`
	Leader  event.NodeID `json:"leader"` // empty: none known
	Node    event.NodeID `json:"node"`   // which answers
	Offset  event.Offset `json:"offset"` // of the room state that the answer is from
}

func (a *API) getPool(w http.ResponseWriter, _ *http.Request) error {
	s := a.Pool.State()
	return writeJSON(w, http.StatusOK, PoolInfo{Domain: s.Domain(), PoolURI: s.PoolURI(), Formed: s.Formed(),
		Leader: leaderOf(a.Pool.Members()).ID, Node: a.Options.Node, Offset: s.Offset()})
}

func leaderOf(ms []Member) Member {
	for _, m := range ms {
		if m.State == StateLeader {
			return m
		}
	}
	return Member{}
}

// States of a node.
const (
	StateLeader  = "leader"
	StateVoter   = "voter"
	StateStandby = "standby"
	StateDown    = "down"
)

func (a *API) getNode(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, a.Pool.Node())
}

// remoteTimeout bounds how long a silent node holds up the status of the others.
const remoteTimeout = 2 * time.Second

// getStatus asks every node for itself: only a node knows how far it got. One that does not answer is down.
func (a *API) getStatus(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), remoteTimeout)
	defer cancel()
	members := a.Pool.Members()
	out := make([]NodeStatus, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		out[i] = NodeStatus{Node: m.ID, State: m.State}
		if m.ID == a.Options.Node {
			st := a.Pool.Node()
			st.Node, st.State = m.ID, m.State
			out[i] = st
			continue
		}
		if a.Remote == nil || m.HTTPS == "" {
			continue
		}
		wg.Go(func() {
			st, err := a.Remote(ctx, m)
			if err != nil {
				out[i].State = StateDown
				return
			}
			st.Node, st.State = m.ID, m.State
			if st.State == StateDown { // it answered just now
				st.State = StateVoter
			}
			out[i] = st
		})
	}
	wg.Wait()
	var head event.Offset
	for _, st := range out {
		head = max(head, st.Committed)
	}
	for i := range out {
		if out[i].State != StateDown {
			out[i].Lag = head - min(head, out[i].Applied)
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// Peers returns an Options.Remote that asks the API of other nodes. client returns the TLS configuration for calling
// a node, with this node's certificate.
func Peers(client func(node string) *tls.Config) func(context.Context, Member) (NodeStatus, error) {
	return func(ctx context.Context, m Member) (st NodeStatus, err error) {
		t := &http.Transport{TLSClientConfig: client(string(m.ID)), DisableKeepAlives: true}
		defer t.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.HTTPS+Prefix+"/node", nil)
		if err != nil {
			return st, err
		}
		resp, err := (&http.Client{Transport: t}).Do(req)
		if err != nil {
			return st, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return st, fmt.Errorf("node %s answers %s", m.ID, resp.Status)
		}
		return st, json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<16)).Decode(&st)
	}
}

// AddMember is the body of POST /members.
type AddMember struct {
	ID      event.NodeID `json:"id"`
	Addr    string       `json:"addr"` // peer address, HOST:PORT
	Standby bool         `json:"standby"`
}

// Transfer is the body of POST /leader.
type Transfer struct {
	To event.NodeID `json:"to"` // empty: whoever is most current
}

func (a *API) addMember(w http.ResponseWriter, r *http.Request) error {
	var b AddMember
	if err := readJSON(r, &b); err != nil {
		return err
	}
	if b.ID == "" || b.Addr == "" {
		return chat.Refuse(chat.CodeInvalid, "a member needs an id and an addr")
	}
	return a.change(w, r, "add", b.ID, func(ctx context.Context) error { return a.Pool.Add(ctx, b.ID, b.Addr, b.Standby) })
}

func (a *API) removeMember(w http.ResponseWriter, r *http.Request) error {
	id, err := a.member(r)
	if err != nil {
		return err
	}
	return a.change(w, r, "remove", id, func(ctx context.Context) error { return a.Pool.Remove(ctx, id) })
}

func (a *API) promoteMember(w http.ResponseWriter, r *http.Request) error {
	id, err := a.member(r)
	if err != nil {
		return err
	}
	return a.change(w, r, "promote", id, func(ctx context.Context) error { return a.Pool.Promote(ctx, id) })
}

func (a *API) transfer(w http.ResponseWriter, r *http.Request) error {
	var b Transfer
	if err := readJSON(r, &b); err != nil {
		return err
	}
	if b.To != "" && !a.known(b.To) {
		return chat.Refuse(chat.CodeNotFound, "no node %q in the pool", b.To)
	}
	for _, m := range a.Pool.Members() {
		if m.ID == b.To && m.State == StateStandby {
			return chat.Refuse(chat.CodeConflict, "node %s is a standby: it has no vote and cannot lead; promote it first", b.To)
		}
	}
	return a.change(w, r, "transfer", b.To, func(ctx context.Context) error { return a.Pool.Transfer(ctx, b.To) })
}

// member returns the node that the path names.
func (a *API) member(r *http.Request) (event.NodeID, error) {
	id := event.NodeID(r.PathValue("member"))
	if !a.known(id) {
		return "", chat.Refuse(chat.CodeNotFound, "no node %q in the pool", id)
	}
	return id, nil
}

func (a *API) known(id event.NodeID) bool {
	for _, m := range a.Pool.Members() {
		if m.ID == id {
			return true
		}
	}
	return false
}

// change does a change of membership. Only the leader can: others send the client there.
func (a *API) change(w http.ResponseWriter, r *http.Request, action string, id event.NodeID, do func(context.Context) error) error {
	if r.URL.Query().Get("what_if") == "true" {
		return writeJSON(w, http.StatusOK, map[string]any{"what_if": true, "action": action, "node": id})
	}
	err := do(r.Context())
	if errors.Is(err, ErrNotLeader) {
		l := leaderOf(a.Pool.Members())
		if l.ID != "" && l.ID != a.Options.Node && l.HTTPS != "" {
			u := url.URL{Scheme: "https", Host: l.HTTPS, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
			w.Header().Set("Location", u.String())
			w.WriteHeader(http.StatusTemporaryRedirect)
			return nil
		}
	}
	if err != nil {
		return err
	}
	a.Logger.Info("membership changed", keyAction, action, keyNode, id, keyAdmin, adminOf(r))
	return writeJSON(w, http.StatusOK, map[string]any{"action": action, "node": id})
}

func (a *API) listFeeds(w http.ResponseWriter, _ *http.Request) error {
	out := a.Pool.Feeds()
	if out == nil {
		out = []FeedStatus{}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (a *API) listProjections(w http.ResponseWriter, _ *http.Request) error {
	out := a.Pool.Projections()
	if out == nil {
		out = []ProjectionStatus{}
	}
	return writeJSON(w, http.StatusOK, out)
}
