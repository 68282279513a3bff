// Package signing says which keys sign the checkpoints of a pool, which did or could, and who holds them.
package signing

import (
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

// NodeKeys is what a node holds.
type NodeKeys struct {
	Node event.NodeID `json:"node"`
	Keys []string     `json:"keys" doc:"public keys (C2SP note keys), in the order of its file"`
}

// The states of a key.
const (
	Signs    = "signs"
	Ready    = "ready" // held, and never used
	Replaced = "replaced"
	Revoked  = "revoked"
)

// Key is a key of the pool: a line of `pool key list --json`.
type Key struct {
	Key         string         `json:"key" doc:"public key (C2SP note key)"`
	State       string         `json:"state" doc:"signs, ready (on a node, and never used), replaced or revoked"`
	Since       event.Offset   `json:"since" doc:"event that made it the pool's; 0: the first one"`
	Until       event.Offset   `json:"until" doc:"event that replaced it; 0: none"`
	RevokedFrom event.Offset   `json:"revoked_from" doc:"its checkpoints of that many events and more are not to be believed; 0: it is not revoked"`
	Reason      string         `json:"reason" doc:"of the rotation away from it"`
	Nodes       []event.NodeID `json:"nodes" doc:"that hold it, of those that answered"`
}

// Keys returns the keys of a pool in the order of their use; all is what the nodes hold.
func Keys(s *chat.State, all []NodeKeys) []Key {
	out := []Key{}
	at := map[string]int{}
	entry := func(key string) *Key {
		if _, ok := at[key]; !ok {
			at[key] = len(out)
			out = append(out, Key{Key: key, State: Ready, Nodes: []event.NodeID{}})
		}
		return &out[at[key]]
	}
	rotations := s.SigningKeys().Rotations()
	for _, r := range rotations {
		k := entry(r.Old)
		if k.Until, k.Reason, k.State = r.Offset, r.Reason, Replaced; r.RevokedFrom > 0 {
			k.RevokedFrom, k.State = r.RevokedFrom, Revoked
		}
		k = entry(r.New)
		k.Since, k.State = r.Offset, Signs
	}
	for _, n := range all {
		for i, key := range n.Keys {
			k := entry(key)
			if k.Nodes = append(k.Nodes, n.Node); i == 0 && len(rotations) == 0 {
				k.State = Signs
			}
		}
	}
	return out
}

// Hash returns the short hash that a public key carries.
func Hash(public string) string {
	parts := strings.SplitN(public, "+", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}
