package projections_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
	"parley/projections"
	"parley/projections/projectionstest"
)

// tally is a projection with memory that would show it if an event were folded twice or left out: each event's row
// holds how many were folded before it.
type tally struct {
	version int
	prefix  byte // what its rows look like in this version

	reader  projections.Reader
	count   uint64
	refuse  event.Offset // an event it cannot fold
	twice   event.Offset // an event that came when another one was due
	loads   int
	loaded  event.Offset // where the last load was
	mu      sync.Mutex
	applied [][]event.Envelope
}

func newTally(version int) *tally { return &tally{version: version, prefix: byte('A' + version)} }

func (p *tally) Name() string { return "tally" }
func (p *tally) Version() int { return p.version }
func (p *tally) Fork() projections.Projection {
	return &tally{version: p.version, prefix: p.prefix}
}

func (p *tally) Load(r projections.Reader, at event.Offset) error {
	p.reader, p.count = r, 0
	p.loads++
	p.loaded = at
	row, ok, err := r.Get([]byte("count"))
	if err != nil {
		return err
	}
	if ok {
		if row[0] != p.prefix {
			return fmt.Errorf("row begins with %q, want %q", row[0], p.prefix)
		}
		p.count = binary.BigEndian.Uint64(row[1:])
	}
	if p.count != uint64(at) {
		return fmt.Errorf("%d events were folded at offset %d", p.count, at)
	}
	return nil
}

func (p *tally) Apply(w projections.Writer, e event.Envelope) error {
	if err := projections.Known(e); err != nil {
		return err
	}
	if e.Offset == p.refuse {
		return errors.New("refused by the test")
	}
	if uint64(e.Offset) != p.count+1 && p.twice == 0 {
		p.twice = e.Offset
	}
	row := binary.BigEndian.AppendUint64([]byte{p.prefix}, p.count)
	if err := w.Set(binary.BigEndian.AppendUint64([]byte("e"), uint64(e.Offset)), append(row, e.By...)); err != nil {
		return err
	}
	p.count++
	return w.Set([]byte("count"), binary.BigEndian.AppendUint64([]byte{p.prefix}, p.count))
}

func (p *tally) Applied(run []event.Envelope) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = append(p.applied, run)
}

// runs returns the lengths of the runs that were observed.
func (p *tally) runs() (lengths []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.applied {
		lengths = append(lengths, len(r))
	}
	return lengths
}

// rows returns all rows as text.
func (p *tally) rows(t testing.TB) string {
	t.Helper()
	return dump(t, p.reader)
}

func dump(t testing.TB, r projections.Reader) string {
	t.Helper()
	var b strings.Builder
	if err := r.Scan(nil, nil, func(k, v []byte) bool {
		fmt.Fprintf(&b, "%x=%x\n", k, v)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// want returns the rows of version after the first n events of l.
func want(t testing.TB, l *projectionstest.Log, version int, n event.Offset) string {
	t.Helper()
	var b strings.Builder
	prefix := byte('A' + version)
	fmt.Fprintf(&b, "%x=%x\n", "count", binary.BigEndian.AppendUint64([]byte{prefix}, uint64(n)))
	for o := event.Offset(1); o <= n; {
		run, err := l.Read(o, 500)
		if err != nil || len(run) == 0 {
			t.Fatalf("read %d: %v", o, err)
		}
		for _, e := range run {
			if o = e.Offset + 1; e.Offset <= n {
				fmt.Fprintf(&b, "%x=%x\n", binary.BigEndian.AppendUint64([]byte("e"), uint64(e.Offset)),
					append(binary.BigEndian.AppendUint64([]byte{prefix}, uint64(e.Offset)-1), e.By...))
			}
		}
	}
	return b.String()
}

func openStore(t testing.TB, fs vfs.FS, o projections.Options) *projections.Store {
	t.Helper()
	o.FS = fs
	if o.CacheBytes == 0 {
		o.CacheBytes = 1 << 20
	}
	s, err := projections.OpenStore("views", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func run(t testing.TB, s *projections.Store, src projections.Source, p projections.Projection) *projections.Runner {
	t.Helper()
	r, err := s.Run(context.Background(), src, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func posts(n int) (out []event.Draft) {
	for i := range n {
		out = append(out, event.Draft{Meta: event.Meta{By: event.Principal(fmt.Sprintf("sip:u%d@x", i)), Room: "r"},
			Event: &event.Posted{MessageID: 1, Text: "x"}})
	}
	return out
}

// keys counts the keys of a store that is closed.
func keys(t *testing.T, fs vfs.FS) (n int) {
	t.Helper()
	db, err := pebble.Open("views", &pebble.Options{FS: fs, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, args ...any) {
	panic(fmt.Sprintf(f, args...))
}

// head limits a log, so that a test decides how far a projection gets.
type limited struct {
	*projectionstest.Log
	limit event.Offset
}

func (l *limited) Read(from event.Offset, n int) ([]event.Envelope, error) {
	if from > l.limit {
		return nil, errLimit
	}
	run, err := l.Log.Read(from, n)
	for len(run) > 0 && run[len(run)-1].Offset > l.limit {
		run = run[:len(run)-1]
	}
	return run, err
}

var errLimit = errors.New("as far as the test lets it")

// newer is a log with an event of a kind that this version does not know.
type newer struct {
	*projectionstest.Log
	unknown event.Offset
}

func (n *newer) Read(from event.Offset, max int) ([]event.Envelope, error) {
	run, err := n.Log.Read(from, max)
	run = slices.Clone(run) // the log's own is shared
	for i := range run {
		if run[i].Offset == n.unknown {
			run[i].Event = &event.Unknown{Type: 999}
		}
	}
	return run, err
}

func metrics(t *testing.T, cs ...prometheus.Collector) string {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(cs...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.Metric {
			out = append(out, fmt.Sprintf("%s{%s} %v", f.GetName(), m.Label[0].GetValue(), m.Gauge.GetValue()))
		}
	}
	return strings.Join(out, ", ")
}
