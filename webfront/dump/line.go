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
	l.buf.WriteByte('}')
	return l.buf.Bytes()
}

func (l *line) fields(ev event.Event, erased bool) {
	switch ev := ev.(type) {
	case *event.PoolFormed:
		l.add("domain", ev.Domain)
		l.add("pool_uri", ev.PoolURI)
	case *event.NodeStarted:
		l.add("incarnation", ev.Incarnation)
		l.add("version", ev.Version)
	case *event.NodeLost:
		l.add("incarnation", ev.Incarnation)
		l.add("reason", ev.Reason)
	case *event.Joined:
		l.add("endpoint", ev.Endpoint)
		l.add("incarnation", ev.Incarnation)
	case *event.Parted:
		l.add("endpoint", ev.Endpoint)
		l.add("incarnation", ev.Incarnation)
		l.add("reason", ev.Reason)
	case *event.Posted:
		l.add("endpoint", ev.Endpoint)
		l.add("message_id", ev.MessageID)
		l.add("alert", ev.Alert)
		l.add("unlogged", ev.Unlogged)
		l.add("body", ev.Text)
		if ev.RTF != "" {
			l.add("rtf", ev.RTF)
		}
	case *event.HistoryRead:
		l.add("endpoint", ev.Endpoint)
		l.add("asked", ev.Asked)
		l.add("first", ev.First)
		l.add("last", ev.Last)
	case *event.CategoryCreated:
		l.category(ev.Category, ev.Info)
	case *event.CategoryChanged:
		l.category(ev.Category, ev.Info)
	case *event.CategoryRemoved:
		l.add("category", ev.Category)
	case *event.RoomCreated:
		l.room(ev.Info, ev.Access)
	case *event.RoomChanged:
		l.room(ev.Info, ev.Access)
	case *event.RoomRemoved:
		l.add("name", ev.Name)
	case *event.UserCreated:
		l.user(ev.User, ev.Info, ev.Secret, erased)
	case *event.UserChanged:
		l.user(ev.User, ev.Info, ev.Secret, erased)
	case *event.UserRemoved:
		l.add("user", ev.User)
	default:
		l.rest(ev)
	}
}

func (l *line) rest(ev event.Event) {
	switch ev := ev.(type) {
	case *event.SettingPublished:
		l.add("category", ev.Setting.Category)
		l.add("instance", ev.Setting.Instance)
		l.add("container", ev.Setting.Container)
		l.add("version", ev.Setting.Version)
		l.add("expire_type", ev.Setting.ExpireType)
		l.add("content", ev.Setting.Content)
	case *event.SettingRemoved:
		l.add("category", ev.Category)
		l.add("instance", ev.Instance)
	case *event.FeedClaimed:
		l.add("feed", ev.Feed)
		l.add("epoch", ev.Epoch)
	case *event.FeedCut:
		l.add("feed", ev.Feed)
		l.add("epoch", ev.Epoch)
		l.add("first", ev.First)
		l.add("last", ev.Last)
	case *event.FeedReceipt:
		l.add("feed", ev.Feed)
		l.add("epoch", ev.Epoch)
		l.add("first", ev.First)
		l.add("last", ev.Last)
		l.add("name", ev.Name)
		l.add("bytes", ev.Bytes)
		l.add("sha256", hex.EncodeToString(ev.SHA256))
	case *event.Unknown: // of a newer version: shown as it is, for whoever can read it
		l.add("payload", hex.EncodeToString(ev.Payload))
	}
}

func (l *line) category(id event.CategoryID, i event.CategoryInfo) {
	l.add("category", id)
	l.add("name", i.Name)
	l.add("description", i.Description)
	l.add("allowed", list(i.Allowed))
	l.add("denied", list(i.Denied))
	l.add("creators", list(i.Creators))
	l.add("invitations", i.Invitations)
	l.add("file_upload", i.FileUpload)
	l.add("chat_history", i.ChatHistory)
}

type access struct {
	Principal event.Principal `json:"principal"`
	Roles     []string        `json:"roles"` // empty: all roles were taken away
}

func (l *line) room(i event.RoomInfo, as []event.Access) {
	l.add("name", i.Name)
	l.add("description", i.Description)
	l.add("category", i.Category)
	l.add("type", i.Type)
	l.add("privacy", i.Privacy)
	l.add("invitations", i.Invitations)
	l.add("add_in", i.AddIn)
	l.add("disabled", i.Disabled)
	out := []access{}
	for _, a := range as {
		out = append(out, access{a.Principal, Roles(a.Role)})
	}
	l.add("access", out)
}

// Roles returns the names of a set of roles.
func Roles(r event.Role) []string {
	out := []string{}
	for _, n := range []struct {
		role event.Role
		name string
	}{{event.RoleMember, "member"}, {event.RoleManager, "manager"}, {event.RolePresenter, "presenter"}} {
		if r&n.role != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// user leaves the secret out: whoever may read the log must not be able to sign in with what he reads.
func (l *line) user(u event.Principal, i event.UserInfo, s event.Secret, erased bool) {
	l.add("user", u)
	l.add("display_name", i.DisplayName)
	l.add("email", i.Email)
	l.add("enabled", i.Enabled)
	if !erased {
		l.add("password_set", s.Realm != "")
	}
}

// list makes an absent list an empty one: scripts read a list either way.
func list(ps []event.Principal) []event.Principal {
	if ps == nil {
		return []event.Principal{}
	}
	return ps
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

// RawLine is a line of JSON.
type RawLine = json.RawMessage

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
	l.buf.WriteByte('}')
	return RawLine(l.buf.Bytes())
}
