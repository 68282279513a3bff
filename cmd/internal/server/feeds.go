package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"parley/compliance"
	"parley/compliance/actiance"
	"parley/compliance/csv"
	"parley/compliance/eml"
	"parley/compliance/external"
	"parley/compliance/jsonl"
	"parley/compliance/lyncxml"
	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/snapshots"
	"parley/webfront/admin"
	"parley/webfront/ops"
)

// adapters is the one table of adapters.
var adapters = func() map[string]*compliance.Kind {
	out := map[string]*compliance.Kind{}
	for _, k := range []*compliance.Kind{&lyncxml.Kind, &jsonl.Kind, &csv.Kind, &eml.Kind, &eml.SMTPKind, &actiance.Kind, &external.Kind} {
		out[k.Name] = k
	}
	return out
}()

// feedPool is the node as its compliance feeds see it.
type feedPool struct{ n *Node }

// Submit submits a feed's command in the name of this node.
func (p feedPool) Submit(ctx context.Context, c chat.Command) (chat.Outcome, error) {
	return p.n.Do(ctx, chat.Request{Origin: chat.Origin{By: event.NodePrincipal(p.n.id), Trusted: true}, Command: c})
}

// State returns the newest snapshot.
func (p feedPool) State() *chat.State { return p.n.rooms.Current() }

// IsLeader reports whether this node leads.
func (p feedPool) IsLeader() bool { return p.n.raft.IsLeader() }

// Busy is compliance.Busy's.
func (p feedPool) Busy() bool { return p.n.seq.Busy() }

// Node returns the node's name.
func (p feedPool) Node() event.NodeID { return p.n.id }

func (n *Node) openFeeds() error {
	cfg := compliance.FeedsConfig{Metrics: compliance.NewMetrics(), Make: func(cut, now *event.FeedInfo) (compliance.Adapter, error) {
		k := adapters[cut.Adapter]
		if k == nil {
			return nil, fmt.Errorf("this version has no adapter %q", cut.Adapter)
		}
		info := k.Effective(cut, now)
		return n.adapter(&info, nil, "")
	}}
	cfg.Base = n.snapshots.Before
	n.registry.MustRegister(cfg.Metrics.Collectors()...)
	n.registry.MustRegister(compliance.SilencedMetric(feedPool{n}.State))
	for _, c := range n.cfg.Feeds {
		a, err := n.adapter(fromFile(c.Adapter, c.Dir), nil, "")
		if err != nil {
			return fmt.Errorf("compliance feed %s: %w", c.Name, err)
		}
		cfg.Static = append(cfg.Static, compliance.FeedConfig{Name: c.Name, Adapter: a, Every: c.Every})
	}
	n.feeds = compliance.NewFeeds(cfg, feedPool{n}, n.log, n.logger)
	return nil
}

// openSnapshots opens the states of the past, which a feed's new owner starts from. They are below the views, so that whoever
// removes those because they are wrong removes these too.
func (n *Node) openSnapshots() (*snapshots.Store, error) {
	return snapshots.Open(snapshots.Options{Dir: filepath.Join(n.cfg.Data, "views", "snapshots"), Version: n.rooms.Version(), Logger: n.logger,
		Keep: func() []event.Offset {
			var out []event.Offset
			for fd := range n.rooms.Current().Feeds() {
				if !fd.Removed {
					out = append(out, fd.Receipt)
				}
			}
			return out
		},
		Chain: func(o event.Offset) (event.Chain, error) {
			run, err := n.log.Read(o, 1)
			if err == nil && len(run) == 0 {
				err = fmt.Errorf("event %d is not committed here", o)
			}
			if err != nil {
				return event.Chain{}, err
			}
			return run[0].Chain, nil
		}})
}

// fromFile is what a feed of the configuration file would be set to.
func fromFile(adapter, dir string) *event.FeedInfo {
	return &event.FeedInfo{Adapter: adapter, Options: []event.FeedOption{{Name: "dir", Value: dir}}}
}

// adapter makes the adapter of a configuration. fs and dir are those of a replay.
func (n *Node) adapter(info *event.FeedInfo, fs compliance.FS, dir string) (compliance.Adapter, error) {
	k := adapters[info.Adapter]
	if k == nil {
		return nil, fmt.Errorf("there is no adapter %q", info.Adapter)
	}
	return n.made(k, info, compliance.Env{Node: n.id, FS: fs, Dir: dir, Program: n.program, MailServer: n.mailServer})
}

func (n *Node) made(k *compliance.Kind, info *event.FeedInfo, env compliance.Env) (compliance.Adapter, error) {
	o := compliance.OptionsOf(info)
	a, err := k.New(env, o)
	if err == nil {
		err = o.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("adapter %s: %w", info.Adapter, err)
	}
	return a, nil
}

// program returns a command line of the configuration.
func (n *Node) program(name string) ([]string, error) {
	for _, p := range n.cfg.Programs {
		if p.Name == name {
			return p.Command, nil
		}
	}
	return nil, fmt.Errorf("no program %q in the configuration of node %s (programs)", name, n.id)
}

// mailServer returns a mail server of the configuration.
func (n *Node) mailServer(name string) (compliance.MailServer, error) {
	for _, m := range n.cfg.MailServers {
		if m.Name == name {
			return compliance.MailServer{Address: m.Address, NoTLS: m.NoTLS, CAFile: m.CAFile, User: m.User, PasswordFile: m.PasswordFile}, nil
		}
	}
	return compliance.MailServer{}, fmt.Errorf("no mail server %q in the configuration of node %s (mail_servers)", name, n.id)
}

// leastEvery is the shortest interval between two cuts; as events come is another matter. A demo pool may be faster: people
// look at its files.
const leastEvery = time.Minute

// checkFeed refuses a configuration that could not run, before it is in the log.
func (n *Node) checkFeed(name string, info *event.FeedInfo, whatIf bool) error {
	if n.feeds.Static(name) {
		return errors.New("it is in the configuration file of this node")
	}
	if e := time.Duration(info.Every); e != 0 && e < leastEvery && !n.cfg.Demo {
		return fmt.Errorf("interval of %v, want 1m to 720h, or 0 for as events come", e)
	}
	if info.Adapter == "" {
		return errors.New("a new feed needs an adapter")
	}
	k := adapters[info.Adapter]
	if k == nil {
		return fmt.Errorf("there is no adapter %q", info.Adapter)
	}
	if _, err := n.made(k, info, compliance.Env{Node: n.id, Program: n.program, MailServer: n.mailServer, Check: true}); err != nil {
		return err
	}
	for _, o := range info.Options {
		if o.Name == "dir" && whatIf {
			return compliance.Look(o.Value)
		}
		if o.Name == "dir" {
			return compliance.Probe(compliance.OS{}, o.Value, n.id)
		}
	}
	return nil
}

// replayFeed writes again what a feed delivered, in memory.
func (n *Node) replayFeed(ctx context.Context, feed string, from, to event.Offset, each func(admin.ReplayedCut) error) error {
	return replayRefusal(compliance.Replay(ctx, n.log, feed, from, to, nil, func(fs compliance.FS, cut *event.FeedInfo) (compliance.Adapter, error) {
		info := *cut
		if info.Adapter == "" { // of the configuration file
			for _, c := range n.cfg.Feeds {
				if c.Name == feed {
					info = *fromFile(c.Adapter, c.Dir)
				}
			}
		}
		return n.adapter(&info, fs, "replay")
	}, func(r compliance.Replayed) error {
		return each(admin.ReplayedCut{First: r.First, Last: r.Last, Name: r.Receipt.Name, Bytes: r.Receipt.Bytes, SHA256: r.Receipt.SHA256[:], Files: r.Files})
	}))
}

// replayRefusal makes a refusal of what another node, or another time, would not do better.
func replayRefusal(err error) error {
	if errors.Is(err, compliance.ErrReplay) || errors.Is(err, compliance.ErrNoReplay) {
		return chat.Refuse(chat.CodeConflict, "%v", err)
	}
	return err
}

// Feeds returns this node's view of the compliance feeds.
func (p adminPool) Feeds() []admin.FeedStatus {
	var out []admin.FeedStatus
	for _, s := range p.n.feeds.List() {
		fs := admin.FeedStatus{Feed: s.Feed, Adapter: s.Adapter, State: s.State, Owner: s.Owner, Epoch: s.Epoch,
			Offset: s.Offset, Backlog: s.Backlog, LastError: s.LastError, Failures: s.Failures, Reason: s.Reason}
		if s.Oldest != 0 {
			fs.OldestAgeSeconds = max(0, time.Since(s.Oldest.UTC()).Seconds())
		}
		out = append(out, fs)
	}
	return out
}

func (n *Node) feedOps() admin.FeedOps {
	return admin.FeedOps{Check: n.checkFeed, Replay: n.replayFeed, Remote: admin.PeerFeeds(n.identity.PeerClient)}
}

// feedCheck warns in /readyz when a feed of this node fails.
func (n *Node) feedCheck() ops.Check {
	return ops.Check{Name: "feeds", Warn: true, Run: func(context.Context) error {
		var errs []error
		for _, s := range n.feeds.List() {
			if s.LastError != "" {
				errs = append(errs, fmt.Errorf("feed %s: %s", s.Feed, s.LastError))
			}
		}
		return errors.Join(errs...)
	}}
}

// silenceCheck warns in /readyz while nobody may post somewhere because an archive is behind.
func (n *Node) silenceCheck() ops.Check {
	return ops.Check{Name: "archive", Warn: true, Run: func(context.Context) error {
		var errs []error
		for c, why := range compliance.Silenced(n.rooms.Current(), event.Time(time.Now().UnixNano())) {
			errs = append(errs, fmt.Errorf("nobody may post in category %s: %s", c.Info.Name, why))
		}
		return errors.Join(errs...)
	}}
}
