package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"parley/cmd/internal/client"
	"parley/webfront/objects"
)

func (a *app) userCmd() *cobra.Command {
	return group("user", "Accounts", a.userNewCmd(), a.userGetCmd(), a.userSetCmd(),
		a.removeCmd("user", "users", "Remove an account: its sessions end", ""))
}

type userFlags struct {
	displayName, email, password, passwordFile string
	enabled                                    bool
}

func (f *userFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.displayName, "display-name", "", "`NAME` as others see it")
	fs.StringVar(&f.email, "email", "", "`ADDRESS`")
	fs.BoolVar(&f.enabled, "enable-persistent-chat", true, "the policy: may use chat rooms")
	fs.StringVar(&f.password, "password", "", "`PASSWORD`; others on this machine may see it, so better --password-file")
	fs.StringVar(&f.passwordFile, "password-file", "", "`FILE` whose first line is the password; - reads standard input, and asks on a terminal")
}

func (f *userFlags) change(a *app, cmd *cobra.Command) (objects.UserChange, error) {
	c := objects.UserChange{DisplayName: changed(cmd, "display-name", f.displayName), Email: changed(cmd, "email", f.email),
		EnablePersistentChat: changed(cmd, "enable-persistent-chat", f.enabled), Password: changed(cmd, "password", f.password)}
	if f.passwordFile == "" {
		return c, nil
	}
	if c.Password != nil {
		return c, usagef("%s: --password and --password-file exclude each other", cmd.CommandPath())
	}
	p, err := a.readPassword(f.passwordFile)
	if err != nil {
		return c, fmt.Errorf("%s: read password: %w", cmd.CommandPath(), err)
	}
	c.Password = &p
	return c, nil
}

func (a *app) readPassword(file string) (string, error) {
	if file != "-" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), nil
	}
	if !terminal(a.stdin) {
		b, err := io.ReadAll(io.LimitReader(a.stdin, 1<<16))
		if err != nil {
			return "", err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), nil
	}
	fd := int(a.stdin.(*os.File).Fd())
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(a.stderr, prompt)
		defer fmt.Fprintln(a.stderr)
		return term.ReadPassword(fd)
	}
	one, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	two, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if !bytes.Equal(one, two) {
		return "", errors.New("the two are not the same")
	}
	return string(one), nil
}

func (a *app) userNewCmd() *cobra.Command {
	var f userFlags
	var c changeFlags
	cmd := &cobra.Command{Use: "new ADDRESS", Short: "Make an account", Args: cobra.MaximumNArgs(1)}
	f.add(cmd)
	c.add(cmd)
	identityFlag(cmd, "user")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identity(cmd, args)
		if err != nil {
			return err
		}
		b, err := f.change(a, cmd)
		if err != nil {
			return err
		}
		b.User = &id
		return call(a, cmd.Context(), "user new", c.request(http.MethodPost, b, "users"), a.showUser)
	}
	return cmd
}

func (a *app) userSetCmd() *cobra.Command {
	var f userFlags
	var c changeFlags
	cmd := &cobra.Command{Use: "set ADDRESS", Short: "Change an account", Args: cobra.MaximumNArgs(1)}
	f.add(cmd)
	c.add(cmd)
	identityFlag(cmd, "user")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identity(cmd, args)
		if err != nil {
			return err
		}
		b, err := f.change(a, cmd)
		if err != nil {
			return err
		}
		if b == (objects.UserChange{}) {
			return usagef("user set: nothing to change")
		}
		return call(a, cmd.Context(), "user set", c.request(http.MethodPatch, b, "users", id), a.showUser)
	}
	return cmd
}

func (a *app) showUser(u objects.User) { a.must(a.fields(u)) }

func (a *app) userGetCmd() *cobra.Command {
	var filter string
	var size int
	cmd := &cobra.Command{Use: "get [ADDRESS]", Short: "Show an account, or those that match", Args: cobra.MaximumNArgs(1)}
	cmd.Flags().StringVar(&filter, "filter", "", "`WORDS` that address or display name have")
	cmd.Flags().IntVar(&size, "result-size", 0, "at most `N`")
	identityFlag(cmd, "user")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 || cmd.Flags().Changed("identity") {
			id, err := identity(cmd, args)
			if err != nil {
				return err
			}
			return call(a, cmd.Context(), "user get", client.Request{Method: http.MethodGet, Path: []string{"users", id}}, a.showUser)
		}
		q := url.Values{}
		if filter != "" {
			q.Set("filter", filter)
		}
		if cmd.Flags().Changed("result-size") {
			q.Set("result_size", strconv.Itoa(size))
		}
		return call(a, cmd.Context(), "user get", client.Request{Method: http.MethodGet, Path: []string{"users"}, Query: q}, func(us []objects.User) {
			a.table("USER NAME EMAIL CHAT PASSWORD", func(row func(...any)) {
				for _, u := range us {
					row(u.User, u.DisplayName, u.Email, u.EnablePersistentChat, u.PasswordSet)
				}
			})
		})
	}
	return cmd
}
