package retention_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/compliance/retention"
	"parley/log/eraser"
	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/chat/holds"
	"parley/projections/history"
	"parley/projections/projectionstest"
)

// world is a pool with its own log, state and history. Who submits decides and commits at once.
type world struct {
	t     *testing.T
	fs    vfs.FS
	log   *projectionstest.Log
	state *chat.State
	views *projections.Store
	hist  *history.History
	run   *projections.Runner
	ids   int
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, fs: vfs.NewMem(), state: chat.NewState()}
	w.open()
	return w
}

func (w *world) open() {
	w.log = projectionstest.OpenLog(w.t, w.fs)
	var err error
	if w.views, err = projections.OpenStore("views", projections.Options{FS: w.fs, CacheBytes: 1 << 20}); err != nil {
		w.t.Fatal(err)
	}
	w.hist = history.New()
	if w.run, err = w.views.Run(context.Background(), w.log, w.hist); err != nil {
		w.t.Fatal(err)
	}
}

// restart closes all files and opens them again.
func (w *world) restart() {
	if err := errors.Join(w.views.Close(), w.log.Close()); err != nil {
		w.t.Fatal(err)
	}
	w.open()
	w.state = chat.NewState()
	w.fold()
}

func (w *world) fold() {
	for w.state.Offset() < w.log.Head().Offset {
		run, err := w.log.Read(w.state.Offset()+1, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range run {
			if err := w.state.Fold(e, nil); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func (w *world) IsLeader() bool     { return true }
func (w *world) State() *chat.State { return w.state.Clone() }

func (w *world) do(o chat.Origin, c chat.Command) (chat.Decision, error) {
	o.Node = "n1"
	d, err := chat.Decide(w.state, chat.Request{Origin: o, Command: c}, chat.Env{At: max(w.state.At()+1, w.now()), NewID: func() string {
		w.ids++
		return fmt.Sprintf("00000000-0000-4000-8000-%012x", w.ids)
	}})
	if err == nil && len(d.Events) > 0 {
		w.log.Add(d.Events...)
		w.fold()
	}
	return d, err
}

// Submit is the pool's own.
func (w *world) Submit(_ context.Context, c chat.Command) (chat.Outcome, error) {
	_, err := w.do(chat.Origin{By: "node:n1", Trusted: true}, c)
	return chat.Outcome{Offset: w.log.Head().Offset}, err
}

func (w *world) must(c chat.Command) chat.Decision {
	w.t.Helper()
	d, err := w.do(chat.Origin{By: "admin:root", Trusted: true}, c)
	if err != nil {
		w.t.Fatalf("%T: %v", c, err)
	}
	return d
}

func (w *world) now() event.Time { return w.log.Now() }

func (w *world) read(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error) {
	if err := w.run.WaitFor(ctx, w.log.Head().Offset); err != nil {
		return nil, err
	}
	return w.hist.Messages(room, first, last)
}

func (w *world) slowest() event.Offset {
	to := w.log.Head().Offset
	for f := range w.state.Feeds() {
		if f.Configured() {
			to = min(to, f.Receipt)
		}
	}
	return to
}

// deliver has the feed prove all that there is.
func (w *world) deliver(feed string) {
	f, _ := w.state.Feed(feed)
	w.must(&chat.CutFeed{Feed: feed, Epoch: f.Epoch, First: f.Receipt + 1, Last: w.state.Offset()})
	f, _ = w.state.Feed(feed)
	w.must(&chat.ReceiptFeed{Receipt: event.FeedReceipt{Feed: feed, Epoch: f.Epoch, First: f.CutFirst, Last: f.CutLast}})
}

// purge looks at all rooms, once, as the leader does.
func (w *world) purge() (due, held, waiting int) {
	w.t.Helper()
	for room := range w.State().Rooms() {
		days := w.state.Retention(room.ID)
		if days == 0 {
			continue
		}
		p, err := retention.Look(w.t.Context(), w.State(), room, retention.Over(w.now(), days), w.slowest(), w.read)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range p.Commands {
			if _, err := w.Submit(w.t.Context(), c); err != nil {
				w.t.Fatalf("%+v: %v", c, err)
			}
		}
		due, held, waiting = due+p.Due, held+p.Held, waiting+p.Waiting
	}
	return due, held, waiting
}

// erased returns which of the messages of the log have lost their text.
func (w *world) erased() map[event.Offset]bool {
	w.t.Helper()
	out := map[event.Offset]bool{}
	for o := event.Offset(1); o <= w.log.Head().Offset; {
		run, err := w.log.Read(o, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range run {
			if _, ok := event.MessageOf(&run[i]); ok && run[i].Erased {
				out[run[i].Offset] = true
			}
		}
		o = run[len(run)-1].Offset + 1
	}
	return out
}

type message struct {
	room   event.RoomID
	cat    event.CategoryID // then
	by     event.Principal
	ref    event.MessageRef
	at     event.Time
	purged bool
}

// TestRetention: whatever is posted, imported, held, released, delivered and purged, nothing that was held or not delivered when
// it was purged is ever erased; and once all is released and delivered, all that is over is gone: from the log, which
// verifies, and from the history.
func TestRetention(t *testing.T) {
	purgedAny, heldAny, waitedAny := 0, 0, 0
	for seed := range uint64(4) {
		w := newWorld(t)
		rng := rand.New(rand.NewPCG(seed, 99))
		w.must(&chat.FormPool{Domain: "contoso.test", PoolURI: "sip:parley@contoso.test"})
		w.must(&chat.SetFeed{Feed: "f", Info: event.FeedInfo{Adapter: "jsonl"}})
		if _, err := w.do(chat.Origin{By: "node:n1", Trusted: true}, &chat.ClaimFeed{Feed: "f"}); err != nil {
			t.Fatal(err)
		}
		var users []event.Principal
		for i := range 3 {
			users = append(users, event.Principal(fmt.Sprintf("sip:u%d@contoso.test", i)))
			w.must(&chat.CreateUser{User: users[i], Info: event.UserInfo{Enabled: true}})
		}
		var cats []event.CategoryID
		var rooms []event.RoomID
		for i := range 3 { // kept for 2 days; for 2 days but without history; for ever
			info := event.CategoryInfo{Name: fmt.Sprint("g", i), Allowed: []event.Principal{"*"}, ChatHistory: i != 1, RetentionDays: []uint64{2, 2, 0}[i]}
			cats = append(cats, w.must(&chat.CreateCategory{Info: info}).Result.Category)
			rooms = append(rooms, w.must(&chat.CreateRoom{Info: event.RoomInfo{Name: fmt.Sprint("r", i), Category: cats[i], Privacy: event.PrivacyOpen}}).Result.Room)
			for _, u := range users {
				if _, err := w.do(chat.Origin{By: u, Endpoint: "e"}, &chat.Join{Rooms: rooms[i : i+1]}); err != nil {
					t.Fatal(err)
				}
			}
		}
		var all []*message
		held := func(m *message) bool { // the holds of this test: of a room, of an author, of a category
			r, _ := w.state.Room(m.room)
			for h := range w.state.Holds().All() {
				i := &h.Info
				place := len(i.Rooms)+len(i.Categories) == 0 || slices.Contains(i.Rooms, m.room) || slices.Contains(i.Categories, m.cat) || slices.Contains(i.Categories, r.Info.Category)
				if !h.Released && place && (len(i.Authors) == 0 || slices.Contains(i.Authors, m.by)) {
					return true
				}
			}
			return false
		}
		seen := event.Offset(0)
		account := func() { // for every purge that came since: what it takes was free to go
			t.Helper()
			for seen < w.log.Head().Offset {
				run, err := w.log.Read(seen+1, 1000)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range run {
					seen = e.Offset
					p, ok := e.Event.(*event.MessagesPurged)
					if !ok {
						continue
					}
					for _, m := range all {
						if m.room != e.Room || m.purged || !p.Names(m.ref, m.by, m.at) {
							continue
						}
						m.purged = true
						purgedAny++
						if held(m) || m.at > e.At-2*holds.Day || m.ref.Offset > w.slowest() {
							t.Fatalf("seed %d: purge %+v takes %+v", seed, p, *m)
						}
					}
				}
			}
		}
		for step := range 120 {
			w.log.Pass(time.Duration(rng.IntN(int(2 * time.Hour))))
			i := rng.IntN(3)
			r, _ := w.state.Room(rooms[i])
			switch k := rng.IntN(24); {
			case k < 10:
				u := users[rng.IntN(3)]
				d, err := w.do(chat.Origin{By: u, Endpoint: "e"}, &chat.Post{Room: r.ID, Text: fmt.Sprint("text ", step)})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, &message{room: r.ID, cat: r.Info.Category, by: u, at: w.state.At(), ref: event.MessageRef{MessageID: d.Result.MessageID, Offset: w.state.Offset()}})
			case k < 12: // from an archive, of any age
				m := chat.ImportedMessage{ID: r.LastMessage + 1 + uint64(rng.IntN(3)), Author: users[rng.IntN(3)], PostedAt: w.now() - event.Time(rng.IntN(6*holds.Day)), Text: "old"}
				if _, err := w.do(chat.Origin{By: "admin:root", Trusted: true}, &chat.ImportMessages{Room: r.ID, Source: "old.test", Messages: []chat.ImportedMessage{m}}); err != nil {
					continue // its category keeps no history
				}
				all = append(all, &message{room: r.ID, cat: r.Info.Category, by: m.Author, at: m.PostedAt, ref: event.MessageRef{MessageID: m.ID, Offset: w.state.Offset()}})
			case k < 14:
				var h event.HoldInfo
				if rng.IntN(2) == 0 {
					h.Rooms = []event.RoomID{rooms[rng.IntN(3)]}
				} else if rng.IntN(2) == 0 {
					h.Categories = []event.CategoryID{cats[rng.IntN(3)]}
				}
				if rng.IntN(3) > 0 {
					h.Authors = []event.Principal{users[rng.IntN(3)]}
				}
				w.must(&chat.SetHold{Hold: fmt.Sprint("h", rng.IntN(2)), Info: h})
			case k < 16:
				_, _ = w.do(chat.Origin{By: "admin:root", Trusted: true}, &chat.ReleaseHold{Hold: fmt.Sprint("h", rng.IntN(2))})
			case k < 17:
				r.Info.Category = cats[rng.IntN(3)]
				w.must(&chat.ChangeRoom{ID: r.ID, Info: r.Info})
			case k < 18:
				w.deliver("f")
			case k < 22:
				_, h, wait := w.purge()
				heldAny, waitedAny = heldAny+h, waitedAny+wait
				account()
			case k < 23:
				if _, err := w.log.Erase(t.Context(), w.slowest()); err != nil {
					t.Fatal(err)
				}
				gone := w.erased()
				for _, m := range all {
					if gone[m.ref.Offset] && !m.purged {
						t.Fatalf("seed %d: %+v is erased, and no purge says so", seed, *m)
					}
				}
			default:
				w.restart()
			}
		}
		for _, h := range []string{"h0", "h1"} {
			_, _ = w.do(chat.Origin{By: "admin:root", Trusted: true}, &chat.ReleaseHold{Hold: h})
		}
		w.log.Pass(4 * 24 * time.Hour)
		w.deliver("f")
		w.purge()
		account()
		w.deliver("f")
		w.deliver("f") // the receipt of the purge
		if _, err := w.log.Erase(t.Context(), w.slowest()); err != nil {
			t.Fatal(err)
		}
		gone := w.erased()
		for _, m := range all {
			r, _ := w.state.Room(m.room)
			forEver := r.Info.Category == cats[2]
			ms, err := w.read(t.Context(), m.room, m.ref.MessageID, m.ref.MessageID)
			if err != nil {
				t.Fatal(err)
			}
			if forEver && !m.purged && gone[m.ref.Offset] || !forEver && (!gone[m.ref.Offset] || len(ms) > 0) {
				t.Fatalf("seed %d: at the end %+v: erased %v, in the history %v, kept for ever %v", seed, *m, gone[m.ref.Offset], len(ms) > 0, forEver)
			}
		}
		if v, err := w.log.Inspect(t.Context(), 0, 0, nil); err != nil || v.Erased != uint64(len(gone)) {
			t.Errorf("seed %d: verify: %+v, %v; %d are erased", seed, v, err, len(gone))
		}
		if due, h, wait := w.purge(); due+h+wait > 0 {
			t.Errorf("seed %d: after all that %d are due, %d held, %d waiting", seed, due, h, wait)
		}
	}
	if purgedAny < 50 || heldAny < 20 || waitedAny < 5 {
		t.Errorf("%d purged, %d held, %d waiting: the test does not test", purgedAny, heldAny, waitedAny)
	}
}

// TestCrashBeforeErasure: a purge is in the log and its node crashes before a body is erased, or in the middle of it. The next
// start finishes: the bodies are gone, what was held is there, and the log verifies.
func TestCrashBeforeErasure(t *testing.T) {
	for _, middle := range []bool{false, true} {
		w := newWorld(t)
		w.must(&chat.FormPool{Domain: "contoso.test", PoolURI: "sip:parley@contoso.test"})
		g := w.must(&chat.CreateCategory{Info: event.CategoryInfo{Name: "g", Allowed: []event.Principal{"*"}, ChatHistory: true, RetentionDays: 1}}).Result.Category
		room := w.must(&chat.CreateRoom{Info: event.RoomInfo{Name: "r", Category: g}}).Result.Room
		for part := range uint64(20) {
			c := &chat.ImportMessages{Room: room, Source: "old.test"}
			for id := part * 100; id < part*100+100; id++ {
				by := event.Principal("sip:a@contoso.test")
				if id%10 == 0 {
					by = "sip:b@contoso.test"
				}
				c.Messages = append(c.Messages, chat.ImportedMessage{ID: id + 1, Author: by, PostedAt: 1, Text: "old"})
			}
			w.must(c)
		}
		w.must(&chat.SetHold{Hold: "h", Info: event.HoldInfo{Authors: []event.Principal{"sip:b@contoso.test"}}})
		if due, held, _ := w.purge(); due != 1_800 || held != 200 {
			t.Fatalf("%d are due, %d held", due, held)
		}
		if middle { // the bodies are gone, and the copies are not: it is not done
			_, err := w.log.Erase(t.Context(), w.log.Head().Offset, func(context.Context) error { return errors.New("crash") })
			if err == nil {
				t.Fatal("it did not crash")
			}
		}
		w.restart()
		if want := 0; !middle && len(w.erased()) != want {
			t.Fatalf("%d are erased before anything erased them", len(w.erased()))
		}
		copies := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		end := make(chan error, 1)
		go func() {
			end <- eraser.Run(ctx, eraser.Config{Log: w.log.Log, Gather: time.Millisecond, Copies: []func(context.Context, event.Offset) error{
				func(ctx context.Context, to event.Offset) error {
					err := errors.Join(w.run.WaitFor(ctx, to), w.views.Purge(ctx))
					copies <- struct{}{}
					return err
				}}})
		}()
		select {
		case <-copies:
		case err := <-end:
			t.Fatalf("the eraser ended: %v", err)
		case <-time.After(time.Minute):
			t.Fatal("nothing was erased in a minute")
		}
		cancel()
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		if n := len(w.erased()); n != 1_800 {
			t.Errorf("%d are erased, want 1800", n)
		}
		ms, err := w.read(t.Context(), room, 1, math.MaxInt64)
		if err != nil || len(ms) != 200 || ms[0].Text != "old" {
			t.Errorf("%d messages are left in the history, %v", len(ms), err)
		}
		if v, err := w.log.Inspect(t.Context(), 0, 0, nil); err != nil || v.Erased != 1_800 {
			t.Errorf("verify: %+v, %v", v, err)
		}
	}
}
