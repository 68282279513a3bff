package sipfront_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/siptest"
)

// TestRoute: what the server sends in a dialog goes back over the INVITE's connection, whatever Contact says, with the
// route of the INVITE, to its Contact, from the URI it was sent to.
func TestRoute(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	invite := request("INVITE", "sip:OCSCHAT@contoso.test", 1, "", "Record-Route: <sip:p1.test;lr>", "Record-Route: <sip:p2.test;lr>, <sip:p3.test;lr>",
		"Contact: <sip:alice@192.0.2.1:5999;opaque=x;gruu>;proxy=replace", "Supported: 100rel, timer")
	w.send("%s", invite)
	m := w.want(200)
	if got := fmt.Sprint(m.Headers("Record-Route")); got != "[<sip:p1.test;lr> <sip:p2.test;lr>, <sip:p3.test;lr>]" {
		t.Errorf("%s", got)
	}
	if m.Header("Session-Expires") != "1800;refresher=uac" || m.Header("Require") != "timer" || !strings.Contains(string(m.Body), "m=message") {
		t.Errorf("%s", m)
	}
	to := m.Header("To")
	w.send("%s", inDialog(to, "INFO", 2, command(1, "cmd:requri", "")))
	w.want(200)
	info := w.read()
	if info.Start != "INFO sip:alice@192.0.2.1:5999;opaque=x;gruu SIP/2.0" || fmt.Sprint(info.Headers("Route")) != "[<sip:p1.test;lr> <sip:p2.test;lr>, <sip:p3.test;lr>]" ||
		info.Header("From") != strings.Replace(to, "sip:parley@contoso.test", "sip:OCSCHAT@contoso.test", 1) || info.Header("To") != "<sip:alice@contoso.test>;tag=t1;epid=e1" {
		t.Errorf("%s", info)
	}
	w.ok(info)
	w.send("%s", change(inDialog(to, "INVITE", 3, ""), "Max-Forwards", "Max-Forwards: 10")) // a refresh
	if again := w.want(200); again.Header("To") != to || again.Header("Session-Expires") == "" {
		t.Errorf("%s", again)
	}
	w.send("%s", request("CANCEL", poolURI, 1, "")) // too late: the INVITE is answered
	w.want(200)
	w.send("%s", inDialog(to, "BYE", 4, ""))
	w.want(200)
	w.send("%s", inDialog(to, "BYE", 5, ""))
	w.want(481)
}

// TestSessionInterval: the session timer is no longer than was asked for, and who is to refresh does.
func TestSessionInterval(t *testing.T) {
	s := serve(t, nil)
	for _, c := range []struct{ asked, got string }{
		{"Session-Expires: 600", "600;refresher=uac"},
		{"Session-Expires: 7200;refresher=uac", "1800;refresher=uac"},
		{"Session-Expires: 600;refresher=uas", "600;refresher=uas"},
	} {
		w := s.wire()
		w.send("%s", request("INVITE", poolURI, 1, "", c.asked, "Supported: timer"))
		m := w.want(200)
		if got := m.Header("Session-Expires"); got != c.got {
			t.Errorf("%s: %s, want %s", c.asked, got, c.got)
		}
		w.send("%s", inDialog(m.Header("To"), "UPDATE", 2, ""))
		if got := w.want(200).Header("Session-Expires"); got != "1800" {
			t.Errorf("a refresh that asks for nothing: %s", got)
		}
		w.send("%s", change(inDialog(m.Header("To"), "UPDATE", 3, ""), "Max-Forwards", "Session-Expires: 60"))
		w.want(422)
		w.send("%s", change(inDialog(m.Header("To"), "INVITE", 4, ""), "Max-Forwards", c.asked+"\r\nSupported: timer"))
		w.want(200)
		now := time.Now()
		s.front.SweepDialogs(now.Add(5*time.Minute + time.Second))
		if c.got == "600;refresher=uas" {
			u := w.read()
			if u.Method() != "UPDATE" || u.Header("Session-Expires") != "600;refresher=uac" || u.Header("Contact") != "<"+poolURI+">" {
				t.Fatalf("%s", u)
			}
			w.ok(u)
		}
		w.send("%s", inDialog(m.Header("To"), "UPDATE", 5, ""))
		if m := w.read(); m.Status() != 200 {
			t.Errorf("%s: %s", c.asked, m)
		}
		w.conn.Close()
	}
	w := s.wire()
	w.send("%s", request("INVITE", poolURI, 1, "", "Session-Expires: 600"))
	w.want(200)
	s.front.SweepDialogs(time.Now().Add(11 * time.Minute))
	if m := w.read(); m == nil || m.Method() != "BYE" {
		t.Errorf("a session that was not refreshed: %v", m)
	}
}

// TestEndpoint: the device is epid, else the instance of the registration, else the host.
func TestEndpoint(t *testing.T) {
	s := serve(t, nil)
	for i, c := range []struct{ from, contact, want string }{
		{"<sip:alice@contoso.test>;tag=1;epid=ABC", `<sip:x@y>;+sip.instance="<urn:uuid:1>"`, "abc"},
		{"<sip:alice@contoso.test>;tag=1", `<sip:x@y>;+sip.instance="<urn:uuid:1>"`, "urn:uuid:1"},
		{"<sip:alice@contoso.test>;tag=1", "<sip:x@y>", "host:127.0.0.1"},
	} {
		w := s.wire()
		from := func(r string) string { return change(r, "From", "From: "+c.from) }
		w.send("%s", from(change(register(1), "Contact", "Contact: "+c.contact)))
		w.want(200)
		w.send("%s", from(request("INVITE", poolURI, 1, "")))
		to := w.want(200).Header("To")
		w.send("%s", from(inDialog(to, "INFO", 2, joinBody(1, lobby))))
		w.info()
		joined := s.ofKind(event.KindJoined)
		if got := joined[len(joined)-1].Event.(*event.Joined).Endpoint; len(joined) != i+1 || string(got) != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// together has commands decided in one batch, in the order of the calls, so that no dialog sees what is in between.
func (s *server) together(calls ...func()) {
	s.t.Helper()
	s.gate.Lock()
	defer s.gate.Unlock()
	for _, call := range calls {
		n := s.seen.Load()
		call()
		eventually(s.t, "submitted", func() bool { return s.seen.Load() > n })
	}
}

// TestJoinOvertaken: what happens between the commit of a join and its reply decides what the reply says.
func TestJoinOvertaken(t *testing.T) {
	for _, early := range []bool{false, true} {
		s := serve(t, nil)
		s.early.Store(early)
		_, id, _ := chat.ParseRoomURI(ops)
		room, _ := s.State().Room(id)

		w := s.wire() // put out before he could be told that he is in
		to := w.open()
		kicked := make(chan error, 1)
		s.together(
			func() { w.send("%s", inDialog(to, "INFO", 2, joinBody(1, ops))) },
			func() {
				go func() {
					_, err := s.run(admin, &chat.ChangeRoom{ID: id, Info: room.Info, Access: []event.Access{{Principal: aliceURI}}})
					kicked <- err
				}()
			})
		if it := w.info().Items[0]; it.ID != "rpl:join" || it.Code != 403 {
			t.Errorf("%+v", it)
		}
		if err := <-kicked; err != nil {
			t.Fatal(err)
		}
		if n := len(s.ofKind(event.KindParted)); n != 1 {
			t.Errorf("%d parted", n)
		}

		// left again before he could be told: both replies are good, and nothing is heard
		s.together(
			func() { w.send("%s", inDialog(to, "INFO", 3, joinBody(2, lobby))) },
			func() { w.send("%s", inDialog(to, "INFO", 4, command(3, "cmd:part", `<chanib uri="`+lobby+`"/>`))) })
		for _, want := range []string{"rpl:join", "rpl:part"} {
			if it := w.info().Items[0]; it.ID != want || it.Code != 200 {
				t.Errorf("%+v, want %s", it, want)
			}
		}
		b := s.client("bob")
		b.Join(lobby)
		b.Post(lobby, "x")
		b.Expect(lobby, "x")
		check(t, b)
		w.send("%s", inDialog(to, "INFO", 5, command(4, "cmd:requri", "")))
		if it := w.info().Items[0]; it.ID != "rpl:requri" {
			t.Errorf("%+v", it)
		}
	}
}

// TestManyPosts: an INFO may hold several posts and commands; it is answered when all is decided, with the first error.
func TestManyPosts(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	to := w.open()
	post := func(room, text string) string {
		return `<grpchat id="grpchat" seqid="` + fmt.Sprint(len(text)) + `" chanUri="` + room + `" author="` + aliceURI + `" ts="2026-01-02T03:04:05Z"><chat>` + text + `</chat></grpchat>`
	}
	envelope := func(env int, items ...string) string {
		return fmt.Sprintf(`<xccos ver="1" envid="%d" xmlns="urn:parlano:xml:ns:xccos">%s</xccos>`, env, strings.Join(items, ""))
	}
	join := `<cmd id="cmd:join" seqid="9"><data><chanid key="0" domain="contoso.test" value="` + siptest.RoomID(lobby) + `"/></data></cmd>`
	w.send("%s", inDialog(to, "INFO", 2, envelope(1, post(lobby, "a"), join, post(lobby, "bb"))))
	w.want(200)
	if it := w.info().Items[0]; it.ID != "rpl:join" || it.Ref.Seq != "9" {
		t.Errorf("%+v", it)
	}
	w.send("%s", inDialog(to, "INFO", 3, envelope(2, post(lobby, "ccc"), post(board, "dddd"), post(lobby, "eeeee"))))
	w.want(404)
	if n := len(s.messagesOf(lobby)); n != 4 {
		t.Errorf("%d messages", n)
	}
}

// TestLongHistory: a long history is cut to its newest part.
func TestLongHistory(t *testing.T) {
	s := serve(t, nil)
	a := s.client("alice")
	a.Join(lobby)
	text := strings.Repeat("y", 7900)
	for i := range 40 {
		if st := a.Post(lobby, fmt.Sprint(i, " ", text)); st != 200 {
			t.Fatal(st)
		}
	}
	h := a.History(lobby, 40)
	check(t, a)
	if len(h) < 10 || len(h) > 16 || !strings.HasPrefix(h[len(h)-1].Text, "39 ") || h[0].ChatID != uint64(41-len(h)) {
		t.Errorf("%d messages, the first %d", len(h), h[0].ChatID)
	}
	if h := a.History(lobby, 3); len(h) != 3 || h[0].ChatID != 38 {
		t.Errorf("%d messages", len(h))
	}
	if h := a.History(lobby, 0); len(h) == 0 { // the default
		t.Error("nothing")
	}
	d := s.client("dave")
	if it := d.Command("cmd:bccontext", nil); it == nil || it.Code != 400 {
		t.Errorf("%+v", it)
	}
}

// TestReadOnce: a read whose answer was lost is repeated on a new connection: it is one read, with the answer that was
// lost. A read of its own number sees what is new.
func TestReadOnce(t *testing.T) {
	s := serve(t, nil)
	b := s.client("bob")
	b.Join(lobby)
	b.Post(lobby, "first")
	check(t, b)
	read := func(env int) string {
		w := s.wire()
		defer w.conn.Close()
		to := w.open()
		w.send("%s", inDialog(to, "INFO", 2, command(env, "cmd:bccontext", `<chanib uri="`+lobby+`"/><bcq><last cnt="25"/></bcq>`)))
		it := w.info().Items[0]
		if it.ID != "rpl:bccontext" || it.Code != 200 || len(it.Data.Chans) != 1 {
			t.Fatalf("%+v", it)
		}
		text := ""
		for _, p := range it.Data.Chans[0].Posts {
			text += p.Text + " "
		}
		return text
	}
	if got := read(1); got != "first " {
		t.Errorf("%q", got)
	}
	b.Post(lobby, "second")
	check(t, b)
	if got := read(1); got != "first " {
		t.Errorf("repeated: %q", got)
	}
	if n := len(s.ofKind(event.KindHistoryRead)); n != 1 {
		t.Errorf("%d reads in the log, want 1", n)
	}
	if got := read(2); got != "first second " {
		t.Errorf("anew: %q", got)
	}
	if n := len(s.ofKind(event.KindHistoryRead)); n != 2 {
		t.Errorf("%d reads in the log, want 2", n)
	}
}
