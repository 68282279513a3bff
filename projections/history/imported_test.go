package history

import (
	"testing"

	"parley/log/event"
	"parley/projections"
)

// rows is a writer that keeps what was set.
type rows struct {
	projections.Writer
	set map[string][]byte
}

func (r *rows) Set(k, v []byte) error {
	r.set[string(k)] = v
	return nil
}

// An imported message is by its author and of the time that the archive says, not of the import; a story has its title.
func TestImportedMessage(t *testing.T) {
	w := &rows{set: map[string][]byte{}}
	e := event.Envelope{Offset: 9, At: 2000, Meta: event.Meta{By: "admin:boss", Room: "r"},
		Event: &event.MessageImported{MessageID: 7, Author: "sip:zoe@old.test", PostedAt: 1000, Story: true, Title: "t", Text: "x", Links: []event.Link{{URI: "u"}}}}
	if err := New().Apply(w, e); err != nil {
		t.Fatal(err)
	}
	m, err := decode(key("r", 7), w.set[string(key("r", 7))])
	if err != nil || m.ID != 7 || m.By != "sip:zoe@old.test" || m.At != 1000 || m.Offset != 9 || !m.Story || m.Title != "t" || m.Text != "x" || len(m.Links) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}
