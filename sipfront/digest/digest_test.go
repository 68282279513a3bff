package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"parley/log/event"
)

func sum(newHash func() hash.Hash, s string) []byte {
	h := newHash()
	h.Write([]byte(s))
	return h.Sum(nil)
}

// TestRFC8760 is the example of RFC 7616 section 3.9.1, in both algorithms: the computation is the standard's.
func TestRFC8760(t *testing.T) {
	for _, c := range []struct {
		newHash func() hash.Hash
		want    string
	}{{sha256.New, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"}, {md5.New, "8ca523f5e9506fed4657c9700eebdbec"}} {
		ha1 := hex.EncodeToString(sum(c.newHash, "Mufasa:http-auth@example.org:Circle of Life"))
		got := response(c.newHash, ha1, "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "auth", "GET", "/dir/index.html")
		if got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

const alice = event.Principal("sip:alice@contoso.test")

func secret() *event.Secret {
	plain := "alice@contoso.test:contoso.test:parley"
	return &event.Secret{Realm: "contoso.test", HA1SHA256: sum(sha256.New, plain), HA1MD5: sum(md5.New, plain)}
}

// answer makes the credentials for a challenge.
func answer(t fatal, challenge string, nc int) *Credentials {
	t.Helper()
	_, rest, _ := strings.Cut(challenge, `nonce="`)
	nonce, _, _ := strings.Cut(rest, `"`)
	count := fmt.Sprintf("%08x", nc)
	r := response(sha256.New, hex.EncodeToString(secret().HA1SHA256), nonce, count, "c", "auth", "REGISTER", "sip:contoso.test")
	a := Parse([]byte(`Digest username="alice@contoso.test",realm="contoso.test" , nonce="` + nonce + `", uri="sip:contoso.test", response=` + r +
		`, algorithm=SHA-256, cnonce="c", qop=auth, nc=` + count + `, opaque="a\"b,c"`))
	if a == nil || a.Realm != "contoso.test" {
		t.Fatalf("%+v", a)
	}
	return a
}

type fatal interface {
	Helper()
	Fatalf(string, ...any)
}

// TestNonce: a nonce is good on its flow, for five minutes, and on no other server.
func TestNonce(t *testing.T) {
	s, err := NewServer(false)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewServer(false)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct {
		what   string
		server *Server
		flow   State
		later  time.Duration
		want   Verdict
	}{
		{"at once", s, State{Flow: 1, Remote: "a"}, 0, Good},
		{"in time", s, State{Flow: 1, Remote: "a"}, nonceLife, Good},
		{"too late", s, State{Flow: 1, Remote: "a"}, nonceLife + 1, Stale},
		{"before its time", s, State{Flow: 1, Remote: "a"}, -1, Stale},
		{"another flow", s, State{Flow: 2, Remote: "a"}, 0, Stale},
		{"another address", s, State{Flow: 1, Remote: "b"}, 0, Stale},
		{"another server", other, State{Flow: 1, Remote: "a"}, 0, Stale},
	} {
		a := answer(t, s.Challenge(&State{Flow: 1, Remote: "a"}, "contoso.test", false, now), 1)
		if got := c.server.Verify(&c.flow, a, alice, secret(), "REGISTER", "sip:contoso.test", now.Add(c.later)); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// TestCounters: every counter of a nonce is good once at the most, and those near the newest in any order.
func TestCounters(t *testing.T) {
	s, err := NewServer(false)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		f, now := State{Flow: 1}, time.Now()
		challenges := []string{s.Challenge(&f, "contoso.test", false, now), s.Challenge(&f, "contoso.test", false, now.Add(1))}
		used := map[[2]int]bool{}
		newest, top := -1, 0
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			which, nc := rapid.IntRange(0, 1).Draw(t, "nonce"), rapid.IntRange(1, 200).Draw(t, "nc")
			if which > newest {
				top = 0
			}
			want := Good
			if which < newest || used[[2]int{which, nc}] || which == newest && top-nc >= ncWindow {
				want = Replay
			}
			got := s.Verify(&f, answer(t, challenges[which], nc), alice, secret(), "REGISTER", "sip:contoso.test", now.Add(2))
			if got != want {
				t.Fatalf("nonce %d, counter %d: %q, want %q (newest %d, top %d)", which, nc, got, want, newest, top)
			}
			if got == Good {
				used[[2]int{which, nc}] = true
				newest, top = max(newest, which), max(top, nc)
			}
		}
	})
}

// TestRefused: whatever is not right in the credentials.
func TestRefused(t *testing.T) {
	s, err := NewServer(false)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f := &State{Flow: 1}
	for what, c := range map[string]struct {
		change func(a *Credentials, x *event.Secret)
		want   Verdict
	}{
		"nothing":        {func(*Credentials, *event.Secret) {}, Good},
		"response":       {func(a *Credentials, _ *event.Secret) { a.response = strings.Repeat("0", 64) }, Bad},
		"short":          {func(a *Credentials, _ *event.Secret) { a.response = "" }, Bad},
		"user":           {func(a *Credentials, _ *event.Secret) { a.Username = "bob@contoso.test" }, Bad},
		"counter":        {func(a *Credentials, _ *event.Secret) { a.nc = "1" }, Bad},
		"counter zero":   {func(a *Credentials, _ *event.Secret) { a.nc = "00000000" }, Bad},
		"no quality":     {func(a *Credentials, _ *event.Secret) { a.qop = "" }, Bad},
		"no client part": {func(a *Credentials, _ *event.Secret) { a.cnonce = "" }, Bad},
		"MD5":            {func(a *Credentials, _ *event.Secret) { a.algorithm = "MD5" }, BadAlgorithm},
		"no algorithm":   {func(a *Credentials, _ *event.Secret) { a.algorithm = "" }, BadAlgorithm},
		"no secret":      {func(_ *Credentials, x *event.Secret) { *x = event.Secret{} }, Bad},
		"other realm":    {func(_ *Credentials, x *event.Secret) { x.Realm = "else" }, Bad},
	} {
		a, x := answer(t, s.Challenge(f, "contoso.test", false, now), 1), secret()
		c.change(a, x)
		if got := s.Verify(f, a, alice, x, "REGISTER", "sip:contoso.test", now); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
		now = now.Add(1)
	}
	a := answer(t, s.Challenge(f, "contoso.test", false, now), 1)
	if got := s.Verify(f, a, alice, secret(), "INVITE", "sip:contoso.test", now); got != Bad {
		t.Errorf("another method: %q", got)
	}
	if got := s.Verify(f, a, alice, secret(), "REGISTER", "sip:else.test", now); got != BadURI {
		t.Errorf("another URI: %q", got)
	}
}

// TestGuesses: a host that guesses is stopped for a minute, and others are not.
func TestGuesses(t *testing.T) {
	var g guesses
	now := time.Now()
	for range maxGuesses {
		if !g.Allowed("a", now) {
			t.Fatal("stopped too early")
		}
		g.Failed("a", now)
	}
	if g.Allowed("a", now) || !g.Allowed("b", now) {
		t.Error("the wrong host is stopped")
	}
	if !g.Allowed("a", now.Add(guessingPeriod+1)) {
		t.Error("stopped for ever")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`Digest username="a\"", realm=b, nc=1`))
	f.Add([]byte(`digest ,,=,"`))
	f.Fuzz(func(t *testing.T, b []byte) { Parse(b) })
}
