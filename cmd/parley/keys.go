package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/pki"
	"parley/cmd/internal/pooldir"
	"parley/log/event"
	"parley/webfront/admin"
	"parley/webfront/signing"
)

func (a *app) poolKeyCmd() *cobra.Command {
	return group("key", "The key that signs checkpoints of the log", a.poolKeyNewCmd(), a.poolKeyListCmd(), a.poolKeyRotateCmd())
}

// newKey is what `pool key new` prints.
type newKey struct {
	Key    string `json:"key"`
	Public string `json:"public_file"`
}

func (a *app) poolKeyNewCmd() *cobra.Command {
	var file string
	cmd := &cobra.Command{Use: "new", Short: "Make a key that can sign checkpoints, for pool key rotate", Args: cobra.NoArgs,
		Long: `Make a key that can sign checkpoints. With --dir DIR it goes into DIR and to every node there; with --file it goes behind the
keys of one node's file (signing_key), and you copy that file to the other nodes, as safely as the first one. No node has to
be started again. Nothing is signed with it before ` + "`parley pool key rotate`." + ` The public half is printed, and written beside it.`}
	cmd.Flags().StringVar(&file, "file", "", "`FILE` with the keys of a node")
	cmd.RunE = func(*cobra.Command, []string) error {
		var k newKey
		var err error
		switch {
		case file != "":
			k, err = addKey(file)
		case a.dir != "":
			var p *pooldir.Pool
			if p, err = pooldir.Open(a.dir); err == nil {
				k.Key, k.Public, err = p.NewSigningKey()
			}
		default:
			return usagef("pool key new: name --dir DIR, or --file FILE")
		}
		if err != nil {
			return fmt.Errorf("pool key new: %w", err)
		}
		if a.json {
			return a.emit(k)
		}
		a.say("%s", k.Key)
		return nil
	}
	return cmd
}

// addKey makes a key of the same name as those of a file.
func addKey(file string) (k newKey, err error) {
	held, err := pki.LoadSigningKeys(file)
	if err != nil {
		return k, err
	}
	private, public, err := pki.NewSigningKey(strings.TrimSuffix(held[0].Name(), pki.SigningName))
	if err != nil {
		return k, err
	}
	k = newKey{public, fmt.Sprintf("%s-%s.vkey", strings.TrimSuffix(file, ".key"), strings.Split(public, "+")[1])}
	if _, err := os.Stat(k.Public); !errors.Is(err, fs.ErrNotExist) {
		return k, fmt.Errorf("%s is there already", k.Public)
	}
	if err := os.WriteFile(k.Public, []byte(public+"\n"), 0o644); err != nil { //nolint:gosec // it is public
		return k, err
	}
	return k, pooldir.AddSigningKey(file, private)
}

func (a *app) showKeys(keys []signing.Key) {
	a.table("KEY STATE SINCE UNTIL REVOKED-FROM NODES", func(row func(...any)) {
		for _, k := range keys {
			row(k.Key, k.State, k.Since, k.Until, k.RevokedFrom, joinNodes(k.Nodes))
		}
	})
}

func joinNodes(nodes []event.NodeID) string {
	var out []string
	for _, n := range nodes {
		out = append(out, string(n))
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ",")
}

func (a *app) poolKeyListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Show the keys that sign checkpoints, signed them, or could, and who holds them", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return calls(a, cmd, "pool key list", client.Request{Method: http.MethodGet, Path: []string{"keys"}}, a.showKeys)
	}
	return cmd
}

func (a *app) poolKeyRotateCmd() *cobra.Command {
	var f changeFlags
	var b admin.RotateKey
	cmd := &cobra.Command{Use: "rotate KEY", Short: "Have another key sign checkpoints from now on", Args: cobra.ExactArgs(1),
		Long: `Have another key sign checkpoints from now on: KEY is what ` + "`parley pool key new`" + ` printed, or the eight digits in it. The change is
an event in the log, signed with the old and with the new key, so an auditor with the old pool.vkey can go on (parley-verify
follows it). With --revoke the old key is not safe any more: its checkpoints of the log as it is now, or as it was at
--revoked-from, and of any longer one are refused. Whoever stole a key can make a rotation too, in a log of his own: so give
auditors the new pool.vkey by the way that you gave them the first.`}
	cmd.Flags().BoolVar(&b.Revoke, "revoke", false, "the old key is not safe any more")
	cmd.Flags().Uint64Var((*uint64)(&b.RevokedFrom), "revoked-from", 0, "with --revoke: since the log had so many `EVENTS`")
	cmd.Flags().StringVar(&b.Reason, "reason", "", "`WHY`, for the log")
	cmd.Flags().BoolVar(&b.Force, "without-nodes", false, "also if a node does not answer or has not the key: it signs nothing until it has")
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b.Key = args[0]
		if b.RevokedFrom != 0 && !b.Revoke {
			return usagef("pool key rotate: --revoked-from without --revoke")
		}
		if err := a.confirm(&f, "Have "+b.Key+" sign from now on? The key before it signs nothing more"); err != nil {
			return fmt.Errorf("pool key rotate: %w", err)
		}
		return calls(a, cmd, "pool key rotate", f.request(http.MethodPost, b, "keys"), a.showKeys)
	}
	return cmd
}

// calls is call for an answer that is a list: with --json it is a line for each.
func calls[T any](a *app, cmd *cobra.Command, what string, r client.Request, show func([]T)) error {
	if r.Query.Get("what_if") == "true" {
		return call(a, cmd.Context(), what, r, func(admin.WhatIf) {})
	}
	c, err := a.client()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var out []T
	r.Unconfirmed = a.unconfirmed(what)
	if err := c.Do(cmd.Context(), r, &out); err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	if !a.json {
		show(out)
		return nil
	}
	for _, x := range out {
		if err := a.emit(x); err != nil {
			return err
		}
	}
	return nil
}
