package match

import (
	"testing"

	"parley/log/event"
)

func TestMeans(t *testing.T) {
	const alice, bob = event.Principal("sip:alice@x"), event.Principal("sip:bob@x")
	for _, c := range []struct {
		name  string
		q     event.Query
		who   event.Principal
		at    event.Time
		texts []string
		want  bool
	}{
		{"an empty query means all", event.Query{}, alice, 5, []string{"anything"}, true},
		{"blanks are no words", event.Query{Text: "  "}, alice, 5, []string{"x"}, true},
		{"every word", event.Query{Text: "tug berth"}, alice, 5, []string{"the BERTH of the Tug"}, true},
		{"one word is missing", event.Query{Text: "tug berth"}, alice, 5, []string{"the tug"}, false},
		{"any word", event.Query{Text: "tug berth", Match: event.MatchOr}, alice, 5, []string{"the tug"}, true},
		{"none of the words", event.Query{Text: "tug berth", Match: event.MatchOr}, alice, 5, []string{"nothing"}, false},
		{"the phrase", event.Query{Text: " tug berth ", Match: event.MatchExact}, alice, 5, []string{"a Tug Berth"}, true},
		{"the words apart", event.Query{Text: "tug berth", Match: event.MatchExact}, alice, 5, []string{"tug at berth"}, false},
		{"case counts", event.Query{Text: "Tug", CaseSensitive: true}, alice, 5, []string{"tug"}, false},
		{"case counts and fits", event.Query{Text: "Tug", CaseSensitive: true}, alice, 5, []string{"a Tug"}, true},
		{"inside a word", event.Query{Text: "arb"}, alice, 5, []string{"harbour"}, true},
		{"the title of a story", event.Query{Text: "tale"}, alice, 5, []string{"text", "A Tale"}, true},
		{"words of text and title", event.Query{Text: "tale text"}, alice, 5, []string{"text", "A Tale"}, true},
		{"no phrase across text and title", event.Query{Text: "text a tale", Match: event.MatchExact}, alice, 5, []string{"text", "A Tale"}, false},
		{"umlauts", event.Query{Text: "GRÜSSE"}, alice, 5, []string{"Grüsse"}, true},
		{"final sigma", event.Query{Text: "ΟΔΟΣ"}, alice, 5, []string{"οδος"}, true},
		{"the author", event.Query{Authors: []event.Principal{bob, alice}}, alice, 5, nil, true},
		{"another author", event.Query{Authors: []event.Principal{bob}}, alice, 5, nil, false},
		{"the first moment", event.Query{From: 5}, alice, 5, nil, true},
		{"before it", event.Query{From: 6}, alice, 5, nil, false},
		{"the last moment", event.Query{To: 5}, alice, 5, nil, true},
		{"after it", event.Query{To: 4}, alice, 5, nil, false},
		{"all of it", event.Query{Text: "tug", From: 1, To: 9, Authors: []event.Principal{alice}}, alice, 5, []string{"tug"}, true},
	} {
		if got := New(c.q).Means(c.who, c.at, c.texts...); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
