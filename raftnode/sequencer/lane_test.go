package sequencer

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"parley/log/event"
)

// on submits a command on a lane.
func (r *rig) on(l *Lane[cmd, string], c cmd) {
	l.Enqueue(c, func(out Outcome[string], err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.answers = append(r.answers, answer{c.id, out, err})
	})
	synctest.Wait()
}

// outcome lists the commands in the log, and what was told about each that is not.
func (r *rig) outcome() string {
	synctest.Wait()
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	var log []uint64
	for _, e := range r.pool.log {
		log = append(log, e.Event.(*event.Posted).MessageID)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := map[int]string{}
	for _, a := range r.answers {
		for text, err := range map[string]error{"lost": ErrUnknownOutcome, "not leader": ErrNotLeader, "busy": ErrBusy} {
			if errors.Is(a.err, err) {
				failed[a.id] = text
			}
		}
	}
	return fmt.Sprint(log, failed)
}

// An entry is lost while the leadership goes on. What is queued behind it on its lane fails, and what comes later on that
// lane; other lanes go on.
func TestLaneBreaks(t *testing.T) {
	run(t, 0, func(t *testing.T, r *rig) {
		r.pool.hold = true
		r.start()
		a, b := r.Lane(), r.Lane()
		r.on(a, cmd{id: 1, n: 1})
		for id := 2; id <= MaxInFlight; id++ {
			r.on(b, cmd{id: id, refuse: true})
		}
		c := r.Lane()
		r.on(a, cmd{id: 11, n: 1}) // all slots are taken: this and the next three wait
		r.on(c, cmd{id: 12, n: 1})
		r.submit(cmd{id: 13, n: 1})
		r.on(b, cmd{id: 14, n: 1}) // behind refusals that nobody was told, because they rest on what is lost
		r.pool.mu.Lock()
		r.pool.hold = false
		r.pool.mu.Unlock()
		r.pool.fail(errLost)
		if got, want := r.outcome(), "[12 13] map[1:lost 2:lost 3:lost 4:lost 11:not leader 14:not leader]"; got != want {
			t.Errorf("log and failures %s, want %s", got, want)
		}
		r.on(a, cmd{id: 21, n: 1})
		r.on(c, cmd{id: 22, n: 1})
		again := r.Lane()
		r.on(again, cmd{id: 1, n: 1})
		r.on(again, cmd{id: 11, n: 1})
		if got, want := r.outcome(), "[12 13 22 1 11] map[1:lost 2:lost 3:lost 4:lost 11:not leader 14:not leader 21:not leader]"; got != want {
			t.Errorf("log and failures %s, want %s", got, want)
		}
		r.stop(t)
	})
}

// A lane ends with the leadership in which it was opened, also when nothing of it had failed.
func TestLaneEndsWithLead(t *testing.T) {
	run(t, 0, func(t *testing.T, r *rig) {
		early := r.Lane()
		r.start()
		first := r.Lane()
		r.on(early, cmd{id: 1, n: 1})
		r.on(first, cmd{id: 2, n: 1})
		r.stop(t)
		between := r.Lane()
		r.start()
		r.on(between, cmd{id: 3, n: 1})
		r.on(first, cmd{id: 4, n: 1})
		r.on(r.Lane(), cmd{id: 5, n: 1})
		if got, want := r.outcome(), "[2 5] map[1:not leader 3:not leader 4:not leader]"; got != want {
			t.Errorf("log and failures %s, want %s", got, want)
		}
		r.stop(t)
	})
}

// A full queue is an answer to one command: the lane goes on when there is room again.
func TestBusyLeavesTheLane(t *testing.T) {
	run(t, 1, func(t *testing.T, r *rig) {
		r.pool.hold = true
		r.start()
		l := r.Lane()
		for id := 1; id <= MaxInFlight+2; id++ {
			r.on(l, cmd{id: id, n: 1})
		}
		for range MaxInFlight + 1 {
			r.pool.commitN(1)
			synctest.Wait()
		}
		r.on(l, cmd{id: 11, n: 1})
		r.pool.commitN(1)
		if got, want := r.outcome(), "[1 2 3 4 5 11] map[6:busy]"; got != want {
			t.Errorf("log and failures %s, want %s", got, want)
		}
		r.stop(t)
	})
}
