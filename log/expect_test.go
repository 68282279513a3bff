package log

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log/event"
)

func sealed(t *testing.T, c *chain, texts ...string) *event.Sealed {
	t.Helper()
	c.at++
	b := event.Batch{Base: c.base + 1, At: c.at, Prev: c.prev}
	for _, text := range texts {
		b.Events = append(b.Events, event.Draft{Meta: event.Meta{Room: "r"}, Event: &event.Posted{MessageID: 1, Text: text}})
	}
	var l event.Linked
	if err := l.Link(&b); err != nil {
		t.Fatal(err)
	}
	s, err := l.Seal(new(event.Press))
	if err != nil {
		t.Fatal(err)
	}
	c.base, c.prev = c.base+event.Offset(len(texts)), l.Chain
	return s
}

// What was expected is served as what was decoded is, and a log that is opened again has the same.
func TestExpected(t *testing.T) {
	fs := vfs.NewMem()
	l, err := Open("log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var c chain
	for i := event.Index(1); i <= 3; i++ {
		s := sealed(t, &c, "one", "two")
		data := s.Data
		switch i {
		case 1:
			l.Expect(s)
		case 2: // the same bytes elsewhere, as a follower gets them
			l.Expect(s)
			data = bytes.Clone(data)
		}
		if err := l.Append([]Record{{Index: i, Term: 1, Data: data}}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Commit(i); err != nil {
			t.Fatal(err)
		}
	}
	all := func() (out []event.Envelope) {
		for i := event.Index(1); i <= 3; i++ {
			e, err := l.entry(l.db, i)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e.envelopes...)
		}
		return out
	}
	before := all()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open("log", Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if after := all(); len(after) != 6 || !reflect.DeepEqual(before, after) {
		t.Errorf("served %+v, stored %+v", before, after)
	}
}

// Memory that goes bad between sealing and appending is found before anything is written.
func TestExpectedAndAltered(t *testing.T) {
	l, err := Open("log", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var c chain
	s := sealed(t, &c, "one", "two")
	l.Expect(s)
	s.Data[len(s.Data)-1] ^= 1
	if err := l.Append([]Record{{Index: 1, Term: 1, Data: s.Data}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("append: %v, want ErrInvalid", err)
	}
	if l.LastIndex() != 0 {
		t.Error("it was appended")
	}
}

// What is expected and never comes is forgotten.
func TestExpectedForgets(t *testing.T) {
	l, err := Open("log", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var c chain
	first := sealed(t, &c, "one")
	l.Expect(first)
	for range maxExpected {
		l.Expect(sealed(t, &c, "more"))
	}
	if l.expected.take(first.Data) != nil {
		t.Error("the first is still remembered")
	}
	if err := l.Append([]Record{{Index: 1, Term: 1, Data: first.Data}}); err != nil {
		t.Errorf("it can be appended nevertheless: %v", err)
	}
}
