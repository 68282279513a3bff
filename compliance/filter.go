package compliance

import (
	"slices"

	"parley/log/event"
	"parley/projections/chat"
)

// Filter says what of the log is for a feed. Rooms and categories are one set: what happens in one of these rooms, or in a
// room that is in one of these categories when it happens. The nil Filter lets everything through.
type Filter struct {
	rooms      map[event.RoomID]bool
	categories map[event.CategoryID]bool
	kinds      map[string]bool
}

// FilterOf returns the filter of a feed's configuration, nil if it leaves nothing out.
func FilterOf(i *event.FeedInfo) *Filter {
	if len(i.Rooms)+len(i.Categories)+len(i.Kinds) == 0 {
		return nil
	}
	return &Filter{set(i.Rooms), set(i.Categories), set(i.Kinds)}
}

func set[T comparable](list []T) map[T]bool {
	out := make(map[T]bool, len(list))
	for _, v := range list {
		out[v] = true
	}
	return out
}

func (f *Filter) anywhere() bool { return f == nil || len(f.rooms)+len(f.categories) == 0 }

func (f *Filter) covers(s *chat.State, room event.RoomID) bool {
	if f.anywhere() || f.rooms[room] {
		return true
	}
	if len(f.categories) == 0 {
		return false
	}
	r, ok := s.Room(room)
	return ok && f.categories[r.Info.Category]
}

// parts returns the parts that an event implies, of those rooms that the filter covers.
func (f *Filter) parts(before *chat.State, e event.Envelope) []event.Envelope {
	parts := impliedParts(before, e)
	if f.anywhere() || len(parts) == 0 {
		return parts
	}
	return slices.DeleteFunc(parts, func(p event.Envelope) bool { return !f.covers(before, p.Room) })
}

// wants reports whether an event is for the feed; before is the state before it.
func (f *Filter) wants(before *chat.State, e event.Envelope) bool {
	if f == nil {
		return true
	}
	kind := len(f.kinds) == 0 || f.kinds[e.Kind().String()]
	switch e.Event.(type) {
	case *event.NodeLost, *event.NodeStarted:
		// A part is a part, whether it was written down or is implied.
		parted := (kind || f.kinds[event.KindParted.String()]) && len(f.parts(before, e)) > 0
		return parted || kind && f.anywhere()
	}
	if !kind || f.anywhere() {
		return kind
	}
	switch v := e.Event.(type) {
	case *event.RoomCreated:
		return f.rooms[e.Room] || f.categories[v.Info.Category]
	case *event.CategoryCreated:
		return f.categories[v.Category]
	case *event.CategoryChanged:
		return f.categories[v.Category]
	case *event.CategoryRemoved:
		return f.categories[v.Category]
	case *event.MessageSearched:
		return slices.ContainsFunc(v.Rooms, func(r event.RoomID) bool { return f.covers(before, r) })
	}
	return e.Room != "" && f.covers(before, e.Room)
}
