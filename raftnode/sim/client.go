package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"parley/log/event"
	"parley/projections/chat"
)

// Plan is what a client does.
type Plan struct {
	posts int
	think time.Duration // pause between commands, at most
}

// Posts is a plan of n messages into random rooms, with the joins, parts and reads of history that belong to it.
func Posts(n int) Plan { return Plan{posts: n, think: 900 * time.Millisecond} }

// client is a user with one endpoint. It stays with a node until that fails it.
type client struct {
	w      *World
	number int
	rng    *rand.Rand
	plan   Plan
	home   *instance
	joined map[event.RoomID]bool // on home, as far as the client knows
}

func userName(i int) event.Principal { return event.Principal(fmt.Sprintf("sip:u%d@sim.test", i)) }

// run does the plan.
func (c *client) run() {
	for done := 0; done < c.plan.posts && !c.w.over(); {
		c.pause()
		room := c.w.rooms[c.rng.IntN(len(c.w.rooms))]
		switch c.rng.IntN(10) {
		case 0:
			if c.settled() && c.joined[room] {
				delete(c.joined, room)
				c.here(opPart, room, &chat.Part{Rooms: []event.RoomID{room}})
			}
		case 1, 2:
			c.anywhere(c.w.history.begin(c.number, opRead, room, ""), &chat.ReadHistory{Room: room, Last: 5})
		default:
			o := c.w.history.begin(c.number, opPost, room, "")
			c.anywhere(o, &chat.Post{Room: room, Text: fmt.Sprintf("message %x", o.id)})
			done++
		}
		if c.rng.IntN(40) == 0 {
			c.home = nil // the user goes elsewhere
		}
	}
}

func (c *client) pause() { time.Sleep(time.Duration(c.rng.Int64N(int64(c.plan.think)))) }

// settled sees to it that the client has a home that runs. It reports false when the simulation is over.
func (c *client) settled() bool {
	for !c.w.over() {
		if c.home != nil && c.home.ctx.Err() == nil && c.home.home() != 0 {
			return true
		}
		if in := c.w.pick(c.rng); in != nil && in.home() != 0 {
			c.home, c.joined = in, map[event.RoomID]bool{}
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func (c *client) request(o *op, command chat.Command) chat.Request {
	return chat.Request{Origin: chat.Origin{By: userName(c.number), Endpoint: "e", Node: c.home.node.id, Incarnation: c.home.home(), ID: o.id}, Command: command}
}

// here does something that makes sense on this node only, until its outcome is known or the node is gone.
func (c *client) here(kind opKind, room event.RoomID, command chat.Command) error {
	in := c.home
	o := c.w.history.begin(c.number, kind, room, in.node.id)
	for unknown := false; !c.w.over() && in.home() != 0; time.Sleep(20 * time.Millisecond) {
		o.tries++
		out, err, ok := in.submit(c.request(o, command))
		if !ok {
			break
		}
		if err != nil && retryable(err) {
			unknown = true
			continue
		}
		if err == nil || !unknown { // after a try of unknown outcome a refusal proves nothing: that try may still come
			c.w.history.end(o, out, err)
		}
		return err
	}
	c.home = nil
	return errHomeless
}

var errHomeless = fmt.Errorf("the node is gone")

// anywhere does something that takes effect once wherever it is tried, until its outcome is known.
func (c *client) anywhere(o *op, command chat.Command) {
	for unknown := false; c.settled(); time.Sleep(20 * time.Millisecond) {
		if o.kind == opPost && !c.joined[o.room] {
			if err := c.here(opJoin, o.room, &chat.Join{Rooms: []event.RoomID{o.room}}); err != nil {
				if err != errHomeless && !retryable(err) {
					c.w.fail(fmt.Errorf("client %d: join: %w", c.number, err))
				}
				continue
			}
			c.joined[o.room] = true
		}
		o.node = c.home.node.id
		o.tries++
		q := c.request(o, command)
		twin := make(chan chat.Outcome, 1)
		twice := c.rng.IntN(8) == 0 // the client's stack sends it twice
		if twice {
			home := c.home
			c.w.work.Go(func() {
				if out, err, ok := home.submit(q); err == nil && ok {
					twin <- out
				}
				close(twin)
			})
		}
		out, err, ok := c.home.submit(q)
		if twice {
			if other, good := <-twin; good {
				if err == nil && ok && (other.Offset != out.Offset || other.Result.MessageID != out.Result.MessageID || other.Result.Last != out.Result.Last) {
					c.w.fail(fmt.Errorf("client %d: command %x took effect at %d and at %d", c.number, o.id, out.Offset, other.Offset))
				}
				out, err, ok = other, nil, true
			}
		}
		refused := ok && err != nil && !retryable(err)
		switch {
		case ok && err == nil, refused && !unknown && !twice:
			c.w.history.end(o, out, err)
			if refused {
				delete(c.joined, o.room) // the pool thought this node lost, and parted its sessions
			}
			return
		case refused && !c.joined[o.room]:
			c.w.fail(fmt.Errorf("client %d: %s: %w", c.number, o.kind, err))
			return
		case refused:
			delete(c.joined, o.room) // join, and ask again what became of it
		case !ok:
			c.home, unknown = nil, true
		default:
			unknown = true
			if c.rng.IntN(4) == 0 {
				c.home = nil
			}
		}
	}
}
