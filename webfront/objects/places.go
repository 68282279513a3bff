package objects

import (
	"parley/log/event"
	"parley/projections/chat"
)

// SetPlaces sets lists of rooms and categories to those that a request names; a list that is absent stays.
func SetPlaces(s *chat.State, rooms *[]event.RoomID, roomNames *[]string, categories *[]event.CategoryID, categoryNames *[]string) error {
	if roomNames != nil {
		*rooms = nil
		for _, n := range *roomNames {
			r, err := FindRoom(s, n)
			if err != nil {
				return err
			}
			*rooms = append(*rooms, r.ID)
		}
	}
	if categoryNames != nil {
		*categories = nil
		for _, n := range *categoryNames {
			g, err := FindCategory(s, n)
			if err != nil {
				return err
			}
			*categories = append(*categories, g.ID)
		}
	}
	return nil
}
