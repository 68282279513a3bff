package search

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/custom"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	"github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/mapping"
	bolt "go.etcd.io/bbolt/errors"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections"
)

// Keys of log attributes.
const (
	attrIndex  = "index"
	attrDir    = "dir"
	attrOffset = "offset"
	attrErr    = "error"
)

const (
	words = "words" // the analyzer: Unicode words in lower case

	// A checkpoint is written at the latest after this many events that left no document, so that a restart has no
	// more than these to read again.
	checkpointEvery = 100_000

	// closeWait bounds how long Close waits for Bleve to write. What is not written by then is read again.
	closeWait = 10 * time.Second
)

var checkpointKey = []byte("checkpoint")

// kind is what distinguishes the two indexes.
type kind struct {
	name    string
	version int // of the mapping and of what fold makes of events
	mapping func() (mapping.IndexMapping, error)
	// fold adds what an event means to a batch; changed tells whether it added anything.
	fold func(b *bleve.Batch, e event.Envelope) (changed bool, err error)
	// removed returns the documents that a removal takes out, among those that find finds; nil: it takes none out.
	removed func(find finder, e event.Envelope) ([]string, error)
}

// finder runs a request on the index as it is now.
type finder func(r *bleve.SearchRequest) (*bleve.SearchResult, error)

// index is a Bleve index as a projections.Sink.
//
// Files: dir/<number> are Bleve's directories, dir/current has the number of the one in use. A directory that is not
// named there is left from a rebuild that did not get to its end, or from a crash after its end, and is removed.
type index struct {
	dir    string
	kind   kind
	logger *slog.Logger
	beside bool

	cp       projections.Checkpoint // as far as we are; may be ahead of what is written
	written  event.Offset           // checkpoint in the index
	failures uint64                 // of Bleve's background work, as counted when last looked
	doubted  bool                   // it was built again since we opened it

	mu     sync.RWMutex // held for reading by queries, for writing while b is exchanged
	b      bleve.Index
	number int
	closed bool
}

func openIndex(dir string, k kind, logger *slog.Logger) (*index, error) {
	i := &index{dir: dir, kind: k, logger: logger}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open search index: %w", err)
	}
	number, err := i.current()
	if err != nil {
		return nil, fmt.Errorf("open search index: %w", err)
	}
	if number > 0 {
		err := i.open(number)
		switch {
		case err == nil:
			return i, i.removeOthers()
		case errors.Is(err, bolt.ErrTimeout):
			return nil, fmt.Errorf("open search index %s: in use by another process: %w", dir, err)
		}
		logger.Warn("search index is in doubt and is built again", attrIndex, k.name, attrDir, dir, attrErr, err)
	}
	if err := i.begin(number + 1); err != nil {
		return nil, fmt.Errorf("open search index: %w", err)
	}
	return i, nil
}

func (i *index) path(number int) string { return filepath.Join(i.dir, strconv.Itoa(number)) }

// current returns the number in the file, 0 when there is none that can be used.
func (i *index) current() (int, error) {
	text, err := os.ReadFile(filepath.Join(i.dir, "current"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || n < 1 {
		return 0, nil // torn by a crash: in doubt, like everything here
	}
	return n, nil
}

// setCurrent is the swap. A crash leaves the old number or the new one.
func (i *index) setCurrent(number int) error {
	name := filepath.Join(i.dir, "current")
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, number)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	d, err := os.Open(i.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (i *index) removeOthers() error {
	entries, err := os.ReadDir(i.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n != i.number {
			if err := os.RemoveAll(i.path(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens an index that is there and reads its checkpoint.
func (i *index) open(number int) (err error) {
	defer recovered(&err)
	b, err := bleve.OpenUsing(i.path(number), config())
	if err != nil {
		return err
	}
	var cp projections.Checkpoint
	row, err := b.GetInternal(checkpointKey)
	if err == nil {
		err = wire.Unmarshal(row, &cp)
	}
	if n, e := b.DocCount(); err == nil && row == nil && (e != nil || n > 0) {
		err = errors.Join(errors.New("documents without a checkpoint"), e)
	}
	if row == nil {
		cp.Version = i.kind.version
	}
	if err == nil && cp.Version != i.kind.version {
		err = fmt.Errorf("version is %d, want %d", cp.Version, i.kind.version)
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	i.b, i.number, i.cp, i.written = b, number, cp, cp.Offset
	i.failures = i.backgroundFailures()
	return nil
}

// create makes an empty index.
func (i *index) create(number int) error {
	if err := os.RemoveAll(i.path(number)); err != nil {
		return err
	}
	m, err := i.kind.mapping()
	if err != nil {
		return err
	}
	b, err := bleve.NewUsing(i.path(number), m, scorch.Name, scorch.Name, config())
	if err != nil {
		return err
	}
	i.b, i.number, i.written, i.failures = b, number, 0, 0
	i.cp = projections.Checkpoint{Version: i.kind.version}
	return nil
}

// begin makes an empty index the one in use and removes all others.
func (i *index) begin(number int) error {
	if err := i.create(number); err != nil {
		return err
	}
	if err := i.setCurrent(number); err != nil {
		return err
	}
	return i.removeOthers()
}

func config() map[string]any {
	// The log can build the index again, so Batch need not wait for the disk. Another process that has it open is
	// found out after a second instead of being waited for.
	return map[string]any{"unsafe_batch": true, "bolt_timeout": "1s"}
}

// recovered turns a panic into an error: Bleve trusts the files it maps.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("index is damaged: %v", r)
	}
}

// Checkpoint is Sink's.
func (i *index) Checkpoint() projections.Checkpoint { return i.cp }

// Apply is Sink's. A run without documents only moves the position in memory: after a crash it is read again.
//
// An index that cannot be written is built again, once; if that fails too the projection stops.
func (i *index) Apply(run []event.Envelope) error {
	err := i.apply(run)
	var f *projections.FoldError
	if err == nil || errors.As(err, &f) || i.doubted || i.beside {
		return err
	}
	i.logger.Warn("search index cannot be written and is built again", attrIndex, i.kind.name, attrDir, i.dir,
		attrOffset, i.cp.Offset, attrErr, err)
	i.doubted = true
	if again := i.Reset(); again != nil {
		return errors.Join(err, again)
	}
	return nil
}

func (i *index) apply(run []event.Envelope) (err error) {
	batch := i.b.NewBatch()
	changed := false
	for k, e := range run {
		if err := projections.Known(e); err != nil {
			return &projections.FoldError{Offset: e.Offset, Kind: e.Kind(), Err: err}
		}
		if i.kind.removed != nil && removes(e.Event) {
			if changed { // the index does not find what is only in a batch; a crash behind this goes on from here
				before := run[k-1]
				if err := i.write(batch, projections.Checkpoint{Offset: before.Offset, Chain: before.Chain, Version: i.kind.version}); err != nil {
					return err
				}
				batch, changed = i.b.NewBatch(), false
			}
			gone, err := i.remove(batch, e)
			if err != nil {
				return err
			}
			changed = gone
			continue
		}
		c, err := i.kind.fold(batch, e)
		if err != nil {
			return &projections.FoldError{Offset: e.Offset, Kind: e.Kind(), Err: err}
		}
		changed = changed || c
	}
	last := run[len(run)-1]
	cp := projections.Checkpoint{Offset: last.Offset, Chain: last.Chain, Version: i.kind.version}
	if changed || last.Offset >= i.written+checkpointEvery {
		if err := i.write(batch, cp); err != nil {
			return err
		}
	}
	i.cp = cp
	return nil
}

// removes reports whether an event takes messages out.
func removes(e event.Event) bool {
	switch e.(type) {
	case *event.MessagesRemoved, *event.MessagesPurged:
		return true
	}
	return false
}

// remove adds to a batch what a removal takes out.
func (i *index) remove(batch *bleve.Batch, e event.Envelope) (changed bool, err error) {
	defer recovered(&err)
	gone, err := i.kind.removed(i.b.Search, e)
	switch {
	case errors.Is(err, errRemoval):
		return false, &projections.FoldError{Offset: e.Offset, Kind: e.Kind(), Err: err}
	case err != nil:
		return false, fmt.Errorf("remove from search index: %w", err)
	}
	for _, id := range gone {
		batch.Delete(id)
	}
	return len(gone) > 0, nil
}

// write writes a batch with the checkpoint in it.
func (i *index) write(batch *bleve.Batch, cp projections.Checkpoint) (err error) {
	defer recovered(&err)
	batch.SetInternal(checkpointKey, wire.Marshal(&cp))
	if err := i.b.Batch(batch); err != nil {
		return fmt.Errorf("write search index: %w", err)
	}
	i.written = cp.Offset
	if n := i.backgroundFailures(); n > i.failures {
		i.failures = n
		return errors.New("search index: writing or merging in the background failed")
	}
	return nil
}

// backgroundFailures returns how often Bleve could not write or merge in the background, where it tells nobody.
func (i *index) backgroundFailures() uint64 {
	a, err := i.b.Advanced()
	if err != nil {
		return 0
	}
	if s, ok := a.(*scorch.Scorch); ok {
		if st, ok := s.Stats().(*scorch.Stats); ok {
			return atomic.LoadUint64(&st.TotOnErrors)
		}
	}
	return 0
}

// Settled is Sink's: nothing is kept in case.
func (i *index) Settled() error { return nil }

// Alone is Sink's. An index of an older version goes when this one begins.
func (i *index) Alone() bool { return true }

// Reset is Sink's.
func (i *index) Reset() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return projections.ErrClosed
	}
	old := i.b
	number := i.number + 1
	if i.beside {
		return errors.New("a rebuild is discarded, not reset")
	}
	if err := closeIndex(old); err != nil {
		i.logger.Warn("search index that is thrown away did not close", attrIndex, i.kind.name, attrErr, err)
	}
	if err := i.begin(number); err != nil {
		i.closed = true // there is nothing to search in
		return fmt.Errorf("begin search index again: %w", err)
	}
	return nil
}

// Beside is Sink's.
func (i *index) Beside() (projections.Sink, error) {
	o := &index{dir: i.dir, kind: i.kind, logger: i.logger, beside: true}
	if err := o.create(i.number + 1); err != nil {
		return nil, err
	}
	return o, nil
}

// Swap is Sink's.
func (i *index) Swap(other projections.Sink) error {
	o, ok := other.(*index)
	if !ok || o.cp.Offset != i.cp.Offset || o.cp.Chain != i.cp.Chain {
		return fmt.Errorf("swap search index at %d with %+v: not level", i.cp.Offset, other.Checkpoint())
	}
	// On disk before it is named: then a crash right after finds all of it.
	if err := o.flush(); err != nil {
		return err
	}
	if err := i.setCurrent(o.number); err != nil {
		return err
	}
	i.mu.Lock()
	old := i.b
	i.b, i.number, i.cp, i.written, i.failures = o.b, o.number, o.cp, o.written, o.failures
	i.mu.Unlock()
	if err := closeIndex(old); err != nil {
		i.logger.Warn("search index that was replaced did not close", attrIndex, i.kind.name, attrErr, err)
	}
	return i.removeOthers()
}

// Discard is Sink's.
func (i *index) Discard() error {
	return errors.Join(closeIndex(i.b), os.RemoveAll(i.path(i.number)))
}

func closeIndex(b bleve.Index) (err error) {
	defer recovered(&err)
	return b.Close()
}

// flush writes the position and waits until Bleve has everything on disk.
func (i *index) flush() (err error) {
	defer recovered(&err)
	batch := i.b.NewBatch()
	done := make(chan error, 1)
	batch.SetPersistedCallback(func(err error) { done <- err })
	if err := i.write(batch, i.cp); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-time.After(closeWait):
		return fmt.Errorf("search index %s is not on disk after %v", i.kind.name, closeWait)
	}
}

// Close writes the position and closes the index. The runner has ended.
func (i *index) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	i.closed = true
	if err := i.flush(); err != nil {
		// Nothing is lost: it is read again from the last position that is there.
		i.logger.Warn("search index was not written to its end", attrIndex, i.kind.name, attrErr, err)
	}
	return closeIndex(i.b)
}

// search runs a request.
func (i *index) search(ctx context.Context, r *bleve.SearchRequest) (res *bleve.SearchResult, err error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.closed {
		return nil, ErrClosed
	}
	defer recovered(&err)
	res, err = i.b.SearchInContext(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("search %s: %w", i.kind.name, err)
	}
	return res, nil
}

func (i *index) documents() (uint64, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.closed {
		return 0, ErrClosed
	}
	return i.b.DocCount()
}

// newMapping returns a mapping that indexes nothing but the fields given.
func newMapping(fields map[string]*mapping.FieldMapping) (mapping.IndexMapping, error) {
	m := bleve.NewIndexMapping()
	err := m.AddCustomAnalyzer(words, map[string]any{
		"type": custom.Name, "tokenizer": unicode.Name, "token_filters": []string{lowercase.Name},
	})
	if err != nil {
		return nil, fmt.Errorf("analyzer: %w", err)
	}
	m.IndexDynamic, m.StoreDynamic, m.DocValuesDynamic = false, false, false
	doc := bleve.NewDocumentStaticMapping()
	for name, f := range fields {
		f.IncludeInAll = false
		doc.AddFieldMappingsAt(name, f)
	}
	m.DefaultMapping = doc
	m.DefaultAnalyzer = words
	return m, nil
}

func wordsField() *mapping.FieldMapping {
	f := bleve.NewTextFieldMapping()
	f.Analyzer = words
	f.Store, f.DocValues, f.IncludeTermVectors = false, false, false
	return f
}

func keywordField() *mapping.FieldMapping {
	f := bleve.NewKeywordFieldMapping()
	f.Store, f.DocValues, f.IncludeTermVectors = false, false, false
	return f
}
