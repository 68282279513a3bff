// Package pooldir lays out and reads the directory of a pool as `parley pool init` and `parley sandbox` write it:
//
//	DIR/ca.pem, ca.key          the pool's authority
//	DIR/admin.token             credential of the administrator
//	DIR/pool.key, pool.vkey     key that signs checkpoints of the log, and its public half, which auditors get
//	DIR/n1/parley.yaml          configuration of node n1; paths in it are relative, so DIR can be moved and DIR/n1
//	DIR/n1/ca.pem, cert.pem,    can be copied to another machine
//	       key.pem, pool.key
//	DIR/n1/data                 data of node n1, made by the node
//	DIR/n5/removed              node n5 has left the pool
//	DIR/compliance              files of the demo feed
package pooldir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"parley/cmd/internal/config"
	"parley/cmd/internal/pki"
)

// Names of the files.
const (
	CAFile     = "ca.pem"
	caKeyFile  = "ca.key"
	TokenFile  = "admin.token"
	ConfigFile = "parley.yaml"
	signFile   = "pool.key"
	VerifyFile = "pool.vkey"
	markerFile = "removed"
	// AdminName is the administrator that Init makes.
	AdminName = "admin"
)

// MaxNodes is how large a pool can be: four active and four standby nodes in the product.
const MaxNodes = 8

// maxVoters: more voters make every commit wait for more disks, and five survive two losses.
const maxVoters = 5

// Options say what Init writes.
type Options struct {
	Nodes    int
	Domain   string
	BasePort int
	Demo     bool
}

// Ports of a node, as offsets to base + 10 i.
const (
	portSIP = iota
	portSIPS
	portHTTPS
	portPeer
	portOps
	portsPerNode = 10
)

// Check returns why the options cannot be used.
func (o Options) Check() error {
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return fmt.Errorf("%d nodes; use 1 to %d", o.Nodes, MaxNodes)
	}
	if !config.ValidDomain(o.Domain) {
		return fmt.Errorf("%q is not a lower-case domain name", o.Domain)
	}
	if top := o.BasePort + portsPerNode*o.Nodes + portOps; o.BasePort < 1 || top > 65535 {
		return fmt.Errorf("base port %d: ports from %d to %d do not exist; use 1024 to %d", o.BasePort,
			o.BasePort+portsPerNode, top, 65535-portsPerNode*o.Nodes-portOps)
	}
	return nil
}

// Voters returns how many of n nodes vote. Four voters survive one loss, exactly as three do, so an even number
// above two leaves one node as a standby.
func Voters(n int) int {
	if n <= 2 {
		return n
	}
	return min(maxVoters, n-(n+1)%2)
}

// ErrExists says that the directory holds a pool already.
var ErrExists = errors.New("there is a pool in it already")

// Init writes the directory of a new pool. It refuses a directory that holds one. A crash in between leaves a
// directory without ca.pem, which the next Init finishes: ca.pem is written last.
func Init(dir string, o Options, now time.Time) (*Pool, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, CAFile)); err == nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := refuseStrangers(dir); err != nil {
		return nil, err
	}
	ca, err := pki.NewCA(o.Domain, now)
	if err != nil {
		return nil, err
	}
	token, hash := pki.NewToken()
	caKey, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	sign, verify, err := pki.NewSigningKey(o.Domain)
	if err != nil {
		return nil, err
	}
	files := []file{{caKeyFile, 0o600, caKey}, {TokenFile, 0o600, []byte(token + "\n")},
		{signFile, 0o600, []byte(sign + "\n")}, {VerifyFile, 0o644, []byte(verify + "\n")}}
	for i := 1; i <= o.Nodes; i++ {
		node := nodeName(i)
		cert, key, err := ca.Issue(node, []string{o.Domain}, now)
		if err != nil {
			return nil, err
		}
		files = append(files,
			file{filepath.Join(node, CAFile), 0o644, ca.CertPEM()},
			file{filepath.Join(node, "cert.pem"), 0o644, cert},
			file{filepath.Join(node, "key.pem"), 0o600, key},
			file{filepath.Join(node, signFile), 0o600, []byte(sign + "\n")},
			file{filepath.Join(node, ConfigFile), 0o644, nodeConfig(o, i, hash, true)},
		)
	}
	files = append(files, file{CAFile, 0o644, ca.CertPEM()})
	for _, f := range files {
		if err := f.write(dir); err != nil {
			return nil, err
		}
	}
	p, err := Open(dir)
	if err != nil {
		return nil, err
	}
	for _, n := range p.Nodes {
		c, err := n.Load(nil)
		if err != nil {
			return nil, err
		}
		if err := c.Check(now); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// refuseStrangers keeps Init out of directories that hold something else.
func refuseStrangers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		ours := []string{caKeyFile, TokenFile, signFile, VerifyFile}
		if !slices.Contains(ours, e.Name()) && !isNode(e.Name()) {
			return fmt.Errorf("%s holds other files (%s); name a new or an empty directory", dir, e.Name())
		}
		if !isNode(e.Name()) {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, e.Name(), "data")); err == nil {
			return fmt.Errorf("%s has no %s, but node %s has data; put the file back or name another directory", dir, CAFile, e.Name())
		}
		// A node of an Init that did not finish: it may have had more nodes than this one.
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

type file struct {
	name string
	mode os.FileMode
	data []byte
}

func (f file) write(dir string) error {
	name := filepath.Join(dir, f.name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := name + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // it could have another mode
	}
	if err := os.WriteFile(tmp, f.data, f.mode); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

func nodeName(i int) string { return "n" + strconv.Itoa(i) }

func isNode(name string) bool {
	i, err := strconv.Atoi(strings.TrimPrefix(name, "n"))
	return err == nil && i >= 1 && nodeName(i) == name
}

var configTmpl = template.Must(template.New("").Parse(`# Configuration of node {{.Node}}. Every key: parley config reference. Check it: parley config check --config FILE.
# Paths are relative to this file.
node: {{.Node}}
data: data
domain: "{{.Domain}}"
pool_uri: "sip:parley@{{.Domain}}"
{{- if .Demo}}
demo: true # adds users alice, bob, carol, dave and erin with the password "parley" when the pool forms
{{- end}}
listen:
  sip: {{.Addr 0}} # TCP and UDP
  sips: {{.Addr 1}}
  https: {{.Addr 2}}
  peer: {{.Addr 3}}
  ops: {{.Addr 4}}
tls:
  ca: ca.pem
  cert: cert.pem
  key: key.pem
{{- if .Signs}}
signing_key: pool.key # signs checkpoints of the log; the auditor gets pool.vkey
{{- end}}
{{- if .Peers}}
peers: # read at the first start only
{{- range .Peers}}
  - {id: {{.ID}}, addr: "{{.Addr}}", https: "{{.HTTPS}}"{{if .Standby}}, standby: true{{end}}}
{{- end}}
{{- end}}
sip:
  loopback_without_challenge: {{.Demo}}
admin:
  credentials:
    - name: {{.Admin}}
      sha256: {{.Hash}}
{{- if .Demo}}
feeds:
  - {name: lyncxml, adapter: lyncxml, dir: ../compliance, every: 5s}
{{- end}}
`))

type configData struct {
	Options
	Node, Admin, Hash string
	Signs             bool
	Peers             []config.Peer
	index             int
}

// Addr returns the address of one of the node's services.
func (d configData) Addr(service int) string { return address(d.Options, d.index, service) }

func address(o Options, node, service int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(o.BasePort+portsPerNode*node+service))
}

// nodeConfig is the configuration of node i. A node that is not one of the first ones lists no peers: it waits to be
// added.
func nodeConfig(o Options, i int, hash string, signs bool) []byte {
	d := configData{Options: o, Node: nodeName(i), Admin: AdminName, Hash: hash, Signs: signs, index: i}
	for p := 1; p <= o.Nodes && i <= o.Nodes; p++ {
		d.Peers = append(d.Peers, config.Peer{ID: nodeName(p), Addr: address(o, p, portPeer),
			HTTPS: address(o, p, portHTTPS), Standby: p > Voters(o.Nodes)})
	}
	var b bytes.Buffer
	if err := configTmpl.Execute(&b, d); err != nil {
		panic(err) // the template and its data are ours
	}
	return b.Bytes()
}

// Pool is a directory that was opened.
type Pool struct {
	Dir   string // absolute
	Nodes []Node // in the order of their numbers
}

// Node is one node's part of the directory.
type Node struct {
	ID     string
	Config string // path of its configuration
}

// Load reads the node's configuration with these environment variables.
func (n Node) Load(environ []string) (config.Config, error) {
	return config.Load(config.Sources{File: n.Config, Environ: environ})
}

// ErrNoPool says that a directory holds no pool.
var ErrNoPool = errors.New("no pool in it")

// Open finds the nodes of a directory.
func Open(dir string) (*Pool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, CAFile)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", dir, ErrNoPool)
		}
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	p := &Pool{Dir: dir}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name(), ConfigFile)
		if _, err := os.Stat(name); isNode(e.Name()) && err == nil && !exists(filepath.Join(dir, e.Name(), markerFile)) {
			p.Nodes = append(p.Nodes, Node{ID: e.Name(), Config: name})
		}
	}
	if len(p.Nodes) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoPool)
	}
	slices.SortFunc(p.Nodes, func(a, b Node) int {
		x, _ := strconv.Atoi(a.ID[1:])
		y, _ := strconv.Atoi(b.ID[1:])
		return x - y
	})
	return p, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// MarkRemoved notes that a node has left the pool: Open does not return it any more. Its files stay. A node that the
// directory does not know is none of its business.
func (p *Pool) MarkRemoved(id string) error {
	if !isNode(id) || !exists(filepath.Join(p.Dir, id, ConfigFile)) {
		return nil
	}
	return file{filepath.Join(id, markerFile), 0o644, nil}.write(p.Dir)
}

// CA returns the path of the pool's certificate.
func (p *Pool) CA() string { return filepath.Join(p.Dir, CAFile) }

// Token returns the path of the administrator's credential.
func (p *Pool) Token() string { return filepath.Join(p.Dir, TokenFile) }

// BasePort returns the base port that Init was given.
func (p *Pool) BasePort() (int, error) {
	c, err := p.Nodes[0].Load(nil)
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(c.Listen.SIP)
	if err != nil {
		return 0, fmt.Errorf("%s: listen.sip: %w", p.Nodes[0].Config, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0, fmt.Errorf("%s: listen.sip: %w", p.Nodes[0].Config, err)
	}
	number, err := strconv.Atoi(p.Nodes[0].ID[1:])
	return n - portsPerNode*number - portSIP, err
}

// options returns what Init was given, as far as a later node needs it.
func (p *Pool) options() (o Options, hash string, err error) {
	c, err := p.Nodes[0].Load(nil)
	if err != nil {
		return o, "", err
	}
	o = Options{Nodes: len(p.Nodes), Domain: c.Domain, Demo: c.Demo}
	if o.BasePort, err = p.BasePort(); err != nil {
		return o, "", err
	}
	for _, cr := range c.Admin.Credentials {
		if cr.Name == AdminName {
			hash = cr.SHA256
		}
	}
	if hash == "" {
		return o, "", fmt.Errorf("%s: no credential named %s", p.Nodes[0].Config, AdminName)
	}
	return o, hash, nil
}

// NewSigningKey makes one more key that can sign checkpoints and puts it behind the others, in the directory's file and in
// that of every node, where it waits for `parley pool key rotate`. It returns the public half and the file that it is in.
// A crash in between leaves it with some nodes; the next one is another key, and pool key list shows both.
func (p *Pool) NewSigningKey() (public, vkeyFile string, err error) {
	c, err := p.Nodes[0].Load(nil)
	if err != nil {
		return "", "", err
	}
	key, public, err := pki.NewSigningKey(c.Domain)
	if err != nil {
		return "", "", err
	}
	_, hash, _ := strings.Cut(public, "+")
	hash, _, _ = strings.Cut(hash, "+")
	vkey := file{"pool-" + hash + ".vkey", 0o644, []byte(public + "\n")}
	if err := vkey.write(p.Dir); err != nil {
		return "", "", err
	}
	names := []string{signFile}
	for _, n := range p.Nodes {
		names = append(names, filepath.Join(n.ID, signFile))
	}
	for _, name := range names {
		if err := AddSigningKey(filepath.Join(p.Dir, name), key); err != nil {
			return "", "", err
		}
	}
	return public, filepath.Join(p.Dir, vkey.name), nil
}

// AddSigningKey puts a private key behind those of a file, whole or not at all.
func AddSigningKey(name, key string) error {
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return file{filepath.Base(name), 0o600, append(b, key+"\n"...)}.write(filepath.Dir(name))
}

// PeerAddr returns the peer address that AddNode would give a node.
func (p *Pool) PeerAddr(id string) (string, error) {
	o, _, err := p.options()
	if err != nil {
		return "", err
	}
	i, err := strconv.Atoi(strings.TrimPrefix(id, "n"))
	if err != nil || !isNode(id) || i > MaxNodes {
		return "", fmt.Errorf("%q; nodes of this directory are called n1 to n%d", id, MaxNodes)
	}
	return address(o, i, portPeer), nil
}

// AddNode writes certificate and configuration of one more node and returns its peer address. A node that is there
// already is returned with ErrExists.
func (p *Pool) AddNode(id string, now time.Time) (Node, string, error) {
	addr, err := p.PeerAddr(id)
	if err != nil {
		return Node{}, "", err
	}
	n := Node{ID: id, Config: filepath.Join(p.Dir, id, ConfigFile)}
	if exists(n.Config) { // perhaps it had left, and comes back
		if err := os.Remove(filepath.Join(p.Dir, id, markerFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, "", err
		}
		return n, addr, fmt.Errorf("%s: %w", n.Config, ErrExists)
	}
	o, hash, err := p.options()
	if err != nil {
		return n, "", err
	}
	i, err := strconv.Atoi(id[1:])
	if err != nil {
		return n, "", err
	}
	o.Nodes = 0 // it is none of the nodes that formed the pool
	ca, err := pki.LoadCA(p.CA(), filepath.Join(p.Dir, caKeyFile))
	if err != nil {
		return n, "", err
	}
	cert, key, err := ca.Issue(id, []string{o.Domain}, now)
	if err != nil {
		return n, "", err
	}
	files := []file{
		{filepath.Join(id, CAFile), 0o644, ca.CertPEM()},
		{filepath.Join(id, "cert.pem"), 0o644, cert},
		{filepath.Join(id, "key.pem"), 0o600, key},
	}
	sign, err := os.ReadFile(filepath.Join(p.Dir, signFile))
	if err == nil {
		files = append(files, file{filepath.Join(id, signFile), 0o600, sign})
	} else if !errors.Is(err, fs.ErrNotExist) { // the pool may be older than the key
		return n, "", err
	}
	// The configuration last: it is what makes the directory a node's.
	files = append(files, file{filepath.Join(id, ConfigFile), 0o644, nodeConfig(o, i, hash, sign != nil)})
	for _, f := range files {
		if err := f.write(p.Dir); err != nil {
			return n, "", err
		}
	}
	c, err := n.Load(nil)
	if err != nil {
		return n, "", err
	}
	return n, addr, c.Check(now)
}
