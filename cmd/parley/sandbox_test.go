package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"parley/cmd/internal/freeport"
	"parley/cmd/internal/pki"
	"parley/cmd/internal/synthetic"
	"parley/compliance/proof"
	"parley/compliance/proof/witness"
	"parley/log/event"
	"parley/webfront/admin"
)

// box is a sandbox that runs in this process.
type box struct {
	t     *testing.T
	stop  context.CancelFunc
	nodes []nodeLine
	pool  poolLine
	ended chan int
	errs  *strings.Builder
}

func startBox(t *testing.T, args ...string) *box {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	b := &box{t: t, stop: cancel, ended: make(chan int, 1), errs: new(strings.Builder)}
	a := &app{stdin: strings.NewReader(""), stdout: in, stderr: b.errs, environ: []string{"HOME=" + t.TempDir()}, open: openNode}
	go func() {
		code := a.run(ctx, append([]string{"sandbox", "--json"}, args...))
		in.Close() //nolint:errcheck // a pipe
		b.ended <- code
	}()
	t.Cleanup(cancel)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), `{"ready":`) {
			if err := json.Unmarshal(lines.Bytes(), &b.pool); err != nil {
				t.Fatal(err)
			}
			return b
		}
		var n nodeLine
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		b.nodes = append(b.nodes, n)
	}
	t.Fatalf("the sandbox ended before it was ready: %d\n%s", <-b.ended, b.errs)
	return nil
}

// end stops the sandbox as a signal does.
func (b *box) end() {
	b.t.Helper()
	began := time.Now()
	b.stop()
	select {
	case code := <-b.ended:
		if code != 0 {
			b.t.Errorf("exit code %d\n%s", code, b.errs)
		}
	case <-time.After(time.Minute): // ten seconds are allowed, on a machine that does nothing else
		b.t.Fatal("the sandbox does not stop")
	}
	b.t.Logf("stopped in %v", time.Since(began).Round(time.Millisecond))
}

// parley runs a verb and returns what it prints.
func parley(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errs strings.Builder
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, environ: []string{"HOME=" + t.TempDir()}}
	if got := a.run(t.Context(), args); got != code {
		t.Fatalf("parley %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), errs.String())
	}
	return out.String()
}

// A pool starts, serves users through SIP and operators through the API, stops cleanly, and goes on where it was.
func TestSandbox(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three nodes twice")
	}
	dir := filepath.Join(t.TempDir(), "box")
	base := freeport.Program.Ports(t, 30) - 10
	b := startBox(t, "--dir", dir, "--nodes", "3", "--base-port", fmt.Sprint(base), "--no-chatter")
	if len(b.nodes) != 3 || b.pool.PoolURI != "sip:parley@contoso.test" || !strings.HasPrefix(b.pool.Leader, "n") {
		t.Fatalf("%+v %+v", b.nodes, b.pool)
	}
	for i, n := range b.nodes {
		at := func(service int) string { return fmt.Sprintf("127.0.0.1:%d", base+10*(i+1)+service) }
		want := nodeLine{fmt.Sprintf("n%d", i+1), at(0), at(1), at(2), at(3), at(4), filepath.Join(dir, fmt.Sprintf("n%d", i+1), "data")}
		if n != want {
			t.Errorf("got  %+v\nwant %+v", n, want)
		}
	}
	until(t, "one leads and two vote", func() bool { // at the start the leader may change
		s := parley(t, 0, "pool", "status", "--json", "--dir", dir)
		return strings.Count(s, `"state":"leader"`) == 1 && strings.Count(s, `"state":"voter"`) == 2
	})
	for _, args := range [][]string{nil, {"--tls"}} {
		var res synthetic.Result
		out := parley(t, 0, append([]string{"--dir", dir, "--json", "test", "message", "--timeout", "60s"}, args...)...)
		if err := json.Unmarshal([]byte(out), &res); err != nil || res.Result != "success" || res.LatencyMS <= 0 || res.Target == res.Receiver {
			t.Errorf("%v %s", err, out)
		}
	}
	revoked(t, dir)
	feeds(t, dir)
	live := parley(t, 0, "--dir", dir, "log", "dump", "--json")
	if strings.Count(live, `"kind":"posted"`) != 4 || strings.Count(live, `"kind":"user_created"`) != 5 || strings.Contains(live, "ma-chan:///") {
		t.Errorf("dump:\n%s", live)
	}
	parley(t, 1, "log", "dump", "--data", b.nodes[0].Data) // it is running
	silence(t, dir, b.nodes)
	overTheWire(t, dir, b.nodes)
	until(t, "every node knows that the last event is committed", func() bool { // a follower is told with the next message
		marks := map[event.Offset]bool{}
		for l := range strings.Lines(parley(t, 0, "--dir", dir, "pool", "status", "--json")) {
			var n admin.NodeStatus
			if err := json.Unmarshal([]byte(l), &n); err != nil {
				t.Fatal(err)
			}
			marks[n.Committed] = true
		}
		return len(marks) == 1
	})
	b.end()
	parley(t, 3, "--dir", dir, "pool", "status")

	before := contents(t, b.nodes[0].Data)
	for _, n := range b.nodes {
		if stopped := parley(t, 0, "log", "dump", "--json", "--data", n.Data); !strings.HasPrefix(stopped, live) {
			t.Errorf("%s: the stopped log does not begin with what the live one was:\n%s", n.Node, stopped)
		}
		parley(t, 0, "log", "verify", "--data", n.Data)
	}
	if contents(t, b.nodes[0].Data) != before {
		t.Error("reading the log changed the directory")
	}
	damage(t, b.nodes[0].Data)

	// Another shape of the same pool is refused; without one it goes on.
	parley(t, 1, "sandbox", "--dir", dir, "--nodes", "4")
	parley(t, 1, "sandbox", "--dir", dir, "--base-port", fmt.Sprint(base+1))
	mailServer(t, dir, b.nodes)
	b = startBox(t, "--dir", dir)
	again := parley(t, 0, "--dir", dir, "log", "dump", "--json")
	if !strings.HasPrefix(again, live) || strings.Count(again, `"kind":"user_created"`) != 5 || strings.Count(again, `"kind":"pool_formed"`) != 1 {
		t.Errorf("after a restart:\n%s", again)
	}
	proveFeed(t, dir, b.nodes[0].Ops)
	proveMail(t, dir)
	// The demo users talk by themselves.
	until(t, "a demo user says something", func() bool {
		return parley(t, 0, "--dir", dir, "log", "dump", "--kind", "posted", "--user", "dave@contoso.test") != ""
	})
	b.end()
}

// settled runs a verb that changes something and reports whether it says that every node shows it. On a busy machine a
// node may need longer than the verb waits.
func settled(t *testing.T, args ...string) bool {
	t.Helper()
	var out, errs strings.Builder
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, environ: []string{"HOME=" + t.TempDir()}}
	if code := a.run(t.Context(), args); code != 0 {
		t.Fatalf("parley %s: exit code %d\n%s%s", strings.Join(args, " "), code, out.String(), errs.String())
	}
	return !strings.Contains(errs.String(), notSeen)
}

// notSeen is how a verb says that some nodes do not show the change yet.
const notSeen = "not seen everywhere yet"

// revoked takes rights away at one node after the other: when the verb has returned, every node shows it.
func revoked(t *testing.T, dir string) {
	t.Helper()
	nodes := []string{"n1", "n2", "n3"}
	for _, at := range nodes {
		boss := func(args ...string) []string { return append([]string{"--dir", dir, "--server", at}, args...) }
		token := filepath.Join(t.TempDir(), "ann.token")
		parley(t, 0, boss("admin", "token", "new", "ann", "--token-file", token)...)
		until(t, "every node shows in time what was given and taken away", func() bool {
			return settled(t, boss("room", "set", "Operations", "--members-add", "dave")...) && settled(t, boss("admin", "set", "ann", "--roles-set", "auditor")...) &&
				seen(t, dir, nodes, token, true) && settled(t, boss("room", "set", "Operations", "--members-remove", "dave")...) && settled(t, boss("admin", "set", "ann", "--roles-set", "")...)
		})
		seen(t, dir, nodes, token, false)
	}
}

// seen asks each node whether dave is a member, and whether the token's owner may ask at all.
func seen(t *testing.T, dir string, nodes []string, token string, want bool) bool {
	t.Helper()
	for _, n := range nodes {
		if out := parley(t, 0, "--dir", dir, "--server", n, "room", "get", "Operations", "--json"); strings.Contains(out, "dave") != want {
			t.Errorf("%s: want the member: %v; %s", n, want, out)
		}
		code := 1
		if want {
			code = 0
		}
		parley(t, code, "--dir", dir, "--server", n, "--credentials", token, "room", "get", "Operations")
	}
	return true
}

// proveFeed has what the demo's feed delivered proven, checks it as an auditor does, and then alters it.
func proveFeed(t *testing.T, dir, ops string) {
	t.Helper()
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(kept, []byte(parley(t, 0, "--dir", dir, "log", "checkpoint")), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "proof")
	until(t, "the feed delivers a file", func() bool {
		for l := range strings.Lines(parley(t, 0, "--dir", dir, "log", "dump", "--json", "--kind", "feed_receipt")) {
			var r struct{ Name string }
			if err := json.Unmarshal([]byte(l), &r); err != nil {
				t.Fatal(err)
			}
			if r.Name != "" {
				return true
			}
		}
		return false
	})
	parley(t, 0, "--dir", dir, "feed", "prove", "--feed", "lyncxml", "--out", out, "--since", kept)
	parley(t, 1, "--dir", dir, "feed", "prove", "--feed", "lyncxml", "--out", out) // not twice into one directory
	parley(t, 1, "--dir", dir, "feed", "prove", "--feed", "nothing", "--out", out+"2")
	key, err := os.ReadFile(filepath.Join(dir, "pool.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		t.Fatal(err)
	}
	earlier, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	r, err := proof.Verify(os.DirFS(out), earlier, v)
	if err != nil || len(r.Findings) > 0 || r.Files == 0 {
		t.Fatalf("%+v %v", r, err)
	}
	names, err := filepath.Glob(filepath.Join(out, "*.xml"))
	if err != nil || len(names) != r.Files {
		t.Fatalf("%d files, %v, %v", r.Files, names, err)
	}
	witnessed(t, dir, out+"2", v)
	rotateKey(t, dir, ops, out+"3", kept, v)
	if err := os.WriteFile(names[0], []byte("<Conversations/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := proof.Verify(os.DirFS(out), nil, v); err != nil || len(r.Findings) != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

// witnessed has a witness sign a checkpoint, and another one that continues it.
func witnessed(t *testing.T, dir, out string, pool note.Verifier) {
	t.Helper()
	private, public, err := witness.NewKey("witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.Open(t.TempDir(), private, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	cosigned := filepath.Join(t.TempDir(), "cosigned")
	for _, args := range [][]string{{"--first"}, {"--since", cosigned}} {
		request := parley(t, 0, append([]string{"--dir", dir, "log", "checkpoint"}, args...)...)
		b, _, err := w.Cosign([]byte(request), pool, args[0] == "--first")
		if err != nil {
			t.Fatalf("%v\n%s", err, request)
		}
		if err := os.WriteFile(cosigned, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parley(t, 0, "--dir", dir, "feed", "prove", "--feed", "lyncxml", "--out", out, "--checkpoint", cosigned)
	r, err := proof.Verify(os.DirFS(out), nil, pool, public)
	if err != nil || len(r.Findings) > 0 || r.Files == 0 {
		t.Errorf("%+v %v", r, err)
	}
}

// rotateKey has the pool sign with another key. Whoever has the first one, and a checkpoint that it signed, goes on.
func rotateKey(t *testing.T, dir, ops, out, kept string, first note.Verifier) {
	t.Helper()
	key := strings.TrimSpace(parley(t, 0, "--dir", dir, "pool", "key", "new"))
	if got := parley(t, 0, "--dir", dir, "pool", "key", "list"); strings.Count(got, "n1,n2,n3") != 2 || !strings.Contains(got, "ready") {
		t.Fatal(got)
	}
	if got := parley(t, 0, "--dir", dir, "pool", "key", "rotate", "--reason", "it is a year old", key, "--json"); !strings.Contains(got, `"state":"replaced"`) {
		t.Fatal(got)
	}
	parley(t, 0, "--dir", dir, "feed", "prove", "--feed", "lyncxml", "--out", out, "--since", kept)
	earlier, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	second, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range []note.Verifier{first, second} {
		r, err := proof.Verify(os.DirFS(out), earlier, v)
		if err != nil || len(r.Findings) > 0 || r.Followed != (i == 0) || len(r.Rotations) != 1 || r.Rotations[0].Reason != "it is a year old" {
			t.Errorf("with key %d: %+v %v", i, r, err)
		}
	}
	// A node that has not got the new key signs nothing, not even with the old one, and says so.
	file := filepath.Join(dir, "n1", "pool.key")
	both, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, both[:bytes.IndexByte(both, '\n')+1], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := get(t, "http://"+ops+"/readyz?verbose"); !strings.Contains(got, "[!]signing-key") {
		t.Error(got)
	}
	if got := get(t, "http://"+ops+"/metrics"); !strings.Contains(got, "\nparley_proof_key_missing 1\n") {
		t.Error("the metric does not say that the key is missing")
	}
	parley(t, 3, "--dir", dir, "--server", "n1", "log", "checkpoint")
	parley(t, 0, "--dir", dir, "--server", "n2", "log", "checkpoint")
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	parley(t, 0, "--dir", dir, "--server", "n1", "log", "checkpoint")
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// contents is a digest of all files below dir.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintln(&out, path, pki.HashToken(string(b)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// damage spoils copies of a stopped node's data, and every time log verify and log dump must say so.
func damage(t *testing.T, data string) {
	t.Helper()
	change := func(glob string, do func(b []byte) []byte) func(dir string) error {
		return func(dir string) error {
			names, err := filepath.Glob(filepath.Join(dir, glob))
			if err != nil || len(names) == 0 {
				return fmt.Errorf("%s: no file (%v)", glob, err)
			}
			for _, n := range names {
				b, err := os.ReadFile(n)
				if err != nil {
					return err
				}
				if err := os.WriteFile(n, do(b), 0o600); err != nil {
					return err
				}
			}
			return nil
		}
	}
	half := func(b []byte) []byte { return b[:len(b)/2] }
	for name, spoil := range map[string]func(dir string) error{
		"a bit in the write-ahead log": change("log/*.log", func(b []byte) []byte { b[len(b)/2] ^= 4; return b }),
		"half of the write-ahead log":  change("log/*.log", half),
		"no write-ahead log":           change("log/*.log", func([]byte) []byte { return nil }),
		"an empty promise":             change("raft/raft.db", func([]byte) []byte { return nil }),
		"no promise":                   func(dir string) error { return os.RemoveAll(filepath.Join(dir, "raft")) },
		"no log":                       func(dir string) error { return os.RemoveAll(filepath.Join(dir, "log")) },
	} {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(data)); err != nil {
			t.Fatal(err)
		}
		if err := spoil(dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Log(name)
		parley(t, 4, "log", "verify", "--data", dir)
		parley(t, 4, "log", "dump", "--data", dir)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
