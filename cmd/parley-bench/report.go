package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
)

// figure is one line of the result. Value and baseline are medians over the rounds; the ratio is the median of the
// rounds' own ratios, with the least and the greatest beside it.
type figure struct {
	Bench    string  `json:"bench"`
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"`
	Against  string  `json:"against"`
	Ratio    float64 `json:"ratio"`
	RatioMin float64 `json:"ratio_min"`
	RatioMax float64 `json:"ratio_max"`
	Rounds   int     `json:"rounds"`
	Target   string  `json:"target,omitempty"`
	Met      *bool   `json:"met,omitempty"`
	Note     string  `json:"note,omitempty"`
}

// target is what the figure should reach.
type target struct {
	on    string // "ratio" or "value"
	least bool   // at least, else at most
	than  float64
}

func atLeast(on string, v float64) *target { return &target{on, true, v} }
func atMost(on string, v float64) *target  { return &target{on, false, v} }

// series are the rounds of one comparison.
type series struct {
	value, baseline []float64
	inverse         bool // the ratio is baseline through value: for costs that should be low, told as "% of"
}

func (s *series) add(value, baseline float64) {
	s.value, s.baseline = append(s.value, value), append(s.baseline, baseline)
}

type report struct {
	*options
	bench   string
	figures []figure
	notes   []string
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
	r.progress("note: "+format, args...)
}

// add makes a figure of a series and prints it.
func (r *report) add(name, unit, against string, s series, t *target, note string) error {
	if len(s.value) == 0 {
		return fmt.Errorf("%s: nothing was measured", name)
	}
	var ratios []float64
	for i, v := range s.value {
		q := v / s.baseline[i]
		if s.inverse {
			q = s.baseline[i] / v
		}
		if math.IsNaN(q) || math.IsInf(q, 0) {
			return fmt.Errorf("%s: round %d measured %v against %v: too short a round", name, i+1, v, s.baseline[i])
		}
		ratios = append(ratios, q)
	}
	f := figure{Bench: r.bench, Name: name, Value: median(s.value), Unit: unit, Baseline: median(s.baseline), Against: against,
		Ratio: median(ratios), RatioMin: slices.Min(ratios), RatioMax: slices.Max(ratios), Rounds: len(ratios), Note: note}
	if t != nil {
		v := f.Ratio
		if t.on == "value" {
			v = f.Value
		}
		sign, met := "≤", v <= t.than
		if t.least {
			sign, met = "≥", v >= t.than
		}
		f.Target, f.Met = fmt.Sprintf("%s %s %s", t.on, sign, number(t.than)), &met
	}
	r.figures = append(r.figures, f)
	if r.json {
		b, err := json.Marshal(f)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(r.out, "%s\n", b)
		return err
	}
	_, err := fmt.Fprintf(r.out, "%-8s %-44s %10s %-18s ratio %s to %s (%s)%s%s\n", f.Bench, f.Name, number(f.Value), f.Unit,
		f.ratio(), number(f.Baseline), f.Against, f.verdict(), prefixed("; ", f.Note))
	return err
}

func (f *figure) ratio() string {
	if f.Rounds == 1 {
		return number(f.Ratio)
	}
	return fmt.Sprintf("%s [%s..%s]", number(f.Ratio), number(f.RatioMin), number(f.RatioMax))
}

func (f *figure) verdict() string {
	switch {
	case f.Met == nil:
		return ""
	case *f.Met:
		return "; target " + f.Target + ": met"
	}
	return "; target " + f.Target + ": MISSED"
}

func prefixed(p, s string) string {
	if s == "" {
		return ""
	}
	return p + s
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	if n == 0 {
		return math.NaN()
	}
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// number prints three significant digits, and thousands as such.
func number(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v) && a < 1000:
		return fmt.Sprintf("%.0f", v)
	case a >= 100_000:
		return fmt.Sprintf("%.0f k", v/1000)
	case a >= 10_000:
		return fmt.Sprintf("%.1f k", v/1000)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.01:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// table is the result in Markdown.
func (r *report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s/%s, %d cores; %d rounds of each side, in turns; median, ratios as median [least..greatest].\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), r.rounds)
	b.WriteString("| | figure | measured | against | ratio | target | |\n|---|---|---|---|---|---|---|\n")
	for _, f := range r.figures {
		met := ""
		if f.Met != nil {
			if met = "missed"; *f.Met {
				met = "met"
			}
		}
		fmt.Fprintf(&b, "| %s | %s%s | %s %s | %s %s | %s | %s | %s |\n", f.Bench, f.Name, prefixed("; ", f.Note), number(f.Value), f.Unit,
			number(f.Baseline), f.Against, f.ratio(), f.Target, met)
	}
	for _, n := range r.notes {
		fmt.Fprintf(&b, "\nNote: %s.\n", n)
	}
	return b.String()
}

// finish writes the table into the document that was asked for.
func (r *report) finish() error {
	if r.write == "" {
		return nil
	}
	doc, err := os.ReadFile(r.write)
	if err != nil {
		return err
	}
	out, err := splice(string(doc), r.table())
	if err != nil {
		return fmt.Errorf("%s: %w", r.write, err)
	}
	tmp := r.write + ".tmp"
	if err := os.WriteFile(tmp, []byte(out), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, r.write)
}

// splice replaces what is between the markers.
func splice(doc, table string) (string, error) {
	begin, end := strings.Index(doc, beginMark), strings.Index(doc, endMark)
	if begin < 0 || end < begin {
		return "", errors.New("it has no markers " + beginMark + " and " + endMark)
	}
	return doc[:begin+len(beginMark)] + "\n" + table + doc[end:], nil
}
