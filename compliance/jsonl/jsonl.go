// Package jsonl writes compliance files of JSON Lines: one event a line, every kind, nothing left out but secrets. It is
// the form for machines, and the only one that loses nothing. render.AppendLine says what a line holds.
package jsonl

import (
	"context"
	"iter"

	"parley/compliance"
	"parley/compliance/render"
	"parley/log/event"
)

// Name is what the adapter is called in a configuration.
const Name = "jsonl"

// Kind describes the adapter. Options: dir, the directory of the files.
var Kind = compliance.Kind{Name: Name, Targets: []string{"dir"}, New: func(env compliance.Env, o *compliance.Options) (compliance.Adapter, error) {
	dir := o.Dir(env)
	return New(dir, env.FS, env.Node), o.Err()
}}

// Adapter is a compliance.Adapter.
type Adapter struct{ archive *compliance.Archive }

// New returns the adapter. fs may be nil: the operating system's.
func New(dir string, fs compliance.FS, node event.NodeID) *Adapter {
	return &Adapter{compliance.NewArchive(fs, dir, node)}
}

// Name implements compliance.Adapter.
func (a *Adapter) Name() string { return Name }

// Tidy implements compliance.Tidier.
func (a *Adapter) Tidy(feed string) error { return a.archive.Tidy(feed) }

// Deliver implements compliance.Adapter. It writes while it reads: its memory does not depend on the cut.
func (a *Adapter) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	return a.archive.Stream(ctx, cut, "jsonl", "", run, func(b []byte, e event.Envelope) ([]byte, error) {
		return render.AppendLine(b, cut, e)
	})
}
