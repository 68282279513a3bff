package event

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the goldens that are missing; a golden that is there is never changed")

// golden is an entry as it is stored, and what must be read from it for ever.
type golden struct {
	name    string
	batch   Batch // what it was sealed from
	chain   Chain
	exact   bool // sealing again must give the same bytes; compressed blocks need only be read alike
	erasing bool // the first body is erased afterwards
}

// grown counts how often a kind was given new fields. Goldens of its earlier shapes stay and must read as they did: tag
// the new fields json omitempty, and raise the number here.
var grown = map[Kind]int{KindPosted: 1, KindUserCreated: 1, KindUserChanged: 1, KindFeedSet: 1,
	KindCategoryCreated: 3, KindCategoryChanged: 3}

// fullName names the golden in which every field that the kind has today is set.
func fullName(k Kind) string {
	if n := grown[k]; n > 0 {
		return fmt.Sprintf("%s-%d", k, n+1)
	}
	return k.String()
}

func goldens() []golden {
	prev := Chain{0: 0xaa, 31: 0xbb}
	const at = Time(1_234_567_890_123_456_789)
	var out []golden
	for k := range kinds {
		out = append(out,
			golden{name: fullName(k), exact: true,
				batch: Batch{Base: 41, At: at, Prev: prev, Events: []Draft{{Meta: fullMeta, Event: full(k)}}}},
			golden{name: k.String() + "-empty", exact: true,
				batch: Batch{Base: 1, At: 1, Events: []Draft{{Event: kinds[k].make()}}}})
	}
	long := strings.Repeat("A line that comes again.\n", 100)
	mixed := Batch{Base: 1 << 40, At: -1, Prev: prev, Events: []Draft{
		{Meta: fullMeta, Event: &Posted{Endpoint: "e1", MessageID: 1, Text: long}},
		{Meta: fullMeta, Event: &Joined{Endpoint: "e2", Incarnation: 3}},
		{Meta: fullMeta, Event: &Posted{Endpoint: "e1", MessageID: 2, Text: "short", RTF: `{\rtf1 short}`}},
		{Meta: fullMeta, Event: &UserCreated{User: "sip:bob@contoso.test", Secret: Secret{Realm: "contoso.test", HA1SHA256: []byte{1}, HA1MD5: []byte{2}}}},
		{Meta: fullMeta, Event: &RoomRemoved{Name: long}},
	}}
	return append(out, golden{name: "batch-compressed", batch: mixed},
		golden{name: "batch-erased", batch: mixed, erasing: true},
		golden{name: "batch-unerased-small", exact: true, batch: Batch{Base: 5, At: 6, Events: mixed.Events[1:4]}})
}

// data returns the entry of a golden.
func (g *golden) data(t *testing.T) []byte {
	data, chain := mustSeal(t, g.batch)
	g.chain = chain
	if !g.erasing {
		return data
	}
	e, _, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	head, _, err := Split(data)
	if err != nil {
		t.Fatal(err)
	}
	var block []byte
	for i, body := range e.bodies {
		switch {
		case body == nil:
		case i == 0:
			block = appendBody(block, i, bodyErased, nil)
		default:
			block = appendBody(block, i, bodyPresent, body)
		}
	}
	return append(bytes.Clone(head), compressLike(head, block)...)
}

// render prints what was read from an entry, in a form that is easy to review.
func render(t *testing.T, data []byte) string {
	t.Helper()
	e, envelopes, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "base %d at %d prev %s chain %s\n", e.Base, e.At, e.Prev, e.Chain)
	for _, v := range envelopes {
		fields, err := json.Marshal(v.Event)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d %s by %q room %q node %q command %x erased %v\n  leaf %x\n  chain %s\n  %s\n",
			v.Offset, v.Kind(), v.By, v.Room, v.Node, v.Command, v.Erased, v.Leaf, v.Chain, fields)
	}
	return b.String()
}

const goldenDir = "testdata/golden"

// TestGoldens reads every entry that was ever written down. They are added to (go test ./log/event -update) and never
// changed: logs on disk have such bytes.
func TestGoldens(t *testing.T) {
	made := make(map[string]golden)
	for _, g := range goldens() {
		made[g.name] = g
		path := filepath.Join(goldenDir, g.name+".txt")
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if !*update {
			t.Errorf("%s: golden is missing; add it with: go test ./log/event -run TestGoldens -update", g.name)
			continue
		}
		data := g.data(t)
		text := hexLines(data) + "\n" + render(t, data)
		if err := os.MkdirAll(goldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, g := range readGoldens(t) {
		if got := render(t, g.data); got != g.text {
			t.Errorf("%s: reads as\n%s\nand must read as\n%s", name, got, g.text)
		}
		m, ok := made[name]
		if !ok {
			continue // written by an earlier version
		}
		data := m.data(t)
		if m.exact && !bytes.Equal(data, g.data) {
			t.Errorf("%s: is now written as\n%x\nand was\n%x\nIf a field was added, fill it in a new golden and keep the old one.", name, data, g.data)
		}
		if got := render(t, data); got != g.text {
			t.Errorf("%s: written and read again gives\n%s\nwant\n%s", name, got, g.text)
		}
	}
}

type storedGolden struct {
	data []byte
	text string
}

func readGoldens(t testing.TB) map[string]storedGolden {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	out := make(map[string]storedGolden)
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		dump, text, ok := strings.Cut(string(b), "\n\n")
		if !ok {
			t.Fatalf("%s: no empty line between bytes and meaning", p)
		}
		data, err := hex.DecodeString(strings.ReplaceAll(dump, "\n", ""))
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		out[strings.TrimSuffix(filepath.Base(p), ".txt")] = storedGolden{data, text}
	}
	return out
}

func hexLines(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(len(b), 64)
		fmt.Fprintf(&s, "%x\n", b[:n])
		b = b[n:]
	}
	return s.String()
}

// TestFullIsFull guards the goldens: an event in which every field is set differs from its empty one in every field.
func TestFullIsFull(t *testing.T) {
	for k := range kinds {
		v := reflect.ValueOf(full(k)).Elem()
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: field %s is not set", k, v.Type().Field(i).Name)
			}
		}
	}
}
