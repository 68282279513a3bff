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
// every second. The serving side sends the first one when it is ready to serve the stream, and the caller sends no
// request before. There is no other state, so a stream that breaks can only leave requests without an answer.
//
// What the order of requests rests on, besides raftnode/router (docs/decisions/0004):
//
//  1. Requests of a stream are served in the order sent, because one goroutine sends, one reads, and TCP keeps order.
//  2. After a request of a stream was not served or its outcome was lost, no later one of it takes effect. Here a flag
//     sees to that, behind Serve a lane of the sequencer.
//  3. Nothing of a stream takes effect after something of a later stream of the same caller. If the later one is of a
//     later term: its leader decides on top of all that earlier terms will ever commit, and the earlier leader refuses
//     what is not of its present term. If both are of one term, and so go to one leader: the caller opens a stream only
//     when the last one is closed. Requests of that one were sent only if it had been greeted, so it was accepted before
//     the later one, and the later one is greeted only when no more requests are read from it.
//
// MaxForward bounds a request that is forwarded, in bytes: as large as an entry.
const MaxForward = 16 << 20

const (
	frameHeader     = 4 + 8 + 1
	maxFramePayload = MaxForward
	maxForwards     = 8192     // requests without an answer on one stream
	maxForwardBytes = 64 << 20 // of their payloads
	aliveEvery      = time.Second
	deadAfter       = 5 * time.Second // without a sign of life
	dialTimeout     = 3 * time.Second
)

// Status of an answer.
const (
	statusOK        = 0
	statusNotLeader = 1 // no effect, nor has anything later on this stream
	statusBusy      = 2 // no effect
	statusUnknown   = 3 // it may take effect or not; nothing later on this stream does unless it did
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

// run writes until the stream or ctx ends: the preface, and frames once open is closed; nil: at once.
func (o *outbox) run(ctx context.Context, conn net.Conn, preface []byte, open <-chan struct{}) error {
	w := bufio.NewWriterSize(conn, 64<<10)
	write := func(b []byte) error {
		_, err := w.Write(b)
		return err
	}
	if err := errors.Join(conn.SetWriteDeadline(time.Now().Add(deadAfter)), write(preface), w.Flush()); err != nil {
		return err
	}
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	wake := o.wake
	if open != nil {
		wake = nil
	}
	header := make([]byte, 0, frameHeader)
	for {
		var frames []frame
		select {
		case <-open:
			open, wake = nil, o.wake
			continue
		case <-wake:
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
			if err := write(f.appendHeader(header)); err != nil {
				return err
			}
			if err := write(f.payload); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

func (f frame) appendHeader(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(frameHeader-4+len(f.payload)))
	b = binary.BigEndian.AppendUint64(b, f.id)
	return append(b, f.status)
}

// readFrame reads one frame. The length is checked before memory is taken for the payload.
func readFrame(r io.Reader) (f frame, err error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(header[:])
	if n < frameHeader-4 || n > frameHeader-4+maxFramePayload {
		return frame{}, fmt.Errorf("frame of %d bytes", n)
	}
	f = frame{id: binary.BigEndian.Uint64(header[4:]), status: header[12]}
	if f.id == 0 && n != frameHeader-4 {
		return frame{}, errors.New("sign of life with a payload")
	}
	if n -= frameHeader - 4; n > 0 {
		f.payload = make([]byte, n)
		_, err = io.ReadFull(r, f.payload)
	}
	return f, err
}

// readFrames calls take for each frame, signs of life included, until the stream ends.
func readFrames(conn net.Conn, r io.Reader, take func(frame) error) error {
	for {
		if err := conn.SetReadDeadline(time.Now().Add(deadAfter)); err != nil {
			return err
		}
		f, err := readFrame(r)
		if err != nil {
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

	mu     sync.Mutex
	stream *Stream // the newest that was not stillborn
	closed bool
	work   sync.WaitGroup
}

func newForwarder(n *Node) *forwarder { return &forwarder{node: n} }

// Stream opens a stream to the leader of the term, and ends the one opened before. If this node knows of no leader
// elsewhere, or is in another term by now, the stream is over from the start. That the leader and the term are two looks
// does no harm: the other side serves the stream only if it leads in that very term.
func (n *Node) Stream(term uint64) *Stream { return n.forward.open(term) }

func (f *forwarder) open(term uint64) *Stream {
	n := f.node
	f.mu.Lock()
	defer f.mu.Unlock()
	id, addr, ok := n.Leader()
	s := &Stream{f: f, leader: id, addr: addr, term: term, out: newOutbox(), calls: map[uint64]*call{}, ready: make(chan struct{}), ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(n.ctx)
	if f.closed || !ok || id == n.cfg.ID || n.raft.CurrentTerm() != term {
		s.over = true
		s.cancel()
		return s
	}
	before := f.stream
	f.stream = s
	if before != nil {
		before.cancel() // its requests fail on its own goroutine, not under our lock
	}
	f.work.Go(func() {
		if before != nil {
			<-before.ended // closed before ours is opened: see above
		}
		s.run()
	})
	return s
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

// Stream carries requests to the leader of one term.
type Stream struct {
	f      *forwarder
	leader event.NodeID
	addr   string
	term   uint64
	ctx    context.Context
	cancel context.CancelFunc
	out    *outbox
	ready  chan struct{} // closed at the first sign of life of the other side
	greet  sync.Once
	ended  chan struct{} // closed once nothing of it is left

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

// Forward hands a request to the leader's Serve. Requests of a stream are served in the order of calls. It never blocks.
// done is called exactly once, possibly before Forward returns; it must not block. Errors are of class ErrNoLeader,
// ErrNotLeader (no effect), ErrUnknownOutcome (the leader or the stream to it was lost) or ErrBusy (no effect).
//
// After one of the first three no later request of the stream takes effect, unless the one of unknown outcome did. After
// ErrBusy, which is an answer to the one request, the stream goes on.
func (s *Stream) Forward(payload []byte, done func([]byte, error)) {
	if err := s.submit(payload, done); err != nil {
		done(nil, err)
	}
}

// submit returns an error if it has not taken the request, and done will not be called.
func (s *Stream) submit(payload []byte, done func([]byte, error)) error {
	if len(payload) > maxFramePayload {
		return fmt.Errorf("forward a request of %d bytes, at most %d: %w", len(payload), maxFramePayload, ErrBusy)
	}
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
func (s *Stream) run() {
	defer close(s.ended)
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

func (s *Stream) talk(conn net.Conn) error {
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(s.ctx)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	received := make(chan struct{})
	go func() {
		defer close(received)
		cancel(readFrames(conn, bufio.NewReaderSize(conn, 64<<10), s.answer))
	}()
	err := s.out.run(ctx, conn, binary.BigEndian.AppendUint64(nil, s.term), s.ready)
	cancel(err)
	conn.Close()
	<-received
	return context.Cause(ctx)
}

func (s *Stream) answer(f frame) error {
	s.greet.Do(func() { close(s.ready) })
	if f.id == 0 {
		return nil
	}
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
	case statusBusy:
		c.done(nil, fmt.Errorf("forward to node %s: %w", s.leader, ErrBusy))
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

// errNotMember ends the streams of a node that was removed: its certificate is still good, but nobody's clients are on it.
var errNotMember = errors.New("peer is not a member of the pool")

// accept serves a stream of a member. A peer has one: a new one ends the last, and is served only after what had arrived
// on that has been handed on, so that the peer's requests keep their order.
func (b *inbound) accept(conn net.Conn, from event.NodeID) {
	if b.node.member(from) == nil {
		b.node.logger.Warn("forwarding stream refused", keyPeer, from, keyError, errNotMember)
		conn.Close()
		return
	}
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
		if err := out.run(ctx, s.conn, nil, nil); err != nil {
			s.cancel()
		}
	}()
	// Opened before the first look at the term, so that it cannot belong to a later leadership than the one looked at.
	var handle Handler
	if n.cfg.Serve != nil {
		handle = n.cfg.Serve(from)
	}
	out.put(frame{}) // ready
	var mu sync.Mutex
	unanswered, bytes := 0, 0
	r := bufio.NewReaderSize(s.conn, 64<<10)
	term, err := readTerm(s.conn, r)
	refused := false // a request, and so all later ones
	take := func(f frame) error {
		// The peer sends signs of life too, so one that is removed while it is connected is soon cut off.
		if n.member(from) == nil {
			return errNotMember
		}
		if f.id == 0 {
			return nil
		}
		if refused = refused || handle == nil || !n.IsLeader() || n.raft.CurrentTerm() != term; refused {
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
		handle(f.payload, func(answer []byte, err error) {
			once.Do(func() {
				mu.Lock()
				unanswered--
				bytes -= len(f.payload)
				mu.Unlock()
				out.put(frame{id: f.id, status: statusOf(err), payload: answer})
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

func statusOf(err error) byte {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, ErrNotLeader):
		return statusNotLeader
	case errors.Is(err, ErrBusy):
		return statusBusy
	}
	return statusUnknown
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
