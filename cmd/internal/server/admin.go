package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"parley/cmd/internal/config"
	"parley/cmd/internal/version"
	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/raftnode"
	"parley/sipfront/flow"
	"parley/webfront/admin"
)

// adminPool is the node as the admin API sees it.
type adminPool struct{ n *Node }

// Submit submits an administrator's command.
func (p adminPool) Submit(ctx context.Context, r chat.Request) (chat.Outcome, error) {
	return p.n.Do(ctx, r)
}

// State returns the newest snapshot.
func (p adminPool) State() *chat.State { return p.n.rooms.Current() }

// Scratch returns a copy of it that the caller may fold into.
func (p adminPool) Scratch() *chat.State { return p.n.rooms.Clone() }

// Await returns when this node shows the event at an offset, to its chat clients too.
func (p adminPool) Await(ctx context.Context, at event.Offset) error {
	if err := p.n.roomsRun.WaitFor(ctx, at); err != nil {
		return err
	}
	if f := p.n.front.Load(); f != nil {
		return f.WaitFor(ctx, at)
	}
	return nil
}

// Node returns this node's own figures.
func (p adminPool) Node() admin.NodeStatus {
	head := p.n.log.Head().Offset
	applied := p.n.roomsRun.Offset()
	s := admin.NodeStatus{Node: p.n.id, Applied: applied, Committed: head, Version: version.Number}
	if head > applied {
		s.Lag = head - applied
	}
	for range p.n.rooms.Current().SessionsOn(p.n.id) {
		s.Sessions++
	}
	return s
}

// Digest returns what this node is compared by.
func (p adminPool) Digest(ctx context.Context, at event.Offset) (admin.Digest, error) {
	return p.n.digest(ctx, at)
}

// Members returns the pool as Raft knows it, with the API addresses that the configuration knows.
func (p adminPool) Members() []admin.Member {
	https := map[event.NodeID]string{}
	for _, peer := range p.n.cfg.Peers {
		https[event.NodeID(peer.ID)] = peer.HTTPS
	}
	var out []admin.Member
	for _, m := range p.n.raft.Status() {
		out = append(out, admin.Member{ID: m.ID, Addr: m.Addr, HTTPS: https[m.ID], State: string(m.State)})
	}
	return out
}

// Add adds a node to the membership.
func (p adminPool) Add(ctx context.Context, id event.NodeID, addr string, standby bool) error {
	if standby {
		return membership(p.n.raft.AddStandby(ctx, id, addr))
	}
	return membership(p.n.raft.AddVoter(ctx, id, addr))
}

// Remove removes a node from the membership.
func (p adminPool) Remove(ctx context.Context, id event.NodeID) error {
	return membership(p.n.raft.Remove(ctx, id))
}

// Promote gives a standby a vote.
func (p adminPool) Promote(ctx context.Context, id event.NodeID) error {
	return membership(p.n.raft.Promote(ctx, id))
}

// Transfer hands the leadership over.
func (p adminPool) Transfer(ctx context.Context, to event.NodeID) error {
	return membership(p.n.raft.Transfer(ctx, to))
}

func membership(err error) error {
	if errors.Is(err, raftnode.ErrNotLeader) {
		return fmt.Errorf("%w: %w", admin.ErrNotLeader, err)
	}
	return err
}

// Projections returns the state of this node's derived data.
func (p adminPool) Projections() []admin.ProjectionStatus {
	versions := p.n.search.Versions()
	versions[p.n.rooms.Name()], versions[p.n.history.Name()] = p.n.rooms.Version(), p.n.history.Version()
	versions[p.n.tree.Name()] = p.n.tree.Version()
	var out []admin.ProjectionStatus
	for _, r := range p.n.runners() {
		s := admin.ProjectionStatus{Projection: r.Name(), Node: p.n.id, Version: versions[r.Name()], State: "running",
			Offset: r.Offset(), Lag: event.Offset(r.Lag())}
		if err := r.Err(); err != nil {
			s.State, s.LastError = "stopped", err.Error()
		}
		out = append(out, s)
	}
	return out
}

// runners are all readers that keep derived data.
func (n *Node) runners() []*projections.Runner {
	return append([]*projections.Runner{n.roomsRun, n.historyRun, n.treeRun}, n.search.Runners()...)
}

func (n *Node) adminOptions() (admin.Options, error) {
	o := admin.Options{Pool: adminPool{n}, Log: n.log, Node: n.id, Logger: n.logger, DigestMD5: n.cfg.SIP.DigestMD5,
		Now:    func() event.Time { return event.Time(time.Now().UnixNano()) },
		NewID:  uuid.NewString,
		Remote: n.nodes.Status, FeedOps: n.feedOps(), Current: n.current.Load,
		// The history may be a moment behind the state.
		History: func(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error) {
			return backend{n}.History(ctx, room, first, last)
		},
	}
	var err error
	if o.Prover, err = n.openProver(); err != nil {
		return o, err
	}
	for _, c := range n.cfg.Admin.Credentials {
		o.Credentials = append(o.Credentials, admin.Credential{Name: c.Name, SHA256: c.SHA256})
	}
	return o, nil
}

// Addresses are what a node really listens on, empty where it does not.
type Addresses struct{ SIP, SIPS, HTTPS, Peer, Ops string }

// Addresses returns where the node listens. Call it once Ready is closed.
func (n *Node) Addresses() Addresses {
	a := Addresses{SIP: n.sip, SIPS: n.sips, Peer: n.peer.String()}
	if n.https != nil {
		a.HTTPS = n.https.Addr().String()
	}
	if n.ops != nil {
		a.Ops = n.ops.Addr().String()
	}
	return a
}

// Leader returns who leads, empty when nobody is known to.
func (n *Node) Leader() string {
	id, _, _ := n.raft.Leader()
	return string(id)
}

func flowLimits(c config.SIP) flow.Limits {
	return flow.Limits{Conns: c.MaxConnections, UnknownPerHost: c.MaxConnectionsPerSource}
}
