package memory

import (
	"hash/fnv"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/form"
)

// Words returns what has to be kept of the result of a command, from the event that it led to.
func Words(e *event.Envelope) (a, b uint64) {
	switch v := e.Event.(type) {
	case *event.Joined:
		return NodeKey(e.Node), uint64(v.Incarnation)
	case *event.Posted:
		return v.MessageID, 0
	case *event.HistoryRead:
		return v.First, v.Last
	case *event.RoomCreated:
		return form.PackID(string(e.Room))
	case *event.CategoryCreated:
		return form.PackID(string(v.Category))
	case *event.AddInCreated:
		return form.PackID(string(v.AddIn))
	case *event.GroupCreated:
		return form.PackID(string(v.Group))
	case *event.TokenIssued:
		return form.PackID(string(v.Token))
	case *event.UnitCreated:
		return form.PackID(string(v.Unit))
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

// Result returns the result of a command that took effect before, from what was kept of it. Which rooms of a join were refused
// is not in it.
func Result(c command.Command, a, b uint64) (r command.Result) {
	r.Duplicate = true
	switch c := c.(type) {
	case *command.Post:
		r.Room, r.MessageID = c.Room, a
	case *command.ReadHistory:
		r.Room, r.First, r.Last = c.Room, a, b
	case *command.PublishSetting:
		r.Version = a
	case *command.StartNode, *command.ClaimFeed:
		r.Epoch = a
	case *command.CutFeed:
		r.Epoch, r.First, r.Last = c.Epoch, a, b
	case *command.ReceiptFeed:
		r.Epoch, r.First, r.Last = c.Receipt.Epoch, uint64(c.Receipt.First), uint64(c.Receipt.Last)
	case *command.CreateRoom:
		r.Room = event.RoomID(form.UnpackID(a, b))
	case *command.ChangeRoom:
		r.Room = c.ID
	case *command.RemoveRoom:
		r.Room = c.ID
	case *command.CreateCategory:
		r.Category = event.CategoryID(form.UnpackID(a, b))
	case *command.ChangeCategory:
		r.Category = c.ID
	case *command.RemoveCategory:
		r.Category = c.ID
	case *command.CreateAddIn:
		r.AddIn = event.AddInID(form.UnpackID(a, b))
	case *command.ChangeAddIn:
		r.AddIn = c.ID
	case *command.RemoveAddIn:
		r.AddIn = c.ID
	case *command.RemoveMessages:
		r.Room = c.Room
	case *command.ClearRoom:
		r.Room = c.Room
	case *command.PurgeMessages:
		r.Room = c.Room
	case *command.CreateGroup:
		r.Group = event.GroupID(form.UnpackID(a, b))
	case *command.ChangeGroup:
		r.Group = c.ID
	case *command.RemoveGroup:
		r.Group = c.ID
	case *command.IssueToken:
		r.Token = event.TokenID(form.UnpackID(a, b))
	case *command.RevokeToken:
		r.Token = c.Token
	case *command.ImportMessages:
		r.Room = c.Room
	case *command.CreateUnit:
		r.Unit = event.UnitID(form.UnpackID(a, b))
	case *command.ChangeUnit:
		r.Unit = c.ID
	case *command.RemoveUnit:
		r.Unit = c.ID
	}
	return r
}

// NodeKey is a node in one word. It is never 0, so that a join always leaves something behind.
func NodeKey(n event.NodeID) uint64 {
	h := fnv.New64a()
	h.Write([]byte(n))
	return h.Sum64() | 1
}
