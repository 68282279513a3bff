package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley/cmd/internal/demo"
	"parley/log/event"
	"parley/projections/chat"
	"parley/raftnode/sequencer"
	"parley/webfront/objects"
)

// lead runs while this node leads: it decides commands, forms a new pool, and records nodes that are gone.
func (n *Node) lead(ctx context.Context) {
	select {
	case <-n.raftUp:
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	duties := make(chan struct{})
	go func() {
		defer close(duties)
		for {
			err := n.form(ctx)
			if err == nil {
				break
			}
			if pause(ctx) != nil {
				return
			}
			n.logger.Warn("form the pool; trying again", keyError, err)
		}
		n.watchPeers(ctx)
	}()
	if err := n.seq.Lead(ctx); err != nil && ctx.Err() == nil {
		n.logger.Warn("this node cannot decide for now", keyError, err)
	}
	cancel()
	<-duties
}

// form makes the log's first events if there are none. A leader lost half way leaves the rest to the next one: every
// command here has an identity or an id of its own, so what took effect is not repeated.
func (n *Node) form(ctx context.Context) error {
	if err := n.roomsRun.WaitFor(ctx, n.log.Head().Offset); err != nil {
		return err
	}
	self := chat.Origin{By: event.NodePrincipal(n.id), Trusted: true}
	if !n.rooms.Current().Formed() {
		_, err := n.Do(ctx, chat.Request{Origin: self, Command: &chat.FormPool{Domain: n.cfg.Domain, PoolURI: n.cfg.PoolURI}})
		if err != nil && !errors.Is(err, chat.ErrConflict) {
			return fmt.Errorf("form pool %s: %w", n.cfg.PoolURI, err)
		}
	}
	return nil
}

// makeDemo makes the demo directory of a new pool. Every node does it before it is ready, so that a ready node has
// the rooms: the commands have an identity, so they take effect once, whoever is first.
func (n *Node) makeDemo(ctx context.Context) error {
	if !n.cfg.Demo || n.rooms.Current().Offset() > demoWithin {
		return nil
	}
	secret := func(user event.Principal, realm, password string) event.Secret {
		return objects.NewSecret(user, realm, password, n.cfg.SIP.DigestMD5)
	}
	for _, r := range demo.Requests(n.cfg.Domain, secret) {
		_, err := n.Do(ctx, r)
		for errors.Is(err, chat.ErrUnavailable) { // the leader changed
			if err := pause(ctx); err != nil {
				return err
			}
			_, err = n.Do(ctx, r)
		}
		if err != nil && !errors.Is(err, chat.ErrConflict) {
			return fmt.Errorf("make the demo directory: %w", err)
		}
	}
	return nil
}

// demoWithin: the demo directory belongs to a new pool only. Later a demo room that somebody removed must not come
// back because a leader changed. It is fewer than twenty events, and a few node starts may come between them.
const demoWithin event.Offset = 64

// watchPeers records a node that has been silent for too long: one event that parts all its sessions.
func (n *Node) watchPeers(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var before map[event.NodeID]bool // silent at the last look
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		gone := map[event.NodeID]string{}
		silent := map[event.NodeID]bool{}
		members := map[event.NodeID]bool{n.id: true}
		for _, m := range n.raft.Status() {
			members[m.ID] = true
		}
		for _, id := range n.raft.Down() {
			if silent[id] = true; before[id] { // twice in a row, since to a process that was stopped for a while everybody seems to be gone
				gone[id] = "no contact"
			}
		}
		before = silent
		for node := range n.rooms.Current().Nodes() {
			id, reason := node.ID, gone[node.ID]
			if !members[id] {
				reason = "removed from the pool"
			}
			if !node.Alive || id == n.id || reason == "" {
				continue
			}
			err := n.decideHere(ctx, chat.Request{
				Origin:  chat.Origin{By: event.NodePrincipal(n.id), Trusted: true},
				Command: &chat.LoseNode{Node: id, Incarnation: node.Incarnation, Reason: reason},
			})
			if err != nil && ctx.Err() == nil {
				n.logger.Warn("record a lost node", keyNode, string(id), keyError, err)
			}
		}
	}
}

// decideHere has a request decided by this node or not at all. A leader's own observation is worth nothing once another
// leads, who may be in touch with the node that this one has lost.
func (n *Node) decideHere(ctx context.Context, q chat.Request) error {
	done := make(chan error, 1)
	n.seq.Enqueue(q, func(_ sequencer.Outcome[chat.Result], err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
