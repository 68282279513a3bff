package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"parley/log/event"
	"parley/projections"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/raftnode"
	"parley/raftnode/sequencer"
	"parley/raftnode/submit"
	"parley/search"
	"parley/sipfront"
	"parley/sipfront/commands"
	"parley/webfront/admin"
	"parley/webfront/ops"
)

func (n *Node) openRaft() error {
	ln, err := net.Listen("tcp", n.cfg.Listen.Peer)
	if err != nil {
		return fmt.Errorf("listen for peers: %w", err)
	}
	n.peer = ln.Addr()
	advertise := n.peer.String()
	var founders []raftnode.Server
	for _, p := range n.cfg.Peers {
		if p.ID == n.cfg.Node {
			advertise = p.Addr
		}
		founders = append(founders, raftnode.Server{ID: event.NodeID(p.ID), Addr: p.Addr, Standby: p.Standby})
	}
	t := n.cfg.Raft
	n.raft, err = raftnode.Open(raftnode.Config{
		ID:  n.id,
		Dir: filepath.Join(n.cfg.Data, "raft"),
		Network: raftnode.TLS(ln, n.identity.PeerServer(), func(to event.NodeID) *tls.Config {
			return n.identity.PeerClient(string(to))
		}),
		Advertise:     advertise,
		Bootstrap:     founders,
		Log:           n.log,
		Logger:        n.logger,
		Timers:        raftnode.Timers{Heartbeat: t.HeartbeatTimeout, Election: t.ElectionTimeout, Lease: t.LeaderLease, Commit: t.CommitTimeout},
		StoreDeadline: t.StoreDeadline,
		ReplaceAfter:  t.ReplaceVoterAfter,
		OnLead:        n.lead,
		OnChange:      n.leaderChanged,
		Serve:         submit.Serve(n.seq),
		Fatal:         n.fail,
	})
	return err
}

// openSequencer comes before openRaft: Raft may make this node the leader at once.
func (n *Node) openSequencer() {
	n.seqMetrics = sequencer.NewMetrics()
	n.seq = sequencer.New(sequencer.Config[chat.Request, chat.Result]{
		Proposer: proposer{n},
		Open:     n.openScratch,
		Now:      func() event.Time { return event.Time(time.Now().UnixNano()) },
		Logger:   n.logger,
		Metrics:  n.seqMetrics,
	})
}

// proposer lets the sequencer be made before the Raft node that it proposes to.
type proposer struct{ n *Node }

func (p proposer) Propose(s *event.Sealed) sequencer.Future { return p.n.raft.Propose(s) }
func (p proposer) Verify() sequencer.Future                 { return p.n.raft.Verify() }
func (p proposer) Barrier(ctx context.Context) error        { return p.n.raft.Barrier(ctx) }

// leaderChanged keeps the time since when nobody leads and wakes who waits for a leader.
func (n *Node) leaderChanged() {
	select {
	case <-n.raftUp:
	default:
		return // Open calls again
	}
	n.leaderMu.Lock() // what is read last is also noted last: Raft calls while open does
	defer n.leaderMu.Unlock()
	if _, _, ok := n.raft.Leader(); ok {
		n.noLeaderFrom.Store(0)
	} else {
		n.noLeaderFrom.CompareAndSwap(0, time.Now().UnixNano())
	}
	n.router.Poke()
}

// backend is the node as the SIP front sees it.
type backend struct{ *Node }

// State returns the newest snapshot.
func (b backend) State() *chat.State { return b.rooms.Current() }

// History waits until the messages are in the history and reads them.
func (b backend) History(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error) {
	// The caller's read is committed and folded by the state; the history may be a moment behind it.
	if err := b.historyRun.WaitFor(ctx, b.rooms.Current().Offset()); err != nil {
		return nil, err
	}
	return b.history.Messages(room, first, last)
}

// HistorySpan waits for the history too.
func (b backend) HistorySpan(ctx context.Context, room event.RoomID, from, to event.Time) (first, last uint64, err error) {
	if err := b.historyRun.WaitFor(ctx, b.rooms.Current().Offset()); err != nil {
		return 0, 0, err
	}
	return b.history.Span(room, from, to)
}

// FindRooms asks the search index.
func (b backend) FindRooms(ctx context.Context, q commands.RoomQuery) ([]event.RoomID, error) {
	wait, cancel := context.WithTimeout(ctx, indexWait)
	defer cancel()
	// A room made a moment ago should be found. An index that is being rebuilt answers with what it has.
	_ = b.search.WaitForRooms(wait, b.rooms.Current().Offset())
	rooms, err := b.search.Rooms(ctx, search.Query{Text: q.Text, Match: matchOf(q.Match), Descriptions: q.Descriptions, Limit: q.Limit}, q.Visible)
	return rooms, answerable(err)
}

// answerable makes a refusal of what the index cannot be asked.
func answerable(err error) error {
	if errors.Is(err, search.ErrInvalidQuery) {
		return chat.Refuse(chat.CodeInvalid, "%v", err)
	}
	return err
}

// FindMessages asks the search index; it finds what was posted before, unless the index is being rebuilt.
func (b backend) FindMessages(ctx context.Context, q commands.MessageQuery) (ids []uint64, total uint64, err error) {
	if !q.Now {
		wait, cancel := context.WithTimeout(ctx, indexWait)
		defer cancel()
		_ = b.search.WaitFor(wait, b.rooms.Current().Offset())
	}
	m := search.MessageQuery{Text: q.Query.Text, Match: matchOf(q.Query.Match), Rooms: []event.RoomID{q.Room}, By: q.Query.Authors,
		From: q.Query.From, Oldest: !q.Newest, Limit: q.Limit}
	if q.Query.To != 0 {
		m.To = q.Query.To + 1 // the index leaves the end out
	}
	if q.From > 0 { // where that message stands, or would
		m.After, m.Before, err = b.offsetsAround(q.Room, q.From)
	}
	if err != nil {
		return nil, 0, err
	}
	hits, total, err := b.search.Page(ctx, m, nil)
	for _, h := range hits {
		ids = append(ids, h.MessageID)
	}
	return ids, total, answerable(err)
}

// offsetsAround returns the offset of the last event before message id of a room, and that of the first message after it.
func (b backend) offsetsAround(room event.RoomID, id uint64) (before, after event.Offset, err error) {
	m, err := b.history.From(room, id)
	if err != nil {
		return 0, 0, err
	}
	switch {
	case m.ID == 0: // nothing from there on
		return event.Offset(1<<63 - 1), 0, nil
	case m.ID > id:
		return m.Offset - 1, m.Offset, nil
	}
	next, err := b.history.From(room, id+1)
	return m.Offset - 1, next.Offset, err
}

// matchOf is how the index calls a way to match.
func matchOf(m event.Match) search.Match {
	switch m {
	case event.MatchExact:
		return search.Phrase
	case event.MatchOr:
		return search.AnyWord
	}
	return search.AllWords
}

const indexWait = 2 * time.Second

// Available tells whether requests have a chance: false when nobody has led for longer than the patience.
func (b backend) Available() bool {
	from := b.noLeaderFrom.Load()
	return from == 0 || time.Since(time.Unix(0, from)) < b.cfg.SIP.LeaderWait
}

func (n *Node) openFront() error {
	c := sipfront.Config{
		Node: n.id, Logger: n.logger, MD5: n.cfg.SIP.DigestMD5, SessionExpires: n.cfg.SIP.SessionExpires,
	}
	c.Limits = flowLimits(n.cfg.SIP)
	open := n.cfg.SIP.LoopbackWithoutChallenge
	if a := n.cfg.Listen.SIP; a != "" {
		c.Listeners = append(c.Listeners, sipfront.Listener{Network: "tcp", Addr: a, AllowUnchallenged: open},
			sipfront.Listener{Network: "udp", Addr: a, AllowUnchallenged: open})
	}
	if a := n.cfg.Listen.SIPS; a != "" {
		c.Listeners = append(c.Listeners, sipfront.Listener{Network: "tls", Addr: a, TLS: n.identity.Server(), AllowUnchallenged: open})
	}
	f, err := sipfront.New(c, backend{n})
	if err != nil {
		return err
	}
	for i, a := range f.Addrs() {
		switch c.Listeners[i].Network {
		case "tcp":
			n.sip = a.String()
		case "tls":
			n.sips = a.String()
		}
	}
	n.front.Store(f)
	n.registry.MustRegister(f.Collectors()...)
	n.wg.Go(func() {
		if err := f.Serve(n.run); err != nil && n.run.Err() == nil {
			n.fail(fmt.Errorf("SIP front: %w", err))
		}
	})
	return nil
}

func (n *Node) openWeb() (err error) {
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), n.log.Metrics())
	for _, cs := range [][]prometheus.Collector{n.raft.Collectors(), n.seqMetrics.Collectors(), n.search.Collectors(), n.rooms.Collectors()} {
		n.registry.MustRegister(cs...)
	}
	n.registry.MustRegister(n.keyMetric(), projections.NewCollector("parley_projection", "projection", func() []*projections.Runner {
		return []*projections.Runner{n.roomsRun, n.historyRun, n.treeRun}
	}))
	if n.cfg.Listen.Ops != "" {
		if n.ops, err = net.Listen("tcp", n.cfg.Listen.Ops); err != nil {
			return fmt.Errorf("listen for operators: %w", err)
		}
		n.serveHTTP(n.ops, ops.Handler(n.registry, n.checks()))
	}
	if n.cfg.Listen.HTTPS != "" {
		ln, err := net.Listen("tcp", n.cfg.Listen.HTTPS)
		if err != nil {
			return fmt.Errorf("listen for HTTPS: %w", err)
		}
		n.https = ln
		o, err := n.adminOptions()
		if err != nil {
			return err
		}
		h, err := admin.New(o)
		if err != nil {
			return err
		}
		n.serveHTTP(tls.NewListener(ln, n.identity.Server()), h)
	}
	return nil
}

func (n *Node) serveHTTP(ln net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog:    slog.NewLogLogger(n.logger.Handler(), slog.LevelDebug), // scanners and half-open handshakes, mostly
		BaseContext: func(net.Listener) context.Context { return n.run }}
	n.web = append(n.web, s)
	n.wg.Go(func() {
		if err := s.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err))
		}
	})
}

// checks are the conditions of /readyz.
func (n *Node) checks() []ops.Check {
	out := []ops.Check{
		{Name: "started", Run: func(context.Context) error {
			select {
			case <-n.ready:
				return nil
			default:
				return errors.New("the node is not ready yet")
			}
		}},
		{Name: "leader", Run: func(context.Context) error {
			if _, _, ok := n.raft.Leader(); !ok {
				return errors.New("nobody leads the pool")
			}
			return nil
		}},
		{Name: "log", Live: true, Run: func(context.Context) error { return n.log.Err() }},
	}
	out = append(out, n.feedCheck(), n.silenceCheck(), n.keyCheck(), n.agreeCheck())
	for _, r := range n.runners() {
		out = append(out, ops.Check{Name: "projection-" + r.Name(), Run: func(context.Context) error { return r.Err() }})
	}
	return out
}
