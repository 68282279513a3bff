package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"parley/log"
	"parley/log/event"
)

// Future is a wait for an entry. It is an alias of an unnamed type, so that Node satisfies the Proposer of
// raftnode/sequencer, which this package does not know.
type Future = interface {
	// Wait returns the offsets of the entry's first and last event once it is committed. Errors are of class ErrVoid
	// or ErrNotLeader (no effect) or ErrUnknownOutcome, also when ctx ends first.
	Wait(ctx context.Context) (first, last event.Offset, err error)
}

type future struct {
	done        chan struct{}
	first, last event.Offset
	err         error
}

func newFuture() *future { return &future{done: make(chan struct{})} }

func failed(err error) *future {
	f := newFuture()
	f.err = err
	close(f.done)
	return f
}

// Wait implements Future.
func (f *future) Wait(ctx context.Context) (first, last event.Offset, err error) {
	select {
	case <-f.done:
		return f.first, f.last, f.err
	default:
	}
	select {
	case <-f.done:
		return f.first, f.last, f.err
	case <-ctx.Done():
		return 0, 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// begin admits a goroutine that waits for raft, unless the node shuts down.
func (n *Node) begin() bool {
	n.closing.RLock()
	defer n.closing.RUnlock()
	if n.closed {
		return false
	}
	n.proposals.Add(1)
	return true
}

// Propose submits an entry that this node has sealed. Calls of one goroutine commit in their order or not at all. It blocks only while raft's
// queue of 64 entries is full, for at most StoreDeadline.
func (n *Node) Propose(s *event.Sealed) Future {
	if !n.IsLeader() || !n.begin() {
		return failed(ErrNotLeader)
	}
	start := time.Now()
	f := newFuture()
	n.cfg.Log.Expect(s)
	r := n.raft.Apply(s.Data, n.cfg.StoreDeadline)
	go func() {
		defer n.proposals.Done()
		defer close(f.done)
		if err := r.Error(); err != nil {
			f.err = classify("propose", err)
			return
		}
		switch c := r.Response().(type) {
		case log.Committed:
			n.metrics.commits.Inc()
			n.metrics.commitSeconds.Observe(time.Since(start).Seconds())
			if f.first, f.last = c.First, c.Last; c.Void {
				f.err = ErrVoid
			}
		case error: // the log could not commit it, and the node is ending
			f.err = fmt.Errorf("%w: %w", ErrUnknownOutcome, c)
		default:
			f.err = fmt.Errorf("%w: raft applied an entry without a result", ErrUnknownOutcome)
		}
	}()
	return f
}

// Barrier returns once everything that any leader proposed before is committed and applied to this node's log, or
// will never be. It needs the leadership.
func (n *Node) Barrier(ctx context.Context) error {
	if !n.begin() {
		return ErrNotLeader
	}
	r := n.raft.Barrier(n.cfg.StoreDeadline)
	done := make(chan error, 1)
	go func() {
		defer n.proposals.Done()
		done <- r.Error()
	}()
	select {
	case err := <-done:
		if err != nil {
			return classify("barrier", err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Verify's Future resolves without an error once a majority of voters has answered this leader, in its term, to
// something sent after the call. The library has VerifyLeader for that, but counts standbys as if they voted: an old
// leader with a standby on its side of a partition would be confirmed.
func (n *Node) Verify() Future {
	asked := time.Now()
	term := n.raft.CurrentTerm()
	if !n.IsLeader() || !n.begin() {
		return failed(ErrNotLeader)
	}
	f := newFuture()
	go func() {
		defer n.proposals.Done()
		defer close(f.done)
		// Without an answer for a whole lease raft gives up too.
		ctx, cancel := context.WithTimeout(n.ctx, 2*n.cfg.Timers.Heartbeat)
		defer cancel()
		for {
			changed := n.contacts.changed()
			if n.raft.CurrentTerm() != term || !n.IsLeader() {
				f.err = ErrNotLeader
				return
			}
			if n.confirmed(asked, term) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				f.err = fmt.Errorf("confirm the leadership: %w: no majority has answered", ErrUnknownOutcome)
				return
			}
		}
	}()
	return f
}

// confirmed reports whether a majority of voters has taken something that was sent after asked in this term.
func (n *Node) confirmed(asked time.Time, term uint64) bool {
	voters, yes := 0, 0
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == raft.ServerID(n.cfg.ID) || n.contacts.acked(s.ID, term, asked) {
			yes++
		}
	}
	return yes > voters/2
}

// classify says of an error of raft whether the call had no effect or may have had one.
func classify(what string, err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%s: %w: %w", what, ErrNotLeader, err)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrUnknownOutcome, err)
}
