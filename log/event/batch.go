package event

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"

	"parley/log/wire"
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

func appendBody(b []byte, pos int, state byte, body []byte) []byte {
	b = binary.AppendUvarint(b, uint64(pos))
	b = append(b, state)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

func leafHash(raw []byte) [sha256.Size]byte {
	// Most events are small, and hashing a copy at once is cheaper than a hash with state.
	var small [512]byte
	if len(raw) < len(small) {
		small[0] = leafDomain
		return sha256.Sum256(small[:1+copy(small[1:], raw)])
	}
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
func (h *header) Code(c *wire.Coder) {
	wire.Uint(c, 1, &h.base)
	wire.Int(c, 2, &h.at)
	c.Fixed(3, h.prev[:])
	c.Fixed(4, h.chain[:])
	wire.Uint(c, 5, &h.count)
	wire.Uint(c, 6, &h.eventsLen)
	wire.Uint(c, 7, &h.bodiesLen)
}

// encoder encodes one event after the other in the same memory.
type encoder struct{ event, body wire.Coder }

// encode returns the stored bytes of an event and of its body, nil if it has none, until the next call.
func (e *encoder) encode(d *Draft) (raw, body []byte, err error) {
	var sum [sha256.Size]byte
	if b, ok := d.Event.(Bodied); ok {
		if body, err = e.body.Write(b.codeBody); err != nil {
			return nil, nil, err
		}
		if body == nil {
			body = []byte{}
		}
		sum = sha256.Sum256(body)
	}
	kind := d.Event.Kind()
	raw, err = e.event.Write(func(c *wire.Coder) {
		c.Sub(1, d.Meta.code)
		wire.Uint(c, 2, &kind)
		c.Sub(3, d.Event.code)
		if body != nil {
			c.Fixed(4, sum[:])
		}
	})
	return raw, body, err
}

// Size returns how many bytes the draft takes in an entry, bodies included, before compression and give or take a
// few: what a packer needs. An error says that the draft can never be sealed.
func (d *Draft) Size() (int, error) {
	return wire.Size(func(c *wire.Coder) {
		c.Sub(1, d.Meta.code)
		c.Sub(3, d.Event.code)
		if b, ok := d.Event.(Bodied); ok {
			c.Sub(5, b.codeBody)
		}
	})
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
	e := new(Entry)
	if err := new(parser).parse(e, head, bodies); err != nil {
		return nil, err
	}
	return e, nil
}

// parser reads the frames of entries. Its memory, and that of the Entry it is given, serve one after the other.
type parser struct {
	header
	c      wire.Coder
	memory [2][]byte // that the blocks are inflated in
	plain  [2][]byte // the blocks, uncompressed: events, bodies
}

// shrink gives up memory of more than so many bytes a block.
func (p *parser) shrink(keep int) {
	for i := range p.memory {
		if cap(p.memory[i]) > keep {
			p.memory[i] = nil
		}
	}
	p.plain = [2][]byte{}
}

func (p *parser) parse(e *Entry, head, bodies []byte) error {
	n, err := headLen(head)
	if err != nil {
		return err
	}
	if n != len(head) {
		return fmt.Errorf("entry: %d bytes after its events: %w", len(head)-n, ErrCorrupt)
	}
	flags := head[1]
	hl, k := binary.Uvarint(head[2:])
	hb := head[2+k : 2+k+int(hl)]
	rest := head[2+k+int(hl):]
	_, k = binary.Uvarint(rest)
	block := rest[k:]
	p.header = header{}
	h := &p.header
	if err := p.c.Read(hb, h.Code); err != nil {
		return fmt.Errorf("entry header: %w", err)
	}
	if flags&^(flagEventsS2|flagBodiesS2) != 0 {
		return fmt.Errorf("entry: unknown flags %#x: %w", flags, ErrCorrupt)
	}
	if h.base == 0 || uint64(h.base)+h.count < h.count || h.count == 0 || h.count > MaxBatchEvents || h.eventsLen > MaxEntryBytes || h.bodiesLen > MaxEntryBytes {
		return fmt.Errorf("entry header: base %d, %d events, %d+%d bytes: %w", h.base, h.count, h.eventsLen, h.bodiesLen, ErrCorrupt)
	}
	events, err := inflate(&p.memory[0], block, flags&flagEventsS2 != 0, h.eventsLen)
	if err == nil && uint64(len(events)) != h.eventsLen {
		err = fmt.Errorf("block of %d bytes, want %d: %w", len(events), h.eventsLen, ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("entry events: %w", err)
	}
	p.plain[0] = events
	e.Base, e.At, e.Prev, e.Chain, e.whole = h.base, h.at, h.prev, h.chain, bodies != nil
	e.raw = resized(e.raw, h.count)[:0]
	for len(events) > 0 {
		l, n := binary.Uvarint(events)
		if n <= 0 || l > uint64(len(events)-n) {
			return fmt.Errorf("entry event %d: length out of range: %w", len(e.raw), ErrCorrupt)
		}
		if uint64(len(e.raw)) == h.count {
			return fmt.Errorf("entry has more events than the %d of its header: %w", h.count, ErrCorrupt)
		}
		e.raw = append(e.raw, events[n:n+int(l):n+int(l)])
		events = events[n+int(l):]
	}
	if uint64(len(e.raw)) != h.count {
		return fmt.Errorf("entry has %d events, its header says %d: %w", len(e.raw), h.count, ErrCorrupt)
	}
	e.bodies, e.erased = e.bodies[:0], e.erased[:0]
	if !e.whole {
		return nil
	}
	return p.addBodies(e, bodies, flags&flagBodiesS2 != 0)
}

// resized returns a slice of n zero values, in the memory of s if it is large enough.
func resized[T any](s []T, n uint64) []T {
	if uint64(cap(s)) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

func (p *parser) addBodies(e *Entry, block []byte, compressed bool) error {
	e.bodies = resized(e.bodies, p.count)
	e.erased = resized(e.erased, p.count)
	block, err := inflate(&p.memory[1], block, compressed, p.bodiesLen)
	if err != nil {
		return fmt.Errorf("entry bodies: %w", err)
	}
	p.plain[1] = block
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

// inflate returns the plain bytes of a block of at most size bytes: the block itself, or memory that is kept for the next.
func inflate(memory *[]byte, block []byte, compressed bool, size uint64) ([]byte, error) {
	if !compressed {
		if uint64(len(block)) > size {
			return nil, fmt.Errorf("block of %d bytes, want at most %d: %w", len(block), size, ErrCorrupt)
		}
		return block, nil
	}
	if n, err := s2.DecodedLen(block); err != nil || uint64(n) > size {
		return nil, fmt.Errorf("compressed block has more than %d bytes: %w", size, ErrCorrupt)
	}
	out, err := s2.Decode(*memory, block)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	*memory = out
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
	var c wire.Coder
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
	return e.envelopes(new(wire.Coder), index)
}

func (e *Entry) envelopes(c *wire.Coder, index Index) ([]Envelope, error) {
	out := make([]Envelope, len(e.raw))
	chain := e.Prev
	for i, raw := range e.raw {
		d, err := e.decode(c, i)
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
func (s *stored) Code(c *wire.Coder) {
	c.Sub(1, s.draft.Meta.code)
	wire.Uint(c, 2, &s.kind)
	s.payload = c.Raw(3)
	if sum := c.Raw(4); len(sum) > 0 {
		s.bodyHash = sum
	}
}

// decode reads the event at a position with c, whose memory serves many.
func (e *Entry) decode(c *wire.Coder, i int) (Draft, error) {
	s, err := e.decodeHead(c, i)
	if err != nil {
		return Draft{}, err
	}
	if err := e.vouched(i, s.bodyHash); err != nil {
		return Draft{}, err
	}
	return s.draft, e.decodeBody(c, i, &s.draft)
}

// decodeBody reads the body of the event at a position into the draft, if it has one that is not erased.
func (e *Entry) decodeBody(c *wire.Coder, i int, d *Draft) error {
	if b, ok := d.Event.(Bodied); ok && e.bodies[i] != nil && !e.erased[i] {
		if err := c.Read(e.bodies[i], b.codeBody); err != nil {
			return fmt.Errorf("event %d (%s) body: %w", e.Base+Offset(i), d.Event.Kind(), err)
		}
	}
	return nil
}

// decodeHead reads the event at a position without its body. What it returns is valid until c is used again, but for
// the draft.
func (e *Entry) decodeHead(c *wire.Coder, i int) (s stored, err error) {
	at := e.Base + Offset(i)
	if err := c.Read(e.raw[i], s.Code); err != nil {
		return stored{}, fmt.Errorf("event %d: %w", at, err)
	}
	def, ok := kinds[s.kind]
	if !ok {
		s.draft.Event = &Unknown{Type: s.kind, Payload: append([]byte(nil), s.payload...)}
		return s, nil
	}
	s.draft.Event = def.make()
	if err := c.Read(s.payload, s.draft.Event.code); err != nil {
		return stored{}, fmt.Errorf("event %d (%s): %w", at, s.kind, err)
	}
	return s, nil
}
