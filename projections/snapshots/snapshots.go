// Package snapshots keeps the room state, without the memory of commands, as it was at some events of the past, in files, so that whoever needs it at an event
// folds from the nearest one before and not from the first of the log. A compliance feed's new owner is who needs it: the
// state of a node is ahead of the feed's receipt, and cannot be folded back.
//
// A file is made every so many events, from a copy of the state that costs nothing, beside the work of the node. It is derived
// data: one that is damaged, of another version or of another log is removed, and the one before it serves. A crash leaves a
// temporary file, which the next start removes.
package snapshots

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"parley/log/event"
	"parley/projections/chat"
)

// Attribute keys.
const (
	keyFile   = "file"
	keyError  = "error"
	keyOffset = "offset"
)

// DefaultEvery is how many events lie between two snapshots: what a new owner folds at most, besides what came since. At the
// measured rate of the fold it is well below a second.
const DefaultEvery = 100_000

// newest is how many of the newest snapshots are kept whoever needs them.
const newest = 4

// A file is the magic, the version of the rows (8 bytes), then for each row the lengths of key and value (4 bytes each) and
// both, then a key of length 0, then the SHA-256 of all that. Integers are big-endian.
const (
	magic  = "parley-state/1\n"
	maxRow = 64 << 20
	prefix = "state-"
	tmpExt = ".tmp"
)

// Options of a Store.
type Options struct {
	Dir     string
	Version int          // of the rows: that of the state projection
	Every   event.Offset // 0: DefaultEvery
	// Keep returns the offsets that somebody may ask about: for each the newest snapshot that is not above it is kept.
	Keep   func() []event.Offset
	Chain  func(event.Offset) (event.Chain, error) // of this node's log, after an event: a snapshot must be of the same one
	Logger *slog.Logger                            // nil: silence
}

// Store is the snapshots of a node.
type Store struct {
	o    Options
	work chan *chat.State

	mu   sync.Mutex
	next event.Offset   // at which a snapshot is due
	have []event.Offset // ascending
}

// Open opens a directory, and makes it if need be.
func Open(o Options) (*Store, error) {
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, work: make(chan *chat.State, 1), next: o.Every}
	for _, e := range entries {
		var at event.Offset
		if _, err := fmt.Sscanf(e.Name(), prefix+"%d", &at); err != nil || e.Name() != name(at) {
			if filepath.Ext(e.Name()) == tmpExt {
				if err := os.Remove(filepath.Join(o.Dir, e.Name())); err != nil {
					return nil, err
				}
			}
			continue
		}
		s.have = append(s.have, at)
	}
	slices.Sort(s.have)
	if n := len(s.have); n > 0 {
		s.next = s.have[n-1] + o.Every
	}
	return s, nil
}

func name(at event.Offset) string { return fmt.Sprintf("%s%020d", prefix, at) }

// Offer shows a state that nobody folds into. If a snapshot is due, Run makes it of this one. It never waits.
func (s *Store) Offer(now *chat.State) {
	s.mu.Lock()
	due := now.Offset() >= s.next
	s.mu.Unlock()
	if due {
		select {
		case s.work <- now:
		default: // it is at work
		}
	}
}

// Run makes snapshots until ctx ends. One that cannot be made is a warning: the next one is tried.
func (s *Store) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-s.work:
			if now.Offset() < s.due() {
				continue // offered while the one before it was made
			}
			if err := s.Take(now); err != nil {
				s.o.Logger.Warn("no snapshot of the room state was made", keyOffset, now.Offset(), keyError, err)
			}
			s.prune()
		}
	}
}

func (s *Store) due() event.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// Take makes a snapshot of a state that nobody folds into.
func (s *Store) Take(now *chat.State) (err error) {
	at := now.Offset()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.next = max(s.next, at+s.o.Every); err == nil && !slices.Contains(s.have, at) {
			s.have = append(s.have, at)
			slices.Sort(s.have)
		}
	}()
	final := filepath.Join(s.o.Dir, name(at))
	f, err := os.OpenFile(final+tmpExt, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	// Not synced: after a power loss the file may be damaged, and its hash says so.
	if err := errors.Join(write(f, s.o.Version, now), f.Close()); err != nil {
		return errors.Join(err, os.Remove(final+tmpExt))
	}
	return os.Rename(final+tmpExt, final)
}

func write(f io.Writer, version int, now *chat.State) error {
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<18)
	var n [8]byte
	if _, err := w.WriteString(magic); err != nil {
		return err
	}
	binary.BigEndian.PutUint64(n[:], uint64(version))
	if _, err := w.Write(n[:]); err != nil {
		return err
	}
	for k, v := range now.RowsToRead() {
		binary.BigEndian.PutUint32(n[:4], uint32(len(k)))
		binary.BigEndian.PutUint32(n[4:], uint32(len(v)))
		for _, b := range [][]byte{n[:], k, v} {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
	}
	clear(n[:])
	if _, err := w.Write(n[:]); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := f.Write(sum.Sum(nil))
	return err
}

// prune removes what nobody needs.
func (s *Store) prune() {
	asked := s.o.Keep()
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := map[event.Offset]bool{}
	for _, at := range s.have[max(0, len(s.have)-newest):] {
		keep[at] = true
	}
	for _, o := range asked {
		if i := s.before(o); i >= 0 {
			keep[s.have[i]] = true
		}
	}
	s.have = slices.DeleteFunc(s.have, func(at event.Offset) bool {
		if !keep[at] {
			s.remove(at)
		}
		return !keep[at]
	})
}

// before returns where the newest snapshot at an offset or before it is; -1: there is none.
func (s *Store) before(o event.Offset) int {
	i, found := slices.BinarySearch(s.have, o)
	if found {
		return i
	}
	return i - 1
}

func (s *Store) remove(at event.Offset) {
	if err := os.Remove(filepath.Join(s.o.Dir, name(at))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.o.Logger.Warn("a snapshot of the room state was not removed", keyFile, name(at), keyError, err)
	}
}

// Before returns the state at an offset or before it, as near as there is one; nil: there is none. It belongs to the caller, and is
// for reading (chat.NewStateToRead).
func (s *Store) Before(ctx context.Context, at event.Offset) (*chat.State, error) {
	for ctx.Err() == nil {
		s.mu.Lock()
		i := s.before(at)
		if i < 0 {
			s.mu.Unlock()
			return nil, nil
		}
		o := s.have[i]
		s.mu.Unlock()
		state, err := s.load(o)
		if err == nil {
			return state, nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // it may have been pruned just now
			s.o.Logger.Warn("a snapshot of the room state is of no use and is removed", keyFile, name(o), keyError, err)
			s.remove(o)
		}
		s.mu.Lock()
		s.have = slices.DeleteFunc(s.have, func(x event.Offset) bool { return x == o })
		s.mu.Unlock()
	}
	return nil, ctx.Err()
}

func (s *Store) load(at event.Offset) (_ *chat.State, err error) {
	f, err := os.Open(filepath.Join(s.o.Dir, name(at)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := &reader{sum: sha256.New(), in: bufio.NewReaderSize(f, 1<<18)}
	head := r.take(len(magic) + 8)
	if r.err == nil && (!bytes.HasPrefix(head, []byte(magic)) || binary.BigEndian.Uint64(head[len(magic):]) != uint64(s.o.Version)) {
		return nil, errors.New("it is of another version")
	}
	state := chat.NewStateToRead()
	err = state.Load(r.rows())
	if r.err != nil {
		return nil, r.err
	}
	if err != nil {
		return nil, err
	}
	sum := r.sum.Sum(nil)
	if tail := r.take(sha256.Size); r.err != nil || !bytes.Equal(tail, sum) {
		return nil, fmt.Errorf("its hash is another: %w", event.ErrCorrupt)
	}
	if _, err := r.in.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("there is more after its end: %w", event.ErrCorrupt)
	}
	chain, err := s.o.Chain(at)
	if err != nil {
		return nil, err
	}
	if state.Offset() != at || state.Chain() != chain {
		return nil, fmt.Errorf("it is not of this log: %w", event.ErrCorrupt)
	}
	return state, nil
}

// reader reads rows and hashes them. Its error is sticky.
type reader struct {
	in  *bufio.Reader
	sum hash.Hash
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	var b bytes.Buffer // not at once: a forged length costs no more memory than the file has bytes
	if _, r.err = io.CopyN(&b, r.in, int64(n)); r.err != nil {
		r.err = fmt.Errorf("it ends early: %w", event.ErrCorrupt)
		return nil
	}
	r.sum.Write(b.Bytes())
	return b.Bytes()
}

func (r *reader) rows() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for {
			n := r.take(8)
			if r.err != nil {
				return
			}
			k, v := binary.BigEndian.Uint32(n[:4]), binary.BigEndian.Uint32(n[4:])
			if k == 0 && v == 0 {
				return
			}
			if k == 0 || k > maxRow || v > maxRow {
				r.err = fmt.Errorf("a row of %d and %d bytes: %w", k, v, event.ErrCorrupt)
				return
			}
			key, value := r.take(int(k)), r.take(int(v))
			if r.err != nil || !yield(key, value) {
				return
			}
		}
	}
}
