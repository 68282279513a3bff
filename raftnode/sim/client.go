package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"parley/log/event"
	"parley/projections/chat"
)

// Plan is what a client does.
type Plan struct {
	posts int
	burst int           // messages sent at once, at most; 0: one, and its outcome is waited for
	think time.Duration // pause between commands or bursts, at most
}

// Posts is a plan of n messages into random rooms, with the joins, parts and reads of history that belong to it.
func Posts(n int) Plan { return Plan{posts: n, think: 900 * time.Millisecond} }

// Bursts is a plan of n messages in bursts of up to size: all of a burst go into one room and are sent without waiting
// for an answer.
func Bursts(n, size int) Plan { return Plan{posts: n, burst: size, think: 900 * time.Millisecond} }

// client is a user with one endpoint. It stays with a node until that fails it.
type client struct {
	w      *World
	number int
	rng    *rand.Rand
	plan   Plan
	home   *instance
	dialog int                   // counts the homes
	joined map[event.RoomID]bool // on home, as far as the client knows
}

func userName(i int) event.Principal { return event.Principal(fmt.Sprintf("sip:u%d@sim.test", i)) }

// run does the plan.
func (c *client) run() {
	if c.plan.burst > 0 {
		c.runBursts()
		return
	}
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
			c.anywhere(o, message(o))
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
			c.dialog++
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

// enter joins a room unless that is done. It reports false if the client should try again, perhaps elsewhere.
func (c *client) enter(room event.RoomID) bool {
	if c.joined[room] {
		return true
	}
	if err := c.here(opJoin, room, &chat.Join{Rooms: []event.RoomID{room}}); err != nil {
		if err != errHomeless && !retryable(err) {
			c.w.fail(fmt.Errorf("client %d: join: %w", c.number, err))
		}
		return false
	}
	c.joined[room] = true
	return true
}

// anywhere does something that takes effect once wherever it is tried, until its outcome is known.
func (c *client) anywhere(o *op, command chat.Command) {
	for unknown := o.tries > 0; c.settled(); time.Sleep(20 * time.Millisecond) {
		if o.kind == opPost && !c.enter(o.room) {
			continue
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

// runBursts does a plan of bursts.
func (c *client) runBursts() {
	for left := c.plan.posts; left > 0 && !c.w.over(); {
		c.pause()
		room := c.w.rooms[c.rng.IntN(len(c.w.rooms))]
		if !c.settled() || !c.enter(room) {
			continue
		}
		n := 1 + c.rng.IntN(min(left, c.plan.burst))
		left -= n
		unknown := c.burst(room, n)
		if len(unknown) > 0 && c.rng.IntN(2) == 0 {
			c.home = nil
		}
		if c.rng.IntN(2) == 0 { // the user has the client send again what failed
			for _, o := range unknown {
				c.w.history.sent(o, 0) // whether the first or the second sending takes effect is open, and so is its place
				c.anywhere(o, message(o))
			}
		}
	}
}

func message(o *op) chat.Command {
	return &chat.Post{Room: o.room, Text: fmt.Sprintf("message %x", o.id)}
}

// burst sends n messages and waits until each is answered or the node is gone. It returns those of unknown outcome.
func (c *client) burst(room event.RoomID, n int) (unknown []*op) {
	home, ops, answers := c.home, make([]*op, n), make(chan error, n)
	var gap time.Duration // all at once, or as a user types
	if c.rng.IntN(2) == 0 {
		gap = 200 * time.Millisecond
	}
	for i := range ops {
		o := c.w.history.begin(c.number, opPost, room, home.node.id)
		c.w.history.sent(o, c.dialog)
		ops[i] = o
		home.send(c.request(o, message(o)), func(out chat.Outcome, err error) {
			if home.ctx.Err() == nil { // a crashed node tells nobody anything
				c.w.history.end(o, out, err)
				answers <- err
			}
		})
		if gap > 0 {
			time.Sleep(time.Duration(c.rng.Int64N(int64(gap))))
		}
	}
	for range ops {
		select {
		case err := <-answers:
			switch {
			case errors.Is(err, chat.ErrNotJoined):
				delete(c.joined, room) // the pool thought this node lost, and parted its sessions
			case err != nil && !retryable(err):
				c.w.fail(fmt.Errorf("client %d: post: %w", c.number, err))
			}
		case <-home.ctx.Done():
			c.home = nil
			return c.w.history.unknown(ops)
		}
	}
	return c.w.history.unknown(ops)
}
