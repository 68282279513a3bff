// Package external hands cuts to a program of somebody else's, so that no one has to write Go to archive somewhere new. The
// protocol, which docs/compliance.md describes for its readers, is JSON Lines in both directions:
//
//	to stdin    {"cut":{"feed":"f","first":1,"last":9,"name":"f-…"}}
//	            one line for each event, as the adapter jsonl writes them
//	            {"end":{"events":9,"bytes":1234,"sha256":"…"}}       then end of file
//	from stdout {"receipt":{"first":1,"last":9,"events":9,"name":"…","bytes":1234,"sha256":"…"}}
//
// One process serves one cut. It counts only when the program has exited with 0 and its one line of output repeats first,
// last and events: a program that has not seen the end line has not seen the cut, whatever it says. name, bytes and sha256
// say what it made durable; the pool keeps them. Whatever else happens, the same cut comes again, on this node or another,
// and the program must recognise it by feed, first and last: it is exactly once if the program is.
package external

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"strings"
	"time"

	"parley/compliance"
	"parley/compliance/render"
	"parley/log/event"
)

// Name is what the adapter is called in a configuration.
const Name = "external"

// Kind describes the adapter. Option: program, the name of a command line in the node's configuration (programs). It is not
// in the log, because whoever may set a feed must not be able to run what he likes on every node.
var Kind = compliance.Kind{Name: Name, New: func(env compliance.Env, o *compliance.Options) (compliance.Adapter, error) {
	name := o.Need("program")
	if err := o.Err(); err != nil {
		return nil, err
	}
	if env.Dir != "" {
		return nil, fmt.Errorf("program %s: %w", name, compliance.ErrNoReplay)
	}
	if env.Program == nil {
		return nil, fmt.Errorf("no program %q in this node's configuration", name)
	}
	command, err := env.Program(name)
	if err != nil {
		return nil, err
	}
	return New(command), nil
}}

// Adapter is a compliance.Adapter.
type Adapter struct{ command []string }

// New returns the adapter: a program and its arguments.
func New(command []string) *Adapter { return &Adapter{command} }

// Name implements compliance.Adapter.
func (a *Adapter) Name() string { return Name }

const (
	buffered   = 64 << 10
	maxAnswer  = 64 << 10 // bytes of stdout
	maxStderr  = 4 << 10  // bytes of stderr that are kept for the error
	afterwards = 10 * time.Second
)

type answer struct {
	Receipt *struct {
		First  event.Offset `json:"first"`
		Last   event.Offset `json:"last"`
		Events uint64       `json:"events"`
		Name   string       `json:"name"`
		Bytes  uint64       `json:"bytes"`
		SHA256 string       `json:"sha256"`
	} `json:"receipt"`
}

// Deliver implements compliance.Adapter.
func (a *Adapter) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	if len(a.command) == 0 {
		return compliance.Receipt{}, errors.New("the program's command line is empty")
	}
	// Its own context: when the run breaks off the program must not see an end of file and take that for the cut's end.
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	cmd := exec.CommandContext(ctx, a.command[0], a.command[1:]...)
	cmd.WaitDelay = afterwards // a child of the program may hold the pipes open
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return compliance.Receipt{}, err
	}
	stdout, stderr := &limited{most: maxAnswer}, &limited{most: maxStderr}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		return compliance.Receipt{}, fmt.Errorf("start %s: %w", a.command[0], err)
	}
	events, fed := feed(ctx, stdin, cut, run)
	if fed != nil && !errors.Is(fed, errWrite) {
		kill()
	}
	if fed == nil || errors.Is(fed, errWrite) {
		_ = stdin.Close() // a program that has gone says why when it is waited for
	}
	ended := cmd.Wait()
	switch {
	case fed != nil && !errors.Is(fed, errWrite):
		return compliance.Receipt{}, fed
	case ctx.Err() != nil:
		return compliance.Receipt{}, ctx.Err()
	case ended != nil:
		return compliance.Receipt{}, fmt.Errorf("%s: %w%s", a.command[0], ended, stderr.tail())
	case fed != nil:
		return compliance.Receipt{}, fmt.Errorf("%s stopped reading: %w%s", a.command[0], fed, stderr.tail())
	}
	r, err := receipt(stdout, cut, events)
	if err != nil {
		return compliance.Receipt{}, fmt.Errorf("%s: %w%s", a.command[0], err, stderr.tail())
	}
	return r, nil
}

var errWrite = errors.New("write to the program")

// feed writes the cut to the program. errWrite says that it does not read any more; any other error is the run's.
func feed(ctx context.Context, w io.Writer, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (events uint64, err error) {
	head := map[string]any{"feed": cut.Feed, "first": cut.First, "last": cut.Last, "name": strings.TrimSuffix(cut.FileName(""), ".")}
	if err := put(w, map[string]any{"cut": head}); err != nil {
		return 0, err
	}
	h, size := sha256.New(), 0
	var b []byte
	flush := func() error {
		h.Write(b)
		size += len(b)
		_, err := w.Write(b)
		if b = b[:0]; err != nil {
			return fmt.Errorf("%w: %w", errWrite, err)
		}
		return nil
	}
	for e, err := range run {
		if err != nil {
			return 0, err
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		before := len(b)
		if b, err = render.AppendLine(b, cut, e); err != nil {
			return 0, err
		}
		events += uint64(bytes.Count(b[before:], []byte{'\n'}))
		if len(b) >= buffered {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	if err := flush(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return events, put(w, map[string]any{"end": map[string]any{"events": events, "bytes": size, "sha256": hex.EncodeToString(h.Sum(nil))}})
}

func put(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

func receipt(out *limited, cut compliance.Cut, events uint64) (compliance.Receipt, error) {
	if out.over {
		return compliance.Receipt{}, fmt.Errorf("its answer is longer than %d bytes", maxAnswer)
	}
	d := json.NewDecoder(bytes.NewReader(out.kept))
	d.DisallowUnknownFields()
	var a answer
	if err := d.Decode(&a); err != nil || a.Receipt == nil {
		return compliance.Receipt{}, fmt.Errorf("no receipt on its output: %w", errors.Join(err, errNone))
	}
	if _, err := d.Token(); err != io.EOF {
		return compliance.Receipt{}, errors.New("more than a receipt on its output")
	}
	r := a.Receipt
	if r.First != cut.First || r.Last != cut.Last || r.Events != events {
		return compliance.Receipt{}, fmt.Errorf("its receipt is for %d lines of %d to %d, and it got %d lines of %d to %d", r.Events, r.First, r.Last, events, cut.First, cut.Last)
	}
	if r.Name == "" {
		if r.Bytes != 0 || r.SHA256 != "" {
			return compliance.Receipt{}, errors.New("its receipt has bytes or a hash, and no name")
		}
		return compliance.Receipt{}, nil
	}
	sum, err := hex.DecodeString(r.SHA256)
	if err != nil || len(sum) != sha256.Size {
		return compliance.Receipt{}, fmt.Errorf("its receipt has sha256 %q, want 64 digits in hex", r.SHA256)
	}
	return compliance.Receipt{Name: r.Name, Bytes: r.Bytes, SHA256: [sha256.Size]byte(sum)}, nil
}

var errNone = errors.New(`want one line {"receipt":{…}}`)

// limited keeps the first bytes that are written to it.
type limited struct {
	most int
	kept []byte
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.most-len(l.kept))
	l.kept = append(l.kept, p[:n]...)
	l.over = l.over || n < len(p)
	return len(p), nil
}

// tail is what a program said on stderr, for an error.
func (l *limited) tail() string {
	if s := strings.Join(strings.Fields(string(l.kept)), " "); s != "" {
		return ": " + strings.ToValidUTF8(s, "?")
	}
	return ""
}
