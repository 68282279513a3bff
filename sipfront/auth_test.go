package sipfront_test

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"testing"

	"parley/sipfront"
	"parley/sipfront/siptest"
)

func challenged(c *sipfront.Config) { c.Listeners[0].AllowUnchallenged = false }

// TestDigest signs in with a password, through an independent implementation of Digest.
func TestDigest(t *testing.T) {
	s := serve(t, challenged)
	a := s.client("alice")
	a.Join(lobby)
	if st := a.Post(lobby, "x"); st != 200 {
		t.Errorf("%d", st)
	}
	a.Register() // a refresh
	check(t, a)
	for _, c := range []struct{ user, password string }{{"alice", "wrong"}, {"nobody", "parley"}} {
		b := s.dial(c.user, func(o *siptest.Options) { o.Password = c.password })
		if m := b.Register(); m == nil || m.Status() != 403 || !strings.Contains(m.Header("ms-diagnostics"), "Authentication failed") {
			t.Errorf("%v: %v", c, m)
		}
	}
	m := s.dial("mallory").Register()
	if m == nil || m.Status() != 403 || !strings.Contains(m.Header("ms-diagnostics"), "not enabled") {
		t.Errorf("a user without the policy: %v", m)
	}
}

// digestOf answers a challenge by hand.
func digestOf(m *siptest.Message, algorithm, method, uri, nc string) string {
	var challenge string
	for _, h := range m.Headers("WWW-Authenticate") {
		if strings.Contains(h, "algorithm="+algorithm+",") {
			challenge = h
		}
	}
	_, nonce, _ := strings.Cut(challenge, `nonce="`)
	nonce, _, _ = strings.Cut(nonce, `"`)
	return digestWith(nonce, algorithm, method, uri, nc)
}

func digestWith(nonce, algorithm, method, uri, nc string) string {
	h := func(s string) string {
		var d hash.Hash = sha256.New()
		if algorithm == "MD5" {
			d = md5.New()
		}
		d.Write([]byte(s))
		return hex.EncodeToString(d.Sum(nil))
	}
	r := h(h("alice@contoso.test:contoso.test:parley") + ":" + nonce + ":" + nc + ":abc:auth:" + h(method+":"+uri))
	return fmt.Sprintf(`Authorization: Digest username="alice@contoso.test", realm="contoso.test", nonce="%s", uri="%s", response="%s", algorithm=%s, cnonce="abc", qop=auth, nc=%s`, nonce, uri, r, algorithm, nc)
}

func register(seq int, lines ...string) string {
	r := request("REGISTER", "sip:contoso.test", seq, "", append([]string{"Expires: 600", "Contact: <sip:127.0.0.1:5060>"}, lines...)...)
	return change(r, "To", "To: <sip:alice@contoso.test>")
}

// TestReplay: a captured request is worth nothing, on its own flow or on another.
func TestReplay(t *testing.T) {
	s := serve(t, challenged)
	w := s.wire()
	w.send("%s", register(1))
	challenge := w.want(401)
	if h := challenge.Headers("WWW-Authenticate"); len(h) != 1 || !strings.Contains(h[0], "SHA-256") || !strings.Contains(h[0], `qop="auth"`) {
		t.Fatalf("%q", h)
	}
	good := digestOf(challenge, "SHA-256", "REGISTER", "sip:contoso.test", "00000001")
	w.send("%s", register(2, good))
	w.want(200)
	w.send("%s", register(3, good))
	if m := w.want(401); !strings.Contains(m.Header("WWW-Authenticate"), "stale=true") {
		t.Errorf("replay on the same flow: %s", m)
	}
	for _, nc := range []string{"00000003", "00000002"} { // out of order, each once
		w.send("%s", register(4, digestOf(challenge, "SHA-256", "REGISTER", "sip:contoso.test", nc)))
		w.want(200)
	}
	w.send("%s", register(5, digestOf(challenge, "SHA-256", "REGISTER", "sip:contoso.test", "00000002")))
	w.want(401)
	other := s.wire()
	other.send("%s", register(1, good))
	other.want(401)
	other.send("%s", request("INVITE", poolURI, 2, "", good)) // for another method and URI
	other.want(403)
	other.send("%s", request("INVITE", poolURI, 3, ""))
	other.want(401)
	other.send("%s", register(4, strings.Replace(good, `uri="sip:contoso.test"`, `uri="sip:else.test"`, 1)))
	other.want(403)
	other.send("%s", register(5, digestWith("bm9uY2U", "SHA-256", "REGISTER", "sip:contoso.test", "00000001"))) // a nonce of his own making
	if m := other.want(401); !strings.Contains(m.Header("WWW-Authenticate"), "stale=true") {
		t.Errorf("%s", m)
	}
	other.send("%s", register(6, digestOf(challenge, "MD5", "REGISTER", "sip:contoso.test", "00000001"))) // MD5 is off
	other.want(403)
	for seq := 7; seq < 9; seq++ {
		other.send("%s", register(seq, strings.Replace(good, `response="`, `response="0`, 1)))
		other.want(403)
	}
	other.closed() // five wrong answers are enough
}

// TestMD5 is for clients that know nothing better, where the operator allows it; SHA-256 is still asked for first.
func TestMD5(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) { challenged(c); c.MD5 = true })
	w := s.wire()
	w.send("%s", register(1))
	m := w.want(401)
	if h := m.Headers("WWW-Authenticate"); len(h) != 2 || !strings.Contains(h[0], "SHA-256") || !strings.Contains(h[1], "algorithm=MD5") {
		t.Fatalf("%q", h)
	}
	w.send("%s", register(2, digestOf(m, "MD5", "REGISTER", "sip:contoso.test", "00000001")))
	w.want(200)
}

// TestOneUser: a flow has one user, and what is said in another name is refused.
func TestOneUser(t *testing.T) {
	for _, policy := range []func(*sipfront.Config){nil, challenged} {
		s := serve(t, policy)
		w := s.wire()
		w.send("%s", register(1))
		if policy != nil {
			w.send("%s", register(2, digestOf(w.want(401), "SHA-256", "REGISTER", "sip:contoso.test", "00000001")))
		}
		w.want(200)
		as := func(r, user string) string { return change(r, "From", "From: <sip:"+user+"@contoso.test>;tag=t2") }
		w.send("%s", as(request("INVITE", poolURI, 1, ""), "bob"))
		w.want(403)
		w.send("%s", as(request("SUBSCRIBE", "sip:bob@contoso.test", 1, "", "Event: vnd-microsoft-roaming-self"), "bob"))
		w.want(403)
		w.send("%s", request("SUBSCRIBE", "sip:bob@contoso.test", 1, "", "Event: vnd-microsoft-roaming-self"))
		w.want(403)
		w.send("%s", as(register(5), "bob"))
		w.want(403)
		w.send("%s", change(register(6), "To", "To: <sip:bob@contoso.test>"))
		w.want(403)
		to := w.open()
		w.send("%s", change(inDialog(to, "INFO", 2, joinBody(1, lobby)), "From", "From: <sip:bob@contoso.test>;tag=t1"))
		w.want(403)
		w.send("%s", change(inDialog(to, "INFO", 3, joinBody(1, lobby)), "From", "From: <sip:alice@contoso.test>;tag=t9"))
		w.want(481)
		w.send("%s", inDialog(to, "INFO", 4, joinBody(1, lobby)))
		w.want(200)
		stranger := s.wire() // the dialog belongs to its flow
		stranger.send("%s", inDialog(to, "INFO", 5, joinBody(1, lobby)))
		stranger.want(481)
	}
}

// TestUnknownUsers: without a challenge the directory still decides, with a reason that clients show.
func TestUnknownUsers(t *testing.T) {
	s := serve(t, nil)
	for user, reason := range map[string]string{"nobody": "unknown", "mallory": "not enabled"} {
		for _, do := range []func(*siptest.Client) *siptest.Message{(*siptest.Client).Register, func(c *siptest.Client) *siptest.Message { return c.Invite(poolURI) }} {
			if m := do(s.dial(user)); m == nil || m.Status() != 403 || !strings.Contains(m.Header("ms-diagnostics"), reason) || m.Header("ms-diagnostics-public") == "" {
				t.Errorf("%s: %v", user, m)
			}
		}
	}
}

// TestOpenDoor: off loopback nobody gets in on his word.
func TestOpenDoor(t *testing.T) {
	p := newPool(t)
	for _, addr := range []string{"0.0.0.0:0", ":0"} {
		_, err := sipfront.New(sipfront.Config{Node: node, Listeners: []sipfront.Listener{{Network: "tcp", Addr: addr, AllowUnchallenged: true}}}, p)
		if !errors.Is(err, sipfront.ErrOpenDoor) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if _, err := sipfront.New(sipfront.Config{Node: node, Listeners: []sipfront.Listener{{Network: "tls", Addr: "127.0.0.1:0"}}}, p); err == nil {
		t.Error("TLS without a certificate")
	}
	if _, err := sipfront.New(sipfront.Config{Node: node, Listeners: []sipfront.Listener{{Network: "sctp", Addr: "127.0.0.1:0"}}}, p); err == nil {
		t.Error("an unknown network")
	}
}
