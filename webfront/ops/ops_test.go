package ops

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func TestHealth(t *testing.T) {
	var leader, lag, disk error
	h := Handler(prometheus.NewRegistry(), []Check{
		{Name: "leader", Run: func(context.Context) error { return leader }},
		{Name: "feed", Warn: true, Run: func(context.Context) error { return lag }},
		{Name: "log", Live: true, Run: func(context.Context) error { return disk }},
	})
	steps := []struct {
		name              string
		leader, lag, disk error
		path              string
		code              int
		body              string
	}{
		{"all well", nil, nil, nil, "/readyz", 200, "ok"},
		{"verbose", nil, nil, nil, "/readyz?verbose", 200, "[+]leader ok\n[+]feed ok\n[+]log ok\nreadyz check passed\n"},
		{"only a warning", nil, errors.New("42 behind"), nil, "/readyz?verbose", 200,
			"[+]leader ok\n[!]feed warning: 42 behind\n[+]log ok\nreadyz check passed\n"},
		{"not ready", errors.New("no\nleader"), nil, nil, "/readyz", 503,
			"[-]leader failed: no leader\n[+]feed ok\n[+]log ok\nreadyz check failed\n"},
		{"not ready is alive", errors.New("no leader"), nil, nil, "/livez", 200, "ok"},
		{"excluded", errors.New("no leader"), nil, nil, "/readyz?exclude=leader&verbose", 200,
			"[+]leader excluded: ok\n[+]feed ok\n[+]log ok\nreadyz check passed\n"},
		{"excluded by a wrong name", errors.New("no leader"), nil, nil, "/readyz?exclude=leaders", 503,
			"[-]leader failed: no leader\n[+]feed ok\n[+]log ok\nwarn: no check \"leaders\" to exclude\nreadyz check failed\n"},
		{"not alive", nil, nil, errors.New("corrupt"), "/livez", 503, "[-]log failed: corrupt\nlivez check failed\n"},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			leader, lag, disk = s.leader, s.lag, s.disk
			if code, body := get(t, h, s.path); code != s.code || body != s.body {
				t.Errorf("got %d %q, want %d %q", code, body, s.code, s.body)
			}
		})
	}
}

// A check that hangs must not hang the page past its deadline: it ends with its context.
func TestHungCheckFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := Handler(prometheus.NewRegistry(), []Check{{Name: "disk", Run: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}})
	cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "[-]disk failed") {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

func TestMetricsAndProfiles(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_test_things_total", Help: "Things."})
	reg.MustRegister(c)
	c.Add(3)
	h := Handler(reg, nil)
	if code, body := get(t, h, "/metrics"); code != 200 || !strings.Contains(body, "parley_test_things_total 3") {
		t.Errorf("metrics: %d %q", code, body)
	}
	if code, body := get(t, h, "/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("pprof: %d %.80q", code, body)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/readyz", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /readyz: %d", w.Code)
	}
}
