package chat

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/log/event"
	"parley/projections/chat/roles"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata; review the diff")

// TestTranscripts runs the files in testdata. A line "> WHO COMMAND" is a command; the lines below it are the events
// it led to, or the refusal, as this test writes them. See testdata/README.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runTranscript(t, string(text))
			if got == string(text) {
				return
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s differs; -update rewrites it.\n%s", file, firstDifference(string(text), got))
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, a, b)
		}
	}
	return ""
}

// transcript is one file under way.
type transcript struct {
	*pool
	t     *testing.T
	names map[string]string // GUID to the name that the object had first
	ids   map[string]string // and back
	out   strings.Builder
}

func runTranscript(t *testing.T, text string) string {
	p := newPool(t)
	x := &transcript{pool: p, t: t, names: map[string]string{}, ids: map[string]string{}}
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue // output of an earlier run
		}
		x.out.WriteString(line + "\n")
		if cmd, ok := strings.CutPrefix(line, "> "); ok {
			if err := x.run(cmd); err != nil {
				t.Fatalf("line %d: %q: %v", i+1, line, err)
			}
			p.checkRows()
		}
	}
	if a, b := p.s.Hash(), p.loaded().Hash(); a != b {
		t.Errorf("hash %x, after loading the rows %x", a, b)
	}
	return x.out.String()
}

var guid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// print writes a line of output with names for ids and short addresses.
func (x *transcript) print(format string, args ...any) {
	line := guid.ReplaceAllStringFunc(fmt.Sprintf(format, args...), func(id string) string {
		if n, ok := x.names[id]; ok {
			return n
		}
		return id
	})
	x.out.WriteString("  " + strings.ReplaceAll(strings.ReplaceAll(line, "sip:", ""), "@"+testDomain, "") + "\n")
}

func (x *transcript) id(name string) string {
	if id, ok := x.ids[name]; ok {
		return id
	}
	return name
}

func (x *transcript) name(id, name string) {
	if _, ok := x.names[id]; !ok && id != "" {
		x.names[id], x.ids[name] = name, id
	}
}

func principal(s string) event.Principal {
	if s == "*" || strings.Contains(s, ":") {
		return event.Principal(s)
	}
	return user(s)
}

func principals(s string) (list []event.Principal) {
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		list = append(list, principal(p))
	}
	return list
}

func access(t *testing.T, s string) (list []event.Access) {
	roles := map[string]event.Role{"member": event.RoleMember, "manager": event.RoleManager, "presenter": event.RolePresenter, "none": 0}
	for _, a := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		p, names, ok := strings.Cut(a, "=")
		if !ok {
			t.Fatalf("access %q, want who=role+role", a)
		}
		var role event.Role
		for _, n := range strings.Split(names, "+") {
			r, ok := roles[n]
			if !ok {
				t.Fatalf("access %q: role %q", a, n)
			}
			role |= r
		}
		list = append(list, event.Access{Principal: principal(p), Role: role})
	}
	return list
}

// words are the arguments of a command: plain ones and key=value ones. A word in double quotes may hold spaces.
type words struct {
	t     *testing.T
	plain []string
	named map[string]string
	used  map[string]bool
}

var wordRE = regexp.MustCompile(`[^\s"]*"[^"]*"|\S+`)

func splitWords(t *testing.T, s string) *words {
	w := &words{t: t, named: map[string]string{}, used: map[string]bool{}}
	for _, f := range wordRE.FindAllString(s, -1) {
		k, v, ok := strings.Cut(f, "=")
		if ok && !strings.ContainsAny(k, `"`) {
			w.named[k] = strings.Trim(v, `"`)
		} else {
			w.plain = append(w.plain, strings.Trim(f, `"`))
		}
	}
	return w
}

func (w *words) str(key, def string) string {
	if v, ok := w.named[key]; ok {
		w.used[key] = true
		return v
	}
	return def
}

func (w *words) num(key string, def uint64) uint64 {
	v := w.str(key, "")
	if v == "" {
		return def
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		w.t.Fatalf("%s=%s is not a number", key, v)
	}
	return n
}

func (w *words) flag(key string, def bool) bool {
	return w.str(key, strconv.FormatBool(def)) == "true"
}

func (w *words) arg(i int) string {
	if i >= len(w.plain) {
		w.t.Fatalf("argument %d is missing in %q", i, w.plain)
	}
	return w.plain[i]
}

// origin reads "alice", "alice/e2@n2", "sip:zoe@example.test", "admin" or "node@n2".
func (x *transcript) origin(who string) Origin {
	node := "n1"
	if i := strings.LastIndexByte(who, '@'); i >= 0 && !strings.Contains(who[i:], ".") { // a node, not a domain
		who, node = who[:i], who[i+1:]
	}
	o := Origin{Node: event.NodeID(node)}
	if n, ok := x.s.Node(o.Node); ok {
		o.Incarnation = n.Incarnation
	}
	if role, ok := strings.CutPrefix(who, "admin/"); ok { // an administrator with one role
		set, err := roles.Of(role)
		if err != nil {
			x.t.Fatal(err)
		}
		o.By, o.Trusted, o.Roles = event.Principal("admin:"+role), true, set
		return o
	}
	switch who {
	case "admin":
		o.By, o.Trusted = "admin:root", true
		return o
	case "node":
		o.By, o.Trusted = event.NodePrincipal(o.Node), true
		return o
	}
	who, e, ok := strings.Cut(who, "/")
	if !ok {
		e = "e1"
	}
	o.By, o.Endpoint = principal(who), event.Endpoint(e)
	return o
}

func (x *transcript) run(line string) error {
	line = x.directoryNames(line)
	who, rest, _ := strings.Cut(line, " ")
	w := splitWords(x.t, rest)
	switch who {
	case "wait":
		d, err := time.ParseDuration(rest)
		x.now += event.Time(d)
		return err
	case "show":
		return x.show(w)
	}
	o := x.origin(who)
	if id := w.str("id", ""); id != "" {
		o.ID = commandID(id)
	}
	o.Incarnation = event.Incarnation(w.num("incarnation", uint64(o.Incarnation)))
	o.Trusted = w.flag("trusted", o.Trusted)
	c, err := x.command(w)
	if err != nil {
		return err
	}
	for k := range w.named {
		if !w.used[k] {
			return fmt.Errorf("unknown argument %s=", k)
		}
	}
	envelopes, d, err := x.do(o, c)
	switch c := c.(type) {
	case *CreateCategory:
		x.name(string(d.Result.Category), c.Info.Name)
	case *CreateRoom:
		x.name(string(d.Result.Room), c.Info.Name)
	case *CreateAddIn:
		x.name(string(d.Result.AddIn), c.Info.Name)
	case *CreateGroup:
		x.name(string(d.Result.Group), c.Info.Name)
	case *CreateUnit:
		x.name(string(d.Result.Unit), c.Info.Name)
	}
	if err != nil {
		f := AsRefusal(err)
		x.print("refused %s: %s%s", why(f), f.Text, fields(" ", reflect.ValueOf(d.Result)))
		for _, r := range f.Rows {
			if len(f.Rows) > 1 {
				x.print("row %d: %s", r.Line, r.Text)
			}
		}
		return nil
	}
	for _, e := range envelopes {
		x.print("%d %s%s%s", e.Offset, e.Kind(), fields(" ", reflect.ValueOf(event.Meta{By: e.By, Room: e.Room, Node: e.Node})),
			fields(" ", reflect.ValueOf(e.Event).Elem()))
	}
	if len(envelopes) == 0 {
		x.print("no event")
	}
	for _, f := range d.Result.Refused {
		x.print("refused %s: %s", why(&f), f.Text)
	}
	d.Result.Refused = nil
	if r := fields(" ", reflect.ValueOf(d.Result)); r != "" {
		x.print("result%s", r)
	}
	return nil
}

// why prints the class of a refusal, the rule and whom it is about.
func why(f *Refusal) string {
	about := strings.Trim(f.Rule+" "+string(f.Principal), " ")
	if about == "" {
		return string(f.Code)
	}
	return fmt.Sprintf("%s (%s)", f.Code, about)
}

// fields prints what is not zero.
func fields(sep string, v reflect.Value) string {
	var b strings.Builder
	for i := range v.NumField() {
		f := v.Field(i)
		name := strings.ToLower(v.Type().Field(i).Name)
		if f.IsZero() || name == "command" || !v.Type().Field(i).IsExported() {
			continue
		}
		switch {
		case f.Kind() == reflect.Struct:
			b.WriteString(fields(sep, f))
		case f.Type() == reflect.TypeOf([]event.Access(nil)):
			for _, a := range f.Interface().([]event.Access) {
				fmt.Fprintf(&b, "%s%s=%s", sep, a.Principal, roleString(a.Role))
			}
		case f.Kind() == reflect.String:
			fmt.Fprintf(&b, "%s%s=%s", sep, name, quoted(f.String()))
		default:
			fmt.Fprintf(&b, "%s%s=%v", sep, name, f.Interface())
		}
	}
	return b.String()
}

func quoted(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%s...(%d bytes)", s[:3], len(s))
	}
	if strings.ContainsAny(s, " \"\n") {
		return strconv.Quote(s)
	}
	return s
}

func roleString(r event.Role) string {
	var names []string
	for i, n := range []string{"member", "manager", "presenter"} {
		if r&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}

func (x *transcript) rooms(names []string) (list []event.RoomID) {
	for _, n := range names {
		list = append(list, event.RoomID(x.id(n)))
	}
	return list
}

func (x *transcript) command(w *words) (Command, error) {
	verb := w.arg(0)
	switch verb {
	case "form-pool":
		return &FormPool{Domain: w.arg(1), PoolURI: w.arg(2)}, nil
	case "start-node":
		return &StartNode{Version: w.str("version", "1.0")}, nil
	case "lose-node":
		return &LoseNode{Node: event.NodeID(w.arg(1)), Incarnation: event.Incarnation(w.num("lost", 1)), Reason: w.str("reason", "")}, nil
	case "create-user", "change-user":
		old, _ := x.s.User(principal(w.arg(1)))
		info := event.UserInfo{DisplayName: w.str("name", old.Info.DisplayName), Email: w.str("email", old.Info.Email),
			Enabled: w.flag("enabled", verb == "create-user" || old.Info.Enabled),
			Unit:    event.UnitID(x.id(w.str("unit", string(old.Info.Unit)))), Name: w.str("cn", old.Info.Name)}
		if verb == "create-user" {
			return &CreateUser{User: principal(w.arg(1)), Info: info}, nil
		}
		return &ChangeUser{User: principal(w.arg(1)), Info: info, Revision: event.Offset(w.num("revision", 0))}, nil
	case "remove-user":
		return &RemoveUser{User: principal(w.arg(1))}, nil
	case "create-category":
		return &CreateCategory{ID: event.CategoryID(w.str("guid", "")), Info: categoryInfo(w, event.CategoryInfo{Name: w.arg(1)})}, nil
	case "change-category":
		id := event.CategoryID(x.id(w.arg(1)))
		old, _ := x.s.Category(id)
		return &ChangeCategory{ID: id, Info: categoryInfo(w, old.Info), Revision: event.Offset(w.num("revision", 0))}, nil
	case "remove-category":
		return &RemoveCategory{ID: event.CategoryID(x.id(w.arg(1)))}, nil
	case "create-room":
		return &CreateRoom{ID: event.RoomID(w.str("guid", "")), Info: x.roomInfo(w, event.RoomInfo{Name: w.arg(1)}),
			Access: access(w.t, w.str("access", ""))}, nil
	case "change-room":
		id := event.RoomID(x.id(w.arg(1)))
		old, _ := x.s.Room(id)
		return &ChangeRoom{ID: id, Info: x.roomInfo(w, old.Info), Access: access(w.t, w.str("access", "")),
			Revision: event.Offset(w.num("revision", 0))}, nil
	case "remove-room":
		return &RemoveRoom{ID: event.RoomID(x.id(w.arg(1)))}, nil
	case "join":
		return &Join{Rooms: x.rooms(w.plain[1:])}, nil
	case "bjoin":
		return &Join{Rooms: x.rooms(w.plain[1:]), Batch: true}, nil
	case "part":
		return &Part{Rooms: x.rooms(w.plain[1:]), Reason: event.PartReason(w.str("reason", ""))}, nil
	case "post":
		n := w.num("bytes", 0)
		text := strings.Repeat("x", int(n))
		if n == 0 {
			text = strings.Join(w.plain[2:], " ")
		}
		return &Post{Room: event.RoomID(x.id(w.arg(1))), Text: text, RTF: w.str("rtf", ""), Alert: w.flag("alert", false),
			Story: w.flag("story", false), Title: w.str("title", ""), Links: links(w.str("links", ""))}, nil
	case "history":
		return &ReadHistory{Room: event.RoomID(x.id(w.arg(1))), Last: w.num("last", 0), From: w.num("from", 0), UpTo: w.num("upto", 0)}, nil
	case "publish":
		n := w.num("instance", 0)
		return &PublishSetting{Setting: event.Setting{Category: w.arg(1), Instance: n, Container: w.num("container", 0),
			Version: w.num("version", 0), Content: w.str("content", "")}}, nil
	case "unpublish":
		return &RemoveSetting{Category: w.arg(1), Instance: w.num("instance", 0)}, nil
	case "claim-feed":
		return &ClaimFeed{Feed: w.arg(1)}, nil
	case "cut-feed":
		return &CutFeed{Feed: w.arg(1), Epoch: w.num("epoch", 0), First: event.Offset(w.num("first", 0)), Last: event.Offset(w.num("last", 0))}, nil
	case "set-feed":
		return &SetFeed{Feed: w.arg(1), Info: event.FeedInfo{Adapter: w.str("adapter", "jsonl"), Every: int64(w.num("every", 0)) * 1e9, MaxEvents: w.num("max", 0),
			Kinds: strings.FieldsFunc(w.str("kinds", ""), func(r rune) bool { return r == ',' }), Options: []event.FeedOption{{Name: "dir", Value: w.str("dir", "/a")}}},
			From: event.Offset(w.num("from", 0)), Create: w.flag("create", false)}, nil
	case "rm-feed":
		return &RemoveFeed{Feed: w.arg(1)}, nil
	case "pause-feed":
		return &PauseFeed{Feed: w.arg(1), Reason: w.str("reason", "")}, nil
	case "resume-feed":
		return &ResumeFeed{Feed: w.arg(1)}, nil
	case "receipt-feed":
		return &ReceiptFeed{Receipt: event.FeedReceipt{Feed: w.arg(1), Epoch: w.num("epoch", 0), First: event.Offset(w.num("first", 0)),
			Last: event.Offset(w.num("last", 0)), Name: w.str("name", ""), Bytes: w.num("bytes", 0)}}, nil
	}
	if c := x.directoryCommand(w); c != nil {
		return c, nil
	}
	if c := x.poolCommand(w); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("unknown command %s", verb)
}

func categoryInfo(w *words, i event.CategoryInfo) event.CategoryInfo {
	i.Name = w.str("name", i.Name)
	for key, list := range map[string]*[]event.Principal{"allowed": &i.Allowed, "denied": &i.Denied, "creators": &i.Creators} {
		if _, ok := w.named[key]; ok {
			*list = principals(w.str(key, ""))
		}
	}
	i.Description = w.str("description", i.Description)
	i.ChatHistory = w.flag("history", i.ChatHistory)
	i.Invitations = w.flag("invitations", i.Invitations)
	i.FileUpload = w.flag("files", i.FileUpload)
	return i
}

func (x *transcript) roomInfo(w *words, i event.RoomInfo) event.RoomInfo {
	i.Name = w.str("name", i.Name)
	i.Description = w.str("description", i.Description)
	if g := w.str("category", ""); g != "" {
		i.Category = event.CategoryID(x.id(g))
	}
	i.Type = event.RoomType(w.str("type", string(i.Type)))
	i.Privacy = event.Privacy(w.str("privacy", string(i.Privacy)))
	i.Invitations = event.Invitations(w.str("invitations", string(i.Invitations)))
	i.Disabled = w.flag("disabled", i.Disabled)
	i.AddIn = x.id(w.str("addin", i.AddIn))
	return i
}

// show prints what a query answers.
func (x *transcript) show(w *words) error {
	switch what := w.arg(0); what {
	case "rights":
		r := x.s.Rights(event.RoomID(x.id(w.arg(2))), principal(w.arg(1)))
		if s := fields(" ", reflect.ValueOf(r)); s != "" {
			x.print("%s", strings.ReplaceAll(s[1:], "=true", ""))
		} else {
			x.print("none")
		}
	case "access":
		for a := range x.s.Access(event.RoomID(x.id(w.arg(1)))) {
			x.print("%s=%s", a.Principal, roleString(a.Role))
		}
	case "roster":
		for _, p := range x.s.Roster(event.RoomID(x.id(w.arg(1)))) {
			x.print("%s", fields(" ", reflect.ValueOf(p))[1:])
		}
	case "room":
		r, ok := x.s.Room(event.RoomID(x.id(w.arg(1))))
		if !ok {
			x.print("no such room")
			return nil
		}
		x.print("%s", fields(" ", reflect.ValueOf(r))[1:])
	case "named":
		r, ok := x.s.RoomByName(w.arg(1))
		x.print("%s %v", r.ID, ok)
	case "sessions":
		for s := range x.s.Sessions() {
			x.print("%s", fields(" ", reflect.ValueOf(s))[1:])
		}
	case "rooms-of":
		for r := range x.s.RoomsOf(principal(w.arg(1)), map[string]event.Role{"member": event.RoleMember, "manager": event.RoleManager}[w.arg(2)]) {
			x.print("%s", r.ID)
		}
	case "settings":
		for p := range x.s.Settings(principal(w.arg(1))) {
			x.print("%s", fields(" ", reflect.ValueOf(p.Setting))[1:])
		}
	case "nodes":
		for n := range x.s.Nodes() {
			x.print("%s", fields(" ", reflect.ValueOf(n))[1:])
		}
	case "feed":
		f, ok := x.s.Feed(w.arg(1))
		if !ok {
			return fmt.Errorf("no feed %s", w.arg(1))
		}
		f.Last, f.At = event.FeedReceipt{}, 0
		x.print("%s", fields(" ", reflect.ValueOf(f))[1:])
	default:
		if !x.directoryShow(w) && !x.poolShow(w) {
			return fmt.Errorf("unknown query %s", what)
		}
	}
	return nil
}
