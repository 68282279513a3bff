package proof_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/sumdb/note"

	"parley/compliance/proof"
	"parley/log/event"
)

// vkey returns the public key that keys makes of a seed.
func vkey(t testing.TB, name string, seed byte) string {
	t.Helper()
	_, v, err := note.GenerateKey(rand.NewChaCha8([32]byte{seed}), name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// rotation is a statement that some keys have signed.
func rotation(t testing.TB, from, to string, revoked event.Offset, by ...note.Signer) *event.SigningKeyRotated {
	t.Helper()
	e := &event.SigningKeyRotated{Old: from, New: to, RevokedFrom: revoked}
	b, err := note.Sign(&note.Note{Text: e.Statement()}, by...)
	if err != nil {
		t.Fatal(err)
	}
	e.Signatures = strings.TrimPrefix(string(b), e.Statement()+"\n")
	return e
}

// rotate has the next key sign from here on.
func (w *world) rotate(seed byte, revoked event.Offset) event.Offset {
	w.t.Helper()
	next, key := keys(w.t, w.key.Name(), seed)
	o := w.add(rotation(w.t, vkey(w.t, w.key.Name(), w.seed), vkey(w.t, w.key.Name(), seed), revoked, w.signer, next))
	w.signer, w.key, w.seed = next, key, seed
	w.rotations = append(w.rotations, o)
	return o
}

// proveKeys adds keys.json to a directory.
func (w *world) proveKeys(dir fstest.MapFS, at ...event.Offset) fstest.MapFS {
	w.t.Helper()
	k, err := proof.ProveKeys(w.t.Context(), w, at, int64(len(w.events)), func(_ context.Context, o event.Offset) (event.Time, []byte, error) {
		return w.events[o-1].At, w.stored[o-1], nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := k.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	dir[proof.FileKeys] = &fstest.MapFile{Data: b}
	return dir
}

// rotated is a town whose key was replaced twice: the first by the second, and the second, revoked, by the third.
func rotated(t testing.TB) (w *world, receipt event.Offset, dir fstest.MapFS, given []note.Verifier) {
	w, receipt = town(t)
	given = append(given, w.key)
	w.rotate(21, 0)
	given = append(given, w.key)
	w.add(&event.Posted{MessageID: 500, Text: "between"})
	w.rotate(22, 73)
	given = append(given, w.key)
	w.add(&event.Posted{MessageID: 501, Text: "after"})
	return w, receipt, w.proveKeys(w.prove(0, 0, receipt, 0), w.rotations...), given
}

// TestFollowed: an auditor who has any of the keys accepts what the last one signed, and is told why.
func TestFollowed(t *testing.T) {
	_, _, dir, given := rotated(t)
	for i, key := range given {
		r := verify(t, dir, nil, key)
		if len(r.Findings) > 0 || r.Followed != (i < 2) || len(r.Rotations) != 2 || r.Rotations[1].RevokedFrom != 73 {
			t.Errorf("with key %d: %+v", i, r)
		}
	}
	_, stranger := keys(t, "contoso.test", 30)
	if r := verify(t, dir, nil, stranger); len(r.Findings) == 0 {
		t.Error("a stranger's key is followed")
	}
}

// TestNotFollowed: no step of the chain can be left out, made up, or taken from somewhere else.
func TestNotFollowed(t *testing.T) {
	w, receipt, dir, given := rotated(t)
	refused := func(what string, dir fstest.MapFS, key note.Verifier) {
		t.Helper()
		if r := verify(t, dir, nil, key); len(r.Findings) == 0 {
			t.Errorf("%s: %+v", what, r)
		}
	}
	without := func() fstest.MapFS { return w.prove(0, 0, receipt, 0) }
	refused("no keys", without(), given[0])
	refused("the second step is missing", w.proveKeys(without(), w.rotations[0]), given[0])
	refused("the first step is missing", w.proveKeys(without(), w.rotations[1]), given[0])
	refused("in another order", w.proveKeys(without(), w.rotations[1], w.rotations[0]), given[0])
	refused("an event that is none", w.proveKeys(without(), 3), given[0])

	// A key of one's own, vouched for by oneself: in a forged log, with everything else in order.
	forged, receipt2 := town(t)
	mine, mineKey := keys(t, "contoso.test", 40)
	honest := forged.key
	o := forged.add(rotation(t, vkey(t, "contoso.test", 1), vkey(t, "contoso.test", 40), 0, mine))
	forged.signer, forged.key = mine, mineKey
	refused("a key that the old one did not vouch for", forged.proveKeys(forged.prove(0, 0, receipt2, 0), o), honest)

	// A rotation that is signed, but not in the log.
	w2, _, _, _ := rotated(t)
	w2.events[w2.rotations[0]-1].At++
	refused("not in the log", w2.proveKeys(without(), w2.rotations...), given[0])

	// A node that goes on signing with the old key, after the rotation: the entries tell.
	w3, _ := town(t)
	signer, key := w3.signer, w3.key
	w3.rotate(21, 0)
	last := event.Offset(len(w3.events))
	receipt3 := last
	w3.deliver(70, last)
	w3.signer, w3.key = signer, key
	refused("signed with a key that was replaced", w3.prove(70, 0, receipt3, 0), key)

	// And a bit anywhere.
	whole := dir[proof.FileKeys].Data
	for n := 0; n < len(whole); n += 3 {
		altered := bytes.Clone(whole)
		altered[n] ^= 1 << rand.IntN(8)
		dir[proof.FileKeys] = &fstest.MapFile{Data: altered}
		refused(fmt.Sprintf("byte %d of %s is %q", n, proof.FileKeys, altered[n]), dir, given[0])
	}
	for n := 0; n < len(whole); n += 19 {
		dir[proof.FileKeys] = &fstest.MapFile{Data: whole[:n]}
		refused(fmt.Sprintf("cut at %d", n), dir, given[0])
	}
}

// TestEarlierKeys: a checkpoint that was kept is taken from the key that was the pool's then, and from no key that signed no
// more: from the rotation on, or from where it was revoked.
func TestEarlierKeys(t *testing.T) {
	w, receipt, _, given := rotated(t)
	signers := map[int]note.Signer{}
	for i, seed := range []byte{1, 21, 22} {
		signers[i], _ = keys(t, "contoso.test", seed)
	}
	// The rotations are at 72 and 74; the second key is revoked from 73 on.
	if w.rotations[0] != 72 || w.rotations[1] != 74 {
		t.Fatal(w.rotations)
	}
	for _, c := range []struct {
		size int64
		key  int
		ok   bool
	}{{40, 0, true}, {71, 0, true}, {72, 0, false}, {74, 0, false}, {72, 1, true}, {73, 1, false}, {74, 1, false}, {74, 2, true}, {75, 2, true}} {
		kept, err := proof.Checkpoint{Origin: "contoso.test", Size: c.size, Root: w.root(0, c.size)}.Sign(signers[c.key])
		if err != nil {
			t.Fatal(err)
		}
		dir := w.proveKeys(w.prove(0, 0, receipt, c.size), w.rotations...)
		for i, key := range given {
			if r := verify(t, dir, kept, key); (len(r.Findings) == 0) != c.ok {
				t.Errorf("%d events, signed with key %d, checked with key %d: %v", c.size, c.key, i, r.Findings)
			}
		}
	}
}
