package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"parley/cmd/internal/stopped"
	"parley/compliance"
	"parley/log"
	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/replay"
)

// What the stored logs are like: a pool of 512 users in a hundred rooms, in which somebody says something every second, day
// and night.
const (
	chatBytes    = 150 // of text in a post: what people write in a chat
	perEntry     = 8   // events in an entry
	storedUsers  = proposers
	storedRooms  = 100
	storedEvery  = event.Time(perEntry * 1e9) // between two entries, in log time: commands are remembered for a day of it
	storedBatch  = 256                        // entries appended at a time
	longTimes    = 5                          // the long log of the memory figures is so many times as long as the short one
	memoryTarget = 256                        // MiB
)

// storedLogs measures what an auditor waits for, on logs of stopped nodes.
func storedLogs(ctx context.Context, o *options, r *report) (err error) {
	dir := filepath.Join(o.dir, "stored")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	long := max(o.audited, 2*longTimes)
	logs := map[string]string{}
	for name, c := range map[string]struct{ events, text int }{"short": {long / longTimes, chatBytes}, "long": {long, chatBytes}, "wide": {long / longTimes, recordBytes}} {
		logs[name] = filepath.Join(dir, name)
		start := time.Now()
		if err := makeLog(ctx, logs[name], c.events, c.text); err != nil {
			return fmt.Errorf("make a log of %d events: %w", c.events, err)
		}
		o.progress("compliance: a log of %d events with %d bytes of text each, made in %s s", c.events, c.text, number(time.Since(start).Seconds()))
	}
	var verify, wide, one, fold series
	export := make([]series, len(feedKinds))
	for i := range o.rounds {
		for _, s := range []struct {
			name string
			to   *series
		}{{"short", &verify}, {"wide", &wide}} {
			var rate, cpu, bare float64
			if err := stopped.With(logs[s.name], func(l *log.Log) (err error) {
				if bare, err = bareHashes(ctx, l, long/longTimes); err != nil {
					return err
				}
				rate, cpu, err = eventRate(l, func() error { return l.Verify(ctx, 0, 0, nil) })
				return err
			}); err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			s.to.add(rate, bare)
			if s.to == &verify {
				one.add(cpu, bare)
			}
		}
		var read, folded float64
		err := stopped.With(logs["short"], func(l *log.Log) (err error) {
			if _, read, err = eventRate(l, func() error { return readAll(ctx, l) }); err != nil {
				return err
			}
			_, folded, err = eventRate(l, func() error { _, err := replay.State(ctx, l, l.Head().Offset, nil); return err })
			return err
		})
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		fold.add(folded, read)
		for k, kind := range feedKinds {
			var rate float64
			err := stopped.With(logs["short"], func(l *log.Log) (err error) {
				_, rate, err = eventRate(l, func() error { return exportAll(ctx, l, kind, filepath.Join(dir, "out")) })
				return errors.Join(err, os.RemoveAll(filepath.Join(dir, "out")))
			})
			if err != nil {
				return fmt.Errorf("export with %s: %w", kind.Name, err)
			}
			export[k].add(rate, read)
		}
		o.progress("compliance: round %d of %d: %s events/s verified, %s for a second of CPU; replayed %s", i+1, o.rounds, number(verify.value[i]),
			number(one.value[i]), number(folded))
	}
	const hashes, reading = "events/s, SHA-256 alone of the same bytes on one core", "events for a second of CPU, reading them"
	errs := []error{
		r.add(fmt.Sprintf("log verify, texts of %d bytes", chatBytes), "events for a second of CPU", hashes, one, atLeast("value", 500_000), ""),
		r.add("the same by the clock, stopped node, all cores", "events/s", hashes, verify, nil, ""),
		r.add(fmt.Sprintf("the same with texts of %d bytes", recordBytes), "events/s", hashes, wide, nil, ""),
		r.add("replay: the log folded to a state", "events for a second of CPU", reading, fold, atLeast("value", 100_000), ""),
	}
	targets := map[string]float64{"jsonl": 100_000, "lyncxml": 50_000, "csv": 50_000}
	for k, kind := range feedKinds {
		errs = append(errs, r.add("export: log to files with "+kind.Name, "events for a second of CPU", reading, export[k], atLeast("value", targets[kind.Name]), ""))
	}
	for _, work := range []string{"verify", "state", "export"} {
		var s series
		for range min(o.rounds, 3) {
			var peak [2]float64
			for k, name := range []string{"short", "long"} {
				if peak[k], err = peakOf(ctx, o, work, logs[name]); err != nil {
					return fmt.Errorf("memory of %s: %w", work, err)
				}
			}
			s.add(peak[1], peak[0])
		}
		what := map[string]string{"verify": "log verify", "state": "log state", "export": "export with lyncxml"}[work]
		errs = append(errs, r.add(fmt.Sprintf("%s, %d events: resident memory at its peak", what, long), "MiB", fmt.Sprintf("MiB for %d events", long/longTimes), s,
			atMost("value", memoryTarget), ""))
	}
	return errors.Join(errs...)
}

// makeLog writes a log of posts with texts of a size.
func makeLog(ctx context.Context, dir string, events, text int) (err error) {
	l, err := log.Open(filepath.Join(dir, stopped.LogDir), log.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	w, state := &logWriter{l: l}, chat.NewState()
	reqs := append([]chat.Request{{Origin: trusted, Command: &chat.FormPool{Domain: domain, PoolURI: "sip:parley@" + domain}},
		{Origin: chat.Origin{By: event.NodePrincipal("n1"), Node: "n1", Trusted: true}, Command: &chat.StartNode{Version: "bench"}}}, directory(storedUsers, storedRooms)...)
	for i := range storedUsers {
		reqs = append(reqs, chat.Request{Origin: chat.Origin{By: userURI(i), Endpoint: "bench", Node: "n1", Incarnation: 1}, Command: &chat.Join{Rooms: []event.RoomID{roomID(i % storedRooms)}}})
	}
	for _, r := range reqs {
		d, err := chat.Decide(state, r, chat.Env{At: w.at + storedEvery, NewID: uuid.NewString})
		if err == nil {
			err = w.seal(d.Events)
		}
		for i := 0; i < len(d.Events) && err == nil; i++ {
			err = state.Fold(event.Envelope{Offset: state.Offset() + 1, At: w.at, Meta: d.Events[i].Meta, Event: d.Events[i].Event}, nil)
		}
		if err != nil {
			return fmt.Errorf("%T: %w", r.Command, err)
		}
	}
	texts := chatTexts(text)
	rng := rand.New(rand.NewPCG(5, 6))
	for n := 0; int(w.next) < events; {
		if err := ctx.Err(); err != nil {
			return err
		}
		drafts := make([]event.Draft, min(perEntry, events-int(w.next)))
		for i := range drafts {
			user := rng.IntN(storedUsers)
			drafts[i] = event.Draft{Meta: event.Meta{By: userURI(user), Room: roomID(n % storedRooms), Node: "n1", Command: randomCommand(rng)},
				Event: &event.Posted{Endpoint: "bench", MessageID: uint64(n/storedRooms + 1), Text: texts[rng.IntN(len(texts))]}}
			n++
		}
		if err := w.seal(drafts); err != nil {
			return err
		}
	}
	return w.flush()
}

func randomCommand(r *rand.Rand) (id event.CommandID) {
	for i := range id {
		id[i] = byte(r.Uint32())
	}
	return id
}

// chatTexts are texts of a size as people write them.
func chatTexts(size int) []string {
	out := postTexts()
	for i, t := range out {
		for len(t) < size {
			t += " " + t
		}
		out[i] = t[len(t)-size:] // without the noise at the beginning, as far as they are long
	}
	return out
}

// logWriter appends batches to a log as a leader does, and commits them.
type logWriter struct {
	l       *log.Log
	next    event.Offset
	index   event.Index
	at      event.Time
	chain   event.Chain
	records []log.Record
}

func (w *logWriter) seal(drafts []event.Draft) (err error) {
	if len(drafts) == 0 {
		return nil
	}
	w.index++
	w.at += storedEvery
	b := event.Batch{Base: w.next + 1, At: w.at, Prev: w.chain, Events: drafts}
	data, chain, err := b.Seal()
	if err != nil {
		return err
	}
	w.next, w.chain = w.next+event.Offset(len(drafts)), chain
	w.records = append(w.records, log.Record{Index: w.index, Term: 1, Data: data})
	if len(w.records) == storedBatch {
		return w.flush()
	}
	return nil
}

func (w *logWriter) flush() error {
	if err := w.l.Append(w.records); err != nil {
		return err
	}
	w.records = w.records[:0]
	_, err := w.l.Commit(w.index)
	return err
}

// eventRate returns how many events of a log are done in a second, and in a second of this process's CPU.
func eventRate(l *log.Log, do func() error) (wall, cpu float64, err error) {
	before, start := cpuTime(), time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	took, used := time.Since(start), cpuTime()-before
	n := float64(l.Head().Offset)
	return n / took.Seconds(), n / max(used, time.Millisecond).Seconds(), nil
}

// cpuTime is what this process has used of the machine's cores so far, the collector's work included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it fails only for arguments that make no sense
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bareHashes hashes what a verification of n events must hash, and nothing else, and returns events a second.
func bareHashes(ctx context.Context, l *log.Log, n int) (float64, error) {
	var stored, bodies [][]byte
	for i := l.LastIndex(); i > 0 && len(stored) < 1000; i-- {
		r, err := l.Record(i)
		if err != nil {
			return 0, err
		}
		head, _, err := event.Split(r.Data)
		if err != nil {
			return 0, err
		}
		e, err := event.ParseEntry(head, nil)
		if err != nil {
			return 0, err
		}
		run, err := l.Read(e.Base, 0)
		if err != nil {
			return 0, err
		}
		for k, v := range run {
			if p, ok := v.Event.(*event.Posted); ok {
				stored, bodies = append(stored, e.Stored(k)), append(bodies, []byte(p.Text))
			}
		}
	}
	if len(stored) == 0 {
		return 0, errors.New("a log without posts")
	}
	var link [1 + 2*sha256.Size + 16]byte // what the chain hashes for each event
	start := time.Now()
	for i := range n {
		if i%4096 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		sum := sha256.Sum256(stored[i%len(stored)])
		body := sha256.Sum256(bodies[i%len(bodies)])
		copy(link[1:], sum[:])
		copy(link[33:], body[:])
		sum = sha256.Sum256(link[:])
		link[0] ^= sum[0]
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

func readAll(ctx context.Context, l *log.Log) error {
	for next := event.Offset(1); next <= l.Head().Offset; {
		run, err := l.Read(next, 512)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		next += event.Offset(len(run))
	}
	return nil
}

// exportAll delivers a whole log to files, cut by cut, as a feed does that has fallen behind.
func exportAll(ctx context.Context, l *log.Log, kind *compliance.Kind, dir string) error {
	a, err := kind.New(compliance.Env{Node: "n1"}, compliance.NewOptions([]event.FeedOption{{Name: "dir", Value: dir}}))
	if err != nil {
		return err
	}
	base := chat.NewState()
	base.Forget()
	for first := event.Offset(1); first <= l.Head().Offset; {
		last := min(first+compliance.DefaultMaxEvents-1, l.Head().Offset)
		cut, run, err := compliance.NewCut(kind.Name, first, last, base, l, nil)
		if err != nil {
			return err
		}
		if _, err := a.Deliver(ctx, cut, run); err != nil {
			return err
		}
		base, first = cut.State(), last+1
	}
	return nil
}

// peakOf returns the resident memory at its peak, in MiB, of a process that does something with a log.
func peakOf(ctx context.Context, o *options, work, dir string) (mib float64, err error) {
	p, err := spawn(ctx, childConfig{}, o.log)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	a, err := p.do(order{Do: "stored " + work, Dir: dir})
	return float64(a.Peak) / (1 << 20), err
}

// storedWork is what the child does with a log.
func storedWork(ctx context.Context, work, dir string, a *answer) error {
	err := stopped.With(dir, func(l *log.Log) error {
		switch work {
		case "verify":
			return l.Verify(ctx, 0, 0, nil)
		case "state":
			s, err := replay.State(ctx, l, l.Head().Offset, nil)
			if err != nil {
				return err
			}
			return replay.Lines(s, func(any) error { return nil })
		case "export":
			out := dir + ".out"
			return errors.Join(exportAll(ctx, l, feedKinds[1], out), os.RemoveAll(out))
		}
		return fmt.Errorf("no work %q", work)
	})
	if err != nil {
		return err
	}
	a.Peak, err = processStatus("VmHWM:") // its peak
	return err
}
