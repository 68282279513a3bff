package chat

import (
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"parley/log/event"
)

// limitsPart shrinks the pool of BenchmarkProductLimits, so that a test may build it too.
var limitsPart = flag.Int("limits.part", 1, "BenchmarkProductLimits takes one in so many of everything")

// limits is the largest pool that the product is sized for. Of groups and units nothing is published; the numbers here
// are those of a large company.
type limits struct {
	rooms, users, access, invitations, groups, units, perUser, categories int
}

func productLimits(part int) limits {
	return limits{rooms: 33_000 / part, users: 150_000 / part, access: 2_000_000 / part, invitations: 1_000_000 / part,
		groups: 5000 / part, units: 500 / part, perUser: 10, categories: 200}
}

// limitsUser spells names that differ from their beginning, as people's do.
func limitsUser(i int) event.Principal {
	syllables := [...]string{"an", "be", "cor", "da", "el", "fi", "gus", "ha", "iv", "jo", "ka", "lu", "mi", "no", "ol", "pe"}
	given := syllables[i*7%16] + syllables[i/16%16] + syllables[i/256%16]
	return event.UserPrincipal(fmt.Sprintf("%s.%s%d@%s", given, syllables[i*11/7%16], i, testDomain))
}
func limitsID(kind, i int) string {
	return fmt.Sprintf("%08x-%04x-4000-8000-%012x", uint32(i)*2654435761, kind, i)
}
func limitsRoom(i int) event.RoomID   { return event.RoomID(limitsID(1, i)) }
func limitsGroup(i int) event.GroupID { return event.GroupID(limitsID(2, i)) }
func limitsUnit(i int) event.UnitID   { return event.UnitID(limitsID(3, i)) }

// build folds the pool: groups in groups four deep, units three deep, every account in ten groups; one in fifteen access
// entries goes to a group or unit; categories allow by groups and units and deny by a group.
func (l *limits) build(t testing.TB) *State {
	s := NewState()
	rng := rand.New(rand.NewPCG(1, 2))
	do := func(room event.RoomID, e event.Event) { fold(t, s, event.Meta{By: "admin:root", Room: room}, e) }
	do("", &event.PoolFormed{Domain: testDomain, PoolURI: "sip:parley@" + testDomain})
	for i := range l.units {
		var parent event.UnitID
		if i > 0 {
			parent = limitsUnit(i / 10)
		}
		do("", &event.UnitCreated{Unit: limitsUnit(i), Info: event.UnitInfo{Name: fmt.Sprint("Unit ", i), Parent: parent}})
	}
	members := make([][]event.Principal, l.groups)
	for i := range l.users {
		u := limitsUser(i)
		do("", &event.UserCreated{User: u, Info: event.UserInfo{DisplayName: fmt.Sprintf("First Last %06d", i), Email: u.Address(),
			Enabled: true, Unit: limitsUnit(i % l.units), Name: fmt.Sprintf("Last %06d, First", i), GivenName: "First", Surname: fmt.Sprintf("Last %06d", i)},
			Secret: event.Secret{Realm: testDomain, HA1SHA256: make([]byte, 32)}})
		for range l.perUser {
			g := rng.IntN(l.groups)
			members[g] = append(members[g], u)
		}
	}
	for i := l.groups - 1; i >= 0; i-- { // those inside first
		for kid := max(1, i*10); kid < i*10+10 && kid < l.groups; kid++ {
			members[i] = append(members[i], event.GroupPrincipal(limitsGroup(kid)))
		}
		do("", &event.GroupCreated{Group: limitsGroup(i), Info: event.GroupInfo{Name: fmt.Sprint("Group ", i)}, Members: members[i]})
	}
	shared := func() event.Principal {
		if rng.IntN(4) == 0 {
			return event.UnitPrincipal(limitsUnit(rng.IntN(l.units)))
		}
		return event.GroupPrincipal(limitsGroup(rng.IntN(l.groups)))
	}
	for i := range l.categories {
		info := event.CategoryInfo{Name: fmt.Sprint("Category ", i), ChatHistory: true, Allowed: []event.Principal{event.UnitPrincipal(limitsUnit(0))},
			Denied: []event.Principal{event.GroupPrincipal(limitsGroup(l.groups - 1 - i))}}
		for range 10 {
			info.Allowed = append(info.Allowed, shared())
		}
		do("", &event.CategoryCreated{Category: event.CategoryID(limitsID(4, i)), Info: info})
	}
	for i := range l.rooms {
		privacy := event.PrivacyClosed
		if i%33 == 0 {
			privacy = event.PrivacyOpen
		}
		given := map[event.Principal]bool{}
		var access []event.Access
		for n := range (i+1)*l.access/l.rooms - i*l.access/l.rooms {
			p := limitsUser(rng.IntN(l.users))
			if n%15 == 0 {
				p = shared()
			}
			if !given[p] {
				given[p] = true
				access = append(access, event.Access{Principal: p, Role: event.RoleMember})
			}
		}
		do(limitsRoom(i), &event.RoomCreated{Access: access, Info: event.RoomInfo{Name: fmt.Sprint("Room ", i),
			Category: event.CategoryID(limitsID(4, i%l.categories)), Type: event.RoomNormal, Privacy: privacy}})
	}
	last := map[event.Principal]uint64{}
	for i := range l.rooms {
		var list []event.Invitation
		for n := range (i+1)*l.invitations/l.rooms - i*l.invitations/l.rooms {
			u := limitsUser((i*31 + n*4099) % l.users)
			last[u]++
			list = append(list, event.Invitation{User: u, ID: last[u]})
		}
		slices.SortFunc(list, func(a, b event.Invitation) int { return strings.Compare(string(a.User), string(b.User)) })
		do(limitsRoom(i), &event.Invited{Invitations: list})
	}
	return s
}

// arena holds rows as one block, as the views store hands them out, so that they do not count as objects.
type arena struct {
	bytes []byte
	ends  []int // of keys and values in turn
}

func (a *arena) add(b []byte) { a.bytes = append(a.bytes, b...); a.ends = append(a.ends, len(a.bytes)) }

func (a *arena) all() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		start := 0
		for i := 0; i < len(a.ends); i += 2 {
			if !yield(a.bytes[start:a.ends[i]], a.bytes[a.ends[i]:a.ends[i+1]]) {
				return
			}
			start = a.ends[i+1]
		}
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkProductLimits builds the largest pool, loads it from its rows and tells how long that took, what it takes in
// memory, and what a rights check costs on random accounts and rooms. Run it alone, once:
//
//	go test ./projections/chat -run XXX -bench ProductLimits -timeout 30m
func BenchmarkProductLimits(b *testing.B) {
	l := productLimits(*limitsPart)
	s, took, bytes, rows := l.load(b)
	b.Logf("%d rooms, %d accounts, %d groups, %d units, %d access entries, %d invitations: %d rows loaded in %v of processor time, %d MiB",
		l.rooms, l.users, l.groups, l.units, s.grants.Len(), l.invitations, rows, took.Round(time.Millisecond), bytes>>20)
	cases := l.cases()
	b.Run("rights", func(b *testing.B) {
		b.ReportAllocs()
		may, cpu := 0, processorTime()
		for n := 0; b.Loop(); n++ {
			c := &cases[n%len(cases)]
			if s.Rights(c.room, c.user).Join {
				may++
			}
		}
		b.ReportMetric(float64(may)/float64(b.N), "may-join")
		b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op") // a busy machine makes the wall clock meaningless
	})
	b.Run("group-leaves-room", func(b *testing.B) { l.benchKick(b, s) })
	runtime.KeepAlive(s)
}

// processorTime is what the process has used, the collector included.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type limitsCase struct {
	user event.Principal
	room event.RoomID
}

// cases are random, so that nothing is warm but the top of the trees.
func (l *limits) cases() []limitsCase {
	rng := rand.New(rand.NewPCG(3, 4))
	cases := make([]limitsCase, 300_000)
	for i := range cases {
		cases[i] = limitsCase{limitsUser(rng.IntN(l.users)), limitsRoom(rng.IntN(l.rooms))}
	}
	return cases
}

func (l *limits) load(b testing.TB) (s *State, took time.Duration, bytes uint64, rows int) {
	var a arena
	func() {
		for k, v := range l.build(b).rows() {
			a.add(k)
			a.add(v)
		}
	}()
	before := heap()
	s = NewState()
	start := processorTime()
	if err := s.Load(a.all()); err != nil {
		b.Fatal(err)
	}
	took = processorTime() - start
	bytes = heap() - before
	runtime.KeepAlive(&a)
	return s, took, bytes, len(a.ends) / 2
}

// benchKick takes the largest group, with everybody in the groups in it, out of the one that lets it into a room with 50
// sessions: it must cost sessions, not members.
func (l *limits) benchKick(b *testing.B, s *State) {
	s = s.Clone()
	outer, inner := event.GroupID(limitsID(5, 1)), event.GroupID(limitsID(5, 2))
	members := make([]event.Principal, 0, 100_000)
	for i := range min(l.users, 100_000) {
		members = append(members, limitsUser(i))
	}
	fold(b, s, event.Meta{}, &event.GroupCreated{Group: inner, Info: event.GroupInfo{Name: "inner"}, Members: members})
	fold(b, s, event.Meta{}, &event.GroupCreated{Group: outer, Info: event.GroupInfo{Name: "outer"}, Members: []event.Principal{event.GroupPrincipal(inner)}})
	category := event.CategoryID(limitsID(6, 1))
	fold(b, s, event.Meta{}, &event.CategoryCreated{Category: category, Info: event.CategoryInfo{Name: "of the outer", Allowed: []event.Principal{event.GroupPrincipal(outer)}}})
	room := event.RoomID(limitsID(1, l.rooms))
	fold(b, s, event.Meta{Room: room}, &event.RoomCreated{Info: event.RoomInfo{Name: "of the inner", Category: category, Type: event.RoomNormal,
		Privacy: event.PrivacyClosed}, Access: []event.Access{{Principal: event.GroupPrincipal(outer), Role: event.RoleMember}}})
	const sessions = 50
	for i := range sessions {
		fold(b, s, event.Meta{By: limitsUser(i), Room: room, Node: "n1"}, &event.Joined{Endpoint: "e"})
	}
	r := Request{Origin: admin, Command: &ChangeGroup{ID: outer, Info: event.GroupInfo{Name: "outer"}, Remove: []event.Principal{event.GroupPrincipal(inner)}}}
	b.ReportAllocs()
	for b.Loop() {
		d, err := Decide(s, r, Env{At: s.At() + 1})
		if err != nil || len(d.Events) != 1+sessions {
			b.Fatalf("%d events, %v", len(d.Events), err)
		}
	}
}

// TestProductLimitsQuickly keeps the benchmark honest: its pool, small, loads to what was folded, with the rights of the
// reference.
func TestProductLimitsQuickly(t *testing.T) {
	l := productLimits(500)
	l.categories = 3
	built := l.build(t)
	s, _, _, _ := l.load(t)
	if built.Hash() != s.Hash() || derived(built) != derived(s) {
		t.Fatal("a loaded pool differs from the one folded")
	}
	may := 0
	for _, c := range l.cases()[:2000] {
		want := naiveRights(s, c.room, c.user)
		if got := s.Rights(c.room, c.user); got != want {
			t.Fatalf("%s in %s: %+v, the reference says %+v", c.user, c.room, got, want)
		}
		if want.Join {
			may++
		}
	}
	if may < 20 || may > 1980 {
		t.Errorf("%d of 2000 may join: the pool is too uniform", may)
	}
}
