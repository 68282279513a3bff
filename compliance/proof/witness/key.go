package witness

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// algorithm of cosignature/v1 keys (C2SP signed-note). golang.org/x/mod knows only plain Ed25519 (1).
const algorithm = 4

// sizeOfSignature: a time of 8 bytes, big-endian, seconds since 1970, and an Ed25519 signature.
const sizeOfSignature = 8 + ed25519.SignatureSize

// keyHash is the key ID of C2SP signed-note.
func keyHash(name string, public ed25519.PublicKey) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write(append([]byte{algorithm}, public...))
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// signed returns what a cosignature signs.
func signed(at uint64, text []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at), text...)
}

// Verifier is a witness's public key.
type Verifier struct {
	name string
	key  ed25519.PublicKey
}

var _ note.Verifier = (*Verifier)(nil)

// Name implements note.Verifier.
func (v *Verifier) Name() string { return v.name }

// KeyHash implements note.Verifier.
func (v *Verifier) KeyHash() uint32 { return keyHash(v.name, v.key) }

// Verify implements note.Verifier.
func (v *Verifier) Verify(msg, sig []byte) bool {
	return len(sig) == sizeOfSignature && ed25519.Verify(v.key, signed(binary.BigEndian.Uint64(sig), msg), sig[8:])
}

// Public returns the key as a C2SP verifier key.
func (v *Verifier) Public() string {
	return fmt.Sprintf("%s+%08x+%s", v.name, v.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{algorithm}, v.key...)))
}

// ParseVerifier reads a C2SP verifier key of a witness. A plain note key is another kind: note.NewVerifier reads that.
func ParseVerifier(public string) (*Verifier, error) {
	parts := strings.SplitN(public, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a public key of a witness")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algorithm || !validName(parts[0]) {
		return nil, errors.New("not a public key of a witness")
	}
	v := &Verifier{parts[0], raw[1:]}
	if hash, err := strconv.ParseUint(parts[1], 16, 32); err != nil || uint32(hash) != v.KeyHash() {
		return nil, errors.New("not a public key of a witness: its hash is another")
	}
	return v, nil
}

// validName is note's rule for names.
func validName(name string) bool { return name != "" && !strings.ContainsAny(name, " \t\r\n+") }

// signer signs at a time.
type signer struct {
	Verifier
	private ed25519.PrivateKey
	at      time.Time
}

// Sign implements note.Signer.
func (s *signer) Sign(msg []byte) ([]byte, error) {
	at := s.at.Unix()
	if at <= 0 {
		return nil, errors.New("the clock is before 1970")
	}
	sig := binary.BigEndian.AppendUint64(nil, uint64(at))
	return append(sig, ed25519.Sign(s.private, signed(uint64(at), msg))...), nil
}

const privatePrefix = "PRIVATE+KEY+"

// NewKey makes the key of a witness: its private form, to be kept, and its public one, to be told. name should be a URL
// without a scheme, such as witness.example.org.
func NewKey(name string) (private string, public *Verifier, err error) {
	if !validName(name) {
		return "", nil, fmt.Errorf("%q: a name has no space and no plus", name)
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", nil, err
	}
	v := &Verifier{name, pub}
	return fmt.Sprintf("%s%s+%08x+%s", privatePrefix, name, v.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{algorithm}, priv.Seed()...))), v, nil
}

// parsePrivate reads the private form.
func parsePrivate(text string) (*signer, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), privatePrefix)
	parts := strings.SplitN(rest, "+", 3)
	if !ok || len(parts) != 3 {
		return nil, errors.New("not a private key of a witness")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != algorithm || !validName(parts[0]) {
		return nil, errors.New("not a private key of a witness")
	}
	s := &signer{private: ed25519.NewKeyFromSeed(raw[1:])}
	s.Verifier = Verifier{parts[0], s.private.Public().(ed25519.PublicKey)}
	if hash, err := strconv.ParseUint(parts[1], 16, 32); err != nil || uint32(hash) != s.KeyHash() {
		return nil, errors.New("not a private key of a witness: its hash is another")
	}
	return s, nil
}
