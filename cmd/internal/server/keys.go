package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"parley/cmd/internal/pki"
	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/ops"
)

// keyRing is the keys of this node's file. It is read again for every question, so that a key which an operator puts there
// counts at once; nothing here is asked often.
type keyRing struct{ file string }

// Held is admin.KeyRing's.
func (r keyRing) Held() ([]string, error) {
	keys, err := pki.LoadSigningKeys(r.file)
	if err != nil {
		return nil, fmt.Errorf("keys that sign checkpoints: %w", err)
	}
	var out []string
	for _, k := range keys {
		out = append(out, k.Public)
	}
	return out, nil
}

// Vouch is admin.KeyRing's.
func (r keyRing) Vouch(e event.SigningKeyRotated) (event.SigningKeyRotated, error) {
	keys, err := pki.LoadSigningKeys(r.file)
	if err != nil {
		return e, fmt.Errorf("keys that sign checkpoints: %w", err)
	}
	var by []note.Signer
	for _, public := range []string{e.Old, e.New} {
		for _, k := range keys {
			if k.Public == public {
				by = append(by, k)
			}
		}
	}
	if len(by) != 2 {
		return e, fmt.Errorf("this node does not hold both %s and %s", e.Old, e.New)
	}
	b, err := note.Sign(&note.Note{Text: e.Statement()}, by...)
	if err != nil {
		return e, err
	}
	e.Signatures = strings.TrimPrefix(string(b), e.Statement()+"\n")
	return e, nil
}

// signingKey returns the key that signs checkpoints of a state.
func (n *Node) signingKey(s *chat.State) (pki.SigningKey, error) {
	keys, err := pki.LoadSigningKeys(n.cfg.SigningKey)
	if err != nil {
		return pki.SigningKey{}, fmt.Errorf("keys that sign checkpoints: %w", err)
	}
	active := s.SigningKeys().Active()
	if active == "" {
		return keys[0], nil
	}
	for _, k := range keys {
		if k.Public == active {
			return k, nil
		}
	}
	return pki.SigningKey{}, fmt.Errorf("node %s does not hold the key that signs, %s: copy %s from a node that does", n.id, active, n.cfg.SigningKey)
}

// keyMissing says why this node cannot sign; nil: it can, or is not meant to.
func (n *Node) keyMissing() error {
	if n.cfg.SigningKey == "" {
		return nil
	}
	_, err := n.signingKey(n.rooms.Current())
	return err
}

// keyCheck warns in /readyz when this node cannot sign. Clients do not need it, so the node stays ready.
func (n *Node) keyCheck() ops.Check {
	return ops.Check{Name: "signing-key", Warn: true, Run: func(context.Context) error {
		if err := n.keyMissing(); err != nil {
			return fmt.Errorf("no checkpoint is signed here: %w", err)
		}
		return nil
	}}
}

func (n *Node) keyMetric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_proof_key_missing",
		Help: "1 while this node does not hold the key that signs checkpoints: it signs nothing."}, func() float64 {
		if n.keyMissing() != nil {
			return 1
		}
		return 0
	})
}
