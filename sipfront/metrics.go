package sipfront

import "github.com/prometheus/client_golang/prometheus"

// metrics of the front. No label carries a room, a user or anything a client wrote.
type metrics struct {
	flows        prometheus.Counter
	refused      *prometheus.CounterVec
	closed       *prometheus.CounterVec
	requests     map[string]prometheus.Counter // by methodClass
	rejected     *prometheus.CounterVec
	commands     *prometheus.CounterVec
	challenges   prometheus.Counter
	authFailures prometheus.Counter
	deliveries   prometheus.Counter
	deliver      prometheus.Histogram
	probes       prometheus.Counter
	dialogsEnded *prometheus.CounterVec
	all          []prometheus.Collector
}

func newMetrics() *metrics {
	m := new(metrics)
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_sip_" + name, Help: help})
		m.all = append(m.all, c)
		return c
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_sip_" + name, Help: help}, []string{label})
		m.all = append(m.all, c)
		return c
	}
	m.flows = counter("flows_opened_total", "Connections accepted.")
	m.refused = vec("flows_refused_total", "Connections not accepted, by reason.", "reason")
	m.closed = vec("flows_closed_total", "Connections closed, by reason; overflow and slow are clients that did not read.", "reason")
	requests := vec("requests_total", "Requests received, by method.", "method")
	m.requests = map[string]prometheus.Counter{}
	for _, method := range []string{"INFO", "ACK", "BYE", "UPDATE", "INVITE", "REGISTER", "SUBSCRIBE", "SERVICE", "OPTIONS", "CANCEL",
		"MESSAGE", "NOTIFY", "BENOTIFY", "REFER", "PUBLISH", "PRACK", "other"} {
		m.requests[method] = requests.WithLabelValues(method)
	}
	m.rejected = vec("rejected_total", "Requests and posts answered with an error, by reason.", "reason")
	m.commands = vec("commands_total", "XCCOS commands received, by name.", "command")
	m.challenges = counter("challenges_total", "Digest challenges sent.")
	m.authFailures = counter("auth_failures_total", "Wrong Digest credentials.")
	m.deliveries = counter("deliveries_total", "Messages and notices queued for clients.")
	m.probes = counter("probes_total", "Quiet peers over UDP that were asked for a sign of life.")
	m.dialogsEnded = vec("dialogs_ended_total", "Dialogs ended, by reason.", "reason")
	m.deliver = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_sip_deliver_seconds",
		Help:    "From a post's time stamp to its hand-over to the network for all clients of a shard.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}})
	m.all = append(m.all, m.deliver)
	return m
}

func (m *metrics) gauges(f *Front) {
	gauge := func(name, help string, value func() float64) {
		m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_sip_" + name, Help: help}, value))
	}
	gauge("flows", "Connections now.", func() float64 { return float64(f.flows.Count()) })
	gauge("sessions", "Signed-in connections now.", func() float64 { return float64(f.Sessions()) })
	gauge("dialogs", "Chat dialogs now.", func() float64 { return float64(f.dialogs.Load()) })
	gauge("load_level", "0 normal, 1 joins are refused, 2 posts are refused.", func() float64 { return float64(f.load.level.Load()) })
	gauge("unfinished_parts", "Sessions whose end is not committed yet.", func() float64 { return float64(f.ledger.unfinished()) })
}
