package log_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"parley/log"
	"parley/log/event"
)

// BenchmarkVerify measures events a second of a whole verification, by size of the text and by events in an entry: a busy leader
// packs 64 posts and more, a quiet one a single one.
func BenchmarkVerify(b *testing.B) {
	for _, c := range []struct{ text, pack int }{{150, 64}, {150, 8}, {150, 1}, {512, 64}} {
		b.Run(fmt.Sprintf("text=%d/pack=%d", c.text, c.pack), func(b *testing.B) {
			const events = 100_000
			dir := b.TempDir()
			l := benchLog(b, dir, events, c.text, c.pack)
			measure := func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := l.Verify(b.Context(), 0, 0, nil); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
			}
			b.Run("serving", measure)
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			var err error
			if l, err = log.Open(dir, log.Options{ReadOnly: true}); err != nil {
				b.Fatal(err)
			}
			b.Run("stopped", measure)
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// benchLog is a log of posts in a hundred rooms, with an identity each as those of clients have.
func benchLog(b *testing.B, dir string, events, text, pack int) *log.Log {
	l, err := log.Open(dir, log.Options{})
	if err != nil {
		b.Fatal(err)
	}
	words := strings.Fields("the server is up again after the change and the order of the week looks fine to me but please look at the numbers")
	r := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, 1024)
	for i := range texts {
		var t strings.Builder
		for t.Len() < text {
			fmt.Fprintf(&t, "%s %x ", words[r.IntN(len(words))], r.Uint32()>>uint(r.IntN(32)))
		}
		texts[i] = t.String()[:text]
	}
	var chain event.Chain
	var records []log.Record
	for o, index := 1, event.Index(1); o <= events; index++ {
		batch := event.Batch{Base: event.Offset(o), At: event.Time(index) * 1e6, Prev: chain}
		for ; o <= events && len(batch.Events) < pack; o++ {
			m := event.Meta{By: event.Principal(fmt.Sprintf("sip:user%d@contoso.test", r.IntN(1000))), Room: event.RoomID(fmt.Sprintf("00000000-0000-4000-8000-%012d", o%100)), Node: "n1"}
			for k := range m.Command {
				m.Command[k] = byte(r.Uint32())
			}
			batch.Events = append(batch.Events, event.Draft{Meta: m, Event: &event.Posted{Endpoint: "0123456789ab", MessageID: uint64(o/100 + 1), Text: texts[r.IntN(len(texts))]}})
		}
		data, next, err := batch.Seal()
		if err != nil {
			b.Fatal(err)
		}
		chain = next
		if records = append(records, log.Record{Index: index, Term: 1, Data: data}); len(records) == 256 || o > events {
			if err := l.Append(records); err != nil {
				b.Fatal(err)
			}
			if _, err := l.Commit(index); err != nil {
				b.Fatal(err)
			}
			records = records[:0]
		}
	}
	return l
}
