// Package witness lets an independent organisation countersign a pool's checkpoints, so that the pool cannot show two
// histories: a witness keeps the last checkpoint it has signed, and signs another one only if that continues it.
//
// Formats are those of C2SP: a request is the body of add-checkpoint (tlog-witness), the signature is a cosignature/v1
// (tlog-cosignature). So another witness serves as well, and this one serves other logs.
//
// A witness is as good as its memory. What it signed last is on disk, synced, before a signature leaves; a memory that is
// damaged or gone is an error for people, never a new beginning.
package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Limits of a request (tlog-witness): a proof has at most 63 hashes.
const (
	maxProof      = 63
	MaxRequest    = 32 << 10 // bytes
	maxCheckpoint = 16 << 10
)

// Request asks for a cosignature.
type Request struct {
	Old        int64 // size of the checkpoint that the proof leads from; 0: none
	Proof      tlog.TreeProof
	Checkpoint []byte // signed note
}

// EncodeRequest returns the body of add-checkpoint: the size that the proof leads from (0: none), its hashes in base64, and
// the signed checkpoint.
func EncodeRequest(old int64, proof []string, checkpoint []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		fmt.Fprintln(&b, h)
	}
	b.WriteByte('\n')
	b.Write(checkpoint)
	return b.Bytes()
}

// ErrRequest says that a request is not in its form.
var ErrRequest = errors.New("not a request for a cosignature")

// ParseRequest reads the body of add-checkpoint.
func ParseRequest(b []byte) (*Request, error) {
	if len(b) > MaxRequest {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrRequest, len(b), MaxRequest)
	}
	head, rest, ok := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	size, isOld := strings.CutPrefix(lines[0], "old ")
	if !ok || !isOld || len(lines) > 1+maxProof || len(rest) > maxCheckpoint {
		return nil, ErrRequest
	}
	r := &Request{Checkpoint: rest}
	var err error
	if r.Old, err = strconv.ParseInt(size, 10, 64); err != nil || r.Old < 0 || size != strconv.FormatInt(r.Old, 10) {
		return nil, fmt.Errorf("%w: size %q", ErrRequest, size)
	}
	for _, l := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(l)
		if err != nil || len(h) != tlog.HashSize {
			return nil, fmt.Errorf("%w: hash %q", ErrRequest, l)
		}
		r.Proof = append(r.Proof, tlog.Hash(h))
	}
	return r, nil
}
