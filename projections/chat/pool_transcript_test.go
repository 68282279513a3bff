package chat

import (
	"reflect"
	"strconv"
	"strings"
	"time"

	"parley/log/event"
	"parley/projections/chat/policy"
	"parley/projections/chat/roles"
)

// when reads a time as the log has it in transcripts: nanoseconds since 1970.
func (w *words) when(key string) event.Time { return event.Time(w.num(key, 0)) }

func (w *words) query() event.Query {
	return event.Query{Text: w.str("text", ""), Match: event.Match(w.str("match", "")), CaseSensitive: w.flag("case", false),
		From: w.when("from"), To: w.when("to"), Authors: principals(w.str("authors", ""))}
}

// refs reads "1@12,2@15": message ids at offsets.
func (w *words) refs(s string) (list []event.MessageRef) {
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		id, at, _ := strings.Cut(p, "@")
		n, err1 := strconv.ParseUint(id, 10, 64)
		o, err2 := strconv.ParseUint(at, 10, 64)
		if err1 != nil || err2 != nil {
			w.t.Fatalf("%q is not ID@OFFSET", p)
		}
		list = append(list, event.MessageRef{MessageID: n, Offset: event.Offset(o)})
	}
	return list
}

// links reads "url:http://x,file:ma-filelink:y".
func links(s string) (list []event.Link) {
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		kind, uri, _ := strings.Cut(p, ":")
		list = append(list, event.Link{Kind: event.LinkKind(kind), URI: uri})
	}
	return list
}

// poolCommand reads the commands of policies, add-ins, removal and invitations, nil for others.
func (x *transcript) poolCommand(w *words) Command {
	scope := func(i int) event.Scope {
		if i < len(w.plain) {
			return event.Scope(w.arg(i))
		}
		return ""
	}
	create, revision := w.flag("create", false), event.Offset(w.num("revision", 0))
	switch w.arg(0) {
	case "read-invitations":
		n, _ := strconv.ParseUint(w.arg(1), 10, 64)
		return &ReadInvitations{UpTo: n}
	case "search":
		return &SearchMessages{Rooms: x.rooms(w.plain[1:]), Query: w.query(), Limit: w.num("limit", 0), Found: w.num("found", 0)}
	case "remove-messages":
		return &RemoveMessages{Room: event.RoomID(x.id(w.arg(1))), Messages: w.refs(w.str("messages", "")), Replace: w.flag("replace", false),
			Text: w.str("with", ""), Query: w.query(), Facts: w.facts()}
	case "clear-room":
		return &ClearRoom{Room: event.RoomID(x.id(w.arg(1))), Until: w.when("until"), Look: w.look()}
	case "create-addin":
		return &CreateAddIn{ID: event.AddInID(w.str("guid", "")), Info: event.AddInInfo{Name: w.arg(1), URL: w.str("url", "")}}
	case "change-addin":
		id := event.AddInID(x.id(w.arg(1)))
		old, _ := x.s.AddIn(id)
		return &ChangeAddIn{ID: id, Info: event.AddInInfo{Name: w.str("name", old.Info.Name), URL: w.str("url", old.Info.URL)}, Revision: revision}
	case "remove-addin":
		return &RemoveAddIn{ID: event.AddInID(x.id(w.arg(1)))}
	case "set-policy":
		return &SetPolicy{Scope: scope(1), Info: event.PolicyInfo{Enabled: w.flag("enabled", false), Description: w.str("description", "")},
			Create: create, Revision: revision}
	case "remove-policy":
		return &RemovePolicy{Scope: scope(1), Force: w.flag("force", false)}
	case "grant-policy":
		return &GrantPolicy{Scope: scope(1), Users: principals(w.str("to", ""))}
	case "set-config":
		i := policy.DefaultConfiguration()
		if old, ok := x.s.Policies().Configuration(scope(1)); ok {
			i = old.Info
		}
		for key, field := range map[string]*uint64{"history": &i.DefaultChatHistory, "file": &i.MaxFileSizeKB, "participants": &i.ParticipantUpdateLimit,
			"message": &i.MessageSizeLimit, "story": &i.StorySizeLimit, "search": &i.SearchLimit} {
			*field = w.num(key, *field)
		}
		i.RoomManagementURL = w.str("url", i.RoomManagementURL)
		return &SetConfiguration{Scope: scope(1), Info: i, Create: create, Revision: revision}
	case "remove-config":
		return &RemoveConfiguration{Scope: scope(1)}
	case "set-compliance":
		i := policy.DefaultCompliance()
		if old, ok := x.s.Policies().Compliance(scope(1)); ok {
			i = old.Info
		}
		i.AdapterType = w.str("adapter", i.AdapterType)
		if d, err := time.ParseDuration(w.str("interval", "")); err == nil {
			i.RunInterval = int64(d)
		}
		return &SetCompliance{Scope: scope(1), Info: i, Create: create, Revision: revision}
	case "remove-compliance":
		return &RemoveCompliance{Scope: scope(1)}
	case "change-admin":
		set, err := roles.Of(strings.Fields(strings.ReplaceAll(w.str("roles", ""), ",", " "))...)
		if err != nil {
			w.t.Fatal(err)
		}
		return &ChangeAdmin{Admin: principal(w.arg(1)), Roles: set}
	case "set-endpoint":
		return &SetEndpoint{Address: principal(w.arg(1)), DisplayName: w.str("name", "")}
	case "remove-endpoint":
		return &RemoveEndpoint{Address: principal(w.arg(1))}
	case "set-active":
		c := &SetActiveServers{}
		for _, n := range w.plain[1:] {
			c.Nodes = append(c.Nodes, event.NodeID(n))
		}
		return c
	case "place-pool":
		return &PlacePool{Site: string(scope(1))}
	}
	return x.holdCommand(w)
}

// poolShow prints what the pool answers about itself, and reports whether it was asked.
func (x *transcript) poolShow(w *words) bool {
	row := func(v any) { x.print("%s", strings.TrimSpace(fields(" ", reflect.ValueOf(v)))) }
	switch w.arg(0) {
	case "enabled":
		for _, who := range w.plain[1:] {
			x.print("%s %v", principal(who), x.s.Enabled(principal(who)))
		}
	case "policies":
		for p := range x.s.Policies().Policies() {
			row(p)
		}
		for g := range x.s.Policies().Grants() {
			row(g)
		}
	case "limits":
		row(x.s.Limits())
	case "archiving":
		row(x.s.Policies().Archiving())
	case "addins":
		for a := range x.s.AddIns() {
			row(a)
		}
	case "admins":
		for a := range x.s.Admins() {
			row(a)
			x.print("may grant policies %v, change rooms %v, read the log %v", x.s.AdminRoles(a.Name).May(roles.PolicyGrant),
				x.s.AdminRoles(a.Name).May(roles.RoomChange), x.s.AdminRoles(a.Name).May(roles.LogRead))
		}
	case "endpoints":
		for e := range x.s.Endpoints() {
			row(e)
		}
	case "active":
		x.print("%v", x.s.ActiveServers())
	case "invitations":
		list, newest, read := x.s.Invitations(principal(w.arg(1)), w.num("above", 0))
		for _, i := range list {
			x.print("%d %s", i.ID, i.Room)
		}
		x.print("newest %d, read %d", newest, read)
	case "creatable":
		for g := range x.s.Creatable(principal(w.arg(1))) {
			x.print("%s %v", g.ID, x.s.MayCreateIn(g.ID, principal(w.arg(1))))
		}
	default:
		return x.holdShow(w)
	}
	return true
}
