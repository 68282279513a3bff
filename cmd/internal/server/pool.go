package server

import (
	"context"
	"errors"

	"parley/log/event"
	"parley/projections/chat"
	"parley/raftnode"
	"parley/raftnode/router"
	"parley/raftnode/sequencer"
)

// Submit sends a request to the leader, in the order of calls. done gets the committed outcome, a *chat.Refusal, or
// an error of class chat.ErrUnavailable when the outcome is unknown and the client may try again.
func (n *Node) Submit(r chat.Request, done func(chat.Outcome, error)) {
	r.Node = n.id
	n.router.Submit(r, func(o chat.Outcome, err error) {
		if err != nil && !errors.As(err, new(*chat.Refusal)) {
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

// local hands a request to this node's sequencer.
func (n *Node) local(r chat.Request, done func(chat.Outcome, error)) {
	n.seq.Enqueue(r, func(o sequencer.Outcome[chat.Result], err error) {
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

// forward hands a request to the leader elsewhere.
func (n *Node) forward(r chat.Request, done func(chat.Outcome, error)) {
	n.raft.Forward(event.Marshal(&r), func(b []byte, err error) {
		if err != nil {
			done(chat.Outcome{}, err)
			return
		}
		var reply chat.Reply
		if err := event.Unmarshal(b, &reply); err != nil {
			done(chat.Outcome{}, err)
			return
		}
		if reply.Refusal != nil {
			done(reply.Outcome, reply.Refusal)
			return
		}
		done(reply.Outcome, nil)
	})
}

// serveForwarded decides a request that another node forwarded to this one. It must not block: the order of the
// calling node's requests is the order of these calls.
func (n *Node) serveForwarded(_ context.Context, _ event.NodeID, payload []byte, reply func([]byte)) {
	var r chat.Request
	if err := event.Unmarshal(payload, &r); err != nil {
		reply(event.Marshal(&chat.Reply{Refusal: chat.Refuse(chat.CodeUnsupported, "forwarded request: %v", err)}))
		return
	}
	n.local(r, func(o chat.Outcome, err error) {
		out := chat.Reply{Outcome: o}
		if err != nil {
			out.Refusal = chat.AsRefusal(err) // a lost leadership becomes "unavailable": the router tries again
		}
		reply(event.Marshal(&out))
	})
}

// retry says which errors leave the outcome unknown, or say that the leader is elsewhere by now.
func retry(err error) bool {
	for _, class := range []error{raftnode.ErrNoLeader, raftnode.ErrNotLeader, raftnode.ErrUnknownOutcome,
		sequencer.ErrNotLeader, sequencer.ErrUnknownOutcome} {
		if errors.Is(err, class) {
			return true
		}
	}
	return errors.Is(err, chat.ErrUnavailable) && !errors.Is(err, router.ErrBusy)
}

// leader tells the router where the leader is.
func (n *Node) leader() (known, here bool) {
	id, _, ok := n.raft.Leader()
	return ok, ok && id == n.id
}
