package render_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"parley/compliance"
	"parley/compliance/render"
	"parley/log/event"
	"parley/projections/chat"
)

// fill sets every field of a value to something that tells fields apart.
func fill(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.String:
		v.SetString("the " + path)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(len(path)))
	case reflect.Int64:
		v.SetInt(int64(len(path)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), path)
		}
	}
}

// kinds are all events that there are: one of each, with every field set.
func kinds(t *testing.T) (out []event.Event) {
	for k := range event.Kind(1000) {
		e := event.New(k)
		if e == nil {
			continue
		}
		fill(reflect.ValueOf(e).Elem(), k.String())
		out = append(out, e)
	}
	if len(out) < 40 {
		t.Fatalf("only %d kinds", len(out))
	}
	return out
}

// Every kind makes a line of JSON with every field, but for secrets; an empty one makes no fields at all.
func TestEveryKind(t *testing.T) {
	for _, e := range kinds(t) {
		b := render.AppendFields(nil, e)
		var m map[string]any
		if err := json.Unmarshal([]byte("{"+strings.TrimPrefix(string(b), ",")+"}"), &m); err != nil {
			t.Errorf("%s: %v in %s", e.Kind(), err, b)
		}
		if strings.Contains(string(b), ".Secret") || strings.Contains(string(b), "ha1") {
			t.Errorf("%s tells a secret: %s", e.Kind(), b)
		}
		v := reflect.ValueOf(e).Elem()
		var count func(v reflect.Value) int
		count = func(v reflect.Value) (n int) {
			for i := range v.NumField() {
				f := v.Type().Field(i)
				switch {
				case f.Type == reflect.TypeFor[event.Secret]() || v.Type() == reflect.TypeFor[event.TokenIssued]() && f.Name == "SHA256":
				case f.Name == "Info":
					n += count(v.Field(i))
				default:
					n++
				}
			}
			return n
		}
		if want := count(v); len(m) != want {
			t.Errorf("%s has %d fields, its line %d: %s", e.Kind(), want, len(m), b)
		}
		if b := render.AppendFields(nil, event.New(e.Kind())); len(b) != 0 {
			t.Errorf("an empty %s makes %s", e.Kind(), b)
		}
	}
	if b := string(render.AppendFields(nil, &event.TokenIssued{SHA256: []byte{1}, Admin: "a"})); strings.Contains(b, "sha256") {
		t.Errorf("the hash of a token: %s", b)
	}
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{"MessageID": "message_id", "SHA256": "sha256", "MaxFileSizeKB": "max_file_size_kb", "PoolURI": "pool_uri", "URL": "url", "RTF": "rtf",
		"At": "at", "AddIn": "add_in", "RoomManagementURL": "room_management_url", "DefaultChatHistory": "default_chat_history", "UpTo": "up_to"} {
		if got := render.Snake(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// FuzzText: whatever a text is, a reader of JSON gets it back, and a reader of XML gets it back if it can be carried.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", "a \"b\"\\\n\r\t", "ü漢\U0001F600\u2028\u2029\ufffd", "\x00\x1f\x7f", "\xff\xc0", "<a b='c'>&amp;]]>", "\ufffe", "e\u0301"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := render.AppendFields(nil, &event.Posted{Text: s})
		var m struct{ Text string }
		if err := json.Unmarshal([]byte("{"+strings.TrimPrefix(string(line), ",")+"}"), &m); err != nil {
			t.Fatalf("%q: %v in %s", s, err, line)
		}
		if utf8.ValidString(s) && m.Text != s {
			t.Fatalf("%q came back as %q", s, m.Text)
		}
		if bytes.ContainsAny(line, "\n\r\u2028\u2029") {
			t.Fatalf("%q: more than a line: %q", s, line)
		}
		doc := append(render.AppendXML([]byte(`<a b="`), s), '"', '>')
		doc = append(render.AppendXML(doc, s), "</a>"...)
		var x struct {
			B    string `xml:"b,attr"`
			Text string `xml:",chardata"`
		}
		if err := xml.Unmarshal(doc, &x); err != nil {
			t.Fatalf("%q: %v in %s", s, err, doc)
		}
		if render.Carried(s) && (x.B != s || x.Text != s) {
			t.Fatalf("%q can be carried, and came back as %q and %q", s, x.B, x.Text)
		}
	})
}

// An event of a kind that this version does not know is never archived around.
func TestUnknown(t *testing.T) {
	e := event.Envelope{Offset: 1, Event: &event.Unknown{Type: 999}}
	base := chat.NewState()
	cut, run, err := compliance.NewCut("f", 1, 1, base, one{e}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range run {
		if err != nil {
			break // the fold refuses it, after the adapter has
		}
		if _, err := render.AppendLine(nil, cut, e); err == nil {
			t.Error("it made a line")
		}
		if err := render.Acts(cut, e, func(render.Act) {}); err == nil {
			t.Error("it was no error")
		}
	}
}

type one struct{ e event.Envelope }

func (o one) Read(event.Offset, int) ([]event.Envelope, error) { return []event.Envelope{o.e}, nil }
func (o one) WaitFor(context.Context, event.Offset) error      { return nil }
