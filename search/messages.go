package search

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	"github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
	"github.com/blevesearch/bleve/v2/mapping"
	bsearch "github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/query"

	"parley/log/event"
)

const (
	messagesName    = "messages"
	messagesVersion = 3

	fieldRoom    = "room"
	fieldBy      = "by"
	fieldAt      = "at"
	fieldText    = "text"
	fieldMessage = "message"

	// roomsInQuery is up to how many rooms a query names in the index; with more, hits are filtered (measured:
	// a hundred rooms cost 0.1 s at a million messages).
	roomsInQuery = 100
)

func messagesKind() kind {
	return kind{
		name: messagesName, version: messagesVersion,
		mapping: func() (mapping.IndexMapping, error) {
			text := wordsField()
			text.IncludeTermVectors = true // positions, for phrases
			room := keywordField()
			room.Store = true // a hit tells its room and message id
			message := bleve.NewNumericFieldMapping()
			message.Index, message.DocValues, message.Store = false, false, true
			at := bleve.NewDateTimeFieldMapping()
			at.DocValues, at.Store = false, false
			return newMapping(map[string]*mapping.FieldMapping{
				fieldRoom: room, fieldBy: keywordField(), fieldAt: at, fieldText: text, fieldMessage: message,
			})
		},
		fold: foldMessage, removed: removedMessages,
	}
}

// removePage is how many documents a removal looks at in one request.
const removePage = 5000

// errRemoval says that a removal names a message of the room by the offset of another: a broken promise of whoever
// decided it.
var errRemoval = errors.New("removal does not name the message")

// removedMessages finds what a removal names. What stands in the place of a message is not searched.
func removedMessages(find finder, e event.Envelope) (gone []string, err error) {
	if p, ok := e.Event.(*event.MessagesPurged); ok {
		return purgedMessages(find, e, p)
	}
	r := e.Event.(*event.MessagesRemoved)
	inRoom := anyTerm(fieldRoom, []event.RoomID{e.Room})
	if r.Until != 0 {
		which := bleve.NewConjunctionQuery(inRoom)
		if r.Until < e.At { // else all that come before; Bleve takes no times after 2262
			which.AddQuery(between(0, max(r.Until, 1)))
		}
		err = pages(find, which, func(h Hit) error {
			if h.Offset < e.Offset {
				gone = append(gone, documentID(h.Offset))
			}
			return nil
		})
		return gone, err
	}
	ids := make(map[event.Offset]uint64, len(r.Messages))
	for refs := range slices.Chunk(r.Messages, removePage) {
		var documents []string
		for _, ref := range refs {
			ids[ref.Offset] = ref.MessageID
			documents = append(documents, documentID(ref.Offset))
		}
		err := pages(find, bleve.NewDocIDQuery(documents), func(h Hit) error {
			if h.Room != e.Room || h.MessageID != ids[h.Offset] {
				return fmt.Errorf("event %d is message %d of room %s: %w", h.Offset, h.MessageID, h.Room, errRemoval)
			}
			gone = append(gone, documentID(h.Offset))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// purgedMessages finds what a purge names. The index does not store who wrote a message and when, so what is kept from the
// purge is asked for, one question for each hold.
func purgedMessages(find finder, e event.Envelope, p *event.MessagesPurged) (gone []string, err error) {
	// in finds the messages of the purge's range that are by some authors and of a time.
	in := func(authors []event.Principal, from, to event.Time, visit func(event.Offset)) error {
		which := bleve.NewConjunctionQuery(anyTerm(fieldRoom, []event.RoomID{e.Room}))
		if len(authors) > 0 {
			which.AddQuery(anyTerm(fieldBy, authors))
		}
		if to >= e.At { // no message is younger; Bleve takes no times after 2262
			to = 0
		}
		if from > 0 || to != 0 {
			which.AddQuery(between(from, to))
		}
		return pages(find, which, func(h Hit) error {
			if h.Offset >= p.First.Offset && h.Offset <= p.Last.Offset && h.MessageID >= p.First.MessageID && h.MessageID <= p.Last.MessageID {
				visit(h.Offset)
			}
			return nil
		})
	}
	if p.Until < 0 {
		return nil, nil
	}
	kept := map[event.Offset]bool{}
	for _, k := range p.Keeps {
		if k.From > e.At || k.To < 0 {
			continue
		}
		err := in(k.Authors, k.From, k.To, func(o event.Offset) {
			if o >= k.First && (k.Last == 0 || o <= k.Last) {
				kept[o] = true
			}
		})
		if err != nil {
			return nil, err
		}
	}
	err = in(nil, 0, max(p.Until, 1), func(o event.Offset) {
		if !kept[o] {
			gone = append(gone, documentID(o))
		}
	})
	return gone, err
}

// between finds messages of a time, the ends included; 0 is an open end.
func between(from, to event.Time) query.Query {
	yes := true
	at := bleve.NewDateRangeInclusiveQuery(open(from), open(to), &yes, &yes)
	at.SetField(fieldAt)
	return at
}

// pages visits all documents that match.
func pages(find finder, q query.Query, visit func(Hit) error) error {
	var after []string
	for {
		r := bleve.NewSearchRequestOptions(q, removePage, 0, false)
		r.Score = "none"
		r.Fields = []string{fieldRoom, fieldMessage}
		r.Sort = bsearch.SortOrder{&bsearch.SortDocID{}}
		r.SearchAfter = after
		res, err := find(r)
		if err != nil {
			return err
		}
		for _, d := range res.Hits {
			h, err := newHit(d)
			if err != nil {
				return err
			}
			if err := visit(h); err != nil {
				return err
			}
		}
		if len(res.Hits) < removePage {
			return nil
		}
		after = []string{res.Hits[len(res.Hits)-1].ID}
	}
}

func foldMessage(b *bleve.Batch, e event.Envelope) (bool, error) {
	m, ok := event.MessageOf(&e)
	if !ok || m.Unlogged || e.Erased {
		return false, nil
	}
	// Bleve keeps numbers as floats: exact up to 2^53 messages in a room.
	return true, b.Index(documentID(e.Offset), map[string]any{
		fieldRoom: string(e.Room), fieldBy: string(m.By), fieldAt: m.At.UTC(), fieldText: textOf(&m),
		fieldMessage: float64(m.ID),
	})
}

// textOf is what can be read of a message: a story is found by its title too.
func textOf(m *event.ChatMessage) string {
	if m.Title == "" {
		return m.Text
	}
	return m.Title + "\n" + m.Text
}

// documentID orders as offsets do, so sorting by it is sorting by time, and costs a quarter of sorting by a date.
func documentID(o event.Offset) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(o)))
}

// Match is how the words of a search count.
type Match int

// The ways.
const (
	AllWords Match = iota
	AnyWord
	Phrase // the words in this order, nothing between them
)

// MessageQuery for messages. Whole words match, in any case. Without a word it finds all that its authors wrote.
type MessageQuery struct {
	Text   string
	Match  Match
	Rooms  []event.RoomID    // only in these; none: in all
	By     []event.Principal // only by these; none: by all
	From   event.Time        // at or after; 0: open
	To     event.Time        // before; 0: open
	Before event.Offset      // older than this one, for the next page; 0: from the newest
	After  event.Offset      // with Oldest, younger than this one; 0: from the oldest
	Oldest bool              // oldest first
	Limit  int               // 0: 25; at most MaxMessages
}

// Hit is a message that was found. Its text is in the history, or in the log at Offset.
type Hit struct {
	Offset    event.Offset
	Room      event.RoomID
	MessageID uint64
}

// Messages returns the messages that match and whose room visible, unless it is nil, lets through: newest first. A
// query without a word is ErrInvalidQuery: what a room holds is asked of the history. Give Rooms where the caller
// may read few; otherwise a frequent word makes a long search for those he may see. ctx bounds it.
func (s *Search) Messages(ctx context.Context, q MessageQuery, visible func(event.RoomID) bool) ([]Hit, error) {
	found, _, err := s.Page(ctx, q, visible)
	return found, err
}

// Page is Messages, and tells how many messages match in all, wherever the page begins; it does not ask visible for that,
// nor count to the end where more than a hundred rooms are named.
func (s *Search) Page(ctx context.Context, q MessageQuery, visible func(event.RoomID) bool) (found []Hit, total uint64, err error) {
	bq, err := q.build()
	if err != nil {
		return nil, 0, err
	}
	limit := defaultMessages
	if q.Limit > 0 {
		limit = min(q.Limit, MaxMessages)
	}
	allowed := q.filter(visible)
	var after []string
	if o := q.Before; o > 0 && !q.Oldest {
		after = []string{documentID(o)}
	} else if o := q.After; o > 0 && q.Oldest {
		after = []string{documentID(o)}
	}
	// Each page runs the query again, so pages grow when most hits are not for the caller.
	for size := max(limit, 64); ; size = min(4*size, 1<<16) {
		r := bleve.NewSearchRequestOptions(bq, size, 0, false)
		r.Score = "none"
		r.Fields = []string{fieldRoom, fieldMessage}
		r.Sort = bsearch.SortOrder{&bsearch.SortDocID{Desc: !q.Oldest}}
		r.SearchAfter = after
		res, err := s.messages.search(ctx, r)
		if err != nil {
			return nil, 0, err
		}
		total = res.Total
		for _, h := range res.Hits {
			hit, err := newHit(h)
			if err != nil {
				return nil, 0, err
			}
			if !allowed(hit.Room) {
				continue
			}
			if found = append(found, hit); len(found) == limit {
				return found, total, nil
			}
		}
		if len(res.Hits) < size {
			return found, total, nil
		}
		after = []string{res.Hits[len(res.Hits)-1].ID}
	}
}

func (q *MessageQuery) build() (query.Query, error) {
	if len(q.Text) > MaxQueryBytes {
		return nil, invalid("search text has %d bytes, at most %d", len(q.Text), MaxQueryBytes)
	}
	words := len(tokenize(q.Text))
	switch n := words; {
	case n == 0 && (q.Text != "" || len(q.By) == 0):
		return nil, invalid("search text has no word")
	case n > maxWords && q.Match != Phrase:
		return nil, invalid("search text has %d words, at most %d", n, maxWords)
	}
	var all []query.Query
	switch {
	case words == 0:
	case q.Match == Phrase:
		p := bleve.NewMatchPhraseQuery(q.Text)
		p.SetField(fieldText)
		all = append(all, p)
	case q.Match == AllWords, q.Match == AnyWord:
		m := bleve.NewMatchQuery(q.Text)
		m.SetField(fieldText)
		if m.SetOperator(query.MatchQueryOperatorAnd); q.Match == AnyWord {
			m.SetOperator(query.MatchQueryOperatorOr)
		}
		all = append(all, m)
	default:
		return nil, invalid("way to match %d is not known", q.Match)
	}
	if len(q.By) > 0 {
		all = append(all, anyTerm(fieldBy, q.By))
	}
	if n := len(q.Rooms); n > 0 && n <= roomsInQuery {
		all = append(all, anyTerm(fieldRoom, q.Rooms))
	}
	if q.From != 0 || q.To != 0 {
		yes, no := true, false
		r := bleve.NewDateRangeInclusiveQuery(open(q.From), open(q.To), &yes, &no)
		r.SetField(fieldAt)
		all = append(all, r)
	}
	return bleve.NewConjunctionQuery(all...), nil
}

func (q *MessageQuery) filter(visible func(event.RoomID) bool) func(event.RoomID) bool {
	if visible == nil {
		visible = func(event.RoomID) bool { return true }
	}
	if len(q.Rooms) <= roomsInQuery {
		return visible
	}
	in := make(map[event.RoomID]bool, len(q.Rooms))
	for _, r := range q.Rooms {
		in[r] = true
	}
	return func(r event.RoomID) bool { return in[r] && visible(r) }
}

func anyTerm[T ~string](field string, values []T) query.Query {
	d := bleve.NewDisjunctionQuery()
	for _, v := range values {
		t := bleve.NewTermQuery(string(v))
		t.SetField(field)
		d.AddQuery(t)
	}
	return d
}

func newHit(h *bsearch.DocumentMatch) (Hit, error) {
	room, ok := h.Fields[fieldRoom].(string)
	id, ok2 := h.Fields[fieldMessage].(float64)
	if !ok || !ok2 || len(h.ID) != 8 {
		return Hit{}, fmt.Errorf("search result %x lacks its room or message id: %w", h.ID, event.ErrCorrupt)
	}
	return Hit{Offset: event.Offset(binary.BigEndian.Uint64([]byte(h.ID))), Room: event.RoomID(room), MessageID: uint64(id)}, nil
}

// tokenize returns the words of a text as the indexes have them.
func tokenize(text string) []string {
	var out []string
	tokens := unicode.NewUnicodeTokenizer().Tokenize([]byte(text))
	for _, t := range lowercase.NewLowerCaseFilter().Filter(analysis.TokenStream(tokens)) {
		out = append(out, string(t.Term))
	}
	return out
}

// open returns the instant, or the zero time for an open end.
func open(t event.Time) (out time.Time) {
	if t != 0 {
		out = t.UTC()
	}
	return out
}
