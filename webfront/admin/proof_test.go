package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
)

// fakeProver says what it was asked. What proofs are worth is tested where they are made.
type fakeProver struct {
	feedName string
	from, to event.Offset
	since    int64
	size     int64
	broken   error
}

// feed makes the feed that is proven.
func (p *fakeProver) feed(f *fixture) {
	f.pool.Must(f.t, chat.Origin{By: "node:n1", Node: "n1", Trusted: true}, &chat.ClaimFeed{Feed: "archive"})
}

func (p *fakeProver) Checkpoint(_ context.Context, since int64) (admin.LogCheckpoint, error) {
	p.since = since
	return admin.LogCheckpoint{Checkpoint: "pool\n7\n"}, p.broken
}

func (p *fakeProver) Prove(_ context.Context, feed string, from, to event.Offset, since, size int64) (admin.FeedProof, error) {
	p.feedName, p.from, p.to, p.since, p.size = feed, from, to, since, size
	return admin.FeedProof{Proof: json.RawMessage(`{"format":"x"}`), Checkpoint: "pool", Directory: "/archive"}, p.broken
}

func (p *fakeProver) Records(_ context.Context, from, to event.Offset, visit func(event.Time, []byte) error) error {
	for o := from; o <= to; o++ {
		if err := visit(event.Time(o), []byte{byte(o)}); err != nil {
			return err
		}
	}
	return p.broken
}

func TestProof(t *testing.T) {
	f := newFixture(t)
	f.prover.feed(f)
	if c := want[admin.LogCheckpoint](f, 200, "GET", "/checkpoint", ""); c.Checkpoint != "pool\n7\n" {
		t.Errorf("%+v", c)
	}
	got := want[admin.FeedProof](f, 200, "GET", "/feeds/archive/proof?from=2&to=9&since=4&size=8", "")
	if p := f.prover; p.feedName != "archive" || p.from != 2 || p.to != 9 || p.since != 4 || p.size != 8 || got.Directory != "/archive" || string(got.Proof) != `{"format":"x"}` {
		t.Errorf("%+v, asked for %+v", got, *f.prover)
	}
	if b := f.do("GET", "/log/records?from=2&to=3", "").Body.String(); b != `{"at":2,"event":"Ag=="}`+"\n"+`{"at":3,"event":"Aw=="}`+"\n" {
		t.Errorf("%s", b)
	}
	f.refused(404, chat.CodeNotFound, "GET", "/feeds/nothing/proof", "")
	for _, q := range []string{"/feeds/archive/proof?from=x", "/feeds/archive/proof?from=3&to=2", "/feeds/archive/proof?since=0", "/feeds/archive/proof?size=x", "/checkpoint?since=-1", "/log/records?to=1000000"} {
		f.refused(400, chat.CodeInvalid, "GET", q, "")
	}
	f.prover.broken = errors.New("the disk is gone")
	if b := f.do("GET", "/log/records?to=1", "").Body.String(); !strings.Contains(b, `{"problem":`) { // half a run must not look like a whole one
		t.Errorf("%s", b)
	}
}

// TestNoKey: a node that cannot sign says what to do.
func TestNoKey(t *testing.T) {
	f := newFixture(t, func(o *admin.Options) { o.Prover = nil })
	f.prover.feed(f)
	for _, p := range []string{"/checkpoint", "/feeds/archive/proof", "/log/records"} {
		if p := f.refused(404, chat.CodeNotFound, "GET", p, ""); !strings.Contains(p.Detail, "signing_key") {
			t.Errorf("%+v", p)
		}
	}
}
