package event

import (
	"bytes"
	"reflect"
	"testing"

	"parley/log/wire"
)

// FuzzParseEntry feeds anything to the reader of entries. What it accepts must be sound: dense offsets, a chain that
// ends where the header says.
func FuzzParseEntry(f *testing.F) {
	for _, g := range readGoldens(f) {
		f.Add(g.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		head, bodies, err := Split(data)
		if err != nil {
			return
		}
		if !bytes.Equal(append(bytes.Clone(head), bodies...), data) {
			t.Fatal("head and bodies are not the data")
		}
		e, err := ParseEntry(head, bodies)
		if err != nil {
			return
		}
		verified := e.Verify()
		envelopes, err := e.Envelopes(1)
		if (verified == nil) != (err == nil) {
			t.Fatalf("Verify says %v, Envelopes says %v", verified, err)
		}
		// The auditor does not decode what the hashes have proven, so it may accept an event that no leader would seal.
		if _, _, audited := new(Auditor).Audit(head, bodies, 1, func(Kind) bool { return false }, nil); audited != nil && err == nil {
			t.Fatalf("Audit says %v of what can be read", audited)
		}
		if err != nil {
			return
		}
		if len(envelopes) != e.Len() || envelopes[0].Offset != e.Base || envelopes[e.Len()-1].Offset != e.Last() || envelopes[e.Len()-1].Chain != e.Chain {
			t.Fatalf("%d events from %d, want %d from %d to %d", len(envelopes), envelopes[0].Offset, e.Len(), e.Base, e.Last())
		}
	})
}

// FuzzUnmarshal feeds anything to the reader of each kind. What it accepts can be written, and then reads the same.
func FuzzUnmarshal(f *testing.F) {
	for k := range kinds {
		f.Add(uint16(k), written(f, full(k).code))
		if b, ok := full(k).(Bodied); ok {
			f.Add(uint16(k)|bodyBit, written(f, b.codeBody))
		}
	}
	f.Fuzz(func(t *testing.T, k uint16, b []byte) {
		visit := func(ev Event) func(*wire.Coder) {
			if bodied, ok := ev.(Bodied); ok && k&bodyBit != 0 {
				return bodied.codeBody
			}
			return ev.code
		}
		def, ok := kinds[Kind(k&^bodyBit)]
		if !ok {
			return
		}
		ev := def.make()
		if new(wire.Coder).Read(b, visit(ev)) != nil {
			return
		}
		out, err := new(wire.Coder).Write(visit(ev))
		if err != nil {
			t.Fatalf("%+v was read, but cannot be written: %v", ev, err)
		}
		again := def.make()
		if err := new(wire.Coder).Read(out, visit(again)); err != nil || !reflect.DeepEqual(again, ev) {
			t.Fatalf("%+v was written and reads as %+v, %v", ev, again, err)
		}
	})
}

// bodyBit chooses the body of a kind. Kinds do not go so high.
const bodyBit = 1 << 15
