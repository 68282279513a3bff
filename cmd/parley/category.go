package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/webfront/objects"
)

func (a *app) categoryCmd() *cobra.Command {
	return group("category", "Categories of rooms: who may meet there", a.categoryNewCmd(), a.categoryGetCmd(), a.categorySetCmd(),
		a.removeCmd("category", "categories", "Remove a category that has no rooms", ""))
}

// categoryLists are the lists of Set-CsPersistentChatCategory; "*" is everyone.
type categoryLists struct{ allowed, denied, creators listFlag }

func (f *categoryLists) add(cmd *cobra.Command) {
	f.allowed.flags(cmd, "allowed-members", "allowed members (\"*\": everyone)")
	f.denied.flags(cmd, "denied-members", "denied members, who are denied even if allowed")
	f.creators.flags(cmd, "creators", "creators of rooms")
}

func (f *categoryLists) change(cmd *cobra.Command, c *objects.CategoryChange) {
	c.AllowedMembers, c.DeniedMembers, c.Creators = f.allowed.change(cmd), f.denied.change(cmd), f.creators.change(cmd)
}

func (a *app) categoryNewCmd() *cobra.Command {
	var name, description string
	var invitations, files, noHistory bool
	var lists categoryLists
	var c changeFlags
	cmd := &cobra.Command{Use: "new NAME", Short: "Make a category; nobody is allowed before --allowed-members-add", Args: cobra.MaximumNArgs(1)}
	fs := cmd.Flags()
	fs.StringVar(&name, "name", "", "`NAME`, unique in the pool")
	fs.StringVar(&description, "description", "", "`TEXT`")
	fs.BoolVar(&invitations, "enable-invitations", false, "rooms may send invitations")
	fs.BoolVar(&files, "enable-file-upload", false, "files may be posted")
	fs.BoolVar(&noHistory, "remove-chat-history", false, "messages are not kept for reading; compliance still gets them")
	lists.add(cmd)
	c.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		history := !noHistory
		b := objects.CategoryChange{Description: changed(cmd, "description", description), Invitations: &invitations,
			FileUpload: &files, ChatHistory: &history}
		lists.change(cmd, &b)
		var err error
		if b.Name, err = newName(cmd, args, changed(cmd, "name", name)); err != nil {
			return err
		}
		return call(a, cmd.Context(), "category new", c.request(http.MethodPost, b, "categories"), a.showCategory)
	}
	return cmd
}

func (a *app) categorySetCmd() *cobra.Command {
	var name, description string
	var invitations, files, history bool
	var lists categoryLists
	var c changeFlags
	cmd := &cobra.Command{Use: "set CATEGORY", Short: "Change a category", Args: cobra.MaximumNArgs(1)}
	fs := cmd.Flags()
	fs.StringVar(&name, "name", "", "new `NAME`")
	fs.StringVar(&description, "description", "", "`TEXT`")
	fs.BoolVar(&invitations, "invitations", false, "rooms may send invitations")
	fs.BoolVar(&files, "file-upload", false, "files may be posted")
	fs.BoolVar(&history, "chat-history", false, "messages are kept for reading; compliance gets them either way")
	lists.add(cmd)
	c.add(cmd)
	identityFlag(cmd, "category")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identity(cmd, args)
		if err != nil {
			return err
		}
		b := objects.CategoryChange{Name: changed(cmd, "name", name), Description: changed(cmd, "description", description),
			Invitations: changed(cmd, "invitations", invitations), FileUpload: changed(cmd, "file-upload", files),
			ChatHistory: changed(cmd, "chat-history", history)}
		lists.change(cmd, &b)
		if b == (objects.CategoryChange{}) {
			return usagef("category set: nothing to change")
		}
		return call(a, cmd.Context(), "category set", c.request(http.MethodPatch, b, "categories", id), a.showCategory)
	}
	return cmd
}

func (a *app) showCategory(c objects.Category) { a.must(a.fields(c)) }

func (a *app) categoryGetCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "get [CATEGORY]", Short: "Show a category, or all", Args: cobra.MaximumNArgs(1)}
	identityFlag(cmd, "category")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 || cmd.Flags().Changed("identity") {
			id, err := identity(cmd, args)
			if err != nil {
				return err
			}
			return call(a, cmd.Context(), "category get", client.Request{Method: http.MethodGet, Path: []string{"categories", id}}, a.showCategory)
		}
		return call(a, cmd.Context(), "category get", client.Request{Method: http.MethodGet, Path: []string{"categories"}}, func(cs []objects.Category) {
			a.table("NAME ROOMS ALLOWED DENIED CREATORS INVITATIONS FILES HISTORY", func(row func(...any)) {
				for _, c := range cs {
					row(c.Category, c.Rooms, len(c.AllowedMembers), len(c.DeniedMembers), len(c.Creators), c.Invitations, c.FileUpload, c.ChatHistory)
				}
			})
		})
	}
	return cmd
}
