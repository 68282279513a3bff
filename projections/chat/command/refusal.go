package command

import (
	"errors"
	"fmt"
	"strings"

	"parley/log/event"
	"parley/log/wire"
)

// Code is the condition of a refusal. The names follow the conditions of the product's SDK
// (docs/protocol.md, Results); sipfront has the one table from Code to SIP and XCCOS results.
type Code string

// The codes.
const (
	CodeInvalid     Code = "invalid"      // bad argument
	CodeForbidden   Code = "forbidden"    // no right
	CodeNotFound    Code = "not_found"    // no such room, category, principal
	CodeDisabled    Code = "disabled"     // the room is disabled
	CodeConflict    Code = "conflict"     // name taken, or changed meanwhile
	CodeNotJoined   Code = "not_joined"   // must join first
	CodeTooLarge    Code = "too_large"    // over a limit
	CodeUnsupported Code = "unsupported"  // unknown command
	CodeStaleEpoch  Code = "stale_epoch"  // a feed owner that lost its ownership
	CodeNotArchived Code = "not_archived" // nobody may post while the archive is behind
	CodeUnavailable Code = "unavailable"  // no leader, outcome unknown: try again
)

// The error classes, for errors.Is.
var (
	ErrInvalid     = errors.New("invalid argument")
	ErrForbidden   = errors.New("not allowed")
	ErrNotFound    = errors.New("not found")
	ErrDisabled    = errors.New("room is disabled")
	ErrConflict    = errors.New("conflict")
	ErrNotJoined   = errors.New("not joined")
	ErrTooLarge    = errors.New("too large")
	ErrUnsupported = errors.New("not supported")
	ErrStaleEpoch  = errors.New("stale epoch")
	ErrNotArchived = errors.New("the archive is behind")
	ErrUnavailable = errors.New("not available, try again")
)

var classes = map[Code]error{
	CodeInvalid: ErrInvalid, CodeForbidden: ErrForbidden, CodeNotFound: ErrNotFound, CodeDisabled: ErrDisabled,
	CodeConflict: ErrConflict, CodeNotJoined: ErrNotJoined, CodeTooLarge: ErrTooLarge, CodeUnsupported: ErrUnsupported,
	CodeStaleEpoch: ErrStaleEpoch, CodeNotArchived: ErrNotArchived, CodeUnavailable: ErrUnavailable,
}

// Refusal is why a command, or one room of a batch, was refused. It travels between nodes.
type Refusal struct {
	Code Code
	Text string // one line for people: what was refused and why; never message text
	Room event.RoomID

	Rule      string          // the rule that is broken (docs/rules.md): "R1" ... of rooms, "D1" ... of the directory, "V1" ... of requests as such
	Principal event.Principal // whom the refusal is about, when it is about one
	Rows      []RowFault      // every bad row of an import, of a change of roles, of a grant
}

// RowFault says what is wrong with a row.
type RowFault struct {
	Line uint32 // where the row begins in the file, or its place in the list; from 1
	Text string
}

func (f *RowFault) code(c *wire.Coder) {
	wire.Uint(c, 1, &f.Line)
	wire.Str(c, 2, &f.Text)
}

// Error returns the text.
func (r *Refusal) Error() string { return r.Text }

// Unwrap returns the class of the refusal, so that errors.Is(err, ErrForbidden) works on any node.
func (r *Refusal) Unwrap() error {
	if c, ok := classes[r.Code]; ok {
		return c
	}
	return ErrInvalid
}

// Code visits the fields.
func (r *Refusal) code(c *wire.Coder) {
	wire.Str(c, 1, &r.Code)
	wire.Str(c, 2, &r.Text)
	wire.Str(c, 3, &r.Room)
	wire.Str(c, 4, &r.Rule)
	wire.Str(c, 5, &r.Principal)
	wire.Subs(c, 6, &r.Rows, (*RowFault).code)
}

// maxRefusalBytes bounds the text: parts of it may have come from a client.
const maxRefusalBytes = 512

// Refuse builds a refusal. Whatever the arguments hold, the text is one line of UTF-8.
func Refuse(code Code, format string, args ...any) *Refusal {
	text := fmt.Sprintf(format, args...)
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, text[:min(len(text), maxRefusalBytes)])
	return &Refusal{Code: code, Text: strings.ToValidUTF8(text, "")}
}

// Breaks says which rule is broken and whom the refusal is about.
func (r *Refusal) Breaks(rule string, p event.Principal) *Refusal {
	r.Text += " (rule " + rule + ")"
	r.Rule, r.Principal = rule, event.Principal(strings.ToValidUTF8(string(p), "?"))
	return r
}

// About says whom the refusal is about.
func (r *Refusal) About(p event.Principal) *Refusal {
	r.Principal = event.Principal(strings.ToValidUTF8(string(p), "?"))
	return r
}

// The rules of requests as such, for a refusal that breaks none of the rooms' or the directory's.
var formRules = map[Code]string{
	CodeInvalid:    "V1", // what is given is well formed
	CodeTooLarge:   "V2", // nothing is over its limit
	CodeNotFound:   "V3", // what is named exists
	CodeConflict:   "V4", // what is changed is as the caller saw it, and nothing else has its name or needs it
	CodeStaleEpoch: "V4",
	CodeNotJoined:  "V5", // who acts in a room is in it
	CodeForbidden:  "V6", // what is done is allowed by the settings of the room or its category
	CodeDisabled:   "V6",
}

// Complete names a rule, and the one who gave the command where the refusal is about nobody else. A refusal that asks to try
// again breaks no rule.
func (r *Refusal) Complete(by event.Principal) {
	rule, broken := formRules[r.Code]
	if !broken {
		return
	}
	if r.Rule == "" {
		r.Rule = rule
	}
	if r.Principal == "" {
		r.About(by)
	}
}

// AsRefusal returns err as a refusal; an error that is none becomes CodeUnavailable, because its outcome is unknown.
func AsRefusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{Code: CodeUnavailable, Text: err.Error()}
}
