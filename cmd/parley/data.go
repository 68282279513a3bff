package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/verbs"
	"parley/projections/chat/roles"
	"parley/webfront/archive"
)

func (a *app) dataCmd() *cobra.Command {
	return group("data", "Export and import users, categories, rooms and messages", a.dataExportCmd(), a.dataImportCmd())
}

// stdStream is the file name that means standard input or output.
const stdStream = "-"

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
	return "", usagef("%s: which FILE? %s is standard input or output", cmd.CommandPath(), stdStream)
}

// dataExport is one `data export`.
type dataExport struct {
	a       *app
	file    string
	report  string
	disable bool
	changes changeFlags

	counts map[string]int
	rooms  []string // GUIDs, in the order of the archive
	seen   map[string]bool
	rows   int
	bytes  int64
	ended  bool
}

func (a *app) dataExportCmd() *cobra.Command {
	d := &dataExport{a: a, counts: map[string]int{}, seen: map[string]bool{}}
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
				v, err := optionValue(cmd, o, text[o.Name].String())
				if err != nil {
					return err
				}
				q.Set(o.Key(), fmt.Sprint(v))
			}
		}
		if s := splitAll(text["scope"].texts); s != nil {
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
	out, finish, err := d.create()
	if err != nil {
		return err
	}
	p := d.a.progress("data export")
	err = c.Stream(ctx, client.Request{Method: http.MethodGet, Path: []string{"data", "export"}, Query: q}, func(line []byte) error {
		p.count(int64(d.rows), 0, "rows")
		return d.take(out, line)
	})
	p.done()
	if err == nil && !d.ended {
		err = fmt.Errorf("the node ended the archive before its last row: %w", client.ErrUnavailable)
	}
	if err = finish(err); err != nil {
		return err
	}
	if d.disable {
		if err := d.disableRooms(ctx, c); err != nil {
			return err
		}
	}
	if err := d.a.writeReport(d.report, "Export", d.file, d.counts, nil); err != nil {
		return err
	}
	if d.file == stdStream {
		return nil // what else is said would be in the archive
	}
	if d.a.json {
		return d.a.emit(map[string]any{"file": d.file, "rows": d.rows, "bytes": d.bytes, "counts": d.counts, "disabled_rooms": d.disabled()})
	}
	d.a.say("%s: %d rows, %d bytes%s", d.file, d.rows, d.bytes, list(d.counts))
	return nil
}

func (d *dataExport) disabled() int {
	if d.disable {
		return len(d.rooms)
	}
	return 0
}

// list shows counts in the order of an archive.
func list(counts map[string]int) string {
	out := ""
	for _, kind := range archive.Kinds() {
		if n := counts[kind]; n > 0 {
			out += fmt.Sprintf(", %s %d", kind, n)
		}
	}
	return out
}

// create opens the file under another name; finish gives it its own when all of it is there, or takes it away.
func (d *dataExport) create() (w *bufio.Writer, finish func(error) error, err error) {
	if d.file == stdStream {
		w = bufio.NewWriter(d.a.stdout)
		return w, func(err error) error { return errors.Join(err, w.Flush()) }, nil
	}
	f, err := os.CreateTemp(filepath.Dir(d.file), "."+filepath.Base(d.file)+"-*")
	if err != nil {
		return nil, nil, err
	}
	w = bufio.NewWriterSize(f, 1<<20)
	return w, func(err error) error {
		if err == nil {
			err = errors.Join(w.Flush(), f.Sync())
		}
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), d.file)
		}
		if err != nil {
			_ = os.Remove(f.Name()) // the first error counts
		}
		return err
	}, nil
}

// take writes a line and counts it.
func (d *dataExport) take(w *bufio.Writer, line []byte) error {
	var row struct {
		Row  string `json:"row"`
		ID   string `json:"id"`
		Room string `json:"room"`
	}
	if err := json.Unmarshal(line, &row); err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	switch row.Row {
	case archive.RowHeader:
	case archive.RowEnd:
		d.ended = true
	default:
		d.counts[row.Row]++
		d.rows++
	}
	room := ""
	switch row.Row {
	case archive.RowRoom:
		room = row.ID
	case archive.RowMessage:
		room = row.Room
	}
	if room != "" && !d.seen[room] {
		d.seen[room] = true
		d.rooms = append(d.rooms, room)
	}
	d.bytes += int64(len(line)) + 1
	if _, err := w.Write(line); err != nil {
		return err
	}
	return w.WriteByte('\n')
}

// disableRooms disables what was exported. Rooms that are disabled already stay so.
func (d *dataExport) disableRooms(ctx context.Context, c *client.Client) error {
	p := d.a.progress("disable rooms")
	defer p.done()
	for i, id := range d.rooms {
		p.count(int64(i), int64(len(d.rooms)), "rooms")
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
		if reportErr := a.writeReport(report.String(), "Import", name, res.Counts, err); err == nil {
			err = reportErr
		}
		if err != nil {
			return fmt.Errorf("data import %s: %w", name, explain(err))
		}
		if a.json {
			return a.emit(res)
		}
		if res.DryRun {
			a.say("what if: %d rows are good and would lead to %d events%s", res.Rows, res.Events, list(res.Counts))
			return nil
		}
		a.say("%d rows, %d events (the last is %d), %d messages were there already%s", res.Rows, res.Events, res.Offset, res.Skipped, list(res.Counts))
		return nil
	}
	return cmd
}

func (a *app) importArchive(ctx context.Context, name string, changes *changeFlags) (res archive.Result, err error) {
	c, err := a.client()
	if err != nil {
		return res, err
	}
	if name == stdStream {
		temp, err := a.keep(a.stdin)
		if err != nil {
			return res, err
		}
		defer os.Remove(temp) //nolint:errcheck // it is in a directory for such files
		name = temp
	}
	rows, err := countRows(name)
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

// keep puts standard input into a file: it may be sent to more than one node.
func (a *app) keep(in io.Reader) (name string, err error) {
	f, err := os.CreateTemp("", "parley-import-*")
	if err != nil {
		return "", err
	}
	if _, err = io.Copy(f, in); err == nil {
		err = f.Close()
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error counts
	}
	return f.Name(), err
}

// countRows counts the rows of an archive, so that progress has an end.
func countRows(name string) (rows int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		rows += int64(bytes.Count(buf[:n], []byte{'\n'}))
		if errors.Is(err, io.EOF) {
			return max(rows-2, 0), nil // but the header and the last row
		}
		if err != nil {
			return 0, err
		}
	}
}

// page is what --report writes.
var page = template.Must(template.New("report").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.What}} of {{.File}}</title></head>
<body><h1>{{.What}} of {{.File}}</h1><p>{{.At}}</p>
{{if .Error}}<p>Failed: {{.Error}}</p>{{else}}<p>Done.</p>{{end}}
<table><tr><th>Kind</th><th>Rows</th></tr>
{{range .Counts}}<tr><td>{{.Kind}}</td><td>{{.N}}</td></tr>
{{end}}</table></body></html>
`))

// writeReport writes what an export or import did as a page, if one is wanted.
func (a *app) writeReport(file, what, of string, counts map[string]int, failed error) error {
	if file == "" {
		return nil
	}
	type count struct {
		Kind string
		N    int
	}
	data := struct {
		What, File, At, Error string
		Counts                []count
	}{What: what, File: of, At: time.Now().UTC().Format(time.RFC3339)}
	if failed != nil {
		data.Error = failed.Error()
	}
	for _, kind := range archive.Kinds() {
		if counts[kind] > 0 {
			data.Counts = append(data.Counts, count{kind, counts[kind]})
		}
	}
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
