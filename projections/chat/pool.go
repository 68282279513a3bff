package chat

import (
	"fmt"
	"iter"

	"parley/log/event"
	"parley/projections/chat/holds"
	"parley/projections/chat/invites"
	"parley/projections/chat/policy"
	"parley/projections/chat/registry"
	"parley/projections/chat/roles"
)

// foldPool folds what belongs to the pool as a whole: policies, configurations, add-ins and the like.
func (s *State) foldPool(e *event.Envelope, save Saver) (known bool, err error) {
	limit := s.book.Limits().ParticipantUpdateLimit
	if known, err = s.book.Fold(e.Event, e.Offset, save); !known {
		known, err = s.reg.Fold(e, save)
	}
	if !known && err == nil {
		known, err = s.holds.Fold(e, save)
	}
	if !known && err == nil {
		known, err = s.feeds.Fold(e, save)
	}
	if !known && err == nil {
		known, err = s.keys.Fold(e, save)
	}
	if err != nil {
		return true, fmt.Errorf("%w: %w", err, ErrContradiction)
	}
	if _, placed := e.Event.(*event.PoolPlaced); placed {
		s.book.Place(s.head.domain, s.reg.Site())
	}
	if now := s.book.Limits().ParticipantUpdateLimit; now != limit {
		s.requiet(save)
	}
	return known, nil
}

// requiet asks every room again whether it is quiet, when the limit changes.
func (s *State) requiet(save Saver) {
	var changed []*tally
	s.tallies.Scan(func(t *tally) bool {
		c := *t
		if c.count(0, s.quietAbove()); c.quiet != t.quiet {
			changed = append(changed, &c)
		}
		return true
	})
	for _, t := range changed {
		s.tallies.Put(save, t)
	}
}

// quietAbove returns how many participants a room may have before it is quiet.
func (s *State) quietAbove() int { return int(s.book.Limits().ParticipantUpdateLimit) }

// Policies returns the policies and configurations, for questions only: whoever folds into them folds into the state.
func (s *State) Policies() *policy.Book { return &s.book }

// Limits returns the configuration that holds for the pool.
func (s *State) Limits() event.ConfigurationInfo { return s.book.Limits() }

// Enabled reports whether a user may use persistent chat (rule R15): he has an account that is enabled, and the policy
// that holds for him, if there is one, allows it.
func (s *State) Enabled(p event.Principal) bool {
	u := s.dir.User(p)
	return u != nil && s.enabled(u)
}

func (s *State) enabled(u *User) bool {
	if !u.Info.Enabled {
		return false
	}
	on, decided := s.book.Enabled(u.URI)
	return on || !decided
}

// AddIn returns an add-in.
func (s *State) AddIn(id event.AddInID) (registry.AddIn, bool) { return s.reg.AddIn(id) }

// AddInByName returns the add-in of a name, compared without case.
func (s *State) AddInByName(name string) (registry.AddIn, bool) { return s.reg.AddInByName(name) }

// AddIns returns all add-ins, by id.
func (s *State) AddIns() iter.Seq[registry.AddIn] { return s.reg.AddIns() }

// AdminRoles returns the roles of an administrator ("admin:NAME", or the account of a user).
func (s *State) AdminRoles(p event.Principal) roles.Set { return s.reg.Admin(p) }

// Admins returns everybody who was given a role, by name.
func (s *State) Admins() iter.Seq[registry.Admin] { return s.reg.Admins() }

// AdminTokens returns the tokens of the administrators, by id.
func (s *State) AdminTokens() iter.Seq[registry.Token] { return s.reg.Tokens() }

// AdminToken returns a token.
func (s *State) AdminToken(id event.TokenID) (registry.Token, bool) { return s.reg.Token(id) }

// Endpoint returns another SIP address of the pool.
func (s *State) Endpoint(address event.Principal) (registry.Endpoint, bool) {
	return s.reg.Endpoint(address)
}

// Endpoints returns the other SIP addresses of the pool, by address.
func (s *State) Endpoints() iter.Seq[registry.Endpoint] { return s.reg.Endpoints() }

// ActiveServers returns the nodes that take new connections; none means all.
func (s *State) ActiveServers() []event.NodeID { return s.reg.ActiveServers() }

// Site returns the site of the pool, "" if it has none.
func (s *State) Site() string { return s.reg.Site() }

// Holds returns the legal holds, for questions only: whoever folds into them folds into the state.
func (s *State) Holds() *holds.Holds { return &s.holds }

// Keeps returns what the legal holds come to in a room.
func (s *State) Keeps(room event.RoomID) []event.Keep {
	if r := s.rooms.Get(room); r != nil {
		return s.holds.Keeps(room, r.Info.Category)
	}
	return nil
}

// Retention returns how many days messages of a room are kept; 0: for ever.
func (s *State) Retention(room event.RoomID) uint64 {
	if r := s.rooms.Get(room); r != nil {
		if g := s.categories.Get(r.Info.Category); g != nil {
			return g.Info.RetentionDays
		}
	}
	return 0
}

// shareInvitation lets an invitation share the texts of the rows it speaks of.
func (s *State) shareInvitation(i *invites.Invitation) {
	if r := s.rooms.Get(i.Room); r != nil {
		i.Room = r.ID
	}
	if u := s.dir.User(i.User); u != nil {
		i.User = u.URI
	}
}

// Invitations returns what a user was invited to above a number, oldest first, but for rooms that he does not see any
// more; newest is the number of the newest that he ever got, read the one up to which he has seen them.
func (s *State) Invitations(user event.Principal, above uint64) (list []invites.Invitation, newest, read uint64) {
	newest, read = s.box.Last(user)
	for _, i := range s.box.Of(user, above) {
		if s.Rights(i.Room, user).See {
			list = append(list, i)
		}
	}
	return list, newest, read
}

// InvitationCount returns how many invitations the pool keeps.
func (s *State) InvitationCount() int { return s.box.Len() }
