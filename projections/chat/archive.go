package chat

import (
	"fmt"

	"parley/log/event"
	"parley/projections/chat/feeds"
)

// waited reports whether feeds are waited for to deliver an event that is about to be folded: what compliance cuts for.
func (s *State) waited(e *event.Envelope) bool {
	if !feeds.Housekeeping(e.Event) {
		return true
	}
	switch e.Event.(type) {
	case *event.NodeLost, *event.NodeStarted:
		for range s.SessionsOn(e.Node) {
			return true // it parts somebody
		}
	}
	return false
}

func (s *State) inCategory(room event.RoomID, g event.CategoryID) bool {
	r := s.rooms.Get(room)
	return r != nil && r.Info.Category == g
}

// keepsArchive refuses a change of a feed under which rooms could not be posted in any more: those of a category that
// waits for the feed.
func (d *decider) keepsArchive(ev event.Event) (err error) {
	d.s.categories.Scan(func(g *category) bool {
		switch v := ev.(type) {
		case *event.FeedSet:
			err = feeds.CheckFeed(v.Feed, &v.Info, g.ID, &g.Info, func(room event.RoomID) bool { return d.s.inCategory(room, g.ID) })
		case *event.FeedRemoved:
			for _, name := range g.Info.ArchiveFeeds {
				if name == v.Feed {
					err = Refuse(CodeConflict, "remove feed %s: category %q lets nobody post without it; take it out there", name, g.Info.Name)
				}
			}
		default:
			return false
		}
		return err == nil
	})
	return err
}

// FeedWaits returns the time of the oldest event that a feed has not proven durable, 0 if none waits: exact to a second, or
// to a sixteenth of the event's age, never too late.
func (s *State) FeedWaits(f *Feed) event.Time { return s.feeds.Waits(f, s.head.waited) }

// Silence returns why nobody may post in a category, or in some of its rooms, at a moment; empty if all may. A category
// without a limit costs nothing, one with feeds for single rooms a look at its rooms.
func (s *State) Silence(id event.CategoryID, now event.Time) (why string) {
	g := s.categories.Get(id)
	if g == nil || g.Info.ArchiveLag == 0 {
		return ""
	}
	if !s.feeds.ByRoom(g.Info.ArchiveFeeds) {
		return s.feeds.Behind("", id, &g.Info, s.head.waited, now)
	}
	s.rooms.Scan(func(r *Room) bool {
		if r.Info.Category == id {
			if why = s.feeds.Behind(r.ID, id, &g.Info, s.head.waited, now); why != "" {
				why = fmt.Sprintf("room %q: %s", r.Info.Name, why)
			}
		}
		return why == ""
	})
	return why
}
