package demo

import (
	"fmt"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/objects"
)

const domain = "contoso.test"

func secret(user event.Principal, realm, password string) event.Secret {
	return objects.NewSecret(user, realm, password, true)
}

// apply decides and folds the requests and returns how many events they led to.
func apply(t *testing.T, s *chat.State, rs []chat.Request) (events int) {
	t.Helper()
	for _, r := range rs {
		d, err := chat.Decide(s, r, chat.Env{At: s.At() + 1, NewID: func() string { t.Fatal("an id is not fixed"); return "" }})
		if err != nil {
			t.Fatalf("%T: %v", r.Command, err)
		}
		for _, e := range d.Events {
			events++
			if err := s.Fold(event.Envelope{Offset: s.Offset() + 1, At: s.At() + 1, Meta: e.Meta, Event: e.Event}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	return events
}

func formed(t *testing.T) *chat.State {
	t.Helper()
	s := chat.NewState()
	apply(t, s, []chat.Request{{Origin: chat.Origin{By: "node:n1", Node: "n1", Trusted: true},
		Command: &chat.FormPool{Domain: domain, PoolURI: "sip:parley@" + domain}}})
	return s
}

// The directory is the one that is promised to users.
func TestDirectory(t *testing.T) {
	s := formed(t)
	apply(t, s, Requests(domain, secret))
	users := ""
	for u := range s.Users() {
		users += u.URI.Address() + " "
		if want := objects.NewSecret(u.URI, domain, "parley", true); !u.Info.Enabled || fmt.Sprint(u.Secret) != fmt.Sprint(want) {
			t.Errorf("%+v", u)
		}
	}
	if users != "alice@contoso.test bob@contoso.test carol@contoso.test dave@contoso.test erin@contoso.test " {
		t.Error(users)
	}
	g, ok := s.CategoryByName("General")
	if !ok || !g.Info.Invitations || !g.Info.FileUpload || !g.Info.ChatHistory {
		t.Errorf("%+v", g)
	}
	// Rights as the demo directory is documented.
	for _, c := range []struct {
		room, user              string
		see, join, post, manage bool
	}{
		{"Lobby", "erin", true, true, true, false},
		{"Operations", "alice", true, true, true, true},
		{"Operations", "bob", true, true, true, false},
		{"Operations", "carol", true, false, false, false},
		{"Board", "carol", true, true, true, false},
		{"Board", "alice", false, false, false, false},
		{"Announcements", "alice", true, true, true, false},
		{"Announcements", "bob", true, true, false, false},
	} {
		r, ok := s.RoomByName(c.room)
		if !ok {
			t.Fatalf("no room %s", c.room)
		}
		got := s.Rights(r.ID, event.UserPrincipal(c.user+"@"+domain))
		if got.See != c.see || got.Join != c.join || got.Post != c.post || got.Manage != c.manage {
			t.Errorf("%s in %s: %+v", c.user, c.room, got)
		}
	}
}

// Twice, or by a second node after a crash half way, changes nothing.
func TestAgain(t *testing.T) {
	whole := apply(t, formed(t), Requests(domain, secret))
	for half := range Requests(domain, secret) {
		s := formed(t)
		rs := Requests(domain, secret)
		first := apply(t, s, rs[:half])
		rest := apply(t, s, Requests(domain, secret))
		if first+rest != whole {
			t.Errorf("after %d of %d commands and %d events: %d more events, %d at once", half, len(rs), first, rest, whole)
		}
		if n := apply(t, s, Requests(domain, secret)); n != 0 {
			t.Errorf("once more: %d events", n)
		}
	}
}
