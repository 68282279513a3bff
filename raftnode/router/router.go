// Package router carries requests from this node to whoever leads the pool, in the order they were submitted, also
// across a change of leadership.
//
// A request whose outcome is unknown (the leader was lost before it answered) is submitted again to the next leader:
// the request's own identity makes that harmless, because the leader remembers what took effect. Requests submitted
// later wait behind it, so two posts of one dialog cannot change places. A request that finds no leader within the
// patience fails with ErrUnavailable, and so does one that a leader does not answer: the client may try again.
//
// Requests travel on lanes. A lane goes to one leader in one epoch and promises two things: of its requests a first part
// takes effect, in order (after a request that is to be sent again, none does), and nothing of it takes effect after
// something of a later lane. The router adds that it sends on one lane at a time, in the order of submission, and that
// the next lane begins, once everything on the last one is settled, with the first request that is to be sent again. So
// what takes effect is in the order of submission, whatever happens between a look at the leader and the sending: a
// request that misses its leader misses it with all that follow. The looks here need to be right only most of the time.
//
// The package knows neither Raft nor rooms: requests and replies are type parameters.
package router

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrUnavailable says that no leader took the request in time. Its outcome is unknown: it may still take effect.
var ErrUnavailable = errors.New("no leader answered in time")

// ErrBusy says that too many requests are waiting on this node.
var ErrBusy = errors.New("too many requests are waiting for a leader")

// ErrClosed says that the node stops.
var ErrClosed = errors.New("node is stopping")

// Lane sends one request: see the package comment for what it promises. It keeps the order of calls, never blocks, and
// calls done exactly once, possibly before it returns.
type Lane[C, R any] func(req C, done func(R, error))

// Config says how requests travel.
type Config[C, R any] struct {
	// Leader reports whether some leader is known, and whether it is this node.
	Leader func() (known, here bool)
	// Epoch changes whenever the leader may have: Raft's term. nil: one epoch for ever.
	Epoch func() uint64
	// Open opens a lane to the leader of the epoch: this node's own sequencer, or a leader elsewhere. It never blocks.
	Open func(epoch uint64, here bool) Lane[C, R]
	// Retry reports whether an error leaves the outcome unknown or says that the leader has moved: such a request
	// is submitted again, and its lane must not let a later one take effect. Any other error is the answer.
	Retry func(error) bool

	Patience time.Duration // how long a request waits for a leader; 0 means 3 s
	Answer   time.Duration // how long a request waits for an answer once sent; 0 means 10 s
	Queue    int           // requests waiting or in flight at most; 0 means 65536
}

// Router is the one way of requests out of a node.
type Router[C, R any] struct {
	cfg Config[C, R]

	mu      sync.Mutex
	queue   []*item[C, R]            // not sent, in order
	flight  map[*item[C, R]]struct{} // sent, not answered
	failed  []*item[C, R]            // to be sent again once flight is empty
	pauseTo time.Time                // after a failure: give the pool a moment to agree on a leader
	broken  bool                     // the lane is of no use any more, or there is none yet
	epoch   uint64                   // of the lane
	here    bool                     // the lane ends on this node
	swept   time.Time                // last look for requests without an answer
	seq     uint64
	closed  bool
	wake    chan struct{}
	done    chan struct{}
}

type item[C, R any] struct {
	seq      uint64
	req      C
	answer   func(R, error)
	deadline time.Time // for finding a leader
	sent     time.Time
}

// retryPause keeps a node that believes in a stale leader from spinning.
const retryPause = 10 * time.Millisecond

const sweepEvery = 100 * time.Millisecond

// New starts a router. Close ends it.
func New[C, R any](cfg Config[C, R]) *Router[C, R] {
	if cfg.Patience == 0 {
		cfg.Patience = 3 * time.Second
	}
	if cfg.Answer == 0 {
		cfg.Answer = 10 * time.Second
	}
	if cfg.Queue == 0 {
		cfg.Queue = 1 << 16
	}
	r := &Router[C, R]{cfg: cfg, flight: map[*item[C, R]]struct{}{}, broken: true, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go r.pump()
	return r
}

// Submit queues a request. answer is called exactly once, on another goroutine, and must not block.
func (r *Router[C, R]) Submit(req C, answer func(R, error)) {
	var zero R
	r.mu.Lock()
	if r.closed || len(r.queue)+len(r.flight)+len(r.failed) >= r.cfg.Queue {
		err := ErrBusy
		if r.closed {
			err = ErrClosed
		}
		r.mu.Unlock()
		go answer(zero, err) // the caller may hold a lock that answer takes
		return
	}
	r.seq++
	r.queue = append(r.queue, &item[C, R]{seq: r.seq, req: req, answer: answer, deadline: time.Now().Add(r.cfg.Patience)})
	r.mu.Unlock()
	r.poke()
}

// Poke tells the router that the leadership may have changed.
func (r *Router[C, R]) Poke() { r.poke() }

func (r *Router[C, R]) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Waiting returns how many requests have no answer yet.
func (r *Router[C, R]) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) + len(r.flight) + len(r.failed)
}

// Close answers everything that waits with ErrClosed and stops the router.
func (r *Router[C, R]) Close() {
	r.mu.Lock()
	already := r.closed
	r.closed = true
	r.mu.Unlock()
	r.poke()
	if !already {
		<-r.done
	}
}

// pump is the only goroutine that sends, so that the order of sending is the order of the queue.
func (r *Router[C, R]) pump() {
	defer close(r.done)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var lane Lane[C, R]
	for {
		n := r.next()
		var zero R
		for _, e := range n.expired {
			err := ErrUnavailable
			if n.closed {
				err = ErrClosed
			}
			e.answer(zero, err)
		}
		switch {
		case n.closed:
			return
		case n.send != nil:
			if n.open {
				lane = r.cfg.Open(n.epoch, n.here)
			}
			lane(n.send.req, func(res R, err error) { r.settle(n.send, res, err) })
		case len(n.expired) == 0:
			select {
			case <-r.wake:
			case <-tick.C:
			}
		}
	}
}

// step is what the pump does next.
type step[C, R any] struct {
	expired []*item[C, R] // waited too long, or the router is closed
	closed  bool
	send    *item[C, R]
	open    bool // a lane for it, to the leader of the epoch
	epoch   uint64
	here    bool
}

// next takes the request to send now, and what has waited too long.
func (r *Router[C, R]) next() (n step[C, R]) {
	if r.cfg.Epoch != nil {
		n.epoch = r.cfg.Epoch()
	}
	known, here := r.cfg.Leader()
	n.here = here
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		n.closed = true
		n.expired = append(append(n.expired, r.queue...), r.failed...)
		for f := range r.flight {
			n.expired = append(n.expired, f)
		}
		r.queue, r.failed, r.flight = nil, nil, map[*item[C, R]]struct{}{}
		return n
	}
	if now.Sub(r.swept) > sweepEvery { // the walk is O(in flight): not for every request
		r.swept = now
		for f := range r.flight {
			if now.Sub(f.sent) > r.cfg.Answer {
				delete(r.flight, f)
				n.expired = append(n.expired, f)
			}
		}
	}
	if len(r.failed) > 0 && len(r.flight) == 0 {
		slices.SortFunc(r.failed, func(a, b *item[C, R]) int { return cmp.Compare(a.seq, b.seq) })
		r.queue = append(r.failed, r.queue...)
		r.failed, r.broken = nil, true
		r.pauseTo = now.Add(retryPause)
		time.AfterFunc(retryPause, r.poke)
	}
	for len(r.queue) > 0 && now.After(r.queue[0].deadline) {
		n.expired = append(n.expired, r.queue[0])
		r.queue = r.queue[1:]
	}
	if len(n.expired) > 0 || len(r.failed) > 0 || len(r.queue) == 0 || !known || now.Before(r.pauseTo) {
		return n
	}
	if n.open = r.broken || n.epoch != r.epoch || n.here != r.here; n.open && len(r.flight) > 0 {
		return n // what is in flight may have to be sent again, and before this
	}
	r.broken, r.epoch, r.here = false, n.epoch, n.here
	n.send = r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	n.send.sent = now
	r.flight[n.send] = struct{}{}
	return n
}

// settle takes an answer. A request that has expired meanwhile is in no list any more: its answer was given.
func (r *Router[C, R]) settle(it *item[C, R], res R, err error) {
	r.mu.Lock()
	if _, ok := r.flight[it]; !ok {
		r.mu.Unlock()
		return
	}
	delete(r.flight, it)
	if err != nil && !r.closed && r.cfg.Retry(err) {
		r.failed = append(r.failed, it)
		r.mu.Unlock()
		r.poke()
		return
	}
	held := len(r.failed) > 0 || len(r.flight) == 0
	r.mu.Unlock()
	if held {
		r.poke()
	}
	it.answer(res, err)
}
