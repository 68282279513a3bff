package chat

import (
	"regexp"
	"slices"
	"strings"

	"parley/log/event"
)

var collectiveName = regexp.MustCompile(`\b(group|ou):(\w+)`)

// directoryNames lets transcripts say group:Traders and ou:London; the GUIDs are printed that way already.
func (x *transcript) directoryNames(line string) string {
	return collectiveName.ReplaceAllStringFunc(line, func(s string) string {
		kind, name, _ := strings.Cut(s, ":")
		return kind + ":" + x.id(name)
	})
}

// directoryCommand reads the directory's commands, nil for others.
func (x *transcript) directoryCommand(w *words) Command {
	unit := func(key string, old event.UnitID) event.UnitID { return event.UnitID(x.id(w.str(key, string(old)))) }
	switch w.arg(0) {
	case "create-group":
		return &CreateGroup{ID: event.GroupID(w.str("guid", "")), Members: principals(w.str("members", "")),
			Info: event.GroupInfo{Name: w.arg(1), Description: w.str("description", ""), Unit: unit("unit", "")}}
	case "change-group":
		id := event.GroupID(x.id(w.arg(1)))
		var info event.GroupInfo
		if g := x.s.Directory().Group(id); g != nil {
			info = g.Info
		}
		info.Name, info.Unit = w.str("name", info.Name), unit("unit", info.Unit)
		c := &ChangeGroup{ID: id, Info: info, Add: principals(w.str("add", "")), Remove: principals(w.str("remove", "")),
			Revision: event.Offset(w.num("revision", 0))}
		if _, c.Replace = w.named["set"]; c.Replace {
			c.Add = principals(w.str("set", ""))
		}
		return c
	case "remove-group":
		return &RemoveGroup{ID: event.GroupID(x.id(w.arg(1)))}
	case "create-unit":
		return &CreateUnit{ID: event.UnitID(w.str("guid", "")), Info: event.UnitInfo{Name: w.arg(1), Parent: unit("parent", "")}}
	case "change-unit":
		id := event.UnitID(x.id(w.arg(1)))
		var info event.UnitInfo
		if u := x.s.Directory().Unit(id); u != nil {
			info = u.Info
		}
		info.Name, info.Parent = w.str("name", info.Name), unit("parent", info.Parent)
		return &ChangeUnit{ID: id, Info: info, Revision: event.Offset(w.num("revision", 0))}
	case "remove-unit":
		return &RemoveUnit{ID: event.UnitID(x.id(w.arg(1)))}
	}
	return nil
}

// directoryShow prints what the directory answers, and reports whether it was asked.
func (x *transcript) directoryShow(w *words) bool {
	d := x.s.Directory()
	list := func(l []event.Principal) {
		if len(l) == 0 {
			x.print("nobody")
		}
		for _, p := range l {
			x.print("%s", p)
		}
	}
	switch w.arg(0) {
	case "members":
		list(slices.Collect(d.Members(principal(w.arg(1)))))
	case "containing":
		list(d.Containing(principal(w.arg(1))))
	case "users-in":
		var users []event.Principal
		for u := range d.UsersIn(principal(w.arg(1))) {
			users = append(users, u.URI)
		}
		slices.Sort(users)
		list(users)
	case "dn":
		x.print("%s", x.s.DistinguishedName(principal(w.arg(1))))
	case "resolve":
		if p, err := x.s.ResolvePrincipal(strings.Join(w.plain[1:], " ")); err != nil {
			x.print("refused %s", AsRefusal(err).Text)
		} else {
			x.print("%s", p)
		}
	default:
		return false
	}
	return true
}
