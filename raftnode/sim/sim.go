// Package sim runs a whole pool in virtual time: real hashicorp/raft, the real log and views on disks that forget what
// was not synced, the real sequencer, router and chat rules, on a network in memory that faults can cut. A testing/synctest
// bubble makes the clock jump whenever everybody waits, so that a minute of faults takes a fraction of a second.
//
// A seed fixes the faults, the clients and the network delays. It does not fix the order in which goroutines run
// within one instant, nor raft's own random timeouts, so a failure may need its seed to be run more than once.
//
// Not simulated: TLS, and raft.db, which is kept in memory with the semantics of a synced disk (see votes). The tests
// of package raftnode have both.
package sim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/log/event"
	"parley/projections/chat"
)

var (
	seeds    = flag.Int("sim.seeds", 50, "how many seeds the simulation runs")
	onlySeed = flag.Uint64("sim.seed", 0, "run this seed only")
	saveDir  = flag.String("sim.dir", "", "where a failed simulation saves its history; empty: the system's directory for temporary files")
)

// Seeds returns the seeds to run: -sim.seed, or 1 to -sim.seeds.
func Seeds() []uint64 {
	if *onlySeed != 0 {
		return []uint64{*onlySeed}
	}
	n := *seeds
	if testing.Short() {
		n = min(n, 10)
	}
	var out []uint64
	for i := range n {
		out = append(out, uint64(i+1))
	}
	return out
}

// Seed returns the seed of a test that runs one: -sim.seed, or 1.
func Seed(testing.TB) uint64 { return max(*onlySeed, 1) }

// Config of a simulation.
type Config struct {
	Nodes    int // founders of the pool, at most 6
	Standbys int // of them without a vote
	Rooms    int // 0 means 2
	Queue    int // commands that the leader's sequencer takes before it is busy; 0 means its own limit
	Seed     uint64

	lyingDisks bool // the log's disk does not sync: for the test of the checks
	forgetful  bool // the rules do not remember commands: for the test of the checks
	hasty      bool // nodes send again what the leader was too busy for: for the test of the checks
	stray      bool // nodes send to whoever leads at the moment: for the test of the checks
}

// World is a simulated pool and its clients.
type World struct {
	cfg     Config
	rng     *rand.Rand // of the script
	fabric  *fabric
	nodes   []*node
	rooms   []event.RoomID
	history *history
	ledger  *ledger
	steps   []timedStep
	start   time.Time
	work    sync.WaitGroup // clients and restarts
	clients int
	settled bool
	lasted  time.Duration

	mu      sync.Mutex // guards what follows, and node.run
	failure error
	ids     uint64
	naps    *rand.Rand
	notes   []string
	ended   bool
	healed  bool
}

// Step is a fault, or the end of one.
type Step func(w *World)

// Target says whom a fault hits, when it is due.
type Target func(w *World) *node

type timedStep struct {
	at time.Duration
	do Step
}

// Run simulates a script, and fails the test if anything the checks look for happens.
func Run(t *testing.T, cfg Config, script func(w *World)) {
	t.Helper()
	w, err := explore(t, cfg, script)
	if err == nil {
		return
	}
	name := filepath.Join(saveTo(), fmt.Sprintf("sim-%s-%d.txt", strings.ReplaceAll(t.Name(), "/", "-"), cfg.Seed))
	text := fmt.Sprintf("%v\n\n%s\n\n%s", err, strings.Join(w.notes, "\n"), w.history)
	for _, e := range w.ledger.events {
		text += fmt.Sprintf("event %d at %s entry %d %s by %s room %s node %s command %x\n", e.Offset, e.At, e.Index, e.Kind(), e.By, e.Room, e.Node, e.Command)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Error(err)
	}
	test, _, _ := strings.Cut(t.Name(), "/")
	t.Fatalf("%v\nhistory: %s\nrun again: go test -count=10 -run '^%s$' ./raftnode/sim -sim.seed=%d", err, name, test, cfg.Seed)
}

func saveTo() string {
	if *saveDir != "" {
		return *saveDir
	}
	return os.TempDir()
}

// explore runs the script in a bubble and returns the first failure.
func explore(t *testing.T, cfg Config, script func(w *World)) (*World, error) {
	t.Helper()
	if cfg.Nodes < 1 || cfg.Nodes > maxNodes {
		t.Fatalf("%d nodes, want 1 to %d", cfg.Nodes, maxNodes)
	}
	var w *World
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(cfg)
		ended := make(chan struct{})
		go func() { // a failure ends the script wherever it is
			defer close(ended)
			w.form()
			script(w)
			if !w.settled {
				w.Settle()
			}
		}()
		<-ended
		w.lasted = time.Since(w.start)
		w.shutdown()
	})
	if w.failure == nil { // outside of the bubble: it needs real time
		w.failure = w.history.linear(w.ledger.events, w.nodes)
	}
	t.Log(w.summary())
	return w, w.failure
}

// summary says what the run was worth: without faults that hit something it shows little.
func (w *World) summary() string {
	acked, refused, unknown, again, duplicates := 0, 0, 0, 0, 0
	for _, o := range w.history.all() {
		switch {
		case o.acked():
			acked++
		case o.code != "":
			refused++
		default:
			unknown++
		}
		if o.tries > 1 {
			again++
		}
		if o.out.Result.Duplicate {
			duplicates++
		}
	}
	return fmt.Sprintf("%d events, %d commands acknowledged (%d told as duplicates), %d refused, %d never known, %d tried more than once, %v of virtual time, %d notes",
		len(w.ledger.events), acked, duplicates, refused, unknown, again, w.lasted.Round(time.Second), len(w.notes))
}

func newWorld(cfg Config) *World {
	if cfg.Rooms == 0 {
		cfg.Rooms = 2
	}
	rng := rand.New(rand.NewPCG(cfg.Seed, 1))
	w := &World{cfg: cfg, rng: rng, start: time.Now(), history: &history{seed: cfg.Seed}, ledger: newLedger(),
		fabric: newFabric(rand.New(rand.NewPCG(cfg.Seed, 2)), 2*time.Millisecond), naps: rand.New(rand.NewPCG(cfg.Seed, 3))}
	for i := range cfg.Nodes {
		n := &node{id: event.NodeID(fmt.Sprintf("n%d", i+1)), disk: newDisk()}
		n.skew.Store(rng.Int64N(int64(time.Second)) - int64(time.Second)/2)
		w.nodes = append(w.nodes, n)
	}
	for i := range cfg.Rooms {
		w.rooms = append(w.rooms, event.RoomID(fmt.Sprintf("00000000-0000-4000-8000-%012x", i+1)))
	}
	return w
}

// fail notes the first failure and ends the simulation.
func (w *World) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure == nil {
		w.failure = fmt.Errorf("after %v: %w", time.Since(w.start), err)
	}
}

func (w *World) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, fmt.Sprintf("%v: ", time.Since(w.start))+fmt.Sprintf(format, args...))
}

// over reports whether nobody needs to go on.
func (w *World) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure != nil || w.ended
}

// stopIfFailed ends the script's goroutine.
func (w *World) stopIfFailed() {
	w.mu.Lock()
	failed := w.failure != nil
	w.mu.Unlock()
	if failed {
		runtime.Goexit()
	}
}

// nap stalls a goroutine now and then, for as long as an election takes: what it saw a moment ago is over when it goes
// on. Goroutines that hold a lock must not: nobody in the bubble would get on, nor would its clock.
func (w *World) nap() {
	w.mu.Lock()
	var d time.Duration
	if !w.ended && !w.healed && w.naps.IntN(30) == 0 {
		d = time.Duration(w.naps.Int64N(int64(1500 * time.Millisecond)))
	}
	w.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

func (w *World) newID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(w.cfg.Seed), w.ids)
}

func (w *World) instance(n *node) *instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return n.run
}

func (w *World) running() (out []*instance) {
	for _, n := range w.nodes {
		if in := w.instance(n); in != nil {
			out = append(out, in)
		}
	}
	return out
}

// pick returns a running node at random.
func (w *World) pick(rng *rand.Rand) *instance {
	if r := w.running(); len(r) > 0 {
		return r[rng.IntN(len(r))]
	}
	return nil
}

// form starts the nodes and sets up the directory: users for all clients there may be, and the rooms.
func (w *World) form() {
	for _, n := range w.nodes {
		if err := w.boot(n); err != nil {
			w.fail(err)
			w.stopIfFailed()
		}
	}
	const category = "00000000-0000-4000-9000-000000000001"
	commands := []chat.Command{&chat.FormPool{Domain: "sim.test", PoolURI: "sip:parley@sim.test"},
		&chat.CreateCategory{ID: category, Info: event.CategoryInfo{Name: "General", Allowed: []event.Principal{"*"}, ChatHistory: true}}}
	for i := range maxClients {
		commands = append(commands, &chat.CreateUser{User: userName(i), Info: event.UserInfo{Enabled: true}})
	}
	for i, id := range w.rooms {
		commands = append(commands, &chat.CreateRoom{ID: id, Info: event.RoomInfo{Name: fmt.Sprintf("Room %d", i+1), Category: category, Privacy: event.PrivacyOpen}})
	}
	in := w.running()[0]
	for _, c := range commands {
		o := w.history.begin(systemClient, opSetup, "", "")
		out, ok := in.insist(chat.Request{Origin: chat.Origin{By: "admin:sim", Node: in.node.id, ID: o.id, Trusted: true}, Command: c})
		if !ok {
			w.fail(errors.New("the pool could not be set up"))
			w.stopIfFailed()
		}
		w.history.end(o, out, nil)
	}
	w.start = time.Now()
}

// boot starts a node under the lock of its instance.
func (w *World) boot(n *node) error {
	in, err := w.build(n)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.run = in
	return nil
}

// Clients starts n clients, each with the plan.
func (w *World) Clients(n int, plan Plan) {
	if w.clients+n > maxClients {
		w.fail(fmt.Errorf("%d clients, at most %d", w.clients+n, maxClients))
		w.stopIfFailed()
	}
	for range n {
		c := &client{w: w, number: w.clients, rng: rand.New(rand.NewPCG(w.cfg.Seed, uint64(100+w.clients))), plan: plan}
		w.clients++
		w.work.Go(c.run)
	}
}

// At has a step done at a time after the start of the script. Settle does the steps.
func (w *World) At(d time.Duration, s Step) { w.steps = append(w.steps, timedStep{d, s}) }

// settleWithin is how long after the last fault the pool may take to serve all clients and to agree. It is virtual.
const settleWithin = 5 * time.Minute

// Settle does the steps, each followed by a Check, heals everything, and waits until all clients are done and all
// nodes have the same.
func (w *World) Settle() {
	slices.SortStableFunc(w.steps, func(a, b timedStep) int { return int(a.at - b.at) })
	for _, s := range w.steps {
		time.Sleep(time.Until(w.start.Add(s.at)))
		w.stopIfFailed()
		s.do(w)
		w.Check()
	}
	w.fabric.heal()
	w.note("healed")
	w.mu.Lock()
	w.healed = true
	w.mu.Unlock()
	done := make(chan struct{})
	go func() { w.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(settleWithin):
		w.fail(fmt.Errorf("clients or restarts were not done %v after the last fault", settleWithin))
	}
	w.stopIfFailed()
	for deadline := time.Now().Add(settleWithin); !w.agree(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.fail(fmt.Errorf("the nodes did not agree %v after the last fault: %s", settleWithin, w.positions()))
		}
		w.stopIfFailed()
	}
	w.settled = true
	w.Check()
	running := w.running()
	for _, in := range running { // every row of every log: each has been through crashes of its own
		if err := in.log.Verify(context.Background(), 0, 0, nil); err != nil {
			w.fail(err)
		}
	}
	// All logs hold the same and all states are the same, Check has just seen to that: one rebuild says what all would.
	in := running[w.cfg.Seed%uint64(len(running))]
	before := in.rooms.Current()
	if err := in.runner.Rebuild(context.Background(), nil); err != nil {
		w.fail(err)
	}
	if after := in.rooms.Current(); after.Hash() != before.Hash() {
		w.fail(fmt.Errorf("node %s: the rebuilt room state differs", in.node.id))
	}
	w.stopIfFailed()
}

func (w *World) agree() bool {
	running := w.running()
	if len(running) < len(w.nodes) {
		return false
	}
	head := running[0].log.Head()
	for _, in := range running {
		if h := in.log.Head(); h.Offset != head.Offset || in.rooms.Current().Offset() != head.Offset || in.home() == 0 {
			return false
		}
	}
	return true
}

func (w *World) positions() string {
	var b strings.Builder
	for _, n := range w.nodes {
		in := w.instance(n)
		if in == nil {
			fmt.Fprintf(&b, "%s is down; ", n.id)
			continue
		}
		leader, _, _ := in.raft.Leader()
		h := in.log.Head()
		fmt.Fprintf(&b, "%s at %d (entry %d of %d), state at %d, term %d, follows %q; ", n.id, h.Offset, h.Index, in.log.LastIndex(),
			in.rooms.Current().Offset(), in.raft.Term(), leader)
	}
	return b.String()
}

// shutdown ends what runs, so that the bubble can end.
func (w *World) shutdown() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.fabric.heal()
	var stops sync.WaitGroup
	for _, in := range w.running() {
		stops.Go(func() {
			if err := in.stop(); err != nil {
				w.fail(fmt.Errorf("stop %s: %w", in.node.id, err))
			}
		})
	}
	stops.Wait()
	w.work.Wait()
	for _, in := range w.running() { // a restart that was under way
		if in.ctx.Err() == nil {
			if err := in.stop(); err != nil {
				w.fail(fmt.Errorf("stop %s: %w", in.node.id, err))
			}
		}
	}
}
