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
	"parley/webfront/answer"
	"parley/webfront/signing"
)

// KeyRing is the keys of a node that can sign checkpoints.
type KeyRing interface {
	// Held returns the public keys of this node, in the order of its file. Until the pool's first rotation the first signs.
	Held() ([]string, error)
	// Vouch signs, with both keys, that the new one follows the old one. It fails where one of them is not held.
	Vouch(e event.SigningKeyRotated) (event.SigningKeyRotated, error)
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
		{method: "GET", path: "/node/keys", right: roles.PoolRead, nodes: true, out: signing.NodeKeys{}, handle: a.nodeKeys,
			summary: "Public keys that the node which answers can sign checkpoints with"},
		{method: "GET", path: "/keys", right: roles.PoolRead, out: []signing.Key{}, handle: a.listKeys,
			summary: "Keys that sign checkpoints, signed them, or could, and which nodes hold them"},
		{method: "POST", path: "/keys", right: roles.KeyRotate, in: RotateKey{}, out: []signing.Key{}, params: []param{whatIf}, handle: a.rotateKey,
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
	return answer.JSON(w, http.StatusOK, signing.NodeKeys{Node: a.Options.Node, Keys: keys})
}

// holders asks every node for its keys. silent are those that did not answer.
func (a *API) holders(ctx context.Context) (all []signing.NodeKeys, silent []event.NodeID, err error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	mine, err := a.held()
	if err != nil {
		return nil, nil, err
	}
	all = append(all, signing.NodeKeys{Node: a.Options.Node, Keys: mine})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range a.Pool.Members() {
		if m.ID == a.Options.Node {
			continue
		}
		wg.Go(func() {
			var k signing.NodeKeys
			ok := false
			if a.RemoteKeys != nil && m.HTTPS != "" {
				answer, err := a.RemoteKeys(ctx, m)
				k, ok = signing.NodeKeys{Node: m.ID, Keys: answer.Keys}, err == nil
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
	slices.SortFunc(all, func(a, b signing.NodeKeys) int { return strings.Compare(string(a.Node), string(b.Node)) })
	slices.Sort(silent)
	return all, silent, nil
}

func (a *API) listKeys(w http.ResponseWriter, r *http.Request) error {
	all, _, err := a.holders(r.Context())
	if err != nil {
		return err
	}
	return answer.JSON(w, http.StatusOK, signing.Keys(a.Pool.State(), all))
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
		if k == c.Key || signing.Hash(k) == strings.ToLower(c.Key) {
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

// noKey refuses what a node cannot sign.
func (a *API) noKey() error {
	return chat.Refuse(chat.CodeNotFound, "node %s has no key to sign with: set signing_key, on every node the same", a.Options.Node)
}

// Keys asks for the keys that a node holds.
func (n *Nodes) Keys(ctx context.Context, m Member) (k signing.NodeKeys, err error) {
	return k, n.ask(ctx, m, "/node/keys", url.Values{}, &k)
}
