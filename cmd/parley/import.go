package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/dirimport"
	"parley/cmd/internal/verbs"
	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
	"parley/projections/chat/roles"
	"parley/webfront/admin"
)

// directoryImport is one `user import`, `group import` or `ou import`.
type directoryImport struct {
	a       *app
	words   string
	kind    bulk.Kind
	changes changeFlags
	options dirimport.Options
	format  string
	dryRun  bool
}

func (a *app) directoryImportCmd(object string) *cobra.Command {
	d := &directoryImport{a: a, words: object + " import", kind: bulk.Kind(object)}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make, change and remove accounts, groups and units from a CSV or LDIF file",
		Long: "Make, change and remove accounts, groups and units from a CSV or LDIF file; - is standard input.\n\n" +
			"All rows are checked first. If one is bad, nothing changes, and every bad row is printed with its line. What is so already is no\n" +
			"change, so an import can be repeated, and one that broke off half way is finished by repeating it.\n\n" +
			"CSV has a header. Columns: " + columns() + ".\nRows without a kind are of kind " + object + ". Lists are parted by semicolons. A column that is not there leaves " +
			"things as they are;\nan empty cell empties. LDIF has entries, and changes that add or delete an entry.\n\nRight: " + roles.Denial(roles.UserChange) + ".",
		Args: cobra.ExactArgs(1),
	}
	fs := cmd.Flags()
	for i := range verbs.ImportOptions {
		o := &verbs.ImportOptions[i]
		switch o.Name {
		case "format":
			fs.StringVar(&d.format, o.Name, "", "`FORMAT` of the file (csv, ldif) (default "+o.Default+")")
			a.must(cmd.RegisterFlagCompletionFunc(o.Name, cobra.FixedCompletions(o.Values, cobra.ShellCompDirectiveNoFileComp)))
		case "lenient":
			fs.BoolVar(&d.options.Lenient, o.Name, false, help(o))
		case "address-from":
			fs.StringSliceVar(&d.options.AddressFrom, o.Name, nil, strings.Replace(help(o), "attributes", "`ATTRIBUTES`", 1))
		case "dry-run":
			fs.BoolVar(&d.dryRun, o.Name, false, help(o))
		}
	}
	d.changes.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d.changes.whatIf = d.changes.whatIf || d.dryRun
		err := d.run(cmd.Context(), args[0])
		var u usageError
		if err == nil || errors.As(err, &u) {
			return err
		}
		return fmt.Errorf("%s %s: %w", d.words, args[0], explain(err))
	}
	return cmd
}

func columns() string {
	out := ""
	for i, c := range dirimport.Columns {
		switch {
		case i == 0:
		case i%9 == 0:
			out += ",\n"
		default:
			out += ", "
		}
		out += c
	}
	return out
}

func (d *directoryImport) run(ctx context.Context, file string) error {
	format := dirimport.Format(d.format)
	if format == "" {
		var err error
		if format, err = dirimport.FormatOf(file); err != nil {
			return usagef("%s: %w", d.words, err)
		}
	} else if o := verbs.ImportOptions[0]; !slices.Contains(o.Values, d.format) {
		return usagef("%s: --format %q is not one of %s", d.words, d.format, strings.Join(o.Values, ", "))
	}
	c, err := d.a.client()
	if err != nil {
		return err
	}
	rows, bad, err := d.read(ctx, format, file)
	if err != nil {
		return err
	}
	req := d.changes.request(http.MethodPost, admin.ImportDirectory{Rows: rows}, "directory", "import")
	if len(bad) > 0 { // nothing will be changed; what else is wrong is told with them
		req.Query = map[string][]string{"what_if": {"true"}}
	}
	req.Unconfirmed = d.a.unconfirmed(d.words)
	var res admin.DirectoryImported
	p := d.a.progress(d.words)
	err = importStream(ctx, c, req, p, int64(len(rows)), &res)
	p.done()
	if len(bad) > 0 {
		return badRows(bad, len(rows)+len(bad), err)
	}
	if err != nil {
		return err
	}
	if d.a.json {
		return d.a.emit(res)
	}
	if d.changes.whatIf {
		d.a.say("what if: %d rows are good and would lead to %d changes", res.Rows, res.Changed)
		return nil
	}
	if res.Unconfirmed != "" {
		req.Unconfirmed(res.Unconfirmed)
	}
	d.a.say("%d rows, %d changes (event %d)", res.Rows, res.Changed, res.Offset)
	return nil
}

// badRows is the error of a file with rows that cannot be read; err may have more of them, from the pool.
func badRows(bad []admin.ProblemRow, rows int, err error) error {
	var p *admin.Problem
	if errors.As(err, &p) {
		bad = append(bad, p.Rows...)
	}
	slices.SortStableFunc(bad, func(x, y admin.ProblemRow) int { return cmp.Compare(x.Line, y.Line) })
	return &admin.Problem{Status: http.StatusBadRequest, Code: string(chat.CodeInvalid), Rows: bad,
		Detail: fmt.Sprintf("%d of %d rows are bad, nothing was changed; line %d: %s", len(bad), rows, bad[0].Line, bad[0].Error)}
}

// read reads the file: the rows as the API takes them, and those that cannot be read.
func (d *directoryImport) read(ctx context.Context, format dirimport.Format, file string) (rows []admin.ImportRow, bad []admin.ProblemRow, err error) {
	in := io.NopCloser(d.a.stdin)
	size := int64(0)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, nil, err
		}
		if info, err := f.Stat(); err == nil {
			size = info.Size()
		}
		in = f
	}
	defer in.Close() //nolint:errcheck // it was only read
	p := d.a.progress(d.words + ": read")
	defer p.done()
	o := d.options
	o.Kind = d.kind
	o.Progress = func(at dirimport.Progress) { p.count(at.Bytes, size, "bytes") }
	skipped := 0
	o.Skipped = func(line uint32, why string) {
		if skipped++; skipped <= 10 && !d.a.quiet {
			fmt.Fprintf(d.a.stderr, "parley: %s: line %d is passed over: %s\n", d.words, line, why)
		}
	}
	// The pool makes the secret, so the password goes there as it is. The parser asks for the secret of a row right before
	// it hands the row out.
	password := ""
	o.Secret = func(_ event.Principal, p string) event.Secret {
		password = p
		return event.Secret{}
	}
	src, err := dirimport.New(format, in, o)
	if err != nil {
		return nil, nil, err
	}
	for row, err := range src.Rows(ctx) {
		var re *dirimport.RowError
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
	if skipped > 10 && !d.a.quiet {
		fmt.Fprintf(d.a.stderr, "parley: %s: %d entries are passed over\n", d.words, skipped)
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

// importStream sends an import and reads its answer: lines of progress, then the result into res.
func importStream(ctx context.Context, c *client.Client, req client.Request, p *progress, rows int64, res any) error {
	ended := false
	err := c.Stream(ctx, req, func(line []byte) error {
		var at struct {
			Pass string `json:"pass"`
			Done int64  `json:"rows_done"`
		}
		if err := json.Unmarshal(line, &at); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if at.Pass != "" {
			p.pass(at.Pass, at.Done, rows)
			return nil
		}
		ended = true
		return json.Unmarshal(line, res)
	})
	if err == nil && !ended {
		return fmt.Errorf("the node ended its answer without a result; the import can be repeated: %w", client.ErrUnavailable)
	}
	return err
}
