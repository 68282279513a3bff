// Package directory keeps who the principals of a pool are: accounts, groups with groups in them, and the tree of
// organisational units. It answers which principals stand for a user, which is asked with every right.
//
// A Directory is a persistent value like the state it is a part of (docs/decisions/0002): Copy is O(1), one goroutine
// folds, copies are read by many. A Plan is a directory as it would be after changes that nobody has decided yet; the
// rules of the directory are the Plan's, and Fold only checks what it needs to stay whole.
//
// What contains whom. "*" contains everybody, "domain:NAME" the accounts whose address is in the domain, a group its
// members and the members of the groups in it, a unit the accounts and groups that live in it or in a unit below it. A
// unit that a group lives in does not contain the members of the group: they are contained where they live themselves.
package directory

import (
	"iter"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"parley/log/event"
	"parley/projections/chat/table"
)

// User is an account.
type User struct {
	URI      event.Principal
	in       []Ref // groups, unit and domain that it belongs to directly, ascending; never changed in place
	number   Number
	Info     event.UserInfo
	Secret   event.Secret
	Revision event.Offset
}

// Group is a group with its fields; its members are asked for with Directory.Members.
type Group struct {
	ID       event.GroupID
	Info     event.GroupInfo
	Revision event.Offset // of the last change of fields or members
}

// Unit is an organisational unit.
type Unit struct {
	ID       event.UnitID
	Info     event.UnitInfo
	Revision event.Offset
}

// Ref is the number of a principal that stands for more than one user: small, dense, and the same in all copies of a
// Directory. It is not saved, and a Directory that was loaded numbers anew: it may decide what is found, never in
// which order anything is told. A number is never given to another principal, even when its own is removed.
type Ref uint32

// Number is the number of an account, as a Ref is that of other principals; in a number space of its own.
type Number uint32

// Number returns the number of the account: only in an account that came out of a Directory, not in a planned one.
func (u *User) Number() Number { return u.number }

// Everyone is the number of event.Everyone.
const Everyone Ref = 0

// node is a principal that stands for more than one user, as a place in the graph. Nodes are immutable.
type node struct {
	principal event.Principal
	in        []Ref // the groups it is a direct member of; the parent of a unit
	above     []Ref // itself and everything that its being in these puts it into, ascending
	kids      []Ref // the nodes that have it in their in, ascending
}

// member says that an account or a group is a member of a group, or lives in a unit.
type member struct {
	of  Ref
	who event.Principal
}

func memberLess(a, b member) bool {
	if a.of != b.of {
		return a.of < b.of
	}
	return a.who < b.who
}

// Directory is the state. The zero value is of no use.
type Directory struct {
	users  table.Keyed[event.Principal, User]
	groups table.Keyed[event.GroupID, Group]
	units  table.Keyed[event.UnitID, Unit]
	prefix byte // of the rows of members

	// Derived: neither saved nor hashed.
	members    *btree.BTreeG[member]
	refs       *btree.Map[event.Principal, Ref]
	nodes      nodes
	numbered   Number                              // how many accounts got a number
	nested     []uint64                            // bit set of the nodes with more above than themselves; never changed in place
	groupNames *btree.Map[string, event.GroupID]   // folded
	unitNames  *btree.Map[string, event.UnitID]    // parent, NUL, folded
	entryNames *btree.Map[string, event.Principal] // accounts and groups by unit, NUL, relative name folded
	pending    []saved                             // rows of members that were loaded; nil once linked
}

// New returns an empty directory. The arguments are the prefixes of its four tables' rows.
func New(users, groups, units, members byte) *Directory {
	d := &Directory{
		users:      table.NewKeyed(users, len("sip:"), func(u *User) event.Principal { return u.URI }, (*User).code).Hashed(),
		groups:     table.NewKeyed(groups, 0, func(g *Group) event.GroupID { return g.ID }, (*Group).code),
		units:      table.NewKeyed(units, 0, func(u *Unit) event.UnitID { return u.ID }, (*Unit).code),
		prefix:     members,
		members:    table.NewTree(memberLess),
		refs:       btree.NewMap[event.Principal, Ref](0),
		groupNames: btree.NewMap[string, event.GroupID](0),
		unitNames:  btree.NewMap[string, event.UnitID](0),
		entryNames: btree.NewMap[string, event.Principal](0),
	}
	d.Intern(event.Everyone)
	return d
}

// Copy returns an independent copy in O(1). Only the goroutine that folds d may call it.
func (d *Directory) Copy() *Directory {
	c := *d
	c.users, c.groups, c.units = d.users.Copy(), d.groups.Copy(), d.units.Copy()
	c.members, c.refs = d.members.Copy(), d.refs.Copy()
	c.groupNames, c.unitNames, c.entryNames = d.groupNames.Copy(), d.unitNames.Copy(), d.entryNames.Copy()
	return &c
}

// User returns an account, or nil. It is not to be changed.
func (d *Directory) User(p event.Principal) *User { return d.users.Get(p) }

// Users returns all accounts, by URI.
func (d *Directory) Users() iter.Seq[User] { return d.users.All() }

// Group returns a group, or nil. It is not to be changed.
func (d *Directory) Group(id event.GroupID) *Group { return d.groups.Get(id) }

// Groups returns all groups, by id.
func (d *Directory) Groups() iter.Seq[Group] { return d.groups.All() }

// Unit returns an organisational unit, or nil. It is not to be changed.
func (d *Directory) Unit(id event.UnitID) *Unit { return d.units.Get(id) }

// Units returns all organisational units, by id.
func (d *Directory) Units() iter.Seq[Unit] { return d.units.All() }

// Counts returns how many accounts, groups and units there are.
func (d *Directory) Counts() (users, groups, units int) {
	return d.users.Len(), d.groups.Len(), d.units.Len()
}

// Exists reports whether the principal stands for somebody the directory knows. Domains and everyone always do.
func (d *Directory) Exists(p event.Principal) bool { return Known(d, p) }

// Lookup finds what there is, or is going to be.
type Lookup interface {
	User(event.Principal) *User
	Group(event.GroupID) *Group
	Unit(event.UnitID) *Unit
}

// Known reports whether a principal stands for somebody. Domains and everyone always do.
func Known(l Lookup, p event.Principal) bool {
	if id, ok := p.Group(); ok {
		return l.Group(id) != nil
	}
	if id, ok := p.Unit(); ok {
		return l.Unit(id) != nil
	}
	if d, ok := p.Domain(); ok {
		return d != ""
	}
	return p == event.Everyone || l.User(p) != nil
}

// Members returns the direct members of a group, or who lives directly in a unit (without the units in it), by principal.
func (d *Directory) Members(p event.Principal) iter.Seq[event.Principal] {
	return func(yield func(event.Principal) bool) {
		if r, ok := d.refs.Get(p); ok {
			d.membersOf(r, yield)
		}
	}
}

func (d *Directory) membersOf(r Ref, yield func(event.Principal) bool) {
	d.members.Ascend(member{of: r}, func(m member) bool { return m.of == r && yield(m.who) })
}

// MemberOf returns the groups that an account or a group is a direct member of, by principal.
func (d *Directory) MemberOf(p event.Principal) []event.Principal {
	var out []event.Principal
	for _, r := range d.In(p) {
		if n := d.nodes.get(r); IsGroup(n.principal) {
			out = append(out, n.principal)
		}
	}
	slices.Sort(out)
	return out
}

func (d *Directory) node(p event.Principal) *node {
	if r, ok := d.refs.Get(p); ok {
		return d.nodes.get(r)
	}
	return nil
}

// IsGroup reports whether a principal stands for a group.
func IsGroup(p event.Principal) bool {
	_, ok := p.Group()
	return ok
}

func isUnit(p event.Principal) bool {
	_, ok := p.Unit()
	return ok
}

// IsCollective reports whether a principal stands for more than one user.
func IsCollective(p event.Principal) bool {
	_, domain := p.Domain()
	return p == event.Everyone || domain || IsGroup(p) || isUnit(p)
}

// Domain returns the domain of a SIP address, "" for other principals.
func Domain(p event.Principal) string {
	if i := strings.LastIndexByte(string(p), '@'); i >= 0 && strings.HasPrefix(string(p), "sip:") {
		return string(p)[i+1:]
	}
	return ""
}

// Intern returns the number of a principal that stands for more than one user, and gives it one if it has none yet.
// Only the goroutine that folds may call it: Find is for everybody else.
func (d *Directory) Intern(p event.Principal) Ref {
	if r, ok := d.refs.Get(p); ok {
		return r
	}
	r := d.nodes.size
	p = event.Principal(strings.Clone(string(p)))
	d.refs.Set(p, r)
	d.nodes.set(r, &node{principal: p, above: []Ref{r}})
	return r
}

// number returns the next number for an account: never given twice, so that whoever noted one never means another account.
func (d *Directory) number() Number {
	d.numbered++
	return d.numbered
}

// Reach appends the numbers of all principals that contain an account to buf: in no order, some perhaps twice.
func (d *Directory) Reach(u *User, buf []Ref) []Ref {
	buf = append(buf, Everyone)
	for _, r := range u.in {
		if !d.isNested(r) {
			buf = append(buf, r)
			continue
		}
		buf = append(buf, d.nodes.get(r).above...)
	}
	return buf
}

// ReachOf is Reach for any principal, itself included when it has a number. Of an account that does not exist only its
// domain is known.
func (d *Directory) ReachOf(p event.Principal, buf []Ref) []Ref {
	if u := d.users.Get(p); u != nil {
		return d.Reach(u, buf)
	}
	buf = append(buf, Everyone)
	if n := d.node(p); n != nil {
		buf = append(buf, n.above...)
	}
	if id, ok := p.Group(); ok {
		if g := d.groups.Get(id); g != nil && g.Info.Unit != "" {
			buf = append(buf, d.node(event.UnitPrincipal(g.Info.Unit)).above...)
		}
	} else if domain := Domain(p); domain != "" {
		if r, ok := d.refs.Get(event.DomainPrincipal(domain)); ok {
			buf = append(buf, r)
		}
	}
	return buf
}

// Containing returns all principals that contain p, itself included, in the order of their texts.
func (d *Directory) Containing(p event.Principal) []event.Principal {
	out := []event.Principal{p}
	for _, r := range d.ReachOf(p, nil) {
		n := d.nodes.get(r)
		out = append(out, n.principal)
	}
	if domain := Domain(p); domain != "" {
		out = append(out, event.DomainPrincipal(domain))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Contains reports whether p stands for who: a user, or another principal as a whole.
func (d *Directory) Contains(p, who event.Principal) bool {
	switch {
	case p == who || p == event.Everyone:
		return true
	case p == event.DomainPrincipal(Domain(who)):
		return true
	}
	r, ok := d.refs.Get(p)
	return ok && slices.Contains(d.ReachOf(who, nil), r)
}

// UsersIn returns the accounts that a principal stands for, each once, in no order that means anything. It costs what
// it returns, except for a domain, which costs all accounts.
func (d *Directory) UsersIn(p event.Principal) iter.Seq[*User] {
	return func(yield func(*User) bool) {
		if domain, ok := p.Domain(); ok || p == event.Everyone {
			d.users.Scan(func(u *User) bool { return ok && Domain(u.URI) != domain || yield(u) })
			return
		}
		r, ok := d.refs.Get(p)
		if !ok {
			if u := d.users.Get(p); u != nil {
				yield(u)
			}
			return
		}
		below := d.below(r)
		seen := map[event.Principal]bool{}
		for _, b := range below {
			more := true
			d.membersOf(b, func(who event.Principal) bool {
				if IsGroup(who) || len(below) > 1 && seen[who] {
					return true
				}
				if len(below) > 1 {
					seen[who] = true
				}
				more = yield(d.users.Get(who))
				return more
			})
			if !more {
				return
			}
		}
	}
}

func (d *Directory) isNested(r Ref) bool {
	w := int(r / 64)
	return w < len(d.nested) && d.nested[w]&(1<<(r%64)) != 0
}

// putNode stores a node and notes whether it is nested.
func (d *Directory) putNode(r Ref, n *node) {
	d.nodes.set(r, n)
	if is := len(n.above) > 1; is != d.isNested(r) {
		words := make([]uint64, max(len(d.nested), int(r/64)+1))
		copy(words, d.nested)
		words[r/64] ^= 1 << (r % 64)
		d.nested = words
	}
}

// below returns a node and everything in it, however deep.
func (d *Directory) below(r Ref) []Ref { return d.walk(r, func(n *node) []Ref { return n.kids }) }

// climb returns a node and everything that it is in, however far up, ascending.
func (d *Directory) climb(r Ref) []Ref {
	up := slices.Clip(d.walk(r, func(n *node) []Ref { return n.in }))
	slices.Sort(up)
	return up
}

// walk visits a node and what it leads to, each once. A cycle, which no Plan makes, does no harm.
func (d *Directory) walk(r Ref, next func(*node) []Ref) []Ref {
	out := []Ref{r}
	seen := map[Ref]bool{}
	for i := 0; i < len(out); i++ {
		n := d.nodes.get(out[i])
		for _, to := range next(n) {
			if to != r && !seen[to] {
				seen[to] = true
				out = append(out, to)
			}
		}
	}
	return out
}

// setIn puts a node directly into these and no others. It costs the nodes below it, not the accounts.
func (d *Directory) setIn(r Ref, in []Ref) {
	old := d.nodes.get(r)
	for _, p := range old.in {
		if !slices.Contains(in, p) {
			d.changeKids(p, Without, r)
		}
	}
	for _, p := range in {
		if !slices.Contains(old.in, p) {
			d.changeKids(p, With, r)
		}
	}
	n := d.nodes.get(r) // it may be its own kid
	c := *n
	c.in = in
	d.nodes.set(r, &c)
	for _, b := range d.below(r) {
		n := d.nodes.get(b)
		c := *n
		c.above = d.climb(b)
		d.putNode(b, &c)
	}
}

func (d *Directory) changeKids(r Ref, change func([]Ref, Ref) []Ref, kid Ref) {
	n := d.nodes.get(r)
	c := *n
	c.kids = change(n.kids, kid)
	d.nodes.set(r, &c)
}

// FoldName is the form in which names are compared.
func FoldName(name string) string { return strings.ToLower(name) }

// PlaceName is the key of a relative name in a unit.
func PlaceName(unit event.UnitID, name string) string { return string(unit) + "\x00" + FoldName(name) }

// GroupByName returns the group of a name, compared without case, or nil.
func (d *Directory) GroupByName(name string) *Group {
	id, ok := d.groupNames.Get(FoldName(name))
	if !ok {
		return nil
	}
	return d.groups.Get(id)
}

// UnitByName returns the unit of a name in a parent ("": at the top), compared without case, or nil.
func (d *Directory) UnitByName(parent event.UnitID, name string) *Unit {
	id, ok := d.unitNames.Get(PlaceName(parent, name))
	if !ok {
		return nil
	}
	return d.units.Get(id)
}

// EntryByName returns the account or group of a relative name in a unit ("": at the top), or "".
func (d *Directory) EntryByName(unit event.UnitID, name string) event.Principal {
	p, _ := d.entryNames.Get(PlaceName(unit, name))
	return p
}
