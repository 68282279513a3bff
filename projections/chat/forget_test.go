package chat

import (
	"testing"

	"parley/log/event"
)

// TestForget: a state that forgets commands is otherwise what it was, goes on like one that remembers, and so do its clones.
func TestForget(t *testing.T) {
	whole := NewState()
	fold(t, whole, event.Meta{}, &event.CategoryCreated{Category: "c"})
	fold(t, whole, event.Meta{Room: "r"}, &event.RoomCreated{Info: event.RoomInfo{Category: "c"}})
	post := func(s *State, n uint64) {
		fold(t, s, event.Meta{Room: "r", Command: event.CommandID{byte(n)}}, &event.Posted{MessageID: n})
	}
	post(whole, 1)
	lean := whole.Clone()
	lean.Forget()
	clone := lean.Clone()
	for n := uint64(2); n < 10; n++ {
		post(whole, n)
		post(lean, n)
		post(clone, n)
	}
	if n, _ := whole.Remembered(); n != 9 {
		t.Errorf("%d commands remembered, want 9", n)
	}
	for _, s := range []*State{lean, clone} {
		if n, oldest := s.Remembered(); n != 0 || oldest != 0 {
			t.Errorf("%d commands remembered, the oldest of %d", n, oldest)
		}
		if s.Offset() != whole.Offset() || s.lastMessage("r") != 9 {
			t.Errorf("it is at %d, message %d", s.Offset(), s.lastMessage("r"))
		}
	}
	forgets := whole.Clone()
	forgets.Forget()
	if forgets.Hash() != lean.Hash() || lean.Hash() != clone.Hash() {
		t.Error("what is left differs")
	}
}
