package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// VerifyRun is after how many entries Verify takes a new snapshot: Erase waits for the old one. Scrub pauses there.
const VerifyRun = 4096

// Verified is what Inspect counted where it found no damage.
type Verified struct {
	Erased  uint64 // bodies that a removal in the log had erased
	Waiting uint64 // bodies that came erased from another node, and whose removal this node has not got yet
}

// Verify is Inspect without the counts.
func (l *Log) Verify(ctx context.Context, from, to event.Offset, progress func(done, total event.Offset)) error {
	_, err := l.Inspect(ctx, from, to, progress)
	return err
}

// Inspect reads the events from..to (from 0: the first; to 0: the last) and everything that belongs to them, the entry before them
// included: checksums, density of indexes and offsets, chain, hashes of bodies, a reason for each body that is erased, places. The whole log is
// verified, rows above the mark included, when both bounds are 0. The first damage found is returned, of class event.ErrCorrupt. progress may be
// nil; it is called after each entry that has events.
//
// It sees at least what is in the log when it is called; appends, commits and erasure go on meanwhile. Where bodies are erased it reads
// on behind to, until it has found the removals, and it remembers 48 bytes for each until then.
func (l *Log) Inspect(ctx context.Context, from, to event.Offset, progress func(done, total event.Offset)) (Verified, error) {
	return l.inspect(ctx, l.auditors(), from, to, progress)
}

func (l *Log) inspect(ctx context.Context, helpers int, from, to event.Offset, progress func(done, total event.Offset)) (Verified, error) {
	if err := l.enter(); err != nil {
		return Verified{}, err
	}
	defer l.leave()
	v := verifier{l: l, hashing: startHashing(helpers), progress: progress, whole: from == 0 && to == 0, from: max(from, 1), to: to}
	defer v.hashing.stop()
	v.reasons.rooms = make(map[event.RoomID][]erasedPost)
	for more, first := true, true; more; first = false {
		var err error
		if more, err = v.look(ctx, first); err != nil {
			return Verified{}, fmt.Errorf("verify: %w", err)
		}
	}
	if err := v.reasons.close(); err != nil {
		return Verified{}, fmt.Errorf("verify: %w", err)
	}
	return v.reasons.Verified, nil
}

// Scrub is Inspect of the whole log that gives way: pause is called at the beginning and after every VerifyRun entries, while
// nothing of the log is held, and may take as long as it likes. Its error ends Scrub. Scrub ends with the log.
func (l *Log) Scrub(ctx context.Context, pause func(context.Context) error, progress func(done, total event.Offset)) (Verified, error) {
	if err := l.enter(); err != nil {
		return Verified{}, err
	}
	defer l.leave()
	ctx, cancel := l.whileAlive(ctx) // or Close would wait for hours
	defer cancel()
	v := verifier{l: l, hashing: startHashing(1), progress: progress, whole: true, from: 1}
	v.reasons.rooms = make(map[event.RoomID][]erasedPost)
	for more, first := true, true; more; first = false {
		err := pause(ctx)
		if err == nil {
			more, err = v.look(ctx, first)
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx) // ErrClosed, if it was the log that ended
		}
		if err != nil {
			return Verified{}, fmt.Errorf("scrub: %w", err)
		}
	}
	if err := v.reasons.close(); err != nil {
		return Verified{}, fmt.Errorf("scrub: %w", err)
	}
	return v.reasons.Verified, nil
}

type verifier struct {
	l        *Log
	hashing  *hashing
	r        *pebble.Snapshot
	progress func(done, total event.Offset)
	whole    bool
	from, to event.Offset
	mark     mark // as stored
	at       mark // as computed up to here
	reasons  reasons
}

// look verifies some entries on one snapshot, which is consistent in itself: mark and places change in one batch. more
// tells that there are others.
func (v *verifier) look(ctx context.Context, first bool) (more bool, err error) {
	v.l.snapshots.RLock()
	defer v.l.snapshots.RUnlock()
	v.r = v.l.db.NewSnapshot()
	defer func() { err = errors.Join(err, classify(v.r.Close())) }()
	if err := v.loadMark(); err != nil {
		return false, err
	}
	if first {
		if v.to == 0 || v.to > v.mark.Offset {
			v.to = v.mark.Offset
		}
		if v.whole {
			if err := v.frame(); err != nil {
				return false, err
			}
		} else if v.from > v.to {
			return false, nil
		}
		if err := v.begin(v.from); err != nil {
			return false, err
		}
	}
	return v.scan(ctx)
}

func (v *verifier) loadMark() error {
	row, ok, err := v.l.get(v.r, markKey)
	if err != nil || !ok {
		return err
	}
	v.mark, err = parseMark(row)
	return err
}

// frame looks at the rows that are neither entries nor places: there are at most three.
func (v *verifier) frame() (err error) {
	it, err := v.r.NewIter(nil)
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, classify(it.Close())) }()
	// Skip the two big regions, they are scanned later.
	for ok := it.First(); ok; {
		switch k := it.Key(); {
		case string(k) == string(formatKey), string(k) == string(markKey), string(k) == string(eraseKey):
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

// scan walks over the entries and, beside them, over the places. more tells that it stopped for a new snapshot.
func (v *verifier) scan(ctx context.Context) (more bool, err error) {
	entries, err := v.r.NewIter(&pebble.IterOptions{LowerBound: entryKey(v.at.Index+1, partEntry), UpperBound: entriesTo})
	if err != nil {
		return false, classify(err)
	}
	defer func() { err = errors.Join(err, classify(entries.Close())) }()
	places, err := v.r.NewIter(&pebble.IterOptions{LowerBound: offsetKey(v.at.Offset + 1), UpperBound: offsetsTo})
	if err != nil {
		return false, classify(err)
	}
	defer func() { err = errors.Join(err, classify(places.Close())) }()

	entries.First()
	placed := places.First()
	next := v.at.Index + 1
	// Entries that are committed stay, so the next snapshot has the rest of them. Those above the mark are looked at together.
	until := next + VerifyRun
	stop := func(i event.Index) bool {
		more = i >= until && i <= v.mark.Index
		return more
	}
	h := v.hashing
	for reading := true; ; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		for reading && len(h.free) > 0 {
			p := h.blank()
			reading = p.fill(entries, next, stop)
			next += event.Index(len(p.rows))
			h.send(p)
		}
		p := h.oldest()
		if p == nil {
			break
		}
		for k := range p.seen {
			if reached, err := v.step(p.rows[k].index, &p.seen[k], places, &placed); err != nil || reached {
				return false, err
			}
		}
		if p.err != nil {
			return false, p.err
		}
		h.recycle(p)
	}
	if more {
		return true, nil
	}
	if placed {
		return false, fmt.Errorf("place %x has no entry: %w", places.Key(), event.ErrCorrupt)
	}
	if err := classify(places.Error()); err != nil {
		return false, err
	}
	if !v.whole {
		return false, v.reached()
	}
	if v.at != v.mark {
		return false, fmt.Errorf("committed mark is at entry %d, offset %d, chain %s; the entries lead to %d, %d, %s: %w",
			v.mark.Index, v.mark.Offset, v.mark.Chain, v.at.Index, v.at.Offset, v.at.Chain, event.ErrCorrupt)
	}
	return false, nil
}

// step looks at the next entry where it stands in the log: chain, place, removals. reached tells that this was the last one
// that was asked for.
func (v *verifier) step(i event.Index, s *audited, places *pebble.Iterator, placed *bool) (reached bool, err error) {
	if s.err != nil {
		return false, s.err
	}
	if i > v.mark.Index { // not committed: rows and inner chain are all there is to verify
		return false, v.reasons.note(s.entry, s.came, false)
	}
	c := v.at.pass(i, s.entry)
	if v.whole || c.First <= v.to {
		if err := v.reasons.note(s.entry, s.came, c.First != 0); err != nil {
			return false, err
		}
	}
	if c.First != 0 {
		v.reasons.explain(s.entry)
		if !*placed {
			return false, errNoPlace(c.First, places)
		}
		p, err := parsePlace(places.Key(), places.Value())
		if err != nil {
			return false, err
		}
		if want := (place{first: c.First, last: c.Last, index: i, at: s.at()}); p != want {
			return false, fmt.Errorf("place of offset %d does not match entry %d: %w", c.First, i, event.ErrCorrupt)
		}
		*placed = places.Next()
		if v.progress != nil && c.First <= v.to {
			v.progress(min(c.Last, v.to)-v.from+1, v.to-v.from+1)
		}
	}
	if !v.whole && v.at.Offset >= v.to && v.reasons.open == 0 {
		return true, v.reached()
	}
	return false, nil
}

// reached ends the verification of a part.
func (v *verifier) reached() error {
	if v.at.Offset < v.to {
		return fmt.Errorf("entries lead to offset %d, not to %d: %w", v.at.Offset, v.to, event.ErrCorrupt)
	}
	return nil
}

// reasons looks for the reason of each erased body: a removal that comes after it.
type reasons struct {
	Verified
	rooms   map[event.RoomID][]erasedPost // ascending by offset, hence by time
	open    int                           // posts without a reason so far
	authors map[event.Principal]event.Principal
}

// isReason reports whether explain looks at events of a kind.
func isReason(k event.Kind) bool {
	return k == event.KindMessagesRemoved || k == event.KindMessagesPurged
}

type erasedPost struct {
	offset    event.Offset
	at        event.Time
	by        event.Principal
	message   uint64
	came      bool // erased when it was appended
	explained bool
}

func unexplained(o event.Offset) error {
	return fmt.Errorf("event %d has lost its body, and no removal in the log says so: %w", o, event.ErrCorrupt)
}

// note remembers the erased bodies of an entry. One that does not count in the log cannot have been erased here.
func (r *reasons) note(e *entry, came, counts bool) error {
	if e == nil || !e.hasErased() {
		return nil
	}
	for i := range e.envelopes {
		v := &e.envelopes[i]
		if !v.Erased {
			continue
		}
		p, ok := event.MessageOf(v)
		switch {
		case !ok, !counts && !came:
			return unexplained(v.Offset)
		case !counts:
			r.Waiting++
		default:
			r.rooms[v.Room] = append(r.rooms[v.Room], erasedPost{offset: v.Offset, at: p.At, by: r.author(p.By), message: p.ID, came: came})
			r.open++
		}
	}
	return nil
}

// explain takes what the removals in a committed entry are the reason for.
func (r *reasons) explain(e *entry) {
	for i := range e.envelopes {
		if r.open == 0 {
			return
		}
		v := &e.envelopes[i]
		if p, ok := v.Event.(*event.MessagesPurged); ok {
			r.purge(v.Room, purge{v.Offset, p})
			continue
		}
		m, ok := asRemoval(v)
		if !ok {
			continue
		}
		posts := r.rooms[m.room]
		if m.Until != 0 {
			// Times rise with offsets, but for imported messages.
			r.rooms[m.room] = slices.DeleteFunc(posts, func(p erasedPost) bool {
				means := p.offset < m.at && p.at <= m.Until
				if means {
					r.take(&p)
				}
				return means
			})
			continue
		}
		for _, ref := range m.Messages {
			k, ok := slices.BinarySearchFunc(posts, ref.Offset, func(p erasedPost, o event.Offset) int { return cmp.Compare(p.offset, o) })
			if ok && ref.Offset < m.at && posts[k].message == ref.MessageID {
				r.take(&posts[k])
			}
		}
	}
}

// purge takes what a purge of a room is the reason for.
func (r *reasons) purge(room event.RoomID, g purge) {
	posts := r.rooms[room]
	place := func(o event.Offset) int {
		k, _ := slices.BinarySearchFunc(posts, o, func(p erasedPost, o event.Offset) int { return cmp.Compare(p.offset, o) })
		return k
	}
	first, last := place(g.First.Offset), place(g.Last.Offset+1)
	if first >= last {
		return
	}
	left := slices.DeleteFunc(posts[first:last:last], func(p erasedPost) bool {
		means := g.names(p.offset, p.message, p.by, p.at)
		if means {
			r.take(&p)
		}
		return means
	})
	r.rooms[room] = slices.Delete(posts, first+len(left), last)
}

// author returns one text for all equal ones: a thousand posts of a user should not keep a thousand entries in memory.
func (r *reasons) author(p event.Principal) event.Principal {
	if r.authors == nil {
		r.authors = map[event.Principal]event.Principal{}
	}
	if own, ok := r.authors[p]; ok {
		return own
	}
	own := event.Principal(strings.Clone(string(p)))
	r.authors[own] = own
	return own
}

func (r *reasons) take(p *erasedPost) {
	if !p.explained {
		p.explained = true
		r.Erased++
		r.open--
	}
}

// close says what is left without a reason.
func (r *reasons) close() error {
	first := event.Offset(0)
	for _, posts := range r.rooms {
		for i := range posts {
			switch p := &posts[i]; {
			case p.explained:
			case p.came:
				r.Waiting++
			case first == 0 || p.offset < first:
				first = p.offset
			}
		}
	}
	if first != 0 {
		return unexplained(first)
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
