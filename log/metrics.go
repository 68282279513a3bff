package log

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the collectors of a log; cmd registers them. A process with several nodes tells their logs apart with a label of its own.
type Metrics struct {
	appends       prometheus.Counter
	appendSeconds prometheus.Histogram
	appendBytes   prometheus.Counter
	erasedBodies  prometheus.Counter
	all           []prometheus.Collector
}

func newMetrics(l *Log) *Metrics {
	m := &Metrics{
		appends: prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_log_appends_total",
			Help: "Entries appended and synced."}),
		appendSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_log_append_seconds",
			Help:    "Time of an append, its sync included.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}),
		appendBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_log_append_bytes_total",
			Help: "Bytes of rows appended, before the store's own overhead."}),
	}
	m.erasedBodies = prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_log_erased_bodies_total",
		Help: "Bodies that removals in the log had erased, since the start."})
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m.all = []prometheus.Collector{m.appends, m.appendSeconds, m.appendBytes, m.erasedBodies,
		gauge("parley_log_last_index", "Raft index of the last entry.", func() float64 { return float64(l.LastIndex()) }),
		gauge("parley_log_committed_index", "Raft index of the committed mark.", func() float64 { return float64(l.Head().Index) }),
		gauge("parley_log_committed_offset", "Offset of the last committed event.", func() float64 { return float64(l.Head().Offset) }),
		gauge("parley_log_erasure_offset", "Offset up to which every removal was carried out.", func() float64 { return float64(l.Erased()) }),
		gauge("parley_log_failed", "1 after a write has failed; the node should stop.", func() float64 {
			if l.Err() != nil {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "parley_log_void_batches_total",
			Help: "Committed batches that did not continue the log. Anything but 0 is a bug."}, func() float64 { return float64(l.Void()) }),
	}
	return m
}

func (m *Metrics) appended(entries, bytes int, d time.Duration) {
	m.appends.Add(float64(entries))
	m.appendBytes.Add(float64(bytes))
	m.appendSeconds.Observe(d.Seconds())
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all {
		c.Collect(ch)
	}
}
