package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"parley/log/event"
)

// State is what a member is at the moment.
type State string

// The states.
const (
	StateLeader  State = "leader"
	StateVoter   State = "voter"
	StateStandby State = "standby"
	StateDown    State = "down" // silent for longer than Timers.Silent; only the leader can tell
)

// Member is a node of the pool as this node sees it.
type Member struct {
	ID    event.NodeID
	Addr  string
	Voter bool
	State State
	// Index up to which the member's log is known to equal the leader's. Known to the leader for all, to another node
	// for itself only; 0: not known.
	Index event.Index
	// LastContact is how long ago the member was last heard of. Known to the leader for all, to another node for the
	// leader only; negative: not known.
	LastContact time.Duration
}

// Status returns the members, in the order of the membership.
func (n *Node) Status() []Member {
	leads := n.IsLeader()
	leader, _, _ := n.Leader()
	now := time.Now()
	var out []Member
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		m := Member{ID: event.NodeID(s.ID), Addr: string(s.Address), Voter: s.Suffrage == raft.Voter, LastContact: -1}
		switch {
		case m.ID == n.cfg.ID:
			m.Index, m.LastContact = n.cfg.Log.LastIndex(), 0
		case leads:
			c := n.contacts.of(s.ID)
			m.Index, m.LastContact = c.match, now.Sub(c.last)
		case m.ID == leader:
			m.LastContact = now.Sub(n.raft.LastContact())
		}
		switch {
		case m.ID == leader:
			m.State = StateLeader
		case m.LastContact > n.cfg.Timers.Silent:
			m.State = StateDown
		case m.Voter:
			m.State = StateVoter
		default:
			m.State = StateStandby
		}
		out = append(out, m)
	}
	return out
}

// Down returns the members that have been silent for longer than Timers.Silent. Only the leader knows: elsewhere the
// answer is empty.
func (n *Node) Down() []event.NodeID {
	if !n.IsLeader() {
		return nil
	}
	var out []event.NodeID
	for _, m := range n.Status() {
		if m.State == StateDown {
			out = append(out, m.ID)
		}
	}
	return out
}

// member returns the entry of the membership, nil if there is none.
func (n *Node) member(id event.NodeID) *raft.Server {
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.ID == raft.ServerID(id) {
			return &s
		}
	}
	return nil
}

// change waits for a change of the membership.
func (n *Node) change(ctx context.Context, what string, start func(timeout time.Duration) raft.Future) error {
	if !n.begin() {
		return fmt.Errorf("%s: %w", what, ErrNotLeader)
	}
	done := make(chan error, 1)
	go func() {
		defer n.proposals.Done()
		done <- start(n.cfg.StoreDeadline).Error()
	}()
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return classify(what, err)
		}
		return fmt.Errorf("%s: %w", what, err)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", what, ErrUnknownOutcome, ctx.Err())
	}
}

// AddStandby adds a node that replicates the log and has no vote. If it is a standby already its address is changed.
// It needs the leadership, as all changes of the membership do.
func (n *Node) AddStandby(ctx context.Context, id event.NodeID, addr string) error {
	if s := n.member(id); s != nil && s.Suffrage == raft.Voter {
		return fmt.Errorf("add standby %s: it is a voter", id)
	}
	return n.change(ctx, fmt.Sprintf("add standby %s", id), func(t time.Duration) raft.Future {
		return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), 0, t)
	})
}

// AddVoter adds a node with a vote: as a standby first, until it has the log. Until then it does not count, so a pool
// of one can grow without depending on a newcomer that never answers. When ctx ends first the node stays a standby.
func (n *Node) AddVoter(ctx context.Context, id event.NodeID, addr string) error {
	if s := n.member(id); s != nil && s.Suffrage == raft.Voter {
		return n.change(ctx, fmt.Sprintf("change the address of %s", id), func(t time.Duration) raft.Future {
			return n.raft.AddVoter(s.ID, raft.ServerAddress(addr), 0, t)
		})
	}
	if err := n.AddStandby(ctx, id, addr); err != nil {
		return err
	}
	return n.Promote(ctx, id)
}

// Promote gives a standby a vote once it has everything that is committed now and answers promptly.
func (n *Node) Promote(ctx context.Context, id event.NodeID) error {
	s := n.member(id)
	switch {
	case s == nil:
		return fmt.Errorf("promote %s: no such member", id)
	case s.Suffrage == raft.Voter:
		return nil
	}
	want := event.Index(n.raft.CommitIndex())
	for {
		changed := n.contacts.changed()
		if !n.IsLeader() {
			return fmt.Errorf("promote %s: %w", id, ErrNotLeader)
		}
		c := n.contacts.of(s.ID)
		if c.match >= want && time.Since(c.last) < n.cfg.Timers.Lease {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("promote %s: it has the log up to entry %d of %d, last heard of %v ago; it stays a standby: %w",
				id, c.match, want, time.Since(c.last).Round(time.Millisecond), ctx.Err())
		}
	}
	return n.change(ctx, fmt.Sprintf("promote %s", id), func(t time.Duration) raft.Future {
		return n.raft.AddVoter(s.ID, s.Address, 0, t)
	})
}

// Remove takes a node out of the pool. Its name must not come back with an emptied directory as a voter: add it as a
// standby. A leader that removes itself leads until that is committed.
func (n *Node) Remove(ctx context.Context, id event.NodeID) error {
	if n.member(id) == nil {
		return fmt.Errorf("remove %s: no such member", id)
	}
	return n.change(ctx, fmt.Sprintf("remove %s", id), func(t time.Duration) raft.Future {
		return n.raft.RemoveServer(raft.ServerID(id), 0, t)
	})
}

// Transfer hands the leadership to a voter; an empty id means whoever is most up to date. It returns once this node
// leads no more.
func (n *Node) Transfer(ctx context.Context, id event.NodeID) error {
	if id == n.cfg.ID {
		return nil
	}
	what, start := "transfer the leadership", func(time.Duration) raft.Future { return n.raft.LeadershipTransfer() }
	if id != "" {
		s := n.member(id)
		if s == nil || s.Suffrage != raft.Voter {
			return fmt.Errorf("transfer the leadership to %s: it is not a voter", id)
		}
		what += " to " + string(id)
		start = func(time.Duration) raft.Future { return n.raft.LeadershipTransferToServer(s.ID, s.Address) }
	}
	if !n.IsLeader() {
		return fmt.Errorf("%s: %w", what, ErrNotLeader)
	}
	return n.change(ctx, what, start)
}
