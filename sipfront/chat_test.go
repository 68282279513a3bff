package sipfront_test

import (
	"fmt"
	"testing"

	"parley/log/event"
)

// TestConversation is the way of two users from sign-in to sign-out.
func TestConversation(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprintf("early=%v", early), func(t *testing.T) {
			s := serve(t, nil)
			s.early.Store(early)
			alice, bob := s.client("alice"), s.client("bob")
			rooms := alice.List("")
			check(t, alice)
			if len(rooms) != 3 { // Board is a secret
				t.Fatalf("alice sees %d rooms: %+v", len(rooms), rooms)
			}
			d := alice.Join(lobby)
			check(t, alice)
			if len(d.Users) != 1 || d.Users[0].URI != "sip:alice@contoso.test" || len(d.Chans) != 1 || d.Chans[0].Name != "Lobby" {
				t.Fatalf("join reply: %+v", d)
			}
			bob.Join(lobby)
			alice.ExpectNotice("ntc:join", "bob@contoso.test")
			if st := alice.Post(lobby, "hello\nworld"); st != 200 {
				t.Fatalf("post: %d", st)
			}
			p := bob.Expect(lobby, "hello\nworld")
			alice.Expect(lobby, "hello\nworld")
			check(t, alice, bob)
			if p.Author != "sip:alice@contoso.test" || p.ChatID != 1 {
				t.Fatalf("%+v", p)
			}
			if h := bob.History(lobby, 25); len(h) != 1 || h[0].Text != "hello\nworld" || h[0].ChatID != 1 {
				t.Fatalf("history: %+v", h)
			}
			bob.Part(lobby)
			alice.ExpectNotice("ntc:part", "bob@contoso.test")
			check(t, alice, bob)
			bob.SignOut()
			alice.SignOut()
			check(t, alice, bob)
			eventually(t, "alice is parted", func() bool { return !s.joined(lobby, "alice") })
			parts := s.ofKind(event.KindParted)
			if got := parts[len(parts)-1].Event.(*event.Parted).Reason; got != event.PartBye {
				t.Errorf("reason %q", got)
			}
		})
	}
}
