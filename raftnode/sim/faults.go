package sim

import (
	"context"
	"fmt"
	"time"
)

// Leader is whoever leads; anybody if nobody does.
func (w *World) Leader() Target {
	return func(w *World) *node {
		var leader *node
		var term uint64
		for _, in := range w.running() {
			if t := in.raft.Term(); in.raft.IsLeader() && t >= term { // an old one may not know yet
				leader, term = in.node, t
			}
		}
		if leader == nil {
			return w.Any()(w)
		}
		return leader
	}
}

// Any is a node at random.
func (w *World) Any() Target {
	return func(w *World) *node { return w.nodes[w.rng.IntN(len(w.nodes))] }
}

// Isolate cuts a node off from all others, in both directions.
func (w *World) Isolate(t Target) Step {
	return func(w *World) {
		n := t(w)
		w.note("isolate %s", n.id)
		for _, other := range w.nodes {
			if other != n {
				w.fabric.sever(n.id, other.id)
				w.fabric.sever(other.id, n.id)
			}
		}
	}
}

// OneWay lets a node hear the others, but not be heard.
func (w *World) OneWay(t Target) Step {
	return func(w *World) {
		n := t(w)
		w.note("%s is not heard", n.id)
		for _, other := range w.nodes {
			if other != n {
				w.fabric.sever(n.id, other.id)
			}
		}
	}
}

// Split cuts the pool in two halves at random.
func (w *World) Split() Step {
	return func(w *World) {
		side := map[*node]bool{}
		for _, n := range w.nodes {
			side[n] = w.rng.IntN(2) == 0
		}
		w.note("split")
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if side[a] != side[b] {
					w.fabric.sever(a.id, b.id)
				}
			}
		}
	}
}

// Heal restores all links.
func (w *World) Heal() Step {
	return func(w *World) {
		w.note("heal")
		w.fabric.heal()
	}
}

// CrashLosing cuts a node's power. Of what it had not synced, the percentage given is lost, at random. It comes back
// by itself, within four seconds.
func (w *World) CrashLosing(t Target, percent int) Step {
	return func(w *World) { w.crash(t(w), percent) }
}

// CrashAll cuts everybody's power at once.
func (w *World) CrashAll(percent int) Step {
	return func(w *World) {
		for _, n := range w.nodes {
			w.crash(n, percent)
		}
	}
}

func (w *World) crash(n *node, percent int) {
	in := w.instance(n)
	if in == nil {
		return
	}
	w.note("crash %s, losing %d %% of what was not synced", n.id, percent)
	// First nothing leaves the node any more, then the disk is cut: what anybody was told had been synced before.
	w.fabric.unplug(n.id)
	in.cancel()
	w.mu.Lock()
	n.run = nil
	w.mu.Unlock()
	n.disk = n.disk.crash(100-percent, w.rng)
	back := time.Duration(w.rng.Int64N(int64(4 * time.Second)))
	w.work.Go(func() {
		if err := in.stop(); err != nil { // on a disk that is no more
			w.note("stopping %s after its crash: %v", n.id, err)
		}
		time.Sleep(back)
		if w.over() {
			return
		}
		w.note("%s is back", n.id)
		if err := w.boot(n); err != nil {
			w.fail(fmt.Errorf("after a crash: %w", err))
		}
	})
}

// Transfer asks the leader to hand over.
func (w *World) Transfer() Step {
	return func(w *World) {
		n := w.Leader()(w)
		in := w.instance(n)
		if in == nil {
			return
		}
		w.note("transfer the leadership from %s", n.id)
		w.work.Go(func() {
			ctx, cancel := context.WithTimeout(in.ctx, 5*time.Second)
			defer cancel()
			if err := in.raft.Transfer(ctx, ""); err != nil {
				w.note("transfer from %s: %v", n.id, err)
			}
		})
	}
}

// Leap sets a node's wall clock, forward or back.
func (w *World) Leap(t Target) Step {
	return func(w *World) {
		n := t(w)
		by := time.Duration(w.rng.Int64N(int64(20*time.Second))) - 10*time.Second
		w.note("the clock of %s leaps by %v", n.id, by)
		n.skew.Add(int64(by))
	}
}

// Weather is a script of random faults over the time given.
func (w *World) Weather(over time.Duration) {
	for at := time.Duration(0); at < over; {
		at += 200*time.Millisecond + time.Duration(w.rng.Int64N(int64(1200*time.Millisecond)))
		whom := w.Any()
		if w.rng.IntN(2) == 0 {
			whom = w.Leader()
		}
		switch w.rng.IntN(12) {
		case 0, 1:
			w.At(at, w.Isolate(whom))
		case 2:
			w.At(at, w.OneWay(whom))
		case 3:
			w.At(at, w.Split())
		case 4, 5, 6:
			w.At(at, w.CrashLosing(whom, w.rng.IntN(101)))
		case 7:
			w.At(at, w.Transfer())
		case 8:
			w.At(at, w.Leap(whom))
		case 9:
			if w.rng.IntN(4) == 0 {
				w.At(at, w.CrashAll(w.rng.IntN(101)))
			}
		default:
			w.At(at, w.Heal())
		}
	}
}
