// Package eml writes compliance files as e-mail messages (RFC 5322), one for each room that something happened in, as
// archives such as Global Relay take them in: a transcript as text, the participants as recipients. It writes them to a
// directory, or sends them over SMTP (smtp.go).
//
// The Message-ID is made of feed, range and room, and all other bytes of cut and configuration, so a message that is
// delivered again is the same message: an archive that knows Message-IDs keeps one. In a directory of our own that is
// exactly once; by mail it is effectively once.
//
// A cut in a directory is its messages and the list that compliance.Archive.PutAll writes.
package eml

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/mail"
	"slices"
	"strings"
	"unicode/utf8"

	"parley/compliance"
	"parley/compliance/render"
	"parley/log/event"
)

// Name is what the adapter is called in a configuration.
const Name = "eml"

// Config of the adapter.
type Config struct {
	Dir    string        // where the files go
	FS     compliance.FS // nil: the operating system's
	Node   event.NodeID
	Format Format
}

// Format is what the messages look like.
type Format struct {
	From    string // address of the sender of all messages; empty: that of the pool
	MsgType string // value of X-GlobalRelay-MsgType; empty: no such header
}

// Kind describes the adapter. Options: dir; from; msg_type.
var Kind = compliance.Kind{Name: Name, Targets: []string{"dir"}, New: func(env compliance.Env, o *compliance.Options) (compliance.Adapter, error) {
	return New(Config{Dir: o.Dir(env), FS: env.FS, Node: env.Node, Format: formatOf(o)}), o.Err()
}}

func formatOf(o *compliance.Options) Format {
	f := Format{From: o.Text("from", ""), MsgType: o.Text("msg_type", "")}
	if f.From != "" {
		if a, err := mail.ParseAddress(f.From); err != nil || a.Address != f.From {
			o.Fail("option from is %q, want an address such as archive@contoso.test", f.From)
		}
	}
	if strings.ContainsFunc(f.MsgType, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		o.Fail("option msg_type is %q, want printable ASCII", f.MsgType)
	}
	return f
}

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

// Deliver implements compliance.Adapter. It keeps the acts of one cut in memory, because messages group by room.
func (a *Adapter) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	messages, err := a.cfg.Format.messages(ctx, cut, run)
	if err != nil {
		return compliance.Receipt{}, err
	}
	var out []compliance.Output
	for _, m := range messages {
		out = append(out, compliance.Output{Name: m.name, Write: func(w io.Writer) error {
			_, err := w.Write(m.data)
			return err
		}})
	}
	return a.archive.PutAll(ctx, cut, out)
}

// message is one room's.
type message struct {
	name string // of the file
	data []byte // with CRLF line ends
}

func (f Format) messages(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) ([]message, error) {
	all := render.NewConversations(cut)
	for e, err := range run {
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := all.Add(e); err != nil {
			return nil, err
		}
	}
	domain, pool := cut.State().Domain(), strings.TrimPrefix(cut.State().PoolURI(), "sip:")
	var out []message
	for _, c := range all.All {
		out = append(out, message{cut.PartName(string(c.Place.ID), "eml"), f.message(cut, c, domain, pool)})
	}
	return out, nil
}

// second is a time to the second, as mail has it.
const second = "Mon, 02 Jan 2006 15:04:05 +0000"

func (f Format) message(cut compliance.Cut, c *render.Conversation, domain, pool string) []byte {
	from := f.From
	if from == "" {
		from = pool
	}
	var b strings.Builder
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("Message-ID", fmt.Sprintf("<%s.%d.%d.%s@%s>", cut.Feed, cut.First, cut.Last, c.Place.ID, domain))
	header("Date", c.End().UTC().Format(second))
	header("From", (&mail.Address{Address: from}).String())
	var to []string
	for _, p := range people(c) {
		if a, ok := address(c.People[p]); ok {
			to = append(to, a)
		}
	}
	if len(to) == 0 {
		to = []string{"undisclosed-recipients:;"}
	}
	header("To", strings.Join(to, ",\r\n "))
	header("Subject", subject(fmt.Sprintf("%s, %s to %s", c.Place.Name, c.Start().UTC().Format("2006-01-02 15:04:05"), c.End().UTC().Format("2006-01-02 15:04:05 UTC"))))
	if f.MsgType != "" {
		header("X-GlobalRelay-MsgType", f.MsgType)
	}
	header("X-Parley-Feed", cut.Feed)
	header("X-Parley-Range", fmt.Sprintf("%d-%d", cut.First, cut.Last))
	header("X-Parley-Room", c.Place.URI)
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "base64")
	b.WriteString("\r\n")
	text := base64.StdEncoding.EncodeToString(body(c))
	for len(text) > 0 { // RFC 2045 section 6.8: at most 76 characters a line
		n := min(76, len(text))
		b.WriteString(text[:n])
		b.WriteString("\r\n")
		text = text[n:]
	}
	return []byte(b.String())
}

// subject encodes a subject so that no line is longer than mail allows (RFC 2047 section 2).
func subject(s string) string {
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", s), "?= =?", "?=\r\n =?")
}

// address returns a person as a recipient, if he has something like an address.
func address(p *compliance.Person) (string, bool) {
	a := p.Email
	if a == "" {
		a = p.Principal.Address()
	}
	parsed, err := mail.ParseAddress(a)
	if err != nil || parsed.Address != a {
		return "", false
	}
	name := p.DisplayName
	if name == p.Principal.Address() {
		name = ""
	}
	return (&mail.Address{Name: name, Address: a}).String(), true
}

func people(c *render.Conversation) (out []event.Principal) {
	for p := range c.People {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// body is the transcript: who was there, then every act in order.
func body(c *render.Conversation) []byte {
	var b []byte
	line := func(format string, args ...any) { b = append(fmt.Appendf(b, format, args...), "\r\n"...) }
	line("Room: %s", oneLine(c.Place.Name))
	line("Address: %s", c.Place.URI)
	if c.Place.Category != "" {
		line("Category: %s", oneLine(c.Place.Category))
	}
	line("From: %s", c.Start())
	line("To: %s", c.End())
	line("")
	line("Participants:")
	posts := map[event.Principal]int{}
	for _, x := range c.Acts {
		if x.What == render.Chat {
			posts[x.By]++
		}
	}
	for _, p := range people(c) {
		was := ""
		if c.Present[p] > 0 {
			was = ", present at the start"
		}
		line("  %s <%s>, %d messages%s", oneLine(c.People[p].DisplayName), p.Address(), posts[p], was)
	}
	line("")
	for i, x := range c.Acts {
		who := fmt.Sprintf("%s <%s>", oneLine(c.Persons[i].DisplayName), x.By.Address())
		switch x.What {
		case render.Join:
			line("[%s] %s joined", x.At, who)
		case render.Part:
			line("[%s] %s left", x.At, who)
		case render.Chat:
			mark := ""
			if x.Alert {
				mark = " (alert)"
			}
			if x.Imported() {
				mark += fmt.Sprintf(", posted at %s, imported from %s by %s", x.PostedAt, oneLine(x.Source), x.Importer.Address())
			}
			line("[%s] %s, message %d%s:", x.At, who, x.MessageID, mark)
			switch {
			case x.Erased:
				line("  (the text was lawfully erased)")
			default:
				if x.Title != "" {
					line("  Title: %s", oneLine(x.Title))
				}
				for l := range strings.SplitSeq(clean(x.Text), "\n") {
					line("  %s", strings.TrimSuffix(l, "\r"))
				}
			}
			for _, l := range x.Links {
				if l.Kind == event.LinkFile {
					line("  File: %s (%s, %d bytes)", oneLine(l.Name), oneLine(l.URI), l.Size)
				}
			}
		case render.Read:
			line("[%s] %s read the history: %s", x.At, who, x.Text)
		default:
			line("[%s] %s: %s", x.At, who, oneLine(x.Text))
		}
	}
	return b
}

// oneLine keeps a name from looking like lines of the transcript.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

// clean makes text valid UTF-8.
func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
