package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/answer"
)

// Digest is what two nodes can be compared by.
type Digest struct {
	Node    event.NodeID `json:"node"`
	Offset  event.Offset `json:"offset"`
	Version string       `json:"version" doc:"of the program: states are compared between equal ones"`
	Chain   string       `json:"chain" doc:"of the log, in hex"`
	State   string       `json:"state" doc:"hash of the room state, in hex; empty: there is only the log to compare"`
}

// digestWithin is how long a node waits for an offset that it is asked about.
const digestWithin = 5 * time.Second

func (a *API) getDigest(w http.ResponseWriter, r *http.Request) error {
	at, err := offsetOf(r.URL.Query(), "at")
	if err != nil {
		return err
	}
	if at == 0 {
		return chat.Refuse(chat.CodeInvalid, "name an offset with at")
	}
	ctx, cancel := context.WithTimeout(r.Context(), digestWithin)
	defer cancel()
	d, err := a.Pool.Digest(ctx, at)
	if err != nil {
		return chat.Refuse(chat.CodeConflict, "state at %d: %v", at, err)
	}
	return answer.JSON(w, http.StatusOK, d)
}

// Nodes asks the API of other nodes, with this node's certificate. Connections are kept: a change asks every node.
type Nodes struct {
	client func(node string) *tls.Config

	mu      sync.Mutex
	clients map[event.NodeID]*http.Client
}

// NewNodes returns a Nodes. client returns the TLS configuration for calling a node.
func NewNodes(client func(node string) *tls.Config) *Nodes {
	return &Nodes{client: client, clients: map[event.NodeID]*http.Client{}}
}

func (n *Nodes) of(id event.NodeID) *http.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.clients[id] == nil {
		n.clients[id] = clientOf(n.client, id)
	}
	return n.clients[id]
}

// clientOf returns a client for calling a node. It asks for the TLS configuration anew with each connection: certificates
// and the authority are renewed while the node runs.
func clientOf(config func(node string) *tls.Config, id event.NodeID) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConns: 4, IdleConnTimeout: time.Minute,
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			d := tls.Dialer{Config: config(string(id))}
			return d.DialContext(ctx, network, addr)
		}}}
}

// Status is for Options.Remote.
func (n *Nodes) Status(ctx context.Context, m Member, at event.Offset) (st NodeStatus, err error) {
	q := url.Values{}
	if at > 0 {
		q.Set("applied", strconv.FormatUint(uint64(at), 10))
	}
	return st, n.ask(ctx, m, "/node", q, &st)
}

// Digest asks for the digest of a node at an offset.
func (n *Nodes) Digest(ctx context.Context, m Member, at event.Offset) (d Digest, err error) {
	return d, n.ask(ctx, m, "/node/digest", url.Values{"at": {strconv.FormatUint(uint64(at), 10)}}, &d)
}

func (n *Nodes) ask(ctx context.Context, m Member, path string, q url.Values, out any) error {
	u := url.URL{Scheme: "https", Host: m.HTTPS, Path: Prefix + path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := n.of(m.ID).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("node %s answers %s", m.ID, resp.Status)
	}
	return json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<16)).Decode(out)
}
