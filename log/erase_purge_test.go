package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

func (w *talk) say(room event.RoomID, by event.Principal, text string) {
	w.t.Helper()
	w.batch(event.Draft{Meta: event.Meta{Room: room, By: by}, Event: &event.Posted{MessageID: uint64(w.base) + 1, Text: text}})
}

func (w *talk) purge(room event.RoomID, p event.MessagesPurged) {
	w.t.Helper()
	p.First.MessageID, p.Last.MessageID = uint64(p.First.Offset), uint64(p.Last.Offset)
	w.batch(event.Draft{Meta: event.Meta{Room: room}, Event: &p})
}

func ref(o event.Offset) event.MessageRef { return event.MessageRef{Offset: o} }

// TestErasePurge: a purge takes the messages of its room, range and time that nothing keeps, and no others.
func TestErasePurge(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	for i, by := range []event.Principal{"sip:a@x", "sip:b@x", "sip:a@x", "sip:c@x", "sip:a@x", "sip:b@x"} {
		room := event.RoomID("r1")
		if i == 3 {
			room = "r2"
		}
		w.say(room, by, fmt.Sprint("m", i+1))
	}
	keep := []event.Keep{{Hold: "h", Authors: []event.Principal{"sip:b@x"}}}
	w.purge("r1", event.MessagesPurged{First: ref(2), Last: ref(5), Until: 100, Keeps: keep})
	w.erase(2)
	if got := w.texts(); got != "m1 m2 - m4 - m6" {
		t.Errorf("from 2 to 5, but of b: %s", got)
	}
	w.purge("r1", event.MessagesPurged{First: ref(1), Last: ref(6), Until: 2})
	w.erase(2)
	if got := w.texts(); got != "- - - m4 - m6" {
		t.Errorf("up to time 2, nothing kept: %s", got)
	}
	w.verified(Verified{Erased: 4})
	w.purge("r1", event.MessagesPurged{First: ref(5), Last: ref(3), Until: 100}) // an empty range
	w.purge("r1", event.MessagesPurged{First: ref(1), Last: ref(1 << 40), Until: 100})
	w.say("r1", "sip:a@x", "later")
	w.erase(1)
	if got := w.texts(); got != "- - - m4 - - later" {
		t.Errorf("a range beyond the purge takes nothing that comes after it: %s", got)
	}
	w.verified(Verified{Erased: 5})
	for from := event.Offset(1); from <= w.l.Head().Offset; from++ {
		if _, err := w.l.Inspect(context.Background(), from, from, nil); err != nil {
			t.Errorf("event %d: %v", from, err)
		}
	}
}

// TestPurgeKeepsAreNoReason: the body of a message that a hold kept from the purge is missed when somebody empties it.
func TestPurgeKeepsAreNoReason(t *testing.T) {
	w := &talk{t: t, l: memLog(t, Options{})}
	w.say("r", "sip:a@x", "gone")
	w.say("r", "sip:b@x", "kept")
	w.purge("r", event.MessagesPurged{First: ref(1), Last: ref(2), Until: 100, Keeps: []event.Keep{{Hold: "h", Authors: []event.Principal{"sip:b@x"}}}})
	w.erase(1)
	w.verified(Verified{Erased: 1})
	row, bodies, err := w.l.readRows(w.l.db, 2)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := event.Erase(row.head, bodies, []int{0})
	if err != nil {
		t.Fatal(err)
	}
	key := entryKey(2, partBody)
	if err := w.l.db.Set(key, bodyRow(key, row.term, out), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if _, err := w.l.Inspect(context.Background(), 0, 0, nil); !errors.Is(err, event.ErrCorrupt) || !strings.Contains(err.Error(), "event 2 has lost its body") {
		t.Errorf("a kept message was emptied: %v", err)
	}
}

// TestErasePurgeModel: random conversations, purges, removals and clears, carried out now and then, leave what a look at
// each message for each of them leaves.
func TestErasePurgeModel(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := &talk{t: t, l: memLog(t, Options{})}
		type said struct {
			room event.RoomID
			by   event.Principal
			at   event.Time
			text string
			o    event.Offset
			gone bool
		}
		var all []said
		pick := func(n int) event.Offset { return event.Offset(1 + rng.IntN(n)) }
		erased := uint64(0)
		for range 120 {
			room, by := event.RoomID(fmt.Sprint("r", rng.IntN(3))), event.Principal(fmt.Sprintf("sip:%c@x", 'a'+rng.IntN(3)))
			n := int(w.base) + 1
			switch k := rng.IntN(20); {
			case k < 12:
				text := fmt.Sprint("m", n)
				w.say(room, by, text)
				all = append(all, said{room: room, by: by, at: w.at, text: text, o: w.base})
			case k < 14: // imported, of another time than its offset's
				at := event.Time(1 + rng.IntN(100))
				w.batch(event.Draft{Meta: event.Meta{Room: room}, Event: &event.MessageImported{MessageID: uint64(n), Author: by, PostedAt: at, Text: "i"}})
				all = append(all, said{room: room, by: by, at: at, text: "i", o: w.base})
			case k < 17:
				p := event.MessagesPurged{First: ref(pick(n)), Last: ref(pick(2 * n)), Until: event.Time(rng.IntN(n + 5))}
				for range rng.IntN(3) {
					keep := event.Keep{Hold: "h", First: pick(n)}
					if rng.IntN(2) == 0 {
						keep.Authors = []event.Principal{by}
					}
					if rng.IntN(2) == 0 {
						keep.From = event.Time(pick(n))
					}
					if rng.IntN(2) == 0 {
						keep.To = event.Time(pick(n))
					}
					if rng.IntN(2) == 0 {
						keep.Last = pick(n)
					}
					p.Keeps = append(p.Keeps, keep)
				}
				w.purge(room, p)
				for i := range all {
					m := &all[i]
					kept := slices.ContainsFunc(p.Keeps, func(k event.Keep) bool {
						return m.o >= k.First && (k.Last == 0 || m.o <= k.Last) && (k.From == 0 || m.at >= k.From) && (k.To == 0 || m.at <= k.To) &&
							(len(k.Authors) == 0 || slices.Contains(k.Authors, m.by))
					})
					if m.room == room && m.o >= p.First.Offset && m.o <= p.Last.Offset && m.at <= p.Until && !kept {
						m.gone = true
					}
				}
			case k < 18:
				until := event.Time(1 + rng.IntN(n))
				w.clear(room, until)
				for i := range all {
					all[i].gone = all[i].gone || all[i].room == room && all[i].at <= until
				}
			default:
				if _, err := w.l.Erase(t.Context(), w.l.Head().Offset); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := w.l.Erase(t.Context(), w.l.Head().Offset); err != nil {
			t.Fatal(err)
		}
		run, err := w.l.Read(1, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			v, _ := event.MessageOf(&run[m.o-1])
			if m.gone {
				erased++
			}
			if gone := run[m.o-1].Erased; gone != m.gone || !gone && v.Text != m.text {
				t.Fatalf("seed %d: message %d of %s by %s at %d: erased %v, want %v", seed, m.o, m.room, m.by, m.at, gone, m.gone)
			}
		}
		w.verified(Verified{Erased: erased})
	}
}
