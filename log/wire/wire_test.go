package wire

import (
	"errors"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

type small struct{ v int32 }

func (m *small) Code(c *Coder) { Int(c, 1, &m.v) }

type part struct {
	name string
	size uint16
}

func (p *part) code(c *Coder) {
	Str(c, 1, &p.name)
	Uint(c, 2, &p.size)
}

type whole struct {
	text  string
	texts []string
	bytes []byte
	yes   bool
	n     int64
	one   part
	many  []part
	id    [4]byte
}

func (w *whole) Code(c *Coder) {
	Str(c, 1, &w.text)
	Strs(c, 2, &w.texts)
	c.Bytes(3, &w.bytes)
	c.Bool(4, &w.yes)
	Int(c, 5, &w.n)
	c.Sub(6, w.one.code)
	Subs(c, 7, &w.many, (*part).code)
	c.Fixed(8, w.id[:])
}

func drawPart(t *rapid.T) part {
	return part{rapid.String().Draw(t, "name"), rapid.Uint16().Draw(t, "size")}
}

// What is written is read again, its size is known before, and memory that is used again makes no difference.
func TestRoundTrip(t *testing.T) {
	var writer, reader Coder
	rapid.Check(t, func(t *rapid.T) {
		in := whole{text: rapid.String().Draw(t, "text"), yes: rapid.Bool().Draw(t, "yes"), n: rapid.Int64().Draw(t, "n"), one: drawPart(t)}
		for range rapid.IntRange(0, 3).Draw(t, "repeated") {
			in.texts, in.many = append(in.texts, rapid.String().Draw(t, "of texts")), append(in.many, drawPart(t))
		}
		if b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"); len(b) > 0 {
			in.bytes = b
		}
		copy(in.id[:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "id"))
		b, err := writer.Write(in.Code)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := Size(in.Code); err != nil || n != len(b) {
			t.Fatalf("size %d, %v, want %d", n, err, len(b))
		}
		var out whole
		if err := reader.Read(b, out.Code); err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("%+v became %+v, %v", in, out, err)
		}
	})
}

func TestSmallNumbers(t *testing.T) {
	for _, v := range []int32{0, 1, -1, math.MaxInt32, math.MinInt32} {
		in := small{v}
		var out small
		if err := Unmarshal(Marshal(&in), &out); err != nil || out != in {
			t.Errorf("int32 %d became %d, %v", v, out, err)
		}
	}
	large := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1<<40)
	if err := Unmarshal(large, new(small)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a number too large for its type: %v, want ErrCorrupt", err)
	}
}

// Whoever writes is told what no reader would take.
func TestNotWritten(t *testing.T) {
	for name, w := range map[string]whole{
		"text that is not UTF-8": {text: "\xff"},
		"one of texts":           {texts: []string{"\xff"}},
		"too many fields":        {texts: make([]string, MaxFields+1)},
	} {
		if _, err := new(Coder).Write(w.Code); err == nil {
			t.Errorf("%s was written", name)
		}
		if _, err := Size(w.Code); err == nil {
			t.Errorf("%s has a size", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(Marshal(&whole{text: "a", texts: []string{"b", ""}, bytes: []byte{1}, yes: true, n: -1, one: part{"c", 1}, many: []part{{}, {"d", 2}}, id: [4]byte{1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in, out whole
		if Unmarshal(b, &in) != nil {
			return
		}
		if err := Unmarshal(Marshal(&in), &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("%+v was read and written, and reads as %+v, %v", in, out, err)
		}
	})
}
