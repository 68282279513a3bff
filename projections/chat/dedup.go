package chat

import (
	"parley/log/event"
	"parley/projections/chat/memory"
)

// MaxRemembered is how many commands are remembered at most; above, the oldest is forgotten before its day is over.
const MaxRemembered = memory.Most

// Remembered returns how many commands the state remembers, and the log time of the oldest of them, 0 if there is none.
// If that is less than a day ago and the number is MaxRemembered, some were forgotten early.
func (s *State) Remembered() (n int, oldest event.Time) { return s.memory.Len(), s.memory.Oldest() }

// resultOf returns what has to be kept of a result.
func resultOf(e *event.Envelope) (a, b uint64) {
	switch v := e.Event.(type) {
	case *event.Joined:
		return memory.Node(e.Node), uint64(v.Incarnation)
	case *event.Posted:
		return v.MessageID, 0
	case *event.HistoryRead:
		return v.First, v.Last
	case *event.RoomCreated:
		return memory.Pack(string(e.Room))
	case *event.CategoryCreated:
		return memory.Pack(string(v.Category))
	case *event.AddInCreated:
		return memory.Pack(string(v.AddIn))
	case *event.GroupCreated:
		return memory.Pack(string(v.Group))
	case *event.TokenIssued:
		return memory.Pack(string(v.Token))
	case *event.UnitCreated:
		return memory.Pack(string(v.Unit))
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

// recall returns the decision of a command that took effect before.
//
// A join counts as seen only on the incarnation of the node that it opened sessions on: elsewhere it would be
// another session, and a client that was told "joined" there could not post. A search never does: it shows what is found
// now.
func (s *State) recall(r *Request) (d Decision, ok bool) {
	if r.ID.IsZero() {
		return d, false
	}
	offset, a, b, ok := s.memory.Recall(r.ID)
	if !ok {
		return d, false
	}
	d.Offset = offset
	d.Result.Duplicate = true
	switch c := r.Command.(type) {
	case *Join:
		if a != memory.Node(r.Node) || b != uint64(r.Incarnation) {
			return Decision{}, false
		}
		d.Result.Refused = s.refusedOf(r, c)
	case *SearchMessages:
		return Decision{}, false
	case *Post:
		d.Result.Room, d.Result.MessageID = c.Room, a
	case *ReadHistory:
		now, err := (&decider{Origin: r.Origin, s: s}).readHistory(c)
		if err != nil || r.Entitled() != nil {
			return Decision{}, false // it is refused, as a fresh one
		}
		if d.Result.Room = c.Room; now.Result.Last > 0 { // else the category shows no history any more
			d.Result.First, d.Result.Last = a, b
		}
	case *PublishSetting:
		d.Result.Version = a
	case *StartNode, *ClaimFeed:
		d.Result.Epoch = a
	case *CutFeed:
		d.Result.Epoch, d.Result.First, d.Result.Last = c.Epoch, a, b
	case *ReceiptFeed:
		d.Result.Epoch, d.Result.First, d.Result.Last = c.Receipt.Epoch, uint64(c.Receipt.First), uint64(c.Receipt.Last)
	case *CreateRoom:
		d.Result.Room = event.RoomID(memory.Unpack(a, b))
	case *ChangeRoom:
		d.Result.Room = c.ID
	case *RemoveRoom:
		d.Result.Room = c.ID
	case *CreateCategory:
		d.Result.Category = event.CategoryID(memory.Unpack(a, b))
	case *ChangeCategory:
		d.Result.Category = c.ID
	case *RemoveCategory:
		d.Result.Category = c.ID
	case *CreateAddIn:
		d.Result.AddIn = event.AddInID(memory.Unpack(a, b))
	case *ChangeAddIn:
		d.Result.AddIn = c.ID
	case *RemoveAddIn:
		d.Result.AddIn = c.ID
	case *RemoveMessages:
		d.Result.Room = c.Room
	case *ClearRoom:
		d.Result.Room = c.Room
	case *CreateGroup:
		d.Result.Group = event.GroupID(memory.Unpack(a, b))
	case *ChangeGroup:
		d.Result.Group = c.ID
	case *RemoveGroup:
		d.Result.Group = c.ID
	case *IssueToken:
		d.Result.Token = event.TokenID(memory.Unpack(a, b))
	case *RevokeToken:
		d.Result.Token = c.Token
	case *ImportMessages:
		d.Result.Room = c.Room
	case *CreateUnit:
		d.Result.Unit = event.UnitID(memory.Unpack(a, b))
	case *ChangeUnit:
		d.Result.Unit = c.ID
	case *RemoveUnit:
		d.Result.Unit = c.ID
	}
	return d, true
}
