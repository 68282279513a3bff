package compliance

import (
	"context"
	"time"

	"parley/log/event"
)

// While posts wait to be decided on a node, its feeds work for a share of the time only: an event that is late for the archive
// costs nobody anything, a post that is late is waited for. A feed comes by with every read, and when it has worked for a turn it
// rests for a multiple of that. What is left of a core is then about a tenth for all feeds together; a third of one while nobody
// waits, but the pool is used: three feeds that are due at the same moment would otherwise have all cores for some 10 ms, once
// a second, and each post of that time waits on each of its ways through the pool.
const (
	givesWay  = 8                      // a feed rests so many times as long as it has worked, times the feeds of the node
	goesEasy  = 2                      // the same while nobody waits
	turn      = 200 * time.Microsecond // of work, at least, before it rests
	mostRest  = 500 * time.Millisecond // at a time
	staysBusy = 100 * time.Millisecond // a queue that was long a moment ago counts as long, and a pool that was used as used
)

// Busy is a Pool that knows whether posts wait on this node.
type Busy interface {
	// Busy reports whether commands wait to be decided, more than the next entry takes. It is asked often and must be cheap.
	Busy() bool
}

// mannered is the log as a feed reads it that gives way.
type mannered struct {
	Source
	busy   func() bool         // nil: nobody has to wait
	head   func() event.Offset // of the log, as this node knows it; nil: nobody uses the pool
	feeds  func() int          // that work beside each other
	ctx    context.Context
	worked time.Time    // since when; zero: the feed has waited for something
	at     event.Offset // where the head was
	until  time.Time    // a busy node counts as busy until then
	used   time.Time    // and a pool that is used as used
}

// begin says that the feed has waited until now: what follows is work.
func (m *mannered) begin(ctx context.Context) { m.ctx, m.worked = ctx, time.Now() }

// rest lets others go first.
func (m *mannered) rest() {
	if m.ctx == nil {
		return
	}
	now := time.Now()
	worked := now.Sub(m.worked)
	if worked < turn {
		return
	}
	if m.busy != nil && m.busy() {
		m.until = now.Add(staysBusy)
	}
	if m.head != nil {
		if at := m.head(); at != m.at {
			m.at, m.used = at, now.Add(staysBusy)
		}
	}
	worked *= time.Duration(max(m.feeds(), 1))
	switch {
	case now.Before(m.until):
		sleep(m.ctx, min(worked*givesWay, mostRest))
	case now.Before(m.used):
		sleep(m.ctx, min(worked*goesEasy, mostRest))
	}
	m.worked = time.Now()
}

// Read implements Source.
func (m *mannered) Read(from event.Offset, most int) ([]event.Envelope, error) {
	m.rest()
	return m.Source.Read(from, most)
}
