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
	"fmt"
	"io"
	"iter"
	"strconv"
	"unicode/utf8"

	"parley/compliance"
	"parley/log/event"
)

// Config of the adapter.
type Config struct {
	Dir string        // where the files go
	FS  compliance.FS // nil: the operating system's
	// Node is the node that writes, for the names of temporary files.
	Node event.NodeID
	// RTF also writes the RTF form of posts that have one, as attribute rtf.
	RTF bool
}

// Adapter is a compliance.Adapter.
type Adapter struct {
	cfg     Config
	archive *compliance.Archive
}

// New returns the adapter.
func New(cfg Config) *Adapter {
	if cfg.FS == nil {
		cfg.FS = compliance.OS{}
	}
	return &Adapter{cfg: cfg, archive: compliance.NewArchive(cfg.FS, cfg.Dir, cfg.Node)}
}

// Name is what the adapter is called in the configuration.
const Name = "lyncxml"

// Name implements compliance.Adapter.
func (a *Adapter) Name() string { return Name }

// Deliver implements compliance.Adapter. It keeps the text of one cut in memory, because the document groups by room
// what the log has in order of time; the feed bounds a cut in events and bytes.
func (a *Adapter) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	d := document{cut: cut, rtf: a.cfg.RTF, rooms: make(map[event.RoomID]*conversation)}
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
	if len(d.order) == 0 {
		return compliance.Receipt{}, nil
	}
	return a.archive.Put(ctx, cut, "xml", d.write)
}

// document is a file in the making.
type document struct {
	cut   compliance.Cut
	rtf   bool
	rooms map[event.RoomID]*conversation
	order []*conversation // by first event
}

// conversation is what happened in one room within the range.
type conversation struct {
	room       compliance.Place // as it was at the first event
	first      []byte           // attributes and children of the first message
	messages   bytes.Buffer
	start, end event.Time
}

// The message types of the schema that we have events for.
const (
	typeJoin     = "JOIN"
	typePart     = "PART"
	typeChat     = "CHAT"
	typeBackchat = "BACKCHAT"
)

func (d *document) add(e event.Envelope) error {
	switch v := e.Event.(type) {
	case *event.Joined:
		d.message(e, typeJoin, 0, text{})
	case *event.Parted:
		d.message(e, typePart, 0, text{})
	case *event.Posted:
		t := text{content: v.Text, erased: e.Erased}
		if d.rtf {
			t.rtf = v.RTF
		}
		d.message(e, typeChat, v.MessageID, t)
	case *event.HistoryRead:
		d.message(e, typeBackchat, 0, text{content: asked(v)})
	case *event.NodeLost, *event.NodeStarted:
		for _, p := range d.cut.Parts(e) {
			d.message(p, typePart, 0, text{})
		}
	case *event.Unknown:
		// An archive with a hole that nobody knows of is worse than one that is late.
		return fmt.Errorf("event %d has the unknown kind %d: this version cannot archive it", e.Offset, v.Type)
	}
	return nil
}

// asked says what a history read asked for and got, for people.
func asked(v *event.HistoryRead) string {
	if v.First == 0 && v.Last == 0 {
		return fmt.Sprintf("last %d messages: none", v.Asked)
	}
	return fmt.Sprintf("last %d messages: %d to %d", v.Asked, v.First, v.Last)
}

type text struct {
	content, rtf string
	erased       bool
}

func (d *document) message(e event.Envelope, typ string, id uint64, t text) {
	c := d.rooms[e.Room]
	if c == nil {
		c = &conversation{room: d.cut.Place(e.Room), start: e.At}
		d.rooms[e.Room] = c
		d.order = append(d.order, c)
	}
	var b []byte
	b = attr(b, "type", typ)
	b = attr(b, "content", t.content)
	b = attr(b, "id", strconv.FormatUint(id, 10))
	if !carried(t.content) {
		b = attr(b, "content64", base64.StdEncoding.EncodeToString([]byte(t.content)))
	}
	if t.erased {
		b = attr(b, "erased", "true")
	}
	if t.rtf != "" {
		b = attr(b, "rtf", t.rtf)
	}
	p := d.cut.Person(e.By)
	b = append(b, ">\n        <Sender"...)
	b = attr(b, "UserName", p.DisplayName)
	b = attr(b, "id", strconv.FormatInt(senderID(e.By), 10))
	b = attr(b, "email", p.Email)
	b = attr(b, "internal", strconv.FormatBool(p.Internal))
	b = attr(b, "uri", e.By.Address())
	b = append(b, " />\n        "...)
	b = instant(b, "DateTimeUTC", e.At)
	b = append(b, '\n')
	if c.first == nil {
		c.first = b
	}
	c.messages.WriteString("      <Message")
	c.messages.Write(b)
	c.messages.WriteString("      </Message>\n")
	c.end = e.At
}

func (d *document) write(w io.Writer) error {
	b := []byte("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n" +
		"<Conversations xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">\n")
	for _, c := range d.order {
		b = append(b, "  <Conversation>\n    <Channel"...)
		b = attr(b, "uri", c.room.URI)
		b = attr(b, "name", c.room.Name)
		b = attr(b, "islogged", strconv.FormatBool(c.room.Logged))
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

// instant writes one time three ways: milliseconds since 1970, text with 100 ns, and ticks of 100 ns since year 1.
// The finer ones are cut off, not rounded, so that the three name the same instant.
func instant(b []byte, element string, t event.Time) []byte {
	b = append(b, '<')
	b = append(b, element...)
	b = attr(b, "since1970", strconv.FormatInt(floor(int64(t), 1e6), 10))
	b = attr(b, "string", t.UTC().Format("2006-01-02T15:04:05.0000000Z"))
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

// attr appends an attribute. White space is written as references, because a parser turns it into spaces otherwise
// (XML 1.0 section 3.3.3).
func attr(b []byte, name, value string) []byte {
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, '=', '"')
	for _, r := range value {
		switch r {
		case '&':
			b = append(b, "&amp;"...)
		case '<':
			b = append(b, "&lt;"...)
		case '>':
			b = append(b, "&gt;"...)
		case '"':
			b = append(b, "&quot;"...)
		case '\t':
			b = append(b, "&#x9;"...)
		case '\n':
			b = append(b, "&#xA;"...)
		case '\r':
			b = append(b, "&#xD;"...)
		default:
			if !char(r) {
				r = utf8.RuneError
			}
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// char reports whether XML 1.0 section 2.2 allows the character in a document.
func char(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// carried reports whether XML can carry the text unharmed.
func carried(s string) bool {
	for i, r := range s {
		if !char(r) {
			return false
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 { // not UTF-8 at all
				return false
			}
		}
	}
	return true
}
