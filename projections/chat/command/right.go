package command

import (
	"parley/projections/chat/roles"
)

// Right says who may give a command. Every command has one; Decide asks it before anything else, and the admin
// API asks it for the routes that end in a command.
type Right struct {
	Users bool         // users may: their rights in the room or category, or that it is their own, decide
	Admin roles.Action // what an administrator needs; roles.ActAsUser and roles.PoolItself are for the pool alone
	rule  string       // that a user breaks who gives it and may not; "" is RuleRole
}

// rights is the one table from command number to right.
var rights = map[uint16]Right{
	1: {true, roles.ActAsUser, ""}, 2: {true, roles.ActAsUser, ""}, 3: {true, roles.ActAsUser, ""}, 4: {true, roles.ActAsUser, ""},
	5: {true, roles.ActAsUser, ""}, 6: {true, roles.ActAsUser, ""}, 7: {true, roles.ActAsUser, ""}, 8: {true, roles.MessageRead, ""},
	10: {false, roles.PoolItself, ""}, 11: {false, roles.PoolItself, ""}, 12: {false, roles.PoolItself, ""},
	20: {false, roles.CategoryChange, ""}, 21: {false, roles.CategoryChange, ""}, 22: {false, roles.CategoryChange, ""},
	23: {true, roles.RoomCreate, ""}, 24: {true, roles.RoomChange, ""}, 25: {false, roles.RoomRemove, "R4"},
	26: {false, roles.AddInChange, ""}, 27: {false, roles.AddInChange, ""}, 28: {false, roles.AddInChange, ""},
	30: {false, roles.UserChange, ""}, 31: {false, roles.UserChange, ""}, 32: {false, roles.UserChange, ""},
	33: {false, roles.UserChange, ""}, 34: {false, roles.UserChange, ""}, 35: {false, roles.UserChange, ""},
	36: {false, roles.UserChange, ""}, 37: {false, roles.UserChange, ""}, 38: {false, roles.UserChange, ""}, 39: {false, roles.UserChange, ""},
	40: {false, roles.MessageRemove, "R9"}, 41: {false, roles.MessageRemove, "R9"},
	42: {false, roles.LogRead, ""}, 43: {false, roles.AdminChange, ""}, 44: {false, roles.AdminChange, ""}, 45: {false, roles.DataImport, ""},
	50: {false, roles.PoolItself, ""}, 51: {false, roles.PoolItself, ""}, 52: {false, roles.PoolItself, ""},
	53: {false, roles.FeedChange, ""}, 54: {false, roles.FeedChange, ""}, 55: {false, roles.FeedPause, ""}, 56: {false, roles.FeedPause, ""},
	60: {false, roles.PolicyChange, ""}, 61: {false, roles.PolicyChange, ""}, 62: {false, roles.PolicyGrant, ""},
	63: {false, roles.ConfigurationChange, ""}, 64: {false, roles.ConfigurationChange, ""},
	65: {false, roles.ComplianceChange, ""}, 66: {false, roles.ComplianceChange, ""}, 67: {false, roles.AdminChange, ""},
	68: {false, roles.EndpointChange, ""}, 69: {false, roles.EndpointChange, ""}, 70: {false, roles.PoolChange, ""}, 71: {false, roles.PoolChange, ""},
	72: {false, roles.HoldChange, ""}, 73: {false, roles.HoldChange, ""}, 74: {false, roles.MessageRemove, "R9"},
	84: {false, roles.KeyRotate, ""},
}

// RightOf returns who may give a command.
func RightOf(c Command) Right { return rights[c.number()] }

// RuleRole is the rule that an administrator needs a role for what he does (package roles).
const RuleRole = "A1"

// Entitled refuses a command from somebody who may never give it. What a user may do in a room is asked later.
func (r *Request) Entitled() error {
	right, declared := rights[r.Command.number()]
	rule := RuleRole
	switch {
	case !declared:
		return Refuse(CodeUnsupported, "unknown command %T", r.Command)
	case !r.Trusted && !right.Users:
		if right.rule != "" {
			rule = right.rule
		}
	case r.Trusted && r.Roles != 0 && !r.Roles.May(right.Admin):
	default:
		return nil
	}
	return Refuse(CodeForbidden, "%s may not administer the pool: %s", r.By, roles.Denial(right.Admin)).Breaks(rule, r.By)
}
