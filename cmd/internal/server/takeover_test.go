package server

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/log"
	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/snapshots"
)

// randomLog is a scene and what a few users did after it.
func randomLog(r *rand.Rand) *adaptertest.World {
	w, _ := adaptertest.Scene()
	adaptertest.Late(w)
	users := []event.Principal{adaptertest.Alice, adaptertest.Bob, adaptertest.Carol}
	rooms := []event.RoomID{adaptertest.Lobby, adaptertest.Board, adaptertest.Empty}
	pick := func(n int) int { return r.IntN(n) }
	for range 150 {
		u, room := users[pick(3)], rooms[pick(3)]
		node := []event.NodeID{"n1", "n2"}[pick(2)]
		nd, _ := w.State().Node(node)
		as := chat.Origin{By: u, Endpoint: event.Endpoint(fmt.Sprint("e", pick(2))), Node: node, Incarnation: nd.Incarnation}
		admin := chat.Origin{By: "admin:test", Trusted: true}
		var o chat.Origin
		var c chat.Command
		switch pick(12) {
		case 0, 1:
			o, c = as, &chat.Join{Rooms: []event.RoomID{room}}
		case 2:
			o, c = as, &chat.Part{Rooms: []event.RoomID{room}, Reason: event.PartAsked}
		case 3:
			x, _ := w.State().User(u)
			x.Info.DisplayName = fmt.Sprint("name ", pick(1000))
			o, c = admin, &chat.ChangeUser{User: u, Info: x.Info}
		case 4:
			x, _ := w.State().Room(room)
			x.Info.Name = fmt.Sprint("room ", pick(1000))
			o, c = admin, &chat.ChangeRoom{ID: room, Info: x.Info}
		case 5:
			o, c = chat.Origin{By: event.NodePrincipal(node), Node: node, Trusted: true}, &chat.StartNode{Version: "test"}
		case 6:
			o, c = admin, &chat.LoseNode{Node: node, Incarnation: nd.Incarnation, Reason: "silent"}
		default:
			o, c = as, &chat.Post{Room: room, Text: fmt.Sprint("text ", pick(1000))}
		}
		_, _ = w.Do(chat.Request{Origin: o, Command: c}) // what is refused makes no event
	}
	return w
}

func chainOf(src interface {
	Read(event.Offset, int) ([]event.Envelope, error)
}) func(event.Offset) (event.Chain, error) {
	return func(o event.Offset) (event.Chain, error) {
		run, err := src.Read(o, 1)
		if err != nil || len(run) == 0 {
			return event.Chain{}, fmt.Errorf("no event %d: %w", o, err)
		}
		return run[0].Chain, nil
	}
}

// TestTakeOver: an owner that starts from a snapshot writes, byte for byte, what one writes that folded from the first event.
func TestTakeOver(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 4))
		w := randomLog(r)
		s, err := snapshots.Open(snapshots.Options{Dir: t.TempDir(), Version: 1, Chain: chainOf(w), Keep: func() []event.Offset { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		taken := w.Head()/4 + event.Offset(r.IntN(int(w.Head()/2)))
		then, err := compliance.StateAt(t.Context(), w, taken)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Take(then); err != nil {
			t.Fatal(err)
		}
		receipt := taken + event.Offset(r.IntN(int(w.Head()-taken)))
		for name, kind := range adapters {
			if name == "smtp" || name == "external" {
				continue // they write no file
			}
			deliver := func(base *chat.State) map[string][]byte {
				m := compliance.NewMemory()
				a, err := kind.New(compliance.Env{Node: "n1", FS: m, Dir: "d"}, compliance.NewOptions([]event.FeedOption{{Name: "dir", Value: "d"}}))
				if err != nil {
					t.Fatal(err)
				}
				cut, run, err := compliance.NewCut("f", receipt+1, w.Head(), base, w, nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := a.Deliver(t.Context(), cut, run); err != nil {
					t.Fatal(err)
				}
				return m.Files()
			}
			zero, err := compliance.StateAt(t.Context(), w, receipt)
			if err != nil {
				t.Fatal(err)
			}
			base, err := s.Before(t.Context(), receipt)
			if err != nil || base == nil || base.Offset() != taken {
				t.Fatalf("seed %d: no snapshot: %v", seed, err)
			}
			if err := compliance.FoldTo(t.Context(), w, base, receipt); err != nil {
				t.Fatal(err)
			}
			if zero.Hash() != base.Hash() {
				t.Fatalf("seed %d: the states differ", seed)
			}
			want, got := deliver(zero), deliver(base)
			if len(want) == 0 || !maps.EqualFunc(want, got, bytes.Equal) {
				t.Errorf("seed %d, %s: %q, want %q", seed, name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
		}
	}
}

var takeOver = flag.Int("takeover.events", 0, "measure the take-over of a feed with so many events (TestTakeOverCost)")

// TestTakeOverCost measures what a new owner does before it delivers: from the first event, and from a snapshot.
func TestTakeOverCost(t *testing.T) {
	if *takeOver == 0 {
		t.Skip("say how many events with -takeover.events")
	}
	l, err := log.Open(t.TempDir(), log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	const users, rooms, perBatch = 2000, 200, 64
	s, err := snapshots.Open(snapshots.Options{Dir: t.TempDir(), Version: 1, Chain: chainOf(l), Keep: func() []event.Offset { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	live := chat.NewState()
	room := func(i int) event.RoomID { return event.RoomID(fmt.Sprintf("44444444-4444-4444-8444-%012d", i)) }
	user := func(i int) event.Principal { return event.Principal(fmt.Sprintf("sip:user%d@contoso.test", i)) }
	made, index, taking := 0, event.Index(0), time.Duration(0)
	next := func() event.Draft {
		i := made
		made++
		const category = event.CategoryID("55555555-5555-4555-8555-555555555555")
		switch {
		case i == 0:
			return event.Draft{Event: &event.PoolFormed{Domain: "contoso.test", PoolURI: "sip:parley@contoso.test"}}
		case i == 1:
			return event.Draft{Event: &event.CategoryCreated{Category: category, Info: event.CategoryInfo{Name: "c", Allowed: []event.Principal{"*"}, ChatHistory: true}}}
		case i < 2+users:
			return event.Draft{Event: &event.UserCreated{User: user(i - 2), Info: event.UserInfo{Enabled: true}}}
		case i < 2+users+rooms:
			return event.Draft{Meta: event.Meta{Room: room(i - 2 - users)}, Event: &event.RoomCreated{Info: event.RoomInfo{Name: fmt.Sprint("room ", i), Category: category, Type: event.RoomNormal, Privacy: event.PrivacyOpen}}}
		}
		return event.Draft{Meta: event.Meta{By: user(i % users), Room: room(i % rooms), Node: "n1", Command: event.CommandID{0: 1, 8: byte(i), 9: byte(i >> 8), 10: byte(i >> 16), 11: byte(i >> 24)}},
			Event: &event.Posted{Endpoint: "e", MessageID: uint64((i-2-users-rooms)/rooms + 1), Text: "A message of the length that people write: a sentence or two, with a number such as 4711."}}
	}
	for made < *takeOver {
		var records []log.Record
		for range 64 {
			b := event.Batch{Base: live.Offset() + 1, At: live.At() + 1e6, Prev: live.Chain()}
			for range perBatch {
				b.Events = append(b.Events, next())
			}
			data, _, err := b.Seal()
			if err != nil {
				t.Fatal(err)
			}
			index++
			records = append(records, log.Record{Index: index, Term: 1, Data: data})
			head, bodies, _ := event.Split(data)
			e, err := event.ParseEntry(head, bodies)
			if err != nil {
				t.Fatal(err)
			}
			run, err := e.Envelopes(index)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range run {
				if err := live.Fold(v, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Append(records); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Commit(index); err != nil {
			t.Fatal(err)
		}
		if live.Offset()%snapshots.DefaultEvery < 64*perBatch {
			began := time.Now()
			if err := s.Take(live.Clone()); err != nil {
				t.Fatal(err)
			}
			taking = max(taking, time.Since(began))
		}
	}
	receipt := live.Offset()
	var want [32]byte
	for what, base := range map[string]func(context.Context) *chat.State{
		"from the first event": func(context.Context) *chat.State { return chat.NewStateToRead() },
		"from a snapshot": func(ctx context.Context) *chat.State {
			b, err := s.Before(ctx, receipt)
			if err != nil || b == nil {
				t.Fatal(b, err)
			}
			return b
		},
	} {
		began := time.Now()
		state := base(t.Context())
		from := state.Offset()
		if err := compliance.FoldTo(t.Context(), l, state, receipt); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d events, %s (%d): %v", receipt, what, from, time.Since(began).Round(time.Millisecond))
		if hash := state.Hash(); want == [32]byte{} {
			want = hash
		} else if hash != want {
			t.Error("the states differ")
		}
	}
	t.Logf("a snapshot takes up to %v, beside everything else", taking.Round(time.Millisecond))
}
