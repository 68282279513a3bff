package projections

import (
	"container/heap"

	"parley/log/event"
)

// waiter waits for an offset. err may be read once done is closed.
type waiter struct {
	offset event.Offset
	place  int // in the heap, -1: not in it
	done   chan struct{}
	err    error
}

// waiters is a heap by offset: passing an offset costs only those whose turn has come, however many wait.
type waiters []*waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].offset < w[j].offset }
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i, j
}

// Push is for container/heap.
func (w *waiters) Push(x any) {
	e := x.(*waiter)
	e.place = len(*w)
	*w = append(*w, e)
}

// Pop is for container/heap.
func (w *waiters) Pop() any {
	n := len(*w) - 1
	e := (*w)[n]
	(*w)[n] = nil
	*w = (*w)[:n]
	e.place = -1
	return e
}

func (w *waiters) add(o event.Offset) *waiter {
	e := &waiter{offset: o, done: make(chan struct{})}
	heap.Push(w, e)
	return e
}

// remove takes e out; false: its turn has come already.
func (w *waiters) remove(e *waiter) bool {
	if e.place < 0 {
		return false
	}
	heap.Remove(w, e.place)
	return true
}

// release ends the wait of all up to o.
func (w *waiters) release(o event.Offset) {
	for len(*w) > 0 && (*w)[0].offset <= o {
		close(heap.Pop(w).(*waiter).done)
	}
}

// fail ends every wait with err.
func (w *waiters) fail(err error) {
	for _, e := range *w {
		e.place, e.err = -1, err
		close(e.done)
	}
	*w = nil
}
