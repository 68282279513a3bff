package log

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// Erasure is written down in FORMAT.md section 8.

const (
	// A batch of rewritten rows is synced at the latest after this many of them, or bytes.
	eraseRows  = 256
	eraseBytes = 1 << 20
	// maxSpans bounds the erasure row. With more, the two nearest are taken for one.
	maxSpans = 64
	// The erasure row is written at the latest after this many events without a removal: a restart reads them again.
	eraseEvery = 10_000
)

// span is a range of entries, both ends included.
type span struct{ from, to event.Index }

// erasure is the erasure row: how far removals were carried out, and whose old bytes may still be in the files.
type erasure struct {
	done    event.Offset // every removal up to here
	owed    []span       // ascending, apart from each other
	written event.Offset // done as the row has it
}

const spanLen = 16

func (e *erasure) row() []byte {
	b := beginRow(8 + 2 + spanLen*len(e.owed))
	b = binary.BigEndian.AppendUint64(b, uint64(e.done))
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.owed)))
	for _, s := range e.owed {
		b = binary.BigEndian.AppendUint64(b, uint64(s.from))
		b = binary.BigEndian.AppendUint64(b, uint64(s.to))
	}
	return seal(eraseKey, b)
}

func parseErasure(row []byte) (erasure, error) {
	b, err := open(eraseKey, row)
	if err != nil {
		return erasure{}, fmt.Errorf("erasure: %w", err)
	}
	if len(b) < 10 || len(b) != 10+spanLen*int(binary.BigEndian.Uint16(b[8:])) {
		return erasure{}, fmt.Errorf("erasure has %d bytes: %w", len(b), event.ErrCorrupt)
	}
	e := erasure{done: event.Offset(binary.BigEndian.Uint64(b))}
	for b = b[10:]; len(b) > 0; b = b[spanLen:] {
		s := span{event.Index(binary.BigEndian.Uint64(b)), event.Index(binary.BigEndian.Uint64(b[8:]))}
		if s.from == 0 || s.to < s.from || len(e.owed) > 0 && s.from <= e.owed[len(e.owed)-1].to {
			return erasure{}, fmt.Errorf("erasure owes entries %d to %d: %w", s.from, s.to, event.ErrCorrupt)
		}
		e.owed = append(e.owed, s)
	}
	return e, nil
}

// owe adds an entry to the spans.
func (e *erasure) owe(i event.Index) {
	at, _ := slices.BinarySearchFunc(e.owed, i, func(s span, i event.Index) int {
		if s.to < i {
			return -1
		}
		return 1
	})
	if at < len(e.owed) && e.owed[at].from <= i {
		return
	}
	e.owed = slices.Insert(e.owed, at, span{i, i})
	near := func(k int) uint64 { return uint64(e.owed[k+1].from - e.owed[k].to) }
	for k := max(at-1, 0); k <= at && k+1 < len(e.owed); {
		if near(k) > 1 {
			k++
			continue
		}
		e.join(k)
	}
	if len(e.owed) > maxSpans {
		best := 0
		for k := range len(e.owed) - 1 {
			if near(k) < near(best) {
				best = k
			}
		}
		e.join(best)
	}
}

// join makes one span of two neighbours.
func (e *erasure) join(k int) {
	e.owed[k].to = e.owed[k+1].to
	e.owed = slices.Delete(e.owed, k+1, k+2)
}

// Erased returns the offset up to which every removal was carried out and its bytes have left the files of the log.
func (l *Log) Erased() event.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.erasure.done
}

// Erase carries out the removals (event.MessagesRemoved, event.MessagesPurged) up to an offset, as far as they are committed: it takes away
// the bodies of the posts that they name. When it returns, they are in no file of the log any more. n is how many
// bodies it erased. It may be called again at any time, also with an offset it has passed.
//
// ErrRemoval: a removal names what is not a post of its room; nothing after the removals before this call is erased
// then. If ctx ends, or we crash, what is left is done by the next call.
//
// also is for what else holds the bodies. It is called, where there was something to erase, after the log has got rid of
// it and before that is noted: if it fails, or we crash in it, the next call comes to it again.
//
// A removal with a time costs a read of the log up to it, a purge a read of its range; several of them in one call cost one
// read together.
func (l *Log) Erase(ctx context.Context, to event.Offset, also ...func(context.Context) error) (n int, err error) {
	if err := l.enterWrite(); err != nil {
		return 0, err
	}
	defer l.leave()
	l.erasing.Lock()
	defer l.erasing.Unlock()
	if err := l.fault.refuse(); err != nil {
		return 0, err
	}
	ctx, cancel := l.whileAlive(ctx)
	defer cancel()
	l.mu.Lock()
	e := l.erasure
	e.owed = slices.Clone(e.owed)
	to = min(to, l.mark.Offset)
	l.mu.Unlock()
	if to <= e.done && len(e.owed) == 0 {
		return 0, nil
	}
	run := eraseRun{l: l, ctx: ctx, also: also, erasure: e, purged: purges{}}
	if err := run.removals(e.done+1, to); err != nil {
		return 0, fmt.Errorf("erase: %w", err)
	}
	err = run.erase()
	l.metrics.erasedBodies.Add(float64(run.bodies))
	if err != nil {
		return run.bodies, fmt.Errorf("erase: %w", err)
	}
	if err := run.finish(max(to, e.done)); err != nil {
		return run.bodies, fmt.Errorf("erase up to %d: %w", to, err)
	}
	return run.bodies, nil
}

// whileAlive returns a context that also ends with the log: Pebble would let a compaction wait for ever.
func (l *Log) whileAlive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-l.closed:
			cancel(ErrClosed)
		case <-l.fault.done:
			cancel(l.fault.err())
		case <-done:
		}
	}()
	return ctx, func() { close(done); cancel(nil) }
}

// removal is a MessagesRemoved at its place.
type removal struct {
	at   event.Offset // its own
	room event.RoomID
	*event.MessagesRemoved
}

// asRemoval returns the removal in an envelope.
func asRemoval(e *event.Envelope) (removal, bool) {
	m, ok := e.Event.(*event.MessagesRemoved)
	return removal{at: e.Offset, room: e.Room, MessagesRemoved: m}, ok
}

// purge is a MessagesPurged at its place.
type purge struct {
	at event.Offset // its own
	*event.MessagesPurged
}

// names reports whether a message that the purge's room got by event o is gone by it.
func (p *purge) names(o event.Offset, id uint64, by event.Principal, at event.Time) bool {
	return o < p.at && p.Names(event.MessageRef{MessageID: id, Offset: o}, by, at)
}

// purges are those of each room.
type purges map[event.RoomID][]purge

// add takes a purge out of an envelope.
func (p purges) add(e *event.Envelope) bool {
	m, ok := e.Event.(*event.MessagesPurged)
	if ok {
		p[e.Room] = append(p[e.Room], purge{e.Offset, m})
	}
	return ok
}

// name reports whether a purge means an event.
func (p purges) name(e *event.Envelope, m *event.ChatMessage) bool {
	return slices.ContainsFunc(p[e.Room], func(g purge) bool { return g.names(e.Offset, m.ID, m.By, m.At) })
}

// eraseRun is one Erase.
type eraseRun struct {
	l       *Log
	ctx     context.Context
	also    []func(context.Context) error
	erasure erasure
	bodies  int // erased so far

	listed   []listed  // by offset
	clears   []removal // those with a time
	purged   purges
	ranges   []reach // of the purges, ascending and apart
	furthest event.Offset

	batch   *pebble.Batch
	entries []event.Index // in the batch
	size    int
}

// reach is a range of events, both ends included.
type reach struct{ from, to event.Offset }

// listed is a post that a removal names.
type listed struct {
	event.MessageRef
	removal
}

// removals collects what the removals among the events from..to ask for.
func (r *eraseRun) removals(from, to event.Offset) error {
	err := r.walk(from, to, func(o event.Offset) event.Offset { return o }, func(e *entry) error {
		for i := range e.envelopes {
			v := &e.envelopes[i]
			if v.Offset < from || v.Offset > to {
				continue
			}
			if r.purged.add(v) {
				p := v.Event.(*event.MessagesPurged)
				r.ranges = append(r.ranges, reach{max(p.First.Offset, 1), min(p.Last.Offset, v.Offset-1)})
				continue
			}
			m, ok := asRemoval(v)
			if !ok {
				continue
			}
			if m.Until != 0 {
				r.clears = append(r.clears, m)
				r.furthest = max(r.furthest, m.at-1)
				continue
			}
			for _, ref := range m.Messages {
				if ref.Offset == 0 || ref.Offset >= m.at {
					return fmt.Errorf("removal %d names event %d: %w", m.at, ref.Offset, ErrRemoval)
				}
				r.listed = append(r.listed, listed{ref, m})
				r.furthest = max(r.furthest, ref.Offset)
			}
		}
		return nil
	})
	slices.SortStableFunc(r.listed, func(a, b listed) int {
		switch {
		case a.Offset < b.Offset:
			return -1
		case a.Offset > b.Offset:
			return 1
		}
		return 0
	})
	r.join()
	return err
}

// join makes the ranges of the purges ascend, apart from each other.
func (r *eraseRun) join() {
	slices.SortFunc(r.ranges, func(a, b reach) int { return cmp.Compare(a.from, b.from) })
	joined := r.ranges[:0]
	for _, g := range r.ranges {
		switch n := len(joined); {
		case g.to < g.from:
		case n > 0 && g.from <= joined[n-1].to+1:
			joined[n-1].to = max(joined[n-1].to, g.to)
		default:
			joined = append(joined, g)
		}
	}
	if r.ranges = joined; len(joined) > 0 {
		r.furthest = max(r.furthest, joined[len(joined)-1].to)
	}
}

// walk visits the committed entries that have events from..to. next returns, for an offset, the next one of interest
// from there on.
func (r *eraseRun) walk(from, to event.Offset, next func(event.Offset) event.Offset, visit func(*entry) error) error {
	for o := next(from); o <= to; {
		if err := r.ctx.Err(); err != nil {
			return context.Cause(r.ctx)
		}
		p, ok, err := r.l.floor(r.l.db, o)
		if err != nil {
			return err
		}
		if !ok || p.last < o {
			return fmt.Errorf("offset %d has no place: %w", o, event.ErrCorrupt)
		}
		e, err := r.l.entry(r.l.db, p.index)
		if err != nil {
			return err
		}
		if e == nil || e.first() != p.first || e.last() != p.last {
			return fmt.Errorf("entry %d does not have offset %d: %w", p.index, o, event.ErrCorrupt)
		}
		if err := visit(e); err != nil {
			return err
		}
		o = next(p.last + 1)
	}
	return nil
}

// erase rewrites the body rows. Everything listed is looked at before anything is written.
func (r *eraseRun) erase() error {
	for _, look := range []bool{true, false} {
		if look && len(r.listed) == 0 {
			continue
		}
		next := r.nextListed
		switch {
		case look:
		case len(r.clears) > 0:
			next = func(o event.Offset) event.Offset { return o }
		case len(r.ranges) > 0:
			next = func(o event.Offset) event.Offset { return min(r.nextListed(o), r.nextPurged(o)) }
		}
		err := r.walk(1, r.furthest, next, func(e *entry) error {
			positions, err := r.positions(e)
			if err != nil || look || len(positions) == 0 {
				return err
			}
			return r.rewrite(e, positions)
		})
		if err != nil {
			r.drop()
			return err
		}
	}
	return r.write()
}

// nextListed returns the first listed offset from o on, or one beyond all.
func (r *eraseRun) nextListed(o event.Offset) event.Offset {
	if i := r.findListed(o); i < len(r.listed) {
		return r.listed[i].Offset
	}
	return r.furthest + 1
}

// nextPurged returns the first offset from o on that is in the range of a purge, or one beyond all.
func (r *eraseRun) nextPurged(o event.Offset) event.Offset {
	i, _ := slices.BinarySearchFunc(r.ranges, o, func(g reach, o event.Offset) int {
		if g.to < o {
			return -1
		}
		return 1
	})
	if i < len(r.ranges) {
		return max(o, r.ranges[i].from)
	}
	return r.furthest + 1
}

func (r *eraseRun) findListed(o event.Offset) int {
	i, _ := slices.BinarySearchFunc(r.listed, o, func(l listed, o event.Offset) int {
		if l.Offset < o {
			return -1
		}
		return 1
	})
	return i
}

// positions returns which events of an entry lose their bodies. Some may have lost them already.
func (r *eraseRun) positions(e *entry) (out []int, err error) {
	for i := range e.envelopes {
		v := &e.envelopes[i]
		named := false
		for k := r.findListed(v.Offset); k < len(r.listed) && r.listed[k].Offset == v.Offset; k++ {
			want := r.listed[k]
			if m, ok := event.MessageOf(v); !ok || v.Room != want.room || m.ID != want.MessageID {
				return nil, fmt.Errorf("removal %d names event %d as message %d of room %s: %w", want.at, v.Offset, want.MessageID, want.room, ErrRemoval)
			}
			named = true
		}
		if m, ok := event.MessageOf(v); ok && !named && !v.Erased {
			named = slices.ContainsFunc(r.clears, func(c removal) bool { return c.room == v.Room && v.Offset < c.at && m.At <= c.Until }) || r.purged.name(v, &m)
		}
		if named {
			out = append(out, i)
		}
	}
	return out, nil
}

// rewrite adds the body row of an entry to the batch.
func (r *eraseRun) rewrite(e *entry, positions []int) error {
	row, bodies, err := r.l.readRows(r.l.db, e.index)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.index, err)
	}
	out, n, err := event.Erase(row.head, bodies, positions)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.index, err)
	}
	if n == 0 {
		return nil
	}
	// It must read as before, or it is not written: there is no way back.
	after, err := decodeEntry(e.index, row.head, out)
	if err != nil {
		return fmt.Errorf("entry %d without %d bodies: %w", e.index, n, err)
	}
	if after.chain() != e.chain() {
		return fmt.Errorf("entry %d without %d bodies: %w", e.index, n, event.ErrChain)
	}
	if r.batch == nil {
		r.batch = r.l.db.NewBatch()
	}
	key := entryKey(e.index, partBody)
	v := bodyRow(key, row.term, out)
	if err := r.batch.Set(key, v, nil); err != nil {
		return err
	}
	r.erasure.owe(e.index)
	r.entries = append(r.entries, e.index)
	r.bodies += n
	r.size += len(key) + len(v)
	if len(r.entries) >= eraseRows || r.size >= eraseBytes {
		return r.write()
	}
	return nil
}

// write syncs the batch, with the spans in it.
//
// If we crash before, the bodies are there and nothing is owed; after it, they are gone for every reader and the spans
// are owed.
func (r *eraseRun) write() error {
	if r.batch == nil {
		return nil
	}
	defer r.drop()
	if err := r.batch.Set(eraseKey, r.erasure.row(), nil); err != nil {
		return err
	}
	// A compaction keeps the old row for a snapshot that was there before the new one. Without such it never does.
	r.l.snapshots.Lock()
	err := r.l.submit(r.batch, nil, true)
	r.l.snapshots.Unlock()
	r.l.entries.erased(r.entries)
	if err != nil {
		return err
	}
	r.keep()
	return nil
}

// keep makes the run's state the log's.
func (r *eraseRun) keep() {
	e := r.erasure
	e.owed = slices.Clone(e.owed)
	r.l.mu.Lock()
	r.l.erasure = e
	r.l.mu.Unlock()
}

// drop gives the batch back.
func (r *eraseRun) drop() {
	if r.batch != nil {
		r.l.release(r.batch)
	}
	r.batch, r.entries, r.size = nil, nil, 0
}

// finish makes the old bytes leave the files and notes that everything up to an offset is done. The note is not
// synced: without it, it is done again.
func (r *eraseRun) finish(done event.Offset) error {
	owed := len(r.erasure.owed) > 0
	if owed {
		if err := r.l.purge(r.ctx, r.erasure.owed); err != nil {
			return err
		}
		for _, also := range r.also {
			if err := also(r.ctx); err != nil {
				return err
			}
		}
	}
	r.erasure.owed, r.erasure.done = nil, done
	if owed || done >= r.erasure.written+eraseEvery {
		b := r.l.db.NewBatch()
		defer r.l.release(b)
		if err := b.Set(eraseKey, r.erasure.row(), nil); err != nil {
			return err
		}
		if err := r.l.submit(b, nil, false); err != nil {
			return err
		}
		r.erasure.written = done
	}
	r.keep()
	return nil
}
