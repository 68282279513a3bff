package chat

import (
	"parley/log/event"
	"parley/projections/chat/memory"
)

// MaxRemembered is how many commands are remembered at most; above, the oldest is forgotten before its day is over.
const MaxRemembered = memory.Most

// Remembered returns how many commands the state remembers, and the log time of the oldest of them, 0 if there is none.
// If that is less than a day ago and the number is MaxRemembered, some were forgotten early.
func (s *State) Remembered() (n int, oldest event.Time) { return s.memory.Len(), s.memory.Oldest() }

// Forget drops them, and remembers none from here on: for a fold that never decides. The caller owns s; its clones forget too.
func (s *State) Forget() { s.memory.Forget() }

// recall returns the decision of a command that took effect before. It is asked before rights are.
//
// A join counts as seen only on the incarnation of the node that it opened sessions on: elsewhere it would be
// another session, and a client that was told "joined" there could not post. A search never does: it shows what is found
// now.
func (s *State) recall(r *Request) (d Decision, ok bool) {
	if r.ID.IsZero() {
		return d, false
	}
	offset, a, b, ok := s.memory.Recall(r.ID)
	if !ok {
		return d, false
	}
	d.Offset, d.Result = offset, memory.Result(r.Command, a, b)
	switch c := r.Command.(type) {
	case *Join:
		if a != memory.NodeKey(r.Node) || b != uint64(r.Incarnation) {
			return Decision{}, false
		}
		d.Result.Refused = s.refusedOf(r, c)
	case *SearchMessages:
		return Decision{}, false
	case *ReadHistory:
		now, err := (&decider{Origin: r.Origin, s: s}).readHistory(c)
		if err != nil || r.Entitled() != nil {
			return Decision{}, false // it is refused, as a fresh one
		}
		if now.Result.Last == 0 { // the category shows no history any more
			d.Result.First, d.Result.Last = 0, 0
		}
	}
	return d, true
}
