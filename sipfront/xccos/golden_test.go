package xccos

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// vectors returns the example messages of a directory by name: e (evidence: conformance), eplus (evidence with
// recalled extras) and x (our own design: regression only). They are added to, never changed.
func vectors(t testing.TB, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.xml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors in %s: %v", dir, err)
	}
	all := make(map[string]string)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".xml")] = string(b)
	}
	return all
}

func isServer(body string) bool { return strings.HasPrefix(body, "<xccos xmlns:xsd=") }

// again decodes a body and encodes what was understood.
func again(t testing.TB, body string) string {
	t.Helper()
	decode, encode := Decode, AppendClient
	if isServer(body) {
		decode, encode = DecodeServer, AppendServer
	}
	e, err := decode([]byte(body))
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	for _, it := range e.Items {
		if it.Err != nil {
			t.Fatalf("item %s: %v", it.ID, it.Err)
		}
	}
	id, err := strconv.ParseUint(e.EnvID, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return string(encode(nil, id, e.Items...))
}

// TestVectors: what was understood of a vector is all of it, and it is written byte for byte as it was.
func TestVectors(t *testing.T) {
	for _, dir := range []string{"e", "eplus", "x"} {
		for name, body := range vectors(t, dir) {
			t.Run(dir+"/"+name, func(t *testing.T) {
				if got := again(t, body); got != body {
					t.Errorf("read and written again:\n got %s\nwant %s", got, body)
				}
			})
		}
	}
}
