package compliance

import (
	"testing"

	"parley/log/event"
)

// TestPurgedBefore: a purge takes what it names of what came before it, and leaves what a hold kept.
func TestPurgedBefore(t *testing.T) {
	g := &gone{clears: map[event.RoomID][]clear{}, purges: map[event.RoomID][]purge{}}
	g.add(&event.Envelope{Offset: 20, Meta: event.Meta{Room: "r"}, Event: &event.MessagesPurged{First: event.MessageRef{MessageID: 1, Offset: 1},
		Last: event.MessageRef{MessageID: 30, Offset: 30}, Until: 100, Keeps: []event.Keep{{Hold: "case", Authors: []event.Principal{"sip:held@x"}}}}})
	for _, c := range []struct {
		room   event.RoomID
		offset event.Offset
		at     event.Time
		by     event.Principal
		want   bool
	}{
		{"r", 5, 5, "sip:a@x", true},
		{"r", 5, 101, "sip:a@x", false},
		{"r", 5, 5, "sip:held@x", false},
		{"r", 21, 5, "sip:a@x", false},
		{"other", 5, 5, "sip:a@x", false},
	} {
		e := &event.Envelope{Offset: c.offset, At: c.at, Meta: event.Meta{Room: c.room, By: c.by}, Event: &event.Posted{MessageID: uint64(c.offset), Text: "x"}}
		if got := g.has(e); got != c.want {
			t.Errorf("%+v: gone %t", c, got)
		}
	}
}
