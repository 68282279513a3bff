package log

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// Append writes entries after the last one, in one batch and with one sync; when it returns they are on disk, all
// of them. Records must be dense and continue the log (ErrGap): a conflicting suffix is removed with TruncateSuffix
// first. A command whose data is not a sound batch is refused (ErrInvalid) before anything is written, so that a leader
// with bad memory cannot replicate what no node could apply.
//
// If it fails with ErrFailed, the entries may or may not be on disk.
func (l *Log) Append(records []Record) error {
	if err := l.enterWrite(); err != nil {
		return err
	}
	defer l.leave()
	l.appending.Lock()
	defer l.appending.Unlock()
	if len(records) == 0 {
		return nil
	}
	if err := l.fault.refuse(); err != nil {
		return err
	}
	start := time.Now()
	last := l.LastIndex()
	if records[0].Index != last+1 {
		return fmt.Errorf("append %d after %d: %w", records[0].Index, last, ErrGap)
	}
	b := l.db.NewBatch()
	defer l.release(b)
	size := 0
	entries := make([]*entry, 0, len(records))
	for i := range records {
		r := &records[i]
		if r.Index != last+1+event.Index(i) {
			return fmt.Errorf("append %d after %d: %w", r.Index, last+event.Index(i), ErrGap)
		}
		e, n, err := putRecord(b, r, l.expected.take(r.Data))
		if err != nil {
			return fmt.Errorf("append %d: %w", r.Index, err)
		}
		size += n
		if e != nil {
			entries = append(entries, e)
		}
	}
	if err := l.submit(b, nil, true); err != nil {
		return fmt.Errorf("append %d to %d: %w", records[0].Index, records[len(records)-1].Index, err)
	}
	for _, e := range entries {
		l.entries.put(e, l.entries.generation()) // not committed, so nobody erases anything of it
	}
	l.mu.Lock()
	l.last = records[len(records)-1].Index
	l.mu.Unlock()
	l.metrics.appended(len(records), size, time.Since(start))
	return nil
}

// putRecord adds the rows of a record to a batch; s is not nil if this node has sealed its data. It returns the decoded entry
// of a command, and the size of the rows.
func putRecord(b *pebble.Batch, r *Record, s *event.Sealed) (e *entry, size int, err error) {
	row := entryRow{term: r.Term, kind: r.Type, appendedAt: r.AppendedAt, extensions: r.Extensions, head: r.Data}
	var bodies []byte
	if r.Type == typeCommand {
		if row.head, bodies, err = event.Split(r.Data); err != nil {
			return nil, 0, invalid(err)
		}
		if e = readBack(r.Index, s); e == nil {
			if e, err = decodeEntry(r.Index, row.head, bodies); err != nil {
				return nil, 0, invalid(err)
			}
		}
		row.hasBody, row.came = len(bodies) > 0, e.hasErased()
	}
	key := entryKey(r.Index, partEntry)
	v := row.row(key)
	size = len(key) + len(v)
	if err := b.Set(key, v, nil); err != nil {
		return nil, 0, err
	}
	if row.hasBody {
		key = entryKey(r.Index, partBody)
		v = bodyRow(key, r.Term, bodies)
		size += len(key) + len(v)
		if err := b.Set(key, v, nil); err != nil {
			return nil, 0, err
		}
	}
	return e, size, nil
}

// invalid says that an entry is not acceptable. It hides the class of err: what is refused at the door is not damage
// of this log.
func invalid(err error) error { return fmt.Errorf("%w: %v", ErrInvalid, err) }

// TruncateSuffix removes all entries from index from on, for real and synced, because Raft found that they conflict
// with those of the leader. Committed entries are never removed (ErrCommitted). Nothing happens when the log ends before from.
func (l *Log) TruncateSuffix(from event.Index) error {
	if err := l.enterWrite(); err != nil {
		return err
	}
	defer l.leave()
	l.appending.Lock()
	defer l.appending.Unlock()
	// No Commit may pass an entry while it is being removed.
	l.committing.Lock()
	defer l.committing.Unlock()
	if err := l.fault.refuse(); err != nil {
		return fmt.Errorf("truncate from %d: %w", from, err)
	}
	if head := l.Head(); from <= head.Index {
		return fmt.Errorf("truncate from %d, committed up to %d: %w", from, head.Index, ErrCommitted)
	}
	last := l.LastIndex()
	if from > last {
		return nil
	}
	if from == 0 {
		return fmt.Errorf("truncate from 0: %w", ErrNotFound)
	}
	b := l.db.NewBatch()
	defer l.release(b)
	if err := b.DeleteRange(entryKey(from, partEntry), entriesTo, nil); err != nil {
		return fmt.Errorf("truncate from %d: %w", from, err)
	}
	// The log ends at from-1 as soon as the batch is handed over, whether or not its sync succeeds.
	l.mu.Lock()
	l.last = from - 1
	l.mu.Unlock()
	l.entries.dropFrom(from)
	err := l.submit(b, nil, true)
	if err == nil {
		// Move the truncation out of the write-ahead log, where a flipped bit could undo it (FORMAT.md section 6).
		err = l.flush()
	}
	l.mu.Lock()
	l.epoch++
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("truncate from %d: %w", from, err)
	}
	return nil
}

// Record returns the entry at an index, committed or not, as it was appended (but for bodies that were erased since).
// ErrNotFound outside FirstIndex..LastIndex.
func (l *Log) Record(i event.Index) (Record, error) {
	if err := l.enter(); err != nil {
		return Record{}, err
	}
	defer l.leave()
	row, bodies, err := l.readStable(l.db, i)
	if err != nil {
		return Record{}, fmt.Errorf("entry %d: %w", i, err)
	}
	r := Record{Index: i, Term: row.term, Type: row.kind, AppendedAt: row.appendedAt}
	if data := append(row.head, bodies...); len(data) > 0 { // rows are copies; head may not be, so it has no room behind it
		r.Data = data
	}
	if len(row.extensions) > 0 {
		r.Extensions = row.extensions
	}
	return r, nil
}

// readStable reads the rows of the entry at an index, committed or not. When the entry is truncated and another takes its place
// between the reads of its two rows, they do not fit together, and that is no damage: it reads again.
func (l *Log) readStable(r pebble.Reader, i event.Index) (row entryRow, bodies []byte, err error) {
	for {
		l.mu.Lock()
		last, epoch := l.last, l.epoch
		l.mu.Unlock()
		if i == 0 || i > last {
			return entryRow{}, nil, ErrNotFound
		}
		if row, bodies, err = l.readRows(r, i); err == nil {
			return row, bodies, nil
		}
		l.mu.Lock()
		stable := l.epoch == epoch && i <= l.last
		l.mu.Unlock()
		if stable {
			return entryRow{}, nil, err
		}
	}
}

// readRows reads the rows of the entry at an index. bodies is not nil.
func (l *Log) readRows(r pebble.Reader, i event.Index) (row entryRow, bodies []byte, err error) {
	key := entryKey(i, partEntry)
	v, ok, err := l.get(r, key)
	if err != nil {
		return entryRow{}, nil, err
	}
	if !ok {
		return entryRow{}, nil, fmt.Errorf("entry row is missing: %w", event.ErrCorrupt)
	}
	if row, err = parseEntryRow(key, v); err != nil {
		return entryRow{}, nil, err
	}
	row.head = row.head[:len(row.head):len(row.head)]
	if !row.hasBody {
		return row, []byte{}, nil
	}
	key = entryKey(i, partBody)
	if v, ok, err = l.get(r, key); err != nil {
		return entryRow{}, nil, err
	}
	if !ok {
		return entryRow{}, nil, fmt.Errorf("body row is missing: %w", event.ErrCorrupt)
	}
	if bodies, err = parseBodyRow(key, v, row.term); err != nil {
		return entryRow{}, nil, err
	}
	return row, bodies, nil
}
