package raftnode

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	commits, leaderChanges, forwardLost, served prometheus.Counter
	commitSeconds                               prometheus.Histogram
	autopilot                                   *prometheus.CounterVec
	all                                         []prometheus.Collector
}

func newMetrics(n *Node) *metrics {
	m := &metrics{}
	counter := func(c *prometheus.Counter, name, help string) {
		*c = prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_raft_" + name, Help: help})
		m.all = append(m.all, *c)
	}
	gauge := func(name, help string, value func() float64) {
		m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_raft_" + name, Help: help},
			func() float64 {
				if n.ready.Load() == nil {
					return 0
				}
				return value()
			}))
	}
	counter(&m.commits, "commits_total", "Entries that this node proposed and that were committed.")
	counter(&m.leaderChanges, "leader_changes_total", "Times this node won or lost the leadership.")
	counter(&m.forwardLost, "forward_lost_total", "Requests whose outcome is unknown because the stream to the leader broke.")
	counter(&m.served, "forward_served_total", "Requests of other nodes that this node served as the leader.")
	m.autopilot = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_raft_autopilot_steps_total",
		Help: "Votes that the autopilot gave or took because a voter was silent."}, []string{"step"})
	m.all = append(m.all, m.autopilot)
	m.commitSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_raft_commit_seconds",
		Help: "From propose to applied on the leader.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15)})
	m.all = append(m.all, m.commitSeconds)
	gauge("is_leader", "1 while this node leads the pool.", func() float64 {
		if n.IsLeader() {
			return 1
		}
		return 0
	})
	gauge("term", "Current term.", func() float64 { return float64(n.raft.CurrentTerm()) })
	gauge("last_index", "Index of the newest stored entry.", func() float64 { return float64(n.cfg.Log.LastIndex()) })
	gauge("apply_lag_entries", "Committed entries not applied to the log's mark; up to 2 at rest, because a term's own entries are not applied.",
		func() float64 { return max(0, float64(n.raft.CommitIndex())-float64(n.fsm.applied.Load())) })
	gauge("base_mismatches", "Committed batches that did not continue the log and are void. Must be 0.",
		func() float64 { return float64(n.cfg.Log.Void()) })
	gauge("forward_waiting", "Requests forwarded to the leader without an answer.", func() float64 { return float64(n.forward.waiting()) })
	gauge("members", "Members of the pool, standbys included.", func() float64 { return float64(len(n.Status())) })
	gauge("members_down", "Members that are silent, as the leader sees it; 0 elsewhere.", func() float64 { return float64(len(n.Down())) })
	return m
}

// Collectors returns what to register.
func (n *Node) Collectors() []prometheus.Collector { return n.metrics.all }
