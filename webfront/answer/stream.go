package answer

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// writeWithin is how long a reader of a stream may stand still before he is given up.
const writeWithin = 30 * time.Second

// Stream writes lines of JSON (NDJSON). An error after the first line becomes a last line {"problem": ...}.
type Stream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	buf   *bufio.Writer
	begun bool
}

// NewStream returns one that has not begun: until the first line another answer can be given.
func NewStream(w http.ResponseWriter) *Stream {
	return &Stream{w: w, rc: http.NewResponseController(w), buf: bufio.NewWriterSize(w, 64<<10)}
}

func (s *Stream) begin() {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.w.WriteHeader(http.StatusOK)
	}
}

// Line writes a line.
func (s *Stream) Line(b []byte) error {
	s.begin()
	// Not every ResponseWriter has deadlines; without one the server's own limits hold.
	if err := s.rc.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.buf.Write(b); err != nil {
		return err
	}
	return s.buf.WriteByte('\n')
}

// Add writes an object; what it writes may stay in the buffer until there is more.
func (s *Stream) Add(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.Line(b)
}

// Object writes an object that is seen at once.
func (s *Stream) Object(v any) error {
	s.begin()
	encode(s.buf, v)
	return s.Flush()
}

// Flush sends what is in the buffer.
func (s *Stream) Flush() error {
	s.begin()
	if err := s.buf.Flush(); err != nil {
		return err
	}
	return s.rc.Flush()
}

// End finishes the stream. Before the first line an error is an answer of its own, for the caller to write.
func (s *Stream) End(err error) error {
	if err == nil {
		return s.Flush()
	}
	if !s.begun {
		return err
	}
	// If the reader has gone away, this fails too, and nobody is left to tell.
	_ = s.Object(map[string]any{"problem": Of(err)})
	return nil
}
