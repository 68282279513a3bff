package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/projections/projectionstest"
	"parley/webfront/replay"
)

var offsets = flag.Int("replay.offsets", 30, "how many moments are compared with what the node had there")

func lines(t *testing.T, s *chat.State) (out string) {
	t.Helper()
	if err := replay.Lines(s, func(v any) error {
		b, err := json.Marshal(v)
		out += string(b) + "\n"
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMoments: at random moments the replay has the state that the node had there, to the last bit, and the screen of
// every room is what the node's history had.
func TestMoments(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 7)
	views, err := projections.OpenStore("views", projections.Options{FS: vfs.NewMem(), CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = views.Close() })
	h := history.New()
	run, err := views.Run(context.Background(), l, h)
	if err != nil {
		t.Fatal(err)
	}
	type moment struct {
		state   *chat.State
		screens map[event.RoomID][]history.Message
	}
	moments := map[event.Offset]moment{}
	var at []event.Offset
	for len(at) < 1000 {
		life.Steps(1)
		l.CommitAll()
		m := moment{state: life.State.Clone()}
		if len(at)%50 == 49 {
			projectionstest.Wait(t, run, m.state.Offset())
			m.screens = map[event.RoomID][]history.Message{}
			for r := range m.state.Rooms() {
				if m.screens[r.ID], err = h.Messages(r.ID, 0, r.LastMessage); err != nil {
					t.Fatal(err)
				}
			}
		}
		if o := m.state.Offset(); len(at) == 0 || at[len(at)-1] != o {
			at = append(at, o)
			moments[o] = m
		}
	}
	seen := 0
	for i, n := range rand.Perm(len(at)) {
		want := moments[at[n]]
		if i >= *offsets && want.screens == nil {
			continue
		}
		got, err := replay.State(t.Context(), l, at[n], nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Hash() != want.state.Hash() || lines(t, got) != lines(t, want.state) {
			t.Fatalf("at %d:\n%s\nthe node had\n%s", at[n], lines(t, got), lines(t, want.state))
		}
		for id, screen := range want.screens {
			var room replay.Room
			if err := replay.Detail(t.Context(), l, got, string(id), 10, func(v any) error {
				if r, ok := v.(replay.Room); ok {
					room = r
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			var shown []replay.Message
			for _, m := range screen[max(0, len(screen)-10):] {
				shown = append(shown, replay.Message{ID: m.ID, Offset: m.Offset, At: m.At.String(), By: m.By, Body: m.Text})
				seen++
			}
			if len(shown)+len(room.Screen) > 0 && !reflect.DeepEqual(room.Screen, shown) {
				t.Fatalf("room %s at %d:\n%v\nwant\n%v", id, at[n], room.Screen, shown)
			}
			for _, x := range room.Sights {
				if may := want.state.Rights(id, x.User); may != (chat.Rights{See: true, Join: x.Join, Post: x.Post, ReadHistory: x.Read, Manage: x.Manage,
					Member: may.Member, Manager: may.Manager, Presenter: may.Presenter}) {
					t.Fatalf("%s in room %s at %d: %+v, had %+v", x.User, id, at[n], x, may)
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d messages on the screens", seen)
	}
}

// TestMoment: an offset or a time, and what has no answer.
func TestMoment(t *testing.T) {
	l := projectionstest.NewLog(t)
	life := projectionstest.NewLife(l, 1)
	life.Until(60)
	l.CommitAll()
	head := l.Head()
	first, err := l.Read(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]event.Offset{
		"1": 1, "60": 60, head.At.String(): head.Offset, first[0].At.String(): 1,
		head.At.UTC().Add(time.Hour).Format(time.RFC3339): head.Offset, "9999-01-01T00:00:00Z": head.Offset, "2900-06-01T00:00:00Z": head.Offset,
	} {
		if got, err := replay.Moment(l, head.Offset, at); err != nil || got < want || at == "1" && got != 1 || want == head.Offset && got != want {
			t.Errorf("%s: %d, %v; want %d", at, got, err, want)
		}
	}
	for _, at := range []string{"0", fmt.Sprint(head.Offset + 1), "1999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1600-01-01T00:00:00Z", "yesterday", ""} {
		if o, err := replay.Moment(l, head.Offset, at); !errors.Is(err, replay.ErrMoment) {
			t.Errorf("%q: %d, %v", at, o, err)
		}
	}
	s, err := replay.State(t.Context(), l, head.Offset, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := chat.AsRefusal(replay.Detail(t.Context(), l, s, "nowhere", 1, func(any) error { return nil })); f.Code != chat.CodeNotFound {
		t.Error(f)
	}
}
