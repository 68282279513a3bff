package sipfront

import "sync"

// mailbox is an ordered queue between many senders and one goroutine, which takes all that is there at once. A
// channel would wake the receiver for every message.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	spare  []T
	wake   chan struct{}
	closed bool
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{wake: make(chan struct{}, 1)} }

// put never blocks. False says that nobody takes any more.
func (m *mailbox[T]) put(v T) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.items = append(m.items, v)
	if len(m.items) == 1 {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	m.mu.Unlock()
	return true
}

// take waits for messages and returns them; nil says that the mailbox is closed and empty. The slice is valid until
// the next call.
func (m *mailbox[T]) take() []T {
	for {
		m.mu.Lock()
		if len(m.items) > 0 {
			batch := m.items
			clear(m.spare)
			m.items, m.spare = m.spare[:0], batch
			m.mu.Unlock()
			return batch
		}
		closed := m.closed
		m.mu.Unlock()
		if closed {
			return nil
		}
		<-m.wake
	}
}

func (m *mailbox[T]) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		close(m.wake)
	}
}
