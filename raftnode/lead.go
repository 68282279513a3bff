package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

const (
	leadRetry    = 50 * time.Millisecond // before OnLead is called again
	leadAttempts = 5                     // of OnLead that ended early, until the leadership is handed over
)

// watchLeadership starts and ends OnLead. Raft blocks on notify, so nothing here may.
func (n *Node) watchLeadership(notify <-chan bool, observed <-chan raft.Observation) {
	var cancel context.CancelFunc = func() {}
	var running chan struct{} // closed when the last term's OnLead has returned
	changed := func() {
		n.forward.follow()
		if n.cfg.OnChange != nil {
			n.cfg.OnChange()
		}
	}
	for {
		select {
		case lead := <-notify:
			cancel()
			cancel = func() {}
			if lead {
				n.contacts.lead()
				n.logger.Info("leads the pool", keyTerm, n.raft.CurrentTerm())
				ctx, stop := context.WithCancel(n.ctx)
				before, done := running, make(chan struct{})
				cancel, running = stop, done
				n.work.Go(func() {
					defer close(done)
					defer stop()
					if before != nil {
						<-before
					}
					n.lead(ctx)
				})
			} else {
				n.logger.Info("leads no more", keyTerm, n.raft.CurrentTerm())
			}
			n.metrics.leaderChanges.Inc()
			changed()
		case <-observed:
			changed()
		case <-n.ctx.Done():
			cancel()
			if running != nil {
				<-running
			}
			for { // raft may still be stepping down
				select {
				case <-notify:
				case <-observed:
				case <-n.raftDown:
					return
				}
			}
		}
	}
}

// lead runs OnLead for one term.
func (n *Node) lead(ctx context.Context) {
	if n.cfg.OnLead == nil {
		return
	}
	for attempt := 1; ctx.Err() == nil; attempt++ {
		n.cfg.OnLead(ctx)
		select {
		case <-time.After(leadRetry):
		case <-ctx.Done():
			return
		}
		if attempt%leadAttempts == 0 {
			n.logger.Warn("cannot decide: handing the leadership over", "attempts", attempt)
			if err := n.Transfer(ctx, ""); err != nil && ctx.Err() == nil {
				n.logger.Warn("nobody takes the leadership", keyError, err)
			}
		}
	}
}
