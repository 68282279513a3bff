package dump

import (
	"encoding/hex"
	"reflect"
	"strings"

	"parley/log/event"
)

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
		l.text(ev.Story, ev.Title, ev.Text, ev.RTF, ev.Links)
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
	case *event.MessageImported:
		l.add("message_id", ev.MessageID)
		l.add("author", ev.Author)
		l.add("posted_at", ev.PostedAt.String())
		l.add("source", ev.Source)
		l.add("alert", ev.Alert)
		l.text(ev.Story, ev.Title, ev.Text, ev.RTF, ev.Links)
	case *event.TokenIssued: // not what it can be recognised by
		l.add("token", ev.Token)
		l.add("admin", ev.Admin)
		l.add("expires", valueOf(reflect.ValueOf(ev.Expires)))
		l.add("description", ev.Description)
	case *event.Unknown: // of a newer version: shown as it is, for whoever can read it
		l.add("payload", hex.EncodeToString(ev.Payload))
	default:
		l.plain(reflect.ValueOf(ev).Elem())
	}
}

// text adds what people can read of a message.
func (l *line) text(story bool, title, text, rtf string, links []event.Link) {
	l.add("body", text)
	if story {
		l.add("title", title)
	}
	if rtf != "" {
		l.add("rtf", rtf)
	}
	if len(links) > 0 {
		l.add("links", valueOf(reflect.ValueOf(links)))
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
	if i.RetentionDays > 0 {
		l.add("retention_days", i.RetentionDays)
	}
	if i.ArchiveLag != 0 {
		l.add("archive_lag", i.ArchiveLag)
		l.add("archive_feeds", append([]string{}, i.ArchiveFeeds...))
	}
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
	for _, f := range [][2]string{{"unit", string(i.Unit)}, {"name", i.Name}, {"given_name", i.GivenName}, {"surname", i.Surname}, {"company", i.Company}} {
		if f[1] != "" {
			l.add(f[0], f[1])
		}
	}
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

// plain adds the fields of an event that needs no form of its own, under their names in lower snake case. The settable
// fields of an object (Info) stand among the others, and a secret stays out.
func (l *line) plain(v reflect.Value) {
	for i := range v.NumField() {
		f, name := v.Field(i), snake(v.Type().Field(i).Name)
		switch {
		case f.Type() == reflect.TypeFor[event.Secret]():
			l.add("password_set", !f.IsZero())
		case name == "info":
			l.plain(f)
		case f.IsZero() && v.Type().Field(i).Tag.Get("json") == ",omitempty": // a field that came later
		default:
			l.add(name, valueOf(f))
		}
	}
}

// valueOf returns a field as JSON has it: times as text, bytes in hex, lists never null.
func valueOf(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case event.Time:
		if x == 0 {
			return ""
		}
		return x.String()
	case []byte:
		return hex.EncodeToString(x)
	}
	switch v.Kind() {
	case reflect.Slice:
		out := []any{}
		for i := range v.Len() {
			out = append(out, valueOf(v.Index(i)))
		}
		return out
	case reflect.Struct:
		o := newLine()
		o.plain(v)
		return o.end()
	}
	return v.Interface()
}

// snake turns the name of a Go field into lower snake case: MaxFileSizeKB is max_file_size_kb.
func snake(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		upper := func(j int) bool { return j < len(name) && name[j] >= 'A' && name[j] <= 'Z' }
		if upper(i) {
			if i > 0 && (!upper(i-1) || i+1 < len(name) && !upper(i+1) && (name[i+1] < '0' || name[i+1] > '9')) {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}
