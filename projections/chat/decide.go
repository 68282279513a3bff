package chat

import (
	"strings"

	"parley/log/event"
)

// Env is what a decision needs to know from outside.
type Env struct {
	At    event.Time    // of the batch that the events will be in
	NewID func() string // a fresh GUID in lower case
}

// Decision is what a command leads to.
type Decision struct {
	Events []event.Draft // none: the command changes nothing, and succeeds
	Result Result
	Offset event.Offset // of a duplicate: where the events are that it led to the first time
}

// Decide turns a request into events, or refuses it: an error is a *Refusal. It does not change s. With a refusal
// the Result may still tell something, such as the present version of a setting.
//
// Whether the command took effect before is asked first, then whether it may, then whether it makes sense.
func Decide(s *State, r Request, env Env) (Decision, error) {
	out, err := decide(s, r, env)
	if err == nil && len(out.Events) > event.MaxBatchEvents {
		return Decision{}, Refuse(CodeTooLarge, "%T: it takes %d events, most of them ends of sessions, at most %d: do it in parts",
			r.Command, len(out.Events), event.MaxBatchEvents)
	}
	return out, err
}

func decide(s *State, r Request, env Env) (Decision, error) {
	if err := checkOrigin(&r.Origin); err != nil {
		return Decision{}, err
	}
	if again, ok := s.recall(&r); ok {
		return again, nil
	}
	if r.Command == nil {
		return Decision{}, Refuse(CodeUnsupported, "no command")
	}
	if err := r.Entitled(); err != nil {
		return Decision{}, err
	}
	d := &decider{s: s, env: env, Origin: r.Origin}
	if err := d.sparesAdmins(r.Command); err != nil {
		return Decision{}, err
	}
	switch c := r.Command.(type) {
	case *Join:
		return d.join(c)
	case *Part:
		return d.part(c)
	case *Post:
		return d.post(c)
	case *ReadHistory:
		return d.readHistory(c)
	case *PublishSetting:
		return d.publishSetting(c)
	case *RemoveSetting:
		return d.removeSetting(c)
	case *ReadInvitations:
		return d.readInvitations(c)
	case *SearchMessages:
		return d.searchMessages(c)
	case *RemoveMessages:
		return d.removeMessages(c)
	case *ClearRoom:
		return d.clearRoom(c)
	case *CreateRoom:
		return d.createRoom(c)
	case *ChangeRoom:
		return d.changeRoom(c)
	case *FormPool:
		return d.formPool(c)
	case *StartNode:
		return d.startNode(c)
	case *LoseNode:
		return d.loseNode(c)
	case *CreateCategory:
		return d.createCategory(c)
	case *ChangeCategory:
		return d.changeCategory(c)
	case *RemoveCategory:
		return d.removeCategory(c)
	case *RemoveRoom:
		return d.removeRoom(c)
	case *CreateUser:
		return d.createUser(c)
	case *ChangeUser:
		return d.changeUser(c)
	case *RemoveUser:
		return d.removeUser(c)
	case *CreateGroup:
		return d.createGroup(c)
	case *ChangeGroup:
		return d.changeGroup(c)
	case *RemoveGroup:
		return d.removeGroup(c)
	case *CreateUnit:
		return d.createUnit(c)
	case *ChangeUnit:
		return d.changeUnit(c)
	case *RemoveUnit:
		return d.removeUnit(c)
	case *ImportDirectory:
		return d.importDirectory(c)
	case *ImportMessages:
		return d.importMessages(c)
	}
	return d.administer(r.Command)
}

// decider is one decision under way.
type decider struct {
	Origin
	s   *State
	env Env
}

func (d *decider) draft(room event.RoomID, e event.Event) event.Draft {
	return event.Draft{Meta: event.Meta{By: d.By, Room: room, Node: d.Node, Command: d.ID}, Event: e}
}

func (d *decider) one(room event.RoomID, e event.Event, r Result) (Decision, error) {
	return Decision{Events: []event.Draft{d.draft(room, e)}, Result: r}, nil
}

// parted ends a session that belongs to somebody else: the event is in the name of its user.
func (d *decider) parted(x *Session, reason event.PartReason) event.Draft {
	return event.Draft{Meta: event.Meta{By: x.User, Room: x.Room, Node: x.Node, Command: d.ID},
		Event: &event.Parted{Endpoint: x.Endpoint, Incarnation: x.Incarnation, Reason: reason}}
}

// actor returns the account of whoever acts for himself (rule R15).
func (d *decider) actor() (*User, error) {
	u := d.s.dir.User(d.By)
	if u == nil {
		return nil, Refuse(CodeForbidden, "%s has no account", d.By).Breaks("R15", d.By)
	}
	if !d.Trusted && !d.s.enabled(u) {
		return nil, Refuse(CodeForbidden, "%s is not enabled by policy", d.By).Breaks("R15", d.By)
	}
	return u, nil
}

// admit returns a room that the actor may know of and that is not disabled, with his rights there. To a principal
// who may not know of a secret room it does not exist.
func (d *decider) admit(what string, id event.RoomID) (*Room, Rights, error) {
	u, err := d.actor()
	if err != nil {
		return nil, Rights{}, err
	}
	r := d.s.rooms.Get(id)
	if r == nil {
		return nil, Rights{}, inRoom(id, CodeNotFound, "%s: no room %s", what, id)
	}
	rights := d.s.rights(r, u)
	if r.access.gate.hides(rights) && !d.Trusted {
		return nil, Rights{}, inRoom(id, CodeNotFound, "%s: no room %s", what, id)
	}
	if r.Info.Disabled {
		return nil, Rights{}, inRoom(id, CodeDisabled, "%s: room %s is disabled", what, id).Breaks("R7", "")
	}
	return r, rights, nil
}

func inRoom(id event.RoomID, code Code, format string, args ...any) *Refusal {
	r := Refuse(code, format, args...)
	r.Room = event.RoomID(strings.ToValidUTF8(string(id), "?"))
	return r
}
