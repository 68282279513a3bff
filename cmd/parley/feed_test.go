package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"parley/webfront/admin"
)

// TestReceiver: the files of a cut appear when it has ended and is what its receipt says, and never outside the directory.
func TestReceiver(t *testing.T) {
	line := func(f admin.FeedFile) []byte {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	piece := func(name, data string) []byte {
		return line(admin.FeedFile{File: name, Data: base64.StdEncoding.EncodeToString([]byte(data))})
	}
	end := func(name, content string) []byte {
		return line(admin.FeedFile{First: 1, Last: 9, Name: name, Bytes: uint64(len(content)), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(content)))})
	}
	run := func(lines ...[]byte) (files []string, cuts int, err error) {
		dir := filepath.Join(t.TempDir(), "out")
		rc := receiver{dir: dir, archive: map[string][]byte{}, each: func(replayedCut) error { cuts++; return nil }}
		for _, l := range lines {
			if err = rc.line(l); err != nil {
				break
			}
		}
		names, _ := os.ReadDir(dir)
		for _, n := range names {
			files = append(files, n.Name())
		}
		return files, cuts, err
	}
	if files, cuts, err := run(piece("f.x", "one "), piece("f.x", "two"), piece("g.x", "three"), end("f.x", "one two"), line(admin.FeedFile{First: 10, Last: 11}), line(admin.FeedFile{Ended: true})); err != nil ||
		fmt.Sprint(files, cuts) != "[f.x g.x] 2" {
		t.Errorf("%v, %d, %v", files, cuts, err)
	}
	for name, lines := range map[string][][]byte{
		"other bytes":   {piece("f.x", "one"), end("f.x", "two")},
		"missing file":  {end("f.x", "")},
		"outside":       {piece("../f.x", "one")},
		"hidden":        {piece(".f.x", "one")},
		"no line":       {[]byte("x")},
		"an empty line": {line(admin.FeedFile{})},
	} {
		if files, cuts, err := run(lines...); err == nil || len(files) > 0 || cuts > 0 {
			t.Errorf("%s: %v, %d, %v", name, files, cuts, err)
		}
	}
	if files, _, err := run(piece("f.x", "one")); err != nil || len(files) > 0 {
		t.Errorf("a cut that did not end: %v, %v", files, err)
	}
}

// feeds sets feeds on a real pool: they deliver, every node says so, and any node replays what they wrote, byte for byte.
func feeds(t *testing.T, dir string) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "archive")
	for name, adapter := range map[string]string{"lines": "jsonl", "mail": "eml"} {
		parley(t, 1, "--dir", dir, "feed", "set", name, "--adapter", adapter, "--option", "dir="+archive, "--option", "colour=red")
		parley(t, 0, "--dir", dir, "feed", "set", name, "--adapter", adapter, "--option", "dir="+archive, "--every", "1s")
	}
	page := filepath.Join("..", "..", "compliance", "lyncxml", "testdata", "templates", "page.html.tmpl")
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("{{.Nothing}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	pages := []string{"--dir", dir, "feed", "set", "pages", "--adapter", "lyncxml", "--option", "dir=" + archive, "--option", "extension=html", "--option", "one_room_per_file=true", "--every", "1s"}
	parley(t, 1, append(pages, "--template", bad)...)
	parley(t, 1, "--dir", dir, "feed", "set", "lines", "--template", page) // jsonl takes none
	parley(t, 0, append(pages, "--template", page)...)
	parley(t, 1, "--dir", dir, "feed", "set", "lyncxml", "--adapter", "jsonl", "--option", "dir="+archive) // it is in the files
	for _, name := range []string{"lines", "mail", "lyncxml", "pages"} {
		for _, node := range []string{"n1", "n2", "n3"} {
			until(t, "feed "+name+" has nothing left, says "+node, func() bool {
				var f admin.Feed
				if err := json.Unmarshal([]byte(parley(t, 0, "--dir", dir, "--server", node, "feed", "status", name, "--json")), &f); err != nil {
					t.Fatal(err)
				}
				return f.Offset > 0 && f.Backlog == 0 && f.State == "waiting" && f.LastError == "" && f.Owner != ""
			})
		}
		out := filepath.Join(t.TempDir(), "replay")
		parley(t, 0, "--dir", dir, "--server", "n3", "feed", "replay", name, "--out", out)
		again, err := os.ReadDir(out)
		if err != nil || len(again) == 0 {
			t.Fatalf("replay of %s: %d files, %v", name, len(again), err)
		}
		wrote := archive
		if name == "lyncxml" {
			wrote = filepath.Join(dir, "compliance")
		}
		for _, f := range again {
			got, err1 := os.ReadFile(filepath.Join(out, f.Name()))
			want, err2 := os.ReadFile(filepath.Join(wrote, f.Name()))
			if err1 != nil || err2 != nil || string(got) != string(want) {
				t.Errorf("%s was replayed with other bytes: %d and %d, %v %v", f.Name(), len(got), len(want), err1, err2)
			}
		}
	}
	if made, err := filepath.Glob(filepath.Join(archive, "pages-*-*-*.html")); err != nil || len(made) == 0 {
		t.Errorf("no pages were made: %v", err)
	}
	parley(t, 0, "--dir", dir, "feed", "rm", "pages", "--force")
	parley(t, 0, "--dir", dir, "feed", "rm", "mail", "--force")
	parley(t, 0, "--dir", dir, "feed", "rm", "lines", "--force")
}
