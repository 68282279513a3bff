package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"parley/cmd/internal/pki"
	"parley/cmd/internal/verbs"
	"parley/projections/chat/roles"
	"parley/webfront/admin"
)

// tokenNewCmd makes a token here and sends its hash: the pool never sees it, and a lost answer loses nothing.
func (a *app) tokenNewCmd() *cobra.Command {
	var changes changeFlags
	text := map[string]*textFlag{}
	cmd := &cobra.Command{
		Use:   "new ADMIN",
		Short: "Issue a token to an administrator; it is shown once",
		Long: "Issue a token to an administrator; it is shown once. The pool keeps its hash and nothing else.\n\nADMIN is a name, or the address of an account. " +
			"Write the token into a file and name that with --credentials.\n\nRight: " + roles.Denial(roles.AdminChange) + ".",
		Args: cobra.ExactArgs(1),
	}
	for i := range verbs.TokenOptions {
		o := &verbs.TokenOptions[i]
		text[o.Name] = &textFlag{kind: o.Value, many: o.Kind == verbs.Words}
		cmd.Flags().Var(text[o.Name], o.Name, help(o))
	}
	changes.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		const what = "admin token new"
		token, hash := pki.NewToken()
		b := admin.TokenChange{Admin: &args[0], SHA256: &hash, Roles: verbs.Split(text["roles"].texts)}
		if cmd.Flags().Changed("expires") {
			t, err := verbs.ParseTime(text["expires"].String())
			if err != nil {
				return usagef("%s: --expires %w", what, err)
			}
			b.Expires = &t
		}
		if cmd.Flags().Changed("description") {
			d := text["description"].String()
			b.Description = &d
		}
		file := text["token-file"].String()
		var out *os.File
		if file != "" && !changes.whatIf { // before the token holds: afterwards it would be lost
			var err error
			if out, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			if _, err = fmt.Fprintln(out, token); err == nil {
				err = out.Close()
			}
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		req := changes.request(http.MethodPost, b, "admin-tokens")
		if changes.whatIf {
			return call(a, cmd.Context(), what, req, func(json.RawMessage) {})
		}
		c, err := a.client()
		if err == nil {
			req.Unconfirmed = a.unconfirmed(what)
			var t admin.Token
			if err = c.Do(cmd.Context(), req, &t); err == nil {
				return a.showToken(t, token, file)
			}
		}
		var refused *admin.Problem
		if out != nil && errors.As(err, &refused) { // otherwise it may have been issued, and its owner still has it
			_ = os.Remove(file)
		}
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	return cmd
}

// showToken shows what was issued, and the token unless it is in a file.
func (a *app) showToken(t admin.Token, token, file string) error {
	shown := struct {
		admin.Token
		Secret string `json:"secret,omitempty"`
		File   string `json:"file,omitempty"`
	}{t, token, file}
	if file != "" {
		shown.Secret = ""
	}
	if a.json {
		return a.emit(shown)
	}
	return a.fields(shown)
}
