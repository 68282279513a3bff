package xmlcode

import (
	"encoding/xml"
	"reflect"
	"strings"
	"testing"

	"parley/sipfront/xccos/xmltree"

	"pgregory.net/rapid"
)

// thing visits one of everything.
type thing struct {
	Word, Always string
	Number       uint32
	Flag, Said   bool
	Text         string
	Leaf, Empty  string
	One          *thing
	Many         []item
}

type item struct{ Name string }

func (i *item) code(c *Coder) { c.Str("name", "a", &i.Name) }

func (v *thing) code(c *Coder) { v.visit(c, 0) }

func (v *thing) visit(c *Coder, depth int) {
	c.Str("word", "a", &v.Word, "wort")
	c.Full("always", "b", &v.Always)
	Uint(c, "number", "b", &v.Number)
	c.Bool("flag", "b", &v.Flag, false)
	c.Bool("said", "b", &v.Said, true)
	c.Leaf("leaf", "c", &v.Leaf, InText, false)
	c.Leaf("empty", "c", &v.Empty, InText, true)
	if depth < 2 {
		One(c, "one", "c", &v.One, func(v *thing, c *Coder) { v.visit(c, depth+1) })
	}
	Many(c, "many", "d", &v.Many, (*item).code, "few")
}

func write(v *thing) string {
	c := NewWriter(nil)
	c.Begin("thing")
	v.code(&c)
	c.End("thing")
	return string(c.Bytes())
}

func read(body string, lists int) (*thing, *xmltree.Error) {
	t, err := xmltree.Parse([]byte(body), "")
	if err != nil {
		return nil, err
	}
	c := NewReader(t, xmltree.Root, &lists)
	v := new(thing)
	v.code(&c)
	return v, c.Err()
}

func TestBothWays(t *testing.T) {
	word := rapid.StringOf(rapid.RuneFrom([]rune("ab<>&\"' \n\té€\U0001F600")))
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) *thing {
			v := &thing{Word: word.Draw(t, label), Always: word.Draw(t, label), Number: rapid.Uint32().Draw(t, label), Flag: rapid.Bool().Draw(t, label),
				Said: rapid.Bool().Draw(t, label), Leaf: word.Draw(t, label), Empty: word.Draw(t, label)}
			for _, n := range rapid.SliceOfN(word, 0, 3).Draw(t, label) {
				v.Many = append(v.Many, item{n})
			}
			return v
		}
		v := draw("outer")
		if rapid.Bool().Draw(t, "nested") {
			v.One = draw("inner")
		}
		body := write(v)
		if got, err := read(body, 100); err != nil || !reflect.DeepEqual(got, v) {
			t.Fatalf("%+v is written\n%s\nand read %+v, %v", v, body, got, err)
		}
		if err := xml.Unmarshal([]byte(body), new(struct{})); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
	})
}

func TestWritten(t *testing.T) {
	for want, v := range map[string]*thing{
		`<thing always="" said="false"><empty></empty></thing>`: {},
		`<thing word="&quot;&#9;" always="a&#10;b" number="7" flag="true" said="true"><leaf>&lt;"</leaf><empty></empty><many name="x"/><many/></thing>`: {
			Word: "\"\t", Always: "a\nb", Number: 7, Flag: true, Said: true, Leaf: `<"`, Many: []item{{"x"}, {}}},
	} {
		if got := write(v); got != strings.ReplaceAll(want, "<empty></empty>", "<empty/>") {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestRead(t *testing.T) {
	for body, want := range map[string]thing{
		`<thing wort="a" said="TRUE"/>`:                       {Word: "a", Said: true},
		`<thing word="b" wort="a" flag="1"/>`:                 {Word: "b", Flag: true},
		`<thing number="99999999999999999999999"/>`:           {Number: 1<<32 - 1},
		`<thing number="4294967296"/>`:                        {Number: 1<<32 - 1},
		`<thing><few name="a"/><few/></thing>`:                {Many: []item{{"a"}, {}}},
		`<thing><few name="a"/><many name="b"/></thing>`:      {Many: []item{{"b"}}},
		`<thing><leaf>a<b>c</b></leaf><leaf>d</leaf></thing>`: {Leaf: "ac"},
	} {
		if got, err := read(body, 100); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s is %+v, %v, want %+v", body, got, err, want)
		}
	}
	for body, code := range map[string]int{
		`<thing number="-1"/>`: 400, `<thing number=""/>`: 400, `<thing number="1e3"/>`: 400, `<thing number="٧"/>`: 400,
		`<thing>` + strings.Repeat("<many/>", 4) + `</thing>`: 413, `<thing number="x">` + strings.Repeat("<many/>", 4) + `</thing>`: 400,
	} {
		if _, err := read(body, 3); err == nil || err.Code != code {
			t.Errorf("%s: %v, want %d", body, err, code)
		}
	}
}

func TestNames(t *testing.T) {
	got := Names("thing", new(thing).code)
	want := []Name{{"thing@word", []string{"wort"}, "a"}, {"thing@always", nil, "b"}, {"thing@number", nil, "b"}, {"thing@flag", nil, "b"},
		{"thing@said", nil, "b"}, {"thing/leaf", nil, "c"}, {"thing/empty", nil, "c"}, {"thing/one", nil, "c"}, {"thing/one@word", []string{"wort"}, "a"}}
	if len(got) < len(want) || !reflect.DeepEqual(got[:len(want)], want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	last := got[len(got)-2:]
	if !reflect.DeepEqual(last, []Name{{"thing/many", []string{"few"}, "d"}, {"thing/many@name", nil, "a"}}) {
		t.Errorf("last %+v", last)
	}
}

func TestEscapedLen(t *testing.T) {
	for r := range rune(0x3000) {
		s := string(r)
		for kind := inAttribute; kind <= InChatRef; kind++ {
			if got := len(appendEscaped(nil, s, kind)); got > EscapedLen(s) {
				t.Errorf("%q takes %d bytes, not %d", s, got, EscapedLen(s))
			}
		}
	}
	if got := EscapedLen("plain\uFFFE"); got != len("plain\uFFFE") {
		t.Errorf("%d", got)
	}
}
