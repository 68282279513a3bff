package verbs

import (
	"strings"
	"testing"
)

// Lists are parted by commas, and distinguished names are not.
func TestSplit(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"a,b;c":                     "a|b|c",
		" a , ,b":                   "a|b",
		"OU=Ulm,DC=x":               "OU=Ulm,DC=x",
		"a,CN=b,OU=c,d@x.test,OU=e": "a|CN=b,OU=c|d@x.test|OU=e",
		"OU=a,OU=b;OU=c":            "OU=a,OU=b|OU=c",
		`CN=Doe\, Jane,OU=x,a`:      `CN=Doe\, Jane,OU=x|a`,
		`a\;b;c`:                    `a\;b|c`,
		"group:1,ou:2,*":            "group:1|ou:2|*",
		"1.2.3=x,DC=y":              "1.2.3=x,DC=y",
		`a\`:                        `a\`,
	} {
		if got := strings.Join(Split([]string{in}), "|"); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := Split([]string{"OU=a", "OU=b"}); len(got) != 2 {
		t.Errorf("given one by one: %q", got)
	}
}

func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{
		"2024-02-29": "2024-02-29T00:00:00Z", "2024-02-29 23:59": "2024-02-29T23:59:00Z", "2024-02-29T23:59:01": "2024-02-29T23:59:01Z",
		"2024-02-29T23:59:00.5+02:00": "2024-02-29T23:59:00.5+02:00", "2023-02-29": "", "now": "", "": "",
	} {
		if got, err := ParseTime(in); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}
