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
