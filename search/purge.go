package search

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/index/scorch"

	"parley/log/event"
)

const (
	// placeholder is a document that nothing finds. Bleve merges only where there are two segments: it is the second.
	placeholder = "placeholder"

	purgePoll = 20 * time.Millisecond
)

// Purge makes the words of messages that were removed up to an offset leave the files of the index. It costs as much
// as writing the message index again; searches and the runner go on meanwhile.
//
// What Bleve guarantees, and what not. A deleted document is not found from the moment its batch returns. Its words,
// which are all that an index has of a message, stay in the segment files until those are merged: Bleve merges when it
// likes, and never a segment alone. So Purge has it merge everything, with a placeholder as a second segment, and
// waits until every segment file that was there is gone. Bleve promises neither that one merge takes all segments nor
// when it removes files; Purge tries until it is so or ctx ends. Blocks that a file system has freed are beyond it.
func (s *Search) Purge(ctx context.Context, to event.Offset) error {
	if err := s.messagesRun.WaitFor(ctx, to); err != nil {
		return fmt.Errorf("purge search index: %w", err)
	}
	if err := s.messages.purge(ctx); err != nil {
		return fmt.Errorf("purge search index: %w", err)
	}
	return nil
}

func (i *index) purge(ctx context.Context) error {
	for {
		i.mu.RLock()
		b, dir, closed := i.b, i.path(i.number), i.closed
		i.mu.RUnlock()
		if closed {
			return ErrClosed
		}
		err := purgeIndex(ctx, b, filepath.Join(dir, "store"), func() bool { return i.uses(b) })
		if i.uses(b) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// It was exchanged meanwhile. The new one may have had the words too.
	}
}

// errExchanged says that the index is used no more.
var errExchanged = errors.New("the index was exchanged")

// uses reports whether b is what the index works with.
func (i *index) uses(b bleve.Index) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.b == b && !i.closed
}

func purgeIndex(ctx context.Context, b bleve.Index, dir string, used func() bool) (err error) {
	defer recovered(&err)
	advanced, err := b.Advanced()
	if err != nil {
		return err
	}
	s, ok := advanced.(*scorch.Scorch)
	if !ok {
		return errors.New("the index is of another sort")
	}
	if err := settle(ctx, b, true, used); err != nil {
		return err
	}
	old, err := segments(dir)
	if err != nil {
		return err
	}
	tick := time.NewTicker(purgePoll)
	defer tick.Stop()
	for {
		// Another merge may be in progress, or this one end early: what counts is what files are left.
		_ = s.ForceMerge(ctx, nil)
		// Files are removed when something was written after the merge.
		if err := settle(ctx, b, true, used); err != nil {
			return err
		}
		now, err := segments(dir)
		if err != nil {
			return err
		}
		old = slices.DeleteFunc(old, func(name string) bool { return !slices.Contains(now, name) })
		if len(old) == 0 {
			return settle(ctx, b, false, used)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d segments are left: %w", len(old), ctx.Err())
		}
	}
}

// settle writes or deletes the placeholder and waits until everything up to there is on disk. Bleve does not call back for
// what was not written when an index is closed, so it looks now and then whether this one is still used.
func settle(ctx context.Context, b bleve.Index, there bool, used func() bool) error {
	batch := b.NewBatch()
	done := make(chan error, 1)
	batch.SetPersistedCallback(func(err error) { done <- err })
	if !there {
		batch.Delete(placeholder)
	} else if err := batch.Index(placeholder, map[string]any{}); err != nil {
		return err
	}
	if err := b.Batch(batch); err != nil {
		return err
	}
	tick := time.NewTicker(purgePoll)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if !used() {
				return errExchanged
			}
		}
	}
}

// segments returns the names of the segment files.
func segments(dir string) (out []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the index was exchanged
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".zap" {
			out = append(out, e.Name())
		}
	}
	return out, err
}
