package main

import (
	"slices"
	"time"
)

// percentile returns the value below which p percent of the durations lie.
func percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)*p/100, len(s)-1)]
}
