package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"parley/compliance/proof"
	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
)

// prover makes proofs from the log and the Merkle tree of this node.
type prover struct{ n *Node }

// Read is proof.Source's.
func (p prover) Read(from event.Offset, max int) ([]event.Envelope, error) {
	return p.n.log.Read(from, max)
}

// Tree is proof.Source's.
func (p prover) Tree(ctx context.Context, size int64) (tlog.HashReader, error) {
	if err := p.n.treeRun.WaitFor(ctx, event.Offset(size)); err != nil {
		return nil, fmt.Errorf("wait for the tree: %w", err)
	}
	return p.n.tree.Hashes(ctx, p.n.log)
}

// sign signs the log as this node's state knows it: with the key that is the pool's there. If the key is missing here,
// nothing is signed: with the one before it would be a checkpoint that no auditor may believe.
func (p prover) sign(ctx context.Context) (size int64, signed []byte, err error) {
	if err := p.n.Settle(ctx); err != nil {
		return 0, nil, err
	}
	s := p.n.rooms.Current()
	key, err := p.n.signingKey(s)
	if err != nil {
		return 0, nil, chat.Refuse(chat.CodeUnavailable, "sign a checkpoint: %v", err)
	}
	size = int64(s.Offset())
	tree, err := p.Tree(ctx, size)
	if err != nil {
		return 0, nil, err
	}
	root, err := tlog.TreeHash(size, tree)
	if err != nil {
		return 0, nil, fmt.Errorf("root of %d events: %w", size, err)
	}
	signed, err = proof.Checkpoint{Origin: key.Name(), Size: size, Root: root}.Sign(key)
	return size, signed, err
}

// Checkpoint is admin.Prover's.
func (p prover) Checkpoint(ctx context.Context, since int64) (out admin.LogCheckpoint, err error) {
	size, signed, err := p.sign(ctx)
	if err != nil || since == 0 {
		return admin.LogCheckpoint{Checkpoint: string(signed)}, err
	}
	if since > size {
		return out, chat.Refuse(chat.CodeInvalid, "the earlier checkpoint is of %d events, the log has %d: %v", since, size, proof.ErrSince)
	}
	tree, err := p.Tree(ctx, size)
	if err != nil {
		return out, err
	}
	hashes, err := proof.Consistency(tree, since, size)
	if err != nil {
		return out, err
	}
	out = admin.LogCheckpoint{Checkpoint: string(signed), Consistency: []string{}}
	for _, h := range hashes {
		out.Consistency = append(out.Consistency, h.String())
	}
	return out, nil
}

// Prove is admin.Prover's.
func (p prover) Prove(ctx context.Context, feed string, from, to event.Offset, since, size int64) (out admin.FeedProof, err error) {
	var signed []byte
	if size == 0 {
		if size, signed, err = p.sign(ctx); err != nil {
			return out, err
		}
	} else if head := p.n.rooms.Current().Offset(); uint64(size) > uint64(head) {
		return out, chat.Refuse(chat.CodeInvalid, "the checkpoint is of %d events, the log has %d", size, head)
	}
	s := p.n.rooms.Current()
	f, _ := s.Feed(feed)
	made, err := proof.Prove(ctx, p, feed, from, to, f.Receipt, size, since)
	if errors.Is(err, proof.ErrNotDelivered) || errors.Is(err, proof.ErrSince) {
		return out, chat.Refuse(chat.CodeInvalid, "%v", err)
	}
	if err != nil {
		return out, fmt.Errorf("prove feed %s: %w", feed, err)
	}
	b, err := made.Encode()
	if err != nil {
		return out, err
	}
	out = admin.FeedProof{Proof: json.RawMessage(bytes.TrimSpace(b)), Checkpoint: string(signed), Adapter: f.Info.Adapter}
	if out.Keys, err = p.keys(ctx, s, size); err != nil {
		return out, err
	}
	for _, o := range f.Info.Options {
		if o.Name == "dir" {
			out.Directory = o.Value
		}
	}
	for _, c := range p.n.cfg.Feeds {
		if c.Name == feed {
			out.Adapter, out.Directory = c.Adapter, c.Dir
		}
	}
	return out, nil
}

// Records is admin.Prover's.
func (p prover) Records(ctx context.Context, from, to event.Offset, visit func(event.Time, []byte) error) error {
	for from <= to {
		if err := ctx.Err(); err != nil {
			return err
		}
		run, err := p.n.log.Read(from, 0)
		if err == nil && len(run) == 0 {
			err = errors.New("it is not committed here")
		}
		if err != nil {
			return fmt.Errorf("read event %d: %w", from, err)
		}
		r, err := p.n.log.Record(run[0].Index)
		if err != nil {
			return fmt.Errorf("read entry %d: %w", run[0].Index, err)
		}
		head, _, err := event.Split(r.Data)
		if err != nil {
			return fmt.Errorf("entry %d: %w", run[0].Index, err)
		}
		e, err := event.ParseEntry(head, nil)
		if err != nil {
			return fmt.Errorf("entry %d: %w", run[0].Index, err)
		}
		for ; from <= min(to, e.Last()); from++ {
			if err := visit(e.At, e.Stored(int(from-e.Base))); err != nil {
				return err
			}
		}
	}
	return nil
}

// keys returns keys.json for a checkpoint of a size, nil if the pool had the key then that it began with.
func (p prover) keys(ctx context.Context, s *chat.State, size int64) (json.RawMessage, error) {
	var at []event.Offset
	for _, r := range s.SigningKeys().Rotations() {
		if uint64(r.Offset) <= uint64(size) {
			at = append(at, r.Offset)
		}
	}
	k, err := proof.ProveKeys(ctx, p, at, size, func(ctx context.Context, o event.Offset) (at event.Time, stored []byte, err error) {
		err = p.Records(ctx, o, o, func(t event.Time, b []byte) error {
			at, stored = t, bytes.Clone(b)
			return nil
		})
		return at, stored, err
	})
	if k == nil || err != nil {
		return nil, err
	}
	b, err := k.Encode()
	return bytes.TrimSpace(b), err
}
