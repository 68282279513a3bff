package server

import (
	"context"
	"time"

	"parley/compliance/retention"
	"parley/log/event"
	"parley/projections/history"
)

// receipts returns up to where every compliance feed has a receipt.
func (n *Node) receipts() event.Offset { return n.feeds.Slowest(n.log.Head().Offset) }

// readHistory waits until the history is as far as the room state and reads it.
func (n *Node) readHistory(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error) {
	return backend{n}.History(ctx, room, first, last)
}

// retain has messages purged whose time is over, while this node leads.
func (n *Node) retain() {
	m := retention.NewMetrics(n.rooms.Current)
	n.registry.MustRegister(m.Collectors()...)
	n.wg.Go(func() {
		retention.Run(n.run, retention.Config{Pool: feedPool{n}, History: n.readHistory, Slowest: n.receipts, Every: n.cfg.Retention.Every,
			Now: func() event.Time { return event.Time(time.Now().UnixNano()) }, Metrics: m, Logger: n.logger})
	})
}
