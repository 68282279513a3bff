package state

import "github.com/prometheus/client_golang/prometheus"

// Collectors returns what to register. A memory that is full forgets commands before their day is over: then
// remembered_seconds falls below 86,400 while remembered_commands stays at chat.MaxRemembered.
func (r *Rooms) Collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_state_" + name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("remembered_commands", "Commands that a repetition would be recognised of.", func() float64 {
			n, _ := r.Current().Remembered()
			return float64(n)
		}),
		gauge("remembered_seconds", "Log time between the oldest of them and the newest event.", func() float64 {
			s := r.Current()
			n, oldest := s.Remembered()
			if n == 0 {
				return 0
			}
			return float64(s.At()-oldest) / 1e9
		}),
	}
}
