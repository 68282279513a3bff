// Package pki makes and loads what the nodes of a pool and its administrators prove themselves with: the pool's own
// certificate authority, one certificate per node, admin tokens.
package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Lifetimes. A certificate begins an hour early, so that a clock that is a little late still takes it.
const (
	caLife   = 20 * 365 * 24 * time.Hour
	nodeLife = 5 * 365 * 24 * time.Hour
	early    = time.Hour
)

// CA is the pool's certificate authority, with its key.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority. The key is ECDSA on P-256.
func NewCA(domain string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the pool's authority: %w", err)
	}
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "parley pool " + domain},
		NotBefore:             now.Add(-early),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := sign(tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the pool's authority: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// LoadCA reads an authority from its two files.
func LoadCA(certFile, keyFile string) (*CA, error) {
	certDER, err := readPEM(certFile, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", certFile, err)
	}
	keyDER, err := readPEM(keyFile, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyFile, err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("read %s: not the key of %s", keyFile, certFile)
	}
	return &CA{cert: cert, key: key}, nil
}

// CertPEM returns the authority's certificate.
func (ca *CA) CertPEM() []byte { return encodePEM("CERTIFICATE", ca.cert.Raw) }

// KeyPEM returns the authority's private key.
func (ca *CA) KeyPEM() ([]byte, error) { return keyPEM(ca.key) }

// Issue makes the certificate of a node, for servers and clients. It names the node, 127.0.0.1, ::1, localhost and
// hosts (names or IP addresses).
func (ca *CA) Issue(node string, hosts []string, now time.Time) (certPEM, keyBytes []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate of %s: %w", node, err)
	}
	tmpl := &x509.Certificate{
		Subject:     pkix.Name{CommonName: node},
		NotBefore:   now.Add(-early),
		NotAfter:    now.Add(nodeLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{node, "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	cert, err := sign(tmpl, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate of %s: %w", node, err)
	}
	if keyBytes, err = keyPEM(key); err != nil {
		return nil, nil, err
	}
	return encodePEM("CERTIFICATE", cert.Raw), keyBytes, nil
}

func sign(tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	tmpl.SerialNumber = serial.Add(serial, big.NewInt(1)) // RFC 5280 section 4.1.2.2: positive
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return encodePEM("PRIVATE KEY", der), nil
}

func readPEM(name, kind string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("read %s: no %s in PEM form", name, kind)
	}
	return block.Bytes, nil
}

// SigningName follows the pool's domain in the name of its keys.
const SigningName = "/parley"

// NewSigningKey makes the key with which a pool signs checkpoints of its log, as a C2SP note key, and its public half.
func NewSigningKey(domain string) (key, public string, err error) {
	return note.GenerateKey(rand.Reader, domain+SigningName)
}

// SigningKey is a key that signs checkpoints.
type SigningKey struct {
	note.Signer
	Public string // as a C2SP note key
}

// LoadSigningKeys reads keys that NewSigningKey made, one a line, in the order of the file. All have one name: it is the
// origin of checkpoints.
func LoadSigningKeys(file string) ([]SigningKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []SigningKey
	for _, line := range strings.Fields(string(b)) {
		s, err := note.NewSigner(line)
		if err != nil {
			return nil, fmt.Errorf("%s: not a private note key: %w", file, err)
		}
		k := SigningKey{Signer: s}
		if k.Public, err = publicOf(line); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, other := range out {
			if other.Public == k.Public || other.Name() != k.Name() {
				return nil, fmt.Errorf("%s: keys of one pool have one name, and none is there twice: %s", file, k.Public)
			}
		}
		out = append(out, k)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: not a private note key: the file is empty", file)
	}
	return out, nil
}

// publicOf returns the public half of a private note key: PRIVATE+KEY+NAME+HASH+BASE64, of an algorithm byte (1: Ed25519)
// and a seed.
func publicOf(private string) (string, error) {
	parts := strings.SplitN(private, "+", 5)
	if len(parts) < 5 {
		return "", errors.New("not a private note key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(key) != 1+ed25519.SeedSize {
		return "", errors.New("not a private note key")
	}
	return note.NewEd25519VerifierKey(parts[2], ed25519.NewKeyFromSeed(key[1:]).Public().(ed25519.PublicKey))
}

// NewToken makes an admin token of 256 random bits and the hash that stands for it in configurations.
func NewToken() (token, hash string) {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	token = "parley_" + base64.RawURLEncoding.EncodeToString(b[:])
	return token, HashToken(token)
}

// HashToken returns the SHA-256 of a token in hex. A token has 256 random bits, so a plain hash is enough: there is
// nothing to guess.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// ErrNoCertificate says that a file that should hold certificates holds none.
var ErrNoCertificate = errors.New("no certificate in PEM form")
