package xccos

import (
	"slices"
	"strconv"
)

// Mask is a permission mask: the key of an AIB. Its bits are those of the content database's table of roles: 2 manage,
// 4 create children, 7 join, 8 chat, 10 read history without joining, 11 see, 12 chat in an auditorium, 13 bypass
// visibility. That the key is this mask is our deduction; it fits both values that were seen, 3984 and 12276.
type Mask uint32

// The masks that are sent. MaskManagerOpen is the one value by which the open client knows an operator (pidgin-sipe
// sipe-groupchat.c, GROUPCHAT_AIB_KEY_CHANOP).
const (
	MaskMember           Mask = 3456 // join, chat, read history, see
	MaskPresenter        Mask = 7552 // the same and chat in an auditorium
	MaskManager          Mask = 3460 // member and manage
	MaskManagerPresenter Mask = 7556
	MaskManagerOpen      Mask = 12276
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
		key := o.Mask.String()
		if group := slices.IndexFunc(room.Access, func(a AIB) bool { return a.Key == key }); group >= 0 {
			room.Access[group].Value += "," + id
		} else {
			room.Access = append(room.Access, AIB{Key: key, Value: id})
		}
	}
	r.Data.Chans = append(r.Data.Chans, room)
}
