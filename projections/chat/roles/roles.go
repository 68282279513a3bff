// Package roles says what each kind of administrator may do: one table from action to roles. The rules ask it about
// commands, the admin API about its routes, so that both deny alike and name the role that is missing.
package roles

import (
	"fmt"
	"slices"
	"strings"
)

// Role is a kind of administrator.
type Role string

// The roles. An administrator may do everything. An auditor reads everything, content included, and changes nothing. An
// operator keeps the pool running and sees no content. A user administrator looks after people, groups and who may use
// persistent chat.
const (
	Administrator     Role = "administrator"
	Auditor           Role = "auditor"
	Operator          Role = "operator"
	UserAdministrator Role = "user-administrator"
)

// all is in the order of the bits of a Set: it is added to, never changed.
var all = []Role{Administrator, Auditor, Operator, UserAdministrator}

// All returns every role.
func All() []Role { return slices.Clone(all) }

// Set is a set of roles, one bit each. It travels between nodes.
type Set uint32

// Of returns the set of some roles, or an error that names the first unknown one.
func Of(names ...string) (Set, error) {
	var s Set
	for _, n := range names {
		i := slices.Index(all, Role(n))
		if i < 0 {
			return 0, fmt.Errorf("role %q is not one of %s", n, list(all))
		}
		s |= 1 << i
	}
	return s, nil
}

// Roles returns the roles of the set.
func (s Set) Roles() (out []Role) {
	for i, r := range all {
		if s&(1<<i) != 0 {
			out = append(out, r)
		}
	}
	return out
}

// Names returns the names of the roles of the set.
func (s Set) Names() (out []string) {
	for _, r := range s.Roles() {
		out = append(out, string(r))
	}
	return out
}

// Has reports whether the set has a role.
func (s Set) Has(r Role) bool {
	i := slices.Index(all, r)
	return i >= 0 && s&(1<<i) != 0
}

// Action is something an administrator does: "room.create", "log.read".
type Action string

// The actions.
const (
	PoolRead    Action = "pool.read"    // nodes, sessions, health
	PoolChange  Action = "pool.change"  // add, remove, promote, transfer, drain, recover; active servers, site
	KeyRotate   Action = "key.rotate"   // which key signs checkpoints: what auditors trust
	PoolItself  Action = "pool.itself"  // what only nodes say in their own name
	BackupRun   Action = "backup.run"   // create and verify
	BackupApply Action = "backup.apply" // restore
	DrillRun    Action = "drill.run"
	TestRun     Action = "test.run" // the synthetic transaction

	RoomRead       Action = "room.read" // fields and roles, no messages
	RoomCreate     Action = "room.create"
	RoomChange     Action = "room.change"
	RoomRemove     Action = "room.remove"
	CategoryRead   Action = "category.read"
	CategoryChange Action = "category.change"
	AddInRead      Action = "addin.read"
	AddInChange    Action = "addin.change"
	EligibleRead   Action = "eligible.read"

	MessageRead   Action = "message.read"
	MessageRemove Action = "message.remove" // single messages, and a room up to a date
	ActAsUser     Action = "user.act"       // join, post and read in somebody's name

	UserRead   Action = "user.read"
	UserChange Action = "user.change" // users, groups, organisational units, import

	PolicyRead          Action = "policy.read"
	PolicyChange        Action = "policy.change"
	PolicyGrant         Action = "policy.grant"
	ConfigurationRead   Action = "configuration.read"
	ConfigurationChange Action = "configuration.change"
	ComplianceRead      Action = "compliance.read"
	ComplianceChange    Action = "compliance.change"
	EndpointRead        Action = "endpoint.read"
	EndpointChange      Action = "endpoint.change"

	AdminRead   Action = "admin.read"
	AdminChange Action = "admin.change" // who has which of these roles

	LogRead           Action = "log.read" // events and the state at any time, content included
	LogVerify         Action = "log.verify"
	FeedRead          Action = "feed.read"
	FeedChange        Action = "feed.change" // set and rm: it decides who gets everything that is said
	FeedPause         Action = "feed.pause"  // pause and resume
	FeedProve         Action = "feed.prove"
	ProjectionRead    Action = "projection.read"
	ProjectionRebuild Action = "projection.rebuild"
	HoldRead          Action = "hold.read"
	HoldChange        Action = "hold.change"
	DataExport        Action = "data.export"
	DataImport        Action = "data.import"
)

// granted lists, for each action, the roles besides Administrator that may do it.
var granted = map[Action][]Role{
	PoolRead: {Auditor, Operator}, PoolChange: {Operator}, KeyRotate: nil, PoolItself: nil, BackupRun: {Operator}, BackupApply: nil,
	DrillRun: {Operator}, TestRun: {Operator},

	RoomRead: {Auditor, UserAdministrator}, RoomCreate: nil, RoomChange: nil, RoomRemove: nil,
	CategoryRead: {Auditor, UserAdministrator}, CategoryChange: nil, AddInRead: {Auditor}, AddInChange: nil,
	EligibleRead: {Auditor, UserAdministrator},

	MessageRead: {Auditor}, MessageRemove: nil, ActAsUser: nil,

	UserRead: {Auditor, UserAdministrator}, UserChange: {UserAdministrator},

	PolicyRead: {Auditor, UserAdministrator}, PolicyChange: nil, PolicyGrant: {UserAdministrator},
	ConfigurationRead: {Auditor, Operator}, ConfigurationChange: nil,
	ComplianceRead: {Auditor, Operator}, ComplianceChange: nil,
	EndpointRead: {Auditor, Operator}, EndpointChange: {Operator},

	AdminRead: {Auditor}, AdminChange: nil,

	LogRead: {Auditor}, LogVerify: {Auditor, Operator}, FeedRead: {Auditor, Operator}, FeedChange: nil, FeedPause: {Operator},
	FeedProve: {Auditor}, ProjectionRead: {Auditor, Operator}, ProjectionRebuild: {Operator},
	HoldRead: {Auditor}, HoldChange: nil, DataExport: {Auditor}, DataImport: nil,
}

// Actions returns every action, by name.
func Actions() (out []Action) {
	for a := range granted {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

// Known reports whether an action is in the table.
func (a Action) Known() bool {
	_, ok := granted[a]
	return ok
}

// For returns the roles that may do an action. An action that is not in the table nobody may do.
func For(a Action) []Role {
	more, ok := granted[a]
	if !ok || a == PoolItself || a == ActAsUser {
		return nil
	}
	return append([]Role{Administrator}, more...)
}

// May reports whether somebody with these roles may do an action.
func (s Set) May(a Action) bool { return slices.ContainsFunc(For(a), s.Has) }

// Denial says, in one line for people, which role an action needs.
func Denial(a Action) string {
	switch {
	case a == PoolItself || a == ActAsUser:
		return fmt.Sprintf("%s is for the pool itself and no administrator", a)
	case !a.Known():
		return fmt.Sprintf("%s is not an action that anybody may do", a)
	}
	return fmt.Sprintf("%s needs the role %s", a, list(For(a)))
}

// list joins roles with commas and an "or".
func list(roles []Role) string {
	var b strings.Builder
	for i, r := range roles {
		switch {
		case i == 0:
		case i == len(roles)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(r))
	}
	return b.String()
}
