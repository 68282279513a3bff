package command

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"parley/log/wire"
)

// fill gives every exported field below v a value that is not zero, and every list one element.
func fill(v reflect.Value, n *uint64) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		v.SetUint(1 + *n%200)
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(-int64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	}
}

// fullRequest has a value in every field of the origin and of the command.
func fullRequest(number uint16) *Request {
	n := uint64(number)
	q := &Request{Command: commands[number]()}
	fill(reflect.ValueOf(&q.Origin).Elem(), &n)
	fill(reflect.ValueOf(q.Command).Elem(), &n)
	return q
}

func commandNumbers() (all []uint16) {
	for n := range commands {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// FuzzRequest feeds anything to the reader of forwarded requests. What it accepts can be written, and then reads the
// same and is written the same.
func FuzzRequest(f *testing.F) {
	for _, n := range commandNumbers() {
		f.Add(wire.Marshal(fullRequest(n)))
		f.Add(wire.Marshal(&Request{Command: commands[n]()}))
	}
	f.Fuzz(func(t *testing.T, b []byte) { roundTrip(t, b, new(Request), new(Request)) })
}

// FuzzReply does the same with the answers of the leader.
func FuzzReply(f *testing.F) {
	var full Reply
	n := uint64(0)
	fill(reflect.ValueOf(&full).Elem(), &n)
	f.Add(wire.Marshal(&full))
	full.Refusal = nil
	f.Add(wire.Marshal(&full))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) { roundTrip(t, b, new(Reply), new(Reply)) })
}

func roundTrip(t *testing.T, b []byte, first, second wire.Message) {
	if wire.Unmarshal(b, first) != nil {
		return
	}
	out := wire.Marshal(first)
	if err := wire.Unmarshal(out, second); err != nil {
		t.Fatalf("%+v was read and written, and cannot be read again: %v", first, err)
	}
	if !reflect.DeepEqual(first, second) {
		t.Fatalf("%+v was read and written, and reads as %+v", first, second)
	}
	if again := wire.Marshal(second); !bytes.Equal(again, out) {
		t.Fatalf("%+v was written as %x and as %x", first, out, again)
	}
}
