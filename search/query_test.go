package search

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/projectionstest"
)

func TestRoomRelevance(t *testing.T) {
	l := projectionstest.NewLog(t)
	for _, r := range []struct{ id, name, description string }{
		{"ops", "Operations", "what runs and what does not"},
		{"devops", "DevOps", "builds"},
		{"opseu", "Ops Europe", "the nights"},
		{"lobby", "Lobby", "everyone; ask operations first"},
		{"cpp", "C++ Guild", ""},
		{"cinema", "Cinema", "films"},
		{"rnd", "R&D_Team-42", ""},
		{"aarhus", "ÅRHUS Øst", ""},
		{"re", "a.c (x|y) [z]* \\d", ""},
		{"abc", "abc", ""},
	} {
		l.Add(room(event.RoomID(r.id), r.name, r.description))
	}
	s := start(t, t.TempDir(), l)
	projectionstest.Wait(t, s, l.Head().Offset)
	for _, c := range []struct {
		text         string
		descriptions bool
		want         string
	}{
		{"", false, "[re abc cpp cinema devops lobby ops opseu rnd aarhus]"}, // by name, in any case
		{"", true, "[re abc cpp cinema devops lobby ops opseu rnd aarhus]"},
		{"  ", false, "[re abc cpp cinema devops lobby ops opseu rnd aarhus]"},
		{"operations", false, "[ops]"},
		{"OPERATIONS", false, "[ops]"},
		{"oper", false, "[ops]"},
		{"ops", false, "[opseu devops]"}, // a word's beginning before its inside
		{"op", false, "[ops opseu devops]"},
		{"ation", false, "[ops]"},
		{"operations", true, "[ops lobby]"}, // the name before the description
		{"lobby ask", false, "[]"},
		{"lobby ask", true, "[lobby]"}, // one word here, one there
		{"ask nights", true, "[]"},     // every word
		{"europe ops", false, "[opseu]"},
		{"ops eur", false, "[opseu]"},
		{"ops xyz", false, "[]"},
		{"c++", false, "[cpp]"}, // not every name with a c
		{"C+", false, "[cpp]"},
		{"r&d", false, "[rnd]"},
		{"team-42", false, "[rnd]"},
		{"42", false, "[rnd]"},
		{"århus", false, "[aarhus]"},
		{"ØST", false, "[aarhus]"},
		{"a.c", false, "[re]"}, // text, not a pattern
		{".*", false, "[]"},
		{"(x|y)", false, "[re]"},
		{"[z]*", false, "[re]"},
		{"\\d", false, "[re]"},
		{"*", false, "[re]"},
		{"film", true, "[cinema]"},
		{"ilm", true, "[cinema]"},
		{"film", false, "[]"},
	} {
		got, err := s.Rooms(context.Background(), Query{Text: c.text, Descriptions: c.descriptions}, nil)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("search %q (descriptions %v): %v, %v; want %s", c.text, c.descriptions, got, err, c.want)
		}
	}
	if _, err := s.Rooms(context.Background(), Query{Text: strings.Repeat("x", MaxQueryBytes+1)}, nil); !errors.Is(err, ErrInvalidQuery) {
		t.Errorf("long text: %v", err)
	}
	if got, err := s.Rooms(context.Background(), Query{Text: strings.Repeat("ops ", MaxQueryBytes/4)}, nil); err != nil || len(got) != 2 {
		t.Errorf("the same word often: %v, %v", got, err)
	}
	if got, err := s.Rooms(context.Background(), Query{Text: strings.Repeat("ä", MaxQueryBytes/2), Descriptions: true}, nil); err != nil || len(got) != 0 {
		t.Errorf("a long word: %v, %v", got, err)
	}
	many := ""
	for i := range maxWords + 1 {
		many += fmt.Sprintf("w%d ", i)
	}
	if _, err := s.Rooms(context.Background(), Query{Text: many}, nil); !errors.Is(err, ErrInvalidQuery) {
		t.Errorf("many words: %v", err)
	}
	if _, err := s.Messages(context.Background(), MessageQuery{Text: many}, nil); !errors.Is(err, ErrInvalidQuery) {
		t.Errorf("many words in messages: %v", err)
	}
}

func TestRoomsFollowTheirEvents(t *testing.T) {
	l := projectionstest.NewLog(t)
	s := start(t, t.TempDir(), l)
	check := func(o event.Offset, text, want string) {
		t.Helper()
		if err := s.WaitForRooms(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		got, err := s.Rooms(t.Context(), Query{Text: text, Descriptions: true}, nil)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("search %q at %d: %v, %v; want %s", text, o, got, err, want)
		}
	}
	o := l.Add(room("r1", "Old", "first"), room("r2", "Other", ""))
	check(o, "old", "[r1]")
	o = l.Add(event.Draft{Meta: event.Meta{Room: "r1"}, Event: &event.RoomChanged{Info: event.RoomInfo{Name: "New", Description: "second"}}})
	check(o, "old", "[]")
	check(o, "first", "[]")
	check(o, "new", "[r1]")
	check(o, "second", "[r1]")
	o = l.Add(event.Draft{Meta: event.Meta{Room: "r1"}, Event: &event.RoomRemoved{Name: "New"}})
	check(o, "new", "[]")
	check(o, "", "[r2]")
}

// TestRoomVisibilityAndLimits has more rooms than fit a page, of which few are visible.
func TestRoomVisibilityAndLimits(t *testing.T) {
	l := projectionstest.NewLog(t)
	const n = 1500
	var all []event.Draft
	for i := range n {
		all = append(all, room(event.RoomID(fmt.Sprintf("r%04d", i)), fmt.Sprintf("Team %04d", n-1-i), ""))
	}
	l.Add(all...)
	s := start(t, t.TempDir(), l)
	projectionstest.Wait(t, s, n)
	few := func(r event.RoomID) bool { return r == "r0000" || r == "r0700" || r == "r1499" }
	for _, text := range []string{"", "team", "ea"} {
		got, err := s.Rooms(t.Context(), Query{Text: text}, few)
		if err != nil || fmt.Sprint(got) != "[r1499 r0700 r0000]" {
			t.Errorf("search %q for three visible rooms: %v, %v", text, got, err)
		}
		got, err = s.Rooms(t.Context(), Query{Text: text, Limit: 2}, few)
		if err != nil || fmt.Sprint(got) != "[r1499 r0700]" {
			t.Errorf("search %q for two of them: %v, %v", text, got, err)
		}
		got, err = s.Rooms(t.Context(), Query{Text: text, Limit: MaxRooms + 1}, nil)
		if err != nil || len(got) != n || got[0] != "r1499" || !slices.IsSortedFunc(got, func(a, b event.RoomID) int { return strings.Compare(string(b), string(a)) }) {
			t.Errorf("search %q without a limit: %d rooms, %v", text, len(got), err)
		}
		got, err = s.Rooms(t.Context(), Query{Text: text}, func(event.RoomID) bool { return false })
		if err != nil || len(got) != 0 {
			t.Errorf("search %q with nothing visible: %v, %v", text, got, err)
		}
	}
}

func TestMessages(t *testing.T) {
	l := projectionstest.NewLog(t)
	var at []event.Time
	add := func(r event.RoomID, by event.Principal, text string) {
		o := l.Add(say(r, by, uint64(len(at)+1), text))
		run, err := l.Read(o, 1)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, run[0].At)
	}
	add("r1", "sip:alice@x", "the quick brown fox")       // 1
	add("r1", "sip:bob@x", "The BROWN dog is quick")      // 2
	add("r2", "sip:alice@x", "foxes are not one fox")     // 3
	add("r2", "sip:bob@x", "Grüße, über die Straße")      // 4
	add("r3", "sip:carol@x", "order 66, ticket ABC-1234") // 5
	l.Add(event.Draft{Meta: event.Meta{By: "sip:bob@x", Room: "r3"}, Event: &event.Posted{MessageID: 6, Text: "unlogged fox", Unlogged: true}})
	s := start(t, t.TempDir(), l)
	projectionstest.Wait(t, s, 6)
	for _, c := range []struct {
		name string
		q    MessageQuery
		want string // offsets, newest first
	}{
		{"one word", MessageQuery{Text: "fox"}, "[3 1]"},
		{"any case", MessageQuery{Text: "bRoWn"}, "[2 1]"},
		{"all words", MessageQuery{Text: "quick fox"}, "[1]"},
		{"any word", MessageQuery{Text: "quick fox", Match: AnyWord}, "[3 2 1]"},
		{"phrase", MessageQuery{Text: "quick brown", Match: Phrase}, "[1]"},
		{"phrase in the other order", MessageQuery{Text: "brown quick", Match: Phrase}, "[]"},
		{"phrase with punctuation", MessageQuery{Text: "ticket abc-1234", Match: Phrase}, "[5]"},
		{"part of a word", MessageQuery{Text: "fo"}, "[]"},
		{"umlauts", MessageQuery{Text: "GRÜSSE"}, "[]"}, // no folding of ß
		{"umlauts in any case", MessageQuery{Text: "ÜBER straße"}, "[4]"},
		{"one room", MessageQuery{Text: "fox", Rooms: []event.RoomID{"r2"}}, "[3]"},
		{"two rooms", MessageQuery{Text: "fox", Rooms: []event.RoomID{"r2", "r1", "r9"}}, "[3 1]"},
		{"no such room", MessageQuery{Text: "fox", Rooms: []event.RoomID{"r"}}, "[]"},
		{"author", MessageQuery{Text: "quick fox", Match: AnyWord, By: []event.Principal{"sip:bob@x"}}, "[2]"},
		{"from is included", MessageQuery{Text: "fox", From: at[0]}, "[3 1]"},
		{"from later", MessageQuery{Text: "fox", From: at[0] + 1}, "[3]"},
		{"to is not", MessageQuery{Text: "fox", To: at[2]}, "[1]"},
		{"to later", MessageQuery{Text: "fox", To: at[2] + 1}, "[3 1]"},
		{"between", MessageQuery{Text: "quick fox", Match: AnyWord, From: at[1], To: at[2]}, "[2]"},
		{"next page", MessageQuery{Text: "quick fox", Match: AnyWord, Before: 3, Limit: 1}, "[2]"},
		{"unlogged", MessageQuery{Text: "unlogged"}, "[]"},
	} {
		hits, err := s.Messages(t.Context(), c.q, nil)
		var got []event.Offset
		for _, h := range hits {
			got = append(got, h.Offset)
		}
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, %v; want %s", c.name, got, err, c.want)
		}
	}
	hits, err := s.Messages(t.Context(), MessageQuery{Text: "fox"}, func(r event.RoomID) bool { return r != "r2" })
	if err != nil || len(hits) != 1 || hits[0] != (Hit{Offset: 1, Room: "r1", MessageID: 1}) {
		t.Errorf("with a room that is not visible: %v, %v", hits, err)
	}
	for _, text := range []string{"", "  ", "!?", strings.Repeat("x", MaxQueryBytes+1)} {
		if _, err := s.Messages(t.Context(), MessageQuery{Text: text}, nil); !errors.Is(err, ErrInvalidQuery) {
			t.Errorf("text of %d bytes: %v, want ErrInvalidQuery", len(text), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Messages(ctx, MessageQuery{Text: "fox"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestMessageOrderAndPages has offsets on both sides of 255 and 511, where a byte of the document's id is 0xff.
func TestMessageOrderAndPages(t *testing.T) {
	l := projectionstest.NewLog(t)
	var want []event.Offset
	for o := event.Offset(900); o > 0; o-- {
		want = append(want, o)
	}
	for n := 0; n < len(want); n += 30 {
		var batch []event.Draft
		for i := range 30 {
			batch = append(batch, say(event.RoomID(fmt.Sprintf("r%d", i%3)), "sip:a@x", uint64(n+i+1), "word"))
		}
		l.Add(batch...)
	}
	s := start(t, t.TempDir(), l)
	projectionstest.Wait(t, s, l.Head().Offset)
	for _, limit := range []int{7, 100, 500} {
		var got []event.Offset
		q := MessageQuery{Text: "word", Limit: limit}
		for {
			hits, err := s.Messages(t.Context(), q, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(hits) == 0 {
				break
			}
			for _, h := range hits {
				got = append(got, h.Offset)
			}
			q.Before = hits[len(hits)-1].Offset
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d give %d messages, or in another order; want %d", limit, len(got), len(want))
		}
	}
	// Few of many are visible; more rooms than a query names.
	var rooms []event.RoomID
	for i := range 200 {
		rooms = append(rooms, event.RoomID(fmt.Sprintf("x%d", i)))
	}
	for _, q := range []MessageQuery{
		{Text: "word", Rooms: append(rooms, "r1"), Limit: 500},
		{Text: "word", Rooms: append(rooms[:50:50], "r1"), Limit: 500},
		{Text: "word", Limit: 500},
	} {
		hits, err := s.Messages(t.Context(), q, func(r event.RoomID) bool { return r == "r1" })
		if err != nil || len(hits) != 300 {
			t.Errorf("with %d rooms: %d hits, %v; want 300", len(q.Rooms), len(hits), err)
		}
	}
	hits, err := s.Messages(t.Context(), MessageQuery{Text: "word", Limit: 2}, func(r event.RoomID) bool { return r == "r1" })
	if err != nil || len(hits) != 2 || hits[0].Room != "r1" {
		t.Errorf("two of them: %v, %v", hits, err)
	}
}

// TestMessagesOldestFirst pages from the oldest on, tells how many there are in all, and finds what authors wrote without a
// word.
func TestMessagesOldestFirst(t *testing.T) {
	l := projectionstest.NewLog(t)
	var batch []event.Draft
	for i := range 600 {
		batch = append(batch, say("r0", event.Principal(fmt.Sprintf("sip:u%d@x", i%3)), uint64(i+1), fmt.Sprintf("word n%d", i%2)))
	}
	s := start(t, t.TempDir(), l)
	projectionstest.Wait(t, s, l.Add(batch...))
	for _, c := range []struct {
		q     MessageQuery
		total uint64
		step  event.Offset
		first event.Offset
	}{
		{MessageQuery{Text: "word"}, 600, 1, 1},
		{MessageQuery{Text: "n1"}, 300, 2, 2},
		{MessageQuery{By: []event.Principal{"sip:u2@x"}}, 200, 3, 3},
		{MessageQuery{By: []event.Principal{"sip:u0@x"}, Text: "n0 whale", Match: AnyWord}, 100, 6, 1},
		{MessageQuery{Text: "word n1", Match: Phrase}, 300, 2, 2},
	} {
		c.q.Oldest, c.q.Limit, c.q.Rooms = true, 70, []event.RoomID{"r0"}
		want := c.first
		for n := uint64(0); n < c.total; {
			hits, total, err := s.Page(t.Context(), c.q, nil)
			if err != nil || total != c.total || len(hits) == 0 {
				t.Fatalf("%+v: %d hits of %d, %v", c.q, len(hits), total, err)
			}
			for _, h := range hits {
				if h.Offset != want {
					t.Fatalf("%+v: hit %d is at %d, want %d", c.q, n, h.Offset, want)
				}
				n, want = n+1, want+c.step
			}
			c.q.After = hits[len(hits)-1].Offset
		}
		if hits, _, err := s.Page(t.Context(), c.q, nil); err != nil || len(hits) != 0 {
			t.Errorf("%+v: %d hits behind the end, %v", c.q, len(hits), err)
		}
	}
	if _, err := s.Messages(t.Context(), MessageQuery{}, nil); !errors.Is(err, ErrInvalidQuery) {
		t.Errorf("neither word nor author: %v", err)
	}
}

// TestRoomMatch: all words, any, or a phrase; rooms that have more of what was asked for come first.
func TestRoomMatch(t *testing.T) {
	l := projectionstest.NewLog(t)
	s := start(t, t.TempDir(), l)
	projectionstest.Wait(t, s, l.Add(room("r1", "Night Shift", "the harbor"), room("r2", "Harbor Night", "shift"), room("r3", "Harbor", "night shift work"), room("r4", "Other", "")))
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{Text: "night harbor"}, "[r2]"},
		{Query{Text: "night harbor", Match: AnyWord}, "[r2 r3 r1]"},
		{Query{Text: "night shift", Match: Phrase}, "[r1]"},
		{Query{Text: "Night  Shift", Match: Phrase, Descriptions: true}, "[r1 r3]"},
		{Query{Text: "whale shift", Match: AnyWord, Descriptions: true}, "[r1 r2 r3]"},
		{Query{Text: "whale", Match: Phrase}, "[]"},
	} {
		got, err := s.Rooms(t.Context(), c.q, nil)
		if len(c.want) > 4 && c.q.Match == AnyWord && c.q.Text == "whale shift" {
			slices.Sort(got)
		}
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%+v: %v, %v; want %s", c.q, got, err, c.want)
		}
	}
}

func TestErasedMessagesAreNotIndexed(t *testing.T) {
	l := projectionstest.NewLog(t)
	l.Add(say("r1", "sip:a@x", 1, "secret word"), say("r1", "sip:a@x", 2, "other word"))
	src := &erasing{Log: l}
	s := start(t, t.TempDir(), src)
	projectionstest.Wait(t, s, 2)
	src.offset = 1
	if err := s.Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"secret": 0, "word": 1} {
		if hits, err := s.Messages(t.Context(), MessageQuery{Text: text}, nil); err != nil || len(hits) != want {
			t.Errorf("search %q: %v, %v; want %d", text, hits, err, want)
		}
	}
}

// erasing is a log in which the body of one message was erased.
type erasing struct {
	*projectionstest.Log
	offset event.Offset
}

func (l *erasing) Read(from event.Offset, n int) ([]event.Envelope, error) {
	run, err := l.Log.Read(from, n)
	run = slices.Clone(run) // the log's own is shared
	for i := range run {
		if p, ok := run[i].Event.(*event.Posted); ok && run[i].Offset == l.offset {
			run[i].Event, run[i].Erased = &event.Posted{MessageID: p.MessageID}, true
		}
	}
	return run, err
}
