package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/config"
	"parley/cmd/internal/pooldir"
	"parley/webfront/admin"
	"parley/webfront/dump"
	"parley/webfront/objects"
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

// explain puts the client's class into the table of exit codes.
func explain(err error) error {
	if errors.Is(err, client.ErrUnavailable) {
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
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(head, " ", "\t"))
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if s := fmt.Sprint(c); s == "" {
				fmt.Fprint(w, "-")
			} else {
				fmt.Fprint(w, strings.Join(strings.Fields(s), " "))
			}
		}
		fmt.Fprintln(w)
	})
	a.must(w.Flush())
}

// fields prints one object, a field per line.
func (a *app) fields(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	if _, err := d.Token(); err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		var list []string
		text := string(raw)
		if json.Unmarshal(raw, &list) == nil {
			text = strings.Join(list, " ")
		} else {
			_ = json.Unmarshal(raw, &text) // a string; numbers and booleans stay as they are
		}
		fmt.Fprintf(w, "%s\t%s\n", name, strings.Join(strings.Fields(text), " "))
	}
	return w.Flush()
}

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

// confirm asks a person before something is lost. A script is not asked: it has no one to answer.
func (a *app) confirm(f *changeFlags, question string) error {
	if f.force || f.whatIf || !terminal(a.stdin) {
		return nil
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(a.stdin, &answer); err != nil || !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return errors.New("not confirmed; nothing was done")
	}
	return nil
}

// identity returns what a verb is about: its argument, or --identity as the product's cmdlets have it.
func identity(cmd *cobra.Command, args []string) (string, error) {
	flag, err := cmd.Flags().GetString("identity")
	if err != nil {
		return "", err
	}
	switch {
	case len(args) == 1 && flag == "":
		return args[0], nil
	case len(args) == 0 && flag != "":
		return flag, nil
	case len(args) > 1 || flag != "":
		return "", usagef("%s: name exactly one", cmd.CommandPath())
	}
	return "", usagef("%s: name which one", cmd.CommandPath())
}

func identityFlag(cmd *cobra.Command, what string) {
	cmd.Flags().String("identity", "", "`NAME` of the "+what+", instead of the argument")
}

// removeCmd is rm of a kind of thing.
func (a *app) removeCmd(what, collection, short, warning string) *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{Use: "rm NAME", Short: short, Args: cobra.MaximumNArgs(1)}
	f.add(cmd)
	identityFlag(cmd, what)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identity(cmd, args)
		if err != nil {
			return err
		}
		if err := a.confirm(&f, fmt.Sprintf("Remove %s %s%s?", what, id, warning)); err != nil {
			return fmt.Errorf("%s rm: %w", what, err)
		}
		return call(a, cmd.Context(), what+" rm", f.request(http.MethodDelete, nil, collection, id), func(r admin.Removed) {
			a.say("%s %s is removed (event %d)", what, r.Removed, r.Offset)
		})
	}
	return cmd
}

// changed returns a pointer to the value of a flag that was given, nil otherwise.
func changed[T any](cmd *cobra.Command, name string, v T) *T {
	if !cmd.Flags().Changed(name) {
		return nil
	}
	return &v
}

// listFlag is a list of principals that is changed as the product's cmdlets do.
type listFlag struct {
	name             string
	add, remove, set []string
}

func (l *listFlag) flags(cmd *cobra.Command, name, what string) {
	l.name = name
	cmd.Flags().StringSliceVar(&l.add, name+"-add", nil, "add `ADDRESSES` to the "+what)
	cmd.Flags().StringSliceVar(&l.remove, name+"-remove", nil, "remove `ADDRESSES` from the "+what)
	cmd.Flags().StringSliceVar(&l.set, name+"-set", nil, "make exactly these `ADDRESSES` the "+what+"; \"\" for none")
}

func (l *listFlag) change(cmd *cobra.Command) *objects.ListChange {
	c := &objects.ListChange{Add: l.add, Remove: l.remove}
	if cmd.Flags().Changed(l.name + "-set") {
		c.Set = &l.set
		if l.set == nil {
			c.Set = &[]string{}
		}
	} else if l.add == nil && l.remove == nil {
		return nil
	}
	return c
}
