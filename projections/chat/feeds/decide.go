package feeds

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/form"
)

// Limits of a feed's configuration.
const (
	MaxFeeds     = 100
	MinEvery     = 1_000_000_000                  // 1 s, in nanoseconds
	MaxEvery     = 30 * 24 * 3600 * 1_000_000_000 // 30 days, as the product
	MaxCutEvents = 100_000
	maxOptions   = 64
	maxValue     = 4096 // bytes of an option
	maxFilter    = 10_000
	MaxTemplate  = 64 << 10 // bytes
)

// Decide turns a command about feeds into the one event that it leads to, nil if it changes nothing, or refuses it. node
// is where the command entered the pool, head the offset of the log's last event. Commands of others are none of its
// business, and known is false.
func (t *Feeds) Decide(c command.Command, node event.NodeID, head event.Offset) (ev event.Event, res command.Result, known bool, err error) {
	known = true
	switch c := c.(type) {
	case *command.ClaimFeed:
		ev, res, err = t.claim(c, node)
	case *command.CutFeed:
		ev, res, err = t.decideCut(c, head)
	case *command.ReceiptFeed:
		ev, res, err = t.receipt(c)
	case *command.SetFeed:
		ev, err = t.decideSet(c, head)
	case *command.RemoveFeed:
		if f, e := t.settled("remove", c.Feed); e != nil {
			err = e
		} else if !f.Configured() {
			err = command.Refuse(command.CodeConflict, "remove feed %s: it is in the nodes' configuration files, take it out there", c.Feed)
		} else {
			ev = &event.FeedRemoved{Feed: c.Feed}
		}
	case *command.PauseFeed:
		f, e := t.settled("pause", c.Feed)
		if err = e; err == nil {
			err = form.Description("pause of feed "+c.Feed, c.Reason)
		}
		if err == nil && (!f.Paused || f.Reason != c.Reason) {
			ev = &event.FeedPaused{Feed: c.Feed, Reason: c.Reason}
		}
	case *command.ResumeFeed:
		f, e := t.settled("resume", c.Feed)
		if err = e; err == nil && f.Paused {
			ev = &event.FeedResumed{Feed: c.Feed}
		}
	default:
		known = false
	}
	return ev, res, known, err
}

// settled returns a feed that an administrator can act on.
func (t *Feeds) settled(what, name string) (*Feed, error) {
	f, err := t.configured(name)
	if err != nil {
		return nil, command.Refuse(command.CodeNotFound, "%s feed: no feed %q", what, name)
	}
	return f, nil
}

func (t *Feeds) claim(c *command.ClaimFeed, node event.NodeID) (event.Event, command.Result, error) {
	if err := form.FeedName(c.Feed); err != nil {
		return nil, command.Result{}, err
	}
	if node == "" {
		return nil, command.Result{}, command.Refuse(command.CodeInvalid, "claim feed %s: only a node can own it", c.Feed)
	}
	f := t.copyOf(c.Feed)
	if f.Removed {
		return nil, command.Result{}, command.Refuse(command.CodeNotFound, "claim feed %s: it was removed", c.Feed)
	}
	return &event.FeedClaimed{Feed: c.Feed, Epoch: f.Epoch + 1}, command.Result{Epoch: f.Epoch + 1}, nil
}

// feedOf returns the feed if epoch is its present one.
func (t *Feeds) feedOf(what, name string, epoch uint64) (*Feed, error) {
	f := t.rows.Get(name)
	if f == nil {
		return nil, command.Refuse(command.CodeNotFound, "%s: no feed %q", what, name)
	}
	if epoch != f.Epoch {
		return nil, command.Refuse(command.CodeStaleEpoch, "%s feed %s: epoch %d, the owner %s has %d", what, name, epoch, f.Owner, f.Epoch)
	}
	return f, nil
}

// decideCut fixes the next range. A cut that is open stands, whoever made it: the new owner delivers the same range
// under the same name, so a file that was written before the takeover is written again, not twice.
func (t *Feeds) decideCut(c *command.CutFeed, head event.Offset) (event.Event, command.Result, error) {
	f, err := t.feedOf("cut", c.Feed, c.Epoch)
	if err != nil {
		return nil, command.Result{}, err
	}
	switch {
	case f.Removed || f.Paused:
		err = command.Refuse(command.CodeConflict, "cut feed %s: it is paused or was removed", c.Feed)
	case f.CutFirst != 0:
		return nil, command.Result{Epoch: f.Epoch, First: uint64(f.CutFirst), Last: uint64(f.CutLast)}, nil
	case c.First != f.Receipt+1:
		err = command.Refuse(command.CodeConflict, "cut feed %s at %d: the last receipt is %d", c.Feed, c.First, f.Receipt)
	case c.Last < c.First || c.Last > head:
		err = command.Refuse(command.CodeInvalid, "cut feed %s to %d: from %d, and the log ends at %d", c.Feed, c.Last, c.First, head)
	}
	if err != nil {
		return nil, command.Result{}, err
	}
	return &event.FeedCut{Feed: c.Feed, Epoch: c.Epoch, First: c.First, Last: c.Last},
		command.Result{Epoch: f.Epoch, First: uint64(c.First), Last: uint64(c.Last)}, nil
}

// receipt commits a range. One for a feed that was paused meanwhile is taken: what it says has happened.
func (t *Feeds) receipt(c *command.ReceiptFeed) (event.Event, command.Result, error) {
	r := c.Receipt
	res := command.Result{Epoch: r.Epoch, First: uint64(r.First), Last: uint64(r.Last)}
	if f := t.rows.Get(r.Feed); f != nil && r.Last != 0 && sameReceipt(&f.Last, &r) {
		return nil, res, nil
	}
	f, err := t.feedOf("receipt of", r.Feed, r.Epoch)
	if err != nil {
		return nil, command.Result{}, err
	}
	if f.CutFirst == 0 || r.First != f.CutFirst || r.Last != f.CutLast {
		return nil, command.Result{}, command.Refuse(command.CodeConflict, "receipt of feed %s for %d-%d: the open cut is %d-%d", r.Feed, r.First, r.Last, f.CutFirst, f.CutLast)
	}
	if err := form.Line("file name of a receipt", r.Name, form.MaxPrincipalBytes); err != nil {
		return nil, command.Result{}, err
	}
	if len(r.SHA256) != 0 && len(r.SHA256) != 32 {
		return nil, command.Result{}, command.Refuse(command.CodeInvalid, "receipt of feed %s: a SHA-256 has 32 bytes, not %d", r.Feed, len(r.SHA256))
	}
	r.SHA256 = bytes.Clone(r.SHA256)
	return &r, res, nil
}

func (t *Feeds) decideSet(c *command.SetFeed, head event.Offset) (event.Event, error) {
	if err := form.FeedName(c.Feed); err != nil {
		return nil, err
	}
	info := c.Info
	if err := check(c.Feed, &info); err != nil {
		return nil, err
	}
	f := t.rows.Get(c.Feed)
	known := f != nil && f.Configured()
	from := c.From
	switch {
	case f == nil && t.rows.Len() >= MaxFeeds:
		return nil, command.Refuse(command.CodeTooLarge, "set feed %s: there are %d", c.Feed, MaxFeeds)
	case f != nil && f.Info.Adapter == "":
		return nil, command.Refuse(command.CodeConflict, "set feed %s: it is in the nodes' configuration files", c.Feed)
	case known && c.Create:
		return nil, command.Refuse(command.CodeConflict, "create feed %s: there is one", c.Feed).Breaks("R12", "")
	case known && c.Revision != 0 && c.Revision != f.Revision:
		return nil, command.Changed("feed "+c.Feed, c.Revision, f.Revision)
	case f != nil && c.From != 0:
		return nil, command.Refuse(command.CodeConflict, "set feed %s from %d: it has delivered up to %d and goes on there", c.Feed, c.From, f.Receipt)
	case f != nil && f.Info.Adapter != info.Adapter:
		// Two forms under one name, and perhaps a cut that is open in the first: which bytes belong to a range would depend on
		// when somebody asks.
		return nil, command.Refuse(command.CodeConflict, "set feed %s: its adapter is %s and stays; make another feed for %s", c.Feed, f.Info.Adapter, info.Adapter)
	case c.From > head+1:
		return nil, command.Refuse(command.CodeInvalid, "set feed %s from %d: the log ends at %d", c.Feed, c.From, head)
	case known && Equal(&f.Info, &info):
		return nil, nil
	case f == nil && from == 0:
		from = 1
	}
	return &event.FeedSet{Feed: c.Feed, Info: info, From: from}, nil
}

// check refuses what no feed can be, and brings the rest into one order.
func check(name string, info *event.FeedInfo) error {
	switch {
	case info.Adapter == "":
		return command.Refuse(command.CodeInvalid, "set feed %s: no adapter", name)
	case info.Every != 0 && (info.Every < MinEvery || info.Every > MaxEvery):
		return command.Refuse(command.CodeInvalid, "set feed %s: interval of %d ns, want 0 (as events come) or 1 s to 30 days", name, info.Every)
	case info.MaxEvents > MaxCutEvents:
		return command.Refuse(command.CodeInvalid, "set feed %s: %d events in a cut, at most %d", name, info.MaxEvents, MaxCutEvents)
	case len(info.Options) > maxOptions || len(info.Rooms)+len(info.Categories)+len(info.Kinds) > maxFilter:
		return command.Refuse(command.CodeTooLarge, "set feed %s: too many options (%d at most) or filters (%d at most)", name, maxOptions, maxFilter)
	}
	if len(info.Template) > MaxTemplate || !utf8.ValidString(info.Template) {
		return command.Refuse(command.CodeTooLarge, "set feed %s: a template of %d bytes, at most %d, in UTF-8", name, len(info.Template), MaxTemplate)
	}
	if err := form.Line("adapter of feed "+name, info.Adapter, form.MaxNameBytes); err != nil {
		return err
	}
	info.Options, info.Rooms = slices.Clone(info.Options), slices.Clone(info.Rooms)
	info.Categories, info.Kinds = slices.Clone(info.Categories), slices.Clone(info.Kinds)
	slices.SortFunc(info.Options, func(a, b event.FeedOption) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(info.Rooms)
	slices.Sort(info.Categories)
	slices.Sort(info.Kinds)
	info.Rooms, info.Categories, info.Kinds = slices.Compact(info.Rooms), slices.Compact(info.Categories), slices.Compact(info.Kinds)
	for i, o := range info.Options {
		if i > 0 && o.Name == info.Options[i-1].Name {
			return command.Refuse(command.CodeInvalid, "set feed %s: option %s is given twice", name, o.Name)
		}
		if err := form.Name("option of feed "+name, o.Name); err != nil {
			return err
		}
		if err := form.Line("option "+o.Name+" of feed "+name, o.Value, maxValue); err != nil {
			return err
		}
	}
	for _, r := range info.Rooms {
		if !form.ID(string(r)) {
			return command.Refuse(command.CodeInvalid, "set feed %s: room %q is not a GUID", name, r)
		}
	}
	for _, g := range info.Categories {
		if !form.ID(string(g)) {
			return command.Refuse(command.CodeInvalid, "set feed %s: category %q is not a GUID", name, g)
		}
	}
	for _, k := range info.Kinds {
		if _, ok := event.ParseKind(k); !ok {
			return command.Refuse(command.CodeInvalid, "set feed %s: no kind of event is called %q", name, k)
		}
	}
	return nil
}
