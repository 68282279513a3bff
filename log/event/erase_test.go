package event

import (
	"strings"
	"testing"
)

// Erasing leaves the chain, the leaves and the other bodies as they were, compressed or not, once or again.
func TestErase(t *testing.T) {
	for name, text := range map[string]string{"plain": "text", "compressed": strings.Repeat("text ", 1000), "empty": ""} {
		b := Batch{Base: 7, At: 5}
		for i := range 4 {
			b.Events = append(b.Events, Draft{Meta: Meta{Room: "r"}, Event: &Posted{MessageID: uint64(i + 1), Text: text}})
		}
		b.Events = append(b.Events, Draft{Event: &RoomRemoved{Name: "none"}})
		data, _, err := b.Seal()
		if err != nil {
			t.Fatal(err)
		}
		head, bodies, err := Split(data)
		if err != nil {
			t.Fatal(err)
		}
		read := func(bodies []byte) []Envelope {
			t.Helper()
			e, err := ParseEntry(head, bodies)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := e.Verify(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out, err := e.Envelopes(1)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return out
		}
		whole := read(bodies)
		for _, step := range []struct {
			positions []int
			gone      []bool
			erased    int
		}{
			{[]int{2, 0}, []bool{true, false, true, false, false}, 2},
			{[]int{0}, []bool{true, false, true, false, false}, 0},
			{[]int{0, 1, 2, 3}, []bool{true, true, true, true, false}, 2},
		} {
			out, n, err := Erase(head, bodies, step.positions)
			if err != nil || n != step.erased {
				t.Fatalf("%s, %v: %d erased, %v, want %d", name, step.positions, n, err, step.erased)
			}
			bodies = out
			got := read(bodies)
			for i, e := range got {
				if e.Erased != step.gone[i] || e.Chain != whole[i].Chain || e.Leaf != whole[i].Leaf {
					t.Errorf("%s, %v: event %d is %+v, was %+v", name, step.positions, i, e, whole[i])
				}
				p, ok := e.Event.(*Posted)
				if want := map[bool]string{true: "", false: text}[e.Erased]; ok && (p.Text != want || p.MessageID != uint64(i+1)) {
					t.Errorf("%s, %v: event %d has %q", name, step.positions, i, p.Text)
				}
			}
		}
		if text != "" && strings.Contains(string(bodies), "text") {
			t.Errorf("%s: the text is still there", name)
		}
		for _, bad := range []int{-1, 4, 5} {
			if _, _, err := Erase(head, bodies, []int{bad}); err == nil {
				t.Errorf("%s: position %d was erased", name, bad)
			}
		}
	}
	if _, _, err := Erase(nil, nil, nil); err == nil {
		t.Error("an entry without a head was taken")
	}
}
