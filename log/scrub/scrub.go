// Package scrub reads the whole log again and again in the background, as log verify does, so that a bit that rots is
// found while the other nodes still have it whole, and not years later by an auditor.
//
// It has no state: after a restart it begins at the first event.
package scrub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log"
	"parley/log/event"
)

// Attribute keys.
const (
	keyEvents = "events"
	keyTook   = "took"
)

// Log is the log as the scrubber sees it; *log.Log is one.
type Log interface {
	Head() log.Head
	// Verify checks the events from..to from disk; damage is of class event.ErrCorrupt.
	Verify(ctx context.Context, from, to event.Offset, progress func(done, total event.Offset)) error
}

var _ Log = (*log.Log)(nil)

// Config of Run.
type Config struct {
	Log     Log
	Every   time.Duration // how long a pass over the log takes at least: the reading is spread over it
	Metrics *Metrics      // nil: none
	Logger  *slog.Logger  // nil: silence
}

// chunk is how many events are read in one go. The rest of the time the disk is left to others.
const chunk = 4096

// Run scrubs until ctx ends or the log is closed; then it returns nil. Any other end is an error: the log is damaged
// (event.ErrCorrupt), or could not be read.
func Run(ctx context.Context, c Config) error {
	if c.Every <= 0 {
		return fmt.Errorf("scrub: a pass every %v", c.Every)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	for {
		err := pass(ctx, c)
		if ctx.Err() != nil || errors.Is(err, log.ErrClosed) {
			return nil
		}
		if err != nil {
			c.Metrics.damaged.Set(1)
			return fmt.Errorf("scrub the log: %w", err)
		}
	}
}

// pass verifies the log once. The pauses between chunks are such that all of them, and one more, take Every.
func pass(ctx context.Context, c Config) error {
	began, head := time.Now(), c.Log.Head().Offset
	pause := c.Every / time.Duration(head/chunk+2)
	for from := event.Offset(1); from <= head; from += chunk {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		to := min(from+chunk-1, head)
		if err := c.Log.Verify(ctx, from, to, nil); err != nil {
			return err
		}
		c.Metrics.offset.Set(float64(to))
	}
	if err := sleep(ctx, pause); err != nil {
		return err
	}
	c.Metrics.passes.Inc()
	c.Logger.Info("scrub: the log is as it was written", keyEvents, head, keyTook, time.Since(began).Round(time.Second))
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Metrics are the scrubber's collectors.
type Metrics struct {
	offset, damaged prometheus.Gauge
	passes          prometheus.Counter
}

// NewMetrics builds them.
func NewMetrics() *Metrics {
	return &Metrics{
		offset:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_scrub_offset", Help: "Last event that this pass has verified."}),
		damaged: prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_scrub_damaged", Help: "1 once damage was found in the log. The node ends then."}),
		passes:  prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_scrub_passes_total", Help: "Passes over the whole log that found nothing."}),
	}
}

// Collectors returns what to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.offset, m.damaged, m.passes}
}
