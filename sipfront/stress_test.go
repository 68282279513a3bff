package sipfront_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"parley/projections/chat"
	"parley/sipfront/siptest"
)

// TestLedger lets devices with several dialogs each join, leave, hang up and come back while the leader comes and goes.
// At the end the log's sessions must be exactly those that the clients were told they have, and none when all are gone.
func TestLedger(t *testing.T) {
	s := serve(t, nil)
	s.early.Store(true)
	rooms := []string{lobby, ops, announc}
	const devices, dialogs, steps = 4, 2, 40
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	type seat struct {
		c  *siptest.Client
		in map[string]bool
	}
	seats := make([][]*seat, devices)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { // the leader is away now and then
		rng := rand.New(rand.NewPCG(seed, 99))
		for {
			select {
			case <-stop:
				s.down.Store(false)
				return
			case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
				s.down.Store(rng.IntN(4) == 0)
				s.early.Store(rng.IntN(2) == 0)
			}
		}
	})
	var work sync.WaitGroup
	for d := range devices {
		user := []string{"alice", "bob"}[d%2]
		seats[d] = make([]*seat, dialogs)
		for i := range dialogs {
			seats[d][i] = &seat{}
			work.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(d*dialogs+i)))
				me := seats[d][i]
				for range steps {
					if me.c == nil {
						me.c = s.dial(user, epid(fmt.Sprint("dev", d)), func(o *siptest.Options) { o.Pool = poolURI })
						me.c.Register()
						me.c.Provision()
						me.c.Invite(poolURI)
						me.in = map[string]bool{}
					}
					room := rooms[rng.IntN(len(rooms))]
					switch rng.IntN(6) {
					case 0, 1, 2:
						if it := me.c.TryJoin(room); it != nil && it.Code == 200 {
							me.in[room] = true
						} else if it != nil && it.Code != 503 {
							t.Errorf("join: %d %s", it.Code, it.Text)
						}
					case 3:
						if !me.in[room] {
							continue
						}
						before := me.c.Err()
						me.c.Part(room)
						if me.c.Err() == nil {
							delete(me.in, room)
						} else if before == nil {
							me.c.ClearErr() // no leader: still in
						}
					case 4:
						me.c.Post(room, "x")
					case 5:
						if rng.IntN(3) > 0 {
							continue
						}
						me.c.Close()
						me.c = nil
					}
					if me.c != nil && me.c.Err() != nil {
						t.Errorf("%v", me.c.Err())
						return
					}
				}
			})
		}
	}
	work.Wait()
	close(stop)
	wg.Wait()
	want := map[string]bool{}
	for d := range seats {
		for _, x := range seats[d] {
			if x.c == nil {
				continue
			}
			for room := range x.in {
				want[fmt.Sprintf("%s@contoso.test dev%d %s", []string{"alice", "bob"}[d%2], d, siptest.RoomID(room))] = true
			}
		}
	}
	eventually(t, "the log has the sessions that the clients have", func() bool {
		got := sessionsOf(s.State())
		if len(got) != len(want) {
			return false
		}
		for k := range want {
			if !got[k] {
				return false
			}
		}
		return true
	})
	for d := range seats { // and each hears what is said in his rooms, once
		for _, x := range seats[d] {
			if x.c == nil {
				continue
			}
			x.c.Take()
			for room := range x.in {
				if room == announc {
					continue // presenters only
				}
				text := fmt.Sprint("to all from ", d)
				if st := x.c.Post(room, text); st != 200 {
					t.Errorf("post: %d", st)
				}
				x.c.Expect(room, text)
			}
			check(t, x.c)
		}
	}
	for d := range seats {
		for _, x := range seats[d] {
			if x.c != nil {
				x.c.Close()
			}
		}
	}
	eventually(t, "all sessions are parted", func() bool { return len(sessionsOf(s.State())) == 0 })
}

func sessionsOf(st *chat.State) map[string]bool {
	all := map[string]bool{}
	for x := range st.SessionsOn(node) {
		all[fmt.Sprintf("%s %s %s", x.User.Address(), x.Endpoint, x.Room)] = true
	}
	return all
}
