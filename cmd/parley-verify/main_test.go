package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func verify(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, nil, &out, &err)
	return code, out.String(), err.String()
}

// TestGolden: proofs of every format ever written stay valid. v1 is of a sandbox that ran for a few seconds.
func TestGolden(t *testing.T) {
	code, out, errs := verify("--key", "testdata/v1.vkey", "--since", "testdata/v1.since", "testdata/v1")
	if code != 0 || !strings.HasPrefix(out, "proven: feed lyncxml, events 1 to 24, ") || !strings.Contains(out, `"Lobby": 4 events, 1 messages`) ||
		!strings.HasSuffix(out, "the checkpoint continues the earlier one\n") || errs != "" {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if code, out, _ := verify("--quiet", "--key", "testdata/v1.vkey", "testdata/v1"); code != 0 || out != "" {
		t.Errorf("%d %s", code, out)
	}
}

// TestFindings: one line each on standard output, and exit code 1.
func TestFindings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "proof")
	if err := os.CopyFS(dir, os.DirFS("testdata/v1")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more.xml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "lyncxml-*.xml"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2]++
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := verify("--key", "testdata/v1.vkey", dir)
	want := filepath.Base(files[0]) + ": is not what was delivered: something in it was altered\nmore.xml: the proof does not cover it\n"
	if code != 1 || out != want {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestUsage: what is wrong with the call itself is told on standard error, with exit code 2.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"testdata/v1"}, {"--key", "testdata/v1.vkey"}, {"--key", "nowhere", "testdata/v1"},
		{"--key", "testdata/v1.since", "testdata/v1"}, {"--key", "testdata/v1.vkey", "nowhere"}, {"--key", "testdata/v1.vkey", "testdata/v1.vkey"},
		{"--key", "testdata/v1.vkey", "--since", "nowhere", "testdata/v1"}, {"--nothing"}} {
		if code, out, errs := verify(args...); code != 2 || out != "" || errs == "" {
			t.Errorf("%q: %d %q %q", args, code, out, errs)
		}
	}
	if code, _, errs := verify("--help"); code != 0 || !strings.Contains(errs, "usage:") {
		t.Errorf("%d %s", code, errs)
	}
}

// TestGoldenRotated: v2 is of a pool that had revoked its first key, and of a witness.
func TestGoldenRotated(t *testing.T) {
	args := []string{"--witness-key", "testdata/v2.witness.vkey", "--since", "testdata/v2.since", "testdata/v2"}
	code, out, errs := verify(append([]string{"--key", "testdata/v2.vkey"}, args...)...)
	for _, s := range []string{"proven: feed lyncxml, events 1 to 26, ", "\nkey revoked: ", "which follows the key that was given\n", "\nsigned by witness.example/w1 too\n"} {
		if code != 0 || !strings.Contains(out, s) || errs != "" {
			t.Errorf("no %q: %d\n%s%s", s, code, out, errs)
		}
	}
	if code, out, _ := verify(append([]string{"--key", "testdata/v2.new.vkey"}, args...)...); code != 0 || strings.Contains(out, "follows the key") {
		t.Errorf("%d\n%s", code, out)
	}
	if code, out, _ := verify("--key", "testdata/v1.vkey", "testdata/v2"); code != 1 || !strings.HasPrefix(out, "keys.json: ") {
		t.Errorf("%d\n%s", code, out)
	}
	if code, out, _ := verify("--key", "testdata/v1.vkey", "--witness-key", "testdata/v2.witness.vkey", "testdata/v1"); code != 1 || !strings.Contains(out, "not signed by witness.example/w1") {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestCosign: a witness signs what is new to it when it is told that it is the first, and then only what continues.
func TestCosign(t *testing.T) {
	dir := t.TempDir()
	key, state := filepath.Join(dir, "w.key"), filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := verify("witness-key", "witness.example/w1", key); code != 0 || !strings.HasPrefix(out, "witness.example/w1+") || errs != "" {
		t.Fatal(code, out, errs)
	}
	if code, _, _ := verify("witness-key", "witness.example/w1", key); code != 1 {
		t.Error("a key was written over")
	}
	args := []string{"cosign", "--witness", key, "--key", "testdata/v2.vkey", "--state", state}
	if code, out, errs := verify(append(args, "testdata/v2.request")...); code != 1 || out != "" || !strings.Contains(errs, "--first") {
		t.Error(code, out, errs)
	}
	code, out, errs := verify(append(args, "--first", "testdata/v2.request")...)
	if code != 0 || strings.Count(out, "\n— ") != 2 || errs != "" {
		t.Error(code, out, errs)
	}
	if code, out, _ := verify(append(args, "--line", "testdata/v2.request")...); code != 0 || !strings.HasPrefix(out, "— witness.example/w1 ") || strings.Count(out, "\n") != 1 {
		t.Error(code, out)
	}
	if code, _, _ := verify(append(args[:3:3], "--key", "testdata/v1.vkey", "--state", state, "testdata/v2.request")...); code != 1 {
		t.Error("another pool's key is taken")
	}
	for _, args := range [][]string{{"cosign"}, {"cosign", "--witness", key, "--key", "testdata/v2.vkey", "--state", "nowhere", "x"}, {"witness-key"},
		{"cosign", "--witness", "testdata/v2.vkey", "--key", "testdata/v2.vkey", "--state", state, "testdata/v2.request"}} {
		if code, out, errs := verify(args...); code != 2 || out != "" || errs == "" {
			t.Errorf("%q: %d %q %q", args, code, out, errs)
		}
	}
}
