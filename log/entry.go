package log

import (
	"container/list"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"parley/log/event"
)

// entry is a decoded and verified command. Envelopes are shared between readers and are never changed.
type entry struct {
	index     event.Index
	prev      event.Chain // that the batch expects
	envelopes []event.Envelope
	size      int // in memory, roughly
}

func (e *entry) first() event.Offset { return e.envelopes[0].Offset }
func (e *entry) last() event.Offset  { return e.envelopes[len(e.envelopes)-1].Offset }
func (e *entry) at() event.Time      { return e.envelopes[0].At }
func (e *entry) chain() event.Chain  { return e.envelopes[len(e.envelopes)-1].Chain }

// hasErased tells whether a body of the entry is erased.
func (e *entry) hasErased() bool {
	return slices.ContainsFunc(e.envelopes, func(v event.Envelope) bool { return v.Erased })
}

// envelopeSize is what an envelope and its event take in memory beside their text, which is stored at about a third of its size.
const envelopeSize = 512

// continues tells whether the batch continues a log that ends at h. Everything in it is decided by committed bytes,
// so all nodes decide alike.
func (e *entry) continues(h Head) bool {
	return e.first() == h.Offset+1 && e.prev == h.Chain && (h.Offset == 0 || e.at() > h.At)
}

// decodeEntry decodes the batch of an entry and verifies it: chain within the batch, hashes of bodies.
func decodeEntry(i event.Index, head, bodies []byte) (*entry, error) {
	return newEntry(new(event.Auditor), i, head, bodies)
}

// newEntry is decodeEntry in memory that serves many. Nothing of it, or of the rows, is in the entry.
func newEntry(a *event.Auditor, i event.Index, head, bodies []byte) (*entry, error) {
	b, envelopes, err := a.Decode(head, bodies, i)
	if err != nil {
		return nil, err
	}
	return &entry{index: i, prev: b.Prev, envelopes: envelopes, size: sizeOf(envelopes, len(head)+len(bodies))}, nil
}

func sizeOf(envelopes []event.Envelope, stored int) int {
	return envelopeSize*len(envelopes) + 3*stored
}

// readBack is newEntry of what this node sealed and read back then: nil if it did not, or if the data was altered since.
func readBack(i event.Index, s *event.Sealed) *entry {
	if s == nil {
		return nil
	}
	prev, envelopes, ok := s.Read(i)
	if !ok {
		return nil
	}
	return &entry{index: i, prev: prev, envelopes: envelopes, size: sizeOf(envelopes, len(s.Data))}
}

// entry returns the decoded entry at an index, nil when it is not a command.
func (l *Log) entry(r pebble.Reader, i event.Index) (*entry, error) {
	if e := l.entries.get(i); e != nil {
		return e, nil
	}
	row, bodies, err := l.readRows(r, i)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", i, err)
	}
	if row.kind != typeCommand {
		return nil, nil
	}
	e, err := decodeEntry(i, row.head, bodies)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", i, err)
	}
	return e, nil
}

// entryCache keeps the most recently used decoded entries, up to about a number of bytes. Readers, the fan-out and backchat
// all want the same few entries at the head.
type entryCache struct {
	mu    sync.Mutex
	limit int
	size  int
	byAge list.List // of *entry, newest use first
	at    map[event.Index]*list.Element
	gen   uint64 // counts erasures
}

func newEntryCache(limit int) *entryCache {
	return &entryCache{limit: limit, at: make(map[event.Index]*list.Element)}
}

func (c *entryCache) get(i event.Index) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.at[i]
	if !ok {
		return nil
	}
	c.byAge.MoveToFront(el)
	return el.Value.(*entry)
}

// generation is to be taken before an entry is read that will be put.
func (c *entryCache) generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen
}

// put keeps an entry that was read in a generation. One that was read before an erasure is not kept: it may be one
// whose bodies are gone.
func (c *entryCache) put(e *entry, gen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen != c.gen {
		return
	}
	if el, ok := c.at[e.index]; ok {
		c.remove(el)
	}
	c.at[e.index] = c.byAge.PushFront(e)
	c.size += e.size
	for c.size > c.limit && c.byAge.Len() > 1 {
		c.remove(c.byAge.Back())
	}
}

// dropFrom forgets the entries from an index on: they were truncated, and others will come in their place.
func (c *entryCache) dropFrom(i event.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, el := range c.at {
		if k >= i {
			c.remove(el)
		}
	}
}

// erased forgets entries whose bodies were erased on disk.
func (c *entryCache) erased(entries []event.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	for _, i := range entries {
		if el, ok := c.at[i]; ok {
			c.remove(el)
		}
	}
}

func (c *entryCache) remove(el *list.Element) {
	e := c.byAge.Remove(el).(*entry)
	c.size -= e.size
	delete(c.at, e.index)
}
