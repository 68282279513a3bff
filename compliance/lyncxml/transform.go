package lyncxml

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"parley/compliance"
	"parley/compliance/render"
	"parley/log/event"
)

// The document as a template sees it: the names are those of the XML, as far as Go allows, and what the product's options
// would add is always there. It holds no pointers and no maps, so nothing prints otherwise elsewhere.
type (
	// Conversations is the document of one file.
	Conversations struct {
		Feed         string
		First, Last  uint64 // offsets of the cut
		Conversation []Conversation
	}
	// Conversation is what happened in one room.
	Conversation struct {
		Channel                  Channel
		FirstMessage             Message
		Messages                 []Message
		StartTimeUTC, EndTimeUTC Instant
	}
	// Channel is the room as it was at the first message.
	Channel struct {
		URI, Name, ID, Description, Category, Type, Privacy string
		IsLogged                                            bool
	}
	// Message is an act in the room: Type is JOIN, PART, CHAT or BACKCHAT.
	Message struct {
		Type, Content, Title, RTF string
		ID, Offset                uint64
		Erased, Alert             bool
		Imported                  bool // from an archive: DateTimeUTC is that of its post
		Sender                    Sender
		DateTimeUTC               Instant
		Files                     []File
	}
	// Sender is who acted, as the directory knew him then.
	Sender struct {
		UserName, Email, URI, GivenName, Surname, Company string
		ID                                                int64
		Internal                                          bool
	}
	// File is a file that a message speaks of.
	File struct {
		Name, URI string
		Size      uint64 // bytes
	}
	// Instant is a time in the three forms of the XML.
	Instant struct {
		Since1970, Long int64
		String          string
	}
)

// Format writes the time in UTC in a layout of Go's package time.
func (i Instant) Format(layout string) string {
	return time.UnixMilli(i.Since1970).UTC().Format(layout)
}

func instantOf(t event.Time) Instant {
	return Instant{Since1970: floor(int64(t), 1e6), Long: floor(int64(t), 100) + ticksAt1970, String: t.UTC().Format(instantLayout)}
}

// entry is a message for a template.
func (d *document) entry(c *conversation, a render.Act, typ string, t text, p *compliance.Person) {
	at := a.At
	if a.Imported() {
		at = a.PostedAt
	}
	m := Message{Type: typ, Content: t.content, Title: t.title, RTF: a.RTF, ID: a.MessageID, Offset: uint64(a.Offset), Erased: t.erased, Alert: a.Alert, Imported: a.Imported(), DateTimeUTC: instantOf(at),
		Sender: Sender{UserName: p.DisplayName, Email: p.Email, URI: a.By.Address(), GivenName: p.GivenName, Surname: p.Surname, Company: p.Company, ID: senderID(a.By), Internal: p.Internal}}
	for _, l := range a.Links {
		if l.Kind == event.LinkFile {
			m.Files = append(m.Files, File{l.Name, l.URI, l.Size})
		}
	}
	c.entries = append(c.entries, m)
}

// view is what a template sees of some rooms.
func (d *document) view(rooms []*conversation) Conversations {
	out := Conversations{Feed: d.cut.Feed, First: uint64(d.cut.First), Last: uint64(d.cut.Last)}
	for _, c := range rooms {
		r := &c.room
		out.Conversation = append(out.Conversation, Conversation{
			Channel:      Channel{URI: r.URI, Name: r.Name, ID: string(r.ID), Description: r.Description, Category: r.Category, Type: string(r.Type), Privacy: string(r.Privacy), IsLogged: r.Logged},
			FirstMessage: c.entries[0], Messages: c.entries, StartTimeUTC: instantOf(c.start), EndTimeUTC: instantOf(c.end)})
	}
	return out
}

// Untransformed is the extension of a document that its template failed on.
const Untransformed = "untransformed.xml"

// transformed returns the outputs of some rooms. Once a cut is made its template stays, so a template that fails on what
// people wrote would hold the archive up for ever. The document itself is delivered then, under a name that says so, with
// the reason in a comment: like all else a function of the configuration and of the range. A template that writes nothing
// makes no file.
func (d *document) transformed(ctx context.Context, rooms []*conversation, name func(ext string) string) ([]compliance.Output, error) {
	view := d.view(rooms)
	n, err := d.cfg.Transform.Length(ctx, view)
	var wrong *render.TemplateError
	switch {
	case errors.As(err, &wrong):
		return []compliance.Output{{Name: name(Untransformed), Write: func(w io.Writer) error {
			if err := write(w, rooms); err != nil {
				return err
			}
			_, err := fmt.Fprintf(w, "<!-- The template of feed %s failed: %s -->\n", d.cut.Feed, dashes.ReplaceAllString(string(render.AppendXML(nil, wrong.Error())), "- "))
			return err
		}}}, nil
	case err != nil:
		return nil, err
	case n == 0:
		return nil, nil
	}
	return []compliance.Output{{Name: name(d.cfg.Extension), Write: func(w io.Writer) error { return d.cfg.Transform.Execute(ctx, w, view, render.MaxSteps) }}}, nil
}

// dashes are what a comment cannot hold (XML 1.0 section 2.5).
var dashes = regexp.MustCompile(`-(?:-|$)`)

var extension = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

// transform reads the template of a feed, and tries it if the configuration is only being checked.
func transform(env compliance.Env, o *compliance.Options) (t *render.Transform, ext string) {
	body := o.Template()
	if ext = o.Text("extension", "txt"); body == "" {
		if ext != "txt" {
			o.Fail("option extension is for what a template writes, and there is none")
		}
		return nil, ""
	}
	if !extension.MatchString(ext) || ext == compliance.ListExt {
		o.Fail("option extension is %q, want 1 to 16 lower case letters and digits, and not %s", ext, compliance.ListExt)
	}
	t, err := render.NewTransform(body)
	if err == nil && env.Check {
		_, err = t.Trial(Sample())
	}
	if err != nil {
		o.Fail("template: %w", err)
	}
	return t, ext
}

// Sample is the document that a template is tried on before it is set: two rooms, every type of message, and text that wants
// to be escaped.
func Sample() Conversations {
	at := func(n int64) Instant { return instantOf(event.Time(1_700_000_000_000_000_000 + n*1_000_000_000)) }
	alice := Sender{UserName: "Alice \"A.\" <Adams>", Email: "alice@contoso.test", URI: "alice@contoso.test", GivenName: "Alice", Surname: "Adams", Company: "Contoso & Söhne", ID: 1, Internal: true}
	bob := Sender{UserName: "bob@fabrikam.test", URI: "bob@fabrikam.test", ID: 2}
	lobby := []Message{{Type: typeJoin, Offset: 11, Sender: alice, DateTimeUTC: at(0)}, {Type: typeJoin, Offset: 12, Sender: bob, DateTimeUTC: at(1)},
		{Type: typeChat, ID: 1, Offset: 13, Content: "a < b && c > \"d\" 'e'\nsecond line, \x07 bell", RTF: `{\rtf1 a}`, Alert: true, Sender: alice, DateTimeUTC: at(2), Files: []File{{Name: "plan.txt", URI: "ma-filelink:plan", Size: 4711}}},
		{Type: typeChat, ID: 2, Offset: 14, Title: "A story", Content: "=1+1", Sender: bob, DateTimeUTC: at(3)}, {Type: typeChat, ID: 3, Offset: 15, Erased: true, Sender: bob, DateTimeUTC: at(4)},
		{Type: typeBackchat, Offset: 16, Content: "the last 30 messages", Sender: alice, DateTimeUTC: at(5)}, {Type: typePart, Offset: 17, Sender: bob, DateTimeUTC: at(6)}}
	board := []Message{{Type: typePart, Offset: 18, Sender: alice, DateTimeUTC: at(7)}}
	return Conversations{Feed: "sample", First: 11, Last: 18, Conversation: []Conversation{
		{Channel: Channel{URI: "ma-chan://contoso.test/11111111-1111-4111-8111-111111111111", ID: "11111111-1111-4111-8111-111111111111", Name: "Lobby & <friends>", Category: "General", Type: "normal", Privacy: "open", IsLogged: true},
			FirstMessage: lobby[0], Messages: lobby, StartTimeUTC: at(0), EndTimeUTC: at(6)},
		{Channel: Channel{URI: "ma-chan://contoso.test/22222222-2222-4222-8222-222222222222", ID: "22222222-2222-4222-8222-222222222222", Name: "Board"},
			FirstMessage: board[0], Messages: board, StartTimeUTC: at(7), EndTimeUTC: at(7)}}}
}
