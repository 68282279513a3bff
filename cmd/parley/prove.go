package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/proving"
	"parley/compliance/proof"
	"parley/compliance/proof/witness"
	"parley/webfront/admin"
)

func (a *app) logCheckpointCmd() *cobra.Command {
	var since string
	var first bool
	cmd := &cobra.Command{Use: "checkpoint", Short: "Print the signed size and root of the log, or a request to a witness to sign them too", Args: cobra.NoArgs,
		Long: "Print the signed size and root of the log. Keep it: `parley feed prove --since FILE` proves later that the log still begins with what was signed.\n\n" +
			"With --since or --first, print a request for a witness's signature instead: the body of add-checkpoint of C2SP tlog-witness, for\n" +
			"`parley-verify cosign` or any other witness. What the witness answers goes to `parley feed prove --checkpoint FILE`."}
	cmd.Flags().StringVar(&since, "since", "", "`FILE` with the checkpoint that the witness signed last: the request proves that the log continues it")
	cmd.Flags().BoolVar(&first, "first", false, "a request to a witness that has signed nothing of this pool yet")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if since != "" && first {
			return usagef("log checkpoint: either --since or --first")
		}
		if since != "" || first {
			return a.witnessRequest(cmd, since)
		}
		return call(a, cmd.Context(), "log checkpoint", client.Request{Method: http.MethodGet, Path: []string{"checkpoint"}}, func(c admin.LogCheckpoint) {
			fmt.Fprint(a.stdout, c.Checkpoint)
		})
	}
	return cmd
}

// witnessRequest prints a request for the signature of a witness, from the checkpoint in a file; "": from none.
func (a *app) witnessRequest(cmd *cobra.Command, since string) error {
	var old int64
	q := url.Values{}
	if since != "" {
		b, err := os.ReadFile(since)
		if err != nil {
			return fmt.Errorf("log checkpoint: %w", err)
		}
		if old, err = proof.SizeOf(b); err != nil {
			return fmt.Errorf("log checkpoint: %s: %w", since, err)
		}
		q.Set("since", strconv.FormatInt(old, 10))
	}
	return call(a, cmd.Context(), "log checkpoint", client.Request{Method: http.MethodGet, Path: []string{"checkpoint"}, Query: q}, func(c admin.LogCheckpoint) {
		fmt.Fprintf(a.stdout, "%s", witness.EncodeRequest(old, c.Consistency, []byte(c.Checkpoint)))
	})
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
	cmd.Flags().StringVar(&f.Under, "checkpoint", "", "`FILE` with a checkpoint that a witness has signed too, to prove under it; default: a new one, by the pool alone")
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
