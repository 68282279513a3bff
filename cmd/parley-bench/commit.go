package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/raftnode/sequencer"
)

const (
	recordBytes  = 512
	patience     = 30 * time.Second // until the first commit
	rawBatch     = 128
	burstPosts   = 4096
	visiblePosts = 50
	visiblePause = 40 * time.Millisecond // an idle pool: 25 posts a second
)

// commitBench compares committed posts with what the disk can do at all: one writer that appends batches of 128 records
// of the same size to one file and syncs each batch.
func commitBench(ctx context.Context, o *options, r *report) error {
	texts := postTexts()
	one, three := series{}, series{}
	var cpu, syncs, bytes, burst, visible series
	var latency []time.Duration
	for i := range o.rounds {
		raw, err := rawAppend(ctx, filepath.Join(o.dir, fmt.Sprintf("raw%d", i)), o.period)
		if err != nil {
			return fmt.Errorf("raw append: %w", err)
		}
		o.progress("commit: round %d of %d: raw append %s records/s", i+1, o.rounds, number(raw))
		for _, n := range []int{1, 3} {
			m, err := commitRound(ctx, o, filepath.Join(o.dir, fmt.Sprintf("pool%d-%d", n, i)), n, texts)
			if err != nil {
				return fmt.Errorf("%d nodes: %w", n, err)
			}
			o.progress("commit: round %d of %d: %d nodes %s posts/s", i+1, o.rounds, n, number(m.perSecond))
			if n == 1 {
				one.add(m.perSecond, raw)
				cpu.add(us(m.cpu), 1e6*float64(runtime.GOMAXPROCS(0))/m.perSecond)
				continue
			}
			three.add(m.perSecond, raw)
			syncs.add(m.syncs, 1)
			bytes.add(m.bytes, 1)
			rawBurst, err := rawBurst(filepath.Join(o.dir, "burst"))
			if err != nil {
				return err
			}
			burst.add(ms(m.burst), ms(rawBurst))
			visible.add(ms(m.visible), ms(m.ack))
			latency = append(latency, m.p50, m.p99)
		}
	}
	const against = "records/s appended and synced, 128 at a time"
	note := fmt.Sprintf("last round p50 %.1f ms, p99 %.1f ms", ms(latency[len(latency)-2]), ms(latency[len(latency)-1]))
	return errors.Join(
		r.add("1 node, 512 proposers", "posts/s", against, one, atLeast("ratio", 0.30), ""),
		r.add("1 node: processor time for each post, the proposers' included", "us", "us that all cores have for it", cpu, nil, ""),
		r.add("3 nodes on one machine, 512 proposers", "posts/s", against, three, atLeast("ratio", 0.10), note),
		r.add("syncs of the log for each commit, leader", "syncs", "sync, the least there can be", syncs, atMost("value", 1.1), ""),
		r.add("bytes the log writes for each byte of events, a node", "bytes", "byte, uncompressed and written once", bytes, atMost("value", 2.0), ""),
		r.add("burst of 4,096 posts: last acknowledgement", "ms", "ms to append and sync the same", burst, atMost("value", 200), ""),
		r.add("follower sees a post after the leader's answer, p50", "ms", "ms to the leader's answer", visible, atMost("value", 10), ""),
	)
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// rawAppend returns how many records a second one writer makes durable.
func rawAppend(ctx context.Context, name string, period time.Duration) (perSecond float64, err error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(name)) }()
	batch := make([]byte, rawBatch*recordBytes)
	fillRandom(batch, 1)
	start := time.Now()
	records := 0
	for time.Since(start) < period {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if _, err := f.Write(batch); err != nil {
			return 0, err
		}
		if err := datasync(f); err != nil {
			return 0, err
		}
		records += rawBatch
	}
	return float64(records) / time.Since(start).Seconds(), nil
}

// rawBurst returns how long the same takes for the posts of a burst.
func rawBurst(name string) (took time.Duration, err error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(name)) }()
	batch := make([]byte, rawBatch*recordBytes)
	fillRandom(batch, 2)
	start := time.Now()
	for range burstPosts / rawBatch {
		if _, err := f.Write(batch); err != nil {
			return 0, err
		}
		if err := datasync(f); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

func fillRandom(b []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, seed))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// postTexts are texts that make an event of 512 bytes: some 80 bytes that do not compress, the rest as people write.
func postTexts() []string {
	words := strings.Fields("the server is up again after the change and the order of the week looks fine to me but please " +
		"look at the numbers of yesterday before we talk to them about what comes next and when it should be done")
	r := rand.New(rand.NewPCG(3, 4))
	overhead := func(text string) int {
		d := event.Draft{Meta: event.Meta{By: userURI(100), Room: roomID(1), Node: "n1", Command: event.CommandID{1}},
			Event: &event.Posted{Endpoint: "bench", MessageID: 1 << 20, Text: text}}
		n, err := d.Size()
		if err != nil {
			panic(err) // our own constants
		}
		return n
	}
	out := make([]string, 1024)
	for i := range out {
		var noise [60]byte
		for j := range noise {
			noise[j] = byte(r.Uint32())
		}
		text := base64.StdEncoding.EncodeToString(noise[:])
		for overhead(text) < recordBytes {
			text += " " + words[r.IntN(len(words))]
		}
		out[i] = text[:len(text)-(overhead(text)-recordBytes)]
	}
	return out
}

// measured is one round of a pool.
type measured struct {
	perSecond float64
	cpu       time.Duration // for each post, proposers included
	p50, p99  time.Duration
	syncs     float64 // for each Raft entry, leader
	bytes     float64 // for each byte of events, mean of the nodes
	burst     time.Duration
	ack       time.Duration // p50 on an idle pool
	visible   time.Duration // p50 after the answer, all followers
}

func commitRound(ctx context.Context, o *options, dir string, nodes int, texts []string) (out measured, err error) {
	p, err := openPool(ctx, dir, nodes)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, p.err(), p.close(), os.RemoveAll(dir)) }()
	m := p.leader()
	if m == nil {
		return out, errors.New("no leader")
	}
	if err := closedLoop(ctx, o, p, m, texts, &out); err != nil {
		return out, err
	}
	// A leader that does not know repetitions would be faster, and another program.
	again := m.post(0, texts)
	for _, repeated := range []bool{false, true} {
		if got, err := m.do(ctx, again); err != nil || got.Result.Duplicate != repeated {
			return out, fmt.Errorf("a post, repeated: %t, is told to be so: %t, %w", repeated, got.Result.Duplicate, err)
		}
	}
	if nodes == 1 {
		return out, nil
	}
	if out.burst, err = burst(ctx, m, texts); err != nil {
		return out, fmt.Errorf("burst: %w", err)
	}
	if err := visibility(ctx, o, p, m, texts, &out); err != nil {
		return out, fmt.Errorf("visibility: %w", err)
	}
	return out, nil
}

// commandID gives every post its own identity, as clients do: the rules remember it.
func commandID(n uint64) (id event.CommandID) {
	for i := range 8 {
		id[i], id[8+i] = byte(n>>(8*i)), 0x55
	}
	return id
}

var nextCommand atomic.Uint64

func (m *member) post(user int, texts []string) chat.Request { return m.poster(user, texts)() }

// poster makes the posts of a user. What is the same in all of them is made once: the clients of a pool are on other machines.
func (m *member) poster(user int, texts []string) func() chat.Request {
	o, room := m.origin(user), roomID(user%someRooms)
	return func() chat.Request {
		n := nextCommand.Add(1)
		r := chat.Request{Origin: o, Command: &chat.Post{Room: room, Text: texts[n%uint64(len(texts))]}}
		r.ID = commandID(n)
		return r
	}
}

// closedLoop lets 512 proposers post, each the next one when the last is committed.
func closedLoop(ctx context.Context, o *options, p *pool, m *member, texts []string, out *measured) error {
	warm := min(o.period/4, 500*time.Millisecond)
	var counting, stop atomic.Bool
	var acked atomic.Int64
	lats := make([][]time.Duration, proposers)
	fails := make(chan error, proposers)
	var wg sync.WaitGroup
	for i := range proposers {
		wg.Go(func() {
			post, got := m.poster(i, texts), make(chan error, 1)
			done := func(_ sequencer.Outcome[chat.Result], err error) { got <- err }
			for !stop.Load() {
				at := time.Now()
				m.seq.Enqueue(post(), done)
				if err := <-got; err != nil {
					fails <- err
					return
				}
				if counting.Load() {
					acked.Add(1)
					lats[i] = append(lats[i], time.Since(at))
				}
			}
		})
	}
	err := sleep(ctx, warm)
	index, bytes, syncs := m.log.LastIndex(), p.bytes(), m.disk.syncs.Load()
	used := cpuTime()
	counting.Store(true)
	start := time.Now()
	err = errors.Join(err, sleep(ctx, o.period))
	for err == nil && acked.Load() == 0 && time.Since(start) < patience { // a short round on a machine with other things to do
		err = sleep(ctx, o.period)
	}
	took := time.Since(start)
	counting.Store(false)
	n := acked.Load()
	used = cpuTime() - used
	entries := m.log.LastIndex() - index
	syncs, bytes = m.disk.syncs.Load()-syncs, p.bytes()-bytes
	stop.Store(true)
	wg.Wait()
	select {
	case e := <-fails:
		err = errors.Join(err, e)
	default:
	}
	if err != nil {
		return err
	}
	var all []time.Duration
	for _, l := range lats {
		all = append(all, l...)
	}
	if n == 0 || entries == 0 {
		return errors.New("nothing was committed: too short a round")
	}
	out.perSecond = float64(n) / took.Seconds()
	out.cpu = used / time.Duration(n)
	out.p50, out.p99 = percentile(all, 50), percentile(all, 99)
	out.syncs = float64(syncs) / float64(entries)
	out.bytes = float64(bytes) / float64(len(p.nodes)) / float64(n*recordBytes)
	return nil
}

func (p *pool) bytes() (n int64) {
	for _, m := range p.nodes {
		n += m.disk.bytes.Load()
	}
	return n
}

// burst submits 4,096 posts at once and returns when the last one was acknowledged.
func burst(ctx context.Context, m *member, texts []string) (time.Duration, error) {
	reqs := make([]chat.Request, burstPosts)
	for i := range reqs {
		reqs[i] = m.post(i%proposers, texts)
	}
	start := time.Now()
	err := m.doAll(ctx, reqs)
	return time.Since(start), err
}

// visibility posts now and then and looks when the other nodes have it.
func visibility(ctx context.Context, o *options, p *pool, m *member, texts []string, out *measured) error {
	var acks, seen []time.Duration
	for i := range max(visiblePosts/o.scale, 3) {
		start := time.Now()
		got, err := m.do(ctx, m.post(i, texts))
		if err != nil {
			return err
		}
		ack := time.Now()
		acks = append(acks, ack.Sub(start))
		took := make(chan time.Duration, len(p.nodes))
		waits := 0
		for _, f := range p.nodes {
			if f == m {
				continue
			}
			waits++
			go func() {
				if f.log.WaitFor(ctx, got.Last) != nil {
					took <- -1
					return
				}
				took <- time.Since(ack)
			}()
		}
		for range waits {
			d := <-took
			if d < 0 {
				return errors.New("a follower did not get there")
			}
			seen = append(seen, d)
		}
		if err := sleep(ctx, visiblePause); err != nil {
			return err
		}
	}
	out.ack, out.visible = percentile(acks, 50), percentile(seen, 50)
	return nil
}
