package log

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// A verification reads rows on one goroutine, a portion at a time, has the portions hashed beside each other, and looks at what
// that gave in the order of the log: it finds the damage that comes first, however many work.

const (
	// A portion ends after this many entries, or bytes: large enough that handing it over costs nothing, small enough that
	// what is in the making is no memory to speak of. An entry larger than that is a portion of its own.
	portionEntries = 128
	portionBytes   = 256 << 10
)

// auditors returns on how many goroutines to hash. A node that serves keeps half of the machine; a log that is open for
// reading only belongs to nobody else.
func (l *Log) auditors() int {
	n := runtime.GOMAXPROCS(0)
	if !l.readOnly {
		n /= 2
	}
	return max(n, 1)
}

// portion is some entries in a row, as read and then as audited. Its memory serves one portion after the other.
type portion struct {
	bytes []byte // the rows
	rows  []rawRows
	err   error // what stopped the reading behind the last of them
	seen  []audited
	done  chan struct{}
}

// rawRows says where in a portion the rows of an entry end.
type rawRows struct {
	index       event.Index
	entry, body int // ends; equal: no body row followed
}

// audited is what was found of one entry.
type audited struct {
	*entry // nil: not a command. Its envelopes are the bounds of the batch, and between them erased events and reasons
	came   bool
	err    error
	memory entry
	key    []byte
}

// fill reads rows from the iterator, which is at the next one, until the portion is full, the rows end, or stop says so. more
// tells that it was full.
func (p *portion) fill(it *pebble.Iterator, next event.Index, stop func(event.Index) bool) (more bool) {
	p.bytes, p.rows, p.err = p.bytes[:0], p.rows[:0], nil
	for it.Valid() {
		i, part, err := parseEntryKey(it.Key())
		switch {
		case err != nil:
		case part == partBody && len(p.rows) > 0 && p.rows[len(p.rows)-1].index == i:
			last := &p.rows[len(p.rows)-1]
			if p.bytes = append(p.bytes, it.Value()...); last.body != last.entry {
				err = fmt.Errorf("entry %d has two body rows: %w", i, event.ErrCorrupt)
			}
			last.body = len(p.bytes)
			it.Next()
		case len(p.rows) >= portionEntries || len(p.bytes) >= portionBytes:
			return true
		case i != next || part != partEntry:
			err = fmt.Errorf("entry %d follows entry %d (part %d): %w", i, next-1, part, event.ErrCorrupt)
		case stop(i):
			return false
		default:
			p.bytes = append(p.bytes, it.Value()...)
			p.rows = append(p.rows, rawRows{i, len(p.bytes), len(p.bytes)})
			next++
			it.Next()
		}
		if err != nil {
			p.err = err
			return false
		}
	}
	p.err = classify(it.Error())
	return false
}

// audit verifies the rows of each entry, alone.
func (p *portion) audit(a *event.Auditor) {
	if cap(p.seen) < len(p.rows) {
		p.seen = make([]audited, portionEntries)
	}
	p.seen = p.seen[:len(p.rows)]
	begin := 0
	for k, r := range p.rows {
		if err := p.seen[k].of(a, r.index, p.bytes[begin:r.entry], p.bytes[r.entry:r.body]); err != nil {
			p.seen[k].err = fmt.Errorf("entry %d: %w", r.index, err)
			p.seen = p.seen[:k+1] // what comes after the damage does not count
			return
		}
		begin = r.body
	}
}

// of verifies the rows of the entry at an index. It works on the stored bytes and never asks the cache.
func (s *audited) of(a *event.Auditor, i event.Index, entryBytes, bodyBytes []byte) error {
	s.entry, s.came, s.err = nil, false, nil
	s.key = appendEntryKey(s.key[:0], i, partEntry)
	row, err := parseEntryRow(s.key, entryBytes)
	if err != nil {
		return err
	}
	bodies := []byte{}
	switch {
	case row.hasBody && len(bodyBytes) == 0:
		return fmt.Errorf("body row is missing: %w", event.ErrCorrupt)
	case row.hasBody:
		s.key[len(s.key)-1] = partBody
		if bodies, err = parseBodyRow(s.key, bodyBytes, row.term); err != nil {
			return err
		}
	case len(bodyBytes) > 0:
		return fmt.Errorf("it has a body row that it does not tell of: %w", event.ErrCorrupt)
	}
	if row.kind != typeCommand {
		return nil
	}
	e := &s.memory
	e.index = i
	e.envelopes = append(e.envelopes[:0], event.Envelope{})
	var b event.Audited
	if b, e.envelopes, err = a.Audit(row.head, bodies, i, isReason, e.envelopes); err != nil {
		return err
	}
	e.prev = b.Prev
	e.envelopes[0] = event.Envelope{Offset: b.Base, At: b.At}
	e.envelopes = append(e.envelopes, event.Envelope{Offset: b.Last, At: b.At, Chain: b.Chain})
	s.entry, s.came = e, row.came
	return nil
}

// hashing is portions on their way, in order. They are made by one goroutine, which takes them back.
type hashing struct {
	jobs   chan *portion
	wg     sync.WaitGroup
	onWay  []*portion // oldest first
	free   []*portion
	single event.Auditor // without helpers
}

// startHashing starts helpers to hash; with less than two there are none, and oldest hashes.
func startHashing(helpers int) *hashing {
	h := new(hashing)
	if helpers < 2 {
		h.free = []*portion{new(portion)}
		return h
	}
	h.jobs = make(chan *portion, 2*helpers) // never full: there are not more portions
	for range 2 * helpers {
		h.free = append(h.free, &portion{done: make(chan struct{}, 1)})
	}
	for range helpers {
		h.wg.Go(func() {
			var a event.Auditor
			for p := range h.jobs {
				p.audit(&a)
				p.done <- struct{}{}
			}
		})
	}
	return h
}

// blank returns memory for a portion, of which there must be some.
func (h *hashing) blank() *portion {
	p := h.free[len(h.free)-1]
	h.free = h.free[:len(h.free)-1]
	return p
}

// send has a portion hashed.
func (h *hashing) send(p *portion) {
	if h.onWay = append(h.onWay, p); h.jobs != nil {
		h.jobs <- p
	}
}

// oldest returns the portion that was sent first and has not been returned yet, once it is hashed; nil when there is none.
func (h *hashing) oldest() *portion {
	if len(h.onWay) == 0 {
		return nil
	}
	p := h.onWay[0]
	h.onWay = append(h.onWay[:0], h.onWay[1:]...)
	if h.jobs != nil {
		<-p.done
	} else {
		p.audit(&h.single)
	}
	return p
}

// recycle takes the memory of a portion back, but not what one huge entry made of it.
func (h *hashing) recycle(p *portion) {
	if cap(p.bytes) > 4*portionBytes {
		p.bytes = nil
	}
	h.free = append(h.free, p)
}

// stop ends the helpers; what is on its way is not wanted any more.
func (h *hashing) stop() {
	if h.jobs != nil {
		close(h.jobs)
	}
	h.wg.Wait()
}

// errNoPlace says that the rows that tell where offsets are ended too early, or could not be read.
func errNoPlace(o event.Offset, it *pebble.Iterator) error {
	return fmt.Errorf("offset %d has no place: %w", o, errors.Join(event.ErrCorrupt, classify(it.Error())))
}
