package xccos

import "strconv"

// Mask is a permission mask: the key of an AIB (digest 4.4).
type Mask uint32

// The masks that are sent. MaskManagerOpen is the one value by which the open client knows an operator.
const (
	MaskMember           Mask = 3456  // GUESS 4.4: join, chat, read history, see
	MaskPresenter        Mask = 7552  // GUESS 4.4: the same and chat in an auditorium
	MaskManager          Mask = 3460  // GUESS 4.4: member and manage
	MaskManagerPresenter Mask = 7556  // GUESS 4.4
	MaskManagerOpen      Mask = 12276 // E 4.4
)

// String returns the mask as it is sent.
func (m Mask) String() string { return strconv.FormatUint(uint64(m), 10) }

// Occupant is a user in a room.
type Occupant struct {
	URI     string
	Display string // may be empty
	Mask    Mask
}

// Roster collects the rooms of a join reply. A user gets one UIB however many rooms he is in, and each room refers to
// its users by the number of the UIB, grouped by mask in the order the masks first occur (vector V08).
type Roster struct {
	Data Data
	ids  map[string]string
}

// Add appends a room and who is in it.
func (r *Roster) Add(room ChanIB, in []Occupant) {
	for _, o := range in {
		id, ok := r.ids[o.URI]
		if !ok {
			if r.ids == nil {
				r.ids = make(map[string]string)
			}
			id = strconv.Itoa(len(r.Data.Users))
			r.ids[o.URI] = id
			r.Data.Users = append(r.Data.Users, UIB{ID: id, URI: o.URI, Display: o.Display})
		}
		key, group := o.Mask.String(), 0
		for group < len(room.Access) && room.Access[group].Key != key {
			group++
		}
		if group == len(room.Access) {
			room.Access = append(room.Access, AIB{Key: key, Value: id})
		} else {
			room.Access[group].Value += "," + id
		}
	}
	r.Data.Chans = append(r.Data.Chans, room)
}
