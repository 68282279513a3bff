package sequencer

// Lane is a caller's way to the sequencer that keeps the order of commands also when some of them fail. Once one has
// failed with ErrNotLeader or ErrUnknownOutcome, which are what callers try again, the lane is broken: every later
// command of it fails with ErrNotLeader and has no effect. So what takes effect of a lane is a first part of it, and
// whoever opens another lane and submits the rest there again, from the first that failed on, changes no order.
//
// Other errors, ErrBusy among them, are final answers to one command and do not break the lane.
//
// A lane lives as long as the call of Lead in which it was opened. A command that was on its way to an earlier leadership
// of this node cannot slip into a later one.
type Lane[C, R any] struct {
	seq    *Sequencer[C, R]
	lead   uint64 // the call of Lead that it belongs to
	broken bool   // guarded by seq.mu
}

// Lane opens a lane. Opened while Lead does not run it is broken.
func (s *Sequencer[C, R]) Lane() *Lane[C, R] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Lane[C, R]{seq: s, lead: s.lead, broken: !s.leading}
}

// Enqueue queues a command as Sequencer.Enqueue does.
func (l *Lane[C, R]) Enqueue(c C, done func(Outcome[R], error)) { l.seq.enqueue(l, c, done) }

// closedLocked and breakLocked are called with seq.mu held. A command without a lane has nil.
func (l *Lane[C, R]) closedLocked() bool { return l != nil && (l.broken || l.lead != l.seq.lead) }

func (l *Lane[C, R]) breakLocked() {
	if l != nil {
		l.broken = true
	}
}

// breakLanes comes before the callers of a failed entry are told, and before the next scratch state decides anything.
// What is queued behind them on their lanes is failed by failBroken, what comes later by enqueue.
func (s *Sequencer[C, R]) breakLanes(failed []waiter[C, R]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range failed {
		w.lane.breakLocked()
	}
}

// failBroken takes out of the queue what stands behind a failed command of its lane.
func (s *Sequencer[C, R]) failBroken() {
	var failed []waiter[C, R]
	s.mu.Lock()
	kept := queue[waiter[C, R]]{}
	for s.queue.len() > 0 {
		if w := s.queue.pop(); w.lane.closedLocked() {
			failed = append(failed, w)
		} else {
			kept.push(w)
		}
	}
	s.queue = kept
	s.mu.Unlock()
	var none Outcome[R]
	for _, w := range failed {
		w.done(none, ErrNotLeader)
	}
}
