package invites

import (
	"fmt"
	"slices"
	"testing"

	"parley/log/event"
)

type rows map[string][]byte

func (r rows) Set(k, v []byte) { r[string(k)] = slices.Clone(v) }
func (r rows) Delete(k []byte) { delete(r, string(k)) }

func keep(*Invitation) {}

func (r rows) load(t *testing.T) Box {
	t.Helper()
	b := NewBox(1, 2)
	list, inboxes := b.Rows()
	for k, v := range r {
		table := list
		if k[0] == 2 {
			table = inboxes
		}
		if err := table.Load([]byte(k), v); err != nil {
			t.Fatal(err)
		}
	}
	b.Link(func(*event.RoomID) {}, func(*event.Principal) {})
	return b
}

func invite(t *testing.T, b *Box, save rows, room string, users ...event.Principal) {
	t.Helper()
	v := &event.Invited{}
	for _, u := range users {
		v.Invitations = append(v.Invitations, event.Invitation{User: u, ID: b.Next(u)})
	}
	if err := b.Invite(v, event.RoomID(room), 1, keep, save); err != nil {
		t.Fatal(err)
	}
}

// One user keeps PerUser invitations; the oldest makes room, and numbers go on.
func TestBounded(t *testing.T) {
	b, save := NewBox(1, 2), rows{}
	const u = event.Principal("sip:u@x")
	for i := range PerUser + 10 {
		invite(t, &b, save, fmt.Sprintf("room %04d", (i*7919)%100_000), u)
	}
	list := b.Of(u, 0)
	if len(list) != PerUser || list[0].ID != 11 || list[PerUser-1].ID != PerUser+10 {
		t.Fatalf("%d invitations, %d to %d", len(list), list[0].ID, list[len(list)-1].ID)
	}
	loaded := save.load(t)
	if loaded.Len() != PerUser || !slices.Equal(loaded.Of(u, 0), list) {
		t.Fatal("a loaded box differs")
	}
	for _, i := range list[:3] {
		loaded.DropRoom(i.Room, save)
	}
	if loaded.Len() != PerUser-3 || b.Len() != PerUser {
		t.Fatalf("%d left", loaded.Len())
	}
	loaded.DropUser(u, save)
	if last, _ := loaded.Last(u); loaded.Len() != 0 || last != 0 || len(save) != 0 {
		t.Fatalf("of a removed account %d invitations and %d rows are left", loaded.Len(), len(save))
	}
}

// What cannot have happened is refused and changes nothing.
func TestContradictions(t *testing.T) {
	b, save := NewBox(1, 2), rows{}
	invite(t, &b, save, "r", "sip:a@x", "sip:b@x")
	for _, bad := range [][]event.Invitation{
		{{User: "sip:a@x", ID: 1}},                              // given already
		{{User: "sip:a@x", ID: 3}},                              // one is missing
		{{User: "sip:c@x", ID: 1}, {User: "sip:c@x", ID: 2}},    // twice
		{{User: "sip:d@x", ID: 1}, {User: "sip:c@x", ID: 1}},    // out of order
		{{User: "sip:c@x", ID: 1}, {User: "sip:d@x", ID: 2}},    // the second is wrong
		{{User: "sip:b@x", ID: 2}, {User: "sip:zz@x", ID: 100}}, // likewise
	} {
		before := len(save)
		if err := b.Invite(&event.Invited{Invitations: bad}, "s", 1, keep, save); err == nil || len(save) != before || b.Len() != 2 {
			t.Errorf("%v: %v, %d rows, %d invitations", bad, err, len(save), b.Len())
		}
	}
	for _, upTo := range []uint64{0, 2} {
		if err := b.Read("sip:a@x", upTo, save); err == nil {
			t.Errorf("read up to %d of 1", upTo)
		}
	}
	if err := b.Read("sip:a@x", 1, save); err != nil {
		t.Error(err)
	}
	if err := b.Read("sip:a@x", 1, save); err == nil {
		t.Error("read twice")
	}
}
