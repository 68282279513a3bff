package chat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/holds"
)

// heldWorld is a pool with what the log tells of each message, and the holds told once more in the most naive way.
type heldWorld struct {
	*pool
	t     *testing.T
	rng   *rand.Rand
	rooms []event.RoomID
	cats  []event.CategoryID
	users []event.Principal
	said  []*saidMessage
	holds map[string]event.HoldInfo
	seen  map[string]event.Offset
}

type saidMessage struct {
	room event.RoomID
	then event.CategoryID
	ref  event.MessageRef
	by   event.Principal
	at   event.Time
	gone bool
}

// keeps says which holds keep a message: the sentence of docs/retention.md, word by word.
func (w *heldWorld) keeps(m *saidMessage) (names []string) {
	room, _ := w.s.Room(m.room)
	for name, h := range w.holds {
		place := len(h.Rooms)+len(h.Categories) == 0 || slices.Contains(h.Rooms, m.room) || slices.Contains(h.Categories, m.then) || slices.Contains(h.Categories, room.Info.Category)
		if place && (len(h.Authors) == 0 || slices.Contains(h.Authors, m.by)) && (h.From == 0 || m.at >= h.From) && (h.To == 0 || m.at <= h.To) && m.ref.Offset >= h.FromOffset {
			names = append(names, name)
		}
	}
	return names
}

func oneOf[T any](w *heldWorld, from []T) T { return from[w.rng.IntN(len(from))] }

func (w *heldWorld) in(room event.RoomID) (out []*saidMessage) {
	for _, m := range w.said {
		if m.room == room && !m.gone {
			out = append(out, m)
		}
	}
	return out
}

// apply takes away what the events name, and fails if a hold keeps one of it.
func (w *heldWorld) apply(envelopes []event.Envelope) (taken int) {
	w.t.Helper()
	for _, e := range envelopes {
		for _, m := range w.said {
			named := false
			switch v := e.Event.(type) {
			case *event.MessagesRemoved:
				named = m.at <= v.Until || slices.Contains(v.Messages, m.ref)
			case *event.MessagesPurged:
				named = v.Names(m.ref, m.by, m.at)
			}
			if !named || m.room != e.Room || m.gone {
				continue
			}
			if names := w.keeps(m); len(names) > 0 {
				w.t.Fatalf("%T %+v takes message %+v, which %v keep", e.Event, e.Event, *m, names)
			}
			m.gone, taken = true, taken+1
		}
	}
	return taken
}

// look is what an honest reader of a room finds.
func (w *heldWorld) look(room event.RoomID, until event.Time) (l command.Look, held int) {
	for name, at := range w.seen {
		if _, ok := w.holds[name]; ok {
			l.Holds = append(l.Holds, command.Seen{Hold: name, Revision: at})
		}
	}
	r, _ := w.s.Room(room)
	l.To = r.LastMessage
	for _, m := range w.in(room) {
		if m.at <= until && len(w.keeps(m)) > 0 {
			held++
		}
	}
	return l, held
}

// TestHoldsKeep: whatever is posted, moved, held, released, removed, cleared and purged, no event takes a message that a
// hold keeps; and what no hold keeps can be taken.
func TestHoldsKeep(t *testing.T) {
	refused, removed, purged, cleared := 0, 0, 0, 0
	for seed := range uint64(40) {
		w := &heldWorld{pool: newPool(t), t: t, rng: rand.New(rand.NewPCG(seed, 1)), holds: map[string]event.HoldInfo{}, seen: map[string]event.Offset{}}
		w.must(admin, &FormPool{Domain: testDomain, PoolURI: "sip:parley@" + testDomain})
		for _, n := range []string{"alice", "bob", "carol"} {
			w.users = append(w.users, user(n))
			w.must(admin, &CreateUser{User: user(n), Info: event.UserInfo{Enabled: true}})
		}
		for i := range 3 {
			w.cats = append(w.cats, w.must(admin, &CreateCategory{Info: event.CategoryInfo{Name: fmt.Sprint("g", i), Allowed: []event.Principal{Everyone}, ChatHistory: i > 0, RetentionDays: 1}}).Result.Category)
		}
		for i := range 3 {
			w.rooms = append(w.rooms, w.must(admin, &CreateRoom{Info: event.RoomInfo{Name: fmt.Sprint("r", i), Category: oneOf(w, w.cats), Privacy: event.PrivacyOpen}}).Result.Room)
		}
		for _, r := range w.rooms {
			for _, u := range w.users {
				w.must(Origin{By: u, Node: "n1", Endpoint: "e"}, &Join{Rooms: []event.RoomID{r}})
			}
		}
		for range 150 {
			w.now += event.Time(w.rng.IntN(holds.Day / 20))
			room := oneOf(w, w.rooms)
			r, _ := w.s.Room(room)
			some := func() event.Time {
				if len(w.said) == 0 {
					return w.now
				}
				return oneOf(w, w.said).at
			}
			switch k := w.rng.IntN(20); k {
			case 0, 1:
				i := event.HoldInfo{}
				if w.rng.IntN(2) == 0 {
					i.Rooms = []event.RoomID{oneOf(w, w.rooms)}
				}
				if w.rng.IntN(2) == 0 {
					i.Categories = []event.CategoryID{oneOf(w, w.cats)}
				}
				if w.rng.IntN(2) == 0 {
					i.Authors = []event.Principal{oneOf(w, w.users)}
				}
				if w.rng.IntN(3) == 0 {
					i.From = some()
				}
				if w.rng.IntN(3) == 0 {
					i.To = max(i.From, some())
				}
				if w.rng.IntN(3) == 0 {
					i.FromOffset = event.Offset(1 + w.rng.IntN(int(w.s.Offset())))
				}
				name := fmt.Sprint("case-", w.rng.IntN(3))
				if w.must(admin, &SetHold{Hold: name, Info: i}); w.s.Offset() > 0 {
					h, _ := w.s.Holds().Hold(name)
					w.holds[name], w.seen[name] = i, h.Revision
				}
			case 2, 3:
				name := fmt.Sprint("case-", w.rng.IntN(3))
				if _, _, err := w.do(admin, &ReleaseHold{Hold: name}); err == nil {
					delete(w.holds, name)
				}
			case 4:
				r.Info.Category = oneOf(w, w.cats)
				w.must(admin, &ChangeRoom{ID: room, Info: r.Info})
			case 5, 6, 7: // single messages, told truly or not told
				c := &RemoveMessages{Room: room}
				honest, held := w.rng.IntN(4) > 0, 0
				for _, m := range w.in(room) {
					if w.rng.IntN(4) == 0 {
						c.Messages = append(c.Messages, m.ref)
						if honest {
							c.Facts = append(c.Facts, command.Fact{By: m.by, At: m.at})
						}
						if len(w.keeps(m)) > 0 {
							held++
						}
					}
				}
				if len(c.Messages) == 0 {
					continue
				}
				envelopes, _, err := w.do(admin, c)
				if (err == nil) != (held == 0) && (honest || err == nil) {
					t.Fatalf("seed %d: %d held of %d, and: %v", seed, held, len(c.Messages), err)
				}
				if err != nil {
					if f := AsRefusal(err); f.Rule != holds.Rule || len(f.Rows) == 0 || honest && len(f.Rows) != held {
						t.Fatalf("seed %d: refused with %+v, %d are held", seed, f, held)
					}
					refused++
				}
				removed += w.apply(envelopes)
			case 8, 9:
				until := some()
				c := &ClearRoom{Room: room, Until: until}
				held := 0
				if w.rng.IntN(3) > 0 {
					c.Look, held = w.look(room, until)
				}
				envelopes, _, err := w.do(admin, c) // the rules do not know whether the look was honest
				if err == nil && held == 0 && c.Look.Holds != nil {
					for _, m := range w.in(room) {
						if m.at <= until && len(w.keeps(m)) == 0 && len(envelopes) == 0 {
							t.Fatalf("seed %d: nothing was cleared", seed)
						}
					}
				}
				cleared += w.apply(envelopes)
			case 10, 11, 12:
				list := w.in(room)
				if len(list) == 0 {
					continue
				}
				until := min(w.now-holds.Day, some())
				a, b := w.rng.IntN(len(list)), w.rng.IntN(len(list))
				c := &PurgeMessages{Room: room, First: list[min(a, b)].ref, Last: list[max(a, b)].ref, Until: until}
				envelopes, _, err := w.do(admin, c)
				if err != nil && until > 0 {
					t.Fatalf("seed %d: purge: %v", seed, err)
				}
				purged += w.apply(envelopes)
				for _, m := range list[min(a, b) : max(a, b)+1] {
					if until > 0 && m.at <= until && !m.gone && len(w.keeps(m)) == 0 {
						t.Fatalf("seed %d: purge %+v leaves %+v, which nothing keeps", seed, c, *m)
					}
				}
			default:
				by := oneOf(w, w.users)
				envelopes, d, err := w.do(Origin{By: by, Node: "n1", Endpoint: "e"}, &Post{Room: room, Text: "x"})
				if err != nil {
					t.Fatal(err)
				}
				w.said = append(w.said, &saidMessage{room: room, then: r.Info.Category, by: by, at: envelopes[0].At,
					ref: event.MessageRef{MessageID: d.Result.MessageID, Offset: envelopes[0].Offset}})
			}
			w.checkRows()
		}
		// Released, everything goes.
		for name := range w.holds {
			w.must(admin, &ReleaseHold{Hold: name})
			delete(w.holds, name)
		}
		w.now += 2 * holds.Day
		for _, room := range w.rooms {
			if list := w.in(room); len(list) > 0 {
				envelopes, _, err := w.do(admin, &PurgeMessages{Room: room, First: list[0].ref, Last: list[len(list)-1].ref, Until: w.now - holds.Day})
				if err != nil {
					t.Fatal(err)
				}
				w.apply(envelopes)
			}
			if trail := w.s.Holds().Trail(room); len(w.in(room)) > 0 || trail.First.MessageID != 0 && trail.Unseen(w.now, w.s.Holds().Epoch()) && !w.cleared(room, trail) {
				t.Fatalf("seed %d: room %s still has %d messages, trail %+v", seed, room, len(w.in(room)), trail)
			}
			w.must(admin, &RemoveRoom{ID: room})
		}
		if s := w.loaded(); s.Hash() != w.s.Hash() {
			t.Fatalf("seed %d: the state is another one after loading its rows", seed)
		}
	}
	if refused < 20 || removed < 20 || purged < 20 || cleared < 20 {
		t.Errorf("%d refusals, %d messages removed, %d purged, %d cleared: the test does not test", refused, removed, purged, cleared)
	}
}

// cleared reports whether a trail speaks of messages that are all gone: it is a bound, and one more purge takes it away.
func (w *heldWorld) cleared(room event.RoomID, trail holds.Trail) bool {
	_, _, err := w.do(admin, &PurgeMessages{Room: room, First: trail.First, Last: trail.Last, Until: w.now - holds.Day})
	return err == nil && w.s.Holds().Trail(room).First.MessageID == 0
}
