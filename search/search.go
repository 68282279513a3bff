// Package search finds rooms and messages. It keeps two Bleve indexes, each a projection of the log with its
// checkpoint inside the index's own batches: one over rooms (name, description), near real time, and one over
// messages, which gathers up to a second of them into a batch.
//
// The indexes know nothing but events, and nothing in them is precious: one that does not open, belongs to another
// log, or has another version is deleted and built again from the log while the node serves. Until it is level, a
// search finds less than there is; WaitFor tells when it is.
//
// Message text is indexed, never stored. Messages of rooms without history and erased ones are not indexed, and one that
// was removed is not found any more once its removal was read.
package search

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
	"parley/projections"
)

// Errors of queries.
var (
	// ErrInvalidQuery says that the query itself cannot be answered: no word in it, or too long.
	ErrInvalidQuery = errors.New("invalid search")
	// ErrClosed says that the search is closed.
	ErrClosed = errors.New("search is closed")
)

// Limits of queries.
const (
	MaxRooms      = 10_001 // rooms in one answer: one more than the greatest SearchLimit, which tells whether there are more
	MaxMessages   = 501    // messages in one answer: one more than a client gets, as above
	MaxQueryBytes = 1024   // UTF-8 bytes of search text

	maxWords        = 32 // different words in one search
	defaultMessages = 25
)

// Options of a Search. The zero value is fine.
type Options struct {
	Logger *slog.Logger  // nil: silence
	Linger time.Duration // how long a message may wait for others before it is indexed; 0: 1 s
}

// Search is the two indexes with their runners.
type Search struct {
	rooms, messages       *index
	roomsRun, messagesRun *projections.Runner
}

// New opens the indexes in dir, creates those that are not there, and starts to follow the log: until ctx ends or
// Close. src is the log.
func New(ctx context.Context, dir string, src projections.Source, o Options) (*Search, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Linger <= 0 {
		o.Linger = time.Second
	}
	rooms, err := openIndex(filepath.Join(dir, roomsName), roomsKind(), o.Logger)
	if err != nil {
		return nil, err
	}
	messages, err := openIndex(filepath.Join(dir, messagesName), messagesKind(), o.Logger)
	if err != nil {
		return nil, errors.Join(err, rooms.Close())
	}
	return &Search{
		rooms: rooms, messages: messages,
		roomsRun: projections.Follow(ctx, src, rooms, projections.RunnerOptions{Name: "search_" + roomsName, Logger: o.Logger}),
		messagesRun: projections.Follow(ctx, src, messages, projections.RunnerOptions{
			Name: "search_" + messagesName, Logger: o.Logger, MaxRun: 2 * projections.DefaultRun, Linger: o.Linger}),
	}, nil
}

// Runners returns the runners of the room and the message index, in this order.
func (s *Search) Runners() []*projections.Runner {
	return []*projections.Runner{s.roomsRun, s.messagesRun}
}

// Offset returns the last event that both indexes have.
func (s *Search) Offset() event.Offset { return min(s.roomsRun.Offset(), s.messagesRun.Offset()) }

// Lag returns how many committed events the slower index has still to read.
func (s *Search) Lag() uint64 { return max(s.roomsRun.Lag(), s.messagesRun.Lag()) }

// WaitFor returns when searches see the event at o.
func (s *Search) WaitFor(ctx context.Context, o event.Offset) error {
	if err := s.roomsRun.WaitFor(ctx, o); err != nil {
		return err
	}
	return s.messagesRun.WaitFor(ctx, o)
}

// WaitForRooms returns when room searches see the event at o.
func (s *Search) WaitForRooms(ctx context.Context, o event.Offset) error {
	return s.roomsRun.WaitFor(ctx, o)
}

// LogIsCurrent says that the log has all that was committed before this start: an index that is ahead of it then is
// not of this log and is built again. See projections.Runner.
func (s *Search) LogIsCurrent() error {
	return errors.Join(s.roomsRun.LogIsCurrent(), s.messagesRun.LogIsCurrent())
}

// Err returns why an index stopped, nil when none has.
func (s *Search) Err() error { return errors.Join(s.roomsRun.Err(), s.messagesRun.Err()) }

// Rebuild builds both indexes again beside the present ones and swaps. progress, which may be nil, gets the events
// read and those to read of both together.
func (s *Search) Rebuild(ctx context.Context, progress func(done, total event.Offset)) error {
	if progress == nil {
		progress = func(done, total event.Offset) {}
	}
	var first event.Offset
	err := s.roomsRun.Rebuild(ctx, func(done, total event.Offset) {
		first = total
		progress(done, 2*total)
	})
	if err != nil {
		return err
	}
	return s.messagesRun.Rebuild(ctx, func(done, total event.Offset) { progress(first+done, first+total) })
}

// Close ends the runners, writes what the indexes have in memory, and closes them.
func (s *Search) Close() error {
	_ = s.roomsRun.Close() // the reason of a stop was logged then and is in Err
	_ = s.messagesRun.Close()
	return errors.Join(s.rooms.Close(), s.messages.Close())
}

// Collectors returns parley_search_offset, parley_search_lag_events, parley_search_stopped and
// parley_search_documents.
func (s *Search) Collectors() []prometheus.Collector {
	return []prometheus.Collector{
		projections.NewCollector("parley_search", "index", s.Runners),
		&documents{s: s, desc: prometheus.NewDesc("parley_search_documents", "Rooms or messages in the index.", []string{"index"}, nil)},
	}
}

type documents struct {
	s    *Search
	desc *prometheus.Desc
}

// Describe is for Prometheus.
func (d *documents) Describe(ch chan<- *prometheus.Desc) { ch <- d.desc }

// Collect is for Prometheus.
func (d *documents) Collect(ch chan<- prometheus.Metric) {
	for _, i := range []*index{d.s.rooms, d.s.messages} {
		if n, err := i.documents(); err == nil { // else it is closed
			ch <- prometheus.MustNewConstMetric(d.desc, prometheus.GaugeValue, float64(n), "search_"+i.kind.name)
		}
	}
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrInvalidQuery)
}

// Versions returns the version of each projection by its name.
func (s *Search) Versions() map[string]int {
	return map[string]int{s.roomsRun.Name(): s.rooms.kind.version, s.messagesRun.Name(): s.messages.kind.version}
}
