// Package sipfront is the SIP side of a node: it turns what clients say into commands for the pool, and what happened
// in the pool into messages for clients.
//
// A flow (connection) has one reader goroutine that handles its requests in order (package flow). A few shards, one
// goroutine each, own everything that goes from the log to clients: which dialog listens to which room, and
// the replies of each dialog in the order of its commands. The front keeps nothing that matters: sessions are
// events in the log, and when the process dies the pool parts them with one node_lost event.
//
// What clients need at each step, and what breaks them, was found by experiment with the one open client, and is marked
// "seen of pidgin-sipe". The wire language is docs/protocol.md.
package sipfront

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/commands"
	"parley/sipfront/digest"
	"parley/sipfront/flow"
	"parley/sipfront/udp"
)

// Attribute keys of log lines.
const (
	keyListener = "listener"
	keyCommand  = "command"
	keyReason   = "reason"
	keyError    = "error"
)

// Front is the SIP server of one node.
type Front struct {
	cfg     Config
	backend Backend
	log     *slog.Logger
	flows   *flow.Server
	parser  *sip.Parser
	metrics *metrics
	digest  *digest.Server
	load    *load

	listeners []*listener
	shards    []*shard
	answers   *mailbox[answer] // final answers to posts, off the backend's goroutine
	ledger    *ledger
	reader    readers
	desk      commands.Desk

	sweeping sync.Mutex
	udpMu    sync.Mutex
	udp      []*udp.Server

	nextFlow    atomic.Uint64
	nextEnv     atomic.Uint64
	incarnation atomic.Uint64 // of this node; 0 while the pool does not know it as alive
	draining    atomic.Bool
	dialogs     atomic.Int64
	sessions    atomic.Int64    // signed-in flows
	ctx         context.Context // of reads on the backend
	cancel      context.CancelFunc
	stop        chan struct{}
	stopOnce    sync.Once
	wg          sync.WaitGroup // goroutines of the front
}

// listener is a bound Listener.
type listener struct {
	Listener
	tcp  net.Listener
	udp  net.PacketConn
	addr net.Addr
}

// New binds the listeners and starts the shards. Nothing is accepted before Serve, and Serve or Drain must be called to end
// what New started.
func New(cfg Config, b Backend) (*Front, error) {
	cores := runtime.GOMAXPROCS(0)
	cfg.defaults(cores)
	f := &Front{cfg: cfg, backend: b, log: cfg.Logger, parser: sip.NewParser(), metrics: newMetrics(),
		answers: newMailbox[answer](), reader: readers{max: cfg.HistoryConcurrency}, stop: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.parser.MaxMessageLength = flow.MaxMessage
	var err error
	if f.digest, err = digest.NewServer(cfg.MD5); err != nil {
		return nil, err
	}
	var start [4]byte
	if _, err := rand.Read(start[:]); err != nil {
		return nil, fmt.Errorf("make the first envelope id: %w", err)
	}
	// Envelope ids of replies start high and at random: a client that reconnects elsewhere sees no repeats.
	f.nextEnv.Store(1<<62 | uint64(start[0])<<48 | uint64(start[1])<<40 | uint64(start[2])<<32)
	f.flows = flow.NewServer(cfg.Limits, (*handler)(f))
	f.ledger = newLedger(f)
	f.desk = commands.Desk{Pool: b, Files: cfg.Files, DisplayName: cfg.DisplayName, ChatURI: f.chatURI, Logger: f.log, Context: f.ctx,
		Read: f.reader.run}
	f.load = newLoad(cfg.DeliveriesPerSec)
	f.metrics.gauges(f)
	for _, l := range cfg.Listeners {
		if err := f.bind(l); err != nil {
			f.unbind()
			f.cancel()
			return nil, err
		}
	}
	st := b.State()
	f.noteIncarnation(st)
	for i := 0; i < max(1, min(cores, 8)); i++ {
		f.shards = append(f.shards, newShard(f, st))
	}
	f.wg.Add(len(f.shards) + 2)
	for _, s := range f.shards {
		go s.run()
	}
	go f.answerPosts()
	go f.tick()
	return f, nil
}

func (f *Front) bind(l Listener) error {
	b := &listener{Listener: l}
	switch l.Network {
	case "tcp", "tls":
		if b.tcp = l.Bound; b.tcp == nil {
			ln, err := net.Listen("tcp", l.Addr)
			if err != nil {
				return fmt.Errorf("listen for SIP: %w", err)
			}
			b.tcp = ln
		}
		b.addr = b.tcp.Addr()
	case "udp":
		pc, err := net.ListenPacket("udp", l.Addr)
		if err != nil {
			return fmt.Errorf("listen for SIP: %w", err)
		}
		b.udp, b.addr = pc, pc.LocalAddr()
	default:
		return fmt.Errorf("listen for SIP: network %q is none of tcp, tls, udp", l.Network)
	}
	f.listeners = append(f.listeners, b)
	return b.check(b.addr)
}

func (f *Front) unbind() {
	for _, l := range f.listeners {
		if l.tcp != nil {
			l.tcp.Close() //nolint:errcheck // it is closed either way
		}
		if l.udp != nil {
			l.udp.Close() //nolint:errcheck // as above
		}
	}
}

// Addrs returns the bound addresses in the order of Config.Listeners.
func (f *Front) Addrs() []net.Addr {
	var all []net.Addr
	for _, l := range f.listeners {
		all = append(all, l.addr)
	}
	return all
}

// Serve accepts connections until ctx ends or Drain is called. When ctx ends without Drain the connections are
// closed at once; their sessions are then parted by the pool. Applied must be connected before Serve is called.
func (f *Front) Serve(ctx context.Context) error {
	// What was applied between New and now may not have come through Applied. There are no clients yet who could miss
	// it, but commands that led to no event wait for the head of the log.
	st := f.backend.State()
	f.noteIncarnation(st)
	for _, s := range f.shards {
		s.after(0, func(s *shard) {
			if st.Offset() > s.applied {
				s.applied, s.state = st.Offset(), st
			}
		})
	}
	errs := make(chan error, len(f.listeners))
	for _, l := range f.listeners {
		go func() {
			if l.udp != nil {
				errs <- f.serveUDP(l)
				return
			}
			conf := l.TLS
			if l.Network == "tcp" {
				conf = nil
			}
			errs <- f.flows.Serve(l.tcp, tlsFloor(conf), l)
		}()
	}
	var all error
	for range f.listeners {
		select {
		case err := <-errs:
			if err != nil && !errors.Is(err, flow.ErrStopped) {
				all = errors.Join(all, err)
				f.close() // half a front would look healthy
			}
		case <-ctx.Done():
			f.close()
			all = errors.Join(all, <-errs)
		}
	}
	select {
	case <-f.stop: // Drain has come to its end, or close
	case <-ctx.Done():
		f.close()
	}
	// Nothing is submitted any more when Serve returns: the backend may be closed then.
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := f.flows.Wait(last); err != nil {
		all = errors.Join(all, fmt.Errorf("wait for the last flow: %w", err))
	}
	f.wg.Wait()
	for _, s := range f.udp { // the last sweep is over
		s.Flows.Wait()
	}
	f.reader.wait()
	if all != nil {
		return fmt.Errorf("serve SIP: %w", all)
	}
	return nil
}

// close ends everything without ceremony.
func (f *Front) close() {
	f.draining.Store(true)
	f.flows.StopAccepting()
	f.unbind()
	for _, c := range f.conns() {
		c.Close(flow.ClosedShutdown)
	}
	f.halt()
}

// conns returns all flows.
func (f *Front) conns() []*flow.Conn {
	all := f.flows.Conns()
	f.udpMu.Lock()
	defer f.udpMu.Unlock()
	for _, s := range f.udp {
		all = append(all, s.Flows.Conns()...)
	}
	return all
}

func (f *Front) serveUDP(l *listener) error {
	flows := flow.NewDatagrams(f.cfg.Limits, (*handler)(f))
	s := udp.New(udp.Config{Conn: l.udp, App: l, Flows: flows, Patience: f.cfg.AnswerTimeout, Refused: (*handler)(f).Refused})
	f.udpMu.Lock()
	f.udp = append(f.udp, s)
	f.udpMu.Unlock()
	return s.Serve()
}

// halt stops the goroutines of the front.
func (f *Front) halt() {
	f.stopOnce.Do(func() {
		close(f.stop)
		f.cancel()
		for _, s := range f.shards {
			s.inbox.close()
		}
		f.answers.close()
	})
}

// Drain takes the node out of service: it stops accepting, parts the node's users, sends what is queued and closes the
// connections, spread over a few seconds so that the clients do not all arrive elsewhere at once. Clients come back
// by themselves when their connection closes; after a BYE they would not (seen of pidgin-sipe).
func (f *Front) Drain(ctx context.Context) error {
	f.draining.Store(true)
	f.flows.StopAccepting()
	for _, l := range f.listeners {
		if l.udp != nil {
			l.udp.Close() //nolint:errcheck // it is closed either way
		}
	}
	parted := f.ledger.partAll(event.PartNodeStopped)
	conns := f.conns()
	spread := min(time.Duration(len(conns))*500*time.Microsecond, 5*time.Second)
	var err error
	for i, c := range conns {
		c.Finish(flow.ClosedShutdown)
		if i%256 == 255 && err == nil {
			select {
			case <-time.After(spread * 256 / time.Duration(len(conns))):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	if err == nil {
		err = f.flows.Wait(ctx)
	}
	select {
	case <-parted:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	f.close()
	if err != nil {
		return fmt.Errorf("drain the SIP front: %w", err)
	}
	return nil
}

// tick is the one clock of the front: it sweeps connections, dialogs and unfinished business once a second.
func (f *Front) tick() {
	defer f.wg.Done()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-f.stop:
			return
		case now := <-t.C:
			f.sweep(now)
		}
	}
}

func (f *Front) sweep(now time.Time) {
	f.sweeping.Lock() // against tests that bring their own time
	defer f.sweeping.Unlock()
	f.flows.Sweep(now)
	f.sweepUDP(now)
	f.sweepDialogs(now)
	f.ledger.retry()
}

// Sessions returns the number of signed-in flows.
func (f *Front) Sessions() int { return int(f.sessions.Load()) }

// Collectors returns the metrics, for the caller to register.
func (f *Front) Collectors() []prometheus.Collector { return f.metrics.all }

// noteIncarnation learns under which incarnation the pool knows this node. 0 while it holds it for lost: no session
// can be opened then.
func (f *Front) noteIncarnation(st *chat.State) {
	n, ok := st.Node(f.cfg.Node)
	if !ok || !n.Alive {
		f.incarnation.Store(0)
		return
	}
	f.incarnation.Store(uint64(n.Incarnation))
}

// origin says whose wish a command is.
func (f *Front) origin(d *dialog) chat.Origin {
	return chat.Origin{By: d.user, Endpoint: d.endpoint, Node: f.cfg.Node, Incarnation: event.Incarnation(f.incarnation.Load())}
}

// unavailable says why no new work is taken, "" if it is.
func (f *Front) unavailable() string {
	switch {
	case f.draining.Load():
		return "draining"
	case f.incarnation.Load() == 0:
		return "not_in_pool"
	}
	if a, ok := f.backend.(Availability); ok && !a.Available() {
		return "no_leader"
	}
	return ""
}

// active reports whether the node takes new connections: administrators may name those that do.
func (f *Front) active(st *chat.State) bool {
	list := st.ActiveServers()
	return len(list) == 0 || slices.Contains(list, f.cfg.Node)
}

func (f *Front) realm(st *chat.State) string {
	if f.cfg.Realm != "" {
		return f.cfg.Realm
	}
	return st.Domain()
}

// chatURI is where the chat dialog goes; the pool's URI unless configured.
func (f *Front) chatURI(st *chat.State) string {
	if f.cfg.ChatURI != "" {
		return f.cfg.ChatURI
	}
	return st.PoolURI()
}
