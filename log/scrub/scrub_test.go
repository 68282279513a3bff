package scrub_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/log"
	"parley/log/event"
	"parley/log/scrub"
)

// fake is a log that notes what is verified.
type fake struct {
	mu    sync.Mutex
	head  event.Offset
	read  []event.Offset // ends
	rot   event.Offset   // event that is damaged
	ended error
}

func (f *fake) Head() log.Head {
	f.mu.Lock()
	defer f.mu.Unlock()
	return log.Head{Offset: f.head}
}

// verified returns the ends of what was verified.
func (f *fake) verified() []event.Offset {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.read)
}

func (f *fake) Verify(_ context.Context, from, to event.Offset, _ func(done, total event.Offset)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended != nil {
		return f.ended
	}
	if last := len(f.read) - 1; from != 1 && (last < 0 || f.read[last] != from-1) {
		return errors.New("a gap")
	}
	f.read = append(f.read, to)
	if from <= f.rot && f.rot <= to {
		return event.ErrCorrupt
	}
	return nil
}

// TestPasses: the whole log is read once in every span of time, what was added meanwhile in the next one, without haste.
func TestPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{head: 10000}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- scrub.Run(ctx, scrub.Config{Log: f, Every: time.Hour}) }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := f.verified(); len(got) != 0 {
			t.Errorf("read %v at once", got)
		}
		time.Sleep(51 * time.Minute)
		synctest.Wait()
		if got := f.verified(); len(got) != 3 || got[2] != 10000 {
			t.Errorf("read %v in an hour", got)
		}
		f.mu.Lock()
		f.head = 10001
		f.mu.Unlock()
		time.Sleep(2 * time.Hour) // the second pass had begun
		synctest.Wait()
		if got := f.verified(); len(got) != 9 || got[5] != 10000 || got[8] != 10001 {
			t.Errorf("read %v in three hours", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestDamage ends it, a closed log too, but that is no error. An empty log is no reason to spin.
func TestDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := scrub.Run(t.Context(), scrub.Config{Log: &fake{head: 5000, rot: 4500}, Every: time.Hour}); !errors.Is(err, event.ErrCorrupt) {
			t.Error(err)
		}
		if err := scrub.Run(t.Context(), scrub.Config{Log: &fake{head: 1, ended: log.ErrClosed}, Every: time.Hour}); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		defer cancel()
		if err := scrub.Run(ctx, scrub.Config{Log: &fake{}, Every: time.Hour}); err != nil {
			t.Error(err)
		}
		if err := scrub.Run(ctx, scrub.Config{Log: &fake{}}); err == nil {
			t.Error("a pass takes no time")
		}
	})
}
