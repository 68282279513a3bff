package logtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log"
	"parley/log/event"
)

// A drawing is the story of a log on one line, words separated by spaces:
//
//	a, a3    append one entry with a batch; three in one Append
//	A3       the same with large batches, so that tables are flushed
//	n b g    append a no-op, a barrier, a configuration
//	v        append a batch that will be void: it names an offset that is not the next
//	w        append a batch that will be void: it is not later than the one before it
//	m        append a removal of one or two posts
//	M        append a removal of all posts up to one of them
//	e        carry the removals out
//	c, c5    commit everything; commit up to entry 5
//	t5       remove the entries from 5 on
//	+        a new term
//	r        close and open again
//	x0 x50   the machine loses power, x percent of what was not synced survives; open again
//	k        copy with Checkpoint, and go on with the copy
//
// After each word the whole log is compared with the model.

// run is a drawing in progress.
type run struct {
	open  Open
	fs    *vfs.MemFS
	dir   string
	l     *log.Log
	m     *model
	opts  log.Options
	seed  uint64
	moves int // copies made so far
	// wrap, if not nil, wraps the file system below the log.
	wrap func(vfs.FS) vfs.FS
}

// Open opens the log under test in a directory.
type Open func(fs vfs.FS, dir string, o log.Options) (*log.Log, error)

func newRun(open Open, seed uint64) *run {
	return &run{open: open, fs: vfs.NewCrashableMem(), dir: "/data/log", m: newModel(seed), seed: seed,
		opts: log.Options{MemTableBytes: 64 << 10, CacheBytes: 1 << 20}}
}

func (r *run) start() (err error) {
	var fs vfs.FS = r.fs
	if r.wrap != nil {
		fs = r.wrap(fs)
	}
	r.l, err = r.open(fs, r.dir, r.opts)
	return err
}

// draw plays a drawing and checks after each word. The log is open before and after.
func (r *run) draw(drawing string) error {
	for i, word := range strings.Fields(drawing) {
		if err := r.step(word); err != nil {
			return fmt.Errorf("word %d of %q, %s: %w", i+1, drawing, word, err)
		}
		if err := r.m.check(r.l); err != nil {
			return fmt.Errorf("after word %d of %q, %s: %w", i+1, drawing, word, err)
		}
	}
	return nil
}

// step plays one word.
func (r *run) step(word string) error {
	n := 0
	if len(word) > 1 {
		var err error
		if n, err = strconv.Atoi(word[1:]); err != nil {
			return fmt.Errorf("no such word: %w", err)
		}
	}
	switch word[0] {
	case 'a', 'A', 'n', 'b', 'g', 'v', 'w', 'm', 'M':
		records, err := r.records(word[0], max(n, 1))
		if err != nil {
			return err
		}
		if err := r.l.Append(records); err != nil {
			return err
		}
		r.m.synced()
	case 'c':
		index := event.Index(n)
		if n == 0 {
			index = r.m.last()
		}
		return r.commit(index)
	case 't':
		if err := r.l.TruncateSuffix(event.Index(n)); err != nil {
			return err
		}
		r.m.truncate(event.Index(n))
	case 'e':
		before := len(r.m.erased)
		if err := r.m.erase(); err != nil {
			return err
		}
		n, err := r.l.Erase(context.Background(), r.l.Head().Offset)
		if want := len(r.m.erased) - before; err == nil && n != want {
			return fmt.Errorf("%d bodies erased, want %d", n, want)
		}
		if err != nil || r.l.Erased() != r.m.head.Offset {
			return fmt.Errorf("erased up to %d: %w", r.l.Erased(), err)
		}
	case '+':
		r.m.term++
	case 'r':
		l := r.l
		r.l = nil
		if err := l.Close(); err != nil {
			return err
		}
		return r.start()
	case 'x':
		return r.crash(n)
	case 'k':
		return r.copy()
	default:
		return errors.New("no such word")
	}
	return nil
}

// records makes n records of a sort and adds them to the model.
func (r *run) records(sort byte, n int) ([]log.Record, error) {
	var out []log.Record
	for range n {
		var rec log.Record
		var err error
		switch sort {
		case 'a':
			rec, err = r.m.command(sound, false)
		case 'A':
			rec, err = r.m.command(sound, true)
		case 'v':
			rec, err = r.m.command(skewed, false)
		case 'w':
			rec, err = r.m.command(untimely, false)
		case 'm', 'M':
			rec, err = r.m.removal(sort == 'M')
		case 'n':
			rec = r.m.other(1, nil)
		case 'b':
			rec = r.m.other(4, nil)
		case 'g':
			rec = r.m.other(5, []byte(fmt.Sprint("configuration ", r.m.rng.Uint32())))
		}
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, nil
}

func (r *run) commit(index event.Index) error {
	got, err := r.l.Commit(index)
	if err != nil {
		return err
	}
	return sameCommitted(got, r.m.commit(index))
}

func sameCommitted(got, want []log.Committed) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d entries committed, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			return fmt.Errorf("committed %+v, want %+v", got[i], want[i])
		}
	}
	return nil
}

// crash loses power and starts again. What was acknowledged must be there; the mark is anywhere between the durable one and
// the one in memory, and committing again leads to where it was.
func (r *run) crash(keep int) error {
	after := r.m.head
	r.fs, r.l = crashClone(r.fs, keep, r.seed), nil
	if err := r.start(); err != nil {
		return err
	}
	return r.recommit(after)
}

func (r *run) recommit(after log.Head) error {
	h := r.l.Head()
	if h.Index < r.m.durable.Index || h.Index > after.Index {
		return fmt.Errorf("head is at entry %d, the durable one was at %d and the last at %d", h.Index, r.m.durable.Index, after.Index)
	}
	// What was committed then is now only known to Raft.
	void := r.m.void
	r.m.head, r.m.void = log.Head{}, 0
	r.m.commit(h.Index)
	if h != r.m.head {
		return fmt.Errorf("head is %+v, at entry %d it was %+v", h, h.Index, r.m.head)
	}
	if err := r.commit(after.Index); err != nil {
		return fmt.Errorf("commit again: %w", err)
	}
	if r.m.head != after || r.m.void != void {
		return fmt.Errorf("committed again to %+v, %d void, was %+v, %d void", r.m.head, r.m.void, after, void)
	}
	return nil
}

// copy goes on with a checkpoint of the log, and closes the old one.
func (r *run) copy() error {
	r.moves++
	to := fmt.Sprintf("/data/copy%d", r.moves)
	if err := r.l.Checkpoint(to); err != nil {
		return err
	}
	l := r.l
	r.l = nil
	if err := l.Close(); err != nil {
		return err
	}
	r.dir = to
	r.m.synced() // a checkpoint syncs
	return r.start()
}

func crashClone(fs *vfs.MemFS, keep int, seed uint64) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(seed, 2))})
}

// random returns a drawing of n words. It only draws what is allowed.
func random(rng *rand.Rand, n int) string {
	var words []string
	last, committed := 0, 0
	for len(words) < n {
		switch rng.IntN(16) {
		case 0, 1, 2:
			k := 1 + rng.IntN(4)
			last += k
			words = append(words, fmt.Sprint("a", k))
		case 3:
			last++
			words = append(words, string("nbgv"[rng.IntN(4)]))
		case 4:
			k := 1 + rng.IntN(3)
			last += k
			words = append(words, fmt.Sprint("A", k))
		case 5, 6, 7:
			if committed < last {
				committed += 1 + rng.IntN(last-committed)
				words = append(words, fmt.Sprint("c", committed))
			}
		case 8, 9:
			if committed < last {
				last = committed + rng.IntN(last-committed)
				words = append(words, fmt.Sprint("t", last+1), "+")
			}
		case 10:
			words = append(words, "r")
		case 11, 12:
			words = append(words, fmt.Sprint("x", []int{0, 50, 100}[rng.IntN(3)]))
		case 13:
			if rng.IntN(4) == 0 {
				words = append(words, "k")
			}
		case 14:
			last++
			words = append(words, string("mM"[rng.IntN(2)]))
		case 15:
			words = append(words, "e")
		}
	}
	return strings.Join(words, " ")
}
