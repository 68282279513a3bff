package event

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"parley/log/wire"
)

// draw fills a value with anything its type can hold.
func draw(t *rapid.T, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	case reflect.String:
		v.SetString(rapid.String().Draw(t, name))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Max(^uint64(0)>>(64-v.Type().Bits())).Draw(t, name))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, name))
	case reflect.Array:
		for i, b := range rapid.SliceOfN(rapid.Byte(), v.Len(), v.Len()).Draw(t, name) {
			v.Index(i).SetUint(uint64(b))
		}
	case reflect.Slice:
		// proto3 has no empty list: it is the same as none.
		if n := rapid.IntRange(0, 3).Draw(t, name); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				draw(t, v.Index(i), name)
			}
		}
	default:
		t.Fatalf("%s: what is a %s?", name, v.Type())
	}
}

func drawBatch(t *rapid.T) Batch {
	b := Batch{
		Base: Offset(rapid.Uint64Range(1, 1<<62).Draw(t, "base")),
		At:   Time(rapid.Int64().Draw(t, "at")),
	}
	draw(t, reflect.ValueOf(&b.Prev).Elem(), "prev")
	all := make([]Kind, 0, len(kinds))
	for k := range kinds {
		all = append(all, k)
	}
	slices.Sort(all)
	for range rapid.IntRange(1, 8).Draw(t, "events") {
		d := Draft{Event: kinds[rapid.SampledFrom(all).Draw(t, "kind")].make()}
		draw(t, reflect.ValueOf(&d.Meta).Elem(), "meta")
		draw(t, reflect.ValueOf(d.Event).Elem(), "event")
		b.Events = append(b.Events, d)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBatch(t)
		data, chain, err := b.Seal()
		if err != nil {
			t.Fatal(err)
		}
		head, bodies, err := Split(data)
		if err != nil {
			t.Fatal(err)
		}
		if got := append(bytes.Clone(head), bodies...); !bytes.Equal(got, data) {
			t.Fatal("head and bodies are not the data")
		}
		e, envelopes, err := parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if e.Base != b.Base || e.At != b.At || e.Prev != b.Prev || e.Chain != chain || e.Len() != len(b.Events) || e.Last() != b.Base+Offset(len(b.Events))-1 {
			t.Fatalf("frame is %+v", e)
		}
		for i, v := range envelopes {
			if v.Offset != b.Base+Offset(i) || v.At != b.At || v.Index != 7 || v.Erased {
				t.Fatalf("event %d is at %d, %s, entry %d, erased %v", i, v.Offset, v.At, v.Index, v.Erased)
			}
			if v.Meta != b.Events[i].Meta || !reflect.DeepEqual(v.Event, b.Events[i].Event) {
				t.Fatalf("event %d was %+v %+v and is %+v %+v", i, b.Events[i].Meta, b.Events[i].Event, v.Meta, v.Event)
			}
		}
		if last := envelopes[len(envelopes)-1].Chain; last != chain {
			t.Fatalf("chain is %s, want %s", last, chain)
		}
		// What is chained can be verified without the bodies.
		alone, err := ParseEntry(head, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := alone.Verify(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAlteredEntryIsFound changes one bit of an entry: either it is refused, or it means the same.
func TestAlteredEntryIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBatch(t)
		data, _, err := b.Seal()
		if err != nil {
			t.Fatal(err)
		}
		_, want, err := parse(data)
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.IntRange(0, len(data)-1).Draw(t, "byte")
		altered := bytes.Clone(data)
		altered[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		_, got, err := parse(altered)
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("byte %d of %d altered, and the entry reads as\n%+v\ninstead of\n%+v", at, len(data), got, want)
		}
	})
}

func TestUnknownKind(t *testing.T) {
	kind := Kind(9999)
	payload := []byte("a later version knows")
	raw := written(t, func(c *wire.Coder) {
		c.Sub(1, fullMeta.code)
		wire.Uint(c, 2, &kind)
		c.Bytes(3, &payload)
	})
	s := stored{}
	if err := wire.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	e := &Entry{Base: 3, At: 4, raw: [][]byte{raw}, bodies: make([][]byte, 1), erased: make([]bool, 1), whole: true}
	e.Chain = e.Prev.next(3, 4, leafHash(raw))
	got, err := e.Envelopes(1)
	if err != nil {
		t.Fatal(err)
	}
	want := &Unknown{Type: kind, Payload: payload}
	if !reflect.DeepEqual(got[0].Event, want) || got[0].Meta != fullMeta || got[0].Kind() != kind {
		t.Errorf("read %+v, want %+v", got[0], want)
	}
	b := Batch{Base: 1, At: 1, Events: []Draft{{Event: got[0].Event}}}
	if _, _, err := b.Seal(); err == nil {
		t.Error("sealed an unknown event without its payload")
	}
}
