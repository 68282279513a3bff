package admin_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/log/event"
	"parley/webfront/admin"
)

// A change is answered when every node that lives shows it.
func TestChangesAreConfirmed(t *testing.T) {
	var mu sync.Mutex
	var asked []event.Offset
	release := make(chan struct{})
	f := newFixture(t, func(o *admin.Options) {
		o.Remote = func(_ context.Context, m admin.Member, at event.Offset) (admin.NodeStatus, error) {
			mu.Lock()
			asked = append(asked, at)
			mu.Unlock()
			<-release
			return admin.NodeStatus{Node: m.ID, Applied: at}, nil
		}
	})
	f.pool.Nodes = append(f.pool.Nodes, admin.Member{ID: "n2", State: admin.StateVoter, HTTPS: "x:2"}, admin.Member{ID: "n3", State: admin.StateStandby, HTTPS: "x:3"})
	done := make(chan string, 1)
	go func() {
		w := f.do("POST", "/categories", `{"name":"A"}`)
		done <- w.Header().Get(admin.UnconfirmedHeader)
	}()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		n := len(asked)
		mu.Unlock()
		if n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other nodes were not asked")
		}
	}
	select {
	case <-done:
		t.Fatal("it was answered before the others had it")
	default:
	}
	close(release)
	if h := <-done; h != "" {
		t.Errorf("all have it, but the answer says: %s", h)
	}
	if head := f.head(); asked[0] != head || asked[1] != head {
		t.Errorf("asked for %v, the change is event %d", asked, head)
	}
}

// Nodes that do not answer are named, and hold nobody up for longer than the bound.
func TestUnconfirmedChanges(t *testing.T) {
	f := newFixture(t, func(o *admin.Options) {
		o.Remote = func(ctx context.Context, m admin.Member, at event.Offset) (admin.NodeStatus, error) {
			switch m.ID {
			case "n2":
				return admin.NodeStatus{}, errors.New("connection refused")
			case "n3":
				<-ctx.Done()
				return admin.NodeStatus{}, ctx.Err()
			}
			return admin.NodeStatus{Applied: at - 1}, nil
		}
	})
	admin.SetConfirm(f.api, 10*time.Millisecond)
	f.pool.Nodes = append(f.pool.Nodes, admin.Member{ID: "n2", State: admin.StateVoter, HTTPS: "x:2"}, admin.Member{ID: "n3", State: admin.StateVoter, HTTPS: "x:3"},
		admin.Member{ID: "n4", State: admin.StateDown, HTTPS: "x:4"}, admin.Member{ID: "n5", State: admin.StateVoter, HTTPS: "x:5"}, admin.Member{ID: "n6", State: admin.StateStandby})
	w := f.do("POST", "/categories", `{"name":"A"}`)
	h := w.Header().Get(admin.UnconfirmedHeader)
	if w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, s := range []string{"n2 (", "n3 (not within 10ms)", "n4 (down)", "n5 (", "n6 (n1 does not know where to ask it)"} {
		if !strings.Contains(h, s) {
			t.Errorf("%q does not say %q", h, s)
		}
	}
	if w := f.do("POST", "/categories?what_if=true", `{"name":"B"}`); w.Header().Get(admin.UnconfirmedHeader) != "" {
		t.Error("what was only asked about cannot be confirmed")
	}
}
