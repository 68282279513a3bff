// Package compliance delivers the event log to archives outside, each event exactly once.
//
// A Feed is a stream of the whole log to one target. One node owns it: ownership is an event with a fencing epoch. The
// owner fixes the next range with an event (the Cut), hands the range to an Adapter, and commits with an event (the
// Receipt). What the adapter writes is a pure function of the feed's configuration and the log, so whoever repeats a
// cut after a crash, on whatever node, writes the same bytes under the same name:
//
//	feed_claimed(feed, epoch)                  who may cut
//	   └─► feed_cut(feed, epoch, first, last)  what the file holds: fixed for good
//	          └─► Adapter.Deliver              temporary file, sync, link, sync of the directory
//	                 └─► feed_receipt(feed, epoch, first, last, name, bytes, sha256)
//
// A crash after feed_cut, while delivering, or before feed_receipt leaves an open cut. The next owner delivers that cut
// again; it finds no file, or a file that equals what it writes. A file that differs is an alarm and is not touched. A
// stale owner may still write the same file, which harms nobody; its receipt is refused.
//
// A slow or broken target delays its own feed and nothing else: a feed is a reader of the log on a goroutine of its own.
package compliance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"sort"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

// Adapter writes runs of events to a target.
type Adapter interface {
	// Name is the kind of adapter, for people and status, for example "lyncxml".
	Name() string
	// Deliver writes a run durably and reports what it wrote. The run is gapless but for what the feed's filter left out.
	// It must
	//
	//   - read the run to its end, and return the error that the run yields, if any, without having made the output visible;
	//   - produce output that depends on nothing but the adapter's configuration, the cut's Feed, First and Last, and the run;
	//   - find its own earlier output of the same cut and acknowledge it instead of writing it twice;
	//   - return soon after ctx ends.
	//
	// The run may be ranged over again: each time it starts from First. Deliver is never called twice at a time.
	Deliver(ctx context.Context, cut Cut, run iter.Seq2[event.Envelope, error]) (Receipt, error)
}

// Tidier is an Adapter whose process may die and leave something behind that is no output. A node that was killed in the
// middle of a cut may come back to find that the feed is another's, and never deliver again.
type Tidier interface {
	// Tidy removes what an earlier process of this node left of a feed. It is called once, before anything is delivered.
	Tidy(feed string) error
}

// Receipt says what an adapter made durable. The zero Receipt says that the range held nothing for the target.
type Receipt struct {
	Name   string // of the file, without a directory
	Bytes  uint64
	SHA256 [sha256.Size]byte
}

// Empty reports whether nothing was written.
func (r Receipt) Empty() bool { return r.Name == "" }

// Cut is a range of the log that is to be delivered, with the directory as it was at each event of it.
type Cut struct {
	Feed        string
	First, Last event.Offset
	dir         *cursor
	filter      *Filter
	form        form
}

// form is which bytes adapters make of a cut. A version that changes them adds one: what was delivered before stays as it
// is, and a replay finds by the receipt which form it was.
type form int

const (
	formNow form = iota
	formFirst
)

// forms are all, the newest first.
var forms = []form{formNow, formFirst}

// Early reports whether the bytes must be those of the first form. In it imported messages were no acts: only the adapters
// that write every kind had them. And the form actiance counted a part whose join its filter had left out, so that a later
// message was by somebody who never entered.
func (c Cut) Early() bool { return c.form == formFirst }

// cursor is where a run is: the state before the event that was yielded last.
type cursor struct {
	state *chat.State
	ended bool // the run was read to its end
}

// FileName is the name of the cut's output: the feed and both offsets with 20 digits, so that names sort as the log does.
// The extension has no dot.
func (c Cut) FileName(ext string) string {
	return fmt.Sprintf("%s-%020d-%020d.%s", c.Feed, c.First, c.Last, ext)
}

// PartName is the name of one of several files of the cut: that of one room, say.
func (c Cut) PartName(part, ext string) string {
	return fmt.Sprintf("%s-%020d-%020d-%s.%s", c.Feed, c.First, c.Last, part, ext)
}

// State is the state before the event that the run yielded last: who was in which room, and how everybody was called.
// It is valid until the run goes on, and read-only.
func (c Cut) State() *chat.State { return c.dir.state }

// Person is a principal as the directory knew him at an event.
type Person struct {
	Principal   event.Principal
	DisplayName string // the address if the account has none
	Email       string
	Known       bool // has an account
	GivenName   string
	Surname     string
	Company     string
	Internal    bool // his address is in the pool's domain, or he is a node or an administrator
}

// Person looks a principal up in the state before the current event.
func (c Cut) Person(p event.Principal) Person {
	out := Person{Principal: p, DisplayName: p.Address()}
	_, isUser := strings.CutPrefix(string(p), "sip:")
	out.Internal = !isUser || strings.HasSuffix(string(p), "@"+c.dir.state.Domain())
	if u, ok := c.dir.state.User(p); ok {
		out.Known, out.Email = true, u.Info.Email
		out.GivenName, out.Surname, out.Company = u.Info.GivenName, u.Info.Surname, u.Info.Company
		if u.Info.DisplayName != "" {
			out.DisplayName = u.Info.DisplayName
		}
	}
	return out
}

// Place is a room as the directory knew it at an event.
type Place struct {
	ID     event.RoomID
	URI    string // ma-chan://DOMAIN/GUID
	Name   string // the URI if the directory does not know the room any more
	Logged bool   // chat history is on in its category

	Description string
	Category    string // its name
	Type        event.RoomType
	Privacy     event.Privacy
}

// Place looks a room up in the state before the current event.
func (c Cut) Place(id event.RoomID) Place {
	uri := chat.RoomURI(c.dir.state.Domain(), id)
	out := Place{ID: id, URI: uri, Name: uri}
	if r, ok := c.dir.state.Room(id); ok {
		out.Name, out.Description, out.Type, out.Privacy = r.Info.Name, r.Info.Description, r.Info.Type, r.Info.Privacy
		if cat, ok := c.dir.state.Category(r.Info.Category); ok {
			out.Logged, out.Category = cat.Info.ChatHistory, cat.Info.Name
		}
	}
	return out
}

// PartNodeLost is the reason of a part that the loss or the restart of a node implied. It is never in the log.
const PartNodeLost event.PartReason = "node_lost"

// Parts returns the parts that the event implies without saying so, one Parted per session, by room, user and endpoint:
// NodeLost ends the sessions of a node up to an incarnation, NodeStarted those of all earlier ones. They carry the
// offset, the time and the chain value of the event itself. It is called while e is the current event of the run.
func (c Cut) Parts(e event.Envelope) []event.Envelope { return c.filter.parts(c.dir.state, e) }

// Covers reports whether what happens in a room is for this feed.
func (c Cut) Covers(room event.RoomID) bool { return c.filter.covers(c.dir.state, room) }

func impliedParts(before *chat.State, e event.Envelope) []event.Envelope {
	var ends func(event.Incarnation) bool
	switch v := e.Event.(type) {
	case *event.NodeLost:
		ends = func(i event.Incarnation) bool { return i <= v.Incarnation } // as the state does
	case *event.NodeStarted:
		ends = func(i event.Incarnation) bool { return i < v.Incarnation }
	default:
		return nil
	}
	var out []event.Envelope
	for s := range before.SessionsOn(e.Node) {
		if !ends(s.Incarnation) {
			continue
		}
		part := e
		part.Meta = event.Meta{By: s.User, Room: s.Room, Node: s.Node}
		part.Event = &event.Parted{Endpoint: s.Endpoint, Incarnation: s.Incarnation, Reason: PartNodeLost}
		out = append(out, part)
	}
	// The archive's order must not hang on how the state keeps its sessions.
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Room != b.Room {
			return a.Room < b.Room
		}
		if a.By != b.By {
			return a.By < b.By
		}
		return a.Event.(*event.Parted).Endpoint < b.Event.(*event.Parted).Endpoint
	})
	return out
}

// Source reads the committed log. *log.Log is one.
type Source interface {
	// Read returns up to max events from an offset on, fewer at an entry's end, none at the head.
	Read(from event.Offset, max int) ([]event.Envelope, error)
	// WaitFor returns once the offset is committed here.
	WaitFor(ctx context.Context, at event.Offset) error
}

// readEvents is how many events are read at a time.
const readEvents = 512

// fold moves a state along the log up to an offset, for the caller who owns the state.
func fold(ctx context.Context, src Source, s *chat.State, to event.Offset) error {
	for s.Offset() < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		for e, err := range read(src, s.Offset()+1, to) {
			if err != nil {
				return err
			}
			if err := s.Fold(e, nil); err != nil {
				return fmt.Errorf("fold event %d (%s): %w", e.Offset, e.Kind(), err)
			}
			if e.Offset%readEvents == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// read yields first..last without a gap, or an error.
func read(src Source, first, last event.Offset) iter.Seq2[event.Envelope, error] {
	return func(yield func(event.Envelope, error) bool) {
		for next := first; next <= last; {
			run, err := src.Read(next, int(min(readEvents, last-next+1)))
			if err == nil && len(run) == 0 {
				err = fmt.Errorf("event %d is not committed here", next)
			}
			if err != nil {
				yield(event.Envelope{}, fmt.Errorf("read events from %d: %w", next, err))
				return
			}
			for _, e := range run {
				if e.Offset != next {
					yield(event.Envelope{}, fmt.Errorf("read event %d where %d was expected: %w", e.Offset, next, event.ErrCorrupt))
					return
				}
				if e.Offset > last {
					return
				}
				if !yield(e, nil) {
					return
				}
				next++
			}
		}
	}
}

// NewCut returns a cut and its run, without what the filter leaves out (nil: nothing). The base is the state just before first; the run folds clones of it and leaves it
// alone. It serves feeds, tools that write a range again, and the tests of adapters.
func NewCut(feed string, first, last event.Offset, base *chat.State, src Source, filter *Filter) (Cut, iter.Seq2[event.Envelope, error], error) {
	if first == 0 || last < first || base.Offset() != first-1 {
		return Cut{}, nil, fmt.Errorf("cut of %s from %d to %d on a state at %d: not a range", feed, first, last, base.Offset())
	}
	cut := Cut{Feed: feed, First: first, Last: last, dir: &cursor{state: base}, filter: filter}
	run := func(yield func(event.Envelope, error) bool) {
		s := base.Clone()
		cut.dir.state, cut.dir.ended = s, false
		for e, err := range read(src, first, last) {
			if err != nil {
				yield(event.Envelope{}, err)
				return
			}
			if filter.wants(s, e) && !yield(e, nil) {
				return
			}
			if err := s.Fold(e, nil); err != nil {
				yield(event.Envelope{}, fmt.Errorf("fold event %d (%s): %w", e.Offset, e.Kind(), err))
				return
			}
		}
		cut.dir.ended = true
	}
	return cut, run, nil
}

// StateAt folds the log from its first event to an offset: the state an adapter needs before a cut. It costs a read of
// the whole log before the offset, about a second per million events.
func StateAt(ctx context.Context, src Source, at event.Offset) (*chat.State, error) {
	s := chat.NewStateToRead()
	if err := fold(ctx, src, s, at); err != nil {
		return nil, err
	}
	return s, nil
}

// FoldTo brings a state to an offset that it has not passed.
func FoldTo(ctx context.Context, src Source, s *chat.State, at event.Offset) error {
	return fold(ctx, src, s, at)
}
