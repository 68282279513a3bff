// Package retention finds the messages that their category keeps no longer, and has the leader's node propose that they go.
//
// What goes is decided by the rules and stands in the log (event.MessagesPurged); the bodies leave the log, the history and
// the index as those of other removals do. This package only looks, so it may look too late, twice, or not at all for a
// while: a crash at any point is made up for by the next look, on whatever node leads then.
//
// A look reads the history, and no locks: the rooms of categories with a retention, from the oldest message until one whose
// time is not over. Only rooms with messages of archives, which need not be older than what comes behind them, are read up to
// the last of those.
package retention

import (
	"context"
	"fmt"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/holds"
	"parley/projections/history"
)

const (
	// pageIDs is how many ids are read at once.
	pageIDs = 512
	// maxRange is how many messages one purge ranges over: readers carry it out in one step.
	maxRange = 5_000
)

// History returns the messages of a room with first <= id <= last, oldest first.
type History func(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error)

// Plan is what a look at a room came to.
type Plan struct {
	Until    event.Time // messages of then and before are over
	Due      int        // that can go now
	Held     int        // that would be due, but a legal hold keeps them
	Waiting  int        // that would be due, but some compliance feed has no receipt for them
	Unseen   bool       // there may be more that are due, which no history has
	Commands []*chat.PurgeMessages
}

// Look plans what is to go of a room when messages of a time and before are over. receipts is up to where every feed has
// one.
func Look(ctx context.Context, s *chat.State, room chat.Room, until event.Time, receipts event.Offset, read History) (Plan, error) {
	p := Plan{Until: until}
	keeps := s.Keeps(room.ID)
	trail := s.Holds().Trail(room.ID)
	var open *chat.PurgeMessages // the range that is being made longer
	ranged := 0
	for first := uint64(1); first <= room.LastMessage; {
		page, err := read(ctx, room.ID, first, min(first+pageIDs-1, room.LastMessage))
		if err != nil {
			return p, fmt.Errorf("look for old messages of room %s: %w", room.ID, err)
		}
		for i := range page {
			m := &page[i]
			if ranged++; ranged > maxRange {
				open = nil
			}
			if m.At > until {
				if m.ID > trail.Imported {
					p.unseen(&trail, s, receipts)
					return p, nil
				}
				continue
			}
			switch {
			case keptBy(keeps, m):
				p.Held++
			case m.Offset > receipts:
				p.Waiting++
			default:
				p.Due++
				ref := event.MessageRef{MessageID: m.ID, Offset: m.Offset}
				if open == nil {
					open, ranged = &chat.PurgeMessages{Room: room.ID, First: ref, Until: until}, 1
					p.Commands = append(p.Commands, open)
				}
				open.Last = ref
			}
		}
		first += pageIDs
	}
	p.unseen(&trail, s, receipts)
	return p, nil
}

// unseen adds what the history does not have.
func (p *Plan) unseen(t *holds.Trail, s *chat.State, receipts event.Offset) {
	if !t.Unseen(p.Until, s.Holds().Epoch()) {
		return
	}
	p.Unseen = true
	c := &chat.PurgeMessages{Room: t.Room, First: t.First, Last: t.Last, Until: p.Until}
	if c.Last.Offset > receipts {
		c.Last.Offset = receipts
	}
	if c.First.Offset <= c.Last.Offset {
		p.Commands = append(p.Commands, c)
	}
}

func keptBy(keeps []event.Keep, m *history.Message) bool {
	for i := range keeps {
		if keeps[i].Covers(m.Offset, m.By, m.At) {
			return true
		}
	}
	return false
}

// Over returns up to which time messages are over after some days. A message goes with the first midnight (UTC) at which it
// is so old: a room in use is purged once a day, and not with every minute that passes.
func Over(now event.Time, days uint64) event.Time {
	return (now/holds.Day - event.Time(days)) * holds.Day
}
