// Package answer is the form of what the admin API answers: JSON, streams of it, and problem details.
package answer

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/dump"
)

// Problem is an error as it goes to the client: problem details of RFC 9457 with the code of the refusal.
type Problem struct {
	Type      string          `json:"type"`
	Title     string          `json:"title"`
	Status    int             `json:"status"`
	Detail    string          `json:"detail" doc:"one line for people"`
	Code      string          `json:"code" doc:"the condition, such as not_found"`
	Rule      string          `json:"rule,omitempty" doc:"the rule that is broken: R1 to R15 of rooms, D1 and on of the directory, V1 and on of requests as such, A1: a role is missing, H1: a legal hold keeps it"`
	Principal event.Principal `json:"principal,omitempty" doc:"whom it is about"`
	Room      event.RoomID    `json:"room,omitempty"`
	Rows      []ProblemRow    `json:"rows,omitempty" doc:"every bad row of an import, or the first hundred messages that legal holds keep"`
}

// ProblemRow says what is wrong with a row of an import.
type ProblemRow struct {
	Line  uint32 `json:"line" doc:"where the row begins, from 1"`
	Error string `json:"error"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// Codes that are not refusals of the rules.
const (
	CodeCorrupt         = "corrupt"         // damage was found
	CodeUnauthenticated = "unauthenticated" // no credential
)

// Unwrap returns the class, so that errors.Is works on the client's side too.
func (p *Problem) Unwrap() error {
	if p.Code == CodeCorrupt {
		return event.ErrCorrupt
	}
	return (&chat.Refusal{Code: chat.Code(p.Code)}).Unwrap()
}

// statuses is the one table from the code of a refusal to an HTTP status.
var statuses = map[chat.Code]int{
	chat.CodeInvalid:     http.StatusBadRequest,
	chat.CodeForbidden:   http.StatusForbidden,
	chat.CodeNotFound:    http.StatusNotFound,
	chat.CodeDisabled:    http.StatusConflict,
	chat.CodeConflict:    http.StatusConflict,
	chat.CodeNotJoined:   http.StatusConflict,
	chat.CodeTooLarge:    http.StatusRequestEntityTooLarge,
	chat.CodeUnsupported: http.StatusNotImplemented,
	chat.CodeStaleEpoch:  http.StatusConflict,
	chat.CodeNotArchived: http.StatusConflict,
	chat.CodeUnavailable: http.StatusServiceUnavailable,
	CodeCorrupt:          http.StatusInternalServerError,
	CodeUnauthenticated:  http.StatusUnauthorized,
}

// Of classifies an error. What is none of ours has an unknown outcome: try again.
func Of(err error) *Problem {
	var tooLarge *http.MaxBytesError
	ref := chat.AsRefusal(err)
	switch {
	case errors.Is(err, event.ErrCorrupt):
		ref = &chat.Refusal{Code: CodeCorrupt, Text: err.Error()}
	case errors.Is(err, dump.ErrNoRoom):
		ref = &chat.Refusal{Code: chat.CodeNotFound, Text: err.Error()}
	case errors.Is(err, dump.ErrQuery):
		ref = &chat.Refusal{Code: chat.CodeInvalid, Text: err.Error()}
	case errors.As(err, &tooLarge):
		ref = chat.Refuse(chat.CodeTooLarge, "the request is larger than %d bytes", tooLarge.Limit)
	}
	status, ok := statuses[ref.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	p := &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: ref.Text, Code: string(ref.Code),
		Rule: ref.Rule, Principal: ref.Principal, Room: ref.Room}
	for _, row := range ref.Rows {
		p.Rows = append(p.Rows, ProblemRow{row.Line, row.Text})
	}
	return p
}

// WriteProblem answers with an error.
func WriteProblem(w http.ResponseWriter, err error) {
	p := Of(err)
	w.Header().Set("Content-Type", "application/problem+json")
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	encode(w, p)
}

// JSON answers with an object.
func JSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encode(w, v)
	return nil
}

// encode writes v. A client that has gone away is nobody's error.
func encode(w io.Writer, v any) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

// Read reads the body of a request. Unknown fields are refused: a misspelt one must not be ignored.
func Read(r *http.Request, v any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return chat.Refuse(chat.CodeInvalid, "the body must be application/json")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return err
		}
		return chat.Refuse(chat.CodeInvalid, "read the body: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return chat.Refuse(chat.CodeInvalid, "read the body: there is something after its JSON object")
	}
	return nil
}
