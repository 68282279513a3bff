package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"parley/cmd/internal/config"
	"parley/cmd/internal/pooldir"
)

// pool makes the directory of a pool and returns the configuration file of its first node.
func pool(t *testing.T) string {
	t.Helper()
	p, err := pooldir.Init(filepath.Join(t.TempDir(), "pool"), pooldir.Options{Nodes: 3, Domain: "contoso.test", BasePort: 15000, Demo: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return p.Nodes[0].Config
}

func write(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// The comments are the manual: a field without one has no manual.
func TestEveryKeyIsDocumented(t *testing.T) {
	for _, e := range config.Reference() {
		if len(e.Doc) < 15 || !strings.HasSuffix(e.Doc, ".") {
			t.Errorf("%s: %q is no description", e.Key, e.Doc)
		}
	}
	var b strings.Builder
	if err := config.WriteReference(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"listen.sip  (string)", "PARLEY_LISTEN_SIP, --listen-sip", "raft.commit_timeout  (duration, default 5ms)", "feeds[].every", "peers  (list)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the reference lacks %q", want)
		}
	}
}

// Two keys must not share a variable or a flag.
func TestNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, e := range config.Reference() {
		for _, n := range []string{e.Env, e.Flag} {
			if n != "" && seen[n] != "" {
				t.Errorf("%s and %s are both %s", seen[n], e.Key, n)
			}
			seen[n] = e.Key
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := write(t, "node: file\nlog_level: warn\nsip: {leader_wait: 20s}\n")
	load := func(environ []string, args ...string) config.Config {
		t.Helper()
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		config.AddFlags(fs)
		if err := fs.Parse(args); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Sources{File: file, Environ: environ, Flags: fs})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := load(nil)
	if c.Node != "file" || c.SIP.LeaderWait != 20*time.Second || c.SIP.MaxConnections != config.Default().SIP.MaxConnections || !c.SIP.DigestMD5 ||
		c.PoolURI != "sip:parley@contoso.test" {
		t.Errorf("file over default: %+v", c)
	}
	env := []string{"HOME=/x", "PARLEY_NODE=env", "PARLEY_SIP_DIGEST_MD5=false", "PARLEY_SIP_MAX_CONNECTIONS=99", "PARLEY_SIP_LEADER_WAIT=1m", "PARLEY_SERVER=client's"}
	c = load(env)
	if c.Node != "env" || c.SIP.DigestMD5 || c.SIP.MaxConnections != 99 || c.SIP.LeaderWait != time.Minute || c.LogLevel != "warn" {
		t.Errorf("environment over file: %+v", c)
	}
	c = load(env, "--node", "flag", "--sip-digest-md5=true")
	if c.Node != "flag" || !c.SIP.DigestMD5 || c.SIP.MaxConnections != 99 {
		t.Errorf("flag over environment: %+v", c)
	}
}

func TestPaths(t *testing.T) {
	file := write(t, "node: n1\ndata: data\ntls: {ca: /etc/ca.pem, cert: ../cert.pem}\nfeeds: [{name: f, dir: out}]\n"+
		"mail_servers: [{name: m, ca_file: ca, password_file: /run/p}]\n"+
		"admin: {credentials: [{name: a, sha256_file: hash}]}\n")
	dir := filepath.Dir(file)
	if _, err := config.Load(config.Sources{File: file}); err == nil || !strings.Contains(err.Error(), "sha256_file") {
		t.Errorf("a secret's file is missing: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hash"), []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != filepath.Join(dir, "data") || c.TLS.CA != "/etc/ca.pem" || c.TLS.Cert != filepath.Join(filepath.Dir(dir), "cert.pem") ||
		c.Feeds[0].Dir != filepath.Join(dir, "out") || c.MailServers[0].CAFile != filepath.Join(dir, "ca") || c.MailServers[0].PasswordFile != "/run/p" || c.Admin.Credentials[0].SHA256 != "abc" {
		t.Errorf("%+v", c)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		environ []string
		want    string
	}{
		"unknown key":           {text: "nod: n1\n", want: "nod"},
		"unknown nested key":    {text: "listen: {sipp: x}\n", want: "sipp"},
		"unknown key in a list": {text: "feeds: [{nam: x}]\n", want: "nam"},
		"key twice":             {text: "node: a\nnode: b\n", want: "already defined"},
		"not YAML":              {text: "node: [\n", want: "not YAML"},
		"a list for a word":     {text: "node: [a, b]\n", want: "node"},
		"a word for a section":  {text: "listen: here\n", want: "listen"},
		"not a duration":        {text: "sip: {leader_wait: soon}\n", want: "leader_wait"},
		"not a number":          {text: "sip: {max_connections: many}\n", want: "max_connections"},
		"not a truth value":     {text: "demo: perhaps\n", want: "demo"},
		"unknown variable":      {text: "node: n1\n", environ: []string{"PARLEY_LISTEN_SIPP=x"}, want: "PARLEY_LISTEN_SIPP sets nothing"},
		"secret twice":          {text: "admin: {credentials: [{name: a, sha256: x, sha256_file: y}]}\n", want: "both"},
	} {
		_, err := config.Load(config.Sources{File: write(t, c.text), Environ: c.environ})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := config.Load(config.Sources{File: "/nowhere/parley.yaml"}); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestCheck(t *testing.T) {
	file := pool(t)
	good := func() config.Config {
		c, err := config.Load(config.Sources{File: file})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := good()
	if err := c.Check(time.Now()); err != nil {
		t.Fatalf("a configuration of pool init is refused: %v", err)
	}
	other := filepath.Join(filepath.Dir(file), "..", "n2")
	for name, tc := range map[string]struct {
		change func(*config.Config)
		keys   string
	}{
		"no node":                {func(c *config.Config) { c.Node = "" }, "node peers tls.cert"},
		"node in capitals":       {func(c *config.Config) { c.Node = "N1" }, "node peers"},
		"no data":                {func(c *config.Config) { c.Data = "" }, "data"},
		"domain":                 {func(c *config.Config) { c.Domain = "Contoso_" }, "domain pool_uri"},
		"pool URI elsewhere":     {func(c *config.Config) { c.PoolURI = "sip:parley@elsewhere.test" }, "pool_uri"},
		"pool URI with a param":  {func(c *config.Config) { c.PoolURI = "sip:parley@contoso.test;x=y" }, "pool_uri"},
		"level":                  {func(c *config.Config) { c.LogLevel = "loud" }, "log_level"},
		"no SIP":                 {func(c *config.Config) { c.Listen.SIP, c.Listen.SIPS = "", "" }, "listen.sip"},
		"no peer":                {func(c *config.Config) { c.Listen.Peer = "" }, "listen.peer"},
		"no port":                {func(c *config.Config) { c.Listen.HTTPS = "127.0.0.1" }, "listen.https"},
		"big port":               {func(c *config.Config) { c.Listen.HTTPS = "127.0.0.1:65536" }, "listen.https"},
		"same port":              {func(c *config.Config) { c.Listen.SIPS = c.Listen.SIP }, "listen.sips"},
		"open ops":               {func(c *config.Config) { c.Listen.Ops = "0.0.0.0:1" }, "listen.ops"},
		"ops on a name":          {func(c *config.Config) { c.Listen.Ops = "myhost:1" }, "listen.ops"},
		"unchallenged, all":      {func(c *config.Config) { c.Listen.SIP = "0.0.0.0:5060" }, "listen.sip"},
		"unchallenged, no host":  {func(c *config.Config) { c.Listen.SIP = ":5060" }, "listen.sip"},
		"unchallenged, all IPv6": {func(c *config.Config) { c.Listen.SIPS = "[::]:5061" }, "listen.sips"},
		"unchallenged, LAN":      {func(c *config.Config) { c.Listen.SIPS = "192.0.2.1:5061" }, "listen.sips"},
		"unchallenged, mapped":   {func(c *config.Config) { c.Listen.SIP = "[::ffff:192.0.2.1]:5060" }, "listen.sip"},
		"unchallenged, both":     {func(c *config.Config) { c.Listen.SIP, c.Listen.SIPS = ":1", ":2" }, "listen.sip listen.sips"},
		"peer twice":             {func(c *config.Config) { c.Peers[1] = c.Peers[0] }, "peers[1].id peers[1].addr"},
		"peer with port 0":       {func(c *config.Config) { c.Peers[1].Addr = "127.0.0.1:0" }, "peers[1].addr"},
		"peer without address":   {func(c *config.Config) { c.Peers[1].Addr = "" }, "peers[1].addr"},
		"not among the peers":    {func(c *config.Config) { c.Peers = c.Peers[1:] }, "peers"},
		"only standbys":          {func(c *config.Config) { c.Peers = c.Peers[:1]; c.Peers[0].Standby = true }, "peers"},
		"election too short":     {func(c *config.Config) { c.Raft.ElectionTimeout = c.Raft.HeartbeatTimeout / 2 }, "raft.election_timeout"},
		"lease too long":         {func(c *config.Config) { c.Raft.LeaderLease = 2 * c.Raft.HeartbeatTimeout }, "raft.leader_lease"},
		"no heartbeat":           {func(c *config.Config) { c.Raft.HeartbeatTimeout = 0 }, "raft.heartbeat_timeout raft.leader_lease"},
		"session too short":      {func(c *config.Config) { c.SIP.SessionExpires = 89 * time.Second }, "sip.session_expires"},
		"no connections":         {func(c *config.Config) { c.SIP.MaxConnections = 0 }, "sip.max_connections"},
		"credential hash":        {func(c *config.Config) { c.Admin.Credentials[0].SHA256 = "abc" }, "admin.credentials[0].sha256"},
		"credential name":        {func(c *config.Config) { c.Admin.Credentials[0].Name = "a b" }, "admin.credentials[0].name"},
		"feed name":              {func(c *config.Config) { c.Feeds[0].Name = "../x" }, "feeds[0].name"},
		"feed adapter":           {func(c *config.Config) { c.Feeds[0].Adapter = "fax" }, "feeds[0].adapter"},
		"feed too often":         {func(c *config.Config) { c.Feeds[0].Every = time.Millisecond }, "feeds[0].every"},
		"feed nowhere":           {func(c *config.Config) { c.Feeds[0].Dir = "" }, "feeds[0].dir"},
		"feed twice":             {func(c *config.Config) { c.Feeds = append(c.Feeds, c.Feeds[0]) }, "feeds[1].name"},
		"mail server": {func(c *config.Config) {
			c.MailServers = []config.MailServer{{Name: "relay", Address: "mx.test:25", NoTLS: true}, {Name: "relay", Address: "mx.test"}}
		}, "mail_servers[1].name mail_servers[1].address"},
		"mail password, no TLS": {func(c *config.Config) {
			c.MailServers = []config.MailServer{{Name: "relay", Address: "mx.test:25", NoTLS: true, User: "u", PasswordFile: c.TLS.Key}}
		}, "mail_servers[0].user"},
		"mail password for all": {func(c *config.Config) {
			c.MailServers = []config.MailServer{{Name: "relay", Address: "mx.test:25", User: "u", PasswordFile: c.TLS.Cert}}
		}, "mail_servers[0].password_file"},
		"no mail certificate": {func(c *config.Config) {
			c.MailServers = []config.MailServer{{Name: "relay", Address: "mx.test:25", CAFile: "/nowhere"}}
		}, "mail_servers[0].ca_file"},
		"no certificate":         {func(c *config.Config) { c.TLS.Cert = "" }, "tls.cert"},
		"certificate is missing": {func(c *config.Config) { c.TLS.Cert = "/nowhere" }, "tls.cert"},
		"CA is no certificate":   {func(c *config.Config) { c.TLS.CA = file }, "tls.ca"},
		"certificate of another": {func(c *config.Config) { c.TLS.Cert, c.TLS.Key = other+"/cert.pem", other+"/key.pem" }, "tls.cert"},
		"key of another":         {func(c *config.Config) { c.TLS.Key = other + "/key.pem" }, "tls.cert"},
		"another pool's CA":      {func(c *config.Config) { c.TLS.CA = filepath.Join(filepath.Dir(pool(t)), "ca.pem") }, "tls.cert"},
	} {
		c := good()
		tc.change(&c)
		var keys []string
		for _, p := range config.Problems(c.Check(time.Now())) {
			keys = append(keys, p.Key)
			if strings.Contains(p.Text, "\n") {
				t.Errorf("%s: more than one line: %q", name, p.Text)
			}
		}
		if strings.Join(keys, " ") != tc.keys {
			t.Errorf("%s: refused for %q, want %q", name, keys, tc.keys)
		}
	}
	for name, at := range map[string]time.Time{"too early": time.Now().Add(-48 * time.Hour), "ended": time.Now().AddDate(6, 0, 0)} {
		if ps := config.Problems(c.Check(at)); len(ps) != 1 || ps[0].Key != "tls.cert" {
			t.Errorf("%s: %v", name, ps)
		}
	}
	if err := os.Chmod(c.TLS.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if ps := config.Problems(c.Check(time.Now())); len(ps) != 1 || ps[0].Key != "tls.key" {
		t.Errorf("a key that others can read: %v", ps)
	}
}

// What is refused with unchallenged loopback is fine with a challenge, and loopback is all of it.
func TestLoopback(t *testing.T) {
	c, err := config.Load(config.Sources{File: pool(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"127.0.0.1:1", "127.9.8.7:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"} {
		c.Listen.SIP = addr
		if err := c.Check(time.Now()); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	c.Listen.SIP, c.SIP.LoopbackWithoutChallenge = "0.0.0.0:1", false
	if err := c.Check(time.Now()); err != nil {
		t.Errorf("challenged listener off loopback: %v", err)
	}
}

func TestKeys(t *testing.T) {
	if k := config.Keys(); !slices.Contains(k, "peers[].standby") || !slices.IsSorted(k) {
		t.Errorf("%v", k)
	}
}
