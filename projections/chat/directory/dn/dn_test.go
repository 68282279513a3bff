package dn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		`CN=Alice,OU=London,DC=contoso,DC=test`: `[{cn Alice} {ou London} {dc contoso} {dc test}]`,
		`cn = Adams\, Alice , ou=London`:        `[{cn Adams, Alice} {ou London}]`,
		`CN=a\20b\20,OU=x`:                      `[{cn a b } {ou x}]`,
		`CN=\ a\ ,OU=x`:                         `[{cn  a } {ou x}]`,
		`CN=\c3\a9t\c3\a9`:                      `[{cn été}]`,
		`OU=a=b`:                                `[{ou a=b}]`,
		`OU=R&D #1`:                             `[{ou R&D #1}]`,
		`CN=a\"b\+c\\`:                          `[{cn a"b+c\}]`,
		``:                                      `error`,
		`London`:                                `error`,
		`OU=`:                                   `error`,
		`OU=London,`:                            `error`,
		`OU=a+CN=b`:                             `error`,
		`OU=#04024869`:                          `error`,
		`OU=a\`:                                 `error`,
		`OU=a\zz`:                               `error`,
		`OU="a"`:                                `error`,
		`CN=\ff`:                                `error`,
		`=a`:                                    `error`,
		`O U=a`:                                 `error`,
	} {
		got, err := Parse(in)
		text := fmt.Sprint(got)
		if err != nil {
			text = "error"
		}
		if text != want {
			t.Errorf("%s: %s (%v), want %s", in, text, err, want)
		}
	}
}

func TestSplit(t *testing.T) {
	steps, domain, err := Split("CN=Alice,OU=London,DC=Contoso,DC=test")
	if err != nil || fmt.Sprintf("%v %s", steps, domain) != "[{cn Alice} {ou London}] contoso.test" {
		t.Error(steps, domain, err)
	}
	if _, _, err := Split("DC=test,OU=London"); err == nil {
		t.Error("DC before OU is accepted")
	}
	if steps, domain, err := Split(""); len(steps) > 0 || domain != "" || err != nil {
		t.Error(steps, domain, err)
	}
}

// FuzzStep: whatever a value is, what Step writes is read back.
func FuzzStep(f *testing.F) {
	for _, s := range []string{"London", " a ", "#1", `a,b+c"d\e<f>g;h=i`, "é", " ", "\\20"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if value == "" || strings.ToValidUTF8(value, "?") != value {
			return
		}
		text := Step("OU", value) + "," + Step("DC", "test")
		got, err := Parse(text)
		if want := []RDN{{"ou", value}, {"dc", "test"}}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is written %s and read %q, %v", value, text, got, err)
		}
	})
}

// FuzzParse: no text panics.
func FuzzParse(f *testing.F) {
	f.Add(`CN=Adams\, Alice,OU=London,DC=contoso,DC=test`)
	f.Add(`CN=\`)
	f.Fuzz(func(t *testing.T, text string) {
		if steps, err := Parse(text); err == nil && len(steps) == 0 {
			t.Error("no steps and no error")
		}
	})
}
