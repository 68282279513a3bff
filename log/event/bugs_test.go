package event

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"parley/log/wire"
)

// Bugs that were found, each with the smallest input that showed it.

func field1(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

// A number that does not fit its type was cut to size: kind 65548 was read as kind 12, a post.
func TestNumberTooLargeForItsType(t *testing.T) {
	for name, m := range map[string]struct {
		b []byte
		m wire.Message
	}{
		"kind, uint16": {field1(2, 1<<16|uint64(KindPosted)), new(stored)},
		"role, uint8":  {field1(2, 1<<8|uint64(RoleManager)), new(Access)},
	} {
		if err := wire.Unmarshal(m.b, m.m); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

// Repeated strings were not checked to be UTF-8 when read, and repeated fields of a wrong wire type were passed over.
func TestRepeatedFieldsAreCheckedLikeOthers(t *testing.T) {
	bad := protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), []byte{0xff})
	if err := wire.Unmarshal(bad, new(CategoryInfo)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("repeated string that is not UTF-8: %v, want ErrCorrupt", err)
	}
	if err := wire.Unmarshal(field1(3, 1), new(CategoryInfo)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("repeated string with the wire type of a number: %v, want ErrCorrupt", err)
	}
	var r RoomCreated
	if err := new(wire.Coder).Read(field1(2, 1), r.code); !errors.Is(err, ErrCorrupt) {
		t.Errorf("repeated message with the wire type of a number: %v, want ErrCorrupt", err)
	}
}

// A message with more fields than a reader accepts could be sealed, committed everywhere, and never be read again.
func TestTooManyFieldsAreNotWritten(t *testing.T) {
	b := Batch{Base: 1, At: 1, Events: []Draft{{Event: &RoomCreated{Access: make([]Access, wire.MaxFields+1)}}}}
	if _, _, err := b.Seal(); err == nil {
		t.Error("sealed an event that no one can read")
	}
	b.Events[0].Event = &RoomCreated{Access: make([]Access, 100_000)} // what the limit promises to fit
	data, _, err := b.Seal()
	if err != nil {
		t.Fatal(err)
	}
	head, bodies, err := Split(data)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseEntry(head, bodies)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Envelopes(1); err != nil {
		t.Error(err)
	}
}

// The format lets erasure shorten the block of bodies; the reader insisted on the length it was written with.
func TestErasedBodyShortensTheBlock(t *testing.T) {
	for _, text := range []string{"short, stored as it is", string(make([]byte, 2000)) + "long, compressed"} {
		b := Batch{Base: 1, At: 1, Events: []Draft{
			{Event: &Posted{MessageID: 1, Text: text}}, {Event: &Posted{MessageID: 2, Text: "stays"}}}}
		data, chain, err := b.Seal()
		if err != nil {
			t.Fatal(err)
		}
		head, bodies, err := Split(data)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := ParseEntry(head, bodies)
		if err != nil {
			t.Fatal(err)
		}
		erased := appendBody(nil, 0, bodyErased, nil)
		erased = appendBody(erased, 1, bodyPresent, whole.bodies[1])
		erased = compressLike(head, erased)
		e, err := ParseEntry(head, erased)
		if err != nil {
			t.Fatalf("erased: %v", err)
		}
		got, err := e.Envelopes(1)
		if err != nil {
			t.Fatalf("erased: %v", err)
		}
		if p := got[0].Event.(*Posted); !got[0].Erased || p.Text != "" || p.MessageID != 1 {
			t.Errorf("first event is %+v, erased %v", p, got[0].Erased)
		}
		if p := got[1].Event.(*Posted); got[1].Erased || p.Text != "stays" || got[1].Chain != chain {
			t.Errorf("second event is %+v, erased %v, chain %s", p, got[1].Erased, got[1].Chain)
		}
		// But a body that is simply gone is damage, however short the block may be.
		if e, err := ParseEntry(head, compressLike(head, appendBody(nil, 1, bodyPresent, whole.bodies[1]))); err == nil {
			if err := e.Verify(); !errors.Is(err, ErrCorrupt) {
				t.Errorf("missing body: %v, want ErrCorrupt", err)
			}
		}
	}
}

// Flags of a later format were passed over, and offsets could run over the end of their type.
func TestHeaderLimits(t *testing.T) {
	data, _, err := (&Batch{Base: 1, At: 1, Events: []Draft{{Event: &RoomRemoved{}}}}).Seal()
	if err != nil {
		t.Fatal(err)
	}
	head, bodies, err := Split(data)
	if err != nil {
		t.Fatal(err)
	}
	later := append([]byte(nil), head...)
	later[1] |= 1 << 7
	if _, err := ParseEntry(later, bodies); !errors.Is(err, ErrCorrupt) {
		t.Errorf("unknown flag: %v, want ErrCorrupt", err)
	}
	data, _, err = (&Batch{Base: math.MaxUint64, At: 1, Events: []Draft{{Event: &RoomRemoved{}}, {Event: &RoomRemoved{}}}}).Seal()
	if err == nil {
		if head, bodies, err = Split(data); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseEntry(head, bodies); !errors.Is(err, ErrCorrupt) {
			t.Errorf("offsets beyond the largest: %v, want ErrCorrupt", err)
		}
	}
}

// An entry of a few bytes may claim any length.
func TestHostileLengths(t *testing.T) {
	for _, l := range []uint64{maxHeaderBytes + 1, MaxEntryBytes + 1, math.MaxInt64, math.MaxUint64} {
		b := binary.AppendUvarint([]byte{entryVersion, 0}, l)
		if _, _, err := Split(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("header of %d bytes: %v, want ErrCorrupt", l, err)
		}
		b = binary.AppendUvarint([]byte{entryVersion, 0, 0}, l)
		if _, _, err := Split(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("events of %d bytes: %v, want ErrCorrupt", l, err)
		}
	}
	h := header{base: 1, at: 1, count: 1, eventsLen: MaxEntryBytes}
	hb := wire.Marshal(&h)
	b := append(binary.AppendUvarint([]byte{entryVersion, flagEventsS2}, uint64(len(hb))), hb...)
	block := append(binary.AppendUvarint(nil, MaxEntryBytes), 0) // an S2 block that claims 16 MiB
	b = append(binary.AppendUvarint(b, uint64(len(block))), block...)
	if _, err := ParseEntry(b, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("compressed bomb: %v, want ErrCorrupt", err)
	}
}
