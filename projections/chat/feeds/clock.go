package feeds

import (
	"slices"
	"sort"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

// spacing is the shortest time between two spans of the clock.
const spacing = 1_000_000_000 // 1 s, in nanoseconds

// precision says how much of the past is told apart: a span is no longer than this part of its age, or than spacing.
const precision = 16

// span is a stretch of the log: the events that a feed may be waited for, from the first to the last of them.
type span struct {
	first, last event.Offset // last is 0 in the newest: it goes on
	from, to    event.Time   // of the first, and not before that of the last
}

func (s *span) code(c *wire.Coder) {
	wire.Uint(c, 1, &s.first)
	wire.Uint(c, 2, &s.last)
	wire.Int(c, 3, &s.from)
	wire.Int(c, 4, &s.to)
}

// clock knows when the events happened that feeds have to deliver: to the second for new ones, to a sixteenth of their age
// for old ones, so that a log of ten years takes some hundred spans. It never says that an event is younger than it is.
// It is a value: what it points to is never changed.
type clock struct {
	spans  []span
	prefix byte
}

// note notes an event that feeds are waited for; before is the last such event, 0 if there was none.
func (k *clock) note(save table.Saver, at event.Time, offset, before event.Offset) {
	n := len(k.spans)
	if n > 0 && at-k.spans[n-1].from < spacing {
		return
	}
	next := make([]span, 0, n+1)
	for i, s := range k.spans {
		if i == n-1 {
			s.last, s.to = before, s.from+spacing // the next one begins later than that
		}
		// Of the spans that are there, two become one when both are old enough for their length together.
		if m := len(next); m > 0 && s.to-next[m-1].from <= (at-s.to)/precision {
			next[m-1].last, next[m-1].to = s.last, s.to
			continue
		}
		next = append(next, s)
	}
	k.spans = append(next, span{first: offset, from: at})
	if save != nil {
		save.Set(k.key(), k.encode())
	}
}

// after returns the time of the first event behind an offset that feeds are waited for, or an earlier one; newest is the
// last such event. It is 0 if there is none.
func (k *clock) after(offset, newest event.Offset) event.Time {
	if newest <= offset {
		return 0
	}
	i := sort.Search(len(k.spans), func(i int) bool { return k.spans[i].last > offset || k.spans[i].last == 0 })
	if i == len(k.spans) {
		return 0
	}
	return k.spans[i].from
}

func (k *clock) key() []byte { return []byte{k.prefix} }

func (k *clock) code(c *wire.Coder) { wire.Subs(c, 1, &k.spans, (*span).code) }

func (k *clock) encode() []byte { return table.Encode(k, (*clock).code) }

// Load implements table.Rows.
func (k *clock) Load(key, value []byte) error {
	return table.Decode(key, value, func(*clock) []byte { return k.key() }, (*clock).code, func(v *clock) { k.spans = v.spans })
}

// Each implements table.Rows.
func (k *clock) Each(yield func(key, value []byte) bool) bool {
	return len(k.spans) == 0 || yield(k.key(), k.encode())
}

// Housekeeping reports whether an event is none that a feed would be cut for: those of feeds themselves, which would
// otherwise beget each other for ever, and the coming and going of a node. The latter may have parted somebody; then it
// is one that feeds are waited for.
func Housekeeping(e event.Event) bool {
	switch e.(type) {
	case *event.FeedClaimed, *event.FeedCut, *event.FeedReceipt, *event.NodeStarted, *event.NodeLost:
		return true
	}
	return false
}

// Note notes that an event is for feeds to deliver; before is the last such event, 0 if there was none.
func (t *Feeds) Note(e *event.Envelope, before event.Offset, save table.Saver) {
	t.clock.note(save, e.At, e.Offset, before)
}

// Waits returns the time of the oldest event that a feed has not proven durable, 0 if none waits: exact to a second, and
// when the feed is further behind to a sixteenth of the event's age, never too late. newest is the last event noted.
func (t *Feeds) Waits(f *Feed, newest event.Offset) event.Time {
	return t.clock.after(f.Receipt, newest)
}

// counted are the feeds that a list of names means, without those that were removed: all, if it is empty.
func (t *Feeds) counted(names []string, yield func(*Feed) bool) {
	t.rows.Scan(func(f *Feed) bool {
		return f.Removed || len(names) > 0 && !slices.Contains(names, f.Name) || yield(f)
	})
}
