package chat

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"parley/log/event"
)

// The product's limits. The test runs a small model; -scale.percent 100 runs them as they are and prints what they cost.
var scalePercent = flag.Int("scale.percent", 0, "size of the model in percent of the product's limits: prints load, heap and rule times")

type scale struct{ users, groups, rooms, access, invitations int }

var productScale = scale{users: 150_000, groups: 2_000, rooms: 33_000, access: 2_000_000, invitations: 1_000_000}

func scaleGroup(i int) event.GroupID {
	return event.GroupID(fmt.Sprintf("%08x-1111-4000-8000-%012x", uint32(i)*2654435761, i))
}

// build folds a pool of that size: every user is in two groups of two levels, access entries go to users but for one
// group a room, and a hundredth of the accounts is denied by its group.
func (c scale) build(t testing.TB) *State {
	s := NewState()
	for n := 1; n <= 4; n++ {
		fold(t, s, event.Meta{Node: event.NodeID(fmt.Sprint("n", n))}, &event.NodeStarted{Incarnation: 1})
	}
	for i := range c.users {
		fold(t, s, event.Meta{}, &event.UserCreated{User: benchUser(i), Info: event.UserInfo{Enabled: true,
			DisplayName: fmt.Sprint("User Number ", i), Email: fmt.Sprintf("user%06d@mail.contoso.test", i)}})
	}
	for g := range c.groups {
		var members []event.Principal
		for i := g; i < c.users; i += c.groups {
			members = append(members, benchUser(i))
		}
		if g >= c.groups/2 { // the upper half contains the lower one
			members = append(members, event.GroupPrincipal(scaleGroup(g-c.groups/2)))
		}
		fold(t, s, event.Meta{}, &event.GroupCreated{Group: scaleGroup(g), Info: event.GroupInfo{Name: fmt.Sprint("Group ", g)}, Members: members})
	}
	cat := event.CategoryID(benchRoom(0))
	fold(t, s, event.Meta{}, &event.CategoryCreated{Category: cat, Info: event.CategoryInfo{Name: "General", ChatHistory: true, Invitations: true,
		Allowed: []event.Principal{Everyone}, Denied: []event.Principal{event.GroupPrincipal(scaleGroup(c.groups - 1))}}})
	fold(t, s, event.Meta{}, &event.PolicySet{Scope: "global", Info: event.PolicyInfo{Enabled: true}})
	each := c.access / c.rooms
	for r := range c.rooms {
		access := []event.Access{{Principal: event.GroupPrincipal(scaleGroup(r % c.groups)), Role: event.RoleMember}}
		for i := 1; i < each; i++ {
			access = append(access, event.Access{Principal: benchUser(c.memberOf(r, i)), Role: event.RoleMember})
		}
		fold(t, s, event.Meta{Room: benchRoom(r)}, &event.RoomCreated{Access: access, Info: event.RoomInfo{Name: fmt.Sprint("Room ", r), Category: cat,
			Type: event.RoomNormal, Privacy: event.PrivacyClosed, Invitations: event.InvitationsInherit}})
	}
	for i := range c.invitations {
		u := benchUser(i % c.users)
		fold(t, s, event.Meta{Room: benchRoom((i/c.users*1_373 + i) % c.rooms)}, &event.Invited{Invitations: []event.Invitation{{User: u, ID: s.box.Next(u)}}})
	}
	return s
}

// memberOf returns who is the i-th member of a room; every user is in several rooms.
func (c scale) memberOf(room, i int) int { return (room*61 + i*2_477) % c.users }

// save writes the checkpoint as the views store would hold it: rows, each with its lengths.
func save(t testing.TB, s *State, path string) (rows int) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var n [4]byte
	for k, v := range s.rows() {
		for _, b := range [][]byte{k, v} {
			binary.BigEndian.PutUint32(n[:], uint32(len(b)))
			if _, err := w.Write(n[:]); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		rows++
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func load(t testing.TB, path string) *State {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	read := func() []byte {
		var n [4]byte
		if _, err := io.ReadFull(r, n[:]); err == io.EOF {
			return nil
		} else if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, binary.BigEndian.Uint32(n[:]))
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	s := NewState()
	if err := s.Load(func(yield func(k, v []byte) bool) {
		for k := read(); k != nil; k = read() {
			if !yield(k, read()) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// stopwatch measures both the time on the wall and the processor time of the whole process, garbage collection and all:
// on a busy machine only the second says what the code costs.
type stopwatch struct {
	wall time.Time
	cpu  time.Duration
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func watch() stopwatch { return stopwatch{time.Now(), cpuTime()} }

func (w stopwatch) per(n int) string {
	cpu, wall := (cpuTime()-w.cpu)/time.Duration(n), time.Since(w.wall)/time.Duration(n)
	return fmt.Sprintf("%s of processor, %s on the wall", cpu, wall)
}

// TestScale loads the model from its checkpoint and asks it what a busy pool asks. At full size it prints what the
// limits of the product cost; there is no assertion on time.
func TestScale(t *testing.T) {
	c := scale{users: 600, groups: 20, rooms: 130, access: 8_000, invitations: 4_000}
	if p := *scalePercent; p > 0 {
		c = scale{users: productScale.users * p / 100, groups: productScale.groups * p / 100, rooms: productScale.rooms * p / 100,
			access: productScale.access * p / 100, invitations: productScale.invitations * p / 100}
	}
	path := filepath.Join(t.TempDir(), "checkpoint")
	hash, rows := func() ([32]byte, int) { // the state that was built is garbage afterwards
		s := c.build(t)
		if s.InvitationCount() != c.invitations || s.grants.Len() < c.access*9/10 {
			t.Fatalf("%d invitations, %d access entries", s.InvitationCount(), s.grants.Len())
		}
		return s.Hash(), save(t, s, path)
	}()
	before := liveHeap()
	w := watch()
	s := load(t, path)
	took := w.per(1)
	used := liveHeap() - before
	if s.Hash() != hash {
		t.Fatal("the loaded state differs")
	}
	t.Logf("%d users, %d rooms, %d access entries, %d invitations: %d rows loaded in %s, heap %d MiB", c.users, c.rooms, s.grants.Len(),
		s.InvitationCount(), rows, took, used>>20)

	each := c.access/c.rooms - 1
	type pair struct {
		room event.RoomID
		o    Origin
	}
	var cases []pair
	for n := range min(100_000, c.rooms*each) {
		room := n * 7919 % c.rooms
		u := c.memberOf(room, 1+n%(each-1))
		cases = append(cases, pair{benchRoom(room), benchOrigin(u)})
	}
	var allowed int
	w = watch()
	for i := range cases {
		if s.Rights(cases[i].room, cases[i].o.By).Join {
			allowed++
		}
	}
	t.Logf("rights: %s a check, %d of %d allowed", w.per(len(cases)), allowed, len(cases))
	if allowed == 0 || allowed == len(cases) {
		t.Errorf("%d of %d are allowed: the wall is not asked for", allowed, len(cases))
	}

	joins := cases[:min(20_000, len(cases))]
	var saved countingSaver
	done := 0
	w = watch()
	for i := range joins {
		d, err := Decide(s, Request{Origin: joins[i].o, Command: &Join{Rooms: []event.RoomID{joins[i].room}}}, Env{At: s.At() + 1})
		if err != nil {
			continue
		}
		done++
		foldDrafts(t, s, d.Events, &saved)
	}
	t.Logf("join: %s of rule time, %d of %d joined", w.per(len(joins)), done, len(joins))

	// A sign-in joins 24 rooms in one batch: those of a user who is in so many.
	rooms := map[int][]event.RoomID{}
	for r := range c.rooms {
		for i := 1; i < each; i++ {
			if u := c.memberOf(r, i); len(rooms[u]) < 24 {
				rooms[u] = append(rooms[u], benchRoom(r))
			}
		}
	}
	signIns, worst, cpu, total := 0, time.Duration(0), time.Duration(0), time.Duration(0)
	for u := 0; u < c.users && signIns < 2_000; u++ {
		o := benchOrigin(u)
		o.Endpoint = "sign-in"
		if len(rooms[u]) == 0 || !s.Rights(rooms[u][0], o.By).Join {
			continue
		}
		list := rooms[u]
		for r := 0; len(list) < 24; r++ {
			list = append(list, benchRoom(r)) // refused, unless he is in it by his group
		}
		start, used := time.Now(), cpuTime()
		d, err := Decide(s, Request{Origin: o, Command: &Join{Rooms: list, Batch: true}}, Env{At: s.At() + 1})
		if err != nil || len(d.Events) == 0 {
			t.Fatalf("%v, %d events", err, len(d.Events))
		}
		foldDrafts(t, s, d.Events, &saved)
		took := time.Since(start)
		worst, total, cpu, signIns = max(worst, took), total+took, cpu+cpuTime()-used, signIns+1
	}
	if signIns == 0 {
		t.Fatal("nobody signed in")
	}
	n := time.Duration(signIns)
	t.Logf("bjoin of 24 rooms: one decision, %s of processor, %s on the wall, %s at worst, of %d", cpu/n, total/n, worst, signIns)
}

func foldDrafts(t testing.TB, s *State, drafts []event.Draft, save Saver) {
	for _, d := range drafts {
		if err := s.Fold(event.Envelope{Offset: s.Offset() + 1, At: s.At() + 1, Meta: d.Meta, Event: d.Event}, save); err != nil {
			t.Fatal(err)
		}
	}
}
