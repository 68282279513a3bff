package admin

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

// FeedOps is what the node does for the routes of feeds beyond the log.
type FeedOps struct {
	// Check refuses a configuration that could not run: an adapter or an option that there is not, a target that this node
	// cannot use, an interval that this pool does not allow. With whatIf it changes nothing, and so may miss that a directory
	// cannot be written.
	Check func(feed string, info *event.FeedInfo, whatIf bool) error
	// Replay writes again what a feed delivered of some events, cut by cut.
	Replay func(ctx context.Context, feed string, from, to event.Offset, each func(ReplayedCut) error) error
	// Remote asks another node for its own view of the feeds.
	Remote func(ctx context.Context, m Member) ([]FeedStatus, error)
}

// ReplayedCut is one cut that was written again.
type ReplayedCut struct {
	First, Last event.Offset
	Name        string
	Bytes       uint64
	SHA256      []byte
	Files       map[string][]byte
}

// Feed is a feed with its configuration.
type Feed struct {
	FeedStatus
	Options    map[string]string  `json:"options" doc:"of the adapter"`
	Rooms      []event.RoomID     `json:"rooms" doc:"only what happens in these rooms; with categories: or in those; both empty: everything"`
	Categories []event.CategoryID `json:"categories"`
	Kinds      []string           `json:"kinds" doc:"only these kinds of events; empty: all"`
	Every      string             `json:"every" doc:"between two cuts; 0s: as events come"`
	MaxEvents  uint64             `json:"max_events" doc:"in one cut; 0: the default"`
	Template   string             `json:"template" doc:"what the adapter makes of its document; empty: the document"`
	CutFirst   event.Offset       `json:"cut_first" doc:"of the cut that is being delivered; 0: none"`
	CutLast    event.Offset       `json:"cut_last"`
	LastFile   string             `json:"last_file" doc:"of the last receipt; empty: it held nothing"`
	LastAt     string             `json:"last_at" doc:"time of the last receipt; empty: none yet"`
	Configured string             `json:"configured" doc:"by: log, or file (the nodes' configuration files)"`
	Revision   event.Offset       `json:"revision"`
}

// FeedChange is the body of PUT /feeds/{feed}: what is absent stays as it is.
type FeedChange struct {
	Adapter    *string            `json:"adapter,omitempty" doc:"of a new feed; it stays"`
	Options    *map[string]string `json:"options,omitempty" doc:"changes these; an empty value takes one away"`
	Rooms      *[]string          `json:"rooms,omitempty" doc:"names, addresses or GUIDs; empty: all"`
	Categories *[]string          `json:"categories,omitempty" doc:"names or GUIDs; empty: all"`
	Kinds      *[]string          `json:"kinds,omitempty" doc:"names of kinds; empty: all"`
	Every      *string            `json:"every,omitempty" doc:"15m, 24h, 00:15:00; 0s: as events come. 1 minute to 30 days, in a demo pool from 1 s"`
	MaxEvents  *uint64            `json:"max_events,omitempty"`
	Template   *string            `json:"template,omitempty" doc:"at most 64 KiB; empty: none"`
	From       *string            `json:"from,omitempty" doc:"first event of a new feed: first, now, or an offset; absent: first"`
	Create     bool               `json:"create,omitempty" doc:"refuse if there is such a feed"`
	Revision   *event.Offset      `json:"revision,omitempty" doc:"refuse if the feed has changed since"`
}

// FeedPause is the body of POST /feeds/{feed}/pause.
type FeedPause struct {
	Reason string `json:"reason,omitempty"`
}

// FeedFile is a line of a replay: a piece of a file, or at the end of a cut what the cut comes to.
type FeedFile struct {
	File   string       `json:"file,omitempty" doc:"name of the file that the piece is of; pieces come in order"`
	Data   string       `json:"data,omitempty" doc:"the piece, base64"`
	First  event.Offset `json:"first,omitempty" doc:"of the cut that has ended"`
	Last   event.Offset `json:"last,omitempty"`
	Name   string       `json:"name,omitempty" doc:"that the receipt has; empty: the range held nothing"`
	Bytes  uint64       `json:"bytes,omitempty"`
	SHA256 string       `json:"sha256,omitempty"`
	Ended  bool         `json:"ended,omitempty" doc:"true in the last line: everything came"`
}

func (a *API) feedRoutes() []route {
	return []route{
		{method: "GET", path: "/feeds", right: roles.FeedRead, summary: "Compliance feeds, as their owners see them", out: []FeedStatus{}, handle: a.listFeeds},
		{method: "GET", path: "/node/feeds", right: roles.FeedRead, nodes: true, out: []FeedStatus{}, handle: a.listNodeFeeds,
			summary: "Compliance feeds as the node that answers sees them; other nodes of the pool may ask with their certificate"},
		{method: "GET", path: "/feeds/{feed}", right: roles.FeedRead, summary: "One feed with its configuration", out: Feed{}, handle: a.getFeed},
		{method: "PUT", path: "/feeds/{feed}", right: roles.FeedChange, in: FeedChange{}, out: Feed{}, params: []param{whatIf}, handle: a.setFeed,
			summary: "Make a feed, or change its configuration; one that could not run is refused"},
		{method: "DELETE", path: "/feeds/{feed}", right: roles.FeedChange, out: Removed{}, params: []param{whatIf}, handle: a.removeFeed,
			summary: "End a feed; set again it goes on where it was"},
		{method: "POST", path: "/feeds/{feed}/pause", right: roles.FeedPause, in: FeedPause{}, out: Feed{}, params: []param{whatIf}, handle: a.pauseFeed,
			summary: "Stop a feed until it is resumed; it skips nothing"},
		{method: "POST", path: "/feeds/{feed}/resume", right: roles.FeedPause, in: struct{}{}, out: Feed{}, params: []param{whatIf}, handle: a.resumeFeed, summary: "Let a feed go on"},
		{method: "GET", path: "/feeds/{feed}/replay", right: roles.LogRead, recorded: true, lines: true, out: FeedFile{}, handle: a.replayFeed,
			params:  []param{{Name: "from", Kind: "integer", Doc: "first event; absent: the first"}, {Name: "to", Kind: "integer", Doc: "last event; absent: all that was delivered"}},
			summary: "What the feed delivered of a range, whole cuts, byte for byte, as lines with pieces of the files"},
	}
}

// feedList is every feed: what only the owner knows comes from the owner. One that does not answer in time leaves what this
// node knows: what waits, and that nobody can say more.
func (a *API) feedList(ctx context.Context) []FeedStatus {
	out := slices.Clone(a.Pool.Feeds())
	if a.FeedOps.Remote == nil {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	owners := map[event.NodeID][]FeedStatus{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, m := range a.Pool.Members() {
		owns := slices.ContainsFunc(out, func(f FeedStatus) bool { return f.Owner == m.ID })
		if m.ID == a.Options.Node || m.HTTPS == "" || !owns {
			continue
		}
		wg.Go(func() {
			list, err := a.FeedOps.Remote(ctx, m)
			if err != nil {
				return
			}
			mu.Lock()
			owners[m.ID] = list
			mu.Unlock()
		})
	}
	wg.Wait()
	for i, f := range out {
		for _, seen := range owners[f.Owner] {
			// An owner that does not know that it is one, or is none any more, says nothing about the feed.
			if seen.Feed == f.Feed && seen.Owner == f.Owner && seen.Epoch == f.Epoch && f.Owner != a.Options.Node {
				out[i] = seen
			}
		}
	}
	return out
}

func (a *API) listFeeds(w http.ResponseWriter, r *http.Request) error {
	return answer.JSON(w, http.StatusOK, append([]FeedStatus{}, a.feedList(r.Context())...))
}

func (a *API) listNodeFeeds(w http.ResponseWriter, _ *http.Request) error {
	return answer.JSON(w, http.StatusOK, append([]FeedStatus{}, a.Pool.Feeds()...))
}

func (a *API) showFeed(ctx context.Context, name string) (Feed, error) {
	fd, _ := a.Pool.State().Feed(name)
	list := a.feedList(ctx)
	i := slices.IndexFunc(list, func(f FeedStatus) bool { return f.Feed == name })
	if i < 0 && !fd.Configured() {
		return Feed{}, chat.Refuse(chat.CodeNotFound, "no feed %q", name)
	}
	out := Feed{Options: map[string]string{}, Rooms: append([]event.RoomID{}, fd.Info.Rooms...), Categories: append([]event.CategoryID{}, fd.Info.Categories...),
		Kinds: append([]string{}, fd.Info.Kinds...), Every: time.Duration(fd.Info.Every).String(), MaxEvents: fd.Info.MaxEvents, Template: fd.Info.Template,
		CutFirst: fd.CutFirst, CutLast: fd.CutLast, LastFile: fd.Last.Name, Configured: "log", Revision: fd.Revision}
	if i >= 0 {
		out.FeedStatus = list[i]
	} else { // set a moment ago: it does not run yet
		out.FeedStatus = FeedStatus{Feed: name, Adapter: fd.Info.Adapter, State: "starting", Owner: fd.Owner, Epoch: fd.Epoch, Offset: fd.Receipt}
	}
	for _, o := range fd.Info.Options {
		out.Options[o.Name] = o.Value
	}
	if fd.At != 0 {
		out.LastAt = fd.At.String()
	}
	if !fd.Configured() {
		out.Configured, out.Every = "file", ""
	}
	return out, nil
}

func (a *API) answerFeed(w http.ResponseWriter, r *http.Request, name string) error {
	f, err := a.showFeed(r.Context(), name)
	if err != nil {
		return err
	}
	return answer.JSON(w, http.StatusOK, f)
}

func (a *API) getFeed(w http.ResponseWriter, r *http.Request) error {
	return a.answerFeed(w, r, r.PathValue("feed"))
}

func (a *API) setFeed(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[FeedChange](a, r)
	if err != nil {
		return err
	}
	name := r.PathValue("feed")
	change := func() error {
		cmd, err := a.feedCommand(name, c, asksWhatIf(r))
		if err != nil {
			return err
		}
		return a.submit(w, r, o, cmd, func(chat.Outcome) error { return a.answerFeed(w, r, name) })
	}
	if c.Revision != nil {
		return change()
	}
	return retryConflict(r.Context(), func() event.Offset {
		fd, _ := a.Pool.State().Feed(name)
		return fd.Revision
	}, change)
}

// feedCommand makes the command that a change comes to.
func (a *API) feedCommand(name string, c *FeedChange, whatIf bool) (*chat.SetFeed, error) {
	s := a.Pool.State()
	fd, _ := s.Feed(name)
	cmd := &chat.SetFeed{Feed: name, Create: c.Create, Revision: fd.Revision}
	if fd.Configured() {
		cmd.Info = fd.Info
	}
	if fd.Removed {
		cmd.Revision = 0
		if c.Adapter == nil {
			c.Adapter = &fd.Info.Adapter
		}
	}
	if c.Revision != nil {
		cmd.Revision = *c.Revision
	}
	i := &cmd.Info
	objects.SetLower(&i.Adapter, c.Adapter)
	objects.Set(&i.MaxEvents, c.MaxEvents)
	objects.Set(&i.Template, c.Template)
	if c.Options != nil {
		all := map[string]string{}
		for _, o := range i.Options {
			all[o.Name] = o.Value
		}
		maps.Copy(all, *c.Options)
		i.Options = nil
		for _, n := range slices.Sorted(maps.Keys(all)) {
			if all[n] != "" {
				i.Options = append(i.Options, event.FeedOption{Name: n, Value: all[n]})
			}
		}
	}
	if err := objects.SetPlaces(s, &i.Rooms, c.Rooms, &i.Categories, c.Categories); err != nil {
		return nil, err
	}
	if c.Kinds != nil {
		i.Kinds = nil
		for _, k := range *c.Kinds {
			i.Kinds = append(i.Kinds, objects.Lower(k))
		}
	}
	switch {
	case c.Every != nil:
		d, err := objects.ParseSpan(*c.Every)
		if err != nil {
			return nil, err
		}
		i.Every = int64(d)
	case !fd.Configured():
		i.Every = int64(15 * time.Minute) // the product's
	}
	if c.From != nil {
		switch v := objects.Lower(*c.From); v {
		case "", "first":
			cmd.From = 1
		case "now":
			cmd.From = s.Offset() + 1
		default:
			n, err := strconv.ParseUint(v, 10, 63)
			if err != nil || n == 0 {
				return nil, chat.Refuse(chat.CodeInvalid, "from is %q, want first, now or an offset", *c.From)
			}
			cmd.From = event.Offset(n)
		}
	}
	if a.FeedOps.Check != nil {
		if err := a.FeedOps.Check(name, i, whatIf); err != nil {
			return nil, chat.Refuse(chat.CodeInvalid, "feed %s cannot run so: %v", name, err)
		}
	}
	return cmd, nil
}

func (a *API) removeFeed(w http.ResponseWriter, r *http.Request) error {
	o, err := a.origin(r, nil)
	if err != nil {
		return err
	}
	name := r.PathValue("feed")
	return a.submit(w, r, o, &chat.RemoveFeed{Feed: name}, func(out chat.Outcome) error {
		return answer.JSON(w, http.StatusOK, Removed{Removed: name, Offset: out.Offset})
	})
}

func (a *API) pauseFeed(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[FeedPause](a, r)
	if err != nil {
		return err
	}
	name := r.PathValue("feed")
	return a.submit(w, r, o, &chat.PauseFeed{Feed: name, Reason: c.Reason}, func(chat.Outcome) error { return a.answerFeed(w, r, name) })
}

func (a *API) resumeFeed(w http.ResponseWriter, r *http.Request) error {
	_, o, err := body[struct{}](a, r)
	if err != nil {
		return err
	}
	name := r.PathValue("feed")
	return a.submit(w, r, o, &chat.ResumeFeed{Feed: name}, func(chat.Outcome) error { return a.answerFeed(w, r, name) })
}

// piece is how much of a file goes into one line, in bytes.
const piece = 256 << 10

func (a *API) replayFeed(w http.ResponseWriter, r *http.Request) error {
	q, name := r.URL.Query(), r.PathValue("feed")
	from, err := offsetOf(q, "from")
	if err != nil {
		return err
	}
	to, err := offsetOf(q, "to")
	if err != nil {
		return err
	}
	s := a.Pool.State()
	fd, ok := s.Feed(name)
	if !ok || a.FeedOps.Replay == nil {
		return chat.Refuse(chat.CodeNotFound, "no feed %q has delivered anything", name)
	}
	if from = max(from, 1); to == 0 || to > fd.Receipt {
		to = fd.Receipt
	}
	if err := a.record(r); err != nil {
		return err
	}
	out := answer.NewStream(w)
	if from > to {
		return out.Object(FeedFile{Ended: true})
	}
	err = a.FeedOps.Replay(r.Context(), name, from, to, func(c ReplayedCut) error {
		for _, n := range slices.Sorted(maps.Keys(c.Files)) {
			data := c.Files[n]
			for {
				p := data[:min(piece, len(data))]
				if err := out.Add(FeedFile{File: n, Data: base64.StdEncoding.EncodeToString(p)}); err != nil {
					return err
				}
				if data = data[len(p):]; len(data) == 0 {
					break
				}
			}
		}
		end := FeedFile{First: c.First, Last: c.Last, Name: c.Name, Bytes: c.Bytes}
		if c.Name != "" {
			end.SHA256 = fmt.Sprintf("%x", c.SHA256)
		}
		if err := out.Add(end); err != nil {
			return err
		}
		return out.Flush()
	})
	if err == nil {
		err = out.Add(FeedFile{Ended: true})
	}
	return out.End(err)
}

// PeerFeeds returns a FeedOps.Remote; client is as with Peers.
func PeerFeeds(client func(node string) *tls.Config) func(context.Context, Member) ([]FeedStatus, error) {
	var mu sync.Mutex
	clients := map[event.NodeID]*http.Client{}
	return func(ctx context.Context, m Member) (out []FeedStatus, err error) {
		mu.Lock()
		if clients[m.ID] == nil {
			clients[m.ID] = clientOf(client, m.ID)
		}
		c := clients[m.ID]
		mu.Unlock()
		u := url.URL{Scheme: "https", Host: m.HTTPS, Path: Prefix + "/node/feeds"}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, err
		}
		resp, err := c.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("node %s answers %s", m.ID, strings.TrimSpace(resp.Status))
		}
		return out, json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&out)
	}
}
