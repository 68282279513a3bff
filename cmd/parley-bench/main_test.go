package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/log/event"
)

// TestMain lets the test binary be the child that the benches start.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(childMain())
	}
	os.Exit(m.Run())
}

// tiny are sizes that show that it works, and nothing about what it costs.
func tiny(t *testing.T, out io.Writer) *options {
	return &options{rounds: 1, restarts: 1, period: 100 * time.Millisecond, members: 5, posts: 20, events: 600, storm: 5, idle: 10, readers: 5, stream: 600, audited: 20_000, scale: 40,
		dir: t.TempDir(), json: true, out: out, log: testLog{t}}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// TestBenches runs every bench for real: servers, processes, clients.
func TestBenches(t *testing.T) {
	want := map[string]int{"commit": 7, "fanout": 4, "rejoin": 4, "memory": 1, "stall": 5, "compliance": 14}
	for _, b := range benches {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel() // they wait for elections, mostly
			var out bytes.Buffer
			o := tiny(t, &out)
			if err := o.measure(t.Context(), []bench{b}); err != nil {
				t.Fatal(err)
			}
			n := 0
			for dec := json.NewDecoder(&out); ; n++ {
				var f figure
				if err := dec.Decode(&f); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if f.Bench != b.name || f.Name == "" || f.Unit == "" || f.Against == "" || f.Rounds != 1 {
					t.Errorf("incomplete: %+v", f)
				}
				// Memory of ten clients may drown in what the process does otherwise; everything else is above nothing.
				if math.IsNaN(f.Ratio) || b.name != "memory" && (f.Value <= 0 || f.Baseline <= 0 || f.Ratio <= 0) {
					t.Errorf("not a measurement: %+v", f)
				}
				// What stalled clients and their history come to does not depend on sizes.
				if b.name == "stall" && strings.HasPrefix(f.Target, "ratio ≥") && !*f.Met {
					t.Errorf("missed: %+v", f)
				}
			}
			if n != want[b.name] {
				t.Errorf("%d figures, want %d", n, want[b.name])
			}
			if left, err := os.ReadDir(o.dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"everything"}, {"commit", "fanout"}, {"commit", "--nonsense"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != exitUsage || errs.Len() == 0 || out.Len() > 0 {
			t.Errorf("%v: exit %d, stderr %q, stdout %q", args, code, errs.String(), out.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"memory", "--write", filepath.Join(t.TempDir(), "absent.md")}, &out, &errs); code != exitFailed || out.Len() > 0 {
		t.Errorf("a document that is not there: exit %d, %q", code, errs.String())
	}
}

// TestCancelled: an interrupted bench ends soon, says so, and leaves nothing behind.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	o := tiny(t, io.Discard)
	o.period = time.Hour
	time.AfterFunc(time.Second, cancel)
	if err := o.measure(ctx, benches[:1]); err == nil {
		t.Error("an interrupted bench reported success")
	}
	if left, err := os.ReadDir(o.dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestChildEndsWithItsParent: a child whose input ends goes away by itself.
func TestChildEndsWithItsParent(t *testing.T) {
	p, err := spawn(t.Context(), childConfig{}, testLog{t})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := p.usage(); err != nil || a.CPU <= 0 || a.Mallocs == 0 {
		t.Errorf("usage: %+v, %v", a, err)
	}
	if _, err := p.do(order{Do: "nonsense"}); err == nil {
		t.Error("an unknown order was obeyed")
	}
	done := make(chan error, 1)
	go func() { done <- p.stop() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		p.kill()
		t.Error("the child outlives its input")
	}
}

func TestReport(t *testing.T) {
	doc := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(doc, []byte("# Title\n"+beginMark+"\nold\n"+endMark+"\ntail\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r := &report{options: &options{out: &out, log: io.Discard, write: doc, rounds: 3}, bench: "b"}
	s := series{}
	for _, v := range []float64{30, 10, 20} {
		s.add(v, 10)
	}
	if err := r.add("plain", "ms", "ms", s, atMost("value", 15), ""); err != nil {
		t.Fatal(err)
	}
	s.inverse = true
	if err := r.add("inverse", "us", "us", s, atLeast("ratio", 0.5), "a note"); err != nil {
		t.Fatal(err)
	}
	plain, inverse := r.figures[0], r.figures[1]
	if plain.Value != 20 || plain.Ratio != 2 || plain.RatioMin != 1 || plain.RatioMax != 3 || *plain.Met {
		t.Errorf("plain: %+v", plain)
	}
	if inverse.Ratio != 0.5 || !*inverse.Met {
		t.Errorf("inverse: %+v", inverse)
	}
	if err := r.add("nothing", "", "", series{value: []float64{1}, baseline: []float64{0}}, nil, ""); err == nil {
		t.Error("a ratio to nothing was reported")
	}
	if !strings.Contains(out.String(), "target value ≤ 15: MISSED") || !strings.Contains(out.String(), "ratio 2 [1..3] to 10") {
		t.Errorf("printed:\n%s", out.String())
	}
	r.note("beware")
	for range 2 { // again: the markers stay
		if err := r.finish(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Title\n", "| b | plain | 20 ms | 10 ms | 2 [1..3] | value ≤ 15 | missed |", "| b | inverse; a note |",
		"Note: beware.", endMark + "\ntail\n"} {
		if strings.Count(string(got), want) != 1 {
			t.Errorf("document lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(string(got), "old") {
		t.Error("the old table is still there")
	}
	if _, err := splice("no markers", "x"); err == nil {
		t.Error("a document without markers was changed")
	}
}

func TestMedian(t *testing.T) {
	for want, in := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		if got := median(in); got != want {
			t.Errorf("median of %v is %v, want %v", in, got, want)
		}
	}
	if d := percentile([]time.Duration{4, 1, 3, 2}, 50); d != 3 {
		t.Errorf("p50 is %d", d)
	}
}

// TestRecordSize: what is committed is as large as what the baseline writes, and does not repeat itself.
func TestRecordSize(t *testing.T) {
	seen := map[string]bool{}
	for _, text := range postTexts() {
		d := event.Draft{Meta: event.Meta{By: userURI(100), Room: roomID(1), Node: "n1", Command: event.CommandID{1}},
			Event: &event.Posted{Endpoint: "bench", MessageID: 1 << 20, Text: text}}
		if n, err := d.Size(); err != nil || n != recordBytes {
			t.Fatalf("a post has %d bytes, want %d: %v", n, recordBytes, err)
		}
		seen[text[:80]] = true
	}
	if len(seen) < 1000 {
		t.Errorf("only %d different texts", len(seen))
	}
}
