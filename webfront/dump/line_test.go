package dump

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/log/event"
)

var update = flag.Bool("update", false, "rewrite the goldens")

const (
	room = event.RoomID("0aa0a000-0000-4000-8000-000000000001")
	cat  = event.CategoryID("0aa0a000-0000-4000-8000-0000000000ca")
)

// everyKind has at least one event of each kind.
func everyKind() []event.Event {
	info := event.RoomInfo{Name: "Lobby", Description: "Everyone", Category: cat, Type: event.RoomNormal, Privacy: event.PrivacyOpen,
		Invitations: event.InvitationsInherit, AddIn: "clock", Disabled: true}
	access := []event.Access{{Principal: "sip:alice@contoso.test", Role: event.RoleMember | event.RoleManager | event.RolePresenter}, {Principal: "*"}}
	catInfo := event.CategoryInfo{Name: "General", Description: "d", Allowed: []event.Principal{"*"}, Denied: []event.Principal{"sip:eve@contoso.test"},
		Invitations: true, FileUpload: true, ChatHistory: true}
	user := event.UserInfo{DisplayName: "Alice", Email: "a@contoso.test", Enabled: true}
	secret := event.Secret{Realm: "contoso.test", HA1SHA256: []byte("sha256-secret"), HA1MD5: []byte("md5-secret")}
	query := event.Query{Text: "plan b", Match: event.MatchAll, From: 1, To: 2, Authors: []event.Principal{"sip:bob@contoso.test"}}
	setting := event.Setting{Category: "roomSetting", Instance: 1, Container: 2, Version: 3, ExpireType: "static", Content: "<a b='c'/>"}
	return []event.Event{
		&event.PoolFormed{Domain: "contoso.test", PoolURI: "sip:parley@contoso.test"},
		&event.NodeStarted{Incarnation: 3, Version: "1.2.3"},
		&event.NodeLost{Incarnation: 3, Reason: "silent for 10 s"},
		&event.Joined{Endpoint: "e1", Incarnation: 3},
		&event.Parted{Endpoint: "e1", Incarnation: 3, Reason: event.PartBye},
		&event.Posted{Endpoint: "e1", MessageID: 42, Text: "a \"b\"\n<c> & ü\u2028", Alert: true, Unlogged: true, RTF: `{\rtf1 a}`},
		&event.Posted{Endpoint: "e1", MessageID: 43},
		&event.HistoryRead{Endpoint: "e1", Asked: 30, First: 13, Last: 42},
		&event.CategoryCreated{Category: cat, Info: catInfo},
		&event.CategoryChanged{Category: cat, Info: event.CategoryInfo{Name: "Empty"}},
		&event.CategoryRemoved{Category: cat},
		&event.RoomCreated{Info: info, Access: access},
		&event.RoomChanged{Info: event.RoomInfo{Name: "Hall"}},
		&event.RoomRemoved{Name: "Hall"},
		&event.UserCreated{User: "sip:alice@contoso.test", Info: user, Secret: secret},
		&event.UserChanged{User: "sip:alice@contoso.test", Info: user},
		&event.UserRemoved{User: "sip:alice@contoso.test"},
		&event.SettingPublished{Setting: setting},
		&event.SettingRemoved{Category: "roomSetting", Instance: 1},
		&event.FeedClaimed{Feed: "lyncxml", Epoch: 4},
		&event.FeedCut{Feed: "lyncxml", Epoch: 4, First: 1, Last: 9},
		&event.FeedReceipt{Feed: "lyncxml", Epoch: 4, First: 1, Last: 9, Name: "f.xml", Bytes: 77, SHA256: []byte{1, 2, 254}},
		&event.Unknown{Type: 999, Payload: []byte{8, 1}},
		&event.Posted{MessageID: 44, Story: true, Title: "t", Text: "s", Links: []event.Link{{Kind: event.LinkURL, URI: "https://x.test/", Name: "x", Size: 3}}},
		&event.MessageSearched{Endpoint: "e1", Rooms: []event.RoomID{room}, Query: query, Limit: 10, Found: 2},
		&event.MessagesRemoved{Messages: []event.MessageRef{{MessageID: 4, Offset: 9}}, Replaced: true, Text: "gone", Query: query},
		&event.MessagesRemoved{Until: 1_600_000_000_000_000_000},
		&event.Invited{Invitations: []event.Invitation{{User: "sip:bob@contoso.test", ID: 3}}},
		&event.InvitationsRead{UpTo: 3},
		&event.AddInCreated{AddIn: "a1", Info: event.AddInInfo{Name: "clock", URL: "https://clock.test/"}},
		&event.AddInChanged{AddIn: "a1", Info: event.AddInInfo{Name: "watch"}},
		&event.AddInRemoved{AddIn: "a1", Name: "watch"},
		&event.GroupCreated{Group: "g1", Info: event.GroupInfo{Name: "staff", Unit: "u1"}, Members: []event.Principal{"sip:bob@contoso.test"}},
		&event.GroupChanged{Group: "g1", Info: event.GroupInfo{Name: "staff"}, Added: []event.Principal{"group:g2"}},
		&event.GroupRemoved{Group: "g1", Name: "staff"},
		&event.UnitCreated{Unit: "u1", Info: event.UnitInfo{Name: "London", Parent: "u0"}},
		&event.UnitChanged{Unit: "u1", Info: event.UnitInfo{Name: "Londres"}},
		&event.UnitRemoved{Unit: "u1", Name: "Londres"},
		&event.UserChanged{User: "sip:alice@contoso.test", Info: event.UserInfo{Unit: "u1", Name: "Alice A", GivenName: "Alice", Surname: "A", Company: "C"}},
		&event.AdminRead{What: "log.read", Filter: "kind=posted"},
		&event.TokenIssued{Token: "t1", Admin: "admin:ann", SHA256: []byte("sha256-secret"), Expires: 1_800_000_000_000_000_000, Description: "laptop"},
		&event.TokenRevoked{Token: "t1"},
		&event.MessageImported{MessageID: 7, Author: "sip:zoe@old.test", PostedAt: 1_500_000_000_000_000_000, Source: "old.test", Text: "hello"},
		&event.PolicySet{Scope: "global", Info: event.PolicyInfo{Enabled: true, Description: "d"}},
		&event.PolicyRemoved{Scope: "user:sales"},
		&event.PolicyGranted{Users: []event.Principal{"sip:bob@contoso.test"}, Scope: "user:sales"},
		&event.ConfigurationSet{Scope: "global", Info: event.ConfigurationInfo{DefaultChatHistory: 30, MaxFileSizeKB: 20000, RoomManagementURL: "https://r.test/"}},
		&event.ConfigurationRemoved{Scope: "site:ulm"},
		&event.ComplianceSet{Scope: "global", Info: event.ComplianceInfo{AdapterName: "x", RunInterval: 900e9, OneRoomPerFile: true}},
		&event.ComplianceRemoved{Scope: "site:ulm"},
		&event.AdminChanged{Admin: "admin:ann", Roles: []string{"auditor"}},
		&event.EndpointSet{Address: "sip:old@contoso.test", DisplayName: "Old"},
		&event.EndpointRemoved{Address: "sip:old@contoso.test"},
		&event.ActiveServersSet{Nodes: []event.NodeID{"n1"}},
		&event.PoolPlaced{Site: "ulm"},
		&event.FeedSet{Feed: "j", Info: event.FeedInfo{Adapter: "jsonl", Options: []event.FeedOption{{Name: "dir", Value: "/a"}}, Kinds: []string{"posted"}, Every: 60e9}, From: 1},
		&event.FeedPaused{Feed: "j", Reason: "disk"},
		&event.FeedResumed{Feed: "j"},
		&event.FeedRemoved{Feed: "j"},
		&event.HoldSet{Hold: "case 1", Info: event.HoldInfo{Reason: "why", Rooms: []event.RoomID{room}, Categories: []event.CategoryID{cat}, Authors: []event.Principal{"sip:bob@contoso.test"}, From: 1_600_000_000_000_000_000, FromOffset: 9}},
		&event.HoldReleased{Hold: "case 1", Reason: "settled"},
		&event.MessagesPurged{First: event.MessageRef{MessageID: 4, Offset: 9}, Last: event.MessageRef{MessageID: 7, Offset: 20}, Until: 1_600_000_000_000_000_000, Days: 30,
			Keeps: []event.Keep{{Hold: "case 1", Authors: []event.Principal{"sip:bob@contoso.test"}, To: 1_500_000_000_000_000_000, First: 9, Last: 12}}},
		&event.SigningKeyRotated{Old: "p+1+a", New: "p+2+b", RevokedFrom: 7, Reason: "stolen", Signatures: "x\n"},
	}
}

func envelopes() []event.Envelope {
	var out []event.Envelope
	for i, ev := range everyKind() {
		e := event.Envelope{Offset: event.Offset(i + 1), At: 1_700_000_000_000_000_001 + event.Time(i), Event: ev, Chain: event.Chain{0: 0xab, 31: byte(i)},
			Meta: event.Meta{By: "sip:alice@contoso.test", Room: room, Node: "n1", Command: event.CommandID{15: 7}}}
		if i%2 == 1 {
			e.Meta = event.Meta{}
		}
		out = append(out, e)
	}
	erased := out[5]
	erased.Event, erased.Erased = &event.Posted{Endpoint: "e1", MessageID: 42}, true
	gone := out[14]
	gone.Event, gone.Erased = &event.UserCreated{User: "sip:alice@contoso.test", Info: event.UserInfo{DisplayName: "Alice"}}, true
	return append(out, erased, gone)
}

func TestLines(t *testing.T) {
	var lines, texts bytes.Buffer
	for _, e := range envelopes() {
		l := Line(&e, "contoso.test")
		if !json.Valid(l) || bytes.ContainsRune(l, '\n') {
			t.Errorf("not one line of JSON: %s", l)
		}
		lines.Write(append(l, '\n'))
		text, err := Text(l)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, "\n") {
			t.Errorf("not one line: %q", text)
		}
		texts.WriteString(text + "\n")
	}
	golden(t, "lines.json", lines.Bytes())
	golden(t, "lines.txt", texts.Bytes())
	for _, b := range []string{"sha256-secret", "md5-secret", "7368613235362d736563726574", "6d64352d736563726574", "c2hhMjU2LXNlY3JldA"} {
		if strings.Contains(lines.String(), b) {
			t.Errorf("a line tells a secret: %s", b)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s line %d:\n got %s\nwant %s", name, i+1, at(g, i), at(w, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// A kind that gets no fields of its own here would be dumped without what it says.
func TestEveryKindIsCovered(t *testing.T) {
	covered := map[event.Kind]bool{}
	for _, ev := range everyKind() {
		covered[ev.Kind()] = true
		l := newLine()
		l.fields(ev, false)
		if l.buf.Len() == 0 {
			t.Errorf("%s has no fields", ev.Kind())
		}
	}
	for k := range event.Kind(1000) {
		if name := k.String(); !strings.HasPrefix(name, "kind_") && !covered[k] {
			t.Errorf("no test has %s", name)
		}
	}
}

func TestDraftLine(t *testing.T) {
	got := string(DraftLine(&event.Draft{Meta: event.Meta{By: "admin:boss", Room: room, Node: "n1"}, Event: &event.RoomRemoved{Name: "X"}}, "d.test"))
	if want := `{"kind":"room_removed","by":"admin:boss","room":"ma-chan://d.test/` + string(room) + `","node":"n1","name":"X"}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestTextOfNonsense(t *testing.T) {
	for _, s := range []string{"", "{", `{"a"`, `{"a":}`} {
		if got, err := Text([]byte(s)); err == nil {
			t.Errorf("%q: %q", s, got)
		}
	}
}
