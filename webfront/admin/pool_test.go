package admin_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
)

func TestStatus(t *testing.T) {
	f := newFixture(t, func(o *admin.Options) {
		o.Remote = func(_ context.Context, m admin.Member, _ event.Offset) (admin.NodeStatus, error) {
			switch m.ID {
			case "n2":
				return admin.NodeStatus{Node: "n2", State: "whatever it thinks", Applied: 1, Committed: 9, Version: "v", Sessions: 7}, nil
			case "n4":
				return admin.NodeStatus{Node: "n4", Applied: 9, Committed: 9, Version: "v"}, nil
			}
			return admin.NodeStatus{}, errors.New("no answer")
		}
	})
	f.pool.Nodes = []admin.Member{
		{ID: "n1", State: admin.StateLeader},
		{ID: "n2", State: admin.StateVoter, HTTPS: "x:1"},
		{ID: "n3", State: admin.StateVoter, HTTPS: "x:2"},
		{ID: "n4", State: admin.StateDown, HTTPS: "x:3"},
		{ID: "n5", State: admin.StateStandby}, // added later: this node does not know where to ask it
	}
	got := fmt.Sprint(want[[]admin.NodeStatus](f, 200, "GET", "/status", ""))
	if w := "[{n1 leader 2 2 7 test 0} {n2 voter 1 9 8 v 7} {n3 down 0 0 0  0} {n4 voter 9 9 0 v 0} {n5 standby 0 0 9  0}]"; got != w {
		t.Errorf("got  %s\nwant %s", got, w)
	}
}

func TestRemoteStatus(t *testing.T) {
	f := newFixture(t)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS.VerifiedChains = append(r.TLS.VerifiedChains, r.TLS.PeerCertificates) // as a listener of the pool would
		if r.URL.Path != admin.Prefix+"/node" && r.URL.Path != admin.Prefix+"/node/digest" {
			t.Errorf("asked for %s", r.URL)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		f.api.ServeHTTP(w, r)
	}))
	defer srv.Close()
	asked := ""
	nodes := admin.NewNodes(func(node string) *tls.Config {
		asked = node
		return srv.Client().Transport.(*http.Transport).TLSClientConfig
	})
	n9 := admin.Member{ID: "n9", HTTPS: strings.TrimPrefix(srv.URL, "https://")}
	st, err := nodes.Status(t.Context(), n9, 0)
	if err != nil || st.Applied != 2 || asked != "n9" {
		t.Errorf("%+v, %v, asked %s", st, err, asked)
	}
	head := f.pool.State().Offset()
	d, err := nodes.Digest(t.Context(), n9, head)
	if err != nil || d.Offset != head || d.Chain != f.pool.State().Chain().String() || len(d.State) != 64 {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := nodes.Digest(t.Context(), n9, head-1); err == nil {
		t.Errorf("it has passed that offset: %+v", d)
	}
	srv.Close()
	if _, err := nodes.Status(t.Context(), n9, 0); err == nil {
		t.Error("a node that is gone has a status")
	}
}

func TestMembership(t *testing.T) {
	f := newFixture(t)
	f.pool.Nodes = append(f.pool.Nodes, admin.Member{ID: "n2", State: admin.StateVoter, HTTPS: "127.0.0.1:2"})
	var done []string
	f.pool.Change = func(action string, id event.NodeID) error {
		done = append(done, action+" "+string(id))
		return nil
	}
	want[map[string]any](f, 200, "POST", "/members", `{"id":"n3","addr":"127.0.0.1:3"}`)
	want[map[string]any](f, 200, "POST", "/members/n2/promote", "")
	want[map[string]any](f, 200, "DELETE", "/members/n2", "")
	want[map[string]any](f, 200, "POST", "/leader", `{"to":"n2"}`)
	want[map[string]any](f, 200, "POST", "/leader", `{}`)
	if got := strings.Join(done, ", "); got != "add n3, promote n2, remove n2, transfer n2, transfer " {
		t.Errorf("done: %s", got)
	}
	f.refused(404, chat.CodeNotFound, "DELETE", "/members/n9", "")
	f.refused(404, chat.CodeNotFound, "POST", "/leader", `{"to":"n9"}`)
	f.refused(400, chat.CodeInvalid, "POST", "/members", `{"id":"n3"}`)
	f.pool.Nodes[1].State = admin.StateStandby
	f.refused(409, chat.CodeConflict, "POST", "/leader", `{"to":"n2"}`)

	// Only the leader can: the client is sent there, if this node knows it.
	f.pool.Change = func(string, event.NodeID) error { return admin.ErrNotLeader }
	f.pool.Nodes[0].State, f.pool.Nodes[1].State = admin.StateVoter, admin.StateLeader
	w := f.do("DELETE", "/members/n2", "")
	if l := w.Header().Get("Location"); w.Code != 307 || l != "https://127.0.0.1:2"+admin.Prefix+"/members/n2" {
		t.Errorf("%d to %s", w.Code, l)
	}
	f.pool.Nodes[1].State = admin.StateDown
	f.refused(503, chat.CodeUnavailable, "DELETE", "/members/n2", "")
}

func TestLists(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/feeds", "/projections"} {
		if w := f.do("GET", path, ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != "[]" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	f.pool.FeedList = []admin.FeedStatus{{Feed: "lyncxml", State: "running"}}
	f.pool.ProjectionList = []admin.ProjectionStatus{{Projection: "rooms"}}
	if got := want[[]admin.FeedStatus](f, 200, "GET", "/feeds", ""); got[0].Feed != "lyncxml" {
		t.Errorf("%+v", got)
	}
	if got := want[[]admin.ProjectionStatus](f, 200, "GET", "/projections", ""); got[0].Projection != "rooms" {
		t.Errorf("%+v", got)
	}
}
