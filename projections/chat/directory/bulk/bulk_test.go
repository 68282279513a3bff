package bulk_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat/directory"
	. "parley/projections/chat/directory/bulk"
	"parley/projections/chat/directory/plan"
)

type pool struct {
	t      *testing.T
	d      *directory.Directory
	ids    int
	offset event.Offset
}

func newPool(t *testing.T) *pool { return &pool{t: t, d: directory.New(2, 12, 13, 14)} }

func (p *pool) newID() string {
	p.ids++
	return fmt.Sprintf("00000000-0000-4000-8000-%012x", p.ids)
}

// do imports rows and returns the events, or the bad rows, one a line.
func (p *pool) do(rows ...Row) string {
	p.t.Helper()
	for i := range rows {
		if rows[i].Line == 0 {
			rows[i].Line = uint32(i + 1)
		}
	}
	next := plan.NewPlan(p.d)
	bad := Import(next, rows, p.newID)
	var out []string
	for _, b := range bad {
		out = append(out, short(fmt.Sprintf("%d: %s", b.Line, b.Fault)))
	}
	if len(bad) > 0 {
		return strings.Join(out, "\n")
	}
	changes, removals := next.Events()
	for _, e := range append(changes, removals...) {
		p.offset++
		if err := p.d.Fold(event.Envelope{Offset: p.offset, Event: e}, nil); err != nil {
			p.t.Fatalf("%T: %v", e, err)
		}
		out = append(out, line(e))
	}
	return strings.Join(out, "\n")
}

// line prints an event without what is empty.
func line(e event.Event) string {
	out := e.Kind().String()
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			switch f := v.Field(i); {
			case f.IsZero():
			case f.Kind() == reflect.Struct:
				walk(f)
			default:
				out += fmt.Sprintf(" %s=%v", strings.ToLower(v.Type().Field(i).Name), f.Interface())
			}
		}
	}
	walk(reflect.ValueOf(e).Elem())
	return short(out)
}

func short(s string) string { return strings.ReplaceAll(s, "00000000-0000-4000-8000-00000000000", "#") }

func (p *pool) want(want string, rows ...Row) {
	p.t.Helper()
	if got := p.do(rows...); got != strings.TrimSpace(want) {
		p.t.Errorf("got\n%s\nwant\n%s", got, strings.TrimSpace(want))
	}
}

func unit(name, parent string) Row { return Row{Kind: KindUnit, Name: name, Unit: parent} }
func user(address string) Row      { return Row{Kind: KindUser, Address: address} }
func group(name string, members ...string) Row {
	return Row{Kind: KindGroup, Name: name, Members: members, Has: HasMembers}
}

// TestImport: rows in any order make one consistent change; the same rows again change nothing.
func TestImport(t *testing.T) {
	p := newPool(t)
	alice := Row{Kind: KindUser, Address: "Alice@Contoso.test", Name: "Adams, Alice", Unit: "OU=London,OU=Europe,DC=contoso,DC=test",
		DisplayName: "Alice", Email: "a@contoso.test", MemberOf: []string{"Everybody"},
		Has: HasName | HasUnit | HasDisplayName | HasEmail}
	rows := []Row{
		group("All", "CN=Traders,OU=Europe", "sip:bob@contoso.test"),
		alice,
		{Kind: KindGroup, Name: "Traders", Unit: "ou=europe", Members: []string{`cn=adams\, alice,ou=london,ou=europe`}, Has: HasUnit | HasMembers},
		unit("London", "OU=Europe"),
		user("bob@contoso.test"),
		unit("Europe", ""),
		{Kind: KindGroup, Name: "Everybody", ID: "11111111-1111-4111-8111-111111111111"},
	}
	p.want(`
unit_created unit=#1 name=Europe
unit_created unit=#2 name=London parent=#1
user_created user=sip:alice@contoso.test displayname=Alice email=a@contoso.test enabled=true unit=#2 name=Adams, Alice
user_created user=sip:bob@contoso.test enabled=true
group_created group=#4 name=Traders unit=#1 members=[sip:alice@contoso.test]
group_created group=#3 name=All members=[group:#4 sip:bob@contoso.test]
group_created group=11111111-1111-4111-8111-111111111111 name=Everybody members=[sip:alice@contoso.test]`, rows...)
	p.want("", rows...)
	p.want(`user_changed user=sip:alice@contoso.test displayname=Alice email=a@contoso.test unit=#2 name=Adams, Alice`,
		Row{Kind: KindUser, Address: "alice@contoso.test", Has: HasEnabled}) // fields the row has not stay
	p.want(`
group_changed group=#3 name=All added=[sip:alice@contoso.test] removed=[group:#4]
group_changed group=#4 name=Traders unit=#1 added=[group:#3]`, // All and Traders trade places
		group("All", "alice@contoso.test", "bob@contoso.test"), group("Traders", "All", "alice@contoso.test"))
	p.want(`
group_changed group=#3 name=All added=[group:#4] removed=[sip:alice@contoso.test]
group_changed group=#4 name=Traders unit=#1 removed=[group:#3]`, // and back, in the other order
		group("All", "Traders", "bob@contoso.test"), group("Traders", "alice@contoso.test"))
	p.want(`group_changed group=11111111-1111-4111-8111-111111111111 name=Everyone`,
		Row{Kind: KindGroup, ID: "11111111-1111-4111-8111-111111111111", Name: "Everyone"}) // found by its id, a group has a new name
	p.want(`unit_changed unit=#2 name=City parent=#1`, Row{Kind: KindUnit, ID: "00000000-0000-4000-8000-000000000002", Name: "City"})
	p.want(`unit_changed unit=#2 name=City`, Row{Kind: KindUnit, ID: "00000000-0000-4000-8000-000000000002", Name: "City", Has: HasUnit})
}

// TestImportRefuses: every bad row is told, by line, with its rule.
func TestImportRefuses(t *testing.T) {
	p := newPool(t)
	p.do(unit("Europe", ""), Row{Kind: KindUser, Address: "alice@contoso.test", Unit: "OU=Europe", Has: HasUnit}, group("Traders", "alice@contoso.test"))
	p.want(`
1: there is no unit "OU=Nowhere" (rule D3)
2: "sip:nobody" is not "sip:user@domain" in lower case (rule D1)
3: there is no group "Ghosts" (rule D3)
4: sip:carol@contoso.test has another row in this import (rule D2)
6: group #4 is in group:#2, so it cannot have it as a member (rule D5)
7: there is no sip:gone@contoso.test (rule D3)
8: name of a unit is empty or has blanks around it (rule D1)
9: unit "Europe" is not empty: sip:alice@contoso.test is in it (rule D7)
10: there is no sip:zoe@contoso.test (rule D3)
11: distinguished name "OU": a step is not TYPE=VALUE (rule D1)
12: kind "printer" is none of user, group, ou (rule D1)
13: there is no group "Ghosts" (rule D3)
14: id of a group "{1}" is not a GUID in lower case (rule D1)
15: "*" is no account and no group, so no member of a group (rule D4)`,
		Row{Kind: KindUser, Address: "bob@contoso.test", Unit: "OU=Nowhere", Has: HasUnit},
		user("nobody"),
		Row{Kind: KindUser, Address: "carol@contoso.test", MemberOf: []string{"Ghosts"}, Unit: "OU=Europe", Has: HasUnit},
		user("CAROL@contoso.test"),
		Row{Kind: KindGroup, Name: "Traders", ID: "", Members: []string{"Desk"}, Has: HasMembers},
		Row{Kind: KindGroup, Name: "Desk", MemberOf: nil, Members: []string{"Traders"}, Has: HasMembers},
		Row{Kind: KindUser, Address: "gone@contoso.test", Remove: true},
		unit(" ", ""),
		Row{Kind: KindUnit, Name: "Europe", Remove: true},
		group("Others", "zoe@contoso.test"),
		Row{Kind: KindUser, Address: "dave@contoso.test", Unit: "OU", Has: HasUnit},
		Row{Kind: "printer"},
		Row{Kind: KindGroup, Name: "Ghosts", Remove: true},
		Row{Kind: KindGroup, Name: "Odd", ID: "{1}"},
		group("Wild", "*"),
	)
	p.want(`group_created group=#7 name=Machines members=[sip:alice@contoso.test]`,
		Row{Kind: KindGroup, Name: "Machines", Members: []string{"CN=PC1,OU=Europe", "alice@contoso.test"}, Has: HasMembers, Lenient: true})
}

// TestImportRemoves: units after what lived in them, children first.
func TestImportRemoves(t *testing.T) {
	p := newPool(t)
	in := func(r Row, unit string) Row { r.Unit, r.Has = unit, r.Has|HasUnit; return r }
	p.do(unit("A", ""), unit("B", "OU=A"), in(user("alice@contoso.test"), "OU=B,OU=A"), in(group("G", "alice@contoso.test"), "OU=A"))
	gone := func(r Row) Row { r.Remove = true; return r }
	p.want(`
group_removed group=#3 name=G
user_removed user=sip:alice@contoso.test
unit_removed unit=#2 name=B
unit_removed unit=#1 name=A`, gone(unit("A", "")), gone(unit("B", "OU=A")), gone(user("alice@contoso.test")), gone(group("G")))
	if users, groups, units := p.d.Counts(); users+groups+units != 0 {
		t.Errorf("%d accounts, %d groups, %d units are left", users, groups, units)
	}
}
