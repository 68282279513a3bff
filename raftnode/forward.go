package raftnode

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"parley/log/event"
)

// The forwarding protocol. The caller first says in 8 bytes, big-endian, in which term it believes the other side to
// lead; in any other term its requests have no effect. So what a partition holds back cannot take effect after the
// caller was told otherwise by a later leader, should the first one lead again. Then both directions carry frames:
//
//	length of the rest (4, big-endian) | request id (8) | status (1) | payload
//
// The caller numbers its requests from 1; an answer has the number of its request. Number 0 is a sign of life, sent
// every second. There is no other state, so a stream that breaks can only leave
// requests without an answer.
const (
	frameHeader     = 4 + 8 + 1
	maxFramePayload = 16 << 20 // as large as an entry
	maxForwards     = 8192     // requests without an answer on one stream
	maxForwardBytes = 64 << 20 // of their payloads
	aliveEvery      = time.Second
	deadAfter       = 5 * time.Second // without a sign of life
	dialTimeout     = 3 * time.Second
)

// Status of an answer.
const (
	statusOK        = 0
	statusNotLeader = 1 // no effect
)

// outbox is the sending half of a stream: frames gather while one write is under way, and leave in the next.
type outbox struct {
	mu     sync.Mutex
	frames []frame
	wake   chan struct{}
}

type frame struct {
	id      uint64
	status  byte
	payload []byte
	sending func() // called when the frame is about to be written, if set
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) put(f frame) {
	o.mu.Lock()
	o.frames = append(o.frames, f)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run writes until the stream or ctx ends: first the preface, then frames.
func (o *outbox) run(ctx context.Context, conn net.Conn, preface []byte) error {
	w := bufio.NewWriterSize(conn, 64<<10)
	if _, err := w.Write(preface); err != nil {
		return err
	}
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	var header [frameHeader]byte
	for {
		var frames []frame
		select {
		case <-o.wake:
			o.mu.Lock()
			frames, o.frames = o.frames, nil
			o.mu.Unlock()
		case <-alive.C:
			frames = []frame{{}}
		case <-ctx.Done():
			return ctx.Err()
		}
		// A peer that does not read for this long is as good as gone.
		if err := conn.SetWriteDeadline(time.Now().Add(deadAfter)); err != nil {
			return err
		}
		for _, f := range frames {
			if f.sending != nil {
				f.sending()
			}
			binary.BigEndian.PutUint32(header[:], uint32(frameHeader-4+len(f.payload)))
			binary.BigEndian.PutUint64(header[4:], f.id)
			header[12] = f.status
			if _, err := w.Write(header[:]); err != nil {
				return err
			}
			if _, err := w.Write(f.payload); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

// readFrames calls take for each frame until the stream ends.
func readFrames(conn net.Conn, r io.Reader, take func(frame) error) error {
	var header [frameHeader]byte
	for {
		if err := conn.SetReadDeadline(time.Now().Add(deadAfter)); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(header[:])
		if n < frameHeader-4 || n > frameHeader-4+maxFramePayload {
			return fmt.Errorf("frame of %d bytes", n)
		}
		f := frame{id: binary.BigEndian.Uint64(header[4:]), status: header[12]}
		if f.id == 0 {
			if n != frameHeader-4 {
				return errors.New("sign of life with a payload")
			}
			continue
		}
		f.payload = make([]byte, n-(frameHeader-4))
		if _, err := io.ReadFull(r, f.payload); err != nil {
			return err
		}
		if err := take(f); err != nil {
			return err
		}
	}
}

func readTerm(conn net.Conn, r io.Reader) (uint64, error) {
	if err := conn.SetReadDeadline(time.Now().Add(deadAfter)); err != nil {
		return 0, err
	}
	var b [8]byte
	_, err := io.ReadFull(r, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

// forwarder is the calling side.
type forwarder struct {
	node *Node

	mu     sync.Mutex // also: order of calls to Serve on this node
	stream *callStream
	closed bool
	work   sync.WaitGroup
}

func newForwarder(n *Node) *forwarder { return &forwarder{node: n} }

// Forward hands a request to the leader's Serve, this node's own if it leads. Requests of one node are served in the
// order of calls. It never blocks. done is called exactly once, possibly before Forward returns; it must not block,
// nor call Forward itself. Errors are of class ErrNoLeader, ErrNotLeader, ErrBusy (no effect), or ErrUnknownOutcome
// when the leader or the stream to it was lost.
func (n *Node) Forward(payload []byte, done func([]byte, error)) {
	if len(payload) > maxFramePayload {
		done(nil, fmt.Errorf("forward a request of %d bytes, at most %d: %w", len(payload), maxFramePayload, ErrBusy))
		return
	}
	if err := n.forward.submit(payload, done); err != nil {
		done(nil, err)
	}
}

// submit returns an error if it has not taken the request, and done will not be called.
func (f *forwarder) submit(payload []byte, done func([]byte, error)) error {
	n := f.node
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return ErrNoLeader
	}
	id, addr, ok := n.Leader()
	if !ok {
		f.mu.Unlock()
		return ErrNoLeader
	}
	if id == n.cfg.ID {
		defer f.mu.Unlock()
		if n.cfg.Serve == nil || !n.IsLeader() {
			return ErrNotLeader
		}
		var once sync.Once
		n.cfg.Serve(n.ctx, id, payload, func(answer []byte) { once.Do(func() { done(answer, nil) }) })
		return nil
	}
	term := n.raft.CurrentTerm()
	s, old := f.stream, (*callStream)(nil)
	if s == nil || s.leader != id || s.addr != addr || s.term != term || s.ended() {
		old, s = s, newCallStream(f, id, addr, term)
		f.stream = s
		f.work.Go(s.run)
	}
	err := s.submit(payload, done)
	f.mu.Unlock()
	if old != nil {
		old.cancel() // its requests fail on its own goroutine, not under our lock
	}
	return err
}

// follow ends the stream to a node that leads no more: its answers are not to be waited for.
func (f *forwarder) follow() {
	id, addr, ok := f.node.Leader()
	term := f.node.raft.CurrentTerm()
	f.mu.Lock()
	s := f.stream
	if s == nil || (ok && s.leader == id && s.addr == addr && s.term == term) {
		f.mu.Unlock()
		return
	}
	f.stream = nil
	f.mu.Unlock()
	s.cancel()
}

// waiting returns how many requests have no answer.
func (f *forwarder) waiting() int {
	f.mu.Lock()
	s := f.stream
	f.mu.Unlock()
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func (f *forwarder) close() {
	f.mu.Lock()
	f.closed = true
	s := f.stream
	f.mu.Unlock()
	if s != nil {
		s.cancel()
	}
	f.work.Wait()
}

// callStream is one stream to one leader in one term.
type callStream struct {
	f      *forwarder
	leader event.NodeID
	addr   string
	term   uint64
	ctx    context.Context
	cancel context.CancelFunc
	out    *outbox

	mu    sync.Mutex
	next  uint64
	bytes int
	calls map[uint64]*call
	over  bool // no more calls are taken
}

type call struct {
	id   uint64
	size int
	sent bool // may have reached the leader
	done func([]byte, error)
}

func newCallStream(f *forwarder, leader event.NodeID, addr string, term uint64) *callStream {
	s := &callStream{f: f, leader: leader, addr: addr, term: term, out: newOutbox(), calls: map[uint64]*call{}}
	s.ctx, s.cancel = context.WithCancel(f.node.ctx)
	return s
}

func (s *callStream) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

func (s *callStream) submit(payload []byte, done func([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return ErrNoLeader
	case len(s.calls) >= maxForwards || (s.bytes+len(payload) > maxForwardBytes && len(s.calls) > 0):
		return ErrBusy
	}
	s.next++
	c := &call{id: s.next, size: len(payload), done: done}
	s.calls[c.id] = c
	s.bytes += c.size
	s.out.put(frame{id: c.id, payload: payload, sending: func() {
		s.mu.Lock()
		c.sent = true
		s.mu.Unlock()
	}})
	return nil
}

// run dials, then sends and receives until either fails, and tells every call that is left.
func (s *callStream) run() {
	defer s.cancel()
	n := s.f.node
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	conn, err := n.cfg.Network.Dial(ctx, s.leader, s.addr, ProtocolForward)
	cancel()
	if err == nil {
		err = s.talk(conn)
	}
	s.mu.Lock()
	s.over = true
	left := make([]*call, 0, len(s.calls))
	for _, c := range s.calls {
		left = append(left, c)
	}
	s.calls = nil
	s.mu.Unlock()
	if s.ctx.Err() == nil {
		n.logger.Warn("forwarding stream broke", keyPeer, s.leader, "unanswered", len(left), keyError, err)
	}
	slices.SortFunc(left, func(a, b *call) int { return cmp.Compare(a.id, b.id) })
	for _, c := range left {
		if c.sent {
			n.metrics.forwardLost.Inc()
			c.done(nil, fmt.Errorf("forward to node %s: %w: %w", s.leader, ErrUnknownOutcome, err))
		} else {
			c.done(nil, fmt.Errorf("forward to node %s: %w: %w", s.leader, ErrNoLeader, err))
		}
	}
}

func (s *callStream) talk(conn net.Conn) error {
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(s.ctx)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	received := make(chan struct{})
	go func() {
		defer close(received)
		cancel(readFrames(conn, bufio.NewReaderSize(conn, 64<<10), s.answer))
	}()
	err := s.out.run(ctx, conn, binary.BigEndian.AppendUint64(nil, s.term))
	cancel(err)
	conn.Close()
	<-received
	return context.Cause(ctx)
}

func (s *callStream) answer(f frame) error {
	s.mu.Lock()
	c := s.calls[f.id]
	delete(s.calls, f.id)
	if c != nil {
		s.bytes -= c.size
	}
	s.mu.Unlock()
	if c == nil {
		return fmt.Errorf("answer to request %d, which is not waiting", f.id)
	}
	switch f.status {
	case statusOK:
		c.done(f.payload, nil)
	case statusNotLeader:
		c.done(nil, fmt.Errorf("forward to node %s: %w", s.leader, ErrNotLeader))
	default:
		c.done(nil, fmt.Errorf("forward to node %s: %w: status %d", s.leader, ErrUnknownOutcome, f.status))
	}
	return nil
}

// inbound is the serving side.
type inbound struct {
	node *Node

	mu      sync.Mutex
	streams map[event.NodeID]*serveStream // the newest of each peer
	closed  bool
	work    sync.WaitGroup
}

type serveStream struct {
	conn   net.Conn
	read   chan struct{} // closed once no more requests come from it
	cancel context.CancelFunc
}

func newInbound(n *Node) *inbound { return &inbound{node: n, streams: map[event.NodeID]*serveStream{}} }

// accept serves a stream. A peer has one: a new one ends the last, and is served only after what had arrived on that
// has been handed on, so that the peer's requests keep their order.
func (b *inbound) accept(conn net.Conn, from event.NodeID) {
	ctx, cancel := context.WithCancel(b.node.ctx)
	s := &serveStream{conn: conn, read: make(chan struct{}), cancel: cancel}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		cancel()
		conn.Close()
		return
	}
	before := b.streams[from]
	b.streams[from] = s
	b.work.Go(func() {
		defer cancel()
		if before != nil {
			before.cancel()
			before.conn.Close()
			<-before.read
		}
		b.serve(ctx, s, from)
		b.mu.Lock()
		if b.streams[from] == s {
			delete(b.streams, from)
		}
		b.mu.Unlock()
	})
}

func (b *inbound) serve(ctx context.Context, s *serveStream, from event.NodeID) {
	n := b.node
	out := newOutbox()
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := out.run(ctx, s.conn, nil); err != nil {
			s.cancel()
		}
	}()
	var mu sync.Mutex
	unanswered, bytes := 0, 0
	r := bufio.NewReaderSize(s.conn, 64<<10)
	term, err := readTerm(s.conn, r)
	take := func(f frame) error {
		if n.cfg.Serve == nil || !n.IsLeader() || n.raft.CurrentTerm() != term {
			out.put(frame{id: f.id, status: statusNotLeader})
			return nil
		}
		mu.Lock()
		unanswered++
		bytes += len(f.payload)
		tooMuch := unanswered > maxForwards || (bytes > maxForwardBytes && unanswered > 1)
		mu.Unlock()
		if tooMuch {
			return errors.New("peer has more requests in flight than the protocol allows")
		}
		n.metrics.served.Inc()
		var once sync.Once
		n.cfg.Serve(ctx, from, f.payload, func(answer []byte) {
			once.Do(func() {
				mu.Lock()
				unanswered--
				bytes -= len(f.payload)
				mu.Unlock()
				out.put(frame{id: f.id, payload: answer})
			})
		})
		return nil
	}
	if err == nil {
		err = readFrames(s.conn, r, take)
	}
	close(s.read)
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		n.logger.Warn("stream of forwarded requests broke", keyPeer, from, keyError, err)
	}
	s.cancel()
	<-written
	s.conn.Close()
}

func (b *inbound) close() {
	b.mu.Lock()
	b.closed = true
	for _, s := range b.streams {
		s.cancel()
		s.conn.Close()
	}
	b.mu.Unlock()
	b.work.Wait()
}
