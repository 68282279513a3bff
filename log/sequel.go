package log

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// sequel reads the committed entries that follow one, without looking up the place of each: the chain tells which entry comes
// next, as it told Commit. For whoever reads much at once.
type sequel struct {
	l    *Log
	head Head // the mark
	at   Head // after the entry before
	it   *pebble.Iterator
	*scratch
}

// scratch is what reading takes for a moment.
type scratch struct {
	auditor event.Auditor
	row     []byte
}

// mostScratch is how large a row may have been for its memory to be kept.
const mostScratch = 1 << 20

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// after returns the sequel of a committed entry, up to the mark. close it.
func (l *Log) after(e *entry, head Head) *sequel {
	return &sequel{l: l, head: head, at: Head{Index: e.index, Offset: e.last(), Chain: e.chain(), At: e.at()}, scratch: scratches.Get().(*scratch)}
}

func (s *sequel) close() error {
	if cap(s.row) <= mostScratch {
		scratches.Put(s.scratch)
	}
	if s.it == nil {
		return nil
	}
	return classify(s.it.Close())
}

// next returns the next entry that has events that count. There must be one.
func (s *sequel) next() (*entry, error) {
	for s.at.Index < s.head.Index {
		i := s.at.Index + 1
		e := s.l.entries.get(i)
		if e == nil {
			gen := s.l.entries.generation()
			var err error
			if e, err = s.read(i); err != nil {
				return nil, fmt.Errorf("entry %d: %w", i, err)
			}
			if e != nil {
				s.l.entries.put(e, gen)
			}
		}
		s.at.Index = i
		if e == nil { // not a command
			continue
		}
		if !e.continues(s.at) {
			if err := s.skip(); err != nil {
				return nil, err
			}
			continue
		}
		s.at = Head{Index: i, Offset: e.last(), Chain: e.chain(), At: e.at()}
		return e, nil
	}
	return nil, fmt.Errorf("no entry has offset %d: %w", s.at.Offset+1, event.ErrCorrupt)
}

// skip leaves a batch that does not continue the log. It is void, which is hardly ever so, or the log is damaged: the place of
// the next offset tells, and where to go on.
func (s *sequel) skip() error {
	p, ok, err := s.l.floor(s.l.db, s.at.Offset+1)
	if err != nil {
		return err
	}
	if !ok || p.first != s.at.Offset+1 || p.index <= s.at.Index {
		return fmt.Errorf("entry %d does not continue the log: %w", s.at.Index, event.ErrCorrupt)
	}
	s.at.Index = p.index - 1
	return nil
}

// read decodes the entry at an index from its rows, nil when it is not a command.
func (s *sequel) read(i event.Index) (e *entry, err error) {
	if s.it == nil {
		if s.it, err = s.l.db.NewIter(&pebble.IterOptions{LowerBound: entryKey(i, partEntry), UpperBound: entryKey(s.head.Index+1, partEntry)}); err != nil {
			return nil, classify(err)
		}
		s.it.First()
	}
	var space [entryKeyLen]byte
	key := appendEntryKey(space[:0], i, partEntry)
	if !s.it.Valid() || string(s.it.Key()) != string(key) { // others were in the cache
		if !s.it.SeekGE(key) || string(s.it.Key()) != string(key) {
			return nil, fmt.Errorf("entry row is missing: %w", errors.Join(event.ErrCorrupt, classify(s.it.Error())))
		}
	}
	s.row = append(s.row[:0], s.it.Value()...)
	row, err := parseEntryRow(key, s.row)
	if err != nil {
		return nil, err
	}
	bodies := []byte{}
	s.it.Next()
	if row.hasBody {
		key[len(key)-1] = partBody
		if !s.it.Valid() || string(s.it.Key()) != string(key) {
			return nil, fmt.Errorf("body row is missing: %w", errors.Join(event.ErrCorrupt, classify(s.it.Error())))
		}
		if bodies, err = parseBodyRow(key, s.it.Value(), row.term); err != nil {
			return nil, err
		}
	}
	if row.kind == typeCommand {
		if e, err = newEntry(&s.auditor, i, row.head, bodies); err != nil {
			return nil, err
		}
	}
	if row.hasBody {
		s.it.Next()
	}
	return e, nil
}
