package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// WaitFor returns when the mark has reached an offset, ctx has ended, or the log is closed.
func (l *Log) WaitFor(ctx context.Context, o event.Offset) error {
	return l.wait(ctx, o, nil)
}

// wait waits until the mark has reached o, or until stop is closed.
func (l *Log) wait(ctx context.Context, o event.Offset, stop <-chan struct{}) error {
	for {
		l.mu.Lock()
		head, advanced := l.mark.Offset, l.advanced
		l.mu.Unlock()
		if head >= o {
			return nil
		}
		select {
		case <-advanced:
		case <-l.closed:
			return ErrClosed
		case <-stop:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("wait for offset %d: %w", o, context.Cause(ctx))
		}
	}
}

// Read returns committed events from an offset on (0 means from the first), in order, at most maxEvents of them; with
// maxEvents < 1, the rest of the entry that has the first one. It returns none when the log has not got that far; it
// never waits and never passes the mark.
//
// Envelopes and the events in them are shared with other readers: do not change them.
func (l *Log) Read(from event.Offset, maxEvents int) ([]event.Envelope, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	from = max(from, 1)
	head := l.Head()
	var out []event.Envelope
	for from <= head.Offset && (out == nil || len(out) < maxEvents) {
		run, err := l.rest(from)
		if err != nil {
			return nil, err
		}
		if maxEvents < 1 {
			return run, nil
		}
		if out == nil && len(run) >= maxEvents {
			return run[:maxEvents:maxEvents], nil
		}
		out = append(out, run[:min(len(run), maxEvents-len(out))]...)
		from += event.Offset(len(run))
	}
	return out, nil
}

// rest returns the events of one entry from an offset on, which must be committed.
func (l *Log) rest(from event.Offset) ([]event.Envelope, error) {
	p, ok, err := l.floor(l.db, from)
	if err != nil {
		return nil, fmt.Errorf("read offset %d: %w", from, err)
	}
	if !ok || p.last < from {
		return nil, fmt.Errorf("read offset %d: it has no place: %w", from, event.ErrCorrupt)
	}
	gen := l.entries.generation()
	e, err := l.entry(l.db, p.index)
	if err != nil {
		return nil, fmt.Errorf("read offset %d: %w", from, err)
	}
	if e == nil || e.first() != p.first || e.last() != p.last {
		return nil, fmt.Errorf("read offset %d: entry %d does not have it: %w", from, p.index, event.ErrCorrupt)
	}
	l.entries.put(e, gen)
	run := e.envelopes[from-p.first:]
	return run[:len(run):len(run)], nil
}

// floor returns the place with the largest first offset that is not above o.
func (l *Log) floor(r pebble.Reader, o event.Offset) (p place, ok bool, err error) {
	// A reader that goes on from entry to entry hits the row itself.
	key := offsetKey(o)
	row, ok, err := l.get(r, key)
	if err != nil {
		return place{}, false, err
	}
	if ok {
		p, err = parsePlace(key, row)
		return p, err == nil, err
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: offsetsFrom, UpperBound: offsetsTo})
	if err != nil {
		return place{}, false, classify(err)
	}
	defer func() { err = errors.Join(err, classify(it.Close())) }()
	return floorOf(it, o)
}

// floorOf is floor on an iterator over the places.
func floorOf(it *pebble.Iterator, o event.Offset) (place, bool, error) {
	ok := false
	if o == math.MaxUint64 {
		ok = it.Last()
	} else {
		ok = it.SeekLT(offsetKey(o + 1))
	}
	if !ok {
		return place{}, false, classify(it.Error())
	}
	p, err := parsePlace(it.Key(), it.Value())
	return p, err == nil, err
}

// At returns the last offset whose time is not later than t, 0 when there is none.
func (l *Log) At(t event.Time) (o event.Offset, err error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	head := l.Head() // before the iterator, which must see at least as much: the log may grow between the two
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: offsetsFrom, UpperBound: offsetsTo})
	if err != nil {
		return 0, fmt.Errorf("offset at %s: %w", t, classify(err))
	}
	defer func() { err = errors.Join(err, classify(it.Close())) }()
	// Times rise with offsets, so halve the range. Invariant: events up to low are not later than t, those from high on are.
	low, high := event.Offset(0), head.Offset+1
	for high-low > 1 {
		p, ok, err := floorOf(it, low+(high-low)/2)
		if err != nil {
			return 0, fmt.Errorf("offset at %s: %w", t, err)
		}
		if !ok || p.last <= low || p.first >= high {
			return 0, fmt.Errorf("offset at %s: place %d to %d is out of order: %w", t, p.first, p.last, event.ErrCorrupt)
		}
		if p.at <= t {
			low = min(p.last, high-1)
		} else {
			high = max(p.first, low+1)
		}
	}
	return low, nil
}

// Reader reads the log from an offset on and waits at the head. It is for one goroutine; Close may come from another.
type Reader struct {
	l    *Log
	next event.Offset
	once sync.Once
	stop chan struct{}
}

// Reader returns a reader whose first event is from (0 means the first there is). An offset that the log has not
// reached yet is fine: the reader waits for it.
func (l *Log) Reader(from event.Offset) *Reader {
	return &Reader{l: l, next: max(from, 1), stop: make(chan struct{})}
}

// Next returns the next committed events: the rest of one entry, at least one. It waits at the head, until ctx ends
// or the reader or the log is closed (ErrClosed). After an error it may be called again and goes on where it was.
//
// Envelopes and the events in them are shared with other readers: do not change them.
func (r *Reader) Next(ctx context.Context) ([]event.Envelope, error) {
	select {
	case <-r.stop:
		return nil, ErrClosed
	default:
	}
	if err := r.l.wait(ctx, r.next, r.stop); err != nil {
		return nil, err
	}
	if err := r.l.enter(); err != nil {
		return nil, err
	}
	defer r.l.leave()
	run, err := r.l.rest(r.next)
	if err != nil {
		return nil, err
	}
	r.next += event.Offset(len(run))
	return run, nil
}

// Offset returns the offset of the event that Next returns first.
func (r *Reader) Offset() event.Offset { return r.next }

// Close ends a waiting Next.
func (r *Reader) Close() { r.once.Do(func() { close(r.stop) }) }
