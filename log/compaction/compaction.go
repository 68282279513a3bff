// Package compaction schedules the compactions of the log's store.
package compaction

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Scheduler lets Pebble run one compaction at a time, as its own scheduler does by default, but none while the store opens: an Open
// that fails takes away the files under a compaction that is running, and that ends the process. It also needs no ticker.
//
// Pebble's locks come before mu; the calls into db therefore happen without it.
type Scheduler struct {
	db     pebble.DBForCompaction // set by Register, before all other calls
	failed func() bool            // no more compactions then: they would fail, and be tried again at once

	mu       sync.Mutex
	ready    bool // the store is open and not closing
	running  bool
	granting bool
	missed   bool      // asked for while granting: the answer that grant got may be too old
	idle     sync.Cond // granting became false
}

// New returns a scheduler that lets nothing begin before Opened. failed says that the store has failed.
func New(failed func() bool) *Scheduler {
	c := &Scheduler{failed: failed}
	c.idle.L = &c.mu
	return c
}

// Register implements pebble.CompactionScheduler.
func (c *Scheduler) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister implements pebble.CompactionScheduler. No call into db is in progress when it returns.
func (c *Scheduler) Unregister() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = false
	for c.granting {
		c.idle.Wait()
	}
}

// TrySchedule implements pebble.CompactionScheduler.
func (c *Scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ready || c.running || c.failed() {
		// Pebble now remembers that it waits, and does not ask again until grant has asked it.
		c.missed = true
		return false, nil
	}
	c.running = true
	return true, c
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (c *Scheduler) UpdateGetAllowedWithoutPermission() {}

// Opened lets compactions begin.
func (c *Scheduler) Opened() {
	c.mu.Lock()
	c.ready = true
	c.mu.Unlock()
	c.grant()
}

// Done implements pebble.CompactionGrantHandle: the compaction has ended.
func (c *Scheduler) Done() {
	c.mu.Lock()
	c.running = false
	c.mu.Unlock()
	c.grant()
}

// grant starts a compaction that waits for one.
func (c *Scheduler) grant() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.granting {
		c.missed = true // a compaction that grant had just started is done already
		return
	}
	c.granting = true
	for again := true; again && c.ready && !c.running && !c.failed(); again = c.missed {
		c.missed, c.running = false, true
		c.mu.Unlock()
		waiting, _ := c.db.GetWaitingCompaction()
		started := waiting && c.db.Schedule(c)
		c.mu.Lock()
		if !started {
			c.running = false
		}
	}
	c.granting = false
	c.idle.Broadcast()
}

// Started implements pebble.CompactionGrantHandle.
func (c *Scheduler) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (c *Scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (c *Scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}
