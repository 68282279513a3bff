package sequencer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
)

// leapAlarm is how far the wall clock may move against the monotonic one between two entries before that counts as a
// leap, and how far it may lag behind the log before that counts as a lag. NTP slews far less.
const leapAlarm = time.Second

// warnEvery bounds how often a bad clock is logged.
const warnEvery = 10 * time.Second

// clock stamps entries. Log time never stands still nor runs backwards, whatever the wall clock does: a lagging clock
// makes it creep by a nanosecond per entry until the clock has caught up. A clock that leaps ahead takes the log's
// time along for good, which is why it is an alarm.
type clock struct {
	wall   event.Time
	mono   time.Time
	warned time.Time
}

func (c *clock) start(now event.Time) { c.wall, c.mono = now, time.Now() }

// next returns max(now, last+1) and looks for leaps and lags.
func (c *clock) next(now, last event.Time, s interface {
	clockAlarm(string, time.Duration, bool)
}) event.Time {
	mono := time.Now()
	leap := time.Duration(now-c.wall) - mono.Sub(c.mono)
	c.wall, c.mono = now, mono
	speak := mono.Sub(c.warned) >= warnEvery
	switch {
	case leap > leapAlarm || leap < -leapAlarm:
		s.clockAlarm("leap", leap, speak)
	case now <= last && time.Duration(last-now) > leapAlarm:
		s.clockAlarm("lag", time.Duration(last-now), speak)
	default:
		speak = false
	}
	if speak {
		c.warned = mono
	}
	return max(now, last+1)
}

func (s *Sequencer[C, R]) clockAlarm(what string, by time.Duration, speak bool) {
	s.cfg.Metrics.clockAlarms.WithLabelValues(what).Inc()
	if speak {
		s.cfg.Logger.Warn("sequencer: this node's clock is wrong: check its time synchronisation", "what", what, keyLag, by)
	}
}

// Metrics are the sequencer's collectors.
type Metrics struct {
	decided, refused, unknown, busy, restarts, panics prometheus.Counter
	clockAlarms                                       *prometheus.CounterVec
	entryCommands, entryBytes                         prometheus.Histogram
}

// NewMetrics builds the collectors.
func NewMetrics() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_sequencer_" + name, Help: help})
	}
	return &Metrics{
		decided:  counter("commands_total", "Commands that took effect, or needed none."),
		refused:  counter("refused_total", "Commands that the rules refused."),
		unknown:  counter("unknown_outcome_total", "Commands whose outcome was unknown because the leadership or an entry was lost."),
		busy:     counter("busy_total", "Commands refused because the queue was full."),
		restarts: counter("restarts_total", "Scratch states dropped while this node went on leading. Should stay 0."),
		panics:   counter("panics_total", "Commands whose decision panicked. A bug if not 0."),
		clockAlarms: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_sequencer_clock_alarms_total",
			Help: "Entries stamped while the wall clock had leapt by, or lagged behind the log by, more than a second."}, []string{"what"}),
		entryCommands: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_sequencer_entry_commands",
			Help: "Commands packed into one entry.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256}}),
		entryBytes: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_sequencer_entry_bytes",
			Help: "Bytes of one sealed entry.", Buckets: prometheus.ExponentialBuckets(256, 4, 9)}),
	}
}

// Collectors returns what to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.decided, m.refused, m.unknown, m.busy, m.restarts, m.panics, m.clockAlarms, m.entryCommands, m.entryBytes}
}
