// Package merkle is the projection that keeps the Merkle tree (RFC 6962 section 2.1) over the whole log, so that a root,
// an inclusion or a consistency proof costs a few hundred reads, however long the log is.
//
// The event at offset o is leaf o-1; its hash is event.Envelope.RecordHash. Rows hold the hashes of complete subtrees of
// 256 leaves and larger: about a third of a byte an event. Hashes below are computed from the log when they are asked for. The leaves of the
// last, incomplete 256 are kept in rows that are used again and again, so that a restart reads nothing of the log.
package merkle

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"

	"parley/log/event"
	"parley/projections"
)

// Name is the projection's name in the store.
const Name = "merkle"

// version of the rows. Raise it when they change.
const version = 1

// Rows: "h" + level (1 byte) + n (8 bytes) is the hash of leaves [n<<level, (n+1)<<level); "l" + i (1 byte) is leaf i of
// the incomplete subtree of 256.
const (
	rowHash = 'h'
	rowLeaf = 'l'

	stored = 8 // the lowest level that has rows
	width  = 1 << stored
)

// ErrNotRunning is returned by reads before a Store has loaded the projection.
var ErrNotRunning = errors.New("the Merkle tree is not running")

// Tree is the projection and its reader.
type Tree struct {
	rows atomic.Pointer[projections.Reader]

	// Only the runner's goroutine uses these.
	leaves []tlog.Hash         // of the incomplete subtree
	right  map[int64]tlog.Hash // by level: the last complete subtree whose sibling is to come
}

var (
	_ projections.Projection = (*Tree)(nil)
	_ projections.Loader     = (*Tree)(nil)
	_ projections.Forker     = (*Tree)(nil)
)

// New returns a tree without rows until a projections.Store runs it.
func New() *Tree { return &Tree{right: make(map[int64]tlog.Hash)} }

// Name is Projection's.
func (t *Tree) Name() string { return Name }

// Version is Projection's.
func (t *Tree) Version() int { return version }

// Fork is Forker's.
func (t *Tree) Fork() projections.Projection { return New() }

// Load is Loader's: it fills the memory for the next event.
func (t *Tree) Load(r projections.Reader, at event.Offset) error {
	t.leaves, t.right = t.leaves[:0], make(map[int64]tlog.Hash)
	for i := range int(at % width) {
		h, err := readRow(r, leafKey(i))
		if err != nil {
			return err
		}
		t.leaves = append(t.leaves, h)
	}
	// A subtree waits for its sibling where the size has a bit.
	for level := int64(stored); at>>level > 0; level++ {
		if n := int64(at >> level); n&1 == 1 {
			h, err := readRow(r, hashKey(level, n-1))
			if err != nil {
				return err
			}
			t.right[level] = h
		}
	}
	t.rows.Store(&r)
	return nil
}

func readRow(r projections.Reader, key []byte) (h tlog.Hash, err error) {
	b, ok, err := r.Get(key)
	if err == nil && (!ok || len(b) != tlog.HashSize) {
		err = fmt.Errorf("row %x has no hash: %w", key, event.ErrCorrupt)
	}
	if err != nil {
		return h, err
	}
	return tlog.Hash(b), nil
}

func leafKey(i int) []byte { return []byte{rowLeaf, byte(i)} }

func hashKey(level, n int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{rowHash, byte(level)}, uint64(n))
}

// Apply is Projection's. An event of unknown kind is a leaf like any other.
func (t *Tree) Apply(w projections.Writer, e event.Envelope) error {
	if want := int64(e.Offset-1) % width; want != int64(len(t.leaves)) {
		return fmt.Errorf("event %d follows %d leaves", e.Offset, len(t.leaves))
	}
	leaf := tlog.Hash(e.RecordHash())
	if err := w.Set(leafKey(len(t.leaves)), leaf[:]); err != nil {
		return err
	}
	if t.leaves = append(t.leaves, leaf); len(t.leaves) < width {
		return nil
	}
	h := subtree(t.leaves)
	t.leaves = t.leaves[:0]
	for level, n := int64(stored), int64(e.Offset)/width-1; ; level, n = level+1, n/2 {
		if err := w.Set(hashKey(level, n), h[:]); err != nil {
			return err
		}
		if n&1 == 0 {
			t.right[level] = h
			return nil
		}
		h = tlog.NodeHash(t.right[level], h)
		delete(t.right, level)
	}
}

// subtree returns the hash of a power of two of leaves. It works in place: the leaves are no more.
func subtree(leaves []tlog.Hash) tlog.Hash {
	for n := len(leaves); n > 1; n /= 2 {
		for i := range n / 2 {
			leaves[i] = tlog.NodeHash(leaves[2*i], leaves[2*i+1])
		}
	}
	return leaves[0]
}

// Log is where leaves are read again.
type Log interface {
	// Read returns up to max committed events from an offset on.
	Read(from event.Offset, max int) ([]event.Envelope, error)
}

// Hashes returns a reader of the hashes of complete subtrees, in the numbering of tlog.StoredHashIndex, for the library's
// proofs. The caller has waited for the projection to be at the size that he asks about. It is for one question and one
// goroutine: it keeps what it has read of the log.
func (t *Tree) Hashes(ctx context.Context, log Log) (tlog.HashReader, error) {
	r := t.rows.Load()
	if r == nil {
		return nil, ErrNotRunning
	}
	runs := make(map[int64][]tlog.Hash) // leaves by subtree of 256: a proof asks for hashes of two or three of them
	hash := func(index int64) (tlog.Hash, error) {
		level, n := tlog.SplitStoredHashIndex(index)
		if level >= stored {
			return readRow(*r, hashKey(int64(level), n))
		}
		first := n << level
		run, ok := runs[first/width]
		if !ok {
			var err error
			if run, err = readLeaves(ctx, log, first/width*width); err != nil {
				return tlog.Hash{}, err
			}
			runs[first/width] = run
		}
		from, to := first%width, first%width+1<<level
		if to > int64(len(run)) {
			return tlog.Hash{}, fmt.Errorf("leaves %d to %d are not committed here", first, first+1<<level-1)
		}
		return subtree(append([]tlog.Hash(nil), run[from:to]...)), nil
	}
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			var err error
			if out[i], err = hash(index); err != nil {
				return nil, err
			}
		}
		return out, nil
	}), nil
}

// readLeaves returns the leaves of a subtree of 256, fewer at the log's head.
func readLeaves(ctx context.Context, log Log, first int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for len(out) < width {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		from := event.Offset(first) + 1 + event.Offset(len(out))
		run, err := log.Read(from, width-len(out))
		if err != nil {
			return nil, fmt.Errorf("read events from %d: %w", from, err)
		}
		if len(run) == 0 {
			return out, nil
		}
		for i := range run {
			out = append(out, run[i].RecordHash())
		}
	}
	return out, nil
}
