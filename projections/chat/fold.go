package chat

import (
	"errors"
	"fmt"

	"parley/log/event"
	"parley/projections/chat/directory"
	"parley/projections/chat/memory"
)

// ErrContradiction is the class of Fold's errors: the event cannot have happened in this state, or its kind is not
// known. It means a bug or another version, and the projection must stop; skipping the event would let the nodes
// diverge in silence.
var ErrContradiction = errors.New("event contradicts the state")

func contradiction(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrContradiction)
}

// Fold applies the next event and gives the rows that changed to save, which may be nil. Only the owner of s may
// call it. After an error s is as it was before; rows of the event were not saved.
func (s *State) Fold(e event.Envelope, save Saver) error {
	if e.Event == nil {
		return contradiction("fold event %d: it has no content", e.Offset)
	}
	if e.Offset != s.head.offset+1 {
		return contradiction("fold %s %d: the state is at %d", e.Kind(), e.Offset, s.head.offset)
	}
	if e.At < s.head.at {
		return contradiction("fold %s %d: its time %d is before %d", e.Kind(), e.Offset, e.At, s.head.at)
	}
	waited := s.waited(&e)
	if err := s.fold(&e, save); err != nil {
		return fmt.Errorf("fold %s %d: %w", e.Kind(), e.Offset, err)
	}
	if waited {
		s.feeds.Note(&e, s.head.waited, save)
		s.head.waited = e.Offset
	}
	a, b := memory.Words(&e)
	s.memory.Remember(save, e.Command, e.Offset, e.At, a, b)
	s.head.offset, s.head.at, s.head.chain, s.head.index = e.Offset, e.At, e.Chain, e.Index
	(*headTable)(s).save(save)
	return nil
}

// fold checks first and changes afterwards, so that an error leaves nothing half done.
func (s *State) fold(e *event.Envelope, save Saver) error {
	switch v := e.Event.(type) {
	case *event.PoolFormed:
		if s.head.formed {
			return contradiction("the pool %s exists", s.head.domain)
		}
		s.head.formed, s.head.domain, s.head.poolURI = true, v.Domain, v.PoolURI
		s.book.Place(v.Domain, s.reg.Site())
		return nil
	case *event.NodeStarted:
		return s.nodeStarted(e, v, save)
	case *event.NodeLost:
		return s.nodeLost(e, v, save)
	case *event.Joined:
		return s.joined(e, v, save)
	case *event.Parted:
		x := s.session(e.Room, e.By, v.Endpoint, e.Node)
		if x == nil {
			return contradiction("%s has no session in %s on endpoint %q of node %s", e.By, e.Room, v.Endpoint, e.Node)
		}
		s.closeSessions(save, []*Session{x})
		return nil
	case *event.Posted:
		return s.posted(e, v, save)
	case *event.HistoryRead:
		if s.rooms.Get(e.Room) == nil {
			return contradiction("no room %s", e.Room)
		}
		return nil
	case *event.CategoryCreated:
		if s.categories.Get(v.Category) != nil {
			return contradiction("category %s exists", v.Category)
		}
		s.putCategory(save, newCategory(v.Category, v.Info, e.Offset, s.number))
		return nil
	case *event.CategoryChanged:
		if s.categories.Get(v.Category) == nil {
			return contradiction("no category %s", v.Category)
		}
		s.putCategory(save, newCategory(v.Category, v.Info, e.Offset, s.number))
		return nil
	case *event.CategoryRemoved:
		return s.categoryRemoved(v, save)
	case *event.RoomCreated:
		return s.roomCreated(e, v, save)
	case *event.RoomChanged:
		return s.roomChanged(e, v, save)
	case *event.RoomRemoved:
		return s.roomRemoved(e, save)
	case *event.UserRemoved:
		return s.userRemoved(e, v, save)
	case *event.GroupRemoved:
		return s.groupRemoved(e, v, save)
	case *event.SettingPublished, *event.SettingRemoved:
		return s.foldSetting(e, save)
	case *event.MessageSearched, *event.AdminRead:
		return nil
	case *event.MessageImported:
		return s.messageImported(e, v, save)
	case *event.MessagesRemoved:
		return s.messagesRemoved(e, v, save)
	case *event.MessagesPurged:
		return s.messagesPurged(e, v, save)
	case *event.Invited, *event.InvitationsRead:
		return s.foldInvitations(e, save)
	}
	if known, err := s.foldPool(e, save); known || err != nil {
		return err
	}
	if directory.Folds(e.Event) {
		return s.foldDirectory(e, save)
	}
	return contradiction("this version does not know the kind")
}

func (s *State) nodeStarted(e *event.Envelope, v *event.NodeStarted, save Saver) error {
	if e.Node == "" || v.Incarnation == 0 {
		return contradiction("node %q starts incarnation %d", e.Node, v.Incarnation)
	}
	if n := s.nodes.Get(e.Node); n != nil && v.Incarnation <= n.Incarnation {
		return contradiction("node %s is at incarnation %d, not before %d", e.Node, n.Incarnation, v.Incarnation)
	}
	s.endSessions(e.Node, save)
	s.nodes.Put(save, &Node{ID: e.Node, Incarnation: v.Incarnation, Alive: true, Version: v.Version, Since: e.Offset})
	return nil
}

func (s *State) nodeLost(e *event.Envelope, v *event.NodeLost, save Saver) error {
	n := s.nodes.Get(e.Node)
	if n == nil || n.Incarnation != v.Incarnation || !n.Alive {
		return contradiction("node %s is not alive in incarnation %d", e.Node, v.Incarnation)
	}
	s.endSessions(e.Node, save)
	lost := *n
	lost.Alive, lost.Since = false, e.Offset
	s.nodes.Put(save, &lost)
	return nil
}

// endSessions ends the sessions of a node. They are all of the incarnation that is over: a node that has started gets
// sessions in no other one.
func (s *State) endSessions(node event.NodeID, save Saver) {
	var gone []*Session
	s.sessionsOn.From(&Session{Node: node}, func(x *Session) bool {
		if x.Node == node {
			gone = append(gone, x)
		}
		return x.Node == node
	})
	s.closeSessions(save, gone)
}

func (s *State) joined(e *event.Envelope, v *event.Joined, save Saver) error {
	if s.rooms.Get(e.Room) == nil {
		return contradiction("no room %s", e.Room)
	}
	if s.Joined(e.Room, e.By, v.Endpoint, e.Node) {
		return contradiction("%s has this session in %s", e.By, e.Room)
	}
	s.openSession(save, &Session{Room: e.Room, User: e.By, Endpoint: v.Endpoint, Node: e.Node,
		Incarnation: v.Incarnation, Since: e.Offset})
	return nil
}

func (s *State) posted(e *event.Envelope, v *event.Posted, save Saver) error {
	if s.rooms.Get(e.Room) == nil {
		return contradiction("no room %s", e.Room)
	}
	t := s.tally(e.Room)
	if v.MessageID != t.lastMessage+1 {
		return contradiction("message %d after %d in %s", v.MessageID, t.lastMessage, e.Room)
	}
	t.lastMessage = v.MessageID
	s.tallies.Put(save, t)
	s.holds.Came(save, e)
	return nil
}

// messagesRemoved changes no message here: what it says is in the history, and its number is never given again.
func (s *State) messagesRemoved(e *event.Envelope, v *event.MessagesRemoved, save Saver) error {
	if s.rooms.Get(e.Room) == nil {
		return contradiction("no room %s", e.Room)
	}
	if n := len(v.Messages); n > 0 && v.Messages[n-1].MessageID > s.lastMessage(e.Room) {
		return contradiction("no message %d in %s", v.Messages[n-1].MessageID, e.Room)
	}
	if v.Until != 0 {
		s.holds.Gone(save, e.Room, v.Until, nil)
	}
	return nil
}

func (s *State) messagesPurged(e *event.Envelope, v *event.MessagesPurged, save Saver) error {
	if s.rooms.Get(e.Room) == nil {
		return contradiction("no room %s", e.Room)
	}
	if v.Last.Offset >= e.Offset || v.Last.MessageID > s.lastMessage(e.Room) {
		return contradiction("no message %d at %d in %s", v.Last.MessageID, v.Last.Offset, e.Room)
	}
	s.holds.Gone(save, e.Room, v.Until, v)
	return nil
}

func (s *State) foldInvitations(e *event.Envelope, save Saver) (err error) {
	switch v := e.Event.(type) {
	case *event.Invited:
		if s.rooms.Get(e.Room) == nil {
			return contradiction("no room %s", e.Room)
		}
		err = s.box.Invite(v, e.Room, e.At, s.shareInvitation, save)
	case *event.InvitationsRead:
		err = s.box.Read(e.By, v.UpTo, save)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrContradiction)
	}
	return nil
}

// unname forgets a name unless another object has taken it.
func unname[K comparable](names interface {
	Get(string) (K, bool)
	Delete(string) (K, bool)
}, name string, id K) {
	if has, ok := names.Get(foldName(name)); ok && has == id {
		names.Delete(foldName(name))
	}
}

func (s *State) putCategory(save Saver, g *category) {
	if old := s.categories.Get(g.ID); old != nil {
		unname(s.categoryNames, old.Info.Name, g.ID)
	}
	s.categories.Put(save, g)
	s.categoryNames.Set(foldName(g.Info.Name), g.ID)
}

func (s *State) categoryRemoved(v *event.CategoryRemoved, save Saver) error {
	g := s.categories.Get(v.Category)
	if g == nil {
		return contradiction("no category %s", v.Category)
	}
	if id, has := s.roomIn(v.Category); has {
		return contradiction("category %s has room %s", v.Category, id)
	}
	unname(s.categoryNames, g.Info.Name, g.ID)
	s.categories.Remove(save, v.Category)
	return nil
}

// roomIn returns some room of a category.
func (s *State) roomIn(g event.CategoryID) (id event.RoomID, found bool) {
	s.rooms.Scan(func(r *Room) bool {
		if r.Info.Category == g {
			id, found = r.ID, true
		}
		return !found
	})
	return id, found
}

func (s *State) roomCreated(e *event.Envelope, v *event.RoomCreated, save Saver) error {
	if s.rooms.Get(e.Room) != nil {
		return contradiction("room %s exists", e.Room)
	}
	g := s.categories.Get(v.Info.Category)
	if g == nil {
		return contradiction("no category %s", v.Info.Category)
	}
	info := v.Info
	info.Category = g.ID // rows share the text
	s.rooms.Put(save, &Room{ID: e.Room, Info: info, access: accessList{gate: gateOf(&info)}, CreatedBy: e.By, CreatedAt: e.At, UpdatedBy: e.By,
		UpdatedAt: e.At, Revision: e.Offset})
	s.roomNames.Set(foldName(v.Info.Name), e.Room)
	s.setRoles(save, e.Room, v.Access)
	return nil
}

func (s *State) roomChanged(e *event.Envelope, v *event.RoomChanged, save Saver) error {
	old := s.rooms.Get(e.Room)
	if old == nil {
		return contradiction("no room %s", e.Room)
	}
	g := s.categories.Get(v.Info.Category)
	if g == nil {
		return contradiction("no category %s", v.Info.Category)
	}
	r := *old
	r.Info, r.UpdatedBy, r.UpdatedAt, r.Revision = v.Info, e.By, e.At, e.Offset
	r.Info.Category, r.access.gate = g.ID, gateOf(&v.Info)
	if old.Info.Category != r.Info.Category {
		s.holds.Moved(save, e.Room, old.Info.Category, e.Offset)
	}
	unname(s.roomNames, old.Info.Name, r.ID)
	s.rooms.Put(save, &r)
	s.roomNames.Set(foldName(r.Info.Name), r.ID)
	s.setRoles(save, e.Room, v.Access)
	return nil
}

func (s *State) roomRemoved(e *event.Envelope, save Saver) error {
	r := s.rooms.Get(e.Room)
	if r == nil {
		return contradiction("no room %s", e.Room)
	}
	for x := range s.SessionsIn(e.Room) {
		return contradiction("%s is still in room %s", x.User, e.Room)
	}
	var none []event.Access
	for a := range s.Access(e.Room) {
		none = append(none, event.Access{Principal: a.Principal})
	}
	s.setRoles(save, e.Room, none)
	unname(s.roomNames, r.Info.Name, r.ID)
	s.box.DropRoom(e.Room, save)
	s.holds.Dropped(save, e.Room)
	s.tallies.Remove(save, e.Room)
	s.rooms.Remove(save, e.Room)
	return nil
}

// foldDirectory folds what is the directory's alone.
func (s *State) foldDirectory(e *event.Envelope, save Saver) error {
	if err := s.dir.Fold(*e, save); err != nil {
		return fmt.Errorf("%w: %w", err, ErrContradiction)
	}
	if v, ok := e.Event.(*event.UserCreated); ok {
		s.noteAccount(s.dir.User(v.User))
	}
	return nil
}

// groupRemoved takes the group with the roles it was given.
func (s *State) groupRemoved(e *event.Envelope, v *event.GroupRemoved, save Saver) error {
	p := event.GroupPrincipal(v.Group)
	if s.dir.Group(v.Group) == nil {
		return contradiction("no group %s", v.Group)
	}
	s.dropRoles(p, save)
	return s.foldDirectory(e, save)
}

// dropRoles takes all roles from a principal.
func (s *State) dropRoles(p event.Principal, save Saver) {
	var rooms []event.RoomID
	s.grantsOf.From(&grant{principal: p}, func(g *grant) bool {
		if g.principal == p {
			rooms = append(rooms, g.room)
		}
		return g.principal == p
	})
	for _, r := range rooms {
		s.setRoles(save, r, []event.Access{{Principal: p}})
	}
}

// userRemoved takes the account with all it was given: one made later under the same address starts with nothing.
func (s *State) userRemoved(e *event.Envelope, v *event.UserRemoved, save Saver) error {
	if s.dir.User(v.User) == nil {
		return contradiction("no user %s", v.User)
	}
	for x := range s.SessionsOf(v.User) {
		return contradiction("%s is still in room %s", v.User, x.Room)
	}
	s.dropRoles(v.User, save)
	var settings []PublishedSetting
	for p := range s.Settings(v.User) {
		settings = append(settings, p)
	}
	for i := range settings {
		s.settings.Drop(save, &settings[i])
	}
	s.book.Forget(save, v.User)
	s.reg.Forget(save, v.User)
	s.box.DropUser(v.User, save)
	return s.foldDirectory(e, save)
}

func (s *State) setting(user event.Principal, category string, instance uint64) *PublishedSetting {
	return s.settings.Get(&PublishedSetting{User: user, Setting: event.Setting{Category: category, Instance: instance}})
}

func (s *State) foldSetting(e *event.Envelope, save Saver) error {
	switch v := e.Event.(type) {
	case *event.SettingPublished:
		var version uint64
		if old := s.setting(e.By, v.Setting.Category, v.Setting.Instance); old != nil {
			version = old.Version
		}
		if v.Setting.Version != version+1 {
			return contradiction("setting %s/%d of %s has version %d after %d", v.Setting.Category, v.Setting.Instance,
				e.By, v.Setting.Version, version)
		}
		s.settings.Put(save, &PublishedSetting{Setting: v.Setting, User: e.By, PublishedAt: e.At})
	case *event.SettingRemoved:
		old := s.setting(e.By, v.Category, v.Instance)
		if old == nil {
			return contradiction("%s has no setting %s/%d", e.By, v.Category, v.Instance)
		}
		s.settings.Drop(save, old)
	}
	return nil
}
