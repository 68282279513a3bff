package sipfront

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"parley/log/event"
	"parley/sipfront/commands"
	"parley/sipfront/flow"
)

// Backend is the pool as the front sees it.
type Backend interface{ commands.Pool }

// Availability may be implemented by a Backend that knows whether the pool has a leader. Without it INVITEs are taken
// and the commands in them find out.
type Availability interface {
	// Available is false when there has been no leader for longer than 3 s.
	Available() bool
}

// Listener is one address that the front listens on.
type Listener struct {
	Network string       // "tcp", "tls" or "udp"
	Addr    string       // host:port; port 0 takes a free one
	TLS     *tls.Config  // for "tls"; TLS 1.2 is the floor, 1.3 what is normally spoken
	Bound   net.Listener // instead of Addr, for tcp and tls: a listener that is open already
	// AllowUnchallenged lets clients in on their word. Refused on an address off loopback: it is for the sandbox.
	AllowUnchallenged bool
}

// Config is what the front needs to know. Zero values get the defaults named here.
type Config struct {
	Node      event.NodeID
	Listeners []Listener
	Logger    *slog.Logger

	ChatURI     string         // SIP URI told by cmd:requri; default: the pool's URI
	Realm       string         // of SIP Digest; default: the pool's domain
	MD5         bool           // also accept Digest with MD5, for clients that know nothing better (RFC 8760 section 2)
	DisplayName string         // of the service, told in cmd:getserverinfo
	Files       commands.Files // issues tokens for files; nil: there is no file service

	RegisterExpires time.Duration // longest registration; default 2 h
	SessionExpires  time.Duration // session timer of dialogs (RFC 4028); default 1800 s, at least 90 s unless for tests
	KeepAlive       time.Duration // keep-alive period asked of clients; default 120 s
	AnswerTimeout   time.Duration // a request without an answer for so long ends its flow; default 30 s, so that with a sweep a second a silent client is parted within 32 s

	Limits             flow.Limits
	FlowRate           float64 // requests a second of one flow, off loopback; default 20
	FlowBurst          float64 // default 40
	LoopbackFlowRate   float64 // the same on loopback; default 20000
	LoopbackFlowBurst  float64 // default 40000
	DeliveriesPerSec   float64 // messages sent to clients a second before posts are refused; default 30000 for each core
	InFlight           int     // commands of one flow at work before its reading stops; default 32
	HistoryConcurrency int     // history reads and searches at once; default 32
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (c *Config) defaults(cores int) {
	def(&c.RegisterExpires, 2*time.Hour)
	def(&c.SessionExpires, 1800*time.Second)
	def(&c.KeepAlive, 120*time.Second)
	def(&c.AnswerTimeout, 30*time.Second)
	def(&c.FlowRate, 20)
	def(&c.FlowBurst, 40)
	def(&c.LoopbackFlowRate, 20000)
	def(&c.LoopbackFlowBurst, 40000)
	def(&c.DeliveriesPerSec, 30000*float64(cores))
	def(&c.InFlight, 32)
	def(&c.HistoryConcurrency, 32)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// ErrOpenDoor says that a listener off loopback would let clients in without a challenge.
var ErrOpenDoor = errors.New("only a loopback listener may let clients in without a challenge")

// check refuses configurations that are not safe. The bound address counts, not the one that was asked for.
func (l *Listener) check(addr net.Addr) error {
	if l.Network == "tls" && l.TLS == nil {
		return fmt.Errorf("listen on %s: no TLS configuration", addr)
	}
	if !l.AllowUnchallenged {
		return nil
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("listen on %s: %w", addr, ErrOpenDoor)
	}
	return nil
}
