package main

import (
	"errors"
	"fmt"
	"testing"

	"parley/cmd/internal/client"
	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
)

// TestExplain: a problem in the middle of an answer has the exit code that it has at the beginning.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{fmt.Errorf("no node: %w", client.ErrUnavailable), 3},
		{&admin.Problem{Code: string(chat.CodeUnavailable), Detail: "no leader"}, 3},
		{&admin.Problem{Code: string(chat.CodeConflict), Detail: "there is one"}, 1},
		{&admin.Problem{Code: admin.CodeCorrupt, Detail: "event 7"}, 4},
	} {
		err := explain(c.err)
		if got := exitCode(err); got != c.want || err.Error() != c.err.Error() {
			t.Errorf("%v: exit code %d (%v), want %d", c.err, got, err, c.want)
		}
		if !errors.Is(err, c.err) || errors.Is(c.err, event.ErrCorrupt) != errors.Is(err, event.ErrCorrupt) {
			t.Errorf("%v is lost in %v", c.err, err)
		}
	}
}
