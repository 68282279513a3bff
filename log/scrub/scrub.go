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
	// Scrub verifies the whole log from disk and calls pause after every log.VerifyRun entries; damage is of class
	// event.ErrCorrupt.
	Scrub(ctx context.Context, pause func(context.Context) error, progress func(done, total event.Offset)) (log.Verified, error)
}

var _ Log = (*log.Log)(nil)

// Config of Run.
type Config struct {
	Log     Log
	Every   time.Duration // how long a pass over the log takes at least: the reading is spread over it
	Metrics *Metrics      // nil: none
	Logger  *slog.Logger  // nil: silence
}

// leastPause is what others get in any case, also when the log has grown faster than it was read.
const leastPause = 10 * time.Millisecond

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
			if errors.Is(err, event.ErrCorrupt) {
				c.Metrics.damaged.Set(1)
			}
			return fmt.Errorf("scrub the log: %w", err)
		}
	}
}

// pass verifies the log once. Before each part of it comes a pause: an equal share of the time that is left, by what is left to
// read as the log is now.
func pass(ctx context.Context, c Config) error {
	began := time.Now()
	read := event.Index(0)
	pause := func(ctx context.Context) error {
		parts := time.Duration(1)
		if head := c.Log.Head().Index; head > read {
			parts += time.Duration((head - read + log.VerifyRun - 1) / log.VerifyRun)
		}
		read += log.VerifyRun
		return sleep(ctx, max((c.Every-time.Since(began))/parts, leastPause))
	}
	if _, err := c.Log.Scrub(ctx, pause, func(done, _ event.Offset) { c.Metrics.offset.Set(float64(done)) }); err != nil {
		return err
	}
	if err := sleep(ctx, c.Every-time.Since(began)); err != nil {
		return err
	}
	c.Metrics.passes.Inc()
	c.Logger.Info("scrub: the log is as it was written", keyEvents, c.Log.Head().Offset, keyTook, time.Since(began).Round(time.Second))
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
