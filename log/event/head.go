package event

import (
	"crypto/sha256"
	"encoding/binary"

	"parley/log/wire"
)

// Head is a recorded event as its stored bytes have it: with everything but its body, and with the hash that vouches for
// the body. Chain, Index and Erased are not set: they are not in those bytes.
type Head struct {
	Envelope
	BodyHash []byte // SHA-256 of the body; nil: the event has none
}

// ParseHead decodes the stored bytes of one event, without the body. It is what somebody can read, and check against a
// hash, who must not see what was said. Of an event of unknown kind the bytes are kept as they are.
func ParseHead(o Offset, at Time, stored []byte) (Head, error) {
	e := Entry{Base: o, At: at, raw: [][]byte{stored}}
	var c wire.Coder
	s, err := e.decodeHead(&c, 0)
	if err != nil {
		return Head{}, err
	}
	h := Head{Envelope: Envelope{Offset: o, At: at, Meta: s.draft.Meta, Event: s.draft.Event, Leaf: leafHash(stored)}}
	if s.bodyHash != nil {
		h.BodyHash = append([]byte(nil), s.bodyHash...)
	}
	return h, nil
}

// Stored returns the bytes of the event at a position, as they are hashed. Do not change them.
func (e *Entry) Stored(i int) []byte { return e.raw[i] }

// RecordHash returns what stands for the event in the pool's Merkle tree, as the RFC 6962 (section 2.1) leaf hash of 40
// bytes: SHA-256(0x00, at, leaf), at as 8 bytes big-endian. The event at offset o is leaf o-1 of the tree, so the tree
// pins place, time and bytes of every event.
func (e *Envelope) RecordHash() [sha256.Size]byte {
	var b [1 + 8 + sha256.Size]byte
	b[0] = leafDomain
	binary.BigEndian.PutUint64(b[1:], uint64(e.At))
	copy(b[9:], e.Leaf[:])
	return sha256.Sum256(b[:])
}
