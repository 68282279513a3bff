package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parley/cmd/internal/pooldir"
	"parley/cmd/internal/server"
	"parley/projections/chat"
)

// The child is this program started again: a node of its own, or a bare TCP server to compare with, whose CPU and
// memory are nobody else's. It takes one JSON command a line on standard input and answers each with one line. It
// ends when its input does, so a parent that dies leaves nothing behind.
const childEnv = "PARLEY_BENCH_CHILD"

// childConfig is what the child is started with.
type childConfig struct {
	Dir   string // of a pool of one node; empty: no node, only what command "raw" offers
	Users int    // to make, with the rooms; 0: they are there
	Rooms int
}

// order is a command to the child.
type order struct {
	Do     string // usage, collect, fill, raw, write, stored WORK, stop
	N      int    // events to commit (fill), messages (write)
	Echo   bool   // raw: answer every 512 bytes with as many
	Data   []byte // write: one message
	Answer int    // write: bytes of the answer to a message
	Dir    string // stored: the log
}

// answer is what the child says, after its start too.
type answer struct {
	Error   string `json:",omitempty"`
	SIP     string // address of the node
	Addr    string // raw: address of the bare server
	CPU     time.Duration
	Mallocs uint64
	RSS     int64 // bytes
	Peak    int64 // of it, where it was asked for
	Heap    uint64
	Stack   uint64
	Took    time.Duration
}

// childMain is main of the child.
func childMain() int {
	var cfg childConfig
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return exitUsage
	}
	out := json.NewEncoder(os.Stdout)
	if err := serveChild(cfg, json.NewDecoder(bufio.NewReader(os.Stdin)), out); err != nil {
		_ = out.Encode(answer{Error: err.Error()}) // the parent may be gone
		return exitFailed
	}
	return exitDone
}

type child struct {
	cfg  childConfig
	node *server.Node
	raw  *rawServer
}

func serveChild(cfg childConfig, in *json.Decoder, out *json.Encoder) (err error) {
	c := &child{cfg: cfg}
	defer func() { err = errors.Join(err, c.close()) }()
	hello := answer{}
	if cfg.Dir != "" {
		if err := c.start(); err != nil {
			return err
		}
		hello.SIP = c.node.Addresses().SIP
	}
	if err := out.Encode(hello); err != nil {
		return err
	}
	for {
		var o order
		if err := in.Decode(&o); errors.Is(err, io.EOF) || err == nil && o.Do == "stop" {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		if err := c.obey(o, &a); err != nil {
			a.Error = err.Error()
		}
		if err := c.usage(&a); err != nil {
			return err
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// start opens the node, as `parley serve` does, and makes users and rooms.
func (c *child) start() error {
	p, err := pooldir.Open(c.cfg.Dir)
	if err != nil {
		return err
	}
	cfg, err := p.Nodes[0].Load(nil)
	if err != nil {
		return err
	}
	cfg.SIP.LoopbackWithoutChallenge = true // a hash for each sign-in would be measured as the front's
	if err := cfg.Check(time.Now()); err != nil {
		return err
	}
	if c.node, err = server.Open(cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))); err != nil {
		return err
	}
	select {
	case <-c.node.Ready():
	case <-c.node.Done():
		return fmt.Errorf("the node ended: %w", c.node.Err())
	}
	if c.cfg.Users == 0 {
		return nil
	}
	return c.submit(directory(c.cfg.Users, c.cfg.Rooms))
}

// submit commits requests, a few thousand at a time, in order.
func (c *child) submit(reqs []chat.Request) error {
	slots := make(chan struct{}, 4096)
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for _, r := range reqs {
		slots <- struct{}{}
		wg.Add(1)
		c.node.Submit(r, func(_ chat.Outcome, err error) {
			if err != nil {
				err = fmt.Errorf("%T: %w", r.Command, err)
				failed.CompareAndSwap(nil, &err)
			}
			<-slots
			wg.Done()
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return c.node.Settle(context.Background()) // a client that signs in now must be known
}

func (c *child) obey(o order, a *answer) (err error) {
	start := time.Now()
	switch o.Do {
	case "usage":
	case "collect": // and give free memory back, so that what stays resident is in use
		debug.FreeOSMemory()
		debug.FreeOSMemory() // what finalizers let go of
	case "fill":
		err = c.fill(o.N)
	case "raw":
		if c.raw == nil {
			c.raw, err = newRawServer(o.Echo)
		}
		if err == nil {
			a.Addr = c.raw.ln.Addr().String()
		}
	case "write":
		if c.raw == nil {
			return errors.New("write: no raw server")
		}
		err = c.raw.write(o.Data, o.N, o.Answer)
	default:
		work, ok := strings.CutPrefix(o.Do, "stored ")
		if !ok {
			return fmt.Errorf("unknown order %q", o.Do)
		}
		err = storedWork(context.Background(), work, o.Dir, a)
	}
	a.Took = time.Since(start)
	return err
}

// fill commits n events. Reads of history cost a log what posts cost it, and leave no work behind for the search index,
// which would still be at it when the restart is measured.
func (c *child) fill(n int) error {
	const slice = 50_000
	reader := chat.Origin{By: userURI(0), Endpoint: "fill", Trusted: true}
	for done := 0; done < n; {
		k := min(slice, n-done)
		reqs := make([]chat.Request, k)
		for i := range reqs {
			reqs[i] = chat.Request{Origin: reader, Command: &chat.ReadHistory{Room: roomID(i % c.cfg.Rooms), Last: 30}}
		}
		if err := c.submit(reqs); err != nil {
			return err
		}
		done += k
	}
	return nil
}

// usage reads what the process has used so far.
func (c *child) usage(a *answer) error {
	a.CPU = cpuTime()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	a.Mallocs, a.Heap, a.Stack = m.Mallocs, m.HeapAlloc, m.StackInuse
	var err error
	a.RSS, err = resident()
	return err
}

// resident returns the resident set size of this process, 0 where the system does not tell.
func resident() (int64, error) { return processStatus("VmRSS:") }

// processStatus returns a size that the system keeps of this process.
func processStatus(name string) (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no %s", name)
}

func (c *child) close() error {
	var errs []error
	if c.raw != nil {
		errs = append(errs, c.raw.close())
	}
	if c.node != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		errs = append(errs, c.node.Stop(ctx))
	}
	return errors.Join(errs...)
}

// rawServer is what our server is compared with: bare connections, one goroutine reading each, nothing parsed.
type rawServer struct {
	ln      net.Listener
	echo    bool
	mu      sync.Mutex
	conns   []net.Conn
	read    atomic.Int64 // bytes of answers
	arrived chan struct{}
	wg      sync.WaitGroup
}

const echoBytes = 512

func newRawServer(echo bool) (*rawServer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &rawServer{ln: ln, echo: echo, arrived: make(chan struct{}, 1)}
	s.wg.Go(s.accept)
	return s, nil
}

func (s *rawServer) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(conn) })
	}
}

func (s *rawServer) serve(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // the peer is gone
	b := make([]byte, 1024)
	for {
		if s.echo {
			if _, err := io.ReadFull(conn, b[:echoBytes]); err != nil {
				return
			}
			if _, err := conn.Write(b[:echoBytes]); err != nil {
				return
			}
			continue
		}
		n, err := conn.Read(b)
		s.read.Add(int64(n))
		select {
		case s.arrived <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// write sends n messages to every connection, one write each, and waits for all answers.
func (s *rawServer) write(data []byte, n, answer int) error {
	s.mu.Lock()
	conns := append([]net.Conn(nil), s.conns...)
	s.mu.Unlock()
	want := s.read.Load() + int64(n)*int64(answer)*int64(len(conns))
	for range n {
		for _, c := range conns {
			if _, err := c.Write(data); err != nil {
				return err
			}
		}
	}
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for s.read.Load() < want {
		select {
		case <-s.arrived:
		case <-late.C:
			return fmt.Errorf("bare TCP: %d bytes of answers are missing", want-s.read.Load())
		}
	}
	return nil
}

func (s *rawServer) close() error {
	err := s.ln.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.Close() // ends its reader; the peer may have closed it already
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// process is a child as its parent sees it.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	enc    *json.Encoder
	dec    *json.Decoder
	hello  answer
	waited bool
}

// spawn starts a child and waits until it serves.
func spawn(ctx context.Context, cfg childConfig, stderr io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self)}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	p.cmd.Stderr = stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.enc, p.dec = json.NewEncoder(p.in), json.NewDecoder(stdout)
	if p.hello, err = p.listen(); err != nil {
		p.kill()
		return nil, fmt.Errorf("start the server process: %w", err)
	}
	return p, nil
}

func (p *process) listen() (a answer, err error) {
	if err := p.dec.Decode(&a); err != nil {
		return a, fmt.Errorf("server process: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (p *process) do(o order) (answer, error) {
	if err := p.enc.Encode(o); err != nil {
		return answer{}, fmt.Errorf("server process: %w", err)
	}
	a, err := p.listen()
	if err != nil {
		return a, fmt.Errorf("%s: %w", o.Do, err)
	}
	return a, nil
}

func (p *process) usage() (answer, error) { return p.do(order{Do: "usage"}) }

// kill ends the child at once, as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	p.reap()
}

// stop ends the child cleanly.
func (p *process) stop() error {
	_ = p.in.Close()
	return p.reap()
}

func (p *process) reap() error {
	if p.waited {
		return nil
	}
	p.waited = true
	return p.cmd.Wait()
}

// newNode makes the directory of a pool of one node on free ports. It begins to look at a random place, because others
// may be looking too.
func newNode(dir string) error {
	const from, to, step = 20000, 26000, 20 // below what systems hand out to clients, and beside what other tests use
	start := rand.IntN((to - from) / step)
	for i := range (to - from) / step {
		base := from + (start+i)%((to-from)/step)*step
		free := true
		for port := base + 10; port < base+15 && free; port++ {
			ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if free = err == nil; free {
				if err := ln.Close(); err != nil {
					return err
				}
			}
		}
		if free {
			_, err := pooldir.Init(dir, pooldir.Options{Nodes: 1, Domain: domain, BasePort: base}, time.Now())
			return err
		}
	}
	return errors.New("no free ports on 127.0.0.1")
}

// roomURI is how clients call a room.
func roomURI(i int) string { return chat.RoomURI(domain, roomID(i)) }

func userAddress(i int) string { return userURI(i).Address() }
