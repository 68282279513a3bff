package admin

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
)

// KeyRing is the keys of a node that can sign checkpoints.
type KeyRing interface {
	// Held returns the public keys of this node, in the order of its file. Until the pool's first rotation the first signs.
	Held() ([]string, error)
	// Vouch signs, with both keys, that the new one follows the old one. It fails where one of them is not held.
	Vouch(e event.SigningKeyRotated) (event.SigningKeyRotated, error)
}

// NodeKeys is what a node holds.
type NodeKeys struct {
	Node event.NodeID `json:"node"`
	Keys []string     `json:"keys" doc:"public keys (C2SP note keys), in the order of its file"`
}

// The states of a key.
const (
	KeySigns    = "signs"
	KeyReady    = "ready" // held, and never used
	KeyReplaced = "replaced"
	KeyRevoked  = "revoked"
)

// SigningKey is a key of the pool: a line of `pool key list --json`.
type SigningKey struct {
	Key         string         `json:"key" doc:"public key (C2SP note key)"`
	State       string         `json:"state" doc:"signs, ready (on a node, and never used), replaced or revoked"`
	Since       event.Offset   `json:"since" doc:"event that made it the pool's; 0: the first one"`
	Until       event.Offset   `json:"until" doc:"event that replaced it; 0: none"`
	RevokedFrom event.Offset   `json:"revoked_from" doc:"its checkpoints of that many events and more are not to be believed; 0: it is not revoked"`
	Reason      string         `json:"reason" doc:"of the rotation away from it"`
	Nodes       []event.NodeID `json:"nodes" doc:"that hold it, of those that answered"`
}

// RotateKey is the body of POST /keys.
type RotateKey struct {
	Key         string       `json:"key" doc:"the new public key, as the nodes hold it, or the hash in it (8 hex digits)"`
	Revoke      bool         `json:"revoke,omitempty" doc:"the old key is not safe any more: from revoked_from on its checkpoints are not to be believed"`
	RevokedFrom event.Offset `json:"revoked_from,omitempty" doc:"number of events; absent: as many as there are now, and more"`
	Reason      string       `json:"reason,omitempty"`
	Force       bool         `json:"force,omitempty" doc:"also if a node does not answer or has not the key: it signs nothing until it has"`
}

func (a *API) keyRoutes() []route {
	return []route{
		{method: "GET", path: "/node/keys", right: roles.PoolRead, nodes: true, out: NodeKeys{}, handle: a.nodeKeys,
			summary: "Public keys that the node which answers can sign checkpoints with"},
		{method: "GET", path: "/keys", right: roles.PoolRead, out: []SigningKey{}, handle: a.listKeys,
			summary: "Keys that sign checkpoints, signed them, or could, and which nodes hold them"},
		{method: "POST", path: "/keys", right: roles.KeyRotate, in: RotateKey{}, out: []SigningKey{}, params: []param{whatIf}, handle: a.rotateKey,
			summary: "Put another key in the place of the one that signs checkpoints; the node that answers holds both, the others hold the new one"},
	}
}

func (a *API) held() ([]string, error) {
	if a.Keys == nil {
		return []string{}, nil
	}
	return a.Keys.Held()
}

func (a *API) nodeKeys(w http.ResponseWriter, _ *http.Request) error {
	keys, err := a.held()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, NodeKeys{Node: a.Options.Node, Keys: keys})
}

// holders asks every node for its keys. silent are those that did not answer.
func (a *API) holders(ctx context.Context) (all []NodeKeys, silent []event.NodeID, err error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	mine, err := a.held()
	if err != nil {
		return nil, nil, err
	}
	all = append(all, NodeKeys{Node: a.Options.Node, Keys: mine})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range a.Pool.Members() {
		if m.ID == a.Options.Node {
			continue
		}
		wg.Go(func() {
			var k NodeKeys
			ok := false
			if a.RemoteKeys != nil && m.HTTPS != "" {
				answer, err := a.RemoteKeys(ctx, m)
				k, ok = NodeKeys{Node: m.ID, Keys: answer.Keys}, err == nil
			}
			mu.Lock()
			defer mu.Unlock()
			if ok {
				all = append(all, k)
			} else {
				silent = append(silent, m.ID)
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b NodeKeys) int { return strings.Compare(string(a.Node), string(b.Node)) })
	slices.Sort(silent)
	return all, silent, nil
}

// signingKeys returns the keys in the order of their use.
func (a *API) signingKeys(all []NodeKeys) []SigningKey {
	out := []SigningKey{}
	at := map[string]int{}
	entry := func(key string) *SigningKey {
		if _, ok := at[key]; !ok {
			at[key] = len(out)
			out = append(out, SigningKey{Key: key, State: KeyReady, Nodes: []event.NodeID{}})
		}
		return &out[at[key]]
	}
	rotations := a.Pool.State().SigningKeys().Rotations()
	for _, r := range rotations {
		k := entry(r.Old)
		if k.Until, k.Reason, k.State = r.Offset, r.Reason, KeyReplaced; r.RevokedFrom > 0 {
			k.RevokedFrom, k.State = r.RevokedFrom, KeyRevoked
		}
		k = entry(r.New)
		k.Since, k.State = r.Offset, KeySigns
	}
	for _, n := range all {
		for i, key := range n.Keys {
			k := entry(key)
			if k.Nodes = append(k.Nodes, n.Node); i == 0 && len(rotations) == 0 {
				k.State = KeySigns
			}
		}
	}
	return out
}

func (a *API) listKeys(w http.ResponseWriter, r *http.Request) error {
	all, _, err := a.holders(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a.signingKeys(all))
}

func (a *API) rotateKey(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[RotateKey](a, r)
	if err != nil {
		return err
	}
	if a.Keys == nil {
		return a.noKey()
	}
	if c.RevokedFrom != 0 && !c.Revoke {
		return chat.Refuse(chat.CodeInvalid, "revoked_from without revoke")
	}
	mine, err := a.held()
	if err != nil {
		return err
	}
	e := event.SigningKeyRotated{RevokedFrom: c.RevokedFrom, Reason: c.Reason}
	for _, k := range mine {
		if k == c.Key || hashOf(k) == strings.ToLower(c.Key) {
			e.New = k
		}
	}
	s := a.Pool.State()
	if e.Old = s.SigningKeys().Active(); e.Old == "" && len(mine) > 0 {
		e.Old = mine[0]
	}
	switch {
	case e.New == "":
		return chat.Refuse(chat.CodeNotFound, "node %s has no key %q; make one with `parley pool key new`, and put it into the file signing_key of every node", a.Options.Node, c.Key)
	case e.New == e.Old:
		return a.listKeys(w, r) // it signs already
	case c.Revoke && e.RevokedFrom == 0:
		e.RevokedFrom = s.Offset() + 1
	}
	all, silent, err := a.holders(r.Context())
	if err != nil {
		return err
	}
	for _, n := range all {
		if !slices.Contains(n.Keys, e.New) {
			silent = append(silent, n.Node)
		}
	}
	if len(silent) > 0 && !c.Force {
		return chat.Refuse(chat.CodeConflict, "the new key is not known to be on %v: they would sign nothing any more. Put it there, or force it", silent)
	}
	if e, err = a.Keys.Vouch(e); err != nil {
		return chat.Refuse(chat.CodeConflict, "sign the rotation: %v", err)
	}
	return a.submit(w, r, o, &chat.RotateSigningKey{Rotation: e}, func(chat.Outcome) error { return a.listKeys(w, r) })
}

// hashOf returns the short hash that a public key carries.
func hashOf(public string) string {
	parts := strings.SplitN(public, "+", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}

// noKey refuses what a node cannot sign.
func (a *API) noKey() error {
	return chat.Refuse(chat.CodeNotFound, "node %s has no key to sign with: set signing_key, on every node the same", a.Options.Node)
}

// Keys asks for the keys that a node holds.
func (n *Nodes) Keys(ctx context.Context, m Member) (k NodeKeys, err error) {
	return k, n.ask(ctx, m, "/node/keys", url.Values{}, &k)
}
