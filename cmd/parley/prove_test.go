package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"parley/compliance/proof"
	"parley/webfront/admin"
)

// mailServer starts one and names it "relay" in the configuration of the nodes, which are not running.
func mailServer(t *testing.T, dir string, nodes []nodeLine) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // the test is over
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go mailbox(c)
		}
	}()
	for _, n := range nodes {
		f, err := os.OpenFile(filepath.Join(dir, n.Node, "parley.yaml"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(f, "\nmail_servers:\n  - name: relay\n    address: %s\n    no_tls: true\n", l.Addr()); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// proveMail: a feed that sends mail has no files to prove, says so, and what it sent is proven by writing it again.
func proveMail(t *testing.T, dir string) {
	t.Helper()
	parley(t, 0, "--dir", dir, "feed", "set", "post", "--adapter", "smtp", "--option", "server=relay", "--option", "to=archive@contoso.test", "--every", "1s")
	until(t, "mail is sent", func() bool {
		var f admin.Feed
		if err := json.Unmarshal([]byte(parley(t, 0, "--dir", dir, "feed", "status", "post", "--json")), &f); err != nil {
			t.Fatal(err)
		}
		return f.LastFile != ""
	})
	parley(t, 0, "--dir", dir, "feed", "pause", "post")
	out := filepath.Join(t.TempDir(), "proof")
	var text, errs strings.Builder
	a := &app{stdin: strings.NewReader(""), stdout: &text, stderr: &errs, environ: []string{"HOME=" + t.TempDir()}}
	if code := a.run(t.Context(), []string{"--dir", dir, "feed", "prove", "--feed", "post", "--out", out}); code != 1 || !strings.Contains(errs.String(), "sends mail, so there are no files here to prove") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("it left a directory that proves nothing")
	}
	again := filepath.Join(t.TempDir(), "again")
	parley(t, 0, "--dir", dir, "feed", "replay", "post", "--out", again)
	parley(t, 0, "--dir", dir, "feed", "prove", "--feed", "post", "--files", again, "--out", out)
	key, err := os.ReadFile(filepath.Join(dir, "pool.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := proof.Verify(os.DirFS(out), nil, v); err != nil || len(r.Findings) > 0 || r.Files == 0 {
		t.Errorf("%+v %v", r, err)
	}
	parley(t, 0, "--dir", dir, "feed", "rm", "post", "--force")
}

// mailbox takes every message.
func mailbox(c net.Conn) {
	defer c.Close() //nolint:errcheck // the peer sees it
	r := bufio.NewReader(c)
	say := func(s string) { _, _ = c.Write([]byte(s + "\r\n")) }
	say("220 mailbox")
	for inData := false; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch word := strings.ToUpper(strings.TrimSpace(line)); {
		case inData:
			if word == "." {
				inData = false
				say("250 taken")
			}
		case word == "DATA":
			inData = true
			say("354 go on")
		case word == "QUIT":
			say("221 bye")
			return
		default:
			say("250 mailbox")
		}
	}
}
