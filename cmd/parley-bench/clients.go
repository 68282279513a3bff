package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parley/sipfront/siptest"
	"parley/sipfront/xccos"
)

// dialers is how many clients connect at once: a storm, but one that the listen queue can hold.
const dialers = 64

// connect signs clients in and lets each join rooms; got is called for every message that arrives.
func connect(ctx context.Context, addr string, n int, rooms []string, got func()) (clients []*siptest.Client, err error) {
	clients = make([]*siptest.Client, n)
	err = parallel(ctx, n, func(i int) error {
		c := siptest.Dial(siptest.Options{Addr: addr, User: userAddress(i), Timeout: time.Minute, OnPost: func(*xccos.Post) { got() }})
		clients[i] = c
		c.SignIn()
		if len(rooms) == 1 {
			c.Join(rooms[0])
		} else {
			c.BJoin(rooms...)
		}
		return c.Err()
	})
	if err != nil {
		hangUp(clients)
		return nil, err
	}
	return clients, nil
}

func hangUp(clients []*siptest.Client) {
	for _, c := range clients {
		if c != nil {
			c.Close()
		}
	}
}

// parallel calls f for 0..n-1, dialers at a time, until one fails.
func parallel(ctx context.Context, n int, f func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(dialers, n) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					cancel(fmt.Errorf("client %d: %w", i, err))
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// bare are plain connections whose other end reads and answers as our clients do, for comparison.
type bare struct {
	conns []net.Conn
	wg    sync.WaitGroup
}

// bareReaders connects to a bare server and reads SIP there with the same code as our clients.
func bareReaders(ctx context.Context, addr string, n int) (*bare, error) {
	b := &bare{conns: make([]net.Conn, n)}
	err := parallel(ctx, n, func(i int) error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		b.conns[i] = conn
		b.wg.Go(func() { readSIP(conn) })
		return nil
	})
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bare) close() {
	for _, c := range b.conns {
		if c != nil {
			_ = c.Close() // ends its reader
		}
	}
	b.wg.Wait()
}

// readSIP reads, decodes and answers until the connection ends.
func readSIP(conn net.Conn) {
	r, w := bufio.NewReaderSize(conn, 4096), bufio.NewWriterSize(conn, 4096)
	for {
		m, err := siptest.ReadMessage(r, nil)
		if err != nil {
			return
		}
		_, err = w.Write(ok(m))
		if err == nil && r.Buffered() == 0 {
			err = w.Flush()
		}
		if err != nil {
			return
		}
		if _, err := xccos.DecodeServer(m.Body); err != nil {
			return
		}
	}
}

// ok is a client's 200 to a request.
func ok(m *siptest.Message) []byte {
	var b bytes.Buffer
	b.WriteString("SIP/2.0 200 OK\r\n")
	for _, l := range m.Lines {
		name, _, _ := strings.Cut(l, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "via", "from", "to", "call-id", "cseq":
			b.WriteString(l + "\r\n")
		}
	}
	b.WriteString("User-Agent: siptest\r\nContent-Length: 0\r\n\r\n")
	return b.Bytes()
}

// capture returns one delivered message as it was on the wire: a client connects through a relay that keeps what the
// server sends.
func capture(addr, user, room, text string) (*siptest.Message, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close() //nolint:errcheck // it has done its work
	var mu sync.Mutex
	var kept bytes.Buffer
	go func() {
		down, err := ln.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", addr)
		if err != nil {
			_ = down.Close()
			return
		}
		go func() {
			_, _ = io.Copy(up, down) // either end may go first
			_ = up.Close()
		}()
		_, _ = io.Copy(io.MultiWriter(down, writerFunc(func(p []byte) { mu.Lock(); kept.Write(p); mu.Unlock() })), up)
		_ = down.Close()
	}()
	c := siptest.Dial(siptest.Options{Addr: ln.Addr().String(), User: user, Timeout: 10 * time.Second})
	defer c.Close()
	c.SignIn().Join(room)
	c.Post(room, text)
	c.WaitPosts(1)
	if err := c.Err(); err != nil {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	r := bufio.NewReader(bytes.NewReader(kept.Bytes()))
	var found *siptest.Message
	for {
		m, err := siptest.ReadMessage(r, nil)
		if err != nil {
			break // the end of what was kept
		}
		if m.Method() == "INFO" && m.Status() == 0 && bytes.Contains(m.Body, []byte("grpchat")) {
			found = m
		}
	}
	if found == nil {
		return nil, errors.New("the server's message was not captured")
	}
	return found, nil
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// quiet waits until the child has nothing more to do: 100 ms with next to no CPU.
func quiet(ctx context.Context, p *process) error {
	const pause, still = 100 * time.Millisecond, 20 * time.Millisecond
	last, err := p.usage()
	for err == nil {
		if err = sleep(ctx, pause); err != nil {
			break
		}
		var now answer
		if now, err = p.usage(); err == nil && now.CPU-last.CPU < still {
			return nil
		}
		last = now
	}
	return err
}
