package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"parley/sipfront/siptest"
)

const (
	burstOf          = 10
	bodyBytes        = 512   // of the XML in a delivered message
	deliveryRate     = 30000 // deliveries a second, so that the server's own overload control stays out of it
	deliveryPatience = 30 * time.Second
)

// room is a room full of clients, on a server in a process of its own, and as many bare connections to that process.
type room struct {
	o       *options
	proc    *process
	clients []*siptest.Client
	bare    *bare
	got     atomic.Int64  // messages delivered to clients
	moved   chan struct{} // one token: got has grown
	refused atomic.Int64  // posts that were answered something else than 200
	next    int           // whose turn it is to post
	text    string
	wire    []byte // one message as delivered
	reply   int    // bytes of a client's answer to it
}

// fanoutBench posts into a room and divides the server's CPU by the messages delivered, answers included. The baseline
// is the same process writing the same bytes to as many bare connections, one write for each message and connection,
// and reading the answers without looking at them. Readers at the other end are the same.
func fanoutBench(ctx context.Context, o *options, r *report) (err error) {
	rm := &room{o: o, moved: make(chan struct{}, 1)}
	dir := filepath.Join(o.dir, "fanout")
	if err := newNode(dir); err != nil {
		return err
	}
	if rm.proc, err = spawn(ctx, childConfig{Dir: dir, Users: o.members + 1, Rooms: 1}, o.log); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rm.close()) }()
	if err := rm.fill(ctx); err != nil {
		return err
	}
	o.progress("fanout: %d members, messages of %d bytes on the wire", o.members, len(rm.wire))
	single, burst := series{inverse: true}, series{inverse: true}
	var last, allocs series
	for i := range o.rounds {
		for _, k := range []int{1, burstOf} {
			posts := max(o.posts/k, 2) * k
			raw, err := rm.raw(ctx, k, posts/k)
			if err != nil {
				return fmt.Errorf("bare TCP: %w", err)
			}
			sip, err := rm.sip(ctx, k, posts/k)
			if err != nil {
				return err
			}
			o.progress("fanout: round %d of %d, bursts of %d: %s us of server CPU for a message, bare TCP %s us", i+1, o.rounds, k,
				number(sip.cpu), number(raw.cpu))
			if k == burstOf {
				burst.add(sip.cpu, raw.cpu)
				continue
			}
			single.add(sip.cpu, raw.cpu)
			last.add(ms(sip.last), ms(raw.last))
			allocs.add(sip.allocs, 1)
		}
	}
	if n := rm.refused.Load(); n > 0 {
		r.note("fanout: %d posts were refused and are not counted as delivered", n)
	}
	against := "us, bare TCP writes of the same bytes"
	return errors.Join(
		r.add(fmt.Sprintf("single posts, %d members: server CPU", o.members), "us a message", against, single, atLeast("ratio", 0.70), "ratio: bare through ours"),
		r.add(fmt.Sprintf("bursts of %d, %d members: server CPU", burstOf, o.members), "us a message", against, burst, atLeast("ratio", 1.30), "ratio: bare through ours"),
		r.add("allocations of the whole server", "for each message", "for each message", allocs, atMost("value", 3), ""),
		r.add("single post: last of all members has it", "ms", "ms, bare TCP until its last answer is read", last, nil, ""),
	)
}

// fill lets everybody in and learns what a delivered message looks like.
func (rm *room) fill(ctx context.Context) error {
	// The text makes the body as long as it should be: once with none to see what comes without.
	probe, err := capture(rm.proc.hello.SIP, userAddress(rm.o.members), roomURI(0), "x")
	if err != nil {
		return fmt.Errorf("capture a message: %w", err)
	}
	rm.text = strings.Repeat("the quick brown fox jumps over ", bodyBytes)[:max(bodyBytes-len(probe.Body)+1, 16)]
	m, err := capture(rm.proc.hello.SIP, userAddress(rm.o.members), roomURI(0), rm.text)
	if err != nil {
		return fmt.Errorf("capture a message: %w", err)
	}
	rm.wire, rm.reply = []byte(m.String()), len(ok(m))
	if rm.clients, err = connect(ctx, rm.proc.hello.SIP, rm.o.members, []string{roomURI(0)}, rm.arrived); err != nil {
		return err
	}
	a, err := rm.proc.do(order{Do: "raw"})
	if err != nil {
		return err
	}
	if rm.bare, err = bareReaders(ctx, a.Addr, rm.o.members); err != nil {
		return err
	}
	return quiet(ctx, rm.proc)
}

func (rm *room) arrived() {
	rm.got.Add(1)
	select {
	case rm.moved <- struct{}{}:
	default:
	}
}

func (rm *room) close() error {
	hangUp(rm.clients)
	if rm.bare != nil {
		rm.bare.close()
	}
	return rm.proc.stop()
}

// cost is one round of one side.
type cost struct {
	cpu    float64 // us for each message
	allocs float64
	last   time.Duration // mean time until everybody had a burst
}

func (rm *room) raw(ctx context.Context, burst, times int) (cost, error) {
	var took time.Duration
	return rm.round(ctx, burst, times, func() (time.Duration, error) {
		a, err := rm.proc.do(order{Do: "write", Data: rm.wire, N: burst, Answer: rm.reply})
		took = a.Took
		return took, err
	})
}

func (rm *room) sip(ctx context.Context, burst, times int) (cost, error) {
	return rm.round(ctx, burst, times, func() (time.Duration, error) {
		start := time.Now()
		want := rm.got.Load() + int64(burst*len(rm.clients))
		poster := rm.clients[rm.next%len(rm.clients)]
		rm.next++
		status := make(chan int, burst)
		for range burst {
			poster.PostAsync(poster.NextEnv(), roomURI(0), rm.text, func(s int) { status <- s })
		}
		for range burst {
			if s := <-status; s != 200 {
				rm.refused.Add(1)
				want -= int64(len(rm.clients))
				if s == 0 {
					return 0, fmt.Errorf("the poster's connection ended: %w", poster.Err())
				}
			}
		}
		late := time.NewTimer(deliveryPatience)
		defer late.Stop()
		for rm.got.Load() < want {
			select {
			case <-rm.moved:
			case <-late.C:
				return 0, fmt.Errorf("%d messages were not delivered", want-rm.got.Load())
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return time.Since(start), nil
	})
}

// round runs bursts and reads the server's CPU before the first and after the last answer. The server has nothing to do
// between them but to keep time.
func (rm *room) round(ctx context.Context, burst, times int, one func() (time.Duration, error)) (cost, error) {
	if err := quiet(ctx, rm.proc); err != nil {
		return cost{}, err
	}
	before, err := rm.proc.usage()
	if err != nil {
		return cost{}, err
	}
	refused := rm.refused.Load()
	var took time.Duration
	pace := time.Duration(burst*len(rm.clients)) * time.Second / deliveryRate
	for range times {
		d, err := one()
		if err != nil {
			return cost{}, err
		}
		took += d
		if err := sleep(ctx, max(pace-d, time.Millisecond)); err != nil {
			return cost{}, err
		}
	}
	if err := sleep(ctx, 50*time.Millisecond); err != nil { // the last answers of clients
		return cost{}, err
	}
	after, err := rm.proc.usage()
	if err != nil {
		return cost{}, err
	}
	n := float64((int64(burst*times) - rm.refused.Load() + refused) * int64(len(rm.clients)))
	if n <= 0 {
		return cost{}, errors.New("every post was refused")
	}
	return cost{cpu: float64(after.CPU-before.CPU) / float64(time.Microsecond) / n, allocs: float64(after.Mallocs-before.Mallocs) / n,
		last: took / time.Duration(times)}, nil
}
