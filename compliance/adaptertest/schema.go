package adaptertest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"parley/log/event"
)

// Schema is an XML schema file and a validator that nobody here wrote: xmllint of libxml2.
type Schema struct {
	tool, file, dir string
}

// NewSchema returns a schema with a text. Where there is no xmllint the test is skipped, but not in CI: `make test` installs it.
func NewSchema(t *testing.T, text []byte) *Schema {
	t.Helper()
	tool, err := exec.LookPath("xmllint")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI needs xmllint (Debian: libxml2-utils): %v", err)
		}
		t.Skipf("no xmllint (Debian: libxml2-utils): %v", err)
	}
	s := &Schema{tool: tool, dir: t.TempDir()}
	s.file = filepath.Join(s.dir, "schema.xsd")
	if err := os.WriteFile(s.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Valid reports whether a document is valid, and what the validator says of it.
func (s *Schema) Valid(t *testing.T, doc string) (bool, string) {
	t.Helper()
	file := filepath.Join(s.dir, "document.xml")
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), s.tool, "--noout", "--nonet", "--huge", "--schema", s.file, file)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	code := cmd.ProcessState.ExitCode()
	if err != nil && code != 1 && code != 3 { // 1: not well-formed, 3: not valid; 5 and others: the schema or the tool is wrong
		t.Fatalf("xmllint: %v: %s", err, out.Bytes())
	}
	return err == nil, out.String()
}

// Scenes delivers everything that the scenes have with an adapter, in a few cuts, and returns the files.
func Scenes(t *testing.T, make New) map[string]string {
	t.Helper()
	w, m := Scene()
	Late(w)
	d := NewDisk()
	for _, c := range [][2]event.Offset{{m.Directory + 1, m.Talk}, {m.Talk + 1, m.Restarted}, {m.Directory + 1, w.Head()}} {
		cut, run := Cut(t, w, "scene", c[0], c[1])
		if _, err := make(d, Dir, "n1").Deliver(t.Context(), cut, run); err != nil {
			t.Fatal(err)
		}
	}
	return d.Files(Dir)
}
