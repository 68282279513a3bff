package search

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/mapping"
	bsearch "github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/query"
	"github.com/blevesearch/bleve/v2/search/searcher"
	index_api "github.com/blevesearch/bleve_index_api"

	"parley/log/event"
)

const (
	roomsName    = "rooms"
	roomsVersion = 2

	fieldName        = "name"
	fieldKey         = "key" // the whole name in lower case: for order and for parts of words
	fieldDescription = "description"
)

func roomsKind() kind {
	return kind{
		name: roomsName, version: roomsVersion,
		mapping: func() (mapping.IndexMapping, error) {
			key := keywordField()
			key.DocValues = true
			description := wordsField()
			description.IncludeTermVectors = true // positions, for phrases; of a name the key has them
			return newMapping(map[string]*mapping.FieldMapping{
				fieldName: wordsField(), fieldKey: key, fieldDescription: description,
			})
		},
		fold: foldRoom,
	}
}

func foldRoom(b *bleve.Batch, e event.Envelope) (bool, error) {
	switch ev := e.Event.(type) {
	case *event.RoomCreated:
		return true, b.Index(string(e.Room), roomDocument(&ev.Info))
	case *event.RoomChanged:
		return true, b.Index(string(e.Room), roomDocument(&ev.Info))
	case *event.RoomRemoved:
		b.Delete(string(e.Room))
		return true, nil
	}
	return false, nil
}

func roomDocument(i *event.RoomInfo) map[string]any {
	return map[string]any{fieldName: i.Name, fieldKey: strings.ToLower(i.Name), fieldDescription: i.Description}
}

// Query for rooms.
type Query struct {
	// Text are words separated by white space. Each must be found in the name, in any case, as a part of it. Rooms
	// in whose name every word begins a word come first. Empty text finds all rooms.
	Text string
	// Match may be AnyWord, so that one of the words is enough, or Phrase, so that the text is looked for as it stands.
	Match Match
	// Descriptions looks for each word in the description too. Rooms that are found by their names alone come first.
	Descriptions bool
	Limit        int // 0: MaxRooms
}

// Rooms returns the rooms that match and that visible, unless it is nil, lets through: best matches first, equal
// ones by name. Disabled rooms are for visible to leave out.
func (s *Search) Rooms(ctx context.Context, q Query, visible func(event.RoomID) bool) ([]event.RoomID, error) {
	if len(q.Text) > MaxQueryBytes {
		return nil, invalid("search text has %d bytes, at most %d", len(q.Text), MaxQueryBytes)
	}
	given := strings.Fields(strings.ToLower(q.Text))
	slices.Sort(given)
	if given = slices.Compact(given); len(given) > maxWords {
		return nil, invalid("search text has %d different words, at most %d", len(given), maxWords)
	}
	limit := MaxRooms
	if q.Limit > 0 {
		limit = min(q.Limit, MaxRooms)
	}
	c := roomCollector{limit: limit, visible: visible, seen: map[string]bool{}}
	tiers := roomTiers(given, q.Descriptions)
	switch {
	case len(given) < 2: // all ways mean the same
	case q.Match == Phrase:
		tiers = phraseTiers(strings.Join(strings.Fields(strings.ToLower(q.Text)), " "), q.Descriptions)
	case q.Match == AnyWord: // rooms with all of the words come first
		for _, w := range given {
			tiers = append(tiers, roomTiers([]string{w}, q.Descriptions)...)
		}
	}
	for _, tier := range tiers {
		if err := c.collect(ctx, s.rooms, tier); err != nil {
			return nil, err
		}
	}
	return c.found, nil
}

// roomTiers returns queries from the narrowest to the widest; each finds what the one before it does.
func roomTiers(given []string, descriptions bool) []query.Query {
	if len(given) == 0 {
		return []query.Query{bleve.NewMatchAllQuery()}
	}
	// The parts as well as the beginnings: "c++" is the word "c" to the analyzer, but no room called "cinema".
	parts := &partsQuery{field: fieldKey, parts: given}
	begins := []query.Query{parts}
	var anywhere []query.Query
	for _, w := range given {
		tokens := tokenize(w)
		for _, t := range tokens {
			p := bleve.NewPrefixQuery(t)
			p.SetField(fieldName)
			begins = append(begins, p)
		}
		var here query.Query = &partsQuery{field: fieldKey, parts: []string{w}}
		if len(tokens) > 0 { // else nothing but punctuation
			var inside []query.Query
			for _, t := range tokens {
				inside = append(inside, &partsQuery{field: fieldDescription, parts: []string{t}})
			}
			here = bleve.NewDisjunctionQuery(here, bleve.NewConjunctionQuery(inside...))
		}
		anywhere = append(anywhere, here)
	}
	tiers := []query.Query{bleve.NewConjunctionQuery(begins...), parts}
	if descriptions {
		tiers = append(tiers, bleve.NewConjunctionQuery(anywhere...))
	}
	return tiers
}

// phraseTiers finds a phrase in names, and then in descriptions.
func phraseTiers(phrase string, descriptions bool) []query.Query {
	tiers := []query.Query{&partsQuery{field: fieldKey, parts: []string{phrase}}}
	if descriptions {
		p := bleve.NewMatchPhraseQuery(phrase)
		p.SetField(fieldDescription)
		tiers = append(tiers, p)
	}
	return tiers
}

// partsQuery finds the documents with a term that has every part in it. It walks the terms of a field, of which there
// are about as many as rooms. Bleve's own way is a regular expression, and to compile one of those takes longer than
// the walk: milliseconds for a short word, and more than Bleve allows for a long one.
type partsQuery struct {
	field string
	parts []string
}

// Searcher is query.Query's.
func (q *partsQuery) Searcher(ctx context.Context, r index_api.IndexReader, _ mapping.IndexMapping,
	o bsearch.SearcherOptions) (bsearch.Searcher, error) {
	dict, err := r.FieldDict(q.field)
	if err != nil {
		return nil, err
	}
	var terms []string
	for n := 0; ; n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), dict.Close())
		}
		e, err := dict.Next()
		if err != nil {
			return nil, errors.Join(err, dict.Close())
		}
		if e == nil {
			break
		}
		if q.in(e.Term) {
			terms = append(terms, e.Term)
		}
	}
	if err := dict.Close(); err != nil {
		return nil, err
	}
	return searcher.NewMultiTermSearcher(ctx, r, terms, q.field, 1, o, false)
}

func (q *partsQuery) in(term string) bool {
	for _, p := range q.parts {
		if !strings.Contains(term, p) {
			return false
		}
	}
	return true
}

// roomCollector gathers visible rooms, each once, in the order of the queries.
type roomCollector struct {
	limit   int
	visible func(event.RoomID) bool
	seen    map[string]bool
	found   []event.RoomID
}

func (c *roomCollector) collect(ctx context.Context, i *index, q query.Query) error {
	var after []string
	for size := 256; len(c.found) < c.limit; size = min(4*size, 1<<14) {
		r := bleve.NewSearchRequestOptions(q, size, 0, false)
		r.Score = "none"
		r.Sort = bsearch.SortOrder{
			&bsearch.SortField{Field: fieldKey, Type: bsearch.SortFieldAsString, Mode: bsearch.SortFieldMin, Missing: bsearch.SortFieldMissingFirst},
			&bsearch.SortDocID{},
		}
		r.SearchAfter = after
		res, err := i.search(ctx, r)
		if err != nil {
			return err
		}
		for _, h := range res.Hits {
			if c.seen[h.ID] {
				continue
			}
			c.seen[h.ID] = true
			id := event.RoomID(h.ID)
			if c.visible != nil && !c.visible(id) {
				continue
			}
			if c.found = append(c.found, id); len(c.found) == c.limit {
				return nil
			}
		}
		if len(res.Hits) < size {
			return nil
		}
		after = res.Hits[len(res.Hits)-1].Sort
	}
	return nil
}
