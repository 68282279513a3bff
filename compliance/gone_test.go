package compliance_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/log/event"
	"parley/projections/chat"
)

// erasedAt is a log that has erased the text of one event.
type erasedAt struct {
	compliance.Source
	at event.Offset
}

func (l erasedAt) Read(from event.Offset, most int) ([]event.Envelope, error) {
	run, err := l.Source.Read(from, most)
	run = slices.Clone(run)
	for i := range run {
		if run[i].Offset == l.at {
			p := *run[i].Event.(*event.Posted)
			p.Text = ""
			run[i].Event, run[i].Erased = &p, true
		}
	}
	return run, err
}

// TestRemovedBeforeTheFeed: what was removed before a feed was set is delivered without its text, also by a node that has not
// erased it yet: one that has cannot do otherwise. What is removed later waits for the feed, and comes with its text. A
// feed that was taken away and is set again is new in that.
func TestRemovedBeforeTheFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		remove := func(at event.Offset) {
			p := w.Events()[at-1].Event.(*event.Posted)
			w.Must(trusted(&chat.RemoveMessages{Room: adaptertest.Lobby, Messages: []event.MessageRef{{MessageID: p.MessageID, Offset: at}}}))
		}
		post(w, "cleared")
		w.Must(trusted(&chat.ClearRoom{Room: adaptertest.Lobby, Until: w.State().At()}))
		remove(post(w, "removed before"))
		stays := post(w, "removed after")
		setFeed(w, "j", nil)
		remove(stays)
		d := adaptertest.NewDisk()
		f, _ := runFeeds(t, w, "n1", d)
		time.Sleep(time.Minute)
		wrong := func(what string, texts map[string]bool) {
			t.Helper()
			all := ""
			for _, text := range d.Files("/a") {
				all += text
			}
			again := ""
			if err := compliance.Replay(t.Context(), w, "j", 1, feedOf(w, "j").Receipt, nil, replayJSONL, func(r compliance.Replayed) error {
				again += string(r.Files[r.Receipt.Name])
				return nil
			}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			for text, has := range texts {
				if strings.Contains(all, text) != has || strings.Contains(again, text) != has {
					t.Errorf("%s: %q is in the archive: %t, in the replay: %t, want %t", what, text, !has, strings.Contains(again, text), has)
				}
			}
		}
		wrong("set", map[string]bool{`"text":"cleared"`: false, `"text":"removed before"`: false, `"text":"removed after"`: true})

		// Once a text that was delivered is erased, its cut cannot be written again, and the error says which it is.
		err := compliance.Replay(t.Context(), erasedAt{w, stays}, "j", 1, feedOf(w, "j").Receipt, nil, replayJSONL, func(compliance.Replayed) error { return nil })
		if !errors.Is(err, compliance.ErrReplay) || !strings.Contains(err.Error(), fmt.Sprintf("the text of event %d was erased", stays)) {
			t.Errorf("erased since: %v", err)
		}

		w.Must(trusted(&chat.RemoveFeed{Feed: "j"}))
		time.Sleep(time.Minute)
		remove(post(w, "while there was none"))
		setFeed(w, "j", nil)
		post(w, "and on it goes")
		time.Sleep(time.Minute)
		wrong("set again", map[string]bool{`"text":"while there was none"`: false, `"text":"and on it goes"`: true, `"text":"removed after"`: true})
		// A node whose state is behind its log knows of no feed that was set there.
		if got := f.Slowest(w.Head() + 100); got > w.Head() {
			t.Errorf("it lets the log be erased up to %d of %d", got, w.Head())
		}
	})
}
