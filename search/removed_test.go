package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/blevesearch/bleve/v2"

	"parley/log/event"
	"parley/projections"
	"parley/projections/projectionstest"
)

func removal(room event.RoomID, r event.MessagesRemoved) event.Draft {
	return event.Draft{Meta: event.Meta{By: "admin:root", Room: room}, Event: &r}
}

// found returns the offsets of the messages with a word, newest first.
func found(t *testing.T, s *Search, word string) string {
	t.Helper()
	hits, err := s.Messages(context.Background(), MessageQuery{Text: word, Limit: MaxMessages}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []event.Offset
	for _, h := range hits {
		out = append(out, h.Offset)
	}
	return fmt.Sprint(out)
}

// A removed message is not found, whether its removal is read in one run with it or later, and whether the log still
// has its text or not.
func TestRemovedIsNotFound(t *testing.T) {
	l := projectionstest.NewLog(t)
	early := start(t, t.TempDir(), l)
	ref := func(id uint64, o event.Offset) event.MessageRef { return event.MessageRef{MessageID: id, Offset: o} }
	var between event.Time
	for i, step := range []struct {
		add  func() []event.Draft
		want string
	}{
		{func() []event.Draft {
			return []event.Draft{say("r1", "sip:a@x", 1, "word"), say("r1", "sip:a@x", 2, "word"), say("r2", "sip:a@x", 1, "word"), say("r1", "sip:a@x", 3, "word")}
		}, "[4 3 2 1]"},
		{func() []event.Draft {
			return []event.Draft{removal("r1", event.MessagesRemoved{Messages: []event.MessageRef{ref(2, 2)}, Replaced: true, Text: "word"})}
		}, "[4 3 1]"},
		{func() []event.Draft { between = l.Head().At; return []event.Draft{say("r1", "sip:a@x", 4, "word")} }, "[6 4 3 1]"},
		{func() []event.Draft {
			return []event.Draft{say("r1", "sip:a@x", 5, "word"), removal("r1", event.MessagesRemoved{Until: between}), say("r1", "sip:a@x", 6, "word")}
		}, "[9 7 6 3]"},
		{func() []event.Draft {
			return []event.Draft{say("r1", "sip:a@x", 7, "word"), removal("r1", event.MessagesRemoved{Until: math.MaxInt64}), say("r1", "sip:a@x", 8, "word")}
		}, "[12 3]"},
		{func() []event.Draft {
			return []event.Draft{removal("r2", event.MessagesRemoved{Until: -1}), removal("r2", event.MessagesRemoved{}),
				removal("r1", event.MessagesRemoved{Messages: []event.MessageRef{ref(1, 1), ref(2, 2)}})} // again
		}, "[12 3]"},
	} {
		projectionstest.Wait(t, early, l.Add(step.add()...))
		if got := found(t, early, "word"); got != step.want {
			t.Errorf("after step %d: %s, want %s", i, got, step.want)
		}
	}
	for _, erased := range []bool{false, true} {
		if erased {
			if n, err := l.Erase(context.Background(), l.Head().Offset); err != nil || n != 7 {
				t.Fatal(n, err)
			}
			if err := early.Rebuild(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			if got := found(t, early, "word"); got != "[12 3]" {
				t.Errorf("rebuilt from an erased log: %s", got)
			}
		}
		late := start(t, t.TempDir(), l) // all in one run
		projectionstest.Wait(t, late, l.Head().Offset)
		if got := found(t, late, "word"); got != "[12 3]" {
			t.Errorf("from nothing, erased %v: %s", erased, got)
		}
	}
}

// More than a page of documents.
func TestRemovedRoom(t *testing.T) {
	l := projectionstest.NewLog(t)
	s := start(t, t.TempDir(), l)
	for i := 0; i < removePage+500; i += 500 {
		var drafts []event.Draft
		for k := range 500 {
			drafts = append(drafts, say("r", "sip:a@x", uint64(i+k+1), "word"))
		}
		l.Add(drafts...)
	}
	projectionstest.Wait(t, s, l.Add(removal("r", event.MessagesRemoved{Until: math.MaxInt64}), say("r", "sip:a@x", 1_000_000, "word")))
	if got := found(t, s, "word"); got != fmt.Sprintf("[%d]", l.Head().Offset) {
		t.Errorf("found %.100s", got)
	}
}

// A removal that names another message stops the index, and takes nothing out.
func TestBrokenRemoval(t *testing.T) {
	for name, r := range map[string]event.MessagesRemoved{
		"another message": {Messages: []event.MessageRef{{MessageID: 1, Offset: 1}, {MessageID: 1, Offset: 2}}},
		"another room":    {Messages: []event.MessageRef{{MessageID: 1, Offset: 3}}},
	} {
		l := projectionstest.NewLog(t)
		s := start(t, t.TempDir(), l)
		l.Add(say("r1", "sip:a@x", 1, "word"), say("r1", "sip:a@x", 2, "word"), say("r2", "sip:a@x", 1, "word"))
		l.Add(removal("r1", r))
		run := s.Runners()[1]
		<-run.Done()
		var f *projections.FoldError
		if !errors.As(run.Err(), &f) || f.Offset != 4 {
			t.Errorf("%s: stopped with %v", name, run.Err())
		}
		if got := found(t, s, "word"); got != "[3 2 1]" {
			t.Errorf("%s: found %s", name, got)
		}
	}
}

// After Purge the words of removed messages are in no segment of the index, also when all of it is one segment, and the
// segment files from before are gone.
func TestRemovedWordsLeaveTheFiles(t *testing.T) {
	l := projectionstest.NewLog(t)
	dir := t.TempDir()
	s := start(t, dir, l)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	purge := func() {
		t.Helper()
		before := files(t, s)
		if err := s.Purge(ctx, l.Head().Offset); err != nil {
			t.Fatal(err)
		}
		for _, name := range files(t, s) {
			if slices.Contains(before, name) {
				t.Errorf("segment file %s is still there", name)
			}
		}
	}
	for round := range 2 {
		var last event.Offset
		for k := range 12 {
			last = l.Add(say("r", "sip:a@x", uint64(l.Head().Offset)+1, fmt.Sprintf("secret%d kept%d", k, round)))
			projectionstest.Wait(t, s, last)
		}
		purge()
		for len(files(t, s)) > 1 { // Bleve drops the placeholder's segment: then it merges nothing by itself
			if ctx.Err() != nil {
				t.Fatal("the index does not come to rest")
			}
			time.Sleep(5 * time.Millisecond)
		}
		l.Add(removal("r", event.MessagesRemoved{Messages: []event.MessageRef{{MessageID: uint64(last), Offset: last}}}))
		if round == 1 {
			l.Add(removal("r", event.MessagesRemoved{Until: math.MaxInt64}), say("r", "sip:a@x", 1000, "last"))
		}
		projectionstest.Wait(t, s, l.Head().Offset)
		if round == 0 && !slices.Contains(terms(t, s), "secret11") { // of an empty segment Bleve lets go by itself
			t.Fatal("the word is in no segment: the test does not test")
		}
		purge()
		got := terms(t, s)
		if slices.Contains(got, "secret11") || round == 0 && !slices.Contains(got, "secret10") || round == 1 && fmt.Sprint(got) != "[last]" {
			t.Errorf("round %d: words of the segments are %v", round, got)
		}
	}
	if got := found(t, s, "last"); got != fmt.Sprintf("[%d]", l.Head().Offset) {
		t.Errorf("what was kept is %s", got)
	}
	if n, err := s.messages.documents(); err != nil || n != 1 {
		t.Errorf("%d documents, %v, want 1", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.messages.purge(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// deaf is an index that was closed while something was to be written: what asks for a call back is never called.
type deaf struct {
	bleveIndex
	asked chan struct{}
}

type bleveIndex = bleve.Index

func (d *deaf) Batch(*bleve.Batch) error { close(d.asked); return nil }

// An index that is exchanged during a purge is left, and the new one is purged.
func TestPurgeWhileExchanged(t *testing.T) {
	l := projectionstest.NewLog(t)
	s := start(t, t.TempDir(), l)
	projectionstest.Wait(t, s, l.Add(say("r", "sip:a@x", 1, "kept")))
	i := s.messages
	old := &deaf{i.b, make(chan struct{})}
	use := func(b bleve.Index) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.b = b
	}
	use(old)
	done := make(chan error, 1)
	go func() { done <- i.purge(t.Context()) }()
	<-old.asked
	use(old.bleveIndex)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the purge waits for an index that is gone")
	}
}

// files returns the segment files of the message index.
func files(t *testing.T, s *Search) []string {
	t.Helper()
	out, err := segments(filepath.Join(s.messages.path(s.messages.number), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// terms returns the words that segments have, also those of deleted documents only.
func terms(t *testing.T, s *Search) (out []string) {
	t.Helper()
	d, err := s.messages.b.FieldDict(fieldText)
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		out = append(out, e.Term)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}
