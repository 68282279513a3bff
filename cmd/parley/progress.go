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
}

func (a *app) progress(what string) *progress {
	return &progress{a: a, what: what, next: time.Now().Add(progressLine)}
}

func (p *progress) set(done, total event.Offset) {
	switch {
	case p.a.quiet:
	case terminal(p.a.stderr):
		if p.bar == nil {
			p.bar = progressbar.NewOptions64(int64(total), progressbar.OptionSetWriter(p.a.stderr),
				progressbar.OptionSetDescription(p.what), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
		}
		_ = p.bar.Set64(int64(done)) // a bar that cannot be drawn is no reason to fail
	default:
		if now := time.Now(); now.After(p.next) {
			p.next = now.Add(progressLine)
			fmt.Fprintf(p.a.stderr, "parley: %s: %d of %d events\n", p.what, done, total)
		}
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
