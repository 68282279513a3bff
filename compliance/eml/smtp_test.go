package eml_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/eml"
	"parley/log/event"
)

// mailbox is a small SMTP server that keeps one message for each Message-ID, as an archive does.
type mailbox struct {
	addr string
	mu   sync.Mutex
	got  []string // every message that was accepted
	kept map[string]string
	to   []string
	// before is asked before each answer: it may break the connection off (io.EOF) or refuse.
	before func(command string, n int) error
	count  map[string]int
}

func newMailbox(t *testing.T) *mailbox {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{addr: ln.Addr().String(), kept: map[string]string{}, count: map[string]int{}}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				m.serve(c)
			})
		}
	})
	return m
}

func (m *mailbox) serve(c net.Conn) {
	r, w := bufio.NewReader(c), c
	say := func(s string) { fmt.Fprintf(w, "%s\r\n", s) }
	say("220 mailbox")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.TrimSpace(line))
		if i := strings.IndexAny(verb, " :"); i > 0 {
			verb = verb[:i]
		}
		answer := "250 ok"
		data := ""
		switch verb {
		case "EHLO":
			answer = "250 8BITMIME"
		case "RCPT":
			m.mu.Lock()
			m.to = append(m.to, strings.TrimSpace(line))
			m.mu.Unlock()
		case "DATA":
			say("354 go on")
			b, err := io.ReadAll(textproto.NewReader(r).DotReader())
			if err != nil {
				return
			}
			data = string(b)
		case "QUIT":
			answer = "221 bye"
		}
		m.mu.Lock()
		m.count[verb]++
		fault, n := m.before, m.count[verb]
		m.mu.Unlock()
		var said error
		if fault != nil {
			said = fault(verb, n)
		}
		if data != "" && (said == nil || errors.Is(said, io.EOF)) { // taken, although the answer may be lost
			msg, err := mail.ReadMessage(strings.NewReader(data))
			if err != nil {
				say("554 " + err.Error())
				return
			}
			m.mu.Lock()
			m.got = append(m.got, data)
			m.kept[msg.Header.Get("Message-ID")] = data
			m.mu.Unlock()
		}
		if errors.Is(said, io.EOF) {
			return
		}
		if said != nil {
			answer = said.Error()
		}
		say(answer)
	}
}

// relay is a node that knows one mail server.
func relay(s compliance.MailServer) compliance.Env {
	return compliance.Env{MailServer: func(name string) (compliance.MailServer, error) {
		if name != "relay" {
			return s, fmt.Errorf("no mail server %q", name)
		}
		return s, nil
	}}
}

func send(t *testing.T, ctx context.Context, addr string) (compliance.Receipt, error) {
	t.Helper()
	w, m := adaptertest.Scene()
	c, run := adaptertest.Cut(t, w, "feed", m.Directory+1, m.Restarted)
	o := compliance.NewOptions([]event.FeedOption{{Name: "server", Value: "relay"}, {Name: "to", Value: "journal@archive.test,copy@archive.test"}})
	a, err := eml.SMTPKind.New(relay(compliance.MailServer{Address: addr, NoTLS: true}), o)
	if err != nil {
		t.Fatal(err)
	}
	return a.Deliver(ctx, c, run)
}

// asFiles is what the adapter eml makes of the same range.
func asFiles(t *testing.T) (map[string]string, compliance.Receipt) {
	w, m := adaptertest.Scene()
	d := adaptertest.NewDisk()
	c, run := adaptertest.Cut(t, w, "feed", m.Directory+1, m.Restarted)
	r, err := adapter(d, adaptertest.Dir, "n1").Deliver(t.Context(), c, run)
	if err != nil {
		t.Fatal(err)
	}
	files := d.Files(adaptertest.Dir)
	delete(files, r.Name)
	return files, r
}

func (m *mailbox) check(t *testing.T) {
	t.Helper()
	files, _ := asFiles(t)
	want := []string{}
	for _, c := range files {
		want = append(want, strings.ReplaceAll(c, "\r\n", "\n"))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := slices.Sorted(maps.Values(m.kept)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("the mailbox keeps %d messages, or with other bytes; want %d", len(got), len(want))
	}
}

func TestSMTP(t *testing.T) {
	m := newMailbox(t)
	r, err := send(t, t.Context(), m.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, want := asFiles(t); r != want {
		t.Errorf("receipt %+v, want that of the files: %+v", r, want)
	}
	m.check(t)
	m.mu.Lock()
	if n := len(m.to); n != 2*len(m.got) || !strings.Contains(m.to[0], "journal@archive.test") {
		t.Errorf("recipients: %v", m.to)
	}
	m.mu.Unlock()
	if again, err := send(t, t.Context(), m.addr); err != nil || again != r {
		t.Errorf("again: %+v, %v", again, err)
	}
	m.check(t) // twice sent, once kept
}

// Every answer in turn is lost or a refusal: nothing is acknowledged, and in the end the mailbox has every message once.
func TestSMTPFaults(t *testing.T) {
	for _, lost := range []bool{true, false} {
		for _, at := range []string{"MAIL 1", "MAIL 2", "RCPT 1", "RCPT 4", "DATA 1", "DATA 2"} {
			m := newMailbox(t)
			m.before = func(verb string, n int) error {
				if fmt.Sprint(verb, " ", n) != at {
					return nil
				}
				if lost {
					return io.EOF
				}
				return errors.New("452 the archive is full")
			}
			r, err := send(t, t.Context(), m.addr)
			if err == nil || r != (compliance.Receipt{}) || !lost && !strings.Contains(err.Error(), "archive is full") {
				t.Errorf("%s (lost: %t): %+v, %v", at, lost, r, err)
			}
			if _, err := send(t, t.Context(), m.addr); err != nil {
				t.Errorf("%s, then again: %v", at, err)
			}
			m.check(t)
		}
	}
}

func TestSMTPCancelled(t *testing.T) {
	m := newMailbox(t)
	ctx, cancel := context.WithCancel(t.Context())
	hang, release := context.WithCancel(context.Background())
	t.Cleanup(release)
	m.before = func(verb string, _ int) error {
		if verb == "DATA" {
			cancel()
			<-hang.Done()
		}
		return nil
	}
	if _, err := send(t, ctx, m.addr); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while the server hangs: %v", err)
	}
}

// TLS is asked for unless the node's configuration switched it off. A feed names no server, no certificate and no file of
// its own, or whoever sets one would have any file of every node sent to him.
func TestSMTPOptions(t *testing.T) {
	m := newMailbox(t)
	o := []event.FeedOption{{Name: "server", Value: "relay"}, {Name: "to", Value: "j@archive.test"}}
	env := relay(compliance.MailServer{Address: m.addr})
	a, err := eml.SMTPKind.New(env, compliance.NewOptions(o))
	if err != nil {
		t.Fatal(err)
	}
	w, marks := adaptertest.Scene()
	c, run := adaptertest.Cut(t, w, "feed", marks.Directory+1, marks.Talk)
	if _, err := a.Deliver(t.Context(), c, run); err == nil || len(m.got) > 0 {
		t.Errorf("a server without STARTTLS was sent %d messages: %v", len(m.got), err)
	}
	for _, bad := range [][]event.FeedOption{
		nil, {o[0]}, {o[1]}, {{Name: "server", Value: m.addr}, o[1]}, {o[0], {Name: "to", Value: "nobody"}}, {o[0], {Name: "to", Value: "a@b.test, c@b.test"}},
		{o[0], o[1], {Name: "starttls", Value: "off"}}, {o[0], o[1], {Name: "user", Value: "u"}}, {o[0], o[1], {Name: "ca_file", Value: "/ca"}},
		{{Name: "server", Value: m.addr}, o[1], {Name: "user", Value: "u"}, {Name: "password_file", Value: "/p"}}, {o[0], o[1], {Name: "from", Value: "A <a@b.test>"}},
		{o[0], o[1], {Name: "msg_type", Value: "a\nb"}}, {o[0], o[1], {Name: "dir", Value: "/x"}},
	} {
		r := compliance.NewOptions(bad)
		_, err := eml.SMTPKind.New(env, r)
		if err == nil && r.Err() == nil {
			t.Errorf("%v was let through", bad)
		}
	}
	// What a feed delivered when it had options of that kind can be written again, and it can be set anew.
	was := event.FeedInfo{Adapter: eml.SMTPName, Options: []event.FeedOption{{Name: "password_file", Value: "/p"}, {Name: "server", Value: m.addr}, o[1], {Name: "user", Value: "u"}}}
	r := compliance.NewOptions(was.Options)
	if _, err := eml.SMTPKind.New(compliance.Env{Dir: "replay", FS: compliance.NewMemory()}, r); err != nil || r.Err() != nil {
		t.Errorf("a replay: %v, %v", err, r.Err())
	}
	now := event.FeedInfo{Adapter: eml.SMTPName, Options: o}
	now = eml.SMTPKind.Effective(&was, &now)
	r = compliance.NewOptions(now.Options)
	if _, err := eml.SMTPKind.New(env, r); err != nil || r.Err() != nil {
		t.Errorf("set anew under an open cut: %v, %v", err, r.Err())
	}
}
