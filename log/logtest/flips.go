package logtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log"
	"parley/log/event"
)

// flips changes one bit in a file of a small closed log, for every byte of every file, and opens it. Allowed is
//
//   - damage, reported as event.ErrCorrupt by Open or Verify, and then whatever can still be read is as it was written;
//   - the same content, bit for bit: the byte did not matter;
//   - an earlier state of this very log that breaks the node's promise (FORMAT.md section 6): a shorter log or a lower mark. The
//     node keeps its promise elsewhere and sees that.
//
// A suffix that was truncated and is back breaks the promise too, but one flipped bit should not do that; nor should it bring back a body
// that was erased, for its bytes are in no file. Anything else would be wrong data.
func flips(t *testing.T, open Open) {
	for name, drawing := range map[string]string{
		"write-ahead log": "n a2 c a v c",
		"tables":          "n a2 c a v c r a c r",
		"conflict":        "a4 c2 r t4 + a2 c r a",
		"resurrection":    "a6 c2 r t4 + a",
		"erasure":         "a3 c m c e a c",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flipAll(t, open, drawing)
		})
	}
}

func flipAll(t *testing.T, open Open, drawing string) {
	r := newRun(open, 1)
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	history := []*model{r.m.clone()}
	for _, w := range strings.Fields(drawing) {
		if err := r.step(w); err != nil {
			t.Fatal(err)
		}
		history = append(history, r.m.clone())
	}
	if err := r.l.Close(); err != nil {
		t.Fatal(err)
	}
	whole := files(t, r.fs, r.dir)
	counts := make(map[string]int)
	for _, path := range slices.Sorted(maps.Keys(whole)) {
		size := len(whole[path])
		step := 1
		switch {
		case *allFlag:
		case sampled():
			step = 1 + size/40
		case strings.Contains(path, "OPTIONS"):
			step = 8 // settings as text, the same in each story
		}
		for at := 0; at < size; at += step {
			for bit := range 8 {
				if !*allFlag && bit != (at/step)%8 {
					continue
				}
				// Now and then as a node would open it, which replays and rewrites.
				o := r.opts
				o.ReadOnly = (at/step)%4 != 0
				outcome, err := flip(open, whole, path, at, bit, o, r, history)
				if err != nil {
					t.Errorf("%s, byte %d of %d, bit %d, read-only %v: %v", path, at, size, bit, o.ReadOnly, err)
				}
				counts[outcome]++
			}
		}
	}
	t.Logf("%d files: %v", len(whole), counts)
	if n := counts["another term"]; n > 0 {
		t.Errorf("%d flips brought a truncated suffix back", n)
	}
	if n := counts["not erased"]; n > 0 {
		t.Errorf("%d flips brought an erased body back", n)
	}
	if counts["damage"] == 0 {
		t.Error("no flipped bit was ever found: the test does not test")
	}
}

func flip(open Open, whole map[string]string, path string, at, bit int, o log.Options, r *run, history []*model) (outcome string, err error) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll(r.dir, 0o755); err != nil {
		return "", err
	}
	for p, content := range whole {
		b := []byte(content)
		if p == path {
			b[at] ^= 1 << bit
		}
		f, err := fs.Create(p, vfs.WriteCategoryUnspecified)
		if err != nil {
			return "", err
		}
		_, err = f.Write(b)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	l, err := open(fs, r.dir, o)
	if err != nil {
		return "damage", mustBeDamage("open", err)
	}
	defer func() {
		// Closing a damaged store may report the damage once more.
		if e := l.Close(); e != nil && outcome != "damage" {
			err = errors.Join(err, fmt.Errorf("close: %w", e))
		}
	}()
	verified := l.Verify(context.Background(), 0, 0, nil)
	if err := mustBeDamage("verify", verified); err != nil {
		return "damage", err
	}
	if verified != nil {
		return "damage", onlyTruth(l, history)
	}
	now := history[len(history)-1]
	var wrong error
	for _, m := range slices.Backward(history) {
		if wrong = m.check(l); wrong != nil {
			continue
		}
		if m.last() < now.last() {
			return "shorter", nil
		}
		sameEnd := now.last() == 0 || m.records[now.last()-1].Term == now.records[now.last()-1].Term
		switch {
		case m.head.Offset >= now.removals && len(m.erased) < len(now.erased):
			return "not erased", nil
		case m.last() == now.last() && sameEnd && m.head == now.head:
			return "same", nil
		case !sameEnd:
			return "another term", nil
		case m.head.Index < now.head.Index:
			return "lower mark", nil
		}
		return "", errors.New("it is an earlier state that keeps the promise")
	}
	// Earlier states between words: a commit without the next append, and so on, are prefixes that were not snapshot.
	return "", fmt.Errorf("it verifies, but is no state that ever was: %w", wrong)
}

func mustBeDamage(what string, err error) error {
	if err != nil && !errors.Is(err, event.ErrCorrupt) {
		return fmt.Errorf("%s: %w is not of class ErrCorrupt", what, err)
	}
	return nil
}

// onlyTruth reads what a damaged log still gives: each record and each event is one that was written there, or an error of
// class ErrCorrupt.
func onlyTruth(l *log.Log, history []*model) error {
	for i := event.Index(1); i <= l.LastIndex(); i++ {
		got, err := l.Record(i)
		if err != nil {
			if !errors.Is(err, event.ErrCorrupt) {
				return err
			}
			continue
		}
		known := slices.ContainsFunc(history, func(m *model) bool {
			return i <= m.last() && equalRecord(got, m.records[i-1]) == nil
		})
		if !known {
			return fmt.Errorf("record %d was never written: %+v", i, got)
		}
	}
	want := history[len(history)-1].events()
	for o := event.Offset(1); o <= l.Head().Offset; o++ {
		got, err := l.Read(o, 1)
		if err != nil {
			if !errors.Is(err, event.ErrCorrupt) {
				return err
			}
			continue
		}
		if o > event.Offset(len(want)) {
			return fmt.Errorf("event %d was never written", o)
		}
		if err := equalEvents(got, want[o-1:o]); err != nil {
			return err
		}
	}
	return nil
}
