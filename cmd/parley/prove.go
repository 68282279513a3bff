package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/proving"
	"parley/webfront/admin"
)

func (a *app) logCheckpointCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "checkpoint", Short: "Print the signed size and root of the log", Args: cobra.NoArgs,
		Long: "Print the signed size and root of the log. Keep it: `parley feed prove --since FILE` proves later that the log still begins with what was signed."}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return call(a, cmd.Context(), "log checkpoint", client.Request{Method: http.MethodGet, Path: []string{"checkpoint"}}, func(c admin.LogCheckpoint) {
			fmt.Fprint(a.stdout, c.Checkpoint)
		})
	}
	return cmd
}

func (a *app) feedProveCmd() *cobra.Command {
	var f proving.Options
	cmd := &cobra.Command{Use: "prove", Short: "Write a proof that a feed's files are complete and unaltered, with the files", Args: cobra.NoArgs,
		Long: `Write a proof that a feed's files are complete and unaltered, with the files, into a new directory. An auditor checks it
without a server: parley-verify --key pool.vkey DIR. The range grows to whole files. What was said is in the files only.`}
	cmd.Flags().StringVar(&f.Feed, "feed", "", "`FEED`")
	cmd.Flags().StringVar(&f.Out, "out", "", "new `DIR`")
	cmd.Flags().StringVar(&f.Files, "files", "", "`DIR` with the feed's files; default: where the node that answers has them")
	cmd.Flags().BoolVar(&f.Link, "link", false, "give the files a second name instead of copying them; whoever alters one then alters the archive")
	cmd.Flags().StringVar(&f.Since, "since", "", "`FILE` with an earlier checkpoint, to prove that the log continues it")
	cmd.Flags().Uint64Var(&f.From, "from", 0, "first event `OFFSET`")
	cmd.Flags().Uint64Var(&f.To, "to", 0, "last event `OFFSET`; default: the last that was delivered")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.Feed == "" || f.Out == "" {
			return usagef("feed prove: name --feed FEED and --out DIR")
		}
		if f.To != 0 && f.From > f.To {
			return usagef("feed prove: --from %d is after --to %d", f.From, f.To)
		}
		c, err := a.client()
		if err != nil {
			return fmt.Errorf("feed prove: %w", err)
		}
		p, err := proving.Write(cmd.Context(), c, f)
		if err != nil {
			return fmt.Errorf("feed prove: %w", explain(err))
		}
		if a.json {
			return a.emit(p)
		}
		a.say("events %d to %d, %d files, proven in %s under a checkpoint of %d events", p.First, p.Last, p.Files, p.Dir, p.Size)
		return nil
	}
	return cmd
}
