package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"parley/log/event"
)

// The autopilot keeps the pool able to lose another node. A voter that stays silent counts for the quorum all the same:
// of three voters with one gone, the next loss stops the pool, however many standbys look on. So the leader gives a
// standby that has the log a vote, and takes the vote of the silent one, which is a standby when it comes back.
//
// The two changes are two entries, and the leader may die between them: then the number of voters is even, which says to
// every later leader what is left to do. Neither change can cost anything acknowledged, since each is committed by a
// majority of the voters before it and takes effect for a majority of those after it.

// autopilotEvery is how often the leader looks.
const autopilotEvery = 500 * time.Millisecond

// leastVoters is how many voters the autopilot leaves: with fewer a pool survives no loss at all.
const leastVoters = 3

// step is one change of the membership.
type step struct {
	promote, demote event.NodeID // one of them, or none
}

// plan returns the next step. Members are as the leader sees them; gone says whether a voter has been silent for long
// enough, current whether a standby has the log and answers.
//
// A vote is taken only from a voter that is gone, and only while leastVoters are left: with an even number of voters
// always, because one voter less then needs one vote less; with an odd number only if two or more are gone.
func plan(members []Member, gone, current func(Member) bool) step {
	voters := 0
	var lost, ready []event.NodeID
	for _, m := range members {
		switch {
		case m.Voter:
			voters++
			if gone(m) {
				lost = append(lost, m.ID)
			}
		case current(m):
			ready = append(ready, m.ID)
		}
	}
	switch {
	case len(lost) == 0:
		return step{}
	case voters > leastVoters && (voters%2 == 0 || len(lost) > 1):
		return step{demote: lost[0]}
	case len(ready) > 0 && voters >= leastVoters:
		return step{promote: ready[0]}
	}
	return step{}
}

// autopilot takes a step at a time while this node leads.
func (n *Node) autopilot() {
	tick := time.NewTicker(autopilotEvery)
	defer tick.Stop()
	var before step
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		if !n.IsLeader() {
			before = step{}
			continue
		}
		commit := event.Index(n.raft.CommitIndex())
		s := plan(n.Status(),
			func(m Member) bool { return m.ID != n.cfg.ID && m.LastContact > n.cfg.ReplaceAfter },
			func(m Member) bool { return m.Index >= commit && m.LastContact < n.cfg.Timers.Lease })
		if s != before { // twice in a row, since to a process that was stopped for a minute everybody seems to be gone
			before = s
			continue
		}
		var what string
		var id event.NodeID
		var err error
		// What fails is looked at again: the membership may have changed, or the leadership.
		ctx, cancel := context.WithTimeout(n.ctx, n.cfg.StoreDeadline)
		switch {
		case s.promote != "":
			what, id = "promote", s.promote
			err = n.Promote(ctx, id)
		case s.demote != "":
			what, id = "demote", s.demote
			err = n.Demote(ctx, id)
		}
		cancel()
		switch {
		case what == "" || n.ctx.Err() != nil:
		case err != nil:
			n.logger.Warn("autopilot could not change the membership; trying again", keyStep, what, keyPeer, id, keyError, err)
		default:
			n.metrics.autopilot.WithLabelValues(what).Inc()
			n.logger.Warn("autopilot changed the membership, because a voter is silent", keyStep, what, keyPeer, id)
		}
	}
}

// Demote takes the vote of a voter, which goes on as a standby. The last voter keeps its vote.
func (n *Node) Demote(ctx context.Context, id event.NodeID) error {
	return n.change(ctx, "demote "+string(id), func(t time.Duration) raft.Future {
		return n.raft.DemoteVoter(raft.ServerID(id), 0, t)
	})
}
