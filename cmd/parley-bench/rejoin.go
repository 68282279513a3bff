package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"parley/cmd/internal/config"
	"parley/sipfront/siptest"
)

const (
	shortLog      = 10_000
	stormRooms    = 4
	stormTrips    = 7 // requests of a client that comes back: REGISTER, SUBSCRIBE, INVITE, INFO, BYE, INVITE, INFO
	servePatience = time.Minute
)

// rejoinBench kills a server and looks how soon it serves again, with a short log and a long one; then everybody comes
// back at once.
func rejoinBench(ctx context.Context, o *options, r *report) (err error) {
	dirs := map[int]string{}
	few := max(shortLog/o.scale, 10)
	many := max(o.events, few+1)
	for _, n := range []int{few, many} {
		dirs[n] = filepath.Join(o.dir, fmt.Sprintf("rejoin%d", n))
		if err := prepareLog(ctx, o, dirs[n], n); err != nil {
			return fmt.Errorf("make a log of %d events: %w", n, err)
		}
	}
	var serving, slower series
	timeout := ms(config.Default().Raft.HeartbeatTimeout)
	for i := range o.restarts {
		took := map[int]time.Duration{}
		for _, n := range []int{few, many} {
			if took[n], err = restart(ctx, o, dirs[n]); err != nil {
				return fmt.Errorf("restart with %d events: %w", n, err)
			}
		}
		o.progress("rejoin: round %d of %d: serving after %s ms with %d events, %s ms with %d", i+1, o.restarts,
			number(ms(took[few])), few, number(ms(took[many])), many)
		serving.add(ms(took[many]), timeout)
		slower.add(ms(took[many]), ms(took[few]))
	}
	storm, cpu, err := stormRounds(ctx, o, dirs[few])
	if err != nil {
		return fmt.Errorf("storm: %w", err)
	}
	return errors.Join(
		r.add(fmt.Sprintf("kill -9 to first post acknowledged, %d events", many), "ms", "ms, the election timeout", serving, atMost("value", timeout+1500), ""),
		r.add(fmt.Sprintf("the same against a log of %d events", few), "ms", "ms", slower, atMost("ratio", 1.2), ""),
		r.add(fmt.Sprintf("storm: %d clients sign in and join %d rooms", o.storm, stormRooms), "ms until the last",
			fmt.Sprintf("ms for %d bare connections with %d echoes each", o.storm, stormTrips), storm, nil, ""),
		r.add("storm: server CPU", "us a client", "us, bare", cpu, nil, ""),
	)
}

// prepareLog fills a log and kills the server without warning.
func prepareLog(ctx context.Context, o *options, dir string, events int) error {
	if err := newNode(dir); err != nil {
		return err
	}
	p, err := spawn(ctx, childConfig{Dir: dir, Users: max(o.storm, 1), Rooms: stormRooms}, o.log)
	if err != nil {
		return err
	}
	defer p.kill()
	a, err := p.do(order{Do: "fill", N: events})
	if err == nil {
		o.progress("rejoin: %d events committed in %s s", events, number(a.Took.Seconds()))
	}
	return err
}

// restart returns how long a killed server takes from its start to the first acknowledged post, and kills it again.
func restart(ctx context.Context, o *options, dir string) (time.Duration, error) {
	start := time.Now()
	p, err := spawn(ctx, childConfig{Dir: dir, Rooms: stormRooms}, o.log)
	if err != nil {
		return 0, err
	}
	defer p.kill()
	c := siptest.Dial(siptest.Options{Addr: p.hello.SIP, User: userAddress(0), Timeout: servePatience})
	defer c.Close()
	c.SignIn().Join(roomURI(0))
	status := c.Post(roomURI(0), "back")
	took := time.Since(start)
	if err := c.Err(); err != nil {
		return 0, err
	}
	if status != 200 {
		return 0, fmt.Errorf("the first post was answered %d", status)
	}
	return took, nil
}

// stormRounds lets many clients in at once, over and over, with bare connections in turns.
func stormRounds(ctx context.Context, o *options, dir string) (took, cpu series, err error) {
	p, err := spawn(ctx, childConfig{Dir: dir, Rooms: stormRooms}, o.log)
	if err != nil {
		return took, cpu, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	raw, err := p.do(order{Do: "raw", Echo: true})
	if err != nil {
		return took, cpu, err
	}
	var rooms []string
	for i := range stormRooms {
		rooms = append(rooms, roomURI(i))
	}
	side := func(f func() (func(), error)) (time.Duration, float64, error) {
		if err := quiet(ctx, p); err != nil {
			return 0, 0, err
		}
		before, err := p.usage()
		if err != nil {
			return 0, 0, err
		}
		start := time.Now()
		leave, err := f()
		if err != nil {
			return 0, 0, err
		}
		d := time.Since(start)
		defer leave()
		if err := quiet(ctx, p); err != nil { // what it still does for them is theirs
			return 0, 0, err
		}
		after, err := p.usage()
		return d, float64(after.CPU-before.CPU) / float64(time.Microsecond) / float64(o.storm), err
	}
	for i := range o.rounds {
		bareTook, bareCPU, err := side(func() (func(), error) { return echoes(ctx, raw.Addr, o.storm) })
		if err != nil {
			return took, cpu, fmt.Errorf("bare TCP: %w", err)
		}
		ourTook, ourCPU, err := side(func() (func(), error) {
			clients, err := connect(ctx, p.hello.SIP, o.storm, rooms, func() {})
			return func() { hangUp(clients) }, err
		})
		if err != nil {
			return took, cpu, err
		}
		o.progress("rejoin: storm %d of %d: %d clients in %s ms, %s us of CPU each", i+1, o.rounds, o.storm, number(ms(ourTook)), number(ourCPU))
		took.add(ms(ourTook), ms(bareTook))
		cpu.add(ourCPU, bareCPU)
	}
	return took, cpu, nil
}

// echoes opens bare connections and makes as many round trips on each as a client makes that comes back.
func echoes(ctx context.Context, addr string, n int) (func(), error) {
	conns := make([]net.Conn, n)
	leave := func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}
	err := parallel(ctx, n, func(i int) error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		conns[i] = conn
		b := make([]byte, echoBytes)
		for range stormTrips {
			if _, err := conn.Write(b); err != nil {
				return err
			}
			if _, err := io.ReadFull(conn, b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}
