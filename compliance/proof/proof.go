// Package proof is what an auditor takes home, and how he checks it with nothing but the pool's public key: that files
// of a compliance feed are exactly what was archived, that no event is missing among them, none was added or altered,
// and that their order is the log's. docs/proof.md is the format; cmd/parley-verify is the program.
//
// A proof is a directory:
//
//	checkpoint   the pool's signature under the size and the Merkle root of its log (C2SP tlog-checkpoint)
//	entries      the stored bytes of a run of events, without the bodies of posts, one after the other
//	keys.json    how one key of the pool followed the other; only if one did
//	proof.json   where the run is in the tree: the hashes before it, and those that lead from its end to the checkpoint
//	...          the files of the feed
//
// The run goes from the first event of the first file to the receipt of the last one. Its hashes and those of proof.json
// give the signed root or they do not; so nothing in proof.json has to be trusted. The receipts of the feed are events of
// the run: they name each file, its size and its SHA-256, and continue each other without a gap.
//
// What it cannot say: that the pool never signed two different histories. Whoever keeps a checkpoint can have it proven
// that a later one continues it (Since).
//
// The package is the verifier's, so it knows events and hashes and nothing of a server. Writing takes two interfaces.
package proof

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"parley/log/event"
)

// Names in a proof's directory.
const (
	FileProof      = "proof.json"
	FileCheckpoint = "checkpoint"
	FileEntries    = "entries"
	FileKeys       = "keys.json" // only once the pool has another key than at first
)

// Format is what proof.json calls itself.
const Format = "parley-proof/1"

// maxProof is the size of proof.json in bytes: it has at most a few hundred hashes.
const maxProof = 256 << 10

// Proof is proof.json. All of it is checked against the checkpoint, the entries and the files.
type Proof struct {
	Format      string       `json:"format"`
	Feed        string       `json:"feed"`
	First       event.Offset `json:"first"`       // of the first file's range
	Last        event.Offset `json:"last"`        // of the last file's range
	End         event.Offset `json:"end"`         // of the entries: the receipt for Last
	Size        int64        `json:"tree_size"`   // of the checkpoint
	Frontier    []tlog.Hash  `json:"frontier"`    // of the tree of First-1 leaves, larger subtrees first
	Consistency []tlog.Hash  `json:"consistency"` // RFC 6962 section 2.1.2, from End to Size; empty if they are equal
	Since       *Since       `json:"since,omitempty"`
}

// Since leads from an earlier checkpoint, which an auditor has kept, to this one.
type Since struct {
	Size        int64       `json:"tree_size"`
	Consistency []tlog.Hash `json:"consistency"`
}

// Encode returns the one form that the proof has: what is in another form was altered.
func (p *Proof) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// ParseProof reads proof.json.
func ParseProof(b []byte) (*Proof, error) {
	if len(b) > maxProof {
		return nil, fmt.Errorf("%s has %d bytes, at most %d", FileProof, len(b), maxProof)
	}
	p := new(Proof)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("%s: %w", FileProof, err)
	}
	if p.Format != Format {
		return nil, fmt.Errorf("%s is of format %q, this program knows %q", FileProof, p.Format, Format)
	}
	if again, err := p.Encode(); err != nil || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%s is not in the form that it was written in", FileProof)
	}
	if p.First < 1 || p.Last < p.First || p.End <= p.Last || p.Size < 0 || uint64(p.End) > uint64(p.Size) {
		return nil, fmt.Errorf("%s: events %d to %d, receipt at %d, checkpoint at %d: not a range", FileProof, p.First, p.Last, p.End, p.Size)
	}
	return p, nil
}

// Source is the log that something is proven of.
type Source interface {
	// Read returns up to max committed events from an offset on, none at the head.
	Read(from event.Offset, max int) ([]event.Envelope, error)
	// Tree reads the hashes of the Merkle tree of the first size events, where size is not above the log's end.
	Tree(ctx context.Context, size int64) (tlog.HashReader, error)
}

// ErrNotDelivered says that a feed has no receipt for what is to be proven.
var ErrNotDelivered = errors.New("the feed has not delivered that range")

// ErrSince says that a log is shorter than a checkpoint that it should continue.
var ErrSince = errors.New("the log does not continue it")

// Prove returns the proof for the files of a feed with events from..to (from 0: the first; to 0: the last that the feed
// has delivered, which is given by receipt), under a checkpoint of the given size. The range grows to whole files. since,
// unless 0, is the size of an earlier checkpoint.
//
// It reads the events from the range's first to its last receipt, but keeps none.
func Prove(ctx context.Context, src Source, feed string, from, to, receipt event.Offset, size, since int64) (*Proof, error) {
	all := to == 0 // then a receipt that came after the checkpoint does not count
	if all || to > receipt {
		if to > receipt || receipt == 0 {
			return nil, fmt.Errorf("feed %s is at %d: %w", feed, receipt, ErrNotDelivered)
		}
		to = receipt
	}
	p := &Proof{Format: Format, Feed: feed, Size: size}
	for e, err := range events(ctx, src, max(from, 1), event.Offset(size)) {
		if err != nil {
			return nil, err
		}
		r, ok := e.Event.(*event.FeedReceipt)
		if !ok || r.Feed != feed || r.Last < from {
			continue
		}
		if p.First == 0 {
			p.First = r.First
		}
		if p.Last, p.End = r.Last, e.Offset; r.Last >= to {
			break
		}
	}
	if p.First == 0 || !all && p.Last < to {
		return nil, fmt.Errorf("feed %s: no receipt for %d is among the first %d events: %w", feed, to, size, ErrNotDelivered)
	}
	if since > size {
		return nil, fmt.Errorf("the earlier checkpoint is of %d events, the log has %d: %w", since, size, ErrSince)
	}
	tree, err := src.Tree(ctx, size)
	if err != nil {
		return nil, err
	}
	if p.Frontier, err = tree.ReadHashes(frontierIndexes(int64(p.First) - 1)); err != nil {
		return nil, fmt.Errorf("hashes of the first %d events: %w", p.First-1, err)
	}
	if p.Consistency, err = Consistency(tree, int64(p.End), size); err != nil {
		return nil, err
	}
	if since > 0 {
		p.Since = &Since{Size: since}
		if p.Since.Consistency, err = Consistency(tree, since, size); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Consistency returns the proof (RFC 6962 section 2.1.2) that the tree of to leaves begins with that of from, which is not
// above to; empty if they are the same.
func Consistency(tree tlog.HashReader, from, to int64) ([]tlog.Hash, error) {
	if from == to {
		return []tlog.Hash{}, nil
	}
	p, err := tlog.ProveTree(to, from, tree)
	if err != nil {
		return nil, fmt.Errorf("consistency of %d events with the first %d: %w", to, from, err)
	}
	return p, nil
}

// readEvents is how many events are read at a time.
const readEvents = 512

func events(ctx context.Context, src Source, from, to event.Offset) iter.Seq2[event.Envelope, error] {
	return func(yield func(event.Envelope, error) bool) {
		for from <= to {
			run, err := src.Read(from, int(min(readEvents, to-from+1)))
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && len(run) == 0 {
				err = fmt.Errorf("event %d is not committed here", from)
			}
			if err != nil {
				yield(event.Envelope{}, fmt.Errorf("read events from %d: %w", from, err))
				return
			}
			for _, e := range run {
				if !yield(e, nil) {
					return
				}
				from = e.Offset + 1
			}
		}
	}
}

// A record of the entries file: time (8 bytes), length (4), stored bytes of the event; integers big-endian, no framing
// beyond that. There is one way to write a run, so a reader finds any change.
const recordHeader = 12

// WriteRecord writes an event to the entries file.
func WriteRecord(w io.Writer, at event.Time, stored []byte) error {
	var h [recordHeader]byte
	binary.BigEndian.PutUint64(h[:8], uint64(at))
	binary.BigEndian.PutUint32(h[8:], uint32(len(stored)))
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	_, err := w.Write(stored)
	return err
}

// readRecords yields the events of an entries file from an offset on.
func readRecords(r io.Reader, o event.Offset) iter.Seq2[event.Head, error] {
	return func(yield func(event.Head, error) bool) {
		var h [recordHeader]byte
		var buf []byte
		for ; ; o++ {
			if _, err := io.ReadFull(r, h[:]); err == io.EOF {
				return
			} else if err != nil {
				yield(event.Head{}, fmt.Errorf("event %d: %w", o, err))
				return
			}
			n := int(binary.BigEndian.Uint32(h[8:]))
			if n > event.MaxEntryBytes {
				yield(event.Head{}, fmt.Errorf("event %d has %d bytes, at most %d", o, n, event.MaxEntryBytes))
				return
			}
			if cap(buf) < n {
				// Not at once: a forged length costs no more memory than the file has bytes.
				b, err := io.ReadAll(io.LimitReader(r, int64(n)))
				if err == nil && len(b) < n {
					err = io.ErrUnexpectedEOF
				}
				if err != nil {
					yield(event.Head{}, fmt.Errorf("event %d: %w", o, err))
					return
				}
				buf = b
			} else if _, err := io.ReadFull(r, buf[:n]); err != nil {
				yield(event.Head{}, fmt.Errorf("event %d: %w", o, io.ErrUnexpectedEOF))
				return
			}
			e, err := event.ParseHead(o, event.Time(binary.BigEndian.Uint64(h[:8])), buf[:n])
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
