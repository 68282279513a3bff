package objects

import (
	"encoding/json"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory"
)

// ListChange changes a list as the product's list parameters do: Set replaces it, Add and Remove change what is there.
//
// A list of principals takes SIP addresses, names of users of the pool's domain and of groups, "group:GUID", "ou:GUID",
// distinguished names of units and groups, "domain:NAME" for everyone of a domain, and "*" for everyone.
type ListChange struct {
	Add    []string  `json:"add,omitempty" doc:"what comes in"`
	Remove []string  `json:"remove,omitempty" doc:"what goes"`
	Set    *[]string `json:"set,omitempty" doc:"replaces the list; an empty list empties it"`
}

// ApplyTo returns the changed list, sorted, each once. read makes sense of what people write.
func ApplyTo[T ~string](c *ListChange, old []T, read func(string) (T, error)) ([]T, error) {
	if c == nil {
		return old, nil
	}
	set := map[T]bool{}
	each := func(names []string, visit func(T)) error {
		for _, n := range names {
			v, err := read(n)
			if err != nil {
				return err
			}
			visit(v)
		}
		return nil
	}
	if c.Set == nil {
		for _, v := range old {
			set[v] = true
		}
	} else if err := each(*c.Set, func(v T) { set[v] = true }); err != nil {
		return nil, err
	}
	if err := each(c.Add, func(v T) { set[v] = true }); err != nil {
		return nil, err
	}
	if err := each(c.Remove, func(v T) { delete(set, v) }); err != nil {
		return nil, err
	}
	out := make([]T, 0, len(set))
	for v := range set {
		out = append(out, v)
	}
	slices.Sort(out)
	return out, nil
}

// principals applies a change to a list of principals. Who is removed need not exist any more.
func (c *ListChange) principals(s *chat.State, old []event.Principal) ([]event.Principal, error) {
	if c == nil {
		return old, nil
	}
	gone := map[string]bool{}
	for _, n := range c.Remove {
		gone[n] = true
	}
	return ApplyTo(c, old, func(name string) (event.Principal, error) {
		p := event.Principal(Lower(name))
		if gone[name] && slices.Contains(old, p) {
			return p, nil
		}
		return Principal(s, name)
	})
}

// Principal reads a principal as people write it. A bare word is a user of the pool's domain, or else a group.
func Principal(s *chat.State, name string) (event.Principal, error) {
	name = strings.TrimSpace(name)
	if !strings.ContainsAny(name, "@=:*") {
		user, err := Address(s, name)
		if err != nil {
			return "", err
		}
		_, isUser := s.User(user)
		group := s.Directory().GroupByName(name)
		switch {
		case isUser && group != nil:
			return "", chat.Refuse(chat.CodeInvalid, "%q is %s and group:%s; say which", name, user, group.ID).About(user)
		case isUser:
			return user, nil
		case group != nil:
			return event.GroupPrincipal(group.ID), nil
		}
		return "", chat.Refuse(chat.CodeNotFound, "no user %s, and no group %q", user, name).About(user)
	}
	if strings.Contains(name, "@") && !strings.Contains(name, "=") && !strings.HasPrefix(Lower(name), "ma-grp:") {
		if _, err := Address(s, name); err != nil {
			return "", err
		}
	}
	return s.ResolvePrincipal(name)
}

// Address reads the address of an account, which need not exist. A name without "@" is one of the pool's domain.
func Address(s *chat.State, name string) (event.Principal, error) {
	name = strings.TrimSpace(name)
	if name != "" && !strings.Contains(name, "@") {
		name += "@" + s.Domain()
	}
	p := event.UserPrincipal(name)
	user, host, ok := strings.Cut(p.Address(), "@")
	if !ok || user == "" || host == "" || strings.ContainsAny(p.Address(), " \t\r\n<>\"*:") || strings.Contains(host, "@") {
		return "", chat.Refuse(chat.CodeInvalid, "%q is not a SIP address; use sip:NAME@DOMAIN", name).About(p)
	}
	return p, nil
}

// Lower is the form in which words are compared.
func Lower(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// Who is a principal in a list: a string, or, when objects are asked for, an object that says who it is.
type Who struct {
	event.Principal
	object *WhoObject
}

// WhoObject says who a principal is.
type WhoObject struct {
	Principal         event.Principal `json:"principal"`
	Kind              string          `json:"kind" doc:"user, group, unit, domain or everyone"`
	Name              string          `json:"name" doc:"display name of a user, name of a group or unit"`
	DistinguishedName string          `json:"distinguished_name" doc:"empty: it has none"`
	Exists            bool            `json:"exists" doc:"false: the list still has it, the directory does not"`
}

// MarshalJSON writes a string or an object.
func (p Who) MarshalJSON() ([]byte, error) {
	if p.object != nil {
		return json.Marshal(p.object)
	}
	return json.Marshal(p.Principal)
}

// UnmarshalJSON reads either.
func (p *Who) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		p.object = new(WhoObject)
		err := json.Unmarshal(b, p.object)
		p.Principal = p.object.Principal
		return err
	}
	return json.Unmarshal(b, &p.Principal)
}

// String returns the principal.
func (p Who) String() string { return string(p.Principal) }

// View is how objects are to be shown.
type View struct {
	State   *chat.State
	Objects bool // principals as objects
	Now     event.Time
}

// list shows a list of principals; never null.
func (v View) list(ps []event.Principal) []Who {
	out := make([]Who, 0, len(ps))
	for _, p := range ps {
		w := Who{Principal: p}
		if v.Objects {
			o := WhoIs(v.State, p)
			w.object = &o
		}
		out = append(out, w)
	}
	return out
}

// WhoIs says who a principal is.
func WhoIs(s *chat.State, p event.Principal) WhoObject {
	o := WhoObject{Principal: p, Kind: "user", Exists: s.Directory().Exists(p), DistinguishedName: s.DistinguishedName(p)}
	if id, ok := p.Group(); ok {
		o.Kind = "group"
		if g := s.Directory().Group(id); g != nil {
			o.Name = g.Info.Name
		}
		return o
	}
	if id, ok := p.Unit(); ok {
		o.Kind = "unit"
		if u := s.Directory().Unit(id); u != nil {
			o.Name = u.Info.Name
		}
		return o
	}
	switch _, domain := p.Domain(); {
	case domain:
		o.Kind = "domain"
	case directory.IsCollective(p):
		o.Kind = "everyone"
	default:
		if u, ok := s.User(p); ok {
			o.Name = u.Info.DisplayName
		}
	}
	return o
}
