// Package submit puts the way of a command to the pool's single writer together: the router of the node where it
// enters, the stream to the leader elsewhere, and a lane of the leader's sequencer. Servers and the simulation use
// the same.
package submit

import (
	"errors"
	"fmt"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat"
	"parley/raftnode"
	"parley/raftnode/router"
	"parley/raftnode/sequencer"
)

// Sequencer decides requests by the chat rules. Result.Offset of a duplicate says where the events are.
type Sequencer = sequencer.Sequencer[chat.Request, chat.Result]

// Router takes this node's requests.
type Router = router.Router[chat.Request, chat.Outcome]

// Routes returns the configuration of a node's router: lanes to its own sequencer while it leads, else to the leader.
// Answers are outcomes, a *chat.Refusal, or errors of the classes of router, raftnode and sequencer.
func Routes(n *raftnode.Node, seq *Sequencer) router.Config[chat.Request, chat.Outcome] {
	return router.Config[chat.Request, chat.Outcome]{
		Leader: func() (known, here bool) {
			id, _, ok := n.Leader()
			return ok, ok && id == n.ID()
		},
		Epoch: n.Term,
		Open: func(term uint64, here bool) router.Lane[chat.Request, chat.Outcome] {
			if here {
				return local(seq.Lane())
			}
			return remote(n.Stream(term))
		},
		Retry: retry,
	}
}

// retry says which errors leave the outcome unknown, or say that the leader is elsewhere by now: those after which
// lanes and streams let nothing later take effect. A full queue is not among them, here or on the leader: the client
// is told, and what it sent later may go on, because nobody sends the refused request again behind it.
func retry(err error) bool {
	for _, class := range []error{raftnode.ErrNoLeader, raftnode.ErrNotLeader, raftnode.ErrUnknownOutcome,
		sequencer.ErrNotLeader, sequencer.ErrUnknownOutcome} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// local hands requests to this node's sequencer.
func local(lane *sequencer.Lane[chat.Request, chat.Result]) router.Lane[chat.Request, chat.Outcome] {
	return func(q chat.Request, done func(chat.Outcome, error)) {
		lane.Enqueue(q, func(o sequencer.Outcome[chat.Result], err error) {
			switch {
			case errors.Is(err, sequencer.ErrTooLarge):
				err = chat.Refuse(chat.CodeTooLarge, "%v", err)
			case errors.Is(err, sequencer.ErrInternal): // final: a retry would only meet the same bug
				err = chat.Refuse(chat.CodeInvalid, "%v", err)
			}
			at := o.Last
			if o.Result.Offset != 0 {
				at = o.Result.Offset // a retry is told where the events are, not where the log ends by now
			}
			done(chat.Outcome{Offset: at, At: o.At, Result: o.Result}, err)
		})
	}
}

// remote hands requests to the leader elsewhere.
func remote(s *raftnode.Stream) router.Lane[chat.Request, chat.Outcome] {
	return func(q chat.Request, done func(chat.Outcome, error)) {
		payload := wire.Marshal(&q)
		if len(payload) > raftnode.MaxForward {
			done(chat.Outcome{}, chat.Refuse(chat.CodeTooLarge, "a command of %d bytes; another node is given %d at most: do it in parts", len(payload), raftnode.MaxForward))
			return
		}
		s.Forward(payload, func(b []byte, err error) { done(answered(b, err)) })
	}
}

// answered reads what the other side replied.
func answered(b []byte, err error) (chat.Outcome, error) {
	var reply chat.Reply
	if err != nil {
		return chat.Outcome{}, err
	}
	if err := wire.Unmarshal(b, &reply); err != nil {
		return chat.Outcome{}, fmt.Errorf("answer of the leader: %w", err)
	}
	if reply.Refusal != nil {
		return reply.Outcome, reply.Refusal
	}
	return reply.Outcome, nil
}

// Serve returns what raftnode.Config.Serve needs: requests that other nodes forward are decided here, on one lane for
// each stream.
func Serve(seq *Sequencer) func(event.NodeID) raftnode.Handler {
	return func(event.NodeID) raftnode.Handler {
		lane := local(seq.Lane())
		return func(payload []byte, reply func([]byte, error)) {
			var q chat.Request
			if err := wire.Unmarshal(payload, &q); err != nil { // of a newer version, most likely
				reply(wire.Marshal(&chat.Reply{Refusal: chat.Refuse(chat.CodeUnsupported, "forwarded request: %v", err)}), nil)
				return
			}
			lane(q, func(o chat.Outcome, err error) {
				out := chat.Reply{Outcome: o}
				if err != nil && !errors.As(err, &out.Refusal) {
					reply(nil, class(err))
					return
				}
				reply(wire.Marshal(&out), nil)
			})
		}
	}
}

// class translates the classes of the sequencer into those that travel.
func class(err error) error {
	switch {
	case errors.Is(err, sequencer.ErrNotLeader):
		return raftnode.ErrNotLeader
	case errors.Is(err, sequencer.ErrBusy):
		return raftnode.ErrBusy
	}
	return raftnode.ErrUnknownOutcome
}
