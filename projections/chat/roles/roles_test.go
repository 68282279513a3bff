package roles

import (
	"slices"
	"strings"
	"testing"
)

// An auditor changes nothing, an operator sees no content, and nobody but an administrator gives roles.
func TestTable(t *testing.T) {
	set := func(names ...string) Set {
		s, err := Of(names...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	auditor, operator, users, admin := set("auditor"), set("operator"), set("user-administrator"), set("administrator")
	for _, a := range Actions() {
		reads := slices.ContainsFunc([]string{".read", ".verify", ".prove", ".export"}, func(s string) bool { return strings.HasSuffix(string(a), s) })
		if auditor.May(a) && !reads {
			t.Errorf("an auditor may %s", a)
		}
		if reads && a != MessageRead && !auditor.May(a) {
			t.Errorf("an auditor may not %s", a)
		}
		forPool := a == PoolItself || a == ActAsUser
		if admin.May(a) == forPool {
			t.Errorf("an administrator may %s: %v", a, !forPool)
		}
		if Set(0).May(a) {
			t.Errorf("without a role one may %s", a)
		}
		for _, r := range For(a) {
			if !strings.Contains(Denial(a), string(r)) {
				t.Errorf("%q does not name %s", Denial(a), r)
			}
		}
	}
	for _, a := range []Action{MessageRead, LogRead, DataExport, RoomRead} {
		if operator.May(a) {
			t.Errorf("an operator may %s", a)
		}
	}
	for _, s := range []Set{auditor, operator, users, auditor | operator | users} {
		for _, a := range []Action{AdminChange, RoomRemove, MessageRemove, CategoryChange, PolicyChange, DataImport} {
			if s.May(a) {
				t.Errorf("%s may %s", s.Names(), a)
			}
		}
	}
	// Where a feed delivers to is who reads everything that was said.
	if !operator.May(FeedPause) || operator.May(FeedChange) || auditor.May(FeedPause) || len(For(FeedChange)) != 1 {
		t.Errorf("feeds are set by %v and paused by %v", For(FeedChange), For(FeedPause))
	}
	if !users.May(UserChange) || !users.May(PolicyGrant) || users.May(LogRead) {
		t.Error("a user administrator looks after people, and no more")
	}
	if For("made.up") != nil || admin.May("made.up") || Action("made.up").Known() {
		t.Error("an action that is in no table is allowed")
	}
}

func TestSet(t *testing.T) {
	s, err := Of("operator", "auditor")
	if err != nil || !slices.Equal(s.Names(), []string{"auditor", "operator"}) || !s.Has(Auditor) || s.Has(Administrator) {
		t.Errorf("%v, %v", s.Names(), err)
	}
	if _, err := Of("auditor", "king"); err == nil || !strings.Contains(err.Error(), "king") {
		t.Errorf("%v", err)
	}
	for i, r := range All() { // bits are on disk and on the wire
		if want := []Role{"administrator", "auditor", "operator", "user-administrator"}[i]; r != want {
			t.Errorf("bit %d is %s, want %s", i, r, want)
		}
	}
}
