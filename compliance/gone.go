package compliance

import (
	"context"
	"slices"

	"parley/log/event"
	"parley/projections/chat"
)

// gone are the messages that were removed before a feed was set. Their texts are lawfully erased, but each node erases by
// itself: one that was down has them still, and would deliver other bytes than its peers. So for such a feed they count as
// erased by what the log says, on whatever node. What is removed later waits for the feed: see Feeds.Slowest.
type gone struct {
	since  event.Offset // the feed's
	listed map[event.Offset]bool
	clears map[event.RoomID][]clear
	purges map[event.RoomID][]purge
}

// clear is a removal of everything up to a time.
type clear struct {
	at    event.Offset
	until event.Time
}

// purge is a purge at its place.
type purge struct {
	at event.Offset
	*event.MessagesPurged
}

// goneBefore reads which messages from an offset on were removed before a feed was set. It costs a read of the log
// between the two, once for a feed that begins in the past.
func goneBefore(ctx context.Context, src Source, from, since event.Offset) (*gone, error) {
	g := &gone{since: since, listed: map[event.Offset]bool{}, clears: map[event.RoomID][]clear{}, purges: map[event.RoomID][]purge{}}
	if since <= from {
		return g, nil
	}
	for e, err := range read(src, from, since) {
		if err != nil {
			return nil, err
		}
		if e.Offset%readEvents == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		g.add(&e)
	}
	return g, nil
}

func (g *gone) add(e *event.Envelope) {
	switch v := e.Event.(type) {
	case *event.MessagesPurged:
		g.purges[e.Room] = append(g.purges[e.Room], purge{e.Offset, v})
	case *event.MessagesRemoved:
		if v.Until != 0 {
			g.clears[e.Room] = append(g.clears[e.Room], clear{e.Offset, v.Until})
		}
		for _, m := range v.Messages {
			g.listed[m.Offset] = true
		}
	}
}

// has reports whether an event is a message that is gone.
func (g *gone) has(e *event.Envelope) bool {
	m, ok := event.MessageOf(e)
	return ok && (g.listed[e.Offset] ||
		slices.ContainsFunc(g.clears[e.Room], func(c clear) bool { return e.Offset < c.at && m.At <= c.until }) ||
		slices.ContainsFunc(g.purges[e.Room], func(p purge) bool {
			return e.Offset < p.at && p.Names(event.MessageRef{MessageID: m.ID, Offset: e.Offset}, m.By, m.At)
		}))
}

// without is the log without the texts that are gone.
type without struct {
	Source
	gone *gone
}

// Read implements Source.
func (w without) Read(from event.Offset, most int) ([]event.Envelope, error) {
	run, err := w.Source.Read(from, most)
	copied := false
	for i := range run {
		if run[i].Erased || !w.gone.has(&run[i]) {
			continue
		}
		if !copied {
			run, copied = slices.Clone(run), true
		}
		run[i].Event, run[i].Erased = erased(run[i].Event), true
	}
	return run, err
}

// erased is a message as the log has it when its body is gone.
func erased(e event.Event) event.Event {
	switch v := e.(type) {
	case *event.Posted:
		p := *v
		p.Text, p.RTF, p.Title, p.Links = "", "", "", nil
		return &p
	case *event.MessageImported:
		p := *v
		p.Text, p.RTF, p.Title, p.Links = "", "", "", nil
		return &p
	}
	return e
}

// lawful returns the log as a feed delivers it from an offset on. known is what it returned before, for it to be used again.
func lawful(ctx context.Context, src Source, fd *chat.Feed, from event.Offset, known **gone) (Source, error) {
	if fd.Since <= from { // nothing that comes is older than the feed
		return src, nil
	}
	if *known == nil || (*known).since != fd.Since {
		g, err := goneBefore(ctx, src, from, fd.Since)
		if err != nil {
			return nil, err
		}
		*known = g
	}
	return without{src, *known}, nil
}
