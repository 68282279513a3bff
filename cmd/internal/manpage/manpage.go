// Package manpage writes manual pages (man(7)) for a tree of commands: what help says, for man and for packagers. Pages
// have no date, so that the same program writes the same bytes.
package manpage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Status is an exit status, for the page of the program.
type Status struct {
	Code int
	What string
}

// Write writes a page for each command into a directory and returns how many.
func Write(root *cobra.Command, statuses []Status, dir string) (pages int, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	err = Each(root, func(c *cobra.Command) error {
		pages++
		return os.WriteFile(filepath.Join(dir, Name(c)+".1"), Page(c, statuses), 0o644)
	})
	return pages, err
}

// Each visits a command and those below it, but for help and completion, which explain themselves.
func Each(c *cobra.Command, visit func(*cobra.Command) error) error {
	if err := visit(c); err != nil {
		return err
	}
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() || sub.Name() == "help" || sub.Name() == "completion" {
			continue
		}
		if err := Each(sub, visit); err != nil {
			return err
		}
	}
	return nil
}

// Name returns the name of a command's page, without its section.
func Name(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// Roff escapes text for a manual page: backslashes and hyphens, and dots and quotes where a line begins.
func Roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// Page returns the page of a command.
func Page(c *cobra.Command, statuses []Status) []byte {
	c.InitDefaultHelpFlag() // cobra adds them to a command when it runs
	c.InitDefaultVersionFlag()
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %q 1 \"\" %q \"%s manual\"\n", strings.ToUpper(Name(c)), c.Root().Name()+" "+c.Root().Version, c.Root().Name())
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", Roff(Name(c)), Roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", Roff(strings.TrimSuffix(c.UseLine(), " [flags]")))
	if c.HasAvailableLocalFlags() {
		fmt.Fprintln(&b, "[OPTION]...")
	}
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", strings.ReplaceAll(Roff(text), "\n\n", "\n.PP\n"))
	options(&b, "OPTIONS", c.NonInheritedFlags())
	options(&b, "OPTIONS OF EVERY VERB", c.InheritedFlags())
	if c.Parent() == nil {
		fmt.Fprint(&b, ".SH EXIT STATUS\n")
		for _, e := range statuses {
			fmt.Fprintf(&b, ".TP\n.B %d\n%s\n", e.Code, Roff(e.What))
		}
	}
	var also []string
	if p := c.Parent(); p != nil {
		also = append(also, Name(p))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			also = append(also, Name(sub))
		}
	}
	if len(also) > 0 {
		fmt.Fprint(&b, ".SH SEE ALSO\n")
		for i, name := range also {
			end := ","
			if i == len(also)-1 {
				end = ""
			}
			fmt.Fprintf(&b, ".BR %s (1)%s\n", Roff(name), end)
		}
	}
	return b.Bytes()
}

func options(b *bytes.Buffer, head string, fs *pflag.FlagSet) {
	begun := false
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if !begun {
			begun = true
			fmt.Fprintf(b, ".SH %s\n", head)
		}
		value, text := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR", Roff(name))
		if value != "" {
			fmt.Fprintf(b, " \\fI%s\\fR", Roff(value))
		}
		fmt.Fprintf(b, "\n%s\n", Roff(text))
	})
}
