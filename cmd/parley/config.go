package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/internal/config"
	"parley/cmd/internal/version"
)

func (a *app) configCheckCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Say whether serve would take a configuration",
		Args:  cobra.NoArgs,
	}
	config.AddFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.loadConfig(cmd.Flags())
		if err != nil {
			var u usageError
			if errors.As(err, &u) {
				return err
			}
			return fmt.Errorf("config check: %w", err)
		}
		problems := config.Problems(c.Check(time.Now()))
		if a.json {
			for _, p := range problems {
				if err := a.emit(p); err != nil {
					return err
				}
			}
			if err := a.emit(map[string]any{"ok": len(problems) == 0, "config": a.configFile, "node": c.Node}); err != nil {
				return err
			}
		}
		switch len(problems) {
		case 0:
			a.say("%s: node %s, no problem found", a.configFile, c.Node)
			return nil
		case 1:
		default:
			for _, p := range problems[1:] {
				fmt.Fprintf(a.stderr, "parley: config check: %s: %v\n", a.configFile, p)
			}
		}
		return fmt.Errorf("config check: %s: %w", a.configFile, problems[0])
	}
	return cmd
}

func (a *app) configReferenceCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "reference",
		Short: "Print every key, its meaning, its default, its variable and its flag",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !a.json {
				return config.WriteReference(a.stdout)
			}
			for _, e := range config.Reference() {
				if err := a.emit(e); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and toolchain",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := version.Get()
			if a.json {
				return a.emit(b)
			}
			_, err := fmt.Fprintf(a.stdout, "parley %s (commit %s, %s)\n", b.Version, b.Commit, b.Go)
			return err
		},
	}
}
