package actiance_test

import (
	"strings"
	"testing"

	"parley/compliance"
	"parley/compliance/actiance"
	"parley/compliance/adaptertest"
	"parley/log/event"
	"parley/projections/chat"
)

func adapter(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter {
	a, err := actiance.Kind.New(compliance.Env{Node: node, FS: fs, Dir: dir}, compliance.NewOptions(nil))
	if err != nil {
		panic(err)
	}
	return a
}

func TestConformance(t *testing.T) { adaptertest.Run(t, adapter) }

func TestGoldens(t *testing.T) { adaptertest.Goldens(t, adapter) }

// TestWithoutJoins: whoever says something has entered, also when the feed's filter leaves the joins out.
func TestWithoutJoins(t *testing.T) {
	w, _ := adaptertest.Scene()
	from := w.Head()
	as := func(by event.Principal, c chat.Command) {
		nd, _ := w.State().Node("n1")
		w.Must(chat.Request{Origin: chat.Origin{By: by, Endpoint: "c9", Node: "n1", Incarnation: nd.Incarnation}, Command: c})
	}
	join, part := &chat.Join{Rooms: []event.RoomID{adaptertest.Lobby}}, &chat.Part{Rooms: []event.RoomID{adaptertest.Lobby}, Reason: event.PartAsked}
	as(adaptertest.Alice, join)
	as(adaptertest.Alice, &chat.Post{Room: adaptertest.Lobby, Text: "she is there when it begins"})
	as(adaptertest.Carol, join)
	as(adaptertest.Carol, part)
	as(adaptertest.Carol, join)
	as(adaptertest.Carol, &chat.Post{Room: adaptertest.Lobby, Text: "one"})
	as(adaptertest.Carol, part)
	base, err := compliance.StateAt(t.Context(), w, from)
	if err != nil {
		t.Fatal(err)
	}
	cut, run, err := compliance.NewCut("f", from+1, w.Head(), base, w, compliance.FilterOf(&event.FeedInfo{Kinds: []string{"posted", "parted"}}))
	if err != nil {
		t.Fatal(err)
	}
	d := adaptertest.NewDisk()
	r, err := adapter(d, adaptertest.Dir, "n1").Deliver(t.Context(), cut, run)
	if err != nil {
		t.Fatal(err)
	}
	text := d.Files(adaptertest.Dir)[r.Name]
	in, left := strings.Count(text, "<ParticipantEntered>"), strings.Count(text, "<ParticipantLeft>")
	if in != 2 || left != 2 || strings.Count(text, "carol@contoso.test") != 6 {
		t.Errorf("%d entered, %d left:\n%s", in, left, text)
	}
}
