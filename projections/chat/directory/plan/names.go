package plan

import (
	"strings"

	"parley/log/event"
	"parley/projections/chat/directory"
	"parley/projections/chat/directory/dn"
)

// Finder is what names are resolved in: a Directory or a Plan.
type Finder interface {
	directory.Lookup
	GroupByName(name string) *directory.Group
	UnitByName(parent event.UnitID, name string) *directory.Unit
	EntryByName(unit event.UnitID, name string) event.Principal
}

// unitAt returns the unit that steps lead to from the top; "" is the top itself. Containers of other directories
// ("CN=Users") are units here, so the type of a step does not matter.
func unitAt(f Finder, steps []dn.RDN) (event.UnitID, bool) {
	var at event.UnitID
	for i := len(steps) - 1; i >= 0; i-- {
		u := f.UnitByName(at, steps[i].Value)
		if u == nil {
			return "", false
		}
		at = u.ID
	}
	return at, true
}

// Place returns the unit that a distinguished name, "ou:GUID" or "" (the top) names.
func Place(f Finder, text string) (event.UnitID, *Fault) {
	text = strings.TrimSpace(text)
	if id, ok := event.Principal(strings.ToLower(text)).Unit(); ok {
		if f.Unit(id) == nil {
			return "", Refuse(NotFound, "D3", event.UnitPrincipal(id), "there is no unit %s", id)
		}
		return id, nil
	}
	steps, _, err := dn.Split(text)
	if err != nil {
		return "", Refuse(Invalid, "D1", "", "%v", err)
	}
	id, ok := unitAt(f, steps)
	if !ok {
		return "", Refuse(NotFound, "D3", "", "there is no unit %q", text)
	}
	return id, nil
}

// Resolve finds the principal that a text names, as people write them: "*", "domain:NAME", "group:GUID", "ou:GUID", the
// wire's "ma-grp:GUID@u.g", a SIP address, a distinguished name of a unit, group or account (of only DC steps: the domain),
// or the name of a group.
func Resolve(f Finder, text string) (event.Principal, *Fault) {
	text = strings.TrimSpace(text)
	lower := strings.ToLower(text)
	p := event.Principal(lower)
	if id, ok := strings.CutPrefix(lower, wirePrefix); ok {
		p = event.GroupPrincipal(event.GroupID(strings.TrimSuffix(id, wireSuffix)))
	}
	eq := strings.IndexByte(text, '=')
	switch {
	case directory.IsCollective(p):
	case eq > 0 && !strings.ContainsAny(text[:eq], ":@"):
		return resolveDN(f, text)
	case strings.Contains(text, "@"):
		p = event.UserPrincipal(text)
	default:
		g := f.GroupByName(text)
		if g == nil {
			return "", Refuse(NotFound, "D3", "", "there is no group %q", text)
		}
		return event.GroupPrincipal(g.ID), nil
	}
	if !directory.Known(f, p) {
		return "", Refuse(NotFound, "D3", p, "there is no %s", p)
	}
	return p, nil
}

func resolveDN(f Finder, name string) (event.Principal, *Fault) {
	steps, domain, err := dn.Split(name)
	if err != nil {
		return "", Refuse(Invalid, "D1", "", "%v", err)
	}
	if len(steps) == 0 {
		return event.DomainPrincipal(domain), nil
	}
	if unit, ok := unitAt(f, steps[1:]); ok {
		if p := f.EntryByName(unit, steps[0].Value); p != "" && steps[0].Type != "ou" {
			return p, nil
		}
		if u := f.UnitByName(unit, steps[0].Value); u != nil {
			return event.UnitPrincipal(u.ID), nil
		}
	}
	return "", Refuse(NotFound, "D3", "", "there is no %q", name)
}

// The form of a group's principal on the wire (docs/protocol.md, Elements).
const (
	wirePrefix = "ma-grp:"
	wireSuffix = "@u.g"
)

// GroupURI returns the form of a group's principal on the wire.
func GroupURI(id event.GroupID) string { return wirePrefix + string(id) + wireSuffix }

// DN returns the distinguished name of a unit, a group or an account with a relative name; the DC steps at the end are
// those of the pool's domain. "" when it has none.
func DN(d *directory.Directory, p event.Principal, domain string) string {
	var steps []string
	var unit event.UnitID
	if id, ok := p.Unit(); ok {
		unit = id
	} else if id, ok := p.Group(); ok && d.Group(id) != nil {
		g := d.Group(id)
		steps, unit = append(steps, dn.Step("CN", g.Info.Name)), g.Info.Unit
	} else if u := d.User(p); u != nil && u.Info.Name != "" {
		steps, unit = append(steps, dn.Step("CN", u.Info.Name)), u.Info.Unit
	}
	for n := 0; unit != "" && n <= MaxUnitDepth; n++ {
		u := d.Unit(unit)
		if u == nil {
			break
		}
		steps, unit = append(steps, dn.Step("OU", u.Info.Name)), u.Info.Parent
	}
	if len(steps) == 0 {
		return ""
	}
	for _, label := range strings.Split(domain, ".") {
		steps = append(steps, dn.Step("DC", label))
	}
	return strings.Join(steps, ",")
}
