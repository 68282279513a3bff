package flow

import (
	"bytes"
	"strconv"
)

// AppendStatus appends a status line.
func AppendStatus(dst []byte, status int, reason string) []byte {
	dst = append(dst, "SIP/2.0 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, reason...)
	return append(dst, '\r', '\n')
}

// AppendEcho appends what every answer copies from its request: all Via lines, From, To (with our tag, if it had
// none), Call-ID and CSeq (RFC 3261 section 8.2.6.2). The lines are copied byte for byte: clients match them as text
// (seen of pidgin-sipe). Lines that a bad request lacks are left out.
func (m *Message) AppendEcho(dst []byte, toTag string) []byte {
	for i := range m.Headers {
		if m.Headers[i].ID == Via {
			dst = append(append(dst, m.Headers[i].Line...), '\r', '\n')
		}
	}
	for _, id := range [...]HeaderID{From, To, CallID, CSeq} {
		i := m.last[id]
		if i == 0 {
			continue
		}
		h := &m.Headers[i-1]
		dst = append(dst, h.Line...)
		if id == To && toTag != "" && Param(h.Value, "tag") == nil {
			dst = append(append(bytes.TrimRight(dst, " \t"), ";tag="...), toTag...)
		}
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// AppendRecordRoute appends the Record-Route lines: part of every answer that makes a dialog (RFC 3261 section 12.1.1).
func (m *Message) AppendRecordRoute(dst []byte) []byte {
	for i := range m.Headers {
		if m.Headers[i].ID == RecordRoute {
			dst = append(append(dst, m.Headers[i].Line...), '\r', '\n')
		}
	}
	return dst
}

// AppendBody appends the last header lines, the empty line and the body. No contentType means no body.
func AppendBody(dst []byte, contentType string, body []byte) []byte {
	if contentType != "" {
		dst = append(append(dst, "Content-Type: "...), contentType...)
		dst = append(dst, '\r', '\n')
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}
