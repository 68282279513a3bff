package projections

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// deleter deletes files that Pebble needs no more. Of the archiver it has only the mark that keeps Pebble from writing
// over old write-ahead logs: their tails would keep what was removed.
type deleter struct {
	pebble.DeleteCleaner
	kept
}

type kept struct{ pebble.ArchiveCleaner }

// purgePoll is how often Purge looks whether the files are gone.
const purgePoll = 5 * time.Millisecond

// Purge makes the rows that were removed or overwritten before it leave the files of the store: it rewrites the tables
// and waits until the old files are removed. It costs as much as copying the store. Whatever a projection has not
// folded yet is not purged: wait for it before. End ctx before Close, which waits for Purge.
//
// If we crash in here, or ctx ends, old bytes may be left: call it again.
func (s *Store) Purge(ctx context.Context) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.failure(); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = s.fail(fmt.Errorf("purge: %v", r))
		}
	}()
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("purge views: %w", err)
	}
	logs, err := s.numbers(".log")
	if err != nil {
		return fmt.Errorf("purge views: %w", err)
	}
	if len(logs) > 0 { // nothing that came before the flush is in the newest
		logs = slices.DeleteFunc(logs, func(n uint64) bool { return n == slices.Max(logs) })
	}
	for _, region := range [][]byte{{regionCheckpoint}, {regionData}, {regionLive}} {
		if err := s.db.Compact(ctx, region, successor(region), false); err != nil {
			return fmt.Errorf("purge views: %w", err)
		}
	}
	if err := s.await(ctx, logs); err != nil {
		return fmt.Errorf("purge views: %w", err)
	}
	return s.failure()
}

// await waits until these write-ahead logs and all tables that the store does not have any more are removed.
func (s *Store) await(ctx context.Context, logs []uint64) error {
	tables, err := s.numbers(".sst")
	if err != nil {
		return err
	}
	tick := time.NewTicker(purgePoll)
	defer tick.Stop()
	for {
		live := make(map[uint64]bool)
		levels, err := s.db.SSTables()
		if err != nil {
			return err
		}
		for _, level := range levels {
			for i := range level {
				live[uint64(level[i].BackingSSTNum)] = true
			}
		}
		now := map[string][]uint64{".log": nil, ".sst": nil}
		for suffix := range now {
			if now[suffix], err = s.numbers(suffix); err != nil {
				return err
			}
		}
		logs = slices.DeleteFunc(logs, func(n uint64) bool { return !slices.Contains(now[".log"], n) })
		tables = slices.DeleteFunc(tables, func(n uint64) bool { return live[n] || !slices.Contains(now[".sst"], n) })
		if len(logs)+len(tables) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// numbers returns the numbers of the store's files of a sort.
func (s *Store) numbers(suffix string) (out []uint64, err error) {
	names, err := s.o.FS.List(s.dir)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if path.Ext(n) != suffix {
			continue
		}
		if v, err := strconv.ParseUint(strings.TrimSuffix(n, suffix), 10, 64); err == nil {
			out = append(out, v)
		}
	}
	return out, nil
}
