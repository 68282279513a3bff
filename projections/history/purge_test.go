package history_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
	"parley/projections/history"
	"parley/projections/projectionstest"
)

// What a purge names is gone and what a hold kept from it stays, read one by one or in one batch, with and without the texts
// in the log. An imported message has the time and the author of its archive.
func TestPurged(t *testing.T) {
	l := projectionstest.NewLog(t)
	text := func(h *history.History) string {
		t.Helper()
		ms, err := h.Messages("r", 0, math.MaxUint64)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, m := range ms {
			out = append(out, fmt.Sprint(m.ID, m.Text))
		}
		return fmt.Sprint(out)
	}
	say := func(id uint64, by event.Principal, text string) event.Draft {
		return event.Draft{Meta: event.Meta{By: by, Room: "r"}, Event: &event.Posted{MessageID: id, Text: text}}
	}
	purge := func(first, last event.MessageRef, until event.Time, keeps ...event.Keep) event.Draft {
		return event.Draft{Meta: event.Meta{By: "node:n1", Room: "r"}, Event: &event.MessagesPurged{First: first, Last: last, Until: until, Keeps: keeps, Days: 1}}
	}
	ref := func(id uint64, o event.Offset) event.MessageRef { return event.MessageRef{MessageID: id, Offset: o} }
	_, early, run := open(t, vfs.NewMem(), l)
	for i, s := range []struct {
		add  []event.Draft
		want string
	}{
		{[]event.Draft{say(1, "sip:a@x", "a"), say(2, "sip:b@x", "b"), say(3, "sip:a@x", "c"), say(4, "sip:a@x", "d"),
			{Meta: event.Meta{By: "admin:root", Room: "r"}, Event: &event.MessageImported{MessageID: 9, Author: "sip:b@x", PostedAt: 5, Text: "old"}}}, "[1a 2b 3c 4d 9old]"},
		{[]event.Draft{purge(ref(1, 1), ref(3, 3), math.MaxInt64, event.Keep{Hold: "h", Authors: []event.Principal{"sip:b@x"}})}, "[2b 4d 9old]"},
		{[]event.Draft{purge(ref(1, 1), ref(9, 5), 5)}, "[2b 4d]"},                                                    // only the imported one is so old
		{[]event.Draft{purge(ref(1, 4), ref(9, 5), math.MaxInt64)}, "[2b]"},                                           // by offset the second is before it
		{[]event.Draft{purge(ref(9, 1), ref(1, 9), math.MaxInt64)}, "[2b]"},                                           // an empty range
		{[]event.Draft{purge(ref(1, 1), ref(9, 5), math.MaxInt64, event.Keep{Hold: "h", First: 2, Last: 2})}, "[2b]"}, // kept by its place
		{[]event.Draft{say(10, "sip:a@x", "e"), purge(ref(1, 1), ref(9, 5), math.MaxInt64)}, "[10e]"},
	} {
		projectionstest.Wait(t, run, l.Add(s.add...))
		if got := text(early); got != s.want {
			t.Errorf("after step %d: %s, want %s", i, got, s.want)
		}
	}
	for _, erased := range []bool{false, true} {
		if erased {
			if n, err := l.Erase(context.Background(), l.Head().Offset); err != nil || n != 5 {
				t.Fatal(n, err)
			}
		}
		_, late, lateRun := open(t, vfs.NewMem(), l)
		projectionstest.Wait(t, lateRun, l.Head().Offset)
		if got := text(late); got != "[10e]" {
			t.Errorf("from nothing, erased %v: %s", erased, got)
		}
	}
}
