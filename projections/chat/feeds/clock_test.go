package feeds

import (
	"testing"

	"parley/log/event"

	"pgregory.net/rapid"
)

// The clock never says that an event is younger than it is, nor older by more than a second or a sixteenth of its age, and
// ten years of log take a few hundred spans.
func TestClock(t *testing.T) {
	const second = event.Time(spacing)
	rapid.Check(t, func(t *rapid.T) {
		k := clock{prefix: 1}
		var at []event.Time // by offset - 1
		now, before := event.Time(1e18), event.Offset(0)
		for range rapid.IntRange(1, 400).Draw(t, "events") {
			switch rapid.IntRange(0, 3).Draw(t, "pace") {
			case 0:
				now += event.Time(rapid.Int64Range(0, 1e8).Draw(t, "busy"))
			case 1:
				now += event.Time(rapid.Int64Range(0, 3e9).Draw(t, "calm"))
			case 2:
				now += event.Time(rapid.Int64Range(0, 3600e9).Draw(t, "quiet"))
			}
			at = append(at, now)
			k.note(nil, now, event.Offset(len(at)), before)
			before = event.Offset(len(at))
		}
		for i, real := range at {
			got := k.after(event.Offset(i), before)
			if got > real || real-got > max(second, (now-real)/precision) {
				t.Fatalf("event %d of %v ago: the clock says %v ago", i+1, now-real, now-got)
			}
		}
		if got := k.after(before, before); got != 0 {
			t.Fatalf("nothing waits, and the clock says %v", got)
		}
		loaded := clock{prefix: 1}
		k.Each(func(key, value []byte) bool {
			if err := loaded.Load(key, value); err != nil {
				t.Fatal(err)
			}
			return true
		})
		if len(loaded.spans) != len(k.spans) || loaded.spans[0] != k.spans[0] {
			t.Fatalf("loaded it has %v, want %v", loaded.spans, k.spans)
		}
	})
	k := clock{}
	const year = 365 * 24 * 3600
	now := event.Time(1e18)
	for i := range 20_000 { // a busy week, and then years with one every nine hours
		if i < 10_000 {
			now += 60 * second
		} else {
			now += event.Time(10 * year / 10_000 * spacing)
		}
		k.note(nil, now, event.Offset(i+1), event.Offset(i))
	}
	if len(k.spans) > 500 {
		t.Errorf("ten years took %d spans", len(k.spans))
	}
	t.Logf("ten years: %d spans", len(k.spans))
}
