package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/webfront/admin"
)

func (a *app) feedCmd() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "Show the feeds, how far they are and what holds them up", Args: cobra.NoArgs}
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return call(a, cmd.Context(), "feed list", client.Request{Method: http.MethodGet, Path: []string{"feeds"}}, func(fs []admin.FeedStatus) {
			a.table("FEED ADAPTER STATE OWNER EPOCH OFFSET BACKLOG OLDEST ERROR", func(row func(...any)) {
				for _, f := range fs {
					row(f.Feed, f.Adapter, f.State, f.Owner, f.Epoch, f.Offset, f.Backlog, f.OldestAgeSeconds, f.LastError)
				}
			})
		})
	}
	return group("feed", "Compliance feeds", list, a.feedProveCmd())
}

func (a *app) projectionCmd() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "Show the derived data of the node that answers", Args: cobra.NoArgs}
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return call(a, cmd.Context(), "projection list", client.Request{Method: http.MethodGet, Path: []string{"projections"}}, func(ps []admin.ProjectionStatus) {
			a.table("NODE PROJECTION VERSION STATE OFFSET LAG ERROR", func(row func(...any)) {
				for _, p := range ps {
					row(p.Node, p.Projection, p.Version, p.State, p.Offset, p.Lag, p.LastError)
				}
			})
		})
	}
	return group("projection", "Derived data", list)
}
