// Package match says whether a message is one that a query means (Remove-CsPersistentChatMessage: filter, match clause,
// dates, author). It is pure, so that whoever reads the history on any node finds the same messages.
package match

import (
	"slices"
	"strings"

	"parley/log/event"
)

// Query is a query made ready to be asked about many messages.
type Query struct {
	q     event.Query
	words []string // of the text, or the text as one phrase
}

// New prepares a query. One that is empty means every message.
func New(q event.Query) *Query {
	m := &Query{q: q}
	if q.Match == event.MatchExact {
		if t := strings.TrimSpace(q.Text); t != "" {
			m.words = []string{t}
		}
	} else {
		m.words = strings.Fields(q.Text)
	}
	if !q.CaseSensitive {
		for i, w := range m.words {
			m.words[i] = fold(w)
		}
	}
	return m
}

// fold is the form in which text is compared without case. Both forms of the Greek sigma and the like are one.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// Means reports whether a message is one that the query means: its author, its time and what can be read of it, which
// for a story is the title as well. The bounds of the time are included. Words are found inside other words too.
func (m *Query) Means(author event.Principal, at event.Time, texts ...string) bool {
	switch {
	case m.q.From != 0 && at < m.q.From, m.q.To != 0 && at > m.q.To:
		return false
	case len(m.q.Authors) > 0 && !slices.Contains(m.q.Authors, author):
		return false
	case len(m.words) == 0:
		return true
	}
	text := strings.Join(texts, "\n")
	if !m.q.CaseSensitive {
		text = fold(text)
	}
	found := func(w string) bool { return strings.Contains(text, w) }
	if m.q.Match == event.MatchOr {
		return slices.ContainsFunc(m.words, found)
	}
	return !slices.ContainsFunc(m.words, func(w string) bool { return !found(w) })
}
