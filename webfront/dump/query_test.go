package dump

import (
	"context"
	"errors"
	"strings"
	"testing"

	"parley/log/event"
)

// memory is a log of n posts by alice, offsets 1 to n, but for a pool_formed.
type memory struct {
	n       event.Offset
	grow    event.Offset // WaitFor makes it so long
	formed  event.Offset // offset of pool_formed; 0: the first
	missing event.Offset // reads return nothing from here on
}

func (m *memory) Read(from event.Offset, maxEvents int) (out []event.Envelope, err error) {
	for at := from; at <= m.n && len(out) < maxEvents && (m.missing == 0 || at < m.missing); at++ {
		e := event.Envelope{Offset: at, Meta: event.Meta{By: "sip:alice@d.test", Room: room}, Event: &event.Posted{MessageID: uint64(at)}}
		if at == max(m.formed, 1) {
			e.Event = &event.PoolFormed{Domain: "d.test"}
		}
		out = append(out, e)
	}
	return out, nil
}

func (m *memory) WaitFor(ctx context.Context, at event.Offset) error {
	if at > m.grow {
		return errors.New("waited past the end")
	}
	m.n = at
	return ctx.Err()
}

func run(m *memory, q Query) (n int, err error) {
	err = Run(context.Background(), m, m.n, q, func([]byte) error { n++; return nil })
	return n, err
}

func TestRunPages(t *testing.T) {
	for _, n := range []event.Offset{0, 1, pageEvents - 1, pageEvents, pageEvents + 1, 3*pageEvents + 7} {
		if got, err := run(&memory{n: n}, Query{}); err != nil || got != int(n) {
			t.Errorf("%d events: %d, %v", n, got, err)
		}
	}
	if got, err := run(&memory{n: 2000}, Query{From: 700, To: 1500}); err != nil || got != 801 {
		t.Errorf("700 to 1500: %d, %v", got, err)
	}
}

// The head was promised: a log that ends before it has lost events.
func TestRunMissesNothing(t *testing.T) {
	got, err := run(&memory{n: 1000, missing: 900}, Query{})
	if got != 899 || !errors.Is(err, event.ErrCorrupt) {
		t.Errorf("%d events, %v", got, err)
	}
}

func TestRunFollows(t *testing.T) {
	got, err := run(&memory{n: 10, grow: 15}, Query{From: 8, Follow: true})
	if got != 8 || err == nil || err.Error() != "waited past the end" { // 8 to 15
		t.Errorf("%d events, %v", got, err)
	}
	if _, err := run(&memory{n: 10}, Query{To: 5, Follow: true}); !errors.Is(err, ErrQuery) {
		t.Errorf("follow to 5: %v", err)
	}
}

func TestRunStopsWithEmit(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	err := Run(context.Background(), &memory{n: 100}, 100, Query{}, func([]byte) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Run(ctx, &memory{n: 100}, 100, Query{}, func([]byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestGUID(t *testing.T) {
	for s, want := range map[string]bool{
		string(room): true, "": false, "0AA0A000-0000-4000-8000-000000000001": false,
		"0aa0a000-0000-4000-8000-00000000000": false, "0aa0a000x0000-4000-8000-000000000001": false, "gaa0a000-0000-4000-8000-000000000001": false,
	} {
		if IsGUID(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// Nodes may start before the pool has formed: room URIs have their domain all the same, from the first line on.
func TestDomainIsFound(t *testing.T) {
	for _, formed := range []event.Offset{1, 2, 5} {
		err := Run(context.Background(), &memory{n: 9, formed: formed}, 9, Query{}, func(line []byte) error {
			if !strings.Contains(string(line), `"room":"ma-chan://d.test/`) {
				t.Errorf("formed at %d: %s", formed, line)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
