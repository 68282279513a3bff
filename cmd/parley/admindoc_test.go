package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"parley/cmd/internal/manpage"
	"parley/cmd/internal/verbs"
	"parley/projections/chat/roles"
)

var update = flag.Bool("update", false, "write docs/admin.md again")

func testApp() *app {
	return &app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
}

// find returns the command of some words.
func find(root *cobra.Command, words string) *cobra.Command {
	c, rest, err := root.Find(strings.Fields(words))
	if err != nil || len(rest) > 0 || c.HasSubCommands() {
		return nil
	}
	return c
}

// optionOf says what stands for a parameter of a cmdlet, "" if nothing does.
func optionOf(c *cobra.Command, x *verbs.Cmdlet, param string) string {
	if note := x.Notes[param]; note != "" {
		return note
	}
	name := verbs.Kebab(param)
	switch {
	case name == "identity" && strings.Contains(c.Use, " "):
		return verbs.Common[param] + ", or --identity"
	case c.Flags().Lookup(name) != nil || c.InheritedFlags().Lookup(name) != nil:
		return "--" + name
	case c.Flags().Lookup(name+"-add") != nil:
		return fmt.Sprintf("--%[1]s-add, --%[1]s-remove, --%[1]s-set", name)
	}
	return verbs.Common[param]
}

// Every cmdlet of the product has a verb, and every parameter an option or a reason why there is none.
func TestCmdlets(t *testing.T) {
	root := testApp().root()
	for i := range verbs.Cmdlets {
		x := &verbs.Cmdlets[i]
		c := find(root, x.Verb)
		if c == nil {
			t.Errorf("%s: no verb %q", x.Name, x.Verb)
			continue
		}
		params := strings.Fields(x.Params)
		for _, p := range params {
			option := optionOf(c, x, p)
			if option == "" {
				t.Errorf("%s -%s: parley %s has nothing for it", x.Name, p, x.Verb)
			}
			for _, word := range strings.FieldsFunc(option, func(r rune) bool { return strings.ContainsRune(" ,;:", r) }) {
				if name, ok := strings.CutPrefix(word, "--"); ok && c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s -%s: parley %s has no --%s", x.Name, p, x.Verb, name)
				}
			}
		}
		for p := range x.Notes {
			if !slices.Contains(params, p) {
				t.Errorf("%s: a note about -%s, which it does not have", x.Name, p)
			}
		}
	}
	if got := verbs.Kebab("ChatContentExceedsMB") + verbs.Kebab("UserUri") + verbs.Kebab("Name"); got != "chat-content-exceeds-mbuser-uriname" {
		t.Error(got)
	}
}

// adminDoc is docs/admin.md.
func adminDoc() []byte {
	root := testApp().root()
	var b bytes.Buffer
	fmt.Fprint(&b, "# Administration\n\nThis page is made from the table of verbs: `go test ./cmd/parley -run TestAdminDoc -update` writes it.\n"+
		"`parley VERB --help` says more about each verb, `parley man DIR` writes manual pages, `parley completion bash|zsh|fish` completes.\n\n"+
		"Every verb talks to the admin API of one node, and any node will do. A change has `--what-if` (show what would be written, write nothing), `--request-id`\n"+
		"(sent again with the same id it takes effect once) and `--force` (do not ask). What takes something away asks on a terminal; elsewhere nobody is asked.\n"+
		"A verb returns when every node that lives shows the change; nodes that do not in time are named on stderr.\n\n"+
		"Lists are changed with `--LIST-add`, `--LIST-remove` and `--LIST-set`. They take "+verbs.Who+".\nTimes are RFC 3339, or a date with or without a time, in UTC.\n\n"+
		"## From cmdlet to verb\n\n| Cmdlet | Verb |\n|---|---|\n")
	for _, x := range verbs.Cmdlets {
		note := ""
		if x.Note != "" {
			note = ": " + x.Note
		}
		fmt.Fprintf(&b, "| `%s` | `parley %s`%s |\n", x.Name, x.Verb, note)
	}
	fmt.Fprint(&b, "\n## From parameter to option\n\nParameters that are options of the same name in kebab case (`-ChatContentExceedsMB` is `--chat-content-exceeds-mb`) are not listed.\nA list `-X` is `--x-add`, `--x-remove` and `--x-set`.\n\n| Parameter of many cmdlets | Here |\n|---|---|\n")
	for _, p := range slices.Sorted(maps.Keys(verbs.Common)) {
		fmt.Fprintf(&b, "| `-%s` | %s |\n", p, verbs.Common[p])
	}
	fmt.Fprint(&b, "\n| Cmdlet | Parameter | Here |\n|---|---|---|\n")
	for i := range verbs.Cmdlets {
		x := &verbs.Cmdlets[i]
		c := find(root, x.Verb)
		for _, p := range strings.Fields(x.Params) {
			option := optionOf(c, x, p)
			if option != "--"+verbs.Kebab(p) && !strings.HasPrefix(option, "--"+verbs.Kebab(p)+"-add") && (x.Notes[p] != "" || verbs.Common[p] == "") {
				fmt.Fprintf(&b, "| `%s` | `-%s` | %s |\n", x.Name, p, option)
			}
		}
	}
	fmt.Fprint(&b, "\n## Who may\n\n| Verb | Does | Roles |\n|---|---|---|\n")
	for _, v := range verbs.All() {
		who := []string{"whoever has a token"}
		if v.Right != "" {
			who = nil
			for _, r := range roles.For(v.Right) {
				who = append(who, string(r))
			}
		}
		fmt.Fprintf(&b, "| `parley %s` | %s | %s |\n", v.Words, strings.ReplaceAll(v.Short, "|", `\|`), strings.Join(who, ", "))
	}
	return b.Bytes()
}

func TestAdminDoc(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "admin.md")
	if *update {
		if err := os.WriteFile(file, adminDoc(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(have, adminDoc()) {
		t.Errorf("docs/admin.md is not what the verbs come to (%v); write it again: go test ./cmd/parley -run TestAdminDoc -update", err)
	}
}

// Every verb and every option explains itself.
func TestHelp(t *testing.T) {
	err := manpage.Each(testApp().root(), func(c *cobra.Command) error {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s: no help", c.CommandPath(), f.Name)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Manual pages are the same bytes every time, and have every option.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	var out, errs strings.Builder
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
	if code := a.run(t.Context(), []string{"man", dir}); code != 0 || !strings.HasSuffix(out.String(), " pages in "+dir+"\n") {
		t.Fatalf("%d %s%s", code, out.String(), errs.String())
	}
	n := 0
	err := manpage.Each(testApp().root(), func(c *cobra.Command) error {
		n++
		b, err := os.ReadFile(filepath.Join(dir, manpage.Name(c)+".1"))
		if err != nil {
			return err
		}
		if !bytes.Equal(b, manpage.Page(c, statuses)) {
			t.Errorf("%s: another page every time", c.CommandPath())
		}
		for _, part := range []string{".TH \"", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n"} {
			if !bytes.Contains(b, []byte(part)) {
				t.Errorf("%s: no %q", c.CommandPath(), part)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !bytes.Contains(b, []byte(manpage.Roff("--"+f.Name)+`\fR`)) {
				t.Errorf("%s: the page does not have --%s", c.CommandPath(), f.Name)
			}
		})
		for l := range strings.Lines(string(b)) {
			if strings.HasPrefix(l, "'") || strings.HasPrefix(l, ".") && !slices.Contains([]string{"TH", "SH", "B", "BR", "TP", "PP"}, strings.Fields(l[1:])[0]) {
				t.Errorf("%s: the line %q is taken for a request", c.CommandPath(), l)
			}
		}
		return nil
	})
	if err != nil || n < 60 {
		t.Errorf("%d pages: %v", n, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != n {
		t.Errorf("%d files, %d verbs: %v", len(files), n, err)
	}
}

// Shells get a script each, and the script gets values and names.
func TestCompletion(t *testing.T) {
	complete := func(args ...string) string {
		var out, errs strings.Builder
		a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, environ: []string{"HOME=" + t.TempDir()}}
		if code := a.run(t.Context(), args); code != 0 {
			t.Errorf("%v: %d %s", args, code, errs.String())
		}
		return out.String()
	}
	for shell, part := range map[string]string{"bash": "complete -o default -F __start_parley parley", "zsh": "#compdef parley", "fish": "complete -c parley"} {
		if s := complete("completion", shell); !strings.Contains(s, part) {
			t.Errorf("%s: %.200s", shell, s)
		}
	}
	for _, x := range []struct{ words, want string }{
		{"room set A --privacy ", "open closed secret"}, {"message rm A --match-clause ", "all or exact"}, {"data export x --level ", "all user category roomdirectory content"},
		{"room set A --members-a", "--members-add"}, {"admin tok", "token"}, {"room get ", ""}, // no pool, no names
	} {
		words := strings.Split(x.words, " ")
		var got []string
		for l := range strings.Lines(complete(append([]string{"__complete"}, words...)...)) {
			if name, _, _ := strings.Cut(strings.TrimSpace(l), "\t"); !strings.HasPrefix(name, ":") && name != "" {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%q: %q, want %q", x.words, got, x.want)
		}
	}
}
