package sipfront

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"sync"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/commands"
	"parley/sipfront/flow"
	"parley/sipfront/presence"
)

// Limits of the settings that are kept, in bytes. All of a user's go out in one answer.
const (
	maxSetting  = 16 << 10  // of one
	maxSettings = 256 << 10 // of all of a user; requests that are on their way together may go a little beyond
)

// service answers SERVICE to oneself: category publications (docs/protocol.md, Around it: SIP), and other requests that
// need no more than a 200.
func (c *client) service(m *flow.Message) {
	st := c.front.backend.State()
	user := c.admit(m, st)
	if user == "" {
		return
	}
	if principalOf(m.Get(flow.To)) != user {
		c.refuse(m, 403, "Only Your Own", "wrong_to")
		return
	}
	if !isType(m.Get(flow.ContentType), "application/msrtc-category-publish+xml") {
		c.respond(m, 200, "OK")
		return
	}
	all, err := presence.ParsePublish(m.Body)
	if err != nil {
		c.refuse(m, 400, "Malformed Publication", "malformed_publication")
		return
	}
	var kept []presence.Publication
	for i := range all {
		if p := &all[i]; p.Setting.Category == presence.RoomSetting {
			if len(p.Setting.Content) > maxSetting {
				c.refuse(m, 413, "Setting Too Large", "setting_size")
				return
			}
			kept = append(kept, *p)
		}
	}
	if len(kept) == 0 {
		c.respond(m, 200, "OK")
		return
	}
	if cause := c.front.unavailable(); cause != "" {
		c.busy(m, cause)
		return
	}
	if grown(st, user, kept) > maxSettings {
		c.refuse(m, 413, "Too Many Settings", "settings_size")
		return
	}
	p := &publishing{c: c, user: user, left: len(kept), echo: m.AppendEcho(make([]byte, 0, 384), newTag())}
	o := chat.Origin{By: user, Endpoint: c.endpointOf(m), Node: c.front.cfg.Node, Incarnation: event.Incarnation(c.front.incarnation.Load())}
	body, call := sha256.Sum256(m.Body), string(m.Get(flow.CallID))
	c.conn.After(func() {
		for i := range kept {
			k := kept[i]
			o.ID = publicationID(user, o.Endpoint, call, k.Index, body)
			var cmd chat.Command = &chat.PublishSetting{Setting: k.Setting}
			if k.Remove {
				cmd = &chat.RemoveSetting{Category: k.Setting.Category, Instance: k.Setting.Instance}
			}
			c.acquire()
			c.front.backend.Submit(chat.Request{Origin: o, Command: cmd}, func(out chat.Outcome, err error) {
				c.release()
				p.done(k, out, err)
			})
		}
	})
}

// grown returns how long a user's settings will be together, 0 if they do not grow.
func grown(st *chat.State, user event.Principal, all []presence.Publication) (total int) {
	replaced := map[uint64]bool{}
	more := 0
	for i := range all {
		if p := &all[i]; !replaced[p.Setting.Instance] {
			replaced[p.Setting.Instance] = true
			if !p.Remove {
				more += len(p.Setting.Content)
			}
		}
	}
	for s := range presence.Rooms(st.Settings(user)) {
		if total += len(s.Content); replaced[s.Instance] {
			more -= len(s.Content)
		}
	}
	if more <= 0 {
		return 0
	}
	return total + more
}

// publicationID identifies one publication of a SERVICE across retries. The request has no envelope id, so its Call-ID
// stands for one: clients make a new one for each request outside a dialog (RFC 3261 section 8.1.1.4) and keep it when
// they send a request again (section 8.1.3.5). CSeq is no part: that second time it is one higher. Nor is the version in
// the body enough by itself: a setting that is published, removed and published again has the same body twice.
func publicationID(user event.Principal, endpoint event.Endpoint, call string, index int, body [32]byte) event.CommandID {
	return commands.Identity(body, "SERVICE", string(user), string(endpoint), call, strconv.Itoa(index))
}

// publishing is a SERVICE with commands on their way.
type publishing struct {
	c    *client
	user event.Principal
	echo []byte

	mu       sync.Mutex
	left     int
	offset   event.Offset
	err      error
	outdated []presence.Publication
}

func (p *publishing) done(k presence.Publication, o chat.Outcome, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case errors.Is(err, chat.ErrConflict):
		p.outdated = append(p.outdated, k)
	case err != nil && k.Remove && errors.Is(err, chat.ErrNotFound): // gone already: what was wanted is so
	case err != nil && p.err == nil:
		p.err = err
	}
	p.offset = max(p.offset, o.Offset)
	if p.left--; p.left > 0 {
		return
	}
	f := p.c.front
	if p.err != nil {
		f.answers.put(answer{p.c, f.finalAnswer(p.echo, p.err)})
		return
	}
	// The answer shows the new versions, so it waits until they are in this node's state.
	p.c.shard.after(p.offset, func(s *shard) {
		b := make([]byte, 0, 1024)
		if len(p.outdated) > 0 {
			f.metrics.rejected.WithLabelValues("setting_version").Inc()
			b = append(flow.AppendStatus(b, 409, "Conflict"), p.echo...)
			b = flow.AppendBody(b, presence.TypeFault, presence.Faults(s.state.Settings(p.user), p.outdated))
		} else {
			b = append(flow.AppendStatus(b, 200, "OK"), p.echo...)
			b = flow.AppendBody(b, presence.TypeSelf, presence.RoamingSelf(p.user, presence.Rooms(s.state.Settings(p.user))))
		}
		f.answers.put(answer{p.c, b})
	})
}
