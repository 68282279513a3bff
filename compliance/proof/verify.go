package proof

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"parley/log/event"
)

// Report is what a verification found, and what it is about.
type Report struct {
	Feed        string
	Checkpoint  Checkpoint
	First, Last event.Offset // events that the files are about
	From, To    event.Time   // of those
	Files       int
	Bytes       uint64
	Rooms       []Room    // with events in the range, by id
	Removals    []Removal // in the entries, in log order
	Rotations   []Rotated // of the pool's key, up to the checkpoint, in log order
	Followed    bool      // another key than the given one signed: it follows it through Rotations
	Findings    []Finding // empty: proven
}

// Room is a room that something happened in.
type Room struct {
	ID     event.RoomID
	Name   string // as an event of the entries said it last; empty if none did
	Events int
	Posts  int
}

// Removal is a lawful erasure that the entries tell of: the texts of these posts are gone from the log, not from files
// that were delivered before.
type Removal struct {
	Offset   event.Offset
	At       event.Time
	By       event.Principal
	Room     event.RoomID
	Messages []event.MessageRef // those named; empty: all up to Until
	Until    event.Time
	Purged   *event.MessagesPurged // not nil: of its range alone, and what legal holds kept is not erased
}

// Finding is something that is not proven.
type Finding struct {
	Where string // a file of the directory
	What  string
}

// String returns the finding in a line.
func (f Finding) String() string { return f.Where + ": " + f.What }

// maxFindings bounds the report of a directory that has nothing to do with its proof.
const maxFindings = 10000

// Verify checks a proof's directory against the keys that must have signed its checkpoint, the pool's first. since,
// unless nil, is an earlier checkpoint of the pool, signed: that the new one continues it is checked too.
//
// An error says that the directory could not be read. Everything else that is wrong is a finding.
func Verify(dir fs.FS, since []byte, keys ...note.Verifier) (*Report, error) {
	v := &verifier{dir: dir, report: new(Report), rooms: make(map[event.RoomID]*Room)}
	if err := v.run(since, keys); err != nil {
		return nil, err
	}
	return v.report, nil
}

type verifier struct {
	dir    fs.FS
	proof  *Proof
	report *Report
	rooms  map[event.RoomID]*Room
	files  []*event.FeedReceipt
	places map[string]event.Offset // of receipts, by file

	rotations *Keys // nil: the pool has the key that it began with
	chain     chain
}

func (v *verifier) find(where, format string, args ...any) {
	if len(v.report.Findings) < maxFindings {
		v.report.Findings = append(v.report.Findings, Finding{where, fmt.Sprintf(format, args...)})
	}
}

func (v *verifier) run(since []byte, keys []note.Verifier) error {
	signed, err := readSmall(v.dir, FileCheckpoint, maxCheckpoint)
	if err != nil {
		return v.missing(FileCheckpoint, err)
	}
	if len(keys) == 0 {
		return errors.New("no key to check it with")
	}
	if ok, err := v.keys(keys[0]); !ok {
		return err
	}
	signers := append([]note.Verifier{v.chain[len(v.chain)-1]}, keys[1:]...)
	if v.report.Checkpoint, err = OpenCheckpoint(signed, signers...); err != nil {
		v.find(FileCheckpoint, "%v", err)
		return nil // nothing that follows would prove anything
	}
	if v.rotations != nil {
		if err := v.rotations.included(v.report.Checkpoint); err != nil {
			v.find(FileKeys, "%v", err)
			return nil
		}
	}
	b, err := readSmall(v.dir, FileProof, maxProof)
	if err != nil {
		return v.missing(FileProof, err)
	}
	if v.proof, err = ParseProof(b); err != nil {
		v.find(FileProof, "%v", err)
		return nil
	}
	r, p := v.report, v.proof
	r.Feed, r.First, r.Last = p.Feed, p.First, p.Last
	if p.Size != r.Checkpoint.Size {
		v.find(FileProof, "is made for a checkpoint of %d events, this one is of %d", p.Size, r.Checkpoint.Size)
		return nil
	}
	if err := v.entries(); err != nil {
		return err
	}
	v.continues(since)
	return v.archive()
}

// missing makes a finding of a file that is not there, or that is too long to be what it should be.
func (v *verifier) missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLong) {
		v.find(name, "%v", err)
		return nil
	}
	return err
}

// entries reads the run, computes its hashes, and learns from it what the files should be.
func (v *verifier) entries() (err error) {
	p := v.proof
	tree, err := NewFrontier(int64(p.First)-1, p.Frontier)
	if err != nil {
		v.find(FileProof, "%v", err)
		return nil
	}
	f, err := v.dir.Open(FileEntries)
	if err != nil {
		return v.missing(FileEntries, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for e, err := range readRecords(bufio.NewReaderSize(f, 1<<20), p.First) {
		if err == nil && e.Offset > p.End {
			err = fmt.Errorf("there are events after %d, where the proof ends", p.End)
		}
		if err != nil {
			v.find(FileEntries, "%v", err)
			return nil
		}
		tree.Append(e.RecordHash())
		v.see(e)
	}
	if tree.Size() != int64(p.End) {
		v.find(FileEntries, "ends with event %d, not %d", tree.Size(), p.End)
		return nil
	}
	if err := prefix(p.Consistency, p.Size, v.report.Checkpoint.Root, tree.Size(), tree.Root()); err != nil {
		v.files, v.places = nil, nil // forged events name forged files
		v.find(FileEntries, "the events %d to %d are not those of the log that the pool signed: an event, its time or its place was altered, left out or added (%v)", p.First, p.End, err)
	}
	return nil
}

// prefix proves that a tree of n leaves with hash h is the beginning of one of t leaves with hash th.
func prefix(proof tlog.TreeProof, t int64, th tlog.Hash, n int64, h tlog.Hash) error {
	if n < t {
		return tlog.CheckTree(proof, t, th, n, h)
	}
	if n != t || h != th || len(proof) > 0 {
		return errors.New("the hashes differ")
	}
	return nil
}

// see learns what an event of the run tells the auditor.
func (v *verifier) see(e event.Head) {
	r := v.report
	if e.Offset <= r.Last {
		if e.Offset == r.First {
			r.From = e.At
		}
		r.To = e.At
		if e.Room != "" {
			m := v.room(e.Room)
			m.Events++
			switch e.Event.(type) {
			case *event.Posted, *event.MessageImported:
				m.Posts++
			}
		}
	}
	switch x := e.Event.(type) {
	case *event.RoomCreated:
		v.room(e.Room).Name = x.Info.Name
	case *event.RoomChanged:
		v.room(e.Room).Name = x.Info.Name
	case *event.MessagesRemoved:
		r.Removals = append(r.Removals, Removal{Offset: e.Offset, At: e.At, By: e.By, Room: e.Room, Messages: x.Messages, Until: x.Until})
	case *event.MessagesPurged:
		r.Removals = append(r.Removals, Removal{Offset: e.Offset, At: e.At, By: e.By, Room: e.Room, Until: x.Until, Purged: x})
	case *event.SigningKeyRotated:
		// What the entries tell of must be among the keys; a proof that leaves it out is signed with a key that signs no more.
		if uint64(e.Offset) <= uint64(r.Checkpoint.Size) && !slices.ContainsFunc(r.Rotations, func(x Rotated) bool { return x.Offset == e.Offset }) {
			v.find(FileKeys, "the key was replaced at event %d, and the checkpoint of %d events does not go by that", e.Offset, r.Checkpoint.Size)
		}
	case *event.FeedReceipt:
		if x.Feed == r.Feed && x.Last >= r.First && x.Last <= r.Last {
			v.files = append(v.files, x)
			if v.places == nil {
				v.places = make(map[string]event.Offset)
			}
			v.places[x.Name] = e.Offset
		}
	}
}

func (v *verifier) room(id event.RoomID) *Room {
	m := v.rooms[id]
	if m == nil {
		m = &Room{ID: id}
		v.rooms[id] = m
	}
	return m
}

// continues checks that the checkpoint continues an earlier one.
func (v *verifier) continues(since []byte) {
	const where = "earlier checkpoint"
	if since == nil {
		if s := v.proof.Since; s != nil && (s.Size > v.proof.Size || len(s.Consistency) > 64) {
			v.find(FileProof, "it leads from a checkpoint of %d events to one of %d", s.Size, v.proof.Size)
		}
		return
	}
	old, err := v.chain.earlier(since)
	if err != nil {
		v.find(where, "%v", err)
		return
	}
	s := v.proof.Since
	if s == nil || s.Size != old.Size {
		v.find(FileProof, "does not say that the checkpoint continues the earlier one of %d events: have it proven with --since", old.Size)
		return
	}
	c := v.report.Checkpoint
	if err := prefix(s.Consistency, c.Size, c.Root, old.Size, old.Root); err != nil {
		v.find(where, "the pool has signed two histories: the log of %d events does not begin with the %d that were signed before (%v)", c.Size, old.Size, err)
	}
}

// archive compares the files with the receipts.
func (v *verifier) archive() error {
	r := v.report
	for _, m := range v.rooms {
		if m.Events > 0 {
			r.Rooms = append(r.Rooms, *m)
		}
	}
	sort.Slice(r.Rooms, func(i, j int) bool { return r.Rooms[i].ID < r.Rooms[j].ID })
	want := map[string]bool{FileProof: true, FileCheckpoint: true, FileEntries: true, FileKeys: true}
	next := r.First
	for _, x := range v.files {
		if x.First != next {
			v.find(FileEntries, "the receipts of feed %s have a gap: %d to %d follows %d", r.Feed, x.First, x.Last, next-1)
		}
		next = x.Last + 1
		if x.Name == "" {
			continue // the range held nothing for the target
		}
		if want[x.Name] {
			v.find(x.Name, "two receipts name it, the later is event %d", v.places[x.Name])
		}
		want[x.Name] = true
		if err := v.file(x.Name, x.SHA256, int64(min(x.Bytes, 1<<62))); err != nil {
			return err
		}
		if err := v.listed(x.Name, want); err != nil {
			return err
		}
	}
	if len(v.files) > 0 && next != r.Last+1 {
		v.find(FileEntries, "the receipts of feed %s end at %d, not %d", r.Feed, next-1, r.Last)
	}
	if len(v.files) == 0 {
		v.find(FileEntries, "there is no receipt of feed %s for these files: nothing is proven of them", r.Feed)
	}
	return fs.WalkDir(v.dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !want[name] {
			v.find(name, "the proof does not cover it")
		}
		return nil
	})
}

// unknownSize is that of files whose hash alone is known.
const unknownSize = -1

// file compares one file with what was delivered.
func (v *verifier) file(name string, sum []byte, size int64) (err error) {
	if !fs.ValidPath(name) {
		v.find(FileEntries, "a receipt names %q, which is no file's name", name)
		return nil
	}
	f, err := v.dir.Open(name)
	if err != nil {
		return v.missing(name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, r := sha256.New(), io.Reader(f)
	if size != unknownSize {
		r = io.LimitReader(f, size+1)
	}
	n, err := io.Copy(h, r)
	if err != nil {
		return err
	}
	switch {
	case size != unknownSize && n > size:
		v.find(name, "is longer than the %d bytes that were delivered", size)
	case size != unknownSize && n < size:
		v.find(name, "has %d bytes, %d were delivered", n, size)
	case !bytes.Equal(h.Sum(nil), sum):
		v.find(name, "is not what was delivered: something in it was altered")
	default:
		v.report.Files++
		v.report.Bytes += uint64(n)
	}
	return nil
}

// listed compares the files of a cut that has several: its receipt is that of their list.
func (v *verifier) listed(list string, want map[string]bool) error {
	if !IsList(list) || !fs.ValidPath(list) {
		return nil
	}
	b, err := readSmall(v.dir, list, maxList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a finding already
	}
	if err != nil {
		return v.missing(list, err)
	}
	files, err := ParseList(b)
	if err != nil {
		v.find(list, "%v", err)
		return nil
	}
	for _, x := range files {
		if want[x.Name] {
			v.find(list, "it names %s, which has been named before", x.Name)
		}
		want[x.Name] = true
		if err := v.file(x.Name, x.SHA256, unknownSize); err != nil {
			return err
		}
	}
	return nil
}

var errLong = errors.New("is too long")

func readSmall(dir fs.FS, name string, limit int64) (b []byte, err error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if b, err = io.ReadAll(io.LimitReader(f, limit+1)); err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes: it %w", limit, errLong)
	}
	return b, err
}

// Files returns the files that the entries of a directory name, in their order: what to put beside a proof. It checks
// nothing.
func Files(dir fs.FS) (names []string, err error) {
	v := &verifier{dir: dir, report: new(Report), rooms: make(map[event.RoomID]*Room)}
	b, err := readSmall(dir, FileProof, maxProof)
	if err != nil {
		return nil, err
	}
	if v.proof, err = ParseProof(b); err != nil {
		return nil, err
	}
	v.report.Feed, v.report.First, v.report.Last = v.proof.Feed, v.proof.First, v.proof.Last
	f, err := dir.Open(FileEntries)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for e, err := range readRecords(bufio.NewReaderSize(f, 1<<20), v.proof.First) {
		if err != nil {
			return nil, err
		}
		v.see(e)
	}
	for _, x := range v.files {
		if x.Name != "" {
			names = append(names, x.Name)
		}
	}
	return names, nil
}
