package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"parley/cmd/internal/pki"
	"parley/compliance/proof"
	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
)

// prover makes proofs from the log and the Merkle tree of this node.
type prover struct {
	n      *Node
	signer note.Signer
}

// openProver returns nil where the node has no key.
func (n *Node) openProver() (admin.Prover, error) {
	if n.cfg.SigningKey == "" {
		return nil, nil
	}
	s, err := pki.LoadSigner(n.cfg.SigningKey)
	if err != nil {
		return nil, fmt.Errorf("key that signs checkpoints: %w", err)
	}
	return prover{n, s}, nil
}

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

// sign signs the log as it is now.
func (p prover) sign(ctx context.Context) (size int64, signed []byte, err error) {
	size = int64(p.n.log.Head().Offset)
	tree, err := p.Tree(ctx, size)
	if err != nil {
		return 0, nil, err
	}
	root, err := tlog.TreeHash(size, tree)
	if err != nil {
		return 0, nil, fmt.Errorf("root of %d events: %w", size, err)
	}
	signed, err = proof.Checkpoint{Origin: p.signer.Name(), Size: size, Root: root}.Sign(p.signer)
	return size, signed, err
}

// Checkpoint is admin.Prover's.
func (p prover) Checkpoint(ctx context.Context) ([]byte, error) {
	_, signed, err := p.sign(ctx)
	return signed, err
}

// Prove is admin.Prover's.
func (p prover) Prove(ctx context.Context, feed string, from, to event.Offset, since int64) (out admin.FeedProof, err error) {
	size, signed, err := p.sign(ctx)
	if err != nil {
		return out, err
	}
	f, _ := p.n.rooms.Current().Feed(feed)
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
