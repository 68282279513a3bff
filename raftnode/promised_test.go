package raftnode

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"parley/log"
	"parley/log/event"
)

func TestPromisedIsReadWithoutWriting(t *testing.T) {
	dir := t.TempDir()
	if _, err := Promised(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	file := filepath.Join(dir, "raft.db")
	b, err := openBolt(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newStableStore(b, time.Minute, func(err error) { t.Error(err) })
	want := Promise{Last: 42, Term: 7, Mark: log.Head{Index: 40, Offset: 99, Chain: event.Chain{3, 31: 4}, At: -5}}
	if err := s.setPromise(want); err != nil {
		t.Fatal(err)
	}
	if _, err := Promised(dir); err == nil || errors.Is(err, event.ErrCorrupt) {
		t.Errorf("in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Promised(dir); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	after, err := os.ReadFile(file)
	if err != nil || string(after) != string(before) {
		t.Errorf("reading changed the file (%v)", err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"cut off":   func(b []byte) []byte { return b[:100] },
		"empty":     func([]byte) []byte { return nil },
		"bad pages": func(b []byte) []byte { clear(b[:8192]); return b },
	} {
		if err := os.WriteFile(file, damage(append([]byte(nil), before...)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Promised(dir); !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
