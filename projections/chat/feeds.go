package chat

import (
	"bytes"

	"parley/log/event"
	"parley/projections/chat/form"
)

func (s *State) foldFeed(e *event.Envelope, save Saver) error {
	switch v := e.Event.(type) {
	case *event.FeedClaimed:
		f := s.feedCopy(v.Feed)
		if v.Epoch != f.Epoch+1 {
			return contradiction("feed %s gets epoch %d after %d", v.Feed, v.Epoch, f.Epoch)
		}
		f.Owner, f.Epoch = e.Node, v.Epoch
		s.feeds.Put(save, f)
	case *event.FeedCut:
		f := s.feedCopy(v.Feed)
		if f.Epoch == 0 || v.Epoch != f.Epoch || f.CutFirst != 0 || v.First != f.Receipt+1 || v.Last < v.First || v.Last >= e.Offset {
			return contradiction("feed %s (epoch %d, receipt %d, cut %d-%d) gets cut %d-%d of epoch %d", v.Feed, f.Epoch,
				f.Receipt, f.CutFirst, f.CutLast, v.First, v.Last, v.Epoch)
		}
		f.CutFirst, f.CutLast = v.First, v.Last
		s.feeds.Put(save, f)
	case *event.FeedReceipt:
		f := s.feedCopy(v.Feed)
		if f.CutFirst == 0 || v.Epoch != f.Epoch || v.First != f.CutFirst || v.Last != f.CutLast {
			return contradiction("feed %s (epoch %d, cut %d-%d) gets receipt %d-%d of epoch %d", v.Feed, f.Epoch,
				f.CutFirst, f.CutLast, v.First, v.Last, v.Epoch)
		}
		f.CutFirst, f.CutLast, f.Receipt, f.Last, f.At = 0, 0, v.Last, *v, e.At
		s.feeds.Put(save, f)
	}
	return nil
}

func (s *State) feedCopy(name string) *Feed {
	if f := s.feeds.Get(name); f != nil {
		c := *f
		return &c
	}
	return &Feed{Name: name}
}

func (d *decider) claimFeed(c *ClaimFeed) (Decision, error) {
	if err := form.FeedName(c.Feed); err != nil {
		return Decision{}, err
	}
	if d.Node == "" {
		return Decision{}, Refuse(CodeInvalid, "claim feed %s: only a node can own it", c.Feed)
	}
	epoch := d.s.feedCopy(c.Feed).Epoch + 1
	return d.one("", &event.FeedClaimed{Feed: c.Feed, Epoch: epoch}, Result{Epoch: epoch})
}

// feedOf returns the feed if epoch is its present one.
func (d *decider) feedOf(what, name string, epoch uint64) (*Feed, error) {
	f := d.s.feeds.Get(name)
	if f == nil {
		return nil, Refuse(CodeNotFound, "%s: no feed %q", what, name)
	}
	if epoch != f.Epoch {
		return nil, Refuse(CodeStaleEpoch, "%s feed %s: epoch %d, the owner %s has %d", what, name, epoch, f.Owner, f.Epoch)
	}
	return f, nil
}

// cutFeed fixes the next range. A cut that is open stands, whoever made it: the new owner delivers the same range
// under the same name, so a file that was written before the takeover is written again, not twice.
func (d *decider) cutFeed(c *CutFeed) (Decision, error) {
	f, err := d.feedOf("cut", c.Feed, c.Epoch)
	if err != nil {
		return Decision{}, err
	}
	if f.CutFirst != 0 {
		return Decision{Result: Result{Epoch: f.Epoch, First: uint64(f.CutFirst), Last: uint64(f.CutLast)}}, nil
	}
	if c.First != f.Receipt+1 {
		return Decision{}, Refuse(CodeConflict, "cut feed %s at %d: the last receipt is %d", c.Feed, c.First, f.Receipt)
	}
	if c.Last < c.First || c.Last > d.s.head.offset {
		return Decision{}, Refuse(CodeInvalid, "cut feed %s to %d: from %d, and the log ends at %d", c.Feed, c.Last, c.First, d.s.head.offset)
	}
	return d.one("", &event.FeedCut{Feed: c.Feed, Epoch: c.Epoch, First: c.First, Last: c.Last},
		Result{Epoch: f.Epoch, First: uint64(c.First), Last: uint64(c.Last)})
}

func (d *decider) receiptFeed(c *ReceiptFeed) (Decision, error) {
	r := c.Receipt
	if f := d.s.feeds.Get(r.Feed); f != nil && r.Last != 0 && sameReceipt(&f.Last, &r) {
		return Decision{Result: Result{Epoch: r.Epoch, First: uint64(r.First), Last: uint64(r.Last)}}, nil
	}
	f, err := d.feedOf("receipt of", r.Feed, r.Epoch)
	if err != nil {
		return Decision{}, err
	}
	if f.CutFirst == 0 || r.First != f.CutFirst || r.Last != f.CutLast {
		return Decision{}, Refuse(CodeConflict, "receipt of feed %s for %d-%d: the open cut is %d-%d", r.Feed, r.First, r.Last, f.CutFirst, f.CutLast)
	}
	if err := checkLine("file name of a receipt", r.Name, MaxPrincipalBytes); err != nil {
		return Decision{}, err
	}
	if len(r.SHA256) != 0 && len(r.SHA256) != 32 {
		return Decision{}, Refuse(CodeInvalid, "receipt of feed %s: a SHA-256 has 32 bytes, not %d", r.Feed, len(r.SHA256))
	}
	r.SHA256 = bytes.Clone(r.SHA256)
	return d.one("", &r, Result{Epoch: r.Epoch, First: uint64(r.First), Last: uint64(r.Last)})
}

func sameReceipt(a, b *event.FeedReceipt) bool {
	return a.Feed == b.Feed && a.Epoch == b.Epoch && a.First == b.First && a.Last == b.Last && a.Name == b.Name &&
		a.Bytes == b.Bytes && bytes.Equal(a.SHA256, b.SHA256)
}
