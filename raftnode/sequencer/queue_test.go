package sequencer

import "testing"

// Pushes come between a pop and its being undone, and may move what is queued.
func TestUnpopAfterPush(t *testing.T) {
	for pops := 1; pops <= 8; pops++ {
		var q queue[int]
		pushed := 0
		for ; len(q.items) < cap(q.items) || pushed < 8; pushed++ {
			q.push(pushed)
		}
		for want := range pops - 1 {
			if got := q.pop(); got != want {
				t.Fatalf("%d, want %d", got, want)
			}
		}
		v := q.pop()
		q.push(pushed)
		pushed++
		q.unpop(v)
		for want := pops - 1; want < pushed; want++ {
			if got := q.pop(); got != want {
				t.Fatalf("%d pops: %d, want %d", pops, got, want)
			}
		}
		if q.len() != 0 {
			t.Fatalf("%d are left", q.len())
		}
	}
}
