// Package projectionstest has logs for the tests of projections: real ones, in memory, filled by the real rules.
package projectionstest

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log"
	"parley/log/event"
	"parley/projections/chat"
)

// Log is a log with one writer.
type Log struct {
	*log.Log
	t    testing.TB
	last log.Head // of what was appended, committed or not
}

// NewLog returns an empty log in memory that is closed at the end of the test.
func NewLog(t testing.TB) *Log { return OpenLog(t, vfs.NewMem()) }

// OpenLog opens the log that is in fs, with all of its entries up to the mark.
func OpenLog(t testing.TB, fs vfs.FS) *Log {
	t.Helper()
	l, err := log.Open("log", log.Options{FS: fs, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &Log{Log: l, t: t, last: l.Head()}
}

// Continue returns a writer that goes on after the head of l, whose entries are all committed.
func Continue(t testing.TB, l *log.Log) *Log {
	t.Helper()
	if h := l.Head(); h.Index != l.LastIndex() {
		t.Fatalf("log is committed up to %d of %d", h.Index, l.LastIndex())
	}
	return &Log{Log: l, t: t, last: l.Head()}
}

// Copy appends the entries of from to the empty log to, uncommitted.
func Copy(t testing.TB, from, to *Log) {
	t.Helper()
	for i := event.Index(1); i <= from.LastIndex(); i++ {
		r, err := from.Record(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := to.Log.Append([]log.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

// Append appends one entry with these events and does not commit it.
func (l *Log) Append(drafts ...event.Draft) {
	l.t.Helper()
	at := l.Now()
	b := event.Batch{Base: l.last.Offset + 1, At: at, Prev: l.last.Chain, Events: drafts}
	data, chain, err := b.Seal()
	if err != nil {
		l.t.Fatal(err)
	}
	index := l.last.Index + 1
	if err := l.Log.Append([]log.Record{{Index: index, Term: 1, Data: data}}); err != nil {
		l.t.Fatal(err)
	}
	l.last = log.Head{Index: index, Offset: l.last.Offset + event.Offset(len(drafts)), Chain: chain, At: at}
}

// CommitAll commits what was appended.
func (l *Log) CommitAll() {
	l.t.Helper()
	if _, err := l.Commit(l.last.Index); err != nil {
		l.t.Fatal(err)
	}
	if h := l.Head(); h.Offset != l.last.Offset || h.Chain != l.last.Chain {
		l.t.Fatalf("head is %d, want %d, or its chain differs", h.Offset, l.last.Offset)
	}
}

// Add appends one entry with these events and commits it. It returns the offset of the last one.
func (l *Log) Add(drafts ...event.Draft) event.Offset {
	l.t.Helper()
	l.Append(drafts...)
	l.CommitAll()
	return l.last.Offset
}

// Appended returns the offset of the last event appended, committed or not.
func (l *Log) Appended() event.Offset { return l.last.Offset }

// Now returns the time that the next entry gets.
func (l *Log) Now() event.Time {
	if l.last.At == 0 {
		return event.Time(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC).UnixNano())
	}
	return l.last.At + 1
}

// Pass sets how much time passes before the next entry.
func (l *Log) Pass(d time.Duration) { l.last.At += event.Time(d) }

// Life writes a plausible life of a pool into a log: rooms made, changed and removed, people joining, talking,
// leaving, nodes lost. The same seed is the same life.
type Life struct {
	Log      *Log
	State    *chat.State
	rng      *rand.Rand
	ids      int
	commands uint64
	nodes    map[event.NodeID]event.Incarnation
	rooms    []event.RoomID
	users    []event.Principal
}

const (
	lifeNodes = 3
	lifeUsers = 12
)

// NewLife forms a pool in the empty log l.
func NewLife(l *Log, seed int64) *Life {
	f := &Life{Log: l, State: chat.NewState(), rng: rand.New(rand.NewSource(seed)), nodes: map[event.NodeID]event.Incarnation{}}
	f.must(&chat.FormPool{Domain: "contoso.test", PoolURI: "sip:parley@contoso.test"})
	for i := 1; i <= lifeNodes; i++ {
		f.startNode(event.NodeID(fmt.Sprintf("n%d", i)))
	}
	for i := range lifeUsers {
		u := event.Principal(fmt.Sprintf("sip:user%d@contoso.test", i))
		f.users = append(f.users, u)
		f.must(&chat.CreateUser{User: u, Info: event.UserInfo{DisplayName: fmt.Sprintf("User %d", i), Enabled: true}})
	}
	for _, c := range []struct {
		id      event.CategoryID
		history bool
	}{{"00000000-0000-4000-8000-00000000c001", true}, {"00000000-0000-4000-8000-00000000c002", false}} {
		f.must(&chat.CreateCategory{ID: c.id, Info: event.CategoryInfo{Name: "Category " + string(c.id[35:]),
			Allowed: []event.Principal{"*"}, Creators: []event.Principal{"*"}, ChatHistory: c.history}})
	}
	for range 4 {
		f.createRoom()
	}
	return f
}

// Steps takes n steps; each is at most one entry.
func (f *Life) Steps(n int) {
	f.Log.t.Helper()
	for range n {
		f.step()
	}
}

// Until takes steps until the log has n events.
func (f *Life) Until(n event.Offset) {
	f.Log.t.Helper()
	for f.Log.Appended() < n {
		f.step()
	}
}

func (f *Life) step() {
	f.Log.t.Helper()
	user := f.users[f.rng.Intn(len(f.users))]
	node := event.NodeID(fmt.Sprintf("n%d", 1+f.rng.Intn(lifeNodes)))
	room := f.rooms[f.rng.Intn(len(f.rooms))]
	o := chat.Origin{By: user, Endpoint: "e1", Node: node, Incarnation: f.nodes[node], ID: f.command()}
	switch p := f.rng.Intn(100); {
	case p < 20:
		f.try(o, &chat.Join{Rooms: []event.RoomID{room, f.rooms[f.rng.Intn(len(f.rooms))]}, Batch: true})
	case p < 70:
		if x, ok := f.session(); ok {
			f.try(f.origin(x), &chat.Post{Room: x.Room, Text: f.text(), Alert: p == 21})
		}
	case p < 75:
		if x, ok := f.session(); ok {
			f.try(f.origin(x), &chat.Part{Rooms: []event.RoomID{x.Room}})
		}
	case p < 86:
		f.try(o, &chat.ReadHistory{Room: room, Last: 10})
	case p < 90:
		f.try(o, &chat.PublishSetting{Setting: event.Setting{Category: "roomSetting", Instance: uint64(f.rng.Intn(3)), Content: "<x/>"}})
	case p < 94:
		if r, ok := f.State.Room(room); ok {
			r.Info.Description = f.text()
			f.try(f.admin(), &chat.ChangeRoom{ID: room, Info: r.Info,
				Access: []event.Access{{Principal: user, Role: event.Role(f.rng.Intn(4))}}})
		}
	case p < 96:
		f.createRoom()
	case p < 98:
		if len(f.rooms) > 3 {
			i := f.rng.Intn(len(f.rooms))
			f.must(&chat.RemoveRoom{ID: f.rooms[i]})
			f.rooms = append(f.rooms[:i], f.rooms[i+1:]...)
		}
	default:
		f.must(&chat.LoseNode{Node: node, Incarnation: f.nodes[node], Reason: "silent"})
		f.startNode(node)
	}
}

// session returns one of those there are.
func (f *Life) session() (chat.Session, bool) {
	all := slices.Collect(f.State.Sessions())
	if len(all) == 0 {
		return chat.Session{}, false
	}
	return all[f.rng.Intn(len(all))], true
}

func (f *Life) origin(x chat.Session) chat.Origin {
	return chat.Origin{By: x.User, Endpoint: x.Endpoint, Node: x.Node, Incarnation: x.Incarnation, ID: f.command()}
}

var lexicon = []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "työ", "Straße"}

func (f *Life) text() string {
	s := lexicon[f.rng.Intn(len(lexicon))]
	for range f.rng.Intn(6) {
		s += " " + lexicon[f.rng.Intn(len(lexicon))]
	}
	return s
}

func (f *Life) createRoom() {
	f.Log.t.Helper()
	f.ids++
	id := event.RoomID(fmt.Sprintf("00000000-0000-4000-8000-%012d", f.ids))
	category := event.CategoryID("00000000-0000-4000-8000-00000000c001")
	if f.ids%4 == 0 {
		category = "00000000-0000-4000-8000-00000000c002"
	}
	f.must(&chat.CreateRoom{ID: id, Info: event.RoomInfo{Name: fmt.Sprintf("Room %d %s", f.ids, f.text()), Description: f.text(),
		Category: category, Type: event.RoomNormal, Privacy: event.PrivacyOpen, Invitations: event.InvitationsInherit}})
	f.rooms = append(f.rooms, id)
}

func (f *Life) startNode(n event.NodeID) {
	f.Log.t.Helper()
	o := f.admin()
	o.By, o.Node, o.Incarnation = event.NodePrincipal(n), n, f.nodes[n]+1
	f.nodes[n]++
	if !f.try(o, &chat.StartNode{Version: "test"}) {
		f.Log.t.Fatalf("node %s cannot be started", n)
	}
}

func (f *Life) admin() chat.Origin {
	return chat.Origin{By: "admin:test", Node: "n1", Incarnation: f.nodes["n1"], Trusted: true, ID: f.command()}
}

func (f *Life) command() (id event.CommandID) {
	f.commands++
	copy(id[:], fmt.Sprintf("%016d", f.commands))
	return id
}

func (f *Life) must(c chat.Command) {
	f.Log.t.Helper()
	if !f.try(f.admin(), c) {
		f.Log.t.Fatalf("%T was refused", c)
	}
}

// try decides a command and writes what it leads to. A refusal is part of life.
func (f *Life) try(o chat.Origin, c chat.Command) bool {
	f.Log.t.Helper()
	d, err := chat.Decide(f.State, chat.Request{Origin: o, Command: c}, chat.Env{At: f.Log.last.At + 1, NewID: func() string {
		f.ids++
		return fmt.Sprintf("00000000-0000-4000-9000-%012d", f.ids)
	}})
	if err != nil {
		return false
	}
	if len(d.Events) == 0 {
		return true
	}
	from := f.Log.last.Offset + 1
	f.Log.Add(d.Events...)
	run, err := f.Log.Read(from, len(d.Events))
	if err != nil {
		f.Log.t.Fatal(err)
	}
	for _, e := range run {
		if err := f.State.Fold(e, nil); err != nil {
			f.Log.t.Fatal(err)
		}
	}
	return true
}

// Wait returns when whatever has WaitFor has passed o; it fails the test after half a minute.
func Wait(t testing.TB, r interface {
	WaitFor(context.Context, event.Offset) error
}, o event.Offset) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.WaitFor(ctx, o); err != nil {
		t.Fatal(err)
	}
}
