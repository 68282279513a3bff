package policy

import (
	"errors"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat/command"
)

// Scopes are understood as the product writes them, and have one canonical form each.
func TestParseScope(t *testing.T) {
	for text, want := range map[string]event.Scope{
		"global": "global", " Global ": "global", "site:London": "site:london", "Site:Big Smoke": "site:big smoke",
		"pool:contoso.test": "pool:contoso.test", "service:PersistentChatServer:contoso.test": "pool:contoso.test",
		"service:contoso.test": "pool:contoso.test", "tag:Traders": "user:traders", "Traders": "user:traders", "user:x": "user:x",
	} {
		got, err := ParseScope(text)
		if err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
		if again, err := ParseScope(string(got)); err != nil || again != got {
			t.Errorf("%q is not canonical: %q, %v", got, again, err)
		}
	}
	for _, bad := range []string{"", " ", "site:", "pool:", "user:", "service:", "service:PersistentChatServer:", "planet:x", "site:a\nb", "site:\xff",
		"site:" + strings.Repeat("x", 300)} {
		if s, err := ParseScope(bad); err == nil {
			t.Errorf("%q is %q", bad, s)
		}
	}
}

// The defaults are within their own ranges, and each number just outside is refused by name.
func TestRanges(t *testing.T) {
	good := DefaultConfiguration()
	if err := CheckConfiguration(&good); err != nil {
		t.Fatal(err)
	}
	archive := DefaultCompliance()
	if err := CheckCompliance(&archive); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*event.ConfigurationInfo){
		"DefaultChatHistory":     func(i *event.ConfigurationInfo) { i.DefaultChatHistory = 501 },
		"MaxFileSizeKB":          func(i *event.ConfigurationInfo) { i.MaxFileSizeKB = 1 << 32 },
		"ParticipantUpdateLimit": func(i *event.ConfigurationInfo) { i.ParticipantUpdateLimit = 1_000_001 },
		"MessageSizeLimit":       func(i *event.ConfigurationInfo) { i.MessageSizeLimit = 0 },
		"StorySizeLimit":         func(i *event.ConfigurationInfo) { i.StorySizeLimit = 64_001 },
		"SearchLimit":            func(i *event.ConfigurationInfo) { i.SearchLimit = 10_001 },
		"RoomManagementUrl":      func(i *event.ConfigurationInfo) { i.RoomManagementURL = "javascript:alert(1)" },
	} {
		i := good
		spoil(&i)
		if err := CheckConfiguration(&i); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(*event.ComplianceInfo){
		"RunInterval":            func(i *event.ComplianceInfo) { i.RunInterval = -1 },
		"AdapterType":            func(i *event.ComplianceInfo) { i.AdapterType = "a\nb" },
		"AdapterOutputDirectory": func(i *event.ComplianceInfo) { i.OutputDirectory = strings.Repeat("x", MaxText+1) },
		"CustomConfiguration":    func(i *event.ComplianceInfo) { i.CustomConfiguration = "\xff" },
	} {
		i := archive
		spoil(&i)
		if err := CheckCompliance(&i); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What After says of an event is what the book says once it is folded.
func TestAfterIsWhatFoldMakes(t *testing.T) {
	users := []event.Principal{"sip:a@x", "sip:b@x", "sip:c@x"}
	b := NewBook(Prefixes{1, 2, 3, 4})
	b.Place("x", "london")
	for n, ev := range []event.Event{
		&event.PolicySet{Scope: User("t"), Info: event.PolicyInfo{Enabled: true}},
		&event.PolicyGranted{Users: users[:2], Scope: User("t")},
		&event.PolicySet{Scope: Global},
		&event.PolicySet{Scope: User("t")},
		&event.PolicySet{Scope: Site("london"), Info: event.PolicyInfo{Enabled: true}},
		&event.PolicyGranted{Users: users[1:]},
		&event.PolicySet{Scope: Pool("x")},
		&event.PolicyRemoved{Scope: User("t")},
		&event.PolicyRemoved{Scope: Pool("x")},
		&event.PolicyRemoved{Scope: Site("london")},
		&event.PolicyRemoved{Scope: Global},
	} {
		type answer struct{ on, decided bool }
		var want []answer
		for _, u := range users {
			on, decided := b.After(ev).Enabled(u)
			want = append(want, answer{on, decided})
		}
		if known, err := b.Fold(ev, event.Offset(n+1), nil); !known || err != nil {
			t.Fatal(known, err)
		}
		for i, u := range users {
			on, decided := b.Enabled(u)
			if got := (answer{on, decided}); got != want[i] {
				t.Errorf("event %d, %s: %+v, After said %+v", n, u, got, want[i])
			}
		}
	}
	if known, err := b.Fold(&event.PolicyRemoved{Scope: Global}, 99, nil); !known || err == nil {
		t.Errorf("a policy that is not there was removed: %v", err)
	}
	if known, _ := b.Fold(&event.Joined{}, 99, nil); known {
		t.Error("a join is a policy's business")
	}
}

// A copy is not seen by its source, and the other way round.
func TestBooksAreIndependent(t *testing.T) {
	b := NewBook(Prefixes{1, 2, 3, 4})
	c := b.Copy()
	fold := func(b *Book, ev event.Event) {
		t.Helper()
		if _, err := b.Fold(ev, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	i := DefaultConfiguration()
	i.SearchLimit = 7
	fold(&c, &event.ConfigurationSet{Scope: Global, Info: i})
	fold(&b, &event.PolicySet{Scope: Global})
	if b.Limits().SearchLimit == 7 || c.For("sip:a@x") != nil || c.Limits().SearchLimit != 7 {
		t.Error("two books share what they should not")
	}
}

// A refusal is the rules' kind, whatever refuses.
func TestDecideRefuses(t *testing.T) {
	b := NewBook(Prefixes{1, 2, 3, 4})
	_, known, err := b.Decide(&command.SetPolicy{Scope: "user:x"}, nil)
	var f *command.Refusal
	if !known || !errors.As(err, &f) || f.Code != command.CodeNotFound {
		t.Errorf("known %v, %v", known, err)
	}
	if _, known, _ := b.Decide(&command.Join{}, nil); known {
		t.Error("a join is a policy's business")
	}
}
