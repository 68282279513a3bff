package server

import (
	"errors"
	"fmt"
	"testing"

	"parley/log/event"
	"parley/webfront/admin"
)

// TestJudge: each letter is a node's digest, the first is this node's.
func TestJudge(t *testing.T) {
	for nodes, want := range map[string]string{
		"a": "", "aa": "", "aaaa": "",
		"ab": "differs", "aab": "differs", "aabb": "differs", "abc": "differs", // nobody is in the majority
		"abb": "outvoted", "abbb": "outvoted", "abcc": "outvoted", "aaab": "differs",
	} {
		digest := func(i int) admin.Digest {
			return admin.Digest{Node: event.NodeID(fmt.Sprint("n", i)), Offset: 7, Chain: "same", State: nodes[i : i+1]}
		}
		var others []admin.Digest
		for i := 1; i < len(nodes); i++ {
			others = append(others, digest(i))
		}
		v := judge(digest(0), others)
		got := ""
		switch {
		case v.outvoted:
			got = "outvoted"
		case v.err != nil:
			got = "differs"
		}
		if got != want || want != "" && !errors.Is(v.err, event.ErrCorrupt) || len(v.differ) == 0 != (want == "") {
			t.Errorf("%s: %q, want %q: %+v", nodes, got, want, v)
		}
	}
}

// TestJudgeVersions: an upgrade is no reason for quarantine, but another log is one in every version.
func TestJudgeVersions(t *testing.T) {
	digest := func(version, chain, state string) admin.Digest {
		return admin.Digest{Node: "n", Offset: 7, Version: version, Chain: chain, State: state}
	}
	mine := digest("2", "c", "new")
	if v := judge(mine, []admin.Digest{digest("1", "c", "old"), digest("1", "c", "old")}); v.err != nil {
		t.Error(v.err)
	}
	if v := judge(mine, []admin.Digest{digest("1", "c", "old"), digest("2", "c", "other"), digest("2", "c", "other")}); !v.outvoted {
		t.Errorf("%+v", v)
	}
	if v := judge(mine, []admin.Digest{digest("1", "x", "old"), digest("1", "x", "old")}); !v.outvoted {
		t.Errorf("%+v", v)
	}
}
