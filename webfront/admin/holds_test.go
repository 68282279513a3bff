package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/objects"
)

// TestHolds: what a hold keeps is refused to every command that would take it, with names and messages; the rest goes.
func TestHolds(t *testing.T) {
	f := newFixture(t)
	room := f.talk() // alice, bob, alice
	h := want[objects.Hold](f, 200, "PUT", "/holds/case%201", `{"user_uri":["bob"],"rooms":["Lobby"],"reason":"why"}`)
	if h.Hold != "case 1" || h.Reason != "why" || fmt.Sprint(h.Rooms, h.UserURI) != fmt.Sprintf("[%s] [sip:bob@contoso.test]", room) || h.Since != f.head() || h.SetBy != "admin:boss" {
		t.Errorf("%+v", h)
	}
	if again := want[objects.Hold](f, 200, "PUT", "/holds/case%201", `{"reason":"better"}`); len(again.Rooms) != 1 || again.Reason != "better" || again.Since != h.Since {
		t.Errorf("a change loses what it does not say: %+v", again)
	}
	f.refused(409, chat.CodeConflict, "PUT", "/holds/case%201", fmt.Sprintf(`{"reason":"late","revision":%d}`, h.Revision))
	f.refused(409, chat.CodeConflict, "PUT", "/holds/case%201", `{"create":true}`)
	f.refused(404, chat.CodeNotFound, "PUT", "/holds/case%202", `{"rooms":["Nowhere"]}`)
	f.refused(404, chat.CodeNotFound, "GET", "/holds/case%202", "")
	if w := want[admin.WhatIf](f, 200, "PUT", "/holds/case%202?what_if=true", `{}`); len(w.Events) != 1 {
		t.Errorf("%+v", w)
	}

	named := func(p admin.Problem, messages string) {
		t.Helper()
		if p.Rule != "H1" || !strings.Contains(p.Detail, `legal hold "case 1"`) || fmt.Sprint(p.Rows) != messages {
			t.Errorf("%+v", p)
		}
	}
	one := `[{1 message 2 is kept by "case 1"}]`
	named(f.refused(409, chat.CodeConflict, "POST", "/rooms/Lobby/messages/remove", `{}`), `[{2 message 2 is kept by "case 1"}]`)
	named(f.refused(409, chat.CodeConflict, "POST", "/rooms/Lobby/messages/remove?what_if=true", `{"user_uri":["bob"]}`), one)
	until := fmt.Sprintf(`{"end_date":%q}`, f.pool.Now())
	named(f.refused(409, chat.CodeConflict, "POST", "/rooms/Lobby/clear", until), one)
	named(f.refused(409, chat.CodeConflict, "POST", "/rooms/Lobby/clear?what_if=true", until), one)
	named(f.refused(409, chat.CodeConflict, "DELETE", "/rooms/Lobby", ""), one)
	if r := want[admin.MessagesRemoved](f, 200, "POST", "/rooms/Lobby/messages/remove", `{"user_uri":["alice"],"filter":"one","remove":true}`); r.Messages != 1 {
		t.Errorf("what nobody keeps: %+v", r)
	}

	// A hold that comes between the look and the decision is in the way all the same: nothing that was not looked for goes.
	want[admin.Removed](f, 200, "DELETE", "/holds/case%201?reason=settled", "")
	f.pool.BeforeSubmit = func(r chat.Request) error {
		if _, clears := r.Command.(*chat.ClearRoom); clears {
			f.pool.BeforeSubmit = nil
			f.pool.Must(t, chat.Origin{By: "admin:other", Trusted: true}, &chat.SetHold{Hold: "sudden", Info: event.HoldInfo{Authors: []event.Principal{"sip:bob@contoso.test"}}})
		}
		return nil
	}
	if p := want[admin.Problem](f, 409, "POST", "/rooms/Lobby/clear", until); p.Rule != "H1" || !strings.Contains(p.Detail, `"sudden"`) {
		t.Errorf("%+v", p)
	}
	f.pool.Must(t, chat.Origin{By: "admin:other", Trusted: true}, &chat.SetHold{Hold: "sudden", Info: event.HoldInfo{To: 1}})
	if r := want[admin.MessagesRemoved](f, 200, "POST", "/rooms/Lobby/clear", fmt.Sprintf(`{"end_date":%q}`, f.pool.Now())); r.Messages != 2 {
		t.Errorf("a hold that keeps none of it: %+v", r)
	}
	if p, ok := f.last().Event.(*event.MessagesPurged); !ok || len(p.Keeps) != 1 || p.Days != 0 {
		t.Errorf("the event does not say what it leaves: %+v", f.last().Event)
	}
	want[admin.Removed](f, 200, "DELETE", "/rooms/Lobby", "")

	if all := want[[]objects.Hold](f, 200, "GET", "/holds", ""); len(all) != 1 || all[0].Hold != "sudden" {
		t.Errorf("%+v", all)
	}
	if all := want[[]objects.Hold](f, 200, "GET", "/holds?released=true", ""); len(all) != 2 || !all[0].Released || all[0].ReleaseReason != "settled" {
		t.Errorf("%+v", all)
	}
}

// TestPurgeCategory: what is over goes, what is held or not delivered stays, and what_if says how much it would be.
func TestPurgeCategory(t *testing.T) {
	receipts := event.Offset(1 << 40)
	f := newFixture(t, func(o *admin.Options) { o.Receipts = func() event.Offset { return receipts } })
	f.talk()
	f.pool.Advance(50 * 24 * 3600e9)
	f.refused(409, chat.CodeConflict, "POST", "/categories/General/purge", `{}`)
	f.refused(400, chat.CodeInvalid, "POST", "/categories/General/purge", `{"retention_days":30}`)
	f.refused(400, chat.CodeInvalid, "PATCH", "/categories/General", `{"retention_days":99999}`)
	count := func(path, body string) string {
		t.Helper()
		p := want[objects.Purged](f, 200, "POST", "/categories/General/purge"+path, body)
		return fmt.Sprintf("rooms %d, messages %d, held %d, waiting %d, event %v", p.Rooms, p.Messages, p.Held, p.Waiting, p.Offset == f.head())
	}
	if got := count("?what_if=true", `{"retention_days":30}`); got != "rooms 1, messages 3, held 0, waiting 0, event false" {
		t.Error(got)
	}
	if got := count("?what_if=true", `{"retention_days":60}`); got != "rooms 0, messages 0, held 0, waiting 0, event false" {
		t.Error(got)
	}
	if c := want[objects.Category](f, 200, "PATCH", "/categories/General", `{"retention_days":30}`); c.RetentionDays != 30 {
		t.Errorf("%+v", c)
	}
	want[objects.Hold](f, 200, "PUT", "/holds/h", `{"user_uri":["bob"]}`)
	first := want[objects.Room](f, 200, "GET", "/rooms/Lobby", "")
	receipts = first.Revision + 3 // the first message, after two joins
	if got := count("", `{}`); got != "rooms 1, messages 1, held 1, waiting 1, event true" {
		t.Error(got)
	}
	receipts = 1 << 40
	if got := count("", `{}`); got != "rooms 1, messages 1, held 1, waiting 0, event true" {
		t.Error(got)
	}
	if got := count("", `{}`); got != "rooms 0, messages 0, held 1, waiting 0, event false" {
		t.Error(got)
	}
	want[admin.Removed](f, 200, "DELETE", "/holds/h", "")
	if got := count("", `{}`); got != "rooms 1, messages 1, held 0, waiting 0, event true" {
		t.Error(got)
	}
}
