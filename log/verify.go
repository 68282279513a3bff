package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// Verify reads the events from..to (from 0: the first; to 0: the last) and everything that belongs to them, the entry before them
// included: checksums, density of indexes and offsets, chain, hashes of bodies, places. The whole log is verified, rows above the mark included, when
// both bounds are 0. The first damage found is returned, of class event.ErrCorrupt. progress may be nil; it is
// called after each entry that has events.
//
// Verify works on the log as it is when called; appends and commits go on meanwhile.
func (l *Log) Verify(ctx context.Context, from, to event.Offset, progress func(done, total event.Offset)) (err error) {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	// A snapshot is consistent in itself: mark and places change in one batch.
	snap := l.db.NewSnapshot()
	defer func() { err = errors.Join(err, classify(snap.Close())) }()
	v := verifier{l: l, r: snap, progress: progress, whole: from == 0 && to == 0}
	if err := v.run(ctx, from, to); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

type verifier struct {
	l        *Log
	r        *pebble.Snapshot
	progress func(done, total event.Offset)
	whole    bool
	mark     mark // as stored
	at       mark // as computed up to here
}

func (v *verifier) run(ctx context.Context, from, to event.Offset) error {
	if err := v.loadMark(); err != nil {
		return err
	}
	if to == 0 || to > v.mark.Offset {
		to = v.mark.Offset
	}
	from = max(from, 1)
	if v.whole {
		if err := v.frame(); err != nil {
			return err
		}
	} else if from > to {
		return nil
	}
	if err := v.begin(from); err != nil {
		return err
	}
	return v.scan(ctx, from, to)
}

func (v *verifier) loadMark() error {
	row, ok, err := v.l.get(v.r, markKey)
	if err != nil || !ok {
		return err
	}
	v.mark, err = parseMark(row)
	return err
}

// frame looks at the rows that are neither entries nor places: there are at most two.
func (v *verifier) frame() (err error) {
	it, err := v.r.NewIter(nil)
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, classify(it.Close())) }()
	// Skip the two big regions, they are scanned later.
	for ok := it.First(); ok; {
		switch k := it.Key(); {
		case string(k) == string(formatKey), string(k) == string(markKey):
			if _, err := open(k, it.Value()); err != nil {
				return err
			}
			ok = it.Next()
		case k[0] == regionOff:
			ok = it.SeekGE(offsetsTo)
		case k[0] == regionEntry:
			ok = it.SeekGE(entriesTo)
		default:
			return fmt.Errorf("row %x does not belong to a log: %w", k, event.ErrCorrupt)
		}
	}
	return classify(it.Error())
}

// begin finds the state of the log before the entry that has from.
func (v *verifier) begin(from event.Offset) error {
	if from == 1 {
		return nil
	}
	p, ok, err := v.l.floor(v.r, from)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("offset %d has no place: %w", from, event.ErrCorrupt)
	}
	if p.first == 1 {
		return nil
	}
	if p, ok, err = v.l.floor(v.r, p.first-1); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("offset %d has no place: %w", p.first-1, event.ErrCorrupt)
	}
	row, bodies, err := v.l.readRows(v.r, p.index)
	if err != nil {
		return fmt.Errorf("entry %d: %w", p.index, err)
	}
	e, err := decodeEntry(p.index, row.head, bodies)
	if err != nil {
		return fmt.Errorf("entry %d: %w", p.index, err)
	}
	if row.kind != typeCommand || e.last() != p.last {
		return fmt.Errorf("entry %d does not have offset %d: %w", p.index, p.last, event.ErrCorrupt)
	}
	v.at.Head = Head{Index: p.index, Offset: p.last, Chain: e.chain(), At: e.at()}
	return nil
}

// scanEntry decodes the entry whose first row the iterator is at, nil when it is not a command, and moves to its last row.
// It works on the stored bytes and never asks the cache.
func scanEntry(it *pebble.Iterator, i event.Index) (*entry, error) {
	row, err := parseEntryRow(it.Key(), append([]byte(nil), it.Value()...))
	if err != nil {
		return nil, err
	}
	bodies := []byte{}
	if row.hasBody {
		key := entryKey(i, partBody)
		if !it.Next() || string(it.Key()) != string(key) {
			return nil, fmt.Errorf("body row is missing: %w", errors.Join(event.ErrCorrupt, classify(it.Error())))
		}
		if bodies, err = parseBodyRow(key, append([]byte{}, it.Value()...), row.term); err != nil {
			return nil, err
		}
	}
	if row.kind != typeCommand {
		return nil, nil
	}
	return decodeEntry(i, row.head, bodies)
}

// scan walks over the entries and, beside them, over the places.
func (v *verifier) scan(ctx context.Context, from, to event.Offset) (err error) {
	entries, err := v.r.NewIter(&pebble.IterOptions{LowerBound: entryKey(v.at.Index+1, partEntry), UpperBound: entriesTo})
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, classify(entries.Close())) }()
	places, err := v.r.NewIter(&pebble.IterOptions{LowerBound: offsetKey(v.at.Offset + 1), UpperBound: offsetsTo})
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, classify(places.Close())) }()

	placed := places.First()
	next := v.at.Index + 1
	for ok := entries.First(); ok; ok = entries.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		i, part, err := parseEntryKey(entries.Key())
		if err != nil {
			return err
		}
		if i != next || part != partEntry {
			return fmt.Errorf("entry %d follows entry %d (part %d): %w", i, next-1, part, event.ErrCorrupt)
		}
		e, err := scanEntry(entries, i)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		next = i + 1
		if i > v.mark.Index {
			continue // not committed: rows and inner chain are all there is to verify
		}
		if c := v.at.pass(i, e); c.First != 0 {
			if !placed {
				return fmt.Errorf("offset %d has no place: %w", c.First, errors.Join(event.ErrCorrupt, classify(places.Error())))
			}
			p, err := parsePlace(places.Key(), places.Value())
			if err != nil {
				return err
			}
			if want := (place{first: c.First, last: c.Last, index: i, at: e.at()}); p != want {
				return fmt.Errorf("place of offset %d does not match entry %d: %w", c.First, i, event.ErrCorrupt)
			}
			placed = places.Next()
			if v.progress != nil {
				v.progress(min(c.Last, to)-from+1, to-from+1)
			}
		}
		if !v.whole && v.at.Offset >= to {
			return v.reached(to)
		}
	}
	if err := classify(entries.Error()); err != nil {
		return err
	}
	if placed {
		return fmt.Errorf("place %x has no entry: %w", places.Key(), event.ErrCorrupt)
	}
	if err := classify(places.Error()); err != nil {
		return err
	}
	if !v.whole {
		return v.reached(to)
	}
	if v.at != v.mark {
		return fmt.Errorf("committed mark is at entry %d, offset %d, chain %s; the entries lead to %d, %d, %s: %w",
			v.mark.Index, v.mark.Offset, v.mark.Chain, v.at.Index, v.at.Offset, v.at.Chain, event.ErrCorrupt)
	}
	return nil
}

// reached ends the verification of a part.
func (v *verifier) reached(to event.Offset) error {
	if v.at.Offset < to {
		return fmt.Errorf("entries lead to offset %d, not to %d: %w", v.at.Offset, to, event.ErrCorrupt)
	}
	return nil
}

// Checkpoint writes a consistent copy of the log into a directory that does not exist yet, on the same file system; tables
// are hard links. It may run while the log is written. The copy may have entries above its mark, as any log.
//
// If we crash in here the directory is incomplete: rename it into place afterwards.
func (l *Log) Checkpoint(dir string) (err error) {
	if err := l.enterWrite(); err != nil {
		return err
	}
	defer l.leave()
	if err := l.fault.refuse(); err != nil {
		return err
	}
	defer func() {
		// Pebble panics when it cannot sync the directory of the copy. A bad backup disk is no reason to end the node.
		if r := recover(); r != nil {
			err = fmt.Errorf("checkpoint of log to %s: %v", dir, r)
		}
	}()
	if err := l.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("checkpoint of log to %s: %w", dir, err)
	}
	return l.fault.refuse() // a log that failed meanwhile was copied in part from memory
}
