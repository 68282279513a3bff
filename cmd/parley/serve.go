package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/internal/config"
)

// stopWithin is how long a clean stop may take: SIGTERM to exit. A little is left for the exit itself.
const stopWithin = 8 * time.Second

// drainWithin is how much of it users may take to be parted. Whoever is not by then is parted when the node starts
// again, or as lost.
const drainWithin = 5 * time.Second

func (a *app) serveCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run one node until SIGINT or SIGTERM",
		Long: "Run one node until SIGINT or SIGTERM. The ready line is printed when the node has a leader and its\n" +
			"projections are current, so all nodes of a new pool are started together.",
		Args: cobra.NoArgs,
	}
	config.AddFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.loadConfig(cmd.Flags())
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		if err := c.Check(time.Now()); err != nil {
			return fmt.Errorf("serve: configuration refused: %w", oneLineProblems(err))
		}
		level, err := c.Level()
		if err != nil {
			return err
		}
		return a.serve(cmd.Context(), []config.Config{c}, a.logger(level), nil)
	}
	return cmd
}

// serve runs nodes until ctx ends or one of them fails, and stops them. beside runs, if not nil, after the ready
// lines were printed; its context ends when the stop begins, and the nodes stop after it.
func (a *app) serve(ctx context.Context, configs []config.Config, logger *slog.Logger, beside func(context.Context)) (err error) {
	var nodes []node
	defer func() { err = errors.Join(err, stopAll(nodes, configs)) }()
	for _, c := range configs {
		n, err := a.open(c, logger.With("node", c.Node))
		if err != nil {
			return fmt.Errorf("start node %s: %w", c.Node, err)
		}
		nodes = append(nodes, n)
	}
	failed := make(chan error, len(nodes))
	for i, n := range nodes {
		go func() {
			<-n.Done()
			err := n.Err()
			if err == nil {
				err = errors.New("it ended")
			}
			failed <- fmt.Errorf("node %s: %w", configs[i].Node, err)
		}()
	}
	for i, n := range nodes {
		if done, err := a.await(ctx, configs[i].Node, n.Ready(), failed); done {
			return err
		}
		a.printNode(configs[i], n)
	}
	last := poolLine{Ready: true, PoolURI: configs[0].PoolURI}
	for _, n := range nodes {
		if last.Leader = n.Leader(); last.Leader != "" {
			break
		}
	}
	a.printPool(last)
	if beside != nil {
		runCtx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() { beside(runCtx) })
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// await waits for a node. done says that the run is over: asked to stop, or a node failed.
func (a *app) await(ctx context.Context, name string, ready <-chan struct{}, failed <-chan error) (done bool, err error) {
	t := time.NewTicker(5 * time.Second)
	defer t.Stop()
	for began := time.Now(); ; {
		select {
		case <-ready:
			return false, nil
		case err := <-failed:
			return true, err
		case <-ctx.Done():
			return true, nil
		case <-t.C:
			if !a.quiet {
				fmt.Fprintf(a.stderr, "parley: node %s waits for a leader and current projections since %v\n", name,
					time.Since(began).Round(time.Second))
			}
		}
	}
}

// stopAll stops all nodes at once: one after the other, each would wait for votes of nodes that are gone. First all
// of them part their users, while there is still a majority to write that down.
func stopAll(nodes []node, configs []config.Config) error {
	begun := time.Now()
	errs := make([]error, len(nodes))
	each := func(what string, until time.Duration, do func(node, context.Context) error) {
		ctx, cancel := context.WithDeadline(context.Background(), begun.Add(until))
		defer cancel()
		var wg sync.WaitGroup
		for i, n := range nodes {
			wg.Go(func() {
				if err := do(n, ctx); err != nil {
					errs[i] = errors.Join(errs[i], fmt.Errorf("%s node %s: %w", what, configs[i].Node, err))
				}
			})
		}
		wg.Wait()
	}
	each("drain", drainWithin, node.Drain)
	each("stop", stopWithin, node.Stop)
	return errors.Join(errs...)
}

func (a *app) printNode(c config.Config, n node) {
	at := n.Addresses()
	if a.json {
		a.must(a.emit(nodeLine{Node: c.Node, SIP: at.SIP, SIPS: at.SIPS, HTTPS: at.HTTPS, Peer: at.Peer, Ops: at.Ops, Data: c.Data}))
		return
	}
	a.say("%s  sip %s  sips %s  https %s  ops http://%s  data %s", c.Node, at.SIP, at.SIPS, at.HTTPS, at.Ops, c.Data)
}

func (a *app) printPool(p poolLine) {
	if a.json {
		a.must(a.emit(p))
		return
	}
	a.say("ready: pool %s, leader %s", p.PoolURI, p.Leader)
}

// must reports a broken standard output: a server goes on without it.
func (a *app) must(err error) {
	if err != nil {
		fmt.Fprintf(a.stderr, "parley: write to standard output: %v\n", err)
	}
}

// oneLineProblems turns the problems of a configuration into one line.
func oneLineProblems(err error) error {
	ps := config.Problems(err)
	if len(ps) == 1 {
		return ps[0]
	}
	return fmt.Errorf("%w (and %d more: parley config check)", ps[0], len(ps)-1)
}
