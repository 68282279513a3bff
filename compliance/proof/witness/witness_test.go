package witness

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"parley/compliance/proof"
)

// history is a log of a pool: all hashes of its tree.
type history struct {
	t      *testing.T
	signer note.Signer
	key    note.Verifier
	hashes []tlog.Hash
}

func newHistory(t *testing.T, name string, events int, text string) *history {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.NewChaCha8([32]byte{1}), name)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{t: t}
	if h.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	if h.key, err = note.NewVerifier(vkey); err != nil {
		t.Fatal(err)
	}
	for i := range events {
		more, err := tlog.StoredHashes(int64(i), fmt.Appendf(nil, "%s %d", text, i), h)
		if err != nil {
			t.Fatal(err)
		}
		h.hashes = append(h.hashes, more...)
	}
	return h
}

func (h *history) ReadHashes(at []int64) (out []tlog.Hash, err error) {
	for _, i := range at {
		out = append(out, h.hashes[i])
	}
	return out, nil
}

func (h *history) checkpoint(size int64) []byte {
	h.t.Helper()
	root, err := tlog.TreeHash(size, h)
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := proof.Checkpoint{Origin: h.key.Name(), Size: size, Root: root}.Sign(h.signer)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

func (h *history) request(old, size int64) []byte {
	h.t.Helper()
	var lines []string
	if old > 0 && old < size {
		p, err := tlog.ProveTree(size, old, h)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, x := range p {
			lines = append(lines, x.String())
		}
	}
	return EncodeRequest(old, lines, h.checkpoint(size))
}

var when = time.Unix(1_790_000_000, 0)

func open(t *testing.T, dir, private string) *Witness {
	t.Helper()
	w, err := Open(dir, private, func() time.Time { return when })
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newWitness(t *testing.T) (w *Witness, private string) {
	t.Helper()
	private, public, err := NewKey("witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	w = open(t, t.TempDir(), private)
	if again, err := ParseVerifier(public.Public()); err != nil || again.Public() != w.Verifier().Public() {
		t.Fatal(again, err)
	}
	return w, private
}

// signs checks that a request is answered with a signature that holds.
func signs(t *testing.T, w *Witness, h *history, request []byte, first bool) {
	t.Helper()
	cosigned, line, err := w.Cosign(request, h.key, first)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseVerifier(w.Verifier().Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proof.OpenCheckpoint(cosigned, h.key, v); err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(append(bytes.Clone(parsed(t, request).Checkpoint), line...), note.VerifierList(v))
	if err != nil || len(n.Sigs) != 1 {
		t.Fatal(n, err)
	}
}

func parsed(t *testing.T, request []byte) *Request {
	t.Helper()
	r, err := ParseRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func refuses(t *testing.T, w *Witness, h *history, request []byte, want error) {
	t.Helper()
	before, _ := os.ReadFile(w.file(h.key.Name()))
	if out, line, err := w.Cosign(request, h.key, false); out != nil || line != nil || err == nil || want != nil && !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", out, err, want)
	}
	if after, _ := os.ReadFile(w.file(h.key.Name())); !bytes.Equal(before, after) {
		t.Fatal("a refusal changed what the witness remembers")
	}
}

// TestContinues: a log that only grows is signed at every step, by a witness that is started again each time.
func TestContinues(t *testing.T) {
	w, private := newWitness(t)
	h := newHistory(t, "pool.example/parley", 300, "event")
	refuses(t, w, h, h.request(0, 3), ErrFirst)
	signs(t, w, h, h.request(0, 3), true)
	last := int64(3)
	for _, size := range []int64{4, 7, 7, 8, 64, 65, 255, 300} {
		w = open(t, w.dir, private)
		signs(t, w, h, h.request(last, size), false)
		last = size
	}
	signs(t, w, h, h.request(255, 300), false) // the answer was lost, and the request comes again
	if n, err := w.LastSize(h.key); n != 300 || err != nil {
		t.Error(n, err)
	}
	// Another log has a memory of its own.
	other := newHistory(t, "other.example/parley", 10, "event")
	refuses(t, w, other, other.request(0, 10), ErrFirst)
	signs(t, w, other, other.request(0, 10), true)
	signs(t, w, h, h.request(300, 300), false)
}

// TestRefuses: what does not continue is refused, also by a witness that has been started again, and it is not forgotten.
func TestRefuses(t *testing.T) {
	w, private := newWitness(t)
	h, forked := newHistory(t, "pool.example/parley", 100, "event"), newHistory(t, "pool.example/parley", 100, "another")
	signs(t, w, h, h.request(0, 50), true)
	for range 2 {
		refuses(t, w, h, h.request(0, 40), ErrForked)                                           // rollback
		refuses(t, w, h, h.request(40, 49), ErrForked)                                          // rollback
		refuses(t, w, h, forked.request(0, 50), ErrForked)                                      // another history of the same length
		refuses(t, w, h, forked.request(50, 100), ErrForked)                                    // a longer one
		refuses(t, w, h, h.request(40, 60), ErrOld)                                             // leads from elsewhere
		refuses(t, w, h, h.request(0, 60), ErrOld)                                              // from nowhere
		refuses(t, w, h, []byte("old 1\n\nrubbish"), nil)                                       // not signed
		refuses(t, w, h, []byte("hello"), ErrRequest)                                           //
		if _, _, err := w.Cosign(forked.request(0, 60), h.key, true); !errors.Is(err, ErrOld) { // "first" is no way around
			t.Error(err)
		}
		good := h.request(50, 100)
		for i := 0; i < len(good); i += 3 {
			bad := bytes.Clone(good)
			bit := rand.IntN(8)
			bad[i] ^= 1 << bit
			if out, _, err := w.Cosign(bad, h.key, false); err == nil {
				t.Fatalf("bit %d of byte %d: signed\n%s", bit, i, out)
			}
		}
		w = open(t, w.dir, private)
	}
	stranger := newHistory(t, "pool.example/parley", 100, "event")
	skey, _, err := note.GenerateKey(rand.NewChaCha8([32]byte{9}), "pool.example/parley")
	if err != nil {
		t.Fatal(err)
	}
	if stranger.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	refuses(t, w, h, stranger.request(50, 60), nil)
	signs(t, w, h, h.request(50, 100), false)
}

// TestDamaged: a memory with any bit altered, or cut anywhere, is an error, and nothing is signed: not even as the first.
func TestDamaged(t *testing.T) {
	w, _ := newWitness(t)
	h := newHistory(t, "pool.example/parley", 100, "event")
	signs(t, w, h, h.request(0, 50), true)
	name := w.file(h.key.Name())
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	request := h.request(50, 60)
	for n := 0; n < len(whole); n += 2 {
		bad := bytes.Clone(whole)
		bad[n] ^= 1 << rand.IntN(8)
		for what, b := range map[string][]byte{"altered": bad, "cut": whole[:n]} {
			put(b)
			for _, first := range []bool{false, true} {
				if out, _, err := w.Cosign(request, h.key, first); err == nil {
					t.Fatalf("%s at %d (%q): signed\n%s", what, n, b, out)
				}
			}
		}
	}
	put(nil)
	refuses(t, w, h, request, ErrDamaged)
	// The memory of another log, or of another witness.
	other := newHistory(t, "other.example/parley", 5, "event")
	signs(t, w, other, other.request(0, 5), true)
	b, err := os.ReadFile(w.file(other.key.Name()))
	if err != nil {
		t.Fatal(err)
	}
	put(b)
	refuses(t, w, h, request, ErrDamaged)
	second, _ := newWitness(t)
	signs(t, second, h, h.request(0, 50), true)
	if b, err = os.ReadFile(second.file(h.key.Name())); err != nil {
		t.Fatal(err)
	}
	put(b)
	refuses(t, w, h, request, ErrDamaged)
	put(whole)
	signs(t, w, h, request, false)
}

// TestCrash: whatever write fails, nothing is signed that is not remembered, and the memory is the one before or the new one.
func TestCrash(t *testing.T) {
	w, private := newWitness(t)
	h := newHistory(t, "pool.example/parley", 100, "event")
	signs(t, w, h, h.request(0, 50), true)
	for fail := range 2 { // the file's sync, the directory's
		n := 0
		w.sync = func(f *os.File) error {
			if n++; n > fail {
				return errors.New("the disk is gone")
			}
			return f.Sync()
		}
		size, err := w.LastSize(h.key)
		if err != nil {
			t.Fatal(err)
		}
		if out, _, err := w.Cosign(h.request(size, size+10), h.key, false); err == nil || out != nil {
			t.Fatalf("failing sync %d: %s %v", fail, out, err)
		}
		w = open(t, w.dir, private)
		after, err := w.LastSize(h.key)
		if err != nil || after != size && (after != size+10 || fail == 0) {
			t.Fatalf("failing sync %d: %d after %d: %v", fail, after, size, err)
		}
		signs(t, w, h, h.request(after, size+10), false) // asked again, it is signed
	}
	// What a crash in the middle of a write leaves is written over.
	tmp, err := filepath.Glob(filepath.Join(w.dir, "*.checkpoint"))
	if err != nil || len(tmp) != 1 {
		t.Fatal(tmp, err)
	}
	if err := os.WriteFile(tmp[0][:len(tmp[0])-len("checkpoint")]+"tmp", []byte("half of a checkpoint that is longer than"), 0o600); err != nil {
		t.Fatal(err)
	}
	signs(t, w, h, h.request(70, 80), false)
}

// TestBusy: two processes do not sign at once.
func TestBusy(t *testing.T) {
	w, _ := newWitness(t)
	h := newHistory(t, "pool.example/parley", 10, "event")
	unlock, err := lock(filepath.Join(w.dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Cosign(h.request(0, 5), h.key, true); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	signs(t, w, h, h.request(0, 5), true)
}

// TestFormat: the example of a request in C2SP tlog-witness, and the bytes that C2SP tlog-cosignature has signed.
func TestFormat(t *testing.T) {
	r := parsed(t, []byte(`old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
`))
	if r.Old != 20852014 || len(r.Proof) != 4 || !bytes.HasPrefix(r.Checkpoint, []byte("example.com/behind-the-sofa\n20852163\n")) {
		t.Errorf("%+v", r)
	}
	for _, bad := range []string{"", "old 1", "old 01\n\nx", "old -1\n\nx", "old 1\nshort\n\nx", "new 1\n\nx", "old 1\n" + string(bytes.Repeat([]byte("PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"), 64)) + "\nx"} {
		if _, err := ParseRequest([]byte(bad)); !errors.Is(err, ErrRequest) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got := signed(1679315147, []byte("example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n")); string(got) !=
		"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n" {
		t.Errorf("%q", got)
	}
	private, public, err := NewKey("w")
	if err != nil {
		t.Fatal(err)
	}
	s, err := parsePrivate(private)
	if err != nil {
		t.Fatal(err)
	}
	s.at = when
	sig, err := s.Sign([]byte("text\n"))
	if err != nil || len(sig) != 72 || binary.BigEndian.Uint64(sig) != uint64(when.Unix()) || !public.Verify([]byte("text\n"), sig) || public.Verify([]byte("texT\n"), sig) {
		t.Error(sig, err)
	}
	sig[7]++ // the time is signed
	if public.Verify([]byte("text\n"), sig) {
		t.Error("another time")
	}
	if _, err := ParseVerifier("w+00000000+" + public.Public()[11:]); err == nil {
		t.Error("another hash")
	}
}
