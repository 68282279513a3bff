package adaptertest

import (
	"context"
	"fmt"
	"sync"

	"parley/compliance"
	"parley/log/event"
	"parley/projections/chat"
)

// World is a pool in memory under the real rules: one log, one leader, and as many nodes as are asked for. It commits
// at once and forgets nothing.
type World struct {
	mu     sync.Mutex
	state  *chat.State // owned here
	seen   *chat.State // what everybody reads
	events []event.Envelope
	moved  chan struct{}
	now    event.Time
	ids    int
	leader event.NodeID
	faults func(node event.NodeID, c chat.Command) (before, after error)
	frozen map[event.NodeID]*chat.State
}

// NewWorld returns a pool without events, led by n1. Its first instant is 2026-01-02 03:04:05.678901234 UTC.
func NewWorld() *World {
	s := chat.NewState()
	return &World{state: s, seen: s.Clone(), moved: make(chan struct{}), now: 1767323045678901234, leader: "n1",
		frozen: map[event.NodeID]*chat.State{}}
}

var _ compliance.Source = (*World)(nil)

// Do decides and commits a command one second after the last one.
func (w *World) Do(r chat.Request) (chat.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += 1e9
	d, err := chat.Decide(w.state, r, chat.Env{At: w.now, NewID: func() string {
		w.ids++
		return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.ids)
	}})
	if err != nil {
		return chat.Outcome{}, err
	}
	for _, draft := range d.Events {
		e := event.Envelope{Offset: event.Offset(len(w.events) + 1), At: w.now, Meta: draft.Meta, Event: draft.Event}
		if err := w.state.Fold(e, nil); err != nil {
			return chat.Outcome{}, err
		}
		w.events = append(w.events, e)
	}
	w.seen = w.state.Clone()
	close(w.moved)
	w.moved = make(chan struct{})
	return chat.Outcome{Offset: event.Offset(len(w.events)), At: w.now, Result: d.Result}, nil
}

// Must is Do for the making of a scene: it panics on a refusal.
func (w *World) Must(r chat.Request) chat.Outcome {
	out, err := w.Do(r)
	if err != nil {
		panic(fmt.Sprintf("%T: %v", r.Command, err))
	}
	return out
}

// Read implements compliance.Source.
func (w *World) Read(from event.Offset, limit int) ([]event.Envelope, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if int(from) > len(w.events) {
		return nil, nil
	}
	run := w.events[from-1:]
	return run[:min(limit, len(run))], nil
}

// WaitFor implements compliance.Source.
func (w *World) WaitFor(ctx context.Context, at event.Offset) error {
	for {
		w.mu.Lock()
		head, moved := event.Offset(len(w.events)), w.moved
		w.mu.Unlock()
		if head >= at {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Events returns all events so far.
func (w *World) Events() []event.Envelope {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[:len(w.events):len(w.events)]
}

// Head returns the offset of the last event.
func (w *World) Head() event.Offset {
	w.mu.Lock()
	defer w.mu.Unlock()
	return event.Offset(len(w.events))
}

// State returns the newest state.
func (w *World) State() *chat.State { w.mu.Lock(); defer w.mu.Unlock(); return w.seen }

// Lead makes a node the leader.
func (w *World) Lead(n event.NodeID) { w.mu.Lock(); w.leader = n; w.mu.Unlock() }

// Faults makes commands of nodes fail: before they are decided, or after they took effect, as a lost answer does.
func (w *World) Faults(f func(node event.NodeID, c chat.Command) (before, after error)) {
	w.mu.Lock()
	w.faults = f
	w.mu.Unlock()
}

// Freeze keeps a node at the state it has now, as one that is cut off; Thaw lets it go on.
func (w *World) Freeze(n event.NodeID) { w.mu.Lock(); w.frozen[n] = w.seen; w.mu.Unlock() }

// Thaw ends Freeze.
func (w *World) Thaw(n event.NodeID) { w.mu.Lock(); delete(w.frozen, n); w.mu.Unlock() }

// Node returns the pool as one of its nodes sees it.
func (w *World) Node(id event.NodeID) *Node { return &Node{world: w, id: id} }

// Node is a compliance.Pool.
type Node struct {
	world *World
	id    event.NodeID
}

var _ compliance.Pool = (*Node)(nil)

// Submit implements compliance.Pool.
func (n *Node) Submit(ctx context.Context, c chat.Command) (chat.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return chat.Outcome{}, chat.AsRefusal(err)
	}
	n.world.mu.Lock()
	faults := n.world.faults
	n.world.mu.Unlock()
	var before, after error
	if faults != nil {
		before, after = faults(n.id, c)
	}
	if before != nil {
		return chat.Outcome{}, before
	}
	out, err := n.world.Do(chat.Request{Origin: chat.Origin{By: event.NodePrincipal(n.id), Node: n.id, Trusted: true}, Command: c})
	if err == nil {
		err = after
	}
	if err != nil {
		return chat.Outcome{}, err
	}
	return out, nil
}

// State implements compliance.Pool.
func (n *Node) State() *chat.State {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if s := n.world.frozen[n.id]; s != nil {
		return s
	}
	return n.world.seen
}

// IsLeader implements compliance.Pool.
func (n *Node) IsLeader() bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.world.leader == n.id && n.world.frozen[n.id] == nil
}

// Node implements compliance.Pool.
func (n *Node) Node() event.NodeID { return n.id }
