package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/cmd/internal/freeport"
	"parley/cmd/internal/pki"
	"parley/cmd/internal/pooldir"
	"parley/cmd/internal/stopped"
	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/admin/admintest"
	"parley/webfront/objects"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"parley": func() { os.Exit(Main()) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Values[testKey{}] = t
			e.Setenv("HOME", e.WorkDir)
			// The race detector lets each process sleep for a second at its end, and there are a hundred of them.
			e.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"api":     apiCmd,
			"datadir": datadirCmd,
			"status":  statusCmd,
			"verb":    verbCmd,
			"flip":    flipCmd,
			"same":    sameCmd,
			"ports":   portsCmd,
			"until":   untilCmd,
			"settled": settledCmd,
		},
		RequireExplicitExec: true,
	})
}

// scriptT lets helpers made for tests fail a script.
type scriptT struct {
	testing.TB
	ts *testscript.TestScript
}

func (t scriptT) Helper()                           {}
func (t scriptT) Fatal(args ...any)                 { t.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (t scriptT) Fatalf(format string, args ...any) { t.ts.Fatalf(format, args...) }
func (t scriptT) Error(args ...any)                 { t.ts.Logf("%s", fmt.Sprint(args...)) }
func (t scriptT) Cleanup(f func())                  { t.ts.Defer(f) }

// fill fills a pool with a category, two users and a room in which they say something.
func fill(t testing.TB, p *admintest.Pool) {
	boss := chat.Origin{By: "admin:boss", Node: "n1", Trusted: true}
	for _, u := range []event.Principal{"sip:alice@contoso.test", "sip:bob@contoso.test"} {
		p.Must(t, boss, &chat.CreateUser{User: u, Info: event.UserInfo{Enabled: true}, Secret: objects.NewSecret(u, admintest.Domain, "parley", true)})
	}
	cat := p.Must(t, boss, &chat.CreateCategory{Info: event.CategoryInfo{Name: "General", Allowed: []event.Principal{"*"}, ChatHistory: true}}).Result.Category
	room := p.Must(t, boss, &chat.CreateRoom{Info: event.RoomInfo{Name: "Lobby", Category: cat, Privacy: event.PrivacyOpen}}).Result.Room
	for _, u := range []event.Principal{"sip:alice@contoso.test", "sip:bob@contoso.test"} {
		o := chat.Origin{By: u, Endpoint: "e1", Node: "n1", Incarnation: 1}
		p.Must(t, o, &chat.Join{Rooms: []event.RoomID{room}})
		p.Must(t, o, &chat.Post{Room: room, Text: "hello from\n" + u.Address()})
	}
}

// apiCmd serves the admin API of a pool in memory with the certificates of a directory of pool init, and sets SERVER:
//
//	api [-empty] DIR
func apiCmd(ts *testscript.TestScript, neg bool, args []string) {
	empty := len(args) == 2 && args[0] == "-empty"
	if empty {
		args = args[1:]
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: api [-empty] DIR")
	}
	t := scriptT{ts: ts}
	dir, err := pooldir.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	c, err := dir.Nodes[0].Load(nil)
	ts.Check(err)
	id, err := pki.LoadIdentity(c.TLS.CA, c.TLS.Cert, c.TLS.Key)
	ts.Check(err)
	pool := admintest.New(t, "")
	if empty {
		pool.Advance(24 * time.Hour) // what is imported was said before
	} else {
		fill(t, pool)
	}
	pool.FeedList = []admin.FeedStatus{{Feed: "lyncxml", Adapter: "lyncxml", State: "running", Owner: "n1", Epoch: 1, Offset: 9}}
	pool.ProjectionList = []admin.ProjectionStatus{{Projection: "rooms", Node: "n1", Version: 1, State: "running", Offset: 9}}
	api, err := admin.New(admin.Options{Pool: pool, Log: pool.Log, Node: "n1", Logger: slog.New(slog.DiscardHandler), Now: pool.Now, NewID: pool.NewID, History: pool.History,
		Credentials: []admin.Credential{{Name: c.Admin.Credentials[0].Name, SHA256: c.Admin.Credentials[0].SHA256}}})
	ts.Check(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	srv := &http.Server{Handler: api, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go srv.Serve(tls.NewListener(ln, id.Server())) //nolint:errcheck // closed below
	ts.Defer(func() { srv.Close() })               //nolint:errcheck // the script is over
	ts.Setenv("SERVER", "https://"+ln.Addr().String())
}

// datadirCmd makes the data directory of a stopped node, with the events of fill:
//
//	datadir DIR
func datadirCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: datadir DIR")
	}
	t := scriptT{ts: ts}
	p := admintest.New(t, filepath.Join(ts.MkAbs(args[0]), stopped.LogDir))
	fill(t, p)
	ts.Check(p.Log.Close())
}

// statusCmd runs parley and asks for an exit code; what it prints is in stdout and stderr as after exec:
//
//	status CODE parley ARG...
func statusCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE parley ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		got = -1
		if e, ok := err.(interface{ ExitCode() int }); ok {
			got = e.ExitCode()
		}
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s (%v)", got, args[0], err)
	}
}

// verbCmd runs a verb of parley in this process, which is much faster under the race detector than a process of its own,
// and asks for an exit code. Files must be named in full, and standard input is empty:
//
//	verb CODE ARG...
func verbCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: verb CODE ARG...")
	}
	a := &app{stdin: strings.NewReader(""), stdout: ts.Stdout(), stderr: ts.Stderr()}
	for _, name := range []string{"HOME", "PARLEY_SERVER", "PARLEY_CREDENTIALS"} {
		a.environ = append(a.environ, name+"="+ts.Getenv(name))
	}
	if got := a.run(context.Background(), args[1:]); fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// flipCmd flips a bit in the middle of each file that matches:
//
//	flip GLOB
func flipCmd(ts *testscript.TestScript, neg bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if neg || len(names) == 0 {
		ts.Fatalf("no file matches %s", args[0])
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		ts.Check(err)
		b[len(b)/2] ^= 1
		ts.Check(os.WriteFile(n, b, 0o600))
	}
}

// sameCmd asks that two directories hold the same files with the same bytes:
//
//	same DIR DIR
func sameCmd(ts *testscript.TestScript, neg bool, args []string) {
	list := func(dir string) string {
		var out strings.Builder
		ts.Check(filepath.Walk(ts.MkAbs(dir), func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			rel, _ := filepath.Rel(ts.MkAbs(dir), path)
			fmt.Fprintf(&out, "%s %s\n", rel, pki.HashToken(string(b)))
			return err
		}))
		return out.String()
	}
	if a, b := list(args[0]), list(args[1]); a == "" || (a == b) == neg {
		ts.Fatalf("%s:\n%s%s:\n%s", args[0], a, args[1], b)
	}
}

// testKey is the key of the script's test in its environment.
type testKey struct{}

// portsCmd sets BASE to a base port for a node n1, or for N nodes:
//
//	ports [N]
func portsCmd(ts *testscript.TestScript, _ bool, args []string) {
	nodes := 1
	if len(args) == 1 {
		var err error
		nodes, err = strconv.Atoi(args[0])
		ts.Check(err)
	}
	ts.Setenv("BASE", fmt.Sprint(freeport.Program.Ports(ts.Value(testKey{}).(*testing.T), 10*nodes)-10))
}

// untilCmd runs parley until it succeeds:
//
//	until parley ARG...
func untilCmd(ts *testscript.TestScript, _ bool, args []string) {
	until(ts.Value(testKey{}).(*testing.T), strings.Join(args, " "), func() bool { return ts.Exec(args[0], args[1:]...) == nil })
}

// settledCmd gives and takes away until the second verb says that every node but NODE shows it: on a busy machine one may
// need longer than a verb waits. NODE may be -, for none.
//
//	settled NODE parley ARG... -- parley ARG...
func settledCmd(ts *testscript.TestScript, _ bool, args []string) {
	i := slices.Index(args, "--")
	if i < 2 || i+2 > len(args) {
		ts.Fatalf("usage: settled NODE parley ARG... -- parley ARG...")
	}
	node, give, take := args[0], args[1:i], args[i+1:]
	until(ts.Value(testKey{}).(*testing.T), strings.Join(take, " "), func() bool {
		if ts.Exec(give[0], give[1:]...) != nil || ts.Exec(take[0], take[1:]...) != nil {
			return false
		}
		_, missing, late := strings.Cut(ts.ReadFile("stderr"), notSeen+": ")
		return late == (node != "-") && (!late || strings.HasPrefix(missing, node+" (") && strings.Count(missing, " (") == 1)
	})
}

// An interrupted tail is done, not failed.
func TestTailEndsWithInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs strings.Builder
	dir := filepath.Join(t.TempDir(), "pool")
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, environ: []string{"HOME=" + t.TempDir()}}
	if code := a.run(ctx, []string{"pool", "init", "--dir", dir, "--quiet"}); code != 0 || out.String() != "" {
		t.Fatalf("%d %s%s", code, out.String(), errs.String())
	}
	if code := a.run(ctx, []string{"log", "tail", "--dir", dir}); code != 0 {
		t.Errorf("%d %s", code, errs.String())
	}
}
