package sequencer

// Busy reports whether more commands wait to be decided here than an entry takes while the queue is short: who can do his work
// later should.
func (s *Sequencer[C, R]) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.len() >= MaxCommands
}
