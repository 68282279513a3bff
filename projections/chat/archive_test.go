package chat

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"parley/log/event"

	"pgregory.net/rapid"
)

// archiveModel says, from the whole log, how far behind feeds are.
type archiveModel struct {
	waited []event.Envelope // what feeds are waited for
}

// oldest returns the time of the first event behind a receipt.
func (m *archiveModel) oldest(receipt event.Offset) (at event.Time, waits bool) {
	for _, e := range m.waited {
		if e.Offset > receipt {
			return e.At, true
		}
	}
	return 0, false
}

// A post in a category with a limit is accepted only while no feed that covers the room keeps an event waiting for longer, and
// is refused only then, but for what the clock rounds: a second, or a sixteenth of the age. A state that was loaded from its
// rows, and one that was folded from the log, decide the same.
func TestNoArchiveNoTalk(t *testing.T) {
	accepted, refused, healed := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := newPool(t)
		p.now = 1e18
		var m archiveModel
		var log []event.Envelope
		do := func(o Origin, c Command) error {
			out, _, err := p.do(o, c)
			for _, e := range out {
				log = append(log, e)
				switch e.Event.(type) {
				case *event.FeedClaimed, *event.FeedCut, *event.FeedReceipt, *event.NodeStarted:
				default:
					m.waited = append(m.waited, e)
				}
			}
			return err
		}
		must := func(o Origin, c Command) {
			if err := do(o, c); err != nil {
				t.Fatalf("%T: %v", c, err)
			}
		}
		node := func(n event.NodeID) Origin { return Origin{By: event.NodePrincipal(n), Node: n, Trusted: true} }
		const limit = 60 * time.Second
		names := []string{"a", "b"}
		must(admin, &FormPool{Domain: testDomain, PoolURI: "sip:parley@" + testDomain})
		started := node("n1")
		started.Incarnation = 1
		must(started, &StartNode{Version: "1"})
		must(admin, &CreateUser{User: "sip:alice@" + testDomain, Info: event.UserInfo{Enabled: true}})
		info := event.CategoryInfo{Name: "General", Allowed: []event.Principal{Everyone}}
		const general, room event.CategoryID = "00000000-0000-4000-8000-00000000aaaa", "00000000-0000-4000-8000-00000000bbbb"
		must(admin, &CreateCategory{ID: general, Info: info})
		must(admin, &CreateRoom{ID: event.RoomID(room), Info: event.RoomInfo{Name: "Lobby", Category: general, Privacy: event.PrivacyOpen}})
		for _, n := range names {
			must(admin, &SetFeed{Feed: n, Info: event.FeedInfo{Adapter: "jsonl", Every: 1e9}})
			must(node("n1"), &ClaimFeed{Feed: n})
		}
		info.ArchiveLag = int64(limit)
		if rapid.Bool().Draw(t, "named") {
			info.ArchiveFeeds = names[:1]
		}
		must(admin, &ChangeCategory{ID: general, Info: info})
		alice := Origin{By: "sip:alice@" + testDomain, Node: "n1", Incarnation: 1, Endpoint: "e"}
		must(alice, &Join{Rooms: []event.RoomID{event.RoomID(room)}})
		cut := func(name string, last event.Offset) {
			f, _ := p.s.Feed(name)
			if f.Paused || last <= f.Receipt {
				return
			}
			must(node("n1"), &CutFeed{Feed: name, Epoch: f.Epoch, First: f.Receipt + 1, Last: last})
		}
		receipt := func(name string) {
			if f, _ := p.s.Feed(name); f.CutFirst != 0 {
				must(node("n1"), &ReceiptFeed{Receipt: event.FeedReceipt{Feed: name, Epoch: f.Epoch, First: f.CutFirst, Last: f.CutLast}})
			}
		}
		post := func() {
			p.now += 1 // as do will, so that the model asks at the same moment
			at := p.now + 1
			worst, round := time.Duration(-1), time.Duration(0)
			for i, n := range names {
				if i > 0 && len(info.ArchiveFeeds) > 0 {
					break
				}
				f, _ := p.s.Feed(n)
				if since, waits := m.oldest(f.Receipt); waits {
					age := time.Duration(at - since)
					worst, round = max(worst, age), max(round, time.Second, age/16)
				}
			}
			silent := p.s.Silence(general, at)
			err := do(alice, &Post{Room: event.RoomID(room), Text: "x"})
			switch {
			case err == nil && worst > limit:
				t.Fatalf("a post was accepted while the archive was %v behind", worst)
			case errors.Is(err, ErrNotArchived) && worst <= limit-round-time.Millisecond:
				t.Fatalf("a post was refused while the archive was %v behind: %v; %s", worst, err, p.s.Silence(general, at))
			case err != nil && !errors.Is(err, ErrNotArchived):
				t.Fatal(err)
			}
			if (silent != "") != (err != nil) {
				t.Fatalf("the post: %v; the category is silent: %q", err, silent)
			}
			if err == nil {
				accepted++
			} else {
				refused++
			}
		}
		for range 5 + uniform(t, 80, "steps") {
			name := pick(t, "feed", names)
			switch uniform(t, 9, "step") {
			case 0, 1, 2:
				post()
			case 3:
				p.now += event.Time(uniform(t, 40_000, "wait")) * 1e6
			case 4:
				p.now += event.Time(uniform(t, 2_000, "moment")) * 1e6
			case 5:
				must(admin, &RecordRead{What: "something"})
			case 6:
				f, _ := p.s.Feed(name)
				cut(name, f.Receipt+1+event.Offset(uniform(t, int(p.s.Offset()-f.Receipt), "last")))
			case 7:
				receipt(name)
			case 8:
				if f, _ := p.s.Feed(name); f.Paused {
					must(admin, &ResumeFeed{Feed: name})
				} else if uniform(t, 4, "pause") == 0 {
					must(admin, &PauseFeed{Feed: name, Reason: fmt.Sprint(p.now)})
				}
			}
		}
		at := p.now
		want := p.s.Silence(general, at)
		if got := p.loaded().Silence(general, at); got != want {
			t.Fatalf("loaded from its rows a state says %q, the first %q", got, want)
		}
		again := NewState()
		for _, e := range log {
			if err := again.Fold(e, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := again.Silence(general, at); got != want || again.Hash() != p.s.Hash() {
			t.Fatalf("folded again a state says %q, the first %q", got, want)
		}
		for _, n := range names { // it heals with the receipts
			if f, _ := p.s.Feed(n); f.Paused {
				must(admin, &ResumeFeed{Feed: n})
			}
			receipt(n)
			cut(n, p.s.Offset())
			receipt(n)
		}
		if err := do(alice, &Post{Room: event.RoomID(room), Text: "x"}); err != nil {
			t.Fatalf("every feed is at the head, and a post is refused: %v", err)
		}
		healed++
	})
	if accepted == 0 || refused == 0 || healed == 0 {
		t.Fatalf("%d accepted, %d refused, %d healed: the test saw too little", accepted, refused, healed)
	}
}
