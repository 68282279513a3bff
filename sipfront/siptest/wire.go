package siptest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Message is a SIP message as it came. Header lines are kept whole.
type Message struct {
	Start string
	Lines []string
	Body  []byte
}

// Header returns the value of a header, "" if there is none; of several, the first.
func (m *Message) Header(name string) string {
	for _, l := range m.Lines {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Headers returns the values of all lines of a header.
func (m *Message) Headers(name string) (all []string) {
	for _, l := range m.Lines {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(strings.TrimSpace(k), name) {
			all = append(all, strings.TrimSpace(v))
		}
	}
	return all
}

// Status returns the status of an answer, 0 for a request.
func (m *Message) Status() int {
	rest, ok := strings.CutPrefix(m.Start, "SIP/2.0 ")
	if !ok || len(rest) < 3 {
		return 0
	}
	n, err := strconv.Atoi(rest[:3])
	if err != nil {
		return 0
	}
	return n
}

// Method returns the method of a request, or the one in the CSeq of an answer.
func (m *Message) Method() string {
	if m.Status() != 0 {
		_, method, _ := strings.Cut(m.Header("CSeq"), " ")
		return strings.TrimSpace(method)
	}
	method, _, _ := strings.Cut(m.Start, " ")
	return method
}

// String returns the message as it looks on the wire.
func (m *Message) String() string {
	return m.Start + "\r\n" + strings.Join(m.Lines, "\r\n") + "\r\n\r\n" + string(m.Body)
}

// uri returns what stands between the angle brackets.
func uri(value string) string {
	i, j := strings.IndexByte(value, '<'), strings.IndexByte(value, '>')
	if i < 0 || j < i {
		return value
	}
	return value[i+1 : j]
}

var errFraming = errors.New("the server broke the framing")

// ReadMessage reads one message. Keep-alive answers (a single CRLF) before it are counted in pongs, if that is not nil.
func ReadMessage(r *bufio.Reader, pongs *int) (*Message, error) {
	m := new(Message)
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if err == io.EOF && (line != "" || m.Start != "") {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: line %q ends in a bare LF", errFraming, line)
		case m.Start == "" && line == "":
			if pongs != nil {
				*pongs++
			}
			continue
		case m.Start == "":
			m.Start = line
			continue
		case line != "":
			m.Lines = append(m.Lines, line)
			if k, v, _ := strings.Cut(line, ":"); strings.EqualFold(k, "Content-Length") {
				if length, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
					return nil, fmt.Errorf("%w: %q", errFraming, line)
				}
			}
			continue
		}
		if !strings.HasPrefix(m.Start, "SIP/2.0 ") && !strings.HasSuffix(m.Start, " SIP/2.0") {
			return nil, fmt.Errorf("%w: start line %q", errFraming, m.Start)
		}
		if length > 0 {
			m.Body = make([]byte, length)
			_, err = io.ReadFull(r, m.Body)
		}
		return m, err
	}
}
