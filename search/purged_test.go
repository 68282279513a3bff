package search

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/log/event"
	"parley/projections/projectionstest"
)

// TestPurgedIsNotFound: what a purge names is not found, what a hold kept from it is, whether the index reads it in one run
// or later, and whether the log still has the text or not.
func TestPurgedIsNotFound(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	l := projectionstest.NewLog(t)
	early := start(t, t.TempDir(), l)
	authors := []event.Principal{"sip:a@x", "sip:b@x", "sip:c@x"}
	type msg struct {
		room event.RoomID
		by   event.Principal
		ref  event.MessageRef
		at   event.Time
		gone bool
	}
	var all []msg
	ids := map[event.RoomID]uint64{}
	for range 12 {
		var drafts []event.Draft
		for range 15 {
			room, by := event.RoomID(fmt.Sprint("r", rng.IntN(2))), authors[rng.IntN(3)]
			ids[room]++
			drafts = append(drafts, say(room, by, ids[room], "word"))
			all = append(all, msg{room: room, by: by, ref: event.MessageRef{MessageID: ids[room]}})
		}
		last := l.Add(drafts...)
		for i := range drafts {
			m := &all[len(all)-1-i]
			m.ref.Offset, m.at = last-event.Offset(i), l.Head().At
		}
		some := func() *msg { return &all[rng.IntN(len(all))] }
		p := event.MessagesPurged{First: some().ref, Last: some().ref, Until: some().at}
		if rng.IntN(4) == 0 {
			p = event.MessagesPurged{First: event.MessageRef{MessageID: 1, Offset: 1}, Last: event.MessageRef{MessageID: math.MaxInt64, Offset: last}, Until: some().at}
		}
		for range rng.IntN(3) {
			k := event.Keep{Hold: "h", First: some().ref.Offset}
			if rng.IntN(2) == 0 {
				k.Authors = authors[1:]
			}
			if rng.IntN(2) == 0 {
				k.From = some().at
			}
			if rng.IntN(2) == 0 {
				k.To = some().at
			}
			if rng.IntN(2) == 0 {
				k.Last = some().ref.Offset
			}
			p.Keeps = append(p.Keeps, k)
		}
		room := some().room
		l.Add(event.Draft{Meta: event.Meta{By: "node:n1", Room: room}, Event: &p})
		for i := range all {
			m := &all[i]
			m.gone = m.gone || m.room == room && p.Names(m.ref, m.by, m.at)
		}
		projectionstest.Wait(t, early, l.Head().Offset)
		if got, want := found(t, early, "word"), left(all, func(m msg) bool { return !m.gone }, func(m msg) event.Offset { return m.ref.Offset }); got != want {
			t.Fatalf("after purge %+v of %s:\nfound %s\nwant  %s", p, room, got, want)
		}
	}
	want := found(t, early, "word")
	gone := len(all) - len(slices.DeleteFunc(slices.Clone(all), func(m msg) bool { return m.gone }))
	if gone < 10 || gone == len(all) {
		t.Fatalf("%d of %d messages are gone: the test does not test", gone, len(all))
	}
	for _, erased := range []bool{false, true} {
		if erased {
			if n, err := l.Erase(context.Background(), l.Head().Offset); err != nil || n != gone {
				t.Fatal(n, err)
			}
		}
		late := start(t, t.TempDir(), l) // all in one run
		projectionstest.Wait(t, late, l.Head().Offset)
		if got := found(t, late, "word"); got != want {
			t.Errorf("from nothing, erased %v: %s, want %s", erased, got, want)
		}
	}
}

// left prints the offsets of what is left, newest first, as found does.
func left[T any](all []T, keep func(T) bool, offset func(T) event.Offset) string {
	var out []event.Offset
	for _, m := range slices.Backward(all) {
		if keep(m) {
			out = append(out, offset(m))
		}
	}
	return fmt.Sprint(out)
}
