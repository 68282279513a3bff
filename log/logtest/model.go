package logtest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sort"
	"time"

	"parley/log"
	"parley/log/event"
)

// model is what a log should contain: a list in memory, with the rules of FORMAT.md written down a second time in the
// most naive way.
type model struct {
	term    uint64
	records []log.Record
	batches map[event.Index]event.Batch // of commands; Prev and Base as sealed
	chains  map[event.Index]event.Chain // after the batch, as sealed
	head    log.Head
	void    uint64
	durable log.Head // the mark as it was at the last sync
	rng     *rand.Rand

	erased   map[event.Offset]bool // bodies that are gone
	removals event.Offset          // carried out up to here

	// The end of what the leader has proposed, committed or not: the next batch continues here.
	tip log.Head
}

func newModel(seed uint64) *model {
	return &model{term: 1, batches: make(map[event.Index]event.Batch), chains: make(map[event.Index]event.Chain),
		erased: make(map[event.Offset]bool), rng: rand.New(rand.NewPCG(seed, 1))}
}

func (m *model) clone() *model {
	c := *m
	c.records = slices.Clone(m.records)
	c.erased = maps.Clone(m.erased)
	c.batches = make(map[event.Index]event.Batch, len(m.batches))
	for k, v := range m.batches {
		c.batches[k] = v
	}
	c.chains = make(map[event.Index]event.Chain, len(m.chains))
	for k, v := range m.chains {
		c.chains[k] = v
	}
	return &c
}

func (m *model) last() event.Index { return event.Index(len(m.records)) }

// fault is what is wrong with a batch, so that it will be void.
type fault int

const (
	sound    fault = iota
	skewed         // it names an offset that is not the next
	untimely       // its time is not later than that of the batch before it
)

// command makes the next record, a batch of a few events.
func (m *model) command(wrong fault, bulk bool) (log.Record, error) {
	b := event.Batch{Base: m.tip.Offset + 1, At: m.tip.At + 1 + event.Time(m.rng.IntN(1000)), Prev: m.tip.Chain}
	switch wrong {
	case skewed:
		b.Base += 1 + event.Offset(m.rng.IntN(3))
	case untimely:
		b.At = m.tip.At
	}
	for range 1 + m.rng.IntN(3) {
		d := event.Draft{Meta: event.Meta{By: "sip:alice@contoso.test", Room: room, Node: "n1"}}
		switch n := m.rng.IntN(4); {
		case bulk:
			d.Event = &event.Posted{MessageID: 1, Text: m.noise(8 << 10)}
		case n == 0:
			d.Event = &event.Joined{Endpoint: "e1", Incarnation: event.Incarnation(m.rng.Uint32())}
		default:
			d.Event = &event.Posted{MessageID: m.rng.Uint64(), Text: fmt.Sprintf("message %d", m.rng.Uint32())}
		}
		b.Events = append(b.Events, d)
	}
	return m.seal(b, wrong)
}

// removal makes the next record, a batch that removes posts: one or two of those committed, or with clear all up to one
// of them. Without a post it removes nothing.
func (m *model) removal(clear bool) (log.Record, error) {
	var posts []event.Envelope
	for _, e := range m.events() {
		if e.Kind() == event.KindPosted {
			posts = append(posts, e)
		}
	}
	r := &event.MessagesRemoved{}
	for range min(2, len(posts)) {
		e := posts[m.rng.IntN(len(posts))]
		if clear {
			r.Until = max(r.Until, e.At)
		} else {
			r.Messages = append(r.Messages, event.MessageRef{MessageID: e.Event.(*event.Posted).MessageID, Offset: e.Offset})
		}
	}
	b := event.Batch{Base: m.tip.Offset + 1, At: m.tip.At + 1, Prev: m.tip.Chain, Events: []event.Draft{
		{Meta: event.Meta{By: "admin:root", Room: room}, Event: r}}}
	return m.seal(b, sound)
}

const room event.RoomID = "0f8fad5b-d9cb-469f-a165-70867728950e"

// erase carries out what removals are committed, in the most naive way: it looks at each event for each of them.
func (m *model) erase() error {
	events := m.events()
	for _, r := range events {
		removed, ok := r.Event.(*event.MessagesRemoved)
		if !ok || r.Offset <= m.removals {
			continue
		}
		for _, e := range events {
			p, ok := e.Event.(*event.Posted)
			if !ok || e.Offset >= r.Offset || m.erased[e.Offset] {
				continue
			}
			if e.At <= removed.Until || slices.Contains(removed.Messages, event.MessageRef{MessageID: p.MessageID, Offset: e.Offset}) {
				m.erased[e.Offset] = true
				rec := &m.records[e.Index-1]
				head, bodies, err := event.Split(rec.Data)
				if err != nil {
					return err
				}
				if bodies, _, err = event.Erase(head, bodies, []int{int(e.Offset - m.batches[e.Index].Base)}); err != nil {
					return err
				}
				rec.Data = append(head, bodies...)
			}
		}
	}
	m.removals = m.head.Offset
	return nil
}

func (m *model) seal(b event.Batch, wrong fault) (log.Record, error) {
	data, chain, err := b.Seal()
	if err != nil {
		return log.Record{}, err
	}
	r := m.plain(0, data)
	m.batches[r.Index], m.chains[r.Index] = b, chain
	if wrong == sound {
		m.tip.Offset, m.tip.Chain, m.tip.At = b.Base+event.Offset(len(b.Events))-1, chain, b.At
	}
	m.records = append(m.records, r)
	return r, nil
}

// noise returns text that compresses to half at best.
func (m *model) noise(n int) string {
	b := make([]byte, n/2)
	for i := range b {
		b[i] = byte(m.rng.Uint32())
	}
	return hex.EncodeToString(b)
}

// plain makes the record after the last, without adding it.
func (m *model) plain(kind uint8, data []byte) log.Record {
	r := log.Record{Index: m.last() + 1, Term: m.term, Type: kind, Data: data}
	if m.rng.IntN(2) == 0 {
		r.AppendedAt = time.Unix(int64(m.rng.Uint32()), int64(m.rng.IntN(1e9))).UTC()
	}
	if m.rng.IntN(3) == 0 {
		r.Extensions = []byte(fmt.Sprint("extension ", m.rng.Uint32()))
	}
	return r
}

func (m *model) other(kind uint8, data []byte) log.Record {
	r := m.plain(kind, data)
	m.records = append(m.records, r)
	return r
}

// truncate removes the records from an index on.
func (m *model) truncate(from event.Index) {
	if from > m.last() {
		return
	}
	for i := from; i <= m.last(); i++ {
		delete(m.batches, i)
		delete(m.chains, i)
	}
	m.records = m.records[:from-1]
	m.synced()
	m.retip()
}

// retip finds where the next batch must continue: behind all records that are left.
func (m *model) retip() {
	c := m.clone()
	c.commit(c.last())
	m.tip = c.head
}

// synced notes that everything written so far is on disk, the mark included.
func (m *model) synced() { m.durable = m.head }

// commit moves the mark and tells what should become of each entry.
func (m *model) commit(index event.Index) []log.Committed {
	var out []log.Committed
	for i := m.head.Index + 1; i <= index; i++ {
		c := log.Committed{Index: i}
		m.head.Index = i
		if b, ok := m.batches[i]; ok {
			if b.Base == m.head.Offset+1 && b.Prev == m.head.Chain && (m.head.Offset == 0 || b.At > m.head.At) {
				c.First, c.Last = b.Base, b.Base+event.Offset(len(b.Events))-1
				m.head.Offset, m.head.Chain, m.head.At = c.Last, m.chains[i], b.At
			} else {
				c.Void = true
				m.void++
			}
		}
		out = append(out, c)
	}
	return out
}

// events returns the committed events of the model.
func (m *model) events() []event.Envelope {
	var out []event.Envelope
	c := m.clone()
	c.head, c.void = log.Head{}, 0
	for _, done := range c.commit(m.head.Index) {
		if done.First == 0 {
			continue
		}
		b := m.batches[done.Index]
		for i, d := range b.Events {
			e := event.Envelope{Offset: b.Base + event.Offset(i), At: b.At, Index: done.Index, Meta: d.Meta, Event: d.Event}
			if m.erased[e.Offset] {
				p := *d.Event.(*event.Posted)
				p.Text = ""
				e.Event, e.Erased = &p, true
			}
			out = append(out, e)
		}
	}
	return out
}

// check is the one checker: it reads everything that a log can tell and compares it with the model.
func (m *model) check(l *log.Log) error {
	if err := m.checkWhole(l); err != nil {
		return err
	}
	return m.checkPieces(l)
}

// checkWhole compares everything that is stored, once.
func (m *model) checkWhole(l *log.Log) error {
	if got := l.Head(); got != m.head {
		return fmt.Errorf("head is %+v, want %+v", got, m.head)
	}
	if got := l.Void(); got != m.void {
		return fmt.Errorf("%d void batches, want %d", got, m.void)
	}
	if got := l.LastIndex(); got != m.last() {
		return fmt.Errorf("last index is %d, want %d", got, m.last())
	}
	if got := l.FirstIndex(); got != min(m.last(), 1) {
		return fmt.Errorf("first index is %d, last %d", got, m.last())
	}
	for i := range m.records {
		got, err := l.Record(event.Index(i + 1))
		if err != nil {
			return fmt.Errorf("record: %w", err)
		}
		if err := equalRecord(got, m.records[i]); err != nil {
			return err
		}
	}
	for _, i := range []event.Index{0, m.last() + 1, ^event.Index(0)} {
		if _, err := l.Record(i); !errors.Is(err, log.ErrNotFound) {
			return fmt.Errorf("record %d: %v, want ErrNotFound", i, err)
		}
	}
	want := m.events()
	got, err := l.Read(0, 1<<30)
	if err != nil {
		return err
	}
	if err := equalEvents(got, want); err != nil {
		return err
	}
	if len(got) > 0 && got[len(got)-1].Chain != m.head.Chain {
		return fmt.Errorf("chain after the last event is %s, want %s", got[len(got)-1].Chain, m.head.Chain)
	}
	found, err := l.Inspect(context.Background(), 0, 0, nil)
	if want := (log.Verified{Erased: uint64(len(m.erased))}); err == nil && found != want {
		err = fmt.Errorf("verify found %+v, want %+v", found, want)
	}
	return err
}

// checkPieces asks for parts of what there is in every way.
func (m *model) checkPieces(l *log.Log) error {
	want := m.events()
	// A reader sees the same in pieces, and each piece from each offset on.
	r := l.Reader(1)
	defer r.Close()
	for seen := 0; seen < len(want); {
		run, err := r.Next(context.Background())
		if err != nil {
			return err
		}
		if err := equalEvents(run, want[seen:min(seen+len(run), len(want))]); err != nil {
			return fmt.Errorf("reader: %w", err)
		}
		seen += len(run)
	}
	for i, e := range want {
		// From within an entry all reads go the same way: its ends and one inside will do.
		if i > 1 && i+1 < len(want) && want[i-2].Index == e.Index && want[i+1].Index == e.Index {
			continue
		}
		run, err := l.Read(e.Offset, 1)
		if err != nil {
			return err
		}
		if err := equalEvents(run, []event.Envelope{e}); err != nil {
			return fmt.Errorf("read at %d: %w", e.Offset, err)
		}
	}
	return m.checkTimes(l, want)
}

func (m *model) checkTimes(l *log.Log, want []event.Envelope) error {
	at := func(t event.Time) event.Offset {
		return event.Offset(sort.Search(len(want), func(i int) bool { return want[i].At > t }))
	}
	times := []event.Time{-1 << 63, 0, 1<<63 - 1}
	for _, e := range want {
		times = append(times, e.At-1, e.At)
	}
	slices.Sort(times) // all events of an entry have one time
	times = slices.Compact(times)
	for _, t := range times {
		got, err := l.At(t)
		if err != nil {
			return err
		}
		if got != at(t) {
			return fmt.Errorf("offset at %d is %d, want %d", t, got, at(t))
		}
	}
	return nil
}

func equalRecord(got, want log.Record) error {
	if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type || !got.AppendedAt.Equal(want.AppendedAt) ||
		!bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Extensions, want.Extensions) {
		return fmt.Errorf("record %d is\n%+v\nwant\n%+v", want.Index, got, want)
	}
	return nil
}

// equalEvents compares everything but hashes, which the model does not compute.
func equalEvents(got, want []event.Envelope) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d events, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Offset != w.Offset || g.At != w.At || g.Index != w.Index || g.Meta != w.Meta || g.Erased != w.Erased || !reflect.DeepEqual(g.Event, w.Event) {
			return fmt.Errorf("event %d is\n%+v %+v\nwant\n%+v %+v", w.Offset, g, g.Event, w, w.Event)
		}
	}
	return nil
}
