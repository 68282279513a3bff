package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/pooldir"
	"parley/log/event"
	"parley/webfront/admin"
)

func (a *app) poolInitCmd() *cobra.Command {
	var o pooldir.Options
	cmd := &cobra.Command{
		Use:   "init --dir DIR",
		Short: "Write configurations, certificates and an admin credential for a new pool",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().IntVar(&o.Nodes, "nodes", 3, "how many nodes, `N` from 1 to 8")
	cmd.Flags().StringVar(&o.Domain, "domain", "contoso.test", "SIP `DOMAIN` of the pool")
	cmd.Flags().IntVar(&o.BasePort, "base-port", 15000, "node i has its ports from `PORT` + 10 i")
	cmd.Flags().BoolVar(&o.Demo, "demo", false, "add demo users and rooms, and let clients from loopback in without a challenge")
	cmd.RunE = func(*cobra.Command, []string) error {
		if a.dir == "" {
			return usagef("pool init: no directory; name one with --dir DIR")
		}
		if err := o.Check(); err != nil {
			return usagef("pool init: %w", err)
		}
		p, err := pooldir.Init(a.dir, o, time.Now())
		if err != nil {
			return fmt.Errorf("pool init: %w", err)
		}
		for _, n := range p.Nodes {
			if err := a.printNodeConfig(n.ID, n.Config); err != nil {
				return err
			}
		}
		if a.json {
			return a.emit(map[string]any{"dir": p.Dir, "ca": p.CA(), "credentials": p.Token(), "demo": o.Demo})
		}
		a.say("CA certificate %s, admin credential %s", p.CA(), p.Token())
		if o.Demo {
			a.say("NOTE: --demo lets clients from 127.0.0.0/8 and ::1 in without a challenge: for trying out only")
		}
		a.say("Start all nodes together: parley serve --config FILE")
		return nil
	}
	return cmd
}

func (a *app) printNodeConfig(node, file string) error {
	if a.json {
		return a.emit(map[string]string{"node": node, "config": file})
	}
	a.say("%s  %s", node, file)
	return nil
}

func (a *app) poolStatusCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show every node: who leads, how far each is, what it serves", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return fmt.Errorf("pool status: %w", err)
		}
		var nodes []admin.NodeStatus
		if err := c.Do(cmd.Context(), client.Request{Method: http.MethodGet, Path: []string{"status"}}, &nodes); err != nil {
			return fmt.Errorf("pool status: %w", explain(err))
		}
		a.complete(cmd.Context(), nodes)
		if a.json {
			for _, n := range nodes {
				if err := a.emit(n); err != nil {
					return err
				}
			}
			return nil
		}
		a.table("NODE STATE APPLIED COMMITTED LAG VERSION SESSIONS", func(row func(...any)) {
			for _, n := range nodes {
				row(n.Node, n.State, n.Applied, n.Committed, n.Lag, n.Version, n.Sessions)
			}
		})
		return nil
	}
	return cmd
}

// complete fills in nodes that the one that answered could not ask, because they were added after it was configured:
// the pool's directory knows their addresses.
func (a *app) complete(ctx context.Context, nodes []admin.NodeStatus) {
	if a.dir == "" {
		return
	}
	var head event.Offset
	for _, n := range nodes {
		head = max(head, n.Committed)
	}
	for i, n := range nodes {
		if n.Version != "" || n.State == admin.StateDown {
			continue
		}
		c, err := client.New(client.Options{Dir: a.dir, Server: string(n.Node), Credentials: a.credentials})
		if err != nil {
			continue // the directory does not know it either: its figures stay away
		}
		var st admin.NodeStatus
		if err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: []string{"node"}}, &st); err != nil {
			nodes[i].State = admin.StateDown
			continue
		}
		st.Node, st.State, st.Lag = n.Node, n.State, head-min(head, st.Applied)
		nodes[i] = st
	}
}

// memberChange is the answer to a change of membership.
type memberChange struct {
	Action string       `json:"action"`
	Node   event.NodeID `json:"node"`
	WhatIf bool         `json:"what_if"`
}

func (a *app) showChange(c memberChange) { a.say("%s %s: done", c.Action, c.Node) }

func (a *app) changeMember(cmd *cobra.Command, what string, r client.Request) error {
	if r.Query.Get("what_if") == "true" && !a.json {
		c, err := a.client()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		var v memberChange
		if err := c.Do(cmd.Context(), r, &v); err != nil {
			return fmt.Errorf("%s: %w", what, explain(err))
		}
		a.say("what if: %s %s", v.Action, v.Node)
		return nil
	}
	return call(a, cmd.Context(), what, r, a.showChange)
}

func (a *app) poolAddCmd() *cobra.Command {
	var addr string
	var voter bool
	var f changeFlags
	cmd := &cobra.Command{
		Use:   "add NODE",
		Short: "Add a node to the pool",
		Long: "Add a node to the pool, as a standby: start it with `parley serve`, and give it a vote with `parley pool promote`\n" +
			"when it has caught up; --voter does that in one, and waits for it. With --dir and without --addr the node's\n" +
			"configuration and certificate are written first.",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&addr, "addr", "", "peer `HOST:PORT` of the node")
	cmd.Flags().BoolVar(&voter, "voter", false, "wait until it has caught up, up to 5 minutes, and give it a vote")
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if addr == "" && a.dir == "" {
			return usagef("pool add: no address; give --addr HOST:PORT, or --dir DIR to write the node's configuration too")
		}
		if addr == "" {
			p, err := pooldir.Open(a.dir)
			if err != nil {
				return fmt.Errorf("pool add: %w", err)
			}
			if f.whatIf {
				if addr, err = p.PeerAddr(args[0]); err != nil {
					return fmt.Errorf("pool add: %w", err)
				}
			} else {
				n, peer, err := p.AddNode(args[0], time.Now())
				if err != nil && !errors.Is(err, pooldir.ErrExists) {
					return fmt.Errorf("pool add: %w", err)
				}
				if err := a.printNodeConfig(n.ID, n.Config); err != nil {
					return err
				}
				addr = peer
			}
		}
		b := admin.AddMember{ID: event.NodeID(args[0]), Addr: addr, Standby: !voter}
		r := f.request(http.MethodPost, b, "members")
		r.Slow = voter
		return a.changeMember(cmd, "pool add", r)
	}
	return cmd
}

func (a *app) poolMemberCmd(verb, short, method string, tail ...string) *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{Use: verb + " NODE", Short: short, Args: cobra.ExactArgs(1)}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if verb == "remove" {
			if err := a.confirm(&f, "Remove node "+args[0]+" from the pool?"); err != nil {
				return fmt.Errorf("pool remove: %w", err)
			}
		}
		r := f.request(method, nil, append([]string{"members", args[0]}, tail...)...)
		r.Slow = verb == "promote"
		if err := a.changeMember(cmd, "pool "+verb, r); err != nil || verb != "remove" || f.whatIf || a.dir == "" {
			return err
		}
		p, err := pooldir.Open(a.dir)
		if err != nil {
			return err
		}
		return p.MarkRemoved(args[0])
	}
	return cmd
}

func (a *app) poolTransferCmd() *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{Use: "transfer [NODE]", Short: "Hand leadership over, to NODE or to whoever is most current", Args: cobra.MaximumNArgs(1)}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var b admin.Transfer
		if len(args) == 1 {
			b.To = event.NodeID(args[0])
		}
		return a.changeMember(cmd, "pool transfer", f.request(http.MethodPost, b, "leader"))
	}
	return cmd
}
