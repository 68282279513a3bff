package chat

import (
	"strings"

	"parley/log/event"
)

// Principals that stand for more than one user.
const (
	Everyone     event.Principal = "*"
	domainPrefix string          = "domain:"
)

func isGroup(p event.Principal) bool {
	return p == Everyone || strings.HasPrefix(string(p), domainPrefix)
}

// host returns the domain of a user or of a domain principal, "" for others.
func host(p event.Principal) string {
	if d, ok := strings.CutPrefix(string(p), domainPrefix); ok {
		return d
	}
	if i := strings.LastIndexByte(string(p), '@'); i >= 0 && strings.HasPrefix(string(p), "sip:") {
		return string(p)[i+1:]
	}
	return ""
}

// identities returns the principals under which a user may have been given something.
func identities(p event.Principal) []event.Principal {
	return []event.Principal{p, event.Principal(domainPrefix + host(p)), Everyone}
}

// scope is a list of principals made ready for asking: it is asked with every command, and changed by hand.
type scope struct {
	everyone bool
	users    map[event.Principal]struct{}
	domains  map[string]struct{} // without prefix
}

func newScope(list []event.Principal) scope {
	m := scope{users: make(map[event.Principal]struct{}, len(list)), domains: map[string]struct{}{}}
	for _, p := range list {
		switch {
		case p == Everyone:
			m.everyone = true
		case isGroup(p):
			m.domains[host(p)] = struct{}{}
		default:
			m.users[p] = struct{}{}
		}
	}
	return m
}

// has reports whether the list names p, its domain or everyone.
func (m *scope) has(p event.Principal) bool {
	if m.everyone {
		return true
	}
	if _, ok := m.users[p]; ok {
		return true
	}
	if len(m.domains) == 0 {
		return false
	}
	_, ok := m.domains[host(p)]
	return ok
}

// Rights returns what a user may do in a room (rules R1 and R4 to R7, R15 of protocol digest section 7). Nobody may
// do anything in a room that does not exist, and whoever is no enabled account may do nothing anywhere.
func (s *State) Rights(room event.RoomID, by event.Principal) Rights {
	r := s.rooms.Get(room)
	if r == nil {
		return Rights{}
	}
	return s.rights(r, s.users.Get(by))
}

func (s *State) rights(r *Room, u *User) Rights {
	if u == nil {
		return Rights{}
	}
	return rightsIn(&r.Info, s.categories.Get(r.Info.Category), u, s.effectiveRole(r.ID, u.URI))
}

// effectiveRole is the union of the roles given to a user, to his domain and to everyone.
func (s *State) effectiveRole(room event.RoomID, by event.Principal) event.Role {
	role := s.Role(room, by)
	if n, _ := s.groupGrants.Get(room); n > 0 {
		role |= s.Role(room, Everyone) | s.Role(room, event.Principal(domainPrefix+host(by)))
	}
	return role
}

// rightsIn is the rule itself, on values, so that a decision can ask it about a room as it is going to be.
func rightsIn(info *event.RoomInfo, cat *category, user *User, role event.Role) Rights {
	if cat == nil || user == nil || !user.Info.Enabled || !cat.covers(user.URI) {
		return Rights{}
	}
	r := Rights{Member: role&event.RoleMember != 0, Manager: role&event.RoleManager != 0}
	enters := r.Member || info.Privacy == event.PrivacyOpen
	r.Presenter = info.Type == event.RoomAuditorium && role&event.RolePresenter != 0 && enters
	r.Manage = r.Manager
	r.See = !hides(info, r)
	if info.Disabled {
		r.See = r.Manager // whoever may enable it again
		return r
	}
	r.Join, r.ReadHistory = enters, enters
	r.Post = enters && (info.Type != event.RoomAuditorium || r.Presenter)
	return r
}

// hides reports whether the room is a secret from whoever has these rights.
func hides(info *event.RoomInfo, r Rights) bool {
	return info.Privacy == event.PrivacySecret && !r.Member && !r.Manager
}

// roles returns the effective roles as a set.
func (r Rights) roles() (role event.Role) {
	if r.Member {
		role |= event.RoleMember
	}
	if r.Manager {
		role |= event.RoleManager
	}
	if r.Presenter {
		role |= event.RolePresenter
	}
	return role
}
