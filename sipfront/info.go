package sipfront

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/blocks"
	"parley/sipfront/flow"
	"parley/sipfront/xccos"
)

// info handles an INFO: one XCCOS envelope. Commands are answered 200 at once and get their reply in an INFO of its
// own; a post gets its final answer after the commit, because a post has no reply.
func (c *client) info(m *flow.Message) {
	d := c.inDialog(m)
	if d == nil {
		return
	}
	if c.overloaded(m) {
		d.answeredWith(m.Seq, 503)
		c.busy(m, "overload")
		return
	}
	if len(m.Body) == 0 {
		d.answeredWith(m.Seq, 200)
		c.respond(m, 200, "OK")
		return
	}
	env, err := xccos.Decode(m.Body)
	if err != nil {
		var e *xccos.Error
		status, reason := 400, "Malformed XCCOS"
		if errors.As(err, &e) {
			status, reason = sipStatus(decodeCode(e))
			reason += ": " + quoteText(e.Text)
		}
		d.answeredWith(m.Seq, status)
		c.refuse(m, status, reason, "malformed_xccos")
		return
	}
	posts := 0
	for i := range env.Items {
		if env.Items[i].Kind == xccos.GrpChat {
			posts++
		}
	}
	body := sha256.Sum256(m.Body)
	if posts == 0 {
		d.answeredWith(m.Seq, 200)
		c.respond(m, 200, "OK")
		c.conn.After(func() { c.commands(d, env, body) })
		return
	}
	p := &posting{d: d, seq: m.Seq, left: posts, echo: m.AppendEcho(make([]byte, 0, 384), d.tag)}
	c.conn.After(func() {
		c.commands(d, env, body)
		for i := range env.Items {
			if it := &env.Items[i]; it.Kind == xccos.GrpChat {
				c.post(p, env, it, body)
			}
		}
	})
}

// posting is an INFO with posts on their way: its answer is the first error, or 200 when all are committed.
type posting struct {
	d    *dialog
	seq  uint32
	echo []byte

	mu   sync.Mutex
	left int
	err  error
}

func (p *posting) done(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left--; p.err == nil {
		p.err = err
	}
	if p.left > 0 {
		return
	}
	status := 200
	if p.err != nil {
		status, _ = sipStatus(chat.AsRefusal(p.err).Code)
	}
	p.d.answeredWith(p.seq, status)
	c := p.d.client
	c.front.answers.put(answer{c, c.front.finalAnswer(p.echo, p.err)})
}

// post submits one message. Whether the sender is in the room is decided with the log's state and not here: a retry of a
// post that took effect is answered as the first time, joined or not.
func (c *client) post(p *posting, env *xccos.Envelope, it *xccos.Item, body [32]byte) {
	c.front.metrics.commands.WithLabelValues("grpchat").Inc()
	if it.Err != nil {
		p.done(chat.Refuse(decodeCode(it.Err), "%s", it.Err.Text))
		return
	}
	d := p.d
	if event.UserPrincipal(it.Post.Author) != d.user {
		p.done(chat.Refuse(chat.CodeForbidden, "the author of the message is not the user of this connection"))
		return
	}
	room, refusal := c.roomOf(it.Post.ChanURI)
	if refusal != nil {
		p.done(refusal)
		return
	}
	o := c.front.origin(d)
	o.ID = commandID(d.user, d.endpoint, room, env.EnvID, it.Seq, body)
	c.acquire()
	c.front.backend.Submit(chat.Request{Origin: o, Command: &chat.Post{Room: room, Text: strings.Clone(it.Post.Text),
		RTF: strings.Clone(it.Post.RTF), Alert: it.Post.Alert}}, func(_ chat.Outcome, err error) {
		c.release()
		p.done(err)
	})
}

// commandID identifies a client's command across retries, connections and nodes: user, device, room, envelope id,
// sequence id and body. A client that repeats a command it has no answer to repeats all of them; a client that asks
// anew counts its envelopes on.
func commandID(user event.Principal, endpoint event.Endpoint, room event.RoomID, env, seq string, body [32]byte) event.CommandID {
	return identity(body, string(user), string(endpoint), string(room), env, seq)
}

// identity hashes the parts of a command's identity, each with its length, so that no two lists of parts look alike.
func identity(body [32]byte, parts ...string) event.CommandID {
	h := sha256.New()
	for _, s := range parts {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		h.Write([]byte(s))
	}
	h.Write(body[:])
	return event.CommandID(h.Sum(nil)[:16])
}

// roomOf reads a room URI. Rooms of another domain are not here.
func (c *client) roomOf(uri string) (event.RoomID, *chat.Refusal) {
	domain, room, err := chat.ParseRoomURI(uri)
	if err != nil {
		return "", chat.Refuse(chat.CodeNotFound, "not the URI of a room here")
	}
	if !strings.EqualFold(domain, c.front.backend.State().Domain()) {
		return "", chat.Refuse(chat.CodeNotFound, "no such room here")
	}
	return room, nil
}

// commands runs the commands of an envelope, in order. body is the hash of the INFO's body.
func (c *client) commands(d *dialog, env *xccos.Envelope, body [32]byte) {
	for i := range env.Items {
		if it := &env.Items[i]; it.Kind == xccos.Cmd {
			c.acquire()
			c.command(&call{d: d, env: env, it: it, body: body, slot: d.expect()})
		}
	}
}

// call is one command on its way to its reply.
type call struct {
	d    *dialog
	env  *xccos.Envelope
	it   *xccos.Item
	body [32]byte // hash of the INFO's body: part of the command's identity
	slot *reply
}

// reply sends the reply to the command in its turn, with the data that make returns for the state of that moment.
func (k *call) reply(at event.Offset, settle func(*shard), make func(s *shard) (*xccos.Data, *chat.Refusal)) {
	k.d.complete(k.slot, at, settle, func(s *shard) {
		data, refusal := make(s)
		k.send(s, data, refusal)
	})
}

// send queues the reply.
func (k *call) send(s *shard, data *xccos.Data, refusal *chat.Refusal) {
	code, text := 200, xccos.Success
	if refusal != nil {
		code, text = xccos.RespFor(refusal.Code)
		data = nil
	}
	f := k.d.client.front
	body := xccos.AppendReply(make([]byte, 0, 1024), f.nextEnv.Add(1), k.env, k.it, code, text, data)
	s.reply(k.d, flow.NewPayload(contentType, body))
}

// fail refuses the command.
func (k *call) fail(r *chat.Refusal) {
	k.reply(0, nil, func(*shard) (*xccos.Data, *chat.Refusal) { return nil, r })
}

// give answers with what can be made from the state alone.
func (k *call) give(make func(st *chat.State) *xccos.Data) {
	k.reply(0, nil, func(s *shard) (*xccos.Data, *chat.Refusal) { return make(s.state), nil })
}

// command starts one command.
func (c *client) command(k *call) {
	f, d := c.front, k.it.Data
	f.metrics.commands.WithLabelValues(commandLabel(k.it.ID)).Inc()
	if k.it.Err != nil {
		k.fail(chat.Refuse(decodeCode(k.it.Err), "%s", k.it.Err.Text))
		return
	}
	switch k.it.ID {
	case xccos.CmdReqURI: // the client goes on to the URI it is told (XCCOS digest, section 3.1)
		k.give(func(st *chat.State) *xccos.Data { return &xccos.Data{Users: []xccos.UIB{{URI: f.chatURI(st)}}} })
	case xccos.CmdGetServerInfo:
		k.give(func(st *chat.State) *xccos.Data {
			return f.service().Info(st, d.Server, event.Time(time.Now().UnixNano()))
		})
	case xccos.CmdGetAssociations:
		k.give(func(st *chat.State) *xccos.Data {
			return blocks.Associations(st, k.d.user, d.Association, f.cfg.SearchLimit)
		})
	case xccos.CmdGetInv: // invitations are not kept: none is newer than what the client knows (vector V25b)
		k.give(func(st *chat.State) *xccos.Data {
			inv := xccos.Inv{ID: 1, Domain: st.Domain()}
			if len(d.Invites) > 0 {
				inv.ID = d.Invites[0].ID
			}
			return &xccos.Data{Invites: []xccos.Inv{inv}}
		})
	case xccos.CmdNodes: // rooms are made by administrators: nowhere by this user (vector V27b)
		k.give(func(*chat.State) *xccos.Data { return new(xccos.Data) })
	case xccos.CmdJoin, xccos.CmdBJoin:
		c.join(k)
	case xccos.CmdPart:
		c.part(k)
	case xccos.CmdBCContext, xccos.CmdBCByMsg:
		c.history(k)
	case xccos.CmdChanSrch:
		c.search(k)
	default:
		f.log.Info("command is not supported", slog.String(keyCommand, k.it.ID))
		k.fail(chat.Refuse(chat.CodeUnsupported, "command is not supported"))
	}
}

// commandLabel bounds the label: a name from the network must not make a time series.
func commandLabel(id string) string {
	switch id {
	case xccos.CmdReqURI, xccos.CmdGetServerInfo, xccos.CmdGetAssociations, xccos.CmdGetInv, xccos.CmdNodes, xccos.CmdJoin,
		xccos.CmdBJoin, xccos.CmdPart, xccos.CmdBCContext, xccos.CmdBCByMsg, xccos.CmdChanSrch, xccos.CmdGetPref, xccos.CmdSetPref,
		xccos.CmdGetFUTok, xccos.CmdGetFDTok:
		return id
	}
	return "other"
}

// join opens sessions. It takes effect for the client where its reply is rendered: what was posted before that
// point is in the history, what comes after is delivered live, and nothing is in between.
func (c *client) join(k *call) {
	st := c.front.backend.State()
	cmd := &chat.Join{Batch: k.it.ID == xccos.CmdBJoin}
	var foreign []xccos.ChanID
	seen := map[event.RoomID]bool{}
	for _, r := range k.it.Data.Rooms {
		room := event.RoomID(strings.Clone(string(r.Room())))
		if r.Domain != "" && !strings.EqualFold(r.Domain, st.Domain()) {
			foreign = append(foreign, r)
		} else if !seen[room] {
			seen[room] = true
			cmd.Rooms = append(cmd.Rooms, room)
		}
	}
	if !cmd.Batch && (len(foreign) > 0 || len(cmd.Rooms) > 1) {
		if len(foreign) > 0 {
			k.fail(chat.Refuse(chat.CodeNotFound, "no such room here"))
		} else {
			k.fail(chat.Refuse(chat.CodeInvalid, "cmd:join is for one room"))
		}
		return
	}
	if len(cmd.Rooms) == 0 {
		k.reply(0, nil, func(s *shard) (*xccos.Data, *chat.Refusal) {
			return blocks.Join(s.state, k.d.sipe, nil, blocks.Failed(s.state, nil, foreign)), nil
		})
		return
	}
	c.front.ledger.join(k.d, cmd, func(o chat.Outcome, err error) {
		if err != nil {
			r := chat.AsRefusal(err)
			k.reply(0, func(*shard) {
				for _, room := range cmd.Rooms {
					c.front.ledger.joined(k.d, room, false, r.Code == chat.CodeUnavailable)
				}
			}, func(*shard) (*xccos.Data, *chat.Refusal) { return nil, r })
			return
		}
		refused := map[event.RoomID]bool{}
		for i := range o.Result.Refused {
			refused[o.Result.Refused[i].Room] = true
		}
		k.reply(o.Offset, func(*shard) {
			for _, room := range cmd.Rooms {
				c.front.ledger.joined(k.d, room, !refused[room], false)
			}
		}, func(s *shard) (*xccos.Data, *chat.Refusal) { return c.enter(s, k.d, cmd, refused, foreign) })
	})
}

// enter subscribes the dialog to the rooms it joined and makes the reply, at one position of the log.
func (c *client) enter(s *shard, d *dialog, cmd *chat.Join, refused map[event.RoomID]bool, foreign []xccos.ChanID) (*xccos.Data, *chat.Refusal) {
	var in, out []event.RoomID
	for _, room := range cmd.Rooms {
		switch {
		case refused[room]:
			out = append(out, room)
		case s.state.Joined(room, d.user, d.endpoint, c.front.cfg.Node):
			s.subscribe(d, room)
			in = append(in, room)
		case c.front.ledger.holds(d, room):
			out = append(out, room) // put out again between the commit and now
		default:
			in = append(in, room) // the client has already left again: the join was good
		}
	}
	if !cmd.Batch && len(out) > 0 {
		return nil, chat.Refuse(chat.CodeForbidden, "put out of the room")
	}
	return blocks.Join(s.state, d.sipe, in, blocks.Failed(s.state, out, foreign)), nil
}

// part closes a session.
func (c *client) part(k *call) {
	uri := k.it.Data.Chans[0].URI
	room, refusal := c.roomOf(uri)
	if refusal != nil {
		k.fail(refusal)
		return
	}
	left := func(s *shard) (*xccos.Data, *chat.Refusal) {
		s.unsubscribe(k.d, room)
		return &xccos.Data{Chans: []xccos.ChanIB{{URI: chat.RoomURI(s.state.Domain(), room)}}}, nil
	}
	held, submitted := c.front.ledger.part(k.d, room, func(o chat.Outcome, err error) {
		if err == nil || errors.Is(err, chat.ErrNotJoined) { // ended by the pool meanwhile: what was wanted is so
			k.reply(o.Offset, nil, left)
			return
		}
		k.reply(0, func(*shard) { c.front.ledger.unparted(k.d, room) },
			func(*shard) (*xccos.Data, *chat.Refusal) { return nil, chat.AsRefusal(err) })
	})
	switch {
	case !held:
		if _, ok := c.front.backend.State().Room(room); !ok {
			k.fail(chat.Refuse(chat.CodeNotFound, "no such room"))
			return
		}
		k.fail(chat.Refuse(chat.CodeNotJoined, "not in the room"))
	case !submitted:
		k.reply(0, nil, left)
	}
}

// search lists rooms. What the user may not see is not found (XCCOS digest, section 3.9).
func (c *client) search(k *call) {
	q := k.it.Data.Search
	f := c.front
	f.reader.run(func() {
		ctx, cancel := context.WithTimeout(c.front.ctx, readTimeout)
		defer cancel()
		st := f.backend.State()
		rooms, err := f.backend.FindRooms(ctx, q.Criteria, q.Extended, func(r event.RoomID) bool { return st.Rights(r, k.d.user).See })
		if err != nil {
			f.log.Error("rooms could not be searched", slog.String(keyError, err.Error()))
			k.fail(chat.AsRefusal(err))
			return
		}
		k.reply(0, nil, func(s *shard) (*xccos.Data, *chat.Refusal) {
			return blocks.Found(s.state, k.d.user, rooms, f.cfg.SearchLimit), nil
		})
	})
}

// readers runs reads that may wait for a disk on a few goroutines, which exist while there is work.
type readers struct {
	max int

	mu      sync.Mutex
	running int
	queue   []func()
	wg      sync.WaitGroup
}

func (r *readers) wait() { r.wg.Wait() }

func (r *readers) run(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, fn)
	if r.running < r.max {
		r.running++
		r.wg.Go(r.work)
	}
}

func (r *readers) work() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.queue = nil
			r.running--
			r.mu.Unlock()
			return
		}
		fn := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		r.mu.Unlock()
		fn()
	}
}
