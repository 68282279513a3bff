package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"parley/cmd/internal/config"
	"parley/cmd/internal/demo"
	"parley/cmd/internal/pki"
	"parley/cmd/internal/pooldir"
	"parley/sipfront/siptest"
)

func (a *app) testCmd() *cobra.Command {
	return group("test", "Synthetic transactions", a.testMessageCmd())
}

// testMessage is Test-CsPersistentChatMessage: who tests, where, and what comes of it.
type testMessage struct {
	targets          []string // of sender and receiver; they may be two nodes
	tls              *tls.Config
	sender, receiver string
	passwords        [2]string
	room             string // URI; empty: the demo Lobby, else any room found
	timeout          time.Duration
}

// testResult has the fields of the cmdlet's answer.
type testResult struct {
	Target    string  `json:"target"` // of the sender
	Receiver  string  `json:"receiver_target"`
	Result    string  `json:"result"` // success, failure
	LatencyMS float64 `json:"latency_ms"`
	Steps     []step  `json:"steps"`
	Room      string  `json:"room"`
	Error     string  `json:"error"`
	Diagnosis string  `json:"diagnosis"` // the step that failed
}

type step struct {
	Step string  `json:"step"`
	MS   float64 `json:"ms"`
}

func (a *app) testMessageCmd() *cobra.Command {
	var target, receiverTarget, senderFile, receiverFile string
	var secure bool
	t := testMessage{}
	cmd := &cobra.Command{
		Use:   "message",
		Short: "Sign two users in, let them join a room and exchange two messages, and say how long it took",
		Long: "Sign two users in, let them join a room, exchange two messages, leave and sign out, and say how long it took.\n" +
			"With --dir of a sandbox or of a demo pool nothing else is needed: alice and bob meet in the Lobby, on two nodes if\n" +
			"there are two.",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&target, "target", "", "SIP `HOST:PORT` of the sender")
	f.StringVar(&receiverTarget, "receiver-target", "", "SIP `HOST:PORT` of the receiver (default: as the sender, or another node of --dir)")
	f.BoolVar(&secure, "tls", false, "use TLS; the CA of --dir is believed")
	f.StringVar(&t.sender, "sender-sip-address", "", "`ADDRESS` of the sender")
	f.StringVar(&t.receiver, "receiver-sip-address", "", "`ADDRESS` of the receiver")
	f.StringVar(&senderFile, "sender-password-file", "", "`FILE` with the sender's password")
	f.StringVar(&receiverFile, "receiver-password-file", "", "`FILE` with the receiver's password")
	f.StringVar(&t.room, "chat-room-uri", "", "ma-chan `URI` of the room (default: the demo Lobby, or any room found)")
	f.DurationVar(&t.timeout, "timeout", 10*time.Second, "how long a step may take")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.testDir(target)
		if err != nil {
			return err
		}
		if target != "" {
			t.targets = []string{target}
		}
		if receiverTarget != "" {
			t.targets = append(t.targets, receiverTarget)
		}
		if dir != nil {
			if err := t.fromDir(cmd.Context(), dir, a.server, secure); err != nil {
				return fmt.Errorf("test message: %w", err)
			}
		}
		for i, file := range []string{senderFile, receiverFile} {
			if file != "" {
				if t.passwords[i], err = a.readPassword(file); err != nil {
					return fmt.Errorf("test message: read password: %w", err)
				}
			}
		}
		if secure && len(t.targets) > 0 {
			if t.tls, err = testTLS(dir, t.targets[0]); err != nil {
				return fmt.Errorf("test message: %w", err)
			}
		}
		t.sender, t.receiver = strings.TrimPrefix(t.sender, "sip:"), strings.TrimPrefix(t.receiver, "sip:")
		if t.sender == "" || t.receiver == "" || len(t.targets) == 0 {
			return usagef("test message: give --target, --sender-sip-address and --receiver-sip-address, or --dir of a demo pool")
		}
		return a.runTestMessage(&t)
	}
	return cmd
}

// testDir opens the pool's directory that the test is about; nil: none is needed or named.
func (a *app) testDir(target string) (*pooldir.Pool, error) {
	dir := a.dir
	if dir == "" && target == "" {
		var err error
		if dir, err = a.sandboxDir(); err != nil {
			return nil, err
		}
		p, err := pooldir.Open(dir)
		if err != nil {
			return nil, usagef("test message: no pool named; use --dir DIR or --target HOST:PORT")
		}
		return p, nil
	}
	if dir == "" {
		return nil, nil
	}
	p, err := pooldir.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("test message: %w", err)
	}
	return p, nil
}

// fromDir fills in what a pool's directory tells: the listeners that answer and, of a demo pool, users and room.
func (t *testMessage) fromDir(ctx context.Context, p *pooldir.Pool, only string, secure bool) error {
	var configs []config.Config
	for _, n := range p.Nodes {
		c, err := n.Load(nil)
		if err != nil {
			return err
		}
		if only == "" || only == n.ID || strings.HasSuffix(only, c.Listen.HTTPS) && c.Listen.HTTPS != "" {
			configs = append(configs, c)
		}
	}
	if len(configs) == 0 {
		return fmt.Errorf("%s: no node %s in it", p.Dir, only)
	}
	if c := configs[0]; c.Demo {
		users := demo.Users()
		for i, who := range []*string{&t.sender, &t.receiver} {
			if *who == "" {
				*who, t.passwords[i] = users[i]+"@"+c.Domain, demo.Password
			}
		}
	}
	if len(t.targets) > 0 {
		return nil
	}
	var failed []error
	for _, c := range configs {
		addr := c.Listen.SIP
		if secure {
			addr = c.Listen.SIPS
		}
		if addr == "" || len(t.targets) == 2 {
			continue
		}
		d := net.Dialer{Timeout: 2 * time.Second}
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		conn.Close() //nolint:errcheck // it was only to see that somebody listens
		t.targets = append(t.targets, addr)
	}
	if len(t.targets) == 0 {
		return fmt.Errorf("no node answers: %w; is the pool running?%w", errors.Join(failed...), silent{errUnavailable})
	}
	return nil
}

// testTLS believes the pool's own authority.
func testTLS(p *pooldir.Pool, target string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if p != nil {
		if c.RootCAs, err = pki.LoadPool(p.CA()); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (a *app) runTestMessage(t *testMessage) error {
	res := t.run()
	if a.json {
		if err := a.emit(res); err != nil {
			return err
		}
	} else if res.Error == "" {
		a.say("success in %.1f ms: %s on %s and %s on %s in %s", res.LatencyMS, t.sender, res.Target, t.receiver, res.Receiver, res.Room)
		for _, s := range res.Steps {
			a.say("  %-32s %8.1f ms", s.Step, s.MS)
		}
	}
	if res.Error != "" {
		return fmt.Errorf("test message: %s: %s", res.Diagnosis, res.Error)
	}
	return nil
}

// run does the transaction. The first step that fails ends it.
func (t *testMessage) run() (res testResult) {
	res = testResult{Target: t.targets[0], Receiver: t.targets[len(t.targets)-1], Result: "failure", Steps: []step{}}
	dial := func(addr, user, password string) *siptest.Client {
		return siptest.Dial(siptest.Options{Addr: addr, TLS: t.tls, User: user, Password: password, UserAgent: "parley test",
			Epid: strings.ReplaceAll(uuid.NewString(), "-", "")[:12], Timeout: t.timeout})
	}
	var clients [2]*siptest.Client
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
	}()
	room := t.room
	one, two := "test "+uuid.NewString(), "test "+uuid.NewString()
	posted := func(c *siptest.Client, text string) error {
		if status := c.Post(room, text); status != 200 && c.Err() == nil {
			return fmt.Errorf("%s: the post was answered with %d", c.User(), status)
		}
		return c.Err()
	}
	steps := []struct {
		name string
		do   func() error
	}{
		{"sign in sender", func() error {
			clients[0] = dial(t.targets[0], t.sender, t.passwords[0])
			return clients[0].SignIn().Err()
		}},
		{"sign in receiver", func() error {
			clients[1] = dial(t.targets[len(t.targets)-1], t.receiver, t.passwords[1])
			return clients[1].SignIn().Err()
		}},
		{"find room", func() error {
			if room == "" {
				room = findTestRoom(clients[0])
			}
			if room == "" && clients[0].Err() == nil {
				return fmt.Errorf("%s sees no room", t.sender)
			}
			res.Room = room
			return clients[0].Err()
		}},
		{"join", func() error {
			clients[0].Join(room)
			clients[1].Join(room)
			return errors.Join(clients[0].Err(), clients[1].Err())
		}},
		{"message of sender to receiver", func() error {
			if err := posted(clients[0], one); err != nil {
				return err
			}
			clients[1].Expect(room, one)
			return clients[1].Err()
		}},
		{"message of receiver to sender", func() error {
			if err := posted(clients[1], two); err != nil {
				return err
			}
			clients[0].Expect(room, two)
			return clients[0].Err()
		}},
		{"leave and sign out", func() error {
			for _, c := range clients {
				c.Part(room)
				c.SignOut()
			}
			return errors.Join(clients[0].Err(), clients[1].Err())
		}},
	}
	began := time.Now()
	for _, s := range steps {
		start := time.Now()
		if err := s.do(); err != nil {
			res.Error, res.Diagnosis = strings.Join(strings.Fields(err.Error()), " "), s.name
			return res
		}
		res.Steps = append(res.Steps, step{s.name, milliseconds(time.Since(start))})
	}
	res.Result, res.LatencyMS = "success", milliseconds(time.Since(began))
	return res
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// findTestRoom returns the demo Lobby, or else any room that the client sees.
func findTestRoom(c *siptest.Client) string {
	if r := roomByName(c, demo.Lobby); r != "" {
		return r
	}
	for _, r := range c.List("") {
		return r.URI
	}
	return ""
}
