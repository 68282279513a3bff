package snapshots

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
)

// past is a log of users, and the state after each of its events.
type past struct {
	states []*chat.State // at offset i+1
}

func newPast(t *testing.T, n int, text string) *past {
	t.Helper()
	p := &past{}
	s := chat.NewStateToRead()
	for i := range n {
		ev := event.Event(&event.UserCreated{User: event.Principal(fmt.Sprintf("sip:u%d@contoso.test", i)), Info: event.UserInfo{DisplayName: text, Enabled: true}})
		if i == 0 {
			ev = &event.PoolFormed{Domain: "contoso.test", PoolURI: "sip:parley@contoso.test"}
		}
		b := event.Batch{Base: s.Offset() + 1, At: event.Time(i + 1), Prev: s.Chain(), Events: []event.Draft{{Meta: event.Meta{By: "admin:test"}, Event: ev}}}
		data, _, err := b.Seal()
		if err != nil {
			t.Fatal(err)
		}
		head, bodies, err := event.Split(data)
		if err != nil {
			t.Fatal(err)
		}
		e, err := event.ParseEntry(head, bodies)
		if err != nil {
			t.Fatal(err)
		}
		run, err := e.Envelopes(event.Index(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range run {
			if err := s.Fold(v, nil); err != nil {
				t.Fatal(err)
			}
		}
		p.states = append(p.states, s.Clone())
	}
	return p
}

func (p *past) at(o event.Offset) *chat.State { return p.states[o-1] }

func (p *past) chain(o event.Offset) (event.Chain, error) { return p.at(o).Chain(), nil }

func (p *past) open(t *testing.T, dir string, keep ...event.Offset) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Version: 1, Every: 10, Chain: p.chain, Keep: func() []event.Offset { return keep }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// found checks that what serves at an offset is the state at another.
func (p *past) found(t *testing.T, s *Store, at, want event.Offset) {
	t.Helper()
	got, err := s.Before(t.Context(), at)
	switch {
	case err != nil:
		t.Fatal(err)
	case want == 0 && got != nil:
		t.Fatalf("at %d: the state at %d", at, got.Offset())
	case want != 0 && (got == nil || got.Offset() != want || got.Hash() != p.at(want).Hash()):
		t.Fatalf("at %d: not the state at %d", at, want)
	}
}

func TestBefore(t *testing.T) {
	p, dir := newPast(t, 60, "a"), t.TempDir()
	s := p.open(t, dir)
	p.found(t, s, 60, 0)
	for _, o := range []event.Offset{10, 25, 40} {
		if err := s.Take(p.at(o)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for at, want := range map[event.Offset]event.Offset{0: 0, 9: 0, 10: 10, 24: 10, 25: 25, 39: 25, 40: 40, 60: 40} {
			p.found(t, s, at, want)
		}
		if err := os.WriteFile(filepath.Join(dir, "state-00000000000000000050.tmp"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		s = p.open(t, dir) // after a restart
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Error(left)
	}
	// What was loaded belongs to the caller.
	mine, err := s.Before(t.Context(), 40)
	if err != nil {
		t.Fatal(err)
	}
	if err := mine.Fold(event.Envelope{Offset: 41, At: 41, Event: &event.UserRemoved{User: "sip:u5@contoso.test"}}, nil); err != nil {
		t.Fatal(err)
	}
	p.found(t, s, 40, 40)
}

// TestRun: a snapshot is made when it is due, and those that nobody needs go.
func TestRun(t *testing.T) {
	p, dir := newPast(t, 200, "a"), t.TempDir()
	s := p.open(t, dir, 35, 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	for o := event.Offset(1); o <= 200; o++ {
		before := s.due()
		s.Offer(p.at(o))
		for o >= before && s.due() == before { // the test offers faster than disks write
			s.Offer(p.at(o))
		}
	}
	cancel()
	<-done
	s = p.open(t, dir)
	s.mu.Lock()
	have := fmt.Sprint(s.have)
	s.mu.Unlock()
	if have != "[30 170 180 190 200]" {
		t.Error(have)
	}
	p.found(t, s, 35, 30)
	p.found(t, s, 169, 30)
}

// TestDamaged: a file with any bit altered, or cut anywhere, is never loaded, and the one before it serves.
func TestDamaged(t *testing.T) {
	p, dir := newPast(t, 6, "a"), t.TempDir()
	s := p.open(t, dir)
	if err := s.Take(p.at(2)); err != nil {
		t.Fatal(err)
	}
	if err := s.Take(p.at(4)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name(4))
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	with := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := p.open(t, dir)
		p.found(t, s, 5, 2)
		if _, err := os.Stat(file); err == nil {
			t.Fatal("it is still there")
		}
	}
	for n := 0; n < len(whole); n += 4 {
		b := bytes.Clone(whole)
		b[n] ^= 1 << rand.IntN(8)
		with(b)
		with(whole[:n])
	}
	with(append(bytes.Clone(whole), 0))
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	p.found(t, p.open(t, dir), 5, 4)
	// Of another version of the rows, of another log, or of another event.
	other, err := Open(Options{Dir: dir, Version: 2, Chain: p.chain})
	if err != nil {
		t.Fatal(err)
	}
	p.found(t, other, 5, 0)
	q := newPast(t, 6, "b")
	for _, o := range []event.Offset{2, 4} {
		if err := p.open(t, dir).Take(p.at(o)); err != nil {
			t.Fatal(err)
		}
	}
	q.found(t, q.open(t, dir), 5, 0)
	if err := os.WriteFile(filepath.Join(dir, name(5)), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	p.found(t, p.open(t, dir), 5, 0)
}
