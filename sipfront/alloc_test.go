package sipfront_test

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"parley/sipfront"
)

// TestGarbage: a delivered message costs at most three allocations, everything on its way from the commit included.
func TestGarbage(t *testing.T) {
	const members, posts = 200, 20
	s := serve(t, func(c *sipfront.Config) { c.DeliveriesPerSec = 1e6 })
	var all []*wire
	for i := range members {
		w := s.wire()
		as := func(r string) string { return strings.ReplaceAll(r, "epid=e1", fmt.Sprint("epid=m", i)) }
		w.send("%s", as(request("INVITE", poolURI, 1, "")))
		to := w.want(200).Header("To")
		w.send("%s", as(inDialog(to, "INFO", 2, joinBody(1, lobby))))
		if env := w.info(); env.Items[0].Code != 200 {
			t.Fatalf("%+v", env.Items[0])
		}
		all = append(all, w)
	}
	a := s.client("bob")
	a.Join(lobby)
	check(t, a)
	for _, w := range all[1:] { // they read and say nothing: only the server's side is to be counted
		go io.Copy(io.Discard, w.conn) //nolint:errcheck // until the test ends
	}
	last := make(chan struct{})
	go func() {
		defer close(last)
		b, tail := make([]byte, 64<<10), ""
		for !strings.Contains(tail, "<chat>"+strconv.Itoa(posts)+"</chat>") {
			n, err := all[0].conn.Read(b)
			if err != nil {
				return
			}
			tail = tail[max(len(tail)-64, 0):] + string(b[:n])
		}
	}()
	deliveries := metric(t, s.front, "parley_sip_deliveries_total")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range posts {
		if st := a.Post(lobby, strconv.Itoa(i+1)); st != 200 {
			t.Fatalf("%d", st)
		}
	}
	<-last
	eventually(t, "all are delivered", func() bool {
		return metric(t, s.front, "parley_sip_deliveries_total")-deliveries == posts*(members+1)
	})
	runtime.ReadMemStats(&after)
	each := float64(after.Mallocs-before.Mallocs) / (posts * members)
	t.Logf("%.2f allocations for each delivery", each)
	if each > 3 {
		t.Errorf("%.2f allocations for each delivery", each)
	}
}
