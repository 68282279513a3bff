package siptest

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
	"time"

	"parley/sipfront/xccos"
)

const sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 5060 sip null\r\na=accept-types:text/plain\r\n"

// SignIn registers, asks for provisioning, finds the chat service and opens the dialog with it: the steps of the one
// open client.
func (c *Client) SignIn() *Client {
	c.Register()
	c.Provision()
	c.Lookup()
	c.Invite(c.chatURI)
	return c
}

// Register registers, with Digest if that is asked for.
func (c *Client) Register() *Message {
	m := c.authorize(c.registration("7200"))
	c.want(m, 200)
	return m
}

func (c *Client) registration(expires string) Request {
	return Request{Method: "REGISTER", URI: "sip:" + c.domain, To: "sip:" + c.o.User, Headers: []string{
		`Contact: <sip:127.0.0.1:5060;transport=tcp>;+sip.instance="<urn:uuid:` + c.o.Epid + `>"`,
		"Supported: gruu-10, adhoclist, msrtc-event-categories", "Event: registration", "Allow-Events: presence", "Expires: " + expires}}
}

// want makes an answer other than the one expected the client's error.
func (c *Client) want(m *Message, status int) bool {
	if m == nil {
		c.fail("no answer")
		return false
	}
	if m.Status() != status {
		c.fail("%s: got %q, want %d", m.Method(), m.Start, status)
		return false
	}
	return true
}

// Provision asks whether and where there is persistent chat.
func (c *Client) Provision() {
	if c.Err() != nil || c.o.Pool != "" {
		c.pool = c.o.Pool
		return
	}
	m := c.Do(Request{Method: "SUBSCRIBE", Headers: []string{"Event: vnd-microsoft-provisioning-v2",
		"Supported: ms-piggyback-first-notify", "Proxy-Require: ms-benotify", "Expires: 0",
		"Accept: application/vnd-microsoft-roaming-provisioning-v2+xml"}})
	if !c.want(m, 200) {
		return
	}
	var doc struct {
		Properties []struct {
			Name  string `xml:"name,attr"`
			Value string `xml:",chardata"`
		} `xml:"provisionGroup>propertyEntryList>property"`
	}
	if err := xml.Unmarshal(m.Body, &doc); err != nil {
		c.fail("provisioning: %w", err)
		return
	}
	enabled := false
	for _, p := range doc.Properties {
		switch p.Name {
		case "EnablePersistentChat":
			enabled = p.Value == "true"
		case "DefaultPersistentChatPoolUri":
			c.pool = p.Value
		}
	}
	if !enabled || c.pool == "" || m.Header("ms-piggyback-cseq") == "" {
		c.fail("persistent chat is not provisioned: %s", m)
	}
}

// Lookup asks the pool which URI to chat with, in a dialog of its own.
func (c *Client) Lookup() {
	c.Invite(c.pool)
	it := c.Command("cmd:requri", nil)
	if it == nil {
		return
	}
	if len(it.Data.Users) == 0 {
		c.fail("requri: no uri")
		return
	}
	c.chatURI = it.Data.Users[0].URI
	c.Bye()
}

// Invite opens the dialog that commands go to.
func (c *Client) Invite(target string) *Message {
	if c.Err() != nil {
		return nil
	}
	callID, tag := token(), token()
	from := "From: <sip:" + c.o.User + ">;tag=" + tag + ";epid=" + c.o.Epid
	m := c.exchange("INVITE", target, c.via(false)+from+"\r\nTo: <"+target+">\r\nCall-ID: "+callID+"\r\n", callID, 1, []string{
		"Contact: <sip:" + c.o.User + ";opaque=user:epid:" + c.o.Epid + ";gruu>", "Supported: ms-sender", "Content-Type: application/sdp"}, []byte(sdp))
	if !c.want(m, 200) {
		return m
	}
	d := &dialog{callID: callID, from: from + "\r\n", to: "To: " + m.Header("To") + "\r\nCall-ID: " + callID + "\r\n", target: target, seq: 1}
	if t := uri(m.Header("Contact")); t != "" {
		d.target = t
	}
	seconds, _, _ := strings.Cut(m.Header("Session-Expires"), ";")
	n, err := strconv.Atoi(seconds)
	if err != nil {
		c.fail("INVITE: no Session-Expires in the answer")
		return m
	}
	d.refresh = time.Duration(n) * time.Second
	c.start("ACK", d.target, c.via(false)+d.from+d.to, callID, 1, nil, nil, nil)
	c.mu.Lock()
	c.chat = d
	c.mu.Unlock()
	return m
}

// begin sends a request in the chat dialog.
func (c *Client) begin(method string, headers []string, body []byte, then func(*Message)) {
	c.mu.Lock()
	d := c.chat
	if d == nil {
		c.failLocked("%s: no dialog", method)
		c.mu.Unlock()
		then(nil)
		return
	}
	d.seq++
	seq := d.seq
	c.mu.Unlock()
	c.start(method, d.target, c.via(false)+d.from+d.to, d.callID, seq, headers, body, then)
}

// InDialog sends a request in the chat dialog and returns its answer.
func (c *Client) InDialog(method string, headers []string, body []byte) *Message {
	var answer *Message
	done := false
	c.begin(method, headers, body, func(m *Message) {
		c.mu.Lock()
		answer, done = m, true
		c.cond.Broadcast()
		c.mu.Unlock()
	})
	c.wait(method, func() bool { return done })
	c.mu.Lock()
	defer c.mu.Unlock()
	return answer
}

// Bye closes the chat dialog.
func (c *Client) Bye() {
	if c.Err() == nil {
		c.want(c.InDialog("BYE", nil, nil), 200)
	}
	c.mu.Lock()
	c.chat = nil
	c.mu.Unlock()
}

// Update refreshes the session.
func (c *Client) Update() { c.want(c.InDialog("UPDATE", nil, nil), 200) }

// SignOut says goodbye and closes the connection.
func (c *Client) SignOut() {
	c.Bye()
	c.want(c.authorize(c.registration("0")), 200)
	c.Close()
}

// NextEnv returns a fresh envelope id.
func (c *Client) NextEnv() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.envid++
	return c.envid
}

// Command sends a command and returns its reply. A SIP answer other than 200 is an error; a refusal in the reply is not.
func (c *Client) Command(id string, data *xccos.Data) *xccos.Item {
	env := c.NextEnv()
	body := xccos.AppendClient(nil, env, xccos.Item{Kind: xccos.Cmd, ID: id, Data: data})
	if c.Err() != nil || !c.want(c.InDialog("INFO", textPlain, body), 200) {
		return nil
	}
	return c.ReplyTo(env)
}

// ReplyTo waits for the reply to the command of an envelope.
func (c *Client) ReplyTo(env uint64) *xccos.Item {
	var it *xccos.Item
	key := strconv.FormatUint(env, 10)
	c.wait("reply to envelope "+key, func() bool {
		it = c.replies[key]
		delete(c.replies, key)
		return it != nil
	})
	return it
}

var textPlain = []string{"Content-Type: text/plain"}

// good makes a refused command the client's error.
func (c *Client) good(it *xccos.Item) bool {
	if it == nil {
		return false
	}
	if it.Code != 200 {
		c.fail("%s: %d %s", it.ID, it.Code, it.Text)
		return false
	}
	return true
}

// List returns the rooms that match.
func (c *Client) List(criteria string) []xccos.ChanIB {
	it := c.Command(xccos.CmdChanSrch, &xccos.Data{Search: &xccos.QIB{Type: xccos.SearchByName, Criteria: criteria}})
	if !c.good(it) {
		return nil
	}
	return it.Data.Chans
}

// RoomID returns the GUID of a room URI.
func RoomID(uri string) string { return uri[strings.LastIndexByte(uri, '/')+1:] }

// TryJoin joins a room by its URI and returns the reply, whatever it says.
func (c *Client) TryJoin(room string) *xccos.Item {
	return c.Command(xccos.CmdJoin, &xccos.Data{Rooms: []xccos.ChanID{{Key: "0", Domain: c.domain, Value: RoomID(room)}}})
}

// Join joins a room and returns the reply's data.
func (c *Client) Join(room string) *xccos.Data {
	it := c.TryJoin(room)
	if !c.good(it) {
		return nil
	}
	return it.Data
}

// BJoin joins several rooms at once.
func (c *Client) BJoin(rooms ...string) *xccos.Data {
	d := new(xccos.Data)
	for i, r := range rooms {
		d.Rooms = append(d.Rooms, xccos.ChanID{Key: strconv.Itoa(i), Domain: c.domain, Value: RoomID(r)})
	}
	it := c.Command(xccos.CmdBJoin, d)
	if !c.good(it) {
		return nil
	}
	return it.Data
}

// Part leaves a room.
func (c *Client) Part(room string) {
	c.good(c.Command(xccos.CmdPart, &xccos.Data{Chans: []xccos.ChanIB{{URI: room}}}))
}

// History returns the last n messages of a room, oldest first.
func (c *Client) History(room string, n int) []xccos.Post {
	it := c.Command(xccos.CmdBCContext, &xccos.Data{Chans: []xccos.ChanIB{{URI: room}}, Context: &xccos.BCQ{Last: &xccos.Count{N: uint32(n)}}})
	if !c.good(it) {
		return nil
	}
	if len(it.Data.Chans) != 1 {
		c.fail("history: %d rooms in the reply", len(it.Data.Chans))
		return nil
	}
	return it.Data.Chans[0].Posts
}

// HistoryFrom returns messages of a room from one on, oldest first, n at most (0: the server's choice), and with which
// message to ask on, 0 if there is no more.
func (c *Client) HistoryFrom(room string, id uint64, n int) (posts []xccos.Post, next uint64) {
	q := &xccos.BCQ{MsgID: &xccos.MsgID{ID: id}}
	if n > 0 {
		q.Limit = &xccos.Count{N: uint32(n)}
	}
	it := c.Command(xccos.CmdBCByMsg, &xccos.Data{Chans: []xccos.ChanIB{{URI: room}}, Context: q})
	if !c.good(it) {
		return nil, 0
	}
	if len(it.Data.Chans) != 1 {
		c.fail("history: %d rooms in the reply", len(it.Data.Chans))
		return nil, 0
	}
	if it.Data.Chans[0].Exceeded {
		if q := it.Data.Context; q == nil || q.MsgID == nil || q.MsgID.ID <= id {
			c.fail("history: there is more, but the reply does not say from where on")
			return nil, 0
		}
		next = it.Data.Context.MsgID.ID
	}
	return it.Data.Chans[0].Posts, next
}

// CatchUp returns all messages of a room from one on: what a client that has all before it missed.
func (c *Client) CatchUp(room string, id uint64) (all []xccos.Post) {
	for id != 0 && c.Err() == nil {
		var page []xccos.Post
		page, id = c.HistoryFrom(room, id, 0xffff)
		all = append(all, page...)
	}
	return all
}

// PostBody returns the body of a post.
func (c *Client) PostBody(env uint64, room, author, text string) []byte {
	return xccos.AppendClient(nil, env, xccos.Item{Kind: xccos.GrpChat, ID: xccos.IDGrpChat, Post: &xccos.Post{
		ChanURI: room, Author: author, TS: "2026-01-02T03:04:05Z", Text: text}})
}

// PostAs posts with a chosen envelope id and returns the SIP status, 0 if there was no answer.
func (c *Client) PostAs(env uint64, room, text string) int {
	m := c.InDialog("INFO", textPlain, c.PostBody(env, room, "sip:"+c.o.User, text))
	if m == nil {
		return 0
	}
	return m.Status()
}

// Post posts and returns the SIP status.
func (c *Client) Post(room, text string) int { return c.PostAs(c.NextEnv(), room, text) }

// PostAsync posts without waiting; then gets the SIP status on the client's goroutine, 0 if the connection ended first.
func (c *Client) PostAsync(env uint64, room, text string, then func(status int)) {
	c.begin("INFO", textPlain, c.PostBody(env, room, "sip:"+c.o.User, text), func(m *Message) {
		if m == nil {
			then(0)
			return
		}
		then(m.Status())
	})
}

// Expect waits for a message with this text and takes it, and all before it, out of what was received.
func (c *Client) Expect(room, text string) xccos.Post {
	var found xccos.Post
	c.wait("expect "+strconv.Quote(text), func() bool {
		for i := range c.posts {
			if c.posts[i].ChanURI == room && c.posts[i].Text == text {
				found = c.posts[i]
				c.posts = c.posts[i+1:]
				return true
			}
		}
		return false
	})
	return found
}

// Take returns the messages received so far and forgets them.
func (c *Client) Take() []xccos.Post {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.posts
	c.posts = nil
	return all
}

// WaitPosts waits until n messages are there, and takes them.
func (c *Client) WaitPosts(n int) []xccos.Post {
	c.wait("wait for "+strconv.Itoa(n)+" messages", func() bool { return len(c.posts) >= n })
	return c.Take()
}

// ExpectNotice waits for a notice about a user ("ntc:join" or "ntc:part") and takes it.
func (c *Client) ExpectNotice(id, user string) xccos.Item {
	var found xccos.Item
	c.wait("expect "+id+" of "+user, func() bool {
		for i := range c.notices {
			if c.notices[i].ID == id && bytes.Contains(xccos.AppendServer(nil, 1, c.notices[i]), []byte(`uri="sip:`+user+`"`)) {
				found = c.notices[i]
				c.notices = append(c.notices[:i], c.notices[i+1:]...)
				return true
			}
		}
		return false
	})
	return found
}

// ExpectNoticeOf waits for a notice about a room and takes it.
func (c *Client) ExpectNoticeOf(id, room string) xccos.Item {
	var found xccos.Item
	c.wait("expect "+id+" of "+room, func() bool {
		for i := range c.notices {
			if c.notices[i].ID == id && bytes.Contains(xccos.AppendServer(nil, 1, c.notices[i]), []byte(`uri="`+room+`"`)) {
				found = c.notices[i]
				c.notices = append(c.notices[:i], c.notices[i+1:]...)
				return true
			}
		}
		return false
	})
	return found
}

// ExpectInvitation waits for an invitation to a room and takes it.
func (c *Client) ExpectInvitation(room string) { c.ExpectNoticeOf(xccos.NtcInvite, room) }

// Notices returns the notices received so far and forgets them.
func (c *Client) Notices() []xccos.Item {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.notices
	c.notices = nil
	return all
}

// ExpectRequest waits for a request of the server that is not an INFO.
func (c *Client) ExpectRequest(method string) *Message {
	var found *Message
	c.wait("expect "+method, func() bool {
		for i, m := range c.others {
			if m.Method() == method {
				found = m
				c.others = append(c.others[:i], c.others[i+1:]...)
				return true
			}
		}
		return false
	})
	return found
}

// User returns user@domain.
func (c *Client) User() string { return c.o.User }
