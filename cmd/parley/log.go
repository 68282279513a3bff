package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/stopped"
	"parley/log"
	"parley/log/event"
	"parley/webfront/admin"
	"parley/webfront/dump"
)

func (a *app) logCmd() *cobra.Command {
	return group("log", "The event log, as auditors see it", a.logDumpCmd(), a.logTailCmd(), a.logStateCmd(), a.logVerifyCmd(), a.logCheckpointCmd())
}

// logFlags say which events, of which log.
type logFlags struct {
	from, to   uint64
	room, user string
	kinds      []string
	data       string
}

func (f *logFlags) filter(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.room, "room", "", "only of this `ROOM`, by ma-chan URI, GUID or any name it ever had")
	cmd.Flags().StringVar(&f.user, "user", "", "only by this `ADDRESS`, with or without sip:")
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only of these `KINDS`, such as posted,joined")
}

func (f *logFlags) source(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&f.from, "from", 0, "first event `OFFSET`")
	cmd.Flags().Uint64Var(&f.to, "to", 0, "last event `OFFSET`")
	cmd.Flags().StringVar(&f.data, "data", "", "data `DIR` of a stopped node, instead of a running one; nothing is written there")
}

// check refuses what excludes each other.
func (f *logFlags) check(cmd *cobra.Command) error {
	if f.data != "" && cmd.Flags().Changed("server") {
		return usagef("%s: --data and --server exclude each other", cmd.CommandPath())
	}
	if f.to != 0 && f.from > f.to {
		return usagef("%s: --from %d is after --to %d", cmd.CommandPath(), f.from, f.to)
	}
	if cmd.Flags().Changed("data") && f.data == "" {
		return usagef("%s: --data is empty", cmd.CommandPath())
	}
	for _, k := range f.kinds {
		if _, ok := event.ParseKind(k); !ok {
			return usagef("%s: no events of kind %q exist", cmd.CommandPath(), k)
		}
	}
	return nil
}

func (f *logFlags) query() url.Values {
	q := url.Values{}
	for name, n := range map[string]uint64{"from": f.from, "to": f.to} {
		if n != 0 {
			q.Set(name, strconv.FormatUint(n, 10))
		}
	}
	for name, s := range map[string]string{"room": f.room, "user": f.user} {
		if s != "" {
			q.Set(name, s)
		}
	}
	if len(f.kinds) > 0 {
		q["kind"] = f.kinds
	}
	return q
}

// printEvent prints an event's line as it is, or for people.
func (a *app) printEvent(line []byte) error { return a.printLine(line, dump.Text) }

// printLine prints a line of JSON as it is, or as the text that it comes to for people.
func (a *app) printLine(line []byte, text func([]byte) (string, error)) error {
	if !a.json {
		text, err := text(line)
		if err != nil {
			return err
		}
		line = []byte(text)
	}
	_, err := a.stdout.Write(append(line, '\n'))
	return err
}

func (a *app) logDumpCmd() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{Use: "dump", Short: "Print events", Args: cobra.NoArgs}
	f.source(cmd)
	f.filter(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		if f.data == "" {
			return a.streamEvents(cmd.Context(), "log dump", f.query())
		}
		return a.withLog(f.data, "log dump", func(l *log.Log) error {
			q := dump.Query{From: event.Offset(f.from), To: event.Offset(f.to), Room: f.room, User: f.user, Kinds: f.kinds}
			return dump.Run(cmd.Context(), l, l.Head().Offset, q, a.printEvent)
		})
	}
	return cmd
}

func (a *app) logTailCmd() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{Use: "tail", Short: "Print events as they are committed, until interrupted", Args: cobra.NoArgs}
	cmd.Flags().Uint64Var(&f.from, "from", 0, "begin at event `OFFSET`, not at the next one")
	f.filter(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		q := f.query()
		q.Set("follow", "true")
		err := a.streamEvents(cmd.Context(), "log tail", q)
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how it ends
		}
		return err
	}
	return cmd
}

func (a *app) streamEvents(ctx context.Context, what string, q url.Values) error {
	c, err := a.client()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	r := client.Request{Method: http.MethodGet, Path: []string{"log", "events"}, Query: q}
	if err := c.Stream(ctx, r, a.printEvent); err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	return nil
}

// withLog opens the log of a stopped node, for reading only.
func (a *app) withLog(data, what string, use func(*log.Log) error) error {
	if err := stopped.With(data, use); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (a *app) logVerifyCmd() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every event and the chain over them; exit code 4 if anything was altered",
		Args:  cobra.NoArgs,
	}
	f.source(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		p := a.progress("verify")
		var res admin.VerifyResult
		var err error
		if f.data == "" {
			res, err = a.verifyServer(cmd.Context(), f.query(), p.set)
		} else {
			err = a.withLog(f.data, "log verify", func(l *log.Log) (err error) {
				res, err = admin.Verify(cmd.Context(), l, l.Head().Offset, event.Offset(f.from), event.Offset(f.to), p.set)
				return err
			})
		}
		p.done()
		if err != nil {
			if a.json && errors.Is(err, event.ErrCorrupt) {
				a.must(a.emit(map[string]any{"ok": false, "error": err.Error()}))
			}
			return err
		}
		if a.json {
			return a.emit(res)
		}
		if res.Last == 0 {
			a.say("the log is empty: nothing to verify")
			return nil
		}
		a.say("events %d to %d are as they were written; chain %s", res.First, res.Last, res.Chain)
		return nil
	}
	return cmd
}

func (a *app) verifyServer(ctx context.Context, q url.Values, progress func(done, total event.Offset)) (res admin.VerifyResult, err error) {
	c, err := a.client()
	if err != nil {
		return res, fmt.Errorf("log verify: %w", err)
	}
	ended := false
	err = c.Stream(ctx, client.Request{Method: http.MethodGet, Path: []string{"log", "verify"}, Query: q}, func(line []byte) error {
		var v struct {
			*admin.VerifyResult
			admin.VerifyProgress
		}
		v.VerifyResult = &res
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if res.OK {
			ended = true
		} else {
			progress(v.Done, v.Total)
		}
		return nil
	})
	if err == nil && !ended {
		err = fmt.Errorf("the node ended its answer without a result; try again: %w", errUnavailable)
	}
	if err != nil {
		return res, fmt.Errorf("log verify: %w", explain(err))
	}
	return res, nil
}
