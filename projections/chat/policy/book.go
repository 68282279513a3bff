package policy

import (
	"fmt"
	"iter"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/table"
)

// Policy is the policy of a scope.
type Policy struct {
	Scope    event.Scope
	Info     event.PolicyInfo
	Revision event.Offset
}

// Configuration is the configuration of a scope.
type Configuration struct {
	Scope    event.Scope
	Info     event.ConfigurationInfo
	Revision event.Offset // 0: never set, these are the defaults
}

// Compliance is the compliance configuration of a scope.
type Compliance struct {
	Scope    event.Scope
	Info     event.ComplianceInfo
	Revision event.Offset
}

// Grant is the policy that a user was given.
type Grant struct {
	User  event.Principal
	Scope event.Scope
}

// Book is all of them. It is a persistent value: Copy is O(1).
type Book struct {
	policies       table.Keyed[event.Scope, Policy]
	configurations table.Keyed[event.Scope, Configuration]
	compliance     table.Keyed[event.Scope, Compliance]
	grants         table.Keyed[event.Principal, Grant]

	// Derived by settle from the tables and the two names: what holds for the pool and for whoever was granted nothing.
	domain, site string
	policy       *Policy // nil: none was ever set
	config       event.ConfigurationInfo
}

// Prefixes are the row prefixes of the four tables.
type Prefixes struct{ Policy, Configuration, Compliance, Grant byte }

// NewBook returns a book with nothing in it.
func NewBook(p Prefixes) Book {
	b := Book{
		policies:       table.NewKeyed(p.Policy, 0, func(p *Policy) event.Scope { return p.Scope }, (*Policy).code),
		configurations: table.NewKeyed(p.Configuration, 0, func(c *Configuration) event.Scope { return c.Scope }, (*Configuration).code),
		compliance:     table.NewKeyed(p.Compliance, 0, func(c *Compliance) event.Scope { return c.Scope }, (*Compliance).code),
		grants:         table.NewKeyed(p.Grant, len("sip:"), func(g *Grant) event.Principal { return g.User }, (*Grant).code).Hashed(),
	}
	b.settle()
	return b
}

// Tables returns the tables under the prefixes they were made with.
func (b *Book) Tables(p Prefixes) map[byte]table.Rows {
	return map[byte]table.Rows{p.Policy: &b.policies, p.Configuration: &b.configurations, p.Compliance: &b.compliance, p.Grant: &b.grants}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes b may call it.
func (b *Book) Copy() Book {
	c := *b
	c.policies, c.configurations = b.policies.Copy(), b.configurations.Copy()
	c.compliance, c.grants = b.compliance.Copy(), b.grants.Copy()
	return c
}

// Place says which pool this is and which site it belongs to. Call it after loading, and when either changes.
func (b *Book) Place(domain, site string) {
	b.domain, b.site = domain, site
	b.settle()
}

func (b *Book) settle() {
	b.policy, b.config = nil, DefaultConfiguration()
	policy, config := false, false
	for _, s := range order(b.domain, b.site) {
		if p := b.policies.Get(s); p != nil && !policy {
			b.policy, policy = p, true
		}
		if c := b.configurations.Get(s); c != nil && !config {
			b.config, config = c.Info, true
		}
	}
}

// order returns the scopes of a pool, the most specific first.
func order(domain, site string) []event.Scope {
	return []event.Scope{Pool(domain), Site(site), Global}
}

// Enabled reports whether the policy that holds for a user lets him use persistent chat. Decided is false when no
// policy holds for him.
func (b *Book) Enabled(user event.Principal) (enabled, decided bool) {
	p := b.For(user)
	return p != nil && p.Info.Enabled, p != nil
}

// For returns the policy that holds for a user, nil if none does.
func (b *Book) For(user event.Principal) *Policy {
	if b.grants.Len() > 0 {
		if g := b.grants.Get(user); g != nil {
			return b.policies.Get(g.Scope) // it is there: to remove a policy takes every grant of it
		}
	}
	return b.policy
}

// Limits returns the configuration that holds for the pool.
func (b *Book) Limits() event.ConfigurationInfo { return b.config }

// Archiving returns the compliance configuration that holds for the pool.
func (b *Book) Archiving() event.ComplianceInfo {
	for _, s := range order(b.domain, b.site) {
		if c := b.compliance.Get(s); c != nil {
			return c.Info
		}
	}
	return DefaultCompliance()
}

// Policy returns the policy of exactly this scope.
func (b *Book) Policy(s event.Scope) (Policy, bool) { return b.policies.Value(s) }

// Policies returns all policies, by scope.
func (b *Book) Policies() iter.Seq[Policy] { return b.policies.All() }

// Configuration returns the configuration of exactly this scope. The global one always exists.
func (b *Book) Configuration(s event.Scope) (Configuration, bool) {
	c, ok := b.configurations.Value(s)
	if !ok && s == Global {
		return Configuration{Scope: s, Info: DefaultConfiguration()}, true
	}
	return c, ok
}

// Configurations returns the configurations that were set, by scope.
func (b *Book) Configurations() iter.Seq[Configuration] { return b.configurations.All() }

// Compliance returns the compliance configuration of exactly this scope. The global one always exists.
func (b *Book) Compliance(s event.Scope) (Compliance, bool) {
	c, ok := b.compliance.Value(s)
	if !ok && s == Global {
		return Compliance{Scope: s, Info: DefaultCompliance()}, true
	}
	return c, ok
}

// Compliances returns the compliance configurations that were set, by scope.
func (b *Book) Compliances() iter.Seq[Compliance] { return b.compliance.All() }

// Granted returns the scope of the policy that a user was given, "" if none.
func (b *Book) Granted(user event.Principal) event.Scope {
	if g := b.grants.Get(user); g != nil {
		return g.Scope
	}
	return ""
}

// Grants returns all grants, by user.
func (b *Book) Grants() iter.Seq[Grant] { return b.grants.All() }

// Holds reports whether somebody was given the policy of a scope.
func (b *Book) Holds(s event.Scope) (user event.Principal, held bool) {
	b.grants.Scan(func(g *Grant) bool {
		if g.Scope == s {
			user, held = g.User, true
		}
		return !held
	})
	return user, held
}

// Fold applies an event of this package's kinds; others are none of its business, and known is false. An error says
// that the event contradicts the book, which is then as it was.
func (b *Book) Fold(ev event.Event, at event.Offset, save table.Saver) (known bool, err error) {
	switch v := ev.(type) {
	case *event.PolicySet:
		b.policies.Put(save, &Policy{Scope: v.Scope, Info: v.Info, Revision: at})
	case *event.PolicyRemoved:
		if b.policies.Get(v.Scope) == nil {
			return true, fmt.Errorf("no policy of scope %q", v.Scope)
		}
		var held []event.Principal
		b.grants.Scan(func(g *Grant) bool {
			if g.Scope == v.Scope {
				held = append(held, g.User)
			}
			return true
		})
		for _, u := range held {
			b.grants.Remove(save, u)
		}
		b.policies.Remove(save, v.Scope)
	case *event.PolicyGranted:
		if v.Scope != "" && b.policies.Get(v.Scope) == nil {
			return true, fmt.Errorf("no policy of scope %q", v.Scope)
		}
		for _, u := range v.Users {
			switch {
			case v.Scope == "":
				b.grants.Remove(save, u)
			case b.Granted(u) != v.Scope:
				b.grants.Put(save, &Grant{User: u, Scope: v.Scope})
			}
		}
		return true, nil
	case *event.ConfigurationSet:
		b.configurations.Put(save, &Configuration{Scope: v.Scope, Info: v.Info, Revision: at})
	case *event.ConfigurationRemoved:
		if b.configurations.Get(v.Scope) == nil {
			return true, fmt.Errorf("no configuration of scope %q", v.Scope)
		}
		b.configurations.Remove(save, v.Scope)
	case *event.ComplianceSet:
		b.compliance.Put(save, &Compliance{Scope: v.Scope, Info: v.Info, Revision: at})
		return true, nil
	case *event.ComplianceRemoved:
		if b.compliance.Get(v.Scope) == nil {
			return true, fmt.Errorf("no compliance configuration of scope %q", v.Scope)
		}
		b.compliance.Remove(save, v.Scope)
		return true, nil
	default:
		return false, nil
	}
	b.settle()
	return true, nil
}

// Forget takes away what a user was given, when his account goes.
func (b *Book) Forget(save table.Saver, user event.Principal) { b.grants.Remove(save, user) }

func (p *Policy) code(c *wire.Coder) {
	wire.Str(c, 1, &p.Scope)
	c.Sub(2, p.Info.Code)
	wire.Uint(c, 3, &p.Revision)
}

func (x *Configuration) code(c *wire.Coder) {
	wire.Str(c, 1, &x.Scope)
	c.Sub(2, x.Info.Code)
	wire.Uint(c, 3, &x.Revision)
}

func (x *Compliance) code(c *wire.Coder) {
	wire.Str(c, 1, &x.Scope)
	c.Sub(2, x.Info.Code)
	wire.Uint(c, 3, &x.Revision)
}

func (g *Grant) code(c *wire.Coder) {
	wire.Str(c, 1, &g.User)
	wire.Str(c, 2, &g.Scope)
}
