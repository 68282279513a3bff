package content

import (
	"reflect"
	"strings"
	"testing"

	"parley/log/event"

	"pgregory.net/rapid"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string][2]string{
		"":                                {"", ""},
		"plain":                           {"", "plain"},
		"[STORY]":                         {"", "[STORY]"},
		"[STORY] \nno title":              {"", "[STORY] \nno title"},
		"[story]small":                    {"", "[story]small"},
		"not [STORY]first":                {"", "not [STORY]first"},
		"[STORY]Night watch":              {"Night watch", ""},
		"[STORY] Night watch \nAll quiet": {"Night watch", "All quiet"},
		"[STORY]Night watch\n\nAll quiet\n[STORY]x": {"Night watch", "\nAll quiet\n[STORY]x"},
	} {
		if title, body := Split(text); title != want[0] || body != want[1] {
			t.Errorf("%q is title %q and body %q, want %q", text, title, body, want)
		}
	}
}

// TestJoin: whatever is joined is the same story when it is taken apart, and a text that was taken apart is never a
// story of another title.
func TestJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		title, body := rapid.String().Draw(t, "title"), rapid.String().Draw(t, "body")
		wantTitle := strings.TrimSpace(strings.NewReplacer("\n", " ", "\r", " ").Replace(title))
		gotTitle, gotBody := Split(Join(title, body))
		if wantTitle == "" {
			if got := Join(title, body); got != body {
				t.Fatalf("no title: %q, want %q", got, body)
			}
			return
		}
		if gotTitle != wantTitle || gotBody != body {
			t.Fatalf("%q and %q are read as %q and %q", title, body, gotTitle, gotBody)
		}
	})
}

const (
	file = "ma-filelink://example.com/5b1f0c52-6a0d-4f0e-9a43-0d7c2e5b8a11/4d80c6f1-a92e-4b37-9c05-be61d7f3a842.txt"
	room = "ma-chan://example.com/5b1f0c52-6a0d-4f0e-9a43-0d7c2e5b8a11"
)

func TestLinks(t *testing.T) {
	url := func(uri string) event.Link { return event.Link{Kind: event.LinkURL, URI: uri, Name: uri} }
	for text, want := range map[string][]event.Link{
		"":                                  nil,
		"a: b, c < d, <a>, e ://":           nil,
		"see http://x.example/a?b=c#d.":     {url("http://x.example/a?b=c#d")},
		"(HTTPS://x.example), and http://y": {url("HTTPS://x.example"), url("http://y")},
		"http://":                           nil,
		"javascript://x <a href=\"javascript:x\">y</a>": nil,
		"mailto:bob@example.com ftp://x":                nil,
		room:                                            {{Kind: event.LinkRoom, URI: room, Name: room}},
		`<a href="` + room + `">Harbor Ops</a> and ` + room: {{Kind: event.LinkRoom, URI: room, Name: "Harbor Ops"},
			{Kind: event.LinkRoom, URI: room, Name: room}},
		`<A title='x' HREF='` + file + `' size='16'>tides &lt;1&gt;.txt</A>`: {{Kind: event.LinkFile, URI: file, Name: "tides <1>.txt", Size: 16}},
		`<a size="-1" href="` + file + `">x</a>`:                             {{Kind: event.LinkFile, URI: file, Name: "x"}},
		`<a href="http://x?a=1&amp;b=2">http://shown</a>`:                    {{Kind: event.LinkURL, URI: "http://x?a=1&b=2", Name: "http://shown"}},
		`<a href=http://x>x</a>`:                                             {url("http://x")},
		`<a href="http://x">not closed`:                                      {url("http://x")},
		`<a href="http://x`:                                                  {url("http://x")},
	} {
		if got := Links(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q has links\n%+v, want\n%+v", text, got, want)
		}
	}
	if n := len(Links(strings.Repeat("http://x ", MaxLinks+10))); n != MaxLinks {
		t.Errorf("%d links, at most %d", n, MaxLinks)
	}
}

// TestElement: a link that is written is read, and nothing in its name can make another.
func TestElement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := event.Link{Kind: event.LinkFile, URI: file, Name: rapid.StringN(1, 40, 400).Draw(t, "name"), Size: rapid.Uint64Range(0, 1<<62).Draw(t, "size")}
		text := "before " + Element(l) + " after"
		if got := Links(text); !reflect.DeepEqual(got, []event.Link{l}) {
			t.Fatalf("%q has %+v, want %+v", text, got, l)
		}
	})
}

// FuzzText: no text makes the package panic or find what is not in it, and a text taken apart and joined means the same.
func FuzzText(f *testing.F) {
	for _, s := range []string{"plain", "[STORY]a\nb", "<a href=\"http://x\">y</a>", "http://x <a ma-chan://y", Element(event.Link{URI: file, Name: "n", Size: 3}),
		strings.Repeat("<a ", 50), strings.Repeat(":", 50), strings.Repeat("http:", 9)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		title, body := Split(text)
		if a, b := Split(Join(title, body)); title != "" && (a != title || b != body) {
			t.Fatalf("%q: %q, %q and then %q, %q", text, title, body, a, b)
		}
		for _, l := range Links(text) {
			if kind(l.URI) != l.Kind || l.Kind == "" {
				t.Fatalf("%q: link %+v", text, l)
			}
		}
	})
}

// TestFar: an element is looked for so far and no farther, so that a text of open brackets costs time linear in it.
func TestFar(t *testing.T) {
	head := `<a href="` + room + `">`
	most := maxElement - len(head) - len("</")
	for n, want := range map[int]int{most: 1, most + 1: 0} {
		got := 0
		for _, l := range Links(head + strings.Repeat("x", n) + "</a>") {
			if len(l.Name) == n {
				got++
			}
		}
		if got != want {
			t.Errorf("%d bytes between the tags: %d links, want %d", n, got, want)
		}
	}
}
