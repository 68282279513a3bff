package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/internal/config"
	"parley/cmd/internal/demo"
	"parley/cmd/internal/pooldir"
	"parley/cmd/internal/synthetic"
)

func (a *app) sandboxCmd() *cobra.Command {
	o := pooldir.Options{Domain: "contoso.test", Demo: true}
	var noChatter bool
	cmd := &cobra.Command{
		Use:   "sandbox [--dir DIR]",
		Short: "Run a whole pool in this process, with rooms and users, for trying out",
		Long: "Run a whole pool in this process, each node with its own data and ports, with rooms and users, until\n" +
			"SIGINT or SIGTERM. The next start in the same directory continues where this one stopped.",
		Args: cobra.NoArgs,
	}
	cmd.Flags().IntVar(&o.Nodes, "nodes", 4, "how many nodes, `N` from 1 to 8")
	cmd.Flags().IntVar(&o.BasePort, "base-port", 15000, "node i has its ports from `PORT` + 10 i")
	cmd.Flags().BoolVar(&noChatter, "no-chatter", false, "no demo users that talk now and then")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.Check(); err != nil {
			return usagef("sandbox: %w", err)
		}
		dir := a.dir
		if dir == "" {
			var err error
			if dir, err = a.sandboxDir(); err != nil {
				return err
			}
		}
		p, err := openOrInit(dir, o, cmd.Flags().Changed("nodes"), cmd.Flags().Changed("base-port"))
		if err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		return a.sandbox(cmd.Context(), p, !noChatter)
	}
	return cmd
}

// openOrInit opens the sandbox in dir, or makes it. An existing one keeps its shape: nodes and ports are part of
// what its nodes agreed on, so asking for others is refused rather than ignored.
func openOrInit(dir string, o pooldir.Options, nodes, port bool) (*pooldir.Pool, error) {
	p, err := pooldir.Open(dir)
	if errors.Is(err, pooldir.ErrNoPool) {
		return pooldir.Init(dir, o, time.Now())
	}
	if err != nil {
		return nil, err
	}
	if nodes && len(p.Nodes) != o.Nodes {
		return nil, fmt.Errorf("%s is a pool of %d nodes, not %d; leave --nodes out or name another --dir", p.Dir, len(p.Nodes), o.Nodes)
	}
	if port {
		base, err := p.BasePort()
		if err != nil {
			return nil, err
		}
		if base != o.BasePort {
			return nil, fmt.Errorf("%s is a pool at base port %d, not %d; leave --base-port out or name another --dir", p.Dir, base, o.BasePort)
		}
	}
	return p, nil
}

func (a *app) sandbox(ctx context.Context, p *pooldir.Pool, chatter bool) error {
	var configs []config.Config
	for _, n := range p.Nodes {
		c, err := n.Load(nil) // the environment would set one value for all nodes at once
		if err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		if err := c.Check(time.Now()); err != nil {
			return fmt.Errorf("sandbox: configuration of %s refused: %w", n.ID, oneLineProblems(err))
		}
		configs = append(configs, c)
	}
	level := slog.LevelWarn // a person reads the sandbox's terminal
	if a.quiet {
		level = slog.LevelError
	}
	logger := a.logger(level)
	return a.serve(ctx, configs, logger, func(ctx context.Context) {
		a.welcome(p, configs, chatter)
		if chatter {
			var addrs []string
			for _, c := range configs {
				addrs = append(addrs, c.Listen.SIP)
			}
			synthetic.Chatter(ctx, addrs, configs[0].Domain, logger)
		}
	})
}

// welcome tells a person what there is and what to try.
func (a *app) welcome(p *pooldir.Pool, configs []config.Config, chatter bool) {
	c := configs[0]
	var users []string
	for _, u := range demo.Users() {
		users = append(users, u+"@"+c.Domain)
	}
	a.say("")
	a.say("users     %s; password %s", strings.Join(users, " "), demo.Password)
	a.say("rooms     Lobby (open), Operations (closed), Board (secret), Announcements (auditorium)")
	a.say("CA        %s (believe it for TLS)", p.CA())
	a.say("files     %s (compliance feed, every 5 s)", filepath.Join(p.Dir, "compliance"))
	if c.SIP.LoopbackWithoutChallenge {
		a.say("NOTE      clients from 127.0.0.0/8 and ::1 get in without a challenge: for trying out only")
	}
	if chatter {
		a.say("chatter   demo users talk in %s now and then (--no-chatter: they do not)", demo.Lobby)
	}
	a.say("")
	a.say("Try: sign in with a SIP client at %s as alice@%s", c.Listen.SIP, c.Domain)
	a.say("     parley --dir %s pool status", p.Dir)
	a.say("     parley --dir %s room get", p.Dir)
	a.say("     parley --dir %s log tail", p.Dir)
	a.say("     parley --dir %s test message", p.Dir)
	a.say("Ctrl-C stops; the next start continues here.")
}
