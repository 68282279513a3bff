// Package ops serves what watches a node: metrics, health and profiles. It has no access control, so it belongs on
// a loopback listener.
package ops

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTimeout bounds one check. A check that hangs has failed: whoever asks has a deadline too.
const checkTimeout = 2 * time.Second

// Check is one named condition of the node.
type Check struct {
	Name string
	// Run returns why the condition does not hold. It must end when ctx ends.
	Run func(ctx context.Context) error
	// Live: without the condition the process can only be restarted, so /livez fails too.
	Live bool
	// Warn: the condition is shown, but the node is ready without it.
	Warn bool
}

// Handler serves /metrics, /livez, /readyz and /debug/pprof/. The health pages have the shape of etcd's: 200 or 503,
// ?verbose lists the checks, ?exclude=NAME (repeatable) leaves one out.
func Handler(metrics prometheus.Gatherer, checks []Check) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	var live []Check
	for _, c := range checks {
		if c.Live {
			live = append(live, c)
		}
	}
	mux.Handle("GET /livez", health("livez", live))
	mux.Handle("GET /readyz", health("readyz", checks))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func health(page string, checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		excluded := map[string]bool{}
		for _, v := range q["exclude"] {
			excluded[v] = true
		}
		errs := runAll(r.Context(), checks, excluded)
		var b strings.Builder
		failed := false
		for i, c := range checks {
			switch {
			case excluded[c.Name]:
				fmt.Fprintf(&b, "[+]%s excluded: ok\n", c.Name)
				delete(excluded, c.Name)
			case errs[i] == nil:
				fmt.Fprintf(&b, "[+]%s ok\n", c.Name)
			case c.Warn:
				fmt.Fprintf(&b, "[!]%s warning: %s\n", c.Name, flat(errs[i]))
			default:
				fmt.Fprintf(&b, "[-]%s failed: %s\n", c.Name, flat(errs[i]))
				failed = true
			}
		}
		for name := range excluded {
			fmt.Fprintf(&b, "warn: no check %q to exclude\n", name)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case failed:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "%s%s check failed\n", b.String(), page)
		case q.Has("verbose"):
			fmt.Fprintf(w, "%s%s check passed\n", b.String(), page)
		default:
			fmt.Fprint(w, "ok")
		}
	})
}

func runAll(ctx context.Context, checks []Check, excluded map[string]bool) []error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		if !excluded[c.Name] {
			wg.Go(func() { errs[i] = c.Run(ctx) })
		}
	}
	wg.Wait()
	return errs
}

func flat(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
