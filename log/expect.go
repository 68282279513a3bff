package log

import (
	"sync"

	"parley/log/event"
)

// maxExpected is how many sealed entries may be on their way to Append, more than the leader has in flight.
const maxExpected = 16

// expected are entries that this node has sealed and not appended yet.
type expected struct {
	mu   sync.Mutex
	next int
	kept [maxExpected]*event.Sealed
}

// Expect says that an entry sealed by this node is about to be appended. It has been read back when it was sealed, so Append
// need not decode it again, if it still finds the same bytes in the same memory. What never comes, because this node does not
// lead any more, is forgotten after a few others.
func (l *Log) Expect(s *event.Sealed) {
	l.expected.mu.Lock()
	defer l.expected.mu.Unlock()
	l.expected.kept[l.expected.next] = s
	l.expected.next = (l.expected.next + 1) % maxExpected
}

// take returns what was sealed as this data, nil if nothing was.
func (x *expected) take(data []byte) *event.Sealed {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, s := range x.kept {
		if s != nil && s.Is(data) {
			x.kept[i] = nil
			return s
		}
	}
	return nil
}
