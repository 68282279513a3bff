package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/internal/config"
	"parley/cmd/internal/demo"
	"parley/cmd/internal/password"
	"parley/cmd/internal/pki"
	"parley/cmd/internal/pooldir"
	"parley/cmd/internal/synthetic"
)

func (a *app) testCmd() *cobra.Command {
	return group("test", "Synthetic transactions", a.testMessageCmd())
}

func (a *app) testMessageCmd() *cobra.Command {
	var target, receiverTarget, senderFile, receiverFile string
	var secure bool
	t := synthetic.Message{}
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
	f.StringVar(&t.Sender, "sender-sip-address", "", "`ADDRESS` of the sender")
	f.StringVar(&t.Receiver, "receiver-sip-address", "", "`ADDRESS` of the receiver")
	f.StringVar(&senderFile, "sender-password-file", "", "`FILE` with the sender's password")
	f.StringVar(&receiverFile, "receiver-password-file", "", "`FILE` with the receiver's password")
	f.StringVar(&t.Room, "chat-room-uri", "", "ma-chan `URI` of the room (default: the demo Lobby, or any room found)")
	f.DurationVar(&t.Timeout, "timeout", 10*time.Second, "how long a step may take")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.testDir(target)
		if err != nil {
			return err
		}
		if target != "" {
			t.Targets = []string{target}
		}
		if receiverTarget != "" {
			t.Targets = append(t.Targets, receiverTarget)
		}
		if dir != nil {
			if err := fromDir(cmd.Context(), &t, dir, a.server, secure); err != nil {
				return fmt.Errorf("test message: %w", err)
			}
		}
		for i, file := range []string{senderFile, receiverFile} {
			if file != "" {
				if t.Passwords[i], err = password.Read(file, a.stdin, terminal(a.stdin), a.stderr); err != nil {
					return fmt.Errorf("test message: read password: %w", err)
				}
			}
		}
		if secure && len(t.Targets) > 0 {
			if t.TLS, err = testTLS(dir, t.Targets[0]); err != nil {
				return fmt.Errorf("test message: %w", err)
			}
		}
		t.Sender, t.Receiver = strings.TrimPrefix(t.Sender, "sip:"), strings.TrimPrefix(t.Receiver, "sip:")
		if t.Sender == "" || t.Receiver == "" || len(t.Targets) == 0 {
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
func fromDir(ctx context.Context, t *synthetic.Message, p *pooldir.Pool, only string, secure bool) error {
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
		for i, who := range []*string{&t.Sender, &t.Receiver} {
			if *who == "" {
				*who, t.Passwords[i] = users[i]+"@"+c.Domain, demo.Password
			}
		}
	}
	if len(t.Targets) > 0 {
		return nil
	}
	var failed []error
	for _, c := range configs {
		addr := c.Listen.SIP
		if secure {
			addr = c.Listen.SIPS
		}
		if addr == "" || len(t.Targets) == 2 {
			continue
		}
		d := net.Dialer{Timeout: 2 * time.Second}
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		conn.Close() //nolint:errcheck // it was only to see that somebody listens
		t.Targets = append(t.Targets, addr)
	}
	if len(t.Targets) == 0 {
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

func (a *app) runTestMessage(t *synthetic.Message) error {
	res := t.Run()
	if a.json {
		if err := a.emit(res); err != nil {
			return err
		}
	} else if res.Error == "" {
		a.say("success in %.1f ms: %s on %s and %s on %s in %s", res.LatencyMS, t.Sender, res.Target, t.Receiver, res.Receiver, res.Room)
		for _, s := range res.Steps {
			a.say("  %-32s %8.1f ms", s.Step, s.MS)
		}
	}
	if res.Error != "" {
		return fmt.Errorf("test message: %s: %s", res.Diagnosis, res.Error)
	}
	return nil
}
