package admin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
)

// replays lets every fixture replay: a cut of two files, then one that held nothing.
func replays(o *admin.Options) {
	o.FeedOps.Replay = func(_ context.Context, feed string, from, to event.Offset, each func(admin.ReplayedCut) error) error {
		if err := each(admin.ReplayedCut{First: from, Last: to, Name: "b", Bytes: 3, SHA256: []byte{1}, Files: map[string][]byte{"b": []byte("two"), "a": nil}}); err != nil {
			return err
		}
		return each(admin.ReplayedCut{First: to + 1, Last: to + 1})
	}
}

func TestFeeds(t *testing.T) {
	f := newFixture(t)
	f.talk()
	var asked []bool
	f.api.FeedOps.Check = func(_ string, i *event.FeedInfo, whatIf bool) error {
		asked = append(asked, whatIf)
		if i.Adapter == "fax" {
			return errors.New("there is no adapter \"fax\"")
		}
		return nil
	}
	p := f.refused(400, chat.CodeInvalid, "PUT", "/feeds/j", `{"adapter":"fax"}`)
	if !strings.Contains(p.Detail, "no adapter") {
		t.Errorf("%+v", p)
	}
	f.refused(400, chat.CodeInvalid, "PUT", "/feeds/j", `{}`)
	f.refused(400, chat.CodeInvalid, "PUT", "/feeds/j", `{"adapter":"jsonl","every":"soon"}`)
	f.refused(400, chat.CodeInvalid, "PUT", "/feeds/j", `{"adapter":"jsonl","from":"yesterday"}`)
	f.refused(404, chat.CodeNotFound, "PUT", "/feeds/j", `{"adapter":"jsonl","rooms":["Nowhere"]}`)
	f.refused(404, chat.CodeNotFound, "GET", "/feeds/j", "")
	f.refused(404, chat.CodeNotFound, "POST", "/feeds/j/pause", `{}`)
	head := f.head()
	want[admin.WhatIf](f, 200, "PUT", "/feeds/j?what_if=true", `{"adapter":"jsonl"}`)
	if f.head() != head {
		t.Error("what_if wrote something")
	}
	if !asked[len(asked)-1] || slices.Contains(asked[:len(asked)-1], true) {
		t.Errorf("the check was told what_if: %v", asked)
	}
	got := want[admin.Feed](f, 200, "PUT", "/feeds/j", `{"adapter":"jsonl","options":{"dir":"/a","x":"1"},"rooms":["Lobby"],"categories":["General"],"kinds":["Posted"]}`)
	if got.Adapter != "jsonl" || got.Options["dir"] != "/a" || got.Every != "15m0s" || len(got.Rooms) != 1 || len(got.Categories) != 1 || got.Kinds[0] != "posted" || got.Configured != "log" {
		t.Errorf("%+v", got)
	}
	got = want[admin.Feed](f, 200, "PUT", "/feeds/j", `{"options":{"x":""},"rooms":[],"every":"00:01:00"}`)
	if len(got.Options) != 1 || len(got.Rooms) != 0 || got.Every != "1m0s" || got.Kinds[0] != "posted" {
		t.Errorf("changed: %+v", got)
	}
	f.refused(409, chat.CodeConflict, "PUT", "/feeds/j", `{"create":true}`)
	f.refused(409, chat.CodeConflict, "PUT", "/feeds/j", `{"revision":1,"every":"2m"}`)
	f.pool.FeedList = []admin.FeedStatus{{Feed: "j", State: "paused", Reason: "disk"}}
	if got = want[admin.Feed](f, 200, "POST", "/feeds/j/pause", `{"reason":"disk"}`); got.State != "paused" || got.Reason != "disk" {
		t.Errorf("%+v", got)
	}
	if e, ok := f.last().Event.(*event.FeedPaused); !ok || e.Reason != "disk" {
		t.Errorf("%+v", f.last())
	}
	want[admin.Feed](f, 200, "POST", "/feeds/j/resume", `{}`)
	f.pool.FeedList = nil
	want[admin.Removed](f, 200, "DELETE", "/feeds/j", "")
	f.refused(404, chat.CodeNotFound, "DELETE", "/feeds/j", "")
	f.refused(404, chat.CodeNotFound, "GET", "/feeds/j", "")
	if got = want[admin.Feed](f, 200, "PUT", "/feeds/j", `{"options":{"dir":"/b"}}`); got.Adapter != "jsonl" || got.Options["dir"] != "/b" {
		t.Errorf("set again: %+v", got)
	}
}

// What only the owner knows comes from the owner, if he is one and answers.
func TestFeedsOfOthers(t *testing.T) {
	f := newFixture(t)
	f.pool.Nodes = []admin.Member{{ID: "n1", HTTPS: "127.0.0.1:1", State: admin.StateLeader}, {ID: "n2", HTTPS: "127.0.0.1:2", State: admin.StateVoter}}
	f.pool.FeedList = []admin.FeedStatus{{Feed: "a", State: "standby", Owner: "n2", Epoch: 3, Backlog: 1}, {Feed: "b", State: "standby", Owner: "n2", Epoch: 1},
		{Feed: "mine", State: "waiting", Owner: "n1", Epoch: 1}}
	owner := []admin.FeedStatus{{Feed: "a", State: "failing", Owner: "n2", Epoch: 3, LastError: "disk full", Backlog: 7}, {Feed: "b", State: "failing", Owner: "n2", Epoch: 0},
		{Feed: "mine", State: "standby", Owner: "n1", Epoch: 1}}
	silent := false
	f.api.FeedOps.Remote = func(_ context.Context, m admin.Member) ([]admin.FeedStatus, error) {
		if silent || m.ID != "n2" {
			return nil, errors.New("no answer")
		}
		return owner, nil
	}
	got := want[[]admin.FeedStatus](f, 200, "GET", "/feeds", "")
	if got[0].LastError != "disk full" || got[0].Backlog != 7 || got[0].State != "failing" || got[1].State != "standby" || got[2].State != "waiting" {
		t.Errorf("%+v", got)
	}
	silent = true
	if got := want[[]admin.FeedStatus](f, 200, "GET", "/feeds", ""); got[0].State != "standby" || got[0].Backlog != 1 {
		t.Errorf("the owner does not answer: %+v", got)
	}
	if got := want[[]admin.FeedStatus](f, 200, "GET", "/node/feeds", ""); got[0].State != "standby" {
		t.Errorf("%+v", got)
	}
}

func TestFeedReplay(t *testing.T) {
	f := newFixture(t)
	replays(&f.api.Options)
	f.refused(404, chat.CodeNotFound, "GET", "/feeds/j/replay", "")
	want[admin.Feed](f, 200, "PUT", "/feeds/j", `{"adapter":"jsonl","options":{"dir":"/a"}}`)
	lines := func(path string) (out []admin.FeedFile) {
		for _, l := range strings.Split(strings.TrimSpace(f.do("GET", path, "").Body.String()), "\n") {
			var v admin.FeedFile
			if err := json.Unmarshal([]byte(l), &v); err != nil {
				t.Fatalf("%q: %v", l, err)
			}
			out = append(out, v)
		}
		return out
	}
	if got := lines("/feeds/j/replay"); len(got) != 1 || !got[0].Ended {
		t.Errorf("a feed that delivered nothing: %+v", got)
	}
	node := chat.Origin{By: "node:n1", Node: "n1", Trusted: true}
	f.pool.Must(t, node, &chat.ClaimFeed{Feed: "j"})
	f.pool.Must(t, node, &chat.CutFeed{Feed: "j", Epoch: 1, First: 1, Last: 3})
	f.pool.Must(t, node, &chat.ReceiptFeed{Receipt: event.FeedReceipt{Feed: "j", Epoch: 1, First: 1, Last: 3}})
	got := lines("/feeds/j/replay?from=2&to=99")
	if len(got) != 5 || got[0].File != "a" || got[1].File != "b" || got[1].Data != base64.StdEncoding.EncodeToString([]byte("two")) ||
		got[2].First != 2 || got[2].Last != 3 || got[2].Name != "b" || got[2].SHA256 != "01" || got[3].Name != "" || !got[4].Ended {
		t.Errorf("%+v", got)
	}
}
