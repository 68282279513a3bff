package xccos

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"parley/sipfront/xccos/xmlcode"
)

// words says of each entry what it is for, what its data holds, and what its reply holds or who is told.
var words = map[string][3]string{
	CmdReqURI:          {"which chat service to use", "nothing", "`uib@uri`: the service, with its scheme"},
	CmdGetServerInfo:   {"limits and the server's clock", "`sib@domain`, `@infoType`", "`sib`"},
	CmdGetAssociations: {"the rooms in which the caller is a member, or a manager", "`association`", "a `chanib` for each room"},
	CmdBJoin:           {"enter rooms", "a `chanid` for each", "`uib`: everybody in the rooms, once; a `chanib` with `aib` for each room; a `fib` for each room refused"},
	CmdJoin:            {"enter a room", "one `chanid`", "`uib`: everybody in the room; `chanib` with `aib`"},
	CmdPart:            {"leave a room", "`chanib@uri`", "`chanib@uri`"},
	CmdBCContext:       {"the last messages of a room", "`chanib@uri`, `bcq/last@cnt`", "`chanib` with a `msg` for each message, oldest first"},
	CmdBCByDate:        {"the messages of a span of time", "`chanib@uri` for each room, at most 100; `bcq` with `date`, `limit`", "a `chanib` for each room with `msg`, `@total`, `@exceeded`; `bcq/msgid`: where to ask on, in an answer for one room"},
	CmdBCByMsg:         {"the messages from one on, which is included", "`chanib@uri`, `bcq` with `msgid`, `limit`", "as `cmd:bcbydate`"},
	CmdBCSearch:        {"messages by words and authors", "`chanib@uri` for each room, at most 100; `bcq` with `text` or `author`; `date`, `msgid`, `limit`", "as `cmd:bcbydate`"},
	CmdChanSrch:        {"rooms by name and properties", "`qib`", "a `chanib` for each room that the caller sees; `qib@more`"},
	CmdGetInv:          {"invitations newer than one", "`inv@inviteId`, `@domain`", "an `inv` with `chanib` for each; without any, an `inv` with the newest number that the caller knows or had"},
	CmdGetPref:         {"a preference that the client keeps here", "`pref@label`, `@seqid`, `@createdefault`", "`pref`; `@content` only when `@seqid` has changed"},
	CmdSetPref:         {"store one", "`pref` with `@content`", "`pref@label`, the new `@seqid`; 409 when `@seqid` of the command is an old one"},
	CmdNodes:           {"the categories in which the caller may create rooms", "nothing", "a `nodeib` for each"},
	CmdGetNode:         {"all of a room or category", "`chanib@uri` or `@name`, or `nodeib@uri`", "`chanib` with the caller's `@permissions`, or `nodeib`"},
	CmdGetUsers:        {"who has roles in a room; or who is in it, when the room is too full to tell", "`chanib@uri` with a `role@type` for each role asked for; none: who is in it", "`chanib` with `role`, or with `uib`; `@exceeded` and `@total` when not all fit"},
	CmdGetPrincipals:   {"users and groups by address", "a `uib@uri` for each", "a `uib` for each that exists"},
	CmdUserSearch:      {"users and groups by name; or those who could get a role", "`qib`; with `@role` also `chanib@uri` or `nodeib@uri`", "a `uib` for each; `qib@more`"},
	CmdGetAddIns:       {"the registered add-ins", "nothing", "a `siop` for each"},
	CmdChanCreate:      {"create a room; the caller becomes a manager", "`chanib` with `@name`, `@parent` and what else it is to be; `role` for each list", "`chanib` as it is now"},
	CmdChanModify:      {"change what is said of a room; with another `@parent` move it, for which the caller must be a creator there", "`chanib@uri`, what changes (empty `@description`, `@siopid`: clear it), `@revision` it is made to; `role@op` for each list", "`chanib` as it is now"},
	CmdChanDisable:     {"disable a room, or enable it with `@disabled=\"false\"`", "`chanib@uri`", "`chanib` as it is now"},
	CmdChanDelete:      {"delete a room and what was said in it", "`chanib@uri`", "nothing"},
	CmdGetFUTok:        {"a token to upload a file", "`ftdb`", "`token`"},
	CmdGetFDTok:        {"a token to download one", "`ftdb`", "`token`"},

	IDGrpChat: {"a message. The client sends `ts`, which the product insists on and the server replaces; the server sends it to everybody in the room, the sender included", "`@chanUri`, `@author`, `@ts`, `chat`, `rtf`; from the server `@chatId`, `@authdisp`", ""},

	NtcJoin:        {"a user has come", "`uib` with an `aib` for the room", "the others in the room"},
	NtcBJoin:       {"a user has come into several rooms", "`uib` with an `aib` for each room", "the others in the rooms"},
	NtcPart:        {"users have left", "`chanib@uri` with a `uib` for each", "the others in the room"},
	NtcChanModify:  {"a room has changed, or what its category lets in", "`chanib` as it is now", "everybody in the room"},
	NtcChanDisable: {"a room was disabled, and the session in it has ended", "`chanib@uri`, `@disabled`", "everybody who was in the room"},
	NtcChanDelete:  {"a room was deleted, and the session in it has ended", "`chanib@uri`", "everybody who was in the room"},
	NtcPermModify:  {"what a user may do in a room has changed", "`uib` with an `aib` for the room", "everybody in the room, that user included"},
	NtcKick:        {"a user may no longer be in a room, and his session in it has ended", "`chanib@uri` with `uib`", "the sessions that ended; the open client gets `ntc:part` about itself instead"},
	NtcInvite:      {"the user became a member of a room that invites", "`inv` with `chanib`", "that user, in all his dialogs"},
	NtcMsgDelete:   {"messages were removed, replaced (`chat`), or the room was cleared (`date@to`)", "`chanib@uri` with a `msgid` for each, at most 1,000, `chat`; or `bcq/date@to`", "everybody in the room"},
}

func row(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func head(b *strings.Builder, cells ...string) {
	row(b, cells...)
	b.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
}

func code(s string) string { return "`" + s + "`" }

// entryTables writes the tables of commands, posts and notices.
func entryTables() map[string]string {
	var commands, posts, notices strings.Builder
	head(&commands, "Command", "Asks for, or does", "Carries", "Reply carries", "Right", "Source of the names")
	head(&posts, "Item", "What", "Carries", "Right", "Source of the names")
	head(&notices, "Notice", "Says", "Carries", "Told", "Source of the names")
	for _, e := range Entries() {
		id, w := code(e.ID), words[e.ID]
		for _, a := range e.Aliases {
			id += ", also " + code(a)
		}
		switch {
		case strings.HasPrefix(e.ID, "ntc:"):
			row(&notices, id, w[0], w[1], w[2], string(e.Source))
		case e.Reply == "":
			row(&posts, id, w[0], w[1], string(e.Right), string(e.Source))
		default:
			answers := w[2]
			if e.Reply != "rpl:"+strings.TrimPrefix(e.ID, "cmd:") {
				answers += ", as " + code(e.Reply)
			}
			row(&commands, id, w[0], w[1], answers, string(e.Right), string(e.Source))
		}
	}
	return map[string]string{"commands": commands.String(), "posts": posts.String(), "notices": notices.String()}
}

// vocabulary lists each element once, with its attributes and children and where their names come from.
func vocabulary() []xmlcode.Name {
	var all []xmlcode.Name
	all = append(all, xmlcode.Names("commandid", new(Ref).code)...)
	all = append(all, xmlcode.Names("resp", new(resp).visit)...)
	all = append(all, xmlcode.Names("data", new(Data).code)...)
	return append(all, xmlcode.Names("grpchat", new(Post).code)...)
}

func elementTable(t *testing.T) string {
	type element struct {
		name string
		rows []xmlcode.Name
	}
	var order []*element
	known := map[string]*element{}
	seen := map[string]xmlcode.Source{}
	for _, n := range vocabulary() {
		sep := strings.LastIndexAny(n.Path, "/@")
		parent := n.Path[:sep]
		parent = parent[strings.LastIndexByte(parent, '/')+1:]
		key := parent + n.Path[sep:]
		if src, again := seen[key]; again {
			if src != n.Source {
				t.Errorf("%s is from %q and from %q", key, src, n.Source)
			}
			continue
		}
		seen[key] = n.Source
		e := known[parent]
		if e == nil {
			e = &element{name: parent}
			known[parent] = e
			order = append(order, e)
		}
		n.Path = n.Path[sep:]
		e.rows = append(e.rows, n)
	}
	var b strings.Builder
	head(&b, "Element", "Attributes (@) and children", "Source of the names")
	for _, e := range order {
		for i := 0; i < len(e.rows); {
			var names []string
			src := e.rows[i].Source
			for ; i < len(e.rows) && e.rows[i].Source == src; i++ {
				name := code(strings.TrimPrefix(e.rows[i].Path, "/"))
				for _, a := range e.rows[i].Aliases {
					name += " (also " + code(a) + ")"
				}
				names = append(names, name)
			}
			row(&b, code(e.name), strings.Join(names, ", "), string(src))
		}
	}
	return b.String()
}

func resultTable() string {
	var b strings.Builder
	head(&b, "Code", "Text", "Condition", "Refusal")
	row(&b, "200", code(Success), "success", "")
	for _, r := range results {
		refusal := string(r.refusal)
		if r.rule != "" {
			refusal += ", rule " + r.rule
		}
		row(&b, fmt.Sprint(r.code), code(r.text), r.condition, refusal)
	}
	row(&b, "500", code("ERROR_SERVER"), "ServerError", "anything else")
	return b.String()
}

// TestProtocolPage: the page that people read says what the code does.
func TestProtocolPage(t *testing.T) {
	for id := range words {
		if byID[id] == nil {
			t.Errorf("%s has words and no entry", id)
		}
	}
	for _, e := range entries {
		if words[e.ID][0] == "" || words[e.ID][1] == "" {
			t.Errorf("%s has no words", e.ID)
		}
	}
	const page = "../../docs/protocol.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	tables := entryTables()
	tables["elements"], tables["results"] = elementTable(t), resultTable()
	got := string(b)
	want := got
	for name, table := range tables {
		start := "<!-- table: " + name + " -->\n"
		before, rest, ok := strings.Cut(want, start)
		_, after, closed := strings.Cut(rest, "<!-- end -->")
		if !ok || !closed {
			t.Fatalf("%s has no table %s", page, name)
		}
		want = before + start + table + "<!-- end -->" + after
	}
	if want == got {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the code says; run this test with -update", page)
	}
	if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
