// Package admin is the HTTPS JSON API that administrators use, and the command line with them. Every change is a
// command of the rules with the administrator as its principal: same path, same record as anybody's.
//
// Every route declares the right that it needs (package projections/chat/roles), its parameters, and what goes in and
// out; openapi.yaml is made from that. Errors are problem details (RFC 9457) with the code of the refusal, the rule that
// was broken and the principal that it is about.
//
// What an administrator reads that is not his own (messages, events, an export) is an event before he gets it. A change
// is answered when every node that lives shows it, or when the time for that is over: then the answer names the others.
package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/webfront/answer"
	"parley/webfront/dump"
	"parley/webfront/objects"
	"parley/webfront/signing"
)

// Prefix of every path.
const Prefix = "/api/v1"

// maxBody bounds the body of a request, in bytes, where the route does not say otherwise. A list of 10,000 principals
// fits.
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
	// Scratch is a copy of it that belongs to the caller, who may fold into it.
	Scratch() *chat.State
	// Node is this node now.
	Node() NodeStatus
	// Digest is of this node at an offset, once the state gets there; it fails when the state has passed it.
	Digest(ctx context.Context, at event.Offset) (Digest, error)
	// Await returns when this node shows the event at an offset, or with ctx.
	Await(ctx context.Context, at event.Offset) error
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
	// At returns the last offset whose time is not later than t, 0 when there is none.
	At(t event.Time) (event.Offset, error)
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
	State     string       `json:"state" doc:"leader, voter, standby, down"`
	Applied   event.Offset `json:"applied" doc:"event offset that the node's room state has reached"`
	Committed event.Offset `json:"committed" doc:"event offset of the node's committed mark"`
	Lag       event.Offset `json:"lag" doc:"events that it has still to apply"`
	Version   string       `json:"version"`
	Sessions  int          `json:"sessions" doc:"room sessions that it serves"`
}

// FeedStatus is a compliance feed: a line of `feed list --json`.
type FeedStatus struct {
	Feed             string       `json:"feed"`
	Adapter          string       `json:"adapter"`
	State            string       `json:"state" doc:"standby (its owner did not answer), catching_up, waiting, delivering, failing, paused"`
	Owner            event.NodeID `json:"owner"`
	Epoch            uint64       `json:"epoch"`
	Offset           event.Offset `json:"offset" doc:"of the last receipt"`
	Backlog          uint64       `json:"backlog" doc:"events after it"`
	OldestAgeSeconds float64      `json:"oldest_age_seconds"`
	LastError        string       `json:"last_error" doc:"of the last attempt; empty after a success"`
	Failures         int          `json:"failures" doc:"attempts that failed since the last success"`
	Reason           string       `json:"reason" doc:"of a pause"`
}

// ProjectionStatus is derived data of one node: a line of `projection list --json`.
type ProjectionStatus struct {
	Projection string       `json:"projection"`
	Node       event.NodeID `json:"node"`
	Version    int          `json:"version"`
	State      string       `json:"state" doc:"running, rebuilding, stopped"`
	Offset     event.Offset `json:"offset"`
	Lag        event.Offset `json:"lag"`
	LastError  string       `json:"last_error"`
}

// Credential is an administrator who may use the API because the node's configuration says so. He may do everything,
// unless the pool gave him roles.
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
	// History returns the messages of a room with first <= id <= last, those of every event that State shows included.
	History func(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error)
	// Remote asks another node for its status, once it shows the event at an offset (0: at once); see Nodes. nil: nodes
	// other than this one have no figures and confirm nothing.
	Remote func(ctx context.Context, m Member, at event.Offset) (NodeStatus, error)
	// Prover proves what feeds delivered; nil: this node has no key to sign with.
	Prover Prover
	// Current reports whether State has caught up with what the pool had committed when this node started. Until then only
	// the node's own status is told, and only to credentials of the configuration and to nodes. nil: it always has.
	Current func() bool
	// Keys is what checkpoints are signed with; nil: this node has no key.
	Keys KeyRing
	// RemoteKeys asks another node for its keys; see Nodes. nil: nobody is asked.
	RemoteKeys func(ctx context.Context, m Member) (signing.NodeKeys, error)
	// FeedOps is for the routes of feeds; what is nil there is not asked.
	FeedOps FeedOps
	// Receipts returns up to where every compliance feed has a receipt; nil: everywhere.
	Receipts func() event.Offset
	// DigestMD5 keeps the MD5 form of passwords too.
	DigestMD5 bool
}

// API is the handler.
type API struct {
	Options
	mux         *http.ServeMux
	table       []route
	env         objects.Env
	credentials map[[sha256.Size]byte]string // hash of the token to the name
	confirm     time.Duration                // how long other nodes may take to show a change
	replays     chan struct{}                // holds one for each replay of the log that runs
}

// maxReplays is how many replays of the log may run at once: each keeps a whole state in memory, half a gigabyte in the
// largest pool.
const maxReplays = 2

// confirmWithin is how long a change waits for the other nodes. A node that lives follows in milliseconds.
const confirmWithin = 5 * time.Second

// New returns the API. It serves paths below Prefix.
func New(o Options) (*API, error) {
	a := &API{Options: o, mux: http.NewServeMux(), credentials: map[[sha256.Size]byte]string{}, confirm: confirmWithin,
		replays: make(chan struct{}, maxReplays)}
	for _, c := range o.Credentials {
		b, err := hex.DecodeString(c.SHA256)
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("credential of %s: not a SHA-256 in hex", c.Name)
		}
		a.credentials[[sha256.Size]byte(b)] = c.Name
	}
	a.env = objects.Env{History: o.History, DigestMD5: o.DigestMD5}
	a.table = a.routes()
	for _, r := range a.table {
		a.mux.Handle(r.method+" "+Prefix+r.path, a.guard(r))
	}
	a.mux.HandleFunc(Prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		answer.WriteProblem(w, chat.Refuse(chat.CodeNotFound, "no such resource: %s %s", r.Method, r.URL.Path))
	})
	return a, nil
}

// routes is the whole table.
func (a *API) routes() []route {
	return slices.Concat(a.poolRoutes(), a.feedRoutes(), serve(a, objects.Rooms(&a.env)), a.messageRoutes(), a.holdRoutes(), serve(a, objects.Categories()), serve(a, objects.AddIns()),
		a.eligibleRoutes(), serve(a, objects.Users(&a.env)), serve(a, objects.Groups()), serve(a, objects.Units()), a.directoryRoutes(),
		serve(a, objects.Policies()), a.grantRoutes(), serve(a, objects.Configurations()), serve(a, objects.Compliances()), serve(a, objects.Endpoints()),
		a.adminRoutes(), serve(a, a.tokens()), a.logRoutes(), a.proofRoutes(), a.keyRoutes(), a.dataRoutes())
}

// ServeHTTP serves a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }
