package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"parley/cmd/internal/manpage"
)

// statuses are the exit codes, for people.
var statuses = []manpage.Status{{Code: exitDone, What: "done"}, {Code: exitFailed, What: "refused or failed"}, {Code: exitUsage, What: "a mistake in the command line"},
	{Code: exitUnavailable, What: "no leader or not reachable: try again"}, {Code: exitCorrupt, What: "corruption found"}}

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
			n, err := manpage.Write(cmd.Root(), statuses, dir)
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
