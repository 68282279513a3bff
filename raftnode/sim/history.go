package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"parley/log/event"
	"parley/projections/chat"
)

type opKind string

const (
	opJoin  opKind = "join"
	opPart  opKind = "part"
	opPost  opKind = "post"
	opRead  opKind = "read"
	opStart opKind = "start" // of a node's incarnation: its sessions end
	opLose  opKind = "lose"  // of a node
	opSetup opKind = "setup"
)

// systemClient is who acts for the pool itself.
const systemClient = -1

// op is one command as its client saw it, over all its tries.
type op struct {
	id     event.CommandID
	client int
	kind   opKind
	room   event.RoomID
	node   event.NodeID // where it was last tried; of start and lose: the node meant
	call   time.Time
	ret    time.Time // zero: the outcome was never known
	out    chat.Outcome
	code   chat.Code // of the refusal
	tries  int
	dialog int // of the client, on which it was sent without waiting for what was sent before; 0: on none
}

func (o *op) acked() bool { return !o.ret.IsZero() && o.code == "" }

// history is everything that the clients saw.
type history struct {
	mu   sync.Mutex
	seed uint64
	ops  []*op
}

func (h *history) begin(client int, kind opKind, room event.RoomID, node event.NodeID) *op {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := &op{client: client, kind: kind, room: room, node: node, call: time.Now()}
	binary.BigEndian.PutUint64(o.id[:], h.seed)
	binary.BigEndian.PutUint64(o.id[8:], uint64(len(h.ops)+1))
	h.ops = append(h.ops, o)
	return o
}

// end notes the outcome. An error that is no refusal by the rules leaves it unknown.
func (h *history) end(o *op, out chat.Outcome, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var r *chat.Refusal
	switch {
	case err == nil:
	case errors.As(err, &r) && r.Code != chat.CodeUnavailable:
		o.code = r.Code
	default:
		return
	}
	o.out, o.ret = out, time.Now()
}

// sent notes that a command was sent on a dialog, behind the one sent before it.
func (h *history) sent(o *op, dialog int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.dialog, o.tries = dialog, o.tries+1
}

// unknown returns the commands whose outcome their client has not learnt.
func (h *history) unknown(ops []*op) (out []*op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range ops {
		if o.ret.IsZero() {
			out = append(out, o)
		}
	}
	return out
}

func (h *history) all() []*op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

func (h *history) String() string {
	var b strings.Builder
	h.mu.Lock()
	defer h.mu.Unlock()
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of every bubble
	for _, o := range h.ops {
		ret := "?"
		if !o.ret.IsZero() {
			ret = o.ret.Sub(start).String()
		}
		fmt.Fprintf(&b, "%v..%s client %d %s %s node %s tries %d -> offset %d message %d read %d..%d duplicate %v refused %q dialog %d id %x\n", o.call.Sub(start), ret,
			o.client, o.kind, o.room, o.node, o.tries, o.out.Offset, o.out.Result.MessageID, o.out.Result.First, o.out.Result.Last, o.out.Result.Duplicate, o.code, o.dialog, o.id)
	}
	return b.String()
}

// room is the sequential specification of a room: its newest message, and who has a session there on which node.
type room struct {
	last     uint64
	sessions uint64 // bit client*maxNodes+node
}

const (
	maxNodes   = 6
	maxClients = 10
)

// step is an op as the model sees it.
type step struct {
	kind    opKind
	client  int
	node    int
	refused chat.Code
	message uint64 // of a post
	last    uint64 // of a read
}

func (s step) bit() uint64 { return 1 << (s.client*maxNodes + s.node) }

// onNode is the bits of all clients on a node.
func onNode(node int) (m uint64) {
	for c := range maxClients {
		m |= step{client: c, node: node}.bit()
	}
	return m
}

// next is the specification of a room.
func (r room) next(s step) (bool, room) {
	in := r.sessions&s.bit() != 0
	switch s.kind {
	case opJoin:
		r.sessions |= s.bit()
		return s.refused == "", r
	case opPart:
		if s.refused != "" {
			return s.refused == chat.CodeNotJoined && !in, r
		}
		r.sessions &^= s.bit()
		return in, r
	case opPost:
		if s.refused != "" {
			return s.refused == chat.CodeNotJoined && !in, r
		}
		r.last++
		return in && r.last == s.message, r
	case opRead:
		return s.refused == "" && r.last == s.last, r
	case opStart, opLose:
		r.sessions &^= onNode(s.node)
		return true, r
	}
	return false, r
}

var model = porcupine.Model{
	Init: func() any { return room{} },
	Step: func(state, input, _ any) (bool, any) { return state.(room).next(input.(step)) },
	DescribeOperation: func(input, _ any) string {
		s := input.(step)
		return fmt.Sprintf("%s by %d on n%d: message %d, last %d, %s", s.kind, s.client, s.node+1, s.message, s.last, s.refused)
	},
	DescribeState: func(state any) string {
		return fmt.Sprintf("last %d, sessions %b", state.(room).last, state.(room).sessions)
	},
}

// linear checks that what the clients saw of each room can be put in one order that respects time. What became of a
// command whose outcome its client never learnt is in the log: it took effect, some time after it was sent, or not.
func (h *history) linear(log []event.Envelope, nodes []*node) error {
	byID := map[event.CommandID][]event.Envelope{}
	for _, e := range log {
		byID[e.Command] = append(byID[e.Command], e)
	}
	number := map[event.NodeID]int{}
	for i, n := range nodes {
		number[n.id] = i
	}
	rooms := map[event.RoomID][]porcupine.Operation{}
	var pool []porcupine.Operation // concerns all rooms
	for _, o := range h.all() {
		if o.kind == opSetup {
			continue
		}
		s := step{kind: o.kind, client: max(o.client, 0), node: number[o.node], refused: o.code, message: o.out.Result.MessageID, last: o.out.Result.Last}
		effect := byID[o.id]
		ret := int64(math.MaxInt64)
		if !o.ret.IsZero() {
			ret = o.ret.UnixNano()
		}
		if len(effect) == 0 && (o.ret.IsZero() || o.kind == opStart || o.kind == opLose) {
			continue // no effect, and nobody was told anything
		}
		if len(effect) > 0 {
			e := effect[0]
			s.node = number[e.Node]
			switch v := e.Event.(type) {
			case *event.Posted:
				s.message = v.MessageID
			case *event.HistoryRead:
				s.last = v.Last
			}
		}
		operation := porcupine.Operation{ClientId: o.client + 1, Input: s, Call: o.call.UnixNano(), Return: ret}
		if o.room == "" {
			pool = append(pool, operation)
		} else {
			rooms[o.room] = append(rooms[o.room], operation)
		}
	}
	for id, ops := range rooms {
		switch porcupine.CheckOperationsTimeout(model, append(ops, pool...), time.Minute) {
		case porcupine.Illegal:
			return fmt.Errorf("history of room %s is not linearizable", id)
		case porcupine.Unknown:
			return fmt.Errorf("history of room %s: no verdict within a minute", id)
		}
	}
	return nil
}
