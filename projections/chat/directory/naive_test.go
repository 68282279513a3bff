package directory_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat/directory"
	"parley/projections/chat/directory/plan"
)

var memberCases = flag.Int("member.cases", 60_000, "random (principal, principal) cases to compare with the naive reference")

// naive says again who contains whom, as plainly as the package's comment does: sets of names, nothing prepared.
type naive struct {
	users   map[event.Principal]event.UnitID
	groups  map[event.Principal]map[event.Principal]bool
	livesIn map[event.Principal]event.UnitID // groups
	parents map[event.UnitID]event.UnitID
}

func newNaive() *naive {
	return &naive{map[event.Principal]event.UnitID{}, map[event.Principal]map[event.Principal]bool{},
		map[event.Principal]event.UnitID{}, map[event.UnitID]event.UnitID{}}
}

// contains follows the tree and the groups by hand. seen guards against cycles.
func (n *naive) contains(p, who event.Principal) bool {
	if p == who || p == "*" {
		return true
	}
	switch {
	case strings.HasPrefix(string(p), "domain:"):
		return strings.HasPrefix(string(who), "sip:") && strings.HasSuffix(string(who), "@"+strings.TrimPrefix(string(p), "domain:"))
	case strings.HasPrefix(string(p), "group:"):
		return n.inGroup(p, who, map[event.Principal]bool{})
	case strings.HasPrefix(string(p), "ou:"):
		var at event.UnitID
		switch {
		case strings.HasPrefix(string(who), "sip:"):
			at = n.users[who]
		case strings.HasPrefix(string(who), "group:"):
			at = n.livesIn[who]
		case strings.HasPrefix(string(who), "ou:"):
			at = n.parents[event.UnitID(strings.TrimPrefix(string(who), "ou:"))]
		}
		for ; at != ""; at = n.parents[at] {
			if "ou:"+string(at) == string(p) {
				return true
			}
		}
	}
	return false
}

func (n *naive) inGroup(group, who event.Principal, seen map[event.Principal]bool) bool {
	if seen[group] {
		return false
	}
	seen[group] = true
	for m := range n.groups[group] {
		if m == who || strings.HasPrefix(string(m), "group:") && n.inGroup(m, who, seen) {
			return true
		}
	}
	return false
}

func (n *naive) fold(e event.Event) {
	drop := func(who event.Principal) {
		for _, members := range n.groups {
			delete(members, who)
		}
	}
	switch e := e.(type) {
	case *event.UserCreated:
		n.users[e.User] = e.Info.Unit
	case *event.UserChanged:
		n.users[e.User] = e.Info.Unit
	case *event.UserRemoved:
		delete(n.users, e.User)
		drop(e.User)
	case *event.GroupCreated:
		p := event.GroupPrincipal(e.Group)
		n.livesIn[p], n.groups[p] = e.Info.Unit, map[event.Principal]bool{}
		for _, m := range e.Members {
			n.groups[p][m] = true
		}
	case *event.GroupChanged:
		p := event.GroupPrincipal(e.Group)
		n.livesIn[p] = e.Info.Unit
		for _, m := range e.Removed {
			delete(n.groups[p], m)
		}
		for _, m := range e.Added {
			n.groups[p][m] = true
		}
	case *event.GroupRemoved:
		p := event.GroupPrincipal(e.Group)
		delete(n.groups, p)
		delete(n.livesIn, p)
		drop(p)
	case *event.UnitCreated:
		n.parents[e.Unit] = e.Info.Parent
	case *event.UnitChanged:
		n.parents[e.Unit] = e.Info.Parent
	case *event.UnitRemoved:
		delete(n.parents, e.Unit)
	}
}

// world folds the same events into a Directory and into the reference.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	d      *directory.Directory
	n      *naive
	offset event.Offset
	rows   map[string]string // what was saved
}

func newDirectory() *directory.Directory { return directory.New(2, 12, 13, 14) }

func newWorld(t *testing.T, rng *rand.Rand) *world {
	return &world{t: t, rng: rng, d: newDirectory(), n: newNaive(), rows: map[string]string{}}
}

func (w *world) Set(k, v []byte) { w.rows[string(k)] = string(v) }
func (w *world) Delete(k []byte) {
	if _, had := w.rows[string(k)]; !had {
		w.t.Errorf("row %q is deleted and was not there", k)
	}
	delete(w.rows, string(k))
}

func (w *world) fold(e event.Event) {
	w.t.Helper()
	w.offset++
	if err := w.d.Fold(event.Envelope{Offset: w.offset, Event: e}, w); err != nil {
		w.t.Fatalf("%T %+v: %v", e, e, err)
	}
	w.n.fold(e)
}

// loaded returns a Directory made from the rows.
func (w *world) loaded() *directory.Directory {
	w.t.Helper()
	d := newDirectory()
	users, groups, units, members := d.Rows()
	for k, v := range w.rows { // in any order
		table := users
		switch k[0] {
		case 12:
			table = groups
		case 13:
			table = units
		case 14:
			table = members
		}
		if err := table.Load([]byte(k), []byte(v)); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := d.Link(); err != nil {
		w.t.Fatal(err)
	}
	return d
}

func id(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", i) }

func aUser(i int) event.Principal {
	return event.UserPrincipal(fmt.Sprintf("u%d@%s.test", i, []string{"a", "b", "sub.a"}[i%3]))
}
func aGroup(i int) event.GroupID { return event.GroupID(id(i)) }
func aUnit(i int) event.UnitID   { return event.UnitID(id(100 + i)) }

const (
	manyUsers  = 7
	manyGroups = 6
	manyUnits  = 5
)

// everybody are the principals of the small worlds, whether they exist or not.
func everybody() (all []event.Principal) {
	all = append(all, "*", "domain:a.test", "domain:b.test", "domain:c.test", "sip:nobody@a.test")
	for i := range manyUsers {
		all = append(all, aUser(i))
	}
	for i := range manyGroups {
		all = append(all, event.GroupPrincipal(aGroup(i)))
	}
	for i := range manyUnits {
		all = append(all, event.UnitPrincipal(aUnit(i)))
	}
	return all
}

func (w *world) someUnit() event.UnitID {
	units := []event.UnitID{""}
	for u := range w.d.Units() {
		units = append(units, u.ID)
	}
	return units[w.rng.IntN(len(units))]
}

// someMembers draws accounts and groups that exist.
func (w *world) someMembers() (list []event.Principal) {
	for u := range w.d.Users() {
		if w.rng.IntN(4) == 0 {
			list = append(list, u.URI)
		}
	}
	for g := range w.d.Groups() {
		if w.rng.IntN(4) == 0 {
			list = append(list, event.GroupPrincipal(g.ID))
		}
	}
	return list
}

// event draws an event that can be folded. It may close a cycle of groups: Fold must survive what no Plan makes. Units
// are a tree in every directory there is.
func (w *world) event() event.Event {
	u, g, o := aUser(w.rng.IntN(manyUsers)), aGroup(w.rng.IntN(manyGroups)), aUnit(w.rng.IntN(manyUnits))
	switch w.rng.IntN(8) {
	case 0, 1:
		info := event.UserInfo{Enabled: true, Unit: w.someUnit(), Name: fmt.Sprint("n", w.rng.IntN(9))}
		if w.d.User(u) == nil {
			return &event.UserCreated{User: u, Info: info}
		}
		if w.rng.IntN(4) == 0 {
			return &event.UserRemoved{User: u}
		}
		return &event.UserChanged{User: u, Info: info}
	case 2, 3, 4, 5:
		info := event.GroupInfo{Name: fmt.Sprint("g", g), Unit: w.someUnit()}
		switch {
		case w.d.Group(g) == nil:
			return &event.GroupCreated{Group: g, Info: info, Members: w.someMembers()}
		case w.rng.IntN(8) == 0:
			return &event.GroupRemoved{Group: g}
		}
		return &event.GroupChanged{Group: g, Info: info, Added: w.someMembers(), Removed: w.someMembers()}
	default:
		if w.d.Unit(o) == nil {
			return &event.UnitCreated{Unit: o, Info: event.UnitInfo{Name: string(o), Parent: w.someUnit()}}
		}
		if _, has := w.d.Resident(o); !has && w.rng.IntN(2) == 0 {
			return &event.UnitRemoved{Unit: o}
		}
		parent := w.someUnit()
		for at := parent; at != ""; at = w.n.parents[at] {
			if at == o {
				parent = ""
				break
			}
		}
		return &event.UnitChanged{Unit: o, Info: event.UnitInfo{Name: string(o), Parent: parent}}
	}
}

// agree compares a Directory with the reference and returns how many cases that were, and in how many somebody contained
// somebody else.
func (n *naive) agree(t *testing.T, d *directory.Directory) (cases, held int) {
	t.Helper()
	all := everybody()
	for _, p := range all {
		if !exists(n, p) {
			continue
		}
		var users []event.Principal
		for _, who := range all {
			if !exists(n, who) {
				continue
			}
			cases++
			want := n.contains(p, who)
			if got := d.Contains(p, who); got != want {
				t.Fatalf("%s contains %s: %v, the reference says %v", p, who, got, want)
			}
			if got := slices.Contains(d.Containing(who), p); got != want {
				t.Fatalf("%s is among the principals that contain %s: %v, the reference says %v", p, who, got, want)
			}
			if r, ok := d.Find(p); ok && directory.IsCollective(p) {
				if got := slices.Contains(d.ReachOf(who, nil), r); got != want {
					t.Fatalf("the number of %s reaches %s: %v, the reference says %v", p, who, got, want)
				}
			}
			if want && p != who {
				held++
			}
			if _, is := n.users[who]; is && want {
				users = append(users, who)
			}
		}
		var got []event.Principal
		for u := range d.UsersIn(p) {
			got = append(got, u.URI)
		}
		slices.Sort(got)
		slices.Sort(users)
		if !slices.Equal(got, users) {
			t.Fatalf("accounts in %s: %v, the reference says %v", p, got, users)
		}
	}
	return cases, held
}

func exists(n *naive, p event.Principal) bool {
	switch {
	case strings.HasPrefix(string(p), "group:"):
		return n.groups[p] != nil
	case strings.HasPrefix(string(p), "ou:"):
		_, ok := n.parents[event.UnitID(strings.TrimPrefix(string(p), "ou:"))]
		return ok
	case strings.HasPrefix(string(p), "sip:"):
		_, ok := n.users[p]
		return ok
	}
	return true
}

// TestMembershipAgainstNaiveReference folds random events and compares, after every one, who contains whom with the
// reference: in the Directory, in the one loaded from its rows, and in a copy taken earlier, which must not change.
func TestMembershipAgainstNaiveReference(t *testing.T) {
	const seed = 20130101
	cases, held := 0, 0
	for i := uint64(0); cases < *memberCases; i++ {
		w := newWorld(t, rand.New(rand.NewPCG(seed, i)))
		var earlier *directory.Directory
		var then *naive
		for step := range 40 {
			w.fold(w.event())
			c, h := w.n.agree(t, w.d)
			cases, held = cases+c, held+h
			switch step {
			case 20:
				earlier, then = w.d.Copy(), w.n.clone()
			case 39:
				for d, n := range map[*directory.Directory]*naive{w.loaded(): w.n, earlier: then} {
					c, h := n.agree(t, d)
					cases, held = cases+c, held+h
				}
				w.sameRows()
			}
		}
	}
	if held < cases/10 || held > cases*9/10 { // a comparison of nothing with nothing proves nothing
		t.Errorf("somebody contained somebody else in %d of %d cases: the worlds are too uniform", held, cases)
	}
	t.Logf("%d cases, %d held", cases, held)
}

func (n *naive) clone() *naive {
	c := newNaive()
	for k, v := range n.users {
		c.users[k] = v
	}
	for k, v := range n.livesIn {
		c.livesIn[k] = v
	}
	for k, v := range n.parents {
		c.parents[k] = v
	}
	for k, v := range n.groups {
		c.groups[k] = map[event.Principal]bool{}
		for m := range v {
			c.groups[k][m] = true
		}
	}
	return c
}

// sameRows checks that what was saved is what there is, in the order of the keys.
func (w *world) sameRows() {
	w.t.Helper()
	users, groups, units, members := w.d.Rows()
	n, last := 0, ""
	for _, table := range []interface {
		Each(func(k, v []byte) bool) bool
	}{users, groups, units, members} {
		table.Each(func(k, v []byte) bool {
			if string(k) <= last {
				w.t.Fatalf("row %q comes after %q", k, last)
			}
			last = string(k)
			if was, ok := w.rows[last]; !ok || was != string(v) {
				w.t.Fatalf("row %q is %q, saved was %q", k, v, was)
			}
			n++
			return true
		})
	}
	if n != len(w.rows) {
		w.t.Fatalf("%d rows, %d were saved", n, len(w.rows))
	}
}

// TestPlansAgainstWhatComesOfThem draws changes, asks the plan who would contain whom, folds its events and compares. The
// plan's Effect must name everybody whose containment differs.
func TestPlansAgainstWhatComesOfThem(t *testing.T) {
	const seed = 20150101
	done, refused := 0, map[string]int{}
	for i := range uint64(*memberCases / 300) {
		w := newWorld(t, rand.New(rand.NewPCG(seed, i)))
		for range 25 {
			p := plan.NewPlan(w.d)
			for range 1 + w.rng.IntN(4) {
				if f := w.change(p); f != nil {
					refused[f.Rule]++
				} else {
					done++
				}
			}
			before, planned := w.d.Copy(), map[event.Principal][]event.Principal{}
			for i := range manyUsers {
				if u := p.User(aUser(i)); u != nil {
					planned[u.URI] = names(w.d, p.Reach(u, nil))
				}
			}
			e := p.Effect()
			changes, removals := p.Events()
			for _, ev := range append(changes, removals...) {
				w.fold(ev)
			}
			for i := range manyUsers {
				u := w.d.User(aUser(i))
				if u == nil {
					continue
				}
				after := names(w.d, w.d.Reach(u, nil))
				known := slices.DeleteFunc(slices.Clone(after), func(p event.Principal) bool { _, old := before.Find(p); return !old })
				if !slices.Equal(planned[u.URI], known) {
					t.Fatalf("world %d: the plan puts %s in %v, folded he is in %v", i, u.URI, planned[u.URI], known)
				}
				old := before.User(u.URI)
				if old == nil {
					continue
				}
				was := names(w.d, before.Reach(old, nil))
				for _, p := range append(slices.Clone(was), after...) {
					if slices.Contains(was, p) == slices.Contains(after, p) {
						continue
					}
					r, known := before.Find(p)
					moved := slices.ContainsFunc(e.Moved, func(m event.Principal) bool { return before.Contains(m, u.URI) || w.d.Contains(m, u.URI) })
					if known && (!e.Through[r] || !moved) {
						t.Fatalf("world %d: %s is in %v, was in %v; the effect is %+v", i, u.URI, after, was, e)
					}
				}
			}
			w.n.agree(t, w.d)
			for g := range w.d.Groups() { // no plan makes a cycle
				if p := event.GroupPrincipal(g.ID); w.n.inGroup(p, p, map[event.Principal]bool{}) {
					t.Fatalf("world %d: group %s is in itself", i, g.ID)
				}
			}
		}
		w.sameRows()
	}
	t.Logf("%d changes, refused: %v", done, refused)
	for _, rule := range []string{"D2", "D3", "D4", "D5", "D7"} {
		if refused[rule] == 0 {
			t.Errorf("rule %s was never broken: the worlds are too tame", rule)
		}
	}
}

func names(d *directory.Directory, refs []directory.Ref) (out []event.Principal) {
	for _, r := range refs {
		if r < d.Size() {
			out = append(out, d.Principal(r))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// change draws a change, good or bad.
func (w *world) change(p *plan.Plan) *plan.Fault {
	u, g, o := aUser(w.rng.IntN(manyUsers)), aGroup(w.rng.IntN(manyGroups)), aUnit(w.rng.IntN(manyUnits))
	unit := func() event.UnitID {
		if w.rng.IntN(3) == 0 {
			return ""
		}
		return aUnit(w.rng.IntN(manyUnits))
	}
	switch w.rng.IntN(12) {
	case 0, 1:
		return p.PutUser(u, event.UserInfo{Enabled: true, Unit: unit(), Name: fmt.Sprint("n", w.rng.IntN(9))}, event.Secret{})
	case 2:
		if w.rng.IntN(3) == 0 {
			return p.RemoveUser(u)
		}
		return p.AddMember(g, u)
	case 3, 4:
		return p.PutGroup(g, event.GroupInfo{Name: fmt.Sprint("n", w.rng.IntN(9)), Unit: unit()})
	case 5:
		if w.rng.IntN(4) == 0 {
			return p.RemoveGroup(g)
		}
		return p.SetMembers(g, w.someMembers())
	case 6:
		return p.AddMember(g, everybody()[w.rng.IntN(len(everybody()))])
	case 7, 8:
		return p.AddMember(g, event.GroupPrincipal(aGroup(w.rng.IntN(manyGroups))))
	case 9:
		return p.RemoveMember(g, everybody()[w.rng.IntN(len(everybody()))])
	case 10:
		return p.PutUnit(o, event.UnitInfo{Name: fmt.Sprint("n", w.rng.IntN(4)), Parent: unit()})
	default:
		return p.RemoveUnit(o)
	}
}
