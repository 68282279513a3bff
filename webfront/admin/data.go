package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/archive"
	"parley/webfront/objects"
)

// maxArchive bounds an archive that is imported, in bytes. It waits in a file while it is checked.
const maxArchive = 64 << 30

// ImportProgress is how far an import has got.
type ImportProgress struct {
	Pass string `json:"pass" doc:"check, then import"`
	Rows int    `json:"rows_done"`
}

func (a *API) dataRoutes() []route {
	return []route{
		{method: "GET", path: "/data/export", right: roles.DataExport, recorded: true, lines: true, handle: a.exportData,
			summary: "Users, categories, rooms and messages as an archive (docs/export-format.md)",
			params: []param{{Name: "level", Values: archive.Levels(), Doc: "what to export; default all"},
				{Name: "scope", Many: true, Doc: "only these categories, their rooms and messages"},
				{Name: "start_date", Kind: "date-time", Doc: "only messages posted then or later"}}},
		{method: "POST", path: "/data/import", right: roles.DataImport, lines: true, out: archive.Result{}, maxBody: maxArchive, params: []param{whatIf}, handle: a.importData,
			summary: "Import an archive, all of it or nothing; lines of progress, then the result or a problem with every bad row. Repeating it changes nothing"},
	}
}

func (a *API) exportData(w http.ResponseWriter, r *http.Request) error {
	s, q := a.Pool.State(), r.URL.Query()
	var sel archive.Selection
	var err error
	if sel.Level, err = archive.ParseLevel(q.Get("level")); err != nil {
		return err
	}
	if sel.Since, err = objects.ParseTime("start_date", q.Get("start_date")); err != nil {
		return err
	}
	for _, name := range q["scope"] {
		c, err := objects.FindCategory(s, name)
		if err != nil {
			return err
		}
		sel.Scope = append(sel.Scope, c.ID)
	}
	if err := a.record(r); err != nil {
		return err
	}
	out := answer.NewStream(w)
	return out.End(archive.Export(r.Context(), s, a.History, sel, out.Line))
}

func (a *API) importData(w http.ResponseWriter, r *http.Request) error {
	file, sum, err := spool(r.Body)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it has no name any more
	o, err := a.origin(r, sum)
	if err != nil {
		return err
	}
	out := answer.NewStream(w)
	target := archive.Target{State: a.Pool.State, Scratch: a.Pool.Scratch, Origin: o, History: a.History, Now: a.Now, NewID: a.NewID,
		Submit: func(ctx context.Context, step string, c chat.Command) (chat.Outcome, error) {
			return a.Pool.Submit(ctx, chat.Request{Origin: part(o, step), Command: c})
		}}
	res, err := archive.Import(r.Context(), file, target, asksWhatIf(r), progress(out))
	if err != nil {
		return out.End(err)
	}
	if !res.DryRun {
		res.Unconfirmed = a.confirmed(r.Context(), w, res.Offset)
	}
	return out.Object(res)
}

// progress returns what writes a line now and then about how far an import has got.
func progress(s *answer.Stream) func(pass string, rows int) {
	next := time.Now().Add(progressEvery)
	return func(pass string, rows int) {
		if now := time.Now(); now.After(next) {
			next = now.Add(progressEvery)
			_ = s.Object(ImportProgress{pass, rows}) // a client that left ends the request's context
		}
	}
}

// spool puts a body into a file without a name, so that it can be read twice and is gone with the process. It returns
// the hash too: the same key with another archive is another import.
func spool(body io.Reader) (*os.File, []byte, error) {
	f, err := os.CreateTemp("", "parley-import-*")
	if err != nil {
		return nil, nil, fmt.Errorf("keep the archive while it is checked: %w", err)
	}
	sum := sha256.New()
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(io.MultiWriter(f, sum), body)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close() //nolint:errcheck // the first error counts
		return nil, nil, fmt.Errorf("keep the archive while it is checked: %w", err)
	}
	return f, sum.Sum(nil), nil
}

// maxImport bounds the body of an import of the directory, in bytes: 200,000 accounts fit.
const maxImport = 256 << 20

// ImportRow is one account, group or organisational unit of an import. What is absent stays as it is; in a new object it
// is empty, and a new account is enabled.
type ImportRow struct {
	Line        uint32    `json:"line" doc:"of the file it comes from, for messages"`
	Kind        string    `json:"kind" doc:"user, group or ou"`
	Remove      bool      `json:"remove,omitempty" doc:"the object is to go"`
	Address     string    `json:"address,omitempty" doc:"of an account"`
	ID          string    `json:"id,omitempty" doc:"GUID of a group or unit"`
	Name        *string   `json:"name,omitempty"`
	Unit        *string   `json:"unit,omitempty" doc:"distinguished name; of a unit its parent"`
	DisplayName *string   `json:"display_name,omitempty"`
	Email       *string   `json:"email,omitempty"`
	Description *string   `json:"description,omitempty"`
	GivenName   *string   `json:"given_name,omitempty"`
	Surname     *string   `json:"surname,omitempty"`
	Company     *string   `json:"company,omitempty"`
	Enabled     *bool     `json:"enabled,omitempty"`
	Password    *string   `json:"password,omitempty"`
	Members     *[]string `json:"members,omitempty" doc:"of a group: exactly these"`
	MemberOf    []string  `json:"member_of,omitempty" doc:"groups that it is put into; it leaves none"`
	Lenient     bool      `json:"lenient,omitempty" doc:"members that are not in the directory are left out"`
}

// ImportDirectory is the body of POST /directory/import.
type ImportDirectory struct {
	Rows []ImportRow `json:"rows"`
}

// DirectoryImported is its answer.
type DirectoryImported struct {
	Rows    int          `json:"rows"`
	Changed int          `json:"changed" doc:"events that were written, or would be"`
	Offset  event.Offset `json:"offset" doc:"of the last event; 0: none"`
	WhatIf  bool         `json:"what_if"`
	// Header UnconfirmedHeader, for an answer that had begun already.
	Unconfirmed string `json:"unconfirmed,omitempty" doc:"nodes that do not show it yet, and why"`
}

func (a *API) directoryRoutes() []route {
	return []route{{method: "POST", path: "/directory/import", right: roles.UserChange, in: ImportDirectory{}, out: DirectoryImported{}, lines: true, params: []param{whatIf}, maxBody: maxImport,
		summary: "Make, change and remove accounts, groups and units, all of them or none; lines of progress, then the result or a problem with every bad row", handle: a.importDirectory}}
}

// row makes the row of the rules.
func (a *API) row(s *chat.State, r *ImportRow) (chat.ImportRow, error) {
	out := chat.ImportRow{Line: r.Line, Kind: chat.ImportKind(objects.Lower(r.Kind)), Remove: r.Remove, Address: r.Address, ID: objects.Lower(r.ID), MemberOf: r.MemberOf, Lenient: r.Lenient}
	for _, f := range []struct {
		from *string
		to   *string
		has  chat.ImportFields
	}{{r.Name, &out.Name, bulk.HasName}, {r.Unit, &out.Unit, bulk.HasUnit}, {r.DisplayName, &out.DisplayName, bulk.HasDisplayName},
		{r.Email, &out.Email, bulk.HasEmail}, {r.Description, &out.Description, bulk.HasDescription}, {r.GivenName, &out.GivenName, bulk.HasGivenName},
		{r.Surname, &out.Surname, bulk.HasSurname}, {r.Company, &out.Company, bulk.HasCompany}} {
		if f.from != nil {
			*f.to, out.Has = *f.from, out.Has|f.has
		}
	}
	if r.Enabled != nil {
		out.Enabled, out.Has = *r.Enabled, out.Has|bulk.HasEnabled
	}
	if r.Members != nil {
		out.Members, out.Has = *r.Members, out.Has|bulk.HasMembers
	}
	u := event.Principal("")
	if r.Address != "" {
		var err error
		if u, err = objects.Address(s, r.Address); err != nil {
			return out, err
		}
		out.Address = u.Address()
	}
	if r.Password != nil {
		if n := len(*r.Password); n == 0 || n > objects.MaxPassword {
			return out, chat.Refuse(chat.CodeInvalid, "a password has 1 to %d bytes", objects.MaxPassword).About(u)
		}
		out.Secret = objects.NewSecret(u, s.Domain(), *r.Password, a.DigestMD5)
	}
	return out, nil
}

func (a *API) importDirectory(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[ImportDirectory](a, r)
	if err != nil {
		return err
	}
	out := answer.NewStream(w)
	res, err := a.importRows(r, o, c.Rows, progress(out))
	if err != nil {
		return out.End(err)
	}
	res.Unconfirmed = a.confirmed(r.Context(), w, res.Offset)
	return out.Object(res)
}

// importRows checks all rows on a copy of the state, and then commits them.
func (a *API) importRows(r *http.Request, o chat.Origin, in []ImportRow, progress func(pass string, rows int)) (DirectoryImported, error) {
	out := DirectoryImported{Rows: len(in), WhatIf: asksWhatIf(r)}
	s := a.Pool.State()
	rows := make([]chat.ImportRow, 0, len(in))
	var bad []chat.RowFault
	for i := range in {
		row, err := a.row(s, &in[i])
		if err != nil {
			bad = append(bad, chat.RowFault{Line: in[i].Line, Text: err.Error()})
		} else {
			rows = append(rows, row)
		}
		progress("read", i)
	}
	if len(bad) > 0 {
		var more *chat.Refusal
		if errors.As(s.CheckImport(rows), &more) { // so that all bad rows are told at once
			bad = append(bad, more.Rows...)
			slices.SortStableFunc(bad, func(x, y chat.RowFault) int { return cmp.Compare(x.Line, y.Line) })
		}
		f := chat.Refuse(chat.CodeInvalid, "%d of %d rows are bad, nothing was changed; line %d: %s", len(bad), len(in), bad[0].Line, bad[0].Text)
		f.Rows = bad
		return out, f
	}
	if err := s.CheckImport(rows); err != nil {
		return out, err
	}
	steps := archive.Directory(rows)
	scratch := a.Pool.Scratch()
	done := 0
	for _, step := range steps {
		n, err := archive.Try(scratch, o, step, a.Now(), a.NewID)
		if err != nil {
			return out, err
		}
		out.Changed += n
		done += len(step.Rows)
		progress("check", done)
	}
	if out.WhatIf {
		return out, nil
	}
	done = 0
	for i, step := range steps {
		res, err := a.Pool.Submit(r.Context(), chat.Request{Origin: part(o, strconv.Itoa(i)), Command: step})
		if err != nil {
			if i > 0 {
				f := *chat.AsRefusal(err)
				f.Text = fmt.Sprintf("part %d of %d failed after the others were done; the import can be repeated: %s", i+1, len(steps), f.Text)
				return out, &f
			}
			return out, err
		}
		out.Offset = max(out.Offset, res.Offset)
		done += len(step.Rows)
		progress("import", done)
	}
	return out, nil
}
