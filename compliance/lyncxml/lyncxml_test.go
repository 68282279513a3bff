package lyncxml_test

import (
	"encoding/base64"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/lyncxml"
	"parley/log/event"
	"parley/projections/chat"
)

func TestConformance(t *testing.T) {
	adaptertest.Run(t, func(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter {
		return lyncxml.New(lyncxml.Config{Dir: dir, FS: fs, Node: node})
	})
}

// details has every option on: a cut is several files.
func details(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter {
	var o []event.FeedOption
	for _, n := range []string{"one_room_per_file", "attachments_manifest", "user_details", "room_details", "rtf"} {
		o = append(o, event.FeedOption{Name: n, Value: "true"})
	}
	a, err := lyncxml.Kind.New(compliance.Env{Node: node, FS: fs, Dir: dir}, compliance.NewOptions(o))
	if err != nil {
		panic(err)
	}
	return a
}

func TestConformanceOfDetails(t *testing.T) { adaptertest.Run(t, details) }

func TestGoldensOfDetails(t *testing.T) { adaptertest.Goldens(t, details) }

func write(t *testing.T, w *adaptertest.World, first, last event.Offset, rtf bool) string {
	t.Helper()
	d := adaptertest.NewDisk()
	cut, run := adaptertest.Cut(t, w, "lync", first, last)
	r, err := lyncxml.New(lyncxml.Config{Dir: adaptertest.Dir, FS: d, Node: "n1", RTF: rtf}).Deliver(t.Context(), cut, run)
	if err != nil {
		t.Fatal(err)
	}
	return d.Files(adaptertest.Dir)[r.Name]
}

func TestGoldens(t *testing.T) {
	w, m := adaptertest.Scene()
	for _, c := range []struct {
		name        string
		first, last event.Offset
		rtf         bool
	}{
		{"talk", m.Directory + 1, m.Talk, false},
		{"renamed", m.Talk + 1, m.Renamed, false},
		{"lost", m.Renamed + 1, m.Restarted, false},
		{"rtf", m.Directory + 1, m.Talk, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := write(t, w, c.first, c.last, c.rtf)
			file := filepath.Join("testdata", c.name+".xml")
			want, err := os.ReadFile(file)
			if os.IsNotExist(err) && *adaptertest.Update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Fatalf("the bytes have changed; archives out there would not match. Got:\n%s", got)
			}
		})
	}
}

// The document as its readers see it (docs/compliance.md, Files; conversations.xsd).
type (
	doc struct {
		Conversations []conversation `xml:"Conversation"`
	}
	conversation struct {
		Channel struct {
			URI  string `xml:"uri,attr"`
			Name string `xml:"name,attr"`
		}
		FirstMessage message
		Messages     []message `xml:"Messages>Message"`
		StartTimeUTC instant
		EndTimeUTC   instant
	}
	message struct {
		Type      string `xml:"type,attr"`
		Content   string `xml:"content,attr"`
		Content64 string `xml:"content64,attr"`
		Erased    string `xml:"erased,attr"`
		ID        uint64 `xml:"id,attr"`
		Sender    struct {
			UserName string `xml:",attr"`
			ID       int64  `xml:"id,attr"`
			Email    string `xml:"email,attr"`
			Internal bool   `xml:"internal,attr"`
			URI      string `xml:"uri,attr"`
		}
		DateTimeUTC instant
	}
	instant struct {
		Since1970 int64  `xml:"since1970,attr"`
		String    string `xml:"string,attr"`
		Long      int64  `xml:"long,attr"`
	}
)

func parse(t *testing.T, s string) doc {
	t.Helper()
	var d doc
	dec := xml.NewDecoder(strings.NewReader(s))
	if err := dec.Decode(&d); err != nil {
		t.Fatalf("%v in\n%s", err, s)
	}
	if _, err := dec.Token(); err != nil && err != io.EOF {
		t.Fatalf("after the document: %v", err)
	}
	return d
}

// TestContent reads a file back as a consumer would and compares it with the log.
func TestContent(t *testing.T) {
	w, m := adaptertest.Scene()
	d := parse(t, write(t, w, 1, m.Quiet, false))
	uri := func(r event.RoomID) string { return chat.RoomURI(adaptertest.Domain, r) }
	if len(d.Conversations) != 2 || d.Conversations[0].Channel.URI != uri(adaptertest.Lobby) || d.Conversations[1].Channel.URI != uri(adaptertest.Board) {
		t.Fatalf("conversations: %+v", d.Conversations)
	}
	if n := d.Conversations[0].Channel.Name; n != "Lobby" {
		t.Errorf("the room is called %q, want its name at the first event", n)
	}
	types := func(c conversation) string {
		var out []string
		for _, m := range c.Messages {
			out = append(out, m.Type+" "+strings.TrimSuffix(m.Sender.URI, "@contoso.test"))
		}
		return strings.Join(out, ", ")
	}
	want := "JOIN alice, JOIN bob, CHAT alice, CHAT bob, BACKCHAT alice, JOIN carol, PART carol, CHAT alice, " +
		"CHAT alice, CHAT alice, JOIN carol, PART bob, PART carol, PART alice"
	if got := types(d.Conversations[0]); got != want {
		t.Errorf("Lobby:\n got %s\nwant %s", got, want)
	}
	want = "JOIN bob, CHAT bob, JOIN carol, JOIN carol, PART bob, PART carol, PART carol"
	if got := types(d.Conversations[1]); got != want {
		t.Errorf("Board:\n got %s\nwant %s", got, want)
	}
	// Every post is there, in order, with the text as posted, its number and its time.
	posts := map[string][]message{}
	for _, c := range d.Conversations {
		if c.FirstMessage != c.Messages[0] {
			t.Errorf("FirstMessage is not a copy of the first message: %+v", c.FirstMessage)
		}
		if c.StartTimeUTC != c.Messages[0].DateTimeUTC || c.EndTimeUTC != c.Messages[len(c.Messages)-1].DateTimeUTC {
			t.Errorf("start and end are not those of the messages")
		}
		for _, m := range c.Messages {
			if m.Type == "CHAT" {
				posts[c.Channel.URI] = append(posts[c.Channel.URI], m)
			}
		}
	}
	names := map[string]bool{}
	for _, e := range w.Events() {
		p, ok := e.Event.(*event.Posted)
		if !ok {
			continue
		}
		u := uri(e.Room)
		if len(posts[u]) == 0 {
			t.Fatalf("post %d of %s is missing", p.MessageID, u)
		}
		got := posts[u][0]
		posts[u] = posts[u][1:]
		if got.Content != p.Text || got.ID != p.MessageID || got.Sender.URI != e.By.Address() || !got.Sender.Internal {
			t.Errorf("post %d of %s: %+v, want text %q", p.MessageID, u, got, p.Text)
		}
		checkTime(t, got.DateTimeUTC, e.At)
		names[got.Sender.UserName] = true
	}
	for _, n := range []string{"Alice Adams", "Alice Baker", `Bob "the <b>" & co`} {
		if !names[n] {
			t.Errorf("nobody is called %q: names must be those of the time", n)
		}
	}
}

// checkTime checks that the three forms are the instant, cut off to what each can hold.
func checkTime(t *testing.T, got instant, at event.Time) {
	t.Helper()
	s, err := time.Parse(time.RFC3339Nano, got.String)
	if err != nil || len(got.String) != len("2026-01-02T03:04:05.6789012Z") {
		t.Fatalf("time %q: %v", got.String, err)
	}
	if s.UnixNano() != int64(at)/100*100 || got.Since1970 != s.UnixMilli() {
		t.Errorf("time %+v, want %s", got, at)
	}
	days := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	if want := days*1e7 + int64(at)/100; got.Long != want {
		t.Errorf("ticks %d, want %d", got.Long, want)
	}
}

// fixed is a log of given events.
type fixed struct {
	*adaptertest.World
	tail []event.Envelope
}

func (f fixed) Read(from event.Offset, n int) ([]event.Envelope, error) {
	head := f.Head()
	if from <= head {
		return f.World.Read(from, n)
	}
	if i := int(from - head - 1); i < len(f.tail) {
		return f.tail[i:min(len(f.tail), i+n)], nil
	}
	return nil, nil
}

func deliverPost(t *testing.T, p *event.Posted, change func(*event.Envelope)) (string, error) {
	t.Helper()
	w, _ := adaptertest.Scene()
	room, _ := w.State().Room(adaptertest.Board)
	p.MessageID = room.LastMessage + 1
	head := w.Head()
	e := event.Envelope{Offset: head + 1, At: w.State().At() + 1, Meta: event.Meta{By: "sip:eve@fabrikam.test", Room: adaptertest.Board, Node: "n1"}, Event: p}
	if change != nil {
		change(&e)
	}
	base, err := compliance.StateAt(t.Context(), w, head)
	if err != nil {
		t.Fatal(err)
	}
	cut, run, err := compliance.NewCut("lync", head+1, head+1, base, fixed{w, []event.Envelope{e}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := adaptertest.NewDisk()
	r, err := lyncxml.New(lyncxml.Config{Dir: adaptertest.Dir, FS: d, Node: "n1"}).Deliver(t.Context(), cut, run)
	return d.Files(adaptertest.Dir)[r.Name], err
}

// TestUncarriable: text that XML cannot carry is still in the file, exactly.
func TestUncarriable(t *testing.T) {
	for _, text := range []string{"bell \x07 and null \x00", "noncharacter \uFFFE", "\x1b[31mred"} {
		out, err := deliverPost(t, &event.Posted{Text: text}, nil)
		if err != nil {
			t.Fatal(err)
		}
		m := parse(t, out).Conversations[0].Messages[0]
		exact, err := base64.StdEncoding.DecodeString(m.Content64)
		if err != nil || string(exact) != text || !strings.ContainsRune(m.Content, '\uFFFD') {
			t.Errorf("%q became %q and %q (%v)", text, m.Content, exact, err)
		}
		if m.Sender.Internal || m.Sender.UserName != "eve@fabrikam.test" {
			t.Errorf("a stranger became %+v", m.Sender)
		}
	}
	out, err := deliverPost(t, &event.Posted{Text: "a real \uFFFD and more"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m := parse(t, out).Conversations[0].Messages[0]; m.Content != "a real \uFFFD and more" || m.Content64 != "" {
		t.Errorf("U+FFFD itself became %+v", m)
	}
}

func TestErased(t *testing.T) {
	out, err := deliverPost(t, &event.Posted{}, func(e *event.Envelope) { e.Erased = true })
	if err != nil {
		t.Fatal(err)
	}
	if m := parse(t, out).Conversations[0].Messages[0]; m.Erased != "true" || m.Type != "CHAT" || m.Content != "" {
		t.Errorf("an erased post became %+v", m)
	}
}

// TestUnknownKind: what this version cannot read it must not archive around.
func TestUnknownKind(t *testing.T) {
	out, err := deliverPost(t, &event.Posted{}, func(e *event.Envelope) { e.Event = &event.Unknown{Type: 999} })
	if err == nil || out != "" {
		t.Fatalf("an unknown kind gave %q, %v", out, err)
	}
}
