package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/config"
	"parley/cmd/internal/pooldir"
	"parley/cmd/internal/show"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/dump"
)

// client connects to the pool that the global flags name. Without any of them the bare sandbox is meant, if there is
// one.
func (a *app) client() (*client.Client, error) {
	o := client.Options{Server: a.server, Credentials: a.credentials, Dir: a.dir}
	if o.Server == "" && o.Dir == "" && a.configFile != "" {
		c, err := config.Load(config.Sources{File: a.configFile, Environ: a.environ})
		if err != nil {
			return nil, err
		}
		if c.Listen.HTTPS == "" {
			return nil, fmt.Errorf("%s: the node has no HTTPS listener (listen.https)", a.configFile)
		}
		o.Server = c.Listen.HTTPS
	}
	if o.Server == "" && o.Dir == "" {
		dir, err := a.sandboxDir()
		if err != nil {
			return nil, err
		}
		if _, err := pooldir.Open(dir); err != nil {
			if errors.Is(err, pooldir.ErrNoPool) || errors.Is(err, fs.ErrNotExist) {
				return nil, usagef("no pool named; use --dir DIR, or --server URL with --credentials FILE")
			}
			return nil, err
		}
		o.Dir = dir
	}
	return client.New(o)
}

// call sends one request and prints the answer: with --json one line per object, else with show. what says what was
// attempted, for the error.
func call[T any](a *app, ctx context.Context, what string, r client.Request, show func(T)) error {
	c, err := a.client()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	r.Unconfirmed = a.unconfirmed(what)
	var raw json.RawMessage
	if err := c.Do(ctx, r, &raw); err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	if a.json {
		return a.emitRaw(raw)
	}
	if r.Query.Get("what_if") == "true" {
		return a.showWhatIf(raw)
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("%s: read the answer: %w", what, err)
	}
	if !a.quiet {
		show(v)
	}
	return nil
}

// unconfirmed returns what tells an administrator that some nodes have not shown his change yet.
func (a *app) unconfirmed(what string) func(nodes string) {
	return func(nodes string) {
		fmt.Fprintf(a.stderr, "parley: %s: it is done and cannot be lost, but not seen everywhere yet: %s; a node that is behind follows by itself\n", what, nodes)
	}
}

// explain puts the client's class into the table of exit codes, and that of a problem within an answer.
func explain(err error) error {
	if errors.Is(err, client.ErrUnavailable) || errors.Is(err, chat.ErrUnavailable) {
		return fmt.Errorf("%w%w", err, silent{errUnavailable})
	}
	return err
}

// silent adds a class to an error and no words.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// emitRaw prints an object, or the objects of a list, one per line.
func (a *app) emitRaw(raw json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		list = []json.RawMessage{raw}
	}
	for _, v := range list {
		if err := a.emit(v); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) showWhatIf(raw json.RawMessage) error {
	var w admin.WhatIf
	if err := json.Unmarshal(raw, &w); err != nil {
		return err
	}
	if len(w.Events) == 0 {
		a.say("what if: nothing would change")
	}
	for _, e := range w.Events {
		text, err := dump.Text(e)
		if err != nil {
			return err
		}
		a.say("what if: %s", strings.TrimPrefix(text, "-  -  "))
	}
	return nil
}

// table prints rows under a head.
func (a *app) table(head string, rows func(row func(cells ...any))) {
	a.must(show.Table(a.stdout, head, rows))
}

// fields prints one object, a field per line.
func (a *app) fields(v any) error { return show.Fields(a.stdout, v) }

// changeFlags are the flags of every verb that changes something.
type changeFlags struct {
	whatIf, force bool
	key           string
}

func (f *changeFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.whatIf, "what-if", false, "show what would be written, and write nothing")
	cmd.Flags().BoolVar(&f.force, "force", false, "do not ask")
	cmd.Flags().StringVar(&f.key, "request-id", "", "`ID` of the change: sent again with the same id it takes effect once")
}

// request makes the request of a change.
func (f *changeFlags) request(method string, body any, path ...string) client.Request {
	r := client.Request{Method: method, Path: path, Body: body, Key: f.key}
	if r.Key == "" {
		r.Key = uuid.NewString() // the client may try it on several nodes
	}
	if f.whatIf {
		r.Query = url.Values{"what_if": {"true"}}
	}
	return r
}

// confirm asks a person before something is lost. A script has nobody who answers, and has made up its mind.
func (a *app) confirm(f *changeFlags, question string) error {
	if f.force || f.whatIf || !terminal(a.stdin) {
		return nil
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(a.stdin, &answer); err != nil || !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return errNotConfirmed
	}
	return nil
}
