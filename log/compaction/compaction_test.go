package compaction

import (
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// fakeDB is a store that always has some compactions left to do.
type fakeDB struct {
	t       *testing.T
	c       *Scheduler
	mu      sync.Mutex
	left    int // compactions not started yet
	waiting bool
	running int
	done    sync.WaitGroup
	// answered, if not nil, runs once between the answer of GetWaitingCompaction and its return.
	answered func()
	// atOnce lets a compaction end before Schedule returns.
	atOnce bool
}

func (d *fakeDB) GetAllowedWithoutPermission() int { return 1 }

func (d *fakeDB) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	d.mu.Lock()
	d.waiting = d.waiting && d.left > 0
	answer, answered := d.waiting, d.answered
	d.answered = nil
	d.mu.Unlock()
	if answered != nil {
		answered()
	}
	return answer, pebble.WaitingCompaction{}
}

func (d *fakeDB) Schedule(h pebble.CompactionGrantHandle) bool {
	d.mu.Lock()
	if !d.waiting || d.left == 0 {
		d.waiting = false
		d.mu.Unlock()
		return false
	}
	ended := d.start(h)
	d.mu.Unlock()
	if d.atOnce {
		<-ended
	}
	return true
}

// start runs a compaction, which may be over before start returns. d.mu is held.
func (d *fakeDB) start(h pebble.CompactionGrantHandle) (ended <-chan struct{}) {
	end := make(chan struct{})
	d.left--
	if d.running++; d.running > 1 {
		d.t.Errorf("%d compactions at a time", d.running)
	}
	go func() {
		d.mu.Lock()
		d.running--
		d.mu.Unlock()
		h.Done()
		close(end)
		d.done.Done()
	}()
	return end
}

// want is what Pebble does after a flush: it asks once, and then waits to be asked.
func (d *fakeDB) want() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left++
	if d.waiting {
		return
	}
	if ok, h := d.c.TrySchedule(); ok {
		d.start(h)
	} else {
		d.waiting = true
	}
}

// TestCompactions: one at a time, none before the store is open, and none is forgotten however the calls interleave.
func TestCompactions(t *testing.T) {
	for range 200 {
		c := New(func() bool { return false })
		d := &fakeDB{t: t, c: c}
		c.Register(1, d)
		const n = 60
		d.done.Add(n + 2)
		d.want()
		d.want()
		d.mu.Lock()
		if d.left != 2 {
			t.Fatal("a compaction ran while the store was opening")
		}
		d.mu.Unlock()
		var wg sync.WaitGroup
		wg.Go(c.Opened)
		for range 3 {
			wg.Go(func() {
				for range n / 3 {
					d.want()
				}
			})
		}
		wg.Wait()
		d.done.Wait() // hangs if one is forgotten
		c.Unregister()
		d.want()
		d.mu.Lock()
		if d.left != 1 || d.running != 0 {
			t.Fatal("a compaction ran after the store was closed")
		}
		d.mu.Unlock()
	}
}

// TestCompactionsNearMisses draws the two interleavings in which one could be forgotten.
func TestCompactionsNearMisses(t *testing.T) {
	t.Run("asked while the answer is on its way", func(t *testing.T) {
		c := New(func() bool { return false })
		d := &fakeDB{t: t, c: c}
		c.Register(1, d)
		d.done.Add(1)
		d.answered = d.want
		c.Opened()
		d.allDone()
	})
	t.Run("over before it was granted", func(t *testing.T) {
		c := New(func() bool { return false })
		d := &fakeDB{t: t, c: c, atOnce: true}
		c.Register(1, d)
		d.done.Add(2)
		d.want()
		d.want()
		c.Opened()
		d.allDone()
	})
}

// allDone fails when a compaction was forgotten. Nothing is in progress here, so there is nothing to wait for but the last goroutine.
func (d *fakeDB) allDone() {
	d.t.Helper()
	d.mu.Lock()
	left := d.left
	d.mu.Unlock()
	if left != 0 {
		d.t.Fatalf("%d compactions were forgotten", left)
	}
	d.done.Wait()
}
