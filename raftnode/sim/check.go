package sim

import (
	"errors"
	"fmt"

	"parley/log/event"
	"parley/projections/chat"
)

// ledger is what the pool has committed, as far as any node has shown it.
type ledger struct {
	events []event.Envelope
	seen   map[event.CommandID]event.Offset // of the command's first event
	states []*chat.State                    // after each event, from nothing; states[0] is the empty one
	hashes map[event.Offset][32]byte        // of the states that were asked for: nodes often stand at the same event
}

func newLedger() *ledger {
	return &ledger{seen: map[event.CommandID]event.Offset{}, states: []*chat.State{chat.NewState()}, hashes: map[event.Offset][32]byte{}}
}

// take compares what a node has committed with what is known, and learns what is new.
func (l *ledger) take(in *instance) error {
	// A node that came back has a mark that may be older than what it had shown before the crash. So each instance is
	// compared from the first event on: a committed event never changes. What another node has shown is compared by the
	// chain at the last such event, which covers all before it; that the rows give this chain is seen when all are
	// verified at the end.
	head := in.log.Head()
	if n := head.Offset; n > 0 && int(n) <= len(l.events) && head.Chain != l.events[n-1].Chain {
		return fmt.Errorf("node %s: the chain at event %d is %s, another node has %s", in.node.id, n, head.Chain, l.events[n-1].Chain)
	}
	for at := event.Offset(max(1, len(l.events))); at <= head.Offset; {
		run, err := in.log.Read(at, 1000)
		if err != nil {
			return fmt.Errorf("node %s: %w", in.node.id, err)
		}
		for _, e := range run {
			if e.Offset != at {
				return fmt.Errorf("node %s: event %d where %d is due", in.node.id, e.Offset, at)
			}
			at++
			if int(e.Offset) <= len(l.events) {
				if known := l.events[e.Offset-1]; e.Chain != known.Chain || e.At != known.At || e.Leaf != known.Leaf {
					return fmt.Errorf("node %s: event %d is %s %s, another node has %s %s", in.node.id, e.Offset, e.Kind(), e.Chain, known.Kind(), known.Chain)
				}
				continue
			}
			if err := l.learn(e); err != nil {
				return fmt.Errorf("node %s: %w", in.node.id, err)
			}
		}
	}
	if n := in.log.Void(); n != 0 {
		return fmt.Errorf("node %s: %d void batches", in.node.id, n)
	}
	return nil
}

func (l *ledger) learn(e event.Envelope) error {
	if n := len(l.events); n > 0 {
		last := l.events[n-1]
		if e.At < last.At || (e.At == last.At && e.Index != last.Index) {
			return fmt.Errorf("event %d at %s follows one at %s", e.Offset, e.At, last.At)
		}
	}
	if !e.Command.IsZero() {
		first, ok := l.seen[e.Command]
		if ok && l.events[first-1].Index != e.Index {
			return fmt.Errorf("command %x took effect at event %d and again at %d", e.Command, first, e.Offset)
		}
		if !ok {
			l.seen[e.Command] = e.Offset
		}
	}
	s := l.states[len(l.states)-1].Clone()
	if err := s.Fold(e, nil); err != nil {
		return err
	}
	l.events, l.states = append(l.events, e), append(l.states, s)
	return nil
}

// acked checks that every command that somebody was told took effect is in the log once, where he was told.
func (l *ledger) acked(ops []*op) error {
	for _, o := range ops {
		if !o.acked() || o.kind == opSetup {
			continue
		}
		if at := o.out.Offset; int(at) > len(l.events) {
			return fmt.Errorf("client %d was told that its %s is at %d, but no node has more than %d events", o.client, o.kind, at, len(l.events))
		}
		first, ok := l.seen[o.id]
		switch {
		case ok && l.events[o.out.Offset-1].Command != o.id:
			return fmt.Errorf("client %d was told that its %s is at %d, but it is at %d", o.client, o.kind, o.out.Offset, first)
		case !ok && o.kind != opJoin && o.kind != opPart && o.kind != opLose: // these may need no event
			return fmt.Errorf("client %d was told that its %s is at %d, but that is another's", o.client, o.kind, o.out.Offset)
		}
		if o.kind != opPost {
			continue
		}
		if p, ok := l.events[o.out.Offset-1].Event.(*event.Posted); !ok || p.MessageID != o.out.Result.MessageID || p.Text != fmt.Sprintf("message %x", o.id) {
			return fmt.Errorf("client %d: event %d is not the message that it posted", o.client, o.out.Offset)
		}
	}
	return nil
}

// sending is a command on its way, as it was sent.
type sending struct {
	id             event.CommandID
	client, dialog int
}

// inOrder checks that of what a client sent on one dialog without waiting for answers everything that took effect did so
// in the order sent, whether the client was told or not.
func (l *ledger) inOrder(sent []sending) error {
	last := map[sending]event.CommandID{}
	for _, s := range sent {
		at, ok := l.seen[s.id]
		if s.dialog == 0 || !ok {
			continue
		}
		on := sending{client: s.client, dialog: s.dialog}
		if before, ok := last[on]; ok && l.seen[before] > at {
			return fmt.Errorf("client %d, dialog %d: command %x was sent before %x and took effect behind it, at %d and %d",
				s.client, s.dialog, before, s.id, l.seen[before], at)
		}
		last[on] = s.id
	}
	return nil
}

// projected checks that a node's room state, which it folded on and off with crashes in between, equals the state
// folded in one go from the first event.
func (l *ledger) projected(in *instance) error {
	if err := in.runner.Err(); err != nil {
		return fmt.Errorf("node %s: room state: %w", in.node.id, err)
	}
	s := in.rooms.Current()
	if int(s.Offset()) >= len(l.states) {
		return nil // its checkpoint is ahead of what the logs have committed again; later
	}
	want := l.states[s.Offset()]
	hash, ok := l.hashes[s.Offset()]
	if !ok {
		hash = want.Hash()
		l.hashes[s.Offset()] = hash
	}
	if s.Hash() != hash || s.Chain() != want.Chain() {
		return fmt.Errorf("node %s: room state at %d is not what the log says", in.node.id, s.Offset())
	}
	return nil
}

// Check compares all nodes with each other, with what clients were told, and with a replay. Run calls it after each
// step.
func (w *World) Check() {
	if err := w.check(); err != nil {
		w.fail(err)
	}
	w.stopIfFailed()
}

func (w *World) check() error {
	// Told first, then the log: what was told later is looked for the next time.
	ops := w.history.all()
	told, sent := make([]*op, 0, len(ops)), make([]sending, 0, len(ops))
	w.history.mu.Lock()
	for _, o := range ops {
		sent = append(sent, sending{o.id, o.client, o.dialog})
		if o.acked() {
			c := *o
			told = append(told, &c)
		}
	}
	w.history.mu.Unlock()
	running := w.running()
	all := len(running) == len(w.nodes)
	var errs []error
	for _, in := range running {
		errs = append(errs, w.ledger.take(in))
	}
	for _, in := range running {
		errs = append(errs, w.ledger.projected(in))
	}
	errs = append(errs, w.ledger.inOrder(sent))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// What was acknowledged is on a majority, but its mark may be on a node that is down or has just come back.
	if all && w.settled {
		return w.ledger.acked(told)
	}
	var sofar []*op
	for _, o := range told {
		if int(o.out.Offset) <= len(w.ledger.events) {
			sofar = append(sofar, o)
		}
	}
	return w.ledger.acked(sofar)
}
