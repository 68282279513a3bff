// Package registry keeps what belongs to a pool as a whole and is neither a limit nor a person: its add-ins, who
// administers it in which roles, the other addresses under which clients look for it, the nodes that take new
// connections, and its site. It is pure.
package registry

import (
	"fmt"
	"iter"
	"strings"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/roles"
	"parley/projections/chat/table"
)

// AddIn is a page that clients show beside a room.
type AddIn struct {
	ID       event.AddInID
	Info     event.AddInInfo
	Revision event.Offset
}

// Admin is an administrator with the names of his roles.
type Admin struct {
	Name  event.Principal
	Roles []string
}

// Endpoint is another SIP address of the pool.
type Endpoint struct {
	Address     event.Principal
	DisplayName string
}

// Token is what an administrator shows to the admin API, known by its hash.
type Token struct {
	ID          event.TokenID
	Admin       event.Principal
	SHA256      []byte
	Expires     event.Time // 0: never
	Description string
	Issued      event.Time
	By          event.Principal // who issued it
	Revision    event.Offset
}

// place is the one row of what there is once.
type place struct {
	site   string
	active []event.NodeID
}

// Registry is all of that. It is a persistent value: Copy is O(1).
type Registry struct {
	addIns    table.Keyed[event.AddInID, AddIn]
	admins    table.Keyed[event.Principal, Admin]
	endpoints table.Keyed[event.Principal, Endpoint]
	places    table.Keyed[string, place]
	tokens    table.Keyed[event.TokenID, Token]
}

// Prefixes are the row prefixes of the five tables.
type Prefixes struct{ AddIn, Admin, Endpoint, Place, Token byte }

// New returns an empty registry.
func New(p Prefixes) Registry {
	return Registry{
		addIns:    table.NewKeyed(p.AddIn, 0, func(a *AddIn) event.AddInID { return a.ID }, (*AddIn).code),
		admins:    table.NewKeyed(p.Admin, 0, func(a *Admin) event.Principal { return a.Name }, (*Admin).code),
		endpoints: table.NewKeyed(p.Endpoint, 0, func(e *Endpoint) event.Principal { return e.Address }, (*Endpoint).code),
		places:    table.NewKeyed(p.Place, 0, func(*place) string { return "" }, (*place).code),
		tokens:    table.NewKeyed(p.Token, 0, func(t *Token) event.TokenID { return t.ID }, (*Token).code),
	}
}

// Tables returns the tables under the prefixes they were made with.
func (r *Registry) Tables(p Prefixes) map[byte]table.Rows {
	return map[byte]table.Rows{p.AddIn: &r.addIns, p.Admin: &r.admins, p.Endpoint: &r.endpoints, p.Place: &r.places, p.Token: &r.tokens}
}

// Copy returns an independent copy in O(1). Only the goroutine that changes r may call it.
func (r *Registry) Copy() Registry {
	return Registry{r.addIns.Copy(), r.admins.Copy(), r.endpoints.Copy(), r.places.Copy(), r.tokens.Copy()}
}

// AddIn returns an add-in.
func (r *Registry) AddIn(id event.AddInID) (AddIn, bool) { return r.addIns.Value(id) }

// AddIns returns all add-ins, by id.
func (r *Registry) AddIns() iter.Seq[AddIn] { return r.addIns.All() }

// AddInByName returns the add-in of a name, compared without case.
func (r *Registry) AddInByName(name string) (found AddIn, ok bool) {
	for a := range r.AddIns() {
		if strings.EqualFold(a.Info.Name, name) {
			return a, true
		}
	}
	return found, false
}

// Admin returns the roles of an administrator; names that this version does not know give nothing.
func (r *Registry) Admin(p event.Principal) (set roles.Set) {
	if a := r.admins.Get(p); a != nil {
		for _, name := range a.Roles {
			if one, err := roles.Of(name); err == nil {
				set |= one
			}
		}
	}
	return set
}

// Admins returns everybody who was given a role, by name.
func (r *Registry) Admins() iter.Seq[Admin] { return r.admins.All() }

// Token returns a token.
func (r *Registry) Token(id event.TokenID) (Token, bool) { return r.tokens.Value(id) }

// Tokens returns all tokens, by id.
func (r *Registry) Tokens() iter.Seq[Token] { return r.tokens.All() }

// Endpoint returns another address of the pool.
func (r *Registry) Endpoint(address event.Principal) (Endpoint, bool) {
	return r.endpoints.Value(address)
}

// Endpoints returns the other addresses of the pool.
func (r *Registry) Endpoints() iter.Seq[Endpoint] { return r.endpoints.All() }

// ActiveServers returns the nodes that take new connections; none means all.
func (r *Registry) ActiveServers() []event.NodeID { return r.place().active }

// Site returns the site of the pool, "" if it has none.
func (r *Registry) Site() string { return r.place().site }

func (r *Registry) place() place {
	if p := r.places.Get(""); p != nil {
		return *p
	}
	return place{}
}

// Forget takes his roles and tokens from an account that is removed.
func (r *Registry) Forget(save table.Saver, p event.Principal) {
	r.admins.Remove(save, p)
	var gone []event.TokenID
	for t := range r.Tokens() {
		if t.Admin == p {
			gone = append(gone, t.ID)
		}
	}
	for _, id := range gone {
		r.tokens.Remove(save, id)
	}
}

// Fold applies an event of this package's kinds; others are none of its business, and known is false. An error says
// that the event contradicts the registry, which is then as it was.
func (r *Registry) Fold(e *event.Envelope, save table.Saver) (known bool, err error) {
	at := e.Offset
	switch v := e.Event.(type) {
	case *event.AddInCreated:
		if r.addIns.Get(v.AddIn) != nil {
			return true, fmt.Errorf("add-in %s exists", v.AddIn)
		}
		r.addIns.Put(save, &AddIn{v.AddIn, v.Info, at})
	case *event.AddInChanged:
		if r.addIns.Get(v.AddIn) == nil {
			return true, fmt.Errorf("no add-in %s", v.AddIn)
		}
		r.addIns.Put(save, &AddIn{v.AddIn, v.Info, at})
	case *event.AddInRemoved:
		if r.addIns.Get(v.AddIn) == nil {
			return true, fmt.Errorf("no add-in %s", v.AddIn)
		}
		r.addIns.Remove(save, v.AddIn)
	case *event.AdminChanged:
		if len(v.Roles) == 0 {
			r.admins.Remove(save, v.Admin)
		} else {
			r.admins.Put(save, &Admin{v.Admin, v.Roles})
		}
	case *event.TokenIssued:
		if r.tokens.Get(v.Token) != nil {
			return true, fmt.Errorf("token %s exists", v.Token)
		}
		r.tokens.Put(save, &Token{v.Token, v.Admin, v.SHA256, v.Expires, v.Description, e.At, e.By, at})
	case *event.TokenRevoked:
		if r.tokens.Get(v.Token) == nil {
			return true, fmt.Errorf("no token %s", v.Token)
		}
		r.tokens.Remove(save, v.Token)
	case *event.EndpointSet:
		r.endpoints.Put(save, &Endpoint{v.Address, v.DisplayName})
	case *event.EndpointRemoved:
		if r.endpoints.Get(v.Address) == nil {
			return true, fmt.Errorf("no endpoint %s", v.Address)
		}
		r.endpoints.Remove(save, v.Address)
	case *event.ActiveServersSet:
		p := r.place()
		p.active = v.Nodes
		r.places.Put(save, &p)
	case *event.PoolPlaced:
		p := r.place()
		p.site = v.Site
		r.places.Put(save, &p)
	default:
		return false, nil
	}
	return true, nil
}

func (a *AddIn) code(c *wire.Coder) {
	wire.Str(c, 1, &a.ID)
	c.Sub(2, a.Info.Code)
	wire.Uint(c, 3, &a.Revision)
}

func (t *Token) code(c *wire.Coder) {
	wire.Str(c, 1, &t.ID)
	wire.Str(c, 2, &t.Admin)
	c.Bytes(3, &t.SHA256)
	wire.Int(c, 4, &t.Expires)
	wire.Str(c, 5, &t.Description)
	wire.Int(c, 6, &t.Issued)
	wire.Str(c, 7, &t.By)
	wire.Uint(c, 8, &t.Revision)
}

func (a *Admin) code(c *wire.Coder) { wire.Str(c, 1, &a.Name); wire.Strs(c, 2, &a.Roles) }

func (e *Endpoint) code(c *wire.Coder) { wire.Str(c, 1, &e.Address); wire.Str(c, 2, &e.DisplayName) }

func (p *place) code(c *wire.Coder) { wire.Str(c, 1, &p.site); wire.Strs(c, 2, &p.active) }
