package event

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
)

// Limits of an entry. They bound memory on every node that reads one.
const (
	MaxBatchEvents = 1 << 16  // events in one entry: a room of 60,000 can be closed with one decision
	MaxEntryBytes  = 16 << 20 // bytes of one entry once uncompressed
)

const (
	entryVersion   = 1
	flagEventsS2   = 1 << 0
	flagBodiesS2   = 1 << 1
	compressAbove  = 1 << 10 // bytes: smaller blocks are left as they are
	bodyPresent    = 1
	bodyErased     = 2
	chainDomain    = 0x02 // 0x00 and 0x01 are RFC 6962's leaf and node
	leafDomain     = 0x00
	maxHeaderBytes = 1 << 10
)

// Batch is what one Raft entry carries before it is sealed: events decided together, the offset that the first
// of them expects, the instant that all of them get, and the chain value they expect to land on.
type Batch struct {
	Base   Offset
	At     Time
	Prev   Chain
	Events []Draft
}

// Seal encodes the batch as the data of a Raft entry and returns the chain value after its last event. The
// leader calls it once, or Link and Data, which it is made of; every other node only ever hashes the bytes it got.
func (b *Batch) Seal() (data []byte, last Chain, err error) {
	l, err := b.Link()
	if err != nil {
		return nil, Chain{}, err
	}
	return l.Data(nil), l.Chain, nil
}

// Linked is a batch with its place in the chain. What follows upon it can be decided before it has its stored form.
type Linked struct {
	Chain          Chain // after its last event
	header         header
	events, bodies []byte // uncompressed
}

// Link encodes the events and continues the chain.
func (b *Batch) Link() (*Linked, error) {
	if len(b.Events) == 0 || len(b.Events) > MaxBatchEvents {
		return nil, fmt.Errorf("seal batch at %d: %d events, want 1 to %d", b.Base, len(b.Events), MaxBatchEvents)
	}
	l := &Linked{Chain: b.Prev}
	var e encoder
	for i := range b.Events {
		raw, body, err := e.encode(&b.Events[i])
		if err != nil {
			return nil, fmt.Errorf("seal event %d of batch at %d: %w", i, b.Base, err)
		}
		if i == 0 { // the others are probably like it
			room := 5 * len(b.Events) / 4
			l.events = make([]byte, 0, room*(len(raw)+binary.MaxVarintLen16))
			l.bodies = make([]byte, 0, room*len(body))
		}
		l.events = binary.AppendUvarint(l.events, uint64(len(raw)))
		l.events = append(l.events, raw...)
		if body != nil {
			l.bodies = appendBody(l.bodies, i, bodyPresent, body)
		}
		l.Chain = l.Chain.next(b.Base+Offset(i), b.At, leafHash(raw))
	}
	l.header = header{base: b.Base, at: b.At, prev: b.Prev, chain: l.Chain, count: uint64(len(b.Events)),
		eventsLen: uint64(len(l.events)), bodiesLen: uint64(len(l.bodies))}
	if l.header.eventsLen+l.header.bodiesLen > MaxEntryBytes {
		return nil, fmt.Errorf("seal batch at %d: %d bytes, at most %d", b.Base, l.header.eventsLen+l.header.bodiesLen, MaxEntryBytes)
	}
	return l, nil
}

// Press is memory for Data to compress in. Its zero value is ready; one goroutine uses it.
type Press struct{ events, bodies []byte }

// Data returns the data of the Raft entry. What it compresses in is p's, which may be nil.
func (l *Linked) Data(p *Press) []byte {
	if p == nil {
		p = new(Press)
	}
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
	hb := Marshal(&l.header)
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

func appendBody(b []byte, pos int, state byte, body []byte) []byte {
	b = binary.AppendUvarint(b, uint64(pos))
	b = append(b, state)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

func leafHash(raw []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte{leafDomain})
	h.Write(raw)
	return [sha256.Size]byte(h.Sum(nil))
}

// next returns the chain value after one more event:
// SHA-256(0x02, previous chain, offset, at, leaf hash), integers as 8 bytes big-endian.
func (c Chain) next(o Offset, at Time, leaf [sha256.Size]byte) Chain {
	var b [1 + sha256.Size + 16 + sha256.Size]byte
	b[0] = chainDomain
	copy(b[1:], c[:])
	binary.BigEndian.PutUint64(b[33:], uint64(o))
	binary.BigEndian.PutUint64(b[41:], uint64(at))
	copy(b[49:], leaf[:])
	return sha256.Sum256(b[:])
}

type header struct {
	base      Offset
	at        Time
	prev      Chain
	chain     Chain
	count     uint64
	eventsLen uint64 // uncompressed
	bodiesLen uint64 // uncompressed, as written: erasure may shorten the block later
}

// Code visits the fields.
func (h *header) Code(c *Coder) {
	Uint(c, 1, &h.base)
	Int(c, 2, &h.at)
	c.Fixed(3, h.prev[:])
	c.Fixed(4, h.chain[:])
	Uint(c, 5, &h.count)
	Uint(c, 6, &h.eventsLen)
	Uint(c, 7, &h.bodiesLen)
}

// encoder encodes one event after the other in the same memory.
type encoder struct{ event, body Coder }

// encode returns the stored bytes of an event and of its body, nil if it has none, until the next call.
func (e *encoder) encode(d *Draft) (raw, body []byte, err error) {
	c := &e.event
	*c = Coder{out: c.out[:0]}
	c.Sub(1, d.Meta.code)
	kind := d.Event.Kind()
	Uint(c, 2, &kind)
	c.Sub(3, d.Event.code)
	if b, ok := d.Event.(Bodied); ok {
		bc := &e.body
		*bc = Coder{out: bc.out[:0]}
		b.codeBody(bc)
		if bc.err != nil {
			return nil, nil, bc.err
		}
		if body = bc.out; body == nil {
			body = []byte{}
		}
		sum := sha256.Sum256(body)
		c.Fixed(4, sum[:])
	}
	return c.out, body, c.err
}

// Size returns how many bytes the draft takes in an entry, bodies included, before compression and give or take a
// few: what a packer needs. An error says that the draft can never be sealed.
func (d *Draft) Size() (int, error) {
	c := Coder{counting: true}
	c.Sub(1, d.Meta.code)
	c.Sub(3, d.Event.code)
	if b, ok := d.Event.(Bodied); ok {
		c.Sub(5, b.codeBody)
	}
	return c.size, c.err
}

// Split divides the data of a Raft entry into the part that is chained (head) and the erasable part (bodies).
// The two are stored in rows of their own; append(head, bodies...) is the data again.
func Split(data []byte) (head, bodies []byte, err error) {
	n, err := headLen(data)
	if err != nil {
		return nil, nil, err
	}
	return data[:n:n], data[n:], nil
}

func headLen(data []byte) (int, error) {
	if len(data) < 2 || data[0] != entryVersion {
		return 0, fmt.Errorf("entry: unknown format version or too short (%d bytes): %w", len(data), ErrCorrupt)
	}
	at := 2
	for _, limit := range []uint64{maxHeaderBytes, MaxEntryBytes} {
		l, n := binary.Uvarint(data[at:])
		if n <= 0 || l > limit || l > uint64(len(data)-at-n) {
			return 0, fmt.Errorf("entry: block length out of range: %w", ErrCorrupt)
		}
		at += n + int(l)
	}
	return at, nil
}

// Entry is the decoded frame of a Raft entry. Its events are still raw bytes.
type Entry struct {
	Base   Offset
	At     Time
	Prev   Chain
	Chain  Chain // after the last event, as the leader wrote it
	raw    [][]byte
	bodies [][]byte // nil: none
	erased []bool
	whole  bool // bodies were given
}

// Len returns the number of events.
func (e *Entry) Len() int { return len(e.raw) }

// Last returns the offset of the last event.
func (e *Entry) Last() Offset { return e.Base + Offset(len(e.raw)) - 1 }

// ParseEntry reads the frame of an entry. With bodies nil only the chained part is looked at; an entry without
// bodies has an empty, non-nil block.
func ParseEntry(head, bodies []byte) (*Entry, error) {
	n, err := headLen(head)
	if err != nil {
		return nil, err
	}
	if n != len(head) {
		return nil, fmt.Errorf("entry: %d bytes after its events: %w", len(head)-n, ErrCorrupt)
	}
	flags := head[1]
	hl, k := binary.Uvarint(head[2:])
	hb := head[2+k : 2+k+int(hl)]
	rest := head[2+k+int(hl):]
	_, k = binary.Uvarint(rest)
	block := rest[k:]
	var h header
	if err := Unmarshal(hb, &h); err != nil {
		return nil, fmt.Errorf("entry header: %w", err)
	}
	if flags&^(flagEventsS2|flagBodiesS2) != 0 {
		return nil, fmt.Errorf("entry: unknown flags %#x: %w", flags, ErrCorrupt)
	}
	if h.base == 0 || uint64(h.base)+h.count < h.count || h.count == 0 || h.count > MaxBatchEvents || h.eventsLen > MaxEntryBytes || h.bodiesLen > MaxEntryBytes {
		return nil, fmt.Errorf("entry header: base %d, %d events, %d+%d bytes: %w", h.base, h.count, h.eventsLen, h.bodiesLen, ErrCorrupt)
	}
	events, err := inflate(block, flags&flagEventsS2 != 0, h.eventsLen)
	if err == nil && uint64(len(events)) != h.eventsLen {
		err = fmt.Errorf("block of %d bytes, want %d: %w", len(events), h.eventsLen, ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("entry events: %w", err)
	}
	e := &Entry{Base: h.base, At: h.at, Prev: h.prev, Chain: h.chain, raw: make([][]byte, 0, h.count)}
	for len(events) > 0 {
		l, n := binary.Uvarint(events)
		if n <= 0 || l > uint64(len(events)-n) {
			return nil, fmt.Errorf("entry event %d: length out of range: %w", len(e.raw), ErrCorrupt)
		}
		e.raw = append(e.raw, events[n:n+int(l):n+int(l)])
		events = events[n+int(l):]
	}
	if uint64(len(e.raw)) != h.count {
		return nil, fmt.Errorf("entry has %d events, its header says %d: %w", len(e.raw), h.count, ErrCorrupt)
	}
	if bodies == nil {
		return e, nil
	}
	return e, e.addBodies(bodies, flags&flagBodiesS2 != 0, h.bodiesLen)
}

func (e *Entry) addBodies(block []byte, compressed bool, size uint64) error {
	e.whole = true
	e.bodies = make([][]byte, len(e.raw))
	e.erased = make([]bool, len(e.raw))
	block, err := inflate(block, compressed, size)
	if err != nil {
		return fmt.Errorf("entry bodies: %w", err)
	}
	for last := -1; len(block) > 0; {
		pos, n := binary.Uvarint(block)
		if n <= 0 || pos >= uint64(len(e.raw)) || int(pos) <= last || n >= len(block) {
			return fmt.Errorf("entry body: position out of range: %w", ErrCorrupt)
		}
		last = int(pos)
		state := block[n]
		block = block[n+1:]
		l, n := binary.Uvarint(block)
		if n <= 0 || l > uint64(len(block)-n) || (state != bodyPresent && state != bodyErased) {
			return fmt.Errorf("entry body %d: bad frame: %w", pos, ErrCorrupt)
		}
		e.bodies[pos] = block[n : n+int(l) : n+int(l)]
		e.erased[pos] = state == bodyErased
		block = block[n+int(l):]
	}
	return nil
}

// inflate returns the plain bytes of a block of at most size bytes.
func inflate(block []byte, compressed bool, size uint64) ([]byte, error) {
	if !compressed {
		if uint64(len(block)) > size {
			return nil, fmt.Errorf("block of %d bytes, want at most %d: %w", len(block), size, ErrCorrupt)
		}
		return block, nil
	}
	if n, err := s2.DecodedLen(block); err != nil || uint64(n) > size {
		return nil, fmt.Errorf("compressed block has more than %d bytes: %w", size, ErrCorrupt)
	}
	out, err := s2.Decode(nil, block)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	return out, nil
}

// ErrChain says that an entry does not continue the chain, or that its events are not those the leader hashed.
var ErrChain = fmt.Errorf("chain broken: %w", ErrCorrupt)

// Verify recomputes the chain over the stored event bytes and, where the bodies were given, the hash of every
// body that was not erased.
func (e *Entry) Verify() error {
	chain := e.Prev
	for i, raw := range e.raw {
		chain = chain.next(e.Base+Offset(i), e.At, leafHash(raw))
	}
	if chain != e.Chain {
		return fmt.Errorf("events %d to %d: %w", e.Base, e.Last(), ErrChain)
	}
	if !e.whole {
		return nil
	}
	var c Coder
	for i := range e.raw {
		if _, err := e.decode(&c, i); err != nil {
			return err
		}
	}
	return nil
}

// Envelopes decodes all events of the entry. It needs the bodies.
func (e *Entry) Envelopes(index Index) ([]Envelope, error) {
	if !e.whole {
		return nil, errors.New("entry was read without its bodies")
	}
	out := make([]Envelope, len(e.raw))
	chain := e.Prev
	var c Coder
	for i, raw := range e.raw {
		d, err := e.decode(&c, i)
		if err != nil {
			return nil, err
		}
		leaf := leafHash(raw)
		chain = chain.next(e.Base+Offset(i), e.At, leaf)
		out[i] = Envelope{Offset: e.Base + Offset(i), At: e.At, Chain: chain, Index: index, Meta: d.Meta, Event: d.Event,
			Leaf: leaf, Erased: e.erased[i]}
	}
	if chain != e.Chain {
		return nil, fmt.Errorf("events %d to %d: %w", e.Base, e.Last(), ErrChain)
	}
	return out, nil
}

// stored is the frame of one event: message Event of event.proto.
type stored struct {
	draft    Draft
	payload  []byte
	kind     Kind
	bodyHash []byte
}

// Code visits the fields for reading; Draft.encode writes them.
func (s *stored) Code(c *Coder) {
	c.Sub(1, s.draft.Meta.code)
	Uint(c, 2, &s.kind)
	if f := c.find(3, 2); f != nil {
		s.payload = f.buf
	}
	if f := c.find(4, 2); f != nil && len(f.buf) > 0 {
		s.bodyHash = f.buf
	}
}

// decode reads the event at a position with c, whose memory serves many.
func (e *Entry) decode(c *Coder, i int) (Draft, error) {
	s, err := e.decodeHead(c, i)
	if err != nil {
		return Draft{}, err
	}
	at := e.Base + Offset(i)
	body, erased := e.bodies[i], e.erased[i]
	switch {
	case s.bodyHash == nil && body != nil:
		return Draft{}, fmt.Errorf("event %d has a body that it does not vouch for: %w", at, ErrCorrupt)
	case s.bodyHash != nil && body == nil:
		return Draft{}, fmt.Errorf("event %d lacks its body: %w", at, ErrCorrupt)
	case s.bodyHash != nil && !erased:
		if sum := sha256.Sum256(body); string(sum[:]) != string(s.bodyHash) {
			return Draft{}, fmt.Errorf("event %d: its body is not the one that was written: %w", at, ErrCorrupt)
		}
	}
	if b, ok := s.draft.Event.(Bodied); ok && body != nil && !erased {
		if err := unmarshal(c, body, b.codeBody); err != nil {
			return Draft{}, fmt.Errorf("event %d (%s) body: %w", at, s.kind, err)
		}
	}
	return s.draft, nil
}

// decodeHead reads the event at a position without its body. What it returns is valid until c is used again, but for
// the draft.
func (e *Entry) decodeHead(c *Coder, i int) (s stored, err error) {
	at := e.Base + Offset(i)
	if err := unmarshal(c, e.raw[i], s.Code); err != nil {
		return stored{}, fmt.Errorf("event %d: %w", at, err)
	}
	def, ok := kinds[s.kind]
	if !ok {
		s.draft.Event = &Unknown{Type: s.kind, Payload: append([]byte(nil), s.payload...)}
		return s, nil
	}
	s.draft.Event = def.make()
	if err := unmarshal(c, s.payload, s.draft.Event.code); err != nil {
		return stored{}, fmt.Errorf("event %d (%s): %w", at, s.kind, err)
	}
	return s, nil
}
