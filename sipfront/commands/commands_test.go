package commands

import (
	"strings"
	"testing"

	"parley/sipfront/xccos"
)

// TestPostOf: what looks like a story or a link and cannot be one is text; it is no reason to refuse a message.
func TestPostOf(t *testing.T) {
	long := strings.Repeat("x", maxLink)
	for _, c := range []struct {
		text  string
		title string
		links int
	}{
		{"plain", "", 0},
		{"[STORY]Night watch\nquiet", "Night watch", 0},
		{"[STORY]Night watch", "", 0},
		{"[STORY]\nquiet", "", 0},
		{"[STORY]Night watch\nsee http://x.test/", "Night watch", 1},
		{"see http://x.test/" + long, "", 0},
		{`<a href="http://x.test/">` + long + "x</a>", "", 0},
		{`<a href="http://x.test/&#10;">x</a> and <a href="ma-filelink://x/y" size="7">y</a>`, "", 1},
	} {
		p := PostOf("r", &xccos.Post{Text: c.text, RTF: "r", Alert: true})
		text := c.text
		if c.title != "" {
			_, text, _ = strings.Cut(text, "\n")
		}
		if p.Text != text || p.RTF != "r" || !p.Alert || p.Room != "r" || p.Title != c.title || p.Story != (c.title != "") || len(p.Links) != c.links {
			t.Errorf("%.40q: %+v", c.text, p)
		}
	}
}

// TestMatches: words begin words, wherever in a name.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		words string
		every bool
		want  bool
	}{{"", false, true}, {"al", false, true}, {"ad", false, true}, {"lice", false, false}, {"zoe ad", false, true}, {"zoe ad", true, false}, {"al ad", true, true}} {
		if got := matches(strings.Fields(c.words), c.every, []string{"Alice Adams", "alice"}); got != c.want {
			t.Errorf("%q: %v", c.words, got)
		}
	}
}
