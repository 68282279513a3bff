package chat

import (
	"encoding/binary"
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"parley/log/event"
)

// The product's sizing model has 80,000 users, 33,077 rooms and 1,920,000 sessions; the default is a quarter of the
// users with all the rooms.
var (
	benchUsers    = flag.Int("bench.users", 20_000, "users of the benchmarks' pool, with 24 sessions each")
	benchCommands = flag.Int("bench.commands", 1_000_000, "commands that BenchmarkRemember holds")
)

const benchRooms = 33_000

var benchPool *State // made once: the benchmarks clone it

func benchUser(i int) event.Principal {
	return event.UserPrincipal(fmt.Sprintf("user%06d@%s", i, testDomain))
}

func benchRoom(i int) event.RoomID {
	return event.RoomID(fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(i)*2654435761, i))
}

// session i of user u: which room.
func benchRoomOf(u, i int) event.RoomID { return benchRoom((u*7 + i*1_373) % benchRooms) }

func fold(b testing.TB, s *State, m event.Meta, e event.Event) {
	env := event.Envelope{Offset: s.Offset() + 1, At: s.At() + 1, Meta: m, Event: e}
	if err := s.Fold(env, nil); err != nil {
		b.Fatal(err)
	}
}

func largePool(b testing.TB) *State {
	if benchPool != nil {
		return benchPool.Clone()
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewState()
	for n := 1; n <= 4; n++ {
		fold(b, s, event.Meta{Node: event.NodeID(fmt.Sprint("n", n))}, &event.NodeStarted{Incarnation: 1})
	}
	for i := range *benchUsers {
		fold(b, s, event.Meta{}, &event.UserCreated{User: benchUser(i), Info: event.UserInfo{Enabled: true}})
	}
	g := event.CategoryID(benchRoom(0))
	var allowed, denied []event.Principal
	for i := range *benchUsers {
		allowed = append(allowed, benchUser(i))
		if i%1000 == 999 {
			denied = append(denied, benchUser(i))
		}
	}
	fold(b, s, event.Meta{}, &event.CategoryCreated{Category: g, Info: event.CategoryInfo{Name: "General", Allowed: allowed, Denied: denied, ChatHistory: true}})
	members := map[event.RoomID][]event.Access{}
	for u := range *benchUsers {
		for i := range 12 {
			r := benchRoomOf(u, i)
			members[r] = append(members[r], event.Access{Principal: benchUser(u), Role: event.RoleMember})
		}
	}
	for i := range benchRooms {
		privacy := event.PrivacyClosed
		if i%33 == 0 {
			privacy = event.PrivacyOpen
		}
		fold(b, s, event.Meta{Room: benchRoom(i)}, &event.RoomCreated{Access: members[benchRoom(i)],
			Info: event.RoomInfo{Name: fmt.Sprint("Room ", i), Category: g, Type: event.RoomNormal, Privacy: privacy}})
	}
	for u := range *benchUsers {
		for i := range 24 { // two endpoints in twelve rooms
			fold(b, s, event.Meta{By: benchUser(u), Room: benchRoomOf(u, i/2), Node: event.NodeID(fmt.Sprint("n", u%4+1))},
				&event.Joined{Endpoint: event.Endpoint(fmt.Sprintf("endpoint-%06d-%d", u, i%2)), Incarnation: 1})
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("%d users, %d rooms, %d roles, %d sessions: %d MiB", *benchUsers, benchRooms, s.grants.Len(), s.sessions.Len(),
		(after.HeapAlloc-before.HeapAlloc)>>20)
	benchPool = s
	return s.Clone()
}

func benchOrigin(u int) Origin {
	return Origin{By: benchUser(u), Endpoint: event.Endpoint(fmt.Sprintf("endpoint-%06d-0", u)), Node: event.NodeID(fmt.Sprint("n", u%4+1)), Incarnation: 1}
}

type benchCase struct {
	o Origin
	r event.RoomID
}

// benchCases walks through users and rooms that belong together, without the cost of making their names.
func benchCases() []benchCase {
	cases := make([]benchCase, 50_000)
	for n := range cases {
		u := n * 7919 % *benchUsers
		if u%1000 == 999 {
			u-- // denied
		}
		cases[n] = benchCase{benchOrigin(u), benchRoomOf(u, n%12)}
	}
	return cases
}

func BenchmarkRights(b *testing.B) {
	s, cases := largePool(b), benchCases()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		c := &cases[n%len(cases)]
		if !s.Rights(c.r, c.o.By).Join {
			b.Fatalf("%s may not join %s", c.o.By, c.r)
		}
	}
}

// BenchmarkJoin decides and folds a join of a third endpoint, and its leaving, halved: both count as rule time.
func BenchmarkJoin(b *testing.B) {
	s, cases := largePool(b), benchCases()
	var rows countingSaver
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		c := cases[n%len(cases)]
		c.o.Endpoint = "third"
		id := []event.RoomID{c.r}
		benchDo(b, s, &rows, c.o, &Join{Rooms: id})
		benchDo(b, s, &rows, c.o, &Part{Rooms: id})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(2*b.N), "ns/half")
}

type countingSaver struct{ rows, bytes int }

func (c *countingSaver) Set(k, v []byte) { c.rows, c.bytes = c.rows+1, c.bytes+len(k)+len(v) }
func (c *countingSaver) Delete(k []byte) { c.rows, c.bytes = c.rows+1, c.bytes+len(k) }

func benchDo(b testing.TB, s *State, save Saver, o Origin, c Command) {
	d, err := Decide(s, Request{Origin: o, Command: c}, Env{At: s.At() + 1})
	if err != nil || len(d.Events) != 1 {
		b.Fatalf("%T: %v, %d events", c, err, len(d.Events))
	}
	e := event.Envelope{Offset: s.Offset() + 1, At: s.At() + 1, Meta: d.Events[0].Meta, Event: d.Events[0].Event}
	if err := s.Fold(e, save); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkDecidePost(b *testing.B) {
	s, cases := largePool(b), benchCases()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		c := &cases[n%len(cases)]
		if _, err := Decide(s, Request{Origin: c.o, Command: &Post{Room: c.r, Text: "hello"}}, Env{At: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPost decides and folds; every adds the copying that a clone per entry costs.
func BenchmarkPost(b *testing.B) {
	for _, every := range []int{0, 64, 1} {
		b.Run(fmt.Sprintf("clone-every-%d", every), func(b *testing.B) {
			s, cases := largePool(b), benchCases()
			var rows countingSaver
			var kept *State
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				c := cases[n%len(cases)]
				binary.BigEndian.PutUint64(c.o.ID[:], uint64(n+1)*0x9e3779b97f4a7c15)
				c.o.ID[15] = 1
				benchDo(b, s, &rows, c.o, &Post{Room: c.r, Text: "hello"})
				if every > 0 && n%every == 0 {
					kept = s.Clone()
				}
			}
			_ = kept
			b.ReportMetric(float64(rows.bytes)/float64(b.N), "row-bytes/op")
		})
	}
}

// BenchmarkNodeLost parts a quarter of the pool with one event.
func BenchmarkNodeLost(b *testing.B) {
	largePool(b)
	for b.Loop() {
		b.StopTimer()
		s := largePool(b)
		var rows countingSaver
		e := event.Envelope{Offset: s.Offset() + 1, At: s.At() + 1, Meta: event.Meta{Node: "n2"}, Event: &event.NodeLost{Incarnation: 1}}
		n := s.sessions.Len()
		b.StartTimer()
		if err := s.Fold(e, &rows); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n-s.sessions.Len()), "sessions/op")
	}
}

// BenchmarkRemember folds posts with an identity until a million are remembered, and tells what one costs in memory.
func BenchmarkRemember(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := NewState()
		fold(b, s, event.Meta{}, &event.CategoryCreated{Category: "c"})
		fold(b, s, event.Meta{Room: "r"}, &event.RoomCreated{Info: event.RoomInfo{Category: "c"}})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		start := time.Now()
		for i := range *benchCommands {
			m := event.Meta{Room: "r"}
			binary.BigEndian.PutUint64(m.Command[:], uint64(i+1)*0x9e3779b97f4a7c15)
			fold(b, s, m, &event.Posted{MessageID: uint64(i + 1)})
		}
		b.StopTimer()
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(*benchCommands), "ns/command")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(*benchCommands), "B/command")
		runtime.KeepAlive(s)
		b.StartTimer()
	}
}

// TestBigPoolQuickly keeps the benchmarks honest: their pool loads and hashes like any other.
func TestBigPoolQuickly(t *testing.T) {
	old := *benchUsers
	*benchUsers, benchPool = 50, nil
	defer func() { *benchUsers, benchPool = old, nil }()
	s := largePool(t)
	if s.sessions.Len() != 50*24 || !s.Rights(benchRoomOf(3, 4), benchUser(3)).Post {
		t.Fatalf("%d sessions", s.sessions.Len())
	}
	rows := rowMap{rows: map[string][]byte{}}
	for k, v := range s.rows() {
		rows.Set(k, v)
	}
	loaded := NewState()
	if err := loaded.Load(rows.all); err != nil || loaded.Hash() != s.Hash() {
		t.Fatalf("loaded: %v", err)
	}
}
