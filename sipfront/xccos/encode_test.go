package xccos

import (
	"encoding/xml"
	"strings"
	"testing"
	"unicode/utf8"

	"parley/log/event"
	"parley/projections/chat"

	"pgregory.net/rapid"
)

const (
	harbor = "ma-chan://example.com/5b1f0c52-6a0d-4f0e-9a43-0d7c2e5b8a11"
	night  = "ma-chan://example.com/c2d8e9b4-1f37-4f5a-8b60-72a4d1e0f3c9"
)

// TestConformance writes the evidenced server messages from values, so that a name that is misunderstood in both
// directions alike cannot hide.
func TestConformance(t *testing.T) {
	const base = 5840321179406612000
	at := func(s string) string { return s + "Z" }
	reply := func(n uint64, env, id string, d *Data) string {
		return string(AppendReply(nil, base+n, &Envelope{EnvID: env}, &Item{ID: id, Seq: "1"}, 200, Success, d))
	}
	notice := func(n uint64, id string, d *Data) string { return string(AppendNotice(nil, base+n, id, d)) }

	var join Roster
	join.Add(ChanIB{URI: harbor, Name: "Harbor Ops", Description: "Berth planning"}, []Occupant{
		{URI: "sip:alice@example.com", Mask: MaskMember}, {URI: "sip:bob@example.com", Mask: MaskManagerOpen},
		{URI: "sip:carol@example.com", Mask: MaskMember}})
	join.Add(ChanIB{URI: night, Name: "Night Shift"}, []Occupant{
		{URI: "sip:alice@example.com", Mask: MaskMember}, {URI: "sip:bob@example.com", Mask: MaskMember}})
	join.Data.Failed = []FIB{{FailedKey, "d94a7be3-05f8-4c61-a2de-6b8f17c3e590", "example.com"}}

	props := func(file, invite, logged string) []Prop {
		return []Prop{{PropFilePost, file}, {PropInvite, invite}, {PropLogged, logged}}
	}
	member := func(rooms ...string) []AIB {
		var all []AIB
		for _, r := range rooms {
			all = append(all, AIB{Key: MaskMember.String(), Domain: "example.com", Value: strings.TrimPrefix(r, "ma-chan://example.com/")})
		}
		return all
	}
	inHarbor := &Data{Chans: []ChanIB{{URI: harbor}}}
	found := ChanIB{Name: "Harbor Ops", Description: "Berth planning", URI: harbor}
	refused := answer(&Envelope{EnvID: "70010005"}, &Item{ID: CmdJoin, Seq: "1"}, 403, "ERROR_PERMISSION", nil)

	got := map[string]string{
		"V02": reply(2, "70010001", CmdReqURI, &Data{Users: []UIB{{URI: "sip:pchat-pool1@example.com"}}}),
		"V08": reply(5, "70010004", CmdBJoin, &join.Data),
		"V11": string(AppendServer(nil, base+7, refused)),
		"V12": notice(8, NtcJoin, &Data{Users: []UIB{{URI: "sip:carol@example.com", Rooms: member(harbor)}}}),
		"V13": notice(9, NtcBJoin, &Data{Users: []UIB{{URI: "sip:carol@example.com", Rooms: member(harbor, night)}}}),
		"V15": reply(10, "70010006", CmdBCContext, &Data{Chans: []ChanIB{{URI: harbor, Posts: []Post{
			{ChanURI: harbor, Author: "sip:bob@example.com", TS: at("2014-05-06T06:55:00.0000000"), Text: "Pilot boards at 09:30"},
			{ChanURI: harbor, Author: "sip:carol@example.com", TS: at("2014-05-06T06:57:12.5000000"), Text: "Tug <Orca> is ready & waiting"},
		}}}}),
		"V18": string(AppendPost(nil, base+12, &Post{ChanURI: harbor, Author: "sip:alice@example.com",
			TS: FormatTime(1399360170_481_000_000), Text: "Berth 4 is free"})),
		"V22": reply(14, "70010009", CmdPart, inHarbor),
		"V23": notice(15, NtcPart, &Data{Chans: []ChanIB{{URI: harbor, Users: []UIB{{URI: "sip:alice@example.com"}}}}}),
		"V24b": reply(16, "70010010", CmdChanSrch, &Data{Chans: []ChanIB{
			{Name: "Harbor Ops", Description: "Berth planning", URI: harbor, Props: props("True", "False", "True"),
				Info: []Prop{{InfoUsers, "2"}, {InfoVisibilityMiss, VisibilityScoped}}},
			{Name: "Night Shift", URI: night, Props: props("False", "False", "True"),
				Info: []Prop{{InfoUsers, "0"}, {InfoVisibilityMiss, VisibilityOpen}}},
		}}),
		"V27b": reply(20, "70010014", CmdNodes, nil),
		"V28b": reply(21, "70010015", CmdGetFUTok, &Data{Token: &Token{"6e2b95d0-31f7-4ac8-8d46-f0a7c3e9152b",
			"https://fe1.example.com/PersistentChat/MGCWebService.asmx"}}),
		"V29": string(AppendServer(nil, base+22,
			answer(&Envelope{EnvID: "70010010"}, &Item{ID: CmdChanSrch, Seq: "1"}, 200, Success, &Data{Chans: []ChanIB{found}}),
			answer(&Envelope{EnvID: "70010009"}, &Item{ID: CmdPart, Seq: "1"}, 200, Success, inHarbor))),
	}
	for name, want := range vectors(t, "e") {
		if !isServer(want) {
			continue
		}
		if got[name] != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got[name], want)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is no vector", name)
	}
}

// heard is what an XML 1.0 parser that is not ours makes of a post.
type heard struct {
	Post struct {
		Author string `xml:"author,attr"`
		Chat   string `xml:"chat"`
		RTF    string `xml:"rtf"`
	} `xml:"grpchat"`
}

// TestEscaping: whatever is posted, a parser reads the same; what XML cannot say is replaced, never dropped silently
// and never sent.
func TestEscaping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("a<>&\"']]>\n\t\r \x00\x0b\ufffe\uffff\U0001F600é"))),
			rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) })).Draw(t, "text")
		body := AppendPost(nil, 1, &Post{ChanURI: harbor, Author: s, TS: "t", Text: s, RTF: s})
		var h heard
		if err := xml.Unmarshal(body, &h); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		want := strings.Map(func(r rune) rune {
			if r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r != '\ufffe' && r != '\uffff' {
				return r // invalid bytes arrive here as U+FFFD
			}
			return utf8.RuneError
		}, s)
		if h.Post.Author != want || h.Post.RTF != want {
			t.Fatalf("posted %q, heard author %q and rtf %q", s, h.Post.Author, h.Post.RTF)
		}
		if h.Post.Chat != want {
			t.Fatalf("posted %q, heard %q, want %q", s, h.Post.Chat, want)
		}
		e, err := DecodeServer(body)
		if s == "" { // no author
			if err != nil || e.Items[0].Err == nil {
				t.Fatalf("a post without author: %v", err)
			}
			return
		}
		if err != nil || e.Items[0].Err != nil {
			t.Fatal(err, e)
		}
		lf := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(want)
		if p := e.Items[0].Post; p.Text != lf || p.Author != want || p.RTF != want {
			t.Fatalf("posted %q, read %q", s, p.Text)
		}
	})
}

// TestLineEnds: on the wire they are CR LF, in both directions.
func TestLineEnds(t *testing.T) {
	p := &Post{ChanURI: harbor, Author: "sip:alice@example.com", TS: "t", Text: "a\nb"}
	if got := string(AppendPost(nil, 1, p)); !strings.Contains(got, "<chat>a\r\nb</chat>") {
		t.Errorf("server: %q", got)
	}
	if got := string(AppendClient(nil, 1, Item{Kind: GrpChat, ID: IDGrpChat, Post: p})); !strings.Contains(got, "<chat>a&#13;&#10;b</chat>") {
		t.Errorf("client: %q", got)
	}
}

func TestReplyID(t *testing.T) {
	for cmd, want := range map[string]string{CmdJoin: "rpl:join", CmdGetFDTok: "rpl:getftok", CmdGetFUTok: "rpl:getftok",
		"cmd:nosuchthing": "rpl:nosuchthing", "odd": "rpl:odd"} {
		if got := replyID(cmd); got != want {
			t.Errorf("reply to %s is %s, want %s", cmd, got, want)
		}
	}
}

// TestFormatTime: seven digits, cut off and not rounded, so that a time never lies after its event.
func TestFormatTime(t *testing.T) {
	for at, want := range map[event.Time]string{
		0:                         "1970-01-01T00:00:00.0000000Z",
		1_399_360_170_481_000_000: "2014-05-06T07:09:30.4810000Z",
		1_999_999_999_999_999_999: "2033-05-18T03:33:19.9999999Z",
	} {
		if got := FormatTime(at); got != want {
			t.Errorf("%d is %s, want %s", at, got, want)
		}
	}
}

// TestResp pins the table of results, and that no code is forgotten.
func TestResp(t *testing.T) {
	for code, want := range map[chat.Code]int{chat.CodeInvalid: 400, chat.CodeForbidden: 403, chat.CodeNotFound: 404,
		chat.CodeDisabled: 410, chat.CodeConflict: 409, chat.CodeNotJoined: 412, chat.CodeTooLarge: 413,
		chat.CodeUnsupported: 501, chat.CodeStaleEpoch: 409, chat.CodeUnavailable: 503, "new": 500} {
		if got, text := Resp(&chat.Refusal{Code: code}); got != want || !strings.HasPrefix(text, "ERROR_") {
			t.Errorf("%s is %d %s, want %d", code, got, text, want)
		}
	}
	for rule, want := range map[string]string{"R12": "ERROR_DUPLICATE_NAME", "R13": "ERROR_DATA_COLLISION", "": "ERROR_DATA_COLLISION"} {
		if _, got := Resp(&chat.Refusal{Code: chat.CodeConflict, Rule: rule}); got != want {
			t.Errorf("conflict by rule %q is %s, want %s", rule, got, want)
		}
	}
	if _, got := Resp(&chat.Refusal{Code: chat.CodeNotFound, Rule: "D3"}); got != "ERROR_NO_SUCH_PRINCIPAL" {
		t.Errorf("an unknown principal is %s", got)
	}
}

// TestParseTime: instants as clients write them, with and without a zone.
func TestParseTime(t *testing.T) {
	for text, want := range map[string]event.Time{
		"2014-05-06T07:09:30Z":              1_399_360_170_000_000_000,
		"2014-05-06T07:09:30":               1_399_360_170_000_000_000,
		"2014-05-06T07:09:30.4810000Z":      1_399_360_170_481_000_000,
		"2014-05-06T07:09:30.481":           1_399_360_170_481_000_000,
		"2014-05-06T09:09:30+02:00":         1_399_360_170_000_000_000,
		"2014-05-06":                        1_399_334_400_000_000_000,
		"1970-01-01T00:00:00Z":              0,
		"":                                  -1,
		"yesterday":                         -1,
		"2014-13-06T07:09:30Z":              -1,
		"1969-12-31T23:59:59Z":              -1,
		"9999-12-31T23:59:59.9999999Z":      -1,
		"2014-05-06T07:09:30Z and the rest": -1,
	} {
		got, ok := ParseTime(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, ok, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		at := event.Time(rapid.Int64Range(0, 1<<62).Draw(t, "at"))
		if got, ok := ParseTime(FormatTime(at)); !ok || got != at-at%100 {
			t.Fatalf("%d is written and read as %d, %v", at, got, ok)
		}
	})
}
