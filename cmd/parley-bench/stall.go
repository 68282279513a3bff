package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

const (
	stallers       = 10 // clients that stop reading
	stallBurst     = 10
	stallPace      = 100 * time.Millisecond // from burst to burst: with stallBurst 100 posts a second
	stallSample    = 10                     // bursts from one look at the server's memory to the next
	stallTextBytes = 512
	stallPatience  = time.Minute // for a disconnection: the server's own limits are 15 s and 30 s
	stallHistory   = 100         // messages asked for by one that comes back; they fit into one answer
	stallMemory    = 64          // MiB that the server may grow by
)

// stream is a room with readers, and one who posts into it.
type stream struct {
	o       *options
	proc    *process
	poster  *siptest.Client
	readers []*siptest.Client
	text    string            // of every post, after its number
	sent    []atomic.Int64    // by number, when, in ns since began
	took    [][]time.Duration // by reader, of this round; each belongs to its reader's goroutine until all has arrived
	got     atomic.Int64
	moved   chan struct{} // one token: got has grown
	began   time.Time
	next    int      // number of the next post
	posted  []string // texts of this round that were accepted
	refused int
}

// stalled is what became of those who stopped reading in one round.
type stalled struct {
	gone   int           // seen to leave by the room, and found their connection closed
	last   time.Duration // until the room saw the last of them leave
	missed int           // posts that the one who came back had not been sent
	asked  int           // messages it asked for
	right  int           // of them, newest first, those that are what was posted
	whole  int           // the same when it asks for everything it missed
}

// stallBench posts at a steady pace and takes the time from sending a post to its arrival at each reader, with and
// without members of the same room that joined and then stopped reading, in turns.
func stallBench(ctx context.Context, o *options, r *report) (err error) {
	n := max(stallers/o.scale, 2)
	st := &stream{o: o, moved: make(chan struct{}, 1), took: make([][]time.Duration, o.readers), began: time.Now(),
		text: strings.Repeat("the quick brown fox jumps over ", stallTextBytes), sent: make([]atomic.Int64, 2*o.rounds*o.stream)}
	dir := filepath.Join(o.dir, "stall")
	if err := newNode(dir); err != nil {
		return err
	}
	if st.proc, err = spawn(ctx, childConfig{Dir: dir, Users: o.readers + 1 + n, Rooms: 1}, o.log); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	if err := st.fill(ctx); err != nil {
		return err
	}
	var p99, memory, gone, right, whole series
	var last time.Duration
	for i := range o.rounds {
		var with, without side
		var s stalled
		for _, stall := range []bool{i%2 == 1, i%2 == 0} { // who is first alternates: the log grows
			if stall {
				with, s, err = st.stalledRound(ctx, n)
			} else {
				without, err = st.round(ctx)
			}
			if err != nil {
				return err
			}
		}
		o.progress("stall: round %d of %d: p99 %s ms with %d stalled, %s ms without; %d gone after %s s; memory grew by %s MiB, by %s without", i+1, o.rounds,
			number(with.p99), n, number(without.p99), s.gone, number(s.last.Seconds()), number(with.grown), number(without.grown))
		p99.add(with.p99, without.p99)
		memory.add(with.grown, without.grown)
		gone.add(float64(s.gone), float64(n))
		right.add(float64(s.right), float64(s.asked))
		whole.add(float64(s.whole), float64(s.missed))
		last = max(last, s.last)
	}
	if st.refused > 0 {
		r.note("stall: %d posts were refused and are not counted", st.refused)
	}
	return errors.Join(
		r.add(fmt.Sprintf("%d readers, %d more stalled: p99 from post to arrival", o.readers, n), "ms", "ms, none stalled", p99, atMost("ratio", 2), ""),
		r.add("the same: the server's resident memory grew by", "MiB", "MiB, none stalled", memory, atMost("value", stallMemory), "at its peak; under 1 counts as 1"),
		r.add("stalled clients that were disconnected", "clients", "clients that stalled", gone, atLeast("ratio", 1),
			fmt.Sprintf("the last %s s after the first post", number(last.Seconds()))),
		r.add("one comes back: newest messages in its history", "as posted", "asked for", right, atLeast("ratio", 1), ""),
		r.add("the same, asking for all it missed", "as posted", "missed", whole, nil, "one answer has 500 messages and 120 KiB of text at most"),
	)
}

// fill lets readers and poster in.
func (st *stream) fill(ctx context.Context) error {
	st.readers = make([]*siptest.Client, st.o.readers)
	err := parallel(ctx, st.o.readers, func(i int) error {
		st.readers[i] = st.join(i, nil, func(p *xccos.Post) { st.arrived(i, p) })
		return st.readers[i].Err()
	})
	if err != nil {
		return err
	}
	st.poster = st.join(st.o.readers, nil, func(*xccos.Post) {})
	return st.poster.Err()
}

// join signs a client in and lets it join.
func (st *stream) join(user int, set func(*siptest.Options), got func(*xccos.Post)) *siptest.Client {
	opt := siptest.Options{Addr: st.proc.hello.SIP, User: userAddress(user), Timeout: stallPatience, OnPost: got}
	if set != nil {
		set(&opt)
	}
	c := siptest.Dial(opt)
	c.SignIn().Join(roomURI(0))
	return c
}

func (st *stream) arrived(reader int, p *xccos.Post) {
	now := time.Since(st.began)
	if n, err := strconv.Atoi(p.Text[:min(numberDigits, len(p.Text))]); err == nil && n < len(st.sent) {
		st.took[reader] = append(st.took[reader], now-time.Duration(st.sent[n].Load()))
	} // else it is none of ours, and one that is missing is found by the count
	st.got.Add(1)
	select {
	case st.moved <- struct{}{}:
	default:
	}
}

const numberDigits = 8

func (st *stream) close() error {
	hangUp(append(st.readers, st.poster))
	return st.proc.stop()
}

// side is one round with or without stalled clients.
type side struct {
	p99   float64 // ms
	grown float64 // MiB of resident memory, at the peak
}

// round posts o.stream messages and waits until all readers have them.
func (st *stream) round(ctx context.Context) (s side, err error) {
	if err := quiet(ctx, st.proc); err != nil {
		return s, err
	}
	before, err := st.proc.do(order{Do: "collect"})
	if err != nil {
		return s, err
	}
	for i := range st.took {
		st.took[i] = make([]time.Duration, 0, st.o.stream)
	}
	st.posted = st.posted[:0]
	peak := before.RSS
	look := func() error {
		a, err := st.proc.usage()
		peak = max(peak, a.RSS)
		return err
	}
	want := st.got.Load()
	if err := st.post(ctx, look); err != nil {
		return s, err
	}
	want += int64(len(st.posted) * len(st.readers))
	late := time.NewTimer(deliveryPatience)
	defer late.Stop()
	for st.got.Load() < want {
		select {
		case <-st.moved:
		case <-late.C:
			return s, fmt.Errorf("%d messages were not delivered", want-st.got.Load())
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
	if err := look(); err != nil {
		return s, err
	}
	var all []time.Duration
	for _, t := range st.took {
		all = append(all, t...)
	}
	if len(all) == 0 {
		return s, errors.New("every post was refused")
	}
	return side{p99: ms(percentile(all, 99)), grown: max(float64(peak-before.RSS)/(1<<20), 1)}, nil
}

// post sends the posts of a round in bursts, each when its time has come, whatever became of those before it, so that a
// server that falls behind is seen to. It returns when all are answered.
func (st *stream) post(ctx context.Context, look func() error) error {
	type outcome struct{ number, status int }
	answers := make(chan outcome, st.o.stream)
	pace := stallPace / time.Duration(min(st.o.scale, 5))
	first, start := st.next, time.Now()
	for i := range st.o.stream {
		if burst := i / stallBurst; i%stallBurst == 0 && burst > 0 {
			if burst%stallSample == 0 {
				if err := look(); err != nil {
					return err
				}
			}
			if err := sleep(ctx, time.Until(start.Add(time.Duration(burst)*pace))); err != nil {
				return err
			}
		}
		n := st.next
		st.next++
		st.sent[n].Store(int64(time.Since(st.began)))
		st.poster.PostAsync(st.poster.NextEnv(), roomURI(0), st.textOf(n), func(s int) { answers <- outcome{n, s} })
	}
	refused := map[int]bool{}
	for range st.o.stream {
		a := <-answers
		if a.status == 0 {
			return fmt.Errorf("the poster's connection ended: %w", st.poster.Err())
		}
		refused[a.number] = a.status != 200
	}
	for n := first; n < st.next; n++ {
		if refused[n] {
			st.refused++
		} else {
			st.posted = append(st.posted, st.textOf(n))
		}
	}
	return nil
}

func (st *stream) textOf(n int) string {
	return fmt.Sprintf("%0*d %s", numberDigits, n, st.text)[:stallTextBytes]
}

// stalledRound is a round with n members more that stop reading before it. Then it looks what became of them.
func (st *stream) stalledRound(ctx context.Context, n int) (s side, out stalled, err error) {
	clients := make([]*siptest.Client, n)
	defer func() { hangUp(clients) }()
	had := make([]atomic.Int64, n) // posts that reached them
	err = parallel(ctx, n, func(i int) error {
		clients[i] = st.join(st.o.readers+1+i, func(o *siptest.Options) { o.Control = lanSegments }, func(*xccos.Post) { had[i].Add(1) })
		return clients[i].Err()
	})
	if err != nil {
		return s, out, err
	}
	st.poster.Notices() // of their arrival, and of earlier rounds
	for _, c := range clients {
		c.StopReading()
	}
	start := time.Now()
	type left struct {
		all  []*siptest.Client
		last time.Duration
		err  error
	}
	watched := make(chan left, 1)
	go func() { // the poster is told who leaves
		var l left
		for _, c := range clients {
			if st.poster.ExpectNotice("ntc:part", c.User()); st.poster.Err() != nil {
				if l.err = st.poster.Err(); errors.Is(l.err, siptest.ErrTimeout) { // a result, not a failure
					l.err = nil
					st.poster.ClearErr()
				}
				break
			}
			l.all, l.last = append(l.all, c), time.Since(start)
		}
		watched <- l
	}()
	s, err = st.round(ctx)
	if err != nil {
		st.poster.Close() // ends the watch
		<-watched
		return s, out, err
	}
	l := <-watched
	if l.err != nil {
		return s, out, l.err
	}
	out.last = l.last
	for _, c := range l.all {
		c.ReadOn()
		if c.ExpectClosed(); c.Err() == nil {
			out.gone++
		}
	}
	if out.gone == 0 {
		return s, out, errors.New("no stalled client was disconnected")
	}
	err = st.comeBack(l.all[0].User(), &out, len(st.posted)-int(had[0].Load()))
	return s, out, err
}

// comeBack lets a client in again that was disconnected, and compares its history with what was posted.
func (st *stream) comeBack(user string, out *stalled, missed int) error {
	c := siptest.Dial(siptest.Options{Addr: st.proc.hello.SIP, User: user, Timeout: stallPatience})
	defer c.Close()
	c.SignIn().Join(roomURI(0))
	out.missed, out.asked = missed, min(missed, stallHistory)
	if c.Err() == nil && out.asked <= 0 {
		return errors.New("the stalled client missed nothing")
	}
	out.right = st.alike(c.History(roomURI(0), out.asked))
	out.whole = st.alike(c.History(roomURI(0), out.missed))
	return c.Err()
}

// alike counts, from the newest back, how many messages are what was posted.
func (st *stream) alike(got []xccos.Post) int {
	n := 0
	for n < min(len(got), len(st.posted)) && got[len(got)-1-n].Text == st.posted[len(st.posted)-1-n] {
		n++
	}
	return n
}
