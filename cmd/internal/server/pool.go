package server

import (
	"context"

	"parley/projections/chat"
)

// Submit sends a request to the leader, in the order of calls. done gets the committed outcome, a *chat.Refusal, or
// an error of class chat.ErrUnavailable when the outcome is unknown and the client may try again.
func (n *Node) Submit(r chat.Request, done func(chat.Outcome, error)) {
	r.Node = n.id
	n.router.Submit(r, func(o chat.Outcome, err error) {
		if err != nil {
			err = chat.AsRefusal(err)
		}
		done(o, err)
	})
}

// Do submits a request and waits until its outcome is committed and visible on this node.
func (n *Node) Do(ctx context.Context, r chat.Request) (chat.Outcome, error) {
	type answer struct {
		out chat.Outcome
		err error
	}
	ch := make(chan answer, 1)
	n.Submit(r, func(o chat.Outcome, err error) { ch <- answer{o, err} })
	select {
	case a := <-ch:
		if a.err != nil {
			return a.out, a.err
		}
		return a.out, n.roomsRun.WaitFor(ctx, a.out.Offset)
	case <-ctx.Done():
		return chat.Outcome{}, ctx.Err()
	}
}

// Settle waits until everything that is committed here is visible here.
func (n *Node) Settle(ctx context.Context) error {
	return n.roomsRun.WaitFor(ctx, n.log.Head().Offset)
}
