package sipfront

import (
	"context"
	"fmt"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/notices"
)

// Applied takes a run of events that this node's state has just folded, in log order, with the states before and after
// it. It prepares the messages and hands them to the shards; it waits only when the shards are a thousand runs
// behind. A front that missed runs would leave clients without messages, so the caller must not skip any.
func (f *Front) Applied(batch []event.Envelope, before, after *chat.State) {
	if len(batch) == 0 {
		return
	}
	r := &run{last: batch[len(batch)-1].Offset, after: after}
	told := notices.Node{ID: f.cfg.Node, NextEnv: func() uint64 { return f.nextEnv.Add(1) }}
	for _, a := range told.Of(batch, before, after) {
		r.acts = append(r.acts, act{Act: a, forms: new([2]form)})
	}
	lost, policies := false, false
	for i := range batch {
		e := &batch[i]
		switch ev := e.Event.(type) {
		case *event.Parted:
			if e.Node == f.cfg.Node {
				f.ledger.parted(endpointKey{e.By, ev.Endpoint}, e.Room, ev.Reason, e.Offset)
			}
		case *event.NodeLost:
			lost = lost || e.Node == f.cfg.Node && uint64(ev.Incarnation) == f.incarnation.Load()
		case *event.NodeStarted:
			known := f.incarnation.Load()
			lost = lost || e.Node == f.cfg.Node && known != 0 && uint64(ev.Incarnation) > known
		case *event.UserChanged, *event.UserRemoved, *event.PolicySet, *event.PolicyRemoved, *event.PolicyGranted, *event.PoolPlaced:
			policies = true
		}
	}
	for _, s := range f.shards {
		select {
		case s.slots <- struct{}{}:
		case <-f.stop:
			return
		}
		if !s.inbox.put(task{run: r}) {
			return
		}
	}
	if lost {
		f.lostOurselves()
	}
	if policies {
		f.turnOut(after, r.last)
	}
	f.noteIncarnation(after)
}

// WaitFor returns when everything up to an offset that was applied here is fanned out: whoever it puts out of a room hears
// nothing more of it, and whoever it is for has it queued. It waits for the apply too.
func (f *Front) WaitFor(ctx context.Context, at event.Offset) error {
	left := make(chan struct{}, len(f.shards))
	for _, s := range f.shards {
		s.after(at, func(*shard) { left <- struct{}{} })
	}
	for range f.shards {
		select {
		case <-left:
		case <-f.stop: // nobody hears anything any more
			return nil
		case <-ctx.Done():
			return fmt.Errorf("wait until event %d is fanned out: %w", at, ctx.Err())
		}
	}
	return nil
}

// turnOut closes the flows of users who may not use persistent chat any more (docs/rules.md, R15), behind what they are
// still to be told. The open client comes back by itself, is refused and shows why; after a BYE or a refusal in
// the dialog it would not (seen of pidgin-sipe).
func (f *Front) turnOut(st *chat.State, at event.Offset) {
	for _, d := range f.ledger.dialogs() {
		if c := d.client; !st.Enabled(d.user) {
			c.shard.after(at, func(*shard) { c.conn.Finish(closedNotEnabled) })
		}
	}
}

const closedNotEnabled = "not_enabled"

// lostOurselves closes all flows: the pool has parted our sessions, so every client must sign in again. That is the one
// thing clients recover from by themselves (seen of pidgin-sipe).
func (f *Front) lostOurselves() {
	f.log.Error("the pool holds this node for lost: closing all SIP flows")
	f.ledger.forgetAll()
	for _, c := range f.conns() {
		c.Close(closedNodeLost)
	}
}

const closedNodeLost = "node_lost"
