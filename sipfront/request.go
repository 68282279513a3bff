package sipfront

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"parley/sipfront/flow"
)

// allow lists the methods that mean something here.
const allow = "Allow: INVITE, ACK, BYE, CANCEL, INFO, UPDATE, OPTIONS, REGISTER, SUBSCRIBE, SERVICE\r\n"

// Message handles one message of a flow, on its reader goroutine.
func (h *handler) Message(c *flow.Conn, m *flow.Message) {
	cl := c.App.(*client)
	f := cl.front
	if !m.Request() {
		if m.Err != nil { // a bad answer is dropped (RFC 3261 section 16.7 does the same)
			f.metrics.rejected.WithLabelValues("malformed_answer").Inc()
			return
		}
		cl.answered(m)
		return
	}
	method := f.methodClass(m.Method)
	f.metrics.requests[method].Inc()
	if m.Err != nil {
		if method != "ACK" { // never answered (RFC 3261 section 17)
			cl.refuse(m, m.Err.Status, m.Err.Reason, "malformed")
		}
		return
	}
	if !cl.pace(m, method) {
		return
	}
	switch method {
	case "INFO":
		cl.info(m)
	case "ACK":
		cl.ack(m)
	default:
		cl.cold(m, method)
	}
}

// methodClass returns the method if it is known, else "other": a label must not come from the network.
func (f *Front) methodClass(m []byte) string {
	if _, ok := f.metrics.requests[string(m)]; ok {
		return string(m)
	}
	return "other"
}

// cold handles what is rare. The typed headers of sipgo's parser are worth their price here, and so is its opinion on
// whether the message is well formed.
func (c *client) cold(m *flow.Message, method string) {
	if !schemeOK(m.URI) {
		c.refuse(m, 416, "Unsupported URI Scheme", "scheme") // RFC 3261 section 8.2.2.1
		return
	}
	parsed, err := c.front.parser.ParseSIP(m.Raw)
	req, ok := parsed.(*sip.Request)
	if err != nil || !ok {
		c.refuse(m, 400, "Malformed Message", "malformed")
		return
	}
	if method != "CANCEL" { // RFC 3261 section 8.2.2.3
		if unknown := unsupported(m); unknown != "" {
			c.refuse(m, 420, "Bad Extension", "extension", "Unsupported: "+unknown+"\r\n")
			return
		}
	}
	switch method {
	case "REGISTER":
		c.register(m, req)
	case "SUBSCRIBE":
		c.subscribe(m)
	case "SERVICE":
		c.service(m)
	case "INVITE":
		c.invite(m, req)
	case "UPDATE":
		c.update(m)
	case "BYE":
		c.bye(m)
	case "CANCEL":
		c.cancel(m)
	case "OPTIONS":
		c.respond(m, 200, "OK", allow+"Accept: application/sdp, text/plain\r\nSupported: timer\r\n")
	case "other":
		c.refuse(m, 501, "Not Implemented", "method", allow)
	default:
		c.refuse(m, 405, "Method Not Allowed", "method", allow)
	}
}

func schemeOK(uri []byte) bool {
	i := bytes.IndexByte(uri, ':')
	return i > 0 && (strings.EqualFold(string(uri[:i]), "sip") || strings.EqualFold(string(uri[:i]), "sips"))
}

// unsupported returns the option tags of Require that we do not know. Proxy-Require is for proxies: the open client
// sends ms-benotify there (seen of pidgin-sipe).
func unsupported(m *flow.Message) string {
	var all []string
	for i := range m.Headers {
		if m.Headers[i].ID != flow.Require {
			continue
		}
		for tag := range strings.SplitSeq(string(m.Headers[i].Value), ",") {
			switch tag = strings.TrimSpace(tag); strings.ToLower(tag) {
			case "", "timer", "eventlist", "gruu-10", "ms-sender":
			default:
				all = append(all, tag)
			}
		}
	}
	return strings.Join(all, ", ")
}

// respond answers a request. Each of headers is whole lines.
func (c *client) respond(m *flow.Message, status int, reason string, headers ...string) {
	c.respondBody(m, status, reason, "", nil, headers...)
}

func (c *client) respondBody(m *flow.Message, status int, reason, contentType string, body []byte, headers ...string) {
	b := make([]byte, 0, 512+len(body))
	b = flow.AppendStatus(b, status, reason)
	b = m.AppendEcho(b, newTag())
	for _, h := range headers {
		b = append(b, h...)
	}
	c.conn.Answer(flow.AppendBody(b, contentType, body))
}

// refuse answers a request with an error and counts it. cause is a label: one of a few fixed words.
func (c *client) refuse(m *flow.Message, status int, reason, cause string, headers ...string) {
	c.front.metrics.rejected.WithLabelValues(cause).Inc()
	c.respond(m, status, reason, headers...)
}

// busy refuses new work for now. The delay is random, so that those who are turned away do not return together.
func (c *client) busy(m *flow.Message, cause string) {
	c.refuse(m, 503, "Service Unavailable", cause, retryAfter(), c.front.diagnostics(20000, "Chat service busy"))
}

// retryAfter returns a Retry-After line of 1 to 5 seconds.
func retryAfter() string {
	var b [1]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return "Retry-After: " + strconv.Itoa(1+int(b[0])%5) + "\r\n"
}

// diagnostics returns the header lines in which Microsoft's and the open client look for a reason.
func (f *Front) diagnostics(code int, reason string) string {
	d := strconv.Itoa(code) + `;reason="` + quoteText(reason) + `";source="` + quoteText(string(f.cfg.Node)) + `";component="GroupChat"` + "\r\n"
	return "ms-diagnostics: " + d + "ms-diagnostics-public: " + d
}

// quoteText makes text safe inside a quoted string of a header: one line, no quotes, not too long.
func quoteText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r == 0x7f:
			return ' '
		}
		return r
	}, s)
	if len(s) > 256 {
		s = strings.ToValidUTF8(s[:256], "")
	}
	return s
}

// newTag returns a tag: 64 random bits.
func newTag() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
