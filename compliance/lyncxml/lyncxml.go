// Package lyncxml writes compliance files in the form of the XML adapter of Lync Server 2013 and Skype for Business
// Server 2015 Persistent Chat ("Customizing the XSLT definition file", schema Conversations), so that what reads those
// files reads ours.
//
// One file holds one cut: a Conversation for every room that something happened in, in the order of their first event.
// The text of a post is its content attribute, exactly as posted: what XML cannot carry in an attribute unharmed is
// written as a character reference. Where we had to decide, because the original leaves it open or is too narrow:
//
//   - Message/@id and Sender/@id are 64 bits wide (the published schema says xs:int). A post's id is its number in the
//     room. Accounts here have no number: Sender/@id is derived from the address, the same everywhere and for ever.
//   - Characters that XML 1.0 does not allow are U+FFFD in content; then content64 holds the exact text in base64.
//   - A post whose text was lawfully erased before it was delivered has erased="true" and no content.
//   - The loss of a node gives a PART for everybody it cut off.
//   - A post's RTF form is written only if Config.RTF asks for it: the original has no place for it.
//   - A search is BACKCHAT in every room that was searched. The content of a story is its text, its title an attribute.
//   - What the product's options UserDetails and RoomDetails add is not published: here they are more attributes of Sender
//     and Channel. With RoomPerFile or Attachments a cut is several files and the list compliance.Archive.PutAll writes.
//   - A message that was imported is a CHAT of its author with the time at which he posted it; imported="TIME" says when it
//     came here, which is the time by which a Conversation starts and ends.
//   - Removals have no type in the schema, and are not written; adapters jsonl, csv and eml have them.
//
// The bytes are part of our promise (a cut delivered again is the same file), so the goldens in testdata are added to,
// never changed. Should the form ever have to change, it must do so at a cut, under a version in the configuration.
package lyncxml

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"iter"
	"strconv"
	"strings"

	"parley/compliance"
	"parley/compliance/render"
	"parley/log/event"
)

// Config of the adapter.
type Config struct {
	Dir string        // where the files go
	FS  compliance.FS // nil: the operating system's
	// Node is the node that writes, for the names of temporary files.
	Node event.NodeID
	// RTF also writes the RTF form of posts that have one, as attribute rtf.
	RTF         bool
	RoomPerFile bool // OneChatRoomPerOutputFile: a file for each room, with its GUID in the name
	UserDetails bool // AddUserDetails: attributes givenName, surname and company of Sender, where the account has them
	RoomDetails bool // AddChatRoomDetails: attributes description, category, type and privacy of Channel
	Attachments bool // CreateFileAttachmentsManifest: beside each file one with the extension attach.json
	// Transform, if it is not nil, makes of each document what is written instead of it, under the extension.
	Transform *render.Transform
	Extension string
}

// Kind describes the adapter. Options: dir; rtf, one_room_per_file, user_details, room_details, attachments_manifest (true
// or false); with a template extension.
var Kind = compliance.Kind{Name: Name, Targets: []string{"dir"}, New: func(env compliance.Env, o *compliance.Options) (compliance.Adapter, error) {
	c := Config{Dir: o.Dir(env), FS: env.FS, Node: env.Node, RTF: o.Bool("rtf"), RoomPerFile: o.Bool("one_room_per_file"),
		UserDetails: o.Bool("user_details"), RoomDetails: o.Bool("room_details"), Attachments: o.Bool("attachments_manifest")}
	c.Transform, c.Extension = transform(env, o)
	return New(c), o.Err()
}}

// Adapter is a compliance.Adapter.
type Adapter struct {
	cfg     Config
	archive *compliance.Archive
}

// New returns the adapter.
func New(cfg Config) *Adapter {
	return &Adapter{cfg: cfg, archive: compliance.NewArchive(cfg.FS, cfg.Dir, cfg.Node)}
}

// Name is what the adapter is called in the configuration.
const Name = "lyncxml"

// Name implements compliance.Adapter.
func (a *Adapter) Name() string { return Name }

// Tidy implements compliance.Tidier.
func (a *Adapter) Tidy(feed string) error { return a.archive.Tidy(feed) }

// Deliver implements compliance.Adapter. It keeps the text of one cut in memory, because the document groups by room
// what the log has in order of time; the feed bounds a cut in events and bytes.
func (a *Adapter) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	d := document{cut: cut, cfg: a.cfg, rooms: make(map[event.RoomID]*conversation)}
	for e, err := range run {
		if err != nil {
			return compliance.Receipt{}, err
		}
		if err := ctx.Err(); err != nil {
			return compliance.Receipt{}, err
		}
		if err := d.add(e); err != nil {
			return compliance.Receipt{}, err
		}
	}
	switch {
	case len(d.order) == 0:
		return compliance.Receipt{}, nil
	case !a.cfg.RoomPerFile && !a.cfg.Attachments && a.cfg.Transform == nil:
		return a.archive.Put(ctx, cut, "xml", func(w io.Writer) error { return write(w, d.order) })
	}
	var out []compliance.Output
	file := func(name func(ext string) string, rooms []*conversation) error {
		if a.cfg.Transform == nil {
			out = append(out, compliance.Output{Name: name("xml"), Write: func(w io.Writer) error { return write(w, rooms) }})
		} else if made, err := d.transformed(ctx, rooms, name); err != nil {
			return err
		} else {
			out = append(out, made...)
		}
		if a.cfg.Attachments {
			out = append(out, compliance.Output{Name: name("attach.json"), Write: func(w io.Writer) error { return manifest(w, rooms) }})
		}
		return nil
	}
	if !a.cfg.RoomPerFile {
		if err := file(cut.FileName, d.order); err != nil {
			return compliance.Receipt{}, err
		}
		if !a.cfg.Attachments { // one file, or none, and no list
			if len(out) == 0 {
				return compliance.Receipt{}, nil
			}
			return a.archive.Put(ctx, cut, strings.TrimPrefix(out[0].Name, cut.FileName("")), out[0].Write)
		}
	} else {
		for _, c := range d.order {
			if err := file(func(ext string) string { return cut.PartName(string(c.room.ID), ext) }, []*conversation{c}); err != nil {
				return compliance.Receipt{}, err
			}
		}
	}
	return a.archive.PutAll(ctx, cut, out)
}

// document is a cut in the making.
type document struct {
	cut   compliance.Cut
	cfg   Config
	rooms map[event.RoomID]*conversation
	order []*conversation // by first event
}

// conversation is what happened in one room within the range.
type conversation struct {
	room        compliance.Place // as it was at the first event
	details     bool
	first       []byte // attributes and children of the first message
	messages    bytes.Buffer
	start, end  event.Time
	attachments []attachment
	entries     []Message // for a template
}

// The message types of the schema that we have events for.
const (
	typeJoin     = "JOIN"
	typePart     = "PART"
	typeChat     = "CHAT"
	typeBackchat = "BACKCHAT"
)

func (d *document) add(e event.Envelope) error {
	return render.Acts(d.cut, e, func(a render.Act) {
		switch a.What {
		case render.Join:
			d.message(a, typeJoin, text{})
		case render.Part:
			d.message(a, typePart, text{})
		case render.Chat:
			t := text{content: a.Text, erased: a.Erased, title: a.Title}
			if a.Imported() {
				t.at, t.imported = a.PostedAt, a.At
			}
			if d.cfg.RTF {
				t.rtf = a.RTF
			}
			d.message(a, typeChat, t)
		case render.Read, render.Search:
			d.message(a, typeBackchat, text{content: a.Text})
		}
	})
}

type text struct {
	content, rtf, title string
	erased              bool
	at, imported        event.Time // when it was posted, and when it was imported; 0: it was posted here
}

func (d *document) message(a render.Act, typ string, t text) {
	c := d.rooms[a.Room]
	if c == nil {
		c = &conversation{room: d.cut.Place(a.Room), start: a.At, details: d.cfg.RoomDetails}
		d.rooms[a.Room] = c
		d.order = append(d.order, c)
	}
	var b []byte
	if c.first != nil {
		b = c.messages.AvailableBuffer()
		b = append(b, "      <Message"...)
	}
	b = attr(b, "type", typ)
	b = attr(b, "content", t.content)
	b = attr(b, "id", strconv.FormatUint(a.MessageID, 10))
	if !render.Carried(t.content) {
		b = attr(b, "content64", base64.StdEncoding.EncodeToString([]byte(t.content)))
	}
	if t.erased {
		b = attr(b, "erased", "true")
	}
	if t.title != "" {
		b = attr(b, "title", t.title)
	}
	if t.rtf != "" {
		b = attr(b, "rtf", t.rtf)
	}
	said := a.At
	if t.imported != 0 {
		b, said = attr(b, "imported", t.imported.String()), t.at
	}
	p := d.cut.Person(a.By)
	b = append(b, ">\n        <Sender"...)
	b = attr(b, "UserName", p.DisplayName)
	b = attr(b, "id", strconv.FormatInt(senderID(a.By), 10))
	b = attr(b, "email", p.Email)
	b = attr(b, "internal", strconv.FormatBool(p.Internal))
	b = attr(b, "uri", a.By.Address())
	if d.cfg.UserDetails {
		b = some(b, "givenName", p.GivenName)
		b = some(b, "surname", p.Surname)
		b = some(b, "company", p.Company)
	}
	b = append(b, " />\n        "...)
	b = instant(b, "DateTimeUTC", said)
	b = append(b, '\n')
	if c.first == nil {
		c.first = b
		c.messages.WriteString("      <Message")
	}
	c.messages.Write(b)
	c.messages.WriteString("      </Message>\n")
	c.end = a.At
	if d.cfg.Transform != nil {
		d.entry(c, a, typ, t, &p)
	}
	for _, l := range a.Links {
		if l.Kind == event.LinkFile && d.cfg.Attachments {
			c.attachments = append(c.attachments, attachment{Offset: a.Offset, At: a.At.String(), Room: c.room.URI, By: a.By.Address(), Message: a.MessageID, Name: l.Name, URI: l.URI, Bytes: l.Size})
		}
	}
}

// attachment is one file that a message speaks of.
type attachment struct {
	Offset  event.Offset `json:"offset"`
	At      string       `json:"at"`
	Room    string       `json:"room"`
	By      string       `json:"by"`
	Message uint64       `json:"message_id"`
	Name    string       `json:"name"`
	URI     string       `json:"uri"`
	Bytes   uint64       `json:"bytes"`
}

// manifest writes the files that the messages of some rooms speak of: a JSON array with one on each line.
func manifest(w io.Writer, rooms []*conversation) error {
	b, sep := []byte("["), "\n"
	for _, c := range rooms {
		for _, a := range c.attachments {
			j, err := json.Marshal(a)
			if err != nil {
				return err
			}
			b = append(append(b, sep...), j...)
			sep = ",\n"
		}
	}
	_, err := w.Write(append(b, "\n]\n"...))
	return err
}

func write(w io.Writer, rooms []*conversation) error {
	b := []byte("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n" +
		"<Conversations xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">\n")
	for _, c := range rooms {
		b = append(b, "  <Conversation>\n    <Channel"...)
		b = attr(b, "uri", c.room.URI)
		b = attr(b, "name", c.room.Name)
		b = attr(b, "islogged", strconv.FormatBool(c.room.Logged))
		if c.details {
			b = some(b, "description", c.room.Description)
			b = some(b, "category", c.room.Category)
			b = some(b, "type", string(c.room.Type))
			b = some(b, "privacy", string(c.room.Privacy))
		}
		b = append(b, " />\n    <FirstMessage"...)
		b = append(b, c.first...)
		b = append(b, "    </FirstMessage>\n    <Messages>\n"...)
		if _, err := w.Write(b); err != nil {
			return err
		}
		if _, err := w.Write(c.messages.Bytes()); err != nil {
			return err
		}
		b = append(b[:0], "    </Messages>\n    "...)
		b = instant(b, "StartTimeUTC", c.start)
		b = append(b, "\n    "...)
		b = instant(b, "EndTimeUTC", c.end)
		b = append(b, "\n  </Conversation>\n"...)
	}
	_, err := w.Write(append(b, "</Conversations>\n"...))
	return err
}

// senderID derives a positive 63-bit number from an address.
func senderID(p event.Principal) int64 {
	sum := sha256.Sum256([]byte(p))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
}

// ticksAt1970 are the 100 ns ticks of .NET's DateTime from year 1 to 1970.
const ticksAt1970 = 621355968000000000

const instantLayout = "2006-01-02T15:04:05.0000000Z"

// instant writes one time three ways: milliseconds since 1970, text with 100 ns, and ticks of 100 ns since year 1.
// The finer ones are cut off, not rounded, so that the three name the same instant.
func instant(b []byte, element string, t event.Time) []byte {
	b = append(b, '<')
	b = append(b, element...)
	b = attr(b, "since1970", strconv.FormatInt(floor(int64(t), 1e6), 10))
	b = attr(b, "string", t.UTC().Format(instantLayout))
	b = attr(b, "long", strconv.FormatInt(floor(int64(t), 100)+ticksAt1970, 10))
	return append(b, " />"...)
}

// floor divides, towards the past also before 1970.
func floor(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}

// attr appends an attribute.
func attr(b []byte, name, value string) []byte {
	b = append(append(append(b, ' '), name...), '=', '"')
	return append(render.AppendXML(b, value), '"')
}

// some appends an attribute if it has a value.
func some(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return attr(b, name, value)
}
