package main

import (
	"context"
	"log/slog"

	"parley/cmd/internal/config"
	"parley/cmd/internal/server"
)

// node is one running node, as far as the command line is concerned.
type node interface {
	// Ready is closed when the node has a leader and its projections are current.
	Ready() <-chan struct{}
	// Done is closed when the node has ended, by Stop or by itself.
	Done() <-chan struct{}
	// Err says why the node ended by itself, nil after Stop. Valid once Done is closed.
	Err() error
	// Addresses are where the node listens. Valid once Ready is closed.
	Addresses() server.Addresses
	// Leader is who leads at this moment, empty if nobody is known to.
	Leader() string
	// Stop parts the node's users, hands leadership over and closes everything. It is called once.
	Stop(ctx context.Context) error
	// Drain parts the node's users only, so that nodes of one process can all do so before the first is gone.
	Drain(ctx context.Context) error
}

// openFunc starts a node. It returns before the node is ready.
type openFunc func(config.Config, *slog.Logger) (node, error)

// openNode starts a node of this binary.
func openNode(c config.Config, logger *slog.Logger) (node, error) {
	n, err := server.Open(c, logger)
	if err != nil {
		return nil, err // not n: a nil *server.Node would be a node
	}
	return n, nil
}

// nodeLine is the ready line of a node: the addresses it really listens on.
type nodeLine struct {
	Node  string `json:"node"`
	SIP   string `json:"sip"`
	SIPS  string `json:"sips"`
	HTTPS string `json:"https"`
	Peer  string `json:"peer"`
	Ops   string `json:"ops"`
	Data  string `json:"data"`
}

// poolLine is the last of the ready lines.
type poolLine struct {
	Ready   bool   `json:"ready"`
	PoolURI string `json:"pool_uri"`
	Leader  string `json:"leader"`
}
