package compliance

import (
	"context"
	"time"

	"parley/log/event"
)

// While posts wait to be decided on a node, its feeds work for a share of the time only: an event that is late for the archive
// costs nobody anything, a post that is late is waited for. A feed comes by at every block of events that it reads, and rests
// there for a multiple of the time that it has worked since. What is left of a core is then about a tenth for all feeds together.
const (
	givesWay  = 8                      // a feed rests so many times as long as it has worked, times the feeds of the node
	mostRest  = 500 * time.Millisecond // at a time
	staysBusy = 100 * time.Millisecond // a queue that was long a moment ago counts as long
)

// Busy is a Pool that knows whether posts wait on this node.
type Busy interface {
	// Busy reports whether commands wait to be decided, more than the next entry takes. It is asked often and must be cheap.
	Busy() bool
}

// mannered is the log as a feed reads it that gives way.
type mannered struct {
	Source
	busy   func() bool // nil: nobody has to wait
	feeds  func() int  // that work beside each other
	ctx    context.Context
	worked time.Time // since when; zero: the feed has waited for something
	until  time.Time // a busy node counts as busy until then
}

// begin says that the feed has waited until now: what follows is work.
func (m *mannered) begin(ctx context.Context) { m.ctx, m.worked = ctx, time.Now() }

// rest lets others go first.
func (m *mannered) rest() {
	if m.busy == nil || m.ctx == nil {
		return
	}
	now := time.Now()
	if m.busy() {
		m.until = now.Add(staysBusy)
	}
	if now.Before(m.until) {
		sleep(m.ctx, min(now.Sub(m.worked)*time.Duration(givesWay*max(m.feeds(), 1)), mostRest))
	}
	m.worked = time.Now()
}

// Read implements Source.
func (m *mannered) Read(from event.Offset, most int) ([]event.Envelope, error) {
	m.rest()
	return m.Source.Read(from, most)
}
