package compliance_test

import (
	"context"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/csv"
	"parley/log/event"
)

// earlier is an adapter of the version in which imported messages were no acts.
type earlier struct{ compliance.Adapter }

func (a earlier) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	return a.Adapter.Deliver(ctx, cut, func(yield func(event.Envelope, error) bool) {
		for e, err := range run {
			if _, imported := e.Event.(*event.MessageImported); !imported && !yield(e, err) {
				return
			}
		}
	})
}

// TestReplayOfAnEarlierForm: what an earlier version delivered without the messages that were imported is written again as it
// was, and what this one delivers has them.
func TestReplayOfAnEarlierForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		adaptertest.Late(w)
		adaptertest.Imported(w)
		d := adaptertest.NewDisk()
		now := maker(&csv.Kind)(d, adaptertest.Dir, "n1")
		for name, a := range map[string]compliance.Adapter{"old": earlier{now}, "new": maker(&csv.Kind)(d, adaptertest.Dir, "n1")} {
			stop := start(t, compliance.NewFeed(compliance.FeedConfig{Name: name, Adapter: a, Every: time.Second}, w.Node("n1"), w, nil))
			time.Sleep(time.Minute)
			stop()
			text := ""
			if err := compliance.Replay(t.Context(), w, name, 1, feedOf(w, name).Receipt, nil, func(fs compliance.FS, _ *event.FeedInfo) (compliance.Adapter, error) {
				return maker(&csv.Kind)(fs, "/replay", "auditor"), nil
			}, func(r compliance.Replayed) error {
				text += string(r.Files[r.Receipt.Name])
				return nil
			}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if has := strings.Contains(text, "from the old pool"); has != (name == "new") || !strings.Contains(text, "and on it goes") {
				t.Errorf("%s: the imported message is there: %t in %s", name, has, text)
			}
		}
	})
}
