package render

import (
	"encoding/hex"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"parley/compliance"
	"parley/log/event"
)

// AppendLine appends an event as one line of JSON with its line end, and after it a line for each part that the event
// implies. Fields: offset, at (RFC 3339, UTC, nanoseconds), kind, by, by_name, room (GUID), room_uri, room_name, node,
// command, index, the fields of the kind, erased, implied, leaf, chain. Names are lower snake case. What is empty, zero or
// false is left out, so that a field which a kind gets one day does not change the lines of yesterday. Secrets of accounts
// and tokens are left out.
func AppendLine(b []byte, cut compliance.Cut, e event.Envelope) ([]byte, error) {
	if err := Unknown(e); err != nil {
		return b, err
	}
	b = appendEvent(b, cut, e, false)
	switch e.Event.(type) {
	case *event.NodeLost, *event.NodeStarted:
		for _, p := range cut.Parts(e) {
			b = appendEvent(b, cut, p, true)
		}
	}
	return b, nil
}

func appendEvent(b []byte, cut compliance.Cut, e event.Envelope, implied bool) []byte {
	b = append(b, `{"offset":`...)
	b = strconv.AppendUint(b, uint64(e.Offset), 10)
	b = append(b, `,"at":"`...)
	b = AppendTime(b, e.At)
	b = append(b, `","kind":"`...)
	b = append(b, e.Kind().String()...)
	b = append(b, '"')
	if e.By != "" {
		b = appendText(append(b, `,"by":`...), string(e.By))
		b = appendText(append(b, `,"by_name":`...), cut.Person(e.By).DisplayName)
	}
	if e.Room != "" {
		p := cut.Place(e.Room)
		b = appendText(append(b, `,"room":`...), string(e.Room))
		b = appendText(append(b, `,"room_uri":`...), p.URI)
		b = appendText(append(b, `,"room_name":`...), p.Name)
	}
	if e.Node != "" {
		b = appendText(append(b, `,"node":`...), string(e.Node))
	}
	if !e.Command.IsZero() {
		b = appendHex(append(b, `,"command":`...), e.Command[:])
	}
	b = AppendFields(b, e.Event)
	if e.Erased {
		b = append(b, `,"erased":true`...)
	}
	if implied {
		b = append(b, `,"implied":true`...)
	}
	b = appendHex(append(b, `,"leaf":`...), e.Leaf[:])
	b = appendHex(append(b, `,"chain":`...), e.Chain[:])
	return append(b, "}\n"...)
}

// AppendTime appends a time as RFC 3339 with nine decimals.
func AppendTime(b []byte, t event.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z")
}

// AppendFields appends the fields of an event, each with a comma before it.
func AppendFields(b []byte, e event.Event) []byte {
	return appendStruct(b, reflect.ValueOf(e).Elem())
}

// plan is how the fields of a type are written. Types are few, and known to the program.
type plan []planned

type planned struct {
	index int
	key   string // with comma and colon
	when  bool   // a time
	flat  bool   // its fields stand among the others
}

var plans sync.Map // reflect.Type to plan

func planOf(t reflect.Type) plan {
	if p, ok := plans.Load(t); ok {
		return p.(plan)
	}
	var p plan
	for i := range t.NumField() {
		f := t.Field(i)
		// Whoever could use what is read here must not get it: the hashes of passwords and tokens.
		if f.Type == reflect.TypeFor[event.Secret]() || t == reflect.TypeFor[event.TokenIssued]() && f.Name == "SHA256" {
			continue
		}
		p = append(p, planned{index: i, key: `,"` + Snake(f.Name) + `":`, when: f.Type == reflect.TypeFor[event.Time](),
			flat: f.Name == "Info" && f.Type.Kind() == reflect.Struct})
	}
	plans.Store(t, p)
	return p
}

func appendStruct(b []byte, v reflect.Value) []byte {
	for _, f := range planOf(v.Type()) {
		x := v.Field(f.index)
		switch {
		case x.IsZero() || x.Kind() == reflect.Slice && x.Len() == 0:
		case f.flat:
			b = appendStruct(b, x)
		case f.when:
			b = append(append(b, f.key...), '"')
			b = append(AppendTime(b, event.Time(x.Int())), '"')
		default:
			b = appendValue(append(b, f.key...), x)
		}
	}
	return b
}

func appendValue(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.String:
		return appendText(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int64, reflect.Int:
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10)
	case reflect.Struct:
		start := len(b)
		b = appendStruct(b, v)
		if len(b) == start {
			return append(b, "{}"...)
		}
		b[start] = '{' // in the place of the first comma
		return append(b, '}')
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return appendHex(b, v.Bytes())
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, v.Index(i))
		}
		return append(b, ']')
	}
	panic("render: what is a " + v.Type().String() + "?") // a test writes every kind with every field
}

func appendHex(b, raw []byte) []byte {
	b = append(b, '"')
	b = hex.AppendEncode(b, raw)
	return append(b, '"')
}

// appendText appends a string of JSON. What is not UTF-8 becomes U+FFFD; the log has none.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	plain := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			// U+2028 and U+2029 end a line in some languages that read JSON.
			if (r != utf8.RuneError || n > 1) && r != 0x2028 && r != 0x2029 {
				i += n
				continue
			}
			b = append(b, s[plain:i]...)
			b = append(b, `\u`...)
			b = appendHex4(b, uint16(r))
			i += n
			plain = i
			continue
		}
		b = append(b, s[plain:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, `\u`...)
			b = appendHex4(b, uint16(c))
		}
		i++
		plain = i
	}
	b = append(b, s[plain:]...)
	return append(b, '"')
}

func appendHex4(b []byte, r uint16) []byte {
	const digits = "0123456789abcdef"
	return append(b, digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// Snake turns the name of a Go field into lower snake case: MessageID becomes message_id, MaxFileSizeKB max_file_size_kb.
func Snake(name string) string {
	var b strings.Builder
	rs := []rune(name)
	for i, r := range rs {
		if unicode.IsUpper(r) {
			if i > 0 && (!unicode.IsUpper(rs[i-1]) && !unicode.IsDigit(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1]) && unicode.IsUpper(rs[i-1])) {
				b.WriteByte('_')
			}
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
