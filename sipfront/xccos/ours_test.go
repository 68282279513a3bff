package xccos

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write missing goldens and the tables of docs/protocol.md")

const (
	general = "ma-cat://example.com/0e6a4d7f-93b2-4c18-a5de-3b1c9f8e2d60"
	archive = "ma-cat://example.com/7a1d3c52-04be-4e8f-9c6d-2f5b8e90a1c4"
	addIn   = "f3b6a2c8-7e14-4d59-8a90-5c1de7b40f26"
	alice   = "sip:alice@example.com"
	bob     = "sip:bob@example.com"
	ops     = "ma-grp:9b0c7e1a-52d4-4f36-8e0b-c3a1d6f7b284@u.g"
)

// shapes is what the messages of our own design mean, each with its golden in testdata/x. The shapes are regression
// tests of our codec and no evidence of the product's.
func shapes() map[string]Item {
	cmd := func(id string, d Data) Item { return Item{Kind: Cmd, ID: id, Seq: "1", Data: &d} }
	rpl := func(id string, d Data) Item {
		return Item{Kind: Rpl, ID: id, Seq: "1", Ref: Ref{"1", "70010030"}, Code: 200, Text: Success, Data: &d}
	}
	ntc := func(id string, d Data) Item { return Item{Kind: Ntc, ID: id, Seq: "1", Data: &d} }
	in := func(rooms ...ChanIB) Data { return Data{Chans: rooms} }
	post := func(id uint64, author, text string) Post {
		return Post{ChanURI: harbor, Author: author, Display: "Bob Brown", ChatID: id, TS: "2014-05-06T06:55:00.0000000Z", Text: text}
	}
	users := func(all ...string) (list []UIB) {
		for _, u := range all {
			list = append(list, UIB{URI: u})
		}
		return list
	}
	flags := []Prop{{PropInvite, "True"}, {PropFilePost, "False"}, {PropLogged, "True"}}
	whole := ChanIB{URI: harbor, Name: "Harbor Ops", Description: "Berth planning", Parent: general, Behavior: BehaviorNormal, Disabled: "false",
		AddIn: addIn, AddInName: "Tides", AddInURL: "https://tides.example.com/", FileStore: "https://fe1.example.com/PersistentChat/MGCWebService.asmx",
		Permissions: MaskManager.String(), Revision: 41, Info: []Prop{{InfoUsers, "2"}, {InfoVisibility, VisibilityScoped}}, Props: flags,
		Audit: &Audit{bob, "2014-01-02T03:04:05.0000000Z", bob, "2014-05-06T07:08:09.0000000Z"}}
	after := whole
	after.Permissions, after.Description, after.Revision = "", "", 42
	roles := []Role{{Type: RoleMember, Users: []UIB{{URI: alice, Type: "5", Display: "Alice Adams"}, {URI: ops, Type: "9", Display: "Operations"}}},
		{Type: RoleManager, Users: []UIB{{URI: bob, GUID: "92b4e6d0-3a71-4c5f-b8e9-06d1f2a75c38", Type: "5", Name: "bob", Display: "Bob Brown", Disabled: "false",
			Email: "bob@example.com", Company: "Example"}}}}
	withRoles := whole
	withRoles.Roles = roles
	gone := in(ChanIB{URI: harbor})
	gone.Context = &BCQ{Date: &DateRange{To: "2014-05-01T00:00:00.0000000Z"}}
	both := in(ChanIB{URI: harbor}, ChanIB{URI: night})
	both.Context = &BCQ{NewestFirst: true, ReturnNewest: true, Date: &DateRange{From: "2014-05-01T00:00:00Z"}, MsgID: &MsgID{40},
		Text: &TextQuery{MatchCase: true, Exact: true, Words: "tug berth"}, Authors: []Author{{alice}, {bob}}, Limit: &Count{50}}

	return map[string]Item{
		"P01-bcsearch": cmd(CmdBCSearch, both),
		"P02-bcsearch-reply": rpl("rpl:bcsearch", in(ChanIB{URI: harbor, Total: 7, Exceeded: true, Posts: []Post{post(39, bob, "the tug berth"), post(12, bob, "tug berth?")}},
			ChanIB{URI: night})),
		"P03-bcbydate-reply": rpl("rpl:bcbydate", in(ChanIB{URI: harbor, Total: 1, Posts: []Post{post(12, bob, "first\nsecond")}})),
		"P04-chansrch": cmd(CmdChanSrch, Data{Search: &QIB{Type: SearchByName, Criteria: "harbor night", Extended: true, MatchAll: true, Exact: true, MaxResults: 20,
			Member: alice, Manager: bob, Category: general, AddIn: addIn, Visibility: VisibilityScoped, Behavior: BehaviorNormal, Disabled: "false", Invite: "true"}}),
		"P05-chansrch-more": rpl(rplChanSrch, Data{Chans: []ChanIB{{Name: "Harbor Ops", URI: harbor}}, Search: &QIB{Criteria: "h", More: true}}),
		"P06-setpref-reply": rpl("rpl:setpref", Data{Pref: &Pref{Label: "kedzie.GroupChannels", Seq: "5"}}),
		"P07-nodespermcreatechild-reply": rpl("rpl:nodespermcreatechild", Data{Categories: []NodeIB{{URI: general, Name: "General", Description: "Everybody", Props: flags},
			{URI: archive, Name: "Archive"}}}),
		"P08-getnode-room":        cmd(CmdGetNode, in(ChanIB{Name: "Harbor Ops"})),
		"P09-getnode-room-reply":  rpl("rpl:getnode", in(whole)),
		"P10-getnode-category":    cmd(CmdGetNode, Data{Categories: []NodeIB{{URI: general}}}),
		"P11-getnode-cat-reply":   rpl("rpl:getnode", Data{Categories: []NodeIB{{URI: general, Name: "General", Props: flags, Roles: []Role{{Type: RoleCreator, Users: users(bob)}}}}}),
		"P12-getusers":            cmd(CmdGetUsers, in(ChanIB{URI: harbor, Roles: []Role{{Type: RoleMember}, {Type: RoleManager}}})),
		"P13-getusers-reply":      rpl("rpl:getusers", in(withRoles)),
		"P14-getusers-hidden":     rpl("rpl:getusers", in(ChanIB{URI: harbor, Users: users(alice, bob)})),
		"P15-getprincipals":       cmd(CmdGetPrincipals, Data{Users: users(alice, ops)}),
		"P16-getprincipals-reply": rpl("rpl:getprincipals", Data{Users: roles[0].Users}),
		"P17-usersearch": cmd(CmdUserSearch, Data{Chans: []ChanIB{{URI: harbor}}, Search: &QIB{Type: SearchByName, Criteria: "a", MaxResults: 10,
			FirstName: "Al", LastName: "Ad", Email: "alice@", Role: RoleMember}}),
		"P18-usersearch-reply": rpl("rpl:usersearch", Data{Users: roles[0].Users, Search: &QIB{Criteria: "a", More: true}}),
		"P19-getaddins":        cmd(CmdGetAddIns, Data{}),
		"P20-getaddins-reply":  rpl("rpl:getaddins", Data{AddIns: []AddIn{{addIn, "Tides", "https://tides.example.com/"}}}),
		"P21-chancreate": cmd(CmdChanCreate, in(ChanIB{Name: "Dry Dock", Description: "Repairs", Parent: general, Behavior: BehaviorAuditorium, AddIn: addIn,
			Info: []Prop{{InfoVisibility, VisibilityPrivate}}, Props: []Prop{{PropInvite, "False"}},
			Roles: []Role{{Type: RoleMember, Users: users(alice, ops)}, {Type: RolePresenter, Users: users(alice)}}})),
		"P22-chancreate-reply": rpl("rpl:chancreate", in(ChanIB{URI: night, Name: "Dry Dock", Description: "Repairs", Parent: general, Revision: 43})),
		"P23-chanmodify": cmd(CmdChanModify, in(ChanIB{URI: harbor, Name: "Harbor Operations", ClearDescription: true, ClearAddIn: true, Parent: archive, Revision: 41,
			Roles: []Role{{Type: RoleMember, Op: RoleRemove, Users: users(alice)}, {Type: RoleManager, Op: RoleSet, Users: users(bob)},
				{Type: RolePresenter, Op: RoleSet}}})),
		"P24-chanmodify-reply":  rpl("rpl:chanmodify", in(after)),
		"P25-chandisable":       cmd(CmdChanDisable, in(ChanIB{URI: harbor, Disabled: "true"})),
		"P26-chandisable-reply": rpl("rpl:chandisable", in(ChanIB{URI: harbor, Name: "Harbor Ops", Disabled: "true", Revision: 44})),
		"P27-chandelete":        cmd(CmdChanDelete, in(ChanIB{URI: harbor})),
		"P28-chandelete-refused": {Kind: Rpl, ID: "rpl:chandelete", Seq: "1", Ref: Ref{"1", "70010030"}, Code: 403, Text: "ERROR_PERMISSION",
			Data: &Data{}},
		"P29-ntc-permmodify":         ntc(NtcPermModify, Data{Users: []UIB{{URI: alice, Rooms: []AIB{{MaskManager.String(), "example.com", "5b1f0c52-6a0d-4f0e-9a43-0d7c2e5b8a11"}}}}}),
		"P30-ntc-chandisable":        ntc(NtcChanDisable, in(ChanIB{URI: harbor, Disabled: "true"})),
		"P31-ntc-chandelete":         ntc(NtcChanDelete, in(ChanIB{URI: harbor})),
		"P32-ntc-msgdelete":          ntc(NtcMsgDelete, in(ChanIB{URI: harbor, Removed: []MsgID{{12}, {39}}})),
		"P33-ntc-msgdelete-replaced": ntc(NtcMsgDelete, in(ChanIB{URI: harbor, Removed: []MsgID{{12}}, Replacement: "This message\nwas removed."})),
		"P34-ntc-msgdelete-cleared":  ntc(NtcMsgDelete, gone),
		"P36-bcbymsg-reply":          rpl("rpl:bcbymsg", in(ChanIB{URI: harbor, Total: 40, Exceeded: true, Posts: []Post{post(18, bob, "next")}})),
		"P35-story": {Kind: GrpChat, ID: IDGrpChat, Seq: "1", Post: &Post{ChanURI: harbor, Author: alice, Alert: true, TS: "2014-05-06T07:09:30Z",
			Text: "[STORY]Night watch\nAll quiet, see <a href=\"" + night + "\">Night Shift</a>", RTF: `{\rtf1\ansi Night watch}`}},
	}
}

// TestShapes writes each message of our own design from its meaning and reads it back, through its golden.
func TestShapes(t *testing.T) {
	for name, it := range shapes() {
		path := filepath.Join("testdata", "x", name+".xml")
		var body []byte
		if client := it.Kind == Cmd || it.Kind == GrpChat; client {
			body = AppendClient(nil, 70010030, it)
		} else {
			body = AppendServer(nil, 5840321179406612030, it)
		}
		golden, err := os.ReadFile(path)
		if os.IsNotExist(err) && *update { // goldens are added, never changed
			golden, err = body, os.WriteFile(path, body, 0o644)
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if string(body) != string(golden) {
			t.Errorf("%s:\n got %s\nwant %s", name, body, golden)
		}
		decode := Decode
		if isServer(string(golden)) {
			decode = DecodeServer
		}
		e, err := decode(golden)
		if err != nil || len(e.Items) != 1 || !reflect.DeepEqual(e.Items[0], it) {
			t.Errorf("%s is read as\n%+v (%v), want\n%+v", name, e, err, it)
			if err == nil {
				t.Errorf("data %+v\nwant %+v", e.Items[0].Data, it.Data)
			}
		}
	}
}

// TestEveryEntry: each command, its reply, the post and each notice has an example, so that nothing of the table is a
// name only.
func TestEveryEntry(t *testing.T) {
	seen := map[string]bool{}
	for _, dir := range []string{"e", "eplus", "x"} {
		for _, body := range vectors(t, dir) {
			e, err := DecodeServer([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			for i := range e.Items {
				seen[e.Items[i].ID] = true
			}
		}
	}
	for _, e := range Entries() {
		if !seen[e.ID] {
			t.Errorf("%s has no example", e.ID)
		}
		if strings.HasPrefix(e.ID, "cmd:") && !seen[e.Reply] {
			t.Errorf("%s, the reply to %s, has no example", e.Reply, e.ID)
		}
		if notice := strings.HasPrefix(e.ID, "ntc:"); notice == (e.Right != "") || e.Source == "" {
			t.Errorf("%s: right %q, source %q", e.ID, e.Right, e.Source)
		}
	}
}

// TestAliases: a remembered name is the command it stands for, and is answered under the name by which it came.
func TestAliases(t *testing.T) {
	for alias, id := range map[string]string{"cmd:getservinfo": CmdGetServerInfo, "cmd:getprefs": CmdGetPref, "cmd:setprefs": CmdSetPref,
		"cmd:getchan": CmdGetNode, "CMD:ChanDel": CmdChanDelete} {
		e, err := Decode([]byte(client(`<cmd id="` + alias + `"><data><chanib uri="u"/><pref label="l"/></data></cmd>`)))
		if err != nil || e.Items[0].ID != id || e.Items[0].Err != nil {
			t.Errorf("%s: %+v, %v, want %s", alias, e, err, id)
			continue
		}
		reply := AppendReply(nil, 1, e, &e.Items[0], 200, Success, nil)
		want := `<rpl id="rpl:` + strings.TrimPrefix(strings.ToLower(alias), "cmd:") + `"`
		if !strings.Contains(string(reply), want) {
			t.Errorf("%s is answered %s, want %s", alias, reply, want)
		}
		if r, err := DecodeServer(reply); err != nil || r.Items[0].ID != byID[id].Reply {
			t.Errorf("%s: the reply is read as %+v, %v, want %s", alias, r, err, byID[id].Reply)
		}
	}
	e, err := DecodeServer([]byte(client(`<rpl id="rpl:getservinfo"><resp code="200"/><data><sib searchLimit="9"/></data></rpl>` +
		`<rpl id="rpl:nodespermcreatechild"><data><catib uri="c"/></data></rpl><rpl id="rpl:grpchat"/>`)))
	if err != nil || e.Items[0].ID != "rpl:getserverinfo" || e.Items[0].Data.Server.SearchLimit != 9 ||
		len(e.Items[1].Data.Categories) != 1 || e.Items[2].ID != "rpl:grpchat" {
		t.Errorf("%+v, %v", e, err)
	}
	for words, want := range map[string]string{"voiced": RolePresenter, "Member": RoleMember, "MANAGER": RoleManager} {
		e, err := Decode([]byte(client(`<cmd id="cmd:getusers"><data><chanib uri="u"><role type="` + words + `" op="set"/></chanib></data></cmd>`)))
		if err != nil || e.Items[0].Err != nil || !reflect.DeepEqual(e.Items[0].Data.Chans[0].Roles[0], Role{Type: want, Op: RoleSet}) {
			t.Errorf("%s: %+v, %v", words, e, err)
		}
	}
}

// TestGet finds the visibility of a room however it is spelt.
func TestGet(t *testing.T) {
	r := ChanIB{Info: []Prop{{strings.ToUpper(InfoVisibilityMiss), "PRIVATE"}}, Props: []Prop{{strings.ToUpper(PropInvite), "True"}}}
	if r.Get(InfoVisibility) != "PRIVATE" || r.Get(PropInvite) != "True" || r.Get(PropLogged) != "" {
		t.Errorf("%+v", r)
	}
}
