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
			nodes := []int{3, 4, 3, 3, 5, 3, 4}[seed%7] // more of the small pools: they cost less and lose their quorum sooner
			queue := 0
			if seed%2 == 0 {
				queue = 6 // so small that a burst overflows it
			}
			Run(t, Config{Nodes: nodes, Standbys: int(seed/7) % 2, Queue: queue, Seed: seed}, func(w *World) {
				w.Clients(2, Posts(15))
				w.Clients(4, Bursts(60, 40))
				w.Weather(10 * time.Second)
			})
		})
	}
}

func TestCrashDuringElection(t *testing.T) {
	Run(t, Config{Nodes: 4, Seed: Seed(t)}, func(w *World) {
		w.Clients(8, Posts(30))
		w.At(2*time.Second, w.Isolate(w.Leader()))
		w.At(3*time.Second, w.CrashLosing(w.Any(), 40))
		w.At(6*time.Second, w.Heal())
		w.Settle()
		w.Check()
	})
}
