// Package feeds keeps the compliance feeds of a pool: how each is configured, who owns it, what is cut and what is proven
// durable. One owner at a time, under a fencing epoch; one open cut; a receipt closes it. It is pure.
package feeds

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

// Feed is a compliance stream.
type Feed struct {
	Name     string
	Owner    event.NodeID
	Epoch    uint64       // fencing epoch of the owner
	CutFirst event.Offset // the open cut; 0: none
	CutLast  event.Offset
	Receipt  event.Offset // last offset proven durable; 0: none yet. A feed that began later than the log has what comes before
	Last     event.FeedReceipt
	At       event.Time // of the last receipt

	Revision event.Offset   // of the newest event that set, removed, paused or resumed it; 0: nodes' configuration files know it
	Info     event.FeedInfo // as it is set; empty without a revision
	CutInfo  event.FeedInfo // as it was when the open cut was made
	Paused   bool
	Reason   string // of the pause
	Removed  bool

	Since event.Offset // of the event that set it, or set it again after a removal; of a feed of the nodes' files: that claimed it first
}

// Configured reports whether the log, and not a node's file, says how the feed is to run.
func (f *Feed) Configured() bool { return f.Info.Adapter != "" && !f.Removed }

func (f *Feed) code(c *wire.Coder) {
	wire.Str(c, 1, &f.Name)
	wire.Str(c, 2, &f.Owner)
	wire.Uint(c, 3, &f.Epoch)
	wire.Uint(c, 4, &f.CutFirst)
	wire.Uint(c, 5, &f.CutLast)
	wire.Uint(c, 6, &f.Receipt)
	c.Sub(7, f.Last.Code)
	wire.Int(c, 8, &f.At)
	wire.Uint(c, 9, &f.Revision)
	c.Sub(10, f.Info.Code)
	c.Sub(11, f.CutInfo.Code)
	c.Bool(12, &f.Paused)
	wire.Str(c, 13, &f.Reason)
	c.Bool(14, &f.Removed)
	wire.Uint(c, 15, &f.Since)
}

// Feeds is all feeds. It is a persistent value: Copy is O(1).
type Feeds struct {
	rows  table.Keyed[string, Feed]
	clock clock
}

// New returns no feeds; the prefixes are those of the table and of the clock.
func New(prefix, clockPrefix byte) Feeds {
	return Feeds{table.NewKeyed(prefix, 0, func(f *Feed) string { return f.Name }, (*Feed).code), clock{prefix: clockPrefix}}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes t may call it.
func (t *Feeds) Copy() Feeds { return Feeds{t.rows.Copy(), t.clock} }

// Rows returns the table and the clock.
func (t *Feeds) Rows() (rows, clock table.Rows) { return &t.rows, &t.clock }

// Feed returns a feed, also one that was removed.
func (t *Feeds) Feed(name string) (Feed, bool) { return t.rows.Value(name) }

// All returns all feeds, by name, also those that were removed.
func (t *Feeds) All() iter.Seq[Feed] { return t.rows.All() }

// Slowest returns up to which offset every feed that the log configures has a receipt, at most head. One that is paused
// counts.
func (t *Feeds) Slowest(head event.Offset) event.Offset {
	t.rows.Scan(func(f *Feed) bool {
		if f.Configured() {
			head = min(head, f.Receipt)
		}
		return true
	})
	return head
}

func (t *Feeds) copyOf(name string) *Feed {
	if f := t.rows.Get(name); f != nil {
		c := *f
		return &c
	}
	return &Feed{Name: name}
}

// Fold folds an event about feeds; known is false for any other. An error says that it cannot have happened.
func (t *Feeds) Fold(e *event.Envelope, save table.Saver) (known bool, err error) {
	var f *Feed
	switch v := e.Event.(type) {
	case *event.FeedClaimed:
		f, err = t.claimed(e, v)
	case *event.FeedCut:
		f, err = t.cut(e, v)
	case *event.FeedReceipt:
		f, err = t.received(e, v)
	case *event.FeedSet:
		f, err = t.set(e, v)
	case *event.FeedRemoved:
		if f, err = t.configured(v.Feed); err == nil {
			f.Removed, f.Paused, f.Reason, f.Revision = true, false, "", e.Offset
		}
	case *event.FeedPaused:
		if f, err = t.configured(v.Feed); err == nil {
			f.Paused, f.Reason, f.Revision = true, v.Reason, e.Offset
		}
	case *event.FeedResumed:
		if f, err = t.configured(v.Feed); err == nil {
			f.Paused, f.Reason, f.Revision = false, "", e.Offset
		}
	default:
		return false, nil
	}
	if err == nil {
		t.rows.Put(save, f)
	}
	return true, err
}

// configured returns a copy of a feed that can be paused, resumed or removed: also one of the nodes' files, once it began.
func (t *Feeds) configured(name string) (*Feed, error) {
	f := t.copyOf(name)
	if f.Removed || f.Epoch == 0 && !f.Configured() {
		return nil, fmt.Errorf("no feed %s", name)
	}
	return f, nil
}

func (t *Feeds) claimed(e *event.Envelope, v *event.FeedClaimed) (*Feed, error) {
	f := t.copyOf(v.Feed)
	if v.Epoch != f.Epoch+1 {
		return nil, fmt.Errorf("feed %s gets epoch %d after %d", v.Feed, v.Epoch, f.Epoch)
	}
	if f.Since == 0 {
		f.Since = e.Offset
	}
	f.Owner, f.Epoch = e.Node, v.Epoch
	return f, nil
}

func (t *Feeds) cut(e *event.Envelope, v *event.FeedCut) (*Feed, error) {
	f := t.copyOf(v.Feed)
	if f.Epoch == 0 || v.Epoch != f.Epoch || f.CutFirst != 0 || v.First != f.Receipt+1 || v.Last < v.First || v.Last >= e.Offset {
		return nil, fmt.Errorf("feed %s (epoch %d, receipt %d, cut %d-%d) gets cut %d-%d of epoch %d", v.Feed, f.Epoch,
			f.Receipt, f.CutFirst, f.CutLast, v.First, v.Last, v.Epoch)
	}
	f.CutFirst, f.CutLast, f.CutInfo = v.First, v.Last, f.Info
	return f, nil
}

func (t *Feeds) received(e *event.Envelope, v *event.FeedReceipt) (*Feed, error) {
	f := t.copyOf(v.Feed)
	if f.CutFirst == 0 || v.Epoch != f.Epoch || v.First != f.CutFirst || v.Last != f.CutLast {
		return nil, fmt.Errorf("feed %s (epoch %d, cut %d-%d) gets receipt %d-%d of epoch %d", v.Feed, f.Epoch,
			f.CutFirst, f.CutLast, v.First, v.Last, v.Epoch)
	}
	f.CutFirst, f.CutLast, f.CutInfo, f.Receipt, f.Last, f.At = 0, 0, event.FeedInfo{}, v.Last, *v, e.At
	return f, nil
}

func (t *Feeds) set(e *event.Envelope, v *event.FeedSet) (*Feed, error) {
	f := t.copyOf(v.Feed)
	begun := f.Epoch != 0 || f.Revision != 0
	switch {
	case v.From != 0 && begun:
		return nil, fmt.Errorf("feed %s is at %d and begins again at %d", v.Feed, f.Receipt, v.From)
	case v.From > e.Offset:
		return nil, fmt.Errorf("feed %s begins at %d, after this event", v.Feed, v.From)
	case v.Info.Adapter == "":
		return nil, fmt.Errorf("feed %s gets no adapter", v.Feed)
	}
	if v.From != 0 {
		f.Receipt = v.From - 1
	}
	if f.Removed || f.Since == 0 {
		f.Since = e.Offset
	}
	f.Info, f.Removed, f.Revision = v.Info, false, e.Offset
	return f, nil
}

// Equal reports whether two configurations are the same.
func Equal(a, b *event.FeedInfo) bool {
	return a.Adapter == b.Adapter && slices.Equal(a.Options, b.Options) && slices.Equal(a.Rooms, b.Rooms) &&
		slices.Equal(a.Categories, b.Categories) && slices.Equal(a.Kinds, b.Kinds) && a.Every == b.Every && a.MaxEvents == b.MaxEvents &&
		a.Template == b.Template
}

func sameReceipt(a, b *event.FeedReceipt) bool {
	return a.Feed == b.Feed && a.Epoch == b.Epoch && a.First == b.First && a.Last == b.Last && a.Name == b.Name &&
		a.Bytes == b.Bytes && bytes.Equal(a.SHA256, b.SHA256)
}
