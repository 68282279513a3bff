package flow

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const options = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"

// found is what a framer made of a stream.
type found struct {
	kind frame
	text string
}

// cutAll feeds a stream in pieces of the given sizes, as a connection would: the buffer is moved between reads.
func cutAll(stream []byte, pieces []int) (all []found) {
	var f framer
	var m Message
	var buf []byte
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if i < len(pieces) {
			n = min(pieces[i], n)
		}
		buf = append(buf, stream[:n]...)
		stream = stream[n:]
		for {
			kind, used := f.cut(buf, &m)
			if kind == needMore {
				break
			}
			text := ""
			if kind == gotMsg {
				text = fmt.Sprintf("%s %d %d %q %v %q", m.Method, m.Status, m.Seq, m.Body, m.Err, m.AppendEcho(nil, "t"))
			}
			if kind != gotNoise { // alone or joined to a ping, a stray line end means nothing
				all = append(all, found{kind, text})
			}
			if m.Err != nil && m.Err.Fatal && kind == gotMsg {
				return all
			}
			buf = append([]byte(nil), buf[used:]...)
		}
	}
	return all
}

// TestCutAnywhere: whatever the stream, what is found in it does not depend on how it was cut.
func TestCutAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{options, "\r\n", "\r\n\r\n", "\n", "\r", "X: y\r\n", " folded\r\n", "SIP/2.0 200 OK\r\n",
			strings.Replace(options, "Content-Length: 0\r\n\r\n", "Content-Length: 5\r\n\r\nhe\nlo", 1),
			strings.Replace(options, "To: <", "To:\r\n <", 1),
			strings.Replace(options, "Content-Length: 0", "Content-Length: 0\r\nContent-Length: 1", 1),
			strings.Replace(options, "Content-Length: 0", "Content-Length: 300000", 1),
			strings.Replace(options, "Via", "Subject: "+strings.Repeat("x", 9000)+"\r\nVia", 1),
			strings.Replace(options, "Via", "A: "+strings.Repeat("x", 8000)+"\r\nB: "+strings.Repeat("x", 8000)+"\r\nC: "+strings.Repeat("x", 1000)+"\r\nVia", 1),
			"Content-Length: 7\r\n\r\n"}), 1, 6).Draw(t, "parts")
		stream := []byte(strings.Join(parts, ""))
		want := cutAll(stream, nil)
		pieces := rapid.SliceOfN(rapid.IntRange(1, 400), 0, 60).Draw(t, "pieces")
		if got := cutAll(stream, pieces); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("pieces %v of %q:\n%v\nwant\n%v", pieces, stream, got, want)
		}
		for range 3 {
			at := rapid.IntRange(0, len(stream)).Draw(t, "cut")
			if got := cutAll(stream, []int{at}); at > 0 && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("cut at %d of %q:\n%v\nwant\n%v", at, stream, got, want)
			}
		}
	})
}

func FuzzCut(f *testing.F) {
	f.Add([]byte(options), 10)
	f.Add([]byte("\r\n\r\n"+options+"\r\n"+options), 3)
	f.Add([]byte("SIP/2.0 200 OK\r\nv: x\r\nf: \"a <b\" <sip:c>;tag=1\r\nt: sip:x;tag=2\r\ni: c\r\nCSeq: 1 INFO\r\nl: 2\r\n\r\nhi"), 50)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		want := cutAll(append([]byte(nil), b...), nil)
		if at <= 0 || at >= len(b) {
			return
		}
		if got := cutAll(append([]byte(nil), b...), []int{at}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("cut at %d:\n%v\nwant\n%v", at, got, want)
		}
	})
}

// TestScan checks the reading of headers: names, folding, compact forms.
func TestScan(t *testing.T) {
	raw := "INFO sip:p@x SIP/2.0\r\nv:SIP/2.0/TCP a\r\nVIA : SIP/2.0/TCP b\r\nf: \"x;tag=no\" <sip:a@b;y=1>;Tag=ab;epid=\"0A\"\r\n" +
		"t:\r\n\t<sip:p@x>\r\n ;tag=zz \r\ni: c@d\r\nCSEQ:  0007   INFO\r\nl: 3\r\nX-Y: 1\r\n\r\nabc"
	var f framer
	var m Message
	kind, n := f.cut([]byte(raw), &m)
	if kind != gotMsg || n != len(raw) || m.Err != nil {
		t.Fatalf("%v %d %v", kind, n, m.Err)
	}
	if string(m.Method) != "INFO" || string(m.URI) != "sip:p@x" || m.Seq != 7 || string(m.SeqMethod) != "INFO" || string(m.Body) != "abc" {
		t.Errorf("%+v", m)
	}
	if got := string(Param(m.Get(From), "tag")); got != "ab" {
		t.Errorf("tag %q", got)
	}
	if got := string(Param(m.Get(From), "epid")); got != "0A" {
		t.Errorf("epid %q", got)
	}
	if got := string(Param(m.Get(To), "tag")); got != "zz" {
		t.Errorf("To tag %q in %q", got, m.Get(To))
	}
	if got := string(Addr(m.Get(From))); got != "sip:a@b;y=1" {
		t.Errorf("address %q", got)
	}
	want := "v:SIP/2.0/TCP a\r\nVIA : SIP/2.0/TCP b\r\nf: \"x;tag=no\" <sip:a@b;y=1>;Tag=ab;epid=\"0A\"\r\nt:  \t<sip:p@x>   ;tag=zz \r\ni: c@d\r\nCSEQ:  0007   INFO\r\n"
	if got := string(m.AppendEcho(nil, "new")); got != want {
		t.Errorf("echo\n%q\nwant\n%q", got, want)
	}
	for value, want := range map[string]string{"<sip:a@b>": "", "sip:a@b;tag=x": "x", "<sip:a@b;tag=no>": "", "<sip:a@b>;x=\";tag=no\";tag=y": "y", "": "", "<sip:a": "", "<sip:a>;tag": ""} {
		if got := string(Param([]byte(value), "tag")); got != want {
			t.Errorf("tag of %q: %q, want %q", value, got, want)
		}
	}
}

// TestScanErrors: each fault has its own answer, and only a lost end of message is fatal.
func TestScanErrors(t *testing.T) {
	many := func(line string, n int) string { return strings.Repeat(line, n) + "To:" }
	for _, c := range []struct {
		old, new, want string
		fatal          bool
	}{
		{"To:", many("Subject: x\r\n", 200), "400 Too Many Headers", false},
		{"To:", many("Via: SIP/2.0/TCP x\r\n", 40), "400 Too Many Via Headers", false},
		{"To:", "Subject: " + strings.Repeat("x", 9000) + "\r\nTo:", "400 Header Line Too Long", false},
		{"To:", many("Subject: "+strings.Repeat("x", 6000)+"\r\n", 3), "400 Message Head Too Long", true},
		{"To:", "To: <sip:x@y>\r\nTo:", "400 Repeated Header", false},
		{"To:", "Subject:a\x00\r\nTo:", "400 Control Character in Header", false},
		{"To:", "Sub ject: a\r\nTo:", "400 Malformed Header Name", false},
		{"To:", "Subject\r\nTo:", "400 Malformed Header Line", false},
		{"To:", "Subject: a\nTo:", "400 Bare LF in Message Head", true},
		{"To: <sip:a@b>", "To: a,b <sip:a@b>", "400 Malformed To", false},
		{"To: <sip:a@b>", "To: ", "400 Empty To", false},
		{"To: <sip:a@b>\r\n", "", "400 Missing To", false},
		{"1 OPTIONS", "1", "400 Malformed CSeq", false},
		{"1 OPTIONS", "4294967295 OPTIONS", "400 Malformed CSeq", false},
		{"1 OPTIONS", "1 INFO", "400 CSeq Method Differs", false},
		{"SIP/2.0\r\n", "SIP/3.0\r\n", "505 Version Not Supported", false},
		{"OPTIONS sip", "OPTIONS  sip", "400 Malformed Request Line", false},
		{"OPTIONS sip", "OPT IONS sip", "400 Malformed Request Line", false},
		{"sip:a@b SIP", "sip:" + strings.Repeat("a", 9000) + " SIP", "400 Start Line Too Long", false},
		{"Length: 0", "Length: -1", "400 Malformed Content-Length", true},
		{"Length: 0", "Length: 0\r\nContent-Length: 1", "400 Conflicting Content-Length", true},
		{"Length: 0", "Length: 262145", "413 Message Too Large", true},
		{"Content-Length: 0\r\n", "Content-Type: a/b\r\n", "400 Missing Content-Length", true},
		{"Via", "Max-Forwards: 256\r\nVia", "400 Malformed Max-Forwards", false},
	} {
		var f framer
		var m Message
		kind, _ := f.cut([]byte(strings.Replace(options, c.old, c.new, 1)), &m)
		if kind != gotMsg || m.Err == nil || m.Err.Error() != c.want || m.Err.Fatal != c.fatal {
			t.Errorf("%q for %.40q: %v %v, want %s", c.old, c.new, kind, m.Err, c.want)
		}
	}
}

// TestDatagrams: a flow for each address, closed when it is silent; bodies end where the datagram ends.
func TestDatagrams(t *testing.T) {
	e := &echoer{}
	d := NewDatagrams(Limits{Unknown: 2, Idle: time.Minute, First: time.Minute}, e)
	var got []string
	addr := func(port int) net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }
	receive := func(port int, raw string) bool {
		return d.Receive(addr(1), addr(port), nil, []byte(raw), func(_ *Conn, b []byte) { line, _, _ := strings.Cut(string(b), "\r\n"); got = append(got, line) })
	}
	receive(10, options)
	receive(10, strings.Replace(options, "Content-Length: 0\r\n", "Content-Type: a/b\r\n", 1)+"body")
	receive(11, strings.Replace(options, "Content-Length: 0", "Content-Length: 9", 1)+"short")
	receive(11, "nonsense")
	if receive(12, options) {
		t.Error("a third flow is taken")
	}
	if want := "SIP/2.0 200 x|SIP/2.0 400 x|SIP/2.0 400 x|SIP/2.0 400 x"; strings.Join(got, "|") != strings.Replace(want, "400", "200", 1) {
		t.Errorf("%q", got)
	}
	if n := len(d.Conns()); n != 2 || e.reasons() != "refused too_many_unknown" {
		t.Errorf("%d flows, %q", n, e.reasons())
	}
	for _, c := range d.Conns() {
		if c.Remote().String() == "127.0.0.1:10" {
			c.Known()
		}
	}
	if !receive(12, options) {
		t.Error("a known flow counts as an unknown one")
	}
	d.Conns()[0].Close("gone")
	d.Sweep(time.Now())
	d.Wait()
	d.Sweep(time.Now().Add(2 * time.Minute))
	d.Wait()
	if n := len(d.Conns()); n != 0 || d.account.all != 0 || d.account.unknown != 0 || e.reasons() != "refused too_many_unknown,gone,idle,idle" {
		t.Errorf("%d flows, %q", n, e.reasons())
	}
}

// TestSweepWaitsForNobody: a flow whose message is still at work holds up neither the sweep nor who comes after.
func TestSweepWaitsForNobody(t *testing.T) {
	e := &holder{at: make(chan struct{}), release: make(chan struct{})}
	d := NewDatagrams(Limits{}, e)
	receive := func(port int) bool {
		return d.Receive(&net.UDPAddr{}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, nil, []byte(options), func(*Conn, []byte) {})
	}
	var wg sync.WaitGroup
	wg.Go(func() { receive(1) })
	<-e.at
	d.Conns()[0].Close("gone")
	if receive(2) {
		t.Error("a message that was let drop has an answer to come")
	}
	d.Sweep(time.Now())
	if n := len(d.Conns()); n != 1 || e.reasons() != "" {
		t.Errorf("%d flows, closed %q", n, e.reasons())
	}
	close(e.release)
	wg.Wait()
	if d.Wait(); e.reasons() != "gone" {
		t.Errorf("closed %q", e.reasons())
	}
}

// holder holds the first message and lets the others drop.
type holder struct {
	echoer
	held        atomic.Bool
	at, release chan struct{}
}

func (h *holder) Message(c *Conn, _ *Message) {
	if h.held.CompareAndSwap(false, true) {
		close(h.at)
		<-h.release
	}
	c.Drop()
}

// TestSweep closes for real.
func TestSweep(t *testing.T) {
	_, _, e := pairWith(t, Limits{First: time.Minute})
	e.server.Sweep(time.Now())
	if n := e.server.Count(); n != 1 {
		t.Fatalf("%d connections", n)
	}
	e.server.Sweep(time.Now().Add(2 * time.Minute))
	eventually(t, "closed", func() bool { return e.reasons() == ClosedSilent })
	eventually(t, "forgotten", func() bool { return e.server.Count() == 0 })
}

// TestNoGarbage: scanning a message and answering it allocates nothing; queueing a message for a dialog and writing it
// allocates less than once in the long run.
func TestNoGarbage(t *testing.T) {
	raw := []byte("INFO sip:p@x SIP/2.0\r\nVia: SIP/2.0/TCP a\r\nFrom: <sip:a@b>;tag=1;epid=2\r\nTo: <sip:p@x>;tag=3\r\nMax-Forwards: 70\r\nCSeq: 2 INFO\r\n" +
		"User-Agent: x\r\nCall-ID: c\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
	var m Message
	var f framer
	answer := make([]byte, 0, 4096)
	f.cut(raw, &m)
	if n := testing.AllocsPerRun(200, func() {
		if kind, _ := f.cut(raw, &m); kind != gotMsg || m.Err != nil || !m.Is("INFO") || Param(m.Get(To), "tag") == nil {
			t.Fatal("not scanned")
		}
		answer = AppendBody(m.AppendEcho(AppendStatus(answer[:0], 200, "OK"), ""), "", nil)
	}); n != 0 {
		t.Errorf("%v allocations for a message and its answer", n)
	}

	client, c, _ := pair(t)
	go io.Copy(io.Discard, client) //nolint:errcheck // until the test ends
	dest := NewDest(" sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKx.", "\r\nFrom: <sip:p@x>\r\nCSeq: ")
	pay := NewPayload("text/plain", bytes.Repeat([]byte("x"), 500))
	seq := uint32(0)
	if n := testing.AllocsPerRun(500, func() {
		if !c.Post(dest, pay) {
			t.Fatal("not queued")
		}
		c.Flush()
		seq++
		if !c.Answered(dest, seq) {
			t.Fatal("not waited for")
		}
	}); n >= 1 {
		t.Errorf("%v allocations for a delivery", n)
	}
}

// echoer is an application that answers OPTIONS and counts.
type echoer struct {
	mu     sync.Mutex
	opened []*Conn
	closed []string
	seen   chan *Conn
	server *Server // of pair
}

func (e *echoer) Opened(c *Conn) {
	e.mu.Lock()
	e.opened = append(e.opened, c)
	e.mu.Unlock()
	if e.seen != nil {
		e.seen <- c
	}
}

func (e *echoer) Message(c *Conn, m *Message) {
	status := 200
	if m.Err != nil {
		status = m.Err.Status
	}
	c.Answer(AppendBody(m.AppendEcho(AppendStatus(nil, status, "x"), "t"), "", nil))
}

func (e *echoer) Closed(_ *Conn, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = append(e.closed, reason)
}

func (e *echoer) Refused(reason string) { e.Closed(nil, "refused "+reason) }

func (e *echoer) reasons() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.closed, ",")
}

// pair returns a connected client and the server's side of it.
func pair(t *testing.T) (net.Conn, *Conn, *echoer) {
	t.Helper()
	return pairWith(t, Limits{})
}

func pairWith(t *testing.T, limits Limits) (net.Conn, *Conn, *echoer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echoer{seen: make(chan *Conn, 10)}
	s := NewServer(limits, e)
	e.server = s
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, nil, nil) }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := <-e.seen
	t.Cleanup(func() {
		client.Close()
		s.StopAccepting()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Wait(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return client, c, e
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// TestOverflow: a peer that does not read is closed when either bound of its queue is passed, and the queue is freed.
func TestOverflow(t *testing.T) {
	for name, size := range map[string]int{"bytes": 8000, "entries": 10} {
		t.Run(name, func(t *testing.T) {
			client, c, e := pair(t)
			client.(*net.TCPConn).SetReadBuffer(4096) // what the kernel takes is not what this is about
			c.tcp.(*net.TCPConn).SetWriteBuffer(4096)
			pay := NewPayload("text/plain", bytes.Repeat([]byte("x"), size))
			dest := NewDest(" sip:a@b SIP/2.0\r\nVia: b", "\r\nCSeq: ")
			sent := 0
			for c.Post(dest, pay) {
				if c.Flush(); sent > 1_000_000 {
					t.Fatal("the queue has no bound")
				}
				if sent++; sent%maxUnanswered == maxUnanswered-1 { // answers keep coming: that bound is another test
					for seq := sent - maxUnanswered + 1; seq <= sent; seq++ {
						c.Answered(dest, uint32(seq))
					}
				}
			}
			eventually(t, "closed", func() bool { return e.reasons() != "" })
			if got := e.reasons(); got != ClosedOverflow {
				t.Errorf("closed as %q after %d", got, sent)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.queue != nil || c.rest != nil || c.queued != [kinds]backlog{} {
				t.Errorf("%d entries, %v are kept", len(c.queue), c.queued)
			}
		})
	}
}

// TestBudgets: one message never closes a healthy connection, however long it is, and neither do replies that wait while
// somebody else says something.
func TestBudgets(t *testing.T) {
	client, c, e := pair(t)
	c.mu.Lock()
	c.raw = nil // as on TLS: a goroutine of its own writes, when it gets to run
	c.mu.Unlock()
	dest := NewDest(" sip:a@b SIP/2.0\r\nVia: b", "\r\nCSeq: ")
	pay := func(size int) *Payload { return NewPayload("text/plain", bytes.Repeat([]byte("x"), size)) }
	long := 2 * budgets[posted].bytes
	if !c.Post(dest, pay(long)) {
		t.Fatalf("one message of %d bytes closed the connection: %q", long, e.reasons())
	}
	client.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.ReadFull(client, make([]byte, long)); err != nil {
		t.Fatal(err)
	}
	client.(*net.TCPConn).SetReadBuffer(4096) // from here on he reads nothing
	c.tcp.(*net.TCPConn).SetWriteBuffer(4096)
	behind := func() backlog { c.mu.Lock(); defer c.mu.Unlock(); return c.queued[asked] }
	for behind().bytes <= budgets[posted].bytes {
		if !c.Reply(dest, pay(64<<10)) {
			t.Fatalf("closed: %q", e.reasons())
		}
	}
	if !c.Post(dest, pay(100)) {
		t.Errorf("a message behind %+v of replies closed the connection: %q", behind(), e.reasons())
	}
}

// TestNoAnswers: a peer that reads and never answers is closed at a bound too.
func TestNoAnswers(t *testing.T) {
	client, c, e := pair(t)
	go io.Copy(io.Discard, client) //nolint:errcheck // until the test ends
	dest := NewDest(" sip:a@b SIP/2.0\r\nVia: b", "\r\nCSeq: ")
	pay := NewPayload("text/plain", []byte("x"))
	n := 0
	for ; c.Post(dest, pay); n++ {
		c.Flush()
		if n%100 == 99 {
			eventually(t, "written", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return !c.writing && len(c.queue) == c.head })
		}
	}
	eventually(t, "closed", func() bool { return e.reasons() != "" })
	if got := e.reasons(); got != ClosedUnanswered || n != maxUnanswered {
		t.Errorf("closed as %q after %d", got, n)
	}
}

// TestSenders: eight goroutines send on one dialog; numbers leave in order, each once, and no message is torn.
func TestSenders(t *testing.T) {
	client, c, _ := pair(t)
	dest := NewDest(" sip:a@b SIP/2.0\r\nVia: b", "\r\nCSeq: ")
	const each = 200
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			pay := NewPayload("text/plain", bytes.Repeat([]byte("y"), 300))
			for range each {
				c.Reply(dest, pay)
				c.Flush()
			}
		})
	}
	one := len(NewPayload("text/plain", bytes.Repeat([]byte("y"), 300)).tail)
	got := make([]byte, 0, 1<<20)
	buf := make([]byte, 64<<10)
	want := 0
	for seq := 1; seq <= 8*each; seq++ {
		want += len(dest.appendHead(nil, "INFO", uint32(seq))) + one
	}
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	for len(got) < want {
		n, err := client.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			t.Fatalf("%v after %d of %d bytes", err, len(got), want)
		}
	}
	wg.Wait()
	for seq := 1; seq <= 8*each; seq++ {
		head := dest.appendHead(nil, "INFO", uint32(seq))
		if !bytes.HasPrefix(got, head) {
			t.Fatalf("message %d: %q", seq, got[:min(len(got), 100)])
		}
		got = got[len(head)+one:]
	}
}

// TestFinish: what is queued arrives before the end of the connection.
func TestFinish(t *testing.T) {
	client, c, e := pair(t)
	for range 100 {
		c.Send(bytes.Repeat([]byte("z"), 5000))
	}
	c.Finish("done")
	c.Finish("again")
	if c.Send([]byte("late")) || c.Open() {
		t.Error("a message is taken after the end")
	}
	got, err := io.ReadAll(client)
	if err != nil || len(got) != 100*5000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	client.Close()
	eventually(t, "closed", func() bool { return e.reasons() == "done" })
}

// TestTimeLimits: the sweep closes who is silent, half done, or not known in time.
func TestTimeLimits(t *testing.T) {
	limits := Limits{Idle: time.Minute, Half: 20 * time.Second, First: 10 * time.Second}
	for _, c := range []struct {
		name, send string
		known      bool
		after      time.Duration
		want       string
	}{
		{"fresh", "", false, 9 * time.Second, ""},
		{"not known", "", false, 11 * time.Second, ClosedSilent},
		{"known", "", true, 11 * time.Second, ""},
		{"half a message", options[:50], true, 21 * time.Second, ClosedHalf},
		{"half a ping is no message", "\r\n", true, 21 * time.Second, ""},
		{"whole message", options, true, 21 * time.Second, ""},
		{"idle", options, true, 61 * time.Second, ClosedIdle},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, conn, _ := pairWith(t, limits)
			if c.known {
				conn.Known()
			}
			opened := conn.lastRead.Load()
			if c.send != "" {
				if _, err := client.Write([]byte(c.send)); err != nil {
					t.Fatal(err)
				}
				eventually(t, "read", func() bool { return conn.lastRead.Load() != opened })
				if strings.HasPrefix(c.name, "half a m") {
					eventually(t, "noticed", func() bool { return conn.halfSince.Load() != 0 })
				}
			}
			if got := conn.overdue(time.Now().Add(c.after), &limits); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestBusyIsNotHalf: on a connection where each read ends in the middle of a message, and brings the rest of one before it,
// none is half for long.
func TestBusyIsNotHalf(t *testing.T) {
	client, conn, _ := pairWith(t, Limits{})
	got := make([]byte, 1000)
	part := func(s string) int64 {
		t.Helper()
		was := conn.lastRead.Load()
		if _, err := client.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "read", func() bool { return conn.lastRead.Load() != was })
		eventually(t, "noticed", func() bool { h := conn.halfSince.Load(); return h != 0 && h == conn.lastRead.Load() })
		return conn.halfSince.Load()
	}
	first := part(options[:50])
	if second := part(options[50:] + options[:50]); second <= first {
		t.Errorf("half since %d, after a whole message since %d", first, second)
	}
	if n, err := client.Read(got); n == 0 {
		t.Error(err)
	}
}

// TestAdmission: more connections than allowed are refused, and places come back.
func TestAdmission(t *testing.T) {
	client, c, e := pairWith(t, Limits{Unknown: 1})
	addr := client.RemoteAddr().String()
	second, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if n, err := second.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
	if got := e.reasons(); got != "refused too_many_unknown" {
		t.Errorf("%q", got)
	}
	c.Known()
	third, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := third.Write([]byte(options)); err != nil {
		t.Fatal(err)
	}
	if n, err := third.Read(make([]byte, 1000)); n == 0 {
		t.Error(err)
	}
}
