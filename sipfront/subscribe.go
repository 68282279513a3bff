package sipfront

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/flow"
	"parley/sipfront/presence"
)

// The event packages that are served.
const (
	eventProvisioning = "vnd-microsoft-provisioning-v2"
	eventSelf         = "vnd-microsoft-roaming-self"
	eventContacts     = "vnd-microsoft-roaming-contacts"
)

// subscribe answers SUBSCRIBE with the document in the answer, as clients that say ms-piggyback-first-notify want it, or
// in a NOTIFY or BENOTIFY after it. Nothing here changes while a client is signed in, so no further notification
// follows and nothing is remembered (seen of pidgin-sipe).
func (c *client) subscribe(m *flow.Message) {
	st := c.front.backend.State()
	name := eventName(m.Get(flow.Event))
	switch name {
	case eventProvisioning, eventSelf, eventContacts, "presence", "registration", "presence.wpending", "vnd-microsoft-roaming-ACL":
	default:
		c.refuse(m, 489, "Bad Event", "event", "Allow-Events: "+eventProvisioning+","+eventContacts+","+eventSelf+"\r\n")
		return
	}
	user := c.admit(m, st)
	if user == "" {
		return
	}
	if principalOf(m.Get(flow.To)) != user { // documents of others are nobody's business
		c.refuse(m, 403, "Only Your Own", "wrong_to")
		return
	}
	expires := uint64(c.front.cfg.RegisterExpires / time.Second)
	if v := m.Get(flow.Expires); v != nil {
		n, ok := flow.Number(v, 1<<32-1)
		if !ok {
			c.refuse(m, 400, "Malformed Expires", "malformed")
			return
		}
		expires = min(n, expires)
	}
	docType, doc := c.front.document(st, name, user)
	exp := strconv.FormatUint(expires, 10)
	headers := "Expires: " + exp + "\r\nEvent: " + name + "\r\nsubscription-state: active;expires=" + exp + "\r\n"
	if to := flow.Addr(m.Get(flow.To)); plainURI(to) {
		headers += "Contact: <" + string(to) + ">\r\n"
	}
	// The end of a subscription: the open client gives it up and listens no more, so it gets no last notification.
	ending := expires == 0 && flow.Param(m.Get(flow.To), "tag") != nil
	if doc == nil || ending {
		c.respond(m, 200, "OK", headers)
		return
	}
	if supports(m, "ms-piggyback-first-notify") {
		c.respondBody(m, 200, "OK", docType, doc, headers, "ms-piggyback-cseq: 1\r\nSupported: ms-benotify\r\nSupported: ms-piggyback-first-notify\r\n")
		return
	}
	tag := newTag()
	b := flow.AppendStatus(make([]byte, 0, 512), 200, "OK")
	b = append(m.AppendEcho(b, tag), headers...)
	c.conn.Answer(flow.AppendBody(b, "", nil))
	if n := c.notify(m, name, tag, exp, docType, doc); n != nil {
		c.conn.After(func() { c.conn.Send(n) })
	}
}

// eventName returns the event package without parameters.
func eventName(v []byte) string {
	name, _, _ := bytes.Cut(v, []byte{';'})
	return strings.TrimSpace(string(name))
}

func supports(m *flow.Message, tag string) bool {
	for i := range m.Headers {
		if h := &m.Headers[i]; h.ID == flow.Supported && strings.Contains(strings.ToLower(string(h.Value)), tag) {
			return true
		}
	}
	return false
}

// notify is the request that brings the document to a client that does not take it in the answer.
func (c *client) notify(m *flow.Message, event, tag, expires, docType string, doc []byte) []byte {
	method := "NOTIFY"
	if supports(m, "ms-benotify") {
		method = "BENOTIFY"
	}
	target := flow.Addr(m.Get(flow.Contact))
	if !plainURI(target) {
		target = flow.Addr(m.Get(flow.From))
	}
	own := flow.Addr(m.Get(flow.To))
	if !plainURI(target) || !plainURI(own) {
		return nil
	}
	state := "active;expires=" + expires
	if expires == "0" {
		state = "terminated;reason=timeout" // a fetch (RFC 6665 section 4.4.3)
	}
	b := []byte(method + " " + string(target) + " SIP/2.0\r\nVia: SIP/2.0/" + c.conn.Transport() + " " + c.conn.Local().String() +
		";branch=z9hG4bK" + newTag() + "\r\nMax-Forwards: 70\r\nFrom: <" + string(own) + ">;tag=" + tag + "\r\nTo: " +
		string(m.Get(flow.From)) + "\r\nCall-ID: " + string(m.Get(flow.CallID)) + "\r\nCSeq: 1 " + method + "\r\nEvent: " + event +
		"\r\nSubscription-State: " + state + "\r\nContact: <" + string(own) + ">\r\n")
	return flow.AppendBody(b, docType, doc)
}

// document returns what a subscriber to an event gets.
func (f *Front) document(st *chat.State, name string, user event.Principal) (contentType string, doc []byte) {
	switch name {
	case eventProvisioning:
		return presence.TypeProvisioning, presence.Provisioning(st.Enabled(user), st.PoolURI(), st.Limits().RoomManagementURL)
	case eventContacts:
		return presence.TypeContacts, []byte(presence.Contacts)
	case eventSelf:
		return presence.TypeSelf, presence.RoamingSelf(user, presence.Rooms(st.Settings(user)))
	}
	return "", nil
}
