package sipfront

import "parley/log/event"

// hold is what a dialog has to do with a room, from a join until it is out again: the next join begins a new one, so what
// is still on its way for an old one changes nothing. It is guarded by the ledger's lock.
type hold struct {
	stage   stage
	pending int          // joins on their way
	ended   event.Offset // of the last event by which the session ended here
}

// stage is how far a hold has come.
type stage uint8

const (
	asking stage = iota // joins are on their way, and there is no session
	inside
	left // by the client's own wish: a Part follows whatever is on its way
	out  // the pool ended the session, or let nobody in
)

// move is what happens to a hold.
type move uint8

const (
	asks    move = iota // a join is submitted
	joins               // one took effect
	refused             // one did not
	ends                // the log says that the session has ended
	leaves              // the client leaves, or is gone
)

// step is the one place where a hold changes. at is where in the log a join took effect, or a session ended: the front
// hears of an end as soon as it is applied, and of a join only when its reply is due, so an end can come first and be the
// later of the two.
func (h *hold) step(m move, at event.Offset) {
	switch m {
	case asks:
		h.pending++
		return
	case joins, refused:
		h.pending--
	case ends:
		h.ended = max(h.ended, at)
	}
	switch {
	case h.stage == left || h.stage == out: // for good
	case m == leaves:
		h.stage = left
	case m == joins && at > h.ended:
		h.stage = inside
	case (m == ends || h.stage == asking) && h.pending > 0:
		h.stage = asking
	case m == ends || h.stage == asking:
		h.stage = out
	}
}
