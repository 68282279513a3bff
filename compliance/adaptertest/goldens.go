package adaptertest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"parley/log/event"
)

// Update is the flag with which goldens that are missing are written.
var Update = flag.Bool("update", false, "write goldens that do not exist yet; existing ones are never changed")

// Goldens compares what an adapter makes of the second scene with the files in testdata/golden. Archives out there have such
// bytes: a golden is added, never changed.
func Goldens(t *testing.T, make New) {
	w, m := Scene()
	Late(w)
	late := w.Head()
	Imported(w)
	d := NewDisk()
	for _, c := range []struct{ first, last event.Offset }{{m.Directory + 1, m.Talk}, {m.Talk + 1, m.Restarted}, {m.Quiet + 1, late}, {late + 1, w.Head()}} {
		cut, run := Cut(t, w, "golden", c.first, c.last)
		if _, err := make(d, Dir, "n1").Deliver(t.Context(), cut, run); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range d.Files(Dir) {
		path := filepath.Join("testdata", "golden", name)
		want, err := os.ReadFile(path)
		if os.IsNotExist(err) && *Update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v; add it with -update", err)
			continue
		}
		if content != string(want) {
			t.Errorf("the bytes of %s have changed; archives out there would not match. Got:\n%s", name, content)
		}
	}
}
