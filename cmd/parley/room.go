package main

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/webfront/objects"
)

func (a *app) roomCmd() *cobra.Command {
	return group("room", "Chat rooms", a.roomNewCmd(), a.roomGetCmd(), a.roomSetCmd(),
		a.removeCmd("room", "rooms", "Remove a room: its sessions end, its messages stay in the log", " for good"))
}

// roomFlags are the settable fields, named as New- and Set-CsPersistentChatRoom name them.
type roomFlags struct {
	name, description, category, typ, privacy, invitations, addIn string
	disabled                                                      bool
	members, managers, presenters                                 listFlag
}

func (f *roomFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.name, "name", "", "`NAME`, unique in the pool")
	fs.StringVar(&f.description, "description", "", "`TEXT`")
	fs.StringVar(&f.category, "category", "", "`CATEGORY`, by name or GUID")
	fs.StringVar(&f.typ, "type", "", "normal or auditorium (default normal)")
	fs.StringVar(&f.privacy, "privacy", "", "open, closed or secret (default closed)")
	fs.StringVar(&f.invitations, "invitations", "", "inherit or false (default inherit)")
	fs.StringVar(&f.addIn, "addin", "", "`NAME` of an add-in")
	fs.BoolVar(&f.disabled, "disabled", false, "nobody can be in it; false enables it again")
	f.members.flags(cmd, "members", "members")
	f.managers.flags(cmd, "managers", "managers")
	f.presenters.flags(cmd, "presenters", "presenters of an auditorium")
}

func (f *roomFlags) change(cmd *cobra.Command) objects.RoomChange {
	return objects.RoomChange{
		Name: changed(cmd, "name", f.name), Description: changed(cmd, "description", f.description),
		Category: changed(cmd, "category", f.category), Type: changed(cmd, "type", f.typ),
		Privacy: changed(cmd, "privacy", f.privacy), Invitations: changed(cmd, "invitations", f.invitations),
		AddIn: changed(cmd, "addin", f.addIn), Disabled: changed(cmd, "disabled", f.disabled),
		Members: f.members.change(cmd), Managers: f.managers.change(cmd), Presenters: f.presenters.change(cmd),
	}
}

func (a *app) roomNewCmd() *cobra.Command {
	var f roomFlags
	var c changeFlags
	cmd := &cobra.Command{Use: "new NAME --category CATEGORY", Short: "Make a room", Args: cobra.MaximumNArgs(1)}
	f.add(cmd)
	c.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b := f.change(cmd)
		var err error
		if b.Name, err = newName(cmd, args, b.Name); err != nil {
			return err
		}
		if b.Category == nil {
			return usagef("room new: no category; name one with --category CATEGORY")
		}
		return call(a, cmd.Context(), "room new", c.request(http.MethodPost, b, "rooms"), a.showRoom)
	}
	return cmd
}

// newName returns the name of what is being made: the argument, or --name as the product has it.
func newName(cmd *cobra.Command, args []string, flag *string) (*string, error) {
	switch {
	case len(args) == 1 && flag == nil:
		return &args[0], nil
	case len(args) == 0 && flag != nil:
		return flag, nil
	case len(args) == 1:
		return nil, usagef("%s: the name is given twice", cmd.CommandPath())
	}
	return nil, usagef("%s: no name", cmd.CommandPath())
}

func (a *app) roomSetCmd() *cobra.Command {
	var f roomFlags
	var c changeFlags
	cmd := &cobra.Command{Use: "set ROOM", Short: "Change a room (by name, ma-chan URI or GUID)", Args: cobra.MaximumNArgs(1)}
	f.add(cmd)
	c.add(cmd)
	identityFlag(cmd, "room")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := identity(cmd, args)
		if err != nil {
			return err
		}
		b := f.change(cmd)
		if b == (objects.RoomChange{}) {
			return usagef("room set: nothing to change")
		}
		return call(a, cmd.Context(), "room set", c.request(http.MethodPatch, b, "rooms", id), a.showRoom)
	}
	return cmd
}

func (a *app) showRoom(r objects.Room) { a.must(a.fields(r)) }

func (a *app) roomGetCmd() *cobra.Command {
	var filter, category, addIn, manager, member, privacy, typ, invitations string
	var description, disabled bool
	var size int
	cmd := &cobra.Command{Use: "get [ROOM]", Short: "Show a room (by name, ma-chan URI or GUID), or those that match", Args: cobra.MaximumNArgs(1)}
	fs := cmd.Flags()
	fs.StringVar(&filter, "filter", "", "`WORDS` that the name has")
	fs.BoolVar(&description, "search-description", false, "look for the words in the description too")
	fs.StringVar(&category, "category", "", "only of this `CATEGORY`")
	fs.StringVar(&addIn, "addin", "", "only with this add-in")
	fs.StringVar(&manager, "manager", "", "only with this `ADDRESS` as manager")
	fs.StringVar(&member, "member", "", "only with this `ADDRESS` as member")
	fs.StringVar(&privacy, "privacy", "", "open, closed or secret")
	fs.StringVar(&typ, "type", "", "normal or auditorium")
	fs.StringVar(&invitations, "invitations", "", "inherit or false")
	fs.BoolVar(&disabled, "disabled", false, "only disabled ones; false: only enabled ones")
	fs.IntVar(&size, "result-size", 0, "at most `N`")
	identityFlag(cmd, "room")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 || cmd.Flags().Changed("identity") {
			id, err := identity(cmd, args)
			if err != nil {
				return err
			}
			return call(a, cmd.Context(), "room get", client.Request{Method: http.MethodGet, Path: []string{"rooms", id}}, a.showRoom)
		}
		q := url.Values{}
		for name, v := range map[string]string{"filter": filter, "category": category, "add_in": addIn, "manager": manager,
			"member": member, "privacy": privacy, "type": typ, "invitations": invitations} {
			if v != "" {
				q.Set(name, v)
			}
		}
		if description {
			q.Set("search_description", "true")
		}
		if cmd.Flags().Changed("disabled") {
			q.Set("disabled", strconv.FormatBool(disabled))
		}
		if cmd.Flags().Changed("result-size") {
			q.Set("result_size", strconv.Itoa(size))
		}
		return call(a, cmd.Context(), "room get", client.Request{Method: http.MethodGet, Path: []string{"rooms"}, Query: q}, func(rs []objects.Room) {
			a.table("NAME CATEGORY TYPE PRIVACY DISABLED MEMBERS PRESENT MESSAGES ROOM", func(row func(...any)) {
				for _, r := range rs {
					row(r.Name, r.Category, r.Type, r.Privacy, r.Disabled, len(r.Members), r.Participants, r.LastMessage, r.Room)
				}
			})
		})
	}
	return cmd
}
