package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"parley/cmd/internal/version"
)

func (a *app) manCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write a manual page for every verb into a directory",
		Long:  "Write a manual page for every verb into a directory: read them with `man -l DIR/parley-room-new.1`, or install them below share/man/man1.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := a.dir
			if len(args) == 1 {
				dir = args[0]
			} else if !cmd.Flags().Changed("dir") {
				return usagef("man: which DIR?")
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("man: %w", err)
			}
			n := 0
			err := eachCommand(cmd.Root(), func(c *cobra.Command) error {
				n++
				return os.WriteFile(filepath.Join(dir, manName(c)+".1"), manPage(c), 0o644)
			})
			if err != nil {
				return fmt.Errorf("man: %w", err)
			}
			if a.json {
				return a.emit(map[string]any{"dir": dir, "pages": n})
			}
			a.say("%d pages in %s", n, dir)
			return nil
		},
	}
}

// eachCommand visits a command and those below it, but for help and completion, which explain themselves.
func eachCommand(c *cobra.Command, visit func(*cobra.Command) error) error {
	if err := visit(c); err != nil {
		return err
	}
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() || sub.Name() == "help" || sub.Name() == "completion" {
			continue
		}
		if err := eachCommand(sub, visit); err != nil {
			return err
		}
	}
	return nil
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// roff escapes text for a manual page: backslashes and hyphens, and dots and quotes where a line begins.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// manPage returns the page of a command (man(7)). It has no date, so that the same program writes the same bytes.
func manPage(c *cobra.Command) []byte {
	c.InitDefaultHelpFlag() // cobra adds them to a command when it runs
	c.InitDefaultVersionFlag()
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %q 1 \"\" %q \"parley manual\"\n", strings.ToUpper(manName(c)), "parley "+version.Number)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(c)), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(strings.TrimSuffix(c.UseLine(), " [flags]")))
	if c.HasAvailableLocalFlags() {
		fmt.Fprintln(&b, "[OPTION]...")
	}
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", strings.ReplaceAll(roff(text), "\n\n", "\n.PP\n"))
	manOptions(&b, "OPTIONS", c.NonInheritedFlags())
	manOptions(&b, "OPTIONS OF EVERY VERB", c.InheritedFlags())
	if c.Parent() == nil {
		fmt.Fprint(&b, ".SH EXIT STATUS\n")
		for _, e := range []struct {
			code int
			what string
		}{{exitDone, "done"}, {exitFailed, "refused or failed"}, {exitUsage, "a mistake in the command line"}, {exitUnavailable, "no leader or not reachable: try again"},
			{exitCorrupt, "corruption found"}} {
			fmt.Fprintf(&b, ".TP\n.B %d\n%s\n", e.code, roff(e.what))
		}
	}
	var also []string
	if p := c.Parent(); p != nil {
		also = append(also, manName(p))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			also = append(also, manName(sub))
		}
	}
	if len(also) > 0 {
		fmt.Fprint(&b, ".SH SEE ALSO\n")
		for i, name := range also {
			end := ","
			if i == len(also)-1 {
				end = ""
			}
			fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(name), end)
		}
	}
	return b.Bytes()
}

func manOptions(b *bytes.Buffer, head string, fs *pflag.FlagSet) {
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
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR", roff(name))
		if value != "" {
			fmt.Fprintf(b, " \\fI%s\\fR", roff(value))
		}
		fmt.Fprintf(b, "\n%s\n", roff(text))
	})
}
