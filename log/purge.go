package log

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// purgeStep bounds how many bytes of tables one compaction of a purge rewrites, roughly: the compactions that
	// writers depend on have to wait for it.
	purgeStep = 64 << 20
	// purgePoll is how often a purge looks whether the files are gone.
	purgePoll = 5 * time.Millisecond
)

// purge makes what was overwritten in these spans leave the files of the store. The new rows are synced, and no
// snapshot is older than they are.
func (l *Log) purge(ctx context.Context, spans []span) (err error) {
	defer func() {
		if r := recover(); r != nil { // as in handOver
			err = l.fault.set(l.logger, fmt.Errorf("purge: %v", r))
		}
	}()
	l.scrubbing.Store(true)
	defer l.scrubbing.Store(false)
	if err := l.flush(); err != nil {
		return err
	}
	for _, s := range spans {
		if err := l.compact(ctx, s); err != nil {
			return fmt.Errorf("compact entries %d to %d: %w", s.from, s.to, err)
		}
	}
	if err := l.retireLogs(ctx); err != nil {
		return fmt.Errorf("retire write-ahead logs: %w", err)
	}
	if err := l.awaitTables(ctx); err != nil {
		return fmt.Errorf("wait until replaced tables are removed: %w", err)
	}
	return nil
}

// compact compacts a span down to the last level, in steps.
func (l *Log) compact(ctx context.Context, s span) error {
	for from := s.from; from <= s.to; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		to := s.to
		for to > from {
			n, err := l.db.EstimateDiskUsage(entryKey(from, partEntry), entryKey(to+1, partEntry))
			if err != nil {
				return classify(err)
			}
			if n <= purgeStep {
				break
			}
			to = from + (to-from)/2
		}
		if err := l.db.Compact(ctx, entryKey(from, partEntry), entryKey(to+1, partEntry), false); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return classify(err)
		}
		from = to + 1
	}
	return nil
}

// retireLogs rotates the write-ahead log until those that are older than the present one are removed.
func (l *Log) retireLogs(ctx context.Context) error {
	old, err := l.fileNumbers(".log")
	if err != nil || len(old) == 0 {
		return err
	}
	slices.Sort(old)
	old = old[:len(old)-1] // what was written before the flush is not in the newest
	for turn := 0; ; turn++ {
		now, err := l.fileNumbers(".log")
		if err != nil {
			return err
		}
		old = slices.DeleteFunc(old, func(n uint64) bool { return !slices.Contains(now, n) })
		if len(old) == 0 {
			return nil
		}
		if turn > 8 { // more turns than Pebble keeps logs: they wait for the file's own removal
			if err := pause(ctx); err != nil {
				return err
			}
		}
		if err := l.flush(); err != nil {
			return err
		}
	}
}

// awaitTables waits until the tables that are not of the store any more are removed.
func (l *Log) awaitTables(ctx context.Context) error {
	gone, err := l.fileNumbers(".sst")
	if err != nil {
		return err
	}
	for {
		levels, err := l.db.SSTables()
		if err != nil {
			return classify(err)
		}
		live := make(map[uint64]bool)
		for _, tables := range levels {
			for i := range tables {
				live[uint64(tables[i].BackingSSTNum)] = true
			}
		}
		there, err := l.fileNumbers(".sst")
		if err != nil {
			return err
		}
		// One that is being written now is live soon.
		gone = slices.DeleteFunc(gone, func(n uint64) bool { return live[n] || !slices.Contains(there, n) })
		if len(gone) == 0 {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// fileNumbers returns the numbers of the store's files of a sort.
func (l *Log) fileNumbers(suffix string) (out []uint64, err error) {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if number, ok := strings.CutSuffix(n, suffix); ok {
			if v, err := strconv.ParseUint(number, 10, 64); err == nil {
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// pause waits a moment for Pebble's background work, which tells nobody.
func pause(ctx context.Context) error {
	t := time.NewTimer(purgePoll)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
