package scrub_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log"
	"parley/log/event"
	"parley/log/scrub"
)

// fake is a log that notes what is verified, an event in each entry.
type fake struct {
	mu    sync.Mutex
	head  event.Index
	read  []event.Index // ends of parts
	rot   event.Index   // entry that is damaged
	ended error
}

func (f *fake) Head() log.Head {
	f.mu.Lock()
	defer f.mu.Unlock()
	return log.Head{Index: f.head, Offset: event.Offset(f.head)}
}

// parts returns the ends of what was verified.
func (f *fake) parts() []event.Index {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.read)
}

func (f *fake) grow(to event.Index) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head = to
}

func (f *fake) Scrub(ctx context.Context, pause func(context.Context) error, progress func(done, total event.Offset)) (log.Verified, error) {
	for done := event.Index(0); ; {
		if err := pause(ctx); err != nil {
			return log.Verified{}, err
		}
		f.mu.Lock()
		from := done
		done = min(done+log.VerifyRun, f.head)
		f.read = append(f.read, done)
		head, rot, ended := f.head, f.rot, f.ended
		f.mu.Unlock()
		progress(event.Offset(done), event.Offset(head))
		switch {
		case ended != nil:
			return log.Verified{}, ended
		case from < rot && rot <= done:
			return log.Verified{}, event.ErrCorrupt
		case done == head:
			return log.Verified{}, nil
		}
	}
}

// TestPasses: the whole log is read once in every span of time, what was added meanwhile too, without haste.
func TestPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{head: 10000}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- scrub.Run(ctx, scrub.Config{Log: f, Every: time.Hour}) }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := f.parts(); len(got) != 0 {
			t.Errorf("read %v at once", got)
		}
		time.Sleep(51 * time.Minute)
		synctest.Wait()
		if got := f.parts(); !slices.Equal(got, []event.Index{4096, 8192, 10000}) {
			t.Errorf("read %v in an hour", got)
		}
		f.grow(30000) // in the middle of the second pass, which still takes an hour
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := f.parts(); len(got) != 3+8 || got[10] != 30000 {
			t.Errorf("read %v in two hours", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestGrows: a log that grows faster than it is read at leisure is read to its end all the same.
func TestGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{head: 10}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- scrub.Run(ctx, scrub.Config{Log: f, Every: time.Hour}) }()
		time.Sleep(29 * time.Minute)
		f.grow(1 << 20)
		time.Sleep(90 * time.Minute)
		synctest.Wait()
		if got := f.parts(); len(got) < 256 || !slices.Contains(got, 1<<20) {
			t.Errorf("%d parts", len(got))
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
		f := &fake{}
		if err := scrub.Run(ctx, scrub.Config{Log: f, Every: time.Hour}); err != nil || len(f.parts()) > 11 {
			t.Errorf("%v, %d parts of nothing", err, len(f.parts()))
		}
		if err := scrub.Run(ctx, scrub.Config{Log: &fake{}}); err == nil {
			t.Error("a pass takes no time")
		}
	})
}

// TestLog: a real log is scrubbed while it is open, and its end is the end of the scrubbing.
func TestLog(t *testing.T) {
	l, err := log.Open("log", log.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	passes := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() {
		done <- scrub.Run(t.Context(), scrub.Config{Log: counted{l, passes}, Every: time.Millisecond})
	}()
	<-passes
	<-passes
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type counted struct {
	*log.Log
	passes chan struct{}
}

func (c counted) Scrub(ctx context.Context, pause func(context.Context) error, progress func(done, total event.Offset)) (log.Verified, error) {
	v, err := c.Log.Scrub(ctx, pause, progress)
	select {
	case c.passes <- struct{}{}:
	default:
	}
	return v, err
}
