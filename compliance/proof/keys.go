package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"parley/log/event"
)

// FormatKeys is what the file of the keys calls itself.
const FormatKeys = "parley-keys/1"

// Limits of the file of the keys. The pool rotates no more often.
const (
	maxRotations = 64
	maxKeys      = 1 << 20 // bytes
)

// Keys is keys.json: how the pool came from the key that it began with to the one that signs the checkpoint.
type Keys struct {
	Format    string     `json:"format"`
	Rotations []Rotation `json:"rotations"`
}

// Rotation is an event that puts another key in the place of the one before, and the proof that it is in the log.
type Rotation struct {
	Offset    event.Offset `json:"offset"`
	At        event.Time   `json:"at"`        // nanoseconds since 1970
	Event     []byte       `json:"event"`     // stored bytes
	Inclusion []tlog.Hash  `json:"inclusion"` // RFC 6962 section 2.1.1, in the tree of the checkpoint
}

// Encode returns the one form that the keys have.
func (k *Keys) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// ParseKeys reads keys.json.
func ParseKeys(b []byte) (*Keys, error) {
	if len(b) > maxKeys {
		return nil, fmt.Errorf("%s has %d bytes, at most %d", FileKeys, len(b), maxKeys)
	}
	k := new(Keys)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(k); err != nil {
		return nil, fmt.Errorf("%s: %w", FileKeys, err)
	}
	if k.Format != FormatKeys {
		return nil, fmt.Errorf("%s is of format %q, this program knows %q", FileKeys, k.Format, FormatKeys)
	}
	if again, err := k.Encode(); err != nil || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%s is not in the form that it was written in", FileKeys)
	}
	if n := len(k.Rotations); n == 0 || n > maxRotations {
		return nil, fmt.Errorf("%s has %d rotations, want 1 to %d", FileKeys, n, maxRotations)
	}
	return k, nil
}

// ProveKeys returns the proof for rotations at some offsets, in their order, under a checkpoint of the given size; nil if
// there are none. stored returns the time and the stored bytes of an event.
func ProveKeys(ctx context.Context, src Source, at []event.Offset, size int64,
	stored func(context.Context, event.Offset) (event.Time, []byte, error)) (*Keys, error) {
	if len(at) == 0 {
		return nil, nil
	}
	tree, err := src.Tree(ctx, size)
	if err != nil {
		return nil, err
	}
	k := &Keys{Format: FormatKeys}
	for _, o := range at {
		r := Rotation{Offset: o}
		if r.At, r.Event, err = stored(ctx, o); err != nil {
			return nil, fmt.Errorf("read the rotation at event %d: %w", o, err)
		}
		if r.Inclusion, err = tlog.ProveRecord(size, int64(o)-1, tree); err != nil {
			return nil, fmt.Errorf("inclusion of event %d in %d: %w", o, size, err)
		}
		if r.Inclusion == nil { // a log of one event
			r.Inclusion = []tlog.Hash{}
		}
		k.Rotations = append(k.Rotations, r)
	}
	return k, nil
}

// Rotated is a rotation that the proof tells of.
type Rotated struct {
	Offset event.Offset
	At     event.Time
	By     event.Principal
	event.SigningKeyRotated
}

// link is a key of the chain.
type link struct {
	note.Verifier
	public string       // "" where only the verifier was given
	until  event.Offset // checkpoints of that many events and more it does not sign; 0: it signs still
	why    string
}

// chain is the keys of a pool, the first first. The one that the auditor trusts is among them: it stands for itself, so that
// a key which only looks like it, because its short hash is the same, is not taken for it.
type chain []link

// follow reads the rotations of a proof. Nothing of it is to be believed yet but this: if the key that the auditor trusts
// comes before the last one, then it vouches for the next one, and so on to the last. Whether the events are in the log is
// for included to say.
func follow(k *Keys, trusted note.Verifier) (c chain, told []Rotated, err error) {
	if k == nil {
		return chain{{Verifier: trusted}}, nil, nil
	}
	found := 0
	verifier := func(public string) (note.Verifier, error) {
		v, err := note.NewVerifier(public)
		if err != nil {
			return nil, fmt.Errorf("public key %q: %w", public, err)
		}
		if v.Name() != trusted.Name() {
			return nil, fmt.Errorf("it is of %q, the key is of %q", v.Name(), trusted.Name())
		}
		if v.KeyHash() == trusted.KeyHash() {
			found++
			return trusted, nil
		}
		return v, nil
	}
	for i, r := range k.Rotations {
		h, err := event.ParseHead(r.Offset, r.At, r.Event)
		if err != nil {
			return nil, nil, fmt.Errorf("event %d: %w", r.Offset, err)
		}
		e, ok := h.Event.(*event.SigningKeyRotated)
		switch {
		case !ok:
			return nil, nil, fmt.Errorf("event %d is no rotation of a key", r.Offset)
		case i > 0 && (r.Offset <= k.Rotations[i-1].Offset || e.Old != c[i].public):
			return nil, nil, fmt.Errorf("the rotation at event %d does not follow the one at %d", r.Offset, k.Rotations[i-1].Offset)
		case i == 0:
			v, err := verifier(e.Old)
			if err != nil {
				return nil, nil, fmt.Errorf("rotation at event %d: %w", r.Offset, err)
			}
			c = chain{{Verifier: v, public: e.Old}}
		}
		next, err := verifier(e.New)
		if err != nil {
			return nil, nil, fmt.Errorf("rotation at event %d: %w", r.Offset, err)
		}
		n, err := note.Open([]byte(e.Statement()+"\n"+e.Signatures), note.VerifierList(c[i].Verifier, next))
		if err == nil && len(n.Sigs) != 2 {
			err = errors.New("one signature is missing")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("the rotation at event %d is not signed by both keys: %w", r.Offset, err)
		}
		if c[i].until, c[i].why = r.Offset, "replaced"; e.RevokedFrom > 0 && e.RevokedFrom <= r.Offset {
			c[i].until, c[i].why = e.RevokedFrom, "revoked"
		}
		c = append(c, link{Verifier: next, public: e.New})
		told = append(told, Rotated{Offset: r.Offset, At: r.At, By: h.By, SigningKeyRotated: *e})
	}
	if found != 1 {
		return nil, nil, fmt.Errorf("the key that it is to be checked with is not among those of the pool")
	}
	return c, told, nil
}

// included proves that the rotations are events of the signed log.
func (k *Keys) included(c Checkpoint) error {
	for _, r := range k.Rotations {
		h, err := event.ParseHead(r.Offset, r.At, r.Event)
		if err != nil {
			return fmt.Errorf("event %d: %w", r.Offset, err)
		}
		if r.Offset < 1 || uint64(r.Offset) > uint64(c.Size) {
			return fmt.Errorf("event %d is not one of the %d that were signed", r.Offset, c.Size)
		}
		if err := tlog.CheckRecord(r.Inclusion, c.Size, c.Root, int64(r.Offset)-1, h.RecordHash()); err != nil {
			return fmt.Errorf("the rotation at event %d is not in the log that was signed: %w", r.Offset, err)
		}
	}
	return nil
}

// earlier opens a checkpoint that was signed before, by any of the keys while it was the pool's.
func (c chain) earlier(signed []byte) (Checkpoint, error) {
	var last error
	for i := len(c) - 1; i >= 0; i-- {
		old, err := OpenCheckpoint(signed, c[i])
		if err != nil {
			last = errors.Join(last, err)
			continue
		}
		if u := c[i].until; u > 0 && uint64(old.Size) >= uint64(u) {
			return Checkpoint{}, fmt.Errorf("checkpoint of %d events is signed with key %08x, which was %s from event %d on: do not believe it",
				old.Size, c[i].KeyHash(), c[i].why, u)
		}
		return old, nil
	}
	return Checkpoint{}, last
}

// keys reads the keys of the pool, and which of them signs.
func (v *verifier) keys(trusted note.Verifier) (ok bool, err error) {
	b, err := readSmall(v.dir, FileKeys, maxKeys)
	switch {
	case err == nil:
		if v.rotations, err = ParseKeys(b); err != nil {
			v.find(FileKeys, "%v", err)
			return false, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return false, v.missing(FileKeys, err)
	}
	if v.chain, v.report.Rotations, err = follow(v.rotations, trusted); err != nil {
		v.find(FileKeys, "%v", err)
		return false, nil
	}
	last := v.chain[len(v.chain)-1]
	v.report.Followed = last.KeyHash() != trusted.KeyHash()
	return true, nil
}
