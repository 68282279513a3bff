package event

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/klauspost/compress/s2"

	"parley/log/wire"
)

// compressLike compresses a block of bodies if the head says that it is.
func compressLike(head, block []byte) []byte {
	if head[1]&flagBodiesS2 != 0 {
		return s2.Encode(nil, block)
	}
	return block
}

// parse takes the data of an entry apart, verifies it and returns its events.
func parse(data []byte) (*Entry, []Envelope, error) {
	head, bodies, err := Split(data)
	if err != nil {
		return nil, nil, err
	}
	e, err := ParseEntry(head, bodies)
	if err != nil {
		return nil, nil, err
	}
	if err := e.Verify(); err != nil {
		return nil, nil, err
	}
	envelopes, err := e.Envelopes(7)
	return e, envelopes, err
}

func mustSeal(t testing.TB, b Batch) ([]byte, Chain) {
	t.Helper()
	data, chain, err := b.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return data, chain
}

// fill sets every field of a value to something that is not zero and tells fields apart.
func fill(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.String:
		v.SetString("the " + path + " ✓")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(len(path)))
	case reflect.Int64:
		v.SetInt(-int64(len(path)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(i + 1))
		}
	default:
		panic(fmt.Sprintf("%s: what is a %s?", path, v.Type()))
	}
}

// full returns an event of a kind, every field set.
func full(k Kind) Event {
	ev := kinds[k].make()
	fill(reflect.ValueOf(ev).Elem(), k.String())
	return ev
}

var fullMeta = Meta{By: "sip:alice@contoso.test", Room: "0f8fad5b-d9cb-469f-a165-70867728950e", Node: "n1",
	Command: CommandID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}

func written(t testing.TB, visit func(*wire.Coder)) []byte {
	t.Helper()
	b, err := new(wire.Coder).Write(visit)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
