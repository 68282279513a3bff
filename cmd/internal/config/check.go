package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"parley/cmd/internal/pki"
	"parley/log/event"
)

// Problem is one reason to refuse a configuration.
type Problem struct {
	Key  string `json:"key"`
	Text string `json:"problem"` // what is wrong and what to do
}

// Error returns key and text.
func (p *Problem) Error() string { return p.Key + ": " + p.Text }

var (
	nameRE   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	adminRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)
	domainRE = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// Check returns every reason to refuse the configuration, nil if there is none: values, and the certificate files
// as they are now. A node that is given a configuration with a reason to refuse it does not start.
func (c *Config) Check(now time.Time) error {
	k := &checker{}
	c.checkNames(k)
	c.checkListen(k)
	c.checkPeers(k)
	c.checkTimers(k)
	c.checkSIP(k)
	c.checkAdmin(k)
	c.checkFeeds(k)
	c.checkSigningKey(k)
	if s := c.Scrub; s.Every != 0 && s.Every < time.Minute {
		k.add("scrub.every", "%v is out of range; use 1m or more, or 0 for never", s.Every)
	}
	if s := c.Scrub; s.CompareEvery != 0 && s.CompareEvery < time.Second {
		k.add("scrub.compare_every", "%v is out of range; use 1s or more, or 0 for never", s.CompareEvery)
	}
	if e := c.Retention.Every; e < time.Second {
		k.add("retention.every", "%v is out of range; use 1s or more", e)
	}
	c.checkPrograms(k)
	c.checkMailServers(k)
	c.checkTLS(k, now)
	return errors.Join(k.problems...)
}

// Problems returns the reasons that an error of Check holds.
func Problems(err error) []*Problem {
	if err == nil {
		return nil
	}
	var one *Problem
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*Problem
		for _, e := range many.Unwrap() {
			out = append(out, Problems(e)...)
		}
		return out
	}
	if errors.As(err, &one) {
		return []*Problem{one}
	}
	return []*Problem{{Text: err.Error()}}
}

type checker struct{ problems []error }

func (k *checker) add(key, format string, args ...any) {
	k.problems = append(k.problems, &Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (c *Config) checkNames(k *checker) {
	if !nameRE.MatchString(c.Node) {
		k.add("node", "%q is not a node name; use 1 to 63 lower-case letters, digits and \"-\"", c.Node)
	}
	if c.Data == "" {
		k.add("data", "no data directory; name one that only this node writes into")
	}
	if !ValidDomain(c.Domain) {
		k.add("domain", "%q is not a lower-case domain name", c.Domain)
	}
	user, host, ok := strings.Cut(strings.TrimPrefix(c.PoolURI, "sip:"), "@")
	if !strings.HasPrefix(c.PoolURI, "sip:") || !ok || user == "" || host != c.Domain ||
		string(event.UserPrincipal(c.PoolURI)) != c.PoolURI {
		k.add("pool_uri", "%q is not a lower-case address in the pool's domain; use sip:NAME@%s", c.PoolURI, c.Domain)
	}
	if _, err := c.Level(); err != nil {
		k.add("log_level", "%q is not a level; use debug, info, warn or error", c.LogLevel)
	}
}

// ValidDomain reports whether s is a lower-case domain name (RFC 1123 section 2.1).
func ValidDomain(s string) bool { return len(s) <= 253 && domainRE.MatchString(s) }

// Level returns the least level that is logged.
func (c *Config) Level() (slog.Level, error) {
	var l slog.Level
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
		return l, l.UnmarshalText([]byte(c.LogLevel))
	}
	return l, fmt.Errorf("unknown log level %q", c.LogLevel)
}

func (c *Config) checkListen(k *checker) {
	if c.Listen.Peer == "" {
		k.add("listen.peer", "no address for the other nodes; set HOST:PORT")
	}
	if c.Listen.SIP == "" && c.Listen.SIPS == "" {
		k.add("listen.sip", "neither listen.sip nor listen.sips is set, so no client could sign in")
	}
	seen := map[string]string{}
	for _, l := range []struct{ key, addr string }{
		{"listen.sip", c.Listen.SIP}, {"listen.sips", c.Listen.SIPS}, {"listen.https", c.Listen.HTTPS},
		{"listen.peer", c.Listen.Peer}, {"listen.ops", c.Listen.Ops},
	} {
		if l.addr == "" {
			continue
		}
		port, err := checkAddr(l.addr)
		if err != nil {
			k.add(l.key, "%v", err)
			continue
		}
		if other, dup := seen[l.addr]; dup && port != 0 {
			k.add(l.key, "%s is also %s; give each service its own port", l.addr, other)
		}
		seen[l.addr] = l.key
	}
	if c.Listen.Ops != "" && !IsLoopback(c.Listen.Ops) {
		k.add("listen.ops", "%s is not a loopback address, and this service has no access control; use 127.0.0.1:PORT", c.Listen.Ops)
	}
}

// checkAddr checks HOST:PORT and returns the port.
func checkAddr(addr string) (int, error) {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, fmt.Errorf("%q is not HOST:PORT", addr)
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q has no port from 0 to 65535", addr)
	}
	return int(port), nil
}

// IsLoopback reports whether HOST:PORT is reachable from this machine only: 127.0.0.0/8, ::1 or localhost. A name
// other than localhost is not, whatever it resolves to today.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (c *Config) checkPeers(k *checker) {
	seen, addrs := map[string]bool{}, map[string]string{}
	voters := 0
	for i, p := range c.Peers {
		key := fmt.Sprintf("peers[%d]", i)
		if !nameRE.MatchString(p.ID) {
			k.add(key+".id", "%q is not a node name", p.ID)
		}
		if seen[p.ID] {
			k.add(key+".id", "%q is listed twice", p.ID)
		}
		seen[p.ID] = true
		if port, err := checkAddr(p.Addr); err != nil {
			k.add(key+".addr", "%v", err)
		} else if port == 0 && len(c.Peers) > 1 {
			k.add(key+".addr", "%q has port 0, which other nodes cannot reach", p.Addr)
		} else if other, dup := addrs[p.Addr]; dup {
			k.add(key+".addr", "%s is also the address of %s", p.Addr, other)
		}
		addrs[p.Addr] = p.ID
		if p.HTTPS != "" {
			if _, err := checkAddr(p.HTTPS); err != nil {
				k.add(key+".https", "%v", err)
			}
		}
		if !p.Standby {
			voters++
		}
	}
	if len(c.Peers) > 0 && voters == 0 {
		k.add("peers", "all nodes are standbys; a pool needs a voter")
	}
	if len(c.Peers) > 0 && !seen[c.Node] {
		k.add("peers", "this node, %q, is not in the list; list all nodes that form the pool, or none for a node that is added later", c.Node)
	}
}

func (c *Config) checkTimers(k *checker) {
	r := c.Raft
	for _, t := range []struct {
		key      string
		d        time.Duration
		min, max time.Duration
	}{
		{"raft.heartbeat_timeout", r.HeartbeatTimeout, 50 * time.Millisecond, time.Minute},
		{"raft.election_timeout", r.ElectionTimeout, 50 * time.Millisecond, time.Minute},
		{"raft.leader_lease", r.LeaderLease, 20 * time.Millisecond, time.Minute},
		{"raft.commit_timeout", r.CommitTimeout, time.Millisecond, time.Second},
		{"raft.store_deadline", r.StoreDeadline, time.Second, 5 * time.Minute},
		{"raft.replace_voter_after", r.ReplaceVoterAfter, 0, 24 * time.Hour},
		{"sip.session_expires", c.SIP.SessionExpires, 90 * time.Second, 24 * time.Hour}, // RFC 4028 section 5: at least 90 s
		{"sip.leader_wait", c.SIP.LeaderWait, 0, 30 * time.Second},
	} {
		if t.d < t.min || t.d > t.max {
			k.add(t.key, "%v is out of range; use %v to %v", t.d, t.min, t.max)
		}
	}
	if r.ElectionTimeout < r.HeartbeatTimeout {
		k.add("raft.election_timeout", "%v is less than raft.heartbeat_timeout, %v", r.ElectionTimeout, r.HeartbeatTimeout)
	}
	if r.ReplaceVoterAfter > 0 && r.ReplaceVoterAfter < 4*r.ElectionTimeout {
		k.add("raft.replace_voter_after", "%v is less than four times raft.election_timeout, %v: votes would move with every change of leader; use more, or 0 for never", r.ReplaceVoterAfter, r.ElectionTimeout)
	}
	if r.LeaderLease > r.HeartbeatTimeout {
		k.add("raft.leader_lease", "%v is more than raft.heartbeat_timeout, %v: two nodes could believe they lead", r.LeaderLease, r.HeartbeatTimeout)
	}
}

func (c *Config) checkSIP(k *checker) {
	for _, n := range []struct {
		key      string
		n        int
		min, max int
	}{
		{"sip.max_connections", c.SIP.MaxConnections, 1, 1_000_000},
		{"sip.max_connections_per_source", c.SIP.MaxConnectionsPerSource, 1, 1_000_000},
	} {
		if n.n < n.min || n.n > n.max {
			k.add(n.key, "%d is out of range; use %d to %d", n.n, n.min, n.max)
		}
	}
	if !c.SIP.LoopbackWithoutChallenge {
		return
	}
	for _, l := range []struct{ key, addr string }{{"listen.sip", c.Listen.SIP}, {"listen.sips", c.Listen.SIPS}} {
		if l.addr != "" && !IsLoopback(l.addr) {
			k.add(l.key, "%s is not a loopback address, and sip.loopback_without_challenge lets clients in without a password; listen on 127.0.0.1 or switch it off", l.addr)
		}
	}
}

func (c *Config) checkAdmin(k *checker) {
	seen := map[string]bool{}
	for i, cr := range c.Admin.Credentials {
		key := fmt.Sprintf("admin.credentials[%d]", i)
		if !adminRE.MatchString(cr.Name) {
			k.add(key+".name", "%q is not a name; use letters, digits and . _ @ -", cr.Name)
		}
		if seen[cr.Name] {
			k.add(key+".name", "%q is listed twice", cr.Name)
		}
		seen[cr.Name] = true
		if b, err := hex.DecodeString(cr.SHA256); err != nil || len(b) != 32 {
			k.add(key+".sha256", "not a SHA-256 in hex (64 digits)")
		}
	}
}

// name checks a name in a list; seen has those before it.
func (k *checker) name(key, name string, seen map[string]bool) {
	if !nameRE.MatchString(name) {
		k.add(key, "%q is not a name; use 1 to 63 lower-case letters, digits and \"-\"", name)
	}
	if seen[name] {
		k.add(key, "%q is listed twice", name)
	}
	seen[name] = true
}

func (c *Config) checkFeeds(k *checker) {
	seen := map[string]bool{}
	for i, f := range c.Feeds {
		key := fmt.Sprintf("feeds[%d]", i)
		k.name(key+".name", f.Name, seen)
		if f.Adapter != "lyncxml" {
			k.add(key+".adapter", "%q is not an adapter; use lyncxml", f.Adapter)
		}
		if f.Dir == "" {
			k.add(key+".dir", "no directory for the files")
		}
		if f.Every < time.Second || f.Every > 30*24*time.Hour {
			k.add(key+".every", "%v is out of range; use 1s to 720h", f.Every)
		}
	}
}

func (c *Config) checkSigningKey(k *checker) {
	if c.SigningKey == "" {
		return
	}
	if _, err := pki.LoadSigningKeys(c.SigningKey); err != nil {
		k.add("signing_key", "%v", err)
	}
}

func (c *Config) checkPrograms(k *checker) {
	seen := map[string]bool{}
	for i, p := range c.Programs {
		key := fmt.Sprintf("programs[%d]", i)
		k.name(key+".name", p.Name, seen)
		if len(p.Command) == 0 || !filepath.IsAbs(p.Command[0]) {
			k.add(key+".command", "want the absolute path of a program, and its arguments")
		} else if info, err := os.Stat(p.Command[0]); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			k.add(key+".command", "%s is not a program that can be run", p.Command[0])
		}
	}
}

func (c *Config) checkMailServers(k *checker) {
	seen := map[string]bool{}
	for i, m := range c.MailServers {
		key := fmt.Sprintf("mail_servers[%d]", i)
		k.name(key+".name", m.Name, seen)
		if host, port, err := net.SplitHostPort(m.Address); err != nil || host == "" || port == "" {
			k.add(key+".address", "%q is not HOST:PORT", m.Address)
		}
		if (m.User == "") != (m.PasswordFile == "") || m.User != "" && m.NoTLS {
			k.add(key+".user", "user and password_file go together, and only with TLS")
		}
		if _, err := os.Stat(m.CAFile); m.CAFile != "" && err != nil {
			k.add(key+".ca_file", "%v", err)
		}
		if m.PasswordFile == "" {
			continue
		}
		if st, err := os.Stat(m.PasswordFile); err != nil {
			k.add(key+".password_file", "%v", err)
		} else if st.Mode().Perm()&0o077 != 0 {
			k.add(key+".password_file", "%s can be read by others (mode %04o); chmod 600", m.PasswordFile, st.Mode().Perm())
		}
	}
}

func (c *Config) checkTLS(k *checker, now time.Time) {
	pool := x509.NewCertPool()
	if b, ok := readTLS(k, "tls.ca", c.TLS.CA); ok && !pool.AppendCertsFromPEM(b) {
		k.add("tls.ca", "%s holds no certificate in PEM form", c.TLS.CA)
		return
	}
	certPEM, ok1 := readTLS(k, "tls.cert", c.TLS.Cert)
	keyPEM, ok2 := readTLS(k, "tls.key", c.TLS.Key)
	if !ok1 || !ok2 {
		return
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		k.add("tls.cert", "%s and %s do not make a pair: %v", c.TLS.Cert, c.TLS.Key, err)
		return
	}
	if st, err := os.Stat(c.TLS.Key); err == nil && st.Mode().Perm()&0o077 != 0 {
		k.add("tls.key", "%s can be read by others (mode %04o); chmod 600", c.TLS.Key, st.Mode().Perm())
	}
	inter := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if ic, err := x509.ParseCertificate(der); err == nil {
			inter.AddCert(ic)
		}
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}})
		if err != nil {
			k.add("tls.cert", "%s is not a certificate that the other nodes would believe: %v", c.TLS.Cert, err)
			return
		}
	}
	if err := pair.Leaf.VerifyHostname(c.Node); err != nil {
		k.add("tls.cert", "%s does not name this node: %v", c.TLS.Cert, err)
	}
}

func readTLS(k *checker, key, name string) ([]byte, bool) {
	if name == "" {
		k.add(key, "no file; `parley pool init` makes one for every node")
		return nil, false
	}
	b, err := os.ReadFile(name)
	if err != nil {
		k.add(key, "%v", err)
		return nil, false
	}
	return b, true
}
