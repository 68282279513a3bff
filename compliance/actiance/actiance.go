// Package actiance writes compliance files in the vocabulary that Actiance Vantage (today Smarsh) imports, and that the
// product's documentation uses for its sample transform: FileDump with one Conversation for every room that something
// happened in. The sample leaves LoginName empty because it reads an attribute that the data spells otherwise; here it is
// filled.
//
// An importer sees one cut at a time, so a Conversation stands for itself: who was in the room before it began enters with
// the start time, who stays leaves with the end time. A user with several devices enters with the first and leaves with the
// last; who acts without being in the room enters and leaves with his act. Where we had to decide:
//
//   - LoginName is the SIP address, CorporateEmailID the account's e-mail address, or the SIP address if it has none.
//   - A file in a message is FileTransferStarted and FileTransferEnded after it, with the name of its stored file. Status is
//     Completed.
//   - History that was read, searches and removals are messages, with Content in square brackets: the vocabulary has no word
//     for them, and leaving them out would be worse.
//   - A message that was imported is one of its author at the time of the import, because a Conversation has its messages
//     between its start and its end; the Content begins with when he posted it, in square brackets.
//   - An erased text is "[erased]". Characters that XML 1.0 cannot carry are U+FFFD.
package actiance

import (
	"context"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"

	"parley/compliance"
	"parley/compliance/render"
	"parley/log/event"
)

// Name is what the adapter is called in a configuration.
const Name = "actiance"

// Config of the adapter.
type Config struct {
	Dir         string        // where the files go
	FS          compliance.FS // nil: the operating system's
	Node        event.NodeID
	Perspective string // what stands after the room's name in @Perspective; empty: _group_channel, as the product's sample
}

// Kind describes the adapter. Options: dir; perspective.
var Kind = compliance.Kind{Name: Name, Targets: []string{"dir"}, New: func(env compliance.Env, o *compliance.Options) (compliance.Adapter, error) {
	c := Config{Dir: o.Dir(env), FS: env.FS, Node: env.Node, Perspective: o.Text("perspective", "")}
	return New(c), o.Err()
}}

// Adapter is a compliance.Adapter.
type Adapter struct {
	cfg     Config
	archive *compliance.Archive
}

// New returns the adapter.
func New(cfg Config) *Adapter {
	if cfg.Perspective == "" {
		cfg.Perspective = "_group_channel"
	}
	return &Adapter{cfg, compliance.NewArchive(cfg.FS, cfg.Dir, cfg.Node)}
}

// Name implements compliance.Adapter.
func (a *Adapter) Name() string { return Name }

// Tidy implements compliance.Tidier.
func (a *Adapter) Tidy(feed string) error { return a.archive.Tidy(feed) }

// Deliver implements compliance.Adapter. It keeps the acts of one cut in memory, because the form groups by room.
func (a *Adapter) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	all := render.NewConversations(cut)
	for e, err := range run {
		if err != nil {
			return compliance.Receipt{}, err
		}
		if err := ctx.Err(); err != nil {
			return compliance.Receipt{}, err
		}
		if err := all.Add(e); err != nil {
			return compliance.Receipt{}, err
		}
	}
	if len(all.All) == 0 {
		return compliance.Receipt{}, nil
	}
	return a.archive.Put(ctx, cut, "xml", func(w io.Writer) error {
		if _, err := io.WriteString(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<FileDump xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n"); err != nil {
			return err
		}
		var b []byte
		for _, c := range all.All {
			b = a.conversation(b[:0], cut, c)
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, "</FileDump>\n")
		return err
	})
}

// writer appends elements.
type writer struct {
	b  []byte
	id string // of the conversation
}

func (w *writer) leaf(indent, name, text string) {
	b := append(w.b, indent...)
	b = append(append(append(b, '<'), name...), '>')
	b = render.AppendXML(b, text)
	w.b = append(append(append(b, "</"...), name...), ">\n"...)
}

// act writes an element about a person: who and when, what is its own, and the ids.
func (w *writer) act(name string, p *compliance.Person, at event.Time, own ...[2]string) {
	w.b = append(append(append(w.b, "    <"...), name...), ">\n"...)
	w.leaf("      ", "LoginName", p.Principal.Address())
	w.leaf("      ", "DateTimeUTC", stamp(at))
	for _, o := range own {
		w.leaf("      ", o[0], o[1])
	}
	w.leaf("      ", "ConversationID", w.id)
	email := p.Email
	if email == "" {
		email = p.Principal.Address()
	}
	w.leaf("      ", "CorporateEmailID", email)
	w.b = append(append(append(w.b, "    </"...), name...), ">\n"...)
}

// stamp is the time in milliseconds since 1970: what the importer reads.
func stamp(t event.Time) string { return strconv.FormatInt(t.UTC().UnixMilli(), 10) }

func internal(p *compliance.Person) [2]string {
	return [2]string{"InternalFlag", strconv.FormatBool(p.Internal)}
}

func (a *Adapter) conversation(b []byte, cut compliance.Cut, c *render.Conversation) []byte {
	w := &writer{b: b, id: fmt.Sprintf("%s-%d-%d", c.Place.ID, cut.First, cut.Last)}
	w.b = append(w.b, "  <Conversation Perspective=\""...)
	w.b = render.AppendXML(w.b, c.Place.Name+a.cfg.Perspective)
	w.b = append(w.b, "\">\n"...)
	w.leaf("    ", "RoomID", c.Place.URI)
	w.leaf("    ", "StartTimeUTC", stamp(c.Start()))
	in := map[event.Principal]int{}
	for _, p := range sorted(c.Present) {
		in[p] = c.Present[p]
		w.act("ParticipantEntered", c.People[p], c.Start(), internal(c.People[p]))
	}
	for i, x := range c.Acts {
		p := c.Persons[i]
		// Who acts without being in the room, an administrator or somebody who only reads, is in it for that moment.
		guest := x.What != render.Join && x.What != render.Part && in[x.By] <= 0
		if cut.Early() {
			guest = guest && in[x.By] == 0
		}
		if guest {
			w.act("ParticipantEntered", p, x.At, internal(p))
		}
		switch x.What {
		case render.Join:
			if in[x.By]++; in[x.By] == 1 {
				w.act("ParticipantEntered", p, x.At, internal(p))
			}
		case render.Part:
			// With a filter of kinds the join may not be here: then nobody entered who could leave.
			if in[x.By] > 0 || cut.Early() {
				in[x.By]--
				if in[x.By] == 0 {
					w.act("ParticipantLeft", p, x.At, internal(p))
				}
			}
		case render.Chat:
			text := x.Text
			if x.Title != "" {
				text = x.Title + "\n" + text
			}
			if x.Erased {
				text = "[erased]"
			}
			if x.Imported() {
				text = fmt.Sprintf("[imported, posted at %s] %s", x.PostedAt, text)
			}
			w.act("Message", p, x.At, [2]string{"Content", text})
			for _, l := range x.Links {
				if l.Kind == event.LinkFile {
					name := path.Base(strings.TrimPrefix(l.URI, "ma-filelink:"))
					w.act("FileTransferStarted", p, x.At, [2]string{"UserFileName", l.Name}, [2]string{"FileName", name})
					w.act("FileTransferEnded", p, x.At, [2]string{"UserFileName", l.Name}, [2]string{"FileName", name}, [2]string{"Status", "Completed"})
				}
			}
		case render.Read:
			w.act("Message", p, x.At, [2]string{"Content", "[history read: " + x.Text + "]"})
		default:
			w.act("Message", p, x.At, [2]string{"Content", "[" + x.Text + "]"})
		}
		if guest {
			w.act("ParticipantLeft", p, x.At, internal(p))
		}
	}
	for _, p := range sorted(in) {
		if in[p] > 0 {
			w.act("ParticipantLeft", c.People[p], c.End(), internal(c.People[p]))
		}
	}
	w.leaf("    ", "EndTimeUTC", stamp(c.End()))
	return append(w.b, "  </Conversation>\n"...)
}

func sorted(m map[event.Principal]int) (out []event.Principal) {
	for p := range m {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}
