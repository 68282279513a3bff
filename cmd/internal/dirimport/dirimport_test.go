package dirimport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
)

// show prints a row without what is empty, and only the fields it has.
func show(r chat.ImportRow) string {
	out := fmt.Sprintf("%d %s", r.Line, r.Kind)
	names := []string{"Name", "Unit", "DisplayName", "Email", "Description", "GivenName", "Surname", "Company", "Enabled", "Members"}
	for _, f := range []string{"Remove", "Address", "ID"} {
		if v := reflect.ValueOf(r).FieldByName(f); !v.IsZero() {
			out += fmt.Sprintf(" %s=%v", f, v.Interface())
		}
	}
	for i, n := range names {
		if r.Has&(1<<i) != 0 {
			out += fmt.Sprintf(" %s=%v", n, reflect.ValueOf(r).FieldByName(n).Interface())
		}
	}
	if len(r.MemberOf) > 0 {
		out += fmt.Sprintf(" MemberOf=%v", r.MemberOf)
	}
	if r.Secret.Realm != "" {
		out += " secret"
	}
	return out
}

// read prints what a file says, one row a line, and the bad and skipped ones.
func read(t *testing.T, f Format, text string, o Options) string {
	t.Helper()
	var out []string
	o.Skipped = func(line uint32, why string) { out = append(out, fmt.Sprintf("%d skipped: %s", line, why)) }
	s, err := New(f, strings.NewReader(text), o)
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range s.Rows(t.Context()) {
		var re *RowError
		switch {
		case errors.As(err, &re):
			out = append(out, fmt.Sprintf("%d bad: %v", re.Line, re.Err))
		case err != nil:
			out = append(out, "error: "+err.Error())
		default:
			out = append(out, show(row))
		}
	}
	return strings.Join(out, "\n")
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimSpace(want); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCSV(t *testing.T) {
	secret := func(u event.Principal, password string) event.Secret {
		if u != "sip:carol@contoso.test" || password != " pass " {
			t.Errorf("secret of %s, password %q", u, password)
		}
		return event.Secret{Realm: "contoso.test"}
	}
	want(t, read(t, FormatCSV, "\ufeffkind,address,Name,unit,displayName,enabled,id,members,member_of,remove,password\r\n"+
		`user,Alice@contoso.test,"Adams, Alice","OU=London,OU=Europe","Alice
Adams",yes,,,Traders; Desk,,`+"\n"+
		`group,,Traders,OU=Europe,,,{AAAAAAAA-0000-4000-8000-000000000001},"alice@contoso.test;CN=a\;b,OU=x;;",,,`+"\n"+
		`ou,,Europe,,,,,,,,`+"\n"+
		`,bob@contoso.test,,,,perhaps,,,,,`+"\n"+
		`,bob@contoso.test,,`+"\n"+
		`,bob@contoso.test,,,,no,,,,TRUE,`+"\n"+
		`,carol@contoso.test,,,,,,,,," pass "`+"\n"+
		`ou,,x,,,,,alice@contoso.test,,,`+"\n"+
		`group,,x,,,,,,,,secret`+"\n"+
		`,"bob@contoso.test,"x,,,,,,,`+"\n"+
		`,dave@contoso.test,,,,,,,,,`, Options{Secret: secret}), `
2 user Address=Alice@contoso.test Name=Adams, Alice Unit=OU=London,OU=Europe DisplayName=Alice
Adams Enabled=true MemberOf=[Traders Desk]
4 group ID=aaaaaaaa-0000-4000-8000-000000000001 Name=Traders Unit=OU=Europe DisplayName= Members=[alice@contoso.test CN=a\;b,OU=x]
5 ou Name=Europe Unit= DisplayName=
6 bad: enabled: "perhaps" is neither true nor false
7 bad: wrong number of fields
8 user Remove=true Address=bob@contoso.test Name= Unit= DisplayName= Enabled=false
9 user Address=carol@contoso.test Name= Unit= DisplayName= secret
10 bad: a ou has no members
11 bad: a password for a group
12 bad: extraneous or missing " in quoted-field
13 user Address=dave@contoso.test Name= Unit= DisplayName=`)
	for text, message := range map[string]string{
		"":                            "error: read the header of the CSV: the file is empty",
		"address,address\n":           `error: the CSV has the column "address" twice`,
		"address,mail,email\na,b,c":   `error: the CSV has the column "email" twice`,
		"address,shoe_size\n":         `error: the CSV has a column "shoe_size"; columns are kind, address, `,
		"address,password\na@b.c,x\n": `2 bad: passwords are not taken here`,
	} {
		if got := read(t, FormatCSV, text, Options{}); !strings.HasPrefix(got, message) {
			t.Errorf("%q: %s, want %s", text, got, message)
		}
	}
}

const sampleLDIF = `# an export
version: 1

dn: DC=contoso,DC=test
objectClass: domain

dn: OU=Europe,DC=contoso,DC=test
objectClass: top
objectClass: organizationalUnit
description: All of
  it

dn: CN=Users,DC=contoso,DC=test
objectClass: container
entryUUID: BBBBBBBB-0000-4000-8000-000000000002

dn: CN=Adams\, Alice,OU=Europe,DC=contoso,DC=test
changetype: add
objectClass: person
objectClass: user
displayName:: QWxpY2Ugw4XDpQ==
mail: alice.adams@contoso.test
proxyAddresses: SMTP:alice.adams@contoso.test
proxyAddresses: sip:alice@contoso.test
userAccountControl: 514
givenName: Alice
sn: Adams
company: Contoso
userPassword:: e1NTSEF9

dn: CN=Bob,CN=Users,DC=contoso,DC=test
objectClass: inetOrgPerson
msRTCSIP-PrimaryUserAddress: sip:bob@contoso.test
msRTCSIP-UserEnabled: FALSE
userAccountControl: 512
mail: bob@elsewhere.test

dn: CN=svc,CN=Users,DC=contoso,DC=test
objectClass: user

dn: CN=PC1,CN=Users,DC=contoso,DC=test
objectClass: user
objectClass: computer
mail: pc1@contoso.test

dn: CN=Traders,OU=Europe,DC=contoso,DC=test
objectClass: group
objectGUID:: AQIDBAUGBwgJCgsMDQ4PEA==
member: CN=Adams\, Alice,OU=Europe,DC=contoso,DC=test
member: CN=Bob,CN=Users,
 DC=contoso,DC=test

dn: CN=Huge,DC=contoso,DC=test
objectClass: group
member;range=0-1499: CN=Bob,CN=Users,DC=contoso,DC=test

dn: CN=Zone,DC=contoso,DC=test
objectClass: dnsZone

dn: OU=Asia,DC=contoso,DC=test
changetype: delete

dn: CN=Someone,DC=contoso,DC=test
changetype: delete

dn: CN=Bob,DC=contoso,DC=test
changetype: modify
replace: mail
mail: x
-

dn: CN=Photo,DC=contoso,DC=test
objectClass: user
jpegPhoto:< file:///tmp/x.jpg

cn: first
dn: CN=Photo

dn: nonsense
objectClass: user

dn: CN=Odd,DC=contoso,DC=test
objectClass: user
objectGUID:: AQ==

dn:: Q049w6k=
objectClass: user
mail: e@contoso.test`

func TestLDIF(t *testing.T) {
	expected := `
4 skipped: the top of the tree
7 ou Name=Europe Unit= Description=All of it
13 ou ID=bbbbbbbb-0000-4000-8000-000000000002 Name=Users Unit=
17 user Address=sip:alice@contoso.test Name=Adams, Alice Unit=ou=Europe DisplayName=Alice Åå Email=alice.adams@contoso.test GivenName=Alice Surname=Adams Company=Contoso Enabled=false
31 user Address=sip:bob@contoso.test Name=Bob Unit=cn=Users Email=bob@elsewhere.test Enabled=false
38 skipped: an account without a SIP address
41 skipped: a machine
46 group ID=04030201-0605-0807-090a-0b0c0d0e0f10 Name=Traders Unit=ou=Europe Members=[CN=Adams\, Alice,OU=Europe,DC=contoso,DC=test CN=Bob,CN=Users,DC=contoso,DC=test]
53 bad: the members are only a part of them (range=): export the group whole
57 skipped: neither an account nor a group nor a unit
60 ou Remove=true Name=Asia Unit=
63 bad: whether this was an account or a group is not in the file: remove it by address or name (CSV, column remove)
66 bad: a change of type "modify": only entries, and changes that add or delete one, are read
72 bad: line 74: jpegphoto: values at a URL are not read
76 bad: the record begins with "cn", not with its distinguished name
79 bad: distinguished name "nonsense": a step is not TYPE=VALUE
82 bad: objectGUID has 1 bytes, want 16
86 user Address=e@contoso.test Name=é Unit= Email=e@contoso.test`
	want(t, read(t, FormatLDIF, sampleLDIF, Options{}), expected)
	want(t, read(t, FormatLDIF, strings.ReplaceAll(sampleLDIF, "\n", "\r\n"), Options{}), expected)
	for text, message := range map[string]string{
		"":                       "",
		"version: 2\n\ndn: CN=a": `error: read LDIF after line`,
		"dn: CN=a\nnonsense\n\ndn: CN=b\nobjectClass: device": "1 bad: line 2: not NAME: VALUE\n4 skipped: neither",
		"dn: CN=a\nmail:: !!!\n":                              "1 bad: line 2: mail: illegal base64",
	} {
		if got := read(t, FormatLDIF, text, Options{}); !strings.HasPrefix(got, message) || text == "" && got != "" {
			t.Errorf("%q: %s, want %s", text, got, message)
		}
	}
}

// TestImport takes a file all the way: rows, a dry run, the command, and the same again.
func TestImport(t *testing.T) {
	text := strings.Split(sampleLDIF, "dn: CN=Huge")[0]
	s := chat.NewState()
	n := 0
	env := chat.Env{At: 1, NewID: func() string { n++; return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }}
	do := func() (chat.Decision, error) {
		src, err := New(FormatLDIF, strings.NewReader(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		rows, bad, err := Collect(t.Context(), src)
		if err != nil || len(bad) > 0 {
			t.Fatalf("bad rows %v, %v", bad, err)
		}
		if err := s.CheckImport(rows); err != nil {
			t.Fatal(err)
		}
		d, err := chat.Decide(s, chat.Request{Origin: chat.Origin{By: "admin:root", Trusted: true}, Command: &chat.ImportDirectory{Rows: rows}}, env)
		if err != nil {
			return d, err
		}
		for _, e := range d.Events {
			if err := s.Fold(event.Envelope{Offset: s.Offset() + 1, At: 1, Meta: e.Meta, Event: e.Event}, nil); err != nil {
				t.Fatal(err)
			}
		}
		return d, nil
	}
	if d, err := do(); err != nil || d.Result.Changed != 5 {
		t.Fatalf("first import: %d changes, %v", d.Result.Changed, err)
	}
	if d, err := do(); err != nil || d.Result.Changed != 0 || len(d.Events) > 0 {
		t.Fatalf("second import: %d changes, %v", d.Result.Changed, err)
	}
	if !s.Directory().Contains("group:04030201-0605-0807-090a-0b0c0d0e0f10", "sip:bob@contoso.test") {
		t.Error("bob is not in the group")
	}
	text += "\ndn: CN=Bad,OU=Nowhere,DC=contoso,DC=test\nobjectClass: user\nmail: bad@contoso.test\n"
	src, _ := New(FormatLDIF, strings.NewReader(text), Options{})
	rows, _, _ := Collect(t.Context(), src)
	if bad := chat.AsRefusal(s.CheckImport(rows)); len(bad.Rows) != 1 || bad.Rows[0].Line != 54 {
		t.Errorf("bad rows: %+v", bad.Rows)
	}
}

// endless repeats a text.
type endless struct {
	text string
	at   int
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], e.text[e.at:])
		n += c
		e.at = (e.at + c) % len(e.text)
	}
	e.read += n
	return n, nil
}

// TestBounds: a file without an end in one row does not fill the memory; one with many rows is read as long as asked.
func TestBounds(t *testing.T) {
	for name, c := range map[string]struct {
		f    Format
		head string
		body string
	}{
		"quoted cell":    {FormatCSV, "address\n\"", "aaaaaaaaaaaaaaaaaaaaaaaa\n"},
		"long line":      {FormatLDIF, "dn: ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
		"folded line":    {FormatLDIF, "dn: a\n", " aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"},
		"many values":    {FormatLDIF, "dn: CN=a\n", "member: CN=aaaaaaaaaaaaaaaaaaaa\n"},
		"endless remark": {FormatLDIF, "# ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &endless{text: c.body}
			s, err := New(c.f, io.MultiReader(strings.NewReader(c.head), e), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := Collect(t.Context(), s); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%v, want %v", err, ErrTooLarge)
			}
			if e.read > MaxRowBytes+1<<20 {
				t.Errorf("%d bytes were read", e.read)
			}
		})
	}
	var last Progress
	calls := 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := &endless{text: "dn: CN=a\nobjectClass: user\nmail: a@contoso.test\n\n"}
	s, err := New(FormatLDIF, e, Options{Progress: func(p Progress) { last, calls = p, calls+1 }})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, err := range s.Rows(ctx) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		if rows++; rows == 10*progressEvery {
			cancel()
		}
	}
	if calls < 10 || last.Rows != 10*progressEvery || last.Bytes < int64(rows*40) {
		t.Errorf("%d calls, %+v after %d rows", calls, last, rows)
	}
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]Format{"a.csv": FormatCSV, "A.LDIF": FormatLDIF, "x.ldf": FormatLDIF, "a.txt": "", "csv": ""} {
		if got, err := FormatOf(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := New("xml", nil, Options{}); err == nil {
		t.Error("format xml is accepted")
	}
}

// FuzzLDIF and FuzzCSV: no file panics, lines rise, and every row can travel to the leader or is refused before.
func FuzzLDIF(f *testing.F) {
	f.Add(sampleLDIF)
	f.Add("dn: CN=a\n b\r\nobjectClass:: Z3JvdXA=\nmember:\n")
	f.Fuzz(func(t *testing.T, text string) { fuzz(t, FormatLDIF, text) })
}

func FuzzCSV(f *testing.F) {
	f.Add("kind,address,members\ngroup,,\"a;b\"\nuser,a@b.c,\n")
	f.Add("address\n\"a\"\"b\"\n\"\n")
	f.Fuzz(func(t *testing.T, text string) { fuzz(t, FormatCSV, text) })
}

func fuzz(t *testing.T, f Format, text string) {
	s, err := New(f, strings.NewReader(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	line := uint32(0)
	for row, err := range s.Rows(t.Context()) {
		var re *RowError
		at := row.Line
		if errors.As(err, &re) {
			at = re.Line
		} else if err != nil {
			return
		}
		if at < line || at == 0 {
			t.Fatalf("line %d after %d", at, line)
		}
		line = at
		if k := row.Kind; err == nil && f == FormatLDIF && k != bulk.KindUser && k != bulk.KindGroup && k != bulk.KindUnit {
			t.Fatalf("kind %q", k)
		}
	}
}
