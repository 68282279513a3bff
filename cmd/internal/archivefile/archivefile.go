// Package archivefile is an archive of `data export` as a file on an administrator's machine: it has its name only when
// all of it is there, it is counted on the way, and there is a page about what became of it.
package archivefile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"time"

	"parley/webfront/archive"
)

// Std is the name that means standard input or output.
const Std = "-"

// Writer writes an archive line by line.
type Writer struct {
	Counts   map[string]int // rows of each kind
	Rows     int            // between the first and the last one
	Bytes    int64
	Rooms    []string // GUIDs of the rooms that it has rows of, in its order
	Complete bool     // it has its last row

	name string
	file *os.File // nil: standard output
	out  *bufio.Writer
	seen map[string]bool
}

// Create begins an archive in a file of another name beside it, or on stdout.
func Create(name string, stdout io.Writer) (*Writer, error) {
	w := &Writer{Counts: map[string]int{}, name: name, seen: map[string]bool{}}
	if name == Std {
		w.out = bufio.NewWriter(stdout)
		return w, nil
	}
	var err error
	if w.file, err = os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*"); err != nil {
		return nil, err
	}
	w.out = bufio.NewWriterSize(w.file, 1<<20)
	return w, nil
}

// Line writes a line, which has no end yet, and counts it.
func (w *Writer) Line(line []byte) error {
	var row struct {
		Row  string `json:"row"`
		ID   string `json:"id"`
		Room string `json:"room"`
	}
	if err := json.Unmarshal(line, &row); err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	room := ""
	switch row.Row {
	case archive.RowHeader:
	case archive.RowEnd:
		w.Complete = true
	default:
		w.Counts[row.Row]++
		w.Rows++
		switch row.Row {
		case archive.RowRoom:
			room = row.ID
		case archive.RowMessage:
			room = row.Room
		}
	}
	if room != "" && !w.seen[room] {
		w.seen[room] = true
		w.Rooms = append(w.Rooms, room)
	}
	w.Bytes += int64(len(line)) + 1
	if _, err := w.out.Write(line); err != nil {
		return err
	}
	return w.out.WriteByte('\n')
}

// End gives the file its name, or takes it away when err or anything else says that it is not complete. If we crash here,
// a file with another name stays, which begins with a dot.
func (w *Writer) End(err error) error {
	if w.file == nil {
		return errors.Join(err, w.out.Flush())
	}
	if err == nil {
		err = errors.Join(w.out.Flush(), w.file.Sync())
	}
	err = errors.Join(err, w.file.Close())
	if err == nil {
		err = os.Rename(w.file.Name(), w.name)
	}
	if err != nil {
		_ = os.Remove(w.file.Name()) // the first error counts
	}
	return err
}

// Keep puts standard input into a file, because it may be sent to more than one node. The caller removes it.
func Keep(in io.Reader) (name string, err error) {
	f, err := os.CreateTemp("", "parley-import-*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name()) // the first error counts
	}
	return f.Name(), err
}

// Count counts the rows of an archive between the first and the last one, so that progress has an end.
func Count(name string) (rows int64, err error) {
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
			return max(rows-2, 0), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// Summary shows counts in the order of an archive.
func Summary(counts map[string]int) string {
	out := ""
	for _, kind := range archive.Kinds() {
		if n := counts[kind]; n > 0 {
			out += fmt.Sprintf(", %s %d", kind, n)
		}
	}
	return out
}

// page is what Report writes.
var page = template.Must(template.New("report").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.What}} of {{.File}}</title></head>
<body><h1>{{.What}} of {{.File}}</h1><p>{{.At}}</p>
{{if .Error}}<p>Failed: {{.Error}}</p>{{else}}<p>Done.</p>{{end}}
<table><tr><th>Kind</th><th>Rows</th></tr>
{{range .Counts}}<tr><td>{{.Kind}}</td><td>{{.N}}</td></tr>
{{end}}</table></body></html>
`))

// Report writes a page about what an export or import did, or why it failed.
func Report(name, what, of string, now time.Time, counts map[string]int, failed error) error {
	type count struct {
		Kind string
		N    int
	}
	data := struct {
		What, File, At, Error string
		Counts                []count
	}{What: what, File: of, At: now.UTC().Format(time.RFC3339)}
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
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
