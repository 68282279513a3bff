package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/s2"

	"parley/log/wire"
)

// Seal encodes the batch as the data of a Raft entry and returns the chain value after its last event. It is Link and
// Linked.Seal at once, for whoever needs no more of it.
func (b *Batch) Seal() (data []byte, last Chain, err error) {
	var l Linked
	if err := l.Link(b); err != nil {
		return nil, Chain{}, err
	}
	s, err := l.Seal(new(Press))
	if err != nil {
		return nil, Chain{}, err
	}
	return s.Data, l.Chain, nil
}

// Linked is a batch with its place in the chain. What follows upon it can be decided before it has its stored form. The zero
// value is ready for Link; when it was sealed it is ready for the next batch, in the same memory.
type Linked struct {
	Chain          Chain // after its last event
	header         header
	events, bodies []byte // uncompressed
	links          []link // of each event
}

// link is the place of an event in the chain.
type link struct {
	leaf  [sha256.Size]byte
	chain Chain // after it
}

const sizeofLink = 2 * sha256.Size

// Link encodes the events and continues the chain. The leader calls it once for a batch; every other node only ever hashes the
// bytes that it got.
func (l *Linked) Link(b *Batch) error {
	if len(b.Events) == 0 || len(b.Events) > MaxBatchEvents {
		return fmt.Errorf("seal batch at %d: %d events, want 1 to %d", b.Base, len(b.Events), MaxBatchEvents)
	}
	if cap(l.events) > pressKeeps || cap(l.bodies) > pressKeeps || cap(l.links)*sizeofLink > pressKeeps {
		*l = Linked{}
	}
	l.Chain, l.events, l.bodies, l.links = b.Prev, l.events[:0], l.bodies[:0], resized(l.links, uint64(len(b.Events)))
	var e encoder
	for i := range b.Events {
		raw, body, err := e.encode(&b.Events[i])
		if err != nil {
			return fmt.Errorf("seal event %d of batch at %d: %w", i, b.Base, err)
		}
		if i == 0 { // the others are probably like it
			room := 5 * len(b.Events) / 4
			l.events = slices.Grow(l.events, room*(len(raw)+binary.MaxVarintLen16))
			l.bodies = slices.Grow(l.bodies, room*len(body))
		}
		l.events = binary.AppendUvarint(l.events, uint64(len(raw)))
		l.events = append(l.events, raw...)
		if body != nil {
			l.bodies = appendBody(l.bodies, i, bodyPresent, body)
		}
		leaf := leafHash(raw)
		l.Chain = l.Chain.next(b.Base+Offset(i), b.At, leaf)
		l.links[i] = link{leaf, l.Chain}
	}
	l.header = header{base: b.Base, at: b.At, prev: b.Prev, chain: l.Chain, count: uint64(len(b.Events)),
		eventsLen: uint64(len(l.events)), bodiesLen: uint64(len(l.bodies))}
	if l.header.eventsLen+l.header.bodiesLen > MaxEntryBytes {
		return fmt.Errorf("seal batch at %d: %d bytes, at most %d", b.Base, l.header.eventsLen+l.header.bodiesLen, MaxEntryBytes)
	}
	return nil
}

// Sealed is a batch in its stored form and what that says when it is read.
type Sealed struct {
	Data      []byte // of the Raft entry; not to be changed
	sum       uint32 // of it
	prev      Chain
	envelopes []Envelope // without their index
}

// Press is memory for Seal to work in. Its zero value is ready; one goroutine uses it.
type Press struct {
	events, bodies []byte
	auditor        Auditor
}

// Seal brings the batch into its stored form and reads that back: what does not come out as it went in, or cannot be
// decoded, is refused here, on the node that made it.
func (l *Linked) Seal(p *Press) (*Sealed, error) {
	s := &Sealed{Data: l.data(p), prev: l.header.prev}
	s.sum = crc32.Checksum(s.Data, castagnoli)
	head, bodies, err := Split(s.Data)
	if err != nil {
		return nil, fmt.Errorf("read back batch at %d: %w", l.header.base, err)
	}
	e, from := &p.auditor.entry, &p.auditor.parser
	if err := from.parse(e, head, bodies); err != nil {
		return nil, fmt.Errorf("read back batch at %d: %w", l.header.base, err)
	}
	if from.header != l.header || !bytes.Equal(from.plain[0], l.events) || !bytes.Equal(from.plain[1], l.bodies) {
		return nil, fmt.Errorf("read back batch at %d: it is not what was written: %w", l.header.base, ErrCorrupt)
	}
	s.envelopes = make([]Envelope, len(l.links))
	for i := range l.links {
		h, err := e.decodeHead(&p.auditor.c, i)
		if err == nil {
			err = e.decodeBody(&p.auditor.c, i, &h.draft)
		}
		if err != nil {
			return nil, fmt.Errorf("read back batch at %d: %w", l.header.base, err)
		}
		s.envelopes[i] = Envelope{Offset: e.Base + Offset(i), At: e.At, Chain: l.links[i].chain, Leaf: l.links[i].leaf,
			Meta: h.draft.Meta, Event: h.draft.Event}
	}
	from.shrink(pressKeeps)
	return s, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Is reports whether data is the memory of s.Data.
func (s *Sealed) Is(data []byte) bool { return len(data) == len(s.Data) && &data[0] == &s.Data[0] }

// Read returns the chain value before the events, and the events at an index. It reports false when the data was altered
// after it was sealed. It is called once.
func (s *Sealed) Read(index Index) (Chain, []Envelope, bool) {
	if crc32.Checksum(s.Data, castagnoli) != s.sum {
		return Chain{}, nil, false
	}
	for i := range s.envelopes {
		s.envelopes[i].Index = index
	}
	return s.prev, s.envelopes, true
}

// data returns the data of the Raft entry.
func (l *Linked) data(p *Press) []byte {
	events, bodies := l.events, l.bodies
	var flags byte
	if len(events)+len(bodies) > compressAbove {
		var small bool
		if events, small = compress(&p.events, events); small {
			flags |= flagEventsS2
		}
		if bodies, small = compress(&p.bodies, bodies); small {
			flags |= flagBodiesS2
		}
	}
	hb := wire.Marshal(&l.header)
	data := make([]byte, 0, 2+len(hb)+len(events)+len(bodies)+2*binary.MaxVarintLen32)
	data = append(data, entryVersion, flags)
	data = binary.AppendUvarint(data, uint64(len(hb)))
	data = append(data, hb...)
	data = binary.AppendUvarint(data, uint64(len(events)))
	data = append(data, events...)
	return append(data, bodies...)
}

// pressKeeps bounds the memory that a Press keeps for the next entry, in bytes a block.
const pressKeeps = 1 << 20

// compress returns block compressed in *room, if that is smaller, and whether it is.
func compress(room *[]byte, block []byte) ([]byte, bool) {
	if len(block) == 0 {
		return block, false
	}
	if n := s2.MaxEncodedLen(len(block)); cap(*room) < n && n <= pressKeeps {
		*room = make([]byte, n)
	}
	// Encode makes memory of its own where the room is not enough.
	if z := s2.Encode((*room)[:cap(*room)], block); len(z) < len(block) {
		return z, true
	}
	return block, false
}
