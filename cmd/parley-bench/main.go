// Command parley-bench measures what the server costs. Every figure is printed with its ratio to a baseline that was
// measured in the same run, in turns, because a shared machine makes absolute figures worthless and leaves ratios true:
//
//	parley-bench commit    committed posts against bare append and fdatasync; syncs, bytes, bursts, followers
//	parley-bench fanout    server CPU for each delivered message against bare TCP writes of the same bytes
//	parley-bench rejoin    kill -9 to serving with a short and a long log; everybody coming back at once
//	parley-bench memory    memory for each idle client against a bare TCP connection
//	parley-bench stall     a room's delivery times with and without clients in it that stopped reading
//	parley-bench compliance  what feeds cost who posts; verification, replay and export of a stored log
//	parley-bench all
//
// Servers whose CPU or memory is measured run in a process of their own: this program, started again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"
)

// Exit codes, as parley's own.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// options say how much is measured.
type options struct {
	rounds  int           // of each side; the median counts
	period  time.Duration // of one round of a closed loop
	members int           // of the room of fanout
	posts   int           // single posts, and bursts, in one round of fanout
	events  int           // of the long log of rejoin
	// restarts of rejoin with each log: more than rounds, because raft draws its timeout from one to two times its setting.
	restarts int
	storm    int // clients that come back at once
	idle     int // idle clients of memory
	readers  int // clients of stall's room that read
	stream   int // posts in a round of stall
	audited  int // events in the long log of compliance
	scale    int // divides sizes that have no option: for tests of this program

	dir   string // where data directories go
	json  bool
	write string
	out   io.Writer
	log   io.Writer
}

type bench struct {
	name string
	run  func(context.Context, *options, *report) error
}

var benches = []bench{{"commit", commitBench}, {"fanout", fanoutBench}, {"rejoin", rejoinBench}, {"memory", memoryBench},
	{"stall", stallBench}, {"compliance", complianceBench}}

func main() {
	if os.Getenv(childEnv) != "" {
		os.Exit(childMain())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `usage: parley-bench commit|fanout|rejoin|memory|stall|compliance|all [--short] [--json] [--write FILE] [options]

`

// run is main with its surroundings as arguments.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := &options{out: stdout, log: stderr, scale: 1}
	fs := flag.NewFlagSet("parley-bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	short := fs.Bool("short", false, "smaller sizes and shorter rounds: minutes instead of half an hour")
	fs.BoolVar(&o.json, "json", false, "print one JSON object per figure")
	fs.StringVar(&o.write, "write", "", "put the table into `FILE`, between its bench:begin and bench:end markers")
	fs.StringVar(&o.dir, "dir", "", "`directory` on the disk to measure; a new one in the temporary directory otherwise")
	profile := fs.String("cpuprofile", "", "write a CPU profile of this process to `FILE`; servers of fanout, rejoin, memory and stall are others")
	fs.IntVar(&o.rounds, "rounds", 0, "rounds of each side, 3 at least for figures that mean something")
	fs.DurationVar(&o.period, "period", 0, "length of a round of commit")
	fs.IntVar(&o.members, "members", 0, "members of fanout's room")
	fs.IntVar(&o.posts, "posts", 0, "posts in a round of fanout")
	fs.IntVar(&o.events, "events", 0, "events in rejoin's long log")
	fs.IntVar(&o.storm, "storm", 0, "clients of rejoin's storm")
	fs.IntVar(&o.idle, "idle", 0, "idle clients of memory")
	fs.IntVar(&o.readers, "readers", 0, "clients of stall's room that read")
	fs.IntVar(&o.stream, "stream", 0, "posts in a round of stall; some 500 fill what is kept for a client that does not read")
	fs.IntVar(&o.audited, "audited", 0, "events in the long log of compliance")
	var names []string
	for rest := args; ; { // options before and after the name
		if err := fs.Parse(rest); errors.Is(err, flag.ErrHelp) {
			return exitDone
		} else if err != nil {
			return exitUsage
		}
		if fs.NArg() == 0 {
			break
		}
		names = append(names, fs.Arg(0))
		rest = fs.Args()[1:]
	}
	var chosen []bench
	for _, b := range benches {
		if len(names) == 1 && (names[0] == b.name || names[0] == "all") {
			chosen = append(chosen, b)
		}
	}
	if len(chosen) == 0 {
		fs.Usage()
		return exitUsage
	}
	o.defaults(*short)
	if *profile != "" {
		stop, err := profileTo(*profile)
		if err != nil {
			fmt.Fprintln(stderr, "parley-bench:", err)
			return exitFailed
		}
		defer stop()
	}
	if err := o.measure(ctx, chosen); err != nil {
		fmt.Fprintln(stderr, "parley-bench:", err)
		return exitFailed
	}
	return exitDone
}

// profileTo begins a CPU profile that stop ends.
func profileTo(name string) (stop func(), err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), f.Close())
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

func (o *options) defaults(short bool) {
	set := func(p *int, full, less int) {
		switch {
		case *p != 0:
		case short:
			*p = less
		default:
			*p = full
		}
	}
	set(&o.rounds, 5, 3)
	if o.restarts == 0 {
		o.restarts = 3 * o.rounds
	}
	if o.period == 0 {
		if o.period = 5 * time.Second; short {
			o.period = 2 * time.Second
		}
	}
	set(&o.members, 1000, 1000)
	set(&o.posts, 40, 10)
	set(&o.events, 1_000_000, 1_000_000)
	set(&o.storm, 1000, 300)
	set(&o.idle, 5000, 5000)
	set(&o.readers, 60, 60) // with the stalled ones below the participant update limit, so that the room is told who leaves
	set(&o.stream, 800, 600)
	set(&o.audited, 1_000_000, 500_000)
}

// measure runs the benches in a directory of their own, which is removed afterwards.
func (o *options) measure(ctx context.Context, chosen []bench) (err error) {
	if o.write != "" { // find out before the hour, not after it
		if _, err := os.ReadFile(o.write); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(o.dir, "parley-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in := *o
	in.dir = dir
	r := &report{options: o}
	if where := fileSystem(dir); where == "tmpfs" {
		r.note("%s is memory (tmpfs): syncs cost nothing there, so commit's ratios mean nothing; use --dir", dir)
	}
	for _, b := range chosen {
		r.bench = b.name
		if err := b.run(ctx, &in, r); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return r.finish()
}

// progress tells a person what is going on.
func (o *options) progress(format string, args ...any) {
	fmt.Fprintf(o.log, format+"\n", args...)
}
