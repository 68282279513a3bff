package flow

import (
	"bytes"
	"strconv"
)

// Limits of one message (hostile-input gates of the design). They bound what a peer can make a reader hold or scan.
const (
	MaxMessage = 256 << 10 // bytes of a whole message on TCP and TLS; above: 413 and close
	MaxHead    = 16 << 10  // bytes of start line and headers
	MaxLine    = 8 << 10   // bytes of one header line, unfolded
	MaxHeaders = 128       // header lines
	MaxVias    = 32
)

// HeaderID names the headers that somebody asks for. All others are Other: kept, never looked at.
type HeaderID uint8

// The headers.
const (
	Other HeaderID = iota
	Via
	From
	To
	CallID
	CSeq
	ContentLength
	ContentType
	Contact
	MaxForwards
	RecordRoute
	Require
	Supported
	Expires
	Event
	UserAgent
	Authorization
	ProxyAuthorization
	SessionExpires
	MinSE
	headerIDs
)

// single lists the headers that may occur once (RFC 3261 section 7.3.1 and table 2): a second one is refused,
// because two readers of the message could believe different ones (RFC 4475 section 3.3.8).
var single = [headerIDs]bool{From: true, To: true, CallID: true, CSeq: true, MaxForwards: true, ContentType: true,
	Expires: true, Event: true, SessionExpires: true}

// Header is one header line. The slices alias the message.
type Header struct {
	ID    HeaderID
	Line  []byte // name, colon and value, without the line end
	Value []byte // trimmed
}

// Message is a view of one SIP message: every slice aliases the buffer it was scanned from and is dead after the
// handler returns. It is reused from message to message and allocates only when it grows.
type Message struct {
	Raw  []byte // the whole message, folded header lines joined
	Body []byte

	Method []byte // empty in a response
	URI    []byte // Request-URI
	Status int    // of a response, 0 in a request

	Headers    []Header
	Seq        uint32 // number of CSeq
	SeqMethod  []byte
	ContentLen int // -1: no Content-Length header
	Err        *Error
	last       [headerIDs]int16 // index of the last header line of an id, plus 1
}

// Error says why a message is refused. The message's scanned fields stay usable, so that the answer can copy them.
type Error struct {
	Status int    // SIP status of the answer
	Reason string // reason phrase; never text of the message
	Fatal  bool   // the end of the message is not known: answer and close
}

func (e *Error) Error() string { return strconv.Itoa(e.Status) + " " + e.Reason }

func malformed(reason string) *Error { return &Error{Status: 400, Reason: reason} }

func fatal(status int, reason string) *Error {
	return &Error{Status: status, Reason: reason, Fatal: true}
}

// Request reports whether the message is a request. A start line that is neither counts as a request, because
// it is answered.
func (m *Message) Request() bool { return m.Status == 0 }

// Is reports whether the message is a request of this method.
func (m *Message) Is(method string) bool { return string(m.Method) == method }

// Get returns the value of a header, nil if there is none; of several lines, the first.
func (m *Message) Get(id HeaderID) []byte {
	for i := range m.Headers {
		if m.Headers[i].ID == id {
			return m.Headers[i].Value
		}
	}
	return nil
}

// Has reports whether the message has the header.
func (m *Message) Has(id HeaderID) bool { return m.last[id] != 0 }

// scanHead fills m from the head of a message, which ends in an empty line. It goes on after an error as far as it
// can: the answer to a bad request copies what is there.
func (m *Message) scanHead(head []byte) {
	m.Raw, m.Body, m.Method, m.URI, m.SeqMethod = head, nil, nil, nil, nil
	m.Status, m.Seq, m.ContentLen, m.Err = 0, 0, -1, nil
	m.Headers = m.Headers[:0]
	m.last = [headerIDs]int16{}
	unfold(head)
	line, rest := cutLine(head)
	m.startLine(line)
	vias := 0
	for len(rest) > 0 {
		if line, rest = cutLine(rest); len(line) == 0 {
			break
		}
		if len(m.Headers) == MaxHeaders {
			m.fail(malformed("Too Many Headers"))
			m.lengthOnly(line)
			continue
		}
		if id := m.headerLine(line); id == Via {
			if vias++; vias > MaxVias {
				m.fail(malformed("Too Many Via Headers"))
			}
		}
	}
	m.mandatory()
}

// lengthOnly keeps the framing right in a message whose other headers are no longer looked at.
func (m *Message) lengthOnly(line []byte) {
	if c := bytes.IndexByte(line, ':'); c > 0 && headerID(bytes.TrimRight(line[:c], " \t")) == ContentLength {
		m.contentLength(bytes.TrimSpace(line[c+1:]))
	}
}

// fail keeps the first error, except that a fatal one wins.
func (m *Message) fail(e *Error) {
	if m.Err == nil || e.Fatal && !m.Err.Fatal {
		m.Err = e
	}
}

// unfold joins folded header lines in place: a line end followed by a blank becomes blanks (RFC 3261 section
// 7.3.1), so lengths and offsets stay as they are.
func unfold(head []byte) {
	for i := 0; ; {
		j := bytes.IndexByte(head[i:], '\n')
		if j < 0 {
			return
		}
		i += j + 1
		if i < len(head) && (head[i] == ' ' || head[i] == '\t') && i >= 2 && head[i-2] == '\r' {
			head[i-2], head[i-1] = ' ', ' '
		}
	}
}

func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil
	}
	line, rest = b[:i], b[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, rest
}

var sip2 = []byte("SIP/2.0")

func (m *Message) startLine(line []byte) {
	if len(line) > MaxLine {
		m.fail(malformed("Start Line Too Long"))
		return
	}
	a, rest, ok := bytes.Cut(line, []byte{' '})
	if ok && len(a) == len(sip2) && bytes.EqualFold(a[:4], sip2[:4]) { // a status line
		code, _, _ := bytes.Cut(rest, []byte{' '})
		n, ok := number(code, 699)
		if len(code) != 3 || !ok || n < 100 || !bytes.EqualFold(a, sip2) {
			m.Status = 1 // a response all the same: a bad response is dropped, never answered
			m.fail(malformed("Malformed Status Line"))
			return
		}
		m.Status = int(n)
		return
	}
	uri, version, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok || !ok2 || !isToken(a) || len(uri) == 0 || len(version) < 5 || !bytes.EqualFold(version[:4], sip2[:4]) ||
		bytes.IndexByte(version, ' ') >= 0 || uri[0] == '<' || hasControl(line) {
		m.Method = token(a)
		m.fail(malformed("Malformed Request Line"))
		return
	}
	m.Method, m.URI = a, uri
	if !bytes.EqualFold(version, sip2) {
		m.fail(&Error{Status: 505, Reason: "Version Not Supported"})
	}
}

// token returns b if it is a token, for error answers that name a method.
func token(b []byte) []byte {
	if isToken(b) {
		return b
	}
	return nil
}

func (m *Message) headerLine(line []byte) HeaderID {
	if len(line) > MaxLine {
		m.fail(malformed("Header Line Too Long"))
		line = line[:MaxLine]
	}
	if hasControl(line) {
		m.fail(malformed("Control Character in Header"))
	}
	c := bytes.IndexByte(line, ':')
	if c <= 0 {
		m.fail(malformed("Malformed Header Line"))
		return Other
	}
	name := bytes.TrimRight(line[:c], " \t")
	if !isToken(name) {
		m.fail(malformed("Malformed Header Name"))
		return Other
	}
	h := Header{ID: headerID(name), Line: line, Value: bytes.TrimSpace(line[c+1:])}
	if single[h.ID] && m.last[h.ID] != 0 {
		m.fail(malformed("Repeated Header"))
		return h.ID // the first one stands, for the answer
	}
	m.Headers = append(m.Headers, h)
	m.last[h.ID] = int16(len(m.Headers))
	switch h.ID {
	case ContentLength:
		m.contentLength(h.Value)
	case CSeq:
		m.cseq(h.Value)
	case MaxForwards:
		if _, ok := number(h.Value, 255); !ok {
			m.fail(malformed("Malformed Max-Forwards"))
		}
	}
	return h.ID
}

// contentLength takes a Content-Length value. A second one that differs leaves the end of the message open to
// interpretation: request smuggling. The connection cannot be kept.
func (m *Message) contentLength(v []byte) {
	n, ok := number(v, 1<<40)
	switch {
	case !ok:
		m.fail(fatal(400, "Malformed Content-Length"))
	case m.ContentLen >= 0 && m.ContentLen != int(n):
		m.fail(fatal(400, "Conflicting Content-Length"))
	case n > MaxMessage:
		m.fail(fatal(413, "Message Too Large"))
	default:
		m.ContentLen = int(n)
	}
}

func (m *Message) cseq(v []byte) {
	i := 0
	for i < len(v) && v[i] >= '0' && v[i] <= '9' {
		i++
	}
	n, ok := number(v[:i], 1<<31-1) // RFC 3261 section 8.1.1.5
	method := bytes.TrimLeft(v[i:], " \t")
	if !ok || len(method) == len(v[i:]) || !isToken(method) {
		m.fail(malformed("Malformed CSeq"))
		return
	}
	m.Seq, m.SeqMethod = uint32(n), method
}

// mandatory checks what every message needs (RFC 3261 section 8.1.1).
func (m *Message) mandatory() {
	for _, id := range [...]HeaderID{Via, From, To, CallID, CSeq} {
		if m.last[id] == 0 {
			m.fail(malformed("Missing " + names[id]))
		} else if len(m.Get(id)) == 0 {
			m.fail(malformed("Empty " + names[id]))
		}
	}
	for _, id := range [...]HeaderID{From, To} {
		if v := m.Get(id); len(v) > 0 && v[0] != '<' && !goodName(v) {
			m.fail(malformed("Malformed " + names[id]))
		}
	}
	if m.Status == 0 && len(m.Method) > 0 && len(m.SeqMethod) > 0 && !bytes.Equal(m.Method, m.SeqMethod) {
		m.fail(malformed("CSeq Method Differs")) // RFC 4475 section 3.1.2.17
	}
}

// goodName reports whether what stands before the angle bracket of an address is a display name: words, or one quoted
// string (RFC 3261 section 25.1; RFC 4475 section 3.1.2.15).
func goodName(v []byte) bool {
	open := addrStart(v)
	if open < 0 {
		return v[0] != '"' // a bare URI, or a quote without its end
	}
	name := bytes.TrimSpace(v[:open])
	if len(name) >= 2 && name[0] == '"' && name[len(name)-1] == '"' {
		return true
	}
	for _, c := range name {
		if !tokenChar[c] && c != ' ' && c != '\t' {
			return false
		}
	}
	return true
}

var names = [headerIDs]string{Via: "Via", From: "From", To: "To", CallID: "Call-ID", CSeq: "CSeq"}

// number reads decimal digits up to max.
func number(b []byte, max uint64) (uint64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n <= max
}

// Number reads the value of a numeric header, without its parameters.
func Number(v []byte, max uint64) (uint64, bool) {
	if i := bytes.IndexByte(v, ';'); i >= 0 {
		v = v[:i]
	}
	return number(bytes.TrimSpace(v), max)
}

func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// tokenChar marks the characters of a token (RFC 3261 section 25.1).
var tokenChar = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "-.!%*_+`'~" {
		t[c] = true
	}
	return t
}()

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenChar[c] {
			return false
		}
	}
	return len(b) > 0
}

// headerID maps a header name, long or compact (RFC 3261 section 7.3.3), without regard to case.
func headerID(name []byte) HeaderID {
	if len(name) == 1 {
		switch name[0] | 0x20 {
		case 'v':
			return Via
		case 'f':
			return From
		case 't':
			return To
		case 'i':
			return CallID
		case 'l':
			return ContentLength
		case 'c':
			return ContentType
		case 'm':
			return Contact
		case 'k':
			return Supported
		case 'o':
			return Event
		case 'x':
			return SessionExpires
		}
		return Other
	}
	for _, k := range longNames[min(len(name), len(longNames)-1)] {
		if equalFold(name, k.name) {
			return k.id
		}
	}
	return Other
}

type longName struct {
	name string
	id   HeaderID
}

// longNames are the long header names by their length.
var longNames = func() (t [20][]longName) {
	for _, n := range []longName{{"via", Via}, {"from", From}, {"to", To}, {"call-id", CallID}, {"cseq", CSeq},
		{"content-length", ContentLength}, {"content-type", ContentType}, {"contact", Contact},
		{"max-forwards", MaxForwards}, {"record-route", RecordRoute}, {"require", Require}, {"supported", Supported},
		{"expires", Expires}, {"event", Event}, {"user-agent", UserAgent}, {"authorization", Authorization},
		{"proxy-authorization", ProxyAuthorization}, {"session-expires", SessionExpires}, {"min-se", MinSE}} {
		t[len(n.name)] = append(t[len(n.name)], n)
	}
	return t
}()

// equalFold compares ASCII without regard to case; lower is in lower case already.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Param returns a parameter of a From, To or Contact value: of those behind the closing angle bracket, or, where the
// URI has no brackets, of all (RFC 3261 section 20).
func Param(value []byte, name string) []byte {
	if i := addrEnd(value); i >= 0 {
		value = value[i+1:]
	} else if i := bytes.IndexByte(value, ';'); i >= 0 {
		value = value[i:]
	} else {
		return nil
	}
	for len(value) > 0 {
		var p []byte
		p, value = cutParam(value)
		k, v, _ := bytes.Cut(p, []byte{'='})
		if equalFold(bytes.TrimSpace(k), name) {
			return bytes.Trim(bytes.TrimSpace(v), `"`)
		}
	}
	return nil
}

// cutParam returns the next parameter of a ";a=b;c" list, minding quotes; a comma ends the list.
func cutParam(b []byte) (p, rest []byte) {
	b = bytes.TrimLeft(b, " \t;")
	quoted := false
	for i, c := range b {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ';':
			return b[:i], b[i:]
		case c == ',':
			return b[:i], nil
		}
	}
	return b, nil
}

// addrEnd returns the index of the ">" that closes the address of a name-addr, -1 without brackets.
func addrEnd(v []byte) int {
	open := addrStart(v)
	if open < 0 {
		return -1
	}
	if i := bytes.IndexByte(v[open:], '>'); i >= 0 {
		return open + i
	}
	return -1
}

func addrStart(v []byte) int {
	quoted := false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '<' && !quoted:
			return i
		}
	}
	return -1
}

// Addr returns the URI text of a From, To or Contact value: what stands between the angle brackets.
func Addr(value []byte) []byte {
	open, end := addrStart(value), addrEnd(value)
	if open >= 0 && end > open {
		return value[open+1 : end]
	}
	if open >= 0 {
		return nil
	}
	if i := bytes.IndexByte(value, ';'); i >= 0 {
		value = value[:i]
	}
	return bytes.TrimSpace(value)
}
