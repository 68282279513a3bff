package sipfront_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/sipfront"
	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

// wire is a connection without a client on it: the test writes every byte.
type wire struct {
	t     testing.TB
	conn  net.Conn
	r     *bufio.Reader
	pongs int
	infos []*siptest.Message // that came while an answer was waited for
}

func (s *server) wire() *wire {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return &wire{t: s.t, conn: c, r: bufio.NewReader(c)}
}

func (w *wire) send(format string, args ...any) {
	w.t.Helper()
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	if _, err := w.conn.Write([]byte(text)); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// read returns the next message, nil if the connection ends.
func (w *wire) read() *siptest.Message {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	m, err := siptest.ReadMessage(w.r, &w.pongs)
	if err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			w.t.Fatalf("nothing came within 30 s")
		}
		return nil
	}
	return m
}

// answer returns the next message that is an answer, and gives 200 to the requests before it.
func (w *wire) answer() *siptest.Message {
	w.t.Helper()
	for {
		m := w.read()
		if m == nil || m.Status() != 0 {
			return m
		}
		w.ok(m)
		w.infos = append(w.infos, m)
	}
}

// info returns the next envelope from the server.
func (w *wire) info() *xccos.Envelope {
	w.t.Helper()
	for {
		var m *siptest.Message
		if len(w.infos) > 0 {
			m, w.infos = w.infos[0], w.infos[1:]
		} else if m = w.read(); m == nil {
			w.t.Fatal("the connection ended")
		} else if m.Status() != 0 {
			continue
		} else {
			w.ok(m)
		}
		env, err := xccos.DecodeServer(m.Body)
		if err != nil {
			w.t.Fatalf("%v in %s", err, m)
		}
		return env
	}
}

func (w *wire) ok(m *siptest.Message) {
	w.t.Helper()
	var b strings.Builder
	b.WriteString("SIP/2.0 200 OK\r\n")
	for _, h := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
		b.WriteString(h + ": " + m.Header(h) + "\r\n")
	}
	w.send("%s", b.String()+"Content-Length: 0\r\n\r\n")
}

// want reads an answer and checks its status.
func (w *wire) want(status int) *siptest.Message {
	w.t.Helper()
	m := w.answer()
	if m == nil {
		w.t.Fatalf("the connection ended, want %d", status)
	}
	if m.Status() != status {
		w.t.Fatalf("got %s\nwant %d", m, status)
	}
	return m
}

// closed checks that the server closes the connection.
func (w *wire) closed() {
	w.t.Helper()
	if m := w.answer(); m != nil {
		w.t.Fatalf("got %s\nwant the end of the connection", m)
	}
}

// request builds a request; lines go before Content-Length.
func request(method, uri string, seq int, body string, lines ...string) string {
	all := append([]string{method + " " + uri + " SIP/2.0", "Via: SIP/2.0/TCP 127.0.0.1:5060",
		"From: <sip:alice@contoso.test>;tag=t1;epid=e1", "To: <" + uri + ">", "Call-ID: c1", "CSeq: " + strconv.Itoa(seq) + " " + method,
		"Max-Forwards: 70"}, lines...)
	return strings.Join(all, "\r\n") + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// change replaces a header line of a request.
func change(req, name, line string) string {
	i := strings.Index(req, "\r\n"+name+":")
	j := strings.Index(req[i+2:], "\r\n") + i + 2
	if line != "" {
		line = "\r\n" + line
	}
	return req[:i] + line + req[j:]
}

// open opens a chat dialog as alice and returns the To value with our tag.
func (w *wire) open() string {
	w.t.Helper()
	w.send("%s", request("INVITE", poolURI, 1, ""))
	to := w.want(200).Header("To")
	w.send("%s", change(request("ACK", poolURI, 1, ""), "To", "To: "+to))
	return to
}

func inDialog(to, method string, seq int, body string) string {
	return change(request(method, poolURI, seq, body), "To", "To: "+to)
}

func command(env int, id, data string) string {
	return fmt.Sprintf(`<xccos ver="1" envid="%d" xmlns="urn:parlano:xml:ns:xccos"><cmd id="%s" seqid="1"><data>%s</data></cmd></xccos>`, env, id, data)
}

func joinBody(env int, room string) string {
	return command(env, "cmd:join", `<chanid key="0" domain="contoso.test" value="`+siptest.RoomID(room)+`"/>`)
}

func postBody(env int, room, author, text string) string {
	return fmt.Sprintf(`<xccos ver="1" envid="%d" xmlns="urn:parlano:xml:ns:xccos"><grpchat id="grpchat" seqid="1" chanUri="%s" author="%s" ts="2026-01-02T03:04:05Z"><chat>%s</chat></grpchat></xccos>`, env, room, author, text)
}

const aliceURI = "sip:alice@contoso.test"

// TestOpenClient replays, byte for byte, what the one open client sent from sign-in to sign-off in a recorded run:
// pidgin-sipe 1.25.0, with the names of this test's rooms and service put in.
func TestOpenClient(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) { c.ChatURI = "sip:parley-1@contoso.test" })
	bob := s.client("bob") // joins and posts as the second user of the recording does
	raw, err := os.ReadFile("testdata/sipe.txt")
	if err != nil {
		t.Fatal(err)
	}
	w := s.wire()
	tags := map[string]string{}
	replies := map[string]int{}
	posts := 0
	for _, step := range strings.Split(string(raw), "\n=====\n") {
		m, err := siptest.ReadMessage(bufio.NewReader(strings.NewReader(step)), nil)
		if err != nil {
			t.Fatal(err)
		}
		id := m.Header("Call-ID")
		w.send("%s", strings.ReplaceAll(step, "{tag}", tags[id]))
		if m.Method() == "ACK" {
			continue
		}
		a := w.want(200)
		if a.Header("CSeq") != m.Header("CSeq") || a.Header("Call-ID") != id || a.Header("Via") != m.Header("Via") {
			t.Fatalf("answer %s\nto %s", a, m)
		}
		if _, tag, ok := strings.Cut(a.Header("To"), ";tag="); ok {
			if tags[id] != "" && tags[id] != tag && m.Method() != "REGISTER" {
				t.Fatalf("To tag changed: %s", a)
			}
			tags[id] = tag
		}
		switch {
		case m.Method() == "REGISTER":
			checkRegistered(t, m, a)
		case m.Method() == "SUBSCRIBE" && !strings.Contains(m.Header("To"), "tag="):
			if a.Header("Event") != m.Header("Event") || a.Header("ms-piggyback-cseq") == "" || len(a.Body) == 0 {
				t.Errorf("%s", a)
			}
			if strings.Contains(m.Header("Event"), "provisioning") && !strings.Contains(string(a.Body), `<property name="EnablePersistentChat">true</property>`) {
				t.Errorf("%s", a)
			}
		case m.Method() == "INVITE":
			if a.Header("Session-Expires") != "1800" || !strings.HasPrefix(a.Header("To"), m.Header("To")) {
				t.Errorf("%s", a)
			}
		case m.Method() == "INFO":
			env := w.info()
			if env.Items[0].Kind == xccos.GrpChat {
				posts++
				continue
			}
			it := env.Items[0]
			if want, _ := xccos.Decode(m.Body); it.Ref.EnvID != want.EnvID || it.Code == 0 {
				t.Errorf("reply %+v to %s", it, m.Body)
			}
			replies[it.ID+" "+strconv.Itoa(it.Code)]++
			if it.ID == "rpl:requri" && it.Data.Users[0].URI != "sip:parley-1@contoso.test" {
				t.Errorf("requri: %+v", it.Data.Users)
			}
		}
	}
	want := map[string]int{"rpl:requri 200": 1, "rpl:getinv 200": 1, "rpl:chansrch 200": 1, "rpl:join 200": 2, "rpl:bccontext 200": 2,
		"rpl:join 404": 1, "rpl:part 200": 2}
	if fmt.Sprint(replies) != fmt.Sprint(want) || posts != 2 {
		t.Errorf("replies %v, want %v; %d posts came back, want 2", replies, want, posts)
	}
	check(t, bob)
	eventually(t, "alice is parted", func() bool { return !s.joined(lobby, "alice") && !s.joined(ops, "alice") })
}

// checkRegistered checks the 200 to REGISTER against what the open client reads.
func checkRegistered(t *testing.T, m, a *siptest.Message) {
	t.Helper()
	if m.Header("Expires") == "0" || strings.Contains(m.Header("Contact"), "expires=0") {
		return
	}
	n, err := strconv.Atoi(a.Header("Expires"))
	if err != nil || n <= 0 {
		t.Errorf("Expires %q", a.Header("Expires"))
	}
	alone := false
	for _, v := range a.Headers("Supported") {
		alone = alone || v == "msrtc-event-categories"
	}
	if !alone {
		t.Errorf("Supported %q", a.Headers("Supported"))
	}
	events := a.Header("Allow-Events")
	if strings.ContainsAny(events, " \t") || !strings.Contains(","+events+",", ",vnd-microsoft-provisioning-v2,") {
		t.Errorf("Allow-Events %q", events)
	}
	if c := a.Header("Contact"); !strings.Contains(c, `+sip.instance="<urn:uuid:0e324752-e1ab-56eb-8f4a-267c85a97459>"`) || !strings.Contains(c, `gruu="sip:alice@contoso.test;opaque=`) {
		t.Errorf("Contact %q", c)
	}
}

// TestSegmentation cuts a conversation at every byte: what comes back must not depend on where the network cut it.
func TestSegmentation(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	folded := strings.Replace(request("OPTIONS", poolURI, 3, ""), "Max-Forwards: 70", "Subject: folded\r\n \t line\r\nMax-Forwards: 70", 1)
	script := "\r\n" + request("OPTIONS", poolURI, 1, "") + "\r\n\r\n" + folded + "\r\n\r\n\r\n" +
		request("MESSAGE", poolURI, 4, "hello", "Content-Type: text/plain") + change(request("OPTIONS", poolURI, 5, ""), "To", "") +
		request("REGISTER", "sip:contoso.test", 6, "", "Expires: 0") + change(request("OPTIONS", poolURI, 7, ""), "Content-Length", "Content-Length: x")
	run := func(cut int) string {
		w := s.wire()
		w.send("%s", script[:cut])
		if cut > 0 {
			time.Sleep(200 * time.Microsecond) // let the halves arrive apart: only a hint, the test is right without it
		}
		w.send("%s", script[cut:])
		var b strings.Builder
		for m := w.read(); m != nil; m = w.read() {
			fmt.Fprintf(&b, "%s %s\n", m.Start, m.Header("CSeq"))
		}
		fmt.Fprintf(&b, "%d pongs\n", w.pongs)
		return b.String()
	}
	want := run(0)
	expected := "SIP/2.0 200 OK 1 OPTIONS\nSIP/2.0 200 OK 3 OPTIONS\nSIP/2.0 405 Method Not Allowed 4 MESSAGE\n" +
		"SIP/2.0 400 Missing To 5 OPTIONS\nSIP/2.0 403 Third-Party Registration 6 REGISTER\nSIP/2.0 400 Malformed Content-Length 7 OPTIONS\n2 pongs\n"
	if want != expected {
		t.Fatalf("got\n%swant\n%s", want, expected)
	}
	step := 1
	if testing.Short() {
		step = 17
	}
	for cut := 1; cut < len(script); cut += step {
		if got := run(cut); got != want {
			t.Fatalf("cut at %d (...%q | %q...):\n%swant\n%s", cut, script[max(cut-20, 0):cut], script[cut:min(cut+20, len(script))], got, want)
		}
	}
}

// TestByteByByte sends a message one byte at a time.
func TestByteByByte(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	for _, b := range []byte(request("OPTIONS", poolURI, 1, "")) {
		w.send("%s", string(b))
	}
	w.want(200)
}

// TestPipelined sends 100 posts at once and expects answers and echoes in their order.
func TestPipelined(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	to := w.open()
	w.send("%s", inDialog(to, "INFO", 2, joinBody(1, lobby)))
	w.want(200)
	if env := w.info(); env.Items[0].ID != "rpl:join" || env.Items[0].Code != 200 {
		t.Fatalf("%+v", env.Items[0])
	}
	var b strings.Builder
	for i := range 100 {
		b.WriteString(inDialog(to, "INFO", 3+i, postBody(2+i, lobby, aliceURI, strconv.Itoa(i))))
	}
	w.send("%s", b.String())
	answers, echoes := 2, 0 // CSeq of the last answer; how many echoes came
	for answers < 102 || echoes < 100 {
		m := w.read()
		if m == nil {
			t.Fatalf("the connection ended after %d answers and %d echoes", answers, echoes)
		}
		if m.Status() != 0 {
			if answers++; m.Status() != 200 || m.Header("CSeq") != strconv.Itoa(answers)+" INFO" {
				t.Fatalf("answer %d: %s", answers, m)
			}
			continue
		}
		w.ok(m)
		env, err := xccos.DecodeServer(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		echoes++
		if p := env.Items[0].Post; p == nil || p.Text != strconv.Itoa(echoes-1) || m.Header("CSeq") != strconv.Itoa(echoes+1)+" INFO" {
			t.Fatalf("echo %d: %s", echoes, m)
		}
	}
}
