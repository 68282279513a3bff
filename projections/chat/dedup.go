package chat

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"

	"parley/log/event"
	"parley/projections/chat/table"
)

const (
	rememberFor    = event.Time(24 * 3600 * 1e9) // nanoseconds of log time
	forgetPerEvent = 4                           // bounds the work of one Fold; an event remembers one at most
)

// MaxRemembered is how many commands are remembered at most: about 1 GiB of memory. Above, the oldest is forgotten before
// its day is over, and a client that repeats it then is not recognised. A pool gets there with 97 posts a second all day.
const MaxRemembered = 8 << 20

// Remembered returns how many commands the state remembers, and the log time of the oldest of them, 0 if there is none.
// If that is less than a day ago and the number is MaxRemembered, some were forgotten early.
func (s *State) Remembered() (n int, oldest event.Time) {
	if n = s.due.Len(); n > 0 {
		oldest = s.oldest
	}
	return n, oldest
}

// commandKey is a CommandID in a form that compares fast.
type commandKey struct{ hi, lo uint64 }

func keyOf(id event.CommandID) commandKey {
	return commandKey{binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])}
}

func (k commandKey) id() (id event.CommandID) {
	binary.BigEndian.PutUint64(id[:8], k.hi)
	binary.BigEndian.PutUint64(id[8:], k.lo)
	return id
}

// seen is a command that took effect. There may be millions, so it has no pointers (the collector skips it) and
// only two words of its result: the rest of a result is in the command, which a retry brings along.
type seen struct {
	id     commandKey
	offset event.Offset // of the command's last event
	at     event.Time
	a, b   uint64 // see resultOf
}

func seenByID(x, y seen) bool {
	if x.id.hi != y.id.hi {
		return x.id.hi < y.id.hi
	}
	return x.id.lo < y.id.lo
}

func (x *seen) code(c *event.Coder) {
	id := x.id.id()
	c.Fixed(1, id[:])
	x.id = keyOf(id)
	event.Uint(c, 2, &x.offset)
	event.Int(c, 3, &x.at)
	event.Uint(c, 4, &x.a)
	event.Uint(c, 5, &x.b)
}

// seenTable saves and loads the remembered commands.
type seenTable State

func seenKey(k commandKey) []byte {
	id := k.id()
	return append([]byte{rowSeen}, id[:]...)
}

func (t *seenTable) Load(key, value []byte) error {
	own := func(x *seen) []byte { return seenKey(x.id) }
	return table.Decode(key, value, own, (*seen).code, func(x *seen) { t.seen.Set(*x) })
}

func (t *seenTable) Each(yield func(key, value []byte) bool) bool {
	more := true
	t.seen.Scan(func(x seen) bool {
		more = yield(seenKey(x.id), table.Encode(&x, (*seen).code))
		return more
	})
	return more
}

// remember notes the command that caused an event, and forgets some that are old enough.
func (s *State) remember(save Saver, e *event.Envelope) {
	for i := 0; i < forgetPerEvent && s.due.Len() > 0 && (e.At-s.oldest > rememberFor || s.due.Len() >= s.memory); i++ {
		_, id, _ := s.due.PopMin()
		s.seen.Delete(seen{id: id})
		if save != nil {
			save.Delete(seenKey(id))
		}
		s.noteOldest()
	}
	if e.Command.IsZero() {
		return
	}
	x, again := s.seen.Get(seen{id: keyOf(e.Command)})
	if again { // one command, several events
		s.due.Delete(x.offset)
	}
	x.id = keyOf(e.Command)
	x.offset, x.at = e.Offset, e.At
	if a, b := resultOf(e); a|b != 0 {
		x.a, x.b = a, b
	}
	s.seen.Set(x)
	s.due.Set(x.offset, x.id)
	if save != nil {
		save.Set(seenKey(x.id), table.Encode(&x, (*seen).code))
	}
	if again || s.due.Len() == 1 {
		s.noteOldest()
	}
}

func (s *State) noteOldest() {
	if _, id, ok := s.due.Min(); ok {
		x, _ := s.seen.Get(seen{id: id})
		s.oldest = x.at
	}
}

// resultOf returns what has to be kept of a result.
func resultOf(e *event.Envelope) (a, b uint64) {
	switch v := e.Event.(type) {
	case *event.Joined:
		return nodeKey(e.Node), uint64(v.Incarnation)
	case *event.Posted:
		return v.MessageID, 0
	case *event.HistoryRead:
		return v.First, v.Last
	case *event.RoomCreated:
		return packID(string(e.Room))
	case *event.CategoryCreated:
		return packID(string(v.Category))
	case *event.GroupCreated:
		return packID(string(v.Group))
	case *event.UnitCreated:
		return packID(string(v.Unit))
	case *event.SettingPublished:
		return v.Setting.Version, 0
	case *event.NodeStarted:
		return uint64(v.Incarnation), 0
	case *event.FeedClaimed:
		return v.Epoch, 0
	case *event.FeedCut:
		return uint64(v.First), uint64(v.Last)
	}
	return 0, 0
}

// recall returns the decision of a command that took effect before. It is asked before rights are.
//
// A join counts as seen only on the incarnation of the node that it opened sessions on: elsewhere it would be
// another session, and a client that was told "joined" there could not post.
func (s *State) recall(r *Request) (d Decision, ok bool) {
	if r.ID.IsZero() {
		return d, false
	}
	x, ok := s.seen.Get(seen{id: keyOf(r.ID)})
	if !ok {
		return d, false
	}
	d.Offset = x.offset
	d.Result.Duplicate = true
	switch c := r.Command.(type) {
	case *Join:
		if x.a != nodeKey(r.Node) || x.b != uint64(r.Incarnation) {
			return Decision{}, false
		}
		d.Result.Refused = s.refusedOf(r, c)
	case *Post:
		d.Result.Room, d.Result.MessageID = c.Room, x.a
	case *ReadHistory:
		d.Result.Room, d.Result.First, d.Result.Last = c.Room, x.a, x.b
	case *PublishSetting:
		d.Result.Version = x.a
	case *StartNode, *ClaimFeed:
		d.Result.Epoch = x.a
	case *CutFeed:
		d.Result.Epoch, d.Result.First, d.Result.Last = c.Epoch, x.a, x.b
	case *ReceiptFeed:
		d.Result.Epoch, d.Result.First, d.Result.Last = c.Receipt.Epoch, uint64(c.Receipt.First), uint64(c.Receipt.Last)
	case *CreateRoom:
		d.Result.Room = event.RoomID(unpackID(x.a, x.b))
	case *ChangeRoom:
		d.Result.Room = c.ID
	case *RemoveRoom:
		d.Result.Room = c.ID
	case *CreateCategory:
		d.Result.Category = event.CategoryID(unpackID(x.a, x.b))
	case *ChangeCategory:
		d.Result.Category = c.ID
	case *RemoveCategory:
		d.Result.Category = c.ID
	case *CreateGroup:
		d.Result.Group = event.GroupID(unpackID(x.a, x.b))
	case *ChangeGroup:
		d.Result.Group = c.ID
	case *RemoveGroup:
		d.Result.Group = c.ID
	case *CreateUnit:
		d.Result.Unit = event.UnitID(unpackID(x.a, x.b))
	case *ChangeUnit:
		d.Result.Unit = c.ID
	case *RemoveUnit:
		d.Result.Unit = c.ID
	}
	return d, true
}

// nodeKey is never 0, so that a join always leaves something behind.
func nodeKey(n event.NodeID) uint64 {
	h := fnv.New64a()
	h.Write([]byte(n))
	return h.Sum64() | 1
}

// packID keeps a GUID in two words.
func packID(id string) (a, b uint64) {
	if !validID(id) {
		return 0, 0
	}
	raw, err := hex.DecodeString(id[0:8] + id[9:13] + id[14:18] + id[19:23] + id[24:36])
	if err != nil {
		return 0, 0
	}
	return binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
}

func unpackID(a, b uint64) string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}
