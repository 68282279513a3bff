package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/internal/archivefile"
	"parley/cmd/internal/client"
	"parley/cmd/internal/verbs"
	"parley/projections/chat/roles"
	"parley/webfront/archive"
)

func (a *app) dataCmd() *cobra.Command {
	return group("data", "Export and import users, categories, rooms and messages", a.dataExportCmd(), a.dataImportCmd())
}

// fileName returns the file of a verb: its argument, or --file-name as the product has it.
func fileName(cmd *cobra.Command, args []string, flag string) (string, error) {
	switch {
	case len(args) == 1 && flag == "":
		return args[0], nil
	case len(args) == 0 && flag != "":
		return flag, nil
	case flag != "":
		return "", usagef("%s: FILE is given twice", cmd.CommandPath())
	}
	return "", usagef("%s: which FILE? %s is standard input or output", cmd.CommandPath(), archivefile.Std)
}

// dataExport is one `data export`.
type dataExport struct {
	a       *app
	file    string
	report  string
	disable bool
	changes changeFlags
}

func (a *app) dataExportCmd() *cobra.Command {
	d := &dataExport{a: a}
	text := map[string]*textFlag{}
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write users, categories, rooms and messages into an archive",
		Long: "Write users, categories, rooms and messages into an archive (docs/export-format.md); - is standard output.\n\n" +
			"The archive is one JSON object a line. Its last line has the number of rows and the hash of what stands before it; a file has its name\n" +
			"only when it is complete. Passwords, sessions, followed rooms and files are not in it, nor are messages that were removed.\n" +
			"An export is an event in the log, written before anything is shown.\n\nRight: " + roles.Denial(roles.DataExport) + ".",
		Args: cobra.MaximumNArgs(1),
	}
	fs := cmd.Flags()
	for i := range verbs.ExportOptions {
		switch o := &verbs.ExportOptions[i]; {
		case o.Name == "disable-exported-nodes":
			fs.BoolVar(&d.disable, o.Name, false, help(o))
		case o.Name == "force":
			fs.BoolVar(&d.changes.force, o.Name, false, help(o))
		default:
			text[o.Name] = &textFlag{kind: o.Value, many: o.Kind == verbs.Words}
			fs.Var(text[o.Name], o.Name, help(o))
		}
	}
	a.must(cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions(verbs.Levels, cobra.ShellCompDirectiveNoFileComp)))
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if d.file, err = fileName(cmd, args, text["file-name"].String()); err != nil {
			return err
		}
		d.report = text["report"].String()
		q := url.Values{}
		for i := range verbs.ExportOptions {
			o := &verbs.ExportOptions[i]
			if (o.Name == "level" || o.Name == "start-date") && fs.Changed(o.Name) {
				v, err := o.Check(text[o.Name].String())
				if err != nil {
					return usagef("%s: --%s %w", cmd.CommandPath(), o.Name, err)
				}
				q.Set(o.Key(), fmt.Sprint(v))
			}
		}
		if s := verbs.Split(text["scope"].texts); s != nil {
			q["scope"] = s
		}
		if d.disable {
			if err := a.confirm(&d.changes, "Disable every room of the export afterwards?"); err != nil {
				return fmt.Errorf("data export: %w", err)
			}
		}
		if err := d.run(cmd.Context(), q); err != nil {
			return fmt.Errorf("data export: %w", explain(err))
		}
		return nil
	}
	return cmd
}

func (d *dataExport) run(ctx context.Context, q url.Values) error {
	c, err := d.a.client()
	if err != nil {
		return err
	}
	out, err := archivefile.Create(d.file, d.a.stdout)
	if err != nil {
		return err
	}
	p := d.a.progress("data export")
	err = c.Stream(ctx, client.Request{Method: http.MethodGet, Path: []string{"data", "export"}, Query: q}, func(line []byte) error {
		p.count(int64(out.Rows), 0, "rows")
		return out.Line(line)
	})
	p.done()
	if err == nil && !out.Complete {
		err = fmt.Errorf("the node ended the archive before its last row: %w", client.ErrUnavailable)
	}
	if err = out.End(err); err != nil {
		return err
	}
	disabled := 0
	if d.disable {
		disabled = len(out.Rooms)
		if err := d.disableRooms(ctx, c, out.Rooms); err != nil {
			return err
		}
	}
	if d.report != "" {
		if err := archivefile.Report(d.report, "Export", d.file, time.Now(), out.Counts, nil); err != nil {
			return err
		}
	}
	if d.file == archivefile.Std {
		return nil // what else is said would be in the archive
	}
	if d.a.json {
		return d.a.emit(map[string]any{"file": d.file, "rows": out.Rows, "bytes": out.Bytes, "counts": out.Counts, "disabled_rooms": disabled})
	}
	d.a.say("%s: %d rows, %d bytes%s", d.file, out.Rows, out.Bytes, archivefile.Summary(out.Counts))
	return nil
}

// disableRooms disables what was exported. Rooms that are disabled already stay so.
func (d *dataExport) disableRooms(ctx context.Context, c *client.Client, rooms []string) error {
	p := d.a.progress("disable rooms")
	defer p.done()
	for i, id := range rooms {
		p.count(int64(i), int64(len(rooms)), "rooms")
		req := d.changes.request(http.MethodPatch, map[string]any{"disabled": true}, "rooms", id)
		req.Unconfirmed = d.a.unconfirmed("data export")
		if err := c.Do(ctx, req, nil); err != nil {
			return fmt.Errorf("the archive is complete; room %s could not be disabled: %w", id, err)
		}
	}
	return nil
}

func (a *app) dataImportCmd() *cobra.Command {
	var changes changeFlags
	file, report := textFlag{kind: "FILE"}, textFlag{kind: "FILE"}
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Bring an archive of data export into the pool",
		Long: "Bring an archive of data export into the pool; - is standard input. Look first, with --what-if.\n\n" +
			"All of the archive is checked first. If it is damaged or one row is bad, nothing changes, and every bad row is printed with its line.\n" +
			"An object of the pool with the name of one in the archive is overwritten. What is so already is no change, so an import can be\nrepeated, " +
			"and one that broke off half way is finished by repeating it. Accounts come without passwords.\n\nRight: " + roles.Denial(roles.DataImport) + ".",
		Args: cobra.MaximumNArgs(1),
	}
	fs := cmd.Flags()
	for i := range verbs.DataImportOptions {
		switch o := &verbs.DataImportOptions[i]; o.Name {
		case "file-name":
			fs.Var(&file, o.Name, help(o))
		case "report":
			fs.Var(&report, o.Name, help(o))
		case "dry-run":
			fs.BoolVar(&dryRun, o.Name, false, help(o))
		}
	}
	changes.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := fileName(cmd, args, file.String())
		if err != nil {
			return err
		}
		changes.whatIf = changes.whatIf || dryRun
		res, err := a.importArchive(cmd.Context(), name, &changes)
		if report.String() != "" {
			if reportErr := archivefile.Report(report.String(), "Import", name, time.Now(), res.Counts, err); err == nil {
				err = reportErr
			}
		}
		if err != nil {
			return fmt.Errorf("data import %s: %w", name, explain(err))
		}
		if a.json {
			return a.emit(res)
		}
		if res.DryRun {
			a.say("what if: %d rows are good and would lead to %d events%s", res.Rows, res.Events, archivefile.Summary(res.Counts))
			return nil
		}
		a.say("%d rows, %d events (the last is %d), %d messages were there already%s", res.Rows, res.Events, res.Offset, res.Skipped, archivefile.Summary(res.Counts))
		return nil
	}
	return cmd
}

func (a *app) importArchive(ctx context.Context, name string, changes *changeFlags) (res archive.Result, err error) {
	c, err := a.client()
	if err != nil {
		return res, err
	}
	if name == archivefile.Std {
		temp, err := archivefile.Keep(a.stdin)
		if err != nil {
			return res, err
		}
		defer os.Remove(temp) //nolint:errcheck // it is in a directory for such files
		name = temp
	}
	rows, err := archivefile.Count(name)
	if err != nil {
		return res, err
	}
	req := changes.request(http.MethodPost, nil, "data", "import")
	req.Unconfirmed = a.unconfirmed("data import")
	req.Upload = func() (io.ReadCloser, error) { return os.Open(name) }
	p := a.progress("data import")
	defer p.done()
	if err := importStream(ctx, c, req, p, rows, &res); err != nil {
		return res, err
	}
	if res.Unconfirmed != "" {
		req.Unconfirmed(res.Unconfirmed)
	}
	return res, nil
}
