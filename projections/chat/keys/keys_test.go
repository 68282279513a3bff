package keys

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"parley/log/event"
	"parley/projections/chat/command"
)

type key struct {
	note.Signer
	public string
}

func newKey(t *testing.T, name string, seed byte) key {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.NewChaCha8([32]byte{seed}), name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return key{s, vkey}
}

func rotation(t *testing.T, from, to key, revoked event.Offset, by ...note.Signer) event.SigningKeyRotated {
	t.Helper()
	e := event.SigningKeyRotated{Old: from.public, New: to.public, RevokedFrom: revoked}
	b, err := note.Sign(&note.Note{Text: e.Statement()}, by...)
	if err != nil {
		t.Fatal(err)
	}
	e.Signatures = strings.TrimPrefix(string(b), e.Statement()+"\n")
	return e
}

// TestDecide: a rotation is taken from the key that signs, with the signatures of both keys over exactly what it says.
func TestDecide(t *testing.T) {
	a, b, c, other := newKey(t, "pool", 1), newKey(t, "pool", 2), newKey(t, "pool", 3), newKey(t, "another", 4)
	k := New(1)
	try := func(e event.SigningKeyRotated) (event.Event, error) {
		ev, known, err := k.Decide(&command.RotateSigningKey{Rotation: e}, 10)
		if !known {
			t.Fatal("not known")
		}
		return ev, err
	}
	good := rotation(t, a, b, 0, a, b)
	altered := good
	altered.RevokedFrom = 3
	split := good
	split.Old += "\n"
	for name, e := range map[string]event.SigningKeyRotated{
		"not signed by the old": rotation(t, a, b, 0, b), "not signed by the new": rotation(t, a, b, 0, a), "altered": altered,
		"no signature": {Old: a.public, New: b.public}, "another name": rotation(t, a, other, 0, a, other), "itself": rotation(t, a, a, 0, a),
		"revoked from later": rotation(t, a, b, 12, a, b), "two lines": split, "no keys": {},
	} {
		if ev, err := try(e); ev != nil || !errors.Is(err, command.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, ev, err)
		}
	}
	save := discard{}
	fold := func(o event.Offset, e event.SigningKeyRotated) error {
		known, err := k.Fold(&event.Envelope{Offset: o, Event: &e}, save)
		if !known {
			t.Fatal("not known")
		}
		return err
	}
	if ev, err := try(good); ev == nil || err != nil {
		t.Fatal(err)
	}
	if err := fold(11, good); err != nil || k.Active() != b.public {
		t.Fatal(err, k.Active())
	}
	if ev, err := try(good); ev != nil || err != nil { // a retry
		t.Error(ev, err)
	}
	for name, e := range map[string]event.SigningKeyRotated{"from the key before": rotation(t, a, c, 0, a, c), "back": rotation(t, b, a, 0, b, a)} {
		if ev, err := try(e); ev != nil || !errors.Is(err, command.ErrConflict) {
			t.Errorf("%s: %v, %v", name, ev, err)
		}
	}
	if err := fold(12, rotation(t, a, c, 0, a, c)); err == nil {
		t.Error("folded a rotation of a key that does not sign")
	}
	if err := fold(12, rotation(t, b, c, 9, b, c)); err != nil {
		t.Error(err)
	}
	if r := k.Rotations(); len(r) != 2 || r[0].Offset != 11 || r[1].Offset != 12 || r[1].RevokedFrom != 9 || k.Active() != c.public {
		t.Errorf("%+v", r)
	}
}

type discard struct{}

func (discard) Set(_, _ []byte) {}
func (discard) Delete(_ []byte) {}
