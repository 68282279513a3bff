package router

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errLost = errors.New("leadership lost")

// leader is a fake leader: it answers what take decides, in order.
type leader struct {
	mu    sync.Mutex
	known bool
	lanes int
	got   []int
	on    []int // which lane, for each got
	take  func(req int, done func(int, error))
}

func (l *leader) config() Config[int, int] {
	return Config[int, int]{
		Leader: func() (bool, bool) { l.mu.Lock(); defer l.mu.Unlock(); return l.known, false },
		Open: func(uint64, bool) Lane[int, int] {
			l.mu.Lock()
			l.lanes++
			lane := l.lanes
			l.mu.Unlock()
			return func(req int, done func(int, error)) {
				l.mu.Lock()
				l.got = append(l.got, req)
				l.on = append(l.on, lane)
				take := l.take
				l.mu.Unlock()
				take(req, done)
			}
		},
		Retry: func(err error) bool { return errors.Is(err, errLost) },
	}
}

func (l *leader) set(known bool, take func(int, func(int, error))) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known, l.take = known, take
}

// Requests in flight when the leader is lost are sent again in their order, and later ones wait behind them.
func TestOrderAcrossLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held []func(int, error)
		l := &leader{}
		l.set(true, func(_ int, done func(int, error)) { held = append(held, done) })
		r := New(l.config())
		var mu sync.Mutex
		var answers []int
		submit := func(n int) {
			r.Submit(n, func(res int, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("request %d: %v", n, err)
				}
				answers = append(answers, res)
			})
		}
		for n := range 5 {
			submit(n)
		}
		synctest.Wait()
		l.set(false, nil)
		// The answers of the lost leader come back in a different order than they were asked in.
		for _, i := range []int{3, 0, 4, 2, 1} {
			held[i](0, fmt.Errorf("request %d: %w", i, errLost))
		}
		submit(5)
		time.Sleep(time.Second)
		l.set(true, func(req int, done func(int, error)) { done(req, nil) })
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got := fmt.Sprint(answers); got != "[0 1 2 3 4 5]" {
			t.Errorf("answers %s, want 0 to 5 in order", got)
		}
		if got := fmt.Sprint(l.got); got != "[0 1 2 3 4 0 1 2 3 4 5]" {
			t.Errorf("leader was asked %s", got)
		}
		r.Close()
	})
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leader{}
		r := New(l.config())
		start := time.Now()
		var err error
		var after time.Duration
		r.Submit(1, func(_ int, e error) { err, after = e, time.Since(start) })
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if !errors.Is(err, ErrUnavailable) || after < 3*time.Second || after > 3200*time.Millisecond {
			t.Errorf("answer %v after %v, want ErrUnavailable after 3 s", err, after)
		}
		r.Close()
	})
}

// A leader that never answers costs the client a bounded wait, and a late answer does not answer twice.
func TestSilentLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late func(int, error)
		l := &leader{}
		l.set(true, func(_ int, done func(int, error)) { late = done })
		r := New(l.config())
		answers := 0
		var err error
		r.Submit(1, func(_ int, e error) { answers++; err = e })
		time.Sleep(11 * time.Second)
		synctest.Wait()
		late(1, nil)
		if answers != 1 || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d answers, last %v", answers, err)
		}
		r.Close()
	})
}

func TestBusyAndClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leader{}
		cfg := l.config()
		cfg.Queue = 2
		r := New(cfg)
		errs := make([]error, 4)
		for i := range 3 {
			r.Submit(i, func(_ int, e error) { errs[i] = e })
		}
		synctest.Wait()
		if !errors.Is(errs[2], ErrBusy) {
			t.Errorf("third request: %v, want ErrBusy", errs[2])
		}
		r.Close()
		r.Submit(3, func(_ int, e error) { errs[3] = e })
		synctest.Wait()
		for i, want := range []error{ErrClosed, ErrClosed, ErrBusy, ErrClosed} {
			if !errors.Is(errs[i], want) {
				t.Errorf("request %d: %v, want %v", i, errs[i], want)
			}
		}
	})
}

// A refusal is an answer, not a reason to try again.
func TestRefusalIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("not allowed")
		l := &leader{}
		l.set(true, func(_ int, done func(int, error)) { done(0, refused) })
		r := New(l.config())
		var err error
		r.Submit(1, func(_ int, e error) { err = e })
		synctest.Wait()
		if !errors.Is(err, refused) || len(l.got) != 1 {
			t.Errorf("answer %v after %d tries", err, len(l.got))
		}
		r.Close()
	})
}

// A refusal does not come from within Submit: whoever submits may hold a lock that the answer takes.
func TestRefusedOutsideSubmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leader{}
		cfg := l.config()
		cfg.Queue = 1
		r := New(cfg)
		var mu sync.Mutex
		answers := 0
		answer := func(int, error) { mu.Lock(); answers++; mu.Unlock() }
		r.Submit(1, answer)
		mu.Lock()
		r.Submit(2, answer) // over the limit
		mu.Unlock()
		r.Close()
		mu.Lock()
		r.Submit(3, answer) // closed
		mu.Unlock()
		synctest.Wait()
		if answers != 3 {
			t.Errorf("%d answers, want 3", answers)
		}
	})
}

// The next leader may be known before the requests to the last one have failed. They come first all the same.
func TestOrderWhenLeadersOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost func(int, error)
		l := &leader{}
		l.set(true, func(_ int, done func(int, error)) { lost = done })
		term := uint64(1)
		cfg := l.config()
		cfg.Epoch = func() uint64 { l.mu.Lock(); defer l.mu.Unlock(); return term }
		r := New(cfg)
		r.Submit(1, func(int, error) {})
		synctest.Wait()
		l.set(true, func(req int, done func(int, error)) { done(req, nil) })
		l.mu.Lock()
		term = 2
		l.mu.Unlock()
		r.Submit(2, func(int, error) {})
		time.Sleep(time.Second)
		synctest.Wait()
		lost(0, errLost)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := fmt.Sprint(l.got); got != "[1 1 2]" {
			t.Errorf("leaders were asked %s, want 1, 1 again, then 2", got)
		}
		r.Close()
	})
}

// A request that is on its way while an earlier one fails is refused by its lane, because the two may be sent again only
// in their order. The next lane begins when nothing is left of the last, with the first that failed.
func TestNextLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := map[int]func(int, error){}
		l := &leader{}
		l.set(true, func(req int, done func(int, error)) {
			if held[req] = done; req == 3 { // the second has failed before the third arrives
				held[2](0, errLost)
				done(0, errLost)
			}
		})
		r := New(l.config())
		got := map[int]error{}
		var mu sync.Mutex
		for n := 1; n <= 4; n++ {
			r.Submit(n, func(_ int, err error) { mu.Lock(); got[n] = err; mu.Unlock() })
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(l.got) != 3 {
			t.Errorf("while the first has no answer %v were sent on lanes %v, want 1, 2, 3", l.got, l.on)
		}
		l.set(true, func(req int, done func(int, error)) { done(req, nil) })
		held[1](1, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if want := "[1 2 3 2 3 4] [1 1 1 2 2 2]"; fmt.Sprint(l.got, l.on) != want {
			t.Errorf("sent %v on lanes %v, want %s", l.got, l.on, want)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(got) != 4 || got[1] != nil || got[2] != nil || got[3] != nil || got[4] != nil {
			t.Errorf("answers %v, want four without error", got)
		}
		r.Close()
	})
}

// A lane belongs to a leader in an epoch: when either changes the next request has a new one, told which.
func TestLaneForEachLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		epoch, here := uint64(1), false
		var opened []string
		r := New(Config[int, int]{
			Leader: func() (bool, bool) { mu.Lock(); defer mu.Unlock(); return true, here },
			Epoch:  func() uint64 { mu.Lock(); defer mu.Unlock(); return epoch },
			Open: func(epoch uint64, here bool) Lane[int, int] {
				opened = append(opened, fmt.Sprint(epoch, here))
				return func(req int, done func(int, error)) { done(req, nil) }
			},
			Retry: func(error) bool { return false },
		})
		for _, next := range []struct {
			epoch uint64
			here  bool
		}{{1, false}, {1, false}, {2, false}, {2, true}, {3, true}, {3, true}} {
			mu.Lock()
			epoch, here = next.epoch, next.here
			mu.Unlock()
			r.Submit(1, func(int, error) {})
			synctest.Wait()
		}
		if got := fmt.Sprint(opened); got != "[1 false 2 false 2 true 3 true]" {
			t.Errorf("lanes opened: %s", got)
		}
		r.Close()
	})
}
