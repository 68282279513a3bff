package main

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"parley/log/event"
)

// progressLine is how often long work shows itself where there is no terminal.
const progressLine = 5 * time.Second

// progress shows how far long work has got: a bar on a terminal, a line every 5 s elsewhere, nothing with --quiet. It
// goes to stderr, so that output stays clean.
type progress struct {
	a    *app
	what string
	bar  *progressbar.ProgressBar
	next time.Time
	now  string // pass
}

func (a *app) progress(what string) *progress {
	return &progress{a: a, what: what, next: time.Now().Add(progressLine)}
}

func (p *progress) set(done, total event.Offset) { p.count(int64(done), int64(total), "events") }

// count shows how many of total are done; a total of 0 is not known.
func (p *progress) count(done, total int64, unit string) {
	switch {
	case p.a.quiet:
	case terminal(p.a.stderr):
		if p.bar == nil {
			if total == 0 {
				total = -1 // the bar turns
			}
			p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.a.stderr),
				progressbar.OptionSetDescription(p.what), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
		}
		_ = p.bar.Set64(done) // a bar that cannot be drawn is no reason to fail
	default:
		if now := time.Now(); now.After(p.next) {
			p.next = now.Add(progressLine)
			if total == 0 {
				fmt.Fprintf(p.a.stderr, "parley: %s: %d %s\n", p.what, done, unit)
				return
			}
			fmt.Fprintf(p.a.stderr, "parley: %s: %d of %d %s\n", p.what, done, total, unit)
		}
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// pass shows how many rows of a pass over a file are done; each pass has a bar of its own.
func (p *progress) pass(name string, done, rows int64) {
	if p.now != name && p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
	p.now = name
	p.count(done, rows, "rows, "+name)
}
