package raftnode

import (
	"strings"
	"testing"

	"parley/log/event"
)

// TestPlan takes steps until there is none. In a pool "a" to "h" are voters that answer, capitals voters that are gone;
// digits from 1 standbys that have the log, from 6 standbys that do not.
func TestPlan(t *testing.T) {
	for _, c := range []struct{ pool, steps, end string }{
		{"abc1", "", "abc1"},
		{"Abc1", "+1 -A", "bc1"},
		{"Abc6", "", "Abc6"}, // nobody to take over
		{"Abc", "", "Abc"},
		{"Abcd", "-A", "bcd"}, // what a leader that died after its first step left
		{"abcd", "", "abcd"},
		{"ABcde", "-A -B", "cde"},
		{"Abcde", "", "Abcde"}, // may lose another
		{"Abcde1", "+1 -A", "bcde1"},
		{"ABcde12", "-A -B", "cde12"},
		{"ab1", "", "ab1"},
		{"Ab1", "", "Ab1"}, // has no quorum, so there is no leader to plan
		{"a1", "", "a1"},   // an operator's choice
	} {
		pool, steps := c.pool, []string{}
		for range 10 {
			var members []Member
			for _, r := range pool {
				members = append(members, Member{ID: event.NodeID(string(r)), Voter: !strings.ContainsRune("6789", r) && !standby(pool, steps, r)})
			}
			s := plan(members,
				func(m Member) bool { return m.ID >= "A" && m.ID <= "Z" },
				func(m Member) bool { return m.ID >= "1" && m.ID <= "5" })
			if s == (step{}) {
				break
			}
			if s.promote != "" {
				steps = append(steps, "+"+string(s.promote))
			} else {
				steps = append(steps, "-"+string(s.demote))
				pool = strings.ReplaceAll(pool, string(s.demote), "")
			}
		}
		if got := strings.Join(steps, " "); got != c.steps || pool != c.end {
			t.Errorf("%s: steps %q to %s, want %q to %s", c.pool, got, pool, c.steps, c.end)
		}
	}
}

// standby reports whether a digit was not promoted yet.
func standby(_ string, steps []string, r rune) bool {
	if r < '1' || r > '5' {
		return false
	}
	for _, s := range steps {
		if s == "+"+string(r) {
			return false
		}
	}
	return true
}
