package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/cmd/internal/password"
	"parley/cmd/internal/show"
	"parley/cmd/internal/verbs"
	"parley/projections/chat/roles"
	"parley/webfront/objects"
)

// objectCmds makes the commands of the table of verbs, with others that are more than a request.
func (a *app) objectCmds() []*cobra.Command {
	more := map[string][]*cobra.Command{
		"user": {a.directoryImportCmd("user")}, "group": {a.directoryImportCmd("group")}, "ou": {a.directoryImportCmd("ou")},
		"config": {a.configCheckCmd(), a.configReferenceCmd()}, "admin token": {a.tokenNewCmd()},
		"pool": {a.poolInitCmd(), a.poolStatusCmd(), a.poolAddCmd(), a.poolMemberCmd("remove", "Remove a node from the pool", http.MethodDelete),
			a.poolMemberCmd("promote", "Give a standby a vote", http.MethodPost, "promote"), a.poolTransferCmd(), a.poolKeyCmd()},
	}
	groups := map[string]*cobra.Command{}
	var top []*cobra.Command
	for _, g := range append([]verbs.Group{{Words: "pool", Short: "Make a pool and manage its nodes"}}, verbs.Groups()...) {
		outer, word, nested := strings.Cut(g.Words, " ")
		if !nested {
			word = outer
		}
		c := group(word, g.Short, more[g.Words]...)
		groups[g.Words] = c
		if nested {
			groups[outer].AddCommand(c)
		} else {
			top = append(top, c)
		}
	}
	for _, v := range verbs.All() {
		if !strings.Contains(v.Words, " ") {
			top = append(top, a.verbCmd(v))
			continue
		}
		groups[v.Object()].AddCommand(a.verbCmd(v))
	}
	return top
}

// verbRun is one use of a verb.
type verbRun struct {
	a       *app
	v       *verbs.Verb
	cmd     *cobra.Command
	changes changeFlags
	given   map[string]func() (any, error) // by option of the table: what it sends
}

// verbCmd makes the command of a verb.
func (a *app) verbCmd(v verbs.Verb) *cobra.Command {
	cmd := &cobra.Command{Use: v.Use(), Short: v.Short, Long: longHelp(&v)}
	r := &verbRun{a: a, v: &v, cmd: cmd, given: map[string]func() (any, error){}}
	switch v.Arg {
	case verbs.Nothing:
		cmd.Args = cobra.NoArgs
	case verbs.Several:
		cmd.Args = cobra.ArbitraryArgs
	default:
		cmd.Args = cobra.MaximumNArgs(1)
	}
	if v.Arg != verbs.Nothing {
		what := "`" + v.ArgWord + "`, instead of the argument"
		if v.ArgFind != "" && v.Arg != verbs.Fresh {
			what += ": " + v.ArgFind
		}
		cmd.Flags().String(v.ArgFlag, "", what)
		if v.Arg != verbs.Fresh {
			cmd.ValidArgsFunction = a.completeNames(v.Object())
		}
	}
	for i := range v.Options {
		r.option(&v.Options[i])
	}
	if v.Changes() {
		r.changes.add(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args) }
	return cmd
}

// longHelp tells which role a verb needs.
func longHelp(v *verbs.Verb) string {
	text := v.Short + "."
	if v.Long != "" {
		text += "\n\n" + v.Long
	}
	if slices.ContainsFunc(v.Options, func(o verbs.Option) bool { return o.Value == "ADDRESSES" }) {
		text += "\n\nADDRESSES are " + verbs.Who + ";\nparted by commas, or by semicolons where a distinguished name has commas."
	}
	if v.Right != "" {
		text += fmt.Sprintf("\n\nRight: %s.", roles.Denial(v.Right))
	}
	return text
}

// help is the text of an option.
func help(o *verbs.Option) string {
	text := o.Help
	if o.Values != nil {
		text += " (" + strings.Join(o.Values, ", ") + ")"
	}
	if o.Kind == verbs.Number && o.Max != 0 {
		text += fmt.Sprintf(" (%d to %d)", o.Min, o.Max)
	}
	if o.Default != "" {
		text += " (default " + o.Default + ")"
	}
	return text
}

// textFlag is the value of an option; help shows kind for what it takes.
type textFlag struct {
	kind  string
	many  bool // it may be given again; otherwise the last one counts
	texts []string
}

func (f *textFlag) Set(text string) error {
	if !f.many {
		f.texts = nil
	}
	f.texts = append(f.texts, text)
	return nil
}

func (f *textFlag) Type() string { return f.kind }

func (f *textFlag) String() string { return strings.Join(f.texts, ",") }

// option adds an option to the command.
func (r *verbRun) option(o *verbs.Option) {
	fs := r.cmd.Flags()
	if o.Name == "force" { // it is one of every change
		r.given[o.Name] = func() (any, error) { return r.changes.force, nil }
		return
	}
	switch o.Kind {
	case verbs.Flag:
		p := fs.Bool(o.Name, false, help(o))
		r.given[o.Name] = func() (any, error) { return *p, nil }
	case verbs.Switch:
		p := fs.Bool(o.Name, false, help(o))
		r.given[o.Name] = func() (any, error) { return *p != o.Inverse, nil }
	case verbs.Words:
		p := &textFlag{kind: o.Value, many: true}
		fs.Var(p, o.Name, help(o))
		r.given[o.Name] = func() (any, error) { return append([]string{}, verbs.Split(p.texts)...), nil }
	case verbs.List:
		add := fs.StringArray(o.Name+"-add", nil, "add `"+o.Value+"` to the "+o.Help)
		remove := fs.StringArray(o.Name+"-remove", nil, "remove `"+o.Value+"` from the "+o.Help)
		set := fs.StringArray(o.Name+"-set", nil, "make exactly these `"+o.Value+"` the "+o.Help+"; \"\" for none")
		r.given[o.Name] = func() (any, error) {
			c := objects.ListChange{Add: verbs.Split(*add), Remove: verbs.Split(*remove)}
			if fs.Changed(o.Name + "-set") {
				all := append([]string{}, verbs.Split(*set)...)
				c.Set = &all
			}
			return c, nil
		}
	case verbs.Password:
		word := fs.String(o.Name, "", "`PASSWORD`; others on this machine may see it, so better --"+o.Name+"-file")
		file := fs.String(o.Name+"-file", "", "`FILE` whose first line is the password; - reads standard input, and asks on a terminal")
		r.given[o.Name] = func() (any, error) {
			if !fs.Changed(o.Name + "-file") {
				return *word, nil
			}
			if fs.Changed(o.Name) {
				return nil, usagef("%s: --%[2]s and --%[2]s-file exclude each other", r.cmd.CommandPath(), o.Name)
			}
			p, err := password.Read(*file, r.a.stdin, terminal(r.a.stdin), r.a.stderr)
			if err != nil {
				return nil, fmt.Errorf("%s: read password: %w", r.cmd.CommandPath(), err)
			}
			return p, nil
		}
	default:
		p := &textFlag{kind: o.Value}
		fs.Var(p, o.Name, help(o))
		r.given[o.Name] = func() (any, error) { return r.value(o, p.String()) }
	}
	if o.Values != nil {
		r.a.must(r.cmd.RegisterFlagCompletionFunc(o.Name, cobra.FixedCompletions(o.Values, cobra.ShellCompDirectiveNoFileComp)))
	}
}

// value checks the text of an option.
func (r *verbRun) value(o *verbs.Option, text string) (any, error) {
	v, err := o.Check(text)
	if err != nil {
		return nil, usagef("%s: --%s %w", r.cmd.CommandPath(), o.Name, err)
	}
	return v, nil
}

// isGiven reports whether an option was given in any of its forms.
func (r *verbRun) isGiven(o *verbs.Option) bool {
	return slices.ContainsFunc(o.Flags(), r.cmd.Flags().Changed)
}

// argument returns what the verb is about.
func (r *verbRun) argument(args []string) ([]string, error) {
	if r.v.Arg == verbs.Nothing {
		return nil, nil
	}
	if f := r.cmd.Flags(); f.Changed(r.v.ArgFlag) {
		if len(args) > 0 {
			return nil, usagef("%s: %s is given twice", r.cmd.CommandPath(), r.v.ArgWord)
		}
		name, err := f.GetString(r.v.ArgFlag)
		if err != nil {
			return nil, err
		}
		args = []string{name}
	}
	switch {
	case slices.Contains(args, ""):
		return nil, usagef("%s: %s is empty", r.cmd.CommandPath(), r.v.ArgWord)
	case len(args) > 0 || r.v.Arg == verbs.OneOrAll:
		return args, nil
	case r.v.ArgElse != "":
		return []string{r.v.ArgElse}, nil
	}
	return nil, usagef("%s: which %s?", r.cmd.CommandPath(), r.v.ArgWord)
}

// request makes the request of the verb from its options and its argument.
func (r *verbRun) request(arg []string) (client.Request, error) {
	body, q := map[string]any{}, url.Values{}
	none := client.Request{}
	for i := range r.v.Options {
		o := &r.v.Options[i]
		if !r.isGiven(o) {
			if o.Required {
				return none, usagef("%s: no %s; give one with --%s", r.cmd.CommandPath(), strings.ReplaceAll(o.Name, "-", " "), o.Name)
			}
			continue
		}
		if r.v.Arg == verbs.OneOrAll && len(arg) > 0 && !o.Both {
			return none, usagef("%s: --%s narrows a list, and %s is one %s", r.cmd.CommandPath(), o.Name, arg[0], strings.ToLower(r.v.ArgWord))
		}
		value, err := r.given[o.Name]()
		if err != nil {
			return none, err
		}
		if !o.Query {
			body[o.Key()] = value
			continue
		}
		if list, ok := value.([]string); ok {
			q[o.Key()] = list
			continue
		}
		q.Set(o.Key(), fmt.Sprint(value))
	}
	for _, names := range r.v.OneOf {
		n := 0
		for _, name := range names {
			if r.cmd.Flags().Changed(name) {
				n++
			}
		}
		if n != 1 {
			return none, usagef("%s: give exactly one of --%s", r.cmd.CommandPath(), strings.Join(names, ", --"))
		}
	}
	if r.v.Method == http.MethodPatch && len(body) == 0 {
		return none, usagef("%s: nothing to change", r.cmd.CommandPath())
	}
	switch r.v.Arg {
	case verbs.Fresh:
		body[r.v.ArgKey] = arg[0]
	case verbs.Several:
		body[r.v.ArgKey] = arg
	}
	var sent any
	if r.v.Method == http.MethodPost || r.v.Method == http.MethodPatch || r.v.Method == http.MethodPut {
		sent = body
	}
	out := client.Request{Method: r.v.Method, Body: sent}
	if r.v.Changes() {
		out = r.changes.request(r.v.Method, sent)
	}
	out.Slow = r.v.Slow || slices.ContainsFunc(r.v.Options, func(o verbs.Option) bool { return o.Slow && r.isGiven(&o) })
	for k, v := range q {
		if out.Query == nil {
			out.Query = url.Values{}
		}
		out.Query[k] = v
	}
	for _, s := range strings.Split(strings.Trim(r.v.Path, "/"), "/") {
		if s == "{}" {
			s = arg[0]
		}
		out.Path = append(out.Path, s)
	}
	if r.v.Arg == verbs.OneOrAll && len(arg) > 0 {
		out.Path = append(out.Path, arg[0])
	}
	return out, nil
}

func (r *verbRun) run(ctx context.Context, args []string) error {
	arg, err := r.argument(args)
	if err != nil {
		return err
	}
	req, err := r.request(arg)
	if err != nil {
		return err
	}
	if r.v.Question != "" {
		if err := r.a.confirm(&r.changes, fmt.Sprintf(r.v.Question, strings.Join(arg, " "))); err != nil {
			return fmt.Errorf("%s: %w", r.v.Words, err)
		}
	}
	if r.v.Lines {
		return r.stream(ctx, req)
	}
	return call(r.a, ctx, r.v.Words, req, func(raw json.RawMessage) { r.show(raw) })
}

// show prints an answer for people.
func (r *verbRun) show(raw json.RawMessage) {
	if r.v.Done != "" {
		r.a.say("%s", show.Fill(r.v.Done, raw))
		return
	}
	var list []map[string]json.RawMessage
	if r.v.Columns == nil || json.Unmarshal(raw, &list) != nil {
		r.a.must(r.a.fields(raw))
		return
	}
	var head []string
	for _, c := range r.v.Columns {
		head = append(head, c.Head)
	}
	r.a.table(strings.Join(head, " "), func(row func(...any)) {
		for _, o := range list {
			var cells []any
			for _, c := range r.v.Columns {
				cells = append(cells, show.Cell(o, c.Key))
			}
			row(cells...)
		}
	})
}

// stream prints messages as they come.
func (r *verbRun) stream(ctx context.Context, req client.Request) error {
	c, err := r.a.client()
	if err != nil {
		return fmt.Errorf("%s: %w", r.v.Words, err)
	}
	err = c.Stream(ctx, req, func(line []byte) error {
		if !r.a.json {
			var o map[string]json.RawMessage
			if err := json.Unmarshal(line, &o); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			text := show.Plain(o["body"])
			if title := show.Plain(o["title"]); title != "" {
				text = title + ": " + text
			}
			line = fmt.Appendf(nil, "%s  %s  %s  %q", show.Plain(o["message_id"]), show.Plain(o["at"]), show.Plain(o["by"]), text)
		}
		_, err := r.a.stdout.Write(append(bytes.Clone(line), '\n'))
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", r.v.Words, explain(err))
	}
	return nil
}

// completeWithin bounds how long a shell waits for names.
const completeWithin = 3 * time.Second

// completeNames asks the pool for the names of objects. A shell that gets none completes nothing.
func (a *app) completeNames(object string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		if object == "message" {
			object = "room"
		}
		all := verbs.All()
		i := slices.IndexFunc(all, func(v verbs.Verb) bool { return v.Words == object+" get" })
		if i < 0 || len(args) > 0 {
			return nil, none
		}
		c, err := a.client()
		if err != nil {
			return nil, none
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		var list []map[string]json.RawMessage
		if err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: []string{strings.Trim(all[i].Path, "/")}}, &list); err != nil {
			return nil, none
		}
		var out []cobra.Completion
		for _, o := range list {
			if name := show.Plain(o[all[i].Columns[0].Key]); strings.HasPrefix(strings.ToLower(name), strings.ToLower(prefix)) {
				out = append(out, name)
			}
		}
		return out, none
	}
}

// errNotConfirmed says that nothing was done because nobody said yes.
var errNotConfirmed = errors.New("not confirmed; nothing was done")
