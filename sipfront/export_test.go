package sipfront

import (
	"net"
	"time"
)

// SweepAt is the sweep of another time: what would be done if it were now.
func (f *Front) SweepAt(now time.Time) { f.sweep(now) }

// HeardFrom returns when a peer was heard last.
func (f *Front) HeardFrom(peer net.Addr) time.Time {
	for _, c := range f.conns() {
		if c.Remote().String() == peer.String() {
			return c.Heard()
		}
	}
	return time.Time{}
}

// Elapse pays into the account of deliveries what that time would have.
func (f *Front) Elapse(d time.Duration) {
	f.load.mu.Lock()
	defer f.load.mu.Unlock()
	f.load.last = f.load.last.Add(-d)
}
