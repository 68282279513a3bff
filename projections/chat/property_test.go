package chat

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"parley/log/event"
	"parley/projections/chat/memory"

	"pgregory.net/rapid"
)

// machine draws commands from a small world, so that they meet.
type machine struct {
	*pool
	t     *rapid.T
	users []event.Principal
	names []string
}

func pick[T any](t *rapid.T, label string, from []T) T { return from[uniform(t, len(from), label)] }

// uniform draws from 0 to n-1 without rapid's liking for small numbers.
func uniform(t *rapid.T, n int, label string) int {
	return int(rapid.Uint32().Draw(t, label)*2654435761>>8) % n
}

func (m *machine) someSession() (Session, bool) {
	all := slices.Collect(m.s.Sessions())
	if len(all) == 0 || uniform(m.t, 5, "elsewhere") == 0 {
		return Session{}, false
	}
	return all[uniform(m.t, len(all), "session")], true
}

func (m *machine) someRoom() event.RoomID {
	ids := []event.RoomID{"00000000-0000-4000-8000-0000000000ff"}
	for r := range m.s.Rooms() {
		ids = append(ids, r.ID)
	}
	return pick(m.t, "room", ids)
}

func (m *machine) someCategory() event.CategoryID {
	ids := []event.CategoryID{"00000000-0000-4000-8000-0000000000ff"}
	for g := range m.s.Categories() {
		ids = append(ids, g.ID)
	}
	return pick(m.t, "category", ids)
}

func (m *machine) principals(label string) []event.Principal {
	all := slices.Concat([]event.Principal{Everyone, "domain:" + testDomain, "domain:example.test"}, m.users, m.shared())
	return rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 4, rapid.ID[event.Principal]).Draw(m.t, label)
}

func (m *machine) access() (list []event.Access) {
	for _, p := range m.principals("access") {
		list = append(list, event.Access{Principal: p, Role: event.Role(rapid.IntRange(0, 7).Draw(m.t, "role"))})
	}
	return list
}

func (m *machine) origin() Origin {
	node := pick(m.t, "node", []event.NodeID{"n1", "n2", "n3"})
	n, _ := m.s.Node(node)
	o := Origin{By: pick(m.t, "by", m.users), Node: node, Incarnation: n.Incarnation,
		Endpoint: pick(m.t, "endpoint", []event.Endpoint{"", "e1", "e2"})}
	if rapid.IntRange(0, 2).Draw(m.t, "id") > 0 {
		o.ID = commandID(fmt.Sprint(uniform(m.t, 60, "command id")))
	}
	return o
}

func (m *machine) trusted() Origin {
	o := m.origin()
	o.By, o.Endpoint, o.Trusted = "admin:root", "", true
	return o
}

func (m *machine) roomInfo() event.RoomInfo {
	return event.RoomInfo{Name: pick(m.t, "name", m.names), Category: m.someCategory(),
		Type:     pick(m.t, "type", []event.RoomType{"", event.RoomNormal, event.RoomAuditorium}),
		Privacy:  pick(m.t, "privacy", []event.Privacy{"", event.PrivacyOpen, event.PrivacyClosed, event.PrivacySecret}),
		Disabled: rapid.IntRange(0, 5).Draw(m.t, "disabled") == 0}
}

func (m *machine) categoryInfo() event.CategoryInfo {
	i := event.CategoryInfo{Name: pick(m.t, "name", m.names), ChatHistory: rapid.Bool().Draw(m.t, "history"), Invitations: rapid.Bool().Draw(m.t, "invites"),
		Allowed: m.principals("allowed"), Creators: m.principals("creators")}
	if rapid.Bool().Draw(m.t, "denies") {
		i.Denied = m.principals("denied")
	}
	return i
}

// request draws one request; none of them is a join by trust, so that being in a room always takes the right to.
func (m *machine) request() Request {
	admins := func(c Command) Request { return Request{Origin: m.trusted(), Command: c} }
	users := func(c Command) Request { return Request{Origin: m.origin(), Command: c} }
	rooms := func() []event.RoomID {
		return []event.RoomID{m.someRoom(), m.someRoom(), m.someRoom()}[:rapid.IntRange(1, 3).Draw(m.t, "rooms")]
	}
	if uniform(m.t, 5, "directory") == 0 {
		return m.directoryRequest()
	}
	if uniform(m.t, 5, "pool") == 0 {
		return m.poolRequest()
	}
	u := pick(m.t, "user", m.users)
	switch k := uniform(m.t, 34, "command"); k {
	default: // joining is what the rest is about
		return users(&Join{Rooms: rooms(), Batch: k%2 == 0})
	case 0, 1, 2:
		r := users(&Post{Room: m.someRoom(), Text: "hello"})
		if x, ok := m.someSession(); ok {
			r.By, r.Endpoint, r.Node = x.User, x.Endpoint, x.Node
			r.Command = &Post{Room: x.Room, Text: "hello"}
		}
		return r
	case 3, 4:
		p := &Part{Rooms: rooms(), Reason: pick(m.t, "reason", []event.PartReason{event.PartAsked, event.PartBye})}
		r := users(p)
		if x, ok := m.someSession(); ok {
			r.By, r.Endpoint, r.Node = x.User, x.Endpoint, x.Node
			p.Rooms = append(p.Rooms, x.Room)
		}
		return r
	case 5:
		return users(&ReadHistory{Room: m.someRoom(), Last: rapid.Uint64Range(0, 5).Draw(m.t, "last")})
	case 6:
		return users(&PublishSetting{Setting: event.Setting{Category: "roomSetting", Instance: rapid.Uint64Range(0, 2).Draw(m.t, "instance"),
			Version: rapid.Uint64Range(0, 2).Draw(m.t, "version"), Content: "x"}})
	case 7:
		return users(&RemoveSetting{Category: "roomSetting", Instance: rapid.Uint64Range(0, 2).Draw(m.t, "instance")})
	case 8, 9:
		return admins(&StartNode{Version: "1"})
	case 10:
		n, _ := m.s.Node(pick(m.t, "lost", []event.NodeID{"n1", "n2", "n3"}))
		return admins(&LoseNode{Node: n.ID, Incarnation: n.Incarnation})
	case 11:
		return admins(&CreateCategory{Info: m.categoryInfo()})
	case 12:
		return admins(&ChangeCategory{ID: m.someCategory(), Info: m.categoryInfo()})
	case 13:
		return admins(&RemoveCategory{ID: m.someCategory()})
	case 14:
		return admins(&CreateRoom{Info: m.roomInfo(), Access: m.access()})
	case 15:
		return users(&CreateRoom{Info: m.roomInfo(), Access: m.access()})
	case 16:
		return admins(&ChangeRoom{ID: m.someRoom(), Info: m.roomInfo(), Access: m.access()})
	case 17:
		info := m.roomInfo()
		info.Category = ""
		return users(&ChangeRoom{ID: m.someRoom(), Info: info, Access: m.access()})
	case 18:
		return admins(&RemoveRoom{ID: m.someRoom()})
	case 19:
		return admins(&CreateUser{User: u, Info: event.UserInfo{Enabled: true}})
	case 20:
		return admins(&ChangeUser{User: u, Info: event.UserInfo{Enabled: rapid.IntRange(0, 2).Draw(m.t, "enabled") > 0}})
	case 21:
		return admins(&RemoveUser{User: u})
	case 22:
		switch rapid.IntRange(0, 5).Draw(m.t, "feed") {
		case 0:
			return admins(&SetFeed{Feed: "g", Info: event.FeedInfo{Adapter: "a", Every: int64(rapid.IntRange(1, 3).Draw(m.t, "every")) * 1e9}})
		case 1:
			return admins(&RemoveFeed{Feed: "g"})
		case 2:
			return admins(&PauseFeed{Feed: "f"})
		case 3:
			return admins(&ResumeFeed{Feed: "f"})
		}
		return admins(&ClaimFeed{Feed: "f"})
	case 23:
		f, _ := m.s.Feed("f")
		return admins(&CutFeed{Feed: "f", Epoch: f.Epoch, First: f.Receipt + 1, Last: m.s.Offset()})
	case 24:
		f, _ := m.s.Feed("f")
		return admins(&ReceiptFeed{Receipt: event.FeedReceipt{Feed: "f", Epoch: f.Epoch, First: f.CutFirst, Last: f.CutLast,
			Name: "f-1", SHA256: bytes.Repeat([]byte{7}, 32)}})
	}
}

// TestRandomHistories drives a pool with random commands and checks after each one what must always hold.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{pool: newPool(rt), t: rt, names: []string{"Lobby", "lobby", "Team", "Hall", "Board", "Desk", "Walled"}}
		for _, n := range []string{"alice", "bob", "carol", "dave"} {
			m.users = append(m.users, user(n))
		}
		m.users = append(m.users, "sip:zoe@example.test")
		m.must(admin, &FormPool{Domain: testDomain, PoolURI: "sip:parley@" + testDomain})
		for _, n := range []event.NodeID{"n1", "n2"} {
			m.must(Origin{By: event.NodePrincipal(n), Node: n, Trusted: true}, &StartNode{})
		}
		for _, u := range m.users {
			m.must(admin, &CreateUser{User: u, Info: event.UserInfo{Enabled: true}})
		}
		g := m.must(admin, &CreateCategory{Info: event.CategoryInfo{Name: "General", Allowed: []event.Principal{Everyone}, Creators: m.users[:2], ChatHistory: true, Invitations: true}}).Result.Category
		m.room(g, "Lobby", event.PrivacyOpen)
		m.room(g, "Team", event.PrivacyClosed, event.Access{Principal: m.users[0], Role: 3}, event.Access{Principal: m.users[1], Role: 1})

		first := map[event.CommandID]Decision{}
		type photo struct {
			s       *State
			hash    [32]byte
			derived string
		}
		var album []photo
		shadow := m.s.Clone() // folds the same events in a life of its own
		for range rapid.IntRange(20, 100).Draw(rt, "steps") {
			m.now += event.Time(rapid.Int64Range(0, int64(memory.For)/10).Draw(rt, "pause"))
			r := m.request()
			before := m.s.Hash()
			d1, err1 := Decide(m.s, r, Env{At: m.now, NewID: m.fixedID()})
			d2, err2 := Decide(shadow, r, Env{At: m.now, NewID: m.fixedID()})
			if !reflect.DeepEqual(d1, d2) || fmt.Sprint(err1) != fmt.Sprint(err2) {
				rt.Fatalf("two states of one log decide differently: %+v %v, %+v %v", d1, err1, d2, err2)
			}
			if m.s.Hash() != before {
				rt.Fatalf("deciding %T changed the state", r.Command)
			}
			if err1 != nil {
				f := AsRefusal(err1)
				if f.Code != CodeUnavailable && f.Code != CodeUnsupported && (f.Rule == "" || f.Principal == "") {
					rt.Fatalf("%T is refused without a rule or a principal: %+v", r.Command, f)
				}
			}
			envelopes, d, err := m.do(r.Origin, r.Command)
			for _, e := range envelopes {
				if err := shadow.Fold(e, nil); err != nil {
					rt.Fatalf("the shadow: %v", err)
				}
			}
			if err == nil {
				m.checkDuplicate(first, r, d)
			}
			m.checkRows()
			m.checkInvariants()
			m.checkKicks(envelopes)
			switch uniform(rt, 10, "then") {
			case 0:
				album = append(album, photo{m.s.Clone(), m.s.Hash(), derived(m.s)})
			case 1: // go on from what was saved
				loaded := m.loaded()
				if loaded.Hash() != m.s.Hash() {
					rt.Fatalf("a loaded state differs")
				}
				m.s = loaded
			}
		}
		if shadow.Hash() != m.s.Hash() {
			rt.Fatalf("two states of one log differ")
		}
		for _, p := range album {
			if p.s.Hash() != p.hash || derived(p.s) != p.derived {
				rt.Fatalf("a clone at offset %d changed", p.s.Offset())
			}
		}
	})
}

func (m *machine) fixedID() func() string {
	n := m.ids
	return func() string { n++; return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }
}

// checkDuplicate compares the answer to a retry with the first one.
func (m *machine) checkDuplicate(first map[event.CommandID]Decision, r Request, d Decision) {
	m.t.Helper()
	if r.ID.IsZero() {
		return
	}
	if !d.Result.Duplicate {
		if len(d.Events) > 0 {
			d.Offset = m.s.Offset()
			first[r.ID] = d
		}
		return
	}
	was, ok := first[r.ID]
	if !ok || len(d.Events) > 0 || d.Offset != was.Offset {
		m.t.Fatalf("%T is called a duplicate of %+v: %+v", r.Command, was, d)
	}
}

// checkInvariants checks what every state fulfils, with code that shares nothing with the package's.
func (m *machine) checkInvariants() {
	m.t.Helper()
	type presence struct {
		room event.RoomID
		user event.Principal
	}
	users := map[presence]bool{}
	var all, byUser, byNode []Session
	for x := range m.s.Sessions() {
		all = append(all, x)
		users[presence{x.Room, x.User}] = true
		if !naiveRights(m.s, x.Room, x.User).Join {
			m.t.Fatalf("%s is in room %s and may not be", x.User, x.Room)
		}
		if n, _ := m.s.Node(x.Node); n.ID != "" && (!n.Alive || n.Incarnation != x.Incarnation) {
			m.t.Fatalf("a session on node %s outlived incarnation %d", x.Node, x.Incarnation)
		}
	}
	count := map[event.RoomID]int{}
	for p := range users {
		count[p.room]++
	}
	names := map[string]bool{}
	for r := range m.s.Rooms() {
		if r.Participants != count[r.ID] || len(m.s.Roster(r.ID)) != count[r.ID] {
			m.t.Fatalf("room %s has %d participants, counted %d", r.ID, r.Participants, count[r.ID])
		}
		if names[foldName(r.Info.Name)] {
			m.t.Fatalf("two rooms are named %s", r.Info.Name)
		}
		names[foldName(r.Info.Name)] = true
		if found, ok := m.s.RoomByName(r.Info.Name); !ok || found.ID != r.ID {
			m.t.Fatalf("room %s is not found by its name", r.ID)
		}
		limit := int(m.s.Limits().ParticipantUpdateLimit)
		if r.Participants > limit && !r.Quiet || r.Quiet && r.Participants*10 < limit*8 || r.Quiet && r.Participants == 0 {
			m.t.Fatalf("room %s: quiet %v with %d participants of %d", r.ID, r.Quiet, r.Participants, limit)
		}
	}
	for _, u := range m.users {
		byUser = slices.AppendSeq(byUser, m.s.SessionsOf(u))
		var mine []event.RoomID
		for r := range m.s.RoomsOf(u, event.RoleMember) {
			mine = append(mine, r.ID)
		}
		var want []event.RoomID
		for r := range m.s.Rooms() {
			if n := naiveRights(m.s, r.ID, u); n.Member && n.See {
				want = append(want, r.ID)
			}
		}
		if !slices.Equal(mine, want) {
			m.t.Fatalf("rooms of %s: %v, want %v", u, mine, want)
		}
	}
	for _, n := range []event.NodeID{"n1", "n2", "n3"} {
		byNode = slices.AppendSeq(byNode, m.s.SessionsOn(n))
	}
	m.checkInvitations()
	set := func(list []Session) map[Session]bool {
		s := map[Session]bool{}
		for _, x := range list {
			s[x] = true
		}
		return s
	}
	if !maps.Equal(set(all), set(byUser)) || !maps.Equal(set(all), set(byNode)) {
		m.t.Fatalf("the indexes differ: %v, by user %v, by node %v", all, byUser, byNode)
	}
}
