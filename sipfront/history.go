package sipfront

import (
	"context"
	"log/slog"
	"time"

	"parley/projections/chat"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
)

const readTimeout = 10 * time.Second // of a history read or a search

// history reads messages of a room. The read is an event of its own, so the range is fixed by the log and the auditors
// know what was seen. A read that is repeated because its answer was lost is the same read: one event, and the same
// messages, whatever was posted since.
func (c *client) history(k *call) {
	room, refusal := c.roomOf(k.it.Data.Chans[0].URI)
	if refusal != nil {
		k.fail(refusal)
		return
	}
	f := c.front
	p := blocks.PageOf(k.it, room, f.backend.State().Limits().DefaultChatHistory)
	o := f.origin(k.d)
	o.ID = commandID(k.d.user, k.d.endpoint, room, k.env.EnvID, k.it.Seq, k.body)
	f.backend.Submit(chat.Request{Origin: o, Command: &p.Read}, func(o chat.Outcome, err error) {
		if err != nil {
			k.fail(chat.AsRefusal(err))
			return
		}
		c.shard.after(o.Offset, func(*shard) {
			if o.Result.Last == 0 {
				k.reply(0, nil, func(s *shard) (*xccos.Data, *chat.Refusal) { return p.Data(s.state, 0, 0, nil), nil })
				return
			}
			f.reader.run(func() { c.readHistory(k, p, o.Result.First, o.Result.Last) })
		})
	})
}

func (c *client) readHistory(k *call, p blocks.Page, first, last uint64) {
	ctx, cancel := context.WithTimeout(c.front.ctx, readTimeout)
	defer cancel()
	messages, err := c.front.backend.History(ctx, p.Read.Room, first, last)
	if err != nil {
		c.front.log.Error("history could not be read", slog.String(keyError, err.Error()))
		k.fail(chat.AsRefusal(err))
		return
	}
	k.reply(0, nil, func(s *shard) (*xccos.Data, *chat.Refusal) { return p.Data(s.state, first, last, messages), nil })
}
