package admin

import (
	"net/http"
	"time"

	"parley/projections/chat/roles"
	"parley/webfront/objects"
)

// Route is a row of the table of routes, for tests.
type Route struct {
	Method, Path, Summary   string
	Right                   roles.Action
	Nodes, Recorded, Leader bool
	Lines                   bool
	In, Out                 any
	Status                  int
	Params                  []objects.Param
}

// Routes returns the table of routes; paths are without Prefix.
func Routes(a *API) (out []Route) {
	for _, r := range a.table {
		x := Route{Method: r.method, Path: r.path, Summary: r.summary, Right: r.right, Nodes: r.nodes, Recorded: r.recorded, Leader: r.leader,
			Lines: r.lines, In: r.in, Out: r.out, Status: r.status, Params: r.params}
		if x.Status == 0 {
			x.Status = http.StatusOK
		}
		out = append(out, x)
	}
	return out
}

// SetConfirm sets how long a change waits for other nodes.
func SetConfirm(a *API, d time.Duration) { a.confirm = d }
