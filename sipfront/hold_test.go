package sipfront

import (
	"testing"

	"parley/log/event"
)

// TestHold: what becomes of a hold, whatever overtakes what.
func TestHold(t *testing.T) {
	type step struct {
		m  move
		at event.Offset
	}
	for _, c := range []struct {
		what  string
		steps []step
		want  stage
	}{
		{"on its way", []step{{asks, 0}}, asking},
		{"joined", []step{{asks, 0}, {joins, 10}}, inside},
		{"refused", []step{{asks, 0}, {refused, 0}}, out},
		{"joined twice", []step{{asks, 0}, {asks, 0}, {joins, 10}, {joins, 11}}, inside},
		{"joined, then refused", []step{{asks, 0}, {asks, 0}, {joins, 10}, {refused, 0}}, inside},
		{"refused, then joined", []step{{asks, 0}, {asks, 0}, {refused, 0}, {joins, 11}}, inside},
		{"kicked", []step{{asks, 0}, {joins, 10}, {ends, 12}}, out},
		{"kicked before the join was told", []step{{asks, 0}, {ends, 12}, {joins, 10}}, out},
		{"joined after the kick", []step{{asks, 0}, {ends, 12}, {joins, 13}}, inside},
		{"kicked with a join on its way", []step{{asks, 0}, {joins, 10}, {asks, 0}, {ends, 12}}, asking},
		{"which came before the kick", []step{{asks, 0}, {joins, 10}, {asks, 0}, {ends, 12}, {joins, 11}}, out},
		{"which came after it", []step{{asks, 0}, {joins, 10}, {asks, 0}, {ends, 12}, {joins, 13}}, inside},
		{"left", []step{{asks, 0}, {joins, 10}, {leaves, 0}}, left},
		{"left before the join was told", []step{{asks, 0}, {leaves, 0}, {joins, 10}}, left},
		{"and the end is told", []step{{asks, 0}, {leaves, 0}, {joins, 10}, {ends, 11}}, left},
	} {
		var h hold
		for _, s := range c.steps {
			h.step(s.m, s.at)
		}
		if h.stage != c.want {
			t.Errorf("%s: stage %d, want %d", c.what, h.stage, c.want)
		}
	}
}
