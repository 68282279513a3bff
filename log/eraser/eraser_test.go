package eraser

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/log"
	"parley/log/event"
)

// fake is a log whose head is moved by the test.
type fake struct {
	mu     sync.Mutex
	head   chan struct{} // closed and replaced when it moves
	offset event.Offset
	limit  event.Offset
	erased event.Offset
	calls  []event.Offset
	purged []string
	err    error
}

// set changes the fake.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.head)
	f.head = make(chan struct{})
}

func (f *fake) Head() log.Head {
	f.mu.Lock()
	defer f.mu.Unlock()
	return log.Head{Offset: f.offset}
}

func (f *fake) Erased() event.Offset {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.erased
}

func (f *fake) Limit() event.Offset {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.limit
}

func (f *fake) purge(what string, to event.Offset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.purged = append(f.purged, fmt.Sprint(what, to))
	return nil
}

func (f *fake) WaitFor(ctx context.Context, o event.Offset) error {
	for {
		f.mu.Lock()
		at, head := f.offset, f.head
		f.mu.Unlock()
		if at >= o {
			return nil
		}
		select {
		case <-head:
		case <-ctx.Done():
			return fmt.Errorf("wait: %w", ctx.Err())
		}
	}
}

func (f *fake) Erase(ctx context.Context, to event.Offset, also ...func(context.Context) error) (int, error) {
	for _, a := range also {
		if err := a(ctx); err != nil {
			return 0, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, to)
	if f.err != nil {
		return 0, f.err
	}
	f.erased = to
	return 1, nil
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{head: make(chan struct{}), limit: 100}
		ctx, cancel := context.WithCancel(t.Context())
		end := make(chan error, 1)
		go func() {
			end <- Run(ctx, Config{Log: f, Limit: f.Limit, Copies: []func(context.Context, event.Offset) error{
				func(_ context.Context, to event.Offset) error { return f.purge("views", to) },
				func(_ context.Context, to event.Offset) error { return f.purge("index", to) },
			}})
		}()
		expect := func(what string, want ...event.Offset) {
			t.Helper()
			synctest.Wait()
			f.mu.Lock()
			defer f.mu.Unlock()
			if fmt.Sprint(f.calls) != fmt.Sprint(want) {
				t.Fatalf("%s: erased up to %v, want %v", what, f.calls, want)
			}
		}
		time.Sleep(time.Hour)
		expect("an empty log")
		f.set(func() { f.offset = 3 })
		time.Sleep(DefaultGather / 2)
		f.set(func() { f.offset = 5 })
		expect("gathering")
		time.Sleep(DefaultGather)
		expect("gathered", 5)
		f.set(func() { f.limit, f.offset = 5, 9 })
		time.Sleep(10 * DefaultGather)
		expect("an archive is behind", 5)
		f.set(func() { f.limit = 7 })
		time.Sleep(DefaultGather)
		expect("the archive has caught up a little", 5, 7)
		f.set(func() { f.limit = 100 })
		time.Sleep(DefaultGather)
		expect("the archive has caught up", 5, 7, 9)
		cancel()
		if err := <-end; err != nil {
			t.Errorf("cancelled: %v", err)
		}
		if want := "[views5 index5 views7 index7 views9 index9]"; fmt.Sprint(f.purged) != want {
			t.Errorf("copies were purged %v, want %s", f.purged, want)
		}

		f.set(func() { f.err, f.offset = log.ErrRemoval, 10 })
		if err := Run(t.Context(), Config{Log: f, Gather: time.Second}); !errors.Is(err, log.ErrRemoval) {
			t.Errorf("a broken removal: %v", err)
		}
		f.set(func() { f.err = log.ErrClosed })
		if err := Run(t.Context(), Config{Log: f}); err != nil {
			t.Errorf("closed: %v", err)
		}
	})
}
