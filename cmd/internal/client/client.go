// Package client talks to the admin API for the command line: it finds the nodes, tries one after the other, and
// turns answers into values and errors into classes.
package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"parley/cmd/internal/pki"
	"parley/cmd/internal/pooldir"
	"parley/projections/chat"
	"parley/webfront/admin"
)

// ErrUnavailable says that no node could do it now: none answered, or none has a leader.
var ErrUnavailable = errors.New("not available")

// ErrUntrusted says that a node's certificate is not believed.
var ErrUntrusted = errors.New("certificate not believed")

// Timeouts. A change waits for a leader on the node, up to a few seconds.
const (
	dialTimeout   = 3 * time.Second
	answerTimeout = 20 * time.Second
	// A stream may search a long log before its first line.
	streamTimeout = 5 * time.Minute
)

// maxLine bounds a line of a stream, in bytes: an event with a long message and its RTF.
const maxLine = 16 << 20

// Client is a connection to the nodes of one pool.
type Client struct {
	urls  []string // of the nodes, in the order to try
	token string
	http  *http.Client
	slow  *http.Client // for streams
}

// Options say where the pool is.
type Options struct {
	Server      string // URL or HOST:PORT; with Dir also the name of a node
	Credentials string // file with a token
	Dir         string // of a sandbox or of pool init
}

// New finds nodes and credential.
func New(o Options) (*Client, error) {
	c := &Client{}
	caFile := ""
	if o.Dir != "" {
		p, err := pooldir.Open(o.Dir)
		if err != nil {
			return nil, err
		}
		if o.Credentials == "" {
			o.Credentials = p.Token()
		}
		caFile = p.CA()
		for _, n := range p.Nodes {
			cfg, err := n.Load(nil)
			if err != nil {
				return nil, err
			}
			if cfg.Listen.HTTPS != "" && (o.Server == "" || o.Server == n.ID) {
				c.urls = append(c.urls, "https://"+reachable(cfg.Listen.HTTPS))
			}
		}
	}
	if o.Server != "" && len(c.urls) == 0 {
		u, err := serverURL(o.Server)
		if err != nil {
			return nil, err
		}
		c.urls = []string{u}
	}
	if len(c.urls) == 0 {
		return nil, fmt.Errorf("%s: no node of the pool has an HTTPS listener", o.Dir)
	}
	if o.Credentials == "" {
		return nil, errors.New("no credential; name one with --credentials FILE, or the pool's directory with --dir DIR")
	}
	var err error
	if c.token, err = readToken(o.Credentials); err != nil {
		return nil, err
	}
	if caFile == "" { // a copied credential has the pool's CA beside it; a public certificate needs none
		if f := filepath.Join(filepath.Dir(o.Credentials), pooldir.CAFile); fileExists(f) {
			caFile = f
		}
	}
	var roots *x509.CertPool
	if caFile != "" {
		if roots, err = pki.LoadPool(caFile); err != nil {
			return nil, err
		}
	}
	c.http, c.slow = newHTTP(roots, answerTimeout), newHTTP(roots, streamTimeout)
	return c, nil
}

func newHTTP(roots *x509.CertPool, answer time.Duration) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: answer,
			ExpectContinueTimeout: answer, // an upload that nobody may make is refused before it is sent
		},
		// A node that does not lead sends a change of membership to the leader. Its address comes from a node that
		// showed a certificate that we believe, and so must the leader.
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 || r.URL.Scheme != "https" {
				return fmt.Errorf("%s sends us on too often, or to %s", via[0].URL.Host, r.URL.Scheme)
			}
			r.Header.Set("Authorization", via[0].Header.Get("Authorization"))
			return nil
		},
	}
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// reachable turns an address to listen on into one to call: the wildcard address means this machine.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func serverURL(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return "", fmt.Errorf("%q is not the URL of an admin API; use https://HOST:PORT", s)
	}
	return "https://" + u.Host, nil
}

func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read credential: %w", err)
	}
	t := strings.TrimSpace(string(b))
	if t == "" || strings.ContainsAny(t, " \t\r\n") {
		return "", fmt.Errorf("read credential %s: it does not hold exactly one token", file)
	}
	return t, nil
}

// Request is one request to the API.
type Request struct {
	Method string
	Path   []string // segments below the API's prefix, not escaped
	Query  url.Values
	Body   any    // JSON; nil: none
	Slow   bool   // it may take minutes
	Key    string // makes a change the same change on every node that it is tried on

	// Upload opens the body of a request that is too large for memory, once for each node that it is tried on.
	Upload func() (io.ReadCloser, error)
	// Unconfirmed is told which nodes had not shown a change when it was answered, and why, if set.
	Unconfirmed func(nodes string)
}

// Do sends the request to the first node that can answer it, and decodes the answer into out. A node that does not
// answer or has no leader is passed over. The error is an *admin.Problem, or of class ErrUnavailable.
func (c *Client) Do(ctx context.Context, r Request, out any) error {
	h := c.http
	if r.Slow {
		h = c.slow
	}
	return c.try(ctx, h, r, func(resp *http.Response) error {
		if out == nil {
			return nil
		}
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return fmt.Errorf("read the answer of %s: %w", resp.Request.URL.Host, err)
		}
		return nil
	})
}

// Stream sends the request and gives each line of the answer to line, without its end. A problem in the stream is
// returned as an error.
func (c *Client) Stream(ctx context.Context, r Request, line func([]byte) error) error {
	return c.try(ctx, c.slow, r, func(resp *http.Response) error {
		s := bufio.NewScanner(resp.Body)
		s.Buffer(nil, maxLine)
		for s.Scan() {
			if bytes.HasPrefix(s.Bytes(), []byte(`{"problem":`)) {
				var v struct {
					Problem *admin.Problem `json:"problem"`
				}
				if err := json.Unmarshal(s.Bytes(), &v); err != nil {
					return fmt.Errorf("read the answer of %s: %w", resp.Request.URL.Host, err)
				}
				return v.Problem
			}
			if err := line(s.Bytes()); err != nil {
				return err
			}
		}
		if err := s.Err(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s broke off: %w: %w", resp.Request.URL.Host, err, ErrUnavailable)
		}
		return ctx.Err()
	})
}

func (c *Client) try(ctx context.Context, h *http.Client, r Request, use func(*http.Response) error) error {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = json.Marshal(r.Body); err != nil {
			return err
		}
	}
	var failed []*unavailable
	for _, base := range c.urls {
		resp, err := c.send(ctx, h, base, r, body)
		if err == nil {
			err = use(resp)
			resp.Body.Close() //nolint:errcheck // it was read, or is not wanted
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var u *unavailable
		if !errors.As(err, &u) {
			return err
		}
		failed = append(failed, u)
	}
	return fmt.Errorf("%s; is the pool running, with a majority of its voters? Try again: %w", summary(failed), ErrUnavailable)
}

// unavailable is why one node cannot do it now.
type unavailable struct{ host, why string }

func (u *unavailable) Error() string { return u.host + ": " + u.why }

// summary names each reason once.
func summary(failed []*unavailable) string {
	var out []string
	for i, f := range failed {
		hosts := []string{f.host}
		first := true
		for j, g := range failed {
			if g.why == f.why && j != i {
				first = first && j > i
				hosts = append(hosts, g.host)
			}
		}
		if first {
			out = append(out, strings.Join(hosts, ", ")+": "+f.why)
		}
	}
	return strings.Join(out, "; ")
}

// send asks one node. Only an answer of success is returned; its body is the caller's to close.
func (c *Client) send(ctx context.Context, h *http.Client, base string, r Request, body []byte) (*http.Response, error) {
	segments := make([]string, len(r.Path))
	for i, s := range r.Path {
		segments[i] = url.PathEscape(s)
	}
	u := base + admin.Prefix + "/" + strings.Join(segments, "/")
	if len(r.Query) > 0 {
		u += "?" + r.Query.Encode()
	}
	var content io.Reader = bytes.NewReader(body)
	if r.Upload != nil {
		file, err := r.Upload()
		if err != nil {
			return nil, err
		}
		content = file // the transport closes it
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, u, content)
	if err != nil {
		return nil, err
	}
	if r.Upload != nil {
		req.Header.Set("Content-Type", "application/x-ndjson")
		req.Header.Set("Expect", "100-continue")
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.Key != "" {
		req.Header.Set(admin.KeyHeader, r.Key)
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, classify(base, err)
	}
	if resp.StatusCode < 300 {
		if nodes := resp.Header.Get(admin.UnconfirmedHeader); nodes != "" && r.Unconfirmed != nil {
			r.Unconfirmed(nodes)
		}
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	p := &admin.Problem{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(p); err != nil || p.Detail == "" {
		return nil, fmt.Errorf("%s answers %s, which is not an answer of the admin API", base, resp.Status)
	}
	if errors.Is(p, chat.ErrUnavailable) {
		return nil, &unavailable{req.URL.Host, p.Detail}
	}
	if p.Status == http.StatusUnauthorized {
		return nil, fmt.Errorf("%s does not know the credential: %w", base, p)
	}
	return nil, p
}

func classify(base string, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return fmt.Errorf("%s: %w: %v; put the pool's ca.pem beside the credential, or use --dir", base, ErrUntrusted, cert.Err)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		err = op.Err // the address is said already
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return &unavailable{strings.TrimPrefix(base, "https://"), err.Error()}
}
