package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/webfront/admin"
)

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
