package sipfront_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/log/event"
	"parley/sipfront"
	"parley/sipfront/siptest"
)

// udpPeer is a client over UDP, by hand.
type udpPeer struct {
	t    *testing.T
	conn net.Conn
}

func (u *udpPeer) send(s string) {
	u.t.Helper()
	if _, err := u.conn.Write([]byte(s)); err != nil {
		u.t.Fatal(err)
	}
}

func (u *udpPeer) read() string {
	u.t.Helper()
	u.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, 65536)
	n, err := u.conn.Read(b)
	if err != nil {
		u.t.Fatal(err)
	}
	return string(b[:n])
}

// next returns the next message that begins with want, and answers nothing.
func (u *udpPeer) next(want string) string {
	u.t.Helper()
	for {
		if m := u.read(); strings.HasPrefix(m, want) {
			return m
		}
	}
}

// answerTo is a 200 to a request.
func answerTo(m string) string {
	head, _, _ := strings.Cut(m, "\r\n\r\n")
	answer := "SIP/2.0 200 OK\r\n"
	for _, l := range strings.Split(head, "\r\n")[1:] {
		switch name, _, _ := strings.Cut(l, ":"); name {
		case "Via", "From", "To", "Call-ID", "CSeq":
			answer += l + "\r\n"
		}
	}
	return answer + "Content-Length: 0\r\n\r\n"
}

// until returns the first message that contains want, and answers the requests before and at it.
func (u *udpPeer) until(want string) string {
	u.t.Helper()
	for range 50 {
		m := u.read()
		if strings.HasPrefix(m, "INFO ") {
			u.send(answerTo(m))
		}
		if strings.Contains(m, want) {
			return m
		}
	}
	u.t.Fatalf("no message with %q", want)
	return ""
}

// peers gives a server a listener for UDP, and a way to make peers on it.
func peers(t *testing.T, policy func(*sipfront.Config)) (s *server, dial func() (u *udpPeer, over func(string) string)) {
	s = serve(t, func(c *sipfront.Config) {
		c.Listeners = append(c.Listeners, sipfront.Listener{Network: "udp", Addr: "127.0.0.1:0", AllowUnchallenged: true})
		policy(c)
	})
	return s, func() (*udpPeer, func(string) string) {
		conn, err := net.Dial("udp", s.addrs[1].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		n := 0
		return &udpPeer{t, conn}, func(r string) string {
			n++
			return change(r, "Via", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK%d", conn.LocalAddr(), n))
		}
	}
}

// TestProveUDP: an address is no proof of who somebody is. Every request outside a dialog is authenticated.
func TestProveUDP(t *testing.T) {
	_, dial := peers(t, func(c *sipfront.Config) { c.Listeners[1].AllowUnchallenged = false })
	u, over := dial()
	ask := func(seq int, what string, credentials ...string) *siptest.Message {
		t.Helper()
		method, uri, _ := strings.Cut(what, " ")
		lines := append([]string{"Event: vnd-microsoft-roaming-self", "Expires: 600", "Contact: <sip:127.0.0.1:5060>"}, credentials...)
		u.send(over(change(request(method, uri, seq, "", lines...), "To", "To: <"+strings.Replace(uri, "sip:contoso", "sip:alice@contoso", 1)+">")))
		m, err := siptest.ReadMessage(bufio.NewReader(strings.NewReader(u.until(fmt.Sprint(seq, " ", method)))), nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for i, what := range []string{"REGISTER sip:contoso.test", "SERVICE " + aliceURI, "SUBSCRIBE " + aliceURI, "INVITE " + poolURI} {
		method, uri, _ := strings.Cut(what, " ")
		challenge := ask(2*i+1, what)
		if challenge.Status() != 401 {
			t.Errorf("%s without credentials: %s", what, challenge.Start)
			continue
		}
		if m := ask(2*i+2, what, digestOf(challenge, "SHA-256", method, uri, "00000001")); m.Status() != 200 {
			t.Errorf("%s: %s", what, m.Start)
		}
	}
}

// TestLoudUDP: neither strangers for whom there is no place nor a peer who is far over his rate keep the others from being
// heard.
func TestLoudUDP(t *testing.T) {
	const loud = 600
	s, dial := peers(t, func(c *sipfront.Config) {
		c.Limits.Unknown, c.LoopbackFlowRate, c.LoopbackFlowBurst = 1, 0.01, 30
	})
	alice, over := dial()
	alice.send(over(register(1)))
	alice.until("1 REGISTER")
	bob, overBob := dial()
	bob.send(strings.ReplaceAll(overBob(register(1)), "sip:alice@", "sip:bob@"))
	bob.until("1 REGISTER")
	first, overFirst := dial() // takes the one place for strangers
	first.send(overFirst(request("OPTIONS", poolURI, 1, "")))
	first.until("1 OPTIONS")
	stranger, overStranger := dial()
	for i := range loud {
		stranger.send(overStranger(request("OPTIONS", poolURI, i, "")))
		bob.send(overBob(request("OPTIONS", poolURI, 10+i, "")))
		if i%20 == 0 { // and she is answered all the time
			n := fmt.Sprint(i+2, " OPTIONS")
			alice.send(over(request("OPTIONS", poolURI, i+2, "")))
			if m := alice.until(n); !strings.HasPrefix(m, "SIP/2.0") {
				t.Fatal(m)
			}
		}
	}
	eventually(t, "nothing is kept of strangers", func() bool { return s.front.UDPPeers() <= 3 })
}

// TestPipelinedUDP: what a peer sends without waiting is handled in the order in which it came.
func TestPipelinedUDP(t *testing.T) {
	s, dial := peers(t, func(*sipfront.Config) {})
	u, over := dial()
	u.send(over(request("INVITE", poolURI, 1, "")))
	_, to, _ := strings.Cut(u.until("1 INVITE"), "\r\nTo: ")
	to, _, _ = strings.Cut(to, "\r\n")
	u.send(over(change(request("ACK", poolURI, 1, ""), "To", "To: "+to)))
	u.send(over(inDialog(to, "INFO", 2, joinBody(1, lobby))))
	u.until("rpl:join")
	const posts = 30
	for i := range posts {
		u.send(over(inDialog(to, "INFO", 3+i, postBody(2+i, lobby, aliceURI, fmt.Sprint(i)))))
	}
	for range posts {
		if m := u.until(" INFO\r\n"); strings.HasPrefix(m, "SIP/2.0") && !strings.HasPrefix(m, "SIP/2.0 200") {
			t.Error(m)
		}
	}
	eventually(t, "all are in the log", func() bool { return len(s.messagesOf(lobby)) == posts })
	for i, m := range s.messagesOf(lobby) {
		if m.Text != fmt.Sprint(i) {
			t.Errorf("message %d says %s", i, m.Text)
		}
	}
}

// TestUDP: chat over UDP works while its messages fit a datagram, and repetitions are recognised.
func TestUDP(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) {
		c.Listeners = append(c.Listeners, sipfront.Listener{Network: "udp", Addr: "127.0.0.1:0", AllowUnchallenged: true})
	})
	conn, err := net.Dial("udp", s.addrs[1].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	u := &udpPeer{t, conn}
	n := 0
	over := func(r string) string {
		n++
		return change(r, "Via", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK%d", conn.LocalAddr(), n))
	}
	u.send(over(request("OPTIONS", poolURI, 1, "")))
	u.until("SIP/2.0 200")
	u.send(over(register(2)))
	if m := u.until("REGISTER"); !strings.HasPrefix(m, "SIP/2.0 200") {
		t.Fatal(m)
	}
	invite := over(request("INVITE", poolURI, 3, ""))
	u.send(invite)
	m := u.until("INVITE")
	_, to, _ := strings.Cut(m, "\r\nTo: ")
	to, _, _ = strings.Cut(to, "\r\n")
	if !strings.HasPrefix(m, "SIP/2.0 200") || !strings.Contains(to, "tag=") {
		t.Fatal(m)
	}
	u.send(invite) // his answer was lost: he gets it once more, and no second dialog
	if again := u.until("INVITE"); again != m {
		t.Fatalf("%s\nafter %s", again, m)
	}
	u.send(over(change(request("ACK", poolURI, 3, ""), "To", "To: "+to)))
	u.send(over(inDialog(to, "INFO", 4, joinBody(1, announc))))
	if m := u.until("rpl:join"); !strings.Contains(m, `code="200"`) {
		t.Fatal(m)
	}
	post := over(inDialog(to, "INFO", 5, postBody(2, announc, aliceURI, "over UDP")))
	u.send(post)
	u.send(post)
	u.until("over UDP</chat>")
	eventually(t, "one post", func() bool { p := s.messagesOf(announc); return len(p) == 1 })
	bye := over(inDialog(to, "BYE", 6, ""))
	u.send(bye)
	u.until("6 BYE")
	u.send(bye)
	if m := u.until("6 BYE"); !strings.HasPrefix(m, "SIP/2.0 200") {
		t.Errorf("repeated: %s", m)
	}
	eventually(t, "parted", func() bool { return !s.joined(announc, "alice") })
	if n := len(s.messagesOf(announc)); n != 1 {
		t.Errorf("%d posts", n)
	}
	bob := s.client("bob") // and TCP beside it
	bob.Join(lobby)
	u.send(over(request("INVITE", poolURI, 7, "")))
	_, to, _ = strings.Cut(u.until("7 INVITE"), "\r\nTo: ")
	to, _, _ = strings.Cut(to, "\r\n")
	u.send(over(inDialog(to, "INFO", 8, joinBody(3, lobby))))
	bob.ExpectNotice("ntc:join", "alice@contoso.test")
	for range 10 {
		if st := bob.Post(lobby, strings.Repeat("x", 7000)); st != 200 {
			t.Errorf("%d", st)
		}
	}
	for range 10 {
		u.until("xxx</chat>")
	}
	// What does not fit a datagram ends the flow: alice has to come over TCP.
	u.send(over(inDialog(to, "INFO", 9, command(4, "cmd:bccontext", `<chanib uri="`+lobby+`"/><bcq><last cnt="25"/></bcq>`))))
	bob.ExpectNotice("ntc:part", "alice@contoso.test")
	check(t, bob)
}

// TestQuietUDP: who is quiet over UDP is asked whether he is still there. Who answers stays, however quiet, and who does
// not is parted within 32 s of his last word.
func TestQuietUDP(t *testing.T) {
	s := serve(t, func(c *sipfront.Config) {
		c.Listeners = append(c.Listeners, sipfront.Listener{Network: "udp", Addr: "127.0.0.1:0", AllowUnchallenged: true})
	})
	chat := func(user string) *udpPeer {
		conn, err := net.Dial("udp", s.addrs[1].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		u := &udpPeer{t, conn}
		n := 0
		over := func(r string) string {
			n++
			return strings.ReplaceAll(change(r, "Via", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK%s%d", conn.LocalAddr(), user, n)), "sip:alice@", "sip:"+user+"@")
		}
		u.send(over(request("INVITE", poolURI, 1, "")))
		_, to, _ := strings.Cut(u.until("1 INVITE"), "\r\nTo: ")
		to, _, _ = strings.Cut(to, "\r\n")
		u.send(over(change(request("ACK", poolURI, 1, ""), "To", "To: "+to)))
		u.send(over(inDialog(to, "INFO", 2, joinBody(1, announc))))
		if m := u.until("rpl:join"); !strings.Contains(m, `code="200"`) {
			t.Fatal(m)
		}
		u.send(over(inDialog(to, "UPDATE", 3, ""))) // when that is answered, all he said before has been heard
		u.until("3 UPDATE")
		return u
	}
	quiet, gone := chat("carol"), chat("bob")
	start := time.Now()
	s.front.SweepAt(start.Add(13 * time.Second))
	if n := metric(t, s.front, "parley_sip_probes_total"); n != 0 {
		t.Fatalf("%v are asked after 13 s", n)
	}
	s.front.SweepAt(start.Add(16 * time.Second))
	question := quiet.until("OPTIONS sip:carol") // behind the notice that bob came
	gone.next("OPTIONS ")                        // and does not answer
	alive := func(say string) {
		t.Helper()
		before := s.front.HeardFrom(quiet.conn.LocalAddr())
		quiet.send(say)
		eventually(t, "heard", func() bool { return !s.front.HeardFrom(quiet.conn.LocalAddr()).Equal(before) })
	}
	alive(answerTo(question))
	s.front.SweepAt(start.Add(32 * time.Second))
	eventually(t, "who does not answer is parted", func() bool { return !s.joined(announc, "bob") })
	if e := s.ofKind(event.KindParted); len(e) != 1 || e[0].Event.(*event.Parted).Reason != event.PartExpired {
		t.Errorf("%+v", e)
	}
	alive("\r\n\r\n") // a keep-alive: asked again, he shows that he is there by what is no answer
	s.front.SweepAt(start.Add(48 * time.Second))
	s.front.SweepAt(start.Add(64 * time.Second))
	eventually(t, "who shows no life any more is parted", func() bool { return !s.joined(announc, "carol") })
	if n := metric(t, s.front, "parley_sip_probes_total"); n != 4 {
		t.Errorf("%v questions, want 1 to bob and 3 to carol", n)
	}
}

// TestTalkUDP: two users talk over a network that loses every eleventh datagram. What one says the other hears, once and
// in order; so do those who come over TCP.
func TestTalkUDP(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *sipfront.Config) {
		c.Listeners = append(c.Listeners, sipfront.Listener{Network: "udp", Addr: "127.0.0.1:0", AllowUnchallenged: true})
	})
	over := func(o *siptest.Options) {
		n := 0
		o.Addr, o.UDP, o.Lose = s.addrs[1].String(), true, func() bool { n++; return n%11 == 0 }
	}
	alice, bob, carol := s.client("alice", over), s.client("bob", over), s.client("carol")
	all := []*siptest.Client{alice, bob, carol}
	for _, c := range all {
		c.Join(lobby)
	}
	check(t, all...)
	const posts = 3
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			for i := range posts {
				if st := c.Post(lobby, fmt.Sprint(c.User(), " ", i)); st != 200 {
					t.Errorf("%s: post %d: %d", c.User(), i, st)
				}
			}
		})
	}
	wg.Wait()
	var want []string
	for _, m := range s.messagesOf(lobby) {
		want = append(want, m.Text)
	}
	if len(want) != 3*posts {
		t.Errorf("%d messages", len(want))
	}
	for _, c := range all {
		var got []string
		for _, p := range c.WaitPosts(3 * posts) {
			got = append(got, p.Text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s heard %q\nwant %q", c.User(), got, want)
		}
	}
	if h := alice.History(lobby, 3); len(h) != 3 || h[2].Text != want[len(want)-1] {
		t.Errorf("history: %+v", h)
	}
	bob.Part(lobby)
	alice.ExpectNotice("ntc:part", "bob@contoso.test")
	bob.SignOut()
	alice.SignOut()
	check(t, all...)
	eventually(t, "alice is parted", func() bool { return !s.joined(lobby, "alice") })
}
