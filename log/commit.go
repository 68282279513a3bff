package log

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// commitRun bounds how many entries one batch of Commit covers, when a node catches up after a restart.
const commitRun = 1024

// Committed says what became of an entry when it was committed.
type Committed struct {
	Index       event.Index
	First, Last event.Offset // of its events; 0, 0: it has none that count
	Void        bool         // it has a batch, but the batch does not continue the log
}

// Commit moves the committed mark over the entries up to index: it verifies that each batch continues the chain, gives
// its events their offsets, and lets readers see them. It returns what became of each entry in (old mark, index],
// nothing when the mark is there already.
//
// A batch that does not continue the log is void: counted, skipped, the same on every node. A damaged entry is
// event.ErrCorrupt, and the mark stays before it.
//
// Nothing is synced here. After a crash the mark may be lower, and the same call gives the same result again.
func (l *Log) Commit(index event.Index) ([]Committed, error) {
	if err := l.enterWrite(); err != nil {
		return nil, err
	}
	defer l.leave()
	l.committing.Lock()
	defer l.committing.Unlock()
	if err := l.fault.refuse(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	m, last := l.mark, l.last
	l.mu.Unlock()
	if index <= m.Index {
		return nil, nil
	}
	if index > last {
		return nil, fmt.Errorf("commit %d, but the log ends at %d: %w", index, last, ErrNotFound)
	}
	out := make([]Committed, 0, index-m.Index)
	for m.Index < index {
		until := min(index, m.Index+commitRun)
		done, err := l.commitSome(&m, until)
		out = append(out, done...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// commitSome commits the entries up to until in one batch and advances m.
func (l *Log) commitSome(m *mark, until event.Index) ([]Committed, error) {
	b := l.db.NewBatch()
	defer l.release(b)
	next := *m
	var out []Committed
	var broken error
	for i := m.Index + 1; i <= until; i++ {
		e, err := l.entry(l.db, i)
		if err != nil {
			// What comes before the damage is good and stays committed.
			broken = fmt.Errorf("commit %d: %w", i, err)
			break
		}
		c := next.pass(i, e)
		if c.First != 0 {
			p := place{first: c.First, last: c.Last, index: i, at: e.at()}
			key := offsetKey(p.first)
			if err := b.Set(key, p.row(key), nil); err != nil {
				return nil, fmt.Errorf("commit %d: %w", i, err)
			}
		}
		out = append(out, c)
	}
	if next.Index > m.Index {
		if err := l.submit(b, &next, false); err != nil {
			return nil, errors.Join(fmt.Errorf("commit up to %d: %w", next.Index, err), broken)
		}
		for _, c := range out {
			if c.Void {
				l.logger.Error("committed batch does not continue the log and is void", attrIndex, uint64(c.Index))
			}
		}
		*m = next
	}
	return out, broken
}

// pass moves the mark over the entry at index i; e is nil when it is not a command.
func (m *mark) pass(i event.Index, e *entry) Committed {
	c := Committed{Index: i}
	m.Index = i
	switch {
	case e == nil:
	case !e.continues(m.Head):
		c.Void = true
		m.void++
	default:
		c.First, c.Last = e.first(), e.last()
		m.Offset, m.Chain, m.At = e.last(), e.chain(), e.at()
	}
	return c
}

// load reads what Open must know: the mark and where the log ends. It costs the same however long the log is.
func (l *Log) load() error {
	format, known, err := l.get(l.db, formatKey)
	if err != nil {
		return err
	}
	if known {
		p, err := open(formatKey, format)
		if err != nil {
			return err
		}
		if string(p) != formatName {
			return fmt.Errorf("format row says %q: %w", p, event.ErrCorrupt)
		}
	}
	row, marked, err := l.get(l.db, markKey)
	if err != nil {
		return err
	}
	if marked {
		if l.mark, err = parseMark(row); err != nil {
			return err
		}
	}
	if row, ok, err := l.get(l.db, eraseKey); err != nil {
		return err
	} else if ok {
		if l.erasure, err = parseErasure(row); err != nil {
			return err
		}
		l.erasure.written = l.erasure.done
	}
	first, last, err := l.bounds(l.db)
	if err != nil {
		return err
	}
	switch {
	case !known && (marked || last != 0):
		return fmt.Errorf("store has entries or a mark, but no format row: %w", event.ErrCorrupt)
	case first > 1:
		return fmt.Errorf("first entry is %d: %w", first, event.ErrCorrupt)
	case last < l.mark.Index:
		return fmt.Errorf("log ends at entry %d, but was committed up to %d: %w", last, l.mark.Index, event.ErrCorrupt)
	case l.erasure.done > l.mark.Offset:
		return fmt.Errorf("removals are carried out up to %d, but events committed up to %d: %w", l.erasure.done, l.mark.Offset, event.ErrCorrupt)
	}
	l.last = last
	if !known && !l.readOnly {
		return l.writeFormat()
	}
	if last != 0 {
		if _, _, err := l.readRows(l.db, last); err != nil {
			return fmt.Errorf("entry %d: %w", last, err)
		}
	}
	return l.checkMark()
}

// checkMark compares the mark with the place and the entry it speaks of.
func (l *Log) checkMark() error {
	m := l.mark
	p, ok, err := l.floor(l.db, math.MaxUint64)
	switch {
	case err != nil:
		return err
	case !ok && m.Offset == 0:
		return nil
	case !ok || p.last != m.Offset || p.at != m.At || p.index > m.Index:
		return fmt.Errorf("committed mark at offset %d, last place %d to %d: %w", m.Offset, p.first, p.last, event.ErrCorrupt)
	}
	e, err := l.entry(l.db, p.index)
	if err != nil {
		return err
	}
	if e == nil || e.first() != p.first || e.last() != p.last || e.chain() != m.Chain {
		return fmt.Errorf("committed mark does not match entry %d: %w", p.index, event.ErrCorrupt)
	}
	return nil
}

// bounds returns the indexes of the first and last entries, 0, 0 when there are none.
func (l *Log) bounds(r pebble.Reader) (first, last event.Index, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: entriesFrom, UpperBound: entriesTo})
	if err != nil {
		return 0, 0, classify(err)
	}
	defer func() { err = errors.Join(err, classify(it.Close())) }()
	if it.First() {
		if first, _, err = parseEntryKey(it.Key()); err != nil {
			return 0, 0, err
		}
	}
	if it.Last() {
		if last, _, err = parseEntryKey(it.Key()); err != nil {
			return 0, 0, err
		}
	}
	return first, last, classify(it.Error())
}

// writeFormat marks a new store as ours. If we crash before, the next start does it.
func (l *Log) writeFormat() error {
	b := l.db.NewBatch()
	defer l.release(b)
	if err := b.Set(formatKey, seal(formatKey, append(beginRow(len(formatName)), formatName...)), nil); err != nil {
		return err
	}
	return l.submit(b, nil, true)
}
