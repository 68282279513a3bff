package server

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"parley/log/event"
	"parley/projections/chat"
	"parley/raftnode/sequencer"
)

// decider gives the sequencer the chat rules over a scratch state of its own.
type decider struct{ state *chat.State }

func (d *decider) Decide(r chat.Request, at event.Time) ([]event.Draft, chat.Result, error) {
	dec, err := chat.Decide(d.state, r, chat.Env{At: at, NewID: uuid.NewString})
	dec.Result.Offset = dec.Offset
	return dec.Events, dec.Result, err
}

func (d *decider) Fold(e event.Envelope) error { return d.state.Fold(e, nil) }

// openScratch returns scratch state at the head of the committed log. The sequencer calls it after the barrier of
// its term, so nobody else writes and the head holds still.
func (n *Node) openScratch(ctx context.Context) (sequencer.Decider[chat.Request, chat.Result], sequencer.Head, error) {
	head := n.log.Head()
	if err := n.roomsRun.WaitFor(ctx, head.Offset); err != nil {
		return nil, sequencer.Head{}, fmt.Errorf("wait for room state at %d: %w", head.Offset, err)
	}
	s := n.rooms.Clone()
	if s.Offset() != head.Offset {
		return nil, sequencer.Head{}, fmt.Errorf("room state is at %d, the log at %d: somebody else writes", s.Offset(), head.Offset)
	}
	return &decider{state: s}, sequencer.Head{Offset: head.Offset, Chain: head.Chain, At: head.At}, nil
}
