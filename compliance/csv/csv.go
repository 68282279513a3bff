// Package csv writes compliance files of comma-separated values (RFC 4180): one row for each act in the conversation of a
// room, for people with a spreadsheet. Lines end with CRLF, the first names the columns, the text is UTF-8.
//
// The text of a message stands in its cell exactly as it was posted. A spreadsheet may take a cell that begins with =, +, -
// or @ for a formula; the option guard puts an apostrophe before such text, which is then no longer exactly what was
// posted, and the column guarded says so.
//
// A message that was imported is the act imported, by its author and at the time at which he posted it. Rows are in the
// order of the log, in which it stands where it was imported.
package csv

import (
	"context"
	"iter"
	"strconv"
	"strings"

	"parley/compliance"
	"parley/compliance/render"
	"parley/log/event"
)

// Name is what the adapter is called in a configuration.
const Name = "csv"

// Config of the adapter.
type Config struct {
	Dir   string        // where the files go
	FS    compliance.FS // nil: the operating system's
	Node  event.NodeID
	Guard bool // against formulas
}

// Kind describes the adapter. Options: dir; guard (true or false).
var Kind = compliance.Kind{Name: Name, Targets: []string{"dir"}, New: func(env compliance.Env, o *compliance.Options) (compliance.Adapter, error) {
	c := Config{Dir: o.Dir(env), FS: env.FS, Node: env.Node, Guard: o.Bool("guard")}
	return New(c), o.Err()
}}

// Adapter is a compliance.Adapter.
type Adapter struct {
	cfg     Config
	archive *compliance.Archive
}

// New returns the adapter.
func New(cfg Config) *Adapter {
	return &Adapter{cfg, compliance.NewArchive(cfg.FS, cfg.Dir, cfg.Node)}
}

// Name implements compliance.Adapter.
func (a *Adapter) Name() string { return Name }

// Tidy implements compliance.Tidier.
func (a *Adapter) Tidy(feed string) error { return a.archive.Tidy(feed) }

// Header is the first line: columns are added at the end, never moved.
const Header = "offset,at,act,room_uri,room_name,category,by,by_name,by_email,internal,endpoint,message_id,alert,erased,title,text,files,guarded\r\n"

var acts = map[render.What]string{render.Join: "join", render.Part: "part", render.Chat: "chat", render.Read: "read", render.Search: "search", render.Removal: "removal"}

// Deliver implements compliance.Adapter. It writes while it reads.
func (a *Adapter) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	return a.archive.Stream(ctx, cut, "csv", Header, run, func(b []byte, e event.Envelope) ([]byte, error) {
		err := render.Acts(cut, e, func(x render.Act) { b = a.row(b, cut, x) })
		return b, err
	})
}

func (a *Adapter) row(b []byte, cut compliance.Cut, x render.Act) []byte {
	person, place := cut.Person(x.By), cut.Place(x.Room)
	var files []string
	for _, l := range x.Links {
		if l.Kind == event.LinkFile {
			files = append(files, l.URI)
		}
	}
	id := ""
	if x.MessageID != 0 {
		id = strconv.FormatUint(x.MessageID, 10)
	}
	guarded := false
	free := func(s string) string {
		if a.cfg.Guard && s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
			guarded = true
			return "'" + s
		}
		return s
	}
	b = strconv.AppendUint(b, uint64(x.Offset), 10)
	b = append(b, ',')
	at, act := x.At, acts[x.What]
	if x.Imported() {
		at, act = x.PostedAt, "imported"
	}
	b = render.AppendTime(b, at)
	for _, v := range []string{act, place.URI, free(place.Name), free(place.Category), x.By.Address(), free(person.DisplayName), free(person.Email),
		strconv.FormatBool(person.Internal), free(string(x.Endpoint)), id, strconv.FormatBool(x.Alert), strconv.FormatBool(x.Erased), free(x.Title), free(x.Text),
		free(strings.Join(files, " "))} {
		b = appendCell(append(b, ','), v)
	}
	b = append(b, ',')
	b = strconv.AppendBool(b, guarded)
	return append(b, '\r', '\n')
}

// appendCell quotes a value if it must be (RFC 4180 section 2, rules 6 and 7).
func appendCell(b []byte, s string) []byte {
	if !strings.ContainsAny(s, "\",\r\n") && (s == "" || s[0] != ' ' && s[len(s)-1] != ' ') {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
