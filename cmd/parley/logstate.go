package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/log"
	"parley/webfront/admin"
	"parley/webfront/replay"
)

func (a *app) logStateCmd() *cobra.Command {
	var at, room, data string
	var screen int
	cmd := &cobra.Command{Use: "state", Short: "Print what the pool was at a moment of the past", Args: cobra.NoArgs,
		Long: `Print what the pool was at a moment of the past: its rooms, their roles, and who was in them. With --room one room, with who
could see it and what stood on the screen. The log is folded from its first event with the rules of the live server: about a
second per million events.`}
	cmd.Flags().StringVar(&at, "at", "", "`OFFSET`, or time such as 2026-01-31T08:15:00Z")
	cmd.Flags().StringVar(&room, "room", "", "only this `ROOM`, by ma-chan URI, GUID or the name it had then")
	cmd.Flags().IntVar(&screen, "messages", replay.DefaultScreen, "how many `MESSAGES` of the screen, 0 to 10000")
	cmd.Flags().StringVar(&data, "data", "", "data `DIR` of a stopped node, instead of a running one; nothing is written there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case at == "":
			return usagef("log state: name a moment with --at")
		case data != "" && cmd.Flags().Changed("server"):
			return usagef("log state: --data and --server exclude each other")
		case screen < 0 || screen > replay.MaxScreen:
			return usagef("log state: --messages %d is out of range; use 0 to %d", screen, replay.MaxScreen)
		}
		p := a.progress("replay")
		defer p.done()
		show := func(line []byte) error {
			p.done()
			return a.printLine(line, replay.Text)
		}
		if data == "" {
			return a.serverState(cmd.Context(), at, room, screen, p, show)
		}
		return a.withLog(data, "log state", func(l *log.Log) error {
			o, err := replay.Moment(l, l.Head().Offset, at)
			if err != nil {
				return err
			}
			s, err := replay.State(cmd.Context(), l, o, p.set)
			if err != nil {
				return err
			}
			emit := func(v any) error {
				b, err := json.Marshal(v)
				if err != nil {
					return err
				}
				return show(b)
			}
			if room != "" {
				return replay.Detail(cmd.Context(), l, s, room, screen, emit)
			}
			return replay.Lines(s, emit)
		})
	}
	return cmd
}

func (a *app) serverState(ctx context.Context, at, room string, screen int, p *progress, show func([]byte) error) error {
	c, err := a.client()
	if err != nil {
		return fmt.Errorf("log state: %w", err)
	}
	q := url.Values{"at": {at}, "messages": {strconv.Itoa(screen)}}
	if room != "" {
		q.Set("room", room)
	}
	err = c.Stream(ctx, client.Request{Method: http.MethodGet, Path: []string{"log", "state"}, Query: q}, func(line []byte) error {
		if bytes.HasPrefix(line, []byte(`{"done":`)) {
			var v admin.VerifyProgress
			if err := json.Unmarshal(line, &v); err != nil {
				return err
			}
			p.set(v.Done, v.Total)
			return nil
		}
		return show(line)
	})
	if err != nil {
		return fmt.Errorf("log state: %w", explain(err))
	}
	return nil
}
