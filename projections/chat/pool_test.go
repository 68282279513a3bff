package chat

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat/directory"
)

// rowMap is a Saver that keeps the rows, and complains about writes that change nothing.
type rowMap struct {
	rows map[string][]byte
	idle []string // keys written with the value they had, or deleted without being there
}

func (m *rowMap) Set(k, v []byte) {
	if old, ok := m.rows[string(k)]; ok && bytes.Equal(old, v) {
		m.idle = append(m.idle, fmt.Sprintf("set %x", k))
	}
	m.rows[string(k)] = bytes.Clone(v)
}

func (m *rowMap) Delete(k []byte) {
	if _, ok := m.rows[string(k)]; !ok {
		m.idle = append(m.idle, fmt.Sprintf("delete %x", k))
	}
	delete(m.rows, string(k))
}

func (m *rowMap) all(yield func(k, v []byte) bool) {
	for k, v := range m.rows {
		if !yield([]byte(k), v) {
			return
		}
	}
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// pool is a State with a clock and a log of one entry per decision: every event goes through the codec of the log
// before it is folded, as in life.
type pool struct {
	t     fataler
	s     *State
	saved rowMap
	now   event.Time
	ids   int
}

const testDomain = "contoso.test"

var admin = Origin{By: "admin:root", Node: "n1", Trusted: true}

func newPool(t fataler) *pool {
	return &pool{t: t, s: NewState(), saved: rowMap{rows: map[string][]byte{}}, now: 1_000}
}

func (p *pool) env() Env {
	return Env{At: p.now, NewID: func() string {
		p.ids++
		return fmt.Sprintf("00000000-0000-4000-8000-%012x", p.ids)
	}}
}

// do decides, seals, parses and folds.
func (p *pool) do(o Origin, c Command) ([]event.Envelope, Decision, error) {
	p.t.Helper()
	p.now++
	d, err := Decide(p.s, Request{Origin: o, Command: c}, p.env())
	if err != nil {
		if _, ok := err.(*Refusal); !ok {
			p.t.Fatalf("%T: error %v is not a refusal", c, err)
		}
		if len(d.Events) > 0 {
			p.t.Fatalf("%T was refused (%v) with %d events", c, err, len(d.Events))
		}
		return nil, d, err
	}
	return p.commit(d.Events), d, nil
}

func (p *pool) commit(drafts []event.Draft) []event.Envelope {
	p.t.Helper()
	if len(drafts) == 0 {
		return nil
	}
	b := event.Batch{Base: p.s.Offset() + 1, At: p.now, Prev: p.s.Chain(), Events: drafts}
	data, _, err := b.Seal()
	if err != nil {
		p.t.Fatalf("decision cannot be written: %v", err)
	}
	head, bodies, err := event.Split(data)
	if err != nil {
		p.t.Fatalf("%v", err)
	}
	entry, err := event.ParseEntry(head, bodies)
	if err != nil {
		p.t.Fatalf("decision cannot be read: %v", err)
	}
	envelopes, err := entry.Envelopes(p.s.Index() + 1)
	if err != nil {
		p.t.Fatalf("decision cannot be read: %v", err)
	}
	for _, e := range envelopes {
		if err := p.s.Fold(e, &p.saved); err != nil {
			p.t.Fatalf("decision cannot be folded: %v", err)
		}
	}
	return envelopes
}

// must does what has to succeed.
func (p *pool) must(o Origin, c Command) Decision {
	p.t.Helper()
	_, d, err := p.do(o, c)
	if err != nil {
		p.t.Fatalf("%T: %v", c, err)
	}
	return d
}

// checkRows compares what Fold saved with what there is.
func (p *pool) checkRows() {
	p.t.Helper()
	if len(p.saved.idle) > 0 {
		p.t.Fatalf("rows written without a change: %s", p.saved.idle)
	}
	all := map[string][]byte{}
	last := []byte{}
	for k, v := range p.s.rows() {
		if bytes.Compare(last, k) >= 0 {
			p.t.Fatalf("row %q comes after %q", k, last)
		}
		last = k
		all[string(k)] = v
	}
	if !maps.EqualFunc(all, p.saved.rows, bytes.Equal) {
		p.t.Fatalf("the rows saved are not the content of the state:\n%q\n%q", p.saved.rows, all)
	}
}

// derived prints what is neither saved nor hashed.
func derived(s *State) string {
	var b strings.Builder
	s.roomNames.Scan(func(k string, v event.RoomID) bool { fmt.Fprintln(&b, k, v); return true })
	s.categoryNames.Scan(func(k string, v event.CategoryID) bool { fmt.Fprintln(&b, k, v); return true })
	numbers := map[directory.Number]event.Principal{}
	for u := range s.dir.Users() {
		numbers[u.Number()] = u.URI
	}
	s.rooms.Scan(func(r *Room) bool {
		var names []string // numbers differ
		for _, g := range r.access.shared.list {
			names = append(names, fmt.Sprint(s.dir.Principal(g.to), g.role))
		}
		for _, g := range r.access.own.slots {
			if g == 0 {
				continue
			}
			names = append(names, fmt.Sprint(numbers[g.number()], g.role()))
		}
		slices.Sort(names)
		fmt.Fprintln(&b, r.ID, names)
		return true
	})
	for u := range s.dir.Users() {
		fmt.Fprintln(&b, u.URI, s.dir.Containing(u.URI), s.dir.MemberOf(u.URI), s.dir.EntryByName(u.Info.Unit, u.Info.Name))
	}
	for g := range s.dir.Groups() {
		p := event.GroupPrincipal(g.ID)
		fmt.Fprintln(&b, p, s.dir.Containing(p), slices.Collect(s.dir.Members(p)), s.dir.MemberOf(p), s.dir.GroupByName(g.Info.Name).ID,
			s.dir.EntryByName(g.Info.Unit, g.Info.Name))
	}
	for u := range s.dir.Units() {
		p := event.UnitPrincipal(u.ID)
		fmt.Fprintln(&b, p, s.dir.Containing(p), slices.Collect(s.dir.Members(p)), s.dir.UnitByName(u.Info.Parent, u.Info.Name).ID)
	}
	fmt.Fprintln(&b, s.memory.Len(), s.memory.Oldest())
	s.grantsOf.Scan(func(g *grant) bool { fmt.Fprintln(&b, *g); return true })
	s.sessionsOf.Scan(func(x *Session) bool { fmt.Fprintln(&b, *x); return true })
	s.sessionsOn.Scan(func(x *Session) bool { fmt.Fprintln(&b, *x); return true })
	return b.String()
}

// loaded returns a state made from the rows saved so far.
func (p *pool) loaded() *State {
	p.t.Helper()
	s := NewState()
	if err := s.Load(p.saved.all); err != nil {
		p.t.Fatalf("load: %v", err)
	}
	if a, b := derived(p.s), derived(s); a != b {
		p.t.Fatalf("folding derived\n%s\nloading derived\n%s", a, b)
	}
	return s
}

func user(name string) event.Principal { return event.UserPrincipal(name + "@" + testDomain) }

func as(name string) Origin {
	return Origin{By: user(name), Endpoint: "e1", Node: "n1", Incarnation: 1}
}

func commandID(name string) event.CommandID {
	sum := sha256.Sum256([]byte(name))
	return event.CommandID(sum[:16])
}

// demoPool has users, one node and a category for everyone.
func demoPool(t fataler, users ...string) (*pool, event.CategoryID) {
	p := newPool(t)
	p.must(admin, &FormPool{Domain: testDomain, PoolURI: "sip:parley@" + testDomain})
	p.must(admin, &StartNode{Version: "1"})
	for _, u := range users {
		p.must(admin, &CreateUser{User: user(u), Info: event.UserInfo{Enabled: true}})
	}
	d := p.must(admin, &CreateCategory{Info: event.CategoryInfo{Name: "General", Allowed: []event.Principal{Everyone}, ChatHistory: true}})
	return p, d.Result.Category
}

func (p *pool) room(g event.CategoryID, name string, privacy event.Privacy, access ...event.Access) event.RoomID {
	p.t.Helper()
	return p.must(admin, &CreateRoom{Info: event.RoomInfo{Name: name, Category: g, Privacy: privacy}, Access: access}).Result.Room
}

func wantCode(t *testing.T, err error, code Code) {
	t.Helper()
	if err == nil {
		t.Fatalf("succeeded, want %s", code)
	}
	if got := AsRefusal(err).Code; got != code {
		t.Fatalf("refused with %s (%v), want %s", got, err, code)
	}
}
