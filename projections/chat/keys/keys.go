// Package keys keeps which key signs the checkpoints of a pool's log: each rotation from one key to the next. The key that
// the pool began with is in no event; until the first rotation there is nothing here. It is pure.
package keys

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/command"
	"parley/projections/chat/form"
	"parley/projections/chat/table"
)

// MaxRotations bounds the chain of keys that an auditor has to follow. With one a year it is a lifetime.
const MaxRotations = 64

const maxSignatures = 4096 // bytes

// Rotation is one step from a key to the next.
type Rotation struct {
	Offset event.Offset // of its event: the first checkpoint of the new key has at least so many events
	event.SigningKeyRotated
}

func (r *Rotation) code(c *wire.Coder) {
	wire.Uint(c, 1, &r.Offset)
	wire.Str(c, 2, &r.Old)
	wire.Str(c, 3, &r.New)
	wire.Uint(c, 4, &r.RevokedFrom)
	wire.Str(c, 5, &r.Reason)
	wire.Str(c, 6, &r.Signatures)
}

// row names a rotation so that names sort as offsets do.
func (r *Rotation) row() string { return fmt.Sprintf("%020d", r.Offset) }

// Keys is all rotations. It is a persistent value: Copy is O(1).
type Keys struct{ rows table.Keyed[string, Rotation] }

// New returns no rotations; prefix is that of the table.
func New(prefix byte) Keys { return Keys{table.NewKeyed(prefix, 0, (*Rotation).row, (*Rotation).code)} }

// Copy returns an independent copy in O(1). Only the goroutine that changes k may call it.
func (k *Keys) Copy() Keys { return Keys{k.rows.Copy()} }

// Rows returns the table.
func (k *Keys) Rows() table.Rows { return &k.rows }

// Rotations returns all rotations, the first first.
func (k *Keys) Rotations() []Rotation { return slices.Collect(k.rows.All()) }

// Active returns the public key that signs now; "" before the first rotation: that is not in the log then.
func (k *Keys) Active() (key string) {
	k.rows.Scan(func(r *Rotation) bool { key = r.New; return true })
	return key
}

// Fold folds a rotation; known is false for any other event. An error says that it cannot have happened.
func (k *Keys) Fold(e *event.Envelope, save table.Saver) (known bool, err error) {
	v, ok := e.Event.(*event.SigningKeyRotated)
	if !ok {
		return false, nil
	}
	if a := k.Active(); a != "" && a != v.Old {
		return true, fmt.Errorf("the key %s is replaced, and %s signs", v.Old, a)
	}
	k.rows.Put(save, &Rotation{e.Offset, *v})
	return true, nil
}

// Decide turns a rotation into its event, nil if the key signs already, or refuses it. head is the offset of the log's last
// event. Other commands are none of its business, and known is false.
func (k *Keys) Decide(c command.Command, head event.Offset) (ev event.Event, known bool, err error) {
	r, ok := c.(*command.RotateSigningKey)
	if !ok {
		return nil, false, nil
	}
	e := r.Rotation
	active := k.Active()
	switch {
	case active != "" && active == e.New:
		return nil, true, nil
	case active != "" && active != e.Old:
		return nil, true, command.Refuse(command.CodeConflict, "rotate the signing key: the key that signs is not the one that is to be replaced; it was replaced by somebody else")
	case k.rows.Len() >= MaxRotations:
		return nil, true, command.Refuse(command.CodeTooLarge, "rotate the signing key: it was done %d times, which is all that an auditor follows", MaxRotations)
	case e.RevokedFrom > head+1:
		return nil, true, command.Refuse(command.CodeInvalid, "rotate the signing key: revoked from event %d, and the log ends at %d", e.RevokedFrom, head)
	case len(e.Signatures) > maxSignatures:
		return nil, true, command.Refuse(command.CodeTooLarge, "rotate the signing key: %d bytes of signatures, at most %d", len(e.Signatures), maxSignatures)
	}
	for _, old := range k.Rotations() {
		if old.Old == e.New {
			return nil, true, command.Refuse(command.CodeConflict, "rotate the signing key: that key was replaced at event %d; make a new one", old.Offset)
		}
	}
	if err := form.Description("reason of a rotation", e.Reason); err != nil {
		return nil, true, err
	}
	if err := vouched(&e); err != nil {
		return nil, true, command.Refuse(command.CodeInvalid, "rotate the signing key: %v", err)
	}
	return &e, true, nil
}

// vouched checks that both keys have signed: an event that no auditor would follow must not get into the log.
func vouched(e *event.SigningKeyRotated) error {
	var keys []note.Verifier
	for _, key := range []string{e.Old, e.New} {
		if strings.ContainsAny(key, "\r\n") {
			return fmt.Errorf("a public key is one line")
		}
		v, err := note.NewVerifier(key)
		if err != nil {
			return fmt.Errorf("public key %q: %w", key, err)
		}
		keys = append(keys, v)
	}
	if keys[0].Name() != keys[1].Name() || e.Old == e.New {
		return fmt.Errorf("%q cannot follow %q: another key of the same name can", e.New, e.Old)
	}
	n, err := note.Open([]byte(e.Statement()+"\n"+e.Signatures), note.VerifierList(keys...))
	if err != nil {
		return fmt.Errorf("signatures: %w", err)
	}
	if len(n.Sigs) != len(keys) {
		return fmt.Errorf("signatures: both the old and the new key must have signed")
	}
	return nil
}
