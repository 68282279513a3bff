package sipfront

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/blocks"
	"parley/sipfront/commands"
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
			if env.Items[i].Kind == xccos.GrpChat {
				c.post(p, env, i, body)
			}
		}
	})
}

// maxPost is how many bytes the texts of a post may take as they go out, escaped. The rules bound their length, of which
// escapes can make ten times as much (a line end, to the open client). What goes out is no longer than what may come in.
const maxPost = flow.MaxMessage - flow.MaxHead

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
func (c *client) post(p *posting, env *xccos.Envelope, place int, body [32]byte) {
	it := &env.Items[place]
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
	room, refusal := commands.RoomOf(c.front.backend.State(), it.Post.ChanURI)
	if refusal == nil && xccos.PostLen(it.Post) > maxPost {
		refusal = chat.Refuse(chat.CodeTooLarge, "a message that takes more than %d bytes to send", maxPost)
	}
	if refusal != nil {
		p.done(refusal)
		return
	}
	o := c.front.origin(d)
	o.ID = commands.ID(d.user, d.endpoint, room, env.EnvID, it.Seq, place, body)
	c.acquire()
	c.front.backend.Submit(chat.Request{Origin: o, Command: commands.PostOf(room, it.Post)}, func(_ chat.Outcome, err error) {
		c.release()
		p.done(err)
	})
}

// commands runs the commands of an envelope, in order. body is the hash of the INFO's body.
func (c *client) commands(d *dialog, env *xccos.Envelope, body [32]byte) {
	for i := range env.Items {
		if it := &env.Items[i]; it.Kind == xccos.Cmd {
			c.acquire()
			c.command(&call{d: d, env: env, it: it, place: i, body: body, slot: d.expect()})
		}
	}
}

// call is one command on its way to its reply.
type call struct {
	d   *dialog
	env *xccos.Envelope
	it  *xccos.Item
	// Parts of the command's identity: its place in the envelope, and the hash of the INFO's body.
	place int
	body  [32]byte
	slot  *reply
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
		code, text = xccos.Resp(refusal)
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

// command starts one command.
func (c *client) command(k *call) {
	f := c.front
	f.metrics.commands.WithLabelValues(commandLabel(k.it.ID)).Inc()
	switch {
	case k.it.Err != nil:
		k.fail(chat.Refuse(decodeCode(k.it.Err), "%s", k.it.Err.Text))
		return
	case k.it.ID != xccos.CmdPart && !f.backend.State().Enabled(k.d.user): // leaving is always let through
		k.fail(chat.Refuse(chat.CodeForbidden, "%s is not enabled for persistent chat", k.d.user).Breaks("R15", k.d.user))
		return
	}
	switch k.it.ID {
	case xccos.CmdJoin, xccos.CmdBJoin:
		c.join(k)
	case xccos.CmdPart:
		c.part(k)
	default:
		if !f.desk.Answer(k.call()) {
			f.log.Info("command is not supported", slog.String(keyCommand, k.it.ID))
			k.fail(chat.Refuse(chat.CodeUnsupported, "command is not supported"))
		}
	}
}

// call is the command as the desk sees it.
func (k *call) call() *commands.Call {
	c := k.d.client
	return &commands.Call{Origin: c.front.origin(k.d), Item: k.it, Place: k.place, Env: k.env.EnvID, Body: k.body,
		After: func(at event.Offset, fn func()) { c.shard.after(at, func(*shard) { fn() }) },
		Reply: func(at event.Offset, make func(*chat.State) (*xccos.Data, *chat.Refusal)) {
			k.reply(at, nil, func(s *shard) (*xccos.Data, *chat.Refusal) { return make(s.state) })
		}}
}

// labels are the commands that have a time series of their own: a name from the network must not make one.
var labels = func() map[string]bool {
	all := map[string]bool{}
	for _, e := range xccos.Entries() {
		all[e.ID] = e.Reply != ""
	}
	return all
}()

func commandLabel(id string) string {
	if labels[id] {
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
	c.front.ledger.join(k.d, cmd, func(holds map[event.RoomID]*hold, o chat.Outcome, err error) {
		if err != nil {
			r := chat.AsRefusal(err)
			k.reply(0, func(*shard) {
				for room, h := range holds {
					c.front.ledger.settle(k.d, room, h, refused, 0, r.Code == chat.CodeUnavailable)
				}
			}, func(*shard) (*xccos.Data, *chat.Refusal) { return nil, r })
			return
		}
		no := map[event.RoomID]bool{}
		for i := range o.Result.Refused {
			no[o.Result.Refused[i].Room] = true
		}
		k.reply(o.Offset, func(*shard) {
			for room, h := range holds {
				m := joins
				if no[room] {
					m = refused
				}
				c.front.ledger.settle(k.d, room, h, m, o.Offset, false)
			}
		}, func(s *shard) (*xccos.Data, *chat.Refusal) { return c.enter(s, k.d, cmd, no, holds, foreign) })
	})
}

// enter subscribes the dialog to the rooms it joined and makes the reply, at one position of the log. That may be far
// behind the join, when replies before this one took long.
func (c *client) enter(s *shard, d *dialog, cmd *chat.Join, no map[event.RoomID]bool, holds map[event.RoomID]*hold, foreign []xccos.ChanID) (*xccos.Data, *chat.Refusal) {
	var in, failed []event.RoomID
	for _, room := range cmd.Rooms {
		switch stage := c.front.ledger.stageOf(holds[room]); {
		case no[room]:
			failed = append(failed, room)
		case stage == left: // the client has left again: the join was good
			in = append(in, room)
		case stage == inside && s.state.Joined(room, d.user, d.endpoint, c.front.cfg.Node):
			s.subscribe(d, room)
			in = append(in, room)
		default: // put out again between the commit and now
			failed = append(failed, room)
		}
	}
	if !cmd.Batch && len(failed) > 0 {
		return nil, chat.Refuse(chat.CodeForbidden, "put out of the room")
	}
	return blocks.Join(s.state, d.sipe, in, blocks.Failed(s.state, failed, foreign)), nil
}

// part closes a session.
func (c *client) part(k *call) {
	uri := k.it.Data.Chans[0].URI
	room, refusal := commands.RoomOf(c.front.backend.State(), uri)
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
	case !held && c.front.ledger.wasPutOut(k.d, room):
		k.reply(0, nil, left)
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
