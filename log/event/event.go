// Package event is the vocabulary of the log: what can happen, what identifies it, and how it is written down.
//
// An Event is a fact in the past tense, without a position. A Draft is an event that somebody decided and that
// waits for its place. An Envelope is an event that has its place: Offset, time and chain value. Only the log
// makes envelopes, so an event with a missing offset cannot be mistaken for a recorded one.
//
// The package is pure. It imports no clock, no random source, no os and no net, and nothing of ours: every other
// package of the project speaks this vocabulary. The byte formats are written down in log/FORMAT.md and in
// event.proto, and goldens in testdata pin them: goldens are added to, never changed.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"parley/log/wire"
)

// Offset is a position in the event log. Offsets are dense: the first event is 1, zero means "nothing yet".
// It is never to be mixed with Index.
type Offset uint64

// Index is a position in the Raft log. An entry at an Index carries zero or more events.
type Index uint64

// Time is an instant in nanoseconds since the Unix epoch, UTC. The leader's sequencer stamps it once per batch;
// nothing else in the log's path reads a clock.
type Time int64

// UTC returns the instant as a time.Time in UTC.
func (t Time) UTC() time.Time { return time.Unix(0, int64(t)).UTC() }

// String returns the instant in RFC 3339 form with nanoseconds.
func (t Time) String() string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z07:00") }

// Principal is who acts: the SIP URI of a user ("sip:alice@contoso.test", lower case), of a node
// ("node:n1"), or of an administrator ("admin:NAME").
type Principal string

// Address returns the principal without its "sip:" scheme.
func (p Principal) Address() string { return strings.TrimPrefix(string(p), "sip:") }

// UserPrincipal returns the canonical principal of a SIP address, with or without scheme: lower case, no parameters.
func UserPrincipal(address string) Principal {
	a := strings.ToLower(strings.TrimSpace(address))
	a = strings.TrimPrefix(a, "sips:")
	a = strings.TrimPrefix(a, "sip:")
	if i := strings.IndexAny(a, ";?"); i >= 0 {
		a = a[:i]
	}
	if a == "" {
		return ""
	}
	return Principal("sip:" + a)
}

// NodePrincipal returns the principal under which a node acts on its own.
func NodePrincipal(n NodeID) Principal { return Principal("node:" + string(n)) }

// RoomID is the GUID of a room in lower case, 8-4-4-4-12 hex digits.
type RoomID string

// CategoryID is the GUID of a category, same form as RoomID.
type CategoryID string

// NodeID names a node of the pool, for example "n1".
type NodeID string

// Incarnation counts the starts of a node. Sessions of an earlier incarnation cannot be alive.
type Incarnation uint64

// Endpoint tells apart the devices of one user: epid of From, else +sip.instance.
type Endpoint string

// CommandID identifies one client command, so that a retry is known to be the same command. Zero means "none".
type CommandID [16]byte

// IsZero reports whether the command has no identity.
func (c CommandID) IsZero() bool { return c == CommandID{} }

// Chain is the value of the hash chain after an event.
type Chain [sha256.Size]byte

// String returns the chain value in hex.
func (c Chain) String() string { return hex.EncodeToString(c[:]) }

// Meta is what every event tells, whatever its kind. Fields that do not apply are empty.
type Meta struct {
	By      Principal // who acted
	Room    RoomID    // the room it happened in or to
	Node    NodeID    // the node the principal was connected to
	Command CommandID // the command that caused it
}

func (m *Meta) code(c *wire.Coder) {
	wire.Str(c, 1, &m.By)
	wire.Str(c, 2, &m.Room)
	wire.Str(c, 3, &m.Node)
	c.Fixed(4, m.Command[:])
}

// Event is a fact of some kind. The kinds are the types in kinds.go.
type Event interface {
	Kind() Kind
	code(*wire.Coder)
}

// Bodied is an Event with a part that the law may require to erase: message text, account secrets. The body is
// stored in a row of its own and the event carries only its hash, so erasing it leaves the chain intact.
type Bodied interface {
	Event
	codeBody(*wire.Coder)
}

// Draft is an event that was decided and waits for its offset.
type Draft struct {
	Meta
	Event Event
}

// Envelope is a recorded event.
type Envelope struct {
	Offset Offset
	At     Time
	Chain  Chain // after this event
	Index  Index // of the Raft entry that carries it
	Meta
	Event  Event
	Leaf   [sha256.Size]byte // RFC 6962 section 2.1 leaf hash of the stored event bytes
	Erased bool              // the body was lawfully erased: Event has its fields, but not its body
}

// Kind returns the kind of the event.
func (e Envelope) Kind() Kind { return e.Event.Kind() }

// Unknown is an event whose kind this version does not know. It replicates and is chained like any other; a
// projection that meets it stops rather than skip it.
type Unknown struct {
	Type    Kind
	Payload []byte
}

// Kind returns the number that was found.
func (u *Unknown) Kind() Kind { return u.Type }

// code refuses to write: an event that was read as Unknown has lost the fields around its payload, so it is only ever
// copied as stored bytes.
func (u *Unknown) code(c *wire.Coder) {
	if !c.Reading() {
		c.Fail(fmt.Errorf("event of unknown kind %d cannot be written", u.Type))
	}
}

// ErrCorrupt is the class of every error that says stored bytes are not what was written.
var ErrCorrupt = wire.ErrCorrupt
