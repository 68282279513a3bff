package sim

import (
	"fmt"
	"testing"
	"time"
)

// Random faults, seed by seed.
func TestSeeds(t *testing.T) {
	for _, seed := range Seeds() {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			nodes := 3 + int(seed%3)
			queue := 0
			if seed%2 == 0 {
				queue = 6 // so small that a burst overflows it
			}
			Run(t, Config{Nodes: nodes, Standbys: int(seed/3) % 2, Queue: queue, Seed: seed}, func(w *World) {
				w.Clients(4, Posts(20))
				w.Clients(4, Bursts(80, 40))
				w.Weather(10 * time.Second)
			})
		})
	}
}

func TestCrashDuringElection(t *testing.T) {
	Run(t, Config{Nodes: 4, Seed: Seed(t)}, func(w *World) {
		w.Clients(8, Posts(60))
		w.At(2*time.Second, w.Isolate(w.Leader()))
		w.At(3*time.Second, w.CrashLosing(w.Any(), 40))
		w.At(6*time.Second, w.Heal())
		w.Settle()
		w.Check()
	})
}
