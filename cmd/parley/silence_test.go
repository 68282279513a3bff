package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// silence takes the target of a feed away that a category waits for: posting ends when the feed is too far behind, joins and
// reads go on, everybody who asks is told why, and with the target posting comes back.
func silence(t *testing.T, dir string, nodes []nodeLine) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "brittle")
	cli := func(args ...string) (code int, text string) {
		var out, errs strings.Builder
		a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, environ: []string{"HOME=" + t.TempDir()}}
		code = a.run(t.Context(), append([]string{"--dir", dir}, args...))
		return code, out.String() + errs.String()
	}
	talk := func() (int, string) { return cli("test", "message", "--timeout", "60s") }
	page := func(path string) string {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+nodes[0].Ops+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // read only
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	parley(t, 1, "--dir", dir, "category", "set", "General", "--archive-lag", "6s", "--archive-feeds", "brittle") // there is none
	parley(t, 0, "--dir", dir, "feed", "set", "brittle", "--adapter", "csv", "--option", "dir="+target, "--every", "0s")
	parley(t, 1, "--dir", dir, "category", "set", "General", "--archive-lag", "1s", "--archive-feeds", "brittle") // no feed is so fast
	parley(t, 0, "--dir", dir, "category", "set", "General", "--archive-lag", "6s", "--archive-feeds", "brittle")
	until(t, "the archive is there and users talk", func() bool { code, _ := talk(); return code == 0 })

	if err := os.Rename(target, target+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target, nil, 0o600); err != nil { // also root cannot write into it
		t.Fatal(err)
	}
	until(t, "nobody may post", func() bool {
		code, text := talk()
		return code == 1 && strings.Contains(text, "answered with 480")
	})
	for what, found := range map[string]func() string{
		`"silenced":"feed brittle is`:                 func() string { return parley(t, 0, "--dir", dir, "category", "get", "General", "--json") },
		"parley_compliance_silenced_categories 1":     func() string { return page("/metrics") },
		"nobody may post in category General: feed b": func() string { return page("/readyz?verbose") },
	} {
		until(t, what, func() bool { return strings.Contains(found(), what) })
	}
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(target+".away", target); err != nil {
		t.Fatal(err)
	}
	until(t, "posting comes back", func() bool { code, _ := talk(); return code == 0 })
	parley(t, 1, "--dir", dir, "feed", "rm", "brittle", "--force") // the category names it
	parley(t, 0, "--dir", dir, "category", "set", "General", "--archive-lag", "0s", "--archive-feeds", "")
	parley(t, 0, "--dir", dir, "feed", "rm", "brittle", "--force")
}
