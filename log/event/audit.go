package event

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"parley/log/wire"
)

// Auditor verifies one entry after the other in the same memory, for whoever verifies millions. Of an event it reads what the
// hashes are about and no more: what it finds unaltered is what the leader sealed, which the log decoded when it was appended
// and when it was committed. The zero value is ready. One goroutine uses it.
type Auditor struct {
	parser parser
	entry  Entry
	c      wire.Coder
}

// Audited is what Audit found whole.
type Audited struct {
	Base, Last  Offset
	At          Time
	Prev, Chain Chain // before the first event, and after the last one
}

// Audit recomputes the chain over the events of an entry and the hash of each body that is there. It appends to told, decoded,
// the events whose bodies are erased, and those of the kinds that wants says. Chain is not set in these. bodies must not be nil.
func (a *Auditor) Audit(head, bodies []byte, index Index, wants func(Kind) bool, told []Envelope) (Audited, []Envelope, error) {
	e := &a.entry
	if err := a.parser.parse(e, head, bodies); err != nil {
		return Audited{}, told, err
	}
	chain := e.Prev
	for i, raw := range e.raw {
		at := e.Base + Offset(i)
		leaf := leafHash(raw)
		chain = chain.next(at, e.At, leaf)
		kind, sum, err := frameOf(raw)
		if err != nil {
			return Audited{}, told, fmt.Errorf("event %d: %w", at, err)
		}
		if err := e.vouched(i, sum); err != nil {
			return Audited{}, told, err
		}
		if !e.erased[i] && !wants(kind) {
			continue
		}
		d, err := e.decode(&a.c, i)
		if err != nil {
			return Audited{}, told, err
		}
		told = append(told, Envelope{Offset: at, At: e.At, Index: index, Meta: d.Meta, Event: d.Event, Leaf: leaf, Erased: e.erased[i]})
	}
	if chain != e.Chain {
		return Audited{}, told, fmt.Errorf("events %d to %d: %w", e.Base, e.Last(), ErrChain)
	}
	return Audited{Base: e.Base, Last: e.Last(), At: e.At, Prev: e.Prev, Chain: chain}, told, nil
}

// Decode returns all events of an entry, verified. They share no memory with it, nor with the auditor.
func (a *Auditor) Decode(head, bodies []byte, index Index) (Audited, []Envelope, error) {
	e := &a.entry
	if err := a.parser.parse(e, head, bodies); err != nil {
		return Audited{}, nil, err
	}
	out, err := e.envelopes(&a.c, index)
	return Audited{Base: e.Base, Last: e.Last(), At: e.At, Prev: e.Prev, Chain: e.Chain}, out, err
}

// frameOf reads the kind of a stored event and the hash of its body, nil if it has none. It is stored.Code for those two.
func frameOf(raw []byte) (kind Kind, sum []byte, err error) {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return 0, nil, fmt.Errorf("message tag: %w: %w", protowire.ParseError(n), ErrCorrupt)
		}
		raw = raw[n:]
		switch {
		case num == 2 && typ == protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(raw); n >= 0 {
				kind = Kind(v)
				if uint64(kind) != v {
					return 0, nil, fmt.Errorf("kind %d is too large: %w", v, ErrCorrupt)
				}
			}
		case num == 4 && typ == protowire.BytesType:
			if sum, n = protowire.ConsumeBytes(raw); len(sum) == 0 {
				sum = nil
			}
		case num == 2, num == 4:
			return 0, nil, fmt.Errorf("message field %d has wire type %d: %w", num, typ, ErrCorrupt)
		default:
			n = protowire.ConsumeFieldValue(num, typ, raw)
		}
		if n < 0 {
			return 0, nil, fmt.Errorf("message field %d: %w: %w", num, protowire.ParseError(n), ErrCorrupt)
		}
		raw = raw[n:]
	}
	return kind, sum, nil
}

// vouched compares the body of the event at a position with the hash that the event has of it, nil for none.
func (e *Entry) vouched(i int, sum []byte) error {
	at := e.Base + Offset(i)
	body, erased := e.bodies[i], e.erased[i]
	switch {
	case sum == nil && body != nil:
		return fmt.Errorf("event %d has a body that it does not vouch for: %w", at, ErrCorrupt)
	case sum != nil && body == nil:
		return fmt.Errorf("event %d lacks its body: %w", at, ErrCorrupt)
	case sum != nil && !erased:
		if got := sha256.Sum256(body); string(got[:]) != string(sum) {
			return fmt.Errorf("event %d: its body is not the one that was written: %w", at, ErrCorrupt)
		}
	}
	return nil
}
