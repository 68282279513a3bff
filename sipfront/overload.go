package sipfront

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"parley/sipfront/flow"
	"parley/sipfront/xccos"
)

// load is the budget of deliveries: a post costs by the members who get it (docs/performance.md, fanout), and each of them
// answers, so requests are the wrong unit. Deliveries are charged when they happen; while the account is in debt
// new work is refused. What is refused costs as little as what is answered, so goodput holds.
type load struct {
	rate, burst float64

	mu    sync.Mutex
	left  float64
	last  time.Time
	level atomic.Int32
}

// Levels of load.
const (
	loadNormal = iota
	loadHigh   // new dialogs, joins and searches are refused
	loadOver   // posts too
)

func newLoad(perSecond float64) *load {
	return &load{rate: perSecond, burst: perSecond, left: perSecond, last: time.Now()}
}

// spend charges deliveries.
func (l *load) spend(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	l.left -= float64(n)
	l.judge()
}

func (l *load) refill() {
	now := time.Now()
	l.left = min(l.left+now.Sub(l.last).Seconds()*l.rate, l.burst)
	l.last = now
}

// judge sets the level, with hysteresis: over at a debt, back when 40 % of the budget is there again.
func (l *load) judge() {
	was := l.level.Load()
	switch {
	case l.left < 0:
		l.level.Store(loadOver)
	case l.left < 0.4*l.burst && was == loadOver:
	case l.left < 0.2*l.burst || l.left < 0.4*l.burst && was >= loadHigh:
		l.level.Store(loadHigh)
	default:
		l.level.Store(loadNormal)
	}
}

// now returns the level. While it is normal that costs one atomic read.
func (l *load) now() int32 {
	if l.level.Load() == loadNormal {
		return loadNormal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	l.judge()
	return l.level.Load()
}

// overloaded says whether an INFO must be turned away, without reading its XML: a post is known by its element's name.
// Leaving a room is always let through, because it makes things better. That is read, since a name alone can stand in any
// text; it is short, so it costs little.
func (c *client) overloaded(m *flow.Message) bool {
	switch c.front.load.now() {
	case loadNormal:
		return false
	case loadHigh:
		return !bytes.Contains(m.Body, []byte("grpchat")) && !onlyParts(m.Body)
	}
	return !onlyParts(m.Body)
}

const maxPart = 4 << 10 // bytes of an envelope that leaves rooms

// onlyParts reports whether an envelope does nothing but leave rooms.
func onlyParts(body []byte) bool {
	if len(body) > maxPart || !bytes.Contains(body, []byte("cmd:part")) {
		return false
	}
	env, err := xccos.Decode(body)
	return err == nil && !slices.ContainsFunc(env.Items, func(it xccos.Item) bool { return it.Kind != xccos.Cmd || it.ID != xccos.CmdPart })
}

// bucket is a token bucket for the requests of one flow. It is used on the reader goroutine only.
type bucket struct {
	rate, burst, left float64
	last              time.Time
}

func newBucket(rate, burst float64) bucket {
	return bucket{rate: rate, burst: burst, left: burst, last: time.Now()}
}

// take charges one request and returns what is left, which may be less than nothing.
func (b *bucket) take(now time.Time) float64 {
	b.left = min(b.left+now.Sub(b.last).Seconds()*b.rate, b.burst) - 1
	b.last = now
	return b.left
}

// pace holds a flow to its rate: over it requests are answered 503, far over it the flow is not read for a while, so
// that TCP slows the sender; over UDP, where nothing does, they are dropped. ACK and BYE are never refused.
func (c *client) pace(m *flow.Message, method string) bool {
	left := c.bucket.take(time.Now())
	if left >= 0 || method == "ACK" || method == "BYE" || method == "CANCEL" {
		return true
	}
	if over := -left - 2*c.bucket.burst; over > 0 {
		if c.overUDP() {
			c.bucket.left++ // it costs nothing more, and he is not to be shut out for as long as he was loud
			c.conn.Drop()
			return false
		}
		// Bounded: the flow's own goroutine sleeps, and a flow that closes meanwhile is noticed right after.
		time.Sleep(min(time.Duration(over/c.bucket.rate*float64(time.Second)), time.Second))
	}
	c.busy(m, "flow_rate")
	return false
}
