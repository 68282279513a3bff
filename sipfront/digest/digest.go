// Package digest is the server's side of SIP Digest authentication (RFC 7616, RFC 8760, RFC 3261 section 22): challenges,
// the check of credentials, protection against replay and against guessing.
//
// Nonces are made, not stored: a time, signed together with the number and address of the flow by a key that lives as
// long as the process. So a captured request is worth nothing on any other connection, and nothing here grows with
// the number of challenges.
package digest

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // SIP Digest with MD5 is off unless configured
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"

	"parley/log/event"
)

const (
	nonceLife = 5 * time.Minute // a client that comes later is told stale=true and asks nobody for the password
	ncWindow  = 64              // request counters that may come out of order
)

// Server makes and checks nonces.
type Server struct {
	key [32]byte
	md5 bool
	guesses
}

// NewServer makes a server with a key of its own. With md5, clients that know nothing better may use MD5.
func NewServer(md5 bool) (*Server, error) {
	s := &Server{md5: md5}
	if _, err := rand.Read(s.key[:]); err != nil {
		return nil, fmt.Errorf("make the nonce key: %w", err)
	}
	return s, nil
}

// State is what a flow remembers of its nonce: which counters were used (RFC 7616 section 3.4.6). It belongs to one
// goroutine.
type State struct {
	Flow   uint64 // number of the flow: a nonce is worth nothing on another one
	Remote string // address of the peer

	nonce string
	made  int64
	top   uint32 // highest counter seen
	seen  uint64 // bit i: top-i was seen
}

// Challenge returns the WWW-Authenticate lines that ask for credentials: SHA-256 first, MD5 after it for those who know
// nothing else (RFC 8760 section 2.5). The realm must be fit for a quoted string.
func (s *Server) Challenge(f *State, realm string, stale bool, now time.Time) string {
	at := binary.BigEndian.AppendUint64(make([]byte, 0, 24), uint64(now.UnixNano()))
	nonce := base64.RawURLEncoding.EncodeToString(s.sign(f, at))
	line := func(algorithm string) string {
		l := `WWW-Authenticate: Digest realm="` + realm + `", nonce="` + nonce + `", algorithm=` + algorithm + `, qop="auth"`
		if stale {
			l += ", stale=true"
		}
		return l + "\r\n"
	}
	if s.md5 {
		return line("SHA-256") + line("MD5")
	}
	return line("SHA-256")
}

// sign appends the signature to the time.
func (s *Server) sign(f *State, at []byte) []byte {
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write(at)
	mac.Write(binary.BigEndian.AppendUint64(nil, f.Flow))
	mac.Write([]byte(f.Remote))
	return append(at, mac.Sum(nil)[:16]...)
}

// Credentials are the parameters of an Authorization header.
type Credentials struct {
	Username, Realm                                  string
	nonce, uri, response, algorithm, cnonce, qop, nc string
}

// Parse reads the value of an Authorization header, nil if it is not Digest.
func Parse(v []byte) *Credentials {
	scheme, rest, ok := bytes.Cut(v, []byte{' '})
	if !ok || !strings.EqualFold(string(scheme), "Digest") {
		return nil
	}
	a := new(Credentials)
	for len(rest) > 0 {
		rest = bytes.TrimLeft(rest, " \t,")
		eq := bytes.IndexByte(rest, '=')
		if eq <= 0 {
			break
		}
		name := strings.ToLower(string(bytes.TrimSpace(rest[:eq])))
		var value string
		value, rest = cutValue(bytes.TrimLeft(rest[eq+1:], " \t"))
		switch name {
		case "username":
			a.Username = value
		case "realm":
			a.Realm = value
		case "nonce":
			a.nonce = value
		case "uri":
			a.uri = value
		case "response":
			a.response = strings.ToLower(value)
		case "algorithm":
			a.algorithm = strings.ToUpper(value)
		case "cnonce":
			a.cnonce = value
		case "qop":
			a.qop = strings.ToLower(value)
		case "nc":
			a.nc = value
		}
	}
	return a
}

// cutValue reads a token or a quoted string.
func cutValue(b []byte) (string, []byte) {
	if len(b) == 0 || b[0] != '"' {
		i := bytes.IndexByte(b, ',')
		if i < 0 {
			i = len(b)
		}
		return string(bytes.TrimSpace(b[:i])), b[i:]
	}
	var s []byte
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '\\' && i+1 < len(b):
			i++
			s = append(s, b[i])
		case b[i] == '"':
			return string(s), b[i+1:]
		default:
			s = append(s, b[i])
		}
	}
	return string(s), nil
}

// Verdict is a word for what is wrong with credentials.
type Verdict string

// The verdicts.
const (
	Good         Verdict = ""
	Stale        Verdict = "stale"  // right, but for an old nonce: the client must not ask its user (RFC 7616 section 3.3)
	Replay       Verdict = "replay" // right, but seen before
	BadURI       Verdict = "bad_uri"
	BadAlgorithm Verdict = "bad_algorithm"
	Bad          Verdict = "bad_credentials"
)

// Verify checks the credentials of a request of user. An unknown user has an empty secret, which nothing matches, at
// the same cost.
func (s *Server) Verify(f *State, a *Credentials, user event.Principal, secret *event.Secret, method, uri string, now time.Time) Verdict {
	if a.qop != "auth" || a.cnonce == "" || event.UserPrincipal(a.Username) != user {
		return Bad
	}
	nc, err := strconv.ParseUint(a.nc, 16, 32)
	if err != nil || len(a.nc) != 8 || nc == 0 {
		return Bad
	}
	var ha1 []byte
	var newHash func() hash.Hash
	switch {
	case a.algorithm == "SHA-256":
		ha1, newHash = secret.HA1SHA256, sha256.New
	case s.md5 && (a.algorithm == "MD5" || a.algorithm == ""):
		ha1, newHash = secret.HA1MD5, md5.New
	default:
		return BadAlgorithm
	}
	known := len(ha1) == newHash().Size() && secret.Realm == a.Realm
	if !known {
		ha1 = make([]byte, newHash().Size())
	}
	want := response(newHash, hex.EncodeToString(ha1), a.nonce, a.nc, a.cnonce, a.qop, method, a.uri)
	match := subtle.ConstantTimeCompare([]byte(want), []byte(a.response)) == 1
	if !known || !match {
		return Bad
	}
	if a.uri != uri { // the answer is for another request (RFC 7616 section 3.4.6)
		return BadURI
	}
	made, ok := s.check(f, a.nonce, now)
	if !ok {
		return Stale
	}
	return f.use(a.nonce, made, uint32(nc))
}

// response is the response value of RFC 7616 section 3.4.1.
func response(newHash func() hash.Hash, ha1, nonce, nc, cnonce, qop, method, uri string) string {
	h := func(s string) string {
		d := newHash()
		d.Write([]byte(s))
		return hex.EncodeToString(d.Sum(nil))
	}
	return h(ha1 + ":" + nonce + ":" + nc + ":" + cnonce + ":" + qop + ":" + h(method+":"+uri))
}

// check tells whether a nonce is ours, of this flow, and young enough.
func (s *Server) check(f *State, nonce string, now time.Time) (made int64, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != 24 {
		return 0, false
	}
	if !hmac.Equal(s.sign(f, append([]byte(nil), b[:8]...)), b) {
		return 0, false
	}
	made = int64(binary.BigEndian.Uint64(b))
	age := now.Sub(time.Unix(0, made))
	return made, age >= 0 && age <= nonceLife
}

// use marks a counter of a nonce as used. Each may be used once, and a nonce older than the newest one used never again.
func (d *State) use(nonce string, made int64, nc uint32) Verdict {
	switch {
	case nonce != d.nonce && made < d.made:
		return Replay
	case nonce != d.nonce:
		d.nonce, d.made, d.top, d.seen = nonce, made, nc, 1
		return Good
	case nc > d.top:
		d.seen = d.seen<<min(nc-d.top, ncWindow) | 1
		d.top = nc
		return Good
	case d.top-nc >= ncWindow || d.seen&(1<<(d.top-nc)) != 0:
		return Replay
	}
	d.seen |= 1 << (d.top - nc)
	return Good
}

// guesses counts wrong passwords by the host they come from, so that guessing gets no faster by reconnecting.
type guesses struct {
	mu     sync.Mutex
	byHost map[string]int
	since  time.Time
}

const (
	maxGuesses     = 30          // wrong passwords of one host in a minute
	maxGuessHosts  = 100_000     // hosts remembered in a minute; beyond them the count starts anew
	guessingPeriod = time.Minute // after which all is forgotten
)

// Allowed reports whether a host may try a password.
func (g *guesses) Allowed(host string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.byHost[host] < maxGuesses || now.Sub(g.since) > guessingPeriod
}

// Failed counts a wrong password.
func (g *guesses) Failed(host string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byHost == nil || len(g.byHost) >= maxGuessHosts || now.Sub(g.since) > guessingPeriod {
		g.byHost, g.since = map[string]int{}, now
	}
	g.byHost[host]++
}
