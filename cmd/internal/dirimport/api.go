package dirimport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
	"parley/webfront/admin"
)

// ReadAPI reads a file as the admin API takes its rows, and tells which rows cannot be read. Passwords stay as they are:
// the pool makes the secret, so Options.Secret is not used.
func ReadAPI(ctx context.Context, f Format, r io.Reader, o Options) (rows []admin.ImportRow, bad []admin.ProblemRow, err error) {
	// The parser asks for the secret of a row right before it hands the row out.
	password := ""
	o.Secret = func(_ event.Principal, p string) event.Secret {
		password = p
		return event.Secret{}
	}
	src, err := New(f, r, o)
	if err != nil {
		return nil, nil, err
	}
	for row, err := range src.Rows(ctx) {
		var re *RowError
		switch {
		case errors.As(err, &re):
			bad = append(bad, admin.ProblemRow{Line: re.Line, Error: re.Err.Error()})
		case err != nil:
			return nil, nil, err
		default:
			out := apiRow(row)
			if password != "" {
				p := password
				out.Password = &p
			}
			rows = append(rows, out)
		}
		password = ""
	}
	return rows, bad, nil
}

// apiRow makes the row that the API takes.
func apiRow(r chat.ImportRow) admin.ImportRow {
	out := admin.ImportRow{Line: r.Line, Kind: string(r.Kind), Remove: r.Remove, Address: r.Address, ID: r.ID, MemberOf: r.MemberOf, Lenient: r.Lenient}
	for _, f := range []struct {
		has  chat.ImportFields
		from string
		to   **string
	}{{bulk.HasName, r.Name, &out.Name}, {bulk.HasUnit, r.Unit, &out.Unit}, {bulk.HasDisplayName, r.DisplayName, &out.DisplayName}, {bulk.HasEmail, r.Email, &out.Email},
		{bulk.HasDescription, r.Description, &out.Description}, {bulk.HasGivenName, r.GivenName, &out.GivenName}, {bulk.HasSurname, r.Surname, &out.Surname},
		{bulk.HasCompany, r.Company, &out.Company}} {
		if r.Has&f.has != 0 {
			*f.to = &f.from
		}
	}
	if r.Has&bulk.HasEnabled != 0 {
		out.Enabled = &r.Enabled
	}
	if r.Has&bulk.HasMembers != 0 {
		members := append([]string{}, r.Members...)
		out.Members = &members
	}
	return out
}

// BadRows is the error of a file with rows that cannot be read; err may have more of them, from the pool.
func BadRows(bad []admin.ProblemRow, rows int, err error) error {
	var p *admin.Problem
	if errors.As(err, &p) {
		bad = append(bad, p.Rows...)
	}
	slices.SortStableFunc(bad, func(x, y admin.ProblemRow) int { return cmp.Compare(x.Line, y.Line) })
	return &admin.Problem{Status: http.StatusBadRequest, Code: string(chat.CodeInvalid), Rows: bad,
		Detail: fmt.Sprintf("%d of %d rows are bad, nothing was changed; line %d: %s", len(bad), rows, bad[0].Line, bad[0].Error)}
}
