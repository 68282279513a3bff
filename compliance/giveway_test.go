package compliance

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"parley/log/event"
)

// slowSource is a log of which each block costs some work.
type slowSource struct{ Source }

func (slowSource) Read(event.Offset, int) ([]event.Envelope, error) { return nil, nil }

// TestGivesWay: while posts wait, all feeds of a node together work for a small share of the time, whatever they waited for before;
// while none wait they go easy, and on a pool that nobody uses they do not rest at all, and one that is stopped does not rest on.
func TestGivesWay(t *testing.T) {
	const work = 5 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		busy, feeds := true, 3
		m := &mannered{Source: slowSource{}, busy: func() bool { return busy }, feeds: func() int { return feeds }}
		blocks := func(n int) time.Duration {
			m.begin(t.Context())
			start := time.Now()
			for range n {
				time.Sleep(work)
				if _, err := m.Read(1, 512); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(start)
		}
		if took, least := blocks(20), 20*work*givesWay*3; took < least {
			t.Errorf("20 blocks on a busy node took %v, want %v at least", took, least)
		}
		time.Sleep(time.Hour) // for the next cut: no work, so there is no rest to be had for it
		if took := blocks(1); took > work*(givesWay*3+1) {
			t.Errorf("a block after a long wait took %v", took)
		}
		busy = false
		time.Sleep(staysBusy)
		if took := blocks(20); took != 20*work {
			t.Errorf("20 blocks on a node that nobody waits for took %v, want %v", took, 20*work)
		}
		used := event.Offset(0)
		m.head = func() event.Offset { return used }
		time.Sleep(staysBusy)
		if took := blocks(20); took != 20*work {
			t.Errorf("20 blocks on a pool that nobody uses took %v, want %v", took, 20*work)
		}
		m.head = func() event.Offset { used++; return used }
		if took, want := blocks(20), 20*work*(1+goesEasy*3); took != want {
			t.Errorf("20 blocks on a pool that is used took %v, want %v", took, want)
		}
		busy = true
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m.begin(ctx)
		start := time.Now()
		time.Sleep(time.Second)
		if m.rest(); time.Since(start) != time.Second {
			t.Errorf("a feed that was stopped rested for %v", time.Since(start)-time.Second)
		}
	})
}
