package admin

import (
	"context"
	_ "embed" // the description of the API
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

//go:embed openapi.yaml
var openAPI []byte

func (a *API) poolRoutes() []route {
	return []route{
		{method: "GET", path: "/openapi.yaml", right: anyAdmin, early: true, summary: "This description", handle: a.getOpenAPI},
		{method: "GET", path: "/self", right: anyAdmin, summary: "Who asks, and what he may do", out: Self{}, handle: a.getSelf},
		{method: "GET", path: "/node", right: roles.PoolRead, early: true, nodes: true, out: NodeStatus{}, handle: a.getNode,
			summary: "Status of the node that answers; other nodes of the pool may ask with their certificate",
			params:  []param{{Name: "applied", Kind: "integer", Doc: "answer once the node shows the event at this offset, or after 10 s"}}},
		{method: "GET", path: "/node/digest", right: roles.PoolRead, early: true, nodes: true, out: Digest{}, handle: a.getDigest,
			summary: "Chain and hash of the state at an offset, of the node that answers: the same on every node",
			params:  []param{{Name: "at", Kind: "integer", Doc: "offset; the answer waits up to 5 s for it. When the state has passed it, or does not get there, the answer has no state, and in the latter case an earlier offset"}}},
		{method: "GET", path: "/pool", right: roles.PoolRead, summary: "Domain, address, site and leader of the pool", out: PoolInfo{}, params: []param{poolParam}, handle: a.getPool},
		{method: "PATCH", path: "/pool", right: roles.PoolChange, summary: "Say which site the pool belongs to", in: PoolChange{}, out: PoolInfo{}, params: []param{whatIf}, handle: a.setPool},
		{method: "GET", path: "/status", right: roles.PoolRead, early: true, summary: "Status of every node; one that does not answer within 2 s is down", out: []NodeStatus{}, handle: a.getStatus},
		{method: "GET", path: "/active-servers", right: roles.PoolRead, summary: "Which nodes take new connections", out: ActiveServers{}, params: []param{poolParam}, handle: a.getActive},
		{method: "PATCH", path: "/active-servers", right: roles.PoolChange, in: ActiveServersChange{}, out: ActiveServers{}, params: []param{whatIf}, handle: a.setActive,
			summary: "Say which nodes take new connections; the others go on with those they have"},
		{method: "POST", path: "/members", right: roles.PoolChange, leader: true, in: AddMember{}, out: MemberChanged{}, params: []param{whatIf}, handle: a.addMember,
			summary: "Add a node, as a standby, or with a vote; the latter waits until it has caught up"},
		{method: "DELETE", path: "/members/{member}", right: roles.PoolChange, leader: true, out: MemberChanged{}, params: []param{whatIf}, handle: a.removeMember, summary: "Remove a node"},
		{method: "POST", path: "/members/{member}/promote", right: roles.PoolChange, leader: true, out: MemberChanged{}, params: []param{whatIf}, handle: a.promoteMember,
			summary: "Give a standby a vote; waits until it has caught up"},
		{method: "POST", path: "/leader", right: roles.PoolChange, leader: true, in: Transfer{}, out: MemberChanged{}, params: []param{whatIf}, handle: a.transfer, summary: "Hand leadership over"},
		{method: "GET", path: "/projections", right: roles.ProjectionRead, early: true, summary: "Derived data of the node that answers", out: []ProjectionStatus{}, handle: a.listProjections},
	}
}

func (a *API) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, err := w.Write(openAPI)
	return err
}

// PoolInfo is the pool as a whole.
type PoolInfo struct {
	Domain  string       `json:"domain"`
	PoolURI string       `json:"pool_uri"`
	Site    string       `json:"site" doc:"empty: none"`
	Formed  bool         `json:"formed"`
	Leader  event.NodeID `json:"leader" doc:"empty: none known"`
	Node    event.NodeID `json:"node" doc:"which answers"`
	Offset  event.Offset `json:"offset" doc:"of the room state that the answer is from"`
}

// PoolChange is the body of PATCH /pool.
type PoolChange struct {
	Site *string `json:"site,omitempty" doc:"name of the site, empty for none: policies and configurations of site:NAME hold for the pool"`
}

func (a *API) poolInfo() PoolInfo {
	s := a.Pool.State()
	return PoolInfo{Domain: s.Domain(), PoolURI: s.PoolURI(), Site: s.Site(), Formed: s.Formed(),
		Leader: leaderOf(a.Pool.Members()).ID, Node: a.Options.Node, Offset: s.Offset()}
}

func (a *API) getPool(w http.ResponseWriter, _ *http.Request) error {
	return answer.JSON(w, http.StatusOK, a.poolInfo())
}

func (a *API) setPool(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[PoolChange](a, r)
	if err != nil {
		return err
	}
	if c.Site == nil {
		return chat.Refuse(chat.CodeInvalid, "nothing to change")
	}
	return a.submit(w, r, o, &chat.PlacePool{Site: objects.Lower(*c.Site)}, func(chat.Outcome) error {
		return answer.JSON(w, http.StatusOK, a.poolInfo())
	})
}

// ActiveServers says which nodes take new connections.
type ActiveServers struct {
	ActiveServers []event.NodeID `json:"active_servers" doc:"nodes that take new connections"`
	IdleServers   []event.NodeID `json:"idle_servers" doc:"nodes that only go on with those they have"`
}

// ActiveServersChange is the body of PATCH /active-servers: Set-CsPersistentChatActiveServer.
type ActiveServersChange struct {
	ActiveServers *objects.ListChange `json:"active_servers,omitempty" doc:"names of nodes"`
	Swap          bool                `json:"swap,omitempty" doc:"exchange the active and the idle nodes"`
}

func (a *API) activeServers() (out ActiveServers) {
	active := a.Pool.State().ActiveServers()
	out = ActiveServers{ActiveServers: []event.NodeID{}, IdleServers: []event.NodeID{}}
	for _, m := range a.Pool.Members() {
		if len(active) == 0 || slices.Contains(active, m.ID) {
			out.ActiveServers = append(out.ActiveServers, m.ID)
		} else {
			out.IdleServers = append(out.IdleServers, m.ID)
		}
	}
	return out
}

func (a *API) getActive(w http.ResponseWriter, _ *http.Request) error {
	return answer.JSON(w, http.StatusOK, a.activeServers())
}

func (a *API) setActive(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[ActiveServersChange](a, r)
	if err != nil {
		return err
	}
	if c.Swap == (c.ActiveServers != nil) {
		return chat.Refuse(chat.CodeInvalid, "either name active_servers or swap")
	}
	now := a.activeServers()
	nodes := now.IdleServers
	if !c.Swap {
		nodes, err = objects.ApplyTo(c.ActiveServers, now.ActiveServers, func(name string) (event.NodeID, error) {
			id := event.NodeID(objects.Lower(name))
			if !a.known(id) {
				return "", chat.Refuse(chat.CodeNotFound, "no node %q in the pool", name)
			}
			return id, nil
		})
		if err != nil {
			return err
		}
	}
	if len(nodes) == 0 {
		return chat.Refuse(chat.CodeConflict, "no node would take connections")
	}
	if len(nodes) == len(a.Pool.Members()) {
		nodes = nil // all, those included that will be added
	}
	return a.submit(w, r, o, &chat.SetActiveServers{Nodes: nodes}, func(chat.Outcome) error {
		return answer.JSON(w, http.StatusOK, a.activeServers())
	})
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

// awaitWithin is how long a node may be asked to wait until it shows an event.
const awaitWithin = 10 * time.Second

func (a *API) getNode(w http.ResponseWriter, r *http.Request) error {
	at, err := offsetOf(r.URL.Query(), "applied")
	if err != nil {
		return err
	}
	if at > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), awaitWithin)
		defer cancel()
		if err := a.Pool.Await(ctx, at); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return answer.JSON(w, http.StatusOK, a.Pool.Node())
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
			st, err := a.Remote(ctx, m, 0)
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
	return answer.JSON(w, http.StatusOK, out)
}

// AddMember is the body of POST /members.
type AddMember struct {
	ID      event.NodeID `json:"id"`
	Addr    string       `json:"addr" doc:"peer address, HOST:PORT"`
	Standby bool         `json:"standby,omitempty" doc:"it gets no vote yet"`
}

// MemberChanged is the answer to a change of the membership.
type MemberChanged struct {
	Action string       `json:"action" doc:"add, remove, promote or transfer"`
	Node   event.NodeID `json:"node"`
	WhatIf bool         `json:"what_if,omitempty" doc:"nothing was done"`
}

// Transfer is the body of POST /leader.
type Transfer struct {
	To event.NodeID `json:"to,omitempty" doc:"empty: whoever is most current"`
}

func (a *API) addMember(w http.ResponseWriter, r *http.Request) error {
	var b AddMember
	if err := answer.Read(r, &b); err != nil {
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
	if err := answer.Read(r, &b); err != nil {
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
	if asksWhatIf(r) {
		return answer.JSON(w, http.StatusOK, MemberChanged{Action: action, Node: id, WhatIf: true})
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
	a.Logger.Info("membership changed", keyAction, action, keyNode, id, keyAdmin, callerOf(r).who)
	return answer.JSON(w, http.StatusOK, MemberChanged{Action: action, Node: id})
}

func (a *API) listProjections(w http.ResponseWriter, _ *http.Request) error {
	out := a.Pool.Projections()
	if out == nil {
		out = []ProjectionStatus{}
	}
	return answer.JSON(w, http.StatusOK, out)
}
