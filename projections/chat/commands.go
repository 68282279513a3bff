package chat

import (
	"parley/projections/chat/command"
	"parley/projections/chat/directory/bulk"
)

// What package command defines is what everybody asks the rules with; they are known here by the same names.
type (
	Command = command.Command
	Origin  = command.Origin
	Request = command.Request
	Result  = command.Result
	Outcome = command.Outcome
	Reply   = command.Reply

	Join            = command.Join
	Part            = command.Part
	Post            = command.Post
	ReadHistory     = command.ReadHistory
	PublishSetting  = command.PublishSetting
	RemoveSetting   = command.RemoveSetting
	ReadInvitations = command.ReadInvitations
	SearchMessages  = command.SearchMessages
	RemoveMessages  = command.RemoveMessages
	ClearRoom       = command.ClearRoom
	PurgeMessages   = command.PurgeMessages
	SetHold         = command.SetHold
	ReleaseHold     = command.ReleaseHold

	FormPool    = command.FormPool
	StartNode   = command.StartNode
	LoseNode    = command.LoseNode
	ClaimFeed   = command.ClaimFeed
	CutFeed     = command.CutFeed
	ReceiptFeed = command.ReceiptFeed
	SetFeed     = command.SetFeed
	RemoveFeed  = command.RemoveFeed
	PauseFeed   = command.PauseFeed
	ResumeFeed  = command.ResumeFeed

	RotateSigningKey = command.RotateSigningKey

	CreateCategory = command.CreateCategory
	ChangeCategory = command.ChangeCategory
	RemoveCategory = command.RemoveCategory
	CreateRoom     = command.CreateRoom
	ChangeRoom     = command.ChangeRoom
	RemoveRoom     = command.RemoveRoom
	CreateAddIn    = command.CreateAddIn
	ChangeAddIn    = command.ChangeAddIn
	RemoveAddIn    = command.RemoveAddIn

	CreateUser      = command.CreateUser
	ChangeUser      = command.ChangeUser
	RemoveUser      = command.RemoveUser
	CreateGroup     = command.CreateGroup
	ChangeGroup     = command.ChangeGroup
	RemoveGroup     = command.RemoveGroup
	CreateUnit      = command.CreateUnit
	ChangeUnit      = command.ChangeUnit
	RemoveUnit      = command.RemoveUnit
	ImportDirectory = command.ImportDirectory

	SetPolicy           = command.SetPolicy
	RemovePolicy        = command.RemovePolicy
	GrantPolicy         = command.GrantPolicy
	SetConfiguration    = command.SetConfiguration
	RemoveConfiguration = command.RemoveConfiguration
	SetCompliance       = command.SetCompliance
	RemoveCompliance    = command.RemoveCompliance
	ChangeAdmin         = command.ChangeAdmin
	SetEndpoint         = command.SetEndpoint
	RemoveEndpoint      = command.RemoveEndpoint
	SetActiveServers    = command.SetActiveServers
	PlacePool           = command.PlacePool

	RecordRead      = command.RecordRead
	IssueToken      = command.IssueToken
	RevokeToken     = command.RevokeToken
	ImportMessages  = command.ImportMessages
	ImportedMessage = command.ImportedMessage
)

// The rows of an import; package bulk says what they mean.
type (
	ImportRow    = bulk.Row
	ImportKind   = bulk.Kind
	ImportFields = bulk.Fields
)

// Refusals.
type (
	Code     = command.Code
	Refusal  = command.Refusal
	RoleEdit = command.RoleEdit
	RowFault = command.RowFault
)

// The codes.
const (
	CodeInvalid     = command.CodeInvalid
	CodeForbidden   = command.CodeForbidden
	CodeNotFound    = command.CodeNotFound
	CodeDisabled    = command.CodeDisabled
	CodeConflict    = command.CodeConflict
	CodeNotJoined   = command.CodeNotJoined
	CodeTooLarge    = command.CodeTooLarge
	CodeUnsupported = command.CodeUnsupported
	CodeStaleEpoch  = command.CodeStaleEpoch
	CodeNotArchived = command.CodeNotArchived
	CodeUnavailable = command.CodeUnavailable
)

// The error classes, for errors.Is.
var (
	ErrInvalid     = command.ErrInvalid
	ErrForbidden   = command.ErrForbidden
	ErrNotFound    = command.ErrNotFound
	ErrDisabled    = command.ErrDisabled
	ErrConflict    = command.ErrConflict
	ErrNotJoined   = command.ErrNotJoined
	ErrTooLarge    = command.ErrTooLarge
	ErrUnsupported = command.ErrUnsupported
	ErrStaleEpoch  = command.ErrStaleEpoch
	ErrNotArchived = command.ErrNotArchived
	ErrUnavailable = command.ErrUnavailable
)

// Limits that commands state.
const (
	MaxImportRows      = command.MaxImportRows
	MaxImportMessages  = command.MaxImportMessages
	MaxRemoved         = command.MaxRemoved
	DefaultReplacement = command.DefaultReplacement
)

// RuleRole is the rule that an administrator needs a role for what he does (package roles).
const RuleRole = command.RuleRole

// Refuse builds a refusal. Whatever the arguments hold, the text is one line of UTF-8.
func Refuse(code Code, format string, args ...any) *Refusal {
	return command.Refuse(code, format, args...)
}

// AsRefusal returns err as a refusal; an error that is none becomes CodeUnavailable, because its outcome is unknown.
func AsRefusal(err error) *Refusal { return command.AsRefusal(err) }

// RightOf returns who may give a command.
func RightOf(c Command) command.Right { return command.RightOf(c) }
