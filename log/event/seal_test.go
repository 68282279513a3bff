package event

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What the leader is told of its own entry is what everybody reads in it.
func TestReadBackIsWhatIsRead(t *testing.T) {
	var press Press // of several batches, as the leader has them
	var l Linked
	rapid.Check(t, func(t *rapid.T) {
		b := drawBatch(t)
		if err := l.Link(&b); err != nil {
			t.Fatal(err)
		}
		s, err := l.Seal(&press)
		if err != nil {
			t.Fatal(err)
		}
		_, want, err := parse(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		prev, got, ok := s.Read(7)
		if !ok || prev != b.Prev || !reflect.DeepEqual(got, want) {
			t.Fatalf("read back %v, %+v, want %+v", ok, got, want)
		}
	})
}

func TestSealedKnowsItsData(t *testing.T) {
	var l Linked
	if err := l.Link(&Batch{Base: 1, At: 1, Events: []Draft{{Event: &Posted{Text: "hello"}}}}); err != nil {
		t.Fatal(err)
	}
	s, err := l.Seal(new(Press))
	if err != nil {
		t.Fatal(err)
	}
	if s.Is(bytes.Clone(s.Data)) || s.Is(nil) || s.Is(s.Data[:1]) || !s.Is(s.Data) {
		t.Error("data is known by the memory it is in")
	}
	for bit := range 8 * len(s.Data) {
		s.Data[bit/8] ^= 1 << (bit % 8)
		if _, _, ok := s.Read(1); ok {
			t.Fatalf("bit %d was altered, and nobody saw it", bit)
		}
		s.Data[bit/8] ^= 1 << (bit % 8)
	}
	if _, _, ok := s.Read(1); !ok {
		t.Error("it was not altered")
	}
}

func TestSealRefusesWhatCannotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(*Linked){
		"an event that cannot be decoded":       func(l *Linked) { l.events[1] = 0xff },
		"a header that is not of these events":  func(l *Linked) { l.header.count++ },
		"a body that is not where it should be": func(l *Linked) { l.bodies[0]++ },
	} {
		var l Linked
		if err := l.Link(&Batch{Base: 1, At: 1, Events: []Draft{{Event: &RoomRemoved{}}, {Event: &Posted{Text: "hello", MessageID: 1}}}}); err != nil {
			t.Fatal(err)
		}
		spoil(&l)
		if _, err := l.Seal(new(Press)); err == nil {
			t.Errorf("%s was sealed", name)
		}
	}
}

// A large entry must not be remembered for ever by who seals small ones.
func TestPressKeepsLittle(t *testing.T) {
	var p Press
	var l Linked
	if err := l.Link(&Batch{Base: 1, At: 1, Events: []Draft{{Event: &Posted{Text: strings.Repeat("hello ", 1<<20)}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Seal(&p); err != nil {
		t.Fatal(err)
	}
	for _, m := range [][]byte{p.events, p.bodies, p.auditor.parser.memory[0], p.auditor.parser.memory[1]} {
		if cap(m) > pressKeeps {
			t.Errorf("keeps %d bytes", cap(m))
		}
	}
}
