package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin/admintest"
	"parley/webfront/archive"
)

var boss = chat.Origin{By: "admin:boss", Node: "n1", Trusted: true}

// town fills a pool with every kind of object, some of which need others to be there, and with every kind of message.
func town(t *testing.T, p *admintest.Pool, messages int) {
	do := func(c chat.Command) chat.Result { return p.Must(t, boss, c).Result }
	europe := do(&chat.CreateUnit{Info: event.UnitInfo{Name: "Europe", Description: "d"}}).Unit
	ulm := do(&chat.CreateUnit{Info: event.UnitInfo{Name: "Ulm, an der Donau", Parent: europe}}).Unit
	for i, name := range []string{"alice", "bob", "carol", "dave"} {
		u := event.UserInfo{Enabled: i != 3, DisplayName: strings.ToUpper(name), Email: name + "@x.test", Name: name, GivenName: "G", Surname: "S", Company: "C & <D>"}
		if i%2 == 0 {
			u.Unit = ulm
		}
		do(&chat.CreateUser{User: event.UserPrincipal(name + "@contoso.test"), Info: u, Secret: event.Secret{Realm: "contoso.test", HA1SHA256: bytes.Repeat([]byte{7}, 32)}})
	}
	desk := do(&chat.CreateGroup{Info: event.GroupInfo{Name: "Desk", Unit: ulm}, Members: []event.Principal{"sip:carol@contoso.test"}}).Group
	// It has an earlier name than the group in it, and a later id.
	all := do(&chat.CreateGroup{Info: event.GroupInfo{Name: "All", Description: "d", Email: "all@x.test"}, Members: []event.Principal{event.GroupPrincipal(desk), "sip:dave@contoso.test"}}).Group
	do(&chat.SetPolicy{Scope: "global", Info: event.PolicyInfo{Enabled: true}, Create: true})
	do(&chat.SetPolicy{Scope: "user:sales", Info: event.PolicyInfo{Enabled: true, Description: "d"}, Create: true})
	do(&chat.GrantPolicy{Users: []event.Principal{"sip:alice@contoso.test", "sip:carol@contoso.test"}, Scope: "user:sales"})
	do(&chat.SetConfiguration{Scope: "pool:contoso.test", Create: true, Info: event.ConfigurationInfo{DefaultChatHistory: 7, MaxFileSizeKB: 8, ParticipantUpdateLimit: 9,
		RoomManagementURL: "https://rooms.test/", MessageSizeLimit: 7000, StorySizeLimit: 9000, SearchLimit: 50}})
	do(&chat.SetCompliance{Scope: "site:ulm", Create: true, Info: event.ComplianceInfo{AdapterName: "n", AdapterType: "lyncxml", OutputDirectory: "/x", RunInterval: 60e9,
		OneRoomPerFile: true, AddRoomDetails: true, AddUserDetails: true, AttachmentsManifest: true, CustomConfiguration: "<x/>"}})
	do(&chat.SetEndpoint{Address: "sip:old@contoso.test", DisplayName: "Old"})
	addIn := do(&chat.CreateAddIn{Info: event.AddInInfo{Name: "Wiki", URL: "https://wiki.test/"}}).AddIn
	open := do(&chat.CreateCategory{Info: event.CategoryInfo{Name: "Open", Allowed: []event.Principal{"*"}, ChatHistory: true, FileUpload: true}}).Category
	wall := do(&chat.CreateCategory{Info: event.CategoryInfo{Name: "Wall", Description: "d", Allowed: []event.Principal{event.GroupPrincipal(all), event.UnitPrincipal(europe), "domain:contoso.test"},
		Denied: []event.Principal{"sip:dave@contoso.test"}, Creators: []event.Principal{"sip:carol@contoso.test"}, Invitations: true, ChatHistory: true}}).Category
	do(&chat.CreateCategory{Info: event.CategoryInfo{Name: "Silent", Allowed: []event.Principal{"*"}}})
	lobby := do(&chat.CreateRoom{Info: event.RoomInfo{Name: "Lobby", Category: open, Privacy: event.PrivacyOpen, Type: event.RoomNormal, Invitations: event.InvitationsInherit}}).Room
	do(&chat.CreateRoom{Info: event.RoomInfo{Name: "Stage", Description: "d", Category: wall, Privacy: event.PrivacySecret, Type: event.RoomAuditorium, Invitations: event.InvitationsFalse, AddIn: string(addIn)},
		Access: []event.Access{{Principal: "sip:alice@contoso.test", Role: event.RoleMember | event.RolePresenter}, {Principal: "sip:carol@contoso.test", Role: event.RoleMember | event.RoleManager},
			{Principal: event.GroupPrincipal(desk), Role: event.RoleMember}}})
	do(&chat.CreateRoom{Info: event.RoomInfo{Name: "Closed", Category: open, Privacy: event.PrivacyClosed, Type: event.RoomNormal, Invitations: event.InvitationsInherit, Disabled: true}})

	o := chat.Origin{By: "sip:alice@contoso.test", Endpoint: "e1", Node: "n1", Incarnation: 1}
	p.Must(t, o, &chat.Join{Rooms: []event.RoomID{lobby}})
	post := func(c chat.Post) event.MessageRef {
		c.Room = lobby
		out := p.Must(t, o, &c)
		return event.MessageRef{MessageID: out.Result.MessageID, Offset: out.Offset}
	}
	post(chat.Post{Text: "first\nline \u2028 <b> & \"quotes\""})
	gone := post(chat.Post{Text: "a secret", Alert: true})
	post(chat.Post{Text: "with a companion", RTF: `{\rtf1 x}`, Alert: true})
	post(chat.Post{Text: "long", Story: true, Title: "Title", Links: []event.Link{{Kind: event.LinkURL, URI: "https://x.test/"}, {Kind: event.LinkFile, URI: "ma-filelink:x", Name: "f.txt", Size: 9}}})
	story := post(chat.Post{Text: "a secret story", Story: true, Title: "Secret"})
	do(&chat.RemoveMessages{Room: lobby, Messages: []event.MessageRef{gone}})
	do(&chat.RemoveMessages{Room: lobby, Messages: []event.MessageRef{story}, Replace: true, Text: "nothing to see"})
	for i := range messages {
		post(chat.Post{Text: fmt.Sprint("message ", i)})
	}
}

// export returns the lines of an archive.
func export(t *testing.T, p *admintest.Pool, sel archive.Selection) (lines []string) {
	t.Helper()
	err := archive.Export(t.Context(), p.State(), p.History, sel, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// file is the archive of some lines.
func file(lines []string) *bytes.Reader {
	return bytes.NewReader([]byte(strings.Join(lines, "\n") + "\n"))
}

func target(p *admintest.Pool) archive.Target {
	return archive.Target{State: p.State, Scratch: p.Scratch, Origin: boss, History: p.History, Now: p.Now, NewID: p.NewID,
		Submit: func(ctx context.Context, _ string, c chat.Command) (chat.Outcome, error) {
			return p.Submit(ctx, chat.Request{Origin: boss, Command: c})
		}}
}

func load(t *testing.T, p *admintest.Pool, f *bytes.Reader, dry bool) (archive.Result, error) {
	t.Helper()
	return archive.Import(t.Context(), f, target(p), dry, func(string, int) {})
}

// later returns an empty pool that lives after the one that was exported.
func later(t *testing.T) *admintest.Pool {
	p := admintest.New(t, "")
	p.Advance(24 * time.Hour)
	return p
}

// content returns what an archive is about: without the first and the last row, which are about the pool's log, and
// without who made a room and when, which is of the pool where it happened.
func content(t *testing.T, lines []string) (out []string) {
	t.Helper()
	for _, l := range lines[1 : len(lines)-1] {
		var r archive.Room
		if strings.HasPrefix(l, `{"row":"room"`) {
			if err := json.Unmarshal([]byte(l), &r); err != nil {
				t.Fatal(err)
			}
			r.CreatedAt, r.CreatedBy = "", ""
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			l = string(b)
		}
		out = append(out, l)
	}
	return out
}

// An archive in an empty pool, exported from there, has the same bytes. Imported again it changes nothing.
func TestRoundTrip(t *testing.T) {
	from := admintest.New(t, "")
	town(t, from, 600) // more than a page
	lines := export(t, from, archive.Selection{})
	seen := map[string]bool{}
	for _, l := range lines {
		var row struct{ Row string }
		if err := json.Unmarshal([]byte(l), &row); err != nil {
			t.Fatal(err)
		}
		seen[row.Row] = true
	}
	for _, kind := range archive.Kinds() {
		if !seen[kind] {
			t.Errorf("the archive has no row of kind %s", kind)
		}
	}
	if text := strings.Join(lines, "\n"); strings.Contains(text, "secret") && strings.Contains(text, "a secret") || strings.Contains(text, "ha1") {
		t.Error("the archive has what was removed, or a password")
	}
	if again := export(t, from, archive.Selection{}); !slices.Equal(lines, again) {
		t.Error("exported twice, it is not the same")
	}

	to := later(t)
	dry, err := load(t, to, file(lines), true)
	if err != nil {
		t.Fatal(err)
	}
	before := to.Log.Head()
	if !dry.DryRun || dry.Rows != len(lines)-2 || dry.Source != admintest.Domain || dry.AsOf != from.State().Offset() || to.State().Offset() != 2 {
		t.Errorf("%+v; the pool is at event %d", dry, to.State().Offset())
	}
	res, err := load(t, to, file(lines), false)
	if err != nil {
		t.Fatal(err)
	}
	after := to.Log.Head()
	if res.Events != dry.Events || after.Offset-before.Offset != event.Offset(dry.Events) || res.Offset != after.Offset {
		t.Errorf("a dry run says %d events, the import %d, up to %d; the log grew from %d to %d", dry.Events, res.Events, res.Offset, before.Offset, after.Offset)
	}
	got := export(t, to, archive.Selection{})
	differ(t, content(t, got), content(t, lines))

	again, err := load(t, to, file(lines), false)
	if err != nil || again.Events != 0 || to.Log.Head() != after {
		t.Errorf("imported again: %+v, %v", again, err)
	}
	// From there it goes back, too: the pool that was exported has everything.
	head := from.Log.Head()
	from.Advance(48 * time.Hour)
	if res, err := load(t, from, file(got), false); err != nil || from.Log.Head() != head {
		t.Errorf("back where it came from: %+v, %v, the log grew from %d to %d", res, err, head.Offset, from.Log.Head().Offset)
	}
}

func differ(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("row %d:\ngot  %s\nwant %s", i+2, g, w)
		}
	}
}

// Each level has its kinds of rows, and all of them together are everything.
func TestLevels(t *testing.T) {
	from := admintest.New(t, "")
	town(t, from, 150)
	to := later(t)
	var rows int
	for _, level := range []archive.Level{archive.Users, archive.Categories, archive.RoomDirectory, archive.Content} {
		lines := export(t, from, archive.Selection{Level: level})
		rows += len(lines) - 2
		if _, err := load(t, to, file(lines), false); err != nil {
			t.Errorf("level %s: %v", level, err)
		}
	}
	var without []string // policies and what else belongs to no level
	for _, l := range content(t, export(t, from, archive.Selection{})) {
		if !strings.HasPrefix(l, `{"row":"policy"`) && !strings.HasPrefix(l, `{"row":"grant"`) && !strings.HasPrefix(l, `{"row":"configuration"`) &&
			!strings.HasPrefix(l, `{"row":"compliance"`) && !strings.HasPrefix(l, `{"row":"endpoint"`) {
			without = append(without, l)
		}
	}
	if rows != len(without) {
		t.Errorf("%d rows in the levels, %d in all that have one", rows, len(without))
	}
	differ(t, content(t, export(t, to, archive.Selection{})), without)

	c, _ := from.State().CategoryByName("Wall")
	for _, l := range content(t, export(t, from, archive.Selection{Level: archive.RoomDirectory, Scope: []event.CategoryID{c.ID}})) {
		if strings.Contains(l, "Lobby") {
			t.Errorf("outside the scope: %s", l)
		}
	}
	all := len(export(t, from, archive.Selection{Level: archive.Content}))
	if n := len(export(t, from, archive.Selection{Level: archive.Content, Since: from.Now() - 100e9})); n >= all || n < 90 {
		t.Errorf("since 100 s ago: %d of %d rows", n, all)
	}
}

// An archive that was cut off or altered anywhere is refused, and nothing changes.
func TestDamage(t *testing.T) {
	from := admintest.New(t, "")
	town(t, from, 10)
	whole := []byte(strings.Join(export(t, from, archive.Selection{}), "\n") + "\n")
	to := later(t)
	head, hash := to.Log.Head(), to.State().Hash()
	refused := func(what string, b []byte) {
		t.Helper()
		for _, dry := range []bool{true, false} {
			var f *chat.Refusal
			if _, err := load(t, to, bytes.NewReader(b), dry); !errors.As(err, &f) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if to.Log.Head() != head || to.State().Hash() != hash {
			t.Fatalf("%s: the pool has changed", what)
		}
	}
	refused("nothing", nil)
	refused("no archive", []byte("kind,address\nuser,zoe\n"))
	refused("another version", bytes.Replace(whole, []byte(`"version":1`), []byte(`"version":2`), 1))
	refused("twice", append(bytes.Clone(whole), whole...))
	refused("no end of line", whole[:len(whole)-1])
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for i := 1; i < len(lines)-1; i += 4 {
		refused(fmt.Sprintf("cut after line %d", i), bytes.Join(lines[:i], nil))
		refused(fmt.Sprintf("without line %d", i+1), bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil))
		if i > 1 {
			swapped := slices.Clone(lines)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			refused(fmt.Sprintf("lines %d and %d exchanged", i, i+1), bytes.Join(swapped, nil))
		}
	}
	for at := 7; at < len(whole); at += len(whole) / 40 {
		refused(fmt.Sprintf("cut at byte %d", at), whole[:at])
		flipped := bytes.Clone(whole)
		flipped[at] ^= 2
		refused(fmt.Sprintf("a bit of byte %d", at), flipped)
	}
}

// rewrite changes rows and writes the last one again, as somebody who edits an archive does.
func rewrite(t *testing.T, lines []string, change func(row map[string]any)) *bytes.Reader {
	t.Helper()
	var out []string
	w := archive.NewWriter(func(line []byte) error {
		out = append(out, string(line))
		return nil
	})
	for _, l := range lines[:len(lines)-1] {
		d := json.NewDecoder(strings.NewReader(l))
		d.UseNumber()
		row := map[string]any{}
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		change(row)
		if err := w.Row(row["row"].(string), row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return file(out)
}

// Every bad row is told with its line, of whatever kind, and nothing changes.
func TestBadRows(t *testing.T) {
	from := admintest.New(t, "")
	town(t, from, 600)
	lines := export(t, from, archive.Selection{})
	line := func(part string) uint32 {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, part) })
		if i < 0 {
			t.Fatalf("no row with %s", part)
		}
		return uint32(i + 1)
	}
	want := []uint32{line(`"user":"sip:bob@contoso.test"`), line(`"scope":"pool:contoso.test"`), line(`"name":"Wiki"`), line(`"name":"Stage"`), line(`"text":"message 3"`), line(`"text":"message 599"`)}
	bad := rewrite(t, lines, func(row map[string]any) {
		switch {
		case row["user"] == "sip:bob@contoso.test" && row["row"] == "user":
			row["email"] = "two\nlines"
		case row["scope"] == "pool:contoso.test" && row["row"] == "configuration":
			row["default_chat_history"] = 501
		case row["name"] == "Wiki":
			row["url"] = "ftp://x"
		case row["name"] == "Stage":
			row["members"] = []string{"sip:dave@contoso.test"} // whom the category denies
			row["managers"], row["presenters"] = []string{}, []string{}
		case row["text"] == "message 3":
			row["author"] = "nobody"
		case row["text"] == "message 599":
			row["message_id"] = 1
		}
	})
	to := later(t)
	head, hash := to.Log.Head(), to.State().Hash()
	for _, dry := range []bool{true, false} {
		_, err := load(t, to, bad, dry)
		var f *chat.Refusal
		if !errors.As(err, &f) {
			t.Fatalf("%v", err)
		}
		var got []uint32
		for _, r := range f.Rows {
			got = append(got, r.Line)
		}
		if !slices.Equal(got, want) || !strings.Contains(f.Text, "nothing was changed") {
			t.Errorf("bad rows %v, want %v: %v", got, want, f.Rows)
		}
		if to.Log.Head() != head || to.State().Hash() != hash {
			t.Error("the pool has changed")
		}
		if _, err := bad.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// An import that breaks off is finished by repeating it.
func TestBrokenOff(t *testing.T) {
	from := admintest.New(t, "")
	town(t, from, 10)
	lines := export(t, from, archive.Selection{})
	for _, after := range []int{0, 1, 5, 9, 14, 17} {
		to := later(t)
		n := 0
		to.BeforeSubmit = func(chat.Request) error {
			if n++; n > after {
				return chat.Refuse(chat.CodeUnavailable, "no leader")
			}
			return nil
		}
		tg := target(to)
		submit := tg.Submit
		slots := make(chan struct{}, 1) // one at a time, so that n says how many were done
		tg.Submit = func(ctx context.Context, step string, c chat.Command) (chat.Outcome, error) {
			slots <- struct{}{}
			defer func() { <-slots }()
			return submit(ctx, step, c)
		}
		if _, err := archive.Import(t.Context(), file(lines), tg, false, func(string, int) {}); !errors.Is(err, chat.ErrUnavailable) {
			t.Fatalf("broken off after %d commands: %v", after, err)
		}
		to.BeforeSubmit = nil
		if _, err := load(t, to, file(lines), false); err != nil {
			t.Fatalf("repeated after %d commands: %v", after, err)
		}
		differ(t, content(t, export(t, to, archive.Selection{})), content(t, lines))
	}
}

// TestRepeatedAfterBreak: an import that broke off is finished by repeating it, also where the pool remembers its commands,
// and nothing is taken for done that was not.
func TestRepeatedAfterBreak(t *testing.T) {
	from := admintest.New(t, "")
	town(t, from, 3*chat.MaxImportMessages)
	lines := export(t, from, archive.Selection{})
	for _, whole := range []int{12, 18, 19} { // commands that land before it breaks off
		to := later(t)
		var left atomic.Int64 // rooms are given several at a time
		left.Store(int64(whole))
		keyed := target(to)
		keyed.Submit = func(ctx context.Context, step string, c chat.Command) (chat.Outcome, error) {
			if left.Add(-1) < 0 {
				return chat.Outcome{}, chat.Refuse(chat.CodeUnavailable, "no leader")
			}
			o := boss
			sum := sha256.Sum256([]byte(step))
			copy(o.ID[:], sum[:])
			return to.Submit(ctx, chat.Request{Origin: o, Command: c})
		}
		quiet := func(string, int) {}
		if _, err := archive.Import(t.Context(), file(lines), keyed, false, quiet); err == nil {
			t.Fatalf("%d commands are all there is", whole)
		}
		left.Store(1 << 20)
		if _, err := archive.Import(t.Context(), file(lines), keyed, false, quiet); err != nil {
			t.Fatal(err)
		}
		t.Logf("broken off after %d, finished with %d more", whole, 1<<20-left.Load())
		differ(t, content(t, export(t, to, archive.Selection{})), content(t, lines))
	}
}
