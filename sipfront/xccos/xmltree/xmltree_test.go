package xmltree

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

const ns = "urn:ours"

// dump tells everything about a tree, in the words of oracle.
func dump(t *Tree) string {
	var b strings.Builder
	for i := Root; i < t.End(Root); i++ {
		fmt.Fprintf(&b, "<%s", t.Local(i))
		for _, a := range t.list(i) {
			v := unescape(t.s[a.val:a.valEnd], true)
			fmt.Fprintf(&b, " %s=%q", a.in(t.s), v)
		}
		fmt.Fprintf(&b, "> %q\n", t.Text(i))
	}
	return b.String()
}

// oracle says the same of a body by encoding/xml. It is laxer than we are, so only what we accept is put to it.
func oracle(body []byte) (string, error) {
	if bytes.HasPrefix(body, []byte("\ufeff")) {
		body = body[len("\ufeff"):]
	}
	if bytes.HasPrefix(body, []byte("<?xml")) { // its version and encoding are judged by other rules
		body = body[bytes.Index(body, []byte("?>"))+2:]
	}
	type element struct {
		head string
		text []byte
	}
	var all []*element
	var open []*element
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			e := &element{head: "<" + tok.Name.Local}
			for _, a := range tok.Attr {
				name := a.Name.Local
				if a.Name.Space != "" {
					name = a.Name.Space + ":" + name
				}
				e.head += fmt.Sprintf(" %s=%q", name, a.Value)
			}
			all, open = append(all, e), append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, e := range open {
				e.text = append(e.text, tok...)
			}
		case xml.Comment:
		default:
			return "", fmt.Errorf("token %T", tok)
		}
	}
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "%s> %q\n", e.head, e.text)
	}
	return b.String(), nil
}

// blanks makes the two comparable: encoding/xml leaves raw line ends and tabs in attributes as they are (XML 1.0
// section 3.3.3 makes them blanks). Dumps are quoted, so these are two-character escapes.
func blanks(s string) string { return strings.NewReplacer(`\n`, " ", `\t`, " ").Replace(s) }

func FuzzParse(f *testing.F) {
	for _, s := range append(accepted(), refusedBodies()...) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		tree, perr := Parse(body, ns)
		if perr != nil {
			if perr.Code != 400 && perr.Code != 413 || perr.Text == "" {
				t.Fatalf("error %d %q", perr.Code, perr.Text)
			}
			return
		}
		want, err := oracle(body)
		if err != nil {
			var syntax *xml.SyntaxError
			if errors.As(err, &syntax) && strings.Contains(syntax.Msg, "invalid XML name") && !isASCII(body) {
				return // we do not look at which letters a name is made of
			}
			t.Fatalf("accepted what encoding/xml refuses: %v\n%q", err, body)
		}
		if got := dump(tree); blanks(got) != blanks(want) {
			t.Errorf("read\n%s\nencoding/xml reads\n%s", got, want)
		}
	})
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func accepted() []string {
	return []string{
		`<a/>`,
		"\ufeff<a/>",
		`<?xml version="1.0" encoding="utf-8"?><a/>`,
		`<?xml version='1.0' encoding='UTF-16' standalone="yes" ?>` + "\r\n<a></a>\n",
		`<!-- before --><a b='1' c="2">x<!-- in -->y</a><!-- after -->`,
		`<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x1F600;&#13;&#10;</a>`,
		"<a b=\"x\r\ny\tz&#10;\">one\r\ntwo\rthree\n</a>",
		`<a><![CDATA[<b>&amp;]] ></b>]]>&amp;<b c=">">d</b>e</a>`,
		`<a><!--></a>--></a>`,
		`<x:a xmlns:x="urn:ours"><x:b/></x:a>`,
		`<a xmlns="urn:ours"><b xmlns="urn:other"><c/></b><d/></a>`,
		`<ä ö="ü">é€𝄞</ä>`,
		`<a   b = "1"   ></a   >`,
	}
}

// refusals maps bodies to a word of their refusal.
var refusals = []struct{ body, why string }{
	{``, "no element"},
	{`  `, "no element"},
	{`text`, "outside of the root"},
	{`<a/>text`, "outside of the root"},
	{`<![CDATA[x]]><a/>`, "outside of the root"},
	{`<a/><b/>`, "second root"},
	{`<a></a><a/>`, "second root"},
	{`<a>`, "ends inside"},
	{`<a><b></a></b>`, "without its start"},
	{`</a>`, "without its start"},
	{`<a></b>`, "without its start"},
	{`<a></a`, "does not end"},
	{`<a`, "ends inside a tag"},
	{`<a b`, "without a value"},
	{`<a b=`, "not quoted"},
	{`<a b=c>`, "not quoted"},
	{`<a b="c>`, "does not end"},
	{`<a b="<"/>`, "has a tag in it"},
	{`<a b="1" b="2"/>`, "twice"},
	{`<a b="1"c="2"/>`, "no space"},
	{`<a/ >`, "does not end"},
	{`<a b="&nbsp;"/>`, "entity"},
	{`<a>&nbsp;</a>`, "entity"},
	{`<a>&</a>`, "entity"},
	{`<a>&;</a>`, "entity"},
	{`<a>&#;</a>`, "entity"},
	{`<a>&#x;</a>`, "entity"},
	{`<a>&#0;</a>`, "entity"},
	{`<a>&#8;</a>`, "entity"},
	{`<a>&#xD800;</a>`, "entity"},
	{`<a>&#xFFFE;</a>`, "entity"},
	{`<a>&#1114112;</a>`, "entity"},
	{`<a>&#99999999999;</a>`, "entity"},
	{`<a>&#X41;</a>`, "entity"},
	{`<a>]]></a>`, "CDATA"},
	{`<a><![CDATA[</a>`, "CDATA does not end"},
	{`<a><!-- -- --></a>`, "comment"},
	{`<a><!-- </a>`, "comment"},
	{`<!DOCTYPE a><a/>`, "document type"},
	{`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, "document type"},
	{`<a><!ELEMENT b></a>`, "document type"},
	{`<a><?php echo ?></a>`, "processing instruction"},
	{`<a/><?x?>`, "processing instruction"},
	{` <?xml version="1.0"?><a/>`, "processing instruction"},
	{`<?xml version="2.0"?><a/>`, "version"},
	{`<?xml version="1.0" encoding="iso-8859-1"?><a/>`, "encoding"},
	{`<?xml version="1.0"><a/>`, "declaration"},
	{`<1a/>`, "bad name"},
	{`<:a/>`, "bad name"},
	{`<a:/>`, "bad name"},
	{`<a:b:c/>`, "bad name"},
	{`< a/>`, "bad name"},
	{`<x:a/>`, "has no namespace"},
	{`<a xmlns:x=""/>`, "empty namespace"},
	{`<a><b xmlns:x="u"/><x:c/></a>`, "has no namespace"},
	{"<a>\x00</a>", "control character"},
	{"<a>\x1b</a>", "control character"},
	{"<a>\xff</a>", "not UTF-8"},
	{"<a>\xed\xa0\x80</a>", "not UTF-8"},
	{"<a>\uffff</a>", "non-character"},
	{"<a b='\ufffe'/>", "non-character"},
}

func refusedBodies() []string {
	var all []string
	for _, r := range refusals {
		all = append(all, r.body)
	}
	return all
}

func TestAccepted(t *testing.T) {
	for _, body := range accepted() {
		tree, perr := Parse([]byte(body), ns)
		if perr != nil {
			t.Errorf("%q: %v", body, perr)
			continue
		}
		want, err := oracle([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := dump(tree); blanks(got) != blanks(want) {
			t.Errorf("%q is read as\n%s\nwant\n%s", body, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, r := range refusals {
		_, err := Parse([]byte(r.body), ns)
		if err == nil || err.Code != 400 || !strings.Contains(err.Text, r.why) {
			t.Errorf("%q: %v, want 400 and %q", r.body, err, r.why)
		}
	}
}

// TestAttributeSpace: raw white space in an attribute is a blank, a reference stands for itself.
func TestAttributeSpace(t *testing.T) {
	tree, err := Parse([]byte("<a b=\"1\r\n2\t3&#10;4&#9;5\"/>"), ns)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := tree.Attr(Root, "b"); !ok || v != "1 2 3\n4\t5" {
		t.Errorf("b = %q", v)
	}
}

func TestForeign(t *testing.T) {
	tree, err := Parse([]byte(`<a xmlns="urn:ours"><b xmlns="urn:other"/><x:b xmlns:x="urn:other"/><y:b xmlns:y="urn:ours" n="1"/><c xmlns=""/></a>`), ns)
	if err != nil {
		t.Fatal(err)
	}
	b := tree.Child(Root, "b")
	if v, _ := tree.Attr(b, "n"); v != "1" {
		t.Errorf("the first b of ours is node %d", b)
	}
	if n := tree.Sibling(Root, b, "b"); n != Root {
		t.Errorf("a second b of ours: node %d", n)
	}
	if tree.Child(Root, "c") == Root {
		t.Error("an element without a namespace is foreign")
	}
}

// at and over build a body at a limit, and one beyond it.
func TestLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	attrs := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ` a%d="1"`, i)
		}
		return "<a" + b.String() + "/>"
	}
	spaces := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ` xmlns:a%d="u"`, i)
		}
		return "<a" + b.String() + "/>"
	}
	for _, c := range []struct {
		name  string
		body  func(int) string
		limit int
		code  int
	}{
		{"bytes", func(n int) string { return "<a>" + strings.Repeat("x", n-7) + "</a>" }, MaxBytes, 413},
		{"depth", nested, MaxDepth, 400},
		{"elements", func(n int) string { return "<a>" + strings.Repeat("<b/>", n-1) + "</a>" }, MaxElements, 413},
		{"attributes", attrs, MaxAttrs, 400},
		{"element name", func(n int) string { return "<" + strings.Repeat("n", n) + "/>" }, MaxName, 400},
		{"attribute name", func(n int) string { return "<a " + strings.Repeat("n", n) + "='1'/>" }, MaxName, 400},
		{"name with prefix", func(n int) string {
			return "<a xmlns:pp='urn:ours'><pp:" + strings.Repeat("n", n-3) + "/></a>"
		}, MaxName, 400},
		{"bindings", spaces, maxBindings, 400},
	} {
		if _, err := Parse([]byte(c.body(c.limit)), ns); err != nil {
			t.Errorf("%s at the limit: %v", c.name, err)
		}
		if _, err := Parse([]byte(c.body(c.limit+1)), ns); err == nil || err.Code != c.code {
			t.Errorf("%s over the limit: %v, want %d", c.name, err, c.code)
		}
	}
}

// TestProperty: any tree that encoding/xml writes is read as it was meant.
func TestProperty(t *testing.T) {
	name := rapid.StringMatching(`[a-z][a-zA-Z0-9_.-]{0,7}`)
	chars := rapid.StringOf(rapid.RuneFrom([]rune("abc<>&'\"]]> \t\n\r-!?é€𝄞")))
	rapid.Check(t, func(t *rapid.T) {
		var in, want bytes.Buffer
		esc := func(s string) string {
			var b bytes.Buffer
			_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer takes everything
			return b.String()
		}
		var build func(depth int) string
		build = func(depth int) string {
			n := name.Draw(t, "name")
			fmt.Fprintf(&in, "<%s", n)
			head := "<" + n
			for i, v := range rapid.SliceOfN(chars, 0, 3).Draw(t, "attributes") {
				fmt.Fprintf(&in, " a%d=\"%s\"", i, esc(v))
				head += fmt.Sprintf(" a%d=%q", i, v)
			}
			in.WriteByte('>')
			at := want.Len()
			text := chars.Draw(t, "text")
			in.WriteString(esc(text))
			if depth < 4 {
				for range rapid.IntRange(0, 3).Draw(t, "children") {
					text += build(depth + 1)
				}
			}
			fmt.Fprintf(&in, "</%s>", n)
			rest := want.String()[at:] // of the children, which come after their parent
			want.Truncate(at)
			fmt.Fprintf(&want, "%s> %q\n%s", head, text, rest)
			return text
		}
		build(0)
		tree, err := Parse(in.Bytes(), ns)
		if err != nil {
			t.Fatalf("%v\n%q", err, in.String())
		}
		if got := dump(tree); got != want.String() {
			t.Errorf("%q is read as\n%s\nwant\n%s", in.String(), got, want.String())
		}
	})
}

// TestMemory: whatever the body, the index costs at most eight times its size; a refused body costs its copy.
func TestMemory(t *testing.T) {
	big := func(unit string, n int) string { return "<a>" + strings.Repeat(unit, n) + "</a>" }
	for name, body := range map[string]string{
		"many elements":        big("<b/>", MaxElements-1),
		"element pairs":        big("<b></b>", MaxElements-1),
		"too many elements":    big("<b/>", 200000),
		"attributes":           big(`<b a="" b="" c="" d="" e="" f="" g="" h=""/>`, MaxElements-1),
		"long text":            big("x", 1<<20-7),
		"equal signs":          big("=", 1<<20-7),
		"references":           big("&#65;", 200000),
		"CDATA of tags":        "<a><![CDATA[" + strings.Repeat("<", 1<<19) + "]]></a>",
		"comments":             big("<!---->", 140000),
		"open tags":            strings.Repeat("<a>", 300000),
		"an unfinished tag":    "<a " + strings.Repeat("b ", 400000),
		"an unfinished value":  `<a b="` + strings.Repeat("x", 1<<20-10),
		"ampersands":           big("&", 1<<20-7),
		"line ends":            big("\r", 1<<20-7),
		"small, a few of them": big("<b/>", 3),
	} {
		var before, after runtime.MemStats
		raw := []byte(body)
		runtime.GC()
		runtime.ReadMemStats(&before)
		tree, perr := Parse(raw, ns)
		runtime.ReadMemStats(&after)
		used := after.TotalAlloc - before.TotalAlloc
		limit := uint64(8*len(body) + 4096)
		if perr != nil {
			limit = uint64(2*len(body) + 8192)
		}
		if used > limit {
			t.Errorf("%s: %d bytes allocated for a body of %d (%v)", name, used, len(body), perr)
		}
		runtime.KeepAlive(tree)
	}
}
