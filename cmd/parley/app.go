package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"parley/cmd/internal/config"
	"parley/cmd/internal/verbs"
	"parley/cmd/internal/version"
	"parley/log/event"
	"parley/webfront/admin"
)

// Exit codes: part of the contract with scripts.
const (
	exitDone        = 0
	exitFailed      = 1 // refused or failed
	exitUsage       = 2
	exitUnavailable = 3 // no leader or not reachable: try again
	exitCorrupt     = 4 // corruption found
)

// app is one run of the command line with everything it touches outside, so that tests can give it their own.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	open           openFunc

	configFile, server, credentials, dir string
	json, quiet                          bool
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errUnavailable is the class of errors that may go away when the command is tried again.
var errUnavailable = errors.New("not available")

// exitCode is the one table from the class of an error to an exit code.
func exitCode(err error) int {
	var u usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, event.ErrCorrupt):
		return exitCorrupt
	case errors.As(err, &u):
		return exitUsage
	case errors.Is(err, errUnavailable):
		return exitUnavailable
	default:
		return exitFailed
	}
}

// run executes one command line. Errors go to stderr as one line.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(joinBooleans(args))
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		line := strings.Join(strings.Fields(err.Error()), " ")
		var u usageError
		var p *admin.Problem
		if errors.As(err, &p) {
			line += about(p)
			if len(p.Rows) != 1 || !strings.Contains(p.Detail, p.Rows[0].Error) {
				a.printRows(cmd.Name() == "import", p.Rows)
			}
		}
		if errors.As(err, &u) {
			line += "; see " + cmd.CommandPath() + " --help"
		}
		fmt.Fprintf(a.stderr, "parley: %s\n", line)
	}
	return exitCode(err)
}

// about names the rule that was broken and whom a refusal is about, where its text does not.
func about(p *admin.Problem) string {
	out := ""
	if p.Principal != "" && !strings.Contains(p.Detail, p.Principal.Address()) {
		out = ", about " + string(p.Principal)
	}
	if p.Rule != "" && !strings.Contains(p.Detail, p.Rule) {
		out = " (rule " + p.Rule + out + ")"
	} else if out != "" {
		out = " (" + strings.TrimPrefix(out, ", ") + ")"
	}
	return out
}

// printRows prints every bad row of an import, or every bad entry of a list, one a line.
func (a *app) printRows(ofFile bool, rows []admin.ProblemRow) {
	for _, r := range rows {
		at := ""
		if ofFile {
			at = fmt.Sprintf("line %d: ", r.Line)
		}
		fmt.Fprintf(a.stderr, "parley: %s%s\n", at, strings.Join(strings.Fields(r.Error), " "))
	}
}

// spacedBooleans are options that the product's cmdlets give with a value after a space: -Disabled $true. --invitations
// of a room takes a word, of a category true or false.
var spacedBooleans = verbs.Flags()

// joinBooleans lets those options be written as there: --disabled true, besides --disabled and --disabled=true.
func joinBooleans(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(out, args[i:]...)
		}
		if i+1 < len(args) && slices.Contains(spacedBooleans, args[i]) && (args[i+1] == "true" || args[i+1] == "false") {
			out = append(out, args[i]+"="+args[i+1])
			i++
			continue
		}
		out = append(out, args[i])
	}
	return out
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "parley",
		Short:         "Persistent chat rooms over SIP, with a log that proves itself",
		Version:       version.Number,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noVerb,
		RunE:          needsVerb,
	}
	root.SetVersionTemplate("parley {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config", a.env("PARLEY_CONFIG"), "configuration `FILE` of a node")
	f.StringVar(&a.server, "server", a.env("PARLEY_SERVER"), "`URL` of the admin API to talk to; with --dir also the name of a node")
	f.StringVar(&a.credentials, "credentials", a.env("PARLEY_CREDENTIALS"), "`FILE` with an admin token; ca.pem beside it is believed")
	f.StringVar(&a.dir, "dir", a.env("PARLEY_DIR"), "`DIR` of a sandbox or of pool init: finds server and credentials by itself")
	f.BoolVar(&a.json, "json", false, "print one JSON object per line")
	f.BoolVar(&a.quiet, "quiet", false, "no progress, no hints")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(a.sandboxCmd(), a.serveCmd())
	root.AddCommand(a.objectCmds()...)
	root.AddCommand(a.dataCmd(), a.logCmd(), a.feedCmd(), a.projectionCmd(), a.testCmd(), a.manCmd(), a.versionCmd())
	root.SetIn(a.stdin)
	root.SetOut(a.stdout) // before the completion command is made, which remembers it
	root.SetErr(a.stderr)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	classifyArgs(root)
	return root
}

// noVerb refuses an unknown verb.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		hint = "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return usagef("%s has no verb %q%s", cmd.CommandPath(), args[0], hint)
}

// needsVerb is what a command that only groups others does by itself.
func needsVerb(cmd *cobra.Command, _ []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef("%s needs a verb: %s", cmd.CommandPath(), strings.Join(names, ", "))
}

// group returns a command that only groups others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noVerb, RunE: needsVerb, SuggestionsMinimumDistance: 2}
	c.AddCommand(subs...)
	return c
}

// classifyArgs makes mistakes in positional arguments usage errors, for every command.
func classifyArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			var u usageError
			if err == nil || errors.As(err, &u) {
				return err
			}
			return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
		}
	}
	for _, s := range c.Commands() {
		classifyArgs(s)
	}
}

// env returns a variable of the environment, empty if it is not set.
func (a *app) env(name string) string {
	for i := len(a.environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(a.environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// emit prints v as one line of JSON.
func (a *app) emit(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// say prints a line for people: nothing with --json or --quiet.
func (a *app) say(format string, args ...any) {
	if !a.json && !a.quiet {
		fmt.Fprintf(a.stdout, format+"\n", args...)
	}
}

// terminal reports whether w is one.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// loadConfig reads and checks the configuration that --config names. fs holds the flags of config.AddFlags.
func (a *app) loadConfig(fs *pflag.FlagSet) (config.Config, error) {
	if a.configFile == "" {
		return config.Config{}, usagef("no configuration; name one with --config FILE")
	}
	return config.Load(config.Sources{File: a.configFile, Environ: a.environ, Flags: fs})
}

// logger writes to stderr: lines for people on a terminal, JSON elsewhere.
func (a *app) logger(level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if terminal(a.stderr) {
		return slog.New(slog.NewTextHandler(a.stderr, o))
	}
	return slog.New(slog.NewJSONHandler(a.stderr, o))
}

// sandboxDir is where a sandbox without --dir lives: never in the current directory.
func (a *app) sandboxDir() (string, error) {
	state := a.env("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // the XDG base directory specification: relative paths are to be ignored
		home := a.env("HOME")
		if home == "" {
			return "", errors.New("find the sandbox: neither XDG_STATE_HOME nor HOME is set; name a directory with --dir")
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "parley", "sandbox"), nil
}
