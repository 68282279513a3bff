package proving

import (
	"strings"
	"testing"
)

// Who asks for a proof of a feed that has no files here is told why there is none, and what to do.
func TestNoFiles(t *testing.T) {
	for adapter, want := range map[string][]string{
		"smtp":     {"sends mail", "feed replay f --out DIR", "--files DIR", "Message-ID"},
		"external": {"goes to a program", "Fetch from its archive", "--files DIR"},
		"other":    {"--files DIR"},
	} {
		got := noFiles("f", adapter).Error()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q says nothing of %q", adapter, got, w)
			}
		}
	}
}
