package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/compliance"
	"parley/webfront/admin"
)

func (a *app) feedCmd() *cobra.Command {
	return group("feed", "Compliance feeds", a.feedListCmd(), a.feedStatusCmd(), a.feedSetCmd(), a.feedRemoveCmd(), a.feedPauseCmd(), a.feedResumeCmd(), a.feedReplayCmd(), a.feedProveCmd())
}

func (a *app) feedListCmd() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "Show the feeds, how far they are and what holds them up", Args: cobra.NoArgs}
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return call(a, cmd.Context(), "feed list", client.Request{Method: http.MethodGet, Path: []string{"feeds"}}, func(fs []admin.FeedStatus) {
			a.table("FEED ADAPTER STATE OWNER EPOCH OFFSET BACKLOG OLDEST ERROR", func(row func(...any)) {
				for _, f := range fs {
					row(f.Feed, f.Adapter, f.State, f.Owner, f.Epoch, f.Offset, f.Backlog, f.OldestAgeSeconds, f.LastError)
				}
			})
		})
	}
	return list
}

func (a *app) showFeed(f admin.Feed) { a.must(a.fields(f)) }

func (a *app) feedStatusCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "status NAME", Short: "Show one feed with its configuration", Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return call(a, cmd.Context(), "feed status", client.Request{Method: http.MethodGet, Path: []string{"feeds", args[0]}}, a.showFeed)
	}
	return cmd
}

func (a *app) feedSetCmd() *cobra.Command {
	var f changeFlags
	var adapter, every, from, templateFile string
	var options, rooms, categories, kinds []string
	var maxEvents uint64
	var create bool
	cmd := &cobra.Command{Use: "set NAME", Short: "Make a feed or change its configuration", Args: cobra.ExactArgs(1),
		Long: "Make a feed or change its configuration; what is not given stays. docs/compliance.md has the adapters with their options.",
		Example: `  parley feed set archive --adapter jsonl --option dir=/srv/archive --every 15m
  parley feed set board --adapter eml --option dir=/srv/board --room Board --kind joined,parted,posted
  parley feed set archive --option dir=/mnt/archive`}
	f.add(cmd)
	cmd.Flags().StringVar(&adapter, "adapter", "", "`KIND` of a new feed: lyncxml, jsonl, csv, eml, smtp, actiance, external")
	cmd.Flags().StringArrayVar(&options, "option", nil, "`NAME=VALUE` of the adapter; again for more; without a value it is taken away")
	cmd.Flags().StringSliceVar(&rooms, "room", nil, "only these `ROOMS`; \"\" for all")
	cmd.Flags().StringSliceVar(&categories, "category", nil, "only rooms of these `CATEGORIES`; \"\" for all")
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only these `KINDS` of events; \"\" for all")
	cmd.Flags().StringVar(&every, "every", "", "`TIME` between two cuts: 1m to 720h, or 0s for as events come (a new feed: 15m)")
	cmd.Flags().Uint64Var(&maxEvents, "max-events", 0, "`NUMBER` of events in one cut; 0 for the default")
	cmd.Flags().StringVar(&templateFile, "template", "", "`FILE` with a template for what the adapter writes, which becomes part of the configuration; \"\" takes it away")
	cmd.Flags().StringVar(&from, "from", "", "where a new feed begins: first, now or an `OFFSET`")
	cmd.Flags().BoolVar(&create, "create", false, "refuse if there is such a feed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := admin.FeedChange{Adapter: changed(cmd, "adapter", adapter), Rooms: listed(cmd, "room", rooms), Categories: listed(cmd, "category", categories),
			Kinds: listed(cmd, "kind", kinds), Every: changed(cmd, "every", every), MaxEvents: changed(cmd, "max-events", maxEvents), From: changed(cmd, "from", from), Create: create}
		if c.Template = changed(cmd, "template", ""); templateFile != "" {
			b, err := os.ReadFile(templateFile)
			if err != nil {
				return fmt.Errorf("feed set: read the template: %w", err)
			}
			*c.Template = string(b)
		}
		if len(options) > 0 {
			all := map[string]string{}
			for _, o := range options {
				name, value, _ := strings.Cut(o, "=")
				if name == "" {
					return usagef("feed set: option %q is not NAME=VALUE", o)
				}
				all[name] = value
			}
			c.Options = &all
		}
		return call(a, cmd.Context(), "feed set", f.request(http.MethodPut, c, "feeds", args[0]), a.showFeed)
	}
	return cmd
}

// listed returns a list that was given; one empty text stands for none.
func listed(cmd *cobra.Command, name string, list []string) *[]string {
	if !cmd.Flags().Changed(name) {
		return nil
	}
	if len(list) == 1 && list[0] == "" || list == nil {
		list = []string{}
	}
	return &list
}

func (a *app) feedRemoveCmd() *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{Use: "rm NAME", Short: "End a feed; set again it goes on where it was", Args: cobra.ExactArgs(1)}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.confirm(&f, fmt.Sprintf("Remove feed %s: nothing is archived there any more, and its files stay?", args[0])); err != nil {
			return fmt.Errorf("feed rm: %w", err)
		}
		return call(a, cmd.Context(), "feed rm", f.request(http.MethodDelete, nil, "feeds", args[0]), func(r admin.Removed) {
			a.say("feed %s is removed (event %d)", r.Removed, r.Offset)
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

func (a *app) feedPauseCmd() *cobra.Command {
	var f changeFlags
	var reason string
	cmd := &cobra.Command{Use: "pause NAME", Short: "Stop a feed until it is resumed; it skips nothing", Args: cobra.ExactArgs(1)}
	f.add(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "`WHY`, for those who read the status")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return call(a, cmd.Context(), "feed pause", f.request(http.MethodPost, admin.FeedPause{Reason: reason}, "feeds", args[0], "pause"), a.showFeed)
	}
	return cmd
}

func (a *app) feedResumeCmd() *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{Use: "resume NAME", Short: "Let a feed go on where it stopped", Args: cobra.ExactArgs(1)}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return call(a, cmd.Context(), "feed resume", f.request(http.MethodPost, struct{}{}, "feeds", args[0], "resume"), a.showFeed)
	}
	return cmd
}

// replayedCut is a line of `feed replay --json`.
type replayedCut struct {
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Name   string `json:"name"`
	Bytes  uint64 `json:"bytes"`
	SHA256 string `json:"sha256"`
	Files  int    `json:"files"`
}

func (a *app) feedReplayCmd() *cobra.Command {
	var from, to uint64
	var out string
	cmd := &cobra.Command{Use: "replay NAME --out DIR", Short: "Write again what a feed delivered of a range, byte for byte, into a directory here", Args: cobra.ExactArgs(1),
		Long: `Write again what a feed delivered of a range, byte for byte, into a directory on this machine. Whole cuts are written: those
that touch the range. The node makes the files from the log, not from the archive, and compares each cut with its receipt. A
file that is there already must be the same.`}
	cmd.Flags().Uint64Var(&from, "from", 0, "first `OFFSET`")
	cmd.Flags().Uint64Var(&to, "to", 0, "last `OFFSET`; without it all that was delivered")
	cmd.Flags().StringVar(&out, "out", "", "`DIR` for the files")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if out == "" {
			return usagef("feed replay: name a directory with --out DIR")
		}
		if err := a.replay(cmd.Context(), args[0], out, from, to); err != nil {
			return fmt.Errorf("feed replay: %w", explain(err))
		}
		return nil
	}
	return cmd
}

func (a *app) replay(ctx context.Context, feed, out string, from, to uint64) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	q := url.Values{}
	for name, v := range map[string]uint64{"from": from, "to": to} {
		if v != 0 {
			q.Set(name, strconv.FormatUint(v, 10))
		}
	}
	var cuts, files int
	rc := receiver{dir: out, archive: map[string][]byte{}, each: func(r replayedCut) error {
		cuts++
		files += r.Files
		if a.json {
			return a.emit(r)
		}
		if r.Name == "" {
			r.Name = "nothing"
		}
		a.say("%d to %d: %s (%d files)", r.First, r.Last, r.Name, r.Files)
		return nil
	}}
	err = c.Stream(ctx, client.Request{Method: http.MethodGet, Path: []string{"feeds", feed, "replay"}, Query: q}, rc.line)
	switch {
	case err != nil:
		return err
	case !rc.ended || len(rc.archive) > 0:
		return fmt.Errorf("the node broke off its answer after %d cuts, which are whole; try again: %w", cuts, errUnavailable)
	}
	a.say("%d cuts, %d files in %s", cuts, files, out)
	return nil
}

// receiver writes the files of a replay. The files of a cut appear once the cut has ended and the file that its receipt names
// is what the receipt says; what a broken connection leaves has no name.
type receiver struct {
	dir     string
	archive map[string][]byte
	each    func(replayedCut) error
	ended   bool
}

func (rc *receiver) line(b []byte) error {
	var l admin.FeedFile
	if err := json.Unmarshal(b, &l); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch {
	case l.Ended:
		rc.ended = true
	case l.File != "":
		if l.File != filepath.Base(l.File) || strings.HasPrefix(l.File, ".") {
			return fmt.Errorf("the answer has a file %q, which is no name of one", l.File)
		}
		p, err := base64.StdEncoding.DecodeString(l.Data)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		rc.archive[l.File] = append(rc.archive[l.File], p...)
	case l.First == 0:
		return fmt.Errorf("the answer has a line that is neither a piece of a file nor the end of a cut: %s", b)
	default:
		content, there := rc.archive[l.Name]
		if sum := sha256.Sum256(content); l.Name != "" && (!there || hex.EncodeToString(sum[:]) != l.SHA256 || uint64(len(content)) != l.Bytes) {
			return fmt.Errorf("%s arrived with other bytes than its receipt says", l.Name)
		}
		if err := compliance.PlaceFiles(compliance.OS{}, rc.dir, rc.archive, l.Name); err != nil {
			return err
		}
		n := len(rc.archive)
		clear(rc.archive)
		return rc.each(replayedCut{uint64(l.First), uint64(l.Last), l.Name, l.Bytes, l.SHA256, n})
	}
	return nil
}
