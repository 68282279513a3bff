package feeds

import (
	"fmt"
	"slices"
	"time"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/form"
)

// Limits of a category's ArchiveLag, in nanoseconds.
const (
	MinLag = MinEvery
	MaxLag = MaxEvery
)

// archives reports whether what is said in a room of a category goes to a feed. A feed of the nodes' configuration files
// takes everything.
func (f *Feed) archives(room event.RoomID, category event.CategoryID) bool {
	i := &f.Info
	if len(i.Kinds) > 0 && !slices.Contains(i.Kinds, event.KindPosted.String()) {
		return false
	}
	return len(i.Rooms)+len(i.Categories) == 0 || slices.Contains(i.Categories, category) || slices.Contains(i.Rooms, room)
}

// Behind returns why nobody may post in a room whose category asks for an archive, empty if he may: the first feed, by
// name, that has kept an event waiting for longer than the category allows, or that no feed keeps what is said there.
// newest is the last event noted. It costs a look at every feed, a hundred at most.
func (t *Feeds) Behind(room event.RoomID, category event.CategoryID, info *event.CategoryInfo, newest event.Offset, now event.Time) (why string) {
	for _, name := range info.ArchiveFeeds {
		if f := t.rows.Get(name); f == nil || f.Removed {
			return fmt.Sprintf("feed %s, which the category names, was removed", name)
		}
	}
	found := false
	t.counted(info.ArchiveFeeds, func(f *Feed) bool {
		if !f.archives(room, category) {
			return true
		}
		found = true
		if since := t.Waits(f, newest); since != 0 && now-since > event.Time(info.ArchiveLag) {
			why = fmt.Sprintf("feed %s is %v behind, at most %v are allowed", f.Name, time.Duration(now-since).Round(time.Second), time.Duration(info.ArchiveLag))
			if f.Paused {
				why += "; it is paused"
			}
		}
		return why == ""
	})
	if !found {
		return "no feed archives what is said there"
	}
	return why
}

// ByRoom reports whether any feed of some names, or of all if there are none, is for single rooms: then each room has its
// own answer.
func (t *Feeds) ByRoom(names []string) (by bool) {
	t.counted(names, func(f *Feed) bool {
		by = len(f.Info.Rooms) > 0
		return !by
	})
	return by
}

// CheckArchive refuses what no category can ask of its archive, and brings the rest into one order. A feed that is cut as
// seldom as the limit would silence the category again and again. in tells whether a room is in the category.
func (t *Feeds) CheckArchive(category event.CategoryID, info *event.CategoryInfo, in func(event.RoomID) bool) error {
	what := "category " + info.Name
	switch {
	case info.ArchiveLag == 0 && len(info.ArchiveFeeds) == 0:
		return nil
	case info.ArchiveLag == 0:
		return command.Refuse(command.CodeInvalid, "%s: feeds that posting waits for, and no limit", what)
	case info.ArchiveLag < MinLag || info.ArchiveLag > MaxLag:
		return command.Refuse(command.CodeInvalid, "%s: archive limit of %v, want 1 s to 30 days, or 0 for none", what, time.Duration(info.ArchiveLag))
	case len(info.ArchiveFeeds) > MaxFeeds:
		return command.Refuse(command.CodeTooLarge, "%s: %d feeds, at most %d", what, len(info.ArchiveFeeds), MaxFeeds)
	}
	info.ArchiveFeeds = slices.Clone(info.ArchiveFeeds)
	slices.Sort(info.ArchiveFeeds)
	info.ArchiveFeeds = slices.Compact(info.ArchiveFeeds)
	for _, name := range info.ArchiveFeeds {
		if err := form.FeedName(name); err != nil {
			return err
		}
		if f := t.rows.Get(name); f == nil || f.Removed {
			return command.Refuse(command.CodeNotFound, "%s: no feed %q", what, name)
		}
	}
	var err error
	t.counted(info.ArchiveFeeds, func(f *Feed) bool {
		if f.Configured() && f.slow(info.ArchiveLag) && (f.archives("", category) || slices.ContainsFunc(f.Info.Rooms, in)) {
			err = tooSlow(f.Name, &f.Info, what, info.ArchiveLag)
		}
		return err == nil
	})
	return err
}

// CheckFeed refuses a configuration of a feed under which a category could not be posted in.
func CheckFeed(name string, feed *event.FeedInfo, category event.CategoryID, info *event.CategoryInfo, in func(event.RoomID) bool) error {
	f := Feed{Name: name, Info: *feed}
	if info.ArchiveLag == 0 || len(info.ArchiveFeeds) > 0 && !slices.Contains(info.ArchiveFeeds, name) || !f.slow(info.ArchiveLag) ||
		!f.archives("", category) && !slices.ContainsFunc(feed.Rooms, in) {
		return nil
	}
	return tooSlow(name, feed, "category "+info.Name, info.ArchiveLag)
}

// slow reports whether an event may have to wait for the limit before the feed is even cut.
func (f *Feed) slow(limit int64) bool { return max(f.Info.Every, MinEvery) >= limit }

func tooSlow(name string, feed *event.FeedInfo, category string, limit int64) error {
	return command.Refuse(command.CodeConflict, "feed %s is cut every %v, and %s lets nobody post when it is %v behind: make the interval shorter than the limit",
		name, time.Duration(max(feed.Every, MinEvery)), category, time.Duration(limit))
}
