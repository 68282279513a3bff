package xccos

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"parley/sipfront/xccos/xmltree"
)

// TestClientVectors says what each message of a client means, so that reading does not only mirror writing.
func TestClientVectors(t *testing.T) {
	room := func(i int, guid string) ChanID { return ChanID{Key: fmt.Sprint(i), Domain: "example.com", Value: guid} }
	guid := strings.TrimPrefix(harbor, "ma-chan://example.com/")
	in := []ChanIB{{URI: harbor}}
	for name, want := range map[string]Item{
		"e/V01": {ID: CmdReqURI, Data: &Data{}},
		"e/V03": {ID: CmdGetServerInfo, Data: &Data{Server: &SIB{Domain: "example.com", InfoType: "123"}}},
		"x/V05": {ID: CmdGetAssociations, Data: &Data{Association: &Association{Domain: "example.com", Type: "MEMBER", MaxResults: 500}}},
		"e/V07": {ID: CmdBJoin, Data: &Data{Rooms: []ChanID{room(0, guid),
			room(1, "c2d8e9b4-1f37-4f5a-8b60-72a4d1e0f3c9"), room(2, "d94a7be3-05f8-4c61-a2de-6b8f17c3e590")}}},
		"e/V09":  {ID: CmdJoin, Data: &Data{Rooms: []ChanID{room(0, guid)}}},
		"e/V14":  {ID: CmdBCContext, Data: &Data{Chans: in, Context: &BCQ{Last: &Count{25}}}},
		"e/V17":  {Post: &Post{ChanURI: harbor, Author: "sip:alice@example.com", TS: "2014-05-06T07:09:30Z", Text: "Berth 4 is free"}},
		"e/V20":  {Post: &Post{ChanURI: harbor, Author: "sip:alice@example.com", TS: "2014-05-06T07:11:00Z", Text: "first line\nsecond line"}},
		"e/V21":  {ID: CmdPart, Data: &Data{Chans: in}},
		"e/V24a": {ID: CmdChanSrch, Data: &Data{Search: &QIB{Type: SearchByName}}},
		"e/V25a": {ID: CmdGetInv, Data: &Data{Invites: []Inv{{ID: 1, Domain: "example.com"}}}},
		"e/V26a": {ID: CmdGetPref, Data: &Data{Pref: &Pref{Label: "kedzie.GroupChannels", Seq: "3", CreateDefault: "true"}}},
		"e/V26b": {ID: CmdSetPref, Data: &Data{Pref: &Pref{Label: "kedzie.GroupChannels", Seq: "4", CreateDefault: "false", Content: "SGVsbG8="}}},
		"e/V27a": {ID: CmdNodes, Data: &Data{}},
		"e/V28a": {ID: CmdGetFUTok, Data: &Data{File: &FTDB{harbor, "tides.txt"}}},
		"e/V28c": {ID: CmdGetFDTok, Data: &Data{File: &FTDB{harbor, "tides-copy.txt"}}},
		"x/V31a": {ID: "cmd:bcbydate", Data: &Data{Chans: in, Context: &BCQ{Limit: &Count{50},
			Date: &DateRange{"2014-05-01T00:00:00Z", "2014-05-06T00:00:00Z"}}}},
		"x/V31b": {ID: "cmd:bcbymsg", Data: &Data{Chans: in, Context: &BCQ{MsgID: &MsgID{18}, Limit: &Count{50}}}},
		"x/V31c": {ID: "cmd:bcsearch", Data: &Data{Chans: in, Context: &BCQ{Text: &TextQuery{Words: "tug berth"}, Limit: &Count{50}}}},
		"x/V32a": {ID: "cmd:chancreate", Data: &Data{Chans: []ChanIB{{Name: "Dry Dock", Description: "Repairs",
			Parent: "ma-cat://example.com/0e6a4d7f-93b2-4c18-a5de-3b1c9f8e2d60", Behavior: BehaviorNormal}}}},
	} {
		dir, file, _ := strings.Cut(name, "/")
		e, err := Decode([]byte(vectors(t, dir)[file]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want.Kind, want.Seq = Cmd, "1"
		if want.Post != nil {
			want.Kind, want.ID = GrpChat, IDGrpChat
		}
		if len(e.Items) != 1 || !reflect.DeepEqual(e.Items[0], want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, e.Items, want)
		}
		if !strings.HasPrefix(e.EnvID, "700100") {
			t.Errorf("%s: envid %s", name, e.EnvID)
		}
	}
}

// TestServerVectors reads what the scripted client depends on.
func TestServerVectors(t *testing.T) {
	e, err := DecodeServer([]byte(vectors(t, "e")["V08"]))
	if err != nil {
		t.Fatal(err)
	}
	it := e.Items[0]
	if it.Kind != Rpl || it.ID != "rpl:bjoin" || it.Code != 200 || it.Text != Success || it.Ref != (Ref{"1", "70010004"}) {
		t.Errorf("reply %+v", it)
	}
	d := it.Data
	if len(d.Users) != 3 || !reflect.DeepEqual(d.Users[2], UIB{ID: "2", URI: "sip:carol@example.com"}) || len(d.Chans) != 2 ||
		d.Chans[0].Access[0] != (AIB{Key: "3456", Value: "0,2"}) || d.Failed[0].Key != FailedKey {
		t.Errorf("data %+v", d)
	}
	e, err = DecodeServer([]byte(vectors(t, "e")["V29"]))
	if err != nil || len(e.Items) != 2 || e.Items[0].ID != rplChanSrch || e.Items[1].ID != "rpl:part" {
		t.Errorf("two replies in one envelope: %+v, %v", e, err)
	}
	e, err = DecodeServer([]byte(vectors(t, "eplus")["V19"]))
	if p := e.Items[0].Post; err != nil || !p.Alert || p.ChatID != 18 || p.Display != "Alice Adams" || p.RTF != `{\rtf1\ansi Storm {\b warning}\par}` {
		t.Errorf("post %+v, %v", p, err)
	}
}

func client(item string) string {
	return `<xccos ver="1" envid="7" xmlns="` + namespace + `">` + item + `</xccos>`
}

func post(attrs, content string) string {
	return client(`<grpchat id="grpchat" seqid="1" ` + attrs + `>` + content + `</grpchat>`)
}

// TestLiberal: what a client may vary without losing its answer.
func TestLiberal(t *testing.T) {
	full := `chanUri="u" author="a" ts="t"`
	for name, body := range map[string]string{
		"declaration":       `<?xml version="1.0" encoding="utf-8"?>` + post(full, `<chat>x</chat>`),
		"no namespace":      `<xccos ver="1" envid="7"><grpchat id="grpchat" ` + full + `><chat>x</chat></grpchat></xccos>`,
		"prefix":            `<p:xccos envid="7" xmlns:p="` + namespace + `"><p:grpchat ` + full + `><p:chat>x</p:chat></p:grpchat></p:xccos>`,
		"white space":       client("\r\n  <grpchat id='grpchat'\n" + full + " >\n <chat >x</chat >\n</grpchat >\n"),
		"no seqid":          client(`<grpchat id="grpchat" ` + full + `><chat>x</chat></grpchat>`),
		"largest seqid":     client(`<grpchat id="grpchat" seqid="4294967295" ` + full + `><chat>x</chat></grpchat>`),
		"largest envid":     strings.Replace(post(full, `<chat>x</chat>`), `"7"`, `"18446744073709551615"`, 1),
		"unknown element":   post(full, `<font/><chat>x</chat><font><chat>y</chat></font>`),
		"unknown attribute": post(full+` colour="red"`, `<chat>x</chat>`),
		"unknown item":      client(`<sys id="sys:x"/><grpchat id="grpchat" ` + full + `><chat>x</chat></grpchat>`),
		"foreign element":   post(full, `<chat xmlns="urn:other">y</chat><chat>x</chat>`),
		"CDATA":             post(full, `<chat><![CDATA[x]]></chat>`),
		"comment":           post(full, `<!-- chat --><chat>x<!-- y --></chat>`),
		"xsi and xsd":       strings.Replace(post(full, `<chat>x</chat>`), "<xccos ", `<xccos xmlns:xsd="a" xmlns:xsi="b" xsi:type="c" `, 1),
	} {
		e, err := Decode([]byte(body))
		if err != nil || len(e.Items) != 1 || e.Items[0].Err != nil || e.Items[0].Post.Text != "x" {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	for posted, want := range map[string]string{
		"a\r\nb": "a\nb", "a\rb": "a\nb", "a&#13;&#10;b": "a\nb", "a&#13;b": "a\nb", "a&#10;b": "a\nb", "a&#13;\nb": "a\nb",
		"": "", "  ": "  ", "&lt;b&gt; &amp;amp; &quot;&apos;": `<b> &amp; "'`, "é€𝄞": "é€𝄞",
	} {
		e, err := Decode([]byte(post(full, `<chat>`+posted+`</chat>`)))
		if err != nil || e.Items[0].Err != nil || e.Items[0].Post.Text != want {
			t.Errorf("posted %q: %+v, %v", posted, e, err)
		}
	}
	e, err := Decode([]byte(client(`<cmd id="CMD:JoIn" seqid="007"><data><chanid value="5B1F0C52-6a0d-4f0e-9a43-0d7c2e5b8a11"/></data></cmd>`)))
	if err != nil || e.Items[0].ID != CmdJoin || e.Items[0].Seq != "007" || e.Items[0].Data.Rooms[0].Room() != "5b1f0c52-6a0d-4f0e-9a43-0d7c2e5b8a11" {
		t.Errorf("case of ids: %+v, %v", e, err)
	}
	e, err = Decode([]byte(client(`<cmd id="cmd:bccontext" seqid="1"><data><chanib uri="u"/></data></cmd>`)))
	if err != nil || e.Items[0].Err != nil || e.Items[0].Data.Context != nil {
		t.Errorf("history without a count: %+v, %v", e, err)
	}
	e, err = Decode([]byte(client(`<cmd id="cmd:bccontext"><data><chanib uri="u"/><bcq><last cnt="99999999999999999999999"/></bcq></data></cmd>`)))
	if err != nil || e.Items[0].Err != nil || e.Items[0].Data.Context.Last.N != 1<<32-1 {
		t.Errorf("history of very many: %+v, %v", e, err)
	}
	e, err = Decode([]byte(client(`<cmd id="cmd:nosuchthing"/><cmd id="cmd:requri"/>`)))
	if err != nil || len(e.Items) != 2 || e.Items[0].ID != "cmd:nosuchthing" || e.Items[0].Err != nil || e.Items[0].Data == nil {
		t.Errorf("unknown command: %+v, %v", e, err)
	}
	e, err = Decode([]byte(client(`<rpl id="rpl:join"><data><uib uri="u"/></data></rpl>`)))
	if err != nil || e.Items[0].Kind != Rpl || len(e.Items[0].Data.Users) != 0 {
		t.Errorf("a reply from a client is named, not read: %+v, %v", e, err)
	}
	for data, manager := range map[string]bool{
		`<association type="MEMBER"/>`: false, `<association type="MANAGER"/>`: true, `<association kind="chanManager"/>`: true,
		``: false, `<assoc role="Managers"/>`: true, `<chanib uri="x"><role name="manager"/></chanib>`: true,
	} {
		e, err := Decode([]byte(client(`<cmd id="cmd:getassociations"><data>` + data + `</data></cmd>`)))
		if err != nil || e.Items[0].Err != nil || (e.Items[0].Data.Association.Type == AssociationManager) != manager {
			t.Errorf("association %s: %+v, %v", data, e, err)
		}
	}
}

// TestStrict is the list of what a body is refused for as a whole.
func TestStrict(t *testing.T) {
	ok := client(`<cmd id="cmd:requri" seqid="1"><data/></cmd>`)
	with := func(old, new string) string {
		if !strings.Contains(ok, old) {
			t.Fatalf("no %s in %s", old, ok)
		}
		return strings.Replace(ok, old, new, 1)
	}
	for name, c := range map[string]struct {
		body string
		code int
		why  string
	}{
		"wrong namespace":      {with(namespace, "urn:other"), 400, "namespace"},
		"namespace in capital": {with(namespace, strings.ToUpper(namespace)), 400, "namespace"},
		"wrong root":           {`<xml envid="1"><cmd id="cmd:requri"/></xml>`, 400, "not xccos"},
		"no envid":             {with(` envid="7"`, ""), 400, "envid"},
		"empty envid":          {with(`"7"`, `""`), 400, "envid"},
		"envid 2^64":           {with(`"7"`, `"18446744073709551616"`), 400, "envid"},
		"envid of many zeros":  {with(`"7"`, `"`+strings.Repeat("0", 30)+`7"`), 400, "envid"},
		"negative envid":       {with(`"7"`, `"-7"`), 400, "envid"},
		"signed envid":         {with(`"7"`, `"+7"`), 400, "envid"},
		"envid in hex":         {with(`"7"`, `"0x7"`), 400, "envid"},
		"envid with blank":     {with(`"7"`, `" 7"`), 400, "envid"},
		"arabic digits":        {with(`"7"`, `"٧"`), 400, "envid"},
		"seqid is a word":      {with(`seqid="1"`, `seqid="one"`), 400, "seqid"},
		"seqid empty":          {with(`seqid="1"`, `seqid=""`), 400, "seqid"},
		"seqid 2^32":           {with(`seqid="1"`, `seqid="4294967296"`), 400, "seqid"},
		"seqid huge":           {with(`seqid="1"`, `seqid="`+strings.Repeat("9", 100000)+`"`), 400, "seqid"},
		"no id":                {with(` id="cmd:requri"`, ""), 400, "without an id"},
		"long id":              {with(`cmd:requri`, "cmd:"+strings.Repeat("x", maxID)), 400, "longer"},
		"no item":              {client(``), 400, "no cmd"},
		"only unknown items":   {client(`<sys/>`), 400, "no cmd"},
		"only foreign items":   {client(`<cmd xmlns="urn:other" id="cmd:requri"/>`), 400, "no cmd"},
		"too many items":       {client(strings.Repeat(`<cmd id="cmd:requri"/>`, maxItems+1)), 413, "items"},
		"two roots":            {ok + ok, 400, "second root"},
		"text after":           {ok + "x", 400, "outside"},
		"DOCTYPE":              {`<!DOCTYPE xccos>` + ok, 400, "document type"},
		"stylesheet":           {`<?xml-stylesheet href="x"?>` + ok, 400, "processing"},
		"empty":                {"", 400, "no element"},
		"too deep":             {with(`<data/>`, strings.Repeat("<a>", 31)+strings.Repeat("</a>", 31)), 400, "deeper"},
		"too large":            {ok + strings.Repeat(" ", xmltree.MaxBytes), 413, "bytes"},
		"too many elements":    {with(`<data/>`, strings.Repeat("<a/>", xmltree.MaxElements)), 413, "elements"},
		"too many attributes":  {with(`<data/>`, "<data"+attributes(xmltree.MaxAttrs+1)+"/>"), 400, "attributes"},
		"long name":            {with(`<data/>`, "<"+strings.Repeat("a", xmltree.MaxName+1)+"/>"), 400, "longer"},
		"NUL":                  {with(`<data/>`, "<data>\x00</data>"), 400, "control"},
		"not UTF-8":            {with(`<data/>`, "<data>\xc3</data>"), 400, "UTF-8"},
	} {
		_, err := Decode([]byte(c.body))
		e, _ := err.(*Error)
		if e == nil || e.Code != c.code || !strings.Contains(e.Text, c.why) {
			t.Errorf("%s: %v, want %d and %q", name, err, c.code, c.why)
		}
		if e != nil && (len(e.Text) > 256 || strings.ContainsAny(e.Text, "\r\n")) {
			t.Errorf("%s: %q is no line for a header", name, e.Text)
		}
	}
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` a%d=""`, i)
	}
	return b.String()
}

// TestItemErrors: a command that lacks what it is about is refused by itself, so that it gets a correlated answer.
func TestItemErrors(t *testing.T) {
	cmd := func(id, data string) string {
		return client(`<cmd id="` + id + `" seqid="1"><data>` + data + `</data></cmd><cmd id="cmd:requri" seqid="2"/>`)
	}
	rooms := func(n int) string { return strings.Repeat(`<chanid value="x"/>`, n) }
	for name, c := range map[string]struct {
		body string
		code int // 0: accepted
	}{
		"join nothing":                  {cmd(CmdJoin, ""), 400},
		"join no value":                 {cmd(CmdJoin, `<chanid key="0"/>`), 400},
		"join":                          {cmd(CmdJoin, rooms(1)), 0},
		"join many":                     {cmd(CmdBJoin, rooms(maxLists)), 0},
		"join too many":                 {cmd(CmdBJoin, rooms(maxLists+1)), 413},
		"part nothing":                  {cmd(CmdPart, ""), 400},
		"part no uri":                   {cmd(CmdPart, `<chanib/>`), 400},
		"history of nothing":            {cmd(CmdBCContext, `<bcq/>`), 400},
		"history of some":               {cmd(CmdBCContext, `<chanib uri="u"/><bcq><last cnt="some"/></bcq>`), 400},
		"history of less than 0":        {cmd(CmdBCContext, `<chanib uri="u"/><bcq><last cnt="-1"/></bcq>`), 400},
		"search nothing":                {cmd(CmdChanSrch, ""), 400},
		"pref without label":            {cmd(CmdGetPref, `<pref seqid="1"/>`), 400},
		"setpref without":               {cmd(CmdSetPref, ``), 400},
		"token for no file":             {cmd(CmdGetFUTok, `<ftdb channelUri="u"/>`), 400},
		"token for no room":             {cmd(CmdGetFDTok, `<ftdb fileUrl="u"/>`), 400},
		"history of a room and nothing": {cmd(CmdBCByDate, `<chanib uri="u"/><chanib/><bcq><date/></bcq>`), 400},
		"history without a date":        {cmd(CmdBCByDate, `<chanib uri="u"/><bcq/>`), 400},
		"history without a message":     {cmd(CmdBCByMsg, `<chanib uri="u"/><bcq><date/></bcq>`), 400},
		"search for nothing":            {cmd(CmdBCSearch, `<chanib uri="u"/><bcq><limit cnt="1"/></bcq>`), 400},
		"search for an author":          {cmd(CmdBCSearch, `<chanib uri="u"/><bcq><author uri="a"/></bcq>`), 0},
		"search for words":              {cmd(CmdBCSearch, `<chanib uri="u"/><bcq><text>x</text></bcq>`), 0},
		"details of nothing":            {cmd(CmdGetNode, `<chanib/><nodeib/>`), 400},
		"details by alias":              {cmd("cmd:getchan", `<chanib/>`), 400},
		"details of a category":         {cmd(CmdGetNode, `<catib uri="c"/>`), 0},
		"create without a name":         {cmd(CmdChanCreate, `<chanib parent="c"/>`), 400},
		"create without a category":     {cmd(CmdChanCreate, `<chanib name="n"/>`), 400},
		"create":                        {cmd(CmdChanCreate, `<chanib name="n" parent="c"><role type="member"><uib uri="u"/></role></chanib>`), 0},
		"create with odd role":          {cmd(CmdChanCreate, `<chanib name="n" parent="c"><role type="king"/></chanib>`), 400},
		"change with odd op":            {cmd(CmdChanModify, `<chanib uri="u"><role type="MEMBER" op="maybe"/></chanib>`), 400},
		"change of nobody's role":       {cmd(CmdChanModify, `<chanib uri="u"><role type="MEMBER" op="add"><uib/></role></chanib>`), 400},
		"change to an odd revision":     {cmd(CmdChanModify, `<chanib uri="u" revision="last"/>`), 400},
		"people without an address":     {cmd(CmdGetPrincipals, `<uib uri="u"/><uib/>`), 400},
		"invitations":                   {cmd(CmdGetInv, ``), 0},
		"server information":            {cmd(CmdGetServerInfo, ``), 0},
		"post without a room":           {post(`author="a" ts="t"`, `<chat>x</chat>`), 400},
		"post without an author":        {post(`chanUri="u" ts="t"`, `<chat>x</chat>`), 400},
		"post without a time":           {post(`chanUri="u" author="a"`, `<chat>x</chat>`), 400},
		"post without text":             {post(`chanUri="u" author="a" ts="t"`, ``), 400},
	} {
		e, err := Decode([]byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := 0
		if e.Items[0].Err != nil {
			got = e.Items[0].Err.Code
		}
		if got != c.code {
			t.Errorf("%s: %v, want %d", name, e.Items[0].Err, c.code)
		}
		if len(e.Items) > 1 && e.Items[1].Err != nil {
			t.Errorf("%s: the next command is refused too: %v", name, e.Items[1].Err)
		}
	}
}

// TestNeeds: whatever a command must have, one that has nothing is refused by itself, and one that needs nothing is not.
func TestNeeds(t *testing.T) {
	for _, entry := range Entries() {
		if !strings.HasPrefix(entry.ID, "cmd:") {
			continue
		}
		for _, data := range []string{``, `<data/>`, `<data><bcq/></data>`} {
			e, err := Decode([]byte(client(`<cmd id="` + entry.ID + `">` + data + `</cmd>`)))
			if err != nil || (e.Items[0].Err != nil) != (entry.needs != 0) {
				t.Errorf("%s with %q: %+v, %v", entry.ID, data, e, err)
			}
		}
	}
}

// TestMemory: whatever a client sends, reading it costs at most eight times its size and half a MiB.
func TestMemory(t *testing.T) {
	fill := func(item, unit string, n int) string {
		return client(fmt.Sprintf(item, strings.Repeat(unit, n)))
	}
	const cmd = `<cmd id="cmd:bjoin"><data>%s</data></cmd>`
	for name, body := range map[string]string{
		"rooms":               fill(cmd, `<chanid value="x"/>`, 1000),
		"more rooms":          fill(cmd, `<chanid value="x"/>`, 19000),
		"blocks":              fill(cmd, `<chanib/>`, 1000),
		"more blocks":         fill(cmd, `<chanib/>`, 19000),
		"users":               fill(cmd, `<uib/>`, 19000),
		"props":               fill(cmd, `<chanib>`+strings.Repeat("<prop/>", 1000)+`</chanib>`, 19),
		"posts":               fill(`%s`, `<grpchat/>`, maxItems),
		"commands":            fill(`%s`, `<cmd id="c"/>`, maxItems),
		"commands with lists": fill(`%s`, `<cmd id="c"><data>`+strings.Repeat("<uib/>", 300)+`</data></cmd>`, maxItems),
		"roles":               fill(cmd, `<chanib>`+strings.Repeat("<role/>", 900)+`</chanib>`, 1),
		"roles of users":      fill(cmd, `<chanib><role>`+strings.Repeat("<uib/>", 900)+`</role></chanib>`, 9),
		"categories":          fill(cmd, `<nodeib/>`, 1000),
		"authors":             fill(cmd, `<bcq>`+strings.Repeat("<author/>", 1000)+`</bcq>`, 1),
		"replies":             fill(`<rpl id="r"><data>%s</data></rpl>`, `<uib/>`, 19000),
		"references":          fill(`<grpchat chanUri="u" author="a" ts="t"><chat>%s</chat></grpchat>`, `&#13;`, 200000),
		"CDATA":               fill(`<grpchat chanUri="u" author="a" ts="t"><chat>%s</chat></grpchat>`, "<![CDATA[\r]]>", 60000),
		"text":                fill(`<grpchat chanUri="u" author="a" ts="t"><chat>%s</chat></grpchat>`, "x\r\n", 300000),
		"tags in text":        fill(`<grpchat chanUri="u" author="a" ts="t"><chat>%s</chat></grpchat>`, "&lt;<b/>", 19000),
		"one post":            vectors(t, "e")["V17"],
	} {
		raw := []byte(body)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		e, err := Decode(raw)
		runtime.ReadMemStats(&after)
		if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(8*len(raw)+512<<10); used > limit {
			t.Errorf("%s: %d bytes for a body of %d (%v)", name, used, len(raw), err)
		}
		runtime.KeepAlive(e)
	}
}

// show tells all of some items, pointers followed.
func show(t *testing.T, items []Item) string {
	t.Helper()
	b, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// FuzzDecode: no body makes the codec panic, and what was understood is understood again when it is written.
func FuzzDecode(f *testing.F) {
	for _, dir := range []string{"e", "eplus", "x"} {
		for _, body := range vectors(f, dir) {
			f.Add([]byte(body))
		}
	}
	f.Add([]byte(client(`<cmd id="cmd:part"><data><chanib uri="u"><role type="voicedvoiced" op="x"/></chanib></data></cmd>`)))
	f.Add([]byte(client(`<cmd id="cmd:nosuchthing"/><grpchat/><rpl id="r"/><ntc id="n"/>`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, decode := range []func([]byte) (*Envelope, error){Decode, DecodeServer} {
			e, err := decode(body)
			if err != nil {
				if refused, ok := err.(*Error); !ok || refused.Code != 400 && refused.Code != 413 {
					t.Fatalf("error %#v", err)
				}
				continue
			}
			var whole []Item
			for _, it := range e.Items {
				if it.Err == nil {
					whole = append(whole, it)
				}
			}
			if len(whole) == 0 {
				continue
			}
			again, err := decode(AppendServer(nil, 7, whole...))
			if err != nil {
				t.Fatalf("%q is read, written and then refused: %v", body, err)
			}
			if got, want := show(t, again.Items), show(t, whole); got != want {
				t.Fatalf("%q is read as\n%s\nand then as\n%s", body, want, got)
			}
		}
	})
}
