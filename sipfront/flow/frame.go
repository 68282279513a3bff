package flow

import "bytes"

// frame is what cut found at the start of the unread bytes.
type frame uint8

const (
	needMore frame = iota // not a whole message yet
	gotPing               // CRLF CRLF: the keep-alive of RFC 5626 section 4.4.1
	gotNoise              // a line end between messages (RFC 3261 section 7.5)
	gotMsg
)

// framer cuts a byte stream into messages and keep-alives. What it finds does not depend on how the network cut
// the stream: decisions are made on the bytes up to a fixed point, never on how many more have arrived. It keeps
// what it learned about a half message, so a peer who sends one byte at a time costs no more than linear work.
type framer struct {
	seen int // bytes of the head that were searched for its end
	need int // bytes of the whole message, once known; 0 before

	datagram bool // the bytes are one message: without Content-Length the body goes on to their end (RFC 3261 section 18.3)
}

// cut looks at the unread bytes b. It returns what is there and how many bytes it takes. On gotMsg, m views the
// message and m.Err tells what is wrong with it; after a fatal error nothing behind it can be cut.
func (f *framer) cut(b []byte, m *Message) (frame, int) {
	switch {
	case f.need > len(b) || len(b) == 0:
		return needMore, 0
	case f.need == 0 && f.seen == 0 && b[0] == '\r':
		if n := min(len(b), 4); string(b[:n]) == "\r\n\r\n"[:n] {
			if n == 4 {
				return gotPing, 4
			}
			return needMore, 0 // a single line end, or the first half of a ping
		}
		if b[1] == '\n' {
			return gotNoise, 2
		}
	}
	head, end := b, -1
	if f.need > 0 {
		end = f.seen
	} else if i := bytes.Index(b[f.seen:], []byte("\r\n\r\n")); i >= 0 {
		end = f.seen + i + 4
	}
	if end >= 0 {
		head = b[:end]
	}
	if len(head) > MaxHead {
		head = head[:MaxHead]
	}
	// A bare LF is no line end in SIP (RFC 3261 section 7). Without this check the sender of an LF-only message
	// would wait for ever instead of learning why.
	if i := bareLF(head, f.seen); i >= 0 {
		return broken(head[:i+1], len(b), m, fatal(400, "Bare LF in Message Head"))
	}
	switch {
	case len(head) == MaxHead && end != MaxHead:
		return broken(head, len(b), m, fatal(400, "Message Head Too Long"))
	case end < 0:
		f.seen = max(len(b)-3, 0)
		return needMore, 0
	}
	m.scanHead(head)
	switch {
	case m.ContentLen >= 0:
	case f.datagram:
		m.ContentLen = len(b) - end
	default:
		// Mandatory on streams (RFC 3261 section 20.14); without a body type the message has no body either.
		if m.Has(ContentType) {
			m.fail(fatal(400, "Missing Content-Length"))
		}
		m.ContentLen = 0
	}
	total := end + m.ContentLen
	if total > MaxMessage {
		m.fail(fatal(413, "Message Too Large"))
	}
	switch {
	case m.Err != nil && m.Err.Fatal:
		return gotMsg, len(b)
	case total > len(b):
		f.seen, f.need = end, total
		return needMore, 0
	}
	m.Raw, m.Body = b[:total:total], b[end:total:total]
	*f = framer{datagram: f.datagram}
	return gotMsg, total
}

// partial reports whether a message has begun and not ended.
func (f *framer) partial() bool { return f.need > 0 || f.seen > 0 }

// broken makes a message of a head whose structure is lost, with what could be scanned for the answer.
func broken(head []byte, n int, m *Message, e *Error) (frame, int) {
	m.scanHead(head)
	m.Err = e
	return gotMsg, n
}

// bareLF returns the index of the first LF without CR, -1 if there is none. Bytes before from were looked at.
func bareLF(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1
		}
		if i += from; i == 0 || b[i-1] != '\r' {
			return i
		}
		from = i + 1
	}
}
