package memory

import (
	"math/bits"
	"slices"
	"sort"

	"github.com/tidwall/btree"

	"parley/log/event"
)

// chunkRows is how many rows are kept together. The first row after a copy copies so many at most.
const chunkRows = 64

// queue is rows in the order of their offsets: they come in it, and the oldest leave. It is a persistent value: what
// two copies share is never written, but for the array of a newest chunk that is mine.
type queue struct {
	front []seen                           // the oldest: a view that gets shorter
	body  *btree.Map[event.Offset, []seen] // by the offset that their first row had when they came here
	tail  []seen                           // the newest
	mine  bool                             // no copy shares the array of the tail, so it may be written
	n     int
}

func newQueue() queue { return queue{body: btree.NewMap[event.Offset, []seen](0)} }

// copy returns an independent copy in O(1).
func (q *queue) copy() queue {
	q.mine = false // or both would append to one array
	c := *q
	c.body = q.body.Copy()
	return c
}

// push adds a row behind all others.
func (q *queue) push(x seen) {
	if len(q.tail) == chunkRows {
		q.body.Set(q.tail[0].offset, q.tail)
		q.tail, q.mine = nil, false
	}
	q.ownTail()
	q.tail = append(q.tail, x)
	q.n++
}

func (q *queue) ownTail() {
	if !q.mine {
		q.tail, q.mine = append(make([]seen, 0, chunkRows), q.tail...), true
	}
}

// first returns the oldest row, nil if there is none. It may not be changed.
func (q *queue) first() *seen {
	if len(q.front) > 0 {
		return &q.front[0]
	}
	if _, rows, ok := q.body.Min(); ok {
		return &rows[0]
	}
	if len(q.tail) > 0 {
		return &q.tail[0]
	}
	return nil
}

// pop removes the oldest row, of which there must be one, and returns it.
func (q *queue) pop() seen {
	if len(q.front) == 0 {
		if _, rows, ok := q.body.PopMin(); ok {
			q.front = rows
		} else {
			q.front, q.tail, q.mine = q.tail, nil, false
		}
	}
	x := q.front[0]
	q.front = q.front[1:]
	q.n--
	return x
}

// chunk returns where the row of an offset is, if it is anywhere; key is that of a chunk of the body.
func (q *queue) chunk(offset event.Offset) (rows []seen, key event.Offset) {
	switch {
	case q.inTail(offset):
		return q.tail, 0
	case q.inFront(offset):
		return q.front, 0
	}
	q.body.Descend(offset, func(k event.Offset, r []seen) bool {
		rows, key = r, k
		return false
	})
	return rows, key
}

func (q *queue) inTail(offset event.Offset) bool {
	return len(q.tail) > 0 && offset >= q.tail[0].offset
}

func (q *queue) inFront(offset event.Offset) bool {
	return len(q.front) > 0 && offset <= q.front[len(q.front)-1].offset
}

// within returns the place of an offset in a chunk, -1 if it is not there. Most events are of a command, so that it is
// looked for in one place or a few, and not where other lines of memory are.
func within(rows []seen, offset event.Offset) int {
	if len(rows) == 0 || offset < rows[0].offset || offset > rows[len(rows)-1].offset {
		return -1
	}
	last := event.Offset(len(rows) - 1)
	high := min(last, offset-rows[0].offset)          // those before it have an offset each
	low := last - min(last, rows[last].offset-offset) // and so have those behind it
	i := int(low) + sort.Search(int(high-low), func(i int) bool { return rows[int(low)+i].offset >= offset })
	if rows[i].offset != offset {
		return -1
	}
	return i
}

// at returns the row of an offset, or nil. It may not be changed.
func (q *queue) at(offset event.Offset) *seen {
	rows, _ := q.chunk(offset)
	if i := within(rows, offset); i >= 0 {
		return &rows[i]
	}
	return nil
}

// remove drops the row of an offset, if there is one.
func (q *queue) remove(offset event.Offset) {
	rows, key := q.chunk(offset)
	i := within(rows, offset)
	if i < 0 {
		return
	}
	q.n--
	if q.inTail(offset) { // most often: the event before this one was of the same command
		q.ownTail()
		q.tail = slices.Delete(q.tail, i, i+1)
		return
	}
	rest := slices.Concat(rows[:i], rows[i+1:])
	switch {
	case q.inFront(offset):
		q.front = rest
	case len(rest) == 0:
		q.body.Delete(key)
	default:
		q.body.Set(key, rest)
	}
}

// each visits the rows in order. They may not be changed.
func (q *queue) each(f func(*seen)) {
	chunk := func(rows []seen) {
		for i := range rows {
			f(&rows[i])
		}
	}
	chunk(q.front)
	q.body.Scan(func(_ event.Offset, rows []seen) bool {
		chunk(rows)
		return true
	})
	chunk(q.tail)
}

// portion is how many rows are sorted at once, if their ids are of all kinds: with all at once, sorting would need as much
// memory as the rows, and with fewer the rows were read more often.
const portion = 1 << 19

// byID visits the rows in the order of their ids until f returns false, and reports whether it never did. They are put
// into buckets by the leading bits of their ids, which are so small that sorting them costs little: a state of millions
// is compared with those of other nodes every few minutes, and they wait for it.
func (q *queue) byID(f func(*seen) bool) bool {
	const inBucket = 16
	shift := 64 - bits.Len(uint(q.n/inBucket))
	ends := make([]int, 1<<(64-shift)) // of the buckets; first how many are in each
	q.each(func(x *seen) { ends[x.id.hi>>shift]++ })
	var rows []seen
	for from, to := 0, 0; from < len(ends); from = to {
		size := 0
		for to = from; to < len(ends) && (to == from || size+ends[to] <= portion); to++ {
			ends[to], size = size, size+ends[to]
		}
		rows = slices.Grow(rows[:0], size)[:size]
		q.each(func(x *seen) {
			if b := x.id.hi >> shift; b >= uint64(from) && b < uint64(to) {
				rows[ends[b]] = *x
				ends[b]++
			}
		})
		begin := 0
		for _, end := range ends[from:to] {
			slices.SortFunc(rows[begin:end], func(x, y seen) int { return x.id.compare(y.id) })
			begin = end
		}
		for i := range rows {
			if !f(&rows[i]) {
				return false
			}
		}
	}
	return true
}
