package chat

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"parley/log/event"
	"parley/projections/chat/directory"
	"parley/projections/chat/form"
	"parley/projections/chat/memory"
)

// A room is quiet above 75 users and speaks again below 60 (80 %): endpoints do not count, users do.
func TestQuietRoom(t *testing.T) {
	p, g := demoPool(t)
	room := p.room(g, "Hall", event.PrivacyOpen)
	state := func() string {
		r, _ := p.s.Room(room)
		return fmt.Sprintf("%d %v", r.Participants, r.Quiet)
	}
	check := func(want string) {
		t.Helper()
		if got := state(); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		if p.loaded().Hash() != p.s.Hash() {
			t.Fatal("a loaded state differs")
		}
	}
	name := func(i int) string { return fmt.Sprintf("u%03d", i) }
	for i := range 76 {
		p.must(admin, &CreateUser{User: user(name(i)), Info: event.UserInfo{Enabled: true}})
		if i < 75 {
			p.must(as(name(i)), &Join{Rooms: []event.RoomID{room}})
		}
	}
	check("75 false")
	second := as(name(0))
	second.Endpoint = "e2"
	p.must(second, &Join{Rooms: []event.RoomID{room}})
	check("75 false")
	p.must(as(name(75)), &Join{Rooms: []event.RoomID{room}})
	check("76 true")
	for i := 75; i >= 60; i-- {
		p.must(as(name(i)), &Part{Rooms: []event.RoomID{room}})
	}
	check("60 true")
	p.must(as(name(0)), &Part{Rooms: []event.RoomID{room}}) // he is still there on e2
	check("60 true")
	p.must(second, &Part{Rooms: []event.RoomID{room}})
	check("59 false")
	p.must(as(name(0)), &Join{Rooms: []event.RoomID{room}})
	check("60 false")

	for i := 60; i < 76; i++ {
		p.must(as(name(i)), &Join{Rooms: []event.RoomID{room}})
	}
	check("76 true")
	p.must(admin, &LoseNode{Node: "n1", Incarnation: 1}) // all at once
	check("0 false")
}

// Every event that cannot have happened is refused, and leaves the state as it was.
func TestFoldRefusesContradictions(t *testing.T) {
	p, g := demoPool(t, "alice", "bob")
	room := p.room(g, "Lobby", event.PrivacyOpen)
	empty := p.must(admin, &CreateCategory{Info: event.CategoryInfo{Name: "Empty"}}).Result.Category
	p.must(as("alice"), &Join{Rooms: []event.RoomID{room}})
	p.must(as("alice"), &Post{Room: room, Text: "one"})
	p.must(admin, &ClaimFeed{Feed: "f"})
	p.must(admin, &CutFeed{Feed: "f", Epoch: 1, First: 1, Last: 2})
	p.must(as("alice"), &PublishSetting{Setting: event.Setting{Category: "c"}})

	alice := event.Meta{By: user("alice"), Room: room, Node: "n1"}
	other := event.Meta{By: user("alice"), Room: "00000000-0000-4000-8000-0000000000ff", Node: "n1"}
	next, now := p.s.Offset()+1, p.s.At()
	env := func(m event.Meta, e event.Event) event.Envelope {
		return event.Envelope{Offset: next, At: now, Meta: m, Event: e}
	}
	good := env(alice, &event.Posted{MessageID: 2})
	late, early, old := good, good, good
	late.Offset++
	early.Offset--
	old.At--
	info := event.RoomInfo{Name: "x", Category: g}
	for i, e := range []event.Envelope{
		late, early, old, env(alice, nil), env(alice, &event.Unknown{Type: 999}),
		env(alice, &event.PoolFormed{Domain: "x"}),
		env(alice, &event.NodeStarted{Incarnation: 1}), env(alice, &event.NodeStarted{}), env(event.Meta{}, &event.NodeStarted{Incarnation: 9}),
		env(alice, &event.NodeLost{Incarnation: 2}), env(event.Meta{Node: "n9"}, &event.NodeLost{Incarnation: 1}),
		env(alice, &event.Joined{Endpoint: "e1"}), env(other, &event.Joined{Endpoint: "e1"}),
		env(alice, &event.Parted{Endpoint: "e9"}), env(other, &event.Parted{Endpoint: "e1"}),
		env(alice, &event.Posted{MessageID: 1}), env(alice, &event.Posted{MessageID: 3}), env(other, &event.Posted{MessageID: 1}),
		env(other, &event.HistoryRead{}),
		env(alice, &event.CategoryCreated{Category: g}), env(alice, &event.CategoryChanged{Category: "x"}),
		env(alice, &event.CategoryRemoved{Category: "x"}), env(alice, &event.CategoryRemoved{Category: g}),
		env(alice, &event.RoomCreated{Info: info}), env(other, &event.RoomCreated{Info: event.RoomInfo{Name: "x", Category: "y"}}),
		env(other, &event.RoomChanged{Info: info}), env(alice, &event.RoomChanged{Info: event.RoomInfo{Name: "x", Category: "y"}}),
		env(other, &event.RoomRemoved{}), env(alice, &event.RoomRemoved{}),
		env(alice, &event.UserCreated{User: user("bob")}), env(alice, &event.UserChanged{User: user("x")}),
		env(alice, &event.UserRemoved{User: user("x")}), env(alice, &event.UserRemoved{User: user("alice")}),
		env(alice, &event.SettingPublished{Setting: event.Setting{Category: "c", Version: 1}}),
		env(alice, &event.SettingPublished{Setting: event.Setting{Category: "d", Version: 2}}),
		env(alice, &event.SettingRemoved{Category: "d"}),
		env(alice, &event.FeedClaimed{Feed: "f", Epoch: 1}), env(alice, &event.FeedClaimed{Feed: "f", Epoch: 3}),
		env(alice, &event.FeedCut{Feed: "f", Epoch: 1, First: 1, Last: 2}), env(alice, &event.FeedCut{Feed: "x", First: 1, Last: 2}),
		env(alice, &event.FeedReceipt{Feed: "f", Epoch: 1, First: 1, Last: 3}), env(alice, &event.FeedReceipt{Feed: "f", Epoch: 2, First: 1, Last: 2}),
		env(alice, &event.FeedReceipt{Feed: "x"}),
	} {
		before := p.s.Hash()
		var saved rowMap
		saved.rows = map[string][]byte{}
		err := p.s.Fold(e, &saved)
		if !errors.Is(err, ErrContradiction) {
			t.Errorf("case %d: %T: error %v, want a contradiction", i, e.Event, err)
		}
		if p.s.Hash() != before || len(saved.rows) > 0 {
			t.Errorf("case %d: %T was refused and changed the state", i, e.Event)
		}
	}
	if err := p.s.Fold(good, nil); err != nil {
		t.Fatalf("the event that fits: %v", err)
	}
	if err := p.s.Fold(event.Envelope{Offset: next + 1, At: now, Event: &event.CategoryRemoved{Category: empty}}, nil); err != nil {
		t.Fatalf("the empty category: %v", err)
	}
}

// A secret survives a change without one, and is gone when the change was lawfully erased: the password before it
// must not come back.
func TestSecrets(t *testing.T) {
	p, _ := demoPool(t)
	u := user("alice")
	secret := func(b byte) event.Secret { return event.Secret{Realm: testDomain, HA1SHA256: []byte{b}} }
	p.must(admin, &CreateUser{User: u, Secret: secret(1)})
	p.must(admin, &ChangeUser{User: u, Info: event.UserInfo{Enabled: true}})
	if got, _ := p.s.User(u); !reflect.DeepEqual(got.Secret, secret(1)) {
		t.Fatalf("after a change of fields the secret is %v", got.Secret)
	}
	p.must(admin, &ChangeUser{User: u, Secret: secret(2)})
	if got, _ := p.loaded().User(u); !reflect.DeepEqual(got.Secret, secret(2)) {
		t.Fatalf("after a change of password the secret is %v", got.Secret)
	}
	e := event.Envelope{Offset: p.s.Offset() + 1, At: p.s.At(), Erased: true, Event: &event.UserChanged{User: u}}
	if err := p.s.Fold(e, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.s.User(u); !directory.NoSecret(&got.Secret) {
		t.Fatalf("after an erased change the secret is %v", got.Secret)
	}
}

// Remembered commands are forgotten after 24 hours of log time, a few with each event, oldest first, and the same
// whether the state was folded or loaded.
func TestForgettingIsBounded(t *testing.T) {
	p, g := demoPool(t, "alice")
	room := p.room(g, "Lobby", event.PrivacyOpen)
	p.must(as("alice"), &Join{Rooms: []event.RoomID{room}})
	post := func(id string) Decision {
		o := as("alice")
		if id != "" {
			o.ID = commandID(id)
		}
		return p.must(o, &Post{Room: room, Text: "x"})
	}
	const n = 50
	for i := range n {
		post(fmt.Sprint(i))
	}
	p.now += memory.For - n // the newest is not a day old, the oldest is not more than one
	post("")
	if got := p.s.memory.Len(); got != n {
		t.Fatalf("%d commands remembered after exactly a day, want %d", got, n)
	}
	p.now += 2 * n
	left := n
	for left > 0 {
		post("")
		was := left
		left = p.s.memory.Len()
		if was-left > memory.PerEvent || was == left {
			t.Fatalf("one event forgot %d commands", was-left)
		}
		for i := range n { // the oldest went first
			_, _, _, known := p.s.memory.Recall(commandID(fmt.Sprint(i)))
			if known != (i >= n-left) {
				t.Fatalf("with %d left, command %d remembered: %v", left, i, known)
			}
		}
		if p.loaded().Hash() != p.s.Hash() {
			t.Fatal("a loaded state differs")
		}
		p.s = p.loaded()
	}
	p.checkRows()
	if d := post("0"); d.Result.Duplicate || len(d.Events) != 1 {
		t.Fatalf("a forgotten command: %+v", d)
	}
	if d := post("0"); !d.Result.Duplicate || d.Result.MessageID == 0 || d.Offset != p.s.Offset() {
		t.Fatalf("its retry: %+v, the state is at %d", d, p.s.Offset())
	}
}

// With the memory full the oldest command is forgotten, although its day is not over.
func TestMemoryIsBounded(t *testing.T) {
	p, g := demoPool(t, "alice")
	room := p.room(g, "A", event.PrivacyOpen)
	p.must(as("alice"), &Join{Rooms: []event.RoomID{room}})
	p.s.memory = memory.New(rowSeen, 10)
	post := func(id string) Decision {
		o := as("alice")
		o.ID = commandID(id)
		return p.must(o, &Post{Room: room, Text: "x"})
	}
	for i := range 30 {
		post(fmt.Sprint(i))
		if n, _ := p.s.Remembered(); n != min(i+1, 10) {
			t.Fatalf("%d commands remembered after %d, want at most 10", n, i+1)
		}
	}
	if d := post("29"); !d.Result.Duplicate {
		t.Error("a new command was forgotten")
	}
	if d := post("0"); d.Result.Duplicate {
		t.Error("an old command was not forgotten")
	}
	p.checkRows()
}

// Commands with several events are remembered once, with the offset of the last.
func TestRememberedOffsetIsTheLast(t *testing.T) {
	p, g := demoPool(t, "alice", "bob")
	a, b := p.room(g, "A", event.PrivacyOpen), p.room(g, "B", event.PrivacyOpen)
	o := as("alice")
	o.ID = commandID("join")
	if d := p.must(o, &Join{Rooms: []event.RoomID{a, b}, Batch: true}); len(d.Events) != 2 {
		t.Fatalf("joined with %d events", len(d.Events))
	}
	end := p.s.Offset()
	p.must(as("bob"), &Join{Rooms: []event.RoomID{a}})
	if d := p.must(o, &Join{Rooms: []event.RoomID{a, b}, Batch: true}); !d.Result.Duplicate || d.Offset != end || len(d.Result.Refused) > 0 {
		t.Fatalf("the retry gets %+v, want offset %d", d, end)
	}
	if p.s.memory.Len() != 1 {
		t.Fatalf("%d commands remembered", p.s.memory.Len())
	}
}

// A join that took effect again, on another node, is remembered from then on.
func TestRememberedJoinMovesOn(t *testing.T) {
	p, g := demoPool(t, "alice", "bob")
	p.must(Origin{By: "node:n2", Node: "n2", Trusted: true}, &StartNode{})
	room := p.room(g, "A", event.PrivacyOpen)
	p.must(as("bob"), &Join{Rooms: []event.RoomID{room}})
	o := as("alice")
	o.ID = commandID("join")
	p.must(o, &Join{Rooms: []event.RoomID{room}})
	p.now += memory.For * 3 / 4
	o.Node = "n2"
	if d := p.must(o, &Join{Rooms: []event.RoomID{room}}); len(d.Events) != 1 {
		t.Fatalf("on another node: %+v", d)
	}
	p.now += memory.For / 2
	for range 3 {
		p.must(as("bob"), &Post{Room: room, Text: "x"})
	}
	if d := p.must(o, &Join{Rooms: []event.RoomID{room}}); !d.Result.Duplicate {
		t.Fatalf("half a day later: %+v", d)
	}
}

// A session that reached the pool before its node's first start does not outlive that start.
func TestNodeThatNeverStarted(t *testing.T) {
	p, g := demoPool(t, "alice")
	room := p.room(g, "A", event.PrivacyOpen)
	o := as("alice")
	o.Node, o.Incarnation = "n9", 7
	p.must(o, &Join{Rooms: []event.RoomID{room}})
	p.must(Origin{By: "node:n9", Node: "n9", Trusted: true}, &StartNode{})
	for x := range p.s.SessionsOn("n9") {
		t.Fatalf("%+v outlived the start", x)
	}
}

// What a state does after Clone is not seen by the other, and the other way round.
func TestClonesAreIndependent(t *testing.T) {
	p, g := demoPool(t, "alice", "bob")
	for i := range 300 { // more than one node in the trees
		p.room(g, fmt.Sprintf("Room %d", i), event.PrivacyOpen)
	}
	rooms := slices.Collect(p.s.Rooms())
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		before := p.s.Hash()
		kept := p.s.Clone()
		other := p.s.Clone()
		for range 20 {
			r := rooms[rng.IntN(len(rooms))].ID
			e := event.Envelope{Offset: other.Offset() + 1, At: other.At(), Meta: event.Meta{By: user("bob"), Room: r, Node: "n2",
				Command: commandID(fmt.Sprint(rng.Uint64()))}, Event: &event.Posted{MessageID: other.lastMessage(r) + 1}}
			if err := other.Fold(e, nil); err != nil {
				t.Fatal(err)
			}
		}
		if p.s.Hash() != before || kept.Hash() != before {
			t.Fatal("folding a clone changed the state it came from")
		}
		changed := other.Hash()
		p.must(as("alice"), &Join{Rooms: []event.RoomID{rooms[rng.IntN(len(rooms))].ID}})
		p.must(admin, &ChangeUser{User: user("bob"), Info: event.UserInfo{Enabled: true, DisplayName: fmt.Sprint(rng.Uint64())}})
		if kept.Hash() != before || other.Hash() != changed {
			t.Fatal("folding the state changed its clones")
		}
	}
}

// Readers of a clone are not disturbed while the owner folds on. The race detector is the judge.
func TestReadersWhileFolding(t *testing.T) {
	p, g := demoPool(t, "alice", "bob")
	for i := range 200 {
		p.room(g, fmt.Sprintf("Room %d", i), event.PrivacyOpen, event.Access{Principal: Everyone, Role: event.RoleMember})
	}
	rooms := slices.Collect(p.s.Rooms())
	var readers sync.WaitGroup
	for i := range 100 {
		room := rooms[i*7%len(rooms)].ID
		o := as("alice")
		o.ID = commandID(fmt.Sprint(i))
		p.must(o, &Join{Rooms: []event.RoomID{room}})
		o.ID = commandID(fmt.Sprint("post ", i))
		p.must(o, &Post{Room: room, Text: "x"})
		snapshot := p.s.Clone()
		readers.Go(func() {
			want := snapshot.Offset()
			for r := range snapshot.Rooms() {
				if snapshot.Participates(r.ID, user("alice")) && !snapshot.Rights(r.ID, user("alice")).Post {
					t.Errorf("alice is in %s and may not post", r.ID)
				}
			}
			if len(snapshot.Roster(room)) != 1 || snapshot.Offset() != want {
				t.Errorf("the snapshot at %d changed", want)
			}
			snapshot.Hash()
			for range snapshot.RoomsOf(user("bob"), event.RoleMember) {
			}
			for range snapshot.SessionsOf(user("alice")) {
			}
			for range snapshot.SessionsOn("n1") {
			}
			if _, err := Decide(snapshot, Request{Origin: o, Command: &Join{Rooms: []event.RoomID{room}}}, Env{At: snapshot.At()}); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
}

// Rows that are not what Fold saved are an error of class corrupt, never a half-filled state taken for a whole one.
func TestLoadRefusesDamage(t *testing.T) {
	p, g := demoPool(t, "alice")
	p.room(g, "Lobby", event.PrivacyOpen)
	for name, damage := range map[string]func(rows map[string][]byte){
		"no head":       func(rows map[string][]byte) { delete(rows, string([]byte{rowHead})) },
		"unknown table": func(rows map[string][]byte) { rows["\xee"] = nil },
		"empty key":     func(rows map[string][]byte) { rows[""] = nil },
		"second head":   func(rows map[string][]byte) { rows[string([]byte{rowHead, 1})] = nil },
		"not a row":     func(rows map[string][]byte) { rows[string([]byte{rowUser, 'x'})] = []byte{0xff} },
		"another's row": func(rows map[string][]byte) {
			rows[string([]byte{rowUser})+"sip:bob@x"] = rows[string([]byte{rowUser})+string(user("alice"))]
		},
	} {
		rows := maps.Clone(p.saved.rows)
		damage(rows)
		m := rowMap{rows: rows}
		if err := NewState().Load(m.all); !errors.Is(err, event.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	if err := p.s.Load(p.saved.all); err == nil {
		t.Error("rows were loaded into a state that is not empty")
	}
	if s := NewState(); s.Load(func(func(k, v []byte) bool) {}) != nil || s.Offset() != 0 {
		t.Error("no rows are the state before the first event")
	}
}

// A refusal is one short line of UTF-8 whatever a client sent.
func TestRefusals(t *testing.T) {
	p, _ := demoPool(t, "alice")
	_, _, err := p.do(as("alice"), &Post{Room: event.RoomID("x\n\xff" + strings.Repeat("y", 10_000)), Text: "t"})
	wantCode(t, err, CodeNotFound)
	f := AsRefusal(err)
	if strings.ContainsAny(f.Text, "\n\r") || len(f.Text) > 2*512 || !utf8.ValidString(f.Text) || !utf8.ValidString(string(f.Room)) {
		t.Errorf("refusal %q for room %q", f.Text, f.Room)
	}

}

// What a decision lets through can be written, read and used as a key.
func TestHostileText(t *testing.T) {
	p, g := demoPool(t, "alice")
	room := p.room(g, "Lobby", event.PrivacyOpen)
	p.must(as("alice"), &Join{Rooms: []event.RoomID{room}})
	for _, bad := range []string{"\x00", "a\nb", "\xff", "\x7f", strings.Repeat("x", 2000)} {
		o := as("alice")
		o.Endpoint = event.Endpoint(bad)
		by := as("alice")
		by.By = event.Principal("sip:" + bad + "@x")
		for _, r := range []Request{
			{Origin: o, Command: &Join{Rooms: []event.RoomID{room}}},
			{Origin: by, Command: &Join{Rooms: []event.RoomID{room}}},
			{Origin: as("alice"), Command: &Join{Rooms: []event.RoomID{event.RoomID(bad)}, Batch: true}},
			{Origin: as("alice"), Command: &Part{Rooms: []event.RoomID{room}, Reason: event.PartReason(bad)}},
			{Origin: as("alice"), Command: &PublishSetting{Setting: event.Setting{Category: bad}}},
			{Origin: admin, Command: &CreateRoom{Info: event.RoomInfo{Name: "a" + bad, Category: g}}},
			{Origin: admin, Command: &CreateRoom{Info: event.RoomInfo{Name: "ok", Description: bad, Category: g}}},
			{Origin: admin, Command: &CreateRoom{Info: event.RoomInfo{Name: "ok", AddIn: bad, Category: g}}},
			{Origin: admin, Command: &CreateRoom{ID: event.RoomID(bad), Info: event.RoomInfo{Name: "ok", Category: g}}},
			{Origin: admin, Command: &CreateCategory{Info: event.CategoryInfo{Name: "b" + bad}}},
			{Origin: admin, Command: &CreateCategory{Info: event.CategoryInfo{Name: "b", Allowed: []event.Principal{event.Principal("sip:" + bad + "@x")}}}},
			{Origin: admin, Command: &CreateUser{User: event.Principal("sip:" + bad + "@x")}},
			{Origin: admin, Command: &CreateUser{User: user("ok"), Info: event.UserInfo{DisplayName: bad}}},
			{Origin: admin, Command: &ClaimFeed{Feed: bad}},
			{Origin: admin, Command: &StartNode{Version: bad}},
		} {
			if _, _, err := p.do(r.Origin, r.Command); err == nil {
				t.Errorf("%T with %.10q was accepted", r.Command, bad)
			}
		}
	}
	for _, text := range []string{"\xff", "a\xf0"} {
		_, _, err := p.do(as("alice"), &Post{Room: room, Text: text})
		wantCode(t, err, CodeInvalid)
		_, _, err = p.do(as("alice"), &Post{Room: room, Text: "x", RTF: text})
		wantCode(t, err, CodeInvalid)
	}
	_, _, err := p.do(as("alice"), &Post{Room: room, Text: "x", RTF: strings.Repeat("x", MaxRTFBytes+1)})
	wantCode(t, err, CodeTooLarge)
	_, _, err = p.do(as("alice"), &Join{Rooms: make([]event.RoomID, MaxJoinRooms+1)})
	wantCode(t, err, CodeTooLarge)
	_, _, err = p.do(as("alice"), &PublishSetting{Setting: event.Setting{Category: "c", Content: strings.Repeat("x", MaxSettingBytes+1)}})
	wantCode(t, err, CodeTooLarge)
	for i := range MaxSettings {
		p.must(as("alice"), &PublishSetting{Setting: event.Setting{Category: "c", Instance: uint64(i)}})
	}
	_, _, err = p.do(as("alice"), &PublishSetting{Setting: event.Setting{Category: "c", Instance: MaxSettings}})
	wantCode(t, err, CodeTooLarge)
	p.must(as("alice"), &PublishSetting{Setting: event.Setting{Category: "c", Instance: 3, Version: 1}})
	if _, err := Decide(p.s, Request{Origin: admin}, p.env()); AsRefusal(err).Code != CodeUnsupported {
		t.Errorf("no command: %v", err)
	}
	_, _, err = p.do(Origin{Trusted: true}, &ClaimFeed{Feed: "f"})
	wantCode(t, err, CodeInvalid)
}

func TestRoomURI(t *testing.T) {
	const id = "0a1b2c3d-0000-4000-8000-00000000000f"
	for uri, want := range map[string]string{
		"ma-chan://contoso.test/" + id:                  "contoso.test",
		"MA-CHAN://Contoso.Test/" + strings.ToUpper(id): "contoso.test",
		"ma-chan://contoso.test/" + id[1:]:              "",
		"ma-chan://contoso.test/" + id + "/x":           "",
		"ma-chan:///" + id:                              "",
		"ma-cat://contoso.test/" + id:                   "",
		"":                                              "",
	} {
		domain, got, err := ParseRoomURI(uri)
		if domain != want || (err == nil) != (want != "") || (err != nil && !errors.Is(err, ErrInvalid)) {
			t.Errorf("%s: %q %q %v", uri, domain, got, err)
		}
		if err == nil && RoomURI(domain, got) != "ma-chan://contoso.test/"+id {
			t.Errorf("%s becomes %s", uri, RoomURI(domain, got))
		}
	}
	if a, b := form.PackID(id); form.UnpackID(a, b) != id {
		t.Errorf("%s is kept as %s", id, form.UnpackID(a, b))
	}
}
