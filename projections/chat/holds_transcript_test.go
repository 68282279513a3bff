package chat

import (
	"reflect"
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat/command"
)

// facts reads "facts=alice@1010,bob@1011": who posted each message, and when.
func (w *words) facts() (list []command.Fact) {
	for _, p := range strings.FieldsFunc(w.str("facts", ""), func(r rune) bool { return r == ',' }) {
		who, at, _ := strings.Cut(p, "@")
		n, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			w.t.Fatalf("%q is not WHO@TIME", p)
		}
		list = append(list, command.Fact{By: principal(who), At: event.Time(n)})
	}
	return list
}

// look reads "looked=HOLD@REVISION,... through=MESSAGE".
func (w *words) look() command.Look {
	l := command.Look{To: w.num("through", 0)}
	for _, p := range strings.FieldsFunc(w.str("looked", ""), func(r rune) bool { return r == ',' }) {
		name, at, _ := strings.Cut(p, "@")
		n, err := strconv.ParseUint(at, 10, 64)
		if err != nil {
			w.t.Fatalf("%q is not HOLD@REVISION", p)
		}
		l.Holds = append(l.Holds, command.Seen{Hold: name, Revision: event.Offset(n)})
	}
	return l
}

// holdCommand reads the commands of holds and purges, nil for others.
func (x *transcript) holdCommand(w *words) Command {
	switch w.arg(0) {
	case "set-hold":
		i := event.HoldInfo{Reason: w.str("reason", ""), Authors: principals(w.str("authors", "")), From: w.when("from"), To: w.when("to"),
			FromOffset: event.Offset(w.num("offset", 0))}
		for _, r := range strings.FieldsFunc(w.str("rooms", ""), func(r rune) bool { return r == ',' }) {
			i.Rooms = append(i.Rooms, event.RoomID(x.id(r)))
		}
		for _, g := range strings.FieldsFunc(w.str("categories", ""), func(r rune) bool { return r == ',' }) {
			i.Categories = append(i.Categories, event.CategoryID(x.id(g)))
		}
		return &SetHold{Hold: w.arg(1), Info: i, Create: w.flag("create", false), Revision: event.Offset(w.num("revision", 0))}
	case "release-hold":
		return &ReleaseHold{Hold: w.arg(1), Reason: w.str("reason", "")}
	case "purge":
		refs := w.refs(w.str("messages", ""))
		return &PurgeMessages{Room: event.RoomID(x.id(w.arg(1))), First: refs[0], Last: refs[len(refs)-1], Until: w.when("until")}
	}
	return nil
}

// holdShow prints holds, what they come to in a room, and the trail of a room.
func (x *transcript) holdShow(w *words) bool {
	row := func(v any) { x.print("%s", strings.TrimSpace(fields(" ", reflect.ValueOf(v)))) }
	switch w.arg(0) {
	case "holds":
		for h := range x.s.Holds().All() {
			row(h)
		}
	case "keeps":
		for _, k := range x.s.Keeps(event.RoomID(x.id(w.arg(1)))) {
			row(k)
		}
	case "trail":
		row(x.s.Holds().Trail(event.RoomID(x.id(w.arg(1)))))
	default:
		return false
	}
	return true
}
