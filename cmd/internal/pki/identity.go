package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// reloadEvery bounds how often the files are looked at.
const reloadEvery = time.Second

// Identity is a node's certificate and the authority it believes. It notices when the files change, so that a
// certificate can be renewed without a restart; while new files do not fit together the old certificate stays.
type Identity struct {
	caFile, certFile, keyFile string
	now                       func() time.Time

	mu      sync.Mutex
	looked  time.Time
	stamp   [3]stamp
	current *loaded
	err     error // of the last attempt to load changed files
}

type loaded struct {
	cert tls.Certificate
	pool *x509.CertPool
}

type stamp struct {
	mod  time.Time
	size int64
}

// LoadIdentity reads the three files.
func LoadIdentity(caFile, certFile, keyFile string) (*Identity, error) {
	id := &Identity{caFile: caFile, certFile: certFile, keyFile: keyFile, now: time.Now}
	id.stamp = id.stamps()
	l, err := id.load()
	if err != nil {
		return nil, err
	}
	id.current, id.looked = l, id.now()
	return id, nil
}

func (id *Identity) load() (*loaded, error) {
	cert, err := tls.LoadX509KeyPair(id.certFile, id.keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s: %w", id.certFile, err)
	}
	pool, err := LoadPool(id.caFile)
	if err != nil {
		return nil, err
	}
	return &loaded{cert: cert, pool: pool}, nil
}

// LoadPool reads the certificates of a file.
func LoadPool(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read %s: %w", file, ErrNoCertificate)
	}
	return pool, nil
}

func (id *Identity) stamps() (out [3]stamp) {
	for i, f := range []string{id.caFile, id.certFile, id.keyFile} {
		if st, err := os.Stat(f); err == nil {
			out[i] = stamp{st.ModTime(), st.Size()}
		}
	}
	return out
}

func (id *Identity) get() *loaded {
	id.mu.Lock()
	defer id.mu.Unlock()
	now := id.now()
	if now.Sub(id.looked) < reloadEvery {
		return id.current
	}
	id.looked = now
	s := id.stamps()
	if s == id.stamp {
		return id.current
	}
	l, err := id.load()
	id.err = err
	if err == nil { // else: look again next time, the files may be in the middle of being replaced
		id.current, id.stamp = l, s
	}
	return id.current
}

// Err returns why changed files were not taken, nil while all is well. For a readiness check.
func (id *Identity) Err() error {
	id.get()
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.err
}

// NotAfter returns when the certificate ends.
func (id *Identity) NotAfter() time.Time {
	return id.get().cert.Leaf.NotAfter
}

// Server returns the configuration of a listener for clients of any kind: TLS 1.2 or later. A certificate of the
// pool is looked at where a client shows one, and none is asked for.
func (id *Identity) Server() *tls.Config {
	return id.listener(tls.VerifyClientCertIfGiven)
}

// PeerServer returns the configuration of the listener for other nodes: TLS 1.3 with a certificate of the pool.
func (id *Identity) PeerServer() *tls.Config {
	c := id.listener(tls.RequireAndVerifyClientCert)
	c.MinVersion = tls.VersionTLS13
	return c
}

func (id *Identity) listener(auth tls.ClientAuthType) *tls.Config {
	base := &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: auth}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		l := id.get()
		c := base.Clone()
		c.GetConfigForClient = nil
		c.Certificates, c.ClientCAs = []tls.Certificate{l.cert}, l.pool
		return c, nil
	}
	// A listener refuses a configuration that has no certificate at all, so that there is one even though
	// GetConfigForClient always answers.
	base.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { c := id.get().cert; return &c, nil }
	return base
}

// PeerClient returns the configuration for calling the node named: the other side must show a certificate of the
// pool for exactly that node, so that one node's key cannot stand in for another's.
func (id *Identity) PeerClient(node string) *tls.Config {
	l := id.get()
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: l.pool, ServerName: node,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { c := id.get().cert; return &c, nil }}
}
