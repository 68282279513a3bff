package proof

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Frontier is a Merkle tree (RFC 6962 section 2.1) that only grows: of what was appended it keeps the roots of the
// complete subtrees, at most 63 hashes. The zero Frontier is the empty tree.
type Frontier struct {
	size   int64
	hashes []tlog.Hash // from the largest subtree to the smallest, one for each bit of size that is set
}

// NewFrontier returns the frontier of a tree of a size that has these hashes.
func NewFrontier(size int64, hashes []tlog.Hash) (*Frontier, error) {
	if size < 0 || len(hashes) != bits.OnesCount64(uint64(size)) {
		return nil, fmt.Errorf("frontier of a tree of %d leaves has %d hashes, not %d", size, bits.OnesCount64(uint64(max(size, 0))), len(hashes))
	}
	return &Frontier{size: size, hashes: append([]tlog.Hash(nil), hashes...)}, nil
}

// Size returns the number of leaves.
func (f *Frontier) Size() int64 { return f.size }

// Append adds a leaf.
func (f *Frontier) Append(leaf tlog.Hash) {
	for bit := f.size; bit&1 == 1; bit >>= 1 {
		last := len(f.hashes) - 1
		leaf = tlog.NodeHash(f.hashes[last], leaf)
		f.hashes = f.hashes[:last]
	}
	f.hashes = append(f.hashes, leaf)
	f.size++
}

// Root returns the hash of the tree; of an empty one it is that of an empty string.
func (f *Frontier) Root() tlog.Hash {
	if f.size == 0 {
		h, err := tlog.TreeHash(0, nil)
		if err != nil {
			panic(err) // there is nothing to read
		}
		return h
	}
	h := f.hashes[len(f.hashes)-1]
	for i := len(f.hashes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.hashes[i], h)
	}
	return h
}

// frontierIndexes returns where the hashes of the frontier of a tree of a size are stored, in the numbering of
// tlog.StoredHashIndex.
func frontierIndexes(size int64) []int64 {
	var out []int64
	for level := bits.Len64(uint64(size)) - 1; level >= 0; level-- {
		if size>>level&1 == 1 {
			out = append(out, tlog.StoredHashIndex(level, size>>level-1))
		}
	}
	return out
}
