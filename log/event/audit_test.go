package event

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// auditedAs compares what an auditor says of an entry with what a reader gets.
func auditedAs(a *Auditor, data []byte) error {
	head, bodies, err := Split(data)
	if err != nil {
		return nil
	}
	var want []Envelope
	e, readErr := ParseEntry(head, bodies)
	if readErr == nil {
		want, readErr = e.Envelopes(7)
	}
	got, told, err := a.Audit(head, bodies, 7, func(k Kind) bool { return k == KindMessagesRemoved }, nil)
	if (err == nil) != (readErr == nil) {
		return fmt.Errorf("Audit says %v, a reader gets %v", err, readErr)
	}
	if err != nil {
		return nil
	}
	if b := (Audited{e.Base, e.Last(), e.At, e.Prev, e.Chain}); got != b {
		return fmt.Errorf("Audit says %+v, want %+v", got, b)
	}
	var matter []Envelope
	for _, v := range want {
		if _, removes := v.Event.(*MessagesRemoved); removes || v.Erased {
			v.Chain = Chain{}
			matter = append(matter, v)
		}
	}
	if !reflect.DeepEqual(told, matter) {
		return fmt.Errorf("Audit tells of\n%+v, want\n%+v", told, matter)
	}
	return nil
}

// TestAudit: the auditor finds what a reader finds, with one memory for everything: for each golden, for one with lawfully erased
// bodies, and for each bit flipped of entries as they are and compressed.
func TestAudit(t *testing.T) {
	var a Auditor
	entries := map[string][]byte{}
	for name, g := range readGoldens(t) {
		entries[name] = g.data
	}
	for _, long := range []bool{false, true} {
		text := "hello"
		if long {
			text = strings.Repeat("hello ", 200)
		}
		data, _ := mustSeal(t, Batch{Base: 5, At: 3, Prev: Chain{1}, Events: []Draft{
			{fullMeta, &Posted{MessageID: 1, Text: text}}, {fullMeta, &Joined{Endpoint: "e"}}, {fullMeta, &Posted{MessageID: 2, Text: text + "!"}},
			{fullMeta, &MessagesRemoved{Messages: []MessageRef{{1, 1}}, Text: "gone"}}}})
		head, bodies, err := Split(data)
		if err != nil {
			t.Fatal(err)
		}
		erased, _, err := Erase(head, bodies, []int{2})
		if err != nil {
			t.Fatal(err)
		}
		entries[fmt.Sprint("whole, long ", long)] = data
		entries[fmt.Sprint("erased, long ", long)] = append(bytes.Clone(head), erased...)
	}
	for name, data := range entries {
		if err := auditedAs(&a, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(name, "long") {
			continue
		}
		for at := range 8 * len(data) {
			flipped := bytes.Clone(data)
			flipped[at/8] ^= 1 << (at % 8)
			if err := auditedAs(&a, flipped); err != nil {
				t.Errorf("%s, bit %d: %v", name, at, err)
			}
		}
	}
}
