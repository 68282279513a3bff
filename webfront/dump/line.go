// Package dump prints events of the log for auditors: which events, and as what. A live node and a stopped data
// directory go through it alike, so they print the same bytes.
package dump

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

// RawLine is a line of JSON.
type RawLine = json.RawMessage

// line builds one JSON object, fields in the order they are added.
type line struct {
	buf bytes.Buffer
	enc *json.Encoder
}

func newLine() *line {
	l := new(line)
	l.enc = json.NewEncoder(&l.buf)
	l.enc.SetEscapeHTML(false)
	return l
}

func (l *line) add(name string, value any) {
	sep := byte(',')
	if l.buf.Len() == 0 {
		sep = '{'
	}
	l.buf.WriteByte(sep)
	l.buf.WriteString(strconv.Quote(name)) // names are ours: lower snake case
	l.buf.WriteByte(':')
	if err := l.enc.Encode(value); err != nil {
		panic(err) // strings, numbers, booleans and lists of them always encode
	}
	l.buf.Truncate(l.buf.Len() - 1) // the encoder's line end
}

// end closes the object.
func (l *line) end() RawLine {
	if l.buf.Len() == 0 {
		l.buf.WriteByte('{')
	}
	l.buf.WriteByte('}')
	return RawLine(l.buf.Bytes())
}

// Line returns the event as one line of JSON without its line end: offset, at, kind, by, room, node, the fields of
// its kind, chain. Secrets are not among them.
func Line(e *event.Envelope, domain string) []byte {
	l := newLine()
	room := ""
	if e.Room != "" {
		room = chat.RoomURI(domain, e.Room)
	}
	l.add("offset", e.Offset)
	l.add("at", e.At.String())
	l.add("kind", e.Kind().String())
	l.add("by", e.By)
	l.add("room", room)
	l.add("node", e.Node)
	l.fields(e.Event, e.Erased)
	if e.Erased {
		l.add("erased", true)
	}
	if !e.Command.IsZero() {
		l.add("command", hex.EncodeToString(e.Command[:]))
	}
	l.add("chain", e.Chain.String())
	return l.end()
}

// Text turns a line of JSON into a line for people: offset, time, kind, by, room and the rest as NAME=VALUE. Chain
// and command identity are left out, and so is what is empty.
func Text(jsonLine []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(jsonLine))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		return "", fmt.Errorf("read event line: %w", err)
	}
	head := map[string]string{"offset": "-", "at": "-", "kind": "-", "by": "-", "room": "-"}
	var rest []string
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return "", fmt.Errorf("read event line: %w", err)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return "", fmt.Errorf("read event line: %w", err)
		}
		key, value := name.(string), string(raw)
		_, isHead := head[key]
		switch {
		case value == `""` || value == "[]" || value == "false" || key == "chain" || key == "command":
		case isHead:
			head[key] = strings.Trim(value, `"`)
		default:
			rest = append(rest, key+"="+value)
		}
	}
	if _, err := d.Token(); err != nil {
		return "", fmt.Errorf("read event line: %w", err)
	}
	return strings.TrimRight(fmt.Sprintf("%s  %s  %-16s  %s  %s  %s", head["offset"], head["at"], head["kind"], head["by"],
		head["room"], strings.Join(rest, " ")), " "), nil
}

// DraftLine returns an event that has no place yet: kind, by, room, node and the fields of its kind.
func DraftLine(d *event.Draft, domain string) RawLine {
	l := newLine()
	room := ""
	if d.Room != "" {
		room = chat.RoomURI(domain, d.Room)
	}
	l.add("kind", d.Event.Kind().String())
	l.add("by", d.By)
	l.add("room", room)
	l.add("node", d.Node)
	l.fields(d.Event, false)
	return l.end()
}
