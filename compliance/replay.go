package compliance

import (
	"context"
	"errors"
	"fmt"

	"parley/log/event"
	"parley/projections/chat"
)

// Replayed is one cut of a feed that was written again.
type Replayed struct {
	First, Last event.Offset
	At          event.Offset // of the receipt
	Receipt     Receipt
	Files       map[string][]byte
}

// ErrReplay says that what a range gives today is not what its receipt says: a text was lawfully erased since, which the
// error then names, or the log, the adapter or the configuration is another one.
var ErrReplay = errors.New("the range does not give what its receipt says")

// ErrNoReplay says that a feed's adapter cannot write a cut again.
var ErrNoReplay = errors.New("what it wrote is not ours to write again")

// Replay writes again what a feed has delivered of the events from..to: every cut that touches them, whole, one after the
// other, in memory. each gets them in order. make returns the adapter for a cut's configuration that writes to fs. What a
// cut gives is compared with its receipt before each is called: byte for byte what the feed wrote, or ErrReplay.
//
// Only the log is asked, so a replay needs no archive, disturbs no feed, and runs on any node. base, which may be nil, is
// as in FeedConfig.
func Replay(ctx context.Context, src Source, feed string, from, to event.Offset, base func(context.Context, event.Offset) (*chat.State, error),
	mk func(fs FS, cut *event.FeedInfo) (Adapter, error), each func(Replayed) error) error {
	// The receipts come after what they receipt: the log is read once for them, and the state follows cut by cut.
	at := chat.NewStateToRead() // what the feed was configured as when a cut was made
	state := chat.NewStateToRead()
	var known *gone
	if base != nil {
		b, err := base(ctx, max(from, 1)-1)
		if err != nil {
			return err
		}
		if b != nil {
			state = b.Clone()
		}
	}
	state.Forget() // it never decides
	for {          // to the head if need be: a receipt comes after the range that it is for
		run, err := src.Read(at.Offset()+1, readEvents)
		if err != nil || len(run) == 0 {
			return err // the head
		}
		for _, e := range run {
			if err := ctx.Err(); err != nil {
				return err
			}
			fd, _ := at.Feed(feed)
			if err := at.Fold(e, nil); err != nil {
				return fmt.Errorf("fold event %d (%s): %w", e.Offset, e.Kind(), err)
			}
			r, ok := e.Event.(*event.FeedReceipt)
			if !ok || r.Feed != feed || r.Last < from {
				continue
			}
			if r.First > to {
				return nil
			}
			if state.Offset() >= r.First { // the base was too new
				state = chat.NewStateToRead()
			}
			if err := fold(ctx, src, state, r.First-1); err != nil {
				return err
			}
			asDelivered, err := lawful(ctx, src, &fd, r.First, &known)
			if err != nil {
				return err
			}
			again, next, err := replayForms(ctx, asDelivered, state, &fd.CutInfo, r, mk)
			if err != nil {
				return fmt.Errorf("replay events %d to %d of feed %s: %w", r.First, r.Last, feed, err)
			}
			again.At, state = e.Offset, next
			if err := each(again); err != nil {
				return err
			}
		}
	}
}

// replayForms writes a cut again in the form that its receipt is for.
func replayForms(ctx context.Context, src Source, state *chat.State, info *event.FeedInfo, r *event.FeedReceipt,
	mk func(FS, *event.FeedInfo) (Adapter, error)) (out Replayed, next *chat.State, err error) {
	var first error
	for _, f := range forms {
		if out, next, err = replayCut(ctx, src, state, info, r, f, mk); !errors.Is(err, ErrReplay) {
			return out, next, err
		}
		if first == nil {
			first = err
		}
	}
	return out, nil, first
}

func replayCut(ctx context.Context, src Source, state *chat.State, info *event.FeedInfo, r *event.FeedReceipt,
	form form, mk func(FS, *event.FeedInfo) (Adapter, error)) (Replayed, *chat.State, error) {
	m := NewMemory()
	a, err := mk(m, info)
	if err != nil {
		return Replayed{}, nil, err
	}
	cut, run, err := NewCut(r.Feed, r.First, r.Last, state, src, FilterOf(info))
	if err != nil {
		return Replayed{}, nil, err
	}
	cut.form = form
	since := event.Offset(0) // first text that is erased and was not when the cut was delivered
	got, err := a.Deliver(ctx, cut, func(yield func(event.Envelope, error) bool) {
		for e, err := range run {
			if w, _ := src.(without); e.Erased && since == 0 && (w.gone == nil || !w.gone.has(&e)) {
				since = e.Offset
			}
			if !yield(e, err) {
				return
			}
		}
	})
	if err != nil {
		return Replayed{}, nil, err
	}
	if !cut.dir.ended || got.Name != r.Name || got.Bytes != r.Bytes || !got.Empty() && string(got.SHA256[:]) != string(r.SHA256) {
		why := ErrReplay
		if since != 0 {
			why = fmt.Errorf("%w, perhaps because the text of event %d was erased since", ErrReplay, since)
		}
		return Replayed{}, nil, fmt.Errorf("%w: %q with %d bytes, and the receipt has %q with %d", why, got.Name, got.Bytes, r.Name, r.Bytes)
	}
	return Replayed{First: r.First, Last: r.Last, Receipt: got, Files: m.Files()}, cut.dir.state, nil
}
