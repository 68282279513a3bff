package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type town struct {
	t   *testing.T
	dir string
	ca  *CA
}

func newTown(t *testing.T) *town {
	t.Helper()
	ca, err := NewCA("contoso.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &town{t, t.TempDir(), ca}
}

// files writes certificate, key and CA of a node and returns their paths in the order of LoadIdentity.
func (w *town) files(node string, ca *CA) (string, string, string) {
	w.t.Helper()
	cert, key, err := ca.Issue(node, []string{"contoso.test", "192.0.2.7"}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	names := [3]string{}
	for i, b := range [][]byte{ca.CertPEM(), cert, key} {
		names[i] = filepath.Join(w.dir, node+string(rune('a'+i)))
		if err := os.WriteFile(names[i], b, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	return names[0], names[1], names[2]
}

func (w *town) identity(node string, ca *CA) *Identity {
	w.t.Helper()
	id, err := LoadIdentity(w.files(node, ca))
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// call connects with TLS and has one byte answered.
func call(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c) //nolint:errcheck // the client judges
	}()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: client}
	c, err := d.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte{7}); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1)) // with TLS 1.3 a refused client certificate shows here
	return err
}

func TestPeers(t *testing.T) {
	w := newTown(t)
	n1, n2 := w.identity("n1", w.ca), w.identity("n2", w.ca)
	strangers, err := NewCA("contoso.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	evil := w.identity("n1", strangers)
	believes := evil.PeerClient("n2")
	believes.RootCAs = n1.PeerClient("n2").RootCAs
	bare := n1.PeerClient("n2")
	bare.GetClientCertificate = nil
	old := n1.PeerClient("n2")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, c := range map[string]struct {
		client *tls.Config
		ok     bool
	}{
		"a node":                           {n1.PeerClient("n2"), true},
		"asking for another node":          {n1.PeerClient("n3"), false},
		"of another pool":                  {evil.PeerClient("n2"), false},
		"of another pool that believes us": {believes, false},
		"without a certificate":            {bare, false},
		"TLS 1.2":                          {old, false},
	} {
		if err := call(t, n2.PeerServer(), c.client); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClients(t *testing.T) {
	w := newTown(t)
	id := w.identity("n1", w.ca)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca.CertPEM())
	for _, name := range []string{"127.0.0.1", "::1", "localhost", "n1", "contoso.test", "192.0.2.7"} {
		if err := call(t, id.Server(), &tls.Config{RootCAs: roots, ServerName: name}); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	for name, c := range map[string]*tls.Config{
		"another name": {RootCAs: roots, ServerName: "n2"},
		"no CA":        {RootCAs: x509.NewCertPool(), ServerName: "n1"},
		"TLS 1.1":      {RootCAs: roots, ServerName: "n1", MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11},
	} {
		if call(t, id.Server(), c) == nil {
			t.Errorf("%s was let in", name)
		}
	}
	if err := call(t, id.Server(), &tls.Config{RootCAs: roots, ServerName: "n1", MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
}

func TestKeysAreP256(t *testing.T) {
	w := newTown(t)
	id := w.identity("n1", w.ca)
	key, ok := id.current.cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() || w.ca.key.Curve != elliptic.P256() {
		t.Errorf("%T", id.current.cert.PrivateKey)
	}
	if left := time.Until(id.NotAfter()); left < 365*24*time.Hour {
		t.Errorf("ends in %v", left)
	}
}

func TestCAIsReadBack(t *testing.T) {
	w := newTown(t)
	key, err := w.ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	caFile, keyFile := filepath.Join(w.dir, "ca.pem"), filepath.Join(w.dir, "ca.key")
	for name, b := range map[string][]byte{caFile: w.ca.CertPEM(), keyFile: key} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again, err := LoadCA(caFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := call(t, w.identity("n1", w.ca).PeerServer(), w.identity("n2", again).PeerClient("n1")); err != nil {
		t.Errorf("a node of the authority read back: %v", err)
	}
	other, err := NewCA("x", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(caFile, other.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(caFile, keyFile); err == nil {
		t.Error("an authority with somebody else's key was taken")
	}
	if _, err := LoadCA(keyFile, keyFile); err == nil {
		t.Error("a key was taken for a certificate")
	}
}

// A renewed certificate is served without a restart; files that do not fit together are not taken.
func TestReload(t *testing.T) {
	w := newTown(t)
	ca, cert, key := w.files("n1", w.ca)
	id, err := LoadIdentity(ca, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	id.now = func() time.Time { return now }
	serial := func() string { return id.get().cert.Leaf.SerialNumber.String() }
	first := serial()
	replace := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(len(b)) * time.Second) // another time, whatever the clock of the disk says
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	c2, k2, err := w.ca.Issue("n1", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	replace(cert, c2) // in the middle of a renewal: the key is still the old one
	if serial() != first {
		t.Error("looked at the files again within a second")
	}
	now = now.Add(2 * reloadEvery)
	if serial() != first || id.Err() == nil {
		t.Errorf("a certificate without its key was taken (err %v)", id.Err())
	}
	replace(key, k2)
	now = now.Add(2 * reloadEvery)
	if serial() == first || id.Err() != nil {
		t.Errorf("the renewed certificate was not taken: %v", id.Err())
	}
}

func TestTokens(t *testing.T) {
	a, hash := NewToken()
	b, _ := NewToken()
	if a == b || len(a) < 40 || hash != HashToken(a) || len(hash) != 64 || strings.ContainsAny(a, " \n/+=") {
		t.Errorf("%s %s %s", a, b, hash)
	}
}

func TestLoadPool(t *testing.T) {
	f := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(f, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPool(f); !errors.Is(err, ErrNoCertificate) {
		t.Error(err)
	}
}
