package lyncxml_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/lyncxml"
	"parley/log/event"
)

func schema(t *testing.T, change func([]byte) []byte) *adaptertest.Schema {
	t.Helper()
	text, err := os.ReadFile("conversations.xsd")
	if err != nil {
		t.Fatal(err)
	}
	return adaptertest.NewSchema(t, change(text))
}

func plain(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter {
	return lyncxml.New(lyncxml.Config{Dir: dir, FS: fs, Node: node})
}

// What is written, with all options and with none, is valid to a validator that nobody here wrote.
func TestSchema(t *testing.T) {
	s := schema(t, func(b []byte) []byte { return b })
	for name, make := range map[string]adaptertest.New{"no options": plain, "all options": details} {
		n := 0
		for file, doc := range adaptertest.Scenes(t, make) {
			if !strings.HasSuffix(file, ".xml") {
				continue
			}
			if ok, says := s.Valid(t, doc); !ok {
				t.Errorf("%s: %s: %s", name, file, says)
			}
			n++
		}
		if n < 3 {
			t.Errorf("%s: only %d files", name, n)
		}
	}
}

// Without options, and without text that takes one, nothing of ours is in a document but wider numbers.
func TestSchemaOfTheProduct(t *testing.T) {
	s := schema(t, func(b []byte) []byte {
		return regexp.MustCompile(`<xs:attributeGroup ref="more\w+"/>`).ReplaceAll(b, nil)
	})
	w, m := adaptertest.Scene()
	if ok, says := s.Valid(t, write(t, w, m.Directory+1, m.Restarted, false)); !ok {
		t.Error(says)
	}
	if ok, _ := s.Valid(t, write(t, w, m.Directory+1, m.Restarted, true)); ok {
		t.Error("with our own attributes it is the product's as well: the test sees nothing")
	}
}

// A document with any of these mistakes is not valid: the schema sees what it is for.
func TestSchemaFindsMistakes(t *testing.T) {
	s := schema(t, bytes.Clone)
	w, m := adaptertest.Scene()
	doc := write(t, w, m.Directory+1, m.Talk, true)
	if ok, says := s.Valid(t, doc); !ok {
		t.Fatal(says)
	}
	for name, c := range map[string][2]string{
		"another root":           {"Conversations", "Talks"},
		"another element":        {"<Sender ", "<Author "},
		"an element more":        {"    <Messages>\n", "    <Messages>\n<Note />"},
		"an element less":        {"<FirstMessage", "<!-- <FirstMessage"},
		"another order":          {"    <FirstMessage", "    <StartTimeUTC since1970=\"0\" string=\"1970-01-01T00:00:00.0000000Z\" long=\"0\" />\n    <FirstMessage"},
		"another type":           {`type="JOIN"`, `type="ENTER"`},
		"an attribute more":      {`type="JOIN"`, `type="JOIN" mood="good"`},
		"an attribute less":      {`internal="true"`, ``},
		"no number":              {`id="0"`, `id="none"`},
		"a number below":         {`id="0"`, `id="-1"`},
		"no truth value":         {`internal="true"`, `internal="yes"`},
		"a time of another form": {`string="2026-01-02T`, `string="02.01.2026 `},
		"not well-formed":        {"</Conversations>", ""},
	} {
		bad := strings.Replace(doc, c[0], c[1], 1)
		if name == "an element less" {
			bad = strings.Replace(bad, "</FirstMessage>", "</FirstMessage> -->", 1)
		}
		if name == "another root" || name == "another element" {
			bad = strings.ReplaceAll(doc, c[0], c[1])
		}
		if bad == doc {
			t.Errorf("%s: nothing was changed", name)
		}
		if ok, says := s.Valid(t, bad); ok || name != "not well-formed" && !strings.Contains(says, "Schemas validity error") {
			t.Errorf("%s: valid: %t: %s", name, ok, says)
		}
	}
}
