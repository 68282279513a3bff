package realclient

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Time limits. The machine may be busy; a wait ends as soon as it is satisfied.
const (
	readyTime = 180 * time.Second
	waitTime  = 60 * time.Second
	stopTime  = 60 * time.Second
)

const packages = "pidgin-sipe libpurple0 libpurple-dev libglib2.0-dev libxml2-dev gcc make pkg-config"

// missing returns what the machine lacks to build and run the client, or nil.
func missing() error {
	for _, tool := range []string{"gcc", "make", "pkg-config"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	if out, err := exec.Command("pkg-config", "--print-errors", "--exists", "purple", "glib-2.0", "libxml-2.0").CombinedOutput(); err != nil {
		return fmt.Errorf("pkg-config: %w: %s", err, bytes.TrimSpace(out))
	}
	dir, err := exec.Command("pkg-config", "--variable=plugindir", "purple").Output()
	if err != nil {
		return fmt.Errorf("pkg-config: %w", err)
	}
	var lacking error
	for _, d := range []string{"/usr/lib/purple-2", strings.TrimSpace(string(dir))} { // libpurple looks in both; the plugin is in the first
		_, err := os.Stat(filepath.Join(d, "libsipe.so"))
		if err == nil {
			return nil
		}
		lacking = errors.Join(lacking, err)
	}
	return fmt.Errorf("the pidgin-sipe plugin: %w", lacking)
}

// node is one line of the sandbox's ready message.
type node struct {
	Node, SIP, SIPS, Data string
}

// pool is a sandbox that runs.
type pool struct {
	client string // the purplechat binary
	parley string
	dir    string
	nodes  []node
	cmd    *exec.Cmd
	log    *tail
	exited chan error
	words  int
}

// word returns a word that no message had before: rooms keep what earlier tests said in them.
func (p *pool) word() string {
	p.words++
	return fmt.Sprintf("w%d", p.words)
}

// tail keeps the end of what a process wrote.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - 32<<10; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// the sandbox that all tests of a run share; it is started by the first one that needs it.
var shared struct {
	sync.Once
	pool *pool
	skip string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if p := shared.pool; p != nil {
		if err := p.stop(); err != nil {
			fmt.Fprintf(os.Stderr, "sandbox: %v\n%s\n", err, p.log)
			code = max(code, 1)
		}
		if err := os.RemoveAll(filepath.Dir(p.dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// sandbox returns the running pool of four nodes.
func sandbox(t *testing.T) *pool {
	t.Helper()
	if testing.Short() {
		t.Skip("a whole pool and the real client take longer than -short")
	}
	shared.Do(func() {
		if err := missing(); err != nil {
			shared.skip = fmt.Sprintf("%v; as root: apt-get install %s", err, packages)
			return
		}
		shared.pool, shared.err = start()
	})
	switch {
	case shared.skip != "" && os.Getenv("CI") == "true":
		t.Fatal(shared.skip)
	case shared.skip != "":
		t.Skip(shared.skip)
	case shared.err != nil:
		t.Fatal(shared.err)
	}
	return shared.pool
}

func start() (*pool, error) {
	tmp, err := os.MkdirTemp("", "parley-realclient-")
	if err != nil {
		return nil, err
	}
	p := &pool{parley: filepath.Join(tmp, "parley"), dir: filepath.Join(tmp, "pool"),
		log: new(tail), exited: make(chan error, 1)}
	if err := p.run(tmp); err != nil {
		return nil, errors.Join(err, os.RemoveAll(tmp))
	}
	return p, nil
}

func (p *pool) run(tmp string) error {
	// A copy is built, so that a binary that somebody made in the source directory is not taken for this one.
	src := filepath.Join(tmp, "client")
	if err := os.CopyFS(src, os.DirFS("client")); err != nil {
		return err
	}
	p.client = filepath.Join(src, "purplechat")
	if err := os.Remove(p.client); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, build := range []*exec.Cmd{
		exec.Command("make", "-s", "-C", src),
		exec.Command("go", "build", "-o", p.parley, "parley/cmd/parley"),
	} {
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", build, err, out)
		}
	}
	base, err := freeBase(4)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(p.parley, "sandbox", "--dir", p.dir, "--base-port", fmt.Sprint(base), "--no-chatter", "--json")
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() {
		ready <- p.readReady(out)
		_, _ = io.Copy(p.log, out) // until the sandbox ends
		p.exited <- p.cmd.Wait()
	}()
	select {
	case err = <-ready:
	case <-time.After(readyTime):
		err = errors.New("not ready in time")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("sandbox: %w\n%s", err, p.log), p.stop())
	}
	return nil
}

// readReady reads one line for each node and the one that says that all of them are ready.
func (p *pool) readReady(out io.Reader) error {
	// No bufio.Scanner may swallow what comes after: the rest belongs to the log.
	dec := json.NewDecoder(out)
	for {
		var line struct {
			node
			Ready bool
		}
		if err := dec.Decode(&line); err != nil {
			return fmt.Errorf("ready lines: %w", err)
		}
		if line.Ready {
			if len(p.nodes) != 4 {
				return fmt.Errorf("%d nodes are ready, not 4", len(p.nodes))
			}
			return nil
		}
		p.nodes = append(p.nodes, line.node)
	}
}

// stop ends the sandbox as an operator would, and says whether it ended well.
func (p *pool) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-p.exited:
		return err
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("still running %v after SIGTERM", stopTime), p.cmd.Process.Kill(), <-p.exited)
	}
}

// freeBase finds a base port whose node ports are all free. It stays below the range from which the kernel takes ports
// for outgoing connections and beside what other tests use, so that nobody takes one between the look and the start.
func freeBase(nodes int) (int, error) {
	for i := range 100 {
		base := 12000 + (os.Getpid()*7+i)%80*100
		if baseFree(base, nodes) {
			return base, nil
		}
	}
	return 0, errors.New("no block of free ports")
}

func baseFree(base, nodes int) bool {
	for n := 1; n <= nodes; n++ {
		for port := base + 10*n; port < base+10*n+5; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return false
			}
			if l.Close() != nil {
				return false
			}
		}
		u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", base+10*n))
		if err != nil || u.Close() != nil {
			return false
		}
	}
	return true
}

// Client is one user: a purplechat process that reads commands from a pipe and tells what happens, a line each.
type Client struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	errs  *tail
	mu    sync.Mutex
	all   []string
	next  int           // the first line that no Expect has passed
	grown chan struct{} // closed and replaced when a line comes
	ended bool          // no further line
	code  int
}

// signIn starts a user on a node and waits until he is signed in.
func (p *pool) signIn(t *testing.T, user string, at node, transport string) *Client {
	t.Helper()
	args := []string{"-D", t.TempDir(), "-u", user + "@contoso.test", "-p", "parley", "-t", transport, "-w", fmt.Sprint(waitTime.Seconds())}
	if transport == "tls" {
		args = append(args, "-s", at.SIPS, "-C", filepath.Join(p.dir, "ca.pem"))
	} else {
		args = append(args, "-s", at.SIP)
	}
	c := &Client{t: t, name: user, cmd: exec.Command(p.client, args...), errs: new(tail), grown: make(chan struct{})}
	c.cmd.Stderr = c.errs
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.in = in
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read(out)
	}()
	t.Cleanup(func() {
		c.mu.Lock()
		ended := c.ended
		c.mu.Unlock()
		if !ended { // the test failed before Quit
			_ = c.cmd.Process.Kill()
		}
		<-done
		if t.Failed() {
			t.Logf("%s saw:\n%s\nand wrote to stderr:\n%s", c.name, strings.Join(c.all, "\n"), c.errs)
		}
	})
	c.Do("wait-signed-on")
	return c
}

func (c *Client) read(out io.Reader) {
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		c.mu.Lock()
		c.all = append(c.all, s.Text())
		close(c.grown)
		c.grown = make(chan struct{})
		c.mu.Unlock()
	}
	_ = c.cmd.Wait() // how it ended is in code
	c.mu.Lock()
	c.ended, c.code = true, c.cmd.ProcessState.ExitCode()
	close(c.grown)
	c.mu.Unlock()
}

// Send gives the client commands and does not wait for them.
func (c *Client) Send(lines ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, strings.Join(lines, "\n")+"\n"); err != nil {
		c.t.Fatalf("%s: %q: %v", c.name, lines, err)
	}
}

// Expect waits for a line that matches and comes after the one that was expected last. A line with which the client
// gives up ends the wait.
func (c *Client) Expect(pattern string) string {
	c.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.After(waitTime + 5*time.Second); ; { // the client's own limit comes first and says more
		c.mu.Lock()
		for c.next < len(c.all) {
			line := c.all[c.next]
			c.next++
			if re.MatchString(line) {
				c.mu.Unlock()
				return line
			}
			if gaveUp.MatchString(line) {
				c.mu.Unlock()
				c.t.Fatalf("%s: waiting for %s: %s", c.name, pattern, line)
			}
		}
		grown, ended, code := c.grown, c.ended, c.code
		c.mu.Unlock()
		if ended {
			c.t.Fatalf("%s: waiting for %s: the client ended with status %d", c.name, pattern, code)
		}
		select {
		case <-grown:
		case <-deadline:
			c.t.Fatalf("%s: waited in vain for %s", c.name, pattern)
		}
	}
}

// gaveUp matches the errors that end a script; those of the server (connection, notify, message) do not.
var gaveUp = regexp.MustCompile(`^error\t(timeout|failed|unexpected|count|not-in-room|not-signed-on|unknown-room|unknown-command|` +
	`connection-lost|bad-regex|bad-argument|missing-argument)\t`)

// Do gives commands that report their success, and waits for that.
func (c *Client) Do(lines ...string) {
	c.t.Helper()
	for _, line := range lines {
		c.Send(line)
		c.Expect(`^ok\t` + regexp.QuoteMeta(strings.ReplaceAll(line, `\`, `\\`)) + `(\t|$)`)
	}
}

// Join enters a room and returns when the client shows it.
func (c *Client) Join(room string) {
	c.t.Helper()
	c.Send("join " + room)
	c.Do("wait-joined " + room)
	c.Use(room)
}

// Use makes a room the current one.
func (c *Client) Use(room string) {
	c.t.Helper()
	c.Send("use " + room)
	c.mark()
}

// mark waits until the client has executed what it was given, and returns how many lines it had written by then.
func (c *Client) mark() int {
	c.t.Helper()
	c.mu.Lock()
	token := fmt.Sprintf("mark-%d", len(c.all))
	c.mu.Unlock()
	c.Send("echo " + token)
	c.Expect("^echo\t" + token + "$")
	return c.next
}

// Quit signs off; the script must have run to its end without an error.
func (c *Client) Quit() {
	c.t.Helper()
	c.Send("quit")
	for deadline := time.After(stopTime); ; {
		c.mu.Lock()
		grown, ended, code := c.grown, c.ended, c.code
		c.mu.Unlock()
		if ended {
			if code != 0 {
				c.t.Errorf("%s ended with status %d", c.name, code)
			}
			return
		}
		select {
		case <-grown:
		case <-deadline:
			c.t.Fatalf("%s did not end after quit", c.name)
		}
	}
}

// fields returns the fields of the lines of a kind from position from on, unescaped.
func (c *Client) fields(from int, kind string) (rows [][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	unescape := strings.NewReplacer(`\t`, "\t", `\r`, "\r", `\n`, "\n", `\\`, `\`)
	for _, line := range c.all[from:] {
		f := strings.Split(line, "\t")
		if f[0] != kind {
			continue
		}
		for i := range f {
			f[i] = unescape.Replace(f[i])
		}
		rows = append(rows, f[1:])
	}
	return rows
}
