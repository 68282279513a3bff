package retention

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
	"parley/projections/chat"
)

// Attribute keys.
const (
	keyRoom     = "room"
	keyMessages = "messages"
	keyError    = "error"
)

// Pool is the node as this package sees it.
type Pool interface {
	Submit(ctx context.Context, c chat.Command) (chat.Outcome, error)
	State() *chat.State
	IsLeader() bool
}

// Config of Run.
type Config struct {
	Pool    Pool
	History History
	// Slowest returns up to where every feed has a receipt.
	Slowest func() event.Offset
	Now     func() event.Time
	Every   time.Duration // between two looks
	Metrics *Metrics      // nil: none
	Logger  *slog.Logger  // nil: silence
}

// Run looks for messages whose time is over, while this node leads, until ctx ends.
func Run(ctx context.Context, c Config) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(c.Pool.State)
	}
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	r := runner{Config: c}
	for {
		if c.Pool.IsLeader() {
			r.pass(ctx)
		} else {
			r.forget()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// looked is what a room was looked at for, and what is left in it.
type looked struct {
	until         event.Time
	epoch         event.Offset // of the holds
	room          event.Offset // revision
	imported      uint64
	held, waiting int
}

type runner struct {
	Config
	rooms map[event.RoomID]looked // in which nothing is due
}

func (r *runner) forget() {
	r.rooms = nil
	r.Metrics.held.Set(0)
	r.Metrics.waiting.Set(0)
}

// pass looks at every room once. What fails is tried again in the next one.
func (r *runner) pass(ctx context.Context) {
	s, now := r.Pool.State(), r.Now()
	epoch := s.Holds().Epoch()
	rooms := map[event.RoomID]looked{}
	held, waiting := 0, 0
	for room := range s.Rooms() {
		days := s.Retention(room.ID)
		if days == 0 || room.LastMessage == 0 {
			continue
		}
		at := looked{until: Over(now, days), epoch: epoch, room: room.Revision, imported: s.Holds().Trail(room.ID).Imported}
		before := r.rooms[room.ID]
		if at.held = before.held; at == (looked{before.until, before.epoch, before.room, before.imported, before.held, 0}) && before.waiting == 0 {
			rooms[room.ID] = at
			held += at.held
			continue
		}
		p, err := r.purge(ctx, s, room, at.until)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.Logger.Warn("messages whose time is over stay for now", keyRoom, string(room.ID), keyError, err)
			continue
		}
		held, waiting = held+p.Held, waiting+p.Waiting
		at.held, at.waiting = p.Held, p.Waiting
		rooms[room.ID] = at
	}
	r.rooms = rooms
	r.Metrics.held.Set(float64(held))
	r.Metrics.waiting.Set(float64(waiting))
	r.Metrics.passes.Inc()
}

// purge has what is due in a room removed.
func (r *runner) purge(ctx context.Context, s *chat.State, room chat.Room, until event.Time) (Plan, error) {
	p, err := Look(ctx, s, room, until, r.Slowest(), r.History)
	if err != nil {
		return p, err
	}
	for _, c := range p.Commands {
		if _, err := r.Pool.Submit(ctx, c); err != nil {
			return p, err
		}
	}
	if p.Due > 0 {
		r.Metrics.purged.Add(float64(p.Due))
		r.Logger.Info("messages whose time was over were purged", keyRoom, string(room.ID), keyMessages, p.Due)
	}
	return p, nil
}

// Metrics are the collectors of a node.
type Metrics struct {
	purged, passes prometheus.Counter
	held, waiting  prometheus.Gauge
	holds          prometheus.Collector
}

// NewMetrics builds them; state is asked for the holds.
func NewMetrics(state func() *chat.State) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_retention_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_retention_" + name, Help: help})
	}
	return &Metrics{
		purged:  counter("purged_messages_total", "Messages that this node, as the leader, had purged because their time was over."),
		passes:  counter("passes_total", "Times that this node looked at all rooms, as the leader."),
		held:    gauge("held_messages", "Messages whose time is over and that a legal hold keeps, when the leader last looked; 0 on the others."),
		waiting: gauge("waiting_messages", "Messages whose time is over and that some compliance feed has no receipt for, when the leader last looked; 0 on the others."),
		holds: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_retention_holds", Help: "Legal holds that are not released."}, func() float64 {
			n := 0
			for h := range state().Holds().All() {
				if !h.Released {
					n++
				}
			}
			return float64(n)
		}),
	}
}

// Collectors returns what to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.purged, m.passes, m.held, m.waiting, m.holds}
}
