package sipfront_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront"
	"parley/sipfront/flow"
	"parley/sipfront/siptest"
)

// TestStalledReader: one of fifty clients does not read. It is closed, and the others get every message.
func TestStalledReader(t *testing.T) {
	// Small kernel buffers: what the front itself queues is what this is about.
	small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 16<<10) })
	}}
	l, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *sipfront.Config) {
		c.DeliveriesPerSec = 1e6
		c.Listeners = []sipfront.Listener{{Network: "tcp", Bound: l, AllowUnchallenged: true}}
	})
	stalled := s.wire()
	stalled.conn.(*net.TCPConn).SetReadBuffer(4096)
	to := stalled.open()
	stalled.send("%s", inDialog(to, "INFO", 2, joinBody(1, lobby)))
	stalled.info() // and then nothing more
	others := make([]*siptest.Client, 49)
	for i := range others {
		others[i] = s.client("bob", epid(fmt.Sprint("e", i)), func(o *siptest.Options) { o.Pool = poolURI })
		others[i].Join(lobby)
	}
	check(t, others...)
	text := strings.Repeat("x", 7000)
	posts := 0
	for s.joined(lobby, "alice") {
		for range 10 { // and then wait: nobody but the stalled one is to fall behind, however busy the machine is
			if posts++; posts > 500 {
				t.Fatal("the stalled client is still connected")
			}
			if st := others[0].Post(lobby, strconv.Itoa(posts)+text); st != 200 {
				t.Fatalf("post %d: %d", posts, st)
			}
		}
		for i, c := range others {
			if got := c.WaitPosts(10); len(got) != 10 {
				t.Fatalf("client %d heard %d of the last 10 of %d: %v", i, len(got), posts, c.Err())
			}
		}
	}
	parts := s.ofKind(event.KindParted)
	if len(parts) != 1 || parts[0].Event.(*event.Parted).Reason != event.PartSlow {
		t.Errorf("%+v", parts)
	}
}

// TestFlood: a client that sends without end and reads nothing costs a bounded amount and hurts nobody.
func TestFlood(t *testing.T) {
	s := serve(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	w := s.wire()
	one := []byte(strings.Repeat(request("OPTIONS", poolURI, 1, ""), 100))
	w.conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
	sent := 0
	for sent < 200<<20 {
		n, err := w.conn.Write(one)
		sent += n
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				break // back-pressure: as good
			}
			break // closed
		}
		if g := runtime.NumGoroutine(); g > goroutines+20 {
			t.Fatalf("%d goroutines, %d before", g, goroutines)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if sent >= 200<<20 {
		t.Errorf("all %d bytes were taken", sent)
	}
	a := s.client("alice")
	a.Join(lobby)
	check(t, a)
}

// TestInFlight: with 32 commands at work the flow is not read on, and goes on when they are done.
func TestInFlight(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	to := w.open()
	w.send("%s", inDialog(to, "INFO", 2, joinBody(1, lobby)))
	w.info()
	s.gate.Lock()
	start := s.seen.Load()
	var b strings.Builder
	for i := range 200 {
		b.WriteString(inDialog(to, "INFO", 3+i, postBody(2+i, lobby, aliceURI, strconv.Itoa(i))))
	}
	w.send("%s", b.String())
	eventually(t, "the first are submitted", func() bool { return s.seen.Load()-start >= 32 })
	other := s.client("bob") // a round trip of somebody else: time for more, if there were more
	if n := s.seen.Load() - start; n != 32 {
		t.Errorf("%d commands at work, want 32", n)
	}
	s.gate.Unlock()
	for seq := 3; seq < 203; seq++ {
		if m := w.want(200); m.Header("CSeq") != strconv.Itoa(seq)+" INFO" {
			t.Fatalf("%s", m)
		}
	}
	check(t, other)
}

// TestOverload: when more is delivered than the budget allows, new work is refused with Retry-After, leaving a room and
// answers are not, and it ends by itself.
func TestOverload(t *testing.T) {
	t.Parallel()
	// One post of 10 deliveries is a debt for a minute and a half: time enough to look at it, and paid by Elapse.
	s := serve(t, func(c *sipfront.Config) { c.DeliveriesPerSec = 0.1 })
	var all []*siptest.Client
	for i := range 10 {
		c := s.client("alice", epid(fmt.Sprint("e", i)))
		c.Join(lobby)
		all = append(all, c)
	}
	check(t, all...)
	refused, taken := false, 0
	for i := 0; i < 100 && !refused; i++ {
		switch m := all[0].InDialog("INFO", nil, all[0].PostBody(all[0].NextEnv(), lobby, aliceURI, strconv.Itoa(i))); m.Status() {
		case 200:
			taken++
		case 503:
			refused = true
			if n, err := strconv.Atoi(m.Header("Retry-After")); err != nil || n < 1 || n > 5 || m.Header("ms-diagnostics") == "" {
				t.Errorf("%s", m)
			}
		default:
			t.Fatalf("%s", m)
		}
	}
	if !refused {
		t.Fatal("1,000 deliveries within a budget of six a minute")
	}
	b := s.dial("bob")
	b.Register() // is not refused
	check(t, b)
	if m := b.Invite(poolURI); m == nil || m.Status() != 503 {
		t.Errorf("INVITE: %v", m)
	}
	all[1].Part(lobby)
	all[2].Bye()
	check(t, all...)
	if all[0].Post(lobby, "too early") != 503 {
		t.Error("a post is taken before the debt is paid")
	}
	// Deliveries are charged when they happen, so on a busy machine some posts more were taken before the first was
	// charged, and some are charged only now.
	eventually(t, "posts are taken again", func() bool {
		s.front.Elapse(time.Duration(taken) * time.Minute)
		return all[0].Post(lobby, "again") == 200
	})
}

// TestFlowRate: a flow over its rate is told so, and one far over it is slowed down.
func TestFlowRate(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) { c.LoopbackFlowRate, c.LoopbackFlowBurst = 100, 10 })
	w := s.wire()
	start := time.Now()
	w.send("%s", strings.Repeat(request("OPTIONS", poolURI, 1, ""), 40))
	got := map[int]int{}
	for range 40 {
		m := w.answer()
		got[m.Status()]++
	}
	took := time.Since(start)
	if most := 10 + int(took.Seconds()*100) + 1; got[200] < 10 || got[200] > most || got[503] != 40-got[200] {
		t.Errorf("%v in %v", got, took)
	}
}

// TestNoLeader: without a leader posts are refused as busy and INVITEs too; a session whose end could not be committed is
// ended when there is a leader again.
func TestNoLeader(t *testing.T) {
	s := serve(t, nil)
	a, b := s.client("alice"), s.client("bob")
	a.Join(lobby)
	b.Join(lobby)
	check(t, a, b)
	s.down.Store(true)
	m := a.InDialog("INFO", nil, a.PostBody(a.NextEnv(), lobby, aliceURI, "x"))
	if m == nil || m.Status() != 503 || m.Header("Retry-After") == "" {
		t.Errorf("post: %v", m)
	}
	if it := a.TryJoin(ops); it == nil || it.Code != 503 {
		t.Errorf("join: %+v", it)
	}
	s.hidden.Store(true)
	c := s.dial("carol")
	c.Register()
	if m := c.Invite(poolURI); m == nil || m.Status() != 503 {
		t.Errorf("INVITE: %v", m)
	}
	a.Close()
	eventually(t, "the end is refused", func() bool { return s.seen.Load() > 0 && metric(t, s.front, "parley_sip_unfinished_parts") > 0 })
	s.hidden.Store(false)
	s.down.Store(false)
	eventually(t, "alice is parted", func() bool { return !s.joined(lobby, "alice") && !s.joined(ops, "alice") })
	b.ExpectNotice("ntc:part", "alice@contoso.test")
	check(t, b)
}

// metric returns the value of a metric without labels.
func metric(t testing.TB, f *sipfront.Front, name string) float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(f.Collectors()...)
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.GetName() == name {
			return m.GetMetric()[0].GetGauge().GetValue() + m.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestMetrics: the collectors go together into one registry, and count.
func TestMetrics(t *testing.T) {
	s := serve(t, nil)
	a := s.client("alice")
	a.Join(lobby)
	a.Post(lobby, "x")
	a.Expect(lobby, "x")
	check(t, a)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s.front.Collectors()...)
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if !strings.HasPrefix(m.GetName(), "parley_sip_") || m.GetHelp() == "" {
			t.Errorf("%s: %q", m.GetName(), m.GetHelp())
		}
	}
	for name, want := range map[string]float64{"parley_sip_sessions": 1, "parley_sip_dialogs": 1, "parley_sip_flows": 1, "parley_sip_deliveries_total": 1} {
		eventually(t, name, func() bool { return metric(t, s.front, name) == want })
	}
	if s.front.Sessions() != 1 {
		t.Errorf("%d sessions", s.front.Sessions())
	}
}

// TestSessionTimer: a session that is not refreshed ends with BYE; the open client, which does not come back from a BYE,
// loses its connection instead. Refreshing keeps it.
func TestSessionTimer(t *testing.T) {
	t.Parallel()
	const expires = time.Hour
	s := serve(t, func(c *sipfront.Config) { c.SessionExpires = expires })
	quiet := s.client("alice")
	sipe := s.client("bob", func(o *siptest.Options) { o.UserAgent = "Purple/2 Sipe/1.25.0" })
	busy := s.client("carol")
	for _, c := range []*siptest.Client{quiet, sipe, busy} {
		c.Join(lobby)
	}
	check(t, quiet, sipe, busy)
	quiet.Update() // the last sign of life, before the mark: its answer is here
	sipe.Update()
	mark := time.Now()
	s.front.SweepDialogs(mark.Add(expires - time.Minute)) // nobody is late
	busy.Update()
	check(t, quiet, sipe, busy)
	s.front.SweepDialogs(mark.Add(expires + 1))
	quiet.ExpectRequest("BYE")
	sipe.ExpectClosed()
	eventually(t, "both are parted", func() bool { return !s.joined(lobby, "alice") && !s.joined(lobby, "bob") })
	if st := busy.Post(lobby, "still here"); st != 200 {
		t.Errorf("%d", st)
	}
	check(t, quiet, busy)
	for _, e := range s.ofKind(event.KindParted) {
		if r := e.Event.(*event.Parted).Reason; r != event.PartExpired {
			t.Errorf("reason %q", r)
		}
	}
}

// TestNewDialogIsNotExpired: a sweep that comes between an INVITE and its answer leaves the dialog alone.
func TestNewDialogIsNotExpired(t *testing.T) {
	s := serve(t, nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.front.SweepDialogs(time.Now())
			}
		}
	})
	const dialogs = 200 // of one flow
	var b strings.Builder
	for seq := range dialogs {
		b.WriteString(request("INVITE", poolURI, seq+1, ""))
	}
	for range 3 {
		w := s.wire()
		w.send("%s", b.String())
		for range dialogs {
			w.want(200)
		}
		if len(w.infos) > 0 {
			t.Errorf("%d of them, first %s", len(w.infos), w.infos[0])
		}
	}
}

// TestUnanswered: a client that reads but does not answer is given up.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *sipfront.Config) { c.AnswerTimeout = 5 * time.Second })
	mute := s.client("alice", func(o *siptest.Options) { o.Silent = true })
	mute.Join(lobby)
	check(t, mute)
	mute.ExpectClosed()
	eventually(t, "parted", func() bool { return !s.joined(lobby, "alice") })
	if e := s.ofKind(event.KindParted); e[0].Event.(*event.Parted).Reason != event.PartExpired {
		t.Errorf("%+v", e[0])
	}
}

// TestGoneDialog: 481 and its like in answer to an INFO end the dialog; the flow lives.
func TestGoneDialog(t *testing.T) {
	for _, status := range []string{"481 Call Does Not Exist", "487 Request Terminated", "408 Request Timeout"} {
		s := serve(t, nil)
		w := s.wire()
		to := w.open()
		w.send("%s", inDialog(to, "INFO", 2, joinBody(1, lobby)))
		w.info()
		w.send("%s", inDialog(to, "INFO", 3, postBody(2, lobby, aliceURI, "x")))
		var echo *siptest.Message
		for echo == nil {
			if m := w.read(); m.Status() == 0 {
				echo = m
			}
		}
		var b strings.Builder
		for _, h := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
			b.WriteString(h + ": " + echo.Header(h) + "\r\n")
		}
		w.send("SIP/2.0 %s\r\n%sContent-Length: 0\r\n\r\n", status, b.String())
		eventually(t, "parted", func() bool { return !s.joined(lobby, "alice") })
		w.send("%s", inDialog(to, "INFO", 4, postBody(3, lobby, aliceURI, "y")))
		for m := w.answer(); m.Status() != 481; m = w.answer() {
			if m.Status() != 200 || m.Header("CSeq") != "3 INFO" {
				t.Fatalf("%s", m)
			}
		}
		w.open()
	}
}

// TestCSeq: requests of a dialog come in order; a repetition is answered again and not done again.
func TestCSeq(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	to := w.open()
	w.send("%s", inDialog(to, "INFO", 5, joinBody(1, lobby)))
	w.info()
	post := inDialog(to, "INFO", 6, postBody(2, lobby, aliceURI, "x"))
	w.send("%s", post)
	w.want(200)
	w.send("%s", post)
	w.want(200)
	w.send("%s", inDialog(to, "INFO", 4, postBody(3, lobby, aliceURI, "y")))
	w.want(500)
	w.send("%s", inDialog(to, "UPDATE", 7, ""))
	w.want(200)
	if n := len(s.ofKind(event.KindPosted)); n != 1 {
		t.Errorf("%d posts", n)
	}
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// TestTLS: the same over TLS, with a floor of 1.2 and a deadline for the handshake.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, roots := certificate(t)
	s := serve(t, func(c *sipfront.Config) {
		c.Listeners = []sipfront.Listener{{Network: "tls", Addr: "127.0.0.1:0", AllowUnchallenged: true, TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10}}}
	})
	over := func(o *siptest.Options) { o.TLS = &tls.Config{RootCAs: roots} }
	a, b := s.client("alice", over), s.client("bob", over)
	a.Join(lobby)
	b.Join(lobby)
	for i := range 50 {
		a.Post(lobby, strconv.Itoa(i))
	}
	if got := b.WaitPosts(50); len(got) != 50 {
		t.Error(b.Err())
	}
	check(t, a, b)
	old := s.dial("carol", func(o *siptest.Options) {
		o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	})
	if old.Err() == nil {
		t.Error("TLS 1.1 is spoken")
	}
	hasty := serve(t, func(c *sipfront.Config) {
		c.Listeners = []sipfront.Listener{{Network: "tls", Addr: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}}
		c.Limits = flow.Limits{Handshake: 300 * time.Millisecond}
	})
	mute := hasty.wire()
	mute.closed()
}

// TestDrain: a node that goes out of service takes nothing new, parts its users and closes.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	a, b := s.client("alice"), s.client("bob")
	a.Join(lobby)
	b.Join(lobby)
	check(t, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.front.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	a.ExpectClosed()
	b.ExpectClosed()
	if s.joined(lobby, "alice") || s.joined(lobby, "bob") {
		t.Error("a user is still in the room")
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("the node still accepts")
	}
}

// TestPrivacy: what people write is not in the log of the server, whatever they do with it.
func TestPrivacy(t *testing.T) {
	var mu sync.Mutex
	var b bytes.Buffer
	s := serve(t, func(c *sipfront.Config) {
		c.Logger = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return b.Write(p) }), &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	a := s.client("alice")
	a.Join(lobby)
	a.Post(lobby, "canary-1")
	a.Post(ops, "canary-2")
	a.InDialog("INFO", nil, []byte("<canary-3>"))
	a.Command("cmd:unheardof", nil)
	a.InDialog("INFO", nil, []byte(command(99, "cmd:weird", "<canary-4/>")))
	check(t, a)
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(b.String(), "canary") {
		t.Errorf("%s", b.String())
	}
	if !strings.Contains(b.String(), "cmd:unheardof") {
		t.Errorf("an unknown command is not logged by name: %s", b.String())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestManyRooms: leaving more rooms than one command may name takes several commands.
func TestManyRooms(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	n := chat.MaxJoinRooms + 5
	var uris []string
	for i := range n {
		id := event.RoomID(fmt.Sprintf("00000000-0000-4000-8000-%012x", 0x1000+i))
		s.must(&chat.CreateRoom{ID: id, Info: event.RoomInfo{Name: fmt.Sprint("r", i), Category: "00000000-0000-4000-8000-000000000001", Privacy: event.PrivacyOpen, Type: event.RoomNormal, Invitations: event.InvitationsInherit}})
		uris = append(uris, chat.RoomURI(domain, id))
	}
	a := s.client("alice")
	if d := a.BJoin(uris[:chat.MaxJoinRooms]...); d == nil || len(d.Chans) != chat.MaxJoinRooms {
		t.Fatal(a.Err())
	}
	a.BJoin(uris[chat.MaxJoinRooms:]...)
	check(t, a)
	a.Close()
	eventually(t, "all are parted", func() bool { return len(s.ofKind(event.KindParted)) == n })
}
