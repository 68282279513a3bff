package chat

import (
	"fmt"
	"slices"
	"testing"

	"parley/log/event"
	"parley/projections/chat/policy"
)

// scene is a pool to try one rule in.
type scene struct {
	*pool
	t   *testing.T
	cat event.CategoryID
}

// refused does what must be refused, by that rule and about that principal, and checks that nothing came of it.
func (s *scene) refused(o Origin, c Command, code Code, rule string, about event.Principal) {
	if about == "" { // about nobody else than who asks
		about = o.By
	}
	s.t.Helper()
	before := s.s.Offset()
	_, _, err := s.do(o, c)
	wantCode(s.t, err, code)
	if f := AsRefusal(err); f.Rule != rule || f.Principal != about {
		s.t.Fatalf("%T: refused by rule %q about %q (%s), want %q about %q", c, f.Rule, f.Principal, f.Text, rule, about)
	}
	if s.s.Offset() != before {
		s.t.Fatalf("%T: refused, and led to events", c)
	}
}

func give(p event.Principal, r event.Role) event.Access { return event.Access{Principal: p, Role: r} }

const (
	member    = event.RoleMember
	manager   = event.RoleManager
	presenter = event.RolePresenter
)

// make makes a room and says what its fields are.
func (s *scene) make(i event.RoomInfo, access ...event.Access) event.RoomID {
	s.t.Helper()
	if i.Category == "" {
		i.Category = s.cat
	}
	return s.must(admin, &CreateRoom{Info: i, Access: access}).Result.Room
}

func (s *scene) info(id event.RoomID) event.RoomInfo {
	r, ok := s.s.Room(id)
	if !ok {
		s.t.Fatalf("no room %s", id)
	}
	return r.Info
}

// change changes the fields that f does, and roles.
func (s *scene) change(o Origin, id event.RoomID, f func(*event.RoomInfo), access ...event.Access) *ChangeRoom {
	i := s.info(id)
	if f != nil {
		f(&i)
	}
	return &ChangeRoom{ID: id, Info: i, Access: access}
}

func (s *scene) category(name string, allowed []event.Principal, f func(*event.CategoryInfo)) event.CategoryID {
	s.t.Helper()
	i := event.CategoryInfo{Name: name, Allowed: allowed, ChatHistory: true}
	if f != nil {
		f(&i)
	}
	return s.must(admin, &CreateCategory{Info: i}).Result.Category
}

func (s *scene) in(room event.RoomID, who string) bool { return s.s.Participates(room, user(who)) }

func join(room event.RoomID) *Join { return &Join{Rooms: []event.RoomID{room}} }

// find is a search of somebody who was shown two messages, as far as his node knew.
func find(rooms ...event.RoomID) *SearchMessages {
	return &SearchMessages{Rooms: rooms, Query: event.Query{Text: "x"}, Found: 2}
}

// TestRulesOfTheProtocol goes through the table of rules (docs/rules.md), one after the other: what each
// lets happen, and what it refuses.
func TestRulesOfTheProtocol(t *testing.T) {
	alice, bob, carol := user("alice"), user("bob"), user("carol")
	for _, rule := range []struct {
		id, says string
		try      func(s *scene)
	}{
		{"R1", "allowed without denied bounds members, managers and creators; deny wins", func(s *scene) {
			g := s.category("Walled", []event.Principal{Everyone}, func(i *event.CategoryInfo) {
				i.Denied, i.Creators = []event.Principal{bob}, []event.Principal{alice, bob}
			})
			room := s.make(event.RoomInfo{Name: "Desk", Category: g, Privacy: event.PrivacyOpen}, give(alice, member))
			s.refused(admin, s.change(admin, room, nil, give(bob, member)), CodeForbidden, "R1", bob)
			s.refused(admin, s.change(admin, room, nil, give(bob, manager)), CodeForbidden, "R1", bob)
			s.refused(as("bob"), join(room), CodeForbidden, "R1", bob)
			s.refused(as("bob"), &ReadHistory{Room: room}, CodeForbidden, "R1", bob)
			s.refused(as("bob"), find(room), CodeForbidden, "R1", bob)
			s.refused(as("bob"), &CreateRoom{Info: event.RoomInfo{Name: "Nook", Category: g}}, CodeForbidden, "R2", bob)
			s.must(as("carol"), join(room)) // open: everybody in scope
		}},
		{"R2", "creators of the category create rooms, and become managers", func(s *scene) {
			g := s.category("Made", []event.Principal{Everyone}, func(i *event.CategoryInfo) { i.Creators = []event.Principal{alice} })
			s.refused(as("bob"), &CreateRoom{Info: event.RoomInfo{Name: "Nook", Category: g}}, CodeForbidden, "R2", bob)
			room := s.must(as("alice"), &CreateRoom{Info: event.RoomInfo{Name: "Nook", Category: g}}).Result.Room
			if r := s.s.Rights(room, alice); !r.Manager || r.Member || r.Join {
				s.t.Fatalf("the creator has %+v", r)
			}
		}},
		{"R3", "a new room is closed, normal, with invitations inherited and nobody in it", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "New"})
			want := event.RoomInfo{Name: "New", Category: s.cat, Type: event.RoomNormal, Privacy: event.PrivacyClosed, Invitations: event.InvitationsInherit}
			if got := s.info(room); got != want || len(slices.Collect(s.s.Access(room))) > 0 {
				s.t.Fatalf("%+v", got)
			}
		}},
		{"R4", "managers change everything but the category, and disable; only administrators remove", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Desk"}, give(alice, manager), give(bob, member))
			s.refused(as("bob"), s.change(admin, room, func(i *event.RoomInfo) { i.Name = "Mine" }), CodeForbidden, "R4", bob)
			s.must(as("alice"), s.change(admin, room, func(i *event.RoomInfo) {
				i.Name, i.Description, i.Type, i.Privacy, i.Invitations, i.Disabled = "Ours", "x", event.RoomAuditorium, event.PrivacySecret, event.InvitationsFalse, true
			}, give(carol, member|presenter)))
			s.must(as("alice"), s.change(admin, room, func(i *event.RoomInfo) { i.Disabled = false }))
			s.refused(as("alice"), &RemoveRoom{ID: room}, CodeForbidden, "R4", alice)
			s.must(admin, &RemoveRoom{ID: room})
		}},
		{"R5", "a manager who is no member does not join; a presenter is a member", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Desk", Type: event.RoomAuditorium}, give(alice, manager))
			s.refused(as("alice"), join(room), CodeForbidden, "R5", alice)
			s.refused(as("alice"), find(room), CodeForbidden, "R5", alice)
			s.refused(admin, s.change(admin, room, nil, give(bob, presenter)), CodeForbidden, "R5", bob)
			s.must(admin, s.change(admin, room, nil, give(bob, presenter|member), give(alice, manager|member)))
			s.must(as("alice"), join(room))
		}},
		{"R6", "in an auditorium everybody reads and presenters post, managers do not; elsewhere there are no presenters", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Hall", Type: event.RoomAuditorium}, give(alice, member|presenter), give(bob, member|manager))
			s.must(as("alice"), join(room))
			s.must(as("bob"), join(room))
			s.must(as("alice"), &Post{Room: room, Text: "x"})
			s.refused(as("bob"), &Post{Room: room, Text: "x"}, CodeForbidden, "R6", bob)
			s.must(as("bob"), &ReadHistory{Room: room})
			plain := s.make(event.RoomInfo{Name: "Desk"})
			s.refused(admin, s.change(admin, plain, nil, give(bob, member|presenter)), CodeInvalid, "R6", bob)
		}},
		{"R7", "disabling parts everybody at once; nobody joins, posts, reads or finds it; content and roles stay", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Desk"}, give(alice, member|manager), give(bob, member))
			s.must(as("alice"), join(room))
			s.must(as("bob"), join(room))
			s.must(as("alice"), &Post{Room: room, Text: "x"})
			d := s.must(as("alice"), s.change(admin, room, func(i *event.RoomInfo) { i.Disabled = true }))
			if len(d.Events) != 3 || s.in(room, "alice") || s.in(room, "bob") {
				s.t.Fatalf("%d events", len(d.Events))
			}
			s.refused(as("bob"), join(room), CodeDisabled, "R7", "")
			s.refused(as("bob"), &ReadHistory{Room: room}, CodeDisabled, "R7", "")
			if s.s.Rights(room, bob).See {
				s.t.Fatal("a member finds a disabled room")
			}
			s.must(as("alice"), s.change(admin, room, func(i *event.RoomInfo) { i.Disabled = false }))
			s.must(as("bob"), join(room))
			if d := s.must(as("bob"), &ReadHistory{Room: room}); d.Result.Last != 1 {
				s.t.Fatalf("content is gone: %+v", d.Result)
			}
		}},
		{"R8", "whoever loses his membership leaves at once", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Desk"}, give(alice, member), give(bob, member))
			s.must(as("alice"), join(room))
			s.must(as("bob"), join(room))
			s.must(admin, s.change(admin, room, nil, give(bob, 0)))
			if s.in(room, "bob") || !s.in(room, "alice") {
				s.t.Fatal("the wrong ones are in the room")
			}
		}},
		{"R9", "users never remove messages, administrators do", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Desk"}, give(alice, member|manager))
			s.must(as("alice"), join(room))
			s.must(as("alice"), &Post{Room: room, Text: "x"})
			one := []event.MessageRef{{MessageID: 1, Offset: s.s.Offset()}}
			s.refused(as("alice"), &RemoveMessages{Room: room, Messages: one}, CodeForbidden, "R9", alice)
			s.refused(as("alice"), &ClearRoom{Room: room, Until: 1}, CodeForbidden, "R9", alice)
			s.must(admin, &RemoveMessages{Room: room, Messages: one, Replace: true})
		}},
		{"R10", "a move drops what the new category does not allow; it takes a creator there who manages the room, or an administrator", func(s *scene) {
			to := s.category("Other", []event.Principal{alice, carol}, func(i *event.CategoryInfo) { i.Creators = []event.Principal{carol} })
			room := s.make(event.RoomInfo{Name: "Desk"}, give(alice, member|manager), give(bob, member|manager), give(carol, member))
			s.must(as("alice"), join(room))
			s.must(as("bob"), join(room))
			move := s.change(admin, room, func(i *event.RoomInfo) { i.Category = to })
			s.refused(as("alice"), move, CodeForbidden, "R10", alice) // manages, but is no creator there
			s.refused(as("carol"), move, CodeForbidden, "R4", carol)  // creator, but does not manage
			s.must(admin, s.change(admin, room, nil, give(carol, member|manager)))
			move = s.change(admin, room, func(i *event.RoomInfo) { i.Category = to })
			d := s.must(as("carol"), move)
			v, ok := d.Events[0].Event.(*event.RoomChanged)
			if !ok || !slices.Equal(v.Access, []event.Access{give(bob, 0)}) || s.in(room, "bob") || !s.in(room, "alice") {
				s.t.Fatalf("%+v, bob is in the room: %v", d.Events[0].Event, s.in(room, "bob"))
			}
		}},
		{"R11", "invitations are inherited or off: what the category turned off no room turns on", func(s *scene) {
			s.refused(admin, &CreateRoom{Info: event.RoomInfo{Name: "Loud", Category: s.cat, Invitations: "true"}}, CodeInvalid, "R11", "")
			loud := s.category("Loud", []event.Principal{Everyone}, func(i *event.CategoryInfo) { i.Invitations = true })
			for i, c := range []struct {
				category event.CategoryID
				room     event.Invitations
				want     uint64
			}{{s.cat, event.InvitationsInherit, 0}, {loud, event.InvitationsFalse, 0}, {loud, event.InvitationsInherit, 1}} {
				s.make(event.RoomInfo{Name: fmt.Sprint("Room ", i), Category: c.category, Invitations: c.room}, give(bob, member))
				if _, newest, _ := s.s.Invitations(bob, 0); newest != c.want {
					s.t.Fatalf("room %d: newest invitation %d, want %d", i, newest, c.want)
				}
			}
		}},
		{"R12", "names are unique, and no room is called as a category is", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Desk"})
			s.refused(admin, &CreateRoom{Info: event.RoomInfo{Name: "DESK", Category: s.cat}}, CodeConflict, "R12", "")
			s.refused(admin, &CreateRoom{Info: event.RoomInfo{Name: "general", Category: s.cat}}, CodeConflict, "R12", "")
			s.refused(admin, &CreateCategory{Info: event.CategoryInfo{Name: "desk"}}, CodeConflict, "R12", "")
			s.must(admin, s.change(admin, room, func(i *event.RoomInfo) { i.Name = "DESK" })) // its own
		}},
		{"R13", "a change of what was changed meanwhile is a collision", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Desk"}, give(alice, manager))
			c := s.change(admin, room, nil)
			r, _ := s.s.Room(room)
			c.Revision = r.Revision
			s.must(as("alice"), c)
			s.refused(as("alice"), c, CodeConflict, "R13", "")
			c.Revision = 0 // says that it does not care
			s.must(as("alice"), c)
		}},
		{"R14", "without history nothing is kept for reading: posts are marked, reads are empty and searches find nothing", func(s *scene) {
			g := s.category("Forgetful", []event.Principal{Everyone}, func(i *event.CategoryInfo) { i.ChatHistory = false })
			room := s.make(event.RoomInfo{Name: "Desk", Category: g}, give(alice, member))
			s.must(as("alice"), join(room))
			d := s.must(as("alice"), &Post{Room: room, Text: "x"})
			if v, ok := d.Events[0].Event.(*event.Posted); !ok || !v.Unlogged {
				s.t.Fatalf("%+v", d.Events[0].Event)
			}
			if d := s.must(as("alice"), &ReadHistory{Room: room}); d.Result.First != 0 || d.Result.Last != 0 {
				s.t.Fatalf("%+v", d.Result)
			}
			other := s.make(event.RoomInfo{Name: "Diary"}, give(alice, member))
			for _, c := range []struct {
				asked, searched []event.RoomID
				found           uint64
				off             int
			}{
				{[]event.RoomID{room}, []event.RoomID{room}, 0, 1},
				{[]event.RoomID{room, other}, []event.RoomID{other}, 2, 1},
				{[]event.RoomID{other}, []event.RoomID{other}, 2, 0},
			} {
				d := s.must(as("alice"), find(c.asked...))
				v, ok := d.Events[0].Event.(*event.MessageSearched)
				if !ok || !slices.Equal(v.Rooms, c.searched) || v.Found != c.found || len(d.Result.Refused) != c.off {
					s.t.Errorf("%v searched: %+v, refused %+v", c.asked, d.Events[0].Event, d.Result.Refused)
				}
				for _, f := range d.Result.Refused {
					if f.Room != room || f.Rule != "R14" {
						s.t.Errorf("%v searched: refused %+v", c.asked, f)
					}
				}
			}
		}},
		{"R15", "users need to be enabled", func(s *scene) {
			room := s.make(event.RoomInfo{Name: "Desk", Privacy: event.PrivacyOpen})
			s.refused(as("nobody"), join(room), CodeForbidden, "R15", user("nobody"))
			s.must(as("alice"), join(room))
			s.must(admin, &SetPolicy{Scope: policy.Global})
			if s.in(room, "alice") {
				s.t.Fatal("alice is still in the room")
			}
			s.refused(as("alice"), join(room), CodeForbidden, "R15", alice)
		}},
	} {
		t.Run(rule.id, func(t *testing.T) {
			p, g := demoPool(t, "alice", "bob", "carol")
			rule.try(&scene{p, t, g})
			p.checkRows()
			if p.loaded().Hash() != p.s.Hash() {
				t.Error("a loaded state differs")
			}
		})
	}
}

// A change of roles with several bad rows changes nothing and lists all of them.
func TestEveryBadRowIsListed(t *testing.T) {
	p, g := demoPool(t, "alice", "bob", "carol")
	s := &scene{p, t, g}
	wall := s.category("Walled", []event.Principal{Everyone}, func(i *event.CategoryInfo) { i.Denied = []event.Principal{user("bob")} })
	room := s.make(event.RoomInfo{Name: "Desk", Category: wall})
	_, _, err := p.do(admin, s.change(admin, room, nil, give(user("alice"), member), give(user("bob"), member), give(user("nobody"), manager),
		give(user("carol"), presenter)))
	f := AsRefusal(err)
	var lines []uint32
	for _, r := range f.Rows {
		lines = append(lines, r.Line)
	}
	if !slices.Equal(lines, []uint32{2, 3, 4}) || f.Rule != "R1" || f.Principal != user("bob") || s.s.Role(room, user("alice")) != 0 {
		t.Fatalf("%+v", f)
	}
}

// What does not fit into one entry of the log is refused, and says so.
func TestDecisionFitsAnEntry(t *testing.T) {
	p, g := demoPool(t)
	s := NewState()
	_ = g
	fold := func(m event.Meta, e event.Event) {
		if err := s.Fold(event.Envelope{Offset: s.Offset() + 1, At: 1, Meta: m, Event: e}, nil); err != nil {
			t.Fatal(err)
		}
	}
	const room = event.RoomID("00000000-0000-4000-8000-000000000001")
	fold(event.Meta{}, &event.CategoryCreated{Category: "c", Info: event.CategoryInfo{Name: "c", Allowed: []event.Principal{Everyone}}})
	fold(event.Meta{Room: room}, &event.RoomCreated{Info: event.RoomInfo{Name: "r", Category: "c", Type: event.RoomNormal,
		Privacy: event.PrivacyOpen, Invitations: event.InvitationsInherit}})
	fold(event.Meta{}, &event.UserCreated{User: user("alice"), Info: event.UserInfo{Enabled: true}})
	for i := range event.MaxBatchEvents {
		fold(event.Meta{By: user("alice"), Room: room, Node: "n1"}, &event.Joined{Endpoint: event.Endpoint(fmt.Sprint("e", i))})
	}
	r, _ := s.Room(room)
	r.Info.Disabled = true
	d, err := Decide(s, Request{Origin: admin, Command: &ChangeRoom{ID: room, Info: r.Info}}, p.env())
	wantCode(t, err, CodeTooLarge)
	if len(d.Events) > 0 {
		t.Fatalf("refused with %d events", len(d.Events))
	}
}
