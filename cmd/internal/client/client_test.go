package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/cmd/internal/pki"
	"parley/cmd/internal/pooldir"
	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/admin/admintest"
	"parley/webfront/objects"
)

// site is the directory of a pool and servers with its certificates.
type site struct {
	t    *testing.T
	dir  *pooldir.Pool
	pool *admintest.Pool
	api  http.Handler
}

func newSite(t *testing.T) *site {
	t.Helper()
	p, err := pooldir.Init(filepath.Join(t.TempDir(), "pool"), pooldir.Options{Nodes: 2, Domain: admintest.Domain, BasePort: 20000}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Nodes[0].Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	pool := admintest.New(t, "")
	api, err := admin.New(admin.Options{Pool: pool, Log: pool.Log, Node: "n1", Logger: slog.New(slog.DiscardHandler), Now: pool.Now,
		NewID: pool.NewID, Credentials: []admin.Credential{{Name: "admin", SHA256: c.Admin.Credentials[0].SHA256}}})
	if err != nil {
		t.Fatal(err)
	}
	return &site{t, p, pool, api}
}

// serve starts a server with the certificate of n1 and returns its address.
func (s *site) serve(h http.Handler) string {
	s.t.Helper()
	dir := filepath.Join(s.dir.Dir, "n1")
	id, err := pki.LoadIdentity(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go srv.Serve(tls.NewListener(ln, id.Server())) //nolint:errcheck // closed below
	s.t.Cleanup(func() { srv.Close() })            //nolint:errcheck // the test is over
	return ln.Addr().String()
}

func (s *site) client(addrs ...string) *Client {
	s.t.Helper()
	c, err := New(Options{Server: addrs[0], Dir: s.dir.Dir})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, a := range addrs[1:] {
		c.urls = append(c.urls, "https://"+a)
	}
	return c
}

// closed returns an address at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // only its address is of use
	return ln.Addr().String()
}

var getPool = Request{Method: "GET", Path: []string{"pool"}}

// The first node that can answers; a change is the same change on each.
func TestNodesAreTried(t *testing.T) {
	s := newSite(t)
	var keys []string
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get(admin.KeyHeader))
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(503)
		fmt.Fprint(w, `{"status":503,"code":"unavailable","detail":"nobody leads"}`)
	})
	live := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get(admin.KeyHeader))
		s.api.ServeHTTP(w, r)
	})
	dead, busyAddr := closed(t), s.serve(busy)
	c := s.client(dead, busyAddr, s.serve(live))
	name := "General"
	var cat objects.Category
	err := c.Do(t.Context(), Request{Method: "POST", Path: []string{"categories"}, Key: "k1", Body: objects.CategoryChange{Name: &name}}, &cat)
	if err != nil || cat.Category != "General" || strings.Join(keys, ",") != "k1,k1" {
		t.Errorf("%+v, keys %v, %v", cat, keys, err)
	}
	err = s.client(dead, closed(t), busyAddr).Do(t.Context(), getPool, nil)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "nobody leads") || strings.Count(err.Error(), "connection refused") != 1 {
		t.Errorf("nobody can: %v", err)
	}
	// A refusal is an answer: other nodes are not bothered with it.
	keys = nil
	err = s.client(s.serve(live), busyAddr).Do(t.Context(), Request{Method: "GET", Path: []string{"rooms", "a/b c"}}, nil)
	if p := new(admin.Problem); !errors.As(err, &p) || !errors.Is(err, chat.ErrNotFound) || !strings.Contains(p.Detail, `"a/b c"`) || len(keys) != 1 {
		t.Errorf("refused: %v, %d requests", err, len(keys))
	}
}

// An upload is sent whole to each node that it is tried on, and to none that refuses it at once. Nodes that have not shown
// a change yet are told.
func TestUpload(t *testing.T) {
	s := newSite(t)
	body := strings.Repeat("a line\n", 1<<17)
	var got, refused int64
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		got += n
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(503)
		fmt.Fprint(w, `{"status":503,"code":"unavailable","detail":"nobody leads"}`)
	})
	live := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		got += n
		w.Header().Set(admin.UnconfirmedHeader, "n2 (down)")
		fmt.Fprintln(w, `{"done":true}`)
	})
	opened := 0
	var unconfirmed string
	req := Request{Method: "POST", Path: []string{"data", "import"}, Unconfirmed: func(nodes string) { unconfirmed = nodes },
		Upload: func() (io.ReadCloser, error) {
			opened++
			return io.NopCloser(strings.NewReader(body)), nil
		}}
	lines := 0
	err := s.client(closed(t), s.serve(busy), s.serve(live)).Stream(t.Context(), req, func([]byte) error { lines++; return nil })
	if err != nil || got != 2*int64(len(body)) || lines != 1 || opened != 3 || unconfirmed != "n2 (down)" {
		t.Errorf("%v: %d bytes, %d lines, opened %d times, unconfirmed %q", err, got, lines, opened, unconfirmed)
	}
	denies := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(403)
		fmt.Fprint(w, `{"status":403,"code":"forbidden","detail":"you may not"}`)
	})
	req.Upload = func() (io.ReadCloser, error) {
		return io.NopCloser(readFunc(func(b []byte) (int, error) {
			refused += int64(len(b))
			return len(b), nil // it never ends
		})), nil
	}
	if err := s.client(s.serve(denies)).Stream(t.Context(), req, func([]byte) error { return nil }); !errors.Is(err, chat.ErrForbidden) || refused > 1<<20 {
		t.Errorf("%v, after %d bytes", err, refused)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func TestTrust(t *testing.T) {
	s := newSite(t)
	addr := s.serve(s.api)
	token, err := os.ReadFile(s.dir.Token())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "my.token")
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(elsewhere, token)
	try := func(o Options) error {
		c, err := New(o)
		if err != nil {
			return err
		}
		return c.Do(t.Context(), getPool, nil)
	}
	if err := try(Options{Server: "https://" + addr, Credentials: s.dir.Token()}); err != nil {
		t.Errorf("credential in the pool's directory: %v", err)
	}
	if err := try(Options{Server: addr, Credentials: elsewhere}); !errors.Is(err, ErrUntrusted) || errors.Is(err, ErrUnavailable) {
		t.Errorf("no CA: %v", err)
	}
	ca, err := os.ReadFile(s.dir.CA())
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(filepath.Dir(elsewhere), "ca.pem"), ca)
	if err := try(Options{Server: addr, Credentials: elsewhere}); err != nil {
		t.Errorf("CA beside the credential: %v", err)
	}
	write(elsewhere, []byte("parley_guess\n"))
	if err := try(Options{Server: addr, Credentials: elsewhere}); err == nil || !strings.Contains(err.Error(), "does not know the credential") {
		t.Errorf("wrong token: %v", err)
	}
	for name, o := range map[string]Options{
		"plain HTTP":    {Server: "http://" + addr, Credentials: elsewhere},
		"a path":        {Server: "https://" + addr + "/api", Credentials: elsewhere},
		"no credential": {Server: addr},
		"no such file":  {Server: addr, Credentials: "/nowhere"},
		"no such dir":   {Dir: "/nowhere"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestNodeByName(t *testing.T) {
	s := newSite(t)
	for server, want := range map[string]string{
		"":                    "https://127.0.0.1:20012 https://127.0.0.1:20022",
		"n2":                  "https://127.0.0.1:20022",
		"https://127.0.0.1:9": "https://127.0.0.1:9",
		"127.0.0.1:9":         "https://127.0.0.1:9",
	} {
		c, err := New(Options{Server: server, Dir: s.dir.Dir})
		if err != nil || strings.Join(c.urls, " ") != want {
			t.Errorf("%q: %v, %v", server, c, err)
		}
	}
	for addr, want := range map[string]string{"0.0.0.0:1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", ":1": "127.0.0.1:1", "192.0.2.1:1": "192.0.2.1:1"} {
		if got := reachable(addr); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

// The leader is elsewhere: the request goes there, with its credential.
func TestSentToTheLeader(t *testing.T) {
	s := newSite(t)
	leader := s.serve(s.api)
	other := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+leader+r.URL.String(), http.StatusTemporaryRedirect)
	}))
	var done []string
	s.pool.Change = func(action string, id event.NodeID) error {
		done = append(done, action+" "+string(id))
		return nil
	}
	err := s.client(other).Do(t.Context(), Request{Method: "POST", Path: []string{"members"}, Body: admin.AddMember{ID: "n7", Addr: "x:1"}}, nil)
	if err != nil || strings.Join(done, ",") != "add n7" {
		t.Errorf("%v, %v", done, err)
	}
	away := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+leader+"/", http.StatusTemporaryRedirect)
	}))
	if err := s.client(away).Do(t.Context(), getPool, nil); err == nil {
		t.Error("a credential was sent in the clear")
	}
}

func TestStream(t *testing.T) {
	s := newSite(t)
	n := 0
	events := Request{Method: "GET", Path: []string{"log", "events"}}
	if err := s.client(s.serve(s.api)).Stream(t.Context(), events, func([]byte) error { n++; return nil }); err != nil || n != 3 { // pool, node, and the record of this question
		t.Errorf("%d lines, %v", n, err)
	}
	broken := func(h http.HandlerFunc) error {
		return s.client(s.serve(h)).Stream(t.Context(), events, func([]byte) error { return nil })
	}
	err := broken(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "{\"offset\":1}\n{\"problem\":{\"status\":500,\"code\":\"corrupt\",\"detail\":\"event 2\"}}\n")
	})
	if !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("a problem in the stream: %v", err)
	}
	err = broken(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "{\"offset\":1}\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("broken off: %v", err)
	}
	stop := errors.New("enough")
	if err := s.client(s.serve(s.api)).Stream(t.Context(), events, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}

// Something that answers HTTPS but is no admin API is no reason to try again for ever.
func TestNotTheAPI(t *testing.T) {
	s := newSite(t)
	err := s.client(s.serve(http.NotFoundHandler())).Do(t.Context(), getPool, nil)
	if err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
}
