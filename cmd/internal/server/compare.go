package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/cmd/internal/version"
	"parley/log/event"
	"parley/log/scrub"
	"parley/projections/chat"
	"parley/projections/state"
	"parley/webfront/admin"
	"parley/webfront/ops"
)

// quarantineFile in the data directory keeps a node that differed from the others from starting.
const quarantineFile = "quarantine"

// checkQuarantine refuses to start a node that differed.
func (n *Node) checkQuarantine() error {
	name := filepath.Join(n.cfg.Data, quarantineFile)
	why, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("this node is in quarantine: %s. Keep a copy of %s for whoever looks into it. If it is the room state, remove %s and "+
		"its directories views and search, which are read again from the log; if it is the log, remove the node from the pool and add it "+
		"again as a standby with an empty data directory", why, n.cfg.Data, name)
}

// quarantine ends the node and keeps it ended. If we crash before the file is written, the next comparison comes to the
// same end.
func (n *Node) quarantine(why error) {
	if err := os.WriteFile(filepath.Join(n.cfg.Data, quarantineFile), []byte(why.Error()), 0o600); err != nil {
		why = errors.Join(why, err)
	}
	n.fail(fmt.Errorf("quarantine: %w", why))
}

// digest returns what this node is compared by; ctx bounds the wait for the offset, not the hashing. Where it has passed the offset it has the log there still, and no state; where
// it does not get there, it says what it has at the end of its own log: one whose log is another one gets nowhere, because no
// batch continues it, and is found by that.
func (n *Node) digest(ctx context.Context, at event.Offset) (admin.Digest, error) {
	d := admin.Digest{Node: n.id, Offset: at, Version: version.Number}
	s, err := n.rooms.Exactly(ctx, at)
	switch {
	case err == nil:
		d.Chain, d.State = s.Chain().String(), fmt.Sprintf("%x", stateHash(s))
		return d, nil
	case errors.Is(err, state.ErrPassed):
	case ctx.Err() != nil && n.run.Err() == nil:
		d.Offset = min(at, n.rooms.Current().Offset())
	default:
		return admin.Digest{}, err
	}
	d.Chain, err = n.chainAt(d.Offset)
	return d, err
}

// chainAt returns the chain after an event of the log.
func (n *Node) chainAt(o event.Offset) (string, error) {
	run, err := n.log.Read(o, 1)
	if err == nil && len(run) == 0 {
		err = fmt.Errorf("event %d is not committed here", o)
	}
	if err != nil {
		return "", err
	}
	return run[0].Chain.String(), nil
}

// scrubbing starts what looks for damage.
func (n *Node) scrubbing() {
	if every := n.cfg.Scrub.Every; every > 0 {
		m := scrub.NewMetrics()
		n.registry.MustRegister(m.Collectors()...)
		n.wg.Go(func() {
			if err := scrub.Run(n.run, scrub.Config{Log: n.log, Every: every, Metrics: m, Logger: n.logger}); err != nil {
				n.fail(err)
			}
		})
	}
	if every := n.cfg.Scrub.CompareEvery; every > 0 {
		differs := prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_scrub_nodes_differing",
			Help: "Nodes whose log or state differed from this node's at the same event, when they were last compared."})
		compared := prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_scrub_compared_total",
			Help: "Digests of other nodes that this node's was compared with. If it does not grow, nobody is asked in time."})
		n.registry.MustRegister(differs, compared)
		n.differing.Store(&[]event.NodeID{})
		n.wg.Go(func() { n.comparing(every, differs, compared) })
	}
}

func (n *Node) comparing(every time.Duration, differs prometheus.Gauge, compared prometheus.Counter) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.run.Done():
			return
		}
		mine, others, err := n.digests()
		if err != nil {
			n.logger.Debug("nodes were not compared", keyError, err) // busy, or alone: the next time
			continue
		}
		compared.Add(float64(len(others)))
		v := judge(mine, others)
		known := remember(*n.differing.Load(), v.differ, others)
		n.differing.Store(&known)
		differs.Set(float64(len(known)))
		switch {
		case v.outvoted:
			n.quarantine(v.err)
			return
		case v.err != nil:
			n.logger.Error("nodes differ", keyError, v.err)
		}
	}
}

// remember returns the nodes that differ: those of now, and those of before that have not been seen to agree since. A node
// that differed ends, and must not be forgotten because it does not answer any more.
func remember(before, now []event.NodeID, answers []admin.Digest) []event.NodeID {
	out := slices.Clone(now)
	for _, id := range before {
		agrees := slices.ContainsFunc(answers, func(d admin.Digest) bool { return d.Node == id && d.State != "" })
		if !agrees && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// agreeCheck warns in /readyz when another node was not like this one.
func (n *Node) agreeCheck() ops.Check {
	return ops.Check{Name: "nodes-agree", Warn: true, Run: func(context.Context) error {
		if d := n.differing.Load(); d != nil && len(*d) > 0 {
			return fmt.Errorf("the log or the room state of %v was not that of %s when they were last compared: look at what they say", *d, n.id)
		}
		return nil
	}}
}

// ahead is how far in the future nodes are compared on a busy pool: all have to be asked before they get there.
const ahead = 2 * time.Second

// compareWithin bounds the wait for the offset: others wait for 5 s. On a pool that falls quiet it may never come; the next
// comparison then has another one. A test has less patience.
var compareWithin = 8 * time.Second

// hashWithin bounds what comes after it: a state with all that is allowed takes some 10 s to hash, on every node.
const hashWithin = time.Minute

// stateHash is another one in a test.
var stateHash = (*chat.State).Hash

// digests asks all nodes for their digest at one offset.
func (n *Node) digests() (mine admin.Digest, others []admin.Digest, err error) {
	ctx, cancel := context.WithTimeout(n.run, compareWithin+hashWithin)
	defer cancel()
	wait, cancelWait := context.WithTimeout(ctx, compareWithin)
	defer cancelWait()
	// On a quiet pool everybody is at the head already; on a busy one the offset must be one that nobody has passed.
	before := n.log.Head().Offset
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return mine, nil, ctx.Err()
	}
	at := n.log.Head().Offset
	if rate := at - before; rate > 0 {
		at += rate*event.Offset(ahead/time.Second) + 1
	}
	answers := make(chan admin.Digest)
	asked := 0
	for _, m := range (adminPool{n}).Members() {
		if m.ID == n.id || m.HTTPS == "" {
			continue
		}
		asked++
		go func() {
			d, err := n.nodes.Digest(ctx, m, at)
			if err != nil {
				d = admin.Digest{} // it is down, behind, or has passed the offset
			}
			select {
			case answers <- d:
			case <-ctx.Done():
			}
		}()
	}
	if mine, err = n.digest(wait, at); err != nil {
		return mine, nil, fmt.Errorf("state of this node at %d: %w", at, err)
	}
	for range asked {
		select {
		case d := <-answers:
			if d.Offset == 0 || d.Offset > at {
				continue
			}
			if d.Offset < at { // it does not get there: compare what it has
				d.State = ""
				if chain, err := n.chainAt(d.Offset); err == nil && chain == d.Chain {
					d.Chain = mine.Chain
				} else {
					d.Chain = fmt.Sprintf("%d:%s", d.Offset, d.Chain)
				}
			}
			others = append(others, d)
		case <-ctx.Done():
			return mine, others, nil
		}
	}
	return mine, others, nil
}

// verdict is what a comparison comes to.
type verdict struct {
	differ   []event.NodeID // whose digest is not mine
	outvoted bool           // more nodes agree on something else than agree with this one
	err      error          // nil: all agree
}

// judge compares digests at one offset: the logs of all, and the states of nodes of this version that have one. Another one may keep more
// in its state, so during an upgrade its hash is another. It takes no sides between two halves: then people have to look.
func judge(mine admin.Digest, others []admin.Digest) verdict {
	v := count("log", mine, others, func(d admin.Digest) string { return d.Chain })
	if v.err != nil {
		return v
	}
	others = slices.DeleteFunc(slices.Clone(others), func(d admin.Digest) bool { return d.Version != mine.Version || d.State == "" })
	return count("room state", mine, others, func(d admin.Digest) string { return d.State })
}

// count holds one vote.
func count(what string, mine admin.Digest, others []admin.Digest, of func(admin.Digest) string) (v verdict) {
	votes := map[string]int{of(mine): 1}
	for _, d := range others {
		if votes[of(d)]++; of(d) != of(mine) {
			v.differ = append(v.differ, d.Node)
		}
	}
	if len(v.differ) == 0 {
		return v
	}
	for _, n := range votes {
		v.outvoted = v.outvoted || n > votes[of(mine)]
	}
	v.err = fmt.Errorf("the %s of %s at event %d is not that of %v: %w", what, mine.Node, mine.Offset, v.differ, event.ErrCorrupt)
	return v
}
