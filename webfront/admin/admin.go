// Package admin is the HTTPS JSON API that administrators use, and the command line with them. Every change is a
// command of the rules with the administrator as its principal: same path, same record as anybody's.
//
// openapi.yaml describes the routes. Errors are problem details (RFC 9457) with the code of the refusal.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/dump"
)

// Prefix of every path.
const Prefix = "/api/v1"

// maxBody bounds the body of a request, in bytes. A list of 10,000 principals fits.
const maxBody = 1 << 20

// Attribute keys of the package's log lines.
const (
	keyAdmin  = "admin"
	keyAction = "action"
	keyNode   = "member"
	keyErr    = "error"
)

// Pool is what the API needs of the node it runs in.
type Pool interface {
	// Submit returns when the command is committed and State shows it, or with a *chat.Refusal. On a node that
	// does not lead it goes to the leader.
	Submit(ctx context.Context, r chat.Request) (chat.Outcome, error)
	// State is the newest snapshot of this node.
	State() *chat.State
	// Node is this node now.
	Node() NodeStatus
	// Members are the nodes of the pool as this node knows them.
	Members() []Member
	// Add, Remove, Promote and Transfer change the membership. On a node that does not lead they return
	// ErrNotLeader. Transfer to "" lets Raft choose.
	Add(ctx context.Context, id event.NodeID, addr string, standby bool) error
	Remove(ctx context.Context, id event.NodeID) error
	Promote(ctx context.Context, id event.NodeID) error
	Transfer(ctx context.Context, to event.NodeID) error
	// Feeds and Projections are this node's view.
	Feeds() []FeedStatus
	Projections() []ProjectionStatus
}

// Log is the node's log.
type Log interface {
	dump.Source
	// Verify checks first to last again from disk; damage is of class event.ErrCorrupt.
	Verify(ctx context.Context, first, last event.Offset, progress func(done, total event.Offset)) error
}

// ErrNotLeader says that only the leader can do it.
var ErrNotLeader = fmt.Errorf("this node does not lead: %w", chat.ErrUnavailable)

// Member is a node as Raft knows it.
type Member struct {
	ID    event.NodeID
	Addr  string // peer address
	HTTPS string // of its API, empty if this node does not know it
	State string // leader, voter, standby, down
}

// NodeStatus is one node: a line of `pool status --json`.
type NodeStatus struct {
	Node      event.NodeID `json:"node"`
	State     string       `json:"state"`     // leader, voter, standby, down
	Applied   event.Offset `json:"applied"`   // event offset that the node's room state has reached
	Committed event.Offset `json:"committed"` // event offset of the node's committed mark
	Lag       event.Offset `json:"lag"`       // events that it has still to apply
	Version   string       `json:"version"`
	Sessions  int          `json:"sessions"` // room sessions that it serves
}

// FeedStatus is a compliance feed: a line of `feed list --json`.
type FeedStatus struct {
	Feed             string       `json:"feed"`
	Adapter          string       `json:"adapter"`
	State            string       `json:"state"` // running, waiting, failing, paused
	Owner            event.NodeID `json:"owner"`
	Epoch            uint64       `json:"epoch"`
	Offset           event.Offset `json:"offset"`  // of the last receipt
	Backlog          uint64       `json:"backlog"` // events after it
	OldestAgeSeconds float64      `json:"oldest_age_seconds"`
	LastError        string       `json:"last_error"`
}

// ProjectionStatus is derived data of one node: a line of `projection list --json`.
type ProjectionStatus struct {
	Projection string       `json:"projection"`
	Node       event.NodeID `json:"node"`
	Version    int          `json:"version"`
	State      string       `json:"state"` // running, rebuilding, stopped
	Offset     event.Offset `json:"offset"`
	Lag        event.Offset `json:"lag"`
	LastError  string       `json:"last_error"`
}

// Credential is an administrator who may use the API.
type Credential struct {
	Name   string
	SHA256 string // of the token, in hex
}

// Options of the API. All fields are required, except where said.
type Options struct {
	Pool        Pool
	Log         Log
	Node        event.NodeID // this node
	Credentials []Credential
	Logger      *slog.Logger
	Now         func() event.Time
	NewID       func() string // fresh lower-case GUID
	// Remote asks another node for its status; see Peers. nil: nodes other than this one have no figures.
	Remote func(ctx context.Context, m Member) (NodeStatus, error)
	// DigestMD5 keeps the MD5 form of passwords too.
	DigestMD5 bool
}

// API is the handler.
type API struct {
	Options
	mux    *http.ServeMux
	tokens map[[sha256.Size]byte]string // hash of the token to the name
}

// New returns the API. It serves paths below Prefix.
func New(o Options) (*API, error) {
	a := &API{Options: o, mux: http.NewServeMux(), tokens: map[[sha256.Size]byte]string{}}
	for _, c := range o.Credentials {
		b, err := hex.DecodeString(c.SHA256)
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("credential of %s: not a SHA-256 in hex", c.Name)
		}
		a.tokens[[sha256.Size]byte(b)] = c.Name
	}
	for _, r := range a.routes() {
		a.mux.Handle(r.method+" "+Prefix+r.path, a.guard(r))
	}
	a.mux.HandleFunc(Prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, chat.Refuse(chat.CodeNotFound, "no such resource: %s %s", r.Method, r.URL.Path))
	})
	return a, nil
}

// route is one row of the route table.
type route struct {
	method, path string
	// nodes: another node of the pool may ask too, with its certificate. All other routes are for administrators.
	nodes  bool
	handle func(w http.ResponseWriter, r *http.Request) error
}

func (a *API) routes() []route {
	return []route{
		{"GET", "/openapi.yaml", false, a.getOpenAPI},
		{"GET", "/node", true, a.getNode},
		{"GET", "/pool", false, a.getPool},
		{"GET", "/status", false, a.getStatus},
		{"POST", "/members", false, a.addMember},
		{"DELETE", "/members/{member}", false, a.removeMember},
		{"POST", "/members/{member}/promote", false, a.promoteMember},
		{"POST", "/leader", false, a.transfer},
		{"GET", "/rooms", false, a.listRooms},
		{"POST", "/rooms", false, a.newRoom},
		{"GET", "/rooms/{room}", false, a.getRoom},
		{"PATCH", "/rooms/{room}", false, a.setRoom},
		{"DELETE", "/rooms/{room}", false, a.removeRoom},
		{"GET", "/categories", false, a.listCategories},
		{"POST", "/categories", false, a.newCategory},
		{"GET", "/categories/{category}", false, a.getCategory},
		{"PATCH", "/categories/{category}", false, a.setCategory},
		{"DELETE", "/categories/{category}", false, a.removeCategory},
		{"GET", "/users", false, a.listUsers},
		{"POST", "/users", false, a.newUser},
		{"GET", "/users/{user}", false, a.getUser},
		{"PATCH", "/users/{user}", false, a.setUser},
		{"DELETE", "/users/{user}", false, a.removeUser},
		{"GET", "/feeds", false, a.listFeeds},
		{"GET", "/projections", false, a.listProjections},
		{"GET", "/log/events", false, a.logEvents},
		{"GET", "/log/verify", false, a.logVerify},
	}
}

// ServeHTTP serves a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// nameKey is the context key of the administrator's name.
type nameKey struct{}

// guard lets in whom the route is for, and turns errors into problems.
func (a *API) guard(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		name, ok := a.authenticate(r)
		// A verified certificate is one of the pool's own authority, which makes them for nodes only.
		node := rt.nodes && r.TLS != nil && len(r.TLS.VerifiedChains) > 0
		if !ok && !node {
			w.Header().Set("WWW-Authenticate", `Bearer realm="parley"`)
			writeProblem(w, chat.Refuse(CodeUnauthenticated, "no credential, or one that is not known; send Authorization: Bearer TOKEN"))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		r = r.WithContext(context.WithValue(r.Context(), nameKey{}, name))
		if err := rt.handle(w, r); err != nil {
			writeProblem(w, err)
		}
	})
}

// authenticate returns the name of the administrator whose token the request carries. Hashes are compared, and in
// constant time, so that time tells nothing about a token.
func (a *API) authenticate(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	name, found := "", false
	for hash, n := range a.tokens {
		if subtle.ConstantTimeCompare(hash[:], sum[:]) == 1 {
			name, found = n, true
		}
	}
	return name, found
}

// adminOf returns the principal of the administrator who asks.
func adminOf(r *http.Request) event.Principal {
	name, _ := r.Context().Value(nameKey{}).(string)
	return event.Principal("admin:" + name)
}
