package lyncxml_test

import (
	"encoding/csv"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/lyncxml"
	"parley/log/event"
)

// templated makes an adapter with a template; more are further options.
func templated(t testing.TB, body, ext string, more ...string) func(compliance.FS, string, event.NodeID) compliance.Adapter {
	return func(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter {
		info := &event.FeedInfo{Template: body, Options: []event.FeedOption{{Name: "extension", Value: ext}}}
		for _, n := range more {
			info.Options = append(info.Options, event.FeedOption{Name: n, Value: "true"})
		}
		a, err := lyncxml.Kind.New(compliance.Env{Node: node, FS: fs, Dir: dir}, compliance.OptionsOf(info))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

func example(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "templates", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConformanceOfTemplate(t *testing.T) {
	adaptertest.Run(t, templated(t, "{{range .Conversation}}{{.Channel.Name}}{{range .Messages}}\n{{.Content}}{{end}}{{end}}", "txt"))
}

func TestGoldensOfTemplates(t *testing.T) {
	adaptertest.Goldens(t, templated(t, example(t, "page.html.tmpl"), "html"))
	adaptertest.Goldens(t, templated(t, example(t, "rows.csv.tmpl"), "csv"))
}

// scene delivers the whole scene with a template.
func scene(t *testing.T, body, ext string, more ...string) map[string]string {
	t.Helper()
	w, m := adaptertest.Scene()
	adaptertest.Late(w)
	d := adaptertest.NewDisk()
	cut, run := adaptertest.Cut(t, w, "f", m.Directory+1, w.Head())
	if _, err := templated(t, body, ext, more...)(d, adaptertest.Dir, "n1").Deliver(t.Context(), cut, run); err != nil {
		t.Fatal(err)
	}
	return d.Files(adaptertest.Dir)
}

func only(t *testing.T, files map[string]string, ext string) string {
	t.Helper()
	for n, content := range files {
		if len(files) == 1 && strings.HasSuffix(n, "."+ext) {
			return content
		}
	}
	t.Fatalf("want one file of extension %s, got %v", ext, files)
	return ""
}

// The examples of the manual are the ones here, and what they make reads as what it is.
func TestExamples(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "compliance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"page.html.tmpl", "rows.csv.tmpl"} {
		if !strings.Contains(string(manual), "```\n"+example(t, name)+"```\n") {
			t.Errorf("docs/compliance.md has not the template of testdata/templates/%s", name)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(only(t, scene(t, example(t, "rows.csv.tmpl"), "csv"), "csv"))).ReadAll()
	if err != nil || len(rows) < 20 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	page := only(t, scene(t, example(t, "page.html.tmpl"), "html"), "html")
	if !strings.Contains(page, "a &lt; b &amp;&amp; c &gt; &quot;d&quot; &#39;e&#39;") || strings.Contains(page, "<b>&quot; co") || strings.Contains(page, "<friends>") {
		t.Errorf("the page does not escape:\n%s", page)
	}
}

// A template that makes XML of every text makes XML, whatever people wrote.
func TestTemplateEscapes(t *testing.T) {
	got := only(t, scene(t, `<r>{{range .Conversation}}{{range .Messages}}<m who='{{.Sender.UserName}}' what="{{printf "%s" .Content}}">{{.Content | lower}}{{.Title}}</m>{{end}}{{end}}</r>`, "xml"), "xml")
	var r struct {
		M []struct {
			What string `xml:"what,attr"`
		} `xml:"m"`
	}
	if err := xml.Unmarshal([]byte(got), &r); err != nil || len(r.M) < 15 {
		t.Fatalf("%d messages, %v:\n%s", len(r.M), err, got)
	}
}

// A bad template is refused when it is set.
func TestBadTemplates(t *testing.T) {
	for name, body := range map[string]string{
		"does not parse":           `{{if}}`,
		"unknown function":         `{{env "HOME"}}`,
		"unknown field":            `{{range .Conversation}}{{.Chanel}}{{end}}`,
		"prints an object":         `{{.Conversation}}`,
		"prints an object in html": `{{html .Conversation}}`,
		"prints where things are":  `{{printf "%p" .Conversation}}`,
		"raw object":               `{{. | raw}}`,
		"print of a list":          `{{print .Conversation | raw}}`,
		"json of a list":           `{{json .Conversation}}`,
		"a call":                   `{{call .Feed}}`,
		"js":                       `{{js "x"}}`,
		"runs for ever":            `{{range 1000000000}}{{end}}`,
		"runs for ever in a range": `{{range .Conversation}}{{range 100000}}{{range 100000}}{{end}}{{end}}{{end}}`,
		"calls itself":             `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		"calls itself twice":       `{{define "a"}}{{if .}}{{template "a" slice . 1}}{{template "a" slice . 1}}{{end}}{{end}}{{template "a" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}`,
		"doubles a text":           `{{$x := "x"}}{{range 100}}{{$x = print $x $x}}{{end}}`,
		"replaces without end":     `{{$x := "xxxxxxxxxxxxxxxx"}}{{range 100}}{{$x = replace "x" "xx" $x}}{{end}}`,
		"a wide number":            `{{range 1000000}}{{$x := printf "%900000d" 1}}{{end}}`,
		"many wide numbers":        `{{printf "` + strings.Repeat("%900000d", 40) + `" 1}}`,
		"index beyond":             `{{index .Conversation 99}}`,
		"too large":                strings.Repeat("x", 64<<10+1),
		"not UTF-8":                "\xff",
		"in the else of a range":   `{{range .Feed | len | slice "xxxxxxxxxxxx" 99}}{{end}}`,
	} {
		t.Run(name, func(t *testing.T) {
			o := compliance.OptionsOf(&event.FeedInfo{Template: body, Options: []event.FeedOption{{Name: "dir", Value: "/a"}}})
			if _, err := lyncxml.Kind.New(compliance.Env{Node: "n1", Check: true}, o); err == nil {
				t.Error("it is no error")
			}
		})
	}
	for name, info := range map[string]*event.FeedInfo{
		"extension without template": {Options: []event.FeedOption{{Name: "dir", Value: "/a"}, {Name: "extension", Value: "html"}}},
		"extension with a path":      {Template: "x", Options: []event.FeedOption{{Name: "dir", Value: "/a"}, {Name: "extension", Value: "../x"}}},
		"extension of lists":         {Template: "x", Options: []event.FeedOption{{Name: "dir", Value: "/a"}, {Name: "extension", Value: "sha256"}}},
	} {
		if _, err := lyncxml.Kind.New(compliance.Env{Node: "n1"}, compliance.OptionsOf(info)); err == nil {
			t.Errorf("%s: it is no error", name)
		}
	}
}

// A template that fails on what people wrote does not hold up the archive: the document itself is delivered, and the same each
// time.
func TestTemplateFails(t *testing.T) {
	body := `{{range .Conversation}}{{range .Messages}}{{if eq .Content "=1+1"}}{{index .Files 7}}{{end}}{{end}}{{end}}<!-- -->`
	got := only(t, scene(t, body, "html"), lyncxml.Untransformed)
	if err := xml.Unmarshal([]byte(got), new(struct{})); err != nil || !strings.Contains(got, "<Conversations") || !strings.Contains(got, "<!-- The template of feed f failed: ") {
		t.Errorf("%v:\n%s", err, got)
	}
	if again := only(t, scene(t, body, "html"), lyncxml.Untransformed); again != got {
		t.Error("the second time it is another file")
	}
	// One room per file: the others are as they should be.
	files := scene(t, body, "html", "one_room_per_file")
	pages, raw := 0, 0
	for n := range files {
		if strings.HasSuffix(n, "-"+string(adaptertest.Lobby)+"."+lyncxml.Untransformed) {
			raw++
		} else if strings.HasSuffix(n, ".html") {
			pages++
		}
	}
	if raw != 1 || pages != 1 {
		t.Errorf("%v", files)
	}
}

// A template that writes nothing makes no file.
func TestTemplateWritesNothing(t *testing.T) {
	if files := scene(t, `{{if false}}x{{end}}`, "txt"); len(files) != 0 {
		t.Errorf("%v", files)
	}
}
