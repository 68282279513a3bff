package sipfront_test

import (
	"strings"
	"testing"
)

// TestTorture is RFC 4475, by section, in messages of our own with the same fault, sent over TCP to a listener that asks
// nobody who he is. want is the status of the answer; 0 means that no answer may come, and the flow must live;
// closes says that the end of the message was not known, so the flow cannot be kept.
func TestTorture(t *testing.T) {
	s := serve(t, nil)
	options := request("OPTIONS", poolURI, 1, "")
	with := func(name, line string) string { return change(options, name, line) }
	add := func(lines ...string) string { return request("OPTIONS", poolURI, 1, "", lines...) }
	start := func(line string) string { return line + options[strings.Index(options, "\r\n"):] }
	long := strings.Repeat("x", 7000)
	for _, c := range []struct {
		section, what, msg string
		want               int
		closes             bool
	}{
		{"3.1.1.1", "wsinv: folding and blanks", strings.NewReplacer("Max-Forwards: 70", "Max-Forwards: \r\n 70", "To: <sip:parley@contoso.test>", "TO :\r\n <sip:parley@contoso.test>", "CSeq: 1 OPTIONS", "CSeq: 0001 \r\n  OPTIONS", "Via:", "V  :").Replace(options), 200, false},
		{"3.1.1.2", "intmeth: unusual method", strings.ReplaceAll(options, "OPTIONS", "!interesting-Method0123456789_*+`.%indeed'~"), 501, false},
		{"3.1.1.3", "esc01: escaped URI", strings.Replace(options, "OPTIONS sip:parley@contoso.test", "OPTIONS sip:sips%3Auser%40example.com@example.net", 1), 200, false},
		{"3.1.1.4", "escnull: escaped NUL", change(request("REGISTER", "sip:contoso.test", 1, ""), "To", "To: <sip:null-%00-null@contoso.test>"), 403, false},
		{"3.1.1.5", "esc02: percent in a method", strings.ReplaceAll(options, "OPTIONS", "RE%47IST%45R"), 501, false},
		{"3.1.1.6", "lwsdisp: no blank before the bracket", with("From", "From: alice<sip:alice@contoso.test>;tag=t1"), 200, false},
		{"3.1.1.7", "longreq: long values", add("Unknown-"+long[:100]+": "+long, "Via: SIP/2.0/TCP "+long[:500]+".com"), 200, false},
		{"3.1.1.8", "dblreq: a second request behind", options + request("OPTIONS", poolURI, 2, ""), 200, false},
		{"3.1.1.9", "semiuri: semicolon in the user part", strings.Replace(options, "OPTIONS sip:parley@contoso.test", "OPTIONS sip:user;par=u%40example.net@example.com", 1), 200, false},
		{"3.1.1.10", "transports: many transports", add("Via: SIP/2.0/UDP a.b.c;branch=z9hG4bKa", "Via: SIP/2.0/SCTP a.b.c;branch=z9hG4bKb", "Via: SIP/2.0/UNKNOWN a.b.c;branch=z9hG4bKc"), 200, false},
		{"3.1.1.11", "mpart01: multipart MESSAGE", request("MESSAGE", poolURI, 1, "--x\r\n\r\nhi\r\n--x--", "Content-Type: multipart/mixed; boundary=x"), 405, false},
		{"3.1.1.12", "unreason: UTF-8 reason of a response", strings.Replace(start("SIP/2.0 200 = 2**3 * 5**2 \u043d\u043e \u0441\u0442\u043e"), "1 OPTIONS", "1 INVITE", 1), 0, false},
		{"3.1.1.13", "noreason: empty reason", start("SIP/2.0 100 "), 0, false},
		{"3.1.2.1", "badinv01: extra separators", add(`Contact: "Joe" <sip:joe@example.org>;;;;`, "Via: SIP/2.0/UDP 192.0.2.15;;,;,,"), 400, false},
		{"3.1.2.2", "clerr: content length too large", strings.Replace(options, "Content-Length: 0", "Content-Length: 9999999", 1), 413, true},
		{"3.1.2.3", "ncl: negative content length", with("Content-Length", "Content-Length: -999"), 400, true},
		{"3.1.2.4", "scalar02: values out of range", with("CSeq", "CSeq: 36893488147419103232 OPTIONS"), 400, false},
		{"3.1.2.4", "scalar02: Max-Forwards", with("Max-Forwards", "Max-Forwards: 300"), 400, false},
		{"3.1.2.4", "scalar02: Expires", change(request("REGISTER", "sip:contoso.test", 1, "", "Expires: 10000000000000000000000000"), "To", "To: <sip:alice@contoso.test>"), 400, false},
		{"3.1.2.5", "scalarlg: status out of range", start("SIP/2.0 503 x") + "", 0, false},
		{"3.1.2.6", "quotbal: unbalanced quote", with("To", "To: \"Mr. J. User <sip:parley@contoso.test>"), 400, false},
		{"3.1.2.7", "ltgtruri: brackets around the URI", start("OPTIONS <sip:parley@contoso.test> SIP/2.0"), 400, false},
		{"3.1.2.8", "lwsruri: blank in the URI", start("OPTIONS sip:parley@contoso.test; lr SIP/2.0"), 400, false},
		{"3.1.2.9", "lwsstart: two blanks", start("OPTIONS  sip:parley@contoso.test  SIP/2.0"), 400, false},
		{"3.1.2.10", "trws: blank at the end", start("OPTIONS sip:parley@contoso.test SIP/2.0  "), 400, false},
		{"3.1.2.11", "escruri: headers in the URI", start("OPTIONS sip:parley@contoso.test?Route=%3Csip:example.com%3E SIP/2.0"), 200, false},
		{"3.1.2.12", "baddate: a date that is none", add("Date: Fri, 01 Jan 2010 16:00:00 EST"), 200, false},
		{"3.1.2.13", "regbadct: bad Contact", change(request("REGISTER", "sip:contoso.test", 1, "", "Contact: sip:alice@contoso.test?Route=%3Csip:x%3E <"), "To", "To: <sip:alice@contoso.test>"), 400, false},
		{"3.1.2.14", "badaspec: blanks in the address", with("To", "To: \"Watson, Thomas\" < sip:t.watson@example.org >"), 400, false},
		{"3.1.2.15", "baddn: display name without quotes", with("From", "From: Bell, Alexander <sip:alice@contoso.test>;tag=t1"), 400, false},
		{"3.1.2.16", "badvers: unknown version", start("OPTIONS sip:parley@contoso.test SIP/7.0"), 505, false},
		{"3.1.2.17", "mismatch01: method differs from CSeq", with("CSeq", "CSeq: 1 INVITE"), 400, false},
		{"3.1.2.18", "mismatch02: unknown method differs", start("NEWMETHOD sip:parley@contoso.test SIP/2.0"), 400, false},
		{"3.1.2.19", "bigcode: status of five digits", start("SIP/2.0 4294967301 better not break the receiver"), 0, false},
		{"3.2.1", "badbranch: no branch", options, 200, false},
		{"3.3.1", "insuf: To missing", with("To", ""), 400, false},
		{"3.3.1", "insuf: From missing", with("From", ""), 400, false},
		{"3.3.1", "insuf: Call-ID missing", with("Call-ID", ""), 400, false},
		{"3.3.1", "insuf: CSeq missing", with("CSeq", ""), 400, false},
		{"3.3.1", "insuf: Via missing", with("Via", ""), 400, false},
		{"3.3.2", "unkscm: unknown scheme", start("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"), 416, false},
		{"3.3.3", "novelsc: known scheme, not ours", start("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0"), 416, false},
		{"3.3.4", "unksm2: unknown scheme in To", change(request("INVITE", poolURI, 1, ""), "To", "To: <isbn:2983792873>"), 404, false},
		{"3.3.5", "bext01: unknown extensions", add("Require: nothingSupportsThis, nothingSupportsThisEither", "Proxy-Require: noProxiesSupportThis"), 420, false},
		{"3.3.6", "invut: unknown body type", request("INVITE", poolURI, 1, "x", "Content-Type: application/unknownformat"), 415, false},
		{"3.3.7", "regaut01: unknown scheme of credentials", change(request("REGISTER", "sip:contoso.test", 1, "", "Authorization: NoOneKnowsThisScheme opaque-data=here"), "To", "To: <sip:alice@contoso.test>"), 200, false},
		{"3.3.8", "multi01: two From", add("From: <sip:mallory@contoso.test>;tag=2"), 400, false},
		{"3.3.8", "multi01: two CSeq", add("CSeq: 7 OPTIONS"), 400, false},
		{"3.3.9", "mcl01: two content lengths", add("Content-Length: 13"), 400, true},
		{"3.3.10", "bcast: response with a foreign Via", start("SIP/2.0 200 OK"), 0, false},
		{"3.3.11", "zeromf: Max-Forwards 0", with("Max-Forwards", "Max-Forwards: 0"), 200, false},
		{"3.3.12", "cparam01: parameter outside brackets", change(request("REGISTER", "sip:contoso.test", 1, "", "Contact: sip:+19725552222@gw1.example.net;unknownparam"), "To", "To: <sip:alice@contoso.test>"), 200, false},
		{"3.3.15", "sdp01: unacceptable Accept", request("INVITE", poolURI, 1, "v=0\r\n", "Accept: text/nobodyKnowsThis", "Content-Type: application/sdp"), 200, false},
		{"3.4.1", "inv2543: no branch, no tag", change(change(request("INVITE", poolURI, 1, ""), "From", "From: <sip:alice@contoso.test>"), "Via", "Via: SIP/2.0/UDP iftgw.example.com"), 400, false},

		{"own", "NUL in a header", add("Subject: a\x00b"), 400, false},
		{"own", "bare CR in a header", add("Subject: a\rb"), 400, false},
		{"own", "header without colon", add("Nonsense"), 400, false},
		{"own", "header without name", add(": nonsense"), 400, false},
		{"own", "blank in a header name", add("Bad Name: x"), 400, false},
		{"own", "header line of 9,000 bytes", add("Subject: " + strings.Repeat("x", 9000)), 400, false},
		{"own", "head of 17,000 bytes", add("A: "+long, "B: "+long, "C: "+long), 400, true},
		{"own", "200 headers", add(strings.Split(strings.Repeat("Subject: y,", 200), ",")[:200]...), 400, false},
		{"own", "40 Vias", add(strings.Split(strings.Repeat("Via: SIP/2.0/TCP h,", 40), ",")[:40]...), 400, false},
		{"own", "LF only", strings.ReplaceAll(options, "\r\n", "\n"), 400, true},
		{"own", "one bare LF", strings.Replace(options, "Max-Forwards: 70\r\n", "Max-Forwards: 70\n", 1), 400, true},
		{"own", "body without its length", strings.Replace(with("Content-Length", "Content-Type: text/plain"), "OPTIONS", "OPTIONS", 1), 400, true},
		{"own", "no content length and no body", with("Content-Length", ""), 200, false},
		{"own", "the same content length twice", add("Content-Length: 0"), 200, false},
		{"own", "not SIP at all", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
		{"own", "noise", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, false},
		{"own", "malformed ACK", change(request("ACK", poolURI, 1, ""), "To", ""), 0, false},
		{"own", "ACK without dialog", request("ACK", poolURI, 1, ""), 0, false},
		{"own", "BYE without dialog", request("BYE", poolURI, 1, ""), 481, false},
		{"own", "INFO without dialog", request("INFO", poolURI, 1, joinBody(1, lobby)), 481, false},
		{"own", "UPDATE without dialog", request("UPDATE", poolURI, 1, ""), 481, false},
		{"own", "re-INVITE without dialog", change(request("INVITE", poolURI, 1, ""), "To", "To: <sip:parley@contoso.test>;tag=zz"), 481, false},
		{"own", "CANCEL of nothing", request("CANCEL", poolURI, 1, ""), 481, false},
		{"own", "REFER", request("REFER", poolURI, 1, ""), 405, false},
		{"own", "unknown event", request("SUBSCRIBE", aliceURI, 1, "", "Event: conference"), 489, false},
		{"own", "no event", request("SUBSCRIBE", aliceURI, 1, ""), 489, false},
		{"own", "INVITE to somebody else", request("INVITE", "sip:bob@contoso.test", 1, ""), 404, false},
		{"own", "first-generation name", request("INVITE", "sip:ocschat@contoso.test", 1, ""), 200, false},
		{"own", "session interval too small", request("INVITE", poolURI, 1, "", "Session-Expires: 20"), 422, false},
		{"own", "star with Expires", change(request("REGISTER", "sip:contoso.test", 1, "", "Contact: *", "Expires: 60"), "To", "To: <sip:alice@contoso.test>"), 400, false},
	} {
		t.Run(c.section+" "+c.what, func(t *testing.T) {
			w := s.wire()
			w.t = t
			w.send("%s", c.msg)
			if c.want != 0 {
				m := w.want(c.want)
				if c.what == "200 headers" && m.Start != "SIP/2.0 400 Too Many Headers" {
					t.Errorf("%s", m)
				}
				if c.want >= 400 && c.want != 416 && strings.Contains(c.msg, "\r\nCall-ID: c1") && !c.closes && m.Header("Call-ID") != "c1" {
					t.Errorf("the answer copies nothing: %s", m)
				}
				if c.want == 405 || c.want == 501 {
					if !strings.Contains(m.Header("Allow"), "INVITE") {
						t.Errorf("no Allow in %s", m)
					}
				}
			}
			if c.closes {
				w.closed()
				return
			}
			w.send("%s", strings.ReplaceAll(request("OPTIONS", poolURI, 9, ""), "Call-ID: c1", "Call-ID: alive"))
			for m := w.want(200); m.Header("Call-ID") != "alive"; m = w.want(200) {
			}
		})
	}
}

// TestMessageSize: a message of 256 KiB is read, one byte more is refused.
func TestMessageSize(t *testing.T) {
	s := serve(t, nil)
	w := s.wire()
	size := func(n int) string {
		head := len(request("MESSAGE", poolURI, 1, strings.Repeat("x", n-400), "Content-Type: text/plain")) - (n - 400)
		return request("MESSAGE", poolURI, 1, strings.Repeat("x", n-head), "Content-Type: text/plain")
	}
	if n := len(size(256 << 10)); n != 256<<10 {
		t.Fatalf("%d bytes", n)
	}
	w.send("%s", size(256<<10))
	w.want(405)
	w.send("%s", size(256<<10 + 1)[:1000])
	w.want(413)
	w.closed()
}
