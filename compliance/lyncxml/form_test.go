package lyncxml

import (
	"math"
	"strings"
	"testing"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/render"
	"parley/log/event"
)

// TestWideID: a message number beyond 32 bits is written whole, although the published schema says xs:int.
func TestWideID(t *testing.T) {
	w, m := adaptertest.Scene()
	cut, run := adaptertest.Cut(t, w, "lync", m.Directory+1, m.Talk)
	d := document{cut: cut, rooms: make(map[event.RoomID]*conversation)}
	for e, err := range run {
		if err != nil {
			t.Fatal(err)
		}
		d.message(render.Act{At: e.At, Room: e.Room, By: e.By, MessageID: math.MaxUint64}, typeChat, text{content: "x"})
		break
	}
	var out strings.Builder
	if err := write(&out, d.order); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), ` id="18446744073709551615"`) {
		t.Errorf("the number is cut short:\n%s", out.String())
	}
}

// TestInstant pins the three forms, with the published sample among them: they cut off, towards the past.
func TestInstant(t *testing.T) {
	for _, c := range []struct {
		at   event.Time
		want string
	}{
		{1212610540953548200, `<T since1970="1212610540953" string="2008-06-04T20:15:40.9535482Z" long="633482073409535482" />`},
		{1212610540953548299, `<T since1970="1212610540953" string="2008-06-04T20:15:40.9535482Z" long="633482073409535482" />`},
		{0, `<T since1970="0" string="1970-01-01T00:00:00.0000000Z" long="621355968000000000" />`},
		{-1, `<T since1970="-1" string="1969-12-31T23:59:59.9999999Z" long="621355967999999999" />`},
	} {
		if got := string(instant(nil, "T", c.at)); got != c.want {
			t.Errorf("%d:\n got %s\nwant %s", c.at, got, c.want)
		}
	}
}

// TestSenderID: the numbers of accounts are for ever.
func TestSenderID(t *testing.T) {
	for p, want := range map[event.Principal]int64{
		"sip:alice@contoso.test": 1314631743233666522,
		"sip:bob@contoso.test":   1834531668381730001,
	} {
		if got := senderID(p); got != want {
			t.Errorf("%s: %d, want %d", p, got, want)
		}
	}
}

// TestFailedWrite: the document does not swallow what the file says.
func TestFailedWrite(t *testing.T) {
	for n := range 3 {
		if err := write(&failing{after: n}, []*conversation{{room: compliance.Place{Name: "x"}}}); err != errWrite {
			t.Errorf("write %d failed, and the document says %v", n+1, err)
		}
	}
}

type failing struct{ after int }

type writeError struct{}

func (writeError) Error() string { return "disk full" }

var errWrite = writeError{}

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errWrite
	}
	return len(p), nil
}
