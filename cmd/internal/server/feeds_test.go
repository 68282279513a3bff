package server

import (
	"errors"
	"fmt"
	"testing"

	"parley/compliance"
	"parley/compliance/external"
	"parley/log/event"
	"parley/projections/chat"
)

// TestReplayRefusal: a replay that can never come out is a conflict; asking another node or again would not help.
func TestReplayRefusal(t *testing.T) {
	o := compliance.NewOptions([]event.FeedOption{{Name: "program", Value: "vault"}})
	_, program := external.Kind.New(compliance.Env{Dir: "replay", FS: compliance.NewMemory()}, o)
	for _, err := range []error{fmt.Errorf("events 1 to 2: %w", compliance.ErrReplay), program} {
		if f := chat.AsRefusal(replayRefusal(err)); f.Code != chat.CodeConflict || f.Text != err.Error() {
			t.Errorf("%v becomes %s: %v", err, f.Code, f)
		}
	}
	if err := replayRefusal(nil); err != nil {
		t.Error(err)
	}
	disk := errors.New("read events from 7: input/output error")
	if err := replayRefusal(disk); chat.AsRefusal(err).Code != chat.CodeUnavailable {
		t.Errorf("another error: %v", err)
	}
}
