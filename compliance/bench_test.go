package compliance_test

import (
	"fmt"
	"io"
	"testing"

	"parley/compliance"
	"parley/compliance/actiance"
	"parley/compliance/adaptertest"
	"parley/compliance/csv"
	"parley/compliance/eml"
	"parley/compliance/jsonl"
	"parley/compliance/lyncxml"
	"parley/log/event"
	"parley/projections/chat"
)

// benchEvents is the size of a cut in the benchmarks: the default of a feed.
const benchEvents = compliance.DefaultMaxEvents

// bench is a log of posts in a hundred rooms, as an export reads it: from memory, so that the figure is the adapter's and the
// fold's.
type bench struct {
	*adaptertest.World
	tail []event.Envelope
}

func (b *bench) Read(from event.Offset, n int) ([]event.Envelope, error) {
	if head := b.Head(); from > head {
		i := int(from - head - 1)
		return b.tail[i:min(len(b.tail), i+n)], nil
	}
	return b.World.Read(from, n)
}

func newBench(t testing.TB) (*bench, *chat.State) {
	w, _ := adaptertest.Scene()
	var rooms []event.RoomID
	for i := range 100 {
		id := event.RoomID(fmt.Sprintf("44444444-4444-4444-8444-%012d", i))
		w.Must(trusted(&chat.CreateRoom{ID: id, Info: event.RoomInfo{Name: fmt.Sprint("Room ", i), Category: adaptertest.General, Type: event.RoomNormal, Privacy: event.PrivacyOpen, Invitations: event.InvitationsInherit}}))
		rooms = append(rooms, id)
	}
	b := &bench{World: w}
	base, err := compliance.StateAt(t.Context(), w, w.Head())
	if err != nil {
		t.Fatal(err)
	}
	text := "A message of the length that people write: a sentence or two, here and there with a number such as 4711 & a <tag>."
	for i := range benchEvents {
		b.tail = append(b.tail, event.Envelope{Offset: w.Head() + 1 + event.Offset(i), At: base.At() + event.Time(i+1)*1e6, Leaf: [32]byte{1: byte(i)}, Chain: event.Chain{1: byte(i)},
			Meta: event.Meta{By: adaptertest.Alice, Room: rooms[i%100], Node: "n1"}, Event: &event.Posted{Endpoint: "e", MessageID: uint64(i/100 + 1), Text: text}})
	}
	return b, base
}

// nowhere is an FS that takes everything and keeps nothing.
type nowhere struct{ *compliance.Memory }

func (n nowhere) Create(string) (compliance.File, error) { return void{io.Discard}, nil }
func (n nowhere) Link(string, string) error              { return nil }
func (n nowhere) Remove(string) error                    { return nil }

type void struct{ io.Writer }

func (void) Sync() error  { return nil }
func (void) Close() error { return nil }

// BenchmarkExport measures events a second: the run with its fold, the form, the hash.
func BenchmarkExport(b *testing.B) {
	src, base := newBench(b)
	for _, k := range []*compliance.Kind{&jsonl.Kind, &csv.Kind, &lyncxml.Kind, &actiance.Kind, &eml.Kind} {
		b.Run(k.Name, func(b *testing.B) {
			a, err := k.New(compliance.Env{FS: nowhere{compliance.NewMemory()}, Dir: "x"}, compliance.NewOptions(nil))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				cut, run, err := compliance.NewCut("f", src.Head()+1, src.Head()+benchEvents, base, src, nil)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := a.Deliver(b.Context(), cut, run); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
		})
	}
}
