package chat

import (
	"slices"

	"parley/log/event"
	"parley/projections/chat/directory"
)

// Everyone is the principal that stands for everybody.
const Everyone = event.Everyone

// membership is what the rules ask of a directory: the embedded one, or the one that a decision would make of it
// (directory.Plan). A directory kept elsewhere, such as LDAP, feeds the embedded one through ImportDirectory: a right must not
// depend on whether another server answers.
type membership interface {
	// Reach appends the numbers of all principals that contain an account to buf: in no order, some perhaps twice.
	Reach(u *User, buf []directory.Ref) []directory.Ref
}

// reachHint is how many principals contain a user, more or less: enough that a rights check allocates nothing.
const reachHint = 96

// filter says of most numbers that are not in a list that they are not, without a look at it. A user is in dozens of groups,
// and a list names a few.
type filter uint64

func (f filter) may(r directory.Ref) bool { return f>>(r%64)&1 != 0 }
func (f *filter) add(r directory.Ref)     { *f |= 1 << (r % 64) }

// number finds the number of a principal that stands for more than one user, and gives it one. Only Fold may: a decision
// uses Directory.Find.
func (s *State) number(p event.Principal) (directory.Ref, bool) { return s.dir.Intern(p), true }

// scope is a list of principals made ready for asking: it is asked with every command, and changed by hand.
type scope struct {
	everyone bool
	users    map[event.Principal]struct{}
	shared   []directory.Ref // groups, units and domains, ascending
	filter   filter
}

// newScope prepares a list. A principal without a number contains nobody yet.
func newScope(list []event.Principal, number func(event.Principal) (directory.Ref, bool)) scope {
	m := scope{users: make(map[event.Principal]struct{}, len(list))}
	for _, p := range list {
		switch {
		case p == Everyone:
			m.everyone = true
		case directory.IsCollective(p):
			if r, ok := number(p); ok {
				m.shared = append(m.shared, r)
				m.filter.add(r)
			}
		default:
			m.users[p] = struct{}{}
		}
	}
	slices.Sort(m.shared)
	return m
}

// has reports whether the list names p, or a principal that contains it.
func (m *scope) has(p event.Principal, in []directory.Ref) bool {
	if m.everyone {
		return true
	}
	if _, ok := m.users[p]; ok {
		return true
	}
	for _, r := range in {
		if m.filter.may(r) {
			if _, ok := slices.BinarySearch(m.shared, r); ok {
				return true
			}
		}
	}
	return false
}

// Rights returns what a user may do in a room (docs/rules.md, R1, R4 to R7 and R15). Nobody may do anything in a room that
// does not exist, and whoever is no enabled account may do nothing anywhere.
func (s *State) Rights(room event.RoomID, by event.Principal) Rights {
	r := s.rooms.Get(room)
	if r == nil {
		return Rights{}
	}
	return s.rights(r, s.dir.User(by))
}

// ShowsHistory reports whether those who may read a room are shown what was said there: its category may have it off, which is
// no matter of rights (docs/rules.md, R14).
func (s *State) ShowsHistory(room event.RoomID) bool {
	r := s.rooms.Get(room)
	return r != nil && s.categories.Get(r.Info.Category).Info.ChatHistory
}

func (s *State) rights(r *Room, u *User) Rights {
	if u == nil || !s.enabled(u) {
		return Rights{}
	}
	var buf [reachHint]directory.Ref // on the stack: through an interface it would not be
	in := s.dir.Reach(u, buf[:0])
	return rightsIn(r.access.gate, s.categories.Get(r.Info.Category), u, in, s.roleOf(r, u)|r.access.shared.role(in))
}

// roleOf is Role of an account that came out of this state.
func (s *State) roleOf(r *Room, u *User) event.Role {
	if listed(u) {
		return r.access.own.role(u.Number())
	}
	return s.Role(r.ID, u.URI)
}

// rightsBy returns the rights under what a directory says of the user.
func (s *State) rightsBy(dir membership, r *Room, u *User) Rights {
	if u == nil || !s.enabled(u) {
		return Rights{}
	}
	in := dir.Reach(u, nil)
	return rightsIn(r.access.gate, s.categories.Get(r.Info.Category), u, in, s.Role(r.ID, u.URI)|r.access.shared.role(in))
}

// gate is what the rules ask of a room's fields, so that a check need not compare texts.
type gate struct{ open, secret, auditorium, disabled bool }

func gateOf(info *event.RoomInfo) gate {
	return gate{open: info.Privacy == event.PrivacyOpen, secret: info.Privacy == event.PrivacySecret,
		auditorium: info.Type == event.RoomAuditorium, disabled: info.Disabled}
}

// rightsIn is the rule itself for a user who is enabled, on values, so that a decision can ask it about a room as it is going to be. in are the
// principals that contain the user.
func rightsIn(g gate, cat *category, user *User, in []directory.Ref, role event.Role) Rights {
	if cat == nil || user == nil || !cat.covers(user.URI, in) {
		return Rights{}
	}
	r := Rights{Member: role&event.RoleMember != 0, Manager: role&event.RoleManager != 0}
	enters := r.Member || g.open
	r.Presenter = g.auditorium && role&event.RolePresenter != 0 && enters
	r.Manage = r.Manager
	r.See = !g.hides(r)
	if g.disabled {
		r.See = r.Manager // whoever may enable it again
		return r
	}
	r.Join, r.ReadHistory = enters, enters
	r.Post = enters && (!g.auditorium || r.Presenter)
	return r
}

// hides reports whether the room is a secret from whoever has these rights.
func (g gate) hides(r Rights) bool { return g.secret && !r.Member && !r.Manager }

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
