package proof

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint says what a pool's log was: how many events it had and the hash of the Merkle tree over them. Its text is
// that of a C2SP tlog-checkpoint: origin, size and hash (base64), a line each.
type Checkpoint struct {
	Origin string // the name of the pool's key
	Size   int64  // events
	Root   tlog.Hash
}

// maxCheckpoint is the size of a signed checkpoint in bytes: the text, and room for some dozen signatures.
const maxCheckpoint = 16 << 10

// Sign returns the checkpoint as a C2SP signed note.
func (c Checkpoint) Sign(by ...note.Signer) ([]byte, error) {
	out, err := note.Sign(&note.Note{Text: c.text()}, by...)
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint at %d: %w", c.Size, err)
	}
	return out, nil
}

func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// OpenCheckpoint reads a signed checkpoint. Each of the verifiers must have signed it; the first is the pool's own, and
// the origin must be its name. Signatures by others are not looked at.
func OpenCheckpoint(signed []byte, verifiers ...note.Verifier) (Checkpoint, error) {
	if len(verifiers) == 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint: no key to check it with")
	}
	if len(signed) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("checkpoint has %d bytes, at most %d", len(signed), maxCheckpoint)
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	for _, v := range verifiers {
		ok := false
		for _, s := range n.Sigs {
			ok = ok || s.Name == v.Name() && s.Hash == v.KeyHash()
		}
		if !ok {
			return Checkpoint{}, fmt.Errorf("checkpoint is not signed by %s", v.Name())
		}
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return c, err
	}
	if c.Origin != verifiers[0].Name() {
		return Checkpoint{}, fmt.Errorf("checkpoint is of %q, the key is of %q", c.Origin, verifiers[0].Name())
	}
	for _, s := range append(n.Sigs, n.UnverifiedSigs...) {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return Checkpoint{}, fmt.Errorf("checkpoint: signature of %s: %w", s.Name, err)
		}
	}
	return c, nil
}

// ParseCheckpoint reads the text of a checkpoint, whose signatures somebody else has looked at.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("checkpoint has not the three lines origin, size and hash")
	}
	c := Checkpoint{Origin: lines[0]}
	var err error
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || lines[1] != strconv.FormatInt(c.Size, 10) {
		return Checkpoint{}, fmt.Errorf("checkpoint: size %q is not a number of events", lines[1])
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: hash: %w", err)
	}
	// Base64 has spare bits at its end, which decoding ignores. What is not exactly what we would write was altered.
	if text != c.text() {
		return Checkpoint{}, fmt.Errorf("checkpoint is not in the form that it was signed in")
	}
	return c, nil
}

// SizeOf returns the size that a checkpoint tells, without a look at its signatures: what an earlier checkpoint is asked
// about.
func SizeOf(signed []byte) (int64, error) {
	lines := strings.SplitN(string(signed), "\n", 4)
	if len(lines) == 4 {
		if n, err := strconv.ParseInt(lines[1], 10, 64); err == nil && n > 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("not a checkpoint")
}
