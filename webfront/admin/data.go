package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
	"parley/projections/chat/roles"
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
	if sel.Since, err = parseTime("start_date", q.Get("start_date")); err != nil {
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
	out := newStream(w)
	return out.end(archive.Export(r.Context(), s, a.History, sel, out.line))
}

func (a *API) importData(w http.ResponseWriter, r *http.Request) error {
	file, err := spool(r.Body)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it has no name any more
	o, err := a.origin(r, nil)
	if err != nil {
		return err
	}
	out := newStream(w)
	next := time.Now().Add(progressEvery)
	target := archive.Target{State: a.Pool.State, Scratch: a.Pool.Scratch, Origin: o, History: a.History, Now: a.Now, NewID: a.NewID,
		Submit: func(ctx context.Context, n int, c chat.Command) (chat.Outcome, error) {
			return a.Pool.Submit(ctx, chat.Request{Origin: part(o, n), Command: c})
		}}
	res, err := archive.Import(r.Context(), file, target, asksWhatIf(r), func(pass string, rows int) {
		if now := time.Now(); now.After(next) {
			next = now.Add(progressEvery)
			_ = out.object(ImportProgress{pass, rows}) // a client that left ends the request's context
		}
	})
	if err != nil {
		return out.end(err)
	}
	if !res.DryRun {
		a.confirmed(r.Context(), w, res.Offset)
	}
	return out.object(res)
}

// spool puts a body into a file without a name, so that it can be read twice and is gone with the process.
func spool(body io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "parley-import-*")
	if err != nil {
		return nil, fmt.Errorf("keep the archive while it is checked: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close() //nolint:errcheck // the first error counts
		return nil, fmt.Errorf("keep the archive while it is checked: %w", err)
	}
	if _, err := io.Copy(f, body); err != nil {
		f.Close() //nolint:errcheck // the first error counts
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close() //nolint:errcheck // the first error counts
		return nil, err
	}
	return f, nil
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
}

func (a *API) directoryRoutes() []route {
	return []route{{method: "POST", path: "/directory/import", right: roles.UserChange, in: ImportDirectory{}, out: DirectoryImported{}, params: []param{whatIf}, maxBody: maxImport,
		summary: "Make, change and remove accounts, groups and units, all of them or none; a problem has every bad row", handle: a.importDirectory}}
}

// row makes the row of the rules.
func (a *API) row(s *chat.State, r *ImportRow) (chat.ImportRow, error) {
	out := chat.ImportRow{Line: r.Line, Kind: chat.ImportKind(objects.Lower(r.Kind)), Remove: r.Remove, Address: r.Address, ID: objects.Lower(r.ID), MemberOf: r.MemberOf}
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
	s := a.Pool.State()
	rows := make([]chat.ImportRow, 0, len(c.Rows))
	var bad []chat.RowFault
	for i := range c.Rows {
		row, err := a.row(s, &c.Rows[i])
		if err != nil {
			bad = append(bad, chat.RowFault{Line: c.Rows[i].Line, Text: err.Error()})
		}
		rows = append(rows, row)
	}
	if len(bad) > 0 {
		f := chat.Refuse(chat.CodeInvalid, "%d of %d rows are bad, nothing was changed; line %d: %s", len(bad), len(rows), bad[0].Line, bad[0].Text)
		f.Rows = bad
		return f
	}
	out := DirectoryImported{Rows: len(rows), WhatIf: asksWhatIf(r)}
	if err := s.CheckImport(rows); err != nil {
		return err
	}
	steps := archive.Directory(rows)
	scratch := a.Pool.Scratch()
	for _, step := range steps {
		n, err := archive.Try(scratch, o, step, a.Now(), a.NewID)
		if err != nil {
			return err
		}
		out.Changed += n
	}
	if out.WhatIf {
		return writeJSON(w, http.StatusOK, out)
	}
	for i, step := range steps {
		res, err := a.Pool.Submit(r.Context(), chat.Request{Origin: part(o, i), Command: step})
		if err != nil {
			if i > 0 {
				f := *chat.AsRefusal(err)
				f.Text = fmt.Sprintf("part %d of %d failed after the others were done; the import can be repeated: %s", i+1, len(steps), f.Text)
				return &f
			}
			return err
		}
		out.Offset = res.Offset
	}
	a.confirmed(r.Context(), w, out.Offset)
	return writeJSON(w, http.StatusOK, out)
}
