package submit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat"
	"parley/raftnode"
	"parley/raftnode/sequencer"
)

// rules decide by the text of a post.
type rules struct{}

func (rules) Decide(q chat.Request, _ event.Time) ([]event.Draft, chat.Result, error) {
	switch text := q.Command.(*chat.Post).Text; text {
	case "refuse":
		return nil, chat.Result{}, chat.Refuse(chat.CodeForbidden, "no")
	case "not now": // a refusal by the rules is final, whatever its class
		return nil, chat.Result{}, chat.Refuse(chat.CodeUnavailable, "not in this incarnation")
	case "again":
		return nil, chat.Result{Duplicate: true, Offset: 1, MessageID: 7}, nil
	case "panic":
		panic("a bug")
	default:
		return []event.Draft{{Event: &event.Posted{Text: text}}}, chat.Result{MessageID: 7}, nil
	}
}

func (rules) Fold(event.Envelope) error { return nil }

// pool commits what it is given, once its barrier is open.
type pool struct {
	barrier chan struct{}
	next    event.Offset
	fail    error
}

type done struct {
	first, last event.Offset
	err         error
}

func (d done) Wait(context.Context) (event.Offset, event.Offset, error) {
	return d.first, d.last, d.err
}

func (p *pool) Propose(*event.Sealed) sequencer.Future {
	p.next++
	return done{p.next, p.next, p.fail}
}
func (p *pool) Verify() sequencer.Future { return done{} }
func (p *pool) Barrier(ctx context.Context) error {
	select {
	case <-p.barrier:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What a node is told of its own sequencer and what it is told of another node's is the same, and so is what it does
// about it: send the request again, or not.
func TestHereAndElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pool{barrier: make(chan struct{})}
		seq := sequencer.New(sequencer.Config[chat.Request, chat.Result]{Proposer: p, QueueLimit: 1,
			Open: func(context.Context) (sequencer.Decider[chat.Request, chat.Result], sequencer.Head, error) {
				return rules{}, sequencer.Head{Offset: p.next}, nil
			},
			Now: func() event.Time { return 1 }})
		type answer struct {
			out chat.Outcome
			err error
		}
		post := func(text string) chat.Request { return chat.Request{Command: &chat.Post{Text: text}} }
		ask := func(text string) [2]chan answer {
			here, there := make(chan answer, 1), make(chan answer, 1)
			local(seq.Lane())(post(text), func(o chat.Outcome, err error) { here <- answer{o, err} })
			synctest.Wait()
			q := post(text)
			Serve(seq)("n2")(wire.Marshal(&q), func(b []byte, err error) {
				// As raftnode.Stream has it on the other side: only the class is left of the error.
				var a answer
				a.out, a.err = answered(b, err)
				there <- a
			})
			synctest.Wait()
			return [2]chan answer{here, there}
		}
		check := func(text string, answers [2]chan answer, again bool, code chat.Code, messages uint64) {
			t.Helper()
			for i, ch := range answers {
				a := <-ch
				got := chat.Code("")
				if a.err != nil {
					got = chat.AsRefusal(a.err).Code
				}
				if got != code || retry(a.err) != again || a.out.Result.MessageID != messages {
					t.Errorf("%s, answer %d: %+v, %v (retry %v), want code %q, retry %v", text, i, a.out, a.err, retry(a.err), code, again)
				}
			}
		}
		check("no leader", ask("x"), true, chat.CodeUnavailable, 0)

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- seq.Lead(ctx) }()
		synctest.Wait()
		first := make(chan error, 1)
		seq.Enqueue(post("first"), func(_ sequencer.Outcome[chat.Result], err error) { first <- err })
		check("the queue is full", ask("x"), false, chat.CodeUnavailable, 0)
		close(p.barrier)
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		check("a post", ask("x"), false, "", 7)
		check("a refusal", ask("refuse"), false, chat.CodeForbidden, 0)
		check("a refusal for now", ask("not now"), false, chat.CodeUnavailable, 0)
		check("a bug", ask("panic"), false, chat.CodeInvalid, 0)
		for i, ch := range ask("again") {
			if a := <-ch; a.err != nil || a.out.Offset != 1 || !a.out.Result.Duplicate {
				t.Errorf("a duplicate, answer %d: %+v, %v, want the offset of the first time", i, a.out, a.err)
			}
		}
		p.fail = errors.New("leadership lost")
		check("a lost entry", ask("x"), true, chat.CodeUnavailable, 0)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A command of a newer version is refused for good: the leader will not know it the next time either.
func TestUnknownCommand(t *testing.T) {
	seq := sequencer.New(sequencer.Config[chat.Request, chat.Result]{})
	var got error
	Serve(seq)("n2")([]byte{0x10, 0xff, 0x7f}, func(b []byte, err error) { _, got = answered(b, err) })
	if !errors.Is(got, chat.ErrUnsupported) || retry(got) {
		t.Errorf("an unknown command: %v, want %v", got, chat.ErrUnsupported)
	}
	for _, err := range []error{raftnode.ErrNoLeader, raftnode.ErrNotLeader, fmt.Errorf("stream: %w", raftnode.ErrUnknownOutcome)} {
		if !retry(err) {
			t.Errorf("%v is an answer", err)
		}
	}
}

// What no other node takes is refused for good: it would come back as "busy, try again" for ever.
func TestTooLargeToForward(t *testing.T) {
	q := chat.Request{Command: &chat.Post{Text: strings.Repeat("x", raftnode.MaxForward)}}
	var got error
	remote(nil)(q, func(_ chat.Outcome, err error) { got = err })
	if !errors.Is(got, chat.ErrTooLarge) {
		t.Error(got)
	}
}
