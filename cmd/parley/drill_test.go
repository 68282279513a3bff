package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"parley/cmd/internal/freeport"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

var drillRounds = flag.Int("drill.rounds", 2, "how often the leader is killed")

// TestKillLeader kills the leader of a pool of separate processes with SIGKILL while clients post, again and again.
// A client whose post was not acknowledged tries again with the same envelope id on another node. At the end no
// acknowledged post is lost, none is there twice, and the logs of all nodes are equal line by line.
func TestKillLeader(t *testing.T) {
	p := startPool(t, 3)
	const clients = 6
	var acked sync.Map // text to true
	var acks atomic.Int64
	var lastAck atomic.Int64 // unix nanoseconds
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			p.chatter(i, stop, func(text string) {
				acked.Store(text, true)
				acks.Add(1)
				lastAck.Store(time.Now().UnixNano())
			})
		})
	}
	var slowest time.Duration
	for round := range *drillRounds {
		want := acks.Load() + 40
		p.until("40 more acknowledged posts", 2*time.Minute, func() bool { return acks.Load() >= want })
		leader := p.leader()
		killed := time.Now()
		p.kill(leader)
		p.until("an acknowledgement after the kill", 2*time.Minute, func() bool { return lastAck.Load() > killed.Add(50*time.Millisecond).UnixNano() })
		gap := time.Unix(0, lastAck.Load()).Sub(killed)
		slowest = max(slowest, gap)
		t.Logf("round %d: %s killed after %d acknowledged posts; acknowledged again %v later", round+1, leader, acks.Load(), gap.Round(time.Millisecond))
		p.start(leader)
	}
	want := acks.Load() + 40
	p.until("40 more acknowledged posts", 2*time.Minute, func() bool { return acks.Load() >= want })
	close(stop)
	wg.Wait()
	if t.Failed() {
		return
	}

	dumps := p.equalLogs()
	seen := map[string]int{}
	for line := range bytes.Lines(dumps) {
		var e struct{ Kind, Body string }
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("log dump: %v: %s", err, line)
		}
		if e.Kind == "posted" {
			seen[e.Body]++
		}
	}
	lost, doubled := 0, 0
	acked.Range(func(text, _ any) bool {
		if seen[text.(string)] == 0 {
			lost++
			t.Errorf("acknowledged post lost: %s", text)
		}
		return true
	})
	for text, n := range seen {
		if n > 1 {
			doubled++
			t.Errorf("post is %d times in the log: %s", n, text)
		}
	}
	t.Logf("%d kills of the leader, %d posts acknowledged, %d in the log: %d lost, %d doubled, logs of all nodes equal; slowest first acknowledgement %v",
		*drillRounds, acks.Load(), len(seen), lost, doubled, slowest.Round(time.Millisecond))
}

// drillPool is a pool of separate processes.
type drillPool struct {
	t     *testing.T
	bin   string
	dir   string
	nodes []string
	mu    sync.Mutex
	procs map[string]*exec.Cmd
	sip   map[string]string
	lobby string
}

func startPool(t *testing.T, nodes int) *drillPool {
	t.Helper()
	p := &drillPool{t: t, dir: filepath.Join(t.TempDir(), "pool"), bin: filepath.Join(t.TempDir(), "parley"),
		procs: map[string]*exec.Cmd{}, sip: map[string]string{}}
	if out, err := exec.Command("go", "build", "-o", p.bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.parley("pool", "init", "--dir", p.dir, "--nodes", fmt.Sprint(nodes), "--base-port", fmt.Sprint(freeport.Program.Ports(t, 10*(nodes+1))), "--demo")
	var wg sync.WaitGroup
	for i := range nodes {
		name := fmt.Sprintf("n%d", i+1)
		p.nodes = append(p.nodes, name)
		wg.Go(func() { p.start(name) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, n := range p.nodes {
			p.kill(n)
		}
	})
	for line := range strings.Lines(p.parley("room", "get", "--dir", p.dir, "--json")) {
		var r struct{ Name, Room string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("room get: %v: %s", err, line)
		}
		if r.Name == "Lobby" {
			p.lobby = r.Room
		}
	}
	if p.lobby == "" {
		t.Fatal("no Lobby in the demo directory")
	}
	return p
}

// parley runs a command line and returns its output.
func (p *drillPool) parley(args ...string) string {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(p.bin, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("parley %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}

// start starts a node and waits until it is ready.
func (p *drillPool) start(name string) {
	cmd := exec.Command(p.bin, "serve", "--config", filepath.Join(p.dir, name, "parley.yaml"), "--json")
	logFile, err := os.OpenFile(filepath.Join(p.dir, name+".err"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer logFile.Close()
	cmd.Stderr = logFile
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	p.procs[name] = cmd
	p.mu.Unlock()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var l struct {
			SIP   string
			Ready bool
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			p.t.Errorf("%s: ready line: %v: %s", name, err, lines.Text())
			return
		}
		if l.SIP != "" {
			p.mu.Lock()
			p.sip[name] = l.SIP
			p.mu.Unlock()
		}
		if l.Ready {
			return
		}
	}
	tail, _ := os.ReadFile(logFile.Name())
	p.t.Errorf("%s ended before it was ready:\n%s", name, tail[max(0, len(tail)-2000):])
}

// kill ends a node as a power cut would, as far as the operating system lets us.
func (p *drillPool) kill(name string) {
	p.mu.Lock()
	cmd := p.procs[name]
	delete(p.procs, name)
	p.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Signal(syscall.SIGKILL) // it may have ended by itself
		_ = cmd.Wait()
	}
}

// leader asks the pool who leads.
func (p *drillPool) leader() string {
	var name string
	p.until("a leader", 2*time.Minute, func() bool {
		out, err := exec.Command(p.bin, "pool", "status", "--dir", p.dir, "--json").Output()
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(out)) {
			var s struct{ Node, State string }
			if json.Unmarshal([]byte(line), &s) == nil && s.State == "leader" {
				name = s.Node
			}
		}
		return name != ""
	})
	return name
}

func (p *drillPool) until(what string, within time.Duration, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("no %s within %v", what, within)
		}
	}
}

// chatter posts texts of its own, each until it is acknowledged, moving to the next node whenever one fails it.
func (p *drillPool) chatter(i int, stop <-chan struct{}, acked func(string)) {
	users := []string{"alice", "bob", "carol", "dave", "erin"}
	at := i
	var c *siptest.Client
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for n := 1; ; n++ {
		text := fmt.Sprintf("client %d post %d", i, n)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if c == nil {
				c = p.connect(at, users[i%len(users)], fmt.Sprintf("%012x", i+1))
			}
			if c != nil {
				if c.PostAs(uint64(1000*i+n), p.lobby, text) == 200 {
					acked(text)
					break
				}
				c.Close()
				c = nil
			}
			at++
			time.Sleep(20 * time.Millisecond) // a person does not reconnect faster either
		}
	}
}

func (p *drillPool) connect(at int, user, epid string) *siptest.Client {
	p.mu.Lock()
	addr := p.sip[p.nodes[at%len(p.nodes)]]
	p.mu.Unlock()
	c := siptest.Dial(siptest.Options{Addr: addr, User: user + "@contoso.test", Password: "parley", Epid: epid,
		Timeout: 15 * time.Second, OnPost: func(*xccos.Post) {}}).SignIn()
	if c.Err() == nil {
		c.Join(p.lobby)
	}
	if c.Err() != nil {
		c.Close()
		return nil
	}
	return c
}

// equalLogs waits until all nodes stand at one offset and returns their log, which must be the same on each.
func (p *drillPool) equalLogs() []byte {
	p.t.Helper()
	var dumps [][]byte
	deadline := time.Now().Add(2 * time.Minute)
	for {
		dumps = nil
		for _, n := range p.nodes {
			dumps = append(dumps, []byte(p.parley("log", "dump", "--json", "--dir", p.dir, "--server", n)))
		}
		same := true
		for _, d := range dumps[1:] {
			same = same && bytes.Equal(d, dumps[0])
		}
		if same {
			return dumps[0]
		}
		if time.Now().After(deadline) {
			break
		}
	}
	for i, d := range dumps {
		p.t.Errorf("log of %s: %d lines", p.nodes[i], bytes.Count(d, []byte("\n")))
	}
	p.t.Fatal("the logs of the nodes are not equal")
	return nil
}

// TestPausedNode stops a follower's process for longer than the pool's patience. The pool records it as lost, which
// parts its sessions with one event. When it wakes it closes its clients' connections, because they are in no room
// any more, and takes them again under a new incarnation.
func TestPausedNode(t *testing.T) {
	p := startPool(t, 3)
	leader := p.leader()
	at := 0
	for p.nodes[at] == leader {
		at++
	}
	name := p.nodes[at]
	c := p.connect(at, "alice", "00000000a11c")
	if c == nil {
		t.Fatal("alice cannot sign in")
	}
	if st := c.Post(p.lobby, "before the pause"); st != 200 {
		t.Fatalf("post before the pause: %d", st)
	}
	p.mu.Lock()
	proc := p.procs[name].Process
	p.mu.Unlock()
	if err := proc.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	dump := func(kind string) string {
		out, err := exec.Command(p.bin, "log", "dump", "--json", "--dir", p.dir, "--server", leader, "--kind", kind).Output()
		if err != nil {
			return ""
		}
		return string(out)
	}
	p.until("node_lost of the paused node", 2*time.Minute, func() bool { return strings.Contains(dump("node_lost"), `"node":"`+name+`"`) })
	if err := proc.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.ExpectClosed()
	if err := c.Err(); err != nil {
		t.Fatalf("the connection of a lost session stays open: %v", err)
	}
	p.until("a new session on the node that woke", 2*time.Minute, func() bool {
		again := p.connect(at, "alice", "00000000a11c")
		if again == nil {
			return false
		}
		defer again.Close()
		return again.Post(p.lobby, "after the pause") == 200
	})
	if n := strings.Count(dump("node_started"), `"node":"`+name+`"`); n != 2 {
		t.Errorf("%s started %d incarnations, want 2", name, n)
	}
	if n := strings.Count(dump("node_lost"), "\n"); n != 1 {
		t.Errorf("%d node_lost events, want 1:\n%s", n, dump("node_lost"))
	}
}
