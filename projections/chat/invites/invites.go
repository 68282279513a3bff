// Package invites keeps the invitations of a pool: who was told that he became a member of which room, in the order of
// a number that counts up for each user. A client asks for those above the number it has seen. It is pure.
//
// A pool may hold a million of them, so a row is small, and a user has at most PerUser: the oldest makes room.
package invites

import (
	"cmp"
	"fmt"
	"slices"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

// PerUser is how many invitations are kept for one user.
const PerUser = 1000

// Invitation tells User that he became a member of Room. A later one to the same room replaces it.
type Invitation struct {
	User event.Principal
	Room event.RoomID
	ID   uint64 // per user, from 1, ascending; some are missing where an invitation was replaced or dropped
	At   event.Time
}

// inbox is where a user's numbers stand. It outlives his invitations, so that no number comes twice.
type inbox struct {
	user event.Principal
	last uint64 // handed out
	read uint64 // seen
}

// Box is all invitations. It is a persistent value: Copy is O(1).
type Box struct {
	rows    table.Tupled[Invitation]
	byRoom  table.Index[Invitation] // derived
	inboxes table.Keyed[event.Principal, inbox]
}

const skipScheme = len("sip:")

func (i *Invitation) userHint() uint64 { return table.Hint(string(i.User), skipScheme) }
func (i *Invitation) roomHint() uint64 { return table.Hint(string(i.Room), 0) }
func (i *Invitation) parts() []string  { return []string{string(i.User), string(i.Room)} }

func byUser(a, b *Invitation) bool {
	if a.User != b.User {
		return a.User < b.User
	}
	return a.Room < b.Room
}

func byRoom(a, b *Invitation) bool {
	if a.Room != b.Room {
		return a.Room < b.Room
	}
	return a.User < b.User
}

// NewBox returns a box with nothing in it; the prefixes are those of its two tables.
func NewBox(rows, inboxes byte) Box {
	return Box{
		rows:    table.NewTupled(rows, (*Invitation).userHint, byUser, (*Invitation).parts, (*Invitation).code),
		byRoom:  table.NewIndex((*Invitation).roomHint, byRoom),
		inboxes: table.NewKeyed(inboxes, skipScheme, func(i *inbox) event.Principal { return i.user }, (*inbox).code),
	}
}

// Rows returns the two tables.
func (b *Box) Rows() (rows, inboxes table.Rows) { return &b.rows, &b.inboxes }

// Copy returns an independent copy in O(1). Only the goroutine that changes b may call it.
func (b *Box) Copy() Box { return Box{b.rows.Copy(), b.byRoom.Copy(), b.inboxes.Copy()} }

// Link builds what is derived, after the rows were loaded. room and user may replace a text by an equal one that others
// have as well; each gets equal texts one after the other.
func (b *Box) Link(room func(*event.RoomID), user func(*event.Principal)) {
	all := make([]*Invitation, 0, b.rows.Len())
	b.rows.Scan(func(i *Invitation) bool {
		user(&i.User)
		all = append(all, i)
		return true
	})
	b.byRoom.Fill(all, func(i *Invitation) { room(&i.Room) })
}

// Len returns how many invitations there are.
func (b *Box) Len() int { return b.rows.Len() }

// Next returns the number of the next invitation of a user.
func (b *Box) Next(user event.Principal) uint64 { return b.inbox(user).last + 1 }

// Last returns the number of the newest invitation that a user ever got, and the one up to which he has seen them.
func (b *Box) Last(user event.Principal) (last, read uint64) {
	i := b.inbox(user)
	return i.last, i.read
}

// Of returns the invitations of a user above a number, in the order of their numbers.
func (b *Box) Of(user event.Principal, above uint64) (out []Invitation) {
	b.rows.From(&Invitation{User: user}, func(i *Invitation) bool {
		if i.User == user && i.ID > above {
			out = append(out, *i)
		}
		return i.User == user
	})
	slices.SortFunc(out, func(x, y Invitation) int { return cmp.Compare(x.ID, y.ID) })
	return out
}

func (b *Box) inbox(user event.Principal) inbox {
	if i := b.inboxes.Get(user); i != nil {
		return *i
	}
	return inbox{user: user}
}

// Invite folds invitations to a room. The users come in ascending order, each with the number that is next for him; an
// error leaves the box as it was.
func (b *Box) Invite(v *event.Invited, room event.RoomID, at event.Time, share func(*Invitation), save table.Saver) error {
	for n := range v.Invitations {
		i := &v.Invitations[n]
		if n > 0 && i.User <= v.Invitations[n-1].User {
			return fmt.Errorf("invitation of %s comes after %s", i.User, v.Invitations[n-1].User)
		}
		if next := b.Next(i.User); i.ID != next {
			return fmt.Errorf("invitation %d of %s, the next is %d", i.ID, i.User, next)
		}
	}
	for n := range v.Invitations {
		i := &Invitation{User: v.Invitations[n].User, Room: room, ID: v.Invitations[n].ID, At: at}
		share(i)
		box := b.inbox(i.User)
		box.user, box.last = i.User, i.ID
		b.inboxes.Put(save, &box)
		b.byRoom.Remove(i)
		b.rows.Put(save, i)
		b.byRoom.Set(i)
		b.bound(i.User, save)
	}
	return nil
}

// bound drops the oldest invitation of a user who has too many.
func (b *Box) bound(user event.Principal, save table.Saver) {
	n := 0
	var oldest *Invitation
	b.rows.From(&Invitation{User: user}, func(i *Invitation) bool {
		if i.User != user {
			return false
		}
		if n++; oldest == nil || i.ID < oldest.ID {
			oldest = i
		}
		return true
	})
	if n > PerUser {
		b.drop(oldest, save)
	}
}

func (b *Box) drop(i *Invitation, save table.Saver) {
	b.rows.Drop(save, i)
	b.byRoom.Remove(i)
}

// Read folds how far a user has seen his invitations.
func (b *Box) Read(user event.Principal, upTo uint64, save table.Saver) error {
	box := b.inbox(user)
	if upTo <= box.read || upTo > box.last {
		return fmt.Errorf("%s has read his invitations up to %d, not %d of %d", user, box.read, upTo, box.last)
	}
	box.read = upTo
	b.inboxes.Put(save, &box)
	return nil
}

// DropRoom forgets the invitations to a room that is removed.
func (b *Box) DropRoom(room event.RoomID, save table.Saver) {
	var gone []*Invitation
	b.byRoom.From(&Invitation{Room: room}, func(i *Invitation) bool {
		if i.Room == room {
			gone = append(gone, i)
		}
		return i.Room == room
	})
	for _, i := range gone {
		b.drop(i, save)
	}
}

// DropUser forgets everything of an account that is removed.
func (b *Box) DropUser(user event.Principal, save table.Saver) {
	for _, i := range b.Of(user, 0) {
		b.drop(&i, save)
	}
	b.inboxes.Remove(save, user)
}

func (i *Invitation) code(c *wire.Coder) {
	wire.Str(c, 1, &i.User)
	wire.Str(c, 2, &i.Room)
	wire.Uint(c, 3, &i.ID)
	wire.Int(c, 4, &i.At)
}

func (i *inbox) code(c *wire.Coder) {
	wire.Str(c, 1, &i.user)
	wire.Uint(c, 2, &i.last)
	wire.Uint(c, 3, &i.read)
}
